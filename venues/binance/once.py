"""Which frames are told again by the second connection of a rotation."""

from collections import OrderedDict
from typing import Final

_REMEMBERED: Final = 2_048


class FirstTold:
    """Takes frames of connections that deliver the same. `repeats` counts those another connection has brought.

    The same bytes twice on one connection are two events.
    """

    def __init__(self) -> None:
        self._lately: OrderedDict[bytes, int] = OrderedDict()
        self.repeats = 0

    def is_first(self, data: bytes, connection: int) -> bool:
        if self._lately.setdefault(data, connection) != connection:
            self.repeats += 1
            return False
        if len(self._lately) > _REMEMBERED:
            self._lately.popitem(last=False)
        return True
