"""How long a live desk takes from a frame to an order, with the journal's commit apart; and from a kill to its cancels.

The whole desk runs: feed handler, risk gate, order manager and all others hear what they hear live. A strategy answers
each frame with an order (`order`), or with a basket of two legs (`basket`). Beside it, in the same run, is measured
what nobody can do without: a bare commit of the same rows, and a hop through a trio channel with such a commit.

Two frames of four have the desk's time taken, the other two a bare commit's, made where the desk is about to commit: so
both come after the same work, which leaves SQLite's code and pages as cold to the one as to the other. A bare commit
right after the desk's own finds them warm; that is `bare_commit_again_us`.
"""

import socket
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any, cast

import trio
from attrs import define

from actors.cell import Cell
from actors.control import GuardStatus
from actors.dispatcher import Intent
from actors.messages import KillCommand, KillLevel, OrderRequest
from actors.strategies.base import Strategy, StrategyState
from daemon.app import build_actors
from daemon.config import parse
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.link.connection import Connection
from daemon.live.clock import MarketClock
from daemon.live.driver import LiveCell
from daemon.live.memory import set_aside
from daemon.log import RunLog
from daemon.log.canonical import intent_line
from daemon.log.journal import JournalWriter, Row, checksum
from daemon.metrics.edges import EdgeStats
from venues.model.money import desk_arithmetic
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    ArmDeadMan,
    BookDelta,
    BookSnapshot,
    CancelOrder,
    Command,
    DeadManArmed,
    MarkPrice,
    Message,
    OrderAccepted,
    OrderExpired,
    Query,
    QueryKind,
    QueryResult,
    Report,
    SubmitOrder,
    VenueUp,
)

_ROOT = Path(__file__).resolve().parents[1]
_PERP, _SPOT = "binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"
_START = 1_768_492_200_000_000_000
_FRAMES = 400
_WARM = 50
_PACED = 100
_CANCELS = 200
_BURST, _BURSTS = 10, 1_000


@define
class _State(StrategyState):
    asked: int = 0


class _Answer(Strategy):
    """Answers a new touch of the perpetual: with `orders` orders (legs 1), or with a basket (legs 2)."""

    publishes = (*Strategy.publishes, OrderRequest)  # type: ignore[assignment]
    State = _State
    legs = 1
    orders = 1
    rests = False

    def on_book(self, now: int, view: Any) -> None:
        if view.instrument != _PERP or self.state.is_stopping:
            return
        if self.legs == 1:
            for _ in range(self.orders):
                self._order(now, view.bid)
        elif self.book(_SPOT) is not None and not self.baskets:
            self.state.asked += 1
            qty = Decimal("0.010")
            self.open_basket(now, self.leg("spot", _SPOT, Side.BUY, qty), self.leg("futures", _PERP, Side.SELL, qty))

    def _order(self, now: int, bid: int) -> None:
        price = self.price(_PERP, bid - 100 - self.state.asked % 50)
        self.state.asked += 1
        tif = TimeInForce.GTC if self.rests else TimeInForce.IOC
        self.out.emit(
                OrderRequest(
                    now, f"o{self.state.asked}", self.name, "", "futures", _PERP, Side.BUY, Decimal("0.010"),
                    OrderType.LIMIT, price, tif,
                )
            )  # fmt: skip


def _config() -> RunConfig:
    text = (_ROOT / "configs" / "demo.toml").read_text(encoding="utf-8").partition("[[strategies]]")[0]
    text += (
        "[risk]\norders_per_window = 1000000\nopen_orders_max = 10000\nduplicate_window = '0s'\n"
        "gross_notional_max = '1000000000'\nexecutions_per_window = 1000000\n"
        "[risk.default]\nposition_notional_max = '100000000'\n"
    )
    return parse(text, _ROOT / "configs" / "demo.toml", KINDS)


class _Venue:
    """Answers like a venue that lets nothing trade, and notes when a command is handed over."""

    def __init__(self, config: RunConfig) -> None:
        self._balances = {account.id: dict(account.balances) for account in config.accounts.values()}
        self.handed_ns = 0
        self.handed = self.handed_orders = self.handed_cancels = 0
        self.back: list[Report] = []
        self.rests = False

    def send(self, commands: Sequence[Command]) -> list[Report]:
        self.handed_ns = perf_counter_ns()
        self.handed += len(commands)
        for command in commands:
            ids = command.account, getattr(command, "instrument", ""), getattr(command, "client_order_id", "")
            if isinstance(command, CancelOrder):
                self.handed_cancels += 1
            elif isinstance(command, SubmitOrder):
                self.handed_orders += 1
                self.back.append(OrderAccepted(command.ts, *ids, f"v{self.handed}"))
                if not self.rests:
                    self.back.append(OrderExpired(command.ts, *ids, Decimal(0)))
            elif isinstance(command, ArmDeadMan):
                self.back.append(DeadManArmed(command.ts, *ids[:2], command.timeout_ns))
            elif isinstance(command, Query) and command.kind is not QueryKind.BOOK:
                held = self._balances[command.account] if command.kind is QueryKind.ACCOUNT else None
                self.back.append(
                    QueryResult(command.ts, command.account, command.query_id, command.kind, balances=held)
                )
        return []


