"""A person reads what all runs logged, while they go on and afterwards, and holds nobody up."""

import json
import shutil
import sqlite3
from argparse import ArgumentParser, Namespace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from actors.cell import CellRestarted
from actors.control import AdminCall, AdminResult, GuardStatus
from actors.dispatcher import Intent
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon import history
from daemon.exits import ExitError
from daemon.log import RunLog, open_log
from daemon.log.journal_schema import VIEWS
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Side
from venues.port import CancelAll, Message, OrderAccepted, OrderFilled, OutcomeUnknown, SubmitOrder, VenueDown, VenueUp

START = 1_768_492_200_000_000_000
MINUTE = 60_000_000_000
BTC, ETH = "binance:BTCUSDT", "binance:ETHUSDT"


def order(now: int, client_id: str, instrument: str = BTC, account: str = "futures") -> SubmitOrder:
    return SubmitOrder(now, account, instrument, client_id, Side.BUY, Decimal("0.5"), price=Decimal("60000.10"))


def fill(now: int, client_id: str, number: int, instrument: str = BTC, account: str = "futures") -> OrderFilled:
    price, qty, fee = Decimal("60000.10"), Decimal("0.25"), Decimal("7.5")
    return OrderFilled(
        now, account, instrument, client_id, "v1", f"t{number}", Side.BUY, price, qty, Liquidity.TAKER, fee, "USDT",
        FillReason.TAKER,
    )  # fmt: skip


