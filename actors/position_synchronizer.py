"""Decides whether our book and the venue's agree, what a difference is called, and what is done about it.

Only a complete answer counts: a failed or missing one says nothing and changes nothing but a count. A difference is
believed when it is seen in two answers with nothing of ours moving in between, or when it will not go away.
"""

from collections.abc import Mapping
from decimal import Decimal

from actors.base import handles
from actors.cell import CellRestarted
from actors.messages import (
    MARKET_CHANNEL,
    FillEvent,
    Incident,
    KillLevel,
    KillTrigger,
    MismatchKind,
    OrderSent,
    OrderUpdate,
    PositionUpdate,
    Reconciled,
    WalletUpdate,
)
from actors.order_records import VENUE_REASONS
from actors.sync_desk import INCOME, ROUND, SyncDesk
from actors.sync_messages import Adopt
from actors.sync_records import (
    RESOLUTIONS,
    AccountSync,
    EntriesOff,
    Finding,
    Modes,
    Ours,
    Suspect,
    SyncConfig,
    classify,
)
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide
from venues.model.position import position_key
from venues.port import (
    AccountReport,
    Deleveraged,
    Liquidated,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    VenueDown,
    VenueUp,
)

_IN_FLIGHT = (OrderStatus.CREATED, OrderStatus.SENT, OrderStatus.UNKNOWN)
_ANSWER = "answer/"
_BOTH = PositionSide.BOTH
_ENTRY_STEP = Decimal("0.00000001")


