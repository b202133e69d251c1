"""What a desk and a guard hear of venues that are out there, through the link that they know."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from time import time_ns

import pytest
import trio
from attrs import define, field

from daemon.gateway.server import GatewayServer, RefusedForGoodError
from daemon.link.client import VenueLink
from daemon.link.frames import VenueWelcome
from daemon.link.refusals import unsent
from daemon.live.sockets import listen
from venues.model.order import Side
from venues.net.vitals import Vitals
from venues.port import (
    BookSnapshot,
    CancelAll,
    Command,
    Message,
    OrderAccepted,
    OrderRejected,
    Query,
    QueryFailed,
    QueryKind,
    Quote,
    Report,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

ACCOUNTS = {"futures": "perp", "cash": "spot"}
ORDER = SubmitOrder(1, "futures", "perp:BTC", "a-1", Side.BUY, Decimal("0.010"))
ACK = OrderAccepted(2, "futures", "perp:BTC", "a-1", "77")
QUOTE = Quote(3, "perp:BTC", 1, 10, 1, 11, 1)
BOOK = BookSnapshot(4, "perp:BTC", 9, [(10, 1)], [(11, 1)])


@define
class FakeGateway:
    """A venue that takes everything but what `refuses` says, and fails when told to."""

    sent: list[list[Command]] = field(factory=list)
    refuses: str = ""
    fails: trio.Event = field(factory=trio.Event)
    error: Exception = field(factory=lambda: RuntimeError("the venue's parser broke"))

    async def run(self) -> None:
        await self.fails.wait()
        raise self.error

    @property
    def counters(self) -> dict[str, float]:
        return {"sent": len(self.sent)}

    @property
    def vitals(self) -> Vitals:
        return Vitals({}, {}, {("", "sent"): len(self.sent)}, {}, {}, 0)

    def send(self, commands: Sequence[Command]) -> list[Report]:
        self.sent.append(list(commands))
        return [unsent(one, 5, self.refuses) for one in commands] if self.refuses else []


@define
class Owner:
    heard: list[Message] = field(factory=list)
    welcome: VenueWelcome | None = None
    seen_ns: int = 0
    _news: trio.Event = field(factory=trio.Event)

    def latest_ns(self) -> int:
        return self.seen_ns

    def welcomed(self, welcome: VenueWelcome) -> None:
        self.welcome = welcome

    def arrived(self, messages: Sequence[Message]) -> None:
        self.heard += messages
        self._news.set()

    async def hears(self, is_it: Callable[[Message], bool]) -> Message:
        """Wait for a message; a test that waits too long for it fails."""
        with trio.fail_after(30):
            while True:
                found = next((one for one in self.heard if is_it(one)), None)
                if found is not None:
                    return found
                self._news = trio.Event()
                await self._news.wait()


@define
class World:
    """A server of two venues, and the links to it that tests ask for."""

    path: Path
    nursery: trio.Nursery
    server: GatewayServer
    perp: FakeGateway = field(factory=FakeGateway)
    spot: FakeGateway = field(factory=FakeGateway)

    async def join(self, name: str, *, wants_market: bool, seen_ns: int = 0) -> tuple[VenueLink, Owner]:
        owner = Owner(seen_ns=seen_ns)
        link = VenueLink(
            self.path, owner, client=name, wants_market=wants_market, venue_of=ACCOUNTS.__getitem__, now=lambda: 9
        )
        with trio.fail_after(30):
            await self.nursery.start(link.run)
        assert link.is_up
        return link, owner


def play(tmp_path: Path, course: Callable[[World], object]) -> None:
    """Run a course against a fresh server."""

    async def main() -> None:
        path = tmp_path / "venue.sock"
        listener = listen(path)
        with listener:
            async with trio.open_nursery() as nursery:
                server = GatewayServer(("perp", "spot"), ACCOUNTS.get, lambda *_, **__: None)
                world = World(path, nursery, server)
                nursery.start_soon(server.run, listener, {"perp": world.perp, "spot": world.spot})
                await course(world)  # type: ignore[misc]
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_venue_is_up_only_once_its_gateway_says_so(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.server.deliver([VenueUp(1, "spot")])
        _, desk = await world.join("desk", wants_market=True)
        assert await desk.hears(lambda one: isinstance(one, VenueUp)) == VenueUp(9, "spot")
        down = await desk.hears(lambda one: isinstance(one, VenueDown))
        assert down == VenueDown(9, "perp", why="not connected yet")
        world.server.deliver([VenueUp(7, "perp")])
        await desk.hears(lambda one: one == VenueUp(7, "perp"))
        world.server.deliver([VenueDown(8, "spot", why="its user stream is gone")])
        # A guard that joins late hears the same.
        _, guard = await world.join("guard", wants_market=False)
        assert guard.heard[:2] == [VenueUp(9, "perp"), VenueDown(9, "spot", why="its user stream is gone")]

    play(tmp_path, course)


def test_a_channel_that_is_down_is_no_venue_that_is_down(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.server.deliver([VenueUp(1, "spot"), VenueUp(1, "perp"), VenueDown(2, "perp", "market", "rotated")])
        _, desk = await world.join("desk", wants_market=True)
        assert desk.heard[:2] == [VenueUp(9, "perp"), VenueUp(9, "spot")]
        await desk.hears(lambda one: one == VenueDown(2, "perp", "market", "rotated"))
        world.server.deliver([VenueUp(3, "perp", "market")])
        _, later = await world.join("later", wants_market=True)
        world.server.deliver([ACK])
        await later.hears(lambda one: one == ACK)
        assert later.heard == [VenueUp(9, "perp"), VenueUp(9, "spot"), ACK]

    play(tmp_path, course)


def test_market_data_go_to_those_that_want_them_and_books_to_all(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        _, desk = await world.join("desk", wants_market=True)
        _, guard = await world.join("guard", wants_market=False)
        world.server.deliver([QUOTE, ACK, BOOK])
        await desk.hears(lambda one: one == BOOK)
        await guard.hears(lambda one: one == BOOK)
        assert desk.heard[-3:] == [QUOTE, ACK, BOOK]
        assert guard.heard[-2:] == [ACK, BOOK]
        assert QUOTE not in guard.heard

    play(tmp_path, course)


def test_commands_go_to_their_venue_and_what_it_refuses_comes_back(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        link, desk = await world.join("desk", wants_market=True)
        _, second = await world.join("second", wants_market=False)
        world.spot.refuses = "no session"
        query = Query(2, "cash", "q-1", QueryKind.ACCOUNT)
        assert link.send([ORDER, CancelAll(1, "futures"), query]) == []
        failed = await desk.hears(lambda one: isinstance(one, QueryFailed))
        assert failed == QueryFailed(5, "cash", "q-1", QueryKind.ACCOUNT, "no session")
        assert world.perp.sent == [[ORDER, CancelAll(1, "futures")]]
        assert world.spot.sent == [[query]]
        # Nobody else asked.
        world.server.deliver([ACK])
        await second.hears(lambda one: one == ACK)
        assert failed not in second.heard

    play(tmp_path, course)


def test_an_account_that_is_at_no_venue_trades_nowhere(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        link, desk = await world.join("desk", wants_market=True)
        link.send([SubmitOrder(1, "stranger", "perp:BTC", "a-2", Side.BUY, Decimal(1))])
        refused = await desk.hears(lambda one: isinstance(one, OrderRejected))
        assert isinstance(refused, OrderRejected)
        assert refused.client_order_id == "a-2"
        assert "stranger" in refused.text
        assert world.perp.sent == world.spot.sent == []

    play(tmp_path, course)


def test_time_does_not_go_back_behind_what_a_client_has_seen(tmp_path: Path) -> None:
    hour_ns = 3_600_000_000_000

    async def course(world: World) -> None:
        ahead_ns = time_ns() + hour_ns
        _, desk = await world.join("desk", wants_market=True, seen_ns=ahead_ns)
        assert desk.welcome is not None
        assert desk.welcome.ts >= ahead_ns
        assert world.server.now() >= ahead_ns
        assert (desk.welcome.numerator, desk.welcome.denominator) == (1, 1)

    play(tmp_path, course)


def test_a_gateway_that_fails_ends_the_server(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        await world.join("desk", wants_market=True)
        world.perp.fails.set()
        await trio.sleep_forever()

    with pytest.raises(ExceptionGroup) as raised:
        play(tmp_path, course)
    assert raised.group_contains(RuntimeError, match="parser broke")


def test_a_venue_that_refuses_the_key_stays_down_and_the_others_trade(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        world.server.deliver([VenueUp(1, "spot"), VenueUp(1, "perp")])
        link, desk = await world.join("desk", wants_market=True)
        world.perp.error = RefusedForGoodError("futures: it may withdraw")
        world.perp.fails.set()
        down = await desk.hears(lambda one: isinstance(one, VenueDown))
        assert isinstance(down, VenueDown)
        assert (down.venue, down.channel) == ("perp", "")
        assert "futures: it may withdraw" in down.why
        link.send([CancelAll(1, "cash")])
        with trio.fail_after(30):
            while not world.spot.sent:
                await trio.sleep(0.001)
        _, later = await world.join("later", wants_market=False)
        assert VenueDown(9, "perp", why=down.why) in later.heard

    play(tmp_path, course)


def is_alone(world: World) -> bool:
    return world.server.clients.idle_since is not None


def test_a_client_that_leaves_is_forgotten(tmp_path: Path) -> None:
    async def course(world: World) -> None:
        async with trio.open_nursery() as leaving:
            other = World(world.path, leaving, world.server, world.perp, world.spot)
            await other.join("desk", wants_market=True)
            assert world.server.counters.clients == 1
            assert not is_alone(world)
            leaving.cancel_scope.cancel()
        with trio.fail_after(30):
            while world.server.counters.clients:
                await trio.lowlevel.checkpoint()
        assert is_alone(world)
        world.server.deliver([QUOTE, ACK])

    play(tmp_path, course)
