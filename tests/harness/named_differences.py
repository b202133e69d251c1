"""Why two simulators may differ over one order: every difference has a name, a test that recognises it and a reason."""

from collections.abc import Callable, Sequence

from attrs import field, frozen
from hft_process import BUY, CANCEL, GTX, LIMIT, MARKET, SUBMIT, Action, Settings
from tape import Tape, messages, tape_at

from sim.rows import CLEAR, SNAPSHOT, TRADE, Rows
from venues.model.fill import FillReason


@frozen
class Fill:
    """One execution at the venue's time. hftbacktest tells neither reason nor fee of one."""

    order: int
    venue_ns: int
    ticks: int
    lots: int
    is_maker: bool
    reason: str = field(default="", eq=False)
    fee: float = field(default=0.0, eq=False)


@frozen
class Difference:
    """What one order came to on both sides, and all that it may have come from."""

    order: int
    mine: tuple[Fill, ...]
    theirs: tuple[Fill, ...]
    rows: Rows
    settings: Settings
    script: Sequence[Action]
    fills: Sequence[Fill]

    @property
    def actions(self) -> list[Action]:
        return [action for action in self.script if action.id == self.order]

    @property
    def first(self) -> Action:
        return self.actions[0]

    def arrivals(self) -> list[tuple[int, Action]]:
        """Return when the order reached the venue, first and whenever it lost its place."""
        entry = self.settings.entry_ns
        return [(action.local_ns + entry, action) for action in self.actions if action.action != CANCEL]

    def moments(self) -> list[int]:
        return [at for at, _ in self.arrivals()] + [fill.venue_ns for fill in (*self.mine, *self.theirs)]


def whole_fill(difference: Difference) -> bool:
    mine, theirs = difference.mine, difference.theirs
    if difference.first.lots < 2 or len(theirs) != 1 or not mine:
        return False
    return mine[0].venue_ns == theirs[0].venue_ns and mine[0].lots < theirs[0].lots


def traded_quantity(difference: Difference) -> bool:
    for at, action in difference.arrivals():
        tape = tape_at(difference.rows, at)
        is_buy = difference.first.side == BUY
        if tape.traded.get((is_buy, action.ticks)):
            return True
        within = [ticks for is_bid, ticks in tape.traded if is_bid is not is_buy]
        if any(action.type == MARKET or (ticks - action.ticks) * difference.first.side <= 0 for ticks in within):
            return True
    return False


def own_consumption(difference: Difference) -> bool:
    return any(
        _reaches(difference, level, fill)
        for fill in difference.fills
        if fill.order != difference.order
        for level in _taken_from(difference, fill)
    )


def _taken_from(difference: Difference, fill: Fill) -> list[tuple[bool, int]]:
    """Return the levels of the displayed book that the fill may have taken from."""
    side = next(action.side for action in difference.script if action.id == fill.order)
    if fill.reason == FillReason.TAKER:
        return [(side != BUY, fill.ticks)]
    if fill.reason != FillReason.CROSSED:
        return []
    told = [line for ns, message in messages(difference.rows) if ns == fill.venue_ns for line in message if line.lots]
    quotes = [line for line in told if line.kind != TRADE and line.is_buy is (side != BUY)]
    return [(line.is_buy, line.ticks) for line in quotes if (line.ticks - fill.ticks) * side <= 0]


def _reaches(difference: Difference, level: tuple[bool, int], fill: Fill) -> bool:
    """Whether the level was short of what the fill took when the order queued there or met it."""
    is_bid, ticks = level
    is_buy = difference.first.side == BUY
    if is_bid is is_buy:
        end = max(difference.moments())
        return fill.venue_ns <= end and any(
            ticks == action.ticks and (fill.venue_ns > at or _is_untold(difference.rows, level, fill.venue_ns, at))
            for at, action in difference.arrivals()
        )
    met = [(other.venue_ns, other.ticks, LIMIT) for other in difference.theirs]
    met += [(at, action.ticks, action.type) for at, action in difference.arrivals()]
    return any(
        fill.venue_ns <= at and _is_untold(difference.rows, level, fill.venue_ns, at)
        for at, limit, kind in met
        if kind == MARKET or (ticks - limit) * difference.first.side <= 0
    )


def _is_untold(rows: Rows, level: tuple[bool, int], start: int, end: int) -> bool:
    """Whether the feed has not told the level's quantity after `start`, up to and at `end`."""
    return not any(
        start < ns <= end and line.kind != TRADE and (line.is_buy, line.ticks) == level
        for ns, message in messages(rows)
        for line in message
    )


