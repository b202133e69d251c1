"""A websocket server that numbers its frames, and is cut by order: close, reset or silence for whoever is connected.

It is a process of its own, so that what it needs is not taken for what a client needs. The first line it prints is its
port; orders come one a line on its standard input, and its end is their end. Frames look like Binance's bookTicker:
`u` is the number, `T` the monotonic clock in nanoseconds when the frame was made.
"""

import socket
import struct
import sys
import time
from functools import partial

import trio
from attrs import Factory, define
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

CLOSE, RESET, SILENCE = "close", "reset", "silence"
_TICK_S = 0.005
_FRAME = '{"e":"bookTicker","u":%d,"s":"BTCUSDT","b":"25.3519","B":"31.21","a":"25.3652","A":"40.66","T":%d,"E":%d}'


@define(eq=False)
class _Peer:
    stream: trio.SocketStream
    protocol: ServerProtocol
    is_silent: bool = False
    lock: trio.Lock = Factory(trio.Lock)

    async def flush(self) -> None:
        async with self.lock:
            data = b"".join(self.protocol.data_to_send())
            if data and not self.is_silent:
                await self.stream.send_all(data)

    def reset(self) -> None:
        """Close the connection so that the other end reads a reset, not an end."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


class NumberedServer:
    """Sends `rate` frames a second, numbered from 0, to all who are connected."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._peers: set[_Peer] = set()

    async def run(self, port: int = 0) -> None:
        (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1")
        print(listener.socket.getsockname()[1], flush=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._publish)
            nursery.start_soon(partial(trio.serve_listeners, self._serve, [listener]))
            await self._obey()
            nursery.cancel_scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        peer = _Peer(stream, ServerProtocol(max_size=2**16))
        try:
            while data := await stream.receive_some():
                if peer.is_silent:
                    continue
                peer.protocol.receive_data(data)
                for event in peer.protocol.events_received():
                    if isinstance(event, Request):
                        peer.protocol.send_response(peer.protocol.accept(event))
                        self._peers.add(peer)
                await peer.flush()
                if peer.protocol.close_rcvd is not None:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            self._peers.discard(peer)
            await trio.aclose_forcefully(stream)

    async def _publish(self) -> None:
        """Make the frames that are due by the clock: after a pause of the machine's, all of them."""
        began, number = trio.current_time(), 0
        while True:
            await trio.sleep(_TICK_S)
            due = int((trio.current_time() - began) * self._rate)
            stamp = time.monotonic_ns()
            frames = [(_FRAME % (one, stamp, stamp)).encode() for one in range(number, due)]
            number = max(number, due)
            for peer in list(self._peers):
                if peer.is_silent or peer.protocol.state is not State.OPEN:
                    continue
                for frame in frames:
                    peer.protocol.send_text(frame)
                try:
                    await peer.flush()
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    self._peers.discard(peer)

    async def _obey(self) -> None:
        async for line in trio.wrap_file(sys.stdin):
            for peer in list(self._peers):
                self._cut(peer, line.strip())
                if line.strip() == CLOSE:
                    await peer.flush()

    def _cut(self, peer: _Peer, how: str) -> None:
        if how == SILENCE:
            peer.is_silent = True
            self._peers.discard(peer)
        elif how == RESET:
            self._peers.discard(peer)
            peer.reset()
        elif peer.protocol.state is State.OPEN:
            peer.protocol.send_close(1012, "restart")


if __name__ == "__main__":
    trio.run(NumberedServer(int(sys.argv[1])).run)
