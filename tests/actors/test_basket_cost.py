"""A basket's money adds up: every fill and fee is in its record once, by cause, whatever became of the basket."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from attrs import define, field
from cell_harness import COARSE, PERP, SECOND, SPECS, SPOT, D, Harness, Outcome, ScriptedVenue, buy, sell
from hypothesis import given
from hypothesis import strategies as st

from actors.basket_plan import ExecutorConfig
from actors.basket_records import BasketCost, BasketDecision, LegCost, PartialFill
from actors.messages import BasketIntent, BasketLeg, BookView, Incident, KillLevel, KillState, KillTrigger, Placement
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import OrderFilled, SubmitOrder

CARRY = (buy(SPOT, "1"), sell(PERP, "1"))
TINY = D("1e-15")
"""Averages are rounded to 28 digits; amounts here have at most 12 before them."""


@define
class PricedVenue(ScriptedVenue):
    """Fills at given prices in turn and charges fees: 5 bps in quote, or in the base asset on spot."""

    ticks: list[int] = field(factory=list)
    spot_fee_in_base: bool = False

    def _fills(self, now: int, order: SubmitOrder, parts: Sequence[Decimal]) -> list[OrderFilled]:
        made = super()._fills(now, order, parts)
        spec = SPECS[order.instrument]
        for fill in made:
            if self.ticks:
                self.ticks.append(self.ticks.pop(0))
                fill.price += self.ticks[0] * spec.tick_size
            fill.fee = fill.price * fill.qty * spec.multiplier * D("0.0005")
            if spec.is_spot and self.spot_fee_in_base:
                fill.fee, fill.fee_asset = fill.qty * D("0.001"), "BTC"
        return made


def desk(venue: ScriptedVenue | None = None, config: ExecutorConfig | None = None) -> Harness:
    cell = Harness(venue=venue, config=config)
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    cell.quote(COARSE, "60020.0", "60020.5", size="10000")
    return cell


def begin(cell: Harness, *legs: BasketLeg, basket: str = "b1", **given: Any) -> None:
    cell.tell(BasketIntent(cell.now, basket, "s", legs or CARRY, **given))


def close(cell: Harness, basket: str, name: str) -> None:
    legs = cell.executor.open_legs(cell.executor.state.baskets[basket])
    cell.tell(BasketIntent(cell.now, name, "s", legs, basket))


def costs(cell: Harness) -> dict[str, BasketCost]:
    """Return the last record of every basket."""
    return {one.basket_id: one for one in cell.seen(BasketCost)}


# By hand


def test_an_opening_costs_half_spreads_and_fees_and_realises_its_fees() -> None:
    cell = desk(PricedVenue(prices={SPOT.id: D("60001.00"), PERP.id: D("60010.0")}))
    begin(cell)
    record = costs(cell)["b1"]
    # Mids 60000.50 and 60010.25: half spreads of 0.50 and 0.25. Fees: 5 bps of 60001 and 60010.
    assert (record.slippage, record.legging, record.rollback) == (D("0.75"), ZERO, ZERO)
    assert record.fees == D("60.0055")
    assert (record.realised, record.marked) == (D("-60.0055"), D("-0.75"))
    assert [leg.cash for leg in record.legs] == [D(-60001), D(60010)]
    assert (record.residual, record.unhedged, record.duration_ns, record.closes) == ({}, ZERO, 0, None)


def test_a_close_is_realised_by_the_basket_that_it_closed() -> None:
    cell = desk(PricedVenue(prices={SPOT.id: D("60001.00"), PERP.id: D("60010.0")}))
    begin(cell)
    cell.venue.prices = {SPOT.id: D("60100.00"), PERP.id: D("60090.0")}
    cell.advance(10 * SECOND)
    close(cell, "b1", "c1")
    found = costs(cell)
    # Spot 60001 -> 60100, perpetual 60010 -> 60090: 99 - 80; fees of 60.0055 and 60.095.
    assert found["b1"].state == "flat"
    assert found["b1"].realised == D(19) - D("60.0055") - D("60.095")
    assert found["b1"].marked == ZERO
    assert [(leg.closed, leg.closed_price) for leg in found["b1"].legs] == [(D(1), D(60100)), (D(1), D(60090))]
    assert (found["c1"].realised, found["c1"].marked) == (ZERO, ZERO)
    assert (found["c1"].fees, found["c1"].closes) == (D("60.095"), "b1")


def test_a_leg_that_failed_leaves_its_loss_in_the_record() -> None:
    # The perpetual sells at 60010.0 and is bought back at 60012.5 when spot refuses.
    refused = [Outcome(is_rejected=True)] * 3
    cell = desk(PricedVenue(by_instrument={SPOT.id: refused}, prices={PERP.id: D("60010.0")}))
    cell.on_submit = lambda order: cell.venue.prices.update({PERP.id: D("60012.5")} if len(cell.venue.fills) else {})
    begin(cell)
    cell.advance(SECOND)
    record = costs(cell)["b1"]
    assert record.state == "flat"
    fees = (D("60010.0") + D("60012.5")) * D("0.0005")
    assert record.realised == D("-2.5") - fees
    # Against mids of 60010.25 both times: 0.25 to sell, 2.25 to take it back.
    assert (record.slippage, record.rollback, record.legging, record.fees) == (D("0.25"), D("2.25"), ZERO, fees)
    # The first order's fee was spent before anything was wrong.
    (incident,) = cell.seen(PartialFill)
    assert incident.loss == D("2.25") + D("60012.5") * D("0.0005")
    assert incident.outcome == "flat"


def test_a_price_that_moves_while_one_leg_waits_is_legging() -> None:
    cell = desk(PricedVenue(by_instrument={SPOT.id: [Outcome(ZERO)]}, prices={PERP.id: D("60010.0")}))

    def away(order: SubmitOrder) -> None:
        if order.instrument == SPOT.id and len(cell.commands) == 1:
            cell.depth(SPOT, [("60009.00", "100")], [("60010.00", "100")])
            cell.dispatcher.take(cell.now, BookView(cell.now, SPOT.id, 6000900, 100, 6001000, 100))

    cell.on_submit = away
    cell.desk.state.dead = {SPOT.id, PERP.id}
    begin(cell)
    cell.desk.state.dead = set()
    cell.depth(PERP, [("60000.0", "100")], [("60100.0", "100")])
    cell.venue.prices[SPOT.id] = D("60010.00")
    cell.advance(SECOND // 4)
    record = costs(cell)["b1"]
    assert record.state == "balanced"
    # The spot mid went from 60000.50 to 60009.50 before its order; that order paid half a spread more.
    assert record.legging == D(9)
    assert record.slippage == D("0.5") + D("0.25")
    assert record.unhedged == D("0.1") * D("60009.5")
    assert record.duration_ns == SECOND // 10


def test_a_maker_earns_its_half_spread() -> None:
    cell = desk(PricedVenue())
    begin(cell, placement=Placement.MAKER_TAKER, is_ordered=True)
    cell.venue.prices[PERP.id] = D("60010.0")
    (order,) = cell.venue.resting()
    cell.feed(*cell.venue.hit(cell.now, order, "1"))
    record = costs(cell)["b1"]
    assert [leg.slippage for leg in record.legs] == [D("-0.5"), D("0.25")]


def test_fees_in_a_third_asset_are_named_and_not_counted() -> None:
    class Coin(ScriptedVenue):
        def _fills(self, now: int, order: SubmitOrder, parts: Sequence[Decimal]) -> list[OrderFilled]:
            made = super()._fills(now, order, parts)
            for fill in made:
                fill.fee, fill.fee_asset = D("0.03"), "BNB"
            return made

    cell = desk(Coin())
    begin(cell)
    record = costs(cell)["b1"]
    assert (record.unvalued, record.fees) == (("BNB",), ZERO)
    assert record.legs[0].fees == {"BNB": D("0.03")}


# Decisions


def test_a_choice_is_told_with_the_prices_of_both_ways() -> None:
    fees = {SPOT.id: D(10), PERP.id: D(5)}
    cell = desk(
        ScriptedVenue(by_instrument={SPOT.id: [Outcome(ZERO)]}, prices={PERP.id: D("60010.0")}),
        ExecutorConfig(taker_fee_bps=fees),
    )
    cell.depth(SPOT, [("60000.00", "100")], [("60031.00", "100")])
    begin(cell, edge_bps=D(2))
    (decision,) = cell.seen(BasketDecision)
    complete, trim = decision.options
    # Buy spot at 60031 instead of 60001, for 10 bps; or buy the perpetual back one tick of 0.5 above its sale, for 5
    # bps, and give 2 bps up.
    assert (complete.kind, complete.slippage, complete.fees, complete.forgone) == ("complete", D(30), D("60.031"), ZERO)
    assert (trim.kind, trim.slippage, trim.fees, trim.forgone) == ("trim", D("0.5"), D("30.00525"), D("12.0021"))
    assert (decision.chosen, decision.net) == ("trim", {"BTC": D(-1)})
    assert "complete covers 1.0000 for 90.0310" in decision.why
    assert cell.seen(PartialFill)[0].actions == (decision.why,)


@pytest.mark.parametrize(("edge_bps", "chosen"), [("4", "trim"), ("6", "complete")])
def test_an_edge_worth_more_than_completing_costs_is_not_given_up(edge_bps: str, chosen: str) -> None:
    # Completing costs 30, which is 5 bps, and unwinding 0.5; there are no fees.
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(ZERO)]}, prices={PERP.id: D("60010.0")}))
    cell.depth(SPOT, [("60000.00", "100")], [("60031.00", "100")])
    begin(cell, edge_bps=D(edge_bps))
    assert cell.seen(BasketDecision)[0].chosen == chosen


# The loss budget


def test_a_loss_beyond_its_budget_calls_for_the_last_attempt() -> None:
    cell = desk(ScriptedVenue(by_instrument={SPOT.id: [Outcome(is_lost=True, arrives=False)]}, failing_queries=1000))
    begin(cell, loss_budget=D(100))
    cell.advance(SECOND)
    assert cell.incidents() == []
    # 1 BTC is short at 60010: at 60120 it has lost more than 100.
    cell.depth(PERP, [("60120.0", "100")], [("60120.5", "100")])
    cell.show(PERP)
    cell.advance(ExecutorConfig().look_ns)
    incident = cell.seen(Incident)[0]
    assert incident.kind == "loss_budget"
    assert incident.cost is not None
    assert incident.cost > D(100)
    assert cell.seen(KillTrigger)[0].trigger == "loss_budget"
    assert cell.executor.state.baskets["b1"].is_last_call


@pytest.mark.parametrize("budget", ["NaN", "-1", "Infinity"])
def test_a_loss_budget_that_is_no_number_is_denied(budget: str) -> None:
    cell = desk()
    begin(cell, loss_budget=D(budget))
    assert cell.why("b1").startswith("bad_parameter: loss_budget")


# Whatever happens

OUTCOMES = st.builds(
    Outcome,
    share=st.sampled_from([D(0), D("0.0001"), D("0.3333"), D("0.5"), D("0.9999"), D(1)]),
    is_rejected=st.sampled_from([False, False, False, True]),
    is_lost=st.sampled_from([False, False, False, True]),
    arrives=st.sampled_from([True, True, True, True, False]),
    pieces=st.integers(1, 4),
    is_fill_last=st.booleans(),
)
PAIRS = st.sampled_from(
    [
        CARRY,
        (sell(PERP, "1"), buy(SPOT, "1")),
        (buy(SPOT, "1"), sell(COARSE, "100")),
        (buy(PERP, "0.5"), sell(COARSE, "50")),
    ]
)
WORLDS = st.builds(
    PricedVenue,
    st.lists(OUTCOMES, max_size=14),
    failing_queries=st.integers(0, 6),
    ticks=st.lists(st.integers(-40, 40), max_size=5),
    spot_fee_in_base=st.booleans(),
)


def shake(cell: Harness, moves: list[int]) -> None:
    """Let the touches move with every order."""

    def move(order: SubmitOrder) -> None:
        if moves:
            by = moves.pop()
            bid, ask = cell.desk.state.bids[order.instrument][0], cell.desk.state.asks[order.instrument][0]
            view = BookView(cell.now, order.instrument, bid[0] + by, bid[1], ask[0] + by, ask[1])
            cell.dispatcher.take(cell.now, view)

    cell.on_submit = move


def play(cell: Harness, legs: tuple[BasketLeg, ...], placement: Placement, hits: list[str], late: int) -> None:
    begin(cell, *legs, placement=placement)
    for qty in hits:
        for order in cell.venue.resting():
            left = order.qty - cell.venue.orders[order.client_order_id].filled
            cell.feed(*cell.venue.hit(cell.now, order, str(min(D(qty), left))))
        cell.advance(SECOND // 5)
    cell.advance(120 * SECOND)
    for held in list(cell.venue.orders.values())[:late]:
        lot = SPECS[held.command.instrument].lot_size
        left = held.command.qty - held.filled
        part = left // 2 // lot * lot
        if part and held.status.is_terminal:
            held.filled += part
            cell.feed(*cell.venue._fills(cell.now, held.command, [part]))
    cell.advance(120 * SECOND)


def truth(cell: Harness, marks: dict[str, Decimal]) -> tuple[Decimal, Decimal]:
    """Return what all fills brought after fees in quote, and what the positions they left are worth at `marks`."""
    cash = worth = ZERO
    for fill in cell.venue.fills:
        spec = SPECS[fill.instrument]
        size = fill.side.sign * fill.qty * spec.multiplier
        cash -= size * fill.price
        worth += size * marks[fill.instrument]
        if fill.fee_asset == "USDT":
            cash -= fill.fee
        else:
            worth -= fill.fee * marks[fill.instrument]
    return cash, worth


def size(leg: LegCost, qty: Decimal) -> Decimal:
    """Return `qty` of the leg as signed base units."""
    return leg.side.sign * qty * SPECS[leg.instrument].multiplier


def check_money(cell: Harness) -> None:
    """Hold all records against all fills; closes hold nothing once they ended."""
    records = list(costs(cell).values())
    opened = [one for one in records if one.closes is None]
    legs = [leg for one in opened for leg in one.legs]
    cash, worth = truth(cell, {leg.instrument: leg.mark for leg in legs})
    assert abs(worth - sum((size(leg, leg.position) * leg.mark for leg in legs), ZERO)) <= TINY
    assert abs(sum((one.realised + one.marked for one in records), ZERO) - cash - worth) <= TINY
    for one in opened:
        if any(leg.closed for leg in one.legs):
            continue
        drift = ZERO
        for leg in one.legs:
            drift += size(leg, leg.position) * (leg.mark - leg.arrival_mid)
            drift += size(leg, leg.taken) * ((leg.taken_price or ZERO) - leg.arrival_mid)
        spent = one.slippage + one.legging + one.rollback + one.fees
        assert abs(one.realised + one.marked - drift + spent) <= TINY


def never_beyond(cell: Harness, legs: tuple[BasketLeg, ...]) -> None:
    for leg in legs:
        traded = sum((f.qty for f in cell.venue.fills if (f.instrument, f.side) == (leg.instrument, leg.side)), ZERO)
        back = sum(
            (f.qty for f in cell.venue.fills if (f.instrument, f.side) == (leg.instrument, leg.side.opposite)), ZERO
        )
        assert ZERO <= traded - back <= leg.qty, (leg.instrument, traded, back)


@given(
    WORLDS,
    PAIRS,
    st.sampled_from(list(Placement)),
    st.lists(st.sampled_from(["0.001", "0.02", "0.33", "1"]), max_size=6),
    st.integers(0, 2),
    st.lists(st.integers(-30, 30), max_size=6),
)
def test_any_course_ends_even_empty_or_broken_with_cause_and_cost_and_its_money_adds_up(
    venue: PricedVenue,
    legs: tuple[BasketLeg, ...],
    placement: Placement,
    hits: list[str],
    late: int,
    moves: list[int],
) -> None:
    cell = desk(venue)
    shake(cell, moves)
    play(cell, legs, placement, hits, late)
    basket = cell.executor.state.baskets["b1"]
    assert basket.state in ("balanced", "flat", "broken")
    assert not cell.venue.resting() or basket.state == "broken"
    if late == 0:
        never_beyond(cell, legs)
    if basket.state == "broken":
        (cause, cost) = next((one.text, one.cost) for one in cell.seen(Incident) if one.kind == "basket_broken")
        assert cause.split(";")[0]
        assert cost is not None
        assert cost.is_finite()
        assert cell.seen(PartialFill)[-1].outcome == "broken"
    elif not basket.is_pending:
        assert all(abs(net) < basket.quanta[base] for base, net in basket.net(SPECS).items())
    if basket.placed_ns and not any(not child.is_final for child in basket.children.values()):
        check_money(cell)


@given(WORLDS, PAIRS, st.sampled_from(list(Placement)), st.integers(1, 3))
def test_closes_and_flattening_leave_nothing_out(
    venue: PricedVenue, legs: tuple[BasketLeg, ...], placement: Placement, count: int
) -> None:
    cell = desk(venue)
    begin(cell, *legs)
    cell.advance(60 * SECOND)
    for number in range(count):
        basket = cell.executor.state.baskets["b1"]
        open_ = cell.executor.open_legs(basket)
        if open_:
            cell.tell(BasketIntent(cell.now, f"c{number}", "s", open_, "b1", placement=placement))
            cell.advance(60 * SECOND)
    cell.venue.outcomes.clear()
    cell.venue.failing_queries = 0
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", ""))
    cell.advance(200 * SECOND)
    if all(child.is_final for one in cell.executor.state.baskets.values() for child in one.children.values()):
        check_money(cell)


def test_what_a_venue_took_is_in_the_record_with_its_price_and_fee() -> None:
    cell = desk(PricedVenue())
    begin(cell)
    gone = OrderFilled(
        cell.now, "acc", PERP.id, "adl-1", "v", "forced", Side.BUY, D(61000), D("0.4"), Liquidity.NONE, D("1.5"),
        "USDT", FillReason.ADL,
    )  # fmt: skip
    cell.venue.fills.append(gone)
    cell.feed(gone)
    cell.advance(SECOND)
    check_money(cell)
    assert [(leg.taken, leg.taken_price) for leg in costs(cell)["b1"].legs] == [(ZERO, None), (D("0.4"), D(61000))]


def test_one_record_holds_everything_that_was_done_about_it() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(ZERO)] + [Outcome(ZERO)] * 3))
    begin(cell)
    cell.advance(5 * SECOND)
    (record,) = cell.seen(PartialFill)
    assert [why.partition(" ")[0] for why in record.actions] == ["complete", "complete", "complete", "complete"]
    assert (record.began_ns, record.cause) == (SECOND, "perp:BTCUSDT order expired")
    assert record.ts > record.began_ns


def test_a_close_that_breaks_leaves_an_incident_of_the_basket_it_broke() -> None:
    cell = desk(ScriptedVenue([Outcome(), Outcome(), Outcome()] + [Outcome(ZERO)] * 9))
    begin(cell)
    close(cell, "b1", "c1")
    cell.advance(60 * SECOND)
    broken = {one.basket_id: one for one in cell.seen(Incident) if one.kind == "basket_broken"}
    assert broken.keys() == {"b1", "c1"}
    assert all(one.cost is not None and one.text.startswith(("no way", "deadline")) for one in broken.values())


def test_incidents_are_kept_as_many_as_configured() -> None:
    cell = desk(config=ExecutorConfig(keep_incidents=2))
    for number in range(4):
        cell.venue.by_instrument[SPOT.id] = [Outcome(ZERO)]
        begin(cell, basket=f"b{number}")
    assert [one.basket_id for one in cell.executor.state.incidents] == ["b2", "b3"]
    assert len(cell.seen(PartialFill)) == 4
