"""What a position is worth and how far from trouble, by hand-made books."""

from decimal import Decimal
from typing import Any

import pytest

from actors.ledger import Ledger
from actors.margin_monitor import MarginMonitor
from actors.messages import FillEvent, PositionUpdate, WalletUpdate
from actors.statistics_state import Reported, StatisticsState
from daemon.metrics.positions import Facts, Survey
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import PositionSide, Side
from venues.model.position import position_key
from venues.port import MarkPrice
from venues.rules.binance_margin import PoolPosition, cross_liquidation_price

D = Decimal
SECOND = 1_000_000_000
BRACKETS = (Bracket(D(0), D(1_000_000), D("0.01"), D(0), 50),)
BOTH = PositionSide.BOTH


def spec(symbol: str, kind: InstrumentKind = InstrumentKind.PERPETUAL, quote: str = "USDT", **more: Any) -> Instrument:
    return Instrument("v", symbol, kind, symbol[:3], quote, tick_size=D("0.1"), lot_size=D("0.001"), **more)


BTC = spec("BTCUSDT", brackets=BRACKETS)
ETH = spec("ETHUSDT", brackets=BRACKETS)
DATED = spec("ETHQ", InstrumentKind.FUTURE, maintenance_margin=D(50), multiplier=D(10))
COIN = spec("BTCUSD", quote="USD", inverse=True, multiplier=D(100), brackets=BRACKETS)
SPOT = spec("BTCSPOT", InstrumentKind.SPOT)
CROSS = spec("ETHBTC", quote="BTC", brackets=BRACKETS)
SPECS = {one.id: one for one in (BTC, ETH, DATED, COIN, SPOT, CROSS)}


class Book:
    """A ledger and a margin monitor that hear the same."""

    def __init__(self, usdt: str = "1000") -> None:
        self.ledger = Ledger(SPECS, {"a": {"USDT": D(usdt), "BTC": D(0)}}, name="ledger")
        self.margin = MarginMonitor(SPECS, ["a"], name="margin_monitor")
        self.statistics = StatisticsState()
        self.trades = 0
        self.margin.handle(0, WalletUpdate(0, "a", "USDT", D(usdt)))

    def hold(self, one: Instrument, qty: str, price: str, side: PositionSide = BOTH) -> "Book":
        self.trades += 1
        way = Side.BUY if D(qty) > 0 else Side.SELL
        fill = Fill(
            *(0, "a", one.id, "c", str(self.trades), way, D(price), abs(D(qty)), Liquidity.TAKER, D(0), "USDT"),
            FillReason.TAKER,
            side,
        )
        self.ledger.handle(0, FillEvent(0, "", "", "", fill))
        self.margin.handle(0, PositionUpdate(0, "a", one.id, side, D(qty), D(price), D(0)))
        return self

    def mark(self, one: Instrument, price: str, now: int = 0) -> "Book":
        for actor in (self.ledger, self.margin):
            actor.handle(now, MarkPrice(now, one.id, D(price)))
        return self

    def named(self, one: Instrument, qty: str, price: str | None, side: PositionSide = BOTH) -> "Book":
        reported = Reported(0, D(qty), None if price is None else D(price))
        self.statistics.reported.setdefault("a", {})[position_key("a", one.id, side)] = reported
        return self

    def facts(self, now: int = 0, isolated: tuple[str, ...] = ()) -> list[Facts]:
        return list(self.survey(isolated).facts(now))

    def survey(self, isolated: tuple[str, ...] = ()) -> Survey:
        return Survey(self.ledger, self.margin, self.statistics, isolated)


def test_a_position_s_value_profit_leverage_and_coverage():
    [one] = Book().hold(BTC, "0.1", "20000").mark(BTC, "21000").facts()
    assert (one.value, one.profit) == (D(2_100), D(100))
    assert one.leverage == D(2_100) / D(1_100)
    assert one.coverage == D(1_100) / D(21)


@pytest.mark.parametrize(("qty", "profit"), [("-0.1", -100), ("0.1", 100)])
def test_signs(qty, profit):
    [one] = Book().hold(BTC, qty, "20000").mark(BTC, "21000").facts()
    assert one.value == D(qty) * 21_000
    assert one.profit == profit


def test_without_a_mark_nothing_is_known():
    assert Book().hold(BTC, "0.1", "20000").facts() == [Facts("a", BTC, BOTH)]


def test_a_mark_that_is_too_old_values_but_margins_nothing():
    [one] = Book().hold(BTC, "0.1", "20000").mark(BTC, "21000").named(BTC, "0.1", "11000").facts(now=16 * SECOND)
    assert one == Facts("a", BTC, BOTH, D(2_100), D(100))


@pytest.mark.parametrize(
    ("qty", "named", "mark", "distance"),
    [
        ("0.1", "18900", "21000", "0.1"),
        ("0.1", "21000", "21000", "0"),
        ("0.1", "23100", "21000", "-0.1"),
        ("-0.1", "23100", "21000", "0.1"),
        ("-0.1", "18900", "21000", "-0.1"),
    ],
)
def test_the_distance_is_to_the_price_the_venue_named(qty, named, mark, distance):
    [one] = Book().hold(BTC, qty, "20000").mark(BTC, mark).named(BTC, qty, named).facts(isolated=("a",))
    assert one.distance == D(distance)


