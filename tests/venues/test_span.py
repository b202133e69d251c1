"""SPAN requirements: the published examples, the rule written out plainly beside it, and what must always hold."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.errors import BadTableError, BadValueError, RuleError, UnknownProductError
from venues.rules.span import Holding, Prepared, requirement
from venues.rules.span_layout import MissingContractError
from venues.rules.span_parameters import Parameters
from venues.rules.span_product import DeliveryRate, InterLeg, InterSpread, IntraSpread, Product, SpreadSide

A, B = SpreadSide.A, SpreadSide.B


def d(value: object) -> Decimal:
    return Decimal(str(value))


def spread(priority, rate, *legs):
    return InterSpread(priority, tuple(InterLeg(code, side, d(ratio)) for code, side, ratio in legs), d(rate))


GRAINS = Parameters(
    {"ZC": Product(scan_risk=d(1750)), "ZS": Product(scan_risk=d(2500))},
    d("1.1"),
    inter_spreads=(spread(1, "0.55", ("ZC", A, 2), ("ZS", B, 1)),),
)
CALENDAR = Parameters(
    {"X": Product(months={"M2": d(500), "M3": d(500), "M4": d(750)})},
    d("1.1"),
    (
        IntraSpread("X", 3, ("M3", "M4"), d(0)),
        IntraSpread("X", 1, ("M2", "M3"), d(200)),
        IntraSpread("X", 2, ("M2", "M4"), d(50)),
    ),
)


def held(*positions):
    return [Holding(code, d(qty), name) for code, name, qty in positions]


@pytest.mark.parametrize(
    ("corn", "soybeans", "maintenance"),
    # CME Group, "Spread credit calculation"; the last: half a spread of 1 corn and half a soybean.
    [(2, -1, 2700), (-2, 1, 2700), (2, 1, 6000), (3, -1, 4450), (0, 0, 0), (1, -1, 4250 - d("0.55") * 3000)],
)
def test_inter_commodity_credit(corn, soybeans, maintenance):
    found = requirement(GRAINS, held(("ZC", None, corn), ("ZS", None, soybeans)))
    assert found.maintenance == maintenance
    assert found.initial == maintenance * d("1.1")


@pytest.mark.parametrize(
    ("quantities", "maintenance"),
    # CME's calendar example: M2/M3 200, M2/M4 50 over a difference of 250, M3/M4 nothing over 250.
    [({"M2": 1, "M3": -1}, 200), ({"M2": 1, "M4": -1}, 300), ({"M3": 1, "M4": -1}, 250), ({"M2": -3, "M3": 2}, 900)],
)
def test_calendar_charges(quantities, maintenance):
    portfolio = [Holding("X", d(qty), month) for month, qty in quantities.items()]
    assert requirement(CALENDAR, portfolio).maintenance == maintenance


def test_spreads_consume_in_priority():
    found = requirement(CALENDAR, held(("X", "M2", 3), ("X", "M3", -1), ("X", "M4", -4)))
    # One M2/M3, then two M2/M4; nothing long is left for M3/M4. Scan |1500 - 500 - 3000|.
    assert (found.scan_risk, found.spread_charge) == (d(2000), d(300))


def test_a_micro_is_a_tenth_of_a_delta():
    parameters = Parameters(
        {"ES": Product(scan_risk=d(10800)), "MES": Product(scan_risk=d(1080), delta_scale=d("0.1"))},
        d(1),
        inter_spreads=(spread(1, 1, ("ES", A, 1), ("MES", B, 1)),),
    )
    assert requirement(parameters, held(("ES", None, 1), ("MES", None, -10))).maintenance == 0
    assert requirement(parameters, held(("ES", None, 1), ("MES", None, -5))).maintenance == 5400


FUTURE = tuple(map(d, (0, 0, -10, -10, 10, 10, -20, -20, 20, 20, -30, -30, 30, 30, "-29.7", "29.7")))
PUT = tuple(map(d, (-3, 2, -1, 4, -6, -1, 1, 5, -10, -5, 2, 6, -15, -10, 3, -20)))
OPTIONS = Parameters(
    {
        "ES": Product(
            arrays={"ESZ6": FUTURE, "ESZ6 P50": PUT, "ESZ6 P1": (d(0),) * 16},
            deltas={"ESZ6": d(1), "ESZ6 P50": d("-0.4"), "ESZ6 P1": d(0)},
            short_option_minimum=d(5),
        )
    },
    d("1.1"),
)


@pytest.mark.parametrize(
    ("positions", "scan", "scenario", "maintenance"),
    [
        ((("ESZ6", 1),), 30, 13, 30),
        ((("ESZ6", -1),), 30, 11, 30),
        # Scenario 14: 60 - 30, the next are 10 with 40 - 15 and 13 with 60 - 45.
        ((("ESZ6", 2), ("ESZ6 P50", 3)), 30, 14, 30),
        ((("ESZ6 P1", -7),), 0, 1, 35),
        ((("ESZ6 P1", -7), ("ESZ6 P1", 6)), 0, 1, 5),
        ((("ESZ6", -1), ("ESZ6 P1", 4)), 30, 11, 30),
        ((), 0, None, 0),
    ],
)
def test_arrays(positions, scan, scenario, maintenance):
    found = requirement(OPTIONS, held(*(("ES", name, qty) for name, qty in positions)))
    assert found.scan_risk == scan
    assert found.active_scenario == ({"ES": scenario} if positions else {})
    assert found.maintenance == maintenance


def test_delivery_is_charged_per_net_contract():
    parameters = Parameters({"CL": Product(months={"F7": d(10), "G7": d(10)}, delivery_charge=d(3))}, d(1))
    assert requirement(parameters, held(("CL", "F7", 5), ("CL", "G7", -3))).delivery_charge == 6


def test_spread_months_of_a_file_consume_deltas():
    """Tiers, deltas and months in delivery as SPAN files have them."""
    product = Product(
        arrays={"ES 202612": FUTURE, "MES 202612": FUTURE, "ES 202703": FUTURE},
        deltas={"ES 202612": d(1), "MES 202612": d("0.1"), "ES 202703": d(1)},
        periods={"ES 202612": "202612", "MES 202612": "202612", "ES 202703": "202703"},
        tiers={"tier 1": ("202612",), "tier 2": ("202703",)},
        in_deltas=True,
        delivery={"202612": DeliveryRate(d(2), d(7))},
        options=frozenset(),
    )
    parameters = Parameters({"ES": product}, d(1), (IntraSpread("ES", 1, ("tier 1", "tier 2"), d(100)),))
    found = requirement(parameters, held(("ES", "ES 202612", 1), ("ES", "MES 202612", 5), ("ES", "ES 202703", -1)))
    # 1.5 deltas against 1: one spread, of which the delivery month pays 2, and 0.5 outright at 7.
    assert found.spread_charge == 100 + 2 + d("3.5")


def test_spreads_within_a_tier():
    product = Product(months={"M1": d(10), "M2": d(10), "M3": d(10)}, tiers={"near": ("M1", "M2"), "far": ("M3",)})
    spreads = (IntraSpread("X", 1, ("near", "near"), d(1)), IntraSpread("X", 2, ("near", "far"), d(5)))
    parameters = Parameters({"X": product}, d(1), spreads)
    found = requirement(parameters, held(("X", "M1", 4), ("X", "M2", -1), ("X", "M3", -2)))
    # Both ways round of one tier against itself form the same spread once.
    assert found.spread_charge == 1 + 2 * 5


@pytest.mark.parametrize(
    ("positions", "kind", "field"),
    [
        ([Holding("ZW", d(1))], UnknownProductError, "portfolio[0].product"),
        ([Holding("X", d(1), "M2"), Holding("X", d(1), "M9")], UnknownProductError, "portfolio[1].month"),
        ([Holding("X", d(1))], MissingContractError, "portfolio[0].month"),
        ([Holding("X", Decimal("NaN"), "M2")], BadValueError, "portfolio[0].qty"),
        ([Holding("X", Decimal("-Infinity"), "M2")], BadValueError, "portfolio[0].qty"),
    ],
)
def test_positions_refused(positions, kind, field):
    with pytest.raises(kind) as refused:
        requirement(CALENDAR, positions)
    assert refused.value.field == field


def test_contracts_refused():
    with pytest.raises(UnknownProductError) as unknown:
        requirement(OPTIONS, held(("ES", "ESH7", 1)))
    assert unknown.value.field == "portfolio[0].contract"
    parameters = Parameters(
        {"ES": Product(arrays={"ESZ6": FUTURE}), "NQ": Product(scan_risk=d(1))},
        d(1),
        inter_spreads=(spread(1, 1, ("ES", A, 1), ("NQ", B, 1)),),
    )
    assert requirement(parameters, held(("ES", "ESZ6", 1))).maintenance == 30
    with pytest.raises(UnknownProductError) as delta:
        requirement(parameters, held(("ES", "ESZ6", 1), ("NQ", None, 1)))
    assert delta.value.field == "products.ES.deltas.ESZ6"


ONE = {"X": Product(scan_risk=d(1))}


@pytest.mark.parametrize(
    ("make", "kind", "field"),
    [
        (lambda: Parameters({"X": Product()}, d(1)), BadTableError, "products.X"),
        (lambda: Parameters({"X": Product(scan_risk=d(1), months={})}, d(1)), BadTableError, "products.X"),
        (lambda: Parameters({"X": Product(scan_risk=d(-1))}, d(1)), BadValueError, "products.X.scan_risk"),
        (lambda: Parameters({"X": Product(scan_risk=d("NaN"))}, d(1)), BadValueError, "products.X.scan_risk"),
        (
            lambda: Parameters({"X": Product(months={"M": d(-1)})}, d(1)),
            BadValueError,
            "products.X.months.M.scan_risk",
        ),
        (lambda: Parameters({"X": Product(arrays={"C": FUTURE[:15]})}, d(1)), BadTableError, "products.X.arrays.C"),
        (
            lambda: Parameters({"X": Product(arrays={"C": (*FUTURE[:15], d("inf"))})}, d(1)),
            BadValueError,
            "products.X.arrays.C[15]",
        ),
        (
            lambda: Parameters({"X": Product(arrays={"C": FUTURE}, deltas={"D": d(1)})}, d(1)),
            BadTableError,
            "products.X.deltas.D",
        ),
        (
            lambda: Parameters({"X": Product(scan_risk=d(1), delta_scale=d(0))}, d(1)),
            BadValueError,
            "products.X.delta_scale",
        ),
        (
            lambda: Parameters({"X": Product(scan_risk=d(1), delivery_charge=d(-1))}, d(1)),
            BadValueError,
            "products.X.delivery_charge",
        ),
        (lambda: Parameters(ONE, d(0)), BadValueError, "initial_ratio"),
        (
            lambda: Parameters(ONE, d(1), (IntraSpread("Y", 1, ("A", "B"), d(1)),)),
            UnknownProductError,
            "intra_spreads[0].product",
        ),
        (lambda: Parameters(ONE, d(1), (IntraSpread("X", 1, ("A",), d(1)),)), BadTableError, "intra_spreads[0].legs"),
        (
            lambda: Parameters(ONE, d(1), (IntraSpread("X", 1, ("A", "B"), d(-1)),)),
            BadValueError,
            "intra_spreads[0].charge",
        ),
        (
            lambda: Parameters(CALENDAR.products, d(1), (IntraSpread("X", 1, ("M2", "M7"), d(1)),)),
            UnknownProductError,
            "intra_spreads[0].legs[1]",
        ),
        (
            lambda: Parameters(ONE, d(1), inter_spreads=(spread(1, 1, ("X", A, 1), ("Y", B, 1)),)),
            UnknownProductError,
            "inter_spreads[0].legs[1].product",
        ),
        (
            lambda: Parameters(GRAINS.products, d(1), inter_spreads=(spread(1, 55, ("ZC", A, 1), ("ZS", B, 1)),)),
            BadValueError,
            "inter_spreads[0].credit_rate",
        ),
        (
            lambda: Parameters(GRAINS.products, d(1), inter_spreads=(spread(1, 1, ("ZC", A, 0), ("ZS", B, 1)),)),
            BadValueError,
            "inter_spreads[0].legs[0].ratio",
        ),
        (
            lambda: Parameters(GRAINS.products, d(1), inter_spreads=(spread(1, 1, ("ZC", A, 1), ("ZC", B, 1)),)),
            BadTableError,
            "inter_spreads[0].legs[1].product",
        ),
    ],
)
def test_parameters_refused(make, kind, field):
    with pytest.raises(RuleError) as refused:
        make()
    assert (type(refused.value), refused.value.field) == (kind, field)


def test_span_2_makes_an_estimate():
    parameters = Parameters({"CL": Product(scan_risk=d(1)), "ZN": Product(scan_risk=d(1))}, d(1))
    assert requirement(parameters, held(("CL", None, 1), ("ZN", None, 1))).estimates == ("CL",)


# The rule written out plainly


def plainly(parameters, portfolio):
    """CALC's words one after another, in decimals, for products without tiers."""
    scans, nets, charge, delivery, minimum = {}, {}, d(0), d(0), d(0)
    for code in dict.fromkeys(one.product for one in portfolio):
        product = parameters.products[code]
        mine = [one for one in portfolio if one.product == code]
        if product.arrays is not None:
            sums = [sum(one.qty * product.arrays[one.contract][at] for one in mine) for at in range(16)]
            scans[code] = max(*sums, d(0))
            nets[code] = sum(one.qty * product.deltas[one.contract] * product.delta_scale for one in mine)
        else:
            risks = product.months or {}
            scans[code] = abs(sum(one.qty * risks.get(one.contract, product.scan_risk) for one in mine))
            nets[code] = sum(one.qty for one in mine) * product.delta_scale
        delivery += abs(sum(one.qty for one in mine)) * product.delivery_charge
        left: dict[str, Decimal] = {}
        for one in mine:
            left[one.contract] = left.get(one.contract, d(0)) + one.qty
        for name, net in left.items():
            is_option = product.arrays is None or " " in name
            minimum += max(-net, d(0)) * product.short_option_minimum * is_option
        for one in sorted(parameters.intra_spreads, key=lambda each: each.priority):
            first, second = (left.get(leg, d(0)) for leg in one.legs)
            if one.product == code and first * second < 0:
                formed = min(abs(first), abs(second))
                charge += one.charge * formed
                for leg, qty in zip(one.legs, (first, second), strict=True):
                    left[leg] = qty - formed if qty > 0 else qty + formed
    credit = d(0)
    remaining = dict(nets)
    for one in sorted(parameters.inter_spreads, key=lambda each: each.priority):
        signs = {
            (remaining.get(leg.product, d(0)) > 0) is (leg.side is A) if remaining.get(leg.product) else None
            for leg in one.legs
        }
        if len(signs) > 1 or None in signs:
            continue
        formed = min(abs(remaining[leg.product]) / leg.ratio for leg in one.legs)
        for leg in one.legs:
            code = leg.product
            credit += one.credit_rate * formed * leg.ratio * scans[code] / abs(nets[code])
            taken = formed * leg.ratio
            rest = remaining[code] - taken if remaining[code] > 0 else remaining[code] + taken
            remaining[code] = rest if abs(rest) > d("1e-20") else d(0)
    return max(sum(scans.values()) + charge + delivery - credit, minimum)


