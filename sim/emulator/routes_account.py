"""What the account is told about itself: balances, positions, income, fees, brackets, configuration, listen keys."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sim.emulator import order_words
from sim.emulator.figures import max_notional
from sim.emulator.listings import Listing, plain
from sim.emulator.order_entry import listing_of, maybe_listing
from sim.emulator.records import BalanceFigures, PositionFigures
from sim.emulator.routes import ApiError, Params, Route, Security, Session, missing
from sim.emulator.routes_market import one_or_all
from venues.model.account import MarginMode, PositionMode
from venues.model.money import ZERO

Json = dict[str, Any]
_WEEK_MS = 7 * 86_400_000
_ALIAS = "SgsR"
_money = order_words.money

_TOTALS = {
    "totalInitialMargin": "initial_margin",
    "totalMaintMargin": "maint_margin",
    "totalWalletBalance": "wallet",
    "totalUnrealizedProfit": "unrealized",
    "totalMarginBalance": "margin_balance",
    "totalPositionInitialMargin": "position_initial_margin",
    "totalOpenOrderInitialMargin": "open_order_initial_margin",
    "totalCrossWalletBalance": "cross_wallet",
    "totalCrossUnPnl": "cross_unrealized",
    "availableBalance": "available",
    "maxWithdrawAmount": "max_withdraw",
}
_ASSET = {
    "walletBalance": "wallet",
    "unrealizedProfit": "unrealized",
    "marginBalance": "margin_balance",
    "maintMargin": "maint_margin",
    "initialMargin": "initial_margin",
    "positionInitialMargin": "position_initial_margin",
    "openOrderInitialMargin": "open_order_initial_margin",
    "crossWalletBalance": "cross_wallet",
    "crossUnPnl": "cross_unrealized",
    "availableBalance": "available",
    "maxWithdrawAmount": "max_withdraw",
}


def _is_hedge(session: Session) -> bool:
    account = session.host.venue.state.accounts[session.host.account].account
    return account.position_mode is PositionMode.HEDGE


# Balances


def _balances(session: Session, *, with_empty: bool) -> list[BalanceFigures]:
    session.host.catch_up()
    return [one for one in session.host.balances() if with_empty or one.wallet or one.margin_balance]


def balance_rows(balances: Sequence[BalanceFigures]) -> list[Json]:
    return [
        {
            "accountAlias": _ALIAS,
            "asset": one.asset,
            "balance": _money(one.wallet),
            "crossWalletBalance": _money(one.cross_wallet),
            "crossUnPnl": _money(one.cross_unrealized),
            "availableBalance": _money(one.available),
            "maxWithdrawAmount": _money(one.max_withdraw),
            "marginAvailable": True,
            "updateTime": one.update_ms,
        }
        for one in balances
    ]


def balance_v2(session: Session, _: Params) -> list[Json]:
    return balance_rows(_balances(session, with_empty=True))


def balance_v3(session: Session, _: Params) -> list[Json]:
    return balance_rows(_balances(session, with_empty=False))


def _totals(balances: Sequence[BalanceFigures]) -> Json:
    """Sum what is in USDT: pools of other assets are not counted in single-asset mode."""
    usdt = [one for one in balances if one.asset == "USDT"]
    return {name: _money(sum((getattr(one, attribute) for one in usdt), ZERO)) for name, attribute in _TOTALS.items()}


def _asset_row(one: BalanceFigures) -> Json:
    return {"asset": one.asset, **{name: _money(getattr(one, attribute)) for name, attribute in _ASSET.items()}}


def account_v3(session: Session, _: Params) -> Json:
    balances = _balances(session, with_empty=False)
    return {
        **_totals(balances),
        "assets": [{**_asset_row(one), "marginAvailable": True, "updateTime": one.update_ms} for one in balances],
        "positions": [_account_position_v3(session, one) for one in session.host.positions(with_flat=False)],
    }


def _account_position_v3(session: Session, one: PositionFigures) -> Json:
    return {
        "symbol": one.symbol,
        "positionSide": one.position_side,
        "positionAmt": session.host.listings[one.symbol].qty_text(one.amount),
        "unrealizedProfit": _money(one.unrealized),
        "isolatedMargin": _or_zero(one.isolated_margin),
        "notional": _or_zero(one.notional),
        "isolatedWallet": _or_zero(one.isolated_wallet),
        "initialMargin": _or_zero(one.initial_margin),
        "maintMargin": _or_zero(one.maint_margin),
        "updateTime": one.update_ms,
    }


def account_v2(session: Session, _: Params) -> Json:
    balances = _balances(session, with_empty=True)
    host = session.host
    return {
        "feeTier": 0,
        "feeBurn": host.config.fee_burn,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "updateTime": 0,
        "multiAssetsMargin": host.config.multi_assets,
        "tradeGroupId": -1,
        **_totals(balances),
        "assets": [{**_asset_row(one), "marginAvailable": True, "updateTime": one.update_ms} for one in balances],
        "positions": [_account_position_v2(session, one) for one in host.positions()],
    }


def _account_position_v2(session: Session, one: PositionFigures) -> Json:
    listing = session.host.listings[one.symbol]
    return {
        "symbol": one.symbol,
        "initialMargin": _or_zero(one.initial_margin),
        "maintMargin": _or_zero(one.maint_margin),
        "unrealizedProfit": _money(one.unrealized),
        "positionInitialMargin": _or_zero(one.position_initial_margin),
        "openOrderInitialMargin": _or_zero(one.open_order_initial_margin),
        "leverage": str(one.leverage),
        "isolated": one.margin_type == "isolated",
        "entryPrice": order_words.rounded(one.entry_price),
        "breakEvenPrice": order_words.rounded(one.break_even_price),
        "maxNotional": plain(one.max_notional),
        "bidNotional": _or_zero(one.bid_notional),
        "askNotional": _or_zero(one.ask_notional),
        "positionSide": one.position_side,
        "positionAmt": listing.qty_text(one.amount),
        "notional": _or_zero(one.notional),
        "isolatedWallet": _or_zero(one.isolated_wallet),
        "updateTime": one.update_ms,
    }


def _or_zero(value: Decimal) -> str:
    return _money(value) if value else "0"


# Positions


def position_risk_v2(session: Session, params: Params) -> list[Json]:
    """Every symbol's position, flat ones included."""
    listing = maybe_listing(session.host, params)
    session.host.catch_up()
    found = session.host.positions(None if listing is None else listing.symbol)
    return [_risk_v2(session.host.listings[one.symbol], one) for one in found]


