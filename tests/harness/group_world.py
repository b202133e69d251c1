"""A desk of ledger, gate, order manager and groups against a venue whose every step is a test's to take.

Commands wait until the venue is told to take them, reports until they are told to arrive, in any order.
"""

from collections.abc import Callable
from decimal import Decimal

from attrs import define, field
from cell_harness import PERP, SECOND, SPECS, D, FakeDesk, Recorder, fill_of

from actors.dispatcher import Dispatcher
from actors.group_messages import BracketRequest, GroupState, GroupUpdate, OcoRequest
from actors.group_plan import Group, Role
from actors.ledger import Ledger
from actors.messages import Incident, KillTrigger, OrderRequest
from actors.order_groups import GroupConfig, OrderGroups
from actors.order_manager import OrderManager
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce
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
    Query,
    QueryKind,
    QueryResult,
    RejectReason,
    Report,
    SubmitOrder,
)

ACC = "acc"


@define
class Resting:
    """An order at the venue."""

    command: SubmitOrder
    status: OrderStatus = OrderStatus.ACCEPTED
    filled: Decimal = ZERO

    @property
    def leaves(self) -> Decimal:
        return ZERO if self.status.is_terminal else self.command.qty - self.filled

    @property
    def key(self) -> tuple[str, str, str]:
        return self.command.account, self.command.instrument, self.command.client_order_id


@define
class StepVenue:
    """Rests every priced or triggered order until it is told to fill it, and fills market orders at once.

    With `enforces` it keeps reduce-only orders to the position, as venues do; without, only the desk does.
    """

    enforces: bool = True
    orders: dict[str, Resting] = field(factory=dict)
    fills: list[OrderFilled] = field(factory=list)
    position: Decimal = ZERO
    refuse: Callable[[SubmitOrder], RejectReason | None] = lambda order: None
    now: int = SECOND

    def take(self, command: Command) -> list[Report]:
        if isinstance(command, SubmitOrder):
            return self._submit(command)
        if isinstance(command, CancelOrder):
            return self._cancel(command)
        assert isinstance(command, Query), command
        return [self._answer(command)]

    def _submit(self, order: SubmitOrder) -> list[Report]:
        assert order.client_order_id not in self.orders, "a client id was used twice"
        reason = self.refuse(order)
        if reason is not None:
            return [OrderRejected(self.now, order.account, order.instrument, order.client_order_id, reason)]
        resting = self.orders[order.client_order_id] = Resting(order)
        found: list[Report] = [OrderAccepted(self.now, *resting.key, f"v{order.client_order_id}")]
        if order.type is OrderType.MARKET:
            found += self.fill(resting, order.qty)
            if not resting.status.is_terminal:
                resting.status = OrderStatus.EXPIRED
                found.append(OrderExpired(self.now, *resting.key, resting.filled))
        return found

    def fill(self, resting: Resting, qty: Decimal) -> list[Report]:
        """Fill at most `qty`, as far as order and position allow; end a reduce-only order that has none to reduce."""
        order = resting.command
        room = resting.leaves
        if order.reduce_only and self.enforces:
            room = min(room, max(ZERO, -order.side.sign * self.position))
        qty = min(qty, room)
        found: list[Report] = []
        if qty > ZERO:
            resting.filled += qty
            self.position += order.side.sign * qty
            found.append(fill_of(order, f"t{len(self.fills) + 1}", qty, D(100), ts=self.now))
            self.fills.append(found[0])  # type: ignore[arg-type]
            is_done = resting.filled == order.qty
            resting.status = OrderStatus.FILLED if is_done else OrderStatus.PARTIALLY_FILLED
        elif order.reduce_only and not resting.status.is_terminal and order.type is not OrderType.MARKET:
            resting.status = OrderStatus.EXPIRED
            found.append(OrderExpired(self.now, *resting.key, resting.filled))
        return found

    def _cancel(self, cancel: CancelOrder) -> list[Report]:
        resting = self.orders.get(cancel.client_order_id)
        if resting is None or resting.status.is_terminal:
            where = (cancel.account, cancel.instrument, cancel.client_order_id)
            return [CancelRejected(self.now, *where, RejectReason.UNKNOWN_ORDER)]
        resting.status = OrderStatus.CANCELED
        return [OrderCanceled(self.now, *resting.key, resting.filled)]

    def _answer(self, query: Query) -> Report:
        if query.kind is QueryKind.FILLS:
            return QueryResult(self.now, query.account, query.query_id, query.kind, fills=tuple(self.fills))
        found = self.orders.get(query.client_order_id or "")
        reports = () if found is None else (_report(self.now, found),)
        return QueryResult(self.now, query.account, query.query_id, query.kind, orders=reports)

    def live(self, *types: OrderType) -> list[Resting]:
        return [one for one in self.orders.values() if not one.status.is_terminal and one.command.type in types]


def _report(now: int, one: Resting) -> OrderReport:
    order = one.command
    return OrderReport(now, *one.key, f"v{order.client_order_id}", order.side, order.qty, one.filled, one.status)


class _WatchedGroups(OrderGroups):
    """Notes at each exit it places what such exits then work, and what is open."""

    placed: list[tuple[Role, Decimal, Decimal]]

    def _place(self, now: int, group: Group, role: Role, qty: Decimal) -> None:
        super()._place(now, group, role, qty)
        if role in (Role.STOP, Role.TARGET):
            self.placed.append((role, group.working(role), group.open_qty))


