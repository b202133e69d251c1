"""What clients ask of the wallet's own paths while they load: /sapi, and the spot host's ping and time."""

from typing import Any

from sim.emulator.figures import ASSETS
from sim.emulator.order_words import money
from sim.emulator.routes import Params, Route, Security, Session
from sim.emulator.routes_market import nothing, server_time
from venues.model.money import ZERO

Json = dict[str, Any]
_NAMES = {"USDT": "TetherUS", "USDC": "USD Coin", "BNB": "BNB", "BTC": "Bitcoin", "ETH": "Ethereum"}


def coins(session: Session, _: Params) -> list[Json]:
    """Tell each asset's networks; what the wallet holds is the trading account's."""
    account = session.host.venue.state.accounts[session.host.account].account
    return [_coin(asset, money(account.balance(asset))) for asset in ASSETS]


def _coin(asset: str, free: str) -> Json:
    nothing_ = money(ZERO)
    return {
        "coin": asset,
        "depositAllEnable": True,
        "free": free,
        "freeze": nothing_,
        "ipoable": nothing_,
        "ipoing": nothing_,
        "isLegalMoney": False,
        "locked": nothing_,
        "name": _NAMES.get(asset, asset),
        "storage": nothing_,
        "trading": True,
        "withdrawAllEnable": True,
        "withdrawing": nothing_,
        "networkList": [
            {
                "addressRegex": "^(0x)[0-9A-Fa-f]{40}$",
                "coin": asset,
                "depositDesc": "",
                "depositEnable": True,
                "isDefault": True,
                "memoRegex": "",
                "minConfirm": 6,
                "name": "Ethereum (ERC20)",
                "network": "ETH",
                "resetAddressStatus": False,
                "specialTips": "",
                "unLockConfirm": 64,
                "withdrawDesc": "",
                "withdrawEnable": True,
                "withdrawFee": "0.5",
                "withdrawIntegerMultiple": "0.00000001",
                "withdrawMax": "10000000",
                "withdrawMin": "1",
                "sameAddress": False,
                "estimatedArrivalTime": 5,
                "busy": False,
            }
        ],
    }


def system_status(_: Session, __: Params) -> Json:
    return {"status": 0, "msg": "normal"}


def restrictions(session: Session, _: Params) -> Json:
    """Tell what the key may do: trade, and never withdraw."""
    return {
        "ipRestrict": False,
        "createTime": session.host.start_ns // 1_000_000,
        "enableInternalTransfer": False,
        "enableFutures": True,
        "enablePortfolioMarginTrading": False,
        "enableVanillaOptions": False,
        "permitsUniversalTransfer": False,
        "enableReading": True,
        "enableSpotAndMarginTrading": True,
        "enableWithdrawals": session.host.settings.may_withdraw,
        "enableMargin": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
    }


def nothing_listed(session: Session, _: Params) -> Json:
    """Answer exchangeInfo of the venues that are not emulated: clients load all of them at once."""
    return {
        "timezone": "UTC",
        "serverTime": session.now_ms,
        "rateLimits": [],
        "exchangeFilters": [],
        "symbols": [],
    }


def no_rows(_: Session, __: Params) -> list[Json]:
    return []


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/sapi/v1/capital/config/getall"): Route(coins, Security.SIGNED, 10),
    ("GET", "/sapi/v1/margin/allPairs"): Route(no_rows, Security.KEY),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(no_rows, Security.KEY),
    ("GET", "/sapi/v1/system/status"): Route(system_status),
    ("GET", "/sapi/v1/account/apiRestrictions"): Route(restrictions, Security.SIGNED),
    ("GET", "/api/v3/ping"): Route(nothing),
    ("GET", "/api/v3/time"): Route(server_time),
    ("GET", "/api/v3/exchangeInfo"): Route(nothing_listed),
    ("GET", "/dapi/v1/exchangeInfo"): Route(nothing_listed),
    ("GET", "/dapi/v1/ping"): Route(nothing),
    ("GET", "/dapi/v1/time"): Route(server_time),
}
