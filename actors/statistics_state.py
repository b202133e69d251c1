"""What the statistics remember: plain counts and fixed buckets, and decimals where they are money.

Keys of two parts are joined by `|`; the last part never holds one.
"""

from decimal import Decimal
from typing import Any, Final

from attrs import Factory, define, field

from actors.counting import Histogram, empty
from actors.execution_counts import LATENCY_BOUNDS
from actors.messages import MarginLevel
from venues.model.money import ZERO

DOUBT_BOUNDS: Final = (100_000_000, 1_000_000_000, 5_000_000_000, 30_000_000_000, 300_000_000_000)
"""0.1 1 5 30 300 seconds, in ns."""

RATE_UNIT: Final = 1_000_000_000_000
_SLOT_NS: Final = 900_000_000_000
_SLOTS: Final = 32


@define
class Waiting:
    """An approved order until it is final.

    `sent_ns` until the venue's first word, `unknown_ns` while nobody knows what became of it.
    """

    sent_ns: int | None = None
    unknown_ns: int | None = None


@define
class Answered:
    """How one instrument's venue answers: time to its first word, and to the end of a doubt, in ns."""

    ack: Histogram = Factory(lambda: empty(LATENCY_BOUNDS))
    doubt: Histogram = Factory(lambda: empty(DOUBT_BOUNDS))
    unknown: int = 0


@define
class Slot:
    """A quarter of an hour: for how long a rate was known in it, and rate x time."""

    number: int
    known_ns: int = 0
    weighted: int = 0


@define
class RateMean:
    """The mean of a rate over the last eight hours, weighted by time; rates in parts of RATE_UNIT."""

    rate: int | None = None
    since_ns: int = 0
    slots: list[Slot] = field(factory=list)

    def note(self, now: int, rate: Decimal) -> None:
        if self.rate is not None:
            at = max(self.since_ns, now - _SLOTS * _SLOT_NS)
            while at < now:
                number = at // _SLOT_NS
                until = min(now, (number + 1) * _SLOT_NS)
                if not self.slots or self.slots[-1].number != number:
                    self.slots.append(Slot(number))
                self.slots[-1].known_ns += until - at
                self.slots[-1].weighted += self.rate * (until - at)
                at = until
        while self.slots and self.slots[0].number <= now // _SLOT_NS - _SLOTS:
            del self.slots[0]
        self.rate, self.since_ns = int(rate * RATE_UNIT), now

    def mean(self, now: int) -> Decimal | None:
        """Return the mean up to now, to the quarter of an hour; None as long as no rate was known for a while."""
        if self.rate is None:
            return None
        oldest = now // _SLOT_NS - _SLOTS
        running = max(0, now - max(self.since_ns, (oldest + 1) * _SLOT_NS))
        kept = [slot for slot in self.slots if slot.number > oldest]
        known = running + sum(slot.known_ns for slot in kept)
        weighted = self.rate * running + sum(slot.weighted for slot in kept)
        return Decimal(weighted) / known / RATE_UNIT if known else None


@define
class Funding:
    """One perpetual's running rate, and what it paid and received so far, both positive, in the settlement asset."""

    rate: RateMean = field(factory=RateMean)
    paid: Decimal = ZERO
    received: Decimal = ZERO


@define
class Reported:
    """What the venue last said of a position; `liquidation_price` is None when it named none."""

    ts: int
    qty: Decimal
    liquidation_price: Decimal | None


@define
class StatisticsState:
    """Counts since the desk first began.

    `ends` and `cancels_refused` by instrument|reason, `answered` by instrument, `waiting` by request,
    `refusals` by checker|reason, `denials` by strategy|reason, `margin_calls` by account|level, `mismatches` by
    instrument|kind, `reported` by account and position. `basket_states` are the last known by basket, to count by
    strategy|state in `baskets`; `margin_levels` the last ones that were known.
    """

    refusals: dict[str, int] = field(factory=dict)
    basket_states: dict[str, str] = field(factory=dict)
    baskets: dict[str, int] = field(factory=dict)
    denials: dict[str, int] = field(factory=dict)
    funding: dict[str, Funding] = field(factory=dict)
    margin_levels: dict[str, MarginLevel] = field(factory=dict)
    margin_calls: dict[str, int] = field(factory=dict)
    mismatches: dict[str, int] = field(factory=dict)
    liquidations: dict[str, int] = field(factory=dict)
    deleveragings: dict[str, int] = field(factory=dict)
    reported: dict[str, dict[str, Reported]] = field(factory=dict)
    incidents: dict[str, int] = field(factory=dict)
    waiting: dict[str, Waiting] = field(factory=dict)
    answered: dict[str, Answered] = field(factory=dict)
    ends: dict[str, int] = field(factory=dict)
    cancels_refused: dict[str, int] = field(factory=dict)


def without_executions(plain: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 counted executions as well, which the execution tracker does now, from zero."""
    return {key: value for key, value in plain.items() if key not in ("touches", "working", "traded", "ordered")}
