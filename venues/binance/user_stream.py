"""What an event of a USDS-M account's user stream says, as reports of the port.

Pure: bytes in, reports out. Events of one type come in order, those of different types in any: whoever takes the
reports must not rely on a fill coming before the balance it changed. Source: facts D4.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

import msgspec

from venues.binance.answers import MARGIN_MODES
from venues.binance.market_answers import Body
from venues.binance.reading import (
    NS_PER_MS,
    POSITION_SIDES,
    SIDES,
    amount,
    known,
    not_negative,
    positive,
    price_or_none,
    read,
)
from venues.binance.user_events import KIND_CHARS_MAX, UserEvent, UserStream
from venues.binance.wire_user import (
    WireAccountUpdate,
    WireAlgoUpdate,
    WireConfigUpdate,
    WireKeyExpired,
    WireOrderEvent,
    WireOrderUpdate,
    WireTradeLite,
)
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.port import (
    AccountReport,
    Deleveraged,
    Liquidated,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    OrderTriggered,
    PositionReport,
    RejectReason,
    Report,
)

FORCED: Final = (
    ("adl_autoclose", FillReason.ADL),
    ("settlement_autoclose-", FillReason.SETTLEMENT),
    ("delivery_autoclose-", FillReason.SETTLEMENT),
    ("autoclose-", FillReason.LIQUIDATION),
)
"""Client ids of the venue's own orders begin with these. Source: "Event: Order Update"."""

ACCOUNT_REASONS: Final = {
    "FUNDING_FEE": "funding",
    "ORDER": "order",
    "MARGIN_TRANSFER": "margin_transfer",
    "MARGIN_TYPE_CHANGE": "margin_mode",
    "INSURANCE_CLEAR": "liquidation_fee",
}
"""The simulated venue's words; any other reason is the venue's own in small letters."""

TAKEN_OVER: Final = "NEW_INSURANCE"
"""The order status of a fill by which the insurance fund takes the rest of a position."""

_POST_ONLY: Final = "GTX"
_WOULD_TAKE: Final = ("0", "11")
_FILLS: Final = ("TRADE", "CALCULATED")

_order_update = msgspec.json.Decoder(WireOrderUpdate).decode
_trade_lite = msgspec.json.Decoder(WireTradeLite).decode
_account_update = msgspec.json.Decoder(WireAccountUpdate).decode
_algo_update = msgspec.json.Decoder(WireAlgoUpdate).decode
_config_update = msgspec.json.Decoder(WireConfigUpdate).decode
_key_expired = msgspec.json.Decoder(WireKeyExpired).decode


