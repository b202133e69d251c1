"""What traded, for which order, why, and at what fee."""

from decimal import Decimal
from enum import StrEnum

from attrs import frozen

from venues.model.order import PositionSide, Side


class Liquidity(StrEnum):
    MAKER = "maker"
    TAKER = "taker"
    NONE = "none"


class FillReason(StrEnum):
    """Why a fill happened; a live venue only tells taker, queue (maker), liquidation, adl and settlement."""

    TAKER = "taker"
    QUEUE = "queue"
    THROUGH = "through"
    CROSSED = "crossed"
    AUCTION = "auction"
    LIQUIDATION = "liquidation"
    ADL = "adl"
    SETTLEMENT = "settlement"


@frozen
class Fill:
    """One execution. `ts` is the venue's time in UTC ns; `fee` is positive when paid, in `fee_asset`."""

    ts: int
    account: str
    instrument: str
    client_order_id: str
    trade_id: str
    side: Side
    price: Decimal
    qty: Decimal
    liquidity: Liquidity
    fee: Decimal
    fee_asset: str
    reason: FillReason
    position_side: PositionSide = PositionSide.BOTH
