"""Small markets made from a seed as columns, whose events are unkind to simulators."""

from random import Random

import numpy as np
from attrs import define, field, frozen

from sim.rows import BUY, CLEAR, COLUMNS, DEPTH, LAST, LOCAL, SNAPSHOT, TRADE, VENUE, Rows


@frozen
class Unkindness:
    """What a small market does. `thickness` is the mean of a level's lots.

    `says_what_trades_left`: a depth row with the remaining quantity follows every trade at once; otherwise it comes
    with the next depth message. `sweeps`: trades go through several levels. `prints`: trades behind the touch that
    the book never shows. `snapshots`: whole books mid-stream; `forgets`: of which levels may be missing. `crosses`:
    a new best that reaches the other side before that is taken away.
    """

    thickness: int = 8
    steps: int = 300
    says_what_trades_left: bool = True
    sweeps: bool = True
    prints: bool = False
    snapshots: bool = False
    forgets: bool = False
    crosses: bool = False


Line = tuple[int, bool, int, int]
"""kind, whether it is of the bid (of a trade: that the buyer is the aggressor), ticks, lots."""


@define
class _SmallMarket:
    how: Unkindness
    rng: Random
    now: int = 1_000_000
    heard: int = 0
    lines: list[tuple[int, int, int, int, int, int]] = field(factory=list)
    bids: dict[int, int] = field(factory=dict)
    asks: dict[int, int] = field(factory=dict)
    untold: dict[tuple[bool, int], int] = field(factory=dict)

    def side(self, is_bid: bool) -> dict[int, int]:
        return self.bids if is_bid else self.asks

    def touch(self, is_bid: bool) -> int:
        return max(self.bids) if is_bid else min(self.asks)

    def quantity(self) -> int:
        return 1 + int(self.rng.expovariate(1 / self.how.thickness))

    def say(self, *message: Line) -> None:
        """Write one message; what trades left untold goes with a depth message."""
        lines = list(message)
        if lines[0][0] == DEPTH:
            said = {(is_bid, ticks) for _, is_bid, ticks, _ in lines}
            lines += [(DEPTH, is_bid, at, n) for (is_bid, at), n in self.untold.items() if (is_bid, at) not in said]
            self.untold.clear()
        for number, (kind, is_buy, ticks, lots) in enumerate(lines, 1):
            flags = VENUE | LOCAL | (BUY if is_buy else 0) | (LAST if number == len(lines) else 0)
            self.lines.append((kind, flags, self.now, self.heard, ticks, lots))

    def set(self, is_bid: bool, ticks: int, lots: int) -> Line:
        if lots:
            self.side(is_bid)[ticks] = lots
        else:
            self.side(is_bid).pop(ticks, None)
        return DEPTH, is_bid, ticks, lots

    def snapshot(self) -> None:
        levels = [(True, *level) for level in self.bids.items()] + [(False, *level) for level in self.asks.items()]
        if self.how.forgets:
            levels = [level for level in levels if level[1] == self.touch(level[0]) or self.rng.random() < 0.7]
            self.bids = {ticks: lots for is_bid, ticks, lots in levels if is_bid}
            self.asks = {ticks: lots for is_bid, ticks, lots in levels if not is_bid}
        self.untold.clear()
        self.say((CLEAR, False, 0, 0), *((SNAPSHOT, *level) for level in levels))

    def change(self) -> None:
        is_bid = self.rng.random() < 0.5
        step = -1 if is_bid else 1
        gap = self.touch(False) - self.touch(True) - 1
        if gap and self.rng.random() < 0.6:
            self.say(self.set(is_bid, self.touch(is_bid) - step * (1 + self.rng.randrange(gap)), self.quantity()))
            return
        at = self.touch(is_bid) + self.rng.randrange(4) * step
        gone = at != self.touch(is_bid) and self.rng.random() < 0.2
        self.say(self.set(is_bid, at, 0 if gone else self.quantity()))

    def move(self) -> None:
        """One side gives way and the other follows, in one message or, where that may cross, in two."""
        is_bid = self.rng.random() < 0.5
        step = -1 if is_bid else 1
        gone, new = self.touch(is_bid), self.touch(not is_bid) + step
        if len(self.side(is_bid)) < 3:
            self.say(self.set(is_bid, gone + 3 * step, self.quantity()))
            return
        if self.how.crosses and new == gone and self.rng.random() < 0.5:
            self.say(self.set(not is_bid, new, self.quantity()))
            self.now += self.rng.randrange(3_000_000)
            self.heard = max(self.heard, self.now + 1_000_000)
            self.say(self.set(is_bid, gone, 0))
            return
        lines = [self.set(is_bid, gone, 0)]
        if (self.touch(is_bid) - new) * step > 0:
            lines.append(self.set(not is_bid, new, self.quantity()))
        self.say(*lines)

    def trade(self) -> None:
        is_bid = self.rng.random() < 0.5
        left = 1 + int(self.rng.expovariate(2 / self.how.thickness))
        while left and len(self.side(is_bid)) > 2:
            at = self.touch(is_bid)
            shown = self.side(is_bid)[at]
            lots = min(left, shown)
            self.say((TRADE, not is_bid, at, lots))
            remaining = self.set(is_bid, at, shown - lots)
            if self.how.says_what_trades_left:
                self.say(remaining)
            else:
                self.untold[is_bid, at] = shown - lots
            left = left - lots if self.how.sweeps else 0

    def print(self) -> None:
        is_bid = self.rng.random() < 0.5
        at = self.touch(is_bid) + (1 + self.rng.randrange(2)) * (-1 if is_bid else 1)
        self.say((TRADE, not is_bid, at, 1))

    def play(self) -> None:
        for distance in range(6):
            self.set(True, 1_000 - distance, self.quantity())
            self.set(False, 1_001 + distance, self.quantity())
        self.heard = self.now + 1_000_000
        self.say(
            (CLEAR, False, 0, 0),
            *((SNAPSHOT, True, *n) for n in self.bids.items()),
            *((SNAPSHOT, False, *n) for n in self.asks.items()),
        )
        self.say((DEPTH, True, 1_000, self.bids[1_000]))
        does = [self.change] * 8 + [self.move] * 3 + [self.trade] * 5
        does += [self.print] * self.how.prints + [self.snapshot] * self.how.snapshots
        for _ in range(self.how.steps):
            self.now += self.rng.choice((0, 1, 1_000, self.rng.randrange(10_000_000)))
            self.heard = max(self.heard, self.now + 1_000_000 + self.rng.randrange(2_000_000))
            self.rng.choice(does)()


def small_rows(seed: int, how: Unkindness) -> Rows:
    """Return a small market around tick 1,000, whose first instants are a whole book."""
    market = _SmallMarket(how, Random(seed))
    market.play()
    rows = Rows.empty(len(market.lines))
    names = ("kind", "flags", "venue_ns", "local_ns", "ticks", "lots")
    for name, values in zip(names, zip(*market.lines, strict=True), strict=True):
        getattr(rows, name)[:] = np.array(values, COLUMNS[name])
    return rows
