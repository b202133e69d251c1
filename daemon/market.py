"""Which market a configuration means: made from its seed, or recorded; and when it begins and ends."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice

from attrs import frozen

from daemon.config_schema import Recorded, RunConfig
from sim.clocks import Arrival
from sim.market import RecordedMarket, Recording, RecordingReport, with_mid_marks
from sim.stored import StoredStateError
from sim.synthetic import StoredSynthetic, SyntheticMarket


@frozen
class Market:
    """The arrivals, to be taken once, and the reports on recordings that they fill.

    `start_ns` is the first instant, `end_ns` the last, None where it is not known or there is none. `made` is the
    market made from a seed, None for a recorded one.
    """

    arrivals: Iterator[Arrival]
    reports: list[RecordingReport]
    start_ns: int
    end_ns: int | None
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
    """Return the market of a run; `warn` is told each kind of damage in a recording.

    Raises RecordingError for a recording that cannot be read, NoFramesError when none holds a usable frame.
    """
    specs = dict(config.instruments)
    if not isinstance(config.market, Recorded):
        settings = config.market.settings(config.run)
        end_ns = None if settings.duration_ns is None else settings.start_ns + settings.duration_ns
        made = SyntheticMarket(settings, specs)
        return Market(iter(made), [], settings.start_ns, end_ns, made)
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


def _until(arrivals: Iterator[Arrival], end_ns: int) -> Iterator[Arrival]:
    for arrival in arrivals:
        if arrival.local_ns > end_ns:
            return
        yield arrival
