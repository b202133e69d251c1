"""However many mistakes a configuration holds, and wherever: each is told once, by its key."""

import tomllib
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemon.config import ConfigErrors, parse
from daemon.config_brackets import bracket_mistakes
from daemon.config_loading import Loading
from daemon.init import text
from daemon.kinds import KINDS
from venues.model.instrument import Bracket

DEMO = (Path(__file__).parents[2] / "configs" / "demo.toml").read_text()
DOCUMENTS = {"demo": tomllib.loads(DEMO), "init": tomllib.loads(text())}
GONE = object()

BRACKETS = ("instruments", 0, "brackets")
INSTRUMENT = {"symbol": "XBTUSDT", "kind": "spot", "base": "XBT", "quote": "USDT", "tick_size": "1", "lot_size": "1"}

MISTAKES: list[tuple[tuple[str | int, ...], Any, str]] = [
    # (where, what is put there, the key that must be told); no two are about the same thing
    (("run", "sed"), 1, "run.sed"),
    (("run", "seed"), "7", "run.seed"),
    (("run", "start"), "2026-01-15 15:00", "run.start"),
    (("run", "duration"), "ten minutes", "run.duration"),
    (("market", "mid"), 60000.0, "market.mid"),
    (("market", "volatility"), 1.0, "market.volatility"),
    (("market", "step"), "0s", "market.step"),
    (("market", "instruments", 0, "premium_bps"), float("nan"), "market.instruments[0].premium_bps"),
    (("market", "instruments", 1, "instrument"), "binance_spot:BTCUSD", "market.instruments[1].instrument"),
    (("venues", 0, "fees", "maker"), -0.0001, "venues[0].fees.maker"),
    (("venues", 0, "fees", "taker"), GONE, "venues[0].fees.taker"),
    (("venues", 0, "latency", "entry"), "-5ms", "venues[0].latency.entry"),
    (("venues", 1, "rules"), "binance_sport", "venues[1].rules"),
    (("venues", 2), {"id": "binance_usdm", "rules": "binance_usdm", "fees": {"maker": 0, "taker": 0}}, "venues[2].id"),
    (("instruments", 0, "tick_size"), "NaN", "instruments[0].tick_size"),
    (("instruments", 0, "max_qty"), "0.0001", "instruments[0].max_qty"),
    (("instruments", 0, "quote"), GONE, "instruments[0].quote"),
    (("instruments", 0, "inverse"), True, "instruments[0].inverse"),
    ((*BRACKETS, 0, "mmr"), "4", "instruments[0].brackets[0].mmr"),
    ((*BRACKETS, 2, "cum"), "951", "instruments[0].brackets[2].cum"),
    ((*BRACKETS, 2, "max_leverage"), 0, "instruments[0].brackets[2].max_leverage"),
    ((*BRACKETS, 2, "cap"), "lots", "instruments[0].brackets[2].cap"),
    (("instruments", 1, "kind"), "spott", "instruments[1].kind"),
    (("instruments", 1, "lot_size"), "-1", "instruments[1].lot_size"),
    (("instruments", 2), {**INSTRUMENT, "venue": "binance_usdm"}, "instruments[2]"),
    (("accounts", 0, "balances", "USDT"), "inf", "accounts[0].balances.USDT"),
    (("accounts", 0, "leverage", "BTCUSDT"), 126, "accounts[0].leverage.BTCUSDT"),
    (("accounts", 0, "leverage", "ETHUSDT"), 2, "accounts[0].leverage.ETHUSDT"),
    (("accounts", 0, "api_key"), "hunter2", "accounts[0].api_key"),
    (("accounts", 0, "margin_mode"), "crossed", "accounts[0].margin_mode"),
    (
        ("accounts", 2),
        {"id": "third", "venue": "binance_spott", "balances": {}, "margin_mode": "cash"},
        "accounts[2].venue",
    ),
    (("strategies", 0, "params", "qty"), "-1", "strategies[0].params.qty"),
    (("strategies", 0, "params", "exit_bps"), GONE, "strategies[0].params.exit_bps"),
    (("strategies", 0, "params", "perpetual"), "binance_usdm:BTCUSD", "strategies[0].params.perpetual"),
    (("strategies", 0, "params", "spot_account"), "spott", "strategies[0].params.spot_account"),
    (("strategies", 1), {"id": "other", "kind": "cash_and_cary"}, "strategies[1].kind"),
    (("risk",), {"gross_notional_max": True}, "risk.gross_notional_max"),
    (("kill_switch",), {"drawdown": "0.5", "capital": "0"}, "kill_switch.capital"),
    (("margin",), {"critical": "9"}, "margin.warning"),
    (("feed",), {"retry": ["1s", "2"]}, "feed.retry[1]"),
    (("log", "durable"), "no", "log.durable"),
    (("logg",), {}, "logg"),
]
AND_ALSO = {"kill_switch.capital": "kill_switch.drawdown_hard"}


