"""The executions' database says what the journal says, comes back the same from it, and is never in anybody's way."""

import json
import math
import sqlite3
from argparse import Namespace
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from demo_desk import BUSY, write_config

from actors.cell import Cell
from actors.execution_tracker import ExecutionTracker
from actors.messages import BookView, FillEvent, OrderRequest
from actors.tracker_records import ChildRecord, FillRecord, Record, TrackerConfig
from daemon.app import build_cell
from daemon.backtest import Backtest
from daemon.config_schema import RunConfig
from daemon.ctl.main import main as basisctl
from daemon.ctl.main import parser as basisctl_parser
from daemon.executions import DATABASE_NAME
from daemon.executions.collecting import Collector
from daemon.executions.command import SHOWN
from daemon.executions.parquet import InexactError, write_parquet
from daemon.executions.rebuild import first_needed, logs_of, rebuild
from daemon.executions.rebuild import main as rebuild_main
from daemon.executions.rows import RowMaker
from daemon.executions.schema import SUMMARY_KEYS, TABLES
from daemon.executions.store import ExecutionStore, open_store
from daemon.exits import ExitError
from daemon.log.journal import JournalReader
from daemon.log.run_log import MANIFEST_NAME
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, Side

D = Decimal
Rows = list[dict[str, Any]]


def rows(path: Path, select: str) -> Rows:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(select)]
    finally:
        connection.close()


def everything(path: Path) -> dict[str, Rows]:
    return {table: rows(path, f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}


def journal(log: Path, select: str) -> Rows:
    with JournalReader(log, is_sealed=(log / MANIFEST_NAME).exists()) as reader:
        reader.connection.row_factory = sqlite3.Row
        return [dict(row) for row in reader.connection.execute(select)]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunConfig]:
    """A busy run of a minute and a half: its folder, and its configuration."""
    folder = tmp_path_factory.mktemp("executions")
    config = write_config(folder / "desk.toml", BUSY)
    Backtest(config).run(folder / "run")
    return folder / "run", config


@pytest.fixture(scope="module")
def database(played: tuple[Path, RunConfig]) -> Path:
    return played[0] / DATABASE_NAME


# What it says


def test_its_fills_are_those_of_the_journal(played: tuple[Path, RunConfig]) -> None:
    folder, _ = played
    names = "account, instrument, client_order_id, trade_id, side, price, qty, fee, fee_asset, liquidity, reason"
    logged = journal(folder / "log", f"SELECT {names} FROM fills ORDER BY instrument, trade_id")
    stored = rows(folder / DATABASE_NAME, f"SELECT {names} FROM fills ORDER BY instrument, trade_id")
    assert len(logged) > 20
    assert stored == logged


def test_its_orders_are_those_that_were_sent(played: tuple[Path, RunConfig]) -> None:
    folder, _ = played
    sent = journal(folder / "log", "SELECT client_order_id, instrument, side, qty, price, fills FROM orders ORDER BY 1")
    stored = rows(
        folder / DATABASE_NAME,
        "SELECT client_order_id, instrument, side, qty, price, fills FROM children ORDER BY client_order_id",
    )
    assert stored == sent


def test_sums_and_times_of_orders_and_legs_follow_from_the_fills(database: Path) -> None:
    by_order: dict[str, Rows] = defaultdict(list)
    by_leg: dict[tuple[str, str], Rows] = defaultdict(list)
    for fill in rows(database, "SELECT * FROM fills ORDER BY number"):
        by_order[fill["child_id"]].append(fill)
        by_leg[fill["basket_id"], fill["instrument"]].append(fill)
    for child in rows(database, "SELECT * FROM children"):
        fills = by_order[child["child_id"]]
        qty = sum(D(fill["qty"]) for fill in fills)
        assert D(child["filled"]) == qty
        assert abs(D(child["avg_price"]) * qty - sum(D(fill["qty"]) * D(fill["price"]) for fill in fills)) < D("1e-18")
        assert (child["first_fill_ns"], child["last_fill_ns"]) == (fills[0]["received_ns"], fills[-1]["received_ns"])
        assert json.loads(child["fees"]) == {"USDT": format(sum(D(fill["fee"]) for fill in fills), "f")}
        assert child["decided_ns"] <= child["requested_ns"] <= child["sent_ns"] < child["acked_ns"] <= child["ended_ns"]
    for leg in rows(database, "SELECT * FROM legs"):
        fills = by_leg[leg["basket_id"], leg["instrument"]]
        mine = [fill for fill in fills if fill["side"] == leg["side"]]
        assert D(leg["filled"]) == sum(D(fill["qty"]) for fill in mine)
        assert D(leg["reduced"]) == sum(D(fill["qty"]) for fill in fills) - D(leg["filled"])


