"""Several accounts at one venue, the market, the exchange and the insurance fund: nothing is made and nothing lost.

Each client keeps books from reports alone; the venue's own are its accounts and its flows of money. They are compared
after every event, to the last digit.
"""

from collections import defaultdict
from decimal import Decimal
from random import Random

import pytest
from attrs import define, field
from compiled_market import make_tape
from hypothesis import given, settings
from hypothesis import strategies as st
from venue_steps import FEES, FUTURE, PERP, SPECS, play, steps

from sim.account import CashFlow, FlowType
from sim.fund import FUND
from sim.matching import Matcher
from sim.venue import SimVenue
from sim.venue_rules import INSURANCE_START
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.port import (
    AccountReport,
    BookSnapshot,
    CancelAll,
    FundingRate,
    FundingSettled,
    MarkPrice,
    Message,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    PositionReport,
    Report,
    SubmitOrder,
)

D = Decimal
START = {"USDT": D(600), "P": D(3)}
NAMES = ("one way", "hedge", "isolated")


@define
class Client:
    """One account as its owner knows it. `paid` is by asset what fills, fees and funding moved, at cost."""

    name: str
    balances: dict[str, Decimal] = field(factory=lambda: dict(START))
    positions: dict[tuple[str, PositionSide], Decimal] = field(factory=lambda: defaultdict(Decimal))
    reported: dict[tuple[str, PositionSide], Decimal] = field(factory=dict)
    filled: dict[str, Decimal] = field(factory=dict)
    fees: dict[bool, Decimal] = field(factory=lambda: {True: ZERO, False: ZERO})
    notional: dict[str, Decimal] = field(factory=lambda: defaultdict(Decimal))
    taken_over: Decimal = ZERO
    base: Decimal = ZERO
    funding: Decimal = ZERO

    def read(self, report: Report) -> None:
        match report:
            case OrderFilled():
                self._fill(report)
            case FundingSettled():
                self.funding += report.amount
            case AccountReport():
                self.balances = dict(report.balances)
            case PositionReport():
                self.reported[report.instrument, report.position_side] = report.qty
            case OrderAccepted():
                # Ids may be used again after their order has ended.
                self.filled[report.client_order_id] = ZERO
            case OrderCanceled() | OrderExpired():
                assert self.filled[report.client_order_id] == report.filled_qty
            case _:
                pass

    def _fill(self, fill: OrderFilled) -> None:
        spec, signed = SPECS[fill.instrument], fill.qty * fill.side.sign
        is_forced = fill.reason in {FillReason.LIQUIDATION, FillReason.SETTLEMENT, FillReason.ADL}
        self.fees[is_forced] += fill.fee
        self.notional[spec.id] += spec.notional(fill.qty, fill.price) * fill.side.sign
        if fill.liquidity is Liquidity.NONE and fill.reason is not FillReason.SETTLEMENT:
            # The other side is the fund, or another client who is deleveraged.
            self.taken_over += spec.notional(fill.qty, fill.price) * fill.side.sign
        if not is_forced:
            self.filled[fill.client_order_id] += fill.qty
        if spec.is_spot:
            self.base += signed
        else:
            self.positions[fill.instrument, fill.position_side] += signed


