"""Whatever comes down an admin socket: nothing breaks, nothing leaks, nothing happens that the role does not allow.

BASISD_FUZZ_FRAMES says how many frames are sent; 100,000 take a minute or so.
"""

import gc
import json
import os
import re
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from admin_desk import UNBOUND, MemoryDesk, Moment, Wire, caught_in_the_middle, listening
from attrs import define, evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from daemon.admin.calls import Method, Role
from daemon.admin.methods import DeskMethods
from daemon.admin.protocol import DEPTH_MAX, FRAME_BYTES_MAX, CallError, Code, parse_params, parse_request
from daemon.admin.server import AdminServer

FRAMES = int(os.environ.get("BASISD_FUZZ_FRAMES", "3000"))
SEED = 20_260_115
ROUND = 250
POOL = 4
GROWTH_MAX = 1024 * 1024
RSS_GROWTH_MAX = 10 * 1024 * 1024

VIEW_CALLS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("status", "positions", "margin", "funding", "flags", "limits", "version", "methods")),
    ("orders", {"limit": 5, "all": True}),
    ("baskets", {"all": True}),
    ("mismatches", {"all": True, "limit": 3}),
    ("events", {"since": 3, "limit": 20}),
    ("overview", {"count": 3}),
    ("events.follow", {"since": 10_000_000}),
]
OPS_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("kill", {"level": "reduce_only", "reason": "fuzz"}),
    ("kill", {"level": "flatten"}),
    ("arm", {"reason": "fuzz"}),
    ("drain", {"on": True}),
    ("drain", {"on": False, "reason": "ü €"}),
    ("set_flag", {"feature": "carry", "mode": "canary", "percent": 7}),
    ("set_flag", {"feature": "no such", "mode": "shadow"}),
    ("set_limit", {"key": "open_orders_max", "value": "40"}),
    ("set_limit", {"key": "gross_notional_max", "value": "4999999.5"}),
    ("set_limit", {"key": "order_qty_max", "value": "3", "instrument": "binance_usdm:BTCUSDT"}),
    ("adopt", {"account": "futures", "what": "USDT", "reason": "why"}),
    ("ack", {}),
]
STRANGE: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**63, 10**300, "", "x", "\x00", "\u202e", "😀" * 20, "a" * 600, [], {}, [[]]),
    *({"a": 1}, ["status"], "NaN", "Infinity", "1e999", "../../etc/passwd", "'; DROP TABLE x; --", "%s%n", "\\u0000"),
]
REFUSALS = {code.value for code in Code}


@frozen
class Frame:
    """Bytes to send. `is_call`: a sound one, `is_wrong`: surely none. `answers` is how many lines come back."""

    data: bytes
    is_call: bool = False
    is_wrong: bool = False
    is_last: bool = False
    answers: int = 1


