"""The gateway's small rooms by themselves: a listen key kept alive, work in its order, an answer that never comes."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from gateway_port import GatewayPort, gateway_port
from port_desk import PortDesk
from trio.testing import MockClock

from sim.emulator.fault_rules import rules_of
from venues.binance import sessions
from venues.binance.lanes import Lane
from venues.binance.user_feed import KEEP_ALIVE_S, KEEP_RETRY_S, UserFeed
from venues.model.order import Side
from venues.net.errors import UnknownOutcomeError
from venues.port import OrderAccepted, OrderCanceled, OutcomeUnknown

# A listen key is valid for 60 minutes. Source: facts D4.
KEY_S = 3_600.0


async def _kept(keep_key: Callable[[str], Awaitable[bool]], for_s: float) -> UserFeed:
    """Keep a key for a while; the connection that was made with it stays open."""

    async def open_key() -> str:
        return "key"

    feed = UserFeed(
        "me",
        lambda key: f"ws://127.0.0.1:1/{key}",
        open_key=open_key,
        keep_key=keep_key,
        on_event=lambda _: None,
        on_state=lambda is_up, why: None,
        now=lambda: 0,
        lifetime_s=KEY_S,
        overlap_s=1.0,
    )
    await feed._url_of()
    feed._on_up(1)
    with trio.move_on_after(for_s):
        await feed._keep()
    return feed


def _play(play: Callable[[], Awaitable[None]]) -> None:
    trio.run(play, clock=MockClock(autojump_threshold=0))


def test_a_key_is_extended_twice_within_its_life() -> None:
    async def play() -> None:
        asked: list[float] = []

        async def keep(key: str) -> bool:
            assert key == "key"
            asked.append(trio.current_time())
            return True

        began = trio.current_time()
        feed = await _kept(keep, 2 * KEY_S)
        gaps = [later - earlier for earlier, later in zip([began, *asked], asked, strict=False)]
        assert max(gaps) <= KEY_S / 2
        assert (feed.counters.keeps, feed.counters.expired) == (len(asked), 0)

    _play(play)


def test_an_extension_that_failed_is_tried_again_soon() -> None:
    async def play() -> None:
        asked = 0

        async def keep(_: str) -> bool:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise UnknownOutcomeError("no answer")
            return True

        feed = await _kept(keep, KEEP_ALIVE_S + KEEP_RETRY_S + 1)
        assert (feed.counters.keeps, feed.counters.keeps_failed) == (1, 1)

    _play(play)


def test_a_key_the_venue_has_forgotten_ends_what_was_made_with_it() -> None:
    async def play() -> None:
        async def keep(_: str) -> bool:
            return False

        assert (await _kept(keep, KEEP_ALIVE_S + 1)).counters.expired == 1

    _play(play)


def test_work_is_done_in_the_order_given_and_waited_for() -> None:
    async def play() -> None:
        lane, done = Lane(), list[int]()

        async def work(number: int, seconds: float) -> None:
            await trio.sleep(seconds)
            done.append(number)

        async def one() -> None:
            await work(1, 3)

        async def two() -> None:
            await work(2, 1)

        async def three() -> None:
            await work(3, 5)

        async with trio.open_nursery() as nursery:
            await lane.passed()
            lane.give(one)
            lane.give(two)
            nursery.start_soon(lane.run)
            waiting = lane.passed()
            lane.give(three)
            await waiting
            assert done[:2] == [1, 2]
            await lane.passed()
            assert done == [1, 2, 3]
            nursery.cancel_scope.cancel()

    _play(play)


def test_a_request_that_is_never_answered_is_unknown_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "ANSWER_S", 1.0)

    async def play() -> None:
        async with gateway_port() as port:
            desk = PortDesk(port)
            await desk.begin()
            await _unanswered(port, desk)

    trio.run(play)


async def _unanswered(port: GatewayPort, desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.BUY)
    # By either way: a busy machine may not log on within the second.
    for method, path in (("WS", "order.place"), ("POST", "/fapi/v1/order")):
        fault = {"on": "request", "kind": "half_open", "method": method, "path": path, "times": 1, "executed": True}
        port.here.faults.add(rules_of(fault))
    name = desk.submit(Side.BUY, qty, price)
    assert (await desk.first(OutcomeUnknown, name)).command == "SubmitOrder"
    # It exists all the same, as the stream tells; it can be cancelled by its name.
    await desk.first(OrderAccepted, name)
    desk.cancel(name)
    await desk.first(OrderCanceled, name)
