"""A market made from a seed: several instruments around one common mid, with books, trades, marks and funding.

The common mid is a geometric random walk; each instrument's premium over it reverts to its mean
(Ornstein-Uhlenbeck, exact discretisation). Floats drive the processes, every price and quantity leaves as whole ticks
and lots. Two runs with the same seed and settings give the same messages.
"""

import math
from collections.abc import Iterator
from decimal import Decimal
from random import Random

from attrs import define, field, frozen
from attrs.validators import gt

from sim.clocks import Arrival
from sim.stored import StoredMessage, StoredStateError, stored
from venues.model.book import Level
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, FundingRate, MarkPrice, Message, Quote, Trade

SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS
_MARK_QUANTUM = Decimal("0.00000001")


@frozen
class SyntheticInstrument:
    """How one instrument moves: premium over the common mid in basis points, its book and its trades.

    `lots_per_level` is the mean displayed quantity; `trades_per_second` the Poisson rate; funding applies to
    perpetuals: `funding_rate` is paid every `funding_interval_ns`, on multiples of it since the epoch.
    """

    instrument: str
    premium_bps: float = field(default=0.0, metadata={"signed": True})
    premium_volatility_bps: float = 2.0
    premium_half_life_ns: int = field(default=30 * SECOND_NS, validator=gt(0))
    half_spread_ticks: int = field(default=1, validator=gt(0))
    levels: int = field(default=10, validator=gt(0))
    lots_per_level: int = field(default=1000, validator=gt(0))
    trades_per_second: float = 2.0
    funding_rate: Decimal = field(default=Decimal("0.0001"), metadata={"signed": True})
    funding_interval_ns: int = field(default=8 * HOUR_NS, validator=gt(0))


@frozen
class SyntheticSettings:
    """The market as a whole. `volatility_bps` is the common mid's standard deviation over one minute.

    Without `duration_ns` it never ends.
    """

    seed: int
    start_ns: int
    duration_ns: int | None
    mid: Decimal
    instruments: tuple[SyntheticInstrument, ...]
    volatility_bps: float = 4.0
    step_ns: int = 100_000_000
    feed_latency_ns: int = 2_000_000
    feed_jitter_ns: int = 1_000_000
    mark_interval_ns: int = SECOND_NS


@define
class _Maker:
    """One instrument's moving parts."""

    spec: Instrument
    settings: SyntheticInstrument
    rng: Random
    premium: float
    update_id: int = 0
    trade_id: int = 0
    local_ns: int = 0
    bids: dict[int, int] = field(factory=dict)
    asks: dict[int, int] = field(factory=dict)
    traded: set[int] = field(factory=set)


StoredRng = tuple[int, tuple[int, ...], float | None]
"""What `random.Random.getstate` returns."""


@frozen
class StoredMaker:
    """One instrument's moving parts, its levels in the order the generator walks them."""

    instrument: str
    rng: StoredRng
    premium: float
    update_id: int
    trade_id: int
    local_ns: int
    bids: dict[int, int]
    asks: dict[int, int]
    traded: list[int]


@frozen
class StoredSynthetic:
    """A market between two arrivals; `arrivals` are made and not yet taken: (venue ns, local ns, message)."""

    steps: int
    mid: float
    rng: StoredRng
    makers: list[StoredMaker]
    arrivals: list[tuple[int, int, StoredMessage]]


