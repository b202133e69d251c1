"""How long from a frame on the wire to an order on the wire, through gateway and desk as they run in production.

The peer is a process of its own with blocking sockets: it sends a best price over a websocket, `python -m
daemon.gateway` decodes it and hands it to the desk through the unix socket, the desk (`basisd paper --attach`, with
guard, metrics and all else) decides, commits and sends back, and the gateway's request arrives at the peer. `hedge` is
the same from the private stream's fill of a quoted leg to the order that takes the other leg. Frame by frame, in the
same run, the same text is echoed by websockets.trio twice: after a bare commit of an intent's row, and at once.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import trio
from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.trio.client import connect

from actors.dispatcher import Intent
from daemon.admin.client import Client, UnreachableError
from daemon.live.paths import StatePaths
from daemon.log.canonical import intent_line
from daemon.log.journal import JournalWriter, Row, checksum
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import SubmitOrder

_ROOT = Path(__file__).resolve().parents[1]
_ECHO = "echo"
_READY_S = 120.0
_LOOK_S = 0.05
_KINDS = {"order": "wire_strategies:Answer", "hedge": "wire_strategies:Quoter"}

_CONFIG = """
[run]
name = "wire"

[market]
kind = "live"

[[venues]]
id = "binance_usdm"
rules = "binance_usdm"
fees = {{ maker = "0", taker = "0" }}

[venues.endpoints]
rest = "http://127.0.0.1:{rest}"
ws_public = "ws://127.0.0.1:{ws}/public"
ws_market = "ws://127.0.0.1:{ws}/market"
ws_private = "ws://127.0.0.1:{ws}/private"
ws_api = "ws://127.0.0.1:{ws}/api"

{instruments}
[[accounts]]
id = "futures"
venue = "binance_usdm"
balances = {{ USDT = "100000", USDC = "100000" }}
margin_mode = "cross"
leverage = {{ BTCUSDT = 5, BTCUSDC = 5 }}
credentials = {{ credential = "futures" }}

[[strategies]]
id = "measured"
kind = "{kind}"

[risk]
orders_per_window = 1000000
open_orders_max = 10000
duplicate_window = "0s"
gross_notional_max = "1000000000"
executions_per_window = 1000000

[kill_switch]
capital = "10000000"
consecutive_losses = 1000000

[liquidity]
min_score = "0"

[daemon]
metrics_port = 0
"""
_INSTRUMENT = """
[[instruments]]
venue = "binance_usdm"
symbol = "BTC{quote}"
kind = "perpetual"
base = "BTC"
quote = "{quote}"
tick_size = "0.10"
lot_size = "0.001"
min_qty = "0.001"
max_qty = "1000"
max_leverage = 125
brackets = [{{ floor = "0", cap = "3000000", mmr = "0.004", cum = "0", max_leverage = 125 }}]
"""


@frozen
class _Peer:
    """The peer's process, and where it listens."""

    process: subprocess.Popen[str]
    ws: int
    rest: int

    def measure(self, kind: str) -> dict[str, list[float]]:
        """Return median and 99th percentile in us of each kind of answer."""
        assert self.process.stdin is not None
        print(kind, file=self.process.stdin, flush=True)
        return _line(self.process)


def _line(process: subprocess.Popen[str]) -> "dict[str, list[float]]":
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the peer is gone")
    found: dict[str, list[float]] = json.loads(line)
    return found


