"""The machine is a real systemd, and what happens in it stays in it."""

import os
import signal
import stat
from pathlib import Path

import pytest
from systemd_machine import ROOT, Machine, why_not

STAND_IN = r"""
import os, pathlib, socket, time
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
secret = pathlib.Path(os.environ["CREDENTIALS_DIRECTORY"], "key").read_text()
notify.send(f"READY=1\nSTATUS=the key has {len(secret)} letters".encode())
while True:
    notify.send(b"WATCHDOG=1")
    time.sleep(0.1)
"""

UNIT = """
[Service]
Type=notify
WatchdogSec=1
WatchdogSignal=SIGABRT
Restart=on-failure
RestartSec=100ms
DynamicUser=yes
LoadCredential=key:/etc/key
ExecStart=/opt/basisd/bin/python /etc/stand-in.py
"""

WRITTEN = ["/tmp", "/var/tmp", "/etc", "/opt", "/run", "/dev", "/dev/shm"]
READ_ONLY = ["/", "/usr", "/root", "/sys", str(ROOT)]


@pytest.fixture
def stand_in(bare_machine: Machine):
    bare_machine.write("/etc/key", "secret", 0o600)
    bare_machine.write("/etc/stand-in.py", STAND_IN)
    bare_machine.write("/etc/systemd/system/stand-in.service", UNIT)
    bare_machine.systemctl("daemon-reload")
    bare_machine.systemctl("start", "stand-in")
    yield "stand-in.service"
    bare_machine.systemctl("stop", "stand-in")


def test_a_unit_gets_ready_reads_its_credential_and_is_restarted_when_it_hangs(bare_machine, stand_in):
    shown = bare_machine.until_state(stand_in, ActiveState="active")
    assert shown["StatusText"] == "the key has 6 letters"
    bare_machine.kill(stand_in, signal.SIGSTOP)
    bare_machine.until_state(stand_in, NRestarts="1", SubState="running")
    assert "Watchdog timeout" in bare_machine.words(stand_in)


def test_basisd_is_installed_in_it(bare_machine):
    assert bare_machine.run("/opt/basisd/bin/basisd", "--version").stdout.startswith("basisd ")
    found = bare_machine.run("/opt/basisd/bin/python", "-I", "-c", "import daemon; print(daemon.__file__)").stdout
    assert found.startswith("/opt/basisd/lib/"), "not the sources of this checkout"


@pytest.mark.parametrize("folder", WRITTEN)
def test_what_it_writes_is_not_written_here(bare_machine, folder):
    bare_machine.run("touch", f"{folder}/{bare_machine.name}")
    assert not Path(folder, bare_machine.name).exists()


@pytest.mark.parametrize("folder", READ_ONLY)
def test_the_rest_cannot_be_written(bare_machine, folder):
    touched = bare_machine.run("touch", f"{folder}/{bare_machine.name}", check=False)
    assert touched.returncode != 0
    assert not Path(folder, bare_machine.name).exists()


def test_it_sees_no_process_but_its_own(bare_machine):
    assert str(os.getpid()) not in bare_machine.run("ps", "-eo", "pid=,args=").stdout.split("\n")
    assert bare_machine.run("cat", "/proc/1/comm").stdout.strip() == "systemd"


def test_nothing_is_left_of_it(tmp_path):
    why = why_not()
    if why:
        pytest.skip(f"NOTHING IS TESTED UNDER A REAL SYSTEMD: {why}")
    machine = Machine(tmp_path)
    machine.start()
    pids = [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and _is_of(machine, int(pid))]
    assert pids
    machine.stop()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert not [line for line in mounts.splitlines() if "/run/machine" in line or "/opt/basisd" in line]
    # What is dead may wait for a moment to be reaped.
    machine.until("nothing of it runs", lambda: not any(_is_of(machine, pid) for pid in pids))
    groups = [path for path in Path("/sys/fs/cgroup").rglob(machine.name) if stat.S_ISDIR(path.lstat().st_mode)]
    assert groups == []


def _is_of(machine: Machine, pid: int) -> bool:
    try:
        return machine.name in Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
