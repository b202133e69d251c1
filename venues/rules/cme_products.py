"""Holds what CME lists: sizes, ticks, months, windows, breakers and fees, each with the date it holds from."""

import tomllib
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from attrs import frozen

from venues.model.money import ZERO, parse_decimal
from venues.rules.dated import check_order, row_on
from venues.rules.errors import BadTableError, OutsideTableError, UnknownProductError

MONTHS = "FGHJKMNQUVXZ"
"""Month codes, January to December."""


class Group(StrEnum):
    """Products that share their hours and their halts."""

    EQUITY = "equity"
    RATES = "rates"
    FX = "fx"
    ENERGY = "energy"
    METALS = "metals"


class Delivery(StrEnum):
    CASH = "cash"
    PHYSICAL = "physical"


class ExpiryRule(StrEnum):
    """How a contract month gives the last trading day."""

    EQUITY = "equity"
    METALS = "metals"
    CRUDE = "crude"
    MICRO_CRUDE = "micro_crude"
    NATURAL_GAS = "natural_gas"
    CURRENCY = "currency"
    CANADIAN_DOLLAR = "canadian_dollar"
    SHORT_TREASURY = "short_treasury"
    LONG_TREASURY = "long_treasury"


class Commission(StrEnum):
    """Which of the broker's commission tables applies."""

    STANDARD = "standard"
    MICRO = "micro"


@frozen
class DatedValue:
    since: date
    value: Decimal


@frozen
class Breaker:
    """Width of the dynamic circuit breaker: a `share` of the previous settlement, or `points`, never both."""

    since: date
    share: Decimal | None = None
    points: Decimal | None = None


@frozen
class Window:
    """A daily settlement window, Chicago wall-clock time."""

    since: date
    start: time
    end: time


@frozen
class Product:
    """One product root. `multiplier` is money per price unit; `ends` is Chicago time on the last trading day."""

    code: str
    exchange: str
    ib_symbol: str
    group: Group
    multiplier: Decimal
    months: str
    active: str
    delivery: Delivery
    expiry: ExpiryRule
    ends: time
    commission: Commission
    ticks: tuple[DatedValue, ...]
    breakers: tuple[Breaker, ...]
    windows: tuple[Window, ...]
    fees: tuple[DatedValue, ...]
    full_size: str | None = None

    def tick(self, day: date | None = None) -> Decimal:
        """Return the outright tick on `day`, today's for None. Raises OutsideTableError."""
        return row_on(self.ticks, day, "date").value


def product(code: str, field: str = "product") -> Product:
    """Return the product called `code`. Raises UnknownProductError naming `field`."""
    found = products().get(code)
    if found is None:
        raise UnknownProductError(field, f"{code!r} is not in the table")
    return found


def weight(found: Product) -> Decimal:
    """Return how many full-size contracts one contract is: 0.1 for the micros, 1 otherwise."""
    return found.multiplier / product(found.full_size).multiplier if found.full_size else Decimal(1)


def exchange_fee(found: Product, day: date | None = None, field: str = "product") -> Decimal:
    """Return the exchange's fee per contract and side. Raises UnknownProductError where none is established."""
    if not found.fees:
        raise UnknownProductError(field, f"the exchange fee of {found.code} is not established")
    return row_on(found.fees, day, "date").value


@cache
def products() -> Mapping[str, Product]:
    """Return every product by its code. Raises BadTableError when the shipped table contradicts itself."""
    text = resources.files("venues.rules").joinpath("cme_products.toml").read_text(encoding="utf-8")
    found = {code: _product(code, row) for code, row in tomllib.loads(text).items()}
    for one in found.values():
        if one.full_size is not None and one.full_size not in found:
            raise BadTableError(one.code, f"full_size {one.full_size} is not in the table")
    return found


def _product(code: str, row: Mapping[str, Any]) -> Product:
    made = Product(
        code=code,
        exchange=row["exchange"],
        ib_symbol=row["ib_symbol"],
        group=Group(row["group"]),
        multiplier=_positive(row["multiplier"], code),
        months=row["months"],
        active=row.get("active", row["months"]),
        delivery=Delivery(row["delivery"]),
        expiry=ExpiryRule(row["expiry"]),
        ends=time.fromisoformat(row["ends"]),
        commission=Commission(row["commission"]),
        ticks=_values(row["tick"], code),
        breakers=tuple(_breaker(one, code) for one in row["breaker"]),
        windows=tuple(
            Window(one["since"], time.fromisoformat(one["start"]), time.fromisoformat(one["end"]))
            for one in row["window"]
        ),
        fees=_values(row["fee"], code),
        full_size=row.get("full_size"),
    )
    if not set(made.active) <= set(made.months) <= set(MONTHS):
        raise BadTableError(code, "the active months are no months of it")
    for rows in (made.ticks, made.breakers, made.windows, made.fees):
        check_order(rows, code)
    return made


def _values(rows: list[Mapping[str, Any]], code: str) -> tuple[DatedValue, ...]:
    return tuple(DatedValue(one["since"], _positive(one["value"], code)) for one in rows)


def _breaker(row: Mapping[str, Any], code: str) -> Breaker:
    made = Breaker(
        row["since"],
        _positive(row["share"], code) if "share" in row else None,
        _positive(row["points"], code) if "points" in row else None,
    )
    if (made.share is None) == (made.points is None):
        raise BadTableError(code, "a breaker has either a share or points")
    return made


def _positive(value: object, code: str) -> Decimal:
    number = parse_decimal(value, code)
    if number <= ZERO:
        raise BadTableError(code, f"{value} is not positive")
    return number


def breaker_on(found: Product, day: date | None = None, field: str = "product") -> Breaker:
    """Return the breaker that holds on `day`. Raises OutsideTableError naming `field`."""
    if not found.breakers:
        raise OutsideTableError(field, f"{found.code} has no dynamic circuit breaker in the table")
    return row_on(found.breakers, day, "date")
