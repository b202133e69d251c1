"""What a run's configuration holds, once it is known to be right."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar
from zoneinfo import available_timezones

import attrs
from attrs import Attribute, field, frozen

from actors.config_checks import positive
from daemon.config_account import AccountConfig, is_id
from daemon.config_endpoints import Endpoints
from daemon.config_simulation import Simulation
from daemon.config_structure import did_you_mean
from sim.clocks import LOOKAHEAD_NS
from sim.parametric_config import ParametricConfig
from sim.queue_models import QueueModelError, make_queue_model
from sim.synthetic import SyntheticInstrument, SyntheticSettings
from sim.venue_rules import RULES
from venues.model.instrument import Instrument
from venues.model.money import ONE

_T = TypeVar("_T")

_SIGNED = {"signed": True}
_DEPTH_MAX = 1_000


def _is_fraction(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    if abs(value) >= ONE:
        raise ValueError(f"is a fraction of the value traded (0.0005 is 5 basis points), got {value}")


def _is_filled(_: object, attribute: "Attribute[tuple[Any, ...]]", value: tuple[Any, ...]) -> None:
    if not value:
        raise ValueError("must hold at least one")


def _is_rule_set(_: object, attribute: "Attribute[str]", value: str) -> None:
    if value not in RULES:
        raise ValueError(f"{value!r} is not one of {', '.join(RULES)}{did_you_mean(value, list(RULES))}")


def _is_queue_model(_: object, attribute: "Attribute[str]", value: str) -> None:
    if make_queue_model(value).name == "l3_fifo":
        raise QueueModelError("l3_fifo needs a book that is told order by order, which no feed of a desk is")


def _is_zone(_: object, attribute: "Attribute[str]", value: str) -> None:
    if value not in available_timezones():
        raise ValueError(f"{value!r} is no time zone{did_you_mean(value, sorted(available_timezones()))}")


def _is_feed_latency(_: object, attribute: "Attribute[int]", value: int) -> None:
    if not 0 < value <= LOOKAHEAD_NS:
        raise ValueError(f"must be above 0 and at most {LOOKAHEAD_NS // 1_000_000_000} s: a bar is known after its end")


def _is_depth(_: object, attribute: "Attribute[int]", value: int) -> None:
    if not 1 <= value <= _DEPTH_MAX:
        raise ValueError(f"must be between 1 and {_DEPTH_MAX}")


@frozen
class Run:
    """What the run is called, its seed, when it starts (ns UTC) and how long it lasts (None: the whole recording)."""

    name: str = field(default="run", validator=is_id)
    seed: int = 1
    start_ns: int = 1_767_225_600_000_000_000
    duration_ns: int | None = None


@frozen
class Synthetic:
    """A market made from the run's seed; see sim.synthetic for what the numbers mean."""

    mid: Decimal = field(validator=positive)
    instruments: tuple[SyntheticInstrument, ...] = field(validator=_is_filled)
    volatility_bps: float = 4.0
    step_ns: int = field(default=100_000_000, validator=positive)
    feed_latency_ns: int = 2_000_000
    feed_jitter_ns: int = 1_000_000
    mark_interval_ns: int = field(default=1_000_000_000, validator=positive)

    def settings(self, run: Run) -> SyntheticSettings:
        """Return what makes the market of `run`; without a duration it never ends."""
        own = {one.name: getattr(self, one.name) for one in attrs.fields(Synthetic)}
        return SyntheticSettings(seed=run.seed, start_ns=run.start_ns, duration_ns=run.duration_ns, **own)


@frozen
class Recording:
    """One file of raw frames. Recordings of one `recorder` share its clock and so one estimate of its skew.

    `symbols` names several only where every frame carries its symbol; a REST snapshot does not.
    `min_feed_latency_ns` is the shortest way from venue to recorder that the corrected times shall show.
    """

    file: str
    venue: str
    symbols: tuple[str, ...] = field(validator=_is_filled)
    recorder: str = "recorder"
    min_feed_latency_ns: int = field(default=1_000_000, validator=positive)


@frozen
class Recorded:
    """A market as it was recorded.

    `mid_marks_ns`: a mark price at the book's mid is made this often for what has no recorded mark stream.
    """

    recordings: tuple[Recording, ...] = field(validator=_is_filled)
    mid_marks_ns: int | None = None


@frozen
class Series:
    """The bars of one instrument, in `files` that follow each other; see sim.bars for the formats.

    `length_ns` is that of a bar, `prices` whether they are of trades or marks, `member` a part of the name of the file
    inside a zip that holds several, `zone` that of times without one.
    """

    instrument: str
    files: tuple[str, ...] = field(validator=_is_filled)
    length_ns: int = field(validator=positive)
    format: Literal["csv", "lean", "ib"] = "csv"
    prices: Literal["trade", "mark"] = "trade"
    member: str | None = None
    zone: str = field(default="UTC", validator=_is_zone)


