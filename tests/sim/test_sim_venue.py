"""The simulated venue behind the port: what it reports, in which order, and what it refuses."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeVar

import pytest

from sim import booking
from sim.account import CashFlow
from sim.kernel.layout import LOG, POWER, RISK_AVERSE
from sim.kernel.queues import front_after
from sim.queue_models import QueueModelError, make_queue_model
from sim.venue import SimVenue, VenueSetupError
from venues.costs.fees import FeeBasis, FeeSchedule, FeeTable, MissingFeeError
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from venues.port import (
    AccountReport,
    AdjustIsolatedMargin,
    ArmDeadMan,
    BookDelta,
    BookSnapshot,
    CancelAll,
    CancelOrder,
    CancelRejected,
    DeadManArmed,
    FundingRate,
    FundingSettled,
    InstrumentState,
    InstrumentStatus,
    Liquidated,
    MarkPrice,
    ModifyOrder,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    Quote,
    RejectReason,
    Report,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
    Trade,
)

D = Decimal
PERP = Instrument(
    "SIM",
    "BTCUSDT",
    InstrumentKind.PERPETUAL,
    "BTC",
    "USDT",
    D("0.1"),
    D("0.001"),
    max_leverage=125,
    brackets=(Bracket(D(0), D(10**8), D("0.004"), D(0), 125),),
)
SPOT = Instrument("SIM", "BTCUSDT_SPOT", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.001"))
FEES = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))
ME = "me"
_R = TypeVar("_R", bound=Report)


def venue(
    *specs: Instrument,
    mode: PositionMode = PositionMode.ONE_WAY,
    margin: MarginMode = MarginMode.CROSS,
    usdt: str = "10000",
) -> SimVenue:
    account = Account(ME, "SIM", {"USDT": D(usdt)}, margin, mode, {PERP.id: 20})
    made = SimVenue("SIM", specs or (PERP,), [account], FEES)
    made.on_market(0, BookSnapshot(0, PERP.id, 1, [(1000, 5000), (999, 5000)], [(1001, 1000), (1002, 1000)]))
    return made


def submit(name: str, side: Side, qty: str, price: str | None = None, **keys: object) -> SubmitOrder:
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    made: dict[str, object] = {"type": kind, "price": None if price is None else D(price), **keys}
    return SubmitOrder(1, ME, PERP.id, name, side, D(qty), **made)  # type: ignore[arg-type]


def kinds(reports: Sequence[Report]) -> list[str]:
    return [type(report).__name__ for report in reports]


def only(reports: Sequence[Report], kind: type[_R]) -> _R:
    found = [report for report in reports if isinstance(report, kind)]
    assert len(found) == 1, reports
    return found[0]


def query(made: SimVenue, kind: QueryKind, instrument: str | None = None, name: str | None = None) -> Report:
    return only(made.on_command(9, Query(9, ME, "q", kind, instrument, name)), Report)


def test_a_fill_is_reported_before_position_and_account() -> None:
    reports = venue().on_command(5, submit("a", Side.BUY, "1", "100.1"))
    assert kinds(reports) == ["OrderAccepted", "OrderFilled", "PositionReport", "AccountReport"]
    fill = only(reports, OrderFilled)
    assert (fill.ts, fill.price, fill.qty, fill.liquidity, fill.reason) == (
        5,
        D("100.1"),
        D(1),
        Liquidity.TAKER,
        FillReason.TAKER,
    )
    assert (fill.fee, fill.fee_asset) == (D("0.05005"), "USDT")
    assert only(reports, PositionReport).qty == 1
    assert only(reports, AccountReport).balances == {"USDT": D("9999.94995")}


def test_a_resting_order_is_only_accepted() -> None:
    made = venue()
    assert kinds(made.on_command(5, submit("a", Side.BUY, "1", "100.0"))) == ["OrderAccepted"]
    assert kinds(made.on_command(6, CancelOrder(6, ME, PERP.id, "a"))) == ["OrderCanceled"]
    assert (
        only(made.on_command(7, CancelOrder(7, ME, PERP.id, "a")), CancelRejected).reason is RejectReason.UNKNOWN_ORDER
    )


REFUSALS = [
    (submit("a", Side.BUY, "1", "100.05"), RejectReason.OFF_TICK),
    (submit("a", Side.BUY, "0.0005", "100.0"), RejectReason.OFF_LOT),
    (submit("a", Side.BUY, "0", "100.0"), RejectReason.OFF_LOT),
    (submit("a", Side.BUY, "-1", "100.0"), RejectReason.OFF_LOT),
    (submit("a", Side.BUY, "NaN", "100.0"), RejectReason.OFF_LOT),
    (submit("a", Side.BUY, "1E+40", "100.0"), RejectReason.OFF_LOT),
    (submit("a", Side.BUY, "1", "0"), RejectReason.BAD_PRICE),
    (submit("a", Side.BUY, "1", "Infinity"), RejectReason.BAD_PRICE),
    (submit("a", Side.BUY, "1", "100.1", tif=TimeInForce.GTX), RejectReason.WOULD_TAKE),
    (submit("a", Side.BUY, "2001", "100.0"), RejectReason.INSUFFICIENT_MARGIN),
    (submit("a", Side.BUY, "1", reduce_only=True), RejectReason.REDUCE_ONLY),
    (submit("a", Side.BUY, "1", position_side=PositionSide.LONG), RejectReason.POSITION_SIDE),
    (submit("a", Side.BUY, "1", "100.0", tif=TimeInForce.GTD, expire_ns=3), RejectReason.OTHER),
    (submit("a", Side.BUY, "1", "100.0", stp="perhaps"), RejectReason.UNSUPPORTED),
    (submit("a", Side.BUY, "1", protection_points=3), RejectReason.UNSUPPORTED),
    (submit("a", Side.BUY, "1", type=OrderType.STOP_MARKET), RejectReason.BAD_PRICE),
    (submit("a", Side.BUY, "1", type=OrderType.TRAILING_STOP), RejectReason.BAD_PRICE),
    (SubmitOrder(1, ME, "SIM:DOGE", "a", Side.BUY, D(1)), RejectReason.UNKNOWN_INSTRUMENT),
]


@pytest.mark.parametrize(("command", "reason"), REFUSALS, ids=lambda value: str(value)[:60])
def test_a_refusal_has_its_reason_and_moves_nothing(command: SubmitOrder, reason: RejectReason) -> None:
    made = venue()
    reports = made.on_command(5, command)
    assert kinds(reports) == ["OrderRejected"]
    assert only(reports, OrderRejected).reason is reason
    assert made.state.live == {}
    assert made.state.accounts[ME].account.balances == {"USDT": D(10000)}


def test_a_client_order_id_is_unique_among_open_orders() -> None:
    made = venue()
    made.on_command(5, submit("a", Side.BUY, "1", "100.0"))
    assert (
        only(made.on_command(6, submit("a", Side.BUY, "1", "99.9")), OrderRejected).reason is RejectReason.DUPLICATE_ID
    )
    made.on_command(7, CancelAll(7, ME))
    assert kinds(made.on_command(8, submit("a", Side.BUY, "1", "99.9"))) == ["OrderAccepted"]


def test_a_market_order_without_an_opposite_side_expires() -> None:
    made = venue()
    made.on_market(2, BookDelta(2, PERP.id, 2, 2, 1, [], [(1001, 0), (1002, 0)]))
    assert kinds(made.on_command(5, submit("a", Side.BUY, "1"))) == ["OrderAccepted", "OrderExpired"]


def test_a_price_cannot_be_taken_twice_by_two_accounts() -> None:
    accounts = [Account(name, "SIM", {"USDT": D(10000)}) for name in ("one", "two")]
    made = SimVenue("SIM", [PERP], accounts, FEES)
    made.on_market(0, BookSnapshot(0, PERP.id, 1, [], [(1001, 1000)]))
    first = made.on_command(1, SubmitOrder(1, "one", PERP.id, "a", Side.BUY, D(1), OrderType.MARKET))
    second = made.on_command(1, SubmitOrder(1, "two", PERP.id, "a", Side.BUY, D(1), OrderType.MARKET))
    assert "OrderFilled" in kinds(first)
    assert kinds(second) == ["OrderAccepted", "OrderExpired"]


def test_one_account_takes_what_another_rests() -> None:
    accounts = [Account(name, "SIM", {"USDT": D(10000)}) for name in ("one", "two")]
    made = SimVenue("SIM", [PERP], accounts, FEES)
    made.on_market(0, BookSnapshot(0, PERP.id, 1, [(1000, 2000)], []))
    made.on_command(1, SubmitOrder(1, "one", PERP.id, "rest", Side.BUY, D(1), price=D(100)))
    reports = made.on_command(2, SubmitOrder(2, "two", PERP.id, "take", Side.SELL, D(3), OrderType.MARKET))
    fills = [(r.account, r.qty, r.liquidity) for r in reports if isinstance(r, OrderFilled)]
    assert fills == [("two", D(2), Liquidity.TAKER), ("two", D(1), Liquidity.TAKER), ("one", D(1), Liquidity.MAKER)]


def test_a_book_that_becomes_unknown_keeps_the_place_in_the_queue() -> None:
    made = venue()
    made.on_command(5, submit("a", Side.BUY, "1", "100.0"))
    made.on_market(6, BookSnapshot(6, PERP.id, 0, [], []))
    made.on_market(7, BookSnapshot(7, PERP.id, 9, [(1000, 5000)], [(1001, 1000)]))
    assert made.on_market(8, Trade(8, PERP.id, 1, 1000, 5000, Side.SELL)) == []


def test_time_ends_orders_and_dead_man_timers() -> None:
    made = venue()
    assert made.next_deadline() is None
    made.on_command(5, submit("gtd", Side.BUY, "1", "100.0", tif=TimeInForce.GTD, expire_ns=50))
    made.on_command(5, submit("gtc", Side.BUY, "1", "100.0"))
    made.on_command(5, ArmDeadMan(5, ME, PERP.id, 100))
    assert made.next_deadline() == 50
    assert only(made.on_time(50), OrderExpired).client_order_id == "gtd"
    assert made.next_deadline() == 105
    made.on_command(90, ArmDeadMan(90, ME, PERP.id, 100))
    assert made.on_time(105) == []
    assert only(made.on_time(190), OrderCanceled).client_order_id == "gtc"
    assert made.next_deadline() is None


def test_disarming_the_dead_man_leaves_orders_alone() -> None:
    made = venue()
    made.on_command(5, submit("a", Side.BUY, "1", "100.0"))
    made.on_command(5, ArmDeadMan(5, ME, PERP.id, 100))
    made.on_command(6, ArmDeadMan(6, ME, PERP.id, 0))
    assert made.next_deadline() is None
    assert len(made.state.live) == 1


@pytest.mark.parametrize("timeout_ns", [100, 0])
def test_a_dead_man_timer_that_is_set_is_confirmed(timeout_ns: int) -> None:
    armed = only(venue().on_command(5, ArmDeadMan(5, ME, PERP.id, timeout_ns)), DeadManArmed)
    assert (armed.ts, armed.account, armed.instrument, armed.timeout_ns) == (5, ME, PERP.id, timeout_ns)


def test_queries_tell_the_venues_truth() -> None:
    made = venue()
    made.on_command(1, submit("rest", Side.BUY, "1", "100.0"))
    made.on_command(2, submit("done", Side.BUY, "2", "100.2"))
    made.on_command(3, submit("none", Side.BUY, "1", "100.05"))

    def result(kind: QueryKind, name: str | None = None) -> QueryResult:
        found = query(made, kind, PERP.id, name)
        assert isinstance(found, QueryResult)
        return found

    assert [o.client_order_id for o in result(QueryKind.OPEN_ORDERS).orders] == ["rest"]
    assert [o.status for o in result(QueryKind.ORDER, "done").orders] == [OrderStatus.FILLED]
    assert result(QueryKind.ORDER, "none").orders == ()
    assert [(f.price, f.qty) for f in result(QueryKind.FILLS).fills] == [(D("100.1"), D(1)), (D("100.2"), D(1))]
    (position,) = result(QueryKind.POSITIONS).positions
    assert (position.qty, position.entry_price, position.leverage) == (D(2), D("100.15"), 20)
    assert result(QueryKind.ACCOUNT).balances == {"USDT": D("9999.89985")}
    book = query(made, QueryKind.BOOK, PERP.id)
    assert isinstance(book, BookSnapshot)
    assert (book.update_id, book.bids, book.asks) == (1, [(1000, 5000), (999, 5000)], [])


@pytest.mark.parametrize(
    "asked",
    [
        Query(9, ME, "q", QueryKind.BARS, PERP.id),
        Query(9, ME, "q", QueryKind.ORDER, PERP.id),
        Query(9, ME, "q", QueryKind.BOOK, "SIM:DOGE"),
        Query(9, ME, "q", QueryKind.BOOK),
        Query(9, "stranger", "q", QueryKind.POSITIONS),
    ],
)
def test_a_query_that_cannot_be_answered_fails_and_says_why(asked: Query) -> None:
    (answer,) = venue().on_command(9, asked)
    assert isinstance(answer, QueryFailed)
    assert answer.why


def test_funding_is_paid_in_full_and_reported() -> None:
    made = venue()
    made.on_command(1, submit("a", Side.BUY, "1"))
    before = made.state.accounts[ME].account.balance("USDT")
    reports = made.on_market(5, FundingRate(5, PERP.id, D("0.0001"), D("60000")))
    # crypto perpetuals: 1 x 60000 x 0.01 % = 6
    assert kinds(reports) == ["FundingSettled", "AccountReport"]
    assert only(reports, FundingSettled).amount == -6
    assert made.state.accounts[ME].account.balance("USDT") == before - 6


def test_what_moves_nothing_is_ignored() -> None:
    made = venue()
    assert made.on_market(1, Quote(1, PERP.id, 1, 1000, 1, 1001, 1)) == []
    assert made.on_market(1, Trade(1, "SIM:DOGE", 1, 1, 1, Side.BUY)) == []


def test_spot_locks_cash_and_never_goes_short() -> None:
    made = venue(SPOT, usdt="1000")
    made.on_market(0, BookSnapshot(0, SPOT.id, 1, [(10000, 5000)], [(10010, 5000)]))

    def send(name: str, side: Side, qty: str, price: str | None = None) -> list[Report]:
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        return made.on_command(
            1, SubmitOrder(1, ME, SPOT.id, name, side, D(qty), kind, None if price is None else D(price))
        )

    assert only(send("short", Side.SELL, "1"), OrderRejected).reason is RejectReason.INSUFFICIENT_BALANCE
    assert kinds(send("rest", Side.BUY, "5", "100.00")) == ["OrderAccepted"]
    assert only(send("more", Side.BUY, "5", "100.00"), OrderRejected).reason is RejectReason.INSUFFICIENT_BALANCE
    assert kinds(send("take", Side.BUY, "4")) == ["OrderAccepted", "OrderFilled", "AccountReport"]
    assert made.state.accounts[ME].account.balances == {"USDT": D("599.3998"), "BTC": D(4)}
    assert kinds(send("offer", Side.SELL, "3", "101.00")) == ["OrderAccepted"]
    assert only(send("twice", Side.SELL, "2", "101.00"), OrderRejected).reason is RejectReason.INSUFFICIENT_BALANCE


def test_hedge_mode_reduces_by_the_other_side() -> None:
    made = venue(mode=PositionMode.HEDGE)
    made.on_command(1, submit("l", Side.BUY, "1", position_side=PositionSide.LONG))
    made.on_command(2, submit("s", Side.SELL, "1", position_side=PositionSide.SHORT))
    refused = made.on_command(3, submit("x", Side.SELL, "1"))
    assert only(refused, OrderRejected).reason is RejectReason.POSITION_SIDE
    closed = made.on_command(4, submit("c", Side.SELL, "3", position_side=PositionSide.LONG))
    assert only(closed, OrderExpired).filled_qty == 1
    assert made.state.accounts[ME].qty(PERP.id, PositionSide.SHORT) == -1


def test_settings_are_answered_by_what_holds() -> None:
    made = venue()
    assert only(made.on_command(1, SetLeverage(1, ME, PERP.id, 50)), PositionReport).leverage == 50
    assert only(made.on_command(1, SetLeverage(1, ME, PERP.id, 500)), PositionReport).leverage == 50
    made.on_command(2, submit("a", Side.BUY, "1", "100.0"))
    made.on_command(3, SetMarginMode(3, ME, PERP.id, MarginMode.ISOLATED))
    made.on_command(3, SetPositionMode(3, ME, PositionMode.HEDGE))
    account = made.state.accounts[ME]
    assert account.mode(PERP.id) is MarginMode.CROSS
    assert account.account.position_mode is PositionMode.ONE_WAY
    made.on_command(4, CancelAll(4, ME))
    made.on_command(5, SetMarginMode(5, ME, PERP.id, MarginMode.ISOLATED))
    assert account.mode(PERP.id) is MarginMode.ISOLATED


def test_isolated_margin_can_be_added_and_taken_within_limits() -> None:
    made = venue(margin=MarginMode.ISOLATED)
    made.on_command(1, submit("a", Side.BUY, "1"))
    held = made.state.accounts[ME].holding(PERP.id, PositionSide.BOTH)
    assert held.isolated_wallet == D("5.005")
    for amount, left in (("10", "15.005"), ("-10", "5.005"), ("-1", "5.005"), ("99999", "5.005")):
        made.on_command(2, AdjustIsolatedMargin(2, ME, PERP.id, D(amount)))
        assert held.isolated_wallet == D(left)


def test_a_modify_of_a_post_only_order_that_would_take_cancels_it() -> None:
    made = venue()
    made.on_command(1, submit("a", Side.BUY, "1", "100.0", tif=TimeInForce.GTX))
    assert kinds(made.on_command(2, ModifyOrder(2, ME, PERP.id, "a", D(1), D("100.1")))) == ["OrderCanceled"]


def test_a_modify_is_reported_before_its_fills() -> None:
    made = venue()
    made.on_command(1, submit("a", Side.BUY, "1", "100.0"))
    reports = made.on_command(2, ModifyOrder(2, ME, PERP.id, "a", D(2), D("100.1")))
    assert kinds(reports) == ["OrderModified", "OrderFilled", "PositionReport", "AccountReport"]
    assert only(reports, OrderModified).qty == 2


def test_liquidation_cancels_first_and_reports_one_position() -> None:
    flows: list[CashFlow] = []
    account = Account(ME, "SIM", {"USDT": D(1000)}, leverage={PERP.id: 100})
    made = SimVenue("SIM", [PERP], [account], FEES, on_flow=flows.append)
    made.on_market(0, BookSnapshot(0, PERP.id, 1, [], [(1000, 500_000)]))
    made.on_command(1, submit("a", Side.BUY, "500"))
    made.on_command(2, submit("rest", Side.BUY, "1", "90.0"))
    assert made.on_market(3, MarkPrice(3, PERP.id, D("98.5"))) == []
    reports = made.on_market(4, MarkPrice(4, PERP.id, D("98.4")))
    assert kinds(reports)[:2] == ["OrderCanceled", "OrderFilled"]
    told = only(reports, Liquidated)
    # wallet 1000 - 25 fee; bankrupt at 100 - 975 / 500
    assert (told.side, told.qty, told.bankruptcy_price, told.taken_over_qty) == (Side.SELL, D(500), D("98.05"), D(500))
    assert account.balances == {"USDT": D(0)}
    assert sum((flow.amount for flow in flows), D(1000)) == 0


def test_a_partial_liquidation_stops_when_the_rest_is_compliant() -> None:
    account = Account(ME, "SIM", {"USDT": D(1000)}, leverage={PERP.id: 100})
    made = SimVenue("SIM", [PERP], [account], FEES)
    made.on_market(0, BookSnapshot(0, PERP.id, 1, [], [(1000, 500_000)]))
    made.on_command(1, submit("a", Side.BUY, "500"))
    made.on_market(2, BookDelta(2, PERP.id, 2, 2, 1, [(990, 400_000)], []))
    told = only(made.on_market(4, MarkPrice(4, PERP.id, D("98.4"))), Liquidated)
    assert (told.qty, told.price, told.taken_over_qty) == (D(400), D(99), D(0))
    assert made.state.accounts[ME].qty(PERP.id, PositionSide.BOTH) == 100


def test_the_fund_pays_no_more_than_it_has() -> None:
    account = Account(ME, "SIM", {"USDT": D(1000)}, margin_mode=MarginMode.ISOLATED)
    made = SimVenue("SIM", [PERP], [account], FEES)
    made.state.insurance["USDT"] = D(30)
    booking.square_with_fund(made.state, made.state.accounts[ME], "USDT", D(-50), PERP.id)
    assert (made.state.insurance, made.state.uncovered) == ({"USDT": D(0)}, {"USDT": D(20)})
    assert account.balance("USDT") == 1050
    booking.square_with_fund(made.state, made.state.accounts[ME], "USDT", D(5), PERP.id)
    assert (made.state.insurance, made.state.uncovered) == ({"USDT": D(5)}, {"USDT": D(20)})


def test_a_closed_market_refuses_and_reopens() -> None:
    made = venue()
    made.on_market(1, InstrumentStatus(1, PERP.id, InstrumentState.CLOSE))
    assert only(made.on_command(2, submit("a", Side.BUY, "1")), OrderRejected).reason is RejectReason.HALTED
    made.on_market(3, InstrumentStatus(3, PERP.id, InstrumentState.OPEN))
    assert only(made.on_command(4, submit("b", Side.BUY, "1")), OrderAccepted)


def test_a_venue_that_cannot_be_honest_is_not_built() -> None:
    inverse = Instrument("SIM", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True)
    future = Instrument("SIM", "ESH6", InstrumentKind.FUTURE, "ES", "USD", D("0.25"), D(1))
    for spec in (inverse, future):
        with pytest.raises(VenueSetupError):
            SimVenue("SIM", [spec], [], FEES)
    with pytest.raises(MissingFeeError):
        SimVenue("SIM", [PERP], [], FeeTable())
    with pytest.raises(VenueSetupError):
        SimVenue("SIM", [PERP], [], FEES, rules="kraken")
    with pytest.raises(VenueSetupError):
        venue().on_command(1, CancelAll(1, "stranger"))


# Queue models: hftbacktest 2.4.4, worked for front 6, back 4, a level that falls from 10 to 7 without trades.
@pytest.mark.parametrize(
    ("model", "exponent", "front"),
    [(RISK_AVERSE, 0.0, 6.0), (POWER, 1.0, 4.2), (POWER, 2.0, 3.923077), (LOG, 0.0, 4.358042)],
)
def test_queue_models_split_a_decrease(model: int, exponent: float, front: float) -> None:
    assert front_after(model, exponent, 1.0, 6.0, 10, 7) == pytest.approx(front, abs=1e-6)


@pytest.mark.parametrize(("model", "exponent", "lot"), [(RISK_AVERSE, 0.0, 1.0), (POWER, 2.0, 1.0), (LOG, 0.0, 0.001)])
def test_an_increase_joins_behind(model: int, exponent: float, lot: float) -> None:
    assert front_after(model, exponent, lot, 6.0, 10, 12) == 6
    assert front_after(model, exponent, lot, 6.0, 10, 0) == 0
    assert front_after(model, exponent, lot, 0.0, 10, 3) == 0


def test_a_model_is_read_from_its_name() -> None:
    assert make_queue_model("power_2.5").exponent == 2.5
    assert make_queue_model("log").name == "log"


@pytest.mark.parametrize("name", ["", "power_", "power_0", "power_x", "l2_fifo", "RISK_AVERSE"])
def test_an_unknown_queue_model_is_refused(name: str) -> None:
    with pytest.raises(QueueModelError):
        make_queue_model(name)


def test_fees_by_value_and_by_contract() -> None:
    by_value = FeeSchedule(D("0.0002"), D("0.0005"))
    assert by_value.fee(PERP, D(2), D(100), Liquidity.MAKER) == D("0.04")
    assert by_value.fee(PERP, D(2), D(100), Liquidity.TAKER) == D("0.1")
    assert by_value.fee(PERP, D(2), D(100), Liquidity.NONE) == 0
    by_contract = FeeSchedule(D("2.25"), D("2.25"), FeeBasis.PER_CONTRACT)
    assert by_contract.fee(PERP, D(3), D(100), Liquidity.TAKER) == D("6.75")
    assert FeeTable(by_value, {"x": by_contract}).of("x") is by_contract
    with pytest.raises(MissingFeeError):
        FeeTable().of("x")
