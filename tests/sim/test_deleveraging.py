"""The fund, the traders a bankrupt position is deleveraged against, and cascades: tables, and what is conserved."""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.account import CashFlow, FlowType
from sim.population import Population, participants
from sim.venue import SimVenue, VenueSetupError
from sim.venue_settings import CascadeModel, Impact, Participant, Stake, VenueSettings
from sim.venue_state import Note
from venues.costs.fees import FeeBasis, FeeSchedule, FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import PositionSide, Side
from venues.port import (
    BookSnapshot,
    CancelAll,
    Deleveraged,
    FundingRate,
    Liquidated,
    MarkPrice,
    OrderCanceled,
    OrderFilled,
    Query,
    QueryFailed,
    QueryKind,
    Report,
    SubmitOrder,
)
from venues.rules.errors import BadValueError

D = Decimal
# One flat bracket of 0.5 %: numbers stay checkable by hand.
PERP = Instrument(
    "V",
    "PERP",
    InstrumentKind.PERPETUAL,
    "P",
    "USDT",
    D("0.1"),
    D("0.1"),
    max_leverage=100,
    brackets=(Bracket(D(0), D(10**9), D("0.005"), D(0), 100),),
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
FEES = FeeTable(
    FeeSchedule(D("0.0002"), D("0.0005")), {FUTURE.id: FeeSchedule(D("0.5"), D("1.5"), FeeBasis.PER_CONTRACT)}
)


def holds(
    name: str, qty: str, entry: str, wallet: str, leverage: int = 10, margin: MarginMode = MarginMode.ISOLATED
) -> Participant:
    account = Account(name, "V", {"USDT": D(wallet)}, margin, leverage={PERP.id: leverage})
    return Participant(account, (Stake(PERP.id, D(qty), D(entry)),))


class Heard:
    """A venue, and everything it said to whom."""

    def __init__(self, settings: VenueSettings, usdt: str = "10000", margin: MarginMode = MarginMode.CROSS) -> None:
        self.flows: list[CashFlow] = []
        self.notes: list[Note] = []
        self.others: list[Report] = []
        me = Account("me", "V", {"USDT": D(usdt)}, margin, leverage={PERP.id: 10})
        self.venue = SimVenue(
            "V",
            (PERP, FUTURE),
            [me],
            FEES,
            on_flow=self.flows.append,
            on_note=self.notes.append,
            settings=settings,
            on_counterparty=self.others.append,
        )

    def mark(self, price: str) -> list[Report]:
        return self.venue.on_market(1, MarkPrice(1, PERP.id, D(price)))

    def wallet(self, name: str) -> Decimal:
        return self.venue.state.accounts[name].account.balance("USDT")

    def qty(self, name: str) -> Decimal:
        return self.venue.state.accounts[name].qty(PERP.id, PositionSide.BOTH)

    def gave_up(self) -> list[tuple[str, Decimal, Decimal]]:
        return [(r.account, r.qty, r.price) for r in self.others if isinstance(r, Deleveraged)]


# A long of 10 at 100 with 10x: margin 100, bankrupt at 90. At a mark of 80 taking it over costs 10 x 10 = 100.
BROKE = holds("broke", "10", "100", "100")
# PNL% x leverage at 80. rich: 0.2/0.8 x 80x5 ... see the arithmetic beside each test.
SHORTS = (holds("slow", "-6", "100", "600", 1), holds("fast", "-6", "100", "30", 20))


@pytest.mark.parametrize(
    ("start", "reserve", "gone"),
    [
        # The fund pays 10 a contract: whole lots of 0.1 that it can pay for stay, the rest is deleveraged.
        ("0", "0", [("fast", "6"), ("slow", "4")]),
        ("35", "0", [("fast", "6"), ("slow", "0.5")]),
        ("40", "0", [("fast", "6")]),
        ("99.5", "0", [("fast", "0.1")]),
        ("100", "0", []),
        ("1000", "0.9", []),
        ("1000", "0.95", [("fast", "5")]),
        ("1000", "1", [("fast", "6"), ("slow", "4")]),
    ],
)
def test_what_the_fund_cannot_bear_is_deleveraged_in_rank_order(
    start: str, reserve: str, gone: list[tuple[str, str]]
) -> None:
    # fast: equity 30 + 120, notional 480: leverage 3.2, PNL% 25: 0.8. slow: 600 + 120, leverage 0.667: 0.167.
    heard = Heard(VenueSettings(D(start), D(reserve), (BROKE, *SHORTS)))
    assert heard.mark("80") == []
    assert heard.gave_up() == [(name, D(qty), D(90)) for name, qty in gone]
    taken = D(10) - sum((D(qty) for _, qty in gone), D(0))
    liquidated = next(r for r in heard.others if isinstance(r, Liquidated))
    assert (liquidated.account, liquidated.qty, liquidated.taken_over_qty) == ("broke", D(10), taken)
    assert heard.wallet("broke") == 0
    for name, qty in gone:
        # A short from 100 closed at 90 earns 10 each; no fee.
        before = D(30) if name == "fast" else D(600)
        assert heard.wallet(name) == before + 10 * D(qty)
        assert heard.qty(name) == D(qty) - 6
    held = heard.venue.state.inventory[PERP.id].qty if taken else D(0)
    assert held == taken
    assert heard.venue.state.fund("USDT") == D(start)


def test_a_fund_that_gains_takes_over_even_when_empty() -> None:
    # Liquidated at 90.4 (margin 100 - 96 = 4 <= 4.52), above the bankruptcy price of 90.
    heard = Heard(VenueSettings(D(0), D(0), (BROKE, *SHORTS)))
    heard.mark("90.4")
    assert heard.gave_up() == []
    assert heard.venue.state.inventory[PERP.id].qty == 10


def test_without_anybody_opposite_it_stays_uncovered_and_says_so() -> None:
    heard = Heard(VenueSettings(D(0), D(0), (BROKE, holds("long", "5", "50", "250", 1))))
    heard.mark("80")
    assert heard.gave_up() == []
    assert [(n.kind, n.text.split()[0]) for n in heard.notes] == [("uncovered", "10")]
    assert heard.venue.state.inventory[PERP.id].qty == 10
    heard.venue.settle(2, PERP.id, D(80), final=True)
    assert heard.venue.state.uncovered == {"USDT": D(100)}
    assert heard.venue.state.fund("USDT") == 0


def test_a_partly_found_opposite_side_leaves_the_rest_uncovered() -> None:
    heard = Heard(VenueSettings(D(0), D(0), (BROKE, SHORTS[1])))
    heard.mark("80")
    assert heard.gave_up() == [("fast", D(6), D(90))]
    assert [(n.kind, n.text.split()[0]) for n in heard.notes] == [("uncovered", "4")]


def test_a_bankrupt_opposite_account_is_not_asked() -> None:
    # Cross, short from 10 with a wallet of 400: at 80 it has lost 420 and is bankrupt itself.
    lost = holds("lost", "-6", "10", "400", 1, MarginMode.CROSS)
    heard = Heard(VenueSettings(D(0), D(0), (BROKE, lost, SHORTS[0])))
    heard.mark("80")
    assert ("lost", D(6), D(90)) not in heard.gave_up()


def test_the_client_is_deleveraged_like_anybody() -> None:
    heard = Heard(VenueSettings(D(0), D(0), (BROKE,)))
    venue = heard.venue
    venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(1000, 40)], [(1001, 40)]))
    venue.on_command(0, SubmitOrder(0, "me", PERP.id, "s", Side.SELL, D(4), price=D("100.0")))
    venue.on_command(0, SubmitOrder(0, "me", PERP.id, "rest", Side.BUY, D(1), price=D("70.0")))
    venue.on_market(0, BookSnapshot(0, PERP.id, 2, [], [(1001, 40)]))
    wallet = heard.wallet("me")
    reports = heard.mark("80")
    fills = [r for r in reports if isinstance(r, OrderFilled)]
    assert [(f.side, f.price, f.qty, f.fee, f.liquidity, f.reason) for f in fills] == [
        (Side.BUY, D(90), D(4), D(0), Liquidity.NONE, FillReason.ADL)
    ]
    assert fills[0].client_order_id.startswith("adl_autoclose-")
    assert [r.client_order_id for r in reports if isinstance(r, OrderCanceled)] == ["rest"]
    gone = [r for r in reports if isinstance(r, Deleveraged)]
    assert [(r.account, r.side, r.qty, r.price) for r in gone] == [("me", Side.BUY, D(4), D(90))]
    assert heard.wallet("me") == wallet + 40
    assert {r.account for r in reports if hasattr(r, "account")} == {"me"}


