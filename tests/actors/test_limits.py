"""Limits get tighter while the desk runs, never looser, and stay so over restarts."""

import json
from decimal import Decimal

import pytest
from attrs import evolve

from actors.base import Collected, detached_outbox
from actors.limits import INSTRUMENT_KEYS, TightenLimit, effective
from actors.messages import BookView, Incident, OrderApproved, OrderDenied, OrderRequest
from actors.risk_config import InstrumentLimits, RiskConfig
from actors.risk_gate import RiskGate
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side

D = Decimal
BTC = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
ETH = Instrument("fut", "ETH", InstrumentKind.PERPETUAL, "ETH", "USDT", D("0.1"), D("0.001"))
CONFIG = RiskConfig(
    default=InstrumentLimits(order_notional_max=D(1_000)),
    instruments={ETH.id: InstrumentLimits(order_notional_max=D(5_000), order_qty_max=D(50))},
    orders_per_window=10,
    starts_read_only=False,
)


def make(config: RiskConfig = CONFIG) -> tuple[RiskGate, Collected]:
    gate, done = RiskGate({one.id: one for one in (BTC, ETH)}, {"f": "fut"}, config), Collected()
    gate.out = detached_outbox("gate", into=done)
    for spec in (BTC, ETH):
        gate.handle(0, BookView(0, spec.id, spec.ticks(D("99.9")), 1, spec.ticks(D("100.1")), 1))
    return gate, done


def change(key: str, value: str, instrument: str = "") -> TightenLimit:
    return TightenLimit(0, "ann", instrument, key, D(value), "a test")


def ask(gate: RiskGate, done: Collected, spec: Instrument, qty: str, request_id: str) -> str:
    """Return the first reason against an order at 100, empty when it passes."""
    done.emitted.clear()
    gate.handle(0, OrderRequest(0, request_id, "s", "", "f", spec.id, Side.BUY, D(qty), price=D(100)))
    [answer] = done.emitted
    if isinstance(answer, OrderApproved):
        return ""
    assert isinstance(answer, OrderDenied)
    return answer.reasons[0].partition(":")[0]


def test_a_limit_of_one_instrument_holds_for_it_alone() -> None:
    gate, done = make()
    assert ask(gate, done, ETH, "40", "r1") == ""
    gate.handle(0, change("order_notional_max", "3000", ETH.id))
    assert done.emitted[1:] == []
    assert ask(gate, done, ETH, "30.001", "r2") == "order_notional"
    assert ask(gate, done, ETH, "30", "r3") == ""
    assert ask(gate, done, BTC, "10", "r4") == ""


def test_a_limit_without_an_instrument_holds_for_all_of_them_and_loosens_none() -> None:
    gate, done = make()
    gate.handle(0, change("order_notional_max", "3000"))
    assert ask(gate, done, ETH, "31", "r1") == "order_notional"
    assert ask(gate, done, BTC, "11", "r2") == "order_notional"
    assert gate.limits.limits(BTC.id).order_notional_max == D(1_000)


@pytest.mark.parametrize(
    ("key", "value", "spec", "reason"),
    [
        ("order_qty_max", "2", BTC, "order_qty"),
        ("position_notional_max", "200", BTC, "position_notional"),
        ("position_qty_max", "2", BTC, "position_qty"),
        ("gross_notional_max", "200", BTC, "gross_notional"),
    ],
)
def test_every_limit_that_can_be_tightened_is_asked(key: str, value: str, spec: Instrument, reason: str) -> None:
    gate, done = make()
    gate.handle(0, change(key, value, spec.id if key in INSTRUMENT_KEYS else ""))
    assert ask(gate, done, spec, "2.001", "r1") == reason
    assert ask(gate, done, spec, "2", "r2") == ""


def test_counts_of_orders_stay_counts() -> None:
    gate, done = make()
    gate.handle(0, change("open_orders_max", "1"))
    gate.handle(0, change("orders_per_window", "5"))
    assert (gate.limits.open_orders_max, gate.limits.openings_per_window) == (1, 3)
    assert ask(gate, done, BTC, "1", "r1") == ""
    assert ask(gate, done, BTC, "2", "r2") == "open_orders"


REFUSED = [
    (change("order_notional_max", "5000"), "tighter than 5000 while the desk runs, got 5000"),
    (change("order_notional_max", "1000", BTC.id), "tighter than 1000"),
    (change("order_notional_max", "5001", ETH.id), "tighter than 5000"),
    (change("gross_notional_max", "5000001"), "tighter than 5000000"),
    (change("open_orders_max", "1.5"), "counts orders"),
    (change("open_orders_max", "0"), "positive"),
    (change("order_qty_max", "-1"), "positive"),
    (change("order_qty_max", "NaN"), "positive"),
    (change("order_qty_max", "Infinity"), "positive"),
    (change("gross_notional_max", "1", BTC.id), "whole desk"),
    (change("order_qty_max", "1", "fut:XRP"), "no instrument 'fut:XRP'"),
    (change("hard_collar_bps", "1"), "is none of order_notional_max"),
    (TightenLimit(0, " ", "", "order_qty_max", D(1)), "an operator"),
]


@pytest.mark.parametrize(("asked", "said"), REFUSED)
def test_what_would_loosen_or_mean_nothing_is_refused_with_the_reason(asked: TightenLimit, said: str) -> None:
    gate, done = make()
    gate.handle(0, asked)
    [incident] = done.emitted
    assert isinstance(incident, Incident)
    assert incident.kind == "limit_refused"
    assert said in incident.text
    assert gate.limits is CONFIG
    assert gate.state.tightened == {}


def test_each_step_must_be_tighter_than_the_last() -> None:
    gate, done = make()
    for value, is_taken in (("900", True), ("950", False), ("900", False), ("800", True)):
        done.emitted.clear()
        gate.handle(0, change("order_notional_max", value, BTC.id))
        assert (done.emitted == []) is is_taken
    assert gate.state.tightened == {BTC.id: {"order_notional_max": D(800)}}


def test_what_was_tightened_survives_a_restart_and_meets_a_new_configuration() -> None:
    gate, _ = make()
    gate.handle(0, change("order_notional_max", "800", BTC.id))
    gate.handle(0, change("gross_notional_max", "7000"))
    plain = json.loads(json.dumps(gate.snapshot()))
    tighter = InstrumentLimits(order_notional_max=D(700))
    for config, notional, gross in (
        (CONFIG, D(800), D(7_000)),
        (
            evolve(CONFIG, default=tighter, gross_notional_max=D(9_000)),
            D(700),
            7_000,
        ),
        (evolve(CONFIG, gross_notional_max=D(6_000)), D(800), D(6_000)),
    ):
        fresh, _ = make(config)
        fresh.restore(plain)
        assert fresh.limits.limits(BTC.id).order_notional_max == notional
        assert fresh.limits.gross_notional_max == gross


def test_nothing_tightened_costs_nothing() -> None:
    assert effective(CONFIG, {}) is CONFIG
