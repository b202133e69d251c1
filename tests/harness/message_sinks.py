"""Servers on loopback that take what channels send: HTTP posts, and mails over SMTP with or without TLS."""

import base64
import http.server
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message as MailMessage
from typing import Any

from attrs import define, field


@define
class Posted:
    """What came: posts as (headers, JSON), and how the next ones are answered."""

    posts: list[tuple[dict[str, str], Any]] = field(factory=list)
    statuses: list[int] = field(factory=list)
    port: int = 0
    held: threading.Event = field(factory=threading.Event)
    hangs: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@contextmanager
def http_sink() -> Iterator[Posted]:
    """Serve in a thread; `statuses` answer the posts in order, then 200."""
    told = Posted()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.posts.append((dict(self.headers.items()), json.loads(body)))
            if told.hangs:
                told.held.wait(30)
            status = told.statuses.pop(0) if told.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with _serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        told.port = port
        try:
            yield told
        finally:
            told.held.set()


@define
class Mails:
    """What came: mails with the addresses of their envelope, and who logged in. `replies` replace an answer by verb."""

    mails: list[tuple[list[str], MailMessage]] = field(factory=list)
    logins: list[tuple[str, str]] = field(factory=list)
    replies: dict[str, str] = field(factory=dict)
    was_secure: list[bool] = field(factory=list)
    port: int = 0


@contextmanager
def smtp_sink(context: ssl.SSLContext | None = None) -> Iterator[Mails]:
    """Serve in a thread what of RFC 5321 a client needs; with `context` also STARTTLS, and AUTH PLAIN after it."""
    told = Mails()

    class Handler(socketserver.StreamRequestHandler):
        def say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

        def finish(self) -> None:
            super().finish()
            # The server closes what it accepted, not what became of it.
            self.request.close()

        def handle(self) -> None:
            self.say("220 sink")
            addresses: list[str] = []
            is_secure = False
            while line := self.rfile.readline():
                verb, _, rest = line.decode().strip().partition(" ")
                verb = verb.upper()
                if verb in told.replies:
                    self.say(told.replies[verb])
                elif verb == "EHLO":
                    offered = ["sink", *(["STARTTLS"] if context and not is_secure else []), "AUTH PLAIN"]
                    for one in offered[:-1]:
                        self.say(f"250-{one}")
                    self.say(f"250 {offered[-1]}")
                elif verb == "STARTTLS" and context is not None:
                    self.say("220 go on")
                    try:
                        self.request = context.wrap_socket(self.request, server_side=True)
                    except (ssl.SSLError, OSError):
                        return
                    self.setup()
                    is_secure = True
                elif verb == "AUTH":
                    _, user, password = base64.b64decode(rest.split()[1]).split(b"\0")
                    told.logins.append((user.decode(), password.decode()))
                    self.say("235 welcome")
                elif verb == "RCPT":
                    addresses.append(rest.partition("<")[2].partition(">")[0])
                    self.say("250 known")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines = []
                    while (text := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(text.removeprefix(b".") if text.startswith(b"..") else text)
                    told.mails.append((addresses, message_from_bytes(b"".join(lines))))
                    told.was_secure.append(is_secure)
                    addresses = []
                    self.say("250 taken")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with _serving(Server(("127.0.0.1", 0), Handler)) as port:
        told.port = port
        yield told


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
