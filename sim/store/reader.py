"""Reading a store: mapped, batch by batch, nothing that was altered or is not whole."""

import mmap
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from cattrs import BaseValidationError

from sim.rows import COLUMNS, Rows
from sim.store.checks import RowChecks
from sim.store.errors import RowError, StoreError
from sim.store.layout import (
    DIGEST_KEY,
    FORMAT,
    FORMAT_KEY,
    HEADER_KEY,
    TRAILER_DIGEST_KEY,
    TRAILER_KEY,
    VERSION,
    Header,
    Trailer,
    columns_of,
    digest,
    loads,
    schema,
)
from venues.model.instrument import Instrument


class Store:
    """One finished store. What it says of itself is read when it is opened, its rows when they are asked for.

    The file must not be changed or cut while it is read. Raises StoreError, naming file and batch.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                # A private mapping gives arrays that count as writable, so that compiled code sees one kind of array.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            raise StoreError(path, f"cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise StoreError(path, "is empty") from error
        buffer = pa.py_buffer(self._map)
        self._address = buffer.address
        try:
            self._reader = pa.ipc.open_file(pa.BufferReader(buffer))
            told = self._reader.schema.metadata or {}
        except (pa.ArrowException, OSError) as error:
            raise StoreError(path, f"is no finished store: {_first_line(error)}") from error
        self.header = self._read_header(told)
        self.trailer = self._read_trailer(told[HEADER_KEY])

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """Open a store and check that it is whole; its rows are checked as they are read."""
        return cls(Path(path))

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """The instruments, at the places that the column `instrument` tells."""
        return self.header.instruments

    def __len__(self) -> int:
        return self.trailer.rows

    def blocks(self, *, check: bool = True) -> Iterator[Rows]:
        """Yield the rows, one Rows per batch, as views of the mapped file.

        Memory read is given back when the next block is asked for; a block that is kept is read from the disk again.
        `check` compares each batch with its checksum before it is yielded. Raises StoreError.
        """
        digests: list[bytes] = []
        for number in range(self.trailer.batches):
            rows, end = self._batch(number, digests, check=check)
            yield rows
            self._map.madvise(mmap.MADV_DONTNEED, 0, min(end // mmap.PAGESIZE * mmap.PAGESIZE, len(self._map)))
        if check and sha256(b"".join(digests)).hexdigest() != self.trailer.checksum:
            raise StoreError(self.path, "its batches are not those it was written with")

    def verify(self, progress: Callable[[float], None] = lambda _: None) -> Trailer:
        """Read everything: checksums, both orders, counts. Returns the trailer. Raises StoreError.

        `progress` is told the share done.
        """
        checks = RowChecks(len(self.instruments))
        for number, rows in enumerate(self.blocks()):
            try:
                checks.take(rows)
            except RowError as error:
                raise StoreError(self.path, str(error), number) from error
            progress((number + 1) / self.trailer.batches)
        if checks.rows != self.trailer.rows or not checks.is_complete:
            raise StoreError(self.path, f"holds {checks.rows} rows, says {self.trailer.rows}")
        return self.trailer

    def _read_header(self, told: dict[bytes, bytes]) -> Header:
        form = told.get(FORMAT_KEY, b"").decode(errors="replace")
        if form != f"{FORMAT} {VERSION}":
            why = f"is of version {form.removeprefix(FORMAT).strip()!r}" if form.startswith(FORMAT) else "is no store"
            raise StoreError(self.path, f"{why}; this build reads {FORMAT!r} {VERSION}")
        try:
            header = loads(told[HEADER_KEY], Header)
        except (KeyError, ValueError, ArithmeticError, BaseValidationError) as error:
            raise StoreError(self.path, f"header: {_first_line(error)}") from error
        if not self._reader.schema.equals(schema(header), check_metadata=True):
            raise StoreError(self.path, "its columns are not those of a store")
        return header

    def _read_trailer(self, header: bytes) -> Trailer:
        last = self._reader.num_record_batches - 1
        try:
            told = {} if last < 0 else dict(self._reader.get_batch_with_custom_metadata(last).custom_metadata or {})
            raw = told.get(TRAILER_KEY)
            if raw is None:
                raise StoreError(self.path, "has no trailer: its writing was never finished")
            if told.get(TRAILER_DIGEST_KEY) != sha256(raw).hexdigest().encode():
                raise StoreError(self.path, "trailer: checksum differs")
            trailer = loads(raw, Trailer)
        except (pa.ArrowException, OSError, ValueError, BaseValidationError) as error:
            raise StoreError(self.path, f"trailer: {_first_line(error)}") from error
        if trailer.header_sha256 != sha256(header).hexdigest():
            raise StoreError(self.path, "header: checksum differs")
        if trailer.batches != last:
            raise StoreError(self.path, f"holds {last} batches, says {trailer.batches}")
        return trailer

    def _batch(self, number: int, digests: list[bytes], *, check: bool) -> tuple[Rows, int]:
        try:
            batch, told = self._reader.get_batch_with_custom_metadata(number)
            batch.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(self.path, _first_line(error), number) from error
        count, end = batch.num_rows, 0
        if not count:
            raise StoreError(self.path, "has no rows", number)
        columns = {"order_id": np.zeros(count, COLUMNS["order_id"])}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            data = column.buffers()[1]
            start = 0 if data is None else data.address - self._address
            wanted = count * np.dtype(COLUMNS[name]).itemsize
            if data is None or column.null_count or column.offset or start < 0 or start + wanted > len(self._map):
                raise StoreError(self.path, f"column {name} is not plain data of the file", number)
            columns[name] = np.frombuffer(self._map, COLUMNS[name], count, start)
            end = max(end, start + wanted)
        rows = Rows(**columns)
        if check:
            covered = digest(number, columns_of(rows, has_orders=self.header.has_orders))
            if dict(told or {}).get(DIGEST_KEY) != covered.hex().encode():
                raise StoreError(self.path, "checksum differs", number)
            digests.append(covered)
        return rows, end


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
