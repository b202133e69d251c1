"""Stored machine code: found again by later processes, never when something it was made of has changed."""

from collections import Counter
from typing import Any

import pytest

from sim.kernel import compiled as compiling
from sim.kernel.compiled import compiled


def _one() -> int:
    return 1


def _add(step: int) -> Any:
    def add(number: int) -> int:
        return number + step

    return add


def total(counts: "Counter[Any]") -> int:
    return sum(counts.values())


def test_code_is_found_again_until_a_source_of_the_kernel_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled(_one)() == 1
    again = compiled(_one)
    assert again() == 1
    assert (total(again.stats.cache_hits), total(again.stats.cache_misses)) == (1, 0)
    identity = compiling._identity(_one)
    monkeypatch.setattr(compiling, "_kernel", lambda: "changed")
    assert compiling._identity(_one) != identity


def test_a_function_that_calls_one_it_closed_over_is_found_again() -> None:
    def closing(inner: Any) -> Any:
        def call(number: int) -> int:
            return int(inner(number))

        return compiled(call)

    inner = compiled(_add(2))
    assert closing(inner)(40) == 42
    again = closing(inner)
    assert again(40) == 42
    assert (total(again.stats.cache_hits), total(again.stats.cache_misses)) == (1, 0)
    # The same code around another number is another function.
    assert closing(compiled(_add(3)))(40) == 43


def test_a_function_without_a_file_is_compiled_each_time() -> None:
    """As one typed into a notebook."""
    made: dict[str, Any] = {}
    exec("def typed(number):\n    return number + 1\n", made)
    assert compiled(made["typed"])(41) == 42


def test_code_stored_by_a_module_of_another_name_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = compiled(_add(5))
    assert stored(1) == 6
    again = compiled(_add(5))

    def missing(*_: Any) -> Any:
        raise ModuleNotFoundError("No module named '<dynamic>'")

    monkeypatch.setattr(again._cache._cache_file, "load", missing)
    assert again(1) == 6
