"""The risk gate's rules: one row per check with its reason, in-flight counted from approval, unknown always refused."""

import json
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.dead_man_words import DeadManState
from actors.dispatcher import InboxHighWater
from actors.messages import (
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    CancelRequest,
    FeedStatus,
    FillEvent,
    KillLevel,
    KillState,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
    Reconciled,
    ReservationReleased,
    StopCommand,
)
from actors.risk_checks import RULES, Reason
from actors.risk_config import InstrumentLimits, RiskConfig
from actors.risk_gate import RiskGate
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from venues.port import VenueDown, VenueUp

D = Decimal
SECOND = 1_000_000_000
NOW = 1_000 * SECOND
PERP = Instrument(
    "fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"),
    min_qty=D("0.002"), max_qty=D(100), min_notional=D(5),
)  # fmt: skip
SPOT = Instrument("spot", "BTC", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
ODD = Instrument("fut", "ETHBTC", InstrumentKind.PERPETUAL, "ETH", "BTC", D("0.1"), D("0.001"))
INSTRUMENTS = {spec.id: spec for spec in (PERP, SPOT, ODD)}
ACCOUNTS = {"f": "fut", "s": "spot"}
LIMITS = InstrumentLimits(
    order_notional_max=D(5_000),
    order_qty_max=D(40),
    position_notional_max=D(8_000),
    position_qty_max=D(60),
)
CONFIG = RiskConfig(
    default=LIMITS, gross_notional_max=D(10_000), open_orders_max=5, orders_per_window=10, starts_read_only=False
)


def make(config=CONFIG):
    gate = RiskGate(INSTRUMENTS, ACCOUNTS, config)
    done = Collected()
    gate.out = detached_outbox("gate", into=done)
    for spec in (PERP, SPOT):
        # Mid 100.0 on both.
        gate.handle(NOW, BookView(NOW, spec.id, spec.ticks(D("99.9")), 1, spec.ticks(D("100.1")), 1))
    gate.handle(NOW, DeadManState(NOW, "f", PERP.id, 2 * NOW))
    return gate, done


def order(request_id="r1", **changes):
    values: dict[str, Any] = {
        "strategy": "s1",
        "basket_id": "",
        "account": "f",
        "instrument": PERP.id,
        "side": Side.BUY,
        "qty": D(1),
        "price": D(100),
    }
    return OrderRequest(NOW, request_id, **(values | changes))


def ask(gate, done, request, now=NOW):
    """Return the reasons of the denial, without their figures; an empty set for an approval."""
    done.emitted.clear()
    gate.handle(now, request)
    (answer,) = done.emitted
    if isinstance(answer, OrderApproved):
        return set()
    assert isinstance(answer, OrderDenied)
    assert answer.reasons
    return {Reason(reason.partition(":")[0]) for reason in answer.reasons}


def position(qty, spec=PERP, account="f", side=PositionSide.BOTH):
    return PositionUpdate(NOW, account, spec.id, side, D(qty), D(100), ZERO)


def fill(request_id, side, qty, basket="", spec=PERP, account="f", fee="0", asset="USDT"):
    made = Fill(NOW, account, spec.id, "c", "t", side, D(100), D(qty), Liquidity.TAKER, D(fee), asset, FillReason.TAKER)
    return FillEvent(NOW, request_id, "s1", basket, made)


def update(request_id, qty, filled, is_final):
    status = OrderStatus.CANCELED if is_final else OrderStatus.ACCEPTED
    return OrderUpdate(NOW, request_id, "s1", "", "c", "f", PERP.id, Side.BUY, D(qty), status, D(filled), is_final)


def test_an_order_inside_every_limit_passes():
    gate, done = make()
    assert ask(gate, done, order()) == set()
    assert gate.state.approved == 1


NAN, INF = D("NaN"), D("Infinity")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instrument": "fut:NOPE"}, Reason.UNKNOWN_INSTRUMENT),
        ({"account": "nobody"}, Reason.UNKNOWN_ACCOUNT),
        ({"account": "s"}, Reason.WRONG_VENUE),
        ({"qty": NAN}, Reason.BAD_QTY),
        ({"qty": INF}, Reason.BAD_QTY),
        ({"qty": D(0)}, Reason.BAD_QTY),
        ({"qty": D(-1)}, Reason.BAD_QTY),
        ({"price": NAN}, Reason.BAD_PRICE),
        ({"price": -INF}, Reason.BAD_PRICE),
        ({"price": D(0)}, Reason.BAD_PRICE),
        ({"price": None}, Reason.BAD_PRICE),
        ({"price": D("100.05")}, Reason.OFF_TICK),
        ({"qty": D("1.0005")}, Reason.OFF_LOT),
        ({"qty": D("0.001")}, Reason.BELOW_MIN_QTY),
        ({"qty": D("0.049")}, Reason.BELOW_MIN_NOTIONAL),  # 0.049 x 100 = 4.9 < 5
        ({"qty": D("100.001")}, Reason.ABOVE_MAX_QTY),
        ({"qty": D("40.001")}, Reason.ORDER_QTY),
        ({"qty": D("50.001")}, Reason.ORDER_NOTIONAL),  # x 100 > 5000
        ({"qty": D("60.001")}, Reason.POSITION_QTY),
        ({"qty": D("80.001")}, Reason.POSITION_NOTIONAL),  # x 100 > 8000
        ({"qty": D("100.001")}, Reason.GROSS_NOTIONAL),  # x 100 > 10000
        ({"price": D("101.1")}, Reason.PRICE_COLLAR),  # 110 bps from the mid, 100 allowed
        ({"price": D("98.9")}, Reason.PRICE_COLLAR),
        ({"price": D("105.1")}, Reason.HARD_COLLAR),  # 510 bps, 500 allowed
        ({"type": OrderType.MARKET, "price": None}, Reason.UNPRICED),
        ({"instrument": ODD.id}, Reason.NO_REFERENCE),
    ],
)
@pytest.mark.parametrize("is_hedge", [False, True])
def test_each_order_is_held_against_the_table(changes, reason, is_hedge):
    """A hedge of no reserved basket is an order like any other."""
    gate, done = make()
    assert reason in ask(gate, done, order(is_hedge=is_hedge, **changes))
    assert not gate.state.orders


