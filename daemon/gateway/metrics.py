"""What a gateway process tells Prometheus of the venues it reaches, and of who makes use of it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

from attrs import frozen
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from actors.counting import Histogram
from daemon.gateway.server import GatewayCounters
from daemon.metrics.family import Family, Series, counter, gauge, histogram, known, whole
from venues.net.limits import PoolState
from venues.net.link import DownReason
from venues.net.outcomes import LATENCY_BOUNDS_NS
from venues.net.vitals import Vitals
from venues.net.websocket import SocketCounters

_S: Final = 1_000_000_000
_SOCKET: Final = "venue account channel"
_POOL: Final = "venue account pool"


class Watched(Protocol):
    """A gateway process's server, as far as metrics look into it."""

    counters: GatewayCounters
    down: dict[str, str]

    def now(self) -> int: ...
    def vitals(self) -> Mapping[str, Vitals]: ...


@frozen
class GatewayScrape:
    """What the families read: the process's own counters, which venues are down, and how each is reached, at `now`."""

    now: int
    counters: GatewayCounters
    down: Mapping[str, str]
    venues: Mapping[str, Vitals]
    scrapes_failed: int


def _up(scrape: GatewayScrape) -> Series:
    for venue in scrape.venues:
        yield (venue,), int(venue not in scrape.down)


def _of_venues(read: Callable[[Vitals, int], float | None]) -> Callable[[GatewayScrape], Series]:
    def series(scrape: GatewayScrape) -> Series:
        for venue, vitals in scrape.venues.items():
            yield from known(read(vitals, scrape.now), venue)

    return series


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / _S


def _of_sockets(read: Callable[[SocketCounters], int]) -> Callable[[GatewayScrape], Series]:
    def series(scrape: GatewayScrape) -> Series:
        for venue, vitals in scrape.venues.items():
            for (account, channel), socket in vitals.sockets.items():
                yield (venue, account, channel), read(socket)

    return series


def _ended(scrape: GatewayScrape) -> Series:
    """Yield from zero: a rise from nothing is seen by nobody."""
    for venue, vitals in scrape.venues.items():
        for (account, channel), socket in vitals.sockets.items():
            for reason in DownReason:
                yield (venue, account, channel, reason), socket.downs.get(reason, 0)


def _events(scrape: GatewayScrape) -> Series:
    for venue, vitals in scrape.venues.items():
        for (account, event), number in vitals.events.items():
            yield (venue, account, event), number


def _refusals(scrape: GatewayScrape) -> Series:
    for venue, vitals in scrape.venues.items():
        for reaction, number in vitals.refusals.items():
            yield (venue, reaction), number


def _requests(scrape: GatewayScrape) -> Series:
    for venue, vitals in scrape.venues.items():
        for asked, one in vitals.requests.items():
            for status, number in one.statuses.items():
                yield (venue, *asked, str(status)), number
            yield (venue, *asked, "not_sent"), one.not_sent
            yield (venue, *asked, "unknown"), one.unknown


def _latencies(scrape: GatewayScrape) -> Series:
    """Yield by account and way: buckets of each path would be a hundred series for every account."""
    for venue, vitals in scrape.venues.items():
        sums: dict[tuple[str, str], Histogram] = {}
        for (account, way, _), one in vitals.requests.items():
            found = sums.setdefault((account, way), Histogram([0] * len(one.buckets)))
            found.counts = [before + more for before, more in zip(found.counts, one.buckets, strict=True)]
            found.total += one.latency_sum_ns
        for key, times in sums.items():
            yield (venue, *key), times


def _of_pools(read: Callable[[PoolState], float]) -> Callable[[GatewayScrape], Series]:
    def series(scrape: GatewayScrape) -> Series:
        for venue, vitals in scrape.venues.items():
            for account, pools in vitals.pools.items():
                for pool in pools:
                    yield (venue, account, pool.name), read(pool)

    return series


