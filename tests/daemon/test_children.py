"""Who keeps guard and venue running: it waits for their end without looking, and gives up on what never comes up."""

from math import inf
from pathlib import Path

import pytest
import trio
from attrs import define, field

from daemon.live.children import Child, ChildLostError, keep


@define
class _Link:
    is_up: bool = False
    went_down: trio.Event = field(factory=trio.Event)

    def rise(self) -> None:
        self.is_up, self.went_down = True, trio.Event()

    def fall(self) -> None:
        self.is_up = False
        self.went_down.set()


@define
class _Process(Child):
    """A process that is up as long as its link says, and fails at once without one."""

    link: _Link = field(factory=_Link)
    comes_up: bool = True

    def start(self) -> None:
        self.started += 1
        if self.comes_up:
            self.link.rise()

    @property
    def is_running(self) -> bool:
        return self.link.is_up

    @property
    def has_failed(self) -> bool:
        return self.started > 0 and not self.link.is_up

    def last_words(self) -> str:
        return "no such table"


def _process(*, comes_up: bool = True) -> _Process:
    return _Process("daemon.venue", [], Path("venue.log"), comes_up=comes_up)


async def test_a_process_that_answers_is_not_looked_at_and_its_end_is_noticed_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    process = _process()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep, process, process.link)
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1.0)
        for starts in range(1, 4):
            assert process.started == starts
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == inf
            process.link.fall()
            await trio.sleep(1.0)
        nursery.cancel_scope.cancel()


async def test_a_process_that_somebody_else_serves_is_not_started(autojump_clock: trio.testing.MockClock) -> None:
    process = _process()
    process.link.rise()
    with trio.move_on_after(60):
        await keep(process, process.link)
    assert process.started == 0


async def test_a_process_that_never_comes_up_is_given_up_with_its_last_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    process = _process(comes_up=False)
    with pytest.raises(ChildLostError, match=r"daemon\.venue does not start: no such table"):
        await keep(process, process.link)
    assert process.started == 3


async def test_one_that_was_up_once_is_started_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    process = _process(comes_up=False)
    process.link.rise()
    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, process, process.link)
            await trio.testing.wait_all_tasks_blocked()
            process.link.fall()
    assert process.started > 10


async def test_one_that_is_found_at_once_is_not_started_beside(autojump_clock: trio.testing.MockClock) -> None:
    process = _process()
    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, process, process.link)
            await trio.sleep(0.05)
            process.link.rise()
    assert process.started == 0
