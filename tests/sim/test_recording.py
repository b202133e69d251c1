"""What is written is read, and damage costs the damaged part only."""

import gzip
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sim.recording import reader
from sim.recording.errors import RecordingError
from sim.recording.reader import Fault, RecordingReader
from sim.recording.writer import RecordingWriter

Frames = list[tuple[int, bytes]]

ENDINGS = ["plain", "gz", "zst"]
START_NS = 1723161255030314667


def make_frames(count: int, first: int = 0) -> Frames:
    """Frames that compress about as badly as real ones: an id and a digest in each."""
    return [
        (START_NS + number * 1_000_003, b'{"u":%d,"b":"%d"}' % (number, zlib.crc32(b"%d" % number) ** 3))
        for number in range(first, first + count)
    ]


def record(path: Path, frames: Frames) -> None:
    with RecordingWriter(path) as writer:
        for local_ns, frame in frames:
            writer.write(local_ns, frame)


def as_text(frames: Frames) -> bytes:
    return b"".join(b"%d %b\n" % frame for frame in frames)


def pack(path: Path, text: bytes) -> None:
    """Write `text` as it is, without the writer's care."""
    packed = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}.get(path.suffix, bytes)
    path.write_bytes(packed(text))


@pytest.fixture(params=ENDINGS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"frames.{request.param}"


def test_frames_come_back_in_order_and_counted(path: Path):
    frames = make_frames(20_000)
    record(path, frames)
    recording = RecordingReader(path)
    assert list(recording) == frames
    stats = recording.stats
    assert (stats.frames, stats.lines, stats.faults) == (20_000, 20_000, {})
    assert (stats.first_ns, stats.last_ns) == (frames[0][0], frames[-1][0])
    assert list(recording) == frames
    assert recording.stats.frames == 20_000


def test_a_recording_goes_on_where_it_ended(path: Path):
    frames = make_frames(300)
    for start in range(0, 300, 100):
        record(path, frames[start : start + 100])
    assert list(RecordingReader(path)) == frames


def test_compressed_recordings_open_with_the_usual_tools(tmp_path: Path):
    frames = make_frames(100)
    for half in (frames[:50], frames[50:]):
        record(tmp_path / "a.gz", half)
        record(tmp_path / "a.zst", half)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == as_text(frames)
    with zstandard.open(tmp_path / "a.zst", "rb", dctx=None) as file:
        first = file.read()
    assert as_text(frames).startswith(first)


def test_what_was_flushed_survives_a_crash(path: Path):
    """The process dies after `flush`: its file has no end, and another process goes on with it."""
    frames = make_frames(700)
    crashed = path.with_name("crashed" + path.suffix)
    writer = RecordingWriter(path)
    for frame in frames[:500]:
        writer.write(*frame)
    writer.flush()
    crashed.write_bytes(path.read_bytes())
    writer.close()
    recording = RecordingReader(crashed)
    assert list(recording) == frames[:500]
    assert recording.stats.faults == ({} if path.suffix == ".plain" else {Fault.BROKEN: 1})
    record(crashed, frames[500:])
    assert list(recording) == frames
    assert recording.stats.faults == ({} if path.suffix == ".plain" else {Fault.BROKEN: 1})


def test_a_line_cut_by_a_crash_is_not_glued_to_the_next(tmp_path: Path):
    path = tmp_path / "frames.txt"
    path.write_bytes(as_text(make_frames(2))[:-5])
    record(path, make_frames(1, first=2))
    assert [local_ns for local_ns, _ in RecordingReader(path)] == [local_ns for local_ns, _ in make_frames(3)]


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("kept", [0.999, 0.7, 0.3])
def test_a_truncated_file_gives_every_frame_before_the_cut(tmp_path: Path, ending: str, kept: float):
    path = tmp_path / f"frames.{ending}"
    frames = make_frames(30_000)
    record(path, frames)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    recording = RecordingReader(path)
    got = list(recording)
    assert got == frames[: len(got)]
    # zstd decompresses whole blocks of 128 KiB, about 2,000 of these lines
    assert len(got) > len(frames) * kept - 4_000
    assert recording.stats.faults == {Fault.BROKEN: 1}
    assert recording.stats.first[Fault.BROKEN].path == path
    assert "in the middle" in str(recording.stats.first[Fault.BROKEN])


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("cut", [1, 5, 9, 30, 1000])
def test_members_behind_a_broken_one_are_found(tmp_path: Path, ending: str, cut: int):
    path = tmp_path / f"frames.{ending}"
    frames = make_frames(3000)
    raw = b""
    for start in range(0, 3000, 1000):
        part = tmp_path / f"part{start}.{ending}"
        record(part, frames[start : start + 1000])
        raw += part.read_bytes()[:-cut] if start == 1000 else part.read_bytes()
    path.write_bytes(raw)
    recording = RecordingReader(path)
    got = set(recording)
    assert got >= {*frames[:1000], *frames[2000:]}
    assert got <= set(frames)
    assert recording.stats.faults[Fault.BROKEN] == 1


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_noise_is_no_recording_and_no_crash(tmp_path: Path, ending: str):
    path = tmp_path / f"noise.{ending}"
    path.write_bytes(b"1723161255030314667 {}\n" * 10_000)
    recording = RecordingReader(path)
    assert list(recording) == []
    assert recording.stats.faults == {Fault.BROKEN: 1}


GOOD = b'1723161255030314667 {"a": 1}'
BAD_LINES: list[tuple[bytes, Fault]] = [
    (b"", Fault.EMPTY),
    (b"   ", Fault.EMPTY),
    (b"\r", Fault.EMPTY),
    (b'{"stream": "x"}', Fault.BAD_TIMESTAMP),
    (b'1723161255.030 {"a": 1}', Fault.BAD_TIMESTAMP),
    (b'-5 {"a": 1}', Fault.BAD_TIMESTAMP),
    (b'+5 {"a": 1}', Fault.BAD_TIMESTAMP),
    (b'1_0 {"a": 1}', Fault.BAD_TIMESTAMP),
    ("\u0661 {}".encode(), Fault.BAD_TIMESTAMP),
    (b' 17 {"a": 1}', Fault.BAD_TIMESTAMP),
    (b'9223372036854775808 {"a": 1}', Fault.BAD_TIMESTAMP),
    (b"1" * 5000 + b' {"a": 1}', Fault.BAD_TIMESTAMP),
    (b"\xff\xfe\x00 garbage", Fault.BAD_TIMESTAMP),
    (b"1723161255030314667", Fault.NO_FRAME),
    (b"1723161255030314667 ", Fault.NO_FRAME),
    (b"17231612550", Fault.NO_FRAME),
]


@pytest.mark.parametrize(("line", "fault"), BAD_LINES)
@pytest.mark.parametrize("last_break", [b"\n", b""])
def test_a_bad_line_is_counted_and_its_neighbours_are_kept(path: Path, line: bytes, fault: Fault, last_break: bytes):
    pack(path, GOOD + b"\n" + line + b"\n" + GOOD + b"\n" + line + b"\n" + GOOD + last_break)
    recording = RecordingReader(path)
    assert list(recording) == [(1723161255030314667, b'{"a": 1}')] * 3
    assert recording.stats.faults == {fault: 2}
    first = recording.stats.first[fault]
    assert (first.path, first.line) == (path, 2)
    assert recording.stats.lines == 5


def test_a_line_without_end_is_not_kept_in_memory(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "LINE_BYTES_MAX", 100_000)
    absurd = b"17 " + b"x" * 1_000_000
    pack(path, GOOD + b"\n" + absurd + b"\n" + GOOD + b"\n" + absurd)
    recording = RecordingReader(path)
    assert len(list(recording)) == 2
    assert recording.stats.faults == {Fault.TOO_LONG: 2}
    assert recording.stats.first[Fault.TOO_LONG].line == 2


def test_the_longest_line_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "LINE_BYTES_MAX", 1000)
    line = b"17 " + b"x" * 997
    pack(path, line + b"\n" + line + b"x\n" + line)
    recording = RecordingReader(path)
    assert len(list(recording)) == 2
    assert recording.stats.faults == {Fault.TOO_LONG: 1}


