"""The tables of the journal, and the views for people.

`entries` are records, whose `line` is text, and bridges, whose `line` is a blob: see the module of that name. A
record's `line` is the canonical line of an order-path input or an intent; `market` counts the market inputs before it,
`crc` is the crc32 of the line, begun with that count. For `snapshots` see the module of that name.
`sqlite3 journal.sqlite 'select * from orders'` works while the daemon runs and afterwards.
"""

import json
import sqlite3

from daemon.log.bridges import of_version_2, unpack
from daemon.log.schema import Step

JOURNAL_NAME = "journal.sqlite"
APPLICATION_ID = 0x62617369  # "basi"

TIME = "strftime('%Y-%m-%dT%H:%M:%S', {0} / 1000000000, 'unixepoch') || printf('.%09dZ', {0} % 1000000000)"
"""How a view writes an instant given in ns UTC."""

_FIRST_VIEWS = {
    "inputs": f"""
    SELECT seq, {TIME.format("(line ->> 'now')")} AS time, line ->> 'kind' AS kind, line -> 'message' AS message,
        line ->> 'now' AS now, coalesce(line ->> 'is_held', 0) AS is_held
    FROM records WHERE line ->> 'cause' IS NULL""",
    "intents": f"""
    SELECT seq, line ->> 'root' AS root, line ->> 'cause' AS cause, line ->> 'kind' AS kind,
        {TIME.format("(line ->> '$.message.ts')")} AS time, line -> 'message' AS message
    FROM records WHERE line ->> 'cause' IS NOT NULL""",
    "fills": """
    SELECT seq, time, message ->> 'account' AS account, message ->> 'instrument' AS instrument,
        message ->> 'client_order_id' AS client_order_id, message ->> 'trade_id' AS trade_id,
        message ->> 'side' AS side, message ->> 'price' AS price, message ->> 'qty' AS qty,
        message ->> 'fee' AS fee, message ->> 'fee_asset' AS fee_asset, message ->> 'liquidity' AS liquidity,
        message ->> 'reason' AS reason
    FROM inputs WHERE kind = 'OrderFilled'""",
    "orders": """
    WITH last AS (
        SELECT message ->> 'account' AS account, message ->> 'client_order_id' AS id, max(seq) AS seq, kind, time,
            sum(kind = 'OrderFilled') AS fills
        FROM inputs WHERE message ->> 'client_order_id' IS NOT NULL GROUP BY 1, 2
    )
    SELECT i.seq, i.time, i.message ->> 'account' AS account, i.message ->> 'instrument' AS instrument,
        i.message ->> 'client_order_id' AS client_order_id, i.message ->> 'side' AS side,
        i.message ->> 'type' AS type, i.message ->> 'tif' AS tif, i.message ->> 'qty' AS qty,
        i.message ->> 'price' AS price, i.message ->> 'reduce_only' AS reduce_only,
        last.kind AS last_report, last.time AS last_time, coalesce(last.fills, 0) AS fills
    FROM intents AS i
    LEFT JOIN last ON last.id = i.message ->> 'client_order_id' AND last.account = i.message ->> 'account'
    WHERE i.kind = 'SubmitOrder'""",
}
_SECOND_VIEWS = {
    "admin": """
    SELECT seq, time, kind, message ->> 'method' AS method, message ->> 'role' AS role, message ->> 'params' AS params,
        message ->> 'uid' AS uid, message ->> 'gid' AS gid, message ->> 'pid' AS pid,
        message ->> 'is_ok' AS is_ok, message ->> 'text' AS text
    FROM inputs WHERE kind IN ('AdminCall', 'AdminResult')""",
    "kills": """
    SELECT seq, time, kind, message ->> 'operator' AS operator,
        CASE message ->> 'level' WHEN 0 THEN 'armed' WHEN 1 THEN 'reduce_only' WHEN 2 THEN 'cancel_all'
            WHEN 3 THEN 'flatten' END AS level,
        coalesce(message ->> 'reason', message ->> 'why') AS reason,
        message ->> 'is_up' AS is_up, message ->> 'is_in_charge' AS is_in_charge
    FROM inputs WHERE kind IN ('KillCommand', 'ArmCommand', 'GuardStatus', 'GuardState')""",
    "sessions": """
    SELECT seq, time, message ->> 'venue' AS venue, message ->> 'channel' AS channel, kind = 'VenueUp' AS is_up,
        message ->> 'why' AS why
    FROM inputs WHERE kind IN ('VenueUp', 'VenueDown')""",
    "incidents": """
    SELECT seq, time, kind, message ->> 'account' AS account, message ->> 'instrument' AS instrument,
        coalesce(message ->> 'why', message ->> 'error', message ->> 'text', message ->> 'reason') AS text, message
    FROM inputs WHERE kind IN ('CellRestarted', 'InboxHighWater', 'OutcomeUnknown', 'Liquidated', 'Deleveraged',
        'TradeBusted', 'QueryFailed', 'VenueDown')""",
}

VIEWS = _FIRST_VIEWS | _SECOND_VIEWS
"""By name the SELECT; a view may use those before it. `incidents` are inputs that are incidents by themselves: what
actors raise as Incident stays within the cell and is not logged."""


def _create(views: dict[str, str]) -> str:
    return "".join(f"CREATE VIEW {name} AS {select};\n" for name, select in views.items())


def _one_table(connection: sqlite3.Connection) -> None:
    """Put records and bridges into one table, so that a commit of both writes one page."""
    run = connection.execute
    run(
        "CREATE TABLE entries (seq INTEGER PRIMARY KEY, market INTEGER NOT NULL, crc INTEGER NOT NULL, "
        "line ANY NOT NULL) STRICT"
    )
    run("INSERT INTO entries SELECT seq, market, crc, line FROM records")
    for row in run("SELECT first, count, raw, crc, stored FROM bridges").fetchall():
        _, *rest = bridge = of_version_2(row)
        run("INSERT INTO entries VALUES (?, ?, ?, ?)", (json.loads(unpack(bridge).lines[-1])["seq"], *rest))
    run("DROP TABLE bridges")
    run("DROP TABLE records")
    run("CREATE VIEW records AS SELECT seq, market, crc, line FROM entries WHERE typeof(line) = 'text'")


STEPS: tuple[Step, ...] = (
    f"""
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    market INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    line TEXT NOT NULL
) STRICT;
{_create(_FIRST_VIEWS)}""",
    f"""
CREATE TABLE bridges (
    first INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    raw INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    stored BLOB NOT NULL
) STRICT;
CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY,
    now INTEGER NOT NULL,
    market INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    stored BLOB NOT NULL
) STRICT;
{_create(_SECOND_VIEWS)}""",
    _one_table,
)
SCHEMA_VERSION = len(STEPS)
_WITH_SNAPSHOTS = 2
_WITH_ENTRIES = 3


def has_snapshots(version: int) -> bool:
    """Whether a journal of schema `version` has bridges and snapshots."""
    return version >= _WITH_SNAPSHOTS


def has_entries(version: int) -> bool:
    """Whether a journal of schema `version` has bridges among its records, and not in a table of their own."""
    return version >= _WITH_ENTRIES
