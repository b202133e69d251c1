"""Decides what a fill, a settlement or a transfer does to one account's money and positions."""

from collections import deque
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

from attrs import define, field, frozen

from venues.model.account import Account, MarginMode
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import COST_QUANTUM, ROUND_HALF_EVEN, ZERO
from venues.model.order import PositionSide, Side
from venues.model.position import Position
from venues.port import Income, IncomeKind
from venues.rules.instrument_margin import initial_margin


class FlowType(StrEnum):
    FEE = "fee"
    FUNDING = "funding"
    REALIZED_PNL = "realized_pnl"
    SETTLEMENT = "settlement"
    LIQUIDATION_FEE = "liquidation_fee"
    INSURANCE = "insurance"
    TRANSFER = "transfer"
    TRADE = "trade"


@frozen
class CashFlow:
    """Money that entered (positive) or left a wallet. TRADE is the exchange of assets in a spot trade."""

    ts: int
    account: str
    type: FlowType
    asset: str
    amount: Decimal
    instrument: str


FlowHook = Callable[[CashFlow], None]

INCOME_MAX = 10_000
_INCOME = {
    FlowType.FUNDING: IncomeKind.FUNDING,
    FlowType.TRANSFER: IncomeKind.TRANSFER,
    FlowType.INSURANCE: IncomeKind.INSURANCE,
    FlowType.SETTLEMENT: IncomeKind.SETTLEMENT,
}
"""What an account's income shows; what belongs to a trade stands in its fills."""


@define
class Lot:
    """Contracts bought or sold together and the price they were last marked to: settlement is first in, first out."""

    qty: Decimal
    price: Decimal


@define
class Holding:
    """A position, its own margin where it is isolated, and its lots where it is settled daily."""

    position: Position
    isolated_wallet: Decimal = ZERO
    lots: list[Lot] = field(factory=list)

    @property
    def qty(self) -> Decimal:
        return self.position.qty


