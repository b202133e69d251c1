"""Who is let in to a venue's socket, and when a connection there is over."""

import socket
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import trio
from attrs import define

from daemon.link.connection import Connection, ConnectionLostError, WireError, lost_by
from daemon.link.frames import VenueHello
from venues.port import Message

HELLO_S = 5.0
_LINGER_CHECK_S = 0.5


@define(eq=False)
class Client:
    """One connection that has said who it is; `number` is nobody else's, before or after."""

    number: int
    name: str
    wants_market: bool
    connection: Connection

    def send(self, data: bytes) -> None:
        """Send whole lines; for a client that is gone they are lost, of which its own task learns as well."""
        try:
            self.connection.send_bytes(data)
        except ConnectionLostError:
            return


C = TypeVar("C", bound=Client)


class Clients(Generic[C]):
    """The clients of one socket, no more than `clients_max`; iterate over them: who trades on the market goes first.

    `welcome` greets whoever said hello and makes a client of it, `take` gets what the client sends, and raises
    WireError for what it must not send. `left` hears of it when it is gone, and may look up who is still there.
    """

    def __init__(
        self,
        clients_max: int,
        log: Callable[[str], None],
        *,
        welcome: Callable[[VenueHello, int, Connection], C],
        take: Callable[[C, list[Message]], None],
        left: Callable[[], None],
    ) -> None:
        self.idle_since: float | None = None
        self._clients_max = clients_max
        self._log = log
        self._welcome = welcome
        self._take = take
        self._left = left
        self._clients: dict[int, C] = {}
        self._count = 0

    def __iter__(self) -> Iterator[C]:
        return iter(self._clients.values())

    def __len__(self) -> int:
        return len(self._clients)

    async def serve(self, listener: socket.socket) -> None:
        """Let clients in until cancelled."""
        self.idle_since = trio.current_time()
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    connected, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                if len(self._clients) >= self._clients_max:
                    self._log("a client too many was turned away")
                    connected.close()
                else:
                    nursery.start_soon(self._serve, connected)

    async def wait_alone(self, seconds: float) -> None:
        """Wait until nobody has been connected for so long."""
        while self.idle_since is None or trio.current_time() - self.idle_since < seconds:
            await trio.sleep(_LINGER_CHECK_S)

    async def _serve(self, connected: socket.socket) -> None:
        connection = Connection(connected)
        client: C | None = None
        try:
            with trio.move_on_after(HELLO_S):
                first, *rest = await connection.receive()
                if not isinstance(first, VenueHello):
                    raise WireError(f"a {type(first).__name__} where the hello belongs")
                self._count += 1
                client = self._welcome(first, self._count, connection)
                self._clients[client.number] = client
                # Writing to one wakes it at once, and with it a processor that the next one then waits for.
                self._clients = dict(sorted(self._clients.items(), key=lambda item: not item[1].wants_market))
                self.idle_since = None
            if client is not None:
                self._take(client, rest)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(connection.flush)
                    while True:
                        self._take(client, await connection.receive())
        except BaseExceptionGroup as group:
            self._ended(client, lost_by(group))
        except (ConnectionLostError, WireError, OSError) as error:
            self._ended(client, error)
        finally:
            connection.close()
            if client is not None:
                del self._clients[client.number]
                self._left()
            self.idle_since = None if self._clients else trio.current_time()

    def _ended(self, client: C | None, error: BaseException) -> None:
        if not isinstance(error, ConnectionLostError | WireError | OSError):
            raise error
        self._log(f"{client.name if client else 'a client'} left: {error}")
