"""How fast margin and liquidation prices are calculated, one at a time and for arrays."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, TypeVar

import numpy as np

from venues.model.instrument import Bracket
from venues.model.order import PositionSide
from venues.rules.binance_margin import (
    Leg,
    PoolPosition,
    cross_liquidation_price,
    liquidation_price,
    maintenance_margin,
)
from venues.rules.margin_kernel import maintenance_margins, prepare

_T = TypeVar("_T")

CALLS: Final = 20_000
ARRAY: Final = 1_000_000

_ROWS: Final = (
    ("0", "50000", "0.004", "0", 125),
    ("50000", "600000", "0.005", "50", 100),
    ("600000", "3000000", "0.0065", "950", 75),
    ("3000000", "12000000", "0.01", "11450", 50),
    ("12000000", "70000000", "0.02", "131450", 25),
    ("70000000", "100000000", "0.025", "481450", 20),
    ("100000000", "230000000", "0.05", "2981450", 10),
    ("230000000", "480000000", "0.1", "14481450", 5),
    ("480000000", "600000000", "0.125", "26481450", 4),
    ("600000000", "800000000", "0.15", "41481450", 3),
    ("800000000", "1200000000", "0.25", "121481450", 2),
    ("1200000000", "1800000000", "0.5", "421481450", 1),
)
"""BTCUSDT as collected on 2024-10-24."""

TABLE: Final = tuple(
    Bracket(Decimal(floor), Decimal(cap), Decimal(mmr), Decimal(cum), leverage)
    for floor, cap, mmr, cum, leverage in _ROWS
)


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over `repeats` runs: microseconds a call, over inputs that differ, and kernel evaluations/s."""
    rng = random.Random(20241024)
    notionals = [_money(rng, 2, 9) for _ in range(CALLS)]
    singles = [_single(rng) for _ in range(CALLS)]
    pools = [_pool(rng) for _ in range(CALLS // 10)]
    return {
        "margin_maintenance_us": _us(repeats, notionals, lambda each: maintenance_margin(TABLE, each)),
        "margin_liquidation_price_us": _us(repeats, singles, lambda each: liquidation_price(*each)),
        "margin_liquidation_price_pool_of_5_us": _us(
            repeats, pools, lambda each: cross_liquidation_price(each[0], "S0", each[1])
        ),
        "margin_kernel_evaluations_per_s": _kernel(repeats),
    }


def _us(repeats: int, asked: Sequence[_T], answer: Callable[[_T], object]) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        for each in asked:
            answer(each)
        taken.append((time.perf_counter() - start) / len(asked) * 1e6)
    return statistics.median(taken)


def _kernel(repeats: int) -> float:
    table = prepare(TABLE)
    rng = np.random.default_rng(20241024)
    notionals = np.power(10.0, rng.uniform(2, 9, ARRAY)) * rng.choice((-1.0, 1.0), ARRAY)
    out = np.empty_like(notionals)
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        maintenance_margins(table, notionals, out)
        taken.append(time.perf_counter() - start)
    return ARRAY / statistics.median(taken)


def _money(rng: random.Random, low: float, high: float) -> Decimal:
    """A number between 10^low and 10^high, evenly in its logarithm, to the cent."""
    return Decimal(round(10 ** rng.uniform(low, high) * 100)) / 100


def _single(rng: random.Random) -> tuple[Decimal, tuple[Leg, ...]]:
    entry = Decimal(rng.randrange(20_000_00, 90_000_00)) / 100
    qty = _money(rng, -1, 3) * rng.choice((-1, 1))
    wallet = abs(qty) * entry / rng.randrange(2, 20)
    return wallet, (Leg(PositionSide.BOTH, qty, entry, TABLE),)


def _pool(rng: random.Random) -> tuple[Decimal, tuple[PoolPosition, ...]]:
    positions = []
    for number in range(5):
        entry = Decimal(rng.randrange(20_000_00, 90_000_00)) / 100
        qty = _money(rng, -1, 3) * rng.choice((-1, 1))
        mark = entry + Decimal(rng.randrange(-500_00, 500_00)) / 100
        positions.append(PoolPosition(f"S{number}", PositionSide.BOTH, qty, entry, TABLE, mark))
    wallet = sum((abs(each.qty) * each.entry_price for each in positions), Decimal(0)) / 10
    return wallet, tuple(positions)


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name}: {value:,.3f}")
