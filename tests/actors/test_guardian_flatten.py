"""The guard alone against simulated venues in virtual time: what it leaves, and what the book looks like on the way."""

from decimal import Decimal

import pytest
from guard_harness import ETH, MS, PERP, SECOND, SPOT, D, FakeDesk, Rig, flatten

from actors.control import Baselines
from actors.guardian_messages import Charge, Targets
from actors.guardian_records import Course, Remembered
from actors.messages import KillLevel
from venues.model.account import PositionMode
from venues.model.order import OrderType, PositionSide, Side
from venues.port import (
    CancelAll,
    InstrumentState,
    InstrumentStatus,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OutcomeUnknown,
    PositionReport,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    Report,
    SubmitOrder,
)

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


def carry(qty: str = "1", **options: object) -> Rig:
    """Long spot, short the perpetual, and half a bitcoin that was there before."""
    made = Rig(btc="0.5", **options)  # type: ignore[arg-type]
    made.hold("cash", SPOT, qty)
    made.hold("fut", PERP, f"-{qty}")
    return made.start()


def is_flat(made: Rig) -> bool:
    return made.guardian.state.flattening.course is Course.FLAT


def to_the_end(made: Rig, within_ns: int = 60 * SECOND) -> int:
    """Run until the guard says that the book is flat; return how long that took."""
    begun = made.now
    made.run_until(lambda: is_flat(made), within_ns)
    assert is_flat(made), made.guardian.state.flattening
    return made.now - begun


def net(made: Rig) -> Decimal:
    """The book's open base quantity, without what was there before."""
    return made.position("cash", SPOT) - D(made.btc) + made.position("fut", PERP)


def orders(made: Rig) -> list[SubmitOrder]:
    return made.all_sent(SubmitOrder)


def test_a_carry_is_closed_in_two_round_trips_and_proven_flat():
    made = flatten(carry())
    assert to_the_end(made) < 200 * MS
    assert (made.position("cash", SPOT), made.position("fut", PERP), made.resting()) == (D("0.5"), D(0), 0)
    assert [one.qty for one in orders(made)] == [1, 1]
    assert made.sent[-1][0] - made.sent[0][0] >= made.config.round_ns, "looked at twice"


def test_thin_books_are_taken_in_equal_clips():
    made = carry("3")
    made.quote(PERP, "0.2", levels=1)
    made.quote(SPOT, "1", levels=1)
    seen = []

    def refill() -> None:
        seen.append(net(made))
        made.quote(PERP, "0.2", levels=1)
        made.quote(SPOT, "1", levels=1)
        made.at(5 * MS, refill)

    made.at(5 * MS, refill)
    to_the_end(flatten(made))
    assert (made.position("cash", SPOT), made.position("fut", PERP)) == (D("0.5"), D(0))
    assert max(map(abs, seen)) <= D("0.1"), "never more than a clip apart"
    assert max(one.qty for one in orders(made)) == D("0.1")


def test_a_leg_that_is_not_traded_holds_up_its_other_leg():
    made = carry("1")
    made.quote(PERP, "0.4", levels=1)
    made.refuses = lambda command: isinstance(command, SubmitOrder) and command.instrument == SPOT.id
    flatten(made).run(400 * MS)
    assert net(made) == D("0.2"), "one clip of the perpetual, then nothing more in bitcoin"
    made.refuses = lambda command: False
    made.quote(PERP)
    to_the_end(made)
    assert (made.position("cash", SPOT), made.position("fut", PERP)) == (D("0.5"), D(0))


def test_the_naked_part_goes_first():
    made = carry("1")
    made.hold("fut", PERP, "-2")
    nets: list[Decimal] = []

    def watch(_: Report) -> bool:
        nets.append(net(made))
        return False

    made.loses = watch
    to_the_end(flatten(made))
    first = orders(made)[0]
    assert (first.instrument, first.qty) == (PERP.id, D(2))
    assert nets == sorted(nets), "it only shrinks"


def test_both_sides_of_a_hedged_account():
    made = Rig(mode=PositionMode.HEDGE, btc="0.5")
    made.hold("fut", PERP, "2", LONG)
    made.hold("fut", PERP, "-3", SHORT)
    made.hold("cash", SPOT, "1")
    made.start()
    to_the_end(flatten(made))
    assert made.position("fut", PERP, LONG) == made.position("fut", PERP, SHORT) == 0
    assert made.position("cash", SPOT) == D("0.5")
    assert all(not one.reduce_only for one in orders(made))
    assert {one.position_side for one in orders(made) if one.instrument == PERP.id} == {LONG, SHORT}


