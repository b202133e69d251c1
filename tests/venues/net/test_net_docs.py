"""What docs/net.md shows runs."""

import re
import time
from pathlib import Path
from typing import Any

import trio
from raw_server import http_answer, raw_server, read_head
from socket_server import PATIENCE_S, socket_server
from websockets.trio.server import ServerConnection

import venues.net.errors
import venues.net.limits
import venues.net.rest
import venues.net.websocket
from venues.net.limits import CEILING_PERCENT, PoolRule, RatePools
from venues.net.websocket import SocketSettings

S = 1_000_000_000
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "net.md").read_text()


def shown(name: str, **given: Any) -> dict[str, Any]:
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```\n<!-- /{name} -->", PAGE, re.DOTALL)
    assert found is not None
    scope: dict[str, Any] = {"time": time, "S": S}
    for module in (venues.net.errors, venues.net.limits, venues.net.rest, venues.net.websocket):
        scope |= vars(module)
    scope |= given
    exec(found[1], scope)
    return scope


async def test_the_request():
    async def serve(stream: trio.SocketStream) -> None:
        head = await read_head(stream)
        assert head.startswith(b"DELETE /fapi/v1/order?symbol=BTCUSDT HTTP/1.1\r\n")
        await stream.send_all(http_answer(b'{"status":"CANCELED"}'))

    cancel = shown("ask", KEY="k", signed="symbol=BTCUSDT")["cancel"]
    async with raw_server(serve) as port:
        assert await cancel(f"http://127.0.0.1:{port}") == '200 {"status":"CANCELED"}'
    assert (await cancel(f"http://127.0.0.1:{port}")).startswith("the venue never saw it: connect")


async def test_the_stream():
    async def handle(connection: ServerConnection) -> None:
        assert "SUBSCRIBE" in str(await connection.recv())
        await connection.send("news")
        await trio.sleep_forever()

    limits = RatePools([PoolRule("connects", 300, 300 * S)])
    heard: list[bytes] = []
    come = trio.Event()

    def take(data: bytes) -> None:
        heard.append(data)
        come.set()

    watch = shown("stay", limits=limits)["watch"]
    async with socket_server(handle) as url, trio.open_nursery() as nursery:
        nursery.start_soon(watch, url, take)
        with trio.fail_after(PATIENCE_S):
            await come.wait()
        nursery.cancel_scope.cancel()
    assert heard == [b"news"]


def test_every_setting_is_told_with_its_default():
    told: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]+) \|", PAGE[PAGE.index("## Stay") :], re.M):
        told |= dict(zip(re.findall(r"\w+", names), [word.strip() for word in defaults.split(", ")], strict=True))
    words = {None: "none", False: "no", 23.5 * 3600: "23.5 h", 16 * 2**20: "16 MiB"}
    settings = SocketSettings()
    for name in SocketSettings.__attrs_attrs__:
        value = getattr(settings, name.name)
        assert told.get(name.name) == words.get(value, f"{value:g}" if value else str(value)), name.name


def test_every_class_is_told_with_its_share():
    told = dict(re.findall(r"^\| `([A-Z]+)` \| (\d+) % \|", PAGE, re.M))
    assert told == {priority.name: str(percent) for priority, percent in CEILING_PERCENT.items()}
