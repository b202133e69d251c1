"""Lines between processes: what is sent arrives whole, what never left is known, what is lost is said to be lost."""

import socket
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from daemon.link.client import SILENCE_S, VenueLink
from daemon.link.connection import Connection, ConnectionLostError
from daemon.link.frames import VenueBeat, VenueHello, VenueWelcome
from daemon.link.refusals import unsent
from daemon.link.wire import LINE_BYTES_MAX, LineBuffer, WireError, decode, encode
from daemon.live.sockets import listen
from venues.model.order import Side
from venues.port import (
    CancelAll,
    CancelOrder,
    Message,
    OrderAccepted,
    OrderRejected,
    OutcomeUnknown,
    Query,
    QueryFailed,
    QueryKind,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

ORDER = SubmitOrder(1, "futures", "perp:BTC", "a-1", Side.BUY, Decimal("0.010"))
ACK = OrderAccepted(2, "futures", "perp:BTC", "a-1", "77")


@pytest.mark.parametrize("message", [ORDER, ACK, CancelAll(3, "futures"), VenueWelcome(4, ("perp",), 5, 1, 2)])
def test_a_message_survives_the_wire(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line[:-1]) == message


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"CancelAll","message":{"ts":3,"instrument":null,"account":"futures"}}',
        b' { "kind" : "CancelAll" , "message" : {"account":"futures","ts":3} } ',
        b'{"kind":"CancelAll","message":{"account":"futures","ts":3} }',
        b'{"kind":"CancelAll","message":{"account":"futures","ts":3}}  ',
        b'{"message":{"account":"futures","ts":3},"kind":"CancelAll"}',
        b'{"kind":"CancelAll","message":{"account":"spot","ts":4},"message":{"account":"futures","ts":3}}',
        b'{"kind":"Cancel\\u0041ll","message":{"account":"futures","ts":3}}',
    ],
)
def test_a_message_written_otherwise_is_the_same_message(line: bytes) -> None:
    asked = CancelAll(3, "futures")
    assert decode(encode(asked)[:-1]) == asked
    assert decode(line) == asked


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"kind":"Nothing","message":{}}',
        b'{"kind":"CancelAll","message":{}}',
        b'{"kind":"CancelAll","message":{"ts":"x","account":"a"}}',
        b'{"kind":"CancelAll","message":{"ts":1,"account":"a"},"more":1}',
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        decode(line)


@given(st.lists(st.binary(max_size=20).filter(lambda one: b"\n" not in one), max_size=8), st.data())
def test_lines_do_not_depend_on_how_they_arrive(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    buffer, got = LineBuffer(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += buffer.feed(stream[:cut])
        stream = stream[cut:]
    assert got == lines


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    buffer = LineBuffer(limit=10)
    buffer.feed(b"0123456789")
    with pytest.raises(WireError, match="more than 10 bytes"):
        buffer.feed(b"0")
    assert LINE_BYTES_MAX > 1_000_000


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (ORDER, OrderRejected),
        (Query(1, "futures", "q", QueryKind.POSITIONS), QueryFailed),
        (CancelOrder(1, "futures", "perp:BTC", "a-1"), OutcomeUnknown),
        (CancelAll(1, "futures"), OutcomeUnknown),
    ],
)
def test_what_is_believed_of_a_command_that_never_left(command: SubmitOrder, kind: type[Message]) -> None:
    report = unsent(command, 9, "down")
    assert type(report) is kind
    assert report.ts == 9
    if isinstance(report, OutcomeUnknown):
        assert report.command == type(command).__name__


def pair(**kwargs: int) -> tuple[Connection, Connection]:
    left, right = socket.socketpair()
    return Connection(left, **kwargs), Connection(right)


async def test_messages_arrive_in_order_and_before_the_loss() -> None:
    left, right = pair()
    left.send(ORDER, ACK)
    left.close()
    assert await right.receive() == [ORDER, ACK]
    with pytest.raises(ConnectionLostError, match="closed"):
        await right.receive()
    with pytest.raises(ConnectionLostError):
        left.send(ACK)
    right.close()
    right.close()


