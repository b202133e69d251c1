"""What the records of an expanded unpacked SPAN file (format U2, `.pa2`) say.

Source of columns: CME Group, "Risk Parameter File Layouts for the Positional Formats", pages "Expanded" of types 0, 2,
3, 4, 6, 8, B, C, E, P, S. Array values are losses of one long contract, five digits and a sign, in units of the margin
currency times ten to the risk exponent.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import partial

from attrs import define, field

from venues.model.money import ONE, ZERO
from venues.rules.span_import import (
    Commodity,
    Contract,
    ContractId,
    SpanFile,
    SpanFileError,
    add_inter_spread,
)
from venues.rules.span_levels import AccountType
from venues.rules.span_product import DeliveryRate, InterLeg, InterSpread, IntraSpread, SpreadSide

# Types whose content is not needed for a requirement: exchanges, currencies, groups, redefinitions, daily adjustments,
# combination methods, debt securities.
SKIPPED = frozenset({"1", "T", "5", "R", "V", "X", "Y", "Z", "91", "92", "93"})
OPTION_KINDS = frozenset({"OOF", "OOP", "OOC", "OOE", "OOS"})
_SPREAD_METHODS = ("01", "10")
_DELIVERY_METHODS = ("01", "10")
_SCANNING_METHODS = ("01",)


class _Unreadable(Exception):  # noqa: N818 - control flow inside this module
    """A field that cannot be read: the record is left out."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name = name
        self.why = why


@define
class _Line:
    """One record; columns are counted from 1 as in the layouts."""

    number: int
    kind: str
    text: str

    def field(self, start: int, end: int) -> str:
        return self.text[start - 1 : end].strip()

    def number_at(self, name: str, start: int, end: int, decimals: int = 0) -> Decimal:
        """Return a whole number of digits with implied decimals. Blank is unreadable."""
        digits = self.field(start, end)
        if not (digits.isascii() and digits.isdigit()):
            raise _Unreadable(name, f"{digits!r} in columns {start}-{end} is no number")
        return Decimal(digits).scaleb(-decimals)

    def optional(self, name: str, start: int, end: int, decimals: int = 0) -> Decimal | None:
        """Return the same, None when blank."""
        return self.number_at(name, start, end, decimals) if self.field(start, end) else None

    def signed(self, name: str, start: int, end: int, decimals: int = 0) -> Decimal:
        """Return a number whose sign follows it."""
        value = self.number_at(name, start, end, decimals)
        sign = self.text[end : end + 1]
        if sign == "-":
            return ZERO - value
        if sign != "+":
            raise _Unreadable(name, f"sign {sign!r} in column {end + 1} is neither + nor -")
        return value

    def month(self, name: str, start: int, end: int) -> str:
        """Return CCYYMM."""
        text = self.field(start, end)
        if not (len(text) == 6 and text.isascii() and text.isdigit() and "01" <= text[4:] <= "12"):
            raise _Unreadable(name, f"{text!r} in columns {start}-{end} is no month")
        return text


@define
class _Reader:
    file: SpanFile = field(factory=SpanFile)
    families: dict[tuple[str, str, str], Commodity] = field(factory=dict)
    exponents: dict[str, int] = field(factory=dict)
    locators: dict[tuple[str, str, str], tuple[int, int]] = field(factory=dict)
    scalings: dict[tuple[str, ...], Decimal] = field(factory=dict)
    pending: tuple[_Line, str] | None = None
    arrays: list[tuple[_Line, _Line]] = field(factory=list)
    inter: list[_Line] = field(factory=list)
    broken_series: set[tuple[str, ...]] = field(factory=set)

    def money(self, code: str, value: Decimal) -> Decimal:
        return value.scaleb(self.exponents.get(code, 0))

    def commodity(self, line: _Line) -> Commodity:
        """Return the combined commodity named in columns 3-8."""
        found = self.file.commodities.get(line.field(3, 8))
        if found is None:
            raise _Unreadable("combined commodity", f"{line.field(3, 8)!r} has no type 2 record before")
        return found


