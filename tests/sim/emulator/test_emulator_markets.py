"""What the public is told: rules that agree with what is refused, books, times, funding; made and recorded markets."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from emulated_venue import START, Emulated

from sim.emulator.host import Host, HostSettings
from sim.emulator.listing_table import brackets, listings, quarterly_delivery
from sim.emulator.market_source import RecordingSource, SyntheticPace, synthetic
from sim.emulator.routes import Params
from venues.port import BookDelta, BookSnapshot, FundingRate, LiquidationPrint, MarkPrice, Trade
from venues.rules.binance_margin import check_brackets

MS = 1_700_000_000_000
STREAMS = {"depthUpdate": "btcusdt@depth@0ms", "bookTicker": "btcusdt@bookTicker"}
HOUR = 3_600 * 1_000_000_000


@pytest.fixture
def venue() -> Emulated:
    return Emulated()


def _filters(row: Any) -> dict[str, Any]:
    return {one["filterType"]: one for one in row["filters"]}


def test_exchange_info_tells_the_rules_that_orders_are_held_to(venue: Emulated) -> None:
    told = venue.ask("GET", "/fapi/v1/exchangeInfo")
    rows = {row["symbol"]: row for row in told["symbols"]}
    assert [row["contractType"] for row in told["symbols"]] == ["PERPETUAL", "PERPETUAL", "NEXT_QUARTER"]
    assert rows["BTCUSDT"]["deliveryDate"] == 4_133_404_800_000
    filters = _filters(rows["BTCUSDT"])
    tick, step = filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]
    assert (tick, step) == ("0.10", "0.001")
    # A price precision of 2 is not the tick. Source: facts E.
    assert rows["BTCUSDT"]["pricePrecision"] == 2
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    price = 99_000 + Decimal(tick)
    assert venue.ask("POST", "/fapi/v1/order", quantity=Decimal(step), price=price, **order)["status"] == "NEW"
    assert venue.code("POST", "/fapi/v1/order", quantity=Decimal(step) / 2, price=price, **order) == -1111
    assert venue.code("POST", "/fapi/v1/order", quantity=step, price=price + Decimal(tick) / 2, **order) == -4014
    assert "MAX_NUM_ALGO_ORDERS" not in filters
    assert venue.ask("GET", "/fapi/v1/exchangeInfo", symbol="ETHUSDT")["symbols"] == [rows["ETHUSDT"]]


@pytest.mark.parametrize(
    ("day", "delivered"),
    [
        # Last Fridays of a quarter at 8:00 UTC. Source: facts E (220325 -> 1648195200000).
        (datetime(2022, 1, 3, tzinfo=UTC), datetime(2022, 3, 25, 8, tzinfo=UTC)),
        (datetime(2026, 9, 21, tzinfo=UTC), datetime(2026, 12, 25, 8, tzinfo=UTC)),
        (datetime(2026, 12, 20, tzinfo=UTC), datetime(2027, 3, 26, 8, tzinfo=UTC)),
    ],
)
def test_the_quarterly_is_one_that_is_not_about_to_end(day: datetime, delivered: datetime) -> None:
    assert quarterly_delivery(day) == delivered


def test_every_bracket_table_satisfies_the_venues_recursion() -> None:
    for one in listings("usdm", START).values():
        check_brackets(one.spec.brackets)
    rows = brackets((("50000", 125, "0.004"), ("600000", 100, "0.005")))
    assert rows[1].cum == 50


@pytest.mark.parametrize(("limit", "shown"), [(5, 3), (1000, 3)])
def test_a_book_is_told_in_the_depths_there_are(venue: Emulated, limit: int, shown: int) -> None:
    told = venue.ask("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=limit)
    assert told["bids"][0] == ["99990.00", "1.000"]
    assert (len(told["bids"]), len(told["asks"])) == (shown, shown)
    assert venue.code("GET", "/fapi/v1/depth", symbol="BTCUSDT", limit=7) == -4021


@pytest.mark.parametrize(("limit", "weight"), [(None, 10), (5, 2), (50, 2), (100, 5), (500, 10), (1000, 20)])
def test_depth_weighs_what_it_shows(venue: Emulated, limit: int | None, weight: int) -> None:
    named = {} if limit is None else {"limit": str(limit)}
    assert venue.table["GET", "/fapi/v1/depth"].cost(Params(named)) == weight


def test_the_clock_told_is_the_venues_with_its_skew(venue: Emulated) -> None:
    assert venue.ask("GET", "/fapi/v1/time") == {"serverTime": START // 1_000_000}
    venue.wait(1.5)
    venue.session.skew_ns = -500_000_000
    assert venue.ask("GET", "/fapi/v1/time") == {"serverTime": START // 1_000_000 + 1_000}


def test_funding_is_told_where_it_is_paid(venue: Emulated) -> None:
    venue.play(
        MarkPrice(
            venue.now, venue.host.listings["BTCUSDT"].id, Decimal(100_000), Decimal(99_900), Decimal("0.0002"), START
        )
    )
    told = venue.ask("GET", "/fapi/v1/premiumIndex", symbol="BTCUSDT")
    assert (told["markPrice"], told["lastFundingRate"]) == ("100000.00000000", "0.00020000")
    venue.fund("BTCUSDT", "0.0002", "100000")
    last = venue.ask("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=1)
    assert last == [
        {
            "symbol": "BTCUSDT",
            "fundingTime": START // 1_000_000,
            "fundingRate": "0.00020000",
            "markPrice": "100000.00000000",
            "rateType": "Regular",
        }
    ]
    rows = venue.ask("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=1000)
    assert [row["fundingTime"] for row in rows] == sorted({row["fundingTime"] for row in rows})
    assert {row["symbol"] for row in venue.ask("GET", "/fapi/v1/fundingInfo")} == {"BTCUSDT", "ETHUSDT"}


def test_a_made_market_is_the_same_for_the_same_seed_and_goes_forward() -> None:
    listed = listings("usdm", START)
    first, again, other = (list(islice(synthetic(listed, seed, START, SyntheticPace()), 500)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert [ns for ns, _ in first] == sorted(ns for ns, _ in first)


def test_the_interval_of_funding_is_told_as_it_is_paid() -> None:
    venue = Emulated(pace=SyntheticPace(funding_interval_hours=1))
    assert {row["fundingIntervalHours"] for row in venue.ask("GET", "/fapi/v1/fundingInfo")} == {1}
    venue.play(
        MarkPrice(venue.now, venue.host.listings["BTCUSDT"].id, Decimal(1), Decimal(1), Decimal("0.0001"), START + HOUR)
    )
    rows = venue.ask("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=10)
    times = [row["fundingTime"] for row in rows]
    assert [later - earlier for earlier, later in pairwise(times)] == [3_600_000] * 9


def test_liquidations_of_others_are_told_with_the_trades_that_did_them() -> None:
    listed = listings("usdm", START)
    events = [message for _, message in islice(synthetic(listed, 1, START, SyntheticPace()), 20_000)]
    told = [index for index, message in enumerate(events) if isinstance(message, LiquidationPrint)]
    assert len(told) > 5
    for index in told:
        print_, trade = events[index], events[index - 1]
        assert isinstance(print_, LiquidationPrint)
        assert isinstance(trade, Trade)
        assert (print_.instrument, print_.side) == (trade.instrument, trade.aggressor)
        assert "_" not in print_.instrument


def test_a_long_step_does_not_step_over_a_funding_stamp() -> None:
    listed = listings("usdm", START)
    stamp = START // (8 * HOUR) * 8 * HOUR + 8 * HOUR
    pace = SyntheticPace(step_ns=7_000_000_000)
    paid = []
    for ns, message in synthetic(listed, 1, stamp - 60_000_000_000, pace):
        if ns > stamp + 60_000_000_000:
            break
        if isinstance(message, FundingRate):
            paid.append(message.instrument)
    assert sorted(paid) == ["binance:BTCUSDT", "binance:ETHUSDT"]


def test_a_venue_that_was_held_up_catches_up_in_order() -> None:
    clock = [0]
    host = Host(HostSettings(), wall=lambda: START, monotonic=lambda: clock[0])
    heard: list[BookDelta] = []
    host.subscribe(lambda event: heard.append(event) if isinstance(event, BookDelta) else None)
    clock[0] = 5_000_000_000
    host.catch_up()
    assert heard[-1].ts > START + 4_000_000_000
    assert [one.ts for one in heard] == sorted(one.ts for one in heard)
    for name in {one.instrument for one in heard}:
        mine = [one for one in heard if one.instrument == name]
        assert [one.prev_id for one in mine[1:]] == [one.last_id for one in mine[:-1]]
        book = host.book(name)
        assert book is not None
        assert book.update_id == mine[-1].last_id


def test_a_faster_venue_lives_more_time() -> None:
    clock = [0]
    host = Host(HostSettings(speed=60.0), wall=lambda: START, monotonic=lambda: clock[0], events=iter(()))
    clock[0] = 1_000_000_000
    assert host.now() == START + 60_000_000_000


def test_a_recording_is_played_over_and_over_with_funding(tmp_path: Path) -> None:
    frames = [
        _frame(1_000, {"e": "depthUpdate", "E": MS + 1_000, "T": MS + 1_000, "s": "BTCUSDT", "U": 1, "u": 5, "pu": 0,
                       "b": [["100.0", "1"]], "a": [["100.2", "1"]]}),
        f'{(MS + 1_100) * 1_000_000} {{"lastUpdateId": 5, "bids": [["100.0", "1.000"]], '
        '"asks": [["100.2", "1.000"]]}',
        _frame(1_200, {"e": "depthUpdate", "E": MS + 1_200, "T": MS + 1_200, "s": "BTCUSDT", "U": 6, "u": 7, "pu": 5,
                       "b": [["100.1", "2"]], "a": []}),
        _frame(1_300, {"e": "bookTicker", "E": MS + 1_300, "T": MS + 1_300, "s": "BTCUSDT", "u": 7,
                       "b": "100.1", "B": "2", "a": "100.2", "A": "1"}),
    ]  # fmt: skip
    path = tmp_path / "frames.txt"
    path.write_text("\n".join(frames) + "\n")
    source = RecordingSource.open(path, listings("usdm", START))
    assert list(source.listings) == ["BTCUSDT"]
    events = list(islice(source.events(START, SyntheticPace()), 12))
    assert [ns for ns, _ in events] == sorted(ns for ns, _ in events)
    assert events[0][0] >= START
    kinds = [type(message) for _, message in events]
    assert kinds.count(BookSnapshot) >= 2
    mark = next(message for _, message in events if isinstance(message, MarkPrice))
    assert (mark.mark, mark.rate) == (Decimal("100.15"), Decimal("0.0001"))


def _frame(local_ms: int, data: dict[str, Any]) -> str:
    return f"{(MS + local_ms) * 1_000_000} " + json.dumps({"stream": STREAMS[data["e"]], "data": data})
