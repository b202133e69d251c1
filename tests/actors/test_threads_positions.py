"""Threads of other systems about positions and funding, as things that must not happen here.

Numbers and lessons are those of the twenty threads that this part was built against.
"""

from decimal import Decimal
from typing import Any

import pytest
from cell_harness import PERP, SECOND, SPECS, SPOT, D, Harness
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.funding_messages import FundingInterval, FundingOutcome, FundingPaid, FundingReconciled
from actors.funding_tracker import FundingTracker
from actors.messages import (
    FundingState,
    Incident,
    KillLevel,
    MismatchKind,
    PositionMismatch,
    PositionUpdate,
)
from actors.strategies.cash_and_carry import CashAndCarry, CashAndCarryConfig
from daemon.torture.desk import PERPETUAL, DeskSettings
from daemon.torture.desk import SPOT as SPOT_ID
from daemon.torture.run import Torture
from daemon.torture.script import Fault, FaultKind, Script
from daemon.torture.wire import FaultyVenue
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.port import FundingSettled, Income, IncomeKind, MarkPrice, QueryKind, QueryResult

HOUR = 3_600 * SECOND
T = 8 * HOUR


# 9


class Tracked:
    """A funding tracker that holds one of the perpetual."""

    def __init__(self):
        self.tracker = FundingTracker(SPECS, accounts={"acc": PERP.venue})
        self.done = Collected()
        self.tracker.out = detached_outbox("funding", into=self.done)
        self.tracker.start(0)
        self.mark("0.0001", T)
        self.tracker.handle(1, PositionUpdate(1, "acc", PERP.id, PositionSide.BOTH, D(1), D(1), ZERO))

    def mark(self, rate, next_ns, now=0):
        self.tracker.handle(now, MarkPrice(now, PERP.id, D(50_000), None, D(rate), next_ns))

    def of(self, kind):
        return [one for one in self.done.emitted if isinstance(one, kind)]


def test_thread_09_a_symbol_has_the_interval_that_its_instants_show():
    """hummingbot #7603, #8413, #7591: "funding interval missing from the data model"."""
    desk = Tracked()
    for number in range(1, 4):
        desk.mark("0.0001", (number + 1) * T, number * T + 1)
    assert desk.of(FundingState)[-1].interval_ns == T
    desk.mark("0.0001", 3 * T + HOUR, 3 * T + 2)
    assert [(one.before_ns, one.after_ns) for one in desk.of(FundingInterval)] == [(T, HOUR)]
    # 24 instants of 5 USDT to come, not three.
    assert desk.tracker.expected_per_day(3 * T + 2, PERP.id) == -120


@pytest.mark.parametrize("rate", ["100", "-0.5", "NaN", "0.030000001"])
def test_thread_09_an_absurd_rate_is_shown_to_nobody(rate):
    """hummingbot #8413: "absurd rates shown": validate ranges."""
    desk = Tracked()
    desk.mark(rate, T)
    assert not desk.of(FundingState)[-1].is_known
    assert desk.tracker.expected(PERP.id) is None
    strategy = CashAndCarry(SPECS, carry_config(min_net_bps=D(1)), "carry")
    strategy.on_mark(0, MarkPrice(0, PERP.id, D(50_000), None, D(rate), T))
    assert strategy.state.rate is None


def test_thread_09_a_wrong_payment_is_corrected_by_the_income():
    """hummingbot #7591: "wrong funding payments": reconcile with income records."""
    desk = Tracked()
    wrong = FundingSettled(T, "acc", PERP.id, D("0.0001"), D(50_000), D(10), D(-50), "USDT")
    desk.tracker.handle(T, wrong)
    desk.tracker.on_timer(T + desk.tracker.config.grace_ns, f"grace/{PERP.id}")
    (query_id,) = desk.tracker.state.accounts["acc"].asked
    record = Income(T, "acc", IncomeKind.FUNDING, "USDT", D(-5), "1", PERP.id)
    desk.tracker.handle(T + 1, QueryResult(T + 1, "acc", query_id, QueryKind.INCOME, incomes=(record,)))
    assert [one.amount for one in desk.of(FundingPaid)] == [-50, 45]
    assert [(one.paid, one.outcome) for one in desk.of(FundingReconciled)] == [(-5, FundingOutcome.AGREED)]


# 10


