"""Two of the twenty threads that tell how trading systems fail (execution.md, section 2): 11 and 13."""

from decimal import Decimal
from typing import Any

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Actor, Collected, detached_outbox, handles
from actors.cell import Cell, CellRestarted
from actors.control import ClockOffset
from actors.dead_man_words import DeadManState
from actors.halts import HaltCommand, Halts, HaltScope
from actors.kill_switch import DAY_NS, KillSwitch, Trigger
from actors.messages import (
    ArmCommand,
    BasketState,
    BasketUpdate,
    BookView,
    KillCommand,
    KillLevel,
    KillState,
    MarginLevel,
    MarginState,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PnlUpdate,
    RoundTrip,
    StopCommand,
)
from actors.order_manager import OrderManager
from actors.risk_checks import Reason
from actors.risk_config import RiskConfig
from actors.risk_gate import RiskGate
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import CancelAll, Message, SubmitOrder

D = Decimal
T = 20_000 * DAY_NS
PERP = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
ACCOUNTS = {"f": "fut"}
LOSS = PnlUpdate(T, D(-5_000), ZERO, ZERO, ZERO)


# Thread 11: a kill switch crashed on its own report, or fired with no trades (hummingbot 2534, 1145).


@define
class _Told:
    times: int = 0


class Reporter(Actor):
    """Fails the first `failures` times that it has to report a kill."""

    state: _Told

    def __init__(self, failures: int, made: list[int]) -> None:
        super().__init__("reporter")
        self.state = _Told()
        self._failures = failures
        self._made = made

    @handles(KillState)
    def on_kill(self, now: int, kill: KillState) -> None:
        self._made.append(kill.level)
        if len(self._made) <= self._failures:
            raise ZeroDivisionError("a report of no trades")


def reported(failures: int, *messages: Message) -> tuple[Cell, list[int], list[Any]]:
    made: list[int] = []
    cell = Cell(
        lambda: [KillSwitch(ACCOUNTS, name="kill_switch"), Halts(ACCOUNTS, name="halts"), Reporter(failures, made)]
    )
    sent = [one.command for one in cell.start(T)]
    for one in messages:
        cell.offer(one)
        sent += [intent.command for intent in cell.run(T)]
    return cell, made, sent


KILLS = {
    "loss": (LOSS, KillLevel.REDUCE_ONLY),
    "person": (KillCommand(T, "ann", KillLevel.CANCEL_ALL, "odd"), KillLevel.CANCEL_ALL),
}


@pytest.mark.parametrize(("kill", "level"), KILLS.values(), ids=KILLS)
def test_thread_11_a_report_that_fails_does_not_undo_the_kill(kill: Message, level: KillLevel) -> None:
    cell, made, sent = reported(1, kill)
    assert (cell.halt, len(cell.quarantined)) == (None, 1)
    state = cell.dispatcher.actors["kill_switch"].state
    assert (state.level, state.triggers[Trigger.CELL_FAILED]) == (level, 1)
    assert made == [level, level]
    assert (CancelAll(T, "f") in sent) is (level >= KillLevel.CANCEL_ALL)


def test_thread_11_a_report_that_fails_again_halts_the_cell() -> None:
    cell, _, _ = reported(2, LOSS)
    assert cell.halt is not None


def test_thread_11_a_replay_comes_to_the_same_level() -> None:
    taken: list[tuple[int, bool, Message]] = []

    class Log:
        def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
            taken.append((now, is_held, message))

    def build(made: list[int]) -> Any:
        return lambda: [KillSwitch(ACCOUNTS, name="kill_switch"), Reporter(1, made)]

    live, again = Cell(build([]), sink=Log()), Cell(build([]))
    live.start(T)
    live.offer(LOSS)
    live.run(T)
    again.start(T)
    for now, is_held, message in taken:
        if not isinstance(message, CellRestarted):
            again.replay(now, message, is_held)
    again.finish_replay()
    assert again.snapshot() == live.snapshot()
    assert again.dispatcher.actors["kill_switch"].state.level is KillLevel.REDUCE_ONLY


def test_thread_11_a_part_that_was_stopped_stays_stopped_as_well() -> None:
    class Deaf(Halts):
        def _cancel(self, now: int, scope: HaltScope, name: str) -> None:
            if not self.state.owed and name == "carry" and not failed:
                failed.append(1)
                raise RuntimeError("once")

    failed: list[int] = []
    cell = Cell(lambda: [Deaf(ACCOUNTS, name="halts")])
    cell.start(T)
    cell.offer(HaltCommand(T, "ann", HaltScope.STRATEGY, "carry", KillLevel.CANCEL_ALL))
    cell.run(T)
    assert len(cell.quarantined) == 1
    assert cell.dispatcher.actors["halts"].state.halts["strategy/carry"].level is KillLevel.CANCEL_ALL


