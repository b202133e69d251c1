"""What trading costs: shortfall by cause, impact models, fee tiers."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.costs.crypto_fees import BINANCE_USDT, BNB_DISCOUNT, BYBIT_LINEAR
from venues.costs.fees import FeeBasis, FeeSchedule
from venues.costs.impact import (
    AlmgrenEtAl2005,
    ExponentialDecay,
    PowerDecay,
    TransientImpact,
    VolumeShare,
    kyle_impact,
    linear_impact,
    square_root_impact,
)
from venues.costs.shortfall import (
    Execution,
    Quality,
    QualityBounds,
    attribution,
    favourable_child,
    implementation_shortfall,
    quality,
    slippage_bps,
    twap_price,
    vwap_price,
)
from venues.model.fill import Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.rules.errors import BadValueError, OutsideTableError, RuleError
from venues.rules.instants import instant_ns
from venues.schedules.obizhaeva_wang import optimal_shares

D = Decimal


# Shortfall


def fills(*rows: tuple[str, str]) -> list[Execution]:
    return [Execution(D(qty), D(price)) for qty, price in rows]


TWO = fills(("400", "50.20"), ("400", "50.30"))


@pytest.mark.parametrize(
    ("side", "expected"),
    [(Side.BUY, ("80", "120", "120", "40", "360", "72")), (Side.SELL, ("-80", "-120", "-120", "40", "-280", "-56"))],
)
def test_a_shortfall_is_told_by_cause(side, expected):
    # facts/execution.md 4.5 A, and its mirror
    found = implementation_shortfall(side, D(1000), D(50), D("50.10"), D("50.60"), TWO, D(40))
    causes = (found.delay, found.trading, found.opportunity, found.fees, found.total, found.total_bps)
    assert causes == tuple(map(D, expected))


def test_published_examples_of_shortfall():
    # gaodun.com/q/b03v1i: explicit 0.0425 %, realised 0.0175 %, delay 0.07 %, missed 0.06 %
    found = implementation_shortfall(
        Side.BUY, D(1000), D("40.00"), D("40.04"), D("40.08"), fills(("700", "40.05")), D(17)
    )
    value = D(40_000)
    assert [x / value for x in (found.fees, found.trading, found.delay, found.opportunity)] == [
        D("0.000425"),
        D("0.000175"),
        D("0.0007"),
        D("0.0006"),
    ]
    assert found.total_bps == 19
    # bloombergprep.com a84284: filled 4 cents better, fee 38.50; exactly -18.704 bp
    found = implementation_shortfall(
        Side.BUY, D(4000), D("16.24"), D("16.24"), D("16.24"), fills(("4000", "16.20")), D("38.50")
    )
    assert round(found.total_bps, 3) == D("-18.704")
    # fincyclopedia, delay cost: 800 of 1000 bought at 51 after 50
    found = implementation_shortfall(Side.BUY, D(1000), D(50), D(51), D(50), fills(("800", "51")), D(0))
    assert found.total_bps == 160


prices = st.decimals("1", "1000", places=2)


@given(
    st.sampled_from(Side),
    prices,
    prices,
    prices,
    st.lists(st.tuples(st.integers(1, 100), prices), max_size=8),
    st.integers(0, 500),
    st.decimals("-50", "50", places=2),
)
def test_a_shortfall_is_the_paper_profit_less_the_real_one(side, decision, arrival, end, rows, unfilled, fees):
    executed = [Execution(D(qty), price) for qty, price in rows]
    qty = sum((one.qty for one in executed), D(unfilled)) or D(1)
    found = implementation_shortfall(side, qty, decision, arrival, end, executed, fees)
    paper = side.sign * qty * (end - decision)
    real = sum((side.sign * one.qty * (end - one.price) for one in executed), D(0)) - fees
    assert found.total == found.delay + found.trading + found.opportunity + found.fees == paper - real


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"qty": D(0)}, "qty"),
        ({"decision_price": D(-1)}, "decision_price"),
        ({"arrival_price": D("NaN")}, "arrival_price"),
        ({"end_price": D(0)}, "end_price"),
        ({"fills": fills(("1", "1"), ("0", "1"))}, "fills[1].qty"),
        ({"fills": fills(("1", "-1"))}, "fills[0].price"),
        ({"fills": fills(("1001", "1"))}, "fills"),
        ({"fees": D("NaN")}, "fees"),
    ],
)
def test_a_shortfall_refuses_by_name(change, field):
    usual = {
        "side": Side.BUY,
        "qty": D(1000),
        "decision_price": D(50),
        "arrival_price": D(50),
        "end_price": D(50),
        "fills": TWO,
        "fees": D(0),
    }
    with pytest.raises(BadValueError) as refused:
        implementation_shortfall(**(usual | change))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("side", "is_maker", "expected"),
    [
        # Bought at the ask of 100.00/100.10 after a decision at 99.95: 10 x 0.05 spread, 10 x 0.10 delay, fee 2.
        (Side.BUY, False, ("0.50", "0", "1.00", "2", "3.50")),
        # The same fill of a resting order: it earned half the spread, and paid a whole one of drift.
        (Side.BUY, True, ("-0.50", "1.00", "1.00", "2", "3.50")),
        # Sold at 100.10 by crossing: 0.10 better than the bid.
        (Side.SELL, False, ("0.50", "-1.00", "-1.00", "2", "0.50")),
    ],
)
def test_the_cost_of_a_fill_is_told_by_cause(side, is_maker, expected):
    found = attribution(side, D("99.95"), D("100.00"), D("100.10"), [Execution(D(10), D("100.10"), is_maker)], D(2))
    assert (found.spread, found.impact, found.delay, found.fees, found.total) == tuple(map(D, expected))
    assert found.total_bps == 10_000 * found.total / D("999.50")


@given(
    st.sampled_from(Side),
    prices,
    prices,
    st.integers(0, 500),
    st.lists(st.tuples(st.integers(1, 100), prices, st.booleans()), min_size=1, max_size=8),
    st.decimals("-50", "50", places=2),
)
def test_causes_add_up_to_the_shortfall_of_what_was_filled(side, decision, bid, ticks, rows, fees):
    ask = bid + ticks * D("0.02")
    executed = [Execution(D(qty), price, is_maker) for qty, price, is_maker in rows]
    filled = sum((one.qty for one in executed), D(0))
    found = attribution(side, decision, bid, ask, executed, fees)
    whole = implementation_shortfall(side, filled, decision, (bid + ask) / 2, decision, executed, fees)
    assert (found.spread + found.impact, found.delay, found.total) == (whole.trading, whole.delay, whole.total)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"decision_price": D(0)}, "decision_price"),
        ({"arrival_bid": D("NaN")}, "arrival_bid"),
        ({"arrival_ask": D("49.99")}, "arrival_ask"),
        ({"fills": []}, "fills"),
        ({"fills": fills(("1", "Infinity"))}, "fills[0].price"),
        ({"fees": D("Infinity")}, "fees"),
    ],
)
def test_an_attribution_refuses_by_name(change, field):
    usual = {"decision_price": D(50), "arrival_bid": D(50), "arrival_ask": D(51), "fills": TWO, "fees": D(0)}
    with pytest.raises(BadValueError) as refused:
        attribution(Side.BUY, **(usual | change))
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("side", "price", "expected"),
    [(Side.BUY, "100.25", "25"), (Side.SELL, "100.25", "-25"), (Side.SELL, "90", "1000"), (Side.BUY, "100", "0")],
)
def test_slippage_is_a_cost_on_both_sides(side, price, expected):
    assert slippage_bps(side, D(price), D(100)) == D(expected)


@pytest.mark.parametrize(
    ("expected", "realised", "rating"),
    # facts/systems.md 1: excellent <= 0, good <= 2, acceptable <= 10, poor above
    [
        ("3", "3", Quality.EXCELLENT),
        ("3", "-40", Quality.EXCELLENT),
        ("3", "3.01", Quality.GOOD),
        ("3", "5", Quality.GOOD),
        ("-3", "-0.99", Quality.ACCEPTABLE),
        ("3", "13", Quality.ACCEPTABLE),
        ("3", "13.01", Quality.POOR),
    ],
)
def test_quality_is_what_was_realised_over_what_was_expected(expected, realised, rating):
    assert quality(D(expected), D(realised)) is rating


def test_quality_has_bounds_of_its_own_and_no_rating_for_what_is_no_number():
    strict = QualityBounds(D(0), D(1))
    assert (quality(D(0), D(1), strict), quality(D(0), D("1.1"), strict)) == (Quality.ACCEPTABLE, Quality.POOR)
    with pytest.raises(BadValueError, match="realised_bps"):
        quality(D(0), D("NaN"))
    with pytest.raises(BadValueError, match="acceptable_bps"):
        QualityBounds(D(3), D(2))


def test_benchmark_prices():
    # facts/execution.md 4.2
    tape = fills(("500", "100.00"), ("300", "100.10"), ("800", "99.95"), ("400", "100.05"))
    assert vwap_price(tape) == D("100.005")
    assert twap_price([one.price for one in tape]) == D("100.025")


@pytest.mark.parametrize(
    ("benchmark", "volume", "child"),
    [("260", "5000", "10"), ("260", "500", "5"), ("260", "50", "0"), ("240", "5000", "0")],
)
def test_a_capped_child_trades_only_at_a_favourable_price(benchmark, volume, child):
    # LEAN VolumeWeightedAveragePriceExecutionModelTests: target 10 at 250, 1 % of the bar
    assert favourable_child(Side.BUY, D(10), D(1), D(volume), D("0.01"), D(250), D(benchmark)) == D(child)


# Impact


@pytest.mark.parametrize(
    ("volatility", "participation", "bps"),
    [
        ("0.02", "0.01", "20"),
        ("0.02", "0.04", "40"),
        ("0.03", "0.001", "9.4868"),
        ("0.03", "0.0025", "15"),
        ("0.05", "0.01", "50"),
        ("0.02", "0.001", "6.3246"),
        ("0.02", "0", "0"),
    ],
)
def test_impact_grows_with_the_square_root(volatility, participation, bps):
    # facts/execution.md 4.6, facts/simulation.md T7
    assert round(square_root_impact(D(volatility), D(participation), D(1)), 4) == D(bps)


@given(st.decimals("0", "1", places=6))
def test_four_times_the_size_has_twice_the_impact(participation):
    one, four = (square_root_impact(D("0.02"), n * participation, D(1)) for n in (1, 4))
    assert abs(four - 2 * one) < D("1E-20")


def test_published_cost_examples():
    # aifinhub: volatility 1.8 %, 10 % of volume, eta 0.1, epsilon 0.05, half of 12 bp: 12.5921 bp
    total = square_root_impact(D("0.018"), D("0.1"), D("0.1")) + linear_impact(D("0.018"), D("0.1"), D("0.05")) + 6
    assert round(total, 4) == D("12.5921")
    # LEAN VolumeShareSlippageModel at 100
    assert VolumeShare().slippage(D(100), D(25), D(1000)) == D("0.00625")
    assert VolumeShare().slippage(D(100), D(900), D(1000)) == D("0.00625")
    assert VolumeShare(D("0.2"), D("0.05")).slippage(D(100), D(900), D(1000)) == D("0.05")
    assert kyle_impact(D("0.001"), D(-50)) == D("-0.05")


# The formula's own numbers (facts/execution.md 4.6); the paper's table was not found.
@pytest.mark.parametrize(
    ("volume", "sigma", "outstanding", "costs"),
    [(6.561e6, 0.0157, 1728e6, (32.2, 24.6, 18.4)), (1.929e6, 0.0226, 168e6, (42.9, 32.0, 23.1))],
)
def test_faster_orders_cost_more(volume, sigma, outstanding, costs):
    model = AlmgrenEtAl2005()
    found = [model.realised_bps(sigma, 0.1 * volume, volume, outstanding, days) for days in (0.1, 0.2, 0.5)]
    assert [round(bps, 1) for bps in found] == list(costs)


def test_transient_impact_reproduces_the_block_book():
    # facts/simulation.md T9: X = 1000, kappa = 0.002, rho = 0.5, T = 10
    model = TransientImpact(0.002, ExponentialDecay(0.5))
    assert model.cost([1000.0], [0.0]) == pytest.approx(1000.0)
    assert model.cost([1000.0 / 11] * 11, [float(t) for t in range(11)]) == pytest.approx(306.690, abs=5e-4)
    for trades, cost in ((11, 289.923), (1001, 285.7147)):
        shares = optimal_shares(0.5, 10.0, trades)
        times = [10.0 * index / (trades - 1) for index in range(trades)]
        assert model.cost([1000.0 * share for share in shares], times) == pytest.approx(cost, abs=1e-3)
    assert model.displacement([1000.0], [0.0], 2.0) == pytest.approx(2.0 * 2.718281828**-1)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.sampled_from([(0.5, 1.0), (0.5, 0.6), (1.0, 0.5)]))
def test_a_round_trip_never_earns_from_its_own_impact(trades, exponents):
    gamma, concavity = exponents
    closed = [*trades, -sum(trades)]
    times = [float(index) for index in range(len(closed))]
    if concavity == 1.0:
        assert TransientImpact(0.01, PowerDecay(gamma), concavity).cost(closed, times) >= -1e-9
    assert TransientImpact(0.01, ExponentialDecay(gamma)).cost(closed, times) >= -1e-9


@pytest.mark.parametrize(
    ("decay", "concavity", "field"),
    [
        (ExponentialDecay(1.0), 0.5, "concavity"),
        (PowerDecay(0.45), 0.5, "concavity"),
        (PowerDecay(0.3), 0.8, "exponent"),
    ],
)
def test_impact_that_would_let_round_trips_earn_is_refused(decay, concavity, field):
    with pytest.raises(BadValueError) as refused:
        TransientImpact(1.0, decay, concavity)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "call",
    [
        lambda: square_root_impact(D(-1), D(1), D(1)),
        lambda: square_root_impact(D(1), D("NaN"), D(1)),
        lambda: square_root_impact(D(1), D(1), D(-1)),
        lambda: AlmgrenEtAl2005().realised_bps(0.01, 1.0, 0.0, 1.0, 1.0),
        lambda: AlmgrenEtAl2005().realised_bps(0.01, 1.0, 1.0, 1.0, float("nan")),
        lambda: TransientImpact(0.0, ExponentialDecay(1.0)),
        lambda: TransientImpact(1.0, ExponentialDecay(1.0)).cost([1.0, 1.0], [1.0, 1.0]),
        lambda: TransientImpact(1.0, ExponentialDecay(1.0)).cost([1.0], []),
        lambda: ExponentialDecay(-1.0),
        lambda: vwap_price([]),
        lambda: twap_price([]),
    ],
)
def test_models_refuse_what_cannot_be(call):
    with pytest.raises(BadValueError):
        call()


# Fees


def ns(year: int, month: int, day: int) -> int:
    return instant_ns(datetime(year, month, day, tzinfo=UTC))


NOW = ns(2026, 11, 1)
BTC = Instrument("binance", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))


# facts/crypto.md F, per cent.
@pytest.mark.parametrize(("tier", "maker", "taker"), [(0, "0.02", "0.05"), (3, "0.012", "0.032"), (9, "0", "0.017")])
def test_tiers_of_binance(tier, maker, taker):
    found = BINANCE_USDT.schedule(tier, NOW)
    assert (found.maker * 100, found.taker * 100) == (D(maker), D(taker))


def test_paying_in_bnb_is_a_tenth_cheaper():
    found = BINANCE_USDT.schedule(0, NOW, BNB_DISCOUNT)
    assert found.fee(BTC, D(1), D(60_000), Liquidity.TAKER) == 27
    assert found.fee(BTC, D(1), D(60_000), Liquidity.MAKER) == D("10.8")


def test_a_discount_leaves_rebates_and_money_per_contract_is_discounted_too():
    found = FeeSchedule(D("-0.0001"), D("2.25"), FeeBasis.PER_CONTRACT).discounted(D("0.2"))
    assert (found.maker, found.taker, found.basis) == (D("-0.0001"), D("1.8"), FeeBasis.PER_CONTRACT)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: BINANCE_USDT.schedule(0, ns(2026, 7, 1)), "at_ns"),
        (lambda: BINANCE_USDT.schedule(10, NOW), "tier"),
        (lambda: BYBIT_LINEAR.schedule(-1, NOW), "tier"),
        (lambda: BINANCE_USDT.schedule(0, NOW, D("1.1")), "share"),
    ],
)
def test_unknown_tiers_and_dates_have_no_fee(call, field):
    with pytest.raises(RuleError) as refused:
        call()
    assert refused.value.field == field
    assert field == "share" or isinstance(refused.value, OutsideTableError)
