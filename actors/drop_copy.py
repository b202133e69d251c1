"""Decides whether the venue's own list of our fills is what we booked, and what follows when it takes a trade back.

Only a complete answer counts: a failed or missing one is never "nothing missing". Fills of the last moments are left to
the next round, as their reports may still be on their way. What the list has and we have not, the order manager books
from the same answer. What we have and two complete answers in a row have not, the venue took back unheard.
"""

from collections.abc import Mapping
from typing import Final

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.config_checks import positive
from actors.counting import count
from actors.messages import MARKET_CHANNEL, FillEvent, Incident, KillLevel, KillTrigger
from actors.order_records import to_fill
from actors.post_trade import CopyDifference, DropCopyMismatch, DropCopyVerified, FillBusted
from actors.recent import Recent
from actors.tracker_records import fill_key
from venues.model.fill import Fill
from venues.model.order import Side
from venues.port import Query, QueryFailed, QueryKind, QueryResult, TradeBusted, VenueDown, VenueUp

_ROUND: Final = "round/"
_ANSWER: Final = "answer/"
_TELLING_MAX: Final = 10_000
_EARLY_MAX: Final = 1_000

MENDED: Final = frozenset({CopyDifference.MISSING_HERE})
"""Differences that end by themselves, as the order manager books what was missing; the others stop new risk."""


@frozen
class DropCopyConfig:
    """Every account is asked each `period_ns` for its fills of the last `window_ns`, and when its venue is back.

    Fills younger than `grace_ns` at the answer are not judged yet. An answer is late after `timeout_ns`; `failures_max`
    in a row are an alarm. The last `keep` fills are remembered: an older one can be neither judged nor taken back.
    """

    period_ns: int = field(default=60_000_000_000, validator=positive)
    window_ns: int = field(default=600_000_000_000, validator=positive)
    grace_ns: int = field(default=5_000_000_000, validator=positive)
    timeout_ns: int = field(default=5_000_000_000, validator=positive)
    failures_max: int = field(default=3, validator=positive)
    keep: int = field(default=5_000, validator=positive)


@define
class Booked:
    """A fill as it was told here. `is_missed`: the venue's last complete answer did not have it."""

    event: FillEvent
    is_busted: bool = False
    is_missed: bool = False


@define
class Asked:
    """An outstanding question: from which venue time on."""

    query_id: str
    since_ns: int


@define
class Copy:
    """One account: the question under way, failures in a row, up to when it was verified, why it is down."""

    asked: Asked | None = None
    failures: int = 0
    verified_ns: int | None = None
    down: dict[str, str] = field(factory=dict)


@define
class DropCopyState:
    """`fills` by `fill_key`, oldest first; those up to the venue time `forgotten_ns` may be missing.

    `early` are busts of trades not told yet, by account/instrument/trade. `told` are differences reported before.
    """

    accounts: dict[str, Copy]
    fills: dict[str, Booked] = field(factory=dict)
    forgotten_ns: int = 0
    early: dict[str, str] = field(factory=dict)
    told: Recent = field(factory=Recent)
    differences: dict[str, int] = field(factory=dict)
    queries: int = 0
    failures: int = 0
    busts: int = 0
    repeated_busts: int = 0


