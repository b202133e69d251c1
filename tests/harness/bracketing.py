"""A strategy that holds one bracket after another, on either side, at the simulated venue."""

from decimal import Decimal

from attrs import define, field, frozen

from actors.group_messages import GroupState, GroupUpdate, ScheduleUpdate
from actors.messages import BookView
from actors.strategies.base import Strategy, StrategyState
from venues.model.order import Side, TimeInForce

FUTURE = "binance_usdm:BTCUSDT"
_OVER = (GroupState.DONE, GroupState.DENIED, GroupState.RELEASED, GroupState.BROKEN)


@frozen
class BracketingConfig:
    """`stop` and `target` are money away from the entry; entries rest at the touch."""

    qty: Decimal = Decimal("0.05")
    stop: Decimal = Decimal(12)
    target: Decimal = Decimal(8)
    schedules: bool = False


@define
class BracketingState(StrategyState):
    group: str = ""
    seen: list[GroupUpdate] = field(factory=list)
    scheduled: list[ScheduleUpdate] = field(factory=list)


class Bracketing(Strategy):
    Config = BracketingConfig
    State = BracketingState

    config: BracketingConfig
    state: BracketingState

    def on_book(self, now: int, view: BookView) -> None:
        if view.instrument != FUTURE or self.state.group:
            return
        side = Side.BUY if self.state.next_group % 2 else Side.SELL
        entry = self.price(FUTURE, view.bid if side is Side.BUY else view.ask)
        if self.config.schedules and not self.state.scheduled:
            # Too far away to be filled: it would net with the brackets.
            far = entry - 300 * side.sign
            self.schedule(now, now + 1_000_000_000, "futures", FUTURE, side, self.config.qty, price=far)
        self.state.group = self.bracket(
            now,
            "futures",
            FUTURE,
            side,
            self.config.qty,
            entry_price=entry,
            stop_trigger=entry - self.config.stop * side.sign,
            target_price=entry + self.config.target * side.sign,
            tif=TimeInForce.GTD,
            expire_ns=now + 2_000_000_000,
        )

    def on_group(self, now: int, update: GroupUpdate) -> None:
        self.state.seen.append(update)
        if update.state in _OVER and update.group_id == self.state.group:
            self.state.group = ""

    def on_scheduled(self, now: int, update: ScheduleUpdate) -> None:
        self.state.scheduled.append(update)
