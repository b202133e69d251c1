"""What a compiled desk knows and has under way: clock, messages in both directions, latencies, money in whole units."""

from typing import NamedTuple

import numpy as np

from sim.kernel.bus import MESSAGE
from sim.kernel.latency import LATENCY
from sim.kernel.layout import Array

SUBMIT_LATENCY, CANCEL_LATENCY, MODIFY_LATENCY, RESPONSE_LATENCY = range(4)

# What a run stopped for
AT_TIME, DECIDE, NEED_ROWS, NEED_ROOM, NEED_DESK_ROOM, FOR_HOST, LOG_FULL, FAILED, ASKS_HOST, HAS_EVENTS = range(10)

# Which of an instrument's prices came last
NOTHING_YET, BY_TRADE, BY_MARK, BY_SETTLEMENT = range(4)

NOT_JUDGED = -1

# What wakes a strategy besides the clock
WAKE_ON_REPORTS, WAKE_ON_FEED = 1, 2

# Kinds of messages to the venue
TO_SUBMIT, TO_CANCEL, TO_MODIFY, TO_EXPIRE, TO_TRIGGER = range(5)

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
        ("changes_armed", np.int64),
        ("orders", np.int64),
        ("venue_rows", np.int64),
        ("local_rows", np.int64),
        ("reports", np.int64),
        ("is_hosted", np.int64),
        ("judged", np.int64),
        ("refused", np.int64),
        ("base", np.float64),
    ]
)
"""`keeps_place`: a change to less keeps its place; `changes_armed`: a waiting stop-limit may be changed. `is_hosted`:
orders are the host's, who books each event at once. `judged` is the message the host has judged (else NOT_JUDGED),
`refused` whether it refused it. `base` is wallet less open cost in quote money when the host last looked."""

LEDGER = np.dtype(
    [
        ("cash", np.int64),
        ("maker", np.int64),
        ("taker", np.int64),
        ("traded", np.int64),
        ("fills", np.int64),
        ("open", np.int64),
        ("open_value", np.int64),
    ]
)
"""One instrument's money so far, exact, in ticks x lots: `cash` received less paid, `maker` and `taker` notional, and
what live orders still want to trade (`open`, lots; `open_value` at their own prices)."""

SENDER = np.dtype(
    [
        ("status", np.int64),
        ("lots", np.int64),
        ("cut", np.int64),
        ("filled", np.int64),
        ("end", np.int64),
        ("under_way", np.int64),
        ("counted", np.int64),
        ("value", np.int64),
    ]
)
"""What the sender has heard of its order: status, total lots, what reduce-only cut away, lots filled, how it ended (an
event kind). `under_way` counts messages about it in both directions, `counted` and `value`
are the venue's: its parts of `open` and `open_value`."""

GUARD = np.dtype(
    [
        ("unit", np.float64),
        ("tick", np.float64),
        ("leverage", np.float64),
        ("mmr", np.float64),
        ("fee", np.float64),
        ("cap", np.float64),
        ("value_min", np.float64),
        ("lots_min", np.int64),
        ("lots_max", np.int64),
        ("cash", np.int64),
        ("paid", np.int64),
        ("mark", np.float64),
        ("raw_mark", np.int64),
        ("latest", np.int64),
        ("has_ended", np.int64),
        ("watches_mark", np.int64),
        ("trigger_low", np.int64),
        ("trigger_high", np.int64),
    ]
)
"""What lets an instrument's orders and marks pass without the host: quote money per tick x lot, tick size, leverage,
the highest maintenance rate, the dearer fee rate, the largest notional at this leverage, filters. `cash` and `paid` are
the ledger's when the host last looked, `mark` in ticks (0 unknown). `latest` is which price came last. A contract that
`has_ended` has settled for good. A hosted run stops at each mark when
`watches_mark`, and at trades at or beyond the triggers."""


class Desk(NamedTuple):
    """All of it. `positions` are as the desk knows them; `log` holds the fills not yet taken by the host."""

    clock: Array
    to_venue: Array
    to_desk: Array
    latencies: Array
    recorded: Array
    ledger: Array
    guard: Array
    sent: Array
    positions: Array
    log: Array


def _open_guard(instruments: int) -> Array:
    guard = np.zeros(instruments, GUARD)
    guard["trigger_low"], guard["trigger_high"] = -(1 << 62), 1 << 62
    return guard


def make_desk(instruments: int, orders: int, positions: int, messages: int, log: Array) -> Desk:
    """Return a desk that has sent nothing; `orders` are the slots of its kernel, `messages` the room each way."""
    clock = np.zeros(1, CLOCK)
    clock["judged"] = NOT_JUDGED
    return Desk(
        clock,
        np.zeros(messages, MESSAGE),
        np.zeros(messages, MESSAGE),
        np.zeros(4, LATENCY),
        np.zeros((1, 2), np.int64),
        np.zeros(instruments, LEDGER),
        _open_guard(instruments),
        np.zeros(orders, SENDER),
        np.zeros(positions, np.int64),
        log,
    )
