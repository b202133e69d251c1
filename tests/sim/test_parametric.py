"""The venue without books: at which price, how much and when, against numbers reckoned by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from sim.parametric_bars import BadBarError
from sim.parametric_config import ChicagoHours, ParametricConfig
from sim.slippage import SlippageReport
from sim.venue import SimVenue
from venues.costs.curves import LiquidityCurves
from venues.costs.fees import FeeBasis, FeeSchedule, FeeTable
from venues.costs.slippage_crypto import CryptoSlippageConfig
from venues.model.account import Account
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    Bar,
    BookSnapshot,
    FundingRate,
    InstrumentState,
    InstrumentStatus,
    Liquidated,
    LiquidationPrint,
    MarkPrice,
    ModifyOrder,
    OpenInterest,
    OrderAccepted,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OrderTriggered,
    Quote,
    RejectReason,
    Report,
    SubmitOrder,
    Trade,
)

D = Decimal
S = 1_000_000_000
MINUTE = 60 * S
BRACKETS = (Bracket(D(0), D(10**9), D("0.004"), D(0), 125),)
PERP = Instrument(
    "V", "PERP", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), max_leverage=125, brackets=BRACKETS
)
SPOT = Instrument("V", "SPOT", InstrumentKind.SPOT, "BTC", "USDT", D("0.1"), D("0.001"))
ES = Instrument(
    "V",
    "ESH6",
    InstrumentKind.FUTURE,
    "ES",
    "USD",
    D("0.25"),
    D(1),
    multiplier=D(50),
    initial_margin=D(1_000),
    maintenance_margin=D(900),
)
FEES = FeeTable(FeeSchedule(D(0), D(0)), {ES.id: FeeSchedule(D(0), D(0), FeeBasis.PER_CONTRACT)})
FLAT = CryptoSlippageConfig(spread_bps=0.0, impact=0.0, least_bps=0.0)
"""No slippage: for tests of when and how much, not of the price."""
PLAIN = ParametricConfig("crypto", {"PERP": D(1_000), "SPOT": D(1_000)}, crypto=FLAT)


class Bench:
    """One venue, its reports on slippage, and bars of a minute one after the other."""

    def __init__(self, config: ParametricConfig, spec: Instrument = PERP, money: str = "10000000") -> None:
        self.told: list[SlippageReport] = []
        self.spec = spec
        account = Account("me", "V", {"USDT": D(money), "USD": D(money), "BTC": D(100)}, leverage={PERP.id: 100})
        self.venue = SimVenue("V", [PERP, SPOT, ES], [account], FEES, execution=config, on_slippage=self.told.append)

    def bar(self, minute: int, *prices: str, volume: str = "100", **keys: Any) -> list[Report]:
        """The bar that ends at `minute`; one price alone is all four."""
        opened, high, low, closed = (D(price) for price in (prices if len(prices) > 1 else prices * 4))
        made = Bar(minute * MINUTE, self.spec.id, (minute - 1) * MINUTE, opened, high, low, closed, D(volume), **keys)
        return self.market(minute * MINUTE, made)

    def market(self, now: int, report: Report) -> list[Report]:
        return self.venue.on_market(now, report)

    def submit(self, now: int, name: str, side: Side, qty: str, price: str | None = None, **keys: Any) -> list[Report]:
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        made = {"type": kind, "price": None if price is None else D(price), **keys}
        return self.venue.on_command(now, SubmitOrder(now, "me", self.spec.id, name, side, D(qty), **made))

    def stop(self, now: int, name: str, side: Side, qty: str, trigger: str, **keys: Any) -> list[Report]:
        return self.submit(now, name, side, qty, **{"type": OrderType.STOP_MARKET, "trigger_price": D(trigger), **keys})


def flat_bar(now: int, price: Decimal) -> Bar:
    return Bar(now, ES.id, now - MINUTE, price, price, price, price, D(9))


def fills(reports: Sequence[Report]) -> list[tuple[str, str, str]]:
    """Return (order, price, quantity) of the fills in `reports`."""
    return [(r.client_order_id, str(r.price), str(r.qty)) for r in reports if isinstance(r, OrderFilled)]


def refusal(reports: Sequence[Report]) -> tuple[RejectReason, str]:
    (found,) = [r for r in reports if isinstance(r, OrderRejected)]
    return found.reason, found.text


# The price


def test_the_check_value_of_the_crypto_model_is_what_a_buyer_pays() -> None:
    # facts/systems.md 2: 8 bps x 1.005 x 1.10 x 1.20 = 10.6128 bps: 100,000 x 1.00106128 = 100,106.128.
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig(spread_bps=16.0, impact=0.0)))
    bench.bar(1, "100000")
    bench.market(MINUTE, FundingRate(MINUTE, PERP.id, D("0.001"), D(100_000)))
    bench.market(MINUTE, LiquidationPrint(MINUTE, PERP.id, Side.SELL, D(100_000), D(20)))
    bench.market(MINUTE, OpenInterest(MINUTE, PERP.id, D(3_000)))
    assert fills(bench.submit(MINUTE + 1, "a", Side.BUY, "1")) == [("a", "100106.2", "1.000")]
    (told,) = bench.told
    assert told.slippage_bps == pytest.approx(10.6, abs=0.05)
    assert (told.reference, told.expected, told.price) == (D(100_000), D("100106.128"), D("100106.2"))
    parts = {"base_bps": 8.0, "funding_stress": 1.005, "cascade": 1.1, "open_interest": 1.2, "curve": 1.0}
    assert told.parts == pytest.approx(parts)
    assert (told.absent, told.trade_id) == (("volatility_regime",), "PERP-1")


def test_what_the_market_did_not_tell_is_flagged() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100000")
    bench.submit(MINUTE + 1, "a", Side.SELL, "1")
    assert bench.told[0].absent == ("funding_rate", "liquidations_to_adv", "oi_to_adv", "volatility_regime")


@pytest.mark.parametrize(
    ("side", "price"),
    # 10 of 1,000 a day: 4 / 2 + 0.09 x sqrt(0.01) x 10^4 = 92 bps of 50,000 is 460.
    [(Side.BUY, "50460.0"), (Side.SELL, "49540.0")],
)
def test_the_impact_grows_with_the_root_of_the_share(side: Side, price: str) -> None:
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig()))
    bench.bar(1, "50000")
    assert fills(bench.submit(MINUTE + 1, "a", side, "10")) == [("a", price, "10.000")]


CHICAGO_MORNING = int(datetime(2026, 1, 14, 15, 0, tzinfo=UTC).timestamp()) * S
"""A Wednesday, 9:00 in Chicago."""


@pytest.mark.parametrize(
    ("hours_later", "session", "settlement", "price"),
    [
        # 0.25 / 5,000 / 2 is 0.25 bps, 0.03 x sqrt(100 / 1,000,000) x 10^4 is 3 bps: 3.25 bps of 5,000 is 1.625.
        (0, 1.0, 1.0, "5001.75"),
        # 20:50 UTC, 10 minutes before 15:00 in Chicago: 3.25 x 1.20 = 3.9 bps is 1.95.
        (5 + 5 / 6, 1.0, 1.2, "5002.00"),
        # 22:00 in Chicago: 3.25 x 1.5 = 4.875 bps is 2.4375.
        (13, 1.5, 1.0, "5002.50"),
    ],
)
def test_the_cme_model_in_and_outside_regular_hours(
    hours_later: float, session: float, settlement: float, price: str
) -> None:
    bench = Bench(ParametricConfig("cme", {"ESH6": D(1_000_000)}), ES)
    now = CHICAGO_MORNING + round(hours_later * 60) * MINUTE
    bench.market(now, flat_bar(now, D(5_000)))
    assert fills(bench.submit(now, "a", Side.BUY, "100")) == [("a", price, "100")]
    (told,) = bench.told
    assert told.parts == pytest.approx({"base_bps": 3.25, "session": session, "settlement": settlement, "curve": 1.0})
    assert told.absent == ()


def test_hours_of_ones_own_stand_in_for_the_calendar() -> None:
    hours = ChicagoHours("08:30", "15:15", "15:00")
    # 2013-10-07 15:45 UTC is 10:45 in Chicago; the calendar begins in 2023.
    for config, session, absent in (
        (ParametricConfig("cme", {"ESH6": D(100)}, hours=hours), 1.0, ()),
        (ParametricConfig("cme", {"ESH6": D(100)}), 1.5, ("session", "settlement")),
    ):
        bench = Bench(config, ES)
        now = int(datetime(2013, 10, 7, 15, 45, tzinfo=UTC).timestamp()) * S
        bench.market(now, flat_bar(now, D(1_675)))
        bench.submit(now, "a", Side.BUY, "1")
        assert (bench.told[0].parts["session"], bench.told[0].absent) == (session, absent)


def test_a_curve_makes_an_hour_dearer() -> None:
    hourly = tuple(2.0 if hour == 0 else 1.0 for hour in range(24))
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig(impact=0.0), curves=LiquidityCurves(hourly)))
    bench.bar(1, "50000")
    # 2 bps x 2 of 50,000 is 20.
    assert fills(bench.submit(MINUTE + 1, "a", Side.BUY, "1")) == [("a", "50020.0", "1.000")]


def test_a_quote_bounds_the_price_by_its_touch() -> None:
    bench = Bench(PLAIN)
    bench.market(S, Quote(S, PERP.id, 1, 999_990, 500, 1_000_010, 500))
    # The mid is 100,000.0; half of the quoted 2.0 is what the model asks for, and the touch.
    assert fills(bench.submit(S, "a", Side.BUY, "1")) == [("a", "100001.0", "1.000")]
    assert fills(bench.submit(S, "b", Side.SELL, "1")) == [("b", "99999.0", "1.000")]
    assert bench.told[0].parts["base_bps"] == pytest.approx(0.1)


def test_a_contradictory_quote_leaves_no_price() -> None:
    bench = Bench(PLAIN)
    bench.market(S, Quote(S, PERP.id, 1, 1_000, 5, 1_001, 5))
    bench.market(S, Quote(S, PERP.id, 2, 1_002, 5, 1_001, 5))
    assert refusal(bench.submit(S, "a", Side.BUY, "1"))[0] is RejectReason.NO_REFERENCE_PRICE


def test_fills_are_around_the_mark_where_so_configured() -> None:
    bench = Bench(evolve(PLAIN, reference="mark"))
    bench.bar(1, "100")
    assert refusal(bench.submit(MINUTE, "a", Side.BUY, "1"))[0] is RejectReason.NO_REFERENCE_PRICE
    bench.market(MINUTE, MarkPrice(MINUTE, PERP.id, D("100.55")))
    assert fills(bench.submit(MINUTE, "b", Side.BUY, "1")) == [("b", "100.6", "1.000")]
    assert fills(bench.submit(MINUTE, "c", Side.SELL, "1")) == [("c", "100.5", "1.000")]


def test_a_part_taken_makes_the_next_part_dearer_until_a_new_price() -> None:
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig(spread_bps=0.0)))
    bench.bar(1, "50000")
    # sqrt(10 / 1,000) x 900 is 90 bps, sqrt(40 / 1,000) x 900 is 180.
    assert fills(bench.submit(MINUTE, "a", Side.BUY, "10")) == [("a", "50450.0", "10.000")]
    assert fills(bench.submit(MINUTE, "b", Side.BUY, "30")) == [("b", "50900.0", "30.000")]
    bench.bar(2, "50000")
    assert fills(bench.submit(2 * MINUTE, "c", Side.BUY, "10")) == [("c", "50450.0", "10.000")]


# No price


def test_an_order_without_a_price_is_refused() -> None:
    reason, text = refusal(Bench(PLAIN).submit(1, "a", Side.BUY, "1"))
    assert (reason, text) == (RejectReason.NO_REFERENCE_PRICE, "no price of V:PERP is known, or it is too old")


def test_a_limit_order_without_a_price_waits_for_one() -> None:
    bench = Bench(PLAIN)
    assert isinstance(bench.submit(0, "a", Side.BUY, "1", "100.0")[0], OrderAccepted)
    assert fills(bench.bar(1, "100.0", "100.0", "99.9", "100.0")) == [("a", "100.0", "1.000")]


def test_an_unknown_daily_volume_is_an_error_until_a_whole_day_is_over() -> None:
    bench = Bench(evolve(PLAIN, adv={}, stale_ns=10**18))
    bench.bar(1, "100", volume="30")
    reason, text = refusal(bench.submit(MINUTE, "a", Side.BUY, "1"))
    assert reason is RejectReason.NO_REFERENCE_PRICE
    assert "adv: no average daily volume" in text
    bench.bar(1440, "100", volume="70")
    bench.bar(1441, "100", volume="1")
    bench.submit(1441 * MINUTE, "b", Side.BUY, "1")
    assert [told.client_order_id for told in bench.told] == ["b"]
    assert bench.venue.state.markets[PERP.id].matcher.conditions.adv() == 100.0  # type: ignore[union-attr]


def test_a_market_that_does_not_trade_has_no_daily_volume() -> None:
    bench = Bench(evolve(PLAIN, adv={}, stale_ns=10**18))
    for minute in (1, 1441):
        bench.bar(minute, "100", volume="0")
    assert "adv: the average daily volume is zero" in refusal(bench.submit(1441 * MINUTE, "a", Side.BUY, "1"))[1]


def test_a_large_number_is_no_price() -> None:
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig(impact=10.0, most_bps=20_000.0)))
    bench.bar(1, "100")
    reason, text = refusal(bench.submit(MINUTE, "a", Side.SELL, "20"))
    assert reason is RejectReason.NO_REFERENCE_PRICE
    assert text == "V:PERP: a slippage of 14144 bps is no price"


def test_a_price_older_than_two_bars_is_none() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    assert fills(bench.submit(3 * MINUTE, "a", Side.BUY, "1")) == [("a", "100.0", "1.000")]
    assert refusal(bench.submit(3 * MINUTE + 1, "b", Side.BUY, "1"))[0] is RejectReason.NO_REFERENCE_PRICE


def test_a_halt_refuses_with_the_reason_and_fills_nobody() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.submit(MINUTE, "rest", Side.BUY, "1", "90.0")
    bench.stop(MINUTE, "stop", Side.SELL, "1", "95.0")
    bench.market(MINUTE, InstrumentStatus(MINUTE, PERP.id, InstrumentState.HALT))
    assert refusal(bench.submit(MINUTE, "a", Side.BUY, "1")) == (RejectReason.HALTED, "V:PERP is in halt")
    assert bench.bar(2, "80") == []
    bench.market(2 * MINUTE, InstrumentStatus(2 * MINUTE, PERP.id, InstrumentState.OPEN))
    # Already through at the next open: the resting order at its own price, the stop behind the gap.
    assert fills(bench.bar(3, "81", "82", "81", "81")) == [("stop", "81.0", "1.000"), ("rest", "90.0", "1.000")]


@pytest.mark.parametrize(
    ("prices", "field"),
    [
        (("NaN", "1", "1", "1"), "open"),
        (("100", "-1", "1", "1"), "high"),
        (("100", "99", "98", "99"), "high"),
        (("100", "101", "100.5", "101"), "low"),
        (("100", "101", "99", "100.05"), "close"),
    ],
)
def test_a_bar_that_cannot_be_is_an_error(prices: tuple[str, ...], field: str) -> None:
    with pytest.raises(BadBarError) as caught:
        Bench(PLAIN).bar(1, *prices)
    assert caught.value.field == field


# When


def test_nothing_trades_inside_the_bar_it_was_decided_on() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100", "110", "90", "100")
    assert fills(bench.submit(MINUTE + 5, "a", Side.BUY, "1", "95.0")) == []
    # The order came while this bar was under way: its range may lie before the order, its close does not.
    assert fills(bench.bar(2, "100", "100", "90", "100")) == []
    assert fills(bench.bar(3, "100", "100", "94.9", "100")) == [("a", "95.0", "1.000")]


def test_an_order_that_came_within_a_bar_meets_its_close() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.submit(MINUTE + 5, "a", Side.BUY, "1", "95.0")
    assert fills(bench.bar(2, "100", "100", "90", "94.9")) == [("a", "95.0", "1.000")]


def test_the_future_changes_no_fill_of_the_past() -> None:
    tails = (("100",), ("50",), ("200", "300", "10", "250"))
    found = []
    for tail in tails:
        bench = Bench(PLAIN)
        bench.bar(1, "100")
        early = fills(bench.submit(MINUTE + 5, "a", Side.BUY, "1"))
        bench.bar(2, *tail)
        found.append(early)
    assert found == [[("a", "100.0", "1.000")]] * 3


@pytest.mark.parametrize(
    ("touch_fills", "low", "filled"),
    [(False, "95.0", False), (False, "94.9", True), (True, "95.0", True), (True, "95.1", False)],
)
def test_a_touch_is_not_enough_unless_configured(touch_fills: bool, low: str, filled: bool) -> None:
    bench = Bench(evolve(PLAIN, touch_fills=touch_fills))
    bench.submit(0, "a", Side.BUY, "1", "95.0")
    reports = bench.bar(1, "100", "100", low, "100")
    assert bool(fills(reports)) is filled
    assert all(r.liquidity is Liquidity.MAKER for r in reports if isinstance(r, OrderFilled))


def test_a_quote_through_the_price_fills_as_a_maker() -> None:
    bench = Bench(PLAIN)
    bench.market(0, Quote(0, PERP.id, 1, 1_000, 9_000, 1_002, 9_000))
    bench.submit(1, "a", Side.BUY, "1", "100.1")
    assert fills(bench.market(2, Quote(2, PERP.id, 2, 1_000, 9_000, 1_001, 9_000))) == []
    reports = bench.market(3, Quote(3, PERP.id, 3, 999, 9_000, 1_000, 9_000))
    assert fills(reports) == [("a", "100.1", "1.000")]


def test_a_post_only_order_at_the_touch_is_refused() -> None:
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig()))
    bench.bar(1, "50000")
    # Half of 4 bps of 50,000 is 10: the touch is 50,010.0.
    reports = bench.submit(MINUTE, "a", Side.BUY, "1", "50010.0", tif=TimeInForce.GTX)
    assert refusal(reports)[0] is RejectReason.WOULD_TAKE
    assert isinstance(bench.submit(MINUTE, "b", Side.BUY, "1", "50009.9", tif=TimeInForce.GTX)[0], OrderAccepted)


def test_a_changed_order_waits_anew() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.submit(MINUTE, "a", Side.BUY, "1", "90.0")
    bench.venue.on_command(MINUTE + 5, ModifyOrder(MINUTE, "me", PERP.id, "a", D(1), D("95.0")))
    assert fills(bench.bar(2, "100", "100", "94", "100")) == []
    assert fills(bench.bar(3, "100", "100", "94", "100")) == [("a", "95.0", "1.000")]


def test_books_say_nothing_and_trades_are_prices() -> None:
    bench = Bench(PLAIN)
    bench.market(0, BookSnapshot(0, PERP.id, 1, [(900, 5)], [(901, 5)]))
    assert refusal(bench.submit(0, "a", Side.BUY, "1"))[0] is RejectReason.NO_REFERENCE_PRICE
    bench.market(1, Trade(1, PERP.id, 1, 1_000, 5, Side.BUY))
    assert fills(bench.submit(1, "b", Side.BUY, "1")) == [("b", "100.0", "1.000")]


# How much


def test_a_share_of_the_bars_volume_is_all_that_orders_get() -> None:
    bench = Bench(evolve(PLAIN, participation=D("0.1")))
    bench.bar(1, "100", volume="50")
    assert fills(bench.submit(MINUTE, "a", Side.BUY, "8", "101.0")) == [("a", "100.0", "5.000")]
    assert bench.venue.state.live["me", "a"].leaves == 3_000
    # The next bar's share first fills what waits, and what is left of it those who come.
    assert fills(bench.bar(2, "100", volume="40")) == [("a", "101.0", "3.000")]
    reports = bench.submit(2 * MINUTE, "b", Side.SELL, "8")
    assert fills(reports) == [("b", "100.0", "1.000")]
    assert isinstance(reports[-1], OrderExpired)


def test_fill_or_kill_needs_all_of_it_within_the_share() -> None:
    bench = Bench(evolve(PLAIN, participation=D("0.1")))
    bench.bar(1, "100", volume="50")
    assert fills(bench.submit(MINUTE, "a", Side.BUY, "5.001", "101.0", tif=TimeInForce.FOK)) == []
    assert fills(bench.submit(MINUTE, "b", Side.BUY, "5", "101.0", tif=TimeInForce.FOK)) == [("b", "100.0", "5.000")]


def test_quotes_offer_a_share_of_what_they_show() -> None:
    bench = Bench(evolve(PLAIN, participation=D("0.5")))
    bench.market(0, Quote(0, PERP.id, 1, 1_000, 9_000, 1_001, 4_000))
    assert fills(bench.submit(1, "a", Side.BUY, "9")) == [("a", "100.1", "2.000")]
    assert fills(bench.submit(1, "b", Side.SELL, "9")) == [("b", "100.0", "4.500")]


def test_a_limit_takes_what_its_price_allows_and_rests() -> None:
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig(spread_bps=0.0)))
    bench.bar(1, "50000")
    # 50,450.0 is 90 bps: sqrt(q / 1,000) x 900 = 90 at q = 10.
    assert fills(bench.submit(MINUTE, "a", Side.BUY, "40", "50450.0")) == [("a", "50450.0", "10.000")]
    assert bench.venue.state.live["me", "a"].resting


def test_a_spot_buyer_pays_for_the_slippage_too() -> None:
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig(spread_bps=0.0)), SPOT, money="504499")
    bench.bar(1, "50000")
    # 10 at 50,450 is 504,500.
    assert refusal(bench.submit(MINUTE, "a", Side.BUY, "10"))[0] is RejectReason.INSUFFICIENT_BALANCE
    assert fills(bench.submit(MINUTE, "b", Side.BUY, "9")) != []


# Within a bar


def test_the_stop_comes_before_the_take_profit() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.submit(MINUTE, "long", Side.BUY, "1")
    bench.stop(MINUTE, "profit", Side.SELL, "1", "105.0", type=OrderType.TAKE_PROFIT_MARKET, reduce_only=True)
    bench.stop(MINUTE, "stop", Side.SELL, "1", "95.0", reduce_only=True)
    bench.submit(MINUTE, "limit", Side.SELL, "1", "104.0", reduce_only=True)
    reports = bench.bar(2, "100", "110", "90", "108")
    assert fills(reports) == [("stop", "95.0", "1.000")]


@pytest.mark.parametrize(
    ("prices", "at"),
    [(("100", "100", "90", "99"), "95.0"), (("93", "94", "90", "91"), "93.0"), (("100", "100", "95", "100"), "95.0")],
)
def test_a_stop_trades_at_its_trigger_or_behind_a_gap_at_the_open(prices: tuple[str, ...], at: str) -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.stop(MINUTE, "stop", Side.SELL, "1", "95.0")
    reports = bench.bar(2, *prices)
    assert fills(reports) == [("stop", at, "1.000")]
    assert any(isinstance(r, OrderTriggered) for r in reports)
    assert [r.reason for r in reports if isinstance(r, OrderFilled)] == [FillReason.TAKER]


def test_slippage_counts_from_the_trigger() -> None:
    bench = Bench(evolve(PLAIN, crypto=CryptoSlippageConfig(impact=0.0, spread_bps=200.0)))
    bench.bar(1, "100")
    bench.stop(MINUTE, "stop", Side.SELL, "1", "95.0")
    # 100 bps of 95.0 is 0.95: 94.05, down to 94.0.
    assert fills(bench.bar(2, "100", "100", "90", "99")) == [("stop", "94.0", "1.000")]
    assert bench.told[0].reference == D("95.0")


def test_a_position_opened_within_the_bar_is_stopped_within_it() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.submit(MINUTE, "entry", Side.BUY, "1", "97.0")
    bench.stop(MINUTE, "stop", Side.SELL, "1", "95.0", reduce_only=True)
    assert fills(bench.bar(2, "100", "100", "90", "99")) == [("entry", "97.0", "1.000"), ("stop", "95.0", "1.000")]


def test_two_stops_fire_in_the_order_the_price_meets_them() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.stop(MINUTE, "far", Side.SELL, "1", "92.0")
    bench.stop(MINUTE, "near", Side.SELL, "1", "96.0")
    assert [name for name, _, _ in fills(bench.bar(2, "100", "100", "90", "99"))] == ["near", "far"]


def test_a_trailing_stop_meets_the_low_before_it_follows_the_high() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    keys: dict[str, Any] = {"type": OrderType.TRAILING_STOP, "callback_rate": D("0.1")}
    bench.submit(MINUTE, "trail", Side.SELL, "1", **keys)
    # Best 100 at the open: 91 stays above 90. Then it follows to 120 and the close at 109 is above 108.
    assert fills(bench.bar(2, "100", "120", "91", "109")) == []
    assert fills(bench.bar(3, "110", "110", "100", "105")) == [("trail", "108.0", "1.000")]


def test_a_stop_on_the_mark_watches_bars_of_marks() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.stop(MINUTE, "stop", Side.SELL, "1", "95.0", trigger_on_mark=True)
    assert fills(bench.bar(2, "100", "100", "90", "100")) == []
    # It triggers on the mark and trades around the last trade.
    assert fills(bench.bar(3, "100", "100", "94.95", "100", is_mark=True)) == [("stop", "100.0", "1.000")]


def test_a_bar_of_marks_liquidates_at_its_worst() -> None:
    bench = Bench(PLAIN, money="100")
    bench.bar(1, "1000")
    bench.submit(MINUTE, "long", Side.BUY, "1")
    # 100 of margin at 1,000 with a rate of 0.4 %: liquidated at 900 / 0.996 = 903.6.
    assert not any(isinstance(r, Liquidated) for r in bench.bar(2, "1000", "1000", "903.7", "1000", is_mark=True))
    (found,) = [r for r in bench.bar(3, "1000", "1000", "903.6", "1000", is_mark=True) if isinstance(r, Liquidated)]
    assert (found.mark, found.qty) == (D("903.6"), D("1.000"))


def test_quotes_alone_trigger_on_the_side_they_trade_on() -> None:
    bench = Bench(PLAIN)
    bench.market(0, Quote(0, PERP.id, 1, 1_000, 9_000, 1_002, 9_000))
    bench.stop(1, "stop", Side.SELL, "1", "99.0")
    assert fills(bench.market(2, Quote(2, PERP.id, 2, 991, 9_000, 993, 9_000))) == []
    assert fills(bench.market(3, Quote(3, PERP.id, 3, 990, 9_000, 1_000, 9_000))) == [("stop", "99.0", "1.000")]


def test_a_take_profit_trades_at_its_trigger() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.stop(MINUTE, "profit", Side.SELL, "1", "105.0", type=OrderType.TAKE_PROFIT_MARKET)
    assert fills(bench.bar(2, "100", "110", "100", "101")) == [("profit", "105.0", "1.000")]


def test_a_stop_that_came_within_a_bar_meets_its_close() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.stop(MINUTE + 5, "stop", Side.SELL, "1", "95.0")
    assert fills(bench.bar(2, "100", "100", "90", "95.1")) == []
    bench.stop(2 * MINUTE + 5, "late", Side.SELL, "1", "94.0")
    # The first was there all along and trades at its price; the second only learns of the close.
    reports = bench.bar(3, "95.1", "95.1", "90", "92")
    assert fills(reports) == [("stop", "95.0", "1.000"), ("late", "92.0", "1.000")]


def test_a_waiting_order_gets_no_more_than_the_share_either() -> None:
    bench = Bench(evolve(PLAIN, participation=D("0.1")))
    bench.submit(0, "a", Side.BUY, "8", "101.0")
    bench.submit(0, "b", Side.BUY, "8", "102.0")
    # The dearer bid first: 5 of 50, then 3 and 2 of 50.
    assert fills(bench.bar(1, "100", volume="50")) == [("b", "102.0", "5.000")]
    assert fills(bench.bar(2, "100", volume="50")) == [("b", "102.0", "3.000"), ("a", "101.0", "2.000")]


def test_those_who_come_share_what_is_left_of_the_volume() -> None:
    bench = Bench(evolve(PLAIN, participation=D("0.1")))
    bench.bar(1, "100", volume="50")
    assert fills(bench.submit(MINUTE, "a", Side.BUY, "3")) == [("a", "100.0", "3.000")]
    assert fills(bench.submit(MINUTE, "b", Side.SELL, "3")) == [("b", "100.0", "2.000")]


def test_a_quote_within_a_bar_is_not_replaced_by_its_close() -> None:
    bench = Bench(PLAIN)
    bench.bar(1, "100")
    bench.market(2 * MINUTE - 5, Quote(0, PERP.id, 1, 1_009, 9_000, 1_011, 9_000))
    bench.bar(2, "100", "102", "100", "100")
    assert fills(bench.submit(2 * MINUTE, "a", Side.BUY, "1")) == [("a", "101.1", "1.000")]
    bench.bar(3, "103")
    assert fills(bench.submit(3 * MINUTE, "b", Side.BUY, "1")) == [("b", "103.0", "1.000")]
