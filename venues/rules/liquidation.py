"""Decides which positions of a cross pool are liquidated first, and how much of each.

The venues publish the trigger (balance at or below maintenance margin) and the steps (Binance FAQ 360033525271), not
the choice among positions nor the size of a partial liquidation: those are a model, and configuration. Coverage =
margin balance / maintenance margin, the inverse of the venues' margin ratio.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

from attrs import Attribute, field, frozen

from venues.model.instrument import Bracket
from venues.model.money import ONE, ROUND_CEILING, ROUND_FLOOR, ZERO, round_to_step
from venues.rules import checks
from venues.rules.brackets import maintenance_margin
from venues.rules.errors import BadValueError


class Priority(StrEnum):
    """Which position of a cross pool goes first."""

    HIGHEST_LOSS = "highest_loss"
    LOWEST_RATIO = "lowest_ratio"
    OLDEST = "oldest"
    LARGEST = "largest"
    HIGHEST_LEVERAGE = "highest_leverage"


def _target(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    if checks.finite(value, attribute.name) < ONE:
        raise BadValueError(attribute.name, f"a coverage below 1 is liquidation itself, got {value}")


@frozen
class LiquidationModel:
    """What no venue publishes.

    `priority`: which goes first. Positions are chosen until the coverage is `coverage_enough`. With `is_partial`, the
    one with which that can be reached is only reduced, aiming at `coverage_after_partial`.
    """

    priority: Priority = Priority.HIGHEST_LOSS
    is_partial: bool = True
    coverage_enough: Decimal = field(default=Decimal("1.5"), validator=_target)
    coverage_after_partial: Decimal = field(default=Decimal("2.0"), validator=_target)

    def __attrs_post_init__(self) -> None:
        if self.coverage_after_partial < self.coverage_enough:
            raise BadValueError("coverage_after_partial", f"must not be below coverage_enough {self.coverage_enough}")


def _positive(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    checks.positive(value, attribute.name)


def _finite(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    checks.finite(value, attribute.name)


def _rate(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    checks.rate(value, attribute.name)


@frozen
class Candidate:
    """One open position of a pool at its mark price, checked when made.

    `qty` is unsigned, in base units; `margin` is its initial margin, `fee_rate` the symbol's clearance fee, `opened_ns`
    UTC nanoseconds. Raises BadValueError.
    """

    key: str
    qty: Decimal = field(validator=_positive)
    mark_price: Decimal = field(validator=_positive)
    unrealized_pnl: Decimal = field(validator=_finite)
    margin: Decimal = field(validator=_positive)
    brackets: Sequence[Bracket]
    lot_size: Decimal = field(validator=_positive)
    leverage: Decimal = field(default=ONE, validator=_positive)
    opened_ns: int = 0
    fee_rate: Decimal = field(default=ZERO, validator=_rate)

    @property
    def notional(self) -> Decimal:
        return self.qty * self.mark_price

    @property
    def maintenance(self) -> Decimal:
        return maintenance_margin(self.brackets, self.notional)


_KEYS: Mapping[Priority, Callable[[Candidate], Decimal]] = {
    Priority.HIGHEST_LOSS: lambda each: each.unrealized_pnl,
    Priority.LOWEST_RATIO: lambda each: (each.margin + each.unrealized_pnl) / each.maintenance,
    Priority.OLDEST: lambda each: Decimal(each.opened_ns),
    Priority.LARGEST: lambda each: -each.notional,
    Priority.HIGHEST_LEVERAGE: lambda each: -each.leverage,
}


def in_order(positions: Sequence[Candidate], priority: Priority) -> tuple[Candidate, ...]:
    """Return the positions, first to be liquidated first; equal ones by key, so that the order is always the same."""
    key = _KEYS[priority]
    return tuple(sorted(positions, key=lambda each: (key(each), each.key)))


def is_enough(balance: Decimal, maintenance: Decimal, model: LiquidationModel) -> bool:
    """Whether a pool with that balance and maintenance margin needs no further position liquidated."""
    return balance >= maintenance * model.coverage_enough


def coverage(balance: Decimal, maintenance: Decimal) -> Decimal | None:
    """Return margin balance / maintenance margin, None when nothing needs margin. Raises BadValueError."""
    checks.finite(balance, "balance")
    return balance / maintenance if checks.not_negative(maintenance, "maintenance") else None


@frozen
class Reduction:
    """`qty` (unsigned) of the position `key` to be closed at about its mark price, with the clearance `fee` of it."""

    key: str
    qty: Decimal
    fee: Decimal
    is_whole: bool


@frozen
class Plan:
    """Reductions in order, with balance and maintenance margin left when they fill at the mark price."""

    reductions: tuple[Reduction, ...]
    balance: Decimal
    maintenance: Decimal


def plan(balance: Decimal, positions: Sequence[Candidate], model: LiquidationModel) -> Plan:
    """Return what is liquidated of a cross pool with that margin balance; nothing while it exceeds the maintenance.

    Closing at the mark leaves the balance as it is but for the fee. Raises BadValueError.
    """
    checks.finite(balance, "balance")
    needed = sum((each.maintenance for each in positions), ZERO)
    done: list[Reduction] = []
    if balance > needed:
        return Plan((), balance, needed)
    for each in in_order(positions, model.priority):
        others = needed - each.maintenance
        qty = each.qty
        if model.is_partial:
            qty = partial_qty(each, balance, others, model.coverage_after_partial)
        fee = qty * each.mark_price * each.fee_rate
        done.append(Reduction(each.key, qty, fee, qty == each.qty))
        balance -= fee
        needed = others
        if qty < each.qty:
            needed += maintenance_margin(each.brackets, (each.qty - qty) * each.mark_price)
        if is_enough(balance, needed, model):
            break
    return Plan(tuple(done), balance, needed)


def partial_qty(position: Candidate, balance: Decimal, others_maintenance: Decimal, target: Decimal) -> Decimal:
    """Return the smallest quantity, in whole lots, whose closing brings the coverage to `target`; all when none does.

    balance - fee x closed >= target x (others + margin of the rest). Closing a small position does not help where its
    margin rate is below the fee rate: it is liquidated whole. Raises BadValueError.
    """
    checks.finite(balance, "balance")
    checks.not_negative(others_maintenance, "others_maintenance")
    left = _largest_rest(position, balance - target * others_maintenance, target)
    if left is None:
        return position.qty
    closed = position.qty - round_to_step(left / position.mark_price, position.lot_size, ROUND_FLOOR)
    return min(position.qty, round_to_step(closed, position.lot_size, ROUND_CEILING))


def _largest_rest(position: Candidate, free: Decimal, target: Decimal) -> Decimal | None:
    """Return the largest notional r with free - fee (notional - r) - target x margin(r) >= 0, None when there is none.

    Every bracket is one straight line; margin is continuous, so the last one that reaches zero from above decides.
    """
    whole, fee = position.notional, position.fee_rate
    high = whole
    for row in reversed(position.brackets):
        if row.floor >= whole:
            continue
        slope = fee - target * row.mmr
        at_zero = free - fee * whole + target * row.cum
        if at_zero + slope * high >= ZERO:
            return high
        if at_zero + slope * row.floor >= ZERO:
            return -at_zero / slope
        high = row.floor
    return None
