"""What goes into a log comes out of it, in order, and its hash depends on nothing else."""

import importlib
import json
import os
import pkgutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import actors
from actors.base import TimerFired
from actors.dispatcher import Intent
from daemon.log import LogWriteError, RunLog, UnreadableRecordError, open_log, segments
from daemon.log.canonical import encode_message, input_line, intent_line, message_of, parse
from daemon.log.replay import export
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Side
from venues.port import (
    MESSAGES,
    AccountReport,
    Lane,
    Message,
    OrderAccepted,
    OrderFilled,
    Quote,
    SubmitOrder,
    VenueUp,
    message,
)

for _module in pkgutil.walk_packages(actors.__path__, "actors."):
    importlib.import_module(_module.name)

START = 1_723_075_200_000_000_000

LOGGED = sorted(
    (
        kind
        for kind in MESSAGES.values()
        if kind.__module__.startswith(("venues.", "actors."))
        and kind.lane is not Lane.VIEWS
        and kind.__name__[0] != "_"
    ),
    key=lambda kind: kind.__name__,
)
"""Every message that can be an input or an intent: views never leave the cell."""


def create(folder: Path, *, durable: bool = False, **more: Any) -> RunLog:
    return RunLog.create(folder, "a = 1\n", "c0ffee", "build-1", START, durable=durable, **more)


def quote(number: int, bid: int = 100) -> Quote:
    return Quote(START + number, "binance:BTCUSDT", number, bid, 5, bid + 1, 7)


def order(number: int) -> SubmitOrder:
    return SubmitOrder(
        START, "desk", "binance:BTCUSDT", f"id-{number}", Side.BUY, Decimal("0.250"), price=Decimal("61659.70")
    )


def write_some(log: RunLog, count: int = 20, bid: int = 100) -> None:
    """Quotes with an intent after every third and a report after every fifth, seq in steps of 4."""
    for number in range(count):
        seq = 4 * number + 1
        log.input(seq, START + number, number % 2 == 1, quote(number, bid))
        if number % 5 == 4:
            log.input(seq + 1, START + number, False, VenueUp(START + number, "binance", f"n{number}"))
        if number % 3 == 2:
            log.intents([Intent(seq + 3, seq, seq, order(number))])
        log.commit()


# Messages


def _strategy(kind: Any) -> "st.SearchStrategy[Any]":
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return st.one_of(*map(_strategy, inner))
    if origin is tuple and inner[-1] is Ellipsis:
        return st.lists(_strategy(inner[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_strategy, inner))
    if origin is list:
        return st.lists(_strategy(inner[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(_strategy(inner[0]), _strategy(inner[1]), max_size=3)
    if kind is int:
        return st.integers(-(2**63), 2**63 - 1)
    if kind is Decimal:
        return st.decimals(allow_nan=False, allow_infinity=False)
    if kind is str:
        return st.text(st.characters(exclude_categories=["Cs"]))
    if attrs.has(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{each.name: _strategy(hints[each.name]) for each in attrs.fields(kind)})
    return st.from_type(kind)


@pytest.mark.parametrize("kind", LOGGED, ids=lambda kind: kind.__name__)
def test_every_message_reads_back_as_it_was(kind: type[Message]) -> None:
    @settings(max_examples=25)
    @given(_strategy(kind), st.booleans())
    def reads_back(sent: Message, is_held: bool) -> None:
        line = input_line(7, START, is_held, sent)
        record = parse(line)
        assert (record.seq, record.now, record.is_held, record.kind) == (7, START, is_held, kind.__name__)
        got = message_of(record)
        assert (type(got), got) == (kind, sent)
        assert input_line(7, START, is_held, got) == line
        assert b"\n" not in line

    reads_back()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            input_line(17, START, False, quote(3)),
            '{"kind":"Quote","message":{"ask":101,"ask_lots":7,"bid":100,"bid_lots":5,"instrument":"binance:BTCUSDT",'
            '"ts":1723075200000000003,"update_id":3},"now":1723075200000000000,"seq":17}',
        ),
        (
            input_line(18, START, True, AccountReport(START, "desk", {"z": Decimal("1E-7"), "ä": Decimal("2.50")})),
            '{"is_held":true,"kind":"AccountReport","message":{"account":"desk","balances":{"z":"1E-7","ä":"2.50"},'
            '"reason":"","ts":1723075200000000000},"now":1723075200000000000,"seq":18}',
        ),
        (
            intent_line(Intent(19, 18, 17, MESSAGES["CancelAll"](START, "desk"))),  # type: ignore[arg-type, call-arg]
            '{"cause":18,"kind":"CancelAll","message":{"account":"desk","instrument":null,"ts":1723075200000000000},'
            '"root":17,"seq":19}',
        ),
    ],
)
def test_the_canonical_form(line: bytes, expected: str) -> None:
    assert line.decode() == expected
    assert json.dumps(json.loads(line), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == expected


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_decimal_that_is_not_finite_is_neither_written_nor_read(tmp_path: Path, number: str) -> None:
    bad = AccountReport(START, "desk", {"USDT": Decimal(number)})
    with pytest.raises(UnreadableRecordError, match=r"balances\['USDT'\]"):
        input_line(1, START, False, bad)
    raw = b'{"kind":"AccountReport","message":%b,"now":1,"seq":1}' % encode_message(bad)
    with pytest.raises(UnreadableRecordError, match=r"balances\['USDT'\]"):
        message_of(parse(raw))
    log = create(tmp_path / "log")
    with pytest.raises(LogWriteError, match="not a finite number"):
        log.input(1, START, False, bad)


def test_a_text_may_say_nan() -> None:
    sent = AccountReport(START, "NaN", {"Infinity": Decimal(1)}, "NaN")
    assert message_of(parse(input_line(1, START, False, sent))) == sent


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"kind":"NoSuch","message":{},"now":1,"seq":1}', "no message is called NoSuch"),
        (b'{"kind":"VenueUp","message":{"ts":1},"now":1,"seq":1}', "not a VenueUp"),
        (b'{"kind":"VenueUp","message":{"channel":"","more":1,"ts":1,"venue":"x"},"now":1,"seq":1}', "differently"),
        (b'{"kind":"OpenInterest","message":{"instrument":"x","qty":5,"ts":1},"now":1,"seq":1}', "differently"),
    ],
)
def test_a_message_this_build_would_not_have_written_is_refused(line: bytes, why: str) -> None:
    with pytest.raises(UnreadableRecordError, match=why):
        message_of(parse(line))


