"""A run on stores: from an import to fills and a replay, several files as one market, and each mistake by its name."""

import gc
import json
import os
import re
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.backtest import Backtest
from daemon.cli import main
from daemon.collector import rare_collections
from daemon.config import ConfigErrors, load
from daemon.config_schema import Synthetic
from daemon.kinds import KINDS
from daemon.log import open_log
from daemon.replay import main as replay_main
from sim.row_builder import RowBuilder
from sim.rows import DEPTH, GAP, LOCAL, TICKS_MAX, TRADE, VENUE, Rows
from sim.store.errors import StoreError
from sim.store.reader import Store
from sim.store.writer import StoreWriter
from sim.stored_file import StoredFile
from sim.stored_market import StoredMarket
from sim.synthetic import SyntheticMarket

D = Decimal
ROOT = Path(__file__).resolve().parents[2]
PERPETUAL, SPOT = "binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"
STORES = '[market]\nkind = "stored"\n'
ONE = '\n[[market.stores]]\nfile = "both.rows"\n'
TWO = "".join(f'\n[[market.stores]]\nfile = "{name}.rows"\n' for name in ("usdm", "spot"))


def edited(text: str, **values: str) -> str:
    for key, value in values.items():
        text, found = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.M)
        assert found == 1, key
    return text


def on_stores(text: str, stores: str = ONE, extra: str = "") -> str:
    """The same desk on a market of stores."""
    head, _, tail = text.partition("[market]")
    _, _, rest = tail.partition("[[venues]]")
    head = re.sub(r"^(start|duration) = .*\n", "", head, flags=re.M)
    return f"{head}{STORES}{extra}{stores}\n[[venues]]{rest}"


@pytest.fixture(scope="module")
def short_text() -> str:
    """The demo's desk on a market of two minutes that opens and closes at once."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    return edited(text, duration='"2m"', entry_bps='"-100"', max_hold='"20s"', start='"2026-01-15T15:59:00Z"')


@pytest.fixture(scope="module")
def folder(short_text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the short market as one store, and as one for each venue."""
    folder = tmp_path_factory.mktemp("stores")
    (folder / "short.toml").write_text(short_text)
    config = load(folder / "short.toml", KINDS)
    assert isinstance(config.market, Synthetic)
    specs = dict(config.instruments)
    arrivals = list(SyntheticMarket(config.market.settings(config.run), specs))
    for name, held in (("both", [PERPETUAL, SPOT]), ("usdm", [PERPETUAL]), ("spot", [SPOT])):
        instruments = [specs[one] for one in held]
        builder = RowBuilder(instruments)
        with StoreWriter(folder / f"{name}.rows", instruments, "a test") as writer:
            for block in builder.blocks(arrivals):
                writer.append(block)
            writer.close()
    (folder / "one.toml").write_text(on_stores(short_text))
    (folder / "two.toml").write_text(on_stores(short_text, TWO))
    return folder


def replay(folder: Path) -> int:
    return replay_main(Namespace(log=str(folder), check=True, export=False))


def test_a_desk_on_a_store_trades_accounts_and_replays(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", str(folder / "one.toml"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["halt"], summary["quarantined"], summary["positions"]) == (None, [], {})
    assert summary["baskets"]["balanced"] == summary["baskets"]["planned"] >= 2
    assert summary["baskets"]["closed"] >= 1
    assert D(summary["funding"]) > 0
    assert {one["gaps"] + one["crossed"] + one["stale"] for one in summary["feeds"].values()} == {0}
    (store,) = summary["stores"]
    assert (store["file"], store["instruments"], store["late"], store["gaps_ns"]) == (
        "both.rows",
        [PERPETUAL, SPOT],
        0,
        [],
    )
    assert store["rows"] == len(Store.open(folder / "both.rows"))
    assert "market of stores" in said
    assert f"{store['rows']} rows, no gaps, no late messages" in said
    assert replay(tmp_path / "out") == 0
    assert "no difference" in capsys.readouterr().out


def test_two_runs_and_two_files_are_one_market(folder: Path, tmp_path: Path) -> None:
    runs = [
        Backtest.from_file(folder / f"{name}.toml").run(tmp_path / str(number)).summary["journal_sha256"]
        for number, name in enumerate(("one", "one", "two"))
    ]
    assert runs[0] == runs[1]
    journals = [list(messages(tmp_path / number)) for number in ("0", "2")]
    assert journals[0] == journals[1]


def messages(folder: Path) -> Iterator[tuple[Any, ...]]:
    for record in open_log(folder / "log").records():
        yield record.kind, bytes(record.message)


def test_a_duration_ends_the_run_there(folder: Path, short_text: str, tmp_path: Path) -> None:
    path = folder / "shorter.toml"
    path.write_text(on_stores(short_text).replace("[run]\n", '[run]\nduration = "30s"\n'))
    summary = Backtest.from_file(path).run(tmp_path / "out").summary
    times = [json.loads(message)["ts"] for kind, message in messages(tmp_path / "out") if kind == "BookDelta"]
    assert times[-1] - times[0] == pytest.approx(30_000_000_000, abs=200_000_000)
    assert summary["halt"] is None


def test_trades_are_told_where_they_are_wanted(folder: Path, short_text: str, tmp_path: Path) -> None:
    path = folder / "trades.toml"
    text = on_stores(short_text, extra="trades = true\ndepth = 3\nsample = '250ms'\n")
    path.write_text(f"{text}\n[feed]\npublishes_trades = true\n")
    Backtest.from_file(path).run(tmp_path / "out")
    told = [(kind, json.loads(message)) for kind, message in messages(tmp_path / "out")]
    trades = [one for kind, one in told if kind == "Trade"]
    assert len(trades) > 100
    assert {one["ts"] % 250_000_000 for one in trades} == {0}
    assert max(len(one["bids"]) for kind, one in told if kind == "BookSnapshot") == 3


def test_check_tells_the_market(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder / "two.toml")]) == 0
    assert "stored market" in capsys.readouterr().out