def test_limits_themselves_still_pass():
    gate, done = make()
    assert ask(gate, done, order(qty=D(40))) == set()
    assert ask(gate, done, order("r2", qty=D(20), price=D("101.0"), side=Side.SELL)) == set()


KILLED = KillState(NOW, KillLevel.REDUCE_ONLY, "t", "w")


@pytest.mark.parametrize(
    ("message", "reason", "spares_reducing"),
    [
        (FeedStatus(NOW, PERP.id, False, "gap"), Reason.FEED_DOWN, True),
        (VenueDown(NOW, "fut", "market"), Reason.FEED_DOWN, True),
        (VenueDown(NOW, "fut", "orders"), Reason.VENUE_DOWN, False),
        (VenueDown(NOW, "fut", "private"), Reason.VENUE_DOWN, False),
        (VenueDown(NOW, "fut"), Reason.VENUE_DOWN, False),
        (KILLED, Reason.KILLED, True),
        (StopCommand(NOW, "end"), Reason.STOPPING, True),
        (InboxHighWater(NOW, 5_000, True), Reason.BACKLOG, True),
        (CellRestarted(NOW, 1, "a", "e"), Reason.READ_ONLY, False),
    ],
)
def test_states_of_the_world_hold_orders_back(message, reason, spares_reducing):
    gate, done = make()
    gate.handle(NOW, position(5))
    gate.handle(NOW, message)
    assert reason in ask(gate, done, order())
    reducing = order("r2", side=Side.SELL, qty=D(5))
    assert (ask(gate, done, reducing) == set()) is spares_reducing


