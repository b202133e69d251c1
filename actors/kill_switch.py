"""Decides when trading stops, how much of it, and when it may start again: a latched level that only a person lowers.

Budgets (drawdown, losses, rejects, unhedged exposure) are yardsticks: arming starts them afresh. Conditions (margin,
mismatch, dead feed under a position, a session ended by a hard limit, orders not confirmed cancelled) are facts: while
one persists, arming is refused.
"""

from bisect import bisect_right
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.basket import ENDED
from actors.cell import CellRestarted
from actors.config_checks import not_negative, positive, share
from actors.control import ClockOffset
from actors.messages import (
    ArmCommand,
    BasketState,
    BasketUpdate,
    FeedStatus,
    Incident,
    KillCommand,
    KillLevel,
    KillState,
    KillTrigger,
    MarginLevel,
    MarginState,
    OrderSent,
    OrderUpdate,
    PnlUpdate,
    PositionMismatch,
    PositionUpdate,
    Reconciled,
    RoundTrip,
)
from actors.sync_records import RESOLUTIONS
from venues.model.money import ONE, ZERO
from venues.model.order import OrderStatus
from venues.model.position import position_key
from venues.port import CancelAll, OutcomeUnknown, VenueUp

DAY_NS = 86_400_000_000_000
_SECOND_NS = 1_000_000_000
_CANCEL = "cancel"
_FEED = "feed/"
_UNHEDGED = "unhedged/"


class Trigger(StrEnum):
    """What this actor watches itself; other actors name their own in KillTrigger."""

    OPERATOR = "operator"
    DRAWDOWN = "drawdown"
    DRAWDOWN_HARD = "drawdown_hard"
    DAILY_LOSS = "daily_loss"
    DAILY_LOSS_HARD = "daily_loss_hard"
    CONSECUTIVE_LOSSES = "consecutive_losses"
    REJECT_RATE = "reject_rate"
    UNHEDGED = "unhedged"
    BROKEN_BASKET = "broken_basket"
    STALE_FEED = "stale_feed"
    MARGIN = "margin"
    MARGIN_LIQUIDATION = "margin_liquidation"
    POSITION_MISMATCH = "position_mismatch"
    CLOCK_SKEW = "clock_skew"
    PNL_UNKNOWN = "pnl_unknown"
    CELL_FAILED = "cell_failed"


LEVELS: dict[Trigger, KillLevel] = {
    Trigger.DRAWDOWN: KillLevel.REDUCE_ONLY,
    Trigger.DRAWDOWN_HARD: KillLevel.FLATTEN,
    Trigger.DAILY_LOSS: KillLevel.REDUCE_ONLY,
    Trigger.DAILY_LOSS_HARD: KillLevel.FLATTEN,
    Trigger.CONSECUTIVE_LOSSES: KillLevel.REDUCE_ONLY,
    Trigger.REJECT_RATE: KillLevel.CANCEL_ALL,
    Trigger.UNHEDGED: KillLevel.CANCEL_ALL,
    Trigger.BROKEN_BASKET: KillLevel.REDUCE_ONLY,
    Trigger.STALE_FEED: KillLevel.REDUCE_ONLY,
    Trigger.MARGIN: KillLevel.REDUCE_ONLY,
    Trigger.MARGIN_LIQUIDATION: KillLevel.CANCEL_ALL,
    Trigger.POSITION_MISMATCH: KillLevel.REDUCE_ONLY,
    Trigger.CLOCK_SKEW: KillLevel.REDUCE_ONLY,
    Trigger.PNL_UNKNOWN: KillLevel.REDUCE_ONLY,
    Trigger.CELL_FAILED: KillLevel.REDUCE_ONLY,
}
"""How much each trigger stops unless the configuration says otherwise."""


