"""What a basket makes of news that comes late or from outside: lost orders found, legs taken by the venue."""

from decimal import Decimal

import pytest
from attrs import evolve
from cell_harness import PERP, SECOND, SPOT, D, Harness, Outcome, ScriptedVenue, buy, sell

from actors.messages import BasketIntent, BasketUpdate, FillEvent, KillLevel, KillState, KillTrigger
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import OrderFilled, SubmitOrder

CARRY = (buy(SPOT, "1"), sell(PERP, "1"))


def desk(venue: ScriptedVenue | None = None) -> Harness:
    cell = Harness(venue=venue)
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    return cell


def opened(cell: Harness, qty: str = "1") -> None:
    cell.tell(BasketIntent(cell.now, "b1", "s", (buy(SPOT, qty), sell(PERP, qty))))


def close(cell: Harness, basket: str, name: str) -> None:
    legs = cell.executor.open_legs(cell.executor.state.baskets[basket])
    cell.tell(BasketIntent(cell.now, name, "s", legs, basket, deadline_ns=4 * SECOND))


def submits(cell: Harness) -> list[SubmitOrder]:
    return [command for command in cell.commands if isinstance(command, SubmitOrder)]


def taken(qty: str, side: Side = Side.BUY, reason: FillReason = FillReason.ADL, where: str = "BOTH") -> OrderFilled:
    """A fill the venue made by itself, under an order of its own."""
    return OrderFilled(
        1,
        "acc",
        PERP.id,
        "adl_autoclose-1",
        "adl_autoclose-1",
        f"forced-{qty}-{where}",
        side,
        D(61000),
        D(qty),
        Liquidity.NONE,
        ZERO,
        "USDT",
        reason,
        PositionSide(where),
    )


# Orders whose fate came out after their basket was given up


def a_broken_close() -> Harness:
    """The close's perpetual order was done, its reports are lost and no query is answered until after its deadline."""
    cell = desk()
    opened(cell)
    cell.venue.by_instrument[PERP.id] = [Outcome(is_lost=True)]
    cell.venue.failing_queries = 1_000
    close(cell, "b1", "c1")
    cell.advance(5 * SECOND)
    assert (cell.states("c1")[-1], cell.states("b1")[-1]) == ("broken", "broken")
    return cell


def test_a_fill_of_a_broken_close_comes_off_the_basket_it_closed() -> None:
    cell = a_broken_close()
    cell.venue.failing_queries = 0
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert cell.executor.state.baskets["b1"].filled() == (ZERO, ZERO)
    assert cell.venue.positions() == {SPOT.id: ZERO, PERP.id: ZERO}


def test_nothing_is_closed_twice_while_an_earlier_close_may_still_fill() -> None:
    cell = a_broken_close()
    count = len(submits(cell))
    close(cell, "b1", "c2")
    assert cell.states("c2") == ["denied"]
    assert "may still fill" in cell.why("c2")
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", "drill"))
    cell.advance(3 * SECOND)
    assert len(submits(cell)) == count


