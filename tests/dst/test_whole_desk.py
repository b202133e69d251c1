"""Drills with the whole desk on a simulated market: kill, stop, restart, liquidation, limits of memory and margin."""

from collections import Counter
from decimal import Decimal

import pytest

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.messages import (
    ArmCommand,
    BasketState,
    BasketUpdate,
    Incident,
    KillCommand,
    KillLevel,
    KillState,
    RoundTrip,
    StopCommand,
)
from daemon.torture.desk import PERPETUAL, SPOT, VENUES, DeskSettings
from daemon.torture.invariants import sizes_of
from daemon.torture.run import Torture
from daemon.torture.script import SECOND_NS, START_NS, Fault, FaultKind, Script
from daemon.torture.watch import Deaf, NoState
from venues.model.money import ZERO
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import CancelAll, Lane, Message, OrderAccepted, OrderCanceled, SubmitOrder, message

LONG_HOLD_MS = 3_600_000


def at(seconds):
    return START_NS + int(seconds * SECOND_NS)


def desk(folder, seed, *, seconds, hold_ms=3_000, futures="30000", risk="", more="", faults=(), **options):
    """One pair of 0.1 BTC with nobody beside it, and limits of loss that are out of reach."""
    settings = DeskSettings(
        seed, seconds, ("BTC",), futures=futures, capital="10000000", hold_ms=hold_ms, cooldown_ms=500, losses=1_000,
        qty="0.1", risk=risk, more=more,
    )  # fmt: skip
    script = Script(seed, seconds * SECOND_NS, faults)
    return Torture(folder, settings, script, has_company=False, keeps_all=True, **options)


def at_both(kind, seconds):
    """The same for every order at every venue."""
    return tuple(Fault(kind, 0, seconds * SECOND_NS, venue, once=False) for venue in VENUES)


def actor(run, name):
    return run.cell.dispatcher.actors[name]


def positions(run):
    return {one.instrument: one.qty for one in actor(run, "ledger").state.positions.values() if one.qty}


def planned(run, since, until=10**20):
    """The baskets that were let in (not closes) in a span of time."""
    return [
        one.basket_id
        for one in run.notes.of(BasketUpdate)
        if one.state is BasketState.WORKING and one.closes is None and since <= one.ts < until
    ]


def kill(seconds, level):
    return KillCommand(at(seconds), "operator", level, "drill")


def arm(seconds):
    return ArmCommand(at(seconds), "operator", "drill is over")


# Kill switch


def test_flatten_closes_both_legs_latches_and_trades_again_after_arming(tmp_path):
    run = desk(tmp_path, 1, seconds=60, hold_ms=LONG_HOLD_MS, inputs=[kill(10, KillLevel.FLATTEN), arm(40)])
    run.run()
    run.check_end()
    closed = [one for one in run.notes.of(BasketUpdate) if one.closes is None and one.state is BasketState.FLAT]
    assert [at(10) <= one.ts < at(11) for one in closed] == [True]
    held: dict[str, Decimal] = {}
    for event in run.notes.fills.values():
        if event.ts < at(40):
            held[event.fill.instrument] = held.get(event.fill.instrument, ZERO) + event.fill.side.sign * event.fill.qty
    assert held == {SPOT: ZERO, PERPETUAL: ZERO}
    assert planned(run, at(10), at(40)) == []
    assert len(planned(run, at(40))) == 1
    # What follows is the feed that ends with the market.
    assert [state.level for state in run.notes.of(KillState)][:2] == [KillLevel.FLATTEN, KillLevel.ARMED]


def test_reduce_only_lets_a_basket_be_taken_off_and_opens_none(tmp_path):
    run = desk(tmp_path, 1, seconds=40, hold_ms=15_000, inputs=[kill(5, KillLevel.REDUCE_ONLY)])
    run.run()
    run.check_end()
    assert positions(run) == {}
    assert len(planned(run, START_NS)) == 1
    assert len(run.notes.of(RoundTrip)) == 1


