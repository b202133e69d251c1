"""How long the gateway takes from a frame of the market, or a fill of the account, to an order on the wire.

The peer is a process of its own with blocking sockets. Whoever hears the decoded message answers with an order at once:
what is measured is everything between the desk and the network, both ways through the socket, decoding, the order's
request, its limits and its encoding. Beside it, in the same run, a bare echo of the same frame by websockets.trio.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.trio.client import connect

from benchmarks.raw_peer import read_message, shake_hands, short_frame, text_frame
from venues.binance.answers import UsdmAnswers
from venues.binance.book_feed import BinanceFeed
from venues.binance.markets import USDM_POOLS
from venues.binance.order_entry import OrderEntry
from venues.binance.requests import UsdmRequests
from venues.binance.settings import AccountKeys, GatewaySettings
from venues.binance.sign import Signer, signer_of
from venues.binance.user_feed import UserFeed
from venues.binance.user_stream import UsdmUserStream
from venues.binance.ways import RequestWays
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.net.clock import ClockOffset
from venues.net.limits import PoolRule, RatePools
from venues.net.rest import throttle_of
from venues.port import Message, ModifyOrder, OrderFilled, Quote, SubmitOrder

_FRAMES = 600
_FIRST = 1_000_000_000
_SPACING_S = 0.0005
_PEER = "peer"
_SETTLE_S = 0.1
_ACCOUNT = "bench"
_SPEC = Instrument("binance", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001"))

# Shapes: facts D2 and D4.
_QUOTE = (
    '{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":%d,"s":"BTCUSDT","b":"25351.9","B":"31.210",'
    '"a":"25352.0","A":"40.660","T":1568014460891,"E":1568014460893}}'
)
_FILL = (
    '{"e":"ORDER_TRADE_UPDATE","E":1568879465651,"T":1568879465650,"o":{"s":"BTCUSDT","c":"TEST","S":"SELL","o":"LIMIT",'
    '"f":"GTC","q":"0.001","p":"25352.0","ap":"25352.0","sp":"0","x":"TRADE","X":"FILLED","i":8886774,"l":"0.001",'
    '"z":"0.001","L":"25352.0","n":"0.00507040","N":"USDT","T":1568879465650,"t":%d,"b":"0","a":"0","m":true,"R":false,'
    '"wt":"CONTRACT_PRICE","ot":"LIMIT","ps":"BOTH","cp":false,"rp":"0","pP":false,"si":0,"ss":0,"V":"NONE","pm":"NONE",'
    '"gtd":0}}'
)
_TEXTS = {"quote": _QUOTE, "fill": _FILL}


def _accept(listener: socket.socket) -> tuple[str, socket.socket]:
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return shake_hands(peer), peer


def _spent(send: socket.socket, receive: socket.socket, text: str) -> list[float]:
    """Send frames one by one, each answered by a message; return median and 99th percentile in us."""
    spent = []
    for number in range(_FIRST, _FIRST + _FRAMES):
        frame = text_frame((text % number).encode())
        time.sleep(_SPACING_S)
        began = time.perf_counter_ns()
        send.sendall(frame)
        receive.recv(4_096, socket.MSG_PEEK)
        spent.append((time.perf_counter_ns() - began) / 1e3)
        read_message(receive)
    spent.sort()
    return [spent[len(spent) // 2], spent[len(spent) * 99 // 100]]


def _serve() -> None:
    """Measure what connects, one after the other, and print each result: an echo, or the two sockets of a gateway."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        path, peer = _accept(listener)
        if path.startswith("/echo/"):
            print(json.dumps(_spent(peer, peer, _TEXTS[path.removeprefix("/echo/")])), flush=True)
            continue
        sockets = {path.split("/")[1]: peer}
        while len(sockets) < 2:
            path, peer = _accept(listener)
            sockets[path.split("/")[1]] = peer
        api = sockets.pop("api")
        logon = json.loads(read_message(api))
        api.sendall(short_frame(b'{"id":%d,"status":200,"result":{}}' % logon["id"]))
        ((kind, source),) = sockets.items()
        time.sleep(_SETTLE_S)
        print(json.dumps(_spent(source, api, _TEXTS[kind])), flush=True)


