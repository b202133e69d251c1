"""The margin monitor's rules: levels by coverage, unknown blocks, a basket is paid for as a whole or not at all."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.margin_monitor import MarginMonitor
from actors.margin_records import MarginConfig
from actors.messages import (
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    KillLevel,
    KillTrigger,
    MarginLevel,
    MarginState,
    OrderApproved,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    WalletUpdate,
)
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, PositionSide, Side
from venues.port import AccountReport, MarkPrice, QueryKind, QueryResult

D = Decimal
SECOND = 1_000_000_000
# The first two USDS-M BTCUSDT brackets (crypto.md A1: leverageBracket): 0.4 % to 50,000, then 0.5 % less 50.
BRACKETS = (Bracket(ZERO, D(50_000), D("0.004"), ZERO, 125), Bracket(D(50_000), D(600_000), D("0.005"), D(50), 100))
PERP = Instrument(
    "fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), max_leverage=125, brackets=BRACKETS
)
SPOT = Instrument("spot", "BTC", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
CME = Instrument(
    "cme", "ES", InstrumentKind.FUTURE, "ES", "USD", D("0.25"), D(1),
    multiplier=D(50), initial_margin=D(1_650), maintenance_margin=D(1_500),
)  # fmt: skip
BARE = Instrument("fut", "BARE", InstrumentKind.PERPETUAL, "X", "USDT", D("0.1"), D("0.001"))
INSTRUMENTS = {spec.id: spec for spec in (PERP, SPOT, CME, BARE)}


def make(**config):
    settings: dict[str, Any] = {"leverage": {PERP.id: 20}, "buffer_bps": ZERO} | config
    monitor = MarginMonitor(INSTRUMENTS, ["f", "s", "c"], MarginConfig(**settings))
    done = Collected()
    monitor.out = detached_outbox("margin", into=done)
    return monitor, done


def wallet(amount, account="f", asset="USDT"):
    return WalletUpdate(0, account, asset, D(amount))


def position(qty, entry="50000", spec=PERP, account="f"):
    return PositionUpdate(0, account, spec.id, PositionSide.BOTH, D(qty), D(entry) if qty else None, ZERO)


def mark(price, spec=PERP):
    return MarkPrice(0, spec.id, D(price))


def levels(done):
    return [one.level for one in done.emitted if isinstance(one, MarginState)]


@pytest.mark.parametrize(
    ("balance", "level"),
    [
        # 1 BTC at 50,000: maintenance 200.
        ("400", MarginLevel.HEALTHY),
        ("399.99", MarginLevel.WARNING),
        ("300", MarginLevel.WARNING),
        ("299.99", MarginLevel.DANGER),
        ("240", MarginLevel.DANGER),
        ("239.99", MarginLevel.CRITICAL),
        ("200", MarginLevel.CRITICAL),
        ("199.99", MarginLevel.LIQUIDATION),
        ("-1", MarginLevel.LIQUIDATION),
    ],
)
def test_levels_by_coverage(balance, level):
    monitor, _ = make()
    for message in (wallet(balance), mark(50_000), position(1)):
        monitor.handle(0, message)
    found = monitor.assess(0, "f")
    assert (found.level, found.maintenance, found.balance) == (level, 200, D(balance))


def test_the_bracket_of_the_notional_counts_with_its_deduction():
    monitor, _ = make()
    for message in (wallet(10_000), mark(60_000), position(2, "60000")):
        monitor.handle(0, message)
    assert monitor.assess(0, "f").maintenance == 550  # 120,000 x 0.5 % - 50


def test_unrealised_profit_and_loss_move_the_balance():
    monitor, _ = make()
    for message in (wallet(1_000), mark(49_500), position(1)):
        monitor.handle(0, message)
    assert monitor.assess(0, "f").balance == 500


def test_money_per_contract_where_the_venue_has_no_brackets():
    monitor, _ = make()
    for message in (wallet(9_000, "c", "USD"), mark(5_000, CME), position(2, "5000", CME, "c")):
        monitor.handle(0, message)
    found = monitor.assess(0, "c")
    assert (found.maintenance, found.coverage) == (3_000, 3)


def test_a_change_of_level_is_told_once_and_critical_pulls_the_switch():
    monitor, done = make()
    for message in (wallet(500), mark(50_000), position(1)):
        monitor.handle(0, message)
    for price in (49_800, 49_801, 49_700, 50_000):
        monitor.handle(0, mark(price))
    # 500 - 200 = 300 over 199.2: above 1.5; 200 over 198.8: critical.
    assert (
        levels(done)
        == [
            MarginLevel.UNKNOWN,
            MarginLevel.HEALTHY,
            MarginLevel.WARNING,
            MarginLevel.CRITICAL,
            MarginLevel.HEALTHY,
        ][-len(levels(done)) :]
    )
    kills = [one for one in done.emitted if isinstance(one, KillTrigger)]
    assert [(one.trigger, one.level) for one in kills] == [("margin", KillLevel.REDUCE_ONLY)]


@pytest.mark.parametrize(
    "messages",
    [
        [wallet(1_000), position(1)],
        [mark(50_000), position(1)],
        [wallet(1_000), mark("NaN"), position(1)],
        [wallet("NaN"), mark(50_000), position(1)],
        [wallet(1_000), mark(50_000), position("NaN")],
        [wallet(1_000), mark(50_000), position("sNaN")],
        [wallet(1_000), mark(10, BARE), position(1, "10", BARE)],
        [
            wallet(1_000),
            PositionUpdate(0, "f", "fut:NOPE", PositionSide.BOTH, D(1), D(1), ZERO),
        ],
    ],
)
def test_what_cannot_be_computed_is_unknown_and_blocks(messages):
    monitor, done = make()
    for message in messages:
        monitor.handle(0, message)
    assert levels(done) == [MarginLevel.UNKNOWN]
    assert not ask(monitor, done, BasketLeg("f", PERP.id, Side.BUY, D("0.001"))).is_ok


def test_a_mark_that_stops_coming_makes_the_margin_unknown():
    monitor, done = make()
    monitor.start(0)
    for message in (wallet(10_000), mark(50_000), position(1)):
        monitor.handle(0, message)
    age = monitor.config.mark_age_max_ns
    done.emitted.clear()
    monitor.on_timer(age, "marks")
    assert levels(done) == []
    monitor.on_timer(age + 1, "marks")
    assert levels(done) == [MarginLevel.UNKNOWN]
    assert [timer[1] for timer in done.timers] == ["marks"] * 3


def test_the_timer_is_set_again_after_a_restart():
    monitor, done = make()
    monitor.handle(5, CellRestarted(5, 1, "a", "e"))
    assert done.timers == [("margin", "marks", 5 + monitor.config.check_ns)]


def test_the_venues_word_on_a_wallet_goes_before_our_own():
    monitor, _ = make()
    for message in (wallet(10_000), mark(50_000), position(1)):
        monitor.handle(0, message)
    monitor.handle(0, AccountReport(0, "f", {"USDT": D(300)}))
    monitor.handle(0, wallet(20_000))
    assert monitor.assess(0, "f").balance == 300
    # A complete answer that does not name an asset says that there is none.
    monitor.handle(0, QueryResult(0, "f", "q", QueryKind.ACCOUNT, balances={"BNB": D(1)}))
    assert monitor.assess(0, "f").balance == 0


def test_a_report_that_was_overtaken_says_nothing_any_more():
    monitor, _ = make()
    monitor.handle(0, AccountReport(20, "f", {"USDT": D(300)}))
    monitor.handle(0, AccountReport(10, "f", {"USDT": D(9_000), "BNB": D(1)}))
    assert monitor.state.reported == {"f": {"USDT": D(300), "BNB": D(1)}}
    monitor.handle(0, QueryResult(15, "f", "q", QueryKind.ACCOUNT, balances={}))
    assert monitor.state.reported == {"f": {"USDT": D(300), "BNB": ZERO}}
    monitor.handle(0, AccountReport(20, "f", {"USDT": D(299)}))
    assert monitor.state.reported["f"]["USDT"] == 299


# Pre-flight


def ask(monitor, done, *legs, basket="b", now=0):
    done.emitted.clear()
    monitor.handle(now, PreflightRequest(now, basket, "s1", legs, D(10)))
    (answer,) = [one for one in done.emitted if isinstance(one, PreflightReply)]
    return answer


def ready(perp="2500", quote="50000", **config):
    monitor, done = make(**config)
    for message in (wallet(perp), wallet(quote, "s"), wallet(1, "s", "BTC"), mark(50_000)):
        monitor.handle(0, message)
    monitor.handle(0, BookView(0, SPOT.id, SPOT.ticks(D(49_999)), 1, SPOT.ticks(D(50_000)), 1))
    return monitor, done


SELL_PERP = BasketLeg("f", PERP.id, Side.SELL, D(1))
BUY_SPOT = BasketLeg("s", SPOT.id, Side.BUY, D(1))


def test_both_legs_are_paid_for_exactly():
    # 1 BTC: 50,000 of spot money and 50,000 / 20 = 2,500 of margin.
    monitor, done = ready()
    assert ask(monitor, done, SELL_PERP, BUY_SPOT).is_ok


@pytest.mark.parametrize(("perp", "quote"), [("2499.99", "50000"), ("2500", "49999.99")])
def test_one_short_leg_refuses_the_basket(perp, quote):
    monitor, done = ready(perp, quote)
    answer = ask(monitor, done, SELL_PERP, BUY_SPOT)
    assert not answer.is_ok
    assert len(answer.reasons) == 1
    assert not monitor.state.reserved


def test_leverage_is_bounded_by_the_bracket():
    monitor, done = ready("499", leverage={PERP.id: 125})
    assert ask(monitor, done, SELL_PERP).is_ok  # 50,000 / 125 = 400
    monitor, done = ready("1199", leverage={PERP.id: 125})
    assert not ask(monitor, done, BasketLeg("f", PERP.id, Side.SELL, D("2.4"))).is_ok  # 120,000 / 100 = 1,200
    assert not ask(monitor, done, BasketLeg("f", PERP.id, Side.SELL, D(13))).is_ok  # beyond the table


def test_spot_sales_need_the_coins_whether_they_close_or_not():
    monitor, done = ready()
    assert ask(monitor, done, BasketLeg("s", SPOT.id, Side.SELL, D(1), reduce_only=True)).is_ok
    assert not ask(monitor, done, BasketLeg("s", SPOT.id, Side.SELL, D("0.1")), basket="b2").is_ok


@pytest.mark.parametrize(
    ("held", "leg", "is_ok"),
    [
        (-1, BasketLeg("f", PERP.id, Side.BUY, D(1)), True),
        (-1, BasketLeg("f", PERP.id, Side.BUY, D(1), reduce_only=True), True),
        (-1, BasketLeg("f", PERP.id, Side.BUY, D(2)), True),  # flips to the same size
        (-1, BasketLeg("f", PERP.id, Side.BUY, D("2.1")), False),
        (-1, BasketLeg("f", PERP.id, Side.SELL, D("0.1")), False),
        (1, BasketLeg("f", PERP.id, Side.SELL, D(1), position_side=PositionSide.LONG), True),
    ],
)
def test_only_what_enlarges_a_position_needs_margin(held, leg, is_ok):
    monitor, done = ready("2500")
    monitor.handle(0, position(held))
    assert ask(monitor, done, leg).is_ok is is_ok


def test_reservations_and_orders_in_flight_are_spoken_for():
    monitor, done = ready("5000", "100000")
    assert ask(monitor, done, SELL_PERP, BUY_SPOT, basket="b1").is_ok
    order = OrderRequest(0, "r1", "s1", "", "f", PERP.id, Side.SELL, D("0.5"), OrderType.LIMIT, D(50_000))
    monitor.handle(0, OrderApproved(0, order))
    assert not ask(monitor, done, SELL_PERP, BUY_SPOT, basket="b2").is_ok
    final = OrderUpdate(0, "r1", "s1", "", "c", "f", PERP.id, Side.SELL, D("0.5"), OrderStatus.CANCELED, ZERO, True)
    monitor.handle(0, final)
    assert ask(monitor, done, SELL_PERP, BUY_SPOT, basket="b2").is_ok
    assert not ask(monitor, done, SELL_PERP, basket="b3").is_ok
    monitor.handle(0, ReservationReleased(0, "b1"))
    assert ask(monitor, done, SELL_PERP, basket="b3").is_ok


@pytest.mark.parametrize(
    ("state", "is_released"),
    [
        (BasketState.WORKING, False),
        (BasketState.HEDGING, False),
        (BasketState.UNWINDING, False),
        (BasketState.BALANCED, True),
        (BasketState.FLAT, True),
        (BasketState.BROKEN, True),
        (BasketState.DENIED, True),
    ],
)
def test_a_basket_that_ended_reserves_nothing(state, is_released):
    monitor, done = ready()
    ask(monitor, done, SELL_PERP, basket="b")
    monitor.handle(0, BasketUpdate(0, "b", "s1", state, ()))
    assert ("b" not in monitor.state.reserved) is is_released


def test_an_order_of_a_reserved_basket_is_not_counted_twice():
    monitor, done = ready("2500")
    ask(monitor, done, SELL_PERP, basket="b")
    order = OrderRequest(0, "r1", "s1", "b", "f", PERP.id, Side.SELL, D(1), OrderType.LIMIT, D(50_000))
    monitor.handle(0, OrderApproved(0, order))
    assert monitor.free(0, "f", "USDT") == 0


@pytest.mark.parametrize(
    "leg",
    [
        BasketLeg("f", "fut:NOPE", Side.BUY, D(1)),
        BasketLeg("nobody", PERP.id, Side.BUY, D(1)),
        BasketLeg("f", PERP.id, Side.BUY, D("NaN")),
        BasketLeg("f", PERP.id, Side.BUY, D("-1")),
        BasketLeg("f", PERP.id, Side.BUY, D(1), limit_price=D("Infinity")),
    ],
)
def test_preflight_refuses_the_unknown(leg):
    monitor, done = ready("1e9")
    assert not ask(monitor, done, leg).is_ok


@given(st.lists(st.integers(1, 3_000), max_size=12))
def test_what_is_reserved_never_exceeds_the_wallet(sizes):
    monitor, done = ready("5000")
    for number, lots in enumerate(sizes):
        ask(monitor, done, BasketLeg("f", PERP.id, Side.SELL, PERP.qty(lots)), basket=str(number))
        assert monitor.free(0, "f", "USDT") >= 0


@pytest.mark.parametrize(
    ("field", "value"), [("warning", D("NaN")), ("warning", D(1)), ("default_leverage", 0), ("leverage", {"x": 0})]
)
def test_configuration_is_checked(field, value):
    with pytest.raises(ValueError, match=field):
        MarginConfig(**{field: value})


def test_state_survives_json():
    monitor, done = ready()
    monitor.handle(0, position(1))
    ask(monitor, done, SELL_PERP, BUY_SPOT)
    monitor.handle(0, AccountReport(0, "f", {"USDT": D(300)}))
    other, _ = make()
    other.restore(json.loads(json.dumps(monitor.snapshot())))
    assert other.state == monitor.state
