"""The funding tracker's rules: who holds at the instant pays, due is held against paid, what differs is asked about."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.funding_messages import (
    FundingDifference,
    FundingInterval,
    FundingOutcome,
    FundingPaid,
    FundingReconciled,
)
from actors.funding_records import REMEDIES, FundingConfig
from actors.funding_tracker import FundingTracker
from actors.messages import FillEvent, FundingState, Incident, KillTrigger, PositionUpdate
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import (
    FundingRate,
    FundingSettled,
    Income,
    IncomeKind,
    MarkPrice,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    VenueDown,
    VenueUp,
)

D = Decimal
SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
T = 8 * HOUR
BOTH = PositionSide.BOTH
PERP = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
COIN = Instrument(
    "coin", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(100)
)
SPOT = Instrument("spot", "BTC", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
INSTRUMENTS = {spec.id: spec for spec in (PERP, COIN, SPOT)}
ACCOUNTS = {"f": "fut", "g": "fut", "s": "spot"}
CONFIG = FundingConfig()
GRACE = CONFIG.grace_ns


class Desk:
    """A tracker and a venue that answers by hand."""

    def __init__(self, qty="0"):
        self.tracker = FundingTracker(INSTRUMENTS, accounts=ACCOUNTS)
        self.done = Collected()
        self.tracker.out = detached_outbox("funding", into=self.done)
        self.tracker.start(0)
        self.tracker.handle(1, mark())
        if D(qty):
            self.tracker.handle(2, position(qty))

    def give(self, now, message):
        self.tracker.handle(now, message)

    def of(self, kind):
        return [one for one in self.done.emitted if isinstance(one, kind)]

    @property
    def incidents(self):
        return [one.kind for one in self.of(Incident)]

    @property
    def booked(self):
        return [(one.stamp_ns, one.number, one.amount) for one in self.of(FundingPaid)]

    @property
    def outcomes(self):
        return [(one.outcome, one.difference, one.due, one.paid) for one in self.of(FundingReconciled)]

    def stamp(self, ts=T):
        self.tracker.on_timer(ts, "stamp/fut:BTC")

    def close(self, ts=T):
        self.tracker.on_timer(ts + GRACE, "grace/fut:BTC")

    def asked(self, account="f"):
        return dict(self.tracker.state.accounts[account].asked)

    def answer(self, now, *incomes, rates=(), account="f"):
        """Answer every outstanding query of the account."""
        for query_id, one in self.asked(account).items():
            if one.kind is QueryKind.INCOME:
                self.give(now, QueryResult(now, account, query_id, one.kind, incomes=incomes))
            else:
                self.give(now, QueryResult(now, account, query_id, one.kind, rates=tuple(rates)))

    def fail(self, now, account="f"):
        for query_id, one in self.asked(account).items():
            self.give(now, QueryFailed(now, account, query_id, one.kind, "503"))


def mark(price="50000", rate="0.0001", next_ns=T, spec=PERP):
    return MarkPrice(0, spec.id, D(price), None, D(rate) if rate is not None else None, next_ns)


def position(qty, spec=PERP, account="f"):
    return PositionUpdate(0, account, spec.id, BOTH, D(qty), D(1), ZERO)


def paid(amount, ts=T, rate="0.0001", price="50000", qty="1", account="f"):
    return FundingSettled(ts, account, PERP.id, D(rate), D(price), D(qty), D(amount), "USDT")


def settled(rate="0.0001", ts=T, price="50000"):
    return FundingRate(ts, PERP.id, D(rate), None if price is None else D(price))


def income(amount, ts=T, number="1", account="f"):
    return Income(ts, account, IncomeKind.FUNDING, "USDT", D(amount), number, PERP.id)


# Predicted


@pytest.mark.parametrize(
    ("spec", "qty", "rate", "expected"),
    [
        (PERP, 2, "0.0001", "-10"),  # longs pay: 2 x 50,000 x 0.01 %
        (PERP, -2, "0.0001", "10"),
        (PERP, 2, "-0.0001", "10"),
        (COIN, 100, "0.0001", "-0.00002"),  # 100 x 100 USD / 50,000 = 0.2 BTC
    ],
)
def test_expected_funding(spec, qty, rate, expected):
    desk = Desk()
    desk.give(1, mark(rate=rate, spec=spec))
    desk.give(2, position(qty, spec))
    assert desk.of(FundingState)[-1].expected == D(expected)
    assert desk.tracker.expected(spec.id) == D(expected)


def test_what_is_expected_without_a_rate_is_unknown_and_not_nothing():
    desk = Desk()
    desk.give(2, position(1, COIN))
    assert desk.tracker.expected(COIN.id) is None
    assert desk.tracker.expected_per_day(2, COIN.id) is None


def test_a_state_is_told_when_something_changed_and_not_for_every_mark():
    desk = Desk()
    for price in ("50000", "50001", "50002"):
        desk.give(1, mark(price))
    assert len(desk.of(FundingState)) == 1
    desk.give(2, mark(rate="0.00011"))
    desk.give(3, mark(rate="0.00011", next_ns=2 * T))
    desk.give(4, position(1))
    assert [(one.rate, one.next_ns) for one in desk.of(FundingState)[1:]] == [
        (D("0.00011"), T),
        (D("0.00011"), 2 * T),
        (D("0.00011"), 2 * T),
    ]


# Paid as due


def test_a_payment_as_due_is_booked_and_agrees():
    desk = Desk("1")
    assert ("funding", "stamp/fut:BTC", T) in desk.done.timers
    desk.stamp()
    # Stored stamps carry a few ms of jitter (crypto.md B4).
    desk.give(T + 1, paid("-5", ts=T + 5_000_000))
    desk.close()
    assert desk.booked == [(T, 0, -5)]
    assert desk.outcomes == [(FundingOutcome.AGREED, None, -5, -5)]
    assert desk.incidents == []
    assert not desk.asked()
    assert list(desk.tracker.ledger(PERP.id)) == [(T, D(-5))]


def test_the_payment_may_come_before_our_own_timer():
    desk = Desk("1")
    desk.give(T, paid("-5"))
    desk.stamp()
    desk.close()
    assert desk.incidents == []


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_a_payment_told_again_is_booked_once(copies):
    desk = Desk("1")
    for number in range(copies):
        desk.give(T + number, paid("-5", ts=T + number))
    desk.close()
    desk.give(T + 2 * GRACE, paid("-5"))
    assert desk.booked == [(T, 0, -5)]
    assert desk.tracker.state.counts == {"duplicate": copies}
    assert len(desk.outcomes) == 1


def test_a_flat_account_owes_nothing():
    desk = Desk()
    desk.stamp()
    desk.close()
    assert not desk.asked()
    assert desk.outcomes == []


def test_an_instant_passes_even_when_only_the_next_mark_tells():
    desk = Desk("1")
    desk.give(T + SECOND, mark(next_ns=2 * T))
    assert [stamp.ts for stamp in desk.tracker.state.perpetuals[PERP.id].open] == [T]


def fill(side, qty, ts):
    made = Fill(ts, "f", PERP.id, "c", "t", side, D(50_000), D(qty), Liquidity.TAKER, ZERO, "USDT", FillReason.TAKER)
    return FillEvent(ts, "r", "s", "", made)


@pytest.mark.parametrize(
    ("held", "side", "ts", "amount"),
    [
        # A position opened exactly at the instant does not pay, one closed exactly at it does (systems.md 5).
        (0, Side.BUY, T - 1, "-5"),
        (0, Side.BUY, T, None),
        (1, Side.SELL, T - 1, None),
        (1, Side.SELL, T, "-5"),
    ],
)
@pytest.mark.parametrize("is_early", [False, True])
def test_fills_count_by_the_venues_clock(held, side, ts, amount, is_early):
    """Whether our clock is ahead of the venue's (the fill comes after we took the instant) or behind."""
    desk = Desk(str(held))
    if is_early:
        desk.give(T - 2, fill(side, 1, ts))
        desk.give(T - 2, position(D(held) + side.sign))
        desk.stamp()
    else:
        desk.stamp()
        desk.give(T + 1, fill(side, 1, ts))
    if amount is not None:
        desk.give(T + 2, paid(amount))
    desk.give(T + 3, settled())
    desk.close()
    assert not desk.asked()
    assert desk.incidents == []


