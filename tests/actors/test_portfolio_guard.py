"""The actor of the risk guards: what it knows when, what it refuses, what it tells once, what it makes smaller."""

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.control import GuardStatus
from actors.guards.config import GuardsConfig
from actors.guards.findings import Guard, GuardReason, Severity
from actors.guards.funding import FundingGuardConfig
from actors.guards.leverage import LeverageConfig
from actors.guards.messages import GuardFinding
from actors.guards.portfolio import PortfolioConfig
from actors.guards.position_limits import PositionLimitsConfig
from actors.guards.size import SizeConfig
from actors.messages import (
    BasketIntent,
    BasketLeg,
    BasketState,
    BasketUpdate,
    BookView,
    Checker,
    DepthReply,
    DepthRequest,
    FeedStatus,
    FillEvent,
    KillLevel,
    KillState,
    KillTrigger,
    MarginLevel,
    MarginState,
    OrderUpdate,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    ResumeCommand,
    StopCommand,
    WalletUpdate,
)
from actors.portfolio_guard import PortfolioGuard
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import (
    AccountReport,
    AdlRank,
    FundingSettled,
    MarkPrice,
    Message,
    PositionReport,
    QueryKind,
    QueryResult,
    SettlementPrice,
)

D = Decimal
S = 1_000_000_000
HOUR = 3_600 * S
# 2026-01-15 12:00 UTC, a Thursday; 06:00 in Chicago.
T0 = 1_768_478_400 * S
BOTH = PositionSide.BOTH
BRACKETS = (
    Bracket(ZERO, D(50_000), D("0.004"), ZERO, 125),
    Bracket(D(50_000), D(600_000), D("0.005"), D(50), 100),
    Bracket(D(600_000), D(3_000_000), D("0.0065"), D(950), 75),
)
PERP = Instrument(
    "fut", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), max_leverage=125, brackets=BRACKETS
)
SPOT = Instrument("spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
ETH = Instrument("fut", "ETHUSDT", InstrumentKind.PERPETUAL, "ETH", "USDT", D("0.01"), D("0.01"), brackets=BRACKETS)
ES, ESM = (
    Instrument(
        "cme", symbol, InstrumentKind.FUTURE, "ES", "USD", D("0.25"), D(1),
        multiplier=D(50), initial_margin=D(22_000), maintenance_margin=D(20_000),
    )
    for symbol in ("ESH6", "ESM6")
)  # fmt: skip
DAX = Instrument("cme", "FDAXH6", InstrumentKind.FUTURE, "DAX", "USD", D("0.5"), D(1), maintenance_margin=D(1))
SPECS = {spec.id: spec for spec in (PERP, SPOT, ETH, ES, ESM, DAX)}
ACCOUNTS = {"f": "fut", "s": "spot", "c": "cme"}
ALL = tuple(Guard)


class Desk:
    """The guards alone; what they say is collected."""

    def __init__(self, on: Sequence[Guard] | None = None, isolated: Sequence[str] = (), **more: Any) -> None:
        config = GuardsConfig(**more) if on is None else GuardsConfig(on=tuple(on), **more)
        self.guard = PortfolioGuard(SPECS, ACCOUNTS, config, isolated, name="portfolio_guard")
        self.done = Collected()
        self.guard.out = detached_outbox("portfolio_guard", into=self.done)
        self.now = T0
        self.baskets = 0

    def take(self, *messages: Message) -> list[Message]:
        before = len(self.done.emitted)
        for message in messages:
            self.guard.handle(self.now, message)
        return self.done.emitted[before:]

    def look(self, after: int = S) -> list[Message]:
        """Let time pass and the guards look at what is held; marks stay as they are."""
        before = len(self.done.emitted)
        self.now += after
        self.guard.on_timer(self.now, "check")
        return self.done.emitted[before:]

    def wallet(self, account: str, amount: str, asset: str = "USDT") -> "Desk":
        self.take(WalletUpdate(self.now, account, asset, D(amount)))
        return self

    def mark(self, spec: Instrument, price: str, rate: str | None = "0.0001", next_ns: int | None = None) -> "Desk":
        stamp = next_ns or T0 + 4 * HOUR
        self.take(MarkPrice(self.now, spec.id, D(price), None, None if rate is None else D(rate), stamp))
        return self

    def hold(self, spec: Instrument, qty: str, entry: str | None = None, account: str | None = None) -> "Desk":
        owner = account or {"fut": "f", "spot": "s", "cme": "c"}[spec.venue]
        price = None if entry is None else D(entry)
        self.take(PositionUpdate(self.now, owner, spec.id, BOTH, D(qty), price, ZERO))
        return self

    def asked(self, *legs: BasketLeg, closes: str | None = None) -> PreflightReply:
        self.baskets += 1
        request = PreflightRequest(self.now, f"b{self.baskets}", "carry", legs, D(10), closes)
        [reply] = self.take(request)
        assert isinstance(reply, PreflightReply)
        assert (reply.basket_id, reply.checker) == (f"b{self.baskets}", Checker.GUARDS)
        assert reply.is_ok == (not reply.reasons)
        return reply

    def reasons(self, *legs: BasketLeg) -> set[str]:
        """Return the typed reasons of a refusal."""
        found = set()
        for text in self.asked(*legs).reasons:
            [reason] = set(text.split(": ", 2)[:2]) & set(GuardReason)
            found.add(reason)
        return found

    def standing(self) -> dict[tuple[str, str, str], Severity]:
        return {(one.guard, one.subject, one.reason): one.severity for one in self.guard.state.standing.values()}


def leg(spec: Instrument, side: Side, qty: str, *, reduce_only: bool = False) -> BasketLeg:
    account = {"fut": "f", "spot": "s", "cme": "c"}[spec.venue]
    return BasketLeg(account, spec.id, side, D(qty), reduce_only)


def carry(qty: str = "1") -> tuple[BasketLeg, BasketLeg]:
    return leg(SPOT, Side.BUY, qty), leg(PERP, Side.SELL, qty)


def crypto(**more: Any) -> Desk:
    """A desk that knows all it needs for a carry in BTC."""
    desk = Desk(**more).wallet("f", "100000").wallet("s", "1000000").mark(PERP, "50000")
    desk.take(depth(SPOT, "49999", "50001"))
    return desk


def depth(spec: Instrument, bid: str, ask: str, *, is_live: bool = True) -> DepthReply:
    bids, asks = ((spec.ticks(D(bid)), 1),), ((spec.ticks(D(ask)), 1),)
    return DepthReply(0, f"portfolio_guard/{spec.id}", spec.id, is_live, bids, asks)


def findings(messages: Sequence[Message]) -> list[GuardFinding]:
    return [one for one in messages if isinstance(one, GuardFinding)]


def opened(desk: Desk, qty: str = "1") -> str:
    """Open a carry: ask, fill both legs, tell the basket balanced. Return its id."""
    assert desk.asked(*carry(qty)).is_ok
    name = f"b{desk.baskets}"
    desk.hold(SPOT, qty, "50000").hold(PERP, f"-{qty}", "50000")
    desk.take(
        BasketUpdate(desk.now, name, "carry", BasketState.BALANCED, (D(qty), D(f"-{qty}"))),
        ReservationReleased(desk.now, name),
    )
    return name


# Pre-flight


def test_a_basket_that_nothing_is_wrong_with_is_let_through() -> None:
    assert crypto().asked(*carry()).reasons == ()


@pytest.mark.parametrize(
    ("legs", "reasons"),
    [
        ((), {"no_reference"}),
        ((BasketLeg("f", "fut:NONE", Side.BUY, D(1)),), {"no_reference"}),
        ((BasketLeg("s", PERP.id, Side.BUY, D(1)),), {"no_reference"}),
        *(((leg(PERP, Side.BUY, bad),), {"no_reference"}) for bad in ("NaN", "sNaN", "Infinity", "0", "-1", "1E+30")),
        # 1,000,000 at 50,000 are 20 BTC, on 100,000 USDT 10x; the cash leg is as large.
        (carry("20"), set()),
        (carry("20.001"), {"symbol_size"}),
    ],
)
def test_what_is_asked_is_checked(legs: tuple[BasketLeg, ...], reasons: set[str]) -> None:
    assert crypto(on=[Guard.SIZE, Guard.LEVERAGE, Guard.PORTFOLIO]).reasons(*legs) == reasons


def test_a_market_without_prices_blocks() -> None:
    desk = Desk().wallet("f", "100000")
    assert desk.reasons(*carry()) == {"no_reference"}


def test_an_old_price_is_none() -> None:
    desk = crypto()
    desk.now += 15 * S
    assert desk.asked(*carry()).is_ok
    desk.now += 1
    assert desk.reasons(*carry()) == {"no_reference"}
    desk.mark(PERP, "50000")
    assert desk.reasons(leg(SPOT, Side.BUY, "1")) == {"no_reference"}


def test_a_wallet_that_nobody_told_blocks_what_needs_margin() -> None:
    desk = Desk().mark(PERP, "50000").mark(SPOT, "50000")
    assert desk.reasons(leg(PERP, Side.SELL, "1")) == {"no_reference"}
    assert desk.asked(leg(SPOT, Side.BUY, "1")).is_ok


def test_the_venue_s_word_on_a_wallet_counts() -> None:
    desk = crypto(on=[Guard.LEVERAGE])
    desk.take(AccountReport(T0, "f", {"USDT": D(1_000)}))
    assert desk.reasons(*carry("1.001")) == {"account_leverage", "symbol_leverage"}
    desk.take(QueryResult(T0 + 1, "f", "q", QueryKind.ACCOUNT, balances={"USDT": D(100_000)}))
    assert desk.asked(*carry("1.001")).is_ok
    # An older report that comes late changes nothing.
    desk.take(AccountReport(T0, "f", {"USDT": D(1)}))
    assert desk.asked(*carry("1.001")).is_ok


@pytest.mark.parametrize(
    ("equity", "qty", "reasons"),
    [
        # 20x of the account: 50,000 on 2,500.
        ("2500", "1", set()),
        ("2499", "1", {"account_leverage"}),
        # 80 % of the symbol's allowed 50x is 40x: 1,250 for 50,000.
        ("1249", "1", {"account_leverage", "leverage_use"}),
        ("999", "1", {"account_leverage", "leverage_use", "symbol_leverage"}),
        ("0", "1", {"account_leverage", "no_reference", "symbol_leverage"}),
    ],
)
def test_leverage_as_it_would_be(equity: str, qty: str, reasons: set[str]) -> None:
    assert crypto().wallet("f", equity).reasons(*carry(qty)) == reasons


def test_positions_are_counted_as_they_would_be() -> None:
    desk = crypto(on=[Guard.SIZE], size=SizeConfig(open_positions_max=2)).mark(ETH, "2500")
    assert desk.reasons(*carry(), leg(ETH, Side.BUY, "1")) == {"open_positions"}
    opened(desk)
    assert desk.asked(*carry("2")).is_ok
    assert desk.reasons(leg(ETH, Side.BUY, "1")) == {"open_positions"}


def test_baskets_under_way_count_until_they_end() -> None:
    desk = crypto(on=[Guard.SIZE])
    assert desk.asked(*carry("12")).is_ok
    assert desk.reasons(*carry("12")) == {"symbol_size"}
    # Half of it fills: position and what is left are counted once.
    desk.hold(SPOT, "6", "50000").hold(PERP, "-6", "50000")
    desk.take(BasketUpdate(desk.now, "b1", "carry", BasketState.WORKING, (D(6), D(-6))))
    assert desk.asked(*carry("8")).is_ok
    desk.take(ReservationReleased(desk.now, f"b{desk.baskets}"))
    assert desk.reasons(*carry("8.001")) == {"symbol_size"}
    desk.take(ReservationReleased(desk.now, "b1"))
    assert desk.asked(*carry("14")).is_ok


def test_a_denied_basket_leaves_nothing() -> None:
    desk = crypto()
    assert desk.asked(*carry()).is_ok
    denied = BasketUpdate(desk.now, "b1", "carry", BasketState.DENIED, (ZERO, ZERO))
    desk.take(ReservationReleased(desk.now, "b1"), denied)
    assert desk.guard.state.promises == {}
    assert desk.guard.state.baskets == {}


def test_what_closes_or_reduces_is_never_refused() -> None:
    desk = Desk(on=ALL).hold(PERP, "-5", "50000").hold(SPOT, "5", "50000")
    assert desk.asked(*carry("5"), closes="b0").is_ok
    assert desk.asked(leg(PERP, Side.BUY, "5")).is_ok
    assert desk.asked(leg(PERP, Side.BUY, "50", reduce_only=True)).is_ok
    assert desk.asked(leg(SPOT, Side.SELL, "5", reduce_only=True)).is_ok
    # Through zero and larger on the other side is an opening.
    assert not desk.asked(leg(PERP, Side.BUY, "11")).is_ok
    # Spot venues know no reduce-only.
    assert not desk.asked(leg(SPOT, Side.SELL, "11", reduce_only=True)).is_ok


def test_hedge_mode_opens_by_its_side() -> None:
    desk = Desk()
    assert desk.asked(BasketLeg("f", PERP.id, Side.SELL, D(1), position_side=PositionSide.LONG)).is_ok
    assert not desk.asked(BasketLeg("f", PERP.id, Side.SELL, D(1), position_side=PositionSide.SHORT)).is_ok


def test_concentration_blocks_more_of_the_same_and_lets_others_in() -> None:
    desk = crypto(on=[Guard.CONCENTRATION], account_limit=D(1_000_000)).mark(ETH, "2500")
    opened(desk, "1")
    # 300,000 of gross are above the floor of 100,000, and all of it is BTC.
    assert desk.reasons(*carry("2")) == {"concentrated"}
    assert desk.asked(leg(ETH, Side.BUY, "40")).is_ok


def test_a_basket_that_evens_out_a_net_delta_is_let_through() -> None:
    desk = crypto(on=[Guard.PORTFOLIO], portfolio=PortfolioConfig(net_max=D(100_000)))
    desk.hold(PERP, "-3", "50000")
    assert desk.reasons(leg(PERP, Side.SELL, "0.001")) == {"net_delta"}
    assert desk.asked(leg(SPOT, Side.BUY, "1")).is_ok
    assert desk.asked(*carry()).is_ok


def test_a_position_that_nobody_understands_blocks() -> None:
    for desk in (crypto().hold(PERP, "NaN"), crypto().hold(PERP, "sNaN"), crypto().hold(PERP, "1E+30")):
        assert desk.reasons(*carry()) == {"no_reference"}
    desk = crypto()
    desk.take(PositionUpdate(T0, "f", "fut:NONE", BOTH, D(1), D(1), ZERO))
    assert desk.reasons(*carry()) == {"no_reference"}


def test_a_position_that_only_the_venue_knows_of_blocks_until_it_is_gone_or_booked() -> None:
    desk = crypto()
    there = QueryResult(
        T0, "f", "q", QueryKind.POSITIONS, positions=(PositionReport(T0, "f", PERP.id, BOTH, D(-2), D(50_000)),)
    )
    nothing = QueryResult(T0, "f", "q", QueryKind.POSITIONS)
    desk.take(there)
    assert desk.reasons(*carry()) == {"no_reference"}
    desk.take(nothing)
    assert desk.asked(*carry()).is_ok
    desk.take(there)
    desk.hold(PERP, "-2", "50000")
    assert desk.asked(*carry()).is_ok
    # What our book has stays, whatever an answer leaves out: that is for the synchronizer.
    desk.take(nothing)
    assert [one.qty for one in desk.guard.state.held.values()] == [-2]


def test_funding_is_asked_for_the_side_that_would_pay() -> None:
    desk = crypto(on=[Guard.FUNDING]).mark(PERP, "50000", "0.0051")
    assert desk.asked(leg(PERP, Side.SELL, "1")).is_ok
    assert desk.reasons(leg(PERP, Side.BUY, "1")) == {"funding_entry", "funding_excessive"}
    desk.now += 16 * S
    assert desk.reasons(leg(PERP, Side.SELL, "1")) == {"no_reference"}


def test_a_perpetual_whose_rate_was_never_told_is_blocked() -> None:
    desk = crypto(on=[Guard.FUNDING])
    assert desk.reasons(leg(ETH, Side.BUY, "1")) == {"no_reference"}
    desk.mark(ETH, "2500", None)
    assert desk.reasons(leg(ETH, Side.BUY, "1")) == {"no_reference"}
    desk.mark(ETH, "2500", "NaN")
    assert desk.reasons(leg(ETH, Side.BUY, "1")) == {"no_reference"}
    assert desk.mark(ETH, "2500", "0.0001").asked(leg(ETH, Side.BUY, "1")).is_ok


def test_the_interval_between_stamps_is_learned() -> None:
    desk = crypto(on=[Guard.FUNDING])
    # 5 bps a stamp: 15 a day at eight hours, 120 at one.
    desk.mark(PERP, "50000", "0.0005", T0 + HOUR)
    assert desk.asked(leg(PERP, Side.BUY, "1")).is_ok
    desk.mark(PERP, "50000", "0.0005", T0 + 2 * HOUR)
    assert desk.reasons(leg(PERP, Side.BUY, "1")) == {"funding_excessive"}


def test_stamps_on_both_sides_of_a_silence_tell_no_interval() -> None:
    desk = crypto(on=[Guard.FUNDING]).mark(PERP, "50000", "0.0011", T0 + HOUR)
    desk.now += 24 * HOUR
    # As a rate of 24 hours it would be 11 bps a day, of the eight that are assumed 33.
    desk.mark(PERP, "50000", "0.0011", T0 + 25 * HOUR)
    assert desk.reasons(leg(PERP, Side.BUY, "1")) == {"funding_excessive"}


def test_what_a_day_cost_is_summed_from_what_was_paid() -> None:
    desk = crypto(on=[Guard.FUNDING])
    for number in range(4):
        # 2 BTC long at 50,000: 500 are 50 bps.
        desk.now = T0 + number * HOUR
        desk.take(FundingSettled(desk.now, "f", PERP.id, D("0.005"), D(50_000), D(2), D(-500), "USDT"))
    desk.mark(PERP, "50000")
    assert desk.reasons(leg(PERP, Side.BUY, "1")) == {"funding_cumulated"}
    desk.now = T0 + 24 * HOUR
    desk.mark(PERP, "50000")
    assert desk.asked(leg(PERP, Side.BUY, "1")).is_ok


# Futures


def cme(on: Sequence[Guard] = (Guard.SPAN,), equity: str = "200000", **more: Any) -> Desk:
    return Desk(on, **more).wallet("c", equity, "USD").mark(ES, "5000", None).mark(ESM, "5050", None)


def test_an_entry_leaves_three_times_the_span_requirement() -> None:
    # 20,000 a contract, 200,000 of equity: three pass, four do not.
    assert cme().asked(leg(ES, Side.BUY, "3")).is_ok
    assert cme().reasons(leg(ES, Side.BUY, "4")) == {"span_safe_size"}
    # A calendar costs (1 - 70 %) of both legs: 12,000 for one of each.
    assert cme().asked(leg(ES, Side.BUY, "5"), leg(ESM, Side.SELL, "5")).is_ok
    assert cme().reasons(leg(ES, Side.BUY, "6"), leg(ESM, Side.SELL, "6")) == {"span_safe_size"}


def test_a_contract_of_no_table_is_blocked_by_the_guards_of_futures() -> None:
    desk = cme((Guard.SPAN, Guard.POSITION_LIMITS, Guard.ROLLOVER)).mark(DAX, "20000", None)
    assert desk.reasons(leg(DAX, Side.BUY, "1")) == {"no_reference"}


def test_position_limits_count_what_is_held_and_coming() -> None:
    desk = cme((Guard.POSITION_LIMITS,), position_limits=PositionLimitsConfig(contracts={"ES": 5}))
    assert desk.hold(ES, "3", "5000").asked(leg(ESM, Side.BUY, "2")).is_ok
    assert desk.reasons(leg(ES, Side.BUY, "1")) == {"position_limit"}


def test_near_a_circuit_breaker_half_of_the_size_is_left() -> None:
    desk = cme((Guard.CIRCUIT, Guard.SIZE))
    # No settlement is known yet.
    assert "no_reference" in desk.reasons(leg(ES, Side.BUY, "1"))
    desk.take(SettlementPrice(T0, ES.id, D(5_000)))
    assert desk.asked(leg(ES, Side.BUY, "4")).is_ok
    desk.take(ReservationReleased(T0, f"b{desk.baskets}"))
    # 6 % below (and overnight: rises count as well) three quarters are left: 750,000 at 235,000 a contract.
    for price in ("4700", "5300"):
        desk.mark(ES, price, None)
        assert desk.asked(leg(ES, Side.BUY, "2")).is_ok
        desk.take(ReservationReleased(T0, f"b{desk.baskets}"))
        assert desk.reasons(leg(ES, Side.BUY, "4")) == {"symbol_size"}
    desk.mark(ES, "3999", None)
    assert desk.reasons(leg(ES, Side.BUY, "1")) == {"circuit_beyond", "symbol_size"}


def test_a_contract_near_its_end_lets_nothing_in() -> None:
    # ESH6 trades until Friday 2026-03-20: from the 17th on nothing new.
    for days, is_open in ((56, True), (60, True), (61, False), (70, False)):
        desk = Desk((Guard.ROLLOVER,))
        desk.now = T0 + days * 24 * HOUR
        desk.mark(ES, "5000", None)
        assert desk.asked(leg(ES, Side.BUY, "1")).is_ok is is_open


# What is told


def test_a_finding_is_told_once_and_once_more_when_it_is_over() -> None:
    desk = crypto(on=[Guard.ADL]).hold(PERP, "-1", "50000")
    desk.take(AdlRank(T0, "f", PERP.id, 4))
    [one] = findings(desk.look())
    assert (one.guard, one.account, one.subject, one.severity, one.reason, one.keep) == (
        Guard.ADL, "f", PERP.id, Severity.WARN, GuardReason.ADL_RANK, D("0.5"),
    )  # fmt: skip
    desk.take(AdlRank(T0, "f", PERP.id, 5))
    assert findings(desk.look()) == []
    desk.take(AdlRank(T0, "f", PERP.id, 2))
    [over] = findings(desk.look())
    assert (over.guard, over.subject, over.severity) == (Guard.ADL, PERP.id, Severity.CLEAR)
    assert desk.guard.state.standing == {}
    assert desk.guard.state.counts == {f"f|{PERP.id}|adl|WARN": 1}


def test_a_position_gone_takes_its_rank_along() -> None:
    desk = crypto(on=[Guard.ADL]).hold(PERP, "-1", "50000")
    desk.take(AdlRank(T0, "f", PERP.id, 5))
    assert findings(desk.hold(PERP, "0").hold(PERP, "-1", "50000").look()) == []


@pytest.mark.parametrize(
    ("wallet", "severity", "acts"),
    [
        # A short of 1 at 50,000 on W is liquidated at p with W - (p - 50,000) = 0.005 p - 50: at 55,000 on 5,225.
        ("10000", Severity.CLEAR, False),
        ("5225", Severity.CLEAR, False),
        ("5224.99", Severity.WARN, False),
        # At 52,500 on 2,712.50.
        ("2712.50", Severity.WARN, False),
        ("2712.49", Severity.REDUCE, True),
    ],
)
def test_the_distance_to_liquidation(wallet: str, severity: Severity, acts: bool) -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE]).wallet("f", wallet).hold(PERP, "-1", "50000")
    messages = desk.look()
    assert [one.severity for one in findings(messages)] == ([] if severity is Severity.CLEAR else [severity])
    triggers = [one for one in messages if isinstance(one, KillTrigger)]
    assert [(one.trigger, one.level) for one in triggers] == (
        [("guard_liquidation_distance", KillLevel.REDUCE_ONLY)] if acts else []
    )
    # Entries of that position are blocked once it is to be reduced, those of the account's cash are not.
    assert desk.asked(leg(PERP, Side.SELL, "1")).is_ok is not acts
    assert desk.asked(leg(SPOT, Side.BUY, "1")).is_ok


