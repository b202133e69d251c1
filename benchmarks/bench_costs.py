"""How long funding rates, slippage, schedules and shortfall take, one public call each."""

import json
from collections.abc import Callable
from decimal import Decimal
from statistics import median
from time import perf_counter
from typing import Final

from venues.costs.impact import square_root_impact
from venues.costs.shortfall import Execution, implementation_shortfall
from venues.costs.slippage_cme import cme_slippage
from venues.costs.slippage_crypto import base_slippage_bps, crypto_slippage
from venues.model.order import Side
from venues.rules.funding import binance_funding_rate, bybit_funding_rate, funding_payment
from venues.rules.funding_stamps import FundingLeg, HeldSide, break_even
from venues.rules.mark_price import perpetual_mark_price
from venues.schedules.almgren_chriss import almgren_chriss
from venues.schedules.slices import twap

_CALLS: Final = 20_000
_SLOW_CALLS: Final = 500

_PREMIUM, _INTEREST = Decimal("0.000742"), Decimal("0.0001")
_CAP, _FLOOR = Decimal("0.003"), Decimal("-0.003")
_MARK, _QTY, _RATE = Decimal("61234.56"), Decimal("1.234"), Decimal("0.00012345")
_SECONDS, _BASIS, _LAST = Decimal(14_400), Decimal("10.5"), Decimal("61250.1")
_FILLS = [Execution(Decimal("0.1"), Decimal("61240.1")) for _ in range(10)]
_LEGS = [FundingLeg(Decimal("0.0001"), 8, HeldSide.LONG), FundingLeg(Decimal("0.0003"), 4, HeldSide.SHORT)]
_ENTRY_NS: Final = 1_768_437_000_000_000_000


def _ns(call: Callable[[], object], calls: int) -> float:
    """Return ns per call, the empty loop and the lambda included."""
    begin = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - begin) / calls * 1e9


_FAST: Final[dict[str, Callable[[], object]]] = {
    "funding_rate_binance_8h_ns": lambda: binance_funding_rate(_PREMIUM, 8, _INTEREST, _CAP, _FLOOR),
    "funding_rate_binance_4h_ns": lambda: binance_funding_rate(_PREMIUM, 4, _INTEREST, _CAP, _FLOOR),
    "funding_rate_bybit_4h_ns": lambda: bybit_funding_rate(_PREMIUM, 4, _INTEREST, _CAP, _FLOOR),
    "funding_payment_ns": lambda: funding_payment(_QTY, _MARK, _RATE),
    "mark_price_ns": lambda: perpetual_mark_price(_MARK, _RATE, _SECONDS, 8, _BASIS, _LAST),
    "slippage_crypto_ns": lambda: crypto_slippage(8.0, Side.BUY, 0.001, 0.02, 3.0),
    "slippage_crypto_base_ns": lambda: base_slippage_bps(0.0001, 4.0, 1.2),
    "slippage_cme_ns": lambda: cme_slippage("ES", 0.25, 5000.0, 0.0001, False, 10.0),
    "square_root_impact_ns": lambda: square_root_impact(_RATE, _RATE, _INTEREST),
}
_SLOW: Final[dict[str, Callable[[], object]]] = {
    "break_even_ns": lambda: break_even(_LEGS, Decimal(23), _ENTRY_NS),
    "twap_10_slices_ns": lambda: twap(_QTY, Decimal("0.001"), 10),
    "almgren_chriss_10_intervals_ns": lambda: almgren_chriss(
        Decimal(1_000_000), 5.0, 10, 0.95, 0.0625, 2.5e-7, 2.5e-6, 1e-6
    ),
    "shortfall_10_fills_ns": lambda: implementation_shortfall(
        Side.BUY, Decimal(2), _MARK, _LAST, _LAST, _FILLS, _INTEREST
    ),
}


def run(repeats: int = 5) -> dict[str, float]:
    """Return the median ns per call."""
    measured = {name: median(_ns(call, _CALLS) for _ in range(repeats)) for name, call in _FAST.items()}
    return measured | {name: median(_ns(call, _SLOW_CALLS) for _ in range(repeats)) for name, call in _SLOW.items()}


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
