"""How far the venue's clock is from ours, and how wrong that may be."""

from collections import deque
from typing import Final

from attrs import Factory, define, frozen

_PPM: Final = 1_000_000


@frozen
class ClockSample:
    """One question for the venue's time. All in nanoseconds; `sent_ns` and `received_ns` of our clock."""

    sent_ns: int
    server_ns: int
    received_ns: int

    @property
    def round_trip_ns(self) -> int:
        return self.received_ns - self.sent_ns


@define
class ClockOffset:
    """The venue's clock minus ours, from the sample of the shortest round trip among the latest `samples_max`.

    The venue read its clock between our sending and our receiving, so the offset is the middle of that span and wrong
    by half of it at most (RFC 5905 section 8 takes the sample of minimum delay for the same reason). `resolution_ns`
    is the step of the venue's stamps, rounded down by the venue; `drift_ppm` how much two clocks may part, which is
    what makes an old sample worth less. A sample that contradicts the best one by more than both may be wrong is one
    of our clock having been set: everything before it is forgotten.
    """

    samples_max: int = 32
    resolution_ns: int = 1_000_000
    drift_ppm: int = 100
    steps: int = 0
    refused: int = 0
    _samples: deque[ClockSample] = Factory(deque)
    _best: ClockSample | None = None

    @property
    def is_known(self) -> bool:
        return self._best is not None

    def note(self, sent_ns: int, server_ns: int, received_ns: int) -> None:
        """Take a sample. One that was received before it was sent saw our clock being set back: counted as refused."""
        sample = ClockSample(sent_ns, server_ns, received_ns)
        if sample.round_trip_ns < 0:
            self.refused += 1
            self.forget()
            return
        if self._best is not None and self._contradicts(sample):
            self.steps += 1
            self.forget()
        self._samples.append(sample)
        while len(self._samples) > self.samples_max:
            self._samples.popleft()
        self._best = min(self._samples, key=lambda one: self._error_of(one, received_ns))

    def forget(self) -> None:
        """Drop all samples: the venue says that our time is wrong, or our clock was set."""
        self._samples.clear()
        self._best = None

    @property
    def offset_ns(self) -> int:
        """The venue's clock minus ours. Raises LookupError while no sample is there."""
        return self._middle(self._require())

    def error_ns(self, now_ns: int) -> int:
        """How wrong the offset may be at `now_ns` of our clock. Raises LookupError while no sample is there."""
        return self._error_of(self._require(), now_ns)

    def server_ns(self, now_ns: int) -> int:
        """What the venue's clock says at `now_ns` of ours. Raises LookupError while no sample is there."""
        return now_ns + self.offset_ns

    def _require(self) -> ClockSample:
        if self._best is None:
            raise LookupError("the venue's clock has not been read yet")
        return self._best

    def _middle(self, sample: ClockSample) -> int:
        return sample.server_ns + self.resolution_ns // 2 - (sample.sent_ns + sample.received_ns) // 2

    def _error_of(self, sample: ClockSample, now_ns: int) -> int:
        age_ns = abs(now_ns - sample.received_ns)
        return (sample.round_trip_ns + self.resolution_ns + 1) // 2 + age_ns * self.drift_ppm // _PPM

    def _contradicts(self, sample: ClockSample) -> bool:
        now_ns = sample.received_ns
        apart_ns = abs(self._middle(sample) - self.offset_ns)
        return apart_ns > self._error_of(sample, now_ns) + self.error_ns(now_ns)
