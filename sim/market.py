"""What a recorded market holds: frames of several files, decoded, on one timeline with the clock's skew taken out."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from attrs import define, field, frozen

from sim.clocks import Arrival, merge_arrivals
from sim.recording.reader import RecordingReader
from sim.recording.skew import SkewEstimate, SkewEstimator
from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError
from venues.model.instrument import Instrument
from venues.port import MarkPrice, Message, Quote, Report


@frozen
class Recording:
    """One file of frames of one market. Files with the same `recorder` were written by the same clock."""

    path: Path
    instruments: tuple[Instrument, ...]
    recorder: str = "default"
    min_feed_latency_ns: int = 1_000_000


@define
class RecordingReport:
    """What a file held: frames read and decoded, what was skipped by kind, and an example of each for the log."""

    path: str
    frames: int = 0
    decoded: int = 0
    ignored: dict[str, int] = field(factory=dict)
    bad_frames: dict[str, int] = field(factory=dict)
    bad_lines: dict[str, int] = field(factory=dict)
    examples: list[str] = field(factory=list)
    odd_lots: int = 0
    skew_ns: int = 0
    drift_ns: int | None = None


class NoFramesError(ValueError):
    """Recordings without a single frame that can be used."""


class RecordedMarket:
    """The arrivals of recordings, in order of the corrected local time.

    The first pass estimates each recorder's skew, the second yields. A frame whose venue tells no time is taken to
    have happened when it arrived. `warn` gets one line for each kind of damage in each file.
    `start_ns` and `end_ns` span all of it on the corrected clock.
    Raises RecordingError for a file that cannot be read, NoFramesError when none holds a usable frame.
    """

    def __init__(self, recordings: Sequence[Recording], warn: Callable[[str], None]) -> None:
        self._recordings = recordings
        self._warn = warn
        self.reports = [RecordingReport(str(recording.path)) for recording in recordings]
        self.skews: dict[str, int] = {}
        self.start_ns = self.end_ns = 0
        self._estimate()

    def _estimate(self) -> None:
        spans: list[tuple[str, int, int, int]] = []
        for recording, report in zip(self._recordings, self.reports, strict=True):
            estimator = SkewEstimator(recording.min_feed_latency_ns)
            first = last = None
            for local_ns, message in _decoded(recording, RecordingReport(report.path)):
                estimator.add(local_ns, message.ts)
                first = first or (local_ns, message.ts or local_ns)
                last = local_ns
            estimate: SkewEstimate = estimator.result()
            report.drift_ns = estimate.drift_ns
            self.skews[recording.recorder] = max(self.skews.get(recording.recorder, 0), estimate.skew_ns)
            if first is not None and last is not None:
                spans.append((recording.recorder, *first, last))
        if not spans:
            raise NoFramesError("no recording holds a usable frame")
        for recording, report in zip(self._recordings, self.reports, strict=True):
            report.skew_ns = self.skews[recording.recorder]
        self.start_ns = min(min(first + self.skews[recorder], ts) for recorder, first, ts, _ in spans)
        self.end_ns = max(last + self.skews[recorder] for recorder, _, _, last in spans)

    def __iter__(self) -> Iterator[Arrival]:
        return merge_arrivals(
            self._arrivals(recording, report) for recording, report in zip(self._recordings, self.reports, strict=True)
        )

    def _arrivals(self, recording: Recording, report: RecordingReport) -> Iterator[Arrival]:
        skew_ns = self.skews[recording.recorder]
        previous = 0
        for local_ns, message in _decoded(recording, report):
            # A clock that stepped back does not make later frames earlier.
            previous = max(previous, local_ns + skew_ns)
            yield Arrival(min(message.ts, previous) if message.ts else previous, previous, message)
        for example in report.examples:
            self._warn(example)


def _decoded(recording: Recording, report: RecordingReport) -> Iterator[tuple[int, Message]]:
    """Yield local time and message of every frame that says something, and count the rest in `report`."""
    reader = RecordingReader(recording.path)
    decoder = BinanceDecoder({spec.symbol: spec for spec in recording.instruments})
    for local_ns, raw in reader:
        report.frames += 1
        try:
            message = decoder.decode(raw)
        except CodecError as error:
            kind = error.reason.value
            if kind not in report.bad_frames:
                report.examples.append(f"{recording.path}: frame {report.frames}: {error}")
            report.bad_frames[kind] = report.bad_frames.get(kind, 0) + 1
            continue
        if message is not None:
            report.decoded += 1
            yield local_ns, message
    report.ignored = dict(decoder.ignored)
    report.odd_lots = decoder.odd_lots
    report.bad_lines = {fault.value: count for fault, count in reader.stats.faults.items()}
    report.examples += [str(where) for where in reader.stats.first.values()]


def with_mid_marks(
    arrivals: Iterator[Arrival], instruments: Sequence[str], specs: dict[str, Instrument], interval_ns: int
) -> Iterator[Arrival]:
    """Yield `arrivals` and, for `instruments`, a mark price at the mid of the first quote of each interval.

    For recordings without a mark stream: the venue's own mark is a median of index and book prices (see
    venues/rules), which nothing in such a recording tells. Intervals are multiples of `interval_ns` since the epoch.
    """
    marked = dict.fromkeys(instruments, 0)
    for arrival in arrivals:
        yield arrival
        quote = arrival.message
        if isinstance(quote, Quote) and quote.instrument in marked:
            slot = arrival.venue_ns // interval_ns
            if slot > marked[quote.instrument]:
                marked[quote.instrument] = slot
                mid = specs[quote.instrument].price(quote.bid + quote.ask) / Decimal(2)
                mark: Report = MarkPrice(arrival.venue_ns, quote.instrument, mid)
                yield Arrival(arrival.venue_ns, arrival.local_ns, mark)
