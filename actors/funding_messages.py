"""What the funding tracker tells: money that moved, instants that are settled, intervals that changed."""

from decimal import Decimal
from enum import StrEnum

from venues.model.order import PositionSide
from venues.port import Message, message


class FundingDifference(StrEnum):
    """How what a venue paid at an instant may differ from what was due. Each kind has its row in REMEDIES."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    AMOUNT = "amount"
    CONFLICT = "conflict"
    ABSURD = "absurd"
    AMBIGUOUS = "ambiguous"
    UNVERIFIED = "unverified"


class FundingOutcome(StrEnum):
    """How one position's funding of one instant ended. The last four are incidents."""

    AGREED = "agreed"
    FOUND = "found"
    NOT_DUE = "not_due"
    ACCEPTED = "accepted"
    OTHERWISE = "otherwise"
    NOT_PAID = "not_paid"
    TAKEN_BACK = "taken_back"
    UNVERIFIED = "unverified"


@message()
class FundingPaid(Message):
    """Funding to be booked, each movement told once: `amount` is signed, positive when received.

    `number` counts the movements of one position at one instant from 0; later ones correct those before.
    """

    ts: int
    account: str
    instrument: str
    position_side: PositionSide
    stamp_ns: int
    number: int
    asset: str
    amount: Decimal


@message()
class FundingReconciled(Message):
    """One position's funding at one instant is settled.

    `due` is what rate and mark make of the position held then, None when they are not known; `paid` what the venue
    paid, None for nothing. `difference` is what had to be asked about, None when the reports agreed at once.
    """

    ts: int
    account: str
    instrument: str
    position_side: PositionSide
    stamp_ns: int
    asset: str
    due: Decimal | None
    paid: Decimal | None
    outcome: FundingOutcome
    difference: FundingDifference | None = None


@message()
class FundingInterval(Message):
    """The venue settles a perpetual's funding at another interval from now on; `next_ns` is the next instant."""

    ts: int
    instrument: str
    before_ns: int
    after_ns: int
    next_ns: int