def test_time_that_goes_back_is_counted_and_the_frame_kept(path: Path):
    frames = [(10, b"{}"), (20, b"{}"), (15, b"{}"), (15, b"{}"), (5, b"{}"), (30, b"{}")]
    record(path, frames)
    recording = RecordingReader(path)
    assert list(recording) == frames
    assert recording.stats.faults == {Fault.TIME_BACKWARDS: 2}
    assert str(recording.stats.first[Fault.TIME_BACKWARDS]) == f"{path}, line 3: the clock went back by 5 ns"


def test_an_empty_recording_holds_nothing(path: Path):
    record(path, [])
    assert list(RecordingReader(path)) == []
    path.write_bytes(b"")
    recording = RecordingReader(path)
    assert list(recording) == []
    assert recording.stats.faults == {}


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path):
    for wrong in (tmp_path / "missing.gz", tmp_path):
        with pytest.raises(RecordingError) as caught:
            RecordingReader(wrong)
        assert caught.value.path == wrong
        assert str(wrong) in str(caught.value)
    for wrong in (tmp_path / "missing" / "a.gz", tmp_path):
        with pytest.raises(RecordingError, match="cannot be written"):
            RecordingWriter(wrong)


def test_a_file_that_vanishes_between_passes_is_named(path: Path):
    record(path, make_frames(1))
    recording = RecordingReader(path)
    path.unlink()
    with pytest.raises(RecordingError, match="cannot be read"):
        list(recording)


