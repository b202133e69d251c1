"""A run with a compiled strategy: blocks of rows through the compiled venue, money by the venue's exact rules.

The loop runs alone as long as its estimates are sure (`sim/kernel/guard.py`). It stops for what only the exact
account can decide: funding, settlement, an order near the limit of the margin, a mark near liquidation. Then every fill
so far is booked, the venue decides, and the loop goes on.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from math import ceil
from typing import Any

import numpy as np
from attrs import define, field, frozen
from attrs.validators import ge

from sim import margin
from sim.admission import check_funds, check_size
from sim.compiled_booking import SIDES, book_fills
from sim.core import KernelError
from sim.feed_latency import with_feed_latency
from sim.kernel import desk as codes
from sim.kernel import layout
from sim.kernel.desk import Desk, make_desk
from sim.kernel.entry import limit_of
from sim.kernel.feed import Feed
from sim.kernel.latency import CONSTANT, CUBIC, EXPONENTIAL, LATENCY, RECORDED
from sim.kernel.run import NEVER, announce, make_run, trigger
from sim.kernel.triggers import disarm
from sim.latency import Latencies, Latency, LatencyModel
from sim.rows import BUY as BUY_FLAG
from sim.rows import COLUMNS, FUNDING, MARK, PRICE_SCALE, RATE_SCALE, SETTLEMENT, Rows
from sim.venue import SimVenue
from sim.venue_order import VenueOrder
from sim.venue_rules import RefusedError, VenueRules
from sim.venue_state import Market
from venues.costs.fees import FeeBasis, FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.fill import FillReason
from venues.model.instrument import Instrument
from venues.model.money import ZERO, desk_arithmetic
from venues.model.order import OrderStatus, OrderType, PositionSide, Side
from venues.port import FundingRate, InstrumentState, MarkPrice, Report, SubmitOrder

_MODELS = {
    LatencyModel.CONSTANT: CONSTANT,
    LatencyModel.EXPONENTIAL: EXPONENTIAL,
    LatencyModel.CUBIC: CUBIC,
    LatencyModel.RECORDED: RECORDED,
}
REASONS = (
    FillReason.TAKER,
    FillReason.QUEUE,
    FillReason.THROUGH,
    FillReason.CROSSED,
    FillReason.AUCTION,
    FillReason.LIQUIDATION,
)
"""What the reasons in the fills' column `reason` mean."""
_BOOKED = ("ns", "side", "ticks", "lots", "liquidity")
_LOG = 1 << 17
_EVENTS = 1 << 12
_SLOTS = 64


class CompiledSetupError(ValueError):
    """Instruments or an account that a compiled run cannot carry; the message says which and why."""


@frozen
class CompiledResult:
    """What came of a run. `fills` is an array of layout.EVENT rows in the venue's order, prices in ticks; `reports` are
    funding, liquidations and other things the venue did by itself; `orders` counts what was sent, `rows` what was read.
    """

    fills: Any
    reports: list[Report]
    positions: dict[str, Decimal]
    balances: dict[str, Decimal]
    orders: int
    rows: int
    stops: int


