"""One account at the venue: its commands, its questions, its own events."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Final, Protocol

import trio
from attrs import asdict

from venues.binance.calls import BinanceCall, UnsupportedCommandError
from venues.binance.errors import CodecError
from venues.binance.lanes import Lane
from venues.binance.market_answers import listen_key
from venues.binance.markets import Market
from venues.binance.newest import Newest
from venues.binance.order_entry import OrderEntry
from venues.binance.reactions import Verdict, judge_http
from venues.binance.sessions import Answered, Outcome, Unsent
from venues.binance.settings import AccountKeys, GatewaySettings
from venues.binance.subscribed_feed import SubscribedFeed
from venues.binance.user_feed import KEEP_ALIVE_S, UserFeed
from venues.binance.ways import RequestWays, Throttled
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.net.clock import ClockOffset
from venues.net.errors import NetError
from venues.net.limits import RatePools
from venues.net.websocket import SocketCounters
from venues.port import (
    AccountReport,
    AdjustIsolatedMargin,
    ArmDeadMan,
    CancelAll,
    CancelOrder,
    Command,
    DeadManArmed,
    ModifyOrder,
    OutcomeUnknown,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    RejectReason,
    Report,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
    Subscribe,
)
from venues.unsent import unknown, unsent

_OK: Final = 200
_CALLS_AT_ONCE: Final = 4
_UNKNOWN_KEY: Final = -1125


class ListenKeyError(NetError):
    """The venue gave no listen key."""


class Teller(Protocol):
    """Who hears what an account says. None of it waits."""

    def tell(self, reports: Sequence[Report]) -> None: ...
    def events_state(self, account: str, is_up: bool, why: str) -> None: ...
    def refused(self, account: str, verdict: Verdict) -> None: ...
    def mark_of(self, instrument: str) -> Decimal | None: ...
    def why_no_book(self) -> str: ...


class AccountDesk:
    """Takes one account's commands while it runs; what they lead to is told to `teller`."""

    def __init__(
        self,
        account: str,
        keys: AccountKeys,
        settings: GatewaySettings,
        market: Market,
        teller: Teller,
        *,
        clock: ClockOffset,
        limits: RatePools,
        now: Callable[[], int],
        throttled: Throttled,
    ) -> None:
        self.account = account
        self._market = market
        self._teller = teller
        self._clock = clock
        self._now = now
        self.ways = RequestWays(
            account,
            keys,
            settings,
            clock=clock,
            limits=limits,
            now=now,
            throttled=throttled,
            on_logon_refused=self._logon_refused,
        )
        self.entry = OrderEntry(
            account,
            market.requests,
            market.answers,
            self.ways,
            tell=teller.tell,
            now=now,
            on_refusal=self._refused,
            side_of=self._side_of,
            has_algo=market.has_algo,
        )
        self._newest = Newest()
        self.counts = {"unreadable": 0}
        self._stream = market.user_stream(account, teller.mark_of)
        self.feed = self._make_feed(keys, settings, limits)
        self._settings = Lane()
        self._timers = Lane()
        self._room = trio.CapacityLimiter(_CALLS_AT_ONCE)

    def _make_feed(self, keys: AccountKeys, settings: GatewaySettings, limits: RatePools) -> UserFeed | SubscribedFeed:
        on_state = partial(self._teller.events_state, self.account)
        if self._market.has_listen_keys or not settings.ws_api:
            return UserFeed(
                self.account,
                self._market.private_url,
                open_key=self._open_key,
                keep_key=self._keep_key,
                on_event=self._on_event,
                on_state=on_state,
                now=self._now,
                lifetime_s=settings.lifetime_s,
                overlap_s=settings.overlap_s,
                keep_alive_s=KEEP_ALIVE_S / settings.speed,
            )
        return SubscribedFeed(
            self.account,
            settings.ws_api,
            keys,
            clock=self._clock,
            limits=limits,
            recv_window_ms=settings.recv_window_ms,
            now=self._now,
            on_event=self._on_event,
            on_state=on_state,
            on_refused=self._logon_refused,
            lifetime_s=settings.lifetime_s,
            overlap_s=settings.overlap_s,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the account until cancelled; started once it takes commands."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.ways.run)
            task_status.started()
            nursery.start_soon(self._settings.run)
            nursery.start_soon(self._timers.run)
            nursery.start_soon(self.feed.run)

    def take(self, command: Command) -> None:
        """Start what `command` asks for; never waits."""
        entry = self.entry
        match command:
            case _ if not self.ways.is_open:
                self._teller.tell((unsent(command, self._now(), "the gateway does not run"),))
            case SubmitOrder():
                entry.submit(command)
            case CancelOrder():
                entry.cancel(command)
            case ModifyOrder():
                entry.modify(command)
            case CancelAll():
                entry.cancel_all(command)
            case Query():
                self.ways.start_task(partial(self._query, command))
            case ArmDeadMan():
                self._timers.give(partial(self._arm, command))
            case SetLeverage() | SetMarginMode() | SetPositionMode() | AdjustIsolatedMargin():
                self._settings.give(partial(self._set, command))
            case Subscribe():
                # Streams are those of the configuration.
                return
            case _:
                self._teller.tell((unsent(command, self._now(), f"{type(command).__name__}: unknown to this venue"),))

    def counters(self) -> Mapping[str, float]:
        """What is counted, by dotted name: of requests, of the session, of the events."""
        found: dict[str, float] = {f"events.{name}": count for name, count in self.events().items()}
        found |= {f"requests.{name}": count for name, count in asdict(self.ways.counters).items()}
        if self.ways.session is not None:
            found |= {f"session.{name}": count for name, count in asdict(self.ways.session.counters).items()}
            found["session.is_up"] = self.ways.session.is_ready
        for (way, name), one in self.ways.requests().items():
            found[f"{way}.{name}.answers"] = one.answers
            found[f"{way}.{name}.unknown"] = one.unknown
            found[f"{way}.{name}.not_sent"] = one.not_sent
            found[f"{way}.{name}.latency_sum_ns"] = one.latency_sum_ns
        return found

    def events(self) -> Mapping[str, int]:
        """What is counted of the account's own events, by name."""
        told = {"repeated_fills": self._stream.repeats, "outdated": self._newest.outdated}
        return {**self.counts, **told, **asdict(self.feed.counters)}

    def sockets(self) -> Mapping[str, SocketCounters]:
        """By what comes over them: events, and answers to orders where there is a connection for them."""
        found = {"events": self.feed.socket.counters()}
        if self.ways.session is not None:
            found["orders"] = self.ways.session.socket.counters()
        return found

    # Questions

    async def _query(self, query: Query) -> None:
        # What was set before is asked for afterwards.
        await self._settings.passed()
        why = self._teller.why_no_book() if query.kind is QueryKind.BOOK else ""
        if why:
            self._teller.tell((QueryFailed(self._now(), query.account, query.query_id, query.kind, why),))
        else:
            reports = await self.inquire(query)
            self.entry.learn(reports)
            self._teller.tell(reports)

    async def inquire(self, query: Query) -> list[Report]:
        """Ask all that `query` takes; return the reports that answer it."""
        inquiry = self._market.inquiry(query, self.venue_now())
        async with trio.open_nursery() as nursery:

            async def ask(call: BinanceCall) -> None:
                async with self._room:
                    outcome = Unsent(inquiry.why) if inquiry.why else await self.ways.ask(call)
                more: Sequence[BinanceCall] = ()
                if not isinstance(outcome, Answered):
                    inquiry.fail(outcome.why)
                elif outcome.status == _OK:
                    more = inquiry.take(call, outcome.body)
                else:
                    verdict = self._note(outcome)
                    more = inquiry.refuse(call, verdict.code, verdict.text)
                for further in more:
                    nursery.start_soon(ask, further)

            for call in inquiry.calls:
                nursery.start_soon(ask, call)
        return inquiry.reports()

    def venue_now(self) -> int:
        now = self._now()
        return self._clock.server_ns(now) if self._clock.is_known else now

    async def _ask(self, kind: QueryKind, instrument: str | None = None, name: str | None = None) -> QueryResult | None:
        """Ask for ourselves; None when there is no answer."""
        query = Query(self._now(), self.account, "", kind, instrument, name)
        (*_, last) = await self.inquire(query)
        return last if isinstance(last, QueryResult) else None

    async def is_known(self) -> bool:
        """Ask for the account; whether the venue answered."""
        return await self._ask(QueryKind.ACCOUNT) is not None

    async def _side_of(self, command: ModifyOrder) -> Side | None:
        found = await self._ask(QueryKind.ORDER, command.instrument, command.client_order_id)
        if found is None:
            raise UnsupportedCommandError(RejectReason.OTHER, "the order's side cannot be asked for")
        return found.orders[0].side if found.orders else None

    # Settings: the port has no refusal for them, what holds is told afterwards

    async def _set(self, command: SetLeverage | SetMarginMode | SetPositionMode | AdjustIsolatedMargin) -> None:
        if await self._make(command):
            if isinstance(command, SetLeverage):
                await self._tell_leverage(command.instrument)
            else:
                await self._tell_account(command)

    async def _make(self, command: Command) -> bool:
        """Send the request for a setting; False when what holds is unknown and has been told so."""
        try:
            call = self._market.setting(command)
        except UnsupportedCommandError as error:
            self._teller.tell((unsent(command, self._now(), error.text),))
            return False
        outcome = await self.ways.ask(call)
        why = self._why_open(outcome)
        if why:
            self._teller.tell((unknown(command, self._now(), why),))
        return not why

    def _why_open(self, outcome: Outcome) -> str:
        if not isinstance(outcome, Answered):
            return outcome.why
        if outcome.status == _OK:
            return ""
        verdict = self._note(outcome, changes=True)
        return verdict.text if verdict.is_unknown else ""

    async def _tell_account(self, command: Command) -> None:
        found = await self._ask(QueryKind.ACCOUNT)
        if found is None or found.balances is None:
            self._teller.tell((unknown(command, self._now(), "the account cannot be asked for"),))
        else:
            self._teller.tell((AccountReport(found.ts, self.account, found.balances, _REASONS[type(command)]),))

    async def _tell_leverage(self, instrument: str) -> None:
        found = await self._ask(QueryKind.POSITIONS, instrument)
        if found is None:
            why = "the position cannot be asked for"
            self._teller.tell((OutcomeUnknown(self._now(), self.account, instrument, "", SetLeverage.__name__, why),))
        elif found.positions:
            self._teller.tell(found.positions)
        else:
            leverage = await self._leverage(instrument)
            if leverage is not None:
                ids = (found.ts, self.account, instrument, PositionSide.BOTH, ZERO)
                self._teller.tell((PositionReport(*ids, leverage=leverage),))

    async def _leverage(self, instrument: str) -> int | None:
        """Return the leverage of an instrument without a position."""
        try:
            call = self._market.symbol_config(instrument)
            outcome = await self.ways.ask(call)
            if isinstance(outcome, Answered) and outcome.status == _OK:
                return self._market.leverage(instrument, outcome.body)
        except (UnsupportedCommandError, CodecError):
            return None
        return None

    # The dead man's switch

    async def _arm(self, command: ArmDeadMan) -> None:
        # The venue's timer runs from later on than this: the desk is told the earlier time.
        begun_ns = self._now()
        try:
            outcome = await self.ways.ask(self._market.dead_man(command))
        except UnsupportedCommandError as error:
            self._teller.tell((unsent(command, self._now(), error.text),))
            return
        if isinstance(outcome, Answered) and outcome.status == _OK:
            self._teller.tell((DeadManArmed(begun_ns, self.account, command.instrument, command.timeout_ns),))
        else:
            why = outcome.why if not isinstance(outcome, Answered) else self._note(outcome, changes=True).text
            self._teller.tell((unknown(command, self._now(), why),))

    # Events

    async def _open_key(self) -> str:
        outcome = await self.ways.ask(self._market.open_listen_key)
        if not isinstance(outcome, Answered):
            raise ListenKeyError(outcome.why)
        if outcome.status != _OK:
            raise ListenKeyError(self._note(outcome).text)
        try:
            return listen_key(outcome.body)
        except CodecError as error:
            raise ListenKeyError(str(error)) from None

    async def _keep_key(self, listen_key: str) -> bool:
        outcome = await self.ways.ask(self._market.keep_listen_key(listen_key))
        if not isinstance(outcome, Answered):
            raise ListenKeyError(outcome.why)
        if outcome.status == _OK:
            return True
        verdict = self._note(outcome)
        if verdict.code == _UNKNOWN_KEY:
            return False
        raise ListenKeyError(verdict.text)

    def _on_event(self, data: bytes) -> None:
        try:
            event = self._stream.decode(data)
        except CodecError:
            # Something happened to the account and it cannot be said what: only asking tells.
            self.counts["unreadable"] += 1
            self.feed.expire("an event cannot be read")
            return
        if event.listen_key:
            self.feed.expire("the listen key has expired")
        if event.leverage is not None:
            self.ways.start_task(partial(self._tell_leverage, event.leverage[0]))
        fresh = self.entry.news(self._newest.pick(event.reports))
        if fresh:
            self._teller.tell(fresh)

    # Refusals

    def _note(self, outcome: Answered, *, changes: bool = False) -> Verdict:
        verdict = judge_http(
            outcome.status, outcome.body, changes=changes, retry_after=outcome.headers.get("retry-after")
        )
        self._refused(verdict)
        return verdict

    def _refused(self, verdict: Verdict) -> None:
        self._teller.refused(self.account, verdict)

    def _logon_refused(self, body: bytes) -> None:
        self._note(Answered(400, body))


_REASONS: Final = {
    SetMarginMode: "margin_mode",
    SetPositionMode: "position_mode",
    AdjustIsolatedMargin: "margin_transfer",
}
