"""The simulated venue as a synchronous state machine behind the port: market reports and commands in, reports out."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial

from sim import auction, booking, entry, liquidation, margin, queries
from sim.account import FlowHook, SimAccount
from sim.book_order import BookOrder
from sim.core import Core
from sim.matching import Matcher
from sim.queue_models import make_queue_model
from sim.rows import EXECUTE
from sim.venue_order import VenueOrder
from sim.venue_rules import RULES, VenueRules
from sim.venue_state import Market, NoteHook, VenueState
from venues.costs.fees import FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.port import (
    AdjustIsolatedMargin,
    ArmDeadMan,
    BookDelta,
    BookSnapshot,
    CancelAll,
    CancelOrder,
    Command,
    FundingRate,
    InstrumentState,
    InstrumentStatus,
    MarkPrice,
    ModifyOrder,
    OpenInterest,
    Query,
    Report,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
    Trade,
)
from venues.rules.binance_margin import check_brackets
from venues.rules.instrument_margin import initial_margin


class VenueSetupError(ValueError):
    """Instruments, accounts or fees the venue cannot be built from; the message names the field."""


class SimVenue:
    """One venue in a box. Every call happens at a venue time `now` (ns UTC, never going back) and returns what the
    venue says then, in order. Latency is the caller's business; the venue itself draws no chance and reads no clock.

    Books are displayed quantities in ticks and lots; own orders are matched as `sim/matching.py` says.
    `on_flow` sees every movement of money, `on_note` what the port has no report for. `seed` is kept for models that
    draw; none does yet. Raises VenueSetupError for inverse contracts, missing margins or fees and bad brackets.
    """

    def __init__(
        self,
        name: str,
        instruments: Iterable[Instrument],
        accounts: Iterable[Account],
        fees: FeeTable,
        rules: str | VenueRules = "binance_usdm",
        queue_model: str = "risk_averse",
        seed: int = 0,
        on_flow: FlowHook | None = None,
        on_note: NoteHook | None = None,
    ) -> None:
        self.name = name
        self.seed = seed
        self.state = VenueState(name, _rules(rules), fees, on_note=on_note)
        specs, model = tuple(instruments), make_queue_model(queue_model)
        core = Core.make([(spec, model) for spec in specs], self.state.rules.keeps_place_on_decrease)
        for index, spec in enumerate(specs):
            self._list(spec, core, index)
        for account in accounts:
            if account.id in self.state.accounts:
                raise VenueSetupError(f"accounts: {account.id} twice")
            self.state.accounts[account.id] = SimAccount(account, on_flow=on_flow)
        self._market: dict[type[Report], Callable[[Market, Report], None]] = {
            BookSnapshot: self._on_snapshot,
            BookDelta: self._on_delta,
            Trade: self._on_trade,
            MarkPrice: self._on_mark,
            FundingRate: self._on_funding,
            InstrumentStatus: self._on_status,
            OpenInterest: self._on_open_interest,
        }
        state = self.state
        self._command: dict[type[Command], Callable[[Command], None]] = {
            SubmitOrder: partial(entry.submit, state),
            ModifyOrder: partial(entry.modify, state),
            CancelOrder: partial(entry.cancel, state),
            CancelAll: partial(entry.cancel_all, state),
            SetLeverage: self._set_leverage,
            SetMarginMode: self._set_margin_mode,
            SetPositionMode: self._set_position_mode,
            AdjustIsolatedMargin: self._adjust_margin,
            ArmDeadMan: self._arm_dead_man,
            Query: self._query,
        }

    def _list(self, spec: Instrument, core: Core, index: int) -> None:
        if spec.id in self.state.markets:
            raise VenueSetupError(f"instruments: {spec.id} twice")
        if spec.inverse:
            raise VenueSetupError(f"{spec.id}: inverse contracts are not simulated")
        if spec.kind is InstrumentKind.FUTURE:
            if spec.initial_margin is None or spec.maintenance_margin is None:
                raise VenueSetupError(f"{spec.id}: initial_margin and maintenance_margin are needed")
        elif not spec.is_spot:
            check_brackets(spec.brackets)
        self.state.fees.of(spec.id)
        state = self.state

        def fill(order: VenueOrder, ticks: int, lots: int, liquidity: Liquidity, reason: FillReason) -> None:
            booking.fill_order(state, market, order, ticks, lots, liquidity, reason)

        matcher = Matcher(core, index, fill, lambda order: booking.expire(state, market, order))
        market = state.markets[spec.id] = Market(spec, matcher)

    # The face

    def on_market(self, now: int, report: Report) -> list[Report]:
        """Take one market report. What is not for this venue's markets, or moves nothing, is ignored."""
        handler = self._market.get(type(report))
        if handler is None:
            return []
        market = self.state.markets.get(report.instrument)  # type: ignore[attr-defined]
        if market is None:
            return []
        self.state.now = now
        handler(market, report)
        return self._flush()

    def on_book_order(self, now: int, change: BookOrder) -> list[Report]:
        """Take one change of a book that is told order by order; what is wrong about it is a note `bad_feed`."""
        self.state.now = now
        market = self.state.markets[change.instrument]
        wrong = market.matcher.on_order(change.kind, change.number, change.side, change.ticks, change.lots)
        for anomaly in wrong:
            self.state.note("bad_feed", "", change.instrument, f"{anomaly}: {change.name}")
        traded = market.matcher.last_trade
        if change.kind == EXECUTE and traded is not None:
            market.last_trade = traded
            market.latest = market.spec.price(traded)
            entry.check_triggers(self.state, market, on_mark=False)
        return self._flush()

    def on_command(self, now: int, command: Command) -> list[Report]:
        """Take one command as it arrives. Raises VenueSetupError for an account that is not at this venue."""
        self.state.now = now
        if command.account not in self.state.accounts and not isinstance(command, Query):
            raise VenueSetupError(f"{command.account} is not an account of {self.name}")
        handler = self._command.get(type(command))
        if handler is not None:
            handler(command)
        return self._flush()

    def on_time(self, now: int) -> list[Report]:
        """Do what is due: orders that expire, dead-man timers that nobody refreshed."""
        state = self.state
        state.now = now
        entry.expire_due(state)
        for key, at in list(state.dead_man.items()):
            if at <= now:
                del state.dead_man[key]
                entry.cancel_all(state, CancelAll(now, *key))
        state.find_deadline()
        return self._flush()

    def next_deadline(self) -> int | None:
        """Return the next instant at which `on_time` is needed."""
        return self.state.deadline

    def settle(self, now: int, instrument: str, price: Decimal, final: bool = False) -> list[Report]:
        """Publish a settlement price: variation margin for futures; `final` closes positions and ends the contract."""
        self.state.now = now
        market = self.state.markets[instrument]
        booking.settle(self.state, market, price, final)
        liquidation.check(self.state, market)
        return self._flush()

    def _flush(self) -> list[Report]:
        out, self.state.out = self.state.out, []
        return out

    # The market

    def _on_snapshot(self, market: Market, report: Report) -> None:
        assert isinstance(report, BookSnapshot)
        market.update_id = report.update_id if report.bids or report.asks else None
        market.matcher.on_snapshot(report.bids, report.asks)

    def _on_delta(self, market: Market, report: Report) -> None:
        assert isinstance(report, BookDelta)
        market.update_id = report.last_id
        market.matcher.on_delta(report.bids, report.asks)

    def _on_trade(self, market: Market, report: Report) -> None:
        assert isinstance(report, Trade)
        market.last_trade = report.price
        market.latest = market.spec.price(report.price)
        market.matcher.on_trade(report.price, report.lots, report.aggressor)
        entry.check_triggers(self.state, market, on_mark=False)

    def _on_mark(self, market: Market, report: Report) -> None:
        assert isinstance(report, MarkPrice)
        market.mark = market.latest = report.mark
        liquidation.check(self.state, market)
        entry.check_triggers(self.state, market, on_mark=True)

    def _on_funding(self, market: Market, report: Report) -> None:
        assert isinstance(report, FundingRate)
        booking.pay_funding(self.state, market, report.rate, report.mark)
        if market.mark is not None:
            liquidation.check(self.state, market)

    def _on_open_interest(self, market: Market, report: Report) -> None:
        assert isinstance(report, OpenInterest)
        market.open_interest = report.qty

    def _on_status(self, market: Market, report: Report) -> None:
        assert isinstance(report, InstrumentStatus)
        before, market.state = market.state, report.state
        market.matcher.is_open = report.state is InstrumentState.OPEN
        if report.state is InstrumentState.CLOSE:
            entry.end_day(self.state, market)
        if not market.matcher.is_open:
            return
        if before is InstrumentState.PRE_OPEN:
            reference = market.settlement
            ticks = market.last_trade if reference is None else int(reference / market.spec.tick_size)
            auction.uncross(market.matcher, ticks)
        market.matcher.match_crossed()

    def _query(self, command: Command) -> None:
        assert isinstance(command, Query)
        self.state.say(queries.answer(self.state, command))

    # Settings. The port has no refusal for them: the position or account report says what holds.

    def _set_leverage(self, command: Command) -> None:
        assert isinstance(command, SetLeverage)
        state = self.state
        account, market = state.accounts[command.account], state.markets.get(command.instrument)
        if market is None or market.spec.is_spot:
            state.note("leverage_refused", account.id, command.instrument, "no such contract")
            return
        spec = market.spec
        why = self._leverage_refusal(account, market, command.leverage)
        if not why:
            chosen = account.account.leverage
            before, free = dict(chosen), margin.free_margin(state, account, spec.settle)
            chosen[spec.id] = command.leverage
            after = margin.free_margin(state, account, spec.settle)
            if after < ZERO and after < free:
                why = "initial margin would exceed the balance"
                account.account.leverage = before
        if why:
            state.note("leverage_refused", account.id, spec.id, why)
        for held in account.open_holdings(spec.id) or [account.holding(spec.id, _any_side(account))]:
            booking.push_position(state, account, market, held.position.side)

    def _leverage_refusal(self, account: SimAccount, market: Market, leverage: int) -> str:
        spec = market.spec
        if not 1 <= leverage <= spec.max_leverage:
            return f"leverage {leverage} is not within 1..{spec.max_leverage}"
        lowers = leverage < self.state.leverage(account, spec)
        if lowers and account.mode(spec.id) is MarginMode.ISOLATED and account.open_holdings(spec.id):
            return "leverage of an isolated position cannot be lowered"
        size = margin.exposure(account, market, margin.working(self.state, market, account.id))
        allowed = next((row.max_leverage for row in spec.brackets if size <= row.cap), leverage)
        return f"a notional of {size} allows {allowed}x" if size and leverage > allowed else ""

    def _set_margin_mode(self, command: Command) -> None:
        assert isinstance(command, SetMarginMode)
        account = self.state.accounts[command.account]
        busy = account.open_holdings(command.instrument) or self.state.live_orders(account.id, command.instrument)
        if command.mode is not account.mode(command.instrument) and busy:
            self.state.note("margin_mode_refused", account.id, command.instrument, "open orders or positions")
        else:
            account.margin_modes[command.instrument] = command.mode
        booking.push_account(self.state, account, "margin_mode")

    def _set_position_mode(self, command: Command) -> None:
        assert isinstance(command, SetPositionMode)
        account = self.state.accounts[command.account]
        if command.mode is not account.account.position_mode and (
            account.open_holdings() or self.state.live_orders(account.id)
        ):
            self.state.note("position_mode_refused", account.id, "", "open orders or positions")
        else:
            account.account.position_mode = command.mode
        booking.push_account(self.state, account, "position_mode")

    def _adjust_margin(self, command: Command) -> None:
        assert isinstance(command, AdjustIsolatedMargin)
        state = self.state
        account, market = state.accounts[command.account], state.markets.get(command.instrument)
        why = self._margin_refusal(account, market, command)
        if why or market is None:
            state.note("margin_refused", account.id, command.instrument, why)
        else:
            account.holding(market.spec.id, command.position_side).isolated_wallet += command.amount
            state.note("margin_added", account.id, command.instrument, str(command.amount))
        booking.push_account(state, account, "margin_transfer")

    def _margin_refusal(self, account: SimAccount, market: Market | None, command: AdjustIsolatedMargin) -> str:
        if market is None or account.mode(command.instrument) is not MarginMode.ISOLATED:
            return "only isolated positions have a margin of their own"
        held = account.holdings.get((command.instrument, command.position_side))
        if held is None or not held.qty:
            return "there is no position"
        spec = market.spec
        free = margin.free_margin(self.state, account, spec.settle)
        if command.amount > ZERO:
            return "" if command.amount <= free else f"only {max(free, ZERO)} {spec.settle} is free"
        price = margin.value_price(market, held)
        needed = initial_margin(spec, held.qty, price, self.state.leverage(account, spec))
        kept = held.isolated_wallet + min(ZERO, margin.unrealized(market, held)) + command.amount
        return "" if kept >= needed else "the position needs its initial margin"

    def _arm_dead_man(self, command: Command) -> None:
        assert isinstance(command, ArmDeadMan)
        key = (command.account, command.instrument)
        if command.timeout_ns > 0:
            self.state.dead_man[key] = self.state.now + command.timeout_ns
        else:
            self.state.dead_man.pop(key, None)
        self.state.find_deadline()


def _rules(rules: str | VenueRules) -> VenueRules:
    if isinstance(rules, VenueRules):
        return rules
    if rules not in RULES:
        raise VenueSetupError(f"rules: {rules!r} is not one of {', '.join(RULES)}")
    return RULES[rules]


def _any_side(account: SimAccount) -> PositionSide:
    return PositionSide.BOTH if account.account.position_mode is PositionMode.ONE_WAY else PositionSide.LONG
