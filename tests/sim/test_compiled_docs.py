"""What docs/compiled.md shows does what it says."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from order_scripts import FEES, SPEC, account, book, written

from sim.compiled import CompiledRun, fill_records
from sim.rows import DEPTH, TRADE
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Side

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "compiled.md").read_text()
MS = 1_000_000
ROWS = written(
    *book(10, [(999, 5)], [(1_001, 5)]),
    (500 * MS, TRADE, 0, 0, 994, 5),
    (600 * MS, TRADE, 0, 0, 994, 5),
    (900 * MS, DEPTH, 0, 0, 2_000, 1),
    feed_ns=MS,
)


def example(name: str, folder: Path, **given: Any) -> dict[str, Any]:
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```\n<!-- /{name} -->", PAGE, re.DOTALL)
    assert found is not None, name
    # Compiled functions are kept beside their file.
    file = folder / f"{name}.py"
    file.write_text(found[1])
    exec(compile(found[1], str(file), "exec"), given)
    return given


def test_the_quoter_shown_is_filled_and_the_run_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = example("quote", tmp_path)
    spec = attrs.evolve(SPEC, min_qty=Decimal(0), min_notional=Decimal(0))
    given = {"spec": spec, "account": account(Decimal(1_000)), "fees": FEES, "blocks": [ROWS], "quote": names["quote"]}
    done = example("run", tmp_path, **given)
    # The trade at 99.4 goes through the bid at 99.9.
    assert [(fill.ns, fill.price, fill.reason) for fill in fill_records(done["result"], [spec], FEES)][:1] == [
        (500 * MS, Decimal("99.9"), FillReason.THROUGH)
    ]
    assert "USDT" in capsys.readouterr().out


def test_the_stop_shown_closes_the_position(tmp_path: Path) -> None:
    names = example("stop", tmp_path)
    run = CompiledRun([SPEC], account(Decimal(1_000)), FEES, names["protect"], np.zeros(1, np.int64), start_ns=MS)
    result = run.run([ROWS])
    bought, sold = fill_records(result, [SPEC], FEES)
    assert (bought.side, bought.price, bought.qty) == (Side.BUY, Decimal("100.1"), Decimal("0.5"))
    # 0.05 % of 50.05.
    assert (bought.liquidity, bought.reason, bought.fee) == (Liquidity.TAKER, FillReason.TAKER, Decimal("0.025025"))
    assert (sold.ns, sold.side, sold.price, sold.qty) == (500 * MS, Side.SELL, Decimal("99.9"), Decimal("0.5"))
    assert result.positions == {SPEC.id: Decimal(0)}


def test_the_watcher_shown_is_called_for_every_message(tmp_path: Path) -> None:
    names, seen = example("wake", tmp_path), np.zeros(2, np.int64)
    CompiledRun([SPEC], account(Decimal(1_000)), FEES, names["watch"], seen, start_ns=1).run([ROWS])
    # The first call, then the book and two trades; the run ends with the level.
    assert seen.tolist() == [4, 999]
