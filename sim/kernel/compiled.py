"""How the functions of the compiled venue are compiled, and when what is stored of them still holds."""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps

# What numba declares of itself leaves out the option without which none of this would be fast.
_njit: Any = njit
_dumps: Any = dumps
_KERNEL = Path(__file__).parent


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called, for all later processes as well; it gives up the GIL.

    Without reference counting: nothing here makes or keeps an array, and counting the arrays of a kernel at every call
    costs ten times what the call does (measured: setting a level 150 ns, without 9 ns).
    """
    return _made(function, nogil=True, _nrt=False)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into its callers."""
    return _made(function, nogil=True, _nrt=False, inline="always")


def _made(function: Callable[..., Any], **options: Any) -> Any:
    try:
        return _known_by_source(_njit(cache=True, **options)(function))
    except RuntimeError:
        # A function typed into a notebook has no file beside which its code could be stored.
        return _njit(**options)(function)


def _known_by_source(dispatcher: Any) -> Any:
    """Store machine code under everything it was made of, so that it is found again and never when it is stale.

    Numba's own key leaves out the sources of what a function calls, and holds for a function in a closure a number that
    is new in each process.
    """
    identity = _identity(dispatcher.py_func)
    cache = dispatcher._cache
    cache._index_key = lambda signature, code: (signature, code.magic_tuple(), identity)
    load, save = cache.load_overload, cache.save_overload

    def load_or_compile(signature: Any, context: Any) -> Any:
        try:
            return load(signature, context)
        except ImportError:
            # Stored by a module that is not to be found under its name here: a file that was run, or loaded by path.
            return None

    def save_all_the_same(signature: Any, compiled_code: Any) -> None:
        try:
            save(signature, compiled_code)
        except ImportError:
            # The list of what is stored names such a module, and cannot be read here: it begins anew.
            cache.flush()
            save(signature, compiled_code)

    cache.load_overload, cache.save_overload = load_or_compile, save_all_the_same
    return dispatcher


def _identity(function: Any) -> str:
    """Return a digest of the kernel, of the function's own file, and of what it has closed over."""
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    parts = [
        _kernel(),
        _digest(Path(function.__code__.co_filename)),
        f"{function.__module__}.{function.__qualname__}:{function.__code__.co_firstlineno}",
        *(_identity(one.py_func) if hasattr(one, "py_func") else sha256(_dumps(one)).hexdigest() for one in closed),
    ]
    return sha256("\n".join(parts).encode()).hexdigest()


@cache
def _kernel() -> str:
    sources = [*sorted(_KERNEL.glob("*.py")), _KERNEL.parent / "rows.py"]
    return "".join(_digest(source) for source in sources)


@cache
def _digest(source: Path) -> str:
    return sha256(source.read_bytes()).hexdigest() if source.is_file() else str(source)


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
