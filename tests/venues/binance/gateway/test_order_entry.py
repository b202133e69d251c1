"""What an order's answer, or its loss, is told as: nothing that is not proven."""

from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
import trio
from attrs import define, field

from venues.binance.answers import UsdmAnswers
from venues.binance.calls import BinanceCall
from venues.binance.order_entry import OrderEntry
from venues.binance.reactions import Verdict
from venues.binance.requests import UsdmRequests
from venues.binance.sessions import Answered, OnOutcome, Outcome, Unproven, Unsent
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, Side
from venues.port import (
    CancelAll,
    CancelOrder,
    CancelRejected,
    ModifyOrder,
    ModifyRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    OrderReport,
    OrderTriggered,
    OutcomeUnknown,
    QueryKind,
    QueryResult,
    RejectReason,
    Report,
    SubmitOrder,
)

D = Decimal
NOW: Final = 1_795_685_011_000_000_000
MS: Final = 1_795_685_011_000
PERP: Final = Instrument("binance", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
SUBMIT: Final = SubmitOrder(NOW, "me", PERP.id, "a", Side.BUY, D("0.01"), price=D("50000"))
STOP: Final = SubmitOrder(
    NOW, "me", PERP.id, "s", Side.SELL, D("0.01"), OrderType.STOP_MARKET, trigger_price=D("40000")
)
CANCEL: Final = CancelOrder(NOW, "me", PERP.id, "a")
MODIFY: Final = ModifyOrder(NOW, "me", PERP.id, "a", D("0.02"), D("49000"))


@define
class Ways:
    """Ways that answer when the test says so. `asked` are the requests under way, oldest first."""

    asked: list[tuple[BinanceCall, OnOutcome]] = field(factory=list)
    tasks: list[Any] = field(factory=list)

    def start(self, call: BinanceCall, on_outcome: OnOutcome) -> None:
        self.asked.append((call, on_outcome))

    def start_task(self, work: Any) -> None:
        self.tasks.append(work)

    def answer(self, outcome: Outcome) -> BinanceCall:
        """Let the oldest request end this way, and return it."""
        call, on_outcome = self.asked.pop(0)
        on_outcome(outcome)
        return call


class Desk:
    def __init__(self, side: Side | None = None) -> None:
        self.ways = Ways()
        self.told: list[Report] = []
        self.verdicts: list[Verdict] = []

        async def side_of(_: ModifyOrder) -> Side | None:
            return side

        self.entry = OrderEntry(
            "me",
            UsdmRequests([PERP]),
            UsdmAnswers("binance"),
            self.ways,  # type: ignore[arg-type]
            tell=self.told.extend,
            now=lambda: NOW,
            on_refusal=self.verdicts.append,
            side_of=side_of,
        )

    def take(self) -> list[Report]:
        told = list(self.told)
        self.told.clear()
        return told

    def accepted(self) -> "Desk":
        self.entry.submit(SUBMIT)
        self.ways.answer(order())
        self.take()
        return self


def order(status: str = "NEW", at_ms: int = MS, **terms: object) -> Answered:
    """An order as the venue answers it. Source: "New Order" of the trade endpoints."""
    body = {
        "symbol": "BTCUSDT",
        "orderId": 22542179,
        "clientOrderId": "a",
        "status": status,
        "side": "BUY",
        "origQty": "0.010",
        "executedQty": "0",
        "price": "50000.0",
        "type": "LIMIT",
        "positionSide": "BOTH",
        "updateTime": at_ms,
        **terms,
    }
    return Answered(200, msgspec.json.encode(body))


def refusal(code: int, msg: str = "no", status: int = 400) -> Answered:
    return Answered(status, msgspec.json.encode({"code": code, "msg": msg}))


UNKNOWN_503: Final = refusal(0, "Unknown error, please check your request or try again later.", 503)
IDS: Final = ("me", PERP.id, "a")


def test_an_answer_accepts_and_the_stream_repeats_nothing() -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    call = desk.ways.answer(order())
    assert call.ws_method == "order.place"
    accepted = OrderAccepted(MS * 1_000_000, *IDS, "22542179")
    assert desk.take() == [accepted]
    assert desk.entry.news([accepted]) == []


def test_the_stream_may_be_first() -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    accepted = OrderAccepted(MS * 1_000_000, *IDS, "22542179")
    assert desk.entry.news([accepted]) == [accepted]
    desk.ways.answer(order())
    assert desk.take() == []


@pytest.mark.parametrize(
    ("status", "is_over"), [(OrderStatus.EXPIRED, True), (OrderStatus.FILLED, True), (OrderStatus.ACCEPTED, False)]
)
def test_an_answer_to_a_question_ends_an_order_whose_event_was_lost(status: OrderStatus, is_over: bool) -> None:
    desk = Desk().accepted()
    shown = OrderReport(NOW, *IDS, "22542179", Side.BUY, D("0.01"), D(0), status)
    desk.entry.learn([QueryResult(NOW, "me", "q", QueryKind.ORDER, orders=(shown,))])
    assert list(desk.entry._ended) == (["a"] if is_over else [])
    late = OrderExpired(NOW, *IDS, D(0))
    assert desk.entry.news([late]) == [late], "who asked may have given up before the answer came"
    assert desk.entry.news([late]) == []
    # A fill is told whenever it comes.
    fill = OrderFilled(
        NOW, *IDS[:2], "a", "22542179", "t1", Side.BUY, D(50_000), D("0.01"), Liquidity.MAKER, D(0), "USDT",
        FillReason.QUEUE,
    )  # fmt: skip
    assert desk.entry.news([fill]) == [fill]


def test_an_answer_from_before_the_order_came_ends_nothing() -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    shown = OrderReport(NOW, *IDS, "1", Side.BUY, D("0.01"), D(0), OrderStatus.CANCELED)
    desk.entry.learn([QueryResult(NOW, "me", "q", QueryKind.ORDER, orders=(shown,))])
    assert list(desk.entry._ended) == []


@pytest.mark.parametrize(
    "outcome",
    [
        Unproven("the connection was lost"),
        UNKNOWN_503,
        Answered(408, b""),
        Answered(502, b"<html>"),
        refusal(-1007, "Timeout waiting for response from backend server."),
        refusal(-1006),
        refusal(-1001),
        Answered(200, b"{"),
        Answered(200, b"[]"),
    ],
)
def test_what_is_not_proven_is_unknown_and_never_refused(outcome: Outcome) -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    desk.ways.answer(outcome)
    (told,) = desk.take()
    assert isinstance(told, OutcomeUnknown)
    assert (told.command, told.client_order_id) == ("SubmitOrder", "a")
    desk = Desk().accepted()
    desk.entry.cancel(CANCEL)
    desk.ways.answer(outcome)
    (told,) = desk.take()
    assert isinstance(told, OutcomeUnknown)
    assert told.command == "CancelOrder"
    desk.entry.modify(MODIFY)
    desk.ways.answer(outcome)
    (told,) = desk.take()
    assert isinstance(told, OutcomeUnknown)
    assert told.command == "ModifyOrder"


# Source of the codes: facts C5, C6.
@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (refusal(-2019), RejectReason.INSUFFICIENT_MARGIN),
        (refusal(-4014), RejectReason.OFF_TICK),
        (refusal(-4164), RejectReason.BELOW_MIN_NOTIONAL),
        (refusal(-5022), RejectReason.WOULD_TAKE),
        (refusal(-4116), RejectReason.DUPLICATE_ID),
        (refusal(-2022), RejectReason.REDUCE_ONLY),
        (refusal(-1015, status=429), RejectReason.RATE_LIMIT),
        (refusal(0, "Service Unavailable.", 503), RejectReason.RATE_LIMIT),
        (refusal(-1008, "Request throttled by system-level protection.", 503), RejectReason.RATE_LIMIT),
        (Unsent("no room", is_for_rate=True), RejectReason.RATE_LIMIT),
        (Unsent("no connection"), RejectReason.OTHER),
    ],
)
def test_a_proven_refusal_has_its_reason(outcome: Outcome, reason: RejectReason) -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    desk.ways.answer(outcome)
    (told,) = desk.take()
    assert isinstance(told, OrderRejected)
    assert told.reason is reason