class _Peer:
    """The peer's process: `url` is where it listens, `result` waits for the next measurement."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self._lines = process.stdout
        self._rest = b""
        self.url = ""

    async def line(self) -> str:
        while b"\n" not in self._rest:
            self._rest += await self._lines.receive_some()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    async def result(self) -> list[float]:
        found: list[float] = json.loads(await self.line())
        return found


@asynccontextmanager
async def _peer() -> AsyncIterator[_Peer]:
    command = [sys.executable, "-m", "benchmarks.bench_gateway", _PEER]
    folder = Path(__file__).resolve().parent.parent
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=folder)
    try:
        peer = _Peer(process)
        peer.url = f"ws://127.0.0.1:{await peer.line()}"
        yield peer
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _bare(peer: _Peer, kind: str) -> list[float]:
    async with connect(f"{peer.url}/echo/{kind}", compression=None, ping_interval=None, proxy=None) as connection:

        async def echo() -> None:
            while True:
                await connection.send(await connection.recv(decode=False), text=True)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo)
            found = await peer.result()
            nursery.cancel_scope.cancel()
    return found


async def _gateway(peer: _Peer, kind: str, signer: Signer) -> list[float]:
    """Measure a gateway's rooms whose desk answers every quote, or every fill, with an order."""
    # Spot settings: there the market has one socket.
    settings = GatewaySettings("binance", "spot", "http://127.0.0.1:1", f"{peer.url}/quote", "", "", f"{peer.url}/api")
    clock = ClockOffset()
    clock.note(time.time_ns(), time.time_ns(), time.time_ns())
    # Pools without end, or the run would be about the limits.
    pools = RatePools([PoolRule(one.name, 10**9, one.interval_ns, one.counts) for one in USDM_POOLS])
    ways = RequestWays(
        _ACCOUNT,
        AccountKeys("k" * 64, signer),
        settings,
        clock=clock,
        limits=pools,
        now=time.time_ns,
        throttled=throttle_of,
        on_logon_refused=lambda _: None,
    )
    entry = OrderEntry(
        _ACCOUNT,
        UsdmRequests([_SPEC]),
        UsdmAnswers("binance"),
        ways,
        tell=lambda _: None,
        now=time.time_ns,
        on_refusal=lambda _: None,
        side_of=_nobody,
    )
    numbers = count()

    def hear(messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, Quote | OrderFilled):
                name, price = f"b{next(numbers)}", Decimal("25352.0")
                entry.submit(
                    SubmitOrder(time.time_ns(), _ACCOUNT, _SPEC.id, name, Side.BUY, Decimal("0.001"), price=price)
                )

    stream = UsdmUserStream("binance", _ACCOUNT)
    source: BinanceFeed | UserFeed = (
        BinanceFeed(settings, [_SPEC], hear, time.time_ns, fetches_snapshots=False)
        if kind == "quote"
        else UserFeed(
            _ACCOUNT,
            lambda key: f"{peer.url}/{key}",
            open_key=_fill_key,
            keep_key=_kept,
            on_event=lambda data: hear(stream.decode(data).reports),
            on_state=lambda is_up, why: None,
            now=time.time_ns,
            lifetime_s=3600.0,
            overlap_s=1.0,
        )
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(ways.run)
        nursery.start_soon(source.run)
        found = await peer.result()
        nursery.cancel_scope.cancel()
    return found


async def _nobody(_: ModifyOrder) -> None:
    return None


async def _fill_key() -> str:
    return "fill"


async def _kept(_: str) -> bool:
    return True


async def _measure(repeats: int) -> dict[str, float]:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer = signer_of(key.decode())
    told = {}
    async with _peer() as peer:
        for kind in _TEXTS:
            bare, ours = [], []
            for _ in range(repeats):
                bare.append(await _bare(peer, kind))
                ours.append(await _gateway(peer, kind, signer))
            for index, name in enumerate(("p50", "p99")):
                told[f"{kind}_echo_{name}_us"] = median(one[index] for one in bare)
                told[f"{kind}_order_{name}_us"] = median(one[index] for one in ours)
                told[f"{kind}_{name}_ratio"] = median(
                    one[index] / two[index] for one, two in zip(ours, bare, strict=True)
                )
    return told


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over the repeats: us from a frame to the order on the wire, to a bare echo, and their ratio."""
    return trio.run(_measure, repeats)


if __name__ == "__main__":
    if sys.argv[1:] == [_PEER]:
        _serve()
    else:
        print(json.dumps(run(), indent=2))
