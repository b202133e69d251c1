"""The guard's parts by themselves: what it reads, whom it lets in, whom it ends, how it fails."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest
import trio
from attrs import define, field

from actors.control import AdminCall, Baselines, DeskBye, DeskHello, GuardState, GuardStatus, Heartbeat
from actors.guardian_messages import ArmRefused, DeskGone, DeskKill, Fenced
from actors.guardian_records import GuardConfig
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon.admin.calls import RefusedError
from daemon.config import ConfigErrors, RunConfig, load
from daemon.guard import desk_socket
from daemon.guard.desk_socket import DeskSocket
from daemon.guard.fencing import Fencer
from daemon.guard.journal import Start, open_journal
from daemon.guard.process import GuardProcess, TooManyFaultsError
from daemon.guard.setup import SetupError, read_setup
from daemon.init import text as initial
from daemon.kinds import KINDS
from daemon.link.wire import LineBuffer, decode, encode
from daemon.live.paths import StatePaths
from daemon.live.sockets import Peer, connect, listen, peer
from venues.port import Message

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "configs" / "demo.toml"
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
MORE = """
[daemon]
log_level = "warning"
[guard]
heartbeat_timeout = "3s"
slippage_bps = ["5", "10"]
"""

# What it reads


@pytest.mark.parametrize("path", [*CONFIGS, None], ids=lambda path: path.name if path else "as init writes it")
def test_it_reads_what_the_desk_reads(path, tmp_path, monkeypatch):
    monkeypatch.setenv("BASISD_DATA_DIR", str(tmp_path))
    if path is None:
        path = tmp_path / "init.toml"
        path.write_text(initial())
    mine = read_setup(path)
    theirs = _load(path)
    if theirs is not None:
        assert (mine.run, mine.instruments) == (theirs.run.name, dict(theirs.instruments))
        assert mine.accounts == {name: one.account() for name, one in theirs.accounts.items()}
        assert mine.guard == theirs.section("guard", GuardConfig)


def _load(path: Path) -> RunConfig | None:
    try:
        return load(path, KINDS)
    except ConfigErrors:
        # Recordings that are not on this machine are no mistake to the guard.
        return None


def test_its_own_sections(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(DEMO.read_text() + MORE)
    setup = read_setup(path)
    assert (setup.log_level, setup.guard.heartbeat_timeout_ns) == ("warning", 3_000_000_000)
    assert setup.guard.slippage_bps == (Decimal(5), Decimal(10))


def test_what_it_reads_of_others_sections(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(DEMO.read_text() + '[dead_man]\nwithout = ["binance_usdm"]\n[channels]\nqueue = 7\n')
    setup = read_setup(path)
    assert (setup.guard.without_dead_man, setup.channels.queue) == (("binance_usdm",), 7)
    # It must know which venues have timers, but guards without channels.
    path.write_text(DEMO.read_text() + "[dead_man]\nwithout = 5\n[channels]\nqueue = 0\n")
    with pytest.raises(SetupError, match=r"dead_man\.without"):
        read_setup(path)
    path.write_text(DEMO.read_text() + "[channels]\nqueue = 0\n")
    assert read_setup(path).channels.webhook is None


def test_a_mistake_elsewhere_is_none_of_its_business(tmp_path):
    path = tmp_path / "x.toml"
    broken = DEMO.read_text().replace('kind = "cash_and_carry"', 'kind = "no_such_module:Thing"')
    path.write_text(broken + '[daemon]\nlog_level = "shouting"\n[risk]\nwhat = 1\n')
    assert read_setup(path).log_level == "info"


WRONG = [
    ("not there", None, "cannot be read"),
    ("not TOML", "x = ", "is not TOML"),
    ("no accounts", '[run]\nname = "x"\n', "accounts: write at least one"),
    ("a wrong duration", DEMO.read_text() + '[guard]\nack = "soon"\n', "guard.ack: expected a duration"),
    ("no time for an ack", DEMO.read_text() + '[guard]\nack = "0s"\n', "guard.ack"),
]


@pytest.mark.parametrize(("text", "why"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_it_cannot_read(text, why, tmp_path):
    path = tmp_path / "x.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SetupError, match=why):
        read_setup(path)


# Whom it lets in


@define
class Owner:
    """Notes what it hears."""

    is_fresh: bool = True
    heard: list[Message] = field(factory=list)
    joins: list[int] = field(factory=list)
    news: trio.Event = field(factory=trio.Event)

    def is_desk_fresh(self) -> bool:
        return self.is_fresh

    def joined(self, connected: socket.socket, who: Peer) -> None:
        self.joins.append(who.pid)

    def said(self, message: Message, who: Peer) -> None:
        self.heard.append(message)
        self.news.set()

    async def hears(self, *kinds: type[Message]) -> None:
        with trio.fail_after(10):
            while [type(one) for one in self.heard] != list(kinds):
                self.news = trio.Event()
                await self.news.wait()


@contextmanager
def opened(path: Path) -> Iterator[Callable[[], socket.socket]]:
    """Give a way to connect; everything is closed in the end."""
    made = []

    def join() -> socket.socket:
        made.append(connect(path))
        return made[-1]

    try:
        yield join
    finally:
        for one in made:
            one.close()


HELLO = DeskHello(1, 99, "run", "build", "paper")
BEAT = Heartbeat(2, 1, KillLevel.ARMED, True, 0)


async def ended(connected: socket.socket) -> None:
    """Wait until the other end has hung up."""
    connected.setblocking(False)
    with trio.fail_after(10):
        while True:
            await trio.lowlevel.wait_readable(connected)
            try:
                if not connected.recv(4096):
                    return
            except ConnectionResetError:
                return


@pytest.fixture
async def served(tmp_path, nursery):
    owner = Owner()
    with listen(tmp_path / "guard.sock") as listener, opened(tmp_path / "guard.sock") as join:
        served = DeskSocket(listener, owner, lambda: 7)
        nursery.start_soon(served.run)
        yield served, owner, join
        nursery.cancel_scope.cancel()


async def test_a_desk_is_heard_word_by_word(served):
    here, owner, join = served
    desk = join()
    said = [
        HELLO,
        BEAT,
        Baselines(3, "spot", {"BTC": Decimal("0.5")}),
        KillCommand(4, "alice", KillLevel.FLATTEN, "why"),
        ArmCommand(5, "bob", "fine"),
        DeskBye(6, "stop"),
    ]
    desk.sendall(b"".join(encode(one) for one in said))
    await owner.hears(DeskHello, Heartbeat, Baselines, DeskKill, ArmCommand, DeskBye)
    assert owner.heard[0].pid == os.getpid(), "the kernel knows better"
    assert owner.heard[3] == DeskKill(7, "alice", KillLevel.FLATTEN, "why")
    here.tell(GuardState(8, 1, KillLevel.ARMED, "", "", False))
    assert decode(desk.recv(4096).strip()) == GuardState(8, 1, KillLevel.ARMED, "", "", False)
    desk.close()
    await owner.hears(DeskHello, Heartbeat, Baselines, DeskKill, ArmCommand, DeskBye, DeskGone)
    here.tell(GuardState(9, 1, KillLevel.ARMED, "", "", False))


INTRUDERS = [
    ("no hello", encode(BEAT), True),
    ("garbage", b"hello\n", True),
    ("a line without an end", b"x" * 5_000_000, True),
    ("another's message", encode(HELLO) + encode(GuardStatus(1, True)), False),
]


@pytest.mark.parametrize(("data", "is_unknown"), [row[1:] for row in INTRUDERS], ids=[row[0] for row in INTRUDERS])
async def test_who_is_not_understood_is_hung_up_on(served, data, is_unknown):
    _, owner, join = served
    stranger = join()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, _send, stranger, data)
        await ended(stranger)
    if not is_unknown:
        await owner.hears(DeskHello, DeskGone)
    assert (owner.heard == []) is is_unknown


def _send(stranger: socket.socket, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
        stranger.sendall(data)


async def test_another_user_is_no_desk(served, monkeypatch):
    _, owner, join = served
    monkeypatch.setattr(desk_socket, "peer", lambda connected: Peer(1, os.getuid() + 1, 0))
    stranger = join()
    stranger.sendall(encode(HELLO))
    await ended(stranger)
    assert owner.joins == []


async def test_a_second_desk_is_turned_away_while_the_first_one_lives(served):
    _, owner, join = served
    first, second = join(), join()
    first.sendall(encode(HELLO))
    await owner.hears(DeskHello)
    second.sendall(encode(HELLO))
    await ended(second)
    owner.is_fresh = False
    third = join()
    third.sendall(encode(HELLO))
    await owner.hears(DeskHello, DeskHello)
    await ended(first)
    third.sendall(encode(BEAT))
    await owner.hears(DeskHello, DeskHello, Heartbeat)


async def test_what_waits_in_the_socket_can_be_taken_at_once(served):
    here, owner, join = served
    desk = join()
    desk.sendall(encode(HELLO))
    await owner.hears(DeskHello)
    desk.sendall(encode(BEAT))
    here.take_ready()
    assert owner.heard[1:] == [BEAT]


# Whom it ends

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
HOLD = "import sys; from daemon.live.lockfile import lock; from pathlib import Path; lock(Path(sys.argv[1]));" + SLEEP
DIAL = (
    "import sys, time; from daemon.live.sockets import connect; from pathlib import Path;"
    "c = connect(Path(sys.argv[1]));" + SLEEP
)


@contextmanager
def running(code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def test_the_process_at_the_other_end_is_ended(tmp_path):
    with listen(tmp_path / "x.sock") as listener, running(DIAL, str(tmp_path / "x.sock")) as process:
        connected, _ = listener.accept()
        with connected:
            fencer = Fencer(tmp_path / "lock")
            fencer.watch(connected, peer(connected))
            process.send_signal(signal.SIGSTOP)
            assert fencer.is_alive()
            assert await fencer.end(process.pid) == ""
            assert not fencer.is_alive()
            assert process.wait() == -signal.SIGKILL
            assert await fencer.end(process.pid) == "", "dead already"
            fencer.forget()


async def test_a_desk_of_an_earlier_guard_is_known_by_its_lock(tmp_path):
    with running(HOLD, str(tmp_path / "lock")) as process:
        fencer = Fencer(tmp_path / "lock")
        assert await fencer.end(process.pid) == ""
        assert process.wait() == -signal.SIGKILL
        fencer.forget()


async def test_a_pid_that_means_somebody_else_now_is_let_be(tmp_path):
    with running(SLEEP) as innocent, running(HOLD, str(tmp_path / "lock")) as other:
        fencer = Fencer(tmp_path / "lock")
        assert await fencer.end(innocent.pid) == ""
        assert await Fencer(tmp_path / "nowhere").end(innocent.pid) == ""
        assert innocent.poll() is other.poll() is None


async def test_ending_an_earlier_desk_does_not_lose_sight_of_the_one_that_is_there(tmp_path):
    with listen(tmp_path / "x.sock") as listener, running(DIAL, str(tmp_path / "x.sock")) as process:
        connected, _ = listener.accept()
        with connected:
            fencer = Fencer(tmp_path / "lock")
            fencer.watch(connected, peer(connected))
            assert await fencer.end(process.pid + 1) == ""
            assert fencer.is_alive()
            assert await fencer.end(process.pid) == ""
            fencer.forget()


async def test_a_lock_that_does_not_say_who_proves_nothing(tmp_path):
    with running(HOLD, str(tmp_path / "lock")) as process:
        (tmp_path / "lock").write_text("")
        assert "cannot be told" in await Fencer(tmp_path / "lock").end(process.pid)
        assert process.poll() is None


PAPER = Start(KillLevel.ARMED, "new")

# How it fails


@pytest.fixture
def process(tmp_path: Path) -> Iterator[GuardProcess]:
    paths = StatePaths(tmp_path, tmp_path / "run")
    setup = read_setup(DEMO)
    made = GuardProcess(setup, paths, open_journal(paths.guard_journal, PAPER, 1))
    yield made
    made.notes.close()


async def test_a_guardian_that_fails_is_replaced_and_everything_cancelled(process, tmp_path, nursery):
    with listen(tmp_path / "run" / "guard.sock") as listener, opened(tmp_path / "run" / "guard.sock") as join:
        here = DeskSocket(listener, process, process.now)
        await nursery.start(process.run, here)
        desk = join()
        desk.sendall(encode(HELLO) + encode(BEAT))
        with trio.fail_after(10):
            while not process.is_desk_fresh():
                await trio.sleep(0.001)
        first, epoch = process.guardian, process.notes.epoch
        process.engine._handlers[Baselines] = lambda *_: 1 / 0
        process.take(Baselines(1, "spot", {}))
        assert process.guardian is not first
        assert process.guardian.state.level is KillLevel.CANCEL_ALL
        assert process.notes.epoch > epoch
        assert process.status()["trigger"] == "fault"
        await ended(desk)
        again = join()
        again.sendall(encode(HELLO) + encode(BEAT))
        with trio.fail_after(10):
            while not process.is_desk_fresh():
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()


async def test_one_that_fails_again_and_again_gives_up(process):
    def fail() -> None:
        process.engine._handlers[Baselines] = lambda *_: 1 / 0
        process.take(Baselines(1, "spot", {}))

    for _ in range(3):
        fail()
    with pytest.raises(TooManyFaultsError):
        fail()
    assert process.guardian.state.level is KillLevel.CANCEL_ALL


async def test_a_call_that_only_looks_needs_no_journal(process, monkeypatch):
    monkeypatch.setattr(process.notes, "write", lambda rows, once=(): "disk full" if rows or once else "")
    process.journal(AdminCall(1, "view", "status", "{}", 0, 0, 1))
    with pytest.raises(RefusedError, match="disk full"):
        process.journal(AdminCall(1, "ops", "kill", "{}", 0, 0, 1))
    assert (await process.kill(KillLevel.CANCEL_ALL, "alice", "x"))["level"] == "cancel_all"


def test_messages_the_desk_hears_are_known_to_it():
    line = encode(ArmRefused(1, "alice", "no"))
    assert decode(LineBuffer().feed(line)[0]) == ArmRefused(1, "alice", "no")
    assert Fenced(1, 2, True).why == ""
