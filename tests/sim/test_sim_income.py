"""What the simulated venue tells of money beside trades, of settled rates and modes, and that a restart keeps it."""

from decimal import Decimal
from typing import Any

import pytest

from sim.account import INCOME_MAX
from sim.stored import from_bytes, to_bytes
from sim.venue import SimVenue
from sim.venue_stored import StoredVenue
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account, MarginMode, PositionMode
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import OrderType, PositionSide, Side
from venues.port import (
    AccountReport,
    BookSnapshot,
    FundingRate,
    IncomeKind,
    Query,
    QueryFailed,
    QueryKind,
    QueryResult,
    SetMarginMode,
    SetPositionMode,
    SubmitOrder,
)

D = Decimal
PERP = Instrument(
    *("SIM", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001")),
    max_leverage=125,
    brackets=(Bracket(D(0), D(10**8), D("0.004"), D(0), 125),),
)


def venue(mode: PositionMode = PositionMode.ONE_WAY) -> SimVenue:
    account = Account("me", "SIM", {"USDT": D(10_000)}, MarginMode.CROSS, mode)
    made = SimVenue("SIM", [PERP], [account], FeeTable(FeeSchedule(D(0), D(0))))
    made.on_market(0, BookSnapshot(0, PERP.id, 1, [(1000, 5000)], [(1001, 5000)]))
    return made


def buy(made: SimVenue, side: PositionSide = PositionSide.BOTH) -> None:
    order = SubmitOrder(1, "me", PERP.id, f"o{side}", Side.BUY, D(1), OrderType.MARKET, position_side=side)
    made.on_command(1, order)


def pay(made: SimVenue, now: int, rate: str) -> None:
    made.on_market(now, FundingRate(now, PERP.id, D(rate), D(60_000)))


def ask(made: SimVenue, kind: QueryKind, instrument: str | None = None, since: int | None = None) -> Any:
    (answer,) = made.on_command(99, Query(99, "me", "q", kind, instrument, since_ns=since))
    return answer


def test_income_tells_funding_and_transfers_to_the_digit_and_from_when_it_is_asked() -> None:
    made = venue()
    buy(made)
    # crypto.md B4: 1 x 60,000 x 0.01 % = 6 paid by the long; 0.0033 % received: 1.98.
    pay(made, 5, "0.0001")
    assert isinstance(made.transfer(6, "me", "USDT", D("-250.5"))[0], AccountReport)
    pay(made, 7, "-0.000033")
    told = ask(made, QueryKind.INCOME).incomes
    assert [(one.ts, one.kind, one.amount, one.income_id, one.instrument) for one in told] == [
        (5, IncomeKind.FUNDING, D(-6), "1", PERP.id),
        (6, IncomeKind.TRANSFER, D("-250.5"), "2", ""),
        (7, IncomeKind.FUNDING, D("1.98"), "3", PERP.id),
    ]
    assert {one.asset for one in told} == {"USDT"}
    assert [one.ts for one in ask(made, QueryKind.INCOME, since=6).incomes] == [6, 7]
    assert [one.ts for one in ask(made, QueryKind.INCOME, PERP.id, since=6).incomes] == [7]
    assert ask(made, QueryKind.ACCOUNT).balances == {"USDT": D(10_000) - 6 - D("250.5") + D("1.98")}


def test_income_names_the_side_in_hedge_mode() -> None:
    made = venue(PositionMode.HEDGE)
    buy(made, side=PositionSide.LONG)
    pay(made, 5, "0.0001")
    assert [one.position_side for one in ask(made, QueryKind.INCOME).incomes] == [PositionSide.LONG]


def test_an_income_that_is_forgotten_in_part_is_not_told_as_if_it_were_all() -> None:
    made = venue()
    for number in range(INCOME_MAX + 5):
        made.transfer(10 + number, "me", "USDT", D(1))
    assert isinstance(ask(made, QueryKind.INCOME), QueryFailed)
    assert isinstance(ask(made, QueryKind.INCOME, since=14), QueryFailed)
    assert len(ask(made, QueryKind.INCOME, since=15).incomes) == INCOME_MAX


def test_the_funding_history_tells_rates_and_marks_of_one_instrument() -> None:
    made = venue()
    pay(made, 5, "0.0001")
    buy(made)
    pay(made, 7, "0.0002")
    told = ask(made, QueryKind.FUNDING_HISTORY, PERP.id)
    # Nobody held at 5: nothing was paid, and a rate was settled all the same.
    assert [(one.ts, one.rate, one.mark) for one in told.rates] == [(5, D("0.0001"), 60_000), (7, D("0.0002"), 60_000)]
    assert [one.ts for one in ask(made, QueryKind.FUNDING_HISTORY, PERP.id, since=6).rates] == [7]
    assert isinstance(ask(made, QueryKind.FUNDING_HISTORY), QueryFailed)


@pytest.mark.parametrize("mode", list(PositionMode))
def test_positions_and_balances_tell_the_modes(mode: PositionMode) -> None:
    made = venue()
    made.on_command(1, SetMarginMode(1, "me", PERP.id, MarginMode.ISOLATED))
    made.on_command(1, SetPositionMode(1, "me", mode))
    buy(made, side=PositionSide.LONG if mode is PositionMode.HEDGE else PositionSide.BOTH)
    assert [one.margin_mode for one in ask(made, QueryKind.POSITIONS).positions] == [MarginMode.ISOLATED]
    assert ask(made, QueryKind.ACCOUNT).position_mode is mode


def test_a_stored_venue_still_knows_what_it_paid() -> None:
    made = venue()
    buy(made)
    pay(made, 5, "0.0001")
    made.transfer(6, "me", "USDT", D(7))
    again = venue()
    again.restore(from_bytes(to_bytes(made.store()), StoredVenue))
    for one in (made, again):
        one.transfer(8, "me", "USDT", D(1))
    for kind, instrument in ((QueryKind.INCOME, None), (QueryKind.FUNDING_HISTORY, PERP.id)):
        assert isinstance(ask(made, kind, instrument), QueryResult)
        assert ask(again, kind, instrument) == ask(made, kind, instrument)
