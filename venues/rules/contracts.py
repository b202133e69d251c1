"""Decides which contract a symbol means, at CME and at Interactive Brokers.

CME writes root, month code, year digit: ESM6. One digit d is the year 202d; two digits are accepted. Interactive
Brokers names a future by symbol, exchange, delivery month and multiplier. Source: facts A1.
"""

import re
from decimal import Decimal

from attrs import frozen

from venues.rules.cme_products import MONTHS, Product, product, products
from venues.rules.errors import BadValueError, OutsideTableError, UnknownProductError
from venues.rules.holidays import FIRST_YEAR, LAST_YEAR

_SYMBOL = re.compile(rf"([A-Z0-9]{{2,3}})([{MONTHS}])([0-9]{{1,2}})")
_ANY_MONTH = re.compile(r"([A-Z0-9]{2,3})([A-Z])([0-9]{1,2})")


@frozen(order=True)
class Contract:
    """One contract month of a product: the root's code, and the delivery year and month."""

    root: str
    year: int
    month: int

    @property
    def symbol(self) -> str:
        """The CME symbol with one year digit."""
        return f"{self.root}{MONTHS[self.month - 1]}{self.year % 10}"

    @property
    def product(self) -> Product:
        return product(self.root, "contract")


@frozen
class IbContract:
    """What Interactive Brokers must be told: `month` is the delivery month YYYYMM, not that of the last trading day.

    The multiplier belongs to the name: symbol SI alone is two contracts, of 5,000 and of 1,000 ounces.
    """

    symbol: str
    exchange: str
    month: str
    multiplier: Decimal
    local_symbol: str
    trading_class: str


def parse_contract(symbol: str, field: str = "contract") -> Contract:
    """Return the contract called `symbol`.

    Raises BadValueError for what is no contract symbol, UnknownProductError for a root or month that is not listed and
    OutsideTableError for a year beyond the tables; all name `field`.
    """
    found = _SYMBOL.fullmatch(symbol)
    if found is None:
        bad_month = _ANY_MONTH.fullmatch(symbol)
        if bad_month is not None and bad_month[1] in products():
            raise UnknownProductError(field, f"{symbol!r}: {bad_month[2]} is no month code of {bad_month[1]}")
        raise BadValueError(field, f"{symbol!r} is not root, month code and year digit, such as ESM6")
    root, code, digits = found.groups()
    year = 2020 + int(digits) if len(digits) == 1 else 2000 + int(digits)
    return contract(product(root, field), year, MONTHS.index(code) + 1, field)


def contract(found: Product, year: int, month: int, field: str = "contract") -> Contract:
    """Return a contract month. Raises UnknownProductError for one not listed, OutsideTableError for the year."""
    if not 1 <= month <= 12:
        raise BadValueError(field, f"{month} is no month")
    code = MONTHS[month - 1]
    if code not in found.months:
        raise UnknownProductError(field, f"{found.code} does not list {code}, only {found.months}")
    # The table's first year is there for business days before a January contract.
    if not FIRST_YEAR < year <= LAST_YEAR:
        raise OutsideTableError(field, f"{found.code}{code} of {year}: known from {FIRST_YEAR + 1} to {LAST_YEAR}")
    return Contract(found.code, year, month)


def next_contract(current: Contract, *, is_active_only: bool = True) -> Contract:
    """Return the following listed month, skipping the thin ones unless told otherwise."""
    found = current.product
    months = found.active if is_active_only else found.months
    year, month = current.year, current.month
    while True:
        year, month = year + month // 12, month % 12 + 1
        if MONTHS[month - 1] in months:
            return contract(found, year, month)


def to_ib(named: Contract) -> IbContract:
    """Return what Interactive Brokers calls a contract."""
    found = named.product
    return IbContract(
        found.ib_symbol, found.exchange, f"{named.year}{named.month:02}", found.multiplier, named.symbol, named.root
    )


def from_ib(symbol: str, exchange: str, month: str, multiplier: Decimal) -> Contract:
    """Return the contract that Interactive Brokers calls so; `month` is `ContractDetails.contractMonth`, YYYYMM.

    `lastTradeDateOrContractMonth` is refused: it is a last trading day, for CL and NG one in an earlier month.
    Raises UnknownProductError, BadValueError and OutsideTableError naming the argument.
    """
    same = [one for one in products().values() if (one.ib_symbol, one.exchange) == (symbol, exchange)]
    if not same:
        raise UnknownProductError("symbol", f"{symbol!r} at {exchange!r} is not in the table")
    for one in same:
        if one.multiplier == multiplier:
            if re.fullmatch(r"[0-9]{6}", month) is None:
                raise BadValueError("month", f"{month!r} is not YYYYMM")
            return contract(one, int(month[:4]), int(month[4:6]), "month")
    raise UnknownProductError("multiplier", f"{symbol} at {exchange} with multiplier {multiplier} is not in the table")
