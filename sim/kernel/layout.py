"""What the compiled venue remembers: one tuple of arrays, to be grown from outside, copied, stored and compared.

Prices are ticks, quantities lots, times UTC nanoseconds. Instruments, orders, accounts and positions are indices. A
book side is a directory of pages of 4,096 ticks each with a bit per occupied tick, so no price is too far and the next
best is found by scanning words. Side 0 buys (bids), side 1 sells (asks). Each instrument has two books, the venue's and
the desk's.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.rows import TICKS_MAX

BUY_SIDE, SELL_SIDE = 0, 1

PAGE_BITS = 12
PAGE_TICKS = 1 << PAGE_BITS
WORD_BITS = 6
PAGE_WORDS = PAGE_TICKS >> WORD_BITS

NO_BID = -(1 << 62)
NO_ASK = 1 << 62
NO_LIMIT = 1 << 61
"""The worst price of an order without one; its negative for sells."""

# Queue models
RISK_AVERSE, POWER, LOG, L3_FIFO = range(4)

# Order flags
REDUCES, FORCED, POST_ONLY, IMMEDIATE, FILL_OR_KILL = 1, 2, 4, 8, 16

# Self-trade prevention, in the order of sim.venue_rules.SelfTrade
STP_TRADE, STP_TAKER, STP_MAKER, STP_BOTH = range(4)

# Liquidity and reasons of fills, in the order of venues.model.fill
MAKER, TAKER, NO_LIQUIDITY = range(3)
BY_TAKING, BY_QUEUE, BY_THROUGH, BY_CROSSED, BY_AUCTION, BY_LIQUIDATION = range(6)

# What is told of orders
FILLED, CUT, EXPIRED, ACCEPTED, REJECTED, CANCELED, MODIFIED, CANCEL_REJECTED, MODIFY_REJECTED, MOVED, TRIGGERED = (
    range(11)
)

# Life of an order slot
FREE, IDLE, RESTING, ARMED = range(4)

# What the price of an order is
PRICED, PROTECTED, TO_LIMIT = range(3)

# What triggers a conditional order
NOT_CONDITIONAL, STOP, TAKE_PROFIT, TRAILING = range(4)

REGISTERS = np.dtype(
    [
        ("now", np.int64),
        ("sequence", np.int64),
        ("events", np.int64),
        ("lost", np.int64),
        ("free", np.int64),
        ("pages", np.int64),
        ("reducing", np.int64),
        ("market", np.int64),
        ("spare", np.int64),
    ]
)
"""`sequence` counts arrivals at queues, `events` the entries of the output, `lost` those that had no room. `market` is
how many slots of market orders have ever been used, `spare` the first given back, plus one."""

INSTRUMENT = np.dtype(
    [
        ("model", np.int64),
        ("exponent", np.float64),
        ("lot", np.float64),
        ("is_open", np.int64),
        ("last_trade", np.int64),
        ("tick_raw", np.int64),
        ("protection", np.int64),
        ("floor", np.int64),
        ("is_loading", np.int64),
        ("by_order", np.int64),
        ("keeps_place", np.int64),
        ("trades_move", np.int64),
    ]
)
"""`lot` is the lot size in base units, `tick_raw` the tick size x 1e8 (0 when that is not whole), `protection` how
many ticks behind the best price a protected order may trade, `floor` the lowest price of an order in ticks;
`is_loading` is set between CLEAR and the end of the snapshot.

