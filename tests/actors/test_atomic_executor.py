"""The executor's promise: neutral, flat, or broken with an incident.

Threads named in the tests are public ones; what went wrong there must not here.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from cell_harness import (
    COARSE,
    INVERSE,
    PERP,
    SECOND,
    SPECS,
    SPOT,
    D,
    Harness,
    Outcome,
    ScriptedVenue,
    buy,
    sell,
)
from hypothesis import given
from hypothesis import strategies as st

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor
from actors.basket_plan import ExecutorConfig
from actors.cell import CellRestarted
from actors.messages import (
    BasketIntent,
    BasketLeg,
    BasketUpdate,
    Checker,
    FeedStatus,
    FillEvent,
    Incident,
    KillLevel,
    KillState,
    KillTrigger,
    OrderRequest,
    PreflightRequest,
    ReservationReleased,
    StopCommand,
)
from actors.order_records import OrderManagerConfig
from venues.model.money import ZERO
from venues.model.order import OrderType, Side
from venues.port import CancelOrder, OrderFilled, SubmitOrder

CARRY = (buy(SPOT, "1"), sell(PERP, "1"))


def desk(
    venue: ScriptedVenue | None = None, config: ExecutorConfig | None = None, others: tuple[Actor, ...] = ()
) -> Harness:
    cell = Harness(*others, venue=venue, config=config)
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    cell.quote(COARSE, "60020.0", "60020.5", size="10000")
    return cell


def intent(
    cell: Harness, *legs: BasketLeg, basket: str = "b1", closes: str | None = None, **bounds: Any
) -> BasketIntent:
    return BasketIntent(cell.now, basket, "s", legs or CARRY, closes, **bounds)


def submits(cell: Harness) -> list[SubmitOrder]:
    return [command for command in cell.commands if isinstance(command, SubmitOrder)]


def closing(cell: Harness, basket: str, close: str) -> BasketIntent:
    """A close of everything the basket holds."""
    legs = cell.executor.open_legs(cell.executor.state.baskets[basket])
    return BasketIntent(cell.now, close, "s", legs, basket)


# The straight road


def test_both_legs_go_out_at_once_inside_the_cap_and_end_balanced() -> None:
    cell = desk()
    cell.tell(intent(cell))
    assert cell.states("b1") == ["planned", "reserved", "working", "balanced"]
    spot, perp = submits(cell)
    # 10 bps of 60001.00 rounded down to a cent for a buy, of 60010.0 rounded up to 0.1 for a sell.
    assert (spot.price, perp.price) == (D("60061.00"), D("59950.0"))
    assert (spot.ts, spot.tif, spot.qty) == (perp.ts, "IOC", perp.qty)
    assert cell.venue.net_base() == ZERO
    assert len(cell.seen(ReservationReleased)) == 1
    assert cell.executor.state.counters.balanced == 1


def test_a_close_takes_the_basket_off_reduce_only() -> None:
    cell = desk()
    cell.tell(intent(cell))
    cell.tell(closing(cell, "b1", "c1"))
    assert cell.states("c1")[-1] == "balanced"
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.positions() == {SPOT.id: ZERO, PERP.id: ZERO}
    closes = submits(cell)[2:]
    # Spot venues know no reduce-only.
    assert [(order.instrument, order.reduce_only) for order in closes] == [(SPOT.id, False), (PERP.id, True)]
    assert cell.executor.state.counters.closed == 1
    assert all(request.is_hedge for request in cell.seen(OrderRequest)[2:])


def test_equal_partial_fills_are_a_smaller_basket() -> None:
    cell = desk(ScriptedVenue([Outcome(D("0.4")), Outcome(D("0.4"))]))
    cell.tell(intent(cell))
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.positions() == {SPOT.id: D("0.4"), PERP.id: D("-0.4")}


def test_nothing_filled_is_flat() -> None:
    cell = desk(ScriptedVenue([Outcome(ZERO), Outcome(ZERO)]))
    cell.tell(intent(cell))
    assert cell.states("b1")[-1] == "flat"
    assert len(submits(cell)) == 2


def test_a_partial_close_leaves_a_smaller_basket_that_can_be_closed_again() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(), Outcome(D("0.5")), Outcome(D("0.5"))]))
    cell.tell(intent(cell))
    cell.tell(closing(cell, "b1", "c1"))
    assert (cell.states("c1")[-1], cell.states("b1")[-1]) == ("balanced", "balanced")
    assert cell.executor.state.baskets["b1"].filled() == (D("0.5"), D("-0.5"))
    cell.tell(closing(cell, "b1", "c2"))
    assert cell.states("b1")[-1] == "flat"


# Refusals

REFUSED = [
    ("not_neutral", (buy(SPOT, "1"),)),
    ("not_neutral", (buy(SPOT, "1"), sell(PERP, "0.9"))),
    ("not_neutral", (buy(SPOT, "1"), buy(PERP, "1"))),
    ("no_legs", ()),
    ("duplicate_leg", (buy(SPOT, "1"), sell(SPOT, "1"))),
    ("unknown_instrument", (buy(SPOT, "1"), evolve(sell(PERP, "1"), instrument="perp:ETHUSDT"))),
    ("inverse_leg", (buy(SPOT, "1"), sell(INVERSE, "600"))),
    ("bad_parameter", (buy(SPOT, "NaN"), sell(PERP, "1"))),
    ("bad_parameter", (buy(SPOT, "Infinity"), sell(PERP, "1"))),
    ("bad_parameter", (buy(SPOT, "-1"), sell(PERP, "-1"))),
    ("bad_parameter", (buy(SPOT, "1", limit="NaN"), sell(PERP, "1"))),
    ("below_quantum", (buy(SPOT, "0.0005"), sell(PERP, "0.0004"))),
    ("limit_price", (buy(SPOT, "1", limit="60000.50"), sell(PERP, "1"))),
    ("limit_price", (buy(SPOT, "1"), sell(PERP, "1", limit="60010.1"))),
]


@pytest.mark.parametrize(("reason", "legs"), REFUSED)
def test_what_cannot_be_a_neutral_trade_is_denied_before_any_order(reason: str, legs: tuple[BasketLeg, ...]) -> None:
    cell = desk()
    cell.tell(BasketIntent(cell.now, "b1", "s", legs))
    assert cell.states("b1")[-1] == "denied"
    assert cell.why("b1").startswith(reason)
    assert submits(cell) == []


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_slippage_bps": D("NaN")},
        {"max_slippage_bps": D(-1)},
        {"risk_budget": D("Infinity")},
        {"deadline_ns": 0},
    ],
)
def test_parameters_that_are_no_bounds_are_denied(bounds: dict[str, Any]) -> None:
    cell = desk()
    cell.tell(intent(cell, **bounds))
    assert cell.why("b1").startswith("bad_parameter")


def test_an_instrument_without_a_live_touch_blocks() -> None:
    cell = Harness()
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.tell(intent(cell))
    assert cell.why("b1") == "no_touch: perp:BTCUSDT"
    cell.quote(PERP, "60010.0", "60010.5")
    cell.feed(FeedStatus(cell.now, SPOT.id, False, "gap"))
    cell.tell(intent(cell, basket="b2"))
    assert cell.why("b2") == "no_touch: spot:BTCUSDT"
    # Live again is not enough: the touch of before the gap is not trusted.
    cell.feed(FeedStatus(cell.now, SPOT.id, True))
    cell.tell(intent(cell, basket="b3"))
    assert cell.why("b3") == "no_touch: spot:BTCUSDT"


def test_one_refusing_checker_denies_and_releases() -> None:
    cell = desk()
    cell.desk.state.refusing = {Checker.MARGIN: "short of 10 USDT"}
    cell.tell(intent(cell))
    assert cell.states("b1") == ["planned", "denied"]
    assert "margin: short of 10 USDT" in cell.why("b1")
    assert len(cell.seen(ReservationReleased)) == 1
    assert submits(cell) == []


def test_a_silent_checker_denies_in_time() -> None:
    cell = desk()
    cell.desk.state.silent = [Checker.LIQUIDITY]
    cell.tell(intent(cell))
    assert cell.states("b1") == ["planned"]
    cell.advance(2 * SECOND)
    assert cell.why("b1") == "preflight_timeout: agreed were risk, margin, rate"


def test_a_basket_id_is_used_once_and_the_live_basket_is_not_touched() -> None:
    cell = desk()
    cell.tell(intent(cell))
    cell.tell(intent(cell))
    assert cell.states("b1") == ["planned", "reserved", "working", "balanced"]
    assert cell.incidents() == ["duplicate_basket"]
    assert cell.executor.state.counters.denied == 1
    cell.tell(closing(cell, "b1", "c1"))
    cell.tell(intent(cell))
    assert cell.states("b1")[-1] == "denied"
    assert len(submits(cell)) == 4


@pytest.mark.parametrize(
    ("level", "is_close", "ends"),
    [
        (KillLevel.REDUCE_ONLY, False, "denied"),
        (KillLevel.REDUCE_ONLY, True, "balanced"),
        (KillLevel.CANCEL_ALL, False, "denied"),
        (KillLevel.CANCEL_ALL, True, "balanced"),
    ],
)
def test_a_kill_level_stops_opening_not_closing(level: KillLevel, is_close: bool, ends: str) -> None:
    cell = desk()
    cell.tell(intent(cell))
    cell.tell(KillState(cell.now, level, "test", ""))
    cell.tell(closing(cell, "b1", "x") if is_close else intent(cell, basket="x"))
    assert cell.states("x")[-1] == ends


def test_a_stop_refuses_new_baskets_and_lets_working_ones_finish() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(ZERO)]))
    cell.on_submit = lambda order: cell.dispatcher.offer(StopCommand(cell.now, "end of run"))
    cell.tell(intent(cell))
    assert cell.states("b1")[-1] == "balanced"
    cell.tell(intent(cell, basket="b2"))
    assert cell.why("b2").startswith("stopping")


@pytest.mark.parametrize(
    ("closes", "legs", "reason"),
    [
        ("nobody", (sell(SPOT, "1"), buy(PERP, "1")), "not_open"),
        ("b1", (sell(SPOT, "2"), buy(PERP, "2")), "closes_more"),
        ("b1", (buy(SPOT, "1"), sell(PERP, "1")), "closes_more"),
        ("b1", (sell(SPOT, "1"),), "not_neutral"),
    ],
)
def test_a_close_takes_off_what_is_open_and_no_more(closes: str, legs: tuple[BasketLeg, ...], reason: str) -> None:
    cell = desk()
    cell.tell(intent(cell))
    cell.tell(intent(cell, *legs, basket="c1", closes=closes))
    assert cell.why("c1").startswith(reason)


# Sizes and residuals


def test_what_is_below_the_common_quantum_is_not_sent() -> None:
    # facts/execution.md 4.7: 0.408 against lots of 0.01 base units trades 0.40.
    cell = desk()
    cell.tell(intent(cell, buy(SPOT, "0.408"), sell(COARSE, "40")))
    assert cell.states("b1")[-1] == "balanced"
    assert [order.qty * SPECS[order.instrument].multiplier for order in submits(cell)] == [D("0.40"), D("0.40")]


def test_a_residual_is_kept_and_netted_by_the_next_basket() -> None:
    # The fine leg fills 0.4053, the coarse one can only follow to 0.40.
    venue = ScriptedVenue([Outcome(D("0.4053")), Outcome(D("0.40"))])
    cell = desk(venue)
    cell.tell(intent(cell, buy(SPOT, "1"), sell(COARSE, "100")))
    assert cell.states("b1")[-1] == "balanced"
    assert cell.executor.state.residuals == {"BTC|acc": D("0.0053")}
    # Another 0.0053 makes more than a quantum: the second basket takes 0.0106 into account and trims it.
    venue.outcomes = [Outcome(D("0.4053")), Outcome(D("0.40"))]
    cell.tell(intent(cell, buy(SPOT, "1"), sell(COARSE, "100"), basket="b2"))
    cell.advance(5 * SECOND)
    assert cell.states("b2")[-1] == "balanced"
    assert abs(cell.venue.net_base()) < D("0.01")
    assert cell.executor.state.residuals.get("BTC|acc", ZERO) == cell.venue.net_base()


def test_closing_a_basket_with_a_residual_ends_at_zero() -> None:
    cell = desk(ScriptedVenue([Outcome(D("0.4053")), Outcome(D("0.40"))]))
    cell.tell(intent(cell, buy(SPOT, "1"), sell(COARSE, "100")))
    cell.tell(closing(cell, "b1", "c1"))
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.net_base() == ZERO
    assert cell.executor.state.residuals == {}


def test_a_residual_larger_than_the_quantum_of_a_close_does_not_hold_it_up() -> None:
    cell = desk()
    cell.tell(intent(cell))
    cell.executor.state.residuals["BTC|acc"] = D("0.005")
    cell.tell(closing(cell, "b1", "c1"))
    assert (cell.states("c1")[-1], cell.states("b1")[-1]) == ("balanced", "flat")
    assert cell.executor.state.residuals == {"BTC|acc": D("0.005")}
    # An opening basket trims itself by it.
    cell.tell(intent(cell, basket="b2"))
    cell.advance(SECOND)
    assert cell.states("b2")[-1] == "balanced"
    assert cell.executor.state.residuals == {}
    assert cell.venue.net_base() == D("-0.005")


def test_a_spot_fee_in_the_base_asset_is_missing_from_the_leg() -> None:
    class Fees(ScriptedVenue):
        def _fills(self, now: int, order: SubmitOrder, parts: Sequence[Decimal]) -> list[OrderFilled]:
            fills = super()._fills(now, order, parts)
            for fill in fills:
                if fill.instrument == SPOT.id:
                    fill.fee, fill.fee_asset = fill.qty * D("0.001"), "BTC"
            return fills

    cell = desk(Fees())
    cell.tell(intent(cell))
    cell.advance(SECOND)
    # 0.999 BTC arrived: the perpetual is cut to 0.999 too.
    assert cell.states("b1")[-1] == "balanced"
    assert cell.executor.state.baskets["b1"].filled() == (D("0.999"), D("-0.999"))


def test_three_legs_trade_as_one() -> None:
    cell = desk()
    cell.tell(intent(cell, buy(SPOT, "1"), sell(PERP, "0.6"), sell(COARSE, "40")))
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.positions() == {SPOT.id: D(1), PERP.id: D("-0.6"), COARSE.id: D(-40)}


# Uneven fills


def test_a_short_leg_is_completed_when_that_is_cheaper() -> None:
    # hummingbot 3831: spot unfilled, perpetual filled.
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(D("0.25"))]}))
    cell.tell(intent(cell))
    assert cell.states("b1") == ["planned", "reserved", "working", "hedging", "balanced"]
    assert submits(cell)[2].qty == D("0.75")
    assert cell.venue.positions() == {SPOT.id: D(1), PERP.id: D(-1)}


def test_a_long_leg_is_unwound_when_completing_costs_more() -> None:
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(ZERO)]}, prices={PERP.id: D("60010.0")}))
    # Spot ran away within the cap: 5 bps dearer; the perpetual can be bought back one tick above its sale.
    cell.depth(SPOT, [("60000.00", "100")], [("60031.00", "100")])
    cell.tell(intent(cell))
    assert cell.states("b1") == ["planned", "reserved", "working", "unwinding", "flat"]
    unwinding = submits(cell)[2]
    assert (unwinding.instrument, unwinding.side, unwinding.reduce_only) == (PERP.id, Side.BUY, True)
    assert cell.venue.positions() == {PERP.id: ZERO}
    assert cell.executor.state.counters.unwound == 1


def test_a_refused_leg_unwinds_the_other() -> None:
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(is_rejected=True), Outcome(is_rejected=True)]}))
    cell.tell(intent(cell))
    cell.advance(SECOND)
    assert cell.states("b1")[-2:] == ["unwinding", "flat"]
    assert cell.venue.net_base() == ZERO


def test_a_leg_denied_by_the_gate_unwinds_the_other() -> None:
    cell = desk()
    cell.desk.state.denying = lambda request: "collar" if request.instrument == SPOT.id else ""
    cell.tell(intent(cell))
    cell.advance(SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.positions() == {PERP.id: ZERO}


def test_caps_grow_and_the_last_attempt_is_a_market_order() -> None:
    # Nothing fills any more; prices of the reductions go up to the hard cap, then to market.
    venue = ScriptedVenue([Outcome(), Outcome(ZERO)] + [Outcome(ZERO)] * 20)
    cell = desk(venue)
    cell.tell(intent(cell))
    cell.advance(20 * SECOND)
    hedges = submits(cell)[2:]
    assert len(hedges) <= ExecutorConfig().hedge_attempts
    assert hedges[-1].type is OrderType.MARKET
    sells = [order.price for order in hedges if order.price is not None and order.side is Side.SELL]
    assert sells == sorted(sells, reverse=True)
    # No reduction below the hard cap of 100 bps under the bid.
    assert min(sells) >= D("59400")
    assert cell.states("b1")[-1] == "broken"
    assert "basket_broken" in cell.incidents()
    assert cell.seen(KillTrigger)[-1].level is KillLevel.REDUCE_ONLY


def test_attempts_are_bounded() -> None:
    # vnpy 1298: a hedge leg was sent and cancelled more than 20,000 times over the lunch break.
    cell = desk(ScriptedVenue([Outcome(), Outcome(ZERO)] + [Outcome(ZERO)] * 1000))
    cell.tell(intent(cell))
    cell.advance(3600 * SECOND)
    assert len(submits(cell)) <= 2 + ExecutorConfig().hedge_rounds_max


def test_a_dead_book_is_not_hedged_into() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(ZERO)]))
    cell.desk.state.dead = {SPOT.id, PERP.id}
    cell.tell(intent(cell))
    cell.advance(60 * SECOND)
    assert len(submits(cell)) == 2
    assert cell.states("b1")[-1] == "broken"


def test_a_limit_price_binds_the_hedge_too() -> None:
    venue = ScriptedVenue(by_instrument={SPOT.id: [Outcome(ZERO)] + [Outcome(ZERO)] * 9})
    cell = desk(venue)
    cell.tell(intent(cell, buy(SPOT, "1", limit="60002.00"), sell(PERP, "1")))
    cell.advance(10 * SECOND)
    assert all(order.price == D("60002.00") for order in submits(cell) if order.instrument == SPOT.id)


def test_a_difference_too_small_to_send_rolls_everything_back() -> None:
    # hummingbot 6055: a partial fill below the other venue's minimum was never hedged.
    spot = evolve(SPOT, min_notional=D(1000))
    perp = evolve(PERP, min_qty=D("0.1"))
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(D("0.99"))]}))
    cell.executor.instruments = {**SPECS, SPOT.id: spot, PERP.id: perp}
    cell.tell(intent(cell))
    cell.advance(SECOND)
    assert cell.states("b1")[-2:] == ["unwinding", "flat"]
    assert cell.venue.positions() == {SPOT.id: ZERO, PERP.id: ZERO}


def test_an_unwound_close_is_never_tried_only_completed() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(), Outcome(), Outcome(ZERO)]))
    cell.tell(intent(cell))
    cell.tell(closing(cell, "b1", "c1"))
    cell.advance(SECOND)
    assert cell.states("c1") == ["planned", "reserved", "working", "hedging", "balanced"]
    assert cell.states("b1")[-1] == "flat"
    assert [order.side for order in submits(cell)[2:]] == [Side.SELL, Side.BUY, Side.BUY]


def test_a_broken_close_breaks_its_basket_and_can_be_finished_later() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(), Outcome()] + [Outcome(ZERO)] * 9))
    cell.tell(intent(cell))
    cell.tell(closing(cell, "b1", "c1"))
    cell.advance(60 * SECOND)
    assert (cell.states("c1")[-1], cell.states("b1")[-1]) == ("broken", "broken")
    assert cell.executor.state.baskets["b1"].filled() == (ZERO, D(-1))
    cell.venue.outcomes.clear()
    cell.tell(closing(cell, "b1", "c2"))
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.net_base() == ZERO


# Unknown and late


def test_an_unknown_leg_is_waited_for_and_never_doubled() -> None:
    # hummingbot 493: time-outs treated as failures were duplicate orders.
    venue = ScriptedVenue(by_instrument={PERP.id: [Outcome(is_lost=True)]}, failing_queries=6)
    cell = desk(venue)
    cell.tell(intent(cell))
    assert cell.states("b1")[-1] == "working"
    assert len(submits(cell)) == 2
    cell.advance(20 * SECOND)
    assert cell.states("b1")[-1] == "balanced"
    assert cell.venue.positions() == {SPOT.id: D(1), PERP.id: D(-1)}
    assert len(submits(cell)) == 2


def test_a_leg_proven_absent_is_completed_by_a_new_order() -> None:
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(arrives=False)]}))
    cell.tell(intent(cell))
    cell.advance(2 * SECOND)
    assert len(submits(cell)) == 2
    cell.advance(10 * SECOND)
    assert cell.states("b1")[-1] == "balanced"
    assert [order.client_order_id for order in submits(cell)] == ["bd-1", "bd-2", "bd-3"]


def test_the_risk_budget_runs_while_an_order_is_unknown() -> None:
    # 1 BTC short of a hedge is 60,000 USDT: a budget of 600,000 quote seconds is spent after ten.
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(is_lost=True)]}, failing_queries=1000))
    cell.tell(intent(cell, risk_budget=D(600_000)))
    cell.advance(9 * SECOND)
    assert cell.incidents() == []
    cell.advance(2 * SECOND)
    assert cell.incidents() == ["risk_budget"]
    assert len(cell.seen(KillTrigger)) == 1
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "broken"
    # The venue filled it all along: a hedge would have been a double one.
    assert len(submits(cell)) == 2
    assert any(isinstance(command, CancelOrder) for command in cell.commands)
    assert cell.executor.state.max_unhedged == D("60000.5")
    assert cell.executor.longest_unhedged_ns(cell.now) > 20 * SECOND


def test_fills_in_pieces_repeated_and_before_the_ack_count_once() -> None:
    cell = desk(ScriptedVenue([Outcome(pieces=7, repeats=3, is_fill_last=True), Outcome(pieces=3, repeats=2)]))
    cell.tell(intent(cell))
    assert cell.states("b1")[-1] == "balanced"
    assert len(cell.seen(FillEvent)) == 10
    assert cell.venue.net_base() == ZERO


def test_a_fill_after_the_end_puts_the_basket_to_work_again() -> None:
    # hummingbot 8094, vnpy 2504: a late fill left a naked leg.
    cell = desk(ScriptedVenue([Outcome(ZERO), Outcome(ZERO)]))
    cell.tell(intent(cell))
    assert cell.states("b1")[-1] == "flat"
    order = submits(cell)[0]
    late = cell.venue._fills(cell.now, order, [D("0.3")])
    cell.feed(*late)
    cell.advance(SECOND)
    assert "fill_after_end" in cell.incidents()
    assert cell.states("b1")[-1] in ("flat", "balanced")
    assert cell.venue.net_base() == ZERO


def test_a_late_fill_of_an_order_long_forgotten_is_hedged_too() -> None:
    cell = Harness(orders=OrderManagerConfig(keep_orders=1), venue=ScriptedVenue([Outcome(ZERO), Outcome(ZERO)]))
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    cell.tell(intent(cell))
    cell.feed(*cell.venue._fills(cell.now, submits(cell)[0], [D("0.3")]))
    cell.advance(SECOND)
    assert cell.incidents() == ["late_fill", "fill_after_end"]
    assert cell.states("b1")[-1] in ("flat", "balanced")
    assert cell.venue.net_base() == ZERO


# Flattening


def test_flatten_closes_every_basket_pairwise() -> None:
    # hummingbot 2944, 4805: stop closed the perpetual and left the spot.
    cell = desk()
    cell.tell(intent(cell))
    cell.tell(intent(cell, basket="b2"))
    cell.desk.state.refusing = {Checker.RISK: "no"}
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", "drill"))
    assert (cell.states("b1")[-1], cell.states("b2")[-1]) == ("flat", "flat")
    assert cell.venue.positions() == {SPOT.id: ZERO, PERP.id: ZERO}


def test_flatten_goes_on_until_nothing_is_open() -> None:
    cell = desk(
        ScriptedVenue([Outcome(), Outcome(), Outcome(ZERO), Outcome(ZERO), Outcome(D("0.3")), Outcome(D("0.3"))])
    )
    cell.tell(intent(cell))
    cell.feed(FeedStatus(cell.now, SPOT.id, False))
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", ""))
    cell.advance(3 * SECOND)
    assert cell.states("b1")[-1] == "balanced"
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.advance(10 * SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.net_base() == ZERO


def test_flatten_closes_what_a_broken_basket_holds() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(ZERO)] + [Outcome(ZERO)] * 8))
    cell.tell(intent(cell))
    cell.advance(60 * SECOND)
    assert cell.states("b1")[-1] == "broken"
    cell.venue.outcomes.clear()
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", ""))
    cell.advance(5 * SECOND)
    assert cell.states("b1")[-1] == "flat"
    assert cell.venue.net_base() == ZERO


def test_at_cancel_all_a_working_basket_unwinds_instead_of_completing() -> None:
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(D("0.5"))]}))
    cell.on_submit = lambda order: cell.dispatcher.offer(KillState(cell.now, KillLevel.CANCEL_ALL, "test", ""))
    cell.tell(intent(cell))
    cell.advance(SECOND)
    assert cell.states("b1")[-2:] == ["unwinding", "balanced"]
    assert cell.venue.positions() == {SPOT.id: D("0.5"), PERP.id: D("-0.5")}


# Durability


def roundtrip(actor: AtomicExecutor) -> AtomicExecutor:
    fresh = AtomicExecutor(SPECS)
    fresh.restore(json.loads(json.dumps(actor.snapshot())))
    return fresh


def test_a_snapshot_in_the_middle_of_a_hedge_comes_back_equal() -> None:
    cell = desk(ScriptedVenue(by_instrument={PERP.id: [Outcome(is_lost=True)]}, failing_queries=100))
    cell.tell(intent(cell))
    cell.tell(intent(cell, buy(SPOT, "1"), sell(COARSE, "100"), basket="b2"))
    assert roundtrip(cell.executor).state == cell.executor.state


def test_a_rebuilt_cell_takes_its_baskets_up_again() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(ZERO)]))
    cell.desk.state.dead = {SPOT.id, PERP.id}
    cell.tell(intent(cell))
    cell.dispatcher._timers.pending.clear()
    cell.desk.state.dead.clear()
    cell.advance(SECOND)
    assert cell.states("b1")[-1] == "working"
    cell.tell(CellRestarted(cell.now, 1, "x", "y"))
    cell.advance(SECOND)
    assert cell.states("b1")[-1] in ("balanced", "flat")


def test_ended_baskets_are_forgotten_beyond_the_limit() -> None:
    cell = desk(config=ExecutorConfig(keep_baskets=3))
    for n in range(10):
        cell.tell(intent(cell, basket=f"b{n}"))
        cell.tell(closing(cell, f"b{n}", f"c{n}"))
    assert len(cell.executor.state.baskets) <= 3
    cell.tell(intent(cell, basket="b0"))
    assert cell.states("b0")[-1] == "denied"


def test_baskets_that_were_denied_do_not_push_out_one_that_traded() -> None:
    """While a venue takes no orders, a strategy may be denied each second; a bust must still find what it takes off."""
    cell = desk(config=ExecutorConfig(keep_baskets=3))
    cell.tell(intent(cell, basket="traded"))
    cell.tell(closing(cell, "traded", "close"))
    cell.desk.state.refusing = {Checker.RATE: "the venue takes no new orders"}
    for number in range(10):
        cell.tell(intent(cell, basket=f"d{number}"))
    assert list(cell.executor.state.baskets) == ["traded", "close", "d7", "d8", "d9"]


# Properties

OUTCOMES = st.builds(
    Outcome,
    share=st.sampled_from([D(0), D("0.0001"), D("0.3333"), D("0.5"), D("0.9999"), D(1)]),
    is_rejected=st.sampled_from([False, False, False, True]),
    is_lost=st.sampled_from([False, False, False, True]),
    arrives=st.sampled_from([True, True, True, True, False]),
    pieces=st.integers(1, 4),
    repeats=st.integers(1, 2),
    is_fill_last=st.booleans(),
)
PAIRS = st.sampled_from([CARRY, (buy(SPOT, "1"), sell(COARSE, "100")), (buy(PERP, "0.5"), sell(COARSE, "50"))])


@given(PAIRS, st.lists(OUTCOMES, max_size=14), st.integers(0, 6), st.sampled_from(["1", "0.2", "3"]))
def test_whatever_fills_it_ends_neutral_or_broken_with_an_incident(
    legs: tuple[BasketLeg, ...], outcomes: list[Outcome], failing: int, size: str
) -> None:
    cell = desk(ScriptedVenue(outcomes, failing_queries=failing))
    for spec in (SPOT, PERP, COARSE):
        bid, ask = cell.desk.state.bids[spec.id][0][0], cell.desk.state.asks[spec.id][0][0]
        lots = spec.lots(D(size)) if spec.lot_size < 1 else int(D(size) * 100)
        cell.desk.state.bids[spec.id] = ((bid, lots),)
        cell.desk.state.asks[spec.id] = ((ask, lots),)
    targets = {leg.instrument: leg.qty for leg in legs}
    sides = {leg.instrument: leg.side for leg in legs}

    def check(order: SubmitOrder) -> None:
        held = sides[order.instrument].sign * cell.venue.positions().get(order.instrument, ZERO)
        if order.side is sides[order.instrument]:
            assert held + order.qty <= targets[order.instrument], "more than the target on one leg"
        else:
            assert order.qty <= held, "a reduction turned the leg round"

    cell.on_submit = check
    cell.tell(intent(cell, *legs))
    cell.advance(120 * SECOND)
    state = cell.states("b1")[-1]
    assert state in ("balanced", "flat", "broken")
    quantum = cell.executor.state.baskets["b1"].quanta["BTC"]
    if state == "broken":
        assert "basket_broken" in cell.incidents()
        assert cell.seen(KillTrigger)
    else:
        assert abs(cell.venue.net_base()) < quantum
        assert cell.executor.state.residuals.get("BTC|acc", ZERO) == cell.venue.net_base()
    assert len(submits(cell)) < 2 + 2 * ExecutorConfig().hedge_rounds_max


@given(st.lists(OUTCOMES, max_size=20), st.integers(0, 3))
def test_flatten_leaves_nothing_whatever_happened_before(outcomes: list[Outcome], failing: int) -> None:
    cell = desk(ScriptedVenue(outcomes, failing_queries=failing))
    cell.tell(intent(cell))
    cell.tell(intent(cell, buy(PERP, "1"), sell(COARSE, "100"), basket="b2"))
    cell.advance(40 * SECOND)
    cell.venue.outcomes.clear()
    cell.venue.failing_queries = 0
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", ""))
    cell.advance(200 * SECOND)
    positions = cell.venue.positions()
    assert all(abs(qty) * SPECS[name].multiplier < D("0.02") for name, qty in positions.items()), positions


def test_what_the_summary_needs() -> None:
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(ZERO)]}))
    cell.tell(intent(cell))
    last = [m for m in cell.recorder.seen if isinstance(m, BasketUpdate)][-1]
    assert last.unhedged == ZERO
    assert cell.executor.state.max_unhedged == D("60000.5")
    assert [type(m).__name__ for m in cell.seen(PreflightRequest)] == ["PreflightRequest"]
    assert cell.seen(Incident) == []
