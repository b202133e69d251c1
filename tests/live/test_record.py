"""What a recording of a live feed holds: every frame once, marks where some are missing, files one can check."""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define
from scripted_feed import ScriptedFeed, scripted_feed

from daemon.record.files import Archive, InstrumentFiles, Rotation
from daemon.record.session import Feed, FeedRecorder, stream_of
from sim.market import RecordedMarket, Recording
from sim.recording.errors import RecordingError
from sim.recording.reader import RecordingReader
from sim.recording.writer import RecordingWriter
from venues.model.instrument import Instrument, InstrumentKind
from venues.net.websocket import SocketSettings
from venues.port import BookDelta, BookSnapshot

SECOND_NS = 1_000_000_000
# 2026-11-26 10:00:00 UTC
START_NS = 1_795_687_200 * SECOND_NS
SPEC = Instrument(
    "perp", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", tick_size=Decimal("0.1"), lot_size=Decimal("0.001")
)
QUICK = SocketSettings(backoff_first_s=0.01, backoff_max_s=0.05)
LONG = Rotation(3_600 * SECOND_NS, 1 << 30)
BOOK = {"lastUpdateId": 10, "E": 1, "T": 1, "bids": [["100.0", "1.000"]], "asks": [["100.1", "2.000"]]}


def depth(first: int, last: int, previous: int, ms: int = START_NS // 1_000_000) -> dict[str, Any]:
    return {
        "e": "depthUpdate", "E": ms, "T": ms, "s": "BTCUSDT", "U": first, "u": last, "pu": previous,
        "b": [["99.9", "1.000"]], "a": [],
    }  # fmt: skip


def trade(number: int, ms: int = START_NS // 1_000_000) -> dict[str, Any]:
    return {"e": "aggTrade", "E": ms, "T": ms, "s": "BTCUSDT", "a": number, "p": "100.1", "q": "0.001", "m": False}


@define
class Clock:
    """Goes on by a microsecond whenever it is looked at, and by as much as a test wants."""

    ns: int = START_NS

    def now(self) -> int:
        self.ns += 1_000
        return self.ns


@define
class Session:
    """A recorder at work on a feed."""

    feed: ScriptedFeed
    recorder: FeedRecorder
    files: InstrumentFiles
    clock: Clock

    async def until_frames(self, count: int) -> None:
        with trio.fail_after(30):
            while self.files.counters.frames < count:
                await trio.sleep(0.005)

    async def until_gaps(self, count: int) -> None:
        with trio.fail_after(30):
            while self.files.counters.gaps < count:
                await trio.sleep(0.005)


@asynccontextmanager
async def recording(
    folder: Path, rotation: Rotation = LONG, settings: SocketSettings = QUICK
) -> AsyncIterator[Session]:
    archive, clock = Archive(folder, rotation), Clock()
    archive.begin()
    files = InstrumentFiles(archive, "perp", "BTCUSDT")
    try:
        async with scripted_feed() as feed, trio.open_nursery() as nursery:
            feed.book = BOOK
            told = Feed("perp", feed.rest, f"{feed.ws}/public", f"{feed.ws}/market", False, ("BTCUSDT",))
            recorder = FeedRecorder(told, {"btcusdt": files}, clock.now, lambda _: None, settings)
            nursery.start_soon(recorder.run)
            await feed.has("btcusdt@depth@100ms")
            await feed.has("btcusdt@aggTrade")
            yield Session(feed, recorder, files, clock)
            nursery.cancel_scope.cancel()
    finally:
        files.close()


def frames_of(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("*.zst")):
        reader = RecordingReader(path)
        for _, raw in reader:
            frame = json.loads(raw)
            found.append(frame.get("data", frame))
        assert not reader.stats.faults
    return found


async def test_what_comes_is_written_and_played_back(tmp_path: Path) -> None:
    async with recording(tmp_path) as one:
        await one.feed.push("btcusdt@depth@100ms", depth(5, 8, 4))
        await one.feed.answered(1)
        await one.feed.push("btcusdt@depth@100ms", depth(9, 12, 8))
        await one.feed.push("btcusdt@aggTrade", trade(1))
        await one.until_frames(4)
    (path,) = tmp_path.glob("*.zst")
    played = [arrival.message for arrival in RecordedMarket([Recording(path, (SPEC,))], lambda _: None)]
    assert sorted(type(one).__name__ for one in played) == ["BookDelta", "BookDelta", "BookSnapshot", "Trade"]
    deltas = [one for one in played if isinstance(one, BookDelta)]
    assert [(one.first_id, one.last_id, one.prev_id) for one in deltas] == [(5, 8, 4), (9, 12, 8)]
    (snapshot,) = (one for one in played if isinstance(one, BookSnapshot))
    assert (snapshot.update_id, snapshot.bids, snapshot.asks) == (10, [(1000, 1000)], [(1001, 2000)])


async def test_an_update_that_follows_nothing_is_marked_and_the_book_begun_anew(tmp_path: Path) -> None:
    async with recording(tmp_path) as one:
        await one.feed.push("btcusdt@depth@100ms", depth(5, 8, 4))
        await one.feed.answered(1)
        await one.feed.push("btcusdt@depth@100ms", depth(20, 25, 19))
        await one.feed.answered(2)
        await one.until_frames(4)
        assert one.files.counters.gaps == 1
    frames = frames_of(tmp_path)
    (at,) = (index for index, frame in enumerate(frames) if frame.get("e") == "recordingGap")
    assert frames[at]["s"] == "BTCUSDT"
    assert "8 and 20" in frames[at]["why"]
    assert frames[at + 1]["U"] == 20
    assert "lastUpdateId" in frames[at + 2]


async def test_a_lost_connection_is_a_gap_in_everything(tmp_path: Path) -> None:
    async with recording(tmp_path) as one:
        await one.feed.push("btcusdt@depth@100ms", depth(5, 8, 4))
        await one.feed.answered(1)
        await one.feed.cut()
        # Books and trades come over one connection each.
        await one.until_gaps(2)
        await one.feed.has("btcusdt@depth@100ms")
        await one.feed.answered(2)
        # What follows the gap follows nothing, and is no second one.
        await one.feed.push("btcusdt@depth@100ms", depth(30, 31, 29))
        await one.until_frames(4)
        assert one.files.counters.gaps == 2
        assert one.recorder.counters.reconnects == 2
    assert sum(frame.get("e") == "recordingGap" for frame in frames_of(tmp_path)) == 2


async def test_what_comes_over_two_connections_is_written_once(tmp_path: Path) -> None:
    rotating = SocketSettings(lifetime_s=0.2, jitter=0.0, overlap_s=0.5, backoff_first_s=0.01)
    async with recording(tmp_path, settings=rotating) as one:
        sent = 0
        with trio.fail_after(60):
            while one.recorder.counters.repeats < 3:
                sent += 1
                await one.feed.push("btcusdt@aggTrade", trade(sent))
                await trio.sleep(0.02)
        with trio.fail_after(30):
            while sum("a" in frame for frame in one_file(tmp_path)) < sent:
                one.files.flush()
                await trio.sleep(0.02)
    numbers = [frame["a"] for frame in frames_of(tmp_path) if frame.get("e") == "aggTrade"]
    assert sorted(numbers) == list(range(1, sent + 1))
    assert one.files.counters.gaps == 0


def one_file(folder: Path) -> list[dict[str, Any]]:
    (path,) = (folder / "open").glob("*.zst")
    frames = [json.loads(raw) for _, raw in RecordingReader(path)]
    return [data for frame in frames if (data := frame.get("data", frame)).get("e") == "aggTrade"]


async def test_files_follow_each_other_and_each_has_a_book_of_its_own(tmp_path: Path) -> None:
    async with recording(tmp_path, Rotation(10 * SECOND_NS, 1 << 30)) as one:
        await one.feed.push("btcusdt@depth@100ms", depth(5, 8, 4))
        await one.feed.answered(1)
        await one.until_frames(2)
        one.clock.ns += 11 * SECOND_NS
        await one.feed.push("btcusdt@depth@100ms", depth(9, 12, 8))
        await one.feed.answered(2)
        await one.until_frames(4)
        assert one.files.counters.gaps == 0
    paths = sorted(tmp_path.glob("*.zst"))
    assert len(paths) == 2
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert sums == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    for path in paths:
        kinds = [json.loads(raw).get("data", json.loads(raw)).get("e") for _, raw in RecordingReader(path)]
        assert kinds == ["depthUpdate", None]
    assert not list((tmp_path / "open").iterdir())


def test_a_file_ends_by_its_size_too(tmp_path: Path) -> None:
    archive = Archive(tmp_path, Rotation(3_600 * SECOND_NS, 100))
    archive.begin()
    files = InstrumentFiles(archive, "perp", "BTCUSDT")
    for number in range(5):
        files.write(START_NS + number * 1_000, b'{"n":%d,"of":"' % number + b"x" * 40 + b'"}')
    files.close()
    # Of 55 bytes each the second fills a file.
    assert [len(list(RecordingReader(path))) for path in sorted(tmp_path.glob("*.zst"))] == [2, 2, 1]
    assert files.counters.files == 3


def test_what_a_killed_recorder_left_is_ended_by_the_next(tmp_path: Path) -> None:
    archive = Archive(tmp_path, LONG)
    archive.begin()
    with RecordingWriter(tmp_path / "whole.zst") as writer:
        writer.write(START_NS, b'{"n":1}')
        writer.flush()
        # The file as it is when the recorder is gone without a word.
        archive.path_of("perp", "BTC-USDT", START_NS).write_bytes(writer.path.read_bytes())
    writer.path.unlink()
    left = archive.begin()
    assert [path.name for path in left] == ["perp-BTC-USDT-20261126T100000.000000Z.zst"]
    assert [raw for _, raw in RecordingReader(left[0])] == [b'{"n":1}']
    assert archive.begin() == []
    listed = (tmp_path / "recordings.toml").read_text()
    assert listed.count(str(left[0])) == 1
    assert 'venue = "perp"\nsymbols = ["BTC-USDT"]' in listed


def test_a_list_names_a_file_once_however_often_it_is_finished(tmp_path: Path) -> None:
    archive = Archive(tmp_path, LONG)
    archive.begin()
    path = archive.path_of("perp", "BTCUSDT", START_NS)
    for _ in range(2):
        path.write_bytes(b"")
        archive.finish(path, "perp", "BTCUSDT")
    assert len((tmp_path / "SHA256SUMS").read_text().splitlines()) == 1
    assert (tmp_path / "recordings.toml").read_text().count("[[market.recordings]]") == 1


async def test_a_disk_that_does_not_take_it_ends_the_recording(tmp_path: Path) -> None:
    async def record() -> None:
        async with recording(tmp_path) as one:
            (tmp_path / "open").rmdir()
            await one.feed.push("btcusdt@aggTrade", trade(1))
            await trio.sleep_forever()

    with trio.fail_after(30), pytest.raises(ExceptionGroup) as raised:
        await record()
    assert raised.group_contains(RecordingError, match="cannot be")


@pytest.mark.parametrize(
    ("frame", "symbol", "kind"),
    [
        (b'{"stream":"btcusdt@depth@100ms","data":{}}', "btcusdt", "depth"),
        (b'{"stream":"btcusdt_261225@markPrice@1s","data":{}}', "btcusdt_261225", "markPrice"),
        (b'{"stream":"btcusdt@aggTrade","data":{}}', "btcusdt", "aggTrade"),
        (b'{"result":null,"id":1}', "", ""),
        (b'{"stream":"', "", ""),
        (b"\xff", "", ""),
    ],
)
def test_a_frame_tells_by_its_stream_whose_it_is(frame: bytes, symbol: str, kind: str) -> None:
    assert stream_of(frame) == (symbol, kind)
