"""How much of a parent its children may trade together, whatever becomes of them."""

from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.executions import ExecutionIntent
from actors.messages import BookView, FillEvent, OrderApproved, OrderDenied, OrderRequest, OrderUpdate
from actors.parents import Parents
from actors.risk_config import RiskConfig
from actors.risk_gate import RiskGate
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, PositionSide, Side

D = Decimal
PERP = Instrument("fut", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
INTENT: Any = ExecutionIntent(1, "p", "s", "f", PERP.id, Side.BUY, D(10))


def order(number: int, qty: str, **changes: object) -> OrderRequest:
    made: Any = OrderRequest(1, f"p#{number}", "s", "", "f", PERP.id, Side.BUY, D(qty), price=D(100), parent_id="p")
    changed: OrderRequest = evolve(made, **changes)
    return changed


def fill(number: int, qty: str) -> FillEvent:
    one = Fill(1, "f", PERP.id, "c", "t", Side.BUY, D(100), D(qty), Liquidity.TAKER, ZERO, "USDT", FillReason.TAKER)
    return FillEvent(1, f"p#{number}", "s", "", one)


def over(number: int, filled: str, *, is_final: bool = True) -> OrderUpdate:
    status = OrderStatus.CANCELED
    return OrderUpdate(
        1, f"p#{number}", "s", "", f"c{number}", "f", PERP.id, Side.BUY, D(9), status, D(filled), is_final
    )


def parents(*steps: OrderRequest | FillEvent | OrderUpdate) -> Parents:
    made = Parents()
    made.begin(INTENT, keep=10)
    for step in steps:
        if isinstance(step, OrderRequest):
            made.sent(step)
        elif isinstance(step, FillEvent):
            made.filled(step)
        else:
            made.updated(step)
    return made


@pytest.mark.parametrize(
    ("steps", "room"),
    [
        ((), "10"),
        ((order(1, "9"),), "1"),
        # Filled or not, what is out counts whole.
        ((order(1, "9"), fill(1, "4")), "1"),
        ((order(1, "9"), fill(1, "4"), over(1, "4", is_final=False)), "1"),
        ((order(1, "9"), fill(1, "4"), over(1, "4")), "6"),
        ((order(1, "9"), over(1, "0")), "10"),
        # The venue's total counts before its fills are here, and once.
        ((order(1, "9"), over(1, "5"), fill(1, "0.5")), "4.5"),
        # A fill after the end takes its room, whatever is out by then.
        ((order(1, "9"), over(1, "0"), order(2, "10"), fill(1, "1")), "0"),
        # An overfill takes more than the order.
        ((order(1, "2"), fill(1, "3")), "7"),
        # Found alive again, all of it may still fill.
        ((order(1, "9"), over(1, "0"), over(1, "0", is_final=False)), "1"),
    ],
)
def test_room_is_what_is_neither_filled_nor_out(steps, room):
    assert parents(*steps).room(order(99, "1")) == D(room)


@pytest.mark.parametrize(
    "changes",
    [
        {"parent_id": "q"},
        {"side": Side.SELL},
        {"account": "g"},
        {"instrument": "fut:ETH"},
        {"position_side": PositionSide.LONG},
    ],
)
def test_an_order_that_is_not_its_parents_has_no_room(changes):
    assert parents().room(order(1, "1", **changes)) == ZERO


def test_an_order_without_a_parent_is_not_bound():
    assert parents().room(order(1, "1", parent_id="")) is None


def test_repeating_a_parent_gives_no_new_room():
    made = parents(order(1, "9"))
    made.begin(evolve(INTENT, qty=D(1_000)), keep=10)
    assert made.room(order(2, "1")) == 1


def test_only_parents_that_are_over_are_forgotten():
    made = parents(order(1, "9"))
    for name in ("q", "r", "s"):
        made.begin(evolve(INTENT, parent_id=name), keep=3)
    # None of them has said that it sends no more.
    assert list(made.parents) == ["p", "q", "r", "s"]
    made.end("p")
    made.end("r")
    made.begin(evolve(INTENT, parent_id="t"), keep=3)
    # The order of p is still out.
    assert list(made.parents) == ["p", "q", "s", "t"]
    made.updated(over(1, "0"))
    made.begin(evolve(INTENT, parent_id="u"), keep=3)
    assert list(made.parents) == ["q", "s", "t", "u"]
    assert made.slices == {}


def test_a_parent_that_is_over_has_no_room():
    made = parents()
    made.end("p")
    made.end("nobody")
    assert made.room(order(1, "1")) == ZERO


actions = st.lists(
    st.tuples(st.sampled_from(["send", "fill", "end", "revive"]), st.integers(1, 8), st.integers(1, 9)), max_size=60
)


@given(actions)
def test_the_gate_never_lets_more_out_than_the_parent(steps):
    """The gate alone holds the cap, against an executor that asks for anything at any time."""
    gate, done = RiskGate({PERP.id: PERP}, {"f": "fut"}, RiskConfig(starts_read_only=False)), Collected()
    gate.out = detached_outbox("gate", into=done)
    gate.handle(1, BookView(1, PERP.id, 999, 1, 1001, 1))
    gate.handle(1, INTENT)
    filled: dict[int, Decimal] = {}
    sizes: dict[int, Decimal] = {}
    ended: set[int] = set()
    sent, now = 0, 1
    for what, number, size in steps:
        now += 1_000_000_000
        gate.handle(now, BookView(now, PERP.id, 999, 1, 1001, 1))
        if what == "send":
            sent += 1
            before = sum((filled[n] if n in ended else sizes[n] for n in sizes), ZERO)
            gate.handle(now, order(sent, str(size)))
            answer = done.emitted[-1]
            assert isinstance(answer, OrderApproved | OrderDenied)
            assert isinstance(answer, OrderApproved) is (before + size <= INTENT.qty)
            if isinstance(answer, OrderApproved):
                sizes[sent], filled[sent] = D(size), ZERO
        elif number in sizes and what == "fill" and filled[number] < sizes[number]:
            filled[number] += min(D(1), sizes[number] - filled[number])
            gate.handle(now, fill(number, "1"))
        elif number in sizes and what in ("end", "revive"):
            ended.add(number)
            ended -= {number} if what == "revive" else set()
            gate.handle(now, over(number, str(filled[number]), is_final=what == "end"))


def test_a_denial_names_the_parent_and_its_room():
    gate, done = RiskGate({PERP.id: PERP}, {"f": "fut"}, RiskConfig(starts_read_only=False)), Collected()
    gate.out = detached_outbox("gate", into=done)
    gate.handle(1, BookView(1, PERP.id, 999, 1, 1001, 1))
    gate.handle(1, INTENT)
    gate.handle(1, order(1, "7"))
    gate.handle(1, order(2, "3.001"))
    (denied,) = [one for one in done.emitted if isinstance(one, OrderDenied)]
    assert denied.reasons == ("parent_overrun: 3.001 where p leaves 3",)
