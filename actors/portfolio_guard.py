"""Decides, with all risk guards, whether a basket may be opened, what is told of the book, and what of it must go.

What is held is looked at when something changed, every few seconds, and not more than once a second for prices alone:
never by the view of a book. A change of a finding is told once; one that says to act asks the kill switch.
"""

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal

from actors.base import Actor, handles
from actors.basket import ENDED
from actors.cell import CellRestarted
from actors.control import GuardStatus
from actors.counting import count
from actors.guards.book import Book, GuardState, Held, OpenBasket, Rate, Reduction, Seen, Standing
from actors.guards.config import GuardsConfig
from actors.guards.findings import Finding, Guard, GuardReason, Severity
from actors.guards.funding import DAY_NS
from actors.guards.judge import Judge
from actors.guards.messages import GuardFinding
from actors.guards.preflight import Preflight
from actors.guards.reductions import closing_legs, concerned
from actors.messages import (
    BasketIntent,
    BasketState,
    BasketUpdate,
    Checker,
    DepthReply,
    DepthRequest,
    FeedStatus,
    Incident,
    KillLevel,
    KillState,
    KillTrigger,
    MarginState,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    ResumeCommand,
    StopCommand,
    WalletUpdate,
)
from actors.wallets import believe
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.position import position_key
from venues.port import (
    AccountReport,
    AdlRank,
    FundingSettled,
    MarkPrice,
    PositionReport,
    QueryKind,
    QueryResult,
    SettlementPrice,
)
from venues.rules.checks import LIMIT
from venues.rules.funding import INTERVALS
from venues.rules.instants import HOUR_NS

_CHECK = "check"
_BPS = 10_000
_GONE = (BasketState.FLAT, BasketState.DENIED)
_NAMES_MAX = 1_000


