"""A small cell for tests: real dispatcher, order manager and executor; checkers, books and venue are scripted."""

import itertools
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from attrs import define, evolve, field

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor, handles
from actors.basket_plan import ExecutorConfig
from actors.basket_records import BasketCost, BasketDecision, LeftOpen, PartialFill
from actors.dispatcher import Dispatcher
from actors.messages import (
    BasketLeg,
    BasketUpdate,
    BookView,
    CancelRequest,
    Checker,
    DepthReply,
    DepthRequest,
    FeedStatus,
    FillEvent,
    Incident,
    KillTrigger,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
)
from actors.order_manager import OrderManager
from actors.order_records import OrderManagerConfig
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ONE, ZERO
from venues.model.order import OrderStatus, Side, TimeInForce
from venues.port import (
    CancelOrder,
    CancelRejected,
    Command,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReport,
    OutcomeUnknown,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    RejectReason,
    Report,
    SubmitOrder,
)

SECOND = 1_000_000_000
D = Decimal

SPOT = Instrument(
    "spot",
    "BTCUSDT",
    InstrumentKind.SPOT,
    "BTC",
    "USDT",
    D("0.01"),
    D("0.0001"),
    min_qty=D("0.0001"),
    min_notional=D(5),
)
PERP = Instrument("perp", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), min_qty=D("0.001"))
COARSE = Instrument(
    "coarse", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.5"), D("1"), multiplier=D("0.01")
)
INVERSE = Instrument("coin", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D("1"), inverse=True)
SPECS = {spec.id: spec for spec in (SPOT, PERP, COARSE, INVERSE)}

Levels = tuple[tuple[int, int], ...]
M = TypeVar("M", bound=Message)


def changed(message: M, **changes: Any) -> M:
    """Return a message like `message` but for `changes`; message classes are attrs classes that mypy does not see."""
    made: Any = message
    result: M = evolve(made, **changes)
    return result


def levels(spec: Instrument, *pairs: tuple[str, str]) -> Levels:
    return tuple((spec.ticks(D(price)), spec.lots(D(qty))) for price, qty in pairs)


def buy(spec: Instrument, qty: str, limit: str | None = None) -> BasketLeg:
    return BasketLeg("acc", spec.id, Side.BUY, D(qty), limit_price=None if limit is None else D(limit))


def sell(spec: Instrument, qty: str, limit: str | None = None) -> BasketLeg:
    return BasketLeg("acc", spec.id, Side.SELL, D(qty), limit_price=None if limit is None else D(limit))


@define
class DeskState:
    bids: dict[str, Levels] = field(factory=dict)
    asks: dict[str, Levels] = field(factory=dict)
    dead: set[str] = field(factory=set)
    is_mute: bool = False
    silent: list[Checker] = field(factory=list)
    refusing: dict[str, str] = field(factory=dict)
    denying: Callable[[OrderRequest], str] = lambda request: ""


class FakeDesk(Actor):
    """Answers for risk gate, margin monitor and feed handler as told."""

    publishes = (PreflightReply, DepthReply, OrderApproved, OrderDenied)

    def __init__(self) -> None:
        super().__init__("fake_desk")
        self.state = DeskState()

    @handles(PreflightRequest)
    def preflight(self, now: int, request: PreflightRequest) -> None:
        for checker in Checker:
            if checker not in self.state.silent:
                why = self.state.refusing.get(checker, "")
                self.out.emit(PreflightReply(now, request.basket_id, checker, not why, (why,) if why else ()))

    @handles(DepthRequest)
    def depth(self, now: int, request: DepthRequest) -> None:
        name = request.instrument
        if self.state.is_mute:
            return
        if name in self.state.dead:
            self.out.emit(DepthReply(now, request.ref, name, False))
            return
        self.out.emit(
            DepthReply(now, request.ref, name, True, self.state.bids.get(name, ()), self.state.asks.get(name, ()))
        )

    @handles(OrderRequest)
    def gate(self, now: int, request: OrderRequest) -> None:
        why = self.state.denying(request)
        self.out.emit(OrderDenied(now, request, (why,)) if why else OrderApproved(now, request))