`by_order` is set once the book is told order by order. Then `keeps_place` says whether a market order whose quantity
falls stays where it is (Globex), and `trades_move` that trades move the book, because no EXECUTE row does.
"""

ORDER = np.dtype(
    [
        ("state", np.int64),
        ("instrument", np.int64),
        ("side", np.int64),
        ("account", np.int64),
        ("position", np.int64),
        ("flags", np.int64),
        ("stp", np.int64),
        ("ticks", np.int64),
        ("lots", np.int64),
        ("cut", np.int64),
        ("filled", np.int64),
        ("cost", np.int64),
        ("visible", np.int64),
        ("display", np.int64),
        ("min_lots", np.int64),
        ("sequence", np.int64),
        ("killed", np.int64),
        ("shown", np.int64),
        ("front", np.float64),
        ("tag", np.int64),
        ("expire", np.int64),
        ("pricing", np.int64),
        ("trigger", np.int64),
        ("watches_mark", np.int64),
        ("stop", np.int64),
        ("callback_bps", np.int64),
        ("is_active", np.int64),
        ("extreme", np.int64),
        ("joined", np.int64),
    ]
)
"""`lots` is the total asked for, `cut` what reduce-only took away, `front` the market lots ahead, `cost` the sum of
ticks x lots filled, `shown` the level's quantity before a snapshot, `tag` the sender's number, -1 for the host's,
`expire` when it ends by itself (0 never), `pricing` where its limit comes from, `trigger` and `stop` (ticks; the
activation of a trailing stop, 0 none) what it waits for, `extreme` a trailing stop's best price (1e-8), `joined` the
registers' `sequence` when it joined its queue."""

MARKET_ORDER = np.dtype(
    [
        ("id", np.uint64),
        ("book", np.int64),
        ("ticks", np.int64),
        ("lots", np.int64),
        ("left", np.int64),
        ("joined", np.int64),
        ("before", np.int32),
        ("after", np.int32),
    ]
)
"""An order of the market as an order-by-order feed tells it: `id` 0 is a free slot, `lots` what the feed says it has, 0
after a CLEAR, `left` what of that own orders have not taken. `before` and `after` are its neighbours at its price in
the venue's book, plus one; `after` links free slots."""

# What an order-by-order feed may get wrong
BAD_ORDER, DUPLICATE_ORDER, UNKNOWN_MARKET_ORDER, EXCESS_EXECUTION, MOVED_ORDER = range(5)
ANOMALIES = ("bad_order", "duplicate_order", "unknown_order", "excess_execution", "moved_order")

EVENT = np.dtype(
    [
        ("ns", np.int64),
        ("kind", np.int64),
        ("order", np.int64),
        ("instrument", np.int64),
        ("ticks", np.int64),
        ("lots", np.int64),
        ("liquidity", np.int64),
        ("reason", np.int64),
        ("tag", np.int64),
        ("side", np.int64),
    ]
)

Array = NDArray[Any]


class Kernel(NamedTuple):
    """All of it. A book side is `4 x instrument + 2 x (0 venue's, 1 desk's) + side`, a queue `2 x instrument + side`.

    `base` is the page number of a book side's first directory entry; a directory entry is a page or -1. `queue` holds
    the resting orders of a queue, best first, oldest first at a price, `keys` their prices so that smaller is better.
    The last rows of `queue` are the armed orders by instrument.

    `market` holds the market's own orders, `places` finds them: a hash table with slot numbers plus one. `ends` are the
    first and the last of them at each price of a page, plus one. `anomalies` counts by instrument and kind (ANOMALIES).
    """

    registers: Array
    instruments: Array
    best: Array
    base: Array
    directory: Array
    lots: Array
    bits: Array
    used: Array
    orders: Array
    free: Array
    queue: Array
    keys: Array
    resting: Array
    positions: Array
    events: Array
    scratch: Array
    market: Array
    places: Array
    ends: Array
    anomalies: Array


def make_kernel(instruments: int, orders: int = 64, pages: int = 8, events: int = 4096) -> Kernel:
    """Return an empty venue of `instruments` with room for so many orders, pages of books and events."""
    sides = 4 * instruments
    kernel = Kernel(
        registers=np.zeros(1, REGISTERS),
        instruments=np.zeros(instruments, INSTRUMENT),
        best=np.zeros(sides, np.int64),
        base=np.zeros(sides, np.int64),
        directory=np.full((sides, 1), -1, np.int32),
        lots=np.zeros((pages, PAGE_TICKS), np.int64),
        bits=np.zeros((pages, PAGE_WORDS), np.uint64),
        used=np.zeros(pages, np.int64),
        orders=np.zeros(orders, ORDER),
        free=np.arange(orders - 1, -1, -1, dtype=np.int32),
        queue=np.zeros((3 * instruments, orders), np.int32),
        keys=np.zeros((2 * instruments, orders), np.int64),
        resting=np.zeros(3 * instruments, np.int64),
        positions=np.zeros(16, np.int64),
        events=np.zeros(events, EVENT),
        scratch=np.zeros(2 * orders, np.int32),
        market=np.zeros(0, MARKET_ORDER),
        places=np.zeros(1, np.int32),
        ends=np.zeros((pages, PAGE_TICKS, 2), np.int32),
        anomalies=np.zeros((instruments, len(ANOMALIES)), np.int64),
    )
    kernel.best[0::2] = NO_BID
    kernel.best[1::2] = NO_ASK
    for name in ("is_open", "floor", "keeps_place"):
        kernel.instruments[name] = 1
    kernel.instruments["last_trade"] = NO_BID
    kernel.registers["free"] = orders
    return kernel


