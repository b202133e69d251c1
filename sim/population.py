"""Decides who else holds positions: a crowd of leveraged traders made from a seed, as many contracts long as short."""

from decimal import ROUND_HALF_EVEN, Decimal
from random import Random

from attrs import Attribute, field, frozen

from sim.venue_settings import Participant, Stake
from venues.model.account import Account, MarginMode
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO, round_to_step
from venues.rules import checks
from venues.rules.errors import BadValueError
from venues.rules.instrument_margin import initial_margin

_SHARES = 10_000
_CENT = Decimal("0.01")


def _positive(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    checks.positive(value, attribute.name)


@frozen
class Population:
    """`pairs` longs and as many shorts of one contract, each pair of the same size up to `qty_max`.

    Entries lie within `entry_spread` (a share) around `price`, leverages between 2 and `leverage_max`; a share
    `isolated` of the accounts is isolated. Everyone has between one and two times the initial margin.
    """

    spec: Instrument
    pairs: int
    price: Decimal = field(validator=_positive)
    qty_max: Decimal = field(validator=_positive)
    leverage_max: int
    entry_spread: Decimal = Decimal("0.02")
    isolated: Decimal = Decimal("0.5")

    def __attrs_post_init__(self) -> None:
        if self.pairs < 1:
            raise BadValueError("pairs", f"{self.pairs} is no number of pairs")
        if not 1 <= self.leverage_max <= self.spec.max_leverage:
            raise BadValueError("leverage_max", f"{self.leverage_max} is not within 1..{self.spec.max_leverage}")
        if self.qty_max < self.spec.lot_size:
            raise BadValueError("qty_max", f"{self.qty_max} is below one lot of {self.spec.lot_size}")
        checks.rate(self.entry_spread, "entry_spread")
        if not ZERO <= checks.finite(self.isolated, "isolated") <= ONE:
            raise BadValueError("isolated", f"{self.isolated} is no share from 0 to 1")


def participants(model: Population, seed: int, prefix: str) -> tuple[Participant, ...]:
    """Return the crowd: the same for the same seed, ids `prefix` and a number. Positions sum to zero."""
    rng = Random(seed)
    spec, found = model.spec, []
    lots_max = int(model.qty_max / spec.lot_size)
    for pair in range(model.pairs):
        qty = spec.qty(rng.randint(1, lots_max))
        found.append(_trader(model, rng, f"{prefix}{2 * pair}", qty))
        found.append(_trader(model, rng, f"{prefix}{2 * pair + 1}", -qty))
    return tuple(found)


def _trader(model: Population, rng: Random, name: str, qty: Decimal) -> Participant:
    spec = model.spec
    off = model.entry_spread * rng.randint(-_SHARES, _SHARES) / _SHARES
    entry = max(spec.tick_size, round_to_step(model.price * (1 + off), spec.tick_size, ROUND_HALF_EVEN))
    leverage = rng.randint(min(2, model.leverage_max), model.leverage_max)
    margin = initial_margin(spec, qty, entry, leverage)
    wallet = (margin * (1 + Decimal(rng.randint(0, _SHARES)) / _SHARES)).quantize(_CENT)
    is_isolated = rng.randrange(_SHARES) < model.isolated * _SHARES
    mode = MarginMode.ISOLATED if is_isolated else MarginMode.CROSS
    account = Account(name, spec.venue, {spec.settle: wallet}, mode, leverage={spec.id: leverage})
    return Participant(account, (Stake(spec.id, qty, entry),))
