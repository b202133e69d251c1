"""In which order messages reach actors, and what happens to what they emit."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from attrs import define, frozen

from actors.base import Actor, Handler, Outbox, TimerFired, WiringError
from actors.timers import Timers
from venues.port import Command, FeedGap, Lane, Message, message

_FEED, _ORDERS, _CONTROL = Lane.FEED, Lane.ORDERS, Lane.CONTROL

_Item = tuple[Message, Any, str]
"""A queued message, the item that caused it (None for an input) and who emitted it."""

ViewKey = tuple[type[Message], str]
"""What may wait once: a class of view and what it is of."""


@frozen
class Limits:
    """Bounds of a cell: messages caused by one input, queued market inputs, queued order-path inputs."""

    messages_per_input: int = 10_000
    feed_depth: int = 65_536
    orders_high_water: int = 4_096


@message(lane=Lane.CONTROL)
class InboxHighWater(Message):
    """The orders lane grew past its high water (`is_over`), or was drained again."""

    ts: int
    depth: int
    is_over: bool


class View(Message):
    """What feed handlers publish. A view still waiting is overtaken by a newer one of the same class and key."""

    __slots__ = ()

    @property
    def key(self) -> str:
        """Return what the view is of, the instrument as a rule."""
        raise NotImplementedError

    def over(self, waiting: Any) -> Message:
        """Return what replaces `waiting`: this view, or both summed."""
        return self


@frozen
class Intent:
    """A command an actor sent. `cause` is the message that made it send, `root` the input that started it all."""

    seq: int
    cause: int
    root: int
    command: Command


class Sink(Protocol):
    """Where a dispatcher writes down what it took. `is_held` says that views were waiting and stayed so."""

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None: ...


class NoSink:
    """A sink for tests and benchmarks that need no log."""

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        pass


class DispatchError(Exception):
    """The cell cannot go on with the input `seq`."""

    def __init__(self, seq: int, why: str) -> None:
        super().__init__(f"input {seq}: {why}")
        self.seq = seq


class HandlerFailedError(DispatchError):
    """A handler raised (the cause is chained); what the input had staged so far is discarded."""

    def __init__(self, seq: int, actor: str, failed: str, error: BaseException) -> None:
        super().__init__(seq, f"{actor} failed on {failed}: {type(error).__name__}: {error}")
        self.actor = actor


class MessageStormError(DispatchError):
    """One input caused more messages than allowed. `chain` names them from the input to the last, oldest first."""

    def __init__(self, seq: int, chain: Sequence[str], limit: int) -> None:
        super().__init__(seq, f"more than {limit} messages; the last: {' <- '.join(reversed(chain[-12:]))}")
        self.chain = tuple(chain)


@message(lane=Lane.CONTROL)
class _Start(Message):
    ts: int
    actor: str


_OWN = (TimerFired, _Start)
"""What is for the actor it names, and for nobody else."""


@define
class Slot:
    """One subscription: an actor's handler of one message type.

    `publishes` tells for each type the actor may emit whether it is a view.
    """

    actor: str
    handler: Handler
    publishes: dict[type[Message], bool]
    sends: frozenset[type[Command]]


_Route = tuple[tuple[Handler, Slot], ...]
"""A type's subscriptions, taken apart once so that the loop over messages need not."""


def _route(slots: Sequence[Slot]) -> _Route:
    return tuple((slot.handler, slot) for slot in slots)


@define
class Counters:
    """Plain integers that a metrics edge may read at any time."""

    inputs: int = 0
    messages: int = 0
    intents: int = 0
    timers: int = 0
    views_overwritten: int = 0
    feed_discarded: int = 0
    feed_gaps: int = 0


