"""Steps of a hypothesis-made scenario at a simulated venue: its markets and the commands of one account."""

from decimal import Decimal

from hypothesis import strategies as st

from sim.venue import SimVenue
from venues.costs.fees import FeeBasis, FeeSchedule, FeeTable
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, PositionSide, Side, TimeInForce
from venues.port import (
    AdjustIsolatedMargin,
    BookDelta,
    BookSnapshot,
    CancelAll,
    CancelOrder,
    Command,
    FundingRate,
    MarkPrice,
    Message,
    ModifyOrder,
    Report,
    SubmitOrder,
    Trade,
)

D = Decimal
BRACKETS = (Bracket(D(0), D(50_000), D("0.01"), D(0), 50), Bracket(D(50_000), D(10**9), D("0.05"), D(2000), 20))
PERP = Instrument(
    "V",
    "PERP",
    InstrumentKind.PERPETUAL,
    "P",
    "USDT",
    D("0.1"),
    D("0.1"),
    max_leverage=50,
    brackets=BRACKETS,
    liquidation_fee=D("0.01"),
)
FUTURE = Instrument(
    "V",
    "FUT",
    InstrumentKind.FUTURE,
    "F",
    "USDT",
    D("0.25"),
    D(1),
    multiplier=D(5),
    initial_margin=D(60),
    maintenance_margin=D(50),
)
SPOT = Instrument("V", "SPOT", InstrumentKind.SPOT, "P", "USDT", D("0.1"), D("0.1"))
SPECS = {spec.id: spec for spec in (PERP, FUTURE, SPOT)}
FEES = FeeTable(
    FeeSchedule(D("-0.0001"), D("0.0005")), {FUTURE.id: FeeSchedule(D("0.5"), D("1.5"), FeeBasis.PER_CONTRACT)}
)

instruments = st.sampled_from(sorted(SPECS))
ticks = st.integers(990, 1010)
lots = st.integers(0, 40)
sides = st.sampled_from(list(Side))
levels = st.lists(st.tuples(ticks, lots), max_size=6, unique_by=lambda level: level[0])


@st.composite
def books(draw: st.DrawFn) -> BookSnapshot:
    mid = draw(st.integers(992, 1008))
    bids = [(mid - 1 - i, draw(lots)) for i in range(3)]
    asks = [(mid + 1 + i, draw(lots)) for i in range(3)]
    return BookSnapshot(0, draw(instruments), 1, bids, asks)


@st.composite
def submits(draw: st.DrawFn, hedge: bool, account: str) -> SubmitOrder:
    spec = SPECS[draw(instruments)]
    kind = draw(st.sampled_from([*[OrderType.LIMIT] * 4, *[OrderType.MARKET] * 2, OrderType.STOP_MARKET]))
    contract = not spec.is_spot
    sides_allowed = [PositionSide.LONG, PositionSide.SHORT] if hedge and contract else [PositionSide.BOTH]
    return SubmitOrder(
        0,
        account,
        spec.id,
        draw(st.sampled_from("abcdefghij")),
        draw(sides),
        spec.qty(draw(st.integers(1, 60))),
        kind,
        spec.price(draw(ticks)) if kind is OrderType.LIMIT else None,
        draw(st.sampled_from([*[TimeInForce.GTC] * 4, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTX])),
        draw(st.sampled_from(sides_allowed)),
        contract and not hedge and draw(st.integers(0, 4)) == 0,
        trigger_price=spec.price(draw(ticks)) if kind is OrderType.STOP_MARKET else None,
        display_qty=spec.qty(draw(st.integers(1, 5))) if draw(st.integers(0, 5)) == 0 else None,
    )


def steps(hedge: bool, account: str = "me") -> st.SearchStrategy[Message]:
    """Return what may happen next: a market event of any instrument, or a command of the account."""
    spec_price = st.builds(lambda i, t: (i, SPECS[i].price(t)), instruments, st.integers(940, 1060))
    names = st.sampled_from("abcdefghij")
    position = PositionSide.LONG if hedge else PositionSide.BOTH
    return st.one_of(
        books(),
        st.builds(lambda i, b, a: BookDelta(0, i, 1, 1, 0, b, a), instruments, levels, levels),
        st.builds(lambda i, p, q, s: Trade(0, i, 1, p, q + 1, s), instruments, ticks, lots, sides),
        st.builds(lambda ip: MarkPrice(0, ip[0], ip[1]), spec_price),
        st.builds(lambda p, r: FundingRate(0, PERP.id, D(r) / 10_000, PERP.price(p)), ticks, st.integers(-50, 50)),
        submits(hedge, account),
        submits(hedge, account),
        submits(hedge, account),
        st.builds(lambda i, n: CancelOrder(0, account, i, n), instruments, names),
        st.builds(
            lambda i, n, q, p: ModifyOrder(0, account, i, n, SPECS[i].qty(q + 1), SPECS[i].price(p)),
            instruments,
            names,
            lots,
            ticks,
        ),
        st.builds(lambda a: AdjustIsolatedMargin(0, account, PERP.id, D(a), position), st.integers(-50, 50)),
        st.just(CancelAll(0, account)),
    )


def play(venue: SimVenue, now: int, step: Message) -> list[Report]:
    """Let a step happen and return what the venue says."""
    if isinstance(step, Command):
        return venue.on_command(now, step)
    assert isinstance(step, Report)
    return venue.on_market(now, step)
