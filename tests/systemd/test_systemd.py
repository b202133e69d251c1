"""Desk, guard and venue as units under a real systemd: how they start, hang, die, stop, and whom they let in."""

import json
import re
import signal
from contextlib import closing

import pytest
from systemd_desk import DESK, GUARD, LINK, OPS, PAIR, PERSON, REFUSED, STATE, VENUE, VIEW, Desk, configuration
from systemd_machine import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()


def held(desk: Desk) -> tuple[dict[str, str], set[str]]:
    """Return what the venue says that is held, and which orders rest."""
    with closing(desk.probe()) as venue:
        return desk.venue_positions(), venue.open_orders("spot")


def test_it_is_ready_and_says_how_it_stands(desk):
    with desk.timed("start to ready"):
        shown = desk.start()
    assert shown["StatusText"] == "ready, reduce only"
    assert shown["NRestarts"] == "0"
    desk.arm()
    desk.machine.until_state(DESK, StatusText="ready, armed")
    assert desk.status()["is_ready"]


def test_it_trades_on_paper_at_once(desk):
    machine = desk.machine
    told = re.findall(r"^    ExecStart=(.* paper.*)$", PAGE, re.MULTILINE)
    [for_desk, for_guard] = [f"[Service]\nExecStart=\nExecStart={command}\n" for command in told]
    with machine.drop_in(DESK, for_desk), machine.drop_in(GUARD, for_guard):
        desk.start()
        machine.until_state(DESK, StatusText="ready, armed")
        machine.until("it trades", desk.venue_positions)


def test_it_is_enabled_for_every_boot(desk):
    machine = desk.machine
    machine.systemctl("enable", DESK)
    assert machine.systemctl("is-enabled", DESK) == "enabled"
    machine.systemctl("disable", DESK)


def test_metrics_and_health_are_served_on_loopback(desk):
    desk.start()
    get = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/{}').read().decode())"
    assert "READY" in desk.machine.run("/opt/basisd/bin/python", "-c", get.format("healthz")).stdout
    metrics = desk.machine.run("/opt/basisd/bin/python", "-c", get.format("metrics")).stdout
    for name in ("basisd_build_info{", "process_cpu_seconds_total", "process_open_fds"):
        assert f"\n{name}" in metrics, name


def test_a_stop_cancels_what_rests_and_ends_well(desk):
    desk.start()
    desk.until_trading()
    with desk.timed("stop with an order resting and a pair held"):
        desk.machine.systemctl("stop", DESK)
    shown = desk.machine.show(DESK)
    assert (shown["Result"], shown["ExecMainStatus"]) == ("success", "0")
    assert held(desk) == (PAIR, set())
    [journal] = [f"runs/{run}/log/journal.sqlite" for run in desk.runs()]
    [(resting, cancelled)] = desk.query(journal, "SELECT client_order_id, last_report FROM orders WHERE tif = 'GTC'")
    assert cancelled == "OrderCanceled"
    cancels = desk.query(journal, "SELECT message ->> 'client_order_id' FROM intents WHERE kind = 'CancelOrder'")
    assert (resting,) in cancels
    assert desk.latch()[-1][0] == "ARMED"


def test_it_goes_on_after_a_stop(desk):
    desk.start()
    desk.until_trading()
    desk.machine.systemctl("stop", DESK)
    desk.start()
    held_again = {one["instrument"]: float(one["qty"]) for one in desk.ctl("positions")["positions"]}
    assert held_again == {"binance_spot:BTCUSDT": 0.5, "binance_usdm:BTCUSDT": -0.5}
    assert desk.status()["kill"]["level"] == "reduce_only"
    assert desk.runs() == ["000001", "000002"]


def test_a_hung_desk_is_cancelled_for_and_ended_by_the_watchdog(desk):
    desk.start()
    desk.until_trading()
    pid = desk.machine.main_pid(DESK)
    with desk.timed("SIGSTOP to ready again"):
        with desk.timed("SIGSTOP to latched"):
            desk.kill(DESK, signal.SIGSTOP)
            desk.until_level("CANCEL_ALL")
        with closing(desk.probe()) as venue:
            desk.machine.until("the guard has cancelled", lambda: not venue.open_orders("spot"))
        assert desk.machine.main_pid(DESK) == pid, "the guard cancels before the watchdog acts"
        desk.restarted(DESK, pid, lambda: None)
    assert "Watchdog timeout" in desk.machine.words(DESK)
    assert desk.machine.show(DESK)["NRestarts"] == "1"
    desk.machine.until_state(DESK, StatusText="ready, cancel all")
    assert held(desk) == (PAIR, set())


