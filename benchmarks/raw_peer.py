"""A websocket peer made by hand over a blocking socket: what is measured against it is the client, not the peer."""

import base64
import hashlib
import select
import socket

CLOSE = 0x8
PING = 0x9
_PONG = 0xA


def text_frame(text: bytes) -> bytes:
    """Return a text message of 126 to 65535 bytes as a server sends it."""
    assert 126 <= len(text) < 65_536
    return b"\x81\x7e" + len(text).to_bytes(2) + text


def short_frame(text: bytes) -> bytes:
    """Return a text message of up to 125 bytes."""
    assert len(text) < 126
    return b"\x81" + bytes([len(text)]) + text


def close_frame() -> bytes:
    """Return a close with code 1001, going away, and no reason."""
    return bytes((0x80 | CLOSE, 2)) + (1001).to_bytes(2)


def shake_hands(peer: socket.socket) -> str:
    """Answer the handshake of a client and return what it asked for."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(4_096)
    lines = head.decode().split("\r\n")
    key = next(line.split(": ")[1] for line in lines if line.lower().startswith("sec-websocket-key"))
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    told = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    told.append(f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}")
    peer.sendall("\r\n".join([*told, "", ""]).encode())
    return lines[0].split(" ")[1]


def has_message(peer: socket.socket, wait_s: float) -> bool:
    """Return whether a message of a client begins within `wait_s`; pings before it are answered."""
    while select.select([peer], [], [], wait_s)[0]:
        if peer.recv(1, socket.MSG_PEEK)[:1] != bytes((0x80 | PING,)):
            return True
        answer_ping(peer, read_frame(peer)[1])
    return False


def read_message(peer: socket.socket) -> bytes:
    """Return the next message of a client, unmasked, answering pings before it; fragments are not expected.

    Raises ConnectionError when there will be none.
    """
    while True:
        kind, told = read_frame(peer)
        if kind == CLOSE:
            peer.sendall(close_frame())
            raise ConnectionError("the client closes")
        if kind != PING:
            return told
        answer_ping(peer, told)


def read_frame(peer: socket.socket) -> tuple[int, bytes]:
    """Return opcode and payload, unmasked, of a client's next frame. Raises ConnectionError at the stream's end."""
    head = _exactly(peer, 2)
    size = head[1] & 0x7F
    if size == 126:
        size = int.from_bytes(_exactly(peer, 2))
    mask, body = _exactly(peer, 4), _exactly(peer, size)
    return head[0] & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(body))


def answer_ping(peer: socket.socket, ping: bytes) -> None:
    """Send the pong of a ping's payload."""
    peer.sendall(bytes((0x80 | _PONG, len(ping))) + ping)


def _exactly(peer: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        more = peer.recv(count - len(got))
        if not more:
            raise ConnectionError("the client is gone")
        got += more
    return got
