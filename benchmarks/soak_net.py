"""Whether a ReconnectingSocket can be left alone: frames for hours, cut once a minute, nothing leaked, nothing missed.

The server is a process of its own and cuts in turn by closing, by a reset and by silence; the fourth time the socket
replaces the connection itself. Held is: numbers follow each other on every connection; a number that never came
belongs to a cut that was told; a replaced connection costs no number; memory does not grow; tasks and descriptors,
counted while nothing is being replaced, do not either.

    python -m benchmarks.soak_net --seconds 7200
"""

import json
import math
import random
import re
import sys
import time
from collections.abc import Sequence
from itertools import cycle

import trio
from attrs import Factory, asdict, define, evolve, frozen

from benchmarks.held import Growth, Sample, SoakSettings, judge, parser, settings_of, watch
from benchmarks.numbered_server import CLOSE, RESET, SILENCE
from benchmarks.peer_process import running
from venues.net.limits import PoolRule, RatePools
from venues.net.websocket import Down, DownReason, ReconnectingSocket, SocketSettings

_NUMBER = re.compile(rb'"u":(\d+),')
_STAMP = re.compile(rb'"T":(\d+),')
_ROTATE = "rotate"
_CUTS = (CLOSE, RESET, SILENCE, _ROTATE)
_MEANT = {
    CLOSE: DownReason.CLOSED_BY_VENUE,
    RESET: DownReason.LOST,
    SILENCE: DownReason.SILENT,
    _ROTATE: DownReason.ROTATED,
}
_LOSSES = (DownReason.CLOSED_BY_VENUE, DownReason.LOST, DownReason.SILENT)
_BUCKETS = 10


@frozen
class Gap:
    """Numbers from `first` to `last` that were missing when a connection had delivered what follows them."""

    first: int
    last: int
    connection: int


@define
class Numbers:
    """Which numbers have come. A gap is filled when the other connection of a rotation brings what it lacked."""

    next_of: dict[int, int] = Factory(dict)
    next_number: int | None = None
    gaps: list[Gap] = Factory(list)
    broken: list[str] = Factory(list)
    frames: int = 0
    doubles: int = 0

    def note(self, connection: int, number: int) -> None:
        self.frames += 1
        due = self.next_of.get(connection, number)
        if number != due:
            self.broken.append(f"connection {connection}: {number} came where {due} was due")
        self.next_of[connection] = number + 1
        if self.next_number is None or number == self.next_number:
            self.next_number = number + 1
        elif number > self.next_number:
            self.gaps.append(Gap(self.next_number, number - 1, connection))
            self.next_number = number + 1
        else:
            self.doubles += 1
            if self.gaps:
                self._fill(number)

    def _fill(self, number: int) -> None:
        for index in range(len(self.gaps) - 1, -1, -1):
            gap = self.gaps[index]
            if number > gap.last:
                return
            if number >= gap.first:
                rest = (Gap(gap.first, number - 1, gap.connection), Gap(number + 1, gap.last, gap.connection))
                self.gaps[index : index + 1] = [one for one in rest if one.first <= one.last]
                self.doubles -= 1
                return


@define
class Delays:
    """Delays in buckets a tenth wide: a list of all would be the growth that is looked for."""

    counts: dict[int, int] = Factory(dict)

    def note(self, delay_ns: int) -> None:
        bucket = int(math.log(max(delay_ns, 1)) * _BUCKETS)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def quantile_us(self, share: float) -> float:
        left = sum(self.counts.values()) * share
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return math.exp((bucket + 1) / _BUCKETS) / 1e3
        return 0.0


@frozen
class SoakResult:
    """What a run came to; `broken` names every promise that was not kept."""

    seconds: float
    frames: int
    frames_per_s: float
    cuts: dict[str, int]
    downs: dict[str, int]
    gaps: int
    numbers_missed: int
    doubles: int
    growth: Growth
    delay_p50_us: float
    delay_p99_us: float
    broken: tuple[str, ...]


