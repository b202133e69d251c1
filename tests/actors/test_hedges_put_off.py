"""Hedges that a venue does not take just now (503, 429): asked for again, each time later, and at no worse a price."""

from itertools import pairwise
from typing import Any

import pytest
from cell_harness import PERP, SECOND, SPOT, D, Harness, Outcome, ScriptedVenue, buy, sell

from actors.messages import BasketIntent, Placement
from venues.model.money import ZERO
from venues.port import RejectReason, SubmitOrder

MS = 1_000_000
BUSY = Outcome(is_rejected=True, reason=RejectReason.RATE_LIMIT)
NOBODY = Outcome(ZERO)


def desk(*of_perp: Outcome, spot: tuple[Outcome, ...] = ()) -> Harness:
    cell = Harness(venue=ScriptedVenue(by_instrument={PERP.id: list(of_perp), SPOT.id: [Outcome(), *spot]}))
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    return cell


def begin(cell: Harness, **given: Any) -> None:
    legs = buy(SPOT, "1"), sell(PERP, "1")
    terms: dict[str, Any] = {"deadline_ns": 60 * SECOND, "risk_budget": D(10**9), **given}
    cell.tell(BasketIntent(cell.now, "b1", "s", legs, **terms))


def hedges(cell: Harness, instrument: str = PERP.id) -> list[SubmitOrder]:
    """Return the orders in an instrument after the first."""
    return [order for order in submits(cell) if order.instrument == instrument][1:]


def submits(cell: Harness) -> list[SubmitOrder]:
    return [command for command in cell.commands if isinstance(command, SubmitOrder)]


def test_a_busy_venue_is_asked_again_later_each_time_at_the_price_of_the_first() -> None:
    cell = desk(NOBODY, BUSY, BUSY, BUSY)
    begin(cell)
    cell.advance(5 * SECOND)
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.net_base() == ZERO
    asked = hedges(cell)
    assert len(asked) == 4
    assert [b.ts - a.ts for a, b in pairwise(asked)] == [100 * MS, 200 * MS, 400 * MS]
    # Had they counted as nobody's being there, the cap would have doubled each time.
    assert {order.price for order in asked} == {asked[0].price}
    assert cell.executor.state.baskets["b1"].price_misses == 0


def test_one_that_found_nobody_at_its_price_pays_more_next_time() -> None:
    cell = desk(NOBODY, NOBODY, NOBODY)
    begin(cell)
    cell.advance(5 * SECOND)
    first, second, _ = hedges(cell)
    assert first.price is not None
    assert second.price is not None
    assert second.price < first.price


def test_half_of_the_attempts_in_vain_have_the_other_leg_taken_back() -> None:
    cell = desk(NOBODY, *[BUSY] * 100)
    begin(cell)
    cell.advance(20 * SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert len(hedges(cell)) == 4
    assert [order.side for order in hedges(cell, SPOT.id)] == ["sell"]


def test_when_no_venue_takes_anything_the_basket_breaks_at_its_deadline_and_says_why() -> None:
    cell = desk(NOBODY, *[BUSY] * 1_000, spot=(BUSY,) * 1_000)
    begin(cell)
    cell.advance(59 * SECOND)
    assert cell.states("b1")[-1] in ("working", "hedging", "unwinding")
    cell.advance(2 * SECOND)
    assert cell.states("b1")[-1] == "broken"
    assert "deadline" in cell.why("b1")
    assert len(hedges(cell)) + len(hedges(cell, SPOT.id)) < 50


@pytest.mark.parametrize("refusals", [1, 3])
def test_a_follower_put_off_is_not_sent_again_at_once(refusals: int) -> None:
    cell = desk(*[BUSY] * refusals)
    begin(cell, placement=Placement.SEQUENTIAL, is_ordered=True)
    assert len(submits(cell)) == 2
    cell.advance(5 * SECOND)
    assert cell.states("b1")[-1] == "balanced"
    assert len(hedges(cell)) == refusals
