"""How a strategy asks for baskets to be opened and closed."""

from decimal import Decimal

from actors.messages import (
    BasketIntent,
    BasketLeg,
    BasketState,
    Placement,
)
from actors.strategies.sight import OwnBasket, Sight
from venues.model.money import ZERO, round_to_step
from venues.model.order import PositionSide, Side


class AsksBaskets(Sight):
    """`on_basket` tells what becomes of them."""

    def leg(
        self,
        account: str,
        instrument: str,
        side: Side,
        qty: Decimal,
        *,
        limit_price: Decimal | None = None,
        position_side: PositionSide = PositionSide.BOTH,
    ) -> BasketLeg:
        return BasketLeg(account, instrument, side, qty, position_side=position_side, limit_price=limit_price)

    def open_basket(
        self,
        now: int,
        *legs: BasketLeg,
        max_slippage_bps: Decimal = Decimal(10),
        risk_budget: Decimal = Decimal(1_000_000),
        deadline_ns: int = 30_000_000_000,
        placement: Placement = Placement.SIMULTANEOUS,
        is_ordered: bool = False,
        loss_budget: Decimal | None = None,
        edge_bps: Decimal | None = None,
    ) -> str:
        """Ask for all legs as one trade; return its id. What becomes of it comes to `on_basket`.

        What the keywords mean is said by BasketIntent.
        """
        basket_id = self._next_id()
        self.state.baskets[basket_id] = OwnBasket(list(legs))
        self.out.emit(
            BasketIntent(
                now,
                basket_id,
                self.name,
                legs,
                max_slippage_bps=max_slippage_bps,
                risk_budget=risk_budget,
                deadline_ns=deadline_ns,
                placement=placement,
                is_ordered=is_ordered,
                loss_budget=loss_budget,
                edge_bps=edge_bps,
            )
        )
        return basket_id

    def close_basket(
        self,
        now: int,
        basket_id: str,
        *,
        max_slippage_bps: Decimal = Decimal(10),
        risk_budget: Decimal = Decimal(1_000_000),
        deadline_ns: int = 30_000_000_000,
        placement: Placement = Placement.SIMULTANEOUS,
        is_ordered: bool = False,
        loss_budget: Decimal | None = None,
    ) -> str | None:
        """Ask to take an open basket off; return the closing basket's id, None when nothing can be closed now."""
        basket = self.state.baskets.get(basket_id)
        if self.state.is_stopping or basket is None or basket.closing or not self.is_open(basket_id):
            return None
        legs = tuple(
            BasketLeg(leg.account, leg.instrument, leg.side.opposite, qty, True, leg.position_side)
            for leg, filled in zip(basket.legs, basket.filled, strict=True)
            if (qty := round_to_step(abs(filled), self.instruments[leg.instrument].lot_size)) > ZERO
        )
        if not legs:
            return None
        close_id = self._next_id()
        basket.closing = close_id
        self.state.closes[close_id] = basket_id
        self.out.emit(
            BasketIntent(
                now,
                close_id,
                self.name,
                legs,
                basket_id,
                max_slippage_bps,
                risk_budget,
                deadline_ns,
                placement,
                is_ordered,
                loss_budget,
            )
        )
        return close_id

    def is_open(self, basket_id: str) -> bool:
        """Whether the basket holds a position that can be closed."""
        basket = self.state.baskets.get(basket_id)
        return basket is not None and basket.state in (BasketState.BALANCED, BasketState.BROKEN)

    @property
    def baskets(self) -> dict[str, OwnBasket]:
        """The strategy's baskets that are under way or open, by id."""
        found: dict[str, OwnBasket] = self.state.baskets
        return found