def test_a_cancel_waits_for_the_order_it_is_for() -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    desk.entry.cancel(CANCEL)
    assert len(desk.ways.asked) == 1
    desk.ways.answer(order())
    call = desk.ways.answer(order("CANCELED", executedQty="0.004"))
    assert call.ws_method == "order.cancel"
    canceled = desk.take()[-1]
    assert canceled == OrderCanceled(MS * 1_000_000, *IDS, D("0.004"))
    assert desk.entry.news([canceled]) == []


def test_a_cancel_goes_out_for_an_order_whose_fate_is_unknown() -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    desk.entry.cancel(CANCEL)
    desk.ways.answer(Unproven("lost"))
    assert desk.ways.answer(refusal(-2011, "Unknown order sent.")).ws_method == "order.cancel"
    assert [type(one) for one in desk.take()] == [OutcomeUnknown, CancelRejected]


def test_an_order_that_is_not_ours_is_looked_for_among_both_kinds() -> None:
    desk = Desk()
    desk.entry.cancel(CANCEL)
    assert desk.ways.answer(refusal(-2011)).path == "/fapi/v1/order"
    assert desk.take() == []
    assert desk.ways.answer(refusal(-2011)).path == "/fapi/v1/algoOrder"
    (told,) = desk.take()
    assert isinstance(told, CancelRejected)
    assert told.reason is RejectReason.UNKNOWN_ORDER


