"""How snapshots of the venues lie on the disk, and which of them may be used.

A file holds the SHA-256 of all that follows as a line of hex, a line of JSON that says what it is a snapshot of, and a
zstandard frame. It is named by steps and commands, so the last name is the latest; the one before is kept as well, in
case a disk damages the last.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec
import zstandard
from attrs import frozen

from daemon.log.disk import write_whole
from daemon.venue.engine import StoredEngine
from daemon.venue.journal import Mark, Session
from sim.stored import StoredStateError, from_bytes, to_bytes

VERSION = 2
"""Raised with every change of what is stored: see tests/live/test_venue_snapshots.py."""

KEPT = 2
_LEVEL = 1
_ENDING = ".snapshot"


@frozen
class Head:
    """What a snapshot is of. `mark` is the last command that had been given."""

    version: int
    session: Session
    mark: Mark
    steps: int
    now: int


class UnusableSnapshotError(ValueError):
    """A file that is damaged, or a snapshot of something else; the message says which."""


@frozen
class SnapshotFolder:
    """The snapshots of one session."""

    folder: Path
    session: Session

    def write(self, mark: Mark, state: StoredEngine) -> Path:
        """Write a snapshot whole, or not at all, and drop those that are not needed any more. Raises OSError."""
        head = Head(VERSION, self.session, mark, state.steps, state.now)
        body = msgspec.json.encode(head) + b"\n" + zstandard.ZstdCompressor(level=_LEVEL).compress(to_bytes(state))
        path = self.folder / f"{state.steps:016d}-{mark.number:012d}{_ENDING}"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, sha256(body).hexdigest().encode() + b"\n" + body)
        for old in self._paths()[KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def clear_drafts(self) -> None:
        """Remove what killed writers left. Raises OSError."""
        for draft in self.folder.glob(f"*{_ENDING}.tmp"):
            draft.unlink(missing_ok=True)

    def usable(
        self, digest_of: Callable[[int], str | None], log: Callable[[str], None]
    ) -> Iterator[tuple[Head, StoredEngine]]:
        """Yield what can be gone on from, the latest first; `log` is told why another cannot.

        `digest_of` is the journal's digest of a command: a snapshot that goes beyond the journal, or beside it, is of
        another course of events. Raises OSError.
        """
        for path in self._paths():
            try:
                yield self._read(path, digest_of)
            except (UnusableSnapshotError, StoredStateError) as error:
                log(f"snapshot {path.name} is not used: {error}")

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_ENDING}"), reverse=True)

    def _read(self, path: Path, digest_of: Callable[[int], str | None]) -> tuple[Head, StoredEngine]:
        digest, _, body = path.read_bytes().partition(b"\n")
        if sha256(body).hexdigest().encode() != digest:
            raise UnusableSnapshotError("its checksum does not fit, the file is damaged")
        line, _, frame = body.partition(b"\n")
        try:
            version = msgspec.json.decode(line)["version"]
            if version != VERSION:
                raise UnusableSnapshotError(f"schema version {version}, this build has {VERSION}")
            head = msgspec.json.decode(line, type=Head)
            data = zstandard.ZstdDecompressor().decompress(frame)
        except (msgspec.MsgspecError, KeyError, TypeError, zstandard.ZstdError) as error:
            raise UnusableSnapshotError(f"not a snapshot: {error}") from error
        if head.session != self.session:
            raise UnusableSnapshotError(f"it is of {head.session}, this is {self.session}")
        if digest_of(head.mark.number) != head.mark.digest:
            raise UnusableSnapshotError(f"command {head.mark.number} is not in the journal, or another one is")
        return head, from_bytes(data, StoredEngine)
