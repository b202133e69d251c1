"""A desk for tests, as a process of its own: `python fake_desk.py GUARD_SOCKET [LOCK]`.

It says hello, sends a heartbeat every 50 ms and prints what it hears, one JSON line each. Lines on standard input are
sent to the guard as they are. It never flattens anything.
"""

import json
import os
import select
import sys
import time
from pathlib import Path

import actors.guardian_messages  # noqa: F401 - what the guard may say is known by name
from actors.control import DeskHello, GuardState, Heartbeat
from actors.messages import KillLevel
from daemon.link.wire import LineBuffer, decode, encode
from daemon.live.lockfile import lock
from daemon.live.sockets import connect

_BEAT_S = 0.05


def main(path: str, lock_file: str | None = None) -> None:
    if lock_file is not None:
        lock(Path(lock_file))
    guard = connect(Path(path))
    guard.sendall(encode(DeskHello(time.time_ns(), os.getpid(), "test/1", "build", "paper")))
    lines, number, due, level = LineBuffer(), 0, time.monotonic(), KillLevel.ARMED
    while True:
        wait = max(0.0, due - time.monotonic())
        readable, _, _ = select.select([guard, sys.stdin], [], [], wait)
        if guard in readable:
            data = guard.recv(65536)
            if not data:
                return
            for message in map(decode, lines.feed(data)):
                print(json.dumps({"kind": type(message).__name__, "said": str(message)}), flush=True)
                if isinstance(message, GuardState):
                    level = message.level
        if sys.stdin in readable:
            told = sys.stdin.buffer.readline()
            if not told:
                return
            guard.sendall(told)
        if time.monotonic() >= due:
            number, due = number + 1, due + _BEAT_S
            # It is reconciled, and at the guard's level, without ever flattening.
            beat = Heartbeat(time.time_ns(), number, min(level, KillLevel.CANCEL_ALL), True, 1)
            guard.sendall(encode(beat))


if __name__ == "__main__":
    main(*sys.argv[1:])
