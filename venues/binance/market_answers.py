"""What an answer says that futures and spot give alike, as reports of the port.

Every function raises CodecError that names the field, and nothing else.
"""

from typing import Final

import msgspec

from venues.binance.errors import CodecError, CodecErrorReason
from venues.binance.reading import (
    NS_PER_MS,
    POSITION_SIDES,
    SIDES,
    STATUSES,
    TYPES,
    amount,
    known,
    not_negative,
    positive,
    price_or_none,
    read,
)
from venues.binance.wire_rest import (
    WireListenKey,
    WireOrder,
    WireReply,
    WireServerTime,
    WireSpotTrade,
    WireUserTrade,
)
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import Bar, OrderFilled, OrderReport

Body = bytes | msgspec.Raw

_order = msgspec.json.Decoder(WireOrder).decode
_orders = msgspec.json.Decoder(list[WireOrder]).decode
_bars = msgspec.json.Decoder(list[list[int | str]]).decode
_server_time = msgspec.json.Decoder(WireServerTime).decode
_listen_key = msgspec.json.Decoder(WireListenKey).decode
_reply = msgspec.json.Decoder(WireReply).decode

_BAR_FIELDS: Final = 7


class SymbolNames:
    """The instruments of one venue by symbol."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self._ids: dict[str, str] = {}

    def id(self, symbol: str) -> str:
        """Return the instrument's id. Raises CodecError for a name that can be none."""
        found = self._ids.get(symbol)
        if found is None:
            if not symbol or len(symbol) > 64:
                raise CodecError(CodecErrorReason.UNKNOWN_SYMBOL, f"symbol: {symbol[:40]!r}")
            found = self._ids[symbol] = f"{self.venue}:{symbol}"
            if len(self._ids) > 4096:
                self._ids.clear()
        return found


class MarketAnswers:
    """Read the answers of one venue; `venue` is the first half of its instruments' ids."""

    def __init__(self, venue: str) -> None:
        self._names = SymbolNames(venue)

    def order(self, account: str, body: Body, now: int) -> OrderReport:
        return self._report(account, read(_order, body, "order"), now)

    def orders(self, account: str, body: Body, now: int) -> tuple[OrderReport, ...]:
        return tuple(self._report(account, wire, now) for wire in read(_orders, body, "orders"))

    def _report(self, account: str, wire: WireOrder, now: int) -> OrderReport:
        return OrderReport(
            now,
            account,
            self._names.id(wire.symbol),
            wire.client_order_id,
            str(wire.order_id),
            SIDES[wire.side],
            not_negative(wire.orig_qty, "origQty"),
            not_negative(wire.executed_qty, "executedQty"),
            known(STATUSES, wire.status, "status"),
            known(TYPES, wire.type, "type"),
            price_or_none(wire.price, "price"),
            POSITION_SIDES[wire.position_side],
        )

    def _filled(
        self,
        account: str,
        wire: WireUserTrade | WireSpotTrade,
        side: Side,
        position_side: PositionSide = PositionSide.BOTH,
    ) -> OrderFilled:
        """Return a fill, without client order id and only taker or maker as the reason: the venue tells no more."""
        return OrderFilled(
            wire.time_ms * NS_PER_MS,
            account,
            self._names.id(wire.symbol),
            "",
            str(wire.order_id),
            str(wire.trade_id),
            side,
            positive(wire.price, "price"),
            positive(wire.qty, "qty"),
            Liquidity.MAKER if wire.is_maker else Liquidity.TAKER,
            amount(wire.commission, "commission"),
            wire.commission_asset,
            FillReason.QUEUE if wire.is_maker else FillReason.TAKER,
            position_side,
        )


def bars(instrument: str, body: Body, *, is_mark: bool) -> tuple[Bar, ...]:
    """Return the bars of `klines` or `markPriceKlines`; the last one may still be growing."""
    found = []
    for row in read(_bars, body, "klines"):
        if len(row) < _BAR_FIELDS or not isinstance(row[0], int) or not isinstance(row[6], int):
            raise CodecError(CodecErrorReason.BAD_FIELD, f"klines: {str(row)[:80]} is no bar")
        opened, high, low, close = (positive(str(text), "klines") for text in row[1:5])
        if not low <= min(opened, close) <= max(opened, close) <= high:
            raise CodecError(CodecErrorReason.BAD_NUMBER, f"klines: open, high, low, close {row[1:5]}")
        volume = ZERO if is_mark else not_negative(str(row[5]), "klines volume")
        end = (row[6] + 1) * NS_PER_MS
        found.append(Bar(end, instrument, row[0] * NS_PER_MS, opened, high, low, close, volume, is_mark))
    return tuple(found)


def server_time_ns(body: Body) -> int:
    """Return the venue's time in ns, to the millisecond."""
    return read(_server_time, body, "time").server_ms * NS_PER_MS


def listen_key(body: Body) -> str:
    """Return the key of the user stream. Raises CodecError for one that could not stand in a URL."""
    found = read(_listen_key, body, "listenKey").listen_key
    if not found.isascii() or not found.isalnum() or len(found) > 256:
        raise CodecError(CodecErrorReason.BAD_FIELD, "listenKey: not a word of ASCII letters and digits")
    return found


def ws_reply(raw: bytes) -> WireReply:
    """Return a reply of the WebSocket API, its `result` unread. Raises CodecError."""
    return read(_reply, raw, "reply")
