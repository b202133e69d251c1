"""What a desk may rely on at any venue: the cases that the simulated venue and every gateway must pass alike.

`CASES` by name; each takes a PortDesk on a flat account without orders. Nothing is expected of the order of reports on
different things, nor that a report comes once only: a venue has several channels, and they are not in step.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal

from port_desk import PortDesk

from venues.model.fill import FillReason, Liquidity
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, PositionSide, Side, TimeInForce
from venues.port import (
    AccountReport,
    CancelAll,
    CancelRejected,
    ModifyRejected,
    OrderAccepted,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderModified,
    OrderRejected,
    PositionReport,
    QueryKind,
    RejectReason,
    SetLeverage,
)

Case = Callable[[PortDesk], Awaitable[None]]
CASES: dict[str, Case] = {}

MONEY_STEP = Decimal("0.00000001")
"""Venues keep money to eight places: sums of several fills may differ by as many steps."""


def case(made: Case) -> Case:
    """Enter a case of the contract."""
    name = made.__name__.removeprefix("_")
    assert name not in CASES
    CASES[name] = made
    return made


# Orders that rest


@case
async def a_limit_order_rests_is_found_and_is_cancelled(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.BUY)
    name = await desk.rest(Side.BUY, qty, price)
    venue_id = desk.all(OrderAccepted, name)[0].venue_order_id
    assert venue_id
    shown = (await desk.open_orders())[name]
    (asked,) = (await desk.ask(QueryKind.ORDER, name)).orders
    for found in (shown, asked):
        assert (found.side, found.qty, found.filled_qty, found.price) == (Side.BUY, qty, ZERO, price)
        assert (found.type, found.status) == (OrderType.LIMIT, OrderStatus.ACCEPTED)
        assert found.venue_order_id == venue_id
    desk.cancel(name)
    ended = await desk.ended(name)
    assert isinstance(ended, OrderCanceled)
    assert ended.filled_qty == ZERO
    assert name not in await desk.open_orders()
    (asked,) = (await desk.ask(QueryKind.ORDER, name)).orders
    assert asked.status is OrderStatus.CANCELED
    assert not desk.all(OrderFilled)


@case
async def an_order_nobody_sent_is_not_found(desk: PortDesk) -> None:
    assert (await desk.ask(QueryKind.ORDER, desk.name())).orders == ()


@case
async def cancelling_what_never_was_is_refused(desk: PortDesk) -> None:
    name = desk.name()
    desk.cancel(name)
    assert (await desk.first(CancelRejected, name)).reason is RejectReason.UNKNOWN_ORDER


@case
async def cancelling_what_is_filled_is_refused(desk: PortDesk) -> None:
    qty = await desk.size()
    await desk.trade(Side.BUY, qty)
    name = desk.all(OrderFilled)[0].client_order_id
    desk.cancel(name)
    assert (await desk.first(CancelRejected, name)).reason is RejectReason.UNKNOWN_ORDER
    assert not desk.all(OrderCanceled, name)


@case
async def of_two_cancels_one_is_refused(desk: PortDesk) -> None:
    name = await desk.rest(Side.BUY, await desk.size(), await desk.far(Side.BUY))
    desk.cancel(name)
    desk.cancel(name)
    await desk.first(OrderCanceled, name)
    await desk.first(CancelRejected, name)


@case
async def a_cancel_on_the_heels_of_its_order_ends_it_or_is_refused(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.SELL)
    name = desk.submit(Side.SELL, qty, price)
    desk.cancel(name)
    await desk.hear(lambda: desk.all(OrderCanceled, name) or desk.all(CancelRejected, name), "an answer to the cancel")
    if not desk.all(OrderCanceled, name):
        await desk.first(OrderAccepted, name)
        desk.cancel(name)
    await desk.first(OrderCanceled, name)
    assert name not in await desk.open_orders()


@case
async def cancel_all_ends_every_order_of_the_instrument(desk: PortDesk) -> None:
    qty = await desk.size()
    bid, ask = await desk.far(Side.BUY), await desk.far(Side.SELL)
    names = [await desk.rest(Side.BUY, qty, bid), await desk.rest(Side.SELL, qty, ask)]
    stop = desk.order(Side.SELL, qty, type=OrderType.STOP_MARKET, trigger_price=bid)
    desk.send(stop)
    await desk.first(OrderAccepted, stop.client_order_id)
    desk.send(CancelAll(desk.port.now(), desk.port.account, desk.port.perp.id))
    for name in (*names, stop.client_order_id):
        assert isinstance(await desk.ended(name), OrderCanceled)
    assert not await desk.open_orders()


# Orders that trade


@case
async def a_market_order_fills_and_everything_agrees(desk: PortDesk) -> None:
    spec, qty = desk.port.perp, await desk.size(2)
    began = desk.port.now()
    fills = await desk.trade(Side.BUY, qty)
    name = fills[0].client_order_id
    assert len({fill.trade_id for fill in fills}) == len(fills)
    for fill in fills:
        assert (fill.instrument, fill.side, fill.liquidity) == (spec.id, Side.BUY, Liquidity.TAKER)
        assert (fill.reason, fill.position_side) == (FillReason.TAKER, PositionSide.BOTH)
        assert fill.fee > ZERO
        assert fill.fee_asset == spec.settle
        spec.ticks(fill.price)
    await desk.last(PositionReport, lambda report: report.qty == qty)
    held = (await desk.positions())[PositionSide.BOTH]
    mean = sum(fill.price * fill.qty for fill in fills) / qty
    assert held.qty == qty
    assert held.entry_price is not None
    assert abs(held.entry_price - mean) <= spec.tick_size
    told = {(fill.trade_id, fill.price, fill.qty, fill.fee) for fill in fills}
    asked = (await desk.ask(QueryKind.FILLS, since_ns=began - 1_000_000_000)).fills
    ours = [fill for fill in asked if fill.venue_order_id == fills[0].venue_order_id]
    assert {(fill.trade_id, fill.price, fill.qty, fill.fee) for fill in ours} == told
    (order,) = (await desk.ask(QueryKind.ORDER, name)).orders
    assert (order.status, order.filled_qty) == (OrderStatus.FILLED, qty)
    wallet = await desk.wallet()
    await desk.last(AccountReport, lambda report: report.balances.get(spec.settle) == wallet)
    assert name not in await desk.open_orders()
    desk.assert_sure(name)


@case
async def a_round_trip_costs_what_its_fills_say(desk: PortDesk) -> None:
    qty, before = await desk.size(), await desk.wallet()
    bought = await desk.trade(Side.BUY, qty)
    sold = await desk.trade(Side.SELL, qty)
    cash = sum(fill.qty * fill.price * -fill.side.sign - fill.fee for fill in (*bought, *sold))
    assert abs(await desk.wallet() - before - cash) <= MONEY_STEP * (len(bought) + len(sold))
    assert not await desk.positions()


@case
async def a_limit_order_that_meets_the_book_takes_from_it(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.touch(Side.BUY)
    limit = desk.port.perp.price(desk.port.perp.ticks(price) * 101 // 100)
    name = desk.submit(Side.BUY, qty, limit)
    await desk.hear(lambda: desk.filled(name) == qty, f"{qty} filled")
    assert all(fill.price <= limit for fill in desk.all(OrderFilled, name))


@case
async def what_immediate_orders_cannot_fill_ends(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.BUY)
    for tif in (TimeInForce.IOC, TimeInForce.FOK):
        name = desk.submit(Side.BUY, qty, price, tif=tif)
        ended = await desk.ended(name)
        assert isinstance(ended, OrderExpired if tif is TimeInForce.IOC else OrderExpired | OrderRejected)
        assert isinstance(ended, OrderRejected) or ended.filled_qty == ZERO
        assert not desk.all(OrderFilled, name)
    assert not await desk.open_orders()


@case
async def a_post_only_order_never_takes(desk: PortDesk) -> None:
    qty = await desk.size()
    price = await desk.touch(Side.BUY)
    limit = desk.port.perp.price(desk.port.perp.ticks(price) * 101 // 100)
    name = desk.submit(Side.BUY, qty, limit, tif=TimeInForce.GTX)
    ended = await desk.ended(name)
    if isinstance(ended, OrderRejected):
        assert ended.reason is RejectReason.WOULD_TAKE
    else:
        assert isinstance(ended, OrderExpired)
        assert ended.filled_qty == ZERO
    assert not desk.all(OrderFilled, name)
    name = await desk.rest(Side.BUY, qty, await desk.far(Side.BUY), tif=TimeInForce.GTX)
    assert name in await desk.open_orders()


# Refusals: by reason


async def _refused(desk: PortDesk, name: str) -> OrderRejected:
    refused = await desk.first(OrderRejected, name)
    assert not desk.all(OrderFilled, name)
    assert name not in await desk.open_orders()
    desk.assert_sure(name)
    return refused


@case
async def orders_beyond_the_filters_are_refused(desk: PortDesk) -> None:
    spec, qty, price = desk.port.perp, await desk.size(), await desk.far(Side.BUY)
    table: list[tuple[Decimal, Decimal, set[RejectReason]]] = [
        (qty, price + spec.tick_size / 2, {RejectReason.OFF_TICK}),
        (qty + spec.lot_size / 2, price, {RejectReason.OFF_LOT}),
        (ZERO, price, {RejectReason.OFF_LOT, RejectReason.BELOW_MIN_QTY}),
        (qty, ZERO, {RejectReason.BAD_PRICE}),
    ]
    if spec.max_qty is not None:
        table.append((spec.max_qty + spec.lot_size, price, {RejectReason.ABOVE_MAX_QTY}))
    if spec.min_qty > spec.lot_size:
        table.append((spec.lot_size, price, {RejectReason.BELOW_MIN_QTY}))
    if spec.min_notional > spec.min_qty * price:
        table.append((max(spec.min_qty, spec.lot_size), price, {RejectReason.BELOW_MIN_NOTIONAL}))
    for wrong_qty, wrong_price, reasons in table:
        refused = await _refused(desk, desk.submit(Side.BUY, wrong_qty, wrong_price))
        assert refused.reason in reasons, refused


@case
async def an_unknown_instrument_is_refused(desk: PortDesk) -> None:
    order = desk.order(Side.BUY, Decimal(1), Decimal(100))
    order.instrument = f"{desk.port.perp.venue}:NOSUCHUSDT"
    desk.send(order)
    refused = await desk.first(OrderRejected, order.client_order_id)
    assert refused.reason is RejectReason.UNKNOWN_INSTRUMENT


@case
async def a_client_id_is_taken_while_its_order_is_open(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.BUY)
    name = await desk.rest(Side.BUY, qty, price)
    desk.submit(Side.BUY, qty, price, client_order_id=name)
    assert (await desk.first(OrderRejected, name)).reason is RejectReason.DUPLICATE_ID
    assert list(await desk.open_orders()) == [name]


@case
async def an_order_the_wallet_cannot_carry_is_refused(desk: PortDesk) -> None:
    spec, price = desk.port.perp, await desk.far(Side.BUY)
    desk.send(SetLeverage(desk.port.now(), desk.port.account, spec.id, 1))
    qty = spec.qty(int(2 * await desk.wallet() / price / spec.lot_size))
    refused = await _refused(desk, desk.submit(Side.BUY, qty, price))
    assert refused.reason in {RejectReason.INSUFFICIENT_MARGIN, RejectReason.LEVERAGE}, refused


@case
async def an_order_that_expired_before_it_came_is_refused(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.BUY)
    past = desk.port.now() - 1_000_000_000
    refused = await _refused(desk, desk.submit(Side.BUY, qty, price, tif=TimeInForce.GTD, expire_ns=past))
    assert refused.reason in {RejectReason.BAD_EXPIRY, RejectReason.OTHER}


# Changing


@case
async def a_changed_order_is_what_was_asked(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.BUY)
    name = await desk.rest(Side.BUY, qty, price)
    wanted = 2 * qty, price - desk.port.perp.tick_size
    desk.modify(name, *wanted)
    modified = await desk.first(OrderModified, name)
    assert (modified.qty, modified.price) == wanted
    shown = (await desk.open_orders())[name]
    assert (shown.qty, shown.price, shown.filled_qty) == (*wanted, ZERO)


@case
async def a_change_that_is_refused_leaves_the_order(desk: PortDesk) -> None:
    qty, price = await desk.size(), await desk.far(Side.BUY)
    name = await desk.rest(Side.BUY, qty, price)
    desk.modify(name, qty, price + desk.port.perp.tick_size / 2)
    assert (await desk.first(ModifyRejected, name)).reason is RejectReason.OFF_TICK
    shown = (await desk.open_orders())[name]
    assert (shown.qty, shown.price) == (qty, price)
    gone = desk.name()
    desk.modify(gone, qty, price)
    assert (await desk.first(ModifyRejected, gone)).reason is RejectReason.UNKNOWN_ORDER


@case
async def an_order_changed_into_the_book_trades(desk: PortDesk) -> None:
    qty, spec = await desk.size(), desk.port.perp
    name = await desk.rest(Side.BUY, qty, await desk.far(Side.BUY))
    limit = spec.price(spec.ticks(await desk.touch(Side.BUY)) * 101 // 100)
    desk.modify(name, qty, limit)
    await desk.hear(lambda: desk.filled(name) == qty, f"{qty} filled")
    assert name not in await desk.open_orders()


# Conditional orders


@case
async def a_stop_waits_and_can_be_cancelled(desk: PortDesk) -> None:
    qty, trigger = await desk.size(), await desk.far(Side.BUY)
    stop = desk.order(Side.SELL, qty, type=OrderType.STOP_MARKET, trigger_price=trigger)
    desk.send(stop)
    name = stop.client_order_id
    await desk.first(OrderAccepted, name)
    shown = (await desk.open_orders())[name]
    assert (shown.type, shown.qty, shown.filled_qty) == (OrderType.STOP_MARKET, qty, ZERO)
    desk.cancel(name)
    await desk.first(OrderCanceled, name)
    assert name not in await desk.open_orders()


@case
async def a_stop_that_would_trigger_at_once_is_refused(desk: PortDesk) -> None:
    stop = desk.order(Side.SELL, await desk.size(), type=OrderType.STOP_MARKET, trigger_price=await desk.far(Side.SELL))
    desk.send(stop)
    assert (await _refused(desk, stop.client_order_id)).reason is RejectReason.WOULD_TRIGGER


# Reduce-only


@case
async def reduce_only_without_a_position_is_refused(desk: PortDesk) -> None:
    name = desk.submit(Side.SELL, await desk.size(), reduce_only=True)
    assert (await _refused(desk, name)).reason is RejectReason.REDUCE_ONLY


@case
async def reduce_only_never_turns_a_position(desk: PortDesk) -> None:
    qty = await desk.size()
    await desk.trade(Side.BUY, qty)
    name = desk.submit(Side.SELL, 3 * qty, reduce_only=True)
    await desk.ended(name)
    assert desk.filled(name) in (qty, ZERO)
    if desk.filled(name):
        assert not await desk.positions()
    else:
        assert desk.all(OrderRejected, name)[0].reason is RejectReason.REDUCE_ONLY


@case
async def a_position_is_closed_by_reduce_only(desk: PortDesk) -> None:
    qty = await desk.size(2)
    await desk.trade(Side.SELL, qty)
    assert (await desk.positions())[PositionSide.BOTH].qty == -qty
    await desk.trade(Side.BUY, qty, reduce_only=True)
    await desk.last(PositionReport, lambda report: report.qty == ZERO)
    assert not await desk.positions()
