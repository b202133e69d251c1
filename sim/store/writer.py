"""Writing a store: in bounded memory, and under its own name only when it is whole and on the disk."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from attrs import evolve

from sim.rows import KINDS, LAST, Rows
from sim.store.checks import RowChecks
from sim.store.errors import StoreError
from sim.store.layout import (
    BATCH_ROWS_MAX,
    DIGEST_KEY,
    TRAILER_DIGEST_KEY,
    TRAILER_KEY,
    VERSION,
    GapSpan,
    Header,
    Span,
    Trailer,
    columns_of,
    digest,
    dumps,
    schema,
)
from venues.model.instrument import Instrument


class StoreWriter:
    """One store being written; used as a context, an exception in which leaves nothing behind.

    Rows are given with `append`; `close` writes the trailer and gives the file its name. Batches end where a message
    does, unless the message is longer than a batch. Raises StoreError when the disk fails, RowError for rows that
    break the rules of sim.rows.
    """

    def __init__(
        self, path: Path | str, instruments: Sequence[Instrument], source: str, *, has_orders: bool = False
    ) -> None:
        self.path = Path(path)
        self._draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        self._header = Header(VERSION, source, tuple(instruments), has_orders)
        self._schema = schema(self._header)
        self._checks = RowChecks(len(instruments))
        self._waiting: list[Rows] = []
        self._waiting_rows = 0
        self._digests = sha256()
        self._batches = 0
        self._kinds = np.zeros(256, np.int64)
        self._messages = 0
        self._venue: Span | None = None
        self._local: Span | None = None
        self._is_open = True
        with self._disk():
            self._file = self._draft.open("xb")
            self._writer = pa.ipc.new_file(pa.PythonFile(self._file, "w"), self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_open:
            self.abandon()

    @property
    def rows(self) -> int:
        """How many rows were taken."""
        return self._checks.rows

    def append(self, rows: Rows) -> None:
        """Take the next rows; they are copied when they are written, so do not change them."""
        self._checks.take(rows)
        self._waiting.append(rows)
        self._waiting_rows += len(rows)
        if self._waiting_rows >= BATCH_ROWS_MAX:
            rows = Rows.join(self._waiting)
            start = 0
            while len(rows) - start >= BATCH_ROWS_MAX:
                ends = np.flatnonzero(rows.flags[start : start + BATCH_ROWS_MAX] & LAST)
                stop = start + (int(ends[-1]) + 1 if len(ends) else BATCH_ROWS_MAX)
                self._write(rows.slice(start, stop))
                start = stop
            self._waiting = [rows.slice(start, len(rows))]
            self._waiting_rows = len(rows) - start

    def close(self, *, gaps: Sequence[GapSpan] = (), bad: dict[str, int] | None = None, late: int = 0) -> Trailer:
        """Write what is left and the trailer, bring it to the disk, and give the file its name."""
        self._checks.finish()
        rows = Rows.join(self._waiting)
        if len(rows):
            self._write(rows)
        trailer = Trailer(
            self._checks.rows,
            self._batches,
            self._messages,
            {name: int(self._kinds[number]) for number, name in KINDS.items() if self._kinds[number]},
            tuple(gaps),
            dict(bad or {}),
            late,
            self._venue or Span(),
            self._local or Span(),
            self._digests.hexdigest(),
            sha256(dumps(self._header)).hexdigest(),
        )
        told = dumps(trailer)
        with self._disk():
            self._put(Rows.empty(0), {TRAILER_KEY: told, TRAILER_DIGEST_KEY: sha256(told).hexdigest().encode()})
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._draft.replace(self.path)
            _sync_folder(self.path.parent)
        self._is_open = False
        return trailer

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._is_open = False
        try:
            self._file.close()
        except OSError:
            pass  # Bytes that could not be written belong to a file that goes away.
        finally:
            self._draft.unlink(missing_ok=True)

    def _write(self, rows: Rows) -> None:
        covered = digest(self._batches, columns_of(rows, has_orders=self._header.has_orders))
        with self._disk():
            self._put(rows, {DIGEST_KEY: covered.hex().encode()})
        self._digests.update(covered)
        self._batches += 1
        self._kinds += np.bincount(rows.kind, minlength=256)
        self._messages += int(np.count_nonzero(rows.flags & LAST))
        self._venue = _wider(self._venue, rows.venue_ns.min(), rows.venue_ns.max())
        self._local = _wider(self._local, rows.local_ns.min(), rows.local_ns.max())

    def _put(self, rows: Rows, metadata: dict[bytes, bytes]) -> None:
        columns = columns_of(rows, has_orders=self._header.has_orders)
        arrays = [pa.array(np.ascontiguousarray(column)) for column in columns.values()]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema), custom_metadata=metadata)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._is_open and hasattr(self, "_file"):
                self.abandon()
            raise StoreError(self.path, f"cannot be written: {error.strerror or error}") from error


def _wider(span: Span | None, first: int, last: int) -> Span:
    if span is None:
        return Span(int(first), int(last))
    return evolve(span, first_ns=min(span.first_ns, int(first)), last_ns=max(span.last_ns, int(last)))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
