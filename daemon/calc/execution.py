"""Schedules, shortfall, impact, common quantities and slippage, asked on the command line."""

from decimal import Decimal
from typing import Any

from attrs import asdict, evolve, frozen

from daemon.calc.core import calc
from venues.costs.impact import square_root_impact
from venues.costs.shortfall import (
    Execution,
    attribution,
    implementation_shortfall,
    quality,
    slippage_bps,
    vwap_price,
)
from venues.costs.slippage_cme import cme_slippage
from venues.costs.slippage_crypto import DEFAULT, crypto_slippage
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ONE, ZERO
from venues.model.order import Side
from venues.rules.checks import not_negative, positive
from venues.rules.cme_products import product
from venues.rules.float_checks import to_decimal
from venues.schedules.almgren_chriss import almgren_chriss
from venues.schedules.common_quantity import SizedLeg, common_quantity
from venues.schedules.sizing import size
from venues.schedules.slices import pov_child, twap, vwap


@frozen
class Twap:
    qty: Decimal
    step: Decimal
    slices: int


@calc("exec.twap_schedule")
def twap_schedule(given: Twap) -> dict[str, Any]:
    return {"quantities": twap(given.qty, given.step, given.slices)}


@frozen
class Vwap:
    qty: Decimal
    step: Decimal
    weights: tuple[Decimal, ...]


@calc("exec.vwap_schedule")
def vwap_schedule(given: Vwap) -> dict[str, Any]:
    return {"quantities": vwap(given.qty, given.step, given.weights)}


@frozen
class PovChild:
    rate: Decimal
    others_volume: Decimal


@calc("exec.pov_child")
def one_pov_child(given: PovChild) -> dict[str, Any]:
    return {"quantity": pov_child(given.rate, given.others_volume)}


@frozen
class AlmgrenChriss:
    shares: Decimal
    horizon: Decimal
    intervals: int
    sigma: Decimal
    epsilon: Decimal
    gamma: Decimal
    eta: Decimal
    risk_aversion: Decimal


@calc("exec.almgren_chriss")
def trajectory(given: AlmgrenChriss) -> dict[str, Any]:
    found = almgren_chriss(
        given.shares,
        float(given.horizon),
        given.intervals,
        float(given.sigma),
        float(given.epsilon),
        float(given.gamma),
        float(given.eta),
        float(given.risk_aversion),
    )
    return asdict(found)


@frozen
class ShortfallInput:
    side: Side
    qty: Decimal
    decision_price: Decimal
    arrival_price: Decimal
    end_price: Decimal
    fills: tuple[Execution, ...]
    fees: Decimal


@calc("exec.implementation_shortfall")
def shortfall(given: ShortfallInput) -> dict[str, Any]:
    found = implementation_shortfall(
        given.side,
        given.qty,
        given.decision_price,
        given.arrival_price,
        given.end_price,
        given.fills,
        given.fees,
    )
    return asdict(found)


@frozen
class SquareRootImpact:
    daily_volatility: Decimal
    participation: Decimal
    coefficient: Decimal


@calc("exec.square_root_impact")
def square_root(given: SquareRootImpact) -> dict[str, Any]:
    return {"impact_bps": square_root_impact(given.daily_volatility, given.participation, given.coefficient)}


@frozen
class CommonQuantityInput:
    legs: tuple[SizedLeg, ...]
    notional: Decimal


@calc("exec.common_quantity")
def common(given: CommonQuantityInput) -> dict[str, Any]:
    return asdict(common_quantity(given.legs, given.notional))


@frozen
class PositionSize:
    """One instrument; `usd_per_quote` is what a unit of its quote is worth."""

    usd: Decimal
    price: Decimal
    step: Decimal
    multiplier: Decimal = ONE
    inverse: bool = False
    min_qty: Decimal = ZERO
    max_qty: Decimal | None = None
    min_notional: Decimal = ZERO
    usd_per_quote: Decimal = ONE


@calc("exec.position_size")
def position_size(given: PositionSize) -> dict[str, Any]:
    spec = Instrument(
        "",
        "",
        InstrumentKind.PERPETUAL,
        "",
        "",
        ONE,
        positive(given.step, "step"),
        inverse=given.inverse,
        multiplier=positive(given.multiplier, "multiplier"),
        min_qty=not_negative(given.min_qty, "min_qty"),
        max_qty=None if given.max_qty is None else positive(given.max_qty, "max_qty"),
        min_notional=not_negative(given.min_notional, "min_notional"),
    )
    found = size(spec, not_negative(given.usd, "usd"), given.price, positive(given.usd_per_quote, "usd_per_quote"))
    return asdict(found)


@frozen
class AttributionInput:
    side: Side
    decision_price: Decimal
    arrival_bid: Decimal
    arrival_ask: Decimal
    fills: tuple[Execution, ...]
    fees: Decimal
    expected_bps: Decimal | None = None


@calc("exec.attribution")
def causes(given: AttributionInput) -> dict[str, Any]:
    found = attribution(given.side, given.decision_price, given.arrival_bid, given.arrival_ask, given.fills, given.fees)
    arrival = (given.arrival_bid + given.arrival_ask) / 2
    realised = slippage_bps(given.side, vwap_price(given.fills), arrival)
    rating = None if given.expected_bps is None else quality(given.expected_bps, realised)
    return asdict(found) | {"realised_bps": realised, "quality": rating}


@frozen
class CryptoSlippageInput:
    """The three market inputs must be given, null when the market did not tell them."""

    base_bps: Decimal
    side: Side
    funding_rate: Decimal | None
    funding_sensitivity: Decimal
    liquidations_to_adv: Decimal | None
    cascade_sensitivity: Decimal
    oi_to_adv: Decimal | None
    oi_factor: Decimal


@calc("slippage.crypto")
def of_crypto(given: CryptoSlippageInput) -> dict[str, Any]:
    config = evolve(
        DEFAULT,
        funding_sensitivity=float(given.funding_sensitivity),
        cascade_sensitivity=float(given.cascade_sensitivity),
        oi_factor=float(given.oi_factor),
    )
    found = crypto_slippage(
        float(given.base_bps),
        given.side,
        _float(given.funding_rate),
        _float(given.liquidations_to_adv),
        _float(given.oi_to_adv),
        config,
    )
    return _decimals(asdict(found))


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _decimals(found: dict[str, Any]) -> dict[str, Any]:
    return {name: to_decimal(one, name) if isinstance(one, float) else one for name, one in found.items()}


@frozen
class CmeSlippageInput:
    product: str
    mid: Decimal
    participation: Decimal
    rth: bool
    minutes_to_settlement: Decimal


@calc("slippage.cme")
def of_cme(given: CmeSlippageInput) -> dict[str, Any]:
    tick = product(given.product).tick()
    found = cme_slippage(
        given.product,
        float(tick),
        float(given.mid),
        float(given.participation),
        given.rth,
        float(given.minutes_to_settlement),
    )
    return _decimals(asdict(found))
