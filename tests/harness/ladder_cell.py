"""A cell for parents: real executor, risk gate and order manager; books and venue do as the test says."""

from decimal import Decimal
from typing import TypeVar

from attrs import define, field

from actors.base import Actor, handles
from actors.dead_man_words import DeadManState
from actors.dispatcher import Dispatcher
from actors.execution_records import OrderExecutorConfig, ParentOrder
from actors.executions import ExecutionIntent, ExecutionMode, ExecutionReport
from actors.messages import (
    BookView,
    CancelRequest,
    DepthReply,
    DepthRequest,
    FeedStatus,
    Incident,
    KillTrigger,
    OrderDenied,
    OrderRequest,
)
from actors.order_executor import OrderExecutor
from actors.order_manager import OrderManager
from actors.risk_config import InstrumentLimits, RiskConfig
from actors.risk_gate import RiskGate
from venues.costs.liquidity import LiquidityLimits
from venues.model.book import Level
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
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
PERP = Instrument(
    "perp", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), min_qty=D("0.002"),
    max_qty=D(5), min_notional=D(5),
)  # fmt: skip
SPOT = Instrument(
    "spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", D("0.1"), D("0.001"), min_qty=D("0.001"), min_notional=D(50)
)
INVERSE = Instrument(
    "perp", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(100)
)
SPECS = {spec.id: spec for spec in (PERP, SPOT, INVERSE)}
ACCOUNTS = {"acc": "perp", "wallet": "spot"}
WIDE = InstrumentLimits(order_notional_max=D(10**9), position_notional_max=D(10**9))
RISK = RiskConfig(default=WIDE, gross_notional_max=D(10**10), starts_read_only=False)
M = TypeVar("M", bound=Message)


class Books(Actor):
    """Answers for the feed handler with the depth it was given."""

    publishes = (DepthReply,)

    def __init__(self) -> None:
        super().__init__("books")
        self.state = None
        self.sides: dict[str, tuple[tuple[Level, ...], tuple[Level, ...]]] = {}
        self.dead: set[str] = set()
        self.muted = False

    @handles(DepthRequest)
    def depth(self, now: int, request: DepthRequest) -> None:
        if self.muted:
            return
        sides = self.sides.get(request.instrument)
        if sides is None or request.instrument in self.dead:
            self.out.emit(DepthReply(now, request.ref, request.instrument, False))
        else:
            self.out.emit(DepthReply(now, request.ref, request.instrument, True, *sides))


class Recorder(Actor):
    def __init__(self) -> None:
        super().__init__("recorder")
        self.state = None
        self.seen: list[Message] = []

    @handles(ExecutionReport, OrderRequest, OrderDenied, CancelRequest, Incident, KillTrigger)
    def note(self, now: int, message: Message) -> None:
        self.seen.append(message)


@define
class Held:
    """An order as it truly is. `told` fills have been reported."""

    command: SubmitOrder
    status: OrderStatus = OrderStatus.ACCEPTED
    fills: list[OrderFilled] = field(factory=list)
    told: int = 0

    @property
    def filled(self) -> Decimal:
        return sum((fill.qty for fill in self.fills), ZERO)

    @property
    def open_qty(self) -> Decimal:
        return ZERO if self.status.is_terminal else self.command.qty - self.filled


