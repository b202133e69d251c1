"""Decides what we own and what it earned: positions, wallets, realised profit, fees and funding from our own fills.

The book is made of fills, funding and transfers; nothing a venue says of balances or positions changes it. For every
account and asset: wallet = initial + realised - fees + funding - cost of the spot positions settled in it + transfers.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.config_checks import positive
from actors.funding_messages import FundingPaid
from actors.messages import (
    BasketState,
    BasketUpdate,
    BookView,
    FillEvent,
    Incident,
    KillLevel,
    KillTrigger,
    PnlUpdate,
    PositionUpdate,
    RoundTrip,
    WalletUpdate,
)
from actors.post_trade import FillBusted, reversal
from actors.recent import Recent
from actors.sync_messages import WalletMoved
from venues.model.fill import Fill
from venues.model.instrument import Instrument
from venues.model.money import COST_QUANTUM, ONE, ROUND_HALF_EVEN, ZERO
from venues.model.order import Side
from venues.model.position import Position, position_key
from venues.port import MarkPrice


@frozen
class LedgerConfig:
    """`par` are the assets counted one to one as quote money; `seen` bounds the memory for repeated fills.

    `pnl_period_ns` is how often market moves alone lead to a PnlUpdate.
    """

    par: tuple[str, ...] = ("USD", "USDT", "USDC")
    seen: int = field(default=10_000, validator=positive)
    pnl_period_ns: int = field(default=1_000_000_000, validator=positive)


@define
class Flows:
    """Money of one strategy in one asset. Fees are positive when paid, funding when received."""

    realized: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO

    @property
    def net(self) -> Decimal:
        return self.realized - self.fees + self.funding


def _flow(flows: dict[str, Flows], asset: str) -> Flows:
    found = flows.get(asset)
    if found is None:
        found = flows[asset] = Flows()
    return found


@define
class Trade:
    """A basket and everything that takes it off again: its own positions by key, and its money by asset."""

    strategy: str
    positions: dict[str, Position] = field(factory=dict)
    flows: dict[str, Flows] = field(factory=dict)

    def flow(self, asset: str) -> Flows:
        return _flow(self.flows, asset)


@define
class LedgerState:
    """`flows` by strategy and asset; `closes` maps a closing basket to the basket it takes off.

    `touches` are best bid plus best ask, in ticks, of what has no mark price.
    """

    wallets: dict[str, dict[str, Decimal]]
    positions: dict[str, Position] = field(factory=dict)
    flows: dict[str, dict[str, Flows]] = field(factory=dict)
    trades: dict[str, Trade] = field(factory=dict)
    closes: dict[str, str] = field(factory=dict)
    seen: Recent = field(factory=Recent)
    marks: dict[str, Decimal] = field(factory=dict)
    touches: dict[str, int] = field(factory=dict)
    pnl_ns: int = 0
    duplicates: int = 0
    refused: int = 0


@frozen
class Totals:
    """Profit by settlement asset; `net` is realised - fees + funding, unrealised profit of what remains is beside it.

    `unmarked` names positions without a price: their unrealised profit is missing, not zero.
    """

    realized: dict[str, Decimal]
    fees: dict[str, Decimal]
    funding: dict[str, Decimal]
    net: dict[str, Decimal]
    unrealized: dict[str, Decimal]
    unmarked: tuple[str, ...]


def priced_by(instruments: Mapping[str, Instrument], par: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return by asset the instruments whose price is its value in quote money."""
    found: dict[str, list[str]] = {}
    for spec in instruments.values():
        if spec.quote in par:
            found.setdefault(spec.base, []).append(spec.id)
    return {asset: tuple(ids) for asset, ids in found.items()}


def base_fee(fill: Fill, spec: Instrument) -> Decimal:
    """Return what a spot fill's fee takes out of the position itself, in base units; negative for a rebate."""
    return fill.fee if spec.is_spot and fill.fee_asset == spec.base else ZERO


def position_change(fill: Fill, spec: Instrument) -> Decimal:
    """Return by how much a fill moves the signed position, in the instrument's quantity units."""
    return fill.side.sign * fill.qty - base_fee(fill, spec) / spec.multiplier


def unbookable(fill: Fill, spec: Instrument | None, is_known_account: bool) -> str:
    """Return why a fill cannot be booked, an empty string when it can."""
    if spec is None:
        return "unknown instrument"
    if not is_known_account:
        return "unknown account"
    if not (fill.qty.is_finite() and fill.price.is_finite() and fill.fee.is_finite()):
        return "not a number"
    if fill.qty <= ZERO or (spec.inverse and fill.price <= ZERO):
        return "quantity or price not positive"
    if fill.fee and not fill.fee_asset:
        return "a fee without an asset"
    return ""


