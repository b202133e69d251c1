"""Actors that say nothing to each other may be built in any order: the ledger of a backtest is the same."""

import re
from pathlib import Path
from random import Random

import pytest

from actors.base import Actor
from actors.cell import Cell
from daemon import app, backtest
from daemon.backtest import Backtest
from daemon.config import parse
from daemon.config_schema import RunConfig
from daemon.graph import edges
from daemon.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
ORDERS = 3


@pytest.fixture(scope="module")
def config() -> RunConfig:
    """The demo's desk on two minutes of a market in which it opens and closes."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    for key, value in (
        ("duration", '"2m"'),
        ("entry_bps", '"-100"'),
        ("max_hold", '"20s"'),
        ("start", '"2026-01-15T15:59:00Z"'),
    ):
        text = re.sub(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
    return parse(text, "demo", KINDS)


def shuffled(config: RunConfig, random: Random) -> list[str]:
    """Return the actors' names in an order reached by swapping neighbours without a message between them."""
    names = [actor.name for actor in app.build_actors(config)]
    tied = {pair for pair in edges(app.build_cell(config).dispatcher) if set(pair) <= set(names)}
    for _ in range(400):
        at = random.randrange(len(names) - 1)
        one, other = names[at], names[at + 1]
        if (one, other) not in tied and (other, one) not in tied:
            names[at], names[at + 1] = other, one
    return names


def ledger(config: RunConfig, folder: Path) -> dict[str, object]:
    summary = dict(Backtest(config).run(folder).summary)
    return {key: summary[key] for key in ("positions", "realized_pnl", "fees", "funding", "net_pnl", "baskets", "halt")}


def test_independent_actors_may_be_built_in_any_order(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ledger(config, tmp_path / "as it is")
    assert float(str(expected["fees"])) > 0
    assert expected["halt"] is None
    built = app.build_actors
    tried = set()
    for seed in range(ORDERS):
        order = shuffled(config, Random(seed))
        tried.add(tuple(order))

        def build(config: RunConfig, sink: object = None, order: list[str] = order) -> Cell:
            def actors() -> list[Actor]:
                return sorted(built(config), key=lambda actor: order.index(actor.name))

            return Cell(actors, sink=sink)  # type: ignore[arg-type]

        monkeypatch.setattr(backtest, "build_cell", build)
        assert ledger(config, tmp_path / str(seed)) == expected, order
    assert len(tried) == ORDERS
