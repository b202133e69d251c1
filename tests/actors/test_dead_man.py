"""The venues' own timers: confirmed before an order can rest, set anew in time, and what an end of one means."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import Cell, CellRestarted
from actors.dead_man import FOREVER, DeadManConfig, DeadManKeeper
from actors.dead_man_words import DeadManLapsed, DeadManState, DeadManWanted, key_of
from actors.messages import BookView, CancelRequest, OrderApproved, OrderDenied, OrderRequest
from actors.order_manager import OrderManager
from actors.risk_checks import Reason
from actors.risk_config import RiskConfig
from actors.risk_gate import RiskGate
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce, can_rest
from venues.port import (
    ArmDeadMan,
    DeadManArmed,
    OrderAccepted,
    OutcomeUnknown,
    Query,
    SubmitOrder,
    VenueUp,
)

D = Decimal
SECOND = 1_000_000_000
NOW = 1_000 * SECOND
PERP = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
INSTRUMENTS, ACCOUNTS = {PERP.id: PERP}, {"f": "fut"}
WANTED = DeadManWanted(NOW, "f", PERP.id)
KEY = key_of("f", PERP.id)


class Rig:
    """A keeper whose timers fire when time passes."""

    def __init__(self, **config):
        self.keeper = DeadManKeeper(INSTRUMENTS, ACCOUNTS, DeadManConfig(**config))
        self.done = Collected()
        self.keeper.out = detached_outbox("dead_man", into=self.done)
        self.now = NOW

    def take(self, message, now=None):
        self.now = self.now if now is None else now
        self.keeper.handle(self.now, message)

    def pass_until(self, now):
        """Fire what is due, in order."""
        while True:
            pending = {key: at for _, key, at in self.done.timers}
            due = min(((at, key) for key, at in pending.items() if at is not None and at <= now), default=None)
            if due is None:
                self.now = now
                return
            self.done.timers[:] = [one for one in self.done.timers if one[1] != due[1]]
            self.now = max(self.now, due[0])
            self.keeper.on_timer(self.now, due[1])

    def arm(self, after=0, timeout_ns=60 * SECOND):
        self.take(DeadManArmed(self.now + after, "f", PERP.id, timeout_ns), self.now + after)

    @property
    def sent(self):
        return [(one.ts - NOW, one.timeout_ns) for one in self.done.sent if isinstance(one, ArmDeadMan)]

    @property
    def said(self):
        return [(one.until_ns, one.why) for one in self.done.emitted if isinstance(one, DeadManState)]

    @property
    def lapses(self):
        return sum(isinstance(one, DeadManLapsed) for one in self.done.emitted)


def test_nothing_is_set_before_it_is_wanted() -> None:
    rig = Rig()
    rig.pass_until(NOW + 3_600 * SECOND)
    assert (rig.sent, rig.said) == ([], [])


def test_a_timer_counts_once_it_is_confirmed() -> None:
    rig = Rig()
    rig.take(WANTED)
    rig.take(WANTED)
    assert (rig.sent, rig.said) == ([(0, 60 * SECOND)], [])
    rig.arm(after=5_000_000)
    assert rig.said == [(NOW + 60 * SECOND + 5_000_000, "")]
    assert rig.keeper.remaining_ns(rig.now, "f") == 60 * SECOND


def test_it_is_set_anew_at_a_third_for_ever() -> None:
    rig = Rig()
    rig.take(WANTED)
    for step in range(5):
        rig.arm()
        rig.pass_until(NOW + (step + 1) * 20 * SECOND)
    assert [ns // SECOND for ns, _ in rig.sent] == [0, 20, 40, 60, 80, 100]
    assert rig.lapses == 0


def test_what_the_guard_sets_counts_and_spares_us_the_work() -> None:
    rig = Rig()
    for step in range(4):
        rig.arm(timeout_ns=6_000 * SECOND)
        rig.pass_until(NOW + (step + 1) * 1_000 * SECOND)
    rig.take(WANTED)
    assert rig.sent == []
    assert rig.said[-1][0] == NOW + 9_000 * SECOND
    # Once it goes on alone, it sets as long a timer as the guard's: that one knows the venue's pace.
    rig.pass_until(NOW + 6_000 * SECOND)
    assert rig.sent[0] == (5_000 * SECOND, 6_000 * SECOND)


@pytest.mark.parametrize("after_s", [-30, 0, 30])
def test_a_venue_s_clock_that_is_ahead_does_not_lengthen_it(after_s: int) -> None:
    rig = Rig()
    rig.take(DeadManArmed(NOW + after_s * SECOND, "f", PERP.id, 60 * SECOND))
    assert rig.said == [(NOW + 60 * SECOND + min(after_s, 0) * SECOND, "")]


def test_a_timer_that_ran_out_is_told_and_set_anew() -> None:
    rig = Rig()
    rig.take(WANTED)
    rig.arm()
    rig.pass_until(NOW + 60 * SECOND)
    assert rig.lapses == 1
    assert rig.said[-1][0] == 0
    count = len(rig.sent)
    rig.pass_until(NOW + 70 * SECOND)
    assert len(rig.sent) > count
    rig.arm()
    assert rig.said[-1][0] == rig.now + 60 * SECOND


def test_a_timer_that_nothing_rested_on_ends_quietly() -> None:
    rig = Rig()
    rig.arm()
    rig.pass_until(NOW + 60 * SECOND)
    assert (rig.lapses, rig.said[-1], rig.sent) == (0, (0, ""), [])
    assert rig.keeper.remaining_ns(rig.now, "f") is None


def test_no_answer_is_a_refusal_with_another_attempt() -> None:
    rig = Rig()
    rig.take(WANTED)
    rig.pass_until(NOW + 5 * SECOND)
    assert rig.said == [(0, "no answer within 5 s")]
    rig.pass_until(NOW + 10 * SECOND)
    assert len(rig.sent) == 2


def test_an_unproven_setting_is_a_refusal() -> None:
    rig = Rig()
    rig.take(WANTED)
    rig.take(OutcomeUnknown(NOW, "f", PERP.id, "", "ArmDeadMan", "reset"))
    assert rig.said == [(0, "reset")]


def test_a_connection_that_is_back_sets_it_at_once() -> None:
    rig = Rig()
    rig.take(WANTED)
    rig.arm()
    rig.take(VenueUp(rig.now, "fut", "market"))
    assert len(rig.sent) == 1
    rig.take(VenueUp(rig.now, "fut"))
    assert len(rig.sent) == 2


def test_disarming_by_somebody_is_not_the_end() -> None:
    rig = Rig()
    rig.take(WANTED)
    rig.arm()
    rig.arm(timeout_ns=0)
    assert rig.said[-1] == (0, "")
    assert rig.sent[-1] == (0, 60 * SECOND)


def test_a_venue_without_one_is_a_statement() -> None:
    rig = Rig(without=("fut",))
    rig.take(WANTED)
    assert (rig.sent, rig.said) == ([], [(FOREVER, "")])


@pytest.mark.parametrize(("account", "instrument"), [("nobody", PERP.id), ("f", "fut:NOPE")])
def test_what_is_unknown_is_refused(account: str, instrument: str) -> None:
    rig = Rig()
    rig.take(DeadManWanted(NOW, account, instrument))
    assert rig.sent == []
    assert rig.said[0][0] == 0
    assert rig.said[0][1]


def test_it_goes_on_after_a_restart() -> None:
    rig = Rig()
    rig.take(WANTED)
    rig.arm()
    snapshot = json.loads(json.dumps(rig.keeper.snapshot()))
    again = Rig()
    again.keeper.restore(snapshot)
    again.take(CellRestarted(NOW + 1, 1, "x", ""), NOW + 1)
    again.pass_until(NOW + 2)
    assert len(again.sent) == 1


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["armed", "lost", "disarmed", "up", "wanted"])), max_size=30)
)
def test_what_is_said_to_run_was_confirmed(steps: list[tuple[int, str]]) -> None:
    """Whatever happens: covered means that the venue confirmed it and that its time is not over."""
    rig = Rig()
    confirmed = 0
    for seconds, news in steps:
        rig.pass_until(rig.now + seconds * SECOND)
        if news == "armed":
            rig.arm()
            confirmed = rig.now + 60 * SECOND
        elif news == "disarmed":
            rig.arm(timeout_ns=0)
            confirmed = 0
        elif news == "lost":
            rig.take(OutcomeUnknown(rig.now, "f", PERP.id, "", "ArmDeadMan", "reset"))
        else:
            rig.take(VenueUp(rig.now, "fut") if news == "up" else WANTED)
        rig.pass_until(rig.now)
        timer = rig.keeper.state.timers.get(KEY)
        assert (timer.until_ns if timer is not None else 0) in (0, confirmed)
        if timer is not None and timer.is_wanted:
            assert timer.sent_ns is not None or timer.next_ns > rig.now


# With gate and order manager


@pytest.mark.parametrize(
    ("kind", "tif", "rests"),
    [
        (OrderType.MARKET, TimeInForce.GTC, False),
        (OrderType.LIMIT, TimeInForce.IOC, False),
        (OrderType.LIMIT, TimeInForce.FOK, False),
        (OrderType.LIMIT, TimeInForce.GTC, True),
        (OrderType.LIMIT, TimeInForce.GTX, True),
        (OrderType.LIMIT, TimeInForce.GTD, True),
        (OrderType.LIMIT, TimeInForce.DAY, True),
        # It waits for its trigger, whatever becomes of it then.
        (OrderType.STOP_MARKET, TimeInForce.IOC, True),
        (OrderType.STOP_LIMIT, TimeInForce.GTC, True),
        (OrderType.TAKE_PROFIT_MARKET, TimeInForce.GTC, True),
        (OrderType.TRAILING_STOP, TimeInForce.GTC, True),
        (OrderType.MARKET_TO_LIMIT, TimeInForce.GTC, True),
        (OrderType.MARKET_TO_LIMIT, TimeInForce.IOC, False),
    ],
)
def test_what_can_rest(kind: OrderType, tif: TimeInForce, *, rests: bool) -> None:
    assert can_rest(kind, tif) is rests


def resting(request_id="r", **changes):
    values: dict[str, Any] = {"qty": D(1), "price": D(100), "tif": TimeInForce.GTC} | changes
    return OrderRequest(NOW, request_id, "s", "", "f", PERP.id, Side.BUY, **values)


def gate():
    made = RiskGate(INSTRUMENTS, ACCOUNTS, RiskConfig(starts_read_only=False))
    made.out = detached_outbox("gate", into=(done := Collected()))
    made.handle(NOW, BookView(NOW, PERP.id, 999, 1, 1001, 1))
    return made, done


def gate_with_a_book():
    made, _ = gate()
    made.name = "risk_gate"
    return made


def kinds(done):
    return [type(one) for one in done.emitted]


def test_an_order_waits_for_the_timer_and_goes_when_it_runs() -> None:
    made, done = gate()
    made.handle(NOW, resting())
    assert kinds(done) == [DeadManWanted]
    made.restore(json.loads(json.dumps(made.snapshot())))
    made.handle(NOW, DeadManState(NOW, "f", PERP.id, NOW + SECOND))
    assert kinds(done) == [DeadManWanted, OrderApproved]
    made.handle(NOW, resting("r2", qty=D(2)))
    assert kinds(done)[2:] == [OrderApproved]


def test_an_order_is_refused_when_the_timer_cannot_be_set() -> None:
    made, done = gate()
    made.handle(NOW, resting())
    made.handle(NOW, DeadManState(NOW, "f", PERP.id, 0, "no answer within 5 s"))
    assert done.emitted[-1].reasons == (f"{Reason.NO_DEAD_MAN}: no answer within 5 s",)


def test_a_timer_that_ran_out_keeps_the_next_one_waiting() -> None:
    made, done = gate()
    made.handle(NOW, DeadManState(NOW, "f", PERP.id, NOW + SECOND))
    made.handle(NOW + SECOND, resting())
    assert kinds(done) == [DeadManWanted]


def test_an_order_that_waits_can_be_cancelled() -> None:
    made, done = gate()
    made.handle(NOW, resting())
    made.handle(NOW, CancelRequest(NOW, "r"))
    made.handle(NOW, DeadManState(NOW, "f", PERP.id, NOW + SECOND))
    assert kinds(done) == [DeadManWanted, OrderDenied]


def test_orders_that_cannot_rest_need_none() -> None:
    made, done = gate()
    made.handle(NOW, resting(tif=TimeInForce.IOC))
    assert kinds(done) == [OrderApproved]


def test_the_first_order_leaves_after_the_confirmation_and_is_unknown_when_it_runs_out() -> None:
    """I13, through a real cell: nothing rests before it is covered, and nothing is believed once it is not."""
    cell = Cell(
        lambda: [
            gate_with_a_book(),
            DeadManKeeper(INSTRUMENTS, ACCOUNTS, name="dead_man"),
            OrderManager(INSTRUMENTS, name="order_manager"),
        ]
    )

    def run(*messages, now=NOW):
        for message in messages:
            cell.offer(message)
        cell.offer_due(now)
        return [one.command for one in cell.run(now)]

    cell.start(NOW)
    assert [type(one) for one in run(resting())] == [ArmDeadMan]
    (submitted,) = run(DeadManArmed(NOW, "f", PERP.id, 60 * SECOND))
    assert isinstance(submitted, SubmitOrder)
    run(OrderAccepted(NOW, "f", PERP.id, submitted.client_order_id, "v1"))
    orders = cell.dispatcher.actors["order_manager"].state.orders
    assert orders[submitted.client_order_id].order.status is OrderStatus.ACCEPTED
    sent = run(now=NOW + 60 * SECOND)
    assert orders[submitted.client_order_id].order.status is OrderStatus.UNKNOWN
    assert {type(one) for one in sent} == {Query, ArmDeadMan}
    assert cell.dispatcher.actors["risk_gate"].state.dead_men[KEY] == 0
