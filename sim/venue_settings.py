"""Decides what a simulated venue may be built with beyond its rules: a fund, other traders, cascades."""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from attrs import Attribute, field, frozen

from sim.venue_rules import INSURANCE_START
from venues.model.account import Account
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.rules import checks
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
class VenueSettings:
    """What one simulated venue is given.

    `insurance_start` is the fund's money in each asset, of which `insurance_reserve` (a share) is not spent on
    takeovers: what the rest does not cover is deleveraged. Without `cascade` liquidations leave the mark alone.
    """

    insurance_start: Decimal = field(default=INSURANCE_START, validator=_not_negative)
    insurance_reserve: Decimal = field(default=ZERO, validator=_share)
    participants: Sequence[Participant] = ()
    cascade: CascadeModel | None = None
