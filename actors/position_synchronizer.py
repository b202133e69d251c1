"""Decides whether our book and the venue's agree, what a difference is called, and what is done about it.

Only a complete answer counts: a failed or missing one says nothing and changes nothing but a count. A difference is
believed when it is seen in two answers with nothing of ours moving in between, or when it will not go away.
"""

from collections.abc import Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.config_checks import not_negative, positive
from actors.messages import (
    MARKET_CHANNEL,
    FillEvent,
    KillLevel,
    KillTrigger,
    MismatchKind,
    OrderUpdate,
    PositionMismatch,
    PositionUpdate,
    Reconciled,
)
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide
from venues.model.position import position_key
from venues.port import (
    Deleveraged,
    Liquidated,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    SetLeverage,
    VenueDown,
    VenueUp,
)

_IN_FLIGHT = (OrderStatus.CREATED, OrderStatus.SENT, OrderStatus.UNKNOWN)
_ROUND = "round/"
_ANSWER = "answer/"


@frozen
class Resolution:
    """What is done about a kind of mismatch: `action`, the kill level asked for (ARMED: none), and why that is right.

    fills: ask for the trade history, from which the order manager books what we missed. leverage: set it again.
    hold: nothing by itself; a person decides. Our book is never overwritten by the venue's: it is made of fills.
    """

    action: str
    level: KillLevel
    why: str


RESOLUTIONS: dict[MismatchKind, Resolution] = {
    MismatchKind.QUANTITY: Resolution("fills", KillLevel.REDUCE_ONLY, "a fill was missed or somebody else trades here"),
    MismatchKind.CLOSED_EXTERNALLY: Resolution(
        "fills", KillLevel.REDUCE_ONLY, "the other legs are unhedged until the fills say who closed it"
    ),
    MismatchKind.UNKNOWN_POSITION: Resolution(
        "fills", KillLevel.REDUCE_ONLY, "ours by a missed fill, or somebody else's: never traded away unasked"
    ),
    MismatchKind.SIDE_FLIP: Resolution(
        "fills", KillLevel.CANCEL_ALL, "resting orders were placed for the opposite position"
    ),
    MismatchKind.ENTRY_DRIFT: Resolution(
        "hold", KillLevel.ARMED, "quantities agree; venues average entries by rules of their own"
    ),
    MismatchKind.LEVERAGE: Resolution(
        "leverage", KillLevel.ARMED, "margin is computed with the configured leverage; set it again"
    ),
    MismatchKind.LIQUIDATED: Resolution(
        "fills", KillLevel.CANCEL_ALL, "the account was liquidated: whatever rests may make it worse"
    ),
    MismatchKind.DELEVERAGED: Resolution(
        "fills", KillLevel.REDUCE_ONLY, "a leg was reduced by the venue and its hedge was not"
    ),
}


@frozen
class SyncConfig:
    """Every account is asked each `period_ns`, and again `quiet_ns` after a difference or a fill.

    An answer is late after `timeout_ns`; failures are retried after `backoff_ns` doubled up to `backoff_max_ns`, and
    `failures_max` in a row ask for REDUCE_ONLY. A difference older than `patience_ns` is believed however busy we are.
    `entry_bps` is the drift of an entry price that is not news; `spot_dust` by asset what a balance may be off.
    """

    period_ns: int = field(default=10_000_000_000, validator=positive)
    quiet_ns: int = field(default=2_000_000_000, validator=positive)
    timeout_ns: int = field(default=5_000_000_000, validator=positive)
    backoff_ns: int = field(default=1_000_000_000, validator=positive)
    backoff_max_ns: int = field(default=30_000_000_000, validator=positive)
    failures_max: int = field(default=3, validator=positive)
    patience_ns: int = field(default=30_000_000_000, validator=positive)
    entry_bps: Decimal = field(default=Decimal(10), validator=not_negative)
    spot_dust: Mapping[str, Decimal] = field(factory=dict)
    fills_lookback_ns: int = field(default=600_000_000_000, validator=positive)


@define
class Ours:
    account: str
    instrument: str
    side: PositionSide
    qty: Decimal = ZERO
    entry: Decimal | None = None


@define
class Suspect:
    """A difference not believed yet, or (`is_told`) believed and reported."""

    kind: MismatchKind
    theirs: Decimal
    since_ns: int
    is_told: bool = False


@define
class AccountSync:
    """One account. `asked` are the outstanding queries by id, `agreed` says whether every answer so far agreed.

    `baseline` is what each base asset's balance was beyond our own spot positions at the first answer.
    """

    asked: dict[str, QueryKind] = field(factory=dict)
    agreed: bool = True
    failures: int = 0
    moved_ns: int = 0
    in_flight: dict[str, int] = field(factory=dict)
    suspects: dict[str, Suspect] = field(factory=dict)
    baseline: dict[str, Decimal] = field(factory=dict)
    forced: dict[str, MismatchKind] = field(factory=dict)
    reconciled_ns: int | None = None
    next_round_ns: int | None = None
    down: dict[str, str] = field(factory=dict)


