"""What theory says a matching venue does: sweeps, waiting times in a queue, impact, VWAP. facts/simulation.md 6.

Monte Carlo results are of fixed draws and within 3.3 standard errors (99.9 %).
"""

from decimal import Decimal
from fractions import Fraction
from math import log, sqrt
from random import Random
from statistics import mean, pvariance

import pytest
from compiled_market import SPECS
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_players import VenuePlayer
from reference_matcher import BUY, SELL, Fill, ReferenceOrder

from sim.queue_models import QueueModel
from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.costs.impact import square_root_impact
from venues.model.account import Account
from venues.model.money import ZERO
from venues.model.order import OrderType, Side
from venues.port import BookSnapshot, OrderFilled, SubmitOrder
from venues.schedules.slices import twap, vwap

D = Decimal
RISK_AVERSE = QueueModel("risk_averse")
ASK = 1001


def fills_of(player: VenuePlayer) -> list[Fill]:
    return [event for event in player.take_events() if isinstance(event, Fill)]


def slip(fills: list[tuple[int, int]], best: int = ASK) -> Fraction:
    """Return the mean distance of (ticks, lots) from the best price in ticks."""
    return Fraction(sum((ticks - best) * lots for ticks, lots in fills), sum(lots for _, lots in fills))


def sweep(lots: int, per_level: int) -> Fraction:
    """Return T1: [q k(k-1)/2 + r k] / Q with k = floor(Q/q), r = Q - k q."""
    k, r = divmod(lots, per_level)
    return Fraction(per_level * k * (k - 1), 2 * lots) + Fraction(r * k, lots)


def flat(player: VenuePlayer, per_level: int, levels: int = 80) -> None:
    player.on_snapshot(
        [(ASK - 2 - at, per_level) for at in range(levels)], [(ASK + at, per_level) for at in range(levels)]
    )


def take(player: VenuePlayer, lots: int, name: str = "t", ticks: int | None = None) -> list[tuple[int, int]]:
    player.submit(ReferenceOrder(name, BUY, ticks, lots, tif="IOC"))
    return [(fill.ticks, fill.lots) for fill in fills_of(player)]


# T1


@pytest.mark.parametrize(("lots", "cost"), [(35, "1.285714"), (40, "1.500000"), (5, "0.000000"), (10, "0.000000")])
def test_a_sweep_of_a_flat_book_costs_what_the_sum_says(lots: int, cost: str) -> None:
    player = VenuePlayer(RISK_AVERSE)
    flat(player, 10)
    found = slip(take(player, lots))
    assert found == sweep(lots, 10)
    assert f"{float(found):.6f}" == cost


@settings(max_examples=200)
@given(st.integers(1, 600), st.integers(1, 40), st.booleans())
def test_any_sweep_costs_what_the_sum_says(lots: int, per_level: int, is_limit: bool) -> None:
    player = VenuePlayer(RISK_AVERSE)
    flat(player, per_level, 620)
    assert slip(take(player, lots, ticks=ASK + 610 if is_limit else None)) == sweep(lots, per_level)


def test_slices_into_a_refilled_book_cost_nothing() -> None:
    player = VenuePlayer(RISK_AVERSE)
    fills = []
    for at in range(7):
        flat(player, 10)
        fills += take(player, 5, f"s{at}")
    assert slip(fills) == 0


def test_the_venue_reports_the_same_cost() -> None:
    spec, free = SPECS[0], FeeTable(FeeSchedule(ZERO, ZERO))
    venue = SimVenue("V", [spec], [Account("a", "V", {"USDT": D(10**9)})], free)
    venue.on_market(0, BookSnapshot(0, spec.id, 1, [(ASK - 2, 10)], [(ASK + at, 10) for at in range(9)]))
    command = SubmitOrder(1, "a", spec.id, "t", Side.BUY, spec.qty(35), OrderType.MARKET)
    fills = [report for report in venue.on_command(1, command) if isinstance(report, OrderFilled)]
    assert slip([(spec.ticks(fill.price), spec.lots(fill.qty)) for fill in fills]) == Fraction(9, 7)


