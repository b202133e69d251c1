"""Which frames of a venue's live feed are written, which were there before, and where some are missing."""

from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec
import trio
from attrs import define, field, frozen

from daemon.record.files import InstrumentFiles
from venues.binance.book_feed import market_streams, public_streams
from venues.binance.calls import WEIGHT_1M
from venues.net.errors import NetError
from venues.net.limits import PoolRule, Priority, RatePools
from venues.net.rest import Call, RestClient
from venues.net.websocket import Down, DownReason, ReconnectingSocket, SocketSettings

_MINUTE_NS = 60_000_000_000
_WEIGHT_PER_MINUTE = 2_400
_REMEMBERED = 50_000
"""Frames: more than come within the overlap of two connections."""

_DATA_IDLE_S = 60.0
_JOIN_S = 0.3
_RETRY_S = 2.0
_HEAD = b'{"stream":"'

Log = Callable[[str], None]


class _Depth(msgspec.Struct):
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    prev_id: int = msgspec.field(name="pu", default=-1)


class _DepthFrame(msgspec.Struct):
    data: _Depth


_depth_of = msgspec.json.Decoder(_DepthFrame).decode


@frozen
class Feed:
    """One venue's live feed: where it is, and the symbols to record."""

    venue: str
    rest: str
    ws_public: str
    ws_market: str
    is_spot: bool
    symbols: tuple[str, ...]

    def sockets(self) -> dict[str, tuple[str, list[str]]]:
        """Return base address and streams of each socket by its name."""
        found = {"books": (self.ws_public, public_streams(self.symbols, is_spot=self.is_spot))}
        if not self.is_spot:
            found["trades"] = (self.ws_market, market_streams(self.symbols))
        return found


@define
class SessionCounters:
    """`repeats` came over two connections, `strange` are of no instrument, `reconnects` are losses, not rotations."""

    repeats: int = 0
    strange: int = 0
    snapshots: int = 0
    snapshots_failed: int = 0
    reconnects: int = 0


@define
class _Seen:
    """Frames by their hash, and over which connection each came first."""

    by_hash: dict[int, int] = field(factory=dict)
    order: deque[int] = field(factory=deque)

    def is_repeat(self, data: bytes, connection: int) -> bool:
        key = hash(data)
        first = self.by_hash.get(key)
        if first is not None:
            # The same frame twice over one connection is what the venue sent.
            return first != connection
        self.by_hash[key] = connection
        self.order.append(key)
        if len(self.order) > _REMEMBERED:
            del self.by_hash[self.order.popleft()]
        return False


