"""What a SPAN risk parameter file says, whatever its format, and how it becomes parameters.

A reader (`span_pa2`, `span_xml`) fills `SpanFile` and reports in it everything it did not understand: unknown record
types, fields that are no numbers, methods that are not modelled. Nothing is guessed: what cannot be read is left out,
counted and named with its line.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from attrs import define, field, frozen

from venues.model.money import ONE, ZERO
from venues.rules.errors import BadTableError, RuleError, UnknownProductError
from venues.rules.span_levels import AccountType
from venues.rules.span_parameters import Parameters
from venues.rules.span_product import DeliveryRate, InterLeg, InterSpread, IntraSpread, Product

KEPT_GAPS = 1_000
"""How many gaps are kept with their line; beyond, they are only counted."""


class SpanFileError(RuleError):
    """A file that is no SPAN file of the expected format; `field` names where."""


@frozen
class Gap:
    """Something in the file that was not understood, with its line (from 1)."""

    line: int
    record: str
    field: str
    why: str

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"line {self.line}: {self.record}{f' {self.field}' if self.field else ''}: {self.why}"


@define
class Report:
    """What was read: records by type, those known but not needed, those unknown, and the gaps."""

    read: Counter[str] = field(factory=Counter)
    skipped: Counter[str] = field(factory=Counter)
    unknown: Counter[str] = field(factory=Counter)
    gaps: list[Gap] = field(factory=list)
    gaps_total: int = 0

    def gap(self, line: int, record: str, name: str, why: str) -> None:
        """Note that `name` of `record` was not understood."""
        self.gaps_total += 1
        if len(self.gaps) < KEPT_GAPS:
            self.gaps.append(Gap(line, record, name, why))

    @property
    def is_complete(self) -> bool:
        """Whether everything in the file was understood."""
        return not self.gaps_total and not self.unknown

    def lines(self) -> list[str]:
        """Return the report for a person, one line each."""
        said = [f"{name}: {count} unknown" for name, count in sorted(self.unknown.items())]
        said += [str(gap) for gap in self.gaps]
        if self.gaps_total > len(self.gaps):
            said.append(f"and {self.gaps_total - len(self.gaps)} more")
        return said


@frozen
class ContractId:
    """One future or option: months as CCYYMM, `day` the day or week code where there is one."""

    exchange: str
    product: str
    kind: str
    month: str
    day: str = ""
    right: str = ""
    option_month: str = ""
    option_day: str = ""
    strike: Decimal = ZERO

    @property
    def name(self) -> str:
        """Return a name such as `ES 202612` or `EW 202612 202611 C 6700`."""
        parts = [self.product, self.month + self.day]
        if self.right:
            parts += [self.option_month + self.option_day, f"{self.right} {format(self.strike.normalize(), 'f')}"]
        return " ".join(parts)


@frozen
class Contract:
    """One contract's array (losses of one long, in margin currency) and its deltas per contract."""

    id: ContractId
    array: tuple[Decimal, ...]
    delta: Decimal
    settlement: Decimal | None = None


@define
class Commodity:
    """One combined commodity as the file has it; money in its margin currency."""

    code: str
    exchange: str = ""
    currency: str = ""
    families: list[tuple[str, str, str]] = field(factory=list)
    contracts: dict[str, Contract] = field(factory=dict)
    tiers: dict[str, tuple[str, str]] = field(factory=dict)
    tier_spreads: list[IntraSpread] = field(factory=list)
    month_spreads: list[IntraSpread] = field(factory=list)
    delivery: dict[str, DeliveryRate] = field(factory=dict)
    short_option_minimum: Decimal = ZERO
    ratios: dict[AccountType, Decimal] = field(factory=dict)


@define
class SpanFile:
    """A file's content in the vocabulary of SPAN, and what was not understood in it."""

    complex: str = ""
    day: date | None = None
    is_settlement: bool | None = None
    commodities: dict[str, Commodity] = field(factory=dict)
    inter_spreads: list[InterSpread] = field(factory=list)
    report: Report = field(factory=Report)


def parameters(file: SpanFile, codes: tuple[str, ...], account: AccountType) -> Parameters:
    """Return the parameters of the combined commodities `codes` for `account`.

    Positions are then named (combined commodity, `ContractId.name`). Month spreads come before tier spreads. A file has
    a ratio for each combined commodity; here it must be one for all. Inter-commodity spreads with a leg outside `codes`
    are left out: such a leg has no position. Raises UnknownProductError, BadTableError and what `Parameters` raises.
    """
    products = {}
    intra: list[IntraSpread] = []
    ratios: dict[str, Decimal] = {}
    for code in codes:
        commodity = file.commodities.get(code)
        if commodity is None:
            raise UnknownProductError("codes", f"the file has no combined commodity {code!r}")
        product = products[code] = _product(commodity)
        named = {*product.periods.values(), *product.tiers}
        ordered = [
            spread
            for spreads in (commodity.month_spreads, commodity.tier_spreads)
            for spread in sorted(spreads, key=lambda one: one.priority)
            # A month or tier of which the file lists no contract cannot be held either.
            if named.issuperset(spread.legs)
        ]
        intra += [
            IntraSpread(code, number, spread.legs, spread.charge) for number, spread in enumerate(ordered, start=1)
        ]
        ratios[code] = commodity.ratios.get(account, ONE)
    if len(set(ratios.values())) > 1:
        raise BadTableError("initial_ratio", f"differs among {ratios}: ask for them one at a time")
    inter = tuple(spread for spread in file.inter_spreads if all(leg.product in products for leg in spread.legs))
    notes = () if file.report.is_complete else (f"{file.report.gaps_total} gaps in the SPAN file, see its report",)
    return Parameters(products, next(iter(ratios.values()), ONE), tuple(intra), inter, notes)


def _product(commodity: Commodity) -> Product:
    held = commodity.contracts
    months = sorted({contract.id.month for contract in held.values()})
    tiers = {
        name: tuple(month for month in months if first <= month <= last)
        for name, (first, last) in commodity.tiers.items()
    }
    return Product(
        arrays={name: contract.array for name, contract in held.items()},
        deltas={name: contract.delta for name, contract in held.items()},
        short_option_minimum=commodity.short_option_minimum,
        options=frozenset(name for name, contract in held.items() if contract.id.right),
        periods={name: contract.id.month for name, contract in held.items()},
        tiers={name: listed for name, listed in tiers.items() if listed},
        in_deltas=True,
        delivery=commodity.delivery,
    )


def add_inter_spread(
    file: SpanFile, line: int, record: str, spread: InterSpread, known: Mapping[str, Commodity]
) -> None:
    """Enter a spread, or say why not."""
    for leg in spread.legs:
        if leg.product not in known:
            file.report.gap(line, record, "leg", f"{leg.product!r} is no combined commodity of this file")
            return
        if leg.ratio <= ZERO:
            file.report.gap(line, record, "ratio", f"{leg.ratio} of {leg.product} is not positive")
            return
    if not ZERO <= spread.credit_rate <= ONE or len(spread.legs) < 2:
        file.report.gap(line, record, "credit_rate", f"{spread.credit_rate} on {len(spread.legs)} legs is no credit")
        return
    if len({leg.product for leg in spread.legs}) < len(spread.legs):
        file.report.gap(line, record, "legs", "one combined commodity stands on two legs: not modelled")
        return
    file.inter_spreads.append(spread)


__all__ = [
    "Commodity",
    "Contract",
    "ContractId",
    "Gap",
    "InterLeg",
    "Report",
    "SpanFile",
    "SpanFileError",
    "add_inter_spread",
    "parameters",
]
