"""How the account trades: leverage, margin type, position mode, multi-assets mode, margin of isolated positions."""

from decimal import Decimal
from typing import Any

from sim.emulator.figures import max_notional
from sim.emulator.host import Host
from sim.emulator.listings import plain
from sim.emulator.order_entry import POSITION_SIDES, listing_of
from sim.emulator.order_words import money
from sim.emulator.routes import ApiError, Params, Route, Security, Session
from sim.venue_state import Note
from venues.model.account import MarginMode, PositionMode
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.port import AdjustIsolatedMargin, Command, SetLeverage, SetMarginMode, SetPositionMode

Json = dict[str, Any]
_SUCCESS: Json = {"code": 200, "msg": "success"}
_MS = 1_000_000
_ADD = 1


def _do(host: Host, command: Command) -> list[Note]:
    """Do it and return what the engine noted: its refusals of settings are no reports."""
    host.command(command)
    return list(host.notes)


def set_leverage(session: Session, params: Params) -> Json:
    host = session.host
    listing = listing_of(host, params)
    leverage = params.integer("leverage")
    state, account = host.venue.state, host.venue.state.accounts[host.account]
    host.catch_up()
    if not 1 <= leverage <= listing.spec.max_leverage:
        raise ApiError(-4028, f"Leverage {leverage} is not valid")
    before = state.leverage(account, listing.spec)
    for note in _do(host, SetLeverage(host.catch_up(), host.account, listing.id, leverage)):
        if note.kind == "leverage_refused":
            raise _leverage_refusal(note.text)
    if leverage != before:
        host.tell_leverage(listing.symbol, leverage)
    return {
        "symbol": listing.symbol,
        "leverage": leverage,
        "maxNotionalValue": plain(max_notional(listing, leverage)),
    }


def _leverage_refusal(text: str) -> ApiError:
    if "isolated" in text:
        return ApiError(-4161, "Leverage reduction is not supported in Isolated Margin Mode with open positions")
    if "notional" in text:
        return ApiError(-2027, "Exceeded the maximum allowable position at current leverage.")
    return ApiError(-2028, "Leverage is smaller than permitted: insufficient margin balance")


def set_margin_type(session: Session, params: Params) -> Json:
    host = session.host
    listing = listing_of(host, params)
    word = params.choice("marginType", ("ISOLATED", "CROSSED", "CROSS"))
    mode = MarginMode.ISOLATED if word == "ISOLATED" else MarginMode.CROSS
    account = host.venue.state.accounts[host.account]
    host.catch_up()
    if account.mode(listing.id) is mode:
        raise ApiError(-4046, "No need to change margin type.")
    if mode is MarginMode.ISOLATED and host.config.multi_assets:
        raise ApiError(-4168, "Unable to adjust to isolated-margin mode under the Multi-Assets mode.")
    if host.ledger.open_orders(listing.symbol):
        raise ApiError(-4047, "Margin type cannot be changed if there exists open orders.")
    if account.open_holdings(listing.id):
        raise ApiError(-4048, "Margin type cannot be changed if there exists position.")
    _do(host, SetMarginMode(host.catch_up(), host.account, listing.id, mode))
    return _SUCCESS


def position_mode(session: Session, _: Params) -> Json:
    account = session.host.venue.state.accounts[session.host.account].account
    return {"dualSidePosition": account.position_mode is PositionMode.HEDGE}


def set_position_mode(session: Session, params: Params) -> Json:
    host = session.host
    mode = PositionMode.HEDGE if params.flag("dualSidePosition") else PositionMode.ONE_WAY
    account = host.venue.state.accounts[host.account]
    host.catch_up()
    if account.account.position_mode is mode:
        raise ApiError(-4059, "No need to change position side.")
    if host.ledger.open_orders() or host.algos.open_orders():
        raise ApiError(-4067, "Position side cannot be changed if there exists open orders.")
    if account.open_holdings():
        raise ApiError(-4068, "Position side cannot be changed if there exists position.")
    _do(host, SetPositionMode(host.catch_up(), host.account, mode))
    return _SUCCESS


def multi_assets(session: Session, _: Params) -> Json:
    return {"multiAssetsMargin": session.host.config.multi_assets}


