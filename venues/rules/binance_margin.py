"""Decides what Binance USDS-M asks as margin, and at which mark price a position is liquidated or bankrupt.

Sources: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (liquidation price), `GET /fapi/v1/leverageBracket` (brackets),
FAQ 360033525271 (liquidation protocols). Money is in the margin asset, prices in quote per base. Linear contracts only.
"""

from collections.abc import Sequence
from decimal import Decimal

from attrs import Attribute, field, frozen

from venues.model.instrument import Bracket
from venues.model.money import ONE, ROUND_DOWN, ROUND_UP, ZERO
from venues.model.order import PositionSide
from venues.rules import checks
from venues.rules.balance_root import Exposure, root
from venues.rules.brackets import (
    BracketTableError,
    NotionalAboveTableError,
    bracket_for,
    bracket_number,
    check_brackets,
    flat_rate,
    maintenance_margin,
)
from venues.rules.errors import BadValueError, UnknownProductError

__all__ = [
    "BracketTableError",
    "Leg",
    "LiquidationInputError",
    "NotionalAboveTableError",
    "PoolPosition",
    "bankruptcy_price",
    "bracket_for",
    "bracket_number",
    "check_brackets",
    "check_legs",
    "cross_liquidation_price",
    "flat_rate",
    "initial_margin",
    "larger_side",
    "liquidation_price",
    "maintenance_margin",
    "position_initial_margin",
    "truncated_entry",
    "unrealized_pnl",
]

_QUANTUM = Decimal("1E-8")


class LiquidationInputError(BadValueError):
    """Legs that one liquidation price cannot be asked for."""


def truncated_entry(entry_price: Decimal) -> Decimal:
    """Return the entry price with the eight decimals that the venue calculates with; positive, below `checks.LIMIT`."""
    return entry_price.quantize(_QUANTUM, ROUND_DOWN)


def larger_side(position: Decimal, bids: Decimal, asks: Decimal) -> Decimal:
    """Return max(|position + bids|, |position - asks|): what a signed position is at most once its orders fill.

    In the unit of the arguments; `bids` and `asks` are not signed.
    """
    return max(abs(position + bids), abs(position - asks))


def initial_margin(
    position_notional: Decimal, bid_notional: Decimal, ask_notional: Decimal, leverage: int | Decimal
) -> Decimal:
    """Return the one-way initial margin with open orders: max(|pos + bids|, |pos - asks|) / leverage.

    `position_notional` is signed, the order notionals are not. Consistent with `bidNotional` and `askNotional` of
    `GET /fapi/v3/positionRisk`; the venue does not publish the formula (`open_orders.py` has the alternatives).
    """
    return larger_side(position_notional, bid_notional, ask_notional) / leverage


def position_initial_margin(notional: Decimal, leverage: Decimal) -> Decimal:
    """Return the initial margin of |notional| as the account endpoint reports it, eight decimals.

    The rate 1/leverage is rounded up at eight decimals and the product truncated there: recorded account responses.
    Raises BadValueError.
    """
    size = abs(checks.finite(notional, "notional"))
    rate = (ONE / checks.leverage(leverage, "leverage")).quantize(_QUANTUM, ROUND_UP)
    return (size * rate).quantize(_QUANTUM, ROUND_DOWN)


def unrealized_pnl(qty: Decimal, entry_price: Decimal, mark_price: Decimal) -> Decimal:
    """Return the profit of signed `qty` (base units) at the mark price, from the truncated entry. Not rounded.

    Raises BadValueError.
    """
    entry = truncated_entry(checks.positive(entry_price, "entry_price"))
    return checks.finite(qty, "qty") * (checks.positive(mark_price, "mark_price") - entry)


@frozen
class Leg:
    """One position of the contract in question: signed `qty` in base units."""

    side: PositionSide
    qty: Decimal
    entry_price: Decimal
    brackets: tuple[Bracket, ...]


def liquidation_price(
    wallet: Decimal, legs: Sequence[Leg], others_maintenance: Decimal = ZERO, others_pnl: Decimal = ZERO
) -> Decimal | None:
    """Return the mark price at which the balance equals the maintenance margin, None when no price does.

    `legs` holds the position (one-way, or isolated hedge), or the LONG and SHORT that share a cross wallet.
    `wallet` is the isolated wallet, or the cross wallet; the maintenance margin and unrealised profit of the pool's
    other contracts are apart. Entry prices are truncated at 8 decimals as the venue does. The bracket is the one of
    the notional at the liquidation price, for each leg its own. Raises LiquidationInputError for legs that do not fit
    together, BadValueError for numbers that cannot be.
    """
    check_legs(legs)
    base = wallet - others_maintenance + others_pnl
    if not base.is_finite():
        raise LiquidationInputError("wallet", f"wallet and other contracts must be finite, got {base}")
    exposures = []
    for leg in legs:
        base -= leg.qty * truncated_entry(leg.entry_price)
        exposures.append(Exposure(leg.qty, leg.brackets, leg.entry_price))
    return root(base, exposures)


