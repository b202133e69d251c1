"""While one connection replaces another they need not be in step: nothing is lost, told twice or out of order."""

import json
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.binance.book_feed import HELD_NS, BinanceFeed
from venues.binance.newest import Newest
from venues.binance.settings import GatewaySettings
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import PositionSide
from venues.net.websocket import Down, DownReason
from venues.port import AccountReport, BookDelta, Message, PositionReport, Quote, Trade

SPEC: Final = Instrument(
    "binance", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001")
)
OLD, NEW = 1, 2


class Feed:
    """A feed whose connections are played by hand."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        settings = GatewaySettings("binance", "usdm", "http://127.0.0.1:1", "ws://a", "ws://b", "ws://c")
        self.feed = BinanceFeed(settings, [SPEC], self.heard.extend, lambda: 0, fetches_snapshots=False)
        self.now = 10 * HELD_NS
        self.up(OLD)

    def up(self, connection: int) -> None:
        self.feed._on_up("books", connection)
        self.feed._on_up("trades", connection)

    def down(self, connection: int) -> None:
        for name in ("books", "trades"):
            self.feed._on_down(name, Down(connection, DownReason.ROTATED, ""))

    def say(self, connection: int, data: dict[str, object], name: str = "books") -> None:
        self.feed._on_frame(name, json.dumps(data).encode(), self.now, connection)

    def depth(self, connection: int, number: int) -> None:
        """The `number`-th event: ten updates each. Source of the fields: facts D2."""
        self.say(
            connection,
            {"e": "depthUpdate", "E": number, "T": number, "s": "BTCUSDT", "U": 10 * number - 9, "u": 10 * number}
            | {"pu": 10 * (number - 1), "b": [["100.0", "1.000"]], "a": []},
        )

    def trade(self, connection: int, number: int) -> None:
        self.say(
            connection,
            {"e": "aggTrade", "E": 1, "T": 1, "s": "BTCUSDT", "a": number, "p": "100.0", "q": "1.000", "m": True},
            "trades",
        )

    def quote(self, connection: int, number: int) -> None:
        self.say(
            connection,
            {"e": "bookTicker", "u": number, "s": "BTCUSDT", "E": 1, "T": 1}
            | {"b": "100.0", "B": "1.000", "a": "100.1", "A": "1.000"},
        )

    def deltas(self) -> list[int]:
        return [one.last_id // 10 for one in self.heard if isinstance(one, BookDelta)]


@given(st.data())
def test_whatever_the_order_in_which_two_connections_tell_it_every_delta_is_told_once_in_order(
    data: st.DataObject,
) -> None:
    feed = Feed()
    for number in range(1, 4):
        feed.depth(OLD, number)
    feed.up(NEW)
    # The old one ends with 12, the new one begins with anything up to there: together they have everything.
    begins = data.draw(st.integers(1, 12))
    left = {OLD: list(range(4, 13)), NEW: list(range(begins, 21))}
    while any(left.values()):
        connection = data.draw(st.sampled_from([one for one, numbers in left.items() if numbers]))
        feed.depth(connection, left[connection].pop(0))
    feed.down(OLD)
    assert feed.deltas() == list(range(1, 21))
    assert feed.feed.counters.gaps == 0


@given(st.lists(st.tuples(st.sampled_from([OLD, NEW]), st.integers(1, 60)), max_size=40))
def test_trades_are_told_once_however_late(said: list[tuple[int, int]]) -> None:
    feed = Feed()
    feed.up(NEW)
    for connection, number in said:
        feed.trade(connection, number)
    told = [one.trade_id for one in feed.heard if isinstance(one, Trade)]
    assert len(told) == len(set(told))
    assert set(told) == {number for _, number in said}


def test_a_quote_of_before_is_not_told_again() -> None:
    feed = Feed()
    feed.quote(OLD, 5)
    feed.up(NEW)
    for connection, number in ((NEW, 7), (OLD, 6), (OLD, 7), (NEW, 8)):
        feed.quote(connection, number)
    assert [one.update_id for one in feed.heard if isinstance(one, Quote)] == [5, 7, 8]


def test_a_gap_that_neither_closes_is_told_after_a_while() -> None:
    feed = Feed()
    feed.depth(OLD, 1)
    feed.up(NEW)
    feed.depth(NEW, 3)
    feed.depth(OLD, 3)
    assert feed.deltas() == [1]
    feed.now += HELD_NS + 1
    feed.depth(NEW, 4)
    assert feed.deltas() == [1, 3, 4]
    assert feed.feed.counters.gaps == 1


@pytest.mark.parametrize("ends", [OLD, NEW])
def test_what_is_held_is_told_when_one_connection_is_left(ends: int) -> None:
    feed = Feed()
    feed.depth(OLD, 1)
    feed.up(NEW)
    feed.depth(NEW, 3)
    feed.down(ends)
    assert feed.deltas() == [1, 3]
    assert feed.feed.counters.gaps == 1


def test_a_single_connection_may_count_anew() -> None:
    feed = Feed()
    feed.depth(OLD, 500)
    feed.quote(OLD, 5_000)
    feed.depth(OLD, 1)
    feed.quote(OLD, 1)
    assert feed.deltas() == [500, 1]
    assert [one.update_id for one in feed.heard if isinstance(one, Quote)] == [5_000, 1]


def test_positions_and_balances_never_go_back() -> None:
    newest = Newest()

    def position(ts: int, qty: int, side: PositionSide = PositionSide.BOTH) -> PositionReport:
        return PositionReport(ts, "me", SPEC.id, side, Decimal(qty))

    def balances(ts: int, **told: int) -> AccountReport:
        return AccountReport(ts, "me", {asset: Decimal(one) for asset, one in told.items()})

    assert newest.pick([position(5, 1), balances(5, USDT=10, BNB=1)]) == [position(5, 1), balances(5, USDT=10, BNB=1)]
    assert newest.pick([position(4, 2), balances(4, USDT=9)]) == []
    assert newest.pick([position(4, 2, PositionSide.LONG), balances(4, USDT=9, BTC=1)]) == [
        position(4, 2, PositionSide.LONG),
        balances(4, BTC=1),
    ]
    # Two changes of one instant come in their order.
    assert newest.pick([position(5, 3)]) == [position(5, 3)]
    assert newest.outdated == 3
