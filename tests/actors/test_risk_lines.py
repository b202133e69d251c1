"""What the risk gate lets through at once: never more than the table of rules, and most of what that lets through."""

import json
from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from attrs import evolve

from actors.base import Collected, detached_outbox, handles
from actors.control import GuardStatus
from actors.dead_man_words import DeadManState
from actors.dispatcher import InboxHighWater
from actors.executions import ExecutionIntent
from actors.halts import HaltScope, HaltState
from actors.limits import TightenLimit
from actors.messages import (
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    CancelRequest,
    FeedStatus,
    FillEvent,
    KillLevel,
    KillState,
    OrderApproved,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    PreflightRequest,
    Reconciled,
    ReservationReleased,
    ResumeCommand,
    StopCommand,
)
from actors.risk_checks import Reason
from actors.risk_config import InstrumentLimits, RiskConfig
from actors.risk_gate import RiskGate
from actors.risk_lines import Lines
from actors.sessions import AttemptConfig
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from venues.port import InstrumentState, InstrumentStatus, Message, VenueDown, VenueUp

D = Decimal
PERP = Instrument(
    "fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"),
    min_qty=D("0.002"), max_qty=D(30), min_notional=D(5),
)  # fmt: skip
SPOT = Instrument("spot", "BTC", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.001"), min_notional=D(5))
INVERSE = Instrument(
    "fut", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(10)
)
DATED = Instrument("cme", "BTCH6", InstrumentKind.FUTURE, "BTC", "USD", D("0.5"), D(1), multiplier=D(5), min_qty=D(2))
ODD = Instrument("fut", "ETHBTC", InstrumentKind.PERPETUAL, "ETH", "BTC", D("0.1"), D("0.001"))
SPECS = (PERP, SPOT, INVERSE, DATED, ODD)
ACCOUNTS = {"f": "fut", "g": "fut", "s": "spot", "c": "cme"}
AT = {"fut": ("f", "g"), "spot": ("s",), "cme": ("c",)}
LIMITS = InstrumentLimits(
    order_notional_max=D(5_000), order_qty_max=D(25), position_notional_max=D(6_000), position_qty_max=D(45)
)
CONFIG = RiskConfig(
    default=LIMITS,
    allowed=(PERP.id, SPOT.id, INVERSE.id, ODD.id),
    gross_notional_max=D(12_000),
    open_orders_max=25,
    orders_per_window=12,
    starts_read_only=False,
    attempts=AttemptConfig(attempts=3, window_ns=3_000_000_000),
    unexecuted_notional_max=D(9_000),
    executions_per_window=25,
    execution_window_ns=30_000_000_000,
    strategies=("s1",),
)
LEGS = (BasketLeg("f", PERP.id, Side.SELL, D(1)), BasketLeg("s", SPOT.id, Side.BUY, D(1)))
SIDES = (PositionSide.BOTH,) * 6 + (PositionSide.LONG, PositionSide.SHORT)


class Unsure(Lines):
    """Leaves every order to the table."""

    def clears(self, now, order):
        return None


class TableAlone(RiskGate):
    """The reference: gathers the facts for every order and asks every rule."""

    @handles(OrderRequest)
    def on_order(self, now, order, timer_why=""):
        self._lines.__class__ = Unsure
        super().on_order(now, order, timer_why)


class Day:
    """Random news of one day, such that most orders are ordinary ones."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 1_000_000_000_000
        self.number = 0
        self.flying: list[OrderRequest] = []
        self.baskets: list[str] = []
        self.parents: list[ExecutionIntent] = []

    def next(self) -> Message:
        chance = self.random
        self.now += chance.choice((0, 1_000_000, 20_000_000, 200_000_000))
        kind = chance.random()
        if kind < 0.04 and self.baskets:
            self.flying.append(self.hedge())
            return self.flying[-1]
        if kind < 0.35:
            made = self.order(is_wild=chance.random() < 0.25)
            if made.qty.is_finite() and made.qty > ZERO:
                self.flying.append(made)
            return made
        if kind < 0.65 and self.flying:
            return self.outcome(chance.choice(self.flying))
        if kind < 0.7 and self.flying:
            return self.fill(chance.choice(self.flying))
        if kind < 0.72:
            return self.parent()
        if kind < 0.78:
            return self.book(chance.choice(SPECS))
        return self.worse() if chance.random() < 0.08 else self.better()

    def order(self, *, is_wild: bool) -> OrderRequest:
        chance = self.random
        self.number += 1
        spec = chance.choice((PERP, PERP, PERP, PERP, SPOT, SPOT, INVERSE, DATED))
        made: Any = OrderRequest(
            self.now,
            f"r{self.number}",
            "s1",
            "",
            chance.choice(AT[spec.venue]),
            spec.id,
            chance.choice((Side.BUY, Side.SELL)),
            D(chance.choice((1, 1, 2, 3))),
            OrderType.LIMIT,
            D(chance.choice((995, 1000, 1000, 1005))) / 10,
            position_side=chance.choice(SIDES),
            parent_id="" if self.number % 4 else "p1",
        )
        if self.parents and chance.random() < 0.25:
            one = chance.choice(self.parents[-4:])
            made = evolve(
                made, account=one.account, instrument=one.instrument, side=one.side, position_side=one.position_side,
                parent_id=one.parent_id,
            )  # fmt: skip
        if not is_wild:
            return made  # type: ignore[no-any-return]
        changes: dict[str, tuple[Any, ...]] = {
            "request_id": (f"r{self.number // 2}",),
            "basket_id": (chance.choice([*self.baskets, ""]),),
            "account": ("f", "s", "nobody"),
            "instrument": ("fut:NOPE", ODD.id),
            "qty": tuple(map(D, ("0.5", "0.001", "0.0005", "17", "26", "49", "0", "-1", "NaN"))),
            "price": (None, D("100.03"), D("98.8"), D("105.5"), D(30), D("NaN"), ZERO),
            "type": (OrderType.MARKET, OrderType.STOP_MARKET),
            "tif": (TimeInForce.GTC, TimeInForce.IOC),
            "strategy": ("stranger",),
            "parent_id": ("p1", "nobody"),
            "reduce_only": (True,),
            "is_hedge": (True,),
        }
        picked = chance.sample(sorted(changes), chance.choice((1, 1, 2, 3)))
        if "type" in picked and chance.random() < 0.7:
            changes["price"] = (None,)
            picked.append("price")
        changed: OrderRequest = evolve(made, **{name: chance.choice(changes[name]) for name in picked})
        return changed

    def hedge(self) -> OrderRequest:
        """Return a hedge of the latest basket, as a rule one that its leg has room for."""
        chance = self.random
        self.number += 1
        leg = chance.choice(LEGS)
        return OrderRequest(
            self.now, f"r{self.number}", "s1", self.baskets[-1], leg.account, leg.instrument,
            chance.choice((leg.side, leg.side, leg.side.opposite)), D(chance.choice(("0.5", "0.5", "1", "1.5"))),
            OrderType.LIMIT, D(100), tif=TimeInForce.IOC, is_hedge=True,
        )  # fmt: skip

    def parent(self) -> ExecutionIntent:
        chance = self.random
        spec, name = chance.choice((PERP, PERP, SPOT)), f"p{len(self.parents) - (chance.random() < 0.1)}"
        made = ExecutionIntent(
            self.now, name, "s1", AT[spec.venue][0], spec.id, chance.choice((Side.BUY, Side.SELL)),
            D(chance.choice((2, 4, 8))), position_side=chance.choice(SIDES),
        )  # fmt: skip
        self.parents.append(made)
        return made

    def outcome(self, order: OrderRequest) -> OrderUpdate:
        is_final = self.random.random() < 0.8
        if is_final:
            self.flying.remove(order)
        status = OrderStatus.CANCELED if is_final else OrderStatus.ACCEPTED
        request_id = order.request_id if self.random.random() < 0.95 else ""
        return OrderUpdate(
            self.now, request_id, "s1", "", f"c{self.number}", order.account, order.instrument, order.side,
            order.qty, status, ZERO, is_final,
        )  # fmt: skip

    def fill(self, order: OrderRequest) -> FillEvent:
        qty = order.qty if self.random.random() < 0.3 else abs(order.qty) / 2
        made = Fill(
            self.now, order.account, order.instrument, "c", f"t{self.now}", order.side, D(100), qty,
            Liquidity.TAKER, ZERO, "USDT", FillReason.TAKER, order.position_side,
        )  # fmt: skip
        return FillEvent(self.now, order.request_id, "s1", order.basket_id, made)

    def book(self, spec: Instrument) -> BookView:
        mid = spec.ticks(D(self.random.choice((99, 100, 100, 100, 101))))
        return BookView(self.now, spec.id, mid - 1, 1, mid + self.random.choice((1, 1, 1, -1)), 1)

    def worse(self) -> Message:
        chance, now = self.random, self.now
        spec = chance.choice(SPECS)
        self.baskets.append(f"b{len(self.baskets)}")
        return chance.choice(
            (
                PositionUpdate(
                    now, AT[spec.venue][0], spec.id, chance.choice(SIDES), D(chance.choice((1, -2))), None, ZERO
                ),
                PreflightRequest(now, self.baskets[-1], "s1", LEGS, D(10)),
                PreflightRequest(now, self.baskets[-1], "s1", LEGS, D(10)),
                BasketUpdate(now, chance.choice(self.baskets), "s1", BasketState.WORKING, (ZERO, ZERO)),
                KillState(now, chance.choice((KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL)), "t", ""),
                FeedStatus(now, spec.id, False, "why"),
                StopCommand(now, ""),
                InboxHighWater(now, 1, True),
                GuardStatus(now, is_up=chance.random() < 0.5, is_in_charge=chance.random() < 0.5),
                VenueDown(now, spec.venue, chance.choice(("market", "private")), "why"),
                InstrumentStatus(now, spec.id, chance.choice((InstrumentState.HALT, InstrumentState.PRE_OPEN))),
                TightenLimit(now, "op", spec.id, "order_qty_max", D(20)),
                HaltState(now, HaltScope.STRATEGY, "s1", KillLevel.REDUCE_ONLY, "throttle", "why"),
                HaltState(now, HaltScope.VENUE, spec.venue, KillLevel.CANCEL_ALL, "operator", "why"),
                HaltState(now, HaltScope.ACCOUNT, AT[spec.venue][0], KillLevel.REDUCE_ONLY, "operator", "why"),
                DeadManState(now, AT[spec.venue][0], spec.id, 0, "no answer"),
            )
        )

    def better(self) -> Message:
        chance, now = self.random, self.now
        spec, account = chance.choice(SPECS), chance.choice(list(ACCOUNTS))
        basket = chance.choice(self.baskets) if self.baskets else "none"
        ended = chance.choice((BasketState.FLAT, BasketState.DENIED, BasketState.BALANCED))
        return chance.choice(
            (
                PositionUpdate(now, AT[spec.venue][0], spec.id, chance.choice(SIDES), ZERO, None, ZERO),
                ReservationReleased(now, basket),
                BasketUpdate(now, basket, "s1", ended, (ZERO, ZERO)),
                CancelRequest(now, "r1"),
                KillState(now, KillLevel.ARMED, "t", ""),
                FeedStatus(now, spec.id, True),
                ResumeCommand(now, ""),
                InboxHighWater(now, 1, False),
                GuardStatus(now, is_up=True),
                VenueUp(now, spec.venue),
                VenueUp(now, spec.venue),
                InstrumentStatus(now, spec.id, InstrumentState.OPEN),
                InstrumentStatus(now, spec.id, InstrumentState.OPEN),
                Reconciled(now, account),
                Reconciled(now, account),
                HaltState(now, HaltScope.STRATEGY, "s1", KillLevel.ARMED, "operator", "why"),
                HaltState(now, HaltScope.VENUE, spec.venue, KillLevel.ARMED, "operator", "why"),
                HaltState(now, HaltScope.ACCOUNT, account, KillLevel.ARMED, "operator", "why"),
                DeadManState(now, AT[spec.venue][0], spec.id, now + 10_000_000_000),
            )
        )


def gate_of(kind: type[RiskGate], config: RiskConfig) -> tuple[RiskGate, Collected]:
    gate, done = kind({spec.id: spec for spec in SPECS}, ACCOUNTS, config), Collected()
    gate.out = detached_outbox("gate", into=done)
    return gate, done


def remembered(gate: RiskGate) -> dict[str, Any]:
    state: dict[str, Any] = gate.snapshot()["state"]
    # When the oldest are forgotten is nobody's business.
    return {name: value for name, value in state.items() if name not in ("sent_ns", "executions")}


def check_lines(gate: RiskGate) -> None:
    """The sums kept up to date are those of the orders in flight, position by position."""
    for key, held in gate.state.positions.items():
        line = gate._lines.get(key)
        assert line is not None
        assert line.held is held
        flying = [one for one in gate.state.orders.values() if one.key == key]
        assert line.buys == sum((one.leaves for one in flying if one.side is Side.BUY), ZERO)
        assert line.sells == sum((one.leaves for one in flying if one.side is Side.SELL), ZERO)
    reserved = {name: basket for name, basket in gate.state.baskets.items() if basket.is_reserved}
    assert gate._lines.reserved == reserved
    known = gate.state.parents
    for parent in known.parents.values():
        assert parent.taken == sum((known.slices[one].taken for one in parent.slices), ZERO)


@pytest.mark.parametrize("window_ns", [0, 500_000_000])
@pytest.mark.parametrize("seed", range(12))
def test_the_gate_decides_as_the_table_alone(seed: int, window_ns: int) -> None:
    config = evolve(CONFIG, duplicate_window_ns=window_ns)
    (quick, said), (slow, meant) = gate_of(RiskGate, config), gate_of(TableAlone, config)
    day, approved = Day(seed), 0
    for spec in SPECS:
        view = BookView(day.now, spec.id, spec.ticks(D(100)) - 1, 1, spec.ticks(D(100)) + 1, 1)
        quick.handle(day.now, view)
        slow.handle(day.now, view)
    for step in range(600):
        news = day.next()
        quick.handle(day.now, news)
        slow.handle(day.now, news)
        # Their text, as no NaN is equal to itself, and to the last digit.
        assert str(said.emitted) == str(meant.emitted)
        approved += any(isinstance(one, OrderApproved) for one in said.emitted)
        said.emitted.clear()
        meant.emitted.clear()
        check_lines(quick)
        if step % 150 == 149:
            assert remembered(quick) == remembered(slow)
            snapshot = json.loads(json.dumps(quick.snapshot()))
            quick, said = gate_of(RiskGate, config)
            quick.restore(snapshot)
            check_lines(quick)
    assert approved > 20


def test_a_day_knows_most_reasons_and_most_approvals_come_at_once() -> None:
    seen: Counter[str] = Counter()
    at_once = approved = 0
    for seed in range(20):
        (quick, said), day = gate_of(RiskGate, CONFIG), Day(seed)
        for spec in SPECS:
            quick.handle(day.now, BookView(day.now, spec.id, spec.ticks(D(100)) - 1, 1, spec.ticks(D(100)) + 1, 1))
        for _ in range(600):
            news = day.next()
            if isinstance(news, OrderRequest):
                at_once += quick._lines.clears(day.now, news) is not None
            said.emitted.clear()
            quick.handle(day.now, news)
            for one in said.emitted:
                approved += isinstance(one, OrderApproved)
                seen.update({reason.partition(":")[0] for reason in getattr(one, "reasons", ())})
    assert at_once > approved / 3
    # Capacity is promised to whole baskets, and none here closes.
    assert {str(reason) for reason in Reason} - set(seen) <= {Reason.MAY_REST, Reason.REDUCE_CAPACITY}


WIDE = RiskConfig(
    default=InstrumentLimits(order_notional_max=D(5_000), position_notional_max=D(6_000)),
    gross_notional_max=D(7_000),
    orders_per_window=10,
    starts_read_only=False,
)


def held(qty: int, spec: Instrument = PERP, account: str = "f", side: PositionSide = PositionSide.BOTH) -> Message:
    return PositionUpdate(0, account, spec.id, side, D(qty), D(100), ZERO)


def found_at_the_venue(client_id: str) -> Message:
    return OrderUpdate(0, "", "", "", client_id, "f", PERP.id, Side.BUY, D(1), OrderStatus.ACCEPTED, ZERO, False)


def calm(config: RiskConfig = WIDE, *news: Message) -> RiskGate:
    """Return a gate at time 0 that has sent an order in BTC already, and one in the coins."""
    gate, _ = gate_of(RiskGate, config)
    for spec in SPECS:
        gate.handle(0, BookView(0, spec.id, spec.ticks(D(100)) - 1, 1, spec.ticks(D(100)) + 1, 1))
    for number, spec in enumerate((PERP, SPOT)):
        gate.handle(0, order(f"first{number}", account=AT[spec.venue][0], instrument=spec.id))
    for one in news:
        gate.handle(0, one)
    return gate


def order(request_id: str = "r", **changes: Any) -> OrderRequest:
    values: dict[str, Any] = {
        "account": "f",
        "instrument": PERP.id,
        "side": Side.BUY,
        "qty": D(1),
        "price": D(100),
    } | changes
    return OrderRequest(0, request_id, "s1", **({"basket_id": ""} | values))


def reserved() -> Message:
    return PreflightRequest(0, "b", "s1", (BasketLeg("f", PERP.id, Side.SELL, D(1)),), D(1))


def hedge(**changes: Any) -> OrderRequest:
    """Return a hedge that trades all of the leg in `reserved`."""
    values: dict[str, Any] = {"basket_id": "b", "side": Side.SELL, "tif": TimeInForce.IOC, "is_hedge": True} | changes
    return order(**values)


def evolved(**changes: Any) -> RiskConfig:
    return evolve(WIDE, default=evolve(WIDE.default, **changes))


@pytest.mark.parametrize(
    ("gate", "asked"),
    [
        (calm(), order(qty=D(30))),
        (calm(evolved(order_qty_max=D(2))), order(qty=D(2))),
        (calm(evolved(order_notional_max=D(200))), order(qty=D(2))),
        (calm(WIDE, held(58)), order()),
        (calm(WIDE, held(-58)), order(side=Side.SELL, qty=D(2))),
        (calm(WIDE, held(59)), order(side=Side.SELL, qty=D(5))),
        (calm(WIDE, held(58, account="g"), held(0)), order()),
        (calm(evolved(position_qty_max=D(2))), order()),
        (calm(WIDE, held(50, SPOT, "s")), order(qty=D(18))),
        (calm(evolve(WIDE, open_orders_max=3)), order()),
        (calm(evolve(WIDE, orders_per_window=5)), order()),
        (calm(), order(qty=D("0.05"))),
        (calm(), order(price=D(101))),
        (calm(), order(price=D(99))),
        (calm(WIDE, reserved()), hedge()),
        (calm(WIDE, reserved(), hedge(request_id="h", qty=D("0.5"))), hedge(qty=D("0.5"))),
    ],
)
def test_at_the_limit_an_order_goes_at_once(gate: RiskGate, asked: OrderRequest) -> None:
    assert gate._lines.clears(0, asked) is not None


@pytest.mark.parametrize(
    ("gate", "asked"),
    [
        # One step over each limit, by this alone.
        (calm(), order(qty=D(30) + PERP.lot_size)),
        (calm(evolved(order_qty_max=D(2))), order(qty=D("2.001"))),
        (calm(evolved(order_notional_max=D(200))), order(qty=D(2), price=D("100.1"))),
        (calm(evolved(order_notional_max=D(199))), order(qty=D(2), price=D("99.1"))),
        (calm(WIDE, held(58)), order(qty=D("1.001"))),
        (calm(WIDE, held(-58)), order(side=Side.SELL, qty=D("2.001"))),
        (calm(WIDE, held(58, account="g"), held(1)), order()),
        (calm(evolved(position_qty_max=D(2))), order(qty=D("1.001"))),
        (calm(WIDE, held(50, SPOT, "s")), order(qty=D("18.001"))),
        (calm(WIDE, held(1, ODD)), order()),
        (calm(evolve(WIDE, open_orders_max=2)), order()),
        (calm(evolve(WIDE, orders_per_window=3)), order()),
        # What the venue takes.
        (calm(), order(qty=D("0.001"), price=D(6_000))),
        (calm(), order(qty=D("0.04"))),
        (calm(WIDE, held(0, DATED, "c")), order(account="c", instrument=DATED.id)),
        (calm(), order(qty=D("1.0005"))),
        (calm(), order(price=D("100.05"))),
        (calm(), order(qty=D(-1))),
        (calm(), order(qty=D("NaN"))),
        (calm(), order(price=D("Infinity"))),
        (calm(), order(price=None, type=OrderType.MARKET)),
        # Prices.
        (calm(), order(price=D("101.1"))),
        (calm(), order(price=D("98.9"))),
        (calm(WIDE, BookView(0, PERP.id, -1, 1, 1, 1)), order()),
        (calm(WIDE, BookView(0, PERP.id, -1_001, 1, -999, 1)), order()),
        # Names.
        (calm(), order("first0")),
        (calm(WIDE, found_at_the_venue("r")), order("r")),
        (calm(), order(account="s")),
        (calm(), order(account="g")),
        (calm(), order(instrument="fut:NOPE")),
        (calm(evolve(WIDE, allowed=(SPOT.id,))), order()),
        # States.
        (calm(WIDE, KillState(0, KillLevel.REDUCE_ONLY, "t", "")), order()),
        (calm(WIDE, StopCommand(0, "")), order()),
        (calm(WIDE, InboxHighWater(0, 1, True)), order()),
        (calm(WIDE, GuardStatus(0, is_up=False)), order()),
        (calm(WIDE, GuardStatus(0, is_up=True, is_in_charge=True)), order()),
        (calm(WIDE, VenueDown(0, "fut", "market")), order()),
        (calm(WIDE, FeedStatus(0, PERP.id, False)), order()),
        (calm(WIDE, VenueDown(0, "fut", "private"), VenueUp(0, "fut")), order()),
        (calm(WIDE, reserved()), order()),
        (calm(WIDE, reserved(), ReservationReleased(0, "b")), order(basket_id="b")),
        # Hedges: of a basket nobody works on, beyond its leg, back beyond what has filled, with another on its way.
        (calm(WIDE, reserved(), ReservationReleased(0, "b")), hedge()),
        (calm(WIDE, reserved()), hedge(qty=D("1.5"))),
        (calm(WIDE, reserved()), hedge(side=Side.BUY)),
        (calm(WIDE, reserved(), hedge(request_id="h")), hedge(qty=D("0.5"))),
        (calm(WIDE, reserved()), hedge(is_hedge=False)),
    ],
)
def test_each_doubt_alone_leaves_an_order_to_the_table(gate: RiskGate, asked: OrderRequest) -> None:
    assert gate._lines.clears(0, asked) is None


def test_a_book_too_old_leaves_an_order_to_the_table() -> None:
    gate, age = calm(), WIDE.default.book_age_max_ns
    assert gate._lines.clears(age, order()) is not None
    assert gate._lines.clears(age + 1, order()) is None