def test_participants_are_nobodys_business() -> None:
    heard = Heard(VenueSettings(participants=(BROKE,)))
    answer = heard.venue.on_command(1, Query(1, "broke", "q", QueryKind.POSITIONS))
    assert isinstance(answer[0], QueryFailed)
    with pytest.raises(VenueSetupError, match="broke is not an account"):
        heard.venue.on_command(1, CancelAll(1, "broke"))


@pytest.mark.parametrize(
    ("participant", "why"),
    [
        (holds("me", "1", "100", "10"), "me is the name of another account"),
        (holds("insurance_fund", "1", "100", "10"), "insurance_fund is the name"),
        (Participant(Account("x", "V"), (Stake("V:NONE", D(1), D(1)),)), "V:NONE, no contract listed here"),
        (
            Participant(Account("x", "V"), (Stake(PERP.id, D(1), D(1), PositionSide.LONG),)),
            "cannot hold a LONG position",
        ),
        (
            Participant(Account("x", "V", position_mode=PositionMode.HEDGE), (Stake(PERP.id, D(1), D(1)),)),
            "cannot hold a BOTH position",
        ),
    ],
)
def test_a_participant_that_cannot_be_is_refused(participant: Participant, why: str) -> None:
    with pytest.raises(VenueSetupError, match=why):
        Heard(VenueSettings(participants=(participant,)))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Stake("i", D(0), D(1)), "qty"),
        (lambda: Stake("i", D("NaN"), D(1)), "qty"),
        (lambda: Stake("i", D(1), D(0)), "entry_price"),
        (lambda: Stake("i", D(-1), D(1), PositionSide.LONG), "position_side"),
        (lambda: VenueSettings(insurance_start=D(-1)), "insurance_start"),
        (lambda: VenueSettings(insurance_reserve=D("1.1")), "insurance_reserve"),
        (lambda: CascadeModel(decay=D("Infinity")), "decay"),
        (lambda: CascadeModel(waves_max=0), "waves_max"),
        (lambda: CascadeModel(Impact.KYLE), "kyle_lambda"),
        (lambda: CascadeModel(Impact.SWEEP, D(1)), "kyle_lambda"),
        (lambda: Population(PERP, 0, D(1), D(1), 10), "pairs"),
        (lambda: Population(PERP, 1, D(1), D("0.01"), 10), "qty_max"),
        (lambda: Population(PERP, 1, D(1), D(1), 101), "leverage_max"),
        (lambda: Population(PERP, 1, D(1), D(1), 10, D(1)), "entry_spread"),
        (lambda: Population(PERP, 1, D(1), D(1), 10, isolated=D(2)), "isolated"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(make: object, field: str) -> None:
    with pytest.raises(BadValueError) as refused:
        make()  # type: ignore[operator]
    assert refused.value.field == field


# Cascades


def longs(*entries: str) -> tuple[Participant, ...]:
    """Longs of 10 at 10x: liquidated where entry - margin + 0.5 % of the mark says, bankrupt at 0.9 entry."""
    return tuple(holds(f"l{i}", "10", entry, str(D(entry))) for i, entry in enumerate(entries))


def marks_of(heard: Heard) -> list[str]:
    return [n.text for n in heard.notes if n.kind == "cascade"]


def test_kyle_pushes_the_mark_by_lambda_and_reaches_the_next() -> None:
    # l0 is liquidated at 90.4 (<= 90 / 0.995 = 90.45), sells 10: mark 90.4 - 0.02 x 10 = 90.2.
    # l1 (entry 99.75: 89.775 / 0.995 = 90.226) goes then: 90.2 - 0.7 x 0.2 = 90.06; l2 (entry 99.5) at 90.0 does not.
    model = CascadeModel(Impact.KYLE, D("0.02"))
    heard = Heard(VenueSettings(participants=longs("100", "99.75", "99.5"), cascade=model))
    heard.venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(904, 1000)], [(905, 1)]))
    reports = heard.mark("90.4")
    assert [r.mark for r in reports if isinstance(r, MarkPrice)] == [D("90.2"), D("90.06")]
    assert marks_of(heard) == ["wave 1: mark 90.2", "wave 2: mark 90.06"]
    assert [heard.qty(f"l{i}") for i in range(3)] == [0, 0, 10]
    assert heard.venue.state.markets[PERP.id].mark == D("90.06")


