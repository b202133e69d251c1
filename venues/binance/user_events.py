"""Which reader an event of a user stream goes to, whatever the market, and what is counted of events without news."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from venues.binance.market_answers import Body, SymbolNames
from venues.binance.reading import read
from venues.binance.wire_user import UserFrame
from venues.port import Report

KIND_CHARS_MAX: Final = 48
_KINDS_MAX: Final = 256
_REMEMBERED: Final = 8_192

_frame = msgspec.json.Decoder(UserFrame).decode


class UserEvent(NamedTuple):
    """What one frame held. `kind` is the venue's event type, empty for a reply to a request.

    `listen_key` comes with `listenKeyExpired`: nothing more will be told on a connection made with it. `leverage` is
    (instrument, leverage), told when it was changed.
    """

    kind: str
    reports: tuple[Report, ...] = ()
    listen_key: str = ""
    leverage: tuple[str, int] | None = None


class Recently:
    """Remembers the last few thousand keys, and says which were seen before."""

    __slots__ = ("_keys", "repeats")

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, int, int], None] = OrderedDict()
        self.repeats = 0

    def is_new(self, key: tuple[str, int, int]) -> bool:
        if key in self._keys:
            self.repeats += 1
            return False
        self._keys[key] = None
        if len(self._keys) > _REMEMBERED:
            self._keys.popitem(last=False)
        return True


class UserStream:
    """Decodes one account's events, each kind by its reader. A fill is reported once, however often it is told.

    Most frames are of the kind that `readers` begin with: it is told apart without reading them twice. `ignored` counts
    events that are valid and no news for the desk, by kind, of which at most 256 are told apart.
    """

    def __init__(self, venue: str, account: str, readers: Mapping[str, Callable[[Body], UserEvent]]) -> None:
        self.account = account
        self.ignored: dict[str, int] = {}
        self._names = SymbolNames(venue)
        self._fills = Recently()
        self._readers = readers
        self._first = next(iter(readers))
        self._first_begins = f'{{"e":"{self._first}",'.encode()

    @property
    def repeats(self) -> int:
        """How many fills were told again."""
        return self._fills.repeats

    def decode(self, raw: bytes) -> UserEvent:
        """Return what a frame says. Raises CodecError, and nothing else whatever the bytes are."""
        kind = self._first
        if not raw.startswith(self._first_begins):
            frame = read(_frame, raw, "user event")
            inner = next((body for body in (frame.wrapped, frame.data) if bytes(body)[:1] == b"{"), None)
            if not frame.event and inner is not None:
                raw = bytes(inner)
                frame = read(_frame, raw, "user event")
            kind = frame.event
        on_event = self._readers.get(kind)
        event = UserEvent(kind) if on_event is None else on_event(raw)
        if not event.reports:
            self._ignore(kind)
        return event

    def _ignore(self, kind: str) -> None:
        kind = kind[:KIND_CHARS_MAX] or "reply"
        if kind not in self.ignored and len(self.ignored) >= _KINDS_MAX:
            kind = "other"
        self.ignored[kind] = self.ignored.get(kind, 0) + 1
