"""When strategies trade: the ten-line face for users, the carry's thresholds, the script."""

import json
from decimal import Decimal
from typing import Any

import ladder_cell
import pytest
from attrs import define, evolve
from cell_harness import COARSE, PERP, SECOND, SPECS, SPOT, D, Harness, Outcome, ScriptedVenue, buy, sell
from hypothesis import given
from hypothesis import strategies as st
from ladder_cell import LadderCell

from actors.base import Actor
from actors.cell import CellRestarted
from actors.executions import ExecutionMode, ExecutionReport
from actors.messages import BasketIntent, BasketUpdate, BookView, Checker, FeedStatus, KillLevel, KillState, StopCommand
from actors.strategies.base import Strategy, StrategyState
from actors.strategies.cash_and_carry import CashAndCarry, CashAndCarryConfig
from actors.strategies.scripted import Scripted, ScriptedAction, ScriptedConfig
from venues.model.instrument import UnknownInstrumentError
from venues.model.money import ZERO
from venues.model.order import Side
from venues.port import MarkPrice, Report

HOUR = 3600 * SECOND


def quotes(
    cell: Harness, spot: tuple[str, str] = ("99.99", "100.00"), perp: tuple[str, str] = ("100.2", "100.3")
) -> None:
    cell.quote(SPOT, *spot)
    cell.quote(PERP, *perp)


# The face for users


class BuyDip(Strategy):
    """Ten lines: a carry whenever spot is under 100, taken off once it is balanced."""

    def on_book(self, now: int, view: BookView) -> None:
        if view.instrument == SPOT.id and not self.baskets and self.price(SPOT.id, view.ask) < 100:
            qty = Decimal("0.5")
            self.open_basket(now, self.leg("acc", SPOT.id, Side.BUY, qty), self.leg("acc", PERP.id, Side.SELL, qty))

    def on_basket(self, now: int, update: BasketUpdate) -> None:
        if self.is_open(update.basket_id):
            self.close_basket(now, update.basket_id)


def test_a_user_strategy_is_a_few_lines() -> None:
    strategy = BuyDip(SPECS, name="dip")
    cell = Harness(strategy)
    quotes(cell)
    assert cell.venue.positions() == {}
    cell.quote(SPOT, "99.90", "99.91")
    assert cell.states("dip-1") == ["planned", "reserved", "working", "balanced", "flat"]
    assert cell.venue.positions() == {SPOT.id: ZERO, PERP.id: ZERO}
    assert strategy.baskets == {}
    assert strategy.state.decisions == 3


@define
class Counting(StrategyState):
    ticks: int = 0


class OwnState(Strategy):
    State = Counting

    def on_book(self, now: int, view: BookView) -> None:
        self.state.ticks += 1


def test_a_user_strategy_keeps_its_own_state_through_a_snapshot() -> None:
    strategy = OwnState(SPECS)
    cell = Harness(strategy)
    quotes(cell)
    fresh = OwnState(SPECS)
    fresh.restore(json.loads(json.dumps(strategy.snapshot())))
    assert fresh.state == strategy.state
    assert (fresh.state.ticks, fresh.state.decisions) == (2, 2)


def test_a_strategy_sees_only_live_books_and_forgets_those_of_before_a_gap() -> None:
    strategy = OwnState(SPECS)
    cell = Harness(strategy)
    cell.depth(SPOT, [("1.00", "1")], [("2.00", "1")])
    cell.show(SPOT)
    assert strategy.state.ticks == 0
    assert strategy.book(SPOT.id) is None
    cell.feed(FeedStatus(cell.now, SPOT.id, True))
    cell.show(SPOT)
    assert strategy.book(SPOT.id) is not None
    cell.feed(FeedStatus(cell.now, SPOT.id, False, "gap"))
    assert strategy.book(SPOT.id) is None


