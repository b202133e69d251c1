"""The funding tracker's rules: who holds at the instant pays, expected is held against paid, silence is told."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.funding_tracker import FundingConfig, FundingTracker
from actors.messages import FillEvent, FundingState, Incident, PositionUpdate
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import FundingRate, FundingSettled, MarkPrice

D = Decimal
SECOND = 1_000_000_000
T = 8 * 3_600 * SECOND
PERP = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
COIN = Instrument(
    "coin", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(100)
)
SPOT = Instrument("spot", "BTC", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
INSTRUMENTS = {spec.id: spec for spec in (PERP, COIN, SPOT)}
GRACE = FundingConfig().grace_ns


def make():
    tracker = FundingTracker(INSTRUMENTS)
    done = Collected()
    tracker.out = detached_outbox("funding", into=done)
    return tracker, done


def mark(price="50000", rate="0.0001", next_ns=T, spec=PERP):
    return MarkPrice(0, spec.id, D(price), None, D(rate), next_ns)


def position(qty, spec=PERP, account="f"):
    return PositionUpdate(0, account, spec.id, PositionSide.BOTH, D(qty), D(1), ZERO)


def paid(amount, ts=T, rate="0.0001", price="50000", qty="1", account="f"):
    return FundingSettled(ts, account, PERP.id, D(rate), D(price), D(qty), D(amount), "USDT")


def states(done):
    return [one for one in done.emitted if isinstance(one, FundingState)]


def incidents(done):
    return [one.kind for one in done.emitted if isinstance(one, Incident)]


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
    tracker, done = make()
    tracker.handle(1, mark(rate=rate, spec=spec))
    tracker.handle(2, position(qty, spec))
    assert states(done)[-1].expected == D(expected)


def test_a_state_is_told_when_something_changed_and_not_for_every_mark():
    tracker, done = make()
    for price in ("50000", "50001", "50002"):
        tracker.handle(1, mark(price))
    assert len(states(done)) == 1
    tracker.handle(2, mark(rate="0.00011"))
    tracker.handle(3, mark(rate="0.00011", next_ns=2 * T))
    tracker.handle(4, position(1))
    assert [(one.rate, one.next_ns) for one in states(done)[1:]] == [
        (D("0.00011"), T),
        (D("0.00011"), 2 * T),
        (D("0.00011"), 2 * T),
    ]


def hold(qty="1"):
    tracker, done = make()
    tracker.handle(1, mark())
    tracker.handle(2, position(qty))
    return tracker, done


def test_a_payment_as_due_is_booked_and_agrees():
    tracker, done = hold()
    assert ("funding", "stamp/fut:BTC", T) in done.timers
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.handle(T + 1, paid("-5", ts=T + 5_000_000))
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    assert states(done)[-1].paid == -5
    assert incidents(done) == []
    assert list(tracker.ledger(PERP.id)) == [(T, -5)]


def test_the_payment_may_come_before_our_own_timer():
    tracker, done = hold()
    tracker.handle(T, paid("-5"))
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    assert incidents(done) == []


@pytest.mark.parametrize(
    ("amount", "kind"), [("-5.05", None), ("-5.07", "funding_mismatch"), ("5", "funding_mismatch")]
)
def test_a_difference_beyond_the_tolerance_is_an_incident(amount, kind):
    # Tolerance 1 % of 5 and 0.01.
    tracker, done = hold()
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.handle(T + 1, paid(amount))
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    assert incidents(done) == ([kind] if kind else [])


def test_silence_after_an_instant_is_an_incident_and_a_flat_account_owes_nothing():
    tracker, done = hold()
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.on_timer(T + GRACE - 1, "grace/fut:BTC")
    assert incidents(done) == []
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    assert incidents(done) == ["funding_missing"]
    tracker, done = hold("0")
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    assert incidents(done) == []


def test_an_instant_passes_even_when_only_the_next_mark_tells():
    tracker, _ = hold()
    tracker.handle(T + SECOND, mark(next_ns=2 * T))
    assert [stamp.ts for stamp in tracker.state.perpetuals[PERP.id].open] == [T]


def test_the_settled_rate_replaces_the_estimate():
    tracker, done = hold()
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.handle(T + 1, FundingRate(T, PERP.id, D("0.0003"), D(50_000)))
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    (incident,) = [one for one in done.emitted if isinstance(one, Incident)]
    assert incident.cost == -15


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
def test_fills_that_come_late_count_by_the_venues_clock(held, side, ts, amount):
    tracker, done = hold(held)
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.handle(T + 1, fill(side, 1, ts))
    if amount is not None:
        tracker.handle(T + 2, paid(amount))
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    assert incidents(done) == []


def test_accounts_are_compared_one_by_one():
    tracker, done = hold()
    tracker.handle(2, position(-1, account="g"))
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.handle(T + 1, paid("-5"))
    tracker.on_timer(T + GRACE, "grace/fut:BTC")
    (incident,) = [one for one in done.emitted if isinstance(one, Incident)]
    assert incident.text.startswith("g/")


@pytest.mark.parametrize(
    "message",
    [
        mark("NaN"),
        mark("0"),
        mark(rate="Infinity"),
        FundingRate(T, PERP.id, D("NaN")),
        FundingRate(T, PERP.id, D("0.0001"), D(0)),
        FundingSettled(T, "f", PERP.id, D("0.0001"), D(0), D(1), D(1), "USDT"),
        paid("NaN"),
        FundingSettled(T, "f", "fut:NOPE", D(0), D(1), D(1), D(1), "USDT"),
    ],
)
def test_what_is_no_number_or_unknown_is_counted_and_not_booked(message):
    tracker, done = hold()
    before = tracker.snapshot()["state"]
    done.emitted.clear()
    tracker.handle(3, message)
    assert tracker.snapshot()["state"] == before | {"refused": 1}
    assert not states(done)


@given(st.lists(st.integers(-10_000, 10_000), max_size=10))
def test_paid_is_the_sum_of_the_payments(amounts):
    tracker, _ = hold()
    for number, cents in enumerate(amounts, start=1):
        at = number * T
        tracker.on_timer(at, "stamp/fut:BTC")
        tracker.handle(at, paid(D(cents) / 100, ts=at))
        tracker.handle(at, mark(next_ns=at + T))
        tracker.on_timer(at + GRACE, "grace/fut:BTC")
    one = tracker.state.perpetuals[PERP.id]
    assert one.paid == sum((D(cents) / 100 for cents in amounts), ZERO)
    assert sum((amount for _, amount in tracker.ledger(PERP.id)), ZERO) == one.paid


def test_timers_come_back_after_a_restart():
    tracker, done = hold()
    done.timers.clear()
    tracker.handle(5, CellRestarted(5, 1, "a", "e"))
    assert done.timers == [("funding", "stamp/fut:BTC", T)]


def test_state_survives_json():
    tracker, _ = hold()
    tracker.on_timer(T, "stamp/fut:BTC")
    tracker.handle(T + 1, paid("-5"))
    other, _ = make()
    other.restore(json.loads(json.dumps(tracker.snapshot())))
    assert other.state == tracker.state
