"""How a request over the WebSocket API finds its answer, or what its loss proves."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import trio
from attrs import define, field, frozen

from venues.binance.calls import ORDERS_1D, ORDERS_1M, ORDERS_10S, WEIGHT_1M, BinanceCall, Security, stamped, ws_params
from venues.binance.errors import CodecError
from venues.binance.market_answers import ws_reply
from venues.binance.settings import PRIVATE_IDLE_S, PRIVATE_PONG_S, AccountKeys
from venues.binance.sign import SignatureKind, signed_ws_params
from venues.binance.wire_rest import WireRateLimit
from venues.net.clock import ClockOffset
from venues.net.errors import NotSentError, NotSentReason
from venues.net.limits import RatePools
from venues.net.outcomes import Outcomes, RequestTally
from venues.net.websocket import Down, ReconnectingSocket, SocketSettings

ANSWER_S: Final = 5.0
"""How long an answer may take before its request's outcome is unknown; the venue itself gives up after 10 s."""

HANDSHAKE_WEIGHT: Final = 5
"""What opening a connection costs. Source: USDS-M WebSocket API general info."""

_SWEEP_S: Final = 0.1
_NS_PER_MS: Final = 1_000_000
_OK: Final = 200
_POOLS: Final = {
    ("REQUEST_WEIGHT", "MINUTE", 1): WEIGHT_1M,
    ("ORDERS", "SECOND", 10): ORDERS_10S,
    ("ORDERS", "MINUTE", 1): ORDERS_1M,
    ("ORDERS", "DAY", 1): ORDERS_1D,
}