def test_a_killed_desk_is_cancelled_for_and_comes_back_disarmed(desk):
    desk.start()
    desk.until_trading()
    guard = desk.machine.main_pid(GUARD)
    with desk.timed("kill -9 to ready again"):
        pid = desk.machine.main_pid(DESK)
        with desk.timed("kill -9 to orders cancelled by the guard"):
            desk.kill(DESK)
            with closing(desk.probe()) as venue:
                desk.machine.until("the guard has cancelled", lambda: not venue.open_orders("spot"))
        desk.restarted(DESK, pid, lambda: None)
    assert desk.machine.main_pid(GUARD) == guard
    assert desk.latch()[-1][0] == "CANCEL_ALL"
    assert desk.status()["kill"]["level"] == "cancel_all"
    assert held(desk) == (PAIR, set())
    desk.arm()
    assert desk.latch()[-1][0] == "ARMED"


def test_a_hung_desk_is_ended_and_flattened_by_a_panic(desk):
    desk.start()
    desk.until_trading()
    pid = desk.machine.main_pid(DESK)
    desk.kill(DESK, signal.SIGSTOP)
    with desk.timed("panic to flat, the desk hanging"):
        desk.ctl("panic", "--reason", "drill", groups=OPS)
        with closing(desk.probe()) as venue:
            desk.machine.until("flat", lambda: not venue.positions("futures") and "BTC" not in venue.balances("spot"))
    desk.restarted(DESK, pid, lambda: None)
    assert "status=9/KILL" in desk.machine.words(DESK), "the guard must be able to end a desk that hangs"
    assert desk.latch()[-1][0] == "FLATTEN"


def test_a_guard_that_was_killed_ends_the_desk_that_hung_before_it_came(desk):
    desk.start()
    desk.until_trading()
    pid, guard = desk.machine.main_pid(DESK), desk.machine.main_pid(GUARD)
    desk.kill(DESK, signal.SIGSTOP)
    desk.restarted(GUARD, guard, lambda: desk.kill(GUARD))
    desk.ctl("panic", "--reason", "drill", groups=OPS)
    desk.machine.until("the desk is ended", lambda: desk.machine.main_pid(DESK) != pid)
    desk.machine.until("flat", lambda: not desk.venue_positions())


def test_the_guard_lives_through_a_restart_of_the_desk(desk):
    desk.start()
    desk.ctl("kill", "cancel", "--reason", "test", groups=OPS)
    guard, pid = desk.machine.main_pid(GUARD), desk.machine.main_pid(DESK)
    desk.restarted(DESK, pid, lambda: desk.machine.systemctl("restart", DESK))
    assert desk.machine.main_pid(GUARD) == guard
    assert desk.latch()[-1][0] == "CANCEL_ALL"
    desk.machine.until_state(DESK, StatusText="ready, cancel all")


def test_a_killed_guard_is_back_at_its_level(desk):
    desk.start()
    desk.until_trading()
    guard, pid = desk.machine.main_pid(GUARD), desk.machine.main_pid(DESK)
    with desk.timed("guard killed to up again"):
        desk.restarted(GUARD, guard, lambda: desk.kill(GUARD))
        desk.machine.until("the desk trusts it", lambda: desk.status()["guard"]["is_up"])
    assert desk.machine.main_pid(DESK) == pid
    assert desk.latch()[-1][0] == "ARMED"
    assert held(desk)[0] == PAIR


def test_a_killed_venue_is_back_where_it_was(desk):
    desk.start()
    desk.until_trading()
    before, venue = held(desk), desk.machine.main_pid(VENUE)
    links = desk.machine.path(LINK)
    desk.restarted(VENUE, venue, lambda: desk.kill(VENUE))
    assert (links / "guard.sock").exists(), "the venue took the guard's socket away when it ended"
    desk.machine.until("ready again", lambda: desk.status()["is_ready"])
    assert held(desk)[0] == before[0]


def test_after_too_many_failures_it_stays_down_and_tells(desk):
    machine = desk.machine
    machine.write("/etc/basisd/on-failure", '#!/bin/sh\necho "paged for $1: $MONITOR_SERVICE_RESULT"\n', 0o755)
    with machine.drop_in(DESK, "[Service]\nRestartSec=100ms\n"):
        desk.start()
        for _ in range(4):
            pid = machine.main_pid(DESK)
            desk.kill(DESK)
            machine.until("an end", lambda pid=pid: machine.main_pid(DESK) != pid)
            machine.until("up or given up", lambda: machine.show(DESK)["ActiveState"] in {"active", "failed"})
        shown = machine.until_state(DESK, ActiveState="failed", SubState="failed")
    assert shown["Result"] == "signal"
    alert = f"basisd-alert@{DESK}.service"
    machine.until_state(alert, ActiveState="inactive", Result="success")
    said = [one["PRIORITY"] for one in machine.journal(alert) if "stays down" in str(one["MESSAGE"])]
    assert set(said) == {"0"}
    assert f"paged for {DESK}: signal" in machine.words(alert)
    assert desk.ctl("status", check=False)[0] == REFUSED
    assert machine.show(GUARD)["ActiveState"] == "active"
    assert desk.ctl("kill", "flatten", "--reason", "test", groups=OPS)["is_done"]


