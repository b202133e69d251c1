"""Which gateways a configuration means: one for each venue, with the keys of the accounts there."""

from collections.abc import Mapping

from daemon.config_endpoints import Endpoints
from daemon.gateway.keys import Keys
from daemon.gateway.process import RefusedForGoodError
from daemon.gateway.server import Gateway, GatewayServer
from daemon.gateway.setup import GatewaySetup, VenueSetup
from venues.binance.gateway import BinanceGateway
from venues.binance.settings import AccountKeys, BinanceMarket, GatewaySettings, KeyRefusedError

_NS_PER_MS = 1_000_000


def gateway_settings(venue: str, market: str, endpoints: Endpoints, *, wants_market: bool = True) -> GatewaySettings:
    """Return how a venue's endpoints are used."""
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
    )


class _Refusable(BinanceGateway):
    """A gateway whose end by a refused key is the end of the process, and of every one that might follow it."""

    async def run(self) -> None:
        try:
            await super().run()
        except KeyRefusedError as error:
            raise RefusedForGoodError(str(error)) from error


def build_gateways(
    setup: GatewaySetup, keys: Mapping[str, Keys], server: GatewayServer, *, wants_market: bool
) -> dict[str, Gateway]:
    """Return the gateways by venue; they deliver to `server`. Without `wants_market` they open no market streams."""
    return {name: _gateway(one, keys, server, wants_market=wants_market) for name, one in setup.venues.items()}


def _gateway(
    venue: VenueSetup, keys: Mapping[str, Keys], server: GatewayServer, *, wants_market: bool
) -> BinanceGateway:
    accounts = {name: AccountKeys(keys[name].api_key.reveal(), keys[name].signer) for name in venue.accounts}
    settings = gateway_settings(venue.id, venue.market, venue.endpoints, wants_market=wants_market)
    return _Refusable(settings, accounts, venue.instruments.values(), server.deliver, server.now)
