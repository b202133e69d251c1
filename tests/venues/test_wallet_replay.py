"""A recorded user stream: every wallet change that comes with its trade follows from the rules, to the last digit."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import parse_decimal
from venues.model.order import Side
from venues.model.position import Position

D = Decimal
BNB = Instrument("binance_usdm", "BNBUSDT", InstrumentKind.PERPETUAL, "BNB", "USDT", D("0.01"), D("0.01"))
# Commission rates of VIP 0 in March 2022, by isMakerTrade.
RATES = {True: D("0.0002"), False: D("0.0004")}


@frozen
class WalletChange:
    """One change of a wallet balance. `lacks` says why it cannot be reproduced; empty when it was, as `reproduced`."""

    event_ms: int
    change: Decimal
    reproduced: Decimal | None = None
    lacks: str = ""


def number(value: object) -> Decimal:
    return parse_decimal(value, "number")


def wallet_changes(events: list[dict[str, Any]]) -> Iterator[WalletChange]:
    """Yield every change of the wallet; an account update is followed by its trade, with the same transaction time."""
    wallet: Decimal | None = None
    held, part = Position("", BNB.id), ""
    for index, event in enumerate(events):
        if event["eventType"] != "ACCOUNT_UPDATE":
            continue
        if event["_file"] != part:
            held, part = Position("", BNB.id), event["_file"]
        update = event["updateData"]
        before, wallet = wallet, number(update["updatedBalances"][0]["walletBalance"])
        trade = _trade_of(event, events[index + 1 : index + 2])
        reproduced, lacks = _reproduce(held, trade, update["updateEventType"])
        held = _position(update["updatedPositions"], held)
        if before is None:
            yield WalletChange(event["eventTime"], D(0), None, "the balance before")
        elif wallet != before:
            yield WalletChange(event["eventTime"], wallet - before, reproduced, lacks)


def _trade_of(update: dict[str, Any], following: list[dict[str, Any]]) -> dict[str, Any] | None:
    for event in following:
        if event["eventType"] == "ORDER_TRADE_UPDATE" and event["transactionTime"] == update["transactionId"]:
            order: dict[str, Any] = event["order"]
            return order if order["executionType"] == "TRADE" else None
    return None


def _reproduce(held: Position, trade: dict[str, Any] | None, reason: str) -> tuple[Decimal | None, str]:
    if trade is None:
        return None, "its trade" if reason == "ORDER" else "the amount moved"
    qty, price = number(trade["lastFilledQuantity"]), number(trade["lastFilledPrice"])
    realized = held.apply(Side(trade["orderSide"].lower()), qty, price, BNB)
    assert realized == number(trade["realisedProfit"])
    if trade.get("commissionAmount") is None:
        return None, f"its commission, {(qty * price * RATES[trade['isMakerTrade']]).normalize():f}"
    commission = number(trade["commissionAmount"])
    assert commission == qty * price * RATES[trade["isMakerTrade"]]
    return realized - commission, ""


def _position(rows: list[dict[str, Any]], held: Position) -> Position:
    """Return the position as the venue states it; what was applied must have led to the same quantity."""
    for row in rows:
        qty = number(row["positionAmount"])
        assert not held.qty or held.qty == qty or not qty
        return Position("", BNB.id, qty=qty, cost=qty * number(row["entryPrice"]))
    return held


@pytest.fixture(scope="module")
def events(data_dir: Path) -> list[dict[str, Any]]:
    path = data_dir / "user-streams" / "binance-usdm-2022-03-dev.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_wallet_change_with_its_trade_reproduces_to_the_last_digit(events: list[dict[str, Any]]) -> None:
    with_trade = [each for each in wallet_changes(events) if each.reproduced is not None]
    assert len(with_trade) == 14
    assert [each for each in with_trade if each.reproduced != each.change] == []


def test_the_others_are_listed_with_what_the_stream_lacks(events: list[dict[str, Any]]) -> None:
    assert [(each.event_ms, each.lacks) for each in wallet_changes(events) if each.lacks] == [
        (1646146064282, "the balance before"),
        (1646146786430, "its trade"),
        (1646148189064, "its trade"),
        (1646148300211, "its commission, 0.0813"),
        (1646151096308, "its trade"),
        (1646384137973, "the amount moved"),
    ]


def test_the_absent_commission_is_what_is_missing(events: list[dict[str, Any]]) -> None:
    (change,) = [each.change for each in wallet_changes(events) if each.event_ms == 1646148300211]
    assert change == D("0.5") - D("0.0813")


def test_the_wallet_is_its_cross_and_isolated_parts(events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["eventType"] == "ACCOUNT_UPDATE":
            balance = event["updateData"]["updatedBalances"][0]
            isolated = [number(row["isolatedWalletAmount"]) for row in event["updateData"]["updatedPositions"]]
            assert number(balance["walletBalance"]) == number(balance["crossWalletBalance"]) + sum(isolated)
