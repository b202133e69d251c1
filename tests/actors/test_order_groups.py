"""Exits are exactly as large as what they protect, whatever fills when and in whatever order one hears of it."""

import json
from decimal import Decimal

import pytest
from attrs import evolve
from cell_harness import PERP, SECOND, SPECS, SPOT, D, changed, fill_of
from group_world import ACC, GroupWorld, bracket, buy_outside, oco
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.cell import CellRestarted
from actors.group_messages import GroupCommand, GroupState, GroupUpdate
from actors.group_plan import Role
from actors.group_terms import GroupDeny
from actors.messages import KillLevel, KillState, OrderRequest, ResumeCommand, StopCommand
from actors.order_groups import GroupConfig, OrderGroups
from actors.risk_checks import Reason
from venues.model.fill import FillReason
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, Side, TimeInForce
from venues.port import CancelOrder, OrderCanceled, RejectReason, SubmitOrder

SIDES = [Side.BUY, Side.SELL]


def kill(world: GroupWorld, level: KillLevel) -> None:
    world.tell(KillState(world.now, level, "test", "drill"))


# Brackets


@pytest.mark.parametrize("side", SIDES)
def test_exits_follow_the_fills_of_the_entry(side: Side) -> None:
    world = GroupWorld()
    world.tell(bracket(side))
    assert world.exits() == (ZERO, ZERO)
    for qty, total in (("0.2", "0.2"), ("0.3", "0.5"), ("0.5", "1")):
        world.market_fills(world.entry(), qty)
        assert world.exits() == (D(total), D(total))
    assert world.states() == [GroupState.OPENING, GroupState.PROTECTED]
    for order in (*world.stops(), *world.targets()):
        assert order.command.reduce_only
        assert order.command.side is side.opposite
        assert order.command.tif is TimeInForce.GTC
    assert {one.command.trigger_price for one in world.stops()} == {D(100) - 5 * side.sign}
    assert {one.command.price for one in world.targets()} == {D(100) + 5 * side.sign}


def test_a_stop_may_have_a_limit_and_hear_the_mark() -> None:
    world = GroupWorld()
    world.tell(bracket(stop_price=D(94), trigger_on_mark=True))
    world.market_fills(world.entry(), "1")
    (stop,) = world.stops()
    assert (stop.command.type, stop.command.price, stop.command.trigger_on_mark) == (OrderType.STOP_LIMIT, D(94), True)
    assert not world.targets()[0].command.trigger_on_mark


@pytest.mark.parametrize("which", ["target", "stop"])
def test_what_one_exit_fills_is_taken_off_the_other(which: str) -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    for qty, left in (("0.3", "0.7"), ("0.2", "0.5")):
        world.market_fills((world.targets() if which == "target" else world.stops())[0], qty)
        assert world.exits() == (D(left), D(left))
        assert world.venue.position == D(left)
    world.market_fills((world.targets() if which == "target" else world.stops())[0], "0.5")
    assert world.exits() == (ZERO, ZERO)
    assert world.venue.position == ZERO
    assert world.states()[-1] is GroupState.DONE


def test_an_entry_that_ends_early_leaves_exits_over_what_it_filled() -> None:
    world = GroupWorld()
    world.tell(bracket())
    entry = world.entry()
    world.market_fills(entry, "0.4")
    entry.status = OrderStatus.CANCELED
    world.reports.append(OrderCanceled(world.now, *entry.key, entry.filled))
    world.settle()
    assert world.exits() == (D("0.4"), D("0.4"))
    assert world.states() == [GroupState.OPENING, GroupState.PROTECTED]


def test_an_entry_that_the_gate_denies_ends_the_group() -> None:
    world = GroupWorld()
    world.gate.state.denying = lambda request: "price_collar: too far"
    world.tell(bracket())
    assert world.states() == [GroupState.OPENING, GroupState.DONE]
    assert "price_collar" in world.recorder.updates()[-1].why
    assert world.venue.orders == {}