@pytest.mark.parametrize("line", [b"", b"{}", b'{"kind":"VenueUp","message":{},"seq":1}', b'{"seq":1,"x":2}', b"[1]"])
def test_a_line_that_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(UnreadableRecordError):
        parse(line)


# Writing and reading


@pytest.mark.parametrize("durable", [False, True])
def test_records_come_back_by_number_from_both_places(tmp_path: Path, durable: bool) -> None:
    with create(tmp_path / "log", durable=durable) as log:
        log.intents([Intent(1, 1, 0, order(0))])
        log.input(2, START, False, quote(1))
        log.input(5, START, True, VenueUp(START, "binance"))
        log.input(6, START, True, quote(2))
        log.intents([Intent(4, 3, 2, order(1)), Intent(8, 7, 6, order(2))])
        log.commit()
        log.input(9, START + 1, False, TimerFired(START, "x", "y"))
        journal_sha256 = log.close()
    opened = open_log(tmp_path / "log")
    records = list(opened.records())
    assert [(r.seq, r.kind) for r in records] == [
        (1, "SubmitOrder"),
        (2, "Quote"),
        (4, "SubmitOrder"),
        (5, "VenueUp"),
        (6, "Quote"),
        (8, "SubmitOrder"),
        (9, "TimerFired"),
    ]
    assert [r.seq for r in opened.order_path()] == [1, 4, 5, 8, 9]
    assert journal_sha256 == sha256(b"".join(r.line + b"\n" for r in records)).hexdigest()
    assert journal_sha256 == sha256(b"".join(export(tmp_path / "log"))).hexdigest() == opened.journal_sha256()
    assert opened.manifest is not None
    assert (opened.manifest.inputs, opened.manifest.market_inputs, opened.manifest.intents) == (4, 2, 3)
    assert (opened.header.config_text, opened.header.build, opened.header.start_ns) == ("a = 1\n", "build-1", START)


def test_a_sealed_log_is_a_few_plain_files(tmp_path: Path) -> None:
    with create(tmp_path / "log", durable=True) as log:
        write_some(log)
        log.close()
    expected = ["journal.sqlite", "manifest.json", "market-000000.seg", "run.json"]
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == expected
    list(open_log(tmp_path / "log").records())
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == expected


def test_segments_rotate_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.log.run_log.FLUSH_BYTES", 500)
    logs = []
    for name, size in (("many", 600), ("one", segments.SEGMENT_BYTES_MAX)):
        with create(tmp_path / name, segment_bytes=size) as log:
            write_some(log, 60)
            log.close()
        logs.append(open_log(tmp_path / name))
    assert len(logs[0].segments) > 3
    assert len(logs[1].segments) == 1
    assert logs[0].journal_sha256() == logs[1].journal_sha256()


