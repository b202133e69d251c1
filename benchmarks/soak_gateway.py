"""Whether a gateway can be left alone: a venue's frames for hours, connections cut once a minute, orders all the while.

The gateway runs in this process as `python -m daemon.gateway` makes it, with a client on its unix socket; the venue is
a process of its own (`soak_venue`). Cut are, in turn, the public, market, private and order connections: by closing, by
a reset, by silence, by the listen key's expiry. Held is: every number missing of quotes, trades, depth updates and
balances was announced by a VenueDown; every order is known to have ended, if only by asking; every cut connection is
replaced; memory does not grow, nor do tasks and descriptors.

    python -m benchmarks.soak_gateway --seconds 7200
"""

import json
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from attrs import Factory, asdict, define, field, frozen

from benchmarks.bench_wire import write_config
from benchmarks.held import Growth, Sample, SoakSettings, judge, parser, settings_of, watch
from benchmarks.numbered_server import CLOSE, RESET, SILENCE
from benchmarks.peer_process import running
from benchmarks.soak_venue import EXPIRE
from daemon.gateway.build import build_gateways
from daemon.gateway.server import Gateway, GatewayServer
from daemon.gateway.setup import load_keys, read_setup
from daemon.link.client import VenueLink
from daemon.link.frames import VenueWelcome
from daemon.live.sockets import listen
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    AccountReport,
    BookDelta,
    Message,
    OrderCanceled,
    OrderExpired,
    OrderRejected,
    Query,
    QueryKind,
    QueryResult,
    Quote,
    SubmitOrder,
    Trade,
    VenueDown,
)

_VENUE, _ACCOUNT = "binance_usdm", "futures"
_MARKET = "market"
_CUTS = (
    (CLOSE, "public"),
    (RESET, "private"),
    (SILENCE, "market"),
    (CLOSE, "api"),
    (EXPIRE, "private"),
    (RESET, "public"),
    (SILENCE, "private"),
    (CLOSE, "market"),
    (SILENCE, "api"),
    (SILENCE, "public"),
    (RESET, "market"),
    (CLOSE, "private"),
    (RESET, "api"),
)
_SOCKETS = {
    "public": ("", "books"),
    "market": ("", "trades"),
    "private": (_ACCOUNT, "events"),
    "api": (_ACCOUNT, "orders"),
}
_ORDER_S = 0.1
_DOUBT_NS = 5_000_000_000
"""An order without an end for so long is asked about."""

_OPEN_NS = 60_000_000_000
"""Nor does asking take so long, with a venue that answers."""

_SYMBOL = f"{_VENUE}:BTCUSDT"


@frozen
class SoakResult:
    """What a run came to; `missed` are numbers that never came, `broken` names every promise that was not kept."""

    seconds: float
    messages: int
    messages_per_s: float
    cuts: dict[str, int]
    opened: dict[str, int]
    downs: int
    missed: int
    orders: int
    asked: int
    growth: Growth
    broken: tuple[str, ...]


@define
class Client:
    """What hears the gateway, as a desk does, and holds it to its word."""

    messages: int = 0
    downs: int = 0
    missed: int = 0
    asked: int = 0
    orders: dict[str, int] = Factory(dict)
    broken: list[str] = Factory(list)
    _numbers: dict[str, int] = field(factory=dict)
    _excused: set[str] = field(factory=set)

    def latest_ns(self) -> int:
        return 0

    def welcomed(self, welcome: VenueWelcome) -> None:
        """Nothing to do with it: the gateway's time is ours."""

    def arrived(self, messages: Sequence[Message]) -> None:
        """Note what the gateway says."""
        self.messages += len(messages)
        for one in messages:
            match one:
                case Quote():
                    self._note(f"quotes of {one.instrument}", one.update_id - 1, one.update_id)
                case Trade():
                    self._note(f"trades of {one.instrument}", one.trade_id - 1, one.trade_id)
                case BookDelta():
                    self._note(f"depth of {one.instrument}", one.prev_id, one.last_id)
                case AccountReport() if "USDT" in one.balances:
                    number = int(one.balances["USDT"])
                    self._note("balances", number - 1, number)
                case VenueDown():
                    self.downs += 1
                    self._excuse(is_market=one.channel == _MARKET)
                case OrderExpired() | OrderCanceled() | OrderRejected():
                    self.orders.pop(one.client_order_id, None)
                case QueryResult(kind=QueryKind.ORDER):
                    for order in one.orders:
                        if order.status.is_terminal:
                            self.orders.pop(order.client_order_id, None)
                    if not one.orders:
                        self.orders.pop(one.query_id.partition("/")[2], None)
                case _:
                    pass

    def _note(self, stream: str, before: int, number: int) -> None:
        last = self._numbers.get(stream)
        if last is not None and before != last:
            if stream not in self._excused:
                self.broken.append(f"{stream}: {number} came after {last}, and nobody had said so")
            self.missed += max(0, before - last)
        self._excused.discard(stream)
        self._numbers[stream] = number

    def _excuse(self, *, is_market: bool) -> None:
        self._excused |= {one for one in self._numbers if (one != "balances") == is_market}


