"""When to hold spot against a short perpetual: enter on a wide basis, leave on a narrow one or after a time."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

from attrs import define, field, frozen
from attrs.validators import optional

from actors.basket import ENDED
from actors.config_checks import finite, not_negative, positive, positive_or_none
from actors.messages import BasketState, BasketUpdate, BookView, FundingState, KillLevel, Placement
from actors.strategies.base import Strategy, StrategyState
from venues.model.instrument import Instrument, UnknownInstrumentError
from venues.model.order import Side
from venues.port import MarkPrice
from venues.rules.funding import is_plausible

_HOLD = "hold"

# What a configuration file may say: numbers below zero, and whose id a text is.
_SIGNED = {"signed": True}
_INSTRUMENT = {"ref": "instrument"}


@frozen
class CashAndCarryConfig:
    """Basis points are of the spot price, durations nanoseconds, `qty` base units.

    The basis to enter is (perpetual bid - spot ask) / spot ask, to leave (perpetual ask - spot bid) / spot bid.
    With `min_net_bps` the entry basis plus the funding expected until `max_hold_ns`, less all four taker fees, must
    reach it too; stamps are `funding_interval_ns` apart until the desk has seen how far. No entry within
    `funding_blackout_ns` of a funding stamp. `max_baskets` counts over the whole run. `placement` and the bounds after
    `funding_blackout_ns` hold for every basket, opening or closing.
    """

    spot: str = field(metadata=_INSTRUMENT)
    perpetual: str = field(metadata=_INSTRUMENT)
    spot_account: str
    perpetual_account: str
    qty: Decimal = field(validator=positive)
    entry_bps: Decimal = field(validator=finite, metadata=_SIGNED)
    exit_bps: Decimal = field(validator=finite, metadata=_SIGNED)
    max_hold_ns: int = field(default=86_400_000_000_000, validator=positive)
    cooldown_ns: int = field(default=60_000_000_000, validator=not_negative)
    retry_ns: int = field(default=1_000_000_000, validator=positive)
    max_baskets: int = field(default=1_000_000, validator=positive)
    max_view_age_ns: int = field(default=10_000_000_000, validator=positive)
    min_net_bps: Decimal | None = field(default=None, validator=optional(finite), metadata=_SIGNED)
    spot_fee_bps: Decimal = field(default=Decimal(10), validator=finite, metadata=_SIGNED)
    perpetual_fee_bps: Decimal = field(default=Decimal(5), validator=finite, metadata=_SIGNED)
    funding_interval_ns: int = field(default=28_800_000_000_000, validator=positive)
    funding_blackout_ns: int = field(default=0, validator=not_negative)
    max_slippage_bps: Decimal = field(default=Decimal(10), validator=not_negative)
    risk_budget: Decimal = field(default=Decimal(1_000_000), validator=not_negative)
    deadline_ns: int = field(default=30_000_000_000, validator=positive)
    placement: Placement = Placement.SIMULTANEOUS
    loss_budget: Decimal | None = field(default=None, validator=positive_or_none)


@define
class CashAndCarryState(StrategyState):
    """`basket` is the one under way or open, empty without; times are local nanoseconds.

    `interval_ns` is the time between funding instants as it was seen, None before two of them.
    """

    basket: str = ""
    opened: int = 0
    not_before_ns: int = 0
    spot_ns: int = 0
    perpetual_ns: int = 0
    rate: Decimal | None = None
    next_funding_ns: int | None = None
    interval_ns: int | None = None


class CashAndCarry(Strategy):
    """One basket at a time: long spot, short the perpetual of the same base asset.

    Raises UnknownInstrumentError for an instrument the run does not have, ValueError for a pair that is no carry.
    """

    Config = CashAndCarryConfig
    State = CashAndCarryState

    state: CashAndCarryState
    config: CashAndCarryConfig

    def __init__(self, instruments: Mapping[str, Instrument], config: CashAndCarryConfig, name: str = "") -> None:
        super().__init__(instruments, config, name)
        for instrument in (config.spot, config.perpetual):
            if instrument not in instruments:
                raise UnknownInstrumentError(instrument)
        spot, perpetual = instruments[config.spot], instruments[config.perpetual]
        if not spot.is_spot or perpetual.is_spot or perpetual.inverse or spot.base != perpetual.base:
            raise ValueError(f"{spot.id} and {perpetual.id} are not a spot and a linear contract of one base asset")
        # Prices as integers on one grid: ticks times these.
        grid = Fraction(perpetual.tick_size) / Fraction(spot.tick_size)
        self._perpetual_step, self._spot_step = grid.numerator, grid.denominator
        self._entry, self._exit = Fraction(config.entry_bps), Fraction(config.exit_bps)

    def on_book(self, now: int, view: BookView) -> None:
        state, config = self.state, self.config
        if view.instrument == config.spot:
            state.spot_ns = now
        elif view.instrument == config.perpetual:
            state.perpetual_ns = now
        else:
            return
        spot, perpetual = state.books.get(config.spot), state.books.get(config.perpetual)
        if spot is None or perpetual is None or now < state.not_before_ns:
            return
        if min(state.spot_ns, state.perpetual_ns) + config.max_view_age_ns < now:
            return
        if not state.basket:
            bid, ask = perpetual.bid * self._perpetual_step, spot.ask * self._spot_step
            if (bid - ask) * 10_000 * self._entry.denominator >= self._entry.numerator * ask:
                self._enter(now, bid, ask)
        elif self._must_leave(now):
            self._leave(now)
        else:
            ask, bid = perpetual.ask * self._perpetual_step, spot.bid * self._spot_step
            if (ask - bid) * 10_000 * self._exit.denominator <= self._exit.numerator * bid:
                self._leave(now)

    def _enter(self, now: int, perpetual_bid: int, spot_ask: int) -> None:
        state, config = self.state, self.config
        if state.opened >= config.max_baskets or state.is_stopping or state.kill_level >= KillLevel.REDUCE_ONLY:
            return
        if self._is_blacked_out(now) or not self._pays(now, perpetual_bid, spot_ask):
            return
        state.opened += 1
        state.basket = self.open_basket(
            now,
            self.leg(config.spot_account, config.spot, Side.BUY, config.qty),
            self.leg(config.perpetual_account, config.perpetual, Side.SELL, config.qty),
            max_slippage_bps=config.max_slippage_bps,
            risk_budget=config.risk_budget,
            deadline_ns=config.deadline_ns,
            placement=config.placement,
            loss_budget=config.loss_budget,
        )

    def _is_blacked_out(self, now: int) -> bool:
        """Whether a funding stamp is near; unknown stamps are near when a blackout is asked for."""
        blackout, stamp = self.config.funding_blackout_ns, self.state.next_funding_ns
        if blackout == 0:
            return False
        if stamp is None:
            return True
        return min(abs(stamp - now), abs(now - (stamp - self._interval_ns))) < blackout

    @property
    def _interval_ns(self) -> int:
        return self.config.funding_interval_ns if self.state.interval_ns is None else self.state.interval_ns

    def _pays(self, now: int, perpetual_bid: int, spot_ask: int) -> bool:
        """Whether basis and expected funding are worth the fees of both legs, there and back."""
        config = self.config
        if config.min_net_bps is None:
            return True
        rate, stamp = self.state.rate, self.state.next_funding_ns
        if rate is None or stamp is None:
            return False
        until = now + config.max_hold_ns
        stamps = 0 if stamp > until else 1 + (until - max(stamp, now)) // self._interval_ns
        basis = Decimal(perpetual_bid - spot_ask) * 10_000 / spot_ask
        fees = 2 * (config.spot_fee_bps + config.perpetual_fee_bps)
        return basis + rate * 10_000 * stamps - fees >= config.min_net_bps

    def _must_leave(self, now: int) -> bool:
        """Whether the basket was held long enough, or is broken: half a carry is a bet, to be taken off at once."""
        basket = self.baskets.get(self.state.basket)
        if basket is None:
            return False
        since = basket.balanced_ns
        is_over = since is not None and now - since >= self.config.max_hold_ns
        return is_over or basket.state is BasketState.BROKEN

    def _leave(self, now: int) -> None:
        config = self.config
        self.close_basket(
            now,
            self.state.basket,
            max_slippage_bps=config.max_slippage_bps,
            risk_budget=config.risk_budget,
            deadline_ns=config.deadline_ns,
            placement=config.placement,
            loss_budget=config.loss_budget,
        )

    def on_clock(self, now: int, key: str) -> None:
        if self._must_leave(now):
            self._leave(now)

    def on_restart(self, now: int) -> None:
        self.out.timer(_HOLD, now)

    def on_mark(self, now: int, mark: MarkPrice) -> None:
        if mark.instrument == self.config.perpetual:
            rate = mark.rate
            self.state.rate = rate if rate is not None and is_plausible(rate) else None
            self.state.next_funding_ns = mark.next_funding_ns

    def on_funding(self, now: int, funding: FundingState) -> None:
        if funding.instrument == self.config.perpetual and funding.interval_ns is not None:
            self.state.interval_ns = funding.interval_ns

    def on_basket(self, now: int, update: BasketUpdate) -> None:
        state, config = self.state, self.config
        if update.basket_id == state.basket:
            if update.state is BasketState.BALANCED:
                self.out.timer(_HOLD, now + config.max_hold_ns)
            elif update.state is BasketState.BROKEN:
                self._pause(now)
            elif update.state in (BasketState.FLAT, BasketState.DENIED):
                # A denied basket was none: the next try needs no cool-down, only a pause.
                is_denied = update.state is BasketState.DENIED
                state.opened -= is_denied
                state.not_before_ns = now + (config.retry_ns if is_denied else config.cooldown_ns)
                state.basket = ""
                self.out.cancel_timer(_HOLD)
        elif update.closes == state.basket and update.state in ENDED and self.is_open(state.basket):
            # Not all of it came off: try again after a pause, whatever the books do.
            self._pause(now)

    def _pause(self, now: int) -> None:
        self.state.not_before_ns = now + self.config.retry_ns
        self.out.timer(_HOLD, self.state.not_before_ns)
