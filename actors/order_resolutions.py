"""Decides what follows when the venue's view of an order is held against ours: one table, and one for strangers."""

from enum import StrEnum

from attrs import frozen

from venues.model.order import LIVE, OrderEvent, OrderStatus


class Action(StrEnum):
    """APPLY the event to ours. ECHO: nothing new but the filled total. NOTHING: no evidence of anything.

    VERIFY: cancel it and ask again before believing it. REVIVE: believe it, cancel it, raise the alarm. DISPUTE: both
    cannot be true; record it and ask again.
    """

    APPLY = "apply"
    ECHO = "echo"
    NOTHING = "nothing"
    VERIFY = "verify"
    REVIVE = "revive"
    DISPUTE = "dispute"


@frozen
class Resolution:
    action: Action
    reason: str
    event: OrderEvent | None = None


Theirs = OrderStatus | None
"""What the venue says of an order; None means proven absent, by rounds of ORDER and FILLS queries (see `inquiry`)."""


class UnlistedPairError(LookupError):
    """A pair of ours and theirs that the table does not hold."""


_EVENTS = {
    OrderStatus.ACCEPTED: OrderEvent.ACCEPT,
    OrderStatus.PARTIALLY_FILLED: OrderEvent.ACCEPT,
    OrderStatus.TRIGGERED: OrderEvent.TRIGGER,
    OrderStatus.FILLED: OrderEvent.FILL_ALL,
    OrderStatus.CANCELED: OrderEvent.CANCEL,
    OrderStatus.EXPIRED: OrderEvent.EXPIRE,
    OrderStatus.REJECTED: OrderEvent.REJECT,
}
RESTING = (OrderStatus.ACCEPTED, OrderStatus.TRIGGERED, OrderStatus.PARTIALLY_FILLED)
_UNSAID = (OrderStatus.CREATED, OrderStatus.SENT, OrderStatus.UNKNOWN)
_WORDS: dict[OrderStatus, str] = {
    OrderStatus.ACCEPTED: "it rests",
    OrderStatus.PARTIALLY_FILLED: "it rests, filled in part; the fills come by themselves or are asked for",
    OrderStatus.TRIGGERED: "it was triggered",
    OrderStatus.FILLED: "it was filled; fills not seen yet are asked for",
    OrderStatus.CANCELED: "it was cancelled; fills not seen yet are asked for",
    OrderStatus.EXPIRED: "it expired; fills not seen yet are asked for",
    OrderStatus.REJECTED: "it was refused",
}


def _table() -> dict[tuple[OrderStatus, Theirs], Resolution]:
    s, a = OrderStatus, Action
    table: dict[tuple[OrderStatus, Theirs], Resolution] = {}
    for ours in OrderStatus:
        for theirs in _UNSAID:
            table[ours, theirs] = Resolution(a.NOTHING, "the venue has not decided either")
    # What was never sent cannot be there.
    for theirs in (*RESTING, s.FILLED, s.CANCELED, s.EXPIRED, s.REJECTED):
        table[s.CREATED, theirs] = Resolution(a.REVIVE, "an order of this id is there, and ours was not sent yet")
    table[s.CREATED, None] = Resolution(a.NOTHING, "it was not sent yet")
    for ours in LIVE:
        for theirs, event in _EVENTS.items():
            table[ours, theirs] = Resolution(a.APPLY, _WORDS[theirs], event)
        # A venue may forget an ended order; one that was acknowledged or filled existed, so it is over, not refused.
        table[ours, None] = Resolution(a.APPLY, "it is not there, and what was acknowledged is over", OrderEvent.CANCEL)
    for ours in (s.SENT, s.UNKNOWN):
        table[ours, None] = Resolution(a.APPLY, "it never arrived", OrderEvent.PROVE_ABSENT)
    table[s.PARTIALLY_FILLED, s.REJECTED] = Resolution(a.DISPUTE, "it has fills and cannot have been refused")
    for ours in (s.FILLED, s.CANCELED, s.EXPIRED):
        for theirs in RESTING:
            # passivbot #514, freqtrade #9273: a venue's status lags behind its own fills and cancels.
            table[ours, theirs] = Resolution(a.VERIFY, "it ended; the venue's view may lag")
        for theirs in (s.FILLED, s.CANCELED, s.EXPIRED, s.REJECTED):
            table[ours, theirs] = Resolution(a.ECHO, "it ended; only the filled total counts")
        table[ours, None] = Resolution(a.ECHO, "venues forget what ended")
    for ours in (s.CANCELED, s.EXPIRED):
        table[ours, s.FILLED] = Resolution(a.APPLY, "the last fill came before the end", OrderEvent.FILL_ALL)
    table[s.FILLED, s.REJECTED] = Resolution(a.DISPUTE, "it was filled and cannot have been refused")
    for theirs in RESTING:
        table[s.REJECTED, theirs] = Resolution(a.REVIVE, "it was taken for refused or absent, and rests")
    for theirs in (s.FILLED, s.CANCELED, s.EXPIRED):
        table[s.REJECTED, theirs] = Resolution(
            a.APPLY, f"taken for refused or absent: {_WORDS[theirs]}", _EVENTS[theirs]
        )
    table[s.REJECTED, s.REJECTED] = Resolution(a.ECHO, "both know")
    table[s.REJECTED, None] = Resolution(a.ECHO, "both know")
    return table


RESOLUTIONS = _table()
"""Ours x the venue's -> what to do, and why. Total."""


def resolve(ours: OrderStatus, theirs: Theirs, *, existed: bool = False) -> Resolution:
    """Return what to do. `existed`: the order has a venue id or a fill, so an absence means over, not refused.

    Raises UnlistedPairError.
    """
    try:
        found = RESOLUTIONS[ours, theirs]
    except KeyError:
        raise UnlistedPairError(f"ours {ours}, the venue's {theirs or 'absent'}") from None
    if theirs is None and existed and found.event is OrderEvent.PROVE_ABSENT:
        return RESOLUTIONS[OrderStatus.ACCEPTED, None]
    return found


class Stranger(StrEnum):
    """An open order at the venue of which we hold no record: by its client id.

    ENDED: ours, of which only the fills are remembered. FORGOTTEN: ours by prefix and number, long ended. AHEAD: our
    prefix, and a number never given. GUARD: the guard's. FOREIGN: somebody else's.
    """

    ENDED = "ended"
    FORGOTTEN = "forgotten"
    AHEAD = "ahead"
    GUARD = "guard"
    FOREIGN = "foreign"


@frozen
class StrangerResolution:
    """Whether to cancel the order, to count it as exposure, to alarm; the guard's is left to the guard."""

    is_cancelled: bool
    is_counted: bool
    is_alarm: bool
    reason: str


STRANGERS = {
    Stranger.ENDED: StrangerResolution(True, True, True, "it was over, and rests"),
    Stranger.FORGOTTEN: StrangerResolution(True, True, True, "it was over long ago, and rests"),
    Stranger.AHEAD: StrangerResolution(True, True, True, "its number was never given: a second desk, or lost records"),
    Stranger.GUARD: StrangerResolution(False, True, False, "the guard's: it cancels its own"),
    Stranger.FOREIGN: StrangerResolution(False, True, False, "somebody else's on this account: counted, never touched"),
}
"""What to do with open orders found at the venue that are not on our records."""