MISTAKES = [
    ('file = "both.rows"', 'file = "none.rows"', "market.stores[0].file: there is no file 'none.rows'"),
    ('file = "both.rows"', 'file = "short.toml"', "market.stores[0].file: is no finished store"),
    (
        'file = "both.rows"',
        'file = "both.rows"\nvenue = "binance_usdn"',
        "market.stores[0].venue: no venue 'binance_usdn' is declared",
    ),
    (
        'file = "both.rows"',
        'file = "usdm.rows"\nvenue = "binance_spot"',
        "market.stores[0].file: holds nothing of venue 'binance_spot', but binance_usdm:BTCUSDT",
    ),
    (
        'file = "both.rows"',
        'file = "usdm.rows"',
        "instruments[1]: the market does not cover binance_spot:BTCUSDT",
    ),
    (
        'file = "both.rows"',
        'file = "both.rows"\n\n[[market.stores]]\nfile = "usdm.rows"',
        "market.stores[1].file: binance_usdm:BTCUSDT is in both.rows already",
    ),
    (
        'tick_size = "0.10"',
        'tick_size = "0.01"',
        "market.stores[0].file: tick_size of binance_usdm:BTCUSDT is 0.10 in the store, but 0.01 in the configuration",
    ),
    (
        'lot_size = "0.00001"',
        'lot_size = "0.0001"',
        "market.stores[0].file: lot_size of binance_spot:BTCUSDT is 0.00001 in the store, but 0.0001 in the",
    ),
    (
        'lot_size = "0.001"',
        'lot_size = "0.001"\nmultiplier = "10"',
        "market.stores[0].file: multiplier of binance_usdm:BTCUSDT is 1 in the store, but 10 in the configuration",
    ),
    (STORES, f'{STORES}sample = "5s"\n', "market.sample: must be shorter than [feed] stale (5 s)"),
    (STORES, f'{STORES}sample = "0s"\n', "market.sample: must be positive"),
    (STORES, f"{STORES}depth = 0\n", "market.depth: must be between 1 and 1000"),
    (STORES, f"{STORES}trades = true\n", "market.trades: nobody would hear them: write publishes_trades = true"),
    (ONE, "\nstores = []\n", "market.stores: must hold at least one"),
]


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES)
def test_each_mistake_is_named(folder: Path, short_text: str, old: str, new: str, told: str) -> None:
    text, path = on_stores(short_text), folder / "mistaken.toml"
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigErrors) as caught:
        load(path, KINDS)
    assert [str(error).partition("mistaken.toml: ")[2][: len(told)] for error in caught.value.errors] == [told]


def test_a_store_holds_nothing_that_is_no_instrument(folder: Path, short_text: str) -> None:
    text, path = on_stores(short_text), folder / "renamed.toml"
    path.write_text(re.sub(r'(venue = "binance_spot"\nsymbol = )"BTCUSDT"', r'\1"BTCUSDC"', text))
    with pytest.raises(ConfigErrors) as caught:
        load(path, KINDS)
    told = [str(error).partition("renamed.toml: ")[2] for error in caught.value.errors]
    assert any(one.startswith(f"market.stores[0].file: no instrument '{SPOT}' is declared") for one in told)


