"""What risk gate and dead-man keeper say to each other about the venues' own timers."""

from venues.port import Message, message


@message()
class DeadManWanted(Message):
    """An order that can rest waits for the venue's timer of its account and instrument."""

    ts: int
    account: str
    instrument: str


@message()
class DeadManState(Message):
    """Until when the venue would cancel by itself, by our clock: confirmed by it, 0 when it is not known to.

    `why` says what went wrong with the last attempt, empty when nothing did: what waits for it is refused.
    """

    ts: int
    account: str
    instrument: str
    until_ns: int
    why: str = ""


@message()
class DeadManLapsed(Message):
    """A timer ran out: the venue has cancelled the orders of it, or is about to; what became of them must be asked."""

    ts: int
    account: str
    instrument: str


def key_of(account: str, instrument: str) -> str:
    """Return what tells one timer from another, of a venue that has them by account and instrument."""
    return f"{account}|{instrument}"
