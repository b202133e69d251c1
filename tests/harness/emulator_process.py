"""The emulator as a user starts it, and other people's clients beside it: processes that meet over real sockets.

`BASISD_CLIENTS_PYTHON` names the interpreter that has the clients; without it that of `make clients` is taken.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "tests/clients/scripts"
VARIABLE = "BASISD_CLIENTS_PYTHON"
MADE = ROOT / ".venv-clients/bin/python"
ABSENT = f"no third-party clients: run `make clients`, or name a Python that has them in {VARIABLE}"

PATIENCE_S = 240.0
"""How long a client may take before it counts as hung; nothing is asserted about how long it takes within."""


class ClientFailedError(AssertionError):
    """A client's script ended with an error, or hung."""


def clients_python() -> Path | None:
    """Return the interpreter that has the clients. Raises FileNotFoundError where the one named is not there."""
    named = os.environ.get(VARIABLE)
    if named is None:
        return MADE if MADE.is_file() else None
    if not Path(named).is_file():
        raise FileNotFoundError(f"{VARIABLE} names {named}, which is not there")
    return Path(named)


@frozen
class Emulator:
    """A running emulator: what its first line said, and the folder of its log."""

    endpoints: Mapping[str, str]
    log: Path

    def run(self, script: str, *parts: str, **given: Any) -> dict[str, list[Any]]:
        """Run `parts` of a script of tests/clients/scripts on this emulator; return each call's values by its name.

        Raises ClientFailedError with what the client printed and the end of the emulator's log.
        """
        python = clients_python()
        assert python is not None, ABSENT
        told = json.dumps({**self.endpoints, **given})
        try:
            done = subprocess.run(
                [str(python), "-W", "ignore", str(SCRIPTS / script), *parts],
                input=told,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            printed = (error.stderr or b"").decode() if isinstance(error.stderr, bytes) else str(error.stderr)
            raise ClientFailedError(f"{script} {parts} hung:\n{printed}\n{self.tail()}") from None
        if done.returncode != 0:
            raise ClientFailedError(f"{script} {parts} ended with {done.returncode}:\n{done.stderr}\n{self.tail()}")
        answers: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
        return answers

    def tail(self) -> str:
        """Return the end of what the emulator logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


@contextmanager
def emulating(folder: Path, *options: str) -> Iterator[Emulator]:
    """Run `basisd emulate binance --port 0`; SIGTERM must end it with status 0."""
    log = folder / "emulator.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", "emulate", "binance", "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        )
        assert process.stdout is not None
        with process.stdout:
            try:
                yield Emulator(_first_line(process, log), log)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise AssertionError(f"the emulator did not heed SIGTERM:\n{log.read_text()}") from None
    assert process.returncode == 0, log.read_text()


def _first_line(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    assert process.stdout is not None
    lines: list[bytes] = []
    reader = Thread(target=lambda stdout: lines.append(stdout.readline()), args=(process.stdout,))
    reader.start()
    reader.join(120)
    if not lines:
        # The reader would wait for ever for a line that does not come.
        process.kill()
        reader.join()
    assert lines, f"the emulator said nothing:\n{log.read_text()}"
    assert lines[0].strip(), f"the emulator ended at once:\n{log.read_text()}"
    told: dict[str, str] = json.loads(lines[0])
    return told


def made_all(answers: Mapping[str, list[Any]], calls: str) -> None:
    """Every listed call was made. One that raised would have ended the script with its error."""
    assert set(calls.split()) <= set(answers)
