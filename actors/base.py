"""What an actor is: declared inputs, declared outputs, one state object, one outbox."""

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from attrs import define, field

from actors.snapshot import SnapshotError, from_plain, to_plain
from venues.port import Command, Lane, Message, message

Handler = Callable[[int, Any], None]
_F = TypeVar("_F", bound=Callable[..., None])

_HANDLED = "__basisd_handles__"


@message(lane=Lane.CONTROL)
class TimerFired(Message):
    """A timer of `actor` came due; `ts` is when it was due. Delivered to that actor's `on_timer` alone."""

    ts: int
    actor: str
    key: str


def handles(*types: type[Message]) -> Callable[[_F], _F]:
    """Mark a method `(self, now, message)` as the handler of `types`."""

    def mark(method: _F) -> _F:
        setattr(method, _HANDLED, types)
        return method

    return mark


@define
class Outbox:
    """What an actor may do to the world. Everything is staged: if the handler raises, none of it happens.

    `emit` hands a message to the cell's other actors, `send` a command to a venue, after it was journaled.
    """

    owner: str
    emit: Callable[[Message], None]
    send: Callable[[Command], None]
    _set_timer: Callable[[tuple[str, str, int | None]], None]
    _current_seq: Callable[[], int]

    @property
    def seq(self) -> int:
        """The sequence number of the message being handled."""
        return self._current_seq()

    def timer(self, key: str, at: int) -> None:
        """Ask for `on_timer(key)` at `at` (ns UTC); a pending timer of the same key is replaced."""
        self._set_timer((self.owner, key, at))

    def cancel_timer(self, key: str) -> None:
        """Forget the pending timer `key`; forgetting none is fine."""
        self._set_timer((self.owner, key, None))


class WiringError(ValueError):
    """Actors that cannot be put together: names twice, two handlers for one type in one actor."""


class Actor:
    """A synchronous state machine.

    Subclasses keep everything that changes in `state` (an attrs object), name the messages they emit in `publishes`
    and the commands they send in `sends`, and mark handlers with `@handles`. Configuration given to the constructor
    stays constant. `schema` numbers the shape of `state`; `migrations[n]` turns a plain snapshot of schema n into
    schema n + 1.
    """

    publishes: ClassVar[tuple[type[Message], ...]] = ()
    sends: ClassVar[tuple[type[Command], ...]] = ()
    schema: ClassVar[int] = 1
    migrations: ClassVar[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    name: str
    state: Any
    out: Outbox

    def __init__(self, name: str = "") -> None:
        self.name = name or type(self).__name__
        self.out = detached_outbox(self.name)

    @classmethod
    def handlers(cls) -> dict[type[Message], str]:
        """Return the method name for each message type handled. Raises WiringError for a type handled twice."""
        table: dict[type[Message], str] = {}
        for attribute in sorted(dir(cls)):
            for kind in getattr(getattr(cls, attribute), _HANDLED, ()):
                if kind in table:
                    raise WiringError(f"{cls.__name__} handles {kind.__name__} in {table[kind]} and {attribute}")
                table[kind] = attribute
        return table

    def handle(self, now: int, message: Message) -> None:
        """Deliver one message by hand, as tests do; the dispatcher calls the handlers directly."""
        if isinstance(message, TimerFired):
            self.on_timer(now, message.key)
            return
        getattr(self, self.handlers()[type(message)])(now, message)

    def inherit(self, failed: Any) -> None:
        """Called when the cell was rebuilt, before CellRestarted: `failed` is this actor as it was when one failed.

        What may not be undone with the input set aside is kept here. A replay comes here at the same input.
        """

    def start(self, now: int) -> None:
        """Called once before the first input of a run that did not restore a snapshot; may emit and set timers."""

    def on_timer(self, now: int, key: str) -> None:
        raise NotImplementedError(f"{self.name} set a timer ({key}) and does not handle it")

    def snapshot(self) -> dict[str, Any]:
        """Return `{"schema": int, "state": plain data}`, fit for JSON. Raises SnapshotError."""
        return {"schema": self.schema, "state": to_plain(self.state, self.name)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Replace the state by a snapshot's, migrating it from an older schema.

        Raises SnapshotError when the schema is unknown or the data does not fit; the state is unchanged then.
        """
        schema, plain = snapshot["schema"], snapshot["state"]
        while schema != self.schema:
            step = self.migrations.get(schema)
            if step is None:
                raise SnapshotError(f"{self.name}: no way from snapshot schema {schema} to {self.schema}")
            plain, schema = step(plain), schema + 1
        self.state = from_plain(plain, type(self.state), self.name)


@define
class Collected:
    """What a detached actor did, for tests that call handlers directly. `timers` are (owner, key, ns or None)."""

    emitted: list[Message] = field(factory=list)
    sent: list[Command] = field(factory=list)
    timers: list[tuple[str, str, int | None]] = field(factory=list)


def detached_outbox(owner: str = "", into: Collected | None = None) -> Outbox:
    """Return an outbox that only collects."""
    sink = into if into is not None else Collected()
    return Outbox(owner, sink.emitted.append, sink.sent.append, sink.timers.append, lambda: 0)