def test_positions_that_nobody_of_ours_opened():
    made = Rig().start()
    made.hold("fut", ETH, "7")
    made.hold("fut", PERP, "-0.5")
    to_the_end(flatten(made))
    assert made.position("fut", ETH) == made.position("fut", PERP) == 0


# Spot and its baseline

BASELINES = [
    ("from the configuration", None, "1.5", "0.5"),
    ("as the desk says", {"BTC": D("1.2")}, "1.5", "1.2"),
    ("all of it is the owner's", {"BTC": D(2)}, "1.5", "1.5"),
    ("what the desk does not speak of", {"USDT": D(5)}, "1.5", "0.5"),
]


@pytest.mark.parametrize(("told", "before", "after"), [row[1:] for row in BASELINES], ids=[row[0] for row in BASELINES])
def test_only_what_is_above_the_baseline_is_sold(told, before, after):
    made = Rig(btc="0.5")
    made.hold("cash", SPOT, "1")
    made.start()
    assert made.position("cash", SPOT) == D(before)
    if told is not None:
        made.take(Baselines(made.now, "cash", told))
    to_the_end(flatten(made))
    assert made.position("cash", SPOT) == D(after)


def test_a_reverse_carry_is_bought_back_as_far_as_something_stands_against_it():
    made = Rig(btc="2")
    made.hold("cash", SPOT, "-1.5")
    made.hold("fut", PERP, "1")
    made.start()
    to_the_end(flatten(made))
    assert (made.position("cash", SPOT), made.position("fut", PERP)) == (D("1.5"), D(0))
    assert made.all_effects(Targets)[0].balances == {"BTC": D("1.5")}


def test_it_is_bought_back_even_when_the_other_leg_is_gone_by_then():
    made = Rig(btc="2")
    made.hold("cash", SPOT, "-1")
    made.hold("fut", PERP, "1")
    made.start()
    made.refuses = lambda command: isinstance(command, SubmitOrder) and command.account == "cash"
    flatten(made).run_until(lambda: made.position("fut", PERP) == 0)
    made.refuses = lambda command: False
    to_the_end(made)
    assert made.position("cash", SPOT) == 2


def test_a_restart_in_the_middle_goes_on_towards_the_same_balances():
    made = Rig(btc="2")
    made.hold("cash", SPOT, "-1")
    targets = {"cash": {"BTC": D(2)}}
    made = Rig(btc="2", remembered=Remembered(8, KillLevel.FLATTEN, "operator", "x", True, targets=targets))
    made.hold("cash", SPOT, "-1")
    made.start()
    to_the_end(made)
    assert made.position("cash", SPOT) == 2


# Venues that fail


def test_a_venue_that_is_down_holds_up_the_pair():
    made = carry()
    made.hold("fut", ETH, "5")
    made.go_down("spot")
    flatten(made).run(3 * SECOND)
    assert made.position("fut", PERP) == -1, "neutral as long as one leg cannot be traded"
    assert made.position("fut", ETH) == 0, "what has no leg there goes on"
    assert not is_flat(made)
    assert "cash is not known: down" in made.guardian.state.flattening.left
    made.come_up("spot")
    assert to_the_end(made) < SECOND
    assert (made.position("cash", SPOT), made.position("fut", PERP)) == (D("0.5"), D(0))


@pytest.mark.parametrize("after_ms", range(0, 60, 3))
def test_a_venue_that_goes_down_in_the_middle(after_ms):
    made = carry("3")
    made.quote(PERP, "2", levels=1)
    flatten(made)
    made.at(after_ms * MS, lambda: made.go_down("spot"))
    made.at(2 * SECOND, lambda: made.come_up("spot"))
    made.at(1_500 * MS, lambda: made.quote(PERP, "2", levels=1))
    made.run(3 * SECOND)
    made.quote(PERP)
    to_the_end(made)
    assert (made.position("cash", SPOT), made.position("fut", PERP)) == (D("0.5"), D(0))


def test_a_query_that_failed_is_no_empty_account():
    made = carry()

    def fails(report: Report) -> bool:
        if not isinstance(report, QueryResult) or report.kind is not QueryKind.POSITIONS:
            return False
        made.take(QueryFailed(made.now, report.account, report.query_id, report.kind, "503"))
        return True

    made.loses = fails
    flatten(made).run(5 * SECOND)
    assert not is_flat(made)
    assert orders(made) == []
    made.loses = lambda report: False
    to_the_end(made)
    assert made.position("fut", PERP) == 0


