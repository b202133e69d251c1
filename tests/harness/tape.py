"""What a market as columns displays at its venue, read plainly: messages, levels, what traded since they were told."""

from collections.abc import Iterator, Sequence

from attrs import define, field, frozen

from sim.rows import BUY, CLEAR, DEPTH, LAST, TRADE, VENUE, Rows


@frozen
class Line:
    kind: int
    is_buy: bool
    ticks: int
    lots: int


def messages(rows: Rows) -> Iterator[tuple[int, list[Line]]]:
    """Yield what happens at the venue, message by message, with its time."""
    message: list[Line] = []
    columns = [column.tolist() for column in (rows.kind, rows.flags, rows.venue_ns, rows.ticks, rows.lots)]
    for kind, flags, ns, ticks, lots in zip(*columns, strict=True):
        if flags & VENUE:
            message.append(Line(kind, bool(flags & BUY), ticks, lots))
            if flags & LAST:
                yield ns, message
                message = []


@define
class Tape:
    """What the feed displays after each instant, with neither trades nor own orders taken off it.

    `traded` is what traded at a level since the feed last told its quantity; `is_crossed` that its best prices have
    met, and that no whole book and change to it have come since.
    """

    shown: dict[tuple[bool, int], int] = field(factory=dict)
    traded: dict[tuple[bool, int], int] = field(factory=dict)
    is_crossed: bool = False
    is_whole: bool = False

    def take(self, message: Sequence[Line]) -> None:
        if message[0].kind == DEPTH:
            self.is_crossed = self.is_crossed and not self.is_whole
            self.is_whole = False
        for line in message:
            if line.kind == TRADE:
                level = (not line.is_buy, line.ticks)
                self.traded[level] = self.traded.get(level, 0) + line.lots
            elif line.kind == CLEAR:
                self.shown.clear()
                self.traded.clear()
                self.is_whole = True
            else:
                level = (line.is_buy, line.ticks)
                self.shown[level] = line.lots
                self.traded.pop(level, None)
        bid, ask = self.best(True), self.best(False)
        self.is_crossed = self.is_crossed or (bid is not None and ask is not None and bid >= ask)

    def best(self, is_bid: bool) -> int | None:
        levels = [ticks for (side, ticks), lots in self.shown.items() if side is is_bid and lots]
        return (max(levels) if is_bid else min(levels)) if levels else None


def tape_at(rows: Rows, ns: int) -> Tape:
    """Return the tape when everything up to and at `ns` has happened: orders come after the market's events."""
    tape = Tape()
    for at, message in messages(rows):
        if at > ns:
            break
        tape.take(message)
    return tape