def test_the_shortfall_of_a_leg_is_paper_profit_less_real_profit(database: Path) -> None:
    """From the fills alone: the leg as wanted at the decision mid, against what its fills made, both at the end mid."""
    fills: dict[tuple[str, str], Rows] = defaultdict(list)
    for fill in rows(database, "SELECT * FROM fills"):
        fills[fill["basket_id"], fill["instrument"]].append(fill)
    legs = rows(database, "SELECT * FROM legs")
    assert len(legs) > 10
    for leg in legs:
        end, sign = D(leg["end_mid"]), 1 if leg["side"] == "buy" else -1
        paper = sign * D(leg["qty"]) * (end - D(leg["decision_mid"]))
        real = sum(
            (1 if fill["side"] == "buy" else -1) * D(fill["qty"]) * (end - D(fill["price"])) - D(fill["fee"])
            for fill in fills[leg["basket_id"], leg["instrument"]]
        )
        assert abs(D(leg["total"]) - (paper - real)) < D("1e-15")
        causes = ("delay", "spread", "impact", "opportunity", "unwind", "fee_quote")
        assert abs(sum(D(leg[cause]) for cause in causes) - D(leg["total"])) < D("1e-15")
    for basket in rows(database, "SELECT basket_id, total FROM baskets"):
        mine = [D(leg["total"]) for leg in legs if leg["basket_id"] == basket["basket_id"]]
        assert D(basket["total"]) == sum(mine)


def nearest_rank(values: list[float], share: float) -> float | None:
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else None


@pytest.mark.parametrize("by", list(SUMMARY_KEYS))
def test_the_summaries_are_those_of_the_orders(database: Path, by: str) -> None:
    groups: dict[str, Rows] = defaultdict(list)
    for child in rows(
        database, "SELECT *, strftime('%Y-%m-%dT%H:00Z', ended_ns / 1e9, 'unixepoch') AS hour FROM children"
    ):
        groups[child[by]].append(child)
    summed = {row[by]: row for row in rows(database, f"SELECT * FROM by_{by}")}
    assert summed.keys() == groups.keys()
    for key, children in groups.items():
        row = summed[key]
        slips = [child["slippage_bps"] for child in children if child["slippage_bps"] is not None]
        waits = [child["first_fill_ns"] - child["sent_ns"] for child in children if child["first_fill_ns"]]
        filled = sum(child["status"] == "filled" for child in children)
        assert (row["orders"], row["filled"]) == (len(children), filled)
        assert row["success_rate"] == pytest.approx(filled / len(children))
        quote = sum(child["filled_quote"] for child in children)
        assert row["fill_rate"] == pytest.approx(quote / sum(child["requested_quote"] for child in children))
        assert row["slippage_mean_bps"] == pytest.approx(sum(slips) / len(slips))
        assert (row["slippage_p50_bps"], row["slippage_p95_bps"]) == (
            nearest_rank(slips, 0.5),
            nearest_rank(slips, 0.95),
        )
        assert row["latency_p50_ms"] == pytest.approx((nearest_rank(waits, 0.5) or 0) / 1e6)
        assert row["latency_p95_ms"] == pytest.approx((nearest_rank(waits, 0.95) or 0) / 1e6)
        for cause in ("delay", "spread", "impact", "opportunity", "fee_quote", "total"):
            assert row[cause] == pytest.approx(float(sum(D(child[cause]) for child in children)))


