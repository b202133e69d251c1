"""The market made from a seed: repeatable, on the grid, never crossed, its books consistent with its trades."""

import math
from decimal import Decimal

import pytest

from sim.synthetic import SECOND_NS, SyntheticInstrument, SyntheticMarket, SyntheticSettings
from venues.model.book import Book
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import BookDelta, BookSnapshot, FundingRate, MarkPrice, Quote, Trade

D = Decimal
PERPETUAL = Instrument("m", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.10"), D("0.001"))
SPOT = Instrument("s", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
SPECS = {spec.id: spec for spec in (PERPETUAL, SPOT)}
# 2026-01-15T15:58:00Z, two minutes before a funding stamp.
START = 1_768_492_680 * SECOND_NS


def a_market(seed=7, duration=180 * SECOND_NS, **changes):
    one = {"premium_bps": 5.0, "premium_volatility_bps": 3.0} | changes
    settings = SyntheticSettings(
        seed=seed,
        start_ns=START,
        duration_ns=duration,
        mid=D(60_000),
        instruments=(SyntheticInstrument(PERPETUAL.id, **one), SyntheticInstrument(SPOT.id)),
    )
    return list(SyntheticMarket(settings, SPECS))


def test_a_seed_is_a_market():
    assert a_market() == a_market()
    assert a_market(seed=8) != a_market()


def test_an_instrument_nobody_defined_is_an_error():
    settings = SyntheticSettings(1, START, SECOND_NS, D(1), (SyntheticInstrument("m:NONE"),))
    with pytest.raises(ValueError, match="m:NONE"):
        SyntheticMarket(settings, SPECS)


def test_books_follow_their_updates_and_never_cross():
    books = {instrument: Book() for instrument in SPECS}
    last = dict.fromkeys(SPECS, 0)
    for arrival in a_market():
        message = arrival.message
        assert arrival.venue_ns < arrival.local_ns
        if isinstance(message, BookSnapshot):
            books[message.instrument].load(message.bids, message.asks)
            last[message.instrument] = message.update_id
        elif isinstance(message, BookDelta):
            assert message.first_id == message.prev_id + 1 == last[message.instrument] + 1
            last[message.instrument] = message.last_id
            books[message.instrument].apply(message.bids, message.asks)
            assert not books[message.instrument].is_crossed
        elif isinstance(message, Quote):
            book = books[message.instrument]
            assert (message.bid, message.ask) == (book.best_bid, book.best_ask)
            assert message.bid_lots == book.bids[message.bid]
        elif isinstance(message, Trade):
            book = books[message.instrument]
            side = book.asks if message.aggressor is Side.BUY else book.bids
            assert 0 < message.lots < side[message.price]


def test_funding_settles_on_its_stamp_only():
    messages = [arrival.message for arrival in a_market()]
    (funding,) = [m for m in messages if isinstance(m, FundingRate)]
    stamp = 1_768_492_800 * SECOND_NS
    assert 0 <= funding.ts - stamp < SECOND_NS
    assert funding.instrument == PERPETUAL.id
    marks = [m for m in messages if isinstance(m, MarkPrice)]
    assert {m.instrument for m in marks} == {PERPETUAL.id}
    assert {m.next_funding_ns for m in marks if m.ts < stamp} == {stamp}


def test_the_premium_reverts_to_its_mean():
    # Stationary deviation 3 bps, half-life 5 s: 600 s hold some 83 independent samples, so the mean is within 1.3 bps
    # of 5 at four standard errors, twice that for the 1-tick rounding of quotes.
    marks: dict[int, float] = {}
    for arrival in a_market(duration=600 * SECOND_NS, premium_half_life_ns=5 * SECOND_NS):
        message = arrival.message
        if isinstance(message, MarkPrice) and message.index is not None:
            marks[message.ts] = float(message.mark / message.index - 1) * 1e4
    mean = sum(marks.values()) / len(marks)
    deviation = math.sqrt(sum((premium - mean) ** 2 for premium in marks.values()) / len(marks))
    assert abs(mean - 5) < 2.6
    assert 1.5 < deviation < 4.5
