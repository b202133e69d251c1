"""What time it is for a desk: the market's time, paced by a steady clock or granted step by step."""

from fractions import Fraction
from time import monotonic_ns

from attrs import define, field

_SECOND_NS = 1_000_000_000
_FAR_S = 3_600.0


@define
class MarketClock:
    """At CLOCK_MONOTONIC `anchor_ns` it was `ts`; since then it runs `numerator / denominator` as fast.

    CLOCK_MONOTONIC is one for all processes of a machine and never set. A `numerator` of 0: time stands still between
    grants. It never goes back, however it is set.
    """

    ts: int
    anchor_ns: int
    numerator: int
    denominator: int = 1
    _latest: int = field(init=False, default=0)

    @property
    def is_granted(self) -> bool:
        return self.numerator == 0

    def now(self) -> int:
        """Return the market's time, ns UTC."""
        elapsed = (monotonic_ns() - self.anchor_ns) * self.numerator // self.denominator
        self._latest = max(self._latest, self.ts + elapsed)
        return self._latest

    def wall_ns(self, market_ns: int) -> int:
        """Return how long a span of the market's time takes by the wall's; only while time is not granted."""
        return market_ns * self.denominator // self.numerator

    def late_ns(self, due_ns: int) -> int:
        """Return how long ago by the wall's time it was `due_ns`, 0 before that and while time is granted."""
        return 0 if self.is_granted else max(0, self.wall_ns(self.now() - due_ns))

    def set(self, ts: int, anchor_ns: int, numerator: int, denominator: int) -> None:
        """Follow another clock from now on."""
        self.ts, self.anchor_ns, self.numerator, self.denominator = ts, anchor_ns, numerator, denominator

    def grant(self, ts: int) -> None:
        """Let it be `ts`, or later if it is already."""
        self.ts, self.anchor_ns = max(ts, self._latest), monotonic_ns()

    def seconds_until(self, ns: int) -> float:
        """Return how long to sleep until it is `ns`; at most an hour, and that too while time is granted."""
        if self.is_granted:
            return _FAR_S
        wait_ns = (ns - self.now()) * self.denominator / self.numerator
        return min(max(wait_ns / _SECOND_NS, 0.0), _FAR_S)


def parse_speed(text: str) -> Fraction | None:
    """Return how many times as fast as the wall clock, None for `max`. Raises ValueError."""
    if text == "max":
        return None
    try:
        speed = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r} is neither a number nor 'max'") from None
    if not 0 < speed <= 1_000_000:
        raise ValueError(f"{text!r} is not above 0 and at most 1000000")
    return speed
