"""SPAN files: what is written into one comes out again, and what is not understood is said."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.errors import BadTableError, UnknownProductError
from venues.rules.span import Holding, requirement
from venues.rules.span_import import SpanFileError, parameters
from venues.rules.span_levels import AccountType
from venues.rules.span_pa2 import read_pa2
from venues.rules.span_product import DeliveryRate
from venues.rules.span_xml import read_xml

D = Decimal


def record(*pieces):
    """Return a line with texts at columns counted from 1, as CME's layout pages have them."""
    line = [" "] * 168
    for column, text in pieces:
        line[column - 1 : column - 1 + len(text)] = text
    return "".join(line).rstrip()


def signed(value, width=5):
    return f"{abs(value):0{width}d}{'-' if value < 0 else '+'}"


FUTURES = [0, 0, -333, -333, 333, 333, -667, -667, 667, 667, -1000, -1000, 1000, 1000, -990, 990]
CALL = [-80, 70, -260, -90, 60, 190, -480, -330, 150, 270, -730, -610, 210, 310, -700, 110]


def pair(product, kind, month, array, delta, *, right=" ", option_month="", strike=0, price=0):
    same = [(3, "CME"), (6, product), (16, "ES"), (26, kind), (29, right), (30, month), (39, option_month)]
    same.append((48, f"{strike:07d}"))
    one = [(1, "81"), *same, *((55 + 6 * n, signed(value)) for n, value in enumerate(array[:9]))]
    two = [(1, "82"), *same, *((55 + 6 * n, signed(value)) for n, value in enumerate(array[9:]))]
    return [record(*one), record(*two, (97, signed(delta)), (111, signed(price, 7)))]


HEADER = record((1, "0 "), (3, "CME"), (9, "20261120"), (17, "S"), (18, "F"), (36, "U2"))
FAMILIES = [(23, "ES"), (33, "FUT"), (39, "EW"), (49, "OOF"), (55, "MES"), (65, "FUT")]
COMBINED = record((1, "2 "), (3, "CME"), (7, "ES"), (13, "1"), (14, "USD"), *FAMILIES)
OTHER = record((1, "2 "), (3, "CME"), (7, "NQ"), (13, "0"), (14, "USD"), (23, "NQ"), (33, "FUT"))
TIERS = record(
    (1, "3 "), (3, "ES"), (9, "10"), (11, "01"), (13, "202612"), (19, "202612"), (25, "02"), (27, "202703"),
    (33, "202712"), (69, "1000"), (73, "1000"), (77, "1100"),
)  # fmt: skip
TIER_SPREAD = record(
    (1, "C "), (3, "ES"), (9, "10"), (11, "01"), (13, "02"), (15, "0000041"), (22, "01"), (24, "01"), (26, "01"),
    (28, "A"), (29, "02"), (31, "02"), (33, "01"), (35, "B"),
)  # fmt: skip
MONTH_SPREAD = record(
    (1, "E "), (3, "ES"), (9, "00001"), (14, "0000030"), (21, "2703"), (28, "010000"), (34, "A"), (35, "2706"),
    (42, "010000"), (48, "B"),
)  # fmt: skip
DELIVERY = record(
    (1, "4 "), (3, "ES"), (9, "10"), (11, "01"), (13, "01"), (15, "202612"), (21, "0000005"), (28, "0000007"),
    (63, "0000012"), (70, "100"), (73, "100"), (76, "100"), (79, "2"),
)  # fmt: skip
MICRO_SCALE = record((1, "B "), (3, "CME"), (6, "MES"), (16, "FUT"), (19, "202612"), (86, "001000"))
INTER = record(
    (1, "6 "), (3, "CME"), (6, "0001"), (10, "0500000"), (17, "CME"), (21, "ES"), (27, "0020000"), (34, "A"),
    (35, "CME"), (39, "NQ"), (45, "0010000"), (52, "B"), (89, "01"),
)  # fmt: skip
PRICES = [
    record((1, "P "), (3, "CME"), (6, product), (16, kind), (34, "002"), (37, "002"))
    for product, kind in (("ES", "FUT"), ("MES", "FUT"), ("EW", "OOF"), ("NQ", "FUT"))
]
NQ_TIERS = record((1, "3 "), (3, "NQ"), (9, "01"), (77, "1100"))