def test_arming_does_not_settle_what_must_go() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE]).wallet("f", "2600").hold(PERP, "-1", "50000")
    assert len([one for one in desk.look() if isinstance(one, KillTrigger)]) == 1
    assert [one for one in desk.look() if isinstance(one, KillTrigger)] == []
    desk.take(KillState(desk.now, KillLevel.ARMED, "operator", "ann: looked at it"))
    assert len([one for one in desk.look() if isinstance(one, KillTrigger)]) == 1


def test_the_venue_s_own_liquidation_price_counts_for_the_position_it_was_named_for() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE]).hold(PERP, "-1", "50000")
    desk.take(PositionReport(T0, "f", PERP.id, BOTH, D(-1), D(50_000), D(52_000)))
    assert [one.severity for one in findings(desk.look())] == [Severity.REDUCE]
    desk.hold(PERP, "-2", "50000")
    assert [one.severity for one in findings(desk.look())] == [Severity.CLEAR]


def test_an_isolated_position_needs_the_venue_s_word() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE], isolated=["f"]).hold(PERP, "-1", "50000")
    assert [(one.severity, one.reason) for one in findings(desk.look())] == [(Severity.BLOCK, GuardReason.NO_REFERENCE)]
    desk.take(PositionReport(T0, "f", PERP.id, BOTH, D(-1), D(50_000), D(60_000)))
    assert [one.severity for one in findings(desk.look())] == [Severity.CLEAR]


