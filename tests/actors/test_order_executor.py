"""What becomes of parents: the ladder rung by rung, what may be sent after what, refusals, late fills, reports."""

import json
from typing import Any

import pytest
from attrs import evolve
from ladder_cell import INVERSE, PERP, SECOND, SPECS, SPOT, D, LadderCell

from actors.cell import CellRestarted
from actors.execution_plan import RefusedError, check_intent
from actors.execution_records import OrderExecutorConfig
from actors.executions import (
    CancelExecution,
    ExecutionIntent,
    ExecutionMode,
    ExecutionReason,
    ExecutionState,
    Rung,
    SlippageAlert,
)
from actors.flags import FlagMode, SetFlag
from actors.ladder import LadderConfig
from actors.messages import (
    Incident,
    KillLevel,
    KillState,
    KillTrigger,
    OrderDenied,
    OrderUpdate,
    ResumeCommand,
    StopCommand,
    TradeView,
)
from actors.order_executor import OrderExecutor
from actors.slippage import SlippageConfig
from venues.costs.shortfall import Quality
from venues.model.order import OrderStatus, Side
from venues.port import OrderFilled

M, R = ExecutionMode, ExecutionReason
# Mid 100; a tick of 0.1 is 10 bps.
BIDS, ASKS = "99.9 x 5, 99.8 x 5, 99.7 x 20", "100.1 x 5, 100.2 x 5, 100.3 x 20"
# Mid 1000, a tick is 1 bp.
FINE_BIDS, FINE_ASKS = "999.9 x 5, 999.8 x 5, 999 x 50", "1000.1 x 5, 1000.2 x 5, 1001 x 50"


def cell(bids: str = BIDS, asks: str = ASKS, **config: object) -> LadderCell:
    made = LadderCell(config=OrderExecutorConfig(**config))  # type: ignore[arg-type]
    made.book(bids, asks)
    return made


# The modes


def test_a_limit_joins_the_touch_and_times_out():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    assert desk.orders() == [("99.9", "1.000", "GTX")]
    desk.advance(29.9)
    assert desk.venue.open_orders() == [desk.last]
    desk.advance(0.2)
    assert desk.venue.open_orders() == []
    report: Any = desk.report()
    assert (report.state, report.reason, report.filled_qty) == (ExecutionState.ENDED, R.TIMED_OUT, 0)
    assert (report.mode_used, report.rung, report.orders, report.average_price) == (M.LIMIT_ONLY, Rung.JOIN, 1, None)


def test_a_limit_of_its_own_is_never_moved_and_may_take():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY, limit_price=D("100.17"))
    # Down to the grid for a buyer.
    assert desk.orders() == [("100.1", "1.000", "GTC")]
    desk.book("101.9 x 5", "102.1 x 5")
    desk.advance(5)
    assert len(desk.orders()) == 1


def test_a_seller_s_limit_is_rounded_up():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY, Side.SELL, limit_price=D("100.03"))
    assert desk.orders() == [("100.1", "1.000", "GTC")]


def test_the_ladder_is_climbed_with_what_each_cancel_has_left():
    desk = cell(FINE_BIDS, FINE_ASKS)
    desk.intend("4", M.LIMIT_WITH_FALLBACK)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1"))
    desk.advance(15)  # STEP 1: a tick better than it rested
    desk.advance(4)  # STEP 2: one more is the ask; a tick short of it
    desk.feed(*desk.venue.fill(desk.now, desk.last, "0.5"))
    desk.advance(4)
    desk.advance(4)  # CROSS: 25 bps from 1000
    assert desk.orders() == [
        ("999.9", "4.000", "GTX"),
        ("1000.0", "3.000", "GTX"),
        ("1000.0", "3.000", "GTX"),
        ("1000.0", "2.500", "GTX"),
        ("1002.5", "2.500", "IOC"),
    ]
    desk.feed(*desk.venue.fill(desk.now, desk.last, "2", "1000.1"), *desk.venue.expire(desk.now, desk.last))
    desk.advance(3)  # MARKET: 50 bps, of which nothing was needed
    assert desk.orders()[-1] == ("1002.5", "0.500", "IOC")
    desk.feed(*desk.venue.fill(desk.now, desk.last, "0.5", "1000.2"))
    report: Any = desk.report()
    assert (report.state, report.filled_qty, report.rung) == (ExecutionState.FILLED, 4, Rung.CROSS)
    # (999.9 + 0.5 x 1000 + 2 x 1000.1 + 0.5 x 1000.2) / 4
    assert report.average_price == D("1000.05")


