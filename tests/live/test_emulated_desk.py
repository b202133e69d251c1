"""A desk that trades at two emulators: what it holds and earned is what they say, whatever goes wrong between them."""

import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from emulated import Emulator, emulator, emulators, write_busy
from emulated_desk import LONG_S, START, Desk
from live_daemon import eventually, running


@pytest.fixture
def venues(tmp_path: Path) -> Iterator[dict[str, Emulator]]:
    with emulators(tmp_path, "one", "two", arguments=("--balance", f"USDT={START}")) as found:
        yield found


def test_a_pair_is_opened_and_closed_and_the_books_agree_to_the_digit(
    tmp_path: Path, venues: dict[str, Emulator]
) -> None:
    config = write_busy(tmp_path, venues, hold="4s", baskets=1)
    with running(config, tmp_path / "state", mode="run") as daemon:
        desk = Desk(daemon, venues)
        desk.arm()
        eventually("it holds the pair", lambda: len(desk.theirs()) == 2, LONG_S)
        eventually("both sides agree", desk.is_even, LONG_S)
        eventually("it is flat", lambda: not desk.theirs() and not desk.held(), LONG_S)
        assert desk.has_halted() == ""
        for name, one in venues.items():
            trades = one.ask("/fapi/v1/userTrades", symbol="BTCUSDT")
            assert len(trades) >= 2
            incomes = sum(Decimal(row["income"]) for row in one.ask("/fapi/v1/income", limit=1000))
            assert one.wallet() == Decimal(START) + incomes
            assert Decimal(desk.view("positions")["wallets"][f"{name}-account"]["USDT"]) == one.wallet()
        assert daemon.terminate() == 0, daemon.words()


FAULTS: dict[str, dict[str, Any]] = {
    "books are lost": {"on": "stream", "kind": "gap", "events": 3, "stream": "btcusdt@depth*", "every": 20},
    "books are crossed": {"on": "stream", "kind": "crossed", "stream": "btcusdt@depth*", "every": 30},
    "events come twice": {"on": "stream", "kind": "duplicate", "copies": 2, "route": "private"},
    "events are lost": {"on": "stream", "kind": "drop", "event": "ORDER_TRADE_UPDATE", "every": 3},
    "events are late": {"on": "stream", "kind": "delay", "delay_ms": 700, "route": "private", "every": 2},
    "events overtake each other": {"on": "stream", "kind": "reorder", "delay_ms": 400, "route": "private", "every": 2},
    "sockets are cut": {"on": "connection", "kind": "disconnect", "every_s": 2},
    "sockets are half-open": {"on": "connection", "kind": "half_open", "route": "private", "times": 1},
    "orders are refused for their number": {"on": "request", "kind": "http_429", "path": "*order*", "every": 2},
    "orders are unknown, carried out": {
        "on": "request", "kind": "http_503", "which": "unknown", "executed": True, "path": "*order*", "every": 2,
    },
    "orders are unknown, not carried out": {
        "on": "request", "kind": "http_503", "which": "unknown", "executed": False, "path": "*order*", "every": 2,
    },
    "the service is unavailable": {
        "on": "request", "kind": "http_503", "which": "unavailable", "path": "*order*", "every": 2,
    },
    "answers are lost": {"on": "request", "kind": "drop", "executed": True, "path": "*order*", "every": 3},
    "answers never come": {"on": "request", "kind": "half_open", "executed": True, "path": "*order*", "times": 2},
    "everything is slow": {"on": "request", "kind": "delay", "before_ms": 150, "after_ms": 150},
    "the clock is ahead": {"on": "venue", "kind": "skew", "skew_ms": -6000, "for_s": 3},
    "the listen key expires": {"on": "venue", "kind": "listen_key_expiry"},
    "there is maintenance": {"on": "venue", "kind": "maintenance", "for_s": 3},
}  # fmt: skip
FAULT_S = float(os.environ.get("BASISD_FAULT_S", "2"))


def test_whatever_goes_wrong_it_ends_even_or_halted(tmp_path: Path, venues: dict[str, Emulator]) -> None:
    """One venue misbehaves in every way, one after the other.

    In the end both sides agree and no leg stands alone; a desk that has stopped says why. BASISD_FAULT_S is for how
    long each lasts (2 without it).
    """
    config = write_busy(tmp_path, venues)
    with running(config, tmp_path / "state", "--quiet", mode="run") as daemon:
        desk = Desk(daemon, venues)
        desk.arm()
        eventually("it trades", lambda: len(desk.baskets()) > 0, LONG_S)
        for name, fault in FAULTS.items():
            venues["one"].fault(fault)
            # How long it lasts is what a fault is.
            time.sleep(FAULT_S)
            venues["one"].mend()
            eventually(f"even after: {name}", desk.is_even, LONG_S)
            kill = desk.view("status")["kill"]
            assert kill["level"] == "armed" or kill["conditions"], name
            desk.arm_again()
        traded = len(venues["one"].ask("/fapi/v1/userTrades", symbol="BTCUSDT", limit=1000))
        daemon.call("kill", {"level": "reduce_only", "reason": "the end of the test"})
        eventually("everything agrees", desk.is_even, LONG_S)
    assert traded > len(FAULTS)


