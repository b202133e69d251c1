"""What one round of flattening trades: tables for single decisions, properties for whole books."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.flatten_plan import FlattenOrder, FlattenPlan, Holding, Sight, Terms, group_of, plan
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO, round_to_step
from venues.model.order import OrderType, PositionSide, Side
from venues.port import BookSnapshot

D = Decimal
BOTH, LONG, SHORT = PositionSide.BOTH, PositionSide.LONG, PositionSide.SHORT

SPOT = Instrument(
    "s",
    "BTC",
    InstrumentKind.SPOT,
    "BTC",
    "USDT",
    D("0.01"),
    D("0.0001"),
    min_qty=D("0.0001"),
    min_notional=D(5),
)
PERP = Instrument("p", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), min_qty=D("0.001"))
COARSE = Instrument("c", "BTC", InstrumentKind.FUTURE, "BTC", "USDT", D("0.5"), D(1), multiplier=D("0.01"))
ODD = Instrument("o", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.007"), max_qty=D("0.7"))
INVERSE = Instrument("i", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True)
ETH = Instrument("p", "ETH", InstrumentKind.PERPETUAL, "ETH", "USDT", D("0.1"), D("0.01"))
SPECS = {spec.id: spec for spec in (SPOT, PERP, COARSE, ODD, INVERSE, ETH)}
TERMS = Terms((D(20), D(50)), D("0.5"), D(1_000_000), book_patience=3)


def book(spec: Instrument, qty: str = "1000", price: str = "10000", levels: int = 1) -> BookSnapshot:
    """A book around `price`, one tick wide, `qty` on each of its levels, 10 bps apart."""
    touch, lots = spec.ticks(D(price)), spec.lots(D(qty))
    apart = touch // 1000
    bids = [(touch - level * apart, lots) for level in range(levels)]
    asks = [(touch + 1 + level * apart, lots) for level in range(levels)]
    return BookSnapshot(0, spec.id, 1, bids, asks)


def books(**other: BookSnapshot) -> dict[str, BookSnapshot]:
    made = {spec.id: book(spec, "1001" if spec is ODD else "1000") for spec in SPECS.values()}
    return made | {one.instrument: one for one in other.values()}


def held(spec: Instrument, qty: str, side: PositionSide = BOTH, account: str = "a") -> Holding:
    return Holding(account, spec.id, side, D(qty))


def said(order: FlattenOrder) -> tuple[str, Side, Decimal]:
    return order.instrument, order.side, order.qty


S, B = Side.SELL, Side.BUY

ROUNDS = [
    ("nothing", [], []),
    ("a pair goes in one clip", [held(SPOT, "1"), held(PERP, "-1")], [("s:BTC", S, "1"), ("p:BTC", B, "1")]),
    ("the naked part goes first", [held(SPOT, "1"), held(PERP, "-3")], [("p:BTC", B, "2")]),
    ("a naked leg alone", [held(SPOT, "0.5")], [("s:BTC", S, "0.5")]),
    (
        "derivatives before spot",
        [held(SPOT, "1"), held(PERP, "1", account="b")],
        [("p:BTC", S, "1"), ("s:BTC", S, "1")],
    ),
    (
        "a difference below every lot is left to the end",
        [held(SPOT, "0.0099"), held(PERP, "-0.01")],
        [("s:BTC", S, "0.009"), ("p:BTC", B, "0.009")],
    ),
    (
        "at the end each leg by itself",
        [held(SPOT, "0.0009"), held(PERP, "-0.001")],
        [("s:BTC", S, "0.0009"), ("p:BTC", B, "0.001")],
    ),
    ("spot beneath a lot is dust", [held(SPOT, "0.00009")], []),
    ("spot beneath the least notional is dust", [held(SPOT, "0.0004")], []),
    ("derivatives waive it", [held(PERP, "0.001")], [("p:BTC", S, "0.001")]),
    ("the grid rounds down", [held(PERP, "0.0019")], [("p:BTC", S, "0.001")]),
    ("contracts", [held(COARSE, "-3"), held(SPOT, "0.03")], [("s:BTC", S, "0.03"), ("c:BTC", B, "3")]),
    ("groups side by side", [held(ETH, "2"), held(PERP, "-1")], [("p:ETH", S, "2"), ("p:BTC", B, "1")]),
    ("inverse by itself", [held(INVERSE, "-7"), held(PERP, "1")], [("i:BTCUSD", B, "7"), ("p:BTC", S, "1")]),
    ("an order is no larger than allowed", [held(ODD, "7")], [("o:BTC", S, "0.7")]),
    (
        "a hedged account's two sides are a pair",
        [held(PERP, "2", LONG), held(PERP, "-1.5", SHORT)],
        [("p:BTC", S, "0.5")],
    ),
    (
        "unknown instruments",
        [held(PERP, "1"), Holding("a", "x:Y", BOTH, D("-2.5"))],
        [("x:Y", B, "2.5"), ("p:BTC", S, "1")],
    ),
    (
        "three legs",
        [held(SPOT, "1"), held(PERP, "-0.4"), held(COARSE, "-60")],
        [("s:BTC", S, "0.6"), ("c:BTC", B, "60")],
    ),
]


@pytest.mark.parametrize(("holdings", "orders"), [row[1:] for row in ROUNDS], ids=[row[0] for row in ROUNDS])
def test_a_round(holdings, orders):
    made = plan(holdings, SPECS, Sight(books()), TERMS)
    assert sorted(map(said, made.orders)) == sorted((name, side, D(qty)) for name, side, qty in orders)
    assert made.is_flat is not bool(orders)


def test_flags_and_prices():
    holdings = [held(PERP, "1"), held(PERP, "-1", SHORT, "h"), held(SPOT, "1", account="c"), held(ETH, "-1")]
    made = {(o.account, o.instrument): o for o in plan(holdings, SPECS, Sight(books()), TERMS).orders}
    one_way, hedge, eth = made["a", "p:BTC"], made.get(("h", "p:BTC")), made["a", "p:ETH"]
    assert hedge is None, "only the naked part"
    assert (one_way.reduce_only, one_way.position_side, one_way.price) == (True, BOTH, D("9980"))
    assert (eth.side, eth.price, eth.type) == (B, D("10020.1"), OrderType.LIMIT)
    (alone,) = plan([held(PERP, "-1", SHORT)], SPECS, Sight(books()), TERMS).orders
    assert (alone.reduce_only, alone.position_side, alone.side) == (False, SHORT, B)
    (spot,) = plan([held(SPOT, "1")], SPECS, Sight(books()), TERMS).orders
    assert (spot.reduce_only, spot.position_side, spot.price) == (False, BOTH, D("9980"))


RUNGS = [(0, "9980", "1.5"), (1, "9950", "3"), (2, None, "4")]


@pytest.mark.parametrize(("rung", "price", "qty"), RUNGS)
def test_rungs_reach_deeper(rung, price, qty):
    """Levels 10 bps apart with 1 each: three within 20 bps, six within 50; half of what is shown is taken."""
    sight = Sight(books(one=book(PERP, "1", levels=8)), rungs={PERP.id: rung})
    (order,) = plan([held(PERP, "50")], SPECS, sight, TERMS).orders
    assert (order.price, order.qty) == (None if price is None else D(price), D(qty))


def test_a_pair_follows_its_thinner_book():
    sight = Sight(books(one=book(PERP, "0.5")))
    made = plan([held(SPOT, "3"), held(PERP, "-3")], SPECS, sight, TERMS)
    assert [order.qty for order in made.orders] == [D("0.25"), D("0.25")]
    assert not made.thin


def test_a_clip_is_worth_at_most_what_is_allowed():
    (order,) = plan([held(PERP, "300")], SPECS, Sight(books()), TERMS).orders
    assert order.qty == 100


def test_a_book_that_shows_too_little_is_thin_until_the_market_order():
    holdings = [held(COARSE, "-5"), held(SPOT, "0.05")]
    thin = books(one=book(SPOT, "0.009"))
    made = plan(holdings, SPECS, Sight(thin), TERMS)
    assert (made.orders, made.thin) == ([], {SPOT.id})
    assert made.waiting == ["BTC: the books are too thin, or not there"]
    made = plan(holdings, SPECS, Sight(thin, rungs={SPOT.id: 2}), TERMS)
    assert [(o.qty, o.price) for o in made.orders] == [(D("0.01"), None), (D(1), D("10020.5"))]


BLIND = [
    ("a derivative goes to market", [held(PERP, "2")], PERP, {}, [("p:BTC", None)]),
    ("spot waits", [held(SPOT, "2")], SPOT, {}, []),
    ("a pair waits for its spot", [held(SPOT, "2"), held(PERP, "-2")], SPOT, {}, []),
    ("spot goes to market in the end", [held(SPOT, "2")], SPOT, {SPOT.id: 3}, [("s:BTC", None)]),
    (
        "a pair whose derivative is blind",
        [held(SPOT, "2"), held(PERP, "-2")],
        PERP,
        {},
        [("s:BTC", "9980"), ("p:BTC", None)],
    ),
]


@pytest.mark.parametrize(
    ("holdings", "dark", "blind", "orders"), [row[1:] for row in BLIND], ids=[row[0] for row in BLIND]
)
def test_without_a_book(holdings, dark, blind, orders):
    seen = {name: one for name, one in books().items() if name != dark.id}
    made = plan(holdings, SPECS, Sight(seen, blind=blind), TERMS)
    assert [(o.instrument, o.price) for o in made.orders] == [(n, p if p is None else D(p)) for n, p in orders]
    assert bool(made.blind) is not bool(orders)


def test_an_empty_side_is_no_book():
    one_sided = BookSnapshot(0, PERP.id, 1, [], [(100_001, 5)])
    (order,) = plan([held(PERP, "2")], SPECS, Sight({PERP.id: one_sided}), TERMS).orders
    assert (order.qty, order.price) == (D(2), None)


def test_what_is_held_up_is_open_and_not_traded():
    holdings = [held(SPOT, "1"), held(PERP, "-2"), held(ETH, "1"), Holding("a", "x:Y", BOTH, D(1))]
    made = plan(holdings, SPECS, Sight(books(), held_up={"BTC": "spot does not answer", "x:Y": "gone"}), TERMS)
    assert [o.instrument for o in made.orders] == ["p:ETH"]
    assert len(made.open) == 4
    assert made.waiting == ["x:Y: gone", "BTC: spot does not answer"]


FUNDS = [
    ("enough", "20000", [("s:BTC", B, "1"), ("p:BTC", S, "1")]),
    ("for a part", "5036", [("p:BTC", S, "0.5")]),
    ("none", "0", [("p:BTC", S, "1")]),
]


@pytest.mark.parametrize(("money", "orders"), [row[1:] for row in FUNDS], ids=[row[0] for row in FUNDS])
def test_spot_is_bought_back_with_what_is_there(money, orders):
    sight = Sight(books(), funds={("a", "USDT"): D(money)})
    made = plan([held(SPOT, "-1"), held(PERP, "1")], SPECS, sight, TERMS)
    assert sorted(map(said, made.orders)) == sorted((name, side, D(qty)) for name, side, qty in orders)


# Properties

LEGS = [
    (SPOT, BOTH, "sa"),
    (SPOT, BOTH, "sb"),
    (PERP, BOTH, "one"),
    (PERP, LONG, "two"),
    (PERP, SHORT, "two"),
    (COARSE, BOTH, "one"),
    (ODD, BOTH, "one"),
    (INVERSE, BOTH, "coin"),
]


@st.composite
def positions(draw: st.DrawFn) -> list[Holding]:
    """A book of any shape; spot quantities need not lie on the grid, positions do."""
    found = []
    for spec, side, account in draw(st.lists(st.sampled_from(LEGS), unique=True, max_size=6)):
        sign = {LONG: 1, SHORT: -1}.get(side) or (1 if spec.is_spot else draw(st.sampled_from([1, -1])))
        lots = draw(st.integers(0, 3) | st.integers(0, 20_000))
        odd = D(draw(st.integers(0, 99))) * spec.lot_size / 100 if spec.is_spot else ZERO
        found.append(Holding(account, spec.id, side, sign * (lots * spec.lot_size + odd)))
    return found


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    shown, rungs, blind = {}, {}, {}
    for spec in SPECS.values():
        if draw(st.integers(0, 9)):
            lots = draw(st.sampled_from([1, 3, 50, 1_000, 10_000_000]))
            shown[spec.id] = book(spec, str(lots * spec.lot_size), levels=draw(st.integers(1, 5)))
        rungs[spec.id] = draw(st.integers(0, 3))
        blind[spec.id] = draw(st.integers(0, 4))
    return Sight(shown, rungs, blind)


def net(holdings: list[Holding]) -> dict[str, Decimal]:
    nets: dict[str, Decimal] = {}
    for one in holdings:
        name = group_of(one.instrument, SPECS)
        nets[name] = nets.get(name, ZERO) + one.qty * SPECS[one.instrument].multiplier
    return nets


def fill(holdings: list[Holding], orders: list[FlattenOrder], shares: list[Decimal]) -> list[Holding]:
    """Fill a share of each order, in whole lots."""
    after = {(one.account, one.instrument, one.position_side): one.qty for one in holdings}
    for order, share in zip(orders, shares, strict=True):
        lot = SPECS[order.instrument].lot_size
        key = (order.account, order.instrument, order.position_side)
        after[key] += order.side.sign * round_to_step(order.qty * share, lot)
    return [Holding(account, name, side, qty) for (account, name, side), qty in after.items()]


def check_orders(holdings: list[Holding], made: FlattenPlan) -> None:
    by_key = {(one.account, one.instrument, one.position_side): one.qty for one in holdings}
    keys = [(order.account, order.instrument, order.position_side) for order in made.orders]
    assert len(set(keys)) == len(keys), "one order for each position"
    for order, key in zip(made.orders, keys, strict=True):
        spec, qty = SPECS[order.instrument], by_key[key]
        assert order.side.sign * qty < ZERO, "it closes"
        assert ZERO < order.qty <= abs(qty), "and never flips"
        assert order.qty % spec.lot_size == ZERO
        assert order.qty >= spec.min_qty
        assert spec.max_qty is None or order.qty <= spec.max_qty
        assert order.reduce_only is (not spec.is_spot and order.position_side is BOTH)
        if order.price is not None:
            spec.ticks(order.price)
            assert not spec.is_spot or spec.notional(order.qty, order.price) >= spec.min_notional


@settings(max_examples=300, deadline=None)
@given(positions(), sights())
def test_a_round_closes_and_keeps_the_book_neutral(holdings, sight):
    made = plan(holdings, SPECS, sight, TERMS)
    check_orders(holdings, made)
    assert len(made.open) + len(made.dust) == sum(bool(one.qty) for one in holdings)
    before, dust = net(holdings), net([*made.dust, *rests(made.open)])
    steps: dict[str, Decimal] = {}
    for one in made.open:
        spec, name = SPECS[one.instrument], group_of(one.instrument, SPECS)
        steps[name] = max(steps.get(name, ZERO), spec.lot_size * spec.multiplier)
    for name, after in net(fill(holdings, made.orders, [D(1)] * len(made.orders))).items():
        # Legs too small for a common clip are closed in proportion: the grid may leave less than a lot between them.
        slack = steps.get(name, ZERO) if is_rest(made, name) else ZERO
        assert abs(after) <= max(abs(before[name]), abs(dust.get(name, ZERO))) + slack


def rests(open_: list[Holding]) -> list[Holding]:
    """What of the open positions lies off the grid and stays."""
    return [
        Holding(
            one.account,
            one.instrument,
            one.position_side,
            one.qty - round_to_step(one.qty, SPECS[one.instrument].lot_size),
        )
        for one in open_
    ]


def is_rest(made: FlattenPlan, name: str) -> bool:
    """Whether a group's orders differ in base quantity although both sides trade."""
    mine = [order for order in made.orders if group_of(order.instrument, SPECS) == name]
    return {order.side for order in mine} == {B, S} and bool(
        sum((o.side.sign * o.qty * SPECS[o.instrument].multiplier for o in mine), ZERO)
    )