def test_a_fill_while_the_sibling_is_being_cancelled_is_booked_and_the_rest_corrected() -> None:
    """The target fills, the stop's cancel is under way, and the stop fills as well: the position has turned."""
    world = GroupWorld(enforces=False)
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    world.is_prompt = False
    world.market_fills(world.targets()[0], "1")
    world.arrives(0)
    assert any(isinstance(one, CancelOrder) for one in world.commands)
    world.market_fills(world.stops()[0], "0.6")
    assert world.venue.position == D("-0.6")
    world.is_prompt = True
    world.settle()
    assert world.venue.position == ZERO
    (correction,) = world.recorder.requests(Role.CORRECTION)
    assert (correction.side, correction.qty, correction.reduce_only) == (Side.BUY, D("0.6"), True)
    assert world.states()[-1] is GroupState.DONE


def test_exits_smaller_than_the_least_order_go_together_with_the_next() -> None:
    spec = evolve(PERP, min_qty=D("0.1"))
    world = GroupWorld()
    world.groups.instruments = {**SPECS, PERP.id: spec}
    world.tell(bracket())
    world.market_fills(world.entry(), "0.05")
    assert world.exits() == (ZERO, ZERO)
    world.market_fills(world.entry(), "0.1")
    assert world.exits() == (D("0.15"), D("0.15"))
    world.market_fills(world.entry(), "0.05")
    assert world.exits() == (D("0.2"), D("0.2"))
    assert len(world.stops()) == 1


def test_a_position_that_somebody_else_shrank_is_not_protected_twice() -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    buy_outside(world, "-0.4")
    assert world.exits() == (D("0.6"), D("0.6"))
    buy_outside(world, "-0.1")
    buy_outside(world, "0.5")
    assert world.exits() == (D(1), D(1))
    assert world.recorder.incidents().count("group_netted") == 1


@pytest.mark.parametrize(("qty", "left"), [("0.4", "0.6"), ("1", "0")])
@pytest.mark.parametrize(
    ("reason", "client_id"), [(FillReason.ADL, ""), (FillReason.LIQUIDATION, ""), (FillReason.TAKER, "gd-1-1")]
)
def test_what_the_venue_or_the_guard_took_is_no_more_to_be_protected(
    qty: str, left: str, reason: FillReason, client_id: str
) -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    world.venue.position -= D(qty)
    order = SubmitOrder(world.now, ACC, PERP.id, client_id, Side.SELL, D(qty))
    world.tell(changed(fill_of(order, "adl", D(qty), D(100), ts=world.now), reason=reason))
    assert world.exits() == (D(left), D(left))
    assert world.group.open_qty == D(left)
    assert "group_netted" not in world.recorder.incidents()
    assert (world.states()[-1] is GroupState.DONE) is (left == "0")


def test_two_groups_share_what_is_there() -> None:
    world = GroupWorld()
    buy_outside(world, "1")
    world.tell(oco(qty="0.7"))
    world.tell(changed(oco(qty="0.7"), group_id="g2"))
    assert world.recorder.updates()[-1].state is GroupState.DENIED
    world.tell(changed(oco(qty="0.3"), group_id="g3"))
    assert world.exits() == (D(1), D(1))
    buy_outside(world, "-0.5")
    assert world.exits() == (D("0.5"), D("0.5"))


# Exits that fail


def test_a_stop_that_would_trigger_at_once_means_out_at_market() -> None:
    world = GroupWorld()
    world.venue.refuse = lambda order: RejectReason.WOULD_TRIGGER if order.type is OrderType.STOP_MARKET else None
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    assert world.venue.position == ZERO
    assert world.recorder.incidents() == ["group_stop_passed"]
    assert world.recorder.triggers() == []
    assert world.states()[-1] is GroupState.DONE


def test_a_position_whose_stop_is_refused_for_good_is_closed_and_told() -> None:
    world = GroupWorld(config=GroupConfig(attempts=2))
    world.venue.refuse = lambda order: RejectReason.OTHER if order.type is OrderType.STOP_MARKET else None
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    assert world.exits() == (ZERO, D(1))
    world.wait(2 * SECOND)
    assert len(world.recorder.requests(Role.STOP)) == 2
    assert world.venue.position == ZERO
    assert world.recorder.incidents() == ["group_unprotected"]
    assert world.recorder.triggers() == ["group_unprotected"]


