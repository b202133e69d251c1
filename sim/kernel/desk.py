"""What a compiled desk knows and has under way: clock, messages in both directions, latencies, money in whole units."""

from typing import NamedTuple

import numpy as np

from sim.kernel.bus import MESSAGE
from sim.kernel.latency import LATENCY
from sim.kernel.layout import Array

SUBMIT_LATENCY, CANCEL_LATENCY, MODIFY_LATENCY, RESPONSE_LATENCY = range(4)

# What a run stopped for
AT_TIME, DECIDE, NEED_ROWS, NEED_ROOM, NEED_DESK_ROOM, FOR_HOST, LOG_FULL, FAILED = range(8)

# What wakes a strategy besides the clock
WAKE_ON_REPORTS, WAKE_ON_FEED = 1, 2

# Kinds of messages to the venue
TO_SUBMIT, TO_CANCEL, TO_MODIFY = range(3)

# An order as its sender knows it
UNSENT, SENT, OPEN, DONE = range(4)

CLOCK = np.dtype(
    [
        ("now", np.int64),
        ("wake", np.int64),
        ("wakes_on", np.int64),
        ("venue_row", np.int64),
        ("local_row", np.int64),
        ("messages", np.int64),
        ("to_venue", np.int64),
        ("to_desk", np.int64),
        ("logged", np.int64),
        ("seed", np.int64),
        ("keeps_place", np.int64),
        ("orders", np.int64),
        ("venue_rows", np.int64),
        ("local_rows", np.int64),
        ("reports", np.int64),
    ]
)

LEDGER = np.dtype(
    [
        ("cash", np.int64),
        ("maker", np.int64),
        ("taker", np.int64),
        ("traded", np.int64),
        ("fills", np.int64),
    ]
)
"""One instrument's money so far, exact, in ticks x lots: `cash` received less paid, `maker` and `taker` notional."""

SENDER = np.dtype([("status", np.int64), ("filled", np.int64), ("end", np.int64)])
"""What the sender has heard of its order: status, lots filled, how it ended (an event kind)."""


class Desk(NamedTuple):
    """All of it. `positions` are as the desk knows them; `log` holds the fills not yet taken by the host."""

    clock: Array
    to_venue: Array
    to_desk: Array
    latencies: Array
    recorded: Array
    ledger: Array
    sent: Array
    positions: Array
    log: Array


def make_desk(instruments: int, orders: int, positions: int, messages: int, log: Array) -> Desk:
    """Return a desk that has sent nothing; `orders` are the slots of its kernel, `messages` the room each way."""
    return Desk(
        np.zeros(1, CLOCK),
        np.zeros(messages, MESSAGE),
        np.zeros(messages, MESSAGE),
        np.zeros(4, LATENCY),
        np.zeros((1, 2), np.int64),
        np.zeros(instruments, LEDGER),
        np.zeros(orders, SENDER),
        np.zeros(positions, np.int64),
        log,
    )
