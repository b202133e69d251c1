"""How a configuration takes in tables from other files, and what it does not let them do."""

from pathlib import Path

import pytest

from daemon.config import ConfigErrors, load, parse
from daemon.config_parts import SetupError, read_document
from daemon.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
DEMO = (ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")
START, END = DEMO.index("[[instruments]]"), DEMO.index("[[accounts]]")
INSTRUMENTS = DEMO[START:END]
WITHOUT = f"# Rules of a day.\ninclude = [\n    'rules/day.toml',\n]\n\n{DEMO[:START]}{DEMO[END:]}"


def written(folder: Path, text: str = WITHOUT, included: str = INSTRUMENTS) -> Path:
    (folder / "rules").mkdir()
    (folder / "rules" / "day.toml").write_text(included)
    path = folder / "desk.toml"
    path.write_text(text)
    return path


def test_a_run_with_includes_is_the_run_with_everything_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "whole.toml").write_text(DEMO)
    whole, config = load(tmp_path / "whole.toml", KINDS), load(written(tmp_path), KINDS)
    assert config.instruments == whole.instruments
    assert config.sha256 == whole.sha256


def test_what_is_logged_of_a_run_needs_no_other_file(tmp_path: Path) -> None:
    config = load(written(tmp_path), KINDS)
    again = parse(config.text, tmp_path / "elsewhere" / "log", KINDS, needs_files=False)
    assert again.instruments == config.instruments
    assert again.sha256 == config.sha256


def test_the_guard_and_the_gateway_read_includes_too(tmp_path: Path) -> None:
    document = read_document(written(tmp_path))
    assert [row["symbol"] for row in document["instruments"]] == ["BTCUSDT", "BTCUSDT"]


def test_tables_of_the_configuration_itself_stay(tmp_path: Path) -> None:
    second = INSTRUMENTS.index("[[instruments]]", 1)
    text = WITHOUT.replace("[[accounts]]", f"{INSTRUMENTS[:second]}\n[[accounts]]", 1)
    config = load(written(tmp_path, text, INSTRUMENTS[second:]), KINDS)
    assert list(config.instruments) == ["binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"]


def test_recordings_can_be_listed_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "one.zst").touch()
    market, venues = DEMO.index("[market]"), DEMO.index("[[venues]]")
    text = f"include = ['rules/day.toml']\n{DEMO[:market]}[market]\nkind = 'recorded'\n\n{DEMO[venues:]}"
    rows = "".join(
        f"[[market.recordings]]\nfile = '{name}.zst'\nvenue = '{venue}'\nsymbols = ['BTCUSDT']\n"
        for name, venue in (("one", "binance_usdm"), ("two", "binance_spot"))
    )
    with pytest.raises(ConfigErrors) as raised:
        load(written(tmp_path, text, rows), KINDS)
    assert str(raised.value).endswith("market.recordings[1].file: there is no file 'two.zst'")
    (tmp_path / "two.zst").touch()
    assert sorted(load(tmp_path / "desk.toml", KINDS).paths) == ["one.zst", "two.zst"]


@pytest.mark.parametrize(
    ("text", "included", "why"),
    [
        (WITHOUT.replace("day.toml", "night.toml"), INSTRUMENTS, r"include\[0\].*night.toml cannot be read"),
        (WITHOUT, "[risk]\ngross_notional_max = 1\n", r"include\[0\].*arrays of tables only"),
        (WITHOUT, f"run = 1\n{INSTRUMENTS}", r"include\[0\].*arrays of tables only"),
        (WITHOUT, "", r"include\[0\].*arrays of tables only"),
        (WITHOUT, "[[instruments", r"include\[0\].*is not TOML"),
        (WITHOUT, "include = ['x']\n", r"include\[0\].*arrays of tables only"),
        ("include = 'rules/day.toml'\n" + DEMO, INSTRUMENTS, "include: expected an array"),
        ("include = [1]\n" + DEMO, INSTRUMENTS, "include: expected an array"),
        (DEMO.replace("[run]", "[run]\ninclude = ['rules/day.toml']"), INSTRUMENTS, "run.include: unknown key"),
        ("'include' = ['rules/day.toml']\n" + DEMO, INSTRUMENTS, "include: write it above the first table"),
    ],
)
def test_a_mistake_in_an_include_is_named(tmp_path: Path, text: str, included: str, why: str) -> None:
    path = written(tmp_path, text, included)
    with pytest.raises(ConfigErrors, match=why):
        load(path, KINDS)
    if "run.include" not in why:
        with pytest.raises(SetupError, match=why):
            read_document(path)
