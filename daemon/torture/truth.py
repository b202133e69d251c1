"""What the venues really did, held against what the desk says of orders and fills (parts of I1 and I9)."""

from collections.abc import Mapping
from decimal import Decimal

from actors.messages import FillEvent, OrderUpdate
from daemon.torture.wire import FaultyVenue
from venues.model.instrument import Instrument
from venues.model.money import ZERO


class Truth:
    """Knows every execution of the venues, and what became of every order there."""

    def __init__(self, venues: Mapping[str, FaultyVenue], instruments: Mapping[str, Instrument]) -> None:
        self._venues = venues
        self._instruments = instruments
        self._fills: dict[tuple[str, str, str, str], tuple[Decimal, Decimal]] = {}

    def _refresh(self) -> None:
        for venue in self._venues.values():
            for fill in venue.busts:
                key = (fill.account, fill.instrument, fill.trade_id, fill.side)
                self._fills.setdefault(key, (fill.qty, fill.price))
            for fill in reversed(venue.inner.state.fills):
                key = (fill.account, fill.instrument, fill.trade_id, fill.side)
                if key in self._fills:
                    break
                self._fills[key] = (fill.qty, fill.price)

    def objection_to_fill(self, event: FillEvent) -> str:
        """Return what is wrong about a booked fill: a venue has made it, with this quantity, at this price."""
        fill = event.fill
        key = (fill.account, fill.instrument, fill.trade_id, fill.side)
        if key not in self._fills:
            self._refresh()
        told = self._fills.get(key)
        if told is None:
            return f"I1: no venue has made trade {fill.trade_id} of {fill.instrument} ({fill.client_order_id})"
        if told != (fill.qty, fill.price):
            return f"I1: trade {fill.trade_id} was {told[0]} at {told[1]}, booked is {fill.qty} at {fill.price}"
        return ""

    def objection_to_end(self, update: OrderUpdate) -> str:
        """Return what is wrong about an order that the desk takes for over: it is, with all that it filled."""
        spec = self._instruments.get(update.instrument)
        if spec is None:
            return ""
        venue = self._venues[spec.venue]
        state = venue.inner.state
        key = (update.account, update.client_order_id)
        order = state.live.get(key) or state.done.get(key)
        name = update.client_order_id
        if order is None:
            if venue.is_queued(name):
                return f"I9: {name} is {update.status} for the desk and still queued at {venue.name}"
            return f"I1: {name} has filled {update.filled_qty} and never was at a venue" if update.filled_qty else ""
        filled = spec.qty(order.filled)
        if not order.status.is_terminal:
            return f"I9: {name} is {update.status} for the desk and {order.status} at {venue.name}"
        # What was taken back before it was told may be told late or never.
        back = sum((one.qty for one in venue.busts if (one.account, one.client_order_id) == key), ZERO)
        if update.filled_qty not in (filled, filled - back):
            return f"I1: {name} ended with {update.filled_qty} for the desk and {filled} at {venue.name}"
        return ""
