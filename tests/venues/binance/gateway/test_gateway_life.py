"""How a gateway begins, goes on for ever and ends."""

from decimal import Decimal
from typing import Any

import pytest
import trio
from attrs import evolve
from emulator_here import API_KEY, SECRET, EmulatorHere, emulator
from gateway_port import ACCOUNT, GatewayPort, gateway_port
from port_desk import PortDesk

from sim.emulator.host import HostSettings
from venues.binance import gateway as gateway_module
from venues.binance.gateway import BinanceGateway
from venues.binance.settings import AccountKeys, GatewaySettings, KeyRefusedError
from venues.binance.sign import HmacSigner
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderType, Side
from venues.port import (
    CancelOrder,
    Lane,
    Message,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    OutcomeUnknown,
    Query,
    QueryFailed,
    QueryKind,
    SubmitOrder,
    VenueDown,
    VenueUp,
)

PATIENCE_S = 20.0


async def _end_of(here: EmulatorHere, keys: AccountKeys) -> KeyRefusedError:
    """Run a gateway that is to end by itself, and return why it did."""
    gateway = BinanceGateway(
        here.settings, {ACCOUNT: keys}, [here.instrument("BTCUSDT")], lambda _: None, here.clock.now
    )
    with trio.fail_after(PATIENCE_S), pytest.raises(KeyRefusedError) as refused:
        await gateway.run()
    return refused.value


@pytest.mark.parametrize("by_rest", [True, False])
@pytest.mark.parametrize(
    "keys",
    [AccountKeys(API_KEY, HmacSigner("wrong" * 8)), AccountKeys("x" * 64, HmacSigner(SECRET))],
    ids=["signature", "key"],
)
def test_a_key_the_venue_does_not_take_ends_the_gateway(keys: AccountKeys, by_rest: bool) -> None:
    async def play() -> None:
        async with emulator(is_session=False, by_rest=by_rest) as here:
            refused = await _end_of(here, keys)
            assert refused.account == ACCOUNT
            for secret in ("wrong" * 8, "x" * 64, SECRET):
                assert secret not in str(refused)

    trio.run(play)


def test_a_key_that_may_withdraw_ends_the_gateway() -> None:
    async def play() -> None:
        async with emulator(HostSettings(may_withdraw=True), is_session=False) as here:
            assert "withdraw" in (await _end_of(here, here.keys)).why

    trio.run(play)


def test_commands_before_it_is_ready_are_not_sent() -> None:
    spec = Instrument("binance", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001"))
    settings = GatewaySettings("binance", "usdm", "http://127.0.0.1:1", "ws://a", "ws://b", "ws://c")
    keys = AccountKeys("key", HmacSigner("secret"))
    gateway = BinanceGateway(settings, {ACCOUNT: keys}, [spec], lambda _: None, lambda: 7)
    told = gateway.send(
        [
            SubmitOrder(1, ACCOUNT, spec.id, "a", Side.BUY, Decimal(1), OrderType.MARKET),
            CancelOrder(1, ACCOUNT, spec.id, "a"),
            Query(1, ACCOUNT, "q", QueryKind.ACCOUNT),
            Query(1, "stranger", "r", QueryKind.ACCOUNT),
        ]
    )
    assert [type(one) for one in told] == [OrderRejected, OutcomeUnknown, QueryFailed, QueryFailed]
    assert all(one.ts == 7 for one in told)
    assert "secret" not in repr(keys) + repr(vars(gateway))


def test_a_venue_that_is_not_there_is_waited_for() -> None:
    async def play() -> None:
        spec = Instrument(
            "binance", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001")
        )
        # Nobody listens at port 1.
        settings = GatewaySettings("binance", "usdm", "http://127.0.0.1:1", "ws://a", "ws://b", "ws://c")
        heard: list[Message] = []
        keys = AccountKeys("key", HmacSigner("secret"))
        gateway = BinanceGateway(settings, {ACCOUNT: keys}, [spec], heard.extend, lambda: 7)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.run)
            with trio.fail_after(PATIENCE_S):
                while not gateway.counters["limits_failures"]:
                    await trio.sleep(0.01)
            assert "exchangeInfo" in gateway.why_down
            assert not heard
            nursery.cancel_scope.cancel()

    trio.run(play)


def test_instruments_of_another_venue_are_refused() -> None:
    spec = Instrument("other", "BTCUSDT", InstrumentKind.PERPETUAL, "BTC", "USDT", Decimal("0.1"), Decimal("0.001"))
    settings = GatewaySettings("binance", "usdm", "http://127.0.0.1:1", "ws://a", "ws://b", "ws://c")
    with pytest.raises(ValueError, match="other:BTCUSDT"):
        BinanceGateway(settings, {}, [spec], lambda _: None, lambda: 7)