def pool_price(*held: tuple[Instrument, str, str, str], target: Instrument, wallet: str = "1000") -> Decimal | None:
    positions = [PoolPosition(s.id, BOTH, D(q), D(entry), s.brackets, D(m)) for s, q, entry, m in held]
    return cross_liquidation_price(D(wallet), target.id, positions)


@pytest.mark.parametrize("named", [("0.2", "15000"), ("0.1", None)], ids=["other quantity", "no price"])
def test_without_a_fitting_word_of_the_venue_the_rules_are_asked(named):
    book = Book().hold(BTC, "0.1", "20000").mark(BTC, "21000").named(BTC, *named)
    [one] = book.facts()
    price = pool_price((BTC, "0.1", "20000", "21000"), target=BTC)
    assert price is not None
    assert one.distance == (21_000 - price) / 21_000
    [isolated] = book.facts(isolated=("a",))
    assert isolated.distance is None


def test_other_positions_of_the_pool_bear_on_the_distance():
    held = (BTC, "0.1", "20000", "21000"), (ETH, "-1", "1500", "1600")
    book = Book().hold(BTC, "0.1", "20000").hold(ETH, "-1", "1500").mark(BTC, "21000").mark(ETH, "1600")
    facts = book.facts()
    for one, target, mark, sign in zip(facts, (BTC, ETH), (21_000, 1_600), (1, -1), strict=True):
        price = pool_price(*held, target=target)
        assert price is not None
        assert one.distance == sign * (mark - price) / mark
    assert book.survey().highest_leverage(facts) == (D(2_100) + D(1_600)) / D(1_000)


def test_long_and_short_of_one_contract_share_their_distance():
    book = Book(usdt="100").hold(BTC, "0.1", "20000", PositionSide.LONG).hold(BTC, "-0.02", "20000", PositionSide.SHORT)
    facts = book.mark(BTC, "20000").facts()
    assert [one.side for one in facts] == [PositionSide.LONG, PositionSide.SHORT]
    assert facts[0].distance is not None
    assert facts[1].distance == -facts[0].distance


def test_a_contract_margined_by_money_counts_for_the_others_and_has_no_distance_itself():
    book = Book().hold(BTC, "0.1", "20000").hold(DATED, "1", "1500").mark(BTC, "20000").mark(DATED, "1500")
    first, second = book.facts()
    alone = Book(usdt="950").hold(BTC, "0.1", "20000").mark(BTC, "20000").facts()[0]
    assert first.distance == alone.distance
    assert second.distance is None
    assert second.value == 15_000


def test_an_unmarked_neighbour_leaves_the_pool_unknown():
    first, second = Book().hold(BTC, "0.1", "20000").hold(ETH, "1", "1500").mark(BTC, "21000").facts()
    assert (first.value, first.leverage, first.coverage, first.distance) == (D(2_100), None, None, None)
    assert second == Facts("a", ETH, BOTH)


def test_a_long_that_no_price_liquidates_has_no_distance():
    [one] = Book(usdt="100000").hold(BTC, "0.1", "20000").mark(BTC, "21000").facts()
    assert one.coverage is not None
    assert one.distance is None


def test_spot_has_a_value_and_no_margin():
    [one] = Book().hold(SPOT, "0.1", "20000").mark(SPOT, "21000").facts()
    assert one == Facts("a", SPOT, BOTH, D(2_100), D(100))
    assert Book().survey().highest_leverage([one]) is None


def test_an_inverse_contract_is_worth_its_quote_money():
    [one] = Book().hold(COIN, "10", "20000").mark(COIN, "25000").mark(SPOT, "25000").facts()
    assert one.value == 1_000
    assert one.profit == (D(1_000) / 20_000 - D(1_000) / 25_000) * 25_000
    assert one.distance is None


def test_a_value_in_a_coin_is_converted_or_unknown():
    book = Book().hold(CROSS, "2", "0.05").mark(CROSS, "0.06")
    [unknown] = book.facts()
    assert (unknown.value, unknown.profit) == (None, None)
    [one] = book.mark(SPOT, "20000").facts()
    assert (one.value, one.profit) == (D(2_400), D(400))


def test_highest_leverage_is_unknown_as_soon_as_one_is():
    book = Book()
    facts = [Facts("a", BTC, BOTH, leverage=D(2)), Facts("b", ETH, BOTH, leverage=D(3)), Facts("a", ETH, BOTH)]
    assert book.survey().highest_leverage(facts) is None
    assert book.survey().highest_leverage(facts[:2]) == 3
    assert book.survey().highest_leverage([]) is None


def test_a_flat_position_is_no_position():
    assert Book().hold(BTC, "0.1", "20000").hold(BTC, "-0.1", "20000").mark(BTC, "1").facts() == []


def test_a_pool_that_is_lost_has_no_leverage():
    [one] = Book(usdt="50").hold(BTC, "0.1", "20000").mark(BTC, "10000").facts()
    assert one.leverage is None
    assert one.coverage == D(50 - 1_000) / D(10)
    assert one.distance is not None
    assert one.distance < 0


def test_an_entry_that_no_rule_takes_leaves_the_distance_unknown():
    [one] = Book().hold(BTC, "0.1", "0").mark(BTC, "10000").facts()
    assert (one.value, one.distance) == (D(1_000), None)
