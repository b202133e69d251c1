"""What is written down of a simulated venue, and how it becomes the same venue again.

Instruments, fees, rules and queue models are not: they come from the configuration, which must be the same.
"""

from decimal import Decimal

from attrs import field, frozen

from sim.account import Holding, SimAccount
from sim.core import StoredCore
from sim.matching import Matcher, StoredMatcher
from sim.stored import StoredStateError
from sim.venue_order import VenueOrder
from sim.venue_state import Due, Market, VenueState
from venues.model.account import Account, MarginMode
from venues.port import FundingRate, Income, InstrumentState, OrderFilled

OrderKey = tuple[str, str]
"""Account and client order id."""


@frozen
class StoredMarket:
    """One instrument; `conditional` are orders that have not triggered."""

    matcher: StoredMatcher
    state: InstrumentState
    last_trade: int | None
    mark: Decimal | None
    latest: Decimal | None
    settlement: Decimal | None
    open_interest: Decimal | None
    update_id: int | None
    trades: int
    is_settled: bool
    swept_qty: Decimal
    swept_ticks: int | None
    index: Decimal | None
    agenda: dict[Due, int]
    next_state: InstrumentState
    window: tuple[int, int, int] | None
    is_closing_out: bool
    has_printed: bool
    conditional: list[OrderKey]
    rates: list[FundingRate] = field(factory=list)


@frozen
class StoredAccount:
    """One account, its holdings in the order they first appeared."""

    account: Account
    holdings: list[Holding]
    margin_modes: dict[str, MarginMode]
    calls: dict[str, int]
    income: list[Income] = field(factory=list)
    incomes: int = 0


@frozen
class StoredVenue:
    """A venue between two calls: `live` and `done` orders in their order, the oldest first."""

    name: str
    core: StoredCore
    markets: dict[str, StoredMarket]
    accounts: dict[str, StoredAccount]
    live: list[VenueOrder]
    done: list[VenueOrder]
    fills: list[OrderFilled]
    dead_man: dict[OrderKey, int]
    insurance: dict[str, Decimal]
    uncovered: dict[str, Decimal]
    inventory: dict[str, Holding]
    has_begun: bool
    now: int
    orders: int
    forced: int
    deadline: int | None


def store_venue(state: VenueState, core: StoredCore) -> StoredVenue:
    """Return what is to be known of a venue that has said all it had to say."""
    if state.out:
        raise ValueError(f"{state.name}: {len(state.out)} reports have not left")
    return StoredVenue(
        state.name,
        core,
        {name: _store_market(market) for name, market in state.markets.items()},
        {name: _store_account(account) for name, account in state.accounts.items()},
        list(state.live.values()),
        list(state.done.values()),
        list(state.fills),
        dict(state.dead_man),
        state.insurance,
        state.uncovered,
        state.inventory,
        state.has_begun,
        state.now,
        state.orders,
        state.forced,
        state.deadline,
    )


def _store_market(market: Market) -> StoredMarket:
    assert isinstance(market.matcher, Matcher)
    return StoredMarket(
        market.matcher.store(),
        market.state,
        market.last_trade,
        market.mark,
        market.latest,
        market.settlement,
        market.open_interest,
        market.update_id,
        market.trades,
        market.is_settled,
        market.swept_qty,
        market.swept_ticks,
        market.index,
        market.agenda,
        market.next_state,
        market.window,
        market.is_closing_out,
        market.has_printed,
        [(order.account, order.id) for order in market.conditional],
        list(market.rates),
    )


def _store_account(account: SimAccount) -> StoredAccount:
    return StoredAccount(
        account.account,
        list(account.holdings.values()),
        account.margin_modes,
        account.calls,
        list(account.income),
        account.incomes,
    )


def load_venue(state: VenueState, found: StoredVenue) -> None:
    """Make `state`, fresh from the same configuration, what was stored; the arrays are the caller's.

    Raises StoredStateError when it is of other instruments or accounts.
    """
    for what, has, told in (
        ("venue", [state.name], [found.name]),
        ("instruments", list(state.markets), list(found.markets)),
        ("accounts", list(state.accounts), list(found.accounts)),
    ):
        if has != told:
            raise StoredStateError(f"{state.name}: {what} {', '.join(told)} were stored, not {', '.join(has)}")
    state.live.update({(order.account, order.id): order for order in found.live})
    state.done.update({(order.account, order.id): order for order in found.done})
    state.fills.extend(found.fills)
    state.dead_man.update(found.dead_man)
    state.insurance.update(found.insurance)
    state.uncovered.update(found.uncovered)
    state.inventory.update(found.inventory)
    state.has_begun = found.has_begun
    state.now, state.orders, state.forced, state.deadline = found.now, found.orders, found.forced, found.deadline
    for name, market in state.markets.items():
        _load_market(state, market, found.markets[name])
    for name, account in state.accounts.items():
        _load_account(account, found.accounts[name])


def _load_market(state: VenueState, market: Market, found: StoredMarket) -> None:
    if not isinstance(market.matcher, Matcher):
        raise StoredStateError(f"{market.spec.id}: has no book that could be stored")
    market.matcher.load(found.matcher)
    market.state, market.last_trade, market.mark, market.latest = (
        found.state,
        found.last_trade,
        found.mark,
        found.latest,
    )
    market.settlement, market.open_interest = found.settlement, found.open_interest
    market.update_id, market.trades, market.is_settled = found.update_id, found.trades, found.is_settled
    market.swept_qty, market.swept_ticks, market.index = found.swept_qty, found.swept_ticks, found.index
    market.agenda, market.next_state, market.window = found.agenda, found.next_state, found.window
    market.is_closing_out, market.has_printed = found.is_closing_out, found.has_printed
    missing = [key for key in found.conditional if key not in state.live]
    if missing:
        raise StoredStateError(f"{market.spec.id}: conditional orders {missing} are not live")
    market.conditional = [state.live[key] for key in found.conditional]
    market.rates.extend(found.rates)


def _load_account(account: SimAccount, found: StoredAccount) -> None:
    account.account = found.account
    account.holdings = {(held.position.instrument, held.position.side): held for held in found.holdings}
    account.margin_modes, account.calls = found.margin_modes, found.calls
    account.income.extend(found.income)
    account.incomes = found.incomes
