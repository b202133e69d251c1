"""The dashboard shows what the plan wants to see, and asks only for what is there."""

import json
import re
from typing import Any

import pytest
from prometheus_tools import MONITORING, promtool

PATH = MONITORING / "grafana" / "basisd.json"
BOARD = json.loads(PATH.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUANTILE = re.compile(
    r"histogram_quantile\(0\.\d+, sum by \(le(?:, \w+)*\) \(rate\(\w+_bucket(?:\{[^}]*\})?\[5m\]\)\)\)"
)

ROWS = {
    "Positions": ["Total value", "Coverage per symbol", "Unrealised PnL"],
    "Funding": ["Current rates", "History", "Cumulative paid and received"],
    "Risk and liquidation": [
        "Distance to liquidation",
        "ADL rank",
        "Margin calls in 24 h",
        "Guard triggers in 24 h",
    ],
    "Execution quality": [
        "Slippage distribution",
        "Fill ratio by order type",
        "Fill latency p95",
        "Cost per basket over 24 h",
    ],
    "API health": [
        "Request rate",
        "Rate limit left",
        "Reconnects in 24 h",
        "Latency p99",
        "Requests of the gateways",
        "Round trip p99",
        "Rate limit used",
        "Streams",
        "Clock",
    ],
    "Daemon health": ["Dispatch latency", "Mailbox depth", "Journal commit", "Feed staleness", "Kill state"],
}


def rows() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for panel in BOARD["panels"]:
        if panel["type"] == "row":
            found[panel["title"]] = []
        else:
            found[list(found)[-1]].append(panel["title"])
    return found


def thresholds(title: str) -> list[Any]:
    [panel] = [panel for panel in PANELS if panel["title"] == title]
    return [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_rows_and_panels_are_the_planned_ones():
    found = rows()
    assert list(found) == list(ROWS)
    for row, panels in ROWS.items():
        assert set(panels) <= set(found[row]), row
    assert BOARD["refresh"] == "10s"


def test_thresholds_are_the_planned_ones():
    assert thresholds("Coverage per symbol") == [None, 1.5, 2, 3]
    assert thresholds("Distance to liquidation") == [None, 0.05, 0.1, 0.2]


def test_panels_are_well_formed_and_do_not_overlap():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        grid = panel["gridPos"]
        cells = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not taken & cells, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
    for panel in PANELS:
        assert panel["type"] in {"timeseries", "stat", "table", "bargauge"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for used in (panel, *panel["targets"]):
            assert used["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_data_source_is_chosen_by_a_variable():
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert set(re.findall(r"\$(?:\{(\w+)\}|(\w+))", PATH.read_text())) <= {
        *((name, "") for name in variables),
        *(("", name) for name in (*variables, "__all")),
    }


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_every_metric_asked_for_is_in_a_real_scrape(expr, scrapes):
    names = set(re.findall(r"^(\w+)", scrapes, flags=re.M))
    used = set(re.findall(r"\b(?:basisd|process)_\w+", expr))
    assert used
    assert used <= names


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_every_label_asked_for_is_one_of_the_metric(expr, scrapes):
    for name, selector in re.findall(r"\b(basisd_\w+)\{([^}]*)\}", expr):
        [labels, *_] = re.findall(rf"^{name}\{{(.*)\}} ", scrapes, flags=re.M)
        assert set(re.findall(r"(\w+)=~?\"", selector)) <= set(re.findall(r"(\w+)=\"", labels))


def test_quantiles_are_of_rates_of_buckets():
    text = "\n".join(EXPRESSIONS)
    assert text.count("histogram_quantile(") == len(QUANTILE.findall(text)) > 5


def test_every_expression_is_promql(tmp_path):
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    for number, expr in enumerate(EXPRESSIONS):
        lines += [f"      - record: dashboard:{number}", f"        expr: {json.dumps(expr.replace('$venue', '.*'))}"]
    (tmp_path / "rules.yml").write_text("\n".join(lines) + "\n")
    done = promtool("check", "rules", "rules.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(EXPRESSIONS)} rules found" in done.stdout
