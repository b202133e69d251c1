"""How a run is stopped from outside: between two events, so that its log is whole as far as it goes."""

import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Self, TypeVar

from daemon.exits import ExitError

_T = TypeVar("_T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunStoppedError(Exception):
    """A run was asked to stop before the end of its market."""


class StopSignals:
    """Notes SIGINT and SIGTERM while it is entered; `until_asked` heeds them, and so does `exit`.

    A second one, or one while nothing heeds it, ends the process at once. Only the main thread can enter it.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._is_heeded = False

    def until_asked(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the items. Raises RunStoppedError in place of the next one once a signal came."""
        self._is_heeded = True
        return self._until_asked(items)

    def _until_asked(self, items: Iterable[_T]) -> Iterator[_T]:
        for item in items:
            if self.asked:
                raise RunStoppedError
            yield item

    def exit(self, where: str) -> ExitError:
        """Return how the command ends for the signal that came."""
        name = signal.Signals(self.asked).name
        return ExitError(f"stopped by {name}; {where}", status=128 + self.asked)

    def __enter__(self) -> Self:
        self._before = [signal.signal(each, self._note) for each in _SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each, before in zip(_SIGNALS, self._before, strict=True):
            signal.signal(each, before)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.asked or not self._is_heeded:
            print(f"basisd: stopped by {signal.Signals(number).name}", file=sys.stderr)
            # No Exception: what an actor raises is caught and set aside.
            raise SystemExit(128 + number)
        self.asked = number