# T2, T3

RUNS = 8_000
QUEUE = 1000


def wait(player: VenuePlayer, random: Random, ahead: int, mu: float, theta: float, name: str) -> tuple[float, int]:
    """Return when an order behind `ahead` unit orders fills, and by which unit trade.

    Unit market sells come at rate `mu`; each order ahead is cancelled at rate `theta`. Nobody queues behind, so that
    what leaves the level has stood ahead: there the risk-averse queue is exact.
    """
    player.on_snapshot([(QUEUE, ahead)], [(QUEUE + 5, 1)])
    player.submit(ReferenceOrder(name, BUY, QUEUE, 1))
    now, trades, left = 0.0, 0, ahead
    while True:
        now += random.expovariate(mu + left * theta)
        if random.random() * (mu + left * theta) < mu:
            trades += 1
            player.on_trade(QUEUE, 1, SELL)
        else:
            player.on_delta([(QUEUE, left - 1)], [])
        if fills_of(player):
            return now, trades
        left -= 1


def test_an_order_behind_four_waits_for_the_fifth_trade() -> None:
    """P(fill by t) = 1 - sum_{k<=n} e^(-mu t) (mu t)^k / k!; n = 4, mu = 2, t = 2: 0.371163, mean (n+1)/mu = 2.5."""
    player, random = VenuePlayer(RISK_AVERSE), Random(2)
    waits = [wait(player, random, 4, 2.0, 0.0, f"o{at}") for at in range(RUNS)]
    assert {trades for _, trades in waits} == {5}
    times = [time for time, _ in waits]
    assert abs(mean(time <= 2.0 for time in times) - 0.371163) < 3.3 * sqrt(0.371163 * 0.628837 / RUNS)
    # The time of the fifth event has variance 5 / mu^2.
    assert abs(mean(times) - 2.5) < 3.3 * sqrt(1.25 / RUNS)


def test_cancels_ahead_shorten_the_wait_as_the_sum_of_exponentials_says() -> None:
    """T = sum_{k<=n} Exp(mu + k theta); n = 4, mu = 2, theta = 0.5."""
    player, random = VenuePlayer(RISK_AVERSE), Random(3)
    times = [wait(player, random, 4, 2.0, 0.5, f"o{at}")[0] for at in range(RUNS)]
    assert abs(mean(times) - 1.769048) < 3.3 * sqrt(0.665244 / RUNS)
    # Fourth central moment of a sum of exponentials 1/r: 3 (sum r^-2)^2 + 6 sum r^-4.
    fourth = 3 * 0.665244**2 + 6 * sum((2.0 + 0.5 * k) ** -4 for k in range(5))
    assert abs(pvariance(times) - 0.665244) < 3.3 * sqrt((fourth - 0.665244**2) / RUNS)
    for t, share in ((1.0, 0.163725), (2.0, 0.667315)):
        assert abs(mean(time <= t for time in times) - share) < 3.3 * sqrt(share * (1 - share) / RUNS)
    before = mean(time < random.expovariate(0.3) for time in times)
    assert abs(before - 0.604738) < 3.3 * sqrt(0.604738 * 0.395262 / RUNS)


# T7: the square-root law holds in a book whose density grows linearly with the distance from the price, a latent order
# book (Toth et al. 2011, Phys. Rev. X 1:021006): Q = a I^2 / 2. A book of constant density gives a linear impact.

PRICE = 1_000_000
DEPTH = 4_100
SHARE = D("0.01")


def metaorder(lots: int, children: int, density: list[int]) -> tuple[int, Fraction]:
    """Return (ticks between the start and the best price after, mean cost in ticks) of a buy in even children."""
    player = VenuePlayer(RISK_AVERSE)
    player.on_snapshot([(PRICE - 1, 1)], [(PRICE + at, shown) for at, shown in enumerate(density, start=1)])
    fills = []
    for at, child in enumerate(twap(D(lots), D(1), children)):
        fills += take(player, int(child), f"c{at}")
    assert sum(shown for _, shown in fills) == lots
    best = player.displayed(SELL)[0][0]
    return best - PRICE, slip(fills, PRICE)


