"""Decides what exchangeInfo prints of the venue's symbols, filters and limits, for contracts and for spot."""

from typing import Any

from sim.emulator.figures import ASSETS
from sim.emulator.host import Host
from sim.emulator.listings import Listing, plain
from sim.emulator.order_entry import find_listing
from sim.emulator.routes import RATE_LIMITS
from venues.model.money import to_text

Json = dict[str, Any]

_ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
_TIMES_IN_FORCE = ["GTC", "IOC", "FOK", "GTX", "GTD"]
_STP_MODES = ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"]


def exchange_info(host: Host, now_ms: int, symbol: str | None = None) -> Json:
    """Return the answer for contracts. Raises ApiError -1121 for an unknown symbol."""
    listed = list(host.listings.values()) if symbol is None else [find_listing(host, symbol)]
    return {
        "timezone": "UTC",
        "serverTime": now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": [limit.row() for limit in RATE_LIMITS],
        "exchangeFilters": [],
        "assets": [
            {"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000" if asset == "USDT" else "-100"}
            for asset in ASSETS
        ],
        "symbols": [_contract(host, one, now_ms) for one in listed],
    }


def status_of(host: Host, listing: Listing, now_ms: int) -> str:
    """Return the symbol's status: what is delivered trades no more."""
    market = host.venue.state.markets[listing.id]
    if market.is_settled:
        return "SETTLING" if now_ms - listing.delivery_ms < 600_000 else "CLOSE"
    return "TRADING"


def _contract(host: Host, listing: Listing, now_ms: int) -> Json:
    spec = listing.spec
    lowest = spec.brackets[0]
    return {
        "symbol": listing.symbol,
        "pair": listing.pair,
        "contractType": listing.contract_type,
        "deliveryDate": listing.delivery_ms,
        "onboardDate": listing.onboard_ms,
        "status": status_of(host, listing, now_ms),
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base,
        "quoteAsset": spec.quote,
        "marginAsset": spec.settle,
        "pricePrecision": listing.price_precision,
        "quantityPrecision": listing.qty_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"] if spec.base == "BTC" else ["Layer-1"],
        "settlePlan": 0,
        "triggerProtect": to_text(listing.trigger_protect),
        "liquidationFee": f"{spec.liquidation_fee:.6f}",
        "marketTakeBound": plain(listing.market_take_bound),
        "maxMoveOrderLimit": 10000,
        "filters": _contract_filters(listing),
        "orderTypes": _ORDER_TYPES,
        "timeInForce": _TIMES_IN_FORCE,
        "permissionSets": ["GRID", "COPY"] if lowest.max_leverage > 50 else [],
    }


def _contract_filters(listing: Listing) -> list[Json]:
    spec = listing.spec
    step = plain(spec.lot_size)

    def price(value: Any) -> str:
        return f"{value:.{listing.price_precision}f}"

    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": plain(listing.min_price),
            "maxPrice": plain(listing.max_price),
            "tickSize": price(spec.tick_size),
        },
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": plain(listing.max_qty), "stepSize": step},
        {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": plain(listing.market_max_qty), "stepSize": step},
        {"filterType": "MAX_NUM_ORDERS", "limit": listing.max_orders},
        {"filterType": "MIN_NOTIONAL", "notional": plain(listing.min_notional)},
        {
            "filterType": "PERCENT_PRICE",
            "multiplierUp": to_text(listing.multiplier_up),
            "multiplierDown": to_text(listing.multiplier_down),
            "multiplierDecimal": "4",
        },
        {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
    ]
