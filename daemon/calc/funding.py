"""Funding rates, payments, mark prices and break-even, asked on the command line."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attrs import frozen

from daemon.calc.core import CalcError, calc
from venues.rules.checks import positive
from venues.rules.funding import binance_funding_rate, bybit_funding_rate, funding_payment
from venues.rules.funding_stamps import FundingLeg, break_even
from venues.rules.instants import instant_ns
from venues.rules.mark_price import delivery_mark_price, perpetual_mark_price
from venues.rules.premium_index import BINANCE_AVERAGE


@frozen
class BinanceFundingRate:
    interval_hours: int
    interest_rate: Decimal
    cap: Decimal
    floor: Decimal
    premium_average: Decimal | None = None
    premium_samples: tuple[Decimal, ...] | None = None


@calc("binance.funding_rate")
def of_binance(given: BinanceFundingRate) -> dict[str, Any]:
    average = given.premium_average
    if given.premium_samples is not None:
        if average is not None:
            raise CalcError("BadValue", "premium_samples", "given beside premium_average: one of the two")
        average = BINANCE_AVERAGE.of(given.premium_samples, given.interval_hours)
    if average is None:
        raise CalcError("MissingField", "premium_average", "missing, and no premium_samples either")
    rate = binance_funding_rate(average, given.interval_hours, given.interest_rate, given.cap, given.floor)
    return {"funding_rate": rate, "premium_average": average}


@frozen
class BybitFundingRate:
    premium_average: Decimal
    interval_hours: int
    interest_rate_8h: Decimal
    cap: Decimal
    floor: Decimal


@calc("bybit.funding_rate")
def of_bybit(given: BybitFundingRate) -> dict[str, Any]:
    rate = bybit_funding_rate(
        given.premium_average, given.interval_hours, given.interest_rate_8h, given.cap, given.floor
    )
    return {"funding_rate": rate}


class ContractKind(StrEnum):
    PERPETUAL = "perpetual"
    DELIVERY = "delivery"


@frozen
class MarkPriceInput:
    kind: ContractKind
    index: Decimal
    basis_average: Decimal
    last_price: Decimal | None = None
    last_funding_rate: Decimal | None = None
    seconds_to_funding: Decimal | None = None
    interval_hours: int | None = None


@calc("binance.mark_price")
def of_mark(given: MarkPriceInput) -> dict[str, Any]:
    if given.kind is ContractKind.DELIVERY:
        for name in ("last_funding_rate", "seconds_to_funding", "interval_hours"):
            if getattr(given, name) is not None:
                raise CalcError("UnknownField", name, "a delivery contract has no funding")
        if given.last_price is not None:
            positive(given.last_price, "last_price")
        return {"mark_price": delivery_mark_price(given.index, given.basis_average)}
    mark = perpetual_mark_price(
        given.index,
        _given("last_funding_rate", given.last_funding_rate),
        _given("seconds_to_funding", given.seconds_to_funding),
        int(_given("interval_hours", given.interval_hours)),
        given.basis_average,
        _given("last_price", given.last_price),
    )
    return {"mark_price": mark}


def _given(name: str, value: Decimal | int | None) -> Decimal:
    if value is None:
        raise CalcError("MissingField", name, "missing: a perpetual needs it")
    return Decimal(value)


@frozen
class FundingPayment:
    qty: Decimal
    mark_price: Decimal
    rate: Decimal


@calc("binance.funding_payment")
def paid_at_binance(given: FundingPayment) -> dict[str, Any]:
    return {"amount": funding_payment(given.qty, given.mark_price, given.rate)}


@calc("bybit.funding_payment")
def paid_at_bybit(given: FundingPayment) -> dict[str, Any]:
    return {"amount": funding_payment(given.qty, given.mark_price, given.rate)}


@frozen
class BreakEvenInput:
    legs: tuple[FundingLeg, ...]
    cost_bps: Decimal
    notional: Decimal
    entry_time: datetime


@calc("funding.break_even")
def until_earned(given: BreakEvenInput) -> dict[str, Any]:
    cost = positive(given.notional, "notional") * given.cost_bps / 10_000
    found = break_even(given.legs, given.cost_bps, instant_ns(given.entry_time))
    if found is None:
        return {"stamps": None, "hours": None, "cost": cost}
    return {"stamps": found.stamps, "hours": found.hours, "cost": cost}
