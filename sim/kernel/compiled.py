"""How the functions of the compiled venue are compiled."""

from collections.abc import Callable
from typing import Any

from numba import njit

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