def _risk_v2(listing: Listing, one: PositionFigures) -> Json:
    return {
        "symbol": one.symbol,
        "positionAmt": listing.qty_text(one.amount),
        "entryPrice": order_words.rounded(one.entry_price),
        "breakEvenPrice": order_words.rounded(one.break_even_price),
        "markPrice": _money(one.mark_price),
        "unRealizedProfit": _money(one.unrealized),
        "liquidationPrice": _liquidation(one),
        "leverage": str(one.leverage),
        "maxNotionalValue": plain(one.max_notional),
        "marginType": one.margin_type,
        "isolatedMargin": _money(one.isolated_margin),
        "isAutoAddMargin": "false",
        "positionSide": one.position_side,
        "notional": _or_zero(one.notional),
        "isolatedWallet": _or_zero(one.isolated_wallet),
        "updateTime": one.update_ms,
        "isolated": one.margin_type == "isolated",
        "adlQuantile": one.adl,
    }


def _liquidation(one: PositionFigures) -> str:
    return order_words.rounded(one.liquidation_price) if one.liquidation_price > ZERO else "0"


def position_risk_v3(session: Session, params: Params) -> list[Json]:
    """Only what has a position or open orders."""
    listing = maybe_listing(session.host, params)
    session.host.catch_up()
    return [
        {
            "symbol": one.symbol,
            "positionSide": one.position_side,
            "positionAmt": session.host.listings[one.symbol].qty_text(one.amount),
            "entryPrice": order_words.rounded(one.entry_price),
            "breakEvenPrice": order_words.rounded(one.break_even_price),
            "markPrice": _money(one.mark_price),
            "unRealizedProfit": _money(one.unrealized),
            "liquidationPrice": _liquidation(one),
            "isolatedMargin": _or_zero(one.isolated_margin),
            "notional": _or_zero(one.notional),
            "marginAsset": one.margin_asset,
            "isolatedWallet": _or_zero(one.isolated_wallet),
            "initialMargin": _or_zero(one.initial_margin),
            "maintMargin": _or_zero(one.maint_margin),
            "positionInitialMargin": _or_zero(one.position_initial_margin),
            "openOrderInitialMargin": _or_zero(one.open_order_initial_margin),
            "adl": one.adl,
            "bidNotional": _or_zero(one.bid_notional),
            "askNotional": _or_zero(one.ask_notional),
            "updateTime": one.update_ms,
        }
        for one in session.host.positions(None if listing is None else listing.symbol, with_flat=False)
    ]


def adl_quantiles(session: Session, params: Params) -> Json | list[Json]:
    listing = maybe_listing(session.host, params)
    session.host.catch_up()
    rows: dict[str, Json] = {}
    is_hedge = _is_hedge(session)
    for one in session.host.positions(None if listing is None else listing.symbol):
        row = rows.setdefault(one.symbol, {"symbol": one.symbol, "adlQuantile": {}})
        row["adlQuantile"][one.position_side] = one.adl
        if is_hedge:
            isolated = one.margin_type == "isolated"
            row["adlQuantile"]["BOTH" if isolated else "HEDGE"] = 0
    found = [row for row in rows.values() if any(row["adlQuantile"].values())]
    if listing is not None:
        return rows[listing.symbol]
    return found


