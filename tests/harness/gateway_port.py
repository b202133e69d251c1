"""A gateway to an emulator as a port: real sockets, and a clock that both sides share."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio
from emulator_here import EmulatorHere, emulator

from sim.emulator.host import HostSettings
from venues.binance.gateway import BinanceGateway
from venues.model.instrument import Instrument
from venues.port import Command, Message, VenueUp

ACCOUNT: Final = "me"
PATIENCE_S: Final = 20.0
"""How long something may take that happens within milliseconds on a machine that does nothing else."""

_LOOK_S: Final = 0.01


class GatewayPort:
    """What is heard of a gateway, and time that passes for emulator and gateway together."""

    def __init__(self, here: EmulatorHere, perp: Instrument, others: Sequence[Instrument] = ()) -> None:
        self.account, self.perp, self.prefix = ACCOUNT, perp, f"c{here.clock.now() // 1_000_000}-"
        self.heard: list[Message] = []
        self.here = here
        self.gateway = BinanceGateway(
            here.settings, {ACCOUNT: here.keys}, [perp, *others], self.heard.extend, here.clock.now
        )

    def now(self) -> int:
        return self.here.clock.now()

    def send(self, commands: Sequence[Command]) -> None:
        self.heard += self.gateway.send(commands)

    async def wait(self, is_heard: Callable[[], bool]) -> bool:
        with trio.move_on_after(PATIENCE_S):
            while not is_heard():
                await trio.sleep(_LOOK_S)
            return True
        return False

    async def pass_time(self, ns: int) -> None:
        self.here.clock.jump(ns)
        self.here.host.advance(self.now())
        await trio.sleep(_LOOK_S)

    def is_up(self) -> bool:
        """Whether the venue is up, and orders go the way they are meant to."""
        is_logged_on = not self.here.settings.ws_api or self.gateway.counters.get("accounts.me.session.is_up")
        return bool(is_logged_on) and any(isinstance(one, VenueUp) and not one.channel for one in self.heard)


@asynccontextmanager
async def gateway_port(
    settings: HostSettings | None = None, *, is_session: bool = True, by_rest: bool = False
) -> AsyncIterator[GatewayPort]:
    """Run emulator and gateway until the block is left; they are up when it is entered."""
    async with emulator(settings, is_session=is_session, by_rest=by_rest) as here:
        port = GatewayPort(here, here.instrument("BTCUSDT"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(port.gateway.run)
            assert await port.wait(port.is_up), port.gateway.counters
            yield port
            nursery.cancel_scope.cancel()
