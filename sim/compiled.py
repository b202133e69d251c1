"""What a compiled strategy is written with, and run with."""

from sim.compiled_run import REASONS, CompiledResult, CompiledRun, CompiledSetupError
from sim.feed_latency import ZeroFeedLatencyError
from sim.fill_records import FillRecord, fill_records
from sim.kernel.books import is_level, lots_at, next_level
from sim.kernel.compiled import compiled
from sim.kernel.desk import DONE, OPEN, SENT, UNSENT, WAKE_ON_FEED, WAKE_ON_REPORTS, Desk
from sim.kernel.entry import WHOLE_POSITION
from sim.kernel.layout import (
    BUY_SIDE,
    CANCELED,
    EXPIRED,
    FILL_OR_KILL,
    FILLED,
    IMMEDIATE,
    NO_LIMIT,
    POST_ONLY,
    PROTECTED,
    REDUCES,
    REJECTED,
    SELL_SIDE,
    STOP,
    STP_BOTH,
    STP_MAKER,
    STP_TAKER,
    TAKE_PROFIT,
    TO_LIMIT,
    TRAILING,
    Kernel,
)
from sim.kernel.requests import ask_cancel, ask_modify, new_order, release, send, submit
from sim.latency import PROFILES, Latencies, Latency, LatencyModel


@compiled
def best(k: Kernel, instrument: int, side: int) -> int:
    """Return the best price in ticks that the desk has heard of; `is_level` says whether there is one."""
    ticks: int = k.best[4 * instrument + 2 + side]
    return ticks


@compiled
def lots(k: Kernel, instrument: int, side: int, ticks: int) -> int:
    """Return the lots at a price of the desk's book, 0 when nothing is there."""
    found: int = lots_at(k, 4 * instrument + 2 + side, ticks)
    return found


@compiled
def behind(k: Kernel, instrument: int, side: int, ticks: int) -> int:
    """Return the next worse price of the desk's book; `is_level` says whether there is one."""
    found: int = next_level(k, 4 * instrument + 2 + side, ticks)
    return found


__all__ = [
    "BUY_SIDE", "CANCELED", "DONE", "EXPIRED", "FILLED", "FILL_OR_KILL", "IMMEDIATE", "NO_LIMIT", "OPEN", "POST_ONLY",
    "PROFILES", "PROTECTED", "REASONS", "REDUCES", "REJECTED", "SELL_SIDE", "SENT", "STOP", "STP_BOTH", "STP_MAKER",
    "STP_TAKER", "TAKE_PROFIT", "TO_LIMIT", "TRAILING", "UNSENT", "WAKE_ON_FEED", "WAKE_ON_REPORTS", "WHOLE_POSITION",
    "CompiledResult", "CompiledRun", "CompiledSetupError", "Desk", "FillRecord", "Kernel", "Latencies", "Latency",
    "LatencyModel", "ZeroFeedLatencyError", "ask_cancel", "ask_modify", "behind", "best", "compiled", "fill_records",
    "is_level", "lots", "new_order", "release", "send", "submit",
]  # fmt: skip
