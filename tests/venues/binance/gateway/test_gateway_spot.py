"""The gateway to the spot market: what of the port's contract is about orders, and money instead of positions."""

from decimal import Decimal

import pytest
import trio
from gateway_port import gateway_port
from port_contract import CASES, MONEY_STEP
from port_desk import PortDesk

from sim.emulator.host import HostSettings
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import (
    AccountReport,
    ModifyRejected,
    OrderCanceled,
    OrderRejected,
    OutcomeUnknown,
    QueryKind,
    RejectReason,
    SetLeverage,
)

SPOT_CASES = [
    "a_limit_order_rests_is_found_and_is_cancelled",
    "an_order_nobody_sent_is_not_found",
    "cancelling_what_never_was_is_refused",
    "cancelling_what_is_filled_is_refused",
    "of_two_cancels_one_is_refused",
    "a_cancel_on_the_heels_of_its_order_ends_it_or_is_refused",
    "a_limit_order_that_meets_the_book_takes_from_it",
    "what_immediate_orders_cannot_fill_ends",
    "a_post_only_order_never_takes",
    "an_unknown_instrument_is_refused",
    "a_client_id_is_taken_while_its_order_is_open",
]


def _run(play: object, *, by_rest: bool = False, is_session: bool = True) -> None:
    async def go() -> None:
        async with gateway_port(HostSettings(venue="spot"), by_rest=by_rest, is_session=is_session) as port:
            desk = PortDesk(port)
            await desk.begin()
            await play(desk)  # type: ignore[operator]

    trio.run(go)


@pytest.mark.parametrize("name", SPOT_CASES)
def test_spot_keeps_the_part_of_the_contract_that_is_about_orders(name: str) -> None:
    _run(CASES[name])


@pytest.mark.parametrize("name", SPOT_CASES[:3])
def test_spot_orders_by_rest_keep_the_contract(name: str) -> None:
    _run(CASES[name], by_rest=True, is_session=False)


async def _balances(desk: PortDesk) -> dict[str, Decimal]:
    balances = (await desk.ask(QueryKind.ACCOUNT)).balances
    assert balances is not None
    return balances


def test_money_and_coins_change_hands_as_the_fills_say() -> None:
    async def play(desk: PortDesk) -> None:
        spec, qty = desk.port.perp, await desk.size(3)
        before = await _balances(desk)
        fills = [*await desk.trade(Side.BUY, qty), *await desk.trade(Side.SELL, qty)]
        after = await _balances(desk)
        moved = {spec.base: ZERO, spec.quote: ZERO}
        for fill in fills:
            moved[spec.base] += fill.side.sign * fill.qty
            moved[spec.quote] -= fill.side.sign * fill.qty * fill.price
            moved[fill.fee_asset] -= fill.fee
        for asset, change in moved.items():
            assert abs(after[asset] - before[asset] - change) <= MONEY_STEP * len(fills)
        told: dict[str, Decimal] = {}
        for report in desk.all(AccountReport):
            told |= report.balances
        assert told.items() <= after.items()

    _run(play)


def test_orders_hold_money_and_do_not_move_it() -> None:
    async def play(desk: PortDesk) -> None:
        before = await _balances(desk)
        name = await desk.rest(Side.BUY, await desk.size(), await desk.far(Side.BUY))
        assert await _balances(desk) == before
        desk.cancel(name)
        await desk.first(OrderCanceled, name)

    _run(play)


def test_more_than_there_is_cannot_be_sold() -> None:
    async def play(desk: PortDesk) -> None:
        spec = desk.port.perp
        qty = spec.qty(spec.lots((await _balances(desk))[spec.base] // spec.lot_size * spec.lot_size) + 1)
        name = desk.submit(Side.SELL, qty, await desk.far(Side.SELL))
        assert (await desk.first(OrderRejected, name)).reason is RejectReason.INSUFFICIENT_BALANCE

    _run(play)


def test_what_spot_knows_nothing_of_is_said_so() -> None:
    async def play(desk: PortDesk) -> None:
        name = await desk.rest(Side.BUY, await desk.size(), await desk.far(Side.BUY))
        desk.modify(name, await desk.size(2), await desk.far(Side.BUY))
        assert (await desk.first(ModifyRejected, name)).reason is RejectReason.UNSUPPORTED
        reduce = desk.submit(Side.SELL, await desk.size(), reduce_only=True)
        assert (await desk.first(OrderRejected, reduce)).reason is RejectReason.UNSUPPORTED
        desk.send(SetLeverage(desk.port.now(), desk.port.account, desk.port.perp.id, 5))
        assert (await desk.first(OutcomeUnknown)).command == "SetLeverage"
        assert (await desk.ask(QueryKind.POSITIONS)).positions == ()

    _run(play)