def test_margin_levels_stand_until_they_change() -> None:
    desk = crypto(on=[Guard.MARGIN])
    desk.take(MarginState(T0, "f", MarginLevel.CRITICAL, ZERO, ZERO, D("1.1")))
    assert [one.severity for one in findings(desk.look())] == [Severity.REDUCE]
    assert desk.reasons(leg(PERP, Side.SELL, "1")) == {"margin_level"}
    desk.take(MarginState(T0, "f", MarginLevel.UNKNOWN, ZERO, ZERO, None))
    assert {one.severity for one in findings(desk.look())} == {Severity.BLOCK, Severity.CLEAR}
    assert desk.reasons(leg(PERP, Side.SELL, "1")) == {"margin_unknown"}
    desk.take(MarginState(T0, "f", MarginLevel.HEALTHY, ZERO, ZERO, None))
    desk.look()
    assert desk.asked(leg(PERP, Side.SELL, "1")).is_ok


def test_futures_that_are_held_are_watched() -> None:
    desk = cme((Guard.SPAN, Guard.SETTLEMENT, Guard.ROLLOVER), "110000").hold(ES, "4", "5000")
    desk.take(SettlementPrice(T0, ES.id, D(5_000)))
    # 110,000 are 1.375 times 80,000.
    desk.look()
    assert desk.standing() == {("span", "c", "span_warning"): Severity.WARN}
    # 4 x 50 x 30 = 6,000 to be paid of 104,000: more than 5 %; 1.3 times the requirement.
    desk.mark(ES, "4970", None).look()
    assert desk.standing() == {
        ("span", "c", "span_warning"): Severity.WARN,
        ("settlement", "c", "variation"): Severity.REDUCE,
    }
    desk.take(SettlementPrice(T0, ES.id, D("NaN")))
    desk.look()
    assert desk.standing()["settlement", "c", "no_reference"] is Severity.BLOCK


