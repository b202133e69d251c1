"""Margin, liquidation and profit at Binance USDS-M and Bybit linear, asked on the command line."""

from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attrs import Attribute, field, frozen

from daemon.calc.core import calc
from venues.model.instrument import Bracket
from venues.model.money import ONE, ZERO
from venues.model.order import PositionSide
from venues.rules import binance_margin, bybit_margin, checks
from venues.rules.brackets import BracketTableError, bracket_number, check_brackets, flat_rate, maintenance_margin
from venues.rules.bybit_margin import ValueBasis
from venues.rules.errors import BadValueError, UnknownProductError


def _checked(check: Callable[[Decimal, str], Decimal]) -> Callable[[object, "Attribute[Any]", Decimal | None], None]:
    def validate(_: object, attribute: "Attribute[Any]", value: Decimal | None) -> None:
        if value is not None:
            check(value, attribute.name)

    return validate


_POSITIVE = _checked(checks.positive)
_NOT_NEGATIVE = _checked(checks.not_negative)
_FINITE = _checked(checks.finite)
_NONZERO = _checked(checks.nonzero)
_RATE = _checked(checks.rate)
_LEVERAGE = _checked(checks.leverage)


# Brackets


@frozen
class BracketIn:
    floor: Decimal = field(validator=_FINITE)
    cap: Decimal = field(validator=_FINITE)
    mmr: Decimal = field(validator=_FINITE)
    cum: Decimal = field(validator=_FINITE)
    max_leverage: Decimal = field(default=ONE, validator=_LEVERAGE)

    def __attrs_post_init__(self) -> None:
        if self.max_leverage != self.max_leverage.to_integral_value():
            raise BadValueError("max_leverage", f"must be whole, got {self.max_leverage}")

    def row(self) -> Bracket:
        return Bracket(self.floor, self.cap, self.mmr, self.cum, int(self.max_leverage))


def _rows(brackets: tuple[BracketIn, ...]) -> tuple[Bracket, ...]:
    return tuple(each.row() for each in brackets)


def _right_table(_: object, __: "Attribute[Any]", value: tuple[BracketIn, ...] | None) -> None:
    if value is not None:
        check_brackets(_rows(value))


def _some(_: object, attribute: "Attribute[Any]", value: tuple[object, ...]) -> None:
    if not value:
        raise BadValueError(attribute.name, "must not be empty")


@frozen
class BinanceMaintenance:
    notional: Decimal = field(validator=_NOT_NEGATIVE)
    brackets: tuple[BracketIn, ...] = field(validator=_right_table)


@calc("binance.maintenance_margin")
def of_binance_maintenance(given: BinanceMaintenance) -> dict[str, Any]:
    rows = _rows(given.brackets)
    number = bracket_number(rows, given.notional)
    row = rows[number - 1]
    margin = maintenance_margin(rows, given.notional)
    return {"maint_margin": margin, "bracket": number, "mmr": row.mmr, "cum": row.cum}


@frozen
class BracketTable:
    brackets: tuple[BracketIn, ...] = field(validator=_some)


@calc("binance.bracket_table_check")
def of_bracket_table(given: BracketTable) -> dict[str, Any]:
    try:
        check_brackets(_rows(given.brackets))
    except BracketTableError as error:
        return {"ok": False, "first_bad": error.index + 1, "why": error.why}
    return {"ok": True, "first_bad": None}


@frozen
class BinanceInitial:
    notional: Decimal = field(validator=_NOT_NEGATIVE)
    leverage: Decimal = field(validator=_LEVERAGE)


@calc("binance.initial_margin")
def of_binance_initial(given: BinanceInitial) -> dict[str, Any]:
    return {"initial_margin": binance_margin.position_initial_margin(given.notional, given.leverage)}


# Liquidation and profit at Binance


class PoolKind(StrEnum):
    ISOLATED = "isolated"
    CROSS = "cross"