def crossed_tape(difference: Difference) -> bool:
    start, end = min(difference.moments()), max(difference.moments())
    tape = Tape()
    crossed = False
    for ns, message in messages(difference.rows):
        if ns > end:
            break
        if ns > start and crossed:
            return True
        tape.take(message)
        crossed = tape.is_crossed
    return crossed


def forgotten_level(difference: Difference) -> bool:
    start, end = min(difference.moments()), max(difference.moments())
    prices = {action.ticks for _, action in difference.arrivals()}
    tape = Tape()
    for ns, message in messages(difference.rows):
        if start < ns <= end and message[0].kind == CLEAR:
            told = {(line.is_buy, line.ticks) for line in message if line.kind == SNAPSHOT}
            shown = {level for level, lots in tape.shown.items() if lots and level[0] is (difference.first.side == BUY)}
            if any(ticks in prices for _, ticks in shown - told):
                return True
        tape.take(message)
    return False


def own_orders_meet(difference: Difference) -> bool:
    side = difference.first.side
    against = {action.id for action in difference.script if action.action == SUBMIT and action.side == -side}
    mine = {(fill.venue_ns, fill.ticks) for fill in difference.mine}
    if any(fill.order in against and (fill.venue_ns, fill.ticks) in mine for fill in difference.fills):
        return True
    is_refused = difference.first.tif == GTX and not difference.mine
    return is_refused and any(
        ticks is not None and (ticks - action.ticks) * side <= 0
        for at, action in difference.arrivals()
        for ticks in (_price_at(difference, other, at) for other in against)
    )


def _price_at(difference: Difference, order: int, at: int) -> int | None:
    """Return where one of our orders rests at a venue time, None when it does not."""
    entry = difference.settings.entry_ns
    arrived = [action for action in difference.script if action.id == order and action.local_ns + entry <= at]
    is_over = any(fill.order == order and fill.venue_ns <= at for fill in difference.fills)
    return None if is_over or not arrived or arrived[-1].action == CANCEL else arrived[-1].ticks


def empty_side(difference: Difference) -> bool:
    at, action = difference.arrivals()[0]
    return action.type == MARKET and tape_at(difference.rows, at).best(action.side != BUY) is None


def stale_leaves(difference: Difference) -> bool:
    asked = [action.lots for action in difference.actions if action.action != CANCEL]
    return bool(difference.theirs) and difference.theirs[0].lots in asked[:-1] and asked[-1] not in asked[:-1]


NAMED: list[tuple[str, Callable[[Difference], bool], str]] = [
    (
        "whole fill",
        whole_fill,
        "theirs fills an order whole as soon as a lot of it is reached, a taker whole at the best price, a crossed "
        "order whole; ours fills what traded behind the quantity ahead, what each level shows, what the quote shows",
    ),
    (
        "traded quantity",
        traded_quantity,
        "theirs leaves a level as it was told last; ours takes a trade off it at once, so an order that comes before "
        "the next quantity is told queues behind less, and takes or is refused by what is left",
    ),
    (
        "own consumption",
        own_consumption,
        "theirs forgets what own orders took; ours shows a level without it until the tape tells the next quantity",
    ),
    (
        "crossed tape",
        crossed_tape,
        "theirs moves the other side's best away silently; ours takes the book for unknown until the next whole "
        "one and the change that joins it",
    ),
    (
        "forgotten level",
        forgotten_level,
        "a whole book without the order's price: theirs leaves the quantity ahead of the order as it was, ours ends it",
    ),
    (
        "own orders meet",
        own_orders_meet,
        "theirs lets own orders pass each other; ours trades them, ends them or refuses the second as the venue would",
    ),
    ("empty side", empty_side, "theirs fills a market order at the largest integer; ours ends it"),
    (
        "stale leaves",
        stale_leaves,
        "theirs fills a changed order with the quantity it had before the change; ours with the new one",
    ),
]
"""Name, how it is recognised, reason."""


def differences(
    rows: Rows, settings: Settings, script: Sequence[Action], mine: Sequence[Fill], other: Sequence[Fill]
) -> list[Difference]:
    found = []
    for order in sorted({action.id for action in script}):
        pair = [tuple(fill for fill in fills if fill.order == order) for fills in (mine, other)]
        if pair[0] != pair[1]:
            found.append(Difference(order, pair[0], pair[1], rows, settings, script, mine))
    return found


def names(difference: Difference) -> list[str]:
    return [name for name, recognises, _ in NAMED if recognises(difference)]
