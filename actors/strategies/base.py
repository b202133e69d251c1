"""What a strategy is: it sees books and what became of what it asked for, and decides what to ask for next."""

from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import frozen

from actors.base import handles
from actors.basket import ENDED
from actors.cell import CellRestarted
from actors.executions import CancelExecution, ExecutionIntent, ExecutionReport
from actors.group_messages import (
    BracketRequest,
    CancelScheduled,
    GroupCommand,
    GroupUpdate,
    OcoRequest,
    ScheduleOrder,
    ScheduleUpdate,
)
from actors.messages import (
    BasketIntent,
    BasketState,
    BasketUpdate,
    BookView,
    FeedStatus,
    FundingState,
    KillState,
    ResumeCommand,
    StopCommand,
)
from actors.strategies.asking_baskets import AsksBaskets
from actors.strategies.asking_executions import AsksExecutions
from actors.strategies.asking_orders import AsksOrders
from actors.strategies.sight import OwnBasket, StrategyState
from venues.model.instrument import Instrument
from venues.port import MarkPrice


@frozen
class NoConfig:
    """Configuration of a strategy that needs none."""


class Strategy(AsksBaskets, AsksExecutions, AsksOrders):
    """Override `on_book` (every new touch of a live book), `on_timer` and `on_basket`; keep what changes in `State`.

    `Config` is the attrs class of the strategy's own parameters, `self.config` an instance. Quantities and prices are
    Decimal; `self.price(instrument, ticks)` turns a view's ticks into money.
    """

    publishes = (
        BasketIntent,
        BracketRequest,
        OcoRequest,
        GroupCommand,
        ScheduleOrder,
        CancelScheduled,
        ExecutionIntent,
        CancelExecution,
    )

    Config: ClassVar[type[Any]] = NoConfig
    State: ClassVar[type[StrategyState]] = StrategyState

    config: Any

    def __init__(self, instruments: Mapping[str, Instrument], config: object | None = None, name: str = "") -> None:
        super().__init__(name)
        self.instruments = instruments
        self.config = config if config is not None else self.Config()
        self.state = self.State()

    # To override

    def on_start(self, now: int) -> None:
        """The run begins: set timers here."""

    def on_restart(self, now: int) -> None:
        """The cell was rebuilt without one input: a timer may be lost. Sets timers again as at the start."""
        self.on_start(now)

    def on_book(self, now: int, view: BookView) -> None:
        """A live book has a new touch."""

    def on_basket(self, now: int, update: BasketUpdate) -> None:
        """A basket of this strategy changed; closing baskets name in `closes` what they take off."""

    def on_group(self, now: int, update: GroupUpdate) -> None:
        """A bracket or one-cancels-other pair of this strategy changed."""

    def on_scheduled(self, now: int, update: ScheduleUpdate) -> None:
        """A scheduled order of this strategy started, or was dropped."""

    def on_execution(self, now: int, report: ExecutionReport) -> None:
        """An execution of this strategy is over, or a fill came after its end (`is_amended`)."""

    def on_mark(self, now: int, mark: MarkPrice) -> None:
        """A mark price, with the running funding rate."""

    def on_funding(self, now: int, funding: FundingState) -> None:
        """The funding of a position changed."""

    def on_clock(self, now: int, key: str) -> None:
        """A timer set with `self.out.timer(key, at)` came due."""

    # Handlers

    def start(self, now: int) -> None:
        self.on_start(now)

    def on_timer(self, now: int, key: str) -> None:
        self.state.decisions += 1
        self.on_clock(now, key)

    @handles(CellRestarted)
    def _restarted(self, now: int, message: CellRestarted) -> None:
        self.on_restart(now)

    @handles(BookView)
    def _book_seen(self, now: int, view: BookView) -> None:
        state = self.state
        if state.live.get(view.instrument):
            state.books[view.instrument] = view
            state.decisions += 1
            self.on_book(now, view)

    @handles(FeedStatus)
    def _feed_changed(self, now: int, status: FeedStatus) -> None:
        self.state.live[status.instrument] = status.is_live
        self.state.books.pop(status.instrument, None)

    @handles(MarkPrice)
    def _mark_seen(self, now: int, mark: MarkPrice) -> None:
        self.on_mark(now, mark)

    @handles(FundingState)
    def _funding_seen(self, now: int, funding: FundingState) -> None:
        self.on_funding(now, funding)

    @handles(KillState)
    def _kill_changed(self, now: int, message: KillState) -> None:
        self.state.kill_level = message.level

    @handles(StopCommand)
    def _stopping(self, now: int, message: StopCommand) -> None:
        self.state.is_stopping = True

    @handles(ResumeCommand)
    def _resumed(self, now: int, message: ResumeCommand) -> None:
        self.state.is_stopping = False

    @handles(GroupUpdate)
    def _group_changed(self, now: int, update: GroupUpdate) -> None:
        if update.strategy == self.name:
            self.on_group(now, update)

    @handles(ScheduleUpdate)
    def _schedule_changed(self, now: int, update: ScheduleUpdate) -> None:
        if update.strategy == self.name:
            self.on_scheduled(now, update)

    @handles(BasketUpdate)
    def _basket_changed(self, now: int, update: BasketUpdate) -> None:
        if update.strategy != self.name:
            return
        state = self.state
        basket = state.baskets.get(update.basket_id)
        if basket is not None:
            basket.state, basket.filled = update.state, list(update.filled)
            if update.state is BasketState.BALANCED and basket.balanced_ns is None:
                basket.balanced_ns = now
            if update.state in (BasketState.DENIED, BasketState.FLAT):
                del state.baskets[update.basket_id]
        elif update.state in ENDED and update.closes is not None:
            # What is left of the closed basket comes in an update of its own.
            self._close_ended(update, update.closes)
        self.on_basket(now, update)

    @handles(ExecutionReport)
    def _executed(self, now: int, report: ExecutionReport) -> None:
        if report.strategy == self.name:
            self.state.executions.pop(report.parent_id, None)
            self.on_execution(now, report)

    def _close_ended(self, update: BasketUpdate, closes: str) -> None:
        self.state.closes.pop(update.basket_id, None)
        closed = self.state.baskets.get(closes)
        if closed is not None and closed.closing == update.basket_id:
            closed.closing = ""


__all__ = ["NoConfig", "OwnBasket", "Strategy", "StrategyState"]
