"""The unit files hold what they promise before anything is started: their sandbox, their syntax, what they share."""

import configparser
import re
import shutil
import subprocess

import pytest
from systemd_machine import ROOT, UNITS, Machine

from daemon.config_daemon import DaemonConfig

EXPOSURE_MAX = 1.3
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
SOCKETS = sorted(path.name for path in UNITS.glob("*.socket"))
TRADING = ["basisd.service", "basisd-guard.service", "basisd-venue.service", "basisd-gateway@.service"]

SANDBOX = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "RestrictNamespaces": "yes",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
    "LimitCORE": "0",
    "DynamicUser": "yes",
}
EXCEPTIONS = {"basisd-venue.service": {"MemoryDenyWriteExecute": "no"}}
"""The matching core is compiled at run time."""

SHARED = {
    "User": "basisd",
    "StateDirectory": "basisd",
    "StateDirectoryMode": "0700",
    "RuntimeDirectory": "basisd-link",
    "RuntimeDirectoryMode": "0700",
    "RuntimeDirectoryPreserve": "yes",
}


def read(name: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((UNITS / name).read_text())
    return unit


def seconds(text: str) -> float:
    assert text.isdecimal(), f"{text} is not in plain seconds"
    return float(text)


@pytest.mark.parametrize("name", SERVICES)
def test_exposure(name):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("NO SANDBOX IS SCORED: systemd-analyze is not installed")
    threshold = round(EXPOSURE_MAX * 10)
    scored = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={threshold}", str(UNITS / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Overall exposure level" in scored.stdout, scored.stderr
    assert scored.returncode == 0, scored.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_sandbox(name):
    service = read(name)["Service"]
    assert {key: service.get(key) for key in SANDBOX} == SANDBOX | EXCEPTIONS.get(name, {})


def test_what_is_compiled_has_a_place_to_be_kept():
    """ProtectSystem=strict leaves only the unit's own directories to write to."""
    service = read("basisd-venue.service")["Service"]
    assert service["CacheDirectory"] == "basisd"
    assert service["CacheDirectoryMode"] == "0700"
    assert "Environment=NUMBA_CACHE_DIR=%C/basisd\n" in (UNITS / "basisd-venue.service").read_text()


@pytest.mark.parametrize("name", TRADING)
def test_what_desk_guard_and_venue_share(name):
    service = read(name)["Service"]
    assert {key: service.get(key) for key in SHARED} == SHARED


def test_the_desk_is_given_the_time_that_its_stop_may_take():
    service = read("basisd.service")["Service"]
    settings = DaemonConfig()
    assert seconds(service["TimeoutStopSec"]) * 1e9 > settings.stop_baskets_ns + settings.stop_orders_ns + 2e9


def test_a_mistake_in_the_configuration_is_not_repeated():
    for name in TRADING:
        assert "2" in read(name)["Service"]["RestartPreventExitStatus"].split()


@pytest.mark.parametrize("name", SOCKETS)
def test_sockets_lie_where_basisctl_looks(name):
    socket = read(name)["Socket"]
    kind = socket["FileDescriptorName"]
    assert socket["ListenStream"] == f"/run/basisd/{kind}.sock"
    assert socket["SocketMode"] == "0660"
    assert socket["SocketGroup"] == {"view": "basisd-view", "ops": "basisd-ops", "panic": "basisd-ops"}[kind]
    assert name in read(socket["Service"])["Service"]["Sockets"].split()


def test_groups_are_made_for_every_socket():
    made = set(re.findall(r"^g (\S+)", (UNITS / "basisd.sysusers").read_text(), re.MULTILINE))
    assert made == {read(name)["Socket"]["SocketGroup"] for name in SOCKETS}


def test_nothing_names_a_file_of_this_machine():
    for path in [*UNITS.iterdir(), *(ROOT / "tests" / "systemd").glob("*.sh")]:
        assert str(ROOT) not in path.read_text(), path.name


def test_systemd_has_no_complaint(bare_machine: Machine):
    units = [f"/etc/systemd/system/{name}" for name in [*SERVICES, *SOCKETS]]
    verified = bare_machine.run("systemd-analyze", "verify", *units, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
