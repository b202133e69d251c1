"""Decides when a price moved too far too fast: dynamic circuit breakers and velocity logic.

Source: facts B3, B4 (CME FAQ on dynamic circuit breakers, special price fluctuation table of 2026-03-10). A breaker's
width is fixed for the session; the range is that of the last 60 minutes. Prices are integer ticks, times nanoseconds.
"""

from collections import deque
from collections.abc import Collection
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal

from attrs import define, field, frozen

from venues.model.money import round_to_step
from venues.rules.calendar import State, is_cash_session, session
from venues.rules.checks import positive
from venues.rules.cme_products import Product, breaker_on
from venues.rules.errors import BadValueError

_S = 1_000_000_000
WINDOW_NS = 3600 * _S
PAUSE_NS = 120 * _S
LATE_PAUSE_NS = 5 * _S
LATE_BEFORE_CLOSE_NS = 300 * _S


def variant(of: Product, settlement: Decimal, day: date | None = None) -> Decimal:
    """Return the breaker's width for a session: share x previous settlement rounded down to a tick, or fixed points.

    `settlement` must be positive: no rule for other settlements was found. Equity index futures have it outside cash
    hours only (`is_breaker_active`). Raises BadValueError, UnknownProductError, OutsideTableError.
    """
    positive(settlement, "settlement")
    row = breaker_on(of, day)
    if row.share is None:
        assert row.points is not None
        return row.points
    return round_to_step(settlement * row.share, of.tick(day), ROUND_FLOOR)


def is_breaker_active(of: Product, at: datetime) -> bool:
    """Say whether the breaker watches at `at`: while the product trades, equity index outside cash hours only."""
    return session(of, at).state is State.OPEN and not is_cash_session(of, at)


def pause_ns(ns_to_close: int) -> int:
    """Return how long a triggered breaker keeps the market in pre-open: 2 minutes, 5 s in the last 5 minutes."""
    if ns_to_close < 0:
        raise BadValueError("ns_to_close", f"{ns_to_close} is negative")
    return LATE_PAUSE_NS if ns_to_close <= LATE_BEFORE_CLOSE_NS else PAUSE_NS


def halted_contracts(breached: str, lead: str, associated: Collection[str]) -> tuple[str, ...]:
    """Return the contracts that go to pre-open: all `associated` ones when the lead month is breached, else its own."""
    return tuple(associated) if breached == lead else (breached,)


@define
class RollingRange:
    """Lowest and highest price of the last `window_ns`, an instant exactly that old included.

    `lows` and `highs` hold (time, ticks), oldest first: only what can still become the extreme.
    """

    window_ns: int
    last_ns: int = 0
    lows: deque[tuple[int, int]] = field(factory=deque)
    highs: deque[tuple[int, int]] = field(factory=deque)

    def passes(self, now_ns: int, ticks: int, allowed: int) -> bool:
        """Say whether a price is more than `allowed` ticks above the lowest or below the highest price.

        The price is taken into the range, unless it passes: then the range is emptied. Raises BadValueError when time
        goes back.
        """
        self.forget(now_ns)
        lows, highs = self.lows, self.highs
        if lows and (ticks - lows[0][1] > allowed or highs[0][1] - ticks > allowed):
            lows.clear()
            highs.clear()
            return True
        entry = (now_ns, ticks)
        while lows and lows[-1][1] >= ticks:
            lows.pop()
        lows.append(entry)
        while highs and highs[-1][1] <= ticks:
            highs.pop()
        highs.append(entry)
        return False

    def forget(self, now_ns: int) -> None:
        """Drop what is older than the window. Raises BadValueError when time goes back."""
        if now_ns < self.last_ns:
            raise BadValueError("now_ns", f"{now_ns} is before {self.last_ns}")
        self.last_ns = now_ns
        oldest = now_ns - self.window_ns
        lows, highs = self.lows, self.highs
        while lows and lows[0][0] < oldest:
            lows.popleft()
        while highs and highs[0][0] < oldest:
            highs.popleft()


@define
class DynamicBreaker:
    """One contract's breaker for one session.

    A price beyond lowest + width or highest - width of the last hour triggers it and empties the window, which starts
    anew with the reopening. Whether a price at the limit triggers is not settled by the sources: `is_hit_at_limit`.
    """

    width_ticks: int
    is_hit_at_limit: bool = False
    window: RollingRange = field(factory=lambda: RollingRange(WINDOW_NS))

    def __attrs_post_init__(self) -> None:
        if self.width_ticks <= 0:
            raise BadValueError("width_ticks", f"{self.width_ticks} is not positive")

    def check(self, now_ns: int, ticks: int) -> bool:
        """Return True when a price triggers the breaker; otherwise take it into the window."""
        return self.window.passes(now_ns, ticks, self.width_ticks - self.is_hit_at_limit)

    def limits(self, now_ns: int) -> tuple[int, int] | None:
        """Return the lowest and highest price in ticks that do not trigger, None before the first price."""
        window = self.window
        window.forget(now_ns)
        if not window.lows:
            return None
        allowed = self.width_ticks - self.is_hit_at_limit
        return window.highs[0][1] - allowed, window.lows[0][1] + allowed


@frozen
class VelocityRule:
    """A move of more than `ticks` within `window_ns` pauses for `pause_ns`. CME's values were not retrieved."""

    ticks: int
    window_ns: int
    pause_ns: int

    def __attrs_post_init__(self) -> None:
        for name, value in (("ticks", self.ticks), ("window_ns", self.window_ns), ("pause_ns", self.pause_ns)):
            if value <= 0:
                raise BadValueError(name, f"{value} is not positive")


@define
class VelocityLogic:
    """One contract's velocity logic: off without a rule, which is the default."""

    rule: VelocityRule | None = None
    window: RollingRange | None = None

    def check(self, now_ns: int, ticks: int) -> int:
        """Return how long a price pauses the group, in nanoseconds; 0 when it does not."""
        if self.rule is None:
            return 0
        if self.window is None:
            self.window = RollingRange(self.rule.window_ns)
        return self.rule.pause_ns if self.window.passes(now_ns, ticks, self.rule.ticks) else 0
