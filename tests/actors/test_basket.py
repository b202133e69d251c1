"""Basket arithmetic: states, the common quantum, common sizes, what each way out of an imbalance costs."""

from decimal import Decimal

import pytest
from attrs import evolve
from cell_harness import COARSE, PERP, SPECS, SPOT, D, Levels, buy, levels, sell
from hypothesis import given
from hypothesis import strategies as st

from actors.basket import (
    ACTIVE,
    ENDED,
    TRANSITIONS,
    Basket,
    BasketEvent,
    Child,
    IllegalBasketEventError,
    new_leg,
    next_state,
    quantum,
    residual_key,
)
from actors.basket_plan import DeniedError, PlanKind, Terms, choose, common_sizes, must_wait
from actors.messages import BasketLeg, BasketState, DepthReply
from venues.model.money import ZERO
from venues.model.order import Side

S, E = BasketState, BasketEvent


# States

LISTED = {
    (S.PLANNED, E.RESERVE): S.RESERVED,
    (S.PLANNED, E.DENY): S.DENIED,
    (S.RESERVED, E.PLACE): S.WORKING,
    (S.RESERVED, E.DENY): S.DENIED,
    (S.WORKING, E.HEDGE): S.HEDGING,
    (S.WORKING, E.UNWIND): S.UNWINDING,
    (S.WORKING, E.BALANCE): S.BALANCED,
    (S.WORKING, E.EMPTY): S.FLAT,
    (S.WORKING, E.BREAK): S.BROKEN,
    (S.HEDGING, E.HEDGE): S.HEDGING,
    (S.HEDGING, E.UNWIND): S.UNWINDING,
    (S.HEDGING, E.BALANCE): S.BALANCED,
    (S.HEDGING, E.EMPTY): S.FLAT,
    (S.HEDGING, E.BREAK): S.BROKEN,
    (S.UNWINDING, E.UNWIND): S.UNWINDING,
    (S.UNWINDING, E.BALANCE): S.BALANCED,
    (S.UNWINDING, E.EMPTY): S.FLAT,
    (S.UNWINDING, E.BREAK): S.BROKEN,
    (S.BALANCED, E.HEDGE): S.HEDGING,
    (S.BALANCED, E.UNWIND): S.UNWINDING,
    (S.BALANCED, E.EMPTY): S.FLAT,
    (S.BALANCED, E.BREAK): S.BROKEN,
    (S.FLAT, E.HEDGE): S.HEDGING,
    (S.FLAT, E.UNWIND): S.UNWINDING,
    (S.FLAT, E.BREAK): S.BROKEN,
    (S.BROKEN, E.EMPTY): S.FLAT,
    (S.BROKEN, E.BREAK): S.BROKEN,
    (S.BROKEN, E.BALANCE): S.BALANCED,
}


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("event", list(E))
def test_a_basket_moves_as_listed_and_not_otherwise(state: BasketState, event: BasketEvent) -> None:
    if (state, event) in LISTED:
        assert next_state(state, event) is LISTED[state, event]
    else:
        with pytest.raises(IllegalBasketEventError, match=f"{state} cannot {event}"):
            next_state(state, event)
    assert len(TRANSITIONS) == len(LISTED)


def test_every_active_state_can_end_every_way() -> None:
    for state in ACTIVE:
        assert {next_state(state, event) for event in (E.BALANCE, E.EMPTY, E.BREAK)} < ENDED


# Quantum and sizes


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (["0.001", "0.1"], "0.1"),  # facts/execution.md 4.7
        (["0.001", "0.01"], "0.01"),
        (["0.002", "0.003"], "0.006"),
        (["0.25", "0.1"], "0.5"),
        (["1", "1"], "1"),
        (["0.0001", "0.001", "0.01"], "0.01"),
    ],
)
def test_the_quantum_is_the_least_common_multiple_of_the_steps(steps: list[str], expected: str) -> None:
    assert quantum(evolve(PERP, lot_size=D(step)) for step in steps) == D(expected)


def test_a_contract_counts_by_its_multiplier() -> None:
    assert quantum([SPOT, COARSE]) == D("0.01")


def sizes(*legs: BasketLeg, carried: str = "0", is_close: bool = False) -> list[Decimal]:
    quanta = {"BTC": quantum(SPECS[leg.instrument] for leg in legs)}
    return common_sizes(legs, SPECS, quanta, {"BTC": D(carried)}, is_close=is_close)


