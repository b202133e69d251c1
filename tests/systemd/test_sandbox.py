"""What the sandbox of each unit forbids, tried from inside of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from systemd_desk import DESK, GUARD, VENUE
from systemd_machine import Machine

PROBE = (Path(__file__).parent / "probe.py").read_text()
INSTEAD = """
[Service]
Type=oneshot
Restart=no
ExecStart=
ExecStart=/opt/basisd/bin/python -I /etc/probe.py
"""

EVERYWHERE = {
    "write /": "EROFS",
    "write /etc": "EROFS",
    "write /usr": "EROFS",
    "write /opt": "EROFS",
    "write /var": "EROFS",
    "write /run": "EACCES",
    "write /sys": "EROFS",
    "write /tmp": "done",
    "list /home": "EACCES",
    "list /root": "EACCES",
    "read /etc/shadow": "EACCES",
    "read a credential's source": "EACCES",
    "open /dev/kmsg": "ENOENT",
    "AF_UNIX": "done",
    "AF_PACKET": "EAFNOSUPPORT",
    "AF_NETLINK": "EAFNOSUPPORT",
    "nice": "EPERM",
    "real time": "EPERM",
    "become root": "EPERM",
    "kill the manager": "EPERM",
    "a user namespace": "EPERM",
    "a network namespace": "EPERM",
    "trace": "EPERM",
    "mount": "EPERM",
    "another personality": "EPERM",
    "writable and executable": "EPERM",
    "setuid file": "EPERM",
    "set the clock": "EPERM",
    "is root": False,
    "core": [0, 0],
    "capabilities": 4 * 16 * "0",
    "no new privileges": "1",
    "seccomp": "2",
    "umask": "0077",
    "processes of others": [],
}
OWN_FOLDERS = {"write state": "done", "write runtime": "done"}
NO_NETWORK = {
    "AF_INET": "EAFNOSUPPORT",
    "speak to this machine": "EAFNOSUPPORT",
    "speak to another": "EAFNOSUPPORT",
}
LOOPBACK = {"AF_INET": "done", "speak to this machine": "done", "speak to another": "EPERM"}
COMPILES = {"writable and executable": "done"}
"""The venue's matching core is compiled at run time."""

WHOLE_PROC, OWN_PROC = {"write /proc/sys": "EROFS"}, {"write /proc/sys": "ENOENT"}


@pytest.mark.parametrize(
    ("unit", "own"),
    [(DESK, LOOPBACK | WHOLE_PROC), (GUARD, NO_NETWORK | OWN_PROC), (VENUE, NO_NETWORK | OWN_PROC | COMPILES)],
    ids=["desk", "guard", "venue"],
)
def test_sandbox(desk, unit, own):
    found = probed(desk.machine, unit)
    assert found == EVERYWHERE | OWN_FOLDERS | own


def probed(machine: Machine, unit: str) -> dict[str, Any]:
    """Return what came of the attempts in a unit's sandbox."""
    machine.write("/etc/probe.py", PROBE)
    machine.path("/etc/basisd/credentials").mkdir(mode=0o700, exist_ok=True)
    # An address that is this machine's and not on loopback's network: whatever is sent there would arrive.
    machine.run("ip", "address", "replace", "192.0.2.1/32", "dev", "lo")
    with machine.drop_in(unit, INSTEAD):
        machine.systemctl("start", unit)
    told = [one["MESSAGE"] for one in machine.journal(unit) if str(one.get("MESSAGE")).startswith('{"write /')]
    found: dict[str, Any] = json.loads(told[-1])
    return found
