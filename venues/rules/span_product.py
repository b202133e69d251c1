"""What SPAN knows of products and spreads, and when such knowledge contradicts itself.

Money is in the margin currency, one number for one contract. Sources: CME Group, "SPAN components" and "Spread credit
calculation"; CME risk parameter layouts. Checks raise RuleError naming the field, such as `products.ES.scan_risk`.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from math import gcd, lcm

from attrs import field, frozen

from venues.model.money import ONE, ZERO
from venues.rules.errors import BadTableError, BadValueError, UnknownProductError

SCENARIOS = 16


class SpreadSide(Enum):
    """On which side of an inter-commodity spread a leg stands."""

    A = "A"
    B = "B"


@frozen
class DeliveryRate:
    """Charge for one delta of a month in delivery: consumed by calendar spreads, or left outright."""

    spread: Decimal
    outright: Decimal


@frozen
class Product:
    """What SPAN knows of one combined commodity; exactly one of `scan_risk`, `months`, `arrays` is given.

    scan_risk: loss of one contract over the price scan range, all months alike. months: the same by contract month.
    arrays: 16 losses of one long contract by contract (positive = loss), deltas: composite delta by contract.
    `delivery_charge` is per net contract, `short_option_minimum` per short option, `delta_scale` the deltas of one
    contract (a micro 0.1).
    `options` names the contracts that are options; without it a contract with an array is a future when its delta is 1
    and volatility moves nothing, and contracts without arrays count as options where a minimum is given.
    As SPAN files have it: `periods` is the contract month of a contract, `tiers` the months of a spread leg's name,
    `in_deltas` says that calendar spreads consume deltas, `delivery` holds the rates by month.
    """

    scan_risk: Decimal | None = None
    months: Mapping[str, Decimal] | None = None
    arrays: Mapping[str, tuple[Decimal, ...]] | None = None
    deltas: Mapping[str, Decimal] = field(factory=dict)
    delivery_charge: Decimal = ZERO
    short_option_minimum: Decimal = ZERO
    delta_scale: Decimal = ONE
    options: frozenset[str] | None = None
    periods: Mapping[str, str] = field(factory=dict)
    tiers: Mapping[str, tuple[str, ...]] = field(factory=dict)
    in_deltas: bool = False
    delivery: Mapping[str, DeliveryRate] = field(factory=dict)


@frozen
class IntraSpread:
    """A calendar spread: one of each leg on opposite sides costs `charge`. A leg is a month or a tier."""

    product: str
    priority: int
    legs: tuple[str, ...]
    charge: Decimal


@frozen
class InterLeg:
    """One leg of an inter-commodity spread: `ratio` deltas of `product` for one spread."""

    product: str
    side: SpreadSide
    ratio: Decimal


@frozen
class InterSpread:
    """Products that offset one another: `credit_rate` of the scan risk of the deltas they consume, 0..1."""

    priority: int
    legs: tuple[InterLeg, ...]
    credit_rate: Decimal
    whole_ratios: tuple[int, ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Bring the ratios to whole numbers, which only their proportions matter for."""
        fractions = [Fraction(leg.ratio) if leg.ratio.is_finite() else Fraction(0) for leg in self.legs]
        common = lcm(*(ratio.denominator for ratio in fractions))
        wholes = [int(ratio * common) for ratio in fractions]
        divisor = gcd(*wholes) or 1
        object.__setattr__(self, "whole_ratios", tuple(number // divisor for number in wholes))


# Checks


def finite(path: str, value: Decimal) -> None:
    if not value.is_finite():
        raise BadValueError(path, f"must be a finite number, got {value}")


def not_negative(path: str, value: Decimal) -> None:
    finite(path, value)
    if value < ZERO:
        raise BadValueError(path, f"must not be negative, got {value}")


def positive(path: str, value: Decimal) -> None:
    finite(path, value)
    if value <= ZERO:
        raise BadValueError(path, f"must be positive, got {value}")


def check_product(path: str, product: Product) -> None:
    forms = [name for name in ("scan_risk", "months", "arrays") if getattr(product, name) is not None]
    if len(forms) != 1:
        given = " and ".join(forms) or "none"
        raise BadTableError(path, f"takes exactly one of scan_risk, months and arrays, got {given}")
    if product.scan_risk is not None:
        not_negative(f"{path}.scan_risk", product.scan_risk)
    for month, risk in (product.months or {}).items():
        not_negative(f"{path}.months.{month}.scan_risk", risk)
    for contract, array in (product.arrays or {}).items():
        if len(array) != SCENARIOS:
            raise BadTableError(f"{path}.arrays.{contract}", f"has {len(array)} values instead of {SCENARIOS}")
        for index, value in enumerate(array):
            finite(f"{path}.arrays.{contract}[{index}]", value)
    for contract, delta in product.deltas.items():
        finite(f"{path}.deltas.{contract}", delta)
        if product.arrays is None or contract not in product.arrays:
            raise BadTableError(f"{path}.deltas.{contract}", "has a delta but no array")
    not_negative(f"{path}.delivery_charge", product.delivery_charge)
    not_negative(f"{path}.short_option_minimum", product.short_option_minimum)
    positive(f"{path}.delta_scale", product.delta_scale)
    for month, rate in product.delivery.items():
        not_negative(f"{path}.delivery.{month}.spread", rate.spread)
        not_negative(f"{path}.delivery.{month}.outright", rate.outright)


def _product(path: str, code: str, products: Mapping[str, Product]) -> Product:
    if code not in products:
        raise UnknownProductError(path, f"{code!r} is not among the products")
    return products[code]


def _known_legs(product: Product) -> Iterable[str] | None:
    """Return the names a calendar leg may have, None when any month will do."""
    if product.months is not None:
        return (*product.months, *product.tiers)
    if product.arrays is not None:
        return (*product.arrays, *product.periods.values(), *product.tiers)
    return None


def check_intra(path: str, spread: IntraSpread, products: Mapping[str, Product]) -> None:
    product = _product(f"{path}.product", spread.product, products)
    not_negative(f"{path}.charge", spread.charge)
    if len(spread.legs) != 2:
        raise BadTableError(f"{path}.legs", f"a calendar spread has two legs, got {len(spread.legs)}")
    if spread.legs[0] == spread.legs[1] and spread.legs[0] not in product.tiers:
        raise BadTableError(f"{path}.legs", "a month cannot be spread against itself")
    known = _known_legs(product)
    for index, leg in enumerate(spread.legs):
        if known is not None and leg not in known:
            raise UnknownProductError(f"{path}.legs[{index}]", f"{spread.product} has no {leg!r}")


def check_inter(path: str, spread: InterSpread, products: Mapping[str, Product]) -> None:
    not_negative(f"{path}.credit_rate", spread.credit_rate)
    if spread.credit_rate > ONE:
        raise BadValueError(f"{path}.credit_rate", f"is a share, at most 1, got {spread.credit_rate}")
    if len(spread.legs) < 2:
        raise BadTableError(f"{path}.legs", "an inter-commodity spread has at least two legs")
    seen = set()
    for index, leg in enumerate(spread.legs):
        _product(f"{path}.legs[{index}].product", leg.product, products)
        positive(f"{path}.legs[{index}].ratio", leg.ratio)
        if leg.product in seen:
            raise BadTableError(f"{path}.legs[{index}].product", f"{leg.product} is named twice")
        seen.add(leg.product)
