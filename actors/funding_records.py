"""What the funding tracker remembers: rates, instants, what each position owed at them, what is asked about."""

from collections.abc import Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import not_negative, positive
from actors.funding_messages import FundingDifference, FundingOutcome
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.model.position import position_key
from venues.port import QueryKind
from venues.rules.funding import RATE_MAX


@frozen
class Remedy:
    """What is done about a kind of difference, and why that is right. Nothing is booked but what the venue paid."""

    action: str
    why: str


REMEDIES: dict[FundingDifference, Remedy] = {
    FundingDifference.MISSING: Remedy(
        "ask the income, book what it shows",
        "a report may be lost; only a complete answer proves that nothing was paid",
    ),
    FundingDifference.UNEXPECTED: Remedy(
        "ask the income, keep what it confirms", "money moved for a position that our book did not hold then"
    ),
    FundingDifference.AMOUNT: Remedy(
        "ask the income, keep what it confirms", "what the venue paid is the truth, that it is not what was due is news"
    ),
    FundingDifference.CONFLICT: Remedy(
        "ask the income, correct what is booked", "two reports of one instant differ: the first was booked"
    ),
    FundingDifference.ABSURD: Remedy(
        "ask the income, book what it shows", "the report contradicts itself or the rate is beyond its cap"
    ),
    FundingDifference.AMBIGUOUS: Remedy(
        "ask the income, accept what it shows", "the position changed so near the instant that either may be charged"
    ),
    FundingDifference.UNVERIFIED: Remedy(
        "ask the funding history", "without the settled rate nobody knows what was due"
    ),
}

INCIDENTS = frozenset(
    {FundingOutcome.OTHERWISE, FundingOutcome.NOT_PAID, FundingOutcome.TAKEN_BACK, FundingOutcome.UNVERIFIED}
)
"""Outcomes that a person must read about."""


def _caps(instance: object, attribute: object, value: Mapping[str, Decimal]) -> None:
    for instrument, cap in value.items():
        if not (isinstance(cap, Decimal) and cap.is_finite() and cap > ZERO):
            raise ValueError(f"rate_caps.{instrument}: must be positive, got {cap!r}")


@frozen
class FundingConfig:
    """A payment agrees when it differs from what was due by at most `tolerance`: what a venue rounds away, no more.

    A payment is missing when none came within `grace_ns` of the instant; reports and records of one instant may be
    that far from it. A rate beyond `rate_max`, or its instrument's own in `rate_caps`, is refused. One that moved by
    less than `rate_step` is not news. A position that changed within `ambiguous_ns` of an instant may be charged
    either way. The venue is asked again after `backoff_ns`, doubled up to `backoff_max_ns`; an answer is late after
    `timeout_ns`. That nothing was paid is believed when two complete answers `proof_ns` apart say so. `kept` bounds
    the instants remembered by instrument.
    """

    tolerance: Decimal = field(default=Decimal("0.00000001"), validator=not_negative)
    grace_ns: int = field(default=60_000_000_000, validator=positive)
    rate_max: Decimal = field(default=RATE_MAX, validator=positive)
    rate_caps: Mapping[str, Decimal] = field(factory=dict, validator=_caps)
    rate_step: Decimal = field(default=Decimal("0.000001"), validator=not_negative)
    ambiguous_ns: int = field(default=15_000_000_000, validator=not_negative)
    timeout_ns: int = field(default=5_000_000_000, validator=positive)
    backoff_ns: int = field(default=5_000_000_000, validator=positive)
    backoff_max_ns: int = field(default=600_000_000_000, validator=positive)
    proof_ns: int = field(default=600_000_000_000, validator=positive)
    kept: int = field(default=500, validator=positive)

    def cap(self, instrument: str) -> Decimal:
        return self.rate_caps.get(instrument, self.rate_max)


@define
class Due:
    """What one position owes or is owed at one instant. `qty` is what was held then; `paid` None until money moved.

    `told` is what reports claimed and was not booked. `booked` counts the movements booked; `is_moved` says that the
    position changed near the instant. `difference` stands while the venue is asked, `outcome` once all is settled;
    `absent_ns` is when a complete answer first held no record, `is_confirmed` that one did.
    """

    account: str
    side: PositionSide
    qty: Decimal = ZERO
    paid: Decimal | None = None
    told: Decimal | None = None
    asset: str = ""
    booked: int = 0
    is_moved: bool = False
    difference: FundingDifference | None = None
    outcome: FundingOutcome | None = None
    absent_ns: int | None = None
    is_confirmed: bool = False
    is_told: bool = False


