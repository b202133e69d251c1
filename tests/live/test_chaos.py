"""Any of the three processes killed at any moment, alone or together: what comes back agrees with the venue.

BASISD_CHAOS says how often (6 without it).
"""

import os
import random
import signal
import time
from pathlib import Path

from desk_configs import BUSY, write_config
from desk_truth import arm_again, check_agreement, check_baskets, freeze, sent_by_the_desk
from live_daemon import Daemon, eventually, running

ROUNDS = int(os.environ.get("BASISD_CHAOS", "6"))
VICTIMS = [("desk", "guard", "venue"), ("venue",), ("guard",), ("desk", "venue"), ("desk",), ("desk", "guard")]


def strike(daemon: Daemon, victims: tuple[str, ...]) -> None:
    """Kill the victims, the desk last, and start the desk again; the others come back by themselves."""
    sockets = {"guard": daemon.paths.guard_socket, "venue": daemon.paths.venue_socket}
    killed: dict[str, int] = {}
    for name, path in sockets.items():
        pid = daemon.listener(path) if name in victims else None
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            killed[name] = pid
    if "desk" in victims:
        daemon.kill()
        daemon.start()
    for name, pid in killed.items():
        eventually(f"another {name} came", lambda n=name, p=pid: daemon.listener(sockets[n]) not in (None, p))  # type: ignore[misc]


def test_nothing_is_lost_or_doubled_whoever_is_killed(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    moments = random.Random(3)
    with running(config, tmp_path / "state", "--speed", "10", "--quiet") as daemon:
        daemon.wait_ready()
        for number in range(ROUNDS):
            # The moment is drawn: it is what the test is about.
            time.sleep(moments.uniform(0.0, 1.0))
            strike(daemon, VICTIMS[number % len(VICTIMS)])
            arm_again(daemon, daemon.wait_ready())
        freeze(daemon)
        check_agreement(daemon, daemon.probe())
        check_baskets(daemon)
        assert max(sent_by_the_desk(daemon).values()) == 1
        assert daemon.terminate() == 0, daemon.words()
