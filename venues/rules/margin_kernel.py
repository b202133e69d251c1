"""Decides maintenance margin for whole arrays of notionals, in binary floating point: for scans and simulations.

Relative error against the exact rule is a few units of 2^-52. Importing this module compiles it; only what needs arrays
imports it, and late.
"""

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numba import njit
from numpy.typing import NDArray

from venues.model.instrument import Bracket
from venues.rules.brackets import check_brackets
from venues.rules.errors import BadTableError, BadValueError

Floats = NDArray[np.float64]

_BLOCK = 1024
"""Notionals worked on at a time, so that they stay in the processor's first cache."""

_LARGEST = float(np.finfo(np.float64).max)


@frozen(eq=False)
class MarginTable:
    """A bracket table as arrays, made once by `prepare`."""

    rates: Floats
    amounts: Floats


def prepare(brackets: Sequence[Bracket]) -> MarginTable:
    """Return the table as arrays. Raises BracketTableError, and BadTableError for rates that do not ascend.

    With ascending rates, the bracket that holds a notional is the one that asks most of it: no search is needed.
    """
    check_brackets(brackets)
    rates = [row.mmr for row in brackets]
    if rates != sorted(set(rates)):
        raise BadTableError("brackets", "the rates do not ascend")
    return MarginTable(
        np.array([float(rate) for rate in rates]), np.array([float(row.cum) for row in brackets], dtype=np.float64)
    )


def maintenance_margins(table: MarginTable, notionals: Floats, out: Floats | None = None) -> Floats:
    """Return the maintenance margin of every |notional|, as `brackets.maintenance_margin` does.

    `notionals` is one-dimensional and contiguous; `out` takes the result when given. Raises BadValueError for arrays of
    another shape, and when a notional is not finite.
    """
    if out is None:
        out = np.empty_like(notionals)
    for name, array in (("notionals", notionals), ("out", out)):
        if array.dtype != np.float64 or array.ndim != 1 or not array.flags.c_contiguous:
            raise BadValueError(name, "must be a contiguous one-dimensional array of float64")
    if out.shape != notionals.shape:
        raise BadValueError("out", f"has {out.size} places for {notionals.size} notionals")
    if not _margins(table.rates, table.amounts, notionals, out):
        raise BadValueError("notionals", "must be finite")
    return out


@njit("boolean(float64[::1], float64[::1], float64[::1], float64[::1])", nogil=True)
def _margins(rates: Floats, amounts: Floats, notionals: Floats, out: Floats) -> bool:
    unfit = 0
    for begin in range(0, notionals.size, _BLOCK):
        end = min(begin + _BLOCK, notionals.size)
        for i in range(begin, end):
            size = abs(notionals[i])
            unfit |= not size <= _LARGEST
            out[i] = size * rates[0] - amounts[0]
        for row in range(1, rates.size):
            rate = rates[row]
            amount = amounts[row]
            for i in range(begin, end):
                asked = abs(notionals[i]) * rate - amount
                out[i] = asked if asked > out[i] else out[i]
    return unfit == 0
