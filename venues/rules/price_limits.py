"""Decides at which prices a CME product may trade or an order be sent: limits, market-wide halts, bands, protection.

Source: facts B1, B2, B5 (CME FAQs on equity index price limits, reproduced against CME's table of 2014-10-23; NYSE
Rule 7.12; CME order entry and market-with-protection pages). Prices are in the product's own price unit.
"""

from collections.abc import Mapping, Set
from datetime import date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal
from types import MappingProxyType

from attrs import field, frozen

from venues.model.money import ZERO, round_to_step
from venues.model.order import Side
from venues.rules.calendar import CASH_OPEN, State, cash_hours, chicago, session
from venues.rules.checks import finite, positive
from venues.rules.cme_products import DatedValue, Group, Product
from venues.rules.dated import row_on
from venues.rules.errors import BadValueError, UnknownProductError

LEVELS = (Decimal("0.07"), Decimal("0.13"), Decimal("0.20"))
OVERNIGHT = (
    DatedValue(date(2014, 1, 1), Decimal("0.05")),
    DatedValue(date(2020, 11, 2), Decimal("0.07")),
)
"""The limit outside cash hours by trade date; the day of the change is the first one seen with 7 %."""

_LATE_BEFORE_CLOSE = timedelta(minutes=35)
_HALT = timedelta(minutes=15)
_DEFAULT_PROTECTION_TICKS = 10


@frozen
class EquityLimits:
    """A contract's limits for one trade date, from its fixing price at 15:00 Chicago the business day before."""

    overnight_up: Decimal
    overnight_down: Decimal
    l1: Decimal
    l2: Decimal
    l3: Decimal

    @property
    def levels(self) -> tuple[Decimal, Decimal, Decimal]:
        return self.l1, self.l2, self.l3


@frozen
class Band:
    """Lowest and highest price that may trade; None is no limit on that side."""

    lower: Decimal | None
    upper: Decimal | None

    def allows(self, price: Decimal) -> bool:
        """Say whether trading at `price` is inside; the limits themselves are."""
        finite(price, "price")
        return not ((self.lower is not None and price < self.lower) or (self.upper is not None and price > self.upper))


def overnight_share(trade_date: date) -> Decimal:
    """Return the limit outside cash hours. Raises OutsideTableError before 2014."""
    return row_on(OVERNIGHT, trade_date, "trade_date").value


def equity_limits(
    of: Product, fixing: Decimal, index: Decimal, tick: Decimal, overnight_pct: Decimal, field_name: str = "product"
) -> EquityLimits:
    """Return the limits around `fixing`: widths are shares of the cash `index`, rounded down to multiples of `tick`.

    All expiries share the widths. Raises UnknownProductError for what is no equity index future, and BadValueError for
    values that are not positive, a share that is none, or an index too far above the fixing price.
    """
    if of.group is not Group.EQUITY:
        raise UnknownProductError(field_name, f"{of.code} has no equity index price limits")
    positive(fixing, "fixing")
    positive(index, "index")
    positive(tick, "tick")
    if positive(overnight_pct, "overnight_pct") >= 1:
        raise BadValueError("overnight_pct", f"{overnight_pct} is a share below 1")
    overnight, *widths = (round_to_step(share * index, tick, ROUND_FLOOR) for share in (overnight_pct, *LEVELS))
    if max(overnight, *widths) >= fixing:
        raise BadValueError("index", f"{index} is too far above the fixing price {fixing}")
    if min(overnight, *widths) <= ZERO:
        raise BadValueError("tick", f"{tick} leaves no width")
    l1, l2, l3 = (fixing - width for width in widths)
    return EquityLimits(fixing + overnight, fixing - overnight, l1, l2, l3)


def equity_band(
    of: Product, at: datetime, limits: EquityLimits, evening: EquityLimits | None = None, declared: int = 0
) -> Band | None:
    """Return the limits in force at `at`, None when `of` does not trade.

    `declared` is the highest market-wide level declared today. Both sides are limited outside cash hours; in them only
    the downside, at the level after `declared`, from 35 minutes before the cash close at 20 % only. After it the new
    fixing of the day holds, `evening` (BadValueError when it is missing), never below the day's 20 %. On days without
    a cash session the overnight limits hold all day.
    """
    if not 0 <= declared <= len(LEVELS):
        raise BadValueError("declared", f"{declared} is no level from 0 to 3")
    now = session(of, at)
    if now.state is not State.OPEN or declared == len(LEVELS):
        return None
    local = chicago(at)
    cash = cash_hours(local.date()) if now.trade_date == local.date() else None
    if cash is None or local.time() < cash[0]:
        return Band(limits.overnight_down, limits.overnight_up)
    if local.time() < _late(cash[1]):
        return Band(limits.levels[declared], None)
    if local.time() < cash[1]:
        return Band(limits.l3, None)
    if evening is None:
        raise BadValueError("evening", "after the cash close the limits need the new fixing price")
    return Band(max(evening.overnight_down, limits.l3), evening.overnight_up)


