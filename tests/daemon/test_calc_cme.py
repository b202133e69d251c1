"""The CME questions of `basisd calc`: forms, answers and refusals."""

from pathlib import Path
from typing import Any

import pytest

import daemon.calc.cme  # enters the calculations  # noqa: F401
from daemon.calc.core import CalcError, answer
from daemon.calc.main import check

LIMITS = {"product": "ES", "fixing": "6700", "index": "6690", "tick": "0.25", "overnight_pct": "0.07"}
PROTECTION = {"side": "sell", "best_bid": "900.00", "best_ask": "900.25", "protection_points": "6"}


@pytest.mark.parametrize(
    ("calc", "given", "expected"),
    [
        ("last_trading_day", {"contract": "ZBU27"}, {"date": "2027-09-21"}),
        ("first_notice_day", {"contract": "ZBU7"}, {"date": "2027-08-31"}),
        ("first_notice_day", {"contract": "6EM6"}, {"date": None}),
        ("roll_date", {"contract": "MESU7", "method": "exchange"}, {"date": "2027-09-13"}),
        (
            "settlement_window",
            {"product": "ZB", "date": "2027-07-06"},
            {"start_utc": "2027-07-06T18:59:30Z", "end_utc": "2027-07-06T19:00:00Z"},
        ),
        (
            "session",
            {"product": "NG", "at": "2027-07-05T18:30:00Z"},
            {"state": "closed", "trade_date": None, "rth": False},
        ),
        (
            "session",
            {"product": "NG", "at": "2027-07-05T18:29:59Z"},
            {"state": "open", "trade_date": "2027-07-06", "rth": False},
        ),
        ("equity_price_limits", LIMITS, {"overnight_up": "7168.25", "overnight_down": "6231.75", "l1": "6231.75",
                                         "l2": "5830.50", "l3": "5362.00"}),
        ("dynamic_circuit_breaker", {"product": "6B", "settlement": "1.3311"}, {"variant": "0.0532"}),
        ("protection_limit", PROTECTION, {"limit_price": "894.00"}),
        (
            "variation_margin",
            {"multiplier": "50", "actions": [{"trade": {"qty": "1", "price": "100"}}, {"settle": "101"}]},
            {"flows": ["50"], "total": "50"},
        ),
        ("fees", {"product": "MGC", "qty": "3"}, {"per_side": "1.02", "total": "3.06"}),
    ],
)  # fmt: skip
def test_answers(calc: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert answer(f"cme.{calc}", given) == expected


@pytest.mark.parametrize(
    ("calc", "given", "kind", "field"),
    [
        ("last_trading_day", {"contract": "ESG6"}, "UnknownProductError", "contract"),
        ("last_trading_day", {"contract": "XXM6"}, "UnknownProductError", "contract"),
        ("last_trading_day", {"contract": "ES-M6"}, "BadValueError", "contract"),
        ("last_trading_day", {"contract": "CLF31"}, "OutsideTableError", "contract"),
        ("last_trading_day", {}, "MissingField", "contract"),
        ("roll_date", {"contract": "GCZ6", "method": "exchange"}, "UnknownProductError", "contract"),
        ("roll_date", {"contract": "ESZ6", "method": "volume"}, "BadValue", "method"),
        ("settlement_window", {"product": "ES", "date": "2026-07-03"}, "NoSettlementError", "date"),
        ("settlement_window", {"product": "ES", "date": "2031-07-03"}, "OutsideTableError", "date"),
        ("settlement_window", {"product": "ES", "date": "2026-02-30"}, "BadValue", "date"),
        ("session", {"product": "es", "at": "2026-01-15T14:30:00Z"}, "UnknownProductError", "product"),
        ("session", {"product": "ES", "at": "2031-01-15T14:30:00Z"}, "OutsideTableError", "at"),
        ("session", {"product": "ES", "at": "2026-01-15"}, "BadValue", "at"),
        ("equity_price_limits", LIMITS | {"product": "CL"}, "UnknownProductError", "product"),
        ("equity_price_limits", LIMITS | {"index": "-1"}, "BadValueError", "index"),
        ("equity_price_limits", LIMITS | {"fixing": "NaN"}, "BadValue", "fixing"),
        ("dynamic_circuit_breaker", {"product": "CL", "settlement": "-1"}, "BadValueError", "settlement"),
        ("protection_limit", PROTECTION | {"best_bid": "901"}, "BadValueError", "best_bid"),
        ("protection_limit", PROTECTION | {"side": "both"}, "BadValue", "side"),
        ("variation_margin", {"multiplier": "0", "actions": []}, "BadValueError", "multiplier"),
        ("variation_margin", {"multiplier": "1", "actions": [{}]}, "BadValueError", "actions[0]"),
        ("variation_margin", {"multiplier": "1", "actions": [{"sell": 1}]}, "UnknownField", "actions[0].sell"),
        ("fees", {"product": "ES", "qty": "-1"}, "BadValueError", "qty"),
        ("fees", {"product": "ES", "qty": "1.5"}, "BadValueError", "qty"),
        ("fees", {"product": "ZN", "qty": "1"}, "UnknownProductError", "product"),
    ],
)
def test_refusals_name_the_field(calc: str, given: dict[str, Any], kind: str, field: str) -> None:
    with pytest.raises(CalcError) as caught:
        answer(f"cme.{calc}", given)
    assert (caught.value.kind, caught.value.field) == (kind, field)


@pytest.mark.parametrize("area", ["calendar", "limits", "settlement"])
def test_vectors(area: str, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data_dir.parent / "vectors" / f"cme_{area}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there: tests on vectors need it")
    assert check(path) == 0, capsys.readouterr().out