async def test_a_peer_that_reads_late_gets_everything_and_one_that_never_reads_is_given_up() -> None:
    left, right = pair(backlog_bytes_max=4_000_000)
    count = 0
    while left.backlog_bytes < 1_000_000:
        left.send(ORDER)
        count += 1
    got = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.flush)
        while got < count:
            got += len(await right.receive())
        await left.drain()
        nursery.cancel_scope.cancel()
    assert got == count
    with pytest.raises(ConnectionLostError, match="bytes unread"):
        fill(left)
    left.close()
    right.close()


def fill(connection: Connection) -> None:
    while True:
        connection.send(ORDER)


class Owner:
    """Notes what a link tells."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.welcomes: list[VenueWelcome] = []
        self.news = trio.Event()

    def latest_ns(self) -> int:
        return 42

    def welcomed(self, welcome: VenueWelcome) -> None:
        self.welcomes.append(welcome)

    def arrived(self, messages: Sequence[Message]) -> None:
        self.heard += messages
        self.news.set()

    async def until(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.heard) < count:
                self.news = trio.Event()
                await self.news.wait()


def link_to(path: Path, owner: Owner) -> VenueLink:
    return VenueLink(path, owner, client="desk", wants_market=True, venue_of=lambda _: "perp", now=lambda: 7)


async def accept(listener: socket.socket) -> Connection:
    await trio.lowlevel.wait_readable(listener)
    return Connection(listener.accept()[0])


async def test_a_link_says_up_and_down_and_comes_back(tmp_path: Path) -> None:
    path, owner = tmp_path / "venue.sock", Owner()
    link = link_to(path, owner)
    assert not link.is_up
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        assert [type(one) for one in link.send([ORDER])] == [OrderRejected]
        listener = listen(path)
        for life in (1, 2):
            server = await accept(listener)
            assert await server.receive() == [VenueHello(42, "desk", True)]
            server.send(VenueWelcome(5, ("perp", "spot"), 0, 1, 1), ACK)
            await owner.until(3)
            assert owner.heard == [VenueUp(7, "perp"), VenueUp(7, "spot"), ACK]
            assert link.send([ORDER]) == []
            assert await server.receive() == [ORDER]
            owner.heard.clear()
            server.close()
            await owner.until(2)
            assert [(type(one), one.venue) for one in owner.heard] == [(VenueDown, "perp"), (VenueDown, "spot")]  # type: ignore[attr-defined]
            assert link.counters.connects == life
            owner.heard.clear()
        nursery.cancel_scope.cancel()
    listener.close()
    assert len(owner.welcomes) == 2


async def test_a_venue_that_falls_silent_is_down(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path, owner = tmp_path / "venue.sock", Owner()
    listener = listen(path)
    link = link_to(path, owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        server = await accept(listener)
        await server.receive()
        server.send(VenueWelcome(5, ("perp",), 0, 1, 1))
        await owner.until(1)
        for _ in range(20):
            await trio.sleep(SILENCE_S / 3)
            server.send(VenueBeat(6))
        # Beats are no news, and enough to be alive. Silence is noticed at the look after it, once a second.
        assert owner.heard == [VenueUp(7, "perp")]
        last_s = trio.current_time()
        await link.went_down.wait()
        assert SILENCE_S <= trio.current_time() - last_s <= SILENCE_S + 1.0
        nursery.cancel_scope.cancel()
    server.close()
    listener.close()
    assert owner.heard[1:] == [VenueDown(7, "perp", why=f"nothing heard for {SILENCE_S:g} s")]


@pytest.mark.parametrize("first", [b"not a line of ours\n", encode(ACK), b"x" * 100])
async def test_a_venue_that_talks_nonsense_is_never_up(tmp_path: Path, first: bytes) -> None:
    path, owner = tmp_path / "venue.sock", Owner()
    listener = listen(path)
    link = link_to(path, owner)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        server = await accept(listener)
        await server.receive()
        server.send_bytes(first)
        server.close()
        server = await accept(listener)
        nursery.cancel_scope.cancel()
    server.close()
    listener.close()
    assert owner.heard == []
    assert not link.is_up
