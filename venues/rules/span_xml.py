"""What an XML SPAN file (`.spn`, `.xml`) says.

Elements: spanFile / pointInTime / clearingOrg / {exchange / {phyPf, futPf, oofPf, oopPf, ooePf}, ccDef, interSpreads};
a contract has ra / a x 16 and d. Source: CME Group, "XML-based SPAN risk parameter files"; public
schemas of NSE's files.
Some producers write gains instead of losses: the sign is read off the futures, and a file without any is refused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import partial
from xml.parsers import expat

from attrs import define, field

from venues.model.money import ONE, ZERO, NotANumberError, parse_decimal
from venues.rules.span_import import (
    Commodity,
    Contract,
    ContractId,
    SpanFile,
    SpanFileError,
    add_inter_spread,
)
from venues.rules.span_product import SCENARIOS, DeliveryRate, InterLeg, InterSpread, IntraSpread, SpreadSide

FUTURES = frozenset({"fut", "phy"})
_PORTFOLIOS = {"phyPf": "PHY", "futPf": "FUT", "oofPf": "OOF", "oopPf": "OOP", "ooePf": "OOE"}
_DEPTH_LIMIT = 40
_WHOLE_LIMIT = 100_000
_EXPONENT_LIMIT = 12

# What an element may hold: what is read and, after the bar, what is known but not needed.
_FIELDS: Mapping[str, frozenset[str]] = {
    name: frozenset(said.replace("|", " ").split())
    for name, said in {
        "spanFile": "pointInTime | fileFormat created definitions",
        "pointInTime": "date isSetl clearingOrg | setlQualifier run time",
        "clearingOrg": "ec exchange ccDef interSpreads | name isContractScale isNetMargin finalizeMeth oopDeltaMeth"
        " capAnov lookAheadYears lookAheadDays daysPerYear limitSubAccountOffset curConv pbRateDef pointDef",
        "exchange": "exch phyPf futPf oofPf oopPf ooePf | name",
        **dict.fromkeys(
            ("phyPf", "futPf", "oofPf", "oopPf", "ooePf"),
            "pfCode phy fut series | pfId group name currency cvf priceDl priceFmt valueMeth priceMeth setlMeth"
            " positionsAllowed exercise strikeDl strikeFmt cab priceModel isVariableTick undPf",
        ),
        **dict.fromkeys(
            ("phy", "fut"),
            "pe p d sc ra | cId alias v volType priceType cvf val setlDate t undC scanRate intrRate haircut haircutRsv"
            " tick venue",
        ),
        "series": "pe sc opt undC | v volSrc setlDate t cvf svf intrRate divRate scanRate",
        "opt": "o k p ra | cId alias pq priceType d v volType val cvf svf sc",
        "ra": "r a d",
        "undC": "pe | exch pfId cId s i legPriceFlag legPrice type",
        "ccDef": "cc currency riskExponent spotRate pfLink intraTiers somTiers dSpread procMeth"
        " | name capAnov wfprMeth spotMeth somMeth cmbMeth marginMeth factorCurveSetId factorScenarioSetId interCurScan"
        " limitArraysTo16Points interTiers rateTiers",
        "pfLink": "exch pfCode pfType sc | pfId cmbMeth applyBasisRisk oopDeltaMeth",
        "intraTiers": "tier",
        "somTiers": "tier",
        "tier": "tn sPe ePe rate | scanRate tne tbn btn brk",
        "rate": "r val",
        "spotRate": "r pe sprd outr",
        "dSpread": "spread chargeMeth rate tLeg pLeg",
        "tLeg": "cc tn rs i",
        "pLeg": "cc pe rs i",
        "interSpreads": "dSpread",
    }.items()
}
# Taken from the stream as soon as they end, so that a large file is never held whole.
_UNITS = frozenset({*_PORTFOLIOS, "ccDef"})


@define
class _Node:
    tag: str
    line: int
    text: str = ""
    children: list["_Node"] = field(factory=list)

    def all(self, tag: str) -> Iterator["_Node"]:
        return (child for child in self.children if child.tag == tag)

    def value(self, tag: str) -> str:
        """Return a child's text, empty without one."""
        return next((child.text.strip() for child in self.all(tag)), "")


@define
class _Found:
    """A contract as the file has it: which sign its array has is not yet known."""

    id: ContractId
    array: tuple[Decimal, ...]
    delta: Decimal
    settlement: Decimal | None
    scale: Decimal


class _Unreadable(Exception):  # noqa: N818 - control flow inside this module
    """An element that cannot be read: it is left out."""

    def __init__(self, node: _Node, name: str, why: str) -> None:
        super().__init__(name, why)
        self.node = node
        self.name = name
        self.why = why


