"""What /futures/data tells of other traders: made up, of the right shape, the same for the same times."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sim.emulator.candles import Candle
from sim.emulator.listings import Listing
from sim.emulator.order_entry import find_listing, listing_of
from sim.emulator.order_words import money
from sim.emulator.routes import ApiError, Params, Route, Session
from sim.emulator.routes_marks import interest_of
from sim.emulator.streams import INTERVALS_MS

Json = dict[str, Any]
_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_KINDS = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")


def _stamps(session: Session, params: Params) -> list[int]:
    """Return the ends of the periods that are asked for, in ms."""
    period = params.text("period")
    if period not in _PERIODS:
        raise ApiError(-1130, "Data sent for parameter 'period' is not valid.")
    limit = params.limit(30, 500)
    length = INTERVALS_MS[period]
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    if start is not None and end is not None and start > end:
        raise ApiError(-1127, "Start time is greater than end time.")
    last = min(session.now_ms, end if end is not None else session.now_ms) // length * length
    stamps = [last - index * length for index in reversed(range(limit))]
    return [stamp for stamp in stamps if start is None or stamp >= start]


def _wave(ms: int, phase: float) -> Decimal:
    """Return a share between 0.4 and 0.6 that moves with the time of day."""
    return Decimal(str(round(0.5 + 0.1 * math.sin(ms / 13_750_000 + phase), 4)))


def interest_history(session: Session, params: Params) -> list[Json]:
    listing = listing_of(session.host, params)
    stamps = _stamps(session, params)
    session.host.catch_up()
    mark = session.host.tape.of(listing.id).mark
    price = Decimal(0) if mark is None else mark.mark
    base = interest_of(session.host, listing)
    rows = []
    for ms in stamps:
        amount = base * (Decimal("0.5") + _wave(ms, 0.0))
        rows.append(
            {
                "symbol": listing.symbol,
                "sumOpenInterest": money(amount),
                "sumOpenInterestValue": money(amount * price),
                "CMCCirculatingSupply": "19900000.00000000",
                "timestamp": ms,
            }
        )
    return rows


def _ratio(phase: float) -> Callable[[Session, Params], list[Json]]:
    def answer(session: Session, params: Params) -> list[Json]:
        listing = listing_of(session.host, params)
        rows = []
        for ms in _stamps(session, params):
            share = _wave(ms, phase)
            rows.append(
                {
                    "symbol": listing.symbol,
                    "longAccount": str(share),
                    "longShortRatio": f"{share / (1 - share):.4f}",
                    "shortAccount": str(1 - share),
                    "timestamp": ms,
                }
            )
        return rows

    return answer


def taker_ratio(session: Session, params: Params) -> list[Json]:
    listing = listing_of(session.host, params)
    rows = []
    for ms in _stamps(session, params):
        share, volume = _wave(ms, 3.0), listing.max_qty
        rows.append(
            {
                "buySellRatio": f"{share / (1 - share):.4f}",
                "sellVol": f"{volume * (1 - share):.4f}",
                "buyVol": f"{volume * share:.4f}",
                "timestamp": ms,
            }
        )
    return rows


def basis(session: Session, params: Params) -> list[Json]:
    pair, kind = params.text("pair").upper(), params.choice("contractType", _KINDS)
    found = [one for one in session.host.listings.values() if (one.pair, one.contract_type) == (pair, kind)]
    find_listing(session.host, pair)
    stamps = _stamps(session, params)
    return _basis_rows(session, params, found[0], stamps) if found else []


def _basis_rows(session: Session, params: Params, listing: Listing, stamps: list[int]) -> list[Json]:
    now_ms, tape = session.host.catch_up() // 1_000_000, session.host.tape.of(listing.id)
    period = params.text("period")

    def by_start(candles: list[Candle]) -> dict[int, Candle]:
        return {one.start_ms: one for one in candles}

    prices = by_start(tape.bars(period, now_ms, len(stamps) + 1))
    indices = by_start(tape.index_bars(period, now_ms, len(stamps) + 1))
    rows = []
    for ms in stamps:
        if ms not in prices or ms not in indices:
            continue
        future, index = prices[ms].open, indices[ms].open
        rows.append(
            {
                "indexPrice": money(index),
                "contractType": listing.contract_type,
                "basisRate": f"{(future - index) / index:.4f}",
                "futuresPrice": f"{future:.1f}",
                "annualizedBasisRate": "",
                "basis": money(future - index),
                "pair": listing.pair,
                "timestamp": ms,
            }
        )
    return rows


def delivery_prices(session: Session, params: Params) -> list[Json]:
    """Tell at what delivered contracts of a pair were delivered here."""
    pair = params.text("pair").upper()
    find_listing(session.host, pair)
    session.host.catch_up()
    rows = []
    for one in session.host.listings.values():
        market = session.host.venue.state.markets[one.id]
        if one.pair == pair and market.is_settled and market.settlement is not None:
            rows.append({"deliveryTime": one.delivery_ms, "deliveryPrice": float(market.settlement)})
    return rows


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/futures/data/openInterestHist"): Route(interest_history, weight=0),
    ("GET", "/futures/data/topLongShortPositionRatio"): Route(_ratio(0.5), weight=0),
    ("GET", "/futures/data/topLongShortAccountRatio"): Route(_ratio(1.0), weight=0),
    ("GET", "/futures/data/globalLongShortAccountRatio"): Route(_ratio(2.0), weight=0),
    ("GET", "/futures/data/takerlongshortRatio"): Route(taker_ratio, weight=0),
    ("GET", "/futures/data/basis"): Route(basis, weight=0),
    ("GET", "/futures/data/delivery-price"): Route(delivery_prices, weight=0),
}
