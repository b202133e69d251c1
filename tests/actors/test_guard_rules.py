"""The risk guards by the numbers of the table of guards (systems.md, section 6), at and beside each bound.

What trips each of them in a running desk, for who writes fault scripts:

| Guard | Fault |
|---|---|
| margin | marks move against a leveraged leg until coverage is below 1.2; a wallet report of NaN |
| leverage | a wallet falls (withdrawal, loss) while the position stays |
| size | a basket above 1,000,000 of one symbol; a sixth position |
| concentration | a second basket in the same asset once gross is above a tenth of the limit |
| funding | a mark whose rate is 0.6 % a stamp against the leg; a mark without a rate |
| adl | AdlRank 4 or 5 for a held leg |
| liquidation_distance | marks within 5 % of the liquidation price; PositionReport naming such a price |
| span | ES falls until equity is below 1.25 of the requirement; no mark of a held contract |
| position_limits | more than the contracts of the table; a product without a row |
| circuit | an equity future 7 % from its settlement; no SettlementPrice |
| settlement | an ES position 5 % of equity under water since SettlementPrice |
| rollover | the clock within three business days of first notice |
| portfolio | fills on one leg only beyond 1,000,000; no price of a held instrument |
"""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.guards import (
    adl,
    circuit,
    concentration,
    funding,
    leverage,
    liquidation_distance,
    margin,
    portfolio,
    position_limits,
    rollover,
    settlement,
    size,
    span,
)
from actors.guards.adl import AdlConfig, AdlFacts
from actors.guards.circuit import CircuitConfig, CircuitFacts
from actors.guards.concentration import ConcentrationConfig, ConcentrationFacts
from actors.guards.dated import rollover_facts
from actors.guards.findings import Findings, GuardReason, Severity, worst
from actors.guards.funding import FundingFacts, FundingGuardConfig
from actors.guards.leverage import LeverageConfig, LeverageFacts, LeverageTier
from actors.guards.liquidation_distance import DistanceFacts, LiquidationDistanceConfig
from actors.guards.margin import MarginFacts, MarginGuardConfig
from actors.guards.portfolio import AssetClass, CorrelatedGroup, PortfolioConfig, PortfolioFacts, asset_class
from actors.guards.position_limits import LimitFacts, PositionLimitsConfig
from actors.guards.rollover import RollChoice, RolloverConfig, RolloverFacts
from actors.guards.settlement import SettlementConfig, SettlementFacts
from actors.guards.size import SizeConfig, SizeFacts, TrailFacts
from actors.guards.span import SpanConfig, SpanFacts
from actors.messages import MarginLevel
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import Side
from venues.rules.contracts import parse_contract

D = Decimal
R = GuardReason
NAN, INF = D("NaN"), D("Infinity")
BAD = [None, NAN, INF, -INF, D("sNaN")]
HOUR = 3_600_000_000_000
# 2026-01-15 12:00 UTC: half way between two stamps of an eight-hour interval.
NOON = 1_768_478_400_000_000_000
WARN, BLOCK, REDUCE = Severity.WARN, Severity.BLOCK, Severity.REDUCE


def told(findings: Findings) -> list[tuple[Severity, GuardReason]]:
    return [(one.severity, one.reason) for one in findings]


# Margin


@pytest.mark.parametrize(
    ("level", "severity", "keep"),
    [
        (MarginLevel.HEALTHY, Severity.CLEAR, None),
        (MarginLevel.WARNING, WARN, None),
        (MarginLevel.DANGER, WARN, D("0.75")),
        (MarginLevel.CRITICAL, REDUCE, D("0.75")),
        (MarginLevel.LIQUIDATION, REDUCE, D("0.75")),
        (MarginLevel.UNKNOWN, BLOCK, None),
    ],
)
@pytest.mark.parametrize("coverage", [D("1.4"), *BAD])
def test_margin_levels(level: MarginLevel, severity: Severity, keep: Decimal | None, coverage: Decimal | None) -> None:
    findings = margin.decide(MarginFacts("f", level, coverage), MarginGuardConfig())
    assert worst(findings) is severity
    assert [one.keep for one in findings] == ([] if severity is Severity.CLEAR else [keep])


# Leverage


