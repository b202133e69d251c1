"""Decides what the emulated venue remembers and tells of what happened to the account: reports in, records, events out.

Every order, execution, income row and amendment is kept in Binance's words, the last of each.
"""

from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal

from attrs import define, evolve, field

from sim.account import CashFlow, FlowType
from sim.emulator.events import AccountEvent, BalanceChange, Event, OrderEvent
from sim.emulator.listings import Listing
from sim.emulator.records import AmendmentRecord, FillRecord, IncomeRecord, OrderRecord, PositionFigures
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide
from venues.port import (
    AccountReport,
    Liquidated,
    LiquidationPrint,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    PositionReport,
    Report,
    SubmitOrder,
    Trade,
)

KEPT = 20_000
_MS = 1_000_000

# Order ids are beyond 32 bits, trade ids within: what clients meet at the venue.
_FIRST_ORDER_ID = 8_389_765_000_000
_FIRST_TRADE_ID = 500_000_000

# Source: facts D4 (`er`) and change log.
EXPIRED_STP = 1
EXPIRED_IOC = 2
EXPIRED_REDUCE_ONLY = 4
EXPIRED_LIQUIDATION = 5
EXPIRED_UNFILLABLE = 9

_REASONS = {
    "fill": "ORDER",
    "deposit": "DEPOSIT",
    "withdraw": "WITHDRAW",
    "funding": "FUNDING_FEE",
    "insurance": "INSURANCE_CLEAR",
    "settlement": "ADJUSTMENT",
    "margin_transfer": "MARGIN_TRANSFER",
    "margin_mode": "MARGIN_TYPE_CHANGE",
}
_INCOMES = {
    FlowType.FEE: "COMMISSION",
    FlowType.FUNDING: "FUNDING_FEE",
    FlowType.REALIZED_PNL: "REALIZED_PNL",
    FlowType.LIQUIDATION_FEE: "INSURANCE_CLEAR",
    FlowType.INSURANCE: "INSURANCE_CLEAR",
    FlowType.SETTLEMENT: "DELIVERED_SETTELMENT",
    FlowType.TRANSFER: "TRANSFER",
}
TYPES = {
    OrderType.MARKET: "MARKET",
    OrderType.LIMIT: "LIMIT",
    OrderType.STOP_MARKET: "STOP_MARKET",
    OrderType.STOP_LIMIT: "STOP",
    OrderType.TAKE_PROFIT_MARKET: "TAKE_PROFIT_MARKET",
    OrderType.TRAILING_STOP: "TRAILING_STOP_MARKET",
}


@define
class _Costs:
    """What a position has cost since it was last flat: fees paid less profit realised."""

    amount: Decimal = ZERO
    paid: Decimal = ZERO


