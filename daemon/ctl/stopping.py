"""How trading is stopped from outside: by the guard first, which answers while the desk hangs, else by the desk."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from daemon.admin.client import CallFailedError, Client, UnreachableError
from daemon.ctl.main import LEVELS
from daemon.ctl.places import OPS, PANIC, UNREACHABLE, runtime_folder
from daemon.ctl.tables import print_json, text
from daemon.ctl.words import guard_line
from daemon.exits import FAILED

GUARD_S = 0.3
"""How long the guard may take before the desk is asked as well."""

METHOD_NOT_FOUND = -32601

Call = tuple[str, dict[str, Any]]
"""A method and its params."""


@frozen
class Way:
    """One attempt: by whom, what it answered, or why not, with the error's code when it answered that it will not."""

    by: str
    path: Path
    result: dict[str, Any] | None = None
    why: str = ""
    code: int = 0

    def told(self) -> dict[str, Any]:
        said = {"by": self.by, "path": str(self.path), "is_ok": self.result is not None}
        return said | ({"why": self.why} if self.result is None else {"result": self.result})

    def line(self) -> str:
        if self.result is None:
            return f"{self.by}: {text(self.why)}"
        return f"{self.by}: {guard_line(self.result)}"


def main(arguments: Namespace) -> int:
    """Kill or panic; print every way that was tried."""
    level = LEVELS[arguments.level] if arguments.command == "kill" else "flatten"
    kill: Call = ("kill", {"level": level, "reason": arguments.reason})
    first: Call = kill if arguments.command == "kill" else ("panic", {"reason": arguments.reason})
    if arguments.socket:
        ways = _at(Path(arguments.socket), first, kill, arguments.timeout)
    else:
        folder = runtime_folder(arguments.state)
        ways = _both(folder / PANIC, folder / OPS, first, kill, arguments.timeout)
    is_done = any(way.result is not None for way in ways)
    if arguments.json:
        print_json({"level": level, "is_done": is_done, "ways": [way.told() for way in ways]})
    else:
        for way in ways:
            print(way.line())
    if is_done:
        return 0
    return FAILED if any(way.code for way in ways) else UNREACHABLE


def _at(path: Path, first: Call, kill: Call, timeout_s: float) -> list[Way]:
    """Ask one socket; one that knows no panic is a desk's and is told to flatten."""
    way = _try("socket", path, first, timeout_s)
    return [_try("socket", path, kill, timeout_s)] if way.code == METHOD_NOT_FOUND else [way]


def _both(guard: Path, desk: Path, first: Call, kill: Call, timeout_s: float) -> list[Way]:
    """Ask the guard, and the desk as well when the guard does not do it at once."""
    try:
        client = Client(guard, GUARD_S)
    except UnreachableError as error:
        return [Way("guard", guard, why=error.why), _try("desk", desk, kill, timeout_s)]
    with client:
        by_guard = _answer("guard", guard, lambda: client.call(*first))
        if by_guard.result is not None:
            return [by_guard]
        by_desk = _try("desk", desk, kill, timeout_s)
        if by_guard.code:
            return [by_guard, by_desk]
        # It was told, and may only be late.
        wait_s = GUARD_S if by_desk.result is not None else timeout_s
        late = _answer("guard", guard, lambda: client.receive(wait_s))
        return [late if late.result is not None else by_guard, by_desk]


def _try(by: str, path: Path, call: Call, timeout_s: float) -> Way:
    def ask() -> Any:
        with Client(path, timeout_s) as client:
            return client.call(*call)

    return _answer(by, path, ask)


def _answer(by: str, path: Path, ask: Callable[[], Any]) -> Way:
    try:
        return Way(by, path, ask())
    except UnreachableError as error:
        return Way(by, path, why=error.why)
    except CallFailedError as error:
        return Way(by, path, why=error.message, code=error.code)
