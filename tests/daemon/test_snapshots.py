"""A snapshot is written down as it is: order of keys, numbers, texts; and no byte of it changes unseen."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.log import LogCorruptError, LogWriteError, RunLog, UnreadableRecordError, open_log
from daemon.log.snapshots import KEPT, encode_snapshot, pack, read_first, unpack, write_first

START = 1_723_075_200_000_000_000

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), PLAIN, max_size=4), st.integers(0, 2**63 - 1))
def test_it_reads_back_as_it_was(plain: dict[str, Any], number: int) -> None:
    stored = unpack(pack(number, number, number, plain))
    assert (stored.seq, stored.now, stored.market, stored.plain) == (number, number, number, plain)
    assert encode_snapshot(stored.plain) == encode_snapshot(plain)


def test_the_order_of_keys_is_part_of_the_state() -> None:
    assert list(unpack(pack(1, 1, 1, {"b": 1, "a": 2})).plain) == ["b", "a"]
    assert encode_snapshot({"b": 1, "a": 2}) != encode_snapshot({"a": 2, "b": 1})


def test_what_is_no_number_stays_that() -> None:
    assert math.isnan(unpack(pack(1, 1, 1, {"a": math.nan})).plain["a"])


def test_a_first_snapshot_is_known_by_its_hash(tmp_path: Path) -> None:
    _, digest = write_first(tmp_path, {"seq": 5})
    assert read_first(tmp_path, digest) == {"seq": 5}
    with pytest.raises(LogCorruptError, match="checksum of the file"):
        read_first(tmp_path, digest[::-1])


def create(folder: Path, **more: Any) -> RunLog:
    return RunLog.create(folder, "", "c0ffee", "build", START, durable=True, **more)


def test_a_journal_keeps_the_last_ones(tmp_path: Path) -> None:
    log = create(tmp_path / "log")
    for seq in (10, 20, 30, 30, 40):
        log.write_snapshot(seq, START + seq, {"seq": seq})
    assert open_log(tmp_path / "log").snapshot_seqs() == [40, 30]
    log.close()
    sealed = open_log(tmp_path / "log")
    assert sealed.snapshot_seqs() == [40, 30]
    assert sealed.snapshot(30).plain == {"seq": 30}
    assert KEPT == 2
    with pytest.raises(LogCorruptError, match="snapshot 20"):
        sealed.snapshot(20)


@pytest.mark.parametrize("bad", [{"a": object()}, {("a", 1): 2}, {"a": {1, 2}}])
def test_a_state_without_json_form_costs_the_snapshot_and_not_the_log(tmp_path: Path, bad: dict[str, Any]) -> None:
    log = create(tmp_path / "log")
    with pytest.raises(UnreadableRecordError, match="no JSON form"):
        log.write_snapshot(10, START, bad)
    log.write_snapshot(10, START, {"seq": 10})
    log.close()
    with pytest.raises(LogWriteError, match="no JSON form"):
        create(tmp_path / "next", snapshot={"seq": 1, **bad})


def test_a_snapshot_older_than_the_log_is_a_mistake(tmp_path: Path) -> None:
    log = create(tmp_path / "log", snapshot={"seq": 10})
    with pytest.raises(LogWriteError, match="seq 9 does not follow 10"):
        log.write_snapshot(9, START, {"seq": 9})
