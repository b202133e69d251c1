"""basisctl against a real desk behind real sockets: what it prints, where it looks, how it ends."""

import json
import socket
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
from admin_desk import UNBOUND, MemoryDesk, Moment, caught_in_the_middle, listening
from attrs import define, field, frozen

from actors.messages import Incident, KillLevel, MismatchKind
from actors.sync_records import Episode, Suspect
from daemon.admin.calls import RefusedError, Role
from daemon.admin.guard import guard_methods
from daemon.admin.server import AdminServer
from daemon.ctl import places, stopping
from daemon.ctl.main import COMMANDS, main, parser
from daemon.live.sockets import listen
from venues.model.order import PositionSide

PERPETUAL = "binance_usdm:BTCUSDT"


@frozen
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Ctl = Callable[..., Awaitable[Done]]
Sockets = dict[Role, AdminServer]


@define
class Guard:
    """A guard that does as it is told, or not."""

    levels: list[str] = field(factory=list)
    panics: list[str] = field(factory=list)
    refusing: str = ""
    gate: trio.Event | None = None

    def status(self) -> dict[str, Any]:
        return {
            "level": "flatten",
            "trigger": "desk_silent",
            "why": "no heartbeat for 2 s",
            "is_in_charge": True,
            "flattening": {"course": "own", "left": "0.5 binance_usdm:BTCUSDT"},
            "cancelled": {"futures": "proven", "spot": "not proven"},
            "desk": {"pid": 17, "run": "000001", "heard": 1_768_492_200_000_000_000},
            "venues": {"is_up": False, "why": "refused"},
        }

    async def kill(self, level: KillLevel, operator: str, reason: str) -> dict[str, Any]:
        if self.gate is not None:
            await self.gate.wait()
        if self.refusing:
            raise RefusedError(self.refusing)
        self.levels.append(level.name.lower())
        return {"level": level.name.lower()}

    async def panic(self, operator: str, reason: str) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        self.panics.append(reason)
        return {"level": "flatten", "is_in_charge": True, "flattening": {"course": "fence", "left": ""}}


@pytest.fixture(scope="module")
def moment(tmp_path_factory: pytest.TempPathFactory) -> Moment:
    return caught_in_the_middle(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def desk(moment: Moment) -> MemoryDesk:
    return MemoryDesk(moment)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASISD_STATE", str(tmp_path / "demo"))
    monkeypatch.setattr(places, "_SERVICE", tmp_path / "no such service")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "demo"


@pytest.fixture
async def sockets(desk: MemoryDesk, state: Path, nursery: trio.Nursery) -> AsyncIterator[Sockets]:
    with ExitStack() as stack:
        servers = {
            role: stack.enter_context(listening(desk, state / "run" / f"{role}.sock", role))
            for role in (Role.VIEW, Role.OPS)
        }
        async with trio.open_nursery() as inner:
            for server in servers.values():
                await inner.start(server.run)
            yield servers
            inner.cancel_scope.cancel()


@pytest.fixture
async def guard(state: Path) -> AsyncIterator[Guard]:
    made = Guard()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(state / "run" / "panic.sock"))
        nursery = await stack.enter_async_context(trio.open_nursery())
        server = AdminServer(
            listener, Role.OPS, guard_methods(made), journal=lambda message: None, now=lambda: 1, limits=UNBOUND
        )
        await nursery.start(server.run)
        yield made
        nursery.cancel_scope.cancel()


@pytest.fixture
def ctl(capsys: pytest.CaptureFixture[str]) -> Ctl:
    async def run(*arguments: str) -> Done:
        status = await trio.to_thread.run_sync(main, arguments)
        return Done(status, *capsys.readouterr())

    return run


# Looking

SHOWN = {
    "status": ["desk        demo (paper), run 000001, pid 4242", "kill level  armed", "guard       up, level armed"],
    "positions": [f"futures  {PERPETUAL}", "wallets", "USDT"],
    "orders": ["no order"],
    "baskets": ["carry-1", "balanced", f"-0.500 {PERPETUAL}"],
    "margin": ["futures  healthy", "spot     healthy           -"],
    "funding": [PERPETUAL, "0.0003", "2026-01-15 16:00:00.000Z"],
    "events": ["BasketUpdate", "carry-1 balanced", "Reconciled"],
    "flags": ["global   production", "carry    production"],
    "limits": ["desk", "gross_notional_max", "5000000"],
}


