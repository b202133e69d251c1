"""Every alert has a severity, words, a page in the runbook, and a test that would notice its absence."""

import re
from pathlib import Path

import pytest
from prometheus_tools import MONITORING, needs, promtool

ROOT = Path(__file__).resolve().parents[2]
RULES = (MONITORING / "alerts.yml").read_text()
TESTS = (MONITORING / "alerts_test.yml").read_text()
RULE = re.compile(
    r"      - alert: (?P<name>\w+)\n"
    r"        expr: (?P<expr>.+\n(?: {10,}.+\n)*)"
    r"(?:        for: (?P<for>\d+[smh])\n)?"
    r"        labels: \{severity: (?P<severity>\w+)\}\n"
    r"        annotations:\n"
    r"          summary: (?P<summary>.+)\n"
    r"          description: (?P<description>.+)\n"
    r"          runbook: docs/operations\.md#(?P<anchor>.+)\n"
)
ALERTS = {found["name"]: found for found in RULE.finditer(RULES)}
FIRING = re.compile(r"eval_time: (\d+)s\n        alertname: (\w+)\n        exp_alerts:")
SILENT = re.compile(r"\{eval_time: (\d+)s, alertname: (\w+)\}")
SECONDS = {"s": 1, "m": 60, "h": 3600}

# The plan's table, and what else the issue names.
PLANNED = {
    "MarginCritical": ("< 1.2", "1m", "page"),
    "LiquidationImminent": ("< 0.02", "30s", "page"),
    "HighFunding": ("> 0.005", "5m", "ticket"),
    "ExcessiveFundingPaid": ("> 1000", None, "ticket"),
    "AdlRisk": (">= 4", "5m", "ticket"),
    "RateLimitLow": ("< 10", "1m", "ticket"),
    "ApiSlow": ("> 2", "5m", "ticket"),
    "Reconnects": ("> 3", None, "ticket"),
    "HighSlippage": ("> 0.001", "10m", "ticket"),
    "LowFillRatio": ("< 0.8", "15m", "ticket"),
    "KillSwitch": ("> 0", None, "page"),
    "StaleFeed": ("> 10", "10s", "page"),
    "UnhedgedExposure": ("> 0.5", None, "page"),
    "JournalSlow": ("> 0.01", "5m", "ticket"),
    "PositionMismatch": ("== 1", None, "page"),
    "RestartLoop": ("> 2", None, "page"),
    "ClockSkew": ("> 0.5", "1m", "ticket"),
    "GuardDown": ("== 0", "20s", "page"),
    "DeskDown": ("== 0", "30s", "page"),
    "FundingDisputed": ("> 0", "15m", "ticket"),
    "FundingIntervalChanged": ("> 0", None, "ticket"),
    "RateLimitHigh": ("> 0.8", "1m", "ticket"),
    "VenueBan": ("> 0", None, "page"),
    "AccountEventsDown": ("== 0", "30s", "page"),
    "GatewayDown": ("== 0", "30s", "page"),
}


def anchors(page: str) -> set[str]:
    """Return what headings are called in links."""
    headings = re.findall(r"^#+ (.+)$", page, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_rule_is_written_as_the_others():
    assert len(ALERTS) == RULES.count("- alert:") > 25


@pytest.mark.parametrize("name", PLANNED)
def test_the_planned_alerts_are_there(name):
    compared, waits, severity = PLANNED[name]
    found = ALERTS[name]
    assert found["expr"].strip().strip("'").endswith(compared)
    assert (found["for"], found["severity"]) == (waits, severity)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_and_a_page(name):
    found = ALERTS[name]
    assert found["severity"] in ("page", "ticket")
    assert found["anchor"] in anchors((ROOT / "docs" / "operations.md").read_text())


def test_a_page_of_the_runbook_says_what_it_means_where_to_look_and_what_to_do():
    runbook = (ROOT / "docs" / "operations.md").read_text().partition("## Runbook")[2].partition("\n## ")[0]
    pages = dict(re.findall(r"^### (.+)\n\n((?:.+\n)+)", runbook, flags=re.M))
    wanted = {found["anchor"] for found in ALERTS.values()}
    assert wanted <= {name for title in pages for name in anchors(f"# {title}")}
    for title, text in pages.items():
        assert re.findall(r"^- (\w+):", text, flags=re.M) == ["Means", "Look", "Do"], title


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_silent_until_its_time_and_then_firing(name):
    waits = ALERTS[name]["for"]
    wait_s = int(waits[:-1]) * SECONDS[waits[-1]] if waits else 0
    [fires_s] = [int(at) for at, alert in FIRING.findall(TESTS) if alert == name]
    silent_s = [int(at) for at, alert in SILENT.findall(TESTS) if alert == name]
    assert min(silent_s) < fires_s - wait_s
    # Ten seconds are the interval at which rules are evaluated.
    assert max(silent_s) == fires_s - 10


def test_quantiles_are_of_rates_of_buckets():
    quantile = re.compile(r"histogram_quantile\(0\.\d+, sum by \(le(?:, \w+)*\) \(rate\(\w+_bucket\[5m\]\)\)\)")
    assert RULES.count("histogram_quantile(") == len(quantile.findall(RULES)) == 3
    assert "quantile=" not in RULES


def test_the_files_are_right():
    for arguments in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_when_they_should():
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("never", [True, False], ids=["never firing", "always firing"])
def test_the_tests_notice_an_alert_that_is_wrong(tmp_path, never):
    """With an expression that is never true, or always, the test of every alert fails."""
    needs("promtool")
    expr = "vector(1) > 2" if never else "vector(1)"
    (tmp_path / "alerts.yml").write_text(
        re.sub(r"        expr: .+\n(?: {10,}.+\n)*(?:        for: .+\n)?", f"        expr: {expr}\n", RULES)
    )
    (tmp_path / "alerts_test.yml").write_text(TESTS)
    done = promtool("test", "rules", "alerts_test.yml", cwd=tmp_path)
    assert done.returncode != 0
    assert set(re.findall(r"alertname: ?(\w+)", done.stdout + done.stderr)) == set(ALERTS)


def test_the_metrics_of_the_rules_exist(scrapes):
    names = set(re.findall(r"^(\w+)", scrapes, flags=re.M)) | {"basisd_incidents_total"}
    used = set(re.findall(r"\bbasisd_\w+", "".join(found["expr"] for found in ALERTS.values())))
    assert used - names == set()
    assert len(used) > 20


def test_a_scrape_passes_the_linter(scrape):
    done = promtool("check", "metrics", stdin=scrape)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_example_scrapes_where_the_desk_serves():
    text = (MONITORING / "prometheus.yml").read_text()
    assert '"127.0.0.1:9464"' in text
    assert "job_name: basisd\n" in text
