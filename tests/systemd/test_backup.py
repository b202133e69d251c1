"""What docs/operations.md says of backups: one taken from a running desk is put back by its commands, and is enough."""

import pytest
from systemd_desk import DESK, PAIR, STATE, Desk
from systemd_machine import block

BACKUP = "/tmp/backup"


def run(desk: Desk, name: str) -> None:
    desk.machine.run("sh", "-ec", f"export BACKUP={BACKUP}\n{block(name)}")


def test_a_backup_is_put_back(desk):
    machine = desk.machine
    if machine.run("sh", "-c", "command -v sqlite3", check=False).returncode:
        pytest.skip("NO BACKUP IS TESTED: sqlite3 is not installed")
    desk.start()
    desk.until_trading()
    run(desk, "backup")
    desk.ctl("kill", "cancel", "--reason", "after the backup")
    pid = machine.main_pid(DESK)
    run(desk, "restore")
    machine.until_state(DESK, ActiveState="active")
    assert machine.main_pid(DESK) != pid
    held = {one["instrument"]: float(one["qty"]) for one in desk.ctl("positions")["positions"]}
    assert held == {"binance_spot:BTCUSDT": 0.5, "binance_usdm:BTCUSDT": -0.5}
    assert desk.venue_positions() == PAIR
    assert desk.runs() == ["000001", "000002"]
    owners = machine.run("find", STATE, "-printf", "%U\\n").stdout.split()
    assert len(set(owners)) == 1
    assert owners[0] != "0"
