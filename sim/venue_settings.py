"""Decides what a simulated venue may be built with beyond its rules: a fund, other traders, cascades, controls."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

from attrs import Attribute, field, frozen

from sim.venue_rules import INSURANCE_START
from venues.model.account import Account
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.rules import checks
from venues.rules.circuit_breakers import VelocityRule
from venues.rules.cme_products import Group, Product
from venues.rules.errors import BadValueError


def _positive(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    checks.positive(value, attribute.name)


def _not_negative(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    checks.not_negative(value, attribute.name)


def _share(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    if not ZERO <= checks.finite(value, attribute.name) <= 1:
        raise BadValueError(attribute.name, f"{value} is no share from 0 to 1")


@frozen
class Stake:
    """A position somebody holds when the venue opens: `qty` signed, `entry_price` what was paid for it."""

    instrument: str
    qty: Decimal
    entry_price: Decimal = field(validator=_positive)
    position_side: PositionSide = PositionSide.BOTH

    def __attrs_post_init__(self) -> None:
        checks.nonzero(self.qty, "qty")
        if self.position_side is not PositionSide.BOTH and (self.qty > ZERO) is not (
            self.position_side is PositionSide.LONG
        ):
            raise BadValueError("position_side", f"{self.qty} is not a {self.position_side} position")


@frozen
class Participant:
    """A trader the venue simulates: it holds its stakes, is liquidated and deleveraged like any other, never trades."""

    account: Account
    stakes: Sequence[Stake] = ()


class Impact(StrEnum):
    """How liquidations that trade in the book move the mark.

    SWEEP: to the last price they traded at. KYLE: against them by lambda x quantity (Kyle, 1985).
    """

    SWEEP = "sweep"
    KYLE = "kyle"


@frozen
class CascadeModel:
    """Liquidations move the mark, and the mark liquidates.

    The first wave moves the mark as far as `impact` says, each later one `decay` times the share of the one before it.
    `kyle_lambda` is price per unit of quantity.
    """

    impact: Impact = Impact.SWEEP
    kyle_lambda: Decimal = field(default=ZERO, validator=_not_negative)
    decay: Decimal = field(default=Decimal("0.7"), validator=_share)
    waves_max: int = 5

    def __attrs_post_init__(self) -> None:
        if self.waves_max < 1:
            raise BadValueError("waves_max", f"{self.waves_max} is no number of waves")
        if (self.impact is Impact.KYLE) is not (self.kyle_lambda > ZERO):
            raise BadValueError("kyle_lambda", f"{self.kyle_lambda} does not go with the impact {self.impact}")


@frozen
class StopLogic:
    """Stops whose election would trade more than `ticks` from the last trade pause the market for `pause_ns` first.

    CME's values were not retrieved (facts B4).
    """

    ticks: int
    pause_ns: int

    def __attrs_post_init__(self) -> None:
        for name, value in (("ticks", self.ticks), ("pause_ns", self.pause_ns)):
            if value <= 0:
                raise BadValueError(name, f"{value} is not positive")


def _positive_if_given(_: object, attribute: "Attribute[Decimal | None]", value: Decimal | None) -> None:
    if value is not None:
        checks.positive(value, attribute.name)


def _share_if_given(_: object, attribute: "Attribute[Decimal | None]", value: Decimal | None) -> None:
    if value is not None and not ZERO < checks.finite(value, attribute.name) < 1:
        raise BadValueError(attribute.name, f"{value} is no share between 0 and 1")


@frozen
class Controls:
    """One instrument's price controls; all are off by default.

    `price_band` is the distance from the reference beyond which limit orders are refused. `limit_share` of the last
    settlement is how far the day may trade; `equity_limits` are CME's for equity index futures instead, by the clock,
    with the last settlement as the fixing price. The dynamic circuit breaker is `breaker_width` wide, or
    `breaker_share` of the last settlement. `close_out_ns` (UTC) is when open positions are closed by force, before
    notice of delivery.
    """

    price_band: Decimal | None = field(default=None, validator=_positive_if_given)
    limit_share: Decimal | None = field(default=None, validator=_share_if_given)
    equity_limits: bool = False
    breaker_width: Decimal | None = field(default=None, validator=_positive_if_given)
    breaker_share: Decimal | None = field(default=None, validator=_share_if_given)
    velocity: VelocityRule | None = None
    stop_logic: StopLogic | None = None
    close_out_ns: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.breaker_width is not None and self.breaker_share is not None:
            raise BadValueError("breaker_share", "a breaker has a width or a share, not both")
        if self.equity_limits and self.limit_share is not None:
            raise BadValueError("limit_share", "does not go with equity_limits")

    def check_for(self, spec: Instrument, product: Product | None) -> None:
        """Raise BadValueError for what does not go with `spec`; `product` is CME's, None without the calendar."""
        if self.breaker_width is not None and self.breaker_width < spec.tick_size:
            raise BadValueError("breaker_width", f"{self.breaker_width} is less than a tick of {spec.tick_size}")
        if self.equity_limits and (product is None or product.group is not Group.EQUITY):
            raise BadValueError("equity_limits", f"{spec.symbol}: needs the calendar and an equity index future")


@frozen
class VenueSettings:
    """What one simulated venue is given.

    `insurance_start` is the fund's money in each asset, of which `insurance_reserve` (a share) is not spent on
    takeovers: what the rest does not cover is deleveraged. Without `cascade` liquidations leave the mark alone.
    `controls` are by instrument id. `calendar` opens and closes the markets by CME's hours; with `daily_settlement` the
    venue settles them at the end of their windows, too. With `base_fees` a spot buy pays its fee in what it buys, as
    Binance takes it; a sale pays in quote always. `money_quantum` is what accounts' fees, funding and realised profits
    are rounded to (half to even); None keeps every digit, so that nothing is lost between accounts.
    """

    insurance_start: Decimal = field(default=INSURANCE_START, validator=_not_negative)
    insurance_reserve: Decimal = field(default=ZERO, validator=_share)
    participants: Sequence[Participant] = ()
    cascade: CascadeModel | None = None
    controls: Mapping[str, Controls] = field(factory=dict)
    calendar: bool = False
    daily_settlement: bool = False
    base_fees: bool = False
    money_quantum: Decimal | None = field(default=None, validator=_positive_if_given)

    def __attrs_post_init__(self) -> None:
        if self.daily_settlement and not self.calendar:
            raise BadValueError("daily_settlement", "needs the calendar")