@pytest.mark.parametrize(
    ("notional", "equity", "venue_max", "is_account", "keep"),
    [
        # Per symbol 50x.
        ("50000", "1000", None, False, None),
        ("50000.01", "1000", None, False, "0.99999980"),
        ("49999.99", "1000", None, False, None),
        # The venue's bracket allows less.
        ("20000", "1000", 20, False, None),
        ("40000", "1000", 20, False, "0.5"),
        # A bracket that allows more does not.
        ("100000", "1000", 125, False, "0.5"),
        # Per account 20x.
        ("20000", "1000", None, True, None),
        ("25000", "1000", None, True, "0.8"),
        ("20000.01", "1000", 125, True, "0.9999995"),
        # Nothing behind it.
        ("1", "0", None, False, "0"),
        ("1", "-5", None, True, "0"),
        ("0", "-5", None, False, None),
    ],
)
def test_leverage(notional: str, equity: str, venue_max: int | None, is_account: bool, keep: str | None) -> None:
    facts = LeverageFacts("x", D(notional), D(equity), venue_max, is_account)
    findings = leverage.decide(facts, LeverageConfig())
    if keep is None:
        assert findings == ()
        return
    [one] = findings
    reason = R.ACCOUNT_LEVERAGE if is_account else R.SYMBOL_LEVERAGE
    assert (one.severity, one.reason) == (REDUCE, reason)
    assert one.keep == pytest.approx(D(keep), abs=D("1e-7"))


def test_leverage_is_tiered_by_notional() -> None:
    config = LeverageConfig(tiers=(LeverageTier(D(100_000), D(20)), LeverageTier(D(1_000_000), D(5))))
    for notional, most in ((D(100_000), 50), (D(100_001), 20), (D(1_000_000), 20), (D(1_000_001), 5)):
        assert leverage.allowed(LeverageFacts("x", notional, D(1)), config) == most


# Size


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        (SizeFacts("x", D(1_000_000)), []),
        (SizeFacts("x", D("1000000.01")), [R.SYMBOL_SIZE]),
        (SizeFacts("x", D(500_000), scale=D("0.5")), []),
        (SizeFacts("x", D(500_001), scale=D("0.5")), [R.SYMBOL_SIZE]),
        (SizeFacts("x", D(1), scale=D(0)), [R.SYMBOL_SIZE]),
        (SizeFacts("x", D(1), 5), []),
        (SizeFacts("x", D(1), 6), [R.OPEN_POSITIONS]),
        # 80 % of an allowed 50x.
        (SizeFacts("x", D(1), 1, D(40), D(50)), []),
        (SizeFacts("x", D(1), 1, D("40.001"), D(50)), [R.LEVERAGE_USE]),
        (SizeFacts("x", D(1), 1, None, D(50)), [R.NO_REFERENCE]),
        (SizeFacts("x", D(2_000_000), 6, D(50), D(50)), [R.SYMBOL_SIZE, R.OPEN_POSITIONS, R.LEVERAGE_USE]),
    ],
)
def test_size(facts: SizeFacts, reasons: list[GuardReason]) -> None:
    findings = size.decide(facts, SizeConfig())
    assert told(findings) == [(BLOCK, reason) for reason in reasons]


@pytest.mark.parametrize(
    ("price", "best", "way", "is_stopped"),
    [
        ("95.01", "100", 1, False),
        ("95", "100", 1, True),
        ("104.99", "100", -1, False),
        ("105", "100", -1, True),
        ("110", "100", 1, False),
    ],
)
def test_a_trailing_stop_of_five_percent(price: str, best: str, way: int, is_stopped: bool) -> None:
    facts = TrailFacts("x", D(price), D(best), way)
    findings = size.trailing(facts, SizeConfig(trailing_stop=D("0.05")))
    assert [(one.severity, one.keep) for one in findings] == ([(REDUCE, D(0))] if is_stopped else [])
    assert size.trailing(facts, SizeConfig()) == ()


# Concentration


@pytest.mark.parametrize(
    ("values", "blocked"),
    [
        # Not measured up to a tenth of the limit of 5,000,000.
        ({"BTC": "500000"}, []),
        ({"BTC": "500000.01"}, ["BTC"]),
        ({"BTC": "300000", "ETH": "300000"}, []),
        ({"BTC": "300000.01", "ETH": "300000"}, ["BTC"]),
        ({"BTC": "299999", "ETH": "300000"}, ["ETH"]),
        ({"BTC": "400000", "ETH": "300000", "SOL": "300000"}, []),
        ({}, []),
    ],
)
def test_concentration(values: dict[str, str], blocked: list[str]) -> None:
    facts = ConcentrationFacts({base: D(value) for base, value in values.items()}, D(5_000_000))
    findings = concentration.decide(facts, ConcentrationConfig())
    assert [(one.subject, one.severity, one.reason) for one in findings] == [
        (base, BLOCK, R.CONCENTRATED) for base in blocked
    ]