def test_a_trailing_stop_follows_the_best_price() -> None:
    desk = crypto(on=[Guard.SIZE], size=SizeConfig(trailing_stop=D("0.05"))).hold(PERP, "-1", "50000")
    for price, is_stopped in (("48000", False), ("50399", False), ("50400", True)):
        desk.now += 2 * S
        desk.mark(PERP, price)
        assert (("size", PERP.id, "trailing_stop") in desk.standing()) is is_stopped


@pytest.mark.parametrize("kind", [BookView, FillEvent, OrderUpdate])
def test_nothing_that_comes_by_the_view_or_the_order_is_heard(kind: type[Message]) -> None:
    assert kind not in PortfolioGuard.handlers()


# Prices that are asked for


def test_what_has_no_mark_is_asked_for_when_its_book_lives_and_at_every_look() -> None:
    desk = Desk().mark(PERP, "50000")
    [request] = desk.take(FeedStatus(T0, SPOT.id, True))
    assert isinstance(request, DepthRequest)
    assert (request.instrument, request.levels) == (SPOT.id, 1)
    assert desk.take(FeedStatus(T0, PERP.id, True)) == []
    asked = {one.instrument for one in desk.look() if isinstance(one, DepthRequest)}
    assert asked == {SPOT.id, ETH.id, ES.id, ESM.id, DAX.id}
    desk.now += 8 * S
    assert PERP.id in {one.instrument for one in desk.look() if isinstance(one, DepthRequest)}


