"""The checks of the torture with gateways find what they look for: each is shown one thing that is wrong."""

import sqlite3
from copy import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from gateway_truth import (
    Book,
    Journal,
    breaks_are_told,
    fills_are_told,
    ids_come_once,
    money_agrees,
    nothing_is_naked_and_silent,
    orders_are_known,
    positions_are_sums,
)

from venues.model.fill import FillReason, Liquidity
from venues.model.order import OrderType, Side
from venues.port import OrderFilled, SubmitOrder

ORDER = {"clientOrderId": "bd-1", "side": "BUY", "origQty": "0.010", "type": "LIMIT", "price": "100.0"}
TRADE = {
    "id": 7, "side": "BUY", "isBuyer": True, "price": "100.0", "qty": "0.010", "quoteQty": "1.000",
    "commission": "0.002", "commissionAsset": "USDT",
}  # fmt: skip
SENT = SubmitOrder(
    1, "one-account", "one:BTCUSDT", "bd-1", Side.BUY, Decimal("0.010"), OrderType.LIMIT, Decimal("100.0")
)
FILL = OrderFilled(
    2, "one-account", "one:BTCUSDT", "bd-1", "5", "7", Side.BUY, Decimal("100.0"), Decimal("0.010"), Liquidity.TAKER,
    Decimal("0.002"), "USDT", FillReason.TAKER,
)  # fmt: skip


def sent(account: str) -> SubmitOrder:
    found = copy(SENT)
    found.account = account
    return found


def filled(**other: Decimal) -> OrderFilled:
    found = copy(FILL)
    for name, value in other.items():
        setattr(found, name, value)
    return found


KEY = ("one-account", "one:BTCUSDT", "7")


def book(**other: Any) -> Book:
    """Return the books of a futures account that bought once, other than told."""
    terms: dict[str, Any] = {
        "name": "one",
        "is_spot": False,
        "opened": Decimal(100),
        "orders": [ORDER],
        "trades": [TRADE],
        "placements": [{"clientOrderId": "bd-1", "times": 1, "differs": False}],
        "position": Decimal("0.010"),
        "wallet": Decimal("99.998"),
        "incomes": Decimal("-0.002"),
    }
    return Book(**terms | other)


def journal(**other: Any) -> Journal:
    terms: dict[str, Any] = {"orders": {"bd-1": [SENT]}, "fills": {KEY: FILL}}
    return Journal(**terms | other)


def executions(folder: Path, *keys: tuple[str, str, str]) -> Path:
    path = folder / "executions.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE fills (account, instrument, trade_id)")
        connection.executemany("INSERT INTO fills VALUES (?, ?, ?)", keys)
    connection.close()
    return path


def test_of_what_is_in_order_nothing_is_said(tmp_path: Path) -> None:
    one, held = book(), {"one:BTCUSDT": Decimal("0.010")}
    assert not list(ids_come_once([one], journal()))
    assert not list(orders_are_known([one], journal()))
    assert not list(fills_are_told([one], journal(), executions(tmp_path, KEY)))
    assert not list(positions_are_sums([one], held))
    assert not list(money_agrees([one], {"one-account": {"USDT": "99.998"}}, []))


@pytest.mark.parametrize(
    ("changed", "noted", "words"),
    [
        ({"placements": [{"clientOrderId": "bd-1", "times": 2, "differs": False}]}, {}, "2 times, with the same terms"),
        ({"placements": [{"clientOrderId": "bd-1", "times": 2, "differs": True}]}, {}, "2 times, with other terms"),
        ({"orders": [ORDER, ORDER]}, {}, "bd-1 was carried out 2 times at one"),
        ({}, {"orders": {"bd-1": [SENT, SENT]}}, "bd-1 was given to 2 orders"),
    ],
)
def test_an_id_that_comes_twice(changed: dict[str, Any], noted: dict[str, Any], words: str) -> None:
    (wrong,) = ids_come_once([book(**changed)], journal(**noted))
    assert words in wrong


@pytest.mark.parametrize(
    ("changed", "noted", "words"),
    [
        ({"orders": []}, {}, "bd-1 is at no venue"),
        ({"orders": [], "placements": []}, {"rejected": {"bd-1"}}, None),
        ({"orders": []}, {"absent": {"bd-1"}}, None),
        ({"placements": [{"clientOrderId": "x", "times": 1, "differs": False}]}, {}, "one was asked for x"),
        ({"orders": [ORDER, ORDER | {"clientOrderId": "x"}]}, {}, "x at one is not in the journal"),
        ({"orders": [ORDER | {"origQty": "0.020"}]}, {}, "in the journal"),
        ({"orders": [ORDER | {"price": "101"}]}, {}, "in the journal"),
        ({"orders": [ORDER | {"side": "SELL"}]}, {}, "in the journal"),
        ({}, {"orders": {"bd-1": [sent(account="two-account")]}}, "in the journal"),
    ],
)
def test_an_order_that_one_side_does_not_know(
    changed: dict[str, Any], noted: dict[str, Any], words: str | None
) -> None:
    found = list(orders_are_known([book(**changed)], journal(**noted)))
    assert found == [] if words is None else words in "\n".join(found)


