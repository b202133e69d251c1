"""What a socket does with whoever connects: answers, bounds, roles, and nothing before it is written down."""

import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from admin_desk import UNBOUND, Wire
from attrs import evolve

from actors.control import AdminCall, AdminResult
from daemon.admin.calls import Caller, Method, NoParams, Poll, RefusedError, Role, described, table
from daemon.admin.protocol import FRAME_BYTES_MAX, CallError, Code
from daemon.admin.server import AdminServer, Limits
from daemon.live.sockets import listen
from venues.port import Message


class Number(NoParams):
    n: int = 0


class Desk:
    """A few methods that tell what happened, and a journal."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.calls: list[AdminCall] = []
        self.error: Exception | None = None
        self.gate = trio.Event()
        self.feed: list[int] = []
        self.methods = table(
            [
                Method("look", Role.VIEW, "looks", lambda p, c: {"n": p.n, "operator": c.operator}, Number),
                Method("touch", Role.OPS, "touches", self.touch, Number),
                Method("stop", Role.OPS, "stops", self.touch, Number, is_urgent=True),
                Method("slow", Role.OPS, "waits", self.slow),
                Method("refuse", Role.OPS, "will not", self.refuse),
                Method("fail", Role.OPS, "cannot", lambda p, c: 1 / 0),
                Method("strange", Role.VIEW, "is no JSON", lambda p, c: object()),
                Method("large", Role.VIEW, "is too large", lambda p, c: "x" * p.n, Number),
                Method("follow", Role.VIEW, "goes on", lambda p, c: "from here", follow=self.follow),
                Method(
                    "break", Role.VIEW, "goes wrong later", lambda p, c: "from here", follow=lambda p, c: self.broken
                ),
            ]
        )

    def journal(self, message: Message) -> None:
        if self.error is not None:
            raise self.error
        assert isinstance(message, AdminCall | AdminResult)
        if isinstance(message, AdminCall):
            self.calls.append(message)
            self.heard.append(f"call {message.method}")
        else:
            self.heard.append(f"result {message.method} {message.is_ok} {message.text}".strip())

    async def slow_journal(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.journal(message)

    def touch(self, params: Number, caller: Caller) -> int:
        self.heard.append(f"touched {params.n}")
        return params.n

    async def slow(self, params: NoParams, caller: Caller) -> str:
        await self.gate.wait()
        return "done"

    def refuse(self, params: NoParams, caller: Caller) -> None:
        raise RefusedError("not now")

    def follow(self, params: NoParams, caller: Caller) -> Poll:
        def poll() -> list[int]:
            found = self.feed[:]
            self.feed.clear()
            return found

        return poll

    def broken(self) -> list[int]:
        raise ValueError("no luck")


Open = Callable[..., AdminServer]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def serve(desk: Desk, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Open]:
    listeners: list[socket.socket] = []

    def start(role: Role = Role.OPS, limits: Limits = UNBOUND, journal: Any = None) -> AdminServer:
        listeners.append(listen(tmp_path / f"{role}.sock"))
        made = AdminServer(
            listeners[-1], role, desk.methods, journal=journal or desk.journal, now=lambda: 77, limits=limits
        )
        nursery.start_soon(made.run)
        return made

    yield start
    for one in listeners:
        one.close()


def at(tmp_path: Path, role: Role = Role.OPS) -> Wire:
    return Wire(tmp_path / f"{role}.sock")


async def test_a_call_is_written_down_then_run_then_answered(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve()
    wire = at(tmp_path)
    assert (await wire.call("touch", n=3))["result"] == 3
    assert desk.heard == ["call touch", "touched 3", "result touch True"]
    [call] = desk.calls
    assert call == AdminCall(77, "ops", "touch", '{"n":3}', os.getuid(), os.getgid(), os.getpid())
    answer = await wire.call("look")
    assert answer["result"]["operator"].endswith(f" pid {os.getpid()}")
    assert desk.calls[-1] == AdminCall(77, "view", "look", '{"n":0}', call.uid, call.gid, call.pid)
    assert (server.statistics.calls, server.statistics.open) == (2, 1)
    await wire.close()


async def test_a_call_that_cannot_be_written_down_does_not_run(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve()
    wire = at(tmp_path)
    desk.error = OSError(28, "No space left on device")
    for method in ("touch", "look"):
        error = (await wire.call(method))["error"]
        assert error["code"] == Code.NOT_JOURNALED
        assert "No space left on device" in error["message"]
    assert desk.heard == []
    desk.error = None
    assert "result" in await wire.call("touch")
    assert server.statistics.not_journaled == 2
    await wire.close()


async def test_stopping_does_not_wait_for_a_disk(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve()
    wire = at(tmp_path)
    desk.error = OSError(28, "No space left on device")
    assert (await wire.call("stop", n=5))["result"] == 5
    assert desk.heard == ["touched 5"]
    assert server.statistics.not_journaled == 2
    desk.error = None
    await wire.call("stop", n=6)
    assert desk.heard[1:] == ["call stop", "touched 6", "result stop True"]
    await wire.close()


async def test_a_journal_may_take_its_time(desk: Desk, serve: Open, tmp_path: Path) -> None:
    serve(journal=desk.slow_journal)
    wire = at(tmp_path)
    assert (await wire.call("touch", n=1))["result"] == 1
    assert desk.heard == ["call touch", "touched 1", "result touch True"]
    await wire.close()


async def test_the_view_socket_changes_nothing(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(Role.VIEW)
    wire = at(tmp_path, Role.VIEW)
    for method in ("touch", "slow", "refuse", "fail"):
        error = (await wire.call(method))["error"]
        assert error["code"] == Code.FORBIDDEN
    assert desk.heard == []
    assert server.statistics.forbidden == 4
    assert "result" in await wire.call("look")
    await wire.close()


WRONG = [
    (b"nonsense", Code.PARSE, None),
    (b"", Code.PARSE, None),
    (b"[]", Code.INVALID_REQUEST, None),
    (b'{"jsonrpc":"2.0","id":5,"method":"nothing"}', Code.METHOD_NOT_FOUND, 5),
    (b'{"jsonrpc":"2.0","id":5,"method":"look","params":{"n":"x"}}', Code.INVALID_PARAMS, 5),
    (b'{"jsonrpc":"2.0","id":5,"method":"look","params":{"m":1}}', Code.INVALID_PARAMS, 5),
    (b'{"jsonrpc":"2.0","id":5,"method":"slow","params":{"m":1}}', Code.INVALID_PARAMS, 5),
]


async def test_wrong_calls_are_answered_and_the_connection_lives_on(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve()
    wire = at(tmp_path)
    for raw, code, asked in WRONG:
        answer = await wire.ask(raw)
        assert (answer["error"]["code"], answer["id"]) == (code, asked)
    assert desk.heard == []
    assert "result" in await wire.call("look")
    assert server.statistics.bad_frames == 3
    await wire.close()


FAILING = [
    ("refuse", {}, Code.REFUSED, "not now", ["result refuse False not now"]),
    (
        "fail",
        {},
        Code.INTERNAL,
        "fail failed: ZeroDivisionError",
        ["result fail False ZeroDivisionError: division by zero"],
    ),
    ("strange", {}, Code.INTERNAL, "strange failed: TypeError", []),
    ("large", {"n": 5_000}, Code.TOO_LARGE, "too large", []),
]


@pytest.mark.parametrize(("method", "params", "code", "said", "noted"), FAILING)
async def test_what_a_method_does_wrong_ends_its_call_alone(
    desk: Desk,
    serve: Open,
    tmp_path: Path,
    method: str,
    params: dict[str, Any],
    code: Code,
    said: str,
    noted: list[str],
) -> None:
    serve(limits=evolve(UNBOUND, answer_bytes_max=4_000))
    wire = at(tmp_path)
    error = (await wire.call(method, **params))["error"]
    assert error["code"] == code
    assert said in error["message"]
    assert desk.heard == [f"call {method}", *noted]
    assert "result" in await wire.call("look")
    await wire.close()


async def test_a_call_that_hangs_is_given_up(desk: Desk, serve: Open, tmp_path: Path) -> None:
    serve(limits=evolve(UNBOUND, call_s=0.02))
    wire = at(tmp_path)
    error = (await wire.call("slow"))["error"]
    assert error["code"] == Code.TIMEOUT
    assert "what it did is not known" in error["message"]
    assert desk.heard[-1].startswith("result slow False slow took over")
    await wire.close()


async def test_calls_of_one_connection_run_one_after_the_other(desk: Desk, serve: Open, tmp_path: Path) -> None:
    serve()
    wire, other = at(tmp_path), at(tmp_path)
    frames = [{"jsonrpc": "2.0", "id": n, "method": "slow" if n == 1 else "touch"} for n in (1, 2)]
    await wire.send(b"".join(json.dumps(frame).encode() + b"\n" for frame in frames))
    assert (await other.call("touch", n=9))["result"] == 9
    assert "touched 0" not in desk.heard
    desk.gate.set()
    assert [(await wire.line())["id"] for _ in frames] == [1, 2]
    await wire.close()
    await other.close()


# Bounds


async def test_a_frame_too_long_ends_the_connection(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve()
    wire = at(tmp_path)
    await wire.send(b"x" * (FRAME_BYTES_MAX + 1))
    answer = await wire.line()
    assert (answer["error"]["code"], answer["id"]) == (Code.TOO_LARGE, None)
    assert await wire.is_hung_up()
    assert server.statistics.oversize == 1
    await wire.close()


async def test_a_frame_that_does_not_end_in_time_ends_the_connection(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(limits=evolve(UNBOUND, frame_s=0.02))
    wire = at(tmp_path)
    # A byte now and then does not help: the time counts from the first.
    await wire.send(b'{"jsonrpc":')
    answer = await wire.line()
    assert (answer["error"]["code"], answer["id"]) == (Code.TIMEOUT, None)
    assert await wire.is_hung_up()
    assert server.statistics.slow_frames == 1
    await wire.close()


async def test_a_half_frame_behind_a_whole_one_is_timed_too(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(limits=evolve(UNBOUND, frame_s=0.02))
    wire = at(tmp_path)
    await wire.send(b'{"jsonrpc":"2.0","id":1,"method":"look"}\n{"jsonr')
    assert "result" in await wire.line()
    assert (await wire.line())["error"]["code"] == Code.TIMEOUT
    assert server.statistics.slow_frames == 1
    await wire.close()


async def test_whoever_calls_too_often_is_told_and_slowed_down(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(limits=Limits(calls_per_s=0.001, burst=3))
    wire = at(tmp_path)
    answers = [await wire.call("touch", n=n) for n in range(4)]
    assert all("result" in answer for answer in answers[:3])
    assert answers[3]["error"]["code"] == Code.RATE
    assert (server.statistics.rate_limited, len(desk.calls)) == (1, 3)
    # The next is not even read before its time.
    await wire.send(b'{"jsonrpc":"2.0","id":1,"method":"look"}\n')
    other = at(tmp_path)
    assert "result" in await other.call("look")
    assert server.statistics.frames == 5
    await other.close()
    await wire.close()


async def test_large_frames_count_for_many(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(limits=Limits(calls_per_s=0.001))
    wire = at(tmp_path)
    frame = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "look", "params": {"x": "y" * 60_000}}).encode()
    assert (await wire.ask(frame))["error"]["code"] == Code.INVALID_PARAMS
    assert (await wire.ask(frame))["error"]["code"] == Code.RATE
    assert server.statistics.rate_limited == 1
    await wire.close()


async def test_only_so_many_may_be_connected(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(limits=evolve(UNBOUND, connections=2))
    wires = [at(tmp_path), at(tmp_path)]
    for wire in wires:
        await wire.call("look")
    third = at(tmp_path)
    answer = await third.line()
    assert answer["error"]["code"] == Code.TOO_MANY_CONNECTIONS
    assert await third.is_hung_up()
    await wires[0].close()
    with trio.fail_after(5):
        while server.statistics.open == 2:
            await trio.lowlevel.checkpoint()
    fourth = at(tmp_path)
    assert "result" in await fourth.call("look")
    assert server.statistics.turned_away == 1
    for wire in (wires[1], third, fourth):
        await wire.close()


async def test_a_reader_that_does_not_read_is_hung_up_on(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(limits=evolve(UNBOUND, write_s=0.02))
    wire = at(tmp_path)
    await wire.send(b'{"jsonrpc":"2.0","id":1,"method":"large","params":{"n":3000000}}\n')
    with trio.fail_after(5):
        while server.statistics.open or not server.statistics.slow_readers:
            await trio.lowlevel.checkpoint()
    assert server.statistics.slow_readers == 1
    await wire.close()


async def test_idle_connections_may_stay(desk: Desk, serve: Open, tmp_path: Path) -> None:
    serve(limits=evolve(UNBOUND, frame_s=0.01))
    idle, busy = at(tmp_path), at(tmp_path)
    await idle.call("look")
    await busy.send(b"half")
    # The other one's deadline has passed by the time it is hung up on.
    await busy.line()
    assert "result" in await idle.call("look")
    await idle.close()
    await busy.close()


# Following


async def test_events_follow_the_answer_while_calls_go_on(desk: Desk, serve: Open, tmp_path: Path) -> None:
    server = serve(limits=evolve(UNBOUND, poll_s=0.001))
    wire = at(tmp_path)
    desk.feed += [1, 2]
    assert (await wire.call("follow"))["result"] == "from here"
    assert [await wire.line() for _ in range(2)] == [
        {"jsonrpc": "2.0", "method": "event", "params": number} for number in (1, 2)
    ]
    assert "result" in await wire.call("look")
    desk.feed.append(3)
    assert (await wire.line())["params"] == 3
    assert (await wire.call("follow"))["error"]["code"] == Code.REFUSED
    assert server.statistics.events_sent == 3
    await wire.close()


async def test_a_follower_that_is_gone_or_goes_wrong_leaves_nothing_behind(
    desk: Desk, serve: Open, tmp_path: Path
) -> None:
    server = serve(limits=evolve(UNBOUND, poll_s=0.001))
    gone, broken = at(tmp_path), at(tmp_path)
    await gone.call("follow")
    await gone.close()
    assert (await broken.call("break"))["result"] == "from here"
    assert await broken.is_hung_up()
    await broken.close()
    with trio.fail_after(5):
        while server.statistics.open:
            await trio.lowlevel.checkpoint()
    wire = at(tmp_path)
    assert "result" in await wire.call("look")
    await wire.close()


# The rest


async def test_a_server_may_be_run_again_on_the_same_listener(desk: Desk, tmp_path: Path) -> None:
    with listen(tmp_path / "ops.sock") as listener:
        server = AdminServer(listener, Role.OPS, desk.methods, journal=desk.journal, now=lambda: 1)
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                await nursery.start(server.run)
                wire = at(tmp_path)
                assert "result" in await wire.call("look")
                nursery.cancel_scope.cancel()
            assert await wire.is_hung_up()
            await wire.close()
        assert server.statistics.open == 0


def test_methods_describe_themselves_by_role(desk: Desk) -> None:
    assert [one["name"] for one in described(desk.methods, Role.VIEW)] == [
        "look",
        "strange",
        "large",
        "follow",
        "break",
    ]
    assert len(described(desk.methods, Role.OPS)) == len(desk.methods)
    assert described(desk.methods, Role.OPS)[1] == {
        "name": "touch",
        "role": "ops",
        "params": {"n": "int, default 0"},
        "help": "touches",
    }


def test_two_methods_of_one_name_are_a_mistake(desk: Desk) -> None:
    with pytest.raises(ValueError, match="two methods are called look"):
        table([desk.methods["look"], desk.methods["look"]])


def test_an_error_knows_its_call() -> None:
    assert str(CallError(Code.REFUSED, "no", id=3)) == "no"
