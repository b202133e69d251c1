"""How long a venue takes to answer, by what was asked: measured at the desk, wire and queues included."""

from collections.abc import Callable, Sequence
from time import perf_counter_ns

from attrs import define, field

from daemon.metrics.edges import EdgeStats
from venues.port import (
    CancelOrder,
    CancelRejected,
    Command,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderRejected,
    Query,
    QueryFailed,
    QueryResult,
    SubmitOrder,
)

_WAITING_MAX = 10_000

_KINDS: dict[type[Command], str] = {SubmitOrder: "submit", CancelOrder: "cancel", Query: "query"}

_ANSWERS: dict[type[Message], tuple[str, bool]] = {
    OrderAccepted: ("submit", True),
    OrderRejected: ("submit", False),
    OrderCanceled: ("cancel", True),
    CancelRejected: ("cancel", False),
    QueryResult: ("query", True),
    QueryFailed: ("query", False),
}
"""Which report answers which kind of request, and whether it says yes."""


@define
class ApiTimes:
    """Requests that wait for their answers. What is never answered is forgotten when too many wait."""

    edges: EdgeStats
    venue_of: Callable[[str], str]
    _waiting: dict[tuple[str, str], int] = field(factory=dict)

    def sent(self, commands: Sequence[Command]) -> None:
        """Note requests at the moment they are handed over."""
        now = perf_counter_ns()
        for command in commands:
            kind = _KINDS.get(type(command))
            if kind is not None:
                self._waiting[kind, _name(command)] = now
        while len(self._waiting) > _WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]

    def heard(self, message: Message) -> None:
        """Count an answer to a request of ours; others pass."""
        found = _ANSWERS.get(type(message))
        if found is None:
            return
        kind, is_ok = found
        began = self._waiting.pop((kind, _name(message)), None)
        if began is not None:
            account: str = message.account  # type: ignore[attr-defined]
            self.edges.note_request(self.venue_of(account), kind, perf_counter_ns() - began, is_ok=is_ok)


def _name(message: Message) -> str:
    return str(getattr(message, "query_id", "") or getattr(message, "client_order_id", ""))
