"""What `basisctl executions` does: read the database where it lies, whether the daemon runs or not; show or export."""

import sqlite3
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from daemon.config_structure import parse_duration
from daemon.ctl.tables import Table, print_json, show, text, when
from daemon.executions import DATABASE_NAME
from daemon.executions.schema import APPLICATION_ID, STEPS, summary
from daemon.exits import FAILED, ExitError
from daemon.history import candidate_folders, parse_moment
from daemon.live.recovery import LOG_NAME
from daemon.log.schema import open_readonly

Row = dict[str, Any]


@frozen
class Shown:
    """How a table is shown: its columns (`>` before those to the right), and what orders and bounds it in time."""

    columns: str
    time: str
    is_by_place: bool = True


SHOWN = {
    "children": Shown(
        "ended_ns strategy instrument side >qty >filled >avg_price status >slippage_bps >total_bps basket_id",
        "ended_ns",
    ),
    "parents": Shown(
        "ended_ns strategy instrument side >qty >filled >avg_price state mode_used >slippage_bps >total_bps quality",
        "ended_ns",
    ),
    "fills": Shown(
        "ts strategy instrument side >qty >price >fee fee_asset liquidity basket_id busted_ns",
        "ts",
    ),
    "baskets": Shown(
        "ended_ns basket_id strategy state closes >orders >total >fee_quote >unhedged_quote_s why",
        "ended_ns",
        is_by_place=False,
    ),
    "legs": Shown(
        "basket_id strategy instrument side >qty >filled >avg_price >delay >spread >impact >opportunity >unwind "
        ">fee_quote >total",
        "last_fill_ns",
    ),
}
_SUMMARY = (
    "{} >orders >success_rate >fill_rate >fills >filled_quote >slippage_mean_bps >slippage_p50_bps >slippage_p95_bps "
    ">latency_p50_ms >latency_p95_ms >delay >spread >impact >opportunity >fee_quote >total"
)


def main(arguments: Namespace) -> int:
    """Show, sum up or export executions; 1 when the database cannot be read. Raises ExitError."""
    path = find_database(arguments.state)
    try:
        connection, _ = open_readonly(path, APPLICATION_ID, len(STEPS))
    except sqlite3.Error as error:
        raise ExitError(f"{path}: {error}", status=FAILED) from error
    try:
        connection.row_factory = sqlite3.Row
        return _answer(arguments, connection)
    except sqlite3.Error as error:
        raise ExitError(f"{path}: {error}", status=FAILED) from error
    finally:
        connection.close()


def _answer(arguments: Namespace, connection: sqlite3.Connection) -> int:
    name = arguments.table
    if arguments.by is not None and name != "children":
        raise ExitError("--by sums up children")
    if arguments.limit < 0:
        raise ExitError("--limit must be at least 0")
    where, values = _conditions(arguments, connection)
    if arguments.parquet is not None:
        return _export(arguments, connection, where, values)
    if arguments.by is not None:
        rows = _rows(connection, summary(arguments.by, f"(SELECT * FROM children WHERE {where})"), values)
        _print(arguments, rows, _SUMMARY.format(arguments.by))
        return 0
    order = f"ORDER BY {SHOWN[name].time} DESC, number DESC LIMIT ?"
    rows = _rows(connection, f"SELECT * FROM {name} WHERE {where} {order}", (*values, arguments.limit or -1))[::-1]
    _print(arguments, rows, SHOWN[name].columns)
    return 0


def _rows(connection: sqlite3.Connection, select: str, values: Sequence[object]) -> list[Row]:
    return [dict(row) for row in connection.execute(select, values)]


def _print(arguments: Namespace, rows: list[Row], shown: str) -> None:
    if arguments.json:
        for row in rows:
            print_json(row)
        return
    columns = shown.split()
    heads = [column.replace("_ns", "") for column in columns]
    cells = [[_cell(column.removeprefix(">"), row[column.removeprefix(">")]) for column in columns] for row in rows]
    show([Table("", heads, cells) if rows else "no executions"])


def _cell(column: str, value: Any) -> str:
    if column.endswith("_ns") or column == "ts":
        return when(value)
    if column.endswith("_rate") and value is not None:
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if isinstance(value, float) else text(value)


def _export(arguments: Namespace, connection: sqlite3.Connection, where: str, values: Sequence[object]) -> int:
    from daemon.executions.parquet import InexactError, write_parquet  # noqa: PLC0415 - pyarrow is heavy

    name = arguments.table
    select = f"SELECT * FROM {name} WHERE {where} ORDER BY {SHOWN[name].time}, number"
    if arguments.by is not None:
        raise ExitError("--parquet writes executions, not sums of them")
    try:
        count = write_parquet(Path(arguments.parquet), name, _rows(connection, select, values))
    except (OSError, InexactError) as error:
        raise ExitError(f"{arguments.parquet}: {error}", status=FAILED) from error
    if arguments.json:
        print_json({"file": arguments.parquet, "table": name, "rows": count})
    else:
        print(f"{arguments.parquet}: {count} {name}")
    return 0


def _conditions(arguments: Namespace, connection: sqlite3.Connection) -> tuple[str, list[object]]:
    shown = SHOWN[arguments.table]
    wanted: list[tuple[str, object]] = []
    for name in ("strategy", "venue", "symbol"):
        value = getattr(arguments, name)
        if value is not None:
            if not shown.is_by_place and name != "strategy":
                raise ExitError(f"--{name}: {arguments.table} have none; see legs")
            wanted.append((f"{name} = ?", value))
    for option, operator in (("since", ">="), ("until", "<")):
        told = getattr(arguments, option)
        if told is not None:
            wanted.append((f"{shown.time} {operator} ?", _instant(option, told, shown, arguments.table, connection)))
    return " AND ".join(["1", *(condition for condition, _ in wanted)]), [value for _, value in wanted]


def _instant(option: str, told: str, shown: Shown, table: str, connection: sqlite3.Connection) -> int:
    """Return a moment in ns UTC: one told, or so long before the last execution."""
    try:
        return parse_moment(told)
    except ValueError as error:
        try:
            length = parse_duration(told)
        except ValueError:
            raise ExitError(f"--{option}: {error}") from error
    last: int | None = connection.execute(f"SELECT max({shown.time}) FROM {table}").fetchone()[0]
    return 0 if last is None else last - length


def find_database(state: str | None) -> Path:
    """Return the database of a state folder, of a run's folder or of its log. Raises ExitError for none and several."""
    folders = candidate_folders(state)
    found = []
    for folder in folders:
        places = [folder / DATABASE_NAME]
        if folder.name == LOG_NAME:
            places.append(folder.parent / DATABASE_NAME)
        found += [path for path in places if path.exists()]
    if len(found) > 1:
        raise ExitError(f"several daemons: {', '.join(str(path.parent) for path in found)}; name one with --state")
    if not found:
        looked = ", ".join(map(str, folders)) or "state"
        raise ExitError(f"no {DATABASE_NAME} in {looked}; name a state folder with --state")
    return found[0]
