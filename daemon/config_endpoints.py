"""Where a venue that is out there answers, and which addresses are safe to send keys to."""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen

_WINDOW_NS_MAX = 60_000_000_000
GATEWAYS = {"binance_usdm": "usdm", "binance_spot": "spot"}
"""Rules of a venue to the market that its gateway trades."""


def _is_address(*schemes: str) -> object:
    """Return a validator: a URL of one of the schemes, the first of them encrypted unless the host is this machine."""

    def check(_: object, attribute: "Attribute[str | None]", value: str | None) -> None:
        if value is None:
            return
        try:
            url = urlsplit(value)
            host, _port = url.hostname, url.port
        except ValueError as error:
            raise ValueError(f"{value!r} is no address: {error}") from None
        if url.scheme not in schemes or not host:
            raise ValueError(f"{_without_user(value)!r} is no address: write {schemes[0]}://host")
        if url.username is not None or url.password is not None:
            raise ValueError("an address holds no user and no password")
        if url.query or url.fragment:
            raise ValueError(f"{value!r} ends with a query: write the base of all paths")
        if url.scheme != schemes[0] and not is_loopback(host):
            raise ValueError(f"{value!r} is not encrypted: {schemes[0]}:// everywhere but on this machine")

    return check


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


_is_http = _is_address("https", "http")
_is_websocket = _is_address("wss", "ws")


def _is_window(_: object, attribute: "Attribute[int]", value: int) -> None:
    if not 0 < value <= _WINDOW_NS_MAX or value % 1_000_000:
        raise ValueError("must be a whole number of milliseconds above 0 and at most 60s")


@frozen
class Endpoints:
    """The bases of a venue's interfaces: `rest`, streams (`ws_public`, `ws_market`, `ws_private`), orders (`ws_api`).

    Where a venue has one address for all its streams, `ws_market` and `ws_private` are left out. A request older than
    `recv_window_ns` is refused by the venue.
    """

    rest: str = field(validator=_is_http)
    ws_public: str = field(validator=_is_websocket)
    ws_api: str = field(validator=_is_websocket)
    ws_market: str | None = field(default=None, validator=_is_websocket)
    ws_private: str | None = field(default=None, validator=_is_websocket)
    recv_window_ns: int = field(default=5_000_000_000, validator=_is_window)


def endpoint_mistakes(venues: "list[tuple[str, str, Endpoints | None]]") -> Iterator[tuple[str, str]]:
    """Yield (path, why): `venues` are path, rules and endpoints of each venue that could be read.

    Either all venues of a run are out there or none: a desk has one clock.
    """
    outside = [path for path, _, endpoints in venues if endpoints is not None]
    for path, rules, endpoints in venues:
        if endpoints is None and outside:
            yield f"{path}.endpoints", f"missing: {outside[0]} has endpoints, and all venues have them or none"
        if endpoints is not None and rules not in GATEWAYS:
            yield f"{path}.endpoints", f"there is no gateway for {rules}: {', '.join(GATEWAYS)}"
