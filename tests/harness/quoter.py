"""A compiled two-sided quoter, and the run it is in: for what must not depend on how a run is cut up, or on latency."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from compiled_market import FEES

from sim.compiled_run import CompiledResult, CompiledRun
from sim.kernel.books import is_level
from sim.kernel.compiled import compiled
from sim.kernel.desk import DONE, Desk
from sim.kernel.layout import POST_ONLY, Kernel
from sim.kernel.requests import ask_cancel, release, submit
from sim.latency import Latencies
from sim.rows import Rows
from venues.model.account import Account
from venues.model.instrument import Instrument


class QuoterState(NamedTuple):
    """`settings`: instrument, lots, largest position in lots, interval ns, wakes_on, flags. By side: the slot of its
    order (-1 none), its price, whether its cancel is sent. `tags` counts orders."""

    settings: Any
    slots: Any
    prices: Any
    canceling: Any
    tags: Any


def quoter(
    instrument: int = 0, lots: int = 1, most: int = 5, interval_ns: int = 500, wakes_on: int = 0, flags: int = POST_ONLY
) -> QuoterState:
    settings = np.array([instrument, lots, most, interval_ns, wakes_on, flags], np.int64)
    zeros = [np.zeros(2, np.int64) for _ in range(3)]
    return QuoterState(settings, zeros[0] - 1, zeros[1], zeros[2], np.zeros(1, np.int64))


@compiled
def quote(k: Kernel, d: Desk, state: QuoterState) -> int:
    """Stand at both best prices of the desk's book, one order a side; one at another price is called back first."""
    instrument, lots, most, interval = state.settings[0], state.settings[1], state.settings[2], state.settings[3]
    clock = d.clock[0]
    clock.wakes_on = state.settings[4]
    bid, ask = k.best[4 * instrument + 2], k.best[4 * instrument + 3]
    if is_level(bid) and is_level(ask) and bid < ask:
        for side in range(2):
            price = bid if side == 0 else ask
            slot = state.slots[side]
            if slot >= 0 and d.sent[slot].status == DONE:
                if release(k, d, slot):
                    state.slots[side] = slot = -1
            elif slot >= 0 and state.prices[side] != price and not state.canceling[side]:
                state.canceling[side] = 1
                ask_cancel(d, slot)
            held = d.positions[instrument] if side == 0 else -d.positions[instrument]
            if slot < 0 and held < most:
                state.slots[side] = submit(k, d, instrument, side, price, lots, state.settings[5], state.tags[0])
                state.prices[side], state.canceling[side] = price, 0
                state.tags[0] += 1
    return int(clock.now + interval)


def run_quoter(
    state: QuoterState,
    blocks: Iterable[Rows],
    specs: Sequence[Instrument],
    latencies: Latencies,
    seed: int = 1,
    model: str = "risk_averse",
    orders_max: int = 1 << 12,
) -> CompiledResult:
    account = Account("a", "V", {"USDT": Decimal(10_000_000)})
    run = CompiledRun(
        specs, account, FEES, quote, state, "binance_usdm", model, latencies, seed, 0, orders_max=orders_max
    )
    return run.run(blocks)


def ledger_hash(result: CompiledResult) -> str:
    """Return a digest of every fill, payment, position and balance; the numbers of instruments and slots are not in."""
    columns = [name for name in result.fills.dtype.names if name not in {"instrument", "order"}]
    fills = [tuple(fill[name].item() for name in columns) for fill in result.fills]
    money = sorted(result.balances.items()), sorted((name, qty) for name, qty in result.positions.items() if qty)
    return sha256(repr((fills, money, result.reports, result.orders)).encode()).hexdigest()
