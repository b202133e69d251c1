"""Which way a request of one account takes: the WebSocket API while it is up and has a method for it, else REST."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio
from attrs import define

from venues.binance.calls import BinanceCall, Security, stamped
from venues.binance.sessions import Answered, ApiSession, OnOutcome, Outcome, Unproven, Unsent
from venues.binance.settings import AccountKeys, GatewaySettings
from venues.binance.sign import query_of, signed_query
from venues.net.clock import ClockOffset
from venues.net.errors import NetError, NotSentError, NotSentReason
from venues.net.limits import Priority, RatePools, Throttle
from venues.net.outcomes import RequestCounters
from venues.net.rest import Answer, Call, RestClient

_NS_PER_MS: Final = 1_000_000
_KEY_HEADER: Final = "X-MBX-APIKEY"

PATIENCE_S: Final[Mapping[Priority, float]] = {
    Priority.CANCEL: 5.0,
    Priority.HEDGE: 2.0,
    Priority.QUERY: 10.0,
    Priority.NEW: 2.0,
}
"""How long a request by REST may take, the wait for its tokens included."""

Throttled = Callable[[Answer], Throttle | None]


@define
class WayCounters:
    """Requests by the way they took, and what became of them without an answer."""

    by_session: int = 0
    by_rest: int = 0
    unsent: int = 0
    unproven: int = 0
    held_back: int = 0


class RequestWays:
    """Sends one account's requests. Each ends in exactly one Outcome; none is ever sent both ways."""

    def __init__(
        self,
        account: str,
        keys: AccountKeys,
        settings: GatewaySettings,
        *,
        clock: ClockOffset,
        limits: RatePools,
        now: Callable[[], int],
        throttled: Throttled,
        on_logon_refused: Callable[[bytes], None],
    ) -> None:
        self.account = account
        self.counters = WayCounters()
        self.limits = limits
        self._keys = keys
        self._settings = settings
        self._clock = clock
        self._now = now
        self._rest = RestClient(settings.rest, headers={}, limits=limits, clock=now, throttled=throttled)
        self._headers = {_KEY_HEADER: keys.api_key}
        self._nursery: trio.Nursery | None = None
        self.session: ApiSession | None = None
        if settings.ws_api:
            self.session = ApiSession(
                account,
                settings.ws_api,
                keys,
                clock=clock,
                limits=limits,
                recv_window_ms=settings.recv_window_ms,
                now=now,
                on_refused=on_logon_refused,
                lifetime_s=settings.lifetime_s,
            )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the ways open until cancelled; what is under way then is unproven."""
        async with self._rest, trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                if self.session is not None:
                    nursery.start_soon(self.session.run)
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def requests(self) -> Mapping[tuple[str, str], RequestCounters]:
        """By the way they went (`rest`, `session`) and what they asked for, a path or a method."""
        found = {("rest", path): counters for path, counters in self._rest.counters().items()}
        if self.session is not None:
            found |= {("session", method): counters for method, counters in self.session.outcomes.counters().items()}
        return found

    @property
    def is_open(self) -> bool:
        return self._nursery is not None

    def start(self, call: BinanceCall, on_outcome: OnOutcome) -> None:
        """Send a request without waiting; over the WebSocket API it is on its way when this returns."""
        if self._nursery is None:
            on_outcome(Unsent("the gateway does not run"))
        elif call.ws_method is None or self.session is None or not self.session.is_ready:
            self._nursery.start_soon(self._ask_and_tell, call, on_outcome)
        elif (retry_ns := self.limits.take(call.priority, call.costs, self._now())) is not None:
            self.counters.held_back += 1
            self.session.outcomes.of(call.ws_method).not_sent += 1
            on_outcome(Unsent(f"the rate limit has no room before {retry_ns}", is_for_rate=True))
        else:
            self.counters.by_session += 1
            self.session.ask(call, on_outcome)

    def start_task(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run an async function beside the ways; dropped when they are closed."""
        if self._nursery is not None:
            self._nursery.start_soon(work)

    async def _ask_and_tell(self, call: BinanceCall, on_outcome: OnOutcome) -> None:
        outcome: Outcome = Unproven("the gateway stopped")
        try:
            outcome = await self.ask(call)
        finally:
            on_outcome(outcome)

    async def ask(self, call: BinanceCall) -> Outcome:
        """Send a request by REST and wait for what becomes of it."""
        if call.security is Security.SIGNED and not self._clock.is_known:
            self.counters.unsent += 1
            return Unsent("the venue's clock is not known")
        try:
            answer = await self._rest.request(self._rest_call(call))
        except NotSentError as error:
            self.counters.unsent += 1
            return Unsent(str(error), is_for_rate=error.reason is NotSentReason.RATE_LIMIT)
        except NetError as error:
            self.counters.unproven += 1
            return Unproven(str(error))
        self.counters.by_rest += 1
        return Answered(answer.status, answer.body, answer.headers)

    def _rest_call(self, call: BinanceCall) -> Call:
        def signed() -> str:
            timestamp_ms = self._clock.server_ns(self._now()) // _NS_PER_MS
            return signed_query(stamped(call, timestamp_ms, self._settings.recv_window_ms), self._keys.signer)

        return Call(
            call.method,
            call.path,
            signed if call.security is Security.SIGNED else query_of(call.params),
            {} if call.security is Security.NONE else self._headers,
            PATIENCE_S[call.priority],
            call.priority,
            call.costs,
            call.is_idempotent,
        )
