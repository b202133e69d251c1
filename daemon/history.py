"""What the logs of all runs tell a person: read where they lie, whether the daemon runs or not, and never in its way.

Only what was logged is there: inputs and intents. What actors tell each other, such as incidents they raise, is not.
"""

import argparse
import json
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import frozen

from daemon.config_structure import parse_duration, parse_instant
from daemon.ctl.tables import Table, print_json, show, text
from daemon.exits import FAILED, ExitError
from daemon.live.recovery import LOG_NAME, run_folders
from daemon.log.checked import read_checked
from daemon.log.errors import LogCorruptError
from daemon.log.journal import JournalReader
from daemon.log.journal_schema import VIEWS
from daemon.log.run_log import MANIFEST_NAME, RUN_NAME, Manifest, RunHeader

LIMIT = 200
_SERVICE = Path("/var/lib/basisd")
_LOCAL = Path("state")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_ZONE = re.compile(r"(Z|[+-]\d\d:?\d\d)$")
_NOT_LOGGED = (
    "these are the inputs that are incidents by themselves; what actors raise stays within the desk and is not logged: "
    "see basisctl events, and the daemon's own log"
)

Row = dict[str, Any]


@frozen
class Topic:
    """One view, and which of its columns a table shows (`>` before those to the right)."""

    columns: Sequence[str]
    is_by_account: bool = True
    is_by_instrument: bool = True
    is_by_time: bool = True


TOPICS: Mapping[str, Topic] = {
    "orders": Topic(
        ("time", "account", "instrument", "client_order_id", "side", ">qty", ">price", "type", "last_report", ">fills")
    ),
    "fills": Topic(
        ("time", "account", "instrument", "client_order_id", "side", ">qty", ">price", ">fee", "fee_asset", "liquidity")
    ),
    "intents": Topic(("time", "kind", "account", "instrument", ">root", "message")),
    "incidents": Topic(("time", "kind", "account", "instrument", "text")),
    "admin": Topic(("time", "kind", "role", "method", "params", ">uid", ">pid", "is_ok", "text"), False, False),
    "kills": Topic(("time", "kind", "operator", "level", "reason", "is_up", "is_in_charge"), False, False),
    "sessions": Topic(("time", "venue", "channel", "is_up", "why"), False, False),
    "runs": Topic(("began", "last", "mode", "end", ">inputs", ">intents", "from", "build"), False, False, False),
}
_SELECTS = {
    "intents": "SELECT *, message ->> 'account' AS account, message ->> 'instrument' AS instrument FROM intents",
}
_REPORTS = """
SELECT message ->> 'account' AS account, message ->> 'client_order_id' AS client_order_id, max(seq),
    kind AS last_report, time AS last_time, sum(kind = 'OrderFilled') AS fills
FROM inputs WHERE message ->> 'client_order_id' IS NOT NULL GROUP BY 1, 2
"""