def put(document: dict[str, Any], where: tuple[str | int, ...], value: Any) -> None:
    here: Any = document
    for step in where[:-1]:
        here = here[step] if isinstance(step, int) else here.setdefault(step, {})
    last = where[-1]
    if value is GONE:
        del here[last]
    elif isinstance(last, int) and isinstance(here, dict):
        raise TypeError(f"{where}: a table of TOML has no numbers for keys")
    elif isinstance(last, int) and last >= len(here):
        here.append(deepcopy(value))
    else:
        here[last] = deepcopy(value)


def told(document: dict[str, Any]) -> list[str]:
    loading = Loading(KINDS, None, ())
    loading.read(document)
    return sorted(error.path for error in loading.errors)


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[key for _, _, key in MISTAKES])
def test_one_mistake_is_one_error(name, number):
    check(name, {number})


@given(name=st.sampled_from(sorted(DOCUMENTS)), chosen=st.sets(st.integers(0, len(MISTAKES) - 1)))
@example(name="demo", chosen=set(range(len(MISTAKES))))
@example(name="init", chosen=set(range(len(MISTAKES))))
def test_every_subset_of_mistakes_is_told_in_full(name, chosen):
    check(name, chosen)


def check(name: str, chosen: set[int]) -> None:
    document = deepcopy(DOCUMENTS[name])
    keys = []
    for where, value, key in (MISTAKES[number] for number in sorted(chosen)):
        put(document, where, value)
        keys += [key, AND_ALSO[key]] if key in AND_ALSO else [key]
    assert told(document) == sorted(keys)


def test_a_reference_is_looked_up_in_a_row_with_another_mistake():
    document = deepcopy(DOCUMENTS["demo"])
    put(document, ("accounts", 1, "venue"), "binance_spott")
    put(document, ("accounts", 1, "balances"), {"USDT": "inf"})
    assert told(document) == ["accounts[1].balances.USDT", "accounts[1].venue"]


WITHOUT_ID = [
    # (the id that is wrong, what else refers to nothing): only the second is somebody else's mistake
    (("venues", 0, "id"), "binance usdm", "venues[0].id"),
    (("venues", 1, "id"), GONE, "venues[1].id"),
    (("instruments", 0, "symbol"), 5, "instruments[0].symbol"),
    (("instruments", 1, "venue"), "binance_sport", "instruments[1].venue"),
    (("accounts", 0, "id"), "fut ures", "accounts[0].id"),
    (("strategies", 0, "id"), "", "strategies[0].id"),
    (("market", "kind"), "synth", "market.kind"),
    (("market", "instruments"), 3, "market.instruments"),
    (("accounts",), {}, "accounts"),
    (("venues",), GONE, "venues"),
]


@pytest.mark.parametrize(("where", "value", "key"), WITHOUT_ID, ids=[key for _, _, key in WITHOUT_ID])
def test_what_refers_to_something_misnamed_is_no_second_mistake(where, value, key):
    document = deepcopy(DOCUMENTS["demo"])
    put(document, where, value)
    assert told(document) == [key]
    put(document, ("run", "seed"), -1)
    put(document, ("log", "dirr"), "x")
    assert told(document) == sorted([key, "run.seed", "log.dirr"])


def test_an_instrument_that_no_account_can_ask_for_is_a_mistake():
    document = deepcopy(DOCUMENTS["demo"])
    put(document, ("venues", 2), {"id": "third", "rules": "binance_spot", "fees": {"maker": "0", "taker": "0"}})
    for index, symbol in ((2, "AAAUSDT"), (3, "BBBUSDT")):
        put(document, ("instruments", index), {**INSTRUMENT, "venue": "third", "symbol": symbol})
        put(document, ("market", "instruments", index), {"instrument": f"third:{symbol}"})
    assert told(document) == ["instruments[2].venue"]


