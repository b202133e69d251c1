"""A real gateway process at an emulator, scraped while a desk trades through it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from emulated import Emulator, emulators, write_busy
from emulated_desk import LONG_S, START, Desk
from live_daemon import Daemon, eventually, running
from prometheus_tools import promtool

SAMPLE = re.compile(r"^basisd_(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@pytest.fixture
def venues(tmp_path: Path) -> Iterator[dict[str, Emulator]]:
    with emulators(tmp_path, "one", "two", arguments=("--balance", f"USDT={START}")) as found:
        yield found


def port_of(daemon: Daemon, side: str) -> int:
    """Return where a gateway says that it serves its metrics, 0 as long as it does not."""
    log = daemon.paths.gateway_folder(side) / "gateway.log"
    told = [json.loads(line) for line in log.read_text().splitlines() if '"metrics"' in line] if log.exists() else []
    return next((int(line["port"]) for line in told if line["event"] == "metrics"), 0)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def total(text: str, name: str, **labels: str) -> float:
    """Return the sum of the samples of a name that bear the labels."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    told = [(name, set(pairs.split(",")), float(value)) for name, pairs, value in SAMPLE.findall(text)]
    return sum(value for one, pairs, value in told if one == name and wanted <= pairs)


def test_a_gateway_tells_how_it_reaches_its_venues(tmp_path: Path, venues: dict[str, Emulator]) -> None:
    config = write_busy(tmp_path, venues, hold="4s", baskets=1, more="gateway_metrics_port = 0")
    with running(config, tmp_path / "state", mode="run") as daemon:
        desk = Desk(daemon, venues)
        desk.arm()
        port = eventually("it serves metrics", lambda: port_of(daemon, "desk"))
        assert get(port, "/healthz") == (200, "READY\n")
        eventually(
            "it traded", lambda: all(one.ask("/fapi/v1/userTrades", symbol="BTCUSDT") for one in venues.values())
        )
        status, text = get(port, "/metrics")
        assert status == 200
        for venue in venues:
            account = f"{venue}-account"
            assert total(text, "gateway_venue_up", venue=venue) == 1
            assert total(text, "gateway_socket_up", venue=venue, account=account, channel="events") == 1
            assert total(text, "gateway_requests_total", venue=venue, account=account, outcome="200") > 0
            assert total(text, "gateway_request_latency_seconds_count", venue=venue, account=account) > 0
            assert total(text, "gateway_socket_messages_total", venue=venue, channel="books") > 0
            assert total(text, "rate_limit_used_ratio", venue=venue, pool="weight_1m") > 0
            assert abs(total(text, "gateway_clock_offset_seconds", venue=venue)) < 5
        assert total(text, "gateway_clients") == 1
        assert total(text, "gateway_commands_total") > 0
        # No key, no signature and no listen key stands in a label.
        for one in venues.values():
            assert one.credential().split('"')[1] not in text
        checked = promtool("check", "metrics", stdin=text)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
        # The guard's has no port in the configuration.
        assert port_of(daemon, "guard") == 0
        one = venues["one"]
        one.fault({"on": "venue", "kind": "maintenance", "for_s": 60})
        eventually("it says which venue is down", lambda: get(port, "/healthz")[0] == 503, LONG_S)
        status, text = get(port, "/metrics")
        assert (status, total(text, "gateway_venue_up", venue="one")) == (200, 0)