def test_market_takes_up_to_its_protection_and_comes_back_for_the_rest():
    desk = cell()
    desk.intend("1", M.MARKET_ONLY, reduce_only=True)
    # 50 bps above 100 is 100.5: everything up to there.
    assert desk.orders() == [("100.5", "1.000", "IOC")]
    desk.feed(*desk.venue.fill(desk.now, desk.last, "0.4", "100.1"), *desk.venue.expire(desk.now, desk.last))
    assert len(desk.orders()) == 1
    desk.advance(0.6)
    assert desk.orders()[1:] == [("100.5", "0.600", "IOC")]


@pytest.mark.parametrize(
    ("bids", "asks", "qty", "mode", "price"),
    [
        (FINE_BIDS, FINE_ASKS, "1", M.MARKET_ONLY, "1005.0"),
        # (5 x 1 + 5 x 2 + 40 x 10) / 50 = 8.3 bps: more than the 5 that are cheap.
        (FINE_BIDS, FINE_ASKS, "50", M.LIMIT_WITH_FALLBACK, "999.9"),
        (FINE_BIDS, FINE_ASKS, "100", M.LIMIT_WITH_FALLBACK, "999.9"),
        ("99.7 x 5", "100.3 x 5", "1", M.LIMIT_ONLY, "99.7"),
    ],
)
def test_adaptive_is_what_the_book_recommends(bids, asks, qty, mode, price):
    desk = cell(bids, asks)
    desk.intend(qty, M.ADAPTIVE)
    assert desk.parent().mode_used is mode
    assert desk.orders()[0][0] == price


@pytest.mark.parametrize(
    ("mode", "qty", "bids", "asks", "reason"),
    [
        (M.ADAPTIVE, "5", BIDS, "100.1 x 0.9", R.LIQUIDITY),
        # Mid 100.05: (1 x 15 + 4 x 65) / 5 ticks of a hundredth, 55 bps.
        (M.MARKET_ONLY, "5", BIDS, "100.2 x 1, 100.7 x 4", R.EXPECTED_SLIPPAGE),
        (M.MARKET_ONLY, "5", BIDS, "100.1 x 4", R.EXPECTED_SLIPPAGE),
        # Enough to get in, nobody to get out to.
        (M.MARKET_ONLY, "5", "99.9 x 1", ASKS, R.LIQUIDITY),
    ],
)
def test_a_book_that_is_not_fit_is_refused_before_the_first_order(mode, qty, bids, asks, reason):
    desk = cell(bids, asks)
    desk.intend(qty, mode)
    report: Any = desk.report()
    assert (report.state, report.reason, report.orders) == (ExecutionState.DENIED, reason, 0)
    assert report.why
    assert desk.submitted == []


def test_what_reduces_takes_what_a_poor_book_has_within_protection():
    desk = cell(BIDS, "100.2 x 1, 100.6 x 4")
    desk.intend("5", M.MARKET_ONLY, reduce_only=True)
    # 50 bps above the mid of 100.05
    assert desk.orders() == [("100.5", "1.000", "IOC")]


def test_a_limit_that_would_take_too_dearly_is_refused():
    desk = cell(BIDS, "100.2 x 1, 101 x 40")
    desk.intend("5", M.LIMIT_ONLY, limit_price=D(102))
    # Mid 100.05: 1 lot at 15, 4 at 95 bps.
    assert (desk.report().state, desk.report().reason) == (ExecutionState.DENIED, R.EXPECTED_SLIPPAGE)


# Budgets


def test_a_rung_rests_at_its_cost_budget_when_the_touch_is_beyond():
    desk = cell(FINE_BIDS, FINE_ASKS, ladder=LadderConfig(follow_ticks=1))
    desk.intend("1", M.LIMIT_WITH_FALLBACK)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.book("1003 x 5", "1003.2 x 5")
    desk.advance(2)
    # It follows as far as 10 bps from the mid at arrival, 1001.
    assert desk.orders() == [("999.9", "1.000", "GTX"), ("1001.0", "1.000", "GTX")]


