"""The whole desk against everything that goes wrong, with one leg traded first, or quoted."""

import os
from pathlib import Path

import pytest

from actors.atomic_executor import AtomicExecutor
from actors.messages import Placement
from daemon.torture.desk import PERPETUAL, VENUES, DeskSettings, instrument_names
from daemon.torture.run import Torture
from daemon.torture.script import SECOND_NS, Fault, FaultKind, Script, draw

FIRST = int(os.environ.get("BASISD_TORTURE_FIRST", "101"))
SEEDS = range(FIRST, FIRST + 6)
SECONDS = 120


@pytest.mark.parametrize("placement", [Placement.SEQUENTIAL, Placement.MAKER_TAKER])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_however_legs_are_placed(placement: Placement, seed: int, tmp_path: Path) -> None:
    settings = DeskSettings(
        seed, SECONDS, ("BTC",), futures="2400" if seed % 3 == 0 else "30000", capital="10000000", hold_ms=3_000,
        cooldown_ms=500, losses=1_000, placements=(placement,),
    )  # fmt: skip
    script = draw(seed, SECONDS * SECOND_NS, VENUES, instrument_names(("BTC",)))
    run = Torture(tmp_path, settings, script, is_armed=True)
    run.run()
    run.check_end(is_alive=True)
    executor = run.cell.dispatcher.actors["atomic_executor"]
    assert isinstance(executor, AtomicExecutor)
    children = [child for one in executor.state.baskets.values() for child in one.children.values()]
    assert any(child.rests and child.filled for child in children) == (placement is Placement.MAKER_TAKER)


def test_a_thin_book_gives_a_maker_many_small_fills_and_each_is_taken_on_the_other_leg(tmp_path: Path) -> None:
    """An order for every lot that a quote fills is work, no try: attempts are bounded, progress is not."""
    thin = tuple(Fault(FaultKind.THIN, at * SECOND_NS, 30 * SECOND_NS, PERPETUAL, at) for at in (4, 35))
    settings = DeskSettings(1, 130, ("BTC",), placements=(Placement.MAKER_TAKER,))
    run = Torture(tmp_path, settings, Script(1, 130 * SECOND_NS, thin), is_armed=True)
    run.run()
    run.check_end(is_alive=True)
    executor = run.cell.dispatcher.actors["atomic_executor"]
    assert isinstance(executor, AtomicExecutor)
    takers = [
        [child for child in one.children.values() if child.filled and not child.rests]
        for one in executor.state.baskets.values()
    ]
    assert max(map(len, takers)) > 20
