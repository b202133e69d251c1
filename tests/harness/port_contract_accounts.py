"""The part of the port's contract that is about accounts: modes, leverage, margin, timers, what can be asked."""

from decimal import Decimal

from port_contract import CASES, case
from port_desk import PortDesk

from venues.model.account import MarginMode, PositionMode
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import (
    AccountReport,
    AdjustIsolatedMargin,
    ArmDeadMan,
    DeadManArmed,
    OrderCanceled,
    OrderRejected,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    RejectReason,
    SetLeverage,
    SetMarginMode,
    SetPositionMode,
)

__all__ = ["CASES"]

_SECOND = 1_000_000_000


# Modes and leverage. The port has no refusal for them: what is said afterwards is what holds.


async def _leverage(desk: PortDesk, leverage: int) -> int | None:
    before = len(desk.all(PositionReport))
    desk.send(SetLeverage(desk.port.now(), desk.port.account, desk.port.perp.id, leverage))
    await desk.hear(
        lambda: any(one.leverage is not None for one in desk.all(PositionReport)[before:]), "what leverage holds"
    )
    return [one.leverage for one in desk.all(PositionReport)[before:] if one.leverage is not None][-1]


@case
async def leverage_is_what_was_chosen_or_stays(desk: PortDesk) -> None:
    chosen = desk.port.perp.max_leverage // 2
    assert await _leverage(desk, chosen) == chosen
    assert await _leverage(desk, desk.port.perp.max_leverage + 100) == chosen
    await desk.trade(Side.BUY, await desk.size())
    assert (await desk.positions())[PositionSide.BOTH].leverage == chosen


async def _position_mode(desk: PortDesk, mode: PositionMode) -> PositionMode | None:
    desk.send(SetPositionMode(desk.port.now(), desk.port.account, mode))
    return (await desk.ask(QueryKind.ACCOUNT)).position_mode


@case
async def hedge_mode_holds_both_sides(desk: PortDesk) -> None:
    assert await _position_mode(desk, PositionMode.HEDGE) is PositionMode.HEDGE
    qty = await desk.size()
    bought = await desk.trade(Side.BUY, qty, position_side=PositionSide.LONG)
    assert {fill.position_side for fill in bought} == {PositionSide.LONG}
    await desk.trade(Side.SELL, qty, position_side=PositionSide.SHORT)
    held = await desk.positions()
    assert {side: one.qty for side, one in held.items()} == {PositionSide.LONG: qty, PositionSide.SHORT: -qty}
    name = desk.submit(Side.SELL, qty)
    assert (await desk.first(OrderRejected, name)).reason is RejectReason.POSITION_SIDE
    # Not while something is held.
    assert await _position_mode(desk, PositionMode.ONE_WAY) is PositionMode.HEDGE
    await desk.trade(Side.SELL, qty, position_side=PositionSide.LONG)
    await desk.trade(Side.BUY, qty, position_side=PositionSide.SHORT)
    assert not await desk.positions()
    assert await _position_mode(desk, PositionMode.ONE_WAY) is PositionMode.ONE_WAY


@case
async def a_one_way_account_knows_no_sides(desk: PortDesk) -> None:
    name = desk.submit(Side.BUY, await desk.size(), position_side=PositionSide.LONG)
    assert (await desk.first(OrderRejected, name)).reason is RejectReason.POSITION_SIDE


def _set_margin_mode(desk: PortDesk, mode: MarginMode) -> None:
    desk.send(SetMarginMode(desk.port.now(), desk.port.account, desk.port.perp.id, mode))


