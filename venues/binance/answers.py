"""What an answer of the USDS-M futures API says, as reports of the port.

Pure: the body of an answer with HTTP status 200 in, reports out; what a refusal means is decided in `reactions`.
Every function raises CodecError that names the field, and nothing else. An unknown symbol is no error here: a
position or an order the desk does not know of is news it must have, under the id `venue:symbol`.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import msgspec

from venues.binance.market_answers import Body, MarketAnswers
from venues.binance.reading import (
    ALGO_STATUSES,
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
from venues.binance.wire import WireFundingRate
from venues.binance.wire_rest import (
    WireAccount,
    WireAlgoOrder,
    WireBalance,
    WireDualSide,
    WireIncome,
    WireLeverage,
    WireOpenInterest,
    WireOrder,
    WirePosition,
    WireSymbolConfig,
    WireUserTrade,
)
from venues.model.account import MarginMode, PositionMode
from venues.model.money import ZERO
from venues.model.order import OrderStatus
from venues.port import (
    AdlRank,
    FundingRate,
    Income,
    IncomeKind,
    ModifyOrder,
    OpenInterest,
    OrderAccepted,
    OrderCanceled,
    OrderFilled,
    OrderModified,
    OrderReport,
    PositionReport,
)

_order = msgspec.json.Decoder(WireOrder).decode
_algo_order = msgspec.json.Decoder(WireAlgoOrder).decode
_algo_orders = msgspec.json.Decoder(list[WireAlgoOrder]).decode
_trades = msgspec.json.Decoder(list[WireUserTrade]).decode
_positions = msgspec.json.Decoder(list[WirePosition]).decode
_symbol_configs = msgspec.json.Decoder(list[WireSymbolConfig]).decode
_account = msgspec.json.Decoder(WireAccount).decode
_balances = msgspec.json.Decoder(list[WireBalance]).decode
_dual_side = msgspec.json.Decoder(WireDualSide).decode
_incomes = msgspec.json.Decoder(list[WireIncome]).decode
_funding_rates = msgspec.json.Decoder(list[WireFundingRate]).decode
_open_interest = msgspec.json.Decoder(WireOpenInterest).decode
_leverage = msgspec.json.Decoder(WireLeverage).decode

MARGIN_MODES: Final = {
    "CROSSED": MarginMode.CROSS,
    "CROSS": MarginMode.CROSS,
    "ISOLATED": MarginMode.ISOLATED,
}

INCOME_KINDS: Final = {
    "FUNDING_FEE": IncomeKind.FUNDING,
    "TRANSFER": IncomeKind.TRANSFER,
    "INTERNAL_TRANSFER": IncomeKind.TRANSFER,
    "CROSS_COLLATERAL_TRANSFER": IncomeKind.TRANSFER,
    "STRATEGY_UMFUTURES_TRANSFER": IncomeKind.TRANSFER,
    "COIN_SWAP_DEPOSIT": IncomeKind.TRANSFER,
    "COIN_SWAP_WITHDRAW": IncomeKind.TRANSFER,
    "AUTO_EXCHANGE": IncomeKind.TRANSFER,
    "INSURANCE_CLEAR": IncomeKind.INSURANCE,
}
"""Anything else is OTHER, except OF_TRADES. Source: "Get Income History"."""

OF_TRADES: Final = frozenset({"REALIZED_PNL", "COMMISSION", "DELIVERED_SETTELMENT"})
"""Money that belongs to a fill and comes with it: left out, or it would be counted twice."""

_ALGO_FINISHED: Final = "FINISHED"


class UsdmAnswers(MarketAnswers):
    """Read the answers of one USDS-M venue."""

    # Answers to commands

    def accepted(self, account: str, body: Body) -> OrderAccepted:
        """Return that the venue has the order, whatever has become of it since: the user stream tells that."""
        wire = read(_order, body, "new order")
        return OrderAccepted(
            wire.update_ms * NS_PER_MS, account, self._names.id(wire.symbol), wire.client_order_id, str(wire.order_id)
        )

    def algo_accepted(self, account: str, body: Body) -> OrderAccepted:
        wire = read(_algo_order, body, "new algo order")
        return OrderAccepted(
            wire.update_ms * NS_PER_MS, account, self._names.id(wire.symbol), wire.client_algo_id, str(wire.algo_id)
        )

    def modified(self, command: ModifyOrder, body: Body) -> OrderModified | OrderCanceled:
        """Return the change, or the end: an order is cancelled by a quantity that has been filled already."""
        wire = read(_order, body, "modify order")
        ts, filled = wire.update_ms * NS_PER_MS, not_negative(wire.executed_qty, "executedQty")
        if known(STATUSES, wire.status, "status") in (OrderStatus.CANCELED, OrderStatus.EXPIRED):
            return OrderCanceled(ts, command.account, command.instrument, command.client_order_id, filled)
        return OrderModified(
            ts,
            command.account,
            command.instrument,
            command.client_order_id,
            positive(wire.orig_qty, "origQty"),
            positive(wire.price, "price"),
        )

    def canceled(self, account: str, body: Body) -> OrderCanceled | None:
        """Return the end of the order, None when the answer tells of another state: the user stream will say."""
        wire = read(_order, body, "cancel order")
        if known(STATUSES, wire.status, "status") is not OrderStatus.CANCELED:
            return None
        return OrderCanceled(
            wire.update_ms * NS_PER_MS,
            account,
            self._names.id(wire.symbol),
            wire.client_order_id,
            not_negative(wire.executed_qty, "executedQty"),
        )

    def leverage(self, body: Body) -> tuple[str, int]:
        """Return the instrument and its leverage now."""
        wire = read(_leverage, body, "leverage")
        return self._names.id(wire.symbol), wire.leverage

    # Answers to queries, besides those on orders

    def algo_order(self, account: str, body: Body, now: int) -> OrderReport:
        """Return a conditional order. Raises CodecError for one that has been triggered and has ended since.

        Its end is told by the order it became, which goes by the same client id.
        """
        return self._algo_report(account, read(_algo_order, body, "algoOrder"), now)

    def algo_orders(self, account: str, body: Body, now: int) -> tuple[OrderReport, ...]:
        """Return the conditional orders that are not over; one being triggered may be a plain order already.

        That order goes by the same client id and knows better.
        """
        wires = (wire for wire in read(_algo_orders, body, "algoOrders") if wire.status != _ALGO_FINISHED)
        reports = (self._algo_report(account, wire, now) for wire in wires)
        return tuple(report for report in reports if not report.status.is_terminal)

    def fills(self, account: str, body: Body) -> tuple[OrderFilled, ...]:
        return tuple(
            self._filled(account, wire, SIDES[wire.side], POSITION_SIDES[wire.position_side])
            for wire in read(_trades, body, "userTrades")
        )

    def positions(
        self, account: str, risk: Body, configs: Mapping[str, WireSymbolConfig], now: int
    ) -> tuple[PositionReport, ...]:
        """Return the open positions. `configs` bring what the third version of positionRisk leaves out."""
        reports = []
        for wire in read(_positions, risk, "positionRisk"):
            qty = amount(wire.qty, "positionAmt")
            if not qty:
                continue
            config = configs.get(wire.symbol)
            leverage = config.leverage if config is not None else _whole(wire.leverage)
            mode = config.margin_type if config is not None else wire.margin_type
            reports.append(
                PositionReport(
                    now,
                    account,
                    self._names.id(wire.symbol),
                    POSITION_SIDES[wire.position_side],
                    qty,
                    price_or_none(wire.entry_price, "entryPrice"),
                    _liquidation_price(wire.liquidation_price),
                    leverage,
                    known(MARGIN_MODES, mode.upper(), "marginType") if mode else None,
                )
            )
        return tuple(reports)

    def adl_ranks(self, account: str, risk: Body, now: int) -> tuple[AdlRank, ...]:
        """Return the places of open positions in the deleveraging queue: the venue counts 0 (last) to 4 (first)."""
        return tuple(
            AdlRank(now, account, self._names.id(wire.symbol), wire.adl + 1, POSITION_SIDES[wire.position_side])
            for wire in read(_positions, risk, "positionRisk")
            if wire.adl is not None and amount(wire.qty, "positionAmt")
        )

    def symbol_configs(self, body: Body) -> dict[str, WireSymbolConfig]:
        """Return leverage and margin type by symbol."""
        return {wire.symbol: wire for wire in read(_symbol_configs, body, "symbolConfig")}

    def balances(self, body: Body) -> dict[str, Decimal]:
        """Return the wallet balances, margin of isolated positions included, of `account` or `balance`."""
        if bytes(body).lstrip()[:1] == b"[":
            told = [(wire.asset, wire.balance) for wire in read(_balances, body, "balance")]
        else:
            told = [(wire.asset, wire.wallet_balance) for wire in read(_account, body, "account").assets]
        return {asset: amount(text, f"{asset[:20]} walletBalance") for asset, text in told}

    def position_mode(self, body: Body) -> PositionMode:
        return PositionMode.HEDGE if read(_dual_side, body, "accountConfig").is_dual else PositionMode.ONE_WAY

    def incomes(self, account: str, body: Body) -> tuple[tuple[Income, ...], int, int]:
        """Return the movements that are no trade's own, how many rows there were, and the time of the last (ms)."""
        rows = read(_incomes, body, "income")
        found = tuple(
            Income(
                wire.time_ms * NS_PER_MS,
                account,
                INCOME_KINDS.get(wire.kind, IncomeKind.OTHER),
                wire.asset,
                amount(wire.amount, "income"),
                f"{wire.kind}-{wire.tran_id}",
                self._names.id(wire.symbol) if wire.symbol else "",
            )
            for wire in rows
            if wire.kind not in OF_TRADES
        )
        return found, len(rows), rows[-1].time_ms if rows else 0

    def funding_rates(self, body: Body) -> tuple[FundingRate, ...]:
        return tuple(
            FundingRate(
                wire.funding_ms * NS_PER_MS,
                self._names.id(wire.symbol),
                amount(wire.rate, "fundingRate"),
                price_or_none(wire.mark, "markPrice"),
            )
            for wire in read(_funding_rates, body, "fundingRate")
        )

    def open_interest(self, body: Body) -> OpenInterest:
        wire = read(_open_interest, body, "openInterest")
        return OpenInterest(
            wire.time_ms * NS_PER_MS, self._names.id(wire.symbol), not_negative(wire.qty, "openInterest")
        )

    def _algo_report(self, account: str, wire: WireAlgoOrder, now: int) -> OrderReport:
        return OrderReport(
            now,
            account,
            self._names.id(wire.symbol),
            wire.client_algo_id,
            str(wire.algo_id),
            SIDES[wire.side],
            not_negative(wire.quantity, "quantity"),
            ZERO,
            known(ALGO_STATUSES, wire.status, "algoStatus"),
            known(TYPES, wire.order_type or wire.older_type, "orderType"),
            price_or_none(wire.price, "price"),
            POSITION_SIDES[wire.position_side],
        )


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _liquidation_price(text: str) -> Decimal | None:
    """Zero and below mean that there is none (FAQ b3c689c1f50a44cabb3a84e663b81d93)."""
    price = amount(text, "liquidationPrice") if text else ZERO
    return price if price > ZERO else None
