"""What `basisd import` reads: each source as rows, with the instruments they are of and a report on what they held."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

from attrs import define, field, frozen

from daemon.check import load_or_exit
from daemon.config_schema import Recorded
from daemon.exits import ExitError
from daemon.market import open_market
from sim.clocks import Arrival
from sim.importers.bybit import bybit_arrivals
from sim.importers.databento import databento_rows, definition, schema_of
from sim.importers.hftbacktest import has_orders, hftbacktest_rows
from sim.market import RecordedMarket, Recording, RecordingReport
from sim.row_builder import BuildReport, RowBuilder
from sim.rows import Rows
from venues.model.instrument import Instrument, InstrumentKind

Progress = Callable[[float], None]
Warn = Callable[[str], None]


@define
class Source:
    """Rows to be taken once. `report` and `recordings` are filled while they are."""

    description: str
    instruments: tuple[Instrument, ...]
    blocks: Iterator[Rows]
    report: BuildReport
    has_orders: bool = False
    recordings: list[RecordingReport] = field(factory=list)


def open_source(arguments: Namespace, progress: Progress, warn: Warn) -> Source:
    """Return the source that the command line names. Raises ExitError, RecordingError, NoFramesError."""
    return _OPEN[arguments.source](arguments, progress, warn)


def _recording(arguments: Namespace, progress: Progress, warn: Warn) -> Source:
    files = [Path(one) for one in arguments.files]
    if any(file.suffix == ".toml" for file in files):
        if len(files) > 1:
            raise ExitError("recording: name one configuration, or files of frames")
        return _configured(files[0], progress, warn)
    spec = _instrument(arguments)
    market = RecordedMarket([Recording(file, (spec,)) for file in files], warn)
    described = f"recording {', '.join(file.name for file in files)}"
    return _built(described, (spec,), _Timeline(iter(market), market.start_ns, market.end_ns), market.reports, progress)


def _configured(path: Path, progress: Progress, warn: Warn) -> Source:
    config = load_or_exit(str(path))
    if not isinstance(config.market, Recorded):
        raise ExitError(f"{path}: market.kind: its market is not recorded: there is nothing to import")
    market = open_market(config, warn)
    end_ns = market.start_ns if market.end_ns is None else market.end_ns
    described = f"recordings of {path.name}: {', '.join(one.file for one in config.market.recordings)}"
    specs = tuple(config.instruments.values())
    return _built(described, specs, _Timeline(market.arrivals, market.start_ns, end_ns), market.reports, progress)


def _hftbacktest(arguments: Namespace, progress: Progress, warn: Warn) -> Source:
    spec, path, report = _instrument(arguments), _one_file(arguments), BuildReport()
    blocks = hftbacktest_rows(path, spec, report, progress)
    return Source(f"hftbacktest {path.name}", (spec,), blocks, report, has_orders(path))


def _databento(arguments: Namespace, progress: Progress, warn: Warn) -> Source:
    path, report = _one_file(arguments), BuildReport()
    schema, symbols = schema_of(path)
    number = arguments.instrument_id
    if number is None and len(symbols) == 1:
        (number,) = symbols
    if number is None:
        there = ", ".join(f"{number} {symbol}" for number, symbol in symbols.items()) or "no mapping"
        raise ExitError(f"{path}: {there}: choose one with --instrument-id")
    if arguments.definition is None:
        spec = _instrument(arguments)
    else:
        venue, _, symbol = (arguments.instrument or "cme").partition(":")
        spec, _ = definition(Path(arguments.definition), number, symbol or None, venue)
    blocks = databento_rows(path, spec, number, report, progress)
    return Source(f"databento {schema} {path.name}", (spec,), blocks, report, schema == "mbo")


def _bybit(arguments: Namespace, progress: Progress, warn: Warn) -> Source:
    spec, path = _instrument(arguments), _one_file(arguments)
    latency_ns = round(_decimal("--feed-latency-ms", arguments.feed_latency_ms) * 1_000_000)
    builder = RowBuilder((spec,))
    arrivals = bybit_arrivals(path, spec, latency_ns, builder.report, progress)
    return Source(f"bybit {path.name}", (spec,), builder.blocks(arrivals), builder.report)


_OPEN: dict[str, Callable[[Namespace, Progress, Warn], Source]] = {
    "recording": _recording,
    "hftbacktest": _hftbacktest,
    "databento": _databento,
    "bybit": _bybit,
}


@frozen
class _Timeline:
    arrivals: Iterator[Arrival]
    start_ns: int
    end_ns: int

    def told(self, progress: Progress) -> Iterator[Arrival]:
        """Yield the arrivals and tell the share of the time that is past."""
        length = max(1, self.end_ns - self.start_ns)
        for number, arrival in enumerate(self.arrivals):
            if number % 1024 == 0:
                progress((arrival.local_ns - self.start_ns) / length)
            yield arrival


def _built(
    described: str,
    instruments: tuple[Instrument, ...],
    timeline: _Timeline,
    recordings: list[RecordingReport],
    progress: Progress,
) -> Source:
    builder = RowBuilder(instruments)
    blocks = builder.blocks(timeline.told(progress))
    return Source(described, instruments, blocks, builder.report, recordings=recordings)


def _one_file(arguments: Namespace) -> Path:
    if len(arguments.files) != 1:
        raise ExitError(f"{arguments.source}: one file at a time")
    return Path(arguments.files[0])


def _instrument(arguments: Namespace) -> Instrument:
    """Return the instrument of a configuration, or the one that the flags describe."""
    name = arguments.instrument
    if name is None or ":" not in name:
        raise ExitError("--instrument VENUE:SYMBOL is needed")
    if arguments.config is not None:
        config = load_or_exit(arguments.config)
        if name not in config.instruments:
            raise ExitError(f"{arguments.config}: no instrument {name}; there are {', '.join(config.instruments)}")
        return config.instruments[name]
    missing = [f"--{flag}" for flag in ("tick", "lot", "base", "quote") if getattr(arguments, flag) is None]
    if missing:
        raise ExitError(f"{', '.join(missing)} or --config needed: what is {name}?")
    venue, _, symbol = name.partition(":")
    try:
        return Instrument(
            venue,
            symbol,
            InstrumentKind(arguments.kind),
            arguments.base,
            arguments.quote,
            _decimal("--tick", arguments.tick),
            _decimal("--lot", arguments.lot),
            multiplier=_decimal("--multiplier", arguments.multiplier),
        )
    except ValueError as error:
        raise ExitError(f"{name}: {error}") from error


def _decimal(flag: str, text: str) -> Decimal:
    """Return what a flag says. Raises ExitError for anything but a positive number."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ExitError(f"{flag}: {text!r} is no number") from None
    if not value.is_finite() or value <= 0:
        raise ExitError(f"{flag}: must be positive, got {text}")
    return value
