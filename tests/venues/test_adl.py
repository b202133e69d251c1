"""Deleveraging: scores, the queue, ranks 1..5 of both venues."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.adl import (
    AdlCandidate,
    allocate,
    queue,
    rank_of_binance_quantile,
    rank_of_bybit_indicator,
    rank_of_place,
    score,
    superseded_score,
)
from venues.rules.errors import BadValueError

D = Decimal


def candidate(key: str, notional: int, pnl: int, wallet: int) -> AdlCandidate:
    return AdlCandidate(key, D(1), D(notional), D(pnl), D(wallet), D(pnl), D(notional) / 100)


# Binance FAQ 360033525471: PNL% 0.1 and an effective leverage of 1000 / (100 + 100) = 5; a loss is divided by it.
def test_the_current_score() -> None:
    assert score(candidate("a", 1000, 100, 100)) == D("0.1") * 5
    assert score(candidate("a", -1000, 100, 100)) == D("0.1") * 5
    assert score(candidate("a", 1000, -100, 300)) == D("-0.1") / 5
    assert score(candidate("a", 1000, 0, 300)) == 0


def test_the_superseded_score_is_another_number() -> None:
    assert superseded_score(candidate("a", 1000, 100, 100)) == D(1) * (D(10) / 200)
    assert superseded_score(candidate("a", 1000, -100, 300)) == 0


def test_the_queue_goes_from_the_most_profitable_and_leveraged() -> None:
    places = queue([candidate(str(n), 1000, n * 10, 100) for n in range(10)])
    assert [each.candidate.key for each in places] == list("9876543210")
    assert [each.rank for each in places] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert [each.quantile for each in places[:2]] == [D("0.1"), D("0.2")]


@pytest.mark.parametrize(
    ("place", "of", "rank"), [(1, 1, 5), (1, 100, 5), (20, 100, 5), (21, 100, 4), (100, 100, 1), (2, 3, 4)]
)
def test_ranks_are_fifths_of_the_queue(place: int, of: int, rank: int) -> None:
    assert rank_of_place(place, of) == rank


def test_the_venues_numbers_become_one_scale() -> None:
    assert [rank_of_binance_quantile(n) for n in range(5)] == [1, 2, 3, 4, 5]
    assert [rank_of_bybit_indicator(n) for n in range(6)] == [None, 1, 2, 3, 4, 5]
    for wrong in (-1, 5):
        with pytest.raises(BadValueError):
            rank_of_binance_quantile(wrong)
    for wrong in (-1, 6):
        with pytest.raises(BadValueError):
            rank_of_bybit_indicator(wrong)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=8), st.integers(1, 100))
def test_the_front_of_the_queue_is_taken_first_and_in_full(sizes: list[int], percent: int) -> None:
    held = [AdlCandidate(str(n), D(size), D(1000), D(-n), D(100), D(0)) for n, size in enumerate(sizes)]
    qty = D(sum(sizes)) * percent / 100
    taken = allocate(queue(held), qty)
    assert sum(part for _, part in taken) == qty
    assert [key for key, _ in taken] == [str(n) for n in range(len(taken))]
    assert all(part == sizes[int(key)] for key, part in taken[:-1])


def test_more_than_all_candidates_hold_is_refused() -> None:
    with pytest.raises(BadValueError, match="opposite"):
        allocate(queue([candidate("a", 1000, 1, 100)]), D(2))


def test_a_bankrupt_or_flat_candidate_is_refused() -> None:
    with pytest.raises(BadValueError, match="bankrupt"):
        score(candidate("a", 1000, -100, 100))
    with pytest.raises(BadValueError, match="notional"):
        score(candidate("a", 0, 1, 100))
