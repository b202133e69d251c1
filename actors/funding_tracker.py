"""Decides what funding each perpetual is about to pay, has paid, and whether the venue paid what was due.

Due at a stamp is what `venues/rules/funding.py` says, in full by whoever holds at that instant: a position opened
exactly at the stamp does not pay, one closed exactly at it does. Predicted (the running rate on what is held now), due
and paid are kept apart; booked is only what the venue paid, each movement once.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from actors.base import handles
from actors.cell import CellRestarted
from actors.funding_desk import ASK, GRACE, FundingDesk, is_price
from actors.funding_messages import FundingDifference, FundingInterval
from actors.funding_records import AccountFunding, Day, Due, Move, Perpetual
from actors.ledger import position_change, unbookable
from actors.messages import (
    MARKET_CHANNEL,
    FillEvent,
    FundingState,
    Incident,
    KillLevel,
    KillTrigger,
    PositionUpdate,
)
from actors.sync_messages import WalletSuspected
from venues.model.money import ZERO
from venues.port import (
    FundingRate,
    FundingSettled,
    MarkPrice,
    QueryFailed,
    QueryKind,
    QueryResult,
    VenueDown,
    VenueUp,
)
from venues.rules.funding import INTERVALS, instrument_payment
from venues.rules.instants import HOUR_NS

_STAMP = "stamp/"
_DAY_NS = 24 * HOUR_NS
_MOVES_MAX = 1_000


def _from_first_schema(plain: dict[str, Any]) -> dict[str, Any]:
    """Rates and what was paid stay; instants are forgotten, and the income is asked from the next one on."""
    kept = ("rate", "mark", "next_ns", "paid", "told_rate", "told_next_ns")
    perpetuals = {key: {name: one[name] for name in kept} for key, one in plain["perpetuals"].items()}
    for key, one in plain["perpetuals"].items():
        perpetuals[key]["held"] = {
            name: {"account": name.split("/")[0], "side": name.rsplit("/", 1)[1], "qty": qty}
            for name, qty in one["qty"].items()
        }
    return {"perpetuals": perpetuals, "accounts": {}, "started_ns": -1}


class FundingTracker(FundingDesk):
    """Follows the perpetuals among `instruments`, and asks the venues of `accounts` about what differs.

    Paid and due are compared when the grace after an instant is over: see REMEDIES for what is done about each kind of
    difference, FundingOutcome for how it may end. Without `accounts` nothing is asked.
    """

    schema = 2
    migrations = {1: _from_first_schema}

    def start(self, now: int) -> None:
        self.state.started_ns = now

    def restore(self, snapshot: dict[str, Any]) -> None:
        super().restore(snapshot)
        for account in self.accounts:
            self.state.accounts.setdefault(account, AccountFunding())

    # Lives

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        """Set the timers anew and ask for what may have happened meanwhile."""
        for instrument, one in self.state.perpetuals.items():
            if one.next_ns is not None:
                self.out.timer(_STAMP + instrument, max(now, one.next_ns))
            if one.open:
                self.out.timer(GRACE + instrument, max(now, one.open[0].ts + self.config.grace_ns))
        for account, asking in self.state.accounts.items():
            if not asking.down:
                self._catch_up_from(now, account)

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        if up.channel == MARKET_CHANNEL:
            return
        for account, venue in self.accounts.items():
            if venue == up.venue:
                down = self.state.accounts[account].down
                if not up.channel:
                    down.clear()
                down.pop(up.channel, None)
                if not down:
                    self._catch_up_from(now, account)

    def _catch_up_from(self, now: int, account: str) -> None:
        if self.state.started_ns < 0:
            self.state.started_ns = now
        self._catch_up(now, account)

    @handles(WalletSuspected)
    def on_suspected(self, now: int, suspected: WalletSuspected) -> None:
        """Money moved that our book does not know: it may be funding."""
        asking = self.state.accounts.get(suspected.account)
        if asking is not None and not asking.asked and not asking.down:
            self._catch_up_from(now, suspected.account)

    @handles(VenueDown)
    def on_down(self, now: int, down: VenueDown) -> None:
        if down.channel == MARKET_CHANNEL:
            return
        for account, venue in self.accounts.items():
            if venue == down.venue:
                asking = self.state.accounts[account]
                asking.down[down.channel] = down.why
                asking.asked.clear()

    # Estimates

    @handles(MarkPrice)
    def on_mark(self, now: int, mark: MarkPrice) -> None:
        one = self.state.perpetuals.get(mark.instrument)
        if one is None:
            return
        if not is_price(mark.mark):
            self.state.count("refused")
            return
        if mark.next_funding_ns is not None and mark.next_funding_ns != one.next_ns:
            self._move_next(now, mark.instrument, one, mark.next_funding_ns)
        one.mark = mark.mark
        if mark.rate is not None and not self._is_plausible(mark.instrument, mark.rate):
            self._refuse_rate(now, mark.instrument, one, mark.rate)
            return
        if mark.rate is not None:
            one.rate, one.is_absurd = mark.rate, False
        if one.rate is None:
            return
        moved = one.told_rate is None or abs(one.rate - one.told_rate) > self.config.rate_step
        if moved or one.next_ns != one.told_next_ns:
            self._tell_state(now, mark.instrument, one)

    def _refuse_rate(self, now: int, instrument: str, one: Perpetual, rate: Decimal) -> None:
        """A rate that cannot be meant makes the rate unknown; told once until it is known again."""
        self.state.count("refused")
        if one.is_absurd:
            return
        known, one.rate, one.told_rate, one.is_absurd = one.rate, None, None, True
        text = f"{instrument}: a rate of {rate} is beyond {self.config.cap(instrument)}"
        self.out.emit(Incident(now, "funding_rate_absurd", "", text))
        if known is not None:
            self.out.emit(
                FundingState(now, instrument, known, one.next_ns, ZERO, one.paid, one.interval_ns, is_known=False)
            )

    def _move_next(self, now: int, instrument: str, one: Perpetual, next_ns: int) -> None:
        """The venue names another next instant: one between was funded even if our timer has yet to fire."""
        was = one.next_ns
        if was is not None and was <= now:
            self._take_stamp(now, instrument, one, was)
        last = max((stamp.ts for stamp in one.stamps), default=None)
        # A jump that was not watched says nothing: instants may have been missed.
        is_watched = last is not None and (was is None or was > now or (was == last and now - was <= HOUR_NS))
        if is_watched and last is not None and next_ns > last:
            self._note_interval(now, instrument, one, next_ns - last, next_ns)
        one.next_ns = next_ns
        self.out.timer(_STAMP + instrument, max(now, next_ns))

    def _note_interval(self, now: int, instrument: str, one: Perpetual, interval_ns: int, next_ns: int) -> None:
        hours, rest = divmod(interval_ns, HOUR_NS)
        if rest or hours not in INTERVALS or interval_ns == one.interval_ns:
            return
        before, one.interval_ns = one.interval_ns, interval_ns
        if before is not None:
            self.out.emit(FundingInterval(now, instrument, before, interval_ns, next_ns))
            text = f"{instrument}: every {hours} h from now on, was {before // HOUR_NS} h"
            self.out.emit(Incident(now, "funding_interval", "", text))

    @handles(FundingRate)
    def on_settled_rate(self, now: int, settled: FundingRate) -> None:
        """Correct the estimate of an instant by the rate that was settled there."""
        if settled.instrument in self.state.perpetuals:
            self._take_rates(now, (settled,))

    def expected(self, instrument: str) -> Decimal | None:
        """Return what the positions held now will receive (negative: pay) at the next instant, by the estimates.

        None while rate or mark are not known.
        """
        one = self.state.perpetuals[instrument]
        if not one.held:
            return ZERO
        if one.rate is None or one.mark is None:
            return None
        spec, rate, mark = self.instruments[instrument], one.rate, one.mark
        return sum((instrument_payment(spec, held.qty, mark, rate) for held in one.held.values()), ZERO)

    def expected_per_day(self, now: int, instrument: str) -> Decimal | None:
        """Return what the positions held now will receive over the next 24 hours, by the instants in them."""
        one, each = self.state.perpetuals[instrument], self.expected(instrument)
        if each is None or one.next_ns is None or one.interval_ns is None:
            return None
        left = now + _DAY_NS - one.next_ns
        return each * (0 if left < 0 else 1 + left // one.interval_ns)

    def day(self, now: int, instrument: str) -> Day:
        """Return what was paid in the last 24 hours and the mean rate, by the instants in them."""
        one = self.state.perpetuals[instrument]
        stamps = [stamp for stamp in one.stamps if now - _DAY_NS < stamp.ts <= now]
        paid = sum((due.paid for stamp in stamps for due in stamp.dues if due.paid is not None), ZERO)
        rates = [stamp.rate for stamp in stamps if stamp.rate is not None]
        return Day(paid, len(stamps), sum(rates, ZERO) / len(rates) if rates else None)

    def differences(self) -> Iterator[tuple[str, int, Due, Decimal | None]]:
        """Yield (instrument, instant, record, what was due) of everything that is asked about now."""
        for instrument, one in self.state.perpetuals.items():
            for stamp in one.disputed:
                for due in stamp.open_dues:
                    yield instrument, stamp.ts, due, self.due_amount(instrument, stamp, due)

    def _tell_state(self, now: int, instrument: str, one: Perpetual) -> None:
        expected = self.expected(instrument)
        if one.rate is None or expected is None:
            return
        one.told_rate, one.told_next_ns = one.rate, one.next_ns
        self.out.emit(FundingState(now, instrument, one.rate, one.next_ns, expected, one.paid, one.interval_ns))

    # Positions

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        one = self.state.perpetuals.get(update.instrument)
        if one is None or not update.qty.is_finite():
            return
        one.hold(update.account, update.instrument, update.position_side, update.qty)
        self._tell_state(now, update.instrument, one)

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        """Correct what was held at an instant by a fill from before it that came late, or one after it that is early.

        Closing exactly at the instant still pays, opening exactly at it does not: both leave what was held as it was.
        """
        fill = event.fill
        one = self.state.perpetuals.get(fill.instrument)
        if one is None:
            return
        near = self.config.ambiguous_ns
        is_near = one.next_ns is not None and fill.ts >= one.next_ns - near
        if not (is_near or one.open or one.disputed) or unbookable(fill, self.instruments[fill.instrument], True):
            return
        change = position_change(fill, self.instruments[fill.instrument])
        if is_near:
            one.moves.append(Move(fill.ts, fill.account, fill.position_side, change))
            del one.moves[:-_MOVES_MAX]
        for stamp in [*one.open, *one.disputed]:
            if fill.ts < stamp.ts:
                stamp.due(fill.account, fill.position_side).qty += change
            if abs(fill.ts - stamp.ts) <= near:
                stamp.due(fill.account, fill.position_side).is_moved = True

    # Instants

    def on_timer(self, now: int, key: str) -> None:
        name = key.partition("/")[2]
        if key.startswith(_STAMP):
            one = self.state.perpetuals[name]
            if one.next_ns is not None and one.next_ns <= now:
                self._take_stamp(now, name, one, one.next_ns)
        elif key.startswith(GRACE):
            self._close_stamps(now, name, self.state.perpetuals[name])
        elif key.startswith(ASK):
            self.state.accounts[name].next_ns = None
            if not self.state.accounts[name].down:
                self._ask(now, name)
        elif self.state.accounts[name].asked:
            self._fail_round(now, name)

    @handles(FundingSettled)
    def on_paid(self, now: int, settled: FundingSettled) -> None:
        """Book what a report says, once, unless it cannot be right: then the income is asked."""
        one = self.state.perpetuals.get(settled.instrument)
        if one is None:
            self.state.count("refused")
            text = f"funding of {settled.instrument}, {settled.account}: {settled.amount} {settled.asset}"
            self.out.emit(Incident(now, "unbookable", "", f"{text}: no perpetual of this desk"))
            self.out.emit(KillTrigger(now, "unbookable", KillLevel.REDUCE_ONLY, text))
            return
        stamp = self._stamp_for(now, settled.instrument, one, settled.ts)
        due = stamp.due(settled.account, settled.position_side)
        if not self._is_sound(settled):
            self.state.count("refused")
            self._doubt(due, FundingDifference.ABSURD)
        elif due.paid is None:
            if not stamp.is_exact:
                stamp.rate, stamp.mark, stamp.is_exact = settled.rate, settled.mark, True
            self._book(now, settled.instrument, stamp, due, settled.amount, settled.asset)
            if due.outcome is not None:
                self._doubt(due, FundingDifference.MISSING)
        elif due.paid == settled.amount:
            self.state.count("duplicate")
        else:
            self._doubt(due, FundingDifference.CONFLICT)
        if stamp.is_closed:
            self._judge(now, settled.instrument, stamp, due)
            one.file(stamp, self.config.kept)
            if stamp.open_dues:
                self._ask_soon(now, settled.account)
        self._tell_state(now, settled.instrument, one)

    def _is_sound(self, settled: FundingSettled) -> bool:
        """Whether a report's figures are numbers, its rate one that can be meant, and its amount what they make."""
        if not (settled.amount.is_finite() and settled.qty.is_finite() and is_price(settled.mark)):
            return False
        if not self._is_plausible(settled.instrument, settled.rate):
            return False
        made = instrument_payment(self.instruments[settled.instrument], settled.qty, settled.mark, settled.rate)
        return abs(made - settled.amount) <= self.config.tolerance

    # Answers

    @handles(QueryResult)
    def on_answer(self, now: int, result: QueryResult) -> None:
        asking = self.state.accounts.get(result.account)
        one = asking.asked.get(result.query_id) if asking is not None else None
        if asking is None or one is None or one.kind is not result.kind:
            return
        if any(not income.amount.is_finite() for income in result.incomes):
            self._fail_round(now, result.account)
            return
        del asking.asked[result.query_id]
        if result.kind is QueryKind.INCOME:
            self._take_incomes(now, result.account, result.incomes)
        else:
            self._take_rates(now, result.rates)
        if not asking.asked:
            if asking.is_failed:
                self._fail_round(now, result.account)
            else:
                self._end_round(now, result.account)

    @handles(QueryFailed)
    def on_failed(self, now: int, failed: QueryFailed) -> None:
        """The other answers of the round still count, but the round does not."""
        asking = self.state.accounts.get(failed.account)
        if asking is None or asking.asked.pop(failed.query_id, None) is None:
            return
        asking.is_failed = True
        if not asking.asked:
            self._fail_round(now, failed.account)

    def ledger(self, instrument: str) -> Iterator[tuple[int, Decimal]]:
        """Yield (instant, paid) of the instants remembered, oldest first."""
        one = self.state.perpetuals[instrument]
        for stamp in sorted(one.stamps, key=lambda stamp: stamp.ts):
            yield stamp.ts, sum((due.paid for due in stamp.dues if due.paid is not None), ZERO)
