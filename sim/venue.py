"""The simulated venue as a synchronous state machine behind the port: market reports and commands in, reports out."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial

from attrs import evolve

from sim import booking, busting, entry, liquidation, margin, parametric_market, queries, sessions
from sim.account import FlowHook, FlowType, SimAccount
from sim.book_order import BookOrder
from sim.core import Core
from sim.fund import FUND
from sim.index_mean import IndexMean
from sim.matching import Matcher
from sim.parametric_config import ParametricConfig
from sim.parametric_market import make_matcher
from sim.price_controls import PriceControls
from sim.queue_models import make_queue_model
from sim.rows import EXECUTE
from sim.slippage import SlippageHook
from sim.venue_order import VenueOrder
from sim.venue_rules import RULES, VenueRules
from sim.venue_settings import Participant, VenueSettings
from sim.venue_state import Market, NoteHook, ReportHook, VenueState
from sim.venue_stored import StoredVenue, load_venue, store_venue
from venues.costs.fees import FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import (
    AdjustIsolatedMargin,
    ArmDeadMan,
    BookDelta,
    BookSnapshot,
    CancelAll,
    CancelOrder,
    Command,
    DeadManArmed,
    FundingRate,
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
from venues.rules.contracts import parse_contract
from venues.rules.errors import BadValueError, RuleError
from venues.rules.instrument_margin import initial_margin


class VenueSetupError(ValueError):
    """Instruments, accounts or fees the venue cannot be built from; the message names the field."""


class SimVenue:
    """One venue in a box. Every call happens at a venue time `now` (ns UTC, never going back) and returns what the
    venue says then, in order. Latency is the caller's business; the venue itself draws no chance and reads no clock.

    Books are displayed quantities in ticks and lots; own orders are matched as `sim/kernel/matching.py` says. Venues
    may share a `core`, which then holds the instruments of all. With `execution` there are no books: bars and quotes
    tell prices, orders trade as `sim/parametric.py` says, and `on_slippage` gets what each fill cost beyond its
    reference. `on_flow` sees every movement of money, that of the fund and of simulated participants included;
    `on_note` what the port has no report for; `on_counterparty` what is said to participants. `seed` is kept for
    models that draw; none does yet. Raises VenueSetupError for inverse contracts, missing margins or fees and bad
    brackets.
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
        core: Core | None = None,
        on_flow: FlowHook | None = None,
        on_note: NoteHook | None = None,
        execution: ParametricConfig | None = None,
        on_slippage: SlippageHook | None = None,
        settings: VenueSettings | None = None,
        on_counterparty: ReportHook | None = None,
    ) -> None:
        self.name = name
        self.seed = seed
        self.execution = execution
        self.on_slippage = on_slippage
        self.state = VenueState(
            name,
            _rules(rules),
            fees,
            settings or VenueSettings(),
            on_note=on_note,
            on_flow=on_flow,
            on_counterparty=on_counterparty,
        )
        specs, model = tuple(instruments), make_queue_model(queue_model)
        if core is None:
            core = Core.make([(spec, model) for spec in specs], self.state.rules.keeps_place_on_decrease)
        self.core = core
        for spec in specs:
            self._list(spec)
        strange = self.state.settings.controls.keys() - self.state.markets.keys()
        if strange:
            raise VenueSetupError(f"controls: {', '.join(sorted(strange))} not listed here")
        for account in accounts:
            if account.id in self.state.accounts:
                raise VenueSetupError(f"accounts: {account.id} twice")
            self.state.accounts[account.id] = SimAccount(
                account, on_flow=on_flow, quantum=self.state.settings.money_quantum
            )
        for participant in self.state.settings.participants:
            self._seat(participant, on_flow)
        self._market: dict[type[Report], Callable[[Market, Report], None]] = {
            BookSnapshot: self._on_snapshot,
            BookDelta: self._on_delta,
            Trade: self._on_trade,
            MarkPrice: self._on_mark,
            FundingRate: self._on_funding,
            InstrumentStatus: self._on_status,
            OpenInterest: self._on_open_interest,
        }
        if execution is not None:
            self._market = parametric_market.listen(self.state, self._market)
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

    def _list(self, spec: Instrument) -> None:
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

        def expire(order: VenueOrder) -> None:
            booking.expire(state, market, order)

        def traded() -> None:
            parametric_market.shrink_reducing(state, market)

        market = state.markets[spec.id] = Market(
            spec,
            Matcher(self.core, self.core.index(spec.id), fill, expire)
            if self.execution is None
            else make_matcher(state, spec, self.execution, (fill, expire, traded), self.on_slippage),
        )
        self._control(market)

    def _control(self, market: Market) -> None:
        settings, spec = self.state.settings, market.spec
        if spec.kind is InstrumentKind.QUARTERLY and spec.expiry_ns is not None:
            market.index_mean = IndexMean(spec.expiry_ns)
        if settings.calendar:
            try:
                market.product = parse_contract(spec.symbol).product
            except RuleError as error:
                raise VenueSetupError(f"calendar: {error}") from None
        rules = settings.controls.get(spec.id)
        if rules is not None:
            try:
                market.controls = PriceControls(spec, rules, market.product)
            except BadValueError as error:
                raise VenueSetupError(f"controls.{spec.symbol}.{error}") from None

    def _seat(self, participant: Participant, on_flow: FlowHook | None) -> None:
        state, account = self.state, participant.account
        if account.id in state.accounts or account.id == FUND:
            raise VenueSetupError(f"participants: {account.id} is the name of another account")
        state.participants.add(account.id)
        seated = state.accounts[account.id] = SimAccount(
            evolve(account, balances=dict(account.balances), leverage=dict(account.leverage)), on_flow=on_flow
        )
        for stake in participant.stakes:
            market = state.markets.get(stake.instrument)
            if market is None or market.spec.is_spot:
                raise VenueSetupError(f"participants: {account.id} holds {stake.instrument}, no contract listed here")
            if (stake.position_side is PositionSide.BOTH) is not (account.position_mode is PositionMode.ONE_WAY):
                raise VenueSetupError(f"participants: {account.id} cannot hold a {stake.position_side} position")
            side = Side.BUY if stake.qty > ZERO else Side.SELL
            leverage = Decimal(state.leverage(seated, market.spec))
            size, price = abs(stake.qty), stake.entry_price
            seated.book_contract(0, market.spec, stake.position_side, side, size, price, ZERO, leverage)
            market.matcher.hold(account.id, stake.position_side, int(stake.qty / market.spec.lot_size))

    # The face

    def on_market(self, now: int, report: Report) -> list[Report]:
        """Take one market report. What is not for this venue's markets, or moves nothing, is ignored."""
        handler = self._market.get(type(report))
        if handler is None:
            return []
        market = self.state.markets.get(report.instrument)  # type: ignore[attr-defined]
        if market is None:
            return []
        self.at(now)
        handler(market, report)
        return self._flush()

    def follow_orders(self, instrument: str, trades_move: bool) -> None:
        """Expect a book that is told order by order; trades move it when nothing will say which orders traded."""
        matcher = self.state.markets[instrument].matcher
        assert isinstance(matcher, Matcher)
        matcher.follow_orders(trades_move)

    def on_book_order(self, now: int, change: BookOrder) -> list[Report]:
        """Take one change of a book that is told order by order; what is wrong about it is a note `bad_feed`."""
        self.at(now)
        market = self.state.markets[change.instrument]
        assert isinstance(market.matcher, Matcher)
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
        """Take one command as it arrives. Raises VenueSetupError for an account that is not at this venue.

        A question changes nothing, not even the venue's time: a venue that comes back has forgotten it.
        """
        before = self.state.now
        self.at(now)
        is_client = command.account in self.state.accounts and command.account not in self.state.participants
        if not is_client and not isinstance(command, Query):
            raise VenueSetupError(f"{command.account} is not an account of {self.name}")
        handler = self._command.get(type(command))
        if handler is not None:
            handler(command)
        if isinstance(command, Query):
            self.state.now = before
        return self._flush()

    def on_time(self, now: int) -> list[Report]:
        """Do what is due: markets that change, orders that expire, dead-man timers that nobody refreshed."""
        state = self.state
        self.at(now)
        sessions.run_due(state)
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
        self.at(now)
        sessions.settle(self.state, self.state.markets[instrument], price, final)
        return self._flush()

    def transfer(self, now: int, account: str, asset: str, amount: Decimal) -> list[Report]:
        """Let money come in (positive) or go out of an account, as its owner may do behind the desk's back."""
        self.at(now)
        owner = self.state.accounts[account]
        owner.pay(now, FlowType.TRANSFER, asset, amount, "")
        booking.push_account(self.state, owner, "deposit" if amount > ZERO else "withdraw")
        return self._flush()

    def bust(self, now: int, instrument: str, trade_id: str, why: str = "") -> list[Report]:
        """Take a trade back, on every side of it that is an account's. Raises UnbustableError."""
        self.at(now)
        busting.bust(self.state, instrument, trade_id, why)
        return self._flush()

    def at(self, now: int) -> None:
        """Let it be `now`; a compiled run calls it for what it has made happen."""
        self.state.now = now
        if not self.state.has_begun:
            self.state.has_begun = True
            sessions.begin(self.state)

    def take_reports(self) -> list[Report]:
        """Return what the venue has said since it was last asked."""
        return self._flush()

    @property
    def is_storable(self) -> bool:
        """Whether `store` tells everything: venues on bars, price controls and running delivery means it does not."""
        markets = self.state.markets.values()
        return all(
            isinstance(market.matcher, Matcher) and market.controls is None and market.index_mean is None
            for market in markets
        )

    def store(self) -> StoredVenue:
        """Return what is to be known to go on from here, shared with this venue: write it down before the next call.

        Raises ValueError for a venue that is not storable.
        """
        if not self.is_storable:
            raise ValueError(f"{self.name}: what it is made of is not stored")
        return store_venue(self.state, self.core.store())

    def restore(self, found: StoredVenue) -> None:
        """Go on from there; this venue is fresh and of the same configuration. Raises StoredStateError."""
        load_venue(self.state, found)
        self.core.load(found.core, self.state.live.values())

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
        if market.controls is not None and not sessions.watch(self.state, market, market.controls, report.price):
            return
        if market.window is not None:
            sessions.count(self.state, market, report.price, report.lots)
        market.last_trade = report.price
        market.latest = market.spec.price(report.price)
        market.matcher.on_trade(report.price, report.lots, report.aggressor)
        if ns := entry.check_triggers(self.state, market, on_mark=False):
            sessions.pause(self.state, market, ns, "stop logic")

    def _on_mark(self, market: Market, report: Report) -> None:
        assert isinstance(report, MarkPrice)
        market.mark = market.latest = report.mark
        if report.index is not None:
            market.index = report.index
            if market.index_mean is not None:
                market.index_mean.take(self.state.now, report.index)
        liquidation.look(self.state, market)
        entry.check_triggers(self.state, market, on_mark=True)

    def _on_funding(self, market: Market, report: Report) -> None:
        assert isinstance(report, FundingRate)
        booking.pay_funding(self.state, market, report.rate, report.mark)
        if market.mark is not None:
            liquidation.look(self.state, market)

    def _on_open_interest(self, market: Market, report: Report) -> None:
        assert isinstance(report, OpenInterest)
        market.open_interest = report.qty

    def _on_status(self, market: Market, report: Report) -> None:
        assert isinstance(report, InstrumentStatus)
        sessions.enter(self.state, market, report.state)
        self.state.find_deadline()

    def _query(self, command: Command) -> None:
        assert isinstance(command, Query)
        self.state.out.append(queries.answer(self.state, command))

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
        self.state.say(DeadManArmed(self.state.now, *key, command.timeout_ns))


def _rules(rules: str | VenueRules) -> VenueRules:
    if isinstance(rules, VenueRules):
        return rules
    if rules not in RULES:
        raise VenueSetupError(f"rules: {rules!r} is not one of {', '.join(RULES)}")
    return RULES[rules]


def _any_side(account: SimAccount) -> PositionSide:
    return PositionSide.BOTH if account.account.position_mode is PositionMode.ONE_WAY else PositionSide.LONG
