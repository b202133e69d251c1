"""Engines of simulated venues for tests: who hears them, what is ordered there, and all that can be seen of them."""

import re
from decimal import Decimal

from daemon.venue.engine import VenueEngine
from sim.exchange import ALL
from sim.matching import Matcher
from sim.venue import SimVenue
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import Message, SubmitOrder

PERP = "binance_usdm:BTCUSDT"
SECOND = 1_000_000_000


class Heard:
    """What an engine delivered."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Message, int, bool]] = []

    def __call__(self, ns: int, message: Message, to: int, is_market: bool) -> None:
        self.lines.append((ns, message, to, is_market))

    def accounts(self) -> list[tuple[int, Message, int, bool]]:
        return [line for line in self.lines if not line[3]]

    def news(self) -> list[tuple[int, Message, int, bool]]:
        """Return what was said unasked of accounts: an answer dies with the process that was asked."""
        return [line for line in self.accounts() if line[2] == ALL]


def order(number: int, side: Side, lots: int, *, rests: bool) -> SubmitOrder:
    return SubmitOrder(
        0,
        "futures",
        PERP,
        f"t-{number}",
        side,
        Decimal(lots) / 1000,
        type=OrderType.LIMIT if rests else OrderType.MARKET,
        price=Decimal("59900.0") if rests else None,
        tif=TimeInForce.GTC,
    )


def state_of(engine: VenueEngine) -> str:
    """Everything an account could ask for, and every order with its place in the queue."""
    told: list[object] = []
    for seat in engine.exchange.seats:
        venue = seat.venue
        assert isinstance(venue, SimVenue)
        state = venue.state
        told.append([(one.account.balances, one.holdings, one.calls) for one in state.accounts.values()])
        told.append([(key, one.lots, one.filled, one.resting, one.status) for key, one in state.live.items()])
        for market in state.markets.values():
            matcher = market.matcher
            assert isinstance(matcher, Matcher)
            told.append([(one.id, matcher.front(one)) for side in Side for one in matcher.own(side)])
        told.append([sorted(state.done), list(state.fills), state.dead_man, state.now, state.orders])
        told.append([(name, market.mark, market.trades) for name, market in state.markets.items()])
        told.append([market.matcher.displayed(side) for market in state.markets.values() for side in Side])
    return re.sub(r" at 0x[0-9a-f]+", "", repr(told))