# Income and fees


def income(session: Session, params: Params) -> list[Json]:
    host = session.host
    listing = maybe_listing(host, params)
    limit = params.limit(100, 1000)
    page = params.maybe_integer("page") or 1
    host.catch_up()
    kind = params.maybe("incomeType")
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    if start is not None and end is not None and start > end:
        raise ApiError(-1127, "Start time is greater than end time.")
    now_ms = session.now_ms
    first = start if start is not None else now_ms - _WEEK_MS
    found = [
        one
        for one in host.ledger.incomes
        if (listing is None or one.symbol == listing.symbol)
        and (kind is None or one.kind == kind.upper())
        and first <= one.time_ms
        and (end is None or one.time_ms <= end)
    ]
    is_latest = start is None and page == 1
    rows = found[-limit:] if is_latest else found[(page - 1) * limit : page * limit]
    return [
        {
            "symbol": one.symbol,
            "incomeType": one.kind,
            "income": _money(one.amount),
            "asset": one.asset,
            "info": one.info,
            "time": one.time_ms,
            "tranId": one.tran_id,
            "tradeId": one.trade_id,
        }
        for one in rows
    ]


def commission_rate(session: Session, params: Params) -> Json:
    listing = listing_of(session.host, params)
    fees = session.host.fees
    return {
        "symbol": listing.symbol,
        "makerCommissionRate": f"{fees.maker:.6f}",
        "takerCommissionRate": f"{fees.taker:.6f}",
        "rpiCommissionRate": "0.000050",
    }


def leverage_brackets(session: Session, params: Params) -> list[Json] | Json:
    listing = maybe_listing(session.host, params)
    listed = list(session.host.listings.values()) if listing is None else [listing]
    return [
        {
            "symbol": one.symbol,
            "notionalCoef": 1.0,
            "brackets": [
                {
                    "bracket": number,
                    "initialLeverage": row.max_leverage,
                    "notionalCap": int(row.cap),
                    "notionalFloor": int(row.floor),
                    "maintMarginRatio": float(row.mmr),
                    "cum": float(row.cum),
                }
                for number, row in enumerate(one.spec.brackets, 1)
            ],
        }
        for one in listed
    ]


# Configuration


def account_config(session: Session, _: Params) -> Json:
    return {
        "feeTier": 0,
        "canTrade": True,
        "canDeposit": True,
        "canWithdraw": True,
        "dualSidePosition": _is_hedge(session),
        "updateTime": 0,
        "multiAssetsMargin": session.host.config.multi_assets,
        "tradeGroupId": -1,
    }


def symbol_config(session: Session, params: Params) -> list[Json]:
    listing = maybe_listing(session.host, params)
    host = session.host
    state = host.venue.state
    account = state.accounts[host.account]
    rows = []
    for one in host.listings.values() if listing is None else [listing]:
        leverage = state.leverage(account, one.spec)
        is_isolated = account.mode(one.id) is MarginMode.ISOLATED
        rows.append(
            {
                "symbol": one.symbol,
                "marginType": "ISOLATED" if is_isolated else "CROSSED",
                "isAutoAddMargin": False,
                "leverage": leverage,
                "maxNotionalValue": plain(max_notional(one, leverage)),
            }
        )
    return rows


def order_limits(session: Session, _: Params) -> list[Json]:
    return [
        {"rateLimitType": "ORDERS", "interval": interval, "intervalNum": number, "limit": limit}
        for interval, number, limit, _ in session.order_counts()
    ]


def trading_status(session: Session, params: Params) -> Json:
    """Nothing is locked: the venue does not judge how the account trades."""
    listing = maybe_listing(session.host, params)
    names = [one.symbol for one in session.host.listings.values()] if listing is None else [listing.symbol]
    rules = {"UFR": (0.05, 0.995), "IFER": (0.99, 0.99), "GCR": (0.99, 0.99), "DR": (0.99, 0.99)}
    return {
        "indicators": {
            name: [
                {
                    "isLocked": False,
                    "plannedRecoverTime": 0,
                    "indicator": indicator,
                    "value": value,
                    "triggerValue": trigger,
                }
                for indicator, (value, trigger) in rules.items()
            ]
            for name in names
        },
        "updateTime": session.now_ms,
    }


def fee_burn(session: Session, _: Params) -> Json:
    return {"feeBurn": session.host.config.fee_burn}


def set_fee_burn(session: Session, params: Params) -> Json:
    session.host.config.fee_burn = params.flag("feeBurn")
    return {"code": 200, "msg": "success"}