class PortfolioGuard(Actor):
    """`accounts` gives each account's venue, `isolated` those whose margin is not shared."""

    publishes = (PreflightReply, GuardFinding, KillTrigger, BasketIntent, DepthRequest, Incident)
    state: GuardState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, str],
        config: GuardsConfig | None = None,
        isolated: Collection[str] = (),
        name: str = "",
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.accounts = dict(accounts)
        self.config = config or GuardsConfig()
        self._isolated = frozenset(isolated)
        self.state = GuardState()
        self._read()

    def _read(self) -> None:
        self.book = Book(self.state, self.instruments, self.accounts, self.config)
        self.judge = Judge(self.book, self._isolated)
        self.preflight = Preflight(self.judge)
        self.preflight.stand(self.state.standing.values())

    def restore(self, snapshot: dict[str, object]) -> None:
        super().restore(snapshot)
        self._read()

    # Pre-flight

    @handles(PreflightRequest)
    def on_preflight(self, now: int, request: PreflightRequest) -> None:
        reasons, promised = self.preflight.objections(now, request)
        if not reasons and request.closes is None:
            self.state.promises[request.basket_id] = promised
            self.state.baskets[request.basket_id] = OpenBasket(request.strategy, list(request.legs))
        self.out.emit(PreflightReply(now, request.basket_id, Checker.GUARDS, not reasons, reasons))

    @handles(ReservationReleased)
    def on_release(self, now: int, released: ReservationReleased) -> None:
        self.state.promises.pop(released.basket_id, None)

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        state = self.state
        basket = state.baskets.get(update.basket_id)
        if basket is not None:
            basket.state, basket.filled = update.state, list(update.filled)
            for one, filled in zip(state.promises.get(update.basket_id, ()), update.filled, strict=False):
                one.filled = filled
            if update.state in _GONE:
                del state.baskets[update.basket_id]
                state.reductions.pop(update.basket_id, None)
        if update.state in ENDED:
            state.promises.pop(update.basket_id, None)
            reduction = state.reductions.get(update.closes or "")
            if reduction is not None and reduction.basket_id == update.basket_id:
                reduction.is_over = True
                self._look_soon(now)

    # What is known

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        held, key = self.state.held, position_key(update.account, update.instrument, update.position_side)
        before, price = held.get(key), update.entry_price
        price = price if price is not None and price.is_finite() else None
        if not update.qty.is_finite() or abs(update.qty) >= LIMIT:
            held[key] = Held(update.account, update.instrument, update.position_side, None, None, now)
        elif not update.qty:
            held.pop(key, None)
            self.state.ranks.pop(key, None)
            self.state.named.pop(key, None)
        elif before is not None and before.qty is not None and before.qty * update.qty > ZERO:
            before.qty, before.entry = update.qty, price
        else:
            held[key] = Held(update.account, update.instrument, update.position_side, update.qty, price, now, price)
        self.book.changed()
        self._look_soon(now)

    @handles(WalletUpdate)
    def on_wallet(self, now: int, update: WalletUpdate) -> None:
        if update.balance.is_finite():
            self.state.booked.setdefault(update.account, {})[update.asset] = update.balance
        else:
            self.state.booked.get(update.account, {}).pop(update.asset, None)
        self.book.changed()

    @handles(AccountReport)
    def on_account(self, now: int, report: AccountReport) -> None:
        believe(self.state.reported, self.state.reported_ns, report.ts, report.account, report.balances)
        self.book.changed()

    @handles(PositionReport)
    def on_report(self, now: int, report: PositionReport) -> None:
        self._name(report)

    @handles(QueryResult)
    def on_answer(self, now: int, result: QueryResult) -> None:
        """A complete answer also tells what is not there."""
        state = self.state
        if result.kind is QueryKind.POSITIONS:
            self._compare(now, result)
            for report in result.positions:
                self._name(report)
        elif result.kind is QueryKind.ACCOUNT and result.balances is not None:
            known = [*state.reported.get(result.account, {}), *state.booked.get(result.account, {})]
            balances = {**dict.fromkeys(known, ZERO), **result.balances}
            believe(state.reported, state.reported_ns, result.ts, result.account, balances)
            self.book.changed()

    def _compare(self, now: int, result: QueryResult) -> None:
        """Hold what only the venue knows of as a position of unknown size, until it is gone or our book has it."""
        held = self.state.held
        theirs = {
            position_key(one.account, one.instrument, one.position_side): one
            for one in result.positions
            if one.qty or not one.qty.is_finite()
        }
        foreign = [key for key, one in held.items() if one.is_foreign and one.account == result.account]
        gone = [key for key in foreign if key not in theirs]
        new = [key for key, one in theirs.items() if key not in held and one.instrument in self.instruments]
        for key in gone:
            del held[key]
        for key in new:
            one = theirs[key]
            held[key] = Held(one.account, one.instrument, one.position_side, None, None, now, is_foreign=True)
        if gone or new:
            self.book.changed()
            self._look_soon(now)

    def _name(self, report: PositionReport) -> None:
        key, price = position_key(report.account, report.instrument, report.position_side), report.liquidation_price
        is_price = price is not None and price.is_finite() and price > ZERO
        if price is not None and is_price and report.qty.is_finite() and report.qty:
            self.state.named[key] = [report.qty, price]
        else:
            self.state.named.pop(key, None)

    @handles(MarginState)
    def on_margin(self, now: int, margin: MarginState) -> None:
        self.state.levels[margin.account] = margin.level
        if margin.coverage is None:
            self.state.coverages.pop(margin.account, None)
        else:
            self.state.coverages[margin.account] = margin.coverage
        self._look_soon(now)

    @handles(AdlRank)
    def on_rank(self, now: int, report: AdlRank) -> None:
        key = position_key(report.account, report.instrument, report.position_side)
        if report.rank is None:
            self.state.ranks.pop(key, None)
        else:
            self.state.ranks[key] = report.rank
        self._look_soon(now)

    @handles(SettlementPrice)
    def on_settlement(self, now: int, report: SettlementPrice) -> None:
        if report.price.is_finite():
            self.state.settlements[report.instrument] = report.price
        else:
            self.state.settlements.pop(report.instrument, None)
        self._look_soon(now)

    @handles(FundingSettled)
    def on_funding(self, now: int, settled: FundingSettled) -> None:
        """Note what a stamp cost, in basis points of the position it was paid for."""
        spec, qty, mark = self.instruments.get(settled.instrument), settled.qty, settled.mark
        if spec is None or settled.account not in self.accounts:
            return
        if not (qty.is_finite() and mark.is_finite() and settled.amount.is_finite()) or mark <= ZERO:
            return
        value = spec.notional(qty, mark)
        if value:
            paid = self.state.paid.setdefault(f"{settled.account}|{settled.instrument}", [])
            paid.append((now, -settled.amount * _BPS / value))
            while paid and paid[0][0] <= now - DAY_NS:
                del paid[0]
        self._look_soon(now)

    # Prices

    @handles(MarkPrice)
    def on_mark(self, now: int, mark: MarkPrice) -> None:
        state = self.state
        if mark.instrument not in self.instruments:
            return
        if mark.mark.is_finite() and ZERO < mark.mark < LIMIT:
            seen = state.marks.get(mark.instrument)
            if seen is None:
                state.marks[mark.instrument] = Seen(now, mark.mark)
            else:
                seen.ts, seen.price = now, mark.mark
            self.book.moved(mark.instrument)
        if mark.rate is not None:
            self._take_rate(now, mark, mark.rate)
        if state.held and now >= state.judged_ns + self.config.mark_check_ns:
            self._trail(now)
            self._judge(now)
        elif not state.next_check_ns:
            self._look_soon(now)

    def _take_rate(self, now: int, mark: MarkPrice, rate: Decimal) -> None:
        one = self.state.rates.get(mark.instrument)
        if one is None:
            one = self.state.rates[mark.instrument] = Rate(now)
        # After a silence the next stamp may not be the one that follows.
        is_next = now - one.ts <= self.config.price_age_max_ns
        one.ts, one.rate = now, rate if rate.is_finite() else None
        stamp = mark.next_funding_ns
        if stamp is None or stamp == one.next_ns:
            return
        if one.next_ns is not None and stamp > one.next_ns:
            hours, rest = divmod(stamp - one.next_ns, HOUR_NS)
            if is_next and not rest and hours in INTERVALS:
                one.interval_hours = hours
            one.over = {way: stamps + 1 for way, stamps in one.over.items()}
        one.next_ns = stamp

    def _trail(self, now: int) -> None:
        if self.config.size.trailing_stop is None:
            return
        for held in self.state.held.values():
            price = self.book.price(now, held.instrument) if held.instrument in self.instruments else None
            if price is None or not held.qty:
                continue
            best = held.best
            if best is None or (price - best) * held.qty > ZERO:
                held.best = price

    @handles(FeedStatus)
    def on_feed(self, now: int, status: FeedStatus) -> None:
        if status.is_live and status.instrument in self.instruments:
            self._ask(now, status.instrument)

    def _ask(self, now: int, instrument: str) -> None:
        """Ask for the touch of what has no fresh mark: a price is needed by the basket, not by the view."""
        seen = self.state.marks.get(instrument)
        if seen is None or now - seen.ts > self.config.price_age_max_ns // 2:
            self.out.emit(DepthRequest(now, f"{self.name}/{instrument}", instrument, 1))

    @handles(DepthReply)
    def on_depth(self, now: int, reply: DepthReply) -> None:
        if reply.ref != f"{self.name}/{reply.instrument}" or not (reply.is_live and reply.bids and reply.asks):
            return
        middle = self.instruments[reply.instrument].price(reply.bids[0][0] + reply.asks[0][0]) / 2
        self.state.touches[reply.instrument] = Seen(now, middle)
        self.book.moved(reply.instrument)

    # Time and control

    def start(self, now: int) -> None:
        self._look_at(now + self.config.check_ns)

    def on_timer(self, now: int, key: str) -> None:
        self.state.next_check_ns = 0
        for instrument in self.instruments:
            self._ask(now, instrument)
        self._judge(now)
        if not self.state.next_check_ns:
            self._look_at(now + self.config.check_ns)

    def _look_soon(self, now: int) -> None:
        """Look when what happens now has happened: not between a fill and the order that answers it."""
        at = now + self.config.settle_ns
        if not self.state.next_check_ns or at < self.state.next_check_ns:
            self._look_at(at)

    def _look_at(self, at: int) -> None:
        self.state.next_check_ns = at
        self.out.timer(_CHECK, at)

    @handles(CellRestarted, ResumeCommand)
    def on_again(self, now: int, message: CellRestarted | ResumeCommand) -> None:
        if isinstance(message, ResumeCommand):
            self.state.is_stopping = False
        self.state.next_check_ns = 0
        self._look_soon(now)

    @handles(KillState)
    def on_kill(self, now: int, kill: KillState) -> None:
        self.state.kill_level = kill.level
        if kill.level is KillLevel.ARMED:
            # What must go is told again, and asks again: arming does not settle it.
            for one in self.state.standing.values():
                one.is_told = one.severity is not Severity.REDUCE
            self._look_soon(now)

    @handles(StopCommand)
    def on_stop(self, now: int, stop: StopCommand) -> None:
        self.state.is_stopping = True

    @handles(GuardStatus)
    def on_guard(self, now: int, status: GuardStatus) -> None:
        self.state.is_guarded = status.is_in_charge

    # Findings

    def _judge(self, now: int) -> None:
        """Ask every guard, tell what changed, and act on it."""
        state = self.state
        state.judged_ns = now
        found: dict[str, tuple[str, Finding]] = {}
        for account, one in self.judge.findings(now):
            key = f"{one.guard}|{account}|{one.subject}|{one.reason}"
            known = found.get(key)
            if known is None or known[1].severity < one.severity:
                found[key] = (account, one)
        if found or state.standing:
            self._stand(now, found)
            self._note_excess(one for _, one in found.values())
            self._reduce(now, list(found.values()))

    def _stand(self, now: int, found: Mapping[str, tuple[str, Finding]]) -> None:
        standing, is_changed = self.state.standing, False
        for key in [key for key in standing if key not in found]:
            gone = standing.pop(key)
            self._tell(now, gone, Severity.CLEAR, "")
            is_changed = True
        for key, (account, one) in found.items():
            known = standing.get(key)
            if known is not None and known.severity is one.severity and known.is_told:
                known.text, known.keep = one.text, one.keep
                continue
            since = now if known is None else known.since_ns
            made = Standing(one.guard, account, one.subject, one.severity, one.reason, one.text, since, one.keep)
            standing[key] = made
            is_changed = True
            about = "" if one.subject == account else one.subject
            count(self.state.counts, f"{account}|{about}|{one.guard}|{one.severity.name}", _NAMES_MAX)
            self._tell(now, made, one.severity, one.text)
            if one.is_act:
                self.out.emit(KillTrigger(now, f"guard_{one.guard}", KillLevel.REDUCE_ONLY, one.said))
        if is_changed:
            self.preflight.stand(standing.values())

    def _tell(self, now: int, one: Standing, severity: Severity, text: str) -> None:
        guard = Guard(one.guard)
        self.out.emit(GuardFinding(now, guard, one.account, one.subject, severity, one.reason, text, one.keep))

    def _note_excess(self, found: Iterator[Finding]) -> None:
        """Count stamps from the one at which funding of a side became excessive, no longer than it is."""
        excessive = {one.subject for one in found if one.reason is GuardReason.FUNDING_EXCESSIVE}
        for instrument, rate in self.state.rates.items():
            if instrument not in excessive:
                rate.over.clear()
                continue
            for held in self.state.held.values():
                if held.instrument == instrument and held.qty and rate.rate and rate.rate * held.qty > ZERO:
                    rate.over.setdefault("1" if held.qty > ZERO else "-1", 0)

    # Reductions

    def _reduce(self, now: int, found: list[tuple[str, Finding]]) -> None:
        """Close a part of every basket that a guard wants smaller; the largest part where several do."""
        state = self.state
        if state.is_stopping or state.is_guarded or state.kill_level >= KillLevel.FLATTEN:
            return
        wanted = [pair for pair in found if pair[1].keep is not None and pair[1].guard in self.config.reducing]
        for basket_id, basket in state.baskets.items() if wanted else ():
            pending = state.reductions.get(basket_id)
            if pending is not None and (not pending.is_over or now < pending.retry_ns):
                continue
            mine = [
                one
                for account, one in wanted
                if concerned(basket, account, one, self.instruments) and not _is_done(basket, one)
            ]
            if mine:
                self._close(now, basket_id, basket, min(mine, key=lambda one: one.keep or ZERO))

    def _close(self, now: int, basket_id: str, basket: OpenBasket, one: Finding) -> None:
        state, config = self.state, self.config
        legs = closing_legs(basket, one.keep or ZERO, self.instruments)
        if not legs:
            return
        if one.once:
            basket.once[f"{one.guard}|{one.subject}"] = one.once
        state.next_reduction += 1
        close_id = f"{basket_id}.guard{state.next_reduction}"
        state.reductions[basket_id] = Reduction(close_id, one.said, now + config.reduce_retry_ns)
        self.out.emit(Incident(now, "guard_reduction", basket_id, f"{close_id}: {one.said}"))
        self.out.emit(
            BasketIntent(
                now,
                close_id,
                basket.strategy,
                legs,
                basket_id,
                max_slippage_bps=config.reduce_slippage_bps,
                deadline_ns=config.reduce_deadline_ns,
            )
        )


def _is_done(basket: OpenBasket, one: Finding) -> bool:
    return bool(one.once) and basket.once.get(f"{one.guard}|{one.subject}") == one.once