def test_an_answer_without_balances_is_no_answer():
    made = carry()

    def hollow(report: Report) -> bool:
        if not isinstance(report, QueryResult) or report.kind is not QueryKind.ACCOUNT:
            return False
        made.take(QueryResult(report.ts, report.account, report.query_id, report.kind))
        return True

    made.loses = hollow
    flatten(made).run(2 * SECOND)
    assert orders(made) == []
    assert "cash is not known: an answer without balances" in made.guardian.state.flattening.left


def test_a_position_in_what_nobody_described_is_closed_at_the_market():
    made = Rig().start()
    told = PositionReport(made.now, "fut", "perp:DOGE", PositionSide.BOTH, D(-70))

    def also(report: Report) -> bool:
        if isinstance(report, QueryResult) and report.kind is QueryKind.POSITIONS and not orders(made):
            positions = (*report.positions, told)
            made.take(QueryResult(report.ts, report.account, report.query_id, report.kind, positions=positions))
            return True
        return False

    made.loses = also
    to_the_end(flatten(made))
    (order,) = orders(made)
    assert (order.instrument, order.side, order.qty, order.type) == ("perp:DOGE", Side.BUY, D(70), OrderType.MARKET)
    assert order.reduce_only


LOST = [
    ("every fill", lambda report: isinstance(report, OrderFilled)),
    ("every end", lambda report: isinstance(report, OrderExpired)),
    ("every report on orders", lambda report: hasattr(report, "client_order_id")),
]


@pytest.mark.parametrize("loses", [row[1] for row in LOST], ids=[row[0] for row in LOST])
def test_reports_that_never_arrive(loses):
    made = carry("2")
    made.quote(PERP, "1", levels=1)
    made.loses = loses
    made.at(SECOND, lambda: made.quote(PERP))
    to_the_end(flatten(made))
    assert (made.position("cash", SPOT), made.position("fut", PERP)) == (D("0.5"), D(0))
    assert [one.client_order_id for one in made.all_sent(Query) if one.kind is QueryKind.ORDER]


def test_an_order_that_never_arrives_blocks_its_group_until_its_absence_is_proven_twice():
    made = carry()
    lost: list[SubmitOrder] = []

    def refuses(command: object) -> bool:
        if isinstance(command, SubmitOrder) and command.instrument == SPOT.id and not lost:
            lost.append(command)
            return True
        return False

    made.refuses = refuses
    flatten(made).run(made.config.order_timeout_ns + made.config.quiet_ns)
    assert len(orders(made)) == 2, "nothing further in bitcoin"
    assert any(lost[0].client_order_id in why for why in made.guardian.state.flattening.left)
    to_the_end(made)
    assert made.position("cash", SPOT) == D("0.5")
    assert len({one.client_order_id for one in orders(made)}) == len(orders(made))


def test_an_order_that_arrives_late_is_not_sent_again():
    """The wire holds it back for two seconds: the guard asks, waits, and trades only what is left."""
    made = carry()
    held: list[SubmitOrder] = []

    def refuses(command: object) -> bool:
        if isinstance(command, SubmitOrder) and command.instrument == SPOT.id and not held:
            held.append(command)
            made.at(2 * SECOND, lambda: made.exchange.send(made.now, held[0]))
            return True
        return False

    made.refuses = refuses
    to_the_end(flatten(made))
    assert made.position("cash", SPOT) == D("0.5")
    assert [one.instrument for one in orders(made)].count(SPOT.id) == 1


def test_an_outcome_the_venue_cannot_tell_is_asked_for_at_once():
    made = carry()
    flatten(made).run_until(lambda: bool(orders(made)))
    one = orders(made)[0]
    ids = (one.account, one.instrument, one.client_order_id)
    made.take(OutcomeUnknown(made.now, *ids, "SubmitOrder", "503"))
    assert [asked.client_order_id for _, asked in made.sent[-1:] if isinstance(asked, Query)] == [one.client_order_id]
    to_the_end(made)
    assert made.position("cash", SPOT) == D("0.5")


