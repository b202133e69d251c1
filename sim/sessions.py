"""Decides when a market changes by itself: pauses and their ends, CME's hours, settlements, expiry, forced closes."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal

from sim import auction, booking, entry, liquidation
from sim.account import Holding, SimAccount
from sim.matching import Matcher
from sim.price_controls import PriceControls
from sim.venue_state import Due, Market, VenueState
from venues.model.instrument import InstrumentKind
from venues.model.order import Side
from venues.port import InstrumentState, InstrumentStatus, SettlementPrice
from venues.rules import calendar, circuit_breakers
from venues.rules.cme_products import Product
from venues.rules.errors import OutsideTableError, RuleError
from venues.rules.instants import instant_ns, instant_of
from venues.rules.settlement import NoSettlementError, daily_settlement, settlement_window

_DAY = timedelta(days=1)
_STATES = {
    calendar.State.OPEN: InstrumentState.OPEN,
    calendar.State.PRE_OPEN: InstrumentState.PRE_OPEN,
    calendar.State.CLOSED: InstrumentState.CLOSE,
}


def begin(state: VenueState) -> None:
    """Take up the calendar at the venue's first instant: state of the markets, what is due next."""
    for market in state.markets.values():
        if market.spec.expiry_ns is not None:
            market.agenda[Due.EXPIRY] = market.spec.expiry_ns
        if market.controls is not None and market.controls.rules.close_out_ns is not None:
            market.agenda[Due.CLOSE_OUT] = market.controls.rules.close_out_ns
        if market.product is not None:
            found = _STATES[calendar.session(market.product, instant_of(state.now)).state]
            if found is not market.state:
                change(state, market, found, "calendar")
            _plan_session(state, market)
            if state.settings.daily_settlement and market.product is not None:
                _plan_settlement(state, market)
    state.find_deadline()


def run_due(state: VenueState) -> None:
    """Do what is due at this instant, market by market, earliest first."""
    for market in state.markets.values():
        while True:
            due = [(ns, kind) for kind, ns in market.agenda.items() if ns <= state.now]
            if not due:
                break
            _, kind = min(due, key=lambda item: (item[0], list(Due).index(item[1])))
            del market.agenda[kind]
            if not market.is_settled:
                _HANDLERS[kind](state, market)


# Status


def change(state: VenueState, market: Market, to: InstrumentState, why: str) -> None:
    """Change a market's state by the venue's own rules, and say so."""
    state.say(InstrumentStatus(state.now, market.spec.id, to))
    state.note("status", "", market.spec.id, f"{to.value}: {why}")
    enter(state, market, to)


def enter(state: VenueState, market: Market, to: InstrumentState) -> None:
    """Put a market into a state: DAY orders end with the close, what waited trades at the opening's one price."""
    before, market.state = market.state, to
    market.matcher.is_open = to is InstrumentState.OPEN
    market.agenda.pop(Due.RESUME, None)
    if to is InstrumentState.CLOSE:
        entry.end_day(state, market)
        if market.controls is not None:
            market.controls.new_session(market.settlement)
    if not market.matcher.is_open:
        return
    if before is InstrumentState.PRE_OPEN and isinstance(market.matcher, Matcher):
        reference = market.settlement
        ticks = market.last_trade if reference is None else int(reference / market.spec.tick_size)
        auction.uncross(market.matcher, ticks)
    market.matcher.match_crossed()
    if market.is_closing_out:
        _close_out(state, market)


def pause(state: VenueState, market: Market, ns: int, why: str) -> None:
    """Stop matching for `ns`, orders may come and go; then the market reopens through an auction."""
    change(state, market, InstrumentState.PRE_OPEN, why)
    market.agenda[Due.RESUME] = state.now + ns
    state.find_deadline()


def _resume(state: VenueState, market: Market) -> None:
    change(state, market, InstrumentState.OPEN, "the pause is over")
    entry.check_triggers(state, market, on_mark=False, is_opening=True)


def watch(state: VenueState, market: Market, controls: PriceControls, ticks: int) -> bool:
    """Look at a public trade before it reaches anybody; return whether it may trade.

    One that trips the breaker or the velocity logic pauses the market, one beyond the limits is ignored.
    """
    now = state.now
    if market.state is not InstrumentState.OPEN:
        return True
    controls.refresh(now)
    if not controls.limits.allows(market.spec.price(ticks)):
        state.note("beyond_limits", "", market.spec.id, f"a trade at {market.spec.price(ticks)}")
        return False
    at_limit = controls.limit_state(ticks)
    if at_limit is not controls.at_limit:
        controls.at_limit = at_limit
        state.note(_LIMIT_NOTES[at_limit], "", market.spec.id, str(market.spec.price(ticks)))
    if controls.breaker is not None and _is_watched(market, now) and controls.breaker.check(now, ticks):
        pause(state, market, circuit_breakers.pause_ns(_to_close(market, now)), "dynamic circuit breaker")
    elif ns := controls.velocity.check(now, ticks):
        pause(state, market, ns, "velocity logic")
    return True


_LIMIT_NOTES: dict[Side | None, str] = {Side.BUY: "limit_up", Side.SELL: "limit_down", None: "limit_off"}


def _is_watched(market: Market, now: int) -> bool:
    return market.product is None or circuit_breakers.is_breaker_active(market.product, instant_of(now))


def _to_close(market: Market, now: int) -> int:
    if market.product is None or Due.SESSION not in market.agenda:
        return circuit_breakers.LATE_BEFORE_CLOSE_NS + 1
    return market.agenda[Due.SESSION] - now


# The calendar


def _days_from(now: int) -> Iterator[date]:
    day = calendar.chicago(instant_of(now)).date()
    while True:
        yield day
        day += _DAY


