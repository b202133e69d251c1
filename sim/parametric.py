"""Decides which orders trade where there is no book, when, how much and at which price: one instrument's own orders.

An order that is marketable when it arrives trades at once, at the reference moved by the slippage model and rounded to
the tick against it. A resting order trades at its own price when a later price goes through it. Own orders never meet
each other, and a part of one taken at a price makes the next part dearer until the market shows a new price.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from attrs import define, field

from sim.market_conditions import Conditions
from sim.parametric_config import ParametricConfig
from sim.slippage import Slippage, SlippageHook, SlippageModel, SlippageReport, expected_price
from sim.venue_order import VenueOrder
from sim.venue_rules import RefusedError
from venues.model.book import Level
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Instrument
from venues.model.money import ROUND_CEILING, ROUND_FLOOR
from venues.model.order import PositionSide, Side
from venues.port import RejectReason
from venues.rules.errors import RuleError

FillHook = Callable[[VenueOrder, int, int, Liquidity, FillReason], None]


@define
class Reference:
    """What the market showed last: a price, since when, how long it is good for (None: for ever), and the touch."""

    price: Decimal
    ns: int
    life_ns: int | None = None
    bid: int | None = None
    ask: int | None = None


@define
class _Offer:
    """What `lots` would trade at."""

    lots: int
    ticks: int
    expected: Decimal
    slippage: Slippage


@define(eq=False)
class ParametricMatcher:
    """Stands in for `sim.matching.Matcher`. `clock` tells the venue's time, `report` gets each fill's slippage.

    Nothing is displayed here.
    """

    spec: Instrument
    config: ParametricConfig
    model: SlippageModel
    conditions: Conditions
    clock: Callable[[], int]
    fill: FillHook
    expire: Callable[[VenueOrder], None]
    traded: Callable[[], None]
    report: SlippageHook | None = None
    is_open: bool = True
    reference: Reference | None = None
    resting: list[VenueOrder] = field(factory=list)
    # Lots that a taker may still have of this bar or quote, by its side, and lots it had.
    _left: dict[Side, int] = field(init=False, factory=dict)
    _had: dict[Side, int] = field(init=False, factory=lambda: dict.fromkeys(Side, 0))
    _is_shared: bool = field(init=False, default=True)

    # What the market shows

    def show(self, price: Decimal, life_ns: int | None = None, bid: int | None = None, ask: int | None = None) -> None:
        """Take a new price: orders that arrive trade around it, and what own orders had is replaced."""
        self.reference = Reference(price, self.clock(), life_ns, bid, ask)
        self._had = dict.fromkeys(Side, 0)

    def hide(self) -> None:
        """Believe no price until the next one."""
        self.reference = None

    def offer_volume(self, volume: Decimal) -> None:
        """Let own orders have their share of a bar's volume, both sides together."""
        if self.config.participation is not None:
            lots = self._share(volume / self.spec.lot_size)
            self._left, self._is_shared = dict.fromkeys(Side, lots), True

    def offer_quote(self, bid_lots: int, ask_lots: int) -> None:
        """Let own orders have their share of what is quoted: buyers of the offer, sellers of the bid."""
        if self.config.participation is not None:
            self._left = {Side.BUY: self._share(Decimal(ask_lots)), Side.SELL: self._share(Decimal(bid_lots))}
            self._is_shared = False

    def _share(self, lots: Decimal) -> int:
        assert self.config.participation is not None
        return int(lots * self.config.participation)

    def _capacity(self, side: Side, lots: int) -> int:
        return lots if self.config.participation is None else min(lots, self._left.get(side, 0))

    def _use(self, side: Side, lots: int) -> None:
        for each in tuple(self._left):
            if self._is_shared or each is side:
                self._left[each] -= lots

    def on_snapshot(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Books say nothing here."""

    def on_delta(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Books say nothing here."""

    def on_trade(self, ticks: int, lots: int, aggressor: Side) -> None:
        """A public trade is a price, and reaches the orders that it went through."""
        if self.config.reference != "trade":
            return
        if self.reference is None or self.reference.bid is None:
            self.show(self.spec.price(ticks), self.config.stale_ns)
        self.reach(self.spec.price(ticks), self.spec.price(ticks))

    def match_crossed(self) -> None:
        """Nothing trades on opening: the next price tells."""

    # Own orders

    def rest(self, order: VenueOrder) -> None:
        """Let the order wait from now on."""
        if order.ticks is None:
            raise ValueError(f"{order.id}: an order without a price cannot rest")
        order.resting = True
        order.arrived_ns = self.clock()
        self.resting.append(order)

    def remove(self, order: VenueOrder) -> None:
        """Take the order out; one that does not rest is left alone."""
        if order.resting:
            self.resting.remove(order)
            order.resting = False

    def resize(self, order: VenueOrder) -> None:
        """Nothing is kept here of a quantity."""

    def hold(self, account: str, side: PositionSide, lots: int) -> None:
        """Nothing is kept here of positions."""

    def displayed(self, side: Side) -> list[Level]:
        """Return nothing: no book is displayed."""
        return []

    def shrink_reducing(self) -> None:
        """Cut resting reduce-only orders to the positions as they are now."""
        self.traded()

    def own_best(self, side: Side) -> int | None:
        prices = [order.ticks for order in self.resting if order.side is side and order.ticks is not None]
        if not prices:
            return None
        return max(prices) if side is Side.BUY else min(prices)

    def reach(self, low: Decimal, high: Decimal, before_ns: int | None = None) -> None:
        """Let a market that reached down to `low` and up to `high` fill what it went through, best price first.

        Only orders that rested at or before `before_ns`; None is all.
        """
        for side in Side:
            extreme = low if side is Side.BUY else high
            waiting = [order for order in self.resting if order.side is side and order.ticks is not None]
            waiting.sort(key=lambda order: -(order.ticks or 0) * order.side.sign)
            for order in waiting:
                if order.resting and (before_ns is None or order.arrived_ns <= before_ns):
                    self._reached(order, extreme)

    def _reached(self, order: VenueOrder, extreme: Decimal) -> None:
        assert order.ticks is not None
        price = self.spec.price(order.ticks)
        beyond = (price - extreme) * order.side.sign
        if not self.is_open or beyond < 0 or (beyond == 0 and not self.config.touch_fills):
            return
        lots = self._capacity(order.side, order.leaves)
        if lots <= 0:
            return
        self._use(order.side, lots)
        self.fill(order, order.ticks, lots, Liquidity.MAKER, FillReason.THROUGH if beyond else FillReason.CROSSED)
        if order.leaves <= 0:
            self.remove(order)
        self._tell(order, lots, order.ticks, price, price, Slippage(0.0, {}))
        self.traded()

    # Arriving orders

    def best(self, side: Side) -> int | None:
        """Return the touch in ticks: the quoted one, else the reference moved by half the usual spread, outward."""
        found = self._believed()
        if found is None:
            return None
        quoted = found.bid if side is Side.BUY else found.ask
        if quoted is not None:
            return quoted
        half = self.model.half_spread(found.price)
        return self._outward(found.price - half * side.sign, side.opposite)

    def would_take(self, side: Side, ticks: int) -> bool:
        """Whether an order of `side` at `ticks` reaches the touch."""
        touch = self.best(side.opposite)
        return touch is not None and (touch - ticks) * side.sign <= 0

    def check(self, order: VenueOrder, limit: int | None) -> None:
        """Refuse an order that would trade now and has no price. Raises RefusedError (NO_REFERENCE_PRICE)."""
        if limit is not None and not self.would_take(order.side, limit):
            return
        if self._believed() is None:
            raise RefusedError(
                RejectReason.NO_REFERENCE_PRICE, f"no price of {self.spec.id} is known, or it is too old"
            )
        try:
            offer = self._offer(order.side, self._capacity(order.side, order.leaves))
        except RuleError as error:
            raise RefusedError(RejectReason.NO_REFERENCE_PRICE, f"{self.spec.id}: {error}") from None
        if offer.ticks <= 0:
            text = f"a slippage of {offer.slippage.bps:.0f} bps is no price"
            raise RefusedError(RejectReason.NO_REFERENCE_PRICE, f"{self.spec.id}: {text}")

    def levels(self, side: Side, limit: int | None, lots: int = 1) -> Iterator[Level]:
        """Yield what `lots` of `side` would trade at within `limit`: all of it at one price."""
        offer = self._fit(side, limit, lots)
        if offer is not None:
            yield offer.ticks, offer.lots

    def available(self, side: Side, limit: int | None, lots: int) -> bool:
        """Whether `lots` would trade at once within `limit`."""
        if lots <= 0:
            return True
        offer = self._fit(side, limit, lots)
        return offer is not None and offer.lots >= lots

    def take(self, order: VenueOrder, limit: int | None) -> None:
        """Let the order trade at once what it can within `limit`; nothing where there is no price."""
        if order.killed or order.leaves <= 0:
            return
        offer = self._fit(order.side, limit, order.leaves)
        if offer is None or self.reference is None:
            return
        reference = self.reference.price
        self._use(order.side, offer.lots)
        self._had[order.side] += offer.lots
        reason = FillReason.LIQUIDATION if order.forced else FillReason.TAKER
        self.fill(order, offer.ticks, offer.lots, Liquidity.TAKER, reason)
        self._tell(order, offer.lots, offer.ticks, reference, offer.expected, offer.slippage)
        self.traded()

    def _believed(self) -> Reference | None:
        found = self.reference
        if found is None or (found.life_ns is not None and self.clock() - found.ns > found.life_ns):
            return None
        return found

    def _fit(self, side: Side, limit: int | None, lots: int) -> _Offer | None:
        """Return the most of `lots` that trades within `limit`; the larger the dearer, so it is found by halving."""
        most = self._capacity(side, lots)
        if most <= 0 or self._believed() is None:
            return None
        try:
            offer = self._offer(side, most)
            if self._is_within(offer, side, limit):
                return offer
            found, least = None, 1
            while least <= most:
                middle = (least + most) // 2
                offer = self._offer(side, middle)
                if self._is_within(offer, side, limit):
                    found, least = offer, middle + 1
                else:
                    most = middle - 1
        except RuleError:
            return None
        return found

    def _is_within(self, offer: _Offer, side: Side, limit: int | None) -> bool:
        return offer.ticks > 0 and (limit is None or (offer.ticks - limit) * side.sign <= 0)

    def _offer(self, side: Side, lots: int) -> _Offer:
        """Return what `lots` trade at: never better than reference and touch. Raises RuleError without a volume."""
        found = self.reference
        assert found is not None
        spread = None if found.bid is None or found.ask is None else self.spec.price(found.ask - found.bid)
        qty = self.spec.qty(self._had[side] + lots)
        slippage = self.model.expect(self.clock(), side, qty, found.price, spread)
        expected = expected_price(found.price, side, slippage.bps)
        ticks = self._outward(expected, side)
        quoted = found.ask if side is Side.BUY else found.bid
        if quoted is not None and (quoted - ticks) * side.sign > 0:
            ticks = quoted
        return _Offer(lots, ticks, expected, slippage)

    def _outward(self, price: Decimal, side: Side) -> int:
        """Return a price in ticks, rounded against an order of `side`."""
        rounding = ROUND_CEILING if side is Side.BUY else ROUND_FLOOR
        return int((price / self.spec.tick_size).to_integral_value(rounding=rounding))

    def _tell(
        self, order: VenueOrder, lots: int, ticks: int, reference: Decimal, expected: Decimal, slippage: Slippage
    ) -> None:
        if self.report is None:
            return
        made = SlippageReport(
            self.clock(),
            order.account,
            self.spec.id,
            order.id,
            "",
            order.side,
            self.spec.qty(lots),
            reference,
            expected,
            self.spec.price(ticks),
            slippage.bps,
            slippage.parts,
            slippage.absent,
            slippage.is_clipped,
        )
        self.report(made)


__all__ = ["ParametricMatcher", "Reference"]
