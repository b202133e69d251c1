"""What SPAN asks as margin for a portfolio of futures and options.

    maintenance = max(sum of scan risks + calendar charges + delivery charges - inter-commodity credits,
                      short option minimum),   initial = maintenance x initial ratio

Sources: CME Group, "SPAN components" and "Spread credit calculation" (2 corn against 1 soybean asks 2,700).
Deviations from a clearing house's number: the price risk of a delta is scan risk / net delta, where CME averages paired
scenarios and takes time risk off, and net option value is not credited. Where SPAN 2 rules (`span2_products`) the
result is an estimate.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import mul
from typing import Final

from attrs import define, field, frozen

from venues.model.money import ZERO
from venues.rules.errors import BadValueError, UnknownProductError
from venues.rules.span_layout import LANE_BITS, LANE_LIMIT, Layout, Single, Unpacking, Vector, decimals_of, whole
from venues.rules.span_levels import span2_products
from venues.rules.span_parameters import Parameters
from venues.rules.span_product import SCENARIOS, InterSpread, SpreadSide

_WAYS: Final = {SpreadSide.A: 1, SpreadSide.B: -1}


_Offset = tuple[tuple[tuple[int, int, int, int], ...], Decimal]
"""An inter-commodity spread: legs as (place of the product, its delta lane, +1 for A and -1 for B, ratio); its rate."""


@frozen
class Holding:
    """A position: `contract` is a month or contract as the product has them, None for one with a single scan risk."""

    product: str
    qty: Decimal
    contract: str | None = None


@define
class Requirement:
    """A portfolio's SPAN requirement, in margin currency.

    `active_scenario` is the scenario (1..16) that sets each product's scan risk, the first of equals, None without
    arrays.
    """

    scan_risk: Decimal
    active_scenario: dict[str, int | None]
    spread_charge: Decimal
    delivery_charge: Decimal
    inter_credit: Decimal
    short_option_minimum: Decimal
    maintenance: Decimal
    initial: Decimal
    notes: tuple[str, ...] = ()

    @property
    def estimates(self) -> tuple[str, ...]:
        """The products margined under SPAN 2, where classic SPAN only approximates."""
        return span2_products(self.active_scenario)


_Row = tuple[Layout, int, str, Single | None, int, int, tuple[tuple[int, int, int], ...], bool]
"""One product of a portfolio: layout, first lane, code, single lane, delivery charge and its lane, calendar spreads of
two months by their lanes with their charge, whether spreads are formed otherwise (`_tiered_charges`)."""


def _row(layout: Layout, at: int) -> _Row:
    is_tiered = layout.is_tiered or layout.product.in_deltas or bool(layout.rates)
    months = at + layout.months_at
    pairs = tuple((months + one[0], months + other[0], each) for one, other, each in layout.spreads if not is_tiered)
    return layout, at, layout.code, layout.single, layout.delivery, at + layout.net_at, pairs, is_tiered


def requirement(parameters: Parameters, portfolio: Sequence[Holding]) -> Requirement:
    """Return the requirement of `portfolio`; positions in one contract are netted first.

    Raises UnknownProductError, MissingContractError and BadValueError, fields such as `portfolio[0].product`.
    """
    quantities, decimals = _quantities(portfolio)
    groups: dict[str, _Group] = {}
    for index, held in enumerate(portfolio):
        group = groups.get(held.product)
        if group is None:
            group = groups[held.product] = _Group(_layout(parameters, held.product, index))
        group.names.append(held.contract)
        group.quantities.append(quantities[index])
        group.vectors.append(group.layout.vector(held.contract, index))
    lanes: list[int] = []
    parts = []
    short = 0
    for group in groups.values():
        parts.append((group.layout, len(lanes)))
        layout = group.layout
        lanes += _add(group.quantities, group.vectors, [vector.packed for vector in group.vectors], layout.unpacking)
        if layout.minimum:
            held_options: dict[str | None, int] = {}
            for name, quantity in zip(group.names, group.quantities, strict=True):
                if layout.is_option(name):
                    held_options[name] = held_options.get(name, 0) + quantity
            short -= layout.minimum * sum(net for net in held_options.values() if net < 0)
    inter = _inter_among(parameters, groups)
    for group in groups.values():
        _check_deltas(inter, group.layout, group.names, group.vectors)
    rows = [_row(layout, at) for layout, at in parts]
    return _evaluate(parameters, rows, lanes, _offsets(inter, parts), short, decimals)


class Prepared:
    """A portfolio whose contracts are fixed, so that only quantities remain to be given.

    `contracts` are (product, month or contract) pairs. Raises as `requirement` does. `parts` are the products with the
    place of their lanes in the sum, `vectors` the contracts, `options` the places of each option with its minimum.
    """

    __slots__ = (
        "_most",
        "_offsets",
        "_packed",
        "_rows",
        "_signs",
        "_size",
        "_take",
        "contracts",
        "inter_spreads",
        "options",
        "parameters",
        "parts",
        "vectors",
    )

    def __init__(self, parameters: Parameters, contracts: Sequence[tuple[str, str | None]]) -> None:
        at: dict[str, int] = {}
        self.parts: list[tuple[Layout, int]] = []
        self.vectors: list[Vector] = []
        self._packed: list[int] = []
        options: dict[tuple[str, str | None], list[int]] = {}
        lanes = 0
        for index, (code, name) in enumerate(contracts):
            layout = _layout(parameters, code, index)
            if code not in at:
                at[code] = lanes
                self.parts.append((layout, lanes))
                lanes += layout.lanes
            vector = layout.vector(name, index)
            self.vectors.append(vector)
            self._packed.append(vector.packed << (LANE_BITS * at[code]))
            if layout.minimum and layout.is_option(name):
                options.setdefault((code, name), []).append(index)
        self.inter_spreads = _inter_among(parameters, at)
        for index, (code, name) in enumerate(contracts):
            _check_deltas(self.inter_spreads, parameters.layouts[code], [name], self.vectors[index : index + 1])
        self._rows = [_row(layout, start) for layout, start in self.parts]
        self._offsets = _offsets(self.inter_spreads, self.parts)
        self.parameters = parameters
        self.contracts = tuple(contracts)
        self.options = [(tuple(places), parameters.layouts[code].minimum) for (code, _), places in options.items()]
        self._most = LANE_LIMIT // max(sum(vector.largest for vector in self.vectors), 1)
        unpacking = Unpacking.of(lanes)
        self._take, self._signs, self._size = unpacking.take, unpacking.signs, unpacking.size

    def requirement(self, quantities: Sequence[int]) -> Requirement:
        """Return the requirement for signed whole `quantities`, one for each contract in its order."""
        if len(quantities) != len(self.vectors):
            raise BadValueError("quantities", f"expected {len(self.vectors)}, got {len(quantities)}")
        short = 0
        for places, minimum in self.options:
            net = sum([quantities[place] for place in places])
            if net < 0:
                short -= net * minimum
        if quantities and max(quantities) < self._most and min(quantities) > -self._most:
            # As `Unpacking` does: a call more is a tenth of the whole.
            total = (sum(map(mul, quantities, self._packed)) + self._signs) ^ self._signs
            lanes = self._take(total.to_bytes(self._size, "little"))
        else:
            lanes = self._wide(quantities)
        return _evaluate(self.parameters, self._rows, lanes, self._offsets, short, 0)

    def _wide(self, quantities: Sequence[int]) -> tuple[int, ...]:
        lanes: list[int] = []
        for layout, _ in self.parts:
            mine = [at for at, (code, _) in enumerate(self.contracts) if code == layout.code]
            lanes += _wide([quantities[at] for at in mine], [self.vectors[at] for at in mine])
        return tuple(lanes)


@define
class _Group:
    """What a portfolio holds of one product."""

    layout: Layout
    names: list[str | None] = field(factory=list)
    quantities: list[int] = field(factory=list)
    vectors: list[Vector] = field(factory=list)


def _quantities(portfolio: Sequence[Holding]) -> tuple[list[int], int]:
    """Return the quantities as whole numbers of 10^-decimals, and these decimals."""
    given = [held.qty for held in portfolio]
    for index, quantity in enumerate(given):
        if not quantity.is_finite():
            raise BadValueError(f"portfolio[{index}].qty", f"must be a finite number, got {quantity}")
    wholes = list(map(int, given))
    if wholes == given:
        return wholes, 0
    decimals = max(map(decimals_of, given))
    return [whole(quantity, decimals) for quantity in given], decimals


def _layout(parameters: Parameters, code: str, index: int) -> Layout:
    layout = parameters.layouts.get(code)
    if layout is None:
        raise UnknownProductError(f"portfolio[{index}].product", f"{code!r} is not among the parameters")
    return layout


def _inter_among(parameters: Parameters, held: Iterable[str]) -> list[InterSpread]:
    """Return the spreads whose legs are all held."""
    codes = frozenset(held)
    return [spread for spread in parameters.inter_spreads if all(leg.product in codes for leg in spread.legs)]


def _offsets(spreads: Iterable[InterSpread], parts: Iterable[tuple[Layout, int]]) -> list[_Offset]:
    """Return `spreads` by the places of products and lanes in a portfolio."""
    at = {layout.code: (place, start + layout.delta_at) for place, (layout, start) in enumerate(parts)}
    return [
        (
            tuple([(*at[leg.product], _WAYS[leg.side], ratio) for leg, ratio in zip(spread.legs, ratios, strict=True)]),
            spread.credit_rate,
        )
        for spread, ratios in ((spread, spread.whole_ratios) for spread in spreads)
    ]


def _check_deltas(
    spreads: Iterable[InterSpread], layout: Layout, names: Iterable[str | None], vectors: Iterable[Vector]
) -> None:
    """Refuse contracts without a delta where one is needed."""
    if layout.has_deltas:
        return
    for name, vector in zip(names, vectors, strict=True):
        if not vector.has_delta and (
            layout.product.in_deltas or any(leg.product == layout.code for spread in spreads for leg in spread.legs)
        ):
            raise UnknownProductError(f"products.{layout.code}.deltas.{name}", "is needed for spreads and not given")


# Sums


def _add(
    quantities: Sequence[int], vectors: Sequence[Vector], packed: Iterable[int], unpacking: Unpacking
) -> Sequence[int]:
    """Return the sum of the contracts by lane."""
    if max(*quantities, -min(quantities)) * sum([vector.largest for vector in vectors]) < LANE_LIMIT:
        return unpacking(sum(map(mul, quantities, packed)))
    return _wide(quantities, vectors)


def _wide(quantities: Sequence[int], vectors: Sequence[Vector]) -> list[int]:
    columns = zip(*(vector.lanes for vector in vectors), strict=True)
    return [sum(map(mul, quantities, column)) for column in columns]


def _evaluate(
    parameters: Parameters,
    rows: Sequence[_Row],
    lanes: Sequence[int],
    offsets: Sequence[_Offset],
    short: int,
    decimals: int,
) -> Requirement:
    """Return the requirement of the sums in `lanes`; quantities are in 10^-decimals."""
    charge: int | Decimal = 0
    delivery = 0
    active: dict[str, int | None] = {}
    risks: list[int] = []
    left = list(lanes)
    for layout, at, code, single, each_delivered, net_at, pairs, is_tiered in rows:
        if single is None:
            scenarios = lanes[at : at + SCENARIOS]
            risk = max(scenarios)
            active[code] = scenarios.index(risk) + 1
            risks.append(risk if risk > 0 else 0)
        else:
            net = lanes[at]
            rise, on_rise, fall, on_fall, flat = single
            if net > 0:
                active[code] = on_rise
                risks.append(net * rise)
            elif net < 0:
                active[code] = on_fall
                risks.append(-net * fall)
            else:
                active[code] = flat
                risks.append(0)
        if each_delivered:
            delivery += each_delivered * abs(lanes[net_at])
        for one, other, each in pairs:
            held, against = left[one], left[other]
            if held > 0 > against:
                formed = held if held < -against else -against
                charge += each * formed
            elif held < 0 < against:
                formed = held if held > -against else -against
                charge -= each * formed
            else:
                continue
            left[one] = held - formed
            left[other] = against + formed
        if is_tiered:
            charge += _tiered_charges(layout, lanes[at + layout.months_at : at + layout.lanes])
    unit = parameters.unit if not decimals else parameters.unit.scaleb(-decimals)
    scan = sum(risks)
    charged = scan + charge + delivery
    scan_risk, maintenance = scan * unit, charged * unit
    credit = floor = ZERO
    if offsets:
        credit = _inter_credit(offsets, risks, lanes, left) * unit
        maintenance -= credit
    if short:
        floor = short * unit
        maintenance = max(maintenance, floor)
    return Requirement(
        scan_risk,
        active,
        charge * unit if charge else ZERO,
        delivery * unit if delivery else ZERO,
        credit,
        floor,
        maintenance,
        maintenance * parameters.initial_ratio,
        parameters.notes,
    )


def _tiered_charges(layout: Layout, sums: Sequence[int]) -> int | Decimal:
    """Return what spreads of tiers cost and months in delivery, consuming what is held from spread to spread."""
    left = list(sums)
    charge = 0
    for first, second, each in layout.spreads:
        charge += each * (_across(left, first, second) + _across(left, second, first))
    for month, in_spreads, outright in layout.rates:
        rest = abs(left[month])
        charge += in_spreads * (abs(sums[month]) - rest) + outright * rest
    return charge * layout.delta_unit if layout.product.in_deltas else charge


def _across(left: list[int], longs: Sequence[int], shorts: Sequence[int]) -> int:
    """Spread what is long in `longs` against what is short in `shorts`: consume it, return how much that was."""
    long = sum(left[at] for at in longs if left[at] > 0)
    short = -sum(left[at] for at in shorts if left[at] < 0)
    formed = rest = min(long, short)
    for at in longs:
        if left[at] > 0:
            taken = min(rest, left[at])
            left[at] -= taken
            rest -= taken
    rest = formed
    for at in shorts:
        if left[at] < 0:
            taken = min(rest, -left[at])
            left[at] += taken
            rest -= taken
    return formed


def _inter_credit(offsets: Iterable[_Offset], risks: Sequence[int], lanes: Sequence[int], left: list[int]) -> Decimal:
    """Return the credit in units of `risks`; deltas are consumed spread by spread, in their order.

    `lanes` holds the net deltas, `left` begins as its copy and is used up. What is left of the deltas is a whole number
    over `scale`, so nothing is rounded but the quotient of a credit.
    """
    scale = 1
    credit = ZERO
    for legs, rate in offsets:
        way = formed = 0
        divisor = 1
        for _, lane, side, ratio in legs:
            delta = left[lane] * side
            if delta < 0:
                if way > 0:
                    break
                way, delta = -1, -delta
            elif way < 0 or not delta:
                break
            else:
                way = 1
            if not formed or delta * divisor < formed * ratio:
                formed, divisor = delta, ratio
        else:
            if divisor != 1 and any(formed * ratio % divisor for _, _, _, ratio in legs):
                left = [delta * divisor for delta in left]
                scale *= divisor
                formed *= divisor
            saved: int | Decimal = 0
            for product, lane, side, ratio in legs:
                consumed = formed * ratio if divisor == 1 else formed * ratio // divisor
                left[lane] -= consumed if way == side else -consumed
                net = lanes[lane] if way == side else -lanes[lane]
                if scale != 1:
                    net *= scale
                if consumed == net:
                    saved += risks[product]
                    continue
                part = consumed * risks[product]
                share = part // net
                saved += share if share * net == part else Decimal(part) / net
            credit += saved * rate
    return credit
