"""Emulators for other people's clients; without the clients the tests say so and are skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from client_scripts import ABSENT, Served, clients_python, serving


@pytest.fixture(scope="session")
def clients() -> None:
    """The clients' environment is there."""
    if clients_python() is None:
        pytest.skip(ABSENT)


@pytest.fixture(scope="module")
def emulator(clients: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An emulator of a market made from a seed, shared by the tests of a module."""
    with serving(tmp_path_factory.mktemp("emulator")) as one:
        yield one


@pytest.fixture
def fresh_emulator(clients: None, tmp_path: Path) -> Iterator[Served]:
    """An emulator of the test's own: nobody has traded on it."""
    with serving(tmp_path) as one:
        yield one