def test_a_percentile_is_a_value_that_occurred(tmp_path: Path) -> None:
    store = ExecutionStore(tmp_path / DATABASE_NAME, maker())
    for number in range(1, 21):
        store.write([child(number, key=f"r{number}", price=str(100 + number))])
    store.close()
    found = rows(tmp_path / DATABASE_NAME, "SELECT * FROM by_venue")[0]
    # Touch 100, filled at 101 to 120: 100 to 2000 bp; the 10th and the 19th of 20.
    assert (found["slippage_p50_bps"], found["slippage_p95_bps"]) == (1_000, 1_900)


# How it is made


def test_a_rebuild_from_the_log_is_the_same(played: tuple[Path, RunConfig], tmp_path: Path) -> None:
    folder, _ = played
    (tmp_path / "log").symlink_to(folder / "log")
    path, logs = logs_of(tmp_path)
    done = rebuild(path, logs)
    assert (done.logs, done.problems) == (1, [])
    assert everything(path) == everything(folder / DATABASE_NAME)
    assert rows(path, "SELECT number FROM progress") == rows(folder / DATABASE_NAME, "SELECT number FROM progress")


def test_a_rebuild_mends_what_was_changed_and_moves_aside_what_is_no_database(
    played: tuple[Path, RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = played
    (tmp_path / "log").symlink_to(folder / "log")
    path = tmp_path / DATABASE_NAME
    asked = Namespace(folder=str(tmp_path), above=0, nice=0)
    assert rebuild_main(asked) == 0
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM children WHERE side = 'buy'")
    connection.execute("INSERT INTO gaps VALUES (3, 20, 'test')")
    connection.commit()
    connection.close()
    assert rebuild_main(asked) == 0
    assert everything(path) == everything(folder / DATABASE_NAME)
    assert rows(path, "SELECT * FROM gaps") == []
    path.write_bytes(b"no database " * 1_000)
    assert rebuild_main(asked) == 0
    assert everything(path) == everything(folder / DATABASE_NAME)
    assert (tmp_path / f"{DATABASE_NAME}.1").read_bytes().startswith(b"no database")
    assert rebuild_main(Namespace(folder=str(tmp_path / "nowhere"), above=0, nice=0)) == 1
    assert "no logs" in capsys.readouterr().err


def test_a_log_that_cannot_be_read_is_left_out_by_name(played: tuple[Path, RunConfig], tmp_path: Path) -> None:
    folder, _ = played
    done = rebuild(tmp_path / DATABASE_NAME, [tmp_path / "nothing", folder / "log"])
    assert (done.logs, len(done.problems)) == (1, 1)
    assert str(tmp_path / "nothing") in done.problems[0]
    assert everything(tmp_path / DATABASE_NAME) == everything(folder / DATABASE_NAME)


def test_only_logs_that_may_hold_what_is_missing_are_needed(played: tuple[Path, RunConfig]) -> None:
    log = played[0] / "log"
    # A run that began afresh has everything from number 1 on, whatever is asked.
    assert first_needed([log], 5) == [log]
    assert first_needed([log, log], 5) == [log, log]


def test_a_run_goes_on_when_its_executions_cannot_be_written(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", {"duration": '"20s"', "entry_bps": '"-100"'})
    (tmp_path / "run" / DATABASE_NAME).mkdir(parents=True)
    warnings: list[str] = []
    outcome = Backtest(config).run(tmp_path / "run", warn=warnings.append)
    assert outcome.summary["halt"] is None
    assert outcome.summary["fills"] > 0
    assert len(warnings) == 1
    assert warnings[0].startswith("executions are not written: ")


# The file


SPEC = Instrument("v", "X", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))


def maker() -> RowMaker:
    return RowMaker({SPEC.id: SPEC}, ("USDT",))


def child(number: int, key: str = "r1", price: str = "100", status: OrderStatus = OrderStatus.FILLED) -> Record:
    order = OrderRequest(1, key, "carry", "b1", "a", SPEC.id, Side.BUY, D(2))
    touch = BookView(1, SPEC.id, 998, 1, 1000, 1)
    made = ChildRecord(order, 1, touch, number, touch, 1, touch, "c1", status, 2, 3)
    fill = Fill(
        1, "a", SPEC.id, "c1", "t1", Side.BUY, D(price), D(2), Liquidity.TAKER, D("0.5"), "USDT", FillReason.TAKER
    )
    made.done.book(2, fill, Side.BUY)
    return made


def fill_record(number: int, trade: str = "t1", busted_ns: int | None = None) -> FillRecord:
    fill = Fill(1, "a", SPEC.id, "c1", trade, Side.BUY, D(100), D(2), Liquidity.TAKER, D(0), "USDT", FillReason.TAKER)
    return FillRecord(number, FillEvent(1, "r1", "carry", "b1", fill), 2, None, busted_ns)


def test_a_row_is_replaced_by_newer_ones_only(tmp_path: Path) -> None:
    store = ExecutionStore(tmp_path / DATABASE_NAME, maker())
    store.write([child(5, price="101")], 5)
    store.write([child(3, price="102")], 3)
    assert store.number == 5
    assert rows(store.path, "SELECT number, avg_price FROM children") == [{"number": 5, "avg_price": "101"}]
    store.write([child(6, price="103"), fill_record(7), fill_record(8, busted_ns=9)], 8)
    store.close()
    assert rows(store.path, "SELECT number, avg_price FROM children") == [{"number": 6, "avg_price": "103"}]
    assert rows(store.path, "SELECT number, busted_ns FROM fills") == [{"number": 8, "busted_ns": 9}]


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    store = ExecutionStore(tmp_path / DATABASE_NAME, maker())
    broken = fill_record(2)
    broken.event.strategy = None  # type: ignore[assignment]
    with pytest.raises(sqlite3.IntegrityError):
        store.write([child(1), broken], 2)
    assert (store.number, rows(store.path, "SELECT * FROM children")) == (0, [])
    store.write([child(1)], 1)
    assert store.number == 1


def test_nobody_waits_for_another_writer(tmp_path: Path) -> None:
    store = ExecutionStore(tmp_path / DATABASE_NAME, maker())
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.write([child(1)], 1)
    other.execute("COMMIT")
    store.write([child(1)], 1)
    assert store.number == 1


@pytest.mark.parametrize("damage", ["text", "other", "ahead"])
def test_what_is_not_this_history_s_database_is_moved_aside(tmp_path: Path, damage: str) -> None:
    path = tmp_path / DATABASE_NAME
    if damage == "text":
        path.write_bytes(b"x" * 10_000)
    elif damage == "other":
        sqlite3.connect(path).execute("CREATE TABLE other (x)")
    else:
        before = ExecutionStore(path, maker())
        before.write([child(9)], 9)
        before.close()
    store, aside = open_store(path, maker(), last=8)
    assert (store.number, aside) == (0, tmp_path / f"{DATABASE_NAME}.1")
    store.write([child(1)], 1)
    store.close()
    again, aside = open_store(path, maker(), last=1)
    assert (again.number, aside) == (1, None)


def test_gaps_are_noted_once_and_forgotten_when_they_are_filled(tmp_path: Path) -> None:
    store = ExecutionStore(tmp_path / DATABASE_NAME, maker())
    store.note_gap(10, 20, "why")
    store.note_gap(12, 15, "why")
    store.note_gap(30, 40, "why")
    assert store.gaps() == [(10, 20), (30, 40)]
    store.fill_gaps(0, 35)
    assert store.gaps() == [(30, 40)]


def test_what_went_by_unseen_is_known(played: tuple[Path, RunConfig]) -> None:
    gaps: list[tuple[int, int, str]] = []
    cell: Cell = build_cell(played[1])
    tracker = cell.dispatcher.actors["execution_tracker"]
    assert isinstance(tracker, ExecutionTracker)
    tracker.config = TrackerConfig(keep=2)
    collector = Collector(cell, 0, lambda *gap: gaps.append(gap))
    assert not collector.collect()
    for number in range(1, 6):
        tracker.handle(number, fill_event(number))
    assert collector.collect()
    assert [record.number for record in collector.waiting] == [4, 5]
    assert [gap[:2] for gap in gaps] == [(0, 3)]
    records, upto = collector.take(1)
    assert ([record.number for record in records], upto) == ([4], 4)
    collector.put_back(records)
    assert collector.take(9)[1] == 5


def fill_event(number: int) -> FillEvent:
    fill = Fill(
        number, "futures", "binance_usdm:BTCUSDT", "c1", f"t{number}", Side.BUY, D(100), D(2), Liquidity.TAKER, D(0),
        "USDT", FillReason.TAKER,
    )  # fmt: skip
    return FillEvent(number, "", "", "", fill)


def test_what_cannot_be_told_is_null_and_never_zero(tmp_path: Path) -> None:
    order = OrderRequest(1, "r1", "carry", "b1", "a", SPEC.id, Side.BUY, D(2))
    blind = ChildRecord(order, 1, None, 1, None, 1, None, "c1", OrderStatus.EXPIRED, 2, 3)
    strange = child(2, key="r2")
    assert isinstance(strange, ChildRecord)
    strange.done.fees = {"BNB": D("0.01")}
    store = ExecutionStore(tmp_path / DATABASE_NAME, maker())
    store.write([blind, strange])
    one, other = rows(store.path, "SELECT * FROM children ORDER BY child_id")
    unknown = (
        "avg_price",
        "decision_mid",
        "slippage_bps",
        "delay",
        "spread",
        "opportunity",
        "total",
        "requested_quote",
    )
    assert [one[name] for name in unknown] == [None] * len(unknown)
    assert one["fee_quote"] == "0"
    assert (other["fee_quote"], other["total"], other["total_bps"]) == (None, None, None)
    assert (other["fees"], other["delay"]) == ('{"BNB": "0.01"}', "0.0")


# For people


def test_the_command_shows_what_is_there(
    played: tuple[Path, RunConfig], database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(played[0])
    for table in SHOWN:
        assert basisctl(["executions", table, "--state", state, "--json", "--limit", "0"]) == 0
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(told) == len(rows(database, f"SELECT * FROM {table}"))
    assert basisctl(["executions", "--by", "venue", "--state", state]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["venue", "binance_spot", "binance_usdm"]


def test_the_command_picks_by_place_and_time(
    played: tuple[Path, RunConfig], database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = str(played[0] / "log")
    last = rows(database, "SELECT max(ts) AS ts FROM fills")[0]["ts"]
    for words, where in (
        (["--venue", "binance_spot"], "venue = 'binance_spot'"),
        (["--symbol", "BTCUSDT", "--strategy", "carry"], "1"),
        (["--strategy", "nobody"], "0"),
        (["--since", "10s"], f"ts >= {last - 10_000_000_000}"),
        (["--since", "2026-01-15T16:00Z"], "ts >= 1768492800000000000"),
        (["--until", "2026-01-15T16:00:10Z"], "ts < 1768492810000000000"),
    ):
        assert basisctl(["executions", "fills", "--state", state, "--json", "--limit", "0", *words]) == 0
        told = {json.loads(line)["key"] for line in capsys.readouterr().out.splitlines()}
        assert told == {row["key"] for row in rows(database, f"SELECT key FROM fills WHERE {where}")}, words
    assert basisctl(["executions", "--by", "strategy", "--venue", "binance_usdm", "--state", state, "--json"]) == 0
    summed = json.loads(capsys.readouterr().out)
    assert summed["orders"] == len(rows(database, "SELECT 1 FROM children WHERE venue = 'binance_usdm'"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["baskets", "--by", "venue"], "--by sums up children"),
        (["baskets", "--venue", "binance_usdm"], "--venue: baskets have none; see legs"),
        (["--since", "yesterday"], "--since"),
        (["--limit", "-1"], "--limit must be at least 0"),
        (["--by", "hour", "--parquet", "x"], "--parquet writes executions, not sums of them"),
    ],
)
def test_the_command_refuses_by_name(
    played: tuple[Path, RunConfig], capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert basisctl(["executions", "--state", str(played[0]), *words]) == 2
    assert why in capsys.readouterr().err


def test_a_file_that_is_not_there_or_no_database_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert basisctl(["executions", "--state", str(tmp_path)]) == 2
    assert f"no {DATABASE_NAME} in {tmp_path}" in capsys.readouterr().err
    (tmp_path / DATABASE_NAME).write_bytes(b"x" * 5_000)
    assert basisctl(["executions", "--state", str(tmp_path)]) == 1
    assert "not a database" in capsys.readouterr().err


def test_the_grammar_names_the_tables_and_keys_there_are() -> None:
    given = basisctl_parser().parse_args
    for table in SHOWN:
        assert given(["executions", table]).table == table
    for key in SUMMARY_KEYS:
        assert given(["executions", "--by", key]).by == key
    assert set(SHOWN) == set(TABLES)
    with pytest.raises(SystemExit):
        given(["executions", "--by", "moon"])


def test_parquet_has_exact_decimals_and_utc_nanoseconds(
    played: tuple[Path, RunConfig], database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 - as late as the command does
    from pyarrow import parquet  # noqa: PLC0415 - likewise

    for table in SHOWN:
        path = tmp_path / f"{table}.parquet"
        assert basisctl(["executions", table, "--state", str(played[0]), "--parquet", str(path), "--json"]) == 0
        told, found = json.loads(capsys.readouterr().out), parquet.read_table(path)
        stored = rows(database, f"SELECT * FROM {table}")
        assert told == {"file": str(path), "table": table, "rows": len(stored)}
        assert found.num_rows == len(stored)
    fills = parquet.read_table(tmp_path / "fills.parquet")
    assert fills.schema.field("ts").type == pa.timestamp("ns", tz="UTC")
    assert fills.schema.field("price").type == pa.decimal128(38, 18)
    exact = {row["key"]: row for row in rows(database, "SELECT * FROM fills")}
    for row in fills.to_pylist():
        stored_row = exact[row["key"]]
        assert [row[name] for name in ("price", "qty", "fee")] == [D(stored_row[n]) for n in ("price", "qty", "fee")]
    assert fills.column("ts").cast(pa.int64()).to_pylist() == [
        row["ts"] for row in rows(database, "SELECT ts FROM fills ORDER BY ts, number")
    ]


def test_parquet_refuses_to_round_what_is_exact(tmp_path: Path) -> None:
    store = ExecutionStore(tmp_path / DATABASE_NAME, maker())
    record = fill_record(1)
    store.write([record])
    row = rows(store.path, "SELECT * FROM fills")[0]
    for value, why in (("0.0000000000000000001", "more than 18 decimals"), ("1" + "0" * 20, "too many digits")):
        with pytest.raises(InexactError, match=f"qty: .*{why}"):
            write_parquet(tmp_path / "x.parquet", "fills", [row | {"qty": value}])
    assert write_parquet(tmp_path / "x.parquet", "fills", [row | {"mid": "0.33333333333333333333333"}]) == 1


def test_a_mistake_in_usage_has_its_own_exit_status(played: tuple[Path, RunConfig]) -> None:
    from daemon.executions.command import main  # noqa: PLC0415 - the command itself, without its words

    arguments = basisctl_parser().parse_args(["executions", "--state", str(played[0]), "--limit", "-3"])
    with pytest.raises(ExitError) as caught:
        main(arguments)
    assert caught.value.status == 2
