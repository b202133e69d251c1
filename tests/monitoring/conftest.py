"""One played desk, and a gateway, for all tests of the monitoring."""

import pytest
from noted_gateway import noted_gateway
from played_desk import PlayedDesk, noted_edges, play
from prometheus_client.exposition import generate_latest

from daemon.metrics.collector import DeskCollector


@pytest.fixture(scope="session")
def desk() -> PlayedDesk:
    return play()


@pytest.fixture(scope="session")
def collector(desk: PlayedDesk) -> DeskCollector:
    return desk.collector(noted_edges(desk.config, desk.now))


@pytest.fixture(scope="session")
def scrape(collector: DeskCollector) -> str:
    """The text of a scrape of a desk that knows everything."""
    return generate_latest(collector).decode()


@pytest.fixture(scope="session")
def scrapes(scrape: str) -> str:
    """Those of a desk and of a gateway."""
    return scrape + generate_latest(noted_gateway()).decode()