def test_a_dead_book_gives_no_price() -> None:
    desk = Desk().wallet("s", "1")
    desk.take(depth(SPOT, "49999", "50001", is_live=False), DepthReply(0, "other", SPOT.id, True, ((1, 1),), ((2, 1),)))
    assert desk.guard.state.touches == {}


# Time


def test_the_look_after_a_change_is_not_in_the_middle_of_it() -> None:
    desk = crypto().hold(PERP, "-1", "50000").hold(SPOT, "1", "50000")
    assert desk.guard.state.standing == {}
    name, key, at = desk.done.timers[-1]
    assert (name, key, at) == ("portfolio_guard", "check", T0 + 250_000_000)
    # The second change waits for the same look.
    assert len([one for one in desk.done.timers if one[2] == T0 + 250_000_000]) == 1
    desk.look(250_000_000)
    assert desk.done.timers[-1][2] == desk.now + 5 * S


def test_a_restart_sets_the_timer_again() -> None:
    desk = crypto().hold(PERP, "-1", "50000")
    for message in (CellRestarted(T0, 1, "x", "y"), ResumeCommand(T0, "goes on")):
        count = len(desk.done.timers)
        desk.take(message)
        assert desk.done.timers[count:] == [("portfolio_guard", "check", T0 + 250_000_000)]


