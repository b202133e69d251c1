"""What a strategy is: it sees books and its own baskets, and asks for baskets to be opened and closed."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.basket import ENDED
from actors.cell import CellRestarted
from actors.executions import CancelExecution, ExecutionIntent, ExecutionMode, ExecutionReport
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
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    FeedStatus,
    FundingState,
    KillLevel,
    KillState,
    OrderRequest,
    Placement,
    ResumeCommand,
    StopCommand,
)
from venues.model.instrument import Instrument
from venues.model.money import ZERO, round_to_step
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.port import MarkPrice
from venues.schedules.sizing import common_size, size


@define
class OwnBasket:
    """A basket this strategy asked for, with the legs as asked, until it is denied, flat or closed."""

    legs: list[BasketLeg]
    state: BasketState = BasketState.PLANNED
    filled: list[Decimal] = field(factory=list)
    closing: str = ""
    balanced_ns: int | None = None


@define
class StrategyState:
    """What every strategy remembers; subclasses add their own fields. `decisions` counts evaluations."""

    decisions: int = 0
    next_basket: int = 1
    baskets: dict[str, OwnBasket] = field(factory=dict)
    closes: dict[str, str] = field(factory=dict)
    books: dict[str, BookView] = field(factory=dict)
    live: dict[str, bool] = field(factory=dict)
    kill_level: KillLevel = KillLevel.ARMED
    is_stopping: bool = False
    next_group: int = 1
    next_scheduled: int = 1
    executions: dict[str, Decimal] = field(factory=dict)


@frozen
class NoConfig:
    """Configuration of a strategy that needs none."""


class Strategy(Actor):
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

    state: Any
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

    # To use

    def price(self, instrument: str, ticks: int) -> Decimal:
        return self.instruments[instrument].price(ticks)

    def book(self, instrument: str) -> BookView | None:
        """Return the latest touch, None while the book is not live."""
        view: BookView | None = self.state.books.get(instrument)
        return view

    def size(self, instrument: str, money: Decimal) -> Decimal | None:
        """Return how many whole lots `money` of the quote comes to at the mid, 0 when a minimum of the venue is missed.

        None while the book is not live. Raises BadValueError for what is no sum of money.
        """
        mid = self._mid(instrument)
        return None if mid is None else size(self.instruments[instrument], money, mid).qty

    def common_size(self, money: Decimal, *instruments: str) -> tuple[Decimal, ...] | None:
        """Return the quantity of each instrument that all can trade alike, worth at most `money` of the quote on each.

        Quotes count one to one; 0 when a minimum is missed. None while a book is not live. Raises BadValueError, also
        for inverse contracts.
        """
        mids = [mid for one in instruments if (mid := self._mid(one)) is not None]
        if len(mids) < len(instruments):
            return None
        return common_size([self.instruments[one] for one in instruments], money, mids).quantities

    def _mid(self, instrument: str) -> Decimal | None:
        view = self.book(instrument)
        if view is None or view.bid + view.ask <= 0:
            return None
        return self.price(instrument, view.bid + view.ask) / 2

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
            parent_id=request_id,
        )
        self.out.emit(ScheduleOrder(now, request, not_before_ns, not_after_ns))
        return request_id

    def unschedule(self, now: int, request_id: str) -> None:
        """Take a scheduled order back; one that has started is cancelled."""
        self.out.emit(CancelScheduled(now, request_id))

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

    def is_open(self, basket_id: str) -> bool:
        """Whether the basket holds a position that can be closed."""
        basket = self.state.baskets.get(basket_id)
        return basket is not None and basket.state in (BasketState.BALANCED, BasketState.BROKEN)

    @property
    def baskets(self) -> dict[str, OwnBasket]:
        """The strategy's baskets that are under way or open, by id."""
        found: dict[str, OwnBasket] = self.state.baskets
        return found

    def _next_group(self) -> str:
        group_id = f"{self.name}-g{self.state.next_group}"
        self.state.next_group += 1
        return group_id

    def _next_id(self) -> str:
        basket_id = f"{self.name}-{self.state.next_basket}"
        self.state.next_basket += 1
        return basket_id

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