def carry_config(**changes: Any) -> CashAndCarryConfig:
    values: dict[str, Any] = {"spot": SPOT.id, "perpetual": PERP.id, "qty": D(1)}
    values |= {"spot_account": "acc", "perpetual_account": "acc"}
    values |= {"entry_bps": D(20), "exit_bps": D(5), "max_hold_ns": 100 * HOUR}
    return CashAndCarryConfig(**(values | changes))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["-0.01", "-0.0003", "0", "0.0003", "0.01"]),
            st.sampled_from([-SECOND, -1, 0, 1, SECOND, HOUR]),
            st.sampled_from(["100.1", "100.2", "100.3"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_thread_10_a_stamp_is_no_reason_to_leave(stamps):
    """hummingbot #4191, #4215: "position closed at a loss right after funding": exit must be priced, not triggered.

    The basis stays above the 5 bps to leave at, whatever was paid and when the next stamp is.
    """
    strategy = CashAndCarry(SPECS, carry_config(), "carry")
    cell = Harness(strategy)
    cell.quote(SPOT, "99.99", "100.00")
    cell.quote(PERP, "100.2", "100.3")
    assert cell.states("carry-1")[-1] == "balanced"
    for rate, offset, ask in stamps:
        cell.feed(MarkPrice(cell.now, PERP.id, D("100.2"), D(100), D(rate), cell.now + max(1, offset)))
        cell.feed(FundingState(cell.now, PERP.id, D(rate), cell.now + max(1, offset), D(-1), D(-1), HOUR))
        cell.quote(PERP, str(D(ask) - D("0.1")), ask)
        assert cell.states("carry-1")[-1] == "balanced"
    # Priced: the perpetual's ask comes within 5 bps of the spot bid.
    cell.quote(PERP, "99.9", "100.0")
    assert cell.states("carry-1")[-1] == "flat"


# 14


def held_for_long(tmp_path, seconds, *faults, **options):
    """A carry of 0.1 BTC is held for the whole run."""
    settings = DeskSettings(
        14, seconds, ("BTC",), futures="30000", capital="10000000", hold_ms=600_000, cooldown_ms=500, losses=1_000,
        qty="0.1",
    )  # fmt: skip
    script = Script(14, seconds * SECOND, faults)
    return Torture(tmp_path, settings, script, has_company=False, keeps_all=True, **options)


def lost_half(tmp_path, **options):
    """30 s in, the venue takes part of the perpetual."""
    return held_for_long(tmp_path, 100, Fault(FaultKind.ADL, 30 * SECOND, 0, PERPETUAL), **options)


def test_thread_14_deleveraging_of_one_leg_takes_the_other_off(tmp_path):
    """hummingbot #3103, #4364: "ADL/liquidation of one leg must unwind the other"."""
    run = lost_half(tmp_path)
    run.run()
    run.check_end()
    assert run.counts[FaultKind.ADL] == 1
    told = run.notes.of(PositionMismatch)
    assert [one.kind for one in told] == [MismatchKind.DELEVERAGED]
    assert run.notes.kill >= KillLevel.REDUCE_ONLY
    # Half of 0.1 was taken: the spot leg followed, to the lot.
    spot = [one.fill for one in run.notes.fills.values() if one.fill.instrument == SPOT_ID]
    assert sum(one.side.sign * one.qty for one in spot) == Decimal("0.05")
    positions = {one.instrument: one.qty for one in run.cell.dispatcher.actors["ledger"].state.positions.values()}
    assert positions[SPOT_ID] + positions[PERPETUAL] == 0
    # The synchronizer says that it is over.
    (episode,) = run.cell.dispatcher.actors["position_synchronizer"].state.history
    assert (episode.kind, episode.how) == (MismatchKind.DELEVERAGED, "our book caught up")


class Liquidating(FaultyVenue):
    """Instead of deleveraging, the venue liquidates: the account's money is gone at once."""

    def _deleverage(self, now, fault):
        account = self.inner.state.accounts["futures"]
        left = account.account.balance("USDT")
        said = self.inner.transfer(now, "futures", "USDT", Decimal(5) - left)
        self.counts.met(fault)
        mark = self.inner.state.markets[fault.at].mark or Decimal(0)
        return self._pass(now, [*said, *self.inner.on_market(now, MarkPrice(now, fault.at, mark))])


def test_thread_14_liquidation_of_one_leg_takes_the_other_off(tmp_path):
    """hummingbot #3103: the perpetual is liquidated, and the spot leg alone would be a bet."""
    run = lost_half(tmp_path, venue=Liquidating)
    run.run()
    kinds = {one.kind for one in run.notes.of(PositionMismatch)}
    assert MismatchKind.LIQUIDATED in kinds
    assert run.notes.kill >= KillLevel.CANCEL_ALL
    positions = {one.instrument: one.qty for one in run.cell.dispatcher.actors["ledger"].state.positions.values()}
    assert positions == {SPOT_ID: 0, PERPETUAL: 0}
    assert any(one.kind.startswith("basket") or one.basket_id for one in run.notes.of(Incident))


def test_thread_14_the_distance_to_liquidation_is_known_while_a_position_is_open(tmp_path):
    """hummingbot #4364: "users want liquidation distance"."""
    run = held_for_long(tmp_path, 30)
    run.run()
    reported = run.cell.dispatcher.actors["statistics"].state.reported["futures"]
    (one,) = reported.values()
    assert one.qty < 0
    assert one.liquidation_price > 60_000