@define
class World:
    venue: SimVenue
    clients: dict[str, Client]
    flows: list[CashFlow]

    @classmethod
    def make(cls, model: str, rules: str) -> "World":
        flows: list[CashFlow] = []
        leverage = {PERP.id: 20}
        accounts = [
            Account("one way", "V", dict(START), leverage=dict(leverage)),
            Account("hedge", "V", dict(START), MarginMode.CROSS, PositionMode.HEDGE, dict(leverage)),
            Account("isolated", "V", dict(START), MarginMode.ISOLATED, leverage=dict(leverage)),
        ]
        venue = SimVenue("V", SPECS.values(), accounts, FEES, rules, model, on_flow=flows.append)
        return cls(venue, {name: Client(name) for name in NAMES}, flows)

    def read(self, reports: list[Report]) -> None:
        for report in reports:
            name = getattr(report, "account", None)
            if name is not None:
                self.clients[name].read(report)

    def check(self) -> None:
        for client in self.clients.values():
            self.check_client(client)
        self.check_whole()

    def check_client(self, client: Client) -> None:
        account = self.venue.state.accounts[client.name]
        balances = account.account.balances
        assert client.balances == balances
        flows: dict[tuple[FlowType, str], Decimal] = defaultdict(Decimal)
        for flow in self.flows:
            if flow.account == client.name:
                flows[flow.type, flow.asset] += flow.amount
        for asset, began in START.items():
            moved = sum((amount for (_, one), amount in flows.items() if one == asset), ZERO)
            assert balances[asset] == began + moved
        assert flows[FlowType.FEE, "USDT"] == -client.fees[False]
        assert flows[FlowType.LIQUIDATION_FEE, "USDT"] == -client.fees[True]
        assert flows[FlowType.FUNDING, "USDT"] == client.funding
        assert flows[FlowType.TRADE, "P"] == client.base
        assert flows[FlowType.TRANSFER, "USDT"] == 0
        held = {key: each.qty for key, each in account.holdings.items() if each.qty}
        assert held == {key: qty for key, qty in client.positions.items() if qty}
        assert held == {key: qty for key, qty in client.reported.items() if qty}
        # Realised profit and what positions cost are what was paid for them, whatever the way of averaging.
        insured = flows[FlowType.INSURANCE, "USDT"]
        costs = sum((each.position.cost for each in account.holdings.values()), ZERO)
        paid = sum(client.notional.values(), ZERO) + client.fees[False] + client.fees[True]
        assert balances["USDT"] - costs == START["USDT"] - paid + client.funding + insured
        for order in self.venue.state.live_orders(client.name):
            assert SPECS[order.instrument].qty(order.filled) == client.filled[order.id]

    def check_whole(self) -> None:
        """Wallets at cost, the market's own cash, the exchange's fees and the fund's change are zero together."""
        state = self.venue.state
        wallets = market = exchange = ZERO
        for client in self.clients.values():
            account = state.accounts[client.name]
            costs = sum((each.position.cost for each in account.holdings.values()), ZERO)
            wallets += account.account.balance("USDT") - START["USDT"] - costs
            # The other side of every trade and of every funding payment.
            market += sum(client.notional.values(), ZERO) - client.taken_over - client.funding
            exchange += client.fees[False]
        fund = state.insurance.get("USDT", INSURANCE_START) - INSURANCE_START - state.uncovered.get("USDT", ZERO)
        fund -= sum((held.position.cost for held in state.inventory.values()), ZERO)
        market -= sum((f.amount for f in self.flows if (f.account, f.type) == (FUND, FlowType.FUNDING)), ZERO)
        assert wallets + market + exchange + fund == 0
        positions: dict[str, Decimal] = defaultdict(Decimal)
        for client in self.clients.values():
            for (instrument, _), qty in client.positions.items():
                positions[instrument] += qty
        for index, (instrument, spec) in enumerate(SPECS.items()):
            matcher = self.venue.state.markets[instrument].matcher
            assert isinstance(matcher, Matcher)
            assert index == matcher.instrument
            if not spec.is_spot:
                own = [self.venue.core.kernel.positions[at] for at in matcher.positions.values()]
                assert int(sum(own)) * spec.lot_size == positions[instrument]


settlements = st.builds(lambda ticks: ("settle", FUTURE.price(ticks)), st.integers(980, 1020))


def scripts() -> st.SearchStrategy[list[Message | tuple[str, Decimal]]]:
    """Return steps of all accounts on one market; each account's commands are three of four steps of its own."""
    each = [steps(name == "hedge", name) for name in NAMES]
    return st.lists(st.one_of(*each, settlements), min_size=10, max_size=50)


@settings(max_examples=120)
@given(scripts(), st.sampled_from(["risk_averse", "power_2", "log"]), st.sampled_from(["binance_usdm", "cme"]))
def test_money_is_neither_made_nor_lost(script: list[Message | tuple[str, Decimal]], model: str, rules: str) -> None:
    world = World.make(model, rules)
    for now, step in enumerate([*opening(), *script]):
        do(world, now, step)
        world.check()