@pytest.mark.parametrize(
    ("down", "cure"),
    [
        (FeedStatus(NOW, PERP.id, False, "gap"), [FeedStatus(NOW, PERP.id, True)]),
        (VenueDown(NOW, "fut", "market"), [VenueUp(NOW, "fut", "market")]),
        (VenueDown(NOW, "fut", "orders"), [VenueUp(NOW, "fut", "orders"), Reconciled(NOW, "f")]),
        (InboxHighWater(NOW, 5_000, True), [InboxHighWater(NOW, 0, False)]),
        (CellRestarted(NOW, 1, "a", "e"), [Reconciled(NOW, "f")]),
        (KILLED, [KillState(NOW, KillLevel.ARMED, "operator", "fixed")]),
    ],
)
def test_each_state_has_its_cure_and_half_of_it_is_not_enough(down, cure):
    gate, done = make()
    gate.handle(NOW, down)
    for number, step in enumerate(cure):
        assert ask(gate, done, order(f"r{number}"))
        gate.handle(NOW, step)
    assert ask(gate, done, order("last")) == set()


def test_every_account_is_reconciled_on_its_own():
    gate, done = make(evolve(CONFIG, starts_read_only=True))
    assert ask(gate, done, order()) == {Reason.READ_ONLY}
    gate.handle(NOW, Reconciled(NOW, "s"))
    assert ask(gate, done, order()) == {Reason.READ_ONLY}
    gate.handle(NOW, Reconciled(NOW, "f"))
    assert ask(gate, done, order()) == set()


def test_an_old_book_is_stale_to_the_nanosecond():
    gate, done = make()
    age = LIMITS.book_age_max_ns
    assert ask(gate, done, order("a"), NOW + age) == set()
    assert ask(gate, done, order("b", qty=D(2)), NOW + age + 1) == {Reason.STALE_BOOK}


def test_a_crossed_view_is_no_reference():
    gate = RiskGate(INSTRUMENTS, ACCOUNTS, CONFIG)
    done = Collected()
    gate.out = detached_outbox("gate", into=done)
    gate.handle(NOW, BookView(NOW, PERP.id, 1001, 1, 1000, 1))
    assert Reason.NO_REFERENCE in ask(gate, done, order())


def test_the_list_of_instruments_binds_openings_only():
    gate, done = make(evolve(CONFIG, allowed=(SPOT.id,)))
    gate.handle(NOW, position(1))
    assert ask(gate, done, order()) == {Reason.RESTRICTED}
    assert ask(gate, done, order(side=Side.SELL)) == set()


def test_repeated_ids_and_repeated_orders_are_refused():
    gate, done = make()
    assert ask(gate, done, order()) == set()
    assert ask(gate, done, order(price=D("100.1"))) == {Reason.DUPLICATE_ID}
    assert ask(gate, done, order("r2", qty=D("1.000"))) == {Reason.DUPLICATE_ORDER}
    later = NOW + CONFIG.duplicate_window_ns
    assert ask(gate, done, order("r3"), later) == set()
    assert ask(gate, done, order("r4"), later + 1) == {Reason.DUPLICATE_ORDER}


def test_an_id_is_remembered_after_its_order_ended():
    gate, done = make()
    ask(gate, done, order())
    gate.handle(NOW, update("r1", 1, 0, is_final=True))
    assert Reason.DUPLICATE_ID in ask(gate, done, order(price=D("100.1")))


def test_open_orders_count_until_final():
    gate, done = make()
    for number in range(5):
        assert ask(gate, done, order(f"r{number}", qty=D(1) + number)) == set()
    assert ask(gate, done, order("x", qty=D(7))) == {Reason.OPEN_ORDERS}
    gate.handle(NOW, update("r0", 1, 0, is_final=False))
    assert ask(gate, done, order("x", qty=D(7))) == {Reason.OPEN_ORDERS}
    gate.handle(NOW, update("r0", 1, 0, is_final=True))
    assert ask(gate, done, order("x", qty=D("5.5"))) == set()


