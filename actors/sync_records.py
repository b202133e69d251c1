"""What the position synchronizer knows: the table of mismatches, what is suspected of whom, what it was before."""

from collections.abc import Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.config_checks import not_negative, positive
from actors.messages import KillLevel, MismatchKind
from actors.recent import Recent
from venues.model.account import MarginMode, PositionMode
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.port import QueryKind


@frozen
class Resolution:
    """What is done about a kind of mismatch, and why that is right.

    `level` is the kill level asked for at once (ARMED: none), `refused` the one when `action` did not help; `holds`
    says that the account is not reconciled meanwhile. Actions are repeated until books agree. fills: the trade
    history is asked, from which the order manager books what we missed, every time further back. set: the setting is
    set again. book: what the income names is booked. income: it is asked again. hold: nothing by itself; a person
    decides. Our book is never overwritten by the venue's: it is made of fills and of money that its income names.
    """

    action: str
    level: KillLevel
    why: str
    holds: bool = True
    refused: KillLevel = KillLevel.ARMED


_REDUCE, _CANCEL, _ARMED = KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL, KillLevel.ARMED

RESOLUTIONS: dict[MismatchKind, Resolution] = {
    MismatchKind.QUANTITY: Resolution("fills", _REDUCE, "a fill was missed or somebody else trades here"),
    MismatchKind.CLOSED_EXTERNALLY: Resolution(
        "fills", _REDUCE, "the other legs are unhedged until the fills say who closed it"
    ),
    MismatchKind.UNKNOWN_POSITION: Resolution(
        "fills", _REDUCE, "ours by a missed fill, or somebody else's: never traded away unasked"
    ),
    MismatchKind.SIDE_FLIP: Resolution("fills", _CANCEL, "resting orders were placed for the opposite position"),
    MismatchKind.ENTRY_DRIFT: Resolution(
        "hold", _ARMED, "quantities agree; venues average entries by rules of their own", holds=False
    ),
    MismatchKind.LEVERAGE: Resolution(
        "set", _ARMED, "margin is computed with the configured leverage; set it again", refused=_REDUCE
    ),
    MismatchKind.MARGIN_MODE: Resolution(
        "set", _ARMED, "margin and liquidation are computed for the configured mode; set it again", refused=_REDUCE
    ),
    MismatchKind.POSITION_MODE: Resolution(
        "set", _REDUCE, "an order means another position in the other mode; set it again", refused=_CANCEL
    ),
    MismatchKind.LIQUIDATED: Resolution(
        "fills", _CANCEL, "the account was liquidated: whatever rests may make it worse"
    ),
    MismatchKind.DELEVERAGED: Resolution("fills", _REDUCE, "a leg was reduced by the venue and its hedge was not"),
    MismatchKind.DEPOSIT: Resolution(
        "book", _ARMED, "the income names the transfer: it is booked, no profit", holds=False
    ),
    MismatchKind.WITHDRAWAL: Resolution(
        "book", _ARMED, "the income names the transfer: it is booked, no loss; margin is judged anew", holds=False
    ),
    MismatchKind.WALLET_DRIFT: Resolution(
        "income", _REDUCE, "money moved that neither fills, funding nor transfers explain", holds=False
    ),
}


@frozen
class SyncConfig:
    """Every account is asked each `period_ns`, and again `quiet_ns` after a difference or a fill.

    An answer is late after `timeout_ns`; failures are retried after `backoff_ns` doubled up to `backoff_max_ns`, and
    `failures_max` in a row ask for REDUCE_ONLY. A difference older than `patience_ns` is believed however busy we are,
    and what is done about it is done again that often; a setting that `set_tries` tries did not bring back was refused.
    `entry_bps` is the drift of an entry price that is not news; `spot_dust` and `wallet_dust` by asset what a balance
    may be off, which is nothing if not told. `kept` bounds the mismatches remembered.
    """

    period_ns: int = field(default=10_000_000_000, validator=positive)
    quiet_ns: int = field(default=2_000_000_000, validator=positive)
    timeout_ns: int = field(default=5_000_000_000, validator=positive)
    backoff_ns: int = field(default=1_000_000_000, validator=positive)
    backoff_max_ns: int = field(default=30_000_000_000, validator=positive)
    failures_max: int = field(default=3, validator=positive)
    patience_ns: int = field(default=30_000_000_000, validator=positive)
    set_tries: int = field(default=3, validator=positive)
    entry_bps: Decimal = field(default=Decimal(10), validator=not_negative)
    spot_dust: Mapping[str, Decimal] = field(factory=dict)
    wallet_dust: Mapping[str, Decimal] = field(factory=dict)
    fills_lookback_ns: int = field(default=600_000_000_000, validator=positive)
    kept: int = field(default=200, validator=positive)


