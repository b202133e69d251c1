"""A closed market is waited for, and an execution that tries for ever is stopped."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cell_harness import PERP, SECOND, SPECS, SPOT, D, changed
from hypothesis import given
from hypothesis import strategies as st
from order_bench import ask

from actors.base import Collected, detached_outbox
from actors.messages import (
    BasketLeg,
    BookView,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PreflightReply,
    PreflightRequest,
)
from actors.risk_checks import Reason, is_session_closed
from actors.risk_config import RiskConfig
from actors.risk_gate import RiskGate
from actors.sessions import AttemptConfig, Sessions, SessionState
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce
from venues.port import InstrumentState, InstrumentStatus
from venues.rules.contracts import parse_contract
from venues.rules.instants import instant_ns

ES = Instrument("cme", "ESH6", InstrumentKind.FUTURE, "ES", "USD", D("0.25"), D(1), multiplier=D(50))
PRODUCTS = {ES.id: parse_contract("ESH6").product}
I = InstrumentState  # noqa: E741


def ns(text: str) -> int:
    return instant_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


def sessions(**config: int) -> Sessions:
    return Sessions(AttemptConfig(**config), PRODUCTS, SessionState())


def order(number: int = 1, **changes: Any) -> OrderRequest:
    return changed(ask(f"r{number}", tif=TimeInForce.IOC), **changes)


# CME: facts A2; 2026-01-15 is a Thursday, Chicago is UTC-6.
CLOCK = [
    ("2026-01-15T21:59:59", I.OPEN),
    ("2026-01-15T22:00:00", I.CLOSE),
    ("2026-01-15T22:44:59", I.CLOSE),
    ("2026-01-15T22:45:00", I.PRE_OPEN),
    ("2026-01-15T23:00:00", I.OPEN),
    ("2026-01-16T21:59:59", I.OPEN),
    ("2026-01-16T22:00:00", I.CLOSE),
    ("2026-01-18T21:59:59", I.CLOSE),
    ("2026-01-18T22:00:00", I.PRE_OPEN),
    ("2026-01-18T23:00:00", I.OPEN),
    # The day after Thanksgiving ends at 12:15 in Chicago.
    ("2025-11-28T18:14:59", I.OPEN),
    ("2025-11-28T18:15:00", I.CLOSE),
]


@pytest.mark.parametrize(("at", "state"), CLOCK)
def test_the_calendar_says_when_cme_trades(at: str, state: InstrumentState) -> None:
    assert sessions().market(ns(at), ES.id) is state


def test_what_the_calendar_said_is_kept_exactly_until_it_changes() -> None:
    one = sessions()
    for at, state in CLOCK[:10]:
        assert one.market(ns(at), ES.id) is state
        assert one.market(ns(at) + SECOND - 1, ES.id) is state


def test_where_the_calendar_ends_the_market_is_closed() -> None:
    assert sessions().market(ns("2200-01-15T15:00:00"), ES.id) is I.CLOSE


def test_a_halt_counts_even_while_the_calendar_says_open() -> None:
    one, now = sessions(), ns("2026-01-15T15:00:00")
    one.told(now, ES.id, I.HALT)
    assert one.market(now, ES.id) is I.HALT
    one.told(now, ES.id, I.OPEN)
    assert one.market(now, ES.id) is I.OPEN


@pytest.mark.parametrize(
    ("state", "changes", "passes"),
    [
        (I.OPEN, {}, True),
        (I.PRE_OPEN, {}, False),
        (I.PRE_OPEN, {"tif": TimeInForce.GTC}, True),
        (I.PRE_OPEN, {"type": OrderType.MARKET, "price": None, "tif": TimeInForce.GTC}, False),
        (I.PRE_OPEN, {"type": OrderType.STOP_MARKET, "price": None, "trigger_price": D(95)}, True),
        (I.HALT, {}, False),
        (I.HALT, {"tif": TimeInForce.GTC}, False),
        (I.CLOSE, {"reduce_only": True}, False),
    ],
)
def test_which_orders_a_market_takes(state: InstrumentState, changes: dict[str, Any], passes: bool) -> None:
    one = sessions()
    one.told(0, PERP.id, state)
    assert (one.closed_why(0, order(**changes)) == "") is passes


# Attempts


def test_the_budget_is_per_execution_and_instrument_and_refills() -> None:
    one = sessions(attempts=3, window_ns=10 * SECOND)
    for number in range(3):
        assert not one.objects(number * SECOND, order())
        one.note(number * SECOND, order())
    assert one.objects(3 * SECOND, order())
    assert one.attempts(3 * SECOND, order()) == 3
    for other in (order(parent_id="p"), order(basket_id="b2"), order(instrument=SPOT.id), order(basket_id="")):
        assert not one.objects(3 * SECOND, other)
    # The first has left the window.
    assert not one.objects(10 * SECOND, order())


def test_orders_of_no_execution_are_not_counted() -> None:
    one = sessions(attempts=1)
    for _ in range(5):
        one.note(SECOND, order(basket_id=""))
    assert one.state.tries == {}


def test_a_break_is_taken_out_of_the_window() -> None:
    one = sessions(attempts=2, window_ns=10 * SECOND)
    one.note(SECOND, order())
    one.note(2 * SECOND, order())
    one.told(3 * SECOND, PERP.id, I.HALT)
    one.told(1_000 * SECOND, PERP.id, I.CLOSE)
    one.told(5_000 * SECOND, PERP.id, I.OPEN)
    # Three seconds of open market lie behind: both tries are in the window, for another eight seconds the first.
    assert one.attempts(5_000 * SECOND, order()) == 2
    assert one.attempts(5_007 * SECOND, order()) == 2
    assert one.attempts(5_008 * SECOND, order()) == 1


def test_only_so_many_executions_are_remembered() -> None:
    one = sessions(executions_max=3)
    for number in range(10):
        one.note(SECOND, order(basket_id=f"b{number}"))
    assert len(one.state.tries) == 3


@given(
    st.lists(st.tuples(st.integers(0, 5 * SECOND), st.booleans()), max_size=80),
    st.integers(1, 6),
    st.integers(1, 10 * SECOND),
)
def test_no_window_of_open_market_holds_more_than_the_budget(
    events: list[tuple[int, bool]], attempts: int, window_ns: int
) -> None:
    one, now, is_open = sessions(attempts=attempts, window_ns=window_ns), 0, True
    open_ns, sent = 0, []
    for wait, toggles in events:
        now += wait
        open_ns += wait if is_open else 0
        if toggles:
            is_open = not is_open
            one.told(now, PERP.id, I.OPEN if is_open else I.HALT)
        elif not one.objects(now, order()):
            assert is_open
            one.note(now, order())
            sent.append(open_ns)
    assert all(sum(begin <= at < begin + window_ns for at in sent) <= attempts for begin in sent)


# At the gate


class Gate:
    def __init__(self, **limits: int) -> None:
        config = RiskConfig(attempts=AttemptConfig(**limits), starts_read_only=False, orders_per_window=1_000_000)
        self.now = SECOND
        self.out = Collected()
        self.gate = RiskGate(SPECS, {"acc": PERP.venue}, config)
        self.gate.out = detached_outbox("risk_gate", self.out)
        self.gate.handle(self.now, BookView(self.now, PERP.id, 999, 1, 1001, 1))

    def ask(self, request: OrderRequest) -> object:
        self.gate.handle(self.now, request)
        answer = self.out.emitted[-1]
        if isinstance(answer, OrderApproved):
            final = OrderStatus.EXPIRED
            self.gate.handle(
                self.now,
                OrderUpdate(
                    self.now, request.request_id, "s", "b", "c", "acc", PERP.id, request.side, D(1), final, ZERO, True
                ),
            )
        return answer


def test_the_gate_refuses_what_a_closed_market_would_with_a_reason_to_wait() -> None:
    gate = Gate()
    gate.gate.handle(gate.now, InstrumentStatus(gate.now, PERP.id, I.HALT))
    asked: list[dict[str, Any]] = [{}, {"reduce_only": True}, {"is_hedge": True, "reduce_only": True}]
    for number, changes in enumerate(asked):
        answer = gate.ask(order(number, **changes))
        assert isinstance(answer, OrderDenied)
        assert is_session_closed(answer.reasons)
    gate.gate.handle(gate.now, InstrumentStatus(gate.now, PERP.id, I.OPEN))
    assert isinstance(gate.ask(order(9)), OrderApproved)


def test_a_basket_is_not_begun_while_a_leg_is_closed() -> None:
    gate = Gate()
    gate.gate.handle(gate.now, InstrumentStatus(gate.now, PERP.id, I.CLOSE))
    legs = (BasketLeg("acc", PERP.id, Side.BUY, D(1)),)
    gate.gate.handle(gate.now, PreflightRequest(gate.now, "b9", "s", legs, D(10)))
    reply = gate.out.emitted[-1]
    assert isinstance(reply, PreflightReply)
    assert any(Reason.SESSION_CLOSED in reason for reason in reply.reasons)


def test_the_gate_counts_attempts_and_a_hedge_is_no_exception() -> None:
    gate = Gate(attempts=3, window_ns=60 * SECOND)
    for number in range(3):
        assert isinstance(gate.ask(order(number, is_hedge=True, reduce_only=True)), OrderApproved)
        gate.now += SECOND
    answer = gate.ask(order(9, is_hedge=True, reduce_only=True))
    assert isinstance(answer, OrderDenied)
    assert [reason.partition(":")[0] for reason in answer.reasons] == [Reason.ATTEMPTS]
    assert not is_session_closed(answer.reasons)
    assert isinstance(gate.ask(order(10, basket_id="other", reduce_only=True)), OrderApproved)


def test_a_status_of_an_instrument_that_nobody_trades_is_let_pass() -> None:
    gate = Gate()
    gate.gate.handle(gate.now, InstrumentStatus(gate.now, "x:Y", I.HALT))
    assert gate.gate.state.sessions.states == {}


def test_closed_markets_and_attempts_survive_a_snapshot() -> None:
    gate = Gate(attempts=1)
    gate.ask(order(1))
    gate.gate.handle(gate.now, InstrumentStatus(gate.now, SPOT.id, I.HALT))
    plain = json.loads(json.dumps(gate.gate.snapshot()))
    again = Gate(attempts=1)
    again.gate.restore(plain)
    again.now += SECOND
    answer = again.ask(order(2))
    assert isinstance(answer, OrderDenied)
    assert answer.reasons[0].startswith(Reason.ATTEMPTS)
    assert again.gate.state.sessions.states == {SPOT.id: I.HALT}


@pytest.mark.parametrize("field", ["attempts", "window_ns", "executions_max"])
def test_a_budget_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        AttemptConfig(**{field: 0})
