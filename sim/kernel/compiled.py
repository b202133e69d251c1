"""How the functions of the compiled venue are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.registry import CPUDispatcher

# What numba declares of itself leaves out the option without which none of this would be fast.
_njit: Any = njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, for all later processes as well; it gives up the GIL.

    Without reference counting: nothing here makes or keeps an array, and counting the arrays of a kernel at every call
    costs ten times what the call does (measured: setting a level 150 ns, without 9 ns).
    """
    return _njit(cache=True, nogil=True, _nrt=False)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into its callers."""
    return _njit(cache=True, nogil=True, _nrt=False, inline="always")(function)


class Direct:
    """A compiled function to be called from Python often: `call` does not look at the types of its arguments again.

    Numba's dispatcher finds out the type of every array of a kernel at every call, and takes 1.9 us where the function
    takes 0.2 us (measured: `would_take`). All calls must have arguments of the same types as the first: nothing
    checks them, and arrays of another type or layout would be misread.
    """

    __slots__ = ("call", "function")

    def __init__(self, function: Any) -> None:
        self.function = function
        self.call: Callable[..., Any] = self._first

    def _first(self, *arguments: Any) -> Any:
        """Call it through the dispatcher, which compiles it, and from then on without."""
        function = self.function
        result = function(*arguments)
        if isinstance(function, CPUDispatcher):
            found: Any = function.overloads.get(tuple(function.typeof_pyval(one) for one in arguments))
            if found is not None:
                self.call = found.entry_point
        return result