# Reductions


def legs_of(messages: Sequence[Message]) -> list[tuple[str | None, tuple[tuple[str, Side, Decimal, bool], ...]]]:
    return [
        (one.closes, tuple((part.instrument, part.side, part.qty, part.reduce_only) for part in one.legs))
        for one in messages
        if isinstance(one, BasketIntent)
    ]


def half(name: str = "b1", qty: str = "0.5") -> list[tuple[str, tuple[tuple[str, Side, Decimal, bool], ...]]]:
    return [(name, ((SPOT.id, Side.SELL, D(qty), True), (PERP.id, Side.BUY, D(qty), True)))]


def test_near_liquidation_half_of_every_leg_goes() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE])
    opened(desk)
    assert legs_of(desk.wallet("f", "2600").look()) == half()


def test_a_guard_that_may_not_reduce_only_offers() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE], reducing=())
    opened(desk)
    messages = desk.wallet("f", "2600").look()
    assert legs_of(messages) == []
    assert [one.keep for one in findings(messages)] == [D("0.5")]


def test_margin_may_take_a_quarter_at_danger() -> None:
    desk = crypto(on=[Guard.MARGIN], reducing=(Guard.MARGIN,))
    opened(desk)
    desk.take(MarginState(T0, "f", MarginLevel.DANGER, ZERO, ZERO, D("1.4")))
    assert legs_of(desk.look()) == half(qty="0.25")


