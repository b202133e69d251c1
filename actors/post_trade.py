"""What is told of fills after the trade: that a venue took one back, or that its books and ours differ."""

from enum import StrEnum

from attrs import evolve

from venues.model.fill import Fill
from venues.port import Message, message


@message()
class FillBusted(Message):
    """The venue took back a fill that we had booked: everybody who counted it takes it off again.

    The fields are those of its FillEvent, `why` is the venue's word.
    """

    ts: int
    request_id: str
    strategy: str
    basket_id: str
    fill: Fill
    why: str = ""


class CopyDifference(StrEnum):
    """How a venue's own list of our fills may differ from our books."""

    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    QUANTITY = "quantity"
    PRICE = "price"
    FEE = "fee"
    STILL_THERE = "still_there"


@message()
class DropCopyMismatch(Message):
    """A fill that the venue's list has and we have not, that we have and it has not, or that is told differently.

    STILL_THERE is one that the venue said it took back. `ours` and `theirs` are texts, empty for what is missing.
    """

    ts: int
    account: str
    instrument: str
    trade_id: str
    kind: CopyDifference
    ours: str
    theirs: str


@message()
class DropCopyVerified(Message):
    """Every fill of `account` from `since_ns` to `until_ns` (venue times) was compared with the venue's own list.

    `fills` of them are the same on both sides.
    """

    ts: int
    account: str
    since_ns: int
    until_ns: int
    fills: int


def reversal(fill: Fill) -> Fill:
    """Return the fill that takes this one off again: the other side, the fee given back."""
    return evolve(fill, side=fill.side.opposite, fee=-fill.fee)
