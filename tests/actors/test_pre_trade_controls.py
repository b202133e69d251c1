"""The controls C1-C21 (reliability.md, section 1), one by one: each trips as its definition says, and fails closed.

C7's cancels are tested with the kill switch and below, C10 and the rest of the gate's table in test_risk_gate.py.
"""

import json
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.control import ClockOffset
from actors.dead_man_words import DeadManState
from actors.executions import ExecutionIntent
from actors.halts import (
    Halt,
    HaltCommand,
    Halts,
    HaltsConfig,
    HaltScope,
    HaltState,
    HaltTrigger,
    ReleaseCommand,
    objection,
)
from actors.kill_switch import LEVELS, KillConfig, KillSwitch, Trigger
from actors.messages import (
    ArmCommand,
    BasketLeg,
    BookView,
    FeedStatus,
    Incident,
    KillLevel,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
)
from actors.order_manager import OrderManager
from actors.risk_checks import Reason
from actors.risk_config import InstrumentLimits, RiskConfig
from actors.risk_gate import RiskGate
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide, Side, TimeInForce
from venues.port import CancelAll, CancelOrder, SubmitOrder, VenueUp

D = Decimal
SECOND = 1_000_000_000
NOW = 1_000 * SECOND
FAR = 2**62
PERP = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
OTHER = Instrument("fut", "ETH", InstrumentKind.PERPETUAL, "ETH", "USDT", D("0.1"), D("0.001"))
SPOT = Instrument("spot", "BTC", InstrumentKind.SPOT, "BTC", "USDT", D("0.1"), D("0.001"))
INSTRUMENTS = {spec.id: spec for spec in (PERP, OTHER, SPOT)}
ACCOUNTS = {"f": "fut", "s": "spot"}
LIMITS = InstrumentLimits(collar_bps=D(1_000), hard_collar_bps=D(2_000), period_collar_bps=D(300))
CONFIG = RiskConfig(default=LIMITS, starts_read_only=False)


def make(config: RiskConfig = CONFIG) -> tuple[RiskGate, Collected]:
    gate, done = RiskGate(INSTRUMENTS, ACCOUNTS, config), Collected()
    gate.out = detached_outbox("gate", into=done)
    for account, spec in (("f", PERP), ("f", OTHER), ("s", SPOT)):
        book(gate, "100", spec=spec)
        gate.handle(NOW, DeadManState(NOW, account, spec.id, FAR))
    return gate, done


def book(gate: RiskGate, mid: str, now: int = NOW, spec: Instrument = PERP) -> None:
    ticks = spec.ticks(D(mid))
    gate.handle(now, BookView(now, spec.id, ticks - 1, 1, ticks + 1, 1))


def order(number: int = 1, **changes: Any) -> OrderRequest:
    values: dict[str, Any] = {
        "strategy": "carry",
        "basket_id": "",
        "account": "f",
        "instrument": PERP.id,
        "side": Side.BUY,
        "qty": D(number),
        "price": D(100),
    } | changes
    return OrderRequest(NOW, f"r{number}", **values)


def ask(gate: RiskGate, done: Collected, request: OrderRequest, now: int = NOW) -> set[str]:
    """Return the reasons of the denial, without their figures."""
    done.emitted.clear()
    gate.handle(now, request)
    answers = [one for one in done.emitted if isinstance(one, OrderApproved | OrderDenied)]
    assert len(answers) == 1
    (answer,) = answers
    return {one.partition(":")[0] for one in answer.reasons} if isinstance(answer, OrderDenied) else set()


def hold(gate: RiskGate, qty: str) -> None:
    gate.handle(NOW, PositionUpdate(NOW, "f", PERP.id, PositionSide.BOTH, D(qty), D(100), ZERO))


# C1: prices of a period


