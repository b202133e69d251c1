"""What happens on the emulated market: made from a seed around one mid for each underlying, or a recording."""

from collections.abc import Iterator
from decimal import Decimal
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from sim.clocks import Arrival
from sim.emulator.listings import Listing
from sim.market import NoFramesError, RecordedMarket, Recording, with_mid_marks
from sim.synthetic import SECOND_NS, SyntheticInstrument, SyntheticMarket, SyntheticSettings
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, FundingRate, LiquidationPrint, MarkPrice, Message, Trade

MarketEvents = Iterator[tuple[int, Message]]
"""Venue time (ns UTC, never going back) and what happened."""

_MIDS = {"BTC": Decimal(100_000), "ETH": Decimal(4_000)}
_LEVELS = 40
_TRADES_PER_LIQUIDATION = 40
_LOTS = {"BTC": 2_000, "ETH": 30_000}
_SPOT_LOTS = {"BTC": 150_000, "ETH": 200_000}
_QUARTERLY_PREMIUM_BPS = 80.0
_HOUR_NS = 3_600 * SECOND_NS
_WHOLE = 1_000_000
_LOOKED_AT = 20_000
"""How many usable frames are read to see which symbols a recording holds."""


@frozen
class SyntheticPace:
    """How fast the made market moves: the venue time between two books, and what of funding."""

    step_ns: int = 100_000_000
    funding_rate: Decimal = Decimal("0.0001")
    funding_interval_hours: int = 8
    volatility_bps: float = 4.0


def synthetic(listings: dict[str, Listing], seed: int, start_ns: int, pace: SyntheticPace) -> MarketEvents:
    """Return a market without end that begins at `start_ns`, the same for the same arguments."""
    step_ns = pace.step_ns
    underlyings: dict[str, list[Listing]] = {}
    for one in listings.values():
        underlyings.setdefault(one.spec.base, []).append(one)
    markets = []
    for index, (base, listed) in enumerate(underlyings.items()):
        settings = SyntheticSettings(
            seed + index,
            start_ns + index * 7_000,
            None,
            _MIDS[base],
            tuple(_instrument(one, pace) for one in listed),
            volatility_bps=pace.volatility_bps,
            step_ns=step_ns,
            feed_latency_ns=0,
            feed_jitter_ns=0,
            # A mark each second at least: a longer step must not step over a funding stamp.
            mark_interval_ns=max(SECOND_NS, step_ns),
        )
        made = SyntheticMarket(settings, {one.id: one.spec for one in listed})
        markets.append((arrival.venue_ns, arrival.message) for arrival in made)
    return _with_liquidations(merge(*markets, key=lambda event: event[0]), listings)


def _with_liquidations(events: MarketEvents, listings: dict[str, Listing]) -> MarketEvents:
    """Yield the events, and say of one trade in so many of a perpetual that somebody was liquidated by it."""
    specs = {one.id: one.spec for one in listings.values() if one.is_perpetual}
    counts = dict.fromkeys(specs, 0)
    for ns, message in events:
        yield ns, message
        if isinstance(message, Trade) and message.instrument in specs:
            counts[message.instrument] += 1
            if counts[message.instrument] % _TRADES_PER_LIQUIDATION == 0:
                spec = specs[message.instrument]
                price, qty = spec.price(message.price), spec.qty(message.lots)
                yield ns, LiquidationPrint(ns, message.instrument, message.aggressor, price, qty)


def _instrument(listing: Listing, pace: SyntheticPace) -> SyntheticInstrument:
    spec = listing.spec
    lots = (_SPOT_LOTS if spec.is_spot else _LOTS)[spec.base]
    return SyntheticInstrument(
        spec.id,
        premium_bps=_QUARTERLY_PREMIUM_BPS if spec.expiry_ns is not None else 0.0,
        levels=_LEVELS,
        lots_per_level=lots,
        funding_rate=pace.funding_rate,
        funding_interval_ns=pace.funding_interval_hours * _HOUR_NS,
    )


