"""Promises of messages to baskets: out of the limits that orders are paced by, until they are sent or not needed."""

from typing import Any

import pytest
from cell_harness import PERP, SECOND, SPOT, D, buy, sell
from hypothesis import given
from hypothesis import strategies as st
from order_bench import ACC, Bench, ack, ask

from actors.messages import (
    BasketLeg,
    CancelRequest,
    Checker,
    OrderApproved,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
)
from actors.pacing import Pacer, PacingConfig, PacingState, Priority, Promise, RateLimit, VenuePace
from venues.port import OrderRejected, RejectReason

ONE = (sell(PERP, "1"),)
CARRY = (buy(SPOT, "1"), *ONE)


def paced(most: int, **more: Any) -> PacingConfig:
    """At most `most` a second at the perpetual's venue, all of it at once, and nothing kept unless said."""
    limit = {name: more.pop(name) for name in ("order", "cancel", "query", "is_shared") if name in more}
    kept: dict[str, Any] = dict.fromkeys(("cancel_reserve", "hedge_reserve", "query_reserve"), D(0))
    return PacingConfig({PERP.venue: VenuePace((RateLimit(most, SECOND, burst=D(1), **limit),))}, **(kept | more))


class Desk(Bench):
    def plan(self, basket: str, legs: tuple[BasketLeg, ...] = ONE, closes: str | None = None) -> str:
        """Return the reasons against a basket, empty for a yes."""
        self.tell(PreflightRequest(self.now, basket, "s", legs, D(10), closes))
        reply = self.out.emitted[-1]
        assert isinstance(reply, PreflightReply)
        assert (reply.basket_id, reply.checker, reply.is_ok) == (basket, Checker.RATE, not reply.reasons)
        return "; ".join(reply.reasons)

    def release(self, basket: str) -> None:
        self.tell(ReservationReleased(self.now, basket))


def test_a_leg_is_promised_an_order_a_hedge_and_a_cancel() -> None:
    desk = Desk(paced(7))
    assert desk.plan("b1") == ""
    assert desk.plan("b2") == ""
    assert desk.plan("b3") == "perp: limit 0 has 1 free for a weight of 3"
    desk.release("b1")
    assert desk.plan("b4") == ""


def test_a_venue_without_limits_promises_everything() -> None:
    for desk in (Desk(), Desk(paced(3))):
        assert all(desk.plan(f"b{number}", (buy(SPOT, "1"),)) == "" for number in range(100))
        assert desk.manager.state.pacing.promises == {}


def test_what_was_sent_counts_once_and_until_it_has_refilled() -> None:
    """7 at once and 1 a second after: b1's order is taken from its promise, so 1 + 2 are taken, then 1 after b1."""
    desk = Desk(paced(7))
    assert desk.plan("b") == ""
    desk.tell(OrderApproved(desk.now, ask("r1")))
    assert desk.manager.state.pacing.promises["b"][ACC] == Promise(PERP.venue, 1, 1)
    assert desk.plan("b2", (*ONE, *ONE)) == "perp: limit 0 has 4 free for a weight of 6"
    desk.release("b")
    assert desk.plan("b3", (*ONE, *ONE)) == ""


def test_a_cancel_is_taken_from_the_promise_of_cancels() -> None:
    desk = Desk(paced(10))
    assert desk.plan("b") == ""
    desk.tell(ack(desk.order()))
    desk.tell(CancelRequest(desk.now, "r1"))
    assert desk.manager.state.pacing.promises["b"][ACC] == Promise(PERP.venue, 1, 0)


def test_openings_leave_the_reserves_to_closes() -> None:
    """20 at once, 0.2 kept for each of cancels, hedges, queries: 8 for openings, 16 for closes."""
    desk = Desk(paced(20, cancel_reserve=D("0.2"), hedge_reserve=D("0.2"), query_reserve=D("0.2")))
    assert desk.plan("b1") == ""
    assert desk.plan("b2") == ""
    assert desk.plan("b3") == "perp: limit 0 has 2 free for a weight of 3"
    assert desk.plan("c1", closes="b0") == ""
    assert desk.plan("c2", closes="b1") == ""
    assert desk.plan("c3", closes="b2") == ""
    assert desk.plan("c4", closes="b3") == "perp: limit 0 has 1 free for a weight of 3"