def test_one_reduction_at_a_time_and_not_again_at_once() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE])
    opened(desk)
    assert legs_of(desk.wallet("f", "2600").look()) == half()
    # The close is under way, and takes long.
    assert legs_of(desk.look(9 * S)) == []
    desk.mark(PERP, "50000")
    assert legs_of(desk.look(9 * S)) == []
    # It ended, having closed nothing.
    desk.take(BasketUpdate(desk.now, "b1.guard1", "carry", BasketState.DENIED, (ZERO, ZERO), closes="b1"))
    desk.mark(PERP, "50000")
    assert legs_of(desk.look()) == half()
    # Denied at once, it is not asked for again before the pause is over.
    desk.take(BasketUpdate(desk.now, "b1.guard2", "carry", BasketState.DENIED, (ZERO, ZERO), closes="b1"))
    assert legs_of(desk.look(9 * S)) == []
    desk.mark(PERP, "50000")
    assert legs_of(desk.look()) == half()


@pytest.mark.parametrize(
    "message",
    [StopCommand(T0, "enough"), GuardStatus(T0, True, True), KillState(T0, KillLevel.FLATTEN, "operator", "")],
)
def test_nobody_reduces_what_others_close(message: Message) -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE])
    opened(desk)
    desk.take(message)
    assert legs_of(desk.wallet("f", "2600").look()) == []


def test_excessive_funding_is_reduced_once_a_stamp() -> None:
    config = FundingGuardConfig(reduce_over_stamps=2)
    desk = crypto(on=[Guard.FUNDING], reducing=(Guard.FUNDING,), funding=config)
    opened(desk)
    # Shorts pay 20 bps a stamp.
    desk.mark(PERP, "50000", "-0.002")
    desk.look()
    assert legs_of(desk.done.emitted) == half()
    desk.hold(SPOT, "0.5", "50000").hold(PERP, "-0.5", "50000")
    ended = BasketUpdate(desk.now, "b1.guard1", "carry", BasketState.FLAT, (ZERO, ZERO), closes="b1")
    desk.take(ended, BasketUpdate(desk.now, "b1", "carry", BasketState.BALANCED, (D("0.5"), D("-0.5"))))
    desk.now += 12 * S
    desk.mark(PERP, "50000", "-0.002").look()
    assert legs_of(desk.done.emitted) == half()
    # The next stamp takes the rest.
    desk.mark(PERP, "50000", "-0.002", T0 + 12 * HOUR).look()
    assert legs_of(desk.done.emitted) == half() * 2


def test_a_contract_near_its_end_is_closed_whole() -> None:
    desk = Desk((Guard.ROLLOVER,)).wallet("c", "1000000", "USD").mark(ES, "5000", None).mark(ESM, "5050", None)
    assert desk.asked(leg(ES, Side.BUY, "3"), leg(ESM, Side.SELL, "3")).is_ok
    desk.hold(ES, "3", "5000").hold(ESM, "-3", "5050")
    desk.take(BasketUpdate(desk.now, "b1", "roll", BasketState.BALANCED, (D(3), D(-3))))
    desk.look()
    assert legs_of(desk.done.emitted) == []
    desk.now = T0 + 61 * 24 * HOUR
    assert legs_of(desk.look()) == [("b1", ((ES.id, Side.SELL, D(3), True), (ESM.id, Side.BUY, D(3), True)))]


def test_legs_of_different_lots_shrink_by_the_same() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE])
    assert desk.asked(*carry("0.333")).is_ok
    # The spot leg lost its fee: 0.33267 against 0.333, less than the perpetual's lot apart.
    desk.hold(SPOT, "0.33267", "50000").hold(PERP, "-0.333", "50000")
    filled = (D("0.33267"), D("-0.333"))
    desk.take(BasketUpdate(desk.now, "b1", "carry", BasketState.BALANCED, filled))
    assert legs_of(desk.wallet("f", "800").look()) == half(qty="0.166")


def test_a_lopsided_basket_is_not_reduced_in_part() -> None:
    desk = crypto(on=[Guard.LIQUIDATION_DISTANCE])
    opened(desk)
    desk.take(BasketUpdate(desk.now, "b1", "carry", BasketState.BROKEN, (D("0.4"), D(-1))))
    assert legs_of(desk.wallet("f", "2600").look()) == []


def test_baskets_in_other_accounts_are_left_alone() -> None:
    desk = crypto(on=[Guard.MARGIN], reducing=(Guard.MARGIN,))
    opened(desk)
    desk.take(MarginState(T0, "c", MarginLevel.CRITICAL, ZERO, ZERO, D("1.1")))
    assert legs_of(desk.look()) == []


# State


