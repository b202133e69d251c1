"""The supervisor against what Erlang/OTP's own did with the same children and the same misfortunes (otp/record.py)."""

import json
from pathlib import Path

import pytest
import trio
from puppets import Stage
from trio.testing import wait_all_tasks_blocked

from daemon.supervisor import ChildStartError, Restart, Strategy, Supervisor, SupervisorFailedError

DAY_NS = 86_400_000_000_000

SCRIPTS = [json.loads(line) for line in (Path(__file__).parent / "otp" / "traces.jsonl").read_text().splitlines()]


def step(stage, what, name, *rest):
    match what:
        case "fail":
            stage.fails[name] = rest[0]
        case "hold":
            stage.holds.add(name)
        case "go":
            stage.tell(name, "go")
        case "exit":
            stage.tell(name, rest[0])


async def play(script):
    stage = Stage()
    supervisor = Supervisor(
        "top",
        [stage.child(name, Restart(restart), start_within_ns=None) for name, restart in script["children"]],
        strategy=Strategy(script["strategy"]),
        intensity=script["intensity"],
        period_ns=DAY_NS,
        on_event=stage.hear,
    )
    for one in script["prepare"]:
        step(stage, *one)
    async with trio.open_nursery() as nursery:

        async def run():
            try:
                await supervisor.run()
                stage.trace.append("over")
            except ChildStartError:
                stage.trace.append("not started")
            except SupervisorFailedError:
                stage.trace.append("gave up")

        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        for one in script["steps"]:
            step(stage, *one)
            await wait_all_tasks_blocked()
        supervisor.stop()
    return stage


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
async def test_it_does_as_otp_does(script, autojump_clock):
    stage = await play(script)
    assert ", ".join(stage.trace) == script["trace"]