def read_pa2(lines: Iterable[str]) -> SpanFile:
    """Read a file's lines, line ends allowed. Raises SpanFileError for a file of another format."""
    reader = _Reader()
    for number, raw in enumerate(lines, start=1):
        text = raw.rstrip("\r\n\x1a")
        if not text.strip():
            continue
        line = _Line(number, text[:2].strip(), text)
        if number == 1 or not reader.file.complex:
            _header(reader, line)
            continue
        _read(reader, line)
    if not reader.file.complex:
        raise SpanFileError("line 1", "there is no type 0 record")
    _drop_pending(reader)
    for one, two in reader.arrays:
        _attempt(reader, two, partial(_array, one))
    for line in reader.inter:
        _attempt(reader, line, _inter)
    for commodity in reader.file.commodities.values():
        _check_sign(reader.file, commodity)
    return reader.file


def _header(reader: _Reader, line: _Line) -> None:
    if line.kind != "0" or line.field(36, 37) != "U2":
        found = line.field(36, 37) if line.kind == "0" else f"record {line.kind!r}"
        raise SpanFileError(f"line {line.number}", f"expected a type 0 record of format U2, found {found!r}")
    day = line.field(9, 16)
    try:
        reader.file.day = date.fromisoformat(f"{day[:4]}-{day[4:6]}-{day[6:]}")
    except ValueError:
        raise SpanFileError(f"line {line.number}", f"business date {day!r} is no date") from None
    reader.file.complex = line.field(3, 8) or "?"
    reader.file.is_settlement = {"S": True, "I": False}.get(line.field(17, 17))
    reader.file.report.read["0"] += 1


def _read(reader: _Reader, line: _Line) -> None:
    if line.kind == "82" and reader.pending is not None and reader.pending[1] == line.text[2:54]:
        reader.arrays.append((reader.pending[0], line))
        reader.pending = None
        reader.file.report.read["82"] += 1
        return
    _drop_pending(reader)
    if line.kind == "81":
        reader.pending = (line, line.text[2:54])
        reader.file.report.read["81"] += 1
    elif line.kind == "82":
        reader.file.report.gap(line.number, "82", "", "has no 81 record of the same contract before it")
    elif line.kind == "6":
        reader.inter.append(line)
    elif line.kind in SKIPPED:
        reader.file.report.skipped[line.kind] += 1
    elif line.kind in _RECORDS:
        _attempt(reader, line, _RECORDS[line.kind])
    else:
        reader.file.report.unknown[line.kind] += 1


def _drop_pending(reader: _Reader) -> None:
    if reader.pending is not None:
        reader.file.report.gap(reader.pending[0].number, "81", "", "has no 82 record of the same contract after it")
        reader.pending = None


def _attempt(reader: _Reader, line: _Line, record: Callable[[_Reader, _Line], None]) -> None:
    try:
        record(reader, line)
    except _Unreadable as error:
        reader.file.report.gap(line.number, line.kind, error.name, error.why)
        return
    if line.kind not in ("81", "82"):
        reader.file.report.read[line.kind] += 1


# Records


def _combined(reader: _Reader, line: _Line) -> None:
    code = line.field(7, 12)
    exchange = line.field(3, 5)
    exponent = line.optional("risk exponent", 13, 13)
    known = reader.file.commodities.get(code)
    if known is not None and known.exchange != exchange:
        raise _Unreadable("combined commodity", f"{code!r} is on {known.exchange} and {exchange}")
    commodity = reader.file.commodities.setdefault(code, Commodity(code, exchange, line.field(14, 16)))
    reader.exponents[code] = int(exponent or 0)
    for start in range(23, 119, 16):
        product = line.field(start, start + 9)
        if not product:
            continue
        family = (exchange, product, line.field(start + 10, start + 12))
        commodity.families.append(family)
        if line.field(start + 13, start + 13).strip("0"):
            reader.file.report.gap(line.number, "2", product, "has arrays of types 83 and 84, which are not read")
            continue
        reader.families[family] = commodity


def _price(reader: _Reader, line: _Line) -> None:
    places = []
    for name, start in (("settlement decimals", 34), ("strike decimals", 37)):
        text = line.field(start, start + 2) or "0"
        if not text.removeprefix("-").isdigit():
            raise _Unreadable(name, f"{text!r} is no number")
        places.append(int(text))
    reader.locators[line.field(3, 5), line.field(6, 15), line.field(16, 18)] = (places[0], places[1])