LINES = [
    HEADER, record((1, "T "), (3, "USD")), record((1, "1 "), (3, "CME")), *PRICES, COMBINED,
    record((1, "S "), (3, "ES"), (9, "01")), TIERS, MONTH_SPREAD, TIER_SPREAD, DELIVERY, MICRO_SCALE, OTHER, NQ_TIERS,
    *pair("ES", "FUT", "202612", FUTURES, 10000, price=670025),
    *pair("ES", "FUT", "202703", FUTURES, 10000),
    *pair("ES", "FUT", "202706", FUTURES, 10000),
    *pair("MES", "FUT", "202612", [value // 10 for value in FUTURES], 10000),
    *pair("EW", "OOF", "202612", CALL, 4321, right="C", option_month="202611", strike=675000),
    *pair("NQ", "FUT", "202612", [value * 9 for value in FUTURES], 10000),
    INTER,
]  # fmt: skip


def test_a_file_comes_back():
    file = read_pa2(line + "\r\n" for line in LINES)
    assert file.report.lines() == []
    assert (file.complex, file.day, file.is_settlement) == ("CME", date(2026, 11, 20), True)
    assert file.report.skipped == {"T": 1, "1": 1}
    es = file.commodities["ES"]
    assert list(es.contracts) == ["ES 202612", "ES 202703", "ES 202706", "MES 202612", "EW 202612 202611 C 6750"]
    call = es.contracts["EW 202612 202611 C 6750"]
    # The risk exponent is 1: array values and charges are tens of dollars.
    assert call.array == tuple(D(value * 10) for value in CALL)
    assert call.delta == D("0.4321")
    assert es.contracts["MES 202612"].delta == D("0.1")
    assert es.contracts["ES 202612"].settlement == D("6700.25")
    assert es.delivery == {"202612": DeliveryRate(D(50), D(70))}
    assert es.short_option_minimum == 120
    assert es.ratios[AccountType.SPECULATOR] == D("1.1")


def held(*positions):
    return [Holding(code, D(qty), name) for code, name, qty in positions]


def test_what_a_file_asks():
    found = parameters(read_pa2(LINES), ("ES", "NQ"), AccountType.SPECULATOR)
    calendar = requirement(found, held(("ES", "ES 202612", 2), ("ES", "ES 202703", -1)))
    # One spread of tiers at 410, of which the delivery month pays 50, and 70 for the delta left.
    assert calendar.scan_risk == 10_000
    assert calendar.spread_charge == 410 + 50 + 70
    assert calendar.initial == calendar.maintenance * D("1.1")
    # Months come before tiers.
    months = requirement(found, held(("ES", "ES 202703", 1), ("ES", "ES 202706", -1)))
    assert months.spread_charge == 300
    both = requirement(found, held(("ES", "ES 202703", 2), ("NQ", "NQ 202612", -1)))
    assert both.inter_credit == (20_000 + 9_000) / 2
    assert requirement(found, held(("ES", "EW 202612 202611 C 6750", -1))).short_option_minimum == 120
    assert requirement(found, held(("ES", "MES 202612", -10))).short_option_minimum == 0


def test_one_commodity_alone_and_unknown_ones():
    file = read_pa2(LINES)
    alone = parameters(file, ("NQ",), AccountType.HEDGER)
    assert alone.initial_ratio == 1
    assert alone.inter_spreads == ()
    with pytest.raises(UnknownProductError):
        parameters(file, ("ZZ",), AccountType.HEDGER)
    file.commodities["NQ"].ratios[AccountType.HEDGER] = D("1.25")
    with pytest.raises(BadTableError):
        parameters(file, ("ES", "NQ"), AccountType.HEDGER)


def put(line, column, text):
    return line[: column - 1].ljust(column - 1) + text + line[column - 1 + len(text) :]


@pytest.mark.parametrize(
    ("line", "column", "text", "said"),
    [
        (TIERS, 9, "02", "3 method: calendar spread method '02' is not modelled"),
        (TIERS, 13, "2026XX", "3 first month: '2026XX' in columns 13-18 is no month"),
        (TIER_SPREAD, 31, "03", "C tier: tier 3 is not defined"),
        (TIER_SPREAD, 33, "02", "C legs: a calendar spread of 1 tier 1 A, 2 tier 2 B is not modelled"),
        (TIER_SPREAD, 35, "A", "C legs: a calendar spread of 1 tier 1 A, 1 tier 2 A is not modelled"),
        (MONTH_SPREAD, 14, "      ?", "E charge: '?' in columns 14-20 is no number"),
        (DELIVERY, 9, "11", "4 method: delivery method '11' is not modelled"),
        (DELIVERY, 79, "1", "4 short option method: the greater of calls and puts is not modelled, their sum is used"),
        (INTER, 101, "F", "6 credit method: 'F' is not modelled"),
        (INTER, 39, "RT", "6 leg: 'RT' is no combined commodity of this file"),
        (INTER, 102, "01", "6 tier: spreads between tiers are not modelled"),
        (LINES[-2], 97, "  x  ", "82 composite delta: 'x' in columns 97-101 is no number"),
        (LINES[-2], 102, " ", "82 composite delta: sign ' ' in column 102 is neither + nor -"),
        (LINES[-3], 55, "     ", "82 value 1: '' in columns 55-59 is no number"),
        (COMBINED, 36, "2", "2 ES: has arrays of types 83 and 84, which are not read"),
    ],
)
def test_what_cannot_be_read_is_said_and_left_out(line, column, text, said):
    number = LINES.index(line) + 1
    lines = [put(one, column, text) if one is line else one for one in LINES]
    report = read_pa2(lines).report
    told = report.lines()
    assert any(each.endswith(said) for each in told), told
    assert not report.is_complete
    assert any(gap.line in (number, number + 1) for gap in report.gaps)


def test_records_out_of_place():
    report = read_pa2([*LINES, LINES[-3], "QQ what", LINES[-2].replace("202612", "202703", 1)]).report
    assert report.unknown == {"QQ": 1}
    assert [(gap.record, gap.why) for gap in report.gaps] == [
        ("81", "has no 82 record of the same contract after it"),
        ("82", "has no 81 record of the same contract before it"),
    ]
    assert report.lines()[0] == "QQ: 1 unknown"


@pytest.mark.parametrize("lines", [[], ["81"], [put(HEADER, 36, "UP")], [put(HEADER, 9, "20261345")]])
def test_other_formats_are_refused(lines):
    with pytest.raises(SpanFileError):
        read_pa2(lines)


def test_gains_in_place_of_losses_are_refused():
    with pytest.raises(SpanFileError):
        read_pa2([HEADER, *PRICES, OTHER, *pair("NQ", "FUT", "202612", [-value for value in FUTURES], 10000)])


@given(st.lists(st.text(alphabet="0123456789+- ABCDEFPS\x00é", max_size=140), max_size=20))
def test_noise_is_reported_not_raised(noise):
    read_pa2([HEADER, COMBINED, *noise])


@given(
    st.lists(st.integers(-99999, 99999), min_size=16, max_size=16).filter(lambda array: not array[10] > 0 > array[12]),
    st.integers(0, 10000),
)
def test_any_array_comes_back(array, delta):
    file = read_pa2([HEADER, *PRICES, OTHER, *pair("NQ", "FUT", "202612", array, delta)])
    contract = file.commodities["NQ"].contracts["NQ 202612"]
    assert contract.array == tuple(map(D, array))
    assert contract.delta == D(delta) / 10_000


# XML


def array_element(values, delta):
    return f"<ra><r>1</r>{''.join(f'<a>{value}</a>' for value in values)}<d>{delta}</d></ra>"


def xml(sign=1, extra="", sc="1"):
    futures = [value * 10 * sign for value in FUTURES]
    call = [value * 10 * sign for value in CALL]
    nasdaq = array_element([value * 9 * sign for value in FUTURES], 1)
    months = "".join(
        f"<fut><cId>1</cId><pe>{month}</pe><p>6700.25</p><sc>1</sc>{array_element(futures, 1)}</fut>"
        for month in (202612, 202703)
    )
    return f"""<?xml version="1.0"?>
<spanFile><fileFormat>4.00</fileFormat><pointInTime><date>20261120</date><isSetl>1</isSetl>
<clearingOrg><ec>CME</ec>
<exchange><exch>CME</exch>
<futPf><pfId>1</pfId><pfCode>ES</pfCode>{months}</futPf>
<oofPf><pfId>2</pfId><pfCode>EW</pfCode><series><pe>202611</pe><sc>1</sc><undC><pe>202612</pe></undC>
<opt><o>C</o><k>6750</k>{array_element(call, "0.4321")}</opt></series></oofPf>
<futPf><pfId>3</pfId><pfCode>NQ</pfCode><fut><pe>202612</pe>{nasdaq}</fut></futPf>
</exchange>
<ccDef><cc>ES</cc><currency>USD</currency><riskExponent>0</riskExponent>
<pfLink><exch>CME</exch><pfCode>ES</pfCode><pfType>FUT</pfType><sc>{sc}</sc></pfLink>
<pfLink><exch>CME</exch><pfCode>EW</pfCode><pfType>OOF</pfType></pfLink>
<intraTiers><tier><tn>1</tn><sPe>202612</sPe><ePe>202612</ePe></tier>
<tier><tn>2</tn><sPe>202703</sPe><ePe>202712</ePe></tier></intraTiers>
<somTiers><tier><tn>1</tn><rate><r>1</r><val>120</val></rate></tier></somTiers>
<dSpread><spread>1</spread><chargeMeth>F</chargeMeth><rate><r>1</r><val>410</val></rate>
<tLeg><cc>ES</cc><tn>1</tn><rs>A</rs><i>1</i></tLeg><tLeg><cc>ES</cc><tn>2</tn><rs>B</rs><i>1</i></tLeg></dSpread>
{extra}</ccDef>
<ccDef><cc>NQ</cc><pfLink><exch>CME</exch><pfCode>NQ</pfCode><pfType>FUT</pfType></pfLink></ccDef>
<interSpreads><dSpread><spread>1</spread><rate><r>1</r><val>0.5</val></rate>
<tLeg><cc>ES</cc><rs>A</rs><i>2</i></tLeg><tLeg><cc>NQ</cc><rs>B</rs><i>1</i></tLeg></dSpread></interSpreads>
</clearingOrg></pointInTime></spanFile>""".encode()


@pytest.mark.parametrize("sign", [1, -1])
def test_the_xml_form_says_the_same_whatever_its_sign(sign):
    text = xml(sign)
    file = read_xml(text[at : at + 100] for at in range(0, len(text), 100))
    assert file.report.lines() == []
    assert (file.complex, file.day, file.is_settlement) == ("CME", date(2026, 11, 20), True)
    flat = read_pa2(LINES)
    for code in ("ES", "NQ"):
        for name, contract in file.commodities[code].contracts.items():
            other = flat.commodities[code].contracts[name]
            assert (contract.array, contract.delta) == (other.array, other.delta)
    found = parameters(file, ("ES", "NQ"), AccountType.HEDGER)
    calendar = requirement(found, held(("ES", "ES 202612", 2), ("ES", "ES 202703", -1)))
    assert (calendar.scan_risk, calendar.spread_charge) == (D(10_000), D(410))
    both = requirement(found, held(("ES", "ES 202703", 2), ("NQ", "NQ 202612", -1)))
    assert both.inter_credit == 14_500


def test_what_an_xml_file_holds_beside_is_counted():
    text = xml(extra="<novelty>1</novelty><dSpread><spread>2</spread><chargeMeth>Z</chargeMeth></dSpread>")
    file = read_xml([text])
    assert file.report.unknown == {"ccDef/novelty": 1}
    [gap] = file.report.gaps
    assert (gap.record, gap.field, gap.why) == ("dSpread", "chargeMeth", "'Z' is not modelled")
    assert b"novelty" in text.splitlines()[gap.line - 1]
    assert parameters(file, ("ES",), AccountType.HEDGER).notes == ("1 gaps in the SPAN file, see its report",)


def test_a_scaling_factor_of_the_portfolio():
    assert read_xml([xml(sc="0.1")]).commodities["ES"].contracts["ES 202612"].delta == D("0.1")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<other/>",
        b"<spanFile>",
        b'<!DOCTYPE spanFile [<!ENTITY a "b">]><spanFile/>',
        b"<spanFile>" + b"<a>" * 100,
        xml().replace(b"<a>-10000</a>", b"<a>10000</a>", 2),
    ],
)
def test_xml_refused(text):
    with pytest.raises(SpanFileError):
        read_xml([text])


def test_without_a_future_the_sign_is_unknown():
    text = xml()
    start, end = text.index(b"<futPf><pfId>1"), text.index(b"<oofPf>")
    again = text.index(b"<futPf><pfId>3")
    close = text.index(b"</exchange>")
    with pytest.raises(SpanFileError):
        read_xml([text[:start] + text[end:again] + text[close:]])
