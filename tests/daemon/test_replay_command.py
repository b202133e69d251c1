"""What `basisd replay` tells about a log: another build, another configuration, a file too many, a lost end."""

import json
import re
import shutil
from argparse import Namespace
from decimal import ROUND_UP, Context, Inexact, localcontext
from pathlib import Path

import pytest
from attrs import evolve

from daemon.backtest import Backtest
from daemon.exits import ExitError
from daemon.log.checked import read_checked, write_checked
from daemon.log.run_log import MANIFEST_NAME, RUN_NAME, RunHeader
from daemon.replay import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    text = (ROOT / "configs" / "demo.toml").read_text()
    config = folder / "short.toml"
    for key, value in (("duration", "20s"), ("entry_bps", "-100")):
        text, count = re.subn(rf"^{key} = \S+", f'{key} = "{value}"', text, flags=re.M)
        assert count == 1, key
    config.write_text(text)
    Backtest.from_file(config).run(folder / "out")
    return folder / "out" / "log"


@pytest.fixture
def log(run: Path, tmp_path: Path) -> Path:
    """A copy of the run's log that looks as if it had not been closed."""
    folder = tmp_path / "log"
    shutil.copytree(run, folder)
    (folder / MANIFEST_NAME).unlink()
    return folder


def replay(folder: Path) -> int:
    return main(Namespace(log=str(folder), check=True, export=False))


def rewrite_config(folder: Path, text: str) -> None:
    header = read_checked(folder / RUN_NAME, RunHeader)
    write_checked(folder / RUN_NAME, evolve(header, config_text=text))


def test_a_log_without_its_manifest_is_still_verified(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(log) == 0
    said = capsys.readouterr()
    assert "not closed, 0 torn bytes and 0 records behind them left out" in said.out
    assert said.err == ""
    segment = log / "market-000000.seg"
    whole = bytearray(segment.read_bytes())
    whole[20] ^= 1
    segment.write_bytes(whole)
    with pytest.raises(ExitError, match=r"market-000000\.seg: header: checksum"):
        replay(log)


def test_market_inputs_that_are_gone_are_told(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (log / "market-000000.seg").write_bytes(b"")
    assert replay(log) == 0
    said = capsys.readouterr().out
    behind = int(said.split(" records behind them")[0].rsplit(" ", 1)[1])
    assert behind > 10


def test_another_configuration_than_the_hash_tells_is_refused(log: Path) -> None:
    text = read_checked(log / RUN_NAME, RunHeader).config_text
    rewrite_config(log, text.replace('qty = "0.5"', 'qty = "0.4"'))
    with pytest.raises(ExitError, match=r"run\.json: config_text: it has the hash"):
        replay(log)


def test_another_build_is_told_and_compared_all_the_same(
    log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("daemon.replay.build_id", lambda: "9.9+newer")
    assert replay(log) == 0
    said = capsys.readouterr()
    assert "this is 9.9+newer: differences may come from that" in said.err
    assert "no difference" in said.out


def test_whatever_the_process_does_with_its_own_decimals(run: Path, tmp_path: Path) -> None:
    config = tmp_path / "short.toml"
    shutil.copy(run.parents[1] / "short.toml", config)
    with localcontext(Context(prec=7, rounding=ROUND_UP, traps=[Inexact])):
        outcome = Backtest.from_file(config).run(tmp_path / "out")
        assert replay(tmp_path / "out" / "log") == 0
    summary = json.loads((run.parent / "summary.json").read_text())
    for key in ("journal_sha256", "net_pnl", "fees", "max_unhedged_notional"):
        assert outcome.summary[key] == summary[key]


def test_a_segment_that_the_manifest_does_not_name_is_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    shutil.copytree(run, folder)
    shutil.copy(folder / "market-000000.seg", folder / "market-000001.seg")
    with pytest.raises(ExitError, match=r"market-000001\.seg: the manifest does not name this file"):
        replay(folder)