class Resting(Actor):
    """Has an order at the venue that nobody else knows of, and hears what becomes of it."""

    sends = (SubmitOrder,)

    def __init__(self) -> None:
        super().__init__("resting")
        self.state = NoState()
        self.heard: list[Message] = []

    def start(self, now: int) -> None:
        self.out.timer("place", at(5))

    def on_timer(self, now: int, key: str) -> None:
        self.out.send(
            SubmitOrder(
                now,
                "spot",
                SPOT,
                "by-hand-1",
                Side.BUY,
                Decimal("0.01"),
                OrderType.LIMIT,
                Decimal(50_000),
                TimeInForce.GTC,
            )
        )

    @handles(OrderAccepted, OrderCanceled)
    def on_report(self, now: int, report: OrderAccepted | OrderCanceled) -> None:
        if report.client_order_id == "by-hand-1":
            self.heard.append(report)


def test_cancel_all_cancels_what_rests_even_orders_of_others(tmp_path):
    run = desk(
        tmp_path,
        1,
        seconds=30,
        hold_ms=LONG_HOLD_MS,
        extra=lambda: [Resting()],
        inputs=[kill(10, KillLevel.CANCEL_ALL)],
    )
    run.run()
    resting = actor(run, "resting")
    run.check_end()
    assert [type(report) for report in resting.heard] == [OrderAccepted, OrderCanceled]
    assert at(10) < resting.heard[1].ts < at(10.1)
    assert run.invariants.wire.commands[CancelAll.__name__] == 2
    # The open basket stays: it is hedged.
    assert positions(run) == {SPOT: Decimal("0.1"), PERPETUAL: Decimal("-0.1")}
    assert planned(run, at(10)) == []


def test_a_kill_after_a_stall_does_not_flatten_on_books_that_are_long_silent(tmp_path):
    """The command was waiting when the desk woke, before the timer that would have called the books stale."""
    stall = Fault(FaultKind.PAUSED, 11 * SECOND_NS, 9 * SECOND_NS)
    run = desk(tmp_path, 1, seconds=60, hold_ms=LONG_HOLD_MS, faults=(stall,), inputs=[kill(14, KillLevel.FLATTEN)])
    run.run()
    run.check_end()
    assert run.counts[FaultKind.PAUSED] == 1
    assert positions(run) == {}


# Stop


@pytest.mark.parametrize("kind", [FaultKind.DELAYED, FaultKind.PARTIAL, FaultKind.NO_ACK])
def test_a_stop_lets_a_working_basket_come_to_its_end_and_opens_no_other(kind, tmp_path):
    (tmp_path / "probe").mkdir()
    probe = desk(tmp_path / "probe", 3, seconds=10, faults=at_both(kind, 60))
    probe.run()
    begun = planned_at(probe)
    inputs = [StopCommand(begun + 1_000_000, "drill")]
    run = desk(tmp_path, 3, seconds=60, faults=at_both(kind, 60), inputs=inputs)
    run.run()
    run.check_end()
    ends = {one.basket_id: one.state for one in run.notes.of(BasketUpdate)}
    assert len([state for state in ends.values() if state is not BasketState.DENIED]) == 1
    assert planned(run, begun + 1_000_000) == []
    # Less than the quantum of both instruments may remain.
    assert abs(sum(positions(run).values(), ZERO)) < Decimal("0.001")


def planned_at(run):
    return next(one.ts for one in run.notes.of(BasketUpdate) if one.state is BasketState.WORKING)


# Restart


@message(lane=Lane.CONTROL)
class Bomb(Message):
    ts: int


class Fragile(Actor):
    """Cannot bear a Bomb."""

    publishes = (Incident,)

    def __init__(self) -> None:
        super().__init__("fragile")
        self.state = NoState()

    @handles(Bomb)
    def on_bomb(self, now: int, bomb: Bomb) -> None:
        self.out.emit(Incident(now, "never_published", "", ""))
        raise RuntimeError("bomb")