class PositionSynchronizer(SyncDesk):
    """`accounts` gives each account's venue; derivatives are compared by position, spot by balance, all money by asset.

    `leverage` by instrument and `modes` by account are what must be set. Base assets that are also margin of other
    instruments at the same venue move for other reasons than our spot trades and are compared as money. Money that
    futures settle in daily is not compared.
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, str],
        config: SyncConfig | None = None,
        leverage: Mapping[str, int] | None = None,
        name: str = "",
        modes: Mapping[str, Modes] | None = None,
    ) -> None:
        super().__init__(instruments, accounts, config, leverage, name, modes)
        self._kinds = {account: self._queries_of(venue) for account, venue in self.accounts.items()}

    def _queries_of(self, venue: str) -> tuple[QueryKind, ...]:
        there = self._there(venue)
        is_spot_only = bool(there) and all(spec.is_spot for spec in there)
        return (QueryKind.ACCOUNT,) if is_spot_only else (QueryKind.POSITIONS, QueryKind.ACCOUNT)

    # When to ask

    def start(self, now: int) -> None:
        self.state.started_ns = now
        for account in self.accounts:
            self.state.accounts[account].is_whole = True
            self._ask(now, account)

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        for account in self.accounts:
            self._ask(now, account)

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
                    self._ask(now, account)

    @handles(VenueDown)
    def on_down(self, now: int, down: VenueDown) -> None:
        if down.channel == MARKET_CHANNEL:
            return
        for account, venue in self.accounts.items():
            if venue == down.venue:
                sync = self.state.accounts[account]
                sync.down[down.channel] = down.why
                sync.asked.clear()
                if sync.income_query:
                    self._forget_income(now, account)

    def on_timer(self, now: int, key: str) -> None:
        account = key.partition("/")[2]
        sync = self.state.accounts[account]
        if key.startswith(ROUND):
            sync.next_round_ns = None
            if sync.down:
                # Asked again by VenueUp; the period goes on in case that is never said.
                self._plan(now, account, self.config.period_ns)
            else:
                self._ask(now, account)
        elif key.startswith(INCOME):
            if sync.income_query:
                self._forget_income(now, account)
        elif sync.asked:
            self._failed(now, account, f"no answer within {self.config.timeout_ns} ns")

    def _ask(self, now: int, account: str) -> None:
        sync = self.state.accounts[account]
        sync.asked.clear()
        sync.agreed = True
        for kind in self._kinds[account]:
            sync.asked[self._query_id()] = kind
        for query_id, kind in sync.asked.items():
            self.out.send(Query(now, account, query_id, kind))
        self.out.timer(_ANSWER + account, now + self.config.timeout_ns)
        self._plan(now, account, self.config.period_ns, is_sooner_kept=False)

    # What moves on our side

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        if update.account not in self.accounts or not update.qty.is_finite():
            return
        key = position_key(update.account, update.instrument, update.position_side)
        ours = self.state.ours.setdefault(key, Ours(update.account, update.instrument, update.position_side))
        ours.qty, ours.entry = update.qty, update.entry_price
        self.state.accounts[update.account].moved_ns = now

    @handles(WalletUpdate)
    def on_wallet(self, now: int, update: WalletUpdate) -> None:
        sync = self.state.accounts.get(update.account)
        if sync is not None and update.balance.is_finite():
            sync.wallets[update.asset] = update.balance

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        fill = event.fill
        sync = self.state.accounts.get(fill.account)
        if sync is None:
            return
        sync.moved_ns = now
        if fill.reason in VENUE_REASONS:
            sync.taken_ns[position_key(fill.account, fill.instrument, fill.position_side)] = fill.ts

    @handles(OrderSent)
    def on_sent(self, now: int, sent: OrderSent) -> None:
        sync = self.state.accounts.get(sent.account)
        if sync is not None:
            sync.moved_ns = sync.in_flight[sent.request_id] = now

    @handles(OrderUpdate)
    def on_order(self, now: int, update: OrderUpdate) -> None:
        sync = self.state.accounts.get(update.account)
        if sync is None:
            return
        sync.moved_ns = now
        order_id = update.request_id or update.client_order_id
        if update.status in _IN_FLIGHT and not update.is_final:
            sync.in_flight[order_id] = now
        else:
            sync.in_flight.pop(order_id, None)

    # What the venue says unasked

    @handles(PositionReport)
    def on_report(self, now: int, report: PositionReport) -> None:
        """A pushed position that differs from our book is a reason to ask, once our own reports have had time."""
        if report.account not in self.accounts:
            return
        key = position_key(report.account, report.instrument, report.position_side)
        sync, ours = self.state.accounts[report.account], self.state.ours.get(key)
        held = (ours.qty if ours is not None else ZERO) + sync.adopted.get(key, ZERO)
        wanted = self.modes.get(report.account, Modes()).margin_mode
        is_set = report.margin_mode is None or report.margin_mode is wanted or not report.qty
        if held != report.qty or not is_set:
            self._plan(now, report.account, self.config.quiet_ns)

    @handles(AccountReport)
    def on_balances(self, now: int, report: AccountReport) -> None:
        """Pushed balances that differ from our wallets are a reason to ask, too."""
        sync = self.state.accounts.get(report.account)
        if sync is None:
            return
        for asset, balance in report.balances.items():
            if balance == sync.wallets.get(asset):
                continue
            if balance.is_finite() and self._off(report.account, sync, asset, balance):
                self._plan(now, report.account, self.config.quiet_ns)
                return

    @handles(Liquidated)
    def on_liquidated(self, now: int, report: Liquidated) -> None:
        self._forced(now, report, MismatchKind.LIQUIDATED)

    @handles(Deleveraged)
    def on_deleveraged(self, now: int, report: Deleveraged) -> None:
        self._forced(now, report, MismatchKind.DELEVERAGED)

    def _forced(self, now: int, report: Liquidated | Deleveraged, kind: MismatchKind) -> None:
        sync = self.state.accounts.get(report.account)
        if sync is None:
            return
        key = position_key(report.account, report.instrument, report.position_side)
        sync.forced[key] = kind
        ours = self.state.ours.setdefault(key, Ours(report.account, report.instrument, report.position_side))
        # Said at once: by the next answer our book may have caught up, and the event would pass unnoticed. The fill may
        # have come before the report of what it was.
        change = report.side.sign * report.qty
        was = ours.qty - change if sync.taken_ns.get(key, -1) >= report.ts else ours.qty
        found = Finding(kind, ours.instrument, ours.side, was, was + change)
        before = sync.suspects.get(key)
        if before is not None and before.is_told:
            self._end_episode(now, ours.account, before, f"became {kind}")
        suspect = Suspect(kind, found.theirs, now, True, ours.instrument, ours.side, was)
        sync.suspects[key] = suspect
        self._tell(now, ours.account, found)
        self._act(now, ours.account, suspect)

    # Answers

    @handles(QueryFailed)
    def on_failed(self, now: int, failed: QueryFailed) -> None:
        sync = self.state.accounts.get(failed.account)
        if sync is None:
            return
        if failed.query_id in sync.asked:
            self._failed(now, failed.account, failed.why)
        elif failed.query_id == sync.income_query:
            self._forget_income(now, failed.account)

    def _failed(self, now: int, account: str, why: str) -> None:
        sync = self.state.accounts[account]
        sync.asked.clear()
        sync.failures += 1
        self.state.failures += 1
        if sync.failures % self.config.failures_max == 0:
            text = f"{account}: {sync.failures} position queries failed, the last: {why}"
            self.out.emit(KillTrigger(now, "position_queries", KillLevel.REDUCE_ONLY, text))
        delay = min(self.config.backoff_ns << min(sync.failures - 1, 16), self.config.backoff_max_ns)
        self._plan(now, account, delay, is_sooner_kept=False)

    @handles(QueryResult)
    def on_answer(self, now: int, result: QueryResult) -> None:
        sync = self.state.accounts.get(result.account)
        if sync is None:
            return
        if result.kind is QueryKind.INCOME and result.query_id == sync.income_query:
            if any(not income.amount.is_finite() for income in result.incomes):
                self._forget_income(now, result.account)
                return
            sync.income_query = ""
            self._take_incomes(now, result.account, result.incomes)
            return
        if sync.asked.get(result.query_id) is not result.kind:
            return
        if result.kind is QueryKind.ACCOUNT and result.balances is None:
            self._failed(now, result.account, "an answer without balances")
            return
        if any(not report.qty.is_finite() for report in result.positions) or any(
            not balance.is_finite() for balance in (result.balances or {}).values()
        ):
            self._failed(now, result.account, "an answer that holds no numbers")
            return
        del sync.asked[result.query_id]
        if result.kind is QueryKind.POSITIONS:
            self._compare_positions(now, result.account, result.positions)
        else:
            self._compare_bases(now, result.account, result.balances or {})
            self._compare_wallets(now, result.ts, result.account, result.balances or {})
            self._compare_account(now, result)
        if sync.asked:
            return
        self.out.cancel_timer(_ANSWER + result.account)
        sync.failures = 0
        if sync.agreed:
            sync.forced.clear()
            sync.reconciled_ns = now
            self.out.emit(Reconciled(now, result.account))

    # Positions

    def _compare_positions(self, now: int, account: str, reports: tuple[PositionReport, ...]) -> None:
        self.state.accounts[account].entries_off.clear()
        theirs = {position_key(account, one.instrument, one.position_side): one for one in reports}
        for key, report in theirs.items():
            self.state.ours.setdefault(key, Ours(account, report.instrument, report.position_side))
        for key, ours in self.state.ours.items():
            spec = self.instruments.get(ours.instrument)
            if ours.account != account or (spec is not None and spec.is_spot):
                continue
            found = theirs.get(key)
            self._compare_quantity(now, key, ours, found.qty if found is not None else ZERO)
            self._compare_settings(now, key, ours, found)
            self._note_entry(ours, found)

    def _note_entry(self, ours: Ours, report: PositionReport | None) -> None:
        """A fill that was booked late splits the same money otherwise between profit and entry: note how much.

        Wallet less cost of the open position is the same in every order of fills. Venues tell entries to eight digits.
        """
        spec = self.instruments.get(ours.instrument)
        if spec is None or report is None or report.qty != ours.qty or not ours.qty:
            return
        if report.entry_price is None or not report.entry_price.is_finite() or not ours.entry:
            return
        size = ours.qty * spec.multiplier
        if spec.inverse:
            off = size / report.entry_price - size / ours.entry if report.entry_price else ZERO
        else:
            off = size * (report.entry_price - ours.entry)
        if off:
            drift = self.state.accounts[ours.account].entries_off.setdefault(spec.settle, EntriesOff())
            drift.amount += off
            drift.slack += abs(size) * _ENTRY_STEP / (ours.entry**2 if spec.inverse else 1)

    def _compare_quantity(self, now: int, key: str, ours: Ours, theirs: Decimal) -> None:
        sync = self.state.accounts[ours.account]
        held = ours.qty + sync.adopted.get(key, ZERO)
        kind = classify(held, theirs, sync.forced.get(key))
        found = None if kind is None else Finding(kind, ours.instrument, ours.side, ours.qty, theirs)
        self._weigh(now, ours.account, key, found)

    def _compare_settings(self, now: int, key: str, ours: Ours, report: PositionReport | None) -> None:
        """What a position must be like beside its quantity; without one there is nothing to compare."""
        is_held = report is not None and bool(report.qty)
        for kind, words in (
            (MismatchKind.LEVERAGE, self._leverage_issue(ours, report)),
            (MismatchKind.MARGIN_MODE, self._mode_issue(ours, report)),
            (MismatchKind.ENTRY_DRIFT, self._entry_issue(ours, report)),
        ):
            if not is_held or report is None:
                self._forget_setting(now, ours.account, f"{key}#{kind}")
                continue
            found = Finding(kind, ours.instrument, ours.side, ours.qty, report.qty, words) if words else None
            self._weigh(now, ours.account, f"{key}#{kind}", found)

    def _forget_setting(self, now: int, account: str, key: str) -> None:
        """The position is gone: what it was set to is not shown any more, and may be set while nothing is held."""
        suspect = self.state.accounts[account].suspects.pop(key, None)
        if suspect is not None and suspect.is_told:
            if RESOLUTIONS[suspect.kind].action == "set":
                self._set(now, account, suspect)
            self._resolve(now, account, suspect, "the position is closed")

    def _leverage_issue(self, ours: Ours, report: PositionReport | None) -> str:
        wanted = self.leverage.get(ours.instrument)
        if report is None or wanted is None or report.leverage is None or report.leverage == wanted:
            return ""
        return f"leverage {report.leverage}, not {wanted}"

    def _mode_issue(self, ours: Ours, report: PositionReport | None) -> str:
        modes = self.modes.get(ours.account)
        if modes is None or report is None or report.margin_mode in (None, modes.margin_mode):
            return ""
        return f"margin mode {report.margin_mode}, not {modes.margin_mode}"

    def _entry_issue(self, ours: Ours, report: PositionReport | None) -> str:
        """Entries are compared while quantities are the same: else the drift is that of the quantity."""
        entry = report.entry_price if report is not None else None
        if report is None or report.qty != ours.qty or entry is None or not entry.is_finite() or not ours.entry:
            return ""
        drift = abs(entry - ours.entry) * 10_000 / abs(ours.entry)
        return f"entry {entry}, ours {ours.entry}" if drift > self.config.entry_bps else ""

    # Balances

    def _compare_bases(self, now: int, account: str, balances: Mapping[str, Decimal]) -> None:
        """Spot positions are what the balance of their base asset is beyond the baseline."""
        sync = self.state.accounts[account]
        for base in self._bases[account]:
            mine = [
                ours
                for ours in self.state.ours.values()
                if ours.account == account and self._is_spot_in(ours.instrument, base)
            ]
            held = sum((ours.qty * self.instruments[ours.instrument].multiplier for ours in mine), ZERO)
            balance = balances.get(base, ZERO)
            if base not in sync.baseline:
                if self._is_quiet(now, sync):
                    sync.baseline[base] = balance - held
                else:
                    sync.agreed = False
                    self._plan(now, account, self.config.quiet_ns)
                continue
            off = balance - sync.baseline[base] - held
            if abs(off) <= self.config.spot_dust.get(base, ZERO):
                off = ZERO
            ours = mine[0] if mine else self._spot_of(account, base)
            key = position_key(account, ours.instrument, ours.side)
            self._compare_quantity(now, key, ours, ours.qty + off / self.instruments[ours.instrument].multiplier)

    def _is_spot_in(self, instrument: str, base: str) -> bool:
        spec = self.instruments.get(instrument)
        return spec is not None and spec.is_spot and spec.base == base

    def _spot_of(self, account: str, base: str) -> Ours:
        venue = self.accounts[account]
        for spec in self.instruments.values():
            if spec.venue == venue and self._is_spot_in(spec.id, base):
                key = position_key(account, spec.id)
                return self.state.ours.setdefault(key, Ours(account, spec.id, _BOTH))
        raise AssertionError(f"{base} is nobody's base at {venue}")

    def _off(self, account: str, sync: AccountSync, asset: str, balance: Decimal) -> Decimal:
        """Return by how much a wallet is more than ours and what was adopted, zero within the dust."""
        is_heard = asset in sync.wallets or sync.is_whole
        if asset in self._unwatched[account] or not is_heard:
            return ZERO
        off = balance - sync.wallets.get(asset, ZERO) - sync.adopted.get(f"{account}#{asset}", ZERO)
        dust, entries = self.config.wallet_dust.get(asset, ZERO), sync.entries_off.get(asset)
        if entries is not None:
            off -= entries.amount
            dust += entries.slack
        return ZERO if abs(off) <= dust else off

    def _compare_wallets(self, now: int, ts: int, account: str, balances: Mapping[str, Decimal]) -> None:
        sync = self.state.accounts[account]
        for asset in dict.fromkeys([*sync.wallets, *balances]):
            balance = balances.get(asset, ZERO)
            found = None
            if self._off(account, sync, asset, balance):
                entries = sync.entries_off.get(asset)
                ours = sync.wallets.get(asset, ZERO) + (entries.amount if entries is not None else ZERO)
                found = Finding(MismatchKind.WALLET_DRIFT, asset, _BOTH, ours, balance)
            else:
                sync.wallet_ns[asset] = ts
            self._weigh(now, account, f"{account}#{asset}", found)

    def _compare_account(self, now: int, result: QueryResult) -> None:
        modes, told = self.modes.get(result.account), result.position_mode
        found = None
        if modes is not None and told is not None and told is not modes.position_mode:
            words = f"position mode {told}, not {modes.position_mode}"
            found = Finding(MismatchKind.POSITION_MODE, "", _BOTH, ZERO, ZERO, words)
        self._weigh(now, result.account, result.account, found)

    # What a person decides

    @handles(Adopt)
    def on_adopt(self, now: int, adopt: Adopt) -> None:
        """Accept what is told, as it stands. Anything else that differs later is a mismatch as before."""
        keys = self.adoptable(adopt.account, adopt.what)
        if not keys or not adopt.operator.strip() or not adopt.reason.strip():
            why = "adopting needs an operator and a reason" if keys else "nothing of it is told to differ"
            self.out.emit(Incident(now, "adopt_refused", "", f"{adopt.account} {adopt.what}: {why}"))
            return
        sync = self.state.accounts[adopt.account]
        for key in keys:
            suspect = sync.suspects.pop(key)
            if suspect.detail:
                sync.accepted[key] = suspect.detail
            else:
                self._accept(adopt.account, key, suspect)
            self._resolve(now, adopt.account, suspect, f"adopted by {adopt.operator}: {adopt.reason}")
        self._plan(now, adopt.account, self.config.quiet_ns)
