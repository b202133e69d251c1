"""How long the checks around a parent order take: expected slippage, the liquidity report, the next rung, the end.

The book is a perpetual's: 1,000 levels a side at most every tick, an order that eats eight of them. `foreign` is what
the executor costs orders that are not its own.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from statistics import median
from time import perf_counter
from typing import Final

from actors.base import Collected, detached_outbox
from actors.execution_records import OrderExecutorConfig, ParentOrder
from actors.execution_report import report
from actors.executions import ExecutionIntent, ExecutionMode, ExecutionState
from actors.ladder import Caps, LadderConfig, next_order, stages
from actors.liquidity import levels_behind, levels_from
from actors.messages import FillEvent, OrderUpdate
from actors.order_executor import OrderExecutor
from actors.slippage import SlippageConfig, expectation_objection
from venues.costs.liquidity import LiquidityLimits, analyze, expected_slippage
from venues.model.book import Book
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderStatus, Side

_CALLS: Final = 20_000
_MID: Final = 616_500
_EATEN: Final = 8

_SPEC: Final = Instrument(
    "bench", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.10"), Decimal("0.001")
)


def _book(random: Random) -> Book:
    book = Book()
    bids = [(_MID - n, random.randint(1, 500)) for n in range(1, 1_200) if random.random() < 0.85]
    asks = [(_MID + n, random.randint(1, 500)) for n in range(1, 1_200) if random.random() < 0.85]
    book.load(bids, asks)
    return book


def _ns(call: Callable[[], object]) -> float:
    """Return ns per call, the empty loop and the lambda included."""
    begin = perf_counter()
    for _ in range(_CALLS):
        call()
    return (perf_counter() - begin) / _CALLS * 1e9


def _parent() -> ParentOrder:
    intent = ExecutionIntent(1, "p", "s", "f", _SPEC.id, Side.BUY, Decimal(1), ExecutionMode.MARKET_ONLY)
    parent = ParentOrder(intent, ExecutionState.FILLED, bid=_MID - 1, ask=_MID + 1, expected_bps=Decimal("0.5"))
    for number in range(10):
        parent.book(Decimal("0.1"), Decimal("61650.1") + number, number, is_maker=False)
    return parent


def _calls() -> dict[str, Callable[[], object]]:
    book = _book(Random(7))
    assert book.best_ask is not None
    assert book.best_bid is not None
    touch = (book.best_ask, book.asks[book.best_ask])
    asks = levels_behind(book, Side.BUY, touch, 50)
    bids = levels_behind(book, Side.SELL, (book.best_bid, book.bids[book.best_bid]), 50)
    lots = sum(one for _, one in asks[:_EATEN])
    mids = bids[0][0] + asks[0][0]
    limits, slippage, ladder, config = LiquidityLimits(), SlippageConfig(), LadderConfig(), OrderExecutorConfig()
    stage = stages(ExecutionMode.MARKET_ONLY, ladder, 0, 1)[0]
    caps = Caps(Side.BUY, mids, None, None)
    executor = OrderExecutor({_SPEC.id: _SPEC}, config)
    executor.out = detached_outbox("executor", Collected())
    update = OrderUpdate(
        1, "b1#1", "s", "b1", "c1", "f", _SPEC.id, Side.BUY, Decimal(1), OrderStatus.ACCEPTED, ZERO, False
    )
    one = Fill(
        1, "f", _SPEC.id, "c1", "t", Side.BUY, Decimal(1), Decimal(1), Liquidity.TAKER, ZERO, "", FillReason.TAKER
    )
    fill = FillEvent(1, "b1#1", "s", "b1", one)
    parent = _parent()
    return {
        "expected_slippage_ns": lambda: expectation_objection(expected_slippage(asks, lots, Side.BUY, mids), slippage),
        "expected_slippage_of_a_book_ns": lambda: expectation_objection(
            expected_slippage(levels_from(book, Side.BUY, touch), lots, Side.BUY, mids), slippage
        ),
        "liquidity_report_ns": lambda: analyze(bids, asks, Side.BUY, lots, limits),
        "fifty_levels_ns": lambda: levels_behind(book, Side.BUY, touch, 50),
        "next_order_ns": lambda: next_order(stage, ladder, caps, bids, asks, lots, None),
        "execution_report_10_fills_ns": lambda: report(2, parent, _SPEC, slippage),
        "foreign_update_ns": lambda: executor.order_changed(1, update),
        "foreign_fill_ns": lambda: executor.filled(1, fill),
    }


def run(repeats: int = 5) -> dict[str, float]:
    """Return the median ns per call."""
    return {name: median(_ns(call) for _ in range(repeats)) for name, call in _calls().items()}


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
