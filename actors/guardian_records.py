"""What the guard is told at its start and what it remembers while it runs."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from attrs import Attribute, define, field, frozen

from actors.config_checks import not_negative, positive, share
from actors.flatten_plan import Holding, Terms
from actors.guardian_messages import Latched
from actors.inquiry import Inquiry, Pace
from actors.messages import KillLevel
from venues.model.money import ZERO
from venues.port import BookSnapshot, SubmitOrder

GUARD_PREFIX = "gd-"
"""How the client ids of the guard's orders begin; `gd-<epoch>-<number>`."""


def _rungs(instance: object, attribute: "Attribute[tuple[Decimal, ...]]", value: tuple[Decimal, ...]) -> None:
    for index, rung in enumerate(value):
        if not rung.is_finite() or rung < ZERO or (index and rung <= value[index - 1]):
            raise ValueError(f"{attribute.name}[{index}]: each rung is a number above the one before, got {rung}")


@frozen
class GuardConfig:
    """How long the guard waits for whom, and how it flattens. Durations are nanoseconds of the guard's own clock.

    The desk is asked to send a heartbeat every `heartbeat_ns` and is silent after `heartbeat_timeout_ns` without one.
    Told to flatten, it says so at once, within `ack_ns`, and is done within `flatten_patience_ns`. `fence_ns` is how
    long its end is waited for. Venues: `query_timeout_ns` for an answer, `order_timeout_ns` for an order's end,
    `quiet_ns` between two proofs that an order is absent, `settle_ns` after a fill during which a report of more than
    is left is old, `round_ns` between rounds that changed nothing, `watch_ns` between looks for orders that should not
    be there. Flattening: `slippage_bps` are the rungs that orders may reach from the touch, the last resort is the
    market order; one takes `depth_share` of what is shown and is worth at most `clip_notional` of quote money; spot
    without a book waits `book_patience` rounds. `dead_man_ns` is the venues' own timer, set anew when a third has run;
    0 for none. `without_dead_man` are the venues that have none (`[dead_man] without`).
    """

    heartbeat_ns: int = field(default=500_000_000, validator=positive)
    heartbeat_timeout_ns: int = field(default=1_500_000_000, validator=positive)
    ack_ns: int = field(default=150_000_000, validator=positive)
    fence_ns: int = field(default=200_000_000, validator=positive)
    flatten_patience_ns: int = field(default=10_000_000_000, validator=positive)
    cancel_retry_ns: int = field(default=500_000_000, validator=positive)
    watch_ns: int = field(default=10_000_000_000, validator=positive)
    query_timeout_ns: int = field(default=1_000_000_000, validator=positive)
    order_timeout_ns: int = field(default=500_000_000, validator=positive)
    quiet_ns: int = field(default=3_000_000_000, validator=positive)
    settle_ns: int = field(default=1_000_000_000, validator=positive)
    round_ns: int = field(default=100_000_000, validator=positive)
    slippage_bps: tuple[Decimal, ...] = field(default=(Decimal(20), Decimal(50), Decimal(100)), validator=_rungs)
    depth_share: Decimal = field(default=Decimal("0.5"), validator=[positive, share])
    clip_notional: Decimal = field(default=Decimal(1_000_000), validator=positive)
    book_patience: int = field(default=5, validator=not_negative)
    dead_man_ns: int = field(default=60_000_000_000, validator=not_negative)
    without_dead_man: tuple[str, ...] = field(default=(), metadata={"composed": True})

    def __attrs_post_init__(self) -> None:
        if self.heartbeat_timeout_ns < 2 * self.heartbeat_ns:
            raise ValueError(f"heartbeat_timeout_ns: {self.heartbeat_timeout_ns} leaves no heartbeat to be late")

    @property
    def terms(self) -> Terms:
        return Terms(self.slippage_bps, self.depth_share, self.clip_notional, self.book_patience)

    @property
    def pace(self) -> Pace:
        """How the fate of an order is asked for."""
        return Pace(self.round_ns, self.query_timeout_ns, self.query_timeout_ns, self.quiet_ns)


@frozen
class Remembered:
    """What the journal says at the start. `epoch` is in no client id of an earlier process.

    `awaited_pid` is a desk that had not left in order when the guard ended; in charge, `is_fenced` says that it came
    after the guard had taken over, or that none is left. `baselines` are balances by account that
    are not the desk's, `targets` those that flattening brings the spot assets to. `distrust` is why nothing is lowered.
    """

    epoch: int
    level: KillLevel = KillLevel.ARMED
    trigger: str = ""
    why: str = ""
    is_in_charge: bool = False
    awaited_pid: int | None = None
    is_fenced: bool = False
    baselines: Mapping[str, Mapping[str, Decimal]] = field(factory=dict)
    targets: Mapping[str, Mapping[str, Decimal]] = field(factory=dict)
    distrust: str = ""


