"""What people are told when they do not look, and what is known of the ways it reaches them."""

from enum import IntEnum

from venues.port import Lane, Message, message


class Urgency(IntEnum):
    """From CRITICAL on a person must acknowledge."""

    INFO = 0
    WARNING = 1
    SERIOUS = 2
    CRITICAL = 3
    EMERGENCY = 4


@message()
class Notice(Message):
    """One telling. `number` rises by one; `ref` names the cause, the same as long as it lasts.

    `times` counts how often this cause was told, `is_over` says that it is gone.
    """

    ts: int
    number: int
    ref: str
    urgency: Urgency
    subject: str
    text: str
    fields: dict[str, str]
    needs_ack: bool
    is_over: bool = False
    times: int = 1


CHANNEL = "channel/"
"""Begins the `ref` of what is told of a channel: it is not told through that channel."""


@message(lane=Lane.CONTROL)
class ChannelState(Message):
    """A way to reach people fails, or works again."""

    ts: int
    channel: str
    is_up: bool
    why: str = ""
