"""Which alarms people are told, how often, and when they are over; what a margin call says."""

import json
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.control import Acknowledge, GuardStatus
from actors.halts import HaltScope, HaltState
from actors.margin_calls import CallTerms, Sample, call_of, follow, time_left_ns
from actors.margin_figures import MarginFigures
from actors.messages import KillLevel, KillState, MarginLevel
from actors.notices import ChannelState, Notice, Urgency
from actors.notifier import Notifier, NotifierConfig

D = Decimal
SECOND = 1_000_000_000
NOW = 1_000 * SECOND
LEVELS = (MarginLevel.WARNING, MarginLevel.DANGER, MarginLevel.CRITICAL, MarginLevel.LIQUIDATION)
COVERAGE = {
    MarginLevel.HEALTHY: "3",
    MarginLevel.WARNING: "1.9",
    MarginLevel.DANGER: "1.4",
    MarginLevel.CRITICAL: "1.1",
    MarginLevel.LIQUIDATION: "0.9",
}


def figures(level, now=NOW, coverage=None, prices=None):
    told = D(coverage or COVERAGE.get(level, "0")) if level is not MarginLevel.UNKNOWN else None
    marks = dict.fromkeys(prices or {}, D(100))
    balance = D(0) if told is None else told * 1_000
    return MarginFigures(now, "f", level, "USDT", balance, D(1_000), told, prices or {}, marks, "no fresh mark")


class Rig:
    def __init__(self, **config):
        self.notifier = Notifier(NotifierConfig(**config))
        self.done = Collected()
        self.notifier.out = detached_outbox("notifier", into=self.done)
        self.now = NOW

    def take(self, message):
        self.notifier.handle(self.now, message)

    def margin(self, level, **parts):
        self.take(figures(level, self.now, **parts))

    def kill(self, level, trigger="drawdown", why="lost"):
        self.take(KillState(self.now, level, trigger, why))

    def pass_s(self, seconds):
        """Let time pass, firing what is due."""
        end = self.now + int(seconds * SECOND)
        while True:
            pending = {key: at for _, key, at in self.done.timers}
            due = min(((at, key) for key, at in pending.items() if at is not None and at <= end), default=None)
            if due is None:
                break
            self.done.timers[:] = [one for one in self.done.timers if one[1] != due[1]]
            self.now = max(self.now, due[0])
            self.notifier.on_timer(self.now, due[1])
        self.now = end

    @property
    def told(self):
        return [one for one in self.done.emitted if isinstance(one, Notice)]

    @property
    def moments(self):
        return [round((one.ts - NOW) / SECOND, 3) for one in self.told]


# How often


def test_an_alarm_is_told_at_once_and_each_minute_until_it_is_seen() -> None:
    rig = Rig()
    rig.margin(MarginLevel.CRITICAL)
    rig.pass_s(150)
    assert rig.moments == [0, 60, 120]
    assert [one.times for one in rig.told] == [1, 2, 3]
    rig.take(Acknowledge(rig.now, "ann", 1, "", ("margin/f",)))
    rig.pass_s(600)
    assert rig.moments == [0, 60, 120]


def test_each_worsening_is_told_at_once_and_halves_the_cooldown() -> None:
    """systems.md 6: escalation halves the 60 s cooldown."""
    rig = Rig()
    for level in LEVELS:
        rig.margin(level)
    assert [one.urgency for one in rig.told] == [
        Urgency.WARNING,
        Urgency.SERIOUS,
        Urgency.CRITICAL,
        Urgency.EMERGENCY,
    ]
    rig.pass_s(20)
    assert rig.moments == [0, 0, 0, 0, 7.5, 15]


def test_the_cooldown_has_an_end() -> None:
    rig = Rig(cooldown_min_ns=40 * SECOND)
    for level in LEVELS:
        rig.margin(level)
    rig.pass_s(100)
    assert rig.moments == [0, 0, 0, 0, 40, 80]


def test_the_same_again_is_no_news() -> None:
    rig = Rig()
    for _ in range(10):
        rig.margin(MarginLevel.DANGER)
        rig.pass_s(5)
    assert rig.moments == [0]
    rig.margin(MarginLevel.DANGER, coverage="1.21")
    rig.pass_s(15)
    # The reminder says how it is by then.
    assert rig.moments == [0, 60]
    assert rig.told[-1].fields["coverage"] == "1.210000"


