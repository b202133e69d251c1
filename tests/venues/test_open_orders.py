"""What resting orders claim, and what placing one costs."""

from decimal import Decimal

import pytest

from venues.model.order import PositionSide, Side
from venues.rules.errors import BadValueError
from venues.rules.open_orders import (
    OpenOrderRule,
    hedge_margin,
    one_way_margin,
    open_loss,
    open_order_margin,
    order_cost,
)

D = Decimal
SUMMED = OpenOrderRule(is_netted=False)


# position, bids, asks at 10x: total and the part of the orders, netted and summed.
@pytest.mark.parametrize(
    ("position", "bids", "asks", "netted", "of_orders", "summed"),
    [
        ("0", "100", "100", "10", "10", "20"),
        ("100", "0", "100", "10", "0", "20"),
        ("100", "50", "250", "15", "5", "40"),
        ("-100", "100", "0", "10", "0", "20"),
        ("-100", "0", "50", "15", "5", "15"),
    ],
)
def test_opposite_orders_claim_once_or_each(
    position: str, bids: str, asks: str, netted: str, of_orders: str, summed: str
) -> None:
    assert one_way_margin(D(position), D(bids), D(asks), D(10)) == D(netted)
    assert open_order_margin(D(position), D(bids), D(asks), D(10)) == D(of_orders)
    assert one_way_margin(D(position), D(bids), D(asks), D(10), SUMMED) == D(summed)


def test_hedge_sides_claim_apart() -> None:
    assert hedge_margin(PositionSide.LONG, D(100), D(50), D(10)) == 15
    assert hedge_margin(PositionSide.SHORT, D(-100), D(0), D(10)) == 10
    with pytest.raises(BadValueError, match="position_notional"):
        hedge_margin(PositionSide.LONG, D(-100), D(0), D(10))


@pytest.mark.parametrize(
    ("side", "price", "loss"),
    [(Side.BUY, "101", "2"), (Side.BUY, "99", "0"), (Side.SELL, "99", "2"), (Side.SELL, "101", "0")],
)
def test_an_order_worse_than_the_mark_costs_its_loss_too(side: Side, price: str, loss: str) -> None:
    assert open_loss(side, D(2), D(price), D(100)) == D(loss)
    cost = order_cost(side, D(2), D(price), D(100), D(10))
    assert cost == D(price) * 2 / 10 + D(loss)
    assert order_cost(side, D(2), D(price), D(100), D(10), OpenOrderRule(has_open_loss=False)) == D(price) * 2 / 10


def test_impossible_inputs_are_refused_by_name() -> None:
    with pytest.raises(BadValueError, match="bid_notional"):
        one_way_margin(D(0), D(-1), D(0), D(10))
    with pytest.raises(BadValueError, match="leverage"):
        one_way_margin(D(0), D(1), D(0), D(0))
    with pytest.raises(BadValueError, match="mark_price"):
        open_loss(Side.BUY, D(1), D(1), D("NaN"))
