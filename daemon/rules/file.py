"""How a venue's rules of a day are written down: a file of instruments that a configuration can include."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path

import attrs

from daemon.config_structure import INSTANTS, is_key, key_of
from daemon.log.disk import write_whole
from venues.model.instrument import Bracket, Instrument
from venues.model.money import to_text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def path_of(folder: Path, venue: str, ts: int) -> Path:
    """Return where the rules of `venue` at `ts` (ns UTC) belong: one file a day."""
    return folder / f"{venue}-{_moment(ts):%Y-%m-%d}.toml"


def write_rules(path: Path, instruments: Iterable[Instrument], heading: Sequence[str]) -> None:
    """Write a file, whole or not at all, replacing an earlier one of the day; `heading` are its first, commented lines.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [*(f"# {line}".rstrip() for line in heading)]
    for one in instruments:
        lines += ["", *rows_of(one)]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def rows_of(one: Instrument) -> Iterator[str]:
    """Yield the lines of one `[[instruments]]` table; what has its default is left out."""
    yield "[[instruments]]"
    for attribute in attrs.fields(Instrument):
        value = getattr(one, attribute.name)
        if not is_key(attribute) or value == attribute.default or (attribute.name == "settle" and value == one.quote):
            continue
        if attribute.name == "brackets":
            yield "brackets = ["
            yield from (f"    {_bracket(row)}," for row in value)
            yield "]"
        else:
            yield f"{key_of(attribute.name)} = {_value(attribute.name, value)}"


def _bracket(row: Bracket) -> str:
    pairs = ((one.name, getattr(row, one.name)) for one in attrs.fields(Bracket))
    return "{ " + ", ".join(f"{name} = {_value(name, value)}" for name, value in pairs) + " }"


def _value(name: str, value: object) -> str:
    if name in INSTANTS and isinstance(value, int):
        return f'"{_instant(value)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return f'"{to_text(value)}"'
    text = str(value.value if isinstance(value, Enum) else value)
    escaped = "".join(
        f"\\u{ord(char):04x}" if char in '"\\' or ord(char) < 32 or ord(char) == 127 else char for char in text
    )
    return f'"{escaped}"'


def _moment(ts: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ts // 1_000)


def _instant(ts: int) -> str:
    """Return a moment as a configuration holds it, exact to the nanosecond."""
    rest = f".{ts % 1_000_000_000:09d}" if ts % 1_000_000_000 else ""
    return f"{_moment(ts):%Y-%m-%dT%H:%M:%S}{rest}Z"


def shown(ts: int) -> str:
    return _instant(ts)
