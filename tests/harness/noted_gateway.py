"""A gateway process's server that knows everything a gateway can know, without one that runs."""

from attrs import Factory, define

from daemon.gateway.metrics import GatewayCollector
from daemon.gateway.server import GatewayCounters
from venues.net.limits import PoolRule, PoolState, Priority, RatePools
from venues.net.outcomes import Outcomes
from venues.net.vitals import Vitals
from venues.net.websocket import SocketCounters

MS = 1_000_000
SECOND = 1_000_000_000
NOW = 1_780_000_000 * SECOND


@define
class NotedServer:
    """A server of venues that says what it was told to."""

    venues: dict[str, Vitals]
    down: dict[str, str]
    counters: GatewayCounters = Factory(GatewayCounters)
    ns: int = NOW

    def now(self) -> int:
        return self.ns

    def vitals(self) -> dict[str, Vitals]:
        return self.venues


def socket(name: str, *, is_up: bool = True) -> SocketCounters:
    return SocketCounters(
        name=name,
        is_up=is_up,
        opened=3,
        open_failures=1,
        last_failure="ConnectionRefusedError",
        rotations=1,
        messages=1_200,
        message_bytes=360_000,
        pings=4,
        sent=7,
        downs={"lost": 1, "rotated": 1},
    )


def pools() -> tuple[PoolState, ...]:
    """Of 2,400 weights 1,980 are used: 82.5 %, more than new orders may have (75 %, facts of `CEILING_PERCENT`)."""
    weights = RatePools([PoolRule("weight_1m", 2_400, 60 * SECOND), PoolRule("orders_10s", 300, 10 * SECOND)])
    assert weights.take(Priority.CANCEL, {"weight_1m": 1_980, "orders_10s": 30}, NOW) is None
    return weights.state(NOW)


def vitals() -> Vitals:
    """A venue where orders were placed both ways: 3 answers of 4, 40 and 400 ms, a refusal, one unknown, one unsent."""
    session, rest = Outcomes(), Outcomes()
    placed = session.of("order.place")
    for ms in (4, 40):
        placed.note(200, NOW, NOW + ms * MS)
    placed.note(400, NOW, NOW + 400 * MS)
    placed.unknown += 1
    placed.not_sent += 1
    rest.of("/fapi/v2/account").note(200, NOW, NOW + 20_000 * MS)
    requests = {("futures", "session", name): one for name, one in session.counters().items()}
    requests |= {("futures", "rest", name): one for name, one in rest.counters().items()}
    return Vitals(
        requests=requests,
        sockets={
            ("", "books"): socket("books"),
            ("futures", "events"): socket("events"),
            ("futures", "orders"): socket("orders", is_up=False),
        },
        events={("", "feed_gaps"): 2, ("", "downs"): 1, ("futures", "repeated_fills"): 5},
        pools={"futures": pools()},
        refusals={"ban": 1},
        banned_until_ns=NOW + 90 * SECOND,
        clock_offset_ns=-3 * MS,
        clock_error_ns=MS,
    )


def nothing_known() -> Vitals:
    return Vitals({}, {}, {}, {}, {}, 0)


def noted_gateway() -> GatewayCollector:
    """Return the collector of a server with two venues: futures, up, and spot, which has never been reached."""
    venues = {"binance_usdm": vitals(), "binance_spot": nothing_known()}
    counters = GatewayCounters(commands=12, refused=2, reports=9, market=1_200, clients=1)
    return GatewayCollector(NotedServer(venues, {"binance_spot": "not connected yet"}, counters))
