"""A guard that answers heartbeats and does as it is told, for tests of the desk alone."""

import socket
from pathlib import Path

import trio

from actors.control import DeskBye, DeskHello, GuardState, Heartbeat
from actors.guardian_messages import ArmRefused
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon.link.connection import Connection, ConnectionLostError
from daemon.live.sockets import listen
from venues.port import Message


class FakeGuard:
    """Listens at `path`. `heard` holds what the desk said, heartbeats left out; `refusal` is the answer to arming."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.level = KillLevel.ARMED
        self.is_in_charge = False
        self.answers = True
        self.refusal = ""
        self.heard: list[Message] = []
        self.beats: list[Heartbeat] = []
        self.connection: Connection | None = None
        self._listener: socket.socket | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve one desk after the other until cancelled."""
        self._listener = listener = listen(self.path)
        task_status.started()
        try:
            while True:
                await trio.lowlevel.wait_readable(listener)
                self.connection = connection = Connection(listener.accept()[0])
                try:
                    while True:
                        for message in await connection.receive():
                            self._take(message)
                except ConnectionLostError:
                    self.connection = None
                finally:
                    connection.close()
        finally:
            listener.close()

    def say(self, trigger: str = "test", why: str = "") -> None:
        """Tell the desk where the latch is."""
        if self.connection is not None:
            number = self.beats[-1].number if self.beats else 0
            self.connection.send(GuardState(0, number, self.level, trigger, why, self.is_in_charge))

    def order(self, level: KillLevel) -> None:
        """Tell the desk to stop at `level`."""
        assert self.connection is not None
        self.level = level
        self.connection.send(KillCommand(0, "guard", level, "drill"))

    def _take(self, message: Message) -> None:
        if isinstance(message, Heartbeat):
            self.beats.append(message)
            if self.answers:
                self.say()
            return
        self.heard.append(message)
        if isinstance(message, DeskHello | DeskBye):
            self.say()
        elif isinstance(message, KillCommand):
            self.level = max(self.level, message.level)
            self.say()
        elif isinstance(message, ArmCommand) and self.connection is not None:
            if self.refusal:
                self.connection.send(ArmRefused(0, message.operator, self.refusal))
            else:
                self.level = KillLevel.ARMED
                self.say()


if __name__ == "__main__":
    import sys

    trio.run(FakeGuard(Path(sys.argv[1])).run)
