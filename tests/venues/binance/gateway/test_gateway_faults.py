"""What a gateway says when the venue misbehaves: every fault of the emulator, and what must be believed after it."""

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from gateway_port import GatewayPort, gateway_port
from port_desk import PortDesk

from sim.emulator.fault_rules import rules_of
from venues.binance import sessions
from venues.model.order import OrderStatus, Side
from venues.port import (
    BookDelta,
    BookSnapshot,
    CancelRejected,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    OutcomeUnknown,
    Query,
    QueryFailed,
    QueryKind,
    RateLimited,
    RejectReason,
    VenueDown,
    VenueUp,
)

Play = Callable[[GatewayPort, PortDesk], Awaitable[None]]


def _run(play: Play, **terms: Any) -> None:
    async def go() -> None:
        async with gateway_port(**terms) as port:
            desk = PortDesk(port)
            await desk.begin()
            await play(port, desk)

    trio.run(go)


def strike(port: GatewayPort, **fault: object) -> None:
    port.here.faults.add(rules_of(fault))


PLACE: dict[bool, dict[str, object]] = {
    False: {"method": "WS", "path": "order.place"},
    True: {"method": "POST", "path": "/fapi/v1/order"},
}
"""How a fault names a new order, by whether it goes by REST."""


def downs(desk: PortDesk, channel: str) -> list[VenueDown]:
    return [one for one in desk.all(VenueDown) if one.channel == channel]


def ups(desk: PortDesk, channel: str) -> list[VenueUp]:
    return [one for one in desk.all(VenueUp) if one.channel == channel]


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("by_rest", [True, False])
@pytest.mark.parametrize("kind", ["http_503", "http_408", "drop"])
def test_an_order_whose_answer_is_lost_is_unknown_until_it_is_asked_for(
    kind: str, by_rest: bool, executed: bool
) -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        more: dict[str, object] = {"which": "unknown"} if kind == "http_503" else {}
        strike(port, on="request", kind=kind, times=1, executed=executed, **PLACE[by_rest], **more)
        name = desk.submit(Side.BUY, qty, price)
        unknown = await desk.first(OutcomeUnknown, name)
        assert unknown.command == "SubmitOrder"
        assert not desk.all(OrderRejected, name)
        found = (await desk.ask(QueryKind.ORDER, name)).orders
        if executed:
            assert [order.status for order in found] == [OrderStatus.ACCEPTED]
            await desk.first(OrderAccepted, name)
        else:
            assert found == ()
        # It was sent once: nothing came of trying again by another way.
        assert len(await desk.open_orders()) == int(executed)

    _run(play, by_rest=by_rest)


def test_a_cancel_whose_answer_is_lost_is_told_by_the_stream() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        name = await desk.rest(Side.BUY, await desk.size(), await desk.far(Side.BUY))
        strike(port, on="request", kind="drop", path="order.cancel", times=1, executed=True)
        desk.cancel(name)
        assert (await desk.first(OutcomeUnknown, name)).command == "CancelOrder"
        await desk.first(OrderCanceled, name)
        assert not desk.all(CancelRejected, name)

    _run(play)


def test_orders_go_by_rest_while_the_session_is_down() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        strike(port, on="connection", kind="refuse", route="ws_api", for_s=3600)
        strike(port, on="connection", kind="disconnect", route="ws_api")
        session = port.gateway.counters["accounts.me.requests.by_session"]
        await desk.hear(lambda: not _session_is_up(port), "that the session is down")
        name = await desk.rest(Side.BUY, qty, price)
        desk.cancel(name)
        await desk.first(OrderCanceled, name)
        assert port.gateway.counters["accounts.me.requests.by_session"] == session
        assert not downs(desk, "")

    _run(play)


def _session_is_up(port: GatewayPort) -> bool:
    return bool(port.gateway.counters["accounts.me.session.is_up"])


def test_what_was_under_way_when_the_session_broke_is_unknown() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        strike(port, on="request", kind="half_open", path="order.place", times=1, executed=True)
        name = desk.submit(Side.BUY, qty, price)
        await desk.first(OrderAccepted, name)
        strike(port, on="connection", kind="disconnect", route="ws_api")
        assert (await desk.first(OutcomeUnknown, name)).command == "SubmitOrder"
        await desk.hear(lambda: _session_is_up(port), "that the session is up again")
        desk.cancel(name)
        await desk.first(OrderCanceled, name)

    _run(play)


def _session_downs(port: GatewayPort) -> dict[str, int]:
    session = port.gateway._accounts["me"].ways.session
    assert session is not None
    return dict(session.socket.counters().downs)


