"""Decides who has asked too much of the venue: request weight per address, orders per account, and who is banned."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from attrs import define, field, frozen

from sim.emulator.routes import RateLimit

_SECONDS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3_600, "DAY": 86_400}
_LETTERS: Final = {"SECOND": "s", "MINUTE": "m", "HOUR": "h", "DAY": "d"}
# Requests that a client may still send in a window it was refused in, before its address is banned, and how long for:
# from two minutes to three days, longer each time. Binance, derivatives general info, "IP Limits"; it does not tell
# how many requests nor how it lengthens: both are ours.
PATIENCE: Final = 10
BAN_S: Final = (120, 600, 3_600, 86_400, 259_200)
_MS: Final = 1_000


@frozen
class Refused:
    """Too much: `retry_after_s` until it is allowed again. `limit` is the one exceeded, None when banned."""

    retry_after_s: int
    limit: RateLimit | None = None
    until_ms: int = 0


@define
class _Window:
    """What was used in the interval that is running; intervals begin at multiples of their length."""

    number: int = -1
    used: int = 0


@define
class _Address:
    """What one address has done. `refusals` are those of the window in `refused_in`."""

    weights: dict[RateLimit, _Window] = field(factory=dict)
    refused_in: int = -1
    refusals: int = 0
    bans: int = 0
    banned_until_ms: int = 0


class RatePools:
    """Counts against the venue's limits. Times are milliseconds of the venue's clock."""

    def __init__(self, limits: Sequence[RateLimit]) -> None:
        self._weights = [one for one in limits if one.kind == "REQUEST_WEIGHT"]
        self._orders = {one: _Window() for one in limits if one.kind == "ORDERS"}
        self._addresses: dict[str, _Address] = {}

    def banned(self, ip: str, now_ms: int) -> Refused | None:
        """Return the ban that the address is under."""
        address = self._addresses.get(ip)
        if address is None or address.banned_until_ms <= now_ms:
            return None
        until_ms = address.banned_until_ms
        return Refused(_ceil_s(until_ms - now_ms), until_ms=until_ms)

    def ban(self, ip: str, until_ms: int) -> None:
        address = self._address(ip)
        address.banned_until_ms = max(address.banned_until_ms, until_ms)

    def take_weight(self, ip: str, weight: int, now_ms: int) -> Refused | None:
        """Count a request's weight, also when it is too much. Who goes on regardless is banned."""
        address = self._address(ip)
        refused: Refused | None = None
        for limit in self._weights:
            window = address.weights.setdefault(limit, _Window())
            left_s = _roll(window, limit, now_ms)
            window.used += weight
            if window.used > limit.limit and refused is None:
                refused = Refused(left_s, limit)
                if address.refused_in != window.number:
                    address.refused_in, address.refusals = window.number, 0
                address.refusals += 1
        if refused is not None and address.refusals > PATIENCE:
            seconds = BAN_S[min(address.bans, len(BAN_S) - 1)]
            address.bans += 1
            address.refusals = 0
            self.ban(ip, now_ms + seconds * _MS)
            return self.banned(ip, now_ms)
        return refused

    def take_orders(self, orders: tuple[int, int], now_ms: int) -> Refused | None:
        """Count orders: (of the shortest interval, of the longer ones). What is too much is not counted."""
        for limit, window in self._orders.items():
            left_s = _roll(window, limit, now_ms)
            if window.used + self._cost(limit, orders) > limit.limit:
                return Refused(left_s, limit)
        for limit, window in self._orders.items():
            window.used += self._cost(limit, orders)
        return None

    def headers(self, ip: str, now_ms: int, *, with_orders: bool) -> list[tuple[str, str]]:
        """Return what an answer tells of the use: X-MBX-USED-WEIGHT-1M, X-MBX-ORDER-COUNT-10S and so on."""
        found = [
            (f"X-MBX-USED-WEIGHT-{_suffix(limit)}", str(self._used_weight(ip, limit, now_ms)))
            for limit in self._weights
        ]
        if with_orders:
            found += [(f"X-MBX-ORDER-COUNT-{_suffix(limit)}", str(used)) for limit, used in self._used_orders(now_ms)]
        return found

    def order_counts(self, now_ms: int) -> list[tuple[str, int, int, int]]:
        """Return (interval words, interval number, limit, used) of every order count."""
        return [(one.interval, one.number, one.limit, used) for one, used in self._used_orders(now_ms)]

    def rows(self, ip: str, now_ms: int, *, with_orders: bool) -> list[dict[str, Any]]:
        """Return the rateLimits of an answer of the WebSocket API."""
        found = [{**one.row(), "count": self._used_weight(ip, one, now_ms)} for one in self._weights]
        if with_orders:
            found += [{**one.row(), "count": used} for one, used in self._used_orders(now_ms)]
        return found

    def _address(self, ip: str) -> _Address:
        return self._addresses.setdefault(ip, _Address())

    def _used_weight(self, ip: str, limit: RateLimit, now_ms: int) -> int:
        window = self._address(ip).weights.setdefault(limit, _Window())
        _roll(window, limit, now_ms)
        return window.used

    def _used_orders(self, now_ms: int) -> Iterable[tuple[RateLimit, int]]:
        for limit, window in self._orders.items():
            _roll(window, limit, now_ms)
            yield limit, window.used

    def _cost(self, limit: RateLimit, orders: tuple[int, int]) -> int:
        return orders[0] if limit.interval == "SECOND" else orders[1]


def _roll(window: _Window, limit: RateLimit, now_ms: int) -> int:
    """Begin a new interval if it is time; return the seconds left of the running one."""
    length_ms = _SECONDS[limit.interval] * limit.number * _MS
    number = now_ms // length_ms
    if window.number != number:
        window.number, window.used = number, 0
    return _ceil_s((number + 1) * length_ms - now_ms)


def _ceil_s(ms: int) -> int:
    return -(-ms // _MS)


def _suffix(limit: RateLimit) -> str:
    return f"{limit.number}{_LETTERS[limit.interval].upper()}"
