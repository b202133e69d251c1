"""How a strategy asks for single orders: with exits over what fills, over a position, or at a later time."""

from decimal import Decimal

from actors.group_messages import (
    BracketRequest,
    CancelScheduled,
    GroupCommand,
    OcoRequest,
    ScheduleOrder,
)
from actors.messages import (
    OrderRequest,
)
from actors.strategies.sight import Sight
from venues.model.order import OrderType, PositionSide, Side, TimeInForce


class AsksOrders(Sight):
    """`on_group` and `on_scheduled` tell what becomes of them."""

    def bracket(
        self,
        now: int,
        account: str,
        instrument: str,
        side: Side,
        qty: Decimal,
        *,
        stop_trigger: Decimal,
        target_price: Decimal,
        entry_price: Decimal | None = None,
        tif: TimeInForce = TimeInForce.GTC,
        expire_ns: int | None = None,
        stop_price: Decimal | None = None,
        trigger_on_mark: bool = False,
        position_side: PositionSide = PositionSide.BOTH,
    ) -> str:
        """Enter with a stop and a target over what fills; return the group's id. News come to `on_group`."""
        group_id = self._next_group()
        self.out.emit(
            BracketRequest(
                now,
                group_id,
                self.name,
                account,
                instrument,
                side,
                qty,
                stop_trigger,
                target_price,
                entry_price,
                tif,
                expire_ns,
                stop_price,
                trigger_on_mark,
                position_side,
            )
        )
        return group_id

    def oco(
        self,
        now: int,
        account: str,
        instrument: str,
        side: Side,
        qty: Decimal,
        *,
        stop_trigger: Decimal,
        target_price: Decimal,
        stop_price: Decimal | None = None,
        trigger_on_mark: bool = False,
        position_side: PositionSide = PositionSide.BOTH,
    ) -> str:
        """Put a stop and a target over a position that is held, long for BUY; return the group's id."""
        group_id = self._next_group()
        self.out.emit(
            OcoRequest(
                now,
                group_id,
                self.name,
                account,
                instrument,
                side,
                qty,
                stop_trigger,
                target_price,
                stop_price,
                trigger_on_mark,
                position_side,
            )
        )
        return group_id

    def end_group(self, now: int, group_id: str, *, closes: bool = True) -> None:
        """Cancel what a group has working, and close its position at market unless told to leave it."""
        self.out.emit(GroupCommand(now, group_id, closes))

    def schedule(
        self,
        now: int,
        not_before_ns: int,
        account: str,
        instrument: str,
        side: Side,
        qty: Decimal,
        *,
        order_type: OrderType = OrderType.LIMIT,
        price: Decimal | None = None,
        tif: TimeInForce = TimeInForce.IOC,
        reduce_only: bool = False,
        not_after_ns: int | None = None,
    ) -> str:
        """Ask for an order at `not_before_ns`, checked then; return its request id. News come to `on_scheduled`."""
        request_id = f"{self.name}-s{self.state.next_scheduled}"
        self.state.next_scheduled += 1
        request = OrderRequest(
            not_before_ns,
            request_id,
            self.name,
            "",
            account,
            instrument,
            side,
            qty,
            order_type,
            price,
            tif,
            reduce_only,
        )
        self.out.emit(ScheduleOrder(now, request, not_before_ns, not_after_ns))
        return request_id

    def unschedule(self, now: int, request_id: str) -> None:
        """Take a scheduled order back; one that has started is cancelled."""
        self.out.emit(CancelScheduled(now, request_id))

    def _next_group(self) -> str:
        group_id = f"{self.name}-g{self.state.next_group}"
        self.state.next_group += 1
        return group_id
