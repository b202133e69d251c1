"""Whatever a venue says, the network layer answers with its own errors only, and goes on."""

import os
import random
import time

import trio
from raw_server import http_answer, raw_server, read_head
from socket_server import Listener, shake_hands

from venues.net.errors import NetError
from venues.net.limits import RatePools
from venues.net.rest import Answer, Call, RestClient
from venues.net.websocket import DownReason, SocketSettings

ROUNDS = int(os.environ.get("BASISD_FUZZ_ROUNDS", "80"))
HASTY = SocketSettings(idle_s=0.2, pong_s=0.2, backoff_first_s=0.001, backoff_max_s=0.002, open_s=0.5)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def spoiled(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, left out, doubled or put in."""
    bytes_ = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(bytes_) + 1)
        match rng.randrange(4):
            case 0:
                bytes_[at : at + 1] = rng.randbytes(1)
            case 1:
                del bytes_[at : at + rng.randint(1, 8)]
            case 2:
                bytes_[at:at] = bytes_[at : at + rng.randint(1, 8)]
            case _:
                bytes_[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(bytes_)


async def test_frames_of_any_kind_end_a_connection_at_most():
    rng = random.Random(11)
    sound = b"\x81\x05hello" + b"\x01\x02he" + b"\x89\x01x" + b"\x80\x03llo" + b"\x82\x7e\x01\x00" + b"z" * 256

    async def babble(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await stream.send_all(spoiled(sound, rng) if rng.random() < 0.8 else rng.randbytes(64))

    async with raw_server(babble) as port:
        listener = Listener(f"ws://127.0.0.1:{port}", settings=HASTY)
        async with listener.running():
            await listener.until("up", ROUNDS)
    ups = [told[1] for told in listener.told if told[0] == "up"]
    assert ups == [down.connection for down in listener.downs] == list(range(1, len(ups) + 1))
    assert {down.reason for down in listener.downs[:-1]} <= {DownReason.CLOSED_BY_VENUE, DownReason.LOST}


async def test_handshakes_of_any_kind_are_failures_at_most():
    rng = random.Random(12)

    async def babble(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(spoiled(SWITCHED, rng))

    async with raw_server(babble) as port:
        listener = Listener(f"ws://127.0.0.1:{port}/LISTENKEY", settings=HASTY)
        async with listener.running():
            for _ in range(ROUNDS):
                told = await listener.next("failed")
                assert "LISTENKEY" not in str(told)
    assert not listener.downs


async def test_answers_of_any_kind_are_answers_or_of_unknown_outcome():
    rng = random.Random(13)
    sound = http_answer(b'{"orderId": 1, "status": "NEW"}', "200 OK", Retry_After="5", X_MBX_Used_Weight_1m="12")

    async def babble(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(spoiled(sound, rng))

    outcomes = []
    async with raw_server(babble) as port:
        limits = RatePools([])
        base = f"http://127.0.0.1:{port}"
        async with RestClient(base, headers={}, limits=limits, clock=time.monotonic_ns, timeout_s=5.0) as client:
            for _ in range(ROUNDS):
                try:
                    outcomes.append(type(await client.request(Call("POST", "/order", deadline_s=5.0))).__name__)
                except NetError as error:
                    outcomes.append(type(error).__name__)
    assert set(outcomes) == {Answer.__name__, "UnknownOutcomeError"}
