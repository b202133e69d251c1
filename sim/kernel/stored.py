"""How the arrays of the compiled venue are written down, and when what is read back may be used.

Compiled functions do not look where they reach: whatever does not fit is refused here.
"""

import numpy as np
from attrs import frozen

from sim.kernel.layout import ANOMALIES, PAGE_TICKS, PAGE_WORDS, Array, Kernel
from sim.stored import StoredStateError


@frozen
class StoredArray:
    """The rows of an array that hold something, C order; the others of `shape` are zero."""

    dtype: str
    shape: tuple[int, ...]
    rows: int
    data: bytes


def store_kernel(kernel: Kernel) -> dict[str, StoredArray]:
    """Return the arrays by name."""
    pages, events = int(kernel.registers["pages"][0]), int(kernel.registers["events"][0])
    # Pages are taken in order, events are told and forgotten, the scratch area means nothing between two calls.
    used = {"lots": pages, "bits": pages, "used": pages, "ends": pages, "events": events, "scratch": 0}
    return {name: _store(array, used.get(name, len(array))) for name, array in kernel._asdict().items()}


def _store(array: Array, rows: int) -> StoredArray:
    return StoredArray(_text(array.dtype), array.shape, rows, array[:rows].tobytes())


def _text(dtype: "np.dtype[np.void]") -> str:
    return str(dtype.descr)


def load_kernel(kernel: Kernel, found: dict[str, StoredArray]) -> Kernel:
    """Return the arrays that were stored, for a venue of as many instruments as `kernel` has.

    Raises StoredStateError naming the array that is missing, of another type or of a shape that does not go with it.
    """
    if set(found) != set(kernel._fields):
        raise StoredStateError(
            f"arrays {', '.join(sorted(set(found) ^ set(kernel._fields)))}: not as this build has them"
        )
    loaded = Kernel(**{name: _load(name, getattr(kernel, name), one) for name, one in found.items()})
    sides, orders, pages = len(kernel.best), len(loaded.orders), len(loaded.used)
    shapes = {
        "registers": (1,),
        "instruments": (sides // 4,),
        "best": (sides,),
        "base": (sides,),
        "directory": (sides, loaded.directory.shape[1]),
        "lots": (pages, PAGE_TICKS),
        "bits": (pages, PAGE_WORDS),
        "free": (orders,),
        "queue": (3 * (sides // 4), orders),
        "keys": (sides // 2, orders),
        "resting": (3 * (sides // 4),),
        "scratch": (2 * orders,),
        "ends": (pages, PAGE_TICKS, 2),
        "anomalies": (sides // 4, len(ANOMALIES)),
    }
    for name, shape in shapes.items():
        if getattr(loaded, name).shape != shape:
            raise StoredStateError(f"{name}: shape {getattr(loaded, name).shape} instead of {shape}")
    _check_indices(loaded)
    return loaded


def _load(name: str, like: Array, found: StoredArray) -> Array:
    if found.dtype != _text(like.dtype) or len(found.shape) != like.ndim:
        raise StoredStateError(f"{name}: {found.dtype} of {len(found.shape)} dimensions is not what this build has")
    if min(found.shape) < 0 or not 0 <= found.rows <= found.shape[0]:
        raise StoredStateError(f"{name}: {found.rows} rows of shape {found.shape}")
    shape = (found.rows, *found.shape[1:])
    if len(found.data) != int(np.prod(shape)) * like.dtype.itemsize:
        raise StoredStateError(f"{name}: {len(found.data)} bytes for shape {shape}")
    array = np.zeros(found.shape, like.dtype)
    array[: found.rows] = np.frombuffer(found.data, like.dtype).reshape(shape)
    return array


def _check_indices(kernel: Kernel) -> None:
    registers, orders = kernel.registers[0], len(kernel.orders)
    limits = {"pages": len(kernel.used), "free": orders, "events": len(kernel.events), "lost": 0}
    for name, limit in limits.items():
        if not 0 <= registers[name] <= limit:
            raise StoredStateError(f"registers: {name} is {registers[name]}, at most {limit}")
    _check_range("directory", kernel.directory, -1, int(registers["pages"]))
    _check_range("resting", kernel.resting, 0, orders + 1)
    _check_range("queue", kernel.queue, 0, orders)
    _check_range("free", kernel.free, 0, orders)
    for name in ("places", "ends"):
        _check_range(name, getattr(kernel, name), 0, len(kernel.market) + 1)
    for name in ("before", "after"):
        _check_range(f"market: {name}", kernel.market[name], 0, len(kernel.market) + 1)
    _check_range("market: book", kernel.market["book"], 0, len(kernel.best))
    _check_range("orders: instrument", kernel.orders["instrument"], 0, len(kernel.instruments))
    _check_range("orders: side", kernel.orders["side"], 0, 2)
    _check_range("orders: position", kernel.orders["position"], -1, len(kernel.positions))


def _check_range(name: str, array: Array, low: int, end: int) -> None:
    if array.size and (array.min() < low or array.max() >= end):
        raise StoredStateError(f"{name}: from {array.min()} to {array.max()}, not within {low} and {end - 1}")
