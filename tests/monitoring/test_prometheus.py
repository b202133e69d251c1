"""A real Prometheus scrapes the desk, finds it up, and its rules and queries have something to say."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from prometheus_tools import MONITORING, needs

from daemon.metrics.server import serve_metrics

BOUND_S = 60


@pytest.fixture
def program() -> str:
    return needs("prometheus")


@asynccontextmanager
async def prometheus(program: str, folder: Path, target: int) -> AsyncIterator[httpx.AsyncClient]:
    """Run a Prometheus on a free port of its own that scrapes `target` each second, until the block is left."""
    config = (MONITORING / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:9464", f"127.0.0.1:{target}").replace("_interval: 10s", "_interval: 1s")
    (folder / "prometheus.yml").write_text(config)
    (folder / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    command = [
        *(program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, cwd=folder, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
        nursery.start_soon(run, command)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
        # The process is ended with its nursery.
        nursery.cancel_scope.cancel()


async def ask(client: httpx.AsyncClient, path: str, **params: str) -> Any:
    """Return the answer's data, None as long as there is none."""
    try:
        answer = await client.get(path, params=params)
    except httpx.TransportError:
        return None
    return answer.json()["data"] if answer.status_code == 200 else None


async def until(client: httpx.AsyncClient, path: str, found: Any, **params: str) -> Any:
    while True:
        data = await ask(client, path, **params)
        if data is not None and found(data):
            return data
        await trio.sleep(0.1)


async def test_a_real_prometheus_scrapes_the_desk(collector, program, tmp_path):
    with trio.fail_after(BOUND_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_metrics, collector, "127.0.0.1", 0, lambda: "READY")
            async with prometheus(program, tmp_path, port) as client:
                targets = await until(
                    client,
                    "/api/v1/targets",
                    lambda data: [one for one in data["activeTargets"] if one["lastScrape"][:4] > "0001"],
                )
                [target] = targets["activeTargets"]
                assert (target["health"], target["lastError"]) == ("up", ""), json.dumps(target)
                assert target["labels"]["job"] == "basisd"
                query = await until(
                    client, "/api/v1/query", lambda data: data["result"], query="sum(basisd_fills_total)"
                )
                assert float(query["result"][0]["value"][1]) > 0
                infos = await ask(client, "/api/v1/metadata", metric="basisd_fill_latency_seconds")
                assert infos["basisd_fill_latency_seconds"][0]["type"] == "histogram"
                rules = await until(
                    client,
                    "/api/v1/rules",
                    lambda data: all(rule["health"] == "ok" for group in data["groups"] for rule in group["rules"]),
                )
                assert sum(len(group["rules"]) for group in rules["groups"]) > 25
            nursery.cancel_scope.cancel()
