"""The drop copy: what a venue's list of fills proves, what it does not, and how a trade is taken back."""

import json
from decimal import Decimal
from typing import Any

import pytest

from actors.base import Collected, TimerFired, detached_outbox
from actors.drop_copy import DropCopy, DropCopyConfig, difference
from actors.messages import FillEvent, Incident, KillLevel, KillTrigger
from actors.order_records import to_fill
from actors.post_trade import CopyDifference, DropCopyMismatch, DropCopyVerified, FillBusted, reversal
from venues.model.fill import FillReason, Liquidity
from venues.model.order import Side
from venues.port import OrderFilled, Query, QueryFailed, QueryKind, QueryResult, TradeBusted, VenueDown, VenueUp

S = 1_000_000_000
D = Decimal
START = 1_000 * S
CONFIG = DropCopyConfig(period_ns=60 * S, window_ns=600 * S, grace_ns=5 * S, timeout_ns=4 * S, failures_max=2, keep=100)


def report(trade: str = "1", at: int = 10, **told: Any) -> OrderFilled:
    """A buy of 2 at 50 in the account a, `at` seconds after the start."""
    side, price, qty = told.get("side", Side.BUY), D(told.get("price", "50")), D(told.get("qty", "2"))
    fee, asset, account = D(told.get("fee", "0.1")), told.get("asset", "USDT"), told.get("account", "a")
    return OrderFilled(
        START + at * S, account, "v:X", "bd-1", "v1", trade, side, price, qty, Liquidity.TAKER, fee, asset,
        FillReason.TAKER,
    )  # fmt: skip


def told(one: OrderFilled) -> FillEvent:
    return FillEvent(one.ts, "r1", "carry", "b1", to_fill(one, "bd-1"))


class Play:
    """A drop copy of the accounts a (venue v) and b (venue w), and what it said."""

    def __init__(self, config: DropCopyConfig = CONFIG) -> None:
        self.actor = DropCopy({"a": "v", "b": "w"}, config, name="drop_copy")
        self.done = Collected()
        self.actor.out = detached_outbox("drop_copy", self.done)
        self.actor.start(START)

    def at(self, second: float, *messages: Any) -> list[Any]:
        """Let the messages come; return what was said, incidents and kill triggers by kind."""
        before = len(self.done.emitted)
        for message in messages:
            self.actor.handle(START + int(second * S), message)
        return self.done.emitted[before:]

    def ask(self, second: float, account: str = "a") -> Query:
        self.at(second, TimerFired(0, "drop_copy", f"round/{account}"))
        query = self.done.sent[-1]
        assert isinstance(query, Query)
        assert (query.kind, query.account) == (QueryKind.FILLS, account)
        return query

    def compare(self, second: float, *fills: OrderFilled, account: str = "a") -> list[Any]:
        query = self.ask(second, account)
        answer = QueryResult(START + int(second * S), account, query.query_id, QueryKind.FILLS, fills=fills)
        return self.at(second, answer)


def names(said: list[Any]) -> list[str]:
    texts = {Incident: "kind", KillTrigger: "trigger", DropCopyMismatch: "kind"}
    return [f"{type(one).__name__}:{getattr(one, texts[type(one)])}" for one in said if type(one) in texts]


def test_a_list_that_has_our_fills_verifies_them():
    play = Play()
    play.at(10, told(report("1", 10)), told(report("1", 10, side=Side.SELL)))
    play.at(11, told(report("1", 11, account="b")))
    said = play.compare(60, report("1", 10), report("1", 10, side=Side.SELL))
    assert said == [DropCopyVerified(START + 60 * S, "a", START + 1, START + 55 * S, 2)]
    assert play.actor.state.accounts["a"].verified_ns == START + 55 * S


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"qty": "3"}, CopyDifference.QUANTITY),
        ({"qty": "NaN"}, CopyDifference.QUANTITY),
        ({"price": "50.1"}, CopyDifference.PRICE),
        ({"fee": "0.2"}, CopyDifference.FEE),
        ({"fee": "-0.1"}, CopyDifference.FEE),
        ({"asset": "BNB"}, CopyDifference.FEE),
    ],
)
def test_a_fill_told_differently_is_named_once_and_stops_new_risk(change, kind):
    play = Play()
    play.at(10, told(report()))
    said = play.compare(60, report(**change))
    assert names(said) == [
        f"DropCopyMismatch:{kind}",
        "Incident:drop_copy_mismatch",
        "KillTrigger:drop_copy_mismatch",
    ]
    assert said[0].trade_id == "1"
    assert next(one for one in said if isinstance(one, KillTrigger)).level is KillLevel.REDUCE_ONLY
    assert said[-1].fills == 0
    assert names(play.compare(120, report(**change))) == []
    assert play.actor.state.differences == {kind: 1}


