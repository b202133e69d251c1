"""The whole desk against everything that goes wrong, with one leg traded first, or quoted."""

import os
from pathlib import Path

import pytest
from faults import draw
from torture import CALM_NS, START_NS, Torture, config_of

from actors.messages import Placement
from daemon.config import load
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS

FIRST = int(os.environ.get("BASISD_TORTURE_FIRST", "101"))
SEEDS = range(FIRST, FIRST + 6)


def placed(folder: Path, seed: int, placement: Placement) -> RunConfig:
    config_of(folder, seed, futures="2400" if seed % 3 == 0 else "30000")
    path = folder / f"torture-{seed}.toml"
    before = path.read_text()
    path.write_text(before.replace('cooldown = "500ms"\n', f'cooldown = "500ms"\nplacement = "{placement}"\n'))
    assert path.read_text() != before
    return load(path, KINDS)


@pytest.mark.parametrize("placement", [Placement.SEQUENTIAL, Placement.MAKER_TAKER])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_invariant_holds_however_legs_are_placed(placement: Placement, seed: int, tmp_path: Path) -> None:
    config = placed(tmp_path, seed, placement)
    script = draw(seed, START_NS, START_NS + CALM_NS, ("perp_venue", "spot_venue"), list(config.instruments.values()))
    run = Torture(config, script, is_armed=True)
    run.run()
    run.check_end()
    run.check_alive()
    children = [child for one in run.desk.executor.state.baskets.values() for child in one.children.values()]
    assert any(child.rests and child.filled for child in children) == (placement is Placement.MAKER_TAKER)
