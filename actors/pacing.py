"""Decides what a venue's limits leave room for: cancels first, then hedges, then queries, then new orders.

Asked before each command, and before a basket's first order about all that the basket may come to send.
Each limit of a venue is a token bucket kept as one instant, the time at which it would be full again if nothing more
were sent (GCRA, ITU-T I.371). A command counts when it is sent, not when it is answered.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import IntEnum
from math import ceil

from attrs import define, field, frozen

from actors.config_checks import not_negative, positive, share
from venues.model.money import ONE, ZERO
from venues.port import SubmitOrder


class Priority(IntEnum):
    """Who goes first. What reduces risk is a hedge."""

    CANCEL = 0
    HEDGE = 1
    QUERY = 2
    NEW = 3


@frozen
class RateLimit:
    """At most `most` weight in any `window_ns`, of each account or of all accounts at the venue (`is_shared`).

    `order`, `cancel` and `query` are what each costs, 0 what the limit does not count. The share `burst` of it may be
    sent at once, the rest refills evenly: more than `most` never fall into a window.
    """

    most: int = field(validator=positive)
    window_ns: int = field(validator=positive)
    is_shared: bool = False
    order: int = field(default=1, validator=not_negative)
    cancel: int = field(default=1, validator=not_negative)
    query: int = field(default=1, validator=not_negative)
    burst: Decimal = field(default=Decimal("0.5"), validator=share)

    @property
    def burst_weight(self) -> int:
        return max(1, int(self.most * self.burst))

    @property
    def step_ns(self) -> int:
        """How long one unit of weight takes to refill.

        A window shorter than `n` steps holds at most burst + n - 1 units; n is chosen so that this is `most`.
        """
        return -(-self.window_ns // (self.most - self.burst_weight + 1))

    def room(self, kept: Decimal) -> int:
        """How much may be sent at once when the share `kept` of it is left."""
        return self.burst_weight - ceil(self.burst_weight * kept)

    def __attrs_post_init__(self) -> None:
        dearest = max(self.order, self.cancel, 2 * self.query)
        if dearest > self.burst_weight:
            raise ValueError(f"burst: {self.burst_weight} of {self.most} at once, a command may cost {dearest}")


@frozen
class VenuePace:
    """A venue's limits, all of which hold."""

    limits: tuple[RateLimit, ...] = ()


@frozen
class PacingConfig:
    """Limits by venue id; a venue without an entry has none. Shares are of what may be sent at once.

    `cancel_reserve` is left to cancels alone, `hedge_reserve` to them and hedges, `query_reserve` to all but new
    orders. An order that waits longer than its patience is not sent any more. At most `queue_max` new orders wait.
    Before its first order a basket is promised `leg_orders` and `leg_cancels` for each leg.
    After a refusal for their number, new orders and queries rest for `backoff_ns`, doubled by every further one up to
    `backoff_max_ns`, or as long as the venue says.
    """

    venues: Mapping[str, VenuePace] = field(factory=dict, metadata={"ref": "venue"})
    cancel_reserve: Decimal = field(default=Decimal("0.2"), validator=share)
    hedge_reserve: Decimal = field(default=Decimal("0.2"), validator=share)
    query_reserve: Decimal = field(default=Decimal("0.1"), validator=share)
    patience_ns: int = field(default=500_000_000, validator=positive)
    hedge_patience_ns: int = field(default=5_000_000_000, validator=positive)
    queue_max: int = field(default=50, validator=positive)
    backoff_ns: int = field(default=2_000_000_000, validator=positive)
    backoff_max_ns: int = field(default=120_000_000_000, validator=positive)
    leg_orders: int = field(default=2, validator=positive)
    leg_cancels: int = field(default=1, validator=not_negative)

    def __attrs_post_init__(self) -> None:
        kept = self.kept(Priority.NEW)
        if kept >= ONE:
            raise ValueError(f"query_reserve: the reserves are {kept} of everything, nothing is left to new orders")

    def limits(self, venue: str) -> tuple[RateLimit, ...]:
        pace = self.venues.get(venue)
        return () if pace is None else pace.limits

    def kept(self, priority: Priority) -> Decimal:
        """Return the share that a priority leaves to those before it."""
        return sum((ZERO, self.cancel_reserve, self.hedge_reserve, self.query_reserve)[: priority + 1], ZERO)

    def patience(self, priority: Priority) -> int:
        return self.hedge_patience_ns if priority is Priority.HEDGE else self.patience_ns


