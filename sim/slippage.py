"""Decides at which price an order trades where there is no book: the reference, the model's slippage, its parts.

The models are those of `venues/costs` (facts/systems.md 2 and 3); here they meet what the market told. Slippage is in
floats, basis points of the reference; the price that comes of it is a Decimal again, rounded to the tick against the
order.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Protocol

from attrs import define, frozen

from sim.market_conditions import Conditions
from sim.parametric_config import ChicagoHours, ParametricConfig, clock
from venues.costs.slippage_cme import cme_slippage
from venues.costs.slippage_crypto import base_slippage_bps, crypto_slippage, to_adv
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.rules import calendar
from venues.rules.cme_products import Group, Product, products
from venues.rules.contracts import parse_contract
from venues.rules.errors import RuleError
from venues.rules.settlement import NoSettlementError, settlement_window

_BPS = Decimal(10_000)

# Float noise would otherwise push a price that is exactly on a tick to the next one.
_PLACES = 9

_FAR_MINUTES = 1_440.0
_FRIDAY = 4


@frozen
class Slippage:
    """What a model says: basis points, the factors by name, what was not known and counted as 1, whether clipped."""

    bps: float
    parts: Mapping[str, float]
    absent: tuple[str, ...] = ()
    is_clipped: bool = False


@frozen
class SlippageReport:
    """One fill of the parametric mode: `expected` is the model's price before rounding, `price` what was booked.

    `reference` is the price the slippage is counted from, `parts` the model's factors, `absent` the inputs that were
    not known. `slippage_bps` is the model's; the rounding to the tick comes on top.
    """

    ts: int
    account: str
    instrument: str
    client_order_id: str
    trade_id: str
    side: Side
    qty: Decimal
    reference: Decimal
    expected: Decimal
    price: Decimal
    slippage_bps: float
    parts: Mapping[str, float]
    absent: tuple[str, ...]
    is_clipped: bool


SlippageHook = Callable[[SlippageReport], None]


class SlippageModel(Protocol):
    """One venue's model for one instrument."""

    def half_spread(self, reference: Decimal) -> Decimal:
        """Return half the usual spread in price units."""
        ...

    def expect(self, now: int, side: Side, qty: Decimal, reference: Decimal, spread: Decimal | None) -> Slippage:
        """Return the slippage of `qty`; `spread` is the quoted one in price units, None where none is.

        Raises RuleError where there is nothing to reckon with (no daily volume).
        """
        ...


def make_model(config: ParametricConfig, spec: Instrument, conditions: Conditions) -> SlippageModel:
    """Return the configured model for one instrument."""
    if config.model == "crypto":
        return _Crypto(config, conditions)
    return _Cme(config, spec, conditions, *_product(config, spec))


def expected_price(reference: Decimal, side: Side, bps: float) -> Decimal:
    """Return the reference moved against `side`. Not positive where the slippage is no price."""
    return reference * (1 + side.sign * Decimal(repr(round(bps, _PLACES))) / _BPS)


@define
class _Crypto:
    config: ParametricConfig
    conditions: Conditions

    def half_spread(self, reference: Decimal) -> Decimal:
        return reference * Decimal(repr(self.config.crypto.spread_bps)) / (2 * _BPS)

    def expect(self, now: int, side: Side, qty: Decimal, reference: Decimal, spread: Decimal | None) -> Slippage:
        given, known = self.config.crypto, self.conditions
        adv = known.adv()
        regime = known.regime()
        spread_bps = None if spread is None else float(spread / reference * _BPS)
        base = base_slippage_bps(float(qty) / adv, spread_bps, 1.0 if regime is None else regime, given)
        interest = None if known.open_interest is None else float(known.open_interest)
        curve = _curve(self.config, now)
        found = crypto_slippage(
            base,
            side,
            None if known.funding_rate is None else float(known.funding_rate),
            to_adv(known.liquidations(now), adv, "liquidations"),
            to_adv(interest, adv, "open_interest"),
            given,
            curve,
        )
        parts = {
            "base_bps": base,
            "funding_stress": found.funding_stress,
            "cascade": found.cascade,
            "open_interest": found.open_interest,
            "curve": curve,
        }
        absent = found.absent if regime is not None else (*found.absent, "volatility_regime")
        return Slippage(found.slippage_bps, parts, absent, found.is_clipped)


@define
class _Cme:
    config: ParametricConfig
    spec: Instrument
    conditions: Conditions
    code: str
    product: Product | None

    def half_spread(self, reference: Decimal) -> Decimal:
        given = self.config.cme
        ticks = given.spread_ticks.get(self.code, given.spread_ticks_default)
        return self.spec.tick_size * Decimal(repr(ticks)) / 2

    def expect(self, now: int, side: Side, qty: Decimal, reference: Decimal, spread: Decimal | None) -> Slippage:
        at = _instant(now)
        rth, minutes, absent = self._session(at)
        curve = _curve(self.config, now)
        tick, share = float(self.spec.tick_size), float(qty) / self.conditions.adv()
        found = cme_slippage(
            self.code, tick, float(reference), share, rth, minutes, config=self.config.cme, curve=curve
        )
        parts = {
            "base_bps": found.half_spread_bps + found.impact_bps,
            "session": found.session,
            "settlement": found.settlement,
            "curve": curve,
        }
        return Slippage(found.slippage_bps, parts, absent)

    def _session(self, at: datetime) -> tuple[bool, float, tuple[str, ...]]:
        """Return (regular hours, minutes to settlement, what is not known). Unknown hours count as outside: dearer."""
        hours = self.config.hours
        if hours is not None:
            return *_by_clock(hours, at), ()
        if self.product is None:
            return False, _FAR_MINUTES, ("session", "settlement")
        absent: tuple[str, ...] = ()
        try:
            rth = calendar.is_cash_session(self.product, at)
        except RuleError:
            return False, _FAR_MINUTES, ("session", "settlement")
        if self.product.group is not Group.EQUITY:
            absent = ("session",)
        return rth, _minutes_to_settlement(self.product, at), absent


def _product(config: ParametricConfig, spec: Instrument) -> tuple[str, Product | None]:
    """Return the product's code and what the tables know of it."""
    code = config.products.get(spec.symbol)
    if code is None:
        try:
            code = parse_contract(spec.symbol).root
        except RuleError:
            code = spec.base
    return code, products().get(code)


def _instant(now: int) -> datetime:
    return datetime.fromtimestamp(now // 1_000_000_000, UTC)


def _curve(config: ParametricConfig, now: int) -> float:
    at = _instant(now)
    return config.curves.factor(at.hour, at.month)


def _minutes_to_settlement(product: Product, at: datetime) -> float:
    """Return the minutes to the end of today's settlement window, a day's worth where there is none to come."""
    try:
        _, ends = settlement_window(product, calendar.chicago(at).date())
    except NoSettlementError:
        return _FAR_MINUTES
    left = (ends - at) / timedelta(minutes=1)
    return left if left >= 0.0 else _FAR_MINUTES


def _by_clock(hours: ChicagoHours, at: datetime) -> tuple[bool, float]:
    local = calendar.chicago(at)
    if local.weekday() > _FRIDAY:
        return False, _FAR_MINUTES
    now = local.time()
    rth = clock(hours.opens, "opens") <= now < clock(hours.closes, "closes")
    settles = datetime.combine(local.date(), clock(hours.settles, "settles"), calendar.CHICAGO)
    left = (settles - local) / timedelta(minutes=1)
    return rth, left if left >= 0.0 else _FAR_MINUTES


__all__ = ["Slippage", "SlippageHook", "SlippageModel", "SlippageReport", "expected_price", "make_model"]