def set_multi_assets(session: Session, params: Params) -> Json:
    host = session.host
    wanted = params.flag("multiAssetsMargin")
    account = host.venue.state.accounts[host.account]
    host.catch_up()
    if wanted is host.config.multi_assets:
        raise ApiError(-4171, "No need to change Multi-Assets mode.")
    if wanted and any(account.mode(one.id) is MarginMode.ISOLATED for one in host.listings.values()):
        raise ApiError(
            -4167, "Unable to adjust to Multi-Assets mode with symbols of USDⓈ-M Futures under isolated-margin mode."
        )
    if host.ledger.open_orders():
        raise ApiError(-4170, "Unable to adjust Multi-Assets Mode with open orders in USDⓈ-M Futures.")
    host.config.multi_assets = wanted
    host.tell_multi_assets(wanted)
    return _SUCCESS


def adjust_margin(session: Session, params: Params) -> Json:
    host = session.host
    listing = listing_of(host, params)
    amount, kind = params.decimal("amount"), params.integer("type")
    side = PositionSide(params.maybe_choice("positionSide", POSITION_SIDES, "BOTH"))
    account = host.venue.state.accounts[host.account]
    now = host.catch_up()
    if kind not in {1, 2}:
        raise ApiError(-1130, "Data sent for parameter 'type' is not valid.")
    if amount <= ZERO:
        raise ApiError(-4055, "Amount must be positive.")
    if account.mode(listing.id) is not MarginMode.ISOLATED:
        raise ApiError(-4049, "Add margin only support for isolated position.")
    if not account.qty(listing.id, side):
        raise ApiError(-4054, "Cannot add position margin: position is 0.")
    signed = amount if kind == _ADD else -amount
    for note in _do(host, AdjustIsolatedMargin(now, host.account, listing.id, signed, side)):
        if note.kind == "margin_refused":
            raise (
                ApiError(-4050, "Cross balance insufficient.")
                if kind == _ADD
                else ApiError(-4051, "Isolated balance insufficient.")
            )
    host.tell_margin_transfer(listing.symbol, side, listing.spec.settle)
    host.config.margin_changes.append((now // _MS, listing.symbol, str(side), kind, amount, listing.spec.settle))
    return {"amount": float(amount), "code": 200, "msg": "Successfully modify position margin.", "type": kind}


def margin_history(session: Session, params: Params) -> list[Json]:
    listing = listing_of(session.host, params)
    kind, limit = params.maybe_integer("type"), params.limit(500, 1000)
    start, end = params.maybe_integer("startTime"), params.maybe_integer("endTime")
    found = [
        row
        for row in session.host.config.margin_changes
        if row[1] == listing.symbol
        and (kind is None or row[3] == kind)
        and (start is None or row[0] >= start)
        and (end is None or row[0] <= end)
    ]
    return [
        {
            "symbol": symbol,
            "type": of,
            "deltaType": "USER_ADJUST",
            "amount": _text(amount),
            "asset": asset,
            "time": ms,
            "positionSide": side,
        }
        for ms, symbol, side, of, amount, asset in found[-limit:]
    ]


def _text(amount: Decimal) -> str:
    return money(amount)


def sign_contract(_: Session, __: Params) -> Json:
    """The agreement for contracts on stocks: there are none, and nothing to refuse."""
    return _SUCCESS


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/fapi/v1/leverage"): Route(set_leverage, Security.SIGNED),
    ("POST", "/fapi/v1/marginType"): Route(set_margin_type, Security.SIGNED),
    ("GET", "/fapi/v1/positionSide/dual"): Route(position_mode, Security.SIGNED, 30),
    ("POST", "/fapi/v1/positionSide/dual"): Route(set_position_mode, Security.SIGNED),
    ("GET", "/fapi/v1/multiAssetsMargin"): Route(multi_assets, Security.SIGNED, 30),
    ("POST", "/fapi/v1/multiAssetsMargin"): Route(set_multi_assets, Security.SIGNED),
    ("POST", "/fapi/v1/positionMargin"): Route(adjust_margin, Security.SIGNED),
    ("GET", "/fapi/v1/positionMargin/history"): Route(margin_history, Security.SIGNED),
    ("POST", "/fapi/v1/stock/contract"): Route(sign_contract, Security.SIGNED, 50),
}
