"""An account: one set of credentials at one venue, its modes, balances and leverage."""

from decimal import Decimal
from enum import StrEnum

from attrs import define, field

from venues.model.money import ZERO


class MarginMode(StrEnum):
    CASH = "cash"
    CROSS = "cross"
    ISOLATED = "isolated"


class PositionMode(StrEnum):
    ONE_WAY = "one_way"
    HEDGE = "hedge"


@define
class Account:
    """Wallet balances by asset (realised money only), modes, and chosen leverage by instrument."""

    id: str
    venue: str
    balances: dict[str, Decimal] = field(factory=dict)
    margin_mode: MarginMode = MarginMode.CROSS
    position_mode: PositionMode = PositionMode.ONE_WAY
    leverage: dict[str, int] = field(factory=dict)

    def balance(self, asset: str) -> Decimal:
        return self.balances.get(asset, ZERO)

    def add(self, asset: str, amount: Decimal) -> None:
        self.balances[asset] = self.balances.get(asset, ZERO) + amount
