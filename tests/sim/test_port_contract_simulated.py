"""The simulated venue keeps the port's contract."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import pytest
import trio
from port_contract_accounts import CASES
from port_desk import PortDesk

from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import BookSnapshot, Command, MarkPrice, Message, Trade

D = Decimal
PERP = Instrument(
    "SIM",
    "BTCUSDT",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USDT",
    D("0.1"),
    D("0.001"),
    min_qty=D("0.002"),
    max_qty=D(1000),
    min_notional=D(100),
    max_leverage=125,
    brackets=(Bracket(D(0), D(10**9), D("0.004"), D(0), 125),),
)
STEP_NS = 10_000_000
PATIENCE_STEPS = 1_000


class SimulatedPort:
    """A simulated venue whose time passes only while somebody waits."""

    def __init__(self) -> None:
        self.account, self.perp, self.prefix = "me", PERP, "c"
        self.heard: list[Message] = []
        self._now = 1_768_492_800_000_000_000
        account = Account("me", "SIM", {"USDT": D(10_000)})
        self._venue = SimVenue("SIM", [PERP], [account], FeeTable(FeeSchedule(D("0.0002"), D("0.0005"))))
        bids = [(600_000 - step, 50_000) for step in range(100)]
        asks = [(600_001 + step, 50_000) for step in range(100)]
        self._venue.on_market(self._now, BookSnapshot(self._now, PERP.id, 1, bids, asks))
        self._venue.on_market(self._now, Trade(self._now, PERP.id, 1, 600_000, 1, Side.SELL))
        self._venue.on_market(self._now, MarkPrice(self._now, PERP.id, D("60000.05")))

    def now(self) -> int:
        return self._now

    def send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self.heard += self._venue.on_command(self._now, command)

    async def wait(self, is_heard: Callable[[], bool]) -> bool:
        for _ in range(PATIENCE_STEPS):
            if is_heard():
                return True
            await self.pass_time(STEP_NS)
        return False

    async def pass_time(self, ns: int) -> None:
        self._now += ns
        self.heard += self._venue.on_time(self._now)


@pytest.mark.parametrize("name", CASES)
def test_the_simulated_venue_keeps_the_contract(name: str) -> None:
    async def play() -> None:
        desk = PortDesk(SimulatedPort())
        await desk.begin()
        await CASES[name](desk)

    trio.run(play)