def test_a_snapshot_decides_the_same() -> None:
    desk = crypto(on=ALL, leverage=LeverageConfig(symbol=D(10)))
    opened(desk)
    desk.take(
        AdlRank(T0, "f", PERP.id, 5),
        SettlementPrice(T0, ES.id, D(5_000)),
        MarginState(T0, "f", MarginLevel.CRITICAL, ZERO, ZERO, D("1.1")),
        FundingSettled(T0, "f", PERP.id, D("0.005"), D(50_000), D(2), D(-500), "USDT"),
        PositionReport(T0, "f", PERP.id, BOTH, D(-1), D(50_000), D(52_000)),
    )
    desk.look()
    assert desk.asked(leg(ETH, Side.BUY, "1")).is_ok is False
    snapshot = json.loads(json.dumps(desk.guard.snapshot()))
    other = Desk(ALL, leverage=LeverageConfig(symbol=D(10)))
    other.guard.restore(snapshot)
    other.now, other.baskets = desk.now, desk.baskets
    assert other.guard.snapshot() == desk.guard.snapshot()
    for legs in (carry("2"), carry("100"), (leg(ES, Side.BUY, "1"),), (leg(PERP, Side.BUY, "1"),)):
        assert other.asked(*legs) == desk.asked(*legs)
    assert other.look() == desk.look()


# Whatever comes


numbers = st.sampled_from(["0", "1", "-1", "0.5", "-3", "50000", "NaN", "sNaN", "Infinity", "-Infinity", "1E+30"])
specs = st.sampled_from(list(SPECS.values()))
ids = st.sampled_from([*SPECS, "fut:NONE"])
owners = st.sampled_from([*ACCOUNTS, "nobody"])
decimals = numbers.map(D)
maybe = st.none() | decimals
messages = st.one_of(
    st.builds(PositionUpdate, st.just(T0), owners, ids, st.just(BOTH), decimals, maybe, st.just(ZERO)),
    st.builds(WalletUpdate, st.just(T0), owners, st.sampled_from(["USDT", "USD", "BTC"]), decimals),
    st.builds(
        MarkPrice, st.just(T0), ids, decimals, st.none(), maybe, st.sampled_from([None, T0 + HOUR, T0 + 9 * HOUR])
    ),
    st.builds(AdlRank, st.just(T0), owners, ids, st.sampled_from([None, 0, 1, 5, 9])),
    st.builds(SettlementPrice, st.just(T0), ids, decimals),
    st.builds(MarginState, st.just(T0), owners, st.sampled_from(MarginLevel), st.just(ZERO), st.just(ZERO), maybe),
    st.builds(
        FundingSettled, st.just(T0), owners, ids, decimals, decimals, decimals, decimals, st.just("USDT")
    ),
    st.builds(PositionReport, st.just(T0), owners, ids, st.just(BOTH), decimals, maybe, maybe),
    st.builds(AccountReport, st.just(T0), owners, st.fixed_dictionaries({"USDT": decimals})),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(messages, max_size=25), specs, decimals, st.sampled_from(Side))
def test_whatever_comes_it_answers_and_what_is_no_number_never_opens(
    told: list[Message], spec: Instrument, qty: Decimal, side: Side
) -> None:
    desk = Desk(ALL)
    for message in told:
        desk.now += 100_000_000
        desk.take(message)
    desk.look(250_000_000)
    account = {"fut": "f", "spot": "s", "cme": "c"}[spec.venue]
    reply = desk.asked(BasketLeg(account, spec.id, side, qty))
    state = desk.guard.state
    is_closing = any(
        one.qty is not None and one.instrument == spec.id and one.qty * side.sign < 0 for one in state.held.values()
    )
    if not qty.is_finite() or qty <= 0 or any(one.qty is None for one in state.held.values()):
        assert is_closing or not reply.is_ok
    if spec.id not in state.marks and not is_closing:
        assert not reply.is_ok
    json.dumps(desk.guard.snapshot())


@settings(max_examples=50, deadline=None)
@given(st.permutations(["hold perp", "hold spot", "hold eth", "wallet", "marks"]))
def test_the_order_in_which_facts_come_changes_no_finding(order: list[str]) -> None:
    desk = Desk(ALL)
    steps = {
        "hold perp": lambda: desk.hold(PERP, "-3", "50000"),
        "hold spot": lambda: desk.hold(SPOT, "2", "50000"),
        "hold eth": lambda: desk.hold(ETH, "40", "2500"),
        "wallet": lambda: desk.wallet("f", "9000"),
        "marks": lambda: desk.mark(PERP, "51000", "-0.002").mark(SPOT, "51000", None).mark(ETH, "2400", "0.002"),
    }
    for name in order:
        steps[name]()
    desk.look()
    assert desk.standing() == {
        # 153,000 and 96,000 on 9,000 - 3,000 - 4,000: 76.5x and 48x, over 20x together.
        ("leverage", PERP.id, "symbol_leverage"): Severity.REDUCE,
        ("leverage", "f", "account_leverage"): Severity.REDUCE,
        ("funding", PERP.id, "funding_rate"): Severity.WARN,
        ("funding", PERP.id, "funding_excessive"): Severity.BLOCK,
        ("funding", ETH.id, "funding_rate"): Severity.WARN,
        ("funding", ETH.id, "funding_excessive"): Severity.BLOCK,
        ("liquidation_distance", PERP.id, "liquidation_imminent"): Severity.REDUCE,
        ("liquidation_distance", ETH.id, "liquidation_imminent"): Severity.REDUCE,
    }