def test_nothing_is_taken_beyond_the_cap_and_the_reason_is_told():
    desk = cell(FINE_BIDS, FINE_ASKS)
    desk.intend("1", M.LIMIT_WITH_FALLBACK, max_slippage_bps=D(5))
    desk.book("1003 x 5", "1003.2 x 5")
    desk.advance(36)
    assert {price for price, _, tif in desk.orders() if tif == "IOC"} == set()
    assert max(D(price) for price, _, _ in desk.orders()) == D("1000.5")
    assert (desk.report().reason, desk.report().why) == (R.TIMED_OUT, "the market is beyond the cap")


def test_the_limit_binds_every_rung():
    desk = cell(FINE_BIDS, FINE_ASKS)
    desk.intend("4", M.LIMIT_WITH_FALLBACK, Side.SELL, limit_price=D("999.75"))
    for _ in range(36):
        desk.advance(1)
    assert min(D(price) for price, _, _ in desk.orders()) == D("999.8")
    assert desk.orders()[-1][2] == "IOC"


def test_time_budgets_are_the_intent_s_own():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY, time_budget_ns=2 * SECOND)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.advance(2)
    assert desk.report().reason is R.TIMED_OUT


# One order at a time


def test_nothing_is_sent_while_a_cancel_is_not_confirmed():
    desk = cell()
    desk.intend("2", M.LIMIT_WITH_FALLBACK)
    desk.venue.answers_cancels = False
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.advance(28)
    assert len(desk.submitted) == 1
    assert desk.parent().state is ExecutionState.CANCELING
    # It was filled while the cancel was on its way: what is left is less.
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1.5"))
    assert len(desk.submitted) == 1
    desk.feed(*desk.venue.cancel(desk.now, desk.last))
    assert desk.orders()[1:] == [("100.2", "0.500", "IOC")]


def test_a_cancel_whose_fills_are_missing_is_no_confirmation():
    desk = cell()
    desk.intend("2", M.LIMIT_WITH_FALLBACK)
    first = desk.last
    desk.venue.answers_cancels = desk.venue.answers = False
    desk.feed(*desk.venue.accept(desk.now, first))
    desk.advance(16)
    desk.venue.fill_silently(desk.now, first, D("0.7"))
    desk.feed(*desk.venue.cancel(desk.now, first))
    desk.advance(5)
    assert len(desk.submitted) == 1
    desk.venue.answers = True
    desk.advance(10)
    assert desk.parent().filled == D("0.7")
    assert desk.submitted[1].qty == D("1.3")


@pytest.mark.parametrize("arrived", [True, False])
def test_an_unknown_order_is_waited_for_and_never_sent_again(arrived):
    desk = cell()
    desk.venue.arrives, desk.venue.answers, desk.venue.answers_cancels = arrived, False, False
    desk.intend("2", M.MARKET_ONLY, reduce_only=True)
    desk.feed(*desk.venue.lose(desk.now, desk.submitted[0]))
    desk.venue.arrives = True
    desk.advance(120)
    assert len(desk.submitted) == 1
    assert desk.reports() == []
    assert "execution_stuck" in desk.incidents()
    if arrived:
        desk.venue.fill_silently(desk.now, desk.submitted[0].client_order_id, D("1.2"))
    desk.venue.answers = desk.venue.answers_cancels = True
    desk.advance(120)
    # Its time was over long ago: what is proven is told, nothing more is sent.
    assert len(desk.submitted) == 1
    assert desk.report().filled_qty == (D("1.2") if arrived else 0)
    assert desk.incidents().count("execution_stuck") == 1


def test_a_fill_of_an_order_taken_for_over_withdraws_what_is_now_too_much():
    desk = cell()
    desk.intend("2", M.LIMIT_WITH_FALLBACK)
    first = desk.last
    desk.feed(*desk.venue.accept(desk.now, first))
    desk.advance(15)
    second = desk.last
    assert second != first
    desk.feed(*desk.venue.accept(desk.now, second))
    desk.venue.orders[first].status = OrderStatus.CANCELED
    desk.feed(*desk.venue.fill(desk.now, first, "0.5"))
    assert desk.venue.orders[second].status is OrderStatus.CANCELED
    desk.advance(1)
    assert desk.submitted[-1].qty == D("1.5")


