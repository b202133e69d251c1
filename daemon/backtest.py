"""What a backtest does: play a market through venues and desk, log everything, and account for it."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import Any

from attrs import define

from daemon.app import build_cell, build_seats, markets
from daemon.build import build_id
from daemon.check import load_or_exit
from daemon.config import load
from daemon.config_schema import Recorded, RunConfig
from daemon.exits import FAILED, ExitError
from daemon.kinds import KINDS
from daemon.log import LogWriteError, RunLog
from daemon.summary import Summary, summarize
from sim.clocks import Arrival, ClockStatistics, two_clocks
from sim.driver import Driver
from sim.market import NoFramesError, RecordedMarket, Recording, RecordingReport, with_mid_marks
from sim.recording.errors import RecordingError
from sim.synthetic import SyntheticMarket


@define
class Outcome:
    """A finished run: its summary, where its log is, and what damage its recordings held."""

    summary: Summary
    folder: Path
    recordings: list[RecordingReport]
    clocks: ClockStatistics


class Backtest:
    """One configuration, to be run once or several times; every run writes a log of its own.

    Raises ConfigErrors when the configuration is not right.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    @classmethod
    def from_file(cls, path: Path | str) -> "Backtest":
        """Read a configuration file."""
        return cls(load(path, KINDS))

    def run(
        self,
        out: Path | str | None = None,
        *,
        progress: Callable[[float], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> Outcome:
        """Run to the end of the market and return what came of it; `out` gets `log/` and `summary.json`.

        `progress` is told the share done, `warn` each kind of damage in a recording. Without `out` a new folder is
        made under the configured log directory.
        Raises LogWriteError for a folder in use or a failing disk, RecordingError for an unreadable recording.
        """
        began = perf_counter()
        config = self.config
        run_id = f"{config.run.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"
        folder = Path(out) if out is not None else Path(config.log.dir) / run_id
        clocks = ClockStatistics()
        arrivals, reports, start_ns, end_ns = self._market(warn or _silent)
        seats = build_seats(config)
        log = RunLog.create(
            folder / "log", config.text, config.sha256, build_id(), start_ns, durable=config.log.durable
        )
        with log:
            cell = build_cell(config, log)
            driver = Driver(
                cell,
                {account.id: seats[account.venue] for account in config.accounts.values()},
                markets(config, seats),
                log,
                progress=_share(progress, start_ns, end_ns),
            )
            result = driver.run(two_clocks(arrivals, clocks), start_ns)
            journal_sha256 = log.close()
        summary = summarize(config, cell, result, run_id, journal_sha256, perf_counter() - began)
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        return Outcome(summary, folder, reports, clocks)

    def _market(self, warn: Callable[[str], None]) -> tuple[Iterator[Arrival], list[RecordingReport], int, int | None]:
        """Return the arrivals, the reports they fill, the first instant and, where it is known, the last."""
        config = self.config
        specs = dict(config.instruments)
        if not isinstance(config.market, Recorded):
            settings = config.market.settings(config.run)
            synthetic = iter(SyntheticMarket(settings, specs))
            return synthetic, [], settings.start_ns, settings.start_ns + settings.duration_ns
        market = RecordedMarket(
            [
                Recording(
                    config.paths[one.file],
                    tuple(specs[f"{one.venue}:{symbol}"] for symbol in one.symbols),
                    one.recorder,
                    one.min_feed_latency_ns,
                )
                for one in config.market.recordings
            ],
            warn,
        )
        arrivals = iter(market)
        start_ns = market.start_ns
        end_ns = None if config.run.duration_ns is None else start_ns + config.run.duration_ns
        if end_ns is not None:
            arrivals = _until(arrivals, end_ns)
        if config.market.mid_marks_ns is not None:
            marked = [one.id for one in specs.values() if not one.is_spot]
            arrivals = with_mid_marks(arrivals, marked, specs, config.market.mid_marks_ns)
        return arrivals, market.reports, start_ns, end_ns or market.end_ns


def main(arguments: Namespace) -> int:
    """`basisd backtest`: run, then print the account of it (or the summary as JSON); 1 when the run halted."""
    from daemon.account import Progress, print_account  # noqa: PLC0415 - not needed by notebooks

    backtest = Backtest(load_or_exit(arguments.config))
    with Progress(sys.stderr) as shown:
        try:
            outcome = backtest.run(arguments.out, progress=shown.at, warn=shown.warn)
        except (LogWriteError, RecordingError, NoFramesError) as error:
            raise ExitError(str(error), status=FAILED) from error
    if arguments.json:
        print(json.dumps(outcome.summary))
    else:
        print_account(outcome, backtest.config)
    return FAILED if outcome.summary["halt"] is not None else 0


def _until(arrivals: Iterator[Arrival], end_ns: int) -> Iterator[Arrival]:
    for arrival in arrivals:
        if arrival.local_ns > end_ns:
            return
        yield arrival


def _share(progress: Callable[[float], None] | None, start_ns: int, end_ns: int | None) -> Callable[[int], None] | None:
    if progress is None or end_ns is None or end_ns <= start_ns:
        return None
    return lambda now: progress(min(1.0, (now - start_ns) / (end_ns - start_ns)))


def _silent(_: Any) -> None:
    pass
