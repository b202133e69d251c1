"""What the guards know of the desk: positions, prices, wallets, rates, what venues say of positions, open baskets.

Prices are marks, or the middle of a book that was asked for; one older than allowed is none. All of it is the state of
the guards' actor; what is computed here is computed from the state alone.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from attrs import define, field

from actors.guards.config import GuardsConfig
from actors.guards.findings import GuardReason, Severity
from actors.guards.portfolio import AssetClass, asset_class, contract_of
from actors.ledger import priced_by
from actors.liquidation_price import Member
from actors.messages import BasketLeg, BasketState, KillLevel, MarginLevel
from actors.risk_checks import unit_notional
from actors.wallets import balance_of
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO
from venues.model.order import PositionSide
from venues.rules.contracts import Contract


@define
class Held:
    """An open position; `best` is its best price since it was opened.

    `qty` is None when our book said what is no number of a market's size, or nothing while the venue says there is one
    (`is_foreign`).
    """

    account: str
    instrument: str
    side: PositionSide
    qty: Decimal | None
    entry: Decimal | None
    since_ns: int
    best: Decimal | None = None
    is_foreign: bool = False


@define
class Seen:
    """A price and when it came, by our clock."""

    ts: int
    price: Decimal


@define
class Rate:
    """A perpetual's running rate. `interval_hours` is None until two stamps were seen; `over` counts stamps by side
    since funding of it became excessive."""

    ts: int
    rate: Decimal | None = None
    next_ns: int | None = None
    interval_hours: int | None = None
    over: dict[str, int] = field(factory=dict)


@define
class Promise:
    """A leg that may still trade: `qty` is signed, as of the pre-flight, `filled` what of it is in the position."""

    key: str
    instrument: str
    account: str
    qty: Decimal
    filled: Decimal = ZERO

    @property
    def rest(self) -> Decimal:
        left = self.qty - self.filled
        return left if left * self.qty > ZERO else ZERO


@define
class OpenBasket:
    """A basket that may hold something: its legs as asked for, the signed position of each.

    `once` remembers by guard and subject for which occasion the basket was reduced.
    """

    strategy: str
    legs: list[BasketLeg]
    filled: list[Decimal] = field(factory=list)
    state: BasketState = BasketState.PLANNED
    once: dict[str, str] = field(factory=dict)


@define
class Standing:
    """A finding that holds: since when, and in which words it was told."""

    guard: str
    account: str
    subject: str
    severity: Severity
    reason: GuardReason
    text: str
    since_ns: int
    keep: Decimal | None = None
    is_told: bool = True


@define
class Reduction:
    """A close that the guards asked for: of which basket, for what, and when it may be asked for again."""

    basket_id: str
    why: str
    retry_ns: int
    is_over: bool = False


@define
class GuardState:
    """Keys: positions by `position_key`, rates and prices by instrument, levels by account, `paid` by account and
    instrument (when, basis points paid), `named` are liquidation prices by position, behind the quantity they were
    named for; `standing` by guard, account, subject and reason, `counts` by account, subject, guard and severity."""

    held: dict[str, Held] = field(factory=dict)
    marks: dict[str, Seen] = field(factory=dict)
    touches: dict[str, Seen] = field(factory=dict)
    rates: dict[str, Rate] = field(factory=dict)
    reported: dict[str, dict[str, Decimal]] = field(factory=dict)
    reported_ns: dict[str, dict[str, int]] = field(factory=dict)
    booked: dict[str, dict[str, Decimal]] = field(factory=dict)
    levels: dict[str, MarginLevel] = field(factory=dict)
    coverages: dict[str, Decimal] = field(factory=dict)
    named: dict[str, list[Decimal]] = field(factory=dict)
    ranks: dict[str, int] = field(factory=dict)
    settlements: dict[str, Decimal] = field(factory=dict)
    paid: dict[str, list[tuple[int, Decimal]]] = field(factory=dict)
    baskets: dict[str, OpenBasket] = field(factory=dict)
    promises: dict[str, list[Promise]] = field(factory=dict)
    standing: dict[str, Standing] = field(factory=dict)
    counts: dict[str, int] = field(factory=dict)
    reductions: dict[str, Reduction] = field(factory=dict)
    next_reduction: int = 0
    judged_ns: int = 0
    next_check_ns: int = 0
    kill_level: KillLevel = KillLevel.ARMED
    is_stopping: bool = False
    is_guarded: bool = False


@define
class Line:
    """What never changes about an instrument.

    `is_at_par`: quoted in money that counts one to one; `is_plain`: linear as well.
    """

    spec: Instrument
    kind: AssetClass
    contract: Contract | None
    is_spot: bool
    is_at_par: bool
    is_plain: bool
    base: str
    quote: str
    settle: str


class Book:
    """Reads the `state`; `accounts` gives each account's venue.

    `moved` is called whenever a price in the state changed, `changed` for positions and balances.
    """

    def __init__(
        self,
        state: GuardState,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, str],
        config: GuardsConfig,
    ) -> None:
        self.state = state
        self.instruments = instruments
        self.accounts = accounts
        self.config = config
        self._age_max_ns = config.price_age_max_ns
        self.lines = {key: self._line(spec) for key, spec in instruments.items()}
        contracts = [(line.contract, key) for key, line in self.lines.items() if line.contract is not None]
        # Nearest first, as spreads are formed.
        self.contracts = {key: contract for contract, key in sorted(contracts)}
        self._priced_by = priced_by(instruments, config.par)
        margined = [one for one in instruments.values() if not one.is_spot]
        self._margin_assets = {
            account: tuple(sorted({one.settle for one in margined if one.venue == venue}))
            for account, venue in accounts.items()
        }
        # What followed from the state last, and until when it does by itself.
        self._units: dict[str, tuple[int, Decimal]] = {}
        self._equities: dict[tuple[str, str], tuple[int, Decimal]] = {}

    def _line(self, spec: Instrument) -> Line:
        is_at_par = spec.quote in self.config.par
        return Line(
            spec,
            asset_class(spec),
            contract_of(spec),
            spec.is_spot,
            is_at_par,
            is_at_par and not spec.inverse,
            spec.base,
            spec.quote,
            spec.settle,
        )

    # Prices and values

    def moved(self, instrument: str) -> None:
        """Forget what followed from the price of an instrument."""
        self._units.pop(instrument, None)
        self._equities.clear()

    def changed(self) -> None:
        """Forget what followed from positions and balances."""
        self._equities.clear()

    def price(self, now: int, instrument: str) -> Decimal | None:
        """Return the mark, else the middle of the book asked for; None when neither is fresh."""
        seen = self._seen(now, instrument)
        return None if seen is None else seen.price

    def _seen(self, now: int, instrument: str) -> Seen | None:
        oldest = now - self._age_max_ns
        seen = self.state.marks.get(instrument)
        if seen is not None and seen.ts >= oldest:
            return seen
        seen = self.state.touches.get(instrument)
        return seen if seen is not None and seen.ts >= oldest else None

    def value_of(self, now: int, asset: str) -> Decimal | None:
        """Return what one of `asset` is worth in quote money, None when nothing prices it."""
        if asset in self.config.par:
            return ONE
        for instrument in self._priced_by.get(asset, ()):
            price = self.price(now, instrument)
            if price is not None:
                return price
        return None

    def unit(self, now: int, instrument: str) -> Decimal | None:
        """Return the value in quote money of one unit of quantity, unsigned; None without a price."""
        known = self._units.get(instrument)
        if known is not None and now <= known[0]:
            return known[1]
        seen = self._seen(now, instrument)
        if seen is None:
            return None
        line = self.lines[instrument]
        unit = unit_notional(line.spec, seen.price).copy_abs()
        if not line.is_at_par:
            worth = self.value_of(now, line.quote)
            return None if worth is None else unit * worth
        self._units[instrument] = (seen.ts + self._age_max_ns, unit)
        return unit

    # Accounts

    def wallet(self, account: str, asset: str) -> Decimal | None:
        """Return an account's balance, None when nobody told one."""
        return balance_of(self.state.reported, self.state.booked, account, asset)

    def equity(self, now: int, account: str, asset: str) -> Decimal | None:
        """Return the margin balance of an account's positions settled in `asset`: wallet and unrealised profit."""
        known = self._equities.get((account, asset))
        if known is not None and now <= known[0]:
            return known[1]
        total, oldest, lines = self.wallet(account, asset), now, self.lines
        if total is None:
            return None
        for held in self.state.held.values():
            if held.account != account:
                continue
            line = lines.get(held.instrument)
            if line is None or held.qty is None:
                return None
            if line.is_spot or line.settle != asset:
                continue
            seen = self._seen(now, held.instrument)
            if seen is None or held.entry is None:
                return None
            oldest = min(oldest, seen.ts)
            total += line.spec.pnl(held.qty, held.entry, seen.price)
        self._equities[account, asset] = (oldest + self._age_max_ns, total)
        return total

    def account_equity(self, now: int, account: str) -> Decimal | None:
        """Return the margin balance behind all that an account holds on margin, in quote money."""
        total = None
        for asset in self._margin_assets.get(account, ()):
            equity = self.equity(now, account, asset)
            if equity is None:
                if self.wallet(account, asset) is None:
                    continue
                return None
            if asset not in self.config.par:
                worth = self.value_of(now, asset)
                if worth is None:
                    return None
                equity *= worth
            total = equity if total is None else total + equity
        return total

    def members(self, now: int, account: str, asset: str) -> list[Member] | None:
        """Return the positions of a cross pool at their marks, None when one of them is not known."""
        found = []
        for held in self.state.held.values():
            if held.account != account:
                continue
            spec = self.instruments.get(held.instrument)
            if spec is None or held.qty is None or held.entry is None:
                return None
            if spec.is_spot or spec.settle != asset:
                continue
            price = self.price(now, held.instrument)
            if price is None:
                return None
            found.append(Member(spec, held.side, held.qty, held.entry, price))
        return found

    def derivatives(self, account: str) -> Iterator[Held]:
        """Yield what an account holds on margin, and what nobody knows."""
        for held in self.state.held.values():
            spec = self.instruments.get(held.instrument)
            if held.account == account and (spec is None or not spec.is_spot):
                yield held

    def cumulated_bps(self, now: int, account: str, instrument: str, window_ns: int) -> Decimal:
        """Return what funding cost a position in the last `window_ns`, negative when it brought."""
        paid = self.state.paid.get(f"{account}|{instrument}")
        return sum((bps for ts, bps in paid if ts > now - window_ns), ZERO) if paid else ZERO