def test_a_fill_after_the_end_is_booked_told_and_alarmed():
    desk = cell()
    desk.intend("2", M.LIMIT_ONLY, time_budget_ns=SECOND)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.advance(2)
    assert desk.report().filled_qty == 0
    desk.feed(*desk.venue.fill(desk.now, desk.last, "0.5"))
    late = desk.reports()[-1]
    assert (late.is_amended, late.filled_qty, late.state) == (True, D("0.5"), ExecutionState.ENDED)
    assert "fill_after_end" in desk.incidents()
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1.5"))
    assert desk.reports()[-1].state is ExecutionState.FILLED
    assert desk.seen(KillTrigger) == []


def test_more_than_was_asked_for_is_booked_and_stops_the_desk():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1.5"))
    assert (desk.report().filled_qty, desk.report().state) == (D("1.5"), ExecutionState.FILLED)
    assert desk.report().shortfall is not None
    assert "parent_overfilled" in desk.incidents()
    assert {one.level for one in desk.seen(KillTrigger)} == {KillLevel.REDUCE_ONLY}


def test_a_repeated_fill_counts_once():
    desk = cell()
    desk.intend("2", M.LIMIT_ONLY)
    (fill,) = desk.venue.fill(desk.now, desk.last, "0.5")
    assert isinstance(fill, OrderFilled)
    desk.feed(fill, fill)
    assert desk.parent().filled == D("0.5")


def test_a_total_without_its_fill_counts_at_the_order_s_price():
    desk = cell()
    desk.intend("2", M.LIMIT_ONLY)
    one = desk.submitted[0]
    desk.tell(
        OrderUpdate(
            desk.now,
            "p#1",
            "s",
            "",
            one.client_order_id,
            "acc",
            PERP.id,
            one.side,
            one.qty,
            OrderStatus.PARTIALLY_FILLED,
            D("0.5"),
            False,
        )
    )
    assert (desk.parent().filled, desk.parent().fills[0].price) == (D("0.5"), D("99.9"))


# Refusals


def test_a_post_only_that_would_take_looks_again_and_gives_up_in_the_end():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    for _ in range(6):
        if desk.venue.open_orders():
            desk.feed(*desk.venue.reject(desk.now, desk.last))
        desk.advance(0.6)
    assert (len(desk.submitted), desk.report().reason) == (5, R.ORDERS_REJECTED)
    assert desk.report().why == "scripted"


def test_refusals_count_in_a_row():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    for number in range(8):
        if number == 4:
            desk.feed(*desk.venue.fill(desk.now, desk.last, "0.1"), *desk.venue.cancel(desk.now, desk.last))
        else:
            desk.feed(*desk.venue.reject(desk.now, desk.last))
        desk.advance(0.6)
    assert desk.reports() == []


def test_orders_that_the_gate_denies_end_the_parent_with_its_reasons():
    risk = evolve(LadderCell().gate.config, allowed=())
    desk = LadderCell(risk=risk)
    desk.book(BIDS, ASKS)
    desk.intend("1", M.LIMIT_ONLY)
    desk.advance(5)
    assert (desk.submitted, len(desk.seen(OrderDenied))) == ([], 5)
    report: Any = desk.report()
    assert (report.state, report.reason, report.orders) == (ExecutionState.ENDED, R.ORDERS_DENIED, 0)
    assert report.why == f"restricted: {PERP.id} is not on the list"


def test_a_parent_has_a_budget_of_orders():
    desk = cell(orders_max=3)
    desk.intend("4", M.MARKET_ONLY, reduce_only=True)
    while desk.venue.open_orders():
        desk.feed(*desk.venue.fill(desk.now, desk.last, "0.1"), *desk.venue.expire(desk.now, desk.last))
        desk.advance(0.6)
    assert (len(desk.submitted), desk.report().reason) == (3, R.ORDERS_MAX)


def test_orders_are_cut_to_the_venue_s_largest():
    desk = cell("999.9 x 50", "1000.1 x 50")
    desk.intend("7", M.LIMIT_ONLY)
    assert desk.submitted[0].qty == 5
    desk.feed(*desk.venue.fill(desk.now, desk.last, "5"))
    assert desk.submitted[1].qty == 2


