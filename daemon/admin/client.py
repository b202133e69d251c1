"""How a command line talks to an admin socket: blocking, one call after the other, nothing waits for ever."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from daemon.live.sockets import address

_READ_BYTES = 256 * 1024
_ANSWER_BYTES_MAX = 16 * 1024 * 1024


class UnreachableError(Exception):
    """Nobody answers at `path`. Whether a call that was sent has run is not known."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class CallFailedError(Exception):
    """The daemon answered that it will not, or could not. `code` is the protocol's, `field` the part that is wrong."""

    def __init__(self, code: int, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class Client:
    """One connection. `timeout_s` bounds connecting and each answer. Raises UnreachableError from every method."""

    def __init__(self, path: Path, timeout_s: float = 5) -> None:
        self.path = path
        self._timeout_s = timeout_s
        self._rest = bytearray()
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout_s)
            with address(path) as where:
                self._socket.connect(where)
        except OSError as error:
            self._socket.close()
            raise UnreachableError(path, _said(error)) from error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def call(self, method: str, params: dict[str, Any] | None = None) -> Any:
        """Return the result. Raises CallFailedError when the daemon says no."""
        self.send(method, params)
        return self.receive(self._timeout_s)

    def send(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Send a call whose answer `receive` waits for."""
        self._number += 1
        call = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params or {}}
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(json.dumps(call).encode() + b"\n")
        except OSError as error:
            # It may have said why before it hung up.
            self._say_why(error)

    def receive(self, timeout_s: float) -> Any:
        """Return the result of the last call sent. Raises CallFailedError; UnreachableError also when it is late."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._line(deadline)
            if "method" in answer:
                self._events.append(answer.get("params", {}))
                continue
            error = answer.get("error")
            if answer.get("id") not in (self._number, None) or (error is None and answer.get("id") is None):
                continue
            if error is not None:
                raise CallFailedError(error["code"], error["message"], error.get("data", {}).get("field", ""))
            return answer["result"]

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield notifications as they come, until the connection ends (UnreachableError)."""
        while True:
            while self._events:
                yield self._events.pop(0)
            answer = self._line(None)
            if "method" in answer:
                self._events.append(answer.get("params", {}))

    def _line(self, deadline: float | None) -> dict[str, Any]:
        """Return the next line, waiting until `deadline` (monotonic seconds), or for ever."""
        while (end := self._rest.find(b"\n")) < 0:
            try:
                self._socket.settimeout(None if deadline is None else max(1e-3, deadline - time.monotonic()))
                data = self._socket.recv(_READ_BYTES)
            except TimeoutError as error:
                raise UnreachableError(self.path, "no answer in time") from error
            except OSError as error:
                raise UnreachableError(self.path, _said(error)) from error
            if not data:
                raise UnreachableError(self.path, "hung up")
            self._rest += data
            if len(self._rest) > _ANSWER_BYTES_MAX:
                raise UnreachableError(self.path, "an answer without an end")
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise UnreachableError(self.path, "answers something else than JSON") from error
        if not isinstance(answer, dict):
            raise UnreachableError(self.path, "answers something else than calls")
        return answer

    def _say_why(self, error: OSError) -> None:
        try:
            self.receive(self._timeout_s)
        except UnreachableError as silent:
            raise UnreachableError(self.path, _said(error)) from silent
        raise UnreachableError(self.path, _said(error)) from error


def _said(error: OSError) -> str:
    return {
        FileNotFoundError: "there is no such socket",
        ConnectionRefusedError: "nobody listens",
        BlockingIOError: "too many are waiting to be heard",
        PermissionError: "not permitted",
        TimeoutError: "no answer in time",
    }.get(type(error), error.strerror or str(error))