@frozen
class Modes:
    """How an account must be set."""

    margin_mode: MarginMode = MarginMode.CROSS
    position_mode: PositionMode = PositionMode.ONE_WAY


@define
class Ours:
    account: str
    instrument: str
    side: PositionSide
    qty: Decimal = ZERO
    entry: Decimal | None = None


@frozen
class Finding:
    """One difference as an answer shows it. `instrument` is the asset for a wallet, empty for a whole account."""

    kind: MismatchKind
    instrument: str
    side: PositionSide
    ours: Decimal
    theirs: Decimal
    detail: str = ""


@define
class Suspect:
    """A difference not believed yet, or (`is_told`) believed and reported.

    `ours` is what it was held against, `tries` how often something was done about it, the last time at `acted_ns`.
    `is_asked` says that the income was asked about a wallet, `is_refused` that what was tried did not help.
    """

    kind: MismatchKind
    theirs: Decimal
    since_ns: int
    is_told: bool = False
    instrument: str = ""
    side: PositionSide = PositionSide.BOTH
    ours: Decimal = ZERO
    detail: str = ""
    tries: int = 0
    acted_ns: int = 0
    is_asked: bool = False
    is_refused: bool = False

    def is_of(self, found: Finding) -> bool:
        """Whether an answer shows just what this is. A wallet may move on both sides: what it is off by counts."""
        if self.kind is not found.kind:
            return False
        if self.detail != found.detail and found.kind is not MismatchKind.ENTRY_DRIFT:
            return False
        if found.kind is MismatchKind.WALLET_DRIFT:
            return self.theirs - self.ours == found.theirs - found.ours
        return self.theirs == found.theirs


@define
class Episode:
    """One mismatch that was told, for people who look back; `ended_ns` is None while it stands."""

    ts: int
    account: str
    instrument: str
    side: PositionSide
    kind: MismatchKind
    ours: Decimal
    theirs: Decimal
    detail: str
    ended_ns: int | None = None
    how: str = ""


@define
class EntriesOff:
    """What the entries of an asset's positions make a wallet differ by, and how exactly that is known."""

    amount: Decimal = ZERO
    slack: Decimal = ZERO


@define
class AccountSync:
    """One account. `asked` are the outstanding queries by id, `agreed` says whether every answer so far agreed.
    `forced` is what the venue did to a position since, `taken_ns` the venue's time of the last fill it forced there.

    `baseline` is what each base asset's balance was beyond our own spot positions at the first answer. `adopted` is
    what a person accepted: a quantity or an amount by suspect, `accepted` a setting's words. `wallet_ns` is the venue's
    time of the last answer in which an asset's wallet agreed, `entries_off` what the entries of the last answer differ
    by, `incomes` what was booked by id.
    """

    asked: dict[str, QueryKind] = field(factory=dict)
    agreed: bool = True
    failures: int = 0
    moved_ns: int = 0
    in_flight: dict[str, int] = field(factory=dict)
    suspects: dict[str, Suspect] = field(factory=dict)
    baseline: dict[str, Decimal] = field(factory=dict)
    forced: dict[str, MismatchKind] = field(factory=dict)
    taken_ns: dict[str, int] = field(factory=dict)
    reconciled_ns: int | None = None
    next_round_ns: int | None = None
    down: dict[str, str] = field(factory=dict)
    wallets: dict[str, Decimal] = field(factory=dict)
    is_whole: bool = False
    wallet_ns: dict[str, int] = field(factory=dict)
    entries_off: dict[str, EntriesOff] = field(factory=dict)
    adopted: dict[str, Decimal] = field(factory=dict)
    accepted: dict[str, str] = field(factory=dict)
    income_query: str = ""
    income_since_ns: int = 0
    incomes: Recent = field(factory=Recent)


@define
class SynchronizerState:
    """`history` are the last mismatches told, oldest first."""

    accounts: dict[str, AccountSync]
    ours: dict[str, Ours] = field(factory=dict)
    query_count: int = 0
    failures: int = 0
    mismatches: int = 0
    resolved: int = 0
    history: list[Episode] = field(factory=list)
    started_ns: int = 0


def classify(ours: Decimal, theirs: Decimal, forced: MismatchKind | None) -> MismatchKind | None:
    """Return what a pair of signed quantities is called, None when they are equal.

    `forced` is what the venue reported doing to the position (liquidation, deleveraging).
    """
    if ours == theirs:
        return None
    if forced is not None:
        return forced
    if not ours:
        return MismatchKind.UNKNOWN_POSITION
    if not theirs:
        return MismatchKind.CLOSED_EXTERNALLY
    return MismatchKind.SIDE_FLIP if (ours > ZERO) is not (theirs > ZERO) else MismatchKind.QUANTITY