def _number(node: _Node, tag: str, default: Decimal | None = None) -> Decimal:
    text = node.value(tag)
    if not text and default is not None:
        return default
    return _decimal(node, tag, text)


def _decimal(node: _Node, tag: str, text: str) -> Decimal:
    try:
        return parse_decimal(text, tag)
    except NotANumberError:
        raise _Unreadable(node, tag, f"{text!r} is no number") from None


def _whole(node: _Node, tag: str, default: Decimal | None = None) -> int:
    number = _number(node, tag, default)
    if number != number.to_integral_value() or abs(number) > _WHOLE_LIMIT:
        raise _Unreadable(node, tag, f"{number} is no small whole number")
    return int(number)


@define
class _Reader:
    """Builds elements from the stream and hands finished ones on."""

    rate: int
    file: SpanFile = field(factory=SpanFile)
    parser: expat.XMLParserType = field(factory=expat.ParserCreate)
    stack: list[_Node] = field(factory=list)
    contracts: dict[tuple[str, str, str], list[_Found]] = field(factory=dict)
    links: list[tuple[tuple[str, str, str], str, Decimal]] = field(factory=list)
    inter: list[_Node] = field(factory=list)

    def start(self, tag: str, _: Mapping[str, str]) -> None:
        line = self.parser.CurrentLineNumber
        if not self.stack and tag != "spanFile":
            raise SpanFileError(f"line {line}", f"expected spanFile, found {tag}")
        if len(self.stack) >= _DEPTH_LIMIT:
            raise SpanFileError(f"line {line}", "nested too deeply")
        if self.stack:
            parent = self.stack[-1]
            fields = _FIELDS.get(parent.tag)
            if fields is not None and tag not in fields:
                self.file.report.unknown[f"{parent.tag}/{tag}"] += 1
        self.stack.append(_Node(tag, line))

    def text(self, data: str) -> None:
        if self.stack:
            self.stack[-1].text += data

    def end(self, tag: str) -> None:
        node = self.stack.pop()
        if tag in _UNITS or (tag == "dSpread" and self.stack[-1].tag == "interSpreads"):
            self.unit(node)
        elif self.stack:
            self.stack[-1].children.append(node)

    def doctype(self, *_: object) -> None:
        raise SpanFileError(f"line {self.parser.CurrentLineNumber}", "a document type is refused")

    def unit(self, node: _Node) -> None:
        self.file.report.read[node.tag] += 1
        try:
            if node.tag == "dSpread":
                self.inter.append(node)
            elif node.tag == "ccDef":
                _combined(self, node)
            else:
                _portfolio(self, node)
        except _Unreadable as error:
            self.gap(error)

    def gap(self, error: _Unreadable) -> None:
        self.file.report.gap(error.node.line, error.node.tag, error.name, error.why)

    def attempt(self, node: _Node, read: Callable[[_Node], None]) -> None:
        try:
            read(node)
        except _Unreadable as error:
            self.gap(error)


