"""What is known of one instrument's feed, and whether its book can be traded on."""

from decimal import Decimal
from typing import Final

from attrs import define, field, frozen
from attrs.validators import deep_iterable, gt, min_len

from actors.liquidity import Reserved
from venues.model.book import Level
from venues.model.book_sync import BookSync
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.port import InstrumentState

SECOND_NS: Final = 1_000_000_000


@frozen
class FeedConfig:
    """Times in ns. `stale_ns`: silence after which a book is not believed; a silent one is looked at every `watch_ns`.

    `retry_ns`: pauses between requests for a snapshot, the last one repeated; `answer_ns`: when a request counts as
    lost. `publishes_trades`: whether TradeViews are wanted.
    """

    stale_ns: int = field(default=5 * SECOND_NS, validator=gt(0))
    watch_ns: int = field(default=SECOND_NS, validator=gt(0))
    retry_ns: tuple[int, ...] = field(
        default=(SECOND_NS, 2 * SECOND_NS, 5 * SECOND_NS, 10 * SECOND_NS),
        validator=deep_iterable(gt(0), min_len(1)),
    )
    answer_ns: int = field(default=10 * SECOND_NS, validator=gt(0))
    publishes_trades: bool = False


@define
class Feed:
    """One instrument's feed.

    `bid`..`ask_lots` are the touch as known at update `top_id`, from the depth or from a fresher quote; 0 lots mean
    that the side is empty. `news_ns` is when something new was learned of the book, `depth_ns` of the depth itself,
    `old_ns` when something was ignored as old. `query_id` is the outstanding request for a snapshot; `is_pausing`
    says that the next one waits for its turn.
    """

    sync: BookSync
    is_live: bool = False
    why: str = ""
    fault: str = "no snapshot yet"
    down: str = ""
    trading: InstrumentState = InstrumentState.OPEN
    is_quote_bad: bool = False
    top_id: int = -1
    bid: int = 0
    bid_lots: int = 0
    ask: int = 0
    ask_lots: int = 0
    news_ns: int = 0
    depth_ns: int = 0
    old_ns: int = 0
    query_id: str = ""
    is_pausing: bool = False
    asked_ns: int | None = None
    attempts: int = 0
    frames: int = 0
    snapshots: int = 0
    gaps: int = 0
    crossed: int = 0
    stale: int = 0
    old_quotes: int = 0
    bad_quotes: int = 0

    def objection(self, now: int, stale_ns: int) -> str:
        """Return why the book cannot be traded on at `now`, nothing when it can."""
        if self.down:
            return self.down
        if self.trading is not InstrumentState.OPEN:
            return f"trading is in {self.trading}"
        if not self.sync.is_usable:
            return self.fault
        if self.is_stale(now, stale_ns):
            return f"stale: no news for {stale_ns / SECOND_NS:g} s"
        if self.is_quote_bad:
            return "the quote is crossed or empty"
        if not self.bid_lots:
            return "no bid"
        return "" if self.ask_lots else "no ask"

    def is_stale(self, now: int, stale_ns: int) -> bool:
        """Whether the book is silent, or its touch moves while the depth behind it stands still."""
        since = self.news_ns if self.top_id <= self.sync.last_id else self.depth_ns
        return now - since >= stale_ns

    def touch(self, taker: Side) -> Level:
        """Return what a taker on `taker` meets first."""
        return (self.ask, self.ask_lots) if taker is Side.BUY else (self.bid, self.bid_lots)

    def best_prices(self, instrument: Instrument) -> "BestPrices":
        if not self.sync.is_usable:
            return BestPrices()
        book = self.sync.book
        bid, ask = book.best_bid, book.best_ask
        return BestPrices(
            None if bid is None else instrument.price(bid),
            None if bid is None else instrument.qty(book.bids[bid]),
            None if ask is None else instrument.price(ask),
            None if ask is None else instrument.qty(book.asks[ask]),
        )

    def counts(self) -> "FeedCounts":
        return FeedCounts(
            self.frames,
            self.snapshots,
            self.gaps,
            self.crossed,
            self.stale,
            self.sync.discarded,
            self.old_quotes,
            self.bad_quotes,
        )


@define
class FeedState:
    """`reservations` are promised lots by basket; `unknown` counts frames of instruments that are not configured."""

    feeds: dict[str, Feed]
    reservations: dict[str, list[Reserved]] = field(factory=dict)
    queries: int = 0
    unknown: int = 0


@frozen
class BestPrices:
    """The touch of a depth book; None for an empty side, and for all four when the book cannot be believed."""

    best_bid: Decimal | None = None
    best_bid_qty: Decimal | None = None
    best_ask: Decimal | None = None
    best_ask_qty: Decimal | None = None


@frozen
class FeedCounts:
    """`gaps`: breaks in a stream; `crossed`: books found crossed; `stale`: times a book fell silent.

    `discarded`: deltas that were old or did not fit the buffer; `old_quotes`: quotes older than the book;
    `bad_quotes`: quotes that contradict themselves.
    """

    frames: int
    snapshots: int
    gaps: int
    crossed: int
    stale: int
    discarded: int
    old_quotes: int
    bad_quotes: int


__all__ = ["SECOND_NS", "BestPrices", "Feed", "FeedConfig", "FeedCounts", "FeedState"]
