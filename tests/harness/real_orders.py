"""The orders of a recorded book, and a tape made of them: what displayed quantities hide is known here."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import databento_dbn
from attrs import define, field

from sim.rows import ADD, DELETE, EXECUTE

Change = tuple[int, int, int, int, int]
"""What a feed tells: kind, side (0 buys), price in ticks, lots, order id."""

_QUARTER = 250_000_000
"""The tick of the E-mini S&P 500 in the file's units of 1e-9."""


def recorded_changes(data_dir: Path) -> list[Change]:
    """Return the changes of the ESH4 sample of 2023-12-24 (Databento, GLBX.MDP3, schema mbo), in the file's order."""
    decoder = databento_dbn.DBNDecoder(compression=databento_dbn.Compression.from_str("zstd"))
    decoder.write((data_dir / "databento" / "esh4-glbx-mdp3-20231224.mbo.dbn.zst").read_bytes())
    kinds = {"A": ADD, "C": DELETE, "F": EXECUTE}
    found = []
    for record in decoder.decode():
        if isinstance(record, databento_dbn.MBOMsg):
            side = "BA".index(str(record.side))
            ticks, odd = divmod(record.price, _QUARTER)
            assert not odd
            found.append((kinds[str(record.action)], side, ticks, record.size, record.order_id))
    return found


@define(eq=False)
class Tape:
    """A market that goes on from real orders: additions of real sizes, cancels, market orders, near the best prices.

    A cancel hits any order of the nearest `depth` prices: each alike, or, with `is_young`, mostly those at the back.
    """

    random: Random
    is_young: bool
    queues: tuple[dict[int, list[list[int]]], dict[int, list[list[int]]]] = field(factory=lambda: ({}, {}))
    sizes: list[int] = field(factory=list)
    depth: int = 10
    next_id: int = 1 << 60

    def load(self, changes: list[Change]) -> None:
        """Take over the orders of a book that was only added to."""
        for _, side, ticks, lots, order_id in changes:
            self.queues[side].setdefault(ticks, []).append([order_id, lots])
            self.sizes.append(lots)

    def near(self, side: int) -> list[int]:
        """Return the best prices, best first."""
        return sorted(self.queues[side], reverse=side == 0)[: self.depth]

    def __iter__(self) -> Iterator[list[Change]]:
        """Yield what happens next, for ever: the executions of a market order come together."""
        random = self.random
        while True:
            side, what = random.randrange(2), random.random()
            prices = self.near(side)
            if what < 0.47:
                best, opposite = prices[0], self.near(1 - side)[0]
                better = best + 1 if side == 0 else best - 1
                yield [
                    self._add(side, better if better != opposite and random.random() < 0.2 else random.choice(prices))
                ]
            elif what < 0.9:
                yield [self._cancel(side, prices)]
            else:
                yield list(self._trade(side, random.choice(self.sizes)))

    def _add(self, side: int, ticks: int) -> Change:
        lots = self.random.choice(self.sizes)
        self.next_id += 1
        self.queues[side].setdefault(ticks, []).append([self.next_id, lots])
        return ADD, side, ticks, lots, self.next_id

    def _cancel(self, side: int, prices: list[int]) -> Change:
        at = [(ticks, place) for ticks in prices for place in range(len(self.queues[side][ticks]))]
        ticks, place = self.random.choice(at)
        if self.is_young:
            count = len(self.queues[side][ticks])
            place = max(self.random.randrange(count), self.random.randrange(count))
        order_id, _ = self.queues[side][ticks].pop(place)
        self._forget(side, ticks)
        return DELETE, side, ticks, 0, order_id

    def _trade(self, side: int, lots: int) -> Iterator[Change]:
        ticks = self.near(side)[0]
        while lots and ticks in self.queues[side]:
            first = self.queues[side][ticks][0]
            part = min(lots, first[1])
            lots -= part
            first[1] -= part
            if not first[1]:
                del self.queues[side][ticks][0]
            self._forget(side, ticks)
            yield EXECUTE, side, ticks, part, first[0]

    def _forget(self, side: int, ticks: int) -> None:
        if not self.queues[side][ticks]:
            del self.queues[side][ticks]