class Venue:
    """Holds every order until the test says what becomes of it. Queries are answered by the truth, or fail."""

    def __init__(self) -> None:
        self.orders: dict[str, Held] = {}
        self.canceling: list[str] = []
        self.answers = True
        self.answers_cancels = True
        self.arrives = True
        self.trades = 0

    def take(self, now: int, command: Command) -> list[Report]:
        if isinstance(command, SubmitOrder):
            assert command.client_order_id not in self.orders, "a client id was used twice"
            if self.arrives:
                self.orders[command.client_order_id] = Held(command)
            return []
        if isinstance(command, CancelOrder):
            if self.answers_cancels:
                return self.cancel(now, command.client_order_id)
            self.canceling.append(command.client_order_id)
            return []
        assert isinstance(command, Query), command
        if not self.answers:
            return [QueryFailed(now, command.account, command.query_id, command.kind, "503")]
        if command.kind is QueryKind.FILLS:
            told = [fill for held in self.orders.values() for fill in held.fills]
            fills = tuple(fill for fill in told if fill.instrument == command.instrument)
            return [QueryResult(now, command.account, command.query_id, command.kind, fills=fills)]
        found = self.orders.get(command.client_order_id or "")
        orders = () if found is None else (self._report(now, found),)
        return [QueryResult(now, command.account, command.query_id, command.kind, orders=orders)]

    def _report(self, now: int, held: Held) -> OrderReport:
        one = held.command
        status = held.status
        if status is OrderStatus.ACCEPTED and held.fills:
            status = OrderStatus.PARTIALLY_FILLED
        return OrderReport(now, *_key(one), f"v{one.client_order_id}", one.side, one.qty, held.filled, status)

    # What the test decides

    def accept(self, now: int, order_id: str) -> list[Report]:
        one = self.orders[order_id].command
        return [OrderAccepted(now, *_key(one), f"v{order_id}")]

    def fill(self, now: int, order_id: str, qty: str | Decimal, price: str | None = None) -> list[Report]:
        self.fill_silently(now, order_id, D(qty), None if price is None else D(price))
        return self.tell(order_id)

    def fill_silently(self, now: int, order_id: str, qty: Decimal, price: Decimal | None = None) -> None:
        held = self.orders[order_id]
        one = held.command
        assert one.price is not None
        self.trades += 1
        kind = Liquidity.TAKER if one.tif is TimeInForce.IOC else Liquidity.MAKER
        made = OrderFilled(
            now, *_key(one), f"v{order_id}", f"t{self.trades}", one.side, price or one.price, qty, kind, D("0.01"),
            "USDT", FillReason.TAKER, one.position_side,
        )  # fmt: skip
        held.fills.append(made)
        if held.filled >= one.qty:
            held.status = OrderStatus.FILLED

    def tell(self, order_id: str) -> list[Report]:
        held = self.orders[order_id]
        reports: list[Report] = list(held.fills[held.told :])
        held.told = len(held.fills)
        return reports

    def cancel(self, now: int, order_id: str) -> list[Report]:
        held = self.orders.get(order_id)
        if held is None or held.status.is_terminal:
            one = held.command if held is not None else None
            key = ("acc", PERP.id, order_id) if one is None else _key(one)
            return [CancelRejected(now, *key, RejectReason.UNKNOWN_ORDER)]
        held.status = OrderStatus.CANCELED
        return [OrderCanceled(now, *_key(held.command), held.filled)]

    def expire(self, now: int, order_id: str) -> list[Report]:
        held = self.orders[order_id]
        held.status = OrderStatus.EXPIRED
        return [OrderExpired(now, *_key(held.command), held.filled)]

    def reject(self, now: int, order_id: str, reason: RejectReason = RejectReason.WOULD_TAKE) -> list[Report]:
        held = self.orders[order_id]
        held.status = OrderStatus.REJECTED
        return [OrderRejected(now, *_key(held.command), reason, "scripted")]

    def lose(self, now: int, command: SubmitOrder) -> list[Report]:
        return [OutcomeUnknown(now, *_key(command), "SubmitOrder", "timeout")]

    def filled(self) -> Decimal:
        return sum((held.filled for held in self.orders.values()), ZERO)

    def open_orders(self) -> list[str]:
        return [order_id for order_id, held in self.orders.items() if not held.status.is_terminal]


def _key(command: SubmitOrder) -> tuple[str, str, str]:
    return command.account, command.instrument, command.client_order_id


FOR_EVER = 1 << 62
"""Until when the venues would cancel by themselves."""


