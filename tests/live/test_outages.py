"""Guard or venue are gone for a while: nothing new is opened, and what was missed is learnt when they are back."""

import os
import signal
from decimal import Decimal
from pathlib import Path
from typing import Any

from desk_configs import BUSY, HOLDING, write_config
from desk_truth import check_agreement, freeze
from live_daemon import Daemon, eventually, running

from venues.model.order import OrderType, Side
from venues.port import SubmitOrder

PERP = "binance_usdm:BTCUSDT"


def events(daemon: Daemon, kind: str) -> list[dict[str, Any]]:
    told = daemon.call("events", {"since": 0, "limit": 500}, path=daemon.paths.view_socket)["events"]
    return [one for one in told if one["kind"] == kind]


def denials(daemon: Daemon) -> str:
    return " ".join(one["text"] for one in events(daemon, "BasketUpdate") if "denied" in one["text"])


def stop(daemon: Daemon, path: Path) -> int:
    """Stop the process that listens at `path` with SIGSTOP, so that nobody starts another one; return it."""
    pid = daemon.listener(path)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_without_its_guard_a_desk_opens_nothing_until_it_is_back(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", "--speed", "5") as daemon:
        daemon.wait_ready()
        eventually("it trades", lambda: events(daemon, "FillEvent"))
        guard = daemon.listener(daemon.paths.guard_socket)
        assert guard is not None
        stopped = stop(daemon, daemon.paths.guard_socket)
        eventually("it knows", lambda: not (daemon.status() or {"guard": {"is_up": True}})["guard"]["is_up"])
        eventually("it refuses baskets for that", lambda: "guard_down" in denials(daemon))
        os.kill(stopped, signal.SIGKILL)
        eventually("another guard came", lambda: daemon.listener(daemon.paths.guard_socket) not in (None, guard))
        daemon.wait_ready()
        before = len(events(daemon, "FillEvent"))
        eventually("it trades again", lambda: len(events(daemon, "FillEvent")) > before)
        assert daemon.terminate() == 0, daemon.words()


def test_a_guard_that_is_killed_comes_back_and_the_desk_goes_on(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", "--speed", "5") as daemon:
        daemon.wait_ready()
        guard = daemon.listener(daemon.paths.guard_socket)
        assert guard is not None
        os.kill(guard, signal.SIGKILL)
        eventually("another guard came", lambda: daemon.listener(daemon.paths.guard_socket) not in (None, guard))
        daemon.wait_ready()
        assert [one["text"].startswith("guard up") for one in events(daemon, "GuardStatus")] == [
            False,
            True,
            False,
            True,
        ]
        assert daemon.terminate() == 0, daemon.words()


def test_a_venue_that_is_killed_is_down_and_reconciled_when_it_is_back(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", "--speed", "5") as daemon:
        daemon.wait_ready()
        eventually("it trades", lambda: events(daemon, "FillEvent"))
        venue = daemon.listener(daemon.paths.venue_socket)
        assert venue is not None
        os.kill(venue, signal.SIGKILL)
        eventually(
            "another venue process came", lambda: daemon.listener(daemon.paths.venue_socket) not in (None, venue)
        )
        daemon.wait_ready()
        assert len(events(daemon, "VenueDown")) >= 2
        before = len(events(daemon, "FillEvent"))
        eventually("it trades again", lambda: len(events(daemon, "FillEvent")) > before)
        freeze(daemon)
        probe = daemon.probe()
        check_agreement(daemon, probe)
        assert daemon.terminate() == 0, daemon.words()


def test_a_venue_that_hangs_is_refused_intents(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", "--speed", "5") as daemon:
        daemon.wait_ready()
        stopped = stop(daemon, daemon.paths.venue_socket)
        eventually("its silence is noticed", lambda: (daemon.status() or {"is_ready": True})["is_ready"] is False)
        os.kill(stopped, signal.SIGCONT)
        daemon.wait_ready()
        assert daemon.terminate() == 0, daemon.words()


def test_a_position_somebody_else_made_is_noticed_and_nothing_is_traded_away(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", HOLDING)
    with running(config, tmp_path / "state", "--speed", "10") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        eventually("the carry is held", lambda: probe.positions("futures").get(PERP) == Decimal("-0.5"))
        probe.send(SubmitOrder(0, "futures", PERP, "stranger-1", Side.BUY, Decimal("0.100"), OrderType.MARKET))
        eventually("it stops itself", lambda: (daemon.status() or {})["kill"]["level"] != "armed")
        eventually(
            "it knows what it holds", lambda: daemon.call("positions", path=daemon.paths.view_socket)["positions"]
        )
        assert probe.positions("futures") == {PERP: Decimal("-0.400")}
        assert daemon.terminate() == 0, daemon.words()
