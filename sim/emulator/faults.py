"""Decides what goes wrong: which request, stream event or connection meets which fault, and when."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from fnmatch import fnmatchcase
from random import Random
from time import monotonic_ns
from typing import Any, Final

import trio
from attrs import define, evolve, field, frozen

from sim.emulator.fault_rules import NS_PER_S, FaultRule, Kind, On, Unavailable
from sim.emulator.http_server import NoAnswer

Event = Mapping[str, Any]

_BAN_S: Final = 120
# Binance, derivatives general info, "HTTP Return Codes" and the error codes -1000, -1007 and -1008.
_TOLD: Final[dict[Unavailable, tuple[int, str]]] = {
    Unavailable.UNKNOWN: (-1000, "Unknown error, please check your request or try again later."),
    Unavailable.UNAVAILABLE: (-1000, "Service Unavailable."),
    Unavailable.INTERNAL: (-1001, "Internal error; unable to process your request. Please try again."),
    Unavailable.THROTTLED: (
        -1008,
        "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. Please try again.",
    ),
}
_TIMEOUT: Final = (
    -1007,
    "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
)
_TOO_MANY: Final = (-1003, "Too many requests; please use the websocket for live updates.")
_CLIENT_IDS: Final = ("newClientOrderId", "origClientOrderId", "clientAlgoId")
# Where many orders stand in one parameter, as JSON.
_LISTS: Final = ("batchOrders", "origClientOrderIdList")


@frozen
class Subject:
    """A request as faults see it: REST with its method and path, WS API with "WS" and the method's name as path.

    `parameters` are the request's, as texts; `frees_risk` is true of cancels and of orders that only reduce, which
    the venue's throttle (-1008) lets pass.
    """

    method: str
    path: str
    parameters: Mapping[str, str]
    frees_risk: bool = False


@frozen
class RequestAction:
    """What happens to a request. `delay_before_ns` before it is looked at, `delay_after_ns` before the answer leaves.

    `answer` is None for the true answer, else what is told instead; `is_executed` says whether the request is carried
    out for all that. `retry_after_s` is a header, and the length of the ban where the status is 418.
    """

    delay_before_ns: int = 0
    delay_after_ns: int = 0
    is_executed: bool = True
    answer: NoAnswer | None = None
    status: int | None = None
    code: int = 0
    message: str = ""
    retry_after_s: int | None = None


NO_FAULT: Final = RequestAction()


@define
class _Set:
    """A fault that is set, since `since_ns`. `happened` counts the times of a timed one; `left` the rest of gaps."""

    id: int
    rule: FaultRule
    since_ns: int
    matched: int = 0
    fired: int = 0
    left: dict[tuple[int, str], int] = field(factory=dict)

    def is_due(self, now_ns: int, random: Random) -> bool:
        """Count one that the patterns matched; return whether it meets the fault."""
        rule = self.rule
        elapsed = now_ns - self.since_ns - rule.at_ns
        if elapsed < 0 or (rule.for_ns is not None and elapsed >= rule.for_ns):
            return False
        self.matched += 1
        past = self.matched - rule.after - 1
        if past < 0 or past % rule.every or (rule.times is not None and self.fired >= rule.times):
            return False
        if rule.probability < 1 and random.random() >= rule.probability:
            return False
        self.fired += 1
        return True

    def happened(self, now_ns: int) -> int:
        """Return how often a timed fault has happened by now."""
        elapsed = now_ns - self.since_ns - self.rule.at_ns
        if elapsed < 0:
            return 0
        count = 1 if self.rule.every_ns is None else elapsed // self.rule.every_ns + 1
        return count if self.rule.times is None else min(count, self.rule.times)

    def next_ns(self) -> int | None:
        """Return when it happens after the times that `fired` counts; None when never again."""
        every, times = self.rule.every_ns, self.rule.times
        if (self.fired and every is None) or (times is not None and self.fired >= times):
            return None
        return self.since_ns + self.rule.at_ns + self.fired * (every or 0)

    def lasts(self, now_ns: int) -> bool:
        """Return whether a fault that lasts is on now."""
        count = self.happened(now_ns)
        if not count:
            return False
        began = self.since_ns + self.rule.at_ns + (count - 1) * (self.rule.every_ns or 0)
        return self.rule.for_ns is None or now_ns < began + self.rule.for_ns


@define(eq=False)
class Link:
    """One websocket connection as faults see it.

    When `cut` is set the connection is to be closed at once, without a closing handshake. When `silenced` is set
    nothing more may be sent on it, nor read: it stays open, half dead.
    """

    route: str
    faults: "Faults"
    cut: trio.Event = field(factory=trio.Event)
    silenced: trio.Event = field(factory=trio.Event)
    last_due_ns: int = 0

    def on_event(self, stream: str, event: Event) -> list[tuple[int, Event]]:
        """Return what is to be sent for one event of a stream: (nanoseconds from now, event), in the order to send.

        Times never decrease along a link but by a fault that says so. `stream` is the name in the combined form; for
        user data it is "user". The event given is never changed: where a fault bends it, it is a copy.
        """
        return self.faults.on_stream_event(self, stream, event)


class Faults:
    """The faults that are set, each with its counts. One random generator, seeded: the same calls meet the same faults.

    `now` gives wall nanoseconds of any epoch.
    """

    def __init__(
        self, rules: Iterable[FaultRule] = (), *, seed: int = 0, now: Callable[[], int] = monotonic_ns
    ) -> None:
        self._now = now
        self._random = Random(seed)
        self._sets: dict[int, _Set] = {}
        self._by_on: dict[On, list[_Set]] = {on: [] for on in On}
        self._next_id = 1
        self._links: dict[int, Link] = {}
        self._expiries: list[Callable[[], None]] = []
        self._changed = trio.Event()
        self.add(rules)

    async def run(self) -> None:
        """Let the timed faults happen; until cancelled."""
        while True:
            self._changed = trio.Event()
            due_ns = self._happen()
            left_s = float("inf") if due_ns is None else max(0, due_ns - self._now()) / NS_PER_S
            with trio.move_on_after(left_s):
                await self._changed.wait()

    @property
    def skew_ns(self) -> int:
        """What is to be added to the venue's clock where it tells or checks the time."""
        return sum(one.rule.skew_ns for one in self._lasting(Kind.SKEW, On.VENUE))

    @property
    def is_down(self) -> bool:
        """Whether the venue is in maintenance: requests get 503, websockets are refused."""
        return any(True for _ in self._lasting(Kind.MAINTENANCE, On.VENUE))

    @property
    def touches_streams(self) -> bool:
        """Whether any fault concerns stream events: if not, `Link.on_event` need not be asked."""
        return bool(self._by_on[On.STREAM])

    def is_refused(self, route: str) -> bool:
        """Whether new websocket connections to the route (public, market, private, ws_api) are refused now."""
        return self.is_down or any(_fits(one.rule.route, route) for one in self._lasting(Kind.REFUSE, On.CONNECTION))

    def add(self, rules: Iterable[FaultRule]) -> list[int]:
        """Set faults from now on; return the number of each."""
        ids: list[int] = []
        for rule in rules:
            one = _Set(self._next_id, rule, self._now())
            self._next_id += 1
            self._sets[one.id] = one
            self._by_on[rule.on].append(one)
            ids.append(one.id)
        self._changed.set()
        return ids

    def remove(self, fault_id: int) -> bool:
        """Take one away; False when there is none of that number."""
        one = self._sets.pop(fault_id, None)
        if one is None:
            return False
        self._by_on[one.rule.on].remove(one)
        return True

    def listing(self) -> list[dict[str, Any]]:
        """Return every fault as it was given, how many it matched and how many met it."""
        return [
            {"id": one.id, "fault": dict(one.rule.given), "matched": one.matched, "fired": one.fired}
            for one in self._sets.values()
        ]

    def on_request(self, subject: Subject) -> RequestAction:
        """Return what happens to a request, and count it. Delays add up; the first other fault decides the answer."""
        if self.is_down:
            return _unavailable(Unavailable.UNAVAILABLE, is_executed=False)
        action = NO_FAULT
        for one in self._by_on[On.REQUEST]:
            rule = one.rule
            if not _matches_request(rule, subject):
                continue
            is_decided = action.answer is not None or action.status is not None
            if (is_decided and rule.kind is not Kind.DELAY) or not one.is_due(self._now(), self._random):
                continue
            action = _met(rule, action)
        return action

    def on_stream_event(self, link: Link, stream: str, event: Event) -> list[tuple[int, Event]]:
        """Return what `Link.on_event` says."""
        if link.cut.is_set() or link.silenced.is_set():
            return []
        now_ns = self._now()
        copies, delay_ns, is_late = 1, 0, False
        for one in self._by_on[On.STREAM]:
            rule = one.rule
            if not _matches_event(rule, link.route, stream, event):
                continue
            gap = (id(link), stream)
            if one.left.get(gap, 0):
                one.left[gap] -= 1
                copies = 0
                continue
            bent = crossed(event) if rule.kind is Kind.CROSSED else event
            if bent is None or not one.is_due(now_ns, self._random):
                continue
            event = bent
            if rule.kind in (Kind.DROP, Kind.GAP):
                copies = 0
                one.left[gap] = rule.events - 1
            elif rule.kind is Kind.DUPLICATE and copies:
                copies += rule.copies
            elif rule.kind in (Kind.DELAY, Kind.REORDER):
                delay_ns += rule.delay_ns
                is_late = is_late or rule.kind is Kind.REORDER
            elif rule.kind is Kind.DISCONNECT:
                link.cut.set()
                return []
            elif rule.kind is Kind.HALF_OPEN:
                link.silenced.set()
                return []
        if is_late:
            # What comes meanwhile overtakes it, so it holds nothing up.
            return [(delay_ns, event)] * copies
        due_ns = max(now_ns + delay_ns, link.last_due_ns)
        link.last_due_ns = due_ns
        return [(due_ns - now_ns, event)] * copies

    @contextmanager
    def link(self, route: str) -> Iterator[Link]:
        """Register a websocket connection of a route for as long as it lasts."""
        link = Link(route, self)
        self._links[id(link)] = link
        try:
            yield link
        finally:
            del self._links[id(link)]
            for one in self._by_on[On.STREAM]:
                for gap in [gap for gap in one.left if gap[0] == id(link)]:
                    del one.left[gap]

    def on_listen_key_expiry(self, act: Callable[[], None]) -> None:
        """Have `act` called when a fault expires the listen keys."""
        self._expiries.append(act)

    def _lasting(self, kind: Kind, on: On) -> Iterator[_Set]:
        timed = self._by_on[on]
        if timed:
            now_ns = self._now()
            yield from (one for one in timed if one.rule.kind is kind and one.lasts(now_ns))

    def _happen(self) -> int | None:
        """Let happen what is due; return when the next is."""
        upcoming: list[int] = []
        for one in [*self._by_on[On.CONNECTION], *self._by_on[On.VENUE]]:
            due_ns = one.next_ns()
            if due_ns is not None and due_ns <= self._now():
                # What was missed while we were not running happens once.
                one.fired = one.matched = one.happened(self._now())
                self._strike(one.rule)
                due_ns = one.next_ns()
            if due_ns is not None:
                upcoming.append(due_ns)
        return min(upcoming, default=None)

    def _strike(self, rule: FaultRule) -> None:
        if rule.kind is Kind.LISTEN_KEY_EXPIRY:
            for act in self._expiries:
                act()
        for link in self._links.values():
            if not _fits(rule.route, link.route):
                continue
            if rule.kind in (Kind.DISCONNECT, Kind.MAINTENANCE):
                link.cut.set()
            elif rule.kind is Kind.HALF_OPEN:
                link.silenced.set()