class LadderCell:
    """One cell under a hand-driven clock (ns)."""

    def __init__(
        self,
        *others: Actor,
        config: OrderExecutorConfig | None = None,
        risk: RiskConfig = RISK,
        liquidity: LiquidityLimits | None = None,
    ) -> None:
        self.now = SECOND
        self.venue, self.books, self.recorder = Venue(), Books(), Recorder()
        self.executor = OrderExecutor(SPECS, config, liquidity)
        self.gate = RiskGate(SPECS, ACCOUNTS, risk, name="risk_gate")
        self.submitted: list[SubmitOrder] = []
        self.dispatcher = Dispatcher(
            [self.books, self.gate, OrderManager(SPECS, name="order_manager"), self.executor, *others, self.recorder]
        )
        self.dispatcher.start(self.now)
        for spec in SPECS.values():
            for account in (name for name, venue in ACCOUNTS.items() if venue == spec.venue):
                self.gate.handle(self.now, DeadManState(self.now, account, spec.id, FOR_EVER))
        self.pump()

    def book(self, bids: str, asks: str, spec: Instrument = PERP) -> None:
        """Set the depth, written "price x qty, price x qty", best first; the book is live."""
        self.books.sides[spec.id] = (_levels(spec, bids), _levels(spec, asks))
        self.books.dead.discard(spec.id)
        self.feed(FeedStatus(self.now, spec.id, True))
        (bid, bid_lots), (ask, ask_lots) = (side[0] for side in self.books.sides[spec.id])
        self.dispatcher.take(self.now, BookView(self.now, spec.id, bid, bid_lots, ask, ask_lots))
        self.pump()

    def lose_book(self, spec: Instrument = PERP) -> None:
        self.books.dead.add(spec.id)
        self.feed(FeedStatus(self.now, spec.id, False, "gap"))

    def intend(
        self, qty: str, mode: ExecutionMode, side: Side = Side.BUY, spec: Instrument = PERP, **more: object
    ) -> None:
        account = "wallet" if spec is SPOT else "acc"
        fields: dict[str, object] = {"parent_id": "p", **more}
        parent_id = str(fields.pop("parent_id"))
        intent = ExecutionIntent(self.now, parent_id, "s", account, spec.id, side, D(qty), mode, **fields)  # type: ignore[arg-type]
        self.tell(intent)

    def tell(self, message: Message) -> None:
        """Deliver a message that an actor of the cell would have emitted."""
        self.dispatcher.take(self.now, message)
        self.pump()

    def feed(self, *messages: Message) -> None:
        for message in messages:
            self.dispatcher.offer(message)
        self.pump()

    def pump(self) -> None:
        for _ in range(1_000):
            self.dispatcher.run(self.now)
            effects = self.dispatcher.take_effects()
            if not effects:
                return
            for intent in effects:
                if isinstance(intent.command, SubmitOrder):
                    self.on_submit(intent.command)
                    self.submitted.append(intent.command)
                for report in self.venue.take(self.now, intent.command):
                    self.dispatcher.offer(report)
        raise AssertionError("the cell and its venue never come to rest")

    def on_submit(self, command: SubmitOrder) -> None:
        """For tests that look at every order before it is out."""

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer; the books stay fresh."""
        end = self.now + int(seconds * SECOND)
        while (at := self.dispatcher.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.refresh()
            self.dispatcher.offer_due(self.now)
            self.pump()
        self.now = end
        self.refresh()

    def refresh(self) -> None:
        for name, (bids, asks) in self.books.sides.items():
            if name not in self.books.dead:
                view = BookView(self.now, name, bids[0][0], bids[0][1], asks[0][0], asks[0][1])
                self.dispatcher.take(self.now, view)
        self.pump()

    # What happened

    @property
    def last(self) -> str:
        """The client id of the last order sent."""
        return self.submitted[-1].client_order_id

    def orders(self) -> list[tuple[str, str, str]]:
        """Return every order sent as (price, quantity, time in force)."""
        return [(str(one.price), str(one.qty), str(one.tif)) for one in self.submitted]

    def parent(self, name: str = "p") -> ParentOrder:
        return self.executor.state.parents[name]

    def seen(self, kind: type[M]) -> list[M]:
        return [message for message in self.recorder.seen if isinstance(message, kind)]

    def reports(self) -> list[ExecutionReport]:
        return self.seen(ExecutionReport)

    def report(self) -> ExecutionReport:
        """The one report there is."""
        (only,) = self.reports()
        return only

    def incidents(self) -> list[str]:
        return [one.kind for one in self.seen(Incident)]


def _levels(spec: Instrument, text: str) -> tuple[Level, ...]:
    found = []
    for part in filter(None, text.split(",")):
        price, qty = part.split("x")
        found.append((spec.ticks(D(price.strip())), spec.lots(D(qty.strip()))))
    return tuple(found)
