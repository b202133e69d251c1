"""What rows say, told without the code that made them: message by message on each clock, and books."""

from collections.abc import Iterator

from sim.rows import BUY, CLEAR, DEPTH, GAP, LAST, LOCAL, SNAPSHOT, VENUE, Rows

Part = tuple[int, bool, int, int, int]
Message = tuple[int, list[Part]]
Side = dict[int, int]


def on_clock(rows: Rows, flag: int) -> list[Message]:
    """Return (ns, [(kind, is_buy, instrument, ticks, lots), ...]) of each message with `flag`, in file order."""
    times = {VENUE: rows.venue_ns, LOCAL: rows.local_ns}[flag].tolist()
    columns = zip(
        times,
        rows.flags.tolist(),
        rows.kind.tolist(),
        rows.instrument.tolist(),
        rows.ticks.tolist(),
        rows.lots.tolist(),
        strict=True,
    )
    messages: list[Message] = []
    parts: list[tuple[int, Part]] = []
    for ns, flags, kind, instrument, ticks, lots in columns:
        if not flags & flag:
            continue
        assert not parts or parts[0][0] == ns
        parts.append((ns, (kind, bool(flags & BUY), instrument, ticks, lots)))
        if flags & LAST:
            messages.append((parts[0][0], [part for _, part in parts]))
            parts = []
    assert not parts
    return messages


def books(messages: list[Message], instrument: int = 0) -> Iterator[tuple[int, Side | None, Side | None]]:
    """Yield (ns, bids, asks) after each message that touches the book of `instrument`; None, None while unknown.

    Bids and asks go on changing: copy what is to be kept.
    """
    bids: Side | None = None
    asks: Side | None = None
    for ns, parts in messages:
        touched = False
        for kind, is_buy, of, ticks, lots in parts:
            if of != instrument:
                continue
            if kind in {CLEAR, GAP}:
                bids, asks = ({}, {}) if kind == CLEAR and len(parts) > 1 else (None, None)
                touched = True
            elif kind in {SNAPSHOT, DEPTH}:
                side = bids if is_buy else asks
                assert side is not None
                if lots:
                    side[ticks] = lots
                else:
                    side.pop(ticks, None)
                touched = True
        if touched:
            yield ns, bids, asks