class BuyOnce(Strategy):
    """Trades one instrument without a basket, for a sum of money."""

    State = Counting

    def on_book(self, now: int, view: BookView) -> None:
        qty = self.size(view.instrument, D(2_500))
        if qty and self.state.next_basket == 1:
            self.execute(now, "acc", view.instrument, Side.BUY, qty, mode=ExecutionMode.LIMIT_ONLY)

    def on_execution(self, now: int, report: ExecutionReport) -> None:
        self.state.ticks += 1


def test_a_strategy_executes_and_hears_of_its_own_ends_alone() -> None:
    strategy, other = BuyOnce(ladder_cell.SPECS, name="once"), OwnState(ladder_cell.SPECS, name="other")
    desk = LadderCell(strategy, other)
    desk.book("999.9 x 5", "1000.1 x 5")
    # 2,500 at the mid of 1,000
    assert desk.orders() == [("999.9", "2.500", "GTX")]
    assert strategy.executions == {"once-1": D("2.500")}
    assert desk.parent("once-1").intent.decision_price == 1_000
    desk.feed(*desk.venue.fill(desk.now, desk.last, "2.5"))
    assert (strategy.executions, strategy.state.ticks) == ({}, 1)


def test_sizes_need_live_books() -> None:
    strategy = OwnState(SPECS)
    cell = Harness(strategy)
    assert strategy.size(PERP.id, D(25_000)) is None
    cell.quote(PERP, "61234.4", "61234.6")
    # facts/execution.md 4.7
    assert strategy.size(PERP.id, D(25_000)) == D("0.408")
    assert strategy.common_size(D(25_000), PERP.id, COARSE.id) is None
    cell.quote(COARSE, "61234", "61235")
    assert strategy.common_size(D(25_000), PERP.id, COARSE.id) == (D("0.4"), D(40))


def test_nothing_to_close_closes_nothing() -> None:
    strategy = OwnState(SPECS)
    assert strategy.close_basket(1, "nobody") is None


# Cash and carry


def carry(**changes: Any) -> CashAndCarry:
    values: dict[str, Any] = {
        "spot": SPOT.id,
        "perpetual": PERP.id,
        "spot_account": "acc",
        "perpetual_account": "acc",
        "qty": D(1),
        "entry_bps": D(20),
        "exit_bps": D(5),
        "max_hold_ns": HOUR,
    }
    return CashAndCarry(SPECS, CashAndCarryConfig(**(values | changes)), "carry")


def opened(strategy: CashAndCarry) -> int:
    return strategy.state.next_basket - 1


# Basis to enter: (perpetual bid - spot ask) / spot ask.
ENTRIES = [
    ("100.00", "100.2", "20", True),  # exactly 20 bps
    ("100.01", "100.2", "20", False),  # 18.998 bps
    ("99.99", "100.2", "20", True),
    ("100.00", "100.2", "20.0001", False),
    ("100.00", "99.9", "-10", True),  # exactly -10 bps
    ("100.00", "99.9", "-9.9999", False),
    ("61686.00", "61659.7", "-5", True),  # 2024-08-08: -4.26 bps
    ("61686.00", "61659.7", "-4", False),
]


@pytest.mark.parametrize(("spot_ask", "perp_bid", "entry", "enters"), ENTRIES)
def test_the_basis_to_enter_is_compared_exactly(spot_ask: str, perp_bid: str, entry: str, enters: bool) -> None:
    strategy = carry(entry_bps=D(entry), exit_bps=D(-1000))
    cell = Harness(strategy)
    ask, bid = D(spot_ask), D(perp_bid)
    quotes(cell, (str(ask - D("0.01")), str(ask)), (str(bid), str(bid + D("0.1"))))
    assert opened(strategy) == enters


