"""What the guard writes down, what it remembers, and what becomes of it when the disk refuses."""

import sqlite3
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from actors.control import Baselines, DeskHello
from actors.guardian_messages import Latched
from actors.guardian_records import GuardianState
from actors.messages import ArmCommand, KillLevel
from daemon.guard.journal import EVENTS_KEPT, GuardJournal, Rows, Start, event_row, latch_row, open_journal
from daemon.guard.notes import Notes
from daemon.live.sockets import Peer
from venues.port import CancelAll

HELLO = DeskHello(1, 99, "run", "build", "paper")
PAPER = Start(KillLevel.ARMED, "new")
CANCEL = Latched(5, KillLevel.CANCEL_ALL, KillLevel.ARMED, "operator", "alice", "because")
LOWER = Latched(6, KillLevel.ARMED, KillLevel.CANCEL_ALL, "operator", "alice", "fine")
WHO = Peer(11, 12, 13)


def journal_of(path: Path, now: int = 5_000_000) -> tuple[GuardJournal, int]:
    found = open_journal(path, PAPER, now)
    assert found.journal is not None
    return found.journal, found.remembered.epoch


def test_what_is_written_is_remembered(tmp_path):
    journal, epoch = journal_of(tmp_path / "g.sqlite")
    notes, state = Notes(journal, epoch, is_obedient=True), GuardianState()
    state.desk.pid = 77
    state.baselines = {"spot": {"BTC": Decimal("0.50")}}
    assert notes.commit(5, HELLO, [], state, WHO) == ""
    assert notes.commit(5, Baselines(5, "spot", {}), [CANCEL, CancelAll(5, "spot")], state, WHO) == ""
    notes.close()
    found = open_journal(tmp_path / "g.sqlite", PAPER, 5_000_000)
    known = found.remembered
    assert (known.level, known.trigger, known.why) == (KillLevel.CANCEL_ALL, "operator", "because")
    assert (known.awaited_pid, known.is_fenced, known.is_in_charge) == (77, False, False)
    assert known.baselines == {"spot": {"BTC": Decimal("0.50")}}
    assert known.epoch == epoch + 1
    assert found.journal is not None
    found.journal.close()


def test_people_can_read_it(tmp_path):
    journal, _ = journal_of(tmp_path / "g.sqlite")
    journal.write([latch_row(CANCEL, WHO), event_row(1_700_000_000_500_000_000, CancelAll(5, "spot"), WHO)])
    journal.close()
    connection = sqlite3.connect(tmp_path / "g.sqlite")
    history = connection.execute(
        "SELECT before, level, trigger, operator, uid, pid, reason FROM latch_history"
    ).fetchall()
    story = connection.execute("SELECT time, kind, uid, pid FROM story").fetchall()
    connection.close()
    assert history[1] == ("ARMED", "CANCEL_ALL", "operator", "alice", 12, 11, "because")
    assert story == [("2023-11-14 22:13:20.500", "CancelAll", 12, 11)]


def test_no_epoch_comes_again_even_when_the_journal_is_lost(tmp_path):
    path, epochs = tmp_path / "g.sqlite", []
    for now in (9_000_000_000, 9_000_000_001, 9_005_000_000):
        journal, epoch = journal_of(path, now)
        epochs.append(epoch)
        journal.close()
    path.unlink()
    journal, epoch = journal_of(path, 9_010_000_000)
    journal.close()
    epochs.append(epoch)
    assert epochs == [9000, 9001, 9005, 9010]


def test_old_events_go_and_the_latch_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("daemon.guard.journal._PRUNE_EVERY", 10)
    monkeypatch.setattr("daemon.guard.journal.EVENTS_KEPT", 25)
    journal, _ = journal_of(tmp_path / "g.sqlite")
    for _ in range(100):
        journal.write([latch_row(CANCEL, None), event_row(1, CancelAll(5, "spot"))])
    journal.close()
    connection = sqlite3.connect(tmp_path / "g.sqlite")
    counts = connection.execute("SELECT (SELECT count(*) FROM latch), (SELECT count(*) FROM events)").fetchone()
    connection.close()
    assert counts[0] == 101
    assert 25 <= counts[1] <= 35
    assert EVENTS_KEPT >= 100_000


class Failing(GuardJournal):
    """Refuses while told so."""

    why = ""

    def write(self, rows: Sequence[Rows]) -> None:
        if self.why:
            raise sqlite3.OperationalError(self.why)
        super().write(rows)


def test_what_the_disk_refused_comes_first_the_next_time_but_never_a_lowering(tmp_path):
    path = tmp_path / "g.sqlite"
    journal_of(path)[0].close()
    journal = Failing(path)
    notes, state = Notes(journal, 1, is_obedient=True), GuardianState()
    journal.why = "disk I/O error"
    assert "disk I/O error" in notes.commit(5, None, [CANCEL], state, None)
    assert "disk I/O error" in notes.commit(6, ArmCommand(6, "alice", "fine"), [LOWER], state, None)
    notes.retry()
    assert notes.unwritten == 3
    journal.why = ""
    notes.retry()
    assert notes.unwritten == 0
    notes.close()
    connection = sqlite3.connect(path)
    levels = connection.execute("SELECT level, trigger FROM latch ORDER BY number").fetchall()
    connection.close()
    assert levels == [("ARMED", "start"), ("CANCEL_ALL", "operator"), ("CANCEL_ALL", "journal")]
