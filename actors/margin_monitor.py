"""Decides how safe each account's margin is, and whether a basket can be paid for before its first order.

Wallets are the venue's word where it gave one, our own book otherwise. Cross margin per settlement asset; isolated
margin is not modelled. An account whose margin cannot be computed is UNKNOWN: nothing that needs margin passes.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from actors.base import Actor, handles
from actors.basket import ENDED
from actors.cell import CellRestarted
from actors.liquidation_price import Member, NoLiquidationPriceError, liquidation_price
from actors.margin_figures import MarginFigures
from actors.margin_records import (
    Assessment,
    Holding,
    MarginConfig,
    MarginMonitorState,
    Need,
    Pool,
    Seen,
    Working,
    as_reservations,
)
from actors.messages import (
    BasketLeg,
    BasketUpdate,
    BookView,
    Checker,
    KillLevel,
    KillTrigger,
    MarginLevel,
    MarginState,
    OrderApproved,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    WalletUpdate,
)
from actors.wallets import balance_of, believe
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO
from venues.model.order import PositionSide, Side
from venues.model.position import position_key
from venues.port import AccountReport, MarkPrice, QueryKind, QueryResult
from venues.rules import instrument_margin
from venues.rules.brackets import NotionalAboveTableError, bracket_for

_TICK = "marks"
_CLOSES = {PositionSide.LONG: Side.SELL, PositionSide.SHORT: Side.BUY}
_Held = tuple[Instrument, Decimal, Decimal]
"""A position that needs margin: signed quantity and entry price."""

_BLOCKED = (MarginLevel.CRITICAL, MarginLevel.LIQUIDATION, MarginLevel.UNKNOWN)


class MarginRuleError(Exception):
    """Margin that cannot be computed, and why."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def maintenance(spec: Instrument, qty: Decimal, mark: Decimal) -> Decimal:
    """Return a position's maintenance margin in the settlement asset. Raises MarginRuleError without a rule."""
    if not spec.brackets and spec.maintenance_margin is None:
        raise MarginRuleError(f"{spec.id} has neither brackets nor a maintenance margin")
    return instrument_margin.maintenance_margin(spec, qty, mark)


def initial(spec: Instrument, qty: Decimal, price: Decimal, leverage: int) -> Decimal:
    """Return the initial margin for |qty| in the settlement asset, at no more leverage than the bracket allows.

    Raises MarginRuleError without a rule, or beyond the last bracket.
    """
    return _initial(spec, qty, spec.notional(qty, price), leverage)


def _initial(spec: Instrument, qty: Decimal, value: Decimal, leverage: int) -> Decimal:
    if spec.initial_margin is None:
        if not spec.brackets:
            raise MarginRuleError(f"{spec.id} has neither brackets nor an initial margin")
        try:
            leverage = min(leverage, bracket_for(spec.brackets, value).max_leverage)
        except NotionalAboveTableError as error:
            raise MarginRuleError(f"{spec.id}: {error}") from error
    return instrument_margin.initial_margin_of_value(spec, qty, value, leverage)


