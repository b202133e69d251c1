"""What the execution tracker counts and records, and what it leaves out."""

from decimal import Decimal
from typing import Any

import pytest

from actors.execution_counts import LATENCY_BOUNDS, SLIPPAGE_BOUNDS
from actors.execution_records import TrackerConfig
from actors.execution_tracker import ExecutionTracker
from actors.messages import (
    BookView,
    FillEvent,
    OrderApproved,
    OrderRequest,
    OrderUpdate,
)
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, PositionSide, Side

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
D = Decimal
PERP = Instrument("v", "PERP", InstrumentKind.PERPETUAL, "BTC", "USDT", tick_size=D("0.1"), lot_size=D("0.001"))
COIN = Instrument(
    "v",
    "COIN",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USD",
    tick_size=D("0.1"),
    lot_size=D(1),
    inverse=True,
    multiplier=D(100),
)
BOTH = PositionSide.BOTH


def actor(**bounds: int) -> ExecutionTracker:
    return ExecutionTracker({spec.id: spec for spec in (PERP, COIN)}, TrackerConfig(**bounds), name="tracker")


def view(bid: int, ask: int, spec: Instrument = PERP) -> BookView:
    return BookView(0, spec.id, bid, 1, ask, 1)


def request(side: Side = Side.BUY, qty: str = "2", spec: Instrument = PERP, key: str = "r1") -> OrderRequest:
    return OrderRequest(0, key, "carry", "b1", "a", spec.id, side, D(qty), price=D(1))


def fill(
    price: str,
    qty: str,
    *,
    fee: str = "0",
    key: str = "r1",
    spec: Instrument = PERP,
    side: Side = Side.BUY,
    trade: str = "t",
) -> FillEvent:
    made = Fill(0, "a", spec.id, "c1", trade, side, D(price), D(qty), Liquidity.TAKER, D(fee), "USDT", FillReason.TAKER)
    return FillEvent(0, key, "carry", "b1", made)


def update(
    status: OrderStatus, filled: str, *, side: Side = Side.BUY, qty: str = "2", final: bool = True, spec: Any = PERP
) -> OrderUpdate:
    return OrderUpdate(0, "r1", "carry", "b1", "c1", "a", spec.id, side, D(qty), status, D(filled), final)


def play(one: ExecutionTracker, *steps: tuple[int, Any]) -> ExecutionTracker:
    for now, message in steps:
        one.handle(now, message)
    return one


BPS_AND_BUCKET = [
    ("100000", 0),
    ("99990", 0),
    ("100005", 0),
    ("100006", 1),
    ("100010", 1),
    ("100020", 2),
    ("100050", 3),
    ("100100", 4),
    ("100200", 5),
    ("100500", 6),
    ("101000", 7),
    ("101001", 8),
]


@pytest.mark.parametrize(("price", "bucket"), BPS_AND_BUCKET)
@pytest.mark.parametrize("side", list(Side))
def test_slippage_is_the_average_price_against_the_touch_at_approval(price, bucket, side):
    """A touch of 100,000: a buyer is worse off above it, a seller below; what is better counts in the first bucket."""
    if side is Side.SELL:
        price = str(200_000 - int(price))
    touch = view(999_990, 1_000_000) if side is Side.BUY else view(1_000_000, 1_000_010)
    later = view(2_000_000, 2_000_010)
    done = play(
        actor(),
        (0, touch),
        (1, OrderApproved(1, request(side))),
        (2, later),
        (3, fill(price, "1", side=side)),
        (3, fill(price, "1", side=side)),
        (4, update(OrderStatus.FILLED, "2", side=side)),
    ).state.traded[f"{PERP.id}|carry"]
    assert done.slippage.counts == [int(number == bucket) for number in range(len(SLIPPAGE_BOUNDS) + 1)]
    off = (D(price) - 100_000) * side.sign * 2
    assert (done.slippage_cost, done.slippage_gain) == (max(off, D(0)), max(-off, D(0)))
    assert done.slippage.total == max(0, int(off * 500))