def crossed(event: Event) -> Event | None:
    """Return a book event with a bid above an ask; None where the event has no two prices to cross.

    A bookTicker has its sides exchanged. An update of depth gets a bid above its dearest ask, or else an ask below
    its cheapest bid, of that level's quantity: from then on the book is crossed until it is taken anew.
    """
    if event.get("e") == "bookTicker" or ("b" in event and isinstance(event["b"], str)):
        return {**event, "b": event.get("a"), "a": event.get("b"), "B": event.get("A"), "A": event.get("B")}
    bid_key, ask_key = ("b", "a") if "b" in event else ("bids", "asks")
    bids, asks = event.get(bid_key), event.get(ask_key)
    if not isinstance(bids, list) or not isinstance(asks, list):
        return None
    live_asks = [(Decimal(price), quantity) for price, quantity, *_ in asks if Decimal(quantity)]
    if live_asks:
        price, quantity = max(live_asks, key=lambda level: level[0])
        return {**event, bid_key: [[f"{price + _step(price):f}", quantity], *bids]}
    live_bids = [(Decimal(price), quantity) for price, quantity, *_ in bids if Decimal(quantity)]
    if live_bids:
        price, quantity = min(live_bids, key=lambda level: level[0])
        return {**event, ask_key: [[f"{price - _step(price):f}", quantity], *asks]}
    return None