@frozen
class PositionIn:
    symbol: str
    position_side: PositionSide
    qty: Decimal = field(validator=_FINITE)
    entry_price: Decimal = field(validator=_POSITIVE)
    mark_price: Decimal | None = field(default=None, validator=_POSITIVE)
    mmr: Decimal | None = field(default=None, validator=_RATE)
    cum: Decimal | None = field(default=None, validator=_NOT_NEGATIVE)
    brackets: tuple[BracketIn, ...] | None = field(default=None, validator=_right_table)

    def __attrs_post_init__(self) -> None:
        wrong = {PositionSide.LONG: self.qty < ZERO, PositionSide.SHORT: self.qty > ZERO}
        if wrong.get(self.position_side):
            raise BadValueError("qty", f"{self.qty} contradicts position_side {self.position_side}")


@frozen
class BinanceLiquidation:
    margin_mode: PoolKind
    wallet_balance: Decimal = field(validator=_FINITE)
    target: str
    positions: tuple[PositionIn, ...] = field(validator=_some)
    target_side: PositionSide | None = None


@calc("binance.liquidation_price")
def of_binance_liquidation(given: BinanceLiquidation) -> dict[str, Any]:
    _check_pool(given)
    if given.margin_mode is PoolKind.ISOLATED:
        pool = [_isolated(given)]
    else:
        held = enumerate(given.positions)
        pool = [_pooled(index, each, given.target) for index, each in held if each.qty or each.symbol == given.target]
    price = binance_margin.cross_liquidation_price(given.wallet_balance, given.target, pool)
    return {"liquidation_price": ZERO if price is None else price}


def _check_pool(given: BinanceLiquidation) -> None:
    """Refuse positions that cannot be held together, and a target that is not among them."""
    sides: dict[str, set[PositionSide]] = {}
    marks: dict[str, Decimal] = {}
    for index, each in enumerate(given.positions):
        known = sides.setdefault(each.symbol, set())
        if each.position_side in known or (known and PositionSide.BOTH in known | {each.position_side}):
            raise BadValueError(f"positions[{index}].position_side", f"{each.symbol} is held so already or otherwise")
        known.add(each.position_side)
        if each.mark_price is not None and marks.setdefault(each.symbol, each.mark_price) != each.mark_price:
            raise BadValueError(f"positions[{index}].mark_price", f"{each.symbol} has another one above")
    if given.target not in sides:
        raise UnknownProductError("target", f"{given.target!r} is not among the positions")
    if given.target_side is not None and given.target_side not in sides[given.target]:
        raise BadValueError("target_side", f"{given.target} is not held {given.target_side}")
    if given.margin_mode is PoolKind.ISOLATED and given.target_side is None and len(sides[given.target]) > 1:
        raise BadValueError("target_side", "missing: isolated, LONG and SHORT are liquidated apart")


def _isolated(given: BinanceLiquidation) -> binance_margin.PoolPosition:
    index, found = next(
        (index, each)
        for index, each in enumerate(given.positions)
        if each.symbol == given.target and given.target_side in (None, each.position_side)
    )
    return _pooled(index, found, given.target)


def _pooled(index: int, each: PositionIn, target: str) -> binance_margin.PoolPosition:
    path = f"positions[{index}]"
    if each.brackets is not None:
        if each.mmr is not None or each.cum is not None:
            raise BadValueError(f"{path}.brackets", "given beside mmr and cum: one of the two")
        rows = _rows(each.brackets)
    elif each.mmr is None or each.cum is None:
        missing = "mmr" if each.mmr is None else "cum"
        raise BadValueError(f"{path}.{missing}", "missing, and no brackets either")
    else:
        rows = flat_rate(each.mmr, each.cum)
    if each.symbol != target:
        if each.mark_price is None:
            raise BadValueError(f"{path}.mark_price", "missing: needed for the other symbols of a pool")
        if maintenance_margin(rows, each.qty * each.mark_price) < ZERO:
            raise BadValueError(f"{path}.cum", "more than the margin it is taken off: the amount of another bracket")
    return binance_margin.PoolPosition(
        each.symbol, each.position_side, each.qty, each.entry_price, rows, each.mark_price
    )


