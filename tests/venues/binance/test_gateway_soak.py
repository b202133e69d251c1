"""The soak of a whole gateway in its short form, and that it would notice what it looks for."""

import json
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import evolve

from benchmarks.held import Sample, SoakSettings
from benchmarks.soak_gateway import Client, Soak
from venues.model.order import Side
from venues.port import (
    AccountReport,
    BookDelta,
    OrderExpired,
    QueryKind,
    QueryResult,
    Quote,
    Trade,
    VenueDown,
)

ROOT = Path(__file__).resolve().parents[3]
BTC, ETH = "binance_usdm:BTCUSDT", "binance_usdm:ETHUSDT"


def test_cuts_of_every_channel_and_nothing_leaked_missed_or_forgotten():
    words = ["--seconds", "20", "--rate", "500", "--cut", "1.5", "--sample", "0.2", "--without-silence"]
    command = [sys.executable, "-m", "benchmarks.soak_gateway", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    told = json.loads(ended.stdout)
    assert told["broken"] == []
    assert all(told["cuts"].values())
    assert told["missed"] > 0
    assert told["orders"] > 50


def quote(number: int, instrument: str = BTC) -> Quote:
    return Quote(0, instrument, number, 1, 1, 2, 1)


def trade(number: int) -> Trade:
    return Trade(0, BTC, number, 1, 1, Side.BUY)


def depth(before: int, number: int) -> BookDelta:
    return BookDelta(0, BTC, before + 1, number, before, [], [])


def balance(number: int) -> AccountReport:
    return AccountReport(0, "futures", {"USDT": Decimal(number)})


MARKET = VenueDown(0, "binance_usdm", "market", "books: lost")
ACCOUNT = VenueDown(0, "binance_usdm", "", "events of futures: lost")


@pytest.mark.parametrize(
    ("heard", "missed", "is_told"),
    [
        ([quote(1), quote(7, ETH), quote(2), quote(8, ETH)], 0, True),
        ([quote(1), quote(3)], 1, False),
        ([quote(1), MARKET, quote(5)], 3, True),
        ([quote(1), MARKET, quote(5), quote(7)], 4, False),
        ([quote(1), ACCOUNT, quote(5)], 3, False),
        ([quote(2), quote(2)], 0, False),
        ([trade(1), trade(2), MARKET, trade(9)], 6, True),
        ([trade(1), trade(4)], 2, False),
        ([depth(1, 4), depth(4, 9)], 0, True),
        ([depth(1, 4), depth(5, 9)], 1, False),
        ([balance(1), balance(2), ACCOUNT, balance(5)], 2, True),
        ([balance(1), MARKET, balance(5)], 3, False),
    ],
)
def test_a_number_is_missing_only_where_somebody_said_so(heard, missed, is_told):
    client = Client()
    client.arrived(heard)
    assert client.missed == missed
    assert (not client.broken) is is_told


def test_an_order_is_over_by_its_end_or_by_the_answer_that_there_is_none():
    client = Client(orders={"a": 1, "b": 1, "c": 1})
    client.arrived([OrderExpired(0, "futures", BTC, "a", Decimal(0))])
    client.arrived([QueryResult(0, "futures", "9/b", QueryKind.ORDER)])
    assert client.orders == {"c": 1}


def a_run(**changes) -> Soak:
    """A quiet run of 100 s, changed."""
    samples = [Sample(float(at), 60.0, 49, 25, True) for at in range(1, 101)]
    opened = dict.fromkeys(("public", "market", "private", "api"), 1)
    return evolve(Soak(SoakSettings(rate=1), Client(messages=100), samples, opened=opened), **changes)


def test_a_quiet_run_breaks_nothing():
    assert a_run()._judge(100.0).broken == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"samples": [Sample(float(at), 60.0 + at / 20, 49, 25, True) for at in range(1, 101)]}, "memory grew"),
        ({"samples": [Sample(float(at), 60.0, 49 + at // 60, 25, True) for at in range(1, 101)]}, "49 tasks became 50"),
        ({"client": Client(messages=49)}, "49 messages in 100 s"),
        ({"client": Client(messages=100, broken=["odd"])}, "odd"),
        ({"client": Client(messages=100, orders={"a": time.time_ns() - 61_000_000_000})}, "nobody knows the end: a"),
        ({"cuts": {"public": 2, "market": 0, "private": 0, "api": 0}}, "public was cut 2 times and opened 1 times"),
    ],
)
def test_what_is_looked_for_is_noticed(changes, why):
    broken = a_run(**changes)._judge(100.0).broken
    assert len(broken) == 1
    assert why in broken[0]