def test_a_rest_that_no_venue_takes_is_left_and_told():
    desk = cell("49.9 x 50", "50.1 x 50", ladder=LadderConfig(market_ns=60 * SECOND))
    desk.book("49.9 x 50", "50.1 x 50", SPOT)
    desk.intend("2", M.MARKET_ONLY, spec=SPOT, reduce_only=True)
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1.5"), *desk.venue.expire(desk.now, desk.last))
    desk.advance(2)
    # 0.5 at 50.25 is worth less than 50.
    report: Any = desk.report()
    assert (report.reason, report.filled_qty, len(desk.submitted)) == (R.RESIDUAL, D("1.5"), 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"qty": "NaN"}, R.BAD_PARAMETER),
        ({"qty": "-1"}, R.BAD_PARAMETER),
        ({"qty": "Infinity"}, R.BAD_PARAMETER),
        ({"qty": "0.0015"}, R.OFF_LOT),
        ({"qty": "0.001"}, R.SIZE_LIMIT),
        ({"limit_price": D("NaN")}, R.BAD_PARAMETER),
        ({"limit_price": D(0)}, R.BAD_PARAMETER),
        ({"decision_price": D("-Infinity")}, R.BAD_PARAMETER),
        ({"max_slippage_bps": D(-1)}, R.BAD_PARAMETER),
        ({"time_budget_ns": 0}, R.BAD_PARAMETER),
        ({"parent_id": ""}, R.BAD_PARAMETER),
        ({"spec": evolve(PERP, symbol="ETH")}, R.UNKNOWN_INSTRUMENT),
    ],
)
def test_an_intent_that_makes_no_sense_is_refused_by_name(changes, reason):
    desk = cell()
    fields = {"qty": "1", "mode": M.MARKET_ONLY} | changes
    desk.intend(fields.pop("qty"), fields.pop("mode"), **fields)
    assert (desk.report().state, desk.report().reason) == (ExecutionState.DENIED, reason)
    assert desk.submitted == []
    # It can be written down and read back whatever it held.
    OrderExecutor(SPECS).restore(json.loads(json.dumps(desk.executor.snapshot())))


def test_a_quantity_of_more_lots_than_can_be_counted_is_off_the_grid():
    fine = evolve(PERP, lot_size=D("0.0000000001"))
    intent = ExecutionIntent(1, "p", "s", "acc", fine.id, Side.BUY, D("9E+19"))
    with pytest.raises(RefusedError) as refused:
        check_intent(intent, {fine.id: fine}, KillLevel.ARMED, is_stopping=False)
    assert refused.value.reason is R.OFF_LOT


def test_an_id_is_used_once_and_the_first_parent_is_not_touched():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    desk.intend("2", M.LIMIT_ONLY)
    assert (len(desk.submitted), desk.reports(), desk.incidents()) == (1, [], ["duplicate_execution"])


# The world


def test_no_order_goes_out_on_a_book_nobody_believes():
    desk = LadderCell()
    desk.intend("1", M.LIMIT_ONLY)
    desk.lose_book()
    desk.intend("1", M.MARKET_ONLY, parent_id="q")
    assert [one.reason for one in desk.reports()] == [R.NO_BOOK, R.NO_BOOK]


def test_a_lost_book_withdraws_what_rests_and_its_return_goes_on():
    desk = cell()
    desk.intend("1", M.LIMIT_WITH_FALLBACK)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.lose_book()
    assert desk.venue.open_orders() == []
    desk.advance(8)
    assert len(desk.submitted) == 1
    desk.book(BIDS, ASKS)
    assert desk.orders()[1:] == [("99.9", "1.000", "GTX")]
    desk.lose_book()
    desk.advance(40)
    assert (len(desk.submitted), desk.report().reason) == (2, R.TIMED_OUT)


def test_a_crossed_book_is_no_book():
    desk = cell()
    desk.books.sides[PERP.id] = (((1001, 5),), ((1001, 5),))
    desk.intend("1", M.MARKET_ONLY)
    assert desk.report().reason is R.NO_BOOK


@pytest.mark.parametrize(
    ("level", "reduce_only", "ends"),
    [
        (KillLevel.REDUCE_ONLY, False, True),
        (KillLevel.REDUCE_ONLY, True, False),
        (KillLevel.CANCEL_ALL, True, True),
        (KillLevel.FLATTEN, True, True),
    ],
)
def test_a_kill_ends_what_it_forbids(level, reduce_only, ends):
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY, reduce_only=reduce_only)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.tell(KillState(desk.now, level, "t", ""))
    assert bool(desk.reports()) is ends
    assert (desk.venue.open_orders() == []) is ends
    desk.intend("1", M.LIMIT_ONLY, parent_id="q", reduce_only=reduce_only)
    assert (desk.reports()[-1].parent_id == "q" if desk.reports() else False) is ends


