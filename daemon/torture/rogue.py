"""A program that asks for what nobody must get: for each control of the desk, requests that it has to refuse."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from attrs import define, evolve, field

from actors.base import Actor, handles
from actors.basket_plan import DenyReason
from actors.flags import FlagMode, SetFlag
from actors.messages import (
    BasketIntent,
    BasketLeg,
    BasketState,
    BasketUpdate,
    CancelRequest,
    DepthReply,
    DepthRequest,
    OrderApproved,
    OrderRequest,
    StopCommand,
)
from actors.risk_checks import Reason
from venues.model.instrument import Instrument
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import Lane, Message, message

NAME = "rogue"
_NAN = Decimal("NaN")
_FAR = Decimal(10) ** 9


@message(lane=Lane.CONTROL)
class Misdeed(Message):
    """The rogue is to do `what`, a name of MISDEEDS."""

    ts: int
    what: str
    salt: int = 0


@define
class RogueState:
    """`planned` are misdeeds that wait for a price, by the reference of the depth; `basket` is open, `gone` was."""

    next_order: int = 1
    planned: dict[str, str] = field(factory=dict)
    basket: str = ""
    gone: str = ""
    is_stopping: bool = False


_M = TypeVar("_M", bound=Message)


def _but(message: _M, **changes: object) -> _M:
    """Return the message with some fields changed."""
    made: Any = message
    changed: _M = evolve(made, **changes)
    return changed


Make = Callable[["Rogue", OrderRequest], list[Message]]
"""Makes something bad of a request that would pass."""


class Rogue(Actor):
    """Trades one spot instrument at `account`, next to `other_account` and an instrument `unlisted` for trading."""

    publishes = (OrderRequest, CancelRequest, DepthRequest, BasketIntent, SetFlag)
    state: RogueState

    def __init__(
        self,
        specs: Mapping[str, Instrument],
        spot: str,
        account: str,
        perpetual: str,
        other_account: str,
        unlisted: str,
    ) -> None:
        super().__init__(NAME)
        self.spec, self.perpetual = specs[spot], specs[perpetual]
        self.account, self.other_account, self.unlisted = account, other_account, unlisted
        self.qty = Decimal("0.002")
        self.state = RogueState()

    @handles(Misdeed)
    def told(self, now: int, misdeed: Misdeed) -> None:
        ref = f"{NAME}:{self.state.next_order}"
        self.state.next_order += 1
        self.state.planned[ref] = misdeed.what
        self.out.emit(DepthRequest(now, ref, self.spec.id, 1))

    @handles(DepthReply)
    def priced(self, now: int, reply: DepthReply) -> None:
        what = self.state.planned.pop(reply.ref, None)
        if what is None or not reply.asks:
            return
        good = self.good(now, self.spec.price(reply.asks[0][0]))
        for made in MISDEEDS[what](self, good):
            self.out.emit(made)

    @handles(BasketUpdate)
    def basket_seen(self, now: int, update: BasketUpdate) -> None:
        if update.closes is None and update.state is BasketState.BALANCED:
            self.state.basket = update.basket_id
        elif update.closes is None and update.state is BasketState.FLAT:
            self.state.gone = update.basket_id

    @handles(OrderApproved)
    def approved(self, now: int, message: OrderApproved) -> None:
        """What should not rest is taken off at once."""
        if message.request.strategy == NAME and message.request.tif is TimeInForce.GTC:
            self.out.emit(CancelRequest(now, message.request.request_id))

    @handles(StopCommand)
    def stopped(self, now: int, message: StopCommand) -> None:
        if not self.state.is_stopping:
            self.state.is_stopping = True
            self.out.emit(self.good(now, Decimal(1_000)))
            self.out.emit(BasketIntent(now, self.next_id(), NAME, self.legs()))

    def good(self, now: int, ask: Decimal) -> OrderRequest:
        """Return a request that would do nothing but rest far behind the touch, where it is let through at all."""
        price = self.spec.price(int(ask * Decimal("0.9945") / self.spec.tick_size))
        return OrderRequest(
            now, self.next_id(), NAME, "", self.account, self.spec.id, Side.BUY, self.qty, OrderType.LIMIT, price,
            TimeInForce.GTC,
        )  # fmt: skip

    def next_id(self) -> str:
        self.state.next_order += 1
        return f"{NAME}#{self.state.next_order}"

    def legs(self, qty: Decimal = Decimal("0.02")) -> tuple[BasketLeg, BasketLeg]:
        return (
            BasketLeg(self.account, self.spec.id, Side.BUY, qty),
            BasketLeg(self.other_account, self.perpetual.id, Side.SELL, qty),
        )


def _one(**changes: object) -> Make:
    return lambda _, good: [_but(good, **changes)]


def _scaled(price: str = "1", qty: str = "1") -> Make:
    def make(rogue: Rogue, good: OrderRequest) -> list[Message]:
        assert good.price is not None
        tick = rogue.spec.tick_size
        at = int(good.price * Decimal(price) / tick) * tick
        return [_but(good, price=at, qty=good.qty * Decimal(qty))]

    return make


def _many(count: int, step: int = 1) -> Make:
    def make(rogue: Rogue, good: OrderRequest) -> list[Message]:
        assert good.price is not None
        tick = rogue.spec.tick_size * step
        return [_but(good, request_id=rogue.next_id(), price=good.price - tick * n) for n in range(count)]

    return make


def _twice(rogue: Rogue, good: OrderRequest) -> list[Message]:
    return [good, _but(good, request_id=rogue.next_id())]


def _cancels(rogue: Rogue, good: OrderRequest) -> list[Message]:
    """Take one order off again and again, and ask for another."""
    assert good.price is not None
    another = _but(good, request_id=rogue.next_id(), price=good.price - rogue.spec.tick_size)
    return [good, *(CancelRequest(good.ts, good.request_id) for _ in range(60)), another]


def _same_id(rogue: Rogue, good: OrderRequest) -> list[Message]:
    assert good.price is not None
    return [good, _but(good, price=good.price - rogue.spec.tick_size)]


def _on_perpetual(qty: str, price: str = "1") -> Make:
    """The same on the perpetual, which has a largest quantity."""

    def make(rogue: Rogue, good: OrderRequest) -> list[Message]:
        assert good.price is not None
        spec = rogue.perpetual
        at = int(good.price * Decimal(price) / spec.tick_size) * spec.tick_size
        return [_but(good, instrument=spec.id, account=rogue.other_account, qty=Decimal(qty), price=at)]

    return make


def _in_basket(rogue: Rogue, good: OrderRequest) -> list[Message]:
    return [_but(good, basket_id=rogue.state.basket, qty=Decimal("0.2"), is_hedge=True)]


def _basket(change: Callable[[Rogue, BasketIntent], BasketIntent]) -> Make:
    def make(rogue: Rogue, good: OrderRequest) -> list[Message]:
        return [change(rogue, BasketIntent(good.ts, rogue.next_id(), NAME, rogue.legs()))]

    return make


def _with_legs(intent: BasketIntent, **changes: Any) -> BasketIntent:
    """Return the intent with some fields of its first leg changed."""
    first, second = intent.legs
    return _but(intent, legs=(evolve(first, **changes), second))


RISK_MISDEEDS: dict[str, Make] = {
    Reason.UNKNOWN_INSTRUMENT: _one(instrument="spot_venue:NOTHING"),
    Reason.UNKNOWN_ACCOUNT: _one(account="nobody"),
    Reason.WRONG_VENUE: lambda rogue, good: [_but(good, account=rogue.other_account)],
    Reason.BAD_QTY: lambda rogue, good: [
        _but(good, qty=bad, request_id=rogue.next_id()) for bad in (_NAN, Decimal(0), Decimal(-1))
    ],
    Reason.BAD_PRICE: lambda rogue, good: [
        _but(good, price=bad, request_id=rogue.next_id()) for bad in (_NAN, Decimal(0), None)
    ],
    Reason.RESTRICTED: lambda rogue, good: [_but(good, instrument=rogue.unlisted, price=Decimal(100))],
    Reason.NO_REFERENCE: lambda rogue, good: [_but(good, instrument=rogue.unlisted, price=Decimal(100))],
    Reason.OFF_TICK: lambda _, good: [_but(good, price=(good.price or 0) + Decimal("0.001"))],
    Reason.OFF_LOT: _scaled(qty="1.0001"),
    Reason.BELOW_MIN_QTY: _on_perpetual("0.0005"),
    Reason.ABOVE_MAX_QTY: _on_perpetual("1001"),
    Reason.BELOW_MIN_NOTIONAL: _scaled(qty="0.01"),
    Reason.UNPRICED: _one(type=OrderType.MARKET, price=None, tif=TimeInForce.IOC),
    Reason.PRICE_COLLAR: _scaled(price="0.97"),
    Reason.PERIOD_COLLAR: _scaled(price="0.5"),
    Reason.HARD_COLLAR: _scaled(price="0.5"),
    Reason.ORDER_QTY: _scaled(qty="100"),
    Reason.ORDER_NOTIONAL: _scaled(qty="150"),
    Reason.POSITION_QTY: _scaled(qty="150"),
    Reason.POSITION_NOTIONAL: _scaled(qty="200"),
    Reason.GROSS_NOTIONAL: _scaled(qty="1000"),
    Reason.UNEXECUTED_NOTIONAL: _scaled(qty="1000"),
    Reason.OPEN_ORDERS: _many(16),
    Reason.MESSAGE_RATE: _cancels,
    Reason.DUPLICATE_ID: _same_id,
    Reason.DUPLICATE_ORDER: _twice,
    Reason.BASKET_OVERRUN: _in_basket,
    Reason.PARENT_OVERRUN: _one(parent_id="nobody"),
    Reason.REDUCE_CAPACITY: lambda rogue, good: [
        BasketIntent(
            good.ts,
            rogue.next_id(),
            NAME,
            tuple(evolve(leg, reduce_only=not leg.side.sign > 0) for leg in rogue.legs()),
        )
    ],
    Reason.BACKLOG: _one(),
}
"""What the risk gate refuses, by its reason. The other reasons follow from faults; the last one only in a flood."""

BASKET_MISDEEDS: dict[str, Make] = {
    DenyReason.DUPLICATE: _basket(lambda rogue, intent: _but(intent, basket_id=rogue.state.gone or intent.basket_id)),
    DenyReason.NO_LEGS: _basket(lambda _, intent: _but(intent, legs=())),
    DenyReason.DUPLICATE_LEG: _basket(lambda _, intent: _but(intent, legs=(*intent.legs, intent.legs[0]))),
    DenyReason.BAD_PARAMETER: _basket(lambda _, intent: _but(intent, risk_budget=_NAN)),
    DenyReason.NOT_NEUTRAL: _basket(lambda rogue, intent: _with_legs(intent, qty=Decimal("0.04"))),
    DenyReason.BELOW_QUANTUM: _basket(lambda rogue, intent: _but(intent, legs=rogue.legs(Decimal("0.0004")))),
    DenyReason.SIZE_LIMIT: _basket(lambda rogue, intent: _but(intent, legs=rogue.legs(Decimal("0.001")))),
    DenyReason.NOT_OPEN: _basket(lambda _, intent: _but(intent, closes="nothing")),
    DenyReason.CLOSES_MORE: _basket(
        lambda rogue, intent: _but(intent, closes=rogue.state.basket, legs=rogue.legs(Decimal(5)))
    ),
    DenyReason.UNKNOWN_INSTRUMENT: _basket(lambda rogue, intent: _with_legs(intent, instrument="spot_venue:NO")),
    DenyReason.FLAG: lambda rogue, good: [
        SetFlag(good.ts, NAME, NAME, FlagMode.DISABLED),
        BasketIntent(good.ts, rogue.next_id(), NAME, rogue.legs()),
        SetFlag(good.ts, NAME, NAME, FlagMode.PRODUCTION),
    ],
    DenyReason.PREFLIGHT: _basket(lambda rogue, intent: _but(intent, legs=rogue.legs(Decimal(5)))),
}
"""What the executor refuses, by its reason."""

BACKLOG = f"order/{Reason.BACKLOG}"

MISDEEDS: dict[str, Make] = {
    **{f"order/{reason}": make for reason, make in RISK_MISDEEDS.items()},
    **{f"basket/{reason}": make for reason, make in BASKET_MISDEEDS.items()},
}
