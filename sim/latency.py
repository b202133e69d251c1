"""How long messages between desk and venue take: one model for each kind of message, and profiles of desks."""

from collections.abc import Sequence
from enum import StrEnum

from attrs import field, frozen
from attrs.validators import ge


class LatencyModel(StrEnum):
    """CONSTANT: base. EXPONENTIAL: base plus an exponential jitter of mean `spread_ns`. CUBIC: base plus
    spread (1/x^3 - 1), x uniform in (0.1, 1]: a rare long tail (ABIDES). RECORDED: what was measured, interpolated."""

    CONSTANT = "constant"
    EXPONENTIAL = "exponential"
    CUBIC = "cubic"
    RECORDED = "recorded"


class LatencyError(ValueError):
    """Recorded latencies that cannot be used; the message names the row."""


@frozen
class Latency:
    """One kind of message. `recorded` are (time ns, latency ns) by rising time, for RECORDED only."""

    base_ns: int = field(default=0, validator=ge(0))
    spread_ns: int = field(default=0, validator=ge(0))
    model: LatencyModel = LatencyModel.CONSTANT
    recorded: tuple[tuple[int, int], ...] = ()

    def __attrs_post_init__(self) -> None:
        if (self.model is LatencyModel.RECORDED) is not bool(self.recorded):
            raise LatencyError("recorded: needed by the model recorded, and by it alone")
        check_recorded(self.recorded)


def check_recorded(pairs: Sequence[tuple[int, int]]) -> None:
    """Raise LatencyError unless times rise and no latency is negative."""
    previous = None
    for row, (at, latency) in enumerate(pairs):
        if latency < 0:
            raise LatencyError(f"recorded[{row}]: a latency of {latency} ns")
        if previous is not None and at <= previous:
            raise LatencyError(f"recorded[{row}]: {at} does not follow {previous}")
        previous = at


@frozen
class Latencies:
    """The way to the venue by kind of message, and the way back."""

    submit: Latency = Latency()
    cancel: Latency = Latency()
    modify: Latency = Latency()
    response: Latency = Latency()

    @classmethod
    def constant(cls, entry_ns: int, response_ns: int) -> "Latencies":
        """Return one entry latency for everything that is sent, one for everything that comes back."""
        entry = Latency(entry_ns)
        return cls(entry, entry, entry, Latency(response_ns))


def _profile(entry_ns: int, cancel_ns: int, spread_ns: int) -> Latencies:
    entry, cancel = (Latency(base, spread_ns, LatencyModel.EXPONENTIAL) for base in (entry_ns, cancel_ns))
    return Latencies(entry, cancel, entry, entry)


PROFILES: dict[str, Latencies] = {
    "colocated": _profile(100_000, 80_000, 20_000),
    "institutional": _profile(2_000_000, 2_000_000, 500_000),
    "retail": _profile(50_000_000, 50_000_000, 20_000_000),
}
"""Typical desks: in the venue's data centre, in its region, behind a home line. Model values, not measurements."""