class Writer:
    """A run's log, one message a minute."""

    def __init__(self, state: Path, number: int) -> None:
        self.folder = state / "runs" / f"{number:06d}" / "log"
        start = START + 10 * number * MINUTE
        snapshot = None if number == 1 else {"seq": 1000 * number}
        self.log = RunLog.create(
            self.folder, "", "c0ffee", f"build-{number}", start, durable=True, mode="paper", snapshot=snapshot
        )
        self.seq, self.now = 1000 * number, start

    def write(self, *kinds: type[Message] | Message) -> None:
        for each in kinds:
            self.seq += 1
            self.now += MINUTE
            if isinstance(each, SubmitOrder | CancelAll):
                self.log.intents([Intent(self.seq, self.seq - 1, self.seq - 1, each)])
            else:
                assert isinstance(each, Message)
                self.log.input(self.seq, self.now, False, each)
        self.log.commit()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A sealed run, a killed one, and one that goes on."""
    one = Writer(tmp_path, 1)
    at = one.now
    one.write(VenueUp(at, "binance"), order(at + 2 * MINUTE, "a-1"), order(at + 3 * MINUTE, "a-2", ETH, "other"))
    one.write(OrderAccepted(at, "futures", BTC, "a-1", "v1"), fill(at, "a-1", 1), fill(at, "a-2", 2, ETH, "other"))
    one.log.close()
    two = Writer(tmp_path, 2)
    at = two.now
    two.write(fill(at, "a-1", 3), AdminCall(at, "ops", "kill", '{"level":2}', 1000, 1001, 77))
    two.write(KillCommand(at, "ops", KillLevel.CANCEL_ALL, "drill"), AdminResult(at, "kill", True, "done"))
    two.write(CancelAll(at + 5 * MINUTE, "futures"), ArmCommand(at, "ops", "drill is over"))
    two.write(GuardStatus(at, False, why="gone"), VenueDown(at, "binance", why="reset"))
    two.write(
        OutcomeUnknown(at, "futures", BTC, "a-1", "CancelOrder", "time-out"), CellRestarted(at, 7, "desk", "boom")
    )
    copy = tmp_path / "copy"
    shutil.copytree(two.folder, copy, ignore=shutil.ignore_patterns("*-shm"))
    two.log.abandon()
    shutil.rmtree(two.folder)
    copy.rename(two.folder)
    (tmp_path / "runs" / "000004" / "log").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def live(state: Path) -> Writer:
    three = Writer(state, 3)
    three.write(order(three.now + MINUTE, "a-3"), fill(three.now, "a-3", 4))
    return three


def ask(capsys: pytest.CaptureFixture[str], state: Path | None, *words: str, status: int = 0) -> list[dict[str, Any]]:
    told = Namespace(rest=[*words, "--json"], state=str(state) if state else None)
    assert history.run(told) == status
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_orders_are_told_with_what_became_of_them_in_any_run(
    state: Path, live: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ask(capsys, state, "orders")
    keys = ("run", "client_order_id", "account", "qty", "price", "last_report", "last_time", "fills")
    assert [[row[key] for key in keys] for row in told] == [
        ["000001", "a-1", "futures", "0.5", "60000.10", "OutcomeUnknown", "2026-01-15T16:19:00.000000000Z", 2],
        ["000001", "a-2", "other", "0.5", "60000.10", "OrderFilled", "2026-01-15T16:06:00.000000000Z", 1],
        ["000003", "a-3", "futures", "0.5", "60000.10", "OrderFilled", "2026-01-15T16:22:00.000000000Z", 1],
    ]
    live.log.abandon()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fills", ["t1", "t2", "t3", "t4"]),
        ("fills --limit 2", ["t3", "t4"]),
        ("fills --limit 0", ["t1", "t2", "t3", "t4"]),
        ("fills --account other", ["t2"]),
        (f"fills --instrument {BTC} --limit 3", ["t1", "t3", "t4"]),
        ("fills --account nobody", []),
        ("fills --since 2026-01-15T16:06Z", ["t2", "t3", "t4"]),
        ("fills --since 2026-01-15T16:06:00.000000001", ["t3", "t4"]),
        ("fills --until 2026-01-15T16:06:00", ["t1"]),
        ("fills --since 2026-01-15 --until 2026-01-16", ["t1", "t2", "t3", "t4"]),
        ("fills --since 2026-01-16", []),
        ("fills --since 11m", ["t3", "t4"]),
        ("fills --until 11m", ["t1", "t2"]),
    ],
)
def test_what_is_wanted(
    state: Path, live: Writer, capsys: pytest.CaptureFixture[str], words: str, expected: list[str]
) -> None:
    assert [row["trade_id"] for row in ask(capsys, state, *words.split())] == expected
    live.log.abandon()


def test_every_topic(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(topic: str, *keys: str) -> list[list[Any]]:
        return [[row.get(key) for key in keys] for row in ask(capsys, state, topic)]

    assert told("intents", "kind", "account", "instrument") == [
        ["SubmitOrder", "futures", BTC],
        ["SubmitOrder", "other", ETH],
        ["CancelAll", "futures", None],
    ]
    assert told("admin", "kind", "role", "method", "params", "uid", "gid", "pid", "is_ok", "text") == [
        ["AdminCall", "ops", "kill", '{"level":2}', 1000, 1001, 77, None, None],
        ["AdminResult", None, "kill", None, None, None, None, True, "done"],
    ]
    assert told("kills", "kind", "operator", "level", "reason", "is_up") == [
        ["KillCommand", "ops", "cancel_all", "drill", None],
        ["ArmCommand", "ops", None, "drill is over", None],
        ["GuardStatus", None, None, "gone", False],
    ]
    assert told("sessions", "venue", "is_up", "why") == [["binance", True, None], ["binance", False, "reset"]]
    assert told("incidents", "kind", "text") == [
        ["VenueDown", "reset"],
        ["OutcomeUnknown", "time-out"],
        ["CellRestarted", "boom"],
    ]
    assert told("runs", "run", "mode", "end", "inputs", "order_path_inputs", "intents", "from", "last") == [
        ["000001", "paper", "sealed", 4, 4, 2, "beginning", "2026-01-15T16:06:00.000000000Z"],
        ["000002", "paper", "open", None, 9, 1, "snapshot", "2026-01-15T16:20:00.000000000Z"],
    ]


def test_it_is_said_that_incidents_of_actors_are_not_logged(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert history.run(Namespace(rest=["incidents"], state=str(state))) == 0
    assert "is not logged" in capsys.readouterr().err


def test_tables_for_people(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Namespace(rest=["fills", "--account", "other"], state=str(state))
    assert history.run(told) == 0
    assert capsys.readouterr().out.splitlines() == [
        "run     time                            account  instrument       client_order_id  side   qty     price  fee"
        "  fee_asset  liquidity",
        "000001  2026-01-15T16:06:00.000000000Z  other    binance:ETHUSDT  a-2              buy   0.25  60000.10  7.5"
        "  USDT       taker",
    ]
    assert history.run(Namespace(rest=["fills", "--account", "nobody"], state=str(state))) == 0
    assert capsys.readouterr().out == "no fills\n"


def test_its_arguments_may_be_parsed_by_somebody_else(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    history.add_arguments(parser)
    assert history.run(parser.parse_args(["fills", "--json", "--limit", "1", "--state", str(state)])) == 0
    assert json.loads(capsys.readouterr().out)["trade_id"] == "t3"


def test_a_writer_is_not_held_up_and_what_it_has_not_committed_is_not_told(
    state: Path, live: Writer, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = live.log._journal._connection  # type: ignore[union-attr]
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("DELETE FROM entries")
    assert [row["trade_id"] for row in ask(capsys, state, "fills")][-1] == "t4"
    connection.execute("ROLLBACK")
    live.write(fill(live.now, "a-3", 5))
    assert [row["trade_id"] for row in ask(capsys, state, "fills")][-1] == "t5"
    live.log.close()
    assert open_log(live.folder).is_sealed
    assert [row["trade_id"] for row in ask(capsys, state, "fills")][-1] == "t5"


def test_reading_changes_nothing(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(capsys, state, "runs")
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file() and "-shm" not in path.name}
    for topic in history.TOPICS:
        ask(capsys, state, topic)
    assert before == {
        path: path.read_bytes() for path in state.rglob("*") if path.is_file() and "-shm" not in path.name
    }


def test_a_log_that_cannot_be_read_is_named_and_the_others_are_told(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = state / "runs" / "000001" / "log" / "journal.sqlite"
    path.write_bytes(b"no database" * 1000)
    assert history.run(Namespace(rest=["fills", "--json"], state=str(state))) == 1
    captured = capsys.readouterr()
    assert [json.loads(line)["trade_id"] for line in captured.out.splitlines()] == ["t3"]
    assert captured.err.count("\n") == 1
    assert "run 000001: " in captured.err
    assert [row["run"] for row in ask(capsys, state, "runs", status=1)] == ["000001", "000002"]


@pytest.mark.parametrize("name", ["version-1-sealed", "version-2-sealed", "version-2-open"])
def test_a_log_of_an_earlier_version_has_todays_views(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    shutil.copytree(Path(__file__).parent / "logs" / name, tmp_path / "old" / "log")
    assert [row["venue"] for row in ask(capsys, tmp_path / "old", "sessions")] == ["binance"] * 3
    assert len(ask(capsys, tmp_path / "old" / "log", "intents")) == 3


# Where logs are looked for


def test_the_state_folder_is_the_one_told_or_the_only_one(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (state, state / "runs"):
        assert [path.parent.name for path in history.log_folders(str(folder))] == ["000001", "000002"]
    for folder in (state / "runs" / "000002", state / "runs" / "000002" / "log"):
        assert history.log_folders(str(folder)) == [state / "runs" / "000002" / "log"]
    for name in ("BASISD_STATE", "STATE_DIRECTORY"):
        monkeypatch.setenv(name, str(state))
        assert len(history.log_folders(None)) == 2
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    (home / "state").mkdir(parents=True)
    monkeypatch.chdir(home)
    with pytest.raises(ExitError, match="no logs in"):
        history.log_folders(None)
    shutil.copytree(state / "runs", home / "state" / "demo" / "runs")
    assert len(ask(capsys, None, "runs")) == 2
    shutil.copytree(state / "runs", home / "state" / "other" / "runs")
    with pytest.raises(ExitError, match=r"several daemons: state/demo, state/other"):
        history.log_folders(None)
    with pytest.raises(ExitError, match="no logs in"):
        history.log_folders(str(home))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("admin --account a", "--account: admin have none"),
        ("kills --instrument a", "--instrument: kills have none"),
        ("runs --since 1h", "--since, --until: runs are all shown"),
        ("fills --since yesterday", "--since: expected a moment"),
        ("fills --limit -1", "--limit must be at least 0"),
    ],
)
def test_what_cannot_be_wanted(state: Path, words: str, why: str) -> None:
    with pytest.raises(ExitError, match=why):
        history.run(Namespace(rest=words.split(), state=str(state)))


def test_the_views_work_in_a_shell(state: Path) -> None:
    connection = sqlite3.connect(f"file:{state}/runs/000002/log/journal.sqlite?mode=ro", uri=True)
    counts = {name: len(connection.execute(f"SELECT * FROM {name}").fetchall()) for name in VIEWS}
    connection.close()
    assert counts == {
        "inputs": 9,
        "intents": 1,
        "fills": 1,
        "orders": 0,
        "admin": 2,
        "kills": 3,
        "sessions": 1,
        "incidents": 3,
    }
