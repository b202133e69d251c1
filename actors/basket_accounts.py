"""What is measured of baskets and told of them: how uneven they are, what they cost, the record of each incident."""

from collections.abc import Mapping
from decimal import Decimal

from actors import basket_cost
from actors.base import Actor
from actors.basket import ENDED, Basket, Leg, Trouble
from actors.basket_plan import ExecutorConfig
from actors.basket_records import BasketCost, BasketDecision, LeftOpen, PartialFill
from actors.executor_state import ExecutorState
from actors.messages import (
    BasketState,
    BasketUpdate,
    CancelRequest,
    DepthRequest,
    Incident,
    KillLevel,
    KillTrigger,
    OrderRequest,
    PreflightRequest,
    ReservationReleased,
)
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.rules.cme_products import Product


class BasketAccounts(Actor):
    """The measures and the messages of the atomic executor. `products` gives a calendar to what closes by one."""

    publishes = (
        PreflightRequest,
        ReservationReleased,
        OrderRequest,
        CancelRequest,
        DepthRequest,
        BasketUpdate,
        BasketCost,
        BasketDecision,
        PartialFill,
        LeftOpen,
        Incident,
        KillTrigger,
    )

    state: ExecutorState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        config: ExecutorConfig | None = None,
        name: str = "atomic_executor",
        products: Mapping[str, Product] | None = None,
    ) -> None:
        super().__init__(name)
        self.instruments = instruments
        self.config = config or ExecutorConfig()
        self.products = products or {}
        self.state = ExecutorState()

    def mark(self, now: int, basket: Basket) -> None:
        """Bring the basket's exposure up to now and measure what it is unhedged by from here on."""
        basket.exposure += basket.unhedged * (now - basket.marked_ns)
        basket.marked_ns = now
        basket.unhedged = self._unhedged(basket)
        if basket.unhedged_since is not None:
            self.state.longest_unhedged_ns = max(self.state.longest_unhedged_ns, now - basket.unhedged_since)
        if basket.unhedged > ZERO:
            basket.unhedged_since = now if basket.unhedged_since is None else basket.unhedged_since
            self.state.max_unhedged = max(self.state.max_unhedged, basket.unhedged)
            if basket.trouble is not None and basket.unhedged > basket.trouble.unhedged:
                basket.trouble.unhedged, basket.trouble.net = basket.unhedged, basket.net(self.instruments)
        else:
            basket.unhedged_since = None

    def _unhedged(self, basket: Basket) -> Decimal:
        total = ZERO
        for base, net in basket.net(self.instruments).items():
            if abs(net) >= basket.quanta[base]:
                leg = next(leg for leg in basket.legs if self.instruments[leg.instrument].base == base)
                total += abs(net) * self.mid(leg)
        return total

    def mid(self, leg: Leg) -> Decimal:
        view = self.state.touches.get(leg.instrument)
        return leg.arrival_mid if view is None else self.instruments[leg.instrument].price(view.bid + view.ask) / 2

    def last_call_ns(self, basket: Basket) -> int:
        """Return when a basket's last attempts begin."""
        whole = basket.deadline_ns - basket.planned_ns
        return basket.deadline_ns - min(self.config.last_call_ns, whole // 4)

    def longest_unhedged_ns(self, now: int) -> int:
        """Return the longest time a basket was out of balance, those that still are included."""
        running = [now - b.unhedged_since for b in self.state.baskets.values() if b.unhedged_since is not None]
        return max(self.state.longest_unhedged_ns, *running) if running else self.state.longest_unhedged_ns

    def publish(self, now: int, basket: Basket) -> None:
        self.out.emit(
            BasketUpdate(
                now,
                basket.id,
                basket.strategy,
                basket.state,
                basket.filled(),
                basket.unhedged,
                basket.closes,
                basket.why,
            )
        )

    def incident(self, now: int, kind: str, basket_id: str, text: str, cost: Decimal | None = None) -> None:
        self.out.emit(Incident(now, kind, basket_id, text, cost))

    def trip(self, now: int, trigger: str, why: str) -> None:
        self.out.emit(KillTrigger(now, trigger, KillLevel.REDUCE_ONLY, why))

    # Money

    def profit(self, basket: Basket) -> Decimal:
        """Return what the basket made so far at the mids, in quote; below zero when it lost."""
        return basket_cost.profit(basket, self.instruments, self.mid)

    def tell_cost(self, now: int, basket: Basket) -> None:
        """Say what an ended basket cost; one that never sent an order cost nothing."""
        if basket.state in ENDED and basket.state is not BasketState.DENIED:
            self.out.emit(basket_cost.cost_of(now, basket, self.instruments, self.mid))

    # Incidents

    def begin_trouble(self, now: int, basket: Basket) -> None:
        """Open the record of legs that filled unevenly, unless it is open."""
        if basket.trouble is None:
            net = basket.net(self.instruments)
            cause = basket.why or "filled unevenly"
            basket.trouble = Trouble(now, cause, self.profit(basket), net, basket.unhedged)

    def end_trouble(self, now: int, basket: Basket) -> None:
        """Close the record: keep it, and tell it."""
        trouble, basket.trouble = basket.trouble, None
        if trouble is None:
            return
        record = PartialFill(
            now,
            basket.id,
            basket.strategy,
            trouble.began_ns,
            trouble.cause,
            trouble.net,
            trouble.unhedged,
            tuple(trouble.actions),
            basket.state,
            trouble.profit - self.profit(basket),
        )
        self.state.incidents.append(record)
        del self.state.incidents[: -self.config.keep_incidents]
        self.out.emit(record)
