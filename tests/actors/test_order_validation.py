"""What a request must say to be an order of its instrument."""

import pytest
from cell_harness import PERP, D, changed
from order_bench import Bench, ask

from actors.messages import OrderApproved
from actors.order_validation import refusal
from venues.model.money import ZERO
from venues.model.order import OrderType, TimeInForce
from venues.port import RejectReason, SubmitOrder

NOW = 1_000
T, R, F = OrderType, RejectReason, TimeInForce

CASES = [
    ({}, None),
    ({"type": T.MARKET, "price": None}, None),
    ({"type": T.STOP_MARKET, "price": None, "trigger_price": D(95)}, None),
    ({"type": T.TAKE_PROFIT_MARKET, "price": None, "trigger_price": D(95), "trigger_on_mark": True}, None),
    ({"type": T.STOP_LIMIT, "trigger_price": D(95)}, None),
    ({"type": T.MARKET_WITH_PROTECTION, "price": None}, None),
    ({"type": T.MARKET_TO_LIMIT, "price": None}, None),
    ({"tif": F.GTD, "expire_ns": NOW + 1}, None),
    ({"type": T.LIMIT, "price": None}, R.BAD_PRICE),
    ({"type": T.STOP_LIMIT, "price": None, "trigger_price": D(95)}, R.BAD_PRICE),
    ({"type": T.STOP_LIMIT}, R.BAD_TRIGGER),
    ({"type": T.STOP_MARKET, "price": None}, R.BAD_TRIGGER),
    ({"type": T.STOP_MARKET, "price": None, "trigger_price": D("95.05")}, R.BAD_TRIGGER),
    ({"type": T.STOP_MARKET, "price": None, "trigger_price": ZERO}, R.BAD_TRIGGER),
    ({"type": T.STOP_MARKET, "price": None, "trigger_price": D(-95)}, R.BAD_TRIGGER),
    ({"type": T.STOP_MARKET, "price": None, "trigger_price": D("NaN")}, R.BAD_TRIGGER),
    ({"type": T.STOP_MARKET, "price": None, "trigger_price": D("Infinity")}, R.BAD_TRIGGER),
    ({"trigger_price": D(95)}, R.BAD_TRIGGER),
    ({"type": T.MARKET, "price": None, "trigger_price": D(95)}, R.BAD_TRIGGER),
    ({"trigger_on_mark": True}, R.BAD_TRIGGER),
    ({"type": T.TRAILING_STOP}, R.UNSUPPORTED),
    ({"tif": F.GTD}, R.BAD_EXPIRY),
    ({"tif": F.GTD, "expire_ns": NOW}, R.BAD_EXPIRY),
    ({"tif": F.GTC, "expire_ns": NOW + 1}, R.BAD_EXPIRY),
    ({"tif": F.GTD, "expire_ns": NOW + 1, "price": D("100.05")}, R.OFF_TICK),
]


@pytest.mark.parametrize(("changes", "reason"), CASES)
def test_what_a_request_must_say(changes: dict[str, object], reason: RejectReason | None) -> None:
    assert refusal(NOW, changed(ask(tif=F.GTC), **changes), PERP) is reason


def test_a_trigger_and_an_expiry_reach_the_venue_as_they_are() -> None:
    bench = Bench()
    request = changed(
        ask(tif=F.GTD), type=T.STOP_LIMIT, trigger_price=D(95), trigger_on_mark=True, expire_ns=bench.now + 1
    )
    bench.tell(OrderApproved(bench.now, request))
    (sent,) = bench.out.sent
    assert isinstance(sent, SubmitOrder)
    assert (sent.trigger_price, sent.trigger_on_mark, sent.expire_ns) == (D(95), True, bench.now + 1)


@pytest.mark.parametrize("tif", [F.IOC, F.FOK, F.GTC])
def test_what_waits_for_a_trigger_rests_whatever_its_time_in_force_says(tif: TimeInForce) -> None:
    bench = Bench()
    bench.tell(OrderApproved(bench.now, changed(ask(tif=tif), type=T.STOP_MARKET, price=None, trigger_price=D(95))))
    (tracked,) = bench.manager.state.orders.values()
    assert not tracked.is_immediate
