"""What the market says: the public streams of one venue, once each, and whole books where their sequence breaks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Final

import trio
from attrs import define, field

from venues.binance.calls import WEIGHT_1M
from venues.binance.codec import BinanceDecoder, CodecError, CodecErrorReason
from venues.binance.settings import GatewaySettings
from venues.model.instrument import Instrument
from venues.net.errors import NetError
from venues.net.limits import PoolRule, Priority, RatePools
from venues.net.outcomes import Outcomes
from venues.net.rest import Call, RestClient
from venues.net.websocket import Down, ReconnectingSocket, SocketSettings
from venues.port import (
    BookDelta,
    BookSnapshot,
    LiquidationPrint,
    MarkPrice,
    Message,
    Quote,
    Trade,
    VenueDown,
    VenueUp,
)

Deliver = Callable[[Sequence[Message]], None]

MARKET_CHANNEL: Final = "market"
SNAPSHOT_LEVELS: Final = 1_000
CONTRACT_INFO: Final = "!contractInfo"
"""The one stream of all symbols that is listened to: it tells which of them trade."""


_MINUTE_NS: Final = 60_000_000_000
_WEIGHT: Final = {False: (20, 2_400), True: (50, 6_000)}
"""(weight of a snapshot, weight per minute) by whether it is spot. Sources: facts C4; spot "Order book", "LIMITS"."""

_USED_WEIGHT: Final = "x-mbx-used-weight-1m"
_RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
_JOIN_S: Final = 0.3
"""How long the stream runs before a snapshot is asked for: the first event must be older than the snapshot."""

_DATA_IDLE_S: Final = 60.0
_NUMBERS_MAX: Final = 1_024

HELD_NS: Final = 1_000_000_000
"""How long what one connection says may wait for the other during a rotation."""


class SnapshotError(Exception):
    """No book could be had; the text says why."""


@define
class FeedCounters:
    """Frames by what became of them; `others` are of symbols not traded here, `repeats` came over both
    connections of a rotation, `gaps` broke a sequence."""

    frames: int = 0
    refused: int = 0
    others: int = 0
    repeats: int = 0
    gaps: int = 0
    snapshots: int = 0
    snapshots_failed: int = 0
    downs: int = 0


@define
class _Numbers:
    """The last thousand numbers of a stream."""

    numbers: dict[int, None] = field(factory=dict)

    def is_repeat(self, number: int) -> bool:
        """Note a number; whether it was among them."""
        if number in self.numbers:
            return True
        self.numbers[number] = None
        if len(self.numbers) > _NUMBERS_MAX:
            del self.numbers[next(iter(self.numbers))]
        return False


@define
class _Seen:
    """What was told of one instrument, over all connections; -1: nothing yet. `since` began the unbroken deltas.

    `held` are deltas of a connection that is ahead of the other, by their last number; they wait since `held_ns`.
    """

    delta: int = -1
    since: int = -1
    quote: int = -1
    mark: int = -1
    mark_price: Decimal | None = None
    trades: _Numbers = field(factory=_Numbers)
    liquidations: _Numbers = field(factory=_Numbers)
    held: dict[int, BookDelta] = field(factory=dict)
    held_ns: int = 0


def _follows(delta: BookDelta, last_id: int) -> bool:
    return delta.first_id == last_id + 1 if delta.prev_id < 0 else delta.prev_id == last_id


def public_streams(symbols: Iterable[str], *, is_spot: bool) -> list[str]:
    """Return the streams of the first socket; spot has one for all. Source: facts D1."""
    kinds = ("depth@100ms", "bookTicker", "trade") if is_spot else ("depth@100ms", "bookTicker")
    return [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds]


def market_streams(symbols: Iterable[str]) -> list[str]:
    kinds = ("aggTrade", "markPrice@1s", "forceOrder")
    return [CONTRACT_INFO, *(f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds)]


class BinanceFeed:
    """The market data of one venue: all that is decoded goes to `deliver`, with VenueDown and VenueUp of `market`.

    It begins down without saying so. With `fetches_snapshots` a book is fetched and delivered whenever the deltas do
    not follow one another; without, whoever keeps the books asks `snapshot`.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        instruments: Iterable[Instrument],
        deliver: Deliver,
        now: Callable[[], int],
        *,
        fetches_snapshots: bool = True,
        limits: RatePools | None = None,
        on_state: Callable[[bool, str], None] | None = None,
        decoder: BinanceDecoder | None = None,
        outcomes: Outcomes | None = None,
    ) -> None:
        """`on_state` hears that all streams are up, or why they are not, before the message that says so."""
        self.counters = FeedCounters()
        self.instruments = {spec.id: spec for spec in instruments}
        self._settings = settings
        self._deliver = deliver
        self._now = now
        self._fetches = fetches_snapshots
        self._on_state = on_state
        by_symbol = {spec.symbol: spec for spec in self.instruments.values()}
        self.decoder = decoder or BinanceDecoder(by_symbol)
        self._seen = {spec.id: _Seen() for spec in self.instruments.values()}
        weight, per_minute = _WEIGHT[settings.is_spot]
        self._weight = weight
        self._limits = limits or RatePools(
            [PoolRule(WEIGHT_1M, per_minute, _MINUTE_NS, header=_USED_WEIGHT)], speed=settings.speed
        )
        self._rest: RestClient | None = None
        self._outcomes = outcomes
        self._wanted: set[str] = set()
        self._wake = trio.Event()
        self.is_up = False
        made = SocketSettings(data_idle_s=_DATA_IDLE_S, lifetime_s=settings.lifetime_s, overlap_s=settings.overlap_s)
        self.sockets = self._sockets(by_symbol, made) if settings.wants_market and by_symbol else []
        self._open: dict[str, set[int]] = {socket.name: set() for socket in self.sockets}

    def _sockets(self, symbols: Mapping[str, Instrument], settings: SocketSettings) -> list["_NamedSocket"]:
        told = self._settings
        groups = [("books", told.ws_public, public_streams(symbols, is_spot=told.is_spot))]
        if not told.is_spot:
            groups.append(("trades", told.ws_market, market_streams(symbols)))
        return [
            _NamedSocket(
                name,
                ReconnectingSocket(
                    f"{told.venue} {name}",
                    partial(_address, f"{base}/stream?streams={'/'.join(streams)}"),
                    partial(self._on_frame, name),
                    partial(self._on_up, name),
                    partial(self._on_down, name),
                    settings=settings,
                    now=self._now,
                ),
            )
            for name, base, streams in groups
        ]

    async def run(self) -> None:
        """Keep the streams until cancelled."""
        async with (
            RestClient(
                self._settings.rest, headers={}, limits=self._limits, clock=self._now, outcomes=self._outcomes
            ) as rest,
            trio.open_nursery() as nursery,
        ):
            self._rest = rest
            for socket in self.sockets:
                nursery.start_soon(socket.socket.run)
            if self._fetches:
                nursery.start_soon(self._fetch_wanted)
            if not self.sockets:
                self._tell_up()
            await trio.sleep_forever()

    @property
    def why_no_book(self) -> str:
        """Why a snapshot would be of no use now, empty when it would."""
        return "the stream that would join it is down" if self.sockets and not self._open["books"] else ""

    def mark_of(self, instrument: str) -> Decimal | None:
        """Return the last mark price of an instrument, None before the first."""
        seen = self._seen.get(instrument)
        return None if seen is None else seen.mark_price

    async def snapshot(self, instrument: str) -> BookSnapshot:
        """Return the book of `instrument`, fetched now. Raises SnapshotError."""
        spec = self.instruments.get(instrument)
        if spec is None:
            raise SnapshotError(f"{instrument} is not among the instruments")
        if self._rest is None:
            raise SnapshotError("the gateway does not run yet")
        if self.why_no_book:
            raise SnapshotError(self.why_no_book)
        path = "/api/v3/depth" if self._settings.is_spot else "/fapi/v1/depth"
        query = f"symbol={spec.symbol}&limit={SNAPSHOT_LEVELS}"
        call = Call("GET", path, query, priority=Priority.QUERY, costs={WEIGHT_1M: self._weight}, is_idempotent=True)
        try:
            answer = await self._rest.request(call)
            if answer.status != 200:
                raise SnapshotError(f"HTTP {answer.status}")
            found = self.decoder.decode_snapshot(answer.body, spec.symbol)
        except (NetError, CodecError, SnapshotError) as error:
            self.counters.snapshots_failed += 1
            raise SnapshotError(str(error)) from None
        self.counters.snapshots += 1
        return found

    # Frames

    def _on_frame(self, name: str, data: bytes, received_ns: int, connection: int) -> None:
        self.counters.frames += 1
        try:
            found = self.decoder.decode(data)
        except CodecError as error:
            if error.reason is CodecErrorReason.UNKNOWN_SYMBOL:
                self.counters.others += 1
            else:
                # What was missed is found by its sequence, where it has one.
                self.counters.refused += 1
            return
        if found is None:
            return
        is_doubled = len(self._open[name]) > 1
        if isinstance(found, BookDelta):
            deltas = self._in_order(found, self._seen[found.instrument], received_ns, is_doubled=is_doubled)
            if deltas:
                self._deliver(deltas)
        elif self._is_repeat(found, is_doubled=is_doubled):
            self.counters.repeats += 1
        else:
            self._deliver((found,))

    def _is_repeat(self, message: Message, *, is_doubled: bool) -> bool:
        """Note the message; whether its like was there before, which only counts while two connections deliver."""
        seen = self._seen[message.instrument]  # type: ignore[attr-defined]
        if isinstance(message, Quote):
            if is_doubled and message.update_id <= seen.quote:
                return True
            seen.quote = message.update_id
        elif isinstance(message, Trade):
            return seen.trades.is_repeat(message.trade_id) and is_doubled
        elif isinstance(message, MarkPrice):
            if is_doubled and message.ts <= seen.mark:
                return True
            seen.mark, seen.mark_price = message.ts, message.mark
        elif isinstance(message, LiquidationPrint):
            return seen.liquidations.is_repeat(message.ts) and is_doubled
        return False

    def _in_order(self, delta: BookDelta, seen: _Seen, received_ns: int, *, is_doubled: bool) -> list[BookDelta]:
        """Return what can be told now. Of two connections one may be ahead: what it says waits for the other."""
        if not is_doubled:
            self._follow(delta, seen)
            return [delta]
        if delta.last_id <= seen.delta or delta.last_id in seen.held:
            self.counters.repeats += 1
            return []
        if not seen.held:
            seen.held_ns = received_ns
        seen.held[delta.last_id] = delta
        found = []
        while (first := next((one for one in seen.held.values() if _follows(one, seen.delta)), None)) is not None:
            self._follow(first, seen)
            found.append(first)
            seen.held = {last_id: one for last_id, one in seen.held.items() if last_id > first.last_id}
        if found:
            seen.held_ns = received_ns
        elif received_ns - seen.held_ns > HELD_NS * self._settings.speed:
            # The other one does not close the gap either.
            return self._release(seen)
        return found

    def _release(self, seen: _Seen) -> list[BookDelta]:
        found = [seen.held[last_id] for last_id in sorted(seen.held)]
        seen.held = {}
        for delta in found:
            self._follow(delta, seen)
        return found

    def _follow(self, delta: BookDelta, seen: _Seen) -> None:
        """Notice that updates are missing. Who keeps the book notices too: the numbers are in the delta."""
        last_id, seen.delta = seen.delta, delta.last_id
        if _follows(delta, last_id):
            return
        seen.since = delta.first_id
        if last_id >= 0:
            self.counters.gaps += 1
        if self._fetches:
            self._wanted.add(delta.instrument)
            self._wake.set()

    async def _fetch_wanted(self) -> None:
        attempts: dict[str, int] = {}
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            await trio.sleep(_JOIN_S)
            for instrument in sorted(self._wanted):
                self._wanted.discard(instrument)
                try:
                    found = await self.snapshot(instrument)
                    if found.update_id < self._seen[instrument].since - 1:
                        raise SnapshotError("the snapshot is older than the stream")
                except SnapshotError:
                    attempt = attempts[instrument] = attempts.get(instrument, -1) + 1
                    self._wanted.add(instrument)
                    await trio.sleep(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                    self._wake.set()
                else:
                    attempts.pop(instrument, None)
                    self._deliver((found,))

    # Connections

    def _on_up(self, name: str, connection: int) -> None:
        self._open[name].add(connection)
        if all(self._open.values()):
            self._tell_up()

    def _on_down(self, name: str, down: Down) -> None:
        still = self._open[name]
        still.discard(down.connection)
        if still:
            if name == "books" and len(still) == 1:
                self._release_all()
            return
        self.counters.downs += 1
        if name == "books":
            self._release_all()
            for seen in self._seen.values():
                seen.delta = seen.quote = -1
        if self.is_up:
            why = f"{name}: {down.reason}: {down.detail}"
            self.is_up = False
            now = self._now()
            if self._on_state is not None:
                self._on_state(False, why)
            self._deliver((VenueDown(now, self._settings.venue, MARKET_CHANNEL, why),))

    def _release_all(self) -> None:
        """Nobody is there any more who could close the gaps before what is held."""
        for seen in self._seen.values():
            if seen.held:
                self._deliver(self._release(seen))

    def _tell_up(self) -> None:
        if self.is_up:
            return
        self.is_up = True
        if self._on_state is not None:
            self._on_state(True, "")
        self._deliver((VenueUp(self._now(), self._settings.venue, MARKET_CHANNEL),))


@define
class _NamedSocket:
    name: str
    socket: ReconnectingSocket


async def _address(url: str) -> str:
    return url