def test_thread_11_nothing_traded_is_no_loss() -> None:
    switch = KillSwitch(ACCOUNTS)
    switch.out = detached_outbox("kill", into=(done := Collected()))
    nothing = PnlUpdate(T, ZERO, ZERO, ZERO, ZERO)
    for message in (
        nothing,
        PnlUpdate(T + DAY_NS, ZERO, ZERO, ZERO, ZERO),
        *[RoundTrip(T, f"b{number}", "s", ZERO) for number in range(10)],
        BasketUpdate(T, "b", "s", BasketState.FLAT, ()),
        MarginState(T, "f", MarginLevel.HEALTHY, ZERO, ZERO, None),
        ClockOffset(T, "fut", 0),
        ArmCommand(T, "ann", "begin"),
    ):
        switch.handle(message.ts, message)
    assert (switch.state.level, done.emitted, done.sent) == (KillLevel.ARMED, [], [])


NUMBERS = st.one_of(
    st.sampled_from([D("NaN"), D("sNaN"), D("Infinity"), D("-Infinity")]),
    st.decimals(-(10**12), 10**12, allow_nan=False, places=8),
)


@given(st.lists(NUMBERS, min_size=4, max_size=4), NUMBERS, NUMBERS, NUMBERS)
def test_thread_11_no_number_makes_the_switch_fail(parts, made, unhedged, coverage) -> None:
    switch = KillSwitch(ACCOUNTS)
    pnl = PnlUpdate(T, *parts)
    switch.handle(T, pnl)
    switch.handle(T, RoundTrip(T, "b", "s", made))
    switch.handle(T, BasketUpdate(T, "b", "s", BasketState.HEDGING, (), unhedged))
    switch.handle(T, MarginState(T, "f", MarginLevel.WARNING, coverage, coverage, coverage))
    if not all(one.is_finite() for one in (*parts, made, unhedged)):
        assert switch.state.level >= KillLevel.REDUCE_ONLY


# Thread 13: new orders placed during shutdown (hummingbot 8075): the gate is at the gateway, not in the strategy.


@define
class _Asked:
    number: int = 0


class Stubborn(Actor):
    """Asks for an order whenever anything happens to its orders, and most of all when everything stops."""

    publishes = (OrderRequest, BookView)
    state: _Asked

    def __init__(self, changes: dict[str, Any]) -> None:
        super().__init__("stubborn")
        self.state = _Asked()
        self._changes = changes

    def start(self, now: int) -> None:
        self.out.emit(BookView(now, PERP.id, 999, 1, 1001, 1))

    @handles(StopCommand, OrderDenied, OrderUpdate)
    def on_anything(self, now: int, message: Message) -> None:
        self.state.number += 1
        if self.state.number < 20:
            values: dict[str, Any] = {"basket_id": "", "price": D(100)} | self._changes
            request_id = f"r{self.state.number}"
            values |= {"account": "f", "instrument": PERP.id, "side": Side.BUY, "qty": D(1)}
            self.out.emit(OrderRequest(now, request_id, "stubborn", **values))


ORDERS: dict[str, dict[str, Any]] = {
    "takes": {},
    "rests": {"tif": TimeInForce.GTC},
    "unpriced": {"type": OrderType.MARKET, "price": None},
    "of no basket that is known": {"basket_id": "ghost", "is_hedge": True},
}


@pytest.mark.parametrize("changes", ORDERS.values(), ids=ORDERS)
def test_thread_13_no_new_order_leaves_once_the_desk_stops(changes: dict[str, Any]) -> None:
    instruments = {PERP.id: PERP}
    cell = Cell(
        lambda: [
            RiskGate(instruments, ACCOUNTS, RiskConfig(starts_read_only=False), name="risk_gate"),
            OrderManager(instruments, name="order_manager"),
            Stubborn(changes),
        ]
    )
    cell.start(T)
    cell.offer(StopCommand(T, "SIGTERM"))
    sent = cell.run(T)
    assert [one.command for one in sent if isinstance(one.command, SubmitOrder)] == []
    gate = cell.dispatcher.actors["risk_gate"].state
    asked = cell.dispatcher.actors["stubborn"].state.number
    assert gate.denied + sum(map(len, gate.waiting.values())) >= 1
    assert (gate.approved, asked) == (0, 1 if gate.waiting else 20)


def test_thread_13_what_waited_for_a_timer_is_refused_by_the_stop() -> None:
    gate = RiskGate({PERP.id: PERP}, ACCOUNTS, RiskConfig(starts_read_only=False))
    gate.out = detached_outbox("gate", into=(done := Collected()))
    gate.handle(T, BookView(T, PERP.id, 999, 1, 1001, 1))
    order = OrderRequest(T, "r", "s", "", "f", PERP.id, Side.BUY, D(1), price=D(100), tif=TimeInForce.GTC)
    gate.handle(T, order)
    gate.handle(T, StopCommand(T, "SIGTERM"))
    done.emitted.clear()
    gate.handle(T + 1, DeadManState(T + 1, "f", PERP.id, T + 60_000_000_000))
    (denied,) = done.emitted
    assert isinstance(denied, OrderDenied)
    assert denied.reasons == (f"{Reason.STOPPING}: no new positions",)
