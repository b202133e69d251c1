"""How a spot account's events arrive: a connection of the WebSocket API that is subscribed to them by a signed request.

Spot has no listen keys any more; its events come as {"subscriptionId", "event"} on the connection that asked for them.
Source: "User Data Stream requests" of the spot WebSocket API; facts D4.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from attrs import define

from venues.binance.calls import WEIGHT_1M
from venues.binance.errors import CodecError
from venues.binance.market_answers import ws_reply
from venues.binance.once import FirstTold
from venues.binance.reading import read
from venues.binance.settings import PRIVATE_IDLE_S, PRIVATE_PONG_S, AccountKeys
from venues.binance.sign import signed_ws_params
from venues.binance.wire_user import UserFrame
from venues.net.clock import ClockOffset
from venues.net.errors import NotSentError, NotSentReason
from venues.net.limits import RatePools
from venues.net.websocket import Down, ReconnectingSocket, SocketSettings

SUBSCRIBE: Final = "userDataStream.subscribe.signature"
CONNECT_WEIGHT: Final = 4
"""What opening a connection and subscribing on it costs: two each. Source: spot WebSocket API, "General info"."""

_OK: Final = 200
_NS_PER_MS: Final = 1_000_000

_encode = msgspec.json.encode
_frame = msgspec.json.Decoder(UserFrame).decode


@define
class SubscribedFeedCounters:
    """`repeats` are events that both connections of a rotation brought, `strange` frames that are none."""

    events: int = 0
    repeats: int = 0
    downs: int = 0
    subscriptions: int = 0
    refused: int = 0
    expired: int = 0
    strange: int = 0


class SubscribedFeed:
    """One account's events. Silence is normal: who reconnects must ask what was missed.

    `on_event` gets each event once, without its wrapper; `on_state` hears whether the stream is up and why not;
    `on_refused` gets the error body of a subscription that the venue refused, which is tried again. A connection is
    replaced after `lifetime_s`; two of them deliver for `overlap_s`.
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
        on_event: Callable[[bytes], None],
        on_state: Callable[[bool, str], None],
        on_refused: Callable[[bytes], None],
        lifetime_s: float,
        overlap_s: float,
    ) -> None:
        self.counters = SubscribedFeedCounters()
        self._url = url
        self._keys = keys
        self._clock = clock
        self._recv_window_ms = recv_window_ms
        self._now = now
        self._on_event = on_event
        self._on_state = on_state
        self._on_refused = on_refused
        self._first = FirstTold()
        self._subscribed: set[int] = set()
        self.socket = ReconnectingSocket(
            f"{account} events",
            self._url_of,
            self._on_frame,
            self._on_up,
            self._on_down,
            settings=SocketSettings(
                idle_s=PRIVATE_IDLE_S,
                pong_s=PRIVATE_PONG_S,
                needs_ready=True,
                lifetime_s=lifetime_s,
                overlap_s=overlap_s,
            ),
            now=now,
            limits=limits,
            connect_costs={WEIGHT_1M: CONNECT_WEIGHT},
        )

    async def run(self) -> None:
        """Keep the subscription until cancelled."""
        await self.socket.run()

    def expire(self, why: str) -> None:
        """The subscription is over, or an event was not understood: whatever happens now is not told here."""
        self.counters.expired += 1
        for connection in tuple(self._subscribed):
            self.socket.drop(connection, why)

    async def _url_of(self) -> str:
        if not self._clock.is_known:
            raise NotSentError(NotSentReason.ADDRESS, "the venue's clock is not known yet")
        return self._url

    def _on_up(self, connection: int) -> None:
        timestamp_ms = self._clock.server_ns(self._now()) // _NS_PER_MS
        params = {"timestamp": timestamp_ms, "recvWindow": self._recv_window_ms}
        signed = signed_ws_params(params, self._keys.api_key, self._keys.signer)
        request = {"id": connection, "method": SUBSCRIBE, "params": signed}
        self.socket.send(_encode(request).decode(), connection)

    def _on_frame(self, data: bytes, received_ns: int, connection: int) -> None:
        del received_ns
        try:
            frame = read(_frame, data, "user event")
            if not frame.wrapped:
                self._on_reply(data, connection)
                return
        except CodecError:
            # Something that was sent on this connection cannot be read: it may have been an event.
            self.counters.strange += 1
            self.socket.drop(connection, "a frame cannot be read")
            return
        event = bytes(frame.wrapped)
        if not self._first.is_first(event, connection):
            self.counters.repeats += 1
            return
        self.counters.events += 1
        self._on_event(event)

    def _on_reply(self, data: bytes, connection: int) -> None:
        reply = ws_reply(data)
        if reply.id != connection:
            self.counters.strange += 1
            return
        if reply.status != _OK:
            self.counters.refused += 1
            self._on_refused(_encode(reply.error))
            self.socket.drop(connection, "the subscription was refused")
            return
        self.counters.subscriptions += 1
        self.socket.mark_ready(connection)
        was_up = bool(self._subscribed)
        self._subscribed.add(connection)
        if not was_up:
            self._on_state(True, "")

    def _on_down(self, down: Down) -> None:
        if down.connection not in self._subscribed:
            return
        self._subscribed.remove(down.connection)
        if not self._subscribed:
            self.counters.downs += 1
            self._on_state(False, f"{down.reason}: {down.detail}")
