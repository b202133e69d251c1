"""A market that costs little to make and to follow: integer walks, one small change of each book ten times a second.

Faults that are true for everybody happen here: books that thin out, marks that jump.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from random import Random

from attrs import define, field, frozen

from daemon.torture.script import JUMPS, SECOND_NS, Fault, FaultKind, Script, Tally
from sim.clocks import Arrival
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, FundingRate, MarkPrice, Message, Trade

_QUANTUM = Decimal("0.01")
_FEED_NS = 2_000_000
_JITTER_NS = 1_000_000
_TRADE_CHANCE = 0.1
_CHANCE_OF_REFRESH = 0.5
_FACTORS = {FaultKind.SPIKE: Decimal("1.85"), FaultKind.LIQUIDATION: Decimal(3)}


@frozen
class Walk:
    """How one instrument moves. Prices are in quote money; the book has a level every `grid` ticks, `levels` a side.

    `volatility_bps` is the standard deviation of the base asset's price over one minute, `premium_bps` what this
    instrument trades above it on average.
    """

    instrument: str
    mid: Decimal
    grid: int
    lots: int
    premium_bps: float = 0.0
    volatility_bps: float = 6.0
    levels: int = 6


@frozen
class MarketSettings:
    """The market as a whole; funding is paid each `funding_ns`."""

    seed: int
    start_ns: int
    duration_ns: int
    walks: tuple[Walk, ...]
    step_ns: int = 100_000_000
    mark_interval_ns: int = SECOND_NS
    funding_ns: int = 300 * SECOND_NS
    funding_rate: Decimal = Decimal("0.0003")


@define
class _Book:
    """One instrument's moving parts; `at` is the grid line below the mid: the best bid, the ask is one above."""

    spec: Instrument
    walk: Walk
    rng: Random
    premium: float
    at: int = 0
    update_id: int = 0
    trade_id: int = 0
    local_ns: int = 0
    is_thin: bool = False
    thins: list[Fault] = field(factory=list)
    jumps: list[Fault] = field(factory=list)