@frozen
class Answered:
    """The venue answered; `body` is the JSON of the result, or of `{"code", "msg"}`."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Unsent:
    """The venue never saw the request: proven."""

    why: str
    is_for_rate: bool = False


@frozen
class Unproven:
    """The venue may have taken the request, or not."""

    why: str


Outcome = Answered | Unsent | Unproven
OnOutcome = Callable[[Outcome], None]


@define
class _Pending:
    connection: int
    due_s: float
    text: str
    on_outcome: OnOutcome
    sent_ns: int
    tally: RequestTally


@define
class SessionCounters:
    """`strange` counts frames that answer nothing that is waited for, answers that came too late included."""

    logons: int = 0
    strange: int = 0


_encode = msgspec.json.encode


class ApiSession:
    """One account's connection to the WebSocket API: logged on where the key is Ed25519, else each request is signed.

    Every request asked ends in exactly one call of its `on_outcome`, from `ask` itself or from the connection's task.
    A connection that has answered nothing at all since a request that is overdue is dropped: it may be half-open, and
    what is asked next must not be lost on it, too.
    """

    def __init__(
        self,
        account: str,
        url: str,
        keys: AccountKeys,
        *,
        clock: ClockOffset,
        limits: RatePools,
        recv_window_ms: int,
        now: Callable[[], int],
        on_refused: Callable[[bytes], None],
        lifetime_s: float,
    ) -> None:
        """`on_refused` hears the error body of a logon that the venue refused."""
        self.counters = SessionCounters()
        self.outcomes = Outcomes()
        self._keys = keys
        self._clock = clock
        self._limits = limits
        self._pools = {rule.name for rule in limits.rules}
        self._recv_window_ms = recv_window_ms
        self._now = now
        self._on_refused = on_refused
        self._url = url
        self._pending: dict[int, _Pending] = {}
        self._heard_ns: dict[int, int] = {}
        self._numbers = 0
        self._is_ed25519 = keys.signer.kind is SignatureKind.ED25519
        self.socket = ReconnectingSocket(
            f"{account} orders",
            self._url_of,
            self._on_frame,
            self._on_up,
            self._on_down,
            settings=SocketSettings(
                idle_s=PRIVATE_IDLE_S,
                pong_s=PRIVATE_PONG_S,
                sends_per_s=None,
                needs_ready=True,
                lifetime_s=lifetime_s,
                overlap_s=ANSWER_S + _SWEEP_S,
            ),
            now=now,
            limits=limits,
            connect_costs={WEIGHT_1M: HANDSHAKE_WEIGHT},
        )

    @property
    def is_ready(self) -> bool:
        return self.socket.is_up

    async def run(self) -> None:
        """Keep the connection until cancelled; what is pending then is unproven."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.socket.run)
                nursery.start_soon(self._sweep)
        finally:
            self._give_up([*self._pending], "the gateway stopped")

    def ask(self, call: BinanceCall, on_outcome: OnOutcome) -> None:
        """Send `call`, whose `ws_method` is known. Tokens were taken by the caller; never waits."""
        assert call.ws_method is not None
        is_signed = call.security is Security.SIGNED
        connection = self.socket.current
        if connection is None or (is_signed and not self._clock.is_known):
            self.outcomes.of(call.ws_method).not_sent += 1
            on_outcome(Unsent("the order connection is down" if connection is None else "the clock is not known"))
            return
        self._send(call.ws_method, self._params_of(call, is_signed), on_outcome, connection)

    def _params_of(self, call: BinanceCall, is_signed: bool) -> dict[str, Any]:
        if not is_signed:
            params = ws_params(call.params)
            return {**params, "apiKey": self._keys.api_key} if call.security is Security.KEY else params
        params = ws_params(stamped(call, self._timestamp_ms(), self._recv_window_ms))
        return params if self._is_ed25519 else signed_ws_params(params, self._keys.api_key, self._keys.signer)

    def _timestamp_ms(self) -> int:
        return self._clock.server_ns(self._now()) // _NS_PER_MS

    def _send(self, method: str, params: Mapping[str, Any], on_outcome: OnOutcome, connection: int) -> None:
        self._numbers += 1
        number = self._numbers
        text = _encode({"id": number, "method": method, "params": params}).decode()
        due_s = trio.current_time() + ANSWER_S
        tally = self.outcomes.of(method)
        self._pending[number] = _Pending(connection, due_s, text, on_outcome, self._now(), tally)
        try:
            self.socket.send(text, connection)
        except NotSentError as error:
            del self._pending[number]
            tally.not_sent += 1
            on_outcome(Unsent(str(error)))

    # The connection

    async def _url_of(self) -> str:
        if not self._clock.is_known:
            # A logon is signed with the venue's time.
            raise NotSentError(NotSentReason.ADDRESS, "the venue's clock is not known yet")
        return self._url

    def _on_up(self, connection: int) -> None:
        if not self._is_ed25519:
            self.socket.mark_ready(connection)
            return
        params = {"timestamp": self._timestamp_ms(), "recvWindow": self._recv_window_ms}
        signed = signed_ws_params(params, self._keys.api_key, self._keys.signer)
        self._send("session.logon", signed, lambda outcome: self._logged_on(connection, outcome), connection)

    def _logged_on(self, connection: int, outcome: Outcome) -> None:
        if isinstance(outcome, Answered) and outcome.status == _OK:
            self.counters.logons += 1
            self.socket.mark_ready(connection)
            return
        if isinstance(outcome, Answered):
            self._on_refused(outcome.body)
            self.socket.drop(connection, "the logon was refused")

    def _on_down(self, down: Down) -> None:
        self._heard_ns.pop(down.connection, None)
        unsent = set(down.unsent)
        lost = [number for number, one in self._pending.items() if one.connection == down.connection]
        for number in lost:
            if self._pending[number].text in unsent:
                pending = self._pending.pop(number)
                pending.tally.not_sent += 1
                pending.on_outcome(Unsent(f"the order connection is down: {down.detail}"))
        self._give_up(lost, f"the order connection was lost: {down.detail}")

    def _on_frame(self, data: bytes, received_ns: int, connection: int) -> None:
        self._heard_ns[connection] = received_ns
        try:
            reply = ws_reply(data)
        except CodecError:
            self.counters.strange += 1
            return
        pending = self._pending.pop(reply.id, None) if isinstance(reply.id, int) else None
        for limit in reply.rate_limits:
            self._note(limit, received_ns, pending.sent_ns if pending is not None else received_ns)
        if pending is None:
            self.counters.strange += 1
            return
        pending.tally.note(reply.status, pending.sent_ns, received_ns)
        body = bytes(reply.result) if reply.error is None else _encode(reply.error)
        pending.on_outcome(Answered(reply.status, body))

    def _note(self, limit: WireRateLimit, received_ns: int, sent_ns: int) -> None:
        pool = _POOLS.get((limit.kind, limit.interval, limit.interval_num))
        if pool in self._pools and limit.count is not None:
            self._limits.note_used(pool, limit.count, received_ns, sent_ns)

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(_SWEEP_S)
            now_s = trio.current_time()
            overdue = {number: one for number, one in self._pending.items() if one.due_s <= now_s}
            silent = {one.connection for one in overdue.values() if self._heard_ns.get(one.connection, 0) < one.sent_ns}
            self._give_up([*overdue], "no answer came")
            for connection in silent:
                self.socket.drop(connection, f"nothing came for {ANSWER_S:g} s")

    def _give_up(self, numbers: list[int], why: str) -> None:
        for number in numbers:
            pending = self._pending.pop(number, None)
            if pending is not None:
                pending.tally.unknown += 1
                pending.on_outcome(Unproven(why))
