"""What the measured desk does: an order for every new touch, or baskets of two legs of which one is quoted."""

from decimal import Decimal
from typing import Any

from attrs import define

from actors.messages import BasketState, BasketUpdate, BookView, OrderRequest, Placement
from actors.strategies.base import Strategy, StrategyState
from venues.model.order import OrderType, Side, TimeInForce

_FIRST, _SECOND = "binance_usdm:BTCUSDT", "binance_usdm:BTCUSDC"
_ACCOUNT = "futures"
_QTY = Decimal("0.010")
_NS = 1_000_000_000


@define
class AskedState(StrategyState):
    asked: int = 0


class Answer(Strategy):
    """Answers every new touch with an order that takes, below the market."""

    publishes = (*Strategy.publishes, OrderRequest)  # type: ignore[assignment]
    State = AskedState

    def on_book(self, now: int, view: BookView) -> None:
        if view.instrument != _FIRST or self.state.is_stopping:
            return
        self.state.asked += 1
        price = self.price(_FIRST, view.bid - 100 - self.state.asked % 50)
        name = f"o{self.state.asked}"
        order = Side.BUY, _QTY, OrderType.LIMIT, price, TimeInForce.IOC
        self.out.emit(OrderRequest(now, name, self.name, "", _ACCOUNT, _FIRST, *order))


class Quoter(Strategy):
    """Buys one contract and sells the other, quoting the first, and takes that off again the same way, for ever."""

    def on_book(self, now: int, view: BookView) -> None:
        if not self.baskets and all(self.book(one) is not None for one in (_FIRST, _SECOND)):
            self._open(now)

    def on_basket(self, now: int, update: BasketUpdate) -> None:
        if update.state is BasketState.BALANCED and update.closes is None:
            self.close_basket(now, update.basket_id, **_HOW)

    def _open(self, now: int) -> None:
        if not self.state.is_stopping:
            legs = (
                self.leg(_ACCOUNT, _FIRST, Side.BUY, _QTY),
                self.leg(_ACCOUNT, _SECOND, Side.SELL, _QTY),
            )
            self.open_basket(now, *legs, **_HOW)


_HOW: dict[str, Any] = {"placement": Placement.MAKER_TAKER, "is_ordered": True, "deadline_ns": 30 * _NS}