class _Log:
    """A run log that notes how long each commit took; `before_commit` runs once, before the next of them."""

    def __init__(self, log: RunLog) -> None:
        self._log = log
        self.commit_ns = 0
        self.before_commit: Callable[[], None] | None = None
        self.input, self.intents, self.sync, self.abandon = log.input, log.intents, log.sync, log.abandon

    def commit(self) -> None:
        before, self.before_commit = self.before_commit, None
        if before is not None:
            before()
        began = perf_counter_ns()
        self._log.commit()
        self.commit_ns += perf_counter_ns() - began


class _Bench:
    """A live desk behind a socket pair."""

    def __init__(self, folder: Path, *, legs: int, durable: bool, rests: bool = False, orders: int = 1) -> None:
        config = _config()
        strategy = type("Answer", (_Answer,), {"legs": legs, "rests": rests, "orders": orders})
        specs = dict(config.instruments)
        self.log = _Log(RunLog.create(folder / "log", "", "", "bench", _START, durable=durable))
        self.venue = _Venue(config)
        self.venue.rests = rests
        self.clock = MarketClock(_START, 0, 0)
        log = cast(RunLog, self.log)
        cell = Cell(lambda: [*build_actors(config), strategy(specs, name="answer")], sink=log)
        self.live = LiveCell(cell, log, self.clock, EdgeStats(), dict.fromkeys(config.accounts, self.venue.send))
        left, right = socket.socketpair()
        self.sender, self.reader = Connection(left), Connection(right)
        self.bare = JournalWriter(_folder(folder / "bare"), is_durable=True)
        self.bare_number = 0
        self.bare_row: Row = (0, 0, 0, "")
        self.bare_ns = 0
        self.prepare_bare_commit()
        self.number = 0
        self.update = 10
        self._begin()

    def _begin(self) -> None:
        self.live.start(_START, None)
        self._offer(GuardStatus(_START, is_up=True))
        self._offer(VenueUp(_START, "binance_usdm"), VenueUp(_START, "binance_spot"))
        self.settle()
        for step in range(4):
            self.clock.grant(_START + (step + 1) * 3_000_000_000)
            self._offer()
            self.settle()
        now = self.clock.now()
        self._offer(MarkPrice(now, _PERP, Decimal("60000.5")))
        cheap, dear = [(6_000_000 - one, 50_000_000) for one in range(10)], [(6_000_010, 50_000_000)]
        self._offer(BookSnapshot(now, _SPOT, 10, cheap, dear), BookDelta(now, _SPOT, 11, 11, -1, [], dear))
        bids, asks = [(600_000 - one, 50_000) for one in range(10)], [(600_001 + one, 50_000) for one in range(10)]
        self._offer(BookSnapshot(now, _PERP, 10, bids, asks))
        self.settle()
        # As a desk does before it trades.
        set_aside()

    def _offer(self, *messages: Message) -> None:
        self.live.offer(*messages)
        self.live.pump()

    def settle(self) -> None:
        """Hand back what the venue said until nothing more comes."""
        while self.venue.back:
            back, self.venue.back = self.venue.back, []
            self._offer(*back)

    def frame(self) -> Message:
        """A depth update that moves the touch of the perpetual."""
        self.number += 1
        self.clock.grant(self.clock.now() + 1_000_000)
        first, self.update = self.update + 1, self.update + 3
        up = self.number % 2
        bids = [(600_000, 0 if up else 40_000 + self.number)]
        return BookDelta(
            self.clock.now(), _PERP, first, self.update, first - 1, bids, [(600_001, 50_000 + self.number)]
        )

    def take(self) -> tuple[int, int]:
        """Receive what the socket holds and act on it; return ns to the hand-over, and ns of it in commits."""
        self.venue.handed_ns, self.log.commit_ns = 0, 0
        began = perf_counter_ns()
        self.live.offer(*self.reader.receive_ready())
        self.live.pump()
        return self.venue.handed_ns - began, self.log.commit_ns

    def take_with_bare_commit(self) -> int:
        """Act on what the socket holds, with a bare commit just before the desk's own; return ns of the bare one."""
        self.log.before_commit = self._bare_commit
        self.take()
        return self.bare_ns

    def bare_commit(self) -> int:
        """Commit one row of an intent's size with nothing around it; return ns."""
        self._bare_commit()
        self.prepare_bare_commit()
        return self.bare_ns

    def prepare_bare_commit(self) -> None:
        self.bare_number += 1
        number = self.bare_number
        order = SubmitOrder(_START, "futures", _PERP, f"bd-{number}", Side.BUY, Decimal("0.010"), price=Decimal(6))
        line = intent_line(Intent(10 * number, 2, 1, order))
        self.bare_row = (10 * number, number, checksum(line, number), line.decode())

    def _bare_commit(self) -> None:
        rows = [self.bare_row]
        began = perf_counter_ns()
        self.bare.write(rows)
        self.bare_ns = perf_counter_ns() - began

    def close(self) -> None:
        self.log.abandon()
        self.bare.close()
        self.sender.close()
        self.reader.close()


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _us(values: Sequence[int]) -> float:
    return median(values) / 1_000