def test_accounts_are_compared_one_by_one():
    desk = Desk("1")
    desk.give(2, position(-1, account="g"))
    desk.stamp()
    desk.give(T + 1, paid("-5"))
    desk.close()
    assert (desk.asked("f"), len(desk.asked("g"))) == ({}, 1)
    desk.answer(T + GRACE, income("5", account="g"), account="g")
    assert desk.outcomes == [
        (FundingOutcome.AGREED, None, -5, -5),
        (FundingOutcome.FOUND, FundingDifference.MISSING, 5, 5),
    ]


# Differences


def lost():
    desk = Desk("1")
    desk.stamp()
    desk.give(T + 1, settled())
    desk.close()
    return desk


def test_every_difference_has_a_remedy():
    assert set(REMEDIES) == set(FundingDifference)


def test_silence_is_asked_about_from_just_before_the_instant():
    desk = lost()
    (query,) = [one for one in desk.done.sent if isinstance(one, Query)]
    assert (query.account, query.kind, query.since_ns) == ("f", QueryKind.INCOME, T - GRACE)
    assert desk.incidents == []


def test_a_lost_report_is_found_in_the_income_and_booked_to_the_digit():
    desk = lost()
    desk.answer(T + GRACE, income("-5.00000001", ts=T + 3_000_000))
    assert desk.booked == [(T, 0, D("-5.00000001"))]
    assert desk.outcomes == [(FundingOutcome.FOUND, FundingDifference.MISSING, -5, D("-5.00000001"))]
    assert desk.incidents == []
    # The report comes after all: it is known.
    desk.give(T + 2 * GRACE, paid("-5.00000001", rate="0.00010000000020"))
    assert len(desk.booked) == 1


