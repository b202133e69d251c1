"""What the position synchronizer tells beside a mismatch, and what a person tells it."""

from decimal import Decimal

from actors.messages import MismatchKind
from venues.model.order import PositionSide
from venues.port import IncomeKind, Lane, Message, message


@message()
class PositionResolved(Message):
    """A mismatch that was told is none any more. `how` says whose side moved, or who accepted it.

    `instrument` is the asset for a wallet, empty for a whole account.
    """

    ts: int
    account: str
    instrument: str
    position_side: PositionSide
    kind: MismatchKind
    since_ns: int
    how: str


@message()
class WalletSuspected(Message):
    """A wallet differs from ours by `off` (positive: the venue has more): who knows of missed money looks for it."""

    ts: int
    account: str
    asset: str
    off: Decimal


@message()
class WalletMoved(Message):
    """Money that the venue's income names came in (positive) or went out beside all trading: booked, no profit."""

    ts: int
    account: str
    asset: str
    amount: Decimal
    kind: IncomeKind
    income_id: str


@message(lane=Lane.CONTROL)
class Adopt(Message):
    """A person accepts what the venue shows as not the desk's: of an instrument, an asset, or a whole account ("").

    What is accepted is left alone: our book stays as it is, and the difference counts as agreed from then on.
    """

    ts: int
    operator: str
    account: str
    what: str
    reason: str