def test_the_message_rate_keeps_a_share_for_hedges_and_counts_cancels():
    # 10 per second, 0.4 of it reserved: 6 for openings.
    gate, done = make(evolve(CONFIG, open_orders_max=100))
    gate.handle(NOW, position(20))
    for number in range(4):
        assert ask(gate, done, order(f"r{number}", qty=D(1) + number)) == set()
    for _ in range(2):
        gate.handle(NOW, CancelRequest(NOW, "r0"))
    assert ask(gate, done, order("x", qty=D(9))) == {Reason.MESSAGE_RATE}
    for number in range(4):
        assert ask(gate, done, order(f"h{number}", side=Side.SELL)) == set()
    assert ask(gate, done, order("h5", side=Side.SELL)) == {Reason.MESSAGE_RATE}
    assert ask(gate, done, order("y", qty=D(9)), NOW + SECOND - 1) == {Reason.MESSAGE_RATE}
    assert ask(gate, done, order("y", qty=D(9)), NOW + SECOND) == set()


def test_position_in_flight_and_this_order_count_together():
    # 60 allowed.
    gate, done = make()
    gate.handle(NOW, position(30))
    assert ask(gate, done, order("a", qty=D(20))) == set()
    assert ask(gate, done, order("b", qty=D("10.001"))) == {Reason.POSITION_QTY}
    gate.handle(NOW, fill("a", Side.BUY, 20))
    assert ask(gate, done, order("b", qty=D("10.001"))) == {Reason.POSITION_QTY}
    gate.handle(NOW, position(50))
    gate.handle(NOW, update("a", 20, 20, is_final=True))
    assert ask(gate, done, order("b", qty=D("10.001"))) == {Reason.POSITION_QTY}
    assert ask(gate, done, order("c", qty=D(10))) == set()


def test_gross_exposure_counts_every_instrument_and_needs_every_price():
    gate, done = make()
    gate.handle(NOW, position(70, SPOT, "s"))
    assert ask(gate, done, order("a", qty=D("30.001"))) == {Reason.GROSS_NOTIONAL}
    assert ask(gate, done, order("a", qty=D(30))) == set()
    gate.handle(NOW, position(1, ODD))
    assert ask(gate, done, order("b")) == {Reason.GROSS_NOTIONAL}


@pytest.mark.parametrize(
    ("held", "changes", "is_reducing"),
    [
        (5, {"side": Side.SELL, "qty": D(5)}, True),
        (5, {"side": Side.SELL, "qty": D("5.001")}, False),  # would flip
        (5, {"side": Side.BUY, "qty": D(1)}, False),
        (-5, {"side": Side.BUY, "qty": D(5)}, True),
        (0, {"side": Side.SELL, "qty": D(1)}, False),
        (0, {"side": Side.SELL, "qty": D(1), "reduce_only": True}, True),  # the venue sees to it
        (0, {"side": Side.SELL, "qty": D(1), "position_side": PositionSide.LONG}, True),
        (0, {"side": Side.BUY, "qty": D(1), "position_side": PositionSide.LONG}, False),
    ],
)
def test_reduce_only_lets_pass_what_can_only_reduce(held, changes, is_reducing):
    gate, done = make()
    gate.handle(NOW, position(held))
    gate.handle(NOW, KILLED)
    found = ask(gate, done, order(**changes))
    assert found == (set() if is_reducing else {Reason.KILLED})


def test_reduce_only_means_nothing_to_a_spot_venue():
    gate, done = make()
    gate.handle(NOW, KILLED)
    sell = order(account="s", instrument=SPOT.id, side=Side.SELL, reduce_only=True)
    assert ask(gate, done, sell) == {Reason.KILLED}
    gate.handle(NOW, position(1, SPOT, "s"))
    assert ask(gate, done, sell) == set()


def test_two_orders_cannot_reduce_the_same_position():
    gate, done = make()
    gate.handle(NOW, position(5))
    gate.handle(NOW, KILLED)
    assert ask(gate, done, order("a", side=Side.SELL, qty=D(5))) == set()
    assert ask(gate, done, order("b", side=Side.SELL, qty=D(4))) == {Reason.KILLED}


def test_a_fill_counts_before_the_ledger_booked_it_and_only_once():
    gate, done = make()
    gate.handle(NOW, fill("x", Side.BUY, 50))
    assert ask(gate, done, order("a", qty=D("10.001"))) == {Reason.POSITION_QTY}
    gate.handle(NOW, position(50))
    assert ask(gate, done, order("b", qty=D(10))) == set()


