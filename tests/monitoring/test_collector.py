"""A scrape tells what the desk knows, in pieces, and is silent about what it does not."""

import re
from decimal import Decimal
from math import isfinite

import pytest
from played_desk import BUILD, PlayedDesk, demo_config, noted_edges
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from actors.funding_messages import FundingDifference
from actors.funding_records import Stamp
from actors.kill_switch import KillConfig
from actors.ledger import Ledger
from actors.messages import (
    BasketState,
    BasketUpdate,
    Incident,
    KillLevel,
    KillTrigger,
    MarginLevel,
    MarginState,
    MismatchKind,
    PositionMismatch,
    PositionUpdate,
    Reconciled,
)
from actors.statistics import Statistics
from actors.sync_records import Suspect
from daemon.app import build_cell
from daemon.metrics.collector import FAMILIES, DeskCollector
from daemon.metrics.edges import EdgeStats
from daemon.metrics.family import PIECE, Kind
from daemon.metrics.server import render
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import AdlRank, Deleveraged, MarkPrice, Message

PERP, SPOT = "binance_usdm:BTCUSDT", "binance_spot:BTCUSDT"
# fmt: off
LABELS = frozenset({
    "account", "venue", "symbol", "side", "strategy", "reason", "kind", "level", "state", "status", "type", "asset",
    "guard", "lane", "role", "method", "edge", "pool", "outcome", "over_seconds", "le", "version", "build", "config",
    "scope", "channel",
})
# fmt: on


def series(collector: DeskCollector) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values by metric and label values in alphabetical order of the labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(collector).decode()):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_names_follow_the_rules(family):
    assert re.fullmatch(r"basisd_[a-z][a-z0-9]*(_[a-z0-9]+)*", family.name)
    assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
    assert not re.search(r"_(ms|ns|us|bps|percent|milliseconds|minutes)(_|$)", family.name)
    assert family.help.endswith(".")
    assert LABELS.issuperset(family.labels)
    assert bool(family.bounds) == (family.kind is Kind.HISTOGRAM)


def test_names_are_given_once():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_everything_that_can_be_known_of_a_healthy_desk_is_there(collector):
    found = {name for metric in collector.collect() for name in (metric.name, f"{metric.name}_total")}
    # Nobody of the demo is paid for trading, and nothing of note happened to it.
    silent = {
        "basisd_fee_rebates_total",
        "basisd_incidents_total",
        "basisd_cancels_refused_total",
        "basisd_guard_severity",
        "basisd_guard_findings_total",
    }
    assert {family.name for family in FAMILIES} - found == silent


def test_what_guards_find_is_told_by_what_it_is_about():
    config = demo_config()
    cell = build_cell(config)
    guards = cell.dispatcher.actors["portfolio_guard"]
    guards.handle(1, PositionUpdate(1, "futures", PERP, PositionSide.BOTH, Decimal(-1), Decimal(60_000), ZERO))
    guards.handle(2, AdlRank(2, "futures", PERP, 5))
    guards.handle(3, MarginState(3, "futures", MarginLevel.WARNING, ZERO, ZERO, None))
    later = 2_000_000_000
    guards.handle(later, MarkPrice(later, PERP, Decimal(60_000)))
    found = series(DeskCollector(cell, EdgeStats(), config, lambda: later, BUILD))
    venue, symbol = PERP.split(":")
    severities = found["basisd_guard_severity"]
    assert severities["futures", "adl", symbol, venue] == 1
    assert severities["futures", "margin", "", venue] == 1
    # No wallet was told: leverage and the liquidation price cannot be computed.
    assert severities["futures", "leverage", symbol, venue] == 2
    assert severities["futures", "liquidation_distance", symbol, venue] == 2
    assert found["basisd_guard_findings_total"]["futures", "adl", "warn", symbol, venue] == 1


