"""In which order a gateway process comes up, serves and ends."""

import signal
import socket
from collections.abc import Callable, Mapping

import trio
from attrs import asdict

from daemon.exits import FAILED
from daemon.gateway.server import Gateway, GatewayServer
from daemon.gateway.setup import GatewaySetup
from daemon.logs import get_logger
from daemon.notify import Notifier, beat

_COUNTERS_S = 60.0
_METRICS_RETRY_S = 10.0

_log = get_logger("gateway")

Make = Callable[[GatewayServer], dict[str, Gateway]]
"""Makes the gateways, by venue, that deliver to a server."""


def serve(
    setup: GatewaySetup,
    listener: socket.socket,
    make: Make,
    notifier: Notifier,
    linger_s: float | None,
    metrics_port: int | None = None,
) -> int:
    """Serve until SIGTERM, or until nobody was connected for `linger_s`; return the exit status.

    With `metrics_port` metrics are served on loopback, 0 for any free port.
    """
    pace = next(iter(setup.venues.values())).endpoints
    server = GatewayServer(tuple(setup.venues), setup.venue_of, _log.info, pace.speed, pace.time_ns)
    status = 0
    try:
        trio.run(_serve, server, listener, make, notifier, linger_s, metrics_port)
    except* Exception as group:  # noqa: BLE001 - logged whole, and told by the status
        # Whoever needs the venues starts another process, which knows nothing of what went wrong in this one.
        _log.critical("failed", why="; ".join(_told(group)), exc_info=group)
        status = FAILED
    return status


def _told(group: BaseExceptionGroup[BaseException]) -> list[str]:
    found: list[str] = []
    for error in group.exceptions:
        found += _told(error) if isinstance(error, BaseExceptionGroup) else [f"{type(error).__name__}: {error}"]
    return found


async def _serve(
    server: GatewayServer,
    listener: socket.socket,
    make: Make,
    notifier: Notifier,
    linger_s: float | None,
    metrics_port: int | None,
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run, listener, make(server))
        nursery.start_soon(beat, notifier, lambda: "")
        nursery.start_soon(_tell_counters, server)
        if metrics_port is not None:
            nursery.start_soon(_serve_metrics, server, metrics_port)
        notifier.ready("listens")
        if linger_s is not None:
            nursery.start_soon(_leave_when_alone, server, linger_s, nursery.cancel_scope)
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(aiter(signals))
        notifier.stopping()
        nursery.cancel_scope.cancel()


async def _tell_counters(server: GatewayServer) -> None:
    """Say now and then how much went through, and which of the gateways' counters have changed."""
    told: dict[str, Mapping[str, float]] = {}
    while True:
        await trio.sleep(_COUNTERS_S)
        _log.info("counters", **asdict(server.counters))
        for venue, counters in server.counts().items():
            before = told.get(venue, {})
            changed = {name: count for name, count in counters.items() if count != before.get(name, 0)}
            told[venue] = dict(counters)
            _log.info("counters", venue=venue, counters=changed)


async def _serve_metrics(server: GatewayServer, port: int) -> None:
    """Serve metrics for ever. Whatever is wrong with them, or with their port, the venues are served."""
    from daemon.gateway.metrics import GatewayCollector  # noqa: PLC0415
    from daemon.metrics.server import READY, serve_metrics  # noqa: PLC0415

    collector = GatewayCollector(server)

    def health() -> str:
        return "; ".join(f"{venue}: {why}" for venue, why in sorted(server.down.items())) or READY

    while True:
        try:
            async with trio.open_nursery() as nursery:
                _log.info("metrics", port=await nursery.start(serve_metrics, collector, "127.0.0.1", port, health))
        except* Exception as group:  # noqa: BLE001 - told, and tried again
            _log.error("metrics are not served", port=port, why="; ".join(_told(group)))
        await trio.sleep(_METRICS_RETRY_S)


async def _leave_when_alone(server: GatewayServer, linger_s: float, scope: trio.CancelScope) -> None:
    await server.clients.wait_alone(linger_s)
    _log.info("leaves: nobody was there", seconds=linger_s)
    scope.cancel()