def test_one_answer_without_a_record_proves_nothing_two_far_apart_do():
    desk = lost()
    desk.answer(T + GRACE)
    assert desk.outcomes == []
    assert desk.incidents == ["funding_missing"]
    at = T + GRACE
    while not desk.outcomes:
        at = desk.tracker.state.accounts["f"].next_ns
        desk.tracker.on_timer(at, "ask/f")
        desk.answer(at)
    assert desk.outcomes == [(FundingOutcome.NOT_PAID, FundingDifference.MISSING, -5, None)]
    assert at >= T + GRACE + CONFIG.proof_ns
    assert desk.incidents == ["funding_missing", "funding_not_paid"]
    assert desk.of(Incident)[-1].cost == -5
    assert desk.booked == []
    assert desk.tracker.state.accounts["f"].next_ns is None


@pytest.mark.parametrize("how", ["fails", "is silent", "goes down"])
def test_a_failed_query_is_never_no_payment(how):
    desk = lost()
    at = T + GRACE
    for _ in range(20):
        if how == "fails":
            desk.fail(at)
        elif how == "is silent":
            desk.tracker.on_timer(at + CONFIG.timeout_ns, "answer/f")
        else:
            desk.give(at, VenueDown(at, "fut", "private", "eof"))
            desk.give(at, VenueUp(at, "fut", "private"))
            desk.fail(at)
        at += CONFIG.proof_ns
        desk.tracker.on_timer(at, "ask/f")
    assert desk.outcomes == []
    assert desk.incidents == ["funding_missing"]
    desk.answer(at, income("-5"))
    assert desk.outcomes == [(FundingOutcome.FOUND, FundingDifference.MISSING, -5, -5)]


def test_the_venue_is_asked_ever_less_often():
    desk = lost()
    waits, at = [], T + GRACE
    for _ in range(9):
        desk.fail(at)
        following = desk.tracker.state.accounts["f"].next_ns
        waits.append((following - at) // SECOND)
        at = following
        desk.tracker.on_timer(at, "ask/f")
    # 5 s doubled up to 10 minutes.
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600]


