"""Scripts of orders of every type, for the compiled run and for the venue's own objects behind their commands."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

import numpy as np
from tape import messages

from sim.compiled_run import CompiledResult, CompiledRun
from sim.kernel import layout
from sim.kernel.compiled import compiled
from sim.kernel.desk import Desk
from sim.kernel.entry import WHOLE_POSITION
from sim.kernel.layout import Kernel
from sim.kernel.requests import ask_cancel, ask_modify, new_order, send
from sim.latency import Latencies
from sim.rows import (
    CLEAR,
    DEPTH,
    FUNDING,
    LAST,
    LOCAL,
    MARK,
    PRICE_SCALE,
    RATE_SCALE,
    STATUS,
    STATUSES,
    TRADE,
    VENUE,
    Rows,
)
from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce
from venues.port import (
    BookDelta,
    BookSnapshot,
    CancelOrder,
    Command,
    FundingRate,
    InstrumentState,
    InstrumentStatus,
    Liquidated,
    MarkPrice,
    ModifyOrder,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    Report,
    SubmitOrder,
    Trade,
)

D = Decimal
BRACKETS = (
    Bracket(D(0), D(1_000), D("0.01"), D(0), 50),
    Bracket(D(1_000), D(5_000), D("0.02"), D(10), 25),
    Bracket(D(5_000), D(10**12), D("0.05"), D(160), 10),
)
SPEC = Instrument(
    "V",
    "P",
    InstrumentKind.PERPETUAL,
    "P",
    "USDT",
    D("0.1"),
    D("0.1"),
    min_qty=D("0.2"),
    max_qty=D("3.5"),
    min_notional=D(25),
    max_leverage=50,
    brackets=BRACKETS,
    liquidation_fee=D("0.005"),
)
FEES = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))
ME = "me"

SUBMIT, CANCEL, CHANGE = range(3)


class Ask(NamedTuple):
    """What the client does at `ns`. Every field is a number, so that a script is an array; 0 is "none"."""

    ns: int
    what: int
    order: int
    side: int = layout.BUY_SIDE
    ticks: int = 0
    lots: int = 0
    flags: int = 0
    pricing: int = layout.PRICED
    trigger: int = layout.NOT_CONDITIONAL
    stop: int = 0
    on_mark: int = 0
    callback_bps: int = 0
    display: int = 0
    min_lots: int = 0
    stp: int = layout.STP_TRADE
    expire: int = 0


class Script(NamedTuple):
    """The asks as rows, the next of them, the slots by order, and (status, end, filled lots) as last looked at."""

    asks: Any
    cursor: Any
    slots: Any
    seen: Any


def script_of(asks: Sequence[Ask]) -> Script:
    count = 1 + max((ask.order for ask in asks), default=0)
    return Script(
        np.array(asks, np.int64).reshape(-1, len(Ask._fields)),
        np.zeros(1, np.int64),
        np.full(count, -1, np.int64),
        np.full((count, 3), -1, np.int64),
    )


@compiled
def follow(k: Kernel, d: Desk, state: Script) -> int:
    """Do every ask that is due and wake for the next."""
    now = d.clock[0].now
    while state.cursor[0] < len(state.asks) and state.asks[state.cursor[0], 0] <= now:
        ask = state.asks[state.cursor[0]]
        state.cursor[0] += 1
        slot = state.slots[ask[2]]
        if ask[1] == 0:
            slot = new_order(k, d, 0, ask[3], ask[4], ask[5], ask[6], ask[2])
            state.slots[ask[2]] = slot
            o = k.orders[slot]
            o.pricing, o.trigger, o.stop, o.watches_mark, o.callback_bps = ask[7], ask[8], ask[9], ask[10], ask[11]
            o.display, o.min_lots, o.stp, o.expire = ask[12], ask[13], ask[14], ask[15]
            send(k, d, slot)
        elif ask[1] == 1:
            ask_cancel(d, slot)
        else:
            ask_modify(d, slot, ask[4], ask[5])
    for order in range(len(state.slots)):
        if state.slots[order] >= 0:
            s = d.sent[state.slots[order]]
            state.seen[order, 0], state.seen[order, 1], state.seen[order, 2] = s.status, s.end, s.filled
    wake: int = now + 1_000_000
    if state.cursor[0] < len(state.asks):
        wake = state.asks[state.cursor[0], 0]
    return wake


# The market

Row = tuple[int, int, int, int]
"""Venue ns, kind, ticks, lots of a row that is a message of its own."""


def with_rows(rows: Rows, more: Sequence[Row]) -> Rows:
    """Return `rows` with further messages, each after what happens at its instant; the desk hears them as late.

    At the end a second passes in which nothing happens but a quantity told far from the market.
    """
    more = [*more, (int(rows.venue_ns[-1]) + 1_000_000_000, DEPTH, 2_000, 1)]
    extra = Rows.empty(len(more))
    for at, (ns, kind, ticks, lots) in enumerate(more):
        extra.kind[at], extra.flags[at] = kind, VENUE | LOCAL | LAST
        extra.venue_ns[at], extra.local_ns[at], extra.ticks[at], extra.lots[at] = ns, ns + 1_000_000, ticks, lots
    both = Rows.join([rows, extra])
    order = np.argsort(both.venue_ns, kind="stable")
    made = Rows(**{name: getattr(both, name)[order] for name in Rows.__annotations__})
    made.local_ns[:] = np.maximum.accumulate(made.local_ns)
    return made


def marks_and_halts(rows: Rows, seed: int, halts: int = 2, fundings: int = 2, spread: int = 60) -> list[Row]:
    """Return marks around tick 1,000 off the grid, halts that end, and funding, all at instants the rows have."""
    rng = Random(seed)
    ns = sorted(set(rows.venue_ns.tolist()))[2:]
    found: list[Row] = []
    for at in sorted(rng.sample(ns, len(ns) // 6)):
        mark = 100 * PRICE_SCALE + rng.randrange(-spread, spread) * PRICE_SCALE // 20
        found.append((at, MARK, 0, mark))
    for _ in range(halts):
        place = rng.randrange(len(ns) - 12)
        found.append((ns[place], STATUS, 0, STATUSES.index("halt")))
        found.append((ns[place + 1 + rng.randrange(10)], STATUS, 0, STATUSES.index("open")))
    rates = [rng.randrange(-50, 50) * RATE_SCALE // 10_000 for _ in range(fundings)]
    found += [(rng.choice(ns), FUNDING, 100 * PRICE_SCALE, rate) for rate in rates]
    return sorted(found, key=lambda row: row[0])


# The orders


def random_asks(rows: Rows, seed: int, count: int, rules: str) -> list[Ask]:
    """Return `count` asks at instants of the rows or near them; orders of every type, cancels and changes."""
    rng = Random(seed)
    ns = sorted(set(rows.venue_ns.tolist()))
    asks: list[Ask] = []
    orders = 0
    moments = (rng.choice(ns[1:-1]) + rng.choice((0, 0, rng.randrange(3_000_000))) for _ in range(count))
    for at in sorted(moments):
        what = rng.choice((SUBMIT, SUBMIT, SUBMIT, CANCEL, CHANGE)) if orders else SUBMIT
        if what == SUBMIT:
            asks.append(_order(rng, at, orders, rules))
            orders += 1
        else:
            meant = rng.randrange(max(0, orders - 6), orders)
            asks.append(Ask(at, what, meant, 0, rng.randrange(990, 1_011), rng.choice((1, 2, 4, 9, 30))))
    return sorted(asks, key=lambda ask: ask.ns)


def _order(rng: Random, at: int, number: int, rules: str) -> Ask:
    side = rng.randrange(2)
    sign = layout.NO_LIMIT if side == layout.BUY_SIDE else -layout.NO_LIMIT
    lots = rng.choice((1, 2, 3, 5, 8, 15, 30, 40))
    kind = rng.choice(("limit", "limit", "market", "protected", "to_limit", "stop", "stop_limit", "profit", "trailing"))
    ask = Ask(at, SUBMIT, number, side, rng.randrange(993, 1_008), lots)
    fields: dict[str, int] = {"stp": rng.choice((0, 0, 1, 2, 3))}
    tif = rng.choice((0, 0, 0, layout.POST_ONLY, layout.IMMEDIATE, layout.FILL_OR_KILL, -1))
    if kind in ("limit", "stop_limit"):
        if tif < 0:
            fields["expire"] = at + rng.choice((500_000, 5_000_000, 100_000_000, 1_000_000_000))
        else:
            fields["flags"] = tif
        if rng.random() < 0.3:
            fields["display"] = rng.choice((1, 2, 3))
    elif kind in ("protected", "to_limit"):
        fields["pricing"] = layout.PROTECTED if kind == "protected" else layout.TO_LIMIT
        fields["ticks"] = 0
    else:
        fields["ticks"], fields["flags"] = sign, layout.IMMEDIATE
    if kind in ("stop", "stop_limit", "profit"):
        fields["trigger"] = layout.TAKE_PROFIT if kind == "profit" else layout.STOP
        fields["stop"] = rng.randrange(993, 1_008)
        if kind == "stop" and rules == "cme" and rng.random() < 0.5:
            # Ten ticks of protection on Globex: what does not trade rests at the limit.
            fields["pricing"], fields["flags"] = layout.PROTECTED, 0
    if kind == "trailing":
        fields["trigger"], fields["callback_bps"] = layout.TRAILING, rng.choice((5, 20, 60))
        fields["stop"] = rng.choice((0, 0, rng.randrange(993, 1_008)))
    if "trigger" in fields:
        fields["on_mark"] = rng.randrange(2)
    if rng.random() < 0.15:
        fields["min_lots"] = rng.choice((2, 6))
    if rng.random() < 0.3:
        fields["flags"] = fields.get("flags", 0) | layout.REDUCES
        if rng.random() < 0.3:
            fields["lots"] = WHOLE_POSITION
    return ask._replace(**fields)


# What it comes to


class Played(NamedTuple):
    """`fills` are (ns, order, ticks, lots, liquidity, reason), `ends` event kinds and `filled` lots by order."""

    fills: list[tuple[int, int, int, int, str, str]]
    ends: dict[int, int]
    filled: dict[int, int]
    liquidated: list[tuple[int, Decimal, Decimal]]
    position: Decimal
    balances: dict[str, Decimal]


def account(balance: Decimal, leverage: int = 20) -> Account:
    return Account(ME, "V", {"USDT": balance}, leverage={SPEC.id: leverage})


def play_compiled(
    blocks: Sequence[Rows], asks: Sequence[Ask], who: Account, rules: str, latencies: Latencies, spec: Instrument = SPEC
) -> tuple[Played, CompiledResult]:
    script = script_of(asks)
    result = CompiledRun([spec], who, FEES, follow, script, rules, latencies=latencies, start_ns=0).run(blocks)
    reasons = ("taker", "queue", "through", "crossed", "auction", "liquidation")
    fills = [
        (ns, tag, ticks, lots, ("maker", "taker", "none")[liquidity], reasons[reason])
        for ns, _, _, _, ticks, lots, liquidity, reason, tag, _ in result.fills.tolist()
    ]
    seen = dict(enumerate(script.seen.tolist()))
    liquidated = [(r.ts, r.qty, r.price) for r in result.reports if isinstance(r, Liquidated)]
    return Played(
        fills,
        {order: end for order, (_, end, _) in seen.items() if end >= 0},
        {order: lots for order, (_, _, lots) in seen.items() if lots > 0},
        liquidated,
        result.positions[spec.id],
        result.balances,
    ), result


_ENDS = {OrderRejected: layout.REJECTED, OrderExpired: layout.EXPIRED, OrderCanceled: layout.CANCELED}


def play_host(
    rows: Rows, asks: Sequence[Ask], who: Account, rules: str, entry_ns: int, spec: Instrument = SPEC
) -> Played:
    """Let the venue's own objects take the market's messages and, behind `entry_ns`, the commands."""
    venue = SimVenue("V", [spec], [who], FEES, rules)
    due: list[tuple[int, int, Command]] = []
    for number, ask in enumerate(asks):
        heappush(due, (ask.ns + entry_ns, number, command_of(ask, spec)))
    said: list[Report] = []

    def until(ns: int) -> None:
        while True:
            deadline, first = venue.next_deadline(), due[0][0] if due else ns
            if deadline is not None and deadline <= first and deadline < ns:
                said.extend(venue.on_time(deadline))
            elif first < ns:
                at, _, command = heappop(due)
                said.extend(venue.on_command(at, command))
            else:
                return

    for ns, report in reports_of(rows, spec):
        until(ns)
        said.extend(venue.on_market(ns, report))
    until(int(rows.local_ns[-1]) + 1)
    return _played(said, venue, who, spec)


def _played(said: Sequence[Report], venue: SimVenue, who: Account, spec: Instrument) -> Played:
    played = Played([], {}, {}, [], sum((h.qty for h in venue.state.accounts[ME].open_holdings()), D(0)), who.balances)
    for report in said:
        if isinstance(report, Liquidated):
            played.liquidated.append((report.ts, report.qty, report.price))
        if isinstance(report, OrderFilled) and report.client_order_id.isdecimal():
            order, lots = int(report.client_order_id), spec.lots(report.qty)
            told = report.liquidity.value, report.reason.value
            played.fills.append((report.ts, order, spec.ticks(report.price), lots, *told))
            played.filled[order] = played.filled.get(order, 0) + lots
        elif (end := _ENDS.get(type(report))) is not None:
            played.ends[int(report.client_order_id)] = end  # type: ignore[attr-defined]
    for done in venue.state.done.values():
        if done.status is OrderStatus.FILLED and done.id.isdecimal():
            played.ends[int(done.id)] = layout.FILLED
    return played


def reports_of(rows: Rows, spec: Instrument) -> Iterator[tuple[int, Report]]:
    for ns, message in messages(rows):
        first = message[0]
        if first.kind == MARK:
            yield ns, MarkPrice(ns, spec.id, D(first.lots) / PRICE_SCALE)
        elif first.kind == FUNDING:
            yield ns, FundingRate(ns, spec.id, D(first.lots) / RATE_SCALE, D(first.ticks) / PRICE_SCALE)
        elif first.kind == STATUS:
            yield ns, InstrumentStatus(ns, spec.id, InstrumentState(STATUSES[first.lots]))
        elif first.kind == TRADE:
            yield ns, Trade(ns, spec.id, 1, first.ticks, first.lots, Side.BUY if first.is_buy else Side.SELL)
        else:
            levels = [line for line in message if line.kind != CLEAR]
            bids, asks = ([(x.ticks, x.lots) for x in levels if x.is_buy is is_bid] for is_bid in (True, False))
            is_whole = first.kind != DEPTH
            yield (
                ns,
                BookSnapshot(ns, spec.id, 1, bids, asks) if is_whole else BookDelta(ns, spec.id, 1, 1, 0, bids, asks),
            )


_TIFS = {
    0: TimeInForce.GTC,
    layout.POST_ONLY: TimeInForce.GTX,
    layout.IMMEDIATE: TimeInForce.IOC,
    layout.FILL_OR_KILL: TimeInForce.FOK,
}
_POLICIES = (None, "expire_taker", "expire_maker", "expire_both")


def command_of(ask: Ask, spec: Instrument) -> Command:
    ids = (ask.ns, ME, spec.id, str(ask.order))
    if ask.what == CANCEL:
        return CancelOrder(*ids)
    if ask.what == CHANGE:
        return ModifyOrder(*ids, spec.qty(ask.lots), spec.price(ask.ticks))
    kind = _type_of(ask)
    is_priced = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    is_stop = ask.trigger in (layout.STOP, layout.TAKE_PROFIT)
    whole = ask.lots == WHOLE_POSITION
    tif = TimeInForce.GTD if ask.expire else _TIFS[ask.flags & (4 | 8 | 16)] if is_priced else TimeInForce.GTC
    return SubmitOrder(
        *ids,
        Side.BUY if ask.side == layout.BUY_SIDE else Side.SELL,
        D(0) if whole else spec.qty(ask.lots),
        kind,
        spec.price(ask.ticks) if is_priced else None,
        tif,
        reduce_only=bool(ask.flags & layout.REDUCES) and not whole,
        close_position=whole,
        trigger_price=spec.price(ask.stop) if is_stop else None,
        trigger_on_mark=bool(ask.on_mark),
        expire_ns=ask.expire or None,
        min_qty=spec.qty(ask.min_lots) if ask.min_lots else None,
        display_qty=spec.qty(ask.display) if ask.display else None,
        protection_points=10 if kind is OrderType.STOP_MARKET and ask.pricing == layout.PROTECTED else None,
        callback_rate=D(ask.callback_bps) / 10_000 if ask.callback_bps else None,
        activation_price=spec.price(ask.stop) if ask.trigger == layout.TRAILING and ask.stop else None,
        stp=_POLICIES[ask.stp],
    )


def _type_of(ask: Ask) -> OrderType:
    if ask.trigger == layout.TRAILING:
        return OrderType.TRAILING_STOP
    if ask.trigger == layout.TAKE_PROFIT:
        return OrderType.TAKE_PROFIT_MARKET
    if ask.trigger == layout.STOP:
        is_market = ask.pricing == layout.PROTECTED or abs(ask.ticks) == layout.NO_LIMIT
        return OrderType.STOP_MARKET if is_market else OrderType.STOP_LIMIT
    if ask.pricing != layout.PRICED:
        is_protected = ask.pricing == layout.PROTECTED
        return OrderType.MARKET_WITH_PROTECTION if is_protected else OrderType.MARKET_TO_LIMIT
    return OrderType.MARKET if abs(ask.ticks) == layout.NO_LIMIT else OrderType.LIMIT
