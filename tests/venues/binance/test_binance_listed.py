"""What of a configured instrument must be as the venue lists it. Source: "Exchange Information", USDS-M futures."""

from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from venues.binance.listed import disagreements
from venues.binance.rules import ExchangeInfo, Filters, Listing
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import InstrumentState

D = Decimal

OURS = Instrument(
    "binance", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.10"), D("0.001"),
    min_qty=D("0.001"), max_qty=D(1000), min_notional=D(100),
)  # fmt: skip


def told(theirs: Instrument) -> ExchangeInfo:
    listing = Listing(theirs, Filters(), InstrumentState.OPEN, "TRADING")
    return ExchangeInfo({theirs.symbol: listing}, {"BADUSDT": "BADUSDT: no LOT_SIZE"}, ())


@pytest.mark.parametrize(
    ("theirs", "field"),
    [
        ({"tick_size": D("0.01")}, "tick_size is 0.10 here and 0.01 at the venue"),
        ({"lot_size": D("0.01")}, "lot_size"),
        ({"base": "BCH"}, "base"),
        ({"quote": "USDC", "settle": "USDT"}, "quote"),
        ({"settle": "USDC"}, "settle"),
        ({"kind": InstrumentKind.SPOT}, "kind"),
        ({"expiry_ns": 1_800_000_000_000_000_000}, "expiry_ns is None here and 1800000000000000000 at the venue"),
        ({"multiplier": D(10)}, "multiplier"),
        ({"min_qty": D("0.002")}, "min_qty"),
        ({"min_notional": D(101)}, "min_notional is 100 here and 101 at the venue"),
        ({"max_qty": D(999)}, "max_qty"),
    ],
    ids=str,
)
def test_what_matters_is_named_by_instrument_and_field(theirs: dict[str, Any], field: str) -> None:
    (found,) = disagreements([OURS], told(evolve(OURS, **theirs)))
    assert found.startswith(f"binance:BTCUSDT: {field}")


@pytest.mark.parametrize(
    "theirs",
    [
        {},
        {"tick_size": D("0.1")},
        {"min_qty": D("0.0005")},
        {"min_notional": D(5)},
        {"max_qty": D(2000)},
        {"max_qty": None},
        {"liquidation_fee": D("0.02")},
    ],
    ids=str,
)
def test_the_same_and_what_is_tighter_here_agree(theirs: dict[str, Any]) -> None:
    assert disagreements([OURS], told(evolve(OURS, **theirs))) == []


def test_no_bound_here_where_the_venue_has_one() -> None:
    (found,) = disagreements([evolve(OURS, max_qty=None)], told(OURS))
    assert found == "binance:BTCUSDT: max_qty is None here and 1000 at the venue"


def test_what_is_not_listed_or_not_readable_is_no_agreement() -> None:
    nobody, bad = evolve(OURS, symbol="NOBODY"), evolve(OURS, symbol="BADUSDT")
    assert disagreements([nobody, bad, OURS], told(OURS)) == [
        "binance:NOBODY: the venue does not list it",
        "binance:BADUSDT: BADUSDT: no LOT_SIZE",
    ]