class Dispatcher:
    """Delivers messages between the actors of one cell, in FIFO order, until nothing is left to do.

    External inputs wait in lanes (control, orders, feed; see venues.port.Lane); views wait until those are empty.
    `run` takes them in that order. Whatever a handler emits is published only when it returns; commands collect in
    `effects`, to be journaled and sent as one batch once `run` returns.
    """

    def __init__(self, actors: Sequence[Actor], *, sink: Sink | None = None, limits: Limits | None = None) -> None:
        self.actors = {actor.name: actor for actor in actors}
        if len(self.actors) != len(actors):
            raise WiringError("two actors have the same name")
        self.sink: Sink = sink or NoSink()
        self.limits = limits or Limits()
        self.counters = Counters()
        self.seq = 0
        self._root = 0
        self.effects: list[Intent] = []
        self._queue: deque[_Item] = deque()
        # What the running handler emits, sends and sets, as it did so: one list to look into after each handler.
        self._staged: list[Any] = []
        self._control: deque[Message] = deque()
        self._orders: deque[Message] = deque()
        self._feed: deque[Message] = deque()
        self._views: dict[ViewKey, tuple[_Item, int]] = {}
        # Views delivered since the last input, and how many messages they caused by input.
        self._delivered: list[tuple[ViewKey, int]] = []
        self._spent: dict[int, int] = {}
        self._last_now = 0
        self._is_over_high_water = False
        self._timers = Timers()
        self._routes: dict[type[Message], _Route] = {}
        self._own_routes: dict[str, _Route] = {}
        self._wire()

    def _wire(self) -> None:
        routes: dict[type[Message], list[Slot]] = {}
        for name, actor in self.actors.items():
            stage = self._staged.append
            actor.out = Outbox(name, stage, stage, stage, self._current_seq)
            publishes = {kind: kind.lane is Lane.VIEWS for kind in actor.publishes}
            sends = frozenset(actor.sends)
            for kind, method in actor.handlers().items():
                routes.setdefault(kind, []).append(Slot(name, getattr(actor, method), publishes, sends))
            self._own_routes[name] = _route([Slot(name, _own_handler(actor), publishes, sends)])
        self._routes = {kind: _route(slots) for kind, slots in routes.items()}

    def _current_seq(self) -> int:
        return self.seq

    # Inbox

    def offer(self, message: Message) -> None:
        """Put an external input into its lane. A full feed lane discards the fullest instrument and marks its gap."""
        lane = message.lane
        if lane is _FEED:
            if len(self._feed) >= self.limits.feed_depth:
                self._discard_fullest(message.ts)
            self._feed.append(message)
        elif lane is _ORDERS:
            self._orders.append(message)
            if not self._is_over_high_water and len(self._orders) > self.limits.orders_high_water:
                self._is_over_high_water = True
                self._control.append(InboxHighWater(message.ts, len(self._orders), True))
        elif lane is _CONTROL:
            self._control.append(message)
        else:
            raise WiringError(f"{type(message).__name__} is a view; only feed handlers publish views")

    def _discard_fullest(self, ts: int) -> None:
        depths: dict[str, int] = {}
        for waiting in self._feed:
            instrument: str = waiting.instrument  # type: ignore[attr-defined]
            depths[instrument] = depths.get(instrument, 0) + 1
        fullest = max(sorted(depths), key=depths.__getitem__)
        kept = [waiting for waiting in self._feed if waiting.instrument != fullest]  # type: ignore[attr-defined]
        self.counters.feed_discarded += len(self._feed) - len(kept)
        self.counters.feed_gaps += 1
        self._feed.clear()
        self._feed.extend(kept)
        self._feed.append(FeedGap(ts, fullest, f"inbox overflow, {depths[fullest]} frames discarded"))

    @property
    def depths(self) -> dict[str, int]:
        """How many messages wait in each lane."""
        return {
            "control": len(self._control),
            "orders": len(self._orders),
            "feed": len(self._feed),
            "views": len(self._views),
        }

    # Timers

    def next_timer(self) -> int | None:
        """Return when the earliest pending timer is due (ns), None without one."""
        return self._timers.next_ns()

    def offer_due(self, now: int) -> None:
        """Move the timers due at or before `now` into the control lane, earliest first."""
        self._control.extend(self._timers.due(now))

    def _take_timer(self, fired: TimerFired) -> bool:
        is_pending = self._timers.take(fired)
        self.counters.timers += is_pending
        return is_pending

    # Dispatch

    def start(self, now: int) -> None:
        """Let every actor begin, in wiring order, and deliver what they emit."""
        self._last_now = now
        self._queue.extend((_Start(now, name), None, "input") for name in self.actors)
        if self._queue:
            self._deliver(self._queue.popleft())

    def run(self, now: int, inputs_max: int | None = None) -> None:
        """Take inputs until every lane is empty, or `inputs_max` inputs and views were taken (see `is_idle`).

        Raises HandlerFailedError or MessageStormError; the lanes then still hold the inputs behind the failed one.
        """
        left = -1 if inputs_max is None else inputs_max
        # Views that have begun to be delivered are delivered to the last: a replay knows no stop between them.
        while left or (self._delivered and self._views):
            following = self._next(now)
            if following is None:
                return
            if left > 0:
                left -= 1
            self._deliver(following)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in any lane."""
        return not (self._queue or self._views or self._control or self._orders or self._feed)

    def take(self, now: int, message: Message, *, is_held: bool = False) -> None:
        """Deliver one input and everything it causes. Replays call this with the logged `is_held`."""
        if not is_held:
            self.drain_views()
        self._deliver(self._log_input(now, message, is_held))

    def forget_timer(self, fired: TimerFired) -> bool:
        """Take a logged timer off the pending ones before a replay delivers it; False when none was pending."""
        return self._take_timer(fired)

    def drain_views(self) -> None:
        """Deliver the waiting views, oldest first; `run` does it when every lane is empty."""
        while self._views:
            self._deliver(self._take_view(next(iter(self._views))))

    def drain_view(self, key: ViewKey) -> None:
        """Deliver one waiting view out of turn, as a rebuild does; nothing when none waits."""
        if key in self._views:
            self._deliver(self._take_view(key))

    def delivered_views(self, *, without: int) -> list[ViewKey]:
        """Return which views were delivered since the last input, leaving out those that input `without` caused."""
        return [key for key, root in self._delivered if root != without]

    def _take_view(self, key: ViewKey) -> _Item:
        item, self._root = self._views.pop(key)
        self._delivered.append((key, self._root))
        return item

    def _next(self, now: int) -> _Item | None:
        """Return the next input from the lanes, logged, or a waiting view, or None when nothing is left."""
        while self._control:
            message = self._control.popleft()
            if not isinstance(message, TimerFired) or self._take_timer(message):
                return self._log_input(now, message, bool(self._views))
        if self._orders:
            message = self._orders.popleft()
            if self._is_over_high_water and not self._orders:
                self._is_over_high_water = False
                self._control.append(InboxHighWater(now, 0, False))
        elif self._feed:
            message = self._feed.popleft()
        elif self._views:
            return self._take_view(next(iter(self._views)))
        else:
            return None
        return self._log_input(now, message, bool(self._views))

    def _log_input(self, now: int, message: Message, is_held: bool) -> _Item:
        self.counters.inputs += 1
        self._root = root = self.seq + 1
        self._last_now = now
        if self._delivered:
            self._delivered.clear()
            if self._spent:
                self._spent.clear()
        self.sink.input(root, now, is_held, message)
        return message, None, "input"

    def _deliver(self, item: _Item) -> None:
        """Deliver one message and all it causes."""
        queue, routes, staged = self._queue, self._routes, self._staged
        begin = seq = self.seq
        # Of the last input, as in a replay: a view may have waited for a later run.
        now = self._last_now
        limit = self.limits.messages_per_input
        ceiling = seq + limit
        if self._spent:
            ceiling -= self._spent.get(self._root, 0)
        slot: Slot | None = None
        try:
            while True:
                message = item[0]
                self.seq = seq = seq + 1
                for handler, slot in routes.get(message.__class__) or self._own(message):
                    handler(now, message)
                    if staged:
                        seq = self._take_staged(slot, item, seq)
                if seq > ceiling:
                    raise MessageStormError(self._root, _chain(item), limit)
                if not queue:
                    break
                item = queue.popleft()
        except DispatchError:
            self._abandon()
            raise
        # An actor that wants to leave the process has failed as well.
        except (Exception, SystemExit) as error:
            self._abandon()
            failed = slot.actor if slot is not None else "?"
            raise HandlerFailedError(self._root, failed, type(message).__name__, error) from error
        finally:
            self.counters.messages += seq - begin
            self.seq = seq
        if self._views and self._delivered:
            # Another view of the same input may follow.
            self._spent[self._root] = self._spent.get(self._root, 0) + seq - begin

    def _take_staged(self, slot: Slot, cause: _Item, seq: int) -> int:
        """Take what a handler staged: messages, views, commands, timers.

        Returns the last number used: intents take one each.
        """
        publishes = slot.publishes.get
        for staged in self._staged:
            kind = staged.__class__
            is_view = publishes(kind)
            if is_view:
                self._publish(slot, staged, cause)
            elif is_view is not None:
                self._queue.append((staged, cause, slot.actor))
            elif kind is tuple:
                self._timers.set(*staged)
            elif kind in slot.sends:
                seq += 1
                self.effects.append(Intent(seq, self.seq, self._root, staged))
                self.counters.intents += 1
            else:
                how = "sends" if isinstance(staged, Command) else "emits"
                raise WiringError(f"{slot.actor} {how} undeclared {kind.__name__}")
        self._staged.clear()
        return seq

    def _publish(self, slot: Slot, view: Any, cause: _Item) -> None:
        """Let a view wait; it takes in or replaces the one that waits already."""
        key = (view.__class__, view.key)
        waiting = self._views.get(key)
        if waiting is not None:
            self.counters.views_overwritten += 1
            view = view.over(waiting[0][0])
        # Cut the chain behind the cause: a view may be replaced for ever and must not keep its ancestors alive.
        self._views[key] = ((view, (cause[0], None, cause[2]), slot.actor), self._root)

    def _own(self, message: Message) -> "_Route":
        """Return the addressee of a message that is for one actor alone; nobody, for what nobody handles."""
        return self._own_routes[message.actor] if isinstance(message, _OWN) else ()

    def _abandon(self) -> None:
        """Discard what was staged, and every command of the failed input that was not handed out yet."""
        self._queue.clear()
        self._staged.clear()
        kept = [intent for intent in self.effects if intent.root != self._root]
        self.counters.intents -= len(self.effects) - len(kept)
        self.effects = kept

    def take_effects(self) -> list[Intent]:
        """Return the commands collected since the last call, in order, and forget them."""
        effects, self.effects = self.effects, []
        return effects

    # Snapshot

    def snapshot(self) -> dict[str, Any]:
        """Return sequence number, timers and every actor's snapshot. Only between runs: nothing may be waiting."""
        if not self.is_idle:
            raise WiringError("a snapshot is taken when nothing is left to do")
        return {
            "seq": self.seq,
            "now": self._last_now,
            **self._timers.snapshot(),
            "actors": {name: actor.snapshot() for name, actor in self.actors.items()},
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot. Raises SnapshotError when an actor cannot read its part."""
        for name, actor in self.actors.items():
            if name in snapshot["actors"]:
                actor.restore(snapshot["actors"][name])
        self.seq = snapshot["seq"]
        self._last_now = snapshot["now"]
        self._timers.restore(snapshot)

    def take_over(self, old: "Dispatcher") -> None:
        """Continue where `old` stopped: its waiting inputs, unsent commands, counters and sequence number."""
        self._control, self._orders, self._feed = old._control, old._orders, old._feed
        self._is_over_high_water = old._is_over_high_water
        self.effects = old.effects
        self.counters = old.counters
        self.seq = old.seq

    # Inspection

    @property
    def now(self) -> int:
        """When the last input was taken (ns UTC)."""
        return self._last_now

    def subscriptions(self) -> dict[type[Message], tuple[Slot, ...]]:
        """Return who handles what."""
        return {kind: tuple(slot for _, slot in route) for kind, route in self._routes.items()}


def _chain(item: _Item | None) -> list[str]:
    chain: list[str] = []
    while item is not None:
        message, item, emitter = item
        chain.append(f"{type(message).__name__} from {emitter}")
    return chain[::-1]


def _own_handler(actor: Actor) -> Handler:
    def receive(now: int, message: TimerFired | _Start) -> None:
        if isinstance(message, TimerFired):
            actor.on_timer(now, message.key)
        else:
            actor.start(now)

    return receive


__all__ = [
    "Counters",
    "DispatchError",
    "Dispatcher",
    "HandlerFailedError",
    "InboxHighWater",
    "Intent",
    "Limits",
    "MessageStormError",
    "NoSink",
    "Sink",
    "Slot",
    "View",
    "ViewKey",
]