def test_a_target_that_is_refused_for_good_leaves_the_stop() -> None:
    world = GroupWorld(config=GroupConfig(attempts=2))
    world.venue.refuse = lambda order: (
        RejectReason.PRICE_LIMIT if order.type is OrderType.LIMIT and order.reduce_only else None
    )
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    world.wait(20 * SECOND)
    assert len(world.recorder.requests(Role.TARGET)) == 2
    assert world.exits() == (D(1), ZERO)
    assert world.recorder.incidents() == ["group_without_target"]


def test_a_position_that_cannot_be_closed_either_is_broken_and_told() -> None:
    world = GroupWorld(config=GroupConfig(attempts=2))
    world.venue.refuse = lambda order: RejectReason.OTHER if order.reduce_only else None
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    world.wait(20 * SECOND)
    assert world.states()[-1] is GroupState.BROKEN
    assert world.venue.position == D(1)
    assert "group_broken" in world.recorder.incidents()
    assert len([one for one in world.recorder.seen if isinstance(one, OrderRequest)]) == 1 + 3 * 2


@pytest.mark.parametrize(
    "reason",
    [Reason.SESSION_CLOSED, Reason.VENUE_DOWN, Reason.READ_ONLY, Reason.MESSAGE_RATE, Reason.BACKLOG],
)
def test_a_refusal_that_passes_by_itself_is_no_attempt(reason: Reason) -> None:
    world = GroupWorld(config=GroupConfig(attempts=2))
    world.tell(bracket())
    world.gate.state.denying = lambda request: f"{reason}: wait"
    world.market_fills(world.entry(), "1")
    world.wait(30 * SECOND)
    assert world.exits() == (ZERO, ZERO)
    assert world.recorder.incidents() == []
    world.gate.state.denying = lambda request: ""
    world.wait(SECOND)
    assert world.exits() == (D(1), D(1))


# Kill levels and stops


def test_reduce_only_takes_the_entry_back_and_keeps_the_exits() -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "0.4")
    kill(world, KillLevel.REDUCE_ONLY)
    assert world.entry().status is OrderStatus.CANCELED
    assert world.exits() == (D("0.4"), D("0.4"))


def test_at_cancel_all_nothing_rests_and_arming_protects_again() -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "0.4")
    kill(world, KillLevel.CANCEL_ALL)
    assert world.venue.live(*OrderType) == []
    assert world.venue.position == D("0.4")
    assert world.recorder.incidents() == ["group_suspended"]
    assert world.states()[-1] is GroupState.SUSPENDED
    world.wait(10 * SECOND)
    assert world.venue.live(*OrderType) == []
    kill(world, KillLevel.ARMED)
    assert world.exits() == (D("0.4"), D("0.4"))


def test_flatten_closes_at_market() -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "0.4")
    kill(world, KillLevel.FLATTEN)
    assert world.venue.position == ZERO
    assert world.venue.live(*OrderType) == []
    assert world.states()[-1] is GroupState.DONE


def test_a_close_waits_for_exits_that_may_still_fill() -> None:
    world = GroupWorld(enforces=False)
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    world.is_prompt = False
    kill(world, KillLevel.FLATTEN)
    assert [type(one) for one in world.commands] == [CancelOrder, CancelOrder]
    world.market_fills(world.stops()[0], "1")
    world.is_prompt = True
    world.settle()
    assert world.venue.position == ZERO
    assert world.recorder.requests(Role.CLOSE) == []


@pytest.mark.parametrize(("closes", "position"), [(True, "0"), (False, "1")])
def test_a_stop_of_the_desk_closes_or_leaves_as_configured(closes: bool, position: str) -> None:
    world = GroupWorld(config=GroupConfig(closes_at_stop=closes))
    world.tell(bracket())
    world.market_fills(world.entry(), "1")
    world.tell(StopCommand(world.now, "end"))
    assert world.venue.live(*OrderType) == []
    assert world.venue.position == D(position)
    world.tell(ResumeCommand(world.now, "again"))
    assert world.exits() == (D(position), D(position))


