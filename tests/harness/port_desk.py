"""What a case of the port's contract holds in its hands: one account at one venue, and everything it said."""

from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, Decimal
from itertools import count
from typing import Any, Protocol, TypeVar

from attrs import define, field

from venues.model.account import MarginMode, PositionMode
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide, Side
from venues.port import (
    BookSnapshot,
    CancelAll,
    CancelOrder,
    Command,
    Message,
    ModifyOrder,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderReport,
    OutcomeUnknown,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
)

_R = TypeVar("_R", bound=Message)
_NUMBERS = count(1)


class PortSilentError(AssertionError):
    """The venue did not say within the port's patience what the contract expects."""


class Port(Protocol):
    """A venue behind the port. `heard` is everything it said, in order. Client ids begin with
    `prefix`, unique to this port: venues remember ids."""

    account: str
    perp: Instrument
    prefix: str
    heard: list[Message]

    def now(self) -> int: ...

    def send(self, commands: Sequence[Command]) -> None:
        """Send commands; never waits."""

    async def wait(self, is_heard: Callable[[], bool]) -> bool:
        """Let time pass until `is_heard`, at most the port's patience; return whether it was."""

    async def pass_time(self, ns: int) -> None:
        """Let that much of the venue's time pass."""


@define
class PortDesk:
    """Places orders for a case and finds in `port.heard` what became of them."""

    port: Port
    begun: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begun = len(self.port.heard)

    # Saying

    def name(self) -> str:
        return f"{self.port.prefix}{next(_NUMBERS)}"

    def send(self, *commands: Command) -> None:
        self.port.send(commands)

    def order(self, side: Side, qty: Decimal, price: Decimal | None = None, **terms: Any) -> SubmitOrder:
        """Return an order that is not sent yet: a limit with `price`, else a market order."""
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        made: dict[str, Any] = {"type": kind, "price": price, "client_order_id": self.name(), **terms}
        port = self.port
        return SubmitOrder(ts=port.now(), account=port.account, instrument=port.perp.id, side=side, qty=qty, **made)

    def submit(self, side: Side, qty: Decimal, price: Decimal | None = None, **terms: Any) -> str:
        order = self.order(side, qty, price, **terms)
        self.send(order)
        return order.client_order_id

    def cancel(self, name: str) -> None:
        self.send(CancelOrder(self.port.now(), self.port.account, self.port.perp.id, name))

    def modify(self, name: str, qty: Decimal, price: Decimal) -> None:
        self.send(ModifyOrder(self.port.now(), self.port.account, self.port.perp.id, name, qty, price))

    # Hearing

    def all(self, kind: type[_R], name: str | None = None) -> list[_R]:
        """Return what the case has heard of that kind, of one order when `name` is given."""
        return [
            one
            for one in self.port.heard[self.begun :]
            if isinstance(one, kind) and (name is None or getattr(one, "client_order_id", None) == name)
        ]

    async def hear(self, is_heard: Callable[[], object], what: str) -> None:
        if not await self.port.wait(lambda: bool(is_heard())):
            told = "\n".join(repr(one)[:400] for one in self.port.heard[self.begun :])
            raise PortSilentError(f"{what} was not heard, only:\n{told}")

    async def first(self, kind: type[_R], name: str | None = None) -> _R:
        """Wait for the first report of that kind."""
        await self.hear(lambda: self.all(kind, name), f"{kind.__name__} of {name or 'anything'}")
        return self.all(kind, name)[0]

    async def last(self, kind: type[_R], accepts: Callable[[_R], bool]) -> _R:
        """Wait until the newest report of that kind is as `accepts` says."""
        await self.hear(lambda: (found := self.all(kind)) and accepts(found[-1]), f"such a {kind.__name__}")
        return self.all(kind)[-1]

    async def rest(self, side: Side, qty: Decimal, price: Decimal, **terms: Any) -> str:
        """Place an order that rests, and wait until it does."""
        name = self.submit(side, qty, price, **terms)
        await self.first(OrderAccepted, name)
        return name

    async def ended(self, name: str) -> OrderCanceled | OrderExpired | OrderRejected:
        """Wait until the order is over otherwise than by its fills."""

        def ends() -> list[OrderCanceled | OrderExpired | OrderRejected]:
            return [*self.all(OrderCanceled, name), *self.all(OrderExpired, name), *self.all(OrderRejected, name)]

        await self.hear(ends, f"the end of {name}")
        return ends()[0]

    def filled(self, name: str) -> Decimal:
        return sum((fill.qty for fill in self.all(OrderFilled, name)), ZERO)

    async def trade(self, side: Side, qty: Decimal, **terms: Any) -> list[OrderFilled]:
        """Trade at the market and wait for every fill."""
        name = self.submit(side, qty, **terms)
        await self.hear(lambda: self.filled(name) == qty, f"{qty} filled of {name}")
        return self.all(OrderFilled, name)

    def assert_sure(self, name: str) -> None:
        assert not self.all(OutcomeUnknown, name), f"the outcome of {name} was unknown"

    # Asking

    async def ask(self, kind: QueryKind, name: str | None = None, **terms: Any) -> QueryResult:
        """Ask and return the answer, which must not be a failure."""
        answer = await self.answer(kind, name, **terms)
        assert isinstance(answer, QueryResult), answer
        assert answer.kind is kind
        return answer

    async def answer(self, kind: QueryKind, name: str | None = None, **terms: Any) -> QueryResult | QueryFailed:
        port, query_id = self.port, f"{self.name()}?"
        made: dict[str, Any] = {"instrument": port.perp.id, **terms}
        self.send(Query(port.now(), port.account, query_id, kind, client_order_id=name, **made))

        def answers() -> list[QueryResult | QueryFailed]:
            found: list[QueryResult | QueryFailed] = [*self.all(QueryResult), *self.all(QueryFailed)]
            return [one for one in found if one.query_id == query_id]

        await self.hear(answers, f"an answer to {kind}")
        return answers()[0]

    async def book(self) -> BookSnapshot:
        before = len(self.all(BookSnapshot))
        port = self.port
        self.send(Query(port.now(), port.account, f"{self.name()}?", QueryKind.BOOK, port.perp.id))
        await self.hear(lambda: len(self.all(BookSnapshot)) > before, "a book")
        return self.all(BookSnapshot)[-1]

    async def open_orders(self) -> dict[str, OrderReport]:
        return {order.client_order_id: order for order in (await self.ask(QueryKind.OPEN_ORDERS)).orders}

    async def positions(self) -> dict[PositionSide, PositionReport]:
        """Return what is held, flat sides left out."""
        found = (await self.ask(QueryKind.POSITIONS)).positions
        return {one.position_side: one for one in found if one.instrument == self.port.perp.id and one.qty}

    async def wallet(self) -> Decimal:
        balances = (await self.ask(QueryKind.ACCOUNT)).balances
        assert balances is not None
        return balances[self.port.perp.settle]

    # Prices and sizes

    async def far(self, side: Side) -> Decimal:
        """Return a price on the grid, three percent behind the best of its own side."""
        book, spec = await self.book(), self.port.perp
        best = book.bids[0][0] if side is Side.BUY else book.asks[0][0]
        return spec.price(best * (100 - 3 * side.sign) // 100)

    async def touch(self, side: Side) -> Decimal:
        """Return the best price an order of `side` could take."""
        book = await self.book()
        return self.port.perp.price((book.asks if side is Side.BUY else book.bids)[0][0])

    async def size(self, times: int = 1) -> Decimal:
        """Return `times` a small quantity that every filter allows, at the far prices too."""
        spec = self.port.perp
        least = max(spec.min_qty, 2 * spec.min_notional / await self.far(Side.BUY), spec.lot_size)
        return times * spec.qty(int((least / spec.lot_size).to_integral_value(ROUND_CEILING)))

    # Between cases

    async def begin(self) -> None:
        """Come to an account without orders, and flat: one way, cross margin."""
        port = self.port
        self.send(CancelAll(port.now(), port.account, port.perp.id))
        await self.hear_none_open()
        if not port.perp.is_spot:
            await self._flatten()
        self.begun = len(port.heard)

    async def _flatten(self) -> None:
        port = self.port
        for side, held in (await self.positions()).items():
            closing = Side.SELL if held.qty > ZERO else Side.BUY
            flag = {"reduce_only": True} if side is PositionSide.BOTH else {}
            await self.trade(closing, abs(held.qty), position_side=side, **flag)
        assert not await self.positions()
        self.send(
            SetPositionMode(port.now(), port.account, PositionMode.ONE_WAY),
            SetMarginMode(port.now(), port.account, port.perp.id, MarginMode.CROSS),
        )
        mode = (await self.ask(QueryKind.ACCOUNT)).position_mode
        assert mode is PositionMode.ONE_WAY

    async def hear_none_open(self) -> None:
        for _ in range(20):
            if not await self.open_orders():
                return
            await self.port.pass_time(100_000_000)
        raise PortSilentError("orders stay open after a CancelAll")