@define
class Ledger:
    """`listings` by instrument id; `figures` gives a position's figures now."""

    account: str
    listings: dict[str, Listing]
    figures: Callable[[Listing, PositionSide], PositionFigures]
    orders: dict[int, OrderRecord] = field(factory=dict)
    newest: dict[str, OrderRecord] = field(factory=dict)
    live: dict[int, OrderRecord] = field(factory=dict)
    fills: deque[FillRecord] = field(factory=lambda: deque(maxlen=KEPT))
    incomes: deque[IncomeRecord] = field(factory=lambda: deque(maxlen=KEPT))
    amendments: deque[AmendmentRecord] = field(factory=lambda: deque(maxlen=KEPT))
    updated_ms: dict[tuple[str, str], int] = field(factory=dict)
    balance_ms: int = 0
    wallets: dict[str, Decimal] = field(factory=dict)
    pending: OrderRecord | None = None
    taker: str = ""
    ended_by: int = 0
    _costs: dict[tuple[str, str], _Costs] = field(factory=dict)
    _trade_ids: dict[str, int] = field(factory=dict)
    _order_ids: int = _FIRST_ORDER_ID
    _tran_ids: int = 0
    _amendment_ids: int = 0
    _names: int = 0

    # Numbers

    def next_order_id(self) -> int:
        self._order_ids += 1
        return self._order_ids

    def take_name(self) -> int:
        """Return a number that no client id was made of before."""
        self._names += 1
        return self._names

    def next_trade_id(self, instrument: str) -> int:
        self._trade_ids[instrument] = self._trade_ids.get(instrument, _FIRST_TRADE_ID) + 1
        return self._trade_ids[instrument]

    def costs(self, symbol: str, side: PositionSide) -> Decimal:
        """Return what the position has cost so far."""
        found = self._costs.get((symbol, str(side)))
        return ZERO if found is None else found.paid

    # Orders

    def describe(self, command: SubmitOrder) -> OrderRecord:
        """Return the record of an order that did not come through a route."""
        listing = self.listings[command.instrument]
        return OrderRecord(
            symbol=listing.symbol,
            order_id=0,
            client_order_id=command.client_order_id,
            side=command.side.upper(),
            type=TYPES.get(command.type, "LIMIT"),
            orig_type=TYPES.get(command.type, "LIMIT"),
            time_in_force=str(command.tif),
            position_side=str(command.position_side),
            price=command.price or ZERO,
            orig_qty=command.qty,
            time_ms=command.ts // _MS,
            update_ms=command.ts // _MS,
            stop_price=command.trigger_price or ZERO,
            reduce_only=command.reduce_only,
            close_position=command.close_position,
            stp_mode=(command.stp or "none").upper(),
        )

    def keep(self, record: OrderRecord) -> None:
        self.orders[record.order_id] = self.live[record.order_id] = record
        self.newest[record.client_order_id] = record
        while len(self.orders) > KEPT:
            oldest = next((one for one in self.orders.values() if not one.is_open), None)
            if oldest is None:
                return
            del self.orders[oldest.order_id]
            if self.newest.get(oldest.client_order_id) is oldest:
                del self.newest[oldest.client_order_id]

    def open_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        """Return the open orders, oldest first."""
        return [one for one in self.live.values() if symbol in {None, one.symbol}]

    # What happened

    def book(self, reports: Sequence[Report], flows: Sequence[tuple[int, CashFlow]]) -> list[Event]:
        """Take what the venue said and the money that moved, each with the number of the report it came before.

        Returns what the streams hear, in order.
        """
        events: list[Event] = []
        money: dict[int, list[CashFlow]] = {}
        for index, flow in flows:
            money.setdefault(index, []).append(flow)
        held_back: list[Event] = []
        changed: dict[str, PositionReport] = {}
        for index, report in enumerate(reports):
            moved = money.pop(index, [])
            if not isinstance(report, OrderFilled):
                self._earn(moved, "")
            if isinstance(report, AccountReport):
                events += self._on_account(report, changed)
                changed = {}
                events += held_back
                held_back = []
            elif isinstance(report, PositionReport):
                changed[f"{report.instrument}/{report.position_side}"] = report
            elif isinstance(report, OrderFilled):
                told, behind = self._on_fill(report, moved)
                events += told
                held_back += behind
            else:
                events += held_back
                held_back = []
                events += self._on_other(report)
        for left in money.values():
            self._earn(left, "")
        return events + held_back

    def _on_other(self, report: Report) -> list[Event]:
        if isinstance(report, OrderAccepted):
            return self._on_accepted(report)
        if isinstance(report, OrderCanceled):
            return self._on_end(report, "CANCELED")
        if isinstance(report, OrderExpired):
            return self._on_end(report, "EXPIRED")
        if isinstance(report, OrderModified):
            return self._on_modified(report)
        if isinstance(report, Liquidated):
            return [LiquidationPrint(report.ts, report.instrument, report.side, report.price, report.qty)]
        return []

    def _on_accepted(self, report: OrderAccepted) -> list[Event]:
        record = self.pending
        if record is None or record.client_order_id != report.client_order_id:
            return []
        self.pending = None
        record.order_id = self.next_order_id()
        record.time_ms = record.update_ms = report.ts // _MS
        self.keep(record)
        return [OrderEvent(report.ts, evolve(record), "NEW")]

    def _on_fill(self, report: OrderFilled, moved: list[CashFlow]) -> tuple[list[Event], list[Event]]:
        """Return what is told before and after the account's change."""
        told: list[Event] = []
        now_ms = report.ts // _MS
        listing = self.listings[report.instrument]
        is_forced = report.reason in {FillReason.LIQUIDATION, FillReason.SETTLEMENT, FillReason.ADL} or (
            report.client_order_id.startswith(("autoclose-", "adl_autoclose", "settlement_autoclose-"))
        )
        record = self.newest.get(report.client_order_id)
        if record is None:
            record = self._forced(report, listing)
            told.append(OrderEvent(report.ts, evolve(record), "NEW"))
        trade_id = self.next_trade_id(report.instrument)
        record.executed_qty += report.qty
        record.cum_quote += report.qty * report.price * listing.spec.multiplier
        record.update_ms = now_ms
        record.status = "FILLED" if record.executed_qty >= record.orig_qty else "PARTIALLY_FILLED"
        if not record.is_open:
            self.live.pop(record.order_id, None)
        realized = sum((flow.amount for flow in moved if flow.type is FlowType.REALIZED_PNL), ZERO)
        fill = FillRecord(
            symbol=listing.symbol,
            trade_id=trade_id,
            order_id=record.order_id,
            client_order_id=record.client_order_id,
            side=report.side.upper(),
            position_side=str(report.position_side),
            price=report.price,
            qty=report.qty,
            realized_pnl=realized,
            commission=report.fee,
            commission_asset=report.fee_asset,
            time_ms=now_ms,
            is_maker=report.liquidity is Liquidity.MAKER,
        )
        self.fills.append(fill)
        self._earn(moved, str(trade_id), is_delivery=report.reason is FillReason.SETTLEMENT)
        self._count_costs(report, listing, realized)
        event = OrderEvent(report.ts, evolve(record), "CALCULATED" if is_forced else "TRADE", fill)
        print_: list[Event] = []
        if report.liquidity is not Liquidity.NONE:
            aggressor = report.side if report.liquidity is Liquidity.TAKER else report.side.opposite
            ticks, lots = listing.spec.ticks(report.price), listing.spec.lots(report.qty)
            print_.append(Trade(report.ts, report.instrument, trade_id, ticks, lots, aggressor))
        return told + print_, [event]

    def _forced(self, report: OrderFilled, listing: Listing) -> OrderRecord:
        record = OrderRecord(
            symbol=listing.symbol,
            order_id=self.next_order_id(),
            client_order_id=report.client_order_id,
            side=report.side.upper(),
            type="LIMIT",
            orig_type="LIMIT",
            time_in_force="IOC",
            position_side=str(report.position_side),
            price=report.price,
            orig_qty=report.qty,
            time_ms=report.ts // _MS,
            update_ms=report.ts // _MS,
            reduce_only=True,
            stp_mode="NONE",
        )
        self.keep(record)
        return record

    def _count_costs(self, report: OrderFilled, listing: Listing, realized: Decimal) -> None:
        if listing.spec.is_spot:
            return
        found = self._costs.setdefault((listing.symbol, str(report.position_side)), _Costs())
        before = found.amount
        found.amount += report.qty * report.side.sign
        found.paid += report.fee - realized
        if not found.amount or before * found.amount < ZERO:
            found.paid = ZERO

    def _on_end(self, report: OrderCanceled | OrderExpired, status: str) -> list[Event]:
        record = self.newest.get(report.client_order_id)
        if record is None or not record.is_open:
            return []
        record.update_ms = report.ts // _MS
        record.status = status
        del self.live[record.order_id]
        if status == "EXPIRED":
            record.expiry_reason = self._why_expired(record)
            if record.expiry_reason == EXPIRED_STP:
                record.status = "EXPIRED_IN_MATCH"
        return [OrderEvent(report.ts, evolve(record), "EXPIRED" if status == "EXPIRED" else status)]

    def _why_expired(self, record: OrderRecord) -> int:
        if self.ended_by:
            return self.ended_by
        if self.taker == record.client_order_id:
            if record.type == "MARKET":
                return EXPIRED_UNFILLABLE
            return EXPIRED_IOC if record.time_in_force in {"IOC", "FOK"} else EXPIRED_STP
        if record.good_till_ms and record.good_till_ms <= record.update_ms:
            return 0
        if self.taker and self._was_met(record):
            return EXPIRED_STP
        return EXPIRED_REDUCE_ONLY if record.reduce_only or record.position_side != "BOTH" else 0

    def _was_met(self, record: OrderRecord) -> bool:
        """Whether the order that is arriving would have met this one, and one of them was not to trade with it."""
        taker = self.newest.get(self.taker)
        if taker is None or taker.side == record.side or taker.symbol != record.symbol:
            return False
        if taker.stp_mode not in {"EXPIRE_MAKER", "EXPIRE_BOTH"}:
            return False
        if taker.type == "MARKET":
            return True
        return taker.price >= record.price if taker.side == "BUY" else taker.price <= record.price

    def _on_modified(self, report: OrderModified) -> list[Event]:
        record = self.newest.get(report.client_order_id)
        if record is None:
            return []
        record.amendments += 1
        self._amendment_ids += 1
        self.amendments.append(
            AmendmentRecord(
                record.symbol,
                self._amendment_ids,
                record.order_id,
                record.client_order_id,
                report.ts // _MS,
                record.price,
                report.price,
                record.orig_qty,
                report.qty,
                record.amendments,
            )
        )
        record.price, record.orig_qty, record.update_ms = report.price, report.qty, report.ts // _MS
        record.price_match = "NONE"
        return [OrderEvent(report.ts, evolve(record), "AMENDMENT")]

    def _on_account(self, report: AccountReport, changed: dict[str, PositionReport]) -> list[Event]:
        now_ms = report.ts // _MS
        self.balance_ms = now_ms
        reason = _REASONS.get(report.reason)
        balances = [
            BalanceChange(
                asset,
                wallet,
                wallet,
                wallet - self.wallets.get(asset, ZERO) if reason not in {"ORDER", "FUNDING_FEE"} else ZERO,
            )
            for asset, wallet in report.balances.items()
            if wallet != self.wallets.get(asset, ZERO)
        ]
        self.wallets = dict(report.balances)
        positions = []
        for one in changed.values():
            listing = self.listings[one.instrument]
            self.updated_ms[listing.symbol, str(one.position_side)] = now_ms
            figures = self.figures(listing, one.position_side)
            figures.amount, figures.entry_price = one.qty, one.entry_price or ZERO
            positions.append(figures)
        if reason is None or not (balances or positions):
            return []
        return [AccountEvent(report.ts, reason, balances, positions)]

    def _earn(self, moved: list[CashFlow], trade_id: str, *, is_delivery: bool = False) -> None:
        for flow in moved:
            kind = _INCOMES.get(flow.type)
            if kind is None or flow.account != self.account:
                continue
            if is_delivery and kind == "REALIZED_PNL":
                kind = "DELIVERED_SETTELMENT"
            self._tran_ids += 1
            listing = self.listings.get(flow.instrument)
            symbol = "" if listing is None else listing.symbol
            info = trade_id if trade_id else kind
            self.incomes.append(
                IncomeRecord(
                    symbol,
                    kind,
                    flow.amount,
                    flow.asset,
                    info,
                    flow.ts // _MS,
                    9_689_322_392 + self._tran_ids,
                    trade_id,
                )
            )
