"""Decides how a user stream prints what happened to the account.

Sources: USDS-M futures "User Data Streams" (ORDER_TRADE_UPDATE, TRADE_LITE, ACCOUNT_UPDATE, ALGO_UPDATE,
ACCOUNT_CONFIG_UPDATE, MARGIN_CALL, listenKeyExpired) and spot "User Data Stream" (executionReport,
outboundAccountPosition, balanceUpdate) of developers.binance.com; zeros as in streams recorded in March 2026.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from attrs import define, field

from sim.emulator.events import AccountEvent, AlgoEvent, ConfigEvent, Event, MarginCallEvent, OrderEvent
from sim.emulator.listings import Listing, plain
from sim.emulator.records import AlgoRecord, FillRecord, OrderRecord, PositionFigures
from venues.model.money import ZERO

Payload = dict[str, Any]

_NS_PER_MS: Final = 1_000_000
_MONEY_DECIMALS: Final = 8
_SPOT_REASON: Final = {"DEPOSIT": 1, "WITHDRAW": -1, "ADJUSTMENT": 1}


@define
class UserEvents:
    """Print the account's events for one venue; `print` returns nothing for what is no account event.

    It remembers which orders are open: an order event tells the notional of all bids and asks of its symbol.
    """

    listings: Mapping[str, Listing]
    is_spot: bool = False
    _open: dict[int, tuple[str, str, Decimal]] = field(factory=dict)

    def print(self, event: Event, now_ns: int) -> list[Payload]:
        """Return what the stream says of the event, in order. `now_ns` is when it is said."""
        made = _USER.get(type(event))
        if made is None:
            return []
        return made(self, event, now_ns // _NS_PER_MS)

    def _order(self, event: OrderEvent, now_ms: int) -> list[Payload]:
        order, fill = event.order, event.fill
        if order.is_open and order.price:
            left = (order.orig_qty - order.executed_qty) * order.price
            self._open[order.order_id] = (order.symbol, order.side, left)
        else:
            self._open.pop(order.order_id, None)
        if self.is_spot:
            return [self._execution_report(event, now_ms)]
        listing, ms = self.listings[order.symbol], event.ts // _NS_PER_MS
        full = {"e": "ORDER_TRADE_UPDATE", "T": ms, "E": now_ms, "o": self._order_fields(listing, event, ms)}
        if fill is None or event.execution != "TRADE":
            return [full]
        return [_trade_lite(listing, order, fill, ms, now_ms), full]

    def _order_fields(self, listing: Listing, event: OrderEvent, ms: int) -> Payload:
        order, fill = event.order, event.fill
        price, qty = _printers(listing)
        return {
            "s": order.symbol,
            "c": order.client_order_id,
            "S": order.side,
            "o": order.type,
            "f": order.time_in_force,
            "q": qty(order.orig_qty),
            "p": price(order.price),
            "ap": _average(listing, order),
            "sp": price(order.stop_price),
            "x": event.execution,
            "X": order.status,
            "i": order.order_id,
            "l": qty(fill.qty) if fill else "0",
            "z": qty(order.executed_qty),
            "L": price(fill.price) if fill else "0",
            "n": plain(fill.commission) if fill else "0",
            "N": fill.commission_asset if fill else listing.spec.settle,
            "T": ms,
            "t": fill.trade_id if fill else 0,
            "b": plain(self._notional(order.symbol, "BUY")),
            "a": plain(self._notional(order.symbol, "SELL")),
            "m": fill.is_maker if fill else False,
            "R": order.reduce_only,
            "wt": order.working_type,
            "ot": order.orig_type,
            "ps": order.position_side,
            "cp": order.close_position,
            **_trailing(order.activation_price, order.callback_rate),
            "rp": plain(fill.realized_pnl) if fill else "0",
            "pP": order.price_protect,
            "si": order.algo_id,
            "ss": -1 if order.algo_id else 0,
            **({"st": "ALGO_CONDITION"} if order.algo_id else {}),
            "V": order.stp_mode,
            "pm": order.price_match,
            "gtd": order.good_till_ms,
            "er": str(order.expiry_reason),
        }

    def _notional(self, symbol: str, side: str) -> Decimal:
        return sum((left for name, of, left in self._open.values() if name == symbol and of == side), ZERO)

    def _account(self, event: AccountEvent, now_ms: int) -> list[Payload]:
        ms = event.ts // _NS_PER_MS
        if self.is_spot:
            return _spot_account(event, ms, now_ms)
        account: Payload = {
            "B": [
                {
                    "a": one.asset,
                    "wb": _money(one.wallet),
                    "cw": _money(one.cross_wallet),
                    "bc": plain(one.change),
                }
                for one in event.balances
            ],
            "P": [self._position(one) for one in event.positions],
            "m": event.reason,
        }
        if event.symbol:
            account["S"] = event.symbol
        return [{"e": "ACCOUNT_UPDATE", "T": ms, "E": now_ms, "a": account}]

    def _position(self, figures: PositionFigures) -> Payload:
        listing = self.listings[figures.symbol]
        is_isolated = figures.margin_type.lower() == "isolated"
        return {
            "s": figures.symbol,
            "pa": plain(figures.amount),
            "ep": plain(_rounded(figures.entry_price)),
            "cr": plain(figures.accumulated_realized),
            "up": _money(figures.unrealized),
            "mt": "isolated" if is_isolated else "cross",
            "iw": _money(figures.isolated_wallet) if is_isolated else "0",
            "ps": figures.position_side,
            "ma": listing.spec.settle,
            "bep": plain(_rounded(figures.break_even_price)),
        }

    def _algo(self, event: AlgoEvent, now_ms: int) -> list[Payload]:
        algo = event.algo
        fields = _algo_fields(self.listings[algo.symbol], algo)
        return [{"e": "ALGO_UPDATE", "T": event.ts // _NS_PER_MS, "E": now_ms, "o": fields}]

    def _config(self, event: ConfigEvent, now_ms: int) -> list[Payload]:
        payload: Payload = {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": event.ts // _NS_PER_MS}
        if event.symbol:
            payload["ac"] = {"s": event.symbol, "l": event.leverage}
        else:
            payload["ai"] = {"j": event.multi_assets}
        return [payload]

    def _margin_call(self, event: MarginCallEvent, now_ms: int) -> list[Payload]:
        positions = [
            {
                "s": one.symbol,
                "ps": one.position_side,
                "pa": plain(one.amount),
                "mt": "ISOLATED" if one.margin_type == "isolated" else "CROSSED",
                "iw": _money(one.isolated_wallet),
                "mp": plain(one.mark_price),
                "up": _money(one.unrealized),
                "mm": _money(one.maint_margin),
            }
            for one in event.positions
        ]
        return [{"e": "MARGIN_CALL", "E": now_ms, "cw": _money(event.cross_wallet), "p": positions}]

    def _execution_report(self, event: OrderEvent, now_ms: int) -> Payload:
        order, fill, ms = event.order, event.fill, event.ts // _NS_PER_MS
        listing = self.listings[order.symbol]
        price, qty = listing.price_text, listing.qty_text
        canceled = event.execution == "CANCELED"
        return {
            "e": "executionReport",
            "E": now_ms,
            "s": order.symbol,
            "c": order.client_order_id,
            "S": order.side,
            "o": order.type,
            "f": order.time_in_force,
            "q": qty(order.orig_qty),
            "p": price(order.price),
            "P": price(order.stop_price),
            "F": qty(ZERO),
            "g": -1,
            "C": order.client_order_id if canceled else "",
            "x": event.execution,
            "X": order.status,
            "r": "NONE",
            "i": order.order_id,
            "l": qty(fill.qty if fill else ZERO),
            "z": qty(order.executed_qty),
            "L": price(fill.price if fill else ZERO),
            "n": plain(fill.commission) if fill else "0",
            "N": fill.commission_asset if fill else None,
            "T": ms,
            "t": fill.trade_id if fill else -1,
            "I": order.order_id * 2 + (1 if fill else 0),
            "w": order.is_open,
            "m": fill.is_maker if fill else False,
            "M": False,
            "O": order.time_ms,
            "Z": _money(order.cum_quote),
            "Y": _money(fill.quote_qty if fill else ZERO),
            "Q": _money(ZERO),
            "W": order.time_ms,
            "V": order.stp_mode,
        }


_USER: Final[dict[type, Callable[[UserEvents, Any, int], list[Payload]]]] = {
    OrderEvent: UserEvents._order,
    AccountEvent: UserEvents._account,
    AlgoEvent: UserEvents._algo,
    ConfigEvent: UserEvents._config,
    MarginCallEvent: UserEvents._margin_call,
}


def listen_key_expired(key: str, now_ns: int) -> Payload:
    return {"e": "listenKeyExpired", "E": now_ns // _NS_PER_MS, "listenKey": key}


def _printers(listing: Listing) -> tuple[Callable[[Decimal], str], Callable[[Decimal], str]]:
    """Return how prices and quantities are printed: with the grid's decimals, and 0 without any."""

    def price(value: Decimal) -> str:
        return listing.price_text(value) if value else "0"

    def qty(value: Decimal) -> str:
        return listing.qty_text(value) if value else "0"

    return price, qty