def test_the_hash_does_not_depend_on_durability_or_when_it_was_committed(tmp_path: Path) -> None:
    hashes = set()
    for name, durable in (("a", False), ("b", True)):
        with create(tmp_path / name, durable=durable) as log:
            write_some(log)
            hashes.add(log.close())
    with create(tmp_path / "c") as log:
        write_some(log)
        log.sync()
        hashes.add(log.close())
    assert len(hashes) == 1


def test_one_price_in_one_input_changes_the_hash(tmp_path: Path) -> None:
    hashes = set()
    for bid in (100, 101):
        with create(tmp_path / str(bid)) as log:
            write_some(log, 10)
            log.input(1_000, START, False, quote(1_000, bid))
            hashes.add(log.close())
    assert len(hashes) == 2


_SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_run_log as t
with t.create(Path(sys.argv[1])) as log:
    t.write_some(log)
    log.input(900, t.START, False, t.AccountReport(t.START, "d", {k: t.Decimal(1) for k in ("b", "a", "c")}))
    print(log.close())
"""


def test_the_hash_is_the_same_in_every_process(tmp_path: Path) -> None:
    root, here = Path(__file__).parents[2], Path(__file__).parent
    hashes = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(tmp_path / seed), str(here)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1


# People


def test_a_person_can_ask_sqlite(tmp_path: Path) -> None:
    fill = OrderFilled(
        START,
        "desk",
        "binance:BTCUSDT",
        "id-1",
        "v1",
        "t1",
        Side.BUY,
        Decimal("61659.70"),
        Decimal("0.250"),
        Liquidity.TAKER,
        Decimal("7.71"),
        "USDT",
        FillReason.TAKER,
    )
    with create(tmp_path / "log", durable=True) as log:
        log.intents([Intent(3, 2, 0, order(1)), Intent(4, 2, 0, order(2))])
        log.input(5, START + 1, False, OrderAccepted(START, "desk", "binance:BTCUSDT", "id-1", "v1"))
        log.input(6, START + 2, True, fill)
        log.commit()
        # While it runs, and after it ended.
        while_open = _ask(tmp_path / "log")
        log.close()
    after = _ask(tmp_path / "log")
    assert while_open == after
    assert after["orders"] == [
        ("id-1", "buy", "0.250", "61659.70", "OrderFilled", "2024-08-08T00:00:00.000000002Z", 1),
        ("id-2", "buy", "0.250", "61659.70", None, None, 0),
    ]
    assert after["fills"] == [("id-1", "t1", "61659.70", "0.250", "7.71", "taker")]
    assert after["inputs"] == [(5, "OrderAccepted", 0), (6, "OrderFilled", 1)]
    assert after["intents"] == [(3, 0, 2, "SubmitOrder"), (4, 0, 2, "SubmitOrder")]
    assert after["version"] == [(3,)]


def _ask(folder: Path) -> dict[str, Sequence[Any]]:
    questions = {
        "orders": "SELECT client_order_id, side, qty, price, last_report, last_time, fills FROM orders ORDER BY seq",
        "fills": "SELECT client_order_id, trade_id, price, qty, fee, reason FROM fills",
        "inputs": "SELECT seq, kind, is_held FROM inputs",
        "intents": "SELECT seq, root, cause, kind FROM intents",
        "version": "PRAGMA user_version",
    }
    connection = sqlite3.connect(f"file:{folder / 'journal.sqlite'}?mode=ro", uri=True)
    try:
        return {name: connection.execute(question).fetchall() for name, question in questions.items()}
    finally:
        connection.close()


@pytest.mark.parametrize("mode", ["ro", "rw"])
@pytest.mark.parametrize("reading", ["nothing", "the end", "the beginning"])
def test_someone_with_the_journal_open_does_not_keep_a_log_from_being_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, reading: str
) -> None:
    """Idle, or in the middle of reading, as behind a pager: what was read then, or what is there by now."""
    monkeypatch.setattr("daemon.log.journal._SEAL_WAIT_MS", 1)
    path = tmp_path / "log" / "journal.sqlite"
    log = create(tmp_path / "log", durable=True)
    shell = sqlite3.connect(f"file:{path}?mode={mode}", uri=True, isolation_level=None)
    count = "SELECT count(*) FROM orders"
    if reading == "the beginning":
        shell.execute("BEGIN")
        assert shell.execute(count).fetchone() == (0,)
    write_some(log)
    if reading == "the end":
        log.sync()
        shell.execute("BEGIN")
        assert shell.execute(count).fetchone() == (6,)
    journal_sha256 = log.close()
    assert shell.execute(count).fetchone() == (0 if reading == "the beginning" else 6,)
    for _ in range(2):
        opened = open_log(tmp_path / "log")
        assert opened.is_sealed
        assert opened.journal_sha256() == journal_sha256
        shell.close()
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    assert reader.execute(count).fetchone() == (6,)
    reader.close()
    names = sorted(each.name for each in (tmp_path / "log").iterdir())
    assert [name for name in names if "sqlite" not in name] == ["manifest.json", "market-000000.seg", "run.json"]
    assert "journal.sqlite.tmp" not in names
    assert path.stat().st_mode & 0o777 == 0o600


# What is refused


def test_a_log_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "x").touch()
    with pytest.raises(LogWriteError, match="not empty"):
        create(tmp_path / "log")


@pytest.mark.parametrize("seq", [0, 5, 4])
def test_numbers_must_rise(tmp_path: Path, seq: int) -> None:
    log = create(tmp_path / "log")
    log.input(5, START, False, quote(1))
    with pytest.raises(LogWriteError, match="does not follow"):
        log.input(seq, START, False, quote(2))
    _takes_nothing_more(log)


def test_two_records_of_one_number_are_refused(tmp_path: Path) -> None:
    log = create(tmp_path / "log")
    log.input(5, START, False, quote(1))
    log.intents([Intent(5, 5, 5, order(1))])
    with pytest.raises(LogWriteError, match="does not follow"):
        log.close()


def test_what_cannot_be_written_down_is_refused(tmp_path: Path) -> None:
    @message()
    class LogOddity(Message):
        ts: int
        what: Any

    log = create(tmp_path / "log")
    with pytest.raises(LogWriteError, match="LogOddity"):
        log.input(5, START, False, LogOddity(1, object()))
    _takes_nothing_more(log)
    del MESSAGES["LogOddity"]


def test_a_closed_log_takes_nothing_more(tmp_path: Path) -> None:
    log = create(tmp_path / "log")
    log.close()
    _takes_nothing_more(log)


def _takes_nothing_more(log: RunLog) -> None:
    for act in (
        lambda: log.input(10**9, START, False, quote(1)),
        lambda: log.intents([]),
        log.commit,
        log.sync,
        log.close,
    ):
        with pytest.raises(LogWriteError, match="takes no more records"):
            act()


# Disks


@pytest.mark.parametrize("durable", [False, True])
def test_a_full_disk_ends_the_log_and_what_was_committed_stays(
    tmp_path: Path, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = create(tmp_path / "log", durable=durable)
    write_some(log, 10)
    log.sync()
    write_some_more = quote(1_000)
    log.input(1_000, START, False, write_some_more)

    def full(fd: int, data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(LogWriteError, match="No space left"):
        log.sync()
    _takes_nothing_more(log)
    monkeypatch.undo()
    opened = open_log(tmp_path / "log")
    assert not opened.is_sealed
    assert len(list(opened.records())) == 15


_FILL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_run_log as t
from daemon.log import LogWriteError
log = t.create(Path(sys.argv[1]), durable=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
committed = 0
try:
    for number in range(2_000):
        if sys.argv[4] == "market":
            log.input(2 * number + 1, t.START + number * 10**8, False, t.quote(number))
        else:
            log.intents([t.Intent(2 * number + 1, 1, 0, t.order(number))])
        log.commit()
        committed = number
except LogWriteError:
    print(committed)
    sys.exit(7)
"""


