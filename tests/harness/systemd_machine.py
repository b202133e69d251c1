"""A real systemd in namespaces of its own, with basisd installed: how it is started, asked, and ended without a trace.

tests/systemd/boot.sh makes it. Here is what drives it from outside: commands run in it by nsenter, its files are
reached through /proc/PID/root. It ends with the process that started it, however that ends.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "systemd"
_SYSTEMD = Path("/lib/systemd/systemd")
_TOOLS = ("unshare", "nsenter", "setpriv", "findmnt", "systemctl", "systemd-analyze")
_NAMESPACES = ("--mount", "--pid", "--ipc", "--uts", "--net")
_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "basisd.py", "venues", "actors", "sim", "daemon", "systemd")
_TRY = """
mount -t cgroup2 none /mnt
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work none /etc
mount -o remount,bind,ro /
"""
_BOOT_S = 60.0
_POLL_S = 0.02


def why_not() -> str:
    """Return why no machine can be started here, empty when one can."""
    if sys.platform != "linux":
        return f"systemd runs on Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "only root may make the namespaces"
    if not _SYSTEMD.exists():
        return f"there is no {_SYSTEMD}"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    tried = subprocess.run(
        [
            "unshare",
            *_NAMESPACES,
            "--cgroup",
            "--fork",
            "sh",
            "-c",
            "mount -t cgroup2 none /mnt && mount -t tmpfs none /mnt",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces are not permitted: {tried.stderr.strip()}" if tried.returncode else ""


@define
class Machine:
    """One booted machine. Paths given to its methods are paths in it."""

    folder: Path
    name: str = field(factory=lambda: f"basisd-test-{uuid.uuid4().hex[:12]}")
    _process: subprocess.Popen[bytes] | None = None
    _pid: int = 0

    def start(self) -> None:
        """Boot it and wait until it runs. Raises RuntimeError with what it said."""
        sources = self.folder / "sources"
        sources.mkdir()
        for one in _SOURCES:
            _copy(ROOT / one, sources / one)
        said = self.folder / "boot.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        environment |= {"PYTHON": os.path.realpath(sys.executable)}
        with said.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "--"),
                    "unshare",
                    *_NAMESPACES,
                    "--fork",
                    "--kill-child",
                    "--",
                    str(ROOT / "tests" / "systemd" / "boot.sh"),
                    self.name,
                    sysconfig.get_paths()["purelib"],
                    str(sources),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        try:
            self._wait_until_booted(self._process)
        except BaseException as error:
            self.stop()
            raise RuntimeError(f"the machine does not boot: {error}\n{said.read_text()}") from error

    def _wait_until_booted(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _BOOT_S
        state = "nothing yet"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"boot.sh ended with {process.returncode}")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            self._pid = int(children[0]) if children else 0
            if self._pid and Path(f"/proc/{self._pid}/comm").read_text().strip() == "systemd":
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in {"running", "degraded"}:
                    return
            time.sleep(_POLL_S)
        raise RuntimeError(f"not running after {_BOOT_S:g} s but {state!r}")

    def stop(self) -> None:
        """End everything in it, and take away what of it the kernel still knows."""
        process, self._process = self._process, None
        if process is None:
            return
        init = _pidfd(self._pid)
        process.kill()
        process.wait()
        if init is not None:
            # Its process 1 ends last.
            select.select([init], [], [])
            os.close(init)
        _remove_group(self.name)

    # Commands

    def run(
        self, *command: str, user: str = "", groups: Sequence[str] = (), check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root or as `user` with `groups`. Raises RuntimeError when it fails and `check`."""
        if user:
            supplementary = ["--groups", ",".join(groups)] if groups else ["--clear-groups"]
            command = ("setpriv", "--reuid", user, "--regid", user, *supplementary, "--", *command)
        done = subprocess.run(
            [*self._enter(), *command], capture_output=True, text=True, check=False, timeout=timeout, env=_ENVIRONMENT
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._pid), "-m", "-u", "-i", "-n", "-p", "-C", "--"]

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("systemctl", "--no-pager", *arguments, check=check).stdout.strip()

    def show(self, unit: str) -> dict[str, str]:
        """Return the properties of a unit."""
        return dict(line.partition("=")[::2] for line in self.systemctl("show", unit).splitlines())

    def main_pid(self, unit: str) -> int:
        """Return the number that the unit's main process has in the machine, 0 without one."""
        return int(self.show(unit)["MainPID"])

    def kill(self, unit: str, number: signal.Signals) -> None:
        """Send a signal to the unit's main process."""
        self.systemctl("kill", "--kill-whom=main", f"--signal={number.name}", unit)

    def journal(self, unit: str, *arguments: str) -> list[dict[str, Any]]:
        """Return the journal's entries of a unit, by it and about it, oldest first."""
        said = self.run("journalctl", "--no-pager", "--output=json", "--all", f"--unit={unit}", *arguments).stdout
        return [json.loads(line) for line in said.splitlines()]

    def words(self, unit: str) -> str:
        """Return what a unit wrote and what was said of it, as text, for a message about a failure."""
        return "\n".join(str(one.get("MESSAGE")) for one in self.journal(unit)[-60:])

    def until(self, what: str, is_so: Callable[[], Any], timeout: float = 30) -> Any:
        """Wait until `is_so` returns something true; return that. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            found = is_so()
            if found:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout:g} s: {what}")
            time.sleep(_POLL_S)

    def until_state(self, unit: str, timeout: float = 30, **properties: str) -> dict[str, str]:
        """Wait until the unit shows the properties; return all of them. Raises TimeoutError with its words."""
        shown: dict[str, str] = {}

        def is_so() -> bool:
            nonlocal shown
            shown = self.show(unit)
            return all(shown.get(name) == value for name, value in properties.items())

        try:
            self.until(f"{unit} {properties}", is_so, timeout)
        except TimeoutError as error:
            now = {name: shown.get(name) for name in (*properties, "ActiveState", "SubState", "StatusText", "Result")}
            raise TimeoutError(f"{error}: {now}\n{self.words(unit)}") from None
        return shown

    # Files

    def path(self, inside: str) -> Path:
        """Return where a file of the machine is for us. Symbolic links that it goes through must be relative."""
        return Path(f"/proc/{self._pid}/root{inside}")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    @contextmanager
    def drop_in(self, unit: str, text: str) -> Iterator[None]:
        """Change a unit while the context lasts."""
        folder = f"/run/systemd/system/{unit}.d"
        self.write(f"{folder}/test.conf", text)
        self.systemctl("daemon-reload")
        try:
            yield
        finally:
            shutil.rmtree(self.path(folder))
            self.systemctl("daemon-reload")

    def install(self) -> None:
        """Put the project's units where docs/operations.md puts them, and make their groups, by its own commands."""
        self.run("sh", "-ec", f"cd /run/machine/sources\n{block('units')}")


def block(name: str) -> str:
    """Return the commands that docs/operations.md gives between the markers `name`."""
    page = (ROOT / "docs" / "operations.md").read_text()
    found = re.search(rf"^<!-- {name} -->\n((?:    .*\n)+)<!-- /{name} -->$", page, re.MULTILINE)
    assert found is not None, f"docs/operations.md has no block {name}"
    return textwrap.dedent(found[1])


_ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/opt/basisd/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "LD_LIBRARY_PATH": "/opt/python/lib",
}


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        return None


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _remove_group(name: str) -> None:
    """Remove the control group of a machine that is gone; it may take a moment until the kernel lets go of it."""
    script = f"""
        mount -t cgroup2 none /mnt
        cd "/mnt$(sed -n 's/^0:://p' /proc/self/cgroup)"
        for attempt in $(seq 100); do
            [ -d {name} ] || exit 0
            find {name} -depth -type d -exec rmdir {{}} + 2>/dev/null || sleep 0.05
        done
        exit 1
    """
    subprocess.run(["unshare", "--mount", "sh", "-c", script], check=True, capture_output=True)
