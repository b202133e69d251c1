"""User events: every field of D4 with the recorded streams' spelling, and their order.

Field names: USDS-M futures "User Data Streams" and spot "User Data Stream" of developers.binance.com; spelling of
numbers and which fields there are: streams recorded in March 2026 (BASISD_DATA_DIR).
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from sim.emulator.events import (
    AccountEvent,
    AlgoEvent,
    BalanceChange,
    ConfigEvent,
    Event,
    MarginCallEvent,
    OrderEvent,
)
from sim.emulator.listings import Listing
from sim.emulator.records import AlgoRecord, FillRecord, OrderRecord, PositionFigures
from sim.emulator.user_events import UserEvents, listen_key_expired
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import Trade

D = Decimal
MS = 1_000_000
T = 1_772_462_050_738
NOW = (T + 1) * MS
ZERO = D(0)


def listing(kind: InstrumentKind = InstrumentKind.PERPETUAL) -> Listing:
    spec = Instrument("binance", "ACHUSDT", kind, "ACH", "USDT", D("0.000001"), D(1), settle="USDT")
    return Listing(
        spec,
        "ACHUSDT",
        "PERPETUAL",
        0,
        min_price=ZERO,
        max_price=D(100),
        max_qty=D(1_000_000),
        market_max_qty=D(1_000_000),
        min_notional=D(5),
        price_precision=6,
    )


def events(kind: InstrumentKind = InstrumentKind.PERPETUAL) -> UserEvents:
    return UserEvents({"ACHUSDT": listing(kind)}, is_spot=kind is InstrumentKind.SPOT)


ORDER = OrderRecord(
    "ACHUSDT", 4_904_480_369, "IUr9FxyKX4OEVPViHRlfyI", "BUY", "LIMIT", "LIMIT", "GTC", "BOTH",
    D("0.006680"), D(900), T, T,
)  # fmt: skip
FILL = FillRecord(
    "ACHUSDT", 258_307_945, 4_904_480_369, ORDER.client_order_id, "BUY", "BOTH", D("0.006660"), D(760), D("1.25"),
    D("0.0025308"), "USDT", T, False,
)  # fmt: skip


def figures(**changes: Any) -> PositionFigures:
    fields: dict[str, Any] = dict.fromkeys(PositionFigures.__annotations__, ZERO)
    fields |= {"symbol": "ACHUSDT", "position_side": "BOTH", "margin_type": "cross", "margin_asset": "USDT"}
    return PositionFigures(**(fields | changes))


def test_an_order_that_is_new() -> None:
    [event] = events().print(OrderEvent(T * MS, ORDER, "NEW"), NOW)
    # As recorded, but for prices with all their decimals. Bids: 900 x 0.00668 = 6.012.
    assert event == {
        "e": "ORDER_TRADE_UPDATE", "T": T, "E": T + 1,
        "o": {
            "s": "ACHUSDT", "c": "IUr9FxyKX4OEVPViHRlfyI", "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "900",
            "p": "0.006680", "ap": "0", "sp": "0", "x": "NEW", "X": "NEW", "i": 4904480369, "l": "0", "z": "0",
            "L": "0", "n": "0", "N": "USDT", "T": T, "t": 0, "b": "6.012", "a": "0", "m": False, "R": False,
            "wt": "CONTRACT_PRICE", "ot": "LIMIT", "ps": "BOTH", "cp": False, "rp": "0", "pP": False, "si": 0, "ss": 0,
            "V": "EXPIRE_MAKER", "pm": "NONE", "gtd": 0, "er": "0",
        },
    }  # fmt: skip


def test_a_fill_is_told_short_and_then_in_full() -> None:
    order = evolve(ORDER, executed_qty=D(760), cum_quote=D("5.0616"), status="PARTIALLY_FILLED")
    lite, full = events().print(OrderEvent(T * MS, order, "TRADE", FILL), NOW)
    assert lite == {
        "e": "TRADE_LITE", "E": T + 1, "T": T, "s": "ACHUSDT", "q": "900", "p": "0.006680", "m": False,
        "c": "IUr9FxyKX4OEVPViHRlfyI", "S": "BUY", "L": "0.006660", "l": "760", "t": 258307945, "i": 4904480369,
    }  # fmt: skip
    told = {name: full["o"][name] for name in ("x", "X", "l", "z", "L", "ap", "n", "N", "t", "rp", "m", "b")}
    # 140 are left: 140 x 0.00668 = 0.9352; 5.0616 / 760 = 0.00666.
    assert told == {
        "x": "TRADE", "X": "PARTIALLY_FILLED", "l": "760", "z": "760", "L": "0.006660", "ap": "0.006660",
        "n": "0.0025308", "N": "USDT", "t": 258307945, "rp": "1.25", "m": False, "b": "0.9352",
    }  # fmt: skip


def test_a_liquidation_is_not_told_short() -> None:
    order = evolve(ORDER, status="FILLED", executed_qty=D(900), cum_quote=D(6))
    [full] = events().print(OrderEvent(T * MS, order, "CALCULATED", FILL), NOW)
    assert (full["o"]["x"], full["o"]["l"]) == ("CALCULATED", "760")


def test_notionals_are_of_the_orders_that_are_open() -> None:
    mine = events()
    other = evolve(ORDER, order_id=2, side="SELL", orig_qty=D(100))
    mine.print(OrderEvent(T * MS, ORDER, "NEW"), NOW)
    [event] = mine.print(OrderEvent(T * MS, other, "NEW"), NOW)
    assert (event["o"]["b"], event["o"]["a"]) == ("6.012", "0.668")
    [event] = mine.print(OrderEvent(T * MS, evolve(ORDER, status="CANCELED"), "CANCELED"), NOW)
    assert (event["o"]["x"], event["o"]["b"], event["o"]["a"]) == ("CANCELED", "0", "0.668")


def test_what_a_conditional_order_became_names_it() -> None:
    order = evolve(ORDER, type="MARKET", orig_type="MARKET", algo_id=2_000_000_547_321_628, expiry_reason=8)
    [event] = events().print(OrderEvent(T * MS, order, "EXPIRED"), NOW)
    told = {name: event["o"][name] for name in ("si", "ss", "st", "er")}
    assert told == {"si": 2_000_000_547_321_628, "ss": -1, "st": "ALGO_CONDITION", "er": "8"}


def test_a_trailing_stop_tells_its_activation() -> None:
    order = evolve(ORDER, activation_price=D("7476.89"), callback_rate=D("5.0"))
    [event] = events().print(OrderEvent(T * MS, order, "NEW"), NOW)
    assert (event["o"]["AP"], event["o"]["cr"]) == ("7476.89", "5")


def test_an_account_update() -> None:
    position = figures(
        amount=D("-10.0"), entry_price=D("0.0066612345678901"), break_even_price=D("0.0067"), unrealized=D("-1.5"),
        accumulated_realized=D("200"), margin_type="isolated", isolated_wallet=D("12.5"),
    )  # fmt: skip
    change = AccountEvent(T * MS, "ORDER", [BalanceChange("USDT", D("122.5"), D(100), ZERO)], [position])
    assert events().print(change, NOW) == [
        {
            "e": "ACCOUNT_UPDATE", "T": T, "E": T + 1,
            "a": {
                "B": [{"a": "USDT", "wb": "122.50000000", "cw": "100.00000000", "bc": "0"}],
                "P": [
                    {
                        "s": "ACHUSDT", "pa": "-10", "ep": "0.00666123457", "cr": "200", "up": "-1.50000000",
                        "mt": "isolated", "iw": "12.50000000", "ps": "BOTH", "ma": "USDT", "bep": "0.0067",
                    }
                ],
                "m": "ORDER",
            },
        }
    ]  # fmt: skip


def test_funding_of_a_cross_position_tells_the_balance_and_the_symbol() -> None:
    change = AccountEvent(T * MS, "FUNDING_FEE", [BalanceChange("USDT", D(99), D(99), D("-1.25"))], [], "ACHUSDT")
    [event] = events().print(change, NOW)
    assert (event["a"]["m"], event["a"]["S"], event["a"]["P"], event["a"]["B"][0]["bc"]) == (
        "FUNDING_FEE", "ACHUSDT", [], "-1.25",
    )  # fmt: skip


ALGO = AlgoRecord(
    "ACHUSDT", 2_000_000_547_321_628, "3q6MTOEHBSe4E80HLqoeq1", "STOP_MARKET", "BUY", "BOTH", "GTC", D(800),
    D("0.006659"), ZERO, T, T, stp_mode="EXPIRE_MAKER",
)  # fmt: skip


def test_a_conditional_orders_life_is_told_as_recorded() -> None:
    [event] = events().print(AlgoEvent(T * MS, ALGO), NOW)
    assert event == {
        "e": "ALGO_UPDATE", "T": T, "E": T + 1,
        "o": {
            "caid": "3q6MTOEHBSe4E80HLqoeq1", "aid": 2000000547321628, "at": "CONDITIONAL", "o": "STOP_MARKET",
            "s": "ACHUSDT", "S": "BUY", "ps": "BOTH", "f": "GTC", "q": "800", "X": "NEW", "ai": "", "tp": "0.006659",
            "p": "0", "V": "EXPIRE_MAKER", "wt": "CONTRACT_PRICE", "pm": "NONE", "cp": False, "pP": False, "R": False,
            "tt": 0, "gtd": 0,
        },
    }  # fmt: skip
    done = evolve(
        ALGO, status="FINISHED", actual_order_id=4904005884, actual_price=D("0.00666"), actual_qty=D(800),
        actual_type="MARKET", trigger_ms=T,
    )  # fmt: skip
    [event] = events().print(AlgoEvent(T * MS, done), NOW)
    told = {name: event["o"][name] for name in ("X", "ai", "ap", "aq", "act", "tt")}
    assert told == {"X": "FINISHED", "ai": "4904005884", "ap": "0.006660", "aq": "800", "act": "MARKET", "tt": T}


def test_a_refused_conditional_order_says_why() -> None:
    [event] = events().print(
        AlgoEvent(T * MS, evolve(ALGO, status="REJECTED", reject_reason="Reduce Only reject")), NOW
    )
    assert event["o"]["rm"] == "Reduce Only reject"


def test_settings_that_change() -> None:
    mine = events()
    assert mine.print(ConfigEvent(T * MS, "ACHUSDT", 25), NOW) == [
        {"e": "ACCOUNT_CONFIG_UPDATE", "E": T + 1, "T": T, "ac": {"s": "ACHUSDT", "l": 25}}
    ]
    assert mine.print(ConfigEvent(T * MS, multi_assets=True), NOW) == [
        {"e": "ACCOUNT_CONFIG_UPDATE", "E": T + 1, "T": T, "ai": {"j": True}}
    ]


def test_a_margin_call() -> None:
    endangered = figures(amount=D("1.327"), mark_price=D("187.17127"), unrealized=D("-1.16"), maint_margin=D("1.61"))
    [event] = events().print(MarginCallEvent(T * MS, D("3.16812045"), [endangered]), NOW)
    assert event == {
        "e": "MARGIN_CALL", "E": T + 1, "cw": "3.16812045",
        "p": [
            {
                "s": "ACHUSDT", "ps": "BOTH", "pa": "1.327", "mt": "CROSSED", "iw": "0.00000000", "mp": "187.17127",
                "up": "-1.16000000", "mm": "1.61000000",
            }
        ],
    }  # fmt: skip


def test_a_key_that_is_over() -> None:
    assert listen_key_expired("KEY", NOW) == {"e": "listenKeyExpired", "E": T + 1, "listenKey": "KEY"}


def test_what_belongs_to_the_market_is_no_account_event() -> None:
    assert events().print(Trade(T * MS, "binance:ACHUSDT", 1, 5, 5, Side.BUY), NOW) == []


def test_spot_reports_executions() -> None:
    order = evolve(ORDER, executed_qty=D(760), cum_quote=D("5.0616"), status="PARTIALLY_FILLED")
    fill = evolve(FILL, commission=D("0.76"), commission_asset="ACH")
    [event] = events(InstrumentKind.SPOT).print(OrderEvent(T * MS, order, "TRADE", fill), NOW)
    told = {name: event[name] for name in ("e", "x", "X", "q", "p", "l", "z", "L", "n", "N", "t", "Z", "Y", "w", "m")}
    assert told == {
        "e": "executionReport", "x": "TRADE", "X": "PARTIALLY_FILLED", "q": "900", "p": "0.006680", "l": "760",
        "z": "760", "L": "0.006660", "n": "0.76", "N": "ACH", "t": 258307945, "Z": "5.06160000", "Y": "5.06160000",
        "w": True, "m": False,
    }  # fmt: skip


def test_a_canceled_spot_order_names_its_id_as_the_original_one() -> None:
    [event] = events(InstrumentKind.SPOT).print(
        OrderEvent(T * MS, evolve(ORDER, status="CANCELED"), "CANCELED"), NOW
    )  # fmt: skip
    assert (event["C"], event["t"], event["N"], event["w"]) == (ORDER.client_order_id, -1, None, False)


def test_spot_balances() -> None:
    mine = events(InstrumentKind.SPOT)
    traded = AccountEvent(T * MS, "ORDER", [BalanceChange("USDT", D(120), D(100), ZERO)], [])
    assert mine.print(traded, NOW) == [
        {
            "e": "outboundAccountPosition", "E": T + 1, "u": T,
            "B": [{"a": "USDT", "f": "100.00000000", "l": "20.00000000"}],
        }
    ]  # fmt: skip
    moved = AccountEvent(T * MS, "DEPOSIT", [BalanceChange("USDT", D(120), D(120), D(20))], [])
    assert mine.print(moved, NOW) == [{"e": "balanceUpdate", "E": T + 1, "a": "USDT", "d": "20.00000000", "T": T}]


def recorded(folder: Path) -> list[dict[str, Any]]:
    found = []
    decoder = json.JSONDecoder()
    for path in sorted(folder.glob("WebSocketFuture*.json")):
        text = path.read_text().strip()
        while text:
            event, end = decoder.raw_decode(text)
            found.append(event)
            text = text[end:].strip()
    return found


@pytest.mark.parametrize("kind", ["ORDER_TRADE_UPDATE", "ALGO_UPDATE"])
def test_the_fields_are_those_recorded(data_dir: Path, kind: str) -> None:
    found = [event for event in recorded(data_dir / "user-streams") if event["e"] == kind]
    assert len(found) >= 6
    mine = events()
    became = evolve(ALGO, status="FINISHED", actual_order_id=1)
    kinds: dict[str, list[Event]] = {
        "ORDER_TRADE_UPDATE": [OrderEvent(T * MS, evolve(ORDER, algo_id=n), "NEW") for n in (0, 1)],
        "ALGO_UPDATE": [AlgoEvent(T * MS, ALGO), AlgoEvent(T * MS, became)],
    }
    ours = [mine.print(event, NOW)[0] for event in kinds[kind]]
    for event in found:
        fields = frozenset(event["o"])
        assert any(fields == frozenset(one["o"]) for one in ours), fields ^ frozenset(ours[0]["o"])
        assert event.keys() == ours[0].keys()
        for one in ours:
            assert all(type(one["o"][name]) is type(event["o"][name]) for name in fields & one["o"].keys())
