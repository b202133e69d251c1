"""The market's streams: whole books whatever happens to connections, and nothing twice while one replaces another."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from attrs import evolve
from emulator_here import EmulatorHere, emulator

from sim.emulator.fault_rules import rules_of
from venues.binance.book_feed import BinanceFeed, SnapshotError, market_streams, public_streams
from venues.model.book_sync import BookSync, SequenceRule
from venues.model.instrument import Instrument
from venues.port import BookDelta, BookSnapshot, Message, Quote, Trade, VenueDown, VenueUp

PATIENCE_S = 20.0


class Books:
    """Keeps a book of every instrument from what a feed delivers, as whoever uses it would."""

    def __init__(self, here: EmulatorHere, symbols: tuple[str, ...], lifetime_s: float) -> None:
        self.here = here
        self.specs = [here.instrument(symbol) for symbol in symbols]
        self.syncs = {spec.id: BookSync(SequenceRule.FUTURES) for spec in self.specs}
        self.heard: list[Message] = []
        settings = evolve(here.settings, lifetime_s=lifetime_s, overlap_s=0.3)
        self.feed = BinanceFeed(settings, self.specs, self._take, here.clock.now)

    def _take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.heard.append(message)
            if isinstance(message, BookDelta):
                self.syncs[message.instrument].on_delta(message)
            elif isinstance(message, BookSnapshot):
                self.syncs[message.instrument].on_snapshot(message)

    def all(self, kind: type[Message]) -> list[Message]:
        return [one for one in self.heard if isinstance(one, kind)]

    def deltas(self, spec: Instrument) -> list[BookDelta]:
        return [one for one in self.heard if isinstance(one, BookDelta) and one.instrument == spec.id]

    def are_usable(self) -> bool:
        return all(sync.is_usable for sync in self.syncs.values())

    async def wait(self, is_so: Callable[[], object]) -> None:
        with trio.fail_after(PATIENCE_S):
            while not is_so():
                await trio.sleep(0.01)

    async def meet(self) -> None:
        """Wait until a kept book stands where the venue's own does, and compare them."""
        for spec in self.specs:
            sync = self.syncs[spec.id]
            with trio.fail_after(PATIENCE_S):
                while (theirs := self.here.host.book(spec.id)) is None or theirs.update_id != sync.last_id:
                    await trio.sleep(0.001)
            kept = sorted(sync.book.bids.items(), reverse=True), sorted(sync.book.asks.items())
            for ours, told in zip(kept, (theirs.bids, theirs.asks), strict=True):
                assert ours[:50] == told[:50]


@asynccontextmanager
async def books(*symbols: str, lifetime_s: float = 3600.0) -> AsyncIterator[Books]:
    async with emulator() as here, trio.open_nursery() as nursery:
        made = Books(here, symbols, lifetime_s)
        nursery.start_soon(made.feed.run)
        await made.wait(made.are_usable)
        yield made
        nursery.cancel_scope.cancel()


def test_books_are_whole_and_the_venue_s_own() -> None:
    async def play() -> None:
        async with books("BTCUSDT", "ETHUSDT") as made:
            await made.meet()
            assert made.feed.counters.snapshots == 2
            assert not made.feed.counters.gaps
            await made.wait(lambda: made.all(Trade) and made.all(Quote))
            (up,) = made.all(VenueUp)
            assert isinstance(up, VenueUp)
            assert up.channel == "market"

    trio.run(play)


@pytest.mark.parametrize(
    "fault",
    [
        {"on": "stream", "kind": "gap", "stream": "btcusdt@depth@100ms", "events": 3, "times": 1},
        {"on": "stream", "kind": "drop", "stream": "btcusdt@depth@100ms", "times": 1},
        {"on": "stream", "kind": "reorder", "delay_ms": 250, "stream": "btcusdt@depth@100ms", "times": 1},
        {"on": "connection", "kind": "disconnect", "route": "public"},
        {"on": "stream", "kind": "disconnect", "stream": "btcusdt@depth@100ms", "times": 1},
    ],
)
def test_a_broken_sequence_is_followed_by_a_whole_book(fault: dict[str, object]) -> None:
    async def play() -> None:
        async with books("BTCUSDT") as made:
            (sync,) = made.syncs.values()
            made.here.faults.add(rules_of(fault))
            await made.wait(lambda: not sync.is_usable or made.feed.counters.gaps or made.all(VenueDown))
            await made.wait(lambda: made.feed.counters.snapshots > 1 and made.are_usable())
            await made.meet()

    trio.run(play)


def test_a_failed_snapshot_is_asked_for_again() -> None:
    async def play() -> None:
        async with books("BTCUSDT") as made:
            made.here.faults.add(
                rules_of(
                    {"on": "request", "kind": "http_503", "which": "internal", "path": "/fapi/v1/depth", "times": 2}
                )
            )
            made.here.faults.add(
                rules_of({"on": "stream", "kind": "gap", "events": 1, "stream": "btcusdt@depth@100ms", "times": 1})
            )
            await made.wait(lambda: made.feed.counters.snapshots == 2 and made.are_usable())
            assert made.feed.counters.snapshots_failed == 2
            await made.meet()

    trio.run(play)


def test_a_replaced_connection_leaves_no_gap_and_repeats_nothing() -> None:
    async def play() -> None:
        async with books("BTCUSDT", "ETHUSDT", lifetime_s=0.8) as made:
            await made.wait(lambda: all(one.socket.counters().rotations >= 3 for one in made.feed.sockets))
            assert made.feed.counters.repeats > 0
            assert not made.feed.counters.gaps
            assert not made.all(VenueDown)
            assert made.feed.counters.snapshots == 2
            for spec in made.specs:
                deltas = made.deltas(spec)
                assert all(later.prev_id == earlier.last_id for earlier, later in pairwise(deltas))
            trades = [
                one.trade_id for one in made.heard if isinstance(one, Trade) and one.instrument == made.specs[0].id
            ]
            assert trades == sorted(set(trades))
            await made.meet()

    trio.run(play)


def test_a_snapshot_wants_its_stream() -> None:
    async def play() -> None:
        async with books("BTCUSDT") as made:
            made.here.faults.add(rules_of({"on": "connection", "kind": "refuse", "route": "public", "for_s": 3600}))
            made.here.faults.add(rules_of({"on": "connection", "kind": "disconnect", "route": "public"}))
            await made.wait(lambda: made.all(VenueDown))
            with pytest.raises(SnapshotError, match="down"):
                await made.feed.snapshot(made.specs[0].id)
            with pytest.raises(SnapshotError, match="not among"):
                await made.feed.snapshot("binance:NOSUCH")

    trio.run(play)


def test_streams_are_where_they_belong() -> None:
    # Source: "Important WebSocket Change Notice": books at /public, trades, marks and liquidations at /market.
    assert public_streams(["BTCUSDT"], is_spot=False) == ["btcusdt@depth@100ms", "btcusdt@bookTicker"]
    trades = ["!contractInfo", "btcusdt@aggTrade", "btcusdt@markPrice@1s", "btcusdt@forceOrder"]
    assert market_streams(["BTCUSDT"]) == trades
    assert "btcusdt@trade" in public_streams(["BTCUSDT"], is_spot=True)