def test_a_sweep_moves_the_mark_to_where_the_book_was_left() -> None:
    # 4 lots of 1 at 90.4 and 60 at 90.2: l0 ends at 90.2, which is l1's turn; l1 finds the rest at 90.2: no move.
    heard = Heard(VenueSettings(participants=longs("100", "99.75", "99.5"), cascade=CascadeModel()))
    heard.venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(904, 40), (902, 600)], [(905, 1)]))
    heard.mark("90.4")
    assert marks_of(heard) == ["wave 1: mark 90.2"]
    assert [heard.qty(f"l{i}") for i in range(3)] == [0, 0, 10]


def test_without_a_model_the_mark_stays() -> None:
    heard = Heard(VenueSettings(participants=longs("100", "99.75")))
    heard.venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(904, 40), (902, 600)], [(905, 1)]))
    heard.mark("90.4")
    assert [heard.qty(f"l{i}") for i in range(2)] == [0, 10]
    assert heard.venue.state.markets[PERP.id].mark == D("90.4")


def test_a_cascade_ends_with_its_fifth_wave() -> None:
    # l_k is liquidated at 0.9 (100 - 0.05 k) / 0.995: 90.452 90.407 | 90.362 90.317 | 90.271 90.226 | 90.181 90.136 |
    # 90.090 90.045 90.000 | 89.955 89.910 89.864 | 89.819. Each sells 10 and moves the mark by 0.05.
    crowd = longs(*(str(D(100) - D("0.05") * k) for k in range(20)))
    heard = Heard(VenueSettings(participants=crowd, cascade=CascadeModel(Impact.KYLE, D("0.005"), decay=D(1))))
    heard.venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(ticks, 100_000) for ticks in range(880, 905)], [(905, 1)]))
    heard.mark("90.4")
    assert [D(text.split()[-1]) for text in marks_of(heard)] == [D("90.3"), D("90.2"), D("90.1"), D(90), D("89.85")]
    assert [heard.qty(f"l{k}") for k in range(12, 16)] == [0, 0, 10, 10]