@pytest.mark.parametrize(
    ("legs", "carried", "is_close", "expected"),
    [
        ((buy(SPOT, "1"), sell(PERP, "1")), "0", False, ["1", "1"]),
        ((buy(SPOT, "0.4082"), sell(COARSE, "40")), "0", False, ["0.40", "40"]),
        ((buy(SPOT, "0.4018"), sell(COARSE, "41")), "0", False, ["0.40", "40"]),
        ((buy(SPOT, "1.0005"), sell(PERP, "0.6"), sell(COARSE, "40")), "0", False, ["1.00", "0.60", "40"]),
        ((sell(SPOT, "0.4053"), buy(COARSE, "40")), "0.0053", True, ["0.4053", "40"]),
        ((buy(SPOT, "0.4053"), sell(COARSE, "40")), "-0.0053", False, ["0.4053", "40"]),
        ((sell(SPOT, "0.99905"), buy(PERP, "0.999")), "0", True, ["0.9990", "0.999"]),
        ((buy(PERP, "1"),), "-1", True, ["1"]),
    ],
)
def test_common_sizes(legs: tuple[BasketLeg, ...], carried: str, is_close: bool, expected: list[str]) -> None:
    assert sizes(*legs, carried=carried, is_close=is_close) == [D(one) for one in expected]


@pytest.mark.parametrize(
    ("legs", "reason"),
    [
        ((buy(SPOT, "1"), sell(COARSE, "99")), "not_neutral"),
        ((buy(SPOT, "0.0099"), sell(COARSE, "1")), "below_quantum"),
    ],
)
def test_sizes_that_cannot_match_are_denied(legs: tuple[BasketLeg, ...], reason: str) -> None:
    with pytest.raises(DeniedError, match=reason):
        sizes(*legs)


