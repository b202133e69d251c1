"""Which mistakes a market of bars and its venues hold between them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from actors.feed_state import FeedConfig
from actors.margin_records import MarginConfig
from actors.risk_config import RiskConfig
from daemon.config_read import Read
from daemon.config_references import Reference
from daemon.config_schema import Bars, Venue

_BY_SYMBOL = ("adv", "products")


def bar_mistakes(
    market: Read[Any], venues: Sequence[Read[Venue]], sections: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Yield (path, why): bars have no books to trade in, and are too rare for a desk that wants news more often."""
    if not isinstance(market.value, Bars) or "market.series" in market.wrong:
        return
    used = {
        one.instrument.partition(":")[0]
        for index, one in enumerate(market.value.series)
        if market.is_right(f"market.series[{index}].instrument")
    }
    for index, venue in enumerate(venues):
        if venue.value is None or not venue.is_right(f"venues[{index}].execution"):
            continue
        is_table_wrong = not venue.is_right(f"venues[{index}].parametric")
        if venue.value.id in used and venue.value.execution == "book" and not is_table_wrong:
            yield f"venues[{index}].execution", 'a market of bars has no books: write execution = "parametric"'
    marked = {one.instrument for one in market.value.series if one.prices == "mark" or market.value.close_marks}
    for index, paid in enumerate(market.value.funding):
        here = f"market.funding[{index}].instrument"
        if market.is_right("market.close_marks") and market.is_right(here) and paid.instrument not in marked:
            yield here, "funding is paid on the mark: write close_marks = true, or add a series of marks"
    for index, one in enumerate(market.value.series):
        if market.is_right(f"market.series[{index}].length") and one.prices == "trade":
            for path, age_ns in _ages(sections, one.instrument):
                if age_ns <= one.length_ns:
                    seconds = one.length_ns / 1_000_000_000
                    yield path, f"must be longer than a bar ({seconds:g} s), or nothing is fresh when the next comes"


def _ages(sections: Mapping[str, object], instrument: str) -> Iterator[tuple[str, int]]:
    """Yield (path, ns) of the ages at which the desk no longer believes a book or a mark."""
    feed, risk, margin = sections.get("feed"), sections.get("risk"), sections.get("margin")
    if isinstance(feed, FeedConfig):
        yield "feed.stale", feed.stale_ns
    if isinstance(risk, RiskConfig):
        name = f"instruments.{instrument}" if instrument in risk.instruments else "default"
        yield f"risk.{name}.book_age_max", risk.limits(instrument).book_age_max_ns
    if isinstance(margin, MarginConfig):
        yield "margin.mark_age_max", margin.mark_age_max_ns


def symbol_references(raw: dict[str, Any], path: str) -> Iterator[Reference]:
    """Yield the symbols that a venue's parametric settings name, as instruments of that venue."""
    table, venue = raw.get("parametric"), raw.get("id")
    if not isinstance(table, dict) or not isinstance(venue, str):
        return
    for key in _BY_SYMBOL:
        named = table.get(key)
        for symbol in named if isinstance(named, dict) else ():
            yield Reference("instrument", f"{venue}:{symbol}", f"{path}.parametric.{key}.{symbol}")


__all__ = ["bar_mistakes", "symbol_references"]
