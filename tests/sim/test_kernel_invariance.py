"""What must not change a ledger: blocks of rows, room, stops, slots, and an instrument nobody trades."""

from functools import partial

import numpy as np
import pytest
from compiled_market import SPECS, Tape, make_tape, perpetual
from quoter import ledger_hash, quoter, run_quoter

import sim.core
from sim import compiled_run
from sim.kernel.desk import WAKE_ON_FEED, WAKE_ON_REPORTS
from sim.kernel.layout import make_kernel
from sim.latency import Latencies, Latency, LatencyModel
from sim.rows import Rows

JITTER = Latencies(
    Latency(100, 200, LatencyModel.EXPONENTIAL),
    Latency(50, 20, LatencyModel.CUBIC),
    Latency(100),
    Latency(0, 0, LatencyModel.RECORDED, ((0, 500), (50_000, 20), (100_000, 300))),
)
WAKES = {"clock": 0, "reports": WAKE_ON_REPORTS, "feed": WAKE_ON_FEED, "both": WAKE_ON_REPORTS | WAKE_ON_FEED}


def cut(rows: Rows, size: int) -> list[Rows]:
    return [rows.slice(at, at + size) for at in range(0, len(rows), size)]


@pytest.mark.parametrize("wakes", WAKES)
@pytest.mark.parametrize("model", ["risk_averse", "log"])
def test_blocks_of_any_size_make_one_ledger(wakes: str, model: str) -> None:
    rows = make_tape(11, 800).rows(130)
    ledgers = {}
    for size in (len(rows), 7, 1, 64):
        state = quoter(wakes_on=WAKES[wakes])
        result = run_quoter(state, cut(rows, size), SPECS, JITTER, model=model)
        assert len(result.fills) > 10
        assert (np.diff(result.fills["ns"]) >= 0).all()
        ledgers[size] = ledger_hash(result)
    assert len(set(ledgers.values())) == 1, ledgers


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_room_is_made_anywhere_without_a_trace(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A market that wanders over the edges of pages, once with room for all of it and once with none for anything."""
    rows = make_tape(seed, 500, mid=4096).rows(130)
    wakes_on = WAKES["both"]
    wide = run_quoter(quoter(wakes_on=wakes_on), [rows], SPECS, JITTER)
    monkeypatch.setattr(sim.core, "make_kernel", partial(make_kernel, pages=1))
    # As many events as one instant may have, and a log for no more than one instant.
    monkeypatch.setattr(compiled_run, "_EVENTS", 16)
    monkeypatch.setattr(compiled_run, "_LOG", 16)
    narrow = run_quoter(quoter(wakes_on=wakes_on), cut(rows, 3), SPECS, JITTER, orders_max=65)
    assert ledger_hash(narrow) == ledger_hash(wide)
    fills, pages = len(wide.fills), 4
    assert narrow.stops > wide.stops + fills // 16 + pages


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wakes", ["clock", "reports"])
def test_an_idle_instrument_changes_nothing(place: int, wakes: str) -> None:
    """Wherever it is listed, whatever its own market does, for strategies that do not wake on every feed."""
    tape = make_tape(23, 2000)
    idle = perpetual("IDLE")
    noise = [one for one in make_tape(5, 2500, (idle,)).reports if one[0] <= tape.end_ns]
    assert len(noise) > 1000
    both = Tape(sorted([*tape.reports, *noise], key=lambda one: one[0]))
    specs = [*SPECS]
    specs.insert(place, idle)
    traded = specs.index(SPECS[0])
    alone = run_quoter(quoter(wakes_on=WAKES[wakes]), [tape.rows(130)], SPECS, JITTER)
    beside = run_quoter(quoter(traded, wakes_on=WAKES[wakes]), [both.rows(130, specs)], specs, JITTER)
    assert len(alone.fills) > 10
    assert ledger_hash(beside) == ledger_hash(alone)


def test_another_seed_is_another_ledger() -> None:
    """The hash sees what it is to see."""
    rows = make_tape(11, 800).rows(130)
    ledgers = {ledger_hash(run_quoter(quoter(), [rows], SPECS, JITTER, seed)) for seed in range(5)}
    assert len(ledgers) == 5