@contextmanager
def _running(*words: str, log: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run a module of ours; without `log` we speak with it by its standard input and output."""
    pipe, out = subprocess.PIPE, None if log is None else log.open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=_ROOT,
        text=True,
        stdin=pipe if out is None else subprocess.DEVNULL,
        stdout=pipe if out is None else out,
        stderr=out,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for one in (out, process.stdin, process.stdout):
            if one is not None:
                one.close()


def write_config(folder: Path, ws: int, rest: int, kind: str) -> Path:
    """Write the configuration of a desk for the hand-made venue at these ports, with its key; return its path."""
    instruments = "".join(_INSTRUMENT.format(quote=quote) for quote in ("USDT", "USDC"))
    path = folder / "wire.toml"
    path.write_text(_CONFIG.format(ws=ws, rest=rest, instruments=instruments, kind=_KINDS[kind]))
    shutil.copy(_ROOT / "benchmarks" / "wire_strategies.py", folder)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "credentials").mkdir(mode=0o700)
    secret = folder / "credentials" / "futures"
    secret.touch(mode=0o600)
    secret.write_text(f'api_key = "{"k" * 64}"\n{key.decode()}')
    return path


def _wait_ready(desk: subprocess.Popen[str], folder: Path) -> None:
    paths = StatePaths.of("wire", str(folder / "state"))
    deadline, why = time.monotonic() + _READY_S, "it does not answer"
    while desk.poll() is None and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        try:
            with Client(paths.view_socket) as client:
                status = client.call("status")
        except UnreachableError:
            continue
        if status["is_ready"] and status["kill"]["level"] == "armed":
            return
        why = status["why_not_ready"]
    words = "\n".join(f"{path.name}: {path.read_text()[-1_500:]}" for path in sorted(folder.glob("*.log")))
    raise RuntimeError(f"the desk is not ready: {why}\n{words}")


@contextmanager
def _desk(kind: str) -> Iterator[_Peer]:
    """Give a peer that a desk and the echoes are connected to."""
    with TemporaryDirectory() as name, _running("benchmarks.wire_peer") as process:
        folder = Path(name)
        ws, rest = (int(one) for one in _line(process))
        words = str(write_config(folder, ws, rest, kind)), "--state", str(folder / "state")
        with (
            _running("daemon.gateway", *words, log=folder / "gateway.log"),
            _running("daemon.guard", *words, "--mode", "paper", log=folder / "guard.log"),
            _running("benchmarks.bench_wire", _ECHO, str(ws), name, log=folder / "echo.log"),
            _running("daemon.cli", "paper", *words, "--attach", "--quiet", log=folder / "desk.log") as desk,
        ):
            _wait_ready(desk, folder)
            yield _Peer(process, ws, rest)


# The echoes, a process of their own


def _row(number: int) -> Row:
    """Return a row as an intent of the desk's makes it."""
    order = SubmitOrder(
        time.time_ns(), "futures", "binance_usdm:BTCUSDT", f"bd-{number}", Side.BUY, Decimal("0.010"),
        OrderType.LIMIT, Decimal("25340.1"), TimeInForce.IOC,
    )  # fmt: skip
    line = intent_line(Intent(10 * number, 2, 1, order))
    return 10 * number, number, checksum(line, number), line.decode()


async def _echo_with_commits(url: str, folder: Path) -> None:
    journal = JournalWriter(folder, is_durable=True)
    async with _connected(url) as connection:
        for number in count(1):
            rows = [_row(number)]
            message = await connection.recv(decode=False)
            journal.write(rows)
            await connection.send(message, text=True)


async def _echo(url: str) -> None:
    async with _connected(url) as connection:
        while True:
            await connection.send(await connection.recv(decode=False), text=True)


def _connected(url: str) -> connect:
    return connect(url, compression=None, ping_interval=None, proxy=None)


async def _echoes(port: str, folder: str) -> None:
    bare = Path(folder) / "bare"
    bare.mkdir()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_echo_with_commits, f"ws://127.0.0.1:{port}/commit", bare)
        nursery.start_soon(_echo, f"ws://127.0.0.1:{port}/echo")


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over the repeats: us from frame to order and from fill to hedge, of the echoes, and ratios."""
    told: dict[str, float] = {}
    for kind in _KINDS:
        with _desk(kind) as peer:
            rounds = [peer.measure(kind) for _ in range(repeats)]
        for index, name in enumerate(("p50", "p99")):
            told[f"{kind}_{name}_us"] = median(one["desk"][index] for one in rounds)
            told[f"{kind}_echo_and_commit_{name}_us"] = median(one["commit"][index] for one in rounds)
            told[f"{kind}_echo_{name}_us"] = median(one["echo"][index] for one in rounds)
            told[f"{kind}_{name}_ratio"] = median(one["desk"][index] / one["commit"][index] for one in rounds)
    return told


if __name__ == "__main__":
    if sys.argv[1:2] == [_ECHO]:
        trio.run(_echoes, sys.argv[2], sys.argv[3])
    else:
        print(json.dumps(run(), indent=2))
