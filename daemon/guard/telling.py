"""Decides what the guard tells people by itself, which is what a desk cannot tell that hangs or is gone."""

from actors.guardian_messages import Charge, Latched
from actors.messages import KillLevel
from actors.notices import Notice, Urgency
from venues.port import Message


class Telling:
    """Numbers the notices of one guard process."""

    def __init__(self) -> None:
        self._number = 0

    def notice(self, message: Message) -> Notice | None:
        """Return what is told of an effect, None for those that people need not hear of at once."""
        if isinstance(message, Latched) and message.level > message.before and message.level >= KillLevel.CANCEL_ALL:
            is_worst = message.level is KillLevel.FLATTEN
            urgency = Urgency.EMERGENCY if is_worst else Urgency.CRITICAL
            who = f"{message.trigger} {message.operator}".strip()
            return self._made(
                message.ts,
                "guard/latch",
                urgency,
                f"the guard latched {message.level.name}",
                f"{who}: {message.reason}",
            )
        if isinstance(message, Charge) and message.is_in_charge:
            return self._made(message.ts, "guard/charge", Urgency.EMERGENCY, "the guard flattens the book", message.why)
        return None

    def _made(self, ts: int, ref: str, urgency: Urgency, subject: str, text: str) -> Notice:
        self._number += 1
        return Notice(ts, self._number, ref, urgency, subject, text, {}, needs_ack=True)
