"""What a risk guard says: which guard, about what, how severe, for which typed reason, in which numbers.

No finding means: nothing is wrong. What a guard needs and does not know is a finding that blocks, never none.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import IntEnum, StrEnum

from attrs import field, frozen

from venues.model.money import ZERO


class Guard(StrEnum):
    """The guards by the names that the configuration, metrics and reasons use."""

    MARGIN = "margin"
    LEVERAGE = "leverage"
    SIZE = "size"
    CONCENTRATION = "concentration"
    FUNDING = "funding"
    ADL = "adl"
    LIQUIDATION_DISTANCE = "liquidation_distance"
    SPAN = "span"
    POSITION_LIMITS = "position_limits"
    CIRCUIT = "circuit"
    SETTLEMENT = "settlement"
    ROLLOVER = "rollover"
    PORTFOLIO = "portfolio"


class Severity(IntEnum):
    """Each includes the ones before it.

    WARN tells somebody. BLOCK lets nothing enlarge what it is about. REDUCE also wants it smaller: to `keep` of it.
    """

    CLEAR = 0
    WARN = 1
    BLOCK = 2
    REDUCE = 3


class GuardReason(StrEnum):
    """Why a guard speaks; a refusal is written `reason: figures`."""

    NO_REFERENCE = "no_reference"
    MARGIN_LEVEL = "margin_level"
    MARGIN_UNKNOWN = "margin_unknown"
    SYMBOL_LEVERAGE = "symbol_leverage"
    ACCOUNT_LEVERAGE = "account_leverage"
    SYMBOL_SIZE = "symbol_size"
    OPEN_POSITIONS = "open_positions"
    LEVERAGE_USE = "leverage_use"
    TRAILING_STOP = "trailing_stop"
    CONCENTRATED = "concentrated"
    FUNDING_RATE = "funding_rate"
    FUNDING_EXCESSIVE = "funding_excessive"
    FUNDING_CUMULATED = "funding_cumulated"
    FUNDING_ENTRY = "funding_entry"
    HOLDING_TIME = "holding_time"
    ADL_RANK = "adl_rank"
    LIQUIDATION_NEAR = "liquidation_near"
    LIQUIDATION_IMMINENT = "liquidation_imminent"
    SPAN_WARNING = "span_warning"
    SPAN_DANGER = "span_danger"
    SPAN_MARGIN_CALL = "span_margin_call"
    SPAN_SAFE_SIZE = "span_safe_size"
    POSITION_LIMIT = "position_limit"
    ACCOUNTABILITY = "accountability"
    CIRCUIT_NEAR = "circuit_near"
    CIRCUIT_BEYOND = "circuit_beyond"
    VARIATION = "variation"
    ROLL_DUE = "roll_due"
    CLOSE_OUT = "close_out"
    NET_DELTA = "net_delta"
    CORRELATED_DELTA = "correlated_delta"
    QUOTE_BASIS = "quote_basis"


@frozen
class Finding:
    """One thing a guard found about `subject`: an instrument, an account, an asset, or the desk (empty).

    `keep` is the share of what is held that may stay, None when the guard asks for no reduction; beside WARN it is an
    offer. A reduction that is marked `once` is made once for each value of it. `is_act` asks for the kill switch.
    """

    guard: Guard
    severity: Severity
    reason: GuardReason
    subject: str
    text: str
    numbers: Mapping[str, Decimal] = field(factory=dict)
    keep: Decimal | None = None
    once: str = ""
    is_act: bool = False

    @property
    def is_blocking(self) -> bool:
        return self.severity >= Severity.BLOCK

    @property
    def said(self) -> str:
        """The refusal as it is written: `subject: reason: figures`."""
        return f"{self.subject or 'desk'}: {self.reason}: {self.text}"


Findings = tuple[Finding, ...]
NOTHING: Findings = ()


def is_known(value: Decimal | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and value.is_finite()


def unknown(guard: Guard, subject: str, what: str) -> Findings:
    """Return the finding of a guard that lacks what it needs: it blocks."""
    return (Finding(guard, Severity.BLOCK, GuardReason.NO_REFERENCE, subject, what),)


def shown(value: Decimal) -> str:
    """Return a number short enough to read."""
    return f"{value:.6g}" if value else "0"


def worst(findings: Iterable[Finding]) -> Severity:
    """Return the highest severity, CLEAR without a finding."""
    return max((one.severity for one in findings), default=Severity.CLEAR)


def kept(share: Decimal) -> Decimal:
    """Return a share to keep, from 0 to 1."""
    return min(max(share, ZERO), Decimal(1))