@given(st.integers(1, 10**7), st.integers(1, 10**6), st.integers(-(10**6), 10**6))
def test_integers_say_the_same_as_decimals(spot_ask: int, perp_bid: int, entry: int) -> None:
    strategy = carry(entry_bps=entry * D("0.001"), exit_bps=D(-(10**6)))
    cell = Harness(strategy)
    for spec, bid, ask in ((SPOT, spot_ask - 1, spot_ask), (PERP, perp_bid, perp_bid + 1)):
        cell.feed(FeedStatus(cell.now, spec.id, True))
        strategy.handle(cell.now, BookView(cell.now, spec.id, bid, 1, ask, 1))
    ask_price, bid_price = SPOT.price(spot_ask), PERP.price(perp_bid)
    wide = (bid_price - ask_price) * 10_000 >= entry * D("0.001") * ask_price
    assert opened(strategy) == wide


@pytest.mark.parametrize(
    ("spot_bid", "perp_ask", "leaves"),
    [("100.00", "100.0", True), ("99.95", "100.0", False), ("100.00", "100.1", False)],
)
def test_it_leaves_when_the_basis_is_narrow(spot_bid: str, perp_ask: str, leaves: bool) -> None:
    # Leave at (perpetual ask - spot bid) / spot bid <= 5 bps: 0, 5.0025 and 10 bps.
    strategy = carry()
    cell = Harness(strategy)
    quotes(cell)
    assert cell.states("carry-1")[-1] == "balanced"
    cell.quote(SPOT, spot_bid, str(D(spot_bid) + D("0.01")))
    cell.quote(PERP, str(D(perp_ask) - D("0.1")), perp_ask)
    assert (cell.states("carry-1")[-1] == "flat") is leaves
    assert cell.venue.net_base() == ZERO


def test_it_leaves_after_its_time_whatever_the_basis() -> None:
    cell = Harness(carry())
    quotes(cell)
    cell.advance(HOUR - 1)
    assert cell.states("carry-1")[-1] == "balanced"
    cell.advance(1)
    assert cell.states("carry-1")[-1] == "flat"


def test_a_refused_close_is_tried_again() -> None:
    cell = Harness(carry())
    quotes(cell)
    cell.desk.state.refusing = {Checker.LIQUIDITY: "thin"}
    cell.advance(HOUR + 5 * SECOND)
    assert cell.states("carry-1")[-1] == "balanced"
    cell.desk.state.refusing = {}
    cell.advance(2 * SECOND)
    assert cell.states("carry-1")[-1] == "flat"


def test_half_a_carry_is_taken_off_at_once() -> None:
    """The spot was refused for good and the perpetual was not: nothing to hold for an hour."""
    cell = Harness(carry(deadline_ns=4 * SECOND))
    cell.venue.by_instrument[SPOT.id] = [Outcome(is_rejected=True) for _ in range(50)]
    cell.venue.by_instrument[PERP.id] = [Outcome(), *(Outcome(is_rejected=True) for _ in range(50))]
    quotes(cell)
    cell.advance(4 * SECOND)
    assert cell.states("carry-1")[-1] == "broken"
    cell.venue.by_instrument.clear()
    cell.advance(3 * SECOND)
    assert cell.states("carry-1")[-1] == "flat"
    assert cell.venue.positions()[PERP.id] == ZERO


def test_a_stopping_desk_asks_for_no_close() -> None:
    cell = Harness(carry())
    quotes(cell)
    cell.tell(StopCommand(cell.now, "end"))
    cell.advance(2 * HOUR)
    assert cell.states("carry-1")[-1] == "balanced"
    assert [update.basket_id for update in cell.seen(BasketUpdate) if update.closes] == []


def test_it_cools_down_and_counts_its_baskets() -> None:
    strategy = carry(cooldown_ns=60 * SECOND, max_baskets=2, max_hold_ns=SECOND)
    cell = Harness(strategy)
    quotes(cell)
    cell.advance(2 * SECOND)
    assert cell.states("carry-1")[-1] == "flat"
    quotes(cell)
    assert strategy.state.opened == 1
    cell.advance(60 * SECOND)
    for _ in range(3):
        quotes(cell)
        cell.advance(100 * SECOND)
    assert strategy.state.opened == 2
    assert strategy.state.basket == ""


