"""The gateway keeps the port's contract, against the emulator over real sockets: by WebSocket API and by REST."""

import pytest
import trio
from gateway_port import gateway_port
from port_contract_accounts import CASES
from port_desk import PortDesk


async def _play(name: str, *, is_session: bool, by_rest: bool) -> None:
    async with gateway_port(is_session=is_session, by_rest=by_rest) as port:
        desk = PortDesk(port)
        await desk.begin()
        await CASES[name](desk)


@pytest.mark.parametrize("name", CASES)
def test_a_session_of_the_websocket_api_keeps_the_contract(name: str) -> None:
    trio.run(lambda: _play(name, is_session=True, by_rest=False))


@pytest.mark.parametrize("name", CASES)
def test_orders_by_rest_keep_the_contract(name: str) -> None:
    trio.run(lambda: _play(name, is_session=False, by_rest=True))


@pytest.mark.parametrize("name", ["a_market_order_fills_and_everything_agrees", "a_changed_order_is_what_was_asked"])
def test_a_websocket_api_whose_requests_are_signed_keeps_the_contract(name: str) -> None:
    trio.run(lambda: _play(name, is_session=False, by_rest=False))
