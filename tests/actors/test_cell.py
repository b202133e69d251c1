"""What a cell makes of a failing actor, and that it does the same again when its inputs are fed once more."""

import json

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Actor, handles
from actors.cell import QUARANTINE_WINDOW_NS, Cell, CellRestarted
from actors.dispatcher import Intent, Limits, View
from venues.port import CancelAll, Lane, Message, message

MINUTE = QUARANTINE_WINDOW_NS


@message()
class CellInput(Message):
    """`text` is a list of words: see Source and Reader."""

    ts: int
    text: str


@message()
class CellHint(Message):
    ts: int
    text: str


@message(lane=Lane.VIEWS)
class CellView(View):
    ts: int
    instrument: str
    text: str

    @property
    def key(self) -> str:
        return self.instrument


@define
class Words:
    seen: list[str] = field(factory=list)
    ids: int = 0


class Source(Actor):
    """Reads an input word by word: `X=text` publishes a view, `send` sends, `hint` emits, `tick` sets a timer."""

    publishes = (CellView, CellHint)
    sends = (CancelAll,)

    def __init__(self) -> None:
        super().__init__("source")
        self.state = Words()

    @handles(CellInput)
    def on_input(self, now: int, received: CellInput) -> None:
        self.state.seen.append(received.text)
        for word in received.text.split():
            if "=" in word:
                self.out.emit(CellView(now, *word.split("=")))
            elif word == "send":
                self.state.ids += 1
                self.out.send(CancelAll(now, f"source-{self.state.ids}"))
            elif word == "hint":
                self.out.emit(CellHint(now, received.text))
            elif word == "tick":
                self.out.timer("tick", now + 5)
            elif word == "fail":
                raise ZeroDivisionError("on purpose")

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        self.state.seen.append(f"restarted without {restarted.seq}")

    def on_timer(self, now: int, key: str) -> None:
        self.state.seen.append(f"{key} at {now}")


class Reader(Actor):
    """Sends for each view that says so, and fails on one that says `fail`."""

    sends = (CancelAll,)
    publishes = (CellView,)

    def __init__(self) -> None:
        super().__init__("reader")
        self.state = Words()

    @handles(CellView)
    def on_view(self, now: int, view: CellView) -> None:
        self.state.seen.append(f"{view.instrument}={view.text}")
        if view.text == "fail":
            raise ZeroDivisionError("on purpose")
        if view.text == "send":
            self.state.ids += 1
            self.out.send(CancelAll(now, f"reader-{self.state.ids}"))
        if view.text == "again":
            self.out.emit(CellView(now, view.instrument + "'", "send"))

    @handles(CellHint)
    def on_hint(self, now: int, hint: CellHint) -> None:
        self.state.seen.append(f"hint {hint.text}")