@pytest.mark.parametrize(
    ("reports", "difference", "incomes", "outcome", "booked"),
    [
        # The venue held 2 by its own words, the book 1: what it paid stands, and is told.
        ([paid("-10", qty="2")], FundingDifference.AMOUNT, ["-10"], FundingOutcome.OTHERWISE, [-10]),
        # Income corrects what was booked, to the digit.
        ([paid("-10", qty="2")], FundingDifference.AMOUNT, ["-5"], FundingOutcome.AGREED, [-10, 5]),
        ([paid("-5"), paid("-10", qty="2")], FundingDifference.CONFLICT, ["-5"], FundingOutcome.AGREED, [-5]),
        ([paid("-10", qty="2"), paid("-5")], FundingDifference.CONFLICT, ["-5"], FundingOutcome.AGREED, [-10, 5]),
        # Two records of one instant are added up.
        ([paid("-10", qty="2")], FundingDifference.AMOUNT, ["-4", "-1"], FundingOutcome.AGREED, [-10, 5]),
        # -5.07 is not what 1 x 50,000 x 0.01 % makes: not booked before the income says so.
        ([paid("-5.07")], FundingDifference.ABSURD, ["-5"], FundingOutcome.FOUND, [-5]),
        ([paid("NaN")], FundingDifference.ABSURD, ["-5"], FundingOutcome.FOUND, [-5]),
        ([paid("-50000", rate="1")], FundingDifference.ABSURD, ["-5"], FundingOutcome.FOUND, [-5]),
    ],
)
def test_the_income_decides(reports, difference, incomes, outcome, booked):
    desk = Desk("1")
    desk.stamp()
    desk.give(T + 1, settled())
    for report in reports:
        desk.give(T + 2, report)
    desk.close()
    assert desk.booked == [(T, 0, amount) for amount in booked[:1]] * (difference is not FundingDifference.ABSURD)
    desk.answer(T + GRACE, *(income(amount, number=str(n)) for n, amount in enumerate(incomes)))
    assert desk.booked == [(T, number, amount) for number, amount in enumerate(booked)]
    assert [one[:2] for one in desk.outcomes] == [(outcome, difference)]
    assert desk.tracker.state.perpetuals[PERP.id].paid == sum(map(D, incomes))


def test_a_payment_that_the_income_does_not_know_is_taken_back():
    desk = Desk("1")
    desk.stamp()
    desk.give(T + 1, settled())
    desk.give(T + 2, paid("-10", qty="2"))
    desk.close()
    desk.answer(T + GRACE)
    desk.tracker.on_timer(T + GRACE + CONFIG.proof_ns, "ask/f")
    desk.answer(T + GRACE + CONFIG.proof_ns)
    assert desk.booked == [(T, 0, -10), (T, 1, 10)]
    assert desk.outcomes == [(FundingOutcome.TAKEN_BACK, FundingDifference.AMOUNT, -5, None)]


def test_money_for_a_position_that_nobody_held_is_booked_and_told():
    desk = Desk()
    desk.stamp()
    desk.give(T + 1, paid("-5"))
    desk.close()
    desk.answer(T + GRACE, income("-5"))
    assert desk.outcomes == [(FundingOutcome.OTHERWISE, FundingDifference.UNEXPECTED, 0, -5)]
    assert desk.booked == [(T, 0, -5)]


def test_a_fill_that_comes_late_explains_a_payment_nobody_expected():
    desk = Desk()
    desk.stamp()
    desk.give(T + 1, paid("-5"))
    desk.close()
    desk.give(T + GRACE, fill(Side.BUY, 1, T - 20 * SECOND))
    desk.answer(T + GRACE, income("-5"))
    assert desk.outcomes == [(FundingOutcome.AGREED, FundingDifference.UNEXPECTED, -5, -5)]


@pytest.mark.parametrize(("before_s", "outcome"), [(15, FundingOutcome.ACCEPTED), (16, FundingOutcome.OTHERWISE)])
def test_near_the_instant_the_venue_decides(before_s, outcome):
    """Binance: a position changed within 15 s of the instant may be charged either way (crypto.md B4)."""
    desk = Desk("1")
    ts = T - before_s * SECOND
    desk.give(ts, fill(Side.BUY, 1, ts))
    desk.give(ts, position(2))
    desk.stamp()
    desk.give(T + 1, paid("-5"))
    desk.close()
    desk.answer(T + GRACE, income("-5"))
    assert [(one[0], one[2], one[3]) for one in desk.outcomes] == [(outcome, -10, -5)]
    assert (outcome is FundingOutcome.OTHERWISE) is ("funding_otherwise" in desk.incidents)


def test_without_the_settled_rate_the_funding_history_is_asked():
    desk = Desk("1")
    desk.stamp()
    desk.close()
    assert [(one.kind, one.instrument) for one in desk.asked().values()] == [
        (QueryKind.INCOME, ""),
        (QueryKind.FUNDING_HISTORY, PERP.id),
    ]
    # Three times the estimate was settled, and paid.
    desk.answer(T + GRACE, income("-15"), rates=[settled("0.0003")])
    assert desk.outcomes == [(FundingOutcome.FOUND, FundingDifference.MISSING, -15, -15)]


