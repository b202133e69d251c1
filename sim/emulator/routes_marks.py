"""What the public may ask of marks, funding, open interest and what stands behind the index."""

from decimal import Decimal
from typing import Any

from sim.emulator import order_words
from sim.emulator.host import Host
from sim.emulator.listings import Listing
from sim.emulator.order_entry import listing_of, maybe_listing
from sim.emulator.routes import ApiError, Params, Route, Session
from sim.emulator.routes_market import each, one_or_all
from venues.model.money import ZERO
from venues.port import FundingRate, MarkPrice

Json = dict[str, Any]
_MS = 1_000_000
_HOUR_MS = 3_600_000
_PAST_RATES = 500
"""How many funding stamps before the venue began are told, as if the rate had always been what it was first."""


def premium_row(session: Session, listing: Listing) -> Json | None:
    mark = session.host.tape.of(listing.id).mark
    return None if mark is None else premium_words(listing, mark)


def premium_words(listing: Listing, mark: MarkPrice) -> Json:
    index = mark.index if mark.index is not None else mark.mark
    is_perpetual = listing.is_perpetual
    return {
        "symbol": listing.symbol,
        "markPrice": order_words.money(mark.mark),
        "indexPrice": order_words.money(index),
        "estimatedSettlePrice": order_words.money(index),
        "lastFundingRate": order_words.money(mark.rate or ZERO) if is_perpetual else "",
        "interestRate": order_words.money(listing.interest_rate) if is_perpetual else "",
        "nextFundingTime": 0 if mark.next_funding_ns is None else mark.next_funding_ns // _MS,
        "time": mark.ts // _MS,
    }


def premium_index(session: Session, params: Params) -> Json | list[Json]:
    return each(session, params, premium_row)