def test_a_store_that_was_changed_ends_the_run_with_status_1(
    folder: Path, short_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = bytearray((folder / "both.rows").read_bytes())
    rows = next(Store.open(folder / "both.rows").blocks())
    at = whole.index(rows.ticks.tobytes()[800:864])
    whole[at] ^= 1
    (tmp_path / "both.rows").write_bytes(whole)
    (tmp_path / "run.toml").write_text(on_stores(short_text))
    status = main(["backtest", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")])
    assert status == 1
    assert f"{tmp_path / 'both.rows'}: batch 0: checksum differs" in capsys.readouterr().err
    (tmp_path / "both.rows").unlink()
    assert main(["backtest", str(tmp_path / "run.toml"), "--out", str(tmp_path / "again")]) == 2
    assert "market.stores[0].file: there is no file 'both.rows'" in capsys.readouterr().err


def test_orders_one_by_one_are_refused(folder: Path, short_text: str, tmp_path: Path) -> None:
    store = Store.open(folder / "both.rows")
    with StoreWriter(tmp_path / "both.rows", store.instruments, "a test", has_orders=True) as writer:
        for rows in store.blocks():
            writer.append(rows.slice(0, len(rows)))
        writer.close()
    (tmp_path / "run.toml").write_text(on_stores(short_text))
    with pytest.raises(ConfigErrors, match=r"stores\[0\].file: holds orders one by one, and only books by level"):
        load(tmp_path / "run.toml", KINDS)


def test_a_desk_that_runs_does_not_run_on_stores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", str(folder / "one.toml")]) == 2
    assert "market.kind: a market of stores is played by basisd backtest only" in capsys.readouterr().err


def test_a_signal_leaves_a_log_that_can_be_replayed(
    folder: Path, short_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is stopped by its own strategy, half way."""
    (tmp_path / "stopping.py").write_text(
        "import os, signal\n"
        "from actors.strategies.base import Strategy\n"
        "class Stopping(Strategy):\n"
        "    def on_start(self, now):\n"
        "        self.out.timer('stop', now + 60_000_000_000)\n"
        "    def on_clock(self, now, key):\n"
        "        if os.environ.get('STOPS'):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
    )
    text = on_stores(short_text).partition("[[strategies]]")[0].replace("both.rows", str(folder / "both.rows"))
    (tmp_path / "run.toml").write_text(f'{text}\n[[strategies]]\nid = "stops"\nkind = "stopping:Stopping"\n')
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "backtest", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"STOPS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "stopped by SIGINT; the log holds the run up to there" in done.stderr
    assert len(list(messages(tmp_path / "out"))) > 500
    monkeypatch.chdir(tmp_path)
    assert replay(tmp_path / "out") == 0


@pytest.mark.parametrize("size", [101, 5_000, 1 << 20])
def test_a_merge_keeps_both_orders_and_every_row(folder: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Rows of two files, whatever their batches: each instrument's as they were, and no clock going back."""
    whole = Store.blocks

    def in_pieces(store: Store) -> Iterator[Rows]:
        for rows in whole(store):
            for at in range(0, len(rows), size):
                yield rows.slice(at, min(at + size, len(rows)))

    monkeypatch.setattr(Store, "blocks", in_pieces)
    both = StoredMarket([StoredFile(folder / "both.rows")], specs_of(folder))
    apart = StoredMarket([StoredFile(folder / f"{name}.rows") for name in ("spot", "usdm")], specs_of(folder))
    found = [Rows.join(list(market.blocks())) for market in (both, apart)]
    for clock, name in ((VENUE, "venue_ns"), (LOCAL, "local_ns")):
        sides = [rows.at(rows.flags & clock != 0) for rows in found]
        assert (np.diff(getattr(sides[1], name)) >= 0).all()
        for number in range(2):
            own = [rows.at(rows.instrument == number) for rows in sides]
            for column in ("kind", "venue_ns", "local_ns", "ticks", "lots"):
                assert (getattr(own[0], column) == getattr(own[1], column)).all()


def test_a_price_that_no_book_can_hold_names_the_file(folder: Path, tmp_path: Path) -> None:
    source = Store.open(folder / "usdm.rows")
    rows = next(source.blocks())
    far = rows.at(np.arange(len(rows)))
    far.ticks[np.flatnonzero(far.kind == DEPTH)[0]] = TICKS_MAX + 1
    with StoreWriter(tmp_path / "far.rows", source.instruments, "a test") as writer:
        writer.append(far)
        writer.close()
    market = StoredMarket([StoredFile(tmp_path / "far.rows")], {one.id: one for one in source.instruments})
    with pytest.raises(StoreError, match=r"far.rows: holds a price beyond"):
        list(market.blocks())


def test_rows_that_never_reach_the_desk_are_not_lost_in_a_merge(folder: Path, tmp_path: Path) -> None:
    source = Store.open(folder / "usdm.rows")
    rows = next(source.blocks())
    silent = rows.at(np.arange(len(rows)))
    silent.flags[silent.kind == TRADE] &= ~np.uint8(LOCAL)
    with StoreWriter(tmp_path / "silent.rows", source.instruments, "a test") as writer:
        writer.append(silent)
        writer.close()
    files = [StoredFile(tmp_path / "silent.rows"), StoredFile(folder / "spot.rows")]
    with pytest.raises(StoreError, match=r"silent.rows: \d+ rows happen, \d+ reach the desk"):
        list(StoredMarket(files, specs_of(folder)).blocks())
    alone = StoredMarket(files[:1], {one.id: one for one in source.instruments})
    assert sum(map(len, alone.blocks())) == len(silent)


def test_garbage_is_looked_for_as_before_when_the_run_is_over() -> None:
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold()[0] > before[0]
    assert gc.get_threshold() == before


def specs_of(folder: Path) -> dict[str, Any]:
    return {one.id: one for one in Store.open(folder / "both.rows").instruments}


def test_levels_between_a_gap_and_the_next_snapshot_are_left_out(folder: Path, tmp_path: Path) -> None:
    rows = Rows.join(list(Store.open(folder / "usdm.rows").blocks()))
    told = np.flatnonzero(rows.kind == DEPTH)
    at = int(told[len(told) // 2])
    while not rows.flags[at - 1] & 8:
        at -= 1
    rows.kind[at - 1] = GAP
    with StoreWriter(tmp_path / "gap.rows", Store.open(folder / "usdm.rows").instruments, "a test") as writer:
        writer.append(rows)
        writer.close()
    specs = {one.id: one for one in Store.open(tmp_path / "gap.rows").instruments}
    played = Rows.join(list(StoredMarket([StoredFile(tmp_path / "gap.rows")], specs).blocks()))
    gap = int(np.flatnonzero(played.kind == GAP)[0])
    assert not (played.kind[gap:] == DEPTH).any()
    assert len(played) == len(rows) - np.count_nonzero(rows.kind[at:] == DEPTH)
    assert (played.kind[:gap] == rows.kind[:gap]).all()


QUOTER = '''
from decimal import Decimal

from actors.messages import CancelRequest, OrderRequest, OrderUpdate
from actors.base import handles
from actors.strategies.base import Strategy, StrategyState
from attrs import define, field
from venues.model.order import OrderType, Side, TimeInForce


@define
class QuoterState(StrategyState):
    number: int = 0
    resting: dict[str, str] = field(factory=dict)


class Quoter(Strategy):
    """Keeps one order at each touch, moved every second."""

    publishes = (*Strategy.publishes, OrderRequest, CancelRequest)
    State = QuoterState

    def on_start(self, now):
        self.out.timer("quote", now + 1_000_000_000)

    def on_clock(self, now, key):
        state = self.state
        self.out.timer("quote", now + 1_000_000_000)
        if state.is_stopping:
            return
        for name in state.resting.values():
            self.out.emit(CancelRequest(now, name))
        view = self.book("binance_usdm:BTCUSDT")
        if view is None:
            return
        for side, ticks in ((Side.BUY, view.bid), (Side.SELL, view.ask)):
            state.number += 1
            name = state.resting[side] = f"q{state.number}"
            self.out.emit(OrderRequest(
                now, name, self.name, "", "futures", "binance_usdm:BTCUSDT", side, Decimal("0.002"), OrderType.LIMIT,
                self.price("binance_usdm:BTCUSDT", ticks), TimeInForce.GTX,
            ))
'''


def test_the_real_perpetual_from_frames_to_fills(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "configs" / "basis_recorded.toml").read_text()
    kept = [
        block
        for block in re.split(r"(?m)^(?=\[)", text.partition("[[strategies]]")[0])
        if "binance_spot" not in block and not re.search(r'^id = "spot"', block, flags=re.M)
    ]
    recorded = "".join(kept)
    (tmp_path / "recorded.toml").write_text(recorded)
    assert main(["import", "recording", str(tmp_path / "recorded.toml"), "--out", str(tmp_path / "btc.rows")]) == 0
    head, _, tail = recorded.partition("[market]")
    stored = f'{head}[market]\nkind = "stored"\n\n[[market.stores]]\nfile = "btc.rows"\nvenue = "binance_usdm"\n\n'
    (tmp_path / "quoting.py").write_text(QUOTER)
    quotes = '\n[[strategies]]\nid = "quoter"\nkind = "quoting:Quoter"\n'
    (tmp_path / "run.toml").write_text(f"{stored}[[venues]]{tail.partition('[[venues]]')[2]}{quotes}")
    capsys.readouterr()
    assert main(["backtest", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["halt"], summary["quarantined"]) == (None, [])
    fills = [json.loads(message) for kind, message in messages(tmp_path / "out") if kind == "OrderFilled"]
    assert len(fills) == summary["fills"] > 20
    assert {one["reason"] for one in fills} <= {"queue", "through", "crossed"}
    assert {one["liquidity"] for one in fills} == {"maker"}
    assert {one["side"] for one in fills} == {"buy", "sell"}
    assert replay(tmp_path / "out") == 0
