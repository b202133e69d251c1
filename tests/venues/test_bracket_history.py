"""Dated bracket tables: every row of the source is a table or a refusal with its reason."""

import json
import lzma
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from venues.rules.bracket_history import BracketHistory, Refusal, read_changes, read_snapshot, venue_symbol
from venues.rules.brackets import check_brackets
from venues.rules.errors import BadTableError, BadValueError, OutsideTableError, UnknownProductError

D = Decimal
GOOD = [["0", "5000", "0.01", "0.0", "25"], ["5000", "25000", "0.025", "75.0", "20"]]


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def changes(*rows: tuple[str, str, object]) -> BracketHistory:
    return read_changes(
        json.dumps({"at": f"{at}T00:00:00+00:00", "symbol": symbol, "brackets": cells}) for at, symbol, cells in rows
    )


@pytest.mark.parametrize(
    ("spelling", "symbol"),
    [
        ("BTC/USDT", "BTCUSDT"),
        ("BTC/USDT:USDT", "BTCUSDT"),
        ("BTC/USDT:USDT-230929", "BTCUSDT_230929"),
        ("BTCUSDT_210326", "BTCUSDT_210326"),
        ("ETH/BTC:BTC", "ETHBTC"),
        ("1000BONK/USDC:USDC", "1000BONKUSDC"),
    ],
)
def test_spellings_are_one_symbol(spelling: str, symbol: str) -> None:
    assert venue_symbol(spelling) == symbol


@pytest.mark.parametrize("spelling", ["", "BTC/USD:BTC", "BTC/", "BTC:USDT", "BTC/USDT:USDT-2309"])
def test_other_names_are_refused(spelling: str) -> None:
    with pytest.raises(BadValueError):
        venue_symbol(spelling)


@pytest.mark.parametrize(
    ("cells", "refusal"),
    [
        (None, Refusal.DELISTED),
        ([[None, None, "0.01", "0.0", "25"]], Refusal.MISSING_CELLS),
        ([["0", "5000", "", "0.0", "25"]], Refusal.MISSING_CELLS),
        ([GOOD[0], ["5000", "25000", "0.025", "74.0", "20"]], Refusal.CONTRADICTS_ITSELF),
        ([["0", "5000", "NaN", "0.0", "25"]], Refusal.CONTRADICTS_ITSELF),
        ([["0", "5000", "0.01", "0.0", "2.5"]], Refusal.CONTRADICTS_ITSELF),
        ([["0", "5000", "0.01", "0.0"]], Refusal.CONTRADICTS_ITSELF),
        ([], Refusal.CONTRADICTS_ITSELF),
    ],
)
def test_a_row_that_is_no_table_is_refused_with_its_reason(cells: object, refusal: Refusal) -> None:
    history = changes(("2022-01-01", "A/USDT", GOOD), ("2022-02-01", "A/USDT", cells))
    assert history.refused() == {refusal: 1}
    assert history.at("AUSDT", day("2022-01-31"))[1].cum == 75
    with pytest.raises(OutsideTableError, match=refusal.value) as caught:
        history.at("AUSDT", day("2022-02-01"))
    assert caught.value.field == "date"


def test_a_new_spelling_is_no_delisting() -> None:
    longer = [*GOOD, ["25000", "100000", "0.05", "700", "10"]]
    rows = [("2022-01-01", "A/USDT", GOOD), ("2023-01-01", "A/USDT", None), ("2023-01-01", "A/USDT:USDT", longer)]
    history = changes(*rows)
    assert history.refused() == {Refusal.RESPELLED: 1}
    assert len(history.at("A/USDT", day("2022-12-31"))) == 2
    assert len(history.at("A/USDT", day("2023-01-01"))) == 3


def test_two_spellings_of_one_day_may_not_differ() -> None:
    shorter = GOOD[:1]
    history = changes(("2022-01-01", "A/USDT", GOOD), ("2022-01-01", "A/USDT:USDT", shorter))
    assert history.refused() == {Refusal.CONTRADICTS_ANOTHER: 1}
    with pytest.raises(OutsideTableError):
        history.at("AUSDT", day("2022-01-01"))


def test_days_and_symbols_outside_are_refused() -> None:
    history = changes(("2022-01-01", "A/USDT", GOOD))
    for moment in ("2021-12-31", "2022-01-02"):
        with pytest.raises(OutsideTableError):
            history.at("AUSDT", day(moment))
    with pytest.raises(UnknownProductError):
        history.at("BUSDT", day("2022-01-01"))


def test_what_is_no_history_is_refused() -> None:
    for text in ("{", "[]", '{"at": "2022-01-01", "symbol": "A", "brackets": null}', '{"symbol": "A"}'):
        with pytest.raises(BadTableError, match="line 1"):
            read_changes([text])
    with pytest.raises(BadTableError):
        read_changes([])
    for text in ("{", "[]", '{"A/USDT": [{"tier": 1}]}', "{}"):
        with pytest.raises(BadTableError):
            read_snapshot(text, day("2022-01-01"))


@pytest.fixture(scope="module")
def history(data_dir: Path) -> BracketHistory:
    with lzma.open(data_dir / "brackets" / "binance_brackets_history_delta.jsonl.xz", "rt", encoding="utf-8") as lines:
        return read_changes(lines)


def test_every_recorded_table_loads_or_is_refused(history: BracketHistory) -> None:
    loaded = [entry for entry in history.entries if entry.refusal is None]
    assert len(history.entries) == 2078
    assert len(loaded) == 1625
    # 291 spellings end: 193 of them on a day on which the symbol goes on under another.
    assert history.refused() == {Refusal.DELISTED: 98, Refusal.RESPELLED: 193, Refusal.MISSING_CELLS: 162}
    for entry in history.entries:
        if entry.refusal is None:
            check_brackets(entry.table)
        else:
            assert entry.why
            assert not entry.table
    missing = {entry.at for entry in history.entries if entry.refusal is Refusal.MISSING_CELLS}
    assert missing == {datetime(2022, 4, 17, 3, 47, 44, tzinfo=UTC)}
    assert all("no floor" in entry.why for entry in history.entries if entry.refusal is Refusal.MISSING_CELLS)


def test_the_changes_add_up_to_the_last_table(history: BracketHistory, data_dir: Path) -> None:
    text = (data_dir / "brackets" / "binance_leverage_tiers_20241024.json").read_text(encoding="utf-8")
    last = read_snapshot(text, history.through)
    assert len(last.symbols) == 349
    assert last.refused() == {}
    for symbol in history.symbols:
        if symbol in last.symbols:
            assert history.at(symbol, history.through) == last.at(symbol, history.through)
        else:
            with pytest.raises(OutsideTableError, match="delisted"):
                history.at(symbol, history.through)


def test_a_recorded_table_changes_over_time(history: BracketHistory) -> None:
    assert history.at("BTCUSDT", day("2024-10-01"))[0].max_leverage == 125
    assert history.at("BTCUSDT", day("2022-03-01")) != history.at("BTCUSDT", day("2024-10-01"))
    with pytest.raises(OutsideTableError, match="no floor"):
        history.at("BTCUSDT", day("2022-05-01"))