def test_a_denied_basket_does_not_count() -> None:
    strategy = carry(max_baskets=1)
    cell = Harness(strategy)
    cell.desk.state.refusing = {Checker.MARGIN: "short"}
    quotes(cell)
    assert (strategy.state.opened, strategy.state.basket) == (0, "")
    cell.desk.state.refusing = {}
    cell.advance(2 * SECOND)
    quotes(cell)
    assert strategy.state.opened == 1


def mark(cell: Harness, rate: str | None, stamp: int | None) -> Report:
    return MarkPrice(cell.now, PERP.id, D(100), D(100), None if rate is None else D(rate), stamp)


# Basis 20 bps, fees 2 x (10 + 5) = 30 bps; one hour of holding sees one stamp in half an hour, none in two hours.
NETS = [
    ("0.0020", HOUR // 2, "10", True),  # 20 + 20 - 30 = 10
    ("0.0019", HOUR // 2, "10", False),
    ("0.0020", 2 * HOUR, "10", False),
    ("0.0020", 2 * HOUR, "-10", True),  # 20 - 30 = -10, no funding
    ("-0.0001", HOUR // 2, "-10", False),
    (None, HOUR // 2, "-1000", False),
    ("NaN", HOUR // 2, "-1000", False),
    ("0.01", None, "-1000", False),
]


@pytest.mark.parametrize(("rate", "stamp", "least", "enters"), NETS)
def test_the_net_edge_counts_funding_and_four_fees(
    rate: str | None, stamp: int | None, least: str, enters: bool
) -> None:
    strategy = carry(min_net_bps=D(least))
    cell = Harness(strategy)
    cell.feed(mark(cell, rate, None if stamp is None else cell.now + stamp))
    quotes(cell)
    assert opened(strategy) == enters


@pytest.mark.parametrize(("ahead", "enters"), [(599, False), (601, True), (28_800 - 599, False), (28_800 - 601, True)])
def test_no_entry_near_a_funding_stamp(ahead: int, enters: bool) -> None:
    strategy = carry(funding_blackout_ns=600 * SECOND)
    cell = Harness(strategy)
    quotes(cell)
    assert opened(strategy) == 0, "an unknown stamp is near"
    cell.feed(mark(cell, "0.0001", cell.now + ahead * SECOND))
    quotes(cell)
    assert opened(strategy) == enters


@pytest.mark.parametrize("what", ["stop", "kill", "stale", "dead"])
def test_it_does_not_open_when(what: str) -> None:
    strategy = carry()
    cell = Harness(strategy)
    if what == "stop":
        cell.tell(StopCommand(cell.now, "end"))
    elif what == "kill":
        cell.tell(KillState(cell.now, KillLevel.REDUCE_ONLY, "t", ""))
    cell.quote(SPOT, "99.99", "100.00")
    if what == "stale":
        cell.advance(11 * SECOND)
    elif what == "dead":
        cell.feed(FeedStatus(cell.now, SPOT.id, False, "gap"))
    cell.quote(PERP, "100.2", "100.3")
    assert opened(strategy) == 0


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"qty": ZERO}, "qty"),
        ({"qty": D("NaN")}, "qty"),
        ({"entry_bps": D("NaN")}, "entry_bps"),
        ({"exit_bps": D("Infinity")}, "exit_bps"),
        ({"max_hold_ns": 0}, "max_hold_ns"),
        ({"min_net_bps": D("NaN")}, "min_net_bps"),
    ],
)
def test_a_configuration_that_means_nothing_names_its_field(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        carry(**changed)


def test_a_pair_that_is_no_carry_is_refused() -> None:
    with pytest.raises(UnknownInstrumentError):
        carry(spot="nobody:X")
    with pytest.raises(ValueError, match="spot"):
        carry(spot=PERP.id, perpetual=SPOT.id)


def test_a_rebuilt_cell_still_ends_the_hold() -> None:
    cell = Harness(carry())
    quotes(cell)
    cell.dispatcher._timers.pending.clear()
    cell.tell(CellRestarted(cell.now, 1, "x", "y"))
    cell.advance(HOUR + SECOND)
    quotes(cell)
    assert cell.states("carry-1")[-1] == "flat"


def test_the_carry_comes_back_from_a_snapshot() -> None:
    strategy = carry()
    cell = Harness(strategy)
    cell.feed(mark(cell, "0.0001", cell.now + HOUR))
    quotes(cell)
    fresh = carry()
    fresh.restore(json.loads(json.dumps(strategy.snapshot())))
    assert fresh.state == strategy.state


# The script


def script(*actions: ScriptedAction) -> Scripted:
    return Scripted(SPECS, ScriptedConfig(actions), "script")


def test_a_script_acts_at_its_times() -> None:
    legs = (buy(SPOT, "1"), sell(PERP, "1"))
    strategy = script(
        ScriptedAction(2 * SECOND, "a", legs), ScriptedAction(5 * SECOND, "a"), ScriptedAction(6 * SECOND, "b", legs)
    )
    cell = Harness(strategy)
    quotes(cell)
    assert strategy.baskets == {}
    cell.advance(2 * SECOND)
    assert cell.states("script-1")[-1] == "balanced"
    cell.advance(3 * SECOND)
    assert cell.states("script-1")[-1] == "flat"
    cell.advance(SECOND)
    assert cell.states("script-3")[-1] == "balanced"


def test_a_script_waits_for_live_books_and_for_its_baskets() -> None:
    legs = (buy(SPOT, "1"), sell(PERP, "1"))
    strategy = script(ScriptedAction(0, "a", legs), ScriptedAction(0, "a"))
    cell = Harness(strategy, venue=ScriptedVenue(by_instrument={PERP.id: [Outcome(is_lost=True)]}, failing_queries=4))
    cell.advance(10 * SECOND)
    assert strategy.state.done == 0
    quotes(cell)
    assert strategy.state.done == 1
    for _ in range(20):
        cell.advance(SECOND)
        quotes(cell)
    assert cell.states("script-1")[-1] == "flat"


def test_a_script_leaves_out_the_close_of_what_was_denied() -> None:
    strategy = script(ScriptedAction(0, "a", (buy(SPOT, "1"),)), ScriptedAction(0, "a"))
    cell = Harness(strategy)
    quotes(cell)
    cell.quote(SPOT, "99.98", "99.99")
    assert strategy.state.done == 2
    assert cell.states("script-1")[-1] == "denied"


@pytest.mark.parametrize(
    ("actions", "why"),
    [
        ([ScriptedAction(5, "a", (buy(SPOT, "1"),)), ScriptedAction(1, "a")], r"actions\[1\].after_ns"),
        ([ScriptedAction(0, "a")], r"actions\[0\].basket"),
        ([ScriptedAction(0, "a", (buy(SPOT, "1"),))] * 2, r"actions\[1\].basket"),
    ],
)
def test_an_incoherent_script_names_the_action(actions: list[ScriptedAction], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ScriptedConfig(tuple(actions))


def test_a_script_comes_back_from_a_snapshot() -> None:
    strategy = script(ScriptedAction(0, "a", (buy(SPOT, "1"), sell(PERP, "1"))), ScriptedAction(HOUR, "a"))
    cell = Harness(strategy)
    quotes(cell)
    fresh: Actor = script(*strategy.config.actions)
    fresh.restore(json.loads(json.dumps(strategy.snapshot())))
    assert fresh.state == strategy.state


def test_evolving_a_config_validates_again() -> None:
    with pytest.raises(ValueError, match="qty"):
        evolve(carry().config, qty=D(-1))


def test_intents_name_their_strategy() -> None:
    assert BasketIntent in Strategy.publishes