@define
class Stamp:
    """One funding instant. `rate` and `mark` are estimates until the settled ones are known (`is_exact`).

    `is_closed` says that its grace is over.
    """

    ts: int
    rate: Decimal | None
    mark: Decimal | None
    is_exact: bool = False
    is_closed: bool = False
    dues: list[Due] = field(factory=list)

    def due(self, account: str, side: PositionSide) -> Due:
        """Return the record of one position, made when there is none yet."""
        for due in self.dues:
            if due.account == account and due.side is side:
                return due
        due = Due(account, side)
        self.dues.append(due)
        return due

    @property
    def open_dues(self) -> list[Due]:
        return [due for due in self.dues if due.difference is not None and due.outcome is None]


@define
class Held:
    """A position held now."""

    account: str
    side: PositionSide
    qty: Decimal


@define
class Move:
    """A fill near or after the next instant, by the venue's clock: it may have come before that instant was taken."""

    ts: int
    account: str
    side: PositionSide
    change: Decimal


@define
class Perpetual:
    """Everything about one instrument. `open` are the instants inside their grace, `disputed` those that the venue is
    asked about, `settled` the ones behind; newest last.

    `interval_ns` is None until two instants in a row were seen; `is_absurd` says that the last rate was refused.
    """

    rate: Decimal | None = None
    mark: Decimal | None = None
    next_ns: int | None = None
    interval_ns: int | None = None
    held: dict[str, Held] = field(factory=dict)
    moves: list[Move] = field(factory=list)
    paid: Decimal = ZERO
    open: list[Stamp] = field(factory=list)
    disputed: list[Stamp] = field(factory=list)
    settled: list[Stamp] = field(factory=list)
    is_absurd: bool = False
    told_rate: Decimal | None = None
    told_next_ns: int | None = None

    @property
    def qty(self) -> Decimal:
        return sum((one.qty for one in self.held.values()), ZERO)

    def hold(self, account: str, instrument: str, side: PositionSide, qty: Decimal) -> None:
        key = position_key(account, instrument, side)
        if qty:
            self.held[key] = Held(account, side, qty)
        else:
            self.held.pop(key, None)

    @property
    def stamps(self) -> list[Stamp]:
        return [*self.open, *self.disputed, *self.settled]

    def stamp_near(self, ts: int, within_ns: int) -> Stamp | None:
        """Return the nearest instant known: reports and records are a few ms off theirs."""
        near = [stamp for stamp in self.stamps if abs(stamp.ts - ts) <= within_ns]
        return min(near, key=lambda stamp: abs(stamp.ts - ts), default=None)

    def file(self, stamp: Stamp, kept: int) -> None:
        """Put an instant where it belongs now; of the settled ones the last `kept` stay."""
        for pile in (self.open, self.disputed, self.settled):
            pile[:] = [other for other in pile if other is not stamp]
        pile = self.open if not stamp.is_closed else self.disputed if stamp.open_dues else self.settled
        pile.append(stamp)
        pile.sort(key=lambda other: other.ts)
        del self.settled[:-kept]


@define
class Asked:
    """One outstanding query; `instrument` is empty for the income of all."""

    kind: QueryKind
    instrument: str = ""


@define
class AccountFunding:
    """What is asked for one account. `behind_ns` is since when reports may have been missed, None when none were.

    `since_ns` is what the round under way asks from, `next_ns` when the next one is due.
    """

    asked: dict[str, Asked] = field(factory=dict)
    since_ns: int = 0
    is_failed: bool = False
    attempt: int = 0
    next_ns: int | None = None
    behind_ns: int | None = None
    down: dict[str, str] = field(factory=dict)


@define
class FundingTrackerState:
    """`counts` are differences by kind, payments `refused` and those told `duplicate`."""

    perpetuals: dict[str, Perpetual]
    accounts: dict[str, AccountFunding]
    started_ns: int = 0
    query_count: int = 0
    counts: dict[str, int] = field(factory=dict)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


@frozen
class Day:
    """A perpetual's funding over the last 24 hours by its actual instants.

    `paid` is signed, positive received; `mean_rate` None without an instant in the window.
    """

    paid: Decimal
    stamps: int
    mean_rate: Decimal | None
