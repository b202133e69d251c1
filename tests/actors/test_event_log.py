"""What people read about later: what is kept, in which words, what is no news, and how much of it."""

import json
from decimal import Decimal

import pytest

from actors.base import Actor
from actors.basket_records import LeftOpen, PartialFill
from actors.cell import CellRestarted
from actors.control import Acknowledge, AdminCall, AdminResult, ClockOffset, GuardStatus
from actors.dead_man_words import DeadManLapsed
from actors.dispatcher import InboxHighWater
from actors.event_log import EventLog, EventLogConfig
from actors.event_text import TEXT_MAX, TEXTS
from actors.executions import ExecutionMode, ExecutionReason, ExecutionReport, ExecutionState
from actors.flags import FlagMode, SetFlag
from actors.funding_messages import FundingDifference, FundingInterval, FundingOutcome, FundingReconciled
from actors.guards.findings import Guard, GuardReason, Severity
from actors.guards.messages import GuardFinding
from actors.halts import HaltCommand, HaltScope, HaltState, ReleaseCommand
from actors.limits import TightenLimit
from actors.messages import (
    ArmCommand,
    BasketState,
    BasketUpdate,
    BookView,
    FeedStatus,
    FillEvent,
    Incident,
    KillCommand,
    KillLevel,
    KillState,
    MarginLevel,
    MarginState,
    MismatchKind,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PnlUpdate,
    PositionMismatch,
    Reconciled,
    ResumeCommand,
    RoundTrip,
    StopCommand,
    WalletUpdate,
)
from actors.notices import ChannelState, Notice, Urgency
from actors.sync_messages import Adopt, PositionResolved, WalletMoved
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.order import OrderStatus, PositionSide, Side
from venues.port import (
    BookDelta,
    Deleveraged,
    FundingSettled,
    IncomeKind,
    Liquidated,
    MarkPrice,
    Message,
    Trade,
    VenueDown,
    VenueUp,
)
from venues.rules.instants import HOUR_NS

D = Decimal
BOTH = PositionSide.BOTH
FILL = Fill(1, "f", "fut:BTC", "c1", "t1", Side.BUY, D(100), D("0.50"), Liquidity.TAKER, D(1), "USDT", FillReason.TAKER)
FORCED = Fill(
    1, "f", "fut:BTC", "", "t2", Side.SELL, D(90), D(2), Liquidity.TAKER, D(1), "USDT", FillReason.LIQUIDATION
)
REQUEST = OrderRequest(1, "b1#1", "s", "b1", "f", "fut:BTC", Side.BUY, D(1), price=D(100))


def log(keep: int = 500) -> EventLog:
    return EventLog({"f": "fut", "s": "spot"}, EventLogConfig(keep), name="event_log")


def order(status: OrderStatus, filled: str = "0", why: str = "") -> OrderUpdate:
    is_final = status.is_terminal
    return OrderUpdate(1, "b1#1", "s", "b1", "c1", "f", "fut:BTC", Side.BUY, D(1), status, D(filled), is_final, why=why)


def basket(state: BasketState, why: str = "", basket_id: str = "b1", closes: str | None = None) -> BasketUpdate:
    return BasketUpdate(1, basket_id, "s", state, (D(1), D(-1)), closes=closes, why=why)


def execution(state: ExecutionState, reason: ExecutionReason | None = None, why: str = "") -> ExecutionReport:
    made = ExecutionReport(
        1, "e1", "s", "f", "fut:BTC", Side.BUY, D(2), state, ExecutionMode.ADAPTIVE, reason=reason, why=why
    )
    if state is ExecutionState.FILLED:
        made.filled_qty, made.average_price = D(2), D("100.25")
    return made