def test_positions_are_worth_what_the_ledger_says(desk, collector):
    ledger = desk.cell.dispatcher.actors["ledger"]
    assert isinstance(ledger, Ledger)
    found = series(collector)
    held = {position.instrument: position for position in ledger.state.positions.values() if position.qty}
    assert set(held) == {PERP, SPOT}
    total = Decimal(0)
    for instrument, account in ((PERP, "futures"), (SPOT, "spot")):
        position, price = held[instrument], ledger.price(instrument)
        assert price is not None
        venue, symbol = instrument.split(":")
        key = (account, "both", symbol, venue)
        value = position.qty * price
        total += abs(value)
        assert found["basisd_position_value_quote"][key] == pytest.approx(float(value))
        profit = position.unrealized_pnl(price, desk.config.instruments[instrument])
        assert found["basisd_unrealized_pnl_quote"][key] == pytest.approx(float(profit))
        share = found["basisd_concentration_ratio"][symbol, venue]
        assert share == pytest.approx(
            float(abs(value) / sum(abs(p.qty) * (ledger.price(i) or 0) for i, p in held.items()))
        )
    assert sum(found["basisd_concentration_ratio"].values()) == pytest.approx(1)
    assert found["basisd_leverage_highest_ratio"][()] == max(found["basisd_leverage_ratio"].values())


def test_the_computed_liquidation_price_is_the_venue_s(desk, collector):
    """The venue named a price for the position; without its word the rules give the same."""
    statistics = desk.cell.dispatcher.actors["statistics"]
    assert isinstance(statistics, Statistics)
    named = series(collector)["basisd_liquidation_distance_ratio"]
    reported = statistics.state.reported
    assert [one.liquidation_price is not None for one in reported["futures"].values()] == [True]
    statistics.state.reported = {}
    computed = series(collector)["basisd_liquidation_distance_ratio"]
    statistics.state.reported = reported
    assert computed == pytest.approx(named)
    assert list(named) == [("futures", "both", "BTCUSDT", "binance_usdm")]


def test_executions_are_those_of_the_desk(desk, collector):
    found = series(collector)
    fills = sum(found["basisd_fills_total"].values())
    assert fills == sum(found["basisd_fill_latency_seconds_count"].values()) > 0
    orders = sum(found["basisd_orders_total"].values())
    assert orders == sum(found["basisd_slippage_ratio_count"].values())
    assert found["basisd_order_filled_quote_total"] == found["basisd_order_requested_quote_total"]
    assert found["basisd_funding_received_total"]["USDT", "BTCUSDT", "binance_usdm"] > 0
    assert found["basisd_baskets_total"]["balanced", "carry"] >= 2
    assert found["basisd_kill_level"] == {(): 0}


def test_edges_are_read_in_base_units(collector):
    found = series(collector)
    assert found["basisd_dead_man_remaining_seconds"]["futures", "binance_usdm"] == 60
    assert found["basisd_feed_staleness_seconds"]["BTCUSDT", "binance_usdm"] == 1
    assert found["basisd_clock_offset_seconds"][("binance_usdm",)] == -0.003
    assert found["basisd_uptime_seconds"][()] == 90
    assert found["basisd_api_latency_seconds_sum"][("binance_usdm",)] == pytest.approx(0.11)
    assert found["basisd_api_requests_total"]["query", "failed", "binance_usdm"] == 1
    assert found["basisd_slow_dispatches_total"] == {("0.01",): 1, ("0.25",): 1}
    assert found["basisd_build_info"] == {("abcdef012345", demo_config().sha256[:12], "1.2.3"): 1}


def test_histograms_accumulate_up_to_infinity(collector):
    found = series(collector)
    slippage = {
        labels[0]: value for labels, value in found["basisd_slippage_ratio_bucket"].items() if "binance_usdm" in labels
    }
    assert list(slippage) == ["5e-05", "0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01", "+Inf"]
    assert list(slippage.values()) == sorted(slippage.values())
    fills = [labels[0] for labels in found["basisd_fill_latency_seconds_bucket"] if "binance_usdm" in labels]
    assert fills == ["0.01", "0.05", "0.1", "0.5", "1.0", "5.0", "+Inf"]
    requests = [labels[0] for labels in found["basisd_api_latency_seconds_bucket"] if "binance_usdm" in labels]
    assert requests == ["0.01", "0.05", "0.1", "0.2", "0.5", "1.0", "2.0", "5.0", "+Inf"]


UNKNOWN_AT_FIRST = [
    "position_value_quote", "unrealized_pnl_quote", "leverage_ratio", "leverage_highest_ratio", "margin_coverage_ratio",
    "liquidation_distance_ratio", "concentration_ratio", "adl_rank", "net_pnl_quote", "funding_rate_ratio",
    "funding_rate_mean_8h_ratio", "funding_next_seconds", "funding_predicted", "guard_up", "guard_in_charge",
    "dead_man_remaining_seconds", "restarts_total", "feed_staleness_seconds",
    "clock_offset_seconds", "watchdog_beat_age_seconds", "uptime_seconds", "notices_total",
]  # fmt: skip


