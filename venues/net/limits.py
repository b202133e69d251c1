"""When a request may go, given what the venue allows and who else wants to ask."""

from collections import deque
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

from attrs import Factory, define, frozen

from venues.net.errors import LimitError

_DIGITS_MAX: Final = 12


class Priority(IntEnum):
    """Who may go further into a pool: what ends risk before what adds it."""

    CANCEL = 0
    HEDGE = 1
    QUERY = 2
    NEW = 3


CEILING_PERCENT: Final[Mapping[Priority, int]] = {
    Priority.CANCEL: 100,
    Priority.HEDGE: 95,
    Priority.QUERY: 85,
    Priority.NEW: 75,
}
"""How much of a pool each class may use at most; the rest is kept for the classes above it."""


@frozen
class PoolRule:
    """One limit of a venue: `limit` tokens within any `interval_ns`.

    `counts` is the venue's word for what is counted (weight, orders, connects). `header` is the response header that
    tells how much is used, in small letters; empty where there is none.
    """

    name: str
    limit: int
    interval_ns: int
    counts: str = "weight"
    header: str = ""


@frozen
class Throttle:
    """A venue's order to be quiet until `until_ns`: in one pool, or (None) in all; as a ban for everything."""

    until_ns: int
    pool: str | None = None
    is_ban: bool = False


@frozen
class PoolState:
    """A pool as it is: how much is used, how much the lowest class may still take, until when it is shut."""

    name: str
    limit: int
    used: int
    left: int
    frozen_until_ns: int


@define
class _Pool:
    """Tokens spent by us in the last interval, and what the venue last said about everybody's.

    `takes` are (time, tokens), never more than the limit. `told` is the venue's figure plus what went out after the
    request that brought it, and means something until `told_until_ns`: by then the venue's window has ended.
    """

    rule: PoolRule
    spent: int = 0
    takes: deque[tuple[int, int]] = Factory(deque)
    told: int = 0
    told_until_ns: int = 0
    frozen_until_ns: int = 0

    def forget_before(self, now_ns: int) -> None:
        """Give back what was spent an interval ago or more."""
        latest_ns = now_ns - self.rule.interval_ns
        while self.takes and self.takes[0][0] <= latest_ns:
            self.spent -= self.takes.popleft()[1]
        if now_ns >= self.told_until_ns:
            self.told = 0

    def used(self, now_ns: int) -> int:
        self.forget_before(now_ns)
        return max(self.spent, self.told)

    def spend(self, tokens: int, now_ns: int) -> None:
        at_ns = max(now_ns, self.takes[-1][0]) if self.takes else now_ns
        self.takes.append((at_ns, tokens))
        self.spent += tokens
        if now_ns < self.told_until_ns:
            self.told += tokens

    def spent_after(self, instant_ns: int) -> int:
        tokens = 0
        for at_ns, taken in reversed(self.takes):
            if at_ns <= instant_ns:
                break
            tokens += taken
        return tokens

    def free_at(self, tokens: int, ceiling: int, now_ns: int) -> int:
        """When `tokens` more stay within `ceiling`, if nothing else is taken or told meanwhile."""
        free_ns = self.told_until_ns if self.told + tokens > ceiling else now_ns
        over = self.spent + tokens - ceiling
        for at_ns, taken in self.takes:
            if over <= 0:
                break
            over -= taken
            free_ns = max(free_ns, at_ns + self.rule.interval_ns)
        return free_ns