def test_weights_are_those_of_the_limit() -> None:
    """2 orders of weight 3 and a cancel of weight 0: 6."""
    desk = Desk(paced(11, order=3, cancel=0))
    assert desk.plan("b1") == ""
    assert desk.plan("b2") == "perp: limit 0 has 5 free for a weight of 6"


@pytest.mark.parametrize(("is_shared", "why"), [(False, ""), (True, "perp: limit 0 has 2 free for a weight of 3")])
def test_accounts_share_what_the_limit_says_they_share(is_shared: bool, why: str) -> None:
    desk = Desk(paced(5, is_shared=is_shared))
    other = BasketLeg("other", PERP.id, ONE[0].side, D(1))
    assert desk.plan("b1") == ""
    assert desk.plan("b2", (other,)) == why


def test_a_bucket_that_two_accounts_share_must_hold_both() -> None:
    other = BasketLeg("other", PERP.id, ONE[0].side, D(1))
    assert Desk(paced(5, is_shared=True)).plan("b", (*ONE, other)) == "perp: limit 0 has 5 free for a weight of 6"
    assert Desk(paced(6, is_shared=True)).plan("b", (*ONE, other)) == ""


def test_a_refusal_promises_nothing_and_an_unknown_instrument_is_refused() -> None:
    desk = Desk(paced(3))
    nowhere = BasketLeg("acc", "no:where", CARRY[0].side, D(1))
    assert desk.plan("b1", (*CARRY, nowhere)) == "no:where: unknown instrument"
    assert desk.plan("b2", (*ONE, *ONE)) == "perp: limit 0 has 3 free for a weight of 6"
    assert desk.manager.state.pacing.promises == {}


def test_nothing_is_opened_while_a_venue_rests_or_orders_wait() -> None:
    desk = Desk()
    order = desk.order()
    desk.tell(OrderRejected(desk.now, ACC, PERP.id, order.client_order_id, RejectReason.RATE_LIMIT, "429"))
    assert desk.plan("b1") == f"perp takes no new orders for {2 * SECOND} ns"
    assert desk.plan("c1", closes="b0") == ""
    desk.tell(OrderApproved(desk.now, ask("r2")))
    assert "acc: orders wait for room already" in desk.plan("b2")
    assert desk.plan("c2", closes="b0") == ""


WHO = st.sampled_from("ab")


@given(
    steps=st.lists(st.tuples(st.integers(0, 3), WHO, st.integers(1, 3), st.integers(0, 400)), max_size=60),
    most=st.integers(8, 60),
    weights=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    is_shared=st.booleans(),
)
def test_a_promise_is_always_kept(
    steps: list[tuple[int, str, int, int]], most: int, weights: tuple[int, int], is_shared: bool
) -> None:
    """Whatever baskets send, in whichever order, within what they were promised, goes at once."""
    limit = RateLimit(most, 1_000, is_shared, weights[0], weights[1], 0, burst=D("0.5"))
    pacer, now = Pacer(PacingConfig({"v": VenuePace((limit,))}), PacingState()), 1_000
    left: dict[str, dict[Priority, list[str]]] = {}
    for number, (kind, account, legs, wait) in enumerate(steps):
        now += wait
        if kind == 0 and not pacer.promise(now, f"b{number}", [(account, "v")] * legs, Priority.NEW):
            left[f"b{number}"] = {Priority.NEW: [account] * 2 * legs, Priority.CANCEL: [account] * legs}
        if kind == 3 and left:
            done = list(left)[legs % len(left)]
            pacer.release(done)
            del left[done]
        for basket, commands in left.items():
            owed = commands[Priority.NEW if kind == 1 else Priority.CANCEL]
            for _ in range(min(legs, len(owed)) if kind in (1, 2) else 0):
                assert pacer.take(now, "v", owed.pop(), Priority.NEW if kind == 1 else Priority.CANCEL, 1, basket) == 0
