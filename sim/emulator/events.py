"""What happened at the emulated venue, told to streams in the order in which it happened.

Market events are the port's own messages (Trade, BookDelta, BookSnapshot, Quote, MarkPrice, FundingRate,
LiquidationPrint, InstrumentStatus); the classes here are the account's.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

from attrs import frozen

from sim.emulator.records import AlgoRecord, FillRecord, OrderRecord, PositionFigures
from venues.port import Message


@frozen
class OrderEvent:
    """ORDER_TRADE_UPDATE: `execution` is NEW, TRADE, CANCELED, EXPIRED, AMENDMENT or CALCULATED.

    `order` is a copy as it was then. `fill` comes with TRADE and CALCULATED. On spot it is the executionReport.
    """

    ts: int
    order: OrderRecord
    execution: str
    fill: FillRecord | None = None


@frozen
class BalanceChange:
    """`change` is the part that is neither profit nor commission (Binance's `bc`)."""

    asset: str
    wallet: Decimal
    cross_wallet: Decimal
    change: Decimal


@frozen
class AccountEvent:
    """ACCOUNT_UPDATE: `reason` is Binance's `m`; only what changed. `symbol` is that of a funding payment."""

    ts: int
    reason: str
    balances: Sequence[BalanceChange]
    positions: Sequence[PositionFigures]
    symbol: str = ""


@frozen
class AlgoEvent:
    """ALGO_UPDATE; `algo` is a copy as it was then."""

    ts: int
    algo: AlgoRecord


@frozen
class ConfigEvent:
    """ACCOUNT_CONFIG_UPDATE: a symbol's new leverage, or the multi-assets mode (symbol empty)."""

    ts: int
    symbol: str = ""
    leverage: int = 0
    multi_assets: bool = False


@frozen
class MarginCallEvent:
    """MARGIN_CALL: the cross wallet and the positions in danger."""

    ts: int
    cross_wallet: Decimal
    positions: Sequence[PositionFigures]


Event = Message | OrderEvent | AccountEvent | AlgoEvent | ConfigEvent | MarginCallEvent
Subscriber = Callable[[Event], None]
