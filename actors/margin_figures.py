"""What is said of an account whose margin is short: figures, and the marks that would liquidate it."""

from decimal import Decimal

from actors.messages import MarginLevel
from venues.port import Message, message


@message()
class MarginFigures(Message):
    """An account's margin in its worst asset: at a change of level, and again and again while it is not healthy.

    Amounts are of `asset`. `prices` are the marks at which the pool would be liquidated, all other marks unchanged, by
    instrument, where that can be computed; `marks` are what they are now. `why` says what is missing when UNKNOWN.
    """

    ts: int
    account: str
    level: MarginLevel
    asset: str
    balance: Decimal
    maintenance: Decimal
    coverage: Decimal | None
    prices: dict[str, Decimal]
    marks: dict[str, Decimal]
    why: str = ""
