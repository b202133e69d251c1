"""A spot account's events come on a connection that subscribed to them: over real sockets, from the emulator."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from emulator_here import EmulatorHere, emulator

from sim.emulator.host import HostSettings
from venues.binance.calls import BinanceCall, stamped
from venues.binance.market_answers import server_time_ns
from venues.binance.once import FirstTold
from venues.binance.rules import ExchangeInfo
from venues.binance.settings import AccountKeys
from venues.binance.sign import HmacSigner, signed_query
from venues.binance.spot_requests import SpotRequests
from venues.binance.spot_user_stream import SpotUserStream
from venues.binance.subscribed_feed import SubscribedFeed
from venues.model.order import Side
from venues.net.clock import ClockOffset
from venues.net.limits import RatePools
from venues.port import CancelOrder, OrderAccepted, OrderCanceled, Report, SubmitOrder

WAIT_S = 60.0


class Desk:
    """A feed with somebody who hears it, and a way to trade so that something happens."""

    def __init__(self, venue: EmulatorHere, keys: AccountKeys, clock: ClockOffset) -> None:
        self.venue = venue
        self.clock = clock
        self.states: list[bool] = []
        self.refusals: list[bytes] = []
        self.reports: list[Report] = []
        self.stream = SpotUserStream("binance", "a")
        self.feed = SubscribedFeed(
            "a",
            venue.settings.ws_api,
            keys,
            clock=clock,
            limits=RatePools(venue.listed.pools),
            recv_window_ms=5_000,
            now=venue.clock.now,
            on_event=lambda data: self.reports.extend(self.stream.decode(data).reports),
            on_state=lambda is_up, _: self.states.append(is_up),
            on_refused=self.refusals.append,
            lifetime_s=3600.0,
            overlap_s=0.2,
        )

    async def until(self, is_so: Any) -> None:
        with trio.fail_after(WAIT_S):
            while not is_so():
                await trio.sleep(0.01)

    async def make(self, call: BinanceCall) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            now_ms = self.clock.server_ns(self.venue.clock.now()) // 1_000_000
            query = signed_query(stamped(call, now_ms, 5_000), self.venue.keys.signer)
            headers = {"X-MBX-APIKEY": self.venue.keys.api_key}
            return await client.request(call.method, f"{self.venue.settings.rest}{call.path}?{query}", headers=headers)

    async def order(self, name: str) -> None:
        """Have an order rest far from the market, and take it back."""
        listed: ExchangeInfo = self.venue.listed
        spec = next(iter(listed.listings.values())).instrument
        requests = SpotRequests([spec])
        book = self.venue.host.book(spec.id)
        assert book is not None
        price = spec.price(max(level[0] for level in book.bids) * 9 // 10)
        qty = (spec.min_notional * 2 / price // spec.lot_size + 1) * spec.lot_size
        placed = await self.make(requests.submit(SubmitOrder(1, "a", spec.id, name, Side.BUY, qty, price=price)))
        assert placed.status_code == 200, placed.text
        gone = await self.make(requests.cancel(CancelOrder(1, "a", spec.id, name)))
        assert gone.status_code == 200, gone.text

    def of(self, name: str) -> list[type[Report]]:
        return [type(one) for one in self.reports if getattr(one, "client_order_id", "") == name]


@asynccontextmanager
async def desk(keys: AccountKeys | None = None, *, knows_time: bool = True) -> AsyncIterator[Desk]:
    async with emulator(HostSettings(venue="spot")) as venue, trio.open_nursery() as nursery:
        clock = ClockOffset()
        one = Desk(venue, keys or venue.keys, clock)
        if knows_time:
            await tell_time(one)
        nursery.start_soon(one.feed.run)
        yield one
        nursery.cancel_scope.cancel()


async def tell_time(one: Desk) -> None:
    sent = one.venue.clock.now()
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{one.venue.settings.rest}/api/v3/time")
    one.clock.note(sent, server_time_ns(answer.content), one.venue.clock.now())


def test_an_orders_life_is_told() -> None:
    async def play() -> None:
        async with desk() as one:
            await one.until(lambda: one.states == [True])
            await one.order("first")
            await one.until(lambda: one.of("first") == [OrderAccepted, OrderCanceled])
            assert one.feed.counters.subscriptions == 1

    trio.run(play)


def test_it_subscribes_again_on_a_new_connection() -> None:
    async def play() -> None:
        async with desk() as one:
            await one.until(lambda: one.states == [True])
            one.feed.expire("an event cannot be read")
            await one.until(lambda: one.states == [True, False, True])
            await one.order("second")
            await one.until(lambda: one.of("second") == [OrderAccepted, OrderCanceled])
            assert one.feed.counters.downs == 1

    trio.run(play)


def test_a_rotation_tells_everything_once_and_never_goes_down() -> None:
    async def play() -> None:
        async with desk() as one:
            await one.until(lambda: one.states == [True])
            one.feed.socket.reconnect()
            await one.until(lambda: one.feed.counters.subscriptions == 2)
            await one.order("third")
            await one.until(lambda: len(one.of("third")) == 2)
            await one.until(lambda: one.feed.socket.counters().rotations == 1)
            await one.order("fourth")
            await one.until(lambda: one.of("fourth") == [OrderAccepted, OrderCanceled])
            assert one.of("third") == [OrderAccepted, OrderCanceled]
            assert one.states == [True]

    trio.run(play)


def test_a_refused_subscription_says_why_and_is_never_up() -> None:
    async def play() -> None:
        wrong = AccountKeys("k" * 64, HmacSigner("w" * 64))
        async with desk(wrong) as one:
            await one.until(lambda: len(one.refusals) >= 2)
            assert one.states == []
            # -1022: the signature is wrong (facts C6).
            assert b"-1022" in one.refusals[0]

    trio.run(play)


def test_nothing_is_signed_before_the_venues_time_is_known() -> None:
    async def play() -> None:
        async with desk(knows_time=False) as one:
            await one.until(lambda: one.feed.socket.counters().open_failures >= 1)
            assert one.feed.socket.counters().opened == 0
            await tell_time(one)
            await one.until(lambda: one.states == [True])

    trio.run(play)


@pytest.mark.parametrize("frame", [b"\x00", b'{"subscriptionId":0,"event":5'])
def test_a_frame_that_cannot_be_read_may_have_been_an_event(frame: bytes) -> None:
    async def play() -> None:
        async with desk() as one:
            await one.until(lambda: one.states == [True])
            one.feed._on_frame(frame, 1, 1)
            await one.until(lambda: one.states == [True, False, True])
            assert one.feed.counters.strange == 1

    trio.run(play)


def test_the_same_bytes_twice_on_one_connection_are_two_events() -> None:
    told = FirstTold()
    assert [told.is_first(b"x", 1), told.is_first(b"x", 1), told.is_first(b"x", 2), told.is_first(b"y", 2)] == [
        True, True, False, True,
    ]  # fmt: skip
    assert told.repeats == 1
    for number in range(3_000):
        told.is_first(str(number).encode(), 1)
    # What was forgotten long ago counts as new: who dedupes further does it by trade.
    assert told.is_first(b"x", 2)
