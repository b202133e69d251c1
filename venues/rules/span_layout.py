"""How one product's part of a SPAN requirement is laid out, so that a portfolio becomes one sum.

Scenarios, net contracts, net deltas and what is held in each spread month are linear in the quantities held. So each
contract is one whole number with these values side by side in lanes of 64 bits; the products with the quantities are
added, and only the sum is taken apart.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal
from math import gcd
from struct import Struct
from typing import ClassVar

from attrs import frozen

from venues.model.money import ONE
from venues.rules.errors import RuleError, UnknownProductError
from venues.rules.span_product import SCENARIOS, IntraSpread, Product

LANE_BITS = 64
LANE_LIMIT = 1 << (LANE_BITS - 1)
"""A sum whose lanes may reach it does not fit and is not packed."""

_EXACT = Context(prec=200)
# An option's name ends in its right and strike; no month code of a future is C or P.
_OPTION_NAME = re.compile(r"[CP] ?\d+(\.\d+)?$")


class MissingContractError(RuleError):
    """A position that does not say which month or contract, where the product has several."""


def decimals_of(value: Decimal) -> int:
    """Return how many decimals `value` is written with."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def delta_decimals_of(product: Product) -> int:
    """Return how many decimals the deltas of one contract have."""
    return max(decimals_of(delta * product.delta_scale) for delta in (ONE, *product.deltas.values()))


def whole(value: Decimal, decimals: int) -> int:
    """Return `value` in units of 10^-decimals, which it must be a multiple of."""
    return int(_EXACT.scaleb(value, decimals))


@frozen
class Vector:
    """One long contract: its value in each lane, the same packed, the largest of them."""

    lanes: tuple[int, ...]
    packed: int
    largest: int
    has_delta: bool


def pack(lanes: Sequence[int]) -> int:
    """Return `lanes` as one number, the first lowest."""
    return sum(value << (LANE_BITS * number) for number, value in enumerate(lanes))


class Unpacking:
    """Takes a sum of packed numbers apart again: `take` the `size` bytes of (sum + signs) ^ signs, little end first."""

    __slots__ = ("signs", "size", "take")
    _known: ClassVar[dict[int, "Unpacking"]] = {}

    def __init__(self, lanes: int) -> None:
        # A lane below zero borrows from the next one up. Added to every lane, its sign bit keeps all of them above
        # zero; taken back bit by bit, it leaves each in two's complement.
        self.signs = pack([LANE_LIMIT] * lanes)
        self.size = lanes * LANE_BITS // 8
        self.take: Callable[[bytes], tuple[int, ...]] = Struct(f"<{lanes}q").unpack

    def __call__(self, packed: int) -> tuple[int, ...]:
        """Return the lanes."""
        return self.take(((packed + self.signs) ^ self.signs).to_bytes(self.size, "little"))

    @classmethod
    def of(cls, lanes: int) -> "Unpacking":
        """Return the one for so many lanes."""
        found = cls._known.get(lanes)
        if found is None:
            found = cls._known[lanes] = cls(lanes)
        return found


Single = tuple[int, int | None, int, int | None, int | None]
"""Loss and scenario of one unit of a single scan lane above zero, the same below, and the scenario at zero.

A plain tuple, as it is taken apart for every product of every portfolio.
"""

_ALIKE: Single = (1, None, 1, None, None)


