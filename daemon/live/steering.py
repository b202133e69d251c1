"""How people look at a running desk and steer it: what the admin sockets' methods stand on."""

from collections.abc import Mapping
from typing import Any

import trio

from actors.base import Actor
from actors.control import AdminCall
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon.admin.calls import RefusedError
from daemon.live.desk import Desk
from daemon.live.guard_link import ArmingRefusedError
from venues.port import Message

_GUARD_S = 0.5


class Steering:
    """The desk behind `daemon.admin`: both what may be looked at and what may be steered."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def actors(self) -> Mapping[str, Actor]:
        """The live actors by name; after a rebuild they are others."""
        return self._desk.cell.dispatcher.actors

    def now(self) -> int:
        return self._desk.live.clock.now()

    def info(self) -> dict[str, Any]:
        return self._desk.info()

    def offer(self, message: Message) -> None:
        """Hand the cell an input and let it act on it. Raises RefusedError once the cell takes none any more."""
        live = self._desk.live
        if live.why_failed:
            raise RefusedError(f"the desk takes no more inputs: {live.why_failed}")
        live.offer(message)
        live.pump()
        if live.why_failed:
            raise RefusedError(live.why_failed)

    def journal(self, message: Message) -> None:
        """Write a call down, for whoever reads the journal. Raises RefusedError when it cannot be."""
        if isinstance(message, AdminCall):
            self._desk.edges.note_admin_call(message.role, message.method)
        self.offer(message)

    async def kill(self, level: KillLevel, operator: str, reason: str) -> dict[str, Any]:
        """Raise the level here at once, then in the guard; `guard` says what it has latched.

        The guard is told by a desk that has failed as well.
        """
        guard, live = self._desk.guard, self._desk.live
        if not live.why_failed:
            live.offer(KillCommand(self.now(), operator, level, reason))
            live.pump()
        guard.raise_to(level, operator, reason)
        guard.beat_now()
        with trio.move_on_after(_GUARD_S):
            while guard.is_up and (guard.state is None or guard.state.level < level):
                await guard.heard.wait()
        latched = guard.state.level.name.lower() if guard.is_up and guard.state is not None else "down"
        return {"level": self._desk.level.name.lower(), "guard": latched}

    async def arm(self, operator: str, reason: str) -> dict[str, Any]:
        """Lower the guard's latch, then the cell's; when the cell refuses then, the guard's is raised again.

        The guard is not asked while the cell would refuse: a latch that goes down and up again cancels everything and
        asks the venues for all open orders, which use up their limits. Raises RefusedError with every obstacle.
        """
        desk = self._desk
        why = desk.why_not_ready()
        if why:
            raise RefusedError(f"the desk is not ready: {why}")
        unapproved = desk.why_unapproved()
        if unapproved:
            raise RefusedError(unapproved)
        why = self._obstacles()
        if why:
            raise RefusedError(why)
        before = desk.level
        try:
            await desk.guard.arm(operator, reason)
        except ArmingRefusedError as error:
            raise RefusedError(str(error)) from error
        self.offer(ArmCommand(self.now(), operator, reason))
        if desk.level is not KillLevel.ARMED:
            why = self._obstacles() or "the kill switch went off again"
            desk.guard.raise_to(max(before, desk.level), "desk/arm", why)
            raise RefusedError(why)
        return {"level": desk.level.name.lower(), "guard": KillLevel.ARMED.name.lower()}

    def _obstacles(self) -> str:
        """Return what the cell has against arming, empty when nothing."""
        return "; ".join(self.actors["kill_switch"].obstacles(self.now()))  # type: ignore[attr-defined]
