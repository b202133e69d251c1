"""What closes may count on: the position that is there, less what is promised to others."""

from decimal import Decimal

import pytest
from cell_harness import PERP, SPECS, SPOT, D
from hypothesis import given
from hypothesis import strategies as st

from actors.close_capacity import shortfalls
from actors.messages import BasketLeg
from actors.risk_book import Held, InFlight, KnownBasket, KnownLeg, RiskState
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.model.position import position_key

BUY, SELL = Side.BUY, Side.SELL


def key(where: PositionSide = PositionSide.BOTH) -> str:
    return position_key("acc", PERP.id, where)


def state(qty: str, where: PositionSide = PositionSide.BOTH) -> RiskState:
    return RiskState(positions={key(where): Held(PERP.id, where, booked=D(qty))})


def close(side: Side, qty: str, where: PositionSide = PositionSide.BOTH) -> BasketLeg:
    return BasketLeg("acc", PERP.id, side, D(qty), reduce_only=True, position_side=where)


def is_short(known: RiskState, leg: BasketLeg) -> bool:
    return bool(shortfalls(0, [leg], known, SPECS))


@pytest.mark.parametrize(
    ("held", "leg", "short"),
    [
        ("1", close(SELL, "1"), False),
        ("1", close(SELL, "1.001"), True),
        ("1", close(BUY, "0.001"), True),
        ("-1", close(BUY, "1"), False),
        ("0", close(BUY, "1"), True),
    ],
)
def test_a_close_is_at_most_the_position_and_against_it(held: str, leg: BasketLeg, short: bool) -> None:
    assert is_short(state(held), leg) == short


def test_in_hedge_mode_each_side_is_a_position_of_its_own() -> None:
    known = state("-1", PositionSide.SHORT)
    assert not is_short(known, close(BUY, "1", PositionSide.SHORT))
    assert is_short(known, close(BUY, "1"))
    assert is_short(known, close(SELL, "1", PositionSide.LONG))


def test_an_unknown_position_is_none() -> None:
    assert is_short(RiskState(), close(BUY, "0.001"))


def test_spot_and_legs_that_may_open_are_left_to_others() -> None:
    spot = BasketLeg("acc", SPOT.id, SELL, D(1), reduce_only=True)
    assert shortfalls(0, [spot, BasketLeg("acc", PERP.id, BUY, D(1))], RiskState(), SPECS) == {}


def test_orders_in_flight_and_reserved_closes_count_once() -> None:
    known = state("3")
    known.baskets["c1"] = KnownBasket([KnownLeg(key(), SELL, D(2), filled=D("0.5"))], "b1", is_reserved=True)
    # 1.5 are left of the close; 0.5 of these are in flight.
    known.orders["c1#1"] = InFlight(key(), SELL, D(1), "c1", filled=D("0.5"))
    assert not is_short(known, close(SELL, "1.5"))
    assert is_short(known, close(SELL, "1.501"))
    # A buy promises nothing, nor does a close that is over.
    known.orders["x"] = InFlight(key(), BUY, D(1), "x")
    known.baskets["c1"].is_reserved = False
    assert not is_short(known, close(SELL, "2.5"))
    assert is_short(known, close(SELL, "2.501"))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 100))
def test_closes_that_are_let_in_together_never_exceed_the_position(sizes: list[int], held: int) -> None:
    known, promised = state(str(held)), ZERO
    for number, size in enumerate(sizes):
        if not is_short(known, close(SELL, str(size))):
            known.baskets[f"c{number}"] = KnownBasket([KnownLeg(key(), SELL, D(size))], f"b{number}", is_reserved=True)
            promised += Decimal(size)
    assert promised <= held
    assert is_short(known, close(SELL, str(held - promised + 1)))
