"""Estimates how far a venue's clock is from ours: of a window's messages, the one that came soonest tells best.

A message from the future proves a clock that is ahead. One that is always late proves a clock that is behind, or news
that is as old as that: neither is traded on. A process that stood still hears old news for a moment, which is why no
single message counts.
"""

from attrs import define, field

from actors.control import ClockOffset

WINDOW_NS = 10_000_000_000

_MESSAGES_MIN = 10


@define
class _Window:
    begun_ns: int
    best_ns: int
    count: int = 1


@define
class ClockWatch:
    """`limit_ns` is how far apart the clocks may be; offsets are the venue's clock less ours."""

    limit_ns: int
    window_ns: int = WINDOW_NS
    _windows: dict[str, _Window] = field(factory=dict)
    _over: set[str] = field(factory=set)

    def note(self, source: str, ts: int, now: int) -> int | None:
        """Note that `source` (an instrument) told something of its `ts` at `now`; return its offset once a window."""
        window = self._windows.get(source)
        if window is None:
            self._windows[source] = _Window(now, ts - now)
            return None
        if now - window.begun_ns < self.window_ns:
            window.count += 1
            window.best_ns = max(window.best_ns, ts - now)
            return None
        self._windows[source] = _Window(now, ts - now)
        return window.best_ns if window.count >= _MESSAGES_MIN else None

    def judge(self, now: int, venue: str, offset_ns: int) -> ClockOffset | None:
        """Return what the desk must hear of a venue's offset: while it is too far, and once it is not any more."""
        is_over = abs(offset_ns) > self.limit_ns
        if not is_over and venue not in self._over:
            return None
        self._over.discard(venue)
        if is_over:
            self._over.add(venue)
        return ClockOffset(now, venue, offset_ns)
