"""A real desk after a minute and a half of market: it traded, it was paid funding, it still holds a basket."""

import re
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from actors.cell import Cell
from actors.dispatcher import Intent
from daemon.app import build_cell
from daemon.config import parse
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.market import open_market
from daemon.metrics.collector import DeskCollector
from daemon.metrics.edges import EdgeStats
from daemon.seats import build_seats, markets
from sim.clocks import ClockStatistics, two_clocks
from sim.driver import Driver

ROOT = Path(__file__).resolve().parents[2]
SECOND = 1_000_000_000
BUILD = "1.2.3+abcdef012345"

_CHANGES = {
    "duration": '"90s"',
    "start": '"2026-01-15T15:59:30Z"',
    "entry_bps": '"-100"',
    "exit_bps": '"-200"',
    "max_hold": '"50s"',
    "cooldown": '"5s"',
}
"""The demo over its funding stamp, with a strategy that opens at once and closes by the clock."""


class _NoLog:
    def intents(self, intents: Sequence[Intent]) -> None:
        pass

    def commit(self) -> None:
        pass


@frozen
class PlayedDesk:
    config: RunConfig
    cell: Cell
    now: int

    def collector(self, edges: EdgeStats | None = None) -> DeskCollector:
        return DeskCollector(self.cell, edges or EdgeStats(), self.config, lambda: self.now, BUILD)


def demo_config() -> RunConfig:
    path = ROOT / "configs" / "demo.toml"
    text = path.read_text()
    for key, value in _CHANGES.items():
        text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    return parse(text, path, KINDS)


def play() -> PlayedDesk:
    config = demo_config()
    cell = build_cell(config)
    seats = build_seats(config)
    accounts = {account.id: seats[account.venue] for account in config.accounts.values()}
    driver = Driver(cell, accounts, markets(config, seats), _NoLog())
    market = open_market(config, lambda _: None)
    result = driver.run(two_clocks(market.arrivals, ClockStatistics()), market.start_ns)
    assert result.halt is None
    return PlayedDesk(config, cell, result.end_ns)


def noted_edges(config: RunConfig, now: int) -> EdgeStats:
    """Return edges that know everything an edge can know."""
    edges = EdgeStats(started_ns=now - 90 * SECOND, restarts=1)
    edges.note_dispatch(40_000)
    edges.note_dispatch(300_000_000)
    edges.note_commit(90_000)
    edges.note_commit_failed()
    for venue in config.venues:
        edges.note_request(venue, "submit", 30_000_000)
        edges.note_request(venue, "query", 80_000_000, is_ok=False)
        edges.note_reconnect(venue)
        edges.note_clock_offset(venue, -3_000_000)
    for account in config.accounts:
        edges.note_dead_man(account, now + 60 * SECOND)
    for instrument in config.instruments:
        edges.note_frame(instrument, now - SECOND)
    edges.note_adl_rank("futures", "binance_usdm:BTCUSDT", 2)
    edges.note_guard(is_up=True, is_in_charge=False)
    edges.note_watchdog(now - SECOND)
    edges.note_admin_call("view", "status")
    edges.note_edge_restart("venue_link")
    edges.notices["webhook"] = {"sent": 2, "failed": 1, "dropped": 0}
    return edges
