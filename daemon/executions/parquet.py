"""How executions become a Parquet file: decimals stay decimals, instants are UTC timestamps in nanoseconds."""

from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

from daemon.executions.schema import EXACT, typed

Row = dict[str, Any]
SCALE = 18
PRECISION = 38
_STEP = Decimal(1).scaleb(-SCALE)
_WHOLE_MAX = Decimal(10) ** (PRECISION - SCALE)


class InexactError(ValueError):
    """A price, quantity or fee with more digits than decimal128(38, 18) holds; the message names column and value."""


def write_parquet(path: Path, table: str, rows: list[Row]) -> int:
    """Write rows of a table of the database, with all columns and the same types whatever the rows hold.

    What was computed by division is rounded to 18 decimals. Returns how many rows. Raises InexactError, OSError.
    """
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy, and only needed here
    from pyarrow import parquet  # noqa: PLC0415 - likewise

    kinds = {
        "decimal": pa.decimal128(PRECISION, SCALE),
        "time": pa.timestamp("ns", tz="UTC"),
        "TEXT": pa.string(),
        "INTEGER": pa.int64(),
        "REAL": pa.float64(),
    }
    columns, fields = [], []
    for name, kind in typed(table).items():
        values = [row[name] for row in rows]
        if kind == "decimal":
            values = [None if value is None else _decimal(name, value) for value in values]
        columns.append(pa.array(values, kinds[kind]))
        fields.append(pa.field(name, kinds[kind]))
    parquet.write_table(pa.table(columns, schema=pa.schema(fields)), path)
    return len(rows)


def _decimal(name: str, value: str) -> Decimal:
    number = Decimal(value)
    if abs(number) >= _WHOLE_MAX:
        raise InexactError(f"{name}: {value} has too many digits")
    rounded = number.quantize(_STEP, rounding=ROUND_HALF_EVEN)
    if rounded != number and name in EXACT:
        raise InexactError(f"{name}: {value} has more than {SCALE} decimals")
    return rounded