def test_a_round_of_which_one_answer_failed_proves_nothing():
    desk = Desk("1")
    desk.stamp()
    desk.close()
    for at in (T + GRACE, T + GRACE + CONFIG.proof_ns, T + GRACE + 2 * CONFIG.proof_ns):
        for query_id, one in desk.asked().items():
            if one.kind is QueryKind.INCOME:
                desk.give(at, QueryResult(at, "f", query_id, one.kind))
            else:
                desk.give(at, QueryFailed(at, "f", query_id, one.kind, "503"))
        desk.tracker.on_timer(at + 1, "ask/f")
    assert desk.outcomes == []


def test_a_record_that_comes_and_goes_is_absent_only_after_it_stayed_away():
    desk = Desk("1")
    desk.stamp()
    desk.close()
    answers, at = [(), (income("-5"),), ()], T + GRACE
    for incomes in answers:
        desk.answer(at, *incomes)
        at += CONFIG.proof_ns // 3
        desk.tracker.on_timer(at, "ask/f")
    # Absent at first, then there, now away since a moment: nothing is taken back yet.
    assert desk.booked == [(T, 0, -5)]
    assert desk.outcomes == []


def test_a_settled_rate_of_zero_makes_nothing_due():
    desk = Desk("1")
    desk.stamp()
    desk.close()
    desk.answer(T + GRACE, rates=[settled("0")])
    assert desk.outcomes == [(FundingOutcome.NOT_DUE, FundingDifference.MISSING, 0, None)]
    assert desk.incidents == []


def test_an_instant_that_the_venue_moved_is_nobodys_loss():
    """Neither income nor history know of it: nothing was settled there."""
    desk = Desk("1")
    desk.stamp()
    desk.close()
    for at in (T + GRACE, T + GRACE + CONFIG.proof_ns):
        desk.answer(at)
        desk.tracker.on_timer(at + 1, "ask/f")
    desk.answer(T + GRACE + CONFIG.proof_ns + 1)
    assert desk.outcomes == [(FundingOutcome.NOT_DUE, FundingDifference.MISSING, None, None)]
    assert desk.incidents == ["funding_missing"]


# Restarts


def test_instants_that_passed_while_the_desk_was_away_are_found_at_the_next_connection():
    """A crash across three instants: the history tells them, the income what they paid."""
    desk = Desk("1")
    back = 3 * T + HOUR
    desk.give(back, VenueUp(back, "fut", "private"))
    rates = [settled(ts=T), settled("0.0002", ts=2 * T), settled("0.0003", ts=3 * T)]
    desk.answer(back, income("-5", T), income("-10", 2 * T, "2"), income("-15", 3 * T, "3"), rates=rates)
    desk.close(back)
    assert desk.booked == [(T, 0, -5), (2 * T, 0, -10), (3 * T, 0, -15)]
    assert {one[0] for one in desk.outcomes} == {FundingOutcome.AGREED}
    assert len(desk.outcomes) == 3
    assert desk.incidents == []


def test_one_of_several_missed_instants_without_a_record_is_missing():
    desk = Desk("1")
    back = 2 * T + HOUR
    desk.give(back, VenueUp(back, "fut"))
    desk.answer(back, income("-5", T), rates=[settled(ts=T), settled(ts=2 * T)])
    desk.close(back)
    assert [(one[0], one[1]) for one in desk.outcomes] == [(FundingOutcome.AGREED, None)]
    assert [(stamp, due.difference) for _, stamp, due, _ in desk.tracker.differences()] == [
        (2 * T, FundingDifference.MISSING)
    ]


def test_what_was_paid_before_the_run_is_not_booked():
    desk = Desk()
    desk.tracker.start(T)
    desk.give(T, VenueUp(T, "fut"))
    desk.answer(T, income("-5", T - 1))
    assert desk.booked == []


def test_a_market_connection_says_nothing_about_payments():
    desk = Desk("1")
    desk.give(T, VenueUp(T, "fut", "market"))
    desk.give(T, VenueUp(T, "spot"))
    assert not desk.done.sent


def test_timers_come_back_after_a_restart_and_the_income_is_asked():
    desk = Desk("1")
    desk.done.timers.clear()
    desk.give(5, CellRestarted(5, 1, "a", "e"))
    assert ("funding", "stamp/fut:BTC", T) in desk.done.timers
    assert QueryKind.INCOME in {one.kind for one in desk.done.sent if isinstance(one, Query)}


