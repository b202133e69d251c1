"""How long CME's rules take to ask: the dynamic circuit breaker, the session of an instant, a day's limits."""

import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeVar

from venues.rules.calendar import session
from venues.rules.circuit_breakers import DynamicBreaker
from venues.rules.cme_products import product
from venues.rules.price_limits import equity_limits

_T = TypeVar("_T")

PRICES: Final = 100_000
NS_BETWEEN: Final = 50_000_000
"""Twenty prices a second: an hour's window then holds 72,000 of them."""


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over `repeats` runs, in microseconds per call."""
    return {
        "circuit_breaker_check_us": statistics.median(_breaker() for _ in range(repeats)),
        "session_us": statistics.median(_session() for _ in range(repeats)),
        "equity_limits_us": statistics.median(_limits() for _ in range(repeats)),
    }


def _breaker() -> float:
    rng = random.Random(20260310)
    ticks, prices = 5_837, []
    for number in range(PRICES):
        ticks += rng.choice((-1, 0, 0, 1))
        prices.append((number * NS_BETWEEN, ticks))
    check = DynamicBreaker(width_ticks=583).check
    start = time.perf_counter()
    for now_ns, price in prices:
        check(now_ns, price)
    return (time.perf_counter() - start) / PRICES * 1e6


def _session() -> float:
    es, first = product("ES"), datetime(2026, 1, 4, tzinfo=UTC)
    instants = [first + timedelta(minutes=7 * number) for number in range(20_000)]
    return _us_per_call(lambda at: session(es, at), instants)


def _limits() -> float:
    es, tick, share = product("ES"), Decimal("0.25"), Decimal("0.07")
    fixings = [Decimal(670_000 + 25 * number) / 100 for number in range(5_000)]
    return _us_per_call(lambda fixing: equity_limits(es, fixing, fixing - 10, tick, share), fixings)


def _us_per_call(call: Callable[[_T], object], arguments: list[_T]) -> float:
    call(arguments[0])
    start = time.perf_counter()
    for one in arguments:
        call(one)
    return (time.perf_counter() - start) / len(arguments) * 1e6
