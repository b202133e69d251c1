"""What every guard that is switched on finds about what the desk holds now."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal

from actors.guards import (
    adl,
    circuit,
    concentration,
    funding,
    leverage,
    liquidation_distance,
    margin,
    portfolio,
    position_limits,
    rollover,
    settlement,
    size,
    span,
)
from actors.guards.book import Book, Held
from actors.guards.config import switches
from actors.guards.dated import circuit_facts, rollover_facts, span_maintenance, span_parameters, trade_date
from actors.guards.exposure import Exposure, measure
from actors.guards.findings import Finding, Guard, unknown
from actors.guards.funding import FundingFacts
from actors.guards.leverage import LeverageFacts
from actors.guards.liquidation_distance import DistanceFacts
from actors.guards.portfolio import AssetClass
from actors.liquidation_price import NoLiquidationPriceError, liquidation_price
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO
from venues.model.order import Side
from venues.rules.brackets import bracket_or_last
from venues.rules.contracts import Contract
from venues.rules.errors import RuleError
from venues.rules.settlement import expiry_cash

Found = Iterator[tuple[str, Finding]]
"""Findings with the account they are about, empty for all of them."""

_DATED = (AssetClass.CRYPTO_DATED, AssetClass.CME_FUTURE, AssetClass.OTHER_FUTURE)


class Judge:
    """`isolated` are the accounts whose margin is not shared: only their venue can name a liquidation price."""

    def __init__(self, book: Book, isolated: frozenset[str] = frozenset()) -> None:
        self.book = book
        self.isolated = isolated
        self.on = switches(book.config.on)
        self._checks = [check for guard, check in _CHECKS.items() if guard in book.config.on]

    def findings(self, now: int) -> Found:
        """Yield everything that the guards find now, in the order of their names."""
        exposure = measure(self.book, now)
        for check in self._checks:
            yield from check(self, now, exposure)

    def _held(self) -> Iterator[tuple[str, Held, Instrument, Decimal]]:
        """Yield the positions that are known; what is not known is a finding of every guard that sums."""
        for key, held in self.book.state.held.items():
            spec = self.book.instruments.get(held.instrument)
            if spec is not None and held.qty:
                yield key, held, spec, held.qty

    # Margin, leverage, size

    def margin(self, now: int, exposure: Exposure) -> Found:
        state, config = self.book.state, self.book.config.margin
        for account, level in state.levels.items():
            facts = margin.MarginFacts(account, level, state.coverages.get(account))
            yield from ((account, one) for one in margin.decide(facts, config))

    def leverage(self, now: int, exposure: Exposure) -> Found:
        book, config = self.book, self.book.config.leverage
        for _, held, spec, _ in self._held():
            if not spec.is_spot:
                facts = self.leverage_facts(now, held.account, spec, held.qty)
                yield from ((held.account, one) for one in leverage.decide(facts, config))
        for account, value in exposure.on_margin.items():
            equity = book.account_equity(now, account)
            facts = LeverageFacts(account, value, equity, is_account=True)
            yield from ((account, one) for one in leverage.decide(facts, config))

    def leverage_facts(self, now: int, account: str, spec: Instrument, qty: Decimal | None) -> LeverageFacts:
        """Return what `qty` of an instrument stands on in an account, in quote money."""
        book = self.book
        unit, equity = book.unit(now, spec.id), book.equity(now, account, spec.settle)
        if unit is None or qty is None:
            return LeverageFacts(spec.id, None, equity)
        value = qty.copy_abs() * unit
        if equity is not None and spec.settle not in book.config.par:
            worth = book.value_of(now, spec.settle)
            equity = None if worth is None else equity * worth
        if not spec.brackets:
            return LeverageFacts(spec.id, value, equity)
        size = value if book.lines[spec.id].is_plain else spec.notional(qty, book.price(now, spec.id) or ONE)
        return LeverageFacts(spec.id, value, equity, bracket_or_last(spec.brackets, size).max_leverage)

    def size(self, now: int, exposure: Exposure) -> Found:
        book, config = self.book, self.book.config.size
        for instrument, value in exposure.by_instrument.items():
            facts = size.SizeFacts(instrument, value, exposure.positions, scale=self.scale(now, instrument))
            yield from (("", one) for one in size.decide(facts, config))
        if config.trailing_stop is None:
            return
        for _, held, spec, qty in self._held():
            trail = size.TrailFacts(spec.id, book.price(now, spec.id), held.best, 1 if qty > ZERO else -1)
            yield from ((held.account, one) for one in size.trailing(trail, config))

    def scale(self, now: int, instrument: str) -> Decimal:
        """Return the share of its size that the circuit guard leaves an instrument."""
        if not self.on.circuit:
            return ONE
        facts = circuit_facts(self.book, now, instrument)
        return ONE if facts is None else circuit.factor(facts, self.book.config.circuit)

    def concentration(self, now: int, exposure: Exposure) -> Found:
        config = self.book.config
        facts = concentration.ConcentrationFacts(exposure.by_asset, config.account_limit)
        yield from (("", one) for one in concentration.decide(facts, config.concentration))

    def portfolio(self, now: int, exposure: Exposure) -> Found:
        facts = portfolio.PortfolioFacts(exposure.net_base, exposure.net_quote, tuple(exposure.unpriced))
        yield from (("", one) for one in portfolio.decide(facts, self.book.config.portfolio))

    # Funding, deleveraging, liquidation

    def funding(self, now: int, exposure: Exposure) -> Found:
        for _, held, spec, qty in self._held():
            if self.book.lines[spec.id].kind is AssetClass.CRYPTO_PERPETUAL:
                facts = self.funding_facts(now, spec.id, held.account, 1 if qty > ZERO else -1, held.since_ns)
                yield from ((held.account, one) for one in funding.decide(facts, self.book.config.funding))

    def funding_facts(
        self, now: int, instrument: str, account: str, way: int, since_ns: int | None = None
    ) -> FundingFacts:
        """Return what is known of a perpetual's funding on one side; a rate as old as no price may be is none."""
        book, config = self.book, self.book.config
        rate = book.state.rates.get(instrument)
        cumulated = book.cumulated_bps(now, account, instrument, funding.DAY_NS)
        held_ns = 0 if since_ns is None else now - since_ns
        if rate is None or rate.ts < now - config.price_age_max_ns:
            return FundingFacts(instrument, way, None, config.funding.interval_hours, now, cumulated, held_ns)
        hours = rate.interval_hours or config.funding.interval_hours
        over = rate.over.get(str(way), 0)
        return FundingFacts(instrument, way, rate.rate, hours, now, cumulated, held_ns, over, rate.next_ns)

    def adl(self, now: int, exposure: Exposure) -> Found:
        for key, held, spec, _ in self._held():
            if not spec.is_spot:
                facts = adl.AdlFacts(spec.id, self.book.state.ranks.get(key))
                yield from ((held.account, one) for one in adl.decide(facts, self.book.config.adl))

    def liquidation_distance(self, now: int, exposure: Exposure) -> Found:
        config = self.book.config.liquidation_distance
        for key, held, spec, qty in self._held():
            if not spec.is_spot:
                facts = self._distance(now, key, held, spec, qty)
                yield from ((held.account, one) for one in liquidation_distance.decide(facts, config))

    def _distance(self, now: int, key: str, held: Held, spec: Instrument, qty: Decimal) -> DistanceFacts:
        book = self.book
        mark, named = book.price(now, spec.id), book.state.named.get(key)
        if mark is None or mark <= ZERO:
            return DistanceFacts(spec.id, None)
        # The venue's own price holds for the position it was named for.
        price = named[1] if named is not None and named[0] == qty else None
        if price is None:
            if held.account in self.isolated:
                return DistanceFacts(spec.id, None)
            members = book.members(now, held.account, spec.settle)
            wallet = book.wallet(held.account, spec.settle)
            if members is None or wallet is None:
                return DistanceFacts(spec.id, None)
            try:
                price = liquidation_price(wallet, spec, members)
            except NoLiquidationPriceError:
                return DistanceFacts(spec.id, None)
        if price is None:
            return DistanceFacts(spec.id, None, is_safe=True)
        away = (mark - price) / mark
        return DistanceFacts(spec.id, away if qty > ZERO else -away)

    # Futures

    def span(self, now: int, exposure: Exposure) -> Found:
        book, config = self.book, self.book.config.span
        positions = self.contracts()
        parameters = span_parameters(book, now) if positions else None
        for account, mine in positions.items():
            facts = span.SpanFacts(account, book.account_equity(now, account), span_maintenance(parameters, mine))
            yield from ((account, one) for one in span.decide(facts, config))

    def contracts(self) -> dict[str, dict[Contract, Decimal]]:
        """Return the signed positions in CME contracts by account."""
        found: dict[str, dict[Contract, Decimal]] = {}
        for _, held, spec, qty in self._held():
            contract = self.book.contracts.get(spec.id)
            if contract is not None:
                mine = found.setdefault(held.account, {})
                mine[contract] = mine.get(contract, ZERO) + qty
        return found

    def position_limits(self, now: int, exposure: Exposure) -> Found:
        sums: dict[Contract, Decimal] = {}
        for mine in self.contracts().values():
            for contract, qty in mine.items():
                sums[contract] = sums.get(contract, ZERO) + qty
        if sums:
            facts = position_limits.LimitFacts(sums, trade_date(now))
            yield from (("", one) for one in position_limits.decide(facts, self.book.config.position_limits))
        for _, held, spec, _ in self._held():
            if self.book.lines[spec.id].kind is AssetClass.OTHER_FUTURE:
                what = "it is no contract of the tables"
                yield from ((held.account, one) for one in unknown(Guard.POSITION_LIMITS, spec.id, what))

    def circuit(self, now: int, exposure: Exposure) -> Found:
        for instrument in exposure.by_instrument:
            facts = circuit_facts(self.book, now, instrument) if instrument in self.book.contracts else None
            if facts is not None:
                yield from (("", one) for one in circuit.decide(facts, self.book.config.circuit))

    def settlement(self, now: int, exposure: Exposure) -> Found:
        book = self.book
        sums: dict[str, Decimal | None] = {}
        for _, held, spec, qty in self._held():
            if spec.id not in book.contracts:
                continue
            last, price, before = (
                book.state.settlements.get(spec.id),
                book.price(now, spec.id),
                sums.get(held.account, ZERO),
            )
            try:
                cash = None if last is None or price is None else expiry_cash(qty, spec.multiplier, last, price)
            except RuleError:
                cash = None
            sums[held.account] = None if cash is None or before is None else before + cash
        for account, variation in sums.items():
            facts = settlement.SettlementFacts(account, variation, book.account_equity(now, account))
            yield from ((account, one) for one in settlement.decide(facts, book.config.settlement))

    def rollover(self, now: int, exposure: Exposure) -> Found:
        book, day = self.book, trade_date(now)
        for _, held, spec, qty in self._held():
            if book.lines[spec.id].kind in _DATED:
                side = Side.BUY if qty > ZERO else Side.SELL
                facts = rollover_facts(spec, book.contracts.get(spec.id), side, day, book.config.rollover)
                yield from ((held.account, one) for one in rollover.decide(facts, book.config.rollover))


_CHECKS: Mapping[Guard, Callable[[Judge, int, Exposure], Found]] = {
    Guard.MARGIN: Judge.margin,
    Guard.LEVERAGE: Judge.leverage,
    Guard.SIZE: Judge.size,
    Guard.CONCENTRATION: Judge.concentration,
    Guard.FUNDING: Judge.funding,
    Guard.ADL: Judge.adl,
    Guard.LIQUIDATION_DISTANCE: Judge.liquidation_distance,
    Guard.SPAN: Judge.span,
    Guard.POSITION_LIMITS: Judge.position_limits,
    Guard.CIRCUIT: Judge.circuit,
    Guard.SETTLEMENT: Judge.settlement,
    Guard.ROLLOVER: Judge.rollover,
    Guard.PORTFOLIO: Judge.portfolio,
}
