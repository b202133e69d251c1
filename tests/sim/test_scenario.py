"""The scenario language: what plays, what is compared, what is refused and how the key is named."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim.scenario import Scenario, check_files, run_files
from sim.scenario_fields import ScenarioError, load

OWN = sorted((Path(__file__).parent / "scenarios").glob("*.json"))
BASE = "one_of_six_reaches_an_order_behind_five.json"

Document = dict[str, Any]


def document(name: str = BASE) -> Document:
    found: Document = json.loads((Path(__file__).parent / "scenarios" / name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_every_own_scenario_holds(path: Path) -> None:
    assert Scenario.from_file(path).check() == []


def test_the_published_scenarios_hold(data_dir: Path) -> None:
    folder = data_dir.parent / "scenarios"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: the published scenarios are not part of the repository")
    differing = {path.name: Scenario.from_file(path).check() for path in sorted(folder.glob("*.json"))}
    assert {name: lines for name, lines in differing.items() if lines} == {}
    assert len(differing) >= 12


def test_a_scenario_plays_the_same_every_time() -> None:
    scenario = Scenario.from_dict(document())
    assert json.dumps(scenario.run()) == json.dumps(scenario.run())


def test_the_result_has_the_documented_shape() -> None:
    result = Scenario.from_dict(document()).run()
    assert list(result) == [
        "name",
        "orders",
        "fills",
        "positions",
        "balances",
        "cash_flows",
        "liquidations",
        "adl",
        "events_log",
        "errors",
    ]
    assert result["orders"] == {
        "a": {"status": "partially_filled", "filled_qty": "1", "avg_price": "100.0", "reject_reason": None}
    }
    assert result["balances"] == {"USDT": "99999.98"}
    assert result["cash_flows"] == [{"t": 2000, "type": "fee", "asset": "USDT", "amount": "-0.02"}]


def test_an_idle_instrument_changes_nothing() -> None:
    busy = document()
    idle = copy.deepcopy(busy)
    idle["instruments"].append({**busy["instruments"][0], "symbol": "ETHUSDT"})
    idle["events"].append({**busy["events"][0], "symbol": "ETHUSDT"})
    assert Scenario.from_dict(idle).run() == Scenario.from_dict(busy).run()


def test_seed_and_epoch_do_not_move_prices() -> None:
    other = document()
    other["seed"] = 99
    other["epoch"] = "2031-06-30T00:00:00+00:00"
    assert Scenario.from_dict(other).run() == Scenario.from_dict(document()).run()


def test_without_an_epoch_time_starts_at_zero() -> None:
    bare = document()
    del bare["epoch"]
    assert Scenario.from_dict(bare).run() == Scenario.from_dict(document()).run()


# Expectations


def differing(expect: object) -> list[str]:
    changed = document()
    changed["expect"] = expect
    return Scenario.from_dict(changed).check()


@pytest.mark.parametrize(
    "expect",
    [
        {},
        {"orders": {"a": {"filled_qty": "1.000"}}},
        {"orders": {"a": {"avg_price": "100"}}},
        {"balances": {"USDT": "99999.9800"}},
        {"positions": {"BTCUSDT": {}}},
        {"liquidation_count": 0},
        {"fills": [{"reason": "queue"}]},
        {"liquidations": [], "errors": []},
        {"balances": {"USDT": "99999.98", "ETH": "0"}},
    ],
)
def test_numbers_compare_as_numbers_and_subsets_suffice(expect: object) -> None:
    assert differing(expect) == []


@pytest.mark.parametrize(
    ("expect", "line"),
    [
        ({"orders": {"a": {"filled_qty": "2"}}}, "expect.orders.a.filled_qty: expected '2', got '1'"),
        ({"orders": {"b": {"status": "filled"}}}, "expect.orders.b: expected {'status': 'filled'}, got nothing"),
        ({"positions": {}}, "expect.positions.BTCUSDT: open, not expected"),
        ({"liquidation_count": 1}, "expect.liquidation_count: expected 1, got 0"),
        ({"fills": []}, "expect.fills: expected 0 items, got 1"),
        ({"orders": {"a": {"avg_price": None}}}, "expect.orders.a.avg_price: expected None, got '100.0'"),
        ({"balances": {"USDT": "99999.98000001"}}, "expect.balances.USDT: expected '99999.98000001', got '99999.98'"),
    ],
)
def test_a_difference_names_its_place(expect: object, line: str) -> None:
    assert differing(expect) == [line]


def test_an_endless_quotient_compares_at_the_digits_given() -> None:
    changed = document("a_market_order_takes_three_and_expires_seven.json")
    changed["events"][0]["asks"] = [["100.1", "1"], ["100.2", "2"]]
    changed["expect"] = {"orders": {"a": {"avg_price": "100.1667"}}}
    assert Scenario.from_dict(changed).check() == []
    changed["expect"] = {"orders": {"a": {"avg_price": "100.1668"}}}
    assert len(Scenario.from_dict(changed).check()) == 1


def test_the_share_of_an_average_cost_compares_at_the_digits_given() -> None:
    changed = document("a_closing_sale_realises_against_the_average.json")
    changed["events"][0]["asks"] = [["100.1", "1"], ["100.2", "2"]]
    changed["orders"][0]["qty"] = "3"
    for text in ("-0.1667", "-0.1666666666666666666666666667"):
        changed["expect"] = {"positions": {"BTCUSDT": {"realized_pnl": text}}}
        assert Scenario.from_dict(changed).check() == []
    changed["expect"] = {"positions": {"BTCUSDT": {"realized_pnl": "-0.1666"}}}
    assert len(Scenario.from_dict(changed).check()) == 1


def test_cash_flows_of_one_instant_have_no_order() -> None:
    changed = document("a_closing_sale_realises_against_the_average.json")
    flows = changed["expect"]["cash_flows"]
    changed["expect"] = {"cash_flows": [flows[1], flows[0], flows[3], flows[2]]}
    assert Scenario.from_dict(changed).check() == []
    changed["expect"] = {"cash_flows": [flows[0], flows[2], flows[1], flows[3]]}
    assert len(Scenario.from_dict(changed).check()) > 0
    changed["expect"] = {"cash_flows": flows[:3]}
    assert Scenario.from_dict(changed).check() == ["expect.cash_flows: expected 3 items, got 4"]


def test_a_connection_is_one_for_all_instruments() -> None:
    changed = document("a_cut_off_client_learns_late.json")
    for event in changed["events"]:
        event.setdefault("symbol", "BTCUSDT")
    assert Scenario.from_dict(changed).check() == []


def test_a_venue_may_have_any_name() -> None:
    changed = document("an_isolated_long_is_liquidated_at_its_price.json")
    changed["venue"]["name"] = "A:B"
    assert Scenario.from_dict(changed).check() == []


def test_a_name_the_terminal_cannot_write_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = document()
    changed["orders"][0]["id"] = "\ud800"
    changed["expect"] = {"orders": {"\ud800": {"status": "filled"}}}
    assert check_files([write(tmp_path, "odd.json", changed)]) == 1
    assert "\\ud800" in capsys.readouterr().out


# Malformed documents

Change = Callable[[Document], object]


def order(**keys: object) -> Change:
    return lambda d: d["orders"][0].update(keys)


def event(**keys: object) -> Change:
    return lambda d: d["events"][1].update(keys)


ORDER_ADD = {
    "t": 5,
    "type": "order_add",
    "symbol": "BTCUSDT",
    "order_id": "x",
    "side": "buy",
    "price": "100.0",
    "qty": "1",
}


def told(**keys: object) -> Change:
    """Make the second event one of an order-by-order book of the model l3_fifo, then change it."""

    def change(d: Document) -> None:
        d["venue"]["queue_model"] = "l3_fifo"
        d["events"][1] = {key: value for key, value in {**ORDER_ADD, **keys}.items() if value is not None}

    return change


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda d: d.pop("name"), "name"),
        (lambda d: d.pop("instruments"), "instruments"),
        (lambda d: d.update(instruments=[]), "instruments"),
        (lambda d: d.update(extra=1), "extra"),
        (lambda d: d.update(epoch="2026-01-15T15:00:00+01:00"), "epoch"),
        (lambda d: d.update(epoch="yesterday"), "epoch"),
        (lambda d: d.update(epoch="2026-01-15T15:00:00"), "epoch"),
        (lambda d: d.update(epoch="2026-01-15T15:00:00.123456789Z"), "epoch"),
        (lambda d: d.update(epoch="9999-12-31T23:59:59Z"), "epoch"),
        (lambda d: d.update(epoch="1969-12-31T23:59:59Z"), "epoch"),
        (lambda d: d.update(seed="1"), "seed"),
        (lambda d: d["venue"].update(rules="kraken"), "venue.rules"),
        (lambda d: d["venue"].update(queue_model="power_0"), "venue.queue_model"),
        (lambda d: d["venue"].update(queue_model="fifo"), "venue.queue_model"),
        (lambda d: d["venue"].pop("fees"), "venue.fees"),
        (lambda d: d["venue"]["fees"].update(maker=0.0002), "venue.fees.maker"),
        (lambda d: d["venue"]["latency"].update(entry_ns=-1), "venue.latency.entry_ns"),
        (lambda d: d["venue"]["latency"].update(entry_ms=1), "venue.latency.entry_ms"),
        (lambda d: d["venue"]["latency"].update(response_ns=10**30), "venue.latency.response_ns"),
        (lambda d: d["instruments"][0].update(kind="option"), "instruments[0].kind"),
        (lambda d: d["instruments"][0].update(tick_size="0"), "instruments[0].tick_size"),
        (lambda d: d["instruments"][0].update(lot_size=1), "instruments[0].lot_size"),
        (lambda d: d["instruments"][0].update(span={}), "instruments[0].span"),
        (lambda d: d["instruments"][0].pop("brackets"), "instruments[0].brackets"),
        (lambda d: d["instruments"][0]["brackets"][0].update(cum="1"), "instruments[0].brackets[0]"),
        (lambda d: d["instruments"][0].update(kind="future"), "instruments[0].brackets"),
        (lambda d: d["instruments"].append(d["instruments"][0]), "instruments[1].symbol"),
        (lambda d: d["account"]["balances"].update(USDT="NaN"), "account.balances.USDT"),
        (lambda d: d["account"]["balances"].update(USDT="-1"), "account.balances.USDT"),
        (lambda d: d["account"].update(margin_mode="portfolio"), "account.margin_mode"),
        (lambda d: d["account"]["leverage"].update(BTCUSDT=126), "account.leverage.BTCUSDT"),
        (lambda d: d["account"]["leverage"].update(ETHUSDT=1), "account.leverage.ETHUSDT"),
        (event(t=-1), "events[1].t"),
        (event(t="2000"), "events[1].t"),
        (event(t=True), "events[1].t"),
        (told(type="book_delta", bids=[], order_id=None, side=None, price=None, qty=None), "events[1].type"),
        (lambda d: d["events"].append({**ORDER_ADD, "order_id": True}), "events[2].order_id"),
        (lambda d: d["events"].append({**ORDER_ADD, "order_id": ""}), "events[2].order_id"),
        (lambda d: d["events"].append({**ORDER_ADD, "side": None}), "events[2].side"),
        (lambda d: d["events"].append({**ORDER_ADD, "qty": "0"}), "events[2].qty"),
        (lambda d: d["events"].append({**ORDER_ADD, "price": "100.05"}), "events[2].price"),
        (lambda d: d["events"].append({**ORDER_ADD, "type": "order_execute", "qty": None}), "events[2].qty"),
        (lambda d: d["events"].extend([ORDER_ADD, {**d["events"][0], "type": "book_delta"}]), "events[3].type"),
        (
            lambda d: d["events"].append({**ORDER_ADD, "type": "order_modify", "price": None, "qty": None}),
            "events[2].qty",
        ),
        (event(type="rain"), "events[1].type"),
        (event(symbol="ETHUSDT"), "events[1].symbol"),
        (event(price="100.05"), "events[1].price"),
        (event(price=100.0), "events[1].price"),
        (event(qty="0"), "events[1].qty"),
        (event(qty="1e400000000"), "events[1].qty"),
        (event(qty="1_0"), "events[1].qty"),
        (event(qty=" 1"), "events[1].qty"),
        (event(type="disconnect"), "events[1].price"),
        (event(aggressor="both"), "events[1].aggressor"),
        (event(colour="red"), "events[1].colour"),
        (lambda d: d["events"][0].update(bids=[["100.0"]]), "events[0].bids[0]"),
        (lambda d: d["events"][0].update(bids=[["100.0", "-1"]]), "events[0].bids[0][1]"),
        (lambda d: d["events"][0].update(bids=[["100.0", "1"], ["100.00", "2"]]), "events[0].bids[1][0]"),
        (lambda d: d["events"][0].pop("asks"), "events[0].asks"),
        (order(action="buy"), "orders[0].action"),
        (order(type="iceberg"), "orders[0].type"),
        (order(side="long"), "orders[0].side"),
        (order(tif="FOREVER"), "orders[0].tif"),
        (order(tif="GTD"), "orders[0].expire_t"),
        (order(expire_t=5), "orders[0].expire_t"),
        (order(stop_price="100.0"), "orders[0].stop_price"),
        (order(qty=1), "orders[0].qty"),
        (order(reduce_only="yes"), "orders[0].reduce_only"),
        (order(stp="maybe"), "orders[0].stp"),
        (order(position_side="UP"), "orders[0].position_side"),
        (order(type="market"), "orders[0].price"),
        (order(type="stop_limit"), "orders[0].stop_price"),
        (order(leverage=3), "orders[0].leverage"),
        (lambda d: d["orders"][0].pop("price"), "orders[0].price"),
        (lambda d: d["orders"].append(d["orders"][0]), "orders[1].id"),
        (lambda d: d["orders"].append({"t": 1, "action": "cancel", "id": "zz"}), "orders[1].id"),
        (lambda d: d["orders"].append({"t": 1, "action": "modify", "id": "a", "qty": "1"}), "orders[1].price"),
        (lambda d: d["orders"].append(7), "orders[1]"),
        (lambda d: d["instruments"][0].update(liquidation_fee="1"), "instruments[0].liquidation_fee"),
        (lambda d: d["venue"].update(rules="bybit_linear", fees={"maker": "0", "taker": "1"}), "venue.fees.taker"),
        (lambda d: d.update(expect=[]), "expect"),
        (lambda d: d.update(expect={"mood": "good"}), "expect.mood"),
        (lambda d: d.update(expect={"fills": {}}), "expect.fills"),
    ],
)
def test_a_malformed_scenario_names_the_key(change: Change, path: str) -> None:
    changed = document()
    change(changed)
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(changed).check()
    assert caught.value.path == path


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_dict(load('{"name": "x", "venue": {"rules": "cme", "rules": "cme"}}'))
    assert caught.value.path == "venue.rules"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"name": NaN}', "9" * 5000, "[" * 100_000])
def test_what_is_no_scenario_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError):
        Scenario.from_dict(load(text))


# The commands


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_run_prints_one_document_per_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [write(tmp_path, "a.json", document()), write(tmp_path, "b.json", document())]
    assert run_files(paths) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["one of six reaches an order behind five"] * 2


def test_check_tells_agreement_difference_and_malformed_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, wrong, bad = document(), document(), document()
    wrong["expect"] = {"positions": {}}
    bad["orders"][0]["qty"] = 2
    files = {name: write(tmp_path, f"{name}.json", d) for name, d in {"good": good, "wrong": wrong, "bad": bad}.items()}
    assert check_files([files["good"]]) == 0
    assert check_files([files["good"], files["wrong"]]) == 1
    assert "expect.positions.BTCUSDT" in capsys.readouterr().out
    assert check_files([files["wrong"], files["bad"], files["good"]]) == 2
    told = capsys.readouterr().err
    assert "bad.json" in told
    assert "orders[0].qty" in told
    assert check_files([tmp_path / "absent.json"]) == 2
    assert "absent.json" in capsys.readouterr().err
