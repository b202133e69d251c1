"""What a run comes down to: the numbers of its summary, read from the actors when it is over."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor
from actors.cell import Cell
from actors.feed_handler import FeedHandler
from actors.feed_state import BestPrices
from actors.kill_switch import KillSwitch
from actors.ledger import Ledger
from actors.strategies.base import Strategy
from daemon.config_schema import RunConfig
from sim.cell_loop import DriverResult
from venues.model.money import ZERO, to_text

Summary = dict[str, Any]
"""Fit for JSON: decimals are strings in plain notation."""

_A = TypeVar("_A", bound=Actor)
_NS = Decimal(1_000_000_000)


def summarize(
    config: RunConfig, cell: Cell, result: DriverResult, run_id: str, journal_sha256: str, wall: float
) -> Summary:
    """Return the summary of a finished run. Money is summed over the assets the ledger counts as quote money."""
    actors = cell.dispatcher.actors
    feed, ledger = _the(actors, FeedHandler), _the(actors, Ledger)
    executor, kill = _the(actors, AtomicExecutor).state, _the(actors, KillSwitch).state
    longest_ns = _the(actors, AtomicExecutor).longest_unhedged_ns(result.end_ns)
    totals = ledger.totals()
    par = ledger.config.par
    counts = feed.counts()
    return {
        "run_id": run_id,
        "config_sha256": config.sha256,
        "market_events": result.market_events,
        "decisions": sum(actor.state.decisions for actor in actors.values() if isinstance(actor, Strategy)),
        "intents": result.intents,
        "fills": result.fills,
        "baskets": {
            "planned": executor.counters.planned,
            "balanced": executor.counters.balanced,
            "unwound": executor.counters.unwound,
            "broken": executor.counters.broken,
            "denied": executor.counters.denied,
            "closed": executor.counters.closed,
        },
        "net_pnl": _sum(totals.net, par),
        "realized_pnl": _sum(totals.realized, par),
        "fees": _sum(totals.fees, par),
        "funding": _sum(totals.funding, par),
        "unrealized_pnl": _sum(totals.unrealized, par),
        "other_assets": {
            asset: short(amount) for asset, amount in sorted(totals.net.items()) if asset not in par and amount
        },
        "max_unhedged_notional": short(executor.max_unhedged),
        "max_unhedged_seconds": short(longest_ns / _NS),
        "positions": {
            key: to_text(position.qty) for key, position in sorted(ledger.state.positions.items()) if position.qty
        },
        "feeds": {
            name: {"frames": one.frames, "gaps": one.gaps, "crossed": one.crossed, "stale": one.stale}
            for name, one in sorted(counts.items())
        },
        "kill_level": kill.level.name,
        "quarantined": [one.error for one in cell.quarantined],
        "halt": None if result.halt is None else result.halt.why,
        "journal_sha256": journal_sha256,
        "wall_seconds": f"{wall:.3f}",
        "books": {
            name: {side: None if price is None else to_text(price) for side, price in _sides(best)}
            for name, best in sorted(feed.books().items())
        },
    }


def short(number: Decimal) -> str:
    """Return `number` in plain notation without trailing zeros."""
    text = to_text(number)
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _sum(amounts: Mapping[str, Decimal], assets: tuple[str, ...]) -> str:
    return short(sum((amounts.get(asset, ZERO) for asset in assets), ZERO))


def _sides(best: BestPrices) -> list[tuple[str, Decimal | None]]:
    return [
        ("best_bid", best.best_bid),
        ("best_bid_qty", best.best_bid_qty),
        ("best_ask", best.best_ask),
        ("best_ask_qty", best.best_ask_qty),
    ]


def _the(actors: Mapping[str, Actor], kind: type[_A]) -> _A:
    (found,) = [actor for actor in actors.values() if isinstance(actor, kind)]
    return found