FAMILIES: Final[tuple[Family[GatewayScrape], ...]] = (
    gauge("gateway_clients", "", "Desks and guards connected to the gateway.", lambda one: known(one.counters.clients)),
    counter("gateway_commands_total", "", "Commands taken.", lambda one: known(one.counters.commands)),
    counter(
        "gateway_commands_refused_total",
        "",
        "Commands that could not even be tried.",
        lambda one: known(one.counters.refused),
    ),
    counter(
        "gateway_messages_total",
        "lane",
        "What venues said: reports on orders and accounts, market data.",
        lambda one: [(("reports",), one.counters.reports), (("market",), one.counters.market)],
    ),
    gauge("gateway_venue_up", "venue", "1 while the venue can be traded at, 0 otherwise.", _up),
    gauge(
        "gateway_socket_up",
        _SOCKET,
        "1 while a connection of the channel works, 0 otherwise.",
        _of_sockets(lambda socket: int(socket.is_up)),
    ),
    counter("gateway_socket_opens_total", _SOCKET, "Connections made.", _of_sockets(lambda socket: socket.opened)),
    counter(
        "gateway_socket_open_failures_total",
        _SOCKET,
        "Connections that could not be made.",
        _of_sockets(lambda socket: socket.open_failures),
    ),
    counter("gateway_socket_ends_total", f"{_SOCKET} reason", "Connections that ended.", _ended),
    counter(
        "gateway_socket_messages_total",
        _SOCKET,
        "Messages that came, repeats included.",
        _of_sockets(lambda socket: socket.messages),
    ),
    counter(
        "gateway_socket_received_bytes_total",
        _SOCKET,
        "Size of the messages that came.",
        _of_sockets(lambda socket: socket.message_bytes),
    ),
    counter("gateway_events_total", "venue account event", "What happened on the way to a venue, by name.", _events),
    counter(
        "gateway_requests_total",
        "venue account way request outcome",
        "Requests by how they went (rest, session), what they asked for, and their status; or not sent; or unknown.",
        _requests,
    ),
    histogram(
        "gateway_request_latency_seconds",
        "venue account way",
        "Time from a request's leaving to its answer.",
        _latencies,
        LATENCY_BOUNDS_NS,
        _S,
    ),
    counter("gateway_refusals_total", "venue reaction", "Refusals by what was done about them.", _refusals),
    gauge(
        "rate_limit_tokens",
        _POOL,
        "What new orders may still take of a venue's rate limit, in its own units.",
        _of_pools(lambda pool: pool.left),
    ),
    gauge(
        "rate_limit_used_ratio",
        _POOL,
        "Used part of a venue's rate limit.",
        _of_pools(lambda pool: pool.used / pool.limit),
    ),
    gauge(
        "gateway_banned_seconds",
        "venue",
        "Time for which nothing may be sent to the venue any more.",
        _of_venues(lambda vitals, now: max(0, vitals.banned_until_ns - now) / _S),
    ),
    gauge(
        "gateway_clock_offset_seconds",
        "venue",
        "The venue's clock less ours, by the shortest round trips.",
        _of_venues(lambda vitals, _: _seconds(vitals.clock_offset_ns)),
    ),
    gauge(
        "gateway_clock_error_seconds",
        "venue",
        "How wrong that may be.",
        _of_venues(lambda vitals, _: _seconds(vitals.clock_error_ns)),
    ),
    counter("gateway_scrapes_failed_total", "", "Scrapes that failed.", lambda one: known(one.scrapes_failed)),
)


class GatewayCollector(Collector):
    """Reads a gateway's server when somebody scrapes. Nothing is kept from one scrape to the next."""

    def __init__(self, server: Watched) -> None:
        self._server = server
        self._scrapes_failed = 0
        self._process = ProcessCollector(registry=None)

    def note_failed_scrape(self) -> None:
        self._scrapes_failed += 1

    def collect(self) -> Iterable[Metric]:
        """Return whole families, all at once: for a registry, where nothing waits."""
        return whole(self.pieces())

    def pieces(self) -> Iterator[Metric]:
        """Yield families in pieces; one that bears the name of the last continues it. All are of one moment."""
        server = self._server
        scrape = GatewayScrape(server.now(), server.counters, server.down, server.vitals(), self._scrapes_failed)
        for family in FAMILIES:
            yield from family.pieces(scrape)
        yield from self._process.collect()
