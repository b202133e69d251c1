"""Decides whether positions pass a position limit or an accountability level.

Everything counts in full-size contracts, micros at 1/10, net per contract month. Source: facts E (COMEX MSN04-09-20,
CBOT RA1205-1, CME SER-6815, 17 CFR 150 appendix E). NQ, RTY and YM have limits that were not found.
"""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import resources

from attrs import frozen

from venues.model.money import ZERO
from venues.rules.checks import finite
from venues.rules.cme_products import products, weight
from venues.rules.contracts import Contract
from venues.rules.errors import BadTableError
from venues.rules.expiry import first_notice_day, last_trading_day
from venues.rules.holidays import business_day_from, business_days_until


class LimitKind(StrEnum):
    SPOT = "spot"
    SINGLE = "single"
    ALL = "all"


@frozen
class PositionLimit:
    """One row: `contracts` full-size ones, `days` business days before expiry for SPOT (0: from first notice)."""

    product: str
    kind: LimitKind
    contracts: int
    is_hard: bool
    as_of: date
    days: int = 0


@frozen
class LimitBreach:
    """A limit that positions pass: `held` full-size contracts, net; `contract` is None for ALL."""

    limit: PositionLimit
    held: Decimal
    contract: Contract | None = None


def full_size_contracts(positions: Mapping[Contract, Decimal]) -> dict[Contract, Decimal]:
    """Return signed positions in full-size contracts by month of the full-size product: ten MES are one ES.

    Raises BadValueError for a quantity that is not finite, UnknownProductError for an unknown root.
    """
    found: dict[Contract, Decimal] = {}
    for held, qty in positions.items():
        root = held.product.full_size or held.root
        key = Contract(root, held.year, held.month)
        found[key] = found.get(key, ZERO) + finite(qty, "qty") * weight(held.product)
    return found


def breaches(
    positions: Mapping[Contract, Decimal], day: date, limits: Sequence[PositionLimit] | None = None
) -> list[LimitBreach]:
    """Return every limit that signed `positions` pass on `day`, in the table's order.

    An empty list for a product without rows does not mean that it has no limits: see `is_known`.
    """
    held = full_size_contracts(positions)
    found = []
    for limit in table() if limits is None else limits:
        mine = {one: qty for one, qty in sorted(held.items()) if one.root == limit.product}
        if limit.kind is LimitKind.ALL:
            total = sum(mine.values(), ZERO)
            if abs(total) > limit.contracts:
                found.append(LimitBreach(limit, total))
            continue
        for one, qty in mine.items():
            if abs(qty) > limit.contracts and (limit.kind is LimitKind.SINGLE or is_spot(one, day, limit.days)):
                found.append(LimitBreach(limit, qty, one))
    return found


def is_known(root: str) -> bool:
    """Say whether the table has a limit for a product; for the others nothing is established."""
    found = products().get(root)
    return found is not None and any(limit.product == (found.full_size or root) for limit in table())


def is_spot(of: Contract, day: date, days: int) -> bool:
    """Say whether `of` is in its spot period on `day`: the last `days` trading days, 0 from the eve of first notice."""
    last = last_trading_day(of)
    if day > last:
        return False
    if days:
        return business_days_until(day, last) < days
    notice = first_notice_day(of)
    return notice is not None and day >= business_day_from(notice, -1)


@cache
def table() -> tuple[PositionLimit, ...]:
    """Return the shipped limits. Raises BadTableError for a product that is none."""
    text = resources.files("venues.rules").joinpath("position_limits.toml").read_text(encoding="utf-8")
    found = tuple(
        PositionLimit(
            row["product"], LimitKind(row["kind"]), row["contracts"], row["is_hard"], row["as_of"], row.get("days", 0)
        )
        for row in tomllib.loads(text)["limit"]
    )
    for limit in found:
        if limit.product not in products() or products()[limit.product].full_size:
            raise BadTableError(limit.product, "no full-size product of the table")
        if limit.contracts <= 0 or limit.days < 0:
            raise BadTableError(limit.product, "a limit is positive")
    return found
