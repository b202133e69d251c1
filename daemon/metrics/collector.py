"""Decides how a scrape is cut into pieces small enough that the cell does not wait for it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from actors.cell import Cell
from daemon.config_schema import RunConfig
from daemon.metrics.desk_families import DESK
from daemon.metrics.edge_families import EDGES
from daemon.metrics.edges import EdgeStats
from daemon.metrics.family import PREFIX, whole
from daemon.metrics.order_families import ORDERS
from daemon.metrics.positions import Survey
from daemon.metrics.scrape import Scrape
from venues.model.account import MarginMode

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

    def note_failed_scrape(self) -> None:
        self.edges.scrapes_failed += 1

    def collect(self) -> Iterable[Metric]:
        """Return whole families, all at once: for a registry, where nothing waits."""
        return whole(self.pieces())

    def pieces(self) -> Iterator[Metric | None]:
        """Yield families in pieces; one that bears the name of the last continues it. None: a good moment to pause.

        The desk may move on between two pieces.
        """
        scrape = Scrape(self._cell, self.edges, self._config, self._clock())
        yield from self._survey(scrape)
        yield self._build_info()
        for family in FAMILIES:
            yield from family.pieces(scrape)
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
