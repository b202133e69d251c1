"""Schedules: whole steps, exact sums, never negative, never a step behind; common quantities."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.errors import BadValueError
from venues.schedules.almgren_chriss import almgren_chriss
from venues.schedules.common_quantity import SizedLeg, common_quantity, common_unit
from venues.schedules.obizhaeva_wang import continuous, optimal_shares, schedule
from venues.schedules.slices import even_intervals, pov, pov_child, twap, vwap

D = Decimal
steps = st.sampled_from([D("0.001"), D("0.1"), D("0.25"), D(1), D(3)])
quantities = st.decimals("0", "100000", places=4)


def decimals(text: str) -> list[Decimal]:
    return [D(one) for one in text.split()]


# facts/execution.md 4.1
@pytest.mark.parametrize(
    ("qty", "step", "slices", "expected"),
    [
        ("1.0", "0.001", 3, "0.333 0.333 0.334"),
        ("10", "0.1", 7, "1.4 1.4 1.4 1.5 1.4 1.4 1.5"),
        ("1", "0.1", 6, "0.1 0.2 0.2 0.1 0.2 0.2"),
        ("100", "1", 8, "12 13 12 13 12 13 12 13"),
        ("100", "1", 10, "10 10 10 10 10 10 10 10 10 10"),
        ("1.2", "0.1", 3, "0.4 0.4 0.4"),
        ("1.2", "0.1", 2, "0.6 0.6"),
        ("3", "1", 7, "0 0 1 0 1 0 1"),
        ("0.5", "1", 2, "0 0"),
        ("2.5", "1", 2, "1 1"),
    ],
)
def test_even_slices_are_whole_steps_of_the_ideal(qty, step, slices, expected):
    assert twap(D(qty), D(step), slices) == decimals(expected)


@given(quantities, steps, st.integers(1, 50))
def test_even_slices_sum_exactly_and_are_less_than_a_step_behind(qty, step, slices):
    made = twap(qty, step, slices)
    assert sum(made) == qty // step * step
    done = D(0)
    for index, one in enumerate(made, start=1):
        assert one >= 0
        assert one % step == 0
        done += one
        assert 0 <= Fraction(qty) * index / slices - Fraction(done) < Fraction(step)


@pytest.mark.parametrize(
    ("horizon", "interval", "slices"), [(60, 20, 3), (60, 30, 2), (30, 5, 6), (600, 60, 10), (61, 20, 4)]
)
def test_a_horizon_has_so_many_intervals(horizon, interval, slices):
    assert even_intervals(horizon, interval) == slices


# facts/execution.md 4.2
PROFILE = "0.18 0.12 0.09 0.08 0.08 0.10 0.14 0.21"


@pytest.mark.parametrize(
    ("qty", "step", "weights", "expected"),
    [
        ("25", "1", PROFILE, "5 3 2 2 2 3 3 5"),
        ("10000", "100", PROFILE, "1800 1200 900 800 800 1000 1400 2100"),
        ("25", "1", "18 12 9 8 8 10 14 21", "5 3 2 2 2 3 3 5"),
        ("10", "1", "0 1 1 1 0", "0 4 3 3 0"),
        ("0.5", "1", "1 1", "0 0"),
        ("2", "1", "1 1 1", "1 1 0"),
    ],
)
def test_a_profile_gives_what_is_left_to_the_largest_remainders(qty, step, weights, expected):
    assert vwap(D(qty), D(step), decimals(weights)) == decimals(expected)


@given(quantities, steps, st.lists(st.decimals("0", "10", places=3), min_size=1, max_size=30).filter(any))
def test_a_profile_sums_exactly_and_is_a_step_off_at_most(qty, step, weights):
    made = vwap(qty, step, weights)
    lots = qty // step
    assert sum(made) == lots * step
    for one, weight in zip(made, weights, strict=True):
        assert one >= 0
        assert weight or not one
        assert abs(Fraction(one) / Fraction(step) - Fraction(lots) * Fraction(weight) / Fraction(sum(weights))) < 1


# facts/execution.md 4.3
@pytest.mark.parametrize(("rate", "child"), [("0.05", "52.63"), ("0.10", "111.11"), ("0.2", "250"), ("0", "0")])
def test_a_share_of_the_whole_counts_own_volume(rate, child):
    assert round(pov_child(D(rate), D(1000)), 2) == D(child)


@given(st.decimals("0", "0.9", places=2), st.lists(st.decimals("0", "1000", places=2), min_size=1), quantities, steps)
def test_participation_never_exceeds_the_rate_nor_the_order(rate, volumes, qty, step):
    made = pov(qty, step, rate, volumes)
    seen = done = D(0)
    for volume, one in zip(volumes, made, strict=True):
        assert one >= 0
        seen, done = seen + volume, done + one
        assert done <= min(qty, pov_child(rate, seen) + D("1E-9"))


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: twap(D("NaN"), D(1), 1), "qty"),
        (lambda: twap(D(-1), D(1), 1), "qty"),
        (lambda: twap(D(1), D(0), 1), "step"),
        (lambda: twap(D(1), D(1), 0), "slices"),
        (lambda: twap(D(1), D(1), 10**9), "slices"),
        (lambda: vwap(D(1), D(1), []), "weights"),
        (lambda: vwap(D(1), D(1), [D(0), D(0)]), "weights"),
        (lambda: vwap(D(1), D(1), [D(1), D(-1)]), "weights[1]"),
        (lambda: pov_child(D(1), D(1)), "rate"),
        (lambda: pov_child(D(-1), D(1)), "rate"),
        (lambda: pov_child(D("0.1"), D(-1)), "others_volume"),
        (lambda: even_intervals(10, 20), "horizon_ns"),
        (lambda: even_intervals(10, 0), "interval_ns"),
    ],
)
def test_schedules_refuse_by_name(call, field):
    with pytest.raises(BadValueError) as refused:
        call()
    assert refused.value.field == field


# Almgren-Chriss


def trajectory(risk_aversion: float, intervals: int = 5):
    return almgren_chriss(D(1_000_000), 5.0, intervals, 0.95, 0.0625, 2.5e-7, 2.5e-6, risk_aversion)


# facts/execution.md 4.4: lambda, kappa, holdings x1..x4, expected cost, deviation.
@pytest.mark.parametrize(
    ("aversion", "kappa", "holdings", "cost", "deviation"),
    [
        (0.0, 0.0, "800000 600000 400000 200000", 662_500.00, 1_040_672.86),
        (1e-7, 0.194629, "757882.4 544564.3 351939.7 172688.8", 670_057.46, 961_622.90),
        (1e-6, 0.607076, "541955.6 289854.2 147897.5 62141.8", 911_226.99, 603_430.67),
        (2e-6, 0.846297, "428598.8 182932.8 76295.7 27643.4", 1_140_715.17, 449_367.65),
        (1e-5, 1.726711, "177868.3 31636.2 5621.6 969.2", 1_845_211.26, 171_712.41),
    ],
)
def test_risk_aversion_hurries(aversion, kappa, holdings, cost, deviation):
    found = trajectory(aversion)
    assert float(found.kappa) == pytest.approx(kappa, abs=1e-6)
    assert [round(x, 1) for x in found.holdings[1:-1]] == decimals(holdings)
    assert float(found.expected_cost) == pytest.approx(cost, abs=0.006)
    assert float(found.cost_stdev) == pytest.approx(deviation, abs=0.006)


# DROP library, AlmgrenChriss.html: mean and variance in 1e6 and 1e12, half-life 1/kappa; facts/simulation.md T8 has the
# penalties mean + aversion x variance of the first and the last.
@pytest.mark.parametrize(
    ("aversion", "mean", "variance", "half_life", "penalty"),
    [(1e-9, 0.6625, 1.0812, 51.30, 0.6636), (5e-9, 0.6625, 1.0740, 22.94, None), (9e-9, 0.6626, 1.0669, 17.10, 0.6722)],
)
def test_an_independent_library_agrees(aversion, mean, variance, half_life, penalty):
    found = trajectory(aversion)
    if penalty is not None:
        objective = float(found.expected_cost) + aversion * float(found.cost_stdev) ** 2
        assert round(objective / 1e6, 4) == penalty
    assert round(float(found.expected_cost) / 1e6, 4) == mean
    assert round(float(found.cost_stdev) ** 2 / 1e12, 4) == variance
    assert round(1 / float(found.kappa), 2) == half_life


# facts/simulation.md T8, from its formulas for cost and variance alone.
@pytest.mark.parametrize("aversion", [0.0, 1e-9, 9e-9, 1e-6, 2e-6])
def test_no_other_trajectory_costs_less(aversion):
    tau, sigma, eps, gamma, eta = 1.0, 0.95, 0.0625, 2.5e-7, 2.5e-6
    x = [float(held) for held in trajectory(aversion).holdings]

    def penalty(held):
        sold = [before - after for before, after in pairwise(held)]
        cost = 0.5 * gamma * held[0] ** 2 + eps * held[0] + (eta - gamma * tau / 2) / tau * sum(n * n for n in sold)
        return cost + aversion * sigma**2 * tau * sum(each**2 for each in held[1:])

    best = penalty(x)
    for at in range(1, 5):
        for shares in (-1000.0, 1000.0):
            assert penalty([*x[:at], x[at] + shares, *x[at + 1 :]]) > best
            # The first-order condition: moving a share either way changes nothing.
        slope = penalty([*x[:at], x[at] + 1.0, *x[at + 1 :]]) - penalty([*x[:at], x[at] - 1.0, *x[at + 1 :]])
        assert abs(slope) < 1e-6


@given(st.floats(0.0, 1e-3), st.integers(1, 40), steps)
def test_trajectories_sum_exactly_and_fall(aversion, intervals, step):
    found = trajectory(aversion, intervals)
    assert found.holdings[0] == 1_000_000
    assert found.holdings[-1] == 0
    assert all(after < before for before, after in zip(found.holdings, found.holdings[1:], strict=False))
    assert sum(map(Fraction, found.trades)) == 1_000_000
    lots = found.in_steps(step)
    assert sum(lots) == 1_000_000 // step * step
    assert min(lots) >= 0
    done = D(0)
    for left, lot in zip(found.holdings[1:], lots, strict=True):
        done += lot
        assert 0 <= 1_000_000 - Fraction(left) - Fraction(done) < Fraction(step)


@pytest.mark.parametrize("aversion", [1e-14, 1e-18, 1e-30])
def test_without_fear_the_straight_line_returns(aversion):
    # 1 - x_j/X differs from j/N by about (kappa T)^2/6
    straight = trajectory(0.0).holdings
    for one, other in zip(trajectory(aversion).holdings, straight, strict=True):
        assert abs(one - other) < D("0.01")


def test_enormous_fear_sells_at_once_and_nothing_overflows():
    found = trajectory(1e6, 1000)
    assert found.trades[0] > D("999999")
    assert min(found.trades) >= 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shares": D(0)}, "shares"),
        ({"shares": D("NaN")}, "shares"),
        ({"horizon": 0.0}, "horizon"),
        ({"intervals": 0}, "intervals"),
        ({"sigma": float("nan")}, "sigma"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"gamma": float("inf")}, "gamma"),
        ({"eta": 1e-7}, "eta"),
        ({"risk_aversion": -1e-9}, "risk_aversion"),
    ],
)
def test_a_trajectory_refuses_by_name(change, field):
    usual = {
        "shares": D(1_000_000),
        "horizon": 5.0,
        "intervals": 5,
        "sigma": 0.95,
        "epsilon": 0.0625,
        "gamma": 2.5e-7,
        "eta": 2.5e-6,
        "risk_aversion": 1e-6,
    }
    with pytest.raises(BadValueError) as refused:
        almgren_chriss(**(usual | change))
    assert refused.value.field == field


# Obizhaeva-Wang: facts/simulation.md T9


def test_a_refilling_book_is_traded_in_blocks_at_both_ends():
    block, rate = continuous(1000.0, 0.5, 10.0)
    assert block == pytest.approx(142.857, abs=5e-4)
    assert rate == pytest.approx(71.4286, abs=5e-5)
    # The whole costs kappa X times the block, kappa = 0.002; costs of schedules are in tests/venues/test_costs.py.
    assert 0.002 * 1000.0 * block == pytest.approx(285.714, abs=5e-4)
    shares = optimal_shares(0.5, 10.0, 1001)
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] == shares[-1] == pytest.approx(0.142857, abs=1e-3)
    lots = schedule(D(1000), D(1), 0.5, 10.0, 11)
    assert sum(lots) == 1000
    assert min(lots) >= 0


# Common quantity: facts/execution.md 4.7


def leg(price, step, multiplier="1", min_qty="0", min_notional="0"):
    return SizedLeg(D(price), D(step), D(min_qty), D(multiplier), D(min_notional))


BINANCE = leg("61234.5", "0.001", "1", "0.001", "100")


@pytest.mark.parametrize(
    ("legs", "notional", "quantity", "residual"),
    [
        ([BINANCE], "25000", "0.408", "16.324"),
        ([BINANCE, leg("61234.5", "1", "0.01")], "25000", "0.40", "506.2"),
        ([BINANCE, leg("61234.5", "1", "0.1")], "25000", "0.4", "506.2"),
        # the unit of 0.4 and 0.6 is 1.2, not the coarser 0.6
        ([leg("10", "0.4"), leg("10", "0.6")], "25", "2.4", "1"),
        # the dearest leg decides
        ([leg("100", "1"), leg("125", "1")], "1000", "8", "200"),
        # minimums: contracts, then value
        ([BINANCE, leg("61234.5", "1", "0.01", min_qty="41")], "25000", "0", "25000"),
        ([leg("10", "1", min_notional="31")], "30", "0", "30"),
        ([leg("10", "1", min_notional="30")], "30", "3", "0"),
        ([BINANCE], "50", "0", "50"),
    ],
)
def test_every_leg_can_trade_the_common_quantity(legs, notional, quantity, residual):
    found = common_quantity(legs, D(notional))
    assert (found.quantity, found.residual_notional) == (D(quantity), D(residual))


@given(
    st.lists(
        st.builds(
            leg,
            st.decimals("0.01", "70000", places=2),
            st.decimals("0.001", "10", places=3),
            st.sampled_from(["1", "0.01", "0.1", "5"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.decimals("0", "1000000", places=2),
)
def test_a_common_quantity_is_whole_on_every_leg_affordable_and_the_largest(legs, notional):
    found = common_quantity(legs, notional)
    for one in legs:
        assert Fraction(found.quantity) % Fraction(one.step * one.multiplier) == 0
        assert Fraction(found.quantity) * Fraction(one.price) <= notional
    larger = Fraction(found.quantity) + Fraction(found.unit)
    assert any(larger * Fraction(one.price) > notional for one in legs)


@pytest.mark.parametrize(
    ("legs", "notional", "field"),
    [
        ([], "1", "legs"),
        ([leg("1", "0")], "1", "legs[0].step"),
        ([BINANCE, leg("-1", "1")], "1", "legs[1].price"),
        ([BINANCE, leg("1", "1", "0")], "1", "legs[1].multiplier"),
        ([leg("1", "1", "1", "-1")], "1", "legs[0].min_qty"),
        ([leg("1", "1", "1", "1", "NaN")], "1", "legs[0].min_notional"),
        ([BINANCE], "-1", "notional"),
    ],
)
def test_a_common_quantity_refuses_by_name(legs, notional, field):
    with pytest.raises(BadValueError) as refused:
        common_quantity(legs, D(notional))
    assert refused.value.field == field


def test_units_of_many_digits_stay_exact():
    assert common_unit([D("0.00000001"), D("0.125")]) == D("0.125")
    assert common_unit([D("1000"), D("0.7")]) == D("7000")
