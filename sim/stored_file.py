"""Whether a store can be played: what it holds, and whether that is what the instruments of a run are."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define, frozen

from sim.rows import DEPTH, KINDS, SNAPSHOT
from sim.store.layout import GapSpan
from sim.store.reader import Store
from venues.model.instrument import Instrument

_BOOK = (DEPTH, SNAPSHOT)
_UNPLAYED = ("add", "modify", "delete", "execute")
_SAME = ("tick_size", "lot_size", "multiplier")


@frozen
class StoredFile:
    """One store and the venue whose instruments are played; None plays all that it holds."""

    path: Path
    venue: str | None = None

    def plays(self, store: Store) -> list[Instrument]:
        """Return the instruments of an opened store that are played."""
        return [one for one in store.instruments if self.venue is None or one.venue == self.venue]


@define
class StoreReport:
    """What a store holds, by its own account: `late` messages happened earlier than they could be put."""

    path: str
    instruments: tuple[str, ...]
    rows: int
    gaps: tuple[GapSpan, ...]
    bad: dict[str, int]
    late: int


def objections(file: StoredFile, store: Store, instruments: Mapping[str, Instrument]) -> Iterator[str]:
    """Yield why a store cannot be played by `instruments` (by id), each naming what differs."""
    if store.header.has_orders or any(kind in store.trailer.kinds for kind in _UNPLAYED):
        yield "holds orders one by one, and only books by level can be played"
        return
    if not any(KINDS[kind] in store.trailer.kinds for kind in _BOOK):
        yield "holds no levels of a book"
    played = file.plays(store)
    if not played:
        held = ", ".join(one.id for one in store.instruments)
        yield f"holds nothing of venue {file.venue!r}, but {held}" if held else "holds no instrument"
    for theirs in played:
        ours = instruments.get(theirs.id)
        if ours is None:
            yield f"holds {theirs.id}, which is no instrument of the configuration"
            continue
        for name in _SAME:
            held, meant = getattr(theirs, name), getattr(ours, name)
            if held != meant:
                yield f"{name} of {theirs.id} is {held} in the store, but {meant} in the configuration"