@pytest.mark.parametrize(
    ("mids", "price", "reasons"),
    [
        # One sample a minute; the last two count. 3 % of 100 is 3.
        ([("100", 0)], "103", set()),
        ([("100", 0)], "103.1", {Reason.PERIOD_COLLAR}),
        ([("100", 0), ("103", 61)], "103", set()),
        ([("100", 0), ("103", 61)], "103.1", {Reason.PERIOD_COLLAR}),
        ([("100", 0), ("103", 61), ("103", 122)], "103.1", set()),
        # A market that ran away from itself within the period is not followed at any price.
        ([("100", 0), ("107", 61)], "107", {Reason.PERIOD_COLLAR}),
        ([("100", 0), ("107", 61)], "103", {Reason.PERIOD_COLLAR}),
        ([("100", 0), ("107", 61), ("107", 122)], "107", set()),
    ],
)
def test_c1_prices_are_held_against_those_of_the_period(mids, price, reasons) -> None:
    gate, done = make()
    for mid, at in mids:
        book(gate, mid, NOW + at * SECOND)
    assert ask(gate, done, order(price=D(price)), NOW + mids[-1][1] * SECOND) == reasons


def test_c1_the_period_lets_reductions_through_and_survives_a_restart() -> None:
    gate, done = make()
    book(gate, "107", NOW + 61 * SECOND)
    gate.restore(json.loads(json.dumps(gate.snapshot())))
    assert ask(gate, done, order(price=D(107)), NOW + 61 * SECOND) == {Reason.PERIOD_COLLAR}
    hold(gate, "5")
    assert ask(gate, done, order(2, side=Side.SELL, price=D(107)), NOW + 61 * SECOND) == set()


@given(
    st.lists(st.tuples(st.integers(900, 1_100), st.integers(0, 90)), min_size=1, max_size=12), st.integers(800, 1_200)
)
def test_c1_no_price_leaves_the_band_of_either_sample(course: list[tuple[int, int]], ticks: int) -> None:
    gate, done = make(evolve(CONFIG, duplicate_window_ns=0))
    now, samples, due = NOW, [D(100), D(100)], NOW + 60 * SECOND
    for mid, seconds in course:
        now += seconds * SECOND
        book(gate, str(D(mid) / 10), now)
        if now >= due:
            samples, due = [samples[1], D(mid) / 10], now + 60 * SECOND
    price = D(ticks) / 10
    is_out = any(abs(price - one) > one * D("0.03") for one in samples)
    assert (Reason.PERIOD_COLLAR in ask(gate, done, order(price=price), now)) is is_out


# C2, C3, C5, C9, C18: values and volumes, in flight as well


@pytest.mark.parametrize(
    ("config", "orders", "reasons"),
    [
        ({}, [order(20)], set()),
        ({"default": evolve(LIMITS, order_notional_max=D(1_999))}, [order(20)], {Reason.ORDER_NOTIONAL}),
        ({"default": evolve(LIMITS, order_qty_max=D(19))}, [order(20)], {Reason.ORDER_QTY}),
        # 20 and 21 at 100 are 4,100 in flight.
        ({"unexecuted_notional_max": D(4_100)}, [order(20), order(21)], set()),
        ({"unexecuted_notional_max": D(4_099)}, [order(20), order(21)], {Reason.UNEXECUTED_NOTIONAL}),
        # Both ways count: 2,000 bought and 2,100 sold are unexecuted, though they can only come to 2,100 either way.
        (
            {"unexecuted_notional_max": D(4_099)},
            [order(20), order(21, side=Side.SELL)],
            {Reason.UNEXECUTED_NOTIONAL},
        ),
        (
            {"unexecuted_notional_max": D(4_099)},
            [order(20), order(21, instrument=OTHER.id)],
            {Reason.UNEXECUTED_NOTIONAL},
        ),
        # What is not set is bounded by the gross limit.
        ({"gross_notional_max": D(4_000)}, [order(20), order(21, side=Side.SELL)], {Reason.UNEXECUTED_NOTIONAL}),
        ({"gross_notional_max": D(4_099)}, [order(20), order(21)], {Reason.GROSS_NOTIONAL, Reason.UNEXECUTED_NOTIONAL}),
    ],
)
def test_what_is_in_flight_counts_at_once(config, orders, reasons) -> None:
    gate, done = make(evolve(CONFIG, **config))
    found = [ask(gate, done, one) for one in orders]
    assert found == [set()] * (len(orders) - 1) + [reasons]