def test_a_buyback_pushes_up() -> None:
    shorts = (holds("s0", "-10", "100", "100"),)
    heard = Heard(VenueSettings(participants=shorts, cascade=CascadeModel(Impact.KYLE, D("0.02"))))
    heard.venue.on_market(0, BookSnapshot(0, PERP.id, 1, [(1090, 1)], [(1096, 1000)]))
    # 110 / 1.005 = 109.45: liquidated at 109.5, bought back up to 110.
    heard.mark("109.5")
    assert marks_of(heard) == ["wave 1: mark 109.7"]


# Populations


def test_a_crowd_is_the_same_for_the_same_seed_and_balanced() -> None:
    model = Population(PERP, 20, D(100), D(50), 50)
    crowd = participants(model, 3, "c")
    assert crowd == participants(model, 3, "c")
    assert crowd != participants(model, 4, "c")
    stakes = [stake for each in crowd for stake in each.stakes]
    assert sum((stake.qty for stake in stakes), D(0)) == 0
    assert len({each.account.id for each in crowd}) == 40
    assert all(D(98) <= stake.entry_price <= D(102) and abs(stake.qty) <= 50 for stake in stakes)


# Conservation


def everybody(venue: SimVenue) -> Decimal:
    """Return all money in the world: wallets, fund, holes nobody filled, and what positions have cost."""
    state = venue.state
    holdings = [held for account in state.accounts.values() for held in account.holdings.values()]
    wallets = sum((account.account.balance("USDT") for account in state.accounts.values()), D(0))
    fund = state.fund("USDT") - state.uncovered.get("USDT", D(0))
    return wallets + fund - sum((held.position.cost for held in (*holdings, *state.inventory.values())), D(0))


