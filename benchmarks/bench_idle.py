"""What a desk costs that has nothing to do: its market stands still, nothing rests, nobody asks.

A wake-up costs a sleeping process far more than what it does then, and how much depends on who else uses the machine's
caches at the moment. A bare trio program therefore wakes beside the desk as often as the desk does;
`desk_of_bare_ratio` is what the desk costs more than its wake-ups.
"""

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from daemon.admin.client import Client, UnreachableError
from daemon.live.paths import StatePaths
from daemon.live.sockets import listener_at

_ROOT = Path(__file__).parent.parent
_STILL = (r"^volatility_bps = 4\.0$", 'volatility_bps = 4.0\nstep = "1h"\nmark_interval = "1h"')
_SETTLE_S = 10.0
_SPAN_S = 20.0
_READY_S = 60.0

_BARE = """
import sys, trio

async def main(period_s):
    while True:
        await trio.sleep(period_s)

trio.run(main, float(sys.argv[1]))
"""


def _cpu_s(pid: int) -> float:
    # Nanoseconds on a processor; the ticks of /proc/PID/stat are too coarse for so little.
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _wakes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("voluntary_ctxt_switches:")[1].split()[0])


def _wait_ready(process: subprocess.Popen[bytes], paths: StatePaths) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the desk ended with {process.returncode}")
        try:
            with Client(paths.view_socket) as client:
                if client.call("status")["is_ready"]:
                    return
        except UnreachableError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the desk is not ready after {_READY_S:g} s")


def _measure(pids: dict[str, int], stack: ExitStack) -> dict[str, float]:
    """Return what share of a processor each process takes, and a bare program that wakes as often as the desk."""
    before = _wakes(pids["desk"])
    time.sleep(_SETTLE_S)
    rate = (_wakes(pids["desk"]) - before) / _SETTLE_S
    bare = subprocess.Popen([sys.executable, "-c", _BARE, str(1 / rate)])
    stack.callback(bare.kill)
    # Starting is no part of it.
    time.sleep(2.0)
    watched = {**pids, "bare": bare.pid}
    used = {name: _cpu_s(pid) for name, pid in watched.items()}
    began = time.monotonic()
    time.sleep(_SPAN_S)
    span_s = time.monotonic() - began
    found = {f"{name}_percent": 100 * (_cpu_s(pid) - used[name]) / span_s for name, pid in watched.items()}
    bare.kill()
    return {**found, "desk_wakes_per_s": rate, "desk_of_bare_ratio": found["desk_percent"] / found["bare_percent"]}


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians: percent of one processor while idle, wake-ups a second, and the ratio to a bare program."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        config, state = Path(folder) / "idle.toml", Path(folder) / "state"
        text = (_ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")
        config.write_text(re.sub(*_STILL, text, flags=re.MULTILINE), encoding="utf-8")
        paths = StatePaths.of("idle", str(state))
        words = ["paper", str(config), "--state", str(state), "--metrics-port", "0", "--quiet"]
        desk = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", *words], cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        # In the end, in this order: SIGTERM, and it stops its guard and venue.
        stack.callback(desk.wait)
        stack.callback(desk.terminate)
        _wait_ready(desk, paths)
        guard, venue = listener_at(paths.guard_socket), listener_at(paths.venue_socket)
        if guard is None or venue is None:
            raise RuntimeError("the desk has no guard or no venue")
        pids = {"desk": desk.pid, "guard": guard, "venue": venue}
        samples = [_measure(pids, stack) for _ in range(repeats)]
    return {name: median(sample[name] for sample in samples) for name in samples[0]}