def test_c18_a_final_order_is_unexecuted_no_more() -> None:
    gate, done = make(evolve(CONFIG, unexecuted_notional_max=D(4_000)))
    assert ask(gate, done, order(30)) == set()
    assert ask(gate, done, order(20)) == {Reason.UNEXECUTED_NOTIONAL}
    gate.handle(
        NOW,
        OrderUpdate(NOW, "r30", "carry", "", "c", "f", PERP.id, Side.BUY, D(30), OrderStatus.CANCELED, ZERO, True),
    )
    assert ask(gate, done, order(21)) == set()


ODD_NUMBERS = st.sampled_from([D("NaN"), D("sNaN"), D("Infinity"), D("-Infinity"), D(0), D(-1)])


@given(ODD_NUMBERS, st.booleans(), st.sampled_from(list(TimeInForce)))
def test_c18_what_is_no_number_never_leaves(value: Decimal, is_qty: bool, tif: TimeInForce) -> None:
    gate, done = make()
    changes: dict[str, Any] = {"tif": tif, "qty" if is_qty else "price": value}
    assert ask(gate, done, order(**changes)) & {Reason.BAD_QTY, Reason.BAD_PRICE}


@given(st.sampled_from(["book", "touch of another", "account", "instrument"]))
def test_c18_what_has_no_reference_never_leaves(missing: str) -> None:
    gate = RiskGate(INSTRUMENTS, ACCOUNTS, CONFIG)
    gate.out = detached_outbox("gate", into=(done := Collected()))
    names: dict[str, Any] = {}
    if missing != "book":
        book(gate, "100")
    if missing == "touch of another":
        gate.handle(NOW, PositionUpdate(NOW, "f", OTHER.id, PositionSide.BOTH, D(1), D(1), ZERO))
    elif missing != "book":
        names = {missing: "nobody"}
    assert ask(gate, done, order(**names)) != set()


# C6: repeated executions


def preflight(number: int, strategy: str = "carry", closes: str | None = None) -> PreflightRequest:
    legs = (BasketLeg("f", PERP.id, Side.BUY, D(1)),)
    return PreflightRequest(NOW, f"b{number}", strategy, legs, D(10), closes)


THROTTLED = evolve(CONFIG, executions_per_window=3, execution_window_ns=10 * SECOND, duplicate_window_ns=0)


def executes(gate: RiskGate, done: Collected, number: int, now: int, kind: str) -> bool:
    if kind == "order":
        return ask(gate, done, order(number), now) == set()
    done.emitted.clear()
    gate.handle(now, preflight(number))
    return any(isinstance(one, PreflightReply) and one.is_ok for one in done.emitted)


@pytest.mark.parametrize("kind", ["order", "basket"])
def test_c6_a_strategy_that_executes_too_often_is_disabled(kind: str) -> None:
    gate, done = make(THROTTLED)
    assert [executes(gate, done, number, NOW + number, kind) for number in range(1, 5)] == [True, True, True, False]
    (trigger,) = [one for one in done.emitted if isinstance(one, HaltTrigger)]
    assert (trigger.scope, trigger.name, trigger.level) == (HaltScope.STRATEGY, "carry", KillLevel.REDUCE_ONLY)


def test_c6_the_window_moves_on() -> None:
    gate, done = make(THROTTLED)
    expected = {0: True, 4: True, 8: True, 10: True, 11: False, 14: True}
    found = {}
    for at in expected:
        book(gate, "100", NOW + at * SECOND)
        found[at] = executes(gate, done, at + 1, NOW + at * SECOND, "order")
    assert found == expected