@pytest.mark.parametrize("command", SHOWN)
async def test_what_is_shown(ctl: Ctl, sockets: Sockets, command: str) -> None:
    done = await ctl(command)
    assert (done.status, done.err) == (0, "")
    for said in SHOWN[command]:
        assert said in done.out
    assert not any(line.endswith(" ") for line in done.out.splitlines())


@pytest.mark.parametrize("command", SHOWN)
async def test_json_is_what_the_daemon_answered(ctl: Ctl, sockets: Sockets, desk: MemoryDesk, command: str) -> None:
    before = (await ctl("--json", command)).json
    assert (await ctl(command, "--json")).json == before
    assert isinstance(before, dict)


async def test_columns_are_aligned_on_a_pipe(ctl: Ctl, sockets: Sockets) -> None:
    assert (await ctl("margin")).out.splitlines()[0].split() == [
        *("account", "level", "coverage", "balance", "maintenance", "why"),
    ]
    head, *rows = (await ctl("flags")).out.splitlines()
    assert {row.index("production") for row in rows} == {head.index("mode")}


async def test_lists_can_be_longer_or_cut(ctl: Ctl, sockets: Sockets) -> None:
    done = await ctl("orders", "--all", "--limit", "1", "--json")
    assert len(done.json["orders"]) == 1
    assert "1 more; see --limit" in (await ctl("orders", "--all", "--limit", "1")).out
    events = (await ctl("events", "--limit", "2", "--json")).json
    assert [one["number"] for one in events["events"]] == [events["last"] - 1, events["last"]]
    assert (await ctl("events", "--since", "3", "--limit", "1", "--json")).json["events"][0]["number"] == 4