@pytest.mark.parametrize(
    ("changed", "noted", "booked", "words"),
    [
        ({}, {"fills": {}}, [KEY], "the journal has not heard of"),
        ({"trades": []}, {}, [], "that the venue has not"),
        ({"trades": []}, {"fills": {}}, [KEY], "the venue has it not"),
        ({}, {}, [], "is not among the executions"),
        ({}, {}, [KEY, KEY], "among the executions 2 times"),
        ({}, {"fills": {KEY: filled(fee=Decimal(0))}}, [KEY], "at the venue and"),
        ({}, {"fills": {KEY: filled(qty=Decimal("0.011"))}}, [KEY], "at the venue and"),
        ({}, {"fills": {KEY: filled(price=Decimal(99))}}, [KEY], "at the venue and"),
    ],
)
def test_a_fill_that_is_lost_doubled_or_another(
    tmp_path: Path, changed: dict[str, Any], noted: dict[str, Any], booked: list[tuple[str, str, str]], words: str
) -> None:
    (wrong,) = fills_are_told([book(**changed)], journal(**noted), executions(tmp_path, *booked))
    assert words in wrong


@pytest.mark.parametrize(
    ("changed", "ours"),
    [
        ({}, "0.020"),
        ({"position": Decimal(0)}, "0.010"),
        ({"trades": [TRADE, TRADE]}, "0.010"),
        ({"is_spot": True}, "0"),
    ],
)
def test_a_position_that_is_not_the_sum_of_trades(changed: dict[str, Any], ours: str) -> None:
    assert list(positions_are_sums([book(**changed)], {"one:BTCUSDT": Decimal(ours)}))


def test_a_fee_in_kind_is_never_held() -> None:
    bought = TRADE | {"commission": "0.001", "commissionAsset": "BTC"}
    one = book(is_spot=True, trades=[bought], position=Decimal("0.009"), wallet=Decimal(99))
    assert not list(positions_are_sums([one], {"one:BTCUSDT": Decimal("0.009")}))
    assert not list(money_agrees([one], {"one-account": {"USDT": "99"}}, []))


@pytest.mark.parametrize(
    ("changed", "ours", "told", "is_fine"),
    [
        ({}, "99.999", [], False),
        ({}, "99.999", [("99.999", "99.998", None)], True),
        ({}, "99.999", [("99.999", "99.998", 5)], False),
        ({}, "99.998", [("99.999", "99.998", None)], False),
        ({"incomes": Decimal(0)}, "99.998", [], False),
    ],
)
def test_money_that_differs_must_have_been_told(
    changed: dict[str, Any], ours: str, told: list[tuple[str, str, int | None]], is_fine: bool
) -> None:
    mismatches = [
        {"account": "one-account", "what": "USDT", "ours": mine, "theirs": theirs, "ended_ns": ended}
        for mine, theirs, ended in told
    ]
    found = list(money_agrees([book(**changed)], {"one-account": {"USDT": ours}}, mismatches))
    assert bool(found) is not is_fine


@pytest.mark.parametrize(
    ("held", "legs", "halted", "is_fine"),
    [
        ({"one:BTCUSDT": "0.010", "two:BTCUSDT": "-0.010"}, ["0.010", "-0.010"], "", True),
        ({"one:BTCUSDT": "0.00999", "two:BTCUSDT": "-0.010"}, ["0.00999", "-0.010"], "", True),
        ({"one:BTCUSDT": "0.010"}, ["0.010", "-0.010"], "", False),
        ({"one:BTCUSDT": "0.010", "two:BTCUSDT": "-0.010"}, ["0.010", "0"], "", False),
        ({"one:BTCUSDT": "0.010"}, ["0.010"], "reduce_only: somebody looks", True),
    ],
)
def test_a_leg_that_stands_alone_stops_the_desk(
    held: dict[str, str], legs: list[str], halted: str, is_fine: bool
) -> None:
    baskets = [{"id": "b", "state": "broken", "legs": [{"position": one} for one in legs]}]
    found = list(nothing_is_naked_and_silent(baskets, {name: Decimal(qty) for name, qty in held.items()}, halted))
    assert bool(found) is not is_fine


def test_a_basket_that_broke_has_an_incident() -> None:
    broke = {"kind": "BasketUpdate", "text": "a broken", "fields": {"basket_id": "a", "state": "broken"}}
    told = {"kind": "Incident", "text": "", "fields": {"basket_id": "a"}}
    assert not list(breaks_are_told([broke, told]))
    assert list(breaks_are_told([broke]))
    assert not list(breaks_are_told([{**broke, "fields": {"basket_id": "a", "state": "flat"}}]))
