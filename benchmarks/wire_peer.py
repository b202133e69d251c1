"""The peer's process of `bench_wire`: it sends frames over blocking sockets and takes the time until the answer comes.

It reads commands from standard input, one a line, and prints one line of JSON for each: first its ports.
"""

import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from benchmarks.raw_peer import has_message, read_message, shake_hands, short_frame, text_frame
from benchmarks.wire_venue import SYMBOLS, Venue, rest_server

FRAMES = 600
_WARM = 50
_SPACING_S = 0.001
_BEAT_S = 0.5
_LOOK_S = 0.02
_ANSWER_S = 60.0
_AGAIN_S = 0.25
_SYMBOL = next(iter(SYMBOLS))


class Peer:
    """The sockets of one gateway by what they are for, and those of the bare echoes."""

    def __init__(self) -> None:
        self.venue = Venue()
        self.sockets: dict[str, socket.socket] = {}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.rest = rest_server(self.venue)
        self._beaten = 0.0
        self._quoted: dict[str, Any] | None = None

    def accept(self) -> None:
        """Take whoever connects, for ever."""
        while True:
            one, _ = self.listener.accept()
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.settimeout(_ANSWER_S)
            name = shake_hands(one).strip("/").split("/")[0]
            if name == "api":
                logon = json.loads(read_message(one))
                one.sendall(short_frame(b'{"id":%d,"status":200,"result":{}}' % logon["id"]))
            if name == "private":
                # Nothing but pings comes there.
                threading.Thread(target=self._listen, args=(one,), daemon=True).start()
            self.sockets[name] = one

    def _listen(self, one: socket.socket) -> None:
        with suppress(OSError):
            while not has_message(one, _ANSWER_S):
                continue

    def beat(self) -> None:
        """Keep the market alive: books and marks of all symbols, now and then."""
        if time.monotonic() - self._beaten < _BEAT_S or not {"public", "market"} <= self.sockets.keys():
            return
        self._beaten = time.monotonic()
        for symbol in SYMBOLS:
            self.send("public", self.venue.depth(symbol))
            self.send("market", self.venue.mark(symbol))
            if symbol != _SYMBOL:
                self.send("public", self.venue.quote(symbol))

    def send(self, name: str, text: str) -> None:
        self.sockets[name].sendall(text_frame(text.encode()))

    def request(self) -> dict[str, Any]:
        """Return the next request that comes over the order socket."""
        found: dict[str, Any] = json.loads(read_message(self.sockets["api"]))
        return found

    def acknowledge(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take a new order, say so on both ways, and return it."""
        assert request["method"] == "order.place", request
        order = self.venue.take(request["params"])
        self._reply(request, order)
        self.send("private", self.venue.event(order, "NEW"))
        return order

    def _reply(self, request: dict[str, Any], result: dict[str, Any]) -> None:
        reply = {"id": request["id"], "status": 200, "result": result}
        self.send("api", json.dumps(reply, separators=(",", ":")))

    def idle(self) -> None:
        """Answer what a desk asks before it is measured: an order that rests is kept."""
        self.beat()
        api = self.sockets.get("api")
        while api is not None and has_message(api, 0):
            request = self.request()
            if request["method"] == "order.cancel":
                order = self.venue.orders[request["params"]["origClientOrderId"]]
                told = self.venue.cancel(order)
                self._reply(request, order)
                self.send("private", told)
                self._quoted = None
                continue
            order = self.acknowledge(request)
            if order["timeInForce"] == "IOC":
                self.send("private", self.venue.expire(order))
            else:
                self._quoted = order

    def wake(self) -> None:
        """Send quotes until the desk answers them: one that is ready need not have seen a book yet."""
        self._await_request(is_asked=True)
        while has_message(self.sockets["api"], _AGAIN_S):
            self.send("private", self.venue.expire(self.acknowledge(self.request())))

    def _await_request(self, *, is_asked: bool) -> None:
        """Wait until the desk requests something; the market lives meanwhile, and moves where it `is_asked`."""
        for _ in range(int(_ANSWER_S / _AGAIN_S)):
            self.beat()
            if is_asked:
                self.send("public", self.venue.quote(_SYMBOL))
            if has_message(self.sockets["api"], _AGAIN_S):
                return
        raise TimeoutError(f"no request within {_ANSWER_S:g} s")

    # What is measured

    def quote_to_order(self) -> tuple[str, int]:
        """Return the frame, and ns until an order came."""
        text = self.venue.quote(_SYMBOL)
        spent = self.spent("public", "api", text)
        order = self.acknowledge(self.request())
        self.send("private", self.venue.expire(order))
        return text, spent

    def fill_to_hedge(self) -> tuple[str, int]:
        """Return the event of a quote's fill, and ns until the hedge came."""
        quoted, self._quoted = self._quoted or self._ask_for_quote(), None
        assert quoted["timeInForce"] == "GTX", quoted
        time.sleep(2 * _SPACING_S)
        text = self.venue.fill(quoted, is_maker=True)
        spent = self.spent("private", "api", text)
        hedge = self.acknowledge(self.request())
        assert hedge["timeInForce"] == "IOC", hedge
        self.send("private", self.venue.fill(hedge, is_maker=False))
        return text, spent

    def _ask_for_quote(self) -> dict[str, Any]:
        """Wait for the next order that rests; what has nothing on is woken by a new touch."""
        self._await_request(is_asked=not any(one.qty for one in self.venue.positions.values()))
        return self.acknowledge(self.request())

    def spent(self, source: str, back: str, text: str) -> int:
        """Send a frame, and return ns until the first bytes of an answer are here, which are left unread."""
        frame = text_frame(text.encode())
        send, receive = self.sockets[source], self.sockets[back]
        time.sleep(_SPACING_S)
        began = time.perf_counter_ns()
        send.sendall(frame)
        receive.recv(4_096, socket.MSG_PEEK)
        return time.perf_counter_ns() - began

    def echoed(self, name: str, text: str) -> int:
        """Return ns until a frame came back."""
        spent = self.spent(name, name, text)
        assert read_message(self.sockets[name]) == text.encode()
        return spent

    def measure(self, take: Callable[[], tuple[str, int]]) -> dict[str, list[float]]:
        """Return us of each kind, sorted: of the desk, of an echo with a commit, of a bare echo, frame by frame."""
        times: dict[str, list[float]] = {"desk": [], "commit": [], "echo": []}
        for number in range(_WARM + FRAMES):
            self.beat()
            text, spent = take()
            found = {"desk": spent, **{name: self.echoed(name, text) for name in ("commit", "echo")}}
            for name, one in found.items() if number >= _WARM else ():
                times[name].append(one / 1e3)
        return {name: sorted(one) for name, one in times.items()}


def main() -> None:
    """Serve until standard input ends."""
    peer = Peer()
    for serve in (peer.accept, peer.rest.serve_forever):
        threading.Thread(target=serve, daemon=True).start()
    print(json.dumps([peer.listener.getsockname()[1], peer.rest.server_address[1]]), flush=True)
    kinds = {"order": peer.quote_to_order, "hedge": peer.fill_to_hedge}
    while True:
        while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
            with suppress(ConnectionError):
                peer.idle()
        kind = sys.stdin.readline().strip()
        if not kind:
            return
        if kind == "order":
            peer.wake()
        times = peer.measure(kinds[kind])
        told = {name: [one[len(one) // 2], one[len(one) * 99 // 100]] for name, one in times.items()}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
