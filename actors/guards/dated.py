"""Which days and references the guards of dated contracts go by: trade date, close-out days, price limits, SPAN."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import cache, lru_cache

from attrs import evolve

from actors.guards.book import Book
from actors.guards.circuit import CircuitFacts
from actors.guards.rollover import RolloverConfig, RolloverFacts
from venues.model.instrument import Instrument
from venues.model.money import ONE, ZERO
from venues.model.order import Side
from venues.rules.calendar import OPEN, chicago, is_cash_session
from venues.rules.cme_products import Group
from venues.rules.contracts import Contract, next_contract
from venues.rules.errors import RuleError
from venues.rules.expiry import CloseOutRule, close_out_date
from venues.rules.holidays import business_day_from
from venues.rules.instants import instant_of
from venues.rules.span import Holding, requirement
from venues.rules.span_levels import ROUGH, fallback_parameters
from venues.rules.span_parameters import Parameters

_DAY = timedelta(days=1)
_MINUTE_NS = 60_000_000_000


def trade_date(now: int) -> date:
    """Return the day a session belongs to: from 17:00 Chicago on the next one. Weekends are not skipped."""
    return _trade_date(now // _MINUTE_NS)


@lru_cache(maxsize=16)
def _trade_date(minute: int) -> date:
    local = chicago(instant_of(minute * _MINUTE_NS))
    return local.date() + _DAY if local.time() >= OPEN else local.date()


# Rollover


def rollover_facts(
    spec: Instrument, contract: Contract | None, side: Side, day: date, config: RolloverConfig
) -> RolloverFacts:
    """Return the facts of a side of a dated contract: by CME's rules, else by the instrument's own expiry."""
    try:
        if contract is not None:
            warn_day, flat_day, following = _close_out(contract, side, config)
            return RolloverFacts(spec.id, day, warn_day, flat_day, following)
        if spec.expiry_ns is not None:
            ends = instant_of(spec.expiry_ns).date()
            warn_day, flat_day = (business_day_from(ends, -count) for count in (config.warn_days, config.flat_days))
            return RolloverFacts(spec.id, day, warn_day, flat_day)
    except RuleError:
        pass
    return RolloverFacts(spec.id, day, None, None)


@cache
def _close_out(contract: Contract, side: Side, config: RolloverConfig) -> tuple[date, date, str]:
    """Return the day to be warned of, the day to be flat on, and the contract that follows."""
    warn_day = close_out_date(contract, side, CloseOutRule(config.warn_days))
    flat_day = close_out_date(contract, side, CloseOutRule(config.flat_days))
    return warn_day, flat_day, next_contract(contract).symbol


# Price limits


def circuit_facts(book: Book, now: int, instrument: str) -> CircuitFacts | None:
    """Return an equity index future's price and settlement, None for what has no circuit breaker levels."""
    contract = book.contracts.get(instrument)
    if contract is None or contract.product.group is not Group.EQUITY:
        return None
    try:
        is_cash = is_cash_session(contract.product, instant_of(now))
    except RuleError:
        return CircuitFacts(instrument, None, None)
    return CircuitFacts(instrument, book.price(now, instrument), book.state.settlements.get(instrument), is_cash)


# SPAN


def span_parameters(book: Book, now: int) -> Parameters | None:
    """Return the parameters for every contract of the desk: the instrument's own margin, else the rough guide's.

    None when a contract has neither, or no price. Raises nothing: what is unknown is for the guard to say.
    """
    contracts = []
    for instrument, contract in book.contracts.items():
        unit = book.unit(now, instrument)
        if unit is None:
            return None
        contracts.append((contract, unit, book.instruments[instrument].maintenance_margin))
    return _parameters(tuple(contracts))


@lru_cache(maxsize=16)
def _parameters(rows: tuple[tuple[Contract, Decimal, Decimal | None], ...]) -> Parameters | None:
    notionals: dict[str, Decimal] = {}
    ranges = dict(ROUGH.ranges)
    months: dict[str, list[str]] = {}
    for contract, unit, margin in rows:
        months.setdefault(contract.root, []).append(contract.symbol)
        notionals.setdefault(contract.root, unit)
        if margin is not None:
            ranges[contract.root] = margin / notionals[contract.root]
    try:
        return fallback_parameters(notionals, ONE, months, evolve(ROUGH, ranges=ranges))
    except RuleError:
        return None


def span_maintenance(parameters: Parameters | None, positions: Mapping[Contract, Decimal]) -> Decimal | None:
    """Return the maintenance requirement of signed positions, None when it cannot be computed."""
    if not any(positions.values()):
        return ZERO
    if parameters is None:
        return None
    try:
        return requirement(parameters, _portfolio(positions)).maintenance
    except RuleError:
        return None


def _portfolio(positions: Mapping[Contract, Decimal]) -> Sequence[Holding]:
    return [Holding(one.root, qty, one.symbol) for one, qty in positions.items() if qty]
