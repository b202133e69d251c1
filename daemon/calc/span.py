"""SPAN on the command line: a portfolio's requirement, a position's risk array."""

from decimal import Decimal
from enum import Enum
from typing import Any

from attrs import asdict, frozen

from daemon.calc.core import calc
from venues.model.money import ONE, ZERO
from venues.rules.errors import BadValueError, RuleError, UnknownProductError
from venues.rules.span import Holding, requirement
from venues.rules.span_array import Extreme, Kind, Position, Scan, risk_array
from venues.rules.span_parameters import Parameters
from venues.rules.span_product import InterLeg, InterSpread, IntraSpread, Product


@frozen
class MonthGiven:
    """One contract month."""

    scan_risk: Decimal


@frozen
class ProductGiven:
    """One product; exactly one of the first three."""

    scan_risk: Decimal | None = None
    months: dict[str, MonthGiven] | None = None
    arrays: dict[str, tuple[Decimal, ...]] | None = None
    deltas: dict[str, Decimal] | None = None
    delivery_charge: Decimal = ZERO
    short_option_minimum: Decimal = ZERO
    delta_scale: Decimal = ONE


@frozen
class InterGiven:
    """One inter-commodity spread."""

    priority: int
    legs: tuple[InterLeg, ...]
    credit_rate: Decimal


@frozen
class ParametersGiven:
    """SPAN parameters."""

    products: dict[str, ProductGiven]
    initial_ratio: Decimal
    intra_spreads: tuple[IntraSpread, ...] = ()
    inter_spreads: tuple[InterGiven, ...] = ()


@frozen
class HeldGiven:
    """One position."""

    product: str
    qty: Decimal
    month: str | None = None
    contract: str | None = None


@frozen
class RequirementGiven:
    """A portfolio against parameters."""

    parameters: ParametersGiven
    portfolio: tuple[HeldGiven, ...]


@calc("span.requirement")
def _requirement(given: RequirementGiven) -> dict[str, Any]:
    portfolio = [_held(at, held) for at, held in enumerate(given.portfolio)]
    try:
        found = requirement(_parameters(given.parameters), portfolio)
    except UnknownProductError as error:
        where = f"parameters.{error.field}" if error.field.startswith("products.") else error.field
        raise UnknownProductError(where, error.why) from error
    answer: dict[str, Any] = {
        "scan_risk": found.scan_risk,
        "active_scenario": found.active_scenario,
        "spread_charge": found.spread_charge,
        "delivery_charge": found.delivery_charge,
        "inter_credit": found.inter_credit,
        "short_option_minimum": found.short_option_minimum,
        "maintenance": found.maintenance,
        "initial": found.initial,
    }
    if found.estimates:
        answer["estimate"] = f"SPAN 2 rules for {', '.join(found.estimates)}: classic SPAN only approximates it"
    return answer


def _parameters(given: ParametersGiven) -> Parameters:
    products = {
        code: Product(
            scan_risk=one.scan_risk,
            months=None if one.months is None else {name: month.scan_risk for name, month in one.months.items()},
            arrays=one.arrays,
            deltas=one.deltas or {},
            delivery_charge=one.delivery_charge,
            short_option_minimum=one.short_option_minimum,
            delta_scale=one.delta_scale,
        )
        for code, one in given.products.items()
    }
    try:
        inter = tuple(InterSpread(one.priority, one.legs, one.credit_rate) for one in given.inter_spreads)
        return Parameters(products, given.initial_ratio, given.intra_spreads, inter)
    except RuleError as error:
        raise type(error)(f"parameters.{error.field}", error.why) from error


def _held(index: int, given: HeldGiven) -> Holding:
    if given.month is not None and given.contract is not None:
        raise BadValueError(f"portfolio[{index}].contract", "a position has a month or a contract, not both")
    return Holding(given.product, given.qty, given.contract if given.month is None else given.month)


class What(Enum):
    """What the array is of."""

    FUTURE = "future"
    CALL = "call"
    PUT = "put"
    PORTFOLIO = "portfolio"


@frozen
class ArrayGiven:
    """A position, or several on one underlying, and how the underlying is scanned."""

    kind: What
    underlying: Decimal
    multiplier: Decimal
    price_scan: Decimal
    extreme: Extreme
    qty: Decimal | None = None
    strike: Decimal | None = None
    positions: tuple[Position, ...] | None = None
    vol_scan: Decimal | None = None
    vol: Decimal | None = None
    days: Decimal | None = None
    lookahead_days: Decimal = ONE


@calc("span.risk_array")
def _risk_array(given: ArrayGiven) -> dict[str, Any]:
    named = ("underlying", "multiplier", "price_scan", "extreme", "vol_scan", "vol", "days", "lookahead_days")
    scan = Scan(**asdict(given, recurse=False, filter=lambda attribute, _: attribute.name in named))
    is_portfolio = given.kind is What.PORTFOLIO
    for name, belongs in (("positions", is_portfolio), ("qty", not is_portfolio)):
        if (getattr(given, name) is not None) != belongs:
            why = f"is needed for kind {given.kind.value}" if belongs else f"has no place with kind {given.kind.value}"
            raise BadValueError(name, why)
    if given.positions is not None:
        if given.strike is not None:
            raise BadValueError("strike", "has no place with kind portfolio")
        return {"array": risk_array(scan, given.positions)}
    assert given.qty is not None
    try:
        return {"array": risk_array(scan, (Position(Kind(given.kind.value), given.qty, given.strike),))}
    except BadValueError as error:
        raise BadValueError(error.field.removeprefix("positions[0]").removeprefix(".") or "kind", error.why) from error