@pytest.mark.parametrize("is_triggered", [False, True])
def test_a_stop_is_cancelled_where_it_is(is_triggered: bool) -> None:
    desk = Desk()
    desk.entry.submit(STOP)
    body = {"algoId": 7, "clientAlgoId": "s", "symbol": "BTCUSDT", "side": "SELL", "algoStatus": "NEW"}
    assert desk.ways.answer(Answered(200, msgspec.json.encode(body))).path == "/fapi/v1/algoOrder"
    if is_triggered:
        desk.entry.news([OrderTriggered(NOW, "me", PERP.id, "s")])
    desk.entry.cancel(CancelOrder(NOW, "me", PERP.id, "s"))
    assert desk.ways.asked[0][0].path == ("/fapi/v1/order" if is_triggered else "/fapi/v1/algoOrder")
    if not is_triggered:
        desk.ways.answer(Answered(200, b'{"algoId":7,"clientAlgoId":"s","code":"200","msg":"success"}'))
        assert isinstance(desk.take()[-1], OrderCanceled)


def test_an_order_of_the_same_name_says_nothing_of_the_first() -> None:
    desk = Desk().accepted()
    desk.entry.submit(SUBMIT)
    desk.ways.answer(refusal(-4116, "ClientOrderId is duplicated."))
    (told,) = desk.take()
    assert isinstance(told, OrderRejected)
    canceled = OrderCanceled(NOW, *IDS, D(0))
    assert desk.entry.news([canceled]) == [canceled]


def test_of_changes_the_newest_counts() -> None:
    desk = Desk().accepted()
    desk.entry.modify(MODIFY)
    desk.entry.modify(ModifyOrder(NOW, "me", PERP.id, "a", D("0.03"), D("48000")))
    desk.ways.answer(order(at_ms=MS + 1, origQty="0.02", price="49000"))
    desk.ways.answer(order(at_ms=MS + 2, origQty="0.03", price="48000"))
    first = OrderModified((MS + 1) * 1_000_000, *IDS, D("0.02"), D("49000"))
    second = OrderModified((MS + 2) * 1_000_000, *IDS, D("0.03"), D("48000"))
    assert desk.take() == [first, second]
    # The stream is late and tells both once more.
    assert desk.entry.news([first, second]) == []
    third = OrderModified((MS + 3) * 1_000_000, *IDS, D("0.02"), D("49000"))
    assert desk.entry.news([third]) == [third]


def test_a_change_to_what_is_already_so_has_succeeded() -> None:
    desk = Desk().accepted()
    desk.entry.modify(MODIFY)
    desk.ways.answer(refusal(-5027, "No need to modify the order."))
    assert desk.take() == [OrderModified(NOW, *IDS, D("0.02"), D("49000"))]


@pytest.mark.parametrize(("side", "sent"), [(Side.SELL, "SELL"), (None, None)])
def test_the_side_of_a_strange_order_is_asked_for(side: Side | None, sent: str | None) -> None:
    desk = Desk(side)
    desk.entry.modify(MODIFY)
    (work,) = desk.ways.tasks
    trio.run(work)
    if sent is None:
        (told,) = desk.take()
        assert isinstance(told, ModifyRejected)
        assert told.reason is RejectReason.UNKNOWN_ORDER
    else:
        assert dict(desk.ways.asked[0][0].params)["side"] == sent


def test_cancel_all_reaches_what_is_under_way() -> None:
    desk = Desk()
    desk.entry.submit(SUBMIT)
    desk.entry.cancel_all(CancelAll(NOW, "me", PERP.id))
    paths = [call.path for call, _ in desk.ways.asked]
    assert paths == ["/fapi/v1/order", "/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders"]
    desk.ways.answer(order())
    assert desk.ways.asked[-1][0].ws_method == "order.cancel"


@pytest.mark.parametrize("outcome", [Unproven("lost"), Unsent("down"), UNKNOWN_503, refusal(-1015, status=429)])
def test_a_cancel_all_that_may_have_failed_is_unknown(outcome: Outcome) -> None:
    desk = Desk()
    desk.entry.cancel_all(CancelAll(NOW, "me"))
    desk.ways.answer(outcome)
    assert desk.take()[0] == OutcomeUnknown(NOW, "me", "", "", "CancelAll", desk_why(outcome))


def desk_why(outcome: Outcome) -> str:
    if not isinstance(outcome, Answered):
        return outcome.why
    told: str = msgspec.json.decode(outcome.body)["msg"]
    return told


def test_what_the_venue_has_no_request_for_is_refused_here() -> None:
    desk = Desk()
    strange = SubmitOrder(NOW, "me", "binance:NOSUCH", "x", Side.BUY, D(1))
    desk.entry.submit(strange)
    desk.entry.cancel(CancelOrder(NOW, "me", "binance:NOSUCH", "x"))
    told = desk.take()
    assert isinstance(told[0], OrderRejected)
    assert isinstance(told[1], CancelRejected)
    assert told[0].reason is told[1].reason is RejectReason.UNKNOWN_INSTRUMENT
    assert not desk.ways.asked