TOLD = [
    (Acknowledge(1, "ann", 7, "looked"), "seen up to 7, by ann: looked"),
    (Adopt(1, "ann", "f", "fut:BTC", "not ours"), "adopt fut:BTC of f, by ann: not ours"),
    (Adopt(1, "ann", "f", "", "hedge it is"), "adopt the mode of f, by ann: hedge it is"),
    (AdminCall(1, "ops", "kill", '{"level":"flatten"}', 1000, 100, 7), 'kill {"level":"flatten"} by uid 1000, pid 7'),
    (AdminResult(1, "arm", False, "live orders"), "arm refused: live orders"),
    (AdminResult(1, "kill", True, ""), "kill done"),
    (ArmCommand(1, "ann", "looked at it"), "arm, by ann: looked at it"),
    (basket(BasketState.BALANCED), "b1 balanced"),
    (basket(BasketState.FLAT, "done", "c1", "b1"), "c1 flat, closes b1: done"),
    (CellRestarted(1, 7, "ledger", "no luck"), "rebuilt without input 7, on which ledger failed: no luck"),
    (Deleveraged(1, "f", "fut:BTC", Side.SELL, D(2), D(90)), "f sell 2 fut:BTC at 90"),
    (execution(ExecutionState.FILLED), "e1 filled: buy 2 of 2 fut:BTC at 100.25"),
    (
        execution(ExecutionState.DENIED, ExecutionReason.NO_BOOK, "gap"),
        "e1 denied: buy 0 of 2 fut:BTC: no_book: gap",
    ),
    (FeedStatus(1, "fut:BTC", False, "gap"), "fut:BTC not live: gap"),
    (FeedStatus(1, "fut:BTC", True), "fut:BTC live"),
    (FillEvent(1, "b1#1", "s", "b1", FILL), "buy 0.50 fut:BTC at 100 in f"),
    (FillEvent(1, "e1#1", "s", "", FILL), "buy 0.50 fut:BTC at 100 in f"),
    (FillEvent(1, "", "", "", FORCED), "sell 2 fut:BTC at 90 in f, liquidation, of no order of ours"),
    (FundingInterval(1, "fut:BTC", 8 * HOUR_NS, HOUR_NS, 2), "fut:BTC every 1 h, was 8 h"),
    (
        FundingReconciled(
            *(1, "f", "fut:BTC", BOTH, 1, "USDT", D("-3.5"), None, FundingOutcome.NOT_PAID, FundingDifference.MISSING)
        ),
        "f fut:BTC not_paid after missing: -3.5 USDT due, None paid",
    ),
    (FundingSettled(1, "f", "fut:BTC", D("0.0001"), D(1), D(1), D("-3.5"), "USDT"), "f fut:BTC -3.5 USDT at 0.0001"),
    (
        GuardFinding(1, Guard.SPAN, "c", "c", Severity.REDUCE, GuardReason.SPAN_DANGER, "1.2 times", D("0.6")),
        "span reduce c span_danger: 1.2 times; keep 0.6",
    ),
    (
        GuardFinding(1, Guard.CONCENTRATION, "", "BTC", Severity.CLEAR, GuardReason.CONCENTRATED, ""),
        "concentration clear BTC concentrated",
    ),
    (GuardStatus(1, False, why="no answer"), "guard not up: no answer"),
    (GuardStatus(1, True, True), "guard up, in charge"),
    (InboxHighWater(1, 5_000, True), "5000 inputs wait"),
    (InboxHighWater(1, 0, False), "drained"),
    (Incident(1, "basket_broken", "b1", "net 1 BTC", D(3)), "basket_broken b1: net 1 BTC"),
    (KillCommand(1, "ann", KillLevel.FLATTEN, "panic"), "kill FLATTEN, by ann: panic"),
    (KillState(1, KillLevel.REDUCE_ONLY, "drawdown", "11 %"), "REDUCE_ONLY by drawdown: 11 %"),
    (LeftOpen(1, ("b1: +1 x", "b2: +2 x")), "left open: b1: +1 x; b2: +2 x"),
    (
        PartialFill(
            2, "b1", "s", 1, "leg expired", {"BTC": D(1)}, D("60000.5"), ("a", "b"), BasketState.FLAT, D("3.25")
        ),
        "b1 filled unevenly by 60000.50, 2 hedges, flat, lost 3.2500: leg expired",
    ),
    (
        Liquidated(1, "f", "fut:BTC", Side.SELL, D(2), D(91), D(90), D(89), D(1), D(0)),
        "f sell 2 fut:BTC at 90, mark 91",
    ),
    (
        HaltCommand(1, "ann", HaltScope.STRATEGY, "s", KillLevel.CANCEL_ALL, "odd fills"),
        "halt strategy s CANCEL_ALL, by ann: odd fills",
    ),
    (
        HaltState(1, HaltScope.STRATEGY, "s", KillLevel.REDUCE_ONLY, "throttle", "26 is over 25"),
        "strategy s REDUCE_ONLY by throttle: 26 is over 25",
    ),
    (ReleaseCommand(1, "ann", HaltScope.STRATEGY, "s", "seen"), "release strategy s, by ann: seen"),
    (DeadManLapsed(1, "f", "fut:BTC"), "f fut:BTC: the venue cancels, or has cancelled, by itself"),
    (MarginState(1, "f", MarginLevel.DANGER, D(10), D(7), D(10) / D(7)), "f danger, coverage 1.429"),
    (MarginState(1, "f", MarginLevel.HEALTHY, D(10), D(0), None), "f healthy, no position"),
    (ChannelState(1, "webhook", False, "status 500"), "webhook fails: status 500"),
    (
        Notice(1, 1, "kill", Urgency.CRITICAL, "kill switch: CANCEL_ALL", "operator: ann", {}, True, times=2),
        "kill switch: CANCEL_ALL (told 2 times): operator: ann",
    ),
    (OrderDenied(1, REQUEST, ("killed: FLATTEN", "backlog: x")), "buy 1 fut:BTC: killed: FLATTEN; backlog: x"),
    (order(OrderStatus.EXPIRED, "0.4"), "buy 1 fut:BTC expired, filled 0.4"),
    (order(OrderStatus.REJECTED, why="no margin"), "buy 1 fut:BTC rejected, filled 0: no margin"),
    (
        PositionMismatch(1, "f", "fut:BTC", BOTH, MismatchKind.QUANTITY, D(1), D(2), "fills"),
        "f fut:BTC quantity: ours 1, theirs 2; fills",
    ),
    (
        PositionMismatch(1, "f", "", BOTH, MismatchKind.POSITION_MODE, D(0), D(0), "set"),
        "f account position_mode: ours 0, theirs 0; set",
    ),
    (
        PositionResolved(1, "f", "fut:BTC", BOTH, MismatchKind.QUANTITY, 0, "our book caught up"),
        "f fut:BTC quantity no more: our book caught up",
    ),
    (ClockOffset(1, "fut", -1_500_000_000), "the clock of fut is -1.500 s from ours"),
    (Reconciled(1, "f"), "f agrees with its venue"),
    (ResumeCommand(1, "goes on from run 000001"), "goes on from run 000001"),
    (RoundTrip(1, "b1", "s", D("4.2")), "b1 made 4.2"),
    (SetFlag(1, "ann", "s", FlagMode.CANARY, 10, "a try"), "s to canary 10 %, by ann: a try"),
    (SetFlag(1, "ann", "global", FlagMode.DISABLED), "global to disabled, by ann"),
    (StopCommand(1, "SIGTERM"), "stop: SIGTERM"),
    (TightenLimit(1, "ann", "", "gross_notional_max", D(5)), "desk gross_notional_max to 5, by ann"),
    (TightenLimit(1, "ann", "fut:BTC", "order_qty_max", D(5), "fat"), "fut:BTC order_qty_max to 5, by ann: fat"),
    (VenueDown(1, "fut", "orders", "reset"), "fut orders is down: reset"),
    (VenueUp(1, "fut"), "fut is up"),
    (WalletMoved(1, "f", "USDT", D(-9), IncomeKind.TRANSFER, "77"), "f transfer -9 USDT, 77"),
]


