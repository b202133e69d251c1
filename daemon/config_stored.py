"""Which mistakes a market of stores holds: in its files, and against venues, instruments and the desk's own limits."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from actors.feed_state import FeedConfig
from daemon.config_read import Read
from daemon.config_schema import Stored, Venue
from venues.model.instrument import Instrument

SAME = ("tick_size", "lot_size", "multiplier")
"""The fields of an instrument that a store must have the same."""


def stored_mistakes(
    market: Read[Any], venues: Sequence[Read[Venue]], sections: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Yield (path, why): rows are books to trade in, and the desk must hear of them before it thinks them silent."""
    if not isinstance(market.value, Stored):
        return
    for index, venue in enumerate(venues):
        here = f"venues[{index}].execution"
        if venue.value is not None and venue.value.execution == "parametric" and venue.is_right(here):
            yield here, 'a market of stores has books: leave out execution = "parametric"'
    feed = sections.get("feed")
    if isinstance(feed, FeedConfig):
        if market.is_right("market.sample") and market.value.sample_ns >= feed.stale_ns:
            yield "market.sample", f"must be shorter than [feed] stale ({feed.stale_ns / 1_000_000_000:g} s)"
        if market.is_right("market.trades") and market.value.trades and not feed.publishes_trades:
            yield "market.trades", "nobody would hear them: write publishes_trades = true in [feed]"


@define
class StoreChecks:
    """Looks into one store after the other. `held` are the ids of the last one's instruments that are played."""

    instruments: Mapping[str, Instrument]
    held: list[str] = field(factory=list)
    _files: dict[str, str] = field(init=False, factory=dict)

    def take(self, path: Path, venue: str | None) -> Iterator[str]:
        """Yield what is wrong with a store, and with what it is played as."""
        # Opening a store loads Arrow, which nothing else of a configuration needs.
        from sim.store.errors import StoreError  # noqa: PLC0415
        from sim.store.reader import Store  # noqa: PLC0415
        from sim.stored_file import StoredFile, objections  # noqa: PLC0415

        self.held = []
        file = StoredFile(path, venue)
        try:
            store = Store.open(path)
        except StoreError as error:
            yield error.why
            return
        played = {one.id: one for one in file.plays(store)}
        self.held = list(played)
        # Whatever is declared nowhere, or wrongly, is told where that can be known better.
        known = {name: self.instruments.get(name, one) for name, one in played.items()}
        yield from objections(file, store, known)
        for name in played:
            if name in self._files:
                yield f"{name} is in {self._files[name]} already"
            self._files.setdefault(name, path.name)
