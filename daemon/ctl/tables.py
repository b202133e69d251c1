"""What answers look like to people: aligned columns on a pipe, tables on a terminal."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

_NS = 1_000_000_000
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
NOTHING = "-"


@frozen
class Table:
    """Rows of texts. Columns whose name begins with `>` are numbers and stand to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def is_right(self, column: int) -> bool:
        return self.columns[column].startswith(">")

    @property
    def heads(self) -> list[str]:
        return [column.removeprefix(">") for column in self.columns]


def text(value: Any) -> str:
    """Return a value as it is shown: what is not known as a dash, and nothing that moves a terminal."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(one if one.isprintable() else "\ufffd" for one in str(value))


def when(ns: int | None) -> str:
    """Return an instant in UTC, to the millisecond."""
    if ns is None:
        return NOTHING
    seconds, rest = divmod(ns, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1_000_000:03d}Z"


def span(ns: int) -> str:
    """Return a length of time in its two largest units."""
    seconds, parts = max(0, ns) // _NS, list[str]()
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def print_json(value: Any) -> None:
    """Print a value on one line, at once: somebody may be waiting for it at the other end of a pipe."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True), flush=True)


def show(parts: Iterable[Table | str]) -> None:
    """Print lines and tables, to fit whoever reads standard output."""
    if sys.stdout.isatty():
        _show_rich(parts)
        return
    for number, part in enumerate(parts):
        if isinstance(part, str):
            print(part)
            continue
        if number:
            print()
        print("\n".join([*([part.title] if part.title else []), *lines(part)]))


def lines(table: Table) -> list[str]:
    """Return a table as aligned lines."""
    rows = [table.heads, *table.rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(table.columns))]
    return [
        "  ".join(
            cell.rjust(width) if table.is_right(at) else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def rich_table(table: Table) -> Any:
    """Return a table for rich."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only terminals need it
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = RichTable(title=table.title or None, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for at, head in enumerate(table.heads):
        made.add_column(head, justify="right" if table.is_right(at) else "left", overflow="fold")
    for row in table.rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def _show_rich(parts: Iterable[Table | str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - only terminals need it
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    for part in parts:
        console.print(Text(part) if isinstance(part, str) else rich_table(part))