def test_an_account_that_tells_the_older_state_is_not_sold_twice():
    """For half a second after the fill the balance query still shows what was sold."""
    made = carry()
    first: list[QueryResult] = []
    began: list[int] = []

    def stale(report: Report) -> bool:
        if not isinstance(report, QueryResult) or report.kind is not QueryKind.ACCOUNT:
            return False
        if report.balances == {} or not first:
            first.append(report)
            return False
        began.append(made.now)
        if made.now - began[0] < 500 * MS:
            made.take(QueryResult(report.ts, report.account, report.query_id, report.kind, balances=first[0].balances))
            return True
        return False

    made.loses = stale
    to_the_end(flatten(made))
    assert made.position("cash", SPOT) == D("0.5")
    assert [one.qty for one in orders(made) if one.instrument == SPOT.id] == [1]


def test_a_market_that_does_not_trade_is_tried_until_it_does():
    made = carry()
    made.exchange.on_market(made.now, InstrumentStatus(made.now, PERP.id, InstrumentState.HALT))
    flatten(made).run(5 * SECOND)
    assert any("halt" in why for why in made.guardian.state.flattening.left)
    assert made.position("cash", SPOT) == D("0.5")
    made.exchange.on_market(made.now, InstrumentStatus(made.now, PERP.id, InstrumentState.OPEN))
    to_the_end(made)
    assert made.position("fut", PERP) == 0


def test_without_a_book_derivatives_go_to_market_and_spot_waits_a_while():
    made = Rig(btc="0.5")
    made.hold("fut", ETH, "1")
    made.hold("cash", SPOT, "1")
    made.start()
    made.loses = lambda report: type(report).__name__ == "BookSnapshot"
    flatten(made)
    made.run_until(lambda: made.position("fut", ETH) == 0)
    assert made.position("cash", SPOT) == D("1.5")
    to_the_end(made)
    assert made.position("cash", SPOT) == D("0.5")
    assert {one.type for one in orders(made)} == {OrderType.MARKET}


def test_orders_that_rest_are_cancelled_before_their_group_is_traded():
    made = carry()
    made.rest("fut", PERP, "-0.5", "12000")
    made.refuses = lambda command: isinstance(command, CancelAll)
    flatten(made).run(SECOND)
    assert orders(made) == []
    assert "BTC: orders are open in perp:BTC" in made.guardian.state.flattening.left
    made.refuses = lambda command: False
    to_the_end(made)
    assert (made.position("cash", SPOT), made.position("fut", PERP), made.resting()) == (D("0.5"), D(0), 0)


def test_a_fill_that_comes_between_the_two_looks_is_found():
    made = carry()
    flatten(made).run_until(lambda: made.guardian.state.flattening.flat_looks == 1)
    made.hold("fut", PERP, "-0.3")
    to_the_end(made)
    assert made.position("fut", PERP) == 0


def test_dust_is_left_and_named():
    made = Rig(btc="0.5")
    made.venues["spot"].state.accounts["cash"].account.add("BTC", D("0.0004"))
    made.start()
    to_the_end(flatten(made))
    assert made.position("cash", SPOT) == D("0.5004")
    assert made.guardian.state.flattening.left == ["stays: cash spot:BTC 0.0004"]


def test_rejects_reach_deeper_and_are_told():
    made = carry()
    rejected: list[SubmitOrder] = []

    def refuses(command: object) -> bool:
        if not isinstance(command, SubmitOrder) or len(rejected) >= 6:
            return False
        rejected.append(command)
        ids = (command.account, command.instrument, command.client_order_id)
        made.at(MS, lambda: made.take(OrderRejected(made.now, *ids, "other", "no")))  # type: ignore[arg-type]
        return True

    made.refuses = refuses
    flatten(made).run_until(lambda: len(rejected) == 6)
    assert any(why.endswith("other: no") for why in made.guardian.state.flattening.left)
    to_the_end(made)
    bids = [one.price for one in orders(made) if one.instrument == SPOT.id]
    assert bids == [D("9980.00"), D("9950.00"), D("9900.00"), None]
    assert made.guardian.state.flattening.left == []


def test_a_desk_is_told_who_is_in_charge_before_the_first_order():
    made = carry()
    FakeDesk(made, is_deaf=True).join()
    made.run(SECOND)
    to_the_end(flatten(made))
    first = next(t for t, one in made.sent if isinstance(one, SubmitOrder))
    charge = next(t for t, one in made.effects if isinstance(one, Charge))
    assert charge <= next(t for t, one in made.told if getattr(one, "is_in_charge", False)) <= first
