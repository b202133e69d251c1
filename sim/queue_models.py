"""Decides how much of a level's quantity stands before an own order when the level changes.

`front` is the estimated market quantity ahead in lots, a float because the probability models split lots. A new order
starts behind everything displayed; a trade at the price takes from the front; depth changes are judged here.
Formulas: hftbacktest 2.4.4, `hftbacktest/src/backtest/models/queue.rs`, read at commit 5f3ec40b.
"""

import re
from math import log
from typing import Protocol

from attrs import frozen


class QueueModelError(ValueError):
    """A queue model that does not exist; the message lists those that do."""


class QueueModel(Protocol):
    """Judges one absolute change of a level from `prev` (trades already taken off) to `new` lots."""

    def depth(self, front: float, prev: int, new: int) -> float:
        """Return the new front in lots, never above `new`."""
        ...


@frozen
class RiskAverse:
    """Quantity leaves behind the own order as long as it can: front' = min(front, new)."""

    def depth(self, front: float, prev: int, new: int) -> float:
        return min(front, float(new))


def _split(front: float, prev: int, new: int, behind: float) -> float:
    # `behind` is the share of a decrease that left behind the own order; what is not there comes off the front.
    change = prev - new
    back = max(0.0, prev - front)
    estimate = front - (1 - behind) * change + min(back - behind * change, 0.0)
    return max(0.0, min(estimate, float(new)))


@frozen
class PowerProb:
    """P(behind) = back^n / (back^n + front^n)."""

    exponent: float

    def depth(self, front: float, prev: int, new: int) -> float:
        if new >= prev:
            return min(front, float(new))
        back = max(0.0, prev - front)
        if not front and not back:
            return 0.0
        # The smaller over the larger: a power of it cannot overflow.
        odds = (min(front, back) / max(front, back)) ** self.exponent
        return _split(front, prev, new, (1.0 if back >= front else odds) / (1 + odds))


@frozen
class LogProb:
    """P(behind) = ln(1 + back) / (ln(1 + back) + ln(1 + front)), quantities in base units (`lot` each)."""

    lot: float

    def depth(self, front: float, prev: int, new: int) -> float:
        if new >= prev:
            return min(front, float(new))
        ahead, back = log(1 + front * self.lot), log(1 + max(0.0, prev - front) * self.lot)
        return _split(front, prev, new, back / (back + ahead) if back + ahead else 1.0)


_POWER = re.compile(r"power_(\d+(?:\.\d+)?)")


def make_queue_model(name: str, lot: float) -> QueueModel:
    """Return the model called `name`: risk_averse, power_N or log. Raises QueueModelError."""
    if name == "risk_averse":
        return RiskAverse()
    if name == "log":
        return LogProb(lot)
    power = _POWER.fullmatch(name)
    if power and float(power[1]) > 0:
        return PowerProb(float(power[1]))
    raise QueueModelError(f"{name!r} is not one of risk_averse, power_N (N > 0), log")
