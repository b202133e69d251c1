"""What the account is told: money that adds up, positions, modes, margins. Formulas: facts A2 to A4, B4, F."""

from decimal import Decimal

import pytest
from emulated_venue import START, Emulated

from sim.emulator.events import AccountEvent, ConfigEvent, MarginCallEvent, OrderEvent
from venues.model.order import Side
from venues.port import BookSnapshot, LiquidationPrint

MS = START // 1_000_000


@pytest.fixture
def venue() -> Emulated:
    return Emulated()


def _wallet(venue: Emulated) -> Decimal:
    rows = venue.ask("GET", "/fapi/v2/balance")
    return next(Decimal(row["balance"]) for row in rows if row["asset"] == "USDT")


def _income(venue: Emulated) -> Decimal:
    return sum((Decimal(row["income"]) for row in venue.ask("GET", "/fapi/v1/income", limit=1000)), Decimal(0))


def test_income_sums_to_the_wallet_to_the_digit(venue: Emulated) -> None:
    # An average of three prices and thirds of the position: profits without an end in decimals.
    venue.book("ETHUSDT", asks=[(4_001, "1"), (4_003, "1"), (4_007, "1")])
    venue.order("BUY", "3", symbol="ETHUSDT")
    venue.order("SELL", "0.7", symbol="ETHUSDT")
    venue.fund("ETHUSDT", "0.00012345", "4000.12345678")
    venue.order("SELL", "1.1", symbol="ETHUSDT")
    venue.order("SELL", "1.2", symbol="ETHUSDT")
    assert venue.ask("GET", "/fapi/v3/positionRisk") == []
    kinds = {row["incomeType"] for row in venue.ask("GET", "/fapi/v1/income")}
    assert kinds == {"COMMISSION", "REALIZED_PNL", "FUNDING_FEE"}
    assert _wallet(venue) == 1_000_000 + _income(venue)
    assert _wallet(venue) == _wallet(venue).quantize(Decimal("0.00000001"))


def test_funding_is_paid_on_the_mark_by_who_holds(venue: Emulated) -> None:
    # Long 2 at a mark of 60,000 and a rate of 0.01 %: pays 12. Source: facts B4.
    venue.order("BUY", "2")
    before = _wallet(venue)
    venue.events.clear()
    venue.fund("BTCUSDT", "0.0001", "60000")
    assert _wallet(venue) - before == -12
    (event,) = venue.told(AccountEvent)
    assert (event.reason, event.symbol, list(event.positions)) == ("FUNDING_FEE", "BTCUSDT", [])
    (row,) = venue.ask("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")
    assert (row["income"], row["asset"], row["symbol"], row["tradeId"]) == ("-12.00000000", "USDT", "BTCUSDT", "")


def test_a_position_is_told_with_its_figures(venue: Emulated) -> None:
    venue.order("SELL", "1")
    venue.order("BUY", "2", "99000")
    (row,) = venue.ask("GET", "/fapi/v3/positionRisk")
    # Sold at 99,990 with a fee of 49.995; 100,000 of notional are in the second bracket: 0.5 % less 50.
    assert row["positionAmt"] == "-1.000"
    assert Decimal(row["entryPrice"]) == 99_990
    assert Decimal(row["breakEvenPrice"]) == Decimal("99990") - Decimal("49.995")
    assert Decimal(row["unRealizedProfit"]) == -10
    assert Decimal(row["notional"]) == -100_000
    assert Decimal(row["maintMargin"]) == 450
    assert Decimal(row["positionInitialMargin"]) == 5_000
    # max(|-100,000 + 198,000|, |-100,000 - 0|) / 20 = 5,000: the order adds nothing.
    assert Decimal(row["initialMargin"]) == 5_000
    assert Decimal(row["openOrderInitialMargin"]) == 0
    assert Decimal(row["bidNotional"]) == 198_000
    (row,) = venue.ask("GET", "/fapi/v2/positionRisk", symbol="BTCUSDT")
    assert (row["leverage"], row["marginType"], row["isAutoAddMargin"]) == ("20", "cross", "false")


def test_v3_lists_what_is_held_and_v2_every_symbol(venue: Emulated) -> None:
    assert venue.ask("GET", "/fapi/v3/positionRisk") == []
    assert len(venue.ask("GET", "/fapi/v2/positionRisk")) == 3
    venue.order("BUY", "1", "99000")
    assert [row["symbol"] for row in venue.ask("GET", "/fapi/v3/positionRisk")] == ["BTCUSDT"]


