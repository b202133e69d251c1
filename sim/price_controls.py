"""Decides at which prices one market takes orders and trades: band, daily limits, circuit breaker, velocity logic.

Rules and sources: venues/rules/price_limits.py and circuit_breakers.py (facts B1-B5). Prices in ticks.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from attrs import define, field

from sim.venue_rules import RefusedError
from sim.venue_settings import Controls
from venues.model.instrument import Instrument
from venues.model.order import Side
from venues.port import RejectReason
from venues.rules import calendar
from venues.rules.circuit_breakers import DynamicBreaker, VelocityLogic
from venues.rules.cme_products import Product
from venues.rules.errors import BadValueError
from venues.rules.instants import instant_of
from venues.rules.price_limits import (
    Band,
    EquityLimits,
    band_reference,
    equity_band,
    equity_limits,
    is_banded,
    overnight_share,
)


@define
class PriceControls:
    """The controls of one market and what they have seen of the session.

    `limits` are the lowest and highest price now, None before the first settlement; `at_limit` is the side that nobody
    sells to (BUY: limit up) or buys from (SELL: limit down) because the last trade stood at the limit. `day` and
    `evening` are the equity limits of today's fixing and, after the cash close, of the new one.
    """

    spec: Instrument
    rules: Controls
    product: Product | None = None
    limits: Band = field(init=False, default=Band(None, None))
    breaker: DynamicBreaker | None = field(init=False, default=None)
    velocity: VelocityLogic = field(init=False)
    at_limit: Side | None = field(init=False, default=None)
    day: EquityLimits | None = field(init=False, default=None)
    evening: EquityLimits | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.rules.check_for(self.spec, self.product)
        self.velocity = VelocityLogic(self.rules.velocity)
        self.new_session(None)

    def new_session(self, settlement: Decimal | None) -> None:
        """Begin a session: limits and the breaker's width follow from the last settlement, None for unknown."""
        share = self.rules.limit_share
        if share is not None and settlement is not None:
            width = self._on_grid(settlement * share)
            self.limits = Band(settlement - width, settlement + width)
        width_now = self.rules.breaker_width
        if self.rules.breaker_share is not None and settlement is not None:
            width_now = max(settlement * self.rules.breaker_share, self.spec.tick_size)
        if width_now is not None:
            self.breaker = DynamicBreaker(int(width_now / self.spec.tick_size))
        self.velocity = VelocityLogic(self.rules.velocity)
        self.at_limit = None

    def fix(self, now: int, fixing: Decimal, index: Decimal | None) -> None:
        """Take a fixing price (the settlement) and the cash index for the equity limits; without an index the fixing.

        One that comes after the cash close holds for the evening and the next day, any other at once.
        """
        if not self.rules.equity_limits or self.product is None:
            return
        at = instant_of(now)
        local = calendar.chicago(at)
        share = overnight_share(local.date())
        cash = calendar.cash_hours(local.date())
        limits = equity_limits(self.product, fixing, index or fixing, self.spec.tick_size, share)
        if cash is not None and cash[1] <= local.time() < calendar.CLOSE and self.day is not None:
            self.evening = limits
        else:
            self.day, self.evening = limits, None

    def refresh(self, now: int) -> None:
        """Let the equity limits follow the clock; while nothing trades they stay."""
        if self.day is None or self.product is None:
            return
        at = instant_of(now)
        if self.evening is not None and calendar.chicago(at).time() >= calendar.OPEN:
            self.day, self.evening = self.evening, None
        # Without a new fixing after the cash close the day's own holds on.
        band = equity_band(self.product, at, self.day, self.evening or self.day)
        self.limits = self.limits if band is None else band

    def _on_grid(self, width: Decimal) -> Decimal:
        return (width / self.spec.tick_size).to_integral_value(rounding=ROUND_FLOOR) * self.spec.tick_size

    def check_limits(self, price: Decimal) -> None:
        """Refuse a price beyond the day's limits. Raises RefusedError (PRICE_LIMIT)."""
        if not self.limits.allows(price):
            text = f"{price} is not within the limits {self.limits.lower}..{self.limits.upper}"
            raise RefusedError(RejectReason.PRICE_LIMIT, text)

    def check_band(
        self,
        side: Side,
        price: Decimal,
        last: int | None,
        bid: int | None,
        offer: int | None,
        settlement: Decimal | None,
        indicative: int | None,
        *,
        is_pre_open: bool,
    ) -> None:
        """Refuse a limit price that is too aggressive. Raises RefusedError (PRICE_BAND, NO_REFERENCE_PRICE)."""
        band = self.rules.price_band
        if band is None:
            return
        if bid is not None and offer is not None and bid >= offer:
            bid = offer = None
        try:
            reference = band_reference(
                self._price(last),
                self._price(bid),
                self._price(offer),
                settlement,
                self._price(indicative),
                is_pre_open=is_pre_open,
            )
        except BadValueError as error:
            raise RefusedError(RejectReason.NO_REFERENCE_PRICE, f"the price band: {error.why}") from None
        if is_banded(side, price, reference, band):
            raise RefusedError(RejectReason.PRICE_BAND, f"{price} is more than {band} beyond {reference}")

    def _price(self, ticks: int | None) -> Decimal | None:
        return None if ticks is None else self.spec.price(ticks)

    def reach(self, now: int, side: Side, limit: int | None) -> int | None:
        """Return the worst price in ticks at which an order may trade now: its own limit, and no further than these."""
        self.refresh(now)
        bounds = [limit] if limit is not None else []
        edge = self.limits.upper if side is Side.BUY else self.limits.lower
        if edge is not None:
            bounds.append(self._edge_ticks(edge, side))
        around = None if self.breaker is None else self.breaker.limits(now)
        if around is not None:
            bounds.append(around[1] if side is Side.BUY else around[0])
        return (min(bounds) if side is Side.BUY else max(bounds)) if bounds else None

    def clamp(self, side: Side, limit: int) -> int:
        """Return a protection limit within the day's limits."""
        edge = self.limits.upper if side is Side.BUY else self.limits.lower
        if edge is None:
            return limit
        ticks = self._edge_ticks(edge, side)
        return min(limit, ticks) if side is Side.BUY else max(limit, ticks)

    def _edge_ticks(self, edge: Decimal, side: Side) -> int:
        rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
        return int((edge / self.spec.tick_size).to_integral_value(rounding=rounding))

    def limit_state(self, ticks: int) -> Side | None:
        """Return the state after a trade: BUY at the upper limit, SELL at the lower, None inside."""
        price = self.spec.price(ticks)
        if self.limits.upper is not None and price + self.spec.tick_size > self.limits.upper:
            return Side.BUY
        if self.limits.lower is not None and price - self.spec.tick_size < self.limits.lower:
            return Side.SELL
        return None