class Course(StrEnum):
    """Where a flattening stands.

    ASKED: the desk was told. DESK: it said that it flattens. CHECK: it says it is done, and is not taken at its word.
    FENCE: the guard takes over and the desk's process is being ended. OWN: the guard flattens. FLAT: nothing is left.
    """

    IDLE = "idle"
    ASKED = "asked"
    DESK = "desk"
    CHECK = "check"
    FENCE = "fence"
    OWN = "own"
    FLAT = "flat"


UNDER_WAY = frozenset({Course.ASKED, Course.DESK, Course.CHECK, Course.FENCE, Course.OWN})


@define
class Desk:
    """The trading process as it was last heard. `pid` None: none is known that has not left in order."""

    pid: int | None = None
    run: str = ""
    is_connected: bool = False
    is_silent: bool = True
    heard_ns: int = 0
    number: int = 0
    level: KillLevel | None = None
    is_reconciled: bool = False
    open_baskets: int = 0

    @property
    def is_fresh(self) -> bool:
        return self.is_connected and not self.is_silent


@define
class Cancels:
    """Which accounts are proven to have no open order, since the last cancel-all of each; `asked` by query id."""

    confirmed: set[str] = field(factory=set)
    asked: dict[str, str] = field(factory=dict)
    why: dict[str, str] = field(factory=dict)


@define
class Look:
    """One question to all accounts, and what came back. `asked` are open queries: (account or instrument, kind).

    `failed` says by account why it was not answered in full, `resting` names the instruments with open orders.
    """

    begun_ns: int
    asked: dict[str, tuple[str, str]] = field(factory=dict)
    holdings: list[Holding] = field(factory=list)
    balances: dict[str, Mapping[str, Decimal]] = field(factory=dict)
    resting: set[str] = field(factory=set)
    failed: dict[str, str] = field(factory=dict)
    books: dict[str, BookSnapshot] = field(factory=dict)
    wants_books: bool = False


@define
class Working:
    """One of our orders. With an `inquiry` its fate is not known and is being asked for."""

    order: SubmitOrder
    sent_ns: int
    filled: Decimal = ZERO
    trades: dict[str, Decimal] = field(factory=dict)
    inquiry: Inquiry | None = None


@define
class Recent:
    """What is left of a position by our own count: an account may tell the older state for a while after a fill.

    `at_ns` is when the last fill was heard of, 0 for none.
    """

    left: Decimal
    at_ns: int = 0


@define
class Flattening:
    """The way to a flat book. `targets` are the balances spot assets are brought to, fixed at the first full look.

    `flat_looks` counts complete looks in a row that found nothing, `idle` rounds in a row without a fill. `refusals`
    are the venues' last words by instrument, `left` says what is not flat yet, or stays.
    """

    course: Course = Course.IDLE
    begun_ns: int = 0
    why: str = ""
    look: Look | None = None
    rounds: int = 0
    flat_looks: int = 0
    idle: int = 0
    targets: dict[str, Mapping[str, Decimal]] = field(factory=dict)
    rungs: dict[str, int] = field(factory=dict)
    blind: dict[str, int] = field(factory=dict)
    working: dict[str, Working] = field(factory=dict)
    recent: dict[str, Recent] = field(factory=dict)
    has_filled: bool = False
    refusals: dict[str, str] = field(factory=dict)
    left: list[str] = field(factory=list)


@define
class GuardianState:
    """`lowering` waits for the disk; `distrust` is why nothing is lowered before a restart with a sound journal.

    `dead_man_ns` is when the venues cancel by themselves unless told otherwise, by the guard's clock.
    """

    level: KillLevel = KillLevel.ARMED
    trigger: str = ""
    why: str = ""
    is_in_charge: bool = False
    lowering: Latched | None = None
    distrust: str = ""
    desk: Desk = field(factory=Desk)
    cancels: Cancels = field(factory=Cancels)
    flattening: Flattening = field(factory=Flattening)
    baselines: dict[str, Mapping[str, Decimal]] = field(factory=dict)
    pace: tuple[int, int] = (1, 1)
    dead_man_ns: int | None = None
    next_order: int = 1
    next_query: int = 1
