"""How a store is laid out: its Arrow schema, what it says of itself, and what its checksums cover.

The schema's metadata holds the header. Batches follow, each with the SHA-256 of its number and columns. The last batch
has no rows; its metadata holds the trailer, which covers the header and all batches: a file without it is unfinished.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from hashlib import sha256
from typing import Any, TypeVar

import pyarrow as pa  # type: ignore[import-untyped]
from attrs import field, frozen
from cattrs import Converter

from sim.rows import COLUMNS, Rows
from venues.model.instrument import Instrument

FORMAT = "basisd rows"
VERSION = 1
BATCH_ROWS_MAX = 1 << 17

FORMAT_KEY, HEADER_KEY = b"basisd.format", b"basisd.header"
DIGEST_KEY, TRAILER_KEY, TRAILER_DIGEST_KEY = b"basisd.sha256", b"basisd.trailer", b"basisd.trailer.sha256"

_T = TypeVar("_T")


@frozen
class GapSpan:
    """From the last moment the book of an instrument was known to the first it was known again; venue time, ns UTC.

    `instrument` is the id. A gap that never closed ends with the data.
    """

    from_ns: int
    to_ns: int
    instrument: str


@frozen
class Span:
    """The first and the last time of one clock, ns UTC; both 0 without rows."""

    first_ns: int = 0
    last_ns: int = 0


@frozen
class Header:
    """What is known before the first row. `instruments` are numbered in their order; `source` is for people."""

    version: int
    source: str
    instruments: tuple[Instrument, ...]
    has_orders: bool


@frozen
class Trailer:
    """What is known after the last row.

    `kinds` counts rows by kind, `bad` what of the source could not be used, by reason. `late` counts messages whose
    venue time was too old to be put in its place. `checksum` is the SHA-256 of all batches' digests, in hex.
    """

    rows: int
    batches: int
    messages: int
    kinds: dict[str, int]
    gaps: tuple[GapSpan, ...]
    bad: dict[str, int]
    late: int
    venue: Span
    local: Span
    checksum: str
    header_sha256: str = field(default="")


def schema(header: Header) -> pa.Schema:
    """Return the schema of a store with this header; `order_id` is a column only where there are orders."""
    names = [name for name in COLUMNS if name != "order_id" or header.has_orders]
    fields = [pa.field(name, pa.from_numpy_dtype(COLUMNS[name]), nullable=False) for name in names]
    return pa.schema(fields, {FORMAT_KEY: f"{FORMAT} {VERSION}".encode(), HEADER_KEY: dumps(header)})


def digest(number: int, columns: Mapping[str, Any]) -> bytes:
    """Return the SHA-256 of batch `number` and its columns, in the order of COLUMNS."""
    covered = sha256(number.to_bytes(8, "little"))
    for name in COLUMNS:
        if name in columns:
            covered.update(memoryview(columns[name]).cast("B"))
    return covered.digest()


def columns_of(rows: Rows, *, has_orders: bool) -> dict[str, Any]:
    """Return the columns that a file holds, by name."""
    return {name: getattr(rows, name) for name in COLUMNS if name != "order_id" or has_orders}


def dumps(what: Header | Trailer) -> bytes:
    return json.dumps(_converter().unstructure(what), sort_keys=True, separators=(",", ":")).encode()


def loads(data: bytes, kind: type[_T]) -> _T:
    """Return what `dumps` wrote. Raises ValueError, or an exception group of cattrs, for anything else."""
    return _converter().structure(json.loads(data), kind)


@cache
def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda text, _: Decimal(text))
    return converter
