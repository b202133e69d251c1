"""The gateway's example in docs/binance.md makes what it says."""

import re
from decimal import Decimal
from pathlib import Path

from venues.binance.gateway import BinanceGateway
from venues.binance.settings import AccountKeys, GatewaySettings
from venues.binance.sign import signer_of
from venues.model.instrument import Instrument, InstrumentKind
from venues.port import OrderRejected, SubmitOrder

PAGE = Path(__file__).resolve().parents[4] / "docs" / "binance.md"


def test_the_example_makes_a_gateway_that_is_not_up_yet() -> None:
    found = re.search(r"<!-- gateway -->\n```python\n(.*?)```\n<!-- /gateway -->", PAGE.read_text(), re.DOTALL)
    assert found is not None
    spec = Instrument(
        "binance_usdm", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001")
    )
    names: dict[str, object] = {
        "GatewaySettings": GatewaySettings,
        "AccountKeys": AccountKeys,
        "BinanceGateway": BinanceGateway,
        "signer_of": signer_of,
        "api_key": "key",
        "secret_or_pem": "secret",
        "instruments": [spec],
        "deliver": lambda _: None,
        "now": lambda: 7,
    }
    exec(found[1], names)
    gateway = names["gateway"]
    assert isinstance(gateway, BinanceGateway)
    order = SubmitOrder(7, "main", spec.id, "a", "buy", Decimal(1))  # type: ignore[arg-type]
    (told,) = gateway.send([order])
    assert isinstance(told, OrderRejected)
    assert gateway.counters["is_up"] == 0