@pytest.mark.parametrize(("message", "text"), TOLD, ids=[text[:30] for _, text in TOLD])
def test_an_event_is_told_in_one_line(message: Message, text: str) -> None:
    events = log()
    events.handle(5, message)
    [event] = events.state.records
    assert (event.number, event.ts, event.kind, event.text) == (1, 5, type(message).__name__, text)


def test_a_finding_is_an_alarm_when_something_must_go_and_one_event_when_it_flickers() -> None:
    events = log()
    for severity, is_alarm in ((Severity.WARN, False), (Severity.BLOCK, False), (Severity.REDUCE, True)):
        events.handle(
            5, GuardFinding(1, Guard.LEVERAGE, "f", "fut:BTC", severity, GuardReason.SYMBOL_LEVERAGE, "60 is over 50")
        )
        assert events.state.records[-1].is_alarm is is_alarm
    for _ in range(3):
        events.handle(
            9, GuardFinding(1, Guard.LEVERAGE, "f", "fut:BTC", Severity.WARN, GuardReason.SYMBOL_LEVERAGE, "again")
        )
    assert [event.times for event in events.state.records] == [4, 1, 1]


def test_every_kind_that_is_heard_is_told() -> None:
    assert {type(message) for message, _ in TOLD} == set(TEXTS) == set(EventLog.handlers())