def test_totals_are_those_of_the_margin_asset(venue: Emulated) -> None:
    venue.order("BUY", "1")
    venue.mark("BTCUSDT", "101000")
    told = venue.ask("GET", "/fapi/v3/account")
    fee = Decimal("50.005")
    assert Decimal(told["totalWalletBalance"]) == 1_000_000 - fee
    assert Decimal(told["totalUnrealizedProfit"]) == 990
    assert Decimal(told["totalMarginBalance"]) == 1_000_000 - fee + 990
    assert Decimal(told["totalInitialMargin"]) == 5_050
    assert Decimal(told["availableBalance"]) == 1_000_000 - fee + 990 - 5_050
    (asset,) = told["assets"]
    assert asset["asset"] == "USDT"
    assert asset["updateTime"] == MS


def test_leverage_is_told_and_bounded(venue: Emulated) -> None:
    path = "/fapi/v1/leverage"
    assert venue.ask("POST", path, symbol="BTCUSDT", leverage=50) == {
        "symbol": "BTCUSDT",
        "leverage": 50,
        "maxNotionalValue": "12000000",
    }
    assert [(one.symbol, one.leverage) for one in venue.told(ConfigEvent)] == [("BTCUSDT", 50)]
    venue.ask("POST", path, symbol="BTCUSDT", leverage=50)
    assert venue.told(ConfigEvent) == []
    assert venue.code("POST", path, symbol="BTCUSDT", leverage=126) == -4028
    assert venue.code("POST", path, symbol="BTCUSDT", leverage=0) == -4028
    venue.order("BUY", "30")
    # Three million of notional allow 75x at most, and 1x needs more than the account has.
    assert venue.code("POST", path, symbol="BTCUSDT", leverage=100) == -2027
    assert venue.code("POST", path, symbol="BTCUSDT", leverage=1) == -2028


