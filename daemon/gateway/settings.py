"""How a venue's endpoints of the configuration are used by what speaks to it."""

from daemon.config_endpoints import Endpoints
from venues.binance.settings import LIFETIME_S, BinanceMarket, GatewaySettings

_NS_PER_MS = 1_000_000


def gateway_settings(venue: str, market: str, endpoints: Endpoints, *, wants_market: bool = True) -> GatewaySettings:
    """Return how a venue's endpoints are used. The day after which it cuts connections is one of its own time."""
    return GatewaySettings(
        venue=venue,
        market=BinanceMarket(market),
        rest=endpoints.rest,
        ws_public=endpoints.ws_public,
        ws_market=endpoints.ws_market or endpoints.ws_public,
        ws_private=endpoints.ws_private or endpoints.ws_public,
        ws_api=endpoints.ws_api,
        recv_window_ms=endpoints.recv_window_ns // _NS_PER_MS,
        wants_market=wants_market,
        lifetime_s=LIFETIME_S / endpoints.speed,
        speed=endpoints.speed,
    )