def test_fields_hold_the_numbers_as_texts_with_their_digits() -> None:
    events = log()
    events.handle(1, FillEvent(1, "b1#1", "s", "b1", FILL))
    events.handle(1, OrderDenied(1, REQUEST, ("a", "b")))
    events.handle(1, KillState(1, KillLevel.FLATTEN, "operator", ""))
    fill, denied, killed = (event.fields for event in events.state.records)
    assert (fill["qty"], fill["price"], fill["side"], fill["basket_id"]) == ("0.50", "100", "buy", "b1")
    assert (denied["reasons"], denied["request_id"], denied["tif"]) == ("a; b", "b1#1", "IOC")
    assert killed == {"level": "FLATTEN", "trigger": "operator"}


QUIET: list[Message] = [
    BookView(1, "fut:BTC", 1, 1, 2, 1),
    PnlUpdate(1, D(0), D(0), D(0), D(0)),
    WalletUpdate(1, "f", "USDT", D(1)),
    order(OrderStatus.PARTIALLY_FILLED, "0.1"),
    AdminCall(1, "view", "status", "{}", 0, 0, 1),
]


def test_nothing_comes_in_by_the_tick() -> None:
    events = log()
    for message in QUIET:
        if type(message) in EventLog.handlers():
            events.handle(1, message)
    assert events.state.records == []
    assert not {BookDelta, Trade, MarkPrice, BookView, PnlUpdate, WalletUpdate} & set(EventLog.handlers())


def numbers(events: EventLog, *messages: Message) -> list[bool]:
    """Return for each message whether it was news."""
    found = []
    for message in messages:
        before = events.state.last
        events.handle(1, message)
        found.append(events.state.last > before)
    return found


def test_a_reconciliation_is_news_after_something_went_wrong() -> None:
    agreed, mismatch = (
        Reconciled(1, "f"),
        PositionMismatch(1, "f", "fut:BTC", BOTH, MismatchKind.QUANTITY, D(1), D(2), ""),
    )
    events = log()
    assert numbers(events, agreed, agreed) == [True, False]
    assert numbers(events, mismatch, agreed, agreed) == [True, True, False]
    assert numbers(events, VenueDown(1, "fut", "market"), agreed) == [True, False]
    assert numbers(events, VenueDown(1, "spot", "orders"), agreed) == [True, False]
    assert numbers(events, VenueDown(1, "fut", "orders"), agreed, agreed) == [True, True, False]
    assert numbers(events, CellRestarted(1, 1, "x", ""), agreed) == [True, True]


def test_funding_that_agrees_at_once_is_no_news() -> None:
    what = (1, "f", "fut:BTC", BOTH, 1, "USDT", D(1), D(1))
    agreed = FundingReconciled(*what, FundingOutcome.AGREED)
    found = FundingReconciled(*what, FundingOutcome.FOUND, FundingDifference.MISSING)
    assert numbers(log(), agreed, found) == [False, True]


def test_a_guard_that_says_the_same_again_is_no_news() -> None:
    up, down = GuardStatus(1, True), GuardStatus(2, False, why="gone")
    assert numbers(log(), up, GuardStatus(9, True), down, down, up) == [True, False, True, False, True]


