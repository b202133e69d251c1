"""The machine that tests of the units run on: booted once, skipped with the reason where it cannot be."""

from collections.abc import Iterator

import pytest
from systemd_desk import Desk
from systemd_machine import Machine, why_not

_MEASURED: dict[str, list[float]] = {}


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


@pytest.fixture
def desk(bare_machine: Machine) -> Iterator[Desk]:
    """The units configured and not started, without any state."""
    desk = Desk(bare_machine, _MEASURED)
    desk.clear()
    desk.configure()
    yield desk
    desk.clear()


@pytest.fixture(scope="module")
def standing(bare_machine: Machine) -> Iterator[Desk]:
    """A desk that was started for several tests, which must not mind each other."""
    desk = Desk(bare_machine, _MEASURED)
    desk.clear()
    desk.configure()
    desk.start()
    yield desk
    desk.clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how long it took what the tests only wait for."""
    if _MEASURED:
        terminalreporter.section("measured under systemd, seconds")
        for name, times in _MEASURED.items():
            terminalreporter.write_line(f"{name}: {', '.join(f'{one:.2f}' for one in times)}")
