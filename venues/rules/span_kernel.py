"""What many portfolios of the same contracts ask under SPAN: `span.Prepared` over arrays, compiled.

Importing this module imports numba: nothing else of the rules does. Binary floating point, exact to about 1e-9 of the
requirement; the tests hold it against `span.requirement`.
"""

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numba import njit, prange
from numpy.typing import NDArray

from venues.rules.errors import BadValueError
from venues.rules.span import Prepared
from venues.rules.span_product import SCENARIOS, SpreadSide

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 1024


@frozen(eq=False)
class Tables:
    """A prepared portfolio as flat tables: lanes as in `span_layout`, a row of `lanes` for each contract.

    `span` is where a contract's lanes begin in the sum and how many they are. A product is its first lane, whether it
    has 16 scenarios, losses of a unit of a single lane up and down, its delivery charge and its net and delta lanes.
    """

    lanes: Floats
    span: Ints
    products: Ints
    losses: Floats
    calendar: Ints
    calendar_charge: Floats
    option_of: Ints
    option_minimum: Floats
    inter: Ints
    inter_ratio: Floats
    inter_credit: Floats
    initial_ratio: float
    width: int


def tables(prepared: Prepared) -> Tables:
    """Return the tables of `prepared`. Raises BadValueError for spreads of tiers or deltas, as SPAN files have them."""
    unit = float(prepared.parameters.unit)
    at = {layout.code: (number, layout, start) for number, (layout, start) in enumerate(prepared.parts)}
    width = sum(layout.lanes for layout, _ in prepared.parts)
    widest = max((layout.lanes for layout, _ in prepared.parts), default=1)
    lanes, span = np.zeros((len(prepared.vectors), widest)), np.zeros((len(prepared.vectors), 2), np.int64)
    for leg, (vector, (code, _)) in enumerate(zip(prepared.vectors, prepared.contracts, strict=True)):
        _, layout, start = at[code]
        lanes[leg, : layout.lanes] = vector.lanes
        span[leg] = start, layout.lanes
    products, losses = np.zeros((len(at), 4), np.int64), np.zeros((len(at), 3))
    calendar, charges = [], []
    for number, layout, start in at.values():
        single = layout.single
        products[number] = start, single is None, start + layout.net_at, start + layout.delta_at
        losses[number] = (unit, unit, 0.0) if single is None else (single[0] * unit, single[2] * unit, 0.0)
        losses[number, 2] = layout.delivery * unit
        if layout.product.in_deltas or layout.rates:
            raise BadValueError(layout.code, "spreads by delta are not compiled")
        for first, second, charge in layout.spreads:
            if len(first) != 1 or len(second) != 1:
                raise BadValueError(layout.code, "spreads of tiers are not compiled")
            calendar.append((start + layout.months_at + first[0], start + layout.months_at + second[0]))
            charges.append(charge * unit)
    option_of = np.full(len(prepared.vectors), -1, np.int64)
    for number, (places, _) in enumerate(prepared.options):
        option_of[list(places)] = number
    legs = max((len(spread.legs) for spread in prepared.inter_spreads), default=1)
    inter = np.full((len(prepared.inter_spreads), legs, 2), -1, np.int64)
    ratios = np.ones((len(prepared.inter_spreads), legs))
    for row, spread in enumerate(prepared.inter_spreads):
        # Deltas stay whole numbers, as all products have them in one unit: what should be zero is zero.
        for column, (part, ratio) in enumerate(zip(spread.legs, spread.whole_ratios, strict=True)):
            inter[row, column] = at[part.product][0], part.side is SpreadSide.A
            ratios[row, column] = ratio
    return Tables(
        lanes,
        span,
        products,
        losses,
        np.array(calendar, np.int64).reshape(-1, 2),
        np.array(charges, np.float64),
        option_of,
        np.array([minimum * unit for _, minimum in prepared.options], np.float64),
        inter,
        ratios,
        np.array([float(spread.credit_rate) for spread in prepared.inter_spreads], np.float64),
        float(prepared.parameters.initial_ratio),
        width,
    )