def net(venue: SimVenue, instrument: str) -> Decimal:
    held = [h.qty for account in venue.state.accounts.values() for h in account.open_holdings(instrument)]
    inventory = venue.state.inventory.get(instrument)
    return sum(held, inventory.qty if inventory is not None else D(0))


def traded_outside(reports: Sequence[Report], specs: dict[str, Instrument]) -> tuple[dict[str, Decimal], Decimal]:
    """Return what the accounts bought from the displayed book: quantity by instrument, and its value."""
    qty: dict[str, Decimal] = defaultdict(Decimal)
    value = D(0)
    for r in reports:
        if isinstance(r, OrderFilled) and r.liquidity is not Liquidity.NONE:
            signed = r.qty * r.side.sign
            qty[r.instrument] += signed
            value += signed * r.price * specs[r.instrument].multiplier
    return qty, value


@st.composite
def crowds(draw: st.DrawFn, spec: Instrument) -> list[Participant]:
    """Pairs of a long and a short of the same size, at any leverage, entry, wallet and mode."""
    found = []
    for pair in range(draw(st.integers(1, 6))):
        lots = draw(st.integers(1, 60))
        for sign in (1, -1):
            mode = draw(st.sampled_from(list(PositionMode)))
            leverage = draw(st.integers(1, 50))
            entry = spec.price(draw(st.integers(900, 1100)))
            wallet = spec.notional(spec.qty(lots), entry) / leverage * draw(st.integers(100, 300)) / 100
            side = PositionSide.BOTH
            if mode is PositionMode.HEDGE:
                side = PositionSide.LONG if sign > 0 else PositionSide.SHORT
            margin = draw(st.sampled_from([MarginMode.CROSS, MarginMode.ISOLATED]))
            balances = {"USDT": wallet.quantize(D("0.01"))}
            account = Account(f"{spec.symbol}{pair}{sign}", "V", balances, margin, mode, {spec.id: leverage})
            found.append(Participant(account, (Stake(spec.id, sign * spec.qty(lots), entry, side),)))
    return found


FORCED = {FillReason.LIQUIDATION, FillReason.ADL, FillReason.SETTLEMENT}

fund_starts = st.sampled_from([D(0), D(50), D(5_000), D(1_000_000)])
cascades = st.sampled_from(
    [None, CascadeModel(), CascadeModel(Impact.KYLE, D("0.003")), CascadeModel(Impact.KYLE, D("0.05"), D(1), 3)]
)
moves = st.lists(
    st.one_of(
        st.tuples(st.just("mark"), st.integers(700, 1300)),
        st.tuples(st.just("funding"), st.integers(-60, 60)),
        st.tuples(st.just("book"), st.integers(800, 1200)),
        st.tuples(st.just("market order"), st.integers(-40, 40)),
        st.tuples(st.just("bid"), st.integers(700, 1300)),
    ),
    min_size=1,
    max_size=12,
)


@given(crowds(PERP), fund_starts, st.sampled_from([D(0), D("0.5")]), cascades, moves)
def test_a_cascade_ends_balanced_to_the_last_digit(
    crowd: list[Participant],
    start: Decimal,
    reserve: Decimal,
    cascade: CascadeModel | None,
    script: list[tuple[str, int]],
) -> None:
    heard = Heard(VenueSettings(start, reserve, tuple(crowd), cascade))
    venue, specs = heard.venue, {PERP.id: PERP}
    opened = everybody(venue)
    for now, (kind, number) in enumerate(script, start=1):
        told: list[Report] = []
        if kind == "mark":
            told = venue.on_market(now, MarkPrice(now, PERP.id, PERP.price(number)))
        elif kind == "market order":
            side = Side.BUY if number > 0 else Side.SELL
            told = venue.on_command(now, SubmitOrder(now, "me", PERP.id, f"o{now}", side, PERP.qty(abs(number) + 1)))
        elif kind == "bid":
            order = SubmitOrder(now, "me", PERP.id, f"o{now}", Side.BUY, D(3), price=PERP.price(number))
            told = venue.on_command(now, order)
        elif kind == "funding":
            # What is held against the book is paid by, or to, the outside.
            opened -= net(venue, PERP.id) * PERP.price(1000) * number / 10_000
            told = venue.on_market(now, FundingRate(now, PERP.id, D(number) / 10_000, PERP.price(1000)))
        else:
            levels = [(number - 1 - i, 20) for i in range(3)], [(number + i, 20) for i in range(3)]
            told = venue.on_market(now, BookSnapshot(now, PERP.id, now, *levels))
        # The client's fills count like the participants'; its trading fees leave for the venue.
        heard.others += told
        opened -= sum((r.fee for r in told if isinstance(r, OrderFilled) and r.reason not in FORCED), D(0))
        bought, value = traded_outside(heard.others, specs)
        assert net(venue, PERP.id) == bought[PERP.id]
        assert everybody(venue) + value == opened
    check_flows(heard, start)
    venue.settle(99, PERP.id, PERP.price(1000), final=True)
    assert venue.state.markets[PERP.id].is_settled
    assert all(not account.open_holdings() for account in venue.state.accounts.values())
    assert all(not held.qty and not held.position.cost for held in venue.state.inventory.values())
    # What was bought from the book is paid out at the settlement price; with all positions gone, money is all there is.
    bought, value = traded_outside(heard.others, specs)
    assert everybody(venue) + value - bought[PERP.id] * PERP.price(1000) == opened


