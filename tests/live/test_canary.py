"""A secret that the daemon was given appears nowhere: no log, no journal, no metric, no answer, no traceback."""

import os
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from desk_configs import BUSY, write_config
from live_daemon import Daemon, eventually, running

CANARY = "cANARY-5ecret-7f3a9b1d2e"


def with_credential(text: str) -> str:
    account = 'id = "futures"\n'
    assert account in text
    return text.replace(account, f'{account}credentials = {{ credential = "futures-key" }}\n', 1)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "futures-key"]


def holds(path: Path, needle: bytes) -> bool:
    return needle in path.read_bytes()


def test_a_secret_appears_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = tmp_path / "credentials"
    secrets.mkdir(mode=0o700)
    (secrets / "futures-key").write_text(CANARY)
    (secrets / "futures-key").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    config = write_config(tmp_path / "desk.toml", BUSY)
    config.write_text(with_credential(config.read_text()))
    with running(config, tmp_path / "state", "--speed", "10") as daemon:
        port = daemon.wait_ready()["metrics_port"]
        eventually("it trades", lambda: daemon.call("positions", path=daemon.paths.view_socket)["positions"])
        told = [
            urlopen(f"http://127.0.0.1:{port}/metrics").read().decode(),
            *(str(daemon.call(method, path=daemon.paths.view_socket)) for method in ("status", "overview", "events")),
        ]
        daemon.call("arm", {"reason": f"whoever types {CANARY} into a reason"})
        # The end that leaves a traceback, and a core if one were allowed.
        os.kill(daemon.pid, signal.SIGABRT)
        assert daemon.process is not None
        daemon.process.wait(30)
        daemon.start()
        daemon.wait_ready()
        assert daemon.terminate() == 0
    assert not [one for one in told if CANARY in one]
    found = [path for path in files_below(tmp_path) if holds(path, CANARY.encode())]
    # A person who writes a secret into a reason has it in the journal, which keeps what persons said.
    assert {path.parent.name for path in found} <= {"log", "guard"}, found
    assert not holds(daemon.stderr, CANARY.encode())


def test_a_credential_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "futures-key").write_text(CANARY)
    (tmp_path / "futures-key").chmod(0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = write_config(tmp_path / "desk.toml", BUSY)
    config.write_text(
        config.read_text().replace(
            'id = "futures"\n', 'id = "futures"\ncredentials = { credential = "futures-key" }\n', 1
        )
    )
    daemon = Daemon(config, tmp_path / "state")
    daemon.start()
    assert daemon.process is not None
    try:
        assert daemon.process.wait(60) == 2
    except subprocess.TimeoutExpired:
        daemon.clear()
        raise
    assert "futures-key" in daemon.words()
    assert CANARY not in daemon.words()


def test_without_a_service_manager_credentials_lie_beside_the_configuration(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    config.write_text(with_credential(config.read_text()))
    with running(config, tmp_path / "state") as daemon:
        assert daemon.process is not None
        assert daemon.process.wait(60) == 2
        assert "credentials/futures-key" in daemon.words()
        (tmp_path / "credentials").mkdir(mode=0o700)
        (tmp_path / "credentials" / "futures-key").write_text(CANARY)
        (tmp_path / "credentials" / "futures-key").chmod(0o600)
        daemon.start()
        daemon.wait_ready()
        assert daemon.terminate() == 0
