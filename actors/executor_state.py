"""What the atomic executor remembers: baskets, residuals, incidents, the world as far as it decides about them."""

from decimal import Decimal

from attrs import define, field

from actors.basket import Basket
from actors.basket_records import PartialFill
from actors.flags import Flag
from actors.messages import BookView, KillLevel
from actors.recent import Recent
from venues.model.money import ZERO
from venues.port import InstrumentState


@define
class BasketCounters:
    """`balanced` and `unwound` count endings of work, `closed` baskets that another one took off in full."""

    planned: int = 0
    balanced: int = 0
    unwound: int = 0
    broken: int = 0
    denied: int = 0
    closed: int = 0


@define
class Placings:
    """How many first orders an instrument had lately, and how many of them were refused or filled nothing."""

    sent: int = 0
    missed: int = 0

    def note(self, *, is_missed: bool) -> None:
        self.sent += 1
        self.missed += is_missed
        if self.sent >= 64:
            self.sent, self.missed = self.sent // 2, self.missed // 2


@define
class ExecutorState:
    """`residuals` are signed base quantities by `residual_key`; the next basket with that key takes them over.

    `quoting` are the baskets with a maker leg, by its instrument; `trading` what is known of instruments that do not
    trade now, `halted_until` (ns) those that refused an order for it; `placings` how first orders fared, by
    instrument. `incidents` are the last partial fills, oldest first.
    """

    baskets: dict[str, Basket] = field(factory=dict)
    ids: Recent = field(factory=Recent)
    residuals: dict[str, Decimal] = field(factory=dict)
    counters: BasketCounters = field(factory=BasketCounters)
    touches: dict[str, BookView] = field(factory=dict)
    live: dict[str, bool] = field(factory=dict)
    depth_refs: dict[str, str] = field(factory=dict)
    kill_level: KillLevel = KillLevel.ARMED
    is_stopping: bool = False
    is_guarded: bool = False
    flags: dict[str, Flag] = field(factory=dict)
    next_ref: int = 0
    next_flatten: int = 0
    max_unhedged: Decimal = ZERO
    longest_unhedged_ns: int = 0
    incidents: list[PartialFill] = field(factory=list)
    quoting: dict[str, list[str]] = field(factory=dict)
    trading: dict[str, InstrumentState] = field(factory=dict)
    halted_until: dict[str, int] = field(factory=dict)
    placings: dict[str, Placings] = field(factory=dict)
