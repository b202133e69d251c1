"""Arrays by their addresses: handing one array of numbers to compiled code takes a tenth of the time forty arrays take.

A handle is valid as long as the arrays it was made of live and are not replaced: whoever keeps it keeps them.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from sim.kernel.bus import MESSAGE
from sim.kernel.compiled import inlined
from sim.kernel.desk import CLOCK, GUARD, LEDGER, SENDER, Desk
from sim.kernel.feed import Feed
from sim.kernel.latency import LATENCY
from sim.kernel.layout import EVENT, INSTRUMENT, ORDER, REGISTERS, Array, Kernel

# Numba declares nothing of these.
_make_array: Any = make_array
_populate_array: Any = populate_array


def handle_of(arrays: tuple[Array, ...]) -> Array:
    """Return address and shape (one or two lengths) of each array. Raises ValueError for one that is not contiguous."""
    numbers: list[int] = []
    for array in arrays:
        if not array.flags.c_contiguous:
            raise ValueError("only contiguous arrays have a handle")
        numbers += [array.ctypes.data, array.shape[0], array.shape[1] if array.ndim == 2 else 1]
    return np.array(numbers, np.int64)


def _array(typing_context: Any, address: Any, rows: Any, columns: Any, dtype: Any, dimensions: Any) -> Any:
    count = dimensions.literal_value
    kind = types.Array(dtype.dtype, count, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = _make_array(kind)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        each = context.get_constant(types.intp, size)
        shape = [arguments[1], arguments[2]][:count]
        strides = [builder.mul(arguments[2], each), each][2 - count :]
        data = builder.inttoptr(arguments[0], context.get_data_type(kind.dtype).as_pointer())
        _populate_array(made, data=data, shape=shape, strides=strides, itemsize=each, meminfo=None)
        return made._getvalue()

    return kind(address, rows, columns, dtype, dimensions), generate


_array_at: Any = intrinsic(prefer_literal=True)(_array)


@inlined
def kernel_at(h: Array) -> Kernel:
    """Return the kernel whose handle this is."""
    return Kernel(
        _array_at(h[0], h[1], h[2], REGISTERS, 1),
        _array_at(h[3], h[4], h[5], INSTRUMENT, 1),
        _array_at(h[6], h[7], h[8], np.int64, 1),
        _array_at(h[9], h[10], h[11], np.int64, 1),
        _array_at(h[12], h[13], h[14], np.int32, 2),
        _array_at(h[15], h[16], h[17], np.int64, 2),
        _array_at(h[18], h[19], h[20], np.uint64, 2),
        _array_at(h[21], h[22], h[23], np.int64, 1),
        _array_at(h[24], h[25], h[26], ORDER, 1),
        _array_at(h[27], h[28], h[29], np.int32, 1),
        _array_at(h[30], h[31], h[32], np.int32, 2),
        _array_at(h[33], h[34], h[35], np.int64, 2),
        _array_at(h[36], h[37], h[38], np.int64, 1),
        _array_at(h[39], h[40], h[41], np.int64, 1),
        _array_at(h[42], h[43], h[44], EVENT, 1),
        _array_at(h[45], h[46], h[47], np.int32, 1),
    )


@inlined
def desk_at(h: Array) -> Desk:
    """Return the desk whose handle this is."""
    return Desk(
        _array_at(h[0], h[1], h[2], CLOCK, 1),
        _array_at(h[3], h[4], h[5], MESSAGE, 1),
        _array_at(h[6], h[7], h[8], MESSAGE, 1),
        _array_at(h[9], h[10], h[11], LATENCY, 1),
        _array_at(h[12], h[13], h[14], np.int64, 2),
        _array_at(h[15], h[16], h[17], LEDGER, 1),
        _array_at(h[18], h[19], h[20], GUARD, 1),
        _array_at(h[21], h[22], h[23], SENDER, 1),
        _array_at(h[24], h[25], h[26], np.int64, 1),
        _array_at(h[27], h[28], h[29], EVENT, 1),
    )


@inlined
def feed_at(h: Array) -> Feed:
    """Return the block of rows whose handle this is."""
    return Feed(
        _array_at(h[0], h[1], h[2], np.uint8, 1),
        _array_at(h[3], h[4], h[5], np.uint8, 1),
        _array_at(h[6], h[7], h[8], np.uint16, 1),
        _array_at(h[9], h[10], h[11], np.int64, 1),
        _array_at(h[12], h[13], h[14], np.int64, 1),
        _array_at(h[15], h[16], h[17], np.int64, 1),
        _array_at(h[18], h[19], h[20], np.int64, 1),
        _array_at(h[21], h[22], h[23], np.uint64, 1),
    )