def test_what_is_not_known_is_not_told():
    config = demo_config()
    cell = build_cell(config)
    cell.start(config.run.start_ns)
    found = series(DeskCollector(cell, EdgeStats(), config, lambda: config.run.start_ns, BUILD))
    assert found.keys().isdisjoint(f"basisd_{name}" for name in UNKNOWN_AT_FIRST)
    # A count is known from the beginning, and an alarm on its rise needs to have seen the zero.
    assert found["basisd_liquidations_total"] == {("BTCUSDT", "binance_usdm"): 0}
    assert found["basisd_account_reconciled"] == {("futures", "binance_usdm"): 0, ("spot", "binance_spot"): 0}
    assert all(isfinite(value) for values in found.values() for value in values.values())


def test_a_stale_mark_is_no_mark(desk):
    later = PlayedDesk(desk.config, desk.cell, desk.now + 3_600_000_000_000)
    found = series(later.collector())
    assert "basisd_margin_coverage_ratio" not in found
    assert "basisd_liquidation_distance_ratio" not in found
    assert "basisd_leverage_highest_ratio" not in found
    assert min(found["basisd_feed_staleness_seconds"].values()) > 3_599


def test_no_label_names_an_order(scrape):
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            assert LABELS.issuperset(sample.labels)
            assert not [value for value in sample.labels.values() if re.search(r"bd-\d|carry-\d|/", value)]


def test_a_fact_of_an_account_unknown_to_the_configuration_breaks_nothing(desk):
    edges = noted_edges(desk.config, desk.now)
    edges.note_dead_man("stranger", desk.now)
    assert series(desk.collector(edges))["basisd_dead_man_remaining_seconds"]["stranger", "other"] == 0


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_the_pieces_make_the_whole(collector, accept):
    encode, _ = choose_encoder(accept)
    pieces = list(render(collector, encode))
    whole = [line for line in encode(collector).splitlines() if not line.startswith(b"process_")]
    assert [line for line in b"".join(pieces).splitlines() if not line.startswith(b"process_")] == whole


def test_no_piece_is_large(collector):
    sizes = [len(metric.samples) for metric in collector.pieces() if metric is not None]
    most = max(len(family.bounds) for family in FAMILIES) + 3
    assert max(sizes) < PIECE + most
    assert sum(sizes) > 300


def test_the_desk_may_move_on_between_two_pieces(desk):
    """Every table may change while a scrape pauses."""
    ledger = desk.cell.dispatcher.actors["ledger"]
    collector = desk.collector(noted_edges(desk.config, desk.now))
    for _ in collector.pieces():
        collector.edges.note_admin_call("ops", f"m{len(collector.edges.admin_calls)}")
        collector.edges.note_edge_restart(f"e{len(collector.edges.edge_restarts)}")
        collector.edges.note_request("binance_usdm", f"k{len(collector.edges.api_requests)}", 1)
        ledger.handle(desk.now, MarkPrice(desk.now, PERP, Decimal(60_000)))


def test_reading_changes_nothing(desk, collector):
    before = desk.cell.snapshot()
    list(collector.collect())
    assert desk.cell.snapshot() == before


@pytest.fixture
def fresh() -> PlayedDesk:
    """A desk before its first input, to be told things by hand."""
    config = demo_config()
    cell = build_cell(config)
    cell.start(config.run.start_ns)
    return PlayedDesk(config, cell, config.run.start_ns)


def hear(desk: PlayedDesk, actor: str, *messages: Message) -> None:
    for message in messages:
        desk.cell.dispatcher.actors[actor].handle(desk.now, message)


def test_exposure_and_its_budget_are_told_by_strategy(fresh):
    for basket, notional in (("b1", 60_000), ("b2", -40_000)):
        hear(fresh, "kill_switch", BasketUpdate(fresh.now, basket, "carry", BasketState.HEDGING, (), Decimal(notional)))
    later = PlayedDesk(fresh.config, fresh.cell, fresh.now + 10 * 1_000_000_000)
    found = series(later.collector())
    # Nobody knows these baskets any more: their strategy is not named, their exposure is.
    assert found["basisd_unhedged_quote"] == {("carry",): 0, ("other",): 100_000}
    budget = KillConfig().unhedged_budget
    assert found["basisd_unhedged_budget_used_ratio"] == {("carry",): 0, ("other",): float(600_000 / budget)}