def _average(listing: Listing, order: OrderRecord) -> str:
    average = order.avg_price
    return f"{average:.{max(listing.price_decimals, 5)}f}" if average else "0"


def _rounded(price: Decimal) -> Decimal:
    return round(price, 11)


def _money(amount: Decimal) -> str:
    return f"{amount:.{_MONEY_DECIMALS}f}"


def _trailing(activation: Decimal, callback: Decimal) -> Payload:
    return {"AP": plain(activation), "cr": plain(callback)} if callback else {}


def _trade_lite(listing: Listing, order: OrderRecord, fill: FillRecord, ms: int, now_ms: int) -> Payload:
    price, qty = _printers(listing)
    return {
        "e": "TRADE_LITE",
        "E": now_ms,
        "T": ms,
        "s": order.symbol,
        "q": qty(order.orig_qty),
        "p": price(order.price),
        "m": fill.is_maker,
        "c": order.client_order_id,
        "S": order.side,
        "L": price(fill.price),
        "l": qty(fill.qty),
        "t": fill.trade_id,
        "i": order.order_id,
    }


def _algo_fields(listing: Listing, algo: AlgoRecord) -> Payload:
    price, qty = _printers(listing)
    shown: Payload = {
        "caid": algo.client_algo_id,
        "aid": algo.algo_id,
        "at": algo.algo_type,
        "o": algo.order_type,
        "s": algo.symbol,
        "S": algo.side,
        "ps": algo.position_side,
        "f": algo.time_in_force,
        "q": qty(algo.qty),
        "X": algo.status,
        "ai": str(algo.actual_order_id) if algo.actual_order_id else "",
    }
    if algo.actual_order_id:
        shown |= {"ap": price(algo.actual_price), "aq": qty(algo.actual_qty), "act": algo.actual_type}
    shown |= {
        "tp": price(algo.trigger_price),
        "p": price(algo.price),
        "V": algo.stp_mode,
        "wt": algo.working_type,
        "pm": algo.price_match,
        "cp": algo.close_position,
        "pP": algo.price_protect,
        "R": algo.reduce_only,
        "tt": algo.trigger_ms,
        "gtd": algo.good_till_ms,
        **_trailing(algo.activation_price, algo.callback_rate),
    }
    if algo.reject_reason:
        shown["rm"] = algo.reject_reason
    return shown


def _spot_account(event: AccountEvent, ms: int, now_ms: int) -> list[Payload]:
    if event.reason in _SPOT_REASON:
        return [
            {"e": "balanceUpdate", "E": now_ms, "a": one.asset, "d": _money(one.change), "T": ms}
            for one in event.balances
        ]
    # Locked amounts are what the wallet holds beyond what is free.
    rows = [
        {"a": one.asset, "f": _money(one.cross_wallet), "l": _money(one.wallet - one.cross_wallet)}
        for one in event.balances
    ]
    return [{"e": "outboundAccountPosition", "E": now_ms, "u": ms, "B": rows}]
