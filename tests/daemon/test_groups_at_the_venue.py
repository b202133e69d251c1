"""Brackets of a strategy in a whole backtest: real stops and targets at the simulated venue, and a replay of them."""

import re
from collections import Counter
from pathlib import Path

import pytest
from bracketing import FUTURE, Bracketing

from actors.cell import Cell
from actors.dispatcher import Sink
from actors.group_messages import GroupState, ScheduleState
from actors.ledger import Ledger
from actors.order_groups import OrderGroups
from actors.order_manager import OrderManager
from actors.pacing import PacingConfig
from daemon import backtest
from daemon.app import build_cell
from daemon.backtest import Backtest
from daemon.config import ConfigErrors, parse
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.log.replay import check
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config() -> RunConfig:
    text = (ROOT / "configs" / "demo.toml").read_text().replace('"20m"', '"4m"')
    head, _, _ = text.partition("[[strategies]]")
    more = '[[strategies]]\nid = "brackets"\nkind = "bracketing:Bracketing"\n[strategies.params]\nschedules = true\n'
    limits = '[pacing.venues.binance_usdm]\nlimits = [{ most = 300, window = "10s", burst = "0.2" }]\n'
    return parse(re.sub(r"seed = \d+", "seed = 3", head) + more + limits, "brackets", KINDS)


def test_brackets_are_entered_protected_and_left_by_stop_and_by_target(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells: list[Cell] = []

    def build(config: RunConfig, sink: Sink | None = None) -> Cell:
        cells.append(build_cell(config, sink))
        return cells[-1]

    monkeypatch.setattr(backtest, "build_cell", build)
    outcome = Backtest(config).run(tmp_path / "run")
    assert dict(outcome.summary)["halt"] is None
    actors = cells[0].dispatcher.actors
    strategy, groups, manager, ledger = (
        actors[name] for name in ("brackets", "order_groups", "order_manager", "ledger")
    )
    assert isinstance(strategy, Bracketing)
    assert isinstance(groups, OrderGroups)
    assert isinstance(manager, OrderManager)
    assert isinstance(ledger, Ledger)
    ended = Counter(update.state for update in strategy.state.seen)
    assert ended[GroupState.PROTECTED] >= 5
    assert set(ended) <= {GroupState.OPENING, GroupState.PROTECTED, GroupState.DONE, GroupState.CLOSING}
    # Both ways out were taken, and an order of the schedule was asked for.
    orders = [(one.request_id, one.order) for one in manager.state.orders.values()]
    filled = Counter(order.type for key, order in orders if "/entry-" not in key and order.filled_qty)
    assert filled[OrderType.LIMIT] >= 1
    assert filled[OrderType.STOP_MARKET] >= 1
    assert [one.state for one in strategy.state.scheduled] == [ScheduleState.WAITING, ScheduleState.STARTED]
    # Nothing is left: the end of a run closes what is open, and exits never took more than entries had given.
    assert groups.state.active == {}
    assert all(one.is_final for one in manager.state.orders.values())
    for group in groups.state.groups.values():
        assert group.open_qty == ZERO
    assert [one.qty for one in ledger.state.positions.values() if one.instrument == FUTURE] == [ZERO]
    stops = [one.order for one in manager.state.orders.values() if one.order.type is OrderType.STOP_MARKET]
    assert {one.status for one in stops} <= {OrderStatus.FILLED, OrderStatus.CANCELED, OrderStatus.EXPIRED}
    replayed = check(tmp_path / "run" / "log", lambda _: build(config))
    assert replayed.is_identical, replayed.differences


def test_the_limits_that_the_documentation_shows_are_a_configuration() -> None:
    page = (ROOT / "docs" / "orders.md").read_text()
    shown = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    pacing = parse((ROOT / "configs" / "demo.toml").read_text() + shown[1], "docs", KINDS).section(
        "pacing", PacingConfig
    )
    # facts/crypto.md: ORDERS 300 per 10 s and 1,200 a minute for each account, weight 2,400 a minute for an address.
    limits = pacing.venues["binance_usdm"].limits
    assert [(one.most, one.window_ns // 10**9, one.is_shared) for one in limits] == [
        (300, 10, False),
        (1200, 60, False),
        (2400, 60, True),
    ]


def test_limits_of_a_venue_that_is_not_there_are_a_mistake() -> None:
    text = (
        ROOT / "configs" / "demo.toml"
    ).read_text() + '[pacing.venues.nowhere]\nlimits = [{ most = 10, window = "1s" }]\n'
    with pytest.raises(ConfigErrors, match="nowhere"):
        parse(text, "wrong", KINDS)
