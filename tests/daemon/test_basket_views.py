"""What people see of baskets' money and of legs that filled unevenly."""

from decimal import Decimal

import pytest
from admin_desk import MemoryDesk, Moment, caught_in_the_middle

from actors.atomic_executor import AtomicExecutor
from actors.basket_records import PartialFill
from actors.messages import BasketState
from daemon.admin import views
from daemon.admin.basket_views import incidents
from daemon.admin.desk import actor
from daemon.ctl.tables import Table
from daemon.ctl.words import WORDS
from venues.model.money import ZERO

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> Moment:
    return caught_in_the_middle(tmp_path_factory.mktemp("desk"))


def record(number: int) -> PartialFill:
    began, net = number * SECOND, {"BTC": Decimal("-0.10")}
    return PartialFill(
        began + SECOND // 4, f"b{number}", "carry", began, "leg expired", net, Decimal(6000), ("complete: x",),
        BasketState.BALANCED, Decimal("1.50"),
    )  # fmt: skip


def test_an_open_basket_has_realised_its_fees_and_is_marked_at_the_mids(moment: Moment) -> None:
    desk = MemoryDesk(moment)
    (basket,) = views.baskets(desk, 10, is_all=False)["baskets"]
    cost = {name: Decimal(text) for name, text in basket["cost"].items()}
    assert cost["fees"] > ZERO
    # The demo's spot venue charges in the quote currency.
    assert cost["realised"] == -cost["fees"]
    assert (cost["legging"], cost["rollback"]) == (ZERO, ZERO)
    legs = actor(desk, "atomic_executor", AtomicExecutor).state.baskets[basket["id"]].legs
    entries = sum((leg.side.sign * leg.extended * (leg.entry_price - leg.arrival_mid) for leg in legs), ZERO)
    assert cost["slippage"] == entries


def test_incidents_are_told_newest_first_and_bounded(moment: Moment) -> None:
    desk = MemoryDesk(moment)
    assert incidents(desk, 10) == {"incidents": [], "left_out": 0}
    actor(desk, "atomic_executor", AtomicExecutor).state.incidents = [record(1), record(2), record(3)]
    told = incidents(desk, 2)
    assert ([one["basket"] for one in told["incidents"]], told["left_out"]) == (["b3", "b2"], 1)
    assert told["incidents"][0] == {
        "ts": 3 * SECOND + SECOND // 4,
        "basket": "b3",
        "strategy": "carry",
        "began_ns": 3 * SECOND,
        "cause": "leg expired",
        "net": {"BTC": "-0.10"},
        "unhedged": "6000",
        "actions": ["complete: x"],
        "outcome": "balanced",
        "loss": "1.50",
    }


def test_a_terminal_shows_each_incident_in_a_line(moment: Moment) -> None:
    desk = MemoryDesk(moment)
    assert WORDS["incidents"](incidents(desk, 5)) == ["no incident"]
    actor(desk, "atomic_executor", AtomicExecutor).state.incidents = [record(1), record(2)]
    (table, more) = WORDS["incidents"](incidents(desk, 1))
    assert isinstance(table, Table)
    row = ["1970-01-01 00:00:02.250Z", "b2", "leg expired", "6000", "0.250s", "1", "balanced", "1.5"]
    assert table.rows == [row]
    assert more == "1 more; see --limit"