def test_a_fill_the_ledger_did_not_book_is_forgotten_at_the_next_moment():
    gate, done = make()
    gate.handle(NOW, fill("x", Side.BUY, 60))
    assert ask(gate, done, order("a", qty=D(1))) == {Reason.POSITION_QTY}
    assert ask(gate, done, order("b", qty=D(1)), NOW + 1) == set()


@pytest.mark.parametrize(
    ("level", "tif", "reasons"),
    [
        (KillLevel.REDUCE_ONLY, TimeInForce.GTC, set()),
        (KillLevel.CANCEL_ALL, TimeInForce.GTC, {Reason.MAY_REST}),
        (KillLevel.CANCEL_ALL, TimeInForce.IOC, set()),
        (KillLevel.FLATTEN, TimeInForce.GTX, {Reason.MAY_REST}),
        (KillLevel.FLATTEN, TimeInForce.FOK, set()),
    ],
)
def test_from_cancel_all_on_nothing_may_rest(level, tif, reasons):
    gate, done = make()
    gate.handle(NOW, position(5))
    gate.handle(NOW, KillState(NOW, level, "t", "w"))
    assert ask(gate, done, order(side=Side.SELL, tif=tif)) == reasons


# Baskets


def preflight(qty="30", basket="b", legs=None, **changes):
    legs = legs or (
        BasketLeg("s", SPOT.id, Side.BUY, D(qty)),
        BasketLeg("f", PERP.id, Side.SELL, D(qty)),
    )
    return PreflightRequest(NOW, basket, "s1", legs, D(10), **changes)


def reply(gate, done, request):
    done.emitted.clear()
    gate.handle(NOW, request)
    (answer,) = done.emitted
    assert isinstance(answer, PreflightReply)
    return answer


def test_preflight_reserves_for_everybody_else():
    gate, done = make()
    assert reply(gate, done, preflight("40")).is_ok
    # 40 bought and 40 sold at 100 are reserved of 10,000 gross; the perpetual may come to 60.
    assert ask(gate, done, order("a", side=Side.SELL, qty=D("20.001"))) == {
        Reason.GROSS_NOTIONAL,
        Reason.POSITION_QTY,
    }
    assert not reply(gate, done, preflight("11", basket="b2")).is_ok
    # The basket's own order takes from its reservation instead of adding to it.
    assert ask(gate, done, order("b", side=Side.SELL, qty=D(40), basket_id="b")) == set()
    assert ask(gate, done, order("c", side=Side.SELL, qty=D(20))) == set()
    gate.handle(NOW, ReservationReleased(NOW, "b"))
    gate.handle(NOW, update("b", 40, 0, is_final=True))
    assert ask(gate, done, order("d", side=Side.SELL, qty=D(39))) == set()


def test_preflight_names_the_leg_and_checks_legs_together():
    gate, done = make()
    answer = reply(gate, done, preflight("51"))
    assert not answer.is_ok
    assert {reason.partition(":")[0] for reason in answer.reasons} == {"spot", "fut"}
    assert any(Reason.GROSS_NOTIONAL in reason for reason in answer.reasons)
    assert not gate.state.baskets


@pytest.mark.parametrize(
    "request_",
    [
        preflight(legs=(BasketLeg("f", "fut:NOPE", Side.BUY, D(1)),)),
        preflight("NaN"),
        preflight("-1"),
        preflight(legs=(BasketLeg("f", PERP.id, Side.BUY, D(1), limit_price=NAN),)),
        PreflightRequest(NOW, "b", "s1", (), D(10)),
    ],
)
def test_preflight_refuses_the_unknown(request_):
    gate, done = make()
    assert not reply(gate, done, request_).is_ok


def test_a_basket_is_reserved_once():
    gate, done = make()
    assert reply(gate, done, preflight("1")).is_ok
    assert not reply(gate, done, preflight("1")).is_ok


