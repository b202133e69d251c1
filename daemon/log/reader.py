"""What a log says, and whether it is what was written."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import Any, NoReturn

from attrs import evolve, frozen

from daemon.log.bridges import Bridge
from daemon.log.canonical import Record, parse
from daemon.log.checked import read_checked
from daemon.log.disk import file_sha256
from daemon.log.errors import LogCorruptError, UnreadableRecordError
from daemon.log.journal import JournalReader
from daemon.log.journal_schema import JOURNAL_NAME
from daemon.log.run_log import MANIFEST_NAME, RUN_NAME, Manifest, RunHeader
from daemon.log.segments import SegmentFile, check_format, read_lines, scan, segment_name
from daemon.log.snapshots import SNAPSHOT_NAME, StoredSnapshot, read_first


@frozen
class Log:
    """A log opened by `open_log`.

    `is_sealed` is False for the log of a run that still goes on or did not end in order; `torn_bytes` at the end of
    its last segment are no complete block, `lost_rows` records were in the journal when its segments were written and
    are not there any more. `manifest` is None then, and `bridges` hold the market inputs that no segment had yet.
    """

    folder: Path
    header: RunHeader
    manifest: Manifest | None
    segments: tuple[SegmentFile, ...]
    torn_bytes: int = 0
    bridges: tuple[Bridge, ...] = ()
    lost_rows: int = 0

    @property
    def is_sealed(self) -> bool:
        return self.manifest is not None

    def records(self, after: StoredSnapshot | None = None) -> Iterator[Record]:
        """Yield inputs and intents by rising seq, one block in memory at a time; those `after` a snapshot if given.

        Of a log that was not sealed, this is the longest prefix without a hole. That is everything committed if the
        log was durable; of another, or when its files lost their ends, the order path may reach further than the
        market inputs on the disk (see `order_path`). Raises LogCorruptError.
        """
        last_seq, seen = (after.seq, after.market) if after is not None else (0, 0)
        market = self._market(seen, last_seq)
        waiting = next(market, None)
        for record, before in self._order_path(last_seq):
            while waiting is not None and waiting.seq < record.seq:
                yield waiting
                seen, last_seq, waiting = seen + 1, waiting.seq, next(market, None)
            if before != seen or record.seq <= last_seq:
                if before > seen and waiting is None and not self.is_sealed:
                    return
                why = f"{before} market inputs precede it and {seen} are there"
                raise LogCorruptError(self.folder / JOURNAL_NAME, f"seq {record.seq}", why)
            yield record
            last_seq = record.seq
        while waiting is not None:
            yield waiting
            waiting = next(market, None)

    def order_path(self, after: int = 0) -> Iterator[Record]:
        """Yield everything committed above seq `after` but market inputs: order path, timers, control, intents."""
        return (record for record, _ in self._order_path(after))

    def journal_sha256(self) -> str:
        """Return the SHA-256 over the canonical lines, computed anew."""
        digest = sha256()
        for record in self.records():
            digest.update(record.line + b"\n")
        return digest.hexdigest()

    def first_snapshot(self) -> dict[str, Any] | None:
        """Return the snapshot the run began from, None when it began afresh. Raises LogCorruptError."""
        if not self.header.snapshot_sha256:
            return None
        return read_first(self.folder, self.header.snapshot_sha256)

    def snapshot_seqs(self) -> list[int]:
        """Return the numbers of the periodic snapshots, the newest first. Raises LogCorruptError."""
        with JournalReader(self.folder, is_sealed=self.is_sealed) as journal:
            return journal.snapshot_seqs()

    def snapshot(self, seq: int) -> StoredSnapshot:
        """Return a periodic snapshot. Raises LogCorruptError."""
        with JournalReader(self.folder, is_sealed=self.is_sealed) as journal:
            return journal.snapshot(seq)

    def _order_path(self, after: int) -> Iterator[tuple[Record, int]]:
        with JournalReader(self.folder, is_sealed=self.is_sealed) as journal:
            for seq, before, _, line in journal.rows(after):
                yield _record(journal.path, f"seq {seq}", seq, line.encode()), before

    def _market(self, start: int, last: int) -> Iterator[Record]:
        """Yield the market inputs from number `start` on, which are above seq `last`."""
        for record in chain(self._in_segments(start), self._in_bridges(start)):
            if record.seq <= last:
                raise LogCorruptError(self.folder, f"seq {record.seq}", f"a market input that does not follow {last}")
            last = record.seq
            yield record

    def _in_segments(self, start: int) -> Iterator[Record]:
        for segment in self.segments:
            for block, line in read_lines(segment, start):
                record = _record(segment.path, block.name, None, line)
                if not block.first_seq <= record.seq <= block.last_seq:
                    raise LogCorruptError(segment.path, block.name, f"seq {record.seq} is not in its place")
                yield record

    def _in_bridges(self, start: int) -> Iterator[Record]:
        end = max(start, self.segments[-1].end if self.segments else 0)
        for bridge in self.bridges:
            if bridge.first > end:
                return
            for line in bridge.lines[end - bridge.first :]:
                yield _record(self.folder / JOURNAL_NAME, f"bridge from market input {bridge.first}", None, line)
            end = max(end, bridge.end)


def _record(path: Path, name: str, seq: int | None, line: bytes) -> Record:
    try:
        record = parse(line)
    except UnreadableRecordError as error:
        raise LogCorruptError(path, name, str(error)) from error
    if seq is not None and record.seq != seq:
        raise LogCorruptError(path, name, f"it says of itself that it is seq {record.seq}")
    return record


def open_log(folder: Path) -> Log:
    """Open a log and verify it: of a sealed one every byte, of another every checksum of segments and bridges.

    Raises LogCorruptError naming the file and, where it can be told, the record; FileNotFoundError without a log.
    """
    manifest_path = folder / MANIFEST_NAME
    manifest = read_checked(manifest_path, Manifest) if manifest_path.exists() else None
    if manifest is None:
        return open_unsealed(folder)
    check_format(manifest_path, manifest.format)
    return Log(folder, _header(folder), manifest, _sealed_segments(folder, manifest))


def open_unsealed(folder: Path) -> Log:
    """Open a log as one that was not sealed, whether it was or not: only what is read is verified.

    Raises as `open_log` does.
    """
    header = _header(folder)
    # In this order, as the run may still go on: what is deleted from the bridges is in the segments, and what the
    # segments count is in the journal.
    with JournalReader(folder, is_sealed=False) as journal:
        bridges = journal.bridges()
    segments, lost_rows = _open_segments(folder), 0
    for segment in segments:
        _same_run(segment, header)
    torn_bytes = segments[-1].torn_bytes if segments else 0
    if segments:
        with JournalReader(folder, is_sealed=False) as journal:
            segments, lost_rows = _without_lost(segments, journal.count())
    return Log(folder, header, None, segments, torn_bytes, bridges, lost_rows)


def _header(folder: Path) -> RunHeader:
    header = read_checked(folder / RUN_NAME, RunHeader)
    check_format(folder / RUN_NAME, header.format)
    return header


def _without_lost(segments: tuple[SegmentFile, ...], rows: int) -> tuple[tuple[SegmentFile, ...], int]:
    """Return the segments without what was written when there were more than `rows` records, and how many more."""
    known = max((block.rows for segment in segments for block in segment.blocks), default=0)
    if known <= rows:
        return segments, 0
    kept = (evolve(segment, blocks=[block for block in segment.blocks if block.rows <= rows]) for segment in segments)
    return tuple(segment for segment in kept if segment.blocks), known - rows


def _sealed_segments(folder: Path, manifest: Manifest) -> tuple[SegmentFile, ...]:
    for name, seal in sorted(manifest.files.items()):
        path = folder / name
        if not path.exists():
            raise LogCorruptError(path, "", "the file is missing")
        if file_sha256(path) != (seal.bytes, seal.sha256):
            _locate(path, folder, manifest)
    for path in sorted(folder.glob("market-*.seg")):
        if path.name not in manifest.files:
            raise LogCorruptError(path, "", "the manifest does not name this file")
    segments: list[SegmentFile] = []
    before = 0
    for number in count():
        if segment_name(number) not in manifest.files:
            break
        segment = scan(folder / segment_name(number), number, before, may_be_torn=False)
        assert segment is not None
        segments.append(segment)
        before = segment.end
    if before != manifest.market_inputs:
        raise LogCorruptError(folder / MANIFEST_NAME, "", f"{before} market inputs, not {manifest.market_inputs}")
    return tuple(segments)


def _locate(path: Path, folder: Path, manifest: Manifest) -> NoReturn:
    """Raise LogCorruptError for a file whose SHA-256 is wrong, naming the record if one is found damaged."""
    if path.name == JOURNAL_NAME:
        _locate_in_journal(folder, manifest)
    elif path.name not in (RUN_NAME, SNAPSHOT_NAME):
        for number in count():
            if folder / segment_name(number) == path:
                scan(path, number, _before(folder, number), may_be_torn=False)
                break
    raise LogCorruptError(path, "", "checksum of the file; no single record is damaged")


def _locate_in_journal(folder: Path, manifest: Manifest) -> None:
    with JournalReader(folder, is_sealed=True) as journal:
        rows = sum(1 for _ in journal.rows())
        expected = manifest.inputs - manifest.market_inputs + manifest.intents
        if rows != expected:
            raise LogCorruptError(journal.path, "", f"{rows} records, not {expected}")
        for seq in journal.snapshot_seqs():
            journal.snapshot(seq)


def _before(folder: Path, number: int) -> int:
    total = 0
    for earlier in range(number):
        segment = scan(folder / segment_name(earlier), earlier, total, may_be_torn=False)
        assert segment is not None
        total = segment.end
    return total


def _open_segments(folder: Path) -> tuple[SegmentFile, ...]:
    segments: list[SegmentFile] = []
    before = 0
    paths = sorted(folder.glob("market-*.seg"))
    for number, path in enumerate(paths):
        if path.name != segment_name(number):
            raise LogCorruptError(folder / segment_name(number), "", "the file is missing")
        segment = scan(path, number, before, may_be_torn=path is paths[-1])
        if segment is None:
            break
        segments.append(segment)
        before = segment.end
    return tuple(segments)


def _same_run(segment: SegmentFile, header: RunHeader) -> None:
    if (segment.header.build, segment.header.config_sha256) != (header.build, header.config_sha256):
        raise LogCorruptError(segment.path, "header", "it belongs to another build or configuration")
