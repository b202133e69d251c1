"""`basisd record` at an emulator: files that check, that a backtest plays, and that end in order by a signal."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from emulated import ROOT, Emulator, emulator, write_desk
from live_daemon import eventually

from sim.recording.reader import RecordingReader


def basisd(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "daemon.cli", *arguments]


def config_of(folder: Path, one: Emulator) -> Path:
    return write_desk(folder, {"one": one}, "", symbols=("BTCUSDT", "ETHUSDT"))


def test_what_was_recorded_is_played_back(tmp_path: Path) -> None:
    with emulator(tmp_path, "one") as one:
        config = config_of(tmp_path, one)
        command = basisd(
            "record", str(config), "--out", str(tmp_path / "rec"), "--for", "5s", "--rotate", "2s", "--json"
        )
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    paths = sorted((tmp_path / "rec").glob("one-*.zst"))
    frames = [frame for path in paths for frame in RecordingReader(path)]
    assert len(frames) == told["frames"] > 0
    assert told["files"] == len(paths) >= 4
    assert told["gaps"] == told["reconnects"] == 0
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "rec", check=False)
    assert checked.returncode == 0
    # The same desk, with the files in the place of the sockets.
    text = config.read_text().replace('kind = "live"', 'kind = "recorded"')
    text = text.replace("include = [", 'include = ["rec/recordings.toml", ', 1)
    lines = [line for line in text.splitlines() if not line.startswith("endpoints")]
    (tmp_path / "back.toml").write_text("\n".join(lines))
    backtest = basisd("backtest", str(tmp_path / "back.toml"), "--out", str(tmp_path / "out"), "--json")
    played = subprocess.run(backtest, cwd=ROOT, capture_output=True, text=True, check=True)
    summary = json.loads(played.stdout)
    assert summary["market_events"] > 0.9 * told["frames"]
    assert summary["halt"] is None


def test_a_recorder_that_is_told_to_stop_ends_its_files(tmp_path: Path) -> None:
    with emulator(tmp_path, "one") as one:
        command = basisd("record", str(config_of(tmp_path, one)), "--out", str(tmp_path / "rec"), "--json")
        with (tmp_path / "said").open("wb") as said:
            process = subprocess.Popen(command, cwd=ROOT, stdout=said)
        try:
            eventually("it writes", lambda: list((tmp_path / "rec" / "open").glob("*.zst")))
            # Another one must not write into the same folder.
            second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert second.returncode == 1
            assert "is in use" in second.stderr
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
    assert not list((tmp_path / "rec" / "open").iterdir())
    assert json.loads((tmp_path / "said").read_text())["files"] == len(list((tmp_path / "rec").glob("*.zst")))
