"""What must hold of baskets: begun when all agree, ended in balance, hedged while that is possible, closed when told.

Everything is computed from legs and children anew; what the executor says of itself is what is under test.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from attrs import define, field

from actors.basket import ACTIVE, Basket
from actors.basket_plan import ExecutorConfig
from actors.messages import (
    BasketState,
    BasketUpdate,
    Checker,
    FillEvent,
    KillLevel,
    KillState,
    OrderRequest,
    Placement,
    PreflightReply,
)
from actors.order_records import VENUE_REASONS
from daemon.torture.script import SECOND_NS
from venues.model.fill import Fill
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.port import Message

_IDLE_NS = 3 * SECOND_NS
_FLATTEN_NS = 12 * SECOND_NS
_CHECKERS = len(Checker)
_OPEN = (BasketState.BALANCED, BasketState.BROKEN)
_DONE = (BasketState.BALANCED, BasketState.FLAT)
_SLACK_BPS = Decimal(1)


def moved(fill: Fill, spec: Instrument) -> Decimal:
    """Return by how much a fill moves a position, in its units: a fee in what is bought is never held."""
    fee = fill.fee / spec.multiplier if spec.is_spot and fill.fee_asset == spec.base else ZERO
    return fill.side.sign * fill.qty - fee


@define
class _Attempts:
    """What a basket out of balance had tried when something was tried last, and when that was by the desk's clock."""

    made: tuple[int, int, int]
    since_ns: int


