"""How fast the compiled venue is, beside hftbacktest and beside what numba can do at all, in one run.

The feed is 2,000,000 rows of a market made from a seed (tests/harness/long_rows.py). hftbacktest runs where `make
differential` has installed it; without it its figures are missing. The bare loop keeps one book side by side in plain
arrays with its best prices and nothing else.
"""

import gc
import sys
from collections.abc import Callable, Collection
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "harness"))

from hft_process import Settings, interpreter, reference_rate
from hft_rows import write_events
from long_rows import long_rows

from actors.base import Actor
from actors.cell import Cell
from actors.messages import OrderRequest
from actors.strategies.base import Strategy, StrategyState
from daemon.app import build_actors
from daemon.collector import rare_collections
from daemon.config import parse
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.log import RunLog
from daemon.seats import build_seats
from sim.block_driver import BlockDriver
from sim.compiled_run import CompiledRun
from sim.core import Core
from sim.kernel.compiled import compiled
from sim.kernel.desk import DONE, OPEN, Desk
from sim.kernel.feed import Feed, play_books
from sim.kernel.layout import IMMEDIATE, NO_LIMIT, POST_ONLY, Kernel, make_kernel, with_pages, with_prices
from sim.kernel.requests import ask_cancel, release, submit
from sim.latency import Latencies
from sim.queue_models import make_queue_model
from sim.rows import BUY, COLUMNS, DEPTH, Rows
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, Side, TimeInForce

_ROOT = Path(__file__).resolve().parents[1]
_PERP = "binance_usdm:BTCUSDT"
_BLOCK = 1 << 17
_FAR_TICKS = 200
_TRADING = ("feed_handler", "risk_gate", "order_manager")
_INTERVAL_NS = 100_000_000
_LATENCY_NS = 1_000_000
_DEPTH = 5
_SPEC = Instrument(
    "sim", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001"), max_leverage=125,
    brackets=(Bracket(Decimal(0), Decimal("1e12"), Decimal("0.004"), Decimal(0), 125),),
)  # fmt: skip


@compiled
def _quote(k: Kernel, d: Desk, state: Any) -> Any:
    """Keep one lot post-only at each touch within ten lots, as the reference does."""
    clock = d.clock[0]
    has_bid, has_ask = False, False
    bid, ask = k.best[2], k.best[3]
    for at in range(len(state)):
        order = state[at]
        if order < 0:
            continue
        if d.sent[order].status == DONE:
            # Until nothing about it is under way, the slot is kept.
            if release(k, d, order):
                state[at] = -1
        elif k.orders[order].side == 0 and k.orders[order].ticks == bid:
            has_bid = True
        elif k.orders[order].side == 1 and k.orders[order].ticks == ask:
            has_ask = True
        elif d.sent[order].status == OPEN:
            ask_cancel(d, order)
    for side in range(2):
        has = has_bid if side == 0 else has_ask
        held = d.positions[0] if side == 0 else -d.positions[0]
        if not has and held < 10:
            for at in range(len(state)):
                if state[at] < 0:
                    state[at] = submit(k, d, 0, side, bid if side == 0 else ask, 1, POST_ONLY, at)
                    break
    return clock.now + _INTERVAL_NS


@compiled
def _flood(k: Kernel, d: Desk, state: Any) -> Any:
    """Act every millisecond on every slot of `state`: send an order into the book, cancel it, send again.

    `state` counts the calls in its first place; one order in sixteen takes instead.
    """
    clock = d.clock[0]
    number = state[0]
    state[0] += 1
    for at in range(1, len(state)):
        order = state[at]
        if order >= 0 and d.sent[order].status == DONE and release(k, d, order):
            order = -1
        if order >= 0:
            if d.sent[order].status == OPEN:
                ask_cancel(d, order)
        elif (number + at) % 16:
            side, deep = at & 1, 1 + (number + at) % 20
            price = k.best[2] - deep if side == 0 else k.best[3] + deep
            order = submit(k, d, 0, side, price, 1, POST_ONLY, number)
        else:
            side = 1 if d.positions[0] > 0 else 0
            order = submit(k, d, 0, side, NO_LIMIT if side == 0 else -NO_LIMIT, 1, IMMEDIATE, number)
        state[at] = order
    return clock.now + 1_000_000


@njit
def _bare_book(kind: Any, flags: Any, ticks: Any, lots: Any, bids: Any, asks: Any, low: int) -> int:
    best_bid, best_ask = -1, len(asks)
    for row in range(len(kind)):
        if kind[row] != DEPTH:
            continue
        at, new = ticks[row] - low, lots[row]
        if flags[row] & BUY:
            bids[at] = new
            if new > 0:
                best_bid = max(best_bid, at)
            elif at == best_bid:
                while best_bid >= 0 and bids[best_bid] == 0:
                    best_bid -= 1
        else:
            asks[at] = new
            if new > 0:
                best_ask = min(best_ask, at)
            elif at == best_ask:
                while best_ask < len(asks) and asks[best_ask] == 0:
                    best_ask += 1
    return best_bid + best_ask


def _account() -> Account:
    return Account("me", "sim", {"USDT": Decimal(10_000_000)}, leverage={_SPEC.id: 20})


def _compiled_run(decide: Any, state: Any) -> CompiledRun:
    fees = FeeTable(FeeSchedule(Decimal("0.0002"), Decimal("0.0005")))
    latencies = Latencies.constant(_LATENCY_NS, _LATENCY_NS)
    return CompiledRun([_SPEC], _account(), fees, decide, state, latencies=latencies)


