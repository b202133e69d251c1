"""Imports point down, and actors touch nothing but their own state: read from the source, not believed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("venues", "actors", "sim", "daemon")

# What an actor may not even name: clocks, chance, files, sockets, tasks, other processes.
# fmt: off
FORBIDDEN_TO_ACTORS = frozenset({
    "aiohttp", "anyio", "asyncio", "concurrent", "fcntl", "glob", "httpx", "importlib", "io", "logging", "msgspec",
    "multiprocessing", "numba", "os", "pathlib", "queue", "random", "secrets", "select", "selectors", "shelve",
    "shutil", "signal", "socket", "sqlite3", "ssl", "structlog", "subprocess", "sys", "tempfile", "threading",
    "time", "trio", "urllib", "uuid", "websockets",
})
# fmt: on
FORBIDDEN_CALLS = frozenset({"open", "input", "print", "eval", "exec", "compile", "__import__", "id", "hash"})
FORBIDDEN_METHODS = frozenset({"now", "utcnow", "today", "fromtimestamp"})

# Libraries that belong to one folder: importing them elsewhere has side effects or costs.
ONLY_IN = {"ib_insync": "venues/ib/"}

# What `basisd --help` may load: these files and what they import.
LIGHT = ("daemon/cli.py", "daemon/ctl/main.py", "daemon/exits.py", "daemon/running.py")
LIGHT_IMPORTS = frozenset({"argparse", "collections", "daemon", "importlib", "os", "sys"})


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every imported module with its line; relative imports are not used in this project."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." if node.level else node.module or ""


def breaches(path: str, source: str) -> list[str]:
    """Return what the file at `path` (relative to the project) does against the rules."""
    tree = ast.parse(source)
    floor = path.split("/", maxsplit=1)[0]
    above = FLOORS[FLOORS.index(floor) + 1 :]
    found = []
    for line, module in imports(tree):
        top = module.split(".")[0]
        if module == ".":
            found.append(f"{path}:{line}: relative import")
        if top in above:
            found.append(f"{path}:{line}: {floor} imports {module} from above")
        if floor == "actors" and top in FORBIDDEN_TO_ACTORS:
            found.append(f"{path}:{line}: an actor imports {module}")
        if not path.startswith(ONLY_IN.get(top, path)):
            found.append(f"{path}:{line}: {module} is imported only in {ONLY_IN[top]}")
    return found + (list(_forbidden_calls(path, tree)) if floor == "actors" else [])


def _forbidden_calls(path: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await):
                yield f"{path}:{node.lineno}: an actor awaits"
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in FORBIDDEN_CALLS:
            yield f"{path}:{node.lineno}: an actor calls {called.id}()"
        if isinstance(called, ast.Attribute) and called.attr in FORBIDDEN_METHODS:
            yield f"{path}:{node.lineno}: an actor reads a clock: {called.attr}()"


def sources() -> list[Path]:
    return sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))


def test_there_is_something_to_read():
    assert {path.relative_to(ROOT).parts[0] for path in sources()} == set(FLOORS)


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in sources()])
def test_the_floors_hold(path):
    assert breaches(path, (ROOT / path).read_text()) == []


BREACHES = [
    ("venues/x.py", "from actors.base import Actor"),
    ("venues/a/b.py", "import daemon.config"),
    ("actors/x.py", "from sim import venue"),
    ("sim/x.py", "def later():\n    from daemon import app"),
    ("actors/x.py", "import time"),
    ("actors/x.py", "import os.path"),
    ("actors/x.py", "from random import Random"),
    ("actors/strategies/x.py", "import trio"),
    ("actors/x.py", "from datetime import datetime\nts = datetime.now()"),
    ("actors/x.py", "import datetime\nts = datetime.datetime.utcnow()"),
    ("actors/x.py", "text = open('x').read()"),
    ("actors/x.py", "async def handle(): pass"),
    ("actors/x.py", "number = hash('x')"),
    ("sim/x.py", "from ib_insync import IB"),
    ("venues/x.py", "import ib_insync.client"),
    ("daemon/x.py", "from . import cli"),
]


@pytest.mark.parametrize(("path", "source"), BREACHES, ids=[f"{path} {source[:30]!r}" for path, source in BREACHES])
def test_a_breach_is_found(path, source):
    assert len(breaches(path, source)) == 1


ALLOWED = [
    ("actors/x.py", "from datetime import datetime, UTC\nfrom zoneinfo import ZoneInfo\nimport venues.port"),
    ("venues/ib/gateway.py", "import ib_insync"),
    ("daemon/x.py", "import trio, sim.venue, actors.base, venues.port"),
    ("sim/x.py", "import random"),
    ("actors/x.py", "def on(self, now): self.timeline = now"),
]


@pytest.mark.parametrize(("path", "source"), ALLOWED)
def test_what_is_allowed_is_let_be(path, source):
    assert breaches(path, source) == []


@pytest.mark.parametrize("path", LIGHT)
def test_the_command_line_starts_light(path):
    tree = ast.parse((ROOT / path).read_text())
    assert {module.split(".")[0] for _, module in imports(tree)} <= LIGHT_IMPORTS
