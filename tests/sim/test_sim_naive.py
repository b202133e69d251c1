"""The venue against one written again from the scenario text: same fills, statuses, positions and money."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from naive_venue import NaiveVenue

from sim.scenario import Scenario

Document = dict[str, Any]

BUYS_TO, SELLS_FROM = 1000, 1001
LOW, HIGH = 998, 1003
quantities = st.integers(1, 5)
times = st.integers(0, 30)
sides = st.sampled_from(["buy", "sell"])


def price(tick: int) -> str:
    return str(Decimal(tick) / 10)


def side_of_book(low: int, high: int) -> st.SearchStrategy[list[list[str]]]:
    """Levels within one side's usual prices, or now and then anywhere, so that quotes cross own orders."""
    level = st.tuples(st.one_of(*[st.integers(low, high)] * 5, st.integers(LOW, HIGH)), st.integers(0, 4))
    levels = st.lists(level, max_size=3, unique_by=lambda row: row[0])
    return levels.map(lambda rows: [[price(tick), str(lots)] for tick, lots in rows])


bids, asks = side_of_book(LOW, BUYS_TO), side_of_book(SELLS_FROM, HIGH)


def event(kind: str, **keys: object) -> Document:
    return {"type": kind, "symbol": "BTCUSDT", **keys}


def trades(aggressor: str, low: int, high: int) -> st.SearchStrategy[Document]:
    made = st.builds(lambda tick, lots: (price(tick), str(lots)), st.integers(low, high), st.integers(1, 8))
    return made.map(lambda pair: event("trade", price=pair[0], qty=pair[1], aggressor=aggressor))


events = st.one_of(
    st.builds(lambda b, a: event("book_snapshot", bids=b, asks=a), bids, asks),
    *[st.builds(lambda b, a: event("book_delta", bids=b, asks=a), bids, asks)] * 3,
    *[trades("sell", LOW, BUYS_TO)] * 3,
    *[trades("buy", SELLS_FROM, HIGH)] * 3,
    trades("sell", LOW, HIGH),
)


@st.composite
def actions(draw: st.DrawFn, count: int) -> list[Document]:
    """Orders that cannot meet each other: buys at or below one price, sells above it; market orders only one way."""
    one_way = draw(st.sampled_from([None, "buy", "sell"]))
    found: list[Document] = []
    for index in range(count):
        t = draw(times)
        known = [act for act in found if act["action"] == "submit" and act["type"] == "limit" and act["tif"] == "GTC"]
        action = draw(st.sampled_from(["submit", "submit", "submit", "submit", "modify", "cancel", "cancel_all"]))
        if action == "cancel_all":
            found.append({"t": t, "action": action})
        elif action != "submit" and known:
            target = draw(st.sampled_from(known))
            change = {"t": max(t, target["t"]), "action": action, "id": target["id"]}
            if action == "modify":
                change |= {"qty": str(draw(quantities)), "price": limit(draw, target["side"])}
            found.append(change)
        else:
            side = one_way or draw(sides)
            order = {"t": t, "action": "submit", "id": f"o{index}", "symbol": "BTCUSDT", "side": side}
            if one_way and draw(st.integers(0, 4)) == 0:
                order |= {"type": "market"}
            else:
                tif = draw(st.sampled_from(["GTC", "GTC", "GTC", "GTC", "GTC", "GTX", "IOC", "FOK"]))
                order |= {"type": "limit", "tif": tif, "price": limit(draw, side)}
            found.append(order | {"qty": str(draw(quantities))})
    return found


START = {
    "t": 0,
    "type": "book_snapshot",
    "symbol": "BTCUSDT",
    "bids": [["100.0", "3"], ["99.9", "2"], ["99.8", "4"]],
    "asks": [["100.1", "2"], ["100.2", "3"]],
}


def limit(draw: st.DrawFn, side: str) -> str:
    return price(draw(st.integers(LOW, BUYS_TO) if side == "buy" else st.integers(SELLS_FROM, HIGH)))


@st.composite
def documents(draw: st.DrawFn) -> Document:
    balance = draw(st.sampled_from(["100", "650", "1000000", "1000000"]))
    bracket = {"floor": "0", "cap": "1000000000", "mmr": "0.004", "cum": "0", "max_leverage": 125}
    return {
        "name": "random",
        "venue": {
            "rules": draw(st.sampled_from(["binance_usdm", "cme"])),
            "latency": {"feed_ns": 0, "entry_ns": draw(st.integers(0, 3)), "response_ns": draw(st.integers(0, 3))},
            "queue_model": "risk_averse",
            "fees": {"maker": "0.0002", "taker": "0.0005"},
        },
        "instruments": [
            {
                "symbol": "BTCUSDT",
                "kind": "perpetual",
                "tick_size": "0.1",
                "lot_size": "1",
                "quote": "USDT",
                "brackets": [bracket],
            }
        ],
        "account": {"balances": {"USDT": balance}, "leverage": {"BTCUSDT": draw(st.sampled_from([1, 20]))}},
        "events": [START, *({"t": draw(times), **draw(events)} for _ in range(draw(st.integers(4, 16))))],
        "orders": draw(actions(draw(st.integers(1, 8)))),
    }


@settings(max_examples=200)
@given(documents())
def test_the_venue_agrees_with_the_text(document: Document) -> None:
    naive = NaiveVenue(document)
    naive.run()
    result: Document = Scenario.from_dict(json.loads(json.dumps(document))).run()
    fills = [
        (f["t"], f["t_local"], f["order"], Fraction(f["price"]), Fraction(f["qty"]), f["liquidity"], f["reason"])
        for f in result["fills"]
    ]
    assert fills == naive.fills
    assert {name: (order["status"], Fraction(order["filled_qty"])) for name, order in result["orders"].items()} == {
        name: (order.status, order.filled) for name, order in naive.orders.items()
    }
    assert {key: Fraction(held["qty"]) for key, held in result["positions"].items()} == (
        {"BTCUSDT": naive.position} if naive.position else {}
    )
    assert abs(Fraction(result["balances"]["USDT"]) - naive.balance) < Fraction(1, 10**9)