# Funding


def funding_of(rate: str, hours: int = 8, way: int = 1, **more: Any) -> list[tuple[Severity, GuardReason]]:
    facts = FundingFacts("p", way, D(rate), hours, NOON, **more)
    return told(funding.decide(facts, FundingGuardConfig()))


@pytest.mark.parametrize(
    ("rate", "hours", "way", "expected"),
    [
        # 0.05 % per eight hours warns; three such stamps a day are 15 bps.
        ("0.0005", 8, 1, []),
        ("0.00050001", 8, 1, [(WARN, R.FUNDING_RATE)]),
        ("-0.00050001", 8, 1, [(WARN, R.FUNDING_RATE)]),
        # The same of an hourly rate: 0.05 % / 8.
        ("0.0000625", 1, 1, []),
        ("0.00006251", 1, 1, [(WARN, R.FUNDING_RATE)]),
        # 30 bps a day: 10 bps at three stamps, 1.25 bps at 24.
        ("0.001", 8, 1, [(WARN, R.FUNDING_RATE)]),
        ("0.0010001", 8, 1, [(WARN, R.FUNDING_RATE), (BLOCK, R.FUNDING_EXCESSIVE)]),
        ("0.000125", 1, 1, [(WARN, R.FUNDING_RATE)]),
        ("0.0001251", 1, 1, [(WARN, R.FUNDING_RATE), (BLOCK, R.FUNDING_EXCESSIVE)]),
        # Shorts pay negative rates, and are paid positive ones.
        ("-0.0010001", 8, -1, [(WARN, R.FUNDING_RATE), (BLOCK, R.FUNDING_EXCESSIVE)]),
        ("0.0010001", 8, -1, [(WARN, R.FUNDING_RATE)]),
        # 50 bps a stamp.
        ("0.005", 8, 1, [(WARN, R.FUNDING_RATE), (BLOCK, R.FUNDING_EXCESSIVE)]),
        (
            "0.0050001",
            8,
            1,
            [(WARN, R.FUNDING_RATE), (BLOCK, R.FUNDING_ENTRY), (BLOCK, R.FUNDING_EXCESSIVE)],
        ),
    ],
)
def test_funding(rate: str, hours: int, way: int, expected: list[tuple[Severity, GuardReason]]) -> None:
    assert funding_of(rate, hours, way) == expected


@pytest.mark.parametrize(
    ("paid", "expected"),
    [("149.9", []), ("150", []), ("150.1", [(BLOCK, R.FUNDING_CUMULATED)]), ("-500", [])],
)
def test_funding_of_a_day_is_bounded(paid: str, expected: list[tuple[Severity, GuardReason]]) -> None:
    assert funding_of("0.0001", cumulated_bps=D(paid)) == expected
    assert funding_of("-0.0001", cumulated_bps=D(paid)) == expected


def test_the_cost_of_a_day_is_that_of_its_stamps() -> None:
    # 4 h: six stamps in any 24 hours, whenever they begin.
    for offset in (0, 1, HOUR, 3 * HOUR + 17):
        assert funding.daily_cost_bps(D("0.0001"), 1, 4, NOON + offset) == 6
    assert funding.daily_cost_bps(D("0.0001"), -1, 8, NOON) == -3


def test_excessive_funding_goes_in_equal_parts_over_the_next_stamps() -> None:
    config, position = FundingGuardConfig(reduce_over_stamps=4), D(12)
    left = []
    for stamps in range(5):
        facts = FundingFacts("p", 1, D("0.002"), 8, NOON, stamps_over=stamps, next_ns=NOON + stamps)
        [one] = [one for one in funding.decide(facts, config) if one.reason is R.FUNDING_EXCESSIVE]
        assert (one.severity, one.once) == (REDUCE, str(NOON + stamps))
        assert one.keep is not None
        position *= one.keep
        left.append(round(position, 20))
    assert left == [9, 6, 3, 0, 0]


def test_a_paying_position_is_held_no_longer_than_told() -> None:
    config = FundingGuardConfig(holding_max_ns=HOUR)
    for held, rate, is_over in ((HOUR, "0.0001", False), (HOUR + 1, "0.0001", True), (HOUR + 1, "-0.0001", False)):
        findings = funding.decide(FundingFacts("p", 1, D(rate), 8, NOON, held_ns=held), config)
        assert told(findings) == ([(REDUCE, R.HOLDING_TIME)] if is_over else [])


