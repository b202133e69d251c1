"""How a command that takes a while shows how far it is."""

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A bar on a terminal, nothing elsewhere; warnings always."""

    def __init__(self, stream: TextIO, doing: str) -> None:
        self._console = Console(file=stream, highlight=False)
        self._bar = Bar(
            TextColumn(doing),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0)

    def at(self, share: float) -> None:
        self._bar.update(self._task, completed=share)

    def warn(self, text: str) -> None:
        self._console.print(f"basisd: {text}", markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