@frozen
class Funding:
    """The rates that an instrument's venue settled, in one file; see sim.funding_file."""

    instrument: str
    file: str


@frozen
class Bars:
    """A market of bars or quotes, without books: its venues' execution is parametric.

    `feed_latency_ns` is from the end of a bar to the desk; `close_marks`: bars of trades are bars of marks, too.
    """

    series: tuple[Series, ...] = field(validator=_is_filled)
    feed_latency_ns: int = field(default=250_000_000, validator=_is_feed_latency)
    close_marks: bool = False
    funding: tuple[Funding, ...] = ()


@frozen
class StoredRows:
    """One store of rows, made by `basisd import`. `venue`: only that venue's instruments are played; None: all."""

    file: str
    venue: str | None = None


@frozen
class Stored:
    """A market of stores. The desk hears of books, `depth` levels a side, every `sample_ns`.

    `trades`: it hears of public trades, too, summed by price and side over a sample.
    """

    stores: tuple[StoredRows, ...] = field(validator=_is_filled)
    sample_ns: int = field(default=100_000_000, validator=positive)
    depth: int = field(default=20, validator=_is_depth)
    trades: bool = False


@frozen
class Live:
    """The public feeds of the venues' endpoints, as they are: what `run` trades on and `paper` simulates fills from."""


@frozen
class Fees:
    """Fractions of the value traded; a negative maker fee is a rebate."""

    maker: Decimal = field(validator=_is_fraction, metadata=_SIGNED)
    taker: Decimal = field(validator=_is_fraction)


@frozen
class Latency:
    """How long a command needs to reach the venue, and a report to come back."""

    entry_ns: int = 5_000_000
    response_ns: int = 5_000_000


@frozen
class Venue:
    """One venue of the run: whose rules it follows when simulated, and how orders trade there.

    In a book resting orders queue by `queue_model`; without books `parametric` says what they trade at. With
    `endpoints` there is a venue to trade at, which nothing simulates but `paper`.
    """

    id: str = field(validator=is_id)
    rules: str = field(validator=_is_rule_set)
    fees: Fees
    latency: Latency = Latency()
    queue_model: str = field(default="risk_averse", validator=_is_queue_model)
    execution: Literal["book", "parametric"] = "book"
    parametric: ParametricConfig | None = None
    simulation: Simulation = field(factory=Simulation)
    endpoints: Endpoints | None = None

    def __attrs_post_init__(self) -> None:
        if self.execution == "parametric" and self.parametric is None:
            raise ValueError('parametric: missing: execution = "parametric" needs to know the model')
        if self.execution == "book" and self.parametric is not None:
            raise ValueError('parametric: means nothing without execution = "parametric"')


@frozen
class StrategyHead:
    """What every strategy's table holds; `params` is read by the class that `kind` means."""

    id: str = field(validator=is_id)
    kind: str
    params: dict[str, Any] = field(factory=dict)


@frozen
class Strategy:
    """One strategy: `cls` is the class that `kind` means, `params` an object of its own configuration class."""

    id: str
    kind: str
    params: Any
    cls: type[Any] = field(eq=False)


@frozen
class Log:
    """Where runs are logged, and whether every commit waits for the disk."""

    dir: str = "runs"
    durable: bool = False


@frozen
class RunConfig:
    """A whole run. Tables are keyed by id; `sections` holds each actor's own configuration object by section name.

    `paths` tells where on this machine the market's files are, `text` is what was read; `sha256` covers neither.
    """

    run: Run
    market: Synthetic | Recorded | Bars | Stored | Live
    venues: Mapping[str, Venue]
    instruments: Mapping[str, Instrument]
    accounts: Mapping[str, AccountConfig]
    strategies: Mapping[str, Strategy]
    sections: Mapping[str, Any]
    log: Log
    paths: Mapping[str, Path]
    text: str
    sha256: str

    @property
    def is_outside(self) -> bool:
        """Whether the venues are out there, and reached through gateways."""
        return all(one.endpoints is not None for one in self.venues.values())

    def section(self, name: str, cls: type[_T]) -> _T:
        """Return section `name`. Raises TypeError when it was not structured as `cls`."""
        found = self.sections[name]
        if not isinstance(found, cls):
            raise TypeError(f"section {name} is a {type(found).__name__}, not a {cls.__name__}")
        return found
