"""What a recorded market holds: frames of several files, decoded, on one timeline with the clock's skew taken out."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from attrs import define, field, frozen
from attrs.validators import gt

from sim.clocks import LOOKAHEAD_NS, Arrival, merge_arrivals
from sim.recording.reader import RecordingReader
from sim.recording.skew import SkewEstimate, SkewEstimator
from venues.binance.codec import BinanceDecoder
from venues.binance.errors import CodecError
from venues.model.instrument import Instrument
from venues.port import MarkPrice, Message, Quote, Report

CLOCK_STEP_NS = 1_000_000_000
"""Going back by less is frames overtaking each other; by more, somebody set the recorder's clock."""


@frozen
class Recording:
    """One file of frames of one market. Files with the same `recorder` were written by the same clock."""

    path: Path
    instruments: tuple[Instrument, ...]
    recorder: str = "default"
    min_feed_latency_ns: int = field(default=1_000_000, validator=gt(0))


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
    off_grid_levels: int = 0
    skew_ns: int = 0
    drift_ns: int | None = None


class NoFramesError(ValueError):
    """Recordings without a single frame that can be used."""


class RecordedMarket:
    """The arrivals of recordings, in order of the corrected local time.

    The first pass estimates each recorder's skew, the second yields. A frame whose venue tells no time is taken to
    have happened when it arrived. A recorder's clock that was set back goes on from where it was.
    `warn` gets one line for each kind of damage in each file.
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
            span = _first_pass(recording, estimator)
            if span is None:
                self._warn(f"{recording.path}: holds no usable frame")
                continue
            estimate = estimator.result()
            report.drift_ns = estimate.drift_ns
            self.skews[recording.recorder] = max(self.skews.get(recording.recorder, 0), estimate.skew_ns)
            spans.append((recording.recorder, *span))
            for warning in _doubts(estimate):
                self._warn(f"{recording.path}: {warning}")
        if not spans:
            raise NoFramesError("no recording holds a usable frame")
        for recording, report in zip(self._recordings, self.reports, strict=True):
            report.skew_ns = self.skews.setdefault(recording.recorder, 0)
        self.start_ns = min(min(first + self.skews[recorder], ts) for recorder, first, ts, _ in spans)
        self.end_ns = max(last + self.skews[recorder] for recorder, _, _, last in spans)

    def __iter__(self) -> Iterator[Arrival]:
        return merge_arrivals(
            self._arrivals(recording, report) for recording, report in zip(self._recordings, self.reports, strict=True)
        )

    def _arrivals(self, recording: Recording, report: RecordingReport) -> Iterator[Arrival]:
        skew_ns = self.skews[recording.recorder]
        previous = 0
        try:
            for local_ns, message in _decoded(recording, report):
                arrived_ns, sent_ns = local_ns + skew_ns, message.ts
                # A frame overtaken by another does not arrive before it.
                arrived_ns = max(arrived_ns, previous)
                previous = arrived_ns
                yield Arrival(sent_ns if 0 < sent_ns < arrived_ns else arrived_ns, arrived_ns, message)
        finally:
            for example in report.examples:
                self._warn(example)


def _steady(reader: RecordingReader) -> Iterator[tuple[int, bytes]]:
    """Yield the frames by a clock that was never set back: what it lost then is added from there on."""
    lost_ns = previous = 0
    for local_ns, raw in reader:
        if local_ns < previous - CLOCK_STEP_NS:
            lost_ns += previous - local_ns
        previous = local_ns
        yield local_ns + lost_ns, raw


def _decoder(recording: Recording) -> BinanceDecoder:
    return BinanceDecoder({spec.symbol: spec for spec in recording.instruments})


def _first_pass(recording: Recording, estimator: SkewEstimator) -> tuple[int, int, int] | None:
    """Show the estimator every frame that could tell it something; None when no frame can be used.

    Returns local and venue time of the first usable frame and the local time of the last frame.
    """
    decoder = _decoder(recording)
    first: tuple[int, int] | None = None
    last = 0
    for local_ns, raw in _steady(RecordingReader(recording.path)):
        last = local_ns
        if first is not None and not estimator.is_news(local_ns, decoder.peek_ns(raw)):
            continue
        try:
            message = decoder.decode(raw)
        except CodecError:
            continue
        if message is not None:
            estimator.add(local_ns, message.ts)
            first = first or (local_ns, message.ts or local_ns)
    return None if first is None else (*first, last)


def _doubts(estimate: SkewEstimate) -> Iterator[str]:
    if estimate.outliers:
        yield "frames claim to be from over a minute after the others; they do not count for the clock's skew"
    if estimate.lead_ns is not None and estimate.lead_ns < -LOOKAHEAD_NS:
        seconds = -estimate.lead_ns // 1_000_000_000
        yield f"no frame arrived within {seconds} s of being sent: the clock was ahead, or the line slow"


def _decoded(recording: Recording, report: RecordingReport) -> Iterator[tuple[int, Message]]:
    """Yield local time and message of every frame that says something, and count the rest in `report`."""
    reader = RecordingReader(recording.path)
    decoder = _decoder(recording)
    decode = decoder.decode
    try:
        for local_ns, raw in _steady(reader):
            report.frames += 1
            try:
                message = decode(raw)
            except CodecError as error:
                kind = error.reason.value
                if kind not in report.bad_frames:
                    report.examples.append(f"{recording.path}: frame {report.frames}: {error}")
                report.bad_frames[kind] = report.bad_frames.get(kind, 0) + 1
                continue
            if message is not None:
                report.decoded += 1
                yield local_ns, message
    finally:
        report.ignored = dict(decoder.ignored)
        report.odd_lots = decoder.odd_lots
        report.off_grid_levels = decoder.off_grid_levels
        if report.off_grid_levels:
            report.examples.append(f"{recording.path}: {report.off_grid_levels} levels between the ticks were left out")
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
