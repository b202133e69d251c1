"""What one process stores of compiled code must not keep another from compiling its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = """
from sim.kernel.compiled import compiled

@compiled
def call(state):
    return state.number + 1
"""
USER = """
from typing import NamedTuple
from library import call

class State(NamedTuple):
    number: int

def main():
    print(call(State({number})))
"""


def run(folder: Path, module: str) -> str:
    """Return what a process of its own printed."""
    command = [sys.executable, "-c", f"import {module}; {module}.main()"]
    path = os.pathsep.join([str(ROOT), str(folder)])
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2_000:]
    return ended.stdout.strip()


def test_code_stored_for_a_module_that_is_gone_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "library.py").write_text(LIBRARY)
    for number, name in enumerate(("first", "second")):
        (tmp_path / f"{name}.py").write_text(USER.format(number=number))
    assert run(tmp_path, "first") == "1"
    assert list((tmp_path / "__pycache__").glob("library.call-*.nbi")), "nothing is stored"
    (tmp_path / "first.py").unlink()
    assert run(tmp_path, "second") == "2"
    assert run(tmp_path, "second") == "2"
