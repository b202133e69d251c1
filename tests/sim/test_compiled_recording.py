"""A real recording end to end: raw frames, rows, a compiled quoter, fills with reasons."""

from decimal import Decimal
from itertools import islice
from pathlib import Path

from quoter import quote, quoter

from sim.compiled import PROFILES, CompiledRun, fill_records
from sim.market import RecordedMarket, Recording
from sim.row_builder import RowBuilder
from venues.costs.fees import FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.fill import FillReason, Liquidity
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.order import Side

D = Decimal
ARRIVALS = 60_000


def test_two_sided_quotes_in_a_recorded_market_fill_with_reasons(data_dir: Path) -> None:
    brackets = (Bracket(D(0), D(10**9), D("0.004"), D(0), 125),)
    sizes = D("0.1"), D("0.001")
    perpetual = InstrumentKind.PERPETUAL
    spec = Instrument("binance_usdm", "BTCUSDT", perpetual, "BTC", "USDT", *sizes, max_leverage=125, brackets=brackets)
    path = data_dir / "recordings" / "binance-usdm" / "btcusdt_20240808.gz"
    market = RecordedMarket([Recording(path, (spec,))], lambda _: None)
    fees = FeeTable(FeeSchedule(D("0.0002"), D("0.0005")))
    account = Account("me", "binance_usdm", {"USDT": D(100_000)})
    state = quoter(lots=1, most=10, interval_ns=100_000_000)
    run = CompiledRun([spec], account, fees, quote, state, latencies=PROFILES["institutional"])
    result = run.run(RowBuilder([spec]).blocks(islice(market, ARRIVALS)), source=str(path))
    fills = list(fill_records(result, [spec], fees))
    assert len(fills) > 20
    # Post-only orders never take.
    assert {fill.liquidity for fill in fills} == {Liquidity.MAKER}
    assert {fill.reason for fill in fills} <= {FillReason.QUEUE, FillReason.THROUGH, FillReason.CROSSED}
    held = sum((fill.qty * (1 if fill.side is Side.BUY else -1) for fill in fills), D(0))
    assert result.positions == {spec.id: held}
    paid = sum((fill.qty * fill.price * (1 if fill.side is Side.BUY else -1) + fill.fee for fill in fills), D(0))
    cost = run._venue.state.accounts["me"].open_holdings()
    assert result.balances["USDT"] == D(100_000) - paid + sum((one.position.cost for one in cost), D(0))
