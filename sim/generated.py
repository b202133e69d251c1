"""A book made from a seed: queues whose orders come, go and trade at rates that depend on their length.

The queue-reactive model of Huang, Lehalle and Rosenbaum (arXiv 1312.0563): each queue is a birth and death process with
the intensities of its level and length; market orders take from the best queue; when a first queue is emptied, the
price follows with a probability, and then sometimes the whole book is drawn anew. While the price stands, the length of
a first queue has the distribution pi(n) = pi(0) prod_{j<=n} limit(j-1) / (cancel(j) + market(j)).

Rates are floats; prices, quantities and times leave as whole ticks, lots and nanoseconds.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import evolve, field, frozen

from sim.generated_kernel import (
    BASE,
    BOUNDARY,
    IS_BEGUN,
    LOCAL_NS,
    NEXT_ID,
    NOW,
    PLACE,
    REGIME,
    STATE_SIZE,
    Book,
    Rules,
    Tables,
    fill,
)
from sim.row_order import RowOrder
from sim.rows import COLUMNS, LAST, LOCAL, VENUE, Column, Rows

DAY_NS = 86_400_000_000_000
HOUR_NS = 3_600_000_000_000
_NEVER = 2**62
_PILOT_ROWS = 500_000


@frozen(eq=False)
class QueueReactive:
    """The intensities, in events per second, by level (0 is the best) and number of orders in the queue.

    All arrays are (levels, most orders + 1). Nothing is added to a full queue, nothing taken from an empty one.
    `redraw` are probabilities of a queue's length where it is new. `p_move` is the chance that the price follows when a
    first queue is emptied, `p_redraw` that all queues are drawn anew then. Raises ValueError, naming the field.
    """

    limit: Column
    cancel: Column
    market: Column
    redraw: Column
    p_move: float = 1.0
    p_redraw: float = 0.0

    def __attrs_post_init__(self) -> None:
        for name in ("limit", "cancel", "market", "redraw"):
            values = np.ascontiguousarray(getattr(self, name), np.float64)
            object.__setattr__(self, name, values)
            if values.ndim != 2 or values.shape != np.shape(self.limit) or values.shape[0] < 1 or values.shape[1] < 2:
                raise ValueError(f"{name}: expected (levels, sizes) like the others, got {values.shape}")
            if not np.isfinite(values).all() or (values < 0).any():
                raise ValueError(f"{name}: intensities and probabilities are finite and not negative")
        for name, of, why in (
            ("limit", self.limit[:, -1], "nothing can be added to a full queue"),
            ("cancel", self.cancel[:, 0], "nothing can be taken from an empty queue"),
            ("market", self.market[:, 0], "nothing can be taken from an empty queue"),
        ):
            if of.any():
                raise ValueError(f"{name}: {why}")
        if not np.allclose(self.redraw.sum(axis=1), 1.0, atol=1e-9):
            raise ValueError("redraw: the probabilities of a level add up to 1")
        for name in ("p_move", "p_redraw"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: a probability, got {getattr(self, name)}")


def stationary(limit: Column, cancel: Column, market: Column) -> Column:
    """Return pi(n) of each level under its own rates; the same shape. Raises ValueError where it does not exist."""
    left = np.asarray(cancel, np.float64)[:, 1:] + np.asarray(market, np.float64)[:, 1:]
    if (left <= 0).any():
        raise ValueError("a queue that nothing leaves has no stationary distribution")
    odds = np.cumprod(np.asarray(limit, np.float64)[:, :-1] / left, axis=1)
    weights = np.concatenate([np.ones((len(odds), 1)), odds], axis=1)
    total: Column = weights.sum(axis=1, keepdims=True)
    distribution: Column = weights / total
    return distribution


def _positive(_: object, attribute: "object", value: float) -> None:
    if not np.isfinite(value) or value <= 0:
        raise ValueError(f"{getattr(attribute, 'name', '')}: must be positive, got {value}")


@frozen
class Regime:
    """How the market is for a while: factors on the three intensities, the closest spread, the size of an order."""

    limit: float = field(default=1.0, validator=_positive)
    cancel: float = field(default=1.0, validator=_positive)
    market: float = field(default=1.0, validator=_positive)
    spread_ticks: int = field(default=1, validator=_positive)
    order_lots: int = field(default=1, validator=_positive)


def outside_hours(regular: Regime, spread: float = 2.5, volume: float = 0.4, depth: float = 0.5) -> Regime:
    """Return the regime outside regular hours: spread, volume and depth are these multiples of the regular ones.

    Orders are `depth` as large, and everything happens volume / depth as often, which leaves the lengths of queues as
    they are. Spread and order size are rounded to whole ticks and lots, half up, and are at least 1.
    """
    pace = volume / depth
    return Regime(
        regular.limit * pace,
        regular.cancel * pace,
        regular.market * pace,
        max(1, int(regular.spread_ticks * spread + 0.5)),
        max(1, int(regular.order_lots * depth + 0.5)),
    )


@frozen
class Schedule:
    """Which regime holds when: pairs of an offset and a regime, in a period that repeats since the epoch.

    Offsets rise from 0. Raises ValueError, naming the field.
    """

    period_ns: int
    parts: tuple[tuple[int, Regime], ...]

    def __attrs_post_init__(self) -> None:
        offsets = [offset for offset, _ in self.parts]
        if not offsets or offsets[0] != 0 or sorted(set(offsets)) != offsets or offsets[-1] >= self.period_ns:
            raise ValueError(f"parts: offsets rise from 0 and stay below the period, got {offsets}")


def always(regime: Regime) -> Schedule:
    return Schedule(_NEVER, ((0, regime),))


def around_funding(regular: Regime, near: Regime, window_ns: int, interval_ns: int = 8 * HOUR_NS) -> Schedule:
    """Return `near` for `window_ns` on either side of each funding instant, a multiple of the interval since 1970."""
    return Schedule(interval_ns, ((0, near), (window_ns, regular), (interval_ns - window_ns, near)))


def regular_hours(regular: Regime, outside: Regime, open_ns: int, close_ns: int) -> Schedule:
    """Return `regular` from `open_ns` to `close_ns` of each UTC day, `outside` else; no time zones, no weekends."""
    return Schedule(DAY_NS, ((0, outside), (open_ns, regular), (close_ns, outside)))


@frozen
class GeneratedSettings:
    """One book: its seed, when and at which price (ticks) it begins, its model and schedule, how it is told.

    `by_order` tells of every order instead of levels; the market is the same. Messages take `latency_ns` and up to
    `jitter_ns` more; with `is_fifo` none overtakes another, else rows are split where the two orders disagree.
    """

    seed: int
    start_ns: int
    mid_ticks: int
    model: QueueReactive
    schedule: Schedule = field(factory=lambda: always(Regime()))
    by_order: bool = False
    latency_ns: int = field(default=2_000_000, validator=_positive)
    jitter_ns: int = 1_000_000
    is_fifo: bool = True

    def __attrs_post_init__(self) -> None:
        if self.mid_ticks <= self.model.limit.shape[0] + 1:
            raise ValueError(f"mid_ticks: {self.mid_ticks} leaves no room for the bids")
        if self.jitter_ns < 0:
            raise ValueError(f"jitter_ns: must not be negative, got {self.jitter_ns}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: must fit 64 bits, got {self.seed}")


class GeneratedBook:
    """The rows of a generated market of one instrument, without an end. Every `blocks()` begins anew."""

    def __init__(self, settings: GeneratedSettings) -> None:
        self.settings = settings

    def blocks(self, block_rows: int = 1 << 16) -> Iterator[Rows]:
        """Yield blocks of at least `block_rows` rows, ends of events; what they hold does not depend on their size.

        Raises RuntimeError when the model comes to a state in which nothing can happen.
        """
        told = _told(self.settings, block_rows)
        if self.settings.is_fifo:
            for rows in told:
                rows.flags |= VENUE | LOCAL
                yield rows
        else:
            yield from _split(told, self.settings)

    def first(self, rows: int, block_rows: int = 1 << 16) -> Iterator[Rows]:
        """Yield blocks of `rows` rows in all, or the few less that end with a message."""
        left = rows
        for block in self.blocks(block_rows):
            if len(block) < left:
                left -= len(block)
                yield block
                continue
            ends = np.flatnonzero(block.flags[:left] & LAST)
            yield block.slice(0, int(ends[-1]) + 1 if len(ends) else 0)
            return


def _told(settings: GeneratedSettings, block_rows: int) -> Iterator[Rows]:
    """Yield rows in the order of the venue, without flags of clocks."""
    model, regimes = settings.model, _distinct(settings.schedule)
    levels, sizes_max = model.limit.shape
    starts = np.array([offset for offset, _ in settings.schedule.parts], np.int64)
    held = np.array([regimes.index(regime) for _, regime in settings.schedule.parts], np.int64)
    factors = np.array([(one.limit, one.cancel, one.market) for one in regimes])
    placed = np.array([(one.spread_ticks, one.order_lots) for one in regimes], np.int64)
    draws = np.array([settings.seed, 0], np.uint64)
    sizes = np.zeros((2, levels), np.int64)
    sizes[:] = [int(np.argmax(row)) for row in model.redraw]
    slot = np.arange(2 * levels).reshape(2, levels)
    ids = np.zeros((2 * levels, sizes_max), np.int64)
    state = _state(settings, starts, held)
    # What one event can need: every order gone and every order new.
    spare = 4 * levels * (sizes_max if settings.by_order else 1) + 8
    book = Book(state, draws, sizes, slot, ids)
    cumulated = np.cumsum(model.redraw, axis=1)
    tables = Tables(model.limit, model.cancel, model.market, cumulated, factors, placed, starts, held)
    rules = Rules(
        settings.schedule.period_ns,
        settings.latency_ns,
        settings.jitter_ns,
        settings.is_fifo,
        settings.by_order,
        model.p_move,
        model.p_redraw,
    )
    while True:
        rows = Rows.empty(block_rows + spare)
        out = (rows.kind, rows.flags, rows.venue_ns, rows.local_ns, rows.ticks, rows.lots, rows.order_id)
        count = fill(out, book, tables, rules, block_rows)
        if count < 0:
            raise RuntimeError("generated book: nothing can happen any more")
        yield rows.slice(0, count)


def _state(settings: GeneratedSettings, starts: Column, held: Column) -> Column:
    state = np.zeros(STATE_SIZE, np.int64)
    period_ns = settings.schedule.period_ns
    offset = settings.start_ns % period_ns
    place = int(np.searchsorted(starts, offset, side="right")) - 1
    following = int(starts[place + 1]) if place + 1 < len(starts) else period_ns
    state[NOW], state[LOCAL_NS] = settings.start_ns, settings.start_ns + settings.latency_ns
    state[BASE], state[NEXT_ID], state[IS_BEGUN] = settings.mid_ticks, 1, 0
    state[PLACE], state[REGIME] = place, held[place]
    state[BOUNDARY] = settings.start_ns - offset + following
    return state


def _distinct(schedule: Schedule) -> Sequence[Regime]:
    return list(dict.fromkeys(regime for _, regime in schedule.parts))


def _split(told: Iterator[Rows], settings: GeneratedSettings) -> Iterator[Rows]:
    """Yield rows in both orders of messages that overtake each other on their way."""
    order = RowOrder(lookahead_ns=settings.latency_ns + settings.jitter_ns + 1)
    waiting = Rows.empty(0)
    for rows in told:
        waiting = Rows.join([waiting, rows])
        by_arrival = np.argsort(waiting.local_ns, kind="stable")
        # Whatever comes later happens at the last time or after it.
        settled = np.searchsorted(waiting.local_ns[by_arrival], int(rows.venue_ns[-1]) + settings.latency_ns)
        yield order.take(_chosen(waiting, by_arrival[:settled]))
        waiting = _chosen(waiting, by_arrival[settled:])


def _chosen(rows: Rows, places: Column) -> Rows:
    return Rows(**{name: getattr(rows, name)[places] for name in COLUMNS})


def bitcoin_model(pace: float = 1.0) -> QueueReactive:
    """Return a book of ten levels a side whose first queues are short and busy; `pace` is a factor on all rates.

    Shaped like the intensities that Huang, Lehalle and Rosenbaum found (figures 2 to 4): orders come at a nearly
    constant rate, go in proportion to the queue, and are taken the more readily the shorter the first queue is. It is
    not calibrated to any day: its price moves less than bitcoin's.
    """
    levels, most = 10, 40
    size = np.arange(most + 1)
    depth = np.arange(levels)[:, None]
    limit = pace * np.where(depth == 0, 30.0, 60.0) / (1.0 + 0.25 * depth) * np.ones(most + 1)
    limit[:, -1] = 0.0
    cancel = pace * 6.0 / (1.0 + 0.25 * depth) * size
    market = np.where(size > 0, pace * 24.0 * np.exp(-0.08 * size), 0.0) * np.ones((levels, 1))
    return QueueReactive(limit, cancel, market, stationary(limit, cancel, market), p_move=0.6, p_redraw=0.05)


def bitcoin_day(seed: int, rows: int = 120_000_000, start_ns: int = 1_767_225_600_000_000_000) -> Iterator[Rows]:
    """Yield a synthetic BTCUSDT day (tick 0.1, lot 0.001) of `rows` rows: its pace is such that they fill the day.

    Around funding, for a minute on either side, orders trade and are taken back twice as often.
    """
    regular = Regime(order_lots=25)
    schedule = around_funding(regular, evolve(regular, cancel=2.0, market=2.0, limit=1.5), 60_000_000_000)
    settings = GeneratedSettings(seed, start_ns, 600_000, bitcoin_model(), always(regular))
    (pilot,) = GeneratedBook(settings).first(_PILOT_ROWS, _PILOT_ROWS)
    measured = len(pilot) / int(pilot.venue_ns[-1] - pilot.venue_ns[0])
    pace = rows / DAY_NS / measured
    book = GeneratedBook(evolve(settings, model=bitcoin_model(pace), schedule=schedule))
    return book.first(rows)
