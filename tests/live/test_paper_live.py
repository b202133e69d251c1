"""A simulated venue on a live feed: the market is the feed's, the fills its own, and what it does not know it says."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from attrs import define, field
from scripted_feed import ScriptedFeed, scripted_feed

from daemon.backtest import Backtest
from daemon.cli import main
from daemon.config import ConfigErrors, load
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.link.client import VenueLink
from daemon.link.frames import VenueWelcome
from daemon.live.sockets import listen
from daemon.venue.engine import VenueEngine
from daemon.venue.journal import Session, VenueJournal
from daemon.venue.recovery import bring_back
from daemon.venue.server import VenueServer
from daemon.venue.snapshot_writer import SnapshotWriter
from daemon.venue.snapshots import SnapshotFolder
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    BookDelta,
    BookSnapshot,
    MarkPrice,
    Message,
    OrderFilled,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

ROOT = Path(__file__).resolve().parents[2]
PERP = "binance_usdm:BTCUSDT"
BOOK = {"lastUpdateId": 10, "E": 1, "T": 1, "bids": [["60000.0", "1.000"]], "asks": [["60000.1", "2.000"]]}
M = TypeVar("M", bound=Message)


def live_config(folder: Path, feed: ScriptedFeed) -> Path:
    """Write the demo's venues and instruments on a live market; the spot venue has a feed that says nothing."""
    text = (ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")
    market, venues = text.index("[market]"), text.index("[[venues]]")
    text = f'{text[:market]}[market]\nkind = "live"\n\n{text[venues:]}'
    text = text.replace('duration = "20m"\n', "")
    for rules in ("binance_usdm", "binance_spot"):
        endpoints = (
            f'endpoints = {{ rest = "{feed.rest}", ws_public = "{feed.ws}/{rules}", ws_market = "{feed.ws}/market", '
            f'ws_api = "{feed.ws}/none" }}\n'
        )
        text = text.replace(f'rules = "{rules}"\n', f'rules = "{rules}"\n{endpoints}', 1)
    text = text.replace('latency = { entry = "5ms", response = "5ms" }', 'latency = { entry = "0s", response = "0s" }')
    path = folder / "desk.toml"
    path.write_text(text, encoding="utf-8")
    return path


def depth(first: int, last: int, previous: int, asks: list[list[str]]) -> dict[str, Any]:
    return {
        "e": "depthUpdate", "E": 1_795_687_200_000, "T": 1_795_687_200_000, "s": "BTCUSDT", "U": first, "u": last,
        "pu": previous, "b": [], "a": asks,
    }  # fmt: skip


@define
class Desk:
    """Hears what the link brings."""

    heard: list[Message] = field(factory=list)
    _news: trio.Event = field(factory=trio.Event)

    def latest_ns(self) -> int:
        return 0

    def welcomed(self, welcome: VenueWelcome) -> None:
        assert welcome.numerator == welcome.denominator == 1

    def arrived(self, messages: Sequence[Message]) -> None:
        self.heard += messages
        self._news.set()

    async def hears(self, kind: type[M], is_it: Callable[[M], bool] = lambda _: True) -> M:
        with trio.fail_after(30):
            while True:
                for one in self.heard:
                    if isinstance(one, kind) and is_it(one):
                        return one
                self._news = trio.Event()
                await self._news.wait()


@define
class World:
    feed: ScriptedFeed
    config: RunConfig
    engine: VenueEngine
    writer: SnapshotWriter
    desk: Desk
    link: VenueLink
    said: list[str]


@asynccontextmanager
async def played(tmp_path: Path, feed: ScriptedFeed, name: str = "one") -> AsyncIterator[World]:
    """Give a venue process's inside, without the process, and a desk that is connected."""
    config = load(live_config(tmp_path, feed), KINDS)
    session = Session(config.sha256, config.run.seed, None, "paced")
    journal = VenueJournal(tmp_path / "venue.sqlite", session)
    said: list[str] = []
    folder = SnapshotFolder(tmp_path / "snapshots", session)
    engine = bring_back(config, journal, folder, said.append)
    writer = SnapshotWriter(engine, journal, folder, said.append)
    path = tmp_path / f"{name}.sock"
    listener = listen(path)
    venues = {one.id: one.venue for one in config.accounts.values()}
    desk = Desk()
    link = VenueLink(path, desk, client="desk", wants_market=True, venue_of=venues.__getitem__, now=lambda: 1)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(VenueServer(engine, journal, Fraction(1), said.append).run, listener)
            await nursery.start(link.run)
            yield World(feed, config, engine, writer, desk, link, said)
            nursery.cancel_scope.cancel()
    finally:
        listener.close()
        journal.close()


async def with_book(world: World) -> None:
    """Let the feed tell a book of which the best offers are 2 at 60000.1 and, by an update, 1 at 60000.0 no more."""
    await world.feed.has("btcusdt@depth@100ms")
    await world.desk.hears(VenueUp, lambda one: one.venue == "binance_usdm" and one.channel == "market")
    asked = world.feed.snapshots
    await world.feed.push("btcusdt@depth@100ms", depth(5, 12, 4, [["60000.2", "3.000"]]))
    await world.feed.answered(asked + 1)
    await world.desk.hears(BookSnapshot, lambda one: one.instrument == PERP)
    await world.feed.push("btcusdt@depth@100ms", depth(13, 14, 12, [["60000.3", "4.000"]]))
    await world.desk.hears(BookDelta, lambda one: one.last_id == 14)


def buy(client_id: str, qty: str) -> SubmitOrder:
    return SubmitOrder(
        1, "futures", PERP, client_id, Side.BUY, Decimal(qty), OrderType.LIMIT, Decimal("60000.3"), TimeInForce.IOC
    )


async def test_orders_fill_in_the_book_of_the_feed(tmp_path: Path) -> None:
    async with scripted_feed() as feed:
        feed.book = BOOK
        async with played(tmp_path, feed) as world:
            await with_book(world)
            await world.feed.push(
                "btcusdt@markPrice@1s",
                {"e": "markPriceUpdate", "E": 1_795_687_200_000, "s": "BTCUSDT", "p": "60000.05", "i": "60000.0",
                 "r": "0.0001", "T": 1_795_708_800_000},
            )  # fmt: skip
            await world.desk.hears(MarkPrice)
            assert world.link.send([buy("a-1", "2.500")]) == []
            await world.desk.hears(OrderFilled, lambda one: one.qty == Decimal("0.5"))
            fills = [(one.price, one.qty) for one in world.desk.heard if isinstance(one, OrderFilled)]
            # By hand: 2 at the best offer of the snapshot, the rest at that of the update after it.
            assert fills == [(Decimal("60000.1"), Decimal(2)), (Decimal("60000.2"), Decimal("0.5"))]


async def test_a_feed_that_is_down_leaves_no_book_to_trade_in(tmp_path: Path) -> None:
    async with scripted_feed() as feed:
        feed.book = BOOK
        async with played(tmp_path, feed) as world:
            first = await world.desk.hears(VenueDown, lambda one: one.venue == "binance_usdm")
            assert first.channel == "market"
            await with_book(world)
            await world.feed.cut()
            await world.desk.hears(VenueDown, lambda one: "not up yet" not in one.why and one.venue == "binance_usdm")
            world.link.send([Query(1, "futures", "q-1", QueryKind.BOOK, PERP)])
            await world.desk.hears(QueryFailed, lambda one: one.query_id == "q-1")
            world.desk.heard.clear()
            await with_book(world)
            world.link.send([Query(1, "futures", "q-2", QueryKind.BOOK, PERP), buy("a-1", "1")])
            await world.desk.hears(OrderFilled)


async def test_what_happened_after_the_last_snapshot_is_lost_and_it_says_so(tmp_path: Path) -> None:
    async with scripted_feed() as feed:
        feed.book = BOOK
        async with played(tmp_path, feed) as world:
            await with_book(world)
            world.link.send([buy("a-1", "1")])
            await world.desk.hears(OrderFilled)
            world.writer.write()
            world.link.send([buy("a-2", "1")])
            await world.desk.hears(OrderFilled, lambda one: one.client_order_id == "a-2")
        async with played(tmp_path, feed, "two") as again:
            assert any("1 commands and all fills since are lost" in one for one in again.said)
            again.link.send([Query(1, "futures", "q-1", QueryKind.POSITIONS)])
            answer = await again.desk.hears(QueryResult)
            assert [(one.instrument, one.qty) for one in answer.positions if one.qty] == [(PERP, Decimal(1))]
            # The book of before is not that of now.
            again.link.send([buy("a-3", "1")])
            await again.desk.hears(Message, lambda one: getattr(one, "client_order_id", "") == "a-3")
            assert not [one for one in again.desk.heard if isinstance(one, OrderFilled)]


async def test_a_live_market_is_not_played_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with scripted_feed() as feed:
        path = live_config(tmp_path, feed)
    with pytest.raises(ConfigErrors, match="a live market is played by basisd run and paper only"):
        Backtest.from_file(path)
    assert main(["backtest", str(path)]) == 2
    assert "market.kind" in capsys.readouterr().err