def test_equal_numbers_written_differently_are_the_same():
    ours = to_fill(report(qty="2", price="50"), "c")
    assert difference(ours, to_fill(report(qty="2.000", price="50.0", fee="0.10"), "c")) is None
    # Without a fee no asset is meant.
    assert difference(to_fill(report(fee="0", asset=""), "c"), to_fill(report(fee="0", asset="USDT"), "c")) is None


def test_a_fill_that_we_never_heard_of_is_an_alarm_and_left_to_the_order_manager():
    said = Play().compare(60, report("7", 20))
    assert names(said) == ["DropCopyMismatch:missing_here", "Incident:drop_copy_mismatch"]


def test_a_fill_that_the_venue_does_not_know_stops_new_risk():
    play = Play()
    play.at(10, told(report("7", 10)))
    assert names(play.compare(60)) == [
        "DropCopyMismatch:missing_there",
        "Incident:drop_copy_mismatch",
        "KillTrigger:drop_copy_mismatch",
    ]


def test_a_fill_missing_from_two_answers_in_a_row_was_taken_back_without_our_hearing_it():
    play = Play()
    fill = report("7", 10)
    play.at(10, told(fill))
    play.compare(60)
    # It asks again as soon as the grace is over.
    assert ("drop_copy", "round/a", START + 65 * S) in play.done.timers
    said = play.compare(65)
    assert [one.fill for one in said if isinstance(one, FillBusted)] == [to_fill(fill, "bd-1")]
    assert names(said) == ["Incident:busted_trade", "KillTrigger:busted_trade"]
    # Once: neither another answer nor the venue's late word takes it off again.
    assert not [one for one in play.compare(125) if isinstance(one, FillBusted)]
    assert not [one for one in play.at(126, TradeBusted(0, "a", "v:X", "7")) if isinstance(one, FillBusted)]
    # A venue that has it all the same is told of.
    assert names(play.compare(185, fill))[0] == "DropCopyMismatch:still_there"


def test_a_fill_that_one_answer_lacked_and_the_next_has_stays_ours():
    play = Play()
    fill = report("7", 10)
    play.at(10, told(fill))
    play.compare(60)
    assert names(play.compare(65, fill)) == []
    assert not [one for one in play.compare(70) if isinstance(one, FillBusted)]


def test_fills_of_the_last_moments_are_judged_the_next_time():
    play = Play()
    play.at(56, told(report("1", 56)))
    assert names(play.compare(60, report("2", 57))) == []
    assert names(play.compare(120, report("2", 57))) == [
        "DropCopyMismatch:missing_here",
        "Incident:drop_copy_mismatch",
        "DropCopyMismatch:missing_there",
        "Incident:drop_copy_mismatch",
        "KillTrigger:drop_copy_mismatch",
    ]


@pytest.mark.parametrize("at", [-5, 0])
def test_what_was_before_the_desk_began_is_not_compared(at):
    assert names(Play().compare(60, report("1", at))) == []


def test_what_was_forgotten_is_not_compared():
    play = Play(DropCopyConfig(keep=2))
    for number in (1, 2, 3):
        play.at(number, told(report(str(number), number)))
    query = play.ask(60)
    assert query.since_ns == START + 1 * S + 1
    said = play.compare(120, *(report(str(number), number) for number in (1, 2, 3)))
    assert [one.fills for one in said] == [2]


def test_a_window_later_only_the_window_is_compared():
    play = Play()
    play.at(10, told(report("1", 10)))
    query = play.ask(660)
    assert query.since_ns == START + 60 * S
    assert names(play.at(660, QueryResult(START + 660 * S, "a", query.query_id, QueryKind.FILLS))) == []


@pytest.mark.parametrize("is_told", [True, False])
def test_a_failed_question_verifies_nothing_and_the_second_is_an_alarm(is_told):
    play = Play()
    play.at(10, told(report()))
    for second in (60, 120):
        query = play.ask(second)
        failure: Any = TimerFired(0, "drop_copy", "answer/a")
        if is_told:
            failure = QueryFailed(0, "a", query.query_id, QueryKind.FILLS, "503")
        said = play.at(second + 4, failure)
        assert names(said) == (["Incident:drop_copy_unanswered"] if second == 120 else [])
    assert play.actor.state.accounts["a"].verified_ns is None
    # An answer to a question given up is none.
    assert play.at(130, QueryResult(START + 130 * S, "a", query.query_id, QueryKind.FILLS)) == []