def test_c6_others_slices_and_reductions_are_not_counted() -> None:
    gate, done = make(THROTTLED)
    hold(gate, "-50")
    gate.handle(NOW, ExecutionIntent(NOW, "p1", "twap", "f", PERP.id, Side.BUY, D(1_000)))
    gate.handle(NOW, ExecutionIntent(NOW, "p1", "twap", "f", PERP.id, Side.BUY, D(50)))
    for number in range(1, 10):
        assert ask(gate, done, order(number, strategy="twap", parent_id="p1")) == set()
        assert ask(gate, done, order(number + 10, reduce_only=True, qty=D("0.01"))) == set()
    gate.handle(NOW, preflight(1))
    for number in range(2, 10):
        gate.handle(NOW, preflight(number, closes="b1"))
    assert len(gate.state.executions["carry"]) == 1
    assert [executes(gate, done, number, NOW, "order") for number in (30, 31, 32)] == [True, True, False]


def test_c6_a_release_counts_from_zero() -> None:
    gate, done = make(THROTTLED)
    for number in range(1, 4):
        assert executes(gate, done, number, NOW, "order")
    gate.handle(NOW, HaltState(NOW, HaltScope.STRATEGY, "carry", KillLevel.REDUCE_ONLY, "throttle", "4 is over 3"))
    # Latched: time alone does not lift it.
    assert ask(gate, done, order(5), NOW + 3_600 * SECOND) >= {Reason.HALTED}
    gate.handle(NOW, HaltState(NOW, HaltScope.STRATEGY, "carry", KillLevel.ARMED, "operator", "ann: seen"))
    assert [executes(gate, done, number, NOW, "order") for number in (6, 7, 8, 9)] == [True, True, True, False]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 5))
def test_c6_never_more_than_the_limit_within_any_window(steps: list[int], most: int) -> None:
    gate, done = make(evolve(THROTTLED, executions_per_window=most, orders_per_window=1_000, open_orders_max=1_000))
    now, executed = NOW, []
    for number, seconds in enumerate(steps, 1):
        now += seconds * SECOND
        # The book is fresh: only the throttle is asked.
        book(gate, "100", now)
        if ask(gate, done, order(number, qty=D("0.1")), now) == set():
            executed.append(now)
    for at in executed:
        assert sum(at - 10 * SECOND < one <= at for one in executed) <= most


# C7, C8: parts of the desk


def halts(**config: Any) -> tuple[Halts, Collected]:
    made, done = Halts(ACCOUNTS, HaltsConfig(**config)), Collected()
    made.out = detached_outbox("halts", into=done)
    return made, done


def halt(scope: HaltScope, name: str, level: KillLevel = KillLevel.REDUCE_ONLY) -> HaltCommand:
    return HaltCommand(NOW, "ann", scope, name, level, "odd")


@pytest.mark.parametrize(
    ("scope", "name", "accounts"),
    [
        (HaltScope.STRATEGY, "carry", []),
        (HaltScope.ACCOUNT, "f", ["f"]),
        (HaltScope.VENUE, "spot", ["s"]),
        (HaltScope.VENUE, "nowhere", []),
    ],
)
def test_c7_a_part_is_cancelled_at_its_venues(scope: HaltScope, name: str, accounts: list[str]) -> None:
    made, done = halts()
    made.handle(NOW, halt(scope, name, KillLevel.CANCEL_ALL))
    assert [one.account for one in done.sent if isinstance(one, CancelAll)] == accounts
    assert done.emitted == [HaltState(NOW, scope, name, KillLevel.CANCEL_ALL, "operator", "ann: odd")]
    # What was sent into a dead connection is sent again.
    done.sent.clear()
    for venue in ("fut", "spot"):
        made.handle(NOW, VenueUp(NOW, venue))
    assert [one.account for one in done.sent] == accounts
    done.sent.clear()
    made.handle(NOW, CellRestarted(NOW, 1, "x", ""))
    assert [one.account for one in done.sent] == accounts


def test_c8_a_part_s_level_only_rises_and_survives() -> None:
    made, done = halts()
    made.handle(NOW, halt(HaltScope.VENUE, "fut", KillLevel.CANCEL_ALL))
    made.handle(NOW, halt(HaltScope.VENUE, "fut"))
    made.handle(NOW, halt(HaltScope.VENUE, "fut", KillLevel.ARMED))
    assert len(done.emitted) == 1
    again, _ = halts()
    again.restore(json.loads(json.dumps(made.snapshot())))
    assert again.state.halts == {
        "venue/fut": Halt(HaltScope.VENUE, "fut", KillLevel.CANCEL_ALL, "operator", "ann: odd", NOW)
    }