class Ledger(Actor):
    """Books fills and funding. A fill it cannot book stops new risk: the book would be wrong from there on.

    A spot fee paid in the base asset is a sale of that much at the fill's price and a fee of its value, so the
    position is what is owned and fees are in quote money. Positions of one instrument are netted at average cost; the
    profit of single baskets is kept apart and reported as RoundTrip when one is FLAT.
    """

    publishes = (PositionUpdate, WalletUpdate, PnlUpdate, RoundTrip, Incident, KillTrigger)
    state: LedgerState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        balances: Mapping[str, Mapping[str, Decimal]],
        config: LedgerConfig | None = None,
        name: str = "",
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.config = config or LedgerConfig()
        for account, wallet in balances.items():
            for asset, amount in wallet.items():
                if not amount.is_finite():
                    raise ValueError(f"balances.{account}.{asset}: must be finite, got {amount}")
        self._priced_by = priced_by(self.instruments, self.config.par)
        self.state = LedgerState({account: dict(wallet) for account, wallet in balances.items()})

    def start(self, now: int) -> None:
        for account, wallet in self.state.wallets.items():
            for asset, balance in wallet.items():
                self.out.emit(WalletUpdate(now, account, asset, balance))

    # Fills and funding

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        fill, state = event.fill, self.state
        spec = self.instruments.get(fill.instrument)
        why = unbookable(fill, spec, fill.account in state.wallets)
        if why or spec is None:
            self._refuse(now, event.basket_id, f"fill {fill.trade_id} of {fill.instrument}, {fill.account}: {why}")
            return
        # One trade has one buyer and one seller, and both may be ours.
        if not state.seen.add(f"{fill.account}/{fill.instrument}/{fill.trade_id}/{fill.side}", self.config.seen):
            state.duplicates += 1
            return
        self._book(now, fill, spec, self._trade(event), event.strategy)

    @handles(FillBusted)
    def on_bust(self, now: int, bust: FillBusted) -> None:
        """Book the reverse of a fill that was taken back: quantity, money and fees are then what they were without it.

        What it had realised meanwhile stays apart from the entry price of what is left; their sum is exact.
        """
        fill, state = bust.fill, self.state
        spec = self.instruments.get(fill.instrument)
        key = f"{fill.account}/{fill.instrument}/{fill.trade_id}/{fill.side}"
        if spec is None or key not in state.seen.keys:
            self._refuse(now, bust.basket_id, f"fill {fill.trade_id} of {fill.instrument}, taken back: never booked")
        elif not state.seen.add(f"bust/{key}", self.config.seen):
            state.duplicates += 1
        else:
            self._book(now, reversal(fill), spec, self._trade(bust), bust.strategy)

    def _book(self, now: int, fill: Fill, spec: Instrument, trade: Trade, strategy: str) -> None:
        state = self.state
        key = position_key(fill.account, fill.instrument, fill.position_side)
        position = state.positions.get(key)
        if position is None:
            position = state.positions[key] = Position(fill.account, fill.instrument, fill.position_side)
        realized, fee, fee_asset = _book(position, fill, spec)
        self._flow(strategy, spec.settle).realized += realized
        self._flow(strategy, fee_asset).fees += fee
        share = trade.positions.get(key)
        if share is None:
            share = trade.positions[key] = Position(fill.account, fill.instrument, fill.position_side)
        realized_here, _, _ = _book(share, fill, spec)
        trade.flow(spec.settle).realized += realized_here
        trade.flow(fee_asset).fees += fee
        self._move_wallet(now, fill, spec, realized)
        self.out.emit(
            PositionUpdate(
                now,
                fill.account,
                fill.instrument,
                fill.position_side,
                position.qty,
                position.entry_price(spec),
                position.realized_pnl,
            )
        )
        self._publish_pnl(now)

    def _move_wallet(self, now: int, fill: Fill, spec: Instrument, realized: Decimal) -> None:
        moved: dict[str, Decimal] = {}
        if spec.is_spot:
            size = fill.side.sign * fill.qty * spec.multiplier
            moved[spec.quote] = -size * fill.price
            moved[spec.base] = size
        elif realized:
            moved[spec.settle] = realized
        if fill.fee:
            moved[fill.fee_asset] = moved.get(fill.fee_asset, ZERO) - fill.fee
        for asset, amount in moved.items():
            self._add(now, fill.account, asset, amount)

    @handles(FundingPaid)
    def on_funding(self, now: int, settled: FundingPaid) -> None:
        """Book what the funding tracker found to be paid: reports of venues come twice, or not at all."""
        state = self.state
        label = f"funding of {settled.instrument}, {settled.account}"
        if settled.instrument not in self.instruments or settled.account not in state.wallets:
            self._refuse(now, "", f"{label}: unknown instrument or account")
            return
        if not settled.amount.is_finite():
            self._refuse(now, "", f"{label}: not a number")
            return
        key = position_key(settled.account, settled.instrument, settled.position_side)
        if not state.seen.add(f"funding/{key}/{settled.stamp_ns}/{settled.number}", self.config.seen):
            state.duplicates += 1
            return
        for trade, part in self._shares(key, settled.amount):
            trade.flow(settled.asset).funding += part
            self._flow(trade.strategy, settled.asset).funding += part
        self._add(now, settled.account, settled.asset, settled.amount)
        self._publish_pnl(now)

    @handles(WalletMoved)
    def on_moved(self, now: int, moved: WalletMoved) -> None:
        """Money that came in or went out beside all trading moves the wallet, and is neither profit nor loss."""
        if moved.account in self.state.wallets and moved.amount.is_finite():
            self._add(now, moved.account, moved.asset, moved.amount)

    def _shares(self, key: str, amount: Decimal) -> list[tuple[Trade, Decimal]]:
        """Split `amount` over the trades that hold the position, by signed quantity, exact to the last digit."""
        holders = [(trade, trade.positions[key].qty) for trade in self.state.trades.values() if key in trade.positions]
        holders = [(trade, qty) for trade, qty in holders if qty]
        total = sum((qty for _, qty in holders), ZERO)
        if not total:
            return [(self._residual(""), amount)]
        parts = [
            (trade, (amount * qty / total).quantize(COST_QUANTUM, rounding=ROUND_HALF_EVEN)) for trade, qty in holders
        ]
        rest = amount - sum((part for _, part in parts[:-1]), ZERO)
        return [*parts[:-1], (parts[-1][0], rest)]

    def _refuse(self, now: int, basket_id: str, text: str) -> None:
        self.state.refused += 1
        self.out.emit(Incident(now, "unbookable", basket_id, text))
        self.out.emit(KillTrigger(now, "unbookable", KillLevel.REDUCE_ONLY, text))

    def _add(self, now: int, account: str, asset: str, amount: Decimal) -> None:
        wallet = self.state.wallets[account]
        wallet[asset] = wallet.get(asset, ZERO) + amount
        self.out.emit(WalletUpdate(now, account, asset, wallet[asset]))

    def _flow(self, strategy: str, asset: str) -> Flows:
        return _flow(self.state.flows.setdefault(strategy, {}), asset)

    # Baskets

    def _trade(self, event: FillEvent | FillBusted) -> Trade:
        if not event.basket_id:
            return self._residual(event.strategy)
        trade_id = self.state.closes.get(event.basket_id, event.basket_id)
        trade = self.state.trades.get(trade_id)
        if trade is None:
            trade = self.state.trades[trade_id] = Trade(event.strategy)
        return trade

    def _residual(self, strategy: str) -> Trade:
        return self.state.trades.setdefault(f"residual/{strategy}", Trade(strategy))

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        """A basket's trade ends when it is FLAT: unwound, or taken off by others, which may take several."""
        state, trade_id = self.state, update.basket_id
        if update.state is BasketState.DENIED:
            state.closes.pop(trade_id, None)
        elif update.closes:
            state.closes[trade_id] = update.closes
        if update.closes or update.state is not BasketState.FLAT:
            return
        for close_id in [close for close, closed in state.closes.items() if closed == trade_id]:
            del state.closes[close_id]
        trade = state.trades.pop(trade_id, None)
        if trade is None:
            return
        worth = {asset: self.value(asset) for asset in trade.flows}
        pnl = sum((trade.flows[asset].net * value for asset, value in worth.items() if value is not None), ZERO)
        unmarked = tuple(sorted(asset for asset, value in worth.items() if value is None))
        self.out.emit(RoundTrip(now, trade_id, trade.strategy, pnl, unmarked))
        self._keep_rest(trade)

    def _keep_rest(self, trade: Trade) -> None:
        """Move what is too small to trade on to the strategy's residual."""
        for key, rest in trade.positions.items():
            spec = self.instruments[rest.instrument]
            entry = rest.entry_price(spec)
            if entry is None:
                continue
            residual = self._residual(trade.strategy)
            mine = residual.positions.setdefault(key, Position(rest.account, rest.instrument, rest.side))
            residual.flow(spec.settle).realized += mine.apply(
                Side.BUY if rest.qty > ZERO else Side.SELL, abs(rest.qty), entry, spec
            )

    # Values

    @handles(MarkPrice)
    def on_mark(self, now: int, mark: MarkPrice) -> None:
        if mark.instrument in self.instruments and mark.mark.is_finite() and mark.mark > ZERO:
            self.state.marks[mark.instrument] = mark.mark
            self._publish_moved(now)

    @handles(BookView)
    def on_book(self, now: int, view: BookView) -> None:
        state, instrument = self.state, view.instrument
        if instrument in self.instruments and instrument not in state.marks:
            state.touches[instrument] = view.bid + view.ask
            self._publish_moved(now)

    def _publish_moved(self, now: int) -> None:
        state = self.state
        if now - state.pnl_ns < self.config.pnl_period_ns:
            return
        state.pnl_ns = now
        if any(position.qty for position in state.positions.values()):
            self._publish_pnl(now)

    def price(self, instrument: str) -> Decimal | None:
        """Return the mark price, the mid where the venue sends no mark, None before either."""
        mark, touch = self.state.marks.get(instrument), self.state.touches.get(instrument)
        if mark is not None or touch is None:
            return mark
        return self.instruments[instrument].price(touch) / 2

    def value(self, asset: str) -> Decimal | None:
        """Return what one of `asset` is worth in quote money, None when nothing prices it."""
        if asset in self.config.par:
            return ONE
        for instrument in self._priced_by.get(asset, ()):
            price = self.price(instrument)
            if price is not None:
                return price
        return None

    def _publish_pnl(self, now: int) -> None:
        sums, unmarked = Flows(), set[str]()
        for assets in self.state.flows.values():
            for asset, flow in assets.items():
                value = self.value(asset)
                if value is None:
                    unmarked.add(asset)
                    continue
                sums.realized += flow.realized * value
                sums.fees += flow.fees * value
                sums.funding += flow.funding * value
        unrealized = ZERO
        for position in self.state.positions.values():
            spec = self.instruments[position.instrument]
            price, value = self.price(position.instrument), self.value(spec.settle)
            if price is not None and value is not None:
                unrealized += position.unrealized_pnl(price, spec) * value
            elif position.qty:
                unmarked.add(position.instrument)
        self.state.pnl_ns = now
        self.out.emit(PnlUpdate(now, sums.realized, sums.fees, sums.funding, unrealized, tuple(sorted(unmarked))))

    def totals(self, marks: Mapping[str, Decimal] | None = None) -> Totals:
        """Return profit by asset over all strategies; `marks` by instrument override the last prices seen."""
        realized, fees, funding, net = dict[str, Decimal](), dict[str, Decimal](), dict[str, Decimal](), {}
        for strategy in sorted(self.state.flows):
            for asset, flow in self.state.flows[strategy].items():
                realized[asset] = realized.get(asset, ZERO) + flow.realized
                fees[asset] = fees.get(asset, ZERO) + flow.fees
                funding[asset] = funding.get(asset, ZERO) + flow.funding
                net[asset] = realized[asset] - fees[asset] + funding[asset]
        unrealized, unmarked = dict[str, Decimal](), []
        for position in self.state.positions.values():
            if not position.qty:
                continue
            spec = self.instruments[position.instrument]
            price = (marks or {}).get(position.instrument) or self.price(position.instrument)
            if price is None:
                unmarked.append(position.key)
                continue
            unrealized[spec.settle] = unrealized.get(spec.settle, ZERO) + position.unrealized_pnl(price, spec)
        return Totals(realized, fees, funding, net, unrealized, tuple(unmarked))


def _book(position: Position, fill: Fill, spec: Instrument) -> tuple[Decimal, Decimal, str]:
    """Apply a fill to a position; return the profit it realised, the fee and the asset the fee counts in."""
    realized = position.apply(fill.side, fill.qty, fill.price, spec)
    taken = base_fee(fill, spec)
    if not taken:
        return realized, fill.fee, fill.fee_asset or spec.settle
    side = Side.SELL if taken > ZERO else Side.BUY
    realized += position.apply(side, abs(taken) / spec.multiplier, fill.price, spec)
    return realized, taken * fill.price, spec.quote
