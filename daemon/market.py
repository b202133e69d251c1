"""Which market a configuration means: made from its seed, recorded, bars or stores; and when it begins and ends."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from time import time_ns
from typing import TYPE_CHECKING

from attrs import field, frozen

from daemon.config_schema import Bars, Live, RunConfig, Stored, Synthetic
from sim.bar_market import BarMarket
from sim.bars import BarSeries, SeriesReport
from sim.clocks import Arrival
from sim.funding_file import FundingSeries
from sim.market import RecordedMarket, Recording, RecordingReport, with_mid_marks
from sim.rows import Rows
from sim.stored import StoredStateError
from sim.synthetic import StoredSynthetic, SyntheticMarket

if TYPE_CHECKING:
    from sim.stored_file import StoreReport


@frozen
class Market:
    """The arrivals, to be taken once, the reports on recordings that they fill, and those on bars and stores.

    A live market has no arrivals here: they come from sockets (`daemon/venue/live_feeds.py`), from now on. A market of
    stores has `blocks` of rows instead. `start_ns` is the first instant, `end_ns` the last,
    None where it is not known or there is none. `made` is the market made from a seed, None for any other.
    """

    arrivals: Iterator[Arrival]
    reports: list[RecordingReport]
    start_ns: int
    end_ns: int | None
    series: list[SeriesReport] = field(factory=list)
    stores: "list[StoreReport]" = field(factory=list)
    blocks: Iterator[Rows] | None = None
    made: SyntheticMarket | None = None

    def go_on(self, taken: int, made: StoredSynthetic | None) -> None:
        """Let the arrivals go on after the first `taken` of them: from the state stored then, or by reading past them.

        Raises StoredStateError when the state is of another market.
        """
        if (made is None) is not (self.made is None):
            raise StoredStateError("the stored market is made from a seed, this one recorded, or the other way round")
        if self.made is not None and made is not None:
            self.made.restore(made)
            return
        deque(islice(self.arrivals, taken), maxlen=0)


def open_market(config: RunConfig, warn: Callable[[str], None]) -> Market:
    """Return the market of a run; `warn` is told each kind of damage in a recording, and what to know of bars.

    Raises RecordingError for a recording that cannot be read, NoFramesError when none holds a usable frame,
    BarFileError for bars that cannot be used, NoBarsError for a series without any, StoreError for a store that cannot
    be read or does not fit the configuration.
    """
    specs = dict(config.instruments)
    if isinstance(config.market, Bars):
        return _bars(config, config.market, warn)
    if isinstance(config.market, Live):
        now = time_ns()
        return Market(iter(()), [], now, None if config.run.duration_ns is None else now + config.run.duration_ns)
    if isinstance(config.market, Stored):
        return _stores(config, config.market)
    if isinstance(config.market, Synthetic):
        settings = config.market.settings(config.run)
        end_ns = None if settings.duration_ns is None else settings.start_ns + settings.duration_ns
        made = SyntheticMarket(settings, specs)
        return Market(iter(made), [], settings.start_ns, end_ns, made=made)
    market = RecordedMarket(
        [
            Recording(
                config.paths[one.file],
                tuple(specs[f"{one.venue}:{symbol}"] for symbol in one.symbols),
                one.recorder,
                one.min_feed_latency_ns,
            )
            for one in config.market.recordings
        ],
        warn,
    )
    arrivals = iter(market)
    start_ns = market.start_ns
    end_ns = None if config.run.duration_ns is None else start_ns + config.run.duration_ns
    if end_ns is not None:
        arrivals = _until(arrivals, end_ns)
    if config.market.mid_marks_ns is not None:
        marked = [one.id for one in specs.values() if not one.is_spot]
        arrivals = with_mid_marks(arrivals, marked, specs, config.market.mid_marks_ns)
    return Market(arrivals, market.reports, start_ns, end_ns or market.end_ns)


def _stores(config: RunConfig, stored: Stored) -> Market:
    # Arrow, which only stores need.
    from sim.stored_file import StoredFile  # noqa: PLC0415
    from sim.stored_market import StoredMarket  # noqa: PLC0415

    files = [StoredFile(config.paths[one.file], one.venue) for one in stored.stores]
    market = StoredMarket(files, config.instruments, config.run.duration_ns)
    return Market(iter(()), [], market.start_ns, market.end_ns, stores=market.reports, blocks=market.blocks())


def _bars(config: RunConfig, bars: Bars, warn: Callable[[str], None]) -> Market:
    market = BarMarket(
        [
            BarSeries(
                config.instruments[one.instrument],
                tuple(config.paths[name] for name in one.files),
                one.length_ns,
                one.format,
                one.prices == "mark",
                one.member or "",
                one.zone,
            )
            for one in bars.series
        ],
        {venue.id: venue.parametric for venue in config.venues.values() if venue.parametric is not None},
        bars.feed_latency_ns,
        bars.close_marks,
        warn,
        funding=[FundingSeries(one.instrument, config.paths[one.file]) for one in bars.funding],
    )
    end_ns = market.end_ns
    if config.run.duration_ns is not None:
        end_ns = market.until_ns = market.start_ns + config.run.duration_ns
    return Market(iter(market), [], market.start_ns, end_ns, market.reports)


def _until(arrivals: Iterator[Arrival], end_ns: int) -> Iterator[Arrival]:
    for arrival in arrivals:
        if arrival.local_ns > end_ns:
            return
        yield arrival
