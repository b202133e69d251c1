"""What a gateway can say of how its venue is reached, for whoever watches it."""

from collections.abc import Mapping

from attrs import frozen

from venues.net.limits import PoolState
from venues.net.outcomes import RequestCounters
from venues.net.websocket import SocketCounters


@frozen
class Vitals:
    """One venue at one moment. Keys begin with an account, or with "" for what belongs to none.

    `requests` are by (account, way, what was asked for), `sockets` by (account, what comes over them), `events` by
    (account, what happened), `pools` by account. `refusals` counts what the venue refused by what was done about it.
    Until `banned_until_ns` nothing is sent at all. The clock is None while it is not known: `clock_offset_ns` is the
    venue's less ours, and wrong by no more than `clock_error_ns`.
    """

    requests: Mapping[tuple[str, str, str], RequestCounters]
    sockets: Mapping[tuple[str, str], SocketCounters]
    events: Mapping[tuple[str, str], int]
    pools: Mapping[str, tuple[PoolState, ...]]
    refusals: Mapping[str, int]
    banned_until_ns: int
    clock_offset_ns: int | None = None
    clock_error_ns: int | None = None