@frozen
class KillConfig:
    """`capital` is the money the drawdown is a share of, with the profit since. Money is quote money.

    Soft limits are measured from the last arming, hard ones from the day's start (loss) and the peak (drawdown) of
    the session; days are UTC. `unhedged_budget` is quote notional x seconds of one basket. A venue's clock may be
    `clock_skew_ns` from ours. `levels` override LEVELS.
    """

    capital: Decimal = field(default=Decimal(100_000), validator=positive)
    drawdown: Decimal = field(default=Decimal("0.10"), validator=share)
    drawdown_hard: Decimal = field(default=Decimal("0.15"), validator=share)
    daily_loss: Decimal = field(default=Decimal(5_000), validator=positive)
    daily_loss_hard: Decimal = field(default=Decimal(10_000), validator=positive)
    consecutive_losses: int = field(default=5, validator=positive)
    reject_share: Decimal = field(default=Decimal("0.5"), validator=share)
    reject_orders_min: int = field(default=20, validator=positive)
    reject_window_ns: int = field(default=60_000_000_000, validator=positive)
    unhedged_notional: Decimal = field(default=Decimal(1_000_000), validator=positive)
    unhedged_budget: Decimal = field(default=Decimal(2_000_000), validator=positive)
    stale_grace_ns: int = field(default=10_000_000_000, validator=not_negative)
    cancel_retry_ns: int = field(default=1_000_000_000, validator=positive)
    levels: Mapping[Trigger, KillLevel] = field(factory=dict)
    clock_skew_ns: int = field(default=1_000_000_000, validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.drawdown_hard < self.drawdown:
            raise ValueError(f"drawdown_hard: {self.drawdown_hard} is below drawdown {self.drawdown}")
        if self.daily_loss_hard < self.daily_loss:
            raise ValueError(f"daily_loss_hard: {self.daily_loss_hard} is below daily_loss {self.daily_loss}")

    def level(self, trigger: Trigger) -> KillLevel:
        return self.levels.get(trigger, LEVELS[trigger])


@define
class Unhedged:
    """A basket's open difference: `notional` since `since_ns`, `spent` is notional x seconds before that."""

    notional: Decimal
    since_ns: int
    spent: Decimal = ZERO

    def spent_at(self, now: int) -> Decimal:
        return self.spent + self.notional * (now - self.since_ns) / _SECOND_NS


@define
class KillSwitchState:
    """`conditions` are what forbids arming, by name; the peaks and day starts are profits that losses count from.

    `live` are orders not final, `unsure` cancel-alls without a proven outcome; both name accounts. `owed` is the level
    that had been reached when the cell was rebuilt.
    """

    level: KillLevel = KillLevel.ARMED
    conditions: dict[str, str] = field(factory=dict)
    triggers: dict[str, int] = field(factory=dict)
    pnl: Decimal = ZERO
    peak: Decimal = ZERO
    soft_peak: Decimal = ZERO
    day: int | None = None
    day_start: Decimal = ZERO
    soft_day_start: Decimal = ZERO
    ended_day: int | None = None
    losses: int = 0
    outcomes: list[tuple[int, bool]] = field(factory=list)
    rejects: int = 0
    unhedged: dict[str, Unhedged] = field(factory=dict)
    positions: dict[str, str] = field(factory=dict)
    feeds_down: dict[str, int] = field(factory=dict)
    live: dict[str, str] = field(factory=dict)
    unsure: dict[str, str] = field(factory=dict)
    is_cancelling: bool = False
    owed: KillLevel = KillLevel.ARMED


class KillSwitch(Actor):
    """`accounts` gives each account's venue. A trigger never waits for anybody; lowering the level always does."""

    publishes = (KillState, Incident)
    sends = (CancelAll,)
    state: KillSwitchState

    def __init__(self, accounts: Mapping[str, str], config: KillConfig | None = None, name: str = "") -> None:
        super().__init__(name)
        self.accounts = dict(accounts)
        self.config = config or KillConfig()
        self.state = KillSwitchState()

    # The latch

    def _pull(self, now: int, trigger: Trigger, why: str) -> None:
        self._raise(now, self.config.level(trigger), trigger, why)

    def _raise(self, now: int, level: KillLevel, trigger: str, why: str) -> None:
        state = self.state
        if level is KillLevel.ARMED:
            return
        state.triggers[trigger] = state.triggers.get(trigger, 0) + 1
        if level <= state.level:
            return
        was, state.level = state.level, level
        self.out.emit(KillState(now, level, trigger, why))
        if was < KillLevel.CANCEL_ALL <= level:
            self._cancel_all(now, self.accounts)

    @handles(KillTrigger)
    def on_trigger(self, now: int, trigger: KillTrigger) -> None:
        self._raise(now, trigger.level, trigger.trigger, trigger.why)

    @handles(KillCommand)
    def on_kill(self, now: int, command: KillCommand) -> None:
        self._raise(now, command.level, Trigger.OPERATOR, f"{command.operator}: {command.reason}")

    @handles(ArmCommand)
    def on_arm(self, now: int, command: ArmCommand) -> None:
        state = self.state
        obstacles = self.obstacles(now)
        if not command.operator.strip() or not command.reason.strip():
            obstacles.insert(0, "arming needs an operator and a reason")
        if obstacles:
            self.out.emit(Incident(now, "arm_refused", "", "; ".join(obstacles)))
            return
        if state.level is KillLevel.ARMED:
            return
        state.level = KillLevel.ARMED
        state.soft_peak, state.soft_day_start = state.pnl, state.pnl
        state.losses = 0
        state.outcomes.clear()
        state.rejects = 0
        for open_ in state.unhedged.values():
            open_.spent, open_.since_ns = ZERO, now
        for basket_id in state.unhedged:
            self._watch_unhedged(now, basket_id)
        state.is_cancelling = False
        self.out.cancel_timer(_CANCEL)
        self.out.emit(KillState(now, KillLevel.ARMED, Trigger.OPERATOR, f"{command.operator}: {command.reason}"))

    def obstacles(self, now: int) -> list[str]:
        """Return what forbids arming now, empty when nothing does."""
        state = self.state
        found = [f"{name}: {why}" for name, why in state.conditions.items()]
        if state.ended_day == now // DAY_NS:
            found.append("a hard limit ended this session; it can be armed on the next UTC day")
        if state.level >= KillLevel.CANCEL_ALL:
            if state.live:
                found.append(f"{len(state.live)} orders are not confirmed cancelled")
            found.extend(f"cancel-all of {account} is unproven: {why}" for account, why in state.unsure.items())
        return found

    def _condition(self, now: int, name: str, why: str, trigger: Trigger, level: KillLevel | None = None) -> None:
        """Note a fact that forbids arming, and pull for it."""
        self.state.conditions[name] = why
        self._raise(now, self.config.level(trigger) if level is None else level, trigger, why)

    # Cancelling until nothing is left

    def _cancel_all(self, now: int, accounts: Mapping[str, str]) -> None:
        for account in accounts:
            self.out.send(CancelAll(now, account))
        self.state.is_cancelling = True
        self.out.timer(_CANCEL, now + self.config.cancel_retry_ns)

    def _cancel_again(self, now: int) -> None:
        """Repeat for accounts that still show live orders, or whose cancel-all got no answer."""
        state = self.state
        state.is_cancelling = False
        if state.level < KillLevel.CANCEL_ALL:
            return
        left = {account: "" for account in self.accounts if account in state.unsure or account in state.live.values()}
        state.unsure.clear()
        if left:
            self._cancel_all(now, left)

    def _look_again(self, now: int) -> None:
        if self.state.level >= KillLevel.CANCEL_ALL and not self.state.is_cancelling:
            self.state.is_cancelling = True
            self.out.timer(_CANCEL, now + self.config.cancel_retry_ns)

    @handles(OrderSent)
    def on_sent(self, now: int, sent: OrderSent) -> None:
        self.state.live[sent.request_id] = sent.account
        self._look_again(now)

    @handles(OrderUpdate)
    def on_order(self, now: int, update: OrderUpdate) -> None:
        order_id = update.request_id or update.client_order_id
        if not update.is_final:
            self.state.live[order_id] = update.account
            self._look_again(now)
            return
        if self.state.live.pop(order_id, None) is not None:
            self._count_outcome(now, update.status is OrderStatus.REJECTED)

    @handles(OutcomeUnknown)
    def on_unknown(self, now: int, unknown: OutcomeUnknown) -> None:
        if unknown.command == CancelAll.__name__ and unknown.account in self.accounts:
            self.state.unsure[unknown.account] = unknown.why
            self._look_again(now)

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        """A cancel sent into a dead connection may never have arrived."""
        if self.state.level >= KillLevel.CANCEL_ALL:
            self._cancel_all(now, {account: venue for account, venue in self.accounts.items() if venue == up.venue})

    def inherit(self, failed: "KillSwitch") -> None:
        """A level outlives the input that raised it: whoever failed on hearing of it must not undo it."""
        if failed.state.level > self.state.level:
            self.state.owed = max(self.state.owed, failed.state.level)

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        owed, self.state.owed = self.state.owed, KillLevel.ARMED
        if self.state.level >= KillLevel.CANCEL_ALL:
            self._cancel_all(now, self.accounts)
        if owed:
            self._raise(now, owed, Trigger.CELL_FAILED, f"{restarted.actor} failed on input {restarted.seq}")
        for instrument, since in self.state.feeds_down.items():
            self.out.timer(_FEED + instrument, max(now, since + self.config.stale_grace_ns))
        for basket_id in self.state.unhedged:
            self._watch_unhedged(now, basket_id)

    def _count_outcome(self, now: int, is_reject: bool) -> None:
        state, config = self.state, self.config
        outcomes, since = state.outcomes, now - config.reject_window_ns
        outcomes.append((now, is_reject))
        state.rejects += is_reject
        if outcomes[len(outcomes) // 2][0] <= since or (is_reject and outcomes[0][0] <= since):
            self._forget_outcomes(since)
        rejects, orders = state.rejects, len(outcomes)
        if is_reject and orders >= config.reject_orders_min and rejects >= config.reject_share * orders:
            self._pull(now, Trigger.REJECT_RATE, f"{rejects} of {orders} orders rejected")

    def _forget_outcomes(self, since: int) -> None:
        """Forget what left the window: all of it before it is judged, and otherwise before it is half of all."""
        outcomes = self.state.outcomes
        gone = bisect_right(outcomes, since, key=lambda one: one[0])
        self.state.rejects -= sum(was_reject for _, was_reject in outcomes[:gone])
        del outcomes[:gone]

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        self.state.rejects = sum(was_reject for _, was_reject in self.state.outcomes)

    def on_timer(self, now: int, key: str) -> None:
        if key == _CANCEL:
            self._cancel_again(now)
        elif key.startswith(_FEED):
            self._judge_feed(now, key.removeprefix(_FEED))
        else:
            self._judge_unhedged(now, key.removeprefix(_UNHEDGED))

    # Money

    @handles(PnlUpdate)
    def on_pnl(self, now: int, update: PnlUpdate) -> None:
        state, config = self.state, self.config
        parts = (update.realized, update.fees, update.funding, update.unrealized)
        if not all(part.is_finite() for part in parts):
            self._pull(now, Trigger.PNL_UNKNOWN, f"profit is made of {', '.join(map(str, parts))}")
            return
        pnl = update.realized - update.fees + update.funding + update.unrealized
        day = now // DAY_NS
        if day != state.day:
            # The new day starts from what was known at the end of the old one.
            state.day, state.day_start, state.soft_day_start = day, state.pnl, state.pnl
        state.pnl = pnl
        state.peak, state.soft_peak = max(state.peak, pnl), max(state.soft_peak, pnl)
        for trigger, fall, limit in (
            (Trigger.DRAWDOWN_HARD, _drawdown(config.capital, state.peak, pnl), config.drawdown_hard),
            (Trigger.DAILY_LOSS_HARD, state.day_start - pnl, config.daily_loss_hard),
        ):
            if fall >= limit and state.ended_day != day:
                state.ended_day = day
                # The next session starts with a peak of its own, or it could never be armed.
                state.peak = pnl
                self._pull(now, trigger, f"{fall} reached {limit}")
        for trigger, fall, limit in (
            (Trigger.DRAWDOWN, _drawdown(config.capital, state.soft_peak, pnl), config.drawdown),
            (Trigger.DAILY_LOSS, state.soft_day_start - pnl, config.daily_loss),
        ):
            if fall >= limit:
                self._pull(now, trigger, f"{fall} reached {limit}")

    @handles(RoundTrip)
    def on_round_trip(self, now: int, trip: RoundTrip) -> None:
        state = self.state
        if not trip.pnl.is_finite():
            self._pull(now, Trigger.PNL_UNKNOWN, f"{trip.basket_id} made {trip.pnl}")
            return
        if trip.pnl < ZERO:
            state.losses += 1
        elif not trip.unmarked:
            state.losses = 0
        if state.losses >= self.config.consecutive_losses:
            self._pull(now, Trigger.CONSECUTIVE_LOSSES, f"{state.losses} losing baskets in a row")

    # Exposure

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        state, basket_id = self.state, update.basket_id
        if update.state is BasketState.BROKEN:
            self._pull(now, Trigger.BROKEN_BASKET, f"{basket_id}: {update.why}")
        if not update.unhedged.is_finite():
            self._pull(now, Trigger.UNHEDGED, f"{basket_id}: unhedged {update.unhedged}")
            return
        notional = abs(update.unhedged)
        if not notional or update.state in ENDED:
            if state.unhedged.pop(basket_id, None) is not None:
                self.out.cancel_timer(_UNHEDGED + basket_id)
            return
        open_ = state.unhedged.get(basket_id)
        spent = open_.spent_at(now) if open_ is not None else ZERO
        state.unhedged[basket_id] = Unhedged(notional, now, spent)
        if notional > self.config.unhedged_notional:
            self._pull(now, Trigger.UNHEDGED, f"{basket_id}: {notional} is over {self.config.unhedged_notional}")
        self._watch_unhedged(now, basket_id)

    def _watch_unhedged(self, now: int, basket_id: str) -> None:
        open_ = self.state.unhedged[basket_id]
        left = max(ZERO, self.config.unhedged_budget - open_.spent_at(now))
        self.out.timer(_UNHEDGED + basket_id, now + int(left * _SECOND_NS / open_.notional) + 1)

    def _judge_unhedged(self, now: int, basket_id: str) -> None:
        open_ = self.state.unhedged.get(basket_id)
        if open_ is not None and open_.spent_at(now) >= self.config.unhedged_budget:
            self._pull(now, Trigger.UNHEDGED, f"{basket_id}: {open_.notional} for too long")

    # Feeds, margin, positions

    @handles(FeedStatus)
    def on_feed(self, now: int, status: FeedStatus) -> None:
        state = self.state
        if status.is_live:
            state.feeds_down.pop(status.instrument, None)
            state.conditions.pop(_FEED + status.instrument, None)
            self.out.cancel_timer(_FEED + status.instrument)
        elif status.instrument not in state.feeds_down:
            state.feeds_down[status.instrument] = now
            self.out.timer(_FEED + status.instrument, now + self.config.stale_grace_ns)

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        state = self.state
        key = position_key(update.account, update.instrument, update.position_side)
        if update.qty:
            state.positions[key] = update.instrument
            self._judge_feed(now, update.instrument)
            return
        state.positions.pop(key, None)
        if update.instrument not in state.positions.values():
            state.conditions.pop(_FEED + update.instrument, None)

    def _judge_feed(self, now: int, instrument: str) -> None:
        since = self.state.feeds_down.get(instrument)
        if since is None or now - since < self.config.stale_grace_ns:
            return
        if instrument in self.state.positions.values():
            self._condition(now, _FEED + instrument, f"{instrument} has no live book", Trigger.STALE_FEED)

    @handles(MarginState)
    def on_margin(self, now: int, margin: MarginState) -> None:
        name = f"margin/{margin.account}"
        trigger = {
            MarginLevel.CRITICAL: Trigger.MARGIN,
            MarginLevel.LIQUIDATION: Trigger.MARGIN_LIQUIDATION,
        }.get(margin.level)
        if trigger is not None:
            self._condition(now, name, f"{margin.account} is {margin.level}, coverage {margin.coverage}", trigger)
        elif margin.level is not MarginLevel.UNKNOWN:
            # UNKNOWN proves nothing: what was critical stays so.
            self.state.conditions.pop(name, None)

    @handles(PositionMismatch)
    def on_mismatch(self, now: int, mismatch: PositionMismatch) -> None:
        if RESOLUTIONS[mismatch.kind].level is KillLevel.ARMED:
            return
        level = max(RESOLUTIONS[mismatch.kind].level, self.config.level(Trigger.POSITION_MISMATCH))
        why = f"{mismatch.instrument} {mismatch.kind}: ours {mismatch.ours}, theirs {mismatch.theirs}"
        self._condition(now, f"mismatch/{mismatch.account}", why, Trigger.POSITION_MISMATCH, level)

    @handles(Reconciled)
    def on_reconciled(self, now: int, reconciled: Reconciled) -> None:
        self.state.conditions.pop(f"mismatch/{reconciled.account}", None)

    # Clocks

    @handles(ClockOffset)
    def on_clock(self, now: int, clock: ClockOffset) -> None:
        name = f"clock/{clock.venue}"
        if abs(clock.offset_ns) <= self.config.clock_skew_ns:
            self.state.conditions.pop(name, None)
            return
        why = f"the clock of {clock.venue} is {clock.offset_ns / 1e9:+.3f} s from ours"
        self._condition(now, name, why, Trigger.CLOCK_SKEW)


def _drawdown(capital: Decimal, peak: Decimal, pnl: Decimal) -> Decimal:
    """Return how much of the peak equity is lost, as a share."""
    equity = capital + peak
    return (peak - pnl) / equity if equity > ZERO else ONE