async def test_followed_events_are_printed_as_they_come(
    ctl: Ctl, desk: MemoryDesk, sockets: Sockets, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[Done] = []

    async def follow(options: tuple[str, ...]) -> None:
        done.append(await ctl("events", "--follow", *options, "--since", str(last - 1), "--socket", str(path)))

    last = desk.actors["event_log"].state.last
    path = state / "run" / "second.sock"
    option_sets: tuple[tuple[str, ...], ...] = ((), ("--json",))
    for options in option_sets:
        async with trio.open_nursery() as nursery:
            with listening(desk, path, Role.VIEW) as server:
                async with trio.open_nursery() as inner:
                    await inner.start(server.run)
                    nursery.start_soon(follow, options)
                    with trio.fail_after(10):
                        while server.statistics.events_sent < 1:
                            await trio.sleep(0.01)
                    inner.cancel_scope.cancel()
    words, plain = done
    assert (words.status, plain.status) == (3, 3)
    assert f"{last}  2026-01-15" in words.out
    assert json.loads(plain.out)["number"] == last
    assert words.err == f"basisctl: no answer: {path}: hung up\n"


async def test_what_comes_from_outside_moves_no_terminal(ctl: Ctl, sockets: Sockets, desk: MemoryDesk) -> None:
    desk.offer(Incident(desk.now(), "unbookable", "", "a\x1b[2J\u202eb"))
    out = (await ctl("events", "--limit", "1")).out
    assert "a\ufffd[2J\ufffdb" in out


# Steering


async def test_flags_and_drain(ctl: Ctl, sockets: Sockets, desk: MemoryDesk) -> None:
    assert "carry    canary           25  " in (await ctl("flags", "carry", "canary", "25", "--reason", "a try")).out
    assert (await ctl("drain", "--reason", "upgrade")).out == "is_draining yes\n"
    assert "state       ready, draining" in (await ctl("status")).out
    assert (await ctl("drain", "--off", "--json")).json == {"is_draining": False}
    said = desk.actors["atomic_executor"].state.flags["carry"]
    assert (said.percent, said.reason) == (25, "a try")


async def test_limits_of_an_instrument_and_of_the_desk(ctl: Ctl, sockets: Sockets) -> None:
    done = await ctl("limits", PERPETUAL, "order_qty_max", "2.5")
    assert done.out == f"{PERPETUAL} order_qty_max is 2.5 from now on\n"
    assert (await ctl("limits", "desk", "open_orders_max", "5")).status == 0
    shown = (await ctl("limits")).out
    assert f"{PERPETUAL:<20}  order_qty_max              2.5  tightened" in shown
    loosened = await ctl("limits", "desk", "open_orders_max", "6")
    assert (loosened.status, loosened.out) == (1, "")
    assert "can only be made tighter than 5" in loosened.err


async def test_mismatches_are_shown_and_adopted(ctl: Ctl, sockets: Sockets, desk: MemoryDesk) -> None:
    assert (await ctl("positions", "--mismatches")).out == "nothing differs\n0 told so far, 0 resolved\n"
    sync = desk.actors["position_synchronizer"]
    kind, side, ours = MismatchKind.QUANTITY, PositionSide.BOTH, Decimal("-0.5")
    suspect = Suspect(kind, Decimal(-1), desk.now(), True, PERPETUAL, side, ours)
    sync.state.accounts["futures"].suspects[f"futures/{PERPETUAL}/BOTH"] = suspect
    sync.state.history.append(Episode(desk.now(), "futures", PERPETUAL, side, kind, ours, Decimal(-1), ""))
    shown = (await ctl("positions", "--mismatches")).out
    assert f"futures  {PERPETUAL}  quantity  -0.5" in shown
    assert "fills; a fill was missed or somebody else trades here" in shown
    assert (await ctl("positions", "--adopt", "futures", PERPETUAL)).status == 2
    done = await ctl("positions", "--adopt", "futures", PERPETUAL, "--reason", "another desk's", "--json")
    assert done.json == {"account": "futures", "what": PERPETUAL, "adopted": 1}
    again = await ctl("positions", "--adopt", "futures", PERPETUAL, "--reason", "again")
    assert (again.status, again.out) == (1, "")
    assert "another desk's" in (await ctl("positions", "--mismatches", "--all")).out


async def test_arming_and_acknowledging(ctl: Ctl, sockets: Sockets, desk: MemoryDesk) -> None:
    assert (await ctl("arm", "--reason", "looked at it")).out == "level armed, guard told\n"
    desk.refusing = "2 orders are not confirmed cancelled"
    refused = await ctl("arm", "--reason", "looked at it")
    assert (refused.status, refused.err) == (1, "basisctl: 2 orders are not confirmed cancelled\n")
    desk.offer(Incident(desk.now(), "unbookable", "", "a fill"))
    assert "alarms      1 to acknowledge" in (await ctl("status")).out
    assert (await ctl("ack", "1", "--json")).json == {"seen": 1, "alarms": 1}
    assert (await ctl("ack", "--json")).json["alarms"] == 0


USAGE = [
    (),
    ("nothing",),
    ("kill",),
    ("kill", "gently"),
    ("arm",),
    ("flags", "carry", "on"),
    ("flags", "carry", "canary", "x"),
    ("status", "--timeout", "0"),
    ("status", "--js"),
    ("status", "all"),
    ("completion", "fish"),
]


@pytest.mark.parametrize("arguments", USAGE)
def test_mistakes_of_usage_end_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: basisctl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("flags", "carry"),
        ("flags", "carry", "canary"),
        ("limits", "desk", "collar_bps"),
        ("positions", "USDT"),
        ("positions", "--adopt", "futures", "USDT"),
    ],
)
async def test_half_a_change_ends_with_2(
    ctl: Ctl, sockets: Sockets, desk: MemoryDesk, arguments: tuple[str, ...]
) -> None:
    done = await ctl(*arguments)
    assert (done.status, desk.heard) == (2, [])
    assert done.err.startswith(f"basisctl: {arguments[0]}: ")


# Stopping


@pytest.mark.parametrize(
    ("level", "expected"), [("flatten", "flatten"), ("cancel", "cancel_all"), ("reduce", "reduce_only")]
)
async def test_a_kill_goes_to_the_guard_alone_when_it_answers(
    ctl: Ctl, sockets: Sockets, desk: MemoryDesk, guard: Guard, level: str, expected: str
) -> None:
    done = await ctl("kill", level)
    assert (done.status, done.out) == (0, f"guard: level {expected}\n")
    assert guard.levels == [expected]
    assert desk.heard == []


