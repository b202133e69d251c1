"""What a metric family is: its name and meaning, where its series are read, and in which pieces they are told."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import accumulate
from typing import Final, Generic, TypeVar

from attrs import frozen
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from actors.counting import Histogram

PREFIX: Final = "basisd_"
PIECE: Final = 20
"""Samples rendered in one go: a fifth of a millisecond at 5 to 8 us each."""

S = TypeVar("S")

Labels = tuple[str, ...]
Value = int | float | Decimal | Histogram
Series = Iterable[tuple[Labels, Value]]


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@frozen
class Family(Generic[S]):
    """One metric. `read` yields its known series: one that is not known is not yielded, never zero or NaN.

    Of a histogram `bounds` are the buckets, and its observations are in parts of `unit`: 1e9 for ns of a second.
    """

    kind: Kind
    name: str
    help: str
    labels: Labels
    read: Callable[[S], Series]
    bounds: Sequence[int] = ()
    unit: int = 1

    def pieces(self, scrape: S) -> Iterator[Metric]:
        """Yield the known series in pieces; nothing when none is known."""
        piece = self._empty()
        for labels, value in self.read(scrape):
            if isinstance(piece, HistogramMetricFamily):
                assert isinstance(value, Histogram)
                piece.add_metric(labels, self._buckets(value), value.total / self.unit)
            else:
                assert not isinstance(value, Histogram)
                piece.add_metric(labels, float(value))
            if len(piece.samples) >= PIECE:
                yield piece
                piece = self._empty()
        if piece.samples:
            yield piece

    def _empty(self) -> GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily:
        if self.kind is Kind.GAUGE:
            return GaugeMetricFamily(self.name, self.help, labels=self.labels)
        if self.kind is Kind.COUNTER:
            return CounterMetricFamily(self.name, self.help, labels=self.labels)
        return HistogramMetricFamily(self.name, self.help, labels=self.labels)

    def _buckets(self, one: Histogram) -> list[tuple[str, float]]:
        bounds = [*(str(bound / self.unit) for bound in self.bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(one.counts)), strict=True))


def gauge(name: str, labels: str, text: str, read: Callable[[S], Series]) -> Family[S]:
    return Family(Kind.GAUGE, PREFIX + name, text, tuple(labels.split()), read)


def counter(name: str, labels: str, text: str, read: Callable[[S], Series]) -> Family[S]:
    """`name` ends in _total."""
    return Family(Kind.COUNTER, PREFIX + name, text, tuple(labels.split()), read)


def histogram(
    name: str, labels: str, text: str, read: Callable[[S], Series], bounds: Sequence[int], unit: int
) -> Family[S]:
    return Family(Kind.HISTOGRAM, PREFIX + name, text, tuple(labels.split()), read, bounds, unit)


def known(value: Value | None, *labels: str) -> Series:
    """Return the one series of a value, or none."""
    return [] if value is None else [(labels, value)]


def whole(pieces: Iterable[Metric | None]) -> list[Metric]:
    """Return families in one piece each: for a registry, where nothing waits."""
    found: list[Metric] = []
    for piece in pieces:
        if piece is None:
            continue
        if found and found[-1].name == piece.name:
            found[-1].samples.extend(piece.samples)
        else:
            found.append(piece)
    return found