def test_answers_to_others_are_not_taken_for_ours():
    play = Play()
    play.at(10, told(report()))
    play.ask(60)
    other = QueryResult(START + 61 * S, "a", "order_manager-9", QueryKind.FILLS)
    assert play.at(61, other, QueryFailed(0, "b", "x", QueryKind.FILLS, "no")) == []
    assert play.actor.state.accounts["a"].asked is not None


def test_nobody_is_asked_while_a_venue_is_down_and_at_once_when_it_is_back():
    play = Play()
    play.at(10, VenueDown(0, "v", "private"), VenueDown(0, "w", "market"))
    asked = len(play.done.sent)
    play.at(60, TimerFired(0, "drop_copy", "round/a"))
    assert len(play.done.sent) == asked
    play.at(60, TimerFired(0, "drop_copy", "round/b"))
    assert len(play.done.sent) == asked + 1
    play.at(70, VenueUp(0, "v", "private"))
    assert [one.account for one in play.done.sent[asked + 1 :]] == ["a"]
    assert (START + 120 * S) in [at for _, key, at in play.done.timers if key == "round/a"]


# Busts


def test_a_bust_is_told_with_all_of_its_fill_once():
    play = Play()
    play.at(10, told(report("1", 10)), told(report("1", 10, account="b")))
    bust = TradeBusted(START + 20 * S, "a", "v:X", "1", "error trade")
    said = play.at(20, bust, bust)
    assert said[0] == FillBusted(START + 20 * S, "r1", "carry", "b1", told(report("1", 10)).fill, "error trade")
    assert names(said) == ["Incident:busted_trade", "KillTrigger:busted_trade"]
    assert (play.actor.state.busts, play.actor.state.repeated_busts) == (1, 1)


def test_both_sides_of_a_trade_of_one_account_are_taken_back():
    play = Play()
    play.at(10, told(report("1", 10)), told(report("1", 10, side=Side.SELL)))
    said = play.at(20, TradeBusted(0, "a", "v:X", "1"))
    assert [one.fill.side for one in said if isinstance(one, FillBusted)] == [Side.BUY, Side.SELL]


def test_a_bust_before_its_fill_is_an_incident_and_holds_when_the_fill_comes():
    play = Play()
    early = TradeBusted(0, "a", "v:X", "1", "error trade")
    assert names(play.at(5, early)) == ["Incident:bust_of_unknown_trade", "KillTrigger:bust_of_unknown_trade"]
    assert names(play.at(6, early)) == []
    said = play.at(10, told(report("1", 10)))
    assert [one.why for one in said if isinstance(one, FillBusted)] == ["error trade"]
    assert play.at(11, told(report("2", 11))) == []


def test_a_busted_trade_must_be_gone_from_the_list():
    play = Play()
    play.at(10, told(report("1", 10)), told(report("2", 10)))
    play.at(20, TradeBusted(0, "a", "v:X", "1"))
    assert names(play.compare(60, report("2", 10))) == []
    assert names(play.compare(120, report("1", 10), report("2", 10))) == [
        "DropCopyMismatch:still_there",
        "Incident:drop_copy_mismatch",
        "KillTrigger:drop_copy_mismatch",
    ]


def test_a_reversal_of_a_reversal_is_the_fill():
    fill = told(report()).fill
    back = reversal(fill)
    assert (back.side, back.fee, back.qty, back.price) == (Side.SELL, D("-0.1"), fill.qty, fill.price)
    assert reversal(back) == fill


def test_memory_is_bounded_and_a_snapshot_brings_everything_back():
    play = Play()
    for number in range(1_200):
        play.at(10, told(report(str(number), 10)), TradeBusted(0, "a", "v:X", f"unknown-{number}"))
    play.ask(60)
    play.at(61, TradeBusted(0, "a", "v:X", "1199"), VenueDown(0, "w", "", "gone"))
    state = play.actor.state
    assert (len(state.fills), len(state.early)) == (100, 1_000)
    plain = json.dumps(play.actor.snapshot())
    other = Play().actor
    other.restore(json.loads(plain))
    assert other.state == state
    assert json.dumps(other.snapshot()) == plain
