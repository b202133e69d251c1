"""Which queue models there are and what a name means; their formulas are in `sim/kernel/queues.py`."""

import re

from attrs import frozen


class QueueModelError(ValueError):
    """A queue model that does not exist; the message lists those that do."""


@frozen
class QueueModel:
    """How quantity that leaves a level is split around own orders; `exponent` is that of the power model."""

    name: str
    exponent: float = 0.0


_POWER = re.compile(r"power_(\d+(?:\.\d+)?)")


def make_queue_model(name: str) -> QueueModel:
    """Return the model called `name`: risk_averse, power_N, log or l3_fifo. Raises QueueModelError.

    `l3_fifo` is no estimate: it needs a book that is told order by order.
    """
    if name in {"risk_averse", "log", "l3_fifo"}:
        return QueueModel(name)
    power = _POWER.fullmatch(name)
    if power and float(power[1]) > 0:
        return QueueModel("power", float(power[1]))
    raise QueueModelError(f"{name!r} is not one of risk_averse, power_N (N > 0), log, l3_fifo")
