"""What a market of bars and quotes holds: series of several files on one timeline, and the touch a desk sees of it.

Venues get the bars and quotes. A desk that trades on books also gets a book of one level a side: the quote's, or the
close with half the model's spread around it and the share of the volume that orders may have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from attrs import define, field

from sim.bars import BarSeries, SeriesReport, read_series
from sim.clocks import Arrival, merge_arrivals
from sim.funding_file import FundingSeries, read_funding
from sim.market_conditions import Conditions
from sim.parametric_config import ParametricConfig
from sim.slippage import SlippageModel, make_model
from venues.model.book import Level
from venues.model.instrument import Instrument
from venues.model.money import ONE, ROUND_CEILING, ROUND_FLOOR
from venues.port import Bar, BookDelta, BookSnapshot, MarkPrice, Message, Quote


class NoBarsError(ValueError):
    """Series without a single bar or quote."""


@define
class _Touch:
    """One instrument's book as the desk is told it: absolute levels, numbered as a feed would."""

    spec: Instrument
    model: SlippageModel
    share: Decimal
    update_id: int = 0
    bid: Level | None = None
    ask: Level | None = None

    def of_bar(self, bar: Bar) -> list[Message]:
        half, tick = self.model.half_spread(bar.close), self.spec.tick_size
        bid = int(((bar.close - half) / tick).to_integral_value(rounding=ROUND_FLOOR))
        ask = int(((bar.close + half) / tick).to_integral_value(rounding=ROUND_CEILING))
        lots = int(bar.volume * self.share / self.spec.lot_size)
        # A spread of nothing would be a crossed book.
        return self._show(bar.ts, (bid, lots), (max(ask, bid + 1), lots))

    def of_quote(self, quote: Quote) -> list[Message]:
        if not 0 < quote.bid < quote.ask:
            return self._show(quote.ts, None, None)
        return self._show(quote.ts, (quote.bid, quote.bid_lots), (quote.ask, quote.ask_lots))

    def _show(self, ts: int, bid: Level | None, ask: Level | None) -> list[Message]:
        bids, asks = _changes(self.bid, bid), _changes(self.ask, ask)
        self.bid, self.ask = bid, ask
        self.update_id += 1
        before = self.update_id - 1
        shown: Message = BookDelta(ts, self.spec.id, self.update_id, self.update_id, before, bids, asks)
        return [shown] if before else [BookSnapshot(ts, self.spec.id, 0, [], []), shown]


def _changes(old: Level | None, new: Level | None) -> list[Level]:
    gone = [(old[0], 0)] if old is not None and (new is None or new[0] != old[0]) else []
    return gone if new is None else [*gone, new]


@define
class BarMarket:
    """The arrivals of `series`, in order of local time: each bar `feed_ns` after it is over.

    `configs` holds each venue's settings by venue id, `funding` the settled rates. With `has_marks` each bar of trades
    is a bar of marks, too.
    All files are read once before the first arrival: `reports` say what they hold, `start_ns` and `end_ns` span it.
    Raises BarFileError for what cannot be used, NoBarsError when a series is empty.
    """

    series: Sequence[BarSeries]
    configs: Mapping[str, ParametricConfig]
    feed_ns: int
    has_marks: bool = False
    warn: Callable[[str], None] = field(default=lambda _: None)
    until_ns: int | None = None
    funding: Sequence[FundingSeries] = ()
    reports: list[SeriesReport] = field(init=False, factory=list)
    start_ns: int = field(init=False, default=0)
    end_ns: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        for one in self.series:
            report = SeriesReport(one.instrument.id)
            for _ in read_series(one, report):
                pass
            if not report.rows:
                raise NoBarsError(f"{', '.join(str(path) for path in one.paths)}: hold no bar")
            self.reports.append(report)
            for doubt in report.doubts():
                self.warn(doubt)
        for rates in self.funding:
            for _ in read_funding(rates):
                pass
        self.start_ns = min(report.start_ns for report in self.reports)
        self.end_ns = max(report.end_ns for report in self.reports) + self.feed_ns

    def __iter__(self) -> Iterator[Arrival]:
        quoted = {one.instrument.id for one, told in zip(self.series, self.reports, strict=True) if told.quotes}
        streams = [self._arrivals(one, one.instrument.id in quoted) for one in self.series]
        # After the bars of the same instant: the mark of the stamp is the close of what ends there.
        return merge_arrivals([*streams, *(self._rates(one) for one in self.funding)])

    def _rates(self, series: FundingSeries) -> Iterator[Arrival]:
        """Yield the rates from the first bar to the last."""
        end_ns = self.end_ns if self.until_ns is None else min(self.end_ns, self.until_ns)
        for rate in read_funding(series):
            if self.start_ns <= rate.ts and rate.ts + self.feed_ns <= end_ns:
                yield Arrival(rate.ts, rate.ts + self.feed_ns, rate)

    def _arrivals(self, series: BarSeries, has_quotes: bool) -> Iterator[Arrival]:
        spec = series.instrument
        config = self.configs[spec.venue]
        model = make_model(config, spec, Conditions(config))
        touch = _Touch(spec, model, ONE if config.participation is None else config.participation)
        for found in read_series(series):
            if self.until_ns is not None and found.ts + self.feed_ns > self.until_ns:
                return
            for message in self._messages(found, touch, has_quotes):
                yield Arrival(found.ts, found.ts + self.feed_ns, message)

    def _messages(self, found: Bar | Quote, touch: _Touch, has_quotes: bool) -> list[Message]:
        if isinstance(found, Quote):
            # Numbered as the book is: a file counts its own lines anew.
            shown = touch.of_quote(found)
            bid, ask = (found.bid, found.bid_lots), (found.ask, found.ask_lots)
            return [*shown, Quote(found.ts, found.instrument, touch.update_id, *bid, *ask)]
        messages: list[Message] = [found]
        if found.is_mark:
            return [*messages, MarkPrice(found.ts, found.instrument, found.close)]
        if self.has_marks:
            prices = found.open, found.high, found.low, found.close
            messages.append(Bar(found.ts, found.instrument, found.start_ns, *prices, is_mark=True))
            messages.append(MarkPrice(found.ts, found.instrument, found.close))
        return messages if has_quotes else messages + touch.of_bar(found)
