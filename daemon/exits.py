"""How a command ends when it cannot do what was asked: what it says, and with which exit status."""

USAGE = 2
FAILED = 1


class ExitError(Exception):
    """An expected failure: `lines` go to standard error, one per mistake, and `status` to the shell."""

    def __init__(self, *lines: str, status: int = USAGE) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.status = status
