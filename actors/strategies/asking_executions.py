"""How a strategy asks for one instrument to be traded, and for that to end."""

from decimal import Decimal

from actors.executions import CancelExecution, ExecutionIntent, ExecutionMode
from actors.strategies.sight import Sight
from venues.model.order import PositionSide, Side


class AsksExecutions(Sight):
    """`on_execution` tells what became of them."""

    def execute(
        self,
        now: int,
        account: str,
        instrument: str,
        side: Side,
        qty: Decimal,
        *,
        mode: ExecutionMode = ExecutionMode.ADAPTIVE,
        limit_price: Decimal | None = None,
        max_slippage_bps: Decimal | None = None,
        time_budget_ns: int | None = None,
        reduce_only: bool = False,
        position_side: PositionSide = PositionSide.BOTH,
    ) -> str:
        """Ask to trade one instrument; return the parent's id. What became of it comes to `on_execution`.

        What is bought or sold so is the strategy's own to take off again: closing baskets does not touch it.
        """
        parent_id = self._next_id()
        self.state.executions[parent_id] = qty
        self.out.emit(
            ExecutionIntent(
                now,
                parent_id,
                self.name,
                account,
                instrument,
                side,
                qty,
                mode,
                limit_price,
                max_slippage_bps,
                time_budget_ns,
                reduce_only,
                position_side,
                decision_price=self._mid(instrument),
            )
        )
        return parent_id

    def cancel_execution(self, now: int, parent_id: str) -> None:
        """Ask to end an execution; what it has filled by then comes to `on_execution`."""
        self.out.emit(CancelExecution(now, parent_id))

    @property
    def executions(self) -> dict[str, Decimal]:
        """The strategy's executions under way: what was asked for, by id."""
        found: dict[str, Decimal] = self.state.executions
        return found
