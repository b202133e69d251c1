"""Decides how much the desk as a whole may be exposed: to one asset, to assets that move together, to a quote currency.

One unit for everything: the value in quote money of the base asset that a position is long (positive) or short. The
counter-value is what it is short of its quote currency: a desk long against USD and short against USDT is flat in the
asset and exposed to what a USDT is worth.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.guards.findings import NOTHING, Finding, Findings, Guard, GuardReason, Severity, unknown
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.rules.contracts import Contract, parse_contract
from venues.rules.errors import RuleError


class AssetClass(StrEnum):
    """What an instrument is, and with that which guards speak of it."""

    SPOT = "spot"
    CRYPTO_PERPETUAL = "crypto_perpetual"
    CRYPTO_DATED = "crypto_dated"
    CME_FUTURE = "cme_future"
    OTHER_FUTURE = "other_future"


@frozen
class CorrelatedGroup:
    """Base assets whose deltas are summed, and the most their sum may be in quote money."""

    assets: tuple[str, ...]
    net_max: Decimal = field(validator=positive)


@frozen
class PortfolioConfig:
    """Quote money. `net_max` bounds one asset's net delta, `basis_max` what is long or short of one quote currency."""

    net_max: Decimal = field(default=Decimal(1_000_000), validator=positive)
    basis_max: Decimal = field(default=Decimal(1_000_000), validator=positive)
    correlated: Mapping[str, CorrelatedGroup] = field(factory=dict)


@define
class PortfolioFacts:
    """Net deltas in quote money by base asset and by quote currency; `unpriced` are positions without a price."""

    by_base: Mapping[str, Decimal]
    by_quote: Mapping[str, Decimal]
    unpriced: tuple[str, ...] = ()


def asset_class(spec: Instrument) -> AssetClass:
    """Return what an instrument is, from its kind and, for futures, whether its symbol is one of CME's contracts."""
    if spec.is_spot:
        return AssetClass.SPOT
    if spec.kind is InstrumentKind.PERPETUAL:
        return AssetClass.CRYPTO_PERPETUAL
    if spec.kind is InstrumentKind.QUARTERLY:
        return AssetClass.CRYPTO_DATED
    return AssetClass.OTHER_FUTURE if contract_of(spec) is None else AssetClass.CME_FUTURE


def contract_of(spec: Instrument) -> Contract | None:
    """Return the CME contract that a future's symbol names, None for others."""
    if spec.kind is not InstrumentKind.FUTURE:
        return None
    try:
        return parse_contract(spec.symbol)
    except RuleError:
        return None


def decide(facts: PortfolioFacts, config: PortfolioConfig) -> Findings:
    """BLOCK beyond any bound. A single quote currency is no basis: only two or more differ from each other."""
    if facts.unpriced:
        return unknown(Guard.PORTFOLIO, "", f"no price for {', '.join(sorted(facts.unpriced))}")
    is_over = bool(config.correlated)
    for values, most in ((facts.by_base, config.net_max), (facts.by_quote, config.basis_max)):
        for name, value in values.items():
            if not value.is_finite():
                return unknown(Guard.PORTFOLIO, name, f"its exposure is {value}")
            if value.copy_abs() > most:
                is_over = True
    if not is_over:
        return NOTHING
    found = [
        _over(base, GuardReason.NET_DELTA, net, config.net_max)
        for base, net in sorted(facts.by_base.items())
        if abs(net) > config.net_max
    ]
    for name, group in sorted(config.correlated.items()):
        net = sum((facts.by_base.get(asset, ZERO) for asset in group.assets), ZERO)
        if abs(net) > group.net_max:
            found.append(_over(name, GuardReason.CORRELATED_DELTA, net, group.net_max))
    if len(facts.by_quote) > 1:
        found += [
            _over(quote, GuardReason.QUOTE_BASIS, net, config.basis_max)
            for quote, net in sorted(facts.by_quote.items())
            if abs(net) > config.basis_max
        ]
    return tuple(found)


def _over(subject: str, reason: GuardReason, value: Decimal, limit: Decimal) -> Finding:
    text = f"{value:.8g} is over {limit:.8g}"
    return Finding(Guard.PORTFOLIO, Severity.BLOCK, reason, subject, text, {"value": value, "limit": limit})