def portfolio_margin(session: Session, params: Params) -> Json:
    asset = params.text("asset")
    found = next((one for one in _balances(session, with_empty=True) if one.asset == asset), None)
    amount = ZERO if found is None else found.max_withdraw
    return {"maxWithdrawAmountUSD": _money(amount), "asset": asset, "maxWithdrawAmount": _money(amount)}


# Listen keys


def start_stream(session: Session, _: Params) -> Json:
    return {"listenKey": session.listen_keys.create(session.api_key, _key_ms(session))}


def _key_ms(session: Session) -> int:
    return session.host.now() // 1_000_000


def _own_key(session: Session, params: Params) -> str:
    """Return the listen key that is meant: the one sent, or the one of this API key. Raises ApiError -1125."""
    own = session.listen_keys.of(session.api_key, _key_ms(session))
    sent = params.maybe("listenKey")
    if own is None or (sent is not None and sent != own):
        raise ApiError(-1125, "This listenKey does not exist.")
    return own


def extend_stream(session: Session, params: Params) -> Json:
    key = _own_key(session, params)
    session.listen_keys.extend(key, _key_ms(session))
    return {"listenKey": key}


def close_stream(session: Session, params: Params) -> Json:
    session.listen_keys.close(_own_key(session, params))
    return {}


# Downloads of history: there is an id for everybody, and nothing behind the link.


def download_id(session: Session, params: Params) -> Json:
    params.integer("startTime")
    params.integer("endTime")
    return {"avgCostTimestampOfLast30d": 7241837, "downloadId": str(546_975_389_218_332_672 + session.now_ms % 1000)}


def download_link(session: Session, params: Params) -> Json:
    if not params.has("downloadId"):
        raise missing("downloadId")
    return {
        "downloadId": params.text("downloadId"),
        "status": "processing",
        "url": "",
        "notified": False,
        "expirationTimestamp": -1,
        "isExpired": None,
    }


def _signed(handler: Any, weight: int = 5, ws_method: str | None = None) -> Route:
    return Route(handler, Security.SIGNED, weight, ws_method=ws_method)


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/fapi/v2/balance"): _signed(balance_v2, 5, "account.balance"),
    ("GET", "/fapi/v3/balance"): _signed(balance_v3, 5, "v2/account.balance"),
    ("GET", "/fapi/v2/account"): _signed(account_v2, 5, "account.status"),
    ("GET", "/fapi/v3/account"): _signed(account_v3, 5, "v2/account.status"),
    ("GET", "/fapi/v2/positionRisk"): _signed(position_risk_v2, 5, "account.position"),
    ("GET", "/fapi/v3/positionRisk"): _signed(position_risk_v3, 5, "v2/account.position"),
    ("GET", "/fapi/v1/adlQuantile"): _signed(adl_quantiles),
    ("GET", "/fapi/v1/income"): _signed(income, 30),
    ("GET", "/fapi/v1/commissionRate"): _signed(commission_rate, 20),
    ("GET", "/fapi/v1/leverageBracket"): _signed(leverage_brackets, 1),
    ("GET", "/fapi/v1/accountConfig"): _signed(account_config),
    ("GET", "/fapi/v1/symbolConfig"): _signed(symbol_config),
    ("GET", "/fapi/v1/rateLimit/order"): _signed(order_limits, 1),
    ("GET", "/fapi/v1/apiTradingStatus"): Route(trading_status, Security.SIGNED, one_or_all(1, 10)),
    ("GET", "/fapi/v1/feeBurn"): _signed(fee_burn, 30),
    ("POST", "/fapi/v1/feeBurn"): _signed(set_fee_burn, 1),
    ("GET", "/fapi/v1/pmAccountInfo"): _signed(portfolio_margin),
    ("POST", "/fapi/v1/listenKey"): Route(start_stream, Security.KEY, ws_method="userDataStream.start"),
    ("PUT", "/fapi/v1/listenKey"): Route(extend_stream, Security.KEY, ws_method="userDataStream.ping"),
    ("DELETE", "/fapi/v1/listenKey"): Route(close_stream, Security.KEY, ws_method="userDataStream.stop"),
    ("GET", "/fapi/v1/income/asyn"): _signed(download_id, 1000),
    ("GET", "/fapi/v1/order/asyn"): _signed(download_id, 1000),
    ("GET", "/fapi/v1/trade/asyn"): _signed(download_id, 1000),
    ("GET", "/fapi/v1/income/asyn/id"): _signed(download_link, 10),
    ("GET", "/fapi/v1/order/asyn/id"): _signed(download_link, 10),
    ("GET", "/fapi/v1/trade/asyn/id"): _signed(download_link, 10),
}
for _path in ("balance", "account", "positionRisk"):
    # The first versions are gone from the documentation and answer as the second ones do.
    ROUTES["GET", f"/fapi/v1/{_path}"] = Route(ROUTES["GET", f"/fapi/v2/{_path}"].handler, Security.SIGNED, 5)
