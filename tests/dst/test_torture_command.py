"""What `basisd torture` prints, writes and returns; scripts as files; the smallest script of a failure."""

import json

import pytest
from attrs import evolve
from sabotage import SABOTAGES

from daemon import cli
from daemon.torture.controls import unexplained
from daemon.torture.desk import VENUES, instrument_names
from daemon.torture.script import (
    SECOND_NS,
    Fault,
    FaultKind,
    Script,
    ScriptError,
    draw,
    dump,
    load,
    parse_kinds,
)
from daemon.torture.seeds import run_script
from daemon.torture.shrink import Shrinking

INSTRUMENTS = instrument_names(("BTC", "ETH"))


def planted(name, monkeypatch):
    next(one for one in SABOTAGES if one.name == name).plant(monkeypatch.setattr)


def test_a_seed_draws_the_same_script_and_another_one_another():
    scripts = [draw(seed, 900 * SECOND_NS, VENUES, INSTRUMENTS) for seed in (7, 7, 8)]
    assert scripts[0] == scripts[1] != scripts[2]
    assert all(one.end_ns <= scripts[0].calm_ns for one in scripts[0].faults)


def test_a_script_comes_back_from_its_file(tmp_path):
    script = draw(7, 900 * SECOND_NS, VENUES, INSTRUMENTS)
    (tmp_path / "script.json").write_text(dump(script))
    assert load(tmp_path / "script.json") == script


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "seed": 1, "duration_ns": 5, "faults": [{}]}']
)
def test_what_is_no_script_is_refused_by_name(text, tmp_path):
    (tmp_path / "script.json").write_text(text)
    with pytest.raises(ScriptError, match=r"script\.json"):
        load(tmp_path / "script.json")


def test_kinds_are_named_or_refused():
    assert parse_kinds("adl, no_ack") == (FaultKind.ADL, FaultKind.NO_ACK)
    assert parse_kinds("all") == ()
    with pytest.raises(ValueError, match="'earthquake' is no fault"):
        parse_kinds("adl,earthquake")


def test_every_control_has_a_fault_that_is_expected_to_trip_it_or_a_reason_why_not():
    assert unexplained() == []


def test_a_failing_script_is_cut_to_the_fault_that_matters(monkeypatch):
    planted("timeout_means_rejected", monkeypatch)
    kinds = [FaultKind.FEED_GAP, FaultKind.CROSSED, FaultKind.GAP, FaultKind.THIN] * 3
    noise = [Fault(kind, number * SECOND_NS, 0, INSTRUMENTS[0], number) for number, kind in enumerate(kinds, start=5)]
    fault = Fault(FaultKind.UNKNOWN_DONE, 9 * SECOND_NS, 20 * SECOND_NS, "perp_venue")
    script = Script(3, 120 * SECOND_NS, (*noise, fault))
    outcome = run_script(script)
    assert outcome.invariant in ("I1", "I9")
    small = Shrinking(run_script, outcome.invariant, 100).shrink(script, outcome.ended_ns)
    assert small.faults == (fault,)
    assert small.duration_ns < 60 * SECOND_NS
    assert run_script(small).invariant == outcome.invariant


def test_the_command_reports_and_ends_well_when_all_holds(capsys):
    assert cli.main(["torture", "--seeds", "1", "--hours", "0.04", "--jobs", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["violations"] == []
    assert report["seeds"] == 1
    assert set(report["faults"]) == set(FaultKind)
    assert report["silent_quote_seconds"] == "0"


def test_the_command_names_a_failing_seed_and_writes_its_smallest_script(capsys, tmp_path, monkeypatch):
    planted("timeout_means_rejected", monkeypatch)
    arguments = ["--seeds", "1", "--first-seed", "5", "--hours", "0.04", "--faults", "unknown_done", "--jobs", "1"]
    assert cli.main(["torture", *arguments, "--out", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "basisd torture --seeds 1 --first-seed 5 --hours 0.04 --faults unknown_done" in said
    path = tmp_path / "torture-5.json"
    assert len(load(path).faults) == 1
    assert cli.main(["torture", "--script", str(path)]) == 1
    assert f"basisd torture --script {path}" in capsys.readouterr().out


def test_shrinking_ends_after_its_number_of_runs_whatever_is_left():
    """Three runs halve forty faults three times."""
    faults = tuple(Fault(FaultKind.GAP, at * SECOND_NS, 0, INSTRUMENTS[0], at) for at in range(5, 45))
    outcome, played = run_script(Script(1, 90 * SECOND_NS, ())), []

    def play(script):
        played.append(script)
        return evolve(outcome, invariant="I1" if faults[-1] in script.faults else "")

    small = Shrinking(play, "I1", 3).shrink(Script(1, 120 * SECOND_NS, faults), None)
    assert len(played) == 3
    assert small.faults == faults[-5:]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--faults", "earthquake"], "is no fault"),
        (["--hours", "0.001"], "at least 90 s"),
        (["--seeds", "0"], "at least 1"),
        (["--shrink", "-1"], "at least 0"),
        (["--script", "nowhere.json"], "nowhere.json"),
    ],
)
def test_a_mistake_in_usage_is_named(arguments, why, capsys):
    assert cli.main(["torture", *arguments]) in (1, 2)
    assert why in capsys.readouterr().err