@define
class SimAccount:
    """An account at the simulated venue. Wallet balances include isolated margins, as venues report them.

    `margin_modes` and `leverage` of single instruments override the account's; `calls` are the assets in margin call.
    `income` is what moved money beside trades, the last of it; `incomes` counts it all. `quantum` is what fees, funding
    and realised profits are rounded to, None keeps every digit.
    """

    account: Account
    holdings: dict[tuple[str, PositionSide], Holding] = field(factory=dict)
    margin_modes: dict[str, MarginMode] = field(factory=dict)
    calls: dict[str, int] = field(factory=dict)
    on_flow: FlowHook | None = None
    income: deque[Income] = field(factory=lambda: deque(maxlen=INCOME_MAX))
    incomes: int = 0
    quantum: Decimal | None = None

    @property
    def id(self) -> str:
        return self.account.id

    def mode(self, instrument: str) -> MarginMode:
        return self.margin_modes.get(instrument, self.account.margin_mode)

    def holding(self, instrument: str, side: PositionSide) -> Holding:
        """Return the holding, made flat when there is none yet."""
        key = (instrument, side)
        found = self.holdings.get(key)
        if found is None:
            found = self.holdings[key] = Holding(Position(self.id, instrument, side))
        return found

    def qty(self, instrument: str, side: PositionSide) -> Decimal:
        found = self.holdings.get((instrument, side))
        return found.position.qty if found else ZERO

    def open_holdings(self, instrument: str | None = None) -> list[Holding]:
        """Return the holdings that are not flat, of one instrument or all, in the order they first appeared."""
        return [
            held
            for (name, _), held in self.holdings.items()
            if held.position.qty and (instrument is None or name == instrument)
        ]

    def rounded(self, amount: Decimal) -> Decimal:
        """Return money as the venue books it."""
        return amount if self.quantum is None else amount.quantize(self.quantum, rounding=ROUND_HALF_EVEN)

    def pay(
        self,
        now: int,
        kind: FlowType,
        asset: str,
        amount: Decimal,
        instrument: str,
        side: PositionSide = PositionSide.BOTH,
    ) -> None:
        """Move money and tell the ledger; nothing happens for zero."""
        if not amount:
            return
        self.account.add(asset, amount)
        shown = _INCOME.get(kind)
        if shown is not None:
            self.incomes += 1
            self.income.append(Income(now, self.id, shown, asset, amount, str(self.incomes), instrument, side))
        if self.on_flow is not None:
            self.on_flow(CashFlow(now, self.id, kind, asset, amount, instrument))

    def isolated_total(self, spec_settle: Callable[[str], str], asset: str) -> Decimal:
        """Return the money of `asset` that belongs to isolated positions."""
        return sum(
            (held.isolated_wallet for (name, _), held in self.holdings.items() if spec_settle(name) == asset), ZERO
        )

    def book_spot(
        self, now: int, spec: Instrument, side: Side, qty: Decimal, price: Decimal, fee: Decimal, fee_asset: str
    ) -> None:
        """Exchange base and quote; the fee is in either of them."""
        self.pay(now, FlowType.TRADE, spec.base, qty * spec.multiplier * side.sign, spec.id)
        self.pay(now, FlowType.TRADE, spec.quote, -spec.notional(qty, price) * side.sign, spec.id)
        self.pay(now, FlowType.FEE, fee_asset, -fee, spec.id)

    def book_contract(
        self,
        now: int,
        spec: Instrument,
        position_side: PositionSide,
        side: Side,
        qty: Decimal,
        price: Decimal,
        fee: Decimal,
        leverage: Decimal,
        fee_type: FlowType = FlowType.FEE,
    ) -> Decimal:
        """Book a fill on a position: realised profit and fee move the wallet. Returns the realised profit."""
        held = self.holding(spec.id, position_side)
        before = held.position.qty
        exact = trade(held, spec, side, qty, price)
        realized = self.rounded(exact)
        if held.position.qty:
            # What rounding gave or took is still in the position: profit and cost go on to add up.
            held.position.cost += realized - exact
        self._move_isolated(held, spec, before, qty * side.sign, price, realized, leverage)
        self.pay(now, FlowType.REALIZED_PNL, spec.settle, realized, spec.id)
        self.pay(now, fee_type, spec.settle, -fee, spec.id)
        return realized

    def _move_isolated(
        self,
        held: Holding,
        spec: Instrument,
        before: Decimal,
        signed: Decimal,
        price: Decimal,
        realized: Decimal,
        leverage: Decimal,
    ) -> None:
        if self.mode(spec.id) is not MarginMode.ISOLATED:
            return
        closed = min(abs(before), abs(signed)) if before * signed < ZERO else ZERO
        if closed:
            # What the closed share leaves is free again; a loss beyond that share eats into the rest.
            share = _exact(held.isolated_wallet * closed / abs(before))
            held.isolated_wallet += min(ZERO, share + realized) - share
        opened = abs(signed) - closed
        if opened:
            held.isolated_wallet += _exact(initial_margin(spec, opened, price, leverage))
        if not held.position.qty:
            held.isolated_wallet = ZERO


def _exact(amount: Decimal) -> Decimal:
    return amount.quantize(COST_QUANTUM, rounding=ROUND_HALF_EVEN)


def trade(held: Holding, spec: Instrument, side: Side, qty: Decimal, price: Decimal) -> Decimal:
    """Apply a fill to the position and return the realised profit: average cost, first in first out for futures."""
    if spec.kind is not InstrumentKind.FUTURE:
        return held.position.apply(side, qty, price, spec)
    realized, left = ZERO, qty * side.sign
    while held.lots and left and held.lots[0].qty * left < ZERO:
        lot = held.lots[0]
        closed = min(abs(lot.qty), abs(left)) * side.sign
        realized -= closed * spec.multiplier * (price - lot.price)
        lot.qty += closed
        left -= closed
        if not lot.qty:
            held.lots.pop(0)
    if left:
        held.lots.append(Lot(left, price))
    _sum_lots(held, spec, realized)
    return realized


def mark_to(held: Holding, spec: Instrument, price: Decimal) -> Decimal:
    """Mark every lot of a future to `price` and return the variation margin."""
    flow = sum((lot.qty * spec.multiplier * (price - lot.price) for lot in held.lots), ZERO)
    for lot in held.lots:
        lot.price = price
    _sum_lots(held, spec, flow)
    return flow


def _sum_lots(held: Holding, spec: Instrument, realized: Decimal) -> None:
    position = held.position
    position.qty = sum((lot.qty for lot in held.lots), ZERO)
    position.cost = sum((lot.qty * lot.price * spec.multiplier for lot in held.lots), ZERO)
    position.realized_pnl += realized
