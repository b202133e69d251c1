"""Which live feeds a simulated venue is played on: the public streams of the venue whose rules it follows."""

from collections.abc import Callable, Sequence
from typing import Protocol

from daemon.config_endpoints import GATEWAYS
from daemon.config_schema import Live, RunConfig
from daemon.gateway.settings import gateway_settings
from venues.binance.book_feed import BinanceFeed
from venues.port import Message


class LiveFeed(Protocol):
    async def run(self) -> None:
        """Keep the streams until cancelled."""


def live_feeds(
    config: RunConfig, arrived: Callable[[Sequence[Message]], None], now: Callable[[], int]
) -> list[LiveFeed]:
    """Return the feeds of a live market, one a venue, none for any other market."""
    if not isinstance(config.market, Live):
        return []
    found: list[LiveFeed] = []
    for venue in config.venues.values():
        assert venue.endpoints is not None
        specs = [one for one in config.instruments.values() if one.venue == venue.id]
        if specs:
            settings = gateway_settings(venue.id, GATEWAYS[venue.rules], venue.endpoints)
            found.append(BinanceFeed(settings, specs, arrived, now))
    return found
