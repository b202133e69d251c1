"""What became of each basket: its legs at their average prices, what trading cost, what it earned."""

from collections.abc import Mapping
from decimal import Decimal

from attrs import frozen

from actors.atomic_executor import AtomicExecutor
from actors.basket import Basket, Leg
from actors.basket_cost import realised
from actors.cell import Cell
from actors.messages import BasketState
from venues.model.instrument import Instrument
from venues.model.money import ZERO


@frozen
class LegAccount:
    """Signed `qty` traded to open, and average prices of opening and closing, None for what did not happen."""

    instrument: str
    qty: Decimal
    opened_at: Decimal | None
    closed_at: Decimal | None


@frozen
class BasketAccount:
    """One basket with everything that took it off. Times are when it was asked for, ns UTC; money is quote money.

    `slippage` is what its prices cost against the mid prices when the orders were placed; `fees` are by asset.
    `result` is what buying and selling left after fees in quote money, before funding; None unless it is closed. What
    a venue took away counts at the price it took it for.
    """

    id: str
    strategy: str
    state: BasketState
    why: str
    opened_ns: int
    closed_ns: int | None
    legs: tuple[LegAccount, ...]
    slippage: Decimal
    fees: dict[str, Decimal]
    result: Decimal | None


def baskets_of(cell: Cell) -> list[BasketAccount]:
    """Return the baskets that the executor still remembers, oldest first, each with its closes."""
    found: list[BasketAccount] = []
    for actor in cell.dispatcher.actors.values():
        if isinstance(actor, AtomicExecutor):
            known = actor.state.baskets.values()
            closes = {basket.id: [one for one in known if one.closes == basket.id] for basket in known}
            found += [_account(one, closes[one.id], actor.instruments) for one in known if one.closes is None]
    return found


def _account(basket: Basket, closes: list[Basket], specs: Mapping[str, Instrument]) -> BasketAccount:
    parts = [basket, *closes]
    fees: dict[str, Decimal] = {}
    slippage = ZERO
    for leg in (leg for part in parts for leg in part.legs):
        slippage += leg.slippage(specs[leg.instrument])
        for asset, fee in leg.fees.items():
            fees[asset] = fees.get(asset, ZERO) + fee
    return BasketAccount(
        basket.id,
        basket.strategy,
        basket.state,
        basket.why,
        basket.planned_ns,
        closes[-1].planned_ns if closes else None,
        tuple(_leg(leg) for leg in basket.legs),
        slippage,
        fees,
        realised(basket, specs) if basket.state is BasketState.FLAT else None,
    )


def _leg(leg: Leg) -> LegAccount:
    back = leg.reduced + leg.taken + leg.closed
    cost = leg.reduced_cost + leg.taken_cost + leg.closed_cost
    return LegAccount(
        leg.instrument,
        leg.side.sign * leg.extended,
        leg.extended_cost / leg.extended if leg.extended else None,
        cost / back if back else None,
    )