# Market-wide breaker of the cash market


@frozen
class MarketHalt:
    """A market-wide halt: `ends` is the instant trading may resume, None when it does not on that day."""

    level: int
    ends: datetime | None


def decline_level(previous_close: Decimal, index: Decimal) -> int:
    """Return the highest level 0..3 that the S&P 500 index (not the future) has fallen through."""
    positive(previous_close, "previous_close")
    positive(index, "index")
    return sum(index <= previous_close * (1 - share) for share in LEVELS)


def market_wide_halt(
    previous_close: Decimal, index: Decimal, at: datetime, declared: Set[int] = frozenset()
) -> MarketHalt | None:
    """Return the halt that `index` at `at` causes, None when it causes none.

    Levels 1 and 2 halt for 15 minutes, once a day each, after 09:30 New York up to and including 15:25 (12:25 on
    early-close days); level 3 ends the day at any time of the cash session. `declared` are the day's levels so far.
    """
    local = chicago(at)
    cash = cash_hours(local.date(), "at")
    level = decline_level(previous_close, index)
    if cash is None or not cash[0] <= local.time() < cash[1] or not level or level in declared:
        return None
    if level == len(LEVELS):
        return MarketHalt(level, None)
    # A lower level than one declared today has been passed on the way and halts no more.
    if any(level < other for other in declared) or not CASH_OPEN < local.time() <= _late(cash[1]):
        return None
    return MarketHalt(level, at + _HALT)


def _late(cash_close: time) -> time:
    return (datetime.combine(date.min, cash_close) - _LATE_BEFORE_CLOSE).time()


# Price banding


def band_reference(
    last: Decimal | None = None,
    bid: Decimal | None = None,
    offer: Decimal | None = None,
    settlement: Decimal | None = None,
    indicative: Decimal | None = None,
    *,
    is_pre_open: bool = False,
) -> Decimal:
    """Return the price that bands are measured from.

    Open: the last trade, improved by a bid above or an offer below it, else the settlement. Pre-open: the indicative
    opening price, else the settlement. Raises BadValueError when none is known, or the market is crossed.
    """
    if not is_pre_open and bid is not None and offer is not None and bid >= offer:
        raise BadValueError("bid", f"{bid} is not below the offer {offer}")
    reference = indicative if is_pre_open else last
    if reference is None:
        reference = settlement
    elif not is_pre_open:
        reference = max(reference, bid) if bid is not None else reference
        reference = min(reference, offer) if offer is not None else reference
    if reference is None:
        raise BadValueError("settlement", "no reference price is known")
    return finite(reference, "reference")


def is_banded(side: Side, price: Decimal, reference: Decimal, band: Decimal) -> bool:
    """Say whether a limit order is rejected: a buy above reference + band, a sell below reference - band."""
    positive(band, "band")
    return (finite(price, "price") - finite(reference, "reference")) * side.sign > band


# Protection


@frozen
class ProtectionPoints:
    """Protection points by product root, in price. CME derives them from the non-reviewable range, which is not
    published in a form we hold: where no value is configured, `default_ticks` ticks are assumed."""

    by_root: Mapping[str, Decimal] = field(factory=lambda: MappingProxyType({}))
    default_ticks: int = _DEFAULT_PROTECTION_TICKS

    def of(self, product: Product) -> Decimal:
        found = self.by_root.get(product.code)
        return product.tick() * self.default_ticks if found is None else found


def protection_limit(side: Side, best_bid: Decimal, best_ask: Decimal, points: Decimal) -> Decimal:
    """Return the limit of a market order with protection: best offer + points to buy, best bid - points to sell.

    What the limit leaves rests at it. Raises BadValueError for a crossed or locked market and for negative points.
    """
    if positive(best_bid, "best_bid") >= positive(best_ask, "best_ask"):
        raise BadValueError("best_bid", f"{best_bid} is not below the best ask {best_ask}")
    return (best_ask if side is Side.BUY else best_bid) + side.sign * _points(points)


def stop_limit_price(side: Side, trigger: Decimal, points: Decimal) -> Decimal:
    """Return the limit of a stop with protection that a trade at or through `trigger` elected."""
    return positive(trigger, "trigger") + side.sign * _points(points)


def _points(points: Decimal) -> Decimal:
    if finite(points, "protection_points") < ZERO:
        raise BadValueError("protection_points", f"{points} is negative")
    return points