REFUSED_FRAMES = [(-1, b"{}"), (2**63, b"{}"), (1, b""), (1, b" \n"), (1, b"x" * (reader.LINE_BYTES_MAX + 1))]


def test_the_writer_refuses_what_a_reader_would_not_take(path: Path):
    with RecordingWriter(path) as writer:
        for local_ns, frame in REFUSED_FRAMES:
            with pytest.raises(ValueError, match=r"^(local_ns|frame):"):
                writer.write(local_ns, frame)
        writer.write(1, b'{\r\n "a": 1\n}')
        assert writer.frames == 1
    assert list(RecordingReader(path)) == [(1, b'{   "a": 1 }')]


def test_a_closed_writer_stays_closed(path: Path):
    writer = RecordingWriter(path)
    writer.write(1, b"{}")
    writer.close()
    size = path.stat().st_size
    writer.close()
    assert path.stat().st_size == size
    with pytest.raises(RecordingError, match="closed"):
        writer.flush()


def test_leaving_closes_whatever_happened(path: Path):
    def fail() -> None:
        with RecordingWriter(path) as writer:
            writer.write(1, b"{}")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(RecordingReader(path)) == [(1, b"{}")]


def test_a_full_disk_is_named_and_ends_the_writer():
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    writer = RecordingWriter(full)
    writer.write(1, b"{}")
    with pytest.raises(RecordingError, match="/dev/full"):
        writer.flush()
    writer.close()


def test_the_real_recordings_are_whole(data_dir: Path):
    for market, frames in (("binance-usdm", 6551 + 66089 + 21313 + 1), ("binance-spot", 3451 + 28040 + 9757 + 1)):
        recording = RecordingReader(data_dir / f"recordings/{market}/btcusdt_20240808.gz")
        assert sum(1 for _ in recording) == frames
        assert recording.stats.faults == {}


@given(
    st.lists(
        st.tuples(st.integers(0, 2**63 - 1), st.binary(min_size=1, max_size=50).filter(lambda frame: frame.strip())),
        max_size=40,
    ),
    st.sampled_from(ENDINGS),
    st.integers(1, 50),
)
def test_whatever_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, frames: Frames, ending: str, split: int):
    path = tmp_path_factory.mktemp("recording") / f"frames.{ending}"
    record(path, frames[:split])
    record(path, frames[split:])
    wanted = [(local_ns, frame.replace(b"\n", b" ").replace(b"\r", b" ")) for local_ns, frame in frames]
    assert list(RecordingReader(path)) == wanted


@given(st.data(), st.sampled_from(ENDINGS))
def test_no_damage_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, ending: str):
    """Any bytes may be overwritten anywhere: reading ends, and every line is a frame or part of a fault."""
    path = tmp_path_factory.mktemp("damage") / f"frames.{ending}"
    record(path, make_frames(60))
    record(path, make_frames(60, first=60))
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    noise = data.draw(st.binary(max_size=20))
    raw[at : at + data.draw(st.integers(0, 20))] = noise
    path.write_bytes(raw)
    recording = RecordingReader(path)
    frames = list(recording)
    stats = recording.stats
    assert stats.frames == len(frames)
    lost = sum(count for fault, count in stats.faults.items() if fault not in (Fault.TIME_BACKWARDS, Fault.BROKEN))
    assert stats.frames + lost <= stats.lines <= stats.frames + lost + stats.faults.get(Fault.BROKEN, 0)
