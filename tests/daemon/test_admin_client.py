"""The blocking client against servers that misbehave: it never waits for ever, nor takes nonsense for an answer."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from daemon.admin import client as module
from daemon.admin.client import CallFailedError, Client, UnreachableError
from daemon.live.sockets import listen

Script = Callable[[socket.socket], None]
Serve = Callable[[Script], Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Give a function that starts a server of one connection, which does what a script says."""
    path, threads = tmp_path / "x.sock", list[threading.Thread]()
    with listen(path) as listener:
        listener.setblocking(True)

        def start(script: Script) -> Path:
            def run() -> None:
                accepted, _ = listener.accept()
                with accepted:
                    script(accepted)

            threads.append(threading.Thread(target=run))
            threads[-1].start()
            return path

        yield start
        for thread in threads:
            thread.join(10)


def saying(*lines: bytes) -> Script:
    """Return a script that reads one call and says these lines."""

    def script(accepted: socket.socket) -> None:
        accepted.recv(65_536)
        accepted.sendall(b"".join(line + b"\n" for line in lines))

    return script


def silent() -> tuple[Script, threading.Event]:
    """Return a script that says and reads nothing until the event is set."""
    done = threading.Event()

    def script(accepted: socket.socket) -> None:
        done.wait(10)

    return script, done


def answer(number: int, result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()


EVENT = b'{"jsonrpc":"2.0","method":"event","params":{"number":7}}'


def test_an_answer_is_the_one_to_its_call(serve: Serve) -> None:
    path = serve(saying(answer(99, "another's"), EVENT, answer(1, {"a": 1})))
    with Client(path) as client:
        assert client.call("status") == {"a": 1}
        # What came in between is kept for whoever follows.
        assert next(client.events()) == {"number": 7}
        assert client.fileno() > 0


def test_an_answer_in_pieces_is_put_together(serve: Serve) -> None:
    def script(accepted: socket.socket) -> None:
        accepted.recv(65_536)
        for byte in answer(1, "x" * 50) + b"\n":
            accepted.sendall(bytes([byte]))

    with Client(serve(script)) as client:
        assert client.call("status") == "x" * 50


@pytest.mark.parametrize("asked", ["1", "null"])
def test_an_error_names_its_field(serve: Serve, asked: str) -> None:
    error = '{"code":-32602,"message":"no","data":{"field":"params.level"}}'
    path = serve(saying(f'{{"jsonrpc":"2.0","id":{asked},"error":{error}}}'.encode()))
    with Client(path) as client, pytest.raises(CallFailedError, match="no") as caught:
        client.call("kill")
    assert (caught.value.code, caught.value.field) == (-32602, "params.level")


NONSENSE = [
    (b"nonsense", "something else than JSON"),
    (b"[1]", "something else than calls"),
    (b"\xff", "something else than JSON"),
]


@pytest.mark.parametrize(("line", "said"), NONSENSE)
def test_nonsense_is_no_answer(serve: Serve, line: bytes, said: str) -> None:
    with Client(serve(saying(line))) as client, pytest.raises(UnreachableError, match=said):
        client.call("status")


def test_an_answer_without_an_end_is_none(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_BYTES_MAX", 1_000)

    def script(accepted: socket.socket) -> None:
        accepted.recv(65_536)
        accepted.sendall(b"x" * 2_000)

    with Client(serve(script)) as client, pytest.raises(UnreachableError, match="without an end"):
        client.call("status")


def test_whoever_hangs_up_is_unreachable(serve: Serve) -> None:
    path = serve(lambda accepted: None)
    with Client(path) as client, pytest.raises(UnreachableError, match=r"hung up|Broken pipe|reset"):
        client.call("status")


def test_why_it_hung_up_is_told_when_it_was_said(serve: Serve) -> None:
    gone = threading.Event()

    def script(accepted: socket.socket) -> None:
        accepted.sendall(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32004,"message":"8 are open already"}}\n')
        accepted.close()
        gone.set()

    with Client(serve(script)) as client:
        assert gone.wait(10)
        with pytest.raises(CallFailedError, match="8 are open already"):
            client.call("status")


def test_silence_is_not_waited_for(serve: Serve) -> None:
    script, done = silent()
    with Client(serve(script), timeout_s=0.02) as client:
        with pytest.raises(UnreachableError, match="no answer in time"):
            client.call("status")
        done.set()


def test_whoever_does_not_read_is_not_waited_for(serve: Serve) -> None:
    script, done = silent()
    with Client(serve(script), timeout_s=0.02) as client:
        with pytest.raises(UnreachableError, match="no answer in time"):
            client.call("kill", {"reason": "x" * 5_000_000})
        done.set()


def test_a_queue_that_is_full_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with listen(path, backlog=0), Client(path, 0.05), pytest.raises(UnreachableError, match="too many are waiting"):
        Client(path, 0.05)


def test_a_path_too_long_for_an_address_is_found(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with listen(deep / "x.sock"), Client(deep / "x.sock") as client:
        assert client.path == deep / "x.sock"


@pytest.mark.parametrize(("name", "said"), [("none", "no such socket"), ("file", "nobody listens")])
def test_where_nobody_is_is_said(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnreachableError, match=said) as caught:
        Client(tmp_path / name)
    assert caught.value.path == tmp_path / name