def test_a_mistake_in_the_configuration_is_not_tried_again(desk):
    desk.configure(configuration().replace("max_baskets", "max_basket"))
    desk.machine.systemctl("start", DESK, check=False)
    shown = desk.machine.until_state(DESK, ActiveState="failed")
    assert (shown["ExecMainStatus"], shown["NRestarts"]) == ("2", "0")
    assert "did you mean 'max_baskets'?" in desk.machine.words(DESK)


# Whom a call starts


def test_a_stopped_desk_is_not_started_by_somebody_who_asks_for_it(desk):
    desk.start()
    desk.machine.systemctl("stop", DESK)
    assert desk.ctl("status", check=False)[0] == REFUSED
    assert not desk.machine.path("/run/basisd/view.sock").exists()
    assert desk.machine.show(DESK)["ActiveState"] == "inactive"


def test_the_guard_answers_while_the_desk_is_down_and_the_desk_when_it_is_back(desk):
    desk.start()
    pid = desk.machine.main_pid(DESK)
    desk.kill(DESK)
    desk.machine.until("the desk is gone", lambda: desk.machine.main_pid(DESK) == 0)
    told = desk.machine.run("basisctl", "--json", "status", user=PERSON, groups=(*VIEW, *OPS), check=False)
    assert told.returncode == REFUSED
    assert json.loads(told.stdout)["guard"]["level"] in {"reduce_only", "cancel_all"}
    desk.restarted(DESK, pid, lambda: None)
    assert desk.status()["pid"] != pid


def test_a_stopped_guard_is_started_by_somebody_who_needs_it(desk):
    desk.start()
    desk.machine.systemctl("stop", DESK, GUARD)
    assert desk.machine.show(GUARD)["ActiveState"] == "inactive"
    desk.ctl("--timeout", "20", "kill", "cancel", "--reason", "test", groups=OPS)
    assert desk.latch()[-1][:2] == ("CANCEL_ALL", "operator")
    assert desk.latch()[-1][3] == int(PERSON)
    assert desk.machine.show(GUARD)["ActiveState"] == "active"


# Credentials

NAMED = 'margin_mode = "cross"\ncredentials = { credential = "binance-futures" }\n'
SECRET = "c4n4ry-0f-a-secret-that-nobody-logs"
KEPT = "/etc/basisd/credentials/binance-futures"
LOADED = f"[Service]\nLoadCredential=binance-futures:{KEPT}\n"


@pytest.fixture
def secret(desk):
    desk.configure(configuration().replace('margin_mode = "cross"\n', NAMED))
    desk.machine.write(KEPT, f"{SECRET}\n", 0o600)
    return desk


def test_a_credential_is_read_from_a_folder_of_its_own(secret):
    machine = secret.machine
    with machine.drop_in(DESK, LOADED):
        secret.start()
        folder = f"/proc/{machine.main_pid(DESK)}/root/run/credentials/{DESK}"
        modes = machine.run("stat", "--format=%a", folder, f"{folder}/binance-futures").stdout.split()
        assert modes == ["500", "400"]
        outsider = machine.run("ls", f"/run/credentials/{DESK}", user=PERSON, check=False)
        assert outsider.returncode != 0
        machine.systemctl("stop", DESK)
    words = json.dumps([machine.journal(unit) for unit in (DESK, GUARD, VENUE)])
    assert SECRET not in words
    assert machine.run("grep", "-r", "-l", SECRET, STATE, check=False).stdout == ""


@pytest.mark.parametrize(
    ("drop_in", "status", "said"),
    [
        ("", "2", "account futures: /etc/basisd/credentials/binance-futures: cannot be read"),
        ("[Service]\nLoadCredential=binance-futures:/etc/basisd/nothing\n", "243", "Failed to set up credentials"),
        (f"[Service]\nLoadCredential=other:{KEPT}\n", "2", "cannot be read: No such file"),
        ("[Service]\nEnvironment=CREDENTIALS_DIRECTORY=/etc/basisd/open\n", "2", "others may use it (mode 0644)"),
        (f"{LOADED}Environment=KEY={SECRET}\n", "2", "stands in the environment variable KEY"),
    ],
    ids=["not given", "missing", "of another name", "readable by others", "in the environment"],
)
def test_a_credential_that_cannot_be_used_keeps_the_desk_down(secret, drop_in, status, said):
    machine = secret.machine
    machine.write("/etc/basisd/open/binance-futures", f"{SECRET}\n", 0o644)
    with machine.drop_in(DESK, drop_in):
        machine.systemctl("start", DESK, check=False)
        shown = machine.until_state(DESK, ActiveState="failed")
    assert (shown["ExecMainStatus"], shown["NRestarts"]) == (status, "0")
    assert said in machine.words(DESK)
    assert SECRET not in machine.words(DESK)
