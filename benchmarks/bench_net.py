"""How long a frame takes from the wire through a handler back to the wire, beside a bare echo through websockets.trio.

The peer is a process of its own with a blocking socket and frames made by hand, so that little but the client is
measured. Both clients are asked in turn within the same run, a frame every half millisecond.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import trio
from websockets.trio.client import connect

from benchmarks.raw_peer import shake_hands, short_frame, text_frame
from venues.net.websocket import ReconnectingSocket, SocketSettings

_FRAMES = 1_000
_SPACING_S = 0.0005
_TEXT = (
    '{"e":"bookTicker","u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000",'
    '"A":"40.66000000","E":1568014460893,"T":1568014460891}'
)
_RESULT = b"["
_PEER = "peer"


def _serve() -> None:
    """Measure every client that connects; the last frame of each holds its median and its 99th percentile in us."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    frame = text_frame(_TEXT.encode())
    # An echo is masked: four bytes more.
    echo_bytes = len(frame) + 4
    while True:
        peer, _ = listener.accept()
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shake_hands(peer)
        spent = []
        for _ in range(_FRAMES):
            time.sleep(_SPACING_S)
            began = time.perf_counter_ns()
            peer.sendall(frame)
            got = 0
            while got < echo_bytes:
                got += len(peer.recv(4_096))
            spent.append((time.perf_counter_ns() - began) / 1e3)
        spent.sort()
        result = json.dumps([spent[len(spent) // 2], spent[len(spent) * 99 // 100]]).encode()
        peer.sendall(short_frame(result))
        while peer.recv(4_096):
            pass
        peer.close()


@asynccontextmanager
async def _peer() -> AsyncIterator[str]:
    process = await trio.lowlevel.open_process([sys.executable, __file__, _PEER], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = b""
        while not line.endswith(b"\n"):
            line += await process.stdout.receive_some()
        yield f"ws://127.0.0.1:{int(line)}"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


async def _bare(url: str) -> list[float]:
    async with connect(url, compression=None, ping_interval=None, proxy=None) as connection:
        while True:
            frame = await connection.recv(decode=False)
            if frame.startswith(_RESULT):
                return list(json.loads(frame))
            await connection.send(frame, text=True)


async def _ours(url: str) -> list[float]:
    result: list[float] = []

    async def url_of() -> str:
        return url

    def on_frame(data: bytes, received_ns: int, connection: int) -> None:
        if data.startswith(_RESULT):
            result.extend(json.loads(data))
            nursery.cancel_scope.cancel()
            return
        handler.send(_TEXT)

    settings = SocketSettings(sends_per_s=None, backoff_first_s=0.01)
    handler = ReconnectingSocket(
        "bench", url_of, on_frame, lambda _: None, lambda _: None, settings=settings, now=time.time_ns
    )
    async with trio.open_nursery() as nursery:
        await handler.run()
    return result


async def _measure(repeats: int) -> dict[str, float]:
    bare, ours = [], []
    async with _peer() as url:
        for _ in range(repeats):
            bare.append(await _bare(url))
            ours.append(await _ours(url))
    told = {}
    for index, name in enumerate(("p50", "p99")):
        told[f"bare_echo_{name}_us"] = median(one[index] for one in bare)
        told[f"echo_{name}_us"] = median(one[index] for one in ours)
        told[f"echo_{name}_ratio"] = median(one[index] / two[index] for one, two in zip(ours, bare, strict=True))
    return told


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over the repeats: us from a frame to its echo, ours and bare, and the ratio of the two."""
    return trio.run(_measure, repeats)


if __name__ == "__main__" and sys.argv[1:] == [_PEER]:
    _serve()
