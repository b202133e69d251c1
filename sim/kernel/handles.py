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
from sim.kernel.layout import EVENT, INSTRUMENT, MARKET_ORDER, ORDER, REGISTERS, Array, Kernel

# Numba declares nothing of these.
_make_array: Any = make_array
_populate_array: Any = populate_array


_EACH = 4


def handle_of(arrays: tuple[Array, ...]) -> Array:
    """Return address and shape (three lengths) of each array. Raises ValueError for one that is not contiguous."""
    numbers: list[int] = []
    for array in arrays:
        if not array.flags.c_contiguous:
            raise ValueError("only contiguous arrays have a handle")
        numbers += [array.ctypes.data, *array.shape, *(1,) * (3 - array.ndim)]
    return np.array(numbers, np.int64)


def _array(typing_context: Any, handle: Any, place: Any, dtype: Any, dimensions: Any) -> Any:
    count = dimensions.literal_value
    kind = types.Array(dtype.dtype, count, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = _make_array(kind)(context, builder)
        numbers = _make_array(handle)(context, builder, arguments[0])
        size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
        each = context.get_constant(types.intp, size)

        def number(at: int) -> Any:
            where = context.get_constant(types.intp, _EACH * place.literal_value + at)
            return builder.load(builder.gep(numbers.data, [where]))

        shape = [number(1 + at) for at in range(count)]
        strides = [each]
        for length in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], length))
        data = builder.inttoptr(number(0), context.get_data_type(kind.dtype).as_pointer())
        _populate_array(made, data=data, shape=shape, strides=strides, itemsize=each, meminfo=None)
        return made._getvalue()

    return kind(handle, place, dtype, dimensions), generate


_array_at: Any = intrinsic(prefer_literal=True)(_array)


@inlined
def kernel_at(h: Array) -> Kernel:
    """Return the kernel whose handle this is."""
    return Kernel(
        _array_at(h, 0, REGISTERS, 1),
        _array_at(h, 1, INSTRUMENT, 1),
        _array_at(h, 2, np.int64, 1),
        _array_at(h, 3, np.int64, 1),
        _array_at(h, 4, np.int32, 2),
        _array_at(h, 5, np.int64, 2),
        _array_at(h, 6, np.uint64, 2),
        _array_at(h, 7, np.int64, 1),
        _array_at(h, 8, ORDER, 1),
        _array_at(h, 9, np.int32, 1),
        _array_at(h, 10, np.int32, 2),
        _array_at(h, 11, np.int64, 2),
        _array_at(h, 12, np.int64, 1),
        _array_at(h, 13, np.int64, 1),
        _array_at(h, 14, EVENT, 1),
        _array_at(h, 15, np.int32, 1),
        _array_at(h, 16, MARKET_ORDER, 1),
        _array_at(h, 17, np.int32, 1),
        _array_at(h, 18, np.int32, 3),
        _array_at(h, 19, np.int64, 2),
    )


@inlined
def desk_at(h: Array) -> Desk:
    """Return the desk whose handle this is."""
    return Desk(
        _array_at(h, 0, CLOCK, 1),
        _array_at(h, 1, MESSAGE, 1),
        _array_at(h, 2, MESSAGE, 1),
        _array_at(h, 3, LATENCY, 1),
        _array_at(h, 4, np.int64, 2),
        _array_at(h, 5, LEDGER, 1),
        _array_at(h, 6, GUARD, 1),
        _array_at(h, 7, SENDER, 1),
        _array_at(h, 8, np.int64, 1),
        _array_at(h, 9, EVENT, 1),
    )


@inlined
def feed_at(h: Array) -> Feed:
    """Return the block of rows whose handle this is."""
    return Feed(
        _array_at(h, 0, np.uint8, 1),
        _array_at(h, 1, np.uint8, 1),
        _array_at(h, 2, np.uint16, 1),
        _array_at(h, 3, np.int64, 1),
        _array_at(h, 4, np.int64, 1),
        _array_at(h, 5, np.int64, 1),
        _array_at(h, 6, np.int64, 1),
        _array_at(h, 7, np.uint64, 1),
    )