def read_xml(chunks: Iterable[bytes], rate: int = 1) -> SpanFile:
    """Read a file from its bytes, in pieces of any size. `rate` is the performance bond rate (element `r`) to take.

    Raises SpanFileError for what is no such file, with its line.
    """
    reader = _Reader(rate)
    parser = reader.parser
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = lambda tag: _end(reader, tag)
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        for chunk in chunks:
            parser.Parse(chunk, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise SpanFileError(f"line {error.lineno}", f"not well formed: {expat.errors.messages[error.code]}") from error
    _link(reader)
    for node in reader.inter:
        reader.attempt(node, lambda one: _inter(reader, one))
    return reader.file


def _end(reader: _Reader, tag: str) -> None:
    reader.end(tag)
    # What stands in an open element above is read from its children, which are complete once it ends.
    if tag == "ec" and reader.stack:
        reader.file.complex = reader.stack[-1].value("ec")
    elif tag == "date" and reader.stack and reader.stack[-1].tag == "pointInTime":
        text = reader.stack[-1].value("date")
        try:
            reader.file.day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
        except ValueError:
            reader.file.report.gap(reader.parser.CurrentLineNumber, "pointInTime", "date", f"{text!r} is no date")
    elif tag == "isSetl" and reader.stack:
        reader.file.is_settlement = {"1": True, "0": False}.get(reader.stack[-1].value("isSetl"))


# Contracts


def _portfolio(reader: _Reader, node: _Node) -> None:
    exchange = next((above.value("exch") for above in reversed(reader.stack) if above.tag == "exchange"), "")
    family = (exchange, node.value("pfCode"), _PORTFOLIOS[node.tag])
    found = reader.contracts.setdefault(family, [])
    for child in node.children:
        if child.tag in FUTURES:
            reader.attempt(child, lambda one: found.append(_future(reader, family, one)))
        elif child.tag == "series":
            for option in child.all("opt"):
                reader.attempt(option, partial(_add_option, reader, family, found, child))


def _add_option(reader: _Reader, family: tuple[str, str, str], found: list[_Found], series: _Node, node: _Node) -> None:
    found.append(_option(reader, family, series, node))


def _future(reader: _Reader, family: tuple[str, str, str], node: _Node) -> _Found:
    array, delta = _array(reader, node)
    price = _number(node, "p") if node.value("p") else None
    named = ContractId(*family, *_period(node, node.value("pe"), spot=node.tag == "phy"))
    return _Found(named, array, delta, price, _number(node, "sc", ONE))


def _option(reader: _Reader, family: tuple[str, str, str], series: _Node, node: _Node) -> _Found:
    array, delta = _array(reader, node)
    right = node.value("o")
    if right not in ("C", "P"):
        raise _Unreadable(node, "o", f"{right!r} is neither C nor P")
    option_month, option_day = _period(series, series.value("pe"))
    under = next((one.value("pe") for one in series.all("undC")), "")
    month, day = _period(series, under) if under else ("", "")
    strike = _number(node, "k")
    price = _number(node, "p") if node.value("p") else None
    named = ContractId(*family, month, day, right, option_month, option_day, strike)
    return _Found(named, array, delta, price, _number(series, "sc", ONE))


def _period(node: _Node, text: str, *, spot: bool = False) -> tuple[str, str]:
    """Return (CCYYMM, day); a physical has no period."""
    if spot and not text.strip("0"):
        return "", ""
    if not (len(text) in (6, 8) and text.isascii() and text.isdigit() and "01" <= text[4:6] <= "12"):
        raise _Unreadable(node, "pe", f"{text!r} is no contract period")
    return text[:6], "" if text[6:] == "00" else text[6:]


def _array(reader: _Reader, node: _Node) -> tuple[tuple[Decimal, ...], Decimal]:
    """Return the array of the wanted rate as the file has it, and the composite delta."""
    found = [one for one in node.all("ra") if _whole(one, "r", ONE) == reader.rate]
    if len(found) != 1:
        raise _Unreadable(node, "ra", f"{len(found)} arrays of rate {reader.rate}")
    values = tuple(_decimal(found[0], "a", child.text.strip()) for child in found[0].all("a"))
    if len(values) != SCENARIOS:
        raise _Unreadable(found[0], "a", f"{len(values)} values instead of {SCENARIOS}")
    return values, _number(found[0], "d")


# Combined commodities


def _combined(reader: _Reader, node: _Node) -> None:
    code = node.value("cc")
    if not code:
        raise _Unreadable(node, "cc", "has no code")
    if code in reader.file.commodities:
        raise _Unreadable(node, "cc", f"{code!r} is given twice")
    commodity = reader.file.commodities[code] = Commodity(code, currency=node.value("currency"))
    exponent = _whole(node, "riskExponent", ZERO)
    if abs(exponent) > _EXPONENT_LIMIT:
        raise _Unreadable(node, "riskExponent", f"{exponent} is no exponent of money")
    for link in node.all("pfLink"):
        family = (link.value("exch"), link.value("pfCode"), link.value("pfType"))
        commodity.families.append(family)
        reader.attempt(link, partial(_add_link, reader, family, code))
    for tiers in node.all("intraTiers"):
        for tier in tiers.all("tier"):
            reader.attempt(tier, lambda one: _tier(commodity, one))
    for tiers in node.all("somTiers"):
        reader.attempt(tiers, lambda one: _minimum(reader, commodity, exponent, one))
    for spot in node.all("spotRate"):
        reader.attempt(spot, lambda one: _spot(reader, commodity, exponent, one))
    for spread in node.all("dSpread"):
        reader.attempt(spread, lambda one: _calendar(reader, commodity, exponent, one))


def _add_link(reader: _Reader, family: tuple[str, str, str], code: str, node: _Node) -> None:
    reader.links.append((family, code, _number(node, "sc", ONE)))


def _minimum(reader: _Reader, commodity: Commodity, exponent: int, node: _Node) -> None:
    tiers = list(node.all("tier"))
    if len(tiers) != 1:
        raise _Unreadable(node, "tier", f"{len(tiers)} tiers of short option minimum are not modelled")
    commodity.short_option_minimum = _rate(reader, tiers[0]).scaleb(exponent)


def _tier(commodity: Commodity, node: _Node) -> None:
    first, last = (_period(node, node.value(name))[0] for name in ("sPe", "ePe"))
    commodity.tiers[f"tier {_whole(node, 'tn')}"] = (first, last)


def _spot(reader: _Reader, commodity: Commodity, exponent: int, node: _Node) -> None:
    if _whole(node, "r", ONE) != reader.rate:
        return
    month, _ = _period(node, node.value("pe"))
    rates = (_number(node, name).scaleb(exponent) for name in ("sprd", "outr"))
    commodity.delivery[month] = DeliveryRate(*rates)


def _rate(reader: _Reader, node: _Node) -> Decimal:
    found = [one for one in node.all("rate") if _whole(one, "r", ONE) == reader.rate]
    if len(found) != 1:
        raise _Unreadable(node, "rate", f"{len(found)} rates of number {reader.rate}")
    return _number(found[0], "val")


def _calendar(reader: _Reader, commodity: Commodity, exponent: int, node: _Node) -> None:
    if node.value("chargeMeth") not in ("", "F"):
        raise _Unreadable(node, "chargeMeth", f"{node.value('chargeMeth')!r} is not modelled")
    legs = [(leg, _leg_name(leg)) for leg in node.children if leg.tag in ("tLeg", "pLeg")]
    sides = [_side(leg) for leg, _ in legs]
    if len(legs) != 2 or sides[0] is sides[1] or any(_number(leg, "i") != ONE for leg, _ in legs):
        raise _Unreadable(node, "legs", "only one against one on opposite sides is modelled")
    if len({leg.tag for leg, _ in legs}) > 1:
        raise _Unreadable(node, "legs", "a tier against a month is not modelled")
    charge = _rate(reader, node).scaleb(exponent)
    spread = IntraSpread(commodity.code, _whole(node, "spread"), tuple(name for _, name in legs), charge)
    (commodity.tier_spreads if legs[0][0].tag == "tLeg" else commodity.month_spreads).append(spread)


def _leg_name(leg: _Node) -> str:
    return f"tier {_whole(leg, 'tn')}" if leg.tag == "tLeg" else _period(leg, leg.value("pe"))[0]


def _side(leg: _Node) -> SpreadSide:
    if leg.value("rs") not in ("A", "B"):
        raise _Unreadable(leg, "rs", f"{leg.value('rs')!r} is neither A nor B")
    return SpreadSide(leg.value("rs"))


def _inter(reader: _Reader, node: _Node) -> None:
    if node.value("chargeMeth") not in ("", "P", "W"):
        raise _Unreadable(node, "chargeMeth", f"{node.value('chargeMeth')!r} is not modelled")
    legs = tuple(InterLeg(leg.value("cc"), _side(leg), _number(leg, "i")) for leg in node.all("tLeg"))
    spread = InterSpread(_whole(node, "spread"), legs, _rate(reader, node))
    add_inter_spread(reader.file, node.line, node.tag, spread, reader.file.commodities)


# Families to commodities


def _link(reader: _Reader) -> None:
    """Give every contract to its combined commodity, losses positive."""
    turned = _are_gains(reader)
    linked = set()
    for family, code, scale in reader.links:
        linked.add(family)
        for contract in reader.contracts.get(family, []):
            array = tuple(ZERO - value for value in contract.array) if turned else contract.array
            held = reader.file.commodities[code].contracts
            if contract.id.name in held:
                reader.file.report.gap(0, "contract", contract.id.name, "is given twice")
                continue
            if ONE not in (scale, contract.scale):
                reader.file.report.gap(0, "sc", contract.id.name, "two scaling factors: which one holds is not known")
                continue
            delta = contract.delta * scale * contract.scale
            held[contract.id.name] = Contract(contract.id, array, delta, contract.settlement)
    for family in reader.contracts.keys() - linked:
        reader.file.report.gap(0, "pfLink", " ".join(family), "belongs to no combined commodity")


def _are_gains(reader: _Reader) -> bool:
    """Return whether the arrays are gains: a long future gains when its price rises (scenario 11)."""
    ways = set()
    for family, contracts in reader.contracts.items():
        if family[2] in ("FUT", "PHY"):
            ways |= {
                contract.array[10] > ZERO for contract in contracts if contract.delta > ZERO and contract.array[10]
            }
    if len(ways) > 1:
        raise SpanFileError("ra", "futures contradict one another on whether arrays are gains or losses")
    if not ways and any(reader.contracts.values()):
        raise SpanFileError("ra", "no future tells whether arrays are gains or losses")
    return ways == {True}