async def test_panic_asks_nothing_back(ctl: Ctl, sockets: Sockets, desk: MemoryDesk, guard: Guard, state: Path) -> None:
    done = await ctl("panic", "--reason", "it smells", "--json")
    assert done.json == {
        "level": "flatten",
        "is_done": True,
        "ways": [
            {
                "by": "guard",
                "path": str(state / "run" / "panic.sock"),
                "is_ok": True,
                "result": {"level": "flatten", "is_in_charge": True, "flattening": {"course": "fence", "left": ""}},
            }
        ],
    }
    assert (guard.panics, desk.heard) == (["it smells"], [])


async def test_what_the_guard_does_is_said_in_words(ctl: Ctl, guard: Guard) -> None:
    assert (await ctl("panic")).out == "guard: level flatten, in charge, the guard ends the desk\n"


async def test_the_guard_tells_what_it_knows_of_a_desk_that_does_not_answer(
    ctl: Ctl, guard: Guard, state: Path
) -> None:
    done = await ctl("status")
    assert done.status == 3
    assert done.out.splitlines() == [
        f"desk: no answer: {state}/run/view.sock: there is no such socket",
        "guard: level flatten, trigger desk_silent, why no heartbeat for 2 s, in charge, "
        "the guard flattens: 0.5 binance_usdm:BTCUSDT",
        "guard's desk: run 000001, pid 17, last heard of 2026-01-15 15:50:00.000Z",
        "guard's venues: down: refused",
        "cancelled: futures proven, spot not proven",
    ]
    told = (await ctl("status", "--json")).json
    assert (told["desk"], told["guard"]["trigger"]) == (None, "desk_silent")
    silent = await ctl("positions")
    assert (silent.status, silent.out) == (3, "")


async def test_without_a_guard_the_desk_is_told(ctl: Ctl, sockets: Sockets, desk: MemoryDesk) -> None:
    done = await ctl("panic")
    assert done.status == 0
    assert done.out == "guard: there is no such socket\ndesk: level flatten, guard told\n"
    assert desk.actors["kill_switch"].state.level is KillLevel.FLATTEN


async def test_a_guard_that_hangs_is_not_waited_for(ctl: Ctl, sockets: Sockets, desk: MemoryDesk, state: Path) -> None:
    with listen(state / "run" / "panic.sock"):
        done = await ctl("kill", "cancel")
    assert done.out == "guard: no answer in time\ndesk: level cancel_all, guard told\n"
    assert done.status == 0


async def test_a_guard_that_refuses_is_passed_by(ctl: Ctl, sockets: Sockets, desk: MemoryDesk, guard: Guard) -> None:
    guard.refusing = "not mine"
    done = await ctl("kill", "flatten")
    assert (done.status, done.out) == (0, "guard: not mine\ndesk: level flatten, guard told\n")


async def test_a_late_guard_still_counts_when_the_desk_is_gone(
    ctl: Ctl, guard: Guard, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "GUARD_S", 0.01)
    gate = guard.gate = trio.Event()

    async def hang_up(listener: socket.socket) -> None:
        """Be a desk that breaks down when it is asked; by then the guard was given up."""
        accepted, _ = await trio.socket.from_stdlib_socket(listener).accept()
        accepted.close()
        gate.set()

    with listen(state / "run" / "ops.sock") as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up, listener)
            done = await ctl("kill", "flatten", "--timeout", "30")
    assert done.status == 0
    assert done.out.startswith("guard: level flatten\ndesk: ")


async def test_nobody_there_ends_with_3_and_a_refusal_with_1(ctl: Ctl, state: Path, guard: Guard) -> None:
    guard.refusing = "not mine"
    done = await ctl("kill", "flatten")
    assert (done.status, done.out) == (1, "guard: not mine\ndesk: there is no such socket\n")
    (state / "run" / "panic.sock").unlink()
    (state / "run" / "ops.sock").touch()
    done = await ctl("kill", "flatten")
    assert (done.status, done.out) == (3, "guard: there is no such socket\ndesk: nobody listens\n")