@pytest.mark.parametrize("lane", ["market", "orders"])
def test_a_file_that_cannot_grow_ends_the_log(tmp_path: Path, lane: str) -> None:
    root, here = Path(__file__).parents[2], Path(__file__).parent
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _FILL,
            str(tmp_path / "log"),
            str(here),
            str(200_000 if lane == "orders" else 9_000),
            lane,
        ],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    read = len(list(open_log(tmp_path / "log").records()))
    assert read >= int(done.stdout) + 1 if lane == "orders" else read > 0


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_run_log as t
log = t.create(Path(sys.argv[1]), durable=True)
t.write_some(log, 30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_kill_nine_everything_before_a_committed_intent_is_there(tmp_path: Path) -> None:
    root, here = Path(__file__).parents[2], Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "log"), str(here)],
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == -9
    opened = open_log(tmp_path / "log")
    assert not opened.is_sealed
    # No market input reached a segment yet: they are in the journal with the intents.
    assert [len(segment.blocks) for segment in opened.segments] == [0]
    records = list(opened.records())
    assert sum(record.is_intent for record in records) == 10
    assert sum(record.kind == "Quote" for record in records) == 30
    assert len(records) == 46


def test_a_durable_log_writes_market_inputs_each_second_of_its_clock(tmp_path: Path) -> None:
    log = create(tmp_path / "log", durable=True)
    for number in range(35):
        log.input(number + 1, START + number * 100_000_000, False, quote(number))
        log.commit()
    assert len(list(open_log(tmp_path / "log").records())) == 31
    log.abandon()
