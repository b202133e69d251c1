"""The venue of `soak_gateway`: numbered frames over blocking sockets, orders that expire, connections cut by order.

A process of its own, so that what it needs is not taken for what a gateway needs. It prints its ports, then obeys lines
on standard input: `close public`, `reset api`, `silence private`, `expire private`. Quotes, trades, depth updates and
balances are numbered without gaps, so that whoever reads them can tell what is missing.
"""

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle

from attrs import Factory, define

from benchmarks import raw_peer
from benchmarks.numbered_server import CLOSE, RESET, SILENCE
from benchmarks.raw_peer import answer_ping, close_frame, read_frame, shake_hands, short_frame, text_frame
from benchmarks.wire_venue import ASK, BID, SYMBOLS, Venue, now_ms, rest_server

EXPIRE = "expire"
CHANNELS = ("public", "market", "private", "api")

_TICK_S = 0.005
_SEND_S = 5.0
_BOOK_S = 0.1
_MARK_S = 1.0
_BALANCE_S = 0.05
# Of ten frames seven are quotes, as on a quiet day of the recordings.
_KINDS = cycle("qqtqqtqqqt")


@define
class Numbered:
    """Frames of a market that stands still but for its numbers."""

    venue: Venue
    quotes: dict[str, int] = Factory(lambda: dict.fromkeys(SYMBOLS, 0))
    trades: dict[str, int] = Factory(lambda: dict.fromkeys(SYMBOLS, 0))
    balances: int = 0

    def quote(self, symbol: str) -> str:
        self.quotes[symbol] += 1
        number, now = self.quotes[symbol], now_ms()
        return (
            f'{{"stream":"{symbol.lower()}@bookTicker","data":{{"e":"bookTicker","u":{number},"s":"{symbol}","b":"{BID}",'
            f'"B":"{1 + number % 9}.000","a":"{ASK}","A":"40.660","T":{now},"E":{now}}}}}'
        )

    def trade(self, symbol: str) -> str:
        self.trades[symbol] += 1
        number, now = self.trades[symbol], now_ms()
        return (
            f'{{"stream":"{symbol.lower()}@aggTrade","data":{{"e":"aggTrade","E":{now},"a":{number},"s":"{symbol}",'
            f'"p":"{BID}","q":"0.001","f":{number},"l":{number},"T":{now},"m":true}}}}'
        )

    def balance(self) -> str:
        """Return the event of a balance that is one more each time."""
        self.balances += 1
        now = now_ms()
        return (
            f'{{"e":"ACCOUNT_UPDATE","E":{now},"T":{now},"a":{{"m":"DEPOSIT","B":[{{"a":"USDT",'
            f'"wb":"{self.balances}","cw":"{self.balances}","bc":"1"}}],"P":[]}}}}'
        )


class SoakVenue:
    """Sends `rate` market frames a second to all who are connected, and answers orders and questions."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._frames = Numbered(Venue())
        self._open: dict[str, set[socket.socket]] = {name: set() for name in CHANNELS}
        self._lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.rest = rest_server(self._frames.venue)

    def accept(self) -> None:
        """Take whoever connects, for ever."""
        while True:
            one, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(one,), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        name = ""
        try:
            name = shake_hands(one).strip("/").split("/")[0]
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Of what is sent: a client that does not read ends its connection, not the run.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(_SEND_S), 0))
            with self._lock:
                self._open[name].add(one)
            while True:
                kind, told = read_frame(one)
                if one not in self._open[name]:
                    # It is cut: half-open connections answer nothing.
                    continue
                if kind == raw_peer.PING:
                    answer_ping(one, told)
                elif kind == raw_peer.CLOSE:
                    one.sendall(close_frame())
                    return
                elif name == "api":
                    self._answer(one, told)
        except OSError:
            return
        finally:
            with self._lock:
                self._open.get(name, set()).discard(one)
            one.close()

    def _answer(self, one: socket.socket, message: bytes) -> None:
        request = json.loads(message)
        venue, result = self._frames.venue, {}
        if request["method"] == "order.place":
            result = venue.take(request["params"])
            self._tell("private", [venue.event(result, "NEW")])
        reply = json.dumps({"id": request["id"], "status": 200, "result": result}).encode()
        with self._lock:
            if one in self._open["api"]:
                one.sendall(text_frame(reply) if len(reply) > 125 else short_frame(reply))
        if result:
            self._tell("private", [venue.expire(result)])

    def publish(self) -> None:
        """Send what is due by the clock, for ever."""
        began, sent = time.monotonic(), 0
        due = {self._books: 0.0, self._marks: 0.0, self._balance: 0.0}
        every = {self._books: _BOOK_S, self._marks: _MARK_S, self._balance: _BALANCE_S}
        symbols = cycle(SYMBOLS)
        while True:
            time.sleep(_TICK_S)
            now = time.monotonic() - began
            public, market = [], []
            for _ in range(int(now * self._rate) - sent):
                sent += 1
                symbol, kind = next(symbols), next(_KINDS)
                if kind == "q":
                    public.append(self._frames.quote(symbol))
                else:
                    market.append(self._frames.trade(symbol))
            self._tell("public", public)
            self._tell("market", market)
            for tell, at in due.items():
                if now >= at:
                    due[tell] = at + every[tell]
                    tell()

    def _books(self) -> None:
        self._tell("public", [self._frames.venue.depth(symbol) for symbol in SYMBOLS])

    def _marks(self) -> None:
        self._tell("market", [self._frames.venue.mark(symbol) for symbol in SYMBOLS])

    def _balance(self) -> None:
        self._tell("private", [self._frames.balance()])

    def _tell(self, name: str, texts: list[str]) -> None:
        data = b"".join(text_frame(text.encode()) for text in texts)
        with self._lock:
            for one in list(self._open[name]) if data else ():
                try:
                    one.sendall(data)
                except OSError:
                    self._open[name].discard(one)
                    one.close()

    def obey(self, line: str) -> None:
        """Cut whoever is connected to a channel, or let the key of a private one expire."""
        how, name = line.split()
        with self._lock:
            cut, self._open[name] = self._open[name], set() if how != EXPIRE else self._open[name]
            for one in cut:
                with suppress(OSError):
                    _CUTS[how](one)


def _reset(one: socket.socket) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The reading thread would keep it open.
    one.shutdown(socket.SHUT_RD)


def _expire(one: socket.socket) -> None:
    told = {"e": "listenKeyExpired", "E": now_ms(), "listenKey": "bench"}
    one.sendall(short_frame(json.dumps(told, separators=(",", ":")).encode()))


_CUTS: dict[str, Callable[[socket.socket], None]] = {
    CLOSE: lambda one: one.sendall(close_frame()),
    RESET: _reset,
    SILENCE: lambda _: None,
    EXPIRE: _expire,
}


def main() -> None:
    """Serve until standard input ends."""
    venue = SoakVenue(int(sys.argv[1]))
    for serve in (venue.accept, venue.rest.serve_forever, venue.publish):
        threading.Thread(target=serve, daemon=True).start()
    print(json.dumps([venue.listener.getsockname()[1], venue.rest.server_address[1]]), flush=True)
    for line in sys.stdin:
        venue.obey(line)


if __name__ == "__main__":
    main()
