"""How a stream of frames outlives its connections."""

import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum

from attrs import field, frozen

from venues.net.limits import RatePools


class DownReason(StrEnum):
    """Why a connection ended. ROTATED and STOPPED are ours, SILENT is a half-open connection or a starved stream."""

    CLOSED_BY_VENUE = "closed_by_venue"
    LOST = "lost"
    SILENT = "silent"
    NOT_READY = "not_ready"
    DROPPED = "dropped"
    ROTATED = "rotated"
    STOPPED = "stopped"


@frozen
class Down:
    """A connection that was up is gone. `unsent` was never handed to the network; whatever else was sent may have been."""

    connection: int
    reason: DownReason
    detail: str
    unsent: tuple[str, ...] = field(default=(), repr=False)


@frozen
class SocketSettings:
    """Seconds, unless said otherwise.

    idle_s: silence (no frame of any kind) after which we ping; pong_s: and after which, with no frame still, the
    connection is dropped. data_idle_s: silence of data frames after which it is dropped although pings are answered;
    None where silence is normal. lifetime_s: age at which the next connection is opened, made up to `jitter` of it
    shorter; overlap_s: how long both deliver. ready_s: how long `mark_ready` may take (see ReconnectingSocket).
    """

    idle_s: float = 20.0
    pong_s: float = 10.0
    data_idle_s: float | None = None
    lifetime_s: float = 23.5 * 3600
    jitter: float = 0.05
    overlap_s: float = 5.0
    open_s: float = 10.0
    ready_s: float = 10.0
    backoff_first_s: float = 0.2
    backoff_max_s: float = 30.0
    stable_s: float = 10.0
    sends_per_s: int | None = 8
    queued_max: int = 1_024
    frame_bytes_max: int = 16 * 1024 * 1024
    needs_ready: bool = False


class ReconnectingSocket:
    """Frames of one address for ever. Connections are numbered from 1 in the order of their opening.

    on_frame(data, received_ns, connection): synchronous, called for every message as bytes, between two reads and
    never by two at a time. on_up(connection): it is open; say what must be said there (`send(text, connection)`).
    on_down(down): called once for each on_up. While a connection is replaced two are up.

    `send` without a number goes to the current connection: the newest one that is ready. A connection is ready when it
    is open, or, with `needs_ready`, when `mark_ready` is called for it (after a logon); if that does not happen
    within `ready_s` it is dropped.
    """

    def __init__(
        self,
        name: str,
        url_of: Callable[[], Awaitable[str]],
        on_frame: Callable[[bytes, int, int], None],
        on_up: Callable[[int], None],
        on_down: Callable[[Down], None],
        *,
        settings: SocketSettings,
        now: Callable[[], int],
        limits: RatePools | None = None,
        connect_costs: Mapping[str, int] | None = None,
        rng: random.Random | None = None,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        raise NotImplementedError

    async def run(self) -> None:
        """Connect and stay connected until cancelled. What a callback raises ends it; url_of may raise NetError."""
        raise NotImplementedError

    @property
    def is_up(self) -> bool:
        """Whether some connection is ready."""
        raise NotImplementedError

    @property
    def current(self) -> int | None:
        """The number of the connection that `send` goes to."""
        raise NotImplementedError

    def send(self, text: str, connection: int | None = None) -> int:
        """Queue a message and return the number of its connection. Raises NotSentError (DOWN, QUEUE_FULL)."""
        raise NotImplementedError

    def mark_ready(self, connection: int) -> None:
        """A connection may be used. Harmless for one that is gone."""
        raise NotImplementedError

    def drop(self, connection: int, detail: str) -> None:
        """End a connection that is of no use (DROPPED); another is opened. Harmless for one that is gone."""
        raise NotImplementedError

    def reconnect(self, detail: str) -> None:
        """Replace the current connection as at its end of life: its address changed (a rotated listen key)."""
        raise NotImplementedError
