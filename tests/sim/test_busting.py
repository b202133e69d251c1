"""A busted trade at the simulated venue: what it leaves is what would be there had it never happened."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from venue_steps import FEES, PERP, SPECS, SPOT, play, steps

from sim.account import CashFlow, FlowType
from sim.busting import FORCED, UnbustableError
from sim.venue import SimVenue
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason
from venues.model.instrument import Instrument
from venues.model.order import OrderStatus, OrderType, Side
from venues.port import (
    AccountReport,
    BookSnapshot,
    OrderFilled,
    PositionReport,
    Query,
    QueryKind,
    QueryResult,
    SubmitOrder,
    TradeBusted,
)

D = Decimal
START = {"USDT": D(2_000), "P": D(3)}


def make(margin: MarginMode, mode: PositionMode, flows: list[CashFlow]) -> SimVenue:
    account = Account("me", "V", dict(START), margin, mode, {PERP.id: 10})
    return SimVenue("V", SPECS.values(), [account], FEES, on_flow=flows.append)


def traded(spec: Instrument, qty: str = "1") -> tuple[SimVenue, list[CashFlow], OrderFilled]:
    """Return a venue at which the account has bought at 100.1."""
    flows: list[CashFlow] = []
    venue = make(MarginMode.CROSS, PositionMode.ONE_WAY, flows)
    venue.on_market(0, BookSnapshot(0, spec.id, 1, [(1000, 5000)], [(1001, 5000)]))
    reports = venue.on_command(1, SubmitOrder(1, "me", spec.id, "a", Side.BUY, D(qty), OrderType.MARKET))
    return venue, flows, next(report for report in reports if isinstance(report, OrderFilled))


@pytest.mark.parametrize("spec", list(SPECS.values()), ids=list(SPECS))
def test_a_bust_gives_back_what_the_trade_took_and_its_fee(spec: Instrument) -> None:
    venue, flows, fill = traded(spec)
    assert fill.fee
    reports = venue.bust(5, spec.id, fill.trade_id, "error trade")
    assert reports[0] == TradeBusted(5, "me", spec.id, fill.trade_id, "error trade")
    told = [type(report) for report in reports[1:]]
    assert told == ([AccountReport] if spec.is_spot else [PositionReport, AccountReport])
    assert venue.state.accounts["me"].account.balances == START
    assert venue.state.accounts["me"].open_holdings() == []
    assert sum(flow.amount for flow in flows if flow.type is FlowType.FEE) == 0


def test_a_busted_trade_is_in_no_answer_and_its_order_stays_filled() -> None:
    venue, _, fill = traded(PERP)
    venue.bust(5, PERP.id, fill.trade_id)
    for kind, name in ((QueryKind.FILLS, None), (QueryKind.ORDER, "a"), (QueryKind.POSITIONS, None)):
        answer = venue.on_command(6, Query(6, "me", "q", kind, PERP.id, name))[0]
        assert isinstance(answer, QueryResult)
        assert (answer.fills, answer.positions) == ((), ())
        assert [order.status for order in answer.orders] == ([OrderStatus.FILLED] if name else [])


def test_what_cannot_be_taken_back_is_refused_by_name() -> None:
    venue, _, fill = traded(PERP)
    with pytest.raises(UnbustableError, match="there is no trade nobody-1"):
        venue.bust(5, PERP.id, "nobody-1")
    venue.bust(5, PERP.id, fill.trade_id)
    with pytest.raises(UnbustableError, match="there is no trade"):
        venue.bust(6, PERP.id, fill.trade_id)


@pytest.mark.parametrize("reason", sorted(FORCED))
def test_what_the_venue_did_by_force_stays(reason: FillReason) -> None:
    venue, _, fill = traded(PERP)
    forced = OrderFilled(
        fill.ts, fill.account, fill.instrument, "x", "x", "t9", fill.side, fill.price, fill.qty, fill.liquidity,
        fill.fee, fill.fee_asset, reason,
    )  # fmt: skip
    venue.state.fills.append(forced)
    with pytest.raises(UnbustableError, match=f"was a {reason}"):
        venue.bust(5, PERP.id, "t9")
    assert forced in venue.state.fills


def test_a_reduce_only_order_sees_the_position_that_is_left() -> None:
    venue, _, fill = traded(PERP, "2")
    venue.on_command(2, SubmitOrder(2, "me", PERP.id, "b", Side.BUY, D(1), OrderType.MARKET))
    venue.bust(5, PERP.id, fill.trade_id)
    out = venue.on_command(6, SubmitOrder(6, "me", PERP.id, "c", Side.SELL, D(3), OrderType.MARKET, reduce_only=True))
    assert [report.qty for report in out if isinstance(report, OrderFilled)] == [1]


@given(st.data(), st.sampled_from(list(PositionMode)), st.sampled_from([MarginMode.CROSS, MarginMode.ISOLATED]))
def test_busts_conserve_money_and_positions(data: st.DataObject, mode: PositionMode, margin: MarginMode) -> None:
    """Positions are the sum of the fills that stand, wallets the sum of flows, and every fee of a bust comes back."""
    flows: list[CashFlow] = []
    venue = make(margin, mode, flows)
    account = venue.state.accounts["me"]
    for now, step in enumerate(data.draw(st.lists(steps(mode is PositionMode.HEDGE), min_size=5, max_size=40))):
        play(venue, now, step)
        open_ = [fill for fill in venue.state.fills if fill.reason not in FORCED]
        if open_ and data.draw(st.integers(0, 3)) == 0:
            chosen = data.draw(st.sampled_from(open_))
            venue.bust(now, chosen.instrument, chosen.trade_id, "drawn")
        standing: dict[tuple[str, str], Decimal] = {}
        for fill in venue.state.fills:
            key = (fill.instrument, fill.position_side)
            standing[key] = standing.get(key, D(0)) + fill.qty * fill.side.sign
        held = {(name, side): each.qty for (name, side), each in account.holdings.items() if each.qty}
        assert held == {key: qty for key, qty in standing.items() if qty and key[0] != SPOT.id}
        assert account.account.balance("P") == START["P"] + standing.get((SPOT.id, "BOTH"), D(0))
        mine = [flow for flow in flows if flow.account == "me" and flow.asset == "USDT"]
        assert account.account.balance("USDT") == START["USDT"] + sum(flow.amount for flow in mine)
        paid = -sum((flow.amount for flow in mine if flow.type is FlowType.FEE), D(0))
        assert paid == sum((fill.fee for fill in venue.state.fills if fill.reason not in FORCED), D(0))
