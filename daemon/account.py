"""How a finished run is told to a person: what was traded, what it cost, what was earned, where the log is."""

import sqlite3
from collections.abc import Iterator, Sequence, Set
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from shutil import get_terminal_size

from daemon.backtest import Outcome
from daemon.basket_account import BasketAccount
from daemon.config_schema import Bars, Live, Recorded, RunConfig, Stored
from daemon.log.journal_schema import JOURNAL_NAME
from daemon.summary import Summary, short
from sim.market import RecordingReport

_TRADES_SHOWN = 24
_BASKETS_SHOWN = 12
_NS = 1_000_000_000
_WIDTH = 120
_SHOWN = Decimal("0.0001")
_SMALL, _LARGE = Decimal(1), Decimal(10) ** 15


def print_account(outcome: Outcome, config: RunConfig) -> None:
    """Print the account of a run to standard output, no line wider than the terminal where that is possible."""
    for line in account(outcome, config, get_terminal_size((_WIDTH, 0)).columns):
        print(line)


def account(outcome: Outcome, config: RunConfig, width: int) -> Iterator[str]:
    """Yield the lines of the account. Money is rounded here; `summary.json` holds it exactly."""
    summary = outcome.summary
    kinds = {Recorded: "recorded market", Bars: "market of bars", Stored: "market of stores", Live: "live market"}
    kind = kinds.get(type(config.market), f"synthetic market, seed {config.run.seed}")
    yield f"{summary['run_id']}: {kind}, {summary['market_events']} market events"
    for report in outcome.recordings:
        yield from _recording(report)
    for store in outcome.stores:
        yield f"store        {store.path}"
        gaps, late = len(store.gaps) or "no", store.late or "no"
        yield f"             {store.rows} rows, {gaps} gaps, {late} late messages"
    yield ""
    yield from _trades(outcome, width)
    yield ""
    yield from _baskets(outcome)
    yield ""
    yield from _money(summary)
    yield ""
    yield f"still held   {', '.join(f'{key} {qty}' for key, qty in summary['positions'].items()) or 'nothing'}"
    yield f"kill switch  {summary['kill_level']}"
    for why in summary["quarantined"]:
        yield f"set aside    {why}"
    if summary["halt"] is not None:
        yield f"halted       {summary['halt']}"
    yield f"journal      {summary['journal_sha256']}"
    yield f"log          {outcome.folder / 'log'}"
    yield f"check it     basisd replay {outcome.folder / 'log'} --check"


def _recording(report: RecordingReport) -> Iterator[str]:
    yield f"recording    {report.path}"
    yield f"             {report.decoded} of {report.frames} frames used"
    drift = "" if report.drift_ns is None else f" (drift {report.drift_ns / _NS:+.6f} s)"
    yield f"             recorder's clock {report.skew_ns / _NS:.6f} s behind the venue's, corrected{drift}"
    for what, counts in (
        ("bad lines", report.bad_lines),
        ("bad frames", report.bad_frames),
        ("not for us", report.ignored),
    ):
        if counts:
            yield f"             {what}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}"
    if report.odd_lots:
        yield f"             {report.odd_lots} displayed quantities rounded down to whole lots"


def _trades(outcome: Outcome, width: int) -> Iterator[str]:
    journal = outcome.folder / "log" / JOURNAL_NAME
    fills = list(_fills(journal))
    shown = fills[:_TRADES_SHOWN]
    days = {time.partition("T")[0] for time, *_ in fills}
    when = f" on {days.pop()}, UTC" if len(days) == 1 else ""
    yield f"Trades ({len(fills)}{f', the first {_TRADES_SHOWN}' if len(fills) > len(shown) else ''}){when}"
    if not fills:
        yield "  none"
        return
    first = 11 if when else 0
    rows = [("time" if when else "time UTC", "instrument", "side", "quantity", "price", "fee", "why")]
    for time, instrument, side, qty, price, fee, asset, liquidity, reason in shown:
        why = liquidity if reason == liquidity else f"{liquidity}, {reason}"
        rows.append(
            (
                time[first:23].replace("T", " "),
                instrument,
                side,
                qty,
                price,
                f"{_money_text(Decimal(fee))} {asset}",
                why,
            )
        )
    yield from _columns(rows, width, right={3, 4, 5})
    if len(fills) > len(shown):
        yield f"  all of them: sqlite3 {journal} 'select * from fills'"