def test_a_row_of_refusals_is_one_event_that_counts() -> None:
    events = log()
    for number in range(300):
        events.handle(number, basket(BasketState.DENIED, "flag: s is disabled, by ann", f"b{number}"))
        events.handle(number, Incident(number, "shadow", f"b{number}", f"buy {number}"))
    denied, shadow = events.state.records
    assert (denied.times, denied.ts, denied.text[:4]) == (300, 299, "b299")
    assert (shadow.times, shadow.fields["text"]) == (300, "buy 299")
    events.handle(300, basket(BasketState.DENIED, "killed: FLATTEN", "b300"))
    assert events.state.last == 3


def test_the_last_events_are_kept_and_read_by_number() -> None:
    events = log(keep=5)
    for number in range(12):
        events.handle(number, StopCommand(number, "x" * 10_000))
    assert [event.number for event in events.state.records] == [8, 9, 10, 11, 12]
    assert {len(event.text) for event in events.state.records} == {TEXT_MAX}
    for since, limit, expected in (
        (0, 100, [8, 9, 10, 11, 12]),
        (9, 2, [10, 11]),
        (12, 5, []),
        (99, 5, []),
        (-5, 1, [8]),
    ):
        assert [event.number for event in events.since(since, limit)] == expected
    assert log().since(0, 5) == []


ALARMS = (
    *(CellRestarted, DeadManLapsed, Deleveraged, Liquidated, PositionMismatch),
    *(
        "span reduce",
        "webhook fails",
        "guard up, in charge",
        "basket_broken b1",
        "REDUCE_ONLY by",
        "strategy s REDUCE_ONLY by",
    ),
)


@pytest.mark.parametrize(("message", "text"), TOLD, ids=[text[:30] for _, text in TOLD])
def test_what_a_person_must_see_is_an_alarm(message: Message, text: str) -> None:
    events = log()
    events.handle(1, message)
    expected = any(isinstance(message, one) if isinstance(one, type) else text.startswith(one) for one in ALARMS)
    assert (events.state.records[0].is_alarm, events.state.alarms) == (expected, int(expected))


@pytest.mark.parametrize(
    ("level", "is_alarm"),
    [
        (MarginLevel.WARNING, False),
        (MarginLevel.DANGER, False),
        (MarginLevel.CRITICAL, True),
        (MarginLevel.LIQUIDATION, True),
        (MarginLevel.UNKNOWN, True),
    ],
)
def test_margin_alarms_from_critical_on(level: MarginLevel, is_alarm: bool) -> None:
    events = log()
    events.handle(1, MarginState(1, "f", level, D(1), D(1), D(1)))
    assert events.state.alarms == is_alarm


def test_a_guard_that_is_lost_is_an_alarm_one_that_is_yet_to_be_found_is_none() -> None:
    up, down = GuardStatus(1, True), GuardStatus(1, False, why="gone")
    events, found = log(), []
    for message in (down, up, down, up, ResumeCommand(1, ""), down, up, GuardStatus(1, True, True), down):
        before = events.state.alarms
        events.handle(1, message)
        found.append(events.state.alarms > before)
    assert found == [False, False, True, False, False, False, False, True, True]


def test_alarms_stand_until_a_person_has_seen_them() -> None:
    events = log(keep=4)
    for number in range(3):
        events.handle(number, Incident(number, "unbookable", "", f"number {number}"))
    assert (events.state.alarms, events.state.seen) == (3, 0)
    events.handle(3, Acknowledge(3, "ann", 2))
    assert (events.state.alarms, events.state.seen) == (1, 2)
    events.handle(4, Acknowledge(4, "ann", 1_000))
    assert (events.state.alarms, events.state.seen) == (0, 4)
    events.handle(5, Acknowledge(5, "ann", 1))
    events.handle(6, Incident(6, "unbookable", "", "again"))
    assert (events.state.alarms, events.state.seen) == (1, 4)
    for number in range(9):
        events.handle(number, StopCommand(number, ""))
    assert events.state.alarms == 1


def test_a_snapshot_brings_everything_back() -> None:
    events, fresh = log(), log()
    for message, _ in TOLD:
        events.handle(3, message)
    plain = json.dumps(events.snapshot())
    fresh.restore(json.loads(plain))
    assert fresh.state == events.state
    assert json.dumps(fresh.snapshot()) == plain


def test_it_only_listens() -> None:
    assert (EventLog.publishes, EventLog.sends) == (Actor.publishes, Actor.sends) == ((), ())
