"""Which SPAN parameters hold together on one day: products, spreads, the ratio of initial to maintenance."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from attrs import field, frozen

from venues.model.money import ONE
from venues.rules.span_layout import Layout, decimals_of, delta_decimals_of
from venues.rules.span_product import (
    InterSpread,
    IntraSpread,
    Product,
    check_inter,
    check_intra,
    check_product,
    positive,
)


@frozen
class Parameters:
    """One day's parameters. Raises RuleError naming the field, such as `products.ES.scan_risk`, when inconsistent.

    Spreads are kept in ascending priority, equal priorities as given. `notes` go into every result. `layouts` is what
    `span` calculates with, in whole numbers of `unit`.
    """

    products: Mapping[str, Product]
    initial_ratio: Decimal
    intra_spreads: tuple[IntraSpread, ...] = ()
    inter_spreads: tuple[InterSpread, ...] = ()
    notes: tuple[str, ...] = ()
    unit: Decimal = field(init=False, eq=False, repr=False)
    layouts: Mapping[str, Layout] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Check everything, then lay the products out in whole numbers of 10^-decimals."""
        positive("initial_ratio", self.initial_ratio)
        for code, product in self.products.items():
            check_product(f"products.{code}", product)
        for index, intra in enumerate(self.intra_spreads):
            check_intra(f"intra_spreads[{index}]", intra, self.products)
        for index, inter in enumerate(self.inter_spreads):
            check_inter(f"inter_spreads[{index}]", inter, self.products)
        intra_spreads = tuple(sorted(self.intra_spreads, key=lambda spread: spread.priority))
        inter_spreads = tuple(sorted(self.inter_spreads, key=lambda spread: spread.priority))
        decimals = max((decimals_of(value) for value in self._money()), default=0)
        delta_decimals = max(map(delta_decimals_of, self.products.values()), default=0)
        layouts = {}
        for code, product in self.products.items():
            spreads = tuple(spread for spread in intra_spreads if spread.product == code)
            layouts[code] = Layout(code, product, spreads, decimals, delta_decimals)
        for name, value in (
            ("intra_spreads", intra_spreads),
            ("inter_spreads", inter_spreads),
            ("unit", ONE.scaleb(-decimals)),
            ("layouts", layouts),
        ):
            object.__setattr__(self, name, value)

    def _money(self) -> Iterator[Decimal]:
        for product in self.products.values():
            if product.scan_risk is not None:
                yield product.scan_risk
            yield from (product.months or {}).values()
            for array in (product.arrays or {}).values():
                yield from array
            yield product.delivery_charge
            yield product.short_option_minimum
            for rate in product.delivery.values():
                yield rate.spread
                yield rate.outright
        for spread in self.intra_spreads:
            yield spread.charge
