"""Decides whether an instrument's market takes an order now, and whether an execution has tried often enough.

Markets close by their own word (InstrumentStatus) or by the CME calendar. While one is closed nothing is sent to it and
no budget of attempts runs: a hedge that was re-sent 20,000 times over a lunch break is thread 16 of execution.md.
"""

from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.messages import OrderRequest
from venues.model.order import OrderType, TimeInForce
from venues.port import InstrumentState
from venues.rules import calendar
from venues.rules.cme_products import Product
from venues.rules.errors import OutsideTableError
from venues.rules.instants import instant_ns, instant_of

_IMMEDIATE = (TimeInForce.IOC, TimeInForce.FOK)
_STATES = {
    calendar.State.OPEN: InstrumentState.OPEN,
    calendar.State.PRE_OPEN: InstrumentState.PRE_OPEN,
    calendar.State.CLOSED: InstrumentState.CLOSE,
}
_DAY_NS = 86_400_000_000_000


@frozen
class AttemptConfig:
    """At most `attempts` orders of one execution in one instrument within `window_ns` of open market.

    An execution is the parent, group or basket that its orders name; orders that name none are not counted.
    """

    attempts: int = field(default=200, validator=positive)
    window_ns: int = field(default=60_000_000_000, validator=positive)
    executions_max: int = field(default=10_000, validator=positive)


@define
class Tries:
    """When an execution tried in one instrument (ns, oldest first)."""

    instrument: str
    at_ns: list[int] = field(factory=list)


@define
class SessionState:
    """`states` by instrument that is not open, with `since_ns`; `tries` by `execution|instrument`, oldest first."""

    states: dict[str, InstrumentState] = field(factory=dict)
    since_ns: dict[str, int] = field(factory=dict)
    tries: dict[str, Tries] = field(factory=dict)


@frozen
class _Known:
    """What the calendar says until `until_ns`."""

    state: InstrumentState
    until_ns: int


class Sessions:
    """The decisions over a SessionState. `products` are the CME products of instruments that follow the calendar."""

    def __init__(self, config: AttemptConfig, products: Mapping[str, Product], state: SessionState) -> None:
        self.config = config
        self.products = products
        self._known: dict[str, _Known] = {}
        self.resume(state)

    def resume(self, state: SessionState) -> None:
        """Go on from `state`."""
        self.state = state
        self.is_gated = bool(self.products or state.states)

    def objects(self, now: int, order: OrderRequest) -> bool:
        """Whether either decision may be against the order; cheap, and never False where one is."""
        if self.state.states and order.instrument in self.state.states:
            return True
        if self.products and order.instrument in self.products:
            return self.market(now, order.instrument) is not InstrumentState.OPEN or self._is_spent(now, order)
        return bool(execution_of(order)) and self._is_spent(now, order)

    def closed_why(self, now: int, order: OrderRequest) -> str:
        """Return why the market takes no such order now, an empty string when it does.

        Before the open it takes what may rest.
        """
        state = self.market(now, order.instrument)
        if state is InstrumentState.OPEN:
            return ""
        is_immediate = order.type is OrderType.MARKET or order.tif in _IMMEDIATE
        if state is InstrumentState.PRE_OPEN and (not is_immediate or order.trigger_price is not None):
            return ""
        return f"{order.instrument} is in {state}"

    def market(self, now: int, instrument: str) -> InstrumentState:
        """Return the market's state: its own word when it is not open, else the calendar's."""
        said = self.state.states.get(instrument)
        if said is not None:
            return said
        product = self.products.get(instrument)
        if product is None:
            return InstrumentState.OPEN
        known = self._known.get(instrument)
        if known is None or now >= known.until_ns:
            known = self._known[instrument] = _by_calendar(product, now)
        return known.state

    def told(self, now: int, instrument: str, state: InstrumentState) -> None:
        """The market changed. The time for which it was not open is taken out of every execution's window."""
        states, since = self.state.states, self.state.since_ns
        if state is not InstrumentState.OPEN:
            if instrument not in states:
                since[instrument] = now
            states[instrument] = state
            self.is_gated = True
            return
        states.pop(instrument, None)
        self.is_gated = bool(self.products or states)
        closed_ns = now - since.pop(instrument, now)
        for tries in self.state.tries.values() if closed_ns else ():
            if tries.instrument == instrument:
                tries.at_ns = [at + closed_ns for at in tries.at_ns]

    # Attempts

    def attempts(self, now: int, order: OrderRequest) -> int:
        """Return how often the order's execution has tried in its instrument within the window."""
        tries = self.state.tries.get(_key(order))
        if tries is None:
            return 0
        del tries.at_ns[: bisect_right(tries.at_ns, now - self.config.window_ns)]
        return len(tries.at_ns)

    def _is_spent(self, now: int, order: OrderRequest) -> bool:
        return self.attempts(now, order) >= self.config.attempts

    def note(self, now: int, order: OrderRequest) -> None:
        """Count an order that leaves."""
        if not execution_of(order):
            return
        all_tries = self.state.tries
        tries = all_tries.get(_key(order))
        if tries is None:
            tries = all_tries[_key(order)] = Tries(order.instrument)
            if len(all_tries) > self.config.executions_max:
                del all_tries[next(iter(all_tries))]
        tries.at_ns.append(now)


def _key(order: OrderRequest) -> str:
    return f"{execution_of(order)}|{order.instrument}"


def execution_of(order: OrderRequest) -> str:
    """Return what the order is a part of, empty when it stands alone."""
    return order.parent_id or order.group_id or order.basket_id


def _by_calendar(product: Product, now: int) -> _Known:
    """Return what the CME calendar says at `now` (ns UTC) and until when."""
    at = instant_of(now)
    try:
        return _Known(_STATES[calendar.session(product, at).state], _next_edge_ns(product, at))
    except OutsideTableError:
        # Nobody knows: an unknown session is not an open one.
        return _Known(InstrumentState.CLOSE, now + _DAY_NS)


def _next_edge_ns(product: Product, at: datetime) -> int:
    """Return the first instant (ns UTC) after `at` at which the state may change. Raises OutsideTableError."""
    day = calendar.chicago(at).date()
    while True:
        hours = calendar.hours(product, day)
        for edge in () if hours is None else (hours.pre_open, hours.opens, hours.closes):
            if edge > at:
                return instant_ns(edge)
        day += timedelta(days=1)
