"""Promises of messages to baskets: by venue, for as long as they may count."""

from decimal import Decimal

import pytest
from cell_harness import PERP, SECOND, SPECS, SPOT, D, buy, sell
from hypothesis import given
from hypothesis import strategies as st

from actors.messages import BasketLeg, Checker, PreflightReply, PreflightRequest, ReservationReleased
from actors.rate_tokens import RateTokens, RateTokensConfig

CARRY = (buy(SPOT, "1"), sell(PERP, "1"))


class Desk:
    def __init__(self, **given: object) -> None:
        self.actor = RateTokens(SPECS, RateTokensConfig(**given))  # type: ignore[arg-type]
        self.said: list[PreflightReply] = []
        self.actor.out.emit = self.said.append  # type: ignore[assignment]

    def ask(self, now: int, basket: str, legs: tuple[BasketLeg, ...] = CARRY, closes: str | None = None) -> str:
        """Return the reasons against a basket, empty for a yes."""
        self.actor.handle(now, PreflightRequest(now, basket, "s", legs, D(10), closes))
        reply = self.said[-1]
        assert (reply.basket_id, reply.checker, reply.is_ok) == (basket, Checker.RATE, not reply.reasons)
        return "; ".join(reply.reasons)

    def release(self, now: int, basket: str) -> None:
        self.actor.handle(now, ReservationReleased(now, basket))


def test_a_basket_reserves_for_each_leg_at_its_venue() -> None:
    desk = Desk(messages=6, per_leg=3, kept=D(0))
    assert desk.ask(0, "b1") == ""
    assert desk.ask(0, "b2") == ""
    assert desk.ask(0, "b3") == "spot: 3 messages, 0 are free; perp: 3 messages, 0 are free"


def test_what_a_basket_may_have_sent_counts_for_a_window_after_its_end() -> None:
    desk = Desk(messages=3, per_leg=3, kept=D(0), window_ns=SECOND)
    assert desk.ask(0, "b1") == ""
    desk.release(10 * SECOND, "b1")
    assert desk.ask(11 * SECOND - 1, "b2") != ""
    assert desk.ask(11 * SECOND, "b3") == ""


def test_openings_leave_room_to_closes() -> None:
    desk = Desk(messages=10, per_leg=3, kept=D("0.4"))
    assert desk.ask(0, "b1") == ""
    assert desk.ask(0, "b2") == ""
    assert desk.ask(0, "b3") == "spot: 3 messages, 0 are free; perp: 3 messages, 0 are free"
    assert desk.ask(0, "c1", closes="b0") == ""


def test_a_venue_may_have_a_limit_of_its_own() -> None:
    desk = Desk(messages=100, venues={"perp": 2}, kept=D(0))
    assert desk.ask(0, "b1") == "perp: 3 messages, 2 are free"
    assert desk.ask(0, "b1", (buy(SPOT, "1"),)) == ""


def test_a_refusal_reserves_nothing_and_an_unknown_instrument_is_refused() -> None:
    desk = Desk(messages=3, kept=D(0))
    nowhere = BasketLeg("acc", "no:where", CARRY[0].side, D(1))
    assert desk.ask(0, "b1", (*CARRY, nowhere)) == "no:where: unknown instrument"
    assert desk.actor.state.reserved == {}
    assert desk.ask(0, "b1") == ""
    assert "reserved already" in desk.ask(0, "b1")


@pytest.mark.parametrize("share", ["-0.1", "1.1", "NaN"])
def test_a_share_that_is_none_is_no_configuration(share: str) -> None:
    with pytest.raises(ValueError, match="kept"):
        RateTokensConfig(kept=Decimal(share))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 400)), max_size=60))
def test_promises_in_any_window_never_exceed_the_limit(steps: list[tuple[int, bool, int]]) -> None:
    desk, now = Desk(messages=9, per_leg=3, kept=D(0), window_ns=1_000), 0
    spans: dict[str, list[int]] = {}
    for number, (which, is_release, later) in enumerate(steps):
        now += later
        running = [name for name, span in spans.items() if len(span) == 1]
        if is_release and running:
            name = running[which % len(running)]
            desk.release(now, name)
            spans[name].append(now)
        elif not desk.ask(now, f"b{number}"):
            spans[f"b{number}"] = [now]
        counted = sum(3 for span in spans.values() if len(span) == 1 or span[1] + 1_000 > now)
        assert counted <= 9
