"""At which mark a position is liquidated, and what is left then: facts/simulation.md T11."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.venue import SimVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account, MarginMode
from venues.model.fill import FillReason
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import OrderType, PositionSide, Side
from venues.port import BookSnapshot, FundingRate, FundingSettled, MarkPrice, OrderFilled, Report, SubmitOrder
from venues.rules.binance_margin import Leg, liquidation_price

D = Decimal
BRACKETS = (Bracket(D(0), D(50_000), D("0.004"), D(0), 125), Bracket(D(50_000), D(10**7), D("0.005"), D(50), 100))
SPEC = Instrument(
    "V", "BTC", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"), max_leverage=125, brackets=BRACKETS
)
PRICE = Fraction(3000 + 50 - 60_000) / (Fraction(5, 1000) - 1)
"""(WB + cum - side q EP) / (q (MMR - side)): long 1 at 60,000 with 3,000, maintenance 0.5 %, cumulative 50."""


def held_long(mode: MarginMode) -> SimVenue:
    """A long of 1 at 60,000 on a wallet of 3,000, with 20x, so that an isolated margin is all of it."""
    account = Account("a", "V", {"USDT": D(3000)}, mode, leverage={SPEC.id: 20})
    venue = SimVenue("V", [SPEC], [account], FeeTable(FeeSchedule(ZERO, ZERO)))
    venue.on_market(0, MarkPrice(0, SPEC.id, D(60_000)))
    venue.on_market(0, BookSnapshot(0, SPEC.id, 1, [(500_000, 10_000)], [(600_000, 10_000)]))
    command = SubmitOrder(1, "a", SPEC.id, "o", Side.BUY, D(1), OrderType.LIMIT, D(60_000))
    assert any(isinstance(report, OrderFilled) for report in venue.on_command(1, command))
    return venue


def is_liquidated(reports: list[Report]) -> bool:
    return any(isinstance(report, OrderFilled) and report.reason is FillReason.LIQUIDATION for report in reports)


def test_the_formula_gives_the_number() -> None:
    assert f"{float(PRICE):.4f}" == "57236.1809"
    found = liquidation_price(D(3000), [Leg(PositionSide.BOTH, D(1), D(60_000), BRACKETS)])
    assert found is not None
    assert abs(Fraction(found) - PRICE) < Fraction(1, 10**9)


def test_the_equity_there_is_the_maintenance_margin() -> None:
    equity, maintenance = 3000 + PRICE - 60_000, PRICE * Fraction(5, 1000) - 50
    assert equity == maintenance
    assert f"{float(equity):.4f}" == "236.1809"


@pytest.mark.parametrize("mode", list(MarginMode))
@pytest.mark.parametrize(
    ("mark", "expected"),
    [("60000", False), ("57236.2", False), ("57236.181", False), ("57236.1809", True), ("57236.1", True), ("1", True)],
)
def test_the_first_mark_at_or_through_the_price_liquidates(mode: MarginMode, mark: str, expected: bool) -> None:
    venue = held_long(mode)
    assert is_liquidated(venue.on_market(2, MarkPrice(2, SPEC.id, D(mark)))) is expected
    held = venue.state.accounts["a"].qty(SPEC.id, PositionSide.BOTH)
    assert (held < 1) is expected


@pytest.mark.parametrize("mode", list(MarginMode))
@given(marks=st.lists(st.decimals("57000", "57500", places=4), min_size=1, max_size=20))
def test_no_mark_before_it_does_and_none_after_it_is_waited_for(mode: MarginMode, marks: list[Decimal]) -> None:
    venue = held_long(mode)
    for now, mark in enumerate(marks, start=2):
        reached = Fraction(mark) <= PRICE
        assert is_liquidated(venue.on_market(now, MarkPrice(now, SPEC.id, mark))) is reached
        if reached:
            return


def test_funding_of_a_hundredth_of_a_percent_costs_a_long_six() -> None:
    venue = held_long(MarginMode.CROSS)
    reports = venue.on_market(2, FundingRate(2, SPEC.id, D("0.0001"), D(60_000)))
    assert [report.amount for report in reports if isinstance(report, FundingSettled)] == [D("-6.00")]
    assert venue.state.accounts["a"].account.balance("USDT") == D("2994.00")