class Layout:
    """A product's lanes: scan risk (1 or 16), net contracts if delivery is charged, net deltas, the months of spreads.

    One scan lane, described by `single`, is enough where a product has a single scan risk or its arrays are multiples
    of one array, as those of futures are; else `single` is None. `spreads` are (months of one leg, months of the other,
    charge), months counted from `months_at`. Deltas are whole numbers of `delta_unit`, money of 10^-decimals.
    """

    __slots__ = (
        "_delta_decimals",
        "_months",
        "_scans",
        "_vectors",
        "code",
        "delivery",
        "delta_at",
        "delta_unit",
        "has_deltas",
        "is_tiered",
        "lanes",
        "minimum",
        "months_at",
        "net_at",
        "product",
        "rates",
        "single",
        "spreads",
        "unpacking",
    )

    def __init__(
        self, code: str, product: Product, spreads: Sequence[IntraSpread], decimals: int, delta_decimals: int
    ) -> None:
        self.code = code
        self.product = product
        self._vectors: dict[str | None, Vector] = {}
        self._delta_decimals = delta_decimals
        self.delta_unit = ONE.scaleb(-delta_decimals)
        self.has_deltas = product.arrays is None or product.arrays.keys() <= product.deltas.keys()
        self._scans, self.single = _scan_lanes(product, decimals)
        self.delivery = whole(product.delivery_charge, decimals)
        self.minimum = whole(product.short_option_minimum, decimals)
        names = [name for spread in spreads for leg in spread.legs for name in product.tiers.get(leg, (leg,))]
        self._months = {name: number for number, name in enumerate(dict.fromkeys([*names, *product.delivery]))}
        self.spreads: tuple[tuple[tuple[int, ...], tuple[int, ...], int], ...] = tuple(
            (self._leg(spread.legs[0]), self._leg(spread.legs[1]), whole(spread.charge, decimals)) for spread in spreads
        )
        self.is_tiered = any(len(first) != 1 or len(second) != 1 for first, second, _ in self.spreads)
        self.rates: tuple[tuple[int, int, int], ...] = tuple(
            (self._months[month], whole(rate.spread, decimals), whole(rate.outright, decimals))
            for month, rate in product.delivery.items()
        )
        self.net_at = SCENARIOS if self.single is None else 1
        self.delta_at = self.net_at + bool(self.delivery)
        self.months_at = self.delta_at + 1
        self.lanes = self.months_at + len(self._months)
        self.unpacking = Unpacking.of(self.lanes)

    def _leg(self, name: str) -> tuple[int, ...]:
        return tuple(self._months[month] for month in self.product.tiers.get(name, (name,)))

    def vector(self, name: str | None, index: int) -> Vector:
        """Return contract `name`, held at `index` of a portfolio. Raises UnknownProductError, MissingContractError."""
        found = self._vectors.get(name)
        if found is None:
            scan = self._scan(name, index)
            delta = self._delta(name)
            counted = delta if self.product.in_deltas else 1
            month = self._months.get(self.product.periods.get(name, name)) if name is not None else None
            months = [0] * len(self._months)
            if month is not None:
                months[month] = counted or 0
            lanes = (*scan, *([1] if self.delivery else []), delta or 0, *months)
            found = Vector(lanes, pack(lanes), max(map(abs, lanes)), delta is not None)
            # Names of a product that takes any are not remembered: there may be any number of them.
            if name is None or self.product.scan_risk is None or name in self._months:
                self._vectors[name] = found
        return found

    def is_option(self, name: str | None) -> bool:
        """Return whether `name` counts towards the short option minimum."""
        product = self.product
        if product.options is not None:
            return name in product.options
        if product.arrays is None or name is None or _OPTION_NAME.search(name):
            return True
        array = product.arrays[name]
        return array[:14:2] != array[1:14:2] or product.deltas.get(name, ONE) != ONE

    def _scan(self, name: str | None, index: int) -> tuple[int, ...]:
        product = self.product
        if product.scan_risk is not None:
            return self._scans[None]
        kind = "month" if product.months is not None else "contract"
        if name is None:
            raise MissingContractError(f"portfolio[{index}].{kind}", f"{self.code} has several, none is named")
        if name not in self._scans:
            raise UnknownProductError(f"portfolio[{index}].{kind}", f"{self.code} has no {kind} {name!r}")
        return self._scans[name]

    def _delta(self, name: str | None) -> int | None:
        delta: Decimal | None = ONE
        if self.product.arrays is not None:
            delta = None if name is None else self.product.deltas.get(name)
        return None if delta is None else whole(delta * self.product.delta_scale, self._delta_decimals)


def _scan_lanes(product: Product, decimals: int) -> tuple[dict[str | None, tuple[int, ...]], Single | None]:
    """Return the scan lanes of each contract, and what a single lane means."""
    if product.scan_risk is not None:
        return {None: (whole(product.scan_risk, decimals),)}, _ALIKE
    if product.months is not None:
        return {name: (whole(risk, decimals),) for name, risk in product.months.items()}, _ALIKE
    assert product.arrays is not None
    arrays = {name: tuple(whole(value, decimals) for value in array) for name, array in product.arrays.items()}
    unit = _unit(arrays.values())
    factors = {name: _factor(array, unit) for name, array in arrays.items()}
    scans: dict[str | None, tuple[int, ...]] = {}
    if None in factors.values():
        scans.update(arrays)
        return scans, None
    scans.update((name, (factor,)) for name, factor in factors.items() if factor is not None)
    most, least = max(unit), min(unit)
    return scans, (max(most, 0), unit.index(most) + 1, max(-least, 0), unit.index(least) + 1, 1)


def _unit(arrays: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the first array that is not zero, divided by what its values have in common."""
    for array in arrays:
        common = gcd(*array)
        if common:
            return tuple(value // common for value in array)
    return (0,) * SCENARIOS


def _factor(array: tuple[int, ...], unit: tuple[int, ...]) -> int | None:
    """Return which multiple of `unit` the array is, None when it is none."""
    factor = next((value // one for value, one in zip(array, unit, strict=True) if one), 0)
    return factor if all(value == factor * one for value, one in zip(array, unit, strict=True)) else None