def _books(rows: Rows) -> float:
    feed = Feed(**{name: getattr(rows, name) for name in COLUMNS})
    kernel = make_kernel(1)
    for side in range(2):
        kernel = with_prices(kernel, side, int(rows.ticks.min()), int(rows.ticks.max()))
    kernel = with_pages(kernel, 64)
    began = perf_counter()
    assert play_books(kernel, feed, 0) == len(rows)
    return perf_counter() - began


def _bare(rows: Rows) -> float:
    low, width = int(rows.ticks.min()), int(rows.ticks.max() - rows.ticks.min()) + 1
    bids, asks = np.zeros(width, np.int64), np.zeros(width, np.int64)
    began = perf_counter()
    _bare_book(rows.kind, rows.flags, rows.ticks, rows.lots, bids, asks, low)
    return perf_counter() - began


def _quoting(rows: Rows) -> tuple[float, int]:
    run = _compiled_run(_quote, np.full(16, -1, np.int64))
    began = perf_counter()
    result = run.run([rows])
    return perf_counter() - began, len(result.fills)


def _flooding(rows: Rows) -> tuple[float, int]:
    state = np.full(65, -1, np.int64)
    state[0] = 0
    run = _compiled_run(_flood, state)
    began = perf_counter()
    result = run.run([rows])
    return perf_counter() - began, result.orders


class _Watch(Strategy):
    """Looks at every view of the perpetual and trades when it has moved far."""

    publishes = (*Strategy.publishes, OrderRequest)  # type: ignore[assignment]
    State = StrategyState
    last = 0
    orders = 0

    def on_book(self, now: int, view: Any) -> None:
        if abs(view.bid - self.last) < _FAR_TICKS or self.state.is_stopping:
            return
        if self.last:
            side = Side.BUY if view.bid > self.last else Side.SELL
            self.orders += 1
            price = self.price(_PERP, view.ask + 5 if side is Side.BUY else view.bid - 5)
            name = f"w{self.orders}"
            self.out.emit(
                OrderRequest(
                    now, name, self.name, "", "futures", _PERP, side, Decimal("0.001"), OrderType.LIMIT, price,
                    TimeInForce.IOC,
                )
            )  # fmt: skip
        self.last = view.bid


def _deciding(rows: Rows, names: Collection[str] = ()) -> tuple[float, int]:
    """The desk over blocks, deciding every 100 ms, its log included: all of its actors, or those of `names`."""
    config = parse((_ROOT / "configs/demo.toml").read_text().partition("[[strategies]]")[0], Path("demo.toml"), KINDS)
    specs = dict(sorted(config.instruments.items(), key=lambda one: one[0] != _PERP))
    core = Core.make([(spec, make_queue_model("risk_averse")) for spec in specs.values()])
    seats = build_seats(config, core)
    start = int(rows.venue_ns[0])
    with TemporaryDirectory() as folder:
        log = RunLog.create(Path(folder) / "log", "", "", "bench", start, durable=False)
        chosen = [actor.name for actor in build_actors(config) if not names or actor.name in names]
        cell = Cell(lambda: [*_named(config, chosen), _Watch(specs, name="watch")], sink=log)
        accounts = {account.id: seats[account.venue] for account in config.accounts.values()}
        markets = {name: seats[spec.venue] for name, spec in specs.items()}
        driver = BlockDriver(cell, core, accounts, markets, log, depth=_DEPTH)
        gc.collect()
        with rare_collections():
            began = perf_counter()
            result = driver.run((rows.slice(at, at + _BLOCK) for at in range(0, len(rows), _BLOCK)), start)
            seconds = perf_counter() - began
        assert result.halt is None, result.halt
        log.abandon()
    return seconds, result.intents


def _named(config: RunConfig, names: Collection[str]) -> list[Actor]:
    return [actor for actor in build_actors(config) if actor.name in names]


def _timed(measure: Callable[[], Any], repeats: int) -> list[Any]:
    measure()
    gc.collect()
    return [measure() for _ in range(repeats)]


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians: rows a second by what is done with them, orders a second, and ratios to hftbacktest."""
    rows = long_rows()
    count = len(rows)
    found = {
        "bare_book_rows_per_s": count / median(_timed(lambda: _bare(rows), repeats)),
        "book_rows_per_s": count / median(_timed(lambda: _books(rows), repeats)),
    }
    found["book_of_bare_ratio"] = found["book_rows_per_s"] / found["bare_book_rows_per_s"]
    quoted = _timed(lambda: _quoting(rows), repeats)
    found["quoting_rows_per_s"] = count / median(seconds for seconds, _ in quoted)
    found["quoting_fills"] = quoted[0][1]
    if interpreter() is not None:
        with TemporaryDirectory() as folder:
            events = write_events(Path(folder) / "events.npz", rows, 0.1, 0.001)
            for depth in ("hash", "roi"):
                settings = Settings(0.1, 0.001, _LATENCY_NS, _LATENCY_NS, depth=depth)
                other = reference_rate(events, settings, "quote", repeats)
                found[f"hftbacktest_{depth}_rows_per_s"] = other.median
                found[f"quoting_over_hftbacktest_{depth}"] = found["quoting_rows_per_s"] / other.median
            found["hftbacktest_fills"] = len(other.fills)
    flooded = _timed(lambda: _flooding(rows.slice(0, count // 20)), repeats)
    found["orders_per_s"] = median(orders / seconds for seconds, orders in flooded)
    decided = _timed(lambda: _deciding(rows), repeats)
    found["actors_rows_per_s"] = count / median(seconds for seconds, _ in decided)
    found["actors_intents"] = decided[0][1]
    few = _timed(lambda: _deciding(rows, _TRADING), repeats)
    found["trading_actors_rows_per_s"] = count / median(seconds for seconds, _ in few)
    return found