def test_a_mismatch_is_shown_until_both_agree_again(fresh):
    mismatch = PositionMismatch(
        fresh.now, "futures", PERP, PositionSide.BOTH, MismatchKind.QUANTITY, Decimal(1), Decimal(2), "fills"
    )
    for actor in ("kill_switch", "statistics"):
        hear(fresh, actor, mismatch)
    found = series(fresh.collector())
    assert found["basisd_position_mismatch"]["futures", "binance_usdm"] == 1
    assert found["basisd_position_mismatches_total"]["quantity", "BTCUSDT", "binance_usdm"] == 1
    assert (found["basisd_kill_level"][()], found["basisd_kill_conditions"][()]) == (1, 1)
    hear(fresh, "kill_switch", Reconciled(fresh.now, "futures"))
    assert series(fresh.collector())["basisd_position_mismatch"]["futures", "binance_usdm"] == 0


def test_money_that_nothing_explains_is_a_mismatch_even_of_a_reconciled_account(fresh):
    sync = fresh.cell.dispatcher.actors["position_synchronizer"].state
    sync.accounts["futures"].suspects["futures#USDT"] = Suspect(
        *(MismatchKind.WALLET_DRIFT, Decimal(2), 0, True, "USDT", PositionSide.BOTH, Decimal(1))
    )
    sync.resolved = 3
    found = series(fresh.collector())
    assert found["basisd_position_mismatch"]["futures", "binance_usdm"] == 1
    assert found["basisd_position_mismatches_resolved_total"][()] == 3


def test_funding_that_is_asked_about_is_counted(fresh):
    tracker = fresh.cell.dispatcher.actors["funding_tracker"].state
    stamp = Stamp(1, Decimal("0.0001"), Decimal(60_000), is_closed=True)
    stamp.due("futures", PositionSide.BOTH).difference = FundingDifference.MISSING
    tracker.perpetuals[PERP].disputed.append(stamp)
    tracker.perpetuals[PERP].interval_ns = 4 * 3_600_000_000_000
    tracker.counts = {"missing": 2, "duplicate": 1}
    found = series(fresh.collector())
    assert found["basisd_funding_disputed"]["BTCUSDT", "binance_usdm"] == 1
    assert found["basisd_funding_interval_seconds"]["BTCUSDT", "binance_usdm"] == 14_400
    faults = {key[0]: value for key, value in found["basisd_funding_faults_total"].items() if value}
    assert faults == {"missing": 2, "duplicate": 1}


def test_what_happens_in_an_unknown_instrument_is_counted_as_other(fresh):
    hear(fresh, "statistics", Deleveraged(fresh.now, "futures", "v:STRANGE", Side.BUY, Decimal(1), Decimal(1)))
    found = series(fresh.collector())
    assert found["basisd_deleveragings_total"] == {("BTCUSDT", "binance_usdm"): 0, ("other", "other"): 1}


def test_triggers_of_other_actors_are_named_and_bounded(fresh):
    for number in range(100):
        hear(fresh, "kill_switch", KillTrigger(fresh.now, f"trigger{number}", KillLevel.REDUCE_ONLY, ""))
    found = series(fresh.collector())["basisd_kill_triggers_total"]
    assert found[("trigger0",)] == 1
    assert sum(found.values()) == 100
    assert len(found) == 65


def test_an_incident_is_counted_by_its_kind(fresh):
    hear(fresh, "statistics", Incident(fresh.now, "overfill", "", ""))
    assert series(fresh.collector())["basisd_incidents_total"] == {("overfill",): 1}


def test_margin_that_cannot_be_computed_is_said_so(fresh):
    assert set(series(fresh.collector())["basisd_margin_known"].values()) == {1}
    hear(fresh, "margin_monitor", PositionUpdate(fresh.now, "futures", PERP, PositionSide.BOTH, Decimal(1), None, ZERO))
    found = series(fresh.collector())["basisd_margin_known"]
    assert found == {("futures", "binance_usdm"): 0, ("spot", "binance_spot"): 1}


def test_an_actor_of_another_kind_is_no_desk(fresh):
    fresh.cell.dispatcher.actors["kill_switch"] = fresh.cell.dispatcher.actors["ledger"]
    with pytest.raises(TypeError, match="kill_switch is a Ledger, not a KillSwitch"):
        list(fresh.collector().collect())
