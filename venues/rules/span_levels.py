"""Which published levels of margin hold on a day, and what to use where there are none.

Everything here is data with an effective date and a grade: V read in a source, U uncertain. Levels change often: they
are defaults to be replaced by a parameter file, and a day they do not cover is refused.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from typing import Generic, TypeVar

from attrs import frozen

from venues.model.money import ONE, ZERO
from venues.rules.errors import BadValueError, OutsideTableError, UnknownProductError
from venues.rules.span_parameters import Parameters
from venues.rules.span_product import InterLeg, InterSpread, IntraSpread, Product, SpreadSide

_T = TypeVar("_T")


# Initial against maintenance


class AccountType(Enum):
    """Whose account it is. CME calls a speculator one of heightened risk profile."""

    MEMBER = "member"
    HEDGER = "hedger"
    SPECULATOR = "speculator"


INITIAL_RATIOS: Mapping[AccountType, Decimal] = {
    AccountType.MEMBER: ONE,
    AccountType.HEDGER: ONE,
    AccountType.SPECULATOR: Decimal("1.10"),
}
"""CME "Performance bonds/margins": heightened risk profile pays 110 % of maintenance, others 100 % (grade V)."""


def initial_ratio(account: AccountType, house_factor: Decimal = ONE) -> Decimal:
    """Return initial / maintenance for `account`; a broker may ask `house_factor` times the clearing house's."""
    if not house_factor.is_finite() or house_factor < ONE:
        raise BadValueError("house_factor", f"must be at least 1, got {house_factor}")
    return INITIAL_RATIOS[account] * house_factor


# SPAN 2


@frozen
class Span2Start:
    """From when SPAN 2 sets the requirement of `products`, so that classic SPAN only estimates it."""

    products: frozenset[str]
    effective: date
    note: str


SPAN2_STARTS: tuple[Span2Start, ...] = (
    Span2Start(frozenset({"CL", "MCL", "NG", "RB", "HO"}), date(2023, 9, 1), "energy, September 2023, day U"),
    Span2Start(
        frozenset({"ES", "NQ", "RTY", "YM", "MES", "MNQ", "M2K", "MYM"}),
        date(2025, 4, 10),
        "equity index, in production by April 2025 (advisory 25-150), start U",
    ),
)


def span2_products(
    products: Iterable[str], day: date | None = None, starts: Sequence[Span2Start] = SPAN2_STARTS
) -> tuple[str, ...]:
    """Return those of `products` that SPAN 2 rules on `day` (None: once all `starts` have passed)."""
    ruled: set[str] = set()
    for start in starts:
        if day is None or day >= start.effective:
            ruled |= start.products
    return tuple(code for code in products if code in ruled)


# Effective dates


@frozen
class History(Generic[_T]):
    """Values by the trade date from which they hold, ascending, `until` the day the last one is known to hold."""

    name: str
    entries: tuple[tuple[date, _T], ...]
    until: date | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse a history that is empty or not ascending."""
        days = [day for day, _ in self.entries]
        if not days or any(later <= earlier for earlier, later in pairwise(days)):
            raise BadValueError(self.name, "effective dates must be given and ascend")

    def on(self, day: date) -> _T:
        """Return what holds on trade date `day`. Raises OutsideTableError before the first and after `until`."""
        place = bisect_right([effective for effective, _ in self.entries], day)
        if not place or (self.until is not None and day > self.until):
            raise OutsideTableError(self.name, f"has nothing for {day}")
        return self.entries[place - 1][1]


class Basis(Enum):
    """What a level is quoted in."""

    AMOUNT = "amount"
    PCT_OF_NOTIONAL = "pct_of_notional"


@frozen
class Level:
    """Maintenance margin of one contract: money, or a share of its notional (0.09 for 9 %)."""

    basis: Basis
    maintenance: Decimal
    source: str


def _share(share: str, source: str) -> Level:
    return Level(Basis.PCT_OF_NOTIONAL, Decimal(share), source)


def _metal(name: str, *shares: tuple[date, str]) -> History[Level]:
    source = "CME margin advisories of 2026 as reported; later levels not established (U)"
    return History(name, tuple((day, _share(share, source)) for day, share in shares))


_LEAN = "QuantConnect Lean margin tables, last row, stale since (V as of its date)"
_LEAN_DAY = date(2022, 1, 21)


def _amount(name: str, maintenance: str) -> History[Level]:
    return History(name, ((_LEAN_DAY, Level(Basis.AMOUNT, Decimal(maintenance), _LEAN)),), until=date(2022, 2, 28))


LEVELS: Mapping[str, History[Level]] = {
    # A level changed after the close holds from the next trade date.
    "GC": _metal("GC", (date(2026, 1, 14), "0.05"), (date(2026, 2, 2), "0.08"), (date(2026, 2, 9), "0.09")),
    "SI": _metal(
        "SI",
        (date(2026, 1, 14), "0.09"),
        (date(2026, 1, 29), "0.11"),
        (date(2026, 2, 2), "0.15"),
        (date(2026, 2, 9), "0.18"),
    ),
} | {
    name: _amount(name, maintenance)
    for name, maintenance in {
        "ES": "10800", "NQ": "15000", "YM": "8000", "RTY": "5500", "MES": "1080", "HG": "5000", "CL": "6800",
        "NG": "7500", "6E": "2200", "6J": "2500", "6B": "2150", "6A": "1450", "6C": "1350", "ZN": "1500",
        "ZB": "3500", "ZF": "925", "ZT": "790",
    }.items()
}  # fmt: skip
"""Maintenance levels by product, to be replaced by one's own."""


