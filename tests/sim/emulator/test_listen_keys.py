"""Listen keys live 60 minutes from their start or last extension.

Source: "User Data Streams" of developers.binance.com.
"""

import pytest

from sim.emulator.listen_keys import ListenKeys

HOUR_MS = 3_600_000


@pytest.fixture
def keys() -> ListenKeys:
    return ListenKeys(seed=7)


def test_starting_again_returns_the_same_key_and_extends_it(keys: ListenKeys) -> None:
    key = keys.create("mine", 0)
    assert len(key) == 64
    assert keys.create("mine", HOUR_MS - 1) == key
    assert keys.of("mine", 2 * HOUR_MS - 2) == key
    assert keys.of("mine", 2 * HOUR_MS - 1) is None


def test_each_api_key_has_its_own(keys: ListenKeys) -> None:
    assert keys.create("one", 0) != keys.create("other", 0)


def test_a_key_that_is_over_is_told_once_and_replaced(keys: ListenKeys) -> None:
    told: list[str] = []
    keys.on_expired.append(told.append)
    key = keys.create("mine", 0)
    keys.expire(HOUR_MS - 1)
    assert keys.is_open(key)
    keys.expire(HOUR_MS)
    keys.expire(HOUR_MS)
    assert told == [key]
    assert not keys.is_open(key)
    assert not keys.extend(key, HOUR_MS)
    assert keys.create("mine", HOUR_MS) != key


def test_an_extension_counts_from_now(keys: ListenKeys) -> None:
    key = keys.create("mine", 0)
    assert keys.extend(key, HOUR_MS // 2)
    keys.expire(HOUR_MS + HOUR_MS // 2 - 1)
    assert keys.is_open(key)


def test_what_was_closed_is_not_told(keys: ListenKeys) -> None:
    told: list[str] = []
    keys.on_expired.append(told.append)
    key = keys.create("mine", 0)
    assert keys.close(key)
    assert not keys.close(key)
    assert told == []
    assert not keys.is_open(key)


def test_a_fault_ends_them_all(keys: ListenKeys) -> None:
    told: list[str] = []
    keys.on_expired.append(told.append)
    made = [keys.create("one", 0), keys.create("other", 0)]
    keys.expire_all()
    assert told == made


def test_the_same_seed_makes_the_same_keys() -> None:
    assert ListenKeys(3).create("a", 0) == ListenKeys(3).create("b", 0)
    assert ListenKeys(3).create("a", 0) != ListenKeys(4).create("a", 0)