def test_isolated_margin_is_apart_and_moves(venue: Emulated) -> None:
    venue.ask("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED")
    assert venue.code("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED") == -4046
    assert venue.code("POST", "/fapi/v1/positionMargin", symbol="BTCUSDT", amount=1, type=1) == -4054
    assert venue.code("POST", "/fapi/v1/positionMargin", symbol="ETHUSDT", amount=1, type=1) == -4049
    venue.order("BUY", "1")
    venue.events.clear()
    assert venue.code("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="CROSSED") == -4048
    told = venue.ask("POST", "/fapi/v1/positionMargin", symbol="BTCUSDT", amount="99.5", type=1)
    assert (told["code"], told["amount"], told["type"]) == (200, 99.5, 1)
    (event,) = [one for one in venue.told(AccountEvent) if one.reason == "MARGIN_TRANSFER"]
    (balance,) = event.balances
    assert balance.wallet - balance.cross_wallet == Decimal("5000.5") + Decimal("99.5")
    (row,) = venue.ask("GET", "/fapi/v3/positionRisk")
    assert Decimal(row["isolatedWallet"]) == 5_100
    assert venue.code("POST", "/fapi/v1/positionMargin", symbol="BTCUSDT", amount=2_000_000, type=1) == -4050
    assert venue.code("POST", "/fapi/v1/positionMargin", symbol="BTCUSDT", amount=5_000, type=2) == -4051
    (change,) = venue.ask("GET", "/fapi/v1/positionMargin/history", symbol="BTCUSDT")
    assert (change["amount"], change["type"], change["deltaType"]) == ("99.50000000", 1, "USER_ADJUST")


def test_the_margin_type_does_not_change_under_open_orders(venue: Emulated) -> None:
    venue.order("BUY", "1", "99000")
    assert venue.code("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED") == -4047


def test_hedge_mode_holds_both_sides(venue: Emulated) -> None:
    path = "/fapi/v1/positionSide/dual"
    assert venue.code("POST", path, dualSidePosition="false") == -4059
    venue.ask("POST", path, dualSidePosition="True")
    assert venue.ask("GET", path) == {"dualSidePosition": True}
    venue.order("BUY", "1", positionSide="LONG")
    venue.order("SELL", "0.4", positionSide="SHORT")
    rows = {row["positionSide"]: row["positionAmt"] for row in venue.ask("GET", "/fapi/v3/positionRisk")}
    assert rows == {"LONG": "1.000", "SHORT": "-0.400"}
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"}
    assert venue.code("POST", "/fapi/v1/order", **order) == -4061
    assert venue.code("POST", "/fapi/v1/order", positionSide="SHORT", reduceOnly="true", **order) == -1106
    assert venue.code("POST", path, dualSidePosition="false") == -4068
    told = venue.ask("GET", "/fapi/v1/adlQuantile", symbol="BTCUSDT")
    assert set(told["adlQuantile"]) == {"LONG", "SHORT", "HEDGE"}


def test_multi_assets_mode_excludes_isolated_margin(venue: Emulated) -> None:
    path = "/fapi/v1/multiAssetsMargin"
    assert venue.code("POST", path, multiAssetsMargin="false") == -4171
    venue.ask("POST", path, multiAssetsMargin="true")
    assert venue.told(ConfigEvent)[-1].multi_assets
    assert venue.code("POST", "/fapi/v1/marginType", symbol="BTCUSDT", marginType="ISOLATED") == -4168
    assert venue.ask("GET", "/fapi/v1/accountConfig")["multiAssetsMargin"] is True


def test_brackets_are_continuous_and_told_from_one(venue: Emulated) -> None:
    (told,) = venue.ask("GET", "/fapi/v1/leverageBracket", symbol="BTCUSDT")
    rows = told["brackets"]
    assert [row["bracket"] for row in rows] == list(range(1, 13))
    # Source: facts A5, table of 2024-10-24.
    assert (rows[3]["notionalCap"], rows[3]["maintMarginRatio"], rows[3]["cum"]) == (12_000_000, 0.01, 11_450)
    assert (rows[-1]["notionalCap"], rows[-1]["initialLeverage"], rows[-1]["cum"]) == (1_800_000_000, 1, 421_481_450)


def test_income_is_paged_and_filtered(venue: Emulated) -> None:
    for _ in range(3):
        venue.order("BUY", "0.1")
        venue.wait(1)
    path = "/fapi/v1/income"
    rows = venue.ask("GET", path)
    assert len({row["tranId"] for row in rows}) == 3
    assert venue.ask("GET", path, limit=1) == rows[2:]
    assert venue.ask("GET", path, startTime=0, limit=2, page=2) == rows[2:]
    assert venue.ask("GET", path, startTime=MS + 1_000, endTime=MS + 1_500) == rows[1:2]
    assert venue.ask("GET", path, symbol="ETHUSDT") == []


def test_a_listen_key_lives_an_hour_from_its_last_use(venue: Emulated) -> None:
    path = "/fapi/v1/listenKey"
    assert venue.code("PUT", path) == -1125
    key = venue.ask("POST", path)["listenKey"]
    venue.wait(3_000)
    assert venue.ask("PUT", path) == {"listenKey": key}
    venue.wait(3_000)
    assert venue.ask("POST", path)["listenKey"] == key
    assert venue.code("PUT", path, listenKey="another") == -1125
    venue.wait(3_601)
    assert venue.code("PUT", path) == -1125


def test_a_liquidation_is_told_as_binance_tells_it() -> None:
    venue = Emulated(balances={"USDT": Decimal(6_000)})
    venue.order("BUY", "1")
    venue.events.clear()
    # A wallet of 5,949.995 less 100,010 - mark: below 0.5 % less 50 at 94,500.
    venue.book("BTCUSDT", bids=[(94_500, "0.6"), (94_400, "50")], asks=[(94_600, "50")])
    venue.mark("BTCUSDT", "96000")
    assert len(venue.told(MarginCallEvent)) == 0
    venue.mark("BTCUSDT", "94580")
    assert len(venue.told(MarginCallEvent)) == 1
    venue.mark("BTCUSDT", "94400")
    orders = [event for event in venue.events if isinstance(event, OrderEvent)]
    assert orders[0].order.client_order_id.startswith("autoclose-")
    assert [event.execution for event in orders][:2] == ["NEW", "CALCULATED"]
    (print_,) = [event for event in venue.events if isinstance(event, LiquidationPrint)]
    assert (print_.side, print_.qty) == (Side.SELL, Decimal(1))
    rows = venue.ask("GET", "/fapi/v1/forceOrders", autoCloseType="LIQUIDATION")
    assert [row["symbol"] for row in rows] == ["BTCUSDT"]
    assert venue.ask("GET", "/fapi/v3/positionRisk") == []
    assert "INSURANCE_CLEAR" in {row["incomeType"] for row in venue.ask("GET", "/fapi/v1/income")}
    assert _wallet(venue) == 6_000 + _income(venue)


def test_a_delivery_closes_the_position_at_the_settlement_price(venue: Emulated) -> None:
    (symbol,) = [name for name in venue.host.listings if "_" in name]
    spec = venue.host.listings[symbol].spec
    venue.play(BookSnapshot(venue.now, spec.id, 1, [(1_000_000, 5_000)], [(1_000_100, 5_000)]))
    venue.order("BUY", "1", symbol=symbol)
    before = _wallet(venue)
    venue.events.clear()
    venue.host.settle(symbol, Decimal(99_000))
    # Bought at 100,010, delivered at 99,000.
    assert _wallet(venue) - before == -1_010
    event = venue.told(OrderEvent)[-1]
    assert event.order.client_order_id.startswith("settlement_autoclose-")
    (row,) = venue.ask("GET", "/fapi/v1/income", incomeType="DELIVERED_SETTELMENT")
    assert Decimal(row["income"]) == -1_010
    assert venue.code("POST", "/fapi/v1/order", symbol=symbol, side="BUY", type="MARKET", quantity="1") == -4108
