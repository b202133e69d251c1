"""Decides how a scrape is cut into pieces small enough that the cell does not wait for it."""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from actors.cell import Cell
from actors.counting import Histogram
from daemon.config_schema import RunConfig
from daemon.metrics.desk_families import DESK
from daemon.metrics.edge_families import EDGES
from daemon.metrics.edges import EdgeStats
from daemon.metrics.families import PREFIX, Family, Kind, Scrape
from daemon.metrics.order_families import ORDERS
from daemon.metrics.positions import Survey
from venues.model.account import MarginMode

PIECE: Final = 20
"""Samples rendered in one go: a fifth of a millisecond at 5 to 8 us each."""

FAMILIES: Final = (*DESK, *ORDERS, *EDGES)


class DeskCollector(Collector):
    """Reads a live desk when somebody scrapes: its actors, its dispatcher and its edges, all from one thread.

    `clock` gives the desk's time in ns, `build` is the build's id (`version+digest`). Nothing is written and nothing
    is kept from one scrape to the next.
    """

    def __init__(self, cell: Cell, edges: EdgeStats, config: RunConfig, clock: Callable[[], int], build: str) -> None:
        self.edges = edges
        self._cell = cell
        self._config = config
        self._clock = clock
        self._build = build
        self._process = ProcessCollector(registry=None)
        modes = {account.id: account.margin_mode for account in config.accounts.values()}
        self._isolated = [account for account, mode in modes.items() if mode is MarginMode.ISOLATED]

    def collect(self) -> Iterable[Metric]:
        """Return whole families, all at once: for a registry, where nothing waits."""
        whole: list[Metric] = []
        for piece in self.pieces():
            if piece is None:
                continue
            if whole and whole[-1].name == piece.name:
                whole[-1].samples.extend(piece.samples)
            else:
                whole.append(piece)
        return whole

    def pieces(self) -> Iterator[Metric | None]:
        """Yield families in pieces; one that bears the name of the last continues it. None: a good moment to pause.

        The desk may move on between two pieces.
        """
        scrape = Scrape(self._cell, self.edges, self._config, self._clock())
        yield from self._survey(scrape)
        yield self._build_info()
        for family in FAMILIES:
            yield from _pieces(family, scrape)
        # Empty where there is no /proc.
        yield from self._process.collect()

    def _survey(self, scrape: Scrape) -> Iterator[None]:
        survey = Survey(scrape.ledger, scrape.margin, scrape.statistics.state, self._isolated)
        for one in survey.facts(scrape.now):
            scrape.facts.append(one)
            yield None
        scrape.highest_leverage = survey.highest_leverage(scrape.facts)

    def _build_info(self) -> Metric:
        version, _, digest = self._build.partition("+")
        values = {"version": version, "build": digest, "config": self._config.sha256[:12]}
        return InfoMetricFamily(
            f"{PREFIX}build", "What runs: version, digest of the sources, of the configuration.", values
        )


def _pieces(family: Family, scrape: Scrape) -> Iterator[Metric]:
    """Yield the family's known series in pieces; nothing when none is known."""
    piece = _empty(family)
    for labels, value in family.read(scrape):
        if isinstance(piece, HistogramMetricFamily):
            assert isinstance(value, Histogram)
            piece.add_metric(labels, _buckets(family, value), value.total / family.unit)
        else:
            assert not isinstance(value, Histogram)
            piece.add_metric(labels, float(value))
        if len(piece.samples) >= PIECE:
            yield piece
            piece = _empty(family)
    if piece.samples:
        yield piece


def _empty(family: Family) -> GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily:
    if family.kind is Kind.GAUGE:
        return GaugeMetricFamily(family.name, family.help, labels=family.labels)
    if family.kind is Kind.COUNTER:
        return CounterMetricFamily(family.name, family.help, labels=family.labels)
    return HistogramMetricFamily(family.name, family.help, labels=family.labels)


def _buckets(family: Family, one: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound / family.unit) for bound in family.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(one.counts)), strict=True))
