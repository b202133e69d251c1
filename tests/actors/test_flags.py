"""Flags hold up openings, and nothing else: who is off, who only plans, whose share goes through."""

import json
from decimal import Decimal

import pytest
from cell_harness import PERP, SPOT, Harness, Outcome, ScriptedVenue, buy, sell

from actors.flags import FLAGS_MAX, GLOBAL, Flag, FlagMode, SetFlag, draw, objection, verdict
from actors.messages import BasketIntent, Incident, KillLevel, KillState, PreflightRequest, ReservationReleased
from venues.port import SubmitOrder

D = Decimal
LEGS = (buy(SPOT, "1"), sell(PERP, "1"))
ON, OFF, SHADOW = FlagMode.PRODUCTION, FlagMode.DISABLED, FlagMode.SHADOW


def desk(venue: ScriptedVenue | None = None) -> Harness:
    cell = Harness(venue=venue)
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    return cell


def flag(cell: Harness, feature: str, mode: FlagMode, percent: int = 100) -> None:
    cell.feed(SetFlag(cell.now, "ann", feature, mode, percent, "a test"))


def submits(cell: Harness) -> list[SubmitOrder]:
    return [command for command in cell.commands if isinstance(command, SubmitOrder)]


def test_a_disabled_strategy_opens_nothing_and_closes_all_the_same() -> None:
    cell = desk()
    cell.tell(BasketIntent(cell.now, "b1", "s", LEGS))
    flag(cell, "s", OFF)
    cell.tell(BasketIntent(cell.now, "b2", "s", LEGS))
    assert cell.states("b2") == ["denied"]
    assert cell.why("b2") == "flag: s is disabled, by ann"
    cell.tell(BasketIntent(cell.now, "other", "t", LEGS))
    assert cell.states("other")[-1] == "balanced"
    legs = cell.executor.open_legs(cell.executor.state.baskets["b1"])
    cell.tell(BasketIntent(cell.now, "c1", "s", legs, "b1"))
    assert cell.states("b1")[-1] == "flat"
    flag(cell, "s", ON)
    cell.tell(BasketIntent(cell.now, "b3", "s", LEGS))
    assert cell.states("b3")[-1] == "balanced"


def test_the_global_switch_holds_every_strategy_and_never_a_hedge_or_a_flattening() -> None:
    cell = desk(ScriptedVenue([Outcome(D("0.4"))]))
    cell.on_submit = lambda order: flag_now(cell)
    cell.tell(BasketIntent(cell.now, "b1", "s", LEGS))
    assert len(submits(cell)) > 2
    assert cell.states("b1")[-1] in ("balanced", "flat")
    cell.tell(BasketIntent(cell.now, "b2", "t", LEGS))
    assert cell.why("b2") == "flag: global is disabled, by ann"
    before = len(submits(cell))
    cell.tell(KillState(cell.now, KillLevel.FLATTEN, "operator", ""))
    assert len(submits(cell)) > before
    assert set(cell.venue.positions().values()) == {D(0)}


def flag_now(cell: Harness) -> None:
    cell.dispatcher.offer(SetFlag(cell.now, "ann", GLOBAL, OFF, reason="in the middle of it"))


def test_a_shadow_passes_every_check_and_sends_nothing() -> None:
    cell = desk()
    flag(cell, "s", SHADOW)
    cell.tell(BasketIntent(cell.now, "b1", "s", LEGS))
    assert cell.states("b1") == ["planned", "reserved", "denied"]
    assert cell.why("b1").startswith("flag: ")
    assert len(cell.seen(PreflightRequest)) == len(cell.seen(ReservationReleased)) == 1
    assert submits(cell) == []
    [text] = [one.text for one in cell.seen(Incident) if one.kind == "shadow"]
    assert text == "buy 1 spot:BTCUSDT at 60061.00; sell 1 perp:BTCUSDT at 59950.0"
    assert cell.executor.state.residuals == {}


def test_a_canary_lets_the_same_share_of_baskets_through_every_time() -> None:
    ids = [f"s-{number}" for number in range(1_000)]
    for percent in (0, 10, 50, 100):
        flags = {"s": Flag(FlagMode.CANARY, percent, "ann", "", 0)}
        passed = {one for one in ids if verdict(flags, "s", one)[0] is ON}
        assert len(passed) == pytest.approx(10 * percent, abs=40)
        assert passed == {one for one in ids if draw(one) < percent}
    assert [draw(one) for one in ids[:6]] == [10, 42, 1, 20, 88, 92]


def test_a_basket_outside_the_canary_is_denied_before_it_is_planned() -> None:
    cell = desk()
    flag(cell, "s", FlagMode.CANARY, 30)
    cell.tell(BasketIntent(cell.now, "s-1", "s", LEGS))
    cell.tell(BasketIntent(cell.now, "s-0", "s", LEGS))
    assert cell.states("s-1") == ["denied"]
    assert cell.why("s-1") == "flag: s is canary, by ann: not among 30 %"
    assert cell.states("s-0")[-1] == "balanced"


TOGETHER = [
    ((ON, ON), ON),
    ((ON, SHADOW), SHADOW),
    ((SHADOW, ON), SHADOW),
    ((OFF, ON), OFF),
    ((SHADOW, OFF), OFF),
    ((OFF, SHADOW), OFF),
]


@pytest.mark.parametrize(("modes", "expected"), TOGETHER)
def test_the_stricter_of_desk_and_strategy_holds(modes: tuple[FlagMode, FlagMode], expected: FlagMode) -> None:
    flags = {name: Flag(mode, 100, "ann", "", 0) for name, mode in zip((GLOBAL, "s"), modes, strict=True)}
    assert verdict(flags, "s", "b1")[0] is expected


REFUSED = [
    (SetFlag(0, " ", "s", OFF), "an operator with a name"),
    (SetFlag(0, "ann", "", OFF), "needs a feature"),
    (SetFlag(0, "ann", "s", FlagMode.CANARY, 101), "0 to 100, got 101"),
    (SetFlag(0, "ann", "s", FlagMode.CANARY, -1), "0 to 100, got -1"),
    (SetFlag(0, "ann", "s", SHADOW, 10), "only a canary"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_a_flag_that_means_nothing_changes_nothing_and_says_why(change: SetFlag, said: str) -> None:
    assert said in objection({}, change)
    cell = desk()
    cell.feed(change)
    assert cell.executor.state.flags == {}
    assert cell.incidents() == ["flag_refused"]


def test_flags_are_bounded() -> None:
    flags = {f"s{number}": Flag(OFF, 100, "ann", "", 0) for number in range(FLAGS_MAX)}
    assert objection(flags, SetFlag(0, "ann", "one more", OFF))
    assert not objection(flags, SetFlag(0, "ann", "s0", ON))


def test_flags_survive_a_restart() -> None:
    cell, fresh = desk(), desk()
    flag(cell, "s", FlagMode.CANARY, 30)
    fresh.executor.restore(json.loads(json.dumps(cell.executor.snapshot())))
    assert fresh.executor.state.flags == cell.executor.state.flags
    assert fresh.executor.state.flags["s"] == Flag(FlagMode.CANARY, 30, "ann", "a test", cell.now)
