"""What must hold of a venue without books, whatever bars, quotes and orders come."""

from collections import defaultdict
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from sim.account import CashFlow
from sim.parametric_config import ParametricConfig
from sim.slippage import SlippageReport
from sim.venue import SimVenue
from venues.costs.fees import FeeBasis, FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    Bar,
    CancelOrder,
    Command,
    FundingRate,
    LiquidationPrint,
    MarkPrice,
    Message,
    OpenInterest,
    OrderFilled,
    OrderModified,
    Quote,
    Report,
    SubmitOrder,
)

D = Decimal
BRACKETS = (Bracket(D(0), D(10**9), D("0.01"), D(0), 50),)
PERP = Instrument(
    "V", "PERP", InstrumentKind.PERPETUAL, "P", "USDT", D("0.1"), D("0.1"), max_leverage=50, brackets=BRACKETS
)
SPOT = Instrument("V", "SPOT", InstrumentKind.SPOT, "P", "USDT", D("0.1"), D("0.1"))
FUTURE = Instrument(
    "V",
    "ESH6",
    InstrumentKind.FUTURE,
    "ES",
    "USDT",
    D("0.1"),
    D(1),
    multiplier=D(5),
    initial_margin=D(60),
    maintenance_margin=D(50),
)
IDLE = Instrument("V", "IDLE", InstrumentKind.SPOT, "I", "USDT", D("0.1"), D("0.1"))
SPECS = {spec.id: spec for spec in (PERP, SPOT, FUTURE)}
START = {"USDT": D(20_000), "P": D(30)}
FEES = FeeTable(
    FeeSchedule(D("-0.0001"), D("0.0005")), {FUTURE.id: FeeSchedule(D("0.5"), D("1.5"), FeeBasis.PER_CONTRACT)}
)

ticks = st.integers(950, 1_050)
ids = st.sampled_from(sorted(SPECS))
sides = st.sampled_from(list(Side))


def configs() -> st.SearchStrategy[ParametricConfig]:
    return st.builds(
        lambda model, reference, share, touch: ParametricConfig(
            model,
            {"PERP": D(5_000), "SPOT": D(5_000), "ESH6": D(5_000)},
            reference=reference,
            participation=share,
            touch_fills=touch,
        ),
        st.sampled_from(["crypto", "cme"]),
        st.sampled_from(["trade", "mark"]),
        st.sampled_from([None, D("0.1"), D(1)]),
        st.booleans(),
    )


@st.composite
def bars(draw: st.DrawFn) -> Bar:
    """A bar whose times are still to come: `play` sets them."""
    low, opened, closed, high = sorted(draw(st.lists(ticks, min_size=4, max_size=4)))
    if draw(st.booleans()):
        opened, closed = closed, opened
    prices = [PERP.price(each) for each in (opened, high, low, closed)]
    return Bar(
        1, draw(ids), 0, prices[0], prices[1], prices[2], prices[3], D(draw(st.integers(0, 90))), draw(st.booleans())
    )


@st.composite
def submits(draw: st.DrawFn) -> SubmitOrder:
    spec = SPECS[draw(ids)]
    kinds = [*[OrderType.LIMIT] * 3, *[OrderType.MARKET] * 2, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET]
    kind = draw(st.sampled_from(kinds))
    is_stop = kind in {OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET}
    return SubmitOrder(
        0,
        "me",
        spec.id,
        draw(st.sampled_from("abcdefghij")),
        draw(sides),
        spec.qty(draw(st.integers(1, 90))),
        kind,
        spec.price(draw(ticks)) if kind is OrderType.LIMIT else None,
        draw(st.sampled_from([*[TimeInForce.GTC] * 4, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTX])),
        reduce_only=not spec.is_spot and draw(st.integers(0, 4)) == 0,
        trigger_price=spec.price(draw(ticks)) if is_stop else None,
        trigger_on_mark=draw(st.booleans()) if is_stop else False,
    )


def steps() -> st.SearchStrategy[Message]:
    return st.one_of(
        bars(),
        bars(),
        st.builds(lambda i, b, w, q, r: Quote(0, i, 1, b, q, b + w, r), ids, ticks, *[st.integers(0, 50)] * 3),
        st.builds(lambda i, p: MarkPrice(0, i, PERP.price(p)), ids, ticks),
        st.builds(lambda p, r: FundingRate(0, PERP.id, D(r) / 1_000, PERP.price(p)), ticks, st.integers(-5, 5)),
        st.builds(lambda i, q: OpenInterest(0, i, D(q)), ids, st.integers(0, 50_000)),
        st.builds(lambda q: LiquidationPrint(0, PERP.id, Side.SELL, D(100), D(q)), st.integers(1, 1_000)),
        submits(),
        submits(),
        submits(),
        st.builds(lambda i, n: CancelOrder(0, "me", i, n), ids, st.sampled_from("abcdefghij")),
    )


SCRIPTS = st.lists(steps(), min_size=5, max_size=40)


