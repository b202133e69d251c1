"""What becomes of an HTTP request to a venue: an answer, proof that it never left, or neither."""

import random
import ssl
import zlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import httpx
import trio
from attrs import Factory, define, field, frozen

from venues.net.errors import AnswerTooLargeError, NetError, NotSentError, NotSentReason, UnknownOutcomeError
from venues.net.limits import Priority, RatePools, Throttle
from venues.net.outcomes import Outcomes, RequestCounters

ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
_ATTEMPTS_MAX: Final = 3
_KEEPALIVE_S: Final = 30.0
_RETRY_FIRST_S: Final = 0.1
_QUIET_DEFAULT_NS: Final = 60_000_000_000
_GZIP: Final = 16 + zlib.MAX_WBITS
_DEADLINE: Final = "deadline"
_CONNECTING: Final = ("ConnectError", "ConnectTimeout", "UnsupportedProtocol")
_BEFORE_SENDING: Final = (*_CONNECTING, "PoolTimeout", _DEADLINE)
_BAN_DEFAULT_NS: Final = 120_000_000_000


@frozen
class Call:
    """One request. `query` may be a function, called at each sending: a signature must be fresh after a wait.

    `deadline_s` counts from the request on, the wait for the pools included. `costs` are tokens by pool name.
    A call that `is_idempotent` may be sent again when its outcome is unknown.
    """

    method: str
    path: str
    query: str | Callable[[], str] = field(default="", repr=False)
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    deadline_s: float = 5.0
    priority: Priority = Priority.QUERY
    costs: Mapping[str, int] = Factory(dict)
    is_idempotent: bool = False
    content: bytes = field(default=b"", repr=False)