class UsdmUserStream(UserStream):
    """Decode one account's events.

    `mark_of` gives an instrument's mark price, None where it is not known: the venue does not tell at which one it
    liquidated, and the fill's own price stands in then. TRADE_LITE is ignored: it comes first and without the fee, and
    a fill booked without its fee would never get it.
    """

    def __init__(self, venue: str, account: str, mark_of: Callable[[str], Decimal | None] = lambda _: None) -> None:
        super().__init__(
            venue,
            account,
            {
                "ORDER_TRADE_UPDATE": self._on_order,
                "ACCOUNT_UPDATE": self._on_account,
                "ALGO_UPDATE": self._on_algo,
                "TRADE_LITE": self._on_trade_lite,
                "ACCOUNT_CONFIG_UPDATE": self._on_config,
                "listenKeyExpired": self._on_key_expired,
            },
        )
        self._mark_of = mark_of

    # Orders

    def _on_order(self, raw: Body) -> UserEvent:
        wire = read(_order_update, raw, "ORDER_TRADE_UPDATE")
        order = wire.order
        ts = (order.time_ms or wire.transaction_ms) * NS_PER_MS
        forced = _forced(order.client_order_id)
        if order.execution in _FILLS and (qty := amount(order.last_qty, "l")) > ZERO:
            return UserEvent("ORDER_TRADE_UPDATE", self._fill(order, ts, qty, forced))
        report = self._change(order, ts) if forced is None else None
        return UserEvent("ORDER_TRADE_UPDATE", () if report is None else (report,))

    def _fill(self, order: WireOrderEvent, ts: int, qty: Decimal, forced: FillReason | None) -> tuple[Report, ...]:
        instrument, side = self._names.id(order.symbol), SIDES[order.side]
        position_side = POSITION_SIDES[order.position_side]
        price = positive(order.last_price, "L")
        liquidity = Liquidity.MAKER if order.is_maker else Liquidity.TAKER
        if forced in (FillReason.ADL, FillReason.SETTLEMENT):
            liquidity = Liquidity.NONE
        fill = OrderFilled(
            ts,
            self.account,
            instrument,
            order.client_order_id,
            str(order.order_id),
            str(order.trade_id),
            side,
            price,
            qty,
            liquidity,
            amount(order.fee, "n") if order.fee is not None else ZERO,
            order.fee_asset or "",
            forced or (FillReason.QUEUE if order.is_maker else FillReason.TAKER),
            position_side,
        )
        cause: Report | None = None
        if forced is FillReason.ADL:
            cause = Deleveraged(ts, self.account, instrument, side, qty, price, position_side)
        elif forced is FillReason.LIQUIDATION:
            bankruptcy = price_or_none(order.price, "p") or price
            taken_over = qty if order.status == TAKEN_OVER else ZERO
            mark = self._mark_of(instrument) or price
            # The clearance fee is told by the income alone.
            cause = Liquidated(
                ts, self.account, instrument, side, qty, mark, price, bankruptcy, ZERO, taken_over, position_side
            )
        if not self._fills.is_new((order.symbol, order.order_id, order.trade_id)):
            return ()
        return (fill,) if cause is None else (fill, cause)

    def _change(self, order: WireOrderEvent, ts: int) -> Report | None:
        """Return what has become of the order; an execution type that is not known is judged by the order's status."""
        instrument, client_id = self._names.id(order.symbol), order.client_order_id
        filled = not_negative(order.filled_qty, "z")
        word = order.status if order.status in ("CANCELED", "EXPIRED", "EXPIRED_IN_MATCH") else order.execution
        if word == "NEW":
            return OrderAccepted(ts, self.account, instrument, client_id, str(order.order_id))
        if word == "CANCELED":
            return OrderCanceled(ts, self.account, instrument, client_id, filled)
        if word in ("EXPIRED", "EXPIRED_IN_MATCH"):
            if order.tif == _POST_ONLY and not filled and str(order.expiry_reason) in _WOULD_TAKE:
                text = "the post-only order would have taken"
                return OrderRejected(ts, self.account, instrument, client_id, RejectReason.WOULD_TAKE, text)
            return OrderExpired(ts, self.account, instrument, client_id, filled)
        if word == "AMENDMENT":
            qty, price = positive(order.qty, "q"), positive(order.price, "p")
            return OrderModified(ts, self.account, instrument, client_id, qty, price)
        if word == "REJECTED":
            return OrderRejected(ts, self.account, instrument, client_id, RejectReason.OTHER, "rejected by the venue")
        return None

    def _on_trade_lite(self, raw: Body) -> UserEvent:
        read(_trade_lite, raw, "TRADE_LITE")
        return UserEvent("TRADE_LITE")

    def _on_algo(self, raw: Body) -> UserEvent:
        """Tell of a conditional order. What it becomes is an order of the same client id, with events of its own."""
        wire = read(_algo_update, raw, "ALGO_UPDATE")
        order, ts = wire.order, wire.transaction_ms * NS_PER_MS
        instrument, client_id = self._names.id(order.symbol), order.client_algo_id
        filled = not_negative(order.filled_qty or "0", "aq")
        report: Report | None = None
        if order.status == "NEW":
            report = OrderAccepted(ts, self.account, instrument, client_id, str(order.algo_id))
        elif order.status in ("TRIGGERING", "TRIGGERED"):
            report = OrderTriggered(ts, self.account, instrument, client_id)
        elif order.status == "CANCELED":
            report = OrderCanceled(ts, self.account, instrument, client_id, filled)
        elif order.status == "EXPIRED" or (order.status == "FINISHED" and not order.order_id):
            report = OrderExpired(ts, self.account, instrument, client_id, filled)
        elif order.status == "REJECTED":
            report = OrderRejected(ts, self.account, instrument, client_id, RejectReason.OTHER, (order.why or "")[:240])
        return UserEvent("ALGO_UPDATE", () if report is None else (report,))

    # The account

    def _on_account(self, raw: Body) -> UserEvent:
        """Tell balances and positions: only what has changed, so that what is missing is as it was."""
        wire = read(_account_update, raw, "ACCOUNT_UPDATE")
        ts = (wire.transaction_ms or wire.event_ms) * NS_PER_MS
        reports: list[Report] = [
            PositionReport(
                ts,
                self.account,
                self._names.id(one.symbol),
                POSITION_SIDES[one.position_side],
                amount(one.qty, "pa"),
                price_or_none(one.entry_price, "ep"),
                margin_mode=known(MARGIN_MODES, one.margin_type.upper(), "mt") if one.margin_type else None,
            )
            for one in wire.change.positions
        ]
        balances = {one.asset: amount(one.wallet_balance, f"{one.asset[:20]} wb") for one in wire.change.balances}
        if balances:
            reason = wire.change.reason[:KIND_CHARS_MAX]
            reports.append(AccountReport(ts, self.account, balances, ACCOUNT_REASONS.get(reason, reason.lower())))
        return UserEvent("ACCOUNT_UPDATE", tuple(reports))

    def _on_config(self, raw: Body) -> UserEvent:
        change = read(_config_update, raw, "ACCOUNT_CONFIG_UPDATE").change
        told = None if change is None else (self._names.id(change.symbol), change.leverage)
        return UserEvent("ACCOUNT_CONFIG_UPDATE", leverage=told)

    def _on_key_expired(self, raw: Body) -> UserEvent:
        expired = read(_key_expired, raw, "listenKeyExpired").listen_key
        return UserEvent("listenKeyExpired", listen_key=expired)


def _forced(client_order_id: str) -> FillReason | None:
    """Return why the venue made an order of its own, None for anybody else's."""
    if "autoclose" not in client_order_id:
        return None
    return next((reason for prefix, reason in FORCED if client_order_id.startswith(prefix)), None)