# Deleveraging, liquidation


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        (None, []),
        (1, []),
        (3, []),
        (4, [(WARN, R.ADL_RANK)]),
        (5, [(WARN, R.ADL_RANK)]),
        (0, [(BLOCK, R.NO_REFERENCE)]),
        (6, [(BLOCK, R.NO_REFERENCE)]),
    ],
)
def test_adl_ranks(rank: int | None, expected: list[tuple[Severity, GuardReason]]) -> None:
    findings = adl.decide(AdlFacts("p", rank), AdlConfig())
    assert told(findings) == expected
    if rank in (4, 5):
        assert findings[0].keep == D("0.5")


@pytest.mark.parametrize(
    ("distance", "expected"),
    [
        ("0.1001", []),
        ("0.10", []),
        ("0.0999", [(WARN, R.LIQUIDATION_NEAR)]),
        ("0.05", [(WARN, R.LIQUIDATION_NEAR)]),
        ("0.0499", [(REDUCE, R.LIQUIDATION_IMMINENT)]),
        ("0", [(REDUCE, R.LIQUIDATION_IMMINENT)]),
        ("-0.2", [(REDUCE, R.LIQUIDATION_IMMINENT)]),
    ],
)
def test_liquidation_distance(distance: str, expected: list[tuple[Severity, GuardReason]]) -> None:
    findings = liquidation_distance.decide(DistanceFacts("p", D(distance)), LiquidationDistanceConfig())
    assert told(findings) == expected
    assert [one.is_act for one in findings] == [severity is REDUCE for severity, _ in expected]


def test_what_no_price_liquidates_is_no_finding() -> None:
    assert liquidation_distance.decide(DistanceFacts("p", None, is_safe=True), LiquidationDistanceConfig()) == ()


# Futures


@pytest.mark.parametrize(
    ("equity", "expected", "keep"),
    [
        ("150", [], None),
        ("149.99", [(WARN, R.SPAN_WARNING)], None),
        ("125", [(WARN, R.SPAN_WARNING)], None),
        ("124.99", [(REDUCE, R.SPAN_DANGER)], "0.62495"),
        ("100", [(REDUCE, R.SPAN_DANGER)], "0.5"),
        ("99.99", [(REDUCE, R.SPAN_MARGIN_CALL)], "0.49995"),
        ("-5", [(REDUCE, R.SPAN_MARGIN_CALL)], "0"),
    ],
)
def test_span_levels_and_reductions_that_aim_at_two(
    equity: str, expected: list[tuple[Severity, GuardReason]], keep: str | None
) -> None:
    findings = span.decide(SpanFacts("c", D(equity), D(100)), SpanConfig())
    assert told(findings) == expected
    assert [one.keep for one in findings] == ([] if not expected else [None if keep is None else D(keep)])
    assert [one.is_act for one in findings] == [reason is R.SPAN_MARGIN_CALL for _, reason in expected]


def test_an_entry_must_leave_three_times_the_requirement() -> None:
    for equity, is_safe in ((D(300), True), (D("299.99"), False)):
        findings = span.decide(SpanFacts("c", equity, D(100), is_entry=True), SpanConfig())
        assert told(findings) == ([] if is_safe else [(BLOCK, R.SPAN_SAFE_SIZE)])
    assert span.safe_share(D(150), D(100), D(3)) == D("0.5")
    assert span.safe_share(D(600), D(100), D(3)) == 1


@pytest.mark.parametrize(
    ("positions", "day", "expected"),
    [
        # GC: 6,000 in the spot month (hard, from the eve of first notice), 8,000 in all months (accountability).
        ({"GCG7": 8_000}, "2026-11-02", []),
        ({"GCG7": 8_001}, "2026-11-02", [(WARN, R.ACCOUNTABILITY)]),
        ({"GCG7": 4_000, "GCJ7": 4_001}, "2026-11-02", [(WARN, R.ACCOUNTABILITY)]),
        ({"GCG7": -9_000, "GCJ7": 9_000}, "2026-11-02", []),
        # First notice of GCZ6 is 2026-11-30, the eve the 27th: 6,001 pass before it, not on it.
        ({"GCZ6": 6_001}, "2026-11-25", []),
        ({"GCZ6": 6_000}, "2026-11-27", []),
        ({"GCZ6": 6_001}, "2026-11-27", [(BLOCK, R.POSITION_LIMIT)]),
        ({"GCZ6": -6_001}, "2026-11-27", [(BLOCK, R.POSITION_LIMIT)]),
        # Ten micros are one.
        ({"GCZ6": 5_999, "MGCZ6": 10}, "2026-11-27", []),
        ({"GCZ6": 5_999, "MGCZ6": 11}, "2026-11-27", [(BLOCK, R.POSITION_LIMIT)]),
        # Nothing is established of NQ.
        ({"NQH7": 1}, "2026-11-02", [(BLOCK, R.NO_REFERENCE)]),
        ({}, "2026-11-02", []),
    ],
)
def test_position_limits(positions: dict[str, int], day: str, expected: list[tuple[Severity, GuardReason]]) -> None:
    facts = LimitFacts({parse_contract(name): D(qty) for name, qty in positions.items()}, date.fromisoformat(day))
    assert told(position_limits.decide(facts, PositionLimitsConfig())) == expected


