"""Whom the sockets of the units let in."""

import stat

import pytest
from systemd_desk import LINK, OPS, PERSON, REFUSED, STATE, VIEW


@pytest.mark.parametrize(("name", "group"), [("view", "basisd-view"), ("ops", "basisd-ops"), ("panic", "basisd-ops")])
def test_a_socket_belongs_to_its_group(standing, name, group):
    path = f"/run/basisd/{name}.sock"
    assert stat.S_ISSOCK(standing.machine.path(path).lstat().st_mode)
    assert standing.machine.run("stat", "--format=%a %U %G", path).stdout.strip() == f"660 root {group}"


@pytest.mark.parametrize(
    ("groups", "command", "status"),
    [
        (VIEW, ("status",), 0),
        (OPS, ("status",), REFUSED),
        ((), ("status",), REFUSED),
        (OPS, ("drain", "--reason", "test"), 0),
        (VIEW, ("drain", "--reason", "test"), REFUSED),
        ((), ("drain", "--reason", "test"), REFUSED),
        (OPS, ("kill", "reduce", "--reason", "test"), 0),
        (VIEW, ("kill", "reduce", "--reason", "test"), REFUSED),
        ((), ("panic", "--reason", "test"), REFUSED),
    ],
)
def test_a_socket_answers_its_group_alone(standing, groups, command, status):
    assert standing.ctl(*command, groups=groups, check=False)[0] == status


def test_a_call_is_journaled_with_who_called(standing):
    standing.ctl("drain", "--reason", "who was that?")
    journal = f"runs/{standing.runs()[-1]}/log/journal.sqlite"
    calls = standing.query(journal, "SELECT method, role, uid, gid, params FROM admin WHERE kind = 'AdminCall'")
    [(*who, _)] = [call for call in calls if "who was that?" in call[-1]]
    assert who == ["drain", "ops", int(PERSON), int(PERSON)]


def test_the_links_are_closed_to_everybody_else(standing):
    for path in (f"{LINK}/guard.sock", f"{LINK}/venue.sock", f"{STATE}/lock"):
        assert standing.machine.path(path).exists()
        seen = standing.machine.run("ls", path, user=PERSON, groups=OPS, check=False)
        assert "Permission denied" in seen.stderr
