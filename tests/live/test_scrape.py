"""A real Prometheus scrapes a real desk and says that it is up."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from desk_configs import BUSY, write_config
from live_daemon import eventually, running
from prometheus_tools import needs, promtool


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def ask(url: str) -> Any:
    try:
        with urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except URLError:
        return None


def test_prometheus_says_that_a_paper_desk_is_up(tmp_path: Path) -> None:
    program = needs("prometheus")
    config = write_config(tmp_path / "desk.toml", BUSY)
    with running(config, tmp_path / "state", "--speed", "10") as daemon:
        port = daemon.wait_ready()["metrics_port"]
        eventually("it trades", lambda: daemon.call("positions", path=daemon.paths.view_socket)["positions"])
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        checked = promtool("check", "metrics", stdin=text)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read().startswith(b"READY")
        scrape = tmp_path / "prometheus.yml"
        scrape.write_text(
            "scrape_configs:\n  - job_name: basisd\n    scrape_interval: 1s\n"
            f"    static_configs: [{{ targets: ['127.0.0.1:{port}'] }}]\n"
        )
        web = free_port()
        server = subprocess.Popen(
            [
                *(program, f"--config.file={scrape}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"),
                f"--web.listen-address=127.0.0.1:{web}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:

            def health() -> bool:
                told = ask(f"http://127.0.0.1:{web}/api/v1/targets")
                return told is not None and [one["health"] for one in told["data"]["activeTargets"]] == ["up"]

            eventually("the target is up", health)

            def has_value() -> bool:
                told = ask(f"http://127.0.0.1:{web}/api/v1/query?query={quote('basisd_build_info')}")
                return bool(told and told["data"]["result"])

            eventually("a series arrived", has_value)
        finally:
            server.kill()
            server.wait()