# Rates and intervals


@pytest.mark.parametrize(
    "message",
    [
        mark("NaN"),
        mark("0"),
        FundingRate(T, PERP.id, D("NaN")),
        FundingRate(T, PERP.id, D("0.0001"), D(0)),
        FundingRate(T, PERP.id, D("0.030001"), D(50_000)),
    ],
)
def test_what_is_no_price_and_no_rate_changes_nothing_but_a_count(message):
    desk = Desk("1")
    before = desk.tracker.snapshot()["state"]
    desk.done.emitted.clear()
    desk.give(3, message)
    assert desk.tracker.snapshot()["state"] == before | {"counts": {"refused": 1}}
    assert not desk.done.emitted


def test_funding_of_what_is_no_perpetual_here_stops_new_risk():
    desk = Desk("1")
    desk.give(3, FundingSettled(T, "f", "fut:NOPE", D(0), D(1), D(1), D(1), "USDT"))
    assert desk.incidents == ["unbookable"]
    assert len(desk.of(KillTrigger)) == 1
    assert desk.booked == []


@pytest.mark.parametrize(
    ("rate", "is_known"), [("0.03", True), ("-0.03", True), ("0.0301", False), ("-1", False), ("Infinity", False)]
)
def test_a_rate_beyond_the_cap_makes_the_rate_unknown(rate, is_known):
    """The widest cap ever listed is 3 % (crypto.md B3)."""
    desk = Desk("1")
    for _ in range(3):
        desk.give(3, mark(rate=rate))
    one = desk.of(FundingState)[-1]
    assert (one.is_known, desk.tracker.expected(PERP.id) is not None) == (is_known, is_known)
    assert desk.incidents == ([] if is_known else ["funding_rate_absurd"])
    desk.give(4, mark())
    assert desk.of(FundingState)[-1].is_known
    assert desk.tracker.expected(PERP.id) == -5


def test_an_instrument_may_have_a_cap_of_its_own():
    tracker = FundingTracker(INSTRUMENTS, FundingConfig(rate_caps={PERP.id: D("0.003")}))
    tracker.handle(1, mark(rate="0.0031"))
    tracker.handle(1, mark(rate="0.0031", spec=COIN))
    assert [tracker.state.perpetuals[spec.id].rate for spec in (PERP, COIN)] == [None, D("0.0031")]
    with pytest.raises(ValueError, match=r"rate_caps\.spot:BTC: no perpetual"):
        FundingTracker(INSTRUMENTS, FundingConfig(rate_caps={SPOT.id: D("0.003")}))
    with pytest.raises(ValueError, match=r"rate_caps\.fut:BTC"):
        FundingConfig(rate_caps={PERP.id: D(0)})