@define
class Waiting:
    """A command of one order that waits for room: its submit, or a cancel when `command` is None.

    It is tried at `due_ns`; a submit that is still here at `until_ns` is given up. `number` tells who came first.
    One that `is_held` waits for its own time, not for room, and keeps nobody waiting.
    """

    account: str
    venue: str
    priority: Priority
    number: int
    due_ns: int
    since_ns: int
    until_ns: int | None = None
    command: SubmitOrder | None = None
    is_held: bool = False


@define
class Promise:
    """What a basket under way may come to send from one account beyond what it has sent."""

    venue: str
    orders: int
    cancels: int

    def weight(self, limit: RateLimit) -> int:
        return self.orders * limit.order + self.cancels * limit.cancel


@define
class PacingState:
    """`full_ns` by bucket: when it is full again. `frozen_ns` by venue: until when only cancels and hedges go.

    `waiting` by client id; `refusals` counts a venue's since it last took something new. `promises` by basket and
    account.
    """

    full_ns: dict[str, int] = field(factory=dict)
    frozen_ns: dict[str, int] = field(factory=dict)
    refusals: dict[str, int] = field(factory=dict)
    waiting: dict[str, Waiting] = field(factory=dict)
    next_number: int = 1
    delayed: int = 0
    given_up: int = 0
    promises: dict[str, dict[str, Promise]] = field(factory=dict)


_Toll = tuple[str, int, int]
"""What one command of a priority costs one bucket: its key, nanoseconds, and how far ahead (ns) it may then be."""


@frozen
class _Way:
    """Where an account's commands go, and by priority the buckets that count them.

    `drains` says how far (ns) each bucket is to be ahead for only the reserves of cancels and hedges to be left.
    """

    venue: str
    tolls: tuple[tuple[_Toll, ...], ...]
    drains: tuple[tuple[str, int], ...]


