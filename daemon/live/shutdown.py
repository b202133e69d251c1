"""In which order a desk ends, how long each step may take, and whether it ended as it should."""

from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from actors.basket import ACTIVE
from actors.cell import Cell
from actors.group_messages import GroupState
from actors.messages import BasketState, StopCommand
from daemon.live.driver import LiveCell
from daemon.logs import get_logger

_log = get_logger("shutdown")

_UNDER_WAY = (*ACTIVE, BasketState.PLANNED, BasketState.RESERVED)


@frozen
class StopStep:
    """One step of the stop. `wait` returns when it is done; after `deadline_s` the stop goes on without it."""

    name: str
    deadline_s: float
    wait: Callable[[], Awaitable[None]]


async def run_steps(steps: list[StopStep]) -> list[str]:
    """Run the steps in order, each within its deadline; return the names of those that were not done in time."""
    missed: list[str] = []
    for step in steps:
        with trio.move_on_after(step.deadline_s) as scope:
            await step.wait()
        if scope.cancelled_caught:
            missed.append(step.name)
            _log.error("stop step not done in time", step=step.name, deadline_s=step.deadline_s)
    return missed


class Quiet:
    """Waits for what a cell's actors come to, looking after every pump."""

    def __init__(self, live: LiveCell) -> None:
        self._live = live
        self._pumped = trio.Event()
        live.after_pump.append(self._on_pump)

    def _on_pump(self) -> None:
        self._pumped.set()

    async def until(self, is_so: Callable[[Cell], bool]) -> None:
        """Return once `is_so`; never when the cell has failed."""
        while not is_so(self._live.cell):
            self._pumped = trio.Event()
            await self._pumped.wait()

    async def refuse_intents(self) -> None:
        """Tell the cell to begin nothing more."""
        live = self._live
        if not live.cell.dispatcher.actors["risk_gate"].state.is_stopping:
            live.offer(StopCommand(live.clock.now(), "the daemon stops"))
            live.pump()

    async def baskets_done(self) -> None:
        """Wait until no basket is under way (balanced, flat, denied, or given up with an incident) and none closes."""
        await self.until(lambda cell: not baskets_under_way(cell) and not groups_closing(cell))

    async def orders_gone(self) -> None:
        """Wait until every order is proven to be over."""
        await self.until(lambda cell: not open_orders(cell))


def baskets_under_way(cell: Cell) -> list[str]:
    """Return the ids of the baskets that may still trade."""
    baskets = cell.dispatcher.actors["atomic_executor"].state.baskets
    return [name for name, basket in baskets.items() if basket.state in _UNDER_WAY or basket.is_pending]


def groups_closing(cell: Cell) -> list[str]:
    """Return the ids of brackets whose position is being closed; what other trades netted away cannot be."""
    state = cell.dispatcher.actors["order_groups"].state
    groups = (state.groups[name] for name in state.active)
    return [one.id for one in groups if one.state is GroupState.CLOSING and not one.is_netted]


def open_orders(cell: Cell) -> list[str]:
    """Return the client ids of the orders that are not proven to be over."""
    orders = cell.dispatcher.actors["order_manager"].state.orders
    return [name for name, tracked in orders.items() if not tracked.is_final]