def slope(points: list[tuple[float, float]]) -> float:
    xs, ys = [log(x) for x, _ in points], [log(y) for _, y in points]
    x_mean, y_mean = mean(xs), mean(ys)
    return sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / sum((x - x_mean) ** 2 for x in xs)


def test_metaorders_in_a_linear_book_move_the_price_by_the_square_root() -> None:
    """One tick is 0.01 bp and the daily volume such that 1 % of it moves 2 % x sqrt(0.01) = 20 bp = 2,000 ticks."""
    linear = list(range(1, DEPTH))
    volume = D(2000 * 2001 // 2) / SHARE
    points = []
    for share, bps in (("0.0001", 2.0), ("0.001", 6.3246), ("0.003", 10.9545), ("0.01", 20.0), ("0.04", 40.0)):
        lots = int(volume * D(share))
        impact, cost = metaorder(lots, 20, linear)
        points.append((float(lots), float(impact)))
        # To a tick; the formula of venues.costs.impact says the same.
        assert impact / 100 == pytest.approx(bps, abs=0.011)
        assert float(square_root_impact(D("0.02"), D(share), D(1))) == pytest.approx(bps, abs=5e-5)
        assert float(cost) / 100 == pytest.approx(bps * 2 / 3, abs=0.011)
        if share == "0.01":
            assert float(cost) / 100 == pytest.approx(13.33, abs=0.011)
    assert 0.45 < slope(points) < 0.55


def test_metaorders_in_a_flat_book_do_not() -> None:
    points = [(float(lots), float(metaorder(lots, 20, [50] * DEPTH)[0])) for lots in (1000, 10_000, 100_000)]
    assert slope(points) == pytest.approx(1.0, abs=0.02)


# T12


@given(
    st.lists(st.tuples(st.integers(990, 1010), st.integers(1, 30)), min_size=1, max_size=20),
    st.sampled_from([Fraction(1, 10), Fraction(1, 4), Fraction(1, 2), Fraction(1)]),
)
def test_a_constant_share_of_every_trade_makes_the_tapes_vwap(tape: list[tuple[int, int]], share: Fraction) -> None:
    player = VenuePlayer(RISK_AVERSE)
    fills = []
    for at, (ticks, units) in enumerate(tape):
        lots = units * share.denominator
        player.on_snapshot([(ticks - 1, 5)], [(ticks, lots), (ticks + 1, 5)])
        fills += take(player, int(lots * share), f"v{at}")
    traded = [(ticks, units * share.denominator) for ticks, units in tape]
    assert slip(fills, 0) == slip(traded, 0)
    assert sum(lots for _, lots in fills) == share * sum(lots for _, lots in traded)


@given(st.integers(1, 400), st.integers(1, 12), st.integers(1, 30))
def test_children_sum_to_the_parent_and_cost_their_own_sweeps(parent: int, children: int, per_level: int) -> None:
    """The book refills between children: the whole costs the volume-weighted mean of the children's T1."""
    for sizes in (twap(D(parent), D(1), children), vwap(D(parent), D(1), [D(1 + at % 3) for at in range(children)])):
        player, fills, expected = VenuePlayer(RISK_AVERSE), [], Fraction(0)
        for at, size in enumerate(sizes):
            if not size:
                continue
            flat(player, per_level, 410)
            fills += take(player, int(size), f"c{at}")
            expected += sweep(int(size), per_level) * int(size)
        assert sum(lots for _, lots in fills) == parent
        assert slip(fills) == expected / parent


def test_arrival_slippage_of_seven_children_is_that_of_each() -> None:
    player, fills = VenuePlayer(RISK_AVERSE), []
    for at in range(7):
        flat(player, 10)
        fills += take(player, 35, f"c{at}")
    assert f"{float(slip(fills)):.6f}" == "1.285714"