class Recorder(Actor):
    """Keeps everything worth asserting on, in order."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.state = None
        self.seen: list[Message] = []

    @handles(
        BasketCost,
        BasketDecision,
        BasketUpdate,
        CancelRequest,
        FillEvent,
        Incident,
        KillTrigger,
        LeftOpen,
        OrderRequest,
        OrderUpdate,
        PartialFill,
        PreflightRequest,
        ReservationReleased,
    )
    def note(self, now: int, message: Message) -> None:
        self.seen.append(message)


@define
class VenueOrder:
    command: SubmitOrder
    status: OrderStatus = OrderStatus.ACCEPTED
    filled: Decimal = ZERO


@define
class Outcome:
    """What the venue does with one order. `is_lost` hides every report and the ack behind OutcomeUnknown."""

    share: Decimal = ONE
    is_rejected: bool = False
    is_lost: bool = False
    arrives: bool = True
    pieces: int = 1
    repeats: int = 1
    is_fill_last: bool = False
    reason: RejectReason = RejectReason.INSUFFICIENT_MARGIN


@define
class ScriptedVenue:
    """Fills immediate orders by a list of outcomes, in full once it is used up. It answers queries by the truth.

    Post-only orders rest until `hit`; while `is_deaf` cancels are not answered.
    """

    outcomes: list[Outcome] = field(factory=list)
    by_instrument: dict[str, list[Outcome]] = field(factory=dict)
    orders: dict[str, VenueOrder] = field(factory=dict)
    fills: list[OrderFilled] = field(factory=list)
    failing_queries: int = 0
    prices: dict[str, Decimal] = field(factory=dict)
    is_deaf: bool = False

    def take(self, now: int, command: Command) -> list[Report]:
        if isinstance(command, SubmitOrder):
            return self._submit(now, command)
        if isinstance(command, CancelOrder):
            return self._cancel(now, command)
        if isinstance(command, Query):
            return [self._answer(now, command)]
        raise AssertionError(f"unexpected {command}")

    def _submit(self, now: int, order: SubmitOrder) -> list[Report]:
        assert order.client_order_id not in self.orders, "a client id was used twice"
        outcomes = self.by_instrument.get(order.instrument) or self.outcomes
        outcome = outcomes.pop(0) if outcomes else Outcome()
        key = (order.account, order.instrument, order.client_order_id)
        unknown = OutcomeUnknown(now, *key, "SubmitOrder", "timeout")
        if not outcome.arrives:
            return [unknown]
        if outcome.is_rejected:
            return [OrderRejected(now, *key, outcome.reason, "scripted")]
        held = self.orders[order.client_order_id] = VenueOrder(order)
        if order.tif is TimeInForce.GTX:
            return [OrderAccepted(now, *key, f"v{order.client_order_id}")]
        spec = SPECS[order.instrument]
        lots = int(order.qty / spec.lot_size * outcome.share)
        fills = self._fills(now, order, [spec.qty(part) for part in _split(lots, outcome.pieces)])
        held.filled = sum((fill.qty for fill in fills), ZERO)
        held.status = OrderStatus.FILLED if held.filled == order.qty else OrderStatus.EXPIRED
        if outcome.is_lost:
            return [unknown]
        end: list[Report] = [] if held.status is OrderStatus.FILLED else [OrderExpired(now, *key, held.filled)]
        ack = OrderAccepted(now, *key, f"v{order.client_order_id}")
        repeated: list[Report] = [fill for fill in fills for _ in range(outcome.repeats)]
        return [*end, *repeated, ack] if outcome.is_fill_last else [ack, *repeated, *end]

    def _fills(self, now: int, order: SubmitOrder, parts: Sequence[Decimal]) -> list[OrderFilled]:
        made = []
        for qty in parts:
            price = self.prices.get(order.instrument) or order.price or D(100)
            made.append(fill_of(order, f"t{len(self.fills) + 1}", qty, price, ts=now))
            self.fills.append(made[-1])
        return made

    def resting(self) -> list[SubmitOrder]:
        """Return the orders that rest, oldest first."""
        return [held.command for held in self.orders.values() if not held.status.is_terminal]

    def hit(self, now: int, order: SubmitOrder, qty: str) -> list[OrderFilled]:
        """Let somebody trade against a resting order."""
        held = self.orders[order.client_order_id]
        fills = self._fills(now, order, [D(qty)])
        held.filled += D(qty)
        held.status = OrderStatus.FILLED if held.filled == order.qty else OrderStatus.PARTIALLY_FILLED
        return fills

    def _cancel(self, now: int, cancel: CancelOrder) -> list[Report]:
        key = (cancel.account, cancel.instrument, cancel.client_order_id)
        if self.is_deaf:
            return []
        held = self.orders.get(cancel.client_order_id)
        if held is None or held.status.is_terminal:
            return [CancelRejected(now, *key, RejectReason.UNKNOWN_ORDER)]
        held.status = OrderStatus.CANCELED
        return [OrderCanceled(now, *key, held.filled)]

    def _answer(self, now: int, query: Query) -> Report:
        if self.failing_queries:
            self.failing_queries -= 1
            return QueryFailed(now, query.account, query.query_id, query.kind, "503")
        if query.kind is QueryKind.FILLS:
            fills = tuple(fill for fill in self.fills if fill.instrument == query.instrument)
            return QueryResult(now, query.account, query.query_id, query.kind, fills=fills)
        held = self.orders.get(query.client_order_id or "")
        orders = () if held is None else (self._report(now, held),)
        return QueryResult(now, query.account, query.query_id, query.kind, orders=orders)

    def _report(self, now: int, held: VenueOrder) -> OrderReport:
        order = held.command
        return OrderReport(
            now,
            order.account,
            order.instrument,
            order.client_order_id,
            f"v{order.client_order_id}",
            order.side,
            order.qty,
            held.filled,
            held.status,
        )

    def positions(self) -> dict[str, Decimal]:
        """Return the signed truth by instrument."""
        found: dict[str, Decimal] = {}
        for fill in self.fills:
            found[fill.instrument] = found.get(fill.instrument, ZERO) + fill.side.sign * fill.qty
        return found

    def net_base(self) -> Decimal:
        return sum((qty * SPECS[name].multiplier for name, qty in self.positions().items()), ZERO)


def _split(lots: int, pieces: int) -> list[int]:
    cuts = [lots * i // pieces for i in range(pieces + 1)]
    return [b - a for a, b in itertools.pairwise(cuts) if b > a]


def fill_of(order: SubmitOrder, trade_id: str, qty: Decimal, price: Decimal, ts: int = 1) -> OrderFilled:
    return OrderFilled(
        ts,
        order.account,
        order.instrument,
        order.client_order_id,
        f"v{order.client_order_id}",
        trade_id,
        order.side,
        price,
        qty,
        Liquidity.TAKER,
        ZERO,
        "USDT",
        FillReason.TAKER,
        order.position_side,
    )


class Harness:
    """One cell and its venue under a hand-driven clock (ns)."""

    def __init__(
        self,
        *others: Actor,
        venue: ScriptedVenue | None = None,
        config: ExecutorConfig | None = None,
        orders: OrderManagerConfig | None = None,
        start: int = SECOND,
    ) -> None:
        self.now = start
        self.venue = venue or ScriptedVenue()
        self.desk, self.recorder = FakeDesk(), Recorder()
        self.executor = AtomicExecutor(SPECS, config)
        self.manager = OrderManager(SPECS, orders)
        self.commands: list[Command] = []
        self.on_submit: Callable[[SubmitOrder], None] = lambda order: None
        self.dispatcher = Dispatcher([self.executor, self.desk, self.manager, *others, self.recorder])
        self.dispatcher.start(self.now)
        self.pump()

    def quote(self, spec: Instrument, bid: str, ask: str, size: str = "100") -> None:
        """Make the book of `spec` live with one level each side."""
        self.depth(spec, [(bid, size)], [(ask, size)])
        self.feed(FeedStatus(self.now, spec.id, True))
        self.show(spec)

    def depth(self, spec: Instrument, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
        self.desk.state.bids[spec.id] = levels(spec, *bids)
        self.desk.state.asks[spec.id] = levels(spec, *asks)

    def show(self, spec: Instrument) -> None:
        """Publish the touch of the depth as the feed handler does."""
        (bid, bid_lots), (ask, ask_lots) = self.desk.state.bids[spec.id][0], self.desk.state.asks[spec.id][0]
        view = BookView(self.now, spec.id, bid, bid_lots, ask, ask_lots)
        self.dispatcher.take(self.now, view)
        self.pump()

    def feed(self, *messages: Message) -> None:
        for message in messages:
            self.dispatcher.offer(message)
        self.pump()

    def tell(self, message: Message) -> None:
        """Deliver a message that an actor of the cell would have emitted."""
        self.dispatcher.take(self.now, message)
        self.pump()

    def pump(self) -> None:
        """Dispatch until nothing is left to do, the venue's answers included."""
        for _ in range(1_000):
            self.dispatcher.run(self.now)
            effects = self.dispatcher.take_effects()
            if not effects:
                return
            for intent in effects:
                self.commands.append(intent.command)
                if isinstance(intent.command, SubmitOrder):
                    self.on_submit(intent.command)
                for report in self.venue.take(self.now, intent.command):
                    self.dispatcher.offer(report)
        raise AssertionError("the cell and its venue never come to rest")

    def advance(self, ns: int) -> None:
        """Let time pass, timer by timer."""
        end = self.now + ns
        while (at := self.dispatcher.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.dispatcher.offer_due(self.now)
            self.pump()
        self.now = end

    def seen(self, kind: type[M]) -> list[M]:
        return [message for message in self.recorder.seen if isinstance(message, kind)]

    def states(self, basket_id: str) -> list[str]:
        """Return the states a basket went through, repetitions left out."""
        found: list[str] = []
        for message in self.recorder.seen:
            if isinstance(message, BasketUpdate) and message.basket_id == basket_id and found[-1:] != [message.state]:
                found.append(message.state)
        return found

    def why(self, basket_id: str) -> str:
        return [m.why for m in self.recorder.seen if isinstance(m, BasketUpdate) and m.basket_id == basket_id][-1]

    def incidents(self) -> list[str]:
        return [message.kind for message in self.recorder.seen if isinstance(message, Incident)]