class Market:
    """The arrivals of a seeded market, in order of local time; counts the faults that it makes true."""

    def __init__(
        self, settings: MarketSettings, specs: Mapping[str, Instrument], script: Script, counts: Tally
    ) -> None:
        self._settings = settings
        self._counts = counts
        self._script = script
        self._mids: dict[str, float] = {}
        self._rngs: dict[str, Random] = {}
        self._books = []
        for walk in settings.walks:
            spec = specs[walk.instrument]
            self._mids.setdefault(spec.base, float(walk.mid))
            self._rngs.setdefault(spec.base, Random(f"{settings.seed}/{spec.base}"))
            self._books.append(
                _Book(
                    spec,
                    walk,
                    Random(f"{settings.seed}/{spec.id}"),
                    walk.premium_bps,
                    thins=script.of((FaultKind.THIN,), spec.id),
                    jumps=script.of(JUMPS, spec.id),
                )
            )

    def __iter__(self) -> Iterator[Arrival]:
        settings = self._settings
        gauss = Random(f"{settings.seed}/gauss").gauss
        sigmas = {
            one.spec.base: one.walk.volatility_bps * 1e-4 * (settings.step_ns / (60 * SECOND_NS)) ** 0.5
            for one in self._books
        }
        for step in range(settings.duration_ns // settings.step_ns + 1):
            for base, mid in self._mids.items():
                self._mids[base] = mid * (1.0 + sigmas[base] * gauss(0.0, 1.0))
            now = settings.start_ns + step * settings.step_ns
            arrivals: list[Arrival] = []
            for index, book in enumerate(self._books):
                # A microsecond apart, so that no two instruments ever share an instant.
                at = now + index * 1_000
                for message in self._step(book, at, step):
                    book.local_ns = max(book.local_ns, at + _FEED_NS + book.rng.randrange(_JITTER_NS))
                    arrivals.append(Arrival(at, book.local_ns, message))
            arrivals.sort(key=_local)
            yield from arrivals

    def _step(self, book: _Book, now: int, step: int) -> list[Message]:
        spec, walk, rng = book.spec, book.walk, book.rng
        book.premium += 0.02 * (walk.premium_bps - book.premium) + rng.uniform(-0.3, 0.3)
        price = self._mids[spec.base] * (1.0 + book.premium * 1e-4)
        line = int(price / float(spec.tick_size) / walk.grid)
        messages: list[Message] = []
        if not step:
            book.at = line
            book.update_id = 1
            bids = [(self._ticks(book, line - depth), walk.lots) for depth in range(walk.levels)]
            asks = [(self._ticks(book, line + 1 + depth), walk.lots) for depth in range(walk.levels)]
            messages.append(BookSnapshot(now, spec.id, 1, bids, asks))
        else:
            if rng.random() < _TRADE_CHANCE:
                book.trade_id += 1
                side = Side.BUY if rng.random() < 0.5 else Side.SELL
                touch = self._ticks(book, book.at + (side is Side.BUY))
                messages.append(Trade(now, spec.id, book.trade_id, touch, 1, side))
            messages.append(self._delta(book, now, line))
        if not spec.is_spot and (now - self._settings.start_ns) % self._settings.mark_interval_ns < 1_000_000:
            messages += self._mark(book, now, price)
        return messages

    def _ticks(self, book: _Book, line: int) -> int:
        return line * book.walk.grid

    def _delta(self, book: _Book, now: int, line: int) -> BookDelta:
        walk, rng, levels = book.walk, book.rng, book.walk.levels
        was_thin, book.is_thin = book.is_thin, self._is_thin(book, now)
        old, book.at = book.at, line
        bids: dict[int, int] = {}
        asks: dict[int, int] = {}
        if book.is_thin is not was_thin or abs(line - old) >= levels:
            for depth in range(levels):
                bids[old - depth] = asks[old + 1 + depth] = 0
            for depth in range(levels):
                bids[line - depth] = asks[line + 1 + depth] = self._lots(book)
        else:
            for gone in range(old + 1, line + 1):
                asks[gone], bids[gone - levels] = 0, 0
                bids[gone], asks[gone + levels] = self._lots(book), self._lots(book)
            for gone in range(old, line, -1):
                bids[gone], asks[gone + levels] = 0, 0
                asks[gone], bids[gone - levels] = self._lots(book), self._lots(book)
            if rng.random() < _CHANCE_OF_REFRESH:
                bids[line - rng.randrange(levels)] = self._lots(book)
            else:
                asks[line + 1 + rng.randrange(levels)] = self._lots(book)
        first = book.update_id + 1
        book.update_id = first + 1
        grid = walk.grid
        return BookDelta(
            now,
            book.spec.id,
            first,
            first + 1,
            first - 1,
            [(at * grid, lots) for at, lots in bids.items()],
            [(at * grid, lots) for at, lots in asks.items()],
        )

    def _lots(self, book: _Book) -> int:
        return 1 if book.is_thin else int(book.walk.lots * (0.5 + book.rng.random()))

    def _is_thin(self, book: _Book, now: int) -> bool:
        fault = self._in(book.thins, now)
        if fault is not None:
            self._counts.met(fault)
        return fault is not None

    def _in(self, faults: Sequence[Fault], now: int) -> Fault | None:
        since = now - self._settings.start_ns
        for fault in faults:
            if fault.start_ns <= since < fault.end_ns:
                return fault
        return None

    def _mark(self, book: _Book, now: int, price: float) -> list[Message]:
        settings, spec = self._settings, book.spec
        mark = index = Decimal(price).quantize(_QUANTUM)
        fault = self._in(book.jumps, now)
        if fault is not None:
            self._counts.met(fault)
            mark = (mark * _FACTORS[fault.kind]).quantize(_QUANTUM)
        stamp = now // settings.funding_ns * settings.funding_ns
        messages: list[Message] = [
            MarkPrice(now, spec.id, mark, index, settings.funding_rate, stamp + settings.funding_ns)
        ]
        if now > settings.start_ns and now - stamp < settings.mark_interval_ns:
            messages.append(FundingRate(now, spec.id, settings.funding_rate, mark))
        return messages


def _local(arrival: Arrival) -> int:
    return arrival.local_ns