money = st.integers(0, 5000).map(lambda cents: Decimal(cents) / 4)
small = st.integers(-12, 12).map(Decimal)


@st.composite
def questions(draw):
    arrays = {
        name: tuple(Decimal(value) / 2 for value in draw(st.lists(st.integers(-90, 90), min_size=16, max_size=16)))
        for name in ("Q1", "Q2", "Q1 C5", "Q1 P5")
    }
    if draw(st.booleans()):
        arrays |= {"Q2": tuple(2 * value for value in arrays["Q1"]), "Q1 C5": arrays["Q1"], "Q1 P5": (d(0),) * 16}
    flat = {name: tuple(value for value in array[::2] for _ in (0, 1)) for name, array in arrays.items()}
    arrays |= {name: flat[name] for name in ("Q1", "Q2")}
    deltas = {"Q1": d(1), "Q2": d(1), "Q1 C5": draw(st.sampled_from([d("0.3"), d(0), d(1)])), "Q1 P5": d("-0.25")}
    products = {
        "S": Product(
            scan_risk=draw(money), delivery_charge=draw(money), delta_scale=draw(st.sampled_from([d(1), d("0.1")]))
        ),
        "M": Product(months={name: draw(money) for name in ("M1", "M2", "M3")}, short_option_minimum=draw(money)),
        "Q": Product(arrays=arrays, deltas=deltas, short_option_minimum=draw(money), delivery_charge=draw(money)),
    }
    pairs = st.permutations(["M1", "M2", "M3"]).map(lambda names: tuple(names[:2]))
    intra = [
        IntraSpread("M", draw(st.integers(1, 3)), draw(pairs), draw(money)) for _ in range(draw(st.integers(0, 3)))
    ]
    intra.append(IntraSpread("Q", 2, ("Q1", "Q2"), draw(money)))
    inter = []
    for _ in range(draw(st.integers(0, 3))):
        codes = draw(st.permutations(["S", "M", "Q"]))[: draw(st.integers(2, 3))]
        legs = [(code, draw(st.sampled_from([A, B])), draw(st.sampled_from(["1", "2", "3", "0.5"]))) for code in codes]
        inter.append(spread(draw(st.integers(1, 3)), draw(st.sampled_from(["0", "0.3", "1"])), *legs))
    names: dict[str, list[str | None]] = {"S": [None, "S1", "S2"], "M": ["M1", "M2", "M3"], "Q": [*arrays]}
    codes = draw(st.lists(st.sampled_from(["S", "M", "Q"]), max_size=8))
    portfolio = [Holding(code, draw(small), draw(st.sampled_from(names[code]))) for code in codes]
    return Parameters(products, d("1.1"), tuple(intra), tuple(inter)), portfolio


