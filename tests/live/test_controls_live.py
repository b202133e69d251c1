"""Controls of a running desk: what is approved, what is told, and what the venues have confirmed."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest
from desk_configs import HOLDING, write_config
from live_daemon import eventually, running
from message_sinks import http_sink

from daemon.admin.client import CallFailedError
from daemon.build import build_id
from daemon.config import load
from daemon.config_daemon import DaemonConfig
from daemon.kinds import KINDS


def remaining_s(port: int) -> float | None:
    """Return what the desk's metrics say of the futures account's timer, None when they say nothing."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = re.search(
            r'^basisd_dead_man_remaining_seconds{account="futures".*} (\S+)$', answer.read().decode(), re.M
        )
    return float(found[1]) if found else None


def approve(config: Path, build: str, sha256: str) -> None:
    """Write an approval into the configuration."""
    text = config.read_text()
    said = f'[daemon]\napproved_build = "{build}"\napproved_config = "{sha256}"\n'
    assert text.count("[daemon]\n") == 1
    config.write_text(text.replace("[daemon]\n", said))


@pytest.mark.parametrize(
    ("build", "config", "why"),
    [
        ("b", "c", ""),
        ("x", "c", "build b is not the approved x"),
        ("b", "x", "configuration c is not the approved x"),
        ("x", "y", "build b is not the approved x; configuration c is not the approved y"),
    ],
)
def test_both_hashes_must_be_the_approved_ones(build: str, config: str, why: str) -> None:
    assert DaemonConfig(approved_build=build, approved_config=config).unapproved("b", "c") == why
    assert DaemonConfig().unapproved("b", "c") == ""


@pytest.mark.parametrize("given", [{"approved_build": "x"}, {"approved_config": "x"}])
def test_half_an_approval_is_a_mistake(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="approved together"):
        DaemonConfig(**given)  # type: ignore[arg-type]


def test_an_approval_does_not_change_what_it_approves(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", HOLDING)
    before = load(config, KINDS).sha256
    approve(config, build_id(), before)
    assert load(config, KINDS).sha256 == before


def test_what_is_not_approved_is_not_armed(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", HOLDING)
    approve(config, build_id(), "0" * 64)
    with running(config, tmp_path / "state", "--for", "10m", "--speed", "5") as daemon:
        status = daemon.wait_ready()
        assert status["kill"]["level"] == "reduce_only"
        with pytest.raises(CallFailedError, match="is not the approved"):
            daemon.call("arm", {"reason": "I want to"})
        status = daemon.status() or {}
        assert (status["kill"]["level"], status["open_baskets"]) == ("reduce_only", 0)


def test_a_kill_reaches_people_and_the_timers_are_confirmed(tmp_path: Path) -> None:
    """A webhook that is down does not hold up the desk, and is an alarm itself."""
    with http_sink() as sink:
        more = f'[channels]\nattempts = 1\n[channels.webhook]\nurl = "{sink.url}"\n'
        config = write_config(tmp_path / "desk.toml", HOLDING, more)
        with running(config, tmp_path / "state", "--for", "10m", "--speed", "5") as daemon:
            port = daemon.wait_ready()["metrics_port"]
            # The guard's 60 s are 300 of a market that runs five times as fast.
            left_s = eventually("the venue has confirmed its timer", lambda: remaining_s(port))
            assert 150 < left_s <= 300
            sink.statuses = [500]
            daemon.call("kill", {"level": "reduce_only", "reason": "a drill"})
            eventually("the webhook heard of it", lambda: sink.posts or None)
            assert sink.posts[0][1]["ref"] == "kill"
            alarm = eventually(
                "that it failed is an alarm",
                lambda: [one for one in daemon.call("alerts")["open"] if one["ref"] == "channel/webhook"] or None,
            )
            assert alarm[0]["text"] == "status 500"
            daemon.call("arm", {"reason": "the drill is over"})
            over = eventually(
                "the next one gets through", lambda: [one for _, one in sink.posts if one["is_over"]] or None
            )
            assert over[0]["ref"] == "kill"
            eventually("the channel works again", lambda: daemon.call("alerts")["open"] == [] or None)
            status = daemon.status() or {}
            assert status["kill"]["level"] == "armed"