def test_worse_than_seen_must_be_seen_again() -> None:
    rig = Rig()
    rig.margin(MarginLevel.CRITICAL)
    rig.take(Acknowledge(rig.now, "ann", 1, "", ("margin/f",)))
    rig.margin(MarginLevel.LIQUIDATION)
    assert rig.notifier.unseen() == ["margin/f"]
    assert rig.told[-1].needs_ack


@pytest.mark.parametrize(
    ("level", "needs_ack"),
    [
        (MarginLevel.WARNING, False),
        (MarginLevel.DANGER, False),
        (MarginLevel.CRITICAL, True),
        (MarginLevel.LIQUIDATION, True),
    ],
)
def test_from_critical_on_a_person_must_acknowledge(level: MarginLevel, *, needs_ack: bool) -> None:
    rig = Rig()
    rig.margin(level)
    assert rig.told[0].needs_ack is needs_ack


def test_it_is_over_when_the_cause_is_gone_and_remembered() -> None:
    rig = Rig()
    rig.margin(MarginLevel.CRITICAL)
    rig.pass_s(10)
    rig.margin(MarginLevel.HEALTHY)
    rig.pass_s(600)
    assert [(one.is_over, one.needs_ack) for one in rig.told] == [(False, True), (True, False)]
    (over,) = rig.notifier.state.history
    assert (over.worst, over.raised_ns, over.ended_ns) == (Urgency.CRITICAL, NOW, NOW + 10 * SECOND)


def test_what_comes_and_goes_is_told_no_more_often_than_what_stays() -> None:
    rig = Rig()
    for _ in range(30):
        rig.margin(MarginLevel.WARNING)
        rig.pass_s(2)
        rig.margin(MarginLevel.HEALTHY)
        rig.pass_s(2)
    begun = [one.ts for one in rig.told if not one.is_over]
    assert len(begun) <= 3
    assert all(later - earlier >= 60 * SECOND for earlier, later in pairwise(begun))


def test_what_comes_back_worse_is_told_at_once() -> None:
    rig = Rig()
    rig.margin(MarginLevel.WARNING)
    rig.margin(MarginLevel.HEALTHY)
    rig.margin(MarginLevel.CRITICAL)
    assert [one.is_over for one in rig.told] == [False, True, False]


def test_unknown_margin_proves_nothing() -> None:
    rig = Rig()
    rig.margin(MarginLevel.UNKNOWN)
    assert rig.told[0].urgency is Urgency.SERIOUS
    assert "no fresh mark" in rig.told[0].text
    rig.margin(MarginLevel.CRITICAL)
    rig.margin(MarginLevel.UNKNOWN)
    assert rig.notifier.state.alarms["margin/f"].urgency is Urgency.CRITICAL


# Other causes


@pytest.mark.parametrize(
    ("level", "urgency"),
    [
        (KillLevel.REDUCE_ONLY, Urgency.SERIOUS),
        (KillLevel.CANCEL_ALL, Urgency.CRITICAL),
        (KillLevel.FLATTEN, Urgency.EMERGENCY),
    ],
)
def test_a_kill_is_told_and_is_over_once_armed(level: KillLevel, urgency: Urgency) -> None:
    rig = Rig()
    rig.kill(level)
    assert (rig.told[0].urgency, rig.told[0].fields["trigger"]) == (urgency, "drawdown")
    rig.kill(KillLevel.ARMED, "operator", "ann: looked at it")
    assert rig.told[-1].is_over


def test_a_person_who_kills_is_not_reminded_of_it() -> None:
    rig = Rig()
    rig.kill(KillLevel.CANCEL_ALL, "operator", "ann: quiet afternoon")
    rig.pass_s(600)
    assert rig.moments == [0]
    assert rig.notifier.state.alarms["kill"].by == "ann"