@case
async def an_isolated_position_has_a_margin_of_its_own(desk: PortDesk) -> None:
    _set_margin_mode(desk, MarginMode.ISOLATED)
    await desk.trade(Side.BUY, await desk.size())
    held = (await desk.positions())[PositionSide.BOTH]
    assert held.margin_mode is MarginMode.ISOLATED
    before = held.liquidation_price or ZERO
    # Not while something is held.
    _set_margin_mode(desk, MarginMode.CROSS)
    assert (await desk.positions())[PositionSide.BOTH].margin_mode is MarginMode.ISOLATED
    amount = Decimal(5)
    desk.send(AdjustIsolatedMargin(desk.port.now(), desk.port.account, desk.port.perp.id, amount))
    await desk.first(AccountReport)
    for _ in range(20):
        after = (await desk.positions())[PositionSide.BOTH].liquidation_price or ZERO
        if after < before:
            return
        await desk.port.pass_time(_SECOND // 10)
    raise AssertionError(f"with {amount} more the liquidation price is still {after}, it was {before}")


# The dead man's switch


async def _armed(desk: PortDesk, timeout_ns: int) -> DeadManArmed:
    before = len(desk.all(DeadManArmed))
    desk.send(ArmDeadMan(desk.port.now(), desk.port.account, desk.port.perp.id, timeout_ns))
    await desk.hear(lambda: len(desk.all(DeadManArmed)) > before, "that the timer is set")
    return desk.all(DeadManArmed)[-1]


@case
async def the_dead_man_switch_cancels_what_rests(desk: PortDesk) -> None:
    name = await desk.rest(Side.BUY, await desk.size(), await desk.far(Side.BUY))
    assert (await _armed(desk, 2 * _SECOND)).timeout_ns == 2 * _SECOND
    assert not desk.all(OrderCanceled, name)
    await desk.port.pass_time(2 * _SECOND)
    await desk.first(OrderCanceled, name)
    assert not await desk.open_orders()


@case
async def a_disarmed_switch_leaves_what_rests(desk: PortDesk) -> None:
    name = await desk.rest(Side.BUY, await desk.size(), await desk.far(Side.BUY))
    await _armed(desk, 2 * _SECOND)
    assert (await _armed(desk, 0)).timeout_ns == 0
    await desk.port.pass_time(3 * _SECOND)
    assert name in await desk.open_orders()


# Asking


@case
async def a_book_is_sorted_and_not_crossed(desk: PortDesk) -> None:
    book = await desk.book()
    bids, asks = [ticks for ticks, _ in book.bids], [ticks for ticks, _ in book.asks]
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert bids[0] < asks[0]
    assert all(lots > 0 for _, lots in (*book.bids, *book.asks))


@case
async def income_and_funding_are_told_from_when_asked(desk: PortDesk) -> None:
    since = desk.port.now() - 30 * 86_400 * _SECOND
    incomes = (await desk.ask(QueryKind.INCOME, since_ns=since, instrument=None)).incomes
    keys = [(one.kind, one.income_id) for one in incomes]
    assert len(set(keys)) == len(keys)
    assert all(one.account == desk.port.account and one.ts >= since for one in incomes)
    rates = (await desk.ask(QueryKind.FUNDING_HISTORY, since_ns=since)).rates
    assert [one.ts for one in rates] == sorted(one.ts for one in rates)
    assert all(one.ts >= since and one.instrument == desk.port.perp.id for one in rates)


@case
async def a_question_about_nothing_fails(desk: PortDesk) -> None:
    for kind in (QueryKind.ORDER, QueryKind.FUNDING_HISTORY):
        instrument = desk.port.perp.id if kind is QueryKind.ORDER else None
        assert isinstance(await desk.answer(kind, instrument=instrument), QueryFailed)
    strange = f"{desk.port.perp.venue}:NOSUCHUSDT"
    assert isinstance(await desk.answer(QueryKind.POSITIONS, instrument=strange), QueryFailed)
    before = len(desk.all(QueryFailed))
    desk.send(Query(desk.port.now(), desk.port.account, desk.name(), QueryKind.BOOK, strange))
    await desk.hear(lambda: len(desk.all(QueryFailed)) > before, "that there is no such book")
