"""In which order a dispatcher delivers, and what becomes of what a failing handler did."""

import json
from collections.abc import Callable

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Actor, TimerFired, WiringError, handles
from actors.dispatcher import (
    Dispatcher,
    HandlerFailedError,
    InboxHighWater,
    Limits,
    MessageStormError,
    View,
)
from venues.port import CancelAll, Command, FeedGap, Lane, Message, SetLeverage, message


@message()
class DispatchReport(Message):
    ts: int
    text: str


@message(lane=Lane.CONTROL)
class DispatchControl(Message):
    ts: int
    text: str


@message(lane=Lane.FEED)
class DispatchFrame(Message):
    ts: int
    instrument: str
    text: str = ""


@message()
class DispatchStep(Message):
    ts: int
    text: str


@message(lane=Lane.VIEWS)
class DispatchView(View):
    ts: int
    instrument: str
    total: int

    @property
    def key(self) -> str:
        return self.instrument

    def over(self, waiting: "DispatchView") -> "DispatchView":
        return DispatchView(self.ts, self.instrument, self.total + waiting.total)


@define
class Seen:
    lines: list[str] = field(factory=list)


class Scripted(Actor):
    """Notes what comes and does what `script` says for a text: a list of things to emit, send, or time."""

    publishes = (DispatchStep, DispatchView)
    sends = (CancelAll,)

    def __init__(self, name: str, script: dict[str, Callable[["Scripted"], None]] | None = None) -> None:
        super().__init__(name)
        self.state = Seen()
        self.script = script or {}

    @handles(DispatchReport, DispatchControl, DispatchFrame, DispatchStep)
    def on_text(self, now: int, received: DispatchReport) -> None:
        self.state.lines.append(received.text)
        self.script.get(received.text, lambda _: None)(self)

    @handles(DispatchView)
    def on_view(self, now: int, view: DispatchView) -> None:
        self.state.lines.append(f"view {view.instrument} {view.total}")
        self.script.get("view", lambda _: None)(self)

    @handles(InboxHighWater)
    def on_high_water(self, now: int, received: InboxHighWater) -> None:
        self.state.lines.append(f"high water {received.depth} {received.is_over}")

    @handles(FeedGap)
    def on_gap(self, now: int, gap: FeedGap) -> None:
        self.state.lines.append(f"gap {gap.instrument}")

    def on_timer(self, now: int, key: str) -> None:
        self.state.lines.append(f"timer {key} at {now}")
        self.script.get(f"timer {key}", lambda _: None)(self)


