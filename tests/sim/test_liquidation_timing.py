"""A position goes at the first mark at or through its price, never later and never before.

The price is found here by looking at every tick: balance <= maintenance margin, written out from facts/crypto.md A2.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sim import margin
from sim.venue import SimVenue
from sim.venue_settings import Participant, Stake, VenueSettings
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import PositionSide
from venues.port import Liquidated, MarkPrice, Report

D = Decimal
# The first rows of BTCUSDT's table of 2025-08 at a thousandth of their size (facts/crypto.md A5): many are in reach.
BRACKETS = (
    Bracket(D(0), D(300), D("0.004"), D(0), 150),
    Bracket(D(300), D(800), D("0.005"), D("0.3"), 100),
    Bracket(D(800), D(3_000), D("0.0065"), D("1.5"), 75),
    Bracket(D(3_000), D(12_000), D("0.01"), D(12), 50),
    Bracket(D(12_000), D(10**9), D("0.02"), D(132), 25),
)
PERP = Instrument(
    "V", "PERP", InstrumentKind.PERPETUAL, "P", "USDT", D("0.1"), D("0.1"), max_leverage=150, brackets=BRACKETS
)
OTHER = evolve(PERP, symbol="OTHER", base="O")
FEES = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))
TICKS = range(1, 4001)


def maintenance(notional: Decimal) -> Decimal:
    row = next(row for row in BRACKETS if row.floor < notional <= row.cap)
    return notional * row.mmr - row.cum


def excess(wallet: Decimal, stakes: Sequence[Stake], price: Decimal) -> Decimal:
    """Return margin balance less maintenance margin with everything of the pool at `price`."""
    balance = wallet + sum((stake.qty * (price - stake.entry_price) for stake in stakes), D(0))
    return balance - sum((maintenance(abs(stake.qty) * price) for stake in stakes), D(0))


def made(account: Account, *stakes: Stake) -> tuple[SimVenue, list[Report]]:
    heard: list[Report] = []
    settings = VenueSettings(participants=(Participant(account, stakes),))
    return SimVenue("V", (PERP, OTHER), [], FEES, settings=settings, on_counterparty=heard.append), heard


def liquidated_at(account: Account, stakes: Sequence[Stake], ticks: int) -> bool:
    """Whether the first mark the venue hears, `ticks`, liquidates."""
    venue, heard = made(evolve(account, balances=dict(account.balances)), *stakes)
    venue.on_market(1, MarkPrice(1, PERP.id, PERP.price(ticks)))
    return any(isinstance(report, Liquidated) for report in heard)


@st.composite
def stakes_of(draw: st.DrawFn, side: PositionSide = PositionSide.BOTH, instrument: str = PERP.id) -> Stake:
    sign = {PositionSide.LONG: 1, PositionSide.SHORT: -1}.get(side) or draw(st.sampled_from([1, -1]))
    qty = PERP.qty(draw(st.integers(1, 1500))) * sign
    return Stake(instrument, qty, PERP.price(draw(st.integers(800, 1200))), side)


def isolated(stake: Stake, leverage: int) -> Account:
    wallet = abs(stake.qty) * stake.entry_price / leverage
    return Account("a", "V", {"USDT": wallet}, MarginMode.ISOLATED, leverage={PERP.id: leverage})


# 1/leverage of these ends: the isolated margin is not rounded.
leverages = st.sampled_from([2, 4, 5, 8, 10, 16, 20, 25, 40, 50, 64, 80, 100, 125])


@given(stakes_of(), leverages)
def test_an_isolated_position_goes_at_its_tick(stake: Stake, leverage: int) -> None:
    account = isolated(stake, leverage)
    check_tick(account, [stake])


@given(stakes_of(), st.integers(1, 40_000))
def test_a_cross_position_goes_at_its_tick(stake: Stake, wallet: int) -> None:
    check_tick(Account("a", "V", {"USDT": D(wallet) / 10}, leverage={PERP.id: 20}), [stake])


@given(stakes_of(PositionSide.LONG), stakes_of(PositionSide.SHORT), st.integers(1, 40_000))
def test_both_sides_of_a_hedge_share_a_price(long: Stake, short: Stake, wallet: int) -> None:
    account = Account("a", "V", {"USDT": D(wallet) / 10}, position_mode=PositionMode.HEDGE, leverage={PERP.id: 20})
    check_tick(account, [long, short])


@given(stakes_of(PositionSide.LONG), stakes_of(PositionSide.SHORT), leverages)
def test_isolated_sides_of_a_hedge_go_one_by_one(long: Stake, short: Stake, leverage: int) -> None:
    wallets = [abs(stake.qty) * stake.entry_price / leverage for stake in (long, short)]
    account = Account(
        "a", "V", {"USDT": sum(wallets, D(0))}, MarginMode.ISOLATED, PositionMode.HEDGE, {PERP.id: leverage}
    )
    for ticks in (700, 950, 1050, 1400):
        venue, heard = made(evolve(account, balances=dict(account.balances)), long, short)
        venue.on_market(1, MarkPrice(1, PERP.id, PERP.price(ticks)))
        gone = {report.position_side for report in heard if isinstance(report, Liquidated)}
        expected = {
            stake.position_side
            for stake, wallet in zip((long, short), wallets, strict=True)
            if excess(wallet, [stake], PERP.price(ticks)) <= 0
        }
        assert gone == expected


def check_tick(account: Account, stakes: list[Stake]) -> None:
    """Find where the excess changes sign, look at the ticks around it; a lone position's told price lies between."""
    wallet = account.balance("USDT")
    is_gone = [excess(wallet, stakes, PERP.price(ticks)) <= 0 for ticks in TICKS]
    for ticks, (here, following) in enumerate(pairwise(is_gone), start=1):
        if here is following:
            continue
        assert liquidated_at(account, stakes, ticks) is here
        assert liquidated_at(account, stakes, ticks + 1) is following
        if len(stakes) == 1:
            told = told_price(account, stakes)
            assert told is not None
            low, high = PERP.price(ticks), PERP.price(ticks + 1)
            assert (low <= told < high) if here else (low < told <= high)
            assert here is (stakes[0].qty > 0)
    for ticks in (500, 1000, 1500):
        assert liquidated_at(account, stakes, ticks) is is_gone[ticks - 1]