@given(st.integers(1, 10**6), st.integers(-99, 99))
def test_common_sizes_cancel_and_never_exceed_what_was_asked(lots: int, off: int) -> None:
    legs = (buy(SPOT, str(lots * D("0.0001"))), sell(COARSE, str((lots + off) // 100 or 1)))
    try:
        spot, coarse = sizes(*legs)
    except DeniedError:
        return
    assert spot == coarse * COARSE.multiplier
    assert spot <= legs[0].qty
    assert coarse <= legs[1].qty


def test_residuals_belong_to_a_base_asset_and_its_accounts() -> None:
    assert residual_key("BTC", ["b", "a", "b"]) == "BTC|a+b"


# Ways out


def basket(spot: str, perp: str, **changes: object) -> Basket:
    """A carry of 1 with what its legs have filled, at the arrival touches."""
    legs = [new_leg(buy(SPOT, "1"), D(1), is_close=False), new_leg(sell(PERP, "1"), D(1), is_close=False)]
    for leg, bid, ask, filled in zip(legs, ("100.00", "102.0"), ("100.10", "102.1"), (spot, perp), strict=True):
        leg.arrival_bid, leg.arrival_ask = D(bid), D(ask)
        leg.book(D(filled), leg.arrival_touch, is_reduce=False)
    made = Basket("b", "s", legs, {"BTC": quantum([SPOT, PERP])}, D(10), D(10**6), 0, 30 * 10**9, state=S.WORKING)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def depth(made: Basket, **sides: Levels) -> Basket:
    """Set live books; the touches of the start unless given."""
    for spec, name in ((SPOT, "spot"), (PERP, "perp")):
        bid, ask = ("100.00", "100.10") if spec is SPOT else ("102.0", "102.1")
        bids = sides.get(f"{name}_bids", levels(spec, (bid, "10")))
        asks = sides.get(f"{name}_asks", levels(spec, (ask, "10")))
        made.depth[spec.id] = DepthReply(0, "", spec.id, True, bids, asks)
    return made


TERMS = Terms(D(10), {})


def test_nets_gaps_and_what_is_on_its_way() -> None:
    made = basket("0.7", "0.2")
    assert made.net(SPECS) == {"BTC": D("0.5")}
    assert made.gaps(SPECS) == {"BTC": D("0.5")}
    # An order that may still sell 0.3 leaves 0.2 to hedge; one that may sell 0.8 leaves nothing.
    made.children["x"] = Child(1, False, True, D("0.5"), filled=D("0.2"))
    assert made.gaps(SPECS) == {"BTC": D("0.2")}
    made.children["x"].qty = D("1.0")
    assert made.gaps(SPECS) == {}
    assert not made.is_balanced(SPECS)


def test_below_a_quantum_nothing_needs_hedging() -> None:
    made = basket("0.5009", "0.5")
    assert made.gaps(SPECS) == {}
    assert made.is_balanced(SPECS)


def test_completing_costs_the_way_from_the_touch_at_the_start() -> None:
    plan = choose(depth(basket("1", "0.4"), perp_bids=levels(PERP, ("101.9", "10"))), SPECS, TERMS)
    assert plan is not None
    assert (plan.kind, plan.coverage, plan.cost) == (PlanKind.COMPLETE, D(1), D("0.06"))
    assert [(o.leg, o.side, o.qty, o.price) for o in plan.orders] == [(1, Side.SELL, D("0.6"), D("101.9"))]


@pytest.mark.parametrize(
    ("perp_bid", "fee_bps", "kind"),
    [
        # Trimming 0.6 spot bought at 100.10 to 100.00 loses 0.06; completing loses 0.6 x the fall of the perpetual.
        ("102.0", "0", PlanKind.COMPLETE),
        ("101.9", "0", PlanKind.COMPLETE),
        # With fees trimming costs 10 bps of 60 more.
        ("101.9", "10", PlanKind.COMPLETE),
        # 10 bps under the start is as far as completing may go: 101.9 rounded up.
        ("101.8", "0", PlanKind.TRIM),
    ],
)
def test_the_cheaper_way_out_is_taken(perp_bid: str, fee_bps: str, kind: PlanKind) -> None:
    made = depth(basket("1", "0.4"), perp_bids=levels(PERP, (perp_bid, "10")))
    plan = choose(made, SPECS, Terms(D(10), {SPOT.id: D(fee_bps)}))
    assert plan is not None
    assert plan.kind is kind


def test_coverage_goes_before_cost() -> None:
    made = depth(basket("1", "0.4"), perp_bids=levels(PERP, ("102.0", "0.1"), ("101.0", "10")))
    plan = choose(made, SPECS, TERMS)
    assert plan is not None
    assert plan.kind is PlanKind.TRIM
    assert [(o.is_reduce, o.side, o.qty) for o in plan.orders] == [(True, Side.SELL, D("0.6"))]


def test_the_last_attempt_has_no_price() -> None:
    made = depth(basket("1", "0.4"), perp_bids=levels(PERP, ("90.0", "0.1")), spot_bids=())
    plan = choose(made, SPECS, Terms(None, {}))
    assert plan is not None
    assert [(o.qty, o.price) for o in plan.orders] == [(D("0.6"), None)]


@pytest.mark.parametrize(
    "changes",
    [
        {"may_extend": False},
        {"state": S.UNWINDING},
    ],
)
def test_a_basket_on_its_way_out_does_not_turn_round(changes: dict[str, object]) -> None:
    plan = choose(depth(basket("1", "0.4", **changes)), SPECS, TERMS)
    assert plan is not None
    assert plan.kind is PlanKind.TRIM


def test_a_close_only_completes() -> None:
    made = depth(basket("1", "0.4", closes="x"), perp_bids=())
    assert choose(made, SPECS, TERMS) is None


def test_dead_books_give_no_plan() -> None:
    made = basket("1", "0.4")
    for spec in (SPOT, PERP):
        made.depth[spec.id] = DepthReply(0, "", spec.id, False)
    assert choose(made, SPECS, Terms(None, {})) is None


def test_a_leg_with_an_open_order_is_waited_for_until_the_last_call() -> None:
    made = depth(basket("0.7", "0.2"))
    made.children["x"] = Child(1, False, True, D("0.3"))
    assert must_wait(made, SPECS)
    made.is_last_call = True
    assert not must_wait(made, SPECS)
    plan = choose(made, SPECS, TERMS)
    assert plan is not None
    # 0.3 may still be sold by the open order: only 0.2 is certain.
    assert [(o.leg, o.is_reduce, o.qty) for o in plan.orders] == [(0, True, D("0.2"))]


@given(
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.sampled_from([D(10), None]),
)
def test_no_plan_goes_beyond_targets_or_through_zero(
    spot: int, perp: int, bid_lots: int, ask_lots: int, cap: Decimal | None
) -> None:
    milli = D("0.001")
    made = depth(
        basket(str(spot * milli), str(perp * milli)),
        spot_bids=levels(SPOT, ("100.00", str(bid_lots * milli))),
        spot_asks=levels(SPOT, ("100.10", str(ask_lots * milli))),
        perp_bids=levels(PERP, ("102.0", str(bid_lots * milli))),
        perp_asks=levels(PERP, ("102.1", str(ask_lots * milli))),
    )
    plan = choose(made, SPECS, Terms(cap, {}))
    before = abs(made.net(SPECS)["BTC"])
    if plan is None:
        return
    for order in plan.orders:
        leg = made.legs[order.leg]
        leg.book(order.qty, leg.arrival_touch, is_reduce=order.is_reduce)
        assert ZERO <= leg.position <= leg.target
    assert abs(made.net(SPECS)["BTC"]) <= before