def check_legs(legs: Sequence[Leg]) -> None:
    """Raise LiquidationInputError for legs that do not fit together: number, sides, sizes, entry prices, tables."""
    if len(legs) != 1:
        if len(legs) != 2:
            raise LiquidationInputError("positions", f"one contract has one or two legs, got {len(legs)}")
        if {leg.side for leg in legs} != {PositionSide.LONG, PositionSide.SHORT}:
            raise LiquidationInputError("position_side", "two legs must be LONG and SHORT")
    for leg in legs:
        if not leg.qty.is_finite() or not leg.qty:
            raise LiquidationInputError("qty", f"a leg needs a size, got {leg.qty}")
        if not leg.entry_price.is_finite() or not ZERO < leg.entry_price < checks.LIMIT:
            raise LiquidationInputError("entry_price", f"must be positive, got {leg.entry_price}")
        if not leg.brackets:
            raise LiquidationInputError("brackets", "the table is empty")
        _check_side(leg.side, leg.qty)


def _check_side(side: PositionSide, qty: Decimal) -> None:
    if (side is PositionSide.LONG and qty < ZERO) or (side is PositionSide.SHORT and qty > ZERO):
        raise LiquidationInputError("qty", f"{qty} contradicts position_side {side}")


def _positive_field(_: object, attribute: "Attribute[Decimal]", value: Decimal | None) -> None:
    if value is not None:
        checks.positive(value, attribute.name)


def _finite_field(_: object, attribute: "Attribute[Decimal]", value: Decimal) -> None:
    checks.finite(value, attribute.name)


def _table_field(_: object, attribute: "Attribute[tuple[Bracket, ...]]", value: tuple[Bracket, ...]) -> None:
    if not value:
        raise LiquidationInputError(attribute.name, "the table is empty")


@frozen
class PoolPosition:
    """One position of a cross pool, checked when made: signed `qty` in base units, zero when flat.

    `mark_price` may be missing for the contract that the question is about. Raises BadValueError.
    """

    symbol: str
    side: PositionSide
    qty: Decimal = field(validator=_finite_field)
    entry_price: Decimal = field(validator=_positive_field)
    brackets: tuple[Bracket, ...] = field(validator=_table_field)
    mark_price: Decimal | None = field(default=None, validator=_positive_field)

    def __attrs_post_init__(self) -> None:
        _check_side(self.side, self.qty)


def cross_liquidation_price(wallet: Decimal, target: str, positions: Sequence[PoolPosition]) -> Decimal | None:
    """Return the mark price of `target` that liquidates the whole cross pool, None when none does or it is flat.

    `wallet` is the cross wallet balance; every other contract stands at its own mark price. LONG and SHORT of the
    target share the price. Raises UnknownProductError for a target that the pool does not hold, LiquidationInputError
    for another contract without mark price, and for sides that do not go together.
    """
    base = checks.finite(wallet, "wallet_balance")
    exposures = []
    held = set()
    for position in positions:
        if (position.symbol, position.side) in held:
            raise LiquidationInputError("positions", f"{position.symbol} {position.side} is given twice")
        held.add((position.symbol, position.side))
        qty, mark = position.qty, position.mark_price
        entry = position.entry_price.quantize(_QUANTUM, ROUND_DOWN)
        if position.symbol == target:
            if qty:
                base -= qty * entry
                exposures.append(Exposure(qty, position.brackets, mark or position.entry_price))
        elif mark is None:
            raise LiquidationInputError("mark_price", f"{position.symbol}: needed for the other contracts of a pool")
        else:
            base += qty * (mark - entry) - maintenance_margin(position.brackets, qty * mark)
    _check_sides(target, held)
    return root(base, exposures) if exposures else None


def _check_sides(target: str, held: set[tuple[str, PositionSide]]) -> None:
    symbols = {symbol for symbol, _ in held}
    if target not in symbols:
        raise UnknownProductError("target", f"{target} is not among the positions")
    if len(symbols) == len(held):
        return
    for symbol in symbols:
        if (symbol, PositionSide.BOTH) in held and (
            (symbol, PositionSide.LONG) in held or (symbol, PositionSide.SHORT) in held
        ):
            raise LiquidationInputError("position_side", f"{symbol} is held both one-way and hedged")


def bankruptcy_price(qty: Decimal, entry_price: Decimal, wallet: Decimal) -> Decimal:
    """Return the price at which a position of signed `qty` (base units) has eaten `wallet`: entry - wallet / qty.

    Not positive for a wallet larger than a long position: then no price does. Whether the venue adds a fee is not
    published. Raises LiquidationInputError for a flat position, BadValueError for numbers that cannot be.
    """
    if not qty:
        raise LiquidationInputError("qty", "a flat position has no bankruptcy price")
    checks.finite(qty, "qty")
    return checks.finite(entry_price, "entry_price") - checks.finite(wallet, "isolated_wallet") / qty
