"""Somebody who quotes: small orders that rest behind the touch and are taken off again, what fills is traded back.

Without one no order of the desk would ever rest, and no cancel race be run.
"""

from decimal import Decimal

from attrs import define, field

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.messages import (
    CancelRequest,
    DepthReply,
    DepthRequest,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    StopCommand,
)
from daemon.torture.script import SECOND_NS
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderType, Side, TimeInForce

_ROUND_NS = 4 * SECOND_NS
_REST_NS = 3 * SECOND_NS
_BEHIND = 40
_CROSS = 40


@define
class MakerState:
    """`resting` are open requests by their side; `owed` is what was bought (sold: negative) and not traded back."""

    next_order: int = 1
    is_stopping: bool = False
    resting: dict[str, Side] = field(factory=dict)
    backs: dict[str, Decimal] = field(factory=dict)
    filled: dict[str, Decimal] = field(factory=dict)
    owed: Decimal = ZERO


class Maker(Actor):
    """Quotes `qty` of one spot instrument, 40 levels of a tick grid behind the touch, for three seconds in four."""

    publishes = (OrderRequest, CancelRequest, DepthRequest)
    state: MakerState

    def __init__(self, spec: Instrument, account: str, qty: Decimal, grid: int, name: str = "maker") -> None:
        super().__init__(name)
        self.spec = spec
        self.account = account
        self.qty = qty
        self.grid = grid
        self.state = MakerState()

    def start(self, now: int) -> None:
        self.out.timer("quote", now + _ROUND_NS)

    @handles(CellRestarted)
    def restarted(self, now: int, message: CellRestarted) -> None:
        self.start(now)

    @handles(StopCommand)
    def stopping(self, now: int, message: StopCommand) -> None:
        self.state.is_stopping = True

    def on_timer(self, now: int, key: str) -> None:
        if key == "cancel":
            for request_id in self.state.resting:
                self.out.emit(CancelRequest(now, request_id))
            return
        self.out.timer("quote", now + _ROUND_NS)
        if not self.state.is_stopping:
            self.out.emit(DepthRequest(now, f"{self.name}:{now}", self.spec.id, 1))

    @handles(DepthReply)
    def depth(self, now: int, reply: DepthReply) -> None:
        if not reply.ref.startswith(f"{self.name}:") or not reply.bids or not reply.asks:
            return
        state = self.state
        if abs(state.owed) >= self.qty / 2 and not state.backs:
            self._trade_back(now, reply)
        if not state.resting:
            side = Side.BUY if state.next_order % 2 else Side.SELL
            touch = reply.bids[0][0] if side is Side.BUY else reply.asks[0][0]
            ticks = touch - side.sign * _BEHIND * self.grid
            request_id = self._order(now, side, self.qty, ticks, TimeInForce.GTC)
            state.resting[request_id] = side
            self.out.timer("cancel", now + _REST_NS)

    def _trade_back(self, now: int, reply: DepthReply) -> None:
        side = Side.SELL if self.state.owed > ZERO else Side.BUY
        touch = reply.asks[0][0] if side is Side.BUY else reply.bids[0][0]
        qty = abs(self.state.owed)
        request_id = self._order(now, side, qty, touch + side.sign * _CROSS * self.grid, TimeInForce.IOC)
        self.state.backs[request_id] = qty

    def _order(self, now: int, side: Side, qty: Decimal, ticks: int, tif: TimeInForce) -> str:
        request_id = f"{self.name}#{self.state.next_order}"
        self.state.next_order += 1
        price = self.spec.price(ticks)
        self.out.emit(
            OrderRequest(
                now, request_id, self.name, "", self.account, self.spec.id, side, qty, OrderType.LIMIT, price, tif
            )
        )
        return request_id

    @handles(OrderApproved)
    def approved(self, now: int, message: OrderApproved) -> None:
        """Nothing to do: what becomes of it is told by updates."""

    @handles(OrderDenied)
    def denied(self, now: int, message: OrderDenied) -> None:
        self._over(message.request.request_id)

    @handles(OrderUpdate)
    def changed(self, now: int, update: OrderUpdate) -> None:
        if update.strategy != self.name:
            return
        state, request_id = self.state, update.request_id
        news = update.filled_qty - state.filled.get(request_id, ZERO)
        if news > ZERO:
            state.filled[request_id] = update.filled_qty
            state.owed += update.side.sign * news
        if update.is_final:
            self._over(request_id)

    def _over(self, request_id: str) -> None:
        self.state.resting.pop(request_id, None)
        self.state.backs.pop(request_id, None)
        while len(self.state.filled) > 50:
            del self.state.filled[next(iter(self.state.filled))]
