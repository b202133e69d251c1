"""What the order path remembers does not grow with the number of baskets."""

from cell_harness import PERP, SECOND, SPECS, SPOT, D, Harness, Outcome, buy, sell

from actors.basket_plan import ExecutorConfig
from actors.kill_switch import KillConfig, KillSwitch
from actors.ledger import Ledger, LedgerConfig
from actors.messages import BasketIntent
from actors.order_records import OrderManagerConfig
from daemon.torture.invariants import sizes_of
from venues.model.money import ZERO

BASKETS = 5_000
LIMIT = 60
"""Above every configured bound below."""


def test_five_thousand_baskets_leave_no_more_behind_than_fifty():
    """Every fifth opening fills unevenly and is hedged, every seventh fills nothing."""
    cell = Harness(
        Ledger(SPECS, {"acc": {"USDT": D(10**9), "BTC": D(0)}}, LedgerConfig(seen=50)),
        KillSwitch({"acc": "spot"}, KillConfig(capital=D(10**9), daily_loss=D(10**9), daily_loss_hard=D(10**9))),
        config=ExecutorConfig(keep_baskets=20, keep_ids=50, keep_incidents=40),
        orders=OrderManagerConfig(keep_orders=30, keep_traces=50),
    )
    for number in range(BASKETS // 2):
        if number % 100 == 0:
            cell.quote(SPOT, "60000.00", "60001.00")
            cell.quote(PERP, "60010.0", "60010.5")
        if number % 7 == 0:
            cell.venue.outcomes = [Outcome(ZERO), Outcome(ZERO)]
        elif number % 5 == 0:
            cell.venue.outcomes = [Outcome(D("0.5")), Outcome()]
        name = f"b{number}"
        cell.tell(BasketIntent(cell.now, name, "s", (buy(SPOT, "1"), sell(PERP, "1"))))
        basket = cell.executor.state.baskets[name]
        legs = cell.executor.open_legs(basket)
        if legs:
            cell.tell(BasketIntent(cell.now, f"c{number}", "s", legs, name))
        # The venue and the recorder of the harness are not under test.
        cell.venue.fills.clear()
        cell.recorder.seen.clear()
        cell.commands.clear()
        cell.advance(SECOND)
    assert cell.executor.state.counters.planned > BASKETS * 0.8
    large = {name: size for name, size in sizes_of(cell.dispatcher.actors).items() if size > LIMIT}
    # A window of a minute, and what traces keep until they go.
    allowed = {"KillSwitch.outcomes", "order_manager.requests"}
    assert set(large) <= allowed, large
    assert large.get("order_manager.requests", 0) <= 30 + 50
