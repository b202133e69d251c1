"""What `basisd check` and `basisd replay` tell: a summary of what is right, or every mistake."""

from argparse import Namespace
from pathlib import Path

import pytest

from daemon import check, replay
from daemon.backtest import Backtest
from daemon.exits import ExitError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def short(tmp_path):
    path = tmp_path / "short.toml"
    path.write_text((ROOT / "configs" / "demo.toml").read_text().replace('duration = "20m"', 'duration = "5s"'))
    return path


def test_what_is_right_is_told_in_short(short, capsys):
    assert check.main(Namespace(config=str(short))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{short}: ok"
    told = dict(line.split(maxsplit=1) for line in lines[1:])
    assert told["run"] == "demo, seed 15, synthetic market"
    assert told["venues"] == "binance_usdm, binance_spot"
    assert told["strategies"] == "carry"
    assert len(told["sha256"]) == 64


def test_every_mistake_is_a_line_of_the_refusal(short):
    short.write_text(short.read_text().replace("seed = 15", "sed = 15") + "[riks]\n")
    with pytest.raises(ExitError) as raised:
        check.main(Namespace(config=str(short)))
    assert raised.value.status == 2
    assert sorted(raised.value.lines) == [
        f"{short}: riks: unknown key; did you mean 'risk'?",
        f"{short}: run.sed: unknown key; did you mean 'seed'?",
    ]


def test_a_replay_tells_the_same_journal_and_exports_it_line_by_line(short, tmp_path, capsysbinary):
    outcome = Backtest.from_file(short).run(tmp_path / "out")
    assert replay.main(Namespace(log=str(tmp_path / "out"), check=True, export=False)) == 0
    told = capsysbinary.readouterr().out.decode()
    assert f"journal  {outcome.summary['journal_sha256']}" in told
    assert told.endswith("no difference\n")


def test_a_log_that_is_none_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ExitError, match=r"run\.json") as raised:
        replay.main(Namespace(log=str(tmp_path), check=True, export=False))
    assert raised.value.status == 1
