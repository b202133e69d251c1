"""`basisd import`: what it writes, what it says, and how it ends."""

import gzip
import json
import re
import zipfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from row_messages import books, on_clock

from daemon.cli import main
from sim.clocks import ClockStatistics, two_clocks
from sim.importers.hftbacktest import EVENT
from sim.market import RecordedMarket, Recording
from sim.rows import DEPTH, LOCAL, QUOTE, TRADE, VENUE, Rows
from sim.store.reader import Store
from venues.model.book_sync import BookSync, SequenceRule, SyncResult
from venues.port import BookDelta, BookSnapshot, Quote, Trade

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED = ["--instrument", "v:X", "--tick", "0.1", "--lot", "0.001", "--base", "X", "--quote", "USD"]


def run(capsys, *arguments):
    status = main(["import", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def an_event_file(path, prices=(10.0, 10.05, 10.1)):
    both, buy = (1 << 31) | (1 << 30), 1 << 29
    told = [(both | buy | 2, 10**18 + i, 10**18 + i + 5, price, 0.5, 0, 0, 0.0) for i, price in enumerate(prices)]
    np.savez(path, data=np.array(told, EVENT))
    return path


def test_an_import_is_told_to_people_and_to_programs(tmp_path, capsys):
    source, out = an_event_file(tmp_path / "x.npz"), tmp_path / "x.rows"
    status, said, err = run(capsys, "hftbacktest", source, "--out", out, *DESCRIBED)
    assert (status, err) == (0, "")
    assert f"{out}: 2 rows of 2 messages" in said
    assert "bad          1 off_tick\n" in said
    assert "gaps         none\n" in said
    status, said, _ = run(capsys, "hftbacktest", source, "--out", out, *DESCRIBED, "--json", "--force")
    told = json.loads(said)
    assert (status, told["rows"], told["bad"], told["kinds"]) == (0, 2, {"off_tick": 1}, {"trade": 2})
    status, said, _ = run(capsys, "show", out, "--json")
    shown = json.loads(said)
    assert status == 0
    assert shown == {key: told[key] for key in shown}
    assert shown["venue_ns"] == [10**18, 10**18 + 2]


def test_a_store_is_not_replaced_unasked(tmp_path, capsys):
    out = tmp_path / "x.rows"
    out.write_text("somebody's work")
    status, _, err = run(capsys, "hftbacktest", an_event_file(tmp_path / "x.npz"), "--out", out, *DESCRIBED)
    assert (status, out.read_text()) == (2, "somebody's work")
    assert err == f"basisd: {out}: is there already; --force replaces it\n"


def test_a_failed_import_leaves_nothing(tmp_path, capsys):
    source = an_event_file(tmp_path / "x.npz", prices=(10.05,))
    status, _, err = run(capsys, "hftbacktest", source, "--out", tmp_path / "x.rows", *DESCRIBED)
    assert (status, err) == (1, f"basisd: {source}: nothing in it could be used\n")
    assert [one.name for one in tmp_path.iterdir()] == ["x.npz"]


USAGE = [
    (["--instrument", "v:X", "--tick", "0.1"], "--lot, --base, --quote or --config needed: what is v:X?"),
    ([], "--instrument VENUE:SYMBOL is needed"),
    ([*DESCRIBED, "--tick", "nan"], "--tick: must be positive, got nan"),
    ([*DESCRIBED, "--lot", "1/3"], "--lot: '1/3' is no number"),
    ([*DESCRIBED, "--multiplier", "0"], "--multiplier: must be positive, got 0"),
]


@pytest.mark.parametrize(("flags", "why"), USAGE)
def test_mistakes_in_usage_are_status_2(tmp_path, capsys, flags, why):
    source = an_event_file(tmp_path / "x.npz")
    status, _, err = run(capsys, "hftbacktest", source, "--out", tmp_path / "x.rows", *flags)
    assert (status, err) == (2, f"basisd: {why}\n")


def test_unreadable_sources_and_altered_stores_are_status_1(tmp_path, capsys):
    (tmp_path / "x.npz").write_bytes(b"")
    status, _, err = run(capsys, "hftbacktest", tmp_path / "x.npz", "--out", tmp_path / "x.rows", *DESCRIBED)
    assert status == 1
    assert f"{tmp_path / 'x.npz'}: is damaged or no event file" in err
    out = tmp_path / "y.rows"
    run(capsys, "hftbacktest", an_event_file(tmp_path / "y.npz"), "--out", out, *DESCRIBED)
    whole = bytearray(out.read_bytes())
    whole[whole.index((10**18).to_bytes(8, "little"))] ^= 1
    out.write_bytes(whole)
    status, said, err = run(capsys, "show", out)
    assert (status, said, err) == (1, "", f"basisd: {out}: batch 0: checksum differs\n")
    status, _, err = run(capsys, "show", tmp_path / "none")
    assert (status, err) == (1, f"basisd: {tmp_path / 'none'}: cannot be read: No such file or directory\n")


def test_a_recording_cut_short_is_imported_up_to_there(tmp_path, capsys, data_dir):
    whole = (data_dir / "recordings/binance-usdm/btcusdt_20240808.gz").read_bytes()
    source, out = tmp_path / "cut.gz", tmp_path / "cut.rows"
    source.write_bytes(whole[:400_000])
    status, said, err = run(capsys, "recording", source, "--out", out, *BTC, "--json")
    told = json.loads(said)
    assert (status, told["bad"]) == (0, {"line_broken": 1})
    assert told["rows"] > 40_000
    assert "cut.gz, line" in err
    source.write_bytes(gzip.compress(b"nothing that was recorded\n"))
    status, _, err = run(capsys, "recording", source, "--out", out, *BTC, "--force")
    assert status == 1
    assert "no recording holds a usable frame" in err
    assert Store.open(out).verify().rows == told["rows"]


BTC = ["--instrument", "binance_usdm:BTCUSDT", "--tick", "0.1", "--lot", "0.001", "--base", "BTC", "--quote", "USDT"]


def test_the_perpetual_recording_says_on_both_clocks_what_its_frames_say(tmp_path, capsys, data_dir):
    source, out = data_dir / "recordings/binance-usdm/btcusdt_20240808.gz", tmp_path / "perp.rows"
    status, said, _ = run(capsys, "recording", source, "--out", out, *BTC, "--json")
    told = json.loads(said)
    assert (status, told["bad"], told["late"], told["odd_lots"]) == (0, {}, 0, 0)
    assert len(told["gaps"]) == 1
    store = Store.open(out)
    rows = Rows.join(list(store.blocks()))
    market = RecordedMarket([Recording(source, store.instruments)], lambda _: None)
    arrivals = list(market)
    ticks = list(two_clocks(arrivals, ClockStatistics()))
    sync = BookSync(SequenceRule.FUTURES)
    applied = []
    for arrival in arrivals:
        one, was_usable = arrival.message, sync.is_usable
        if isinstance(one, BookSnapshot):
            sync.on_snapshot(one)
        elif isinstance(one, BookDelta) and sync.on_delta(one) is SyncResult.APPLIED and was_usable:
            applied.append((arrival.venue_ns, [*one.bids, *one.asks]))
    for flag, is_local in ((VENUE, False), (LOCAL, True)):
        ours = on_clock(rows, flag)
        of = [(tick.ns, tick.message) for tick in ticks if tick.is_local is is_local]
        trades = [(ns, one.price, one.lots) for ns, one in of if isinstance(one, Trade)]
        assert trades == [(ns, row[0][3], row[0][4]) for ns, row in ours if row[0][0] == TRADE]
        quotes = [(ns, one.bid, one.bid_lots, one.ask, one.ask_lots) for ns, one in of if isinstance(one, Quote)]
        assert quotes == [(ns, *row[0][3:], *row[1][3:]) for ns, row in ours if row[0][0] == QUOTE]
        # What was applied as the desk got it stands at the venue in the order of the venue's times.
        expected = applied if is_local else sorted(applied, key=lambda one: one[0])
        assert [[part[3:] for part in row] for _, row in ours if row[0][0] == DEPTH] == [one for _, one in expected]
        *_, (_, bids, asks) = books([one for one in ours if one[1][0][0] not in {TRADE, QUOTE}])
        assert bids is not None
        assert asks is not None
        # The last book of the recording, as its notes have it.
        best_bid, best_ask = max(bids), min(asks)
        assert (best_bid, bids[best_bid], best_ask, asks[best_ask]) == (616597, 1486, 616598, 981)


def test_a_day_of_bybit(tmp_path, capsys, data_dir):
    (source,) = (data_dir / "recordings/bybit-linear").glob("*.zip")
    flags = ["--instrument", "bybit:XRPUSDT", "--tick", "0.0001", "--lot", "1", "--base", "XRP", "--quote", "USDT"]
    status, said, _ = run(capsys, "bybit", source, "--out", tmp_path / "xrp", *flags, "--json")
    told = json.loads(said)
    assert (status, told["bad"], told["messages"]) == (0, {}, 49)
    rows = Rows.join(list(Store.open(tmp_path / "xrp").blocks()))
    frames = [json.loads(line) for line in zipfile.ZipFile(source).read("2024-12-01_XRPUSDT_ob500.data").splitlines()]
    bids: dict[float, float] = {}
    for frame in frames:
        bids.update({float(price): float(qty) for price, qty in frame["data"]["b"]})
    *_, (ns, last, _) = books(on_clock(rows, LOCAL))
    assert last is not None
    assert {price / 10_000: float(lots) for price, lots in last.items()} == {p: q for p, q in bids.items() if q}
    assert ns == frames[-1]["ts"] * 1_000_000 + 5_000_000
    status, _, err = run(capsys, "bybit", source, "--out", tmp_path / "y", *flags, "--feed-latency-ms", "0")
    assert (status, err) == (2, "basisd: --feed-latency-ms: must be positive, got 0\n")


def test_bad_frames_of_bybit_are_gaps(tmp_path, capsys):
    def frame(kind, number, bids):
        data = {"s": "X", "u": number, "b": bids, "a": [["20.0", "1"]]}
        return json.dumps({"type": kind, "ts": 1_700_000_000_000 + number, "data": data})

    source = tmp_path / "x.zip"
    with zipfile.ZipFile(source, "w") as archive:
        lines = [frame("snapshot", 1, [["10.0", "1"]]), frame("delta", 2, [["10.0", "2"]])]
        lines += [frame("delta", 3, [["10.05", "2"]]), "{", frame("delta", 5, [])]
        lines += [frame("snapshot", 1, [["9.0", "1"]]), frame("delta", 2, [["9.0", "3"]])]
        archive.writestr("x.data", "\n".join(lines))
    status, said, _ = run(capsys, "bybit", source, "--out", tmp_path / "x", *DESCRIBED, "--json")
    told = json.loads(said)
    assert (status, told["bad"]) == (0, {"off_grid": 1, "bad_frame": 1})
    rows = Rows.join(list(Store.open(tmp_path / "x").blocks()))
    assert [deepcopy(bids) for _, bids, _ in books(on_clock(rows, LOCAL))] == [{100: 2000}, None, {90: 3000}]
    source.write_bytes(source.read_bytes()[:-40])
    status, _, err = run(capsys, "bybit", source, "--out", tmp_path / "z", *DESCRIBED)
    assert status == 1
    assert "is damaged or no zip file" in err


def test_a_configuration_names_what_is_imported(tmp_path, capsys, data_dir):
    head, _, tail = (ROOT / "configs" / "demo.toml").read_text().partition("[market]")
    recordings = "".join(
        f'[[market.recordings]]\nfile = "{data_dir}/recordings/{folder}/btcusdt_20240808.gz"\n'
        f'venue = "{venue}"\nsymbols = ["BTCUSDT"]\n'
        for venue, folder in (("binance_usdm", "binance-usdm"), ("binance_spot", "binance-spot"))
    )
    head = re.sub(r"^(start|duration) = .*\n", "", head, flags=re.M)
    config = tmp_path / "desk.toml"
    config.write_text(f'{head}[market]\nkind = "recorded"\n{recordings}\n[[venues]]{tail.partition("[[venues]]")[2]}')
    status, said, _ = run(capsys, "recording", config, "--out", tmp_path / "both", "--json")
    told = json.loads(said)
    assert (status, told["bad"], sorted(told["instruments"])) == (
        0,
        {},
        ["binance_spot:BTCUSDT", "binance_usdm:BTCUSDT"],
    )
    store = Store.open(tmp_path / "both")
    of = np.concatenate([block.instrument for block in store.blocks()])
    assert set(of.tolist()) == {0, 1}
    # Another configuration's instrument describes a file as well as flags do.
    flags = ["--config", config, "--instrument", "binance_usdm:BTCUSDT"]
    run(capsys, "hftbacktest", an_event_file(tmp_path / "x.npz"), "--out", tmp_path / "x", *flags)
    assert Store.open(tmp_path / "x").instruments[0] in store.instruments
    synthetic = tmp_path / "synthetic.toml"
    synthetic.write_text((ROOT / "configs" / "demo.toml").read_text())
    status, _, err = run(capsys, "recording", synthetic, "--out", tmp_path / "z")
    assert status == 2
    assert "market.kind: its market is not recorded" in err