def test_a_stop_ends_everything_and_a_resumed_desk_begins_anew():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.feed(StopCommand(desk.now, "the daemon stops"))
    assert (desk.report().reason, desk.report().why) == (R.STOPPING, "the daemon stops")
    assert desk.venue.open_orders() == []
    desk.intend("1", M.LIMIT_ONLY, parent_id="q")
    assert desk.reports()[-1].state is ExecutionState.DENIED
    desk.advance(1)
    desk.feed(ResumeCommand(desk.now, ""))
    desk.intend("1", M.LIMIT_ONLY, parent_id="r")
    assert desk.parent("r").state is ExecutionState.WORKING


def test_flags_hold_openings_back_and_nothing_else():
    desk = cell()
    desk.feed(SetFlag(desk.now, "ann", "s", FlagMode.DISABLED), SetFlag(desk.now, "", "s", FlagMode.PRODUCTION))
    desk.intend("1", M.LIMIT_ONLY)
    assert (desk.report().reason, desk.report().why) == (R.FLAG, "s is disabled, by ann")
    desk.intend("1", M.LIMIT_ONLY, Side.SELL, parent_id="q", reduce_only=True)
    assert len(desk.submitted) == 1


def test_a_shadow_says_what_it_would_send():
    desk = cell()
    desk.feed(SetFlag(desk.now, "ann", "global", FlagMode.SHADOW))
    desk.intend("1", M.MARKET_ONLY)
    assert (desk.submitted, desk.report().reason) == ([], R.FLAG)
    assert [(one.kind, one.text) for one in desk.seen(Incident)] == [
        ("shadow", f"p: buy 1.000 {PERP.id} at 100.5"),
    ]


def test_a_strategy_may_take_its_parent_back():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    desk.feed(*desk.venue.fill(desk.now, desk.last, "0.3"))
    desk.tell(CancelExecution(desk.now, "p"))
    desk.tell(CancelExecution(desk.now, "nobody"))
    assert (desk.report().reason, desk.report().filled_qty) == (R.CANCELED, D("0.3"))


def test_a_rebuilt_cell_asks_and_cancels_again():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY, time_budget_ns=SECOND)
    desk.feed(*desk.venue.accept(desk.now, desk.last))
    desk.venue.answers_cancels = False
    desk.advance(2)
    desk.venue.canceling.clear()
    desk.venue.answers_cancels = True
    desk.feed(CellRestarted(desk.now, 1, "a", "e"))
    desk.advance(10)
    assert desk.report().reason is R.TIMED_OUT


def test_a_lost_first_look_is_repeated_and_decides():
    desk = cell()
    desk.lose_book()
    desk.books.muted = True
    desk.intend("1", M.LIMIT_ONLY)
    assert desk.reports() == []
    desk.books.muted = False
    desk.feed(CellRestarted(desk.now, 1, "a", "e"))
    assert desk.report().reason is R.NO_BOOK


def test_the_gate_forgets_parents_that_are_over():
    desk = cell()
    desk.intend("1", M.LIMIT_ONLY)
    assert not desk.gate.state.parents.parents["p"].is_over
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1"))
    assert desk.gate.state.parents.parents["p"].is_over


def test_parents_survive_a_snapshot():
    desk = cell()
    desk.intend("1", M.LIMIT_WITH_FALLBACK)
    desk.feed(*desk.venue.fill(desk.now, desk.last, "0.3"))
    other = OrderExecutor(SPECS)
    other.restore(json.loads(json.dumps(desk.executor.snapshot())))
    assert other.state == desk.executor.state


def test_old_parents_are_forgotten_and_so_are_their_orders():
    desk = cell(keep_parents=2)
    for number in range(4):
        desk.intend("1", M.LIMIT_ONLY, parent_id=f"p{number}")
        desk.feed(*desk.venue.fill(desk.now, desk.last, "1"))
        desk.advance(1)
    state = desk.executor.state
    assert (list(state.parents), list(state.children.values())) == (["p2", "p3"], ["p2", "p3"])
    assert (state.open, state.refs) == ({}, {})


