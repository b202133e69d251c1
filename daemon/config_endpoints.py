"""Where a venue that is out there answers, and which addresses are safe to send keys to."""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen

from actors.config_checks import positive

_WINDOW_NS_MAX = 60_000_000_000
GATEWAYS = {"binance_usdm": "usdm", "binance_spot": "spot"}
"""Rules of a venue to the market that its gateway trades."""


def _check(value: str, safe: str, open_: str) -> None:
    """Raises ValueError unless `value` is a URL of the scheme `safe`, or, on this machine, `open_`."""
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise ValueError(f"{_without_user(value)!r} is no address: {error}") from None
    if url.scheme not in (safe, open_) or not host:
        raise ValueError(f"{_without_user(value)!r} is no address: write {safe}://host")
    if url.username is not None or url.password is not None:
        raise ValueError("an address holds no user and no password")
    if url.query or url.fragment:
        raise ValueError(f"{value!r} ends with a query: write the base of all paths")
    if url.scheme != safe and not is_loopback(host):
        raise ValueError(f"{value!r} is not encrypted: {safe}:// everywhere but on this machine")


def _is_http(_: object, attribute: "Attribute[str]", value: str) -> None:
    _check(value, "https", "http")


def _is_websocket(_: object, attribute: "Attribute[Any]", value: str | None) -> None:
    if value is not None:
        _check(value, "wss", "ws")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name alone; nothing is looked up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _without_user(value: str) -> str:
    head, at, tail = value.partition("@")
    return tail if at else head


def rest_mistake(value: str) -> str:
    """Return why `value` is no address to send requests to, an empty string when it is one."""
    try:
        _check(value, "https", "http")
    except ValueError as error:
        return str(error)
    return ""


def _is_window(_: object, attribute: "Attribute[int]", value: int) -> None:
    if not 0 < value <= _WINDOW_NS_MAX or value % 1_000_000:
        raise ValueError("must be a whole number of milliseconds above 0 and at most 60s")


@frozen
class Endpoints:
    """The bases of a venue's interfaces: `rest`, streams (`ws_public`, `ws_market`, `ws_private`), orders (`ws_api`).

    Where a venue has one address for all its streams, `ws_market` and `ws_private` are left out. A request older than
    `recv_window_ns` is refused by the venue. The time of an emulator on this machine may run `speed` times as fast as
    the wall clock, which it agreed with at `start_ns`.
    """

    rest: str = field(validator=_is_http)
    ws_public: str = field(validator=_is_websocket)
    ws_api: str = field(validator=_is_websocket)
    ws_market: str | None = field(default=None, validator=_is_websocket)
    ws_private: str | None = field(default=None, validator=_is_websocket)
    recv_window_ns: int = field(default=5_000_000_000, validator=_is_window)
    speed: int = field(default=1, validator=positive)
    start_ns: int = 0

    def __attrs_post_init__(self) -> None:
        if self.speed != 1 and not is_loopback(urlsplit(self.rest).hostname or ""):
            raise ValueError("speed: nowhere but on this machine does time run faster")

    def time_ns(self, wall_ns: int) -> int:
        """Return what time it is there by the wall clock's, both ns UTC."""
        return self.start_ns + (wall_ns - self.start_ns) * self.speed


def endpoint_mistakes(venues: "list[tuple[str, str, Endpoints | None]]") -> Iterator[tuple[str, str]]:
    """Yield (path, why): `venues` are path, rules and endpoints of each venue that could be read.

    Either all venues of a run are out there or none: a desk has one clock.
    """
    outside = [path for path, _, endpoints in venues if endpoints is not None]
    paces = {(one.speed, one.start_ns) for _, _, one in venues if one is not None}
    for path, rules, endpoints in venues:
        if len(paces) > 1 and endpoints is not None:
            yield f"{path}.endpoints", "speed and start: a desk has one clock, so they are the same for all venues"
        if endpoints is None and outside:
            yield f"{path}.endpoints", f"missing: {outside[0]} has endpoints, and all venues have them or none"
        if endpoints is not None and rules not in GATEWAYS:
            yield f"{path}.endpoints", f"there is no gateway for {rules}: {', '.join(GATEWAYS)}"
