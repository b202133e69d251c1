"""Which compiled functions a process of simulated venues will call: all of them, compiled before anybody waits."""

from decimal import Decimal

from sim.core import Core
from sim.matching import Matcher
from sim.queue_models import make_queue_model
from sim.venue_order import VenueOrder
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderType, PositionSide, Side
from venues.port import SubmitOrder

_SPEC = Instrument("warm", "UP", InstrumentKind.PERPETUAL, "X", "Y", Decimal(1), Decimal(1))


def warm() -> None:
    """Call every compiled function behind `Matcher` once, so that it is compiled, or loaded from numba's cache."""
    core = Core.make([(_SPEC, make_queue_model("risk_averse"))])
    matcher = Matcher(core, 0, lambda *_: None, lambda _: None)
    matcher.on_snapshot([(99, 10)], [(101, 10)])
    matcher.on_delta([(99, 11)], [])
    for side in Side:
        matcher.would_take(side, 100)
        matcher.available(side, None, 1)
        matcher.available(side, 100, 1)
        matcher.displayed(side)
        matcher.best(side)
    resting, taking = _order(Side.BUY, 98, 4), _order(Side.SELL, None, 2)
    matcher.hold(resting.account, PositionSide.BOTH, 1)
    matcher.rest(resting)
    matcher.front(resting)
    matcher.own(Side.BUY)
    matcher.resize(resting)
    matcher.take(taking, None)
    matcher.on_trade(99, 1, Side.SELL)
    matcher.match_crossed()
    matcher.shrink_reducing()
    matcher.shrink(Side.BUY, 99, 1)
    matcher.execute(resting, 98, 1)
    matcher.remove(resting)


def _order(side: Side, ticks: int | None, lots: int) -> VenueOrder:
    kind = OrderType.MARKET if ticks is None else OrderType.LIMIT
    price = None if ticks is None else Decimal(ticks)
    command = SubmitOrder(0, "warm", _SPEC.id, f"{side}", side, Decimal(lots), kind, price)
    return VenueOrder(command, "", side, PositionSide.BOTH, lots, ticks)
