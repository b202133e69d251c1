"""What docs/data.md shows runs, and says what there is."""

import re
from pathlib import Path

import numpy as np
import pytest

from daemon.cli import main
from sim.importers.hftbacktest import EVENT

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()


def block(name):
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```\n<!-- /{name} -->", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_store_example_reads_what_was_imported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = (1 << 31) | (1 << 30) | (1 << 29) | 2
    np.savez("x.npz", data=np.array([(flags, 5, 6, 10.0, 0.5, 0, 0, 0.0), (flags, 7, 8, 10.0, 0.7, 0, 0, 0.0)], EVENT))
    what = ["--instrument", "v:X", "--tick", "0.1", "--lot", "0.001", "--base", "X", "--quote", "USD"]
    assert main(["import", "hftbacktest", "x.npz", "--out", "day.rows", *what]) == 0
    capsys.readouterr()
    exec(block("store"), {})
    assert capsys.readouterr().out == "2 () {}\n1.200\n"


def test_the_generated_example_tells_as_many_rows_as_it_says(capsys):
    exec(block("generated"), {})
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [len(line) for line in told] == [2, 1]
    assert all(9_900 < int(line[0]) <= 10_000 for line in told)


def test_every_command_shown_is_one_the_program_knows(capsys):
    shown = re.findall(r"^    basisd (import \w+)", PAGE, re.M)
    assert len(shown) == 6
    for command in shown:
        with pytest.raises(SystemExit, match=r"^0$"):
            main([*command.split(), "--help"])
        assert command in capsys.readouterr().out