def test_a_hedge_of_a_reserved_basket_passes_a_kill_but_not_its_own_size():
    gate, done = make()
    reply(gate, done, preflight("10"))
    gate.handle(NOW, KillState(NOW, KillLevel.CANCEL_ALL, "t", "w"))
    hedge = order("h", side=Side.SELL, basket_id="b", is_hedge=True, tif=TimeInForce.IOC)
    assert ask(gate, done, evolve(hedge, is_hedge=False)) == {Reason.KILLED}
    # 10 and the 10 % overrun.
    assert ask(gate, done, evolve(hedge, qty=D("11.001"))) == {Reason.BASKET_OVERRUN}
    assert ask(gate, done, evolve(hedge, qty=D(6))) == set()
    assert ask(gate, done, evolve(hedge, request_id="h2", qty=D("5.001"))) == {Reason.BASKET_OVERRUN}
    # Nothing was filled yet, so there is nothing to unwind.
    assert ask(gate, done, evolve(hedge, request_id="h3", side=Side.BUY)) == {Reason.BASKET_OVERRUN}
    gate.handle(NOW, fill("h", Side.SELL, 6, basket="b"))
    assert ask(gate, done, evolve(hedge, request_id="h4", side=Side.BUY, qty=D(6))) == set()


def told(state, basket="b", closes=None):
    return BasketUpdate(NOW, basket, "s1", state, (), ZERO, closes)


def test_a_basket_that_ended_hedges_only_when_it_is_at_work_again():
    gate, done = make()
    reply(gate, done, preflight("10"))
    hedge = order("h", side=Side.SELL, basket_id="b", is_hedge=True)
    gate.handle(NOW, ReservationReleased(NOW, "b"))
    gate.handle(NOW, told(BasketState.BALANCED))
    gate.handle(NOW, KILLED)
    assert ask(gate, done, hedge) == {Reason.KILLED}
    gate.handle(NOW, told(BasketState.HEDGING))
    assert ask(gate, done, hedge) == set()


def test_flattening_needs_no_preflight_and_may_trade_what_the_basket_holds():
    gate, done = make()
    reply(gate, done, preflight("10"))
    gate.handle(NOW, fill("x", Side.BUY, 10, "b", SPOT, "s"))
    gate.handle(NOW, told(BasketState.BALANCED))
    gate.handle(NOW, KillState(NOW, KillLevel.FLATTEN, "t", "w"))
    gate.handle(NOW, told(BasketState.WORKING, "b.flat", closes="b"))
    # The ledger knows of no position here: another basket may hold the opposite.
    sale = order("f", account="s", instrument=SPOT.id, side=Side.SELL, basket_id="b.flat", is_hedge=True, qty=D(10))
    assert ask(gate, done, sale) == set()
    gate.handle(NOW, fill("f", Side.SELL, 10, "b.flat", SPOT, "s"))
    assert ask(gate, done, evolve(sale, request_id="g", qty=D("1.001"))) == {Reason.BASKET_OVERRUN}
    gate.handle(NOW, told(BasketState.BALANCED, "b.flat", closes="b"))
    gate.handle(NOW, told(BasketState.WORKING, "b.flat2", closes="b"))
    again = evolve(sale, request_id="h", basket_id="b.flat2", qty=D(1))
    assert ask(gate, done, again) == {Reason.BASKET_OVERRUN}


def test_the_memory_for_baskets_is_bounded_and_keeps_those_at_work():
    gate, done = make(evolve(CONFIG, remembered_baskets=3))
    for number in range(10):
        assert reply(gate, done, preflight("1", basket=str(number))).is_ok
        if number:
            gate.handle(NOW, ReservationReleased(NOW, str(number)))
    assert list(gate.state.baskets) == ["0", "8", "9"]


def test_a_hedge_keeps_the_hard_collar():
    gate, done = make()
    reply(gate, done, preflight("10"))
    hedge = order("h", side=Side.SELL, basket_id="b", is_hedge=True)
    assert ask(gate, done, evolve(hedge, price=D("97.0"))) == set()
    assert ask(gate, done, evolve(hedge, request_id="h2", price=D("94.9"))) == {Reason.HARD_COLLAR}


