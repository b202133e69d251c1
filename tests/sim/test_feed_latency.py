"""A backtest over recordings refuses a feed without latency."""

from pathlib import Path

import numpy as np
import pytest
from unkind_rows import Unkindness, small_rows

from sim.feed_latency import ZeroFeedLatencyError, with_feed_latency
from sim.market import Recording
from sim.rows import CLEAR, SNAPSHOT


def test_a_feed_that_takes_time_passes_as_it_is() -> None:
    rows = small_rows(1, Unkindness(steps=50))
    parts = [rows.slice(0, 40), rows.slice(40, len(rows))]
    assert list(with_feed_latency(parts, "day.rows")) == parts


def test_a_feed_without_latency_is_refused_by_name() -> None:
    rows = small_rows(1, Unkindness(steps=50))
    rows.local_ns[:] = rows.venue_ns
    with pytest.raises(ZeroFeedLatencyError, match=r"day\.rows: rows of instrument 0"):
        list(with_feed_latency([rows], "day.rows"))


def test_one_of_two_feeds_without_latency_is_enough() -> None:
    rows = small_rows(1, Unkindness(steps=50))
    rows.instrument[1::2] = 1
    rows.local_ns[1::2] = rows.venue_ns[1::2]
    with pytest.raises(ZeroFeedLatencyError, match="instrument 1"):
        list(with_feed_latency([rows], "day.rows"))


def test_whole_books_may_come_without_a_time_of_their_own() -> None:
    rows = small_rows(1, Unkindness(steps=50))
    whole = np.isin(rows.kind, (CLEAR, SNAPSHOT))
    rows.local_ns[whole] = rows.venue_ns[whole]
    assert sum(len(block) for block in with_feed_latency([rows], "day.rows")) == len(rows)


def test_recordings_need_a_feed_latency() -> None:
    with pytest.raises(ValueError, match="min_feed_latency_ns"):
        Recording(Path("x.gz"), (), min_feed_latency_ns=0)