@pytest.mark.parametrize(
    ("designated", "operator", "reason", "name", "refused"),
    [
        ((), "ann", "seen", "carry", ""),
        ((), "ann", " ", "carry", "releasing needs an operator and a reason"),
        ((), "", "seen", "carry", "releasing needs an operator and a reason"),
        (("risk",), "risk", "seen", "carry", ""),
        (("risk",), "risk pid 4242", "seen", "carry", ""),
        (("risk",), "risky pid 4242", "seen", "carry", "risky is not designated to release; risk may"),
        (("risk",), "ann", "seen", "carry", "ann is not designated to release; risk may"),
        ((), "ann", "seen", "other", "strategy other is not stopped"),
    ],
)
def test_c6_only_a_designated_person_releases(designated, operator, reason, name, refused) -> None:
    made, done = halts(designated=designated)
    made.handle(NOW, halt(HaltScope.STRATEGY, "carry"))
    done.emitted.clear()
    made.handle(NOW, ReleaseCommand(NOW, operator, HaltScope.STRATEGY, name, reason))
    (said,) = done.emitted
    if refused:
        assert said == Incident(NOW, "release_refused", "", refused)
        assert made.state.halts
    else:
        assert isinstance(said, HaltState)
        assert (said.level, made.state.halts) == (KillLevel.ARMED, {})


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (halt(HaltScope.STRATEGY, "carry"), ""),
        (halt(HaltScope.STRATEGY, "cary"), "there is no strategy 'cary'; there are carry"),
        (halt(HaltScope.VENUE, "fut"), "there is no venue 'fut'; there are none"),
        (
            halt(HaltScope.STRATEGY, "carry", KillLevel.FLATTEN),
            "a part is stopped to reduce_only or cancel_all, not flatten",
        ),
        (
            HaltCommand(NOW, " ", HaltScope.STRATEGY, "carry", KillLevel.REDUCE_ONLY),
            "a part is stopped by an operator with a name",
        ),
    ],
)
def test_c8_a_command_that_means_nothing_is_refused(command: HaltCommand, why: str) -> None:
    assert objection(command, {HaltScope.STRATEGY: ["carry"]}) == why


@pytest.mark.parametrize(
    ("scope", "name", "stops"),
    [
        (HaltScope.STRATEGY, "carry", True),
        (HaltScope.STRATEGY, "roll", False),
        (HaltScope.ACCOUNT, "f", True),
        (HaltScope.ACCOUNT, "s", False),
        (HaltScope.VENUE, "fut", True),
        (HaltScope.VENUE, "spot", False),
    ],
)
@pytest.mark.parametrize("level", [KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL])
def test_c8_only_the_part_opens_nothing_and_still_reduces(scope, name, level, *, stops: bool) -> None:
    gate, done = make()
    gate.handle(NOW, HaltState(NOW, scope, name, level, "operator", "ann: odd"))
    assert ask(gate, done, order()) == ({Reason.HALTED} if stops else set())
    hold(gate, "5")
    assert ask(gate, done, order(2, side=Side.SELL)) == set()
    rests = {Reason.MAY_REST} if stops and level is KillLevel.CANCEL_ALL else set()
    assert ask(gate, done, order(3, side=Side.SELL, qty=D("0.5"), tif=TimeInForce.GTC)) == rests