class Kept:
    """A sink that keeps the inputs, to be fed again."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int, bool, Message]] = []

    def input(self, seq: int, now: int, is_held: bool, message: Message) -> None:
        self.taken.append((seq, now, is_held, message))


def new_cell(sink: Kept | None = None, *, snapshot_every: int = 20_000) -> Cell:
    cell = Cell(
        lambda: [Source(), Reader()], sink=sink, limits=Limits(messages_per_input=200), snapshot_every=snapshot_every
    )
    cell.start(0)
    return cell


def play(cell: Cell, runs: list[tuple[int, list[str]]]) -> list[Intent]:
    """Offer the texts of each run at its time and run; return all that is to be sent."""
    sent: list[Intent] = []
    for now, texts in runs:
        cell.offer_due(now)
        for text in texts:
            cell.offer(CellInput(now, text))
        sent += cell.run(now)
    return sent


def accounts(intents: list[Intent]) -> list[str]:
    return [intent.command.account for intent in intents]


def states(cell: Cell) -> dict[str, list[str]]:
    return {name: actor.state.seen for name, actor in cell.dispatcher.actors.items()}


# Quarantine


def test_after_a_quarantine_the_state_is_that_of_a_run_without_the_input() -> None:
    cell, without = new_cell(), new_cell()
    sent = play(cell, [(1, ["X=send send"]), (2, ["send hint fail", "Y=send"])])
    expected = play(without, [(1, ["X=send send"]), (2, ["Y=send"])])
    assert accounts(sent) == accounts(expected) == ["source-1", "reader-1", "reader-2"]
    assert states(cell)["reader"] == states(without)["reader"]
    restarted = cell.quarantined[0]
    assert states(cell)["source"] == ["X=send send", f"restarted without {restarted.seq}", "Y=send"]
    assert (restarted.actor, restarted.now) == ("source", 2)
    assert cell.halt is None


def test_what_waited_behind_the_failed_input_is_not_lost() -> None:
    cell = new_cell()
    play(cell, [(1, ["a", "fail", "b", "c"])])
    assert [text for text in states(cell)["source"] if "restarted" not in text] == ["a", "b", "c"]


@pytest.mark.parametrize("snapshot_every", [1, 2, 20_000])
def test_views_delivered_before_the_failure_do_not_act_twice(snapshot_every: int) -> None:
    cell = new_cell(snapshot_every=snapshot_every)
    sent = play(cell, [(1, ["X=send"]), (2, ["fail"]), (3, ["a"])])
    assert accounts(sent) == ["reader-1"]
    assert states(cell)["reader"] == ["X=send"]


def test_when_a_view_fails_the_others_of_the_same_run_act_once() -> None:
    cell = new_cell()
    sent = play(cell, [(1, ["A=send", "send B=fail", "C=send"])])
    # B's own input is taken back whole, with the command it wanted sent.
    assert accounts(sent) == ["reader-1", "reader-2"]
    assert states(cell)["reader"] == ["A=send", "C=send"]
    assert cell.halt is None


def test_a_second_rebuild_remembers_what_the_first_one_did() -> None:
    cell = new_cell()
    sent = play(cell, [(1, ["A=send", "B=fail", "C=send"]), (2 + MINUTE, ["D=send", "fail", "E=send"])])
    assert accounts(sent) == ["reader-1", "reader-2", "reader-3", "reader-4"]
    assert states(cell)["reader"] == ["A=send", "C=send", "D=send", "E=send"]
    assert len(cell.quarantined) == 2


def test_numbers_go_on_after_a_rebuild() -> None:
    kept = Kept()
    cell = new_cell(kept)
    sent = play(cell, [(1, ["X=send"]), (2, ["hint fail", "send"]), (3, ["send"])])
    numbers = [seq for seq, *_ in kept.taken] + [intent.seq for intent in sent]
    assert len(set(numbers)) == len(numbers)
    assert sorted(seq for seq, *_ in kept.taken) == [seq for seq, *_ in kept.taken]
    assert all(intent.root < intent.cause < intent.seq or intent.root == intent.cause for intent in sent)


def test_timers_survive_a_rebuild_and_those_of_the_failed_input_do_not() -> None:
    cell = new_cell()
    play(cell, [(1, ["tick"]), (2, ["tick fail"])])
    assert cell.next_timer() == 6
    play(cell, [(6, []), (20, [])])
    assert states(cell)["source"][-1] == "tick at 6"
    assert cell.next_timer() is None


def test_a_rebuild_starts_from_the_last_snapshot() -> None:
    cell = new_cell(snapshot_every=3)
    play(cell, [(now, ["a"]) for now in range(1, 10)])
    assert len(cell._tail) < 3
    play(cell, [(10, ["fail"])])
    assert states(cell)["source"].count("a") == 9


# Halt


def test_a_second_quarantine_within_a_minute_halts() -> None:
    cell = new_cell()
    sent = play(cell, [(1, ["fail"]), (MINUTE, ["send", "fail", "send"])])
    assert cell.halt is not None
    assert "second quarantine within a minute" in cell.halt.why
    assert accounts(sent) == ["source-1"]
    assert play(cell, [(2 * MINUTE, ["send"])]) == []
    assert cell.next_timer() is None


def test_a_second_quarantine_a_minute_later_does_not() -> None:
    cell = new_cell()
    play(cell, [(1, ["fail"]), (1 + MINUTE, ["fail"])])
    assert cell.halt is None


def test_a_storm_halts_with_its_chain() -> None:
    class Loop(Source):
        @handles(CellHint)
        def on_hint(self, now: int, hint: CellHint) -> None:
            self.out.emit(hint)

    cell = Cell(lambda: [Loop()], limits=Limits(messages_per_input=20))
    cell.start(0)
    play(cell, [(1, ["hint"])])
    assert cell.halt is not None
    assert cell.halt.chain[:2] == ("CellInput from input", "CellHint from source")


def test_an_actor_that_cannot_bear_the_restart_halts_the_cell() -> None:
    class Fragile(Source):
        @handles(CellRestarted)
        def on_restart(self, now: int, restarted: CellRestarted) -> None:
            raise ZeroDivisionError("again")

    cell = Cell(lambda: [Fragile()])
    cell.start(0)
    play(cell, [(1, ["fail"])])
    assert cell.halt is not None
    assert "cannot be rebuilt" in cell.halt.why


# Snapshot and replay


def test_a_cell_goes_on_from_its_snapshot() -> None:
    cell, other = new_cell(), Cell(lambda: [Source(), Reader()])
    play(cell, [(1, ["X=send tick", "send"])])
    other.start(2, json.loads(json.dumps(cell.snapshot())))
    rest = [(7, ["X=send", "fail", "send"])]
    assert play(other, rest) == play(cell, rest)
    assert states(other) == states(cell)


WORDS = st.sampled_from(["a", "send", "hint", "tick", "X=send", "Y=send", "Z=again", "fail", "X=fail", "Y=fail"])
TEXTS = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
GAPS = st.sampled_from([1, 3, 7, MINUTE // 2, MINUTE, 2 * MINUTE])


@given(st.lists(st.tuples(GAPS, st.lists(TEXTS, max_size=4)), max_size=10), st.sampled_from([2, 20_000]))
def test_a_replay_does_the_same_whatever_fails(runs: list[tuple[int, list[str]]], snapshot_every: int) -> None:
    kept, again = Kept(), Kept()
    cell, replay = new_cell(kept), new_cell(again, snapshot_every=snapshot_every)
    now, timed = 0, []
    for gap, texts in runs:
        now += gap
        timed.append((now, texts))
    sent = play(cell, timed)
    got: list[Intent] = []
    for _, taken_at, is_held, taken in kept.taken:
        if not isinstance(taken, CellRestarted):
            got += replay.replay(taken_at, taken, is_held)
    got += replay.finish_replay()
    assert got == sent
    assert again.taken == kept.taken
    assert (replay.halt, replay.quarantined) == (cell.halt, cell.quarantined)
    assert states(replay) == states(cell)


@given(st.lists(TEXTS, max_size=6))
def test_no_command_is_ever_emitted_twice(texts: list[str]) -> None:
    sent = play(new_cell(), [(1, texts)])
    names = accounts(sent)
    assert len(set(names)) == len(names)


@define
class UnwritableState:
    mixed: set[object] = field(factory=set)


class Unwritable(Actor):
    """Keeps what cannot be put in order, once a quote was seen."""

    def __init__(self) -> None:
        super().__init__("unwritable")
        self.state = UnwritableState()

    @handles(CellRestarted)
    def on_restart(self, now: int, message: CellRestarted) -> None:
        self.state.mixed |= {1, "one"}


@pytest.mark.parametrize("kind", ["at the start", "later"])
def test_a_state_that_cannot_be_written_down_halts(kind: str) -> None:
    actor = Unwritable()
    cell = Cell(lambda: [actor], snapshot_every=1)
    if kind == "at the start":
        actor.state.mixed |= {1, "one"}
    cell.start(0)
    if kind == "later":
        cell.offer(CellRestarted(1, 1, "a", "b"))
        cell.run(1)
    assert cell.halt is not None
    assert "unwritable: its state cannot be written down" in cell.halt.why


def test_an_actor_that_cannot_begin_halts_and_sends_nothing() -> None:
    class Broken(Actor):
        def start(self, now: int) -> None:
            raise ValueError("no")

    cell = Cell(lambda: [Broken("broken")])
    assert cell.start(5) == []
    assert cell.halt is not None
    assert (cell.halt.now, "broken failed" in cell.halt.why) == (5, True)


def test_an_actor_that_cannot_be_built_again_halts() -> None:
    built: list[int] = []

    class Fickle(Actor):
        def __init__(self) -> None:
            super().__init__("fickle")
            self.state = None
            built.append(1)
            if len(built) > 1:
                raise RuntimeError("once is enough")

        @handles(CellRestarted)
        def on_restart(self, now: int, message: CellRestarted) -> None:
            raise ValueError("no")

    cell = Cell(lambda: [Fickle()])
    cell.start(0)
    cell.offer(CellRestarted(1, 1, "a", "b"))
    assert cell.run(1) == []
    assert cell.halt is not None
    assert "cannot be rebuilt: RuntimeError: once is enough" in cell.halt.why