def _columns(rows: Sequence[Sequence[str]], width: int, right: Set[int]) -> Iterator[str]:
    """Yield the rows as columns, closer together when the terminal is narrow; nothing is ever cut off."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * len(widths) <= width else " "
    for row in rows:
        cells = (
            text.rjust(size) if at in right else text.ljust(size)
            for at, (text, size) in enumerate(zip(row, widths, strict=True))
        )
        yield (gap + gap.join(cells)).rstrip()


def _fills(path: Path) -> Iterator[tuple[str, ...]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as journal:
        yield from journal.execute(
            "SELECT time, instrument, side, qty, price, fee, fee_asset, liquidity, reason FROM fills ORDER BY seq"
        )


def _baskets(outcome: Outcome) -> Iterator[str]:
    summary = outcome.summary
    yield "Baskets (one that closes another counts as well)"
    yield f"  {', '.join(f'{count} {what}' for what, count in summary['baskets'].items())}"
    for basket in outcome.baskets[:_BASKETS_SHOWN]:
        yield from _basket(basket)
    if len(outcome.baskets) > _BASKETS_SHOWN:
        yield f"  ... and {len(outcome.baskets) - _BASKETS_SHOWN} more"
    unhedged, seconds = summary["max_unhedged_notional"], summary["max_unhedged_seconds"]
    yield f"  unhedged at most {unhedged} in quote money, and at most for {seconds} s"


def _basket(basket: BasketAccount) -> Iterator[str]:
    opened, closed = _clock(basket.opened_ns), "" if basket.closed_ns is None else _clock(basket.closed_ns)
    if closed[:10] == opened[:10]:
        closed = closed[11:]
    is_closed = basket.result is not None and closed
    why = f" ({basket.why})" if basket.why and not is_closed else ""
    yield f"  {basket.id}  {'closed' if is_closed else basket.state}  {opened}{f' to {closed}' if closed else ''}{why}"
    for leg in basket.legs:
        if leg.opened_at is not None:
            back = "" if leg.closed_at is None else f" -> {_price_text(leg.closed_at)}"
            yield f"    {leg.instrument}  {leg.qty:+f} at {_price_text(leg.opened_at)}{back}"
    fees = ", ".join(f"{_money_text(fee)} {asset}" for asset, fee in sorted(basket.fees.items())) or "0"
    result = "" if basket.result is None else f", result before funding {_money_text(basket.result, sign='+')}"
    yield f"    slippage {_money_text(basket.slippage)}, fees {fees}{result}"


def _money(summary: Summary) -> Iterator[str]:
    yield "Profit and loss"
    rows = [
        (label, _money_text(sign * Decimal(summary[key]), sign="+"))
        for label, key, sign in (
            ("realised", "realized_pnl", 1),
            ("fees", "fees", -1),
            ("funding", "funding", 1),
            ("net", "net_pnl", 1),
            ("unrealised beside it", "unrealized_pnl", 1),
        )
    ]
    yield from _columns(rows, _WIDTH, right={1})
    for asset, amount in summary["other_assets"].items():
        yield f"  and {amount} {asset}"


def _money_text(amount: Decimal, sign: str = "-") -> str:
    rounded = amount.quantize(_SHOWN) if abs(amount) < _LARGE else amount
    return f"{rounded if rounded else abs(rounded):{sign},f}"


def _price_text(price: Decimal) -> str:
    return short(price.quantize(_SHOWN) if _SMALL < price < _LARGE else price)


def _clock(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // _NS, UTC):%Y-%m-%d %H:%M:%S}"
