"""Decides when a difference is believed, what is done about it, how often, and how it ended."""

from collections.abc import Mapping

from actors.base import Actor
from actors.messages import Incident, KillLevel, KillTrigger, MismatchKind, PositionMismatch, Reconciled
from actors.sync_messages import PositionResolved, WalletMoved, WalletSuspected
from actors.sync_records import (
    RESOLUTIONS,
    AccountSync,
    Episode,
    Finding,
    Modes,
    Suspect,
    SyncConfig,
    SynchronizerState,
)
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.port import (
    Income,
    IncomeKind,
    Query,
    QueryKind,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
)

ROUND = "round/"
INCOME = "income/"
_BOTH = PositionSide.BOTH
_UNBOOKED = frozenset({IncomeKind.TRANSFER, IncomeKind.INSURANCE, IncomeKind.OTHER})
"""Income that nobody else books."""


class SyncDesk(Actor):
    """The suspects of a synchronizer and the rules by which they change; the handlers are in PositionSynchronizer."""

    publishes = (PositionMismatch, PositionResolved, KillTrigger, Incident, Reconciled, WalletMoved, WalletSuspected)
    sends = (Query, SetLeverage, SetMarginMode, SetPositionMode)
    state: SynchronizerState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, str],
        config: SyncConfig | None = None,
        leverage: Mapping[str, int] | None = None,
        name: str = "",
        modes: Mapping[str, Modes] | None = None,
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.accounts = dict(accounts)
        self.config = config or SyncConfig()
        self.leverage = dict(leverage or {})
        self.modes = dict(modes or {})
        self.state = SynchronizerState({account: AccountSync() for account in self.accounts})
        self._bases = {account: self._bases_of(venue) for account, venue in self.accounts.items()}
        self._unwatched = {account: self._unwatched_of(venue) for account, venue in self.accounts.items()}

    def _there(self, venue: str) -> list[Instrument]:
        return [spec for spec in self.instruments.values() if spec.venue == venue]

    def _bases_of(self, venue: str) -> tuple[str, ...]:
        """Return the assets whose balance only our spot trades move."""
        there = self._there(venue)
        money = {spec.settle for spec in there}
        return tuple(sorted({spec.base for spec in there if spec.is_spot} - money))

    def _unwatched_of(self, venue: str) -> frozenset[str]:
        """Assets that are not compared as money: bases are compared as positions, futures settle in cash daily."""
        settled = {spec.settle for spec in self._there(venue) if spec.kind is InstrumentKind.FUTURE}
        return frozenset(settled.union(self._bases_of(venue)))

    def _query_id(self) -> str:
        self.state.query_count += 1
        return f"{self.name}-{self.state.query_count}"

    def _plan(self, now: int, account: str, after_ns: int, *, is_sooner_kept: bool = True) -> None:
        sync, at = self.state.accounts[account], now + after_ns
        if is_sooner_kept and sync.next_round_ns is not None and now <= sync.next_round_ns <= at:
            return
        sync.next_round_ns = at
        self.out.timer(ROUND + account, at)

    def _is_quiet(self, now: int, sync: AccountSync) -> bool:
        return not sync.in_flight and now - sync.moved_ns >= self.config.quiet_ns

    # What an answer shows

    def _weigh(self, now: int, account: str, key: str, found: Finding | None) -> None:
        """Take note of one comparison; believe a difference only when it stands still."""
        sync = self.state.accounts[account]
        if found is not None and found.detail and sync.accepted.get(key) == found.detail:
            found = None
        before = sync.suspects.get(key)
        if found is None:
            if before is not None:
                self._clear(now, account, key, before)
            return
        if before is not None and before.is_of(found):
            if not before.is_told:
                before.ours, before.theirs = found.ours, found.theirs
            is_believed = self._is_quiet(now, sync) or now - before.since_ns >= self.config.patience_ns
        else:
            since = before.since_ns if before is not None else now
            if before is not None and before.is_told:
                self._end_episode(now, account, before, f"became {found.kind}")
            # Money on its way both ways differs at every look: only what stays the same counts.
            is_believed = found.kind is not MismatchKind.WALLET_DRIFT and now - since >= self.config.patience_ns
            before = Suspect(found.kind, found.theirs, since, False, found.instrument, found.side, found.ours)
            before.detail = found.detail
            sync.suspects[key] = before
        resolution = RESOLUTIONS[found.kind]
        if resolution.holds and not (resolution.action == "set" and before.is_refused):
            sync.agreed = False
        if before.is_told:
            self._act_again(now, account, before)
        elif is_believed:
            self._believe(now, account, before, found)
        else:
            self._plan(now, account, self.config.quiet_ns)

    def _believe(self, now: int, account: str, suspect: Suspect, found: Finding) -> None:
        is_money = found.kind is MismatchKind.WALLET_DRIFT
        if is_money and now - suspect.since_ns < 2 * self.config.patience_ns:
            # Who missed money looks for it first; what is left is told, and what cannot be asked about too.
            if not suspect.is_asked:
                suspect.is_asked = True
                self._ask_income(now, account, suspect)
            if self.state.accounts[account].income_query:
                self._plan(now, account, self.config.quiet_ns)
                return
        suspect.is_told = True
        self._tell(now, account, found)
        self._act(now, account, suspect)

    def _clear(self, now: int, account: str, key: str, suspect: Suspect) -> None:
        del self.state.accounts[account].suspects[key]
        if suspect.is_told:
            self._resolve(now, account, suspect, self._how(key, suspect))

    def _how(self, key: str, suspect: Suspect) -> str:
        if RESOLUTIONS[suspect.kind].action == "set":
            return "set again" if suspect.tries else "set back"
        ours = self.state.ours.get(key)
        is_booked = ours is not None and ours.qty != suspect.ours
        return "our book caught up" if is_booked else "the venue agrees again"

    def _resolve(self, now: int, account: str, suspect: Suspect, how: str) -> None:
        self.state.resolved += 1
        self._end_episode(now, account, suspect, how)
        since, kind = suspect.since_ns, suspect.kind
        self.out.emit(PositionResolved(now, account, suspect.instrument, suspect.side, kind, since, how))

    def _end_episode(self, now: int, account: str, suspect: Suspect, how: str) -> None:
        for one in reversed(self.state.history):
            same = (one.account, one.instrument, one.side, one.kind) == (
                *(account, suspect.instrument, suspect.side, suspect.kind),
            )
            if same and one.ended_ns is None:
                one.ended_ns, one.how = now, how

    # What is done

    def _tell(self, now: int, account: str, found: Finding) -> None:
        resolution = RESOLUTIONS[found.kind]
        state = self.state
        state.mismatches += 1
        state.history.append(
            Episode(now, account, found.instrument, found.side, found.kind, found.ours, found.theirs, found.detail)
        )
        del state.history[: -self.config.kept]
        text = f"{resolution.action}: {resolution.why}"
        if found.detail:
            text = f"{found.detail}; {text}"
        self.out.emit(
            PositionMismatch(now, account, found.instrument, found.side, found.kind, found.ours, found.theirs, text)
        )
        if resolution.level is not KillLevel.ARMED:
            self._trip(now, account, found.instrument, found.kind, resolution.level, f"{found.ours}, {found.theirs}")

    def _trip(self, now: int, account: str, what: str, kind: MismatchKind, level: KillLevel, words: str) -> None:
        why = f"{account} {what} {kind}: ours, theirs {words}"
        self.out.emit(KillTrigger(now, "position_mismatch", level, why))

    def _act(self, now: int, account: str, suspect: Suspect) -> None:
        """Do what the table says, once more."""
        action = RESOLUTIONS[suspect.kind].action
        suspect.tries += 1
        suspect.acted_ns = now
        if action == "fills":
            self._ask_fills(now, account, suspect.instrument, suspect.tries - 1)
            self._plan(now, account, self.config.quiet_ns)
        elif action == "income":
            self._ask_income(now, account, suspect)
        elif action == "set":
            self._set(now, account, suspect)
            self._plan(now, account, self.config.quiet_ns)

    def _act_again(self, now: int, account: str, suspect: Suspect) -> None:
        resolution = RESOLUTIONS[suspect.kind]
        if resolution.action == "set" and not suspect.is_refused:
            if now - suspect.acted_ns < self.config.quiet_ns:
                return
            if suspect.tries >= self.config.set_tries:
                suspect.is_refused = True
                text = f"{suspect.detail}; refused {suspect.tries} times, a person must set it or adopt it"
                self.out.emit(Incident(now, "setting_refused", "", f"{account} {suspect.instrument}: {text}"))
                self._trip(now, account, suspect.instrument, suspect.kind, resolution.refused, suspect.detail)
            self._act(now, account, suspect)
        elif now - suspect.acted_ns >= self.config.patience_ns:
            self._act(now, account, suspect)

    def _ask_fills(self, now: int, account: str, instrument: str, tries: int) -> None:
        """Ask for the trades since the books last agreed, further back with every try."""
        sync = self.state.accounts[account]
        agreed = sync.reconciled_ns if sync.reconciled_ns is not None else now
        since = max(0, min(agreed, now) - (self.config.fills_lookback_ns << min(tries, 10)))
        self.out.send(Query(now, account, self._query_id(), QueryKind.FILLS, instrument, since_ns=since))

    def _set(self, now: int, account: str, suspect: Suspect) -> None:
        modes = self.modes.get(account, Modes())
        if suspect.kind is MismatchKind.LEVERAGE:
            self.out.send(SetLeverage(now, account, suspect.instrument, self.leverage[suspect.instrument]))
        elif suspect.kind is MismatchKind.MARGIN_MODE:
            self.out.send(SetMarginMode(now, account, suspect.instrument, modes.margin_mode))
        else:
            self.out.send(SetPositionMode(now, account, modes.position_mode))

    # Money

    def _ask_income(self, now: int, account: str, suspect: Suspect) -> None:
        """Ask what moved since the wallet last agreed, and let who knows of missed money look for it."""
        sync = self.state.accounts[account]
        since = sync.wallet_ns.get(suspect.instrument, self.state.started_ns)
        sync.income_since_ns = min(since, sync.income_since_ns) if sync.income_query else since
        sync.income_query = self._query_id()
        self.out.emit(WalletSuspected(now, account, suspect.instrument, suspect.theirs - suspect.ours))
        self.out.send(Query(now, account, sync.income_query, QueryKind.INCOME, since_ns=sync.income_since_ns))
        self.out.timer(INCOME + account, now + self.config.timeout_ns)

    def _forget_income(self, now: int, account: str) -> None:
        """The income was not told: what it was asked about is asked about again, and is not called unexplained."""
        sync = self.state.accounts[account]
        sync.income_query = ""
        for suspect in sync.suspects.values():
            suspect.is_asked = suspect.is_asked and suspect.is_told
        self._plan(now, account, self.config.quiet_ns)

    def _take_incomes(self, now: int, account: str, incomes: tuple[Income, ...]) -> None:
        """Book what moved beside all trading since an asset's wallet last agreed, each record once."""
        sync = self.state.accounts[account]
        for income in incomes:
            agreed = sync.wallet_ns.get(income.asset, self.state.started_ns)
            if income.kind not in _UNBOOKED or income.ts <= agreed or income.asset in self._unwatched[account]:
                continue
            if not sync.incomes.add(f"{income.kind}/{income.income_id}", self.config.kept):
                continue
            ours = sync.wallets.get(income.asset, ZERO)
            moved = WalletMoved(now, account, income.asset, income.amount, income.kind, income.income_id)
            self.out.emit(moved)
            kind = MismatchKind.DEPOSIT if income.amount > ZERO else MismatchKind.WITHDRAWAL
            detail = f"{income.kind} {income.income_id} of {income.amount}"
            self._tell(now, account, Finding(kind, income.asset, _BOTH, ours, ours + income.amount, detail))
            self._resolve(now, account, Suspect(kind, ours, now, True, income.asset), "booked")

    # What a person accepts

    def adoptable(self, account: str, what: str) -> list[str]:
        """Return what would be accepted: the mismatches told of an instrument, an asset, or the account itself ("")."""
        sync = self.state.accounts.get(account)
        if sync is None:
            return []
        return [key for key, one in sync.suspects.items() if one.is_told and one.instrument == what]

    def _accept(self, account: str, key: str, suspect: Suspect) -> None:
        """Let the difference count as agreed; a base asset's belongs to its baseline, which the guard leaves too."""
        sync = self.state.accounts[account]
        spec = self.instruments.get(suspect.instrument)
        if spec is not None and spec.is_spot:
            sync.baseline[spec.base] += (suspect.theirs - suspect.ours) * spec.multiplier
            return
        ours = self.state.ours.get(key)
        held = suspect.ours if ours is None else ours.qty
        sync.adopted[key] = (
            suspect.theirs - held if suspect.kind is not MismatchKind.WALLET_DRIFT else (suspect.theirs - suspect.ours)
        )