class Maker:
    """Makes frames from a seed: sound calls, calls with one thing wrong, bytes with some changed, and noise."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.number = 0
        self.kinds: list[tuple[Callable[[], Frame], int]] = [
            (self.call, 30),
            (self.burst, 3),
            (self.wrong_params, 12),
            (self.wrong_envelope, 12),
            (self.changed_bytes, 14),
            (self.cut, 4),
            (self.noise, 10),
            (self.nested, 3),
            (self.repeated_key, 3),
            (self.long, 2),
            (self.oversize, 1),
            (self.blank, 2),
        ]

    def frame(self) -> Frame:
        makers, weights = zip(*self.kinds, strict=True)
        made: Frame = self.random.choices(makers, weights)[0]()
        return made

    def _call(self) -> dict[str, Any]:
        self.number += 1
        method, params = self.random.choice(self.random.choice((VIEW_CALLS, OPS_CALLS)))
        asked = self.random.choice((self.number, f"id {self.number}"))
        return {"jsonrpc": "2.0", "id": asked, "method": method, "params": dict(params)}

    def call(self) -> Frame:
        call = self._call()
        if not call["params"] and self.random.random() < 0.5:
            del call["params"]
        return Frame(_line(call), is_call=True)

    def burst(self) -> Frame:
        calls = [self._call() for _ in range(self.random.randint(2, 6))]
        return Frame(b"".join(map(_line, calls)), answers=len(calls))

    def wrong_params(self) -> Frame:
        call, random = self._call(), self.random
        params = call["params"]
        if params and random.random() < 0.7:
            params[random.choice(list(params))] = random.choice(STRANGE)
            # A strange value may be a sound one.
            return Frame(_line(call))
        params[random.choice(("x", "", "Level", "__class__", "limit\x00"))] = random.choice(STRANGE)
        return Frame(_line(call), is_wrong=True)

    def wrong_envelope(self) -> Frame:
        call, random = self._call(), self.random
        what = random.randrange(6)
        if what == 0:
            del call[random.choice(("jsonrpc", "id", "method"))]
        elif what == 1:
            call["jsonrpc"] = random.choice(STRANGE)
        elif what == 2:
            call["id"] = random.choice([None, True, 1.5, [], {}, "", "x" * 200, 2**60])
        elif what == 3:
            call["params"] = random.choice([None, 1, "x", [], ["status"], True])
        elif what == 4:
            call["method"] = random.choice([None, 1, "", "Status", "status ", "__init__", "rpc.status", ["status"]])
        else:
            call[random.choice(("Method", "extra", "ID"))] = random.choice(STRANGE)
        shapes: list[Any] = [call, [call], [], [[call]], call.get("params", 1)]
        return Frame(_line(random.choices(shapes, (12, 1, 1, 1, 1))[0]), is_wrong=True)

    def changed_bytes(self) -> Frame:
        data, random = bytearray(_line(self._call())[:-1]), self.random
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(data))
            how = random.randrange(4)
            if how == 0:
                data[at] = random.randrange(256)
            elif how == 1:
                del data[at]
            elif how == 2:
                data.insert(at, random.choice(b'{}[]",:\\0123456789e-+. \x00\xff\xc0'))
            else:
                data[at] ^= 1 << random.randrange(8)
        return Frame(bytes(data).replace(b"\n", b" ") + b"\n")

    def cut(self) -> Frame:
        line = _line(self._call())
        data = line[: self.random.randint(1, len(line) - 2)]
        if self.random.random() < 0.5:
            return Frame(data, is_last=True, answers=0)
        return Frame(data + b"\n", is_wrong=True)

    def noise(self) -> Frame:
        data = self.random.randbytes(self.random.choice((1, 7, 40, 300, 5_000))).replace(b"\n", b"\r")
        return Frame(data + b"\n", is_wrong=not data.strip().isdigit())

    def nested(self) -> Frame:
        depth = self.random.choice((DEPTH_MAX - 1, 100, 1_000, 20_000))
        opening, closing = self.random.choice(((b"[", b"]"), (b'{"a":', b"}")))
        inner = opening * depth + b"1" + (closing * depth if self.random.random() < 0.7 else b"")
        data = b'{"jsonrpc":"2.0","id":1,"method":"status","params":{"a":%b}}' % inner
        return Frame(data[: FRAME_BYTES_MAX - 1] + b"\n", is_wrong=True)

    def repeated_key(self) -> Frame:
        line = _line(self._call())
        key = self.random.choice(
            (b'"id":1,', b'"method":"status",', b'"params":{"a":1,"a":2},', b'"x":NaN,', b'"x":-Infinity,')
        )
        return Frame(line.replace(b"{", b"{" + key, 1), is_wrong=True)

    def long(self) -> Frame:
        call = self._call()
        call["params"]["reason"] = "x" * self.random.randint(501, 60_000)
        return Frame(_line(call), is_wrong=True)

    def oversize(self) -> Frame:
        return Frame(b"x" * (FRAME_BYTES_MAX + self.random.randint(1, 5_000)), is_wrong=True, is_last=True)

    def blank(self) -> Frame:
        return Frame(self.random.choice((b"\n", b"\r\n", b"  \n", b"\x00\n")), is_wrong=True)


def _line(call: Any) -> bytes:
    return json.dumps(call, ensure_ascii=False).encode() + b"\n"


@define
class Front:
    """One socket with its open connections."""

    path: Path
    server: AdminServer
    wires: list[Wire] = field(factory=list)

    async def send(self, maker: Maker) -> None:
        """Send one frame over one of the connections and look at what comes back."""
        random = maker.random
        if len(self.wires) < POOL:
            self.wires.append(Wire(self.path))
        wire = random.choice(self.wires)
        frame = maker.frame()
        try:
            await self._write(wire, frame.data, random)
            if random.random() < 0.01:
                # Gone before the answer.
                await self._drop(wire)
                return
            for _ in range(frame.answers):
                self._judge(frame, await _answer(wire))
        except (trio.BrokenResourceError, EOFError):
            assert frame.is_last
        if frame.is_last:
            await self._drop(wire)

    async def _write(self, wire: Wire, data: bytes, random: Random) -> None:
        if random.random() < 0.9:
            await wire.send(data)
            return
        at = 0
        while at < len(data):
            step = random.randint(1, max(1, len(data) // 3))
            await wire.send(data[at : at + step])
            at += step
            await trio.lowlevel.checkpoint()

    def _judge(self, frame: Frame, answer: dict[str, Any]) -> None:
        assert ("result" in answer) != ("error" in answer)
        assert "id" in answer
        if frame.is_wrong:
            assert "error" in answer, frame.data[:200]
        if "error" in answer:
            assert answer["error"]["code"] in REFUSALS
            assert answer["error"]["code"] != Code.INTERNAL, answer
        if frame.is_call:
            assert answer["id"] == json.loads(frame.data)["id"]

    async def _drop(self, wire: Wire) -> None:
        self.wires.remove(wire)
        await wire.close()

    async def settle(self) -> None:
        """Wait until everything sent so far is dealt with."""
        for wire in self.wires:
            await wire.send(_line({"jsonrpc": "2.0", "id": "settle", "method": "version"}))
            while (await _answer(wire)).get("id") != "settle":
                pass
        with trio.fail_after(30):
            while self.server.statistics.open > len(self.wires):
                await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        for wire in [*self.wires]:
            await self._drop(wire)
        await self.settle()


async def _answer(wire: Wire) -> dict[str, Any]:
    """Return the next line that is no notification."""
    while "method" in (answer := await wire.line()):
        pass
    return answer


@asynccontextmanager
async def fronts(desk: MemoryDesk, folder: Path) -> AsyncIterator[tuple[Front, Front]]:
    """Serve the desk on both its sockets."""
    limits = evolve(UNBOUND, frame_s=60, poll_s=0.01)
    async with AsyncExitStack() as stack:
        found = []
        nursery = await stack.enter_async_context(trio.open_nursery())
        for role in (Role.VIEW, Role.OPS):
            path = folder / f"{role}.sock"
            server = stack.enter_context(listening(desk, path, role, limits))
            await nursery.start(server.run)
            found.append(Front(path, server))
        yield found[0], found[1]
        nursery.cancel_scope.cancel()


_CALL, _RESULT, _OFFER = "journal AdminCall", "journal AdminResult", "offer"


def check_order(heard: list[str], views: set[str]) -> int:
    """Return how many calls were written down; each effect must stand between its call and its result."""
    calls, is_running = 0, False
    for one in heard:
        if one.startswith(_CALL):
            calls += 1
            assert not is_running
            is_running = one.removeprefix(_CALL).strip() not in views
        elif one.startswith(_OFFER):
            assert is_running, f"{one} without a call written down before"
        else:
            assert one.startswith(_RESULT)
            assert is_running
            is_running = False
    assert not is_running, f"without a result: {heard[-3:]}"
    return calls


def rss() -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> Moment:
    return caught_in_the_middle(tmp_path_factory.mktemp("desk"))


async def test_nothing_that_comes_in_does_harm(moment: Moment, tmp_path: Path) -> None:
    desk = MemoryDesk(moment, snapshot_every=200)
    views = {name for name, one in DeskMethods(desk, desk).table.items() if one.role is Role.VIEW}
    maker = Maker(SEED)
    open_before, begun = descriptors(), trio.lowlevel.current_statistics().tasks_living
    async with fronts(desk, tmp_path) as (view, ops):
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        tracemalloc.start(1)
        counted, sent = 0, 0
        warm: tuple[int, int] | None = None
        while sent < FRAMES:
            for front in (view, ops):
                before = desk.fingerprint() if front is view else ""
                for _ in range(ROUND):
                    await front.send(maker)
                await front.settle()
                sent += ROUND
                counted += check_order(desk.heard, views)
                if front is view:
                    assert desk.fingerprint() == before
                    assert not any(one.startswith((_OFFER, _RESULT)) for one in desk.heard)
                desk.heard.clear()
                desk.journaled.clear()
            if warm is None and sent >= FRAMES // 3:
                warm = _memory()
        assert warm is not None
        after = _memory()
        tracemalloc.stop()
        for front in (view, ops):
            await front.close()
        with trio.fail_after(30):
            while trio.lowlevel.current_statistics().tasks_living > tasks_before:
                await trio.lowlevel.checkpoint()
        statistics = [view.server.statistics, ops.server.statistics]
        assert counted == sum(one.calls for one in statistics)
        assert view.server.statistics.forbidden > 0
        assert sum(one.failed for one in statistics) == 0
        assert desk.cell.halt is None
        assert not desk.cell.quarantined
        for front in (view, ops):
            assert "result" in await front_call(front)
        print(
            f"{sent} frames, {counted} calls, traced {warm[0]} -> {after[0]} bytes, RSS {warm[1]} -> {after[1]} bytes"
        )
        assert after[0] - warm[0] < GROWTH_MAX
        assert after[1] - warm[1] < RSS_GROWTH_MAX
    assert trio.lowlevel.current_statistics().tasks_living == begun
    assert descriptors() == open_before


def _memory() -> tuple[int, int]:
    gc.collect()
    # The interpreter makes its table of interned strings anew now and then: a block of megabytes that was there before,
    # made when nobody traced. What grows in such a block shows in the process's own size.
    sizes = [trace.size for trace in tracemalloc.take_snapshot().traces]
    return sum(size for size in sizes if size < GROWTH_MAX), rss()


async def front_call(front: Front) -> dict[str, Any]:
    wire = Wire(front.path)
    answer = await wire.call("status")
    await wire.close()
    return answer


# Values of any shape

KEYS = st.text(max_size=6) | st.sampled_from(["level", "reason", "on", "limit", "since", "key", "value", "number"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(STRANGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def methods(moment: Moment) -> list[Method]:
    desk = MemoryDesk(moment)
    return list(DeskMethods(desk, desk).table.values())


@given(st.data(), st.dictionaries(KEYS, VALUES, max_size=4))
def test_params_of_any_shape_fit_or_are_refused_by_name(
    methods: list[Method], data: st.DataObject, params: dict[str, Any]
) -> None:
    method = data.draw(st.sampled_from(methods))
    code, name = None, ""
    try:
        parse_params(params, method.params, 1)
    except CallError as error:
        code, name = error.code, error.field
    assert code in (None, Code.INVALID_PARAMS)
    assert name.startswith("params") or code is None


@given(VALUES)
def test_frames_of_any_shape_are_calls_or_refused(value: Any) -> None:
    code = None
    try:
        parse_request(json.dumps(value).encode())
    except CallError as error:
        code = error.code
    assert code in (Code.PARSE, Code.INVALID_REQUEST)
