"""An account's table in a configuration, read alike by the desk and, without what a strategy needs, by the guard."""

import re
from decimal import Decimal

from attrs import Attribute, field, frozen

from daemon.config_structure import Credential
from venues.model.account import Account, MarginMode, PositionMode

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


def is_id(_: object, attribute: "Attribute[str]", value: str) -> None:
    """Validate an attrs field that names something. Raises ValueError."""
    if not _ID.fullmatch(value):
        raise ValueError(f"{value!r} may hold letters, digits, '_', '-' and '.' only")


@frozen
class AccountConfig:
    """One account: its modes, what it holds at the start, and leverage by symbol."""

    id: str = field(validator=is_id)
    venue: str
    balances: dict[str, Decimal]
    margin_mode: MarginMode
    position_mode: PositionMode = PositionMode.ONE_WAY
    leverage: dict[str, int] = field(factory=dict)
    credentials: Credential | None = None

    def account(self) -> Account:
        """Return the account as it is at the start of a run, leverage keyed by instrument id."""
        leverage = {f"{self.venue}:{symbol}": times for symbol, times in self.leverage.items()}
        return Account(self.id, self.venue, dict(self.balances), self.margin_mode, self.position_mode, leverage)