def _step(price: Decimal) -> Decimal:
    """Return about a percent of a price, a power of ten: whole ticks wherever a tick is small beside the price."""
    return Decimal(1).scaleb(price.adjusted() - 2)


def _met(rule: FaultRule, action: RequestAction) -> RequestAction:
    if rule.kind is Kind.DELAY:
        return evolve(
            action,
            delay_before_ns=action.delay_before_ns + rule.before_ns,
            delay_after_ns=action.delay_after_ns + rule.after_ns,
        )
    if rule.kind in (Kind.DROP, Kind.HALF_OPEN):
        answer = NoAnswer.CUT if rule.kind is Kind.DROP else NoAnswer.SILENCE
        return evolve(action, answer=answer, is_executed=rule.executed)
    if rule.kind is Kind.HTTP_429:
        code, message = _TOO_MANY
        return _told(action, 429, code, message, is_executed=False, retry_after_s=rule.retry_after_s)
    if rule.kind is Kind.HTTP_418:
        seconds = _BAN_S if rule.retry_after_s is None else rule.retry_after_s
        return _told(action, 418, -1003, "", is_executed=False, retry_after_s=seconds)
    if rule.kind is Kind.HTTP_503:
        code, message = _TOLD[Unavailable(rule.message)]
        return _told(action, 503, code, message, is_executed=rule.executed)
    if rule.kind is Kind.HTTP_408:
        code, message = _TIMEOUT
        return _told(action, 408, code, message, is_executed=rule.executed)
    assert rule.kind is Kind.ERROR, rule.kind
    return _told(action, rule.status, rule.code, rule.message, is_executed=rule.executed)


