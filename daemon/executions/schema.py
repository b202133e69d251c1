"""The tables of the executions' database, and the views for people.

A projection of the log: it can be made anew from it at any time. Money, prices and quantities are exact texts, what
statistics are made of is REAL, times are ns UTC; NULL is what is not known, or has not happened. `number` is that of
the record (see actors/tracker_records.py): a row is only ever replaced by one with a higher number. `gaps` are ranges
of numbers that could not be written.
"""

from daemon.log.journal_schema import TIME
from daemon.log.schema import Step

APPLICATION_ID = 0x62617865  # "baxe"

_WHOSE = """
    strategy TEXT NOT NULL,
    account TEXT NOT NULL,
    venue TEXT NOT NULL,
    symbol TEXT NOT NULL,
    instrument TEXT NOT NULL,
    position_side TEXT NOT NULL,
    side TEXT NOT NULL,"""

_COSTS = """
    qty TEXT NOT NULL,
    filled TEXT NOT NULL,
    reduced TEXT NOT NULL,
    maker_qty TEXT NOT NULL,
    fills INTEGER NOT NULL,
    avg_price TEXT,
    fees TEXT NOT NULL,
    decision_mid TEXT,
    arrival_bid TEXT,
    arrival_ask TEXT,
    end_mid TEXT,
    requested_quote REAL,
    filled_quote REAL,
    slippage_bps REAL,
    delay TEXT,
    spread TEXT,
    impact TEXT,
    opportunity TEXT,
    unwind TEXT,
    fee_quote TEXT,
    total TEXT,
    total_bps REAL"""

TABLES = {
    "fills": f"""
    key TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,{_WHOSE}
    basket_id TEXT NOT NULL,
    child_id TEXT NOT NULL,
    client_order_id TEXT NOT NULL,
    trade_id TEXT NOT NULL,
    price TEXT NOT NULL,
    qty TEXT NOT NULL,
    fee TEXT NOT NULL,
    fee_asset TEXT NOT NULL,
    liquidity TEXT NOT NULL,
    reason TEXT NOT NULL,
    mid TEXT,
    busted_ns INTEGER,
    bust_why TEXT NOT NULL""",
    "children": f"""
    child_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    parent_id TEXT NOT NULL,
    basket_id TEXT NOT NULL,{_WHOSE}
    client_order_id TEXT NOT NULL,
    type TEXT NOT NULL,
    tif TEXT NOT NULL,
    price TEXT,
    reduce_only INTEGER NOT NULL,
    is_hedge INTEGER NOT NULL,
    status TEXT NOT NULL,
    reject_reason TEXT,
    why TEXT NOT NULL,
    decided_ns INTEGER NOT NULL,
    requested_ns INTEGER NOT NULL,
    sent_ns INTEGER,
    acked_ns INTEGER,
    first_fill_ns INTEGER,
    last_fill_ns INTEGER,
    ended_ns INTEGER NOT NULL,{_COSTS}""",
    "parents": f"""
    parent_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,{_WHOSE}
    mode TEXT NOT NULL,
    mode_used TEXT,
    rung TEXT,
    state TEXT NOT NULL,
    reason TEXT,
    why TEXT NOT NULL,
    decided_ns INTEGER NOT NULL,
    arrival_ns INTEGER,
    last_fill_ns INTEGER,
    ended_ns INTEGER NOT NULL,
    orders INTEGER NOT NULL,
    qty TEXT NOT NULL,
    filled TEXT NOT NULL,
    busted_qty TEXT NOT NULL,
    avg_price TEXT,
    fees TEXT NOT NULL,
    decision_mid TEXT,
    arrival_bid TEXT,
    arrival_ask TEXT,
    end_mid TEXT,
    expected_bps REAL,
    slippage_bps REAL,
    twap_bps REAL,
    vwap_bps REAL,
    quality TEXT,
    alert TEXT,
    delay TEXT,
    spread TEXT,
    impact TEXT,
    opportunity TEXT,
    fee_quote TEXT,
    total TEXT,
    total_bps REAL""",
    "baskets": """
    basket_id TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    strategy TEXT NOT NULL,
    closes TEXT,
    state TEXT NOT NULL,
    why TEXT NOT NULL,
    decided_ns INTEGER NOT NULL,
    placed_ns INTEGER,
    ended_ns INTEGER NOT NULL,
    closed_ns INTEGER,
    orders INTEGER NOT NULL,
    unhedged_quote_s REAL NOT NULL,
    unhedged_max TEXT NOT NULL,
    delay TEXT,
    spread TEXT,
    impact TEXT,
    opportunity TEXT,
    unwind TEXT,
    fee_quote TEXT,
    total TEXT,
    slippage TEXT,
    legging TEXT,
    rollback TEXT,
    realised TEXT,
    marked TEXT""",
    "legs": f"""
    basket_id TEXT NOT NULL,
    leg INTEGER NOT NULL,
    number INTEGER NOT NULL,{_WHOSE}
    first_fill_ns INTEGER,
    last_fill_ns INTEGER,{_COSTS},
    PRIMARY KEY (basket_id, leg)""",
}
"""The columns of each table. `price` of a child is its limit, the costs are those of `venues.costs.transaction_costs`,
`fee_quote` all fees in quote money. A parent's are as its executor reported them, its `slippage_bps` is against the mid
at arrival. A basket's `slippage` to `marked` are the executor's own account of it."""

