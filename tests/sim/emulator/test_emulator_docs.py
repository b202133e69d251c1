"""docs/emulator.md tells what there is: every route and option, and an example that runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

from daemon.cli import _parser
from sim.emulator.route_table import TABLES

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/emulator.md").read_text()


def _between(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_route_is_told_with_its_methods_and_no_other() -> None:
    told = set()
    for path, methods, names in re.findall(
        r"^\| `(/\S+)` \| ([A-Z, ]+) \| (.*?) \|$", _between("routes"), re.MULTILINE
    ):
        told |= {(method, path) for method in methods.split(", ")}
        known = {one.ws_method for table in TABLES.values() for (_, at), one in table.items() if at == path}
        assert {name.strip("`") for name in names.split(", ") if name} <= known
    assert told == {place for table in TABLES.values() for place in table if place[0] != "WS"}


def test_every_option_is_told_and_no_other() -> None:
    told = set(re.findall(r"^\| `(--[a-z-]+)", TEXT, re.MULTILINE))
    (commands,) = [action for action in _parser()._actions if hasattr(action, "choices") and action.choices]
    assert commands.choices is not None
    emulate = dict(commands.choices)["emulate"]
    assert told == {name for action in emulate._actions for name in action.option_strings if name.startswith("--")} - {
        "--help"
    }


def test_the_example_runs() -> None:
    code = _between("example").strip().removeprefix("```python\n").removesuffix("```")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("FILLED\n", 0), done.stderr