def _back_to_back(*, legs: int, durable: bool, cooled: bool = False) -> dict[str, float]:
    """Frames as fast as they are answered; the bare commits have their turns, where commits are made at all.

    `cooled`: a desk without commits has a bare one before each frame, outside what is timed: what a processor that has
    waited for a disk makes of the same work.
    """
    name = "order" if legs == 1 else "basket"
    times: list[int] = []
    commits: list[int] = []
    bare: list[int] = []
    again: list[int] = []
    with TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), legs=legs, durable=durable)
        for number in range(_WARM + _FRAMES):
            bench.sender.send(bench.frame())
            if cooled:
                bench.bare_commit()
            if durable and number // 2 % 2:
                _note(bare, bench.take_with_bare_commit(), number)
                bench.prepare_bare_commit()
            else:
                whole, commit = bench.take()
                _note(times, whole, number)
                _note(commits, commit, number)
                if durable:
                    _note(again, bench.bare_commit(), number)
            bench.settle()
        bench.close()
    if not durable:
        return {f"{name}_{'after_a' if cooled else 'without'}_commit_us": _us(times)}
    return {
        f"{name}_us": _us(times),
        f"{name}_commit_us": _us(commits),
        "bare_commit_us": _us(bare),
        "bare_commit_again_us": _us(again),
        f"{name}_above_bare_us": _us([one - other for one, other in zip(times, bare, strict=True)]),
    }


def _note(values: list[int], value: int, number: int) -> None:
    if number >= _WARM:
        values.append(value)


async def _hop(receive: "trio.MemoryReceiveChannel[int]", bench: _Bench, into: list[int]) -> None:
    async for sent_ns in receive:
        bench.bare_commit()
        into.append(perf_counter_ns() - sent_ns)


async def _paced(spacing_s: float) -> tuple[float, float]:
    """Return us from frame to hand-over, and of a channel hop with a bare commit, in turns at this spacing."""
    times: list[int] = []
    hops: list[int] = []
    with TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), legs=1, durable=True)
        send, receive = trio.open_memory_channel[int](1)
        async with trio.open_nursery() as nursery, send:
            nursery.start_soon(_hop, receive, bench, hops)
            for _ in range(_PACED):
                await trio.sleep(spacing_s)
                bench.sender.send(bench.frame())
                whole, _ = bench.take()
                times.append(whole)
                bench.settle()
                await trio.sleep(spacing_s)
                await send.send(perf_counter_ns())
            await trio.sleep(spacing_s)
            nursery.cancel_scope.cancel()
        bench.close()
    return _us(times), _us(hops)


def _kill_to_cancels() -> float:
    """Return ms from a kill command to the last of 200 cancels handed over."""
    with TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), legs=1, rests=True, durable=True)
        while bench.venue.handed_orders < _CANCELS:
            bench.sender.send(bench.frame())
            bench.take()
            bench.settle()
        bench.venue.handed_cancels = 0
        began = perf_counter_ns()
        bench.live.offer(KillCommand(bench.clock.now(), "bench", KillLevel.CANCEL_ALL, "drill"))
        bench.live.pump()
        spent = bench.venue.handed_ns - began
        assert bench.venue.handed_cancels >= _CANCELS
        bench.close()
    return spent / 1e6


def _sustained() -> float:
    """Return orders a second when every frame asks for `_BURST`, each acknowledged and expired, all of it committed."""
    with TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), legs=1, durable=True, orders=_BURST)
        before = bench.venue.handed_orders
        began = perf_counter_ns()
        for _ in range(_BURSTS):
            bench.sender.send(bench.frame())
            bench.take()
            bench.settle()
        seconds = (perf_counter_ns() - began) / 1e9
        orders = bench.venue.handed_orders - before
        assert orders == _BURST * _BURSTS
        bench.close()
    return orders / seconds


async def _measure(repeats: int) -> dict[str, float]:
    rounds: list[dict[str, float]] = []
    for _ in range(repeats):
        one: dict[str, float] = {}
        for legs in (1, 2):
            one |= _back_to_back(legs=legs, durable=False) | _back_to_back(legs=legs, durable=True)
            one |= _back_to_back(legs=legs, durable=False, cooled=True)
        for spacing_ms in (1, 10):
            desk, hop = await _paced(spacing_ms / 1_000)
            one |= {f"paced_{spacing_ms}ms_us": desk, f"hop_{spacing_ms}ms_us": hop}
            one[f"paced_{spacing_ms}ms_ratio"] = desk / hop
        rounds.append(one)
    kills = sorted(_kill_to_cancels() for _ in range(max(20, 4 * repeats)))
    result = {name: median(one[name] for one in rounds) for name in rounds[0]}
    result["sustained_orders_per_s"] = median(_sustained() for _ in range(repeats))
    return result | {"kill_200_cancels_ms": median(kills), "kill_200_cancels_worst_ms": kills[-1]}


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians: us from a frame to its order with and without commits, and ms from a kill to 200 cancels."""
    with desk_arithmetic():
        return trio.run(_measure, repeats)