def scan_risk_on(
    product: str, day: date, notional: Decimal | None = None, levels: Mapping[str, History[Level]] = LEVELS
) -> Decimal:
    """Return the scan risk of one contract on trade date `day`; for one future it is the maintenance margin.

    `notional` is price x multiplier, needed where the level is a share of it. Raises UnknownProductError,
    OutsideTableError, BadValueError.
    """
    history = levels.get(product)
    if history is None:
        raise UnknownProductError("product", f"no margin level is known for {product!r}")
    level = history.on(day)
    if level.basis is Basis.AMOUNT:
        return level.maintenance
    if notional is None:
        raise BadValueError("notional", f"{product} is margined as a share of it")
    return _notional("notional", notional) * level.maintenance


def _notional(path: str, notional: Decimal) -> Decimal:
    if not notional.is_finite() or notional <= ZERO:
        raise BadValueError(path, f"must be positive, got {notional}")
    return notional


# Without a parameter file


@frozen
class Fallback:
    """Scan ranges as shares of notional and spread credits as shares of the legs' margins: a rough guide."""

    ranges: Mapping[str, Decimal]
    calendar_credits: Mapping[str, Decimal]
    inter_credits: tuple[tuple[str, str, Decimal], ...]


ROUGH = Fallback(
    {name: Decimal(share) for name, share in
     {"ES": "0.08", "NQ": "0.10", "GC": "0.06", "CL": "0.12", "6E": "0.04", "ZB": "0.03"}.items()},
    {"ES": Decimal("0.70"), "GC": Decimal("0.75"), "CL": Decimal("0.60")},
    (("ES", "NQ", Decimal("0.40")), ("GC", "SI", Decimal("0.30")), ("CL", "NG", Decimal("0.20"))),
)  # fmt: skip
"""The project's own fallback, no clearing house's numbers."""


def fallback_parameters(
    notionals: Mapping[str, Decimal],
    ratio: Decimal,
    months: Mapping[str, Sequence[str]] | None = None,
    rough: Fallback = ROUGH,
) -> Parameters:
    """Return parameters guessed from the notional of one contract by product; every result carries a note saying so.

    `months` are each product's months, nearest first: neighbours are spread before months further apart, at
    (1 - credit) of both legs' margins. Inter-commodity spreads form one to one, on opposite sides only.
    Raises UnknownProductError for a product without a range.
    """
    products = {}
    for code, notional in notionals.items():
        if code not in rough.ranges:
            raise UnknownProductError(f"notionals.{code}", "has no fallback scan range; a parameter file is needed")
        products[code] = Product(scan_risk=_notional(f"notionals.{code}", notional) * rough.ranges[code])
    intra = []
    for code, listed in (months or {}).items():
        if code not in products:
            raise UnknownProductError(f"months.{code}", "has no notional")
        credit = rough.calendar_credits.get(code)
        risk = products[code].scan_risk
        if credit is None or risk is None:
            continue
        intra += [
            IntraSpread(code, distance, (listed[near], listed[near + distance]), (ONE - credit) * 2 * risk)
            for distance in range(1, len(listed))
            for near in range(len(listed) - distance)
        ]
    inter = [
        InterSpread(number, (InterLeg(one, SpreadSide.A, ONE), InterLeg(other, SpreadSide.B, ONE)), credit)
        for number, (one, other, credit) in enumerate(rough.inter_credits, start=1)
        if one in products and other in products
    ]
    note = "rough guide: fallback scan ranges as shares of notional, not a clearing house's parameters"
    return Parameters(products, ratio, tuple(intra), tuple(inter), (note,))