@pytest.mark.parametrize(("closes", "position"), [(True, "0"), (False, "0.4")])
def test_a_group_is_ended_on_request(closes: bool, position: str) -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "0.4")
    world.tell(GroupCommand(world.now, "g1", closes))
    assert world.venue.live(*OrderType) == []
    assert world.venue.position == D(position)
    assert world.states()[-1] is (GroupState.DONE if closes else GroupState.RELEASED)


# What cannot be begun


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (changed(bracket(), instrument="x:Y"), GroupDeny.UNKNOWN_INSTRUMENT),
        (changed(bracket(), instrument=SPOT.id), GroupDeny.SPOT),
        (bracket(qty="0"), GroupDeny.BAD_QTY),
        (bracket(qty="-1"), GroupDeny.BAD_QTY),
        (bracket(qty="NaN"), GroupDeny.BAD_QTY),
        (bracket(qty="Infinity"), GroupDeny.BAD_QTY),
        (bracket(qty="0.0005"), GroupDeny.BAD_QTY),
        (bracket(stop_trigger=D("94.95")), GroupDeny.BAD_PRICE),
        (bracket(target_price=D("NaN")), GroupDeny.BAD_PRICE),
        (bracket(entry_price=D(-100)), GroupDeny.BAD_PRICE),
        (bracket(stop_price=ZERO), GroupDeny.BAD_PRICE),
        (bracket(stop_trigger=D(101)), GroupDeny.WRONG_SIDE),
        (bracket(target_price=D(99)), GroupDeny.WRONG_SIDE),
        (bracket(entry_price=None, stop_trigger=D(106)), GroupDeny.WRONG_SIDE),
        (bracket(Side.SELL, stop_trigger=D(95), target_price=D(105)), GroupDeny.WRONG_SIDE),
        (oco(), GroupDeny.NO_POSITION),
        (oco(Side.SELL), GroupDeny.NO_POSITION),
        (changed(bracket(), group_id=""), GroupDeny.DUPLICATE),
    ],
)
def test_what_makes_no_sense_is_denied_with_its_reason(request_: object, reason: GroupDeny) -> None:
    world = GroupWorld()
    world.tell(request_)  # type: ignore[arg-type]
    (update,) = world.recorder.updates()
    assert update.state is GroupState.DENIED
    assert update.why.startswith(f"{reason}:")
    assert world.venue.orders == {}


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (KillState(1, KillLevel.REDUCE_ONLY, "t", ""), GroupDeny.KILLED),
        (StopCommand(1, "end"), GroupDeny.STOPPING),
        (bracket(), GroupDeny.DUPLICATE),
    ],
)
def test_what_forbids_new_groups(before: object, reason: GroupDeny) -> None:
    world = GroupWorld()
    world.tell(before)  # type: ignore[arg-type]
    world.tell(bracket())
    assert world.recorder.updates()[-1].why.startswith(f"{reason}:")


def test_only_so_many_groups_are_at_work_and_only_so_many_remembered() -> None:
    world = GroupWorld(config=GroupConfig(groups_max=1, keep_groups=2))
    for number in range(4):
        world.tell(changed(bracket(qty="0.1"), group_id=f"g{number}"))
        world.tell(changed(bracket(qty="0.1"), group_id=f"h{number}"))
        assert world.recorder.updates()[-1].why.startswith("too_many")
        world.tell(GroupCommand(world.now, f"g{number}"))
    state = world.groups.state
    assert list(state.groups) == ["g2", "g3"]
    assert set(state.requests.values()) == {"g2", "g3"}
    assert state.active == {}


def test_a_long_life_keeps_few_orders_and_every_quantity() -> None:
    world = GroupWorld(config=GroupConfig(keep_children=5))
    world.tell(bracket(qty="20"))
    for _ in range(20):
        world.market_fills(world.entry(), "1")
        world.market_fills(world.targets()[0], "0.5")
        assert world.exits() == (world.venue.position, world.venue.position)
    assert world.venue.position == D(10)
    assert sum(child.is_final for child in world.group.children.values()) <= 5


