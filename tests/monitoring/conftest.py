"""One played desk for all tests of the monitoring."""

import pytest
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