def with_orders(kernel: Kernel, orders: int) -> Kernel:
    """Return the same venue with room for `orders`, more than before."""
    before = len(kernel.orders)
    extra = orders - before
    free = np.zeros(orders, np.int32)
    count = int(kernel.registers["free"][0])
    # New slots are used last.
    free[:extra] = np.arange(orders - 1, before - 1, -1)
    free[extra : extra + count] = kernel.free[:count]
    kernel.registers["free"] += extra
    return kernel._replace(
        orders=_longer(kernel.orders, extra),
        free=free,
        queue=_wider(kernel.queue, extra),
        keys=_wider(kernel.keys, extra),
        scratch=np.zeros(2 * orders, np.int32),
    )


def with_pages(kernel: Kernel, pages: int) -> Kernel:
    """Return the same venue with room for `pages`, more than before."""
    extra = pages - len(kernel.used)
    return kernel._replace(
        lots=_longer(kernel.lots, extra),
        bits=_longer(kernel.bits, extra),
        used=_longer(kernel.used, extra),
        ends=_longer(kernel.ends, extra),
    )


def with_prices(kernel: Kernel, side: int, low: int, high: int) -> Kernel:
    """Return the same venue whose book `side` can hold every price from `low` to `high` ticks.

    Raises ValueError for prices beyond TICKS_MAX.
    """
    if low < -TICKS_MAX or high > TICKS_MAX:
        raise ValueError(f"prices from {low} to {high} ticks are beyond {TICKS_MAX} ticks")
    first, last = low >> PAGE_BITS, high >> PAGE_BITS
    row = kernel.directory[side]
    occupied = np.flatnonzero(row >= 0)
    base = int(kernel.base[side])
    if len(occupied):
        first, last = min(first, base + int(occupied[0])), max(last, base + int(occupied[-1]))
    width = kernel.directory.shape[1]
    needed = last - first + 1
    directory = kernel.directory
    if needed > width:
        width = max(2 * width, needed)
        directory = np.full((len(kernel.best), width), -1, np.int32)
        directory[:, : kernel.directory.shape[1]] = kernel.directory
    if first < base or last >= base + width or not len(occupied):
        new_base = first - (width - needed) // 2
        moved = np.full(width, -1, np.int32)
        for at in occupied:
            moved[base + int(at) - new_base] = row[at]
        directory[side] = moved
        kernel.base[side] = new_base
    return kernel._replace(directory=directory)


def with_market_orders(kernel: Kernel, orders: int) -> Kernel:
    """Return the same venue with room for so many market orders, but for `places`, which is empty and wide enough.

    It is for `sim.kernel.market_orders.grown`, which fills it again.
    """
    width = 1 << max(1, (2 * orders - 1).bit_length())
    return kernel._replace(market=_longer(kernel.market, orders - len(kernel.market)), places=np.zeros(width, np.int32))


def with_positions(kernel: Kernel, positions: int) -> Kernel:
    """Return the same venue with room for so many positions."""
    return kernel._replace(positions=_longer(kernel.positions, positions - len(kernel.positions)))


def _longer(array: Array, extra: int) -> Array:
    return np.concatenate([array, np.zeros((extra, *array.shape[1:]), array.dtype)])


def _wider(array: Array, extra: int) -> Array:
    return np.concatenate([array, np.zeros((array.shape[0], extra), array.dtype)], axis=1)
