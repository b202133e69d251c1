"""What README shows is what there is: its strategy does what it says."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.base import Collected, detached_outbox
from actors.executions import ExecutionIntent
from actors.messages import BasketIntent, BookView, FeedStatus
from daemon.backtest import Backtest
from daemon.cli import main
from daemon.init import text
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PERP = Instrument(
    "binance_usdm",
    "BTCUSDT",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USDT",
    tick_size=Decimal("0.1"),
    lot_size=Decimal("0.001"),
)
SPOT = Instrument(
    "binance_spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", tick_size=Decimal("0.1"), lot_size=Decimal("0.001")
)


BACKTEST = (ROOT / "docs" / "backtest.md").read_text()


def block(name: str, page: str = README) -> str:
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)```\n<!-- /{name} -->", page, re.DOTALL)
    assert found is not None, f"there is no block {name}"
    return found[1]


def test_the_graph_shown_is_the_wiring(capsys):
    assert main(["graph"]) == 0
    assert block("graph") == capsys.readouterr().out, "paste what `basisd graph` prints between README's graph markers"


def test_the_strategy_shown_opens_a_basket_when_the_basis_pays():
    names: dict[str, Any] = {}
    exec(block("strategy"), names)
    carry = names["Carry"]({spec.id: spec for spec in (PERP, SPOT)}, name="mine")
    done = Collected()
    carry.out = detached_outbox("mine", done)
    for spec in (PERP, SPOT):
        carry.handle(0, FeedStatus(0, spec.id, True))
    carry.handle(1, BookView(1, SPOT.id, 999_990, 10, 1_000_000, 10))
    carry.handle(2, BookView(2, PERP.id, 1_001_000, 10, 1_001_010, 10))
    assert done.emitted == []
    carry.handle(3, BookView(3, PERP.id, 1_001_001, 10, 1_001_010, 10))
    carry.handle(4, BookView(4, PERP.id, 1_001_002, 10, 1_001_010, 10))
    [intent] = done.emitted
    assert isinstance(intent, BasketIntent)
    assert [(leg.account, leg.instrument, leg.side) for leg in intent.legs] == [
        ("spot", SPOT.id, Side.BUY),
        ("futures", PERP.id, Side.SELL),
    ]


def test_the_execution_shown_buys_what_its_money_pays_for():
    names: dict[str, Any] = {}
    exec(block("execute", (ROOT / "docs" / "configuration.md").read_text()), names)
    one = names["Accumulate"]({PERP.id: PERP}, name="mine")
    done = Collected()
    one.out = detached_outbox("mine", done)
    one.handle(0, FeedStatus(0, PERP.id, True))
    one.handle(1, BookView(1, PERP.id, 499_999, 10, 500_001, 10))
    one.handle(2, BookView(2, PERP.id, 499_999, 10, 500_001, 10))
    [intent] = done.emitted
    assert isinstance(intent, ExecutionIntent)
    # 2,500 at 50,000
    assert (intent.side, intent.qty, intent.decision_price) == (Side.BUY, Decimal("0.05"), Decimal(50_000))


def test_the_strategy_shown_runs_in_a_backtest(tmp_path, monkeypatch):
    before, rest = text().split("[[strategies]]", 1)
    named = re.search(r"^    \[\[strategies\]\]\n(?:    .+\n)+", README, re.MULTILINE)
    assert named is not None
    (tmp_path / "mine.py").write_text(block("strategy"))
    (tmp_path / "desk.toml").write_text(before.replace('"10m"', '"10s"') + named[0] + rest[rest.index("\n[log]") :])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    outcome = Backtest.from_file("desk.toml").run(tmp_path / "run")
    assert outcome.summary["fills"] == 2
    assert outcome.summary["baskets"]["balanced"] == 1


def test_the_strategy_shown_is_ten_lines():
    code = [line for line in block("strategy").splitlines() if line and not line.startswith(("from", "import"))]
    assert len(code) <= 10


def test_the_notebook_runs_and_every_key_of_a_summary_is_explained(tmp_path, monkeypatch, capsys):
    (tmp_path / "configs").mkdir()
    demo = (ROOT / "configs" / "demo.toml").read_text()
    (tmp_path / "configs" / "demo.toml").write_text(demo.replace('duration = "20m"', 'duration = "4m"'))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block("notebook", BACKTEST), names)
    summary = names["outcome"].summary
    assert capsys.readouterr().out.startswith(f"{summary['net_pnl']} {summary['baskets']['closed']}\n")
    explained = set(re.findall(r"`(\w+)`", BACKTEST.partition("## The summary")[2].partition("## The log")[0]))
    books = next(iter(summary["books"].values()))
    assert explained >= {*summary, *summary["baskets"], *books}
    log = tmp_path / "runs" / "notebook" / "log"
    assert main(["replay", str(log), "--check"]) == 0
    assert f"journal  {summary['journal_sha256']}" in capsys.readouterr().out


def test_links_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
