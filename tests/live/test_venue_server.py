"""The venue process's face: who may talk, who hears what, and how time is granted."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import trio

from daemon.config import load
from daemon.kinds import KINDS
from daemon.link.connection import Connection, ConnectionLostError
from daemon.link.frames import MarketEnded, Step, StepDone, VenueBeat, VenueHello, VenueWelcome
from daemon.live.sockets import connect, listen
from daemon.venue.engine import VenueEngine
from daemon.venue.journal import Session, VenueJournal
from daemon.venue.server import CLIENTS_MAX, VenueServer
from venues.model.money import desk_arithmetic
from venues.model.order import OrderType, Side
from venues.port import (
    CancelAll,
    Lane,
    Message,
    OrderAccepted,
    OrderFilled,
    OutcomeUnknown,
    Query,
    QueryKind,
    QueryResult,
    SubmitOrder,
    Trade,
)

ROOT = Path(__file__).resolve().parents[2]
PERP = "binance_usdm:BTCUSDT"
SECOND = 1_000_000_000


class Client:
    """One connection, and what it has heard; beats are left out."""

    def __init__(self, path: Path) -> None:
        self.connection = Connection(connect(path))
        self.waiting: list[Message] = []

    async def join(self, name: str, *, wants_market: bool, seen_ns: int = 0) -> VenueWelcome:
        self.connection.send(VenueHello(seen_ns, name, wants_market))
        welcome = await self.next()
        assert isinstance(welcome, VenueWelcome)
        return welcome

    async def next(self) -> Message:
        with trio.fail_after(10):
            while True:
                while self.waiting:
                    message = self.waiting.pop(0)
                    if not isinstance(message, VenueBeat):
                        return message
                self.waiting += await self.connection.receive()

    async def until(self, kind: type[Message]) -> Message:
        while True:
            message = await self.next()
            if isinstance(message, kind):
                return message

    async def steps(self) -> tuple[list[Message], list[Step]]:
        """Return what one grant holds: the reports, and the steps they belong to."""
        reports: list[Message] = []
        steps: list[Step] = []
        while not steps or not steps[-1].is_last:
            message = await self.next()
            if isinstance(message, Step):
                steps.append(message)
            else:
                reports.append(message)
        return reports, steps


@asynccontextmanager
async def serving(
    folder: Path, speed: Fraction | None, for_ns: int | None = 60 * SECOND
) -> AsyncIterator[Callable[[], Client]]:
    """Serve a venue and give a way to make clients of it, closed at the end."""
    config = load(ROOT / "configs" / "demo.toml", KINDS)
    journal = VenueJournal(folder / "venue.sqlite", Session(config.sha256, config.run.seed, for_ns, "test"))
    path = folder / "venue.sock"
    listener = listen(path)
    clients: list[Client] = []

    def client() -> Client:
        clients.append(Client(path))
        return clients[-1]

    with desk_arithmetic():
        server = VenueServer(VenueEngine(config, for_ns, lambda *_: None), journal, speed, lambda _: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, listener)
            yield client
            nursery.cancel_scope.cancel()
    for one in clients:
        one.connection.close()
    listener.close()
    journal.close()


def order(client_id: str, ts: int = 0) -> SubmitOrder:
    return SubmitOrder(ts, "futures", PERP, client_id, Side.BUY, Decimal("0.010"), type=OrderType.MARKET)


async def test_time_begins_with_the_first_client_and_the_market_goes_to_who_wants_it(tmp_path: Path) -> None:
    async with serving(tmp_path, Fraction(10)) as client:
        desk, guard = client(), client()
        welcome = await desk.join("desk", wants_market=True)
        assert (welcome.numerator, welcome.denominator) == (10, 1)
        assert welcome.venues == ("binance_usdm", "binance_spot")
        later = await guard.join("guard", wants_market=False)
        assert later.ts >= welcome.ts
        assert (await desk.next()).lane is Lane.FEED
        await desk.until(Trade)
        desk.connection.send(order("a-1"))
        for one in (desk, guard):
            filled = await one.until(OrderFilled)
            assert isinstance(filled, OrderFilled)
            assert filled.client_order_id == "a-1"
        guard.connection.send(Query(0, "futures", "q-1", QueryKind.POSITIONS))
        answer = await guard.until(QueryResult)
        assert isinstance(answer, QueryResult)
        assert answer.positions[0].qty == Decimal("0.010")
        desk.connection.send(Query(0, "futures", "q-2", QueryKind.POSITIONS))
        own = await desk.until(QueryResult)
        assert isinstance(own, QueryResult)
        assert own.query_id == "q-2"


async def test_the_market_is_never_behind_what_a_client_has_seen(tmp_path: Path) -> None:
    async with serving(tmp_path, Fraction(1), None) as client:
        first = await client().join("probe", wants_market=False)
        ahead = first.ts + 120 * SECOND
        assert (await client().join("desk", wants_market=True, seen_ns=ahead)).ts >= ahead


async def test_who_says_no_hello_or_no_sense_is_hung_up_on(tmp_path: Path) -> None:
    async with serving(tmp_path, Fraction(1)) as client:
        for line in (b"hello\n", b'{"kind":"VenueBeat","message":{"ts":1}}\n'):
            stranger = client()
            stranger.connection.send_bytes(line)
            try:
                await stranger.next()
            except ConnectionLostError:
                continue
            raise AssertionError("the venue talks to strangers")
        probe = client()
        await probe.join("probe", wants_market=False)
        probe.connection.send(CancelAll(0, "nobody"))
        refused = await probe.next()
        assert isinstance(refused, OutcomeUnknown)
        assert "no account here" in refused.why


async def test_a_client_too_many_is_turned_away(tmp_path: Path) -> None:
    async with serving(tmp_path, Fraction(1)) as client:
        clients = [client() for _ in range(CLIENTS_MAX)]
        for one in clients:
            await one.join("probe", wants_market=False)
        one_more = client()
        try:
            await one_more.join("probe", wants_market=False)
        except ConnectionLostError:
            pass
        else:
            raise AssertionError("it was let in")
        clients[0].connection.close()
        with trio.fail_after(10):
            while True:
                try:
                    await client().join("probe", wants_market=False)
                    break
                except ConnectionLostError:
                    await trio.sleep(0.01)


async def test_granted_time_stands_still_until_the_desk_is_ready(tmp_path: Path) -> None:
    async with serving(tmp_path, None) as client:
        desk = client()
        welcome = await desk.join("desk", wants_market=True)
        assert welcome.numerator == 0
        desk.connection.send(Query(0, "futures", "q-1", QueryKind.POSITIONS), StepDone(welcome.ts, 0, None))
        seen: list[Message] = []
        last = 0
        while not any(isinstance(one, QueryResult) for one in seen):
            reports, steps = await desk.steps()
            seen += reports
            numbers = [step.number for step in steps if not step.is_last]
            assert numbers == list(range(last + 1, last + 1 + len(numbers)))
            assert [step.ts for step in steps] == sorted(step.ts for step in steps)
            # No step reaches beyond what a command could still change: five milliseconds at this venue.
            assert steps[-1].ts - steps[0].ts < 5_000_000
            last = steps[-1].number
            # An answer to an earlier step is none to this one.
            desk.connection.send(StepDone(steps[-1].ts, last - 1, None), StepDone(steps[-1].ts, last, None))


async def test_what_a_desk_sends_within_a_grant_leaves_at_its_own_time(tmp_path: Path) -> None:
    async with serving(tmp_path, None) as client:
        desk = client()
        welcome = await desk.join("desk", wants_market=True)
        desk.connection.send(StepDone(welcome.ts, 0, None))
        _, steps = await desk.steps()
        sent_ns = steps[0].ts
        desk.connection.send(order("a-1", sent_ns), StepDone(steps[-1].ts, steps[-1].number, None))
        while True:
            reports, steps = await desk.steps()
            accepted = [one for one in reports if isinstance(one, OrderAccepted)]
            if accepted:
                break
            desk.connection.send(StepDone(steps[-1].ts, steps[-1].number, None))
        assert accepted[0].ts == sent_ns + 5_000_000


async def test_a_grant_reaches_the_desks_timer_and_no_further_than_a_command_of_it_could_matter(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, None) as client:
        desk = client()
        welcome = await desk.join("desk", wants_market=True)
        wanted = welcome.ts + 123
        desk.connection.send(StepDone(welcome.ts, 0, wanted))
        _, steps = await desk.steps()
        assert wanted <= steps[-1].ts < wanted + 5_000_000


async def test_the_end_of_the_market_is_told_once_and_venues_answer_on(tmp_path: Path) -> None:
    async with serving(tmp_path, None, SECOND) as client:
        desk = client()
        welcome = await desk.join("desk", wants_market=True)
        done = StepDone(welcome.ts, 0, None)
        ends = 0
        answered = False
        while not answered:
            desk.connection.send(done)
            reports, steps = await desk.steps()
            ends += sum(isinstance(one, MarketEnded) for one in reports)
            answered = any(isinstance(one, QueryResult) for one in reports)
            if ends and not answered:
                desk.connection.send(Query(steps[-1].ts, "futures", "q", QueryKind.ACCOUNT))
            done = StepDone(steps[-1].ts, steps[-1].number, None)
        assert ends == 1
