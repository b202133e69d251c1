"""What the service manager hears, and what of its environment is taken: over real sockets."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from daemon.notify import Notifier, NotifyError, beat, take_sockets
from daemon.redaction import register

ROOT = Path(__file__).resolve().parents[2]
S = 1_000_000_000


class Manager:
    """Listens as the service manager does."""

    def __init__(self, address):
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self):
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4097).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"@basisd-test-{os.getpid()}"
    manager = Manager(name)
    yield manager
    manager.socket.close()


@pytest.fixture
def notifier(manager):
    notifier = Notifier(manager.address)
    yield notifier
    notifier.close()


MESSAGES = [
    (lambda one: one.ready(), "READY=1"),
    (lambda one: one.ready("trades"), "READY=1\nSTATUS=trades"),
    (lambda one: one.status("reconciles\n perp"), "STATUS=reconciles perp"),
    (lambda one: one.stopping(), "STOPPING=1"),
    (lambda one: one.stopping("cancels"), "STOPPING=1\nSTATUS=cancels"),
    (lambda one: one.main_pid(4711), "MAINPID=4711"),
    (lambda one: one.extend_timeout(30 * S + 1), "EXTEND_TIMEOUT_USEC=30000001"),
    (lambda one: one.beat(), "WATCHDOG=1"),
    (lambda one: one.complain("no journal"), "STATUS=unhealthy: no journal"),
]


@pytest.mark.parametrize(("say", "message"), MESSAGES, ids=[message for _, message in MESSAGES])
def test_what_the_manager_hears(manager, notifier, say, message):
    assert say(notifier)
    assert manager.heard() == [message]


@pytest.mark.parametrize("say", [say for say, _ in MESSAGES])
@pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody-listens-here", "vsock:2:1234"])
def test_nobody_listens(address, say):
    notifier = Notifier(address)
    assert not say(notifier)
    notifier.close()
    assert not say(notifier)


def test_what_was_not_heard_is_said_with_the_next(tmp_path):
    notifier = Notifier(str(tmp_path / "notify"))
    assert not notifier.ready("starts")
    assert not notifier.status("trades")
    assert not notifier.beat()
    manager = Manager(str(tmp_path / "notify"))
    assert notifier.main_pid(1)
    # Not the beat: it was for then.
    assert manager.heard() == ["READY=1\nSTATUS=trades\nMAINPID=1"]
    assert notifier.main_pid(1)
    assert manager.heard() == ["MAINPID=1"]
    manager.socket.close()
    notifier.close()


def test_a_manager_that_does_not_listen_holds_nobody_up(manager, notifier):
    heard = 0
    while notifier.main_pid(1):
        heard += 1
        assert heard < 100_000
    manager.heard()
    assert notifier.main_pid(2)
    assert manager.heard() == ["MAINPID=2"]


def test_a_status_is_short_and_names_no_secret(manager, notifier):
    register("hunter2-hunter2")
    notifier.status("login with hunter2-hunter2 failed " + "ä" * 3_000)
    (message,) = manager.heard()
    assert message.startswith("STATUS=login with [secret] failed ääää")
    assert len(message.encode()) <= 2_008


def test_the_status_is_said_when_it_changes(manager, notifier):
    notifier.status("trades")
    notifier.beat()
    notifier.complain("no journal")
    notifier.beat()
    notifier.beat()
    assert manager.heard() == [
        "STATUS=trades",
        "WATCHDOG=1",
        "STATUS=unhealthy: no journal",
        "WATCHDOG=1\nSTATUS=trades",
        "WATCHDOG=1",
    ]


PID = str(os.getpid())


@pytest.mark.parametrize(
    ("environment", "watchdog_ns"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "3000000"}, 3 * S),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": PID}, 3 * S),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_PID": PID}, 0),
    ],
)
def test_the_watchdog_is_ours_or_not(environment, watchdog_ns):
    environment["PATH"] = "/bin"
    assert Notifier.from_environment(environment).watchdog_ns == watchdog_ns
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("text", ["0", "-1", "5s", "٣", "1.5"])
@pytest.mark.parametrize("name", ["WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS"])
def test_what_cannot_be_meant(name, text):
    environment = {"WATCHDOG_USEC": "1", "LISTEN_PID": PID, "LISTEN_FDS": "1"} | {name: text}
    with pytest.raises(NotifyError, match=f"{name}: expected a whole number above zero, got '"):
        (Notifier.from_environment if name.startswith("WATCHDOG") else take_sockets)(environment)
    assert name not in environment


async def test_beats_while_healthy(manager, autojump_clock, nursery):
    notifier = Notifier(manager.address, watchdog_ns=3 * S)
    notifier.ready("trades")
    why = ""
    await nursery.start(beat, notifier, lambda: why)
    await trio.sleep(3.5)
    why = "the cell is stuck"
    await trio.sleep(3)
    why = ""
    await trio.sleep(1)
    assert manager.heard() == [
        "READY=1\nSTATUS=trades",
        *["WATCHDOG=1"] * 4,
        "STATUS=unhealthy: the cell is stuck",
        "WATCHDOG=1\nSTATUS=trades",
    ]
    nursery.cancel_scope.cancel()
    notifier.close()


async def test_health_is_shown_without_a_watchdog(manager, autojump_clock, nursery):
    notifier = Notifier(manager.address)
    await nursery.start(beat, notifier, lambda: "no journal")
    await trio.sleep(60)
    assert manager.heard() == ["STATUS=unhealthy: no journal"]
    nursery.cancel_scope.cancel()
    notifier.close()


async def test_a_check_that_fails_is_no_beat(manager, autojump_clock):
    def broken():
        raise RuntimeError("no idea")

    notifier = Notifier(manager.address, watchdog_ns=S)
    with pytest.raises(RuntimeError, match="no idea"):
        await beat(notifier, broken)
    assert manager.heard() == []
    notifier.close()


# Sockets handed over

TAKES = """
import json, os, subprocess, sys
from daemon.notify import NotifyError, take_sockets
try:
    taken = take_sockets()
