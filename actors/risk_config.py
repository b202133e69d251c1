"""What bounds orders, positions and the desk: the settings by which the risk gate decides."""

from collections.abc import Mapping
from decimal import Decimal

from attrs import field, frozen

from actors.config_checks import not_negative, positive, positive_or_none, share
from actors.sessions import AttemptConfig

BPS = Decimal(10_000)


@frozen
class InstrumentLimits:
    """Limits of one instrument. Notionals are quote money, quantities the instrument's own units.

    `collar_bps` bounds prices around the mid for opening orders, `hard_collar_bps` for all, and `period_collar_bps`
    for opening orders around the mids of the last two samples as well (a sample is taken each `collar_period_ns`).
    `book_age_max_ns` is how old the last view of the book may be for an opening order. `unpriced_openings` lets
    market orders open positions.
    """

    order_notional_max: Decimal = field(default=Decimal(250_000), validator=positive)
    order_qty_max: Decimal | None = field(default=None, validator=positive_or_none)
    position_notional_max: Decimal = field(default=Decimal(1_000_000), validator=positive)
    position_qty_max: Decimal | None = field(default=None, validator=positive_or_none)
    collar_bps: Decimal = field(default=Decimal(100), validator=positive)
    hard_collar_bps: Decimal = field(default=Decimal(500), validator=positive)
    book_age_max_ns: int = field(default=10_000_000_000, validator=positive)
    unpriced_openings: bool = False
    period_collar_bps: Decimal = field(default=Decimal(300), validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.hard_collar_bps < self.collar_bps:
            raise ValueError(f"hard_collar_bps: {self.hard_collar_bps} is inside collar_bps {self.collar_bps}")


@frozen
class RiskConfig:
    """Limits of the desk. `instruments` overrides `default` by instrument id; `allowed` None allows all known ones.

    At most `orders_per_window` orders and cancels in any `rate_window_ns`; the share `reserved` of it is kept for
    hedges, reductions and cancels. The same order twice within `duplicate_window_ns` is refused. A basket's leg may
    be traded up to its quantity and the share `overrun` more (residuals of earlier baskets). `par` are the quote
    currencies counted one to one; instruments quoted in others have no reference price. Orders in flight are worth at
    most `unexecuted_notional_max`, `gross_notional_max` when that is not set. A strategy that executed
    `executions_per_window` times within `execution_window_ns` (opening baskets, and orders of no basket) is disabled
    until a person releases it. `strategies` are those that may open, all when it is not set.
    """

    default: InstrumentLimits = InstrumentLimits()
    instruments: Mapping[str, InstrumentLimits] = field(factory=dict)
    allowed: tuple[str, ...] | None = field(default=None, metadata={"ref": "instrument"})
    gross_notional_max: Decimal = field(default=Decimal(5_000_000), validator=positive)
    open_orders_max: int = field(default=50, validator=positive)
    orders_per_window: int = field(default=50, validator=positive)
    rate_window_ns: int = field(default=1_000_000_000, validator=positive)
    reserved: Decimal = field(default=Decimal("0.4"), validator=share)
    duplicate_window_ns: int = field(default=500_000_000, validator=not_negative)
    remembered_ids: int = field(default=10_000, validator=positive)
    remembered_baskets: int = field(default=1_000, validator=positive)
    remembered_parents: int = field(default=1_000, validator=positive)
    overrun: Decimal = field(default=Decimal("0.1"), validator=share)
    par: tuple[str, ...] = ("USD", "USDT", "USDC")
    starts_read_only: bool = True
    attempts: AttemptConfig = field(factory=AttemptConfig)
    unexecuted_notional_max: Decimal | None = field(default=None, validator=positive_or_none)
    executions_per_window: int = field(default=1_000, validator=positive)
    execution_window_ns: int = field(default=60_000_000_000, validator=positive)
    collar_period_ns: int = field(default=60_000_000_000, validator=positive)
    strategies: tuple[str, ...] | None = None

    def limits(self, instrument: str) -> InstrumentLimits:
        return self.instruments.get(instrument, self.default)

    @property
    def openings_per_window(self) -> int:
        """How many messages the window may hold for an opening order to be let through."""
        return int(self.orders_per_window * (1 - self.reserved))

    @property
    def unexecuted_max(self) -> Decimal:
        return self.gross_notional_max if self.unexecuted_notional_max is None else self.unexecuted_notional_max
