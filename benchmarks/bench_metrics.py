"""How long a scrape of 1,000 series holds up the cell at most, and how long it takes in all."""

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Any

from attrs import evolve
from prometheus_client.exposition import choose_encoder, generate_latest

from actors.cell import Cell
from actors.dispatcher import Intent
from daemon.app import build_cell
from daemon.config import parse
from daemon.config_schema import RunConfig
from daemon.init import text
from daemon.kinds import KINDS
from daemon.market import open_market
from daemon.metrics.collector import DeskCollector
from daemon.metrics.edges import EdgeStats
from daemon.metrics.server import render
from daemon.seats import build_seats, markets
from sim.clocks import ClockStatistics, two_clocks
from sim.driver import Driver

SERIES = 1_000
SCRAPES = 50
PAIRS = 7
_S = 1_000_000_000


class _NoLog:
    def intents(self, intents: Sequence[Intent]) -> None:
        pass

    def commit(self) -> None:
        pass


def _config() -> RunConfig:
    """Return the configuration that `basisd init` writes for 20 seconds, with many pairs in the place of one."""
    changed = text().replace('"10m"', '"20s"').replace('"12" ', '"-50"')
    # More pairs than the guard of size lets a desk hold.
    one = parse(changed.replace("[guards]\n", "[guards.size]\nopen_positions_max = 50\n\n[guards]\n"), "bench", KINDS)
    market: Any = one.market
    specs, made, strategies = {}, [], {}
    for number in range(PAIRS):
        symbol = f"C{number}USDT"
        for spec in one.instruments.values():
            own = evolve(spec, symbol=symbol, base=f"C{number}")
            specs[own.id] = own
        made += [
            evolve(each, instrument=f"{each.instrument.partition(':')[0]}:{symbol}") for each in market.instruments
        ]
        for strategy in one.strategies.values():
            params = evolve(strategy.params, spot=f"binance_spot:{symbol}", perpetual=f"binance_usdm:{symbol}")
            strategies[f"carry{number}"] = evolve(strategy, id=f"carry{number}", params=params)
    accounts = {account.id: evolve(account, leverage={}) for account in one.accounts.values()}
    changes: dict[str, Any] = {"instruments": specs, "strategies": strategies, "accounts": accounts}
    return evolve(one, market=evolve(market, instruments=tuple(made)), **changes)


def _played() -> tuple[RunConfig, Cell, int]:
    config = _config()
    cell, seats = build_cell(config), build_seats(config)
    accounts = {account.id: seats[account.venue] for account in config.accounts.values()}
    market = open_market(config, lambda _: None)
    driver = Driver(cell, accounts, markets(config, seats), _NoLog())
    result = driver.run(two_clocks(market.arrivals, ClockStatistics()), market.start_ns)
    return config, cell, result.end_ns


def _edges(config: RunConfig, now: int) -> EdgeStats:
    edges = EdgeStats(started_ns=now - 20 * _S, restarts=0)
    edges.note_dispatch(40_000)
    edges.note_commit(90_000)
    for venue in config.venues:
        for kind in ("submit", "cancel", "query"):
            edges.note_request(venue, kind, 30_000_000)
        edges.note_clock_offset(venue, 1_000_000)
    for instrument in config.instruments:
        edges.note_frame(instrument, now)
    return edges


def _scrape(collector: DeskCollector, encode: Callable[..., bytes]) -> tuple[int, int, int, int]:
    """Return the longest time between two pauses, of the clock and of the processor, all of the time, the series."""
    longest = busiest = series = 0
    began = at = perf_counter_ns()
    busy = thread_time_ns()
    for piece in render(collector, encode):
        longest, busiest = max(longest, perf_counter_ns() - at), max(busiest, thread_time_ns() - busy)
        series += sum(1 for line in piece.splitlines() if not line.startswith(b"#"))
        at, busy = perf_counter_ns(), thread_time_ns()
    return longest, busiest, at - began, series


def run(repeats: int = 5) -> dict[str, float]:
    """Return over all scrapes: series, the longest slices and the whole as medians, the worst slices.

    The worst by the clock has in it what other processes took of the machine, the worst by the processor has not.
    """
    config, cell, now = _played()
    collector = DeskCollector(cell, _edges(config, now), config, lambda: now, "1.0+bench")
    results = {}
    openmetrics, _ = choose_encoder("application/openmetrics-text; version=1.0.0")
    for name, encode in (("text", generate_latest), ("openmetrics", openmetrics)):
        _scrape(collector, encode)
        scrapes = [_scrape(collector, encode) for _ in range(SCRAPES * repeats)]
        assert min(series for *_, series in scrapes) >= SERIES
        results[f"{name}_series"] = median(series for *_, series in scrapes)
        results[f"{name}_longest_slice_us"] = median(longest for longest, *_ in scrapes) / 1e3
        results[f"{name}_worst_slice_us"] = max(longest for longest, *_ in scrapes) / 1e3
        results[f"{name}_worst_slice_cpu_us"] = max(busiest for _, busiest, *_ in scrapes) / 1e3
        results[f"{name}_total_ms"] = median(total for *_, total, _ in scrapes) / 1e6
    return results