CLOSE = d("1e-12")


@given(questions())
def test_the_requirement_is_what_the_rule_says(question):
    parameters, portfolio = question
    found = requirement(parameters, portfolio)
    assert abs(found.maintenance - plainly(parameters, portfolio)) < CLOSE
    assert found.maintenance >= 0
    assert found.inter_credit <= found.scan_risk + CLOSE


@given(questions())
def test_prepared_answers_the_same(question):
    parameters, portfolio = question
    prepared = Prepared(parameters, [(one.product, one.contract) for one in portfolio])
    assert prepared.requirement([int(one.qty) for one in portfolio]) == requirement(parameters, portfolio)


@given(questions(), st.lists(st.integers(-9, 9), min_size=8, max_size=8))
def test_splitting_a_position_changes_nothing(question, parts):
    parameters, portfolio = question
    split = [Holding(one.product, d(part), one.contract) for one, part in zip(portfolio, parts, strict=False)]
    split += [Holding(one.product, one.qty - part, one.contract) for one, part in zip(portfolio, parts, strict=False)]
    assert requirement(parameters, split) == requirement(parameters, portfolio)


@given(questions(), st.sampled_from([d("0.25"), d(7), Decimal(10**13)]))
def test_scaling_a_portfolio_scales_the_requirement(question, factor):
    """Up to quantities that no lane holds."""
    parameters, portfolio = question
    one = requirement(parameters, portfolio)
    scaled = requirement(parameters, [Holding(each.product, each.qty * factor, each.contract) for each in portfolio])
    assert abs(scaled.maintenance - one.maintenance * factor) <= CLOSE * max(factor, 1)
    assert scaled.active_scenario == one.active_scenario


@given(questions())
def test_a_portfolio_costs_no_more_than_its_legs_and_charges(question):
    parameters, portfolio = question
    naked = sum((requirement(parameters, [one]).maintenance for one in portfolio), d(0))
    together = requirement(parameters, portfolio)
    assert together.maintenance <= naked + together.spread_charge + CLOSE
