"""Decides what a day's settlement is and what cash it moves.

Windows are Chicago wall-clock times of the product's table; a day that closes before its window ends has the early
window of the calendar. Futures profits are cash each trade date. Source: facts A4 and D (CME settlement FAQ, ES and
metals settlement pages).
"""

from collections import deque
from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from attrs import define, field, frozen

from venues.model.money import ZERO, round_to_step
from venues.rules.calendar import closing_time, covered, early_window, utc
from venues.rules.checks import finite, positive
from venues.rules.cme_products import Delivery, Group, Product, product
from venues.rules.dated import row_on
from venues.rules.errors import BadValueError, RuleError
from venues.rules.holidays import is_business_day

_DAYS_PER_YEAR = 365


class NoSettlementError(RuleError):
    """A day on which a product is not settled."""


class FinalSettlement(StrEnum):
    """What ends a contract: an index's special opening quotation, the full-size contract's settlement, or goods."""

    SPECIAL_OPENING_QUOTATION = "special_opening_quotation"
    FULL_SIZE_SETTLEMENT = "full_size_settlement"
    DELIVERY = "delivery"


def settlement_window(of: Product, day: date, name: str = "date") -> tuple[datetime, datetime]:
    """Return start and end of the settlement window of trade date `day`, UTC.

    Raises NoSettlementError for weekends, holidays and days that close before any known window, OutsideTableError
    beyond the calendar; both name `name`.
    """
    closes = closing_time(of.group, covered(day, name))
    if closes is None or not is_business_day(day, name):
        raise NoSettlementError(name, f"{of.code} is not settled on {day}: no business day")
    ordinary = row_on(of.windows, day, name)
    if ordinary.end <= closes:
        return utc(day, ordinary.start), utc(day, ordinary.end)
    early = early_window(of.group)
    if early is None or early.end > closes:
        raise NoSettlementError(name, f"{of.code} closes at {closes} on {day}; no settlement window is known")
    return utc(day, early.start), utc(day, early.end)


def settles_as(of: Product) -> Product:
    """Return the product whose settlement price `of` takes: the full-size one for micros, itself otherwise."""
    return product(of.full_size) if of.full_size else of


def daily_settlement(
    tick: Decimal,
    vwap: Decimal | None = None,
    bid: Decimal | None = None,
    offer: Decimal | None = None,
    fair: Decimal | None = None,
) -> Decimal:
    """Return the lead month's settlement, on the tick: the window's VWAP, else the midpoint, else the fair value.

    Halves round up. Raises BadValueError when nothing is known, or the market is crossed.
    """
    positive(tick, "tick")
    if vwap is not None:
        price = positive(vwap, "vwap")
    elif bid is not None and offer is not None:
        if positive(bid, "bid") >= positive(offer, "offer"):
            raise BadValueError("bid", f"{bid} is not below the offer {offer}")
        price = (bid + offer) / 2
    elif fair is not None:
        price = positive(fair, "fair")
    else:
        raise BadValueError("vwap", "neither a trade, nor a market, nor a fair value")
    return round_to_step(price, tick, ROUND_HALF_UP)


def index_fair_value(index: Decimal, rate: Decimal, days: int) -> Decimal:
    """Return an index carried `days` days at yearly `rate`: index + days/365 x rate x index."""
    if days < 0:
        raise BadValueError("days", f"{days} is negative")
    return positive(index, "index") * (1 + finite(rate, "rate") * days / _DAYS_PER_YEAR)


def later_month_settlement(lead: Decimal, spread: Decimal, tick: Decimal) -> Decimal:
    """Return a later month's settlement: the lead month's plus the VWAP of the calendar spread, on the tick."""
    spread = finite(spread, "spread")
    return round_to_step(positive(lead, "lead") + spread, positive(tick, "tick"), ROUND_HALF_UP)


def final_settlement(of: Product) -> FinalSettlement:
    """Say what ends a contract of `of`."""
    if of.delivery is Delivery.PHYSICAL:
        return FinalSettlement.DELIVERY
    if of.group is Group.EQUITY:
        return FinalSettlement.SPECIAL_OPENING_QUOTATION
    return FinalSettlement.FULL_SIZE_SETTLEMENT


def expiry_cash(qty: Decimal, multiplier: Decimal, last_settlement: Decimal, final: Decimal) -> Decimal:
    """Return what the final settlement pays a position of signed `qty` that was marked at `last_settlement`."""
    positive(multiplier, "multiplier")
    return finite(qty, "qty") * multiplier * (positive(final, "final") - positive(last_settlement, "last_settlement"))


# Variation margin


@frozen
class Trade:
    """A trade of signed whole contracts."""

    qty: Decimal
    price: Decimal


@frozen
class Action:
    """One thing that happens to an account: a trade, or a settlement price. Exactly one is given."""

    trade: Trade | None = None
    settle: Decimal | None = None


@define
class VariationAccount:
    """One product's open lots of one account, oldest first: signed contracts and the price they are marked at."""

    multiplier: Decimal
    lots: deque[tuple[Decimal, Decimal]] = field(factory=deque)

    @property
    def qty(self) -> Decimal:
        return sum((qty for qty, _ in self.lots), ZERO)

    def trade(self, qty: Decimal, price: Decimal) -> Decimal | None:
        """Take a trade; return the cash of the part that reduces the position, None when nothing is reduced."""
        flow = None
        while qty and self.lots and (self.lots[0][0] > ZERO) is not (qty > ZERO):
            held, mark = self.lots.popleft()
            closed = min(abs(held), abs(qty)) * (1 if held > ZERO else -1)
            flow = (flow or ZERO) + closed * self.multiplier * (price - mark)
            qty += closed
            if held != closed:
                self.lots.appendleft((held - closed, mark))
        if qty:
            self.lots.append((qty, price))
        return flow

    def settle(self, price: Decimal) -> Decimal:
        """Mark every lot at `price` and return the cash: positive is received."""
        flow = sum((qty * self.multiplier * (price - mark) for qty, mark in self.lots), ZERO)
        self.lots = deque((qty, price) for qty, _ in self.lots)
        return flow


def variation_margin(multiplier: Decimal, actions: Sequence[Action]) -> tuple[Decimal, ...]:
    """Return the cash flows of `actions` from a flat account, in order.

    One per settlement and one per trade that reduces the position, for the reduced quantity, first in first out,
    against the last settlement or the lot's own trade price. Raises BadValueError naming the action.
    """
    account = VariationAccount(positive(multiplier, "multiplier"))
    flows = []
    for number, action in enumerate(actions):
        name = f"actions[{number}]"
        if (action.trade is None) == (action.settle is None):
            raise BadValueError(name, "either a trade or a settle price, not both")
        if action.settle is not None:
            flows.append(account.settle(positive(action.settle, f"{name}.settle")))
        elif action.trade is not None:
            flow = account.trade(
                _contracts(action.trade.qty, f"{name}.trade.qty"), positive(action.trade.price, f"{name}.trade.price")
            )
            if flow is not None:
                flows.append(flow)
    return tuple(flows)


def _contracts(qty: Decimal, name: str) -> Decimal:
    if not finite(qty, name) or qty != qty.to_integral_value():
        raise BadValueError(name, f"{qty} is no whole number of contracts")
    return qty