def test_a_session_that_answers_nothing_at_all_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-open one swallowed every order, one after the other, until its silence was noticed half a minute later."""
    monkeypatch.setattr(sessions, "ANSWER_S", 0.5)

    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        strike(port, on="connection", kind="half_open", route="ws_api")
        lost = desk.submit(Side.BUY, qty, price)
        assert (await desk.first(OutcomeUnknown, lost)).command == "SubmitOrder"
        await desk.hear(lambda: _session_downs(port) == {"dropped": 1}, "that the session is given up")
        name = await desk.rest(Side.BUY, qty, price)
        assert name in await desk.open_orders()

    _run(play)


def test_a_session_that_owes_one_answer_and_gives_others_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "ANSWER_S", 1.0)

    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        strike(port, on="request", kind="half_open", path="order.place", times=1)
        lost = desk.submit(Side.BUY, qty, price)
        name = await desk.rest(Side.BUY, qty, price)
        assert (await desk.first(OutcomeUnknown, lost)).command == "SubmitOrder"
        desk.cancel(name)
        await desk.first(OrderCanceled, name)
        assert _session_downs(port) == {}

    _run(play)


@pytest.mark.parametrize("kind", ["disconnect", "listen_key_expiry"])
def test_a_lost_user_stream_is_a_venue_that_is_down(kind: str) -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        if kind == "disconnect":
            strike(port, on="connection", kind=kind, route="private")
        else:
            strike(port, on="venue", kind=kind)
        await desk.hear(lambda: downs(desk, ""), "VenueDown")
        assert "events of me" in downs(desk, "")[0].why
        await desk.hear(lambda: ups(desk, ""), "VenueUp")
        name = await desk.rest(Side.BUY, qty, price)
        desk.cancel(name)
        await desk.first(OrderCanceled, name)
        await desk.trade(Side.BUY, qty)

    _run(play)


@pytest.mark.parametrize("route", ["public", "market"])
def test_lost_market_streams_say_nothing_of_orders(route: str) -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        strike(port, on="connection", kind="refuse", route=route, for_s=0.5)
        strike(port, on="connection", kind="disconnect", route=route)
        await desk.hear(lambda: downs(desk, "market"), "VenueDown of the market")
        if route == "public":
            desk.send(Query(port.now(), port.account, "book?", QueryKind.BOOK, port.perp.id))
            await desk.first(QueryFailed)
        await desk.hear(lambda: ups(desk, "market"), "VenueUp of the market")
        assert not downs(desk, "")
        before = len(desk.all(BookDelta))
        await desk.hear(lambda: len(desk.all(BookDelta)) > before, "more of the book")
        assert (await desk.book()).bids

    _run(play)


def test_a_gap_is_in_the_numbers_and_is_counted() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        strike(port, on="stream", kind="gap", stream="btcusdt@depth@100ms", events=2, times=1)
        await desk.hear(lambda: port.gateway.counters["feed.gaps"] == 1, "a gap")
        deltas = [one for one in port.heard if isinstance(one, BookDelta)]
        assert any(later.prev_id != earlier.last_id for earlier, later in pairwise(deltas))

    _run(play)


def test_a_clock_that_is_off_is_measured_again() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        strike(port, on="venue", kind="skew", skew_ms=60_000)
        name = desk.submit(Side.BUY, qty, price)
        assert isinstance(await desk.ended(name), OrderRejected)
        await desk.hear(
            lambda: port.gateway.counters.get("clock_offset_ns", 0) > 50_000_000_000, "the clock's new offset"
        )
        name = await desk.rest(Side.BUY, qty, price)
        assert name in await desk.open_orders()

    _run(play)


def test_a_venue_that_does_not_answer_is_down() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        strike(port, on="request", kind="http_503", which="unknown", path="/fapi/v1/time", for_s=3600)
        port.here.clock.jump(61_000_000_000)
        port.gateway._wants_clock.set()
        await desk.hear(lambda: downs(desk, ""), "VenueDown")
        assert "clock: the venue has not answered" in downs(desk, "")[0].why
        for fault in port.here.faults.listing():
            port.here.faults.remove(fault["id"])
        port.gateway._wants_clock.set()
        await desk.hear(lambda: ups(desk, ""), "VenueUp")

    _run(play)


@pytest.mark.parametrize(("kind", "is_ban"), [("http_429", False), ("http_418", True)])
def test_requests_that_are_too_many_stop(kind: str, is_ban: bool) -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        strike(port, on="request", kind=kind, path="order.place", times=1, retry_after_s=30)
        name = desk.submit(Side.BUY, qty, price)
        assert (await desk.first(OrderRejected, name)).reason is RejectReason.RATE_LIMIT
        limited = await desk.first(RateLimited)
        assert limited.is_ban is is_ban
        assert limited.until_ns is not None
        assert limited.until_ns > port.now()
        # Not even tried.
        name = desk.submit(Side.BUY, qty, price)
        assert (await desk.first(OrderRejected, name)).reason is RejectReason.RATE_LIMIT
        port.here.clock.jump(31_000_000_000)
        await desk.rest(Side.BUY, qty, price)

    _run(play)


@pytest.mark.parametrize("which", ["unavailable", "throttled"])
def test_a_definite_503_is_a_refusal(which: str) -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty, price = await desk.size(), await desk.far(Side.BUY)
        strike(port, on="request", kind="http_503", path="order.place", times=1, which=which)
        name = desk.submit(Side.BUY, qty, price)
        assert (await desk.first(OrderRejected, name)).reason is RejectReason.RATE_LIMIT
        assert not desk.all(OutcomeUnknown, name)

    _run(play)


def test_events_that_come_twice_count_once() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        qty = await desk.size()
        strike(port, on="stream", kind="duplicate", route="private", copies=1)
        fills = await desk.trade(Side.BUY, qty)
        await desk.trade(Side.SELL, qty)
        name = fills[0].client_order_id
        assert len({fill.trade_id for fill in desk.all(OrderFilled)}) == len(desk.all(OrderFilled))
        assert len(desk.all(OrderAccepted, name)) == 1

    _run(play)


def test_a_failed_question_says_nothing() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        strike(port, on="request", kind="http_503", path="/fapi/v3/positionRisk", which="unknown", times=10)
        assert isinstance(await desk.answer(QueryKind.POSITIONS), QueryFailed)

    _run(play)


def test_a_book_is_told_only_when_asked_for() -> None:
    async def play(port: GatewayPort, desk: PortDesk) -> None:
        await desk.hear(lambda: len(desk.all(BookDelta)) > 5, "some of the book")
        assert not desk.all(BookSnapshot)
        await desk.book()
        assert len(desk.all(BookSnapshot)) == 1

    _run(play)
