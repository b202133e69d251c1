"""What a log says, and whether it is what was written."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NoReturn

from attrs import frozen

from daemon.log.canonical import Record, parse
from daemon.log.checked import file_sha256, read_checked
from daemon.log.errors import LogCorruptError, UnreadableRecordError
from daemon.log.journal import JOURNAL_NAME, read_rows
from daemon.log.run_log import MANIFEST_NAME, RUN_NAME, Manifest, RunHeader
from daemon.log.segments import FORMAT, SegmentFile, read_lines, scan, segment_name


@frozen
class Log:
    """A log opened by `open_log`.

    `is_sealed` is False for the log of a run that still goes on or did not end in order; `torn_bytes` at the end of
    its last segment are no complete block. `manifest` is None then.
    """

    folder: Path
    header: RunHeader
    manifest: Manifest | None
    segments: tuple[SegmentFile, ...]
    torn_bytes: int = 0

    @property
    def is_sealed(self) -> bool:
        return self.manifest is not None

    def records(self) -> Iterator[Record]:
        """Yield inputs and intents by rising seq, one block in memory at a time.

        Of a log that was not sealed, this is the longest prefix without a hole: the order path may reach further
        than the market inputs on the disk (see `order_path`). Raises LogCorruptError.
        """
        market = self._market()
        waiting = next(market, None)
        seen = last_seq = 0
        for record, before in self._order_path():
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

    def order_path(self) -> Iterator[Record]:
        """Yield everything committed but market inputs: order-path inputs, timers, control, intents."""
        return (record for record, _ in self._order_path())

    def journal_sha256(self) -> str:
        """Return the SHA-256 over the canonical lines, computed anew."""
        digest = sha256()
        for record in self.records():
            digest.update(record.line + b"\n")
        return digest.hexdigest()

    def _order_path(self) -> Iterator[tuple[Record, int]]:
        path = self.folder / JOURNAL_NAME
        for seq, before, _, line in read_rows(path, is_sealed=self.is_sealed):
            yield _record(path, f"seq {seq}", seq, line.encode()), before

    def _market(self) -> Iterator[Record]:
        last = 0
        for segment in self.segments:
            for block, line in read_lines(segment):
                record = _record(segment.path, block.name, None, line)
                if not max(last + 1, block.first_seq) <= record.seq <= block.last_seq:
                    raise LogCorruptError(segment.path, block.name, f"seq {record.seq} is not in its place")
                last = record.seq
                yield record


def _record(path: Path, name: str, seq: int | None, line: bytes) -> Record:
    try:
        record = parse(line)
    except UnreadableRecordError as error:
        raise LogCorruptError(path, name, str(error)) from error
    if seq is not None and record.seq != seq:
        raise LogCorruptError(path, name, f"it says of itself that it is seq {record.seq}")
    return record


def open_log(folder: Path) -> Log:
    """Open a log and verify it: of a sealed one every byte, of another every checksum of the segments.

    Raises LogCorruptError naming the file and, where it can be told, the record; FileNotFoundError without a log.
    """
    manifest_path = folder / MANIFEST_NAME
    manifest = read_checked(manifest_path, Manifest) if manifest_path.exists() else None
    if manifest is not None and manifest.format != FORMAT:
        raise LogCorruptError(manifest_path, "", f"format {manifest.format}, this build reads {FORMAT}")
    header = read_checked(folder / RUN_NAME, RunHeader)
    if manifest is not None:
        segments = _sealed_segments(folder, manifest)
        return Log(folder, header, manifest, segments)
    found = _open_segments(folder)
    for segment in found:
        _same_run(segment, header)
    return Log(folder, header, None, found, found[-1].torn_bytes if found else 0)


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
        before += sum(block.count for block in segment.blocks)
    if before != manifest.market_inputs:
        raise LogCorruptError(folder / MANIFEST_NAME, "", f"{before} market inputs, not {manifest.market_inputs}")
    return tuple(segments)


def _locate(path: Path, folder: Path, manifest: Manifest) -> NoReturn:
    """Raise LogCorruptError for a file whose SHA-256 is wrong, naming the record if one is found damaged."""
    if path.name == JOURNAL_NAME:
        rows = 0
        for _ in read_rows(path, is_sealed=True):
            rows += 1
        expected = manifest.inputs - manifest.market_inputs + manifest.intents
        if rows != expected:
            raise LogCorruptError(path, "", f"{rows} records, not {expected}")
    elif path.name != RUN_NAME:
        for number in count():
            if folder / segment_name(number) == path:
                scan(path, number, _before(folder, number), may_be_torn=False)
                break
    raise LogCorruptError(path, "", "checksum of the file; no single record is damaged")


def _before(folder: Path, number: int) -> int:
    total = 0
    for earlier in range(number):
        segment = scan(folder / segment_name(earlier), earlier, total, may_be_torn=False)
        assert segment is not None
        total += sum(block.count for block in segment.blocks)
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
        before += sum(block.count for block in segment.blocks)
    return tuple(segments)


def _same_run(segment: SegmentFile, header: RunHeader) -> None:
    if (segment.header.build, segment.header.config_sha256) != (header.build, header.config_sha256):
        raise LogCorruptError(segment.path, "header", "it belongs to another build or configuration")
