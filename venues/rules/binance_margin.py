"""Decides what Binance USDS-M asks as margin, and at which mark price a position is liquidated or bankrupt.

Sources: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (liquidation price), `GET /fapi/v1/leverageBracket` (brackets),
FAQ 360033525271 (liquidation protocols). Money is in the margin asset, prices in quote per base. Linear contracts only.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import product

from attrs import frozen

from venues.model.instrument import Bracket
from venues.model.money import ROUND_DOWN, ZERO
from venues.model.order import PositionSide

_ENTRY_QUANTUM = Decimal("1E-8")


class BracketTableError(ValueError):
    """A bracket table that contradicts itself; `index` is the first bad row, 0-based."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"bracket {index + 1}: {why}")
        self.index = index


class NotionalAboveTableError(ValueError):
    """A notional beyond the last bracket's cap: the venue allows no such position."""


class LiquidationInputError(ValueError):
    """Legs that one liquidation price cannot be asked for; the message names the field."""


def check_brackets(brackets: Sequence[Bracket]) -> None:
    """Refuse a table whose floors, rates or maintenance amounts do not follow from each other.

    cum_1 = 0 and cum_n = cum_{n-1} + floor_n x (mmr_n - mmr_{n-1}): this is what makes maintenance margin continuous.
    Raises BracketTableError naming the first bad row.
    """
    if not brackets:
        raise BracketTableError(0, "the table is empty")
    for index, row in enumerate(brackets):
        if not ZERO < row.mmr < 1:
            raise BracketTableError(index, f"mmr {row.mmr} is not between 0 and 1")
        if row.cap <= row.floor:
            raise BracketTableError(index, f"cap {row.cap} is not above floor {row.floor}")
        if row.max_leverage < 1:
            raise BracketTableError(index, f"max_leverage {row.max_leverage} is below 1")
        if index == 0:
            floor, cum = ZERO, ZERO
        else:
            before = brackets[index - 1]
            floor = before.cap
            cum = before.cum + row.floor * (row.mmr - before.mmr)
        if row.floor != floor:
            raise BracketTableError(index, f"floor {row.floor} does not continue at {floor}")
        if row.cum != cum:
            raise BracketTableError(index, f"cum {row.cum} should be {cum}")


def bracket_for(brackets: Sequence[Bracket], notional: Decimal) -> Bracket:
    """Return the bracket with floor < |notional| <= cap; zero is in the first. Raises NotionalAboveTableError."""
    size = abs(notional)
    for row in brackets:
        if size <= row.cap:
            return row
    raise NotionalAboveTableError(f"notional {size} is above the last cap {brackets[-1].cap}")


def _bracket_or_last(brackets: Sequence[Bracket], notional: Decimal) -> Bracket:
    for row in brackets:
        if notional <= row.cap:
            return row
    return brackets[-1]


def maintenance_margin(brackets: Sequence[Bracket], notional: Decimal) -> Decimal:
    """Return |notional| x mmr - cum of its bracket. Beyond the last cap the last bracket's rate goes on.

    A price may carry an existing position beyond the table; its margin must not vanish then.
    """
    size = abs(notional)
    row = _bracket_or_last(brackets, size)
    return size * row.mmr - row.cum


def initial_margin(
    position_notional: Decimal, bid_notional: Decimal, ask_notional: Decimal, leverage: int | Decimal
) -> Decimal:
    """Return the one-way initial margin with open orders: max(|pos + bids|, |pos - asks|) / leverage.

    `position_notional` is signed, the order notionals are not. Consistent with `bidNotional` and `askNotional` of
    `GET /fapi/v3/positionRisk`; the venue does not publish the formula.
    """
    return max(abs(position_notional + bid_notional), abs(position_notional - ask_notional)) / leverage


@frozen
class Leg:
    """One position of the contract in question: signed `qty` in base units."""

    side: PositionSide
    qty: Decimal
    entry_price: Decimal
    brackets: tuple[Bracket, ...]


def flat_rate(mmr: Decimal, cum: Decimal) -> tuple[Bracket, ...]:
    """Return a one-row table for a known rate and maintenance amount."""
    return (Bracket(ZERO, Decimal("Infinity"), mmr, cum, 1),)


def liquidation_price(
    wallet: Decimal, legs: Sequence[Leg], others_maintenance: Decimal = ZERO, others_pnl: Decimal = ZERO
) -> Decimal | None:
    """Return the mark price at which the balance equals the maintenance margin, None when no price does.

    `legs` holds the position (one-way, or isolated hedge), or the LONG and SHORT that share a cross wallet.
    `wallet` is the isolated wallet, or the cross wallet together with the maintenance margin and unrealised profit of
    the pool's other contracts. Entry prices are truncated at 8 decimals as the venue does. The bracket is the one of
    the notional at the liquidation price. Raises LiquidationInputError for legs that do not fit together.
    """
    _check_legs(legs)
    base = wallet - others_maintenance + others_pnl
    for leg in legs:
        base -= leg.qty * leg.entry_price.quantize(_ENTRY_QUANTUM, rounding=ROUND_DOWN)
    for rows in _bracket_guesses(legs):
        price = _solve(base, legs, rows)
        if price is None:
            continue
        at_price = [_bracket_or_last(leg.brackets, abs(leg.qty) * price) for leg in legs]
        if all(found is guess for found, guess in zip(at_price, rows, strict=True)):
            return price
        price = _solve(base, legs, at_price)
        if price is not None and at_price == [_bracket_or_last(leg.brackets, abs(leg.qty) * price) for leg in legs]:
            return price
    return None


def _check_legs(legs: Sequence[Leg]) -> None:
    if not 1 <= len(legs) <= 2:
        raise LiquidationInputError(f"positions: one contract has one or two legs, got {len(legs)}")
    sides = {leg.side for leg in legs}
    if len(legs) == 2 and sides != {PositionSide.LONG, PositionSide.SHORT}:
        raise LiquidationInputError("position_side: two legs must be LONG and SHORT")
    for leg in legs:
        if not leg.qty.is_finite() or not leg.qty:
            raise LiquidationInputError(f"qty: a leg needs a size, got {leg.qty}")
        if leg.entry_price <= ZERO:
            raise LiquidationInputError(f"entry_price: must be positive, got {leg.entry_price}")
        if (leg.side is PositionSide.LONG and leg.qty < ZERO) or (leg.side is PositionSide.SHORT and leg.qty > ZERO):
            raise LiquidationInputError(f"qty: {leg.qty} contradicts position_side {leg.side}")


def _bracket_guesses(legs: Sequence[Leg]) -> Iterator[tuple[Bracket, ...]]:
    yield tuple(_bracket_or_last(leg.brackets, abs(leg.qty) * leg.entry_price) for leg in legs)
    yield from product(*(leg.brackets for leg in legs))


def _solve(base: Decimal, legs: Sequence[Leg], rows: Sequence[Bracket]) -> Decimal | None:
    # base + sum(qty p) = sum(|qty| p mmr - cum), solved for p; a price that is not positive does not exist.
    slope = sum((abs(leg.qty) * row.mmr - leg.qty for leg, row in zip(legs, rows, strict=True)), ZERO)
    if not slope:
        return None
    price = (base + sum((row.cum for row in rows), ZERO)) / slope
    return price if price > ZERO else None


def bankruptcy_price(qty: Decimal, entry_price: Decimal, wallet: Decimal) -> Decimal:
    """Return the price at which a position of signed `qty` (base units) has eaten `wallet`."""
    if not qty:
        raise LiquidationInputError("qty: a flat position has no bankruptcy price")
    return entry_price - wallet / qty
