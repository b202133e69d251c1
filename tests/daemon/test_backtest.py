"""A whole run: from a configuration to its summary, log and replay, on markets whole and damaged."""

import gzip
import json
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from binance_frames import frame, lines, write

from daemon.backtest import Backtest
from daemon.config import load
from daemon.config_schema import Synthetic
from daemon.kinds import KINDS
from daemon.replay import main as replay_main
from sim.synthetic import SyntheticMarket
from venues.binance.codec import BinanceDecoder
from venues.model.book_sync import BookSync, SequenceRule
from venues.port import BookDelta, BookSnapshot

ROOT = Path(__file__).resolve().parents[2]
CLOCK_BEHIND = 1_300_000_000
PERPETUAL, SPOT = "binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"


@pytest.fixture(scope="module")
def short_text():
    """The demo's desk on a market of two minutes that opens and closes at once."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    for key, value in (
        ("duration", '"2m"'),
        ("entry_bps", '"-100"'),
        ("max_hold", '"20s"'),
        ("start", '"2026-01-15T15:59:00Z"'),
    ):
        text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    return text


def recorded_text(text, folder, files):
    """The same desk on recordings."""
    head, _, tail = text.partition("[market]")
    _, _, rest = tail.partition("[[venues]]")
    recordings = "".join(
        f'[[market.recordings]]\nfile = "{name}"\nvenue = "{venue}"\nsymbols = ["BTCUSDT"]\nmin_feed_latency = "1ms"\n'
        for venue, name in files.items()
    )
    head = re.sub(r"^(start|duration) = .*\n", "", head, flags=re.M)
    path = folder / "recorded.toml"
    path.write_text(f'{head}[market]\nkind = "recorded"\n{recordings}\n[[venues]]{rest}')
    return path


@pytest.fixture(scope="module")
def short(short_text, tmp_path_factory):
    path = tmp_path_factory.mktemp("short") / "short.toml"
    path.write_text(short_text)
    return path


@pytest.fixture(scope="module")
def frames(short):
    """The short market as frames by venue, written by a clock that is behind."""
    config = load(short, KINDS)
    assert isinstance(config.market, Synthetic)
    specs = dict(config.instruments)
    arrivals = list(SyntheticMarket(config.market.settings(config.run), specs))
    return {
        "binance_usdm": lines(arrivals, specs[PERPETUAL], CLOCK_BEHIND),
        "binance_spot": lines(arrivals, specs[SPOT], CLOCK_BEHIND),
    }


def run_recorded(short_text, folder, frames, warn=None, names=("usdm.gz", "spot.zst")):
    files = dict(zip(frames, names, strict=True))
    for venue, name in files.items():
        write(folder / name, frames[venue])
    backtest = Backtest.from_file(recorded_text(short_text, folder, files))
    return backtest.run(folder / "out", warn=warn)


def test_a_synthetic_run_opens_closes_accounts_and_replays(short, tmp_path, capsys):
    outcome = Backtest.from_file(short).run(tmp_path / "out")
    summary = outcome.summary
    assert summary["baskets"]["balanced"] == summary["baskets"]["planned"] >= 2
    assert summary["baskets"]["closed"] >= 1
    assert summary["baskets"]["broken"] == summary["baskets"]["unwound"] == 0
    assert summary["positions"] == {}
    assert float(summary["funding"]) > 0
    net = sum(sign * float(summary[key]) for sign, key in ((1, "realized_pnl"), (-1, "fees"), (1, "funding")))
    assert float(summary["net_pnl"]) == pytest.approx(net)
    assert summary["halt"] is None
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert replay(tmp_path / "out") == 0
    assert "no difference" in capsys.readouterr().out


def replay(folder, export=False):
    return replay_main(Namespace(log=str(folder), check=True, export=export))


def test_the_same_run_in_fresh_processes_has_one_journal(short, tmp_path):
    hashes = set()
    for seed in range(3):
        command = [
            sys.executable,
            "-m",
            "daemon.cli",
            "backtest",
            str(short),
            "--json",
            "--out",
            str(tmp_path / f"{seed}"),
        ]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.add(json.loads(done.stdout)["journal_sha256"])
    assert len(hashes) == 1


def test_another_price_is_another_journal(short_text, frames, tmp_path):
    hashes = []
    for name, changed in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        mine = {venue: list(rows) for venue, rows in frames.items()}
        if changed:
            at = next(i for i, (_, raw) in enumerate(mine["binance_usdm"]) if b"markPrice" in raw and i > 1000)
            local_ns, raw = mine["binance_usdm"][at]
            mine["binance_usdm"][at] = local_ns, re.sub(rb'"p": "(\d+)\.', rb'"p": "\1.1', raw, count=1)
        hashes.append(run_recorded(short_text, tmp_path / name, mine).summary["journal_sha256"])
    assert hashes[0] != hashes[1]


def test_a_recorded_run_trades_on_the_corrected_clock(short_text, frames, tmp_path):
    outcome = run_recorded(short_text, tmp_path, frames)
    assert [report.frames for report in outcome.recordings] == [len(rows) for rows in frames.values()]
    assert all(report.decoded == report.frames for report in outcome.recordings)
    for report in outcome.recordings:
        # The market's shortest way takes 2 ms or more, of which the estimate leaves 1 ms.
        assert 0 < CLOCK_BEHIND - report.skew_ns < 3_000_000
    assert outcome.summary["baskets"]["closed"] >= 1
    assert outcome.summary["positions"] == {}
    assert outcome.clocks.late == 0
    assert replay(tmp_path / "out") == 0


GARBAGE = [b"{", b"\xff\xfe", b"[]", b'{"stream":1}', b'{"e":"depthUpdate","s":7}', b'{"lastUpdateId":"x"}', b"null"]


def test_garbage_between_the_frames_is_counted_told_once_and_changes_nothing(short_text, frames, tmp_path):
    (tmp_path / "clean").mkdir()
    clean = run_recorded(short_text, tmp_path / "clean", frames).summary
    dirty: dict[str, list[tuple[int, bytes]]] = {}
    for venue, rows in frames.items():
        dirty[venue] = []
        for number, (local_ns, raw) in enumerate(rows):
            if number % 50 == 0:
                dirty[venue].append((local_ns, GARBAGE[number // 50 % len(GARBAGE)]))
            dirty[venue].append((local_ns, raw))
    told: list[str] = []
    (tmp_path / "dirty").mkdir()
    outcome = run_recorded(short_text, tmp_path / "dirty", dirty, told.append)
    for key in ("books", "net_pnl", "fills", "baskets", "market_events", "journal_sha256", "feeds"):
        assert outcome.summary[key] == clean[key], key
    bad = sum(sum(report.bad_frames.values()) + sum(report.bad_lines.values()) for report in outcome.recordings)
    ignored = sum(sum(report.ignored.values()) for report in outcome.recordings)
    assert bad + ignored == sum((len(rows) + 49) // 50 for rows in frames.values())
    assert len(told) == len(set(told)) <= 2 * (len(GARBAGE) + 2)


def test_a_lost_delta_is_a_gap_and_the_book_is_not_believed_until_a_snapshot(short_text, frames, tmp_path):
    lost = {venue: list(rows) for venue, rows in frames.items()}
    at = [i for i, (_, raw) in enumerate(lost["binance_usdm"]) if b"depthUpdate" in raw][200]
    del lost["binance_usdm"][at]
    outcome = run_recorded(short_text, tmp_path, lost)
    assert outcome.summary["feeds"][PERPETUAL]["gaps"] == 1
    assert outcome.summary["feeds"][SPOT]["gaps"] == 0
    assert outcome.summary["books"][PERPETUAL]["best_bid"] is None
    assert outcome.summary["books"][SPOT]["best_bid"] is not None
    # With a book that nobody can believe nothing new is opened; what was open is known and stays accounted for.
    assert outcome.summary["halt"] is None
    assert replay(tmp_path / "out") == 0


@pytest.mark.parametrize("ending", ["gz", "zst", "txt"])
def test_a_truncated_recording_is_played_as_far_as_it_goes(short_text, frames, tmp_path, ending):
    names = (f"usdm.{ending}", "spot.gz")
    whole = run_recorded(short_text, tmp_path, frames, names=names)
    path = tmp_path / names[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    told: list[str] = []
    config = Backtest.from_file(tmp_path / "recorded.toml")
    outcome = config.run(tmp_path / "again", warn=told.append)
    report = outcome.recordings[0]
    assert 0 < report.decoded < whole.recordings[0].decoded
    assert outcome.summary["feeds"][PERPETUAL]["gaps"] == 0
    assert any(names[0] in line for line in told)


HOUR_NS = 3_600_000_000_000


def whole_book(rows, at, spec):
    """Return the snapshot frame that the venue would have given behind frame number `at`."""
    decoder = BinanceDecoder({spec.symbol: spec})
    sync = BookSync(SequenceRule.SPOT if spec.is_spot else SequenceRule.FUTURES)
    for _, raw in rows[: at + 1]:
        message = decoder.decode(raw)
        if isinstance(message, BookSnapshot):
            sync.on_snapshot(message)
        elif isinstance(message, BookDelta):
            sync.on_delta(message)
    assert sync.is_usable
    sides = [list(side.items()) for side in (sync.book.bids, sync.book.asks)]
    return frame(BookSnapshot(rows[at][0] + CLOCK_BEHIND, spec.id, sync.last_id, *sides), spec)


def deltas(rows):
    return [number for number, (_, raw) in enumerate(rows) if b"depthUpdate" in raw]


def twice_each(rows, spec):
    return [row for row in rows for _ in range(2)]


def two_swapped(rows, spec):
    one, other = deltas(rows)[200:202]
    kept = list(rows)
    kept[one], kept[other] = (rows[one][0], rows[other][1]), (rows[other][0], rows[one][1])
    later = deltas(rows)[230]
    return [*kept[: later + 1], (rows[later][0], whole_book(rows, later, spec)), *kept[later + 1 :]]


def one_lost_and_a_snapshot_later(rows, spec):
    lost, later = deltas(rows)[200], deltas(rows)[230]
    snapshot = (rows[later][0], whole_book(rows, later, spec))
    return [*rows[:lost], *rows[lost + 1 : later + 1], snapshot, *rows[later + 1 :]]


def another_snapshot(rows, spec):
    later = deltas(rows)[200]
    return [*rows[: later + 1], (rows[later][0], whole_book(rows, later, spec)), *rows[later + 1 :]]


def an_old_snapshot_again(rows, spec):
    old, later = whole_book(rows, deltas(rows)[3], spec), deltas(rows)[300]
    return [*rows[: later + 1], (rows[later][0], old), *rows[later + 1 :]]


def a_clock_set_back_by_an_hour(rows, spec):
    half = len(rows) // 2
    return [*rows[:half], *((local_ns - HOUR_NS, raw) for local_ns, raw in rows[half:])]


def a_frame_from_next_week(rows, spec):
    at = next(n for n, (_, raw) in enumerate(rows) if b"@trade" in raw)
    body = json.loads(rows[at][1])
    body["data"] |= {"T": body["data"]["T"] + 7 * 86_400_000, "t": 1}
    return [*rows[:at], (rows[at][0], json.dumps(body).encode()), *rows[at:]]


@pytest.mark.parametrize(
    ("damage", "gaps", "said"),
    [
        (twice_each, 0, None),
        (two_swapped, 1, None),
        (one_lost_and_a_snapshot_later, 1, None),
        (another_snapshot, 0, None),
        (an_old_snapshot_again, 0, None),
        (a_clock_set_back_by_an_hour, 0, "the clock went back by"),
        (a_frame_from_next_week, 0, "over a minute after the others"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_damaged_stream_ends_with_the_right_book(short, short_text, frames, tmp_path, damage, gaps, said):
    specs = dict(load(short, KINDS).instruments)
    for name in ("clean", "damaged"):
        (tmp_path / name).mkdir()
    clean = run_recorded(short_text, tmp_path / "clean", frames)
    spoiled = frames | {"binance_usdm": damage(frames["binance_usdm"], specs[PERPETUAL])}
    told: list[str] = []
    outcome = run_recorded(short_text, tmp_path / "damaged", spoiled, told.append)
    assert outcome.summary["books"] == clean.summary["books"]
    assert outcome.summary["feeds"][PERPETUAL]["gaps"] == gaps
    assert outcome.summary["feeds"][SPOT] == clean.summary["feeds"][SPOT]
    assert outcome.summary["baskets"]["closed"] >= 1
    assert outcome.summary["positions"] == {}
    assert outcome.clocks.late == (damage is an_old_snapshot_again)
    # A delta that changed places claims to come a step of the market, 100 ms, before it was sent.
    assert abs(outcome.recordings[0].skew_ns - clean.recordings[0].skew_ns) < 105_000_000
    assert (said is None) == (told == [])
    assert said is None or any(said in line for line in told)
    assert replay(tmp_path / "damaged" / "out") == 0


def test_a_clock_that_is_ahead_is_told_and_left_alone(short_text, frames, tmp_path):
    ahead = {venue: [(local_ns + HOUR_NS, raw) for local_ns, raw in rows] for venue, rows in frames.items()}
    told: list[str] = []
    outcome = run_recorded(short_text, tmp_path, ahead, told.append)
    assert sum("the clock was ahead, or the line slow" in line for line in told) == 2
    assert all(report.skew_ns == 0 for report in outcome.recordings)
    assert outcome.clocks.late > outcome.clocks.arrivals / 2
    assert outcome.summary["books"][PERPETUAL]["best_bid"] is not None
    assert replay(tmp_path / "out") == 0


def test_one_empty_file_is_told_and_the_other_market_plays(short_text, frames, tmp_path):
    told: list[str] = []
    outcome = run_recorded(short_text, tmp_path, frames | {"binance_spot": []}, told.append)
    assert [line for line in told if "holds no usable frame" in line] == told != []
    assert outcome.summary["books"][PERPETUAL]["best_bid"] is not None
    assert outcome.summary["books"][SPOT]["best_bid"] is None
    assert outcome.summary["baskets"]["planned"] == 0


def test_members_one_after_the_other_and_rubbish_at_the_end(short_text, frames, tmp_path):
    clean = run_recorded(short_text, tmp_path, frames, names=("usdm.gz", "spot.gz")).summary
    path = tmp_path / "usdm.gz"
    rows = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    half = len(rows) // 2
    members = gzip.compress(b"".join(rows[:half])) + gzip.compress(b"".join(rows[half:]))
    told: list[str] = []
    for rubbish, name in ((b"", "whole"), (b"\x00rubbish" * 50, "rubbish")):
        path.write_bytes(members + rubbish)
        again = Backtest.from_file(tmp_path / "recorded.toml").run(tmp_path / name, warn=told.append).summary
        assert again["journal_sha256"] == clean["journal_sha256"]
        assert bool(told) == bool(rubbish)
    assert any("usdm.gz" in line for line in told)


def test_an_unreadable_recording_is_named(short_text, frames, tmp_path):
    files = {"binance_usdm": "usdm.gz", "binance_spot": "spot.gz"}
    for venue, name in files.items():
        write(tmp_path / name, frames[venue])
    path = recorded_text(short_text, tmp_path, files)
    (tmp_path / "usdm.gz").write_bytes(gzip.compress(b"no frames here\n"))
    (tmp_path / "spot.gz").write_bytes(b"")
    done = cli("backtest", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "no recording holds a usable frame" in done.stderr
    assert "Traceback" not in done.stderr


def cli(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_folder_in_use_is_refused(short, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mine").write_text("precious")
    done = cli("backtest", str(short), "--out", str(tmp_path))
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert (tmp_path / "log" / "mine").read_text() == "precious"


def test_the_account_tells_trades_costs_and_where_the_log_is(short, tmp_path):
    done = cli("backtest", str(short), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    for word in ("Trades", "funding", "fees", "net", "still held   nothing", str(tmp_path / "out" / "log")):
        assert word in done.stdout


def test_the_recorded_basis(data_dir, tmp_path, monkeypatch):
    """Final books: shared facts of the recordings of 2024-08-08 (hftbacktest examples)."""
    monkeypatch.setenv("BASISD_DATA_DIR", str(data_dir))
    outcome = Backtest.from_file(ROOT / "configs" / "basis_recorded.toml").run(tmp_path / "out")
    summary = outcome.summary
    perpetual, spot = summary["books"][PERPETUAL], summary["books"][SPOT]
    assert list(perpetual.values()) == ["61659.70", "1.486", "61659.80", "0.981"]
    assert (spot["best_bid"], spot["best_ask"]) == ("61685.99", "61686.00")
    for feed in summary["feeds"].values():
        assert feed["gaps"] == feed["crossed"] == 0
    assert summary["baskets"]["closed"] >= 1
    assert summary["positions"] == {}
    assert float(summary["net_pnl"]) < 0
    assert outcome.recordings[0].skew_ns == pytest.approx(1_275_000_000, abs=5_000_000)
    assert replay(tmp_path / "out") == 0
