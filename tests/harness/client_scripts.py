"""Other people's clients as processes of their own, beside an emulator: they meet over real sockets.

`BASISD_CLIENTS_PYTHON` names the interpreter that has the clients; without it that of `make clients` is taken.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from emulated import emulator

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
class Served:
    """A running emulator that clients trade on: what its first line told, and the file of its log."""

    told: Mapping[str, str]
    log: Path

    def run(self, script: str, *parts: str, **given: Any) -> dict[str, list[Any]]:
        """Run `parts` of a script of tests/clients/scripts on this emulator; return each call's values by its name.

        Raises ClientFailedError with what the client printed and the end of the emulator's log.
        """
        python = clients_python()
        assert python is not None, ABSENT
        try:
            done = subprocess.run(
                [str(python), "-W", "ignore", str(SCRIPTS / script), *parts],
                input=json.dumps({**self.told, **given}),
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClientFailedError(f"{script} {parts} hung:\n{error.stderr!r}\n{self._tail()}") from None
        if done.returncode != 0:
            raise ClientFailedError(f"{script} {parts} ended with {done.returncode}:\n{done.stderr}\n{self._tail()}")
        answers: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
        return answers

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[Served]:
    """Give an emulator with a market made from a seed; it is gone in the end."""
    with emulator(folder, "emulator", "--seed", "7", *options) as one:
        yield Served(one.told, one.words)


def made_all(answers: Mapping[str, list[Any]], calls: str) -> None:
    """Every listed call was made. One that raised would have ended the script with its error."""
    assert set(calls.split()) <= set(answers)
