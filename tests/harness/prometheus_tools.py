"""The programs of Prometheus, where they are installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

MONITORING = Path(__file__).resolve().parents[2] / "configs" / "monitoring"


def needs(program: str) -> str:
    """Return the program's path; the test is skipped without it."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed (Debian's package prometheus has it): the monitoring is not proven")
    return found


def promtool(*arguments: str, stdin: str | None = None, cwd: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    tool = needs("promtool")
    return subprocess.run([tool, *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
