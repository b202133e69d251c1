"""What a script of orders comes to on this venue: the one place that says which engine plays it."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from hft_process import BUY, CANCEL, FOK, GTC, GTX, IOC, MARKET, MODIFY, SUBMIT, Action, Settings
from named_differences import Fill
from order_scripts import Ask, follow, script_of, with_rows
from tape import messages

from sim.compiled_run import CompiledRun
from sim.exchange import NEVER, Exchange, Seat
from sim.fill_records import fill_records
from sim.kernel import layout
from sim.latency import Latencies
from sim.rows import CLEAR, DEPTH, SNAPSHOT, TRADE, Rows
from sim.venue import SimVenue
from sim.venue_rules import VenueRules
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.book_sync import SequenceRule
from venues.model.fill import Liquidity
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import (
    BookDelta,
    BookSnapshot,
    CancelOrder,
    Command,
    ModifyOrder,
    OrderFilled,
    Report,
    SubmitOrder,
    Trade,
)

ME = "me"


def ours(rows: Rows, settings: Settings, script: Sequence[Action], balance: str = "1e15") -> list[Fill]:
    """Return the fills of `script` on this venue, in the order they happen."""
    spec = _instrument(settings)
    fees = FeeTable(FeeSchedule(Decimal(str(settings.maker_fee)), Decimal(str(settings.taker_fee))))
    rules = VenueRules("hftbacktest", keeps_place_on_decrease=True)
    account = Account(ME, "SIM", {"USDT": Decimal(balance)}, leverage={spec.id: 1})
    seat = Seat(SimVenue("SIM", [spec], [account], fees, rules), settings.entry_ns, settings.response_ns)
    exchange = Exchange({ME: seat}, {spec.id: (seat, SequenceRule.FUTURES)})
    for action in script:
        exchange.send(action.local_ns, _command(action, spec))
    said: list[Report] = []

    def until(ns: int) -> None:
        while exchange.next_ns() < ns:
            happened = exchange.happen()
            if happened is not None:
                said.append(happened[0])

    exchange.find_deadline()
    for ns, message in _messages(rows, spec.id):
        until(ns)
        exchange.on_market(ns, message)
    until(NEVER)
    return [
        Fill(
            int(fill.client_order_id),
            fill.ts,
            int(fill.price / spec.tick_size),
            int(fill.qty / spec.lot_size),
            fill.liquidity is Liquidity.MAKER,
            fill.reason.value,
            float(fill.fee),
        )
        for fill in said
        if isinstance(fill, OrderFilled)
    ]


def _instrument(settings: Settings) -> Instrument:
    brackets = (Bracket(Decimal(0), Decimal("1e15"), Decimal("0.004"), Decimal(0), 125),)
    sizes = Decimal(str(settings.tick)), Decimal(str(settings.lot))
    perpetual = InstrumentKind.PERPETUAL
    return Instrument("SIM", "X", perpetual, "BTC", "USDT", *sizes, max_leverage=125, brackets=brackets)


def _command(action: Action, spec: Instrument) -> Command:
    ids = (action.local_ns, ME, spec.id, str(action.id))
    if action.action == CANCEL:
        return CancelOrder(*ids)
    price, qty = spec.price(action.ticks), spec.lot_size * action.lots
    if action.action == MODIFY:
        return ModifyOrder(*ids, qty, price)
    side = Side.BUY if action.side == BUY else Side.SELL
    if action.type == MARKET:
        return SubmitOrder(*ids, side, qty, OrderType.MARKET)
    tif = {GTC: TimeInForce.GTC, GTX: TimeInForce.GTX, FOK: TimeInForce.FOK, IOC: TimeInForce.IOC}[action.tif]
    return SubmitOrder(*ids, side, qty, OrderType.LIMIT, price, tif)


def _messages(rows: Rows, instrument: str) -> Iterator[tuple[int, Report]]:
    number = 0
    for ns, message in messages(rows):
        number += message[0].kind != TRADE
        sides: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for line in message:
            if line.kind in (DEPTH, SNAPSHOT):
                sides[not line.is_buy].append((line.ticks, line.lots))
        first = message[0]
        if first.kind == TRADE:
            aggressor = Side.BUY if first.is_buy else Side.SELL
            yield ns, Trade(ns, instrument, number, first.ticks, first.lots, aggressor)
        elif first.kind == CLEAR:
            yield ns, BookSnapshot(ns, instrument, number, *sides)
        else:
            yield ns, BookDelta(ns, instrument, number, number, number - 1, *sides)


def compiled_ours(rows: Rows, settings: Settings, script: Sequence[Action]) -> list[Fill]:
    """Return the fills of `script` in the compiled run, which keeps a crossed tape's book where `ours` loses it."""
    spec = _instrument(settings)
    fees = FeeTable(FeeSchedule(Decimal(str(settings.maker_fee)), Decimal(str(settings.taker_fee))))
    rules = VenueRules("hftbacktest", keeps_place_on_decrease=True)
    account = Account(ME, "SIM", {"USDT": Decimal("1e15")}, leverage={spec.id: 1})
    latencies = Latencies.constant(settings.entry_ns, settings.response_ns)
    state = script_of([_ask(action) for action in script])
    run = CompiledRun([spec], account, fees, follow, state, rules, latencies=latencies, start_ns=0)
    told = fill_records(run.run([with_rows(rows, [])]), [spec], fees)
    return [
        Fill(
            fill.tag,
            fill.ns,
            int(fill.price / spec.tick_size),
            int(fill.qty / spec.lot_size),
            fill.liquidity is Liquidity.MAKER,
            fill.reason.value,
            float(fill.fee),
        )
        for fill in told
    ]


def _ask(action: Action) -> Ask:
    side = layout.BUY_SIDE if action.side == BUY else layout.SELL_SIDE
    flags = {GTC: 0, GTX: layout.POST_ONLY, FOK: layout.FILL_OR_KILL, IOC: layout.IMMEDIATE}[action.tif]
    ticks = action.ticks
    if action.action == SUBMIT and action.type == MARKET:
        ticks, flags = action.side * layout.NO_LIMIT, layout.IMMEDIATE
    return Ask(action.local_ns, action.action, action.id, side, ticks, action.lots, flags)
