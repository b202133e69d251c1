"""How a finished run is told to a person: what was traded, what it cost, what was earned, where the log is."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from daemon.backtest import Outcome
from daemon.config_schema import Recorded, RunConfig
from daemon.log.journal import JOURNAL_NAME
from sim.market import RecordingReport

_TRADES_SHOWN = 24
_NS = 1_000_000_000
_WIDTH = 120


class Progress:
    """A bar on a terminal, nothing elsewhere; warnings always."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False)
        self._bar = Bar(
            TextColumn("playing the market"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0)

    def at(self, share: float) -> None:
        self._bar.update(self._task, completed=share)

    def warn(self, text: str) -> None:
        self._console.print(f"basisd: {text}", markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def print_account(outcome: Outcome, config: RunConfig) -> None:
    """Print the account of a run to standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    summary = outcome.summary
    kind = "recorded" if isinstance(config.market, Recorded) else f"synthetic, seed {config.run.seed}"
    console.print(f"[bold]{summary['run_id']}[/]  {kind} market, {summary['market_events']} market events")
    for report in outcome.recordings:
        _print_recording(console, report)
    console.print(_trades(outcome))
    console.print(_baskets(outcome))
    console.print(_money(outcome))
    held = ", ".join(f"{key} {qty}" for key, qty in summary["positions"].items()) or "nothing"
    console.print(f"still held   {held}")
    console.print(f"kill switch  {summary['kill_level']}")
    if summary["halt"] is not None:
        console.print(f"[bold red]halted[/]       {summary['halt']}")
    console.print(f"journal      {summary['journal_sha256']}")
    console.print(f"log          {outcome.folder / 'log'}", soft_wrap=True)
    console.print(f"check it     basisd replay {outcome.folder / 'log'} --check", soft_wrap=True)


def _print_recording(console: Console, report: RecordingReport) -> None:
    skew = f"recorder's clock {report.skew_ns / _NS:.6f} s behind the venue's, corrected"
    drift = "" if report.drift_ns is None else f" (drift {report.drift_ns / _NS:+.6f} s)"
    console.print(f"recording    {report.path}: {report.decoded} of {report.frames} frames used", soft_wrap=True)
    console.print(f"             {skew}{drift}")
    for what, counts in (
        ("bad lines", report.bad_lines),
        ("bad frames", report.bad_frames),
        ("not for us", report.ignored),
    ):
        if counts:
            console.print(f"             {what}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}")
    if report.odd_lots:
        console.print(f"             {report.odd_lots} displayed quantities rounded down to whole lots")


def _trades(outcome: Outcome) -> Table:
    fills = list(_fills(outcome))
    title = f"Trades ({len(fills)})"
    if len(fills) > _TRADES_SHOWN:
        journal = outcome.folder / "log" / JOURNAL_NAME
        title += f", the first {_TRADES_SHOWN}; all of them: sqlite3 {journal} 'select * from fills'"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("time UTC", "instrument", "side"):
        table.add_column(name)
    for name in ("quantity", "price", "fee"):
        table.add_column(name, justify="right")
    table.add_column("why")
    for row in fills[:_TRADES_SHOWN]:
        table.add_row(*row)
    return table


def _fills(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    path = outcome.folder / "log" / JOURNAL_NAME
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        rows = journal.execute(
            "SELECT time, instrument, side, qty, price, fee || ' ' || fee_asset, liquidity || ', ' || reason FROM fills"
        )
        for time, *rest in rows:
            yield (time[11:23], *rest)


def _baskets(outcome: Outcome) -> Table:
    summary = outcome.summary
    table = Table(title="Baskets", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_row("baskets", ", ".join(f"{count} {name}" for name, count in summary["baskets"].items()))
    table.add_row(
        "unhedged at most", f"{summary['max_unhedged_notional']} quote for {summary['max_unhedged_seconds']} s"
    )
    return table


def _money(outcome: Outcome) -> Table:
    summary = outcome.summary
    table = Table(title="Profit and loss", title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for label, key, sign in (
        ("realised", "realized_pnl", 1),
        ("fees", "fees", -1),
        ("funding", "funding", 1),
        ("net", "net_pnl", 1),
        ("unrealised beside it", "unrealized_pnl", 1),
    ):
        table.add_row(label, f"{sign * Decimal(summary[key]):+,.8f}")
    return table