class Noted:
    """A sink that keeps what was taken."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, bool, str]] = []

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        self.taken.append((seq, is_held, type(message).__name__))


def emit(*texts: str) -> Callable[[Scripted], None]:
    def act(actor: Scripted) -> None:
        for text in texts:
            actor.out.emit(DispatchStep(0, text))

    return act


def view(instrument: str, total: int = 1) -> Callable[[Scripted], None]:
    return lambda actor: actor.out.emit(DispatchView(0, instrument, total))


def send(command: Command) -> Callable[[Scripted], None]:
    return lambda actor: actor.out.send(command)


def both(*acts: Callable[[Scripted], None]) -> Callable[[Scripted], None]:
    def act(actor: Scripted) -> None:
        for one in acts:
            one(actor)

    return act


def fail(actor: Scripted) -> None:
    raise ZeroDivisionError("on purpose")


def one_actor(script: dict[str, Callable[[Scripted], None]], **limits: int) -> tuple[Dispatcher, Scripted]:
    actor = Scripted("one", script)
    dispatcher = Dispatcher([actor], limits=Limits(**limits))
    dispatcher.start(0)
    return dispatcher, actor


# Order


def test_what_one_input_causes_is_delivered_in_the_order_it_was_emitted() -> None:
    dispatcher, actor = one_actor({"in": emit("a", "b"), "a": emit("c"), "b": emit("d")})
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    assert actor.state.lines == ["in", "a", "b", "c", "d"]


def test_an_input_is_done_with_before_the_next_is_taken() -> None:
    dispatcher, actor = one_actor({"first": emit("a"), "a": emit("b")})
    dispatcher.offer(DispatchReport(1, "first"))
    dispatcher.offer(DispatchReport(1, "second"))
    dispatcher.run(1)
    assert actor.state.lines == ["first", "a", "b", "second"]


def test_actors_receive_a_message_in_wiring_order() -> None:
    order: list[str] = []
    noting = {"in": lambda actor: order.append(actor.name)}
    dispatcher = Dispatcher([Scripted("z", noting), Scripted("a", noting)])
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    assert order == ["z", "a"]


def test_lanes_are_drained_control_first_then_orders_then_feed_then_views() -> None:
    dispatcher, actor = one_actor({"feed 1": view("X")})
    for waiting in (
        DispatchFrame(1, "X", "feed 1"),
        DispatchFrame(1, "X", "feed 2"),
        DispatchReport(1, "report"),
        DispatchControl(1, "control"),
    ):
        dispatcher.offer(waiting)
    assert dispatcher.depths == {"control": 1, "orders": 1, "feed": 2, "views": 0}
    dispatcher.run(1)
    assert actor.state.lines == ["control", "report", "feed 1", "feed 2", "view X 1"]


def test_a_view_is_no_input() -> None:
    dispatcher, _ = one_actor({})
    with pytest.raises(WiringError, match="view"):
        dispatcher.offer(DispatchView(1, "X", 1))


def test_numbers_rise_and_an_intent_names_its_cause_and_root() -> None:
    dispatcher, _ = one_actor({"in": emit("a"), "a": both(send(CancelAll(1, "acc")), send(CancelAll(2, "acc")))})
    start = dispatcher.seq
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    assert [(i.root - start, i.cause - start, i.seq - start) for i in dispatcher.take_effects()] == [
        (1, 2, 3),
        (1, 2, 4),
    ]
    assert dispatcher.seq == start + 4
    assert dispatcher.take_effects() == []


# Views


def test_a_waiting_view_is_replaced_in_its_place_and_counted() -> None:
    dispatcher, actor = one_actor({"x": view("X", 2), "y": view("Y", 3)})
    for text in ("x", "y", "x"):
        dispatcher.offer(DispatchReport(1, text))
    dispatcher.run(1)
    assert actor.state.lines[3:] == ["view X 4", "view Y 3"]
    assert dispatcher.counters.views_overwritten == 1


def test_the_sink_learns_whether_views_were_held_back() -> None:
    noted = Noted()
    dispatcher = Dispatcher([Scripted("one", {"x": view("X")})], sink=noted)
    for now, texts in ((1, ("x", "no")), (2, ("no",))):
        for text in texts:
            dispatcher.offer(DispatchReport(now, text))
        dispatcher.run(now)
    assert [(seq, is_held) for seq, is_held, _ in noted.taken] == [(1, False), (2, True), (4, False)]


@given(st.lists(st.lists(st.sampled_from(["x", "y", "no", "order"]), max_size=6), max_size=12))
def test_taking_the_logged_inputs_again_does_the_same(runs: list[list[str]]) -> None:
    script = {"x": view("X"), "y": both(view("Y"), view("X")), "order": emit("a"), "a": view("X")}
    kept: list[tuple[int, bool, Message]] = []

    class Keep:
        def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
            kept.append((now, is_held, message))

    first, again = Scripted("one", script), Scripted("one", script)
    dispatcher = Dispatcher([first], sink=Keep())
    for now, texts in enumerate(runs):
        for text in texts:
            dispatcher.offer(DispatchReport(now, text))
        dispatcher.run(now)
    replay = Dispatcher([again])
    for now, is_held, taken in kept:
        replay.take(now, taken, is_held=is_held)
    replay.drain_views()
    assert again.state == first.state
    assert replay.seq == dispatcher.seq


# Bounds


def test_a_full_feed_lane_discards_the_fullest_instrument_and_marks_its_gap() -> None:
    dispatcher, actor = one_actor({}, feed_depth=4)
    for instrument, text in (("A", "a1"), ("B", "b1"), ("B", "b2"), ("A", "a2"), ("B", "b3")):
        dispatcher.offer(DispatchFrame(1, instrument, text))
    dispatcher.run(1)
    # Two of each: the name decides, so that the choice is the same in every run.
    assert actor.state.lines == ["b1", "b2", "gap A", "b3"]
    assert (dispatcher.counters.feed_discarded, dispatcher.counters.feed_gaps) == (2, 1)


def test_the_orders_lane_never_drops_and_says_when_it_is_high_and_low_again() -> None:
    dispatcher, actor = one_actor({}, orders_high_water=2)
    for number in range(5):
        dispatcher.offer(DispatchReport(1, str(number)))
    dispatcher.run(1)
    assert actor.state.lines == ["high water 3 True", "0", "1", "2", "3", "4", "high water 0 False"]


def test_a_storm_is_stopped_with_its_causal_chain() -> None:
    dispatcher, _ = one_actor({"in": emit("a"), "a": emit("a")}, messages_per_input=50)
    dispatcher.offer(DispatchReport(1, "in"))
    with pytest.raises(MessageStormError) as caught:
        dispatcher.run(1)
    assert caught.value.seq == 2
    assert caught.value.chain[:2] == ("DispatchReport from input", "DispatchStep from one")
    assert len(caught.value.chain) == 51


def test_views_that_cause_views_are_a_storm_too() -> None:
    dispatcher, actor = one_actor({"in": view("X"), "view": view("X")}, messages_per_input=50)
    dispatcher.offer(DispatchReport(1, "in"))
    with pytest.raises(MessageStormError):
        dispatcher.run(1)
    assert len(actor.state.lines) <= 53


def test_many_views_of_many_inputs_are_no_storm() -> None:
    dispatcher, actor = one_actor({str(n): view(str(n)) for n in range(40)}, messages_per_input=10)
    for number in range(40):
        dispatcher.offer(DispatchReport(1, str(number)))
    dispatcher.run(1)
    assert len(actor.state.lines) == 80


def test_a_thousand_stale_timers_in_the_lane_are_skipped() -> None:
    dispatcher, actor = one_actor({})
    for number in range(5_000):
        dispatcher.offer(TimerFired(number, "one", "gone"))
    dispatcher.run(1)
    assert actor.state.lines == []


# Failing handlers


def test_what_a_failing_handler_staged_is_discarded() -> None:
    timer: Callable[[Scripted], None] = lambda actor: actor.out.timer("t", 5)  # noqa: E731
    script = {"bad": both(emit("a"), view("X"), send(CancelAll(1, "acc")), timer, fail)}
    dispatcher, actor = one_actor(script)
    dispatcher.offer(DispatchReport(1, "bad"))
    dispatcher.offer(DispatchReport(1, "good"))
    with pytest.raises(
        HandlerFailedError, match="one failed on DispatchReport: ZeroDivisionError: on purpose"
    ) as caught:
        dispatcher.run(1)
    assert caught.value.seq == 2
    assert (dispatcher.take_effects(), dispatcher.next_timer(), dispatcher.depths["views"]) == ([], None, 0)
    dispatcher.run(1)
    assert actor.state.lines == ["bad", "good"]


def test_commands_of_the_failed_input_go_and_those_of_others_stay() -> None:
    script = {"good": send(CancelAll(1, "good")), "bad": both(send(CancelAll(1, "bad")), emit("then")), "then": fail}
    dispatcher, _ = one_actor(script)
    dispatcher.offer(DispatchReport(1, "good"))
    dispatcher.offer(DispatchReport(1, "bad"))
    with pytest.raises(HandlerFailedError):
        dispatcher.run(1)
    assert [intent.command.account for intent in dispatcher.take_effects()] == ["good"]
    assert dispatcher.counters.intents == 1


def test_a_failing_view_takes_back_what_its_input_wanted_sent() -> None:
    script = {"bad": both(send(CancelAll(1, "bad")), view("X")), "view": fail}
    dispatcher, _ = one_actor(script)
    dispatcher.offer(DispatchReport(1, "bad"))
    with pytest.raises(HandlerFailedError):
        dispatcher.run(1)
    assert dispatcher.take_effects() == []


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda actor: actor.out.emit(FeedGap(1, "X", "")), "emits undeclared FeedGap"),
        (lambda actor: actor.out.send(SetLeverage(1, "acc", "X", 2)), "sends undeclared SetLeverage"),
    ],
)
def test_an_undeclared_output_fails_the_handler(act: Callable[[Scripted], None], why: str) -> None:
    dispatcher, _ = one_actor({"in": act})
    dispatcher.offer(DispatchReport(1, "in"))
    with pytest.raises(HandlerFailedError, match=why):
        dispatcher.run(1)
    assert dispatcher.take_effects() == []


def test_a_sink_that_fails_is_no_handler_that_failed() -> None:
    class Full:
        def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
            raise OSError(28, "disk full")

    actor = Scripted("one")
    dispatcher = Dispatcher([actor], sink=Full())
    dispatcher.offer(DispatchReport(1, "in"))
    with pytest.raises(OSError, match="disk full"):
        dispatcher.run(1)
    assert actor.state.lines == []


def test_two_actors_of_one_name_are_not_wired() -> None:
    with pytest.raises(WiringError, match="same name"):
        Dispatcher([Scripted("one"), Scripted("one")])


# Timers


def set_timer(key: str, at: int) -> Callable[[Scripted], None]:
    return lambda actor: actor.out.timer(key, at)


def fire(dispatcher: Dispatcher, now: int) -> None:
    dispatcher.offer_due(now)
    dispatcher.run(now)


def test_timers_fire_by_deadline_and_equal_deadlines_in_the_order_they_were_set() -> None:
    dispatcher, actor = one_actor({"in": both(set_timer("b", 5), set_timer("a", 5), set_timer("first", 4))})
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    assert dispatcher.next_timer() == 4
    fire(dispatcher, 3)
    fire(dispatcher, 9)
    assert actor.state.lines == ["in", "timer first at 9", "timer b at 9", "timer a at 9"]
    assert dispatcher.next_timer() is None


def test_a_timer_set_again_replaces_the_one_pending() -> None:
    dispatcher, actor = one_actor({"in": both(set_timer("t", 5), set_timer("t", 8))})
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    fire(dispatcher, 5)
    assert actor.state.lines == ["in"]
    fire(dispatcher, 8)
    assert actor.state.lines == ["in", "timer t at 8"]


def test_a_timer_due_already_can_still_be_cancelled_or_moved() -> None:
    cancel: Callable[[Scripted], None] = lambda actor: actor.out.cancel_timer("t")  # noqa: E731
    dispatcher, actor = one_actor({"in": set_timer("t", 5), "cancel": cancel, "move": set_timer("t", 7)})
    for text, fired in (("cancel", []), ("move", ["timer t at 7"])):
        actor.state.lines.clear()
        dispatcher.offer(DispatchReport(1, "in"))
        dispatcher.run(1)
        dispatcher.offer(DispatchControl(5, text))
        fire(dispatcher, 5)
        fire(dispatcher, 7)
        assert actor.state.lines == ["in", text, *fired]


def test_the_same_timer_set_again_for_the_same_instant_fires_once() -> None:
    dispatcher, actor = one_actor({"in": set_timer("t", 5)})
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    dispatcher.offer(DispatchControl(5, "in"))
    fire(dispatcher, 5)
    fire(dispatcher, 5)
    assert actor.state.lines == ["in", "in", "timer t at 5"]


def test_a_timer_set_again_on_every_frame_does_not_pile_up() -> None:
    actor = Scripted("one", {"in": lambda actor: actor.out.timer("idle", 10**12 + actor.out.seq)})
    dispatcher = Dispatcher([actor])
    for number in range(10_000):
        dispatcher.offer(DispatchReport(number, "in"))
    dispatcher.run(1)
    assert len(dispatcher._timers._heap) < 1_000
    fire(dispatcher, 10**13)
    assert actor.state.lines[-1:] == [f"timer idle at {10**13}"]


def test_a_timer_is_for_its_actor_alone() -> None:
    actors = [Scripted("one", {"in": set_timer("t", 5)}), Scripted("two")]
    dispatcher = Dispatcher(actors)
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    fire(dispatcher, 5)
    assert actors[0].state.lines == ["in", "timer t at 5"]
    assert actors[1].state.lines == ["in"]


# Snapshots


def test_a_dispatcher_goes_on_from_its_snapshot_as_if_nothing_happened() -> None:
    script = {"in": both(set_timer("t", 5), set_timer("u", 5), set_timer("t", 6)), "timer u": send(CancelAll(1, "a"))}
    dispatcher, actor = one_actor(script)
    dispatcher.offer(DispatchReport(1, "in"))
    dispatcher.run(1)
    plain = json.loads(json.dumps(dispatcher.snapshot()))
    restored = Scripted("one", script)
    other = Dispatcher([restored])
    other.restore(plain)
    assert other.snapshot() == dispatcher.snapshot()
    for each in (dispatcher, other):
        fire(each, 9)
    assert restored.state == actor.state
    assert other.take_effects() == dispatcher.take_effects()
    assert other.snapshot() == dispatcher.snapshot()


def test_no_snapshot_while_something_waits() -> None:
    dispatcher, _ = one_actor({})
    dispatcher.offer(DispatchReport(1, "in"))
    with pytest.raises(WiringError, match="nothing is left"):
        dispatcher.snapshot()