@settings(max_examples=200, deadline=None)
@given(positions(), st.lists(st.integers(0, 4), min_size=1), st.data())
def test_after_any_partial_fills_the_next_rounds_converge(holdings, shares, data):
    """While orders fill in part or not at all nothing grows; once they fill, the book is flat in a few rounds."""
    rungs: dict[str, int] = {}
    size = abs_sum(holdings)
    for _ in range(3):
        made = plan(holdings, SPECS, Sight(books(), rungs), TERMS)
        check_orders(holdings, made)
        parts = [D(data.draw(st.sampled_from(shares))) / 4 for _ in made.orders]
        for order, part in zip(made.orders, parts, strict=True):
            rungs[order.instrument] = rungs.get(order.instrument, 0) + (not part)
        holdings = fill(holdings, made.orders, parts)
        size, before = abs_sum(holdings), size
        assert size <= before
    for _ in range(400):
        made = plan(holdings, SPECS, Sight(books(), rungs), TERMS)
        if made.is_flat:
            break
        check_orders(holdings, made)
        assert made.orders or made.thin, "with books there is always something to do"
        for name in made.thin:
            rungs[name] = rungs.get(name, 0) + 1
            assert rungs[name] <= 3, "a market order is never too much for a book"
        holdings = fill(holdings, made.orders, [D(1)] * len(made.orders))
    assert made.is_flat
    for one in made.dust:
        spec = SPECS[one.instrument]
        assert abs(one.qty) < spec.min_qty or abs(one.qty) * 10_000 < spec.min_notional + spec.lot_size * 10_000


def abs_sum(holdings: list[Holding]) -> Decimal:
    return sum((abs(one.qty) for one in holdings), ZERO)
