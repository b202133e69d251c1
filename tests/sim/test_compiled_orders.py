"""Orders of every type in the compiled run and behind the venue's own objects: the same fills, ends and money."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import pytest
from order_scripts import (
    Ask,
    account,
    marks_and_halts,
    play_compiled,
    play_host,
    random_asks,
    with_rows,
)
from unkind_rows import Unkindness, small_rows

from sim.kernel import layout
from sim.latency import Latencies

RICH, POOR = Decimal(1_000_000), Decimal(40)


def asks_of(asks: Sequence[Ask], order: int) -> list[Ask]:
    return [ask for ask in asks if ask.order == order]


@pytest.mark.parametrize("rules", ["binance_usdm", "cme", "bybit_linear"])
@pytest.mark.parametrize("balance", [RICH, POOR], ids=["rich", "poor"])
def test_orders_of_every_type_come_to_the_same(rules: str, balance: Decimal) -> None:
    ends: Counter[int] = Counter()
    reasons: Counter[str] = Counter()
    liquidated = 0
    for seed in range(40):
        how = Unkindness(steps=150, thickness=(3, 8)[seed % 2], snapshots=seed % 4 == 0)
        rows = small_rows(seed, how)
        rows = with_rows(rows, marks_and_halts(rows, seed, spread=60 if balance == RICH else 240))
        asks = random_asks(rows, seed, 90, rules)
        entry_ns = (0, 1, 700_000)[seed % 3]
        expected = play_host(rows, asks, account(balance), rules, entry_ns)
        latencies = Latencies.constant(entry_ns, 1_000)
        found, _ = play_compiled([rows], asks, account(balance), rules, latencies)
        for one, other in zip(found.fills, expected.fills, strict=False):
            assert one == other, seed
        assert {
            order: (asks_of(asks, order), found.ends.get(order), expected.ends.get(order))
            for order in found.ends.keys() | expected.ends.keys()
            if found.ends.get(order) != expected.ends.get(order)
        } == {}, seed
        assert found == expected, seed
        ends.update(expected.ends.values())
        reasons.update(fill[5] for fill in expected.fills)
        liquidated += len(expected.liquidated)
    assert min(ends[end] for end in (layout.FILLED, layout.EXPIRED, layout.CANCELED, layout.REJECTED)) > 50
    assert min(reasons[reason] for reason in ("taker", "queue", "through", "crossed")) > 10
    assert (liquidated > 1) is (balance == POOR)
