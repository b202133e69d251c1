"""How commands end when the world does not play along: every time with a line that says why, never with a traceback."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "demo.toml"

STRATEGIES = """
from basisd import Strategy

class OnBook(Strategy):
    def on_book(self, now, view):
        if self.state.decisions > 100:
            raise RuntimeError("no luck today")

class OnStart(Strategy):
    def on_start(self, now):
        raise RuntimeError("no luck today")

class Maker(Strategy):
    def __init__(self, instruments, config=None, name=""):
        raise RuntimeError("no luck today")

class Chatty(Strategy):
    def on_start(self, now):
        print("hello")
"""


def basisd(*arguments, stdout=subprocess.PIPE, cwd=ROOT, environment=(), limit=None):
    def prepare() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment),
        preexec_fn=prepare,
    )


def says(done, status, *words):
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    return done


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with strategies beside configurations of some seconds, one for each: `desk(name)` is the file."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "unlucky.py").write_text(STRATEGIES)
    head = DEMO.read_text().partition("[[strategies]]")[0].replace('"20m"', '"20s"')

    def write(name: str) -> Path:
        path: Path = folder / f"{name}.toml"
        path.write_text(f'{head}[[strategies]]\nid = "mine"\nkind = "unlucky:{name}"\n')
        return path

    return write


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        says(basisd("backtest", DEMO, "--out", out), 1, str(out))


def test_a_full_disk_leaves_a_log_that_can_be_read(tmp_path):
    says(basisd("backtest", DEMO, "--out", tmp_path / "out", limit=200_000), 1, str(tmp_path / "out"), "too large")
    done = says(basisd("replay", tmp_path / "out", "--check"), 0)
    assert "not closed" in done.stdout
    assert done.stdout.endswith("no difference\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_takes_nothing(tmp_path, desk):
    with open("/dev/full", "w") as full:
        says(basisd("backtest", desk("Chatty"), "--out", tmp_path / "out", stdout=full), 1, "No space left")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_stopped_leaves_a_log_up_to_there(tmp_path, number, status):
    long = tmp_path / "long.toml"
    long.write_text(DEMO.read_text().replace('duration = "20m"', 'duration = "6h"'))
    command = [sys.executable, "-m", "daemon.cli", "backtest", str(long), "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        market = tmp_path / "out" / "log" / "market-000000.seg"
        while process.poll() is None and not (market.exists() and market.stat().st_size > 50_000):
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, "")
    assert err.splitlines()[-1].startswith(f"basisd: stopped by {number.name}; the log holds the run up to there: ")
    assert len(err.splitlines()) == 1
    done = says(basisd("replay", tmp_path / "out", "--check"), 0)
    assert done.stdout.endswith("no difference\n")


def test_a_strategy_that_fails_halts_the_run_by_name(tmp_path, desk):
    words = ("set aside: ", "halted: ", "mine failed on BookView: RuntimeError: no luck today")
    done = says(basisd("backtest", desk("OnBook"), "--out", tmp_path / "out", "--json"), 1, *words)
    summary = json.loads(done.stdout)
    assert len(summary["quarantined"]) == 2
    assert "no luck today" in summary["halt"]
    told = says(basisd("backtest", desk("OnBook"), "--out", tmp_path / "told"), 1).stdout
    assert "halted       second quarantine within a minute" in told


def test_a_strategy_that_fails_at_the_start_is_named(tmp_path, desk):
    says(
        basisd("backtest", desk("OnStart"), "--out", tmp_path / "out"), 1, "mine failed", "RuntimeError: no luck today"
    )


def test_a_strategy_that_cannot_be_made_is_found_by_check(desk):
    said = "strategies[0]: unlucky:Maker cannot be made of these params: RuntimeError: no luck today"
    says(basisd("check", desk("Maker")), 2, said)


def test_a_strategy_is_found_beside_its_configuration_and_its_log(tmp_path, desk):
    path = desk("Chatty")
    says(basisd("backtest", path, "--out", path.parent / "beside", cwd=tmp_path), 0)
    says(basisd("replay", path.parent / "beside" / "log", "--check", cwd=path.parent), 0)
    done = basisd("replay", path.parent / "beside" / "log", "--check", cwd=tmp_path)
    says(done, 2, "'unlucky:Chatty' cannot be imported", f"looked in {path.parent / 'beside'}", str(tmp_path))


def test_json_is_nothing_but_json(tmp_path, desk):
    done = says(basisd("backtest", desk("Chatty"), "--out", tmp_path / "out", "--json"), 0, "hello")
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_without_assertions_and_docstrings_all_is_the_same(tmp_path, desk):
    path, bare = desk("Chatty"), {"PYTHONOPTIMIZE": "2"}.items()
    hashes = {
        json.loads(basisd("backtest", path, "--out", tmp_path / name, "--json", environment=how).stdout)[
            "journal_sha256"
        ]
        for name, how in (("plain", ()), ("bare", bare))
    }
    assert len(hashes) == 1
    assert basisd("replay", tmp_path / "plain", "--check", environment=bare, cwd=path.parent).returncode == 0
    says(basisd("init", tmp_path / "new.toml", environment=bare), 0)
    says(basisd("check", tmp_path / "new.toml", environment=bare), 0)
    says(basisd("check", ROOT / "README.md", environment=bare), 2, "is not TOML")
