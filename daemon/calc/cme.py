"""Answers questions about CME contracts: days, sessions, limits, settlement cash, fees."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from attrs import frozen

from daemon.calc.core import calc
from venues.costs import cme_fees
from venues.model.money import ZERO
from venues.model.order import Side
from venues.rules import expiry, price_limits, settlement
from venues.rules.calendar import session
from venues.rules.checks import positive
from venues.rules.circuit_breakers import variant
from venues.rules.cme_products import product
from venues.rules.contracts import parse_contract
from venues.rules.errors import BadValueError
from venues.rules.expiry import RollMethod
from venues.rules.settlement import Action


@frozen
class OfContract:
    contract: str


@calc("cme.last_trading_day")
def last_trading_day(given: OfContract) -> dict[str, Any]:
    return {"date": expiry.last_trading_day(parse_contract(given.contract))}


@calc("cme.first_notice_day")
def first_notice_day(given: OfContract) -> dict[str, Any]:
    return {"date": expiry.first_notice_day(parse_contract(given.contract))}


@frozen
class Roll:
    contract: str
    method: RollMethod


@calc("cme.roll_date")
def roll_date(given: Roll) -> dict[str, Any]:
    return {"date": expiry.roll_date(parse_contract(given.contract), given.method)}


@frozen
class SettlementDay:
    product: str
    date: date


@calc("cme.settlement_window")
def settlement_window(given: SettlementDay) -> dict[str, Any]:
    start, end = settlement.settlement_window(product(given.product), given.date)
    return {"start_utc": start, "end_utc": end}


@frozen
class SessionAt:
    product: str
    at: datetime


@calc("cme.session")
def session_at(given: SessionAt) -> dict[str, Any]:
    found = session(product(given.product), given.at)
    return {"state": found.state, "trade_date": found.trade_date, "rth": found.rth}


@frozen
class PriceLimits:
    product: str
    fixing: Decimal
    index: Decimal
    tick: Decimal
    overnight_pct: Decimal


@calc("cme.equity_price_limits")
def equity_price_limits(given: PriceLimits) -> dict[str, Any]:
    limits = price_limits.equity_limits(
        product(given.product), given.fixing, given.index, given.tick, given.overnight_pct
    )
    return {
        "overnight_up": limits.overnight_up,
        "overnight_down": limits.overnight_down,
        "l1": limits.l1,
        "l2": limits.l2,
        "l3": limits.l3,
    }


@frozen
class BreakerWidth:
    product: str
    settlement: Decimal


@calc("cme.dynamic_circuit_breaker")
def dynamic_circuit_breaker(given: BreakerWidth) -> dict[str, Any]:
    return {"variant": variant(product(given.product), given.settlement)}


@frozen
class Protection:
    side: Side
    best_bid: Decimal
    best_ask: Decimal
    protection_points: Decimal


@calc("cme.protection_limit")
def protection_limit(given: Protection) -> dict[str, Any]:
    limit = price_limits.protection_limit(given.side, given.best_bid, given.best_ask, given.protection_points)
    return {"limit_price": limit}


@frozen
class Variation:
    multiplier: Decimal
    actions: tuple[Action, ...]


@calc("cme.variation_margin")
def variation_margin(given: Variation) -> dict[str, Any]:
    flows = settlement.variation_margin(given.multiplier, given.actions)
    return {"flows": flows, "total": sum(flows, ZERO)}


@frozen
class Fees:
    product: str
    qty: Decimal


@calc("cme.fees")
def fees(given: Fees) -> dict[str, Any]:
    if positive(given.qty, "qty") != given.qty.to_integral_value():
        raise BadValueError("qty", f"{given.qty} is no whole number of contracts")
    per_side = cme_fees.per_side(product(given.product))
    return {"per_side": per_side, "total": per_side * given.qty}
