"""What a scrape of a desk sees of it, and how keys of its tables become labels."""

from decimal import Decimal
from typing import Any, TypeVar

from attrs import define, field

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor
from actors.cell import Cell
from actors.counting import OTHER
from actors.execution_tracker import ExecutionTracker
from actors.feed_handler import FeedHandler
from actors.funding_tracker import FundingTracker
from actors.halts import Halts
from actors.kill_switch import KillSwitch
from actors.ledger import Ledger
from actors.margin_monitor import MarginMonitor
from actors.order_manager import OrderManager
from actors.portfolio_guard import PortfolioGuard
from actors.position_synchronizer import PositionSynchronizer
from actors.risk_gate import RiskGate
from actors.statistics import Statistics
from daemon.config_schema import RunConfig
from daemon.metrics.edges import EdgeStats
from daemon.metrics.family import Labels
from daemon.metrics.positions import Facts

_A = TypeVar("_A", bound=Actor)


@define
class Scrape:
    """What the families read, at `now` by the desk's clock; actors anew each time, for a cell may rebuild them."""

    cell: Cell
    edges: EdgeStats
    config: RunConfig
    now: int
    facts: list[Facts] = field(factory=list)
    highest_leverage: Decimal | None = None

    def _actor(self, name: str, kind: type[_A]) -> _A:
        found = self.cell.dispatcher.actors[name]
        if not isinstance(found, kind):
            raise TypeError(f"{name} is a {type(found).__name__}, not a {kind.__name__}")
        return found

    @property
    def ledger(self) -> Ledger:
        return self._actor("ledger", Ledger)

    @property
    def margin(self) -> MarginMonitor:
        return self._actor("margin_monitor", MarginMonitor)

    @property
    def funding(self) -> FundingTracker:
        return self._actor("funding_tracker", FundingTracker)

    @property
    def feeds(self) -> FeedHandler:
        return self._actor("feed_handler", FeedHandler)

    @property
    def risk(self) -> RiskGate:
        return self._actor("risk_gate", RiskGate)

    @property
    def guards(self) -> PortfolioGuard:
        return self._actor("portfolio_guard", PortfolioGuard)

    @property
    def orders(self) -> OrderManager:
        return self._actor("order_manager", OrderManager)

    @property
    def halts(self) -> Halts:
        return self._actor("halts", Halts)

    @property
    def kill(self) -> KillSwitch:
        return self._actor("kill_switch", KillSwitch)

    @property
    def executor(self) -> AtomicExecutor:
        return self._actor("atomic_executor", AtomicExecutor)

    @property
    def sync(self) -> PositionSynchronizer:
        return self._actor("position_synchronizer", PositionSynchronizer)

    @property
    def tracker(self) -> ExecutionTracker:
        return self._actor("execution_tracker", ExecutionTracker)

    @property
    def statistics(self) -> Statistics:
        return self._actor("statistics", Statistics)

    def venue(self, account: str) -> str:
        found = self.config.accounts.get(account)
        return OTHER if found is None else found.venue


def where(instrument: str) -> Labels:
    """Return venue and symbol of an instrument's id; what is no id is both."""
    venue, colon, symbol = instrument.partition(":")
    return (venue, symbol) if colon else (instrument, instrument)


def table(counts: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """Return (first, last, value) of a table whose keys have two parts; an overflow has only a last one."""
    rows = []
    for key, value in counts.items():
        first, bar, last = key.rpartition("|")
        rows.append((first if bar else last, last, value))
    return rows
