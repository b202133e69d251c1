"""Decides when a contract ends: last trading day, notice days, roll date, the day to be out of it.

Source: facts A3 and D (CME contract specifications; the Quantitative Brokers note on Treasury rolls; Interactive
Brokers' futures close-out page). All are days; `termination` gives the instant.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from attrs import frozen

from venues.model.order import Side
from venues.rules.calendar import utc
from venues.rules.cme_products import Delivery, ExpiryRule, Group
from venues.rules.contracts import Contract
from venues.rules.errors import UnknownProductError
from venues.rules.holidays import business_day_from, first_of_next, is_business_day, last_business_day, nth_weekday

_WEDNESDAY = 2
_FRIDAY = 4
_FIELD = "contract"
_MONDAY_ROLL_SINCE = date(2022, 6, 13)


class RollMethod(StrEnum):
    EXCHANGE = "exchange"


@frozen
class CloseOutRule:
    """How many business days before the deciding day a position must be gone.

    Interactive Brokers publishes two and may liquidate from then on without notice; the default keeps a day of it.
    """

    business_days: int = 3


def last_trading_day(of: Contract) -> date:
    """Return the last day on which `of` trades. Raises OutsideTableError."""
    return _LAST_TRADING_DAY[of.product.expiry](of)


def termination(of: Contract) -> datetime:
    """Return the instant after which `of` no longer trades, UTC."""
    return utc(last_trading_day(of), of.product.ends)


def first_notice_day(of: Contract) -> date | None:
    """Return the first day on which a long may be given notice of delivery; None for cash, FX and energy.

    FX and energy deliver what is held through the last trading day.
    """
    if of.product.delivery is Delivery.CASH or of.product.group not in (Group.METALS, Group.RATES):
        return None
    return business_day_from(date(of.year, of.month, 1), -1, _FIELD)


def first_position_day(of: Contract) -> date | None:
    """Return the first intention (position) day; None where the product has none.

    Treasuries: two business days before the first business day of the contract month. Metals: the notice day.
    """
    if of.product.group is Group.RATES:
        return business_day_from(date(of.year, of.month, 1), -2, _FIELD)
    return first_notice_day(of)


def roll_date(of: Contract, method: RollMethod = RollMethod.EXCHANGE) -> date:
    """Return the day on which equity index futures move to the next quarter.

    EXCHANGE: the Monday before the third Friday since June 2022, before that eight days before it. Other products have
    no such convention (see `roll_by_volume`): UnknownProductError.
    """
    if of.product.group is not Group.EQUITY:
        raise UnknownProductError(_FIELD, f"{of.root} has no {method.value} roll date; equity index futures do")
    third_friday = nth_weekday(of.year, of.month, _FRIDAY, 3)
    monday = third_friday - timedelta(days=4)
    return monday if monday >= _MONDAY_ROLL_SINCE else third_friday - timedelta(days=8)


def roll_by_volume(
    of: Contract, front: Mapping[date, int], back: Mapping[date, int], cap_business_days: int = 3
) -> date | None:
    """Return the first day on which the next month traded more (or had more open interest) than `of`.

    Never later than `cap_business_days` before the first notice or last trading day, whichever is first; None when
    neither has come within the given days. Volumes count contracts by trade date.
    """
    cap = business_day_from(_deciding_day(of, Side.BUY), -cap_business_days, _FIELD)
    for day in sorted(front.keys() & back.keys()):
        if day >= cap:
            return cap
        if back[day] > front[day]:
            return day
    return cap if front and max(front) >= cap else None


def close_out_date(of: Contract, side: Side, rule: CloseOutRule | None = None) -> date:
    """Return the last day on which a position of `side` (BUY is long) may be held at the broker.

    Longs go before the first notice, position or last trading day, whichever is first; shorts before the last trading
    day.
    """
    return business_day_from(_deciding_day(of, side), -(rule or CloseOutRule()).business_days, _FIELD)


def reduce_only_date(of: Contract) -> date | None:
    """Return the day from which the broker takes only orders that reduce the margin: the last five of oil, cash-settled
    micro crude included, because its price may turn negative. None for the other products."""
    if of.product.expiry not in (ExpiryRule.CRUDE, ExpiryRule.MICRO_CRUDE):
        return None
    return business_day_from(last_trading_day(of), -4, _FIELD)


def _deciding_day(of: Contract, side: Side) -> date:
    days = [last_trading_day(of)]
    if side is Side.BUY:
        days += [day for day in (first_notice_day(of), first_position_day(of)) if day is not None]
    return min(days)


def _equity(of: Contract) -> date:
    third_friday = nth_weekday(of.year, of.month, _FRIDAY, 3)
    return third_friday if is_business_day(third_friday, _FIELD) else business_day_from(third_friday, -1, _FIELD)


def _metals(of: Contract) -> date:
    return business_day_from(first_of_next(of.year, of.month), -3, _FIELD)


def _crude(of: Contract) -> date:
    year, month = _month_before(of)
    day = date(year, month, 25)
    if not is_business_day(day, _FIELD):
        day = business_day_from(day, -1, _FIELD)
    return business_day_from(day, -3, _FIELD)


def _micro_crude(of: Contract) -> date:
    return business_day_from(_crude(of), -1, _FIELD)


def _natural_gas(of: Contract) -> date:
    return business_day_from(date(of.year, of.month, 1), -3, _FIELD)


def _before_third_wednesday(count: int) -> Callable[[Contract], date]:
    return lambda of: business_day_from(nth_weekday(of.year, of.month, _WEDNESDAY, 3), -count, _FIELD)


def _short_treasury(of: Contract) -> date:
    return last_business_day(of.year, of.month, _FIELD)


def _long_treasury(of: Contract) -> date:
    return business_day_from(_short_treasury(of), -7, _FIELD)


def _month_before(of: Contract) -> tuple[int, int]:
    return (of.year - 1, 12) if of.month == 1 else (of.year, of.month - 1)


_LAST_TRADING_DAY: Mapping[ExpiryRule, Callable[[Contract], date]] = MappingProxyType(
    {
        ExpiryRule.EQUITY: _equity,
        ExpiryRule.METALS: _metals,
        ExpiryRule.CRUDE: _crude,
        ExpiryRule.MICRO_CRUDE: _micro_crude,
        ExpiryRule.NATURAL_GAS: _natural_gas,
        ExpiryRule.CURRENCY: _before_third_wednesday(2),
        ExpiryRule.CANADIAN_DOLLAR: _before_third_wednesday(1),
        ExpiryRule.SHORT_TREASURY: _short_treasury,
        ExpiryRule.LONG_TREASURY: _long_treasury,
    }
)
