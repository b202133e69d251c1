"""An order manager called by hand, and what is said to it."""

from decimal import Decimal

from cell_harness import PERP, SECOND, SPECS, D, fill_of

from actors.base import Collected, TimerFired, detached_outbox
from actors.messages import (
    FillEvent,
    Incident,
    KillTrigger,
    OrderApproved,
    OrderRequest,
    OrderUpdate,
)
from actors.order_manager import OrderManager
from actors.order_records import OrderManagerConfig
from actors.pacing import PacingConfig
from venues.model.order import OrderStatus, Side, TimeInForce
from venues.port import (
    Message,
    OrderAccepted,
    OrderFilled,
    OrderReport,
    OutcomeUnknown,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    SubmitOrder,
)

ACC, PERP_ID = "acc", PERP.id


class Bench:
    """An order manager called by hand."""

    def __init__(self, pacing: PacingConfig | None = None, accounts: tuple[str, ...] = (), **limits: int) -> None:
        self.now = SECOND
        self.out = Collected()
        config = OrderManagerConfig(**limits)  # type: ignore[arg-type]
        at = dict.fromkeys(accounts, PERP.venue)
        self.manager = OrderManager(SPECS, config, accounts=at, pacing=pacing)
        self.manager.out = detached_outbox("order_manager", self.out)
        self.manager.start(self.now)

    def tell(self, message: Message) -> None:
        self.manager.handle(self.now, message)

    def order(self, request: str = "r1", qty: str = "1", tif: TimeInForce = TimeInForce.GTC) -> SubmitOrder:
        """Approve a buy of the perpetual at 100 and return what was sent."""
        self.tell(OrderApproved(self.now, ask(request, qty, tif)))
        sent = self.out.sent[-1]
        assert isinstance(sent, SubmitOrder)
        return sent

    def wait(self, ns: int) -> None:
        """Let time pass; timers fire as the cell would fire them."""
        end = self.now + ns
        while (at := self.manager.state.timer_at) is not None and at <= end:
            self.now = max(self.now, at)
            self.tell(TimerFired(at, "order_manager", "watch"))
        self.now = end

    def until_asked(self) -> None:
        """Let time pass until a query is under way."""
        while not self.queries():
            assert self.manager.state.timer_at is not None
            self.wait(max(1, self.manager.state.timer_at - self.now))

    def queries(self) -> list[Query]:
        """Return the queries not answered yet."""
        waiting = self.manager.state.queries
        return [sent for sent in self.out.sent if isinstance(sent, Query) and sent.query_id in waiting]

    def answer(self, report: OrderReport | None = None, *fills: OrderFilled, fails: bool = False) -> None:
        """Answer every query under way: ORDER with `report` or nothing, FILLS with `fills`."""
        for query in self.queries():
            if fails:
                self.tell(QueryFailed(self.now, ACC, query.query_id, query.kind, "503"))
            elif query.kind is QueryKind.ORDER:
                orders = () if report is None else (report,)
                self.tell(QueryResult(self.now, ACC, query.query_id, query.kind, orders=orders))
            else:
                self.tell(QueryResult(self.now, ACC, query.query_id, query.kind, fills=fills))

    def status(self, order: SubmitOrder) -> OrderStatus:
        return self.manager.state.orders[order.client_order_id].order.status

    def filled(self, order: SubmitOrder) -> Decimal:
        return self.manager.state.orders[order.client_order_id].order.filled_qty

    def last(self) -> OrderUpdate:
        return [m for m in self.out.emitted if isinstance(m, OrderUpdate)][-1]

    def fills(self) -> list[FillEvent]:
        return [m for m in self.out.emitted if isinstance(m, FillEvent)]

    def incidents(self) -> list[str]:
        return [m.kind for m in self.out.emitted if isinstance(m, Incident)]

    def triggers(self) -> list[str]:
        return [m.trigger for m in self.out.emitted if isinstance(m, KillTrigger)]


def ask(request: str = "r1", qty: str = "1", tif: TimeInForce = TimeInForce.GTC) -> OrderRequest:
    return OrderRequest(0, request, "s", "b", ACC, PERP_ID, Side.BUY, D(qty), price=D(100), tif=tif)


def key(order: SubmitOrder) -> tuple[str, str, str]:
    return order.account, order.instrument, order.client_order_id


def ack(order: SubmitOrder) -> OrderAccepted:
    return OrderAccepted(1, *key(order), f"v{order.client_order_id}")


def fill(order: SubmitOrder, trade: str, qty: str) -> OrderFilled:
    return fill_of(order, trade, D(qty), D(100), ts=2 * SECOND)


def view(order: SubmitOrder, status: OrderStatus, filled: str = "0") -> OrderReport:
    venue_id = f"v{order.client_order_id}"
    return OrderReport(1, *key(order), venue_id, order.side, order.qty, D(filled), status)


def lost(order: SubmitOrder, command: str = "SubmitOrder") -> OutcomeUnknown:
    return OutcomeUnknown(1, *key(order), command, "timeout")
