"""Decides what else keeps an order back: parts of the desk that are stopped, too many executions, prices of a period.

The gate asks here; nothing here lets an order go.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from actors.base import Actor, handles
from actors.dead_man_words import key_of as timer_of
from actors.halts import HaltScope, HaltState, HaltTrigger
from actors.halts import key_of as part_of
from actors.messages import KillLevel, OrderRequest
from actors.risk_book import RiskState, Stopped, Touch
from actors.risk_checks import Reason
from actors.risk_config import BPS, RiskConfig
from venues.model.instrument import Instrument


class RiskParts(Actor):
    """What the risk gate stands on; it is one actor with it, and has its state."""

    state: RiskState
    instruments: Mapping[str, Instrument]
    config: RiskConfig
    limits: RiskConfig

    # Parts of the desk

    def _halt(self, order: OrderRequest, venue: str) -> tuple[KillLevel, str]:
        halts = self.state.halts
        if not halts:
            return KillLevel.ARMED, ""
        parts = (
            part_of(HaltScope.STRATEGY, order.strategy),
            part_of(HaltScope.ACCOUNT, order.account),
            part_of(HaltScope.VENUE, venue),
        )
        found = [(part, halts[part]) for part in parts if part in halts]
        level = max((one.level for _, one in found), default=KillLevel.ARMED)
        return level, "; ".join(f"{part} {one.level.name}, {one.why}" for part, one in found)

    @handles(HaltState)
    def on_halt(self, now: int, halt: HaltState) -> None:
        part = part_of(halt.scope, halt.name)
        if halt.level is not KillLevel.ARMED:
            self.state.halts[part] = Stopped(halt.level, halt.why)
            return
        self.state.halts.pop(part, None)
        if halt.scope is HaltScope.STRATEGY:
            # A person looked at it: its count starts afresh.
            self.state.executions.pop(halt.name, None)

    # Executions

    def _executions(self, now: int, strategy: str) -> list[int]:
        """Return when the strategy executed within the window."""
        times = self.state.executions.setdefault(strategy, [])
        del times[: bisect_right(times, now - self.config.execution_window_ns)]
        return times

    def _count_execution(self, strategy: str, now: int) -> None:
        """What left the window is forgotten when somebody asks, which is before there are too many."""
        times = self.state.executions.get(strategy)
        if times is None:
            times = self.state.executions[strategy] = []
        times.append(now)

    def _disable(self, now: int, strategy: str, reasons: Sequence[str]) -> None:
        why = next((one for one in reasons if one.startswith(f"{Reason.THROTTLED}:")), "")
        if why:
            text = f"{why} executions within {self.config.execution_window_ns / 1e9:g} s"
            self.out.emit(HaltTrigger(now, HaltScope.STRATEGY, strategy, KillLevel.REDUCE_ONLY, "throttle", text))

    # The venues' own timers

    def _unguarded_why(self, now: int, order: OrderRequest, why: str) -> str:
        """Return why nobody would cancel the order should the desk fall silent, empty when the venue would."""
        if self.state.dead_men.get(timer_of(order.account, order.instrument), 0) > now:
            return ""
        return why or "the venue's timer does not run"

    # The collar of a period

    def _sample(self, now: int) -> None:
        """Remember the mids of this moment: prices are held against them until the one after the next."""
        self.state.next_sample_ns = now + self.config.collar_period_ns
        for instrument, touch in self.state.touches.items():
            touch.before, touch.sample = touch.sample, touch.ticks
            self._bound(instrument, touch)

    def _bound(self, instrument: str, touch: Touch) -> None:
        spec, share = self.instruments[instrument], self.limits.limits(instrument).period_collar_bps / BPS
        mids = [spec.price(ticks) / 2 for ticks in (touch.sample or touch.ticks, touch.before or touch.ticks)]
        touch.low = max(mid - abs(mid) * share for mid in mids)
        touch.high = min(mid + abs(mid) * share for mid in mids)


def begins_execution(order: OrderRequest) -> bool:
    """Whether the order is an execution of its own: baskets and slices of a parent are counted as wholes."""
    return not order.basket_id and not order.parent_id and not order.reduce_only