def test_slippage_of_two_fills_is_weighed_by_quantity():
    done = play(
        actor(),
        (0, view(999_990, 1_000_000)),
        (1, OrderApproved(1, request(qty="4"))),
        (2, fill("100000", "3")),
        (3, fill("100040", "1")),
        (4, update(OrderStatus.FILLED, "4", qty="4")),
    ).state.traded[f"{PERP.id}|carry"]
    assert done.slippage.total == 10_000
    assert done.slippage.counts[1] == 1


def test_slippage_money_of_an_inverse_contract_is_quote_money():
    """Ten contracts of 100 USD bought 10 basis points above the touch cost 1 USD."""
    done = play(
        actor(),
        (0, view(999_990, 1_000_000, COIN)),
        (1, OrderApproved(1, request(qty="10", spec=COIN))),
        (2, fill("100100", "10", spec=COIN)),
        (4, update(OrderStatus.FILLED, "10", qty="10", spec=COIN)),
    )
    assert done.state.traded[f"{COIN.id}|carry"].slippage_cost == 1
    assert done.state.ordered[f"{COIN.id}|limit"].requested == 1_000


@pytest.mark.parametrize(
    ("after_ns", "bucket"),
    [(0, 0), (10_000_000, 0), (10_000_001, 1), (SECOND, 4), (5 * SECOND, 5), (6 * SECOND, 6)],
)
def test_a_fill_s_latency_counts_from_approval(after_ns, bucket):
    done = play(actor(), (7, OrderApproved(7, request())), (7 + after_ns, fill("1", "1")))
    latency = done.state.traded[f"{PERP.id}|carry"].latency
    assert latency.counts == [int(number == bucket) for number in range(len(LATENCY_BOUNDS) + 1)]
    assert latency.total == after_ns


def test_without_a_touch_there_is_no_slippage_and_no_fill_ratio():
    done = play(
        actor(), (1, OrderApproved(1, request())), (2, fill("5", "1")), (3, update(OrderStatus.EXPIRED, "1"))
    ).state
    assert sum(done.traded[f"{PERP.id}|carry"].slippage.counts) == 0
    assert done.ordered[f"{PERP.id}|limit"].statuses == {"expired": 1}
    assert done.ordered[f"{PERP.id}|limit"].requested == 0


def test_the_fill_ratio_is_of_final_orders_by_type_in_quote_money():
    one = play(actor(), (0, view(999_990, 1_000_000)), (1, OrderApproved(1, request())))
    play(one, (2, fill("100000", "0.5")), (2, update(OrderStatus.PARTIALLY_FILLED, "0.5", final=False)))
    assert one.state.ordered == {}
    play(one, (3, update(OrderStatus.EXPIRED, "0.5")), (4, update(OrderStatus.EXPIRED, "0.5")))
    found = one.state.ordered[f"{PERP.id}|{OrderType.LIMIT}"]
    assert (found.statuses, found.requested, found.filled) == ({"expired": 1}, D(200_000), D(50_000))
    assert one.state.orders == {}


def test_fees_and_rebates_are_counted_apart():
    done = play(actor(), (0, fill("1", "1", fee="3")), (0, fill("1", "1", fee="-1")), (0, fill("1", "1", fee="2")))
    traded = done.state.traded[f"{PERP.id}|carry"]
    assert (traded.fills, traded.fees, traded.rebates) == (3, {"USDT": D(5)}, {"USDT": D(1)})
    assert sum(traded.latency.counts) == 0


@pytest.mark.parametrize(
    ("price", "qty", "instrument"), [("NaN", "1", PERP.id), ("1", "Infinity", PERP.id), ("1", "1", "v:OTHER")]
)
def test_a_fill_that_cannot_be_booked_is_not_counted(price, qty, instrument):
    event = fill(price, qty)
    object.__setattr__(event.fill, "instrument", instrument)
    assert play(actor(), (0, event)).state.traded == {}
