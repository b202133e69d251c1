"""What the desk's sockets show of a real desk, and what they do to it."""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from admin_desk import UNBOUND, MemoryDesk, Moment, Wire, caught_in_the_middle, listening
from attrs import evolve

from actors.flags import FlagMode
from actors.messages import Incident, KillLevel, KillTrigger, MismatchKind
from actors.sync_records import Episode, Suspect
from daemon.admin import views
from daemon.admin.calls import Caller, RefusedError, Role
from daemon.admin.desk import actor
from daemon.admin.methods import DeskMethods
from daemon.admin.params import LEVELS
from daemon.admin.protocol import Code
from daemon.live.sockets import Peer
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.model.position import position_key

VIEWS = (
    *(
        "status",
        "positions",
        "mismatches",
        "orders",
        "baskets",
        "margin",
        "funding",
        "events",
        "flags",
        "limits",
        "overview",
    ),
    *("incidents", "guards", "halts", "alerts", "version", "methods"),
)
ANN = Caller(Role.OPS, Peer(7, 1000, 100), "ann pid 7")


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> Moment:
    return caught_in_the_middle(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def desk(moment: Moment) -> MemoryDesk:
    return MemoryDesk(moment)


@pytest.fixture
async def ops(desk: MemoryDesk, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Wire]:
    path = tmp_path / "ops.sock"
    with listening(desk, path, Role.OPS, evolve(UNBOUND, poll_s=0.001)) as server:
        await nursery.start(server.run)
        wire = Wire(path)
        yield wire
        await wire.close()


async def done(wire: Wire, method: str, **params: Any) -> Any:
    answer = await wire.call(method, **params)
    assert "result" in answer, answer
    return answer["result"]


async def refused(wire: Wire, method: str, **params: Any) -> str:
    error = (await wire.call(method, **params))["error"]
    assert error["code"] == Code.REFUSED
    return str(error["message"])


# Views


async def test_a_look_changes_nothing(desk: MemoryDesk, ops: Wire) -> None:
    before = desk.fingerprint()
    for method in VIEWS:
        await done(ops, method)
    assert desk.fingerprint() == before
    assert [getattr(one, "method", "") for one in desk.journaled] == list(VIEWS)


async def test_the_status_says_what_the_desk_is_and_holds(desk: MemoryDesk, ops: Wire) -> None:
    told = await done(ops, "status")
    assert (told["mode"], told["is_ready"], told["is_draining"]) == ("paper", True, False)
    assert told["kill"] == {"level": "armed", "conditions": {}, "triggers": {}, "live_orders": 0}
    assert told["open_baskets"] >= 1
    assert told["positions"] == 2
    assert told["config_sha256"] == desk.moment.config.sha256
    assert Decimal(told["pnl"]["total"]).is_finite()


async def test_positions_carry_their_profit_and_cancel_out(desk: MemoryDesk, ops: Wire) -> None:
    told = await done(ops, "positions")
    assert len(told["positions"]) == 2
    # Spot holds what its fees left of it; a lot of the perpetual is the quantum.
    assert abs(sum((Decimal(one["qty"]) for one in told["positions"]), ZERO)) < Decimal("0.001")
    ledger = desk.actors["ledger"]
    for one in told["positions"]:
        held = ledger.state.positions[f"{one['account']}/{one['instrument']}/BOTH"]
        assert one["qty"] == str(held.qty)
        assert Decimal(one["unrealized"]) == (Decimal(one["price"]) - Decimal(one["entry"])) * held.qty
    assert told["wallets"]["futures"].keys() == {"USDT"}


async def test_baskets_and_orders_are_listed_newest_first_and_cut(desk: MemoryDesk, ops: Wire) -> None:
    executor = desk.actors["atomic_executor"].state
    everything = await done(ops, "baskets", all=True)
    assert [one["id"] for one in everything["baskets"]] == list(reversed(executor.baskets))
    [one] = (await done(ops, "baskets", limit=1))["baskets"]
    assert one["state"] == "balanced"
    assert [leg["side"] for leg in one["legs"]] == ["buy", "sell"]
    assert {Decimal(leg["target"]) for leg in one["legs"]} == {abs(Decimal(one["legs"][1]["position"]))}
    assert await done(ops, "orders") == {"orders": [], "left_out": 0}
    ended = await done(ops, "orders", all=True, limit=1)
    assert ended["left_out"] == len(desk.actors["order_manager"].state.orders) - 1
    assert ended["orders"][0]["status"] == "filled"


async def test_margin_and_funding_are_as_their_actors_see_them(desk: MemoryDesk, ops: Wire) -> None:
    told = await done(ops, "margin")
    assert told["accounts"].keys() == {"futures", "spot"}
    futures = told["accounts"]["futures"]
    assert futures["level"] == "healthy"
    assert abs(Decimal(futures["coverage"]) - Decimal(futures["balance"]) / Decimal(futures["maintenance"])) < 1
    assert told["accounts"]["spot"]["coverage"] is None
    [(name, funding)] = (await done(ops, "funding"))["perpetuals"].items()
    tracker = desk.actors["funding_tracker"]
    assert Decimal(funding["expected"]) == tracker.expected(name)  # type: ignore[attr-defined]
    assert funding["next_ns"] > desk.now()


async def test_numbers_are_texts_without_exponents(ops: Wire) -> None:
    def numbers(value: Any, path: str = "") -> list[str]:
        if isinstance(value, float):
            return [path]
        if isinstance(value, str) and value.replace(".", "").isdigit():
            assert "e" not in value.lower()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [found for key, inner in items for found in numbers(inner, f"{path}.{key}")]

    for method in VIEWS:
        assert numbers(await done(ops, method)) == []


async def test_events_are_read_by_number(desk: MemoryDesk, ops: Wire) -> None:
    log = desk.actors["event_log"].state
    told = await done(ops, "events", since=log.last - 3, limit=2)
    assert [one["number"] for one in told["events"]] == [log.last - 2, log.last - 1]
    assert (told["last"], told["missed"]) == (log.last, 0)
    assert [one["number"] for one in (await done(ops, "events", limit=2))["events"]] == [log.last - 1, log.last]
    del log.records[:10]
    assert (await done(ops, "events", since=0))["missed"] == 10
    assert (await done(ops, "events", since=4))["missed"] == 6
    assert (await done(ops, "events", since=10**9)) == {"events": [], "last": log.last, "missed": 0, "alarms": 0}


async def test_a_desk_without_events_missed_none(desk: MemoryDesk, ops: Wire) -> None:
    desk.actors["event_log"].state.records.clear()
    desk.actors["event_log"].state.last = 0
    assert await done(ops, "events") == {"events": [], "last": 0, "missed": 0, "alarms": 0}


async def test_followed_events_come_as_they_happen_and_none_twice(desk: MemoryDesk, ops: Wire) -> None:
    last = desk.actors["event_log"].state.last
    assert await done(ops, "events.follow", since=last - 2) == {"since": last - 2, "last": last}
    assert [(await ops.line())["params"]["number"] for _ in range(2)] == [last - 1, last]
    desk.offer(Incident(desk.now(), "unbookable", "", "a fill"))
    told = (await ops.line())["params"]
    assert (told["number"], told["kind"], told["text"]) == (last + 1, "Incident", "unbookable: a fill")
    assert told["alarm"] == "open"


async def test_a_view_of_what_is_not_there_is_an_error_of_the_server(desk: MemoryDesk) -> None:
    with pytest.raises(LookupError, match="this desk has no ledger"):
        actor(desk, "ledger", int)


# Operations


async def test_kill_and_arm_go_to_whoever_controls_the_latch(desk: MemoryDesk, ops: Wire) -> None:
    for name, level in LEVELS.items():
        assert await done(ops, "kill", level=name, reason="a test") == {"level": name, "guard": "told"}
        assert desk.actors["kill_switch"].state.level is level
    assert desk.heard[:3] == ["journal AdminCall kill", "offer KillCommand", "journal AdminResult kill"]
    told = await done(ops, "status")
    assert (told["kill"]["level"], told["alarms"] > 0) == ("flatten", True)
    assert (await ops.call("arm", reason=""))["error"]["data"] == {"field": "params.reason"}
    assert await refused(ops, "arm", reason="  ") == "arming needs a reason"
    desk.refusing = "2 orders are not confirmed cancelled"
    assert await refused(ops, "arm", reason="looked at it") == desk.refusing


async def test_the_operator_is_who_the_kernel_says(desk: MemoryDesk, ops: Wire) -> None:
    await done(ops, "kill", level="reduce_only", reason="a test")
    told = (await done(ops, "events", since=desk.actors["event_log"].state.last - 3))["events"]
    [said] = [one for one in told if one["kind"] == "KillState"]
    mine = (await done(ops, "set_flag", feature="carry", mode="shadow"))["flags"]["carry"]["operator"]
    assert said["text"] == f"REDUCE_ONLY by operator: {mine}: a test"


async def test_a_drained_desk_opens_nothing_until_it_may_again(desk: MemoryDesk, ops: Wire) -> None:
    assert await done(ops, "drain", reason="before the upgrade") == {"is_draining": True}
    assert (await done(ops, "status"))["is_draining"] is True
    assert desk.actors["atomic_executor"].state.flags["global"].mode is FlagMode.DISABLED
    assert await done(ops, "drain", on=False) == {"is_draining": False}
    assert (await done(ops, "status"))["is_draining"] is False


async def test_flags_are_set_and_shown(desk: MemoryDesk, ops: Wire) -> None:
    assert (await done(ops, "flags"))["flags"] == {"global": {"mode": "production"}, "carry": {"mode": "production"}}
    told = await done(ops, "set_flag", feature="carry", mode="canary", percent=25, reason="a try")
    assert told["flags"]["carry"] | {"operator": ""} == {
        "mode": "canary",
        "percent": 25,
        "operator": "",
        "reason": "a try",
        "ts": desk.now(),
    }
    assert await refused(ops, "set_flag", feature="cary", mode="disabled") == (
        "no feature 'cary'; there are global, carry"
    )
    assert "only a canary" in await refused(ops, "set_flag", feature="carry", mode="shadow", percent=10)


async def test_limits_get_tighter_only(desk: MemoryDesk, ops: Wire) -> None:
    held = await done(ops, "limits")
    perpetual = next(name for name in held["instruments"] if "usdm" in name)
    assert held["tightened"] == {}
    told = await done(ops, "set_limit", instrument=perpetual, key="order_notional_max", value="1000.50")
    assert told == {"instrument": perpetual, "key": "order_notional_max", "value": "1000.50"}
    said = await refused(ops, "set_limit", instrument=perpetual, key="order_notional_max", value="1001")
    assert said == "order_notional_max can only be made tighter than 1000.50 while the desk runs, got 1001"
    await done(ops, "set_limit", key="open_orders_max", value="7")
    held = await done(ops, "limits")
    assert held["desk"]["open_orders_max"] == "7"
    assert held["instruments"][perpetual]["order_notional_max"] == "1000.50"
    assert held["tightened"] == {perpetual: {"order_notional_max": "1000.50"}, "": {"open_orders_max": "7"}}
    assert "no instrument" in await refused(ops, "set_limit", instrument="x:y", key="collar_bps", value="1")


def differ(desk: MemoryDesk, kind: MismatchKind, what: str, theirs: int) -> None:
    """Let the synchronizer have told of a difference."""
    sync = desk.actors["position_synchronizer"]
    suspect = Suspect(kind, Decimal(theirs), desk.now(), True, what, PositionSide.BOTH, Decimal(1))
    key = f"futures#{what}" if kind is MismatchKind.WALLET_DRIFT else position_key("futures", what)
    sync.state.accounts["futures"].suspects[key] = suspect
    sync.state.history.append(
        Episode(desk.now(), "futures", what, PositionSide.BOTH, kind, Decimal(1), Decimal(theirs), "")
    )


async def test_a_mismatch_is_shown_and_adopted_by_name_and_with_a_reason(desk: MemoryDesk, ops: Wire) -> None:
    assert (await done(ops, "mismatches", all=True))["mismatches"] == []
    differ(desk, MismatchKind.WALLET_DRIFT, "USDT", 3)
    (shown,) = (await done(ops, "mismatches"))["mismatches"]
    assert (shown["account"], shown["what"], shown["kind"]) == ("futures", "USDT", "wallet_drift")
    assert (shown["ours"], shown["theirs"], shown["ended_ns"]) == ("1", "3", None)
    assert "nothing told differs" in await refused(ops, "adopt", account="futures", what="BTC", reason="why")
    assert "needs a reason" in await refused(ops, "adopt", account="futures", what="USDT", reason="  ")
    told = await done(ops, "adopt", account="futures", what="USDT", reason="rounded")
    assert told == {"account": "futures", "what": "USDT", "adopted": 1}
    sync = desk.actors["position_synchronizer"]
    assert sync.state.accounts["futures"].adopted == {"futures#USDT": 2}
    assert (await done(ops, "mismatches"))["mismatches"] == []
    (over,) = (await done(ops, "mismatches", all=True))["mismatches"]
    assert over["how"].endswith(": rounded")


async def test_alarms_are_acknowledged(desk: MemoryDesk, ops: Wire) -> None:
    await done(ops, "kill", level="cancel_all")
    assert (await done(ops, "events"))["alarms"] == 1
    assert (await done(ops, "ack", reason="saw it"))["alarms"] == 0
    alarms = [one["alarm"] for one in (await done(ops, "events", limit=1000))["events"] if one["alarm"]]
    assert alarms == ["seen"]


async def test_a_part_is_stopped_and_released(desk: MemoryDesk, ops: Wire) -> None:
    (halt,) = (await done(ops, "halt", scope="strategy", name="carry", reason="odd fills"))["halts"]
    assert (halt["scope"], halt["name"], halt["level"], halt["trigger"]) == (
        "strategy",
        "carry",
        "reduce_only",
        "operator",
    )
    assert halt["why"].endswith(": odd fills")
    status = await done(ops, "status")
    assert (status["halts"], status["kill"]["level"]) == (1, "armed")
    # It only rises.
    (halt,) = (await done(ops, "halt", scope="strategy", name="carry", level="cancel_all"))["halts"]
    assert halt["level"] == "cancel_all"
    assert await done(ops, "halt", scope="strategy", name="carry") == {"halts": [halt]}
    assert "there is no strategy 'cary'" in await refused(ops, "halt", scope="strategy", name="cary")
    assert "is not stopped" in await refused(ops, "release", scope="venue", name="binance_spot", reason="x")
    assert await done(ops, "release", scope="strategy", name="carry", reason="explained") == {"halts": []}


async def test_an_acknowledgement_reaches_what_was_told_by_then(desk: MemoryDesk, ops: Wire) -> None:
    alarm = KillTrigger(desk.now(), "drill", KillLevel.CANCEL_ALL, "a drill")
    desk.offer(alarm)
    (told,) = (await done(ops, "alerts"))["open"]
    assert (told["ref"], told["urgency"], told["needs_ack"]) == ("kill", "critical", True)
    events = (await done(ops, "events", limit=1000))["events"]
    number = next(one["number"] for one in events if one["kind"] == "Notice")
    # What was told after the event that somebody has seen is not seen.
    await done(ops, "ack", number=number - 1)
    assert (await done(ops, "alerts"))["open"][0]["needs_ack"]
    await done(ops, "ack", number=number)
    (told,) = (await done(ops, "alerts"))["open"]
    assert (told["needs_ack"], told["acknowledged_by"] != "") == (False, True)


UNFIT = [
    ("kill", {}, "params.level"),
    ("kill", {"level": "armed"}, "params.level"),
    ("kill", {"level": "FLATTEN"}, "params.level"),
    ("kill", {"level": "flatten", "force": True}, "params.force"),
    ("kill", {"level": "flatten", "reason": "a\x1b[2Jb"}, "params.reason"),
    ("kill", {"level": "flatten", "reason": "a\nb"}, "params.reason"),
    ("kill", {"level": "flatten", "reason": "x" * 501}, "params.reason"),
    ("arm", {}, "params.reason"),
    ("drain", {"on": 1}, "params.on"),
    ("halt", {"scope": "desk", "name": "x"}, "params.scope"),
    ("halt", {"scope": "strategy", "name": "carry", "level": "flatten"}, "params.level"),
    ("release", {"scope": "strategy", "name": "carry"}, "params.reason"),
    ("set_flag", {"feature": "carry"}, "params.mode"),
    ("set_flag", {"feature": "carry", "mode": "on"}, "params.mode"),
    ("set_flag", {"feature": "carry", "mode": "canary", "percent": 101}, "params.percent"),
    ("set_flag", {"feature": "car ry", "mode": "shadow"}, "params.feature"),
    ("set_limit", {"key": "collar_bps", "value": 5}, "params.value"),
    ("set_limit", {"key": "collar_bps", "value": "-5"}, "params.value"),
    ("set_limit", {"key": "collar_bps", "value": "NaN"}, "params.value"),
    ("set_limit", {"key": "collar_bps", "value": "1e3"}, "params.value"),
    ("set_limit", {"key": "collar_bps", "value": "5\n"}, "params.value"),
    ("set_limit", {"key": "collar_bps", "value": "\u0665"}, "params.value"),
    ("orders", {"limit": 0}, "params.limit"),
    ("orders", {"limit": 1001}, "params.limit"),
    ("orders", {"all": "yes"}, "params.all"),
    ("events", {"since": -1}, "params.since"),
    ("events", {"since": 2**60}, "params.since"),
    ("overview", {"count": 101}, "params.count"),
    ("adopt", {"account": "futures", "reason": ""}, "params.reason"),
    ("adopt", {"what": "USDT", "reason": "x"}, "params.account"),
    ("mismatches", {"limit": 0}, "params.limit"),
    ("ack", {"number": "all"}, "params.number"),
    ("status", {"x": 1}, "params.x"),
]


@pytest.mark.parametrize(("method", "params", "field"), UNFIT)
async def test_params_that_do_not_fit_change_nothing(
    desk: MemoryDesk, ops: Wire, method: str, params: dict[str, Any], field: str
) -> None:
    before = desk.fingerprint()
    error = (await ops.call(method, **params))["error"]
    assert (error["code"], error["data"]) == (Code.INVALID_PARAMS, {"field": field})
    assert desk.fingerprint() == before
    assert desk.heard == []


def test_a_desk_that_stopped_takes_nothing(desk: MemoryDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    differ(desk, MismatchKind.WALLET_DRIFT, "USDT", 3)
    monkeypatch.setattr(desk.cell, "offer", lambda message: None)
    methods = DeskMethods(desk, desk).table
    for name, params in (
        ("drain", {}),
        ("set_flag", {"feature": "carry", "mode": FlagMode.SHADOW}),
        ("set_limit", {"key": "open_orders_max", "value": "7"}),
        ("adopt", {"account": "futures", "what": "USDT", "reason": "why"}),
    ):
        one = methods[name]
        with pytest.raises(RefusedError, match="has it stopped"):
            one.handler(one.params(**params), ANN)


def test_every_level_but_armed_can_be_asked_for() -> None:
    assert set(LEVELS.values()) == set(KillLevel) - {KillLevel.ARMED}


def test_lists_are_cut_with_a_count_of_the_rest() -> None:
    assert views._first(iter(range(7)), 5) == ([0, 1, 2, 3, 4], 2)
    assert views._first((), 5) == ([], 0)
