"""Tries what a unit's sandbox must forbid, from inside of it, and prints what came of each attempt as JSON.

An outcome is the name of the error, or "done". Runs in place of a unit's own process, see test_sandbox.py.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PTRACE_ATTACH = 16
_ADDR_NO_RANDOMIZE = 0x0040000
_ELSEWHERE = ("192.0.2.1", 9)


def outcome(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


def write(path: str) -> None:
    Path(path, "probe").write_text("x", encoding="utf-8")


def libc(name: str, *arguments: Any) -> None:
    if getattr(_LIBC, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def make_suid(folder: str) -> None:
    path = Path(folder, "suid")
    path.touch()
    path.chmod(0o4755)


def speak(address: tuple[str, int]) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as made:
        made.sendto(b"x", address)


def open_socket(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def status(name: str) -> str:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


ATTEMPTS: dict[str, Callable[[], Any]] = {
    **{f"write {path}": partial(write, path) for path in ("/", "/etc", "/usr", "/opt", "/var", "/run", "/sys")},
    "write /proc/sys": lambda: Path("/proc/sys/kernel/hostname").write_text("x", encoding="utf-8"),
    "write state": lambda: write(os.environ["STATE_DIRECTORY"]),
    "write runtime": lambda: write(os.environ["RUNTIME_DIRECTORY"]),
    "write /tmp": lambda: write("/tmp"),
    "list /home": lambda: os.listdir("/home"),
    "list /root": lambda: os.listdir("/root"),
    "read /etc/shadow": lambda: Path("/etc/shadow").read_bytes(),
    "read a credential's source": lambda: os.listdir("/etc/basisd/credentials"),
    "open /dev/kmsg": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    "AF_UNIX": lambda: open_socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "AF_INET": lambda: open_socket(socket.AF_INET, socket.SOCK_STREAM),
    "AF_PACKET": lambda: open_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "AF_NETLINK": lambda: open_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "speak to this machine": lambda: speak(("127.0.0.1", 9)),
    "speak to another": lambda: speak(_ELSEWHERE),
    "nice": lambda: os.nice(-5),
    "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "become root": lambda: os.setuid(0),
    "kill the manager": lambda: os.kill(1, signal.SIGTERM),
    "a user namespace": lambda: libc("unshare", _CLONE_NEWUSER),
    "a network namespace": lambda: libc("unshare", _CLONE_NEWNET),
    "trace": lambda: libc("ptrace", _PTRACE_ATTACH, 1, 0, 0),
    "mount": lambda: libc("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "another personality": lambda: libc("personality", ctypes.c_ulong(_ADDR_NO_RANDOMIZE)),
    "writable and executable": lambda: mmap.mmap(
        -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ).close(),
    "setuid file": lambda: make_suid(os.environ["STATE_DIRECTORY"]),
    "set the clock": lambda: libc("settimeofday", (ctypes.c_long * 2)(1, 0), None),
}

FACTS: dict[str, Callable[[], Any]] = {
    "is root": lambda: os.getuid() == 0,
    "core": lambda: resource.getrlimit(resource.RLIMIT_CORE),
    "capabilities": lambda: status("CapEff") + status("CapPrm") + status("CapBnd") + status("CapAmb"),
    "no new privileges": lambda: status("NoNewPrivs"),
    "seccomp": lambda: status("Seccomp"),
    "umask": lambda: status("Umask"),
    "processes of others": lambda: [
        one for one in os.listdir("/proc") if one.isdecimal() and os.stat(f"/proc/{one}").st_uid != os.getuid()
    ],
}

if __name__ == "__main__":
    found = {name: outcome(attempt) for name, attempt in ATTEMPTS.items()}
    print(json.dumps(found | {name: fact() for name, fact in FACTS.items()}))
    sys.stdout.flush()