@frozen
class BinanceBankruptcy:
    qty: Decimal = field(validator=_NONZERO)
    entry_price: Decimal = field(validator=_POSITIVE)
    isolated_wallet: Decimal = field(validator=_FINITE)


@calc("binance.bankruptcy_price")
def of_binance_bankruptcy(given: BinanceBankruptcy) -> dict[str, Any]:
    price = binance_margin.bankruptcy_price(given.qty, given.entry_price, given.isolated_wallet)
    return {"bankruptcy_price": max(price, ZERO)}


@frozen
class BinanceProfit:
    qty: Decimal = field(validator=_FINITE)
    entry_price: Decimal = field(validator=_POSITIVE)
    mark_price: Decimal = field(validator=_POSITIVE)


@calc("binance.unrealized_pnl")
def of_binance_profit(given: BinanceProfit) -> dict[str, Any]:
    return {"unrealized_pnl": binance_margin.unrealized_pnl(given.qty, given.entry_price, given.mark_price)}


# Bybit


class BybitSide(StrEnum):
    LONG = "long"
    SHORT = "short"

    @property
    def held(self) -> PositionSide:
        return PositionSide.LONG if self is BybitSide.LONG else PositionSide.SHORT


@frozen
class BybitPosition:
    side: BybitSide
    qty: Decimal = field(validator=_POSITIVE)
    entry_price: Decimal = field(validator=_POSITIVE)
    leverage: Decimal = field(validator=_LEVERAGE)


@calc("bybit.bankruptcy_price")
def of_bybit_bankruptcy(given: BybitPosition) -> dict[str, Any]:
    return {"bankruptcy_price": bybit_margin.bankruptcy_price(given.side.held, given.entry_price, given.leverage)}


@frozen
class BybitLiquidation(BybitPosition):
    mmr: Decimal = field(validator=_RATE)
    mm_deduction: Decimal = field(validator=_NOT_NEGATIVE)
    extra_margin: Decimal = field(validator=_NOT_NEGATIVE)
    taker: Decimal = field(validator=_RATE)


@calc("bybit.liquidation_price")
def of_bybit_liquidation(given: BybitLiquidation) -> dict[str, Any]:
    price = bybit_margin.liquidation_price(
        given.side.held,
        given.qty,
        given.entry_price,
        given.leverage,
        given.mmr,
        given.mm_deduction,
        given.extra_margin,
        given.taker,
    )
    return {"liquidation_price": ZERO if price is None else price}


@frozen
class BybitInitial(BybitPosition):
    taker: Decimal = field(validator=_RATE)
    value_basis: ValueBasis
    mark_price: Decimal = field(validator=_POSITIVE)

    def value(self) -> Decimal:
        return bybit_margin.position_value(self.qty, self.entry_price, self.mark_price, self.value_basis)

    def fee(self) -> Decimal:
        return bybit_margin.fee_to_close(self.side.held, self.qty, self.entry_price, self.leverage, self.taker)


@calc("bybit.initial_margin")
def of_bybit_initial(given: BybitInitial) -> dict[str, Any]:
    fee = given.fee()
    return {"initial_margin": bybit_margin.initial_margin(given.value(), given.leverage, fee), "fee_to_close": fee}


@frozen
class BybitMaintenance(BybitInitial):
    mmr: Decimal = field(validator=_RATE)
    mm_deduction: Decimal = field(validator=_NOT_NEGATIVE)


@calc("bybit.maintenance_margin")
def of_bybit_maintenance(given: BybitMaintenance) -> dict[str, Any]:
    fee = given.fee()
    margin = bybit_margin.maintenance_margin(given.value(), given.mmr, given.mm_deduction, fee)
    return {"maintenance_margin": margin, "fee_to_close": fee}