class MarginMonitor(Actor):
    """Watches `accounts`; marks come from MarkPrice, prices of spot from the book."""

    publishes = (MarginState, MarginFigures, KillTrigger, PreflightReply)
    schema = 2
    migrations = {1: as_reservations}
    state: MarginMonitorState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Sequence[str],
        config: MarginConfig | None = None,
        name: str = "",
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.accounts = tuple(accounts)
        self.config = config or MarginConfig()
        # What a leg needs for fees and slippage, as a share of its value.
        self._buffer = ONE + self.config.buffer_bps / 10_000
        self._reserve = self._buffer - ONE
        self._leverage = {
            name: self.config.leverage.get(name, self.config.default_leverage) for name in self.instruments
        }
        self._spot = frozenset(spec.id for spec in self.instruments.values() if spec.is_spot)
        self.state = MarginMonitorState()

    def start(self, now: int) -> None:
        self.out.timer(_TICK, now + self.config.check_ns)

    def on_timer(self, now: int, key: str) -> None:
        self.out.timer(_TICK, now + self.config.check_ns)
        self._judge_all(now)

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        self.out.timer(_TICK, now + self.config.check_ns)

    # What is known

    @handles(WalletUpdate)
    def on_wallet(self, now: int, update: WalletUpdate) -> None:
        if update.balance.is_finite():
            self.state.booked.setdefault(update.account, {})[update.asset] = update.balance
            if update.asset not in self.state.reported.get(update.account, ()):
                self._judge(now, update.account)

    @handles(AccountReport)
    def on_report(self, now: int, report: AccountReport) -> None:
        self._report(now, report.ts, report.account, report.balances)

    @handles(QueryResult)
    def on_answer(self, now: int, result: QueryResult) -> None:
        """A complete answer also tells what is not there."""
        if result.kind is QueryKind.ACCOUNT and result.balances is not None:
            known = [*self.state.reported.get(result.account, {}), *self.state.booked.get(result.account, {})]
            self._report(now, result.ts, result.account, {**dict.fromkeys(known, ZERO), **result.balances})

    def _report(self, now: int, ts: int, account: str, balances: Mapping[str, Decimal]) -> None:
        believe(self.state.reported, self.state.reported_ns, ts, account, balances)
        self._judge(now, account)

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        key = position_key(update.account, update.instrument, update.position_side)
        if not update.qty.is_finite():
            self.state.holdings[key] = Holding(update.account, update.instrument, ZERO, None)
        elif update.qty:
            self.state.holdings[key] = Holding(update.account, update.instrument, update.qty, update.entry_price)
        else:
            self.state.holdings.pop(key, None)
        self._judge(now, update.account)

    @handles(MarkPrice)
    def on_mark(self, now: int, mark: MarkPrice) -> None:
        if mark.instrument not in self.instruments or not mark.mark.is_finite() or mark.mark <= ZERO:
            return
        self.state.marks[mark.instrument] = Seen(now, mark.mark)
        for account in dict.fromkeys(
            holding.account for holding in self.state.holdings.values() if holding.instrument == mark.instrument
        ):
            self._judge(now, account)

    @handles(BookView)
    def on_book(self, now: int, view: BookView) -> None:
        if view.instrument in self._spot:
            self.state.asks[view.instrument] = Seen(now, self.instruments[view.instrument].price(view.ask))

    @handles(OrderApproved)
    def on_order(self, now: int, approved: OrderApproved) -> None:
        order = approved.request
        if order.basket_id not in self.state.reserved:
            self.state.orders[order.request_id] = Working(order)

    @handles(OrderUpdate)
    def on_update(self, now: int, update: OrderUpdate) -> None:
        state = self.state
        if update.is_final:
            if state.orders.pop(update.request_id, None) is None:
                state.reserved.pop(update.request_id, None)
            return
        working = state.orders.get(update.request_id)
        if working is not None:
            working.filled = update.filled_qty

    # Levels

    def _judge_all(self, now: int) -> None:
        for account in self.accounts:
            level = MarginLevel.HEALTHY if self._judge(now, account) else self.state.levels.get(account)
            if level not in (None, MarginLevel.HEALTHY):
                self._tell(now, account, self.assess(now, account))

    def _judge(self, now: int, account: str) -> bool:
        """Tell of an account whose level has changed; return whether it has."""
        found = self.assess(now, account)
        before = self.state.levels.get(account, MarginLevel.HEALTHY)
        if found.level is before:
            return False
        self.state.levels[account] = found.level
        self.out.emit(MarginState(now, account, found.level, found.balance, found.maintenance, found.coverage))
        if found.level in (MarginLevel.CRITICAL, MarginLevel.LIQUIDATION):
            why = f"{account}: coverage {found.coverage:.4f}" if found.coverage is not None else account
            self.out.emit(KillTrigger(now, "margin", KillLevel.REDUCE_ONLY, why))
        self._tell(now, account, found)
        return True

    def _tell(self, now: int, account: str, found: Assessment) -> None:
        """Say all that a margin call needs, once a level and once a tick, not once a mark."""
        prices, marks = {}, {}
        try:
            members = self._members(now, account, found.asset)
            wallet = self._wallet(account, found.asset) if members else ZERO
        except MarginRuleError:
            members = []
        for spec in dict.fromkeys(one.spec.id for one in members):
            try:
                price = liquidation_price(wallet, self.instruments[spec], members)
            except NoLiquidationPriceError:
                price = None
            if price is not None:
                prices[spec] = price
                marks[spec] = self._mark(now, spec)
        figures = (found.level, found.asset, found.balance, found.maintenance, found.coverage, prices, marks, found.why)
        self.out.emit(MarginFigures(now, account, *figures))

    def _members(self, now: int, account: str, asset: str) -> list[Member]:
        found = []
        for key, holding in self.state.holdings.items():
            spec = self.instruments.get(holding.instrument)
            if spec is None or holding.account != account or spec.is_spot or spec.settle != asset:
                continue
            if holding.entry is None:
                raise MarginRuleError(f"{spec.id} without an entry price")
            side = PositionSide(key.rpartition("/")[2])
            found.append(Member(spec, side, holding.qty, holding.entry, self._mark(now, spec.id)))
        return found

    def assess(self, now: int, account: str) -> Assessment:
        """Return the account's level now; the balance and maintenance of the asset with the least coverage."""
        worst = Assessment(MarginLevel.HEALTHY, ZERO, ZERO, None)
        try:
            for asset, held in self._held(account).items():
                pool = self._pool(now, account, asset, held)
                coverage = pool.coverage
                if coverage is not None and (worst.coverage is None or coverage < worst.coverage):
                    level = self.config.level(coverage)
                    worst = Assessment(level, pool.balance, pool.maintenance, coverage, asset=asset)
        except MarginRuleError as error:
            return Assessment(MarginLevel.UNKNOWN, ZERO, ZERO, None, error.why)
        return worst

    def pool(self, now: int, account: str, asset: str) -> Pool:
        """Return what an account's positions settled in `asset` stand on. Raises MarginRuleError when unknown."""
        return self._pool(now, account, asset, self._held(account).get(asset, ()))

    def _pool(self, now: int, account: str, asset: str, held: Sequence[_Held]) -> Pool:
        wallet, unrealized, needed = self._wallet(account, asset), ZERO, ZERO
        for spec, qty, entry in held:
            mark = self._mark(now, spec.id)
            unrealized += spec.pnl(qty, entry, mark)
            needed += maintenance(spec, qty, mark)
        return Pool(wallet, unrealized, needed)

    def _held(self, account: str) -> dict[str, list[_Held]]:
        """Return what needs margin by its settlement asset. Raises MarginRuleError for what too little is known of."""
        found: dict[str, list[_Held]] = {}
        for holding in self.state.holdings.values():
            if holding.account != account:
                continue
            spec = self.instruments.get(holding.instrument)
            if spec is None or not holding.qty:
                raise MarginRuleError(f"nothing known about the position in {holding.instrument}")
            if spec.id in self._spot:
                continue
            if holding.entry is None:
                raise MarginRuleError(f"{spec.id} without an entry price")
            found.setdefault(spec.settle, []).append((spec, holding.qty, holding.entry))
        return found

    def _mark(self, now: int, instrument: str) -> Decimal:
        seen = self.state.marks.get(instrument)
        if seen is None or now - seen.ts > self.config.mark_age_max_ns:
            raise MarginRuleError(f"no fresh mark of {instrument}")
        return seen.price

    def _wallet(self, account: str, asset: str) -> Decimal:
        balance = balance_of(self.state.reported, self.state.booked, account, asset)
        if balance is None:
            raise MarginRuleError(f"nothing known about {asset} in {account}")
        return balance

    # Pre-flight

    @handles(PreflightRequest)
    def on_preflight(self, now: int, request: PreflightRequest) -> None:
        needs: list[Need] = []
        reasons: list[str] = []
        if request.basket_id in self.state.reserved:
            reasons.append(f"basket {request.basket_id} is reserved already")
        for leg in request.legs:
            try:
                need = self._need(now, leg, leg.limit_price)
            except MarginRuleError as error:
                reasons.append(error.why)
                continue
            if need is not None:
                needs.append(need)
        margined = {need.account for need in needs}
        for account in sorted(margined):
            found = self.assess(now, account)
            if found.level in _BLOCKED:
                reasons.append(f"{account} is {found.level}{': ' if found.why else ''}{found.why}")
        reasons.extend(self._shortfalls(now, needs))
        if not reasons:
            self.state.reserved[request.basket_id] = needs
        self.out.emit(PreflightReply(now, request.basket_id, Checker.MARGIN, not reasons, tuple(reasons)))

    def _shortfalls(self, now: int, needs: Sequence[Need]) -> Iterator[str]:
        for account, asset in dict.fromkeys((need.account, need.asset) for need in needs):
            wanted = sum(
                (need.amount or ZERO for need in needs if (need.account, need.asset) == (account, asset)), ZERO
            )
            try:
                free = self.free(now, account, asset)
            except MarginRuleError as error:
                yield error.why
                continue
            if wanted > free:
                yield f"{account} needs {wanted} {asset}, {free} are free"

    def free(self, now: int, account: str, asset: str) -> Decimal:
        """Return what new orders may use: wallet and unrealised loss, less initial margin, reservations, orders.

        Unrealised profit does not count. Raises MarginRuleError when any part of it is unknown.
        """
        amount, unrealized = self._wallet(account, asset), ZERO
        for spec, qty, entry in self._held(account).get(asset, ()):
            mark = self._mark(now, spec.id)
            unrealized += spec.pnl(qty, entry, mark)
            amount -= initial(spec, qty, mark, self._leverage[spec.id])
        amount += min(ZERO, unrealized)
        for need in [*(need for needs in self.state.reserved.values() for need in needs), *self._working(now, account)]:
            if need.account == account and need.asset == asset:
                amount -= need.amount
        return amount

    def _working(self, now: int, account: str) -> Iterator[Need]:
        """Yield what orders in flight outside baskets still need. Raises MarginRuleError when that is unknown."""
        for working in self.state.orders.values():
            order = working.request
            left = order.qty - working.filled
            if order.account != account or left <= ZERO:
                continue
            need = self._need(now, order, order.price, left)
            if need is not None:
                yield need

    def _asset(self, leg: BasketLeg | OrderRequest) -> str:
        spec = self.instruments[leg.instrument]
        return spec.base if spec.is_spot and leg.side is Side.SELL else spec.settle

    def _need(
        self, now: int, leg: BasketLeg | OrderRequest, limit: Decimal | None, left: Decimal | None = None
    ) -> Need | None:
        """Return what a leg or an order needs, or the `left` of it, None if it only closes.

        Spot needs the money or the coins themselves, whether it closes or opens. Raises MarginRuleError when it is
        unknown.
        """
        spec = self.instruments.get(leg.instrument)
        qty = leg.qty if left is None else left
        if spec is None or leg.account not in self.accounts:
            raise MarginRuleError(f"unknown: {leg.account}, {leg.instrument}")
        if not qty.is_finite() or qty <= ZERO or not (limit is None or limit.is_finite()):
            raise MarginRuleError(f"{leg.instrument}: quantity {qty}, limit price {limit}")
        if leg.instrument in self._spot:
            size = qty * spec.multiplier
            amount = size if leg.side is Side.SELL else size * self._spot_price(spec.id, limit) * self._buffer
            return Need(leg.account, self._asset(leg), amount)
        opened = self._opened(leg, qty)
        if not opened:
            return None
        mark = self._mark(now, leg.instrument)
        # Inverse notional falls with the price: the lower of the two asks for more.
        price = mark if limit is None else (min if spec.inverse else max)(mark, limit)
        value = spec.notional(opened, price)
        margin = _initial(spec, opened, value, self._leverage[spec.id])
        return Need(leg.account, spec.settle, margin + value * self._reserve)

    def _spot_price(self, instrument: str, limit: Decimal | None) -> Decimal:
        if limit is not None:
            return limit
        seen = self.state.asks.get(instrument)
        if seen is None:
            raise MarginRuleError(f"no price of {instrument}")
        return seen.price

    def _opened(self, leg: BasketLeg | OrderRequest, qty: Decimal) -> Decimal:
        """Return by how much `qty` of the leg would enlarge the position."""
        if leg.reduce_only or leg.side is _CLOSES.get(leg.position_side):
            return ZERO
        held = self.state.holdings.get(position_key(leg.account, leg.instrument, leg.position_side))
        if held is None:
            return qty
        if not held.qty:
            raise MarginRuleError(f"nothing known about the position in {leg.instrument}")
        return max(ZERO, abs(held.qty + leg.side.sign * qty) - abs(held.qty))

    @handles(ReservationReleased)
    def on_release(self, now: int, released: ReservationReleased) -> None:
        self.state.reserved.pop(released.basket_id, None)

    @handles(BasketUpdate)
    def on_basket(self, now: int, update: BasketUpdate) -> None:
        if update.state in ENDED:
            self.state.reserved.pop(update.basket_id, None)
