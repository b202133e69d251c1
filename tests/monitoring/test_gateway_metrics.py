"""What a gateway process tells Prometheus, in base units, from the beginning, and only what is known."""

import pytest
from noted_gateway import NOW, SECOND, NotedServer, noted_gateway, nothing_known, vitals
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_tools import promtool

from daemon.gateway.metrics import FAMILIES, GatewayCollector
from daemon.metrics.family import PIECE
from daemon.metrics.server import render
from venues.net.limits import CEILING_PERCENT, Priority
from venues.net.link import DownReason
from venues.net.outcomes import LATENCY_BOUNDS_NS

USDM = "binance_usdm"


def series(collector: GatewayCollector) -> dict[str, dict[tuple[str, ...], float]]:
    """Return values by name, without prefix, and by labels in the order of the families."""
    order = {family.name: family.labels for family in FAMILIES}
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(collector).decode()):
        labels = order.get(family.name) or order.get(f"{family.name}_total", ())
        for sample in family.samples:
            names = [name for name in (*labels, "le") if name in sample.labels]
            key = tuple(sample.labels[name] for name in names)
            found.setdefault(sample.name.removeprefix("basisd_"), {})[key] = sample.value
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, dict[tuple[str, ...], float]]:
    return series(noted_gateway())


def test_venues_are_up_or_down_from_the_beginning(found):
    assert found["gateway_venue_up"] == {(USDM,): 1, ("binance_spot",): 0}
    assert found["gateway_socket_up"] == {
        (USDM, "", "books"): 1,
        (USDM, "futures", "events"): 1,
        (USDM, "futures", "orders"): 0,
    }


def test_every_end_of_a_request_is_counted_by_what_was_asked_for(found):
    asked = found["gateway_requests_total"]
    placed = {key[-1]: value for key, value in asked.items() if key[:-1] == (USDM, "futures", "session", "order.place")}
    assert placed == {"200": 2, "400": 1, "unknown": 1, "not_sent": 1}
    account = {key[-1]: value for key, value in asked.items() if key[2:4] == ("rest", "/fapi/v2/account")}
    assert account == {"200": 1, "unknown": 0, "not_sent": 0}


def test_latencies_are_in_seconds_and_accumulate(found):
    """4, 40 and 400 ms over the session (bounds 5 ms to 10 s), 20 s by REST."""
    both = found["gateway_request_latency_seconds_bucket"]
    buckets = {key[-1]: value for key, value in both.items() if "session" in key}
    assert buckets["0.005"] == buckets["0.025"] == 1
    assert buckets["0.05"] == buckets["0.25"] == 2
    assert buckets["0.5"] == buckets["+Inf"] == 3
    sums = found["gateway_request_latency_seconds_sum"]
    assert sums[USDM, "futures", "session"] == pytest.approx(0.444)
    rest = {key[-1]: value for key, value in both.items() if "rest" in key}
    assert (rest["10.0"], rest["+Inf"]) == (0, 1)
    assert len(rest) == len(LATENCY_BOUNDS_NS) + 1


def test_limits_are_told_as_what_is_left_for_new_orders_and_as_the_used_part(found):
    """1,980 of 2,400 are used; new orders may go up to 1,800 of them, and up to 225 of 300 orders, of which 30 went."""
    assert CEILING_PERCENT[Priority.NEW] == 75
    assert found["rate_limit_tokens"] == {(USDM, "futures", "weight_1m"): 0, (USDM, "futures", "orders_10s"): 195}
    assert found["rate_limit_used_ratio"][USDM, "futures", "weight_1m"] == pytest.approx(0.825)
    assert found["rate_limit_used_ratio"][USDM, "futures", "orders_10s"] == pytest.approx(0.1)


def test_bans_and_clocks_are_in_seconds(found):
    assert found["gateway_banned_seconds"] == {(USDM,): 90, ("binance_spot",): 0}
    assert found["gateway_clock_offset_seconds"] == {(USDM,): -0.003}
    assert found["gateway_clock_error_seconds"] == {(USDM,): 0.001}


def test_ends_of_connections_are_counted_from_zero_for_every_reason(found):
    ends = {key[-1]: value for key, value in found["gateway_socket_ends_total"].items() if key[2] == "books"}
    assert ends == dict.fromkeys((reason.value for reason in DownReason), 0) | {"lost": 1, "rotated": 1}


def test_what_happened_is_told_by_name(found):
    assert found["gateway_events_total"] == {
        (USDM, "", "feed_gaps"): 2,
        (USDM, "", "downs"): 1,
        (USDM, "futures", "repeated_fills"): 5,
    }
    assert found["gateway_refusals_total"] == {(USDM, "ban"): 1}
    assert found["gateway_messages_total"] == {("reports",): 9, ("market",): 1_200}


def test_what_is_not_known_is_not_told():
    server = NotedServer({"v": nothing_known()}, {"v": "not connected yet"})
    told = series(GatewayCollector(server))
    assert told["gateway_venue_up"] == {("v",): 0}
    assert told["gateway_commands_total"] == {(): 0}
    assert not {"gateway_clock_offset_seconds", "gateway_clock_error_seconds", "rate_limit_tokens"} & told.keys()


def test_a_ban_that_is_over_is_none():
    later = NotedServer({USDM: vitals()}, {}, ns=NOW + 91 * SECOND)
    assert series(GatewayCollector(later))["gateway_banned_seconds"] == {(USDM,): 0}


def test_failed_scrapes_are_told_by_the_next_one():
    collector = noted_gateway()
    collector.note_failed_scrape()
    assert series(collector)["gateway_scrapes_failed_total"] == {(): 1}


def test_no_piece_is_large():
    sizes = [len(metric.samples) for metric in noted_gateway().pieces()]
    assert max(sizes) < PIECE + len(LATENCY_BOUNDS_NS) + 3


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_the_pieces_make_the_whole(accept):
    encode, _ = choose_encoder(accept)
    collector = noted_gateway()
    pieces = [line for line in b"".join(render(collector, encode)).splitlines() if not line.startswith(b"process_")]
    assert pieces == [line for line in encode(collector).splitlines() if not line.startswith(b"process_")]


def test_a_scrape_passes_the_linter():
    done = promtool("check", "metrics", stdin=generate_latest(noted_gateway()).decode())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