@pytest.mark.parametrize(
    "given", [{"recv_window_ms": 0}, {"recv_window_ms": 60_001}, {"lifetime_s": 0}, {"market": "x"}]
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    settings = GatewaySettings("binance", "usdm", "http://127.0.0.1:1", "ws://a", "ws://b", "ws://c")
    with pytest.raises(ValueError, match=r".+"):
        evolve(settings, **given)


def test_an_instrument_that_is_not_what_the_venue_lists_keeps_it_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the venue lists it so, and again as soon as it does not any more."""
    monkeypatch.setattr(gateway_module, "RULES_S", 0.05)
    monkeypatch.setattr(gateway_module, "RULES_WRONG_S", 0.05)

    async def play() -> None:
        async with emulator() as here:
            right = here.instrument("BTCUSDT")
            listing = here.host.listings["BTCUSDT"]
            port = GatewayPort(here, evolve(right, min_notional=listing.min_notional - 1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(port.gateway.run)
                why = f"{right.id}: min_notional is {listing.min_notional - 1} here and {listing.min_notional}"
                # The one thing that is missing in the end.
                assert await port.wait(lambda: port.gateway.why_down.startswith(f"instruments: {why}"))
                assert not any(isinstance(one, VenueUp) and not one.channel for one in port.heard)
                here.host.listings["BTCUSDT"] = evolve(listing, min_notional=listing.min_notional - 1)
                assert await port.wait(port.is_up)
                here.host.listings["BTCUSDT"] = listing
                assert await port.wait(lambda: any(isinstance(one, VenueDown) and why in one.why for one in port.heard))
                nursery.cancel_scope.cancel()

    trio.run(play)


def test_it_says_nothing_before_it_is_up() -> None:
    async def play() -> None:
        async with gateway_port() as port:
            first = next(one for one in port.heard if isinstance(one, VenueUp | VenueDown) and not one.channel)
            assert isinstance(first, VenueUp)
            assert all(isinstance(value, int | float) for value in port.gateway.counters.values())
            assert port.gateway.why_down == ""

    trio.run(play)


def test_a_gateway_without_market_streams_answers_for_books() -> None:
    async def play() -> None:
        async with emulator() as here:
            quiet = evolve(here, settings=evolve(here.settings, wants_market=False))
            port = GatewayPort(quiet, here.instrument("BTCUSDT"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(port.gateway.run)
                assert await port.wait(port.is_up)
                desk = PortDesk(port)
                assert (await desk.book()).bids
                await desk.trade(Side.BUY, await desk.size())
                feed = [type(one) for one in port.heard if one.lane is Lane.FEED]
                assert {kind.__name__ for kind in feed} == {"BookSnapshot"}
                nursery.cancel_scope.cancel()

    trio.run(play)


def test_orders_and_fills_are_told_once_while_connections_are_replaced() -> None:
    async def play() -> None:
        async with emulator() as here:
            hasty = evolve(here, settings=evolve(here.settings, lifetime_s=0.7, overlap_s=0.3))
            port = GatewayPort(hasty, here.instrument("BTCUSDT"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(port.gateway.run)
                assert await port.wait(port.is_up)
                desk = PortDesk(port)
                await desk.begin()
                await _trade_through_rotations(port, desk)
                nursery.cancel_scope.cancel()

    trio.run(play)


def test_keys_are_kept_as_often_as_an_emulator_of_that_speed_forgets_them() -> None:
    async def play() -> None:
        async with emulator() as here:
            # A key's 60 minutes are 0.6 s then.
            quick = evolve(here, settings=evolve(here.settings, speed=6_000))
            port = GatewayPort(quick, here.instrument("BTCUSDT"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(port.gateway.run)
                kept = "accounts.me.events.keeps"
                assert await port.wait(lambda: port.gateway.counters.get(kept, 0) >= 2)
                nursery.cancel_scope.cancel()

    trio.run(play)


async def _trade_through_rotations(port: GatewayPort, desk: PortDesk) -> None:
    qty, sides = await desk.size(), (Side.BUY, Side.SELL)
    names: list[str] = []
    while (
        port.gateway.counters["accounts.me.events.keys"] < 4 or port.gateway.counters["accounts.me.session.logons"] < 4
    ):
        fills = await desk.trade(sides[len(names) % 2], qty)
        names.append(fills[0].client_order_id)
    heard: list[Message] = port.heard
    assert not [one for one in heard if isinstance(one, VenueDown | OutcomeUnknown)]
    accepted = [one.client_order_id for one in heard if isinstance(one, OrderAccepted)]
    assert len(accepted) == len(set(accepted))
    trades = [one.trade_id for one in heard if isinstance(one, OrderFilled)]
    assert len(trades) == len(set(trades))
    for name in names:
        assert desk.filled(name) == qty