def test_an_interval_that_changes_is_told():
    """Binance moves a symbol from 8 h to 1 h without a notice (crypto.md B3)."""
    desk = Desk()
    for at, following in ((T, 2 * T), (2 * T, 3 * T)):
        desk.stamp(at)
        desk.give(at + SECOND, mark(next_ns=following))
    assert desk.tracker.state.perpetuals[PERP.id].interval_ns == T
    assert not desk.of(FundingInterval)
    # In the middle of the interval the next instant moves closer.
    desk.give(2 * T + HOUR // 2, mark(next_ns=2 * T + HOUR))
    assert [(one.before_ns, one.after_ns) for one in desk.of(FundingInterval)] == [(T, HOUR)]
    assert desk.incidents == ["funding_interval"]
    assert desk.of(FundingState)[-1].interval_ns == HOUR


def test_instants_that_nobody_watched_pass_for_no_interval():
    desk = Desk()
    desk.stamp()
    desk.give(T + 9 * HOUR, mark(next_ns=T + 16 * HOUR))
    assert desk.tracker.state.perpetuals[PERP.id].interval_ns is None


# Days


def test_a_day_counts_by_its_own_instants():
    """Two instants of 8 h, then one of 4 h: three in the last 24 h, and the mean is of those; next day six more."""
    desk = Desk("1")
    rates = {T: "0.0001", 2 * T: "0.0002", 2 * T + 4 * HOUR: "0.0006"}
    following = {T: 2 * T, 2 * T: 2 * T + 4 * HOUR, 2 * T + 4 * HOUR: 2 * T + 8 * HOUR}
    for ts, rate in rates.items():
        desk.stamp(ts)
        desk.give(ts, paid(D(rate) * -50_000, ts=ts, rate=rate))
        desk.give(ts + SECOND, mark(next_ns=following[ts]))
        desk.close(ts)
    now = 2 * T + 5 * HOUR
    day = desk.tracker.day(now, PERP.id)
    assert (day.paid, day.stamps, day.mean_rate) == (D(-45), 3, D("0.0003"))
    # From 08:00 + 13 h = 21:00 the next is at 00:00, then every 4 h: 00 04 08 12 16 20 = 6 of -5.
    assert desk.tracker.expected_per_day(now, PERP.id) == -30
    assert desk.tracker.day(now + 40 * HOUR, PERP.id).stamps == 0


@given(st.lists(st.integers(-10_000, 10_000), max_size=10))
def test_paid_is_the_sum_of_the_payments(amounts):
    desk = Desk("1")
    for number, cents in enumerate(amounts, start=1):
        at, amount = number * T, D(cents) / 100
        desk.stamp(at)
        desk.give(at, paid(amount, ts=at, rate=-amount / 50_000))
        desk.give(at, mark(next_ns=at + T))
        desk.close(at)
    one = desk.tracker.state.perpetuals[PERP.id]
    assert one.paid == sum((D(cents) / 100 for cents in amounts), ZERO)
    assert sum((amount for _, amount in desk.tracker.ledger(PERP.id)), ZERO) == one.paid


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["told", "lost", "twice", "late", "wrong"]),
            st.sampled_from(["answers", "fails", "is silent"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_whatever_is_lost_late_or_double_what_the_venue_paid_is_booked_to_the_digit(script):
    """The venue pays every instant; reports and answers misbehave. Once asked in peace, book and venue agree."""
    desk = Desk("1")
    incomes, now = [], 0
    for number, (report, venue) in enumerate(script, start=1):
        at = number * T
        desk.stamp(at)
        desk.give(at, settled(ts=at))
        incomes.append(income("-5", ts=at + number, number=str(number)))
        if report in ("told", "twice"):
            for _ in range(1 + (report == "twice")):
                desk.give(at + 1, paid("-5", ts=at + 1))
        elif report == "wrong":
            desk.give(at + 1, paid("-10", ts=at + 1, qty="2"))
        desk.give(at + SECOND, mark(next_ns=at + T))
        desk.close(at)
        now = at + GRACE
        if report == "late":
            desk.give(now + 1, paid("-5", ts=at))
        if venue == "answers":
            desk.answer(now + 1, *incomes)
        elif venue == "fails":
            desk.fail(now + 1)
    for _ in range(3):
        now += CONFIG.proof_ns
        desk.tracker.on_timer(now, "answer/f")
        desk.tracker.on_timer(now, "ask/f")
        desk.answer(now, *incomes)
    assert desk.tracker.state.perpetuals[PERP.id].paid == -5 * len(script)
    assert sum(amount for _, _, amount in desk.booked) == -5 * len(script)
    assert not list(desk.tracker.differences())
    assert not desk.asked()
    assert "funding_not_paid" not in desk.incidents


# Snapshots


def test_state_survives_json():
    desk = lost()
    desk.answer(T + GRACE)
    other = Desk()
    other.tracker.restore(json.loads(json.dumps(desk.tracker.snapshot())))
    assert other.tracker.state == desk.tracker.state


def test_a_snapshot_of_the_first_schema_is_read():
    old = {
        "perpetuals": {
            PERP.id: {
                **{"rate": "0.0001", "mark": "50000", "next_ns": T, "qty": {"f/fut:BTC/BOTH": "1"}, "paid": "-7"},
                **{"open": [], "settled": [{"ts": 1, "rate": None, "mark": None, "dues": []}]},
                **{"told_rate": "0.0001", "told_next_ns": T},
            }
        },
        **{"mismatches": 1, "missing": 0, "refused": 2},
    }
    desk = Desk()
    desk.tracker.restore({"schema": 1, "state": old})
    assert desk.tracker.expected(PERP.id) == -5
    assert desk.tracker.state.perpetuals[PERP.id].paid == -7
    # What it booked before is not known any more: income counts from the first connection on.
    desk.give(T, VenueUp(T, "fut"))
    desk.answer(T, income("-5", T - 1))
    assert desk.booked == []