class DropCopy(Actor):
    """`accounts` gives each account's venue."""

    publishes = (DropCopyMismatch, DropCopyVerified, FillBusted, Incident, KillTrigger)
    sends = (Query,)
    state: DropCopyState

    def __init__(self, accounts: Mapping[str, str], config: DropCopyConfig | None = None, name: str = "") -> None:
        super().__init__(name)
        self.accounts = dict(accounts)
        self.config = config or DropCopyConfig()
        self.state = DropCopyState({account: Copy() for account in self.accounts})

    # When to ask

    def start(self, now: int) -> None:
        # What was before is no fill of ours.
        self.state.forgotten_ns = now
        for account in self.accounts:
            self.out.timer(_ROUND + account, now + self.config.period_ns)

    def on_timer(self, now: int, key: str) -> None:
        account = key.partition("/")[2]
        copy = self.state.accounts[account]
        if key.startswith(_ANSWER):
            if copy.asked is not None:
                self._failed(now, account, f"no answer within {self.config.timeout_ns} ns")
            return
        self.out.timer(_ROUND + account, now + self.config.period_ns)
        if not copy.down:
            self._ask(now, account)

    def _ask(self, now: int, account: str) -> None:
        state = self.state
        since = max(now - self.config.window_ns, state.forgotten_ns + 1)
        state.queries += 1
        query_id = f"{self.name}-{state.queries}"
        state.accounts[account].asked = Asked(query_id, since)
        self.out.send(Query(now, account, query_id, QueryKind.FILLS, since_ns=since))
        self.out.timer(_ANSWER + account, now + self.config.timeout_ns)

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        """Reports may have been missed: compare at once."""
        for account, copy in self._at(up.venue, up.channel):
            was_down = bool(copy.down)
            if up.channel:
                copy.down.pop(up.channel, None)
            else:
                copy.down.clear()
            if was_down and not copy.down:
                self._ask(now, account)

    @handles(VenueDown)
    def on_down(self, now: int, down: VenueDown) -> None:
        for account, copy in self._at(down.venue, down.channel):
            copy.down[down.channel] = down.why
            copy.asked = None
            self.out.cancel_timer(_ANSWER + account)

    def _at(self, venue: str, channel: str) -> list[tuple[str, Copy]]:
        if channel == MARKET_CHANNEL:
            return []
        return [(account, self.state.accounts[account]) for account, at in self.accounts.items() if at == venue]

    # What we booked

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        fill, state = event.fill, self.state
        booked = state.fills[fill_key(fill)] = Booked(event)
        if len(state.fills) > self.config.keep:
            oldest = state.fills.pop(next(iter(state.fills)))
            state.forgotten_ns = max(state.forgotten_ns, oldest.event.fill.ts)
        if state.early:
            why = state.early.pop(f"{fill.account}/{fill.instrument}/{fill.trade_id}", None)
            if why is not None:
                self._bust(now, booked, why)

    # What the venue takes back

    @handles(TradeBusted)
    def on_bust(self, now: int, report: TradeBusted) -> None:
        """Let everybody take the trade off again; a bust of what was never told waits for its fill."""
        trade = f"{report.account}/{report.instrument}/{report.trade_id}"
        found = [one for side in Side if (one := self.state.fills.get(f"{trade}/{side}")) is not None]
        for booked in found:
            if booked.is_busted:
                self.state.repeated_busts += 1
            else:
                self._bust(now, booked, report.why)
        if not found and trade not in self.state.early:
            self.state.early[trade] = report.why
            if len(self.state.early) > _EARLY_MAX:
                del self.state.early[next(iter(self.state.early))]
            text = f"{report.account} {report.instrument}: trade {report.trade_id} is not among ours: {report.why}"
            self._alarm(now, "bust_of_unknown_trade", "", text, is_stop=True)

    def _bust(self, now: int, booked: Booked, why: str) -> None:
        booked.is_busted = True
        self.state.busts += 1
        event, fill = booked.event, booked.event.fill
        self.out.emit(FillBusted(now, event.request_id, event.strategy, event.basket_id, fill, why))
        text = f"{fill.account}: {_text(fill)} {fill.instrument}, trade {fill.trade_id}: {why}"
        self._alarm(now, "busted_trade", event.basket_id, text, is_stop=True)

    def _alarm(self, now: int, kind: str, basket_id: str, text: str, *, is_stop: bool) -> None:
        self.out.emit(Incident(now, kind, basket_id, text))
        if is_stop:
            self.out.emit(KillTrigger(now, kind, KillLevel.REDUCE_ONLY, text))

    # Answers

    @handles(QueryFailed)
    def on_failed(self, now: int, failed: QueryFailed) -> None:
        copy = self.state.accounts.get(failed.account)
        if copy is not None and copy.asked is not None and copy.asked.query_id == failed.query_id:
            self._failed(now, failed.account, failed.why)

    def _failed(self, now: int, account: str, why: str) -> None:
        """Count a question without an answer: nothing is verified by it."""
        copy = self.state.accounts[account]
        copy.asked = None
        copy.failures += 1
        self.state.failures += 1
        if copy.failures % self.config.failures_max == 0:
            text = f"{account}: {copy.failures} questions for its fills failed, the last: {why}"
            self._alarm(now, "drop_copy_unanswered", "", text, is_stop=False)

    @handles(QueryResult)
    def on_answer(self, now: int, result: QueryResult) -> None:
        copy = self.state.accounts.get(result.account)
        if copy is None or copy.asked is None or copy.asked.query_id != result.query_id:
            return
        since, copy.asked, copy.failures = copy.asked.since_ns, None, 0
        self.out.cancel_timer(_ANSWER + result.account)
        # Whatever was forgotten meanwhile cannot be compared.
        since = max(since, self.state.forgotten_ns + 1)
        until = result.ts - self.config.grace_ns
        theirs = {
            fill_key(fill): fill
            for fill in (to_fill(report, report.client_order_id) for report in result.fills)
            if since <= fill.ts <= until and fill.account == result.account
        }
        same = sum(self._is_same(now, fill, self.state.fills.get(key)) for key, fill in theirs.items())
        ours = [
            (key, booked)
            for key, booked in reversed(self.state.fills.items())
            if since <= (fill := booked.event.fill).ts <= until and fill.account == result.account
        ]
        for key, booked in ours:
            if key in theirs:
                booked.is_missed = False
            elif not booked.is_busted:
                self._miss(now, booked)
        copy.verified_ns = until
        self.out.emit(DropCopyVerified(now, result.account, since, until, same))

    def _miss(self, now: int, booked: Booked) -> None:
        """Stop at the first answer without one of our fills, and ask again; take it off at the second."""
        fill = booked.event.fill
        if booked.is_missed:
            self._bust(now, booked, "not in the venue's own list, asked twice")
            return
        booked.is_missed = True
        self._differ(now, fill, CopyDifference.MISSING_THERE, _text(fill), "")
        self.out.timer(_ROUND + fill.account, now + self.config.grace_ns)

    def _is_same(self, now: int, theirs: Fill, booked: Booked | None) -> bool:
        if booked is None:
            self._differ(now, theirs, CopyDifference.MISSING_HERE, "", _text(theirs))
            return False
        ours = booked.event.fill
        kind = CopyDifference.STILL_THERE if booked.is_busted else difference(ours, theirs)
        if kind is not None:
            self._differ(now, theirs, kind, _text(ours), _text(theirs))
        return kind is None

    def _differ(self, now: int, fill: Fill, kind: CopyDifference, ours: str, theirs: str) -> None:
        """Tell a difference, once."""
        if not self.state.told.add(f"{kind}/{fill_key(fill)}", _TELLING_MAX):
            return
        count(self.state.differences, kind, len(CopyDifference))
        self.out.emit(DropCopyMismatch(now, fill.account, fill.instrument, fill.trade_id, kind, ours, theirs))
        where = f"{fill.account} {fill.instrument} trade {fill.trade_id}"
        text = f"{where} {kind}: ours {ours or '-'}, theirs {theirs or '-'}"
        self._alarm(now, "drop_copy_mismatch", "", text, is_stop=kind not in MENDED)


def difference(ours: Fill, theirs: Fill) -> CopyDifference | None:
    """Return what tells two accounts of one fill apart, None for nothing. What is no number differs from everything."""
    numbers = (theirs.qty, theirs.price, theirs.fee)
    kinds = (CopyDifference.QUANTITY, CopyDifference.PRICE, CopyDifference.FEE)
    for kind, told, booked in zip(kinds, numbers, (ours.qty, ours.price, ours.fee), strict=True):
        if not told.is_finite() or told != booked:
            return kind
    return CopyDifference.FEE if ours.fee and ours.fee_asset != theirs.fee_asset else None


def _text(fill: Fill) -> str:
    return f"{fill.side} {fill.qty} at {fill.price}, fee {fill.fee} {fill.fee_asset}"