EXACT = frozenset({"price", "qty", "filled", "reduced", "maker_qty", "busted_qty", "fee"})
"""Columns of numbers that are never rounded."""

_COMPUTED = (
    "avg_price mid decision_mid arrival_bid arrival_ask end_mid unhedged_max delay spread impact opportunity unwind "
    "fee_quote total slippage legging rollback realised marked"
)

KEYS = {
    "fills": ("key",),
    "children": ("child_id",),
    "parents": ("parent_id",),
    "baskets": ("basket_id",),
    "legs": ("basket_id", "leg"),
}


def typed(table: str) -> dict[str, str]:
    """Return the columns of a table in their order, each `decimal`, `time` (ns UTC), TEXT, INTEGER or REAL."""
    kinds = {}
    for line in TABLES[table].split(",\n"):
        name, kind, *_ = line.split()
        if name == "PRIMARY":
            continue
        if name in EXACT or name in _COMPUTED.split():
            kind = "decimal"
        elif name == "ts" or name.endswith("_ns"):
            kind = "time"
        kinds[name] = kind
    return kinds


SUMMARY_KEYS = {
    "strategy": "strategy",
    "venue": "venue",
    "symbol": "symbol",
    "hour": "strftime('%Y-%m-%dT%H:00Z', ended_ns / 1000000000, 'unixepoch')",
}
"""By what child orders are summed up, and where that is read."""

_SUMMED = ("delay", "spread", "impact", "opportunity", "unwind", "fee_quote", "total")


def _percentile(share: int, column: str) -> str:
    """Return the nearest-rank percentile among the ranked rows of a group: always a value that occurred."""
    return f"max(CASE WHEN place = ({share} * size + 99) / 100 THEN {column} END)"


