"""What must hold whatever the market and the desk do: money, positions, liquidity and queues."""

from collections import defaultdict
from decimal import Decimal
from itertools import pairwise

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from venue_steps import FEES, PERP, SPECS, play, sides, steps

from sim.account import CashFlow, FlowType
from sim.fund import FUND
from sim.venue import SimVenue
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import BookDelta, BookSnapshot, OrderFilled, Report, SubmitOrder, Trade

D = Decimal
START = {"USDT": D(2_000), "P": D(3)}


@define
class Ledger:
    """The client's own books, kept from reports and cash flows alone."""

    flows: list[CashFlow] = field(factory=list)
    positions: dict[tuple[str, PositionSide], Decimal] = field(factory=lambda: defaultdict(Decimal))
    spot: Decimal = ZERO

    def read(self, reports: list[Report]) -> None:
        for report in reports:
            if not isinstance(report, OrderFilled):
                continue
            signed = report.qty * report.side.sign
            if SPECS[report.instrument].is_spot:
                self.spot += signed
            else:
                self.positions[report.instrument, report.position_side] += signed


def make(margin: MarginMode, mode: PositionMode, model: str, flows: list[CashFlow]) -> SimVenue:
    account = Account("me", "V", dict(START), margin, mode, {PERP.id: 10})
    return SimVenue("V", SPECS.values(), [account], FEES, queue_model=model, on_flow=flows.append)


@given(st.data(), st.sampled_from(list(PositionMode)), st.sampled_from(["risk_averse", "power_2", "log"]))
def test_money_and_positions_are_conserved(data: st.DataObject, mode: PositionMode, model: str) -> None:
    margin = data.draw(st.sampled_from([MarginMode.CROSS, MarginMode.ISOLATED]))
    ledger = Ledger()
    venue = make(margin, mode, model, ledger.flows)
    script = data.draw(st.lists(steps(mode is PositionMode.HEDGE), min_size=5, max_size=40))
    for now, step in enumerate(script):
        ledger.read(play(venue, now, step))
        check_conserved(venue, ledger)


def check_conserved(venue: SimVenue, ledger: Ledger) -> None:
    account = venue.state.accounts["me"]
    for asset in ("USDT", "P"):
        moved = sum(
            (flow.amount for flow in ledger.flows if flow.asset == asset and flow.account == "me"), START[asset]
        )
        assert account.account.balance(asset) == moved
    assert account.account.balance("P") == START["P"] + ledger.spot
    assert account.account.balance("P") >= 0
    held = {key: each.qty for key, each in account.holdings.items() if each.qty}
    assert held == {key: qty for key, qty in ledger.positions.items() if qty}
    mine = [flow for flow in ledger.flows if flow.account == "me"]
    realized = sum((flow.amount for flow in mine if flow.type is FlowType.REALIZED_PNL), D(0))
    assert realized == sum((each.position.realized_pnl for each in account.holdings.values()), D(0))
    for each in account.holdings.values():
        if not each.qty:
            assert each.isolated_wallet == 0
            assert each.position.cost == 0
    funds = sum(venue.state.insurance.values(), D(0)) - len(venue.state.insurance) * 1_000_000
    funds -= sum(venue.state.uncovered.values(), D(0))
    handed = (FlowType.INSURANCE, FlowType.LIQUIDATION_FEE)
    own = sum((flow.amount for flow in ledger.flows if flow.account == FUND and flow.type not in handed), D(0))
    assert funds - own == -sum((flow.amount for flow in mine if flow.type in handed), D(0))