class Played:
    """A script played: fills, flows, and what each fill cost beyond its reference."""

    def __init__(self, config: ParametricConfig, script: list[Message], *more: Instrument) -> None:
        self.flows: list[CashFlow] = []
        self.told: list[SlippageReport] = []
        self.fills: list[OrderFilled] = []
        self.limits: dict[str, Decimal | None] = {}
        self.asked: dict[tuple[str, str], Decimal | None] = {}
        self.venue = SimVenue(
            "V",
            [*SPECS.values(), *more],
            [Account("me", "V", dict(START), leverage={PERP.id: 10})],
            FEES,
            on_flow=self.flows.append,
            execution=config,
            on_slippage=self.told.append,
        )
        for number, step in enumerate(script, 1):
            self.step(number * 60_000_000_000, step)

    def step(self, now: int, step: Message) -> None:
        if isinstance(step, Bar):
            start = now - 60_000_000_000
            step = Bar(
                now, step.instrument, start, step.open, step.high, step.low, step.close, step.volume, step.is_mark
            )
        if isinstance(step, SubmitOrder) and ("me", step.client_order_id) not in self.venue.state.live:
            self.limits[step.client_order_id] = step.price
        if isinstance(step, Command):
            reports = self.venue.on_command(now, step)
        else:
            assert isinstance(step, Report)
            reports = self.venue.on_market(now, step)
        assert not any(isinstance(report, OrderModified) for report in reports)
        for report in reports:
            if isinstance(report, OrderFilled):
                self.fills.append(report)
                self.check_limit(report)
        self.check_money()

    def check_limit(self, fill: OrderFilled) -> None:
        limit = self.limits.get(fill.client_order_id)
        self.asked[fill.instrument, fill.trade_id] = limit
        if limit is not None:
            assert (limit - fill.price) * fill.side.sign >= 0

    def check_money(self) -> None:
        account = self.venue.state.accounts["me"]
        for asset, before in START.items():
            assert account.account.balance(asset) == sum(
                (flow.amount for flow in self.flows if flow.asset == asset), before
            )
        held: dict[str, Decimal] = defaultdict(Decimal)
        for fill in self.fills:
            held[fill.instrument] += fill.qty * fill.side.sign
        for name in (PERP.id, FUTURE.id):
            assert sum((each.qty for each in account.open_holdings(name)), D(0)) == held[name]
        assert account.account.balance("P") == START["P"] + held[SPOT.id]
        assert min(account.account.balance("P"), *self.venue.state.insurance.values(), D(0)) >= 0


@given(configs(), SCRIPTS)
def test_money_and_positions_are_conserved_and_limits_kept(config: ParametricConfig, script: list[Message]) -> None:
    Played(config, script)


@given(configs(), SCRIPTS)
def test_a_taker_never_trades_better_than_the_reference(config: ParametricConfig, script: list[Message]) -> None:
    played = Played(config, script)
    told = {(each.instrument, each.trade_id): each for each in played.told}
    for fill in played.fills:
        if fill.liquidity is Liquidity.NONE:
            continue
        each = told[fill.instrument, fill.trade_id]
        assert (fill.price, fill.qty) == (each.price, each.qty)
        assert (fill.price - each.expected) * fill.side.sign >= 0
        if fill.liquidity is Liquidity.TAKER:
            assert (fill.price - each.reference) * fill.side.sign >= 0
        else:
            assert fill.reason in {FillReason.THROUGH, FillReason.CROSSED}
            assert fill.price == played.asked[fill.instrument, fill.trade_id]


@given(configs(), SCRIPTS)
def test_an_idle_instrument_changes_nothing(config: ParametricConfig, script: list[Message]) -> None:
    alone, beside = Played(config, script), Played(config, script, IDLE)
    assert (alone.fills, alone.flows, alone.told) == (beside.fills, beside.flows, beside.told)


@given(configs(), st.integers(1, 400), st.integers(1, 400), sides, ticks)
def test_a_larger_order_never_trades_at_a_better_price(
    config: ParametricConfig, one: int, other: int, side: Side, price: int
) -> None:
    found = {}
    for lots in sorted({one, other}):
        bar = Bar(1, PERP.id, 0, *[PERP.price(price)] * 4, D(10**6), config.reference == "mark")  # type: ignore[call-arg, arg-type]
        volume = Bar(1, PERP.id, 0, *[PERP.price(price)] * 4, D(10**6))  # type: ignore[call-arg, arg-type]
        submit = SubmitOrder(0, "me", PERP.id, "a", side, PERP.qty(lots), OrderType.MARKET)
        (fill,) = Played(config, [volume, bar, submit]).fills
        assert fill.qty == PERP.qty(lots)
        found[lots] = fill.price * side.sign
    assert list(found.values()) == sorted(found.values())


@given(configs(), SCRIPTS, SCRIPTS, SCRIPTS)
def test_what_comes_later_changes_nothing_before(
    config: ParametricConfig, script: list[Message], one: list[Message], other: list[Message]
) -> None:
    cut = (len(script) + 1) * 60_000_000_000
    told = [[each for each in Played(config, script + tail).told if each.ts < cut] for tail in (one, other)]
    assert told[0] == told[1]
