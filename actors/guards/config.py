"""Which guards are switched on, which of them may reduce positions by themselves, and the settings of each."""

from collections.abc import Iterable
from decimal import Decimal

from attrs import field, frozen

from actors.config_checks import not_negative, positive
from actors.guards.adl import AdlConfig
from actors.guards.circuit import CircuitConfig
from actors.guards.concentration import ConcentrationConfig
from actors.guards.findings import Guard
from actors.guards.funding import FundingGuardConfig
from actors.guards.leverage import LeverageConfig
from actors.guards.liquidation_distance import LiquidationDistanceConfig
from actors.guards.margin import MarginGuardConfig
from actors.guards.portfolio import PortfolioConfig
from actors.guards.position_limits import PositionLimitsConfig
from actors.guards.rollover import RolloverConfig
from actors.guards.settlement import SettlementConfig
from actors.guards.size import SizeConfig
from actors.guards.span import SpanConfig

ON = (
    Guard.MARGIN,
    Guard.LEVERAGE,
    Guard.SIZE,
    Guard.CONCENTRATION,
    Guard.ADL,
    Guard.LIQUIDATION_DISTANCE,
    Guard.PORTFOLIO,
)
"""The guards whose references every desk has: prices, brackets, wallets. The others block without theirs."""

REDUCING = (Guard.LIQUIDATION_DISTANCE, Guard.SPAN, Guard.SETTLEMENT, Guard.ROLLOVER)


@frozen
class GuardsConfig:
    """`on` names the guards that are switched on; what one of them needs and does not know blocks.

    Those of them that `reducing` names also carry out the reductions they ask for, by closing a part of every basket
    concerned, all legs at once; the others only offer them. Everything is looked at every `check_ns` and `settle_ns`
    after something changed; a basket is not reduced again within `reduce_retry_ns`.
    """

    on: tuple[Guard, ...] = ON
    reducing: tuple[Guard, ...] = REDUCING
    check_ns: int = field(default=5_000_000_000, validator=positive)
    settle_ns: int = field(default=250_000_000, validator=positive)
    mark_check_ns: int = field(default=1_000_000_000, validator=positive)
    reduce_retry_ns: int = field(default=10_000_000_000, validator=positive)
    reduce_slippage_bps: Decimal = field(default=Decimal(20), validator=not_negative)
    reduce_deadline_ns: int = field(default=30_000_000_000, validator=positive)
    account_limit: Decimal = field(default=Decimal(5_000_000), validator=positive, metadata={"composed": True})
    par: tuple[str, ...] = field(default=("USD", "USDT", "USDC"), metadata={"composed": True})
    price_age_max_ns: int = field(default=15_000_000_000, validator=positive, metadata={"composed": True})
    margin: MarginGuardConfig = field(factory=MarginGuardConfig)
    leverage: LeverageConfig = field(factory=LeverageConfig)
    size: SizeConfig = field(factory=SizeConfig)
    concentration: ConcentrationConfig = field(factory=ConcentrationConfig)
    funding: FundingGuardConfig = field(factory=FundingGuardConfig)
    adl: AdlConfig = field(factory=AdlConfig)
    liquidation_distance: LiquidationDistanceConfig = field(factory=LiquidationDistanceConfig)
    span: SpanConfig = field(factory=SpanConfig)
    position_limits: PositionLimitsConfig = field(factory=PositionLimitsConfig)
    circuit: CircuitConfig = field(factory=CircuitConfig)
    settlement: SettlementConfig = field(factory=SettlementConfig)
    rollover: RolloverConfig = field(factory=RolloverConfig)
    portfolio: PortfolioConfig = field(factory=PortfolioConfig)


@frozen
class Switches:
    """Which guards are on, one field a guard: asked for every basket."""

    margin: bool = False
    leverage: bool = False
    size: bool = False
    concentration: bool = False
    funding: bool = False
    adl: bool = False
    liquidation_distance: bool = False
    span: bool = False
    position_limits: bool = False
    circuit: bool = False
    settlement: bool = False
    rollover: bool = False
    portfolio: bool = False


def switches(on: Iterable[Guard]) -> Switches:
    return Switches(**{guard.value: True for guard in on})