def test_a_flatten_goes_on_once_the_lost_order_is_found() -> None:
    cell = desk()
    opened(cell)
    cell.venue.by_instrument[PERP.id] = [Outcome(is_lost=True, arrives=False)]
    cell.venue.failing_queries = 12
    close(cell, "b1", "c1")
    cell.advance(5 * SECOND)
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", "drill"))
    cell.advance(120 * SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.positions() == {SPOT.id: ZERO, PERP.id: ZERO}


@pytest.mark.parametrize(("arrives", "ends"), [(False, "flat"), (True, "balanced")])
def test_a_basket_given_up_for_lost_orders_is_settled_by_what_became_of_them(arrives: bool, ends: str) -> None:
    lost = [Outcome(is_lost=True, arrives=arrives), Outcome(is_lost=True, arrives=arrives)]
    cell = desk(ScriptedVenue(lost, failing_queries=1_000))
    cell.tell(BasketIntent(cell.now, "b1", "s", CARRY, deadline_ns=4 * SECOND))
    cell.advance(5 * SECOND)
    assert cell.states("b1")[-1] == "broken"
    cell.venue.failing_queries = 0
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == ends
    assert len(submits(cell)) == 2


def test_a_fill_of_a_broken_opening_is_told_when_it_makes_the_basket_uneven() -> None:
    """Given up with nothing filled, as far as was known: the incident told of no imbalance."""
    cell = desk()
    cell.venue.by_instrument[SPOT.id] = [Outcome(is_lost=True)]
    cell.venue.by_instrument[PERP.id] = [Outcome(is_rejected=True) for _ in range(50)]
    cell.venue.failing_queries = 1_000
    opened(cell)
    cell.advance(30 * SECOND)
    assert cell.states("b1")[-1] == "broken"
    assert "fill_after_end" not in cell.incidents()
    cell.venue.failing_queries = 0
    cell.advance(60 * SECOND)
    assert cell.executor.state.baskets["b1"].filled() == (D(1), ZERO)
    assert "fill_after_end" in cell.incidents()


# Legs taken by the venue


@pytest.mark.parametrize("reason", [FillReason.LIQUIDATION, FillReason.ADL, FillReason.SETTLEMENT])
def test_a_leg_taken_by_the_venue_unwinds_the_other(reason: FillReason) -> None:
    # hummingbot 3103, 4364: liquidation or ADL of one leg must unwind the other.
    cell = desk()
    opened(cell)
    cell.feed(taken("0.4", reason=reason))
    cell.advance(SECOND)
    assert cell.states("b1")[-2:] == ["unwinding", "balanced"]
    assert "leg_taken" in cell.incidents()
    assert cell.executor.state.baskets["b1"].filled() == (D("0.6"), D("-0.6"))


def test_a_fill_of_the_other_side_takes_nothing() -> None:
    cell = desk()
    opened(cell)
    cell.feed(taken("0.4", Side.SELL), taken("0.4", where="LONG"))
    assert cell.executor.state.baskets["b1"].filled() == (D(1), D(-1))


def test_somebody_elses_fill_takes_nothing() -> None:
    cell = desk()
    opened(cell)
    cell.feed(taken("0.4", reason=FillReason.TAKER))
    assert cell.executor.state.baskets["b1"].filled() == (D(1), D(-1))
    assert [trigger.trigger for trigger in cell.seen(KillTrigger)] == ["external_fill"]


def test_a_leg_taken_before_its_own_fill_was_reported_is_missed_all_the_same() -> None:
    cell = desk()
    cell.venue.by_instrument[PERP.id] = [Outcome(is_lost=True)]
    cell.venue.failing_queries = 4
    opened(cell)
    cell.feed(taken("0.4"))
    cell.advance(20 * SECOND)
    assert cell.states("b1")[-1] == "balanced"
    assert cell.executor.state.baskets["b1"].filled() == (D("0.6"), D("-0.6"))


def test_no_leg_is_traded_while_a_close_of_it_may_still_fill() -> None:
    """Unwinding for a liquidation would sell the spot a second time."""
    cell = desk()
    opened(cell)
    cell.venue.outcomes = [Outcome(is_lost=True), Outcome(is_rejected=True), Outcome(is_rejected=True)]
    cell.venue.by_instrument[PERP.id] = [Outcome(is_rejected=True) for _ in range(50)]
    cell.venue.failing_queries = 1_000
    close(cell, "b1", "c1")
    cell.advance(5 * SECOND)
    cell.feed(taken("1"))
    cell.advance(5 * SECOND)
    assert cell.states("b1")[-1] == "unwinding"
    cell.venue.failing_queries = 0
    cell.advance(60 * SECOND)
    assert cell.venue.positions()[SPOT.id] == ZERO
    assert cell.executor.state.baskets["b1"].filled() == (ZERO, ZERO)


def test_a_broken_basket_tells_what_was_taken_from_it() -> None:
    """A strategy that does not know asks to close more than is open, for ever."""
    cell = desk()
    cell.venue.by_instrument[SPOT.id] = [Outcome(is_rejected=True) for _ in range(50)]
    cell.venue.by_instrument[PERP.id] = [Outcome(), *(Outcome(is_rejected=True) for _ in range(50))]
    opened(cell)
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "broken"
    cell.feed(taken("0.4"))
    assert [m.filled for m in cell.seen(BasketUpdate) if m.basket_id == "b1"][-1] == (ZERO, D("-0.6"))


def test_a_close_of_one_leg_takes_the_residual_of_the_whole_basket() -> None:
    """A rest below the quantum of 0.001 is held under the accounts of both legs, whichever of them is still open."""
    cell = desk()
    cell.tell(BasketIntent(cell.now, "b1", "s", (buy(SPOT, "1"), evolve(sell(PERP, "1"), account="other"))))
    cell.executor.state.residuals["BTC|acc+other"] = D("0.0009")
    cell.venue.by_instrument[PERP.id] = [Outcome(D("0.999"))]
    close(cell, "b1", "c1")
    assert cell.executor.state.baskets["b1"].filled() == (ZERO, D("-0.001"))
    close(cell, "b1", "c2")
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.positions() == {SPOT.id: ZERO, PERP.id: ZERO}


def test_dust_on_one_leg_does_not_keep_the_other_open() -> None:
    """0.0001 spot of a broken opening are worth less than the least order; the perpetual must go all the same."""
    cell = desk()
    cell.quote(SPOT, "40000.00", "40001.00")
    cell.quote(PERP, "40010.0", "40010.5")
    cell.venue.by_instrument[PERP.id] = [Outcome(D("0.002")), *(Outcome(is_rejected=True) for _ in range(50))]
    cell.venue.outcomes = [Outcome(D("0.0001")), *(Outcome(is_rejected=True) for _ in range(50))]
    opened(cell)
    cell.advance(60 * SECOND)
    assert cell.executor.state.baskets["b1"].filled() == (D("0.0001"), D("-0.002"))
    assert cell.states("b1")[-1] == "broken"
    cell.venue.outcomes.clear()
    cell.venue.by_instrument.clear()
    close(cell, "b1", "c1")
    assert cell.states("c1")[-1] == "balanced"
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.positions()[PERP.id] == ZERO


def test_fills_by_the_venue_are_told_apart_by_their_reason() -> None:
    cell = desk()
    cell.feed(taken("0.4"))
    (event,) = cell.seen(FillEvent)
    assert isinstance(event.fill, Fill)
    assert (event.basket_id, event.fill.reason, event.fill.qty) == ("", FillReason.ADL, Decimal("0.4"))
