"""When a frame that arrived is handed on: at once, in the task that reads."""

import os
from collections.abc import Callable
from typing import Any

import trio
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.trio.client import ClientConnection, connect

_DATA = (Opcode.TEXT, Opcode.BINARY)


class WireConnection(ClientConnection):
    """A connection whose messages do not wait for a second task to fetch them.

    `start` says who takes them; what came before is handed over then. Every frame counts in `heard`, messages in
    `messages`. `failure` is what the taker raised; nothing is handed over after that, nor after `stop`. `ended` is set
    when the venue said that it closes, or the taker failed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.heard = 0
        self.messages = 0
        self.failure: BaseException | None = None
        self.ended = trio.Event()
        self._taker: Callable[[bytes], None] | None = None
        self._early: list[bytes] = []
        self._parts: list[bytes] = []
        self._is_stopped = False
        super().__init__(*args, **kwargs)

    def start(self, taker: Callable[[bytes], None]) -> None:
        """Hand every message to `taker` from now on; it must not raise, or nothing more comes."""
        self._taker = taker
        early, self._early = self._early, []
        for message in early:
            self._hand_over(message)

    def stop(self) -> None:
        """Hand nothing over any more."""
        self._is_stopped = True
        self._early.clear()

    async def send_data(self) -> None:
        """Send what the protocol wants sent; without a round of the scheduler when that is nothing, as mostly."""
        if self.protocol.writes:
            await super().send_data()

    def send_at_once(self, text: str) -> bool:
        """Send a message without waiting, if that can be done here and now; False leaves everything as it was.

        It cannot over TLS, whose stream only waits, nor while something else is being sent. What the kernel does not
        take of it stays first in what the protocol wants sent: `flush` sends that.
        """
        stream, protocol = self.stream, self.protocol
        if not isinstance(stream, trio.SocketStream) or protocol.state is not State.OPEN:
            return False
        if protocol.writes or self.send_lock.locked() or self.send_in_progress is not None:
            return False
        protocol.send_text(text.encode())
        data = b"".join(protocol.data_to_send())
        try:
            sent = os.write(stream.socket.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The reading task finds the same, and ends the connection.
            return True
        if sent < len(data):
            protocol.writes.insert(0, data[sent:])
        return True

    @property
    def has_unsent(self) -> bool:
        return bool(self.protocol.writes)

    async def flush(self) -> None:
        """Send what is left of earlier messages. Raises ConnectionClosed."""
        async with self.send_context():
            pass

    def process_event(self, event: Frame | Response) -> None:  # type: ignore[override]
        """Take what the protocol found in the bytes that were read last."""
        self.heard += 1
        if not isinstance(event, Frame):
            super().process_event(event)
        elif event.opcode in _DATA and event.fin:
            self._hand_over(bytes(event.data))
        elif event.opcode in _DATA:
            self._parts = [bytes(event.data)]
        elif event.opcode is Opcode.CONT:
            self._parts.append(bytes(event.data))
            if event.fin:
                whole, self._parts = b"".join(self._parts), []
                self._hand_over(whole)
        elif event.opcode is Opcode.CLOSE:
            self.ended.set()
        else:
            super().process_event(event)

    def _hand_over(self, message: bytes) -> None:
        self.messages += 1
        if self._is_stopped:
            return
        if self._taker is None:
            self._early.append(message)
            return
        try:
            self._taker(message)
        except BaseException as error:  # noqa: BLE001 - raised again by the owner; here it would only be logged
            self.failure = error
            self.stop()
            self.ended.set()


class WireConnect(connect):
    """`connect` that follows no redirect: an address may carry a key."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