@frozen
class Wanted:
    """Which rows: by time (as the views write it), account and instrument; at most `limit`, 0 for all."""

    since: str = ""
    until: str = "~"
    account: str | None = None
    instrument: str | None = None
    limit: int = LIMIT

    def fits(self, row: Row) -> bool:
        return (
            self.since <= row["time"] < self.until
            and self.account in (None, row["account"])
            and self.instrument in (None, row["instrument"])
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `basisctl history` understands."""
    parser.add_argument(
        "topic", nargs="?", choices=list(TOPICS), default="orders", metavar="TOPIC", help=_topics_help()
    )
    parser.add_argument(
        "--since", metavar="T", help="from then on: 2026-01-15T15:50Z, 2026-01-15, or 90m before the last"
    )
    parser.add_argument("--until", metavar="T", help="before then")
    parser.add_argument("--account", metavar="A", help="of this account only")
    parser.add_argument("--instrument", metavar="I", help="of this instrument only")
    parser.add_argument(
        "--limit", type=int, default=LIMIT, metavar="N", help="the last N; 0: all; default: %(default)s"
    )
    parser.add_argument("--state", metavar="DIR", help="a daemon's state folder, or the folder of a run")
    parser.add_argument("--json", action="store_true", help="a JSON object for each row, with all of its columns")


def _topics_help() -> str:
    return f"{', '.join(TOPICS)}; default: orders"


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for, the newest last; 1 when a log could not be read. Raises ExitError.

    `arguments` has what `add_arguments` adds, or the words not looked at yet as `rest`.
    """
    if getattr(arguments, "rest", None) is not None:
        parser = argparse.ArgumentParser(prog="basisctl history", description=__doc__.splitlines()[0])
        add_arguments(parser)
        parser.set_defaults(state=arguments.state, json=getattr(arguments, "json", False))
        arguments = parser.parse_args(arguments.rest)
    topic = TOPICS[arguments.topic]
    folders = log_folders(arguments.state)
    wanted = _wanted(arguments, topic, folders)
    problems: list[str] = []
    read: Callable[[list[Path], Wanted, list[str]], list[Row]] = {"orders": _orders, "runs": _runs}.get(
        arguments.topic, lambda *rest: _rows(arguments.topic, *rest)
    )
    rows = read(folders, wanted, problems)
    _print(arguments, topic, rows)
    if arguments.topic == "incidents":
        print(f"basisctl: {_NOT_LOGGED}", file=sys.stderr)
    for problem in problems:
        print(f"basisctl: {problem}", file=sys.stderr)
    return FAILED if problems else 0


def _print(arguments: argparse.Namespace, topic: Topic, rows: list[Row]) -> None:
    if arguments.json:
        for row in rows:
            print_json(row)
        return
    columns = ["run", *topic.columns]
    cells = [[_cell(row.get(column.removeprefix(">"))) for column in columns] for row in rows]
    show([Table("", columns, cells) if rows else f"no {arguments.topic}"])


def _cell(value: Any) -> str:
    return text(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value)


# Which logs


def log_folders(state: str | None) -> list[Path]:
    """Return the log folders of all runs, oldest first. Raises ExitError when there are none."""
    candidates = candidate_folders(state)
    found = {folder: logs for folder in candidates if (logs := _logs_in(folder))}
    if len(found) > 1:
        raise ExitError(f"several daemons: {', '.join(map(str, found))}; name one with --state")
    if not found:
        raise ExitError(f"no logs in {', '.join(map(str, candidates)) or _LOCAL}; name a state folder with --state")
    return next(iter(found.values()))


def candidate_folders(state: str | None) -> list[Path]:
    """Return the state folders to look into: the one told, else wherever a daemon may keep its state."""
    told = state or os.environ.get("BASISD_STATE") or os.environ.get("STATE_DIRECTORY")
    return [Path(told)] if told else [_SERVICE, *sorted(_LOCAL.glob("*"))]


def _logs_in(folder: Path) -> list[Path]:
    """Return the logs in a state folder, a folder of runs, the folder of a run, or a log itself."""
    for one in (folder, folder / LOG_NAME):
        if (one / RUN_NAME).exists():
            return [one]
    runs = folder / "runs" if (folder / "runs").is_dir() else folder
    return [run / LOG_NAME for run in run_folders(runs) if (run / LOG_NAME / RUN_NAME).exists()]


def _name(log: Path) -> str:
    return log.parent.name if log.name == LOG_NAME else log.name


# What they say


def _rows(topic: str, logs: list[Path], wanted: Wanted, problems: list[str]) -> list[Row]:
    """Return the wanted rows of a view, looking at no more runs than it takes."""
    conditions = {"time >= ?": wanted.since, "time < ?": wanted.until}
    if wanted.account is not None:
        conditions["account = ?"] = wanted.account
    if wanted.instrument is not None:
        conditions["instrument = ?"] = wanted.instrument
    select = (
        f"SELECT * FROM ({_SELECTS.get(topic, f'SELECT * FROM {topic}')}) WHERE {' AND '.join(conditions)} "
        "ORDER BY seq DESC LIMIT ?"
    )
    newest_first: list[Row] = []
    for log in reversed(logs):
        left = wanted.limit - len(newest_first) if wanted.limit else -1
        if left == 0:
            break
        newest_first += _ask(log, select, (*conditions.values(), left), problems)
    return newest_first[::-1]


def _ask(log: Path, select: str, values: Sequence[object], problems: list[str]) -> list[Row]:
    """Return the rows of one log; none, and a problem, when it cannot be read.

    The views are those of today, whatever version the journal has. Everything is fetched at once: no reader stays
    behind to hold up the writer's checkpoints.
    """
    try:
        with JournalReader(log, is_sealed=(log / MANIFEST_NAME).exists()) as journal:
            connection = journal.connection
            connection.row_factory = sqlite3.Row
            for name, view in VIEWS.items():
                connection.execute(f"CREATE TEMP VIEW {name} AS {view}")
            rows = connection.execute(select, values).fetchall()
    except (LogCorruptError, sqlite3.Error) as error:
        problem = f"run {_name(log)}: {error}"
        if problem not in problems:
            problems.append(problem)
        return []
    return [{"run": _name(log)} | {name: _value(name, value) for name, value in dict(row).items()} for row in rows]


def _value(name: str, value: Any) -> Any:
    """Return a column's value as what it is: SQLite knows no truth, and a message is JSON."""
    if name.startswith("is_") and value is not None:
        return bool(value)
    return json.loads(value) if name == "message" else value


def _orders(logs: list[Path], wanted: Wanted, problems: list[str]) -> list[Row]:
    """Return orders with what became of them, in whichever run the reports came."""
    orders: dict[tuple[str, str], Row] = {}
    for log in logs:
        for order in _ask(log, "SELECT * FROM orders ORDER BY seq", (), problems):
            orders[order["account"], order["client_order_id"]] = order
        for report in _ask(log, _REPORTS, (), problems):
            known = orders.get((report["account"], report["client_order_id"]))
            if known is not None and known["run"] != report["run"]:
                known |= {"last_report": report["last_report"], "last_time": report["last_time"]}
                known["fills"] += report["fills"]
    return _last(wanted, [order for order in orders.values() if wanted.fits(order)])


def _runs(logs: list[Path], wanted: Wanted, problems: list[str]) -> list[Row]:
    rows: list[Row] = []
    for log in logs:
        try:
            header = read_checked(log / RUN_NAME, RunHeader)
            sealed = read_checked(log / MANIFEST_NAME, Manifest) if (log / MANIFEST_NAME).exists() else None
        except LogCorruptError as error:
            problems.append(f"run {_name(log)}: {error}")
            continue
        counts = "SELECT count(*) AS records, coalesce(sum(line ->> 'cause' IS NOT NULL), 0) AS intents FROM records"
        counted = _ask(log, counts, (), problems) or [{"records": None, "intents": None}]
        records, intents = counted[0]["records"], counted[0]["intents"]
        rows.append(
            {
                "run": _name(log),
                "began": moment(header.start_ns),
                "last": _last_time(log, problems),
                "mode": header.mode,
                "end": "sealed" if sealed is not None else "open",
                "inputs": sealed.inputs if sealed is not None else None,
                "order_path_inputs": None if records is None else records - intents,
                "intents": intents,
                "from": "snapshot" if header.snapshot_sha256 else "beginning",
                "build": header.build,
                "config_sha256": header.config_sha256,
                "journal_sha256": None if sealed is None else sealed.journal_sha256,
            }
        )
    return _last(wanted, rows)


def _last(wanted: Wanted, rows: list[Row]) -> list[Row]:
    return rows[-wanted.limit :] if wanted.limit else rows


def _last_time(log: Path, problems: list[str]) -> str | None:
    """Return when the last order-path record of a log was written."""
    last = "SELECT line FROM records ORDER BY seq DESC LIMIT 1"
    for row in _ask(log, last, (), problems):
        record = json.loads(row["line"])
        return moment(record.get("now") or record["message"]["ts"])
    return None


# Times


def _wanted(arguments: argparse.Namespace, topic: Topic, logs: list[Path]) -> Wanted:
    for name, is_known in (("account", topic.is_by_account), ("instrument", topic.is_by_instrument)):
        if getattr(arguments, name) is not None and not is_known:
            raise ExitError(f"--{name}: {arguments.topic} have none")
    if not topic.is_by_time and (arguments.since or arguments.until):
        raise ExitError(f"--since, --until: {arguments.topic} are all shown")
    if arguments.limit < 0:
        raise ExitError("--limit must be at least 0")
    since = _instant("--since", arguments.since, logs) if arguments.since else ""
    until = _instant("--until", arguments.until, logs) if arguments.until else "~"
    return Wanted(since, until, arguments.account, arguments.instrument, arguments.limit)


def _instant(option: str, told: str, logs: list[Path]) -> str:
    """Return a moment as the views write it: one told in UTC or with its zone, or so long before the last record."""
    try:
        return moment(parse_moment(told))
    except ValueError as error:
        try:
            length = parse_duration(told)
        except ValueError:
            raise ExitError(f"{option}: {error}") from error
    last = next((time for log in reversed(logs) if (time := _last_time(log, []))), None)
    return moment(parse_instant(last) - length) if last is not None else ""


def parse_moment(told: str) -> int:
    """Return a moment in ns UTC: a day, or an instant in UTC or with its zone. Raises ValueError."""
    if _DATE.fullmatch(told):
        told += "T00:00:00Z"
    return parse_instant(told if _ZONE.search(told) else f"{told}Z")


def moment(ns: int) -> str:
    """Return an instant as the views write it."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
