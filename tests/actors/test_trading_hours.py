"""When a leg stops trading, and that no basket is left open-ended by it."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from attrs import evolve
from cell_harness import COARSE, PERP, SECOND, SPOT, D, Harness, Outcome, ScriptedVenue, buy, sell

from actors.messages import BasketIntent, BasketLeg, KillLevel, KillState
from actors.trading_hours import closure
from venues.model.money import ZERO
from venues.port import InstrumentState, InstrumentStatus, RejectReason, SubmitOrder
from venues.rules.cme_products import product
from venues.rules.instants import instant_ns

ES = product("ES")
HOUR = 3_600 * SECOND
CARRY = (buy(SPOT, "1"), sell(COARSE, "100"))


def at(text: str) -> int:
    return instant_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


# CME equity products trade from 17:00 to 16:00 Chicago time, Sunday to Friday: facts/cme_ib.md A2. In January Chicago
# is UTC-6, in July UTC-5. 2026-01-19 is a Monday and Martin Luther King day: equity products halt at 12:00.
HOURS = [
    ("2026-01-14T20:00:00", "2026-01-14T21:59:59.999999", ""),
    ("2026-01-14T20:00:00", "2026-01-14T22:00:00", "closes at 2026-01-14 22:00:00+00:00"),
    ("2026-07-15T20:00:00", "2026-07-15T21:00:00", "closes at 2026-07-15 21:00:00+00:00"),
    ("2026-01-14T22:00:00", "2026-01-14T22:00:01", "is closed at 2026-01-14 22:00:00+00:00"),
    ("2026-01-14T22:59:59", "2026-01-14T23:30:00", "is closed at 2026-01-14 22:59:59+00:00"),
    ("2026-01-14T23:00:00", "2026-01-15T21:59:59", ""),
    ("2026-01-14T23:00:00", "2026-01-15T22:00:00", "closes at 2026-01-15 22:00:00+00:00"),
    ("2026-01-16T21:00:00", "2026-01-16T22:30:00", "closes at 2026-01-16 22:00:00+00:00"),
    ("2026-01-17T12:00:00", "2026-01-17T12:00:01", "is closed at 2026-01-17 12:00:00+00:00"),
    ("2026-01-19T17:00:00", "2026-01-19T19:00:00", "closes at 2026-01-19 18:00:00+00:00"),
]


@pytest.mark.parametrize(("now", "until", "why"), HOURS)
def test_a_calendar_says_when(now: str, until: str, why: str) -> None:
    assert closure(COARSE, ES, at(now), at(until)) == why


def test_what_has_no_calendar_trades_until_it_expires() -> None:
    assert closure(PERP, None, at("2026-01-17T12:00:00"), at("2030-01-01T00:00:00")) == ""
    dated = evolve(PERP, expiry_ns=at("2026-03-27T08:00:00"))
    assert closure(dated, None, at("2026-03-27T07:00:00"), at("2026-03-27T07:59:59")) == ""
    why = "expires at 2026-03-27 08:00:00+00:00"
    assert closure(dated, None, at("2026-03-27T07:00:00"), at("2026-03-27T08:00:00")) == why


def test_hours_that_nobody_knows_are_closed() -> None:
    assert closure(COARSE, ES, SECOND, 2 * SECOND).startswith("has no known hours")


# Baskets


def desk(start: str, venue: ScriptedVenue | None = None) -> Harness:
    cell = Harness(venue=venue, start=at(start))
    cell.executor.products = {COARSE.id: ES}
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(COARSE, "60020.0", "60020.5", size="10000")
    return cell


def begin(cell: Harness, *legs: BasketLeg, **given: Any) -> None:
    cell.tell(BasketIntent(cell.now, "b1", "s", legs or CARRY, **given))


def submits(cell: Harness) -> list[SubmitOrder]:
    return [command for command in cell.commands if isinstance(command, SubmitOrder)]


@pytest.mark.parametrize(("deadline_s", "is_begun"), [(59, True), (60, False), (600, False)])
def test_a_basket_that_may_still_be_at_work_when_a_leg_closes_is_not_begun(deadline_s: int, is_begun: bool) -> None:
    cell = desk("2026-01-14T21:59:00")
    begin(cell, deadline_ns=deadline_s * SECOND)
    assert (cell.states("b1")[-1] == "balanced") == is_begun
    assert bool(submits(cell)) == is_begun
    if not is_begun:
        assert cell.why("b1") == "closure: coarse:BTCUSDT closes at 2026-01-14 22:00:00+00:00"


def test_a_close_does_not_reach_into_a_closure_either_but_a_flatten_tries() -> None:
    cell = desk("2026-01-14T21:59:00")
    begin(cell, deadline_ns=10 * SECOND)
    legs = cell.executor.open_legs(cell.executor.state.baskets["b1"])
    cell.tell(BasketIntent(cell.now, "c1", "s", legs, "b1", deadline_ns=HOUR))
    assert cell.why("c1").startswith("closure")
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", ""))
    assert cell.states("b1")[-1] == "flat"


def halt(cell: Harness, *instruments: str) -> None:
    cell.desk.state.dead |= set(instruments)
    cell.feed(*(InstrumentStatus(cell.now, name, InstrumentState.HALT) for name in instruments))


def resume(cell: Harness, *instruments: str) -> None:
    cell.desk.state.dead -= set(instruments)
    cell.feed(*(InstrumentStatus(cell.now, name, InstrumentState.OPEN) for name in instruments))


def halted_in_the_middle(*instruments: str) -> Harness:
    """100 contracts were sold when trading stopped; spot filled nothing."""
    lost = Outcome(ZERO, is_lost=True)
    cell = desk("2026-01-14T15:00:00", ScriptedVenue(by_instrument={SPOT.id: [lost]}, failing_queries=3))
    begin(cell, deadline_ns=HOUR, risk_budget=D(10**12))
    assert cell.states("b1")[-1] == "working"
    halt(cell, *instruments)
    return cell


def test_a_halt_of_the_leg_that_is_short_has_the_other_taken_back() -> None:
    cell = halted_in_the_middle(SPOT.id)
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.net_base() == ZERO
    assert {order.instrument for order in submits(cell)[2:]} == {COARSE.id}


def test_a_halt_of_the_leg_that_is_long_has_the_other_completed() -> None:
    cell = halted_in_the_middle(COARSE.id)
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "balanced"
    assert {order.instrument for order in submits(cell)[2:]} == {SPOT.id}


def test_a_leg_that_trades_but_has_no_depth_has_its_attempts_counted() -> None:
    cell = halted_in_the_middle(SPOT.id)
    cell.desk.state.asks[COARSE.id] = ()
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "broken"
    assert cell.executor.state.baskets["b1"].misses == 8


def test_with_every_leg_halted_the_basket_waits_and_goes_on_where_it_was() -> None:
    cell = halted_in_the_middle(SPOT.id, COARSE.id)
    cell.advance(1_800 * SECOND)
    assert len(submits(cell)) == 2
    assert cell.executor.state.baskets["b1"].misses == 0
    assert cell.why("b1") == "" or "trading" not in cell.why("b1")
    resume(cell, SPOT.id, COARSE.id)
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.net_base() == ZERO
    # The first attempt after the pause is the first of all: 20 bps would be the second's.
    assert submits(cell)[2].price == D("60061.00")


HALTED = Outcome(is_rejected=True, reason=RejectReason.HALTED)


def test_a_leg_that_is_refused_for_a_halt_has_the_other_taken_back_at_once() -> None:
    cell = desk("2026-01-14T15:00:00", ScriptedVenue(by_instrument={SPOT.id: [HALTED]}))
    begin(cell)
    assert cell.states("b1") == ["planned", "reserved", "working", "unwinding", "flat"]
    assert cell.executor.state.baskets["b1"].misses == 0
    assert cell.venue.positions() == {COARSE.id: ZERO}


def test_refusals_for_a_halt_are_no_attempts_and_come_once_in_a_while() -> None:
    tries = 30
    cell = desk(
        "2026-01-14T15:00:00",
        ScriptedVenue(by_instrument={SPOT.id: [HALTED] * tries, COARSE.id: [Outcome(), *[HALTED] * tries]}),
    )
    begin(cell, deadline_ns=HOUR, risk_budget=D(10**12))
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert cell.executor.state.baskets["b1"].misses == 0
    times = [order.ts for order in submits(cell) if order.instrument == COARSE.id][1:]
    assert len(times) == tries + 1
    assert {b - a for a, b in pairwise(times)} == {SECOND}


def test_a_basket_that_never_can_go_on_breaks_at_its_deadline_with_the_cause() -> None:
    cell = halted_in_the_middle(SPOT.id, COARSE.id)
    cell.advance(2 * HOUR)
    assert cell.states("b1")[-1] == "broken"
    assert "no trading in spot:BTCUSDT, coarse:BTCUSDT" in cell.why("b1")