@frozen
class RecordingSource:
    """A recording of some of the listed symbols, played over and over.

    Raises RecordingError, NoFramesError when it is opened for a file that cannot be used.
    """

    market: RecordedMarket
    listings: dict[str, Listing]

    @classmethod
    def open(cls, path: Path, listings: dict[str, Listing]) -> "RecordingSource":
        """Open a recording; `listings` are what it may hold, of which those that are in it are kept."""
        everything = _recorded(path, listings)
        seen = {getattr(one.message, "instrument", "") for one in islice(everything, _LOOKED_AT)}
        # A book snapshot does not name its symbol: it is known only where there is one.
        held = {name: one for name, one in listings.items() if one.id in seen}
        market = _recorded(path, held)
        if not any(isinstance(message, BookSnapshot) for _, message in _usable(market, held)):
            raise NoFramesError(f"{path}: holds no book of {', '.join(listings)} that can be followed")
        return cls(market, held)

    def events(self, start_ns: int, pace: SyntheticPace) -> MarketEvents:
        """Return what happens from `start_ns` on, with funding where the recording tells none."""
        return _funded(self._laps(start_ns), self.listings, pace)

    def _laps(self, start_ns: int) -> MarketEvents:
        last = start_ns
        while True:
            shift = last - self.market.start_ns
            for ns, message in _usable(self.market, self.listings):
                last = max(last, ns + shift)
                yield last, _shifted(message, last)
            last += SECOND_NS


def _recorded(path: Path, listings: dict[str, Listing]) -> RecordedMarket:
    return RecordedMarket([Recording(path, tuple(one.spec for one in listings.values()))], lambda _: None)


def _funded(events: MarketEvents, listings: dict[str, Listing], pace: SyntheticPace) -> MarketEvents:
    """Yield the events with a funding rate in the marks of perpetuals that have none, and its payments."""
    interval = pace.funding_interval_hours * _HOUR_NS
    perpetuals = {one.id for one in listings.values() if one.is_perpetual}
    stamps: dict[str, int] = {}
    for ns, message in events:
        if not isinstance(message, MarkPrice) or message.rate is not None or message.instrument not in perpetuals:
            yield ns, message
            continue
        name, stamp = message.instrument, ns // interval * interval
        yield ns, MarkPrice(ns, name, message.mark, message.index, pace.funding_rate, stamp + interval)
        if stamps.get(name, stamp) < stamp:
            yield ns, FundingRate(ns, name, pace.funding_rate, message.mark)
        stamps[name] = stamp


def _usable(market: RecordedMarket, listings: dict[str, Listing]) -> MarketEvents:
    """Yield what a venue would say: books only where the frames prove them, and marks where nobody tells them."""
    rule = SequenceRule.SPOT if next(iter(listings.values())).spec.is_spot else SequenceRule.FUTURES
    specs = {one.id: one.spec for one in listings.values()}
    syncs = {name: BookSync(rule) for name in specs}
    contracts = [one.id for one in specs.values() if not one.is_spot]
    arrivals = _in_order(with_mid_marks(iter(market), contracts, specs, SECOND_NS))
    told: set[str] = set()
    for ns, message in arrivals:
        if isinstance(message, MarkPrice) and message.index is not None:
            told.add(message.instrument)
        if isinstance(message, BookDelta | BookSnapshot):
            found = _synchronised(syncs[message.instrument], message)
            if found is not None:
                yield ns, found
        elif isinstance(message, MarkPrice) and message.index is None:
            if message.instrument not in told:
                yield ns, MarkPrice(ns, message.instrument, message.mark, message.mark)
        elif isinstance(message, Trade | MarkPrice | FundingRate | LiquidationPrint):
            yield ns, message


def _in_order(arrivals: Iterator[Arrival]) -> MarketEvents:
    """Yield arrivals by venue time as far as they come nearly so; what is late happens when it came."""
    last = 0
    for arrival in arrivals:
        last = max(last, arrival.venue_ns)
        yield last, arrival.message


def _synchronised(sync: BookSync, message: BookDelta | BookSnapshot) -> Message | None:
    was_usable = sync.is_usable
    result = sync.on_delta(message) if isinstance(message, BookDelta) else sync.on_snapshot(message)
    if result is not SyncResult.APPLIED:
        return None
    if was_usable and isinstance(message, BookDelta):
        return message
    book = sync.book
    return BookSnapshot(
        message.ts, message.instrument, sync.last_id, book.depth(Side.BUY, _WHOLE), book.depth(Side.SELL, _WHOLE)
    )


def _shifted(message: Message, ns: int) -> Message:
    """Return the message as if it had happened at `ns`."""
    # The port's messages are attrs classes, which their decorator keeps from the type checker.
    made: Any = message
    if isinstance(message, MarkPrice) and message.next_funding_ns is not None:
        return evolve(made, ts=ns, next_funding_ns=message.next_funding_ns + ns - message.ts)  # type: ignore[no-any-return]
    return evolve(made, ts=ns)  # type: ignore[no-any-return]
