"""Arming: the desk's own obstacles are looked at before the guard is asked to lower its latch."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors.messages import ArmCommand, KillLevel
from daemon.admin.calls import RefusedError
from daemon.live.desk import Desk
from daemon.live.steering import Steering


class Switched:
    """A desk with a kill switch that is what a test says, and a guard that does what it is asked."""

    def __init__(self, *obstacles: str, after: tuple[str, ...] = ()) -> None:
        self.said: list[object] = []
        self.level = KillLevel.CANCEL_ALL
        self._obstacles, self._after = obstacles, after
        switch = SimpleNamespace(obstacles=lambda now: list(self._obstacles))
        self.cell = SimpleNamespace(dispatcher=SimpleNamespace(actors={"kill_switch": switch}))
        self.guard = SimpleNamespace(arm=self._arm, raise_to=lambda *told: self.said.append(("raised", *told)))
        clock = SimpleNamespace(now=lambda: 1)
        self.live = SimpleNamespace(clock=clock, why_failed="", offer=self._offer, pump=lambda: None)

    def why_not_ready(self) -> str:
        return ""

    def why_unapproved(self) -> str:
        return ""

    async def _arm(self, operator: str, reason: str) -> None:
        self.said.append(("lowered", operator, reason))
        self._obstacles += self._after

    def _offer(self, message: Any) -> None:
        if isinstance(message, ArmCommand) and not self._obstacles:
            self.level = KillLevel.ARMED


async def test_the_guard_is_not_asked_while_the_desk_would_refuse() -> None:
    desk = Switched("2 orders are not confirmed cancelled", "feed/x: x has no live book")
    with pytest.raises(RefusedError, match=r"^2 orders are not confirmed cancelled; feed/x: x has no live book$"):
        await Steering(cast(Desk, desk)).arm("ann", "looked at it")
    assert desk.said == []


async def test_what_comes_up_while_the_guard_is_asked_raises_its_latch_again() -> None:
    desk = Switched(after=("1 orders are not confirmed cancelled",))
    with pytest.raises(RefusedError, match=r"^1 orders are not confirmed cancelled$"):
        await Steering(cast(Desk, desk)).arm("ann", "looked at it")
    raised = ("raised", KillLevel.CANCEL_ALL, "desk/arm", "1 orders are not confirmed cancelled")
    assert desk.said == [("lowered", "ann", "looked at it"), raised]


async def test_with_nothing_in_the_way_both_are_armed() -> None:
    desk = Switched()
    assert await Steering(cast(Desk, desk)).arm("ann", "looked at it") == {"level": "armed", "guard": "armed"}
    assert desk.said == [("lowered", "ann", "looked at it")]
