"""Any course that venue, market and people can make a basket take, step by step: it never does what it must not."""

from decimal import Decimal

from cell_harness import COARSE, PERP, SECOND, SPECS, SPOT, D, Harness, Outcome, ScriptedVenue, buy, sell
from hypothesis import given
from hypothesis import strategies as st

from actors.basket import ENDED
from actors.basket_records import BasketCost, PartialFill
from actors.messages import (
    BasketIntent,
    BasketLeg,
    Incident,
    KillLevel,
    KillState,
    Placement,
    StopCommand,
)
from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.port import InstrumentState, InstrumentStatus, OrderFilled, RejectReason, SubmitOrder

PAIRS = [
    (buy(SPOT, "1"), sell(PERP, "1")),
    (sell(PERP, "1"), buy(SPOT, "1")),
    (buy(SPOT, "1"), sell(COARSE, "100")),
    (sell(COARSE, "100"), buy(SPOT, "1")),
    (buy(SPOT, "1"), sell(PERP, "0.6"), sell(COARSE, "40")),
]
OUTCOMES = st.builds(
    Outcome,
    share=st.sampled_from([D(0), D("0.0001"), D("0.3333"), D("0.5"), D(1)]),
    is_rejected=st.sampled_from([False, False, False, True]),
    is_lost=st.sampled_from([False, False, False, True]),
    arrives=st.sampled_from([True, True, True, False]),
    reason=st.sampled_from([RejectReason.HALTED, RejectReason.INSUFFICIENT_MARGIN]),
)
LEG = st.integers(0, 2)
STEPS = st.one_of(
    st.tuples(st.just("hit"), LEG, st.sampled_from(["0.001", "0.0156", "0.33", "1"])),
    st.tuples(st.just("move"), LEG, st.integers(-500, 500)),
    st.tuples(st.just("halt"), LEG, st.booleans()),
    st.tuples(st.just("take"), LEG, st.sampled_from(["0.01", "0.4", "1"])),
    st.tuples(st.just("deaf"), LEG, st.booleans()),
    st.tuples(st.just("wait"), LEG, st.sampled_from([1, 100, 500, 3_000])),
    st.tuples(st.just("kill"), LEG, st.sampled_from([KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL])),
    st.tuples(st.just("stop"), LEG, st.none()),
)


class Course:
    """A basket under way and the hands that meddle with it; every order is judged when it is sent."""

    def __init__(self, legs: tuple[BasketLeg, ...], venue: ScriptedVenue) -> None:
        self.legs = {leg.instrument: leg for leg in legs}
        self.names = list(self.legs)
        self.cell = cell = Harness(venue=venue)
        cell.quote(SPOT, "60000.00", "60001.00")
        cell.quote(PERP, "60010.0", "60010.5")
        cell.quote(COARSE, "60020.0", "60020.5", size="10000")
        cell.on_submit = self._judge

    def held(self, name: str) -> Decimal:
        return self.legs[name].side.sign * self.cell.venue.positions().get(name, ZERO)

    def _judge(self, order: SubmitOrder) -> None:
        leg = self.legs[order.instrument]
        resting = [one for one in self.cell.venue.resting() if one.instrument == order.instrument]
        assert not resting, "two orders of one leg at once"
        if order.side is leg.side:
            assert self.held(leg.instrument) + order.qty <= leg.qty, "more than the target on one leg"
        else:
            assert order.qty <= self.held(leg.instrument), "a reduction turned the leg round"

    def step(self, what: str, which: int, how: object) -> None:
        cell, name = self.cell, self.names[which % len(self.names)]
        if what == "hit":
            for order in cell.venue.resting():
                left = order.qty - cell.venue.orders[order.client_order_id].filled
                lot = SPECS[order.instrument].lot_size
                qty = min(D(str(how)) / SPECS[order.instrument].multiplier // lot * lot, left)
                if qty:
                    cell.feed(*cell.venue.hit(cell.now, order, str(qty)))
        elif what == "move":
            assert isinstance(how, int)
            bids, asks = cell.desk.state.bids, cell.desk.state.asks
            bids[name] = tuple((ticks + how, lots) for ticks, lots in bids[name])
            asks[name] = tuple((ticks + how, lots) for ticks, lots in asks[name])
            cell.show(SPECS[name])
        elif what == "halt":
            state = InstrumentState.HALT if how else InstrumentState.OPEN
            (cell.desk.state.dead.add if how else cell.desk.state.dead.discard)(name)
            cell.feed(InstrumentStatus(cell.now, name, state))
        elif what == "take":
            self._take(name, D(str(how)))
        elif what == "deaf":
            cell.venue.is_deaf = bool(how)
        elif what == "wait":
            assert isinstance(how, int)
            cell.advance(how * 1_000_000)
        elif what == "kill":
            assert isinstance(how, KillLevel)
            cell.tell(KillState(cell.now, how, "test", ""))
        else:
            cell.tell(StopCommand(cell.now, "test"))

    def _take(self, name: str, base: Decimal) -> None:
        """The venue takes a part of a derivative position, as in deleveraging."""
        spec = SPECS[name]
        qty = min(base / spec.multiplier // spec.lot_size * spec.lot_size, self.held(name))
        if spec.is_spot or qty <= ZERO:
            return
        number = len(self.cell.venue.fills)
        fill = OrderFilled(
            self.cell.now, "acc", name, f"adl-{number}", "v", f"forced{number}", self.legs[name].side.opposite,
            D(60_500), qty, Liquidity.NONE, ZERO, "USDT", FillReason.ADL,
        )  # fmt: skip
        self.cell.venue.fills.append(fill)
        self.cell.feed(fill)


@given(
    st.sampled_from(PAIRS),
    st.sampled_from(list(Placement)),
    st.booleans(),
    st.lists(OUTCOMES, max_size=10),
    st.integers(0, 5),
    st.lists(STEPS, max_size=14),
)
def test_whatever_happens_step_by_step_it_ends_as_promised(
    legs: tuple[BasketLeg, ...],
    placement: Placement,
    is_ordered: bool,
    outcomes: list[Outcome],
    failing: int,
    steps: list[tuple[str, int, object]],
) -> None:
    course = Course(legs, ScriptedVenue(outcomes, failing_queries=failing))
    cell = course.cell
    cell.tell(BasketIntent(cell.now, "b1", "s", legs, placement=placement, is_ordered=is_ordered))
    for step in steps:
        course.step(*step)
    cell.venue.is_deaf = False
    for name in course.names:
        course.step("halt", course.names.index(name), False)
    cell.advance(300 * SECOND)
    basket = cell.executor.state.baskets["b1"]
    assert basket.state in ENDED
    if basket.state == "denied":
        assert cell.venue.fills == []
        return
    assert not basket.is_pending
    assert basket.trouble is None
    assert cell.executor.state.depth_refs == {}
    assert not any(cell.executor.state.quoting.values())
    net = basket.net(SPECS)["BTC"]
    if basket.state == "broken":
        told = [one for one in cell.seen(Incident) if one.kind == "basket_broken"]
        assert told
        assert told[-1].text
        assert told[-1].cost is not None
        assert cell.seen(PartialFill)[-1].outcome == "broken"
    else:
        assert abs(net) < basket.quanta["BTC"]
        assert cell.executor.state.residuals.get("BTC|acc", ZERO) == cell.venue.net_base()
    assert cell.seen(BasketCost)[-1].state == basket.state