def _tiers(reader: _Reader, line: _Line) -> None:
    commodity = reader.commodity(line)
    method = line.field(9, 10)
    if method not in _SPREAD_METHODS:
        raise _Unreadable("method", f"calendar spread method {method!r} is not modelled")
    for start in (11, 25, 39, 53):
        number = line.optional("tier", start, start + 1)
        if number:
            months = line.month("first month", start + 2, start + 7), line.month("last month", start + 8, start + 13)
            commodity.tiers[f"tier {int(number)}"] = months
    for account, start in ((AccountType.MEMBER, 69), (AccountType.HEDGER, 73), (AccountType.SPECULATOR, 77)):
        ratio = line.optional(f"{account.value} ratio", start, start + 3, 3)
        if ratio:
            commodity.ratios[account] = ratio


def _scanning(reader: _Reader, line: _Line) -> None:
    reader.commodity(line)
    if line.field(9, 10) not in _SCANNING_METHODS:
        raise _Unreadable("method", f"scanning method {line.field(9, 10)!r} is not modelled: all months scan together")


def _side(line: _Line, at: int) -> str:
    side = line.field(at, at)
    if side not in ("A", "B"):
        raise _Unreadable("side", f"{side!r} is neither A nor B")
    return side


def _pair(legs: list[tuple[str, Decimal, str]]) -> tuple[str, ...]:
    """Return the names of two legs on opposite sides at one delta each; other spreads are not modelled."""
    if len(legs) != 2 or any(ratio != ONE for _, ratio, _ in legs) or legs[0][2] == legs[1][2]:
        said = ", ".join(f"{ratio} {name} {side}" for name, ratio, side in legs)
        raise _Unreadable("legs", f"a calendar spread of {said} is not modelled")
    return tuple(name for name, _, _ in legs)


def _tier_spread(reader: _Reader, line: _Line) -> None:
    commodity = reader.commodity(line)
    legs = []
    for start in range(22, 78, 7):
        if line.field(start, start + 6):
            tier = f"tier {int(line.number_at('tier', start + 2, start + 3))}"
            if tier not in commodity.tiers:
                raise _Unreadable("tier", f"{tier} is not defined")
            legs.append((tier, line.number_at("ratio", start + 4, start + 5), _side(line, start + 6)))
    charge = reader.money(commodity.code, line.number_at("charge", 15, 21))
    priority = int(line.number_at("priority", 11, 12))
    commodity.tier_spreads.append(IntraSpread(commodity.code, priority, _pair(legs), charge))


def _month_spread(reader: _Reader, line: _Line) -> None:
    commodity = reader.commodity(line)
    legs = []
    for start in range(21, 77, 14):
        if line.field(start, start + 13):
            month = f"20{line.field(start, start + 3)}"
            if len(month) != 6 or not month.isdigit():
                raise _Unreadable("month", f"{month[2:]!r} is no month")
            if line.field(start + 4, start + 6):
                raise _Unreadable("day", "spreads of days or weeks are not modelled")
            legs.append((month, line.number_at("ratio", start + 7, start + 12, 4), _side(line, start + 13)))
    charge = reader.money(commodity.code, line.number_at("charge", 14, 20))
    priority = int(line.number_at("priority", 9, 13))
    commodity.month_spreads.append(IntraSpread(commodity.code, priority, _pair(legs), charge))


def _delivery(reader: _Reader, line: _Line) -> None:
    commodity = reader.commodity(line)
    minimum = line.optional("short option minimum", 63, 69)
    commodity.short_option_minimum = reader.money(commodity.code, minimum or ZERO)
    if line.field(79, 79) not in ("", "2"):
        reader.file.report.gap(
            line.number, "4", "short option method", "the greater of calls and puts is not modelled, their sum is used"
        )
    for account, start in (("member", 70), ("hedger", 73), ("speculator", 76)):
        factor = line.optional(f"{account} factor", start, start + 2, 2)
        if factor and factor != ONE:
            reader.file.report.gap(line.number, "4", f"{account} factor", f"{factor} is not applied")
    method = line.field(9, 10)
    if method not in _DELIVERY_METHODS:
        raise _Unreadable("method", f"delivery method {method!r} is not modelled")
    if method == "01":
        return
    for start in (13, 35)[: int(line.number_at("months in delivery", 11, 12))]:
        month = line.month("delivery month", start + 2, start + 7)
        rates = [
            reader.money(commodity.code, line.number_at(name, at, at + 6))
            for name, at in (("charge in spreads", start + 8), ("charge outright", start + 15))
        ]
        commodity.delivery[month] = DeliveryRate(*rates)


def _series(line: _Line, start: int) -> tuple[str, ...]:
    """Return the months of a series: future month and day, option month and day; no option month is blank."""
    parts = [(start, start + 5), (start + 6, start + 7), (start + 9, start + 14), (start + 15, start + 16)]
    return tuple("" if not line.field(*part).strip("0") else line.field(*part) for part in parts)