def requirements(table: Tables, quantities: Floats | Ints | Sequence[Sequence[float]]) -> Floats:
    """Return (maintenance, initial) by portfolio: `quantities` has a row for each, a column for each contract."""
    given = np.ascontiguousarray(quantities, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != len(table.span):
        raise BadValueError("quantities", f"expected {len(table.span)} columns, got shape {given.shape}")
    if not np.isfinite(given).all():
        raise BadValueError("quantities", "must be finite numbers")
    maintenance: Floats = _run(
        given,
        table.lanes,
        table.span,
        table.products,
        table.losses,
        table.calendar,
        table.calendar_charge,
        table.option_of,
        table.option_minimum,
        table.inter,
        table.inter_ratio,
        table.inter_credit,
        table.width,
    )
    return np.column_stack((maintenance, maintenance * table.initial_ratio))


@njit(parallel=True, cache=True, nogil=True)
def _run(  # type: ignore[no-untyped-def]  # noqa: ANN202
    quantities: Floats,
    lanes: Floats,
    span: Ints,
    products: Ints,
    losses: Floats,
    calendar: Ints,
    calendar_charge: Floats,
    option_of: Ints,
    option_minimum: Floats,
    inter: Ints,
    inter_ratio: Floats,
    inter_credit: Floats,
    width: int,
):
    rows, legs = quantities.shape
    count = len(products)
    out = np.empty(rows)
    for part in prange((rows + _BLOCK - 1) // _BLOCK):
        sums, held = np.empty(width), np.empty(len(option_minimum))
        net, left, risk = np.empty(count), np.empty(count), np.empty(count)
        for row in range(part * _BLOCK, min(rows, part * _BLOCK + _BLOCK)):
            sums[:] = 0.0
            held[:] = 0.0
            for leg in range(legs):
                quantity = quantities[row, leg]
                start = span[leg, 0]
                for lane in range(span[leg, 1]):
                    sums[start + lane] += quantity * lanes[leg, lane]
                if option_of[leg] >= 0:
                    held[option_of[leg]] += quantity
            total = 0.0
            for product in range(count):
                start = products[product, 0]
                worst = 0.0
                if products[product, 1]:
                    for scenario in range(SCENARIOS):
                        worst = max(worst, sums[start + scenario])
                    worst *= losses[product, 0]
                else:
                    worst = sums[start] * losses[product, 0] if sums[start] > 0.0 else -sums[start] * losses[product, 1]
                risk[product] = worst
                net[product] = left[product] = sums[products[product, 3]]
                total += worst + abs(sums[products[product, 2]]) * losses[product, 2]
            for spread in range(len(calendar)):
                one, other = calendar[spread, 0], calendar[spread, 1]
                if sums[one] * sums[other] < 0.0:
                    formed = min(abs(sums[one]), abs(sums[other]))
                    way = 1.0 if sums[one] > 0.0 else -1.0
                    sums[one] -= way * formed
                    sums[other] += way * formed
                    total += formed * calendar_charge[spread]
            for spread in range(len(inter)):
                total -= _credit(inter[spread], inter_ratio[spread], left, net, risk) * inter_credit[spread]
            floor = 0.0
            for option in range(len(held)):
                floor += max(-held[option], 0.0) * option_minimum[option]
            out[row] = max(total, floor)
    return out


@njit(cache=True, nogil=True)
def _credit(  # type: ignore[no-untyped-def]  # noqa: ANN202
    legs: Ints, ratio: Floats, left: Floats, net: Floats, risk: Floats
):
    way = 0.0
    formed = np.inf
    for leg in range(len(legs)):
        product = legs[leg, 0]
        if product < 0:
            break
        side = np.sign(left[product]) * (1.0 if legs[leg, 1] else -1.0)
        if side in (0.0, -way):
            return 0.0
        way = side
        formed = min(formed, abs(left[product]) / ratio[leg])
    saved = 0.0
    for leg in range(len(legs)):
        product = legs[leg, 0]
        if product < 0:
            break
        # Consumed whole where the quotient is rounded, or a crumb would form the next spread.
        consumed = formed * ratio[leg]
        if abs(abs(left[product]) - consumed) <= 1e-12 * consumed:
            consumed = abs(left[product])
        saved += consumed * risk[product] / abs(net[product])
        left[product] -= np.sign(left[product]) * consumed
    return saved