except NotifyError as error:
    print(json.dumps({"error": str(error)}))
    raise SystemExit
def child(*command):
    return subprocess.run(command, capture_output=True, text=True, close_fds=False).stdout.split()

print(json.dumps({
    "names": {
        name: [[one.fileno(), one.getsockname(), one.getblocking()] for one in some] for name, some in taken.items()
    },
    "inheritable": [os.get_inheritable(one.fileno()) for some in taken.values() for one in some],
    "inodes": [os.fstat(one.fileno()).st_ino for some in taken.values() for one in some],
    "files of a child": child("ls", "-l", "/proc/self/fd"),
    "environment of a child": child("env"),
    "again": list(take_sockets()),
}))
"""


def hand_over(fds, environment):
    """Start a process as the manager does: descriptors from 3 on, and its own pid in the environment."""

    def arrange():
        # Out of the way first: some may be 3 or above themselves.
        kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds]
        for number, fd in enumerate(kept, start=3):
            os.dup2(fd, number)

    done = subprocess.run(
        ["/bin/sh", "-c", f'LISTEN_PID=$$ exec {sys.executable} -c "$0"', TAKES],
        capture_output=True,
        text=True,
        check=False,
        close_fds=False,
        preexec_fn=arrange,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def listeners(tmp_path):
    made = []
    for name in ("view", "ops"):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind(str(tmp_path / name))
        one.listen()
        made.append(one)
    yield made
    for one in made:
        one.close()


def test_sockets_come_by_name(listeners, tmp_path):
    told = hand_over(listeners, {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "view:ops"})
    assert told["names"] == {
        "view": [[3, str(tmp_path / "view"), False]],
        "ops": [[4, str(tmp_path / "ops"), False]],
    }
    assert told["inheritable"] == [False, False]
    assert told["again"] == []
    assert told["files of a child"]
    assert not {f"socket:[{inode}]" for inode in told["inodes"]} & set(told["files of a child"])
    assert not [line for line in told["environment of a child"] if line.startswith("LISTEN_")]


def test_sockets_may_share_a_name_or_have_none(listeners):
    assert list(hand_over(listeners, {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "ops:ops"})["names"]) == ["ops"]
    assert list(hand_over(listeners, {"LISTEN_FDS": "2"})["names"]) == ["unknown"]


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "view"}, "LISTEN_FDNAMES: 1 names for 2 sockets"),
        ({"LISTEN_FDS": "65"}, "LISTEN_FDS: 65 sockets, more than 64"),
        ({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "view"}, "LISTEN_FDS: 3 (view) is no socket"),
    ],
)
def test_what_is_handed_over_wrongly(tmp_path, environment, why):
    with open(tmp_path / "file", "w") as file:
        assert hand_over([file.fileno()], environment) == {"error": why}


def test_a_descriptor_that_is_not_open():
    environment = {"LISTEN_PID": PID, "LISTEN_FDS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("daemon.notify._FIRST_FD", 900)
        with pytest.raises(NotifyError, match=r"LISTEN_FDS: 900 \(unknown\) is not open: Bad file descriptor"):
            take_sockets(environment)


@pytest.mark.parametrize(
    "environment",
    [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, {"LISTEN_PID": PID}, {"LISTEN_FDS": "1"}],
)
def test_sockets_for_somebody_else(environment):
    assert take_sockets(environment) == {}
    assert environment == {}