def check_flows(heard: Heard, start: Decimal) -> None:
    """Cash + realised + fees + funding + insurance: what is paid between participants and the fund sums to zero."""
    by_type: dict[FlowType, Decimal] = defaultdict(Decimal)
    for flow in heard.flows:
        by_type[flow.type] += flow.amount
    for kind in (FlowType.INSURANCE, FlowType.LIQUIDATION_FEE, FlowType.SETTLEMENT):
        assert by_type[kind] == 0
    state = heard.venue.state
    at_fund = sum((flow.amount for flow in heard.flows if flow.account == "insurance_fund"), D(0))
    assert at_fund == state.fund("USDT") - start - state.uncovered.get("USDT", D(0))
    if not any(isinstance(r, OrderFilled) and r.liquidity is not Liquidity.NONE for r in heard.others):
        assert by_type[FlowType.FUNDING] == 0


@given(st.integers(0, 10**6), fund_starts, cascades, st.sampled_from([60, 80, 95, 105, 140]))
def test_a_whole_crowd_falls_and_nothing_is_lost(
    seed: int, start: Decimal, cascade: CascadeModel | None, percent: int
) -> None:
    crowd = participants(Population(PERP, 20, D(100), D(50), 100), seed, "c")
    heard = Heard(VenueSettings(start, D(0), crowd, cascade))
    opened = everybody(heard.venue)
    heard.venue.on_market(1, BookSnapshot(1, PERP.id, 1, [(950, 300), (900, 300)], [(1050, 300), (1100, 300)]))
    for price in (D(100), D(100 + percent) / 2, D(percent)):
        heard.venue.on_market(1, MarkPrice(1, PERP.id, price))
        bought, value = traded_outside(heard.others, {PERP.id: PERP})
        assert net(heard.venue, PERP.id) == bought[PERP.id]
        assert everybody(heard.venue) + value == opened
    check_flows(heard, start)


@given(crowds(FUTURE), st.lists(st.integers(700, 1300), min_size=1, max_size=8))
def test_variation_margin_moves_between_holders_only(crowd: list[Participant], prices: list[int]) -> None:
    flows: list[CashFlow] = []
    me = Account("me", "V", {"USDT": D(0)})
    venue = SimVenue(
        "V", (FUTURE,), [me], FEES, on_flow=flows.append, settings=VenueSettings(D(500), participants=tuple(crowd))
    )
    opened = everybody(venue)
    wallets = sum((each.account.balance("USDT") for each in crowd), D(500))
    for now, ticks in enumerate(prices, start=1):
        venue.settle(now, FUTURE.id, FUTURE.price(ticks))
        assert net(venue, FUTURE.id) == 0
        assert everybody(venue) == opened
    venue.settle(99, FUTURE.id, FUTURE.price(1000), final=True)
    assert all(not account.open_holdings() for account in venue.state.accounts.values())
    assert everybody(venue) == opened
    assert sum((flow.amount for flow in flows), D(0)) == opened - wallets
