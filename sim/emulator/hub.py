"""Decides which connection hears of what: market streams by name, user events by listen key."""

import heapq
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Final

import msgspec
import trio
from attrs import define, field

from sim.emulator.events import Event
from sim.emulator.faults import Link
from sim.emulator.host import Host
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.market_streams import MarketStreams, Said
from sim.emulator.streams import Address, Route, Stream, Subscriptions, parse_stream
from sim.emulator.user_events import Payload, UserEvents, listen_key_expired
from venues.port import Message

QUEUED_MAX: Final = 20_000
"""Frames that may wait for a client; one that reads more slowly is cut off."""

USER_STREAM: Final = "user"
_BEAT_S: Final = 0.02
_BEAT_NS: Final = 20_000_000
"""Also the time of the venue between two beats: where it runs fast, streams keep its beat and not the clock's."""

_NS_PER_MS: Final = 1_000_000
_encode: Final = msgspec.json.Encoder().encode


@define
class Outbox:
    """The frames on their way to one client, each with the monotonic ns before which it must not be sent."""

    has_overflown: trio.Event = field(factory=trio.Event)
    _frames: list[tuple[int, int, bytes]] = field(factory=list)
    _count: int = 0
    _wake: trio.Event = field(factory=trio.Event)

    def put(self, frame: bytes, delay_ns: int = 0) -> None:
        if len(self._frames) >= QUEUED_MAX:
            self.has_overflown.set()
            return
        self._count += 1
        heapq.heappush(self._frames, (monotonic_ns() + delay_ns, self._count, frame))
        self._wake.set()

    async def get(self) -> bytes:
        """Wait for the next frame that is due."""
        while True:
            if not self._frames:
                self._wake = trio.Event()
                await self._wake.wait()
                continue
            wait_ns = self._frames[0][0] - monotonic_ns()
            if wait_ns <= 0:
                return heapq.heappop(self._frames)[2]
            self._wake = trio.Event()
            with trio.move_on_after(wait_ns / 1e9):
                await self._wake.wait()


@define(eq=False)
class Listener:
    """One stream connection. `address` is what it opened with; `opened` are its market streams by name."""

    subscriptions: Subscriptions
    link: Link
    address: Address
    outbox: Outbox = field(factory=Outbox)
    opened: dict[str, Stream] = field(factory=dict)

    def say(self, name: str, body: bytes) -> None:
        self.outbox.put(_wrapped(name, body) if self.subscriptions.is_combined else body)

    def say_through_faults(self, name: str, kind: str, event: Payload) -> None:
        for delay_ns, told in self.link.on_event(kind, event):
            body = _encode(told)
            self.outbox.put(_wrapped(name, body) if self.subscriptions.is_combined else body, delay_ns)


@define(eq=False)
class Follower:
    """One connection of the WebSocket API with subscriptions to the user's events; `numbers` returns theirs."""

    link: Link
    outbox: Outbox
    numbers: Callable[[], Sequence[int]]

    def say(self, event: Payload) -> None:
        told = self.link.on_event(USER_STREAM, event) if self.link.faults.touches_streams else [(0, event)]
        for number in self.numbers():
            for delay_ns, one in told:
                self.outbox.put(_encode({"subscriptionId": number, "event": one}), delay_ns)


def _wrapped(name: str, body: bytes) -> bytes:
    return b'{"stream":%s,"data":%s}' % (_encode(name), body)


class Hub:
    """Everybody who listens, and what they are told; synchronous but for the clock that `run` gives the streams."""

    def __init__(self, host: Host, listen_keys: ListenKeys) -> None:
        self._host = host
        self._keys = listen_keys
        self._streams = MarketStreams(host.listings, host.tape, host.book)
        self._user_events = UserEvents(host.listings, is_spot=host.settings.venue == "spot")
        self._listeners: dict[Stream, dict[tuple[int, str], Listener]] = {}
        self._private: dict[int, Listener] = {}
        self._followers: list[Follower] = []
        self._now = self._beaten = 0
        listen_keys.on_expired.append(self._on_key_expired)

    async def run(self) -> None:
        """Listen to the host and keep the beat of the streams, until cancelled."""
        leave = self._host.subscribe(self._hear)
        try:
            while True:
                await trio.sleep(_BEAT_S)
                now = self._time(self._host.now())
                self._keys.expire(now // _NS_PER_MS)
                if not self._streams.is_idle:
                    self._beat(now)
        finally:
            leave()

    def _beat(self, now: int) -> None:
        self._beaten = now
        self._publish(self._streams.beat(now))

    def join(self, listener: Listener) -> None:
        if listener.address.route in {Route.PRIVATE, Route.SPOT}:
            self._private[id(listener)] = listener
        self.renew(listener)

    def leave(self, listener: Listener) -> None:
        self._private.pop(id(listener), None)
        for name in list(listener.opened):
            self._close(listener, name)

    def follow(self, follower: Follower) -> None:
        self._followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        self._followers.remove(follower)

    def renew(self, listener: Listener) -> None:
        """Follow the listener's subscriptions as they are now."""
        wanted = listener.subscriptions.names
        for name in [name for name in listener.opened if name not in wanted]:
            self._close(listener, name)
        for name in wanted:
            if name in listener.opened:
                continue
            stream = parse_stream(name)
            if stream is None or not stream.is_served_by(listener.address.route):
                continue
            listener.opened[name] = stream
            self._streams.open(stream)
            self._listeners.setdefault(stream, {})[id(listener), name] = listener

    def _close(self, listener: Listener, name: str) -> None:
        stream = listener.opened.pop(name)
        self._streams.close(stream)
        listeners = self._listeners[stream]
        del listeners[id(listener), name]
        if not listeners:
            del self._listeners[stream]

    def _time(self, now: int) -> int:
        """Streams' time never goes back, though messages may be told a little late."""
        self._now = max(self._now, now)
        return self._now

    def _hear(self, event: Event) -> None:
        if isinstance(event, Message):
            if not self._streams.is_idle:
                now = self._time(event.ts)
                if now - self._beaten >= _BEAT_NS:
                    self._beat(now)
                self._publish(self._streams.take(event, now))
            return
        for payload in self._user_events.print(event, self._host.now()):
            self._tell_account(payload)

    def _publish(self, said: Said) -> None:
        for stream, payload in said:
            body: bytes | None = None
            for (_, name), listener in self._listeners.get(stream, {}).items():
                if listener.link.faults.touches_streams and isinstance(payload, dict):
                    listener.say_through_faults(name, name, payload)
                    continue
                body = body or _encode(payload)
                listener.say(name, body)

    def _tell_account(self, payload: Payload) -> None:
        kind: str = payload["e"]
        for follower in self._followers:
            follower.say(payload)
        for listener in list(self._private.values()):
            for name in listener.subscriptions.names:
                events = listener.address.events.get(name)
                if not self._keys.is_open(name) or (events is not None and kind not in events):
                    continue
                self._tell(listener, name, payload)

    def _on_key_expired(self, key: str) -> None:
        payload = listen_key_expired(key, self._host.now())
        for listener in list(self._private.values()):
            if key in listener.subscriptions.names:
                self._tell(listener, key, payload)

    @staticmethod
    def _tell(listener: Listener, name: str, payload: Payload) -> None:
        if listener.link.faults.touches_streams:
            listener.say_through_faults(name, USER_STREAM, payload)
        else:
            listener.say(name, _encode(payload))