@pytest.mark.parametrize("snapshot_every", [200, 20_000])
def test_a_quarantined_input_costs_the_desk_a_reconciliation_and_nothing_else(tmp_path, snapshot_every):
    restarts: list[int] = []

    class Heard(Actor):
        def __init__(self) -> None:
            super().__init__("heard")
            self.state = NoState()

        @handles(CellRestarted)
        def on_restart(self, now: int, restarted: CellRestarted) -> None:
            restarts.append(now)
            assert set(actor(run, "risk_gate").state.unreconciled) == {"futures", "spot"}
            held = positions(run)
            assert held == {SPOT: Decimal("0.1"), PERPETUAL: Decimal("-0.1")}

    run = desk(
        tmp_path,
        5,
        seconds=60,
        extra=lambda: [Fragile(), Heard()],
        replayed=lambda: [Fragile(), Deaf("heard")],
        inputs=[Bomb(at(2))],
        snapshot_every=snapshot_every,
    )
    run.run()
    assert [one.actor for one in run.cell.quarantined] == ["fragile"]
    assert restarts == [at(2)]
    run.cell.quarantined.clear()
    # The log gives back the same state, the input that was set aside included.
    run.check_end()
    assert "never_published" not in run.notes.incidents()
    assert min(run.notes.reconciled.values()) > at(2)
    assert len(planned(run, at(5))) >= 5


# Liquidation


def test_a_liquidated_perpetual_has_its_spot_sold_an_incident_and_a_kill(tmp_path):
    jump = Fault(FaultKind.LIQUIDATION, 10 * SECOND_NS, SECOND_NS, PERPETUAL)
    run = desk(tmp_path, 1, seconds=40, futures="2400", hold_ms=LONG_HOLD_MS, faults=(jump,))
    run.run()
    run.check_end()
    assert run.counts[FaultKind.LIQUIDATION] == 1
    assert positions(run) == {}
    assert {"external_fill", "leg_taken"} <= set(run.notes.incidents())
    assert run.notes.kill >= KillLevel.CANCEL_ALL
    assert planned(run, at(10)) == []
    ends = [one for one in run.notes.of(BasketUpdate) if one.state is BasketState.FLAT]
    assert [at(10) < one.ts < at(12) for one in ends] == [True]


# Margin


def test_without_a_mark_price_no_basket_that_needs_margin_begins(tmp_path):
    run = desk(tmp_path, 1, seconds=30, mark_interval_ns=20 * SECOND_NS)
    run.run()
    why = Counter(one.why.split(":")[0] for one in run.notes.of(BasketUpdate) if one.state is BasketState.DENIED)
    unknown = [one.why for one in run.notes.of(BasketUpdate) if "no fresh mark" in one.why]
    assert unknown
    assert why["preflight"] >= len(unknown)
    # Marks come at whole intervals and are believed for 15 seconds.
    begun = [one for one in run.notes.of(BasketUpdate) if one.state is BasketState.WORKING and one.closes is None]
    assert begun
    assert all((one.ts - START_NS) % (20 * SECOND_NS) <= 15 * SECOND_NS + 100_000_000 for one in begun)


# Memory


def test_what_actors_remember_stays_bounded(tmp_path):
    limits = """
[orders]
keep_orders = 20
keep_traces = 30

[executor]
keep_baskets = 10
keep_ids = 40
keep_incidents = 20

[ledger]
seen = 40

[statistics]
baskets = 10
"""
    risk = "remembered_ids = 40\nremembered_baskets = 10"
    sizes = []
    for seconds in (40, 120):
        kinds = (FaultKind.REJECTED, FaultKind.PARTIAL)
        faults = [
            Fault(kinds[second % 2], second * SECOND_NS, SECOND_NS, VENUES[second // 2 % 2])
            for second in range(2, seconds, 3)
        ]
        (tmp_path / str(seconds)).mkdir()
        run = desk(
            tmp_path / str(seconds), 2, seconds=seconds, hold_ms=200, risk=risk, more=limits, faults=tuple(faults)
        )
        run.run()
        run.check_end()
        sizes.append(sizes_of(run.cell.dispatcher.actors))
        assert actor(run, "atomic_executor").state.counters.planned > seconds
    short, long = sizes
    grown = {name: (short[name], size) for name, size in long.items() if size > max(45, 2 * short.get(name, 0))}
    assert grown == {}
