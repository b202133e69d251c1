"""Decides what a venue's `simulation` table says: its fund, crowds, cascades, price controls and calendar."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from attrs import field, frozen

from sim.population import Population, participants
from sim.venue_rules import INSURANCE_START
from sim.venue_settings import CascadeModel, Controls, Participant, VenueSettings
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.rules.cme_products import Product
from venues.rules.contracts import parse_contract
from venues.rules.errors import RuleError


@frozen
class Crowd:
    """Simulated traders in one contract, made from the run's seed; `sim/population.py` says what each field means."""

    symbol: str
    pairs: int
    price: Decimal
    qty_max: Decimal
    leverage_max: int | None = None
    entry_spread: Decimal = Decimal("0.02")
    isolated: Decimal = Decimal("0.5")

    def population(self, spec: Instrument) -> Population:
        """Return the model. Raises BadValueError."""
        leverage = spec.max_leverage if self.leverage_max is None else self.leverage_max
        return Population(spec, self.pairs, self.price, self.qty_max, leverage, self.entry_spread, self.isolated)


@frozen
class Simulation:
    """What a simulated venue has beyond its rules. `controls` are by symbol; everything is off by default."""

    insurance_start: Decimal = INSURANCE_START
    insurance_reserve: Decimal = ZERO
    cascade: CascadeModel | None = None
    populations: tuple[Crowd, ...] = ()
    controls: Mapping[str, Controls] = field(factory=dict)
    calendar: bool = False
    daily_settlement: bool = False
    base_fees: bool = False

    def settings(self, specs: Mapping[str, Instrument], seed: int) -> VenueSettings:
        """Return the venue's settings; `specs` are its instruments by symbol. Raises BadValueError."""
        crowd: list[Participant] = []
        for index, one in enumerate(self.populations):
            crowd += participants(one.population(specs[one.symbol]), seed + index, f"crowd{index}-")
        return VenueSettings(
            self.insurance_start,
            self.insurance_reserve,
            tuple(crowd),
            self.cascade,
            {specs[symbol].id: rules for symbol, rules in self.controls.items()},
            self.calendar,
            self.daily_settlement,
            self.base_fees,
        )

    def product(self, spec: Instrument) -> Product | None:
        """Return what gives an instrument its hours, None for one that never closes."""
        try:
            return parse_contract(spec.symbol).product if self.calendar else None
        except RuleError:
            return None

    def symbols(self) -> Iterator[tuple[str, str]]:
        """Yield (key, symbol) for every instrument that is named."""
        for index, one in enumerate(self.populations):
            yield f"populations[{index}].symbol", one.symbol
        for symbol in self.controls:
            yield f"controls.{symbol}", symbol

    def mistakes(self, rules: str, specs: Mapping[str, Instrument]) -> Iterator[tuple[str, str]]:
        """Yield (key, why) for what does not go with the venue's rules and instruments."""
        try:
            VenueSettings(self.insurance_start, self.insurance_reserve)
            VenueSettings(calendar=self.calendar, daily_settlement=self.daily_settlement)
        except RuleError as error:
            yield error.field, error.why
        if self.calendar and rules != "cme":
            yield "calendar", f"{rules} markets never close"
        for spec in specs.values() if self.calendar and rules == "cme" else ():
            try:
                parse_contract(spec.symbol)
            except RuleError as error:
                yield "calendar", error.why
        for symbol, rules_of in self.controls.items():
            try:
                if symbol in specs:
                    rules_of.check_for(specs[symbol], self.product(specs[symbol]))
            except RuleError as error:
                yield f"controls.{symbol}.{error.field}", error.why
        for index, one in enumerate(self.populations):
            try:
                if one.symbol in specs:
                    one.population(specs[one.symbol])
            except RuleError as error:
                yield f"populations[{index}].{error.field}", error.why
