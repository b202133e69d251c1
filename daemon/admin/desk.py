"""What the methods of the desk's sockets need of the process they run in."""

from collections.abc import Mapping
from typing import Any, Protocol

from actors.base import Actor
from actors.messages import KillLevel
from venues.port import Message


class DeskView(Protocol):
    """The desk as it may be looked at, at any time between two inputs."""

    @property
    def actors(self) -> Mapping[str, Actor]:
        """The live actors by name. Their states are read, never written."""

    def now(self) -> int:
        """Return the market's time, ns UTC."""

    def info(self) -> dict[str, Any]:
        """Return what is known of the process: mode, run, build, config_sha256, pid, is_ready, guard, venues, lanes."""


class DeskControl(Protocol):
    """The desk as it may be steered."""

    def offer(self, message: Message) -> None:
        """Hand the cell an input and let it act on it; it is journaled before anything follows from it."""

    async def kill(self, level: KillLevel, operator: str, reason: str) -> dict[str, Any]:
        """Raise the kill level, here and in the guard; return what came of it. Raises RefusedError."""

    async def arm(self, operator: str, reason: str) -> dict[str, Any]:
        """Release the latch, in the guard and here; return what came of it. Raises RefusedError."""


def actor(view: DeskView, name: str, kind: type[Any]) -> Any:
    """Return one of the desk's actors. Raises LookupError when there is none such."""
    found = view.actors.get(name)
    if not isinstance(found, kind):
        raise LookupError(f"this desk has no {name}")
    return found