def told_price(account: Account, stakes: Sequence[Stake]) -> Decimal | None:
    venue, _ = made(evolve(account, balances=dict(account.balances)), *stakes)
    state = venue.state
    held = state.accounts["a"].open_holdings()[0]
    found = margin.liquidation_price(state, state.accounts["a"], state.markets[PERP.id], held)
    # The excess at the told price is zero but for the digits of the division.
    return None if found is None else found.quantize(D("1E-18"))


def first_breach(wallet: Decimal, path: Sequence[int], at: Callable[[int], Decimal]) -> int | None:
    return next((now for now, ticks in enumerate(path, start=1) if at(ticks) <= 0), None)


paths = st.lists(st.integers(700, 1400), min_size=1, max_size=20)


@given(stakes_of(), leverages, paths)
def test_the_first_mark_through_the_price_is_the_one(stake: Stake, leverage: int, path: list[int]) -> None:
    account = isolated(stake, leverage)
    wallet = account.balance("USDT")
    venue, heard = made(account, stake)
    for now, ticks in enumerate(path, start=1):
        venue.on_market(now, MarkPrice(now, PERP.id, PERP.price(ticks)))
    expected = first_breach(wallet, path, lambda ticks: excess(wallet, [stake], PERP.price(ticks)))
    told = [report.ts for report in heard if isinstance(report, Liquidated)]
    assert told == ([] if expected is None else [expected])


@given(
    stakes_of(),
    stakes_of(instrument=OTHER.id),
    st.integers(1, 60_000),
    st.lists(st.tuples(st.booleans(), st.integers(700, 1400)), min_size=1, max_size=15),
)
def test_the_mark_of_either_contract_brings_a_pool_down(
    one: Stake, two: Stake, tenths: int, path: list[tuple[bool, int]]
) -> None:
    wallet = D(tenths) / 10
    venue, heard = made(Account("a", "V", {"USDT": wallet}, leverage={PERP.id: 20, OTHER.id: 20}), one, two)
    # Before its first mark a position is worth what it cost.
    prices = {one.instrument: one.entry_price, two.instrument: two.entry_price}
    expected = None
    for now, (is_first, ticks) in enumerate(path, start=1):
        stake = one if is_first else two
        prices[stake.instrument] = PERP.price(ticks)
        venue.on_market(now, MarkPrice(now, stake.instrument, PERP.price(ticks)))
        pnl = sum((each.qty * (prices[each.instrument] - each.entry_price) for each in (one, two)), D(0))
        needed = sum((maintenance(abs(each.qty) * prices[each.instrument]) for each in (one, two)), D(0))
        if expected is None and wallet + pnl <= needed:
            expected = now
    told = [report.ts for report in heard if isinstance(report, Liquidated)]
    assert told[:1] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("qty", "entry", "wallet", "safe", "gone"),
    [
        # 20x long from 100, 0.4 %: 95 / 0.996 = 95.38 (systems.md section 5, its 47,690.76 from 50,000).
        ("1", "100", "5", "95.4", "95.3"),
        # 1 from 99.6, wallet 99.6 - 95 x 0.996 = 4.98: exactly at 95.0, which is enough.
        ("1", "99.6", "4.98", "95.1", "95.0"),
        # The short mirror: 105 / 1.004 = 104.58.
        ("-1", "100", "5", "104.5", "104.6"),
        # In the third bracket: 10 from 100, (950 - 1.5) / (10 x 0.9935) = 95.47.
        ("10", "100", "50", "95.5", "95.4"),
        # From the fourth into the third: 31 from 100 (3,100), wallet 155: (2,945 - 1.5) / (31 x 0.9935) = 95.574.
        ("31", "100", "155", "95.6", "95.5"),
        # A short up into the fourth: 29 from 100, wallet 145: (3,045 + 12) / (29 x 1.01) = 104.37.
        ("-29", "100", "145", "104.3", "104.4"),
    ],
)
def test_the_tick_worked_by_hand(qty: str, entry: str, wallet: str, safe: str, gone: str) -> None:
    account = Account("a", "V", {"USDT": D(wallet)}, leverage={PERP.id: 20})
    stake = Stake(PERP.id, D(qty), D(entry))
    assert not liquidated_at(account, [stake], PERP.ticks(D(safe)))
    assert liquidated_at(account, [stake], PERP.ticks(D(gone)))