def test_a_limit_of_one_s_own_stands_in_for_a_missing_one() -> None:
    config, day = PositionLimitsConfig(contracts={"NQ": 10}), date(2026, 11, 2)
    for qty, expected in ((10, []), (11, [(BLOCK, R.POSITION_LIMIT)]), (-11, [(BLOCK, R.POSITION_LIMIT)])):
        facts = LimitFacts({parse_contract("NQH7"): D(qty)}, day)
        assert told(position_limits.decide(facts, config)) == expected


@pytest.mark.parametrize(
    ("move", "left"),
    [
        ("0", "1"), ("0.0499", "1"), ("0.05", "1"), ("0.055", "0.875"), ("0.06", "0.75"), ("0.0699", "0.5025"),
        ("0.07", "0.5"), ("0.10", "0.5"), ("0.1299", "0.5"), ("0.13", "0.25"), ("0.1999", "0.25"), ("0.20", "0"),
        ("0.5", "0"),
    ],
)  # fmt: skip
def test_circuit_breakers_leave_a_share_of_the_size(move: str, left: str) -> None:
    assert circuit.size_factor(D(move), CircuitConfig()) == D(left)
    price = 5_000 * (1 - D(move))
    [*findings] = circuit.decide(CircuitFacts("cme:ESH7", price, D(5_000), is_cash=True), CircuitConfig())
    severity = Severity.CLEAR if D(left) == 1 else WARN if D(left) else BLOCK
    assert worst(findings) is severity


def test_a_rise_counts_outside_cash_hours_only() -> None:
    up = D(5_000) * D("1.06")
    assert circuit.factor(CircuitFacts("x", up, D(5_000), is_cash=True), CircuitConfig()) == 1
    assert circuit.factor(CircuitFacts("x", up, D(5_000), is_cash=False), CircuitConfig()) == D("0.75")


@pytest.mark.parametrize(
    ("variation", "equity", "keep"),
    [
        ("-5000", "100000", None),
        ("-5000.01", "100000", "0.999998"),
        ("-10000", "100000", "0.5"),
        ("50000", "100000", None),
        ("-1", "0", "0"),
        ("-1", "-10", "0"),
    ],
)
def test_settlement(variation: str, equity: str, keep: str | None) -> None:
    findings = settlement.decide(SettlementFacts("c", D(variation), D(equity)), SettlementConfig())
    if keep is None:
        assert findings == ()
        return
    [one] = findings
    assert (one.severity, one.reason) == (REDUCE, R.VARIATION)
    assert one.keep == pytest.approx(D(keep), abs=D("1e-6"))
    assert one.numbers["equity_after"] == D(equity) + D(variation)


GOLD = Instrument("cme", "GCZ6", InstrumentKind.FUTURE, "GC", "USD", D("0.1"), D(1), multiplier=D(100))


@pytest.mark.parametrize(
    ("side", "day", "expected"),
    [
        # First notice of GCZ6: 2026-11-30. Business days before it: 27, 25, 24 (flat), 23, 20, 19, 18, 17 (warned).
        (Side.BUY, "2026-11-16", []),
        (Side.BUY, "2026-11-17", [(WARN, R.ROLL_DUE)]),
        (Side.BUY, "2026-11-23", [(WARN, R.ROLL_DUE)]),
        (Side.BUY, "2026-11-24", [(REDUCE, R.CLOSE_OUT)]),
        (Side.BUY, "2026-12-15", [(REDUCE, R.CLOSE_OUT)]),
        # Last trading day: 2026-12-29. Before it: 28, 24, 23 (flat), 22, 21, 18, 17, 16 (warned).
        (Side.SELL, "2026-11-24", []),
        (Side.SELL, "2026-12-15", []),
        (Side.SELL, "2026-12-16", [(WARN, R.ROLL_DUE)]),
        (Side.SELL, "2026-12-22", [(WARN, R.ROLL_DUE)]),
        (Side.SELL, "2026-12-23", [(REDUCE, R.CLOSE_OUT)]),
    ],
)
def test_rollover_of_each_side(side: Side, day: str, expected: list[tuple[Severity, GuardReason]]) -> None:
    config = RolloverConfig()
    facts = rollover_facts(GOLD, parse_contract("GCZ6"), side, date.fromisoformat(day), config)
    findings = rollover.decide(facts, config)
    assert told(findings) == expected
    # The next active month is named.
    assert all("GCG7" in one.text for one in findings)
    assert [one.keep for one in findings] == [0 if severity is REDUCE else None for severity, _ in expected]


