"""What a strategy remembers, and what it reads from it: books, prices, sizes."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import define, field

from actors.base import Actor
from actors.messages import (
    BasketLeg,
    BasketState,
    BookView,
    KillLevel,
)
from venues.model.instrument import Instrument
from venues.schedules.sizing import common_size, size


@define
class OwnBasket:
    """A basket this strategy asked for, with the legs as asked, until it is denied, flat or closed."""

    legs: list[BasketLeg]
    state: BasketState = BasketState.PLANNED
    filled: list[Decimal] = field(factory=list)
    closing: str = ""
    balanced_ns: int | None = None


@define
class StrategyState:
    """What every strategy remembers; subclasses add their own fields. `decisions` counts evaluations."""

    decisions: int = 0
    next_basket: int = 1
    baskets: dict[str, OwnBasket] = field(factory=dict)
    closes: dict[str, str] = field(factory=dict)
    books: dict[str, BookView] = field(factory=dict)
    live: dict[str, bool] = field(factory=dict)
    kill_level: KillLevel = KillLevel.ARMED
    is_stopping: bool = False
    next_group: int = 1
    next_scheduled: int = 1
    executions: dict[str, Decimal] = field(factory=dict)


class Sight(Actor):
    """What everything a strategy may do stands on; it is one actor with it, and has its state."""

    state: Any
    instruments: Mapping[str, Instrument]

    def price(self, instrument: str, ticks: int) -> Decimal:
        return self.instruments[instrument].price(ticks)

    def book(self, instrument: str) -> BookView | None:
        """Return the latest touch, None while the book is not live."""
        view: BookView | None = self.state.books.get(instrument)
        return view

    def size(self, instrument: str, money: Decimal) -> Decimal | None:
        """Return how many whole lots `money` of the quote comes to at the mid, 0 when a minimum of the venue is missed.

        None while the book is not live. Raises BadValueError for what is no sum of money.
        """
        mid = self._mid(instrument)
        return None if mid is None else size(self.instruments[instrument], money, mid).qty

    def common_size(self, money: Decimal, *instruments: str) -> tuple[Decimal, ...] | None:
        """Return the quantity of each instrument that all can trade alike, worth at most `money` of the quote on each.

        Quotes count one to one; 0 when a minimum is missed. None while a book is not live. Raises BadValueError, also
        for inverse contracts.
        """
        mids = [mid for one in instruments if (mid := self._mid(one)) is not None]
        if len(mids) < len(instruments):
            return None
        return common_size([self.instruments[one] for one in instruments], money, mids).quantities

    def _mid(self, instrument: str) -> Decimal | None:
        view = self.book(instrument)
        if view is None or view.bid + view.ask <= 0:
            return None
        return self.price(instrument, view.bid + view.ask) / 2

    def _next_id(self) -> str:
        basket_id = f"{self.name}-{self.state.next_basket}"
        self.state.next_basket += 1
        return basket_id
