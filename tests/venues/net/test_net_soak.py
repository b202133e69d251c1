"""The soak of the network layer in its short form, and that it would notice what it looks for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from benchmarks.held import Sample, SoakSettings
from benchmarks.soak_net import Delays, Gap, Numbers, Soak
from venues.net.websocket import Down, DownReason

ROOT = Path(__file__).resolve().parents[3]


def test_twelve_cuts_in_as_many_seconds_and_nothing_leaked_or_missed():
    command = [sys.executable, "-m", "benchmarks.soak_net", "--seconds", "14", "--cut", "1", "--sample", "0.1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    told = json.loads(ended.stdout)
    assert told["broken"] == []
    assert sum(told["cuts"].values()) >= 4
    assert told["gaps"] >= 1
    assert told["doubles"] >= 1


def heard(*numbers: tuple[int, int]) -> Numbers:
    """What was noted of these, each (connection, number)."""
    noted = Numbers()
    for connection, number in numbers:
        noted.note(connection, number)
    return noted


def test_two_connections_complete_each_other():
    noted = heard((1, 5), (1, 6), (2, 9), (2, 10), (1, 7), (1, 8), (1, 9), (2, 11))
    assert (noted.gaps, noted.broken, noted.doubles, noted.frames) == ([], [], 1, 8)


def test_a_number_that_never_comes_is_a_gap():
    assert heard((1, 5), (2, 9), (2, 10)).gaps == [Gap(6, 8, 2)]
    assert heard((1, 5), (2, 9), (1, 6), (1, 7)).gaps == [Gap(8, 8, 2)]


def test_a_number_left_out_within_a_connection_is_broken():
    assert heard((1, 5), (1, 7)).broken == ["connection 1: 7 came where 6 was due"]
    assert heard((1, 5), (1, 5)).broken == ["connection 1: 5 came where 6 was due"]


def a_run(**changes) -> Soak:
    """A quiet run of 100 s, changed."""
    samples = [Sample(float(at), 40.0, 11, 15, True) for at in range(1, 101)]
    return evolve(Soak(SoakSettings(rate=1), numbers=Numbers(frames=100), samples=samples), **changes)


def test_a_quiet_run_breaks_nothing():
    assert a_run()._judge(100.0).broken == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"samples": [Sample(float(at), 40.0 + at / 20, 11, 15, True) for at in range(1, 101)]}, "memory grew"),
        ({"samples": [Sample(float(at), 40.0, 11 + at // 60, 15, True) for at in range(1, 101)]}, "11 tasks became 12"),
        ({"samples": [Sample(float(at), 40.0, 11, 15 + at // 60, True) for at in range(1, 101)]}, "15 descriptors"),
        ({"numbers": Numbers(frames=49)}, "49 frames in 100 s"),
        ({"numbers": Numbers(frames=100, broken=["odd"])}, "odd"),
        ({"numbers": Numbers(frames=100, gaps=[Gap(3, 4, 2)])}, "connection 1 ended as None"),
        ({"cuts": {"close": 0, "reset": 0, "silence": 3, "rotate": 0}}, "3 times silence and only 0 times silent"),
    ],
)
def test_what_is_looked_for_is_noticed(changes, why):
    broken = a_run(**changes)._judge(100.0).broken
    assert len(broken) == 1
    assert why in broken[0]


@pytest.mark.parametrize(("reason", "is_broken"), [(DownReason.LOST, False), (DownReason.ROTATED, True)])
def test_numbers_may_be_missed_at_a_cut_but_not_at_a_rotation(reason, is_broken):
    run = a_run(numbers=Numbers(frames=100, gaps=[Gap(3, 4, 2)]), downs=[Down(1, reason, "")])
    assert bool(run._judge(100.0).broken) is is_broken


def test_a_run_of_two_samples_says_nothing():
    with pytest.raises(ValueError, match="say nothing"):
        a_run(samples=[])._judge(100.0)


def test_delays_are_told_within_a_bucket():
    delays = Delays()
    for microseconds in range(1, 1_001):
        delays.note(microseconds * 1_000)
    assert delays.quantile_us(0.5) == pytest.approx(500, rel=0.11)
    assert delays.quantile_us(0.99) == pytest.approx(990, rel=0.11)
    assert Delays().quantile_us(0.5) == 0.0
