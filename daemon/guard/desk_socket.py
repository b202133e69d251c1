"""Who may speak to the guard as its desk, and what it may say: one process at a time, of the guard's own user."""

import os
import socket
from collections.abc import Callable
from typing import Protocol

import trio

from actors.control import Baselines, DeskBye, DeskHello, Heartbeat
from actors.guardian_messages import DeskGone, DeskKill
from actors.messages import ArmCommand, KillCommand
from daemon.link.connection import Connection, ConnectionLostError, WireError, lost_by
from daemon.live.sockets import Peer, peer
from daemon.logs import get_logger
from venues.port import Message

_HELLO_S = 5.0
_CONNECTIONS_MAX = 8
_ACCEPT_PAUSE_S = 0.1
_SAYS = (Heartbeat, DeskBye, Baselines, KillCommand, ArmCommand)

_log = get_logger("guard")


class Listener(Protocol):
    """Who hears the desk. Nothing here waits."""

    def is_desk_fresh(self) -> bool:
        """Whether the desk that is connected sends heartbeats."""

    def joined(self, connected: socket.socket, who: Peer) -> None:
        """A process says hello; what it says follows."""

    def said(self, message: Message, who: Peer) -> None:
        """The desk said something, or is gone."""


class DeskSocket:
    """Serves the desk's socket. A second desk is turned away while the first one sends heartbeats."""

    def __init__(self, listener: socket.socket, owner: Listener, now: Callable[[], int]) -> None:
        self._listener = listener
        self._owner = owner
        self._now = now
        self._current: Connection | None = None
        self._who: Peer | None = None
        self._open = 0

    @property
    def is_connected(self) -> bool:
        return self._current is not None

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                try:
                    connected, _ = self._listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                except OSError as error:
                    # Out of descriptors: the one that is connected goes on.
                    _log.error("a desk cannot be let in", why=str(error))
                    await trio.sleep(_ACCEPT_PAUSE_S)
                    continue
                if self._open >= _CONNECTIONS_MAX:
                    connected.close()
                else:
                    self._open += 1
                    nursery.start_soon(self._serve, connected)

    def tell(self, message: Message) -> None:
        """Tell the desk, if it is there."""
        if self._current is not None:
            try:
                self._current.send(message)
            except ConnectionLostError:
                # Whoever reads it learns that as well, and says that the desk is gone.
                return

    def take_ready(self) -> None:
        """Take what the desk has sent already: after a pause of our own it must not pass for silent."""
        current, who = self._current, self._who
        if current is not None and who is not None:
            try:
                messages = current.receive_ready()
            except WireError as error:
                current.close(str(error))
                return
            self._take(messages, who)

    def hang_up(self, why: str) -> None:
        """End the connection; the desk may come back."""
        if self._current is not None:
            self._current.close(why)

    async def _serve(self, connected: socket.socket) -> None:
        connection = Connection(connected)
        try:
            who = peer(connected)
            if who.uid != os.getuid():
                raise WireError(f"process {who.pid} belongs to user {who.uid}")
            first: list[Message] = []
            with trio.move_on_after(_HELLO_S):
                first = await connection.receive()
            if not first or not isinstance(first[0], DeskHello):
                raise WireError("no hello")
            if self._current is not None and self._owner.is_desk_fresh():
                raise WireError(f"process {who.pid} came while another desk is there")
            await self._converse(connection, who, first)
        except (ConnectionLostError, WireError, OSError) as error:
            _log.warning("not a desk", why=str(error))
        finally:
            self._open -= 1
            connection.close()

    async def _converse(self, connection: Connection, who: Peer, first: list[Message]) -> None:
        self.hang_up("another desk came")
        self._current, self._who = connection, who
        why = "closed"
        try:
            self._owner.joined(connection.socket, who)
            self._take(first, who)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.flush)
                while True:
                    self._take(await connection.receive(), who)
        except BaseExceptionGroup as group:
            lost = lost_by(group)
            why = str(lost)
            if not isinstance(lost, ConnectionLostError | WireError):
                raise lost from None
        except (ConnectionLostError, WireError) as error:
            why = str(error)
        finally:
            # One that was replaced has nothing more to say.
            if self._current is connection:
                self._current = self._who = None
                self._owner.said(DeskGone(self._now(), why), who)

    def _take(self, messages: list[Message], who: Peer) -> None:
        for message in messages:
            if isinstance(message, DeskHello):
                # The kernel knows better than the desk which process it is.
                self._owner.said(DeskHello(message.ts, who.pid, message.run, message.build, message.mode), who)
            elif isinstance(message, KillCommand):
                self._owner.said(DeskKill(self._now(), message.operator, message.level, message.reason), who)
            elif isinstance(message, _SAYS):
                self._owner.said(message, who)
            else:
                raise WireError(f"a {type(message).__name__} is not for the guard")
