"""The ledger's rules: conservation to the last digit, each fill once, funding to whom it belongs, unknown refused."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Collected, detached_outbox
from actors.funding_messages import FundingPaid
from actors.ledger import Ledger, LedgerConfig
from actors.messages import (
    BasketState,
    BasketUpdate,
    BookView,
    FillEvent,
    KillTrigger,
    PnlUpdate,
    PositionUpdate,
    RoundTrip,
    WalletUpdate,
)
from actors.sync_messages import WalletMoved
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import IncomeKind, MarkPrice

D = Decimal
PERP = Instrument("fut", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", D("0.1"), D("0.001"))
SPOT = Instrument("spot", "BTCUSDT", InstrumentKind.SPOT, "BTC", "USDT", D("0.01"), D("0.00001"))
COIN = Instrument(
    "coin", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(100)
)
INSTRUMENTS = {spec.id: spec for spec in (PERP, SPOT, COIN)}
START = {"f": {"USDT": D(10_000)}, "s": {"USDT": D(50_000), "BTC": D(3)}, "c": {"BTC": D(1)}}
ACCOUNT = {PERP.id: "f", SPOT.id: "s", COIN.id: "c"}


def make(**config):
    ledger = Ledger(INSTRUMENTS, START, LedgerConfig(**config))
    done = Collected()
    ledger.out = detached_outbox("ledger", into=done)
    return ledger, done


def fill(spec, side, qty, price, *, trade="1", fee="0", fee_asset="", basket="", strategy="s1", account=None):
    made = Fill(
        0,
        account or ACCOUNT[spec.id],
        spec.id,
        "x",
        trade,
        side,
        D(price),
        D(qty),
        Liquidity.TAKER,
        D(fee),
        fee_asset or spec.settle,
        FillReason.TAKER,
    )
    return FillEvent(0, "r", strategy, basket, made)


def last(done, kind):
    return [one for one in done.emitted if isinstance(one, kind)][-1]


def test_start_tells_every_initial_balance():
    ledger, done = make()
    ledger.start(7)
    told = {(one.account, one.asset): one.balance for one in done.emitted if isinstance(one, WalletUpdate)}
    assert told == {("f", "USDT"): 10_000, ("s", "USDT"): 50_000, ("s", "BTC"): 3, ("c", "BTC"): 1}


def test_linear_close_realises_into_the_wallet_less_fees():
    ledger, done = make()
    ledger.handle(1, fill(PERP, Side.BUY, "2", "100", trade="1", fee="0.1"))
    ledger.handle(2, fill(PERP, Side.SELL, "1", "110", trade="2", fee="0.055"))
    update = last(done, PositionUpdate)
    assert (update.qty, update.entry_price, update.realized_pnl) == (1, 100, 10)
    assert ledger.state.wallets["f"]["USDT"] == D("10009.845")
    totals = ledger.totals()
    assert (totals.realized, totals.fees, totals.net) == ({"USDT": 10}, {"USDT": D("0.155")}, {"USDT": D("9.845")})


def test_spot_moves_both_assets_and_realises_in_quote():
    ledger, _ = make()
    ledger.handle(1, fill(SPOT, Side.BUY, "1", "100", trade="1", fee="0.1", fee_asset="USDT"))
    ledger.handle(2, fill(SPOT, Side.SELL, "0.4", "120", trade="2", fee="0.048", fee_asset="USDT"))
    assert ledger.state.wallets["s"] == {"USDT": D("49947.852"), "BTC": D("3.6")}
    assert ledger.totals().realized == {"USDT": 8}


def test_a_spot_fee_in_the_base_asset_comes_out_of_the_position():
    # Binance spot charges the received asset: buying 1 BTC at 100 with 0.1 % leaves 0.999 BTC.
    ledger, done = make()
    ledger.handle(1, fill(SPOT, Side.BUY, "1", "100", fee="0.001", fee_asset="BTC"))
    assert last(done, PositionUpdate).qty == D("0.999")
    assert ledger.state.wallets["s"] == {"USDT": 49_900, "BTC": D("3.999")}
    assert ledger.totals().fees == {"USDT": D("0.1")}


def test_inverse_profit_is_in_the_base_asset():
    ledger, _ = make()
    ledger.handle(1, fill(COIN, Side.BUY, "10", "50000", trade="1"))
    ledger.handle(2, fill(COIN, Side.SELL, "10", "62500", trade="2"))
    # 1000 USD x (1/50000 - 1/62500) = 0.004 BTC
    assert ledger.totals().realized == {"BTC": D("0.004")}
    assert ledger.state.wallets["c"]["BTC"] == D("1.004")


def test_a_fill_seen_twice_is_booked_once_and_a_self_trade_twice():
    ledger, _ = make()
    buy, sell = fill(PERP, Side.BUY, "1", "100"), fill(PERP, Side.SELL, "1", "100")
    for event in (buy, buy, sell, sell):
        ledger.handle(1, event)
    assert ledger.state.duplicates == 2
    assert ledger.state.positions["f/fut:BTCUSDT/BOTH"].qty == 0


def test_the_memory_for_repeated_fills_is_bounded():
    ledger, _ = make(seen=3)
    for trade in range(10):
        ledger.handle(1, fill(PERP, Side.BUY, "1", "100", trade=str(trade)))
    assert len(ledger.state.seen.keys) == len(ledger.state.seen.ring) == 3


@pytest.mark.parametrize(
    "event",
    [
        fill(PERP, Side.BUY, "NaN", "100"),
        fill(PERP, Side.BUY, "-1", "100"),
        fill(PERP, Side.BUY, "0", "100"),
        fill(PERP, Side.BUY, "1", "Infinity"),
        fill(PERP, Side.BUY, "1", "100", fee="NaN"),
        fill(COIN, Side.BUY, "1", "0"),
        fill(PERP, Side.BUY, "1", "100", account="nobody"),
        fill(Instrument("x", "Y", InstrumentKind.SPOT, "Y", "Z", D(1), D(1)), Side.BUY, "1", "1", account="f"),
    ],
)
def test_what_cannot_be_booked_stops_new_risk_and_changes_nothing(event):
    ledger, done = make()
    before = ledger.snapshot()["state"]
    ledger.handle(1, event)
    assert last(done, KillTrigger).trigger == "unbookable"
    assert ledger.snapshot()["state"] == before | {"refused": 1}


def basket(basket_id, state, closes=None):
    return BasketUpdate(0, basket_id, "carry", state, (), ZERO, closes)


def test_a_round_trip_reports_its_own_profit_fees_and_funding():
    ledger, done = make()
    ledger.handle(1, basket("o", BasketState.PLANNED))
    ledger.handle(2, fill(SPOT, Side.BUY, "1", "100", trade="1", fee="0.1", basket="o", strategy="carry"))
    ledger.handle(2, fill(PERP, Side.SELL, "1", "101", trade="2", fee="0.05", basket="o", strategy="carry"))
    ledger.handle(3, basket("o", BasketState.BALANCED))
    ledger.handle(4, FundingPaid(4, "f", PERP.id, PositionSide.BOTH, 4, 0, "USDT", D("0.5")))
    ledger.handle(5, basket("c", BasketState.PLANNED, closes="o"))
    ledger.handle(6, fill(SPOT, Side.SELL, "1", "102", trade="3", fee="0.1", basket="c", strategy="carry"))
    ledger.handle(6, fill(PERP, Side.BUY, "1", "102", trade="4", fee="0.05", basket="c", strategy="carry"))
    ledger.handle(7, basket("c", BasketState.BALANCED, closes="o"))
    assert not [one for one in done.emitted if isinstance(one, RoundTrip)]
    ledger.handle(7, basket("o", BasketState.FLAT))
    trip = last(done, RoundTrip)
    # spot +2, perpetual -1, funding +0.5, fees 0.3
    assert (trip.basket_id, trip.strategy, trip.pnl) == ("o", "carry", D("1.2"))
    assert not ledger.state.trades
    assert not ledger.state.closes


def test_a_close_of_a_part_is_no_round_trip_and_the_whole_is_one_over_all_closes():
    ledger, done = make()
    ledger.handle(1, fill(PERP, Side.SELL, "2", "101", trade="1", basket="o"))
    for number, close in enumerate(("c1", "c2")):
        ledger.handle(2, basket(close, BasketState.PLANNED, closes="o"))
        ledger.handle(3, fill(PERP, Side.BUY, "1", "100", trade=f"c{number}", basket=close))
        ledger.handle(4, basket(close, BasketState.BALANCED, closes="o"))
        assert not [one for one in done.emitted if isinstance(one, RoundTrip)]
        ledger.handle(4, basket("o", BasketState.FLAT if number else BasketState.BALANCED))
    assert [(one.basket_id, one.pnl) for one in done.emitted if isinstance(one, RoundTrip)] == [("o", D(2))]
    assert not ledger.state.closes


def test_an_unwound_opening_is_a_round_trip_and_a_denied_one_is_not():
    ledger, done = make()
    ledger.handle(1, fill(PERP, Side.SELL, "1", "101", trade="1", basket="o"))
    ledger.handle(2, fill(PERP, Side.BUY, "1", "102", trade="2", basket="o"))
    ledger.handle(3, basket("o", BasketState.FLAT))
    ledger.handle(4, basket("d", BasketState.DENIED, closes="x"))
    assert not ledger.state.closes
    assert [one.pnl for one in done.emitted if isinstance(one, RoundTrip)] == [-1]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(-50, 50)), max_size=8), st.integers(-999, 999))
def test_funding_is_split_over_strategies_to_the_last_digit(holdings, amount):
    ledger, _ = make()
    for number, (strategy, lots) in enumerate(holdings):
        if lots:
            side = Side.BUY if lots > 0 else Side.SELL
            event = fill(PERP, side, abs(lots), "100", trade=str(number), basket=strategy, strategy=strategy)
            ledger.handle(1, event)
    paid = D(amount).scaleb(-8)
    ledger.handle(2, FundingPaid(2, "f", PERP.id, PositionSide.BOTH, 2, 0, "USDT", paid))
    assert ledger.totals().funding == {"USDT": paid}


def test_funding_is_booked_once_and_corrected_by_what_follows():
    ledger, _ = make()
    for number, amount in ((0, "-5"), (0, "-5"), (1, "2"), (1, "2")):
        ledger.handle(2, FundingPaid(2, "f", PERP.id, PositionSide.BOTH, 7, number, "USDT", D(amount)))
    assert ledger.totals().funding == {"USDT": -3}
    assert ledger.state.duplicates == 2


def test_a_transfer_moves_the_wallet_and_is_no_profit():
    ledger, done = make()
    before = ledger.state.wallets["f"]["USDT"]
    ledger.handle(2, WalletMoved(2, "f", "USDT", D("-7.5"), IncomeKind.TRANSFER, "1"))
    assert last(done, WalletUpdate).balance == before - D("7.5")
    assert ledger.totals().net == {}


FILLS = st.lists(
    st.tuples(
        st.sampled_from([PERP, SPOT, COIN]),
        st.sampled_from(list(Side)),
        st.integers(1, 5_000),
        st.integers(1, 900_000),
        st.integers(-100, 1_000),
        st.sampled_from(["settle", "base", "BNB"]),
    ),
    max_size=25,
)


@given(FILLS)
def test_wallets_are_initial_plus_realised_less_fees_less_spot_cost(fills):
    ledger, _ = make()
    sums: dict[str, Decimal] = {}
    for number, (spec, side, lots, ticks, fee, kind) in enumerate(fills):
        asset = {"settle": spec.settle, "base": spec.base, "BNB": "BNB"}[kind]
        if kind == "base" and not spec.is_spot:
            asset = spec.settle
        qty = spec.qty(lots)
        event = fill(spec, side, qty, spec.price(ticks), trade=str(number), fee=D(fee) / 1_000_000, fee_asset=asset)
        ledger.handle(1, event)
        sums[spec.id] = sums.get(spec.id, ZERO) + side.sign * qty
        if spec.is_spot and asset == "BTC":
            sums[spec.id] -= D(fee) / 1_000_000
    state, totals = ledger.state, ledger.totals()
    assert {position.instrument: position.qty for position in state.positions.values()} == sums
    initial: dict[str, Decimal] = {}
    final: dict[str, Decimal] = {}
    for wallets, into in ((START, initial), (state.wallets, final)):
        for wallet in wallets.values():
            for asset, balance in wallet.items():
                into[asset] = into.get(asset, ZERO) + balance
    for position in state.positions.values():
        spec = INSTRUMENTS[position.instrument]
        if spec.is_spot:
            # The coins themselves are the position; their cost left the quote wallet.
            final[spec.base] -= position.qty
            final[spec.quote] += position.cost
    for asset in {*initial, *final, *totals.net}:
        assert final.get(asset, ZERO) == initial.get(asset, ZERO) + totals.net.get(asset, ZERO)


def test_profit_is_published_with_what_could_not_be_valued_named():
    ledger, done = make()
    ledger.handle(1, fill(PERP, Side.BUY, "1", "100", fee="0.01", fee_asset="BNB"))
    update = last(done, PnlUpdate)
    assert update.unmarked == ("BNB", PERP.id)
    ledger.handle(2_000_000_000, MarkPrice(0, PERP.id, D(103)))
    update = last(done, PnlUpdate)
    assert (update.unrealized, update.unmarked) == (3, ("BNB",))
    assert ledger.totals({PERP.id: D(90)}).unrealized == {"USDT": -10}


def test_spot_is_valued_at_the_mid():
    ledger, done = make()
    ledger.handle(1, fill(SPOT, Side.BUY, "1", "100"))
    ledger.handle(2_000_000_000, BookView(0, SPOT.id, SPOT.ticks(D(101)), 1, SPOT.ticks(D("101.5")), 1))
    assert last(done, PnlUpdate).unrealized == D("1.25")


def test_state_survives_json():
    ledger, _ = make()
    ledger.handle(1, fill(PERP, Side.BUY, "1", "100", basket="o"))
    ledger.handle(1, fill(SPOT, Side.BUY, "1", "100", fee="0.001", fee_asset="BTC"))
    ledger.handle(2, basket("c", BasketState.PLANNED, closes="o"))
    ledger.handle(2, MarkPrice(0, PERP.id, D(103)))
    other, _ = make()
    other.restore(json.loads(json.dumps(ledger.snapshot())))
    assert other.state == ledger.state