def test_either_gateway_may_be_killed(tmp_path: Path, venues: dict[str, Emulator]) -> None:
    config = write_busy(tmp_path, venues)
    with running(config, tmp_path / "state", "--quiet", mode="run") as daemon:
        desk = Desk(daemon, venues)
        desk.arm()
        for path in (daemon.paths.venue_socket, daemon.paths.guard_venue_socket):
            eventually("it listens", lambda p=path: daemon.listener(p), LONG_S)  # type: ignore[misc]
            pid = daemon.listener(path)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            eventually("another gateway came", lambda p=path, old=pid: daemon.listener(p) not in (None, old), LONG_S)  # type: ignore[misc]
            desk.arm()
        before = len(desk.baskets())
        eventually("it trades again", lambda: len(desk.baskets()) > before or before > 50, LONG_S)
        daemon.call("kill", {"level": "reduce_only", "reason": "the end of the test"})
        eventually("everything agrees", desk.is_even, LONG_S)


def test_a_guard_without_a_desk_cancels_by_its_own_way(tmp_path: Path, venues: dict[str, Emulator]) -> None:
    config = write_busy(tmp_path, venues, hold="1h")
    with running(config, tmp_path / "state", "--quiet", mode="run") as daemon:
        desk = Desk(daemon, venues)
        desk.arm()
        eventually("it holds the pair", lambda: len(desk.theirs()) == 2, LONG_S)
        eventually("the guard's gateway is there", lambda: daemon.listener(daemon.paths.guard_venue_socket), LONG_S)
        # Somebody's order rests where nobody trades.
        venues["one"].ask(
            "/fapi/v1/order", "POST", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010",
            price="60000",
        )  # fmt: skip
        daemon.kill()
        gateway = daemon.listener(daemon.paths.venue_socket)
        if gateway is not None:
            os.kill(gateway, signal.SIGKILL)
        eventually("it is cancelled", lambda: not venues["one"].ask("/fapi/v1/openOrders", symbol="BTCUSDT"), LONG_S)
        assert len(desk.theirs()) == 2


def test_paper_on_their_feeds_trades_without_them(tmp_path: Path, venues: dict[str, Emulator]) -> None:
    """The books are the emulators', the fills are not: nothing of the desk's reaches them."""
    config = write_busy(tmp_path, venues)
    with running(config, tmp_path / "state", "--quiet", mode="paper") as daemon:
        desk = Desk(daemon, venues)
        daemon.wait_ready(LONG_S)
        eventually("it holds a pair", lambda: len(desk.held()) == 2, LONG_S)
        eventually("it has closed one", lambda: not desk.held(), LONG_S)
        assert daemon.listener(daemon.paths.guard_venue_socket) is None
        for one in venues.values():
            assert one.ask("/fapi/v1/userTrades", symbol="BTCUSDT") == []
        # What it filled at, the emulators' public books have shown.
        low, high = Decimal(90_000), Decimal(110_000)
        trips = [one for one in desk.view("events")["events"] if one["kind"] == "FillEvent"]
        assert trips
        assert all(low < Decimal(one["fields"]["price"]) < high for one in trips)
        assert daemon.terminate() == 0, daemon.words()


def test_a_key_that_may_withdraw_is_refused(tmp_path: Path) -> None:
    with emulator(tmp_path, "one", "--venue", "spot", "--may-withdraw") as one, emulator(tmp_path, "two") as two:
        config = write_busy(tmp_path, {"one": one, "two": two})
        with running(config, tmp_path / "state", "--quiet", mode="run") as daemon:
            words = daemon.paths.gateway_folder("desk") / "gateway.log"

            def refused() -> bool:
                told = words.read_text().splitlines() if words.exists() else []
                return any("refused for good" in line and "withdraw" in line for line in told)

            eventually("it says so", refused, LONG_S)
            status = eventually("the desk answers", daemon.status, LONG_S)
            assert not status["is_ready"]
            assert "one-account" in status["why_not_ready"]
