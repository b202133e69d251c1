"""Which gateways a configuration means: one for each venue, with the keys of the accounts there."""

from collections.abc import Mapping

from daemon.gateway.keys import Keys
from daemon.gateway.server import Gateway, GatewayServer, RefusedForGoodError
from daemon.gateway.settings import gateway_settings
from daemon.gateway.setup import GatewaySetup, VenueSetup
from venues.binance.gateway import BinanceGateway
from venues.binance.settings import AccountKeys, KeyRefusedError


class _Refusable(BinanceGateway):
    """A gateway that says of a refused key what the server understands."""

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