class SyntheticMarket:
    """The arrivals of a seeded market, in order of local time. Raises ValueError for an instrument not in `specs`."""

    def __init__(self, settings: SyntheticSettings, specs: dict[str, Instrument]) -> None:
        self._settings = settings
        self._rng = Random(f"{settings.seed}/common")
        self._makers: list[_Maker] = []
        for one in settings.instruments:
            if one.instrument not in specs:
                raise ValueError(f"synthetic market: unknown instrument {one.instrument!r}")
            rng = Random(f"{settings.seed}/{one.instrument}")
            self._makers.append(_Maker(specs[one.instrument], one, rng, one.premium_bps))
        self._steps = self._taken = 0
        self._mid = float(settings.mid)
        self._arrivals: list[Arrival] = []

    def __iter__(self) -> Iterator[Arrival]:
        settings = self._settings
        steps = None if settings.duration_ns is None else settings.duration_ns // settings.step_ns + 1
        while True:
            # Looked up each time: they may be replaced meanwhile.
            while self._taken < len(self._arrivals):
                self._taken += 1
                yield self._arrivals[self._taken - 1]
            if self._steps == steps:
                return
            self._next_step()

    def _next_step(self) -> None:
        settings = self._settings
        step_sigma = settings.volatility_bps * 1e-4 * math.sqrt(settings.step_ns / (60 * SECOND_NS))
        now = settings.start_ns + self._steps * settings.step_ns
        self._mid *= math.exp(step_sigma * self._rng.gauss(0.0, 1.0))
        self._arrivals, self._taken = [], 0
        for index, maker in enumerate(self._makers):
            self._move_premium(maker)
            # A microsecond apart, so that no two instruments ever share an instant.
            self._arrivals += self._step(maker, now + index * 1_000, self._steps, self._mid)
        self._arrivals.sort(key=lambda arrival: arrival.local_ns)
        self._steps += 1

    def store(self) -> StoredSynthetic:
        """Return what is to be known to go on after the arrival that was taken last."""
        return StoredSynthetic(
            self._steps,
            self._mid,
            _stored_rng(self._rng),
            [
                StoredMaker(
                    one.spec.id, _stored_rng(one.rng), one.premium, one.update_id, one.trade_id, one.local_ns,
                    one.bids, one.asks, sorted(one.traded),
                )
                for one in self._makers
            ],
            [(one.venue_ns, one.local_ns, stored(one.message)) for one in self._arrivals[self._taken :]],
        )  # fmt: skip

    def restore(self, found: StoredSynthetic) -> None:
        """Go on from there. Raises StoredStateError when it is the state of other instruments."""
        if [one.instrument for one in found.makers] != [maker.spec.id for maker in self._makers]:
            raise StoredStateError("synthetic market: the stored state is of other instruments")
        self._steps, self._mid = found.steps, found.mid
        _restore_rng(self._rng, found.rng)
        for maker, one in zip(self._makers, found.makers, strict=True):
            _restore_rng(maker.rng, one.rng)
            maker.premium, maker.update_id, maker.trade_id = one.premium, one.update_id, one.trade_id
            maker.local_ns, maker.bids, maker.asks = one.local_ns, one.bids, one.asks
            maker.traded = set(one.traded)
        self._arrivals = [Arrival(venue_ns, local_ns, one.message()) for venue_ns, local_ns, one in found.arrivals]
        self._taken = 0

    def _move_premium(self, maker: _Maker) -> None:
        one = maker.settings
        kept = 0.5 ** (self._settings.step_ns / one.premium_half_life_ns)
        sigma = one.premium_volatility_bps * math.sqrt(1.0 - kept * kept)
        maker.premium = one.premium_bps + (maker.premium - one.premium_bps) * kept + sigma * maker.rng.gauss(0.0, 1.0)

    def _step(self, maker: _Maker, now: int, step: int, mid: float) -> list[Arrival]:
        spec, settings = maker.spec, self._settings
        price = mid * (1.0 + maker.premium * 1e-4)
        messages: list[Message] = []
        if step:
            messages += self._trades(maker, now)
        messages.append(self._book(maker, now, price, is_first=step == 0))
        best_bid, best_ask = max(maker.bids), min(maker.asks)
        messages.append(
            Quote(now, spec.id, maker.update_id, best_bid, maker.bids[best_bid], best_ask, maker.asks[best_ask])
        )
        if not spec.is_spot and (now - settings.start_ns) % settings.mark_interval_ns < settings.step_ns:
            messages += self._mark(maker, now, mid, best_bid, best_ask)
        arrivals = []
        for message in messages:
            latency = settings.feed_latency_ns + maker.rng.randrange(settings.feed_jitter_ns + 1)
            maker.local_ns = max(maker.local_ns, message.ts + latency)
            arrivals.append(Arrival(message.ts, maker.local_ns, message))
        return arrivals

    def _trades(self, maker: _Maker, now: int) -> list[Message]:
        expected = maker.settings.trades_per_second * self._settings.step_ns / SECOND_NS
        trades: list[Message] = []
        chance = maker.rng.random()
        while chance < expected:
            expected -= 1.0
            side = Side.BUY if maker.rng.random() < 0.5 else Side.SELL
            book = maker.asks if side is Side.BUY else maker.bids
            touch = min(book) if side is Side.BUY else max(book)
            lots = min(book[touch] - 1, 1 + int(maker.rng.expovariate(10.0 / maker.settings.lots_per_level)))
            if lots < 1:
                continue
            book[touch] -= lots
            maker.traded.add(touch)
            maker.trade_id += 1
            trades.append(Trade(now, maker.spec.id, maker.trade_id, touch, lots, side))
        return trades

    def _book(self, maker: _Maker, now: int, price: float, *, is_first: bool) -> Message:
        one = maker.settings
        tick = float(maker.spec.tick_size)
        centre = round(price / tick)
        top_bid, top_ask = centre - one.half_spread_ticks, centre + one.half_spread_ticks
        bids = {top_bid - depth: self._lots(maker, maker.bids.get(top_bid - depth)) for depth in range(one.levels)}
        asks = {top_ask + depth: self._lots(maker, maker.asks.get(top_ask + depth)) for depth in range(one.levels)}
        first_id = maker.update_id + 1
        maker.update_id += one.levels
        if is_first:
            message: Message = BookSnapshot(now, maker.spec.id, maker.update_id, list(bids.items()), list(asks.items()))
        else:
            message = BookDelta(
                now,
                maker.spec.id,
                first_id,
                maker.update_id,
                first_id - 1,
                _changes(maker.bids, bids, maker.traded),
                _changes(maker.asks, asks, maker.traded),
            )
        maker.bids, maker.asks = bids, asks
        maker.traded.clear()
        return message

    def _lots(self, maker: _Maker, displayed: int | None) -> int:
        if displayed is not None and maker.rng.random() < 0.7:
            return displayed
        return 1 + int(maker.rng.expovariate(1.0 / maker.settings.lots_per_level))

    def _mark(self, maker: _Maker, now: int, mid: float, best_bid: int, best_ask: int) -> list[Message]:
        one, spec = maker.settings, maker.spec
        mark = ((spec.price(best_bid) + spec.price(best_ask)) / 2).quantize(_MARK_QUANTUM)
        index = Decimal(mid).quantize(_MARK_QUANTUM)
        if spec.kind is not InstrumentKind.PERPETUAL:
            return [MarkPrice(now, spec.id, mark, index)]
        interval = one.funding_interval_ns
        stamp = now // interval * interval
        messages: list[Message] = [MarkPrice(now, spec.id, mark, index, one.funding_rate, stamp + interval)]
        if now > self._settings.start_ns and now - stamp < self._settings.mark_interval_ns:
            messages.append(FundingRate(now, spec.id, one.funding_rate, mark))
        return messages


def _changes(old: dict[int, int], new: dict[int, int], traded: set[int]) -> list[Level]:
    gone = [(ticks, 0) for ticks in old if ticks not in new]
    return gone + [(ticks, lots) for ticks, lots in new.items() if ticks in traded or old.get(ticks) != lots]


def _stored_rng(rng: Random) -> StoredRng:
    version, words, gauss_next = rng.getstate()
    return version, words, gauss_next


def _restore_rng(rng: Random, found: StoredRng) -> None:
    try:
        rng.setstate(found)
    except (ValueError, TypeError) as error:
        raise StoredStateError(f"synthetic market: {error}") from error
