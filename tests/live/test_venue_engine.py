"""The simulated venue comes back from its journal exactly as it was, however it was interrupted."""

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from venue_engines import PERP, SECOND, Heard, order, state_of

from daemon.config import load
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.venue.engine import StoredEngine, VenueEngine
from daemon.venue.journal import OtherSessionError, Session, VenueJournal
from sim.exchange import ALL
from sim.stored import from_bytes, to_bytes
from venues.model.money import desk_arithmetic
from venues.model.order import Side
from venues.port import ArmDeadMan, CancelAll, Command, Query, QueryKind

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load(ROOT / "configs" / "demo.toml", KINDS)


COMMANDS = st.one_of(
    st.builds(
        lambda side, lots, rests: ("order", side, lots, rests),
        st.sampled_from(Side),
        st.integers(2, 400),
        st.booleans(),
    ),
    st.just(("cancel",)),
    st.just(("dead man",)),
    st.just(("query",)),
    st.just(("book",)),
)


def make(number: int, drawn: tuple[object, ...]) -> Command:
    if drawn[0] == "order":
        _, side, lots, rests = drawn
        assert isinstance(side, Side)
        assert isinstance(lots, int)
        return order(number, side, lots, rests=bool(rests))
    if drawn[0] in ("query", "book"):
        kind = QueryKind.POSITIONS if drawn[0] == "query" else QueryKind.BOOK
        return Query(0, "futures", f"q-{number}", kind, PERP)
    return CancelAll(0, "futures") if drawn[0] == "cancel" else ArmDeadMan(0, "futures", PERP, 3 * SECOND)


@settings(max_examples=25)
@given(script=st.lists(st.tuples(st.integers(0, 1_500), COMMANDS), max_size=12), data=st.data())
def test_a_venue_that_was_killed_anywhere_goes_on_as_if_nothing_had_happened(
    config: RunConfig,
    script: list[tuple[int, tuple[object, ...]]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One life of the venues against several: after each kill a new engine repeats the journal."""
    kills = data.draw(st.sets(st.integers(0, len(script)), max_size=3))
    session = Session(config.sha256, config.run.seed, 60 * SECOND, "paced")
    path = tmp_path_factory.mktemp("venue") / "venue.sqlite"
    with desk_arithmetic():
        heard, again = Heard(), Heard()
        whole, part = VenueEngine(config, 60 * SECOND, heard), VenueEngine(config, 60 * SECOND, again)
        journal = VenueJournal(path, session)
        now = whole.now
        for number, (wait_ms, drawn) in enumerate(script):
            now += wait_ms * 1_000_000
            command = make(number, drawn)
            for engine in (whole, part):
                engine.advance(now)
            if not isinstance(command, Query):
                journal.note(part.steps, part.now, "desk", command)
            for engine in (whole, part):
                engine.command(command, 1)
            if number in kills:
                journal.close()
                journal, again = VenueJournal(path, session), Heard()
                part = VenueEngine(config, 60 * SECOND, again)
                for steps, at, repeated in journal.commands():
                    part.repeat(steps)
                    part.command(repeated, 1, at)
        for engine in (whole, part):
            engine.advance(now + 5 * SECOND)
        assert state_of(part) == state_of(whole)
        assert again.news() == heard.news()
        journal.close()


def everything(engine: VenueEngine) -> bytes:
    """All that is stored, byte for byte; messages are counted otherwise by who never heard a question."""
    found = engine.store()
    assert not found.exchange.due
    return to_bytes(evolve(found, exchange=evolve(found.exchange, count=0)))


@settings(max_examples=25)
@given(script=st.lists(st.tuples(st.integers(0, 1_500), COMMANDS), max_size=12), data=st.data())
def test_venues_that_were_stored_anywhere_go_on_as_if_nothing_had_happened(
    config: RunConfig, script: list[tuple[int, tuple[object, ...]]], data: st.DataObject
) -> None:
    """One life of the venues against several, each going on from what the one before it wrote down."""
    storings = data.draw(st.sets(st.integers(0, len(script)), max_size=3))
    with desk_arithmetic():
        heard, again = Heard(), Heard()
        whole, part = VenueEngine(config, 60 * SECOND, heard), VenueEngine(config, 60 * SECOND, again)
        now = whole.now
        for number, (wait_ms, drawn) in enumerate(script):
            now += wait_ms * 1_000_000
            command = make(number, drawn)
            for engine in (whole, part):
                engine.advance(now)
                engine.command(command, 1)
            if number in storings:
                found = from_bytes(to_bytes(part.store()), StoredEngine)
                part = VenueEngine(config, 60 * SECOND, again)
                part.restore(found)
                assert state_of(part) == state_of(whole)
                # Questions and answers under way are forgotten, nothing else is.
                assert (part.now, part.steps) == (whole.now, whole.steps)
        for engine in (whole, part):
            engine.advance(now + 5 * SECOND)
        assert state_of(part) == state_of(whole)
        assert again.news() == heard.news()
        assert [line for line in again.lines if line[3]] == [line for line in heard.lines if line[3]]
        assert everything(part) == everything(whole)


def test_a_journal_of_another_market_is_refused(config: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "venue.sqlite"
    VenueJournal(path, Session("a", 1, None, "paced")).close()
    for other in (Session("b", 1, None, "paced"), Session("a", 2, None, "paced"), Session("a", 1, 5, "paced")):
        with pytest.raises(OtherSessionError, match="written for"):
            VenueJournal(path, other)
    VenueJournal(path, Session("a", 1, None, "paced")).close()


def test_time_that_was_noted_is_not_lost(tmp_path: Path) -> None:
    session = Session("a", 1, None, "paced")
    journal = VenueJournal(tmp_path / "venue.sqlite", session)
    assert journal.latest_ns() == 0
    journal.note(3, 50, "desk", CancelAll(0, "futures"))
    assert journal.latest_ns() == 50
    journal.note_time(70)
    journal.close()
    assert VenueJournal(tmp_path / "venue.sqlite", session).latest_ns() == 70


def test_an_answer_goes_to_who_asked_and_news_to_everybody(config: RunConfig) -> None:
    heard = Heard()
    with desk_arithmetic():
        engine = VenueEngine(config, 60 * SECOND, heard)
        engine.advance(engine.now + SECOND)
        engine.command(Query(0, "futures", "q", QueryKind.POSITIONS), 2)
        engine.command(Query(0, "futures", "b", QueryKind.BOOK, PERP), 3)
        engine.command(order(1, Side.BUY, 100, rests=False), 2)
        engine.advance(engine.now + SECOND)
    told = [(type(message).__name__, to) for _, message, to, _ in heard.accounts()]
    assert ("QueryResult", 2) in told
    assert ("BookSnapshot", 3) in told
    assert {to for name, to in told if name not in ("QueryResult", "BookSnapshot")} == {ALL}
    assert ("OrderFilled", ALL) in told


def test_a_market_without_an_end_goes_on_past_the_configured_one(config: RunConfig) -> None:
    with desk_arithmetic():
        engine = VenueEngine(config, None, Heard())
        assert engine.end_ns is None
        short = VenueEngine(config, SECOND, Heard())
        short.advance(short.now + 2 * SECOND)
    assert short.is_over
    assert not engine.is_over
