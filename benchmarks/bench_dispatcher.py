"""How many messages per second a cell with everything on moves through five trivial actors, next to a bare loop."""

from collections import deque
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, ClassVar

from attrs import define

from actors.base import Actor, handles
from actors.cell import Cell
from venues.port import Lane, Message, message

INPUTS = 20_000
BATCH = 100
"""Inputs offered between two runs of the cell, as a gateway's read does."""


@message(lane=Lane.FEED)
class BenchFrame(Message):
    ts: int
    instrument: str
    value: int


@message()
class BenchOne(Message):
    ts: int
    value: int


@message()
class BenchTwo(Message):
    ts: int
    value: int


@message()
class BenchThree(Message):
    ts: int
    value: int


@message()
class BenchFour(Message):
    ts: int
    value: int


@define
class Count:
    handled: int = 0


class _Link(Actor):
    """Counts what comes and hands on the next kind of message."""

    next_kind: ClassVar[Any] = None

    def __init__(self) -> None:
        super().__init__()
        self.state = Count()

    def pass_on(self, received: Any) -> None:
        self.state.handled += 1
        self.out.emit(self.next_kind(received.ts, received.value))


class First(_Link):
    publishes = (BenchOne,)
    next_kind = BenchOne

    @handles(BenchFrame)
    def on_frame(self, _now: int, received: BenchFrame) -> None:
        self.pass_on(received)


class Second(_Link):
    publishes = (BenchTwo,)
    next_kind = BenchTwo

    @handles(BenchOne)
    def on_one(self, _now: int, received: BenchOne) -> None:
        self.pass_on(received)


class Third(_Link):
    publishes = (BenchThree,)
    next_kind = BenchThree

    @handles(BenchTwo)
    def on_two(self, _now: int, received: BenchTwo) -> None:
        self.pass_on(received)


class Fourth(_Link):
    publishes = (BenchFour,)
    next_kind = BenchFour

    @handles(BenchThree)
    def on_three(self, _now: int, received: BenchThree) -> None:
        self.pass_on(received)


class Last(_Link):
    @handles(BenchFour)
    def on_four(self, _now: int, _received: BenchFour) -> None:
        self.state.handled += 1


CHAIN: tuple[type[_Link], ...] = (First, Second, Third, Fourth, Last)


def _frames() -> list[BenchFrame]:
    return [BenchFrame(number, "bench:ONE", number) for number in range(INPUTS)]


def _through_cell() -> float:
    cell = Cell(lambda: [kind() for kind in CHAIN])
    cell.start(0)
    frames, before = _frames(), cell.dispatcher.counters.messages
    began = perf_counter()
    for first in range(0, INPUTS, BATCH):
        for frame in frames[first : first + BATCH]:
            cell.offer(frame)
        cell.run(first)
    took = perf_counter() - began
    assert cell.dispatcher.counters.messages - before == INPUTS * len(CHAIN)
    return INPUTS * len(CHAIN) / took


def _through_loop() -> float:
    actors = [kind() for kind in CHAIN]
    queue: deque[Message] = deque()
    routes: dict[type[Message], Callable[[int, Any], None]] = {}
    for actor in actors:
        actor.out.emit = queue.append
        for kind, method in actor.handlers().items():
            routes[kind] = getattr(actor, method)
    delivered = 0
    frames = _frames()
    began = perf_counter()
    for frame in frames:
        queue.append(frame)
        while queue:
            received = queue.popleft()
            routes[received.__class__](0, received)
            delivered += 1
    took = perf_counter() - began
    assert delivered == INPUTS * len(CHAIN)
    return delivered / took


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians: messages per second of both, and how many times faster the bare loop is."""
    # Taken in turns, so that a busy moment of the machine does not fall on one of them alone.
    pairs = [(_through_cell(), _through_loop()) for _ in range(repeats)]
    return {
        "messages_per_s": median(cell for cell, _ in pairs),
        "bare_messages_per_s": median(bare for _, bare in pairs),
        "bare_ratio": median(bare / cell for cell, bare in pairs),
    }
