"""Periodic tasks of one process wake at the same moments."""

import trio
from trio.testing import MockClock

from daemon.pacing import tick


def test_periods_that_divide_a_second_meet_every_second():
    """Begun at odd moments, and however long each takes: all wake on the same grid, none twice on one line of it."""
    woken: dict[float, list[float]] = {0.25: [], 0.5: [], 1.0: []}

    async def periodic(period_s: float, after_s: float) -> None:
        await trio.sleep(after_s)
        while True:
            await tick(period_s)
            woken[period_s].append(trio.current_time())
            await trio.sleep(0.07)

    async def main() -> None:
        with trio.move_on_after(10.0):
            async with trio.open_nursery() as nursery:
                for after_s, period_s in zip((0.013, 0.31, 0.77), woken, strict=True):
                    nursery.start_soon(periodic, period_s, after_s)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    for period_s, moments in woken.items():
        assert moments == [period_s * count for count in range(1, int(10 / period_s))][-len(moments) :]
        assert len(moments) >= 9 / period_s - 2
        assert {moment for moment in moments if moment == int(moment)} >= {float(second) for second in range(2, 10)}