def _told(
    action: RequestAction,
    status: int,
    code: int,
    message: str,
    *,
    is_executed: bool,
    retry_after_s: int | None = None,
) -> RequestAction:
    return evolve(
        action,
        status=status,
        code=code,
        message=message,
        is_executed=is_executed,
        retry_after_s=retry_after_s,
    )


def _unavailable(which: Unavailable, *, is_executed: bool) -> RequestAction:
    code, message = _TOLD[which]
    return _told(NO_FAULT, 503, code, message, is_executed=is_executed)


def _fits(pattern: str | None, value: str) -> bool:
    return pattern is None or fnmatchcase(value, pattern)


def _matches_request(rule: FaultRule, subject: Subject) -> bool:
    if not (_fits(rule.method, subject.method) and _fits(rule.path, subject.path)):
        return False
    if rule.message == Unavailable.THROTTLED and rule.kind is Kind.HTTP_503 and subject.frees_risk:
        return False
    if rule.symbol is not None and not fnmatchcase(subject.parameters.get("symbol", ""), rule.symbol):
        return False
    if rule.client_id is None:
        return True
    pattern = rule.client_id
    if any(fnmatchcase(subject.parameters[name], pattern) for name in _CLIENT_IDS if name in subject.parameters):
        return True
    return any(fnmatchcase(subject.parameters[name], f'*"{pattern}"*') for name in _LISTS if name in subject.parameters)


def _matches_event(rule: FaultRule, route: str, stream: str, event: Event) -> bool:
    if not (_fits(rule.route, route) and _fits(rule.stream, stream)):
        return False
    if rule.event is not None and not fnmatchcase(str(event.get("e", "")), rule.event):
        return False
    if rule.client_id is None:
        return True
    order = event.get("o")
    told = (event.get("c"), *((order.get("c"), order.get("caid")) if isinstance(order, Mapping) else ()))
    return any(isinstance(one, str) and fnmatchcase(one, rule.client_id) for one in told)