class GroupWorld:
    """The cell, the venue, and what is under way between them. With `is_prompt` nothing stays under way."""

    def __init__(self, *, is_prompt: bool = True, enforces: bool = True, config: GroupConfig | None = None) -> None:
        self.now = SECOND
        self.is_prompt = is_prompt
        self.venue = StepVenue(enforces)
        self.gate, self.recorder = FakeDesk(), GroupRecorder()
        self.groups = _WatchedGroups(SPECS, config)
        self.groups.placed = []
        self.manager = OrderManager(SPECS)
        ledger = Ledger(SPECS, {ACC: {"USDT": D(1_000_000)}}, name="ledger")
        self.cell = Dispatcher([ledger, self.gate, self.manager, self.groups, self.recorder])
        self.commands: list[Command] = []
        self.reports: list[Report] = []
        self.cell.start(self.now)

    def tell(self, message: Message) -> None:
        self.cell.take(self.now, message)
        self.settle()

    def settle(self) -> None:
        """Dispatch what is there; when prompt, go on until nothing is under way."""
        for _ in range(500):
            self.cell.run(self.now)
            self.commands += [intent.command for intent in self.cell.take_effects()]
            if not self.is_prompt or not self.step():
                return
        raise AssertionError("desk and venue never come to rest")

    def step(self) -> bool:
        """Let one thing arrive: the oldest command at the venue, else the oldest report at the desk."""
        if self.commands:
            self.venue_takes()
        elif self.reports:
            self.arrives(0)
        else:
            return False
        return True

    def venue_takes(self) -> None:
        if self.commands:
            self.venue.now = self.now
            self.reports += self.venue.take(self.commands.pop(0))

    def arrives(self, number: int, *, is_repeated: bool = False) -> None:
        """Deliver the report `number` of those under way; a repeated one stays under way as well."""
        report = self.reports[number] if is_repeated else self.reports.pop(number)
        self.cell.offer(report)
        self.cell.run(self.now)
        self.commands += [intent.command for intent in self.cell.take_effects()]

    def market_fills(self, resting: Resting, qty: str | Decimal) -> None:
        self.reports += self.venue.fill(resting, D(qty))
        if self.is_prompt:
            self.settle()

    def wait(self, ns: int) -> None:
        end = self.now + ns
        while (at := self.cell.next_timer()) is not None and at <= end:
            self.now = max(self.now, at)
            self.cell.offer_due(self.now)
            self.settle()
        self.now = end

    # Looking

    @property
    def group(self) -> Group:
        return next(iter(self.groups.state.groups.values()))

    def stops(self) -> list[Resting]:
        return self.venue.live(OrderType.STOP_MARKET, OrderType.STOP_LIMIT)

    def targets(self) -> list[Resting]:
        return [one for one in self.venue.live(OrderType.LIMIT) if one.command.reduce_only]

    def entry(self) -> Resting:
        return next(one for one in self.venue.orders.values() if not one.command.reduce_only)

    def exits(self) -> tuple[Decimal, Decimal]:
        """Return what rests at the venue as stop and as target."""
        return sum((one.leaves for one in self.stops()), ZERO), sum((one.leaves for one in self.targets()), ZERO)

    def states(self) -> list[GroupState]:
        found: list[GroupState] = []
        for update in self.recorder.updates():
            if found[-1:] != [update.state]:
                found.append(update.state)
        return found


class GroupRecorder(Recorder):
    """Also keeps what is said of groups."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[GroupUpdate] = []

    @classmethod
    def handlers(cls) -> dict[type[Message], str]:
        return {**super().handlers(), GroupUpdate: "heard"}

    def heard(self, now: int, update: GroupUpdate) -> None:
        self.said.append(update)

    def updates(self) -> list[GroupUpdate]:
        return self.said

    def incidents(self) -> list[str]:
        return [one.kind for one in self.seen if isinstance(one, Incident)]

    def triggers(self) -> list[str]:
        return [one.trigger for one in self.seen if isinstance(one, KillTrigger)]

    def requests(self, role: Role) -> list[OrderRequest]:
        return [one for one in self.seen if isinstance(one, OrderRequest) and f"/{role}-" in one.request_id]


def bracket(side: Side = Side.BUY, qty: str = "1", **changes: object) -> BracketRequest:
    """A bracket around 100: stop at 95, target at 105 for a buy, mirrored for a sell."""
    near = {"stop_trigger": D(100) - 5 * side.sign, "target_price": D(100) + 5 * side.sign, "entry_price": D(100)}
    return BracketRequest(0, "g1", "s1", ACC, PERP.id, side, D(qty), **(near | changes))  # type: ignore[arg-type]


def oco(side: Side = Side.BUY, qty: str = "1", **changes: object) -> OcoRequest:
    near = {"stop_trigger": D(100) - 5 * side.sign, "target_price": D(100) + 5 * side.sign}
    return OcoRequest(0, "g1", "s1", ACC, PERP.id, side, D(qty), **(near | changes))  # type: ignore[arg-type]


def buy_outside(world: GroupWorld, qty: str) -> None:
    """Let somebody else's order change the account's position by `qty`, as another strategy's would."""
    side = Side.BUY if D(qty) > ZERO else Side.SELL
    order = SubmitOrder(
        world.now, ACC, PERP.id, f"other-{len(world.venue.fills)}", side, abs(D(qty)), tif=TimeInForce.IOC
    )
    world.venue.position += D(qty)
    report = fill_of(order, f"o{len(world.venue.fills) + 1}", abs(D(qty)), D(100), ts=world.now)
    world.venue.fills.append(report)
    world.cell.offer(report)
    world.settle()
