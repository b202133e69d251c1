"""Every command in docs/admin.md does what the page says, in the page's order, against a real desk."""

import re
import shlex
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from admin_desk import MemoryDesk, caught_in_the_middle, listening

from daemon.admin.calls import Role, described
from daemon.admin.methods import DeskMethods
from daemon.admin.protocol import Code
from daemon.admin.server import Limits
from daemon.ctl.main import COMMANDS, main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "admin.md").read_text()
WRITTEN = [shlex.split(line, comments=True)[1:] for line in re.findall(r"^    (basisctl .+)$", PAGE, re.MULTILINE)]
ENDLESS = (["events", "--follow"], ["top"])


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryDesk]:
    monkeypatch.chdir(tmp_path)
    made = MemoryDesk(caught_in_the_middle(tmp_path))
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            for role in (Role.VIEW, Role.OPS):
                path = tmp_path / "state" / "demo" / "run" / f"{role}.sock"
                await nursery.start(stack.enter_context(listening(made, path, role)).run)
            yield made
            nursery.cancel_scope.cancel()


async def test_the_commands_of_the_page_run(desk: MemoryDesk, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in WRITTEN:
        if arguments not in ENDLESS:
            status = await trio.to_thread.run_sync(main, arguments)
            assert (status, capsys.readouterr().err) == (0, ""), arguments
    assert {arguments[0] for arguments in WRITTEN} == set(COMMANDS) - {"history", "executions"}


async def test_the_client_shown_works(desk: MemoryDesk, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"<!-- client -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    code = compile(found[1], "docs/admin.md", "exec")
    await trio.to_thread.run_sync(exec, code, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "armed"
    assert "events.follow {'since': 'int, default None'}" in lines


async def test_the_methods_told_are_those_there_are(desk: MemoryDesk) -> None:
    methods = DeskMethods(desk, desk).table
    told = PAGE.partition("`methods` lists what")[2].partition("Numbers of money")[0]
    for one in described(methods, Role.OPS):
        assert f"`{one['name']}`" in told


def test_the_codes_and_bounds_told_are_those_there_are() -> None:
    told = set(re.findall(r"-32\d{3}", PAGE.partition("| Code |")[2]))
    assert told == {str(code.value) for code in Code}
    limits = Limits()
    assert (limits.connections, limits.calls_per_s, limits.burst, limits.frame_bytes_free) == (8, 20, 20, 4096)
    assert (limits.frame_s, limits.write_s, limits.call_s) == (5, 5, 10)
