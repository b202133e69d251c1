"""What a backtest does: play a market through venues and desk, log everything, and account for it."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import TYPE_CHECKING, Any

from attrs import define, field

from actors.cell import Cell
from actors.dispatcher import DispatchError
from daemon.app import build_cell
from daemon.basket_account import BasketAccount, baskets_of
from daemon.build import build_id
from daemon.check import load_or_exit
from daemon.collector import rare_collections
from daemon.config import ConfigError, ConfigErrors, load
from daemon.config_schema import Live, RunConfig, Stored
from daemon.executions import DATABASE_NAME
from daemon.executions.recorder import ExecutionRecorder
from daemon.executions.rows import RowMaker
from daemon.exits import FAILED, ExitError
from daemon.kinds import KINDS
from daemon.log import LogWriteError, RunLog
from daemon.market import Market, open_market
from daemon.slippage import SlippageTotals
from daemon.stopping import RunStoppedError, StopSignals
from daemon.summary import Summary, summarize
from sim.bar_market import NoBarsError
from sim.bars import BarFileError, SeriesReport
from sim.cell_loop import DriverResult
from sim.clocks import ClockStatistics, two_clocks
from sim.driver import Driver
from sim.market import NoFramesError, RecordingReport
from sim.recording.errors import RecordingError
from sim.store.errors import StoreError
from venues.model.money import desk_arithmetic

if TYPE_CHECKING:
    from sim.stored_file import StoreReport


_UNUSABLE = (RecordingError, NoFramesError, BarFileError, NoBarsError, StoreError)

_Wrap = Callable[[Iterator[Any]], Iterator[Any]]


@define
class Outcome:
    """A finished run: its summary, its baskets, where its log is, what its recordings and its stores held."""

    summary: Summary
    baskets: list[BasketAccount]
    folder: Path
    recordings: list[RecordingReport]
    clocks: ClockStatistics
    stores: "list[StoreReport]" = field(factory=list)


class Backtest:
    """One configuration, to be run once or several times; every run writes a log of its own.

    Raises ConfigErrors when the configuration is not right.
    """

    def __init__(self, config: RunConfig) -> None:
        if isinstance(config.market, Live):
            raise ConfigErrors((ConfigError("market.kind", "a live market is played by basisd run and paper only"),))
        self.config = config

    @classmethod
    def from_file(cls, path: Path | str) -> "Backtest":
        """Read a configuration file."""
        return cls(load(path, KINDS))

    @desk_arithmetic()
    def run(
        self,
        out: Path | str | None = None,
        *,
        progress: Callable[[float], None] | None = None,
        warn: Callable[[str], None] | None = None,
        until: _Wrap | None = None,
    ) -> Outcome:
        """Run to the end of the market and return what came of it; `out` gets `log/`, `summary.json` and
        `executions.sqlite`.

        `progress` is told the share done, `warn` each kind of damage in a recording. Without `out` a new folder is
        made under the configured log directory. `until` gets what is played (ticks, or blocks of rows) and may end the
        run early by raising RunStoppedError.
        Raises LogWriteError for a folder in use or a failing disk, RecordingError for an unreadable recording,
        BarFileError or NoBarsError for bars that cannot be used, StoreError for a store, RunStoppedError when the run
        was stopped: its log then holds everything up to there.
        """
        began = perf_counter()
        config = self.config
        run_id = f"{config.run.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"
        folder = Path(out) if out is not None else Path(config.log.dir) / run_id
        clocks = ClockStatistics()
        market = open_market(config, warn or _silent)
        start_ns = market.start_ns
        slippage = SlippageTotals()
        log = RunLog.create(
            folder / "log", config.text, config.sha256, build_id(), start_ns, durable=config.log.durable
        )
        with log:
            cell = build_cell(config, log)
            executions = ExecutionRecorder(folder / DATABASE_NAME, RowMaker.of(config), cell, log, warn or _silent)
            play = self._by_rows if market.blocks is not None else self._by_messages
            run = play(market, cell, log, _share(progress, start_ns, market.end_ns), slippage, clocks)
            try:
                result = run(until or iter)
            except RunStoppedError as error:
                log.sync()
                executions.close()
                raise RunStoppedError(str(log.folder)) from error
            journal_sha256 = log.close()
            executions.close()
        summary = summarize(config, cell, result, run_id, journal_sha256, perf_counter() - began)
        summary["recordings"] = [_recording(report) for report in market.reports]
        summary["series"] = [_series(report) for report in market.series]
        summary["slippage"] = slippage.by_instrument()
        summary["stores"] = [_store(report) for report in market.stores]
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        return Outcome(summary, baskets_of(cell), folder, market.reports, clocks, market.stores)

    def _by_messages(
        self,
        market: Market,
        cell: Cell,
        log: RunLog,
        progress: Callable[[int], None] | None,
        slippage: SlippageTotals,
        clocks: ClockStatistics,
    ) -> Callable[[_Wrap], DriverResult]:
        # The desk imports this module, and its venues are in another process.
        from daemon.seats import build_seats, markets  # noqa: PLC0415 - imports numba

        config = self.config
        seats = build_seats(config, on_slippage=slippage.add)
        accounts = {account.id: seats[account.venue] for account in config.accounts.values()}
        driver = Driver(cell, accounts, markets(config, seats), log, progress=progress)
        ticks = two_clocks(market.arrivals, clocks)
        return lambda until: driver.run(until(ticks), market.start_ns)

    def _by_rows(
        self, market: Market, cell: Cell, log: RunLog, progress: Callable[[int], None] | None, *_: object
    ) -> Callable[[_Wrap], DriverResult]:
        from daemon.seats import build_core, build_seats  # noqa: PLC0415 - imports numba
        from sim.block_driver import BlockDriver  # noqa: PLC0415 - likewise

        config, stored, blocks = self.config, self.config.market, market.blocks
        assert isinstance(stored, Stored)
        assert blocks is not None
        core = build_core(config)
        seats = build_seats(config, core)
        driver = BlockDriver(
            cell,
            core,
            {account.id: seats[account.venue] for account in config.accounts.values()},
            {one.id: seats[one.venue] for one in config.instruments.values()},
            log,
            stored.sample_ns,
            stored.depth,
            stored.trades,
            progress=progress,
        )
        return lambda until: driver.run(until(blocks), market.start_ns)


def main(arguments: Namespace) -> int:
    """`basisd backtest`: run, then print the account of it (or the summary as JSON); 1 when the run halted."""
    from daemon.account import print_account  # noqa: PLC0415 - not needed by notebooks
    from daemon.progress import Progress  # noqa: PLC0415 - nor this

    # What a strategy of the user's prints is no part of the JSON.
    printed = redirect_stdout(sys.stderr) if arguments.json else nullcontext()
    with printed, StopSignals() as stop, Progress(sys.stderr, "playing the market") as shown:
        try:
            backtest = Backtest(load_or_exit(arguments.config))
        except ConfigErrors as error:
            raise ExitError(f"{arguments.config}: {error}") from None
        try:
            with rare_collections():
                outcome = backtest.run(arguments.out, progress=shown.at, warn=shown.warn, until=stop.until_asked)
        except RunStoppedError as error:
            raise stop.exit(f"the log holds the run up to there: {error}") from error
        except (*_UNUSABLE, LogWriteError, DispatchError) as error:
            raise ExitError(str(error), status=FAILED) from error
    summary = outcome.summary
    for why in summary["quarantined"]:
        print(f"basisd: set aside: {why}", file=sys.stderr)
    if summary["halt"] is not None:
        print(f"basisd: halted: {summary['halt']}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(summary))
    else:
        print_account(outcome, backtest.config)
    return FAILED if summary["halt"] is not None else 0


def _recording(report: RecordingReport) -> dict[str, object]:
    return {
        "file": Path(report.path).name,
        "frames": report.frames,
        "used": report.decoded,
        "ignored": report.ignored,
        "bad_frames": report.bad_frames,
        "bad_lines": report.bad_lines,
        "clock_skew_ns": report.skew_ns,
        "clock_drift_ns": report.drift_ns,
    }


def _series(report: SeriesReport) -> dict[str, object]:
    return {
        "instrument": report.instrument,
        "rows": report.rows,
        "bars": report.bars,
        "quotes": report.quotes,
        "bad_quotes": report.bad_quotes,
        "without_volume": report.without_volume,
        "gaps_ns": [list(span) for span in report.gaps],
    }


def _store(report: "StoreReport") -> dict[str, object]:
    return {
        "file": Path(report.path).name,
        "instruments": list(report.instruments),
        "rows": report.rows,
        "late": report.late,
        "bad": report.bad,
        "gaps_ns": [[gap.instrument, gap.from_ns, gap.to_ns] for gap in report.gaps],
    }


def _share(progress: Callable[[float], None] | None, start_ns: int, end_ns: int | None) -> Callable[[int], None] | None:
    if progress is None or end_ns is None or end_ns <= start_ns:
        return None
    return lambda now: progress(min(1.0, (now - start_ns) / (end_ns - start_ns)))


def _silent(_: Any) -> None:
    pass