def test_a_strategy_that_cannot_be_made_is_a_mistake_beside_others():
    document = deepcopy(DOCUMENTS["demo"])
    put(document, ("strategies", 0, "params", "spot"), "binance_usdm:BTCUSDT")
    put(document, ("run", "seed"), -1)
    assert told(document) == ["run.seed", "strategies[0]"]


def test_checks_of_several_fields_are_made_beside_a_wrong_one():
    limits = {"collar_bps": "600", "order_qty_max": "x"}
    document = deepcopy(DOCUMENTS["demo"])
    put(document, ("risk",), {"instruments": {"binance_usdm:BTCUSDT": limits, "a:b": {}}, "par": 3})
    put(document, ("kill_switch",), {"drawdown": "0.5", "daily_loss": "99999", "seen": 1})
    assert told(document) == [
        "kill_switch.daily_loss_hard",
        "kill_switch.drawdown_hard",
        "kill_switch.seen",
        "risk.instruments.a:b",
        "risk.instruments.binance_usdm:BTCUSDT.hard_collar_bps",
        "risk.instruments.binance_usdm:BTCUSDT.order_qty_max",
        "risk.par",
    ]


def test_a_script_is_checked_as_a_whole_beside_a_wrong_leg():
    leg = {"account": "futures", "instrument": "binance_usdm:BTCUSDT", "side": "bye", "qty": "0.1"}
    actions = [
        {"after": "10s", "basket": "a", "legs": [leg]},
        {"after": "5s", "basket": "a"},
        {"after": "20s", "basket": "b", "legs": 3},
    ]
    document = deepcopy(DOCUMENTS["demo"])
    document["strategies"] = [{"id": "drill", "kind": "scripted", "params": {"actions": actions}}]
    assert told(document) == [
        "strategies[0].params.actions[0].legs[0].side",
        "strategies[0].params.actions[1].after",
        "strategies[0].params.actions[2].legs",
    ]


# Brackets: Binance BTCUSDT, GET /fapi/v1/leverageBracket

ROWS = [
    ("0", "50000", "0.004", "0"),
    ("50000", "600000", "0.005", "50"),
    ("600000", "3000000", "0.0065", "950"),
    ("3000000", "12000000", "0.01", "11450"),
    ("12000000", "70000000", "0.02", "131450"),
]
TABLE = tuple(Bracket(Decimal(floor), Decimal(cap), Decimal(mmr), Decimal(cum), 20) for floor, cap, mmr, cum in ROWS)


def test_a_right_table_has_no_mistake():
    assert list(bracket_mistakes(TABLE)) == []
    assert [why for _, _, why in bracket_mistakes(())] == ["the table is empty"]


@given(
    wrong=st.lists(st.sampled_from(["mmr", "cum", "cap", "max_leverage"]), min_size=5, max_size=5),
    rows=st.sets(st.sampled_from([0, 2, 4])),
)
def test_each_wrong_row_of_a_table_is_one_mistake(wrong, rows):
    table = list(TABLE)
    for index in rows:
        value: Any = {"mmr": Decimal(4), "cum": table[index].cum + 1, "cap": Decimal(-1), "max_leverage": 0}[
            wrong[index]
        ]
        table[index] = attrs.evolve(table[index], **{wrong[index]: value})
    expected = [(index, wrong[index]) for index in sorted(rows)]
    assert [(index, key) for index, key, _ in bracket_mistakes(tuple(table))] == expected


def test_a_mistake_in_the_file_itself_is_one_error():
    with pytest.raises(ConfigErrors) as raised:
        parse(DEMO + "\n[run]\n", "x.toml", KINDS)
    assert len(raised.value.errors) == 1


def places(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of everything in a document."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return (
        [path, *(place for key, value in inner for place in places(value, (*path, key)))]
        if path
        else [place for key, value in inner for place in places(value, (key,))]
    )


ODD: list[Any] = [
    GONE,
    None,
    0,
    -1,
    2.5,
    float("inf"),
    True,
    "",
    "x",
    "1s",
    [],
    [1],
    ["x"],
    [[]],
    {},
    {"x": 1},
    {"": {}},
]


@given(st.lists(st.tuples(st.sampled_from(places(DOCUMENTS["demo"])), st.sampled_from(ODD)), max_size=4))
def test_whatever_stands_there_no_key_is_told_twice(changes):
    document = deepcopy(DOCUMENTS["demo"])
    for where, value in changes:
        try:
            put(document, where, value)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    keys = told(document)
    assert len(keys) == len(set(keys))