class FeedRecorder:
    """Writes one venue's feed into `files`, by symbol in small letters, until cancelled.

    Each file begins with a snapshot of the book once the stream runs, and so does what comes after a gap.
    """

    def __init__(
        self,
        feed: Feed,
        files: dict[str, InstrumentFiles],
        now: Callable[[], int],
        log: Log,
        settings: SocketSettings | None = None,
    ) -> None:
        self.counters = SessionCounters()
        self._feed = feed
        self._files = files
        self._now = now
        self._log = log
        self._settings = settings or SocketSettings(data_idle_s=_DATA_IDLE_S)
        self._seen: dict[str, _Seen] = {name: _Seen() for name in feed.sockets()}
        self._open: dict[str, set[int]] = {name: set() for name in feed.sockets()}
        self._last_ids: dict[str, int] = {}
        self._wanted: set[str] = set(files)
        self._wakes = trio.Event()
        for symbol, one in files.items():
            one.on_rotated = partial(self._want, symbol)

    async def run(self) -> None:
        """Record until cancelled. Raises RecordingError when the disk does not take it, in a group."""
        async with trio.open_nursery() as nursery:
            for name, (base, streams) in self._feed.sockets().items():
                nursery.start_soon(self._socket(name, f"{base}/stream?streams={'/'.join(streams)}").run)
            nursery.start_soon(self._fetch_snapshots)

    def _socket(self, name: str, url: str) -> ReconnectingSocket:
        async def url_of() -> str:
            return url

        return ReconnectingSocket(
            f"{self._feed.venue} {name}",
            url_of,
            partial(self._on_frame, name),
            partial(self._on_up, name),
            partial(self._on_down, name),
            settings=self._settings,
            now=self._now,
            on_failure=lambda why: self._log(f"{self._feed.venue} {name}: {why}"),
        )

    # Frames

    def _on_frame(self, name: str, data: bytes, received_ns: int, connection: int) -> None:
        symbol, kind = stream_of(data)
        files = self._files.get(symbol)
        if files is None:
            self.counters.strange += 1
            return
        if self._seen[name].is_repeat(data, connection):
            self.counters.repeats += 1
            return
        if kind == "depth":
            self._follow(symbol, files, data, received_ns)
        files.write(received_ns, data)

    def _follow(self, symbol: str, files: InstrumentFiles, data: bytes, received_ns: int) -> None:
        """Mark a gap before an update that does not follow the last one."""
        try:
            depth = _depth_of(data).data
        except msgspec.MsgspecError:
            return
        last_id = self._last_ids.get(symbol)
        self._last_ids[symbol] = depth.last_id
        follows = depth.first_id == (last_id or 0) + 1 if depth.prev_id < 0 else depth.prev_id == last_id
        if last_id is not None and not follows:
            files.gap(received_ns, f"updates between {last_id} and {depth.first_id} are missing")
            self._want(symbol)

    # Connections

    def _on_up(self, name: str, connection: int) -> None:
        self._open[name].add(connection)
        if name == "books":
            self._wakes.set()

    def _on_down(self, name: str, down: Down) -> None:
        self._open[name].discard(down.connection)
        if self._open[name] or down.reason is DownReason.STOPPED:
            return
        self.counters.reconnects += 1
        why = f"{name}: {down.reason}: {down.detail}"
        self._log(f"{self._feed.venue} {why}")
        for symbol, files in self._files.items():
            files.gap(self._now(), why)
            if name == "books":
                # What comes next follows nothing; the gap is marked already.
                self._last_ids.pop(symbol, None)
                self._wanted.add(symbol)

    # Snapshots

    def _want(self, symbol: str) -> None:
        self._wanted.add(symbol)
        self._wakes.set()

    async def _fetch_snapshots(self) -> None:
        pools = RatePools([PoolRule(WEIGHT_1M, _WEIGHT_PER_MINUTE, _MINUTE_NS)])
        async with RestClient(self._feed.rest, headers={}, limits=pools, clock=self._now) as client:
            while True:
                while not (self._wanted and self._open["books"]):
                    self._wakes = trio.Event()
                    await self._wakes.wait()
                # The first update of the stream must be older than the snapshot.
                await trio.sleep(_JOIN_S)
                for symbol in sorted(self._wanted):
                    self._wanted.discard(symbol)
                    if not await self._fetch(client, symbol):
                        self._wanted.add(symbol)
                        await trio.sleep(_RETRY_S)

    async def _fetch(self, client: RestClient, symbol: str) -> bool:
        path = "/api/v3/depth" if self._feed.is_spot else "/fapi/v1/depth"
        query = f"symbol={symbol.upper()}&limit=1000"
        costs = {WEIGHT_1M: 50 if self._feed.is_spot else 20}
        call = Call("GET", path, query, priority=Priority.QUERY, costs=costs, is_idempotent=True)
        try:
            answer = await client.request(call)
        except NetError as error:
            self._log(f"{self._feed.venue}: no snapshot of {symbol}: {error}")
            self.counters.snapshots_failed += 1
            return False
        if answer.status != 200:
            self._log(f"{self._feed.venue}: no snapshot of {symbol}: HTTP {answer.status}")
            self.counters.snapshots_failed += 1
            return False
        self.counters.snapshots += 1
        self._files[symbol].write(self._now(), answer.body)
        return True


def stream_of(data: bytes) -> tuple[str, str]:
    """Return symbol (in small letters) and kind of a frame of a combined stream, empty for any other frame."""
    if not data.startswith(_HEAD):
        return "", ""
    end = data.find(b'"', len(_HEAD))
    symbol, _, kind = data[len(_HEAD) : end].decode(errors="replace").partition("@")
    return symbol, kind.partition("@")[0]
