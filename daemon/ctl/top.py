"""Shows the whole desk on one screen, once a second, until somebody presses q. It waits for a daemon that is away."""

import os
import select
import sys
import termios
import time
import tty
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from daemon.admin.client import CallFailedError, Client, UnreachableError
from daemon.ctl import words
from daemon.ctl.places import VIEW, socket_path
from daemon.ctl.tables import Table, rich_table, text
from daemon.exits import ExitError

_EVERY_S = 1.0
_PATIENCE_S = 1.0
_COUNT = 20
_EVENTS_MIN = 3
_QUIT = ("q", "Q", "\x03", "\x04")
_BAD = ("not ready", "down", "unknown", "in charge")
_COLORS = {"armed": "green", "reduce_only": "yellow", "cancel_all": "red", "flatten": "bold red"}


class _Source:
    """Asks for the overview; keeps the last answer while nobody answers."""

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._client: Client | None = None
        self.last: dict[str, Any] | None = None
        self.why = ""
        self.silent_since: float | None = None

    def look(self) -> None:
        try:
            if self._client is None:
                path = socket_path(self._arguments.state, self._arguments.socket, VIEW)
                self._client = Client(path, min(self._arguments.timeout, _PATIENCE_S))
            self.last = self._client.call("overview", {"count": _COUNT})
            self.silent_since, self.why = None, ""
        except (UnreachableError, CallFailedError, ExitError) as error:
            self.close()
            self.why = error.lines[0] if isinstance(error, ExitError) else str(error)
            if self.silent_since is None:
                self.silent_since = time.monotonic()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def main(arguments: Namespace) -> int:
    """Show the screen until q or Ctrl-C. Raises ExitError (2) without a terminal."""
    console = Console(highlight=False)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ExitError("top needs a terminal; basisctl status --json is for programs")
    source = _Source(arguments)
    try:
        with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                source.look()
                live.update(screen(console, source.last, source.why, source.silent_since), refresh=True)
                if pressed(_EVERY_S) in _QUIT:
                    return 0
    except KeyboardInterrupt:
        return 0
    finally:
        source.close()


@contextmanager
def _keys() -> Iterator[Any]:
    """Give a function that waits so many seconds for a key and returns it, empty without one."""
    fd = sys.stdin.fileno()

    def pressed(seconds: float) -> str:
        if not select.select([fd], [], [], seconds)[0]:
            return ""
        # Whoever typed is gone when nothing can be read.
        return os.read(fd, 1).decode(errors="replace") or _QUIT[0]

    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield pressed
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def screen(console: Console, last: dict[str, Any] | None, why: str, silent_since: float | None) -> RenderableType:
    """Return what is on the screen: `last` is the newest overview, `why` says why there is none just now."""
    parts: list[RenderableType] = []
    if silent_since is not None:
        seconds = int(time.monotonic() - silent_since)
        parts.append(Text(f"not reachable for {seconds} s: {text(why)}", style="bold white on red"))
    if last is None:
        return Group(*parts)
    parts += _head(last["status"])
    for title, table in (
        ("positions", words.positions_table(last["positions"])),
        ("baskets", words.baskets_table(last["baskets"]["baskets"])),
        ("margin", words.margin_table(last["margin"])),
        ("funding", words.funding_table(last["funding"])),
    ):
        parts += _part(title, table)
    parts.append(Rule("events", align="left", style="dim"))
    room = console.height - len(console.render_lines(Group(*parts))) - 1
    events = last["events"][-max(_EVENTS_MIN, room) :]
    parts += [
        Text(words.event_line(one), style="red" if one["alarm"] == "open" else "", no_wrap=True, overflow="ellipsis")
        for one in events
    ]
    parts.append(Text("q to quit", style="dim"))
    return Group(*parts)


def _head(status: dict[str, Any]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for name, said in words.head(status):
        style = _COLORS.get(status["kill"]["level"], "red") if name == "kill level" else ""
        if any(word in said for word in _BAD) and name in ("state", "guard", "venues"):
            style = "red"
        if name == "alarms" and status["alarms"]:
            style = "bold red"
        line = Text(f"{name:<11}", style="dim", no_wrap=True, overflow="ellipsis")
        shown.append(line.append(text(said), style=style or "default"))
    return shown


def _part(title: str, table: Table) -> list[RenderableType]:
    if not table.rows:
        return [Rule(f"{title}: none", align="left", style="dim")]
    return [Rule(title, align="left", style="dim"), rich_table(table)]
