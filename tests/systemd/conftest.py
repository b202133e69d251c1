"""The machine that tests of the units run on: booted once, skipped with the reason where it cannot be."""

from collections.abc import Iterator

import pytest
from systemd_machine import Machine, why_not


@pytest.fixture(scope="session")
def bare_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted machine with the project's units installed and none of them started."""
    why = why_not()
    if why:
        pytest.skip(f"NOTHING IS TESTED UNDER A REAL SYSTEMD: {why}")
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.start()
    try:
        machine.install()
        yield machine
    finally:
        machine.stop()
