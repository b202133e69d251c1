"""What must be believed of a command that never left: the same whoever could not send it."""

from venues.unsent import unsent

__all__ = ["unsent"]