def test_a_dated_contract_that_nobody_knows_the_end_of_is_blocked() -> None:
    facts = rollover_facts(GOLD, None, Side.BUY, date(2026, 11, 2), RolloverConfig())
    assert told(rollover.decide(facts, RolloverConfig())) == [(BLOCK, R.NO_REFERENCE)]


@pytest.mark.parametrize(
    ("day", "cost", "choice"),
    [
        (14, "10", RollChoice.WAIT),
        (15, "50", RollChoice.ROLL),
        (16, "50.01", RollChoice.GIVE_UP),
        (16, None, RollChoice.GIVE_UP),
        (16, "NaN", RollChoice.GIVE_UP),
    ],
)
def test_a_roll_is_given_up_when_it_costs_too_much(day: int, cost: str | None, choice: RollChoice) -> None:
    asked = None if cost is None else D(cost)
    assert rollover.roll(date(2026, 6, day), date(2026, 6, 15), asked, RolloverConfig()) is choice


# Portfolio


@pytest.mark.parametrize(
    ("by_base", "by_quote", "expected"),
    [
        ({"BTC": 1_000_000}, {"USDT": -1_000_000}, []),
        ({"BTC": 1_000_001}, {"USDT": -1_000_001}, [("BTC", R.NET_DELTA)]),
        ({"BTC": -1_000_001}, {"USDT": 1_000_001}, [("BTC", R.NET_DELTA)]),
        # Flat in the coin, long of USDT and short of USD: a basis of its own.
        ({"BTC": 0}, {"USD": -1_000_000, "USDT": 1_000_000}, []),
        ({"BTC": 0}, {"USD": -1_000_001, "USDT": 1_000_001}, [("USD", R.QUOTE_BASIS), ("USDT", R.QUOTE_BASIS)]),
        # Two indices that move together.
        ({"ES": 300_000, "NQ": 200_000}, {"USD": -500_000}, []),
        ({"ES": 300_000, "NQ": 200_001}, {"USD": -500_001}, [("indices", R.CORRELATED_DELTA)]),
        ({"ES": 900_000, "NQ": -500_000}, {"USD": -400_000}, []),
    ],
)
def test_portfolio(by_base: dict[str, int], by_quote: dict[str, int], expected: list[tuple[str, GuardReason]]) -> None:
    config = PortfolioConfig(correlated={"indices": CorrelatedGroup(("ES", "NQ"), D(500_000))})
    facts = PortfolioFacts(
        {name: D(value) for name, value in by_base.items()}, {name: D(value) for name, value in by_quote.items()}
    )
    findings = portfolio.decide(facts, config)
    assert [(one.subject, one.reason) for one in findings] == expected
    assert all(one.severity is BLOCK for one in findings)


@pytest.mark.parametrize(
    ("kind", "symbol", "expected"),
    [
        (InstrumentKind.SPOT, "BTCUSDT", AssetClass.SPOT),
        (InstrumentKind.PERPETUAL, "BTCUSDT", AssetClass.CRYPTO_PERPETUAL),
        (InstrumentKind.QUARTERLY, "BTCUSDT_260327", AssetClass.CRYPTO_DATED),
        (InstrumentKind.FUTURE, "ESM6", AssetClass.CME_FUTURE),
        (InstrumentKind.FUTURE, "FDAXM6", AssetClass.OTHER_FUTURE),
    ],
)
def test_the_asset_class_is_seen_from_the_instrument(kind: InstrumentKind, symbol: str, expected: AssetClass) -> None:
    assert asset_class(Instrument("v", symbol, kind, "B", "USD", D("0.1"), D(1))) is expected


# What is not known blocks