@given(st.data(), st.sampled_from(["risk_averse", "power_2", "log"]))
def test_nobody_trades_more_than_stands_there(data: st.DataObject, model: str) -> None:
    venue = make(MarginMode.CROSS, PositionMode.ONE_WAY, model, [])
    script = data.draw(st.lists(steps(False), min_size=5, max_size=40))
    for now, step in enumerate(script):
        before = {name: shown(venue, name) for name in SPECS}
        own = {order.id for order in venue.state.live.values() if order.resting}
        reports = play(venue, now, step)
        if not isinstance(step, SubmitOrder):
            continue
        fills = [r for r in reports if isinstance(r, OrderFilled) and r.liquidity is Liquidity.TAKER]
        met_own = any(isinstance(r, OrderFilled) and r.client_order_id in own for r in reports)
        taken: dict[int, int] = defaultdict(int)
        spec = SPECS[step.instrument]
        for fill in fills:
            taken[spec.ticks(fill.price)] += spec.lots(fill.qty)
        there = before[spec.id][step.side.opposite]
        if not met_own:
            assert all(quantity <= there.get(price, 0) for price, quantity in taken.items())
        assert no_level_is_negative(venue)


def shown(venue: SimVenue, name: str) -> dict[Side, dict[int, int]]:
    matcher = venue.state.markets[name].matcher
    return {side: dict(matcher.displayed(side)) for side in Side}


def no_level_is_negative(venue: SimVenue) -> bool:
    matchers = [market.matcher for market in venue.state.markets.values()]
    return all(lots_ > 0 for matcher in matchers for side in Side for _, lots_ in matcher.displayed(side))


@given(st.data(), st.sampled_from(["risk_averse", "power_1", "log"]))
def test_an_own_order_is_never_overtaken(data: st.DataObject, model: str) -> None:
    venue = make(MarginMode.CROSS, PositionMode.ONE_WAY, model, [])
    venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(1000, 20)], [(1001, 20)]))
    names = [f"o{i}" for i in range(4)]
    for name in names:
        grown = data.draw(st.integers(0, 30))
        venue.on_market(1, BookDelta(1, PERP.id, 1, 1, 0, [(1000, 20 + grown)], []))
        venue.on_command(1, SubmitOrder(1, "me", PERP.id, name, Side.BUY, PERP.qty(5), price=PERP.price(1000)))
    market = st.one_of(
        st.builds(lambda q: Trade(2, PERP.id, 1, 1000, q, Side.SELL), st.integers(1, 30)),
        st.builds(lambda q: BookDelta(2, PERP.id, 1, 1, 0, [(1000, q)], []), st.integers(0, 60)),
        st.builds(lambda q: BookDelta(2, PERP.id, 1, 1, 0, [], [(1000, q)]), st.integers(0, 4)),
    )
    filled = dict.fromkeys(names, D(0))
    for step in data.draw(st.lists(market, max_size=25)):
        reports = venue.on_market(2, step)
        fills = [r for r in reports if isinstance(r, OrderFilled)]
        for fill in fills:
            filled[fill.client_order_id] += fill.qty
        if isinstance(step, Trade):
            assert sum((fill.qty for fill in fills), D(0)) <= PERP.qty(step.lots)
        for older, younger in pairwise(names):
            assert filled[younger] == 0 or filled[older] == PERP.qty(5)


@given(st.lists(st.tuples(st.integers(1, 60), sides), min_size=1, max_size=12))
def test_flow_through_a_queue_ends_where_the_sum_says(flow: list[tuple[int, Side]]) -> None:
    venue = make(MarginMode.CROSS, PositionMode.ONE_WAY, "risk_averse", [])
    venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(1000, 37)], [(1001, 5)]))
    venue.on_command(1, SubmitOrder(1, "me", PERP.id, "a", Side.BUY, PERP.qty(50), price=PERP.price(1000)))
    got = D(0)
    for quantity, aggressor in flow:
        reports = venue.on_market(2, Trade(2, PERP.id, 1, 1000, quantity, aggressor))
        got += sum((r.qty for r in reports if isinstance(r, OrderFilled) and r.reason is FillReason.QUEUE), D(0))
    sold = sum(quantity for quantity, aggressor in flow if aggressor is Side.SELL)
    assert got == PERP.qty(min(50, max(0, sold - 37)))
