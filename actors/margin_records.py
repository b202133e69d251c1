"""What the margin monitor is told to watch for, what it remembers, and what it finds."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from attrs import define, field, frozen

from actors.config_checks import not_negative, positive
from actors.messages import MarginLevel, OrderRequest
from venues.model.money import ZERO


@frozen
class MarginConfig:
    """Coverage = margin balance / maintenance margin; a level begins below its number.

    `leverage` by instrument is what the account has set at the venue, `default_leverage` elsewhere. `buffer_bps` of
    each leg's value is kept for fees and slippage. Marks older than `mark_age_max_ns` are no marks.
    """

    warning: Decimal = field(default=Decimal("2.0"), validator=positive)
    danger: Decimal = field(default=Decimal("1.5"), validator=positive)
    critical: Decimal = field(default=Decimal("1.2"), validator=positive)
    liquidation: Decimal = field(default=Decimal("1.0"), validator=positive)
    leverage: Mapping[str, int] = field(factory=dict, metadata={"composed": True})
    default_leverage: int = field(default=1, validator=positive)
    buffer_bps: Decimal = field(default=Decimal(20), validator=not_negative)
    mark_age_max_ns: int = field(default=15_000_000_000, validator=positive)
    check_ns: int = field(default=5_000_000_000, validator=positive)

    def __attrs_post_init__(self) -> None:
        if not self.warning > self.danger > self.critical > self.liquidation:
            raise ValueError("warning: must be above danger, danger above critical, critical above liquidation")
        for instrument, leverage in self.leverage.items():
            if leverage < 1:
                raise ValueError(f"leverage.{instrument}: must be at least 1, got {leverage}")

    def level(self, coverage: Decimal) -> MarginLevel:
        """Return the level of a coverage; a bound itself still belongs to the better level."""
        if coverage < self.liquidation:
            return MarginLevel.LIQUIDATION
        if coverage < self.critical:
            return MarginLevel.CRITICAL
        if coverage < self.danger:
            return MarginLevel.DANGER
        return MarginLevel.WARNING if coverage < self.warning else MarginLevel.HEALTHY


@define
class Holding:
    """An open position; `qty` is zero when our book said something that is no number."""

    account: str
    instrument: str
    qty: Decimal
    entry: Decimal | None


@define
class Seen:
    """A price and when it came, by our clock."""

    ts: int
    price: Decimal


@define
class Need:
    """Money that must be there: `amount` of `asset` in `account`."""

    account: str
    asset: str
    amount: Decimal


@define
class Working:
    """An approved order until it is final: what it needs is worked out when somebody asks for what is free."""

    request: OrderRequest
    filled: Decimal = ZERO


@define
class MarginMonitorState:
    """`reported` are the venue's balances, as of `reported_ns` at the venue, `booked` our own; by account and asset.

    `levels` are the last published by account.
    """

    reported: dict[str, dict[str, Decimal]] = field(factory=dict)
    reported_ns: dict[str, dict[str, int]] = field(factory=dict)
    booked: dict[str, dict[str, Decimal]] = field(factory=dict)
    holdings: dict[str, Holding] = field(factory=dict)
    marks: dict[str, Seen] = field(factory=dict)
    asks: dict[str, Seen] = field(factory=dict)
    levels: dict[str, MarginLevel] = field(factory=dict)
    reserved: dict[str, list[Need]] = field(factory=dict)
    orders: dict[str, Working] = field(factory=dict)


@frozen
class Assessment:
    """An account's margin in its worst `asset`; `why` says what is missing when the level is UNKNOWN."""

    level: MarginLevel
    balance: Decimal
    maintenance: Decimal
    coverage: Decimal | None
    why: str = ""
    asset: str = ""


@frozen
class Pool:
    """A cross pool of one asset: its wallet, unrealised profit and maintenance margin."""

    wallet: Decimal
    unrealized: Decimal
    maintenance: Decimal

    @property
    def balance(self) -> Decimal:
        return self.wallet + self.unrealized

    @property
    def coverage(self) -> Decimal | None:
        return self.balance / self.maintenance if self.maintenance else None


def as_reservations(plain: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 knew what each order needs, not what it is: it is reserved under the request until the order is over."""
    needs = {key: one for key, one in plain["orders"].items() if one["amount"] is not None}
    whole = {key: [{name: one[name] for name in ("account", "asset", "amount")}] for key, one in needs.items()}
    baskets = {
        key: [{name: one[name] for name in ("account", "asset", "amount")} for one in promised]
        for key, promised in plain["reserved"].items()
    }
    return plain | {"orders": {}, "reserved": baskets | whole}
