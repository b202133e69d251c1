"""How lines go over one socket: read as fast as they come, written at once where the kernel takes them."""

import socket

import trio

from daemon.link.wire import LineBuffer, WireError, decode, encode
from venues.port import Message

_RECV_BYTES = 256 * 1024
_READ_BYTES_MAX = 1024 * 1024
BACKLOG_BYTES_MAX = 64 * 1024 * 1024


class ConnectionLostError(Exception):
    """The peer is gone, or does not take what it is sent. Whether it got the last lines is not known."""


class Connection:
    """A connected non-blocking stream socket that carries messages both ways.

    `send` never waits: what the kernel does not take stays in a backlog that `flush` writes. A backlog over
    `backlog_bytes_max` means that the peer hangs: the connection is lost.
    """

    def __init__(self, connected: socket.socket, *, backlog_bytes_max: int = BACKLOG_BYTES_MAX) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._lines = LineBuffer()
        self._backlog = bytearray()
        self._backlog_bytes_max = backlog_bytes_max
        self._wakes = trio.Event()
        self._written = trio.Event()
        self._why_lost = ""

    @property
    def socket(self) -> socket.socket:
        return self._socket

    @property
    def is_lost(self) -> bool:
        return bool(self._why_lost)

    @property
    def backlog_bytes(self) -> int:
        """How much the peer has not taken yet."""
        return len(self._backlog)

    async def receive(self) -> list[Message]:
        """Wait for data and return all messages that are whole, at least one.

        Raises ConnectionLostError at the end of the stream or once the connection is lost, WireError for a line that
        is no message: the messages before it in the same read are lost with it.
        """
        while True:
            if self._why_lost:
                raise ConnectionLostError(self._why_lost)
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except (OSError, trio.ClosedResourceError) as error:
                self._lose(str(error) or "closed")
                continue
            messages = self.receive_ready()
            if messages:
                return messages

    def receive_ready(self) -> list[Message]:
        """Return the messages that can be had without waiting; none when the connection is lost meanwhile."""
        messages: list[Message] = []
        feed = self._lines.feed
        size = 0
        while size < _READ_BYTES_MAX:
            try:
                data = self._socket.recv(_RECV_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                self._lose(str(error))
                break
            if not data:
                self._lose("the peer closed the connection")
                break
            for line in feed(data):
                messages.append(decode(line))  # noqa: PERF401
            if len(data) < _RECV_BYTES:
                break
            size += len(data)
        return messages

    def send(self, *messages: Message) -> None:
        """Send messages in order. Raises ConnectionLostError."""
        self.send_bytes(b"".join([encode(message) for message in messages]))

    def send_bytes(self, data: bytes) -> None:
        """Send whole lines. Raises ConnectionLostError."""
        if self._why_lost:
            raise ConnectionLostError(self._why_lost)
        if not self._backlog:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._lose(str(error))
                raise ConnectionLostError(self._why_lost) from error
            if sent == len(data):
                return
            data = data[sent:]
        self._backlog += data
        if len(self._backlog) > self._backlog_bytes_max:
            self._lose(f"the peer left {len(self._backlog)} bytes unread")
            raise ConnectionLostError(self._why_lost)
        self._wakes.set()

    async def flush(self) -> None:
        """Write the backlog for ever. Raises ConnectionLostError."""
        while True:
            if not self._backlog:
                self._wakes = trio.Event()
                await self._wakes.wait()
            if self._why_lost:
                raise ConnectionLostError(self._why_lost)
            try:
                await trio.lowlevel.wait_writable(self._socket)
                del self._backlog[: self._socket.send(self._backlog)]
                self._written.set()
                self._written = trio.Event()
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError) as error:
                self._lose(str(error) or "closed")
                raise ConnectionLostError(self._why_lost) from error

    async def drain(self) -> None:
        """Wait until the kernel has taken everything, or the connection is lost; `flush` runs beside."""
        while self._backlog and not self._why_lost:
            await self._written.wait()

    def close(self, why: str = "closed") -> None:
        """Close the socket; whoever waits on it learns that it is lost. Harmless when repeated."""
        self._lose(why)
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _lose(self, why: str) -> None:
        self._why_lost = self._why_lost or why
        self._wakes.set()
        self._written.set()


def lost_by(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what tasks around one connection ended by: its loss, or whatever else there was besides."""
    _, rest = group.split((ConnectionLostError, WireError))
    if rest is not None:
        return rest
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return ConnectionLostError(str(first))


__all__ = ["BACKLOG_BYTES_MAX", "Connection", "ConnectionLostError", "WireError", "lost_by"]
