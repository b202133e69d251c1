"""What can be asked of the guard and done to it: the methods of its own socket, which work while the desk hangs."""

from collections.abc import Mapping
from typing import Any, Protocol

from actors.messages import KillLevel
from daemon.admin.calls import Method, Role, table
from daemon.admin.params import LEVELS, Kill, Panic

_NO_REASON = "no reason given"


class GuardControl(Protocol):
    """The guard as people see and steer it. Each answer holds `level`, the latch's, in lower case."""

    def status(self) -> dict[str, Any]:
        """Return the latch, who pulled it and why, and what is known of the desk."""

    async def kill(self, level: KillLevel, operator: str, reason: str) -> dict[str, Any]:
        """Raise the latch and see to it, through the desk while that answers."""

    async def panic(self, operator: str, reason: str) -> dict[str, Any]:
        """Flatten the book without the desk."""


def guard_methods(guard: GuardControl) -> Mapping[str, Method]:
    """Return the table for the guard's socket."""
    ops = Role.OPS
    return table(
        [
            Method("status", Role.VIEW, "the guard in one glance", lambda p, c: guard.status()),
            Method(
                "kill",
                ops,
                "stop trading to a level; nothing is asked back",
                lambda p, c: guard.kill(LEVELS[p.level], c.operator, p.reason or _NO_REASON),
                Kill,
                is_urgent=True,
            ),
            Method(
                "panic",
                ops,
                "flatten without the desk",
                lambda p, c: guard.panic(c.operator, p.reason or _NO_REASON),
                Panic,
                is_urgent=True,
            ),
        ]
    )