@define
class Soak:
    """One run against a server process."""

    settings: SoakSettings
    numbers: Numbers = Factory(Numbers)
    downs: list[Down] = Factory(list)
    up: set[int] = Factory(set)
    samples: list[Sample] = Factory(list)
    delays: Delays = Factory(Delays)
    cuts: dict[str, int] = Factory(lambda: dict.fromkeys(_CUTS, 0))

    async def run(self) -> SoakResult:
        began = trio.current_time()
        is_steady, so_far = (lambda: len(self.up) == 1), self._so_far
        async with running("benchmarks.numbered_server", str(self.settings.rate)) as (port, process):
            socket = self._socket(f"ws://127.0.0.1:{int(port)}")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(socket.run)
                nursery.start_soon(self._cut, socket, process)
                nursery.start_soon(watch, self.samples, self.settings.sample_s, is_steady, so_far)
                await trio.sleep(self.settings.seconds)
                nursery.cancel_scope.cancel()
        return self._judge(trio.current_time() - began)

    def _socket(self, url: str) -> ReconnectingSocket:
        async def url_of() -> str:
            return url

        # A short run's cuts come quickly: everything that is waited for has to be found before the next one.
        brief_s = self.settings.cut_s / 8
        settings = SocketSettings(
            idle_s=min(5.0, brief_s), pong_s=min(5.0, brief_s), overlap_s=min(2.0, brief_s), stable_s=min(1.0, brief_s)
        )
        return ReconnectingSocket(
            "soak",
            url_of,
            self._on_frame,
            self.up.add,
            self._on_down,
            settings=settings,
            now=time.monotonic_ns,
            limits=RatePools([PoolRule("connects", 300, 300_000_000_000)]),
            connect_costs={"connects": 1},
            rng=random.Random(1),
        )

    def _on_frame(self, data: bytes, received_ns: int, connection: int) -> None:
        number, stamp = _NUMBER.search(data), _STAMP.search(data)
        if number is None or stamp is None:
            self.numbers.broken.append(f"connection {connection}: {data[:40]!r} is no frame of the server's")
            return
        self.numbers.note(connection, int(number[1]))
        if self.numbers.frames % 100 == 0:
            self.delays.note(received_ns - int(stamp[1]))

    def _on_down(self, down: Down) -> None:
        self.up.discard(down.connection)
        self.downs.append(down)
        self.numbers.next_of.pop(down.connection, None)

    async def _cut(self, socket: ReconnectingSocket, process: trio.Process) -> None:
        assert process.stdin is not None
        for how in cycle(_CUTS):
            await trio.sleep(self.settings.cut_s)
            self.cuts[how] += 1
            if how == _ROTATE:
                socket.reconnect()
            else:
                await process.stdin.send_all(f"{how}\n".encode())

    def _so_far(self) -> str:
        return f"{self.numbers.frames:12,} frames {sum(self.cuts.values()):4} cuts"

    def _judge(self, seconds: float) -> SoakResult:
        growth = judge(self.samples, seconds)
        downs = {str(reason): sum(down.reason is reason for down in self.downs) for reason in DownReason}
        held = SoakResult(
            seconds=seconds,
            frames=self.numbers.frames,
            frames_per_s=self.numbers.frames / seconds,
            cuts=self.cuts,
            downs=downs,
            gaps=len(self.numbers.gaps),
            numbers_missed=sum(gap.last - gap.first + 1 for gap in self.numbers.gaps),
            doubles=self.numbers.doubles,
            growth=growth,
            delay_p50_us=self.delays.quantile_us(0.50),
            delay_p99_us=self.delays.quantile_us(0.99),
            broken=(),
        )
        return evolve(held, broken=tuple(self._broken(held)))

    def _broken(self, held: SoakResult) -> list[str]:
        broken = self.numbers.broken[:10]
        reasons = {down.connection: down.reason for down in self.downs}
        for gap in self.numbers.gaps:
            reason = reasons.get(gap.connection - 1)
            if reason not in _LOSSES:
                broken.append(f"{gap} was noticed by nobody: connection {gap.connection - 1} ended as {reason}")
        for how, reason in _MEANT.items():
            # The latest cut may not have been found yet when the run ends.
            if held.downs[reason] < self.cuts[how] - 1:
                broken.append(f"{self.cuts[how]} times {how} and only {held.downs[reason]} times {reason}")
        if held.frames < self.settings.rate * held.seconds / 2:
            broken.append(f"{held.frames} frames in {held.seconds:.0f} s")
        return [*broken, *held.growth.broken]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for as long as asked; the result goes to standard output, a line for each broken promise to the error one."""
    settings = settings_of(parser(__doc__ or "").parse_args(arguments))
    result = trio.run(Soak(settings).run)
    print(json.dumps(asdict(result), indent=2))
    for why in result.broken:
        print(why, file=sys.stderr)
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
