"""Decides what the venue answers to a query: the truth at the instant it arrives, or why there is none."""

from collections.abc import Callable

from sim import margin
from sim.account import SimAccount
from sim.venue_order import VenueOrder
from sim.venue_state import VenueState
from venues.model.order import Side
from venues.port import (
    BookSnapshot,
    OrderReport,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    Report,
)


def answer(state: VenueState, query: Query) -> Report:
    """Return the answer; kinds the venue does not serve, unknown accounts and instruments fail with the reason."""
    handler = _ANSWERS.get(query.kind)
    account = state.accounts.get(query.account)
    if handler is None:
        return _failed(state, query, f"{state.name} does not answer {query.kind}")
    if account is None or query.account in state.participants:
        return _failed(state, query, f"{query.account} is not an account of {state.name}")
    if query.instrument is not None and query.instrument not in state.markets:
        return _failed(state, query, f"{query.instrument} is not listed at {state.name}")
    return handler(state, account, query)


def _failed(state: VenueState, query: Query, why: str) -> QueryFailed:
    return QueryFailed(state.now, query.account, query.query_id, query.kind, why)


def _order_report(state: VenueState, order: VenueOrder) -> OrderReport:
    spec = state.markets[order.instrument].spec
    return OrderReport(
        state.now,
        order.account,
        order.instrument,
        order.id,
        order.venue_order_id,
        order.side,
        spec.qty(order.lots),
        spec.qty(order.filled),
        order.status,
        order.command.type,
        order.command.price if order.ticks is None else spec.price(order.ticks),
        order.position_side,
    )


def _order(state: VenueState, account: SimAccount, query: Query) -> Report:
    if query.client_order_id is None:
        return _failed(state, query, "client_order_id is missing")
    key = (account.id, query.client_order_id)
    order = state.live.get(key) or state.done.get(key)
    orders = () if order is None else (_order_report(state, order),)
    return QueryResult(state.now, account.id, query.query_id, query.kind, orders=orders)


def _open_orders(state: VenueState, account: SimAccount, query: Query) -> Report:
    orders = tuple(_order_report(state, order) for order in state.live_orders(account.id, query.instrument))
    return QueryResult(state.now, account.id, query.query_id, query.kind, orders=orders)


def _fills(state: VenueState, account: SimAccount, query: Query) -> Report:
    since = query.since_ns or 0
    fills = tuple(
        fill
        for fill in state.fills
        if fill.account == account.id and fill.ts >= since and query.instrument in {None, fill.instrument}
    )
    return QueryResult(state.now, account.id, query.query_id, query.kind, fills=fills)


def _positions(state: VenueState, account: SimAccount, query: Query) -> Report:
    found = []
    for held in account.open_holdings(query.instrument):
        market = state.markets[held.position.instrument]
        found.append(
            PositionReport(
                state.now,
                account.id,
                market.spec.id,
                held.position.side,
                held.qty,
                held.position.entry_price(market.spec),
                margin.liquidation_price(state, account, market, held),
                state.leverage(account, market.spec),
                account.mode(market.spec.id),
            )
        )
    return QueryResult(state.now, account.id, query.query_id, query.kind, positions=tuple(found))


def _account(state: VenueState, account: SimAccount, query: Query) -> Report:
    balances, mode = dict(account.account.balances), account.account.position_mode
    return QueryResult(state.now, account.id, query.query_id, query.kind, balances=balances, position_mode=mode)


def _income(state: VenueState, account: SimAccount, query: Query) -> Report:
    since = query.since_ns or 0
    if account.incomes > len(account.income) and since < account.income[0].ts:
        return _failed(state, query, f"income is kept from {account.income[0].ts} on")
    incomes = tuple(one for one in account.income if one.ts >= since and query.instrument in {None, one.instrument})
    return QueryResult(state.now, account.id, query.query_id, query.kind, incomes=incomes)


def _funding_history(state: VenueState, account: SimAccount, query: Query) -> Report:
    if query.instrument is None:
        return _failed(state, query, "instrument is missing")
    since = query.since_ns or 0
    rates = tuple(one for one in state.markets[query.instrument].rates if one.ts >= since)
    return QueryResult(state.now, account.id, query.query_id, query.kind, rates=rates)


def _book(state: VenueState, _: SimAccount, query: Query) -> Report:
    market = state.markets.get(query.instrument or "")
    if market is None or market.update_id is None:
        return _failed(state, query, "there is no book")
    bids, asks = market.matcher.displayed(Side.BUY), market.matcher.displayed(Side.SELL)
    return BookSnapshot(state.now, market.spec.id, market.update_id, bids, asks)


_ANSWERS: dict[QueryKind, Callable[[VenueState, SimAccount, Query], Report]] = {
    QueryKind.ORDER: _order,
    QueryKind.OPEN_ORDERS: _open_orders,
    QueryKind.FILLS: _fills,
    QueryKind.POSITIONS: _positions,
    QueryKind.ACCOUNT: _account,
    QueryKind.BOOK: _book,
    QueryKind.INCOME: _income,
    QueryKind.FUNDING_HISTORY: _funding_history,
}