@define(eq=False)
class CompiledRun:
    """One account at one venue, trading contracts of one settlement asset in cross margin, one-way.

    `decide` is a strategy as sim.kernel.run.make_run takes it, `state` its own array. `start_ns` is its first moment,
    by default the first row's whole second. Raises CompiledSetupError.
    """

    instruments: Sequence[Instrument]
    account: Account
    fees: FeeTable
    decide: Any
    state: Any
    rules: str | VenueRules = "binance_usdm"
    queue_model: str = "risk_averse"
    latencies: Latencies = field(factory=Latencies)
    seed: int = 0
    start_ns: int | None = None
    orders_max: int = field(default=1 << 12, validator=ge(_SLOTS + 1))
    _venue: SimVenue = field(init=False)
    _desk: Desk = field(init=False)
    _window: Rows = field(init=False, factory=lambda: Rows.empty(0))
    _fills: list[Any] = field(init=False, factory=list)
    _reports: list[Report] = field(init=False, factory=list)
    _stops: int = field(init=False, default=0)
    _rows: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        specs = tuple(self.instruments)
        if self.account.margin_mode is not MarginMode.CROSS or self.account.position_mode is not PositionMode.ONE_WAY:
            raise CompiledSetupError(f"account {self.account.id}: only cross margin and one-way positions")
        for spec in specs:
            if spec.is_spot:
                raise CompiledSetupError(f"{spec.id}: spot markets are for the desk's own actors")
            if spec.settle != specs[0].settle:
                raise CompiledSetupError(f"{spec.id}: settles in {spec.settle}, not in {specs[0].settle}")
        self._venue = venue = SimVenue(
            self.account.venue, specs, [self.account], self.fees, self.rules, self.queue_model, self.seed
        )
        core = venue.core
        core.kernel = layout.with_orders(core.kernel, self.orders_max)._replace(events=np.zeros(_EVENTS, layout.EVENT))
        core.orders += [None] * (self.orders_max - len(core.orders))
        for market in self._markets():
            # An instrument's position has its number.
            market.matcher.hold(self.account.id, PositionSide.BOTH, 0)
        desk = make_desk(
            len(specs), self.orders_max, len(core.kernel.positions), 4 * self.orders_max + 2 * _EVENTS,
            np.zeros(_LOG, layout.EVENT),
        )  # fmt: skip
        self._desk = set_latencies(desk, self.latencies)
        clock = self._desk.clock[0]
        conventions = venue.state.rules
        clock["seed"], clock["wakes_on"] = self.seed, 0
        clock["keeps_place"] = conventions.keeps_place_on_decrease
        clock["changes_armed"] = conventions.modifies_conditional
        core.kernel.instruments["protection"] = conventions.protection_ticks
        self._refresh_guard()

    def _markets(self) -> list[Market]:
        return list(self._venue.state.markets.values())

    @desk_arithmetic()
    def run(self, blocks: Iterable[Rows], source: str = "rows", is_synthetic: bool = False) -> CompiledResult:
        """Play all blocks, which come from `source`.

        Raises ZeroFeedLatencyError for rows that reach the desk as they happen unless `is_synthetic`, KernelError
        when more happened at one instant than can be told.
        """
        blocks = blocks if is_synthetic else with_feed_latency(blocks, source)
        following, desk, loop = iter(blocks), self._desk, make_run(self.decide)
        clock = desk.clock[0]
        is_last, until = not self._extend(following), NEVER
        if len(self._window):
            first = int(self._window.venue_ns[0])
            clock["wake"] = self.start_ns if self.start_ns is not None else first - first % 1_000_000_000
        while True:
            if is_last:
                until = self._end()
            why = loop(self._venue.core.kernel, desk, self._feed(), self.state, until, is_last)
            if why == codes.AT_TIME:
                break
            self._stops += 1
            if why == codes.NEED_ROWS:
                is_last = not self._extend(following)
            else:
                self._see_to(why)
        self._book()
        return self._result()

    def _feed(self) -> Feed:
        return Feed(**{name: getattr(self._window, name) for name in COLUMNS})

    def _end(self) -> int:
        rows = self._window
        return max(
            int(rows.venue_ns.max(initial=0)), int(rows.local_ns.max(initial=0)), int(self._desk.clock["now"][0])
        )

    def _extend(self, source: Iterator[Rows]) -> bool:
        """Let the window begin at the first row somebody still needs and have another block; False at the end."""
        clock = self._desk.clock[0]
        block = next(source, None)
        if block is None:
            return False
        start = int(min(clock["venue_row"], clock["local_row"]))
        left = self._window.slice(start, len(self._window))
        self._window = Rows.join([left, block]) if len(left) else block
        clock["venue_row"] -= start
        clock["local_row"] -= start
        self._rows += len(block)
        return True

    # What the loop stops for

    def _see_to(self, why: int) -> None:
        if why in (codes.NEED_ROOM, codes.NEED_DESK_ROOM):
            self._make_room(why == codes.NEED_DESK_ROOM)
        elif why == codes.LOG_FULL:
            self._book()
            if int(self._desk.clock["to_desk"][0]) > len(self._desk.to_desk) - _EVENTS:
                raise KernelError(f"more than {len(self._desk.to_desk) - _EVENTS} reports are under way")
        elif why == codes.FOR_HOST:
            self._take_row()
        elif why == codes.ASKS_HOST:
            self._judge()
        else:
            raise KernelError(f"more than {_EVENTS} things happened to orders at one instant")

    def _make_room(self, is_desk: bool) -> None:
        core, rows, clock = self._venue.core, self._window, self._desk.clock[0]
        row = int(clock["local_row" if is_desk else "venue_row"])
        side = 0 if rows.flags[row] & BUY_FLAG else 1
        core.room_for(4 * int(rows.instrument[row]) + 2 * is_desk + side, int(rows.ticks[row]))

    def _take_row(self) -> None:
        """Let the exact venue take a row, with its account as it is at this instant."""
        rows, clock = self._window, self._desk.clock[0]
        row = int(clock["venue_row"])
        index, now, kind, lots = int(rows.instrument[row]), int(rows.venue_ns[row]), int(rows.kind[row]), rows.lots[row]
        market, guard = self._markets()[index], self._desk.guard[index]
        self._book()
        adopted = self._adopt()
        before = self._venue.core.kernel.positions.copy()
        exact = Decimal(int(lots)) / PRICE_SCALE
        if kind == MARK:
            guard["raw_mark"], guard["latest"] = lots, codes.BY_MARK
            said = self._venue.on_market(now, MarkPrice(now, market.spec.id, exact))
        elif kind == FUNDING:
            mark = Decimal(int(rows.ticks[row])) / PRICE_SCALE if rows.ticks[row] else None
            said = self._venue.on_market(now, FundingRate(now, market.spec.id, Decimal(int(lots)) / RATE_SCALE, mark))
        elif kind == SETTLEMENT:
            guard["latest"], final = codes.BY_SETTLEMENT, bool(rows.flags[row] & BUY_FLAG)
            said = self._venue.settle(now, market.spec.id, exact, final)
            if final:
                guard["has_ended"], self._venue.core.kernel.instruments["is_open"][index] = 1, 0
        else:
            raise KernelError(f"row {row} of the block has kind {kind}, which a compiled run does not know")
        self._reports += said
        self._give_back(now, adopted)
        self._tell_positions(before)
        clock["venue_row"] += 1
        clock["venue_rows"] += 1
        self._refresh_guard()
        if kind == MARK:
            trigger(self._venue.core.kernel, self._desk, index, int(lots), True)

    def _judge(self) -> None:
        """Let the exact rules say whether the next message to the venue is one the account can carry."""
        core, desk, state = self._venue.core, self._desk, self._venue.state
        message = desk.to_venue[0]
        slot, kind = int(message["order"]), int(message["kind"])
        core.kernel.registers["now"] = state.now = int(message["at"])
        self._book()
        adopted = self._adopt()
        order = self._order(slot)
        market = state.markets[order.instrument]
        claims = margin.working(state, market, order.account)
        before = state.live.pop((order.account, order.id), None)
        limit = limit_of(core.kernel, slot, int(message["ticks"]), kind == codes.TO_MODIFY)
        order.lots, order.ticks = int(message["lots"]), _limit(int(limit))
        price = None if order.ticks is None else market.spec.price(order.ticks)
        if price is None and (best := market.matcher.best(order.side.opposite)) is not None:
            price = market.spec.price(best)
        try:
            if kind == codes.TO_SUBMIT:
                check_size(market.spec, order, market)
            if kind != codes.TO_SUBMIT or not core.kernel.orders["trigger"][slot]:
                check_funds(state, market, order, price, claims)
            refused = False
        except RefusedError:
            refused = True
        if before is not None:
            state.live[before.account, before.id] = before
        self._give_back(state.now, adopted)
        desk.clock["judged"], desk.clock["refused"] = message["number"], refused
        self._refresh_guard()

    # The exact account

    def _book(self) -> None:
        """Book every fill since last time, in order."""
        desk, state = self._desk, self._venue.state
        markets = self._markets()
        for market, kept, guard in zip(markets, self._venue.core.kernel.instruments, desk.guard, strict=True):
            market.state = InstrumentState.OPEN if kept["is_open"] else InstrumentState.HALT
            if kept["last_trade"] != layout.NO_BID:
                market.last_trade = int(kept["last_trade"])
            if guard["raw_mark"]:
                market.mark = Decimal(int(guard["raw_mark"])) / PRICE_SCALE
            if guard["latest"] == codes.BY_TRADE:
                market.latest = market.spec.price(int(kept["last_trade"]))
            elif guard["latest"] == codes.BY_MARK:
                market.latest = market.mark
        count = int(desk.clock["logged"][0])
        if not count:
            return
        fills = desk.log[:count].copy()
        desk.clock["logged"] = 0
        self._fills.append(fills)
        account = state.accounts[self.account.id]
        for index, market in enumerate(markets):
            mine = fills[fills["instrument"] == index]
            if len(mine):
                told = zip(*(mine[name].tolist() for name in _BOOKED), strict=True)
                spec, leverage = market.spec, Decimal(state.leverage(account, market.spec))
                book_fills(account, spec, self.fees.of(spec.id), leverage, told)

    def _shell(self, market: Market, slot: int, tag: int, side: Side) -> VenueOrder:
        name = f"{tag}/{slot}"
        command = SubmitOrder(self._venue.state.now, self.account.id, market.spec.id, name, side, ZERO, OrderType.LIMIT)
        return VenueOrder(command, name, side, PositionSide.BOTH, 0, slot=slot, status=OrderStatus.ACCEPTED)

    def _order(self, slot: int) -> VenueOrder:
        """Return an order of the loop as the venue's rules see orders."""
        found = self._venue.core.kernel.orders[slot]
        market = self._markets()[int(found["instrument"])]
        order = self._shell(market, slot, int(found["tag"]), SIDES[int(found["side"])])
        order.lots, order.cut, order.filled = int(found["lots"]), int(found["cut"]), int(found["filled"])
        order.ticks, order.sequence = _limit(int(found["ticks"])), int(found["sequence"])
        order.reduces = bool(found["flags"] & layout.REDUCES)
        return order

    def _adopt(self) -> dict[int, VenueOrder]:
        """Show the exact venue the loop's resting and waiting orders, by slot, in the order they came."""
        core, adopted = self._venue.core, {}
        orders = core.kernel.orders
        found = np.flatnonzero((orders["state"] == layout.RESTING) | (orders["state"] == layout.ARMED))
        for slot in found[np.argsort(orders["sequence"][found])].tolist():
            order = self._order(slot)
            order.armed = bool(orders["state"][slot] == layout.ARMED)
            order.resting = not order.armed
            adopted[slot] = order
            core.orders[slot] = order
            self._venue.state.live[order.account, order.id] = order
        return adopted

    def _give_back(self, now: int, adopted: dict[int, VenueOrder]) -> None:
        """Take the orders back; tell the desk of those the venue canceled."""
        core, state = self._venue.core, self._venue.state
        core.kernel.registers["now"] = now
        if len(core.kernel.orders) > len(self._desk.sent):
            # The venue's own orders needed slots.
            more = np.zeros(len(core.kernel.orders) - len(self._desk.sent), self._desk.sent.dtype)
            self._desk = self._desk._replace(sent=np.concatenate([self._desk.sent, more]))
        for slot, order in adopted.items():
            core.orders[slot] = None
            state.done.pop((order.account, order.id), None)
            if state.live.pop((order.account, order.id), None) is None:
                if core.kernel.orders["state"][slot] == layout.ARMED:
                    disarm(core.kernel, slot)
                announce(core.kernel, self._desk, layout.CANCELED, slot, 0)

    def _tell_positions(self, before: Any) -> None:
        """Tell the desk of positions that the venue itself has changed."""
        core, account = self._venue.core, self._venue.state.accounts[self.account.id]
        for index, market in enumerate(self._markets()):
            held = account.qty(market.spec.id, PositionSide.BOTH)
            lots = int(core.kernel.positions[index])
            if lots * market.spec.lot_size != held:
                raise KernelError(f"{market.spec.id}: the account holds {held}, the compiled venue {lots} lots")
            if lots != before[index]:
                announce(core.kernel, self._desk, layout.MOVED, index, lots - int(before[index]))

    def _refresh_guard(self) -> None:
        """Tell the loop how much is surely free."""
        desk, state = self._desk, self._venue.state
        account = state.accounts[self.account.id]
        base = account.account.balance(self._markets()[0].spec.settle)
        for index, market in enumerate(self._markets()):
            spec, guard, ledger = market.spec, desk.guard[index], desk.ledger[index]
            base -= account.holding(spec.id, PositionSide.BOTH).position.cost
            schedule = self.fees.of(spec.id)
            leverage = state.leverage(account, spec)
            guard["unit"] = float(spec.tick_size * spec.lot_size * spec.multiplier)
            guard["tick"] = float(spec.tick_size)
            guard["mark"] = float(market.mark / spec.tick_size) if market.mark is not None else 0.0
            # Without rates, or with more than rates to it, nothing is sure: everything goes to the exact rules.
            is_rated = bool(spec.brackets) and schedule.basis is FeeBasis.NOTIONAL
            is_rated = is_rated and not (state.rules.fee_to_close or state.rules.margin_call)
            guard["leverage"] = float(leverage) if is_rated else 0.0
            guard["mmr"] = float(max(row.mmr for row in spec.brackets)) if is_rated else float("inf")
            guard["fee"] = float(max(schedule.maker, schedule.taker, ZERO)) if is_rated else 1.0
            caps = [float(row.cap) for row in spec.brackets if row.max_leverage >= leverage]
            guard["cap"] = max(caps, default=0.0)
            guard["value_min"] = float(spec.min_notional)
            guard["lots_min"] = max(1, ceil(spec.min_qty / spec.lot_size))
            guard["lots_max"] = int(spec.max_qty / spec.lot_size) if spec.max_qty is not None else 1 << 53
            guard["cash"], guard["paid"] = ledger["cash"], ledger["maker"] + ledger["taker"]
        desk.clock["base"] = float(base)

    def _result(self) -> CompiledResult:
        account = self._venue.state.accounts[self.account.id]
        return CompiledResult(
            fills=np.concatenate([np.zeros(0, layout.EVENT), *self._fills]),
            reports=self._reports,
            positions={spec.id: account.qty(spec.id, PositionSide.BOTH) for spec in self.instruments},
            balances=dict(account.account.balances),
            orders=int(self._desk.clock["orders"][0]),
            rows=self._rows,
            stops=self._stops,
        )


def _limit(ticks: int) -> int | None:
    return None if abs(ticks) == layout.NO_LIMIT else ticks


def set_latencies(desk: Desk, latencies: Latencies) -> Desk:
    """Return the desk with these latencies."""
    models = np.zeros(4, LATENCY)
    table: list[tuple[int, int]] = []
    kinds: dict[int, Latency] = {
        codes.SUBMIT_LATENCY: latencies.submit,
        codes.CANCEL_LATENCY: latencies.cancel,
        codes.MODIFY_LATENCY: latencies.modify,
        codes.RESPONSE_LATENCY: latencies.response,
    }
    for row, latency in kinds.items():
        count = len(latency.recorded)
        models[row] = (_MODELS[latency.model], latency.base_ns, latency.spread_ns, len(table), count)
        table += latency.recorded
    recorded = np.array(table or [(0, 0)], np.int64)
    return desk._replace(latencies=models, recorded=recorded)