class RatePools:
    """The pools of one venue, shared by everybody who asks it. Times are nanoseconds of one clock.

    How a venue aligns its windows is not relied upon: no span of an interval's length ever holds more than the limit
    of what we take. What the venue says is used counts where it is more: others may share the address. A clock that is
    set back makes tokens come back later, never sooner.
    """

    def __init__(
        self, rules: Iterable[PoolRule], ceiling_percent: Mapping[Priority, int] = CEILING_PERCENT, *, speed: int = 1
    ) -> None:
        """The clock of the times runs `speed` times as fast as that by which one sleeps.

        Raises LimitError for two pools of one name, a limit or interval that is not positive, a missing class.
        """
        self._pools: dict[str, _Pool] = {}
        for rule in rules:
            if rule.limit <= 0 or rule.interval_ns <= 0:
                raise LimitError(f"pool {rule.name}: limit {rule.limit} in {rule.interval_ns} ns")
            if rule.name in self._pools:
                raise LimitError(f"two pools are called {rule.name}")
            self._pools[rule.name] = _Pool(rule)
        missing = [priority.name for priority in Priority if not 0 < ceiling_percent.get(priority, 0) <= 100]
        if missing:
            raise LimitError(f"no share between 1 and 100 percent for {', '.join(missing)}")
        self._percent = dict(ceiling_percent)
        self._speed = speed
        self._banned_until_ns = 0
        self.granted = 0
        self.refused = 0

    @property
    def rules(self) -> tuple[PoolRule, ...]:
        return tuple(pool.rule for pool in self._pools.values())

    @property
    def banned_until_ns(self) -> int:
        """Until when nothing may be sent at all; 0 when that was never so."""
        return self._banned_until_ns

    def wait_s(self, now_ns: int, until_ns: int) -> float:
        """Return how many seconds to sleep until it is `until_ns`, which `take` returned at `now_ns`."""
        return (until_ns - now_ns) / 1e9 / self._speed

    def take(self, priority: Priority, costs: Mapping[str, int], now_ns: int) -> int | None:
        """Take all tokens and return None, or take nothing and return the time from which on it may be tried again.

        A ban stops everything, a frozen pool whatever costs something there. Raises LimitError for a pool nobody
        named, a negative cost, and one that this class may never have in a single request.
        """
        wait_ns = self._banned_until_ns
        for name, tokens in costs.items():
            pool = self._pool(name)
            ceiling = self._ceiling(pool.rule, priority)
            if not 0 <= tokens <= ceiling:
                raise LimitError(f"{tokens} tokens of {name}: {priority.name} may have between 0 and {ceiling}")
            if not tokens:
                continue
            wait_ns = max(wait_ns, pool.frozen_until_ns)
            if pool.used(now_ns) + tokens > ceiling:
                wait_ns = max(wait_ns, pool.free_at(tokens, ceiling, now_ns))
        if wait_ns > now_ns:
            self.refused += 1
            return wait_ns
        for name, tokens in costs.items():
            if tokens:
                self._pools[name].spend(tokens, now_ns)
        self.granted += 1
        return None

    def note_used(self, name: str, used: int, now_ns: int, sent_ns: int | None = None) -> None:
        """The venue says how much is used, in the answer to a request sent at `sent_ns` (now, where that is unknown).

        What went out after that request may not be counted yet and is added. Raises LimitError for an unknown pool;
        a negative figure is none.
        """
        pool = self._pool(name)
        if used < 0:
            return
        pool.forget_before(now_ns)
        since_ns = now_ns if sent_ns is None else sent_ns
        pool.told = used + pool.spent_after(since_ns)
        pool.told_until_ns = now_ns + pool.rule.interval_ns

    def note_headers(self, headers: Mapping[str, str], now_ns: int, sent_ns: int | None = None) -> None:
        """Take from response headers (names in small letters) what the rules say can be found there."""
        for pool in self._pools.values():
            told = headers.get(pool.rule.header, "") if pool.rule.header else ""
            if told.isascii() and told.isdigit() and len(told) <= _DIGITS_MAX:
                self.note_used(pool.rule.name, int(told), now_ns, sent_ns)

    def ban(self, until_ns: int) -> None:
        """Send nothing before `until_ns`, of no class and to no pool. Never makes a ban shorter."""
        self._banned_until_ns = max(self._banned_until_ns, until_ns)

    def freeze(self, until_ns: int, name: str | None = None) -> None:
        """Take nothing from one pool, or from any, before `until_ns`. Never makes it shorter."""
        for pool in self._pools.values() if name is None else (self._pool(name),):
            pool.frozen_until_ns = max(pool.frozen_until_ns, until_ns)

    def obey(self, throttle: Throttle | None) -> None:
        """Do what the venue asks for; None asks for nothing."""
        if throttle is None:
            return
        if throttle.is_ban:
            self.ban(throttle.until_ns)
        else:
            self.freeze(throttle.until_ns, throttle.pool)

    def state(self, now_ns: int) -> tuple[PoolState, ...]:
        """How the pools stand, for metrics and for whoever must decide whether to start something."""
        states = []
        for pool in self._pools.values():
            used = pool.used(now_ns)
            left = max(0, self._ceiling(pool.rule, Priority.NEW) - used)
            if max(pool.frozen_until_ns, self._banned_until_ns) > now_ns:
                left = 0
            states.append(PoolState(pool.rule.name, pool.rule.limit, used, left, pool.frozen_until_ns))
        return tuple(states)

    def _pool(self, name: str) -> _Pool:
        try:
            return self._pools[name]
        except KeyError:
            raise LimitError(f"no pool is called {name}") from None

    def _ceiling(self, rule: PoolRule, priority: Priority) -> int:
        return max(1, rule.limit * self._percent[priority] // 100)
