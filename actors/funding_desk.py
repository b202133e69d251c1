"""Decides what follows from what is known of a funding instant: what is booked, what is asked, how it ends."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from actors.base import Actor
from actors.funding_messages import (
    FundingDifference,
    FundingInterval,
    FundingOutcome,
    FundingPaid,
    FundingReconciled,
)
from actors.funding_records import (
    INCIDENTS,
    REMEDIES,
    AccountFunding,
    Asked,
    Due,
    FundingConfig,
    FundingTrackerState,
    Perpetual,
    Stamp,
)
from actors.messages import FundingState, Incident, KillTrigger
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.model.position import position_key
from venues.port import FundingRate, Income, IncomeKind, Query, QueryKind
from venues.rules.funding import instrument_payment, is_plausible

GRACE = "grace/"
ASK = "ask/"
ANSWER = "answer/"


class FundingDesk(Actor):
    """The records of a funding tracker and the rules by which they change; the handlers are in FundingTracker."""

    publishes = (FundingState, FundingPaid, FundingReconciled, FundingInterval, Incident, KillTrigger)
    sends = (Query,)
    state: FundingTrackerState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        config: FundingConfig | None = None,
        accounts: Mapping[str, str] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(name)
        self.instruments = {key: spec for key, spec in instruments.items() if spec.kind is InstrumentKind.PERPETUAL}
        self.config = config or FundingConfig()
        for strange in self.config.rate_caps.keys() - self.instruments.keys():
            raise ValueError(f"rate_caps.{strange}: no perpetual of this desk")
        here = {spec.venue for spec in self.instruments.values()}
        self.accounts = {account: venue for account, venue in (accounts or {}).items() if venue in here}
        self.state = FundingTrackerState(
            {key: Perpetual() for key in self.instruments}, {account: AccountFunding() for account in self.accounts}
        )

    def _is_plausible(self, instrument: str, rate: Decimal) -> bool:
        return is_plausible(rate, self.config.cap(instrument))

    # Instants

    def _take_stamp(self, now: int, instrument: str, one: Perpetual, ts: int) -> Stamp:
        """Return the instant at `ts`, made of what is held now less what was filled from it on."""
        known = next((stamp for stamp in one.stamps if stamp.ts == ts), None)
        if known is not None:
            return known
        stamp = Stamp(ts, one.rate, one.mark)
        for held in one.held.values():
            stamp.due(held.account, held.side).qty = held.qty
        for move in one.moves:
            due = stamp.due(move.account, move.side)
            if move.ts >= ts:
                due.qty -= move.change
            due.is_moved = due.is_moved or abs(move.ts - ts) <= self.config.ambiguous_ns
        one.moves = [move for move in one.moves if move.ts > ts + self.config.ambiguous_ns]
        one.file(stamp, self.config.kept)
        self.out.timer(GRACE + instrument, max(now, one.open[0].ts + self.config.grace_ns))
        return stamp

    def _stamp_for(self, now: int, instrument: str, one: Perpetual, ts: int) -> Stamp:
        """Return the instant that a report or record of `ts` is about."""
        stamp = one.stamp_near(ts, self.config.grace_ns)
        if stamp is not None:
            return stamp
        is_next = one.next_ns is not None and abs(one.next_ns - ts) <= self.config.grace_ns
        return self._take_stamp(now, instrument, one, one.next_ns if is_next and one.next_ns is not None else ts)

    def _settle_rate(self, now: int, settled: FundingRate) -> None:
        """Note a settled rate and the mark it was applied to, unless it cannot be meant."""
        one = self.state.perpetuals[settled.instrument]
        stamp = self._stamp_for(now, settled.instrument, one, settled.ts)
        stamp.rate = settled.rate
        if settled.mark is not None:
            stamp.mark, stamp.is_exact = settled.mark, True

    def _close_stamps(self, now: int, instrument: str, one: Perpetual) -> None:
        """Compare the instants whose grace is over: by now late fills and payments have come."""
        while one.open and one.open[0].ts + self.config.grace_ns <= now:
            stamp = one.open[0]
            stamp.is_closed = True
            for due in stamp.dues:
                self._judge(now, instrument, stamp, due)
            one.file(stamp, self.config.kept)
            for account in dict.fromkeys(due.account for due in stamp.open_dues):
                self._ask_soon(now, account)
        if one.open:
            self.out.timer(GRACE + instrument, one.open[0].ts + self.config.grace_ns)

    # Money

    def _book(self, now: int, instrument: str, stamp: Stamp, due: Due, amount: Decimal, asset: str) -> None:
        """Book one movement; `due.paid` is what all of them come to."""
        one = self.state.perpetuals[instrument]
        due.paid = (due.paid or ZERO) + amount
        due.asset = asset
        one.paid += amount
        self.out.emit(FundingPaid(now, due.account, instrument, due.side, stamp.ts, due.booked, asset, amount))
        due.booked += 1

    def due_amount(self, instrument: str, stamp: Stamp, due: Due) -> Decimal | None:
        """Return what a position was due at an instant, None as long as the settled rate and mark are not known."""
        if not due.qty:
            return ZERO
        if not stamp.is_exact or stamp.rate is None or stamp.mark is None:
            return None
        return instrument_payment(self.instruments[instrument], due.qty, stamp.mark, stamp.rate)

    # How it ends

    def _judge(self, now: int, instrument: str, stamp: Stamp, due: Due) -> None:
        """Settle what agrees at once, and name what differs."""
        if due.outcome is not None or due.difference is not None:
            return
        due.difference = self._difference(instrument, stamp, due)
        if due.difference is not None:
            self.state.count(due.difference)
        elif due.qty or due.paid is not None:
            self._end(now, instrument, stamp, due, FundingOutcome.AGREED)

    def _difference(self, instrument: str, stamp: Stamp, due: Due) -> FundingDifference | None:
        expected = self.due_amount(instrument, stamp, due)
        if due.paid is None:
            return None if expected == ZERO else FundingDifference.MISSING
        if expected is None:
            return FundingDifference.UNVERIFIED
        if abs(due.paid - expected) <= self.config.tolerance:
            return None
        if due.is_moved:
            return FundingDifference.AMBIGUOUS
        return FundingDifference.AMOUNT if due.qty else FundingDifference.UNEXPECTED

    def _look_again(self, now: int, instrument: str, stamp: Stamp, due: Due) -> None:
        """Settle an open difference by what a complete round of answers proved, or go on asking."""
        outcome = self._outcome(now, instrument, stamp, due)
        if outcome is None:
            self._tell(now, instrument, stamp, due)
            return
        if outcome is FundingOutcome.TAKEN_BACK and due.paid is not None:
            self._book(now, instrument, stamp, due, -due.paid, due.asset)
            due.paid = None
        self._end(now, instrument, stamp, due, outcome)

    def _outcome(self, now: int, instrument: str, stamp: Stamp, due: Due) -> FundingOutcome | None:
        expected = self.due_amount(instrument, stamp, due)
        if due.is_confirmed and due.paid is not None:
            if expected is None:
                return FundingOutcome.UNVERIFIED if now - stamp.ts >= self.config.proof_ns else None
            if abs(due.paid - expected) <= self.config.tolerance:
                is_found = due.difference in (FundingDifference.MISSING, FundingDifference.ABSURD)
                return FundingOutcome.FOUND if is_found else FundingOutcome.AGREED
            return FundingOutcome.ACCEPTED if due.is_moved else FundingOutcome.OTHERWISE
        if due.absent_ns is None:
            return None
        if due.paid is None and expected == ZERO:
            return FundingOutcome.NOT_DUE
        if now - due.absent_ns < self.config.proof_ns:
            return None
        if due.paid is not None:
            return FundingOutcome.TAKEN_BACK
        if expected is None:
            # The history was asked too and knows no settlement here: the venue moved the instant.
            return FundingOutcome.NOT_DUE
        return FundingOutcome.ACCEPTED if due.is_moved else FundingOutcome.NOT_PAID

    def _end(self, now: int, instrument: str, stamp: Stamp, due: Due, outcome: FundingOutcome) -> None:
        due.outcome = outcome
        asset = due.asset or self.instruments[instrument].settle
        expected = self.due_amount(instrument, stamp, due)
        paid = due.paid
        self.out.emit(
            FundingReconciled(
                *(now, due.account, instrument, due.side, stamp.ts, asset, expected, paid, outcome, due.difference)
            )
        )
        if outcome in INCIDENTS:
            cost = None if expected is None else expected - (paid or ZERO)
            self.out.emit(Incident(now, f"funding_{outcome}", "", self._words(instrument, stamp, due), cost))

    def _tell(self, now: int, instrument: str, stamp: Stamp, due: Due) -> None:
        """Say once that a difference stands: asking did not settle it at once."""
        if due.is_told or due.difference is None:
            return
        due.is_told = True
        remedy = REMEDIES[due.difference]
        text = f"{self._words(instrument, stamp, due)}: {remedy.action}: {remedy.why}"
        self.out.emit(Incident(now, f"funding_{due.difference}", "", text))

    def _words(self, instrument: str, stamp: Stamp, due: Due) -> str:
        expected = self.due_amount(instrument, stamp, due)
        key = position_key(due.account, instrument, due.side)
        return f"{key} at {stamp.ts}: {due.qty} held, {expected} due, {due.paid} paid"

    # Asking

    def _query_id(self) -> str:
        self.state.query_count += 1
        return f"{self.name}-{self.state.query_count}"

    def _ask_soon(self, now: int, account: str) -> None:
        """Ask at once, unless a round is under way: its end plans the next."""
        asking = self.state.accounts.get(account)
        if asking is not None and not asking.asked and not asking.down:
            asking.attempt = 0
            self._ask(now, account)

    def _catch_up(self, now: int, account: str) -> None:
        """Ask for everything since the last instant that is settled: reports may have been missed."""
        asking = self.state.accounts[account]
        since = now
        for one in self.state.perpetuals.values():
            if one.settled:
                since = min(since, one.settled[-1].ts)
            elif one.held or one.open or one.disputed:
                since = self.state.started_ns
        since = max(self.state.started_ns, since)
        asking.behind_ns = since if asking.behind_ns is None else min(asking.behind_ns, since)
        asking.attempt = 0
        self._ask(now, account)

    def _ask(self, now: int, account: str) -> None:
        asking = self.state.accounts[account]
        asking.asked.clear()
        asking.next_ns, asking.is_failed = None, False
        moments = [stamp.ts for _, stamp, _ in self._open_of(account)]
        if asking.behind_ns is not None:
            moments.append(asking.behind_ns)
        if not moments:
            return
        asking.since_ns = max(0, min(moments) - self.config.grace_ns)
        asking.asked[self._query_id()] = Asked(QueryKind.INCOME)
        for instrument in self._without_rate(account):
            asking.asked[self._query_id()] = Asked(QueryKind.FUNDING_HISTORY, instrument)
        for query_id, one in asking.asked.items():
            self.out.send(Query(now, account, query_id, one.kind, one.instrument or None, since_ns=asking.since_ns))
        self.out.timer(ANSWER + account, now + self.config.timeout_ns)

    def _without_rate(self, account: str) -> list[str]:
        """Return the instruments whose settled rates are to be asked for."""
        wanted = {instrument for instrument, stamp, _ in self._open_of(account) if not stamp.is_exact}
        if self.state.accounts[account].behind_ns is not None:
            held = ((name, held) for name, one in self.state.perpetuals.items() for held in one.held.values())
            wanted |= {name for name, held in held if held.account == account}
        return sorted(wanted)

    def _open_of(self, account: str) -> Iterator[tuple[str, Stamp, Due]]:
        for instrument, one in self.state.perpetuals.items():
            for stamp in one.disputed:
                for due in stamp.open_dues:
                    if due.account == account:
                        yield instrument, stamp, due

    def _fail_round(self, now: int, account: str) -> None:
        """A round without all answers proves nothing: ask again later, and say what stands."""
        asking = self.state.accounts[account]
        asking.asked.clear()
        for instrument, stamp, due in list(self._open_of(account)):
            self._tell(now, instrument, stamp, due)
        self._plan(now, account)

    def _end_round(self, now: int, account: str) -> None:
        asking = self.state.accounts[account]
        asking.behind_ns = None
        open_ = list(self._open_of(account))
        for instrument, stamp, due in open_:
            self._look_again(now, instrument, stamp, due)
            self.state.perpetuals[instrument].file(stamp, self.config.kept)
        if any(due.outcome is None for _, _, due in open_):
            self._plan(now, account)
        else:
            asking.attempt = 0

    def _plan(self, now: int, account: str) -> None:
        asking = self.state.accounts[account]
        delay = min(self.config.backoff_ns << min(asking.attempt, 16), self.config.backoff_max_ns)
        asking.attempt += 1
        asking.next_ns = now + delay
        self.out.timer(ASK + account, asking.next_ns)

    # Answers

    def _take_incomes(self, now: int, account: str, incomes: tuple[Income, ...]) -> None:
        """Make what is booked of each instant what the venue's own books say. `incomes` are complete from since_ns."""
        asking = self.state.accounts[account]
        sums: dict[tuple[str, int, PositionSide], tuple[Stamp, Due, Decimal, str]] = {}
        for income in incomes:
            one = self.state.perpetuals.get(income.instrument)
            if income.kind is not IncomeKind.FUNDING or one is None or income.ts < self.state.started_ns:
                continue
            stamp = self._stamp_for(now, income.instrument, one, income.ts)
            due = stamp.due(account, income.position_side)
            key = (income.instrument, stamp.ts, income.position_side)
            total = income.amount + (sums[key][2] if key in sums else ZERO)
            sums[key] = (stamp, due, total, income.asset)
        for (instrument, _, _), (stamp, due, total, asset) in sums.items():
            if due.paid != total:
                self._correct(now, instrument, stamp, due, total, asset)
            due.is_confirmed, due.absent_ns = True, None
        for instrument, stamp, due in list(self._open_of(account)):
            if (instrument, stamp.ts, due.side) not in sums and stamp.ts >= asking.since_ns + self.config.grace_ns:
                due.is_confirmed = False
                due.absent_ns = now if due.absent_ns is None else due.absent_ns

    def _correct(self, now: int, instrument: str, stamp: Stamp, due: Due, total: Decimal, asset: str) -> None:
        was = due.paid
        self._book(now, instrument, stamp, due, total - (was or ZERO), asset)
        is_open = due.difference is not None and due.outcome is None
        if stamp.is_closed and not is_open:
            # It was called settled, or nobody knew of it: look at it anew.
            self._doubt(due, FundingDifference.MISSING if was is None else FundingDifference.CONFLICT)
            self.state.perpetuals[instrument].file(stamp, self.config.kept)

    def _doubt(self, due: Due, difference: FundingDifference) -> None:
        """Open a difference, also where everything was settled."""
        if due.difference is not difference or due.outcome is not None:
            self.state.count(difference)
        due.difference, due.outcome, due.is_confirmed, due.absent_ns = difference, None, False, None

    def _take_rates(self, now: int, rates: tuple[FundingRate, ...]) -> None:
        for rate in rates:
            one = self.state.perpetuals.get(rate.instrument)
            if one is None or rate.ts < self.state.started_ns:
                continue
            if self._is_plausible(rate.instrument, rate.rate) and (rate.mark is None or is_price(rate.mark)):
                self._settle_rate(now, rate)
            else:
                self.state.count("refused")


def is_price(number: Decimal) -> bool:
    return number.is_finite() and number > ZERO