# Restarts


def test_a_group_goes_on_from_its_snapshot() -> None:
    world = GroupWorld()
    world.tell(bracket())
    world.market_fills(world.entry(), "0.4")
    plain = json.loads(json.dumps(world.groups.snapshot()))
    again, done = OrderGroups(SPECS), Collected()
    again.out = detached_outbox("order_groups", done)
    again.restore(plain)
    assert again.state == world.groups.state
    again.handle(world.now, CellRestarted(world.now, 1, "x", "y"))
    assert [one for one in done.emitted if isinstance(one, OrderRequest)] == []


# Any order of events

LOTS = st.integers(1, 1000)


@settings(max_examples=150)
@given(data=st.data(), enforces=st.booleans(), side=st.sampled_from(SIDES))
def test_whatever_happens_when_exits_are_never_more_than_what_is_open(
    data: st.DataObject, enforces: bool, side: Side
) -> None:
    world = GroupWorld(is_prompt=False, enforces=enforces)
    world.tell(bracket(side))
    sign = side.sign
    for _ in range(data.draw(st.integers(5, 60))):
        kind = data.draw(st.sampled_from("ccrrrdfffet"))
        if kind == "c":
            world.venue_takes()
        elif kind in "rd" and world.reports:
            at = data.draw(st.integers(0, len(world.reports) - 1))
            world.arrives(at, is_repeated=kind == "d")
        elif kind in "fe":
            live = world.venue.live(*OrderType)
            # The entry fills more often than its share, or nothing would ever be open.
            live = [one for one in live if not one.command.reduce_only] if kind == "e" else live
            if live:
                world.market_fills(data.draw(st.sampled_from(live)), PERP.qty(data.draw(LOTS)))
        elif kind == "t":
            world.wait(data.draw(st.integers(1, SECOND)))
        check_books(world)
    world.is_prompt = True
    for _ in range(30):
        world.settle()
        world.wait(10 * SECOND)
        check_books(world)
    check_at_rest(world, sign)


def check_books(world: GroupWorld) -> None:
    group = world.group
    # What is being cancelled may still fill: a new order is placed for the rest alone.
    assert all(working <= max(ZERO, open_qty) for _, working, open_qty in world.groups.placed)
    world.groups.placed.clear()
    for role in (Role.STOP, Role.TARGET):
        steady = sum((c.leaves for c in group.children.values() if c.role is role and not c.is_canceling), ZERO)
        assert steady <= max(ZERO, group.open_qty)
    # One entry, and never more of it than was asked for.
    (entry,) = world.recorder.requests(Role.ENTRY)
    assert entry.qty == group.qty >= group.total_entered
    ids = [one.request_id for one in world.recorder.seen if isinstance(one, OrderRequest)]
    assert len(ids) == len(set(ids))


def check_at_rest(world: GroupWorld, sign: int) -> None:
    """Nothing is under way: books agree with the venue, and what is open has its exits."""
    group, position = world.group, world.venue.position * sign
    assert not world.commands
    assert not world.reports
    assert group.open_qty == position >= ZERO
    if group.state in (GroupState.OPENING, GroupState.PROTECTED):
        assert world.exits() == (position, position)
    else:
        assert group.state is GroupState.DONE
        assert position == ZERO
        assert world.exits() == (ZERO, ZERO)
    for client_id, tracked in world.manager.state.orders.items():
        unique = sum((fill.qty for fill in world.venue.fills if fill.client_order_id == client_id), ZERO)
        assert tracked.order.filled_qty == unique
    assert not [one for one in world.recorder.seen if isinstance(one, GroupUpdate) and one.entered > group.qty]


def test_the_world_can_turn_a_position_without_reduce_only() -> None:
    """The property above means something: this venue lets exits oversell when it does not enforce reduce-only."""
    world = GroupWorld(is_prompt=False, enforces=False)
    order = SubmitOrder(1, ACC, PERP.id, "x", Side.SELL, D(1), price=D(105), reduce_only=True)
    world.venue.take(order)
    world.market_fills(world.venue.orders["x"], Decimal(1))
    assert world.venue.position == D(-1)