UNKNOWN = {
    "leverage value": lambda bad: leverage.decide(LeverageFacts("x", bad, D(1)), LeverageConfig()),
    "leverage equity": lambda bad: leverage.decide(LeverageFacts("x", D(1), bad), LeverageConfig()),
    "size value": lambda bad: size.decide(SizeFacts("x", bad), SizeConfig()),
    "size scale": lambda bad: size.decide(SizeFacts("x", D(1), scale=bad), SizeConfig()),
    "size leverage": lambda bad: size.decide(SizeFacts("x", D(1), 1, bad, D(50)), SizeConfig()),
    "trail price": lambda bad: size.trailing(TrailFacts("x", bad, D(1), 1), SizeConfig(trailing_stop=D("0.1"))),
    "trail best": lambda bad: size.trailing(TrailFacts("x", D(1), bad, 1), SizeConfig(trailing_stop=D("0.1"))),
    "concentration": lambda bad: concentration.decide(
        ConcentrationFacts({"BTC": D(1), "ETH": bad}, D(5_000_000)), ConcentrationConfig()
    ),
    "funding rate": lambda bad: funding.decide(FundingFacts("p", 1, bad, 8, NOON), FundingGuardConfig()),
    "funding paid": lambda bad: funding.decide(FundingFacts("p", 1, D(0), 8, NOON, bad), FundingGuardConfig()),
    "distance": lambda bad: liquidation_distance.decide(DistanceFacts("p", bad), LiquidationDistanceConfig()),
    "span equity": lambda bad: span.decide(SpanFacts("c", bad, D(1)), SpanConfig()),
    "span needed": lambda bad: span.decide(SpanFacts("c", D(1), bad), SpanConfig()),
    "circuit price": lambda bad: circuit.decide(CircuitFacts("x", bad, D(1)), CircuitConfig()),
    "circuit reference": lambda bad: circuit.decide(CircuitFacts("x", D(1), bad), CircuitConfig()),
    "settlement variation": lambda bad: settlement.decide(SettlementFacts("c", bad, D(1)), SettlementConfig()),
    "settlement equity": lambda bad: settlement.decide(SettlementFacts("c", D(0), bad), SettlementConfig()),
    "rollover": lambda bad: rollover.decide(RolloverFacts("x", date(2026, 1, 5), None, None), RolloverConfig()),
    "portfolio": lambda bad: portfolio.decide(PortfolioFacts({"BTC": bad or NAN}, {"USDT": D(0)}), PortfolioConfig()),
    "portfolio price": lambda bad: portfolio.decide(PortfolioFacts({}, {}, ("v:X",)), PortfolioConfig()),
    "limits": lambda bad: position_limits.decide(
        LimitFacts({parse_contract("GCZ6"): bad or NAN}, date(2026, 1, 5)), PositionLimitsConfig()
    ),
}


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_no_number_blocks(name: str, bad: Decimal | None) -> None:
    findings = UNKNOWN[name](bad)
    assert worst(findings) >= BLOCK, name
    assert R.NO_REFERENCE in {one.reason for one in findings}


@pytest.mark.parametrize("name", ["circuit reference", "trail best"])
def test_a_reference_of_zero_blocks(name: str) -> None:
    assert worst(UNKNOWN[name](D(0))) >= BLOCK


# Worse facts never give a milder finding

money = st.decimals(0, 10**8, allow_nan=False, allow_infinity=False, places=2)
signed = st.decimals(-(10**8), 10**8, allow_nan=False, allow_infinity=False, places=2)
shares = st.decimals(-2, 2, allow_nan=False, allow_infinity=False, places=6)
rates = st.decimals("-0.05", "0.05", allow_nan=False, allow_infinity=False, places=8)