@define
class Soak:
    """One run against a venue process. Silence takes half a minute to be found: a short run goes without."""

    settings: SoakSettings
    client: Client = Factory(Client)
    samples: list[Sample] = Factory(list)
    cuts: dict[str, int] = Factory(lambda: dict.fromkeys(_SOCKETS, 0))
    opened: dict[str, int] = Factory(dict)
    sent: int = 0
    has_silence: bool = True
    gateway: Gateway = field(init=False)

    async def run(self) -> SoakResult:
        began = trio.current_time()
        with TemporaryDirectory() as name:
            async with running("benchmarks.soak_venue", str(self.settings.rate)) as (line, process):
                ws, rest = json.loads(line)
                await self._serve(write_config(Path(name), ws, rest, "order"), Path(name), process)
        return self._judge(trio.current_time() - began)

    async def _serve(self, config: Path, folder: Path, process: trio.Process) -> None:
        setup = read_setup(config)
        server = GatewayServer(tuple(setup.venues), setup.venue_of, lambda *_, **__: None)
        gateways = build_gateways(setup, load_keys(setup, folder / "credentials"), server, wants_market=True)
        self.gateway = gateways[_VENUE]
        path = folder / "gateway.sock"
        link = VenueLink(
            path, self.client, client="soak", wants_market=True, venue_of=lambda _: _VENUE, now=time.time_ns
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.run, listen(path), gateways)
            nursery.start_soon(link.run)
            nursery.start_soon(self._trade, link)
            nursery.start_soon(self._cut, process)
            nursery.start_soon(watch, self.samples, self.settings.sample_s, self._is_steady, self._so_far)
            await trio.sleep(self.settings.seconds)
            sockets = self.gateway.vitals.sockets
            self.opened = {channel: sockets[key].opened for channel, key in _SOCKETS.items()}
            nursery.cancel_scope.cancel()

    async def _trade(self, link: VenueLink) -> None:
        """Order all the while, and ask for what has not ended."""
        asked: dict[str, int] = {}
        for number in count(1):
            await trio.sleep(_ORDER_S)
            now = time.time_ns()
            name = f"s-{number}"
            self.client.orders[name] = now
            order = SubmitOrder(
                now, _ACCOUNT, _SYMBOL, name, Side.BUY, Decimal("0.010"), OrderType.LIMIT, Decimal("25340.1"),
                TimeInForce.IOC,
            )  # fmt: skip
            self.sent += 1
            self.client.arrived(link.send([order]))
            for open_one, sent_ns in self.client.orders.items():
                if now - max(sent_ns, asked.get(open_one, 0)) > _DOUBT_NS:
                    asked[open_one] = now
                    self.client.asked += 1
                    kind = QueryKind.ORDER
                    link.send([Query(now, _ACCOUNT, f"{number}/{open_one}", kind, _SYMBOL, open_one)])
            asked = {name: at for name, at in asked.items() if name in self.client.orders}

    async def _cut(self, process: trio.Process) -> None:
        assert process.stdin is not None
        for how, channel in cycle(_CUTS if self.has_silence else [one for one in _CUTS if one[0] != SILENCE]):
            await trio.sleep(self.settings.cut_s)
            self.cuts[channel] += 1
            await process.stdin.send_all(f"{how} {channel}\n".encode())

    def _is_steady(self) -> bool:
        return all(one.is_up for one in self.gateway.vitals.sockets.values())

    def _so_far(self) -> str:
        client, cuts = self.client, sum(self.cuts.values())
        return f"{client.messages:12,} messages {self.sent:8,} orders {len(client.orders):3} open {cuts:4} cuts"

    def _judge(self, seconds: float) -> SoakResult:
        client, growth = self.client, judge(self.samples, seconds)
        broken = [*client.broken[:10], *growth.broken]
        for channel, cuts in self.cuts.items():
            # The latest cut may not have been found yet when the run ends.
            if self.opened[channel] < cuts:
                broken.append(f"{channel} was cut {cuts} times and opened {self.opened[channel]} times")
        now = time.time_ns()
        forgotten = [name for name, at in client.orders.items() if now - at > _OPEN_NS]
        if forgotten:
            broken.append(f"of {len(forgotten)} orders nobody knows the end: {', '.join(forgotten[:5])}")
        if client.messages < self.settings.rate * seconds / 2:
            broken.append(f"{client.messages} messages in {seconds:.0f} s")
        return SoakResult(
            seconds,
            client.messages,
            client.messages / seconds,
            self.cuts,
            self.opened,
            client.downs,
            client.missed,
            self.sent,
            client.asked,
            growth,
            tuple(broken),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run for as long as asked; the result goes to standard output, a line for each broken promise to the error one."""
    known = parser(__doc__ or "")
    known.add_argument("--without-silence", action="store_true", help="leave out the cuts that take long to be found")
    told = known.parse_args(arguments)
    result = trio.run(Soak(settings_of(told), has_silence=not told.without_silence).run)
    print(json.dumps(asdict(result), indent=2))
    for why in result.broken:
        print(why, file=sys.stderr)
    return 1 if result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
