"""The vocabulary's rules: exact arithmetic, the order table, positions, books."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.model.book import Book
from venues.model.instrument import Instrument, InstrumentKind, OffGridError
from venues.model.money import NotANumberError, parse_decimal, round_to_step, to_text
from venues.model.order import (
    TERMINAL,
    TRANSITIONS,
    IllegalTransitionError,
    Order,
    OrderEvent,
    OrderStatus,
    Side,
    next_status,
)
from venues.model.position import Position

D = Decimal

LINEAR = Instrument("v", "LIN", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
INVERSE = Instrument(
    "v", "INV", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(100)
)


@pytest.mark.parametrize("text", ["NaN", "inf", "-Infinity", "", "1,5", "0x10", "sNaN", " "])
def test_what_is_no_finite_number_is_refused_and_the_field_named(text):
    with pytest.raises(NotANumberError, match="price"):
        parse_decimal(text, "price")


@pytest.mark.parametrize("value", [1.5, True, None, [], float("nan")])
def test_floats_and_other_types_are_refused(value):
    with pytest.raises(NotANumberError, match="qty"):
        parse_decimal(value, "qty")


def test_text_is_plain():
    assert to_text(D("1E+3")) == "1000"
    assert to_text(D("0.00000001")) == "0.00000001"
    assert round_to_step(D("1.2399"), D("0.01")) == D("1.23")


@pytest.mark.parametrize(("price", "ticks"), [("100.0", 1000), ("100.1", 1001), ("0", 0)])
def test_prices_on_the_grid(price, ticks):
    assert LINEAR.ticks(D(price)) == ticks
    assert LINEAR.price(ticks) == D(price)


@pytest.mark.parametrize("price", ["100.05", "0.01"])
def test_a_price_off_the_grid_is_an_error(price):
    with pytest.raises(OffGridError):
        LINEAR.ticks(D(price))


@pytest.mark.parametrize("field", ["tick_size", "lot_size", "multiplier"])
@pytest.mark.parametrize("value", ["0", "-1", "NaN", "Infinity"])
def test_an_instrument_without_a_real_grid_is_refused(field, value):
    sizes = {"tick_size": D(1), "lot_size": D(1), "multiplier": D(1)} | {field: D(value)}
    with pytest.raises(ValueError, match=field):
        Instrument("v", "X", InstrumentKind.SPOT, "A", "B", **sizes)


def test_every_pair_of_the_order_table_is_decided():
    for status in OrderStatus:
        for event in OrderEvent:
            if (status, event) in TRANSITIONS:
                assert next_status(status, event) in OrderStatus
            else:
                with pytest.raises(IllegalTransitionError):
                    next_status(status, event)


def test_only_fills_move_a_terminal_order_and_only_to_filled():
    for (status, event), after in TRANSITIONS.items():
        if status in TERMINAL and after is not status:
            assert event is OrderEvent.FILL_ALL
            assert after is OrderStatus.FILLED


def test_what_was_not_sent_ends_without_the_venue_and_has_no_fills():
    listed = {event: after for (status, event), after in TRANSITIONS.items() if status is OrderStatus.CREATED}
    assert listed == {
        OrderEvent.SEND: OrderStatus.SENT,
        OrderEvent.REJECT: OrderStatus.REJECTED,
        OrderEvent.CANCEL: OrderStatus.CANCELED,
        OrderEvent.EXPIRE: OrderStatus.EXPIRED,
    }


def test_silence_never_ends_an_order():
    for status in OrderStatus:
        if not status.is_terminal and (status, OrderEvent.LOSE) in TRANSITIONS:
            assert next_status(status, OrderEvent.LOSE) is OrderStatus.UNKNOWN


def an_order(qty="3"):
    return Order("c1", "a", "v:LIN", Side.BUY, D(qty), status=OrderStatus.SENT)


def test_a_fill_seen_twice_counts_once():
    order = an_order()
    assert order.add_fill("t1", D(100), D(1))
    assert not order.add_fill("t1", D(100), D(1))
    assert order.filled_qty == 1
    assert order.status is OrderStatus.PARTIALLY_FILLED


def test_a_fill_after_the_cancel_still_counts():
    order = an_order()
    order.apply(OrderEvent.CANCEL)
    assert order.add_fill("t1", D(100), D(1))
    assert (order.status, order.filled_qty) == (OrderStatus.CANCELED, D(1))
    order.add_fill("t2", D(101), D(2))
    assert (order.status, order.leaves_qty) == (OrderStatus.FILLED, D(0))


def test_an_overfill_is_booked():
    order = an_order("1")
    order.add_fill("t1", D(100), D(2))
    assert order.filled_qty == 2
    assert order.leaves_qty == 0


fills = st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 50), st.integers(1, 5000)), min_size=1, max_size=30)


@given(fills)
def test_realised_plus_open_cost_is_what_was_traded(trades):
    position = Position("a", LINEAR.id)
    cash = D(0)
    for side, lots, ticks in trades:
        qty, price = LINEAR.qty(lots), LINEAR.price(ticks)
        position.apply(side, qty, price, LINEAR)
        cash -= side.sign * qty * price
    assert position.realized_pnl - position.cost == cash
    assert position.qty == sum(side.sign * LINEAR.qty(lots) for side, lots, _ in trades)
    if not position.qty:
        assert position.cost == 0
        assert position.realized_pnl == cash


@given(fills, st.integers(1, 5000))
def test_total_profit_does_not_depend_on_how_it_was_split(trades, mark):
    whole, split = Position("a", LINEAR.id), Position("a", LINEAR.id)
    for side, lots, ticks in trades:
        whole.apply(side, LINEAR.qty(2 * lots), LINEAR.price(ticks), LINEAR)
        split.apply(side, LINEAR.qty(lots), LINEAR.price(ticks), LINEAR)
        split.apply(side, LINEAR.qty(lots), LINEAR.price(ticks), LINEAR)
    price = LINEAR.price(mark)
    total = [p.realized_pnl + p.unrealized_pnl(price, LINEAR) for p in (whole, split)]
    assert total[0] == total[1]


def test_average_price_partial_close_and_flip():
    position = Position("a", LINEAR.id)
    position.apply(Side.BUY, D(1), D(100), LINEAR)
    position.apply(Side.BUY, D(1), D(110), LINEAR)
    assert position.entry_price(LINEAR) == 105
    assert position.apply(Side.SELL, D(1), D(120), LINEAR) == 15
    assert position.apply(Side.SELL, D(3), D(95), LINEAR) == -10
    assert position.qty == -2
    assert position.entry_price(LINEAR) == 95
    assert position.unrealized_pnl(D(90), LINEAR) == 10
    assert position.realized_pnl == 5


def test_an_inverse_position_earns_in_the_base():
    position = Position("a", INVERSE.id)
    position.apply(Side.BUY, D(500), D(50_000), INVERSE)
    assert position.entry_price(INVERSE) == 50_000
    # 500 contracts of 100 USD: 1 BTC at 50,000, worth 0.8 BTC at 62,500.
    assert position.unrealized_pnl(D(62_500), INVERSE) == D("0.2")
    assert position.apply(Side.SELL, D(500), D(62_500), INVERSE) == D("0.2")
    assert position.qty == 0
    assert INVERSE.pnl(D(500), D(50_000), D(62_500)) == D("0.2")


levels = st.lists(st.tuples(st.integers(1, 200), st.integers(0, 5)), max_size=40)


@given(levels, st.lists(levels, max_size=6))
def test_best_prices_always_match_the_levels(start, updates):
    book = Book()
    book.load(start, ())
    bids = {ticks: lots for ticks, lots in start if lots}
    for update in updates:
        book.apply(update, [(1000 - ticks, lots) for ticks, lots in update])
        bids |= dict(update)
        bids = {ticks: lots for ticks, lots in bids.items() if lots}
        assert book.bids == bids
        assert book.best_bid == max(bids, default=None)
        assert book.best_ask == min(book.asks, default=None)
    assert book.depth(Side.BUY, 3) == sorted(bids.items(), reverse=True)[:3]


def test_a_crossed_book_says_so():
    book = Book()
    book.load([(100, 1)], [(100, 1)])
    assert book.is_crossed
    book.apply([(100, 0)], [])
    assert not book.is_crossed