@define
class SynchronizerState:
    accounts: dict[str, AccountSync]
    ours: dict[str, Ours] = field(factory=dict)
    query_count: int = 0
    failures: int = 0
    mismatches: int = 0


def classify(ours: Decimal, theirs: Decimal, forced: MismatchKind | None) -> MismatchKind | None:
    """Return what a pair of signed quantities is called, None when they are equal.

    `forced` is what the venue reported doing to the position (liquidation, deleveraging).
    """
    if ours == theirs:
        return None
    if forced is not None:
        return forced
    if not ours:
        return MismatchKind.UNKNOWN_POSITION
    if not theirs:
        return MismatchKind.CLOSED_EXTERNALLY
    return MismatchKind.SIDE_FLIP if (ours > ZERO) is not (theirs > ZERO) else MismatchKind.QUANTITY


class PositionSynchronizer(Actor):
    """`accounts` gives each account's venue; derivatives are compared by position, spot by balance.

    `leverage` by instrument is what positions must have. Base assets that are also margin of other instruments at the
    same venue move for other reasons than our spot trades and are left out.
    """

    publishes = (PositionMismatch, KillTrigger, Reconciled)
    sends = (Query, SetLeverage)
    state: SynchronizerState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, str],
        config: SyncConfig | None = None,
        leverage: Mapping[str, int] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.accounts = dict(accounts)
        self.config = config or SyncConfig()
        self.leverage = dict(leverage or {})
        self._kinds = {account: self._queries_of(venue) for account, venue in self.accounts.items()}
        self.state = SynchronizerState({account: AccountSync() for account in self.accounts})

    def _queries_of(self, venue: str) -> tuple[QueryKind, ...]:
        there = [spec for spec in self.instruments.values() if spec.venue == venue]
        kinds = []
        if not there or any(not spec.is_spot for spec in there):
            kinds.append(QueryKind.POSITIONS)
        if any(spec.is_spot for spec in there):
            kinds.append(QueryKind.ACCOUNT)
        return tuple(kinds)

    def _bases(self, account: str) -> list[str]:
        """Return the assets whose balance only our spot trades move."""
        there = [spec for spec in self.instruments.values() if spec.venue == self.accounts[account]]
        money = {spec.settle for spec in there}
        return sorted({spec.base for spec in there if spec.is_spot} - money)

    # When to ask

    def start(self, now: int) -> None:
        for account in self.accounts:
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

    def on_timer(self, now: int, key: str) -> None:
        account = key.partition("/")[2]
        sync = self.state.accounts[account]
        if key.startswith(_ROUND):
            sync.next_round_ns = None
            if sync.down:
                # Asked again by VenueUp; the period goes on in case that is never said.
                self._plan(now, account, self.config.period_ns)
            else:
                self._ask(now, account)
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

    def _query_id(self) -> str:
        self.state.query_count += 1
        return f"{self.name}-{self.state.query_count}"

    def _plan(self, now: int, account: str, after_ns: int, *, is_sooner_kept: bool = True) -> None:
        sync, at = self.state.accounts[account], now + after_ns
        if is_sooner_kept and sync.next_round_ns is not None and now <= sync.next_round_ns <= at:
            return
        sync.next_round_ns = at
        self.out.timer(_ROUND + account, at)

    # What moves on our side

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        if update.account not in self.accounts or not update.qty.is_finite():
            return
        key = position_key(update.account, update.instrument, update.position_side)
        ours = self.state.ours.setdefault(key, Ours(update.account, update.instrument, update.position_side))
        ours.qty, ours.entry = update.qty, update.entry_price
        self.state.accounts[update.account].moved_ns = now

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        sync = self.state.accounts.get(event.fill.account)
        if sync is not None:
            sync.moved_ns = now

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

    def _is_quiet(self, now: int, sync: AccountSync) -> bool:
        return not sync.in_flight and now - sync.moved_ns >= self.config.quiet_ns

    # What the venue says unasked

    @handles(PositionReport)
    def on_report(self, now: int, report: PositionReport) -> None:
        """A pushed position that differs from our book is a reason to ask, once our own reports have had time."""
        if report.account not in self.accounts:
            return
        ours = self.state.ours.get(position_key(report.account, report.instrument, report.position_side))
        if (ours.qty if ours is not None else ZERO) != report.qty:
            self._plan(now, report.account, self.config.quiet_ns)

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
        # Said at once: by the next answer our book may have caught up, and the event would pass unnoticed.
        self._tell(now, ours, kind, ours.qty + report.side.sign * report.qty)
        self._plan(now, report.account, self.config.quiet_ns)

    # Answers

    @handles(QueryFailed)
    def on_failed(self, now: int, failed: QueryFailed) -> None:
        sync = self.state.accounts.get(failed.account)
        if sync is not None and failed.query_id in sync.asked:
            self._failed(now, failed.account, failed.why)

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
        if sync is None or sync.asked.get(result.query_id) is not result.kind:
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
            self._compare_balances(now, result.account, result.balances or {})
        if sync.asked:
            return
        sync.failures = 0
        if sync.agreed:
            sync.forced.clear()
            sync.reconciled_ns = now
            self.out.emit(Reconciled(now, result.account))

    def _compare_positions(self, now: int, account: str, reports: tuple[PositionReport, ...]) -> None:
        theirs = {position_key(account, one.instrument, one.position_side): one for one in reports}
        for key, report in theirs.items():
            self.state.ours.setdefault(key, Ours(account, report.instrument, report.position_side))
        for key, ours in self.state.ours.items():
            spec = self.instruments.get(ours.instrument)
            if ours.account != account or (spec is not None and spec.is_spot):
                continue
            found = theirs.get(key)
            self._weigh(now, key, ours, found.qty if found is not None else ZERO, found)

    def _compare_balances(self, now: int, account: str, balances: Mapping[str, Decimal]) -> None:
        sync = self.state.accounts[account]
        for base in self._bases(account):
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
            self._weigh(now, key, ours, ours.qty + off / self.instruments[ours.instrument].multiplier, None)

    def _is_spot_in(self, instrument: str, base: str) -> bool:
        spec = self.instruments.get(instrument)
        return spec is not None and spec.is_spot and spec.base == base

    def _spot_of(self, account: str, base: str) -> Ours:
        venue = self.accounts[account]
        for spec in self.instruments.values():
            if spec.venue == venue and self._is_spot_in(spec.id, base):
                key = position_key(account, spec.id)
                return self.state.ours.setdefault(key, Ours(account, spec.id, PositionSide.BOTH))
        raise AssertionError(f"{base} is nobody's base at {venue}")

    def _weigh(self, now: int, key: str, ours: Ours, theirs: Decimal, report: PositionReport | None) -> None:
        """Compare one position; believe a difference only when it stands still."""
        sync = self.state.accounts[ours.account]
        kind = classify(ours.qty, theirs, sync.forced.get(key)) or self._side_issue(ours, report)
        before = sync.suspects.get(key)
        if kind is None:
            sync.suspects.pop(key, None)
            return
        level = RESOLUTIONS[kind].level
        if level is not KillLevel.ARMED or kind is MismatchKind.LEVERAGE:
            sync.agreed = False
        is_same = before is not None and before.kind is kind and before.theirs == theirs
        if before is None or not is_same:
            since = before.since_ns if before is not None else now
            before = sync.suspects[key] = Suspect(kind, theirs, since)
            is_believed = now - since >= self.config.patience_ns
        else:
            is_believed = self._is_quiet(now, sync) or now - before.since_ns >= self.config.patience_ns
        if before.is_told:
            return
        if is_believed:
            before.is_told = True
            self._tell(now, ours, kind, theirs)
        else:
            self._plan(now, ours.account, self.config.quiet_ns)

    def _side_issue(self, ours: Ours, report: PositionReport | None) -> MismatchKind | None:
        if report is None or not ours.qty:
            return None
        wanted = self.leverage.get(ours.instrument)
        if wanted is not None and report.leverage is not None and report.leverage != wanted:
            return MismatchKind.LEVERAGE
        entry = report.entry_price
        if entry is None or ours.entry is None or not entry.is_finite() or not ours.entry:
            return None
        drift = abs(entry - ours.entry) * 10_000 / abs(ours.entry)
        return MismatchKind.ENTRY_DRIFT if drift > self.config.entry_bps else None

    def _tell(self, now: int, ours: Ours, kind: MismatchKind, theirs: Decimal) -> None:
        resolution = RESOLUTIONS[kind]
        self.state.mismatches += 1
        text = f"{resolution.action}: {resolution.why}"
        self.out.emit(PositionMismatch(now, ours.account, ours.instrument, ours.side, kind, ours.qty, theirs, text))
        if resolution.level is not KillLevel.ARMED:
            why = f"{ours.account} {ours.instrument} {kind}: ours {ours.qty}, theirs {theirs}"
            self.out.emit(KillTrigger(now, "position_mismatch", resolution.level, why))
        if resolution.action == "fills":
            sync = self.state.accounts[ours.account]
            agreed = sync.reconciled_ns if sync.reconciled_ns is not None else now
            since = min(agreed, now) - self.config.fills_lookback_ns
            query = Query(now, ours.account, self._query_id(), QueryKind.FILLS, ours.instrument, since_ns=since)
            self.out.send(query)
            self._plan(now, ours.account, self.config.quiet_ns)
        elif resolution.action == "leverage":
            self.out.send(SetLeverage(now, ours.account, ours.instrument, self.leverage[ours.instrument]))