class Pacer:
    """The decision over a PacingState. `state` may be replaced by a restored one."""

    def __init__(self, config: PacingConfig, state: PacingState) -> None:
        self.config = config
        self.state = state
        self._ways: dict[str, _Way] = {}

    def take(self, now: int, venue: str, account: str, priority: Priority, count: int = 1, basket_id: str = "") -> int:
        """Count `count` commands and return 0, or count none and return when (ns) there may be room.

        `venue` is the account's; what goes for a basket keeps a part of its promise.
        """
        way = self._ways.get(account)
        if way is None:
            way = self._make(venue, account)
        state = self.state
        if state.frozen_ns and priority >= Priority.QUERY:
            until = state.frozen_ns.get(venue, 0)
            if now < until:
                return until
        full, later = state.full_ns, now
        tolls = way.tolls[priority]
        for key, cost, room in tolls:
            at = full.get(key, 0)
            free = (at if at > now else now) + cost * count - room
            later = max(later, free)
        if later > now:
            return later
        for key, cost, _ in tolls:
            at = full.get(key, 0)
            full[key] = (at if at > now else now) + cost * count
        if basket_id and state.promises:
            self._keep(basket_id, account, priority)
        return 0

    # Promises

    def promise(self, now: int, basket_id: str, legs: Iterable[tuple[str, str]], priority: Priority) -> list[str]:
        """Promise a basket its commands and return nothing, or promise none and return the reasons.

        `legs` are the account of each leg with its venue. A promise holds if all of it, and of those that were given
        before, were sent at once: it lies within what `priority` may use, NEW to open, HEDGE to close.
        """
        wanted: dict[str, Promise] = {}
        for account, venue in legs:
            one = wanted.setdefault(account, Promise(venue, 0, 0))
            one.orders += self.config.leg_orders
            one.cancels += self.config.leg_cancels
        reasons = []
        for account, one in wanted.items():
            if priority >= Priority.QUERY and now < self.state.frozen_ns.get(one.venue, 0):
                reasons.append(f"{one.venue} takes no new orders for {self.state.frozen_ns[one.venue] - now} ns")
            if self.is_behind(account, priority):
                reasons.append(f"{account}: orders wait for room already")
        reasons.extend(self._short(now, wanted, priority))
        if not reasons and any(one.venue in self.config.venues for one in wanted.values()):
            self.state.promises[basket_id] = wanted
        return reasons

    def release(self, basket_id: str) -> None:
        """The basket sends no more; what it has sent is counted where all is."""
        self.state.promises.pop(basket_id, None)

    def _short(self, now: int, wanted: Mapping[str, Promise], priority: Priority) -> list[str]:
        """Return which limits leave no room for `wanted` beside what is promised, each bucket once."""
        given = [pair for promises in self.state.promises.values() for pair in promises.items()]
        needs = self._weights(wanted.items())
        promised = self._weights(given)
        short = []
        for account, one in wanted.items():
            for number, limit in enumerate(self.config.limits(one.venue)):
                key = _bucket(one.venue, account, number, limit)
                need = needs.pop(key, 0)
                ahead = -(-max(0, self.state.full_ns.get(key, 0) - now) // limit.step_ns)
                free = limit.room(self.config.kept(priority)) - ahead - promised.get(key, 0)
                if need > max(free, 0):
                    short.append(f"{one.venue}: limit {number} has {max(free, 0)} free for a weight of {need}")
        return short

    def _weights(self, promises: Iterable[tuple[str, Promise]]) -> dict[str, int]:
        found: dict[str, int] = {}
        for account, one in promises:
            for number, limit in enumerate(self.config.limits(one.venue)):
                key = _bucket(one.venue, account, number, limit)
                found[key] = found.get(key, 0) + one.weight(limit)
        return found

    def _keep(self, basket_id: str, account: str, priority: Priority) -> None:
        promise = self.state.promises.get(basket_id, {}).get(account)
        if promise is None:
            return
        if priority is Priority.CANCEL:
            promise.cancels = max(0, promise.cancels - 1)
        else:
            promise.orders = max(0, promise.orders - 1)

    # Waiting

    def is_behind(self, account: str, priority: Priority) -> bool:
        """Whether something of the account that goes first, or came first, waits already."""
        return any(
            one.account == account and one.priority <= priority and not one.is_held
            for one in self.state.waiting.values()
        )

    def has_room(self, priority: Priority) -> bool:
        """Whether one more order may wait: what reduces risk always, new orders up to `queue_max`."""
        if priority is not Priority.NEW:
            return True
        return sum(one.priority is Priority.NEW for one in self.state.waiting.values()) < self.config.queue_max

    def wait(self, client_id: str, waiting: Waiting) -> None:
        waiting.number = self.state.next_number
        self.state.next_number += 1
        self.state.waiting[client_id] = waiting
        self.state.delayed += 1

    def queue(self) -> list[tuple[str, Waiting]]:
        """Return what waits, in the order in which it goes."""
        return sorted(self.state.waiting.items(), key=lambda pair: (pair[1].priority, pair[1].number))

    def next_ns(self) -> int | None:
        """Return when something waiting is to be tried or given up, None when nothing waits."""
        times = [min(one.due_ns, one.until_ns or one.due_ns) for one in self.state.waiting.values()]
        return min(times, default=None)

    def refused(self, now: int, venue: str, until_ns: int | None = None) -> int:
        """The venue refused for the number of requests: freeze what is new. Returns until when.

        The count here was too low, or others share the limit: only the reserves of cancels and hedges are left.
        What is refused while the venue is frozen already, as a hedge may be, makes the freeze no longer.
        """
        state, config = self.state, self.config
        frozen_ns = state.frozen_ns.get(venue, 0)
        if now >= frozen_ns:
            state.refusals[venue] = state.refusals.get(venue, 0) + 1
            frozen_ns = now + min(config.backoff_max_ns, config.backoff_ns << min(state.refusals[venue] - 1, 32))
            if until_ns is not None:
                frozen_ns = until_ns
        until = state.frozen_ns[venue] = max(until_ns or 0, frozen_ns)
        for way in self._ways.values():
            for key, spent_ns in way.drains if way.venue == venue else ():
                state.full_ns[key] = max(state.full_ns.get(key, 0), now + spent_ns)
        return until

    def accepted(self, now: int, venue: str) -> None:
        """The venue took a new order: once a freeze is over, the next one begins short again."""
        if self.state.refusals and now >= self.state.frozen_ns.get(venue, 0):
            self.state.refusals.pop(venue, None)
            self.state.frozen_ns.pop(venue, None)

    def _make(self, venue: str, account: str) -> _Way:
        tolls: list[list[_Toll]] = [[] for _ in Priority]
        drains = []
        reserved = self.config.kept(Priority.QUERY)
        for number, limit in enumerate(self.config.limits(venue)):
            step, key = limit.step_ns, _bucket(venue, account, number, limit)
            # At least as far ahead as one command of its own costs; an inquiry asks twice.
            costs = ((limit.cancel, 1), (limit.order, 1), (limit.query, 2), (limit.order, 1))
            drains.append((key, limit.room(reserved) * step))
            for priority, (cost, times) in zip(Priority, costs, strict=True):
                if cost:
                    room = max(times * cost, limit.room(self.config.kept(priority)))
                    tolls[priority].append((key, cost * step, room * step))
        way = self._ways[account] = _Way(venue, tuple(tuple(row) for row in tolls), tuple(drains))
        return way


def _bucket(venue: str, account: str, number: int, limit: RateLimit) -> str:
    return f"{venue}|{'' if limit.is_shared else account}|{number}"