@pytest.mark.parametrize(
    ("scope", "name", "cancelled"),
    [
        (HaltScope.STRATEGY, "carry", {"f"}),
        (HaltScope.ACCOUNT, "s", {"s"}),
        (HaltScope.VENUE, "fut", {"f"}),
        (HaltScope.VENUE, "other", set()),
    ],
)
def test_c7_the_orders_of_the_part_are_cancelled_and_no_other(scope, name, cancelled) -> None:
    manager, done = OrderManager(INSTRUMENTS), Collected()
    manager.out = detached_outbox("orders", into=done)
    for number, (account, spec, strategy) in enumerate([("f", PERP, "carry"), ("s", SPOT, "roll")], 1):
        request = order(number, account=account, instrument=spec.id, strategy=strategy, tif=TimeInForce.GTC)
        manager.handle(NOW, OrderApproved(NOW, request))
    assert sum(isinstance(one, SubmitOrder) for one in done.sent) == 2
    manager.handle(NOW, HaltState(NOW, scope, name, KillLevel.REDUCE_ONLY, "operator", ""))
    assert not [one for one in done.sent if isinstance(one, CancelOrder)]
    manager.handle(NOW, HaltState(NOW, scope, name, KillLevel.CANCEL_ALL, "operator", ""))
    assert {one.account for one in done.sent if isinstance(one, CancelOrder)} == cancelled


# C11: who may


@pytest.mark.parametrize(
    ("strategies", "strategy", "reasons"),
    [
        (None, "anybody", set()),
        (("carry",), "carry", set()),
        (("carry",), "roll", {Reason.UNAUTHORISED}),
        (("carry",), "", {Reason.UNAUTHORISED}),
        ((), "carry", {Reason.UNAUTHORISED}),
    ],
)
def test_c11_only_authorised_strategies_open(strategies, strategy, reasons) -> None:
    gate, done = make(evolve(CONFIG, strategies=strategies))
    assert ask(gate, done, order(strategy=strategy)) == reasons
    hold(gate, "5")
    assert ask(gate, done, order(2, strategy=strategy, side=Side.SELL)) == set()


# C20: stale, gapped, crossed


@pytest.mark.parametrize(
    ("age_s", "is_live", "reasons"),
    [
        (10, True, set()),
        (11, True, {Reason.STALE_BOOK}),
        (0, False, {Reason.FEED_DOWN}),
    ],
)
def test_c20_no_new_risk_on_a_stale_or_gapped_book(age_s: int, reasons, *, is_live: bool) -> None:
    gate, done = make()
    gate.handle(NOW, FeedStatus(NOW, PERP.id, is_live, "" if is_live else "gap"))
    assert ask(gate, done, order(), NOW + age_s * SECOND) == reasons


@given(st.integers(0, 5), st.integers(1, 1_000))
def test_c20_a_crossed_view_is_no_price(over: int, bid: int) -> None:
    gate = RiskGate(INSTRUMENTS, ACCOUNTS, CONFIG)
    gate.out = detached_outbox("gate", into=(done := Collected()))
    gate.handle(NOW, BookView(NOW, PERP.id, bid + over, 1, bid, 1))
    assert Reason.NO_REFERENCE in ask(gate, done, order())


# C19, C21: the switch


@given(st.integers(-(10**12), 10**12))
def test_c21_a_clock_too_far_off_trips_and_forbids_arming(offset_ns: int) -> None:
    switch, done = KillSwitch(ACCOUNTS, KillConfig(clock_skew_ns=SECOND)), Collected()
    switch.out = detached_outbox("kill", into=done)
    switch.handle(NOW, ClockOffset(NOW, "fut", offset_ns))
    is_off = abs(offset_ns) > SECOND
    assert switch.state.level is (KillLevel.REDUCE_ONLY if is_off else KillLevel.ARMED)
    switch.handle(NOW, ArmCommand(NOW, "ann", "looked"))
    assert (switch.state.level is KillLevel.ARMED) is not is_off
    switch.handle(NOW, ClockOffset(NOW, "fut", 0))
    switch.handle(NOW, ArmCommand(NOW, "ann", "looked"))
    assert switch.state.level is KillLevel.ARMED


def test_every_trigger_has_a_level_that_stops_and_can_be_set() -> None:
    assert set(LEVELS) == set(Trigger) - {Trigger.OPERATOR}
    assert all(level > KillLevel.ARMED for level in LEVELS.values())
    config = KillConfig(levels=dict.fromkeys(LEVELS, KillLevel.FLATTEN))
    assert all(config.level(trigger) is KillLevel.FLATTEN for trigger in LEVELS)
