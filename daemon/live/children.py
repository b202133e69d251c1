"""How guard and simulated venue come to run beside the desk, and come back when they are gone."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import trio
from attrs import define

_LOOK_S = 0.25
_TRIES = 3
# The first one lets a link find the process of a desk before: two of them cost a second of starting, for nothing.
_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LOG_BYTES_MAX = 10 * 1024 * 1024


@define
class Child:
    """A process that outlives this one: a session of its own, its words in a file, no pipe of ours held open."""

    module: str
    arguments: Sequence[str]
    log: Path
    started: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Raises OSError."""
        self.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".old"))
        fd = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                start_new_session=True,
            )
        finally:
            os.close(fd)
        self.started += 1

    @property
    def is_running(self) -> bool:
        """Whether the process we started is still there (it may be that another one serves)."""
        return self._process is not None and self._process.poll() is None

    @property
    def has_failed(self) -> bool:
        """Whether the process we started ended, and not in order."""
        return self._process is not None and self._process.poll() not in (None, 0)

    def last_words(self) -> str:
        """Return the last line it wrote, empty without one."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""


class ChildLostError(Exception):
    """A process that never came up, however often it was started."""


class Watched(Protocol):
    """The link to a process: whether it answers, and an event that is set when it no longer does."""

    went_down: trio.Event

    @property
    def is_up(self) -> bool: ...


async def keep(child: Child, link: Watched) -> None:
    """Start the child whenever nobody answers and none of ours is on its way; later each time in vain.

    Raises ChildLostError when it failed at every try and was never up.
    """
    failures, was_up = 0, False
    while True:
        if link.is_up:
            failures, was_up = 0, True
            await link.went_down.wait()
            continue
        if not child.is_running:
            if failures >= _TRIES and not was_up and child.has_failed:
                raise ChildLostError(f"{child.module} does not start: {child.last_words()} (see {child.log})")
            await trio.sleep(_DELAYS_S[min(failures, len(_DELAYS_S) - 1)])
            if not link.is_up:
                child.start()
                failures += 1
        await trio.sleep(_LOOK_S)