@define
class BasketChecks:
    """`executor` gives the actor, `config` its settings; findings are appended to `wrong` as `I7: text`."""

    specs: Mapping[str, Instrument]
    config: ExecutorConfig
    executor: Callable[[], Any]
    wrong: list[str]
    agreed: dict[str, set[str]] = field(factory=dict)
    net: dict[str, Decimal] = field(factory=dict)
    idle: dict[str, _Attempts] = field(factory=dict)
    lopsided: set[str] = field(factory=set)
    flatten_ns: int | None = None
    level: KillLevel = KillLevel.ARMED

    # What is told

    def take(self, message: Message) -> None:
        if isinstance(message, PreflightReply):
            self._replied(message)
        elif isinstance(message, BasketUpdate):
            self._updated(message)
        elif isinstance(message, FillEvent):
            self._filled(message)
        elif type(message).__name__ == "FillBusted":
            self._busted(message)
        elif isinstance(message, KillState):
            is_flatten = message.level is KillLevel.FLATTEN
            self.level = message.level
            self.flatten_ns = (self.flatten_ns or message.ts) if is_flatten else None

    def _replied(self, reply: PreflightReply) -> None:
        agreed = self.agreed.setdefault(reply.basket_id, set())
        if reply.is_ok:
            agreed.add(reply.checker)
        while len(self.agreed) > 200:
            del self.agreed[next(iter(self.agreed))]

    def _updated(self, update: BasketUpdate) -> None:
        if update.state is BasketState.WORKING:
            agreed = self.agreed.get(update.basket_id)
            if agreed is not None and len(agreed) < _CHECKERS:
                self.wrong.append(f"I5: {update.basket_id} began when only {sorted(agreed)} had agreed")
        if update.state not in _DONE:
            return
        basket = self.executor().state.baskets.get(update.basket_id)
        if basket is None or basket.state is not update.state:
            return
        pending = [name for name, child in basket.children.items() if not child.is_final]
        if pending:
            self.wrong.append(f"I9: {basket.id} is {basket.state} while {pending} may still fill")
        for key, left in self.executor().state.residuals.items():
            base = key.partition("|")[0]
            if abs(left) >= 2 * self._step(base):
                self.wrong.append(f"I7: {left} {base} is left over by {basket.id}, and nobody's")
        why = self._imbalance(basket)
        if why and not basket.closing:
            self.wrong.append(f"I7: {basket.id} is {basket.state}, {why}")

    def _filled(self, event: FillEvent) -> None:
        fill = event.fill
        if event.basket_id or fill.reason in VENUE_REASONS:
            spec = self.specs[fill.instrument]
            self.net[spec.base] = self.net.get(spec.base, ZERO) + moved(fill, spec) * spec.multiplier

    def _busted(self, bust: Any) -> None:
        """Take a fill off; what the executor has forgotten is nobody's: the desk says so, and a person must look."""
        fill = bust.fill
        if bust.basket_id in self.executor().state.baskets:
            spec = self.specs[fill.instrument]
            self.net[spec.base] -= moved(fill, spec) * spec.multiplier

    def _imbalance(self, basket: Basket) -> str:
        """Return by what a basket is out of balance, counting what it took over; less than the coarsest lot is not."""
        nets: dict[str, Decimal] = dict(basket.carried)
        steps: dict[str, Decimal] = {}
        for leg in basket.legs:
            spec = self.specs[leg.instrument]
            nets[spec.base] = nets.get(spec.base, ZERO) + leg.side.sign * leg.position * spec.multiplier
            steps[spec.base] = max(steps.get(spec.base, ZERO), spec.lot_size * spec.multiplier)
        off = {base: net for base, net in nets.items() if abs(net) >= steps.get(base, ZERO) > ZERO}
        return ", ".join(f"{net} {base} out of balance" for base, net in off.items())

    # Orders

    def objection(self, request: OrderRequest, touch: tuple[Decimal, Decimal], is_stopping: bool) -> str:
        """Return what is wrong about a basket's order that was approved; `touch` is the best bid and ask."""
        basket: Basket | None = self.executor().state.baskets.get(request.basket_id)
        child = basket.children.get(request.request_id) if basket is not None else None
        if basket is None or child is None:
            return f"I4: {request.request_id} opens while stopping" if is_stopping and not request.reduce_only else ""
        if is_stopping and child.is_first and basket.closes is None:
            return f"I4: {request.request_id} opens while stopping"
        # What a maker fills is taken on the other leg at once: that is no try, and quotes have a bound of their own.
        tries = len(basket.children)
        if basket.placement is Placement.MAKER_TAKER:
            tries = sum(not one.rests and not one.filled for one in basket.children.values())
        most = (len(basket.legs) + 1) * (self.config.hedge_attempts + 1) + self.config.hedge_attempts
        if tries > most or basket.price_misses > 2 * self.config.hedge_attempts:
            return f"I11: {basket.id} has made {tries} orders and missed {basket.price_misses} times"
        if not child.is_first:
            return ""
        if request.price is None:
            return f"I5: {request.request_id} is placed without a price"
        # After a stall the executor may hold a view that the next one in the queue replaces: it may go by either.
        bests = [touch[1] if request.side.sign > 0 else touch[0]]
        view = self.executor().state.touches.get(request.instrument)
        if view is not None:
            bests.append(self.specs[request.instrument].price(view.ask if request.side.sign > 0 else view.bid))
        off = min((request.price - best) * request.side.sign * 10_000 / best for best in bests)
        if off > basket.max_slippage_bps + _SLACK_BPS:
            return (
                f"I5: {request.request_id} is priced {off:.1f} bps beyond the touch, allowed {basket.max_slippage_bps}"
            )
        return ""

    # After every event

    def look(self, now: int, active: list[Basket], is_able: Callable[[Basket], bool]) -> None:
        """Whether baskets out of balance are being worked on. `now` is the desk's, `is_able` whether they can be."""
        known, self.idle = self.idle, {}
        for basket in active:
            if not self._imbalance(basket) or not is_able(basket):
                continue
            if any(not child.is_final for child in basket.children.values()):
                continue
            made = (basket.rounds, basket.misses, len(basket.children))
            before = known.get(basket.id)
            if before is None or before.made != made:
                before = _Attempts(made, now)
            self.idle[basket.id] = before
            if now - before.since_ns > _IDLE_NS:
                self.wrong.append(f"I7: {basket.id} is {self._imbalance(basket)} and nothing is done about it")

    # At intervals

    def compare(self, now: int, is_able: Callable[[Basket], bool]) -> None:
        """Hold the sums of baskets against the fills, and look for what ought to be closed or set to work."""
        executor = self.executor()
        state = executor.state
        sums: dict[str, Decimal] = {}
        lopsided: set[str] = set()
        for key, left in state.residuals.items():
            base = key.partition("|")[0]
            sums[base] = sums.get(base, ZERO) + left
        for basket in state.baskets.values():
            for base, net in basket.net(self.specs).items():
                sums[base] = sums.get(base, ZERO) + net
            is_at_rest = basket.state in _DONE and not basket.closing and not executor.is_unsure(basket)
            if is_at_rest and self._imbalance(basket):
                lopsided.add(basket.id)
            is_told = self.flatten_ns is not None and now - self.flatten_ns > _FLATTEN_NS
            if is_told and self._may_be_closed(basket) and is_able(basket):
                text = f"{basket.id} is open {_FLATTEN_NS // SECOND_NS} s after the order to flatten"
                self.wrong.append(f"I4: {text}")
        for base, net in self.net.items():
            if sums.get(base, ZERO) != net:
                self.wrong.append(
                    f"I1: baskets and residuals sum to {sums.get(base, ZERO)} {base}, their fills to {net}"
                )
        for basket_id in lopsided & self.lopsided:
            self.wrong.append(f"I7: {basket_id} is lopsided and at rest")
        self.lopsided = lopsided

    def _step(self, base: str) -> Decimal:
        """Return the coarsest quantity of a base asset that all its instruments can trade."""
        return max(spec.lot_size * spec.multiplier for spec in self.specs.values() if spec.base == base)

    def _may_be_closed(self, basket: Basket) -> bool:
        is_open = basket.state is BasketState.BALANCED and basket.closes is None and not basket.closing
        return is_open and self._is_open(basket)

    def _is_open(self, basket: Basket) -> bool:
        return any(leg.position >= self.specs[leg.instrument].lot_size * 10 for leg in basket.legs)

    def is_flat(self) -> bool:
        """Whether no basket holds anything that counts."""
        baskets = self.executor().state.baskets.values()
        return not any(one.closes is None and one.state in (*_OPEN, *ACTIVE) and self._is_open(one) for one in baskets)
