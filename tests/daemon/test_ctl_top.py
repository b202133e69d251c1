"""basisctl top on a real terminal: it shows the desk, outlives it, finds it again, and gives the terminal back."""

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from admin_desk import MemoryDesk, Moment, caught_in_the_middle, listening
from attrs import define, field

from actors.messages import KillCommand, KillLevel
from daemon.admin.calls import Role
from daemon.ctl.main import main

_CODES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")
_ALTERNATE_ON, _ALTERNATE_OFF = b"\x1b[?1049h", b"\x1b[?1049l"
PATIENCE_S = 30
# Ctrl-C reaches those whose terminal it is.
_START = """
import fcntl, signal, sys, termios
# Whoever starts the tests in the background may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from daemon.ctl.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> Moment:
    return caught_in_the_middle(tmp_path_factory.mktemp("desk"))


@define
class Terminal:
    """A process on a pseudo terminal; everything it wrote is kept."""

    process: "subprocess.Popen[bytes]"
    master: int
    written: bytes = b""
    seen: int = field(default=0)

    async def until(self, *said: str) -> None:
        """Read on until every text has appeared after what was found before."""
        with trio.fail_after(PATIENCE_S):
            while any(one.encode() not in _CODES.sub(b"", self.written[self.seen :]) for one in said):
                await self._read()
        self.seen = len(self.written)

    async def _read(self) -> None:
        await trio.lowlevel.wait_readable(self.master)
        self.written += os.read(self.master, 65_536)

    async def end(self) -> int:
        """Read until the screen is given back, then wait for the process; return its exit status."""
        with trio.fail_after(PATIENCE_S):
            while _ALTERNATE_OFF not in self.written:
                await self._read()
            return await trio.to_thread.run_sync(self.process.wait)

    def press(self, key: bytes) -> None:
        os.write(self.master, key)


@asynccontextmanager
async def top(state: Path) -> AsyncIterator[Terminal]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (45, 140))
    command = [sys.executable, "-c", _START, "top", "--state", str(state)]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", "HOME": str(state)}
    root = Path(__file__).resolve().parents[2]
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=root, start_new_session=True
    )
    try:
        yield Terminal(process, master)
        assert termios.tcgetattr(slave) == before, "the terminal is not as it was"
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


async def test_the_screen_shows_the_desk_and_outlives_it(moment: Moment, tmp_path: Path) -> None:
    desk, path = MemoryDesk(moment), tmp_path / "run" / "view.sock"
    async with top(tmp_path) as terminal:
        await terminal.until("not reachable")
        with listening(desk, path, Role.VIEW) as server:
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                await terminal.until("demo (paper), run", "armed", "carry-1", "healthy", "FillEvent", "q to quit")
                desk.offer(KillCommand(desk.now(), "ann", KillLevel.CANCEL_ALL, "a test"))
                await terminal.until("cancel_all", "to acknowledge")
                nursery.cancel_scope.cancel()
        # What was known last stays on the screen below the reason why there is nothing newer.
        await terminal.until("not reachable", "carry-1")
        path.unlink()
        with listening(desk, path, Role.VIEW) as server:
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                with trio.fail_after(PATIENCE_S):
                    while not server.statistics.calls:
                        await trio.lowlevel.checkpoint()
                await terminal.until("armed")
                terminal.press(b"q")
                assert await terminal.end() == 0
                nursery.cancel_scope.cancel()
        assert terminal.written.count(_ALTERNATE_ON) == terminal.written.count(_ALTERNATE_OFF) == 1


@pytest.mark.parametrize("key", [b"q", b"\x03"])
async def test_a_key_ends_it_and_gives_the_terminal_back(tmp_path: Path, key: bytes) -> None:
    async with top(tmp_path) as terminal:
        await terminal.until("not reachable")
        terminal.press(key)
        assert await terminal.end() == 0
        assert b"Traceback" not in terminal.written


def test_without_a_terminal_it_says_what_else_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--state", "nowhere"]) == 2
    assert capsys.readouterr().err == "basisctl: top needs a terminal; basisctl status --json is for programs\n"
