"""What a process with venues and its clients say to each other beside the port's own commands and reports."""

from attrs import field

from venues.port import Lane, Message, message


@message(lane=Lane.CONTROL)
class VenueHello(Message):
    """A client's first line. `ts` is the latest time it has seen: the market's time never runs behind it.

    Every client hears what venues say of accounts; market data go to those that want them.
    """

    ts: int
    client: str
    wants_market: bool


@message(lane=Lane.CONTROL)
class VenueWelcome(Message):
    """The answer: at CLOCK_MONOTONIC `anchor_ns` the market's time was `ts`.

    It runs `numerator / denominator` times as fast; with a `numerator` of 0 it is granted step by step. `down` are the
    venues that cannot be traded at yet, with the reason; their VenueUp follows.
    """

    ts: int
    venues: tuple[str, ...]
    anchor_ns: int
    numerator: int
    denominator: int
    down: dict[str, str] = field(factory=dict)


@message(lane=Lane.CONTROL)
class VenueBeat(Message):
    """The venue process is alive; said every second of the wall clock, so that silence means something."""

    ts: int


@message(lane=Lane.CONTROL)
class Step(Message):
    """It is `ts`: first let the timers before it fire, each at its own time, then take the reports before this line.

    Timers due just at `ts` come before market data (`is_market`) and after reports. `is_last`: answer StepDone with
    the `number`; what the client sends at any step before takes longer to arrive than these steps together.
    """

    ts: int
    number: int
    is_market: bool
    is_last: bool


@message(lane=Lane.CONTROL)
class StepDone(Message):
    """All up to step `number` is done; `next_ns` is when the client wants to be woken next, None for never.

    Said again when that changes between steps. After the welcome the step's number is 0.
    """

    ts: int
    number: int
    next_ns: int | None


@message(lane=Lane.CONTROL)
class MarketEnded(Message):
    """The market is over; venues answer on."""

    ts: int