async def test_a_socket_told_by_hand_is_the_only_one(
    ctl: Ctl, sockets: Sockets, desk: MemoryDesk, guard: Guard, state: Path
) -> None:
    ops = str(state / "run" / "ops.sock")
    assert (await ctl("panic", "--socket", ops)).out == "socket: level flatten, guard told\n"
    assert (guard.levels, guard.panics) == ([], [])
    assert (
        await ctl("kill", "cancel", "--socket", str(state / "run" / "panic.sock"))
    ).out == "socket: level cancel_all\n"
    refused = await ctl("arm", "--reason", "x", "--socket", str(state / "run" / "view.sock"))
    assert (refused.status, refused.err) == (1, "basisctl: arm needs the ops socket\n")


# Finding


def folder(root: Path, name: str) -> Path:
    """Make a state folder with a socket in it."""
    made = root / name / "run"
    made.mkdir(parents=True)
    (made / "ops.sock").touch()
    return made


def test_the_daemon_is_found_where_daemons_are(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, named, service = folder(tmp_path, "told"), folder(tmp_path, "named"), folder(tmp_path, "service")
    local = folder(tmp_path / "state", "demo")
    monkeypatch.setenv("BASISD_STATE", str(tmp_path / "named"))
    assert places.runtime_folder(str(tmp_path / "told")) == told
    assert places.runtime_folder(str(told)) == told
    assert places.runtime_folder(None) == named
    monkeypatch.delenv("BASISD_STATE")
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(service))
    assert places.runtime_folder(None) == service
    monkeypatch.setattr(places, "_SERVICE", service)
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert places.runtime_folder(None) == service
    monkeypatch.setattr(places, "_SERVICE", tmp_path / "none")
    assert places.runtime_folder(None).resolve() == local
    (tmp_path / "state" / "stopped" / "run").mkdir(parents=True)
    assert places.runtime_folder(None).resolve() == local


async def test_what_was_looked_at_is_listed(
    ctl: Ctl, tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = await ctl("status")
    assert done.status == 3
    assert done.err.splitlines() == [
        f"basisctl: no daemon's sockets in {state}/run",
        f"basisctl: no daemon's sockets in {state}",
    ]
    monkeypatch.delenv("BASISD_STATE")
    assert (await ctl("panic")).err.splitlines() == [
        f"basisctl: no daemon's sockets in {tmp_path}/no such service",
        f"basisctl: nothing below {tmp_path}/state",
        "basisctl: name its state folder with --state DIR or BASISD_STATE",
    ]
    for name in ("one", "two"):
        folder(tmp_path / "state", name)
    assert (await ctl("status")).err == "basisctl: several daemons: state/one, state/two; name one with --state\n"


@pytest.fixture
def silent(state: Path) -> Iterator[socket.socket]:
    with listen(state / "run" / "view.sock") as listener:
        yield listener


@pytest.mark.usefixtures("silent")
async def test_a_daemon_that_hangs_is_not_waited_for(ctl: Ctl, state: Path) -> None:
    done = await ctl("status", "--timeout", "0.05")
    assert (done.status, done.err) == (3, f"basisctl: no answer: {state}/run/view.sock: no answer in time\n")


# The rest


@pytest.mark.parametrize(
    ("words", "rest", "state"),
    [
        (("history",), [], None),
        (("history", "fills", "--run", "3"), ["fills", "--run", "3"], None),
        (("history", "--help"), ["--help"], None),
        (("--state", "x", "history", "--json", "-n", "1"), ["--json", "-n", "1"], "x"),
    ],
)
def test_history_has_a_grammar_of_its_own(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], rest: list[str], state: str | None
) -> None:
    heard: list[Namespace] = []
    module = ModuleType("daemon.history")
    module.run = lambda arguments: heard.append(arguments) or 0  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "daemon.history", module)
    assert main(words) == 0
    assert [(one.rest, one.state, one.json) for one in heard] == [(rest, state, False)]


async def test_completion_knows_every_command(ctl: Ctl) -> None:
    for shell in ("bash", "zsh", "tcsh"):
        script = (await ctl("completion", shell)).out
        assert all(command in script for command in COMMANDS)


def test_every_command_of_the_grammar_is_somewhere() -> None:
    [commands] = [one for one in parser()._actions if one.dest == "command"]
    assert set(commands.choices or ()) == set(COMMANDS)