# Reports


def test_a_report_says_what_it_cost_and_why():
    desk = cell(FINE_BIDS, FINE_ASKS)
    desk.intend("6", M.MARKET_ONLY, decision_price=D(999))
    desk.feed(*desk.venue.fill(desk.now, desk.last, "4", "1000.1"))
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1", "1000.6"), *desk.venue.expire(desk.now, desk.last))
    desk.tell(TradeView(desk.now, PERP.id, {(10_000, Side.SELL): 3, (10_004, Side.BUY): 1}))
    desk.advance(0.6)
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1", "1000.4"))
    report: Any = desk.report()
    # 4 x 1000.1 + 1000.6 + 1000.4 = 6001.4, over 6; the mid was 1000, a decision of 999 was ten times 1/1000 before.
    assert report.average_price == D("6001.4") / 6
    assert report.expected_bps == (5 * D(1) + 1 * D(2)) / 6
    assert round(report.benchmarks.arrival_bps, 6) == D("2.333333")
    assert report.quality is Quality.GOOD
    assert report.benchmarks.twap_bps == report.benchmarks.arrival_bps
    # (3 x 1000.0 + 1 x 1000.4) / 4 = 1000.1
    assert report.benchmarks.vwap_bps == 10_000 * (D("6001.4") / 6 - D("1000.1")) / D("1000.1")
    causes = report.attribution
    assert (causes.spread, causes.impact, causes.delay, causes.fees) == (D("0.6"), D("0.8"), 6, D("0.03"))
    assert report.shortfall.total == causes.total == D("7.43")
    assert (report.arrival_bid, report.arrival_ask, report.end_price) == (D("999.9"), D("1000.1"), 1000)
    assert (report.fees, report.orders, report.alert) == ({"USDT": D("0.03")}, 2, None)
    assert report.filled_ns - report.started_ns == 600_000_000


def test_what_never_traded_has_its_price_too():
    desk = cell(FINE_BIDS, FINE_ASKS)
    desk.intend("2", M.LIMIT_ONLY, time_budget_ns=3 * SECOND)
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1"))
    desk.book("1009.9 x 5", "1010.1 x 5")
    desk.venue.answers_cancels = True
    desk.advance(4)
    report: Any = desk.report()
    # One filled at 999.9 against 1000, the other one missed at 1010.
    assert (report.shortfall.trading, report.shortfall.opportunity) == (D("-0.1"), D(10))


@pytest.mark.parametrize(
    ("price", "alert", "triggers"),
    [
        ("1002.4", None, []),
        ("1002.5", SlippageAlert.HIGH, []),
        ("1099.9", SlippageAlert.HIGH, []),
        ("1100", SlippageAlert.CRITICAL, ["slippage"]),
    ],
)
def test_a_parent_that_cost_too_much_is_alarmed(price, alert, triggers):
    desk = cell(FINE_BIDS, FINE_ASKS)
    desk.intend("1", M.MARKET_ONLY)
    desk.feed(*desk.venue.fill(desk.now, desk.last, "1", price))
    assert desk.report().alert is alert
    assert desk.incidents() == ([] if alert is None else [f"slippage_{alert}"])
    assert [one.trigger for one in desk.seen(KillTrigger)] == triggers


def test_inverse_contracts_average_by_value_and_are_not_attributed():
    desk = cell(FINE_BIDS, FINE_ASKS)
    desk.book("999.9 x 500", "1000.1 x 500", INVERSE)
    desk.intend("20", M.MARKET_ONLY, spec=INVERSE)
    desk.feed(*desk.venue.fill(desk.now, desk.last, "10", "1000"), *desk.venue.fill(desk.now, desk.last, "10", "1250"))
    report: Any = desk.report()
    # 20 contracts for 10/1000 + 10/1250 = 0.018 units each: 1111.1
    assert report.average_price == D(20) / D("0.018")
    assert (report.attribution, report.shortfall) == (None, None)


def test_expected_slippage_is_held_against_its_own_limit():
    desk = cell(FINE_BIDS, FINE_ASKS, slippage=SlippageConfig(max_expected_bps=D("0.9")))
    desk.intend("1", M.MARKET_ONLY)
    assert desk.report().why == "expected to cost 1.00 bps, allowed 0.9"
