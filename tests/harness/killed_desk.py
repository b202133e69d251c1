"""`basisd` that kills itself, with SIGKILL, when it reaches a certain boundary for the n-th time.

    python killed_desk.py BOUNDARY N paper CONFIG ...

A boundary lies between two things that another order of events would make unsafe: an intent noted, committed, sent,
answered. Nothing else is different from the program that people run.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors.dispatcher import Intent
from daemon.cli import main
from daemon.live.driver import LiveCell
from daemon.log import RunLog
from venues.port import Command, Message, OrderAccepted, OrderFilled, SubmitOrder

Reached = Callable[[], None]


def _are_orders(commands: Sequence[Command]) -> bool:
    return any(isinstance(command, SubmitOrder) for command in commands)


def noted(reached: Reached) -> None:
    """Intents are noted, and not in the journal yet."""
    plain = RunLog.intents

    def note(self: RunLog, intents: Sequence[Intent]) -> None:
        plain(self, intents)
        if _are_orders([intent.command for intent in intents]):
            reached()

    RunLog.intents = note  # type: ignore[method-assign]


def _around_send(reached: Reached, *, is_before: bool) -> None:
    plain = LiveCell._send

    def send(self: LiveCell, now: int, commands: Sequence[Command]) -> None:
        is_meant = _are_orders(commands)
        if is_before and is_meant:
            reached()
        plain(self, now, commands)
        if not is_before and is_meant:
            reached()

    LiveCell._send = send  # type: ignore[method-assign]


def committed(reached: Reached) -> None:
    """Orders are in the journal, and not sent."""
    _around_send(reached, is_before=True)


def sent(reached: Reached) -> None:
    """Orders are sent, and nothing is known of them."""
    _around_send(reached, is_before=False)


def half_sent(reached: Reached) -> None:
    """Of several commands in one batch the first is sent."""
    plain = LiveCell._send

    def send(self: LiveCell, now: int, commands: Sequence[Command]) -> None:
        if len(commands) > 1 and _are_orders(commands):
            plain(self, now, commands[:1])
            reached()
            commands = commands[1:]
        plain(self, now, commands)

    LiveCell._send = send  # type: ignore[method-assign]


def _on_report(reached: Reached, kind: type[Message], *, is_taken: bool) -> None:
    plain_offer, plain_pump = LiveCell.offer, LiveCell.pump_at
    heard: list[bool] = []

    def offer(self: LiveCell, *messages: Message) -> None:
        if any(isinstance(message, kind) for message in messages):
            if not is_taken:
                reached()
            heard.append(True)
        plain_offer(self, *messages)

    def pump_at(self: LiveCell, *arguments: Any, **named: Any) -> None:
        plain_pump(self, *arguments, **named)
        if is_taken and heard:
            heard.clear()
            reached()

    LiveCell.offer, LiveCell.pump_at = offer, pump_at  # type: ignore[method-assign]


def ack_heard(reached: Reached) -> None:
    """An acknowledgement has arrived, and nobody has written it down."""
    _on_report(reached, OrderAccepted, is_taken=False)


def ack_taken(reached: Reached) -> None:
    """An acknowledgement, and what followed from it, is in the journal."""
    _on_report(reached, OrderAccepted, is_taken=True)


def fill_heard(reached: Reached) -> None:
    """A fill has arrived, and nobody has written it down."""
    _on_report(reached, OrderFilled, is_taken=False)


def fill_taken(reached: Reached) -> None:
    """A fill, and the hedge that followed from it, is in the journal and sent."""
    _on_report(reached, OrderFilled, is_taken=True)


BOUNDARIES = {
    one.__name__: one for one in (noted, committed, half_sent, sent, ack_heard, ack_taken, fill_heard, fill_taken)
}


def install(name: str, number: int) -> None:
    """Die at the `number`-th time that the boundary is reached."""
    left = [number]

    def reached() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    BOUNDARIES[name](reached)


if __name__ == "__main__":
    install(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
