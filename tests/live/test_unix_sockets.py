"""Unix sockets as the daemon opens them: paths of any length, files left by the dead, who is at the other end."""

import os
import stat
from pathlib import Path

import pytest

from daemon.live.lockfile import FolderInUseError, lock
from daemon.live.paths import StatePaths
from daemon.live.sockets import PATH_BYTES_MAX, SocketInUseError, connect, listen, peer


@pytest.mark.parametrize("depth", [1, 4])
def test_a_path_of_any_length_works(tmp_path: Path, depth: int) -> None:
    path = tmp_path.joinpath(*["a-long-name-of-a-folder" * 2] * depth) / "desk.sock"
    assert depth == 1 or len(os.fsencode(path)) > PATH_BYTES_MAX
    listener = listen(path, mode=0o660)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        client = connect(path)
        server, _ = listener.accept()
        assert peer(server) == peer(client)
        assert (peer(server).pid, peer(server).uid) == (os.getpid(), os.getuid())
        client.close()
        server.close()
        with pytest.raises(SocketInUseError):
            listen(path)
    finally:
        listener.close()
    # The file is still there, and nobody listens on it: it is replaced.
    listen(path).close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "desk.sock"
    path.write_text("precious")
    with pytest.raises(SocketInUseError, match="no socket"):
        listen(path)
    assert path.read_text() == "precious"


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    fd = lock(tmp_path / "state" / "lock")
    with pytest.raises(FolderInUseError, match=str(os.getpid())):
        lock(tmp_path / "state" / "lock")
    os.close(fd)
    os.close(lock(tmp_path / "state" / "lock"))


def test_where_state_and_sockets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert StatePaths.of("demo") == StatePaths(Path("state/demo"), Path("state/demo/run"))
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/basisd")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/basisd")
    assert StatePaths.of("demo") == StatePaths(Path("/var/lib/basisd"), Path("/run/basisd"))
    assert StatePaths.of("demo", "mine") == StatePaths(Path("mine"), Path("mine/run"))


def test_a_finished_run_is_moved_aside_whole(tmp_path: Path) -> None:
    paths = StatePaths.of("demo", str(tmp_path))
    assert not paths.is_finished()
    for _ in range(2):
        for file in (paths.runs / "000001" / "log" / "run.json", paths.guard_journal, paths.venue_journal):
            file.parent.mkdir(parents=True)
            file.write_text("x")
        paths.finish()
        assert paths.is_finished()
        folder = paths.archive()
        assert not paths.is_finished()
        assert not paths.runs.exists()
        assert (folder / "runs" / "000001" / "log" / "run.json").read_text() == "x"
    assert folder.name == "000002"