def _plan_session(state: VenueState, market: Market) -> None:
    """Find the next change of state by the calendar. Where its table ends the state stays, and that is noted."""
    assert market.product is not None
    try:
        _find_session(state, market, market.product)
    except OutsideTableError as error:
        state.note("calendar_ends", "", market.spec.id, error.why)
        market.product = None
        if market.controls is not None:
            market.controls.product = None


def _find_session(state: VenueState, market: Market, product: Product) -> None:
    for day in _days_from(state.now):
        hours = calendar.hours(product, day)
        if hours is None:
            continue
        moments = (
            (instant_ns(hours.pre_open), InstrumentState.PRE_OPEN),
            (instant_ns(hours.opens), InstrumentState.OPEN),
            (instant_ns(hours.closes), InstrumentState.CLOSE),
        )
        for ns, to in moments:
            if ns > state.now:
                market.agenda[Due.SESSION], market.next_state = ns, to
                return


def _session(state: VenueState, market: Market) -> None:
    change(state, market, market.next_state, "calendar")
    if market.product is not None:
        _plan_session(state, market)


# Settlement


def _plan_settlement(state: VenueState, market: Market) -> None:
    assert market.product is not None
    market.window = None
    for day in _days_from(state.now):
        try:
            start, end = settlement_window(market.product, day)
        except NoSettlementError:
            continue
        except OutsideTableError as error:
            state.note("calendar_ends", "", market.spec.id, error.why)
            return
        if instant_ns(end) > state.now:
            market.agenda[Due.SETTLEMENT] = instant_ns(end)
            market.window = instant_ns(start), 0, 0
            return


def count(state: VenueState, market: Market, ticks: int, lots: int) -> None:
    """Take a public trade into the settlement window, when it stands in it."""
    if market.window is not None and market.window[0] <= state.now:
        start, value, volume = market.window
        market.window = start, value + ticks * lots, volume + lots


def _settle_day(state: VenueState, market: Market) -> None:
    spec, matcher = market.spec, market.matcher
    bid, offer = matcher.best(Side.BUY), matcher.best(Side.SELL)
    is_market = bid is not None and offer is not None and bid < offer
    _, value, lots = market.window or (0, 0, 0)
    if market.product is not None:
        _plan_settlement(state, market)
    if not lots and not is_market and market.latest is None:
        state.note("no_settlement", "", spec.id, "neither a trade nor a market: nothing to settle at")
        return
    price = daily_settlement(
        spec.tick_size,
        spec.price(value) / lots if lots else None,
        spec.price(bid) if is_market and bid is not None else None,
        spec.price(offer) if is_market and offer is not None else None,
        market.latest,
    )
    state.note("settlement", "", spec.id, str(price))
    settle(state, market, price, final=False)
    state.say(SettlementPrice(state.now, spec.id, price))


def settle(state: VenueState, market: Market, price: Decimal, final: bool) -> None:
    """Settle a market; its limits and its breaker follow from the new price, orders beyond the limits are cancelled."""
    booking.settle(state, market, price, final)
    liquidation.look(state, market)
    controls = market.controls
    if controls is None:
        return
    controls.new_session(price)
    try:
        controls.fix(state.now, price, market.index)
    except RuleError as error:
        state.note("no_limits", "", market.spec.id, str(error))
    controls.refresh(state.now)
    for order in [o for o in state.live.values() if o.instrument == market.spec.id and o.ticks is not None]:
        if order.ticks is not None and not controls.limits.allows(market.spec.price(order.ticks)):
            booking.cancel(state, market, order)


# The end


def _expire(state: VenueState, market: Market) -> None:
    """End the contract at its delivery or final settlement price.

    A crypto quarterly is delivered at the mean of the index over its last half hour (facts/crypto.md E). Of a future's
    special opening quotation nothing is told here: the last index stands for it, else the last price.
    """
    spec = market.spec
    if spec.kind is InstrumentKind.QUARTERLY:
        price = None if market.index_mean is None else market.index_mean.value(state.now)
    else:
        price = market.index if market.index is not None else market.latest
    if price is None:
        state.note("no_delivery_price", "", spec.id, "the contract has expired, its positions stay")
        change(state, market, InstrumentState.CLOSE, "expiry")
        market.agenda.clear()
        return
    state.note("expiry", "", spec.id, str(price))
    settle(state, market, price, final=True)
    market.agenda.clear()


def _close_out(state: VenueState, market: Market) -> None:
    """Close what is still held of a contract that would be delivered: a market order for each holder.

    What finds no counterparty, or meets a market that is not open, is tried again with the next opening.
    """
    market.is_closing_out = True
    if market.state is not InstrumentState.OPEN:
        return
    for account in state.accounts.values():
        for held in account.open_holdings(market.spec.id):
            _close_holder(state, market, account, held)


def _close_holder(state: VenueState, market: Market, account: SimAccount, held: Holding) -> None:
    for order in state.live_orders(account.id, market.spec.id):
        booking.cancel(state, market, order)
    order = booking.forced_order(state, market, account, held, "closeout-")
    market.matcher.take(order, market.reach(state.now, order.side, None))
    left = f", {abs(held.qty)} found no counterparty" if held.qty else ""
    state.note("close_out", account.id, market.spec.id, f"{market.spec.qty(order.filled)} closed{left}")


_HANDLERS: dict[Due, Callable[[VenueState, Market], None]] = {
    Due.SETTLEMENT: _settle_day,
    Due.RESUME: _resume,
    Due.SESSION: _session,
    Due.CLOSE_OUT: _close_out,
    Due.EXPIRY: _expire,
}