def test_parts_guard_and_channels_are_told() -> None:
    rig = Rig()
    rig.take(HaltState(NOW, HaltScope.STRATEGY, "carry", KillLevel.REDUCE_ONLY, "throttle", "too often"))
    rig.take(GuardStatus(NOW, is_up=True, is_in_charge=True, why="the desk hung"))
    rig.take(ChannelState(NOW, "mail", False, "no answer within 5 s"))
    rig.take(ChannelState(NOW, "mail", True))
    rig.take(GuardStatus(NOW, is_up=True))
    rig.take(HaltState(NOW, HaltScope.STRATEGY, "carry", KillLevel.ARMED, "operator", "ann: seen"))
    assert [(one.ref, one.is_over) for one in rig.told] == [
        ("halt/strategy/carry", False),
        ("guard", False),
        ("channel/mail", False),
        ("channel/mail", True),
        ("guard", True),
        ("halt/strategy/carry", True),
    ]


def test_it_goes_on_after_a_restart() -> None:
    rig = Rig()
    rig.margin(MarginLevel.CRITICAL)
    again = Rig()
    again.notifier.restore(json.loads(json.dumps(rig.notifier.snapshot())))
    again.take(CellRestarted(NOW, 1, "x", ""))
    again.pass_s(60)
    assert again.moments == [60]
    assert [one.number for one in again.notifier.since(0)] == [1, 2]
    assert again.notifier.since(2) == again.notifier.since(99) == []


# What a call says


def test_shortfall_and_reduction_reach_the_target() -> None:
    """Coverage 1.1 of 1,000: 900 are missing to 2.0; or 45 % closed: 1,100 / 550 = 2.0."""
    call = call_of(figures(MarginLevel.CRITICAL), [], CallTerms())
    assert (call.shortfall, call.reduction) == (D(900), D("0.45"))
    assert "add 900 USDT" in call.action.replace("900.00", "900")
    assert "close 45 %" in call.action


@given(st.decimals("0.01", 5, places=4), st.decimals(1, 10**9, places=2))
def test_either_action_reaches_the_target(coverage: Decimal, maintenance: Decimal) -> None:
    balance = coverage * maintenance
    made = MarginFigures(NOW, "f", MarginLevel.DANGER, "USDT", balance, maintenance, coverage, {}, {})
    call = call_of(made, [], CallTerms())
    assert (balance + call.shortfall) / maintenance >= min(D(2), max(coverage, D(2))) - D("1e-20")
    if coverage < 2:
        assert abs(balance / (maintenance * (1 - call.reduction)) - 2) < D("1e-20")
    else:
        assert call.reduction == call.shortfall == 0


@pytest.mark.parametrize(
    ("course", "left_s"),
    [
        # From 1.5 to 1.3 in 20 s is 0.01 a second: 0.3 above 1.0 lasts 30 s.
        ([(0, "1.5"), (10, "1.45"), (20, "1.3")], 30),
        ([(0, "1.3"), (20, "1.5")], None),
        ([(0, "1.3"), (20, "1.3")], None),
        ([(0, "1.3")], None),
        ([(0, "1.3"), (20, "1.0")], 0),
        ([], None),
    ],
)
def test_the_time_that_is_left_goes_on_as_before(course: list[tuple[int, str]], left_s: int | None) -> None:
    samples = [Sample(at * SECOND, D(coverage)) for at, coverage in course]
    assert time_left_ns(samples) == (None if left_s is None else left_s * SECOND)


def test_the_trend_forgets_what_is_old() -> None:
    samples: list[Sample] = []
    for at in range(0, 200, 5):
        follow(samples, figures(MarginLevel.DANGER, at * SECOND), CallTerms())
    assert samples[-1].ts - samples[0].ts == 60 * SECOND
    follow(samples, figures(MarginLevel.UNKNOWN, 200 * SECOND), CallTerms())
    assert samples == []


def test_a_call_names_the_prices_and_the_time() -> None:
    rig = Rig()
    rig.margin(MarginLevel.DANGER, coverage="1.4")
    rig.pass_s(10)
    rig.margin(MarginLevel.CRITICAL, coverage="1.1", prices={"fut:BTC": D(91)})
    told = rig.told[-1]
    assert told.fields["liquidation fut:BTC"] == "91"
    # 0.3 in 10 s; 0.1 are left.
    assert told.fields["seconds_to_liquidation"] == "3"
    assert "fut:BTC at 91 (now 100)" in told.text
    assert "in about 3 s" in told.text
