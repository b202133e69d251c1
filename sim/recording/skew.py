"""How far the clock of a recorder was behind the exchange's.

A frame cannot arrive before it was sent. Where a recording says it did, the recorder's clock was behind, by at least
as much as the most impossible frame shows. The estimate is the smallest offset that, added to every local time, leaves
each frame a latency of at least `floor_ns`: max(exchange - local) + floor_ns, and 0 where no frame was faster anyway.

What the fastest frame really took is unknowable from the recording, so corrected latencies are relative to the floor. A
clock that is ahead looks like a slow line and cannot be told from one; it is left alone. Frames that claim to be from
more than OUTLIER_NS after what the recording's other stretches claim tell nothing about the clock: they are left out.
"""

from collections.abc import Iterable
from statistics import median_low
from typing import Final

import attrs

from venues.port import Message

LATENCY_FLOOR_NS: Final = 1_000_000
OUTLIER_NS: Final = 60_000_000_000

_BUCKETS_MAX: Final = 1024
_BUCKET_NS: Final = 1_000_000_000

_Lead = tuple[int, int, int]
"""Exchange time minus local time, the frame's number, its local time."""


@attrs.frozen
class SkewEstimate:
    """`skew_ns` is to be added to local times, never negative; a clock that needed nothing has 0.

    `lead_ns` is the greatest exchange time minus local time, of frame number `worst_frame` (from 0, counting every
    frame offered) received at `worst_local_ns`; all three are None when no frame told a time. `frames` were used.
    `drift_ns` is the lead in the last third of the recorded time less that in the first third: what a clock running
    slow or fast (or a changing line) did to the estimate. It is reported, not corrected; None without both thirds.
    `outliers` counts the stretches of time that were left out.
    """

    skew_ns: int
    frames: int
    lead_ns: int | None = None
    worst_frame: int | None = None
    worst_local_ns: int | None = None
    drift_ns: int | None = None
    outliers: int = 0


class SkewEstimator:
    """Takes frames one by one in bounded memory; local times need not be in order."""

    def __init__(self, floor_ns: int = LATENCY_FLOOR_NS) -> None:
        if floor_ns < 0:
            raise ValueError(f"floor_ns: a latency is not negative, got {floor_ns}")
        self._floor_ns = floor_ns
        self._offered = 0
        self._frames = 0
        self._bucket_ns = _BUCKET_NS
        self._leads: dict[int, _Lead] = {}

    def is_news(self, local_ns: int, exchange_ns: int) -> bool:
        """Whether a frame would change the estimate, its counts aside."""
        known = self._leads.get(local_ns // self._bucket_ns)
        return known is None or exchange_ns - local_ns > known[0]

    def add(self, local_ns: int, exchange_ns: int) -> None:
        """Take one frame. `exchange_ns` 0 means that the venue told no time, and the frame is passed over."""
        number = self._offered
        self._offered += 1
        if exchange_ns <= 0:
            return
        self._frames += 1
        if self.is_news(local_ns, exchange_ns):
            self._leads[local_ns // self._bucket_ns] = (exchange_ns - local_ns, number, local_ns)
            while len(self._leads) > _BUCKETS_MAX:
                self._widen()

    def result(self) -> SkewEstimate:
        if not self._leads:
            return SkewEstimate(0, 0)
        limit = median_low(lead for lead, _, _ in self._leads.values()) + OUTLIER_NS
        kept = {bucket: lead for bucket, lead in self._leads.items() if lead[0] <= limit}
        lead_ns, worst_frame, worst_local_ns = max(kept.values(), key=lambda lead: (lead[0], -lead[1]))
        return SkewEstimate(
            skew_ns=max(0, lead_ns + self._floor_ns),
            frames=self._frames,
            lead_ns=lead_ns,
            worst_frame=worst_frame,
            worst_local_ns=worst_local_ns,
            drift_ns=_drift_ns(kept),
            outliers=len(self._leads) - len(kept),
        )

    def _widen(self) -> None:
        """Halve the resolution in time."""
        leads: dict[int, _Lead] = {}
        for bucket, lead in self._leads.items():
            wider = bucket // 2
            known = leads.get(wider)
            if known is None or lead[0] > known[0]:
                leads[wider] = lead
        self._leads = leads
        self._bucket_ns *= 2


def _drift_ns(leads: dict[int, _Lead]) -> int | None:
    start, end = min(leads), max(leads) + 1
    third = (end - start) // 3
    first = [lead for bucket, (lead, _, _) in leads.items() if bucket < start + third]
    last = [lead for bucket, (lead, _, _) in leads.items() if bucket >= end - third]
    return max(last) - max(first) if first and last else None


def estimate_skew(frames: Iterable[tuple[int, Message]], floor_ns: int = LATENCY_FLOOR_NS) -> SkewEstimate:
    """Return the estimate over decoded frames with their local times; messages without a time are passed over."""
    estimator = SkewEstimator(floor_ns)
    for local_ns, message in frames:
        estimator.add(local_ns, message.ts)
    return estimator.result()


def shared_skew_ns(estimates: Iterable[SkewEstimate]) -> int:
    """Return the one offset for recordings made by the same clock: the greatest, which satisfies every frame of all."""
    return max((estimate.skew_ns for estimate in estimates), default=0)
