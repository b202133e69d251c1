"""What must be true of a running desk, held against its venue process and the venue's own journal."""

import sqlite3
from collections import Counter
from decimal import Decimal
from typing import Any

from live_daemon import Daemon, Probe, eventually

from daemon.admin.client import CallFailedError
from daemon.link.wire import decode
from venues.port import SubmitOrder

PERP, SPOT = "binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"


def sent_by_the_desk(daemon: Daemon) -> Counter[str]:
    """Return how often the venue was sent each client id."""
    connection = sqlite3.connect(f"file:{daemon.paths.venue_journal}?mode=ro", uri=True)
    try:
        lines = [line for (line,) in connection.execute("SELECT line FROM commands WHERE client = 'desk'")]
    finally:
        connection.close()
    commands = [decode(line.encode()) for line in lines]
    return Counter(one.client_order_id for one in commands if isinstance(one, SubmitOrder))


def ours(daemon: Daemon) -> dict[str, Decimal]:
    told = daemon.call("positions", path=daemon.paths.view_socket)["positions"]
    return {one["instrument"]: Decimal(one["qty"]) for one in told}


def theirs(probe: Probe) -> dict[str, Decimal]:
    coins = probe.balances("spot").get("BTC", Decimal(0))
    return {**probe.positions("futures"), **({SPOT: coins} if coins else {})}


def is_quiet(daemon: Daemon) -> bool:
    """Whether nothing is on its way: what both sides say can be compared."""
    orders = daemon.call("orders", path=daemon.paths.view_socket)["orders"]
    baskets = daemon.call("baskets", path=daemon.paths.view_socket)["baskets"]
    return not orders and all(one["state"] in ("balanced", "broken") for one in baskets)


def check_baskets(daemon: Daemon) -> None:
    """Every position is some basket's, and every basket that broke was told of."""
    held: dict[str, Decimal] = {}
    for basket in daemon.call("baskets", path=daemon.paths.view_socket)["baskets"]:
        for leg in basket["legs"]:
            held[leg["instrument"]] = held.get(leg["instrument"], Decimal(0)) + Decimal(leg["position"])
    assert {name: qty for name, qty in held.items() if qty} == ours(daemon)


def check_agreement(daemon: Daemon, probe: Probe) -> None:
    """Both sides say the same at a moment at which nothing is on its way."""

    def agree() -> bool | None:
        if not is_quiet(daemon):
            return None
        before = ours(daemon)
        truth = theirs(probe)
        return True if before == truth == ours(daemon) and is_quiet(daemon) else None

    eventually("positions equal the venue's", agree)
    assert not probe.open_orders("futures")
    assert not probe.open_orders("spot")


def freeze(daemon: Daemon) -> None:
    """Open nothing more, so that there is a quiet moment to look at."""
    daemon.call("drain", {"on": True, "reason": "to look at it"})


def arm_again(daemon: Daemon, status: dict[str, Any]) -> None:
    """Release the latch that the guard has pulled while the desk was gone, as a person would: once nothing is open."""
    if status["kill"]["level"] == status["guard"]["level"] == "armed":
        return

    def arm() -> bool:
        try:
            daemon.call("arm", {"reason": "the crash was looked into"})
        except CallFailedError as error:
            if any(one in error.message for one in ("not confirmed", "not proven", "not ready")):
                return False
            raise
        return True

    eventually("it may be armed again", arm)
