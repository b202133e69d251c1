"""Decides which listen keys open a user stream, and until when.

Source: "User Data Streams" of developers.binance.com: a key lives 60 minutes from its start or last extension; starting
again returns the same key and extends it.
"""

import random
import string
from collections.abc import Callable
from typing import Final

from attrs import define, field

LIFETIME_MS: Final = 3_600_000
_KEY_CHARS: Final = 64
_ALPHABET: Final = string.ascii_letters + string.digits


@define
class _Key:
    api_key: str
    until_ms: int


@define
class ListenKeys:
    """The listen keys of a venue, one per API key at most. All times are the venue's in ms.

    `on_expired` hears of each key whose time was over; of one that was closed nobody hears.
    """

    seed: int = 0
    on_expired: list[Callable[[str], None]] = field(factory=list)
    _keys: dict[str, _Key] = field(factory=dict)
    _made: int = 0

    def create(self, api_key: str, now_ms: int) -> str:
        """Return the key of `api_key`, made when there is none, valid for 60 minutes from now."""
        key = self.of(api_key, now_ms) or self._make()
        self._keys[key] = _Key(api_key, now_ms + LIFETIME_MS)
        return key

    def extend(self, listen_key: str, now_ms: int) -> bool:
        """Let the key live 60 minutes from now; False when there is no such key."""
        self.expire(now_ms)
        found = self._keys.get(listen_key)
        if found is not None:
            found.until_ms = now_ms + LIFETIME_MS
        return found is not None

    def close(self, listen_key: str) -> bool:
        """End the key; False when there is no such key."""
        return self._keys.pop(listen_key, None) is not None

    def of(self, api_key: str, now_ms: int) -> str | None:
        """Return the key that `api_key` has now."""
        self.expire(now_ms)
        return next((key for key, found in self._keys.items() if found.api_key == api_key), None)

    def is_open(self, listen_key: str) -> bool:
        return listen_key in self._keys

    def expire(self, now_ms: int) -> None:
        """End every key whose time is over."""
        if all(found.until_ms > now_ms for found in self._keys.values()):
            return
        self._end([key for key, found in self._keys.items() if found.until_ms <= now_ms])

    def expire_all(self) -> None:
        """End every key before its time: a fault on command."""
        self._end(list(self._keys))

    def _end(self, keys: list[str]) -> None:
        for key in keys:
            del self._keys[key]
            for hear in self.on_expired:
                hear(key)

    def _make(self) -> str:
        self._made += 1
        rng = random.Random(f"{self.seed}/listen_keys/{self._made}")
        return "".join(rng.choice(_ALPHABET) for _ in range(_KEY_CHARS))
