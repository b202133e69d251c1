"""The example of docs/binance.md says what it says."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from venues.binance.answers import UsdmAnswers
from venues.binance.calls import stamped
from venues.binance.reactions import Reaction, judge_http
from venues.binance.requests import UsdmRequests
from venues.binance.sign import signed_query, signer_of
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.port import OrderAccepted, RejectReason, SubmitOrder

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "binance.md").read_text()
BTC = Instrument("binance-usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001"))


def test_the_example_of_the_codec():
    found = re.search(r"<!-- codec -->\n```python\n(.*?)```\n<!-- /codec -->", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {
        "UsdmRequests": UsdmRequests, "UsdmAnswers": UsdmAnswers, "SubmitOrder": SubmitOrder, "Side": Side,
        "Decimal": Decimal, "signed_query": signed_query, "stamped": stamped, "signer_of": signer_of,
        "judge_http": judge_http, "BTC": BTC, "now": 1, "server_ms": 1700000000000, "secret": "a" * 64,
    }  # fmt: skip
    exec(compile(found[1], "docs/binance.md", "exec"), names)
    assert (names["call"].method, names["call"].path, names["call"].ws_method) == (
        "POST",
        "/fapi/v1/order",
        "order.place",
    )
    payload, _, signature = names["query"].partition("&signature=")
    assert payload.startswith("symbol=BTCUSDT&side=BUY&")
    assert signature == signer_of("a" * 64).sign(payload)
    assert names["accepted"] == OrderAccepted(0, "main", BTC.id, "desk-1", "7")
    verdict = names["verdict"]
    assert (verdict.reaction, verdict.reason) == (Reaction.REJECT, RejectReason.INSUFFICIENT_MARGIN)