def _array_parameters(reader: _Reader, line: _Line) -> None:
    series = (line.field(3, 5), line.field(6, 15), line.field(16, 18), *_series(line, 19))
    try:
        # The layout: without a B record the delta scaling factor is 1.
        scaling = line.optional("delta scaling", 86, 91, 4)
    except _Unreadable:
        reader.broken_series.add(series)
        raise
    reader.scalings[series] = ONE if scaling is None else scaling


def _array(one: _Line, reader: _Reader, two: _Line) -> None:
    family = (one.field(3, 5), one.field(6, 15), one.field(26, 28))
    commodity = reader.families.get(family)
    if commodity is None:
        raise _Unreadable("product", f"{' '.join(family)} belongs to no combined commodity that was read")
    series = _series(one, 30)
    if (*family, *series) in reader.broken_series:
        raise _Unreadable("delta scaling", "of this series could not be read")
    settlement_places, strike_places = reader.locators.get(family, (0, 0))
    right = one.field(29, 29)
    is_option = family[2] in OPTION_KINDS
    if (right in ("C", "P")) != is_option:
        raise _Unreadable("right", f"{right!r} does not fit {family[2]}")
    strike = ZERO
    if is_option:
        if family not in reader.locators:
            raise _Unreadable("strike", "its decimals are unknown without a P record")
        strike = one.number_at("strike", 48, 54).scaleb(-strike_places)
        strike = ZERO - strike if two.field(119, 119) == "-" else strike
    month = "" if not one.field(30, 35).strip("0") else one.month("month", 30, 35)
    contract = ContractId(family[0], family[1], family[2], month, series[1], right, series[2], series[3], strike)
    values = [one.signed(f"value {n + 1}", 55 + 6 * n, 59 + 6 * n) for n in range(9)]
    values += [two.signed(f"value {n + 10}", 55 + 6 * n, 59 + 6 * n) for n in range(7)]
    array = tuple(reader.money(commodity.code, value) for value in values)
    delta = two.signed("composite delta", 97, 101, 4) * reader.scalings.get((*family, *series), ONE)
    price = None
    if two.field(111, 117) and family in reader.locators:
        price = two.number_at("settlement", 111, 117).scaleb(-settlement_places)
        price = ZERO - price if two.text[117:118] == "-" else price
    if contract.name in commodity.contracts:
        raise _Unreadable("contract", f"{contract.name} is given twice")
    commodity.contracts[contract.name] = Contract(contract, array, delta, price)


def _inter(reader: _Reader, line: _Line) -> None:
    if line.field(89, 90) not in ("", "01", "1"):
        raise _Unreadable("method", f"spread method {line.field(89, 90)!r} is not modelled")
    if line.field(101, 101) not in ("", "W"):
        raise _Unreadable("credit method", f"{line.field(101, 101)!r} is not modelled")
    legs = []
    for number, start in enumerate((17, 35, 53, 71)):
        code = line.field(start + 4, start + 9)
        if not code:
            continue
        if line.field(102 + 2 * number, 103 + 2 * number).strip("0"):
            raise _Unreadable("tier", "spreads between tiers are not modelled")
        ratio = line.number_at("ratio", start + 10, start + 16, 4)
        legs.append(InterLeg(code, SpreadSide(_side(line, start + 17)), ratio))
    rate = line.number_at("credit rate", 10, 16, 4) / 100
    priority = int(line.number_at("priority", 6, 9))
    add_inter_spread(reader.file, line.number, "6", InterSpread(priority, tuple(legs), rate), reader.file.commodities)


_RECORDS: Mapping[str, Callable[[_Reader, _Line], None]] = {
    "2": _combined,
    "3": _tiers,
    "4": _delivery,
    "B": _array_parameters,
    "C": _tier_spread,
    "E": _month_spread,
    "P": _price,
    "S": _scanning,
}


def _check_sign(file: SpanFile, commodity: Commodity) -> None:
    """Refuse arrays in which a long future gains when its price falls: the file's sign is not what the layout says."""
    for contract in commodity.contracts.values():
        if not contract.id.right and contract.delta > ZERO and contract.array[10] > ZERO > contract.array[12]:
            raise SpanFileError(
                contract.id.name, "loses when its price rises: this file's arrays are gains, not losses"
            )