@frozen
class Answer:
    """What the venue said, whatever the status. Header names are in small letters; times are of the client's clock.

    `sent_ns` is when the request was handed to the network, `received_ns` when the answer's headers were there: the
    venue made its answer between them.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    sent_ns: int
    received_ns: int


def throttle_of(answer: Answer) -> Throttle | None:
    """What 429 and 418 ask for: silence for Retry-After seconds, a minute or two minutes where that is missing.

    Source: Binance USDS-M futures, "General info": 429 when a limit is broken, 418 for an address that went on after
    it, banned for two minutes to three days.
    """
    if answer.status not in (418, 429):
        return None
    is_ban = answer.status == 418
    quiet_ns = _retry_after_ns(answer.headers.get("retry-after", "")) or (
        _BAN_DEFAULT_NS if is_ban else _QUIET_DEFAULT_NS
    )
    return Throttle(answer.received_ns + quiet_ns, None, is_ban)


def _retry_after_ns(told: str) -> int:
    return int(told) * 1_000_000_000 if told.isascii() and told.isdigit() and len(told) < 10 else 0


@define
class _Trace:
    """When one sending began and was answered, from what the connection tells. `sent_ns` 0: nothing has left."""

    clock: Callable[[], int]
    sent_ns: int = 0
    received_ns: int = 0

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        del info
        if event.endswith(".send_request_headers.started"):
            self.sent_ns = self.clock()
        elif event.endswith(".receive_response_headers.complete"):
            self.received_ns = self.clock()


class RestClient:
    """Asks one venue over HTTP/1.1 with connections kept open. Use as an async context manager.

    `limits` are asked before each sending and told what the answers say. `throttled` says what an answer's status
    means for them. Redirects are not followed and no proxy is taken from the environment: a signed request goes where
    it was meant to go.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        limits: RatePools,
        clock: Callable[[], int],
        timeout_s: float = 5.0,
        connections_max: int = 20,
        throttled: Callable[[Answer], Throttle | None] = throttle_of,
        rng: random.Random | None = None,
        tls: ssl.SSLContext | None = None,
        outcomes: Outcomes | None = None,
    ) -> None:
        """`timeout_s` bounds each step of a request (connect, write, read), `Call.deadline_s` the whole of it.

        Requests are counted in `outcomes`, by path: several clients may share it.
        """
        self._limits = limits
        self._clock = clock
        self._throttled = throttled
        self._rng = rng or random.Random()
        self._outcomes = Outcomes() if outcomes is None else outcomes
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"Accept-Encoding": "gzip", **headers},
            timeout=timeout_s,
            verify=True if tls is None else tls,
            follow_redirects=False,
            trust_env=False,
            http2=False,
            limits=httpx.Limits(
                max_connections=connections_max,
                max_keepalive_connections=connections_max,
                keepalive_expiry=_KEEPALIVE_S,
            ),
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    @property
    def limits(self) -> RatePools:
        return self._limits

    def counters(self) -> Mapping[str, RequestCounters]:
        """By path; what is beyond the first 256 paths is counted together."""
        return self._outcomes.counters()

    async def request(self, call: Call) -> Answer:
        """Ask and wait for the answer, whatever its status.

        Sent again, up to three times before the deadline, only when nothing was sent or the call is idempotent.
        Raises NotSentError when the venue never saw it, UnknownOutcomeError when it may have.
        """
        counts = self._outcomes.of(call.path)
        deadline = trio.current_time() + call.deadline_s
        failure: NetError = NotSentError(NotSentReason.DEADLINE, call.path)
        may_have_left = False
        for attempt in range(_ATTEMPTS_MAX):
            if attempt:
                counts.retries += 1
                await self._pause(attempt, deadline)
            try:
                answer = await self._attempt(call, deadline)
            except NotSentError as error:
                # A retry that could not leave does not undo the first sending.
                failure = failure if may_have_left else error
                if error.reason is not NotSentReason.CONNECT:
                    break
            except UnknownOutcomeError as error:
                failure, may_have_left = error, True
                if not call.is_idempotent:
                    break
            else:
                counts.note(answer.status, answer.sent_ns, answer.received_ns)
                return answer
            if trio.current_time() >= deadline:
                break
        if may_have_left:
            counts.unknown += 1
        else:
            counts.not_sent += 1
        raise failure

    async def _pause(self, attempt: int, deadline: float) -> None:
        pause_s = _RETRY_FIRST_S * 2 ** (attempt - 1) * (0.5 + self._rng.random() / 2)
        await trio.sleep_until(min(deadline, trio.current_time() + pause_s))

    async def _attempt(self, call: Call, deadline: float) -> Answer:
        await self._wait_for_tokens(call, deadline)
        trace = _Trace(self._clock)
        answer, why = None, _DEADLINE
        with trio.move_on_at(deadline):
            answer, why = await self._exchange(call, trace)
        if answer is not None:
            self._learn(answer)
            return answer
        # Raised out of reach of the cause: it carries the request with its key and signature.
        if not trace.sent_ns and why in _BEFORE_SENDING:
            reason = NotSentReason.CONNECT if why in _CONNECTING else NotSentReason.DEADLINE
            raise NotSentError(reason, f"{call.method} {call.path}: {why}")
        if why == AnswerTooLargeError.__name__:
            raise AnswerTooLargeError(f"{call.method} {call.path}: over {ANSWER_BYTES_MAX} bytes")
        raise UnknownOutcomeError(f"{call.method} {call.path}: {why}")

    async def _wait_for_tokens(self, call: Call, deadline: float) -> None:
        while True:
            now_ns = self._clock()
            retry_ns = self._limits.take(call.priority, call.costs, now_ns)
            if retry_ns is None:
                return
            left_s = deadline - trio.current_time()
            wait_s = self._limits.wait_s(now_ns, retry_ns)
            if wait_s > left_s:
                raise NotSentError(NotSentReason.RATE_LIMIT, f"{call.method} {call.path}", retry_ns)
            await trio.sleep(wait_s)

    async def _exchange(self, call: Call, trace: _Trace) -> tuple[Answer | None, str]:
        query = call.query if isinstance(call.query, str) else call.query()
        request = self._client.build_request(
            call.method,
            httpx.URL(call.path, query=query.encode("ascii")) if query else call.path,
            headers=call.headers,
            content=call.content or None,
            extensions={"trace": trace, "timeout": self._client.timeout.as_dict()},
        )
        try:
            response = await self._client.send(request, stream=True)
            try:
                raw = await _read(response)
            finally:
                await response.aclose()
            body = None if raw is None else _decoded(raw, response.headers.get("content-encoding", ""))
        except (httpx.HTTPError, zlib.error, ValueError) as error:
            return None, type(error).__name__
        if body is None:
            return None, AnswerTooLargeError.__name__
        headers = {name.lower(): value for name, value in response.headers.items()}
        received_ns = trace.received_ns or self._clock()
        return Answer(response.status_code, headers, body, trace.sent_ns or received_ns, received_ns), ""

    def _learn(self, answer: Answer) -> None:
        self._limits.note_headers(answer.headers, answer.received_ns, answer.sent_ns)
        self._limits.obey(self._throttled(answer))


async def _read(response: httpx.Response) -> bytes | None:
    """The body as it was sent, or None when there is more than ANSWER_BYTES_MAX of it."""
    body = bytearray()
    # Cancelled, not left: that ends the generators this one is fed by, too.
    with trio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                scope.cancel()
    return None if len(body) > ANSWER_BYTES_MAX else bytes(body)


def _decoded(body: bytes, encoding: str) -> bytes | None:
    """The body as it was meant, or None when that is too large. Raises zlib.error, ValueError for another encoding.

    Not httpx's decoding: an error in it leaves its generators behind, to be collected some time.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise ValueError(encoding)
    unpacking = zlib.decompressobj(_GZIP)
    plain = unpacking.decompress(body, ANSWER_BYTES_MAX + 1)
    if len(plain) > ANSWER_BYTES_MAX:
        return None
    if not unpacking.eof:
        raise zlib.error("incomplete")
    return plain