def funding_rates(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = maybe_listing(host, params)
    limit = params.limit(100 if listing is not None else 200, 1000)
    host.catch_up()
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    if start is not None and end is not None and start > end:
        raise ApiError(-1127, "Start time is greater than end time.")
    rows: list[tuple[int, str, FundingRate]] = []
    for one in [listing] if listing is not None else host.listings.values():
        if one.is_perpetual:
            rows += [(rate.ts // _MS, one.symbol, rate) for rate in _rates(host, one)]
    rows.sort(key=lambda row: row[:2])
    found = [row for row in rows if (start is None or row[0] >= start) and (end is None or row[0] <= end)]
    return [
        {
            "symbol": symbol,
            "fundingTime": ms,
            "fundingRate": order_words.money(rate.rate),
            "markPrice": order_words.money(rate.mark or ZERO),
            "rateType": "Regular",
        }
        for ms, symbol, rate in (found[:limit] if start is not None else found[-limit:])
    ]


def _rates(host: Host, listing: Listing) -> list[FundingRate]:
    """Return the settled rates, and before the venue began those it would have settled."""
    tape = host.tape.of(listing.id)
    mark = tape.mark
    settled = list(tape.rates)
    if mark is None or mark.rate is None:
        return settled
    interval = listing.funding_interval_hours * _HOUR_MS * _MS
    last = host.start_ns // interval * interval
    bars = {bar.start_ms: bar.open for bar in tape.mark_bars("1h", host.start_ns // _MS, 1500)}
    past = []
    for number in range(_PAST_RATES):
        ts = last - number * interval
        price = bars.get(ts // _MS, mark.mark)
        past.append(FundingRate(ts, listing.id, mark.rate, price))
    known = {rate.ts // interval for rate in settled}
    return [*(rate for rate in reversed(past) if rate.ts // interval not in known), *settled]


def funding_info(session: Session, _: Params) -> list[Json]:
    return [
        {
            "symbol": one.symbol,
            "adjustedFundingRateCap": order_words.money(one.funding_cap),
            "adjustedFundingRateFloor": order_words.money(one.funding_floor),
            "fundingIntervalHours": one.funding_interval_hours,
            "disclaimer": False,
            "updateTime": None,
        }
        for one in session.host.listings.values()
        if one.is_perpetual
    ]


def open_interest(session: Session, params: Params) -> Json:
    listing = listing_of(session.host, params)
    session.host.catch_up()
    return {
        "symbol": listing.symbol,
        "openInterest": listing.qty_text(interest_of(session.host, listing)),
        "time": session.now_ms,
    }


def interest_of(host: Host, listing: Listing) -> Decimal:
    """Return the open interest: made up, but never less than what the account holds."""
    tape = host.tape.of(listing.id)
    known = tape.open_interest
    base = known if known is not None else listing.max_qty * 80
    return base + sum((abs(one.amount) for one in host.positions(listing.symbol, with_flat=False)), ZERO)


def adl_risk(session: Session, params: Params) -> Json | list[Json]:
    return each(
        session, params, lambda at, one: {"symbol": one.symbol, "adlRisk": "low", "updateTime": _half_hour(at.now_ms)}
    )


def _half_hour(ms: int) -> int:
    return ms // 1_800_000 * 1_800_000


def constituents(session: Session, params: Params) -> Json:
    listing = listing_of(session.host, params)
    session.host.catch_up()
    mark = session.host.tape.of(listing.id).mark
    price = order_words.money(ZERO if mark is None else mark.index or mark.mark)
    names = ("binance", "okex", "coinbase", "bitget")
    return {
        "symbol": listing.symbol,
        "time": session.now_ms,
        "constituents": [
            {"exchange": name, "symbol": listing.pair, "price": price, "weight": "0.25000000"} for name in names
        ],
    }


def insurance_balance(session: Session, params: Params) -> Json | list[Json]:
    session.host.catch_up()
    listing = maybe_listing(session.host, params)
    fund = session.host.venue.state.fund("USDT")
    symbols = [one.symbol for one in session.host.listings.values()]
    assets = [{"asset": "USDT", "marginBalance": order_words.money(fund), "updateTime": session.now_ms}]
    row: Json = {"symbols": symbols, "assets": assets}
    return row if listing is not None else [row]


def asset_index(session: Session, params: Params) -> Json | list[Json]:
    """Tell what margin assets are worth in USD: the index of what is listed, 1 of what is not."""
    session.host.catch_up()

    def row(symbol: str) -> Json:
        found = session.host.listings.get(symbol.replace("USD", "USDT"))
        mark = None if found is None else session.host.tape.of(found.id).mark
        index = Decimal(1) if mark is None else mark.index or mark.mark
        buffer = Decimal("0.0001") if symbol in {"USDTUSD", "USDCUSD"} else Decimal("0.05")
        low, high = order_words.money(index * (1 - buffer)), order_words.money(index * (1 + buffer))
        return {
            "symbol": symbol,
            "time": session.now_ms,
            "index": order_words.money(index),
            "bidBuffer": order_words.money(buffer),
            "askBuffer": order_words.money(buffer),
            "bidRate": low,
            "askRate": high,
            "autoExchangeBidBuffer": order_words.money(buffer),
            "autoExchangeAskBuffer": order_words.money(buffer),
            "autoExchangeBidRate": low,
            "autoExchangeAskRate": high,
        }

    symbol = params.maybe("symbol")
    known = ("USDTUSD", "USDCUSD", "BTCUSD", "ETHUSD", "BNBUSD")
    if symbol is None:
        return [row(one) for one in known]
    if symbol.upper() not in known:
        raise ApiError(-1121, "Invalid symbol.")
    return row(symbol.upper())


def index_info(_: Session, __: Params) -> list[Json]:
    """No composite index is listed."""
    return []


def trading_schedule(session: Session, _: Params) -> Json:
    return {"updateTime": session.now_ms, "marketSchedules": {}}


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/fapi/v1/premiumIndex"): Route(premium_index, weight=one_or_all(1, 10)),
    ("GET", "/fapi/v1/fundingRate"): Route(funding_rates, weight=0),
    ("GET", "/fapi/v1/fundingInfo"): Route(funding_info, weight=0),
    ("GET", "/fapi/v1/openInterest"): Route(open_interest),
    ("GET", "/fapi/v1/symbolAdlRisk"): Route(adl_risk),
    ("GET", "/fapi/v1/constituents"): Route(constituents, weight=2),
    ("GET", "/fapi/v1/insuranceBalance"): Route(insurance_balance),
    ("GET", "/fapi/v1/assetIndex"): Route(asset_index, weight=one_or_all(1, 10)),
    ("GET", "/fapi/v1/indexInfo"): Route(index_info),
    ("GET", "/fapi/v1/tradingSchedule"): Route(trading_schedule),
}