def summary(by: str, source: str = "children") -> str:
    """Return the SELECT that sums up the child orders in `source` by one of SUMMARY_KEYS.

    success_rate is the share of orders filled in full, denied and rejected ones included; fill_rate the value filled of
    the value asked for, at the touch; slippage is against the touch when sent, adverse positive, of orders that traded;
    latency from sending to the first fill. Percentiles are nearest-rank. Money is quote money.
    """
    ranked = "row_number() OVER (PARTITION BY {0} ORDER BY {1}) AS place, count(*) OVER (PARTITION BY {0}) AS size"
    costs = ",\n        ".join(f"sum(CAST({name} AS REAL)) AS {name}" for name in _SUMMED)
    return f"""
    WITH picked AS (SELECT {SUMMARY_KEYS[by]} AS {by}_, first_fill_ns - sent_ns AS latency_ns, * FROM {source}),
    slips AS (
        SELECT {by}_, avg(slippage_bps) AS mean, {_percentile(50, "slippage_bps")} AS p50,
            {_percentile(95, "slippage_bps")} AS p95
        FROM (SELECT {by}_, slippage_bps, {ranked.format(f"{by}_", "slippage_bps")} FROM picked
            WHERE slippage_bps IS NOT NULL) GROUP BY {by}_
    ),
    waits AS (
        SELECT {by}_, avg(latency_ns) AS mean, {_percentile(50, "latency_ns")} AS p50,
            {_percentile(95, "latency_ns")} AS p95
        FROM (SELECT {by}_, latency_ns, {ranked.format(f"{by}_", "latency_ns")} FROM picked
            WHERE latency_ns IS NOT NULL) GROUP BY {by}_
    )
    SELECT picked.{by}_ AS {by}, count(*) AS orders, sum(status = 'filled') AS filled,
        avg(status = 'filled') AS success_rate,
        sum(filled_quote) / nullif(sum(requested_quote), 0) AS fill_rate,
        sum(fills) AS fills, sum(filled_quote) AS filled_quote,
        slips.mean AS slippage_mean_bps, slips.p50 AS slippage_p50_bps, slips.p95 AS slippage_p95_bps,
        waits.mean / 1e6 AS latency_mean_ms, waits.p50 / 1e6 AS latency_p50_ms, waits.p95 / 1e6 AS latency_p95_ms,
        {costs}
    FROM picked LEFT JOIN slips USING ({by}_) LEFT JOIN waits USING ({by}_)
    GROUP BY picked.{by}_ ORDER BY picked.{by}_"""


_BASKET_SUMMARY = """
    SELECT strategy, count(*) AS baskets, sum(state = 'balanced' OR (state = 'flat' AND closes IS NOT NULL)) AS done,
        avg(state = 'balanced' OR (state = 'flat' AND closes IS NOT NULL)) AS success_rate,
        sum(state = 'flat' AND closes IS NULL) AS unwound, sum(state = 'broken') AS broken,
        avg(ended_ns - placed_ns) / 1e6 AS mean_ms, sum(unhedged_quote_s) AS unhedged_quote_s,
        sum(CAST(total AS REAL)) AS total, sum(CAST(fee_quote AS REAL)) AS fee_quote
    FROM baskets GROUP BY strategy ORDER BY strategy"""

VIEWS = {
    **{f"by_{by}": summary(by) for by in SUMMARY_KEYS},
    "by_basket": _BASKET_SUMMARY,
    "timeline": f"""
    SELECT {TIME.format("ts")} AS time, 'fill' AS what, instrument, side, qty, price, strategy, basket_id FROM fills
    WHERE busted_ns IS NULL
    UNION ALL
    SELECT {TIME.format("ended_ns")}, 'order ' || status, instrument, side, filled, avg_price, strategy, basket_id
    FROM children
    UNION ALL
    SELECT {TIME.format("ended_ns")}, 'basket ' || state, '', '', '', total, strategy, basket_id FROM baskets
    ORDER BY 1""",
}


def _create() -> str:
    tables = "".join(f"CREATE TABLE {name} ({columns}\n) STRICT;\n" for name, columns in TABLES.items())
    views = "".join(f"CREATE VIEW {name} AS {select};\n" for name, select in VIEWS.items())
    return f"""{tables}
CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL) STRICT;
INSERT INTO progress VALUES (1, 0);
CREATE TABLE gaps (low INTEGER NOT NULL, high INTEGER NOT NULL, why TEXT NOT NULL) STRICT;
CREATE INDEX children_ended ON children (ended_ns);
CREATE INDEX fills_ts ON fills (ts);
{views}"""


STEPS: tuple[Step, ...] = (_create(),)
