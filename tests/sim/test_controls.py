"""Markets that change by themselves: bands, limits, breakers, CME's hours, settlement, expiry, forced closes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from sim.index_mean import IndexMean
from sim.price_controls import PriceControls
from sim.venue import SimVenue, VenueSetupError
from sim.venue_settings import Controls, StopLogic, VenueSettings
from sim.venue_state import Note
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, Side
from venues.port import (
    BookSnapshot,
    InstrumentState,
    InstrumentStatus,
    MarkPrice,
    OrderCanceled,
    OrderFilled,
    OrderRejected,
    RejectReason,
    Report,
    SettlementPrice,
    SubmitOrder,
    Trade,
)
from venues.rules.circuit_breakers import VelocityRule
from venues.rules.cme_products import product
from venues.rules.errors import BadValueError

D = Decimal
S = 1_000_000_000
MINUTE = 60 * S
ES = Instrument(
    "V",
    "ESH6",
    InstrumentKind.FUTURE,
    "ES",
    "USD",
    D("0.25"),
    D(1),
    multiplier=D(50),
    initial_margin=D(22_000),
    maintenance_margin=D(20_000),
)
QUARTERLY = Instrument(
    "V",
    "BTCUSDT_260327",
    InstrumentKind.QUARTERLY,
    "BTC",
    "USDT",
    D("0.1"),
    D(1),
    max_leverage=50,
    brackets=(Bracket(D(0), D(10**9), D("0.01"), D(0), 50),),
)
FEES = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))


def ns(text: str) -> int:
    at = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (at.days * 86_400 + at.seconds) * S


class Played:
    """A venue with one account and what it noted."""

    def __init__(self, spec: Instrument, controls: Controls | None = None, **settings: bool) -> None:
        self.notes: list[Note] = []
        given_controls = {} if controls is None else {spec.id: controls}
        account = Account("me", "V", {"USD": D(10**7), "USDT": D(10**7)})
        self.spec = spec
        self.venue = SimVenue(
            "V",
            (spec,),
            [account],
            FEES,
            "cme" if spec.kind is InstrumentKind.FUTURE else "binance_usdm",
            on_note=self.notes.append,
            settings=VenueSettings(controls=given_controls, **settings),  # type: ignore[arg-type]
        )

    def trade(self, now: int, ticks: int, lots: int = 1) -> list[Report]:
        return self.venue.on_market(now, Trade(now, self.spec.id, 1, ticks, lots, Side.BUY))

    def book(self, now: int, bid: int, ask: int, lots: int = 10) -> list[Report]:
        return self.venue.on_market(now, BookSnapshot(now, self.spec.id, 1, [(bid, lots)], [(ask, lots)]))

    def send(self, now: int, side: Side, lots: int, ticks: int | None = None, name: str = "a") -> list[Report]:
        kind = OrderType.MARKET if ticks is None else OrderType.LIMIT
        price = None if ticks is None else self.spec.price(ticks)
        return self.venue.on_command(now, SubmitOrder(now, "me", self.spec.id, name, side, D(lots), kind, price))

    def run_to(self, end: int) -> list[tuple[int, str, str]]:
        """Let the venue do what is due until `end`; return what it noted meanwhile."""
        known = len(self.notes)
        while (due := self.venue.next_deadline()) is not None and due <= end:
            self.venue.on_time(due)
        return [(note.ts, note.kind, note.text) for note in self.notes[known:]]

    def state(self) -> InstrumentState:
        return self.venue.state.markets[self.spec.id].state


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Controls(price_band=D(0)), "price_band"),
        (lambda: Controls(price_band=D("NaN")), "price_band"),
        (lambda: Controls(limit_share=D(1)), "limit_share"),
        (lambda: Controls(breaker_width=D("Infinity")), "breaker_width"),
        (lambda: Controls(breaker_share=D(0)), "breaker_share"),
        (lambda: Controls(breaker_width=D(1), breaker_share=D("0.1")), "breaker_share"),
        (lambda: StopLogic(0, 1), "ticks"),
        (lambda: StopLogic(1, 0), "pause_ns"),
        (lambda: VenueSettings(daily_settlement=True), "daily_settlement"),
        (lambda: PriceControls(ES, Controls(breaker_width=D("0.2"))), "breaker_width"),
        (lambda: PriceControls(ES, Controls(equity_limits=True)), "equity_limits"),
        (lambda: PriceControls(ES, Controls(equity_limits=True), product("GC")), "equity_limits"),
        (lambda: Controls(limit_share=D("0.1"), equity_limits=True), "limit_share"),
    ],
)
def test_controls_that_cannot_be_are_refused_by_name(make: object, field: str) -> None:
    with pytest.raises(BadValueError) as refused:
        make()  # type: ignore[operator]
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (VenueSettings(controls={"V:NQH6": Controls()}), "controls: V:NQH6 not listed here"),
        (VenueSettings(calendar=True), "calendar: .*BTCUSDT_260327"),
    ],
)
def test_settings_for_what_is_not_there_are_refused(settings: VenueSettings, why: str) -> None:
    with pytest.raises(VenueSetupError, match=why):
        SimVenue("V", (QUARTERLY,), [], FEES, settings=settings)


# Limits: 7 % of 6,700.10 is 469.007, 469.00 on the grid.


def test_limits_come_with_a_settlement_and_cancel_what_is_beyond() -> None:
    played = Played(ES, Controls(limit_share=D("0.07")))
    played.book(0, 26_800, 26_804)
    played.send(1, Side.BUY, 1, 20_000, "low")
    played.send(1, Side.BUY, 1, 26_000, "near")
    reports = played.venue.settle(2, ES.id, D("6700.00"))
    assert [r.client_order_id for r in reports if isinstance(r, OrderCanceled)] == ["low"]
    limits = played.venue.state.markets[ES.id].controls
    assert limits is not None
    assert (limits.limits.lower, limits.limits.upper) == (D(6231), D(7169))
    refused = played.send(3, Side.SELL, 1, 28_677, "high")
    assert [r.reason for r in refused if isinstance(r, OrderRejected)] == [RejectReason.PRICE_LIMIT]


def test_a_resting_order_does_not_fill_beyond_the_limits() -> None:
    played = Played(ES, Controls(limit_share=D("0.07")))
    played.venue.settle(0, ES.id, D(6700))
    played.send(1, Side.SELL, 1, 28_676)
    assert played.trade(2, 28_677) == []
    assert [type(r) for r in played.trade(3, 28_676)][:1] == [OrderFilled]


@pytest.mark.parametrize(
    ("side", "limit", "reach"),
    [(Side.BUY, None, 28_676), (Side.BUY, 27_000, 27_000), (Side.SELL, None, 24_924), (Side.SELL, 100, 24_924)],
)
def test_no_order_reaches_beyond_the_limits(side: Side, limit: int | None, reach: int) -> None:
    controls = PriceControls(ES, Controls(limit_share=D("0.07")))
    assert controls.reach(0, side, limit) == limit
    controls.new_session(D(6700))
    assert controls.reach(0, side, limit) == reach
    if limit is not None:
        assert controls.clamp(side, limit) == reach


def test_a_breaker_bounds_own_orders_by_what_was_seen() -> None:
    assert PriceControls(ES, Controls(breaker_share=D("0.035"))).breaker is None
    controls = PriceControls(ES, Controls(breaker_share=D("0.035")))
    controls.new_session(D(6700))
    # 3.5 % of 6,700 is 234.5: 938 ticks.
    assert controls.breaker is not None
    assert controls.breaker.width_ticks == 938
    assert not controls.breaker.check(1, 26_800)
    assert controls.reach(1, Side.BUY, None) == 27_738
    assert controls.reach(1, Side.SELL, 26_000) == 26_000
    assert controls.reach(1, Side.SELL, None) == 25_862


# Pauses


def test_a_pause_ends_when_the_exchange_says_otherwise() -> None:
    played = Played(ES, Controls(breaker_width=D(10)))
    played.trade(1, 26_800)
    played.trade(2, 26_841)
    assert played.state() is InstrumentState.PRE_OPEN
    assert played.venue.next_deadline() == 2 + 120 * S
    played.venue.on_market(3, InstrumentStatus(3, ES.id, InstrumentState.HALT))
    assert played.venue.next_deadline() is None
    assert played.run_to(10**12) == []
    assert played.state() is InstrumentState.HALT


def test_the_window_starts_anew_with_the_reopening() -> None:
    played = Played(ES, Controls(breaker_width=D(10)))
    played.trade(1, 26_800)
    played.trade(2, 26_841)
    played.run_to(121 * S)
    assert played.state() is InstrumentState.OPEN
    played.trade(122 * S, 26_850)
    assert played.state() is InstrumentState.OPEN


@pytest.mark.parametrize(
    ("at", "pauses", "seconds"),
    [
        # Thursday 2026-01-15: overnight, in the cash session, and four minutes before the close at 16:00 Chicago.
        ("2026-01-15T08:00:00", True, 120),
        ("2026-01-15T15:00:00", False, 0),
        ("2026-01-15T21:54:59", True, 120),
        ("2026-01-15T21:56:00", True, 5),
    ],
)
def test_the_breaker_of_an_index_future_watches_outside_cash_hours(at: str, pauses: bool, seconds: int) -> None:
    played = Played(ES, Controls(breaker_width=D(10)), calendar=True)
    start = ns(at)
    played.trade(start, 26_800)
    played.trade(start + 1, 26_841)
    assert (played.state() is InstrumentState.PRE_OPEN) is pauses
    if pauses:
        assert played.venue.next_deadline() == start + 1 + seconds * S


def test_velocity_looks_at_its_window_only() -> None:
    played = Played(ES, Controls(velocity=VelocityRule(8, S, 5 * S)))
    played.trade(0, 26_800)
    played.trade(S + 1, 26_809)
    assert played.state() is InstrumentState.OPEN
    played.trade(2 * S + 1, 26_818)
    assert played.run_to(60 * S) == [(7 * S + 1, "status", "open: the pause is over")]


# The calendar


@pytest.mark.parametrize(
    ("at", "state", "changes"),
    [
        # Chicago is UTC-6 in January: close 22:00, pre-open 22:45, open 23:00 UTC.
        (
            "2026-01-15T12:00:00",
            InstrumentState.OPEN,
            [("2026-01-15T22:00:00", "close"), ("2026-01-15T22:45:00", "pre_open"), ("2026-01-15T23:00:00", "open")],
        ),
        # Friday to Sunday: the pre-open of a Sunday is at 16:00 Chicago.
        (
            "2026-01-16T12:00:00",
            InstrumentState.OPEN,
            [("2026-01-16T22:00:00", "close"), ("2026-01-18T22:00:00", "pre_open"), ("2026-01-18T23:00:00", "open")],
        ),
        ("2026-01-17T12:00:00", InstrumentState.CLOSE, [("2026-01-18T22:00:00", "pre_open")]),
        ("2026-01-15T22:50:00", InstrumentState.PRE_OPEN, [("2026-01-15T23:00:00", "open")]),
        # In summer Chicago is five hours behind.
        ("2026-07-15T12:00:00", InstrumentState.OPEN, [("2026-07-15T21:00:00", "close")]),
        # Martin Luther King's day closes at noon Chicago for equity index futures.
        ("2026-01-19T12:00:00", InstrumentState.OPEN, [("2026-01-19T18:00:00", "close")]),
    ],
)
def test_the_market_keeps_cmes_hours(at: str, state: InstrumentState, changes: Sequence[tuple[str, str]]) -> None:
    played = Played(ES, calendar=True)
    played.book(ns(at), 26_800, 26_801)
    assert played.state() is state
    known = len(played.notes)
    played.run_to(ns(changes[-1][0]))
    told = [(note.ts, note.kind, note.text) for note in played.notes[known:]]
    assert told == [(ns(when), "status", f"{word}: calendar") for when, word in changes]


def test_a_venue_that_was_not_called_yet_has_nothing_due() -> None:
    assert Played(ES, calendar=True).venue.next_deadline() is None


# Settlement


def settled(played: Played, end: str) -> list[tuple[str, str]]:
    return [(kind, text) for _, kind, text in played.run_to(ns(end)) if "settlement" in kind]


def test_the_settlement_falls_back_to_the_midpoint_and_to_the_last_price() -> None:
    end = "2026-01-15T21:00:00"
    played = Played(ES, calendar=True, daily_settlement=True)
    played.book(ns("2026-01-15T20:00:00"), 26_800, 26_803)
    # 6,700.375 on the tick, halves up.
    assert settled(played, end) == [("settlement", "6700.50")]
    played = Played(ES, calendar=True, daily_settlement=True)
    played.trade(ns("2026-01-15T20:00:00"), 26_777)
    assert settled(played, end) == [("settlement", "6694.25")]
    played = Played(ES, calendar=True, daily_settlement=True)
    played.venue.on_market(ns("2026-01-15T20:00:00"), BookSnapshot(0, ES.id, 1, [(1, 1)], []))
    assert settled(played, end)[0][0] == "no_settlement"


def test_the_settlement_is_told() -> None:
    played = Played(ES, calendar=True, daily_settlement=True)
    played.trade(ns("2026-01-15T20:00:00"), 26_777)
    at, said = ns("2026-01-15T21:00:00"), list[Report]()
    while (due := played.venue.next_deadline()) is not None and due <= at:
        said += played.venue.on_time(due)
    assert [one for one in said if isinstance(one, SettlementPrice)] == [SettlementPrice(at, ES.id, D("6694.25"))]


def test_every_business_day_is_settled_once() -> None:
    played = Played(ES, calendar=True, daily_settlement=True)
    played.book(ns("2026-01-15T20:00:00"), 26_800, 26_801)
    known = len(played.notes)
    played.run_to(ns("2026-01-21T22:00:00"))
    stamps = [note.ts for note in played.notes[known:] if note.kind == "settlement"]
    # Not on Saturday, Sunday and Martin Luther King's day.
    assert stamps == [ns(f"2026-01-{day}T21:00:00") for day in (15, 16, 20, 21)]


# Expiry

EXPIRY = ns("2026-03-27T08:00:00")


@given(st.lists(st.tuples(st.integers(-10, 1900 * 4), st.integers(900, 1100)), max_size=30))
def test_the_mean_takes_the_index_of_each_second(told: list[tuple[int, int]]) -> None:
    # Quarters of a second from the window's start, told in order; the slow way is a walk over all seconds.
    start = EXPIRY - 1800 * S
    told = sorted(told, key=lambda item: item[0])
    mean = IndexMean(EXPIRY)
    for quarter, index in told:
        mean.take(start + quarter * S // 4, D(index))
    points = []
    for second in range(1800):
        known = [index for quarter, index in told if quarter <= second * 4]
        if known:
            points.append(D(known[-1]))
    expected = (sum(points, D(0)) / len(points)).quantize(D("1E-8")) if points else None
    assert mean.value(EXPIRY) == expected


def test_before_november_2024_the_window_was_an_hour() -> None:
    assert IndexMean(ns("2024-09-27T08:00:00")).start_ns == ns("2024-09-27T07:00:00")
    assert IndexMean(ns("2024-12-27T08:00:00")).start_ns == ns("2024-12-27T07:30:00")


def test_without_an_index_nothing_is_delivered_and_that_is_said() -> None:
    played = Played(evolve(QUARTERLY, expiry_ns=EXPIRY))
    played.book(EXPIRY - MINUTE, 1000, 1001)
    played.send(EXPIRY - MINUTE, Side.BUY, 2)
    played.venue.on_market(EXPIRY - 1, MarkPrice(EXPIRY - 1, QUARTERLY.id, D(101)))
    assert [kind for _, kind, _ in played.run_to(EXPIRY)] == ["no_delivery_price", "status"]
    assert played.state() is InstrumentState.CLOSE
    assert [held.qty for held in played.venue.state.accounts["me"].open_holdings()] == [2]
    assert played.venue.next_deadline() is None


def test_an_expired_contract_does_nothing_more() -> None:
    spec = evolve(ES, expiry_ns=ns("2026-03-20T13:30:00"))
    played = Played(spec, calendar=True, daily_settlement=True)
    played.book(ns("2026-03-20T13:00:00"), 26_800, 26_801)
    played.trade(ns("2026-03-20T13:10:00"), 26_801)
    known = len(played.notes)
    played.run_to(ns("2026-03-25T00:00:00"))
    assert [(note.kind, note.text) for note in played.notes[known:]] == [("expiry", "6700.25")]


# Forced close


def test_a_close_out_waits_for_the_opening() -> None:
    at = ns("2026-01-15T22:30:00")
    played = Played(ES, Controls(close_out_ns=at), calendar=True)
    played.book(at - 120 * MINUTE, 26_800, 26_801)
    played.send(at - 120 * MINUTE, Side.SELL, 3)
    told = played.run_to(ns("2026-01-15T23:00:00"))
    assert [(when, text) for when, kind, text in told if kind == "close_out"] == [
        (ns("2026-01-15T23:00:00"), "3 closed")
    ]
    assert played.venue.state.accounts["me"].open_holdings() == []


# Equity limits: 7 % of the index 6,690 is 468.30, 468.25 on the tick; 20 % is 1,338.


def test_equity_limits_follow_the_clock_and_the_fixing() -> None:
    played = Played(ES, Controls(equity_limits=True), calendar=True)
    controls = played.venue.state.markets[ES.id].controls
    assert controls is not None

    def band(at: str) -> tuple[Decimal | None, Decimal | None]:
        controls.refresh(ns(at))
        return controls.limits.lower, controls.limits.upper

    morning = ns("2026-01-15T08:00:00")
    played.venue.on_market(morning, MarkPrice(morning, ES.id, D(6700), D(6690)))
    assert band("2026-01-15T08:00:00") == (None, None)
    played.venue.settle(morning, ES.id, D(6700))
    # Chicago: 02:00, 08:30, 14:24:59, 14:25, 15:00.
    assert band("2026-01-15T08:00:00") == (D("6231.75"), D("7168.25"))
    assert band("2026-01-15T14:30:00") == (D("6231.75"), None)
    assert band("2026-01-15T20:24:59") == (D("6231.75"), None)
    assert band("2026-01-15T20:25:00") == (D(5362), None)
    played.venue.settle(ns("2026-01-15T21:00:00"), ES.id, D(6650))
    assert band("2026-01-15T21:00:00") == (D("6181.75"), D("7118.25"))
    assert band("2026-01-15T22:30:00") == (D("6181.75"), D("7118.25"))
    assert band("2026-01-15T23:30:00") == (D("6181.75"), D("7118.25"))
    assert band("2026-01-16T15:00:00") == (D("6181.75"), None)


def test_an_index_that_fits_no_limits_is_noted() -> None:
    played = Played(ES, Controls(equity_limits=True), calendar=True)
    morning = ns("2026-01-15T08:00:00")
    played.venue.on_market(morning, MarkPrice(morning, ES.id, D(6700), D(66_900)))
    played.venue.settle(morning, ES.id, D(6700))
    assert played.notes[-1].kind == "no_limits"