def opening() -> list[Message]:
    """Return a book for every instrument."""
    bids, asks = [(999 - at, 20) for at in range(5)], [(1001 + at, 20) for at in range(5)]
    return [BookSnapshot(0, name, 1, bids, asks) for name in SPECS]


def busy_script(random: Random, count: int) -> list[Message | tuple[str, Decimal]]:
    """Return steps of a market that trades all the time, with orders close to it, large marks and settlements."""
    specs = list(SPECS.values())
    made: list[Message | tuple[str, Decimal]] = []
    for number, (_, report) in enumerate(make_tape(random.randrange(1 << 30), count, specs).reports):
        if not isinstance(report, FundingRate) or report.instrument == PERP.id:
            made.append(report)
        what = random.random()
        if what < 0.5:
            made.append(_order(random, number))
        elif what < 0.55:
            made.append(MarkPrice(0, PERP.id, PERP.price(random.randint(940, 1060))))
        elif what < 0.57:
            made.append(("settle", FUTURE.price(random.randint(980, 1020))))
        elif what < 0.6:
            made.append(CancelAll(0, random.choice(NAMES)))
    return made


def _order(random: Random, number: int) -> SubmitOrder:
    spec, name, side = random.choice(list(SPECS.values())), random.choice(NAMES), random.choice(list(Side))
    is_hedge = name == "hedge" and not spec.is_spot
    position = random.choice((PositionSide.LONG, PositionSide.SHORT)) if is_hedge else PositionSide.BOTH
    is_market = random.random() < 0.2
    return SubmitOrder(
        0,
        name,
        spec.id,
        f"n{number}",
        side,
        spec.qty(random.choice((1, 3, 10, 60))),
        OrderType.MARKET if is_market else OrderType.LIMIT,
        None if is_market else spec.price(random.randint(996, 1004)),
        random.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.GTX)),
        position,
        position is PositionSide.BOTH and not spec.is_spot and random.random() < 0.1,
        display_qty=spec.qty(2) if random.random() < 0.1 else None,
        stp=random.choice(("none", "expire_both", None)),
    )


@pytest.mark.parametrize("rules", ["binance_usdm", "bybit_linear", "cme"])
@pytest.mark.parametrize("model", ["risk_averse", "power_2"])
def test_a_busy_market_makes_and_loses_nothing(rules: str, model: str) -> None:
    seen: dict[str, int] = defaultdict(int)
    for seed in range(10):
        world = World.make(model, rules)
        for now, step in enumerate(busy_script(Random(seed), 120)):
            reports = do(world, now, step)
            world.check()
            for report in reports:
                seen[type(report).__name__] += 1
                if isinstance(report, OrderFilled):
                    seen[report.reason.value] += 1
    # What it is for has happened.
    for what in ("taker", "queue", "through", "crossed", "liquidation", "FundingSettled", "OrderExpired"):
        assert seen[what] > 5, what


def do(world: World, now: int, step: Message | tuple[str, Decimal]) -> list[Report]:
    """Let a step happen, let everybody read of it, and check the funding that it pays."""
    if isinstance(step, tuple):
        reports = world.venue.settle(now, FUTURE.id, step[1])
    else:
        expected = funded(world, step)
        reports = play(world.venue, now, step)
        if expected is not None:
            assert [one.amount for one in reports if isinstance(one, FundingSettled)] == expected
    world.read(reports)
    return reports


def funded(world: World, step: Message) -> list[Decimal] | None:
    """Return what a funding event must pay: rate x mark x what each client has filled, longs pay positive rates."""
    if not isinstance(step, FundingRate) or step.mark is None:
        return None
    account_order = [(name, side) for name in NAMES for side in _sides_held(world, name)]
    held = [world.clients[name].positions[PERP.id, side] for name, side in account_order]
    return [-qty * step.mark * step.rate for qty in held if qty]


def _sides_held(world: World, name: str) -> list[PositionSide]:
    return [side for instrument, side in world.venue.state.accounts[name].holdings if instrument == PERP.id]