def test_every_reason_has_a_rule_or_an_identity():
    identity = {
        Reason.UNKNOWN_INSTRUMENT,
        Reason.UNKNOWN_ACCOUNT,
        Reason.WRONG_VENUE,
        Reason.BAD_QTY,
        Reason.BAD_PRICE,
    }
    of_whole_baskets = {Reason.REDUCE_CAPACITY}
    assert {rule.reason for rule in RULES} | identity | of_whole_baskets == set(Reason)
    assert len({rule.reason for rule in RULES}) == len(RULES)


# Properties

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.sampled_from(list(Side)), st.integers(1, 45_000), st.booleans()),
        st.tuples(st.just("fill"), st.integers(0, 9), st.integers(1, 45_000)),
        st.tuples(st.just("final"), st.integers(0, 9)),
        st.tuples(st.just("booked")),
    ),
    max_size=40,
)


@given(STEPS)
def test_what_is_approved_never_exceeds_the_limit_in_any_order_of_events(steps):
    """The position if all (or any part) of what is in flight filled stays within 60, whatever comes in between."""
    config = evolve(CONFIG, open_orders_max=1000, orders_per_window=1000, duplicate_window_ns=0)
    gate, done = make(config)
    live: dict[str, list[Any]] = {}
    held = ZERO
    unbooked: list[Decimal] = []
    for number, step in enumerate(steps):
        if step[0] == "order":
            _, side, lots, reduce_only = step
            request = order(f"r{number}", side=side, qty=PERP.qty(lots) + D("0.05"), reduce_only=reduce_only)
            if not ask(gate, done, request) and not reduce_only:
                live[f"r{number}"] = [side, request.qty]
        elif step[0] == "booked":
            if unbooked:
                gate.handle(NOW, position(unbooked.pop(0)))
        elif live:
            name = sorted(live)[step[1] % len(live)]
            side, leaves = live[name]
            if step[0] == "final":
                gate.handle(NOW, update(name, 1, 0, is_final=True))
                del live[name]
            else:
                qty = min(PERP.qty(step[2]), leaves)
                gate.handle(NOW, fill(name, side, qty))
                held += side.sign * qty
                unbooked.append(held)
                live[name][1] -= qty
        long = held + sum((leaves for side, leaves in live.values() if side is Side.BUY), ZERO)
        short = held - sum((leaves for side, leaves in live.values() if side is Side.SELL), ZERO)
        assert max(long, -short) <= 60


BAD = st.sampled_from([NAN, D("sNaN"), INF, -INF, ZERO, D(-1)])


@given(st.one_of(st.fixed_dictionaries({"qty": BAD}), st.fixed_dictionaries({"price": BAD})), st.booleans())
def test_no_number_is_ever_taken_for_small(changes, is_hedge):
    gate, done = make()
    assert ask(gate, done, order(is_hedge=is_hedge, reduce_only=is_hedge, **changes))


def test_an_order_found_at_the_venue_counts_as_in_flight():
    gate, done = make()
    gate.handle(NOW, update("foreign", 55, 5, is_final=False))
    assert ask(gate, done, order("a", qty=D("10.001"))) == {Reason.POSITION_QTY}
    assert ask(gate, done, order("a", qty=D(10))) == set()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order_notional_max", NAN),
        ("order_notional_max", ZERO),
        ("position_qty_max", INF),
        ("collar_bps", D(-1)),
        ("hard_collar_bps", D(99)),
        ("book_age_max_ns", 0),
    ],
)
def test_limits_that_limit_nothing_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        InstrumentLimits(**{field: value})


def test_state_survives_json():
    gate, done = make()
    reply(gate, done, preflight("10"))
    ask(gate, done, order())
    gate.handle(NOW, fill("r1", Side.BUY, "0.5"))
    gate.handle(NOW, KILLED)
    gate.handle(NOW, VenueDown(NOW, "fut", "orders", "why"))
    other, _ = make()
    other.restore(json.loads(json.dumps(gate.snapshot())))
    assert other.state == gate.state