WORSE: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    "more value": (money, lambda x: leverage.decide(LeverageFacts("x", x, D(10_000), 75), LeverageConfig())),
    "less equity": (signed, lambda x: leverage.decide(LeverageFacts("x", D(50_000), -x), LeverageConfig())),
    "larger": (money, lambda x: size.decide(SizeFacts("x", x, 3, D(1), D(50)), SizeConfig())),
    "more of them": (st.integers(0, 20), lambda x: size.decide(SizeFacts("x", D(1), x), SizeConfig())),
    "more concentrated": (
        money,
        lambda x: (
            concentration.decide(ConcentrationFacts({"BTC": x, "ETH": D(300_000)}, D(5_000_000)), ConcentrationConfig())
            if x >= 300_000
            else ()
        ),
    ),
    "dearer": (
        rates,
        lambda x: funding.decide(FundingFacts("p", 1, x, 8, NOON), FundingGuardConfig()) if x >= 0 else (),
    ),
    "more paid": (signed, lambda x: funding.decide(FundingFacts("p", 1, D(0), 8, NOON, x), FundingGuardConfig())),
    "first in line": (st.integers(1, 5), lambda x: adl.decide(AdlFacts("p", x), AdlConfig())),
    "nearer": (
        shares,
        lambda x: liquidation_distance.decide(DistanceFacts("p", -x), LiquidationDistanceConfig()),
    ),
    "less margin": (signed, lambda x: span.decide(SpanFacts("c", -x, D(100_000)), SpanConfig())),
    "more needed": (money, lambda x: span.decide(SpanFacts("c", D(100_000), x), SpanConfig())),
    "lower": (
        shares,
        lambda x: circuit.decide(CircuitFacts("x", 5_000 * (1 - x), D(5_000), is_cash=True), CircuitConfig()),
    ),
    "more to pay": (signed, lambda x: settlement.decide(SettlementFacts("c", -x, D(10**6)), SettlementConfig())),
    "later": (
        st.integers(0, 400),
        lambda x: rollover.decide(
            rollover_facts(GOLD, parse_contract("GCZ6"), Side.BUY, date(2026, 1, 5) + timedelta(x), RolloverConfig()),
            RolloverConfig(),
        ),
    ),
    "more delta": (money, lambda x: portfolio.decide(PortfolioFacts({"BTC": x}, {"USDT": -x}), PortfolioConfig())),
    "more contracts": (
        st.integers(0, 20_000),
        lambda x: position_limits.decide(
            LimitFacts({parse_contract("GCZ6"): D(x)}, date(2026, 11, 27)), PositionLimitsConfig()
        ),
    ),
}


@pytest.mark.parametrize("name", WORSE)
@given(data=st.data())
def test_worse_facts_never_give_a_milder_finding(name: str, data: st.DataObject) -> None:
    values, decide = WORSE[name]
    one, other = data.draw(values), data.draw(values)
    better, worse = decide(min(one, other)), decide(max(one, other))
    assert worst(worse) >= worst(better)
    kept = [min((f.keep for f in found if f.keep is not None), default=D(1)) for found in (better, worse)]
    assert kept[1] <= kept[0]


@given(values=st.dictionaries(st.sampled_from("ABCDEFGH"), money, min_size=2), data=st.data())
def test_the_order_of_positions_changes_nothing(values: dict[str, Decimal], data: st.DataObject) -> None:
    shuffled = {name: values[name] for name in data.draw(st.permutations(list(values)))}
    config = ConcentrationConfig()
    limit = D(5_000_000)
    assert concentration.decide(ConcentrationFacts(values, limit), config) == concentration.decide(
        ConcentrationFacts(shuffled, limit), config
    )
    groups = PortfolioConfig(correlated={"g": CorrelatedGroup(("A", "B", "C"), D(10_000))})
    assert portfolio.decide(PortfolioFacts(values, {}), groups) == portfolio.decide(
        PortfolioFacts(shuffled, {}), groups
    )
    months = dict(zip(("GCG7", "GCJ7", "GCM7", "MGCG7", "SIH7", "SIK7", "HGH7", "HGK7"), values.values(), strict=False))
    held = {parse_contract(name): round(value / 1_000) * D(1) for name, value in months.items()}
    backwards = dict(reversed(held.items()))
    day = date(2026, 11, 2)
    assert position_limits.decide(LimitFacts(held, day), PositionLimitsConfig()) == position_limits.decide(
        LimitFacts(backwards, day), PositionLimitsConfig()
    )


# Configurations that contradict themselves


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: LiquidationDistanceConfig(act=D("0.2")), "act"),
        (lambda: SpanConfig(danger=D(2)), "warning"),
        (lambda: SpanConfig(reduce_to=D(1)), "target"),
        (lambda: RolloverConfig(warn_days=2), "warn_days"),
        (lambda: CircuitConfig(buffer=D("0.08")), "buffer"),
        (lambda: CircuitConfig(levels=(D("0.2"), D("0.1"), D("0.3"))), "levels"),
        (lambda: FundingGuardConfig(interval_hours=5), "interval_hours"),
        (lambda: FundingGuardConfig(reduce_over_stamps=0), "reduce_over_stamps"),
        (lambda: FundingGuardConfig(holding_max_ns=-1), "holding_max_ns"),
        (lambda: PositionLimitsConfig(contracts={"NQ": 0}), "contracts.NQ"),
        (lambda: SizeConfig(trailing_stop=D(0)), "trailing_stop"),
        (lambda: LeverageConfig(symbol=NAN), "symbol"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(make: Any, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: "):
        make()
