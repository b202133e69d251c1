"""A trade that is taken back: the desk's books and baskets become what they were without it."""

from decimal import Decimal

import pytest
from cell_harness import PERP, SPECS, SPOT, Harness, Outcome, ScriptedVenue, buy, sell
from hypothesis import given
from hypothesis import strategies as st

from actors.base import Actor, Collected, detached_outbox, handles
from actors.drop_copy import DropCopy
from actors.ledger import Ledger
from actors.messages import BasketIntent, FillEvent, KillTrigger, PositionUpdate
from actors.post_trade import FillBusted
from actors.risk_gate import RiskGate
from venues.model.fill import Fill, FillReason, Liquidity
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO, desk_arithmetic
from venues.model.order import Side
from venues.model.position import position_key
from venues.port import OrderFilled, TradeBusted

D = Decimal
S = 1_000_000_000
COIN = Instrument(
    "coin", "BTCUSD", InstrumentKind.PERPETUAL, "BTC", "USD", D("0.1"), D(1), inverse=True, multiplier=D(100)
)
INSTRUMENTS = {**SPECS, COIN.id: COIN}
START = {"acc": {"USDT": D(100_000), "BTC": D(10)}}


# The ledger


def fill(spec: Instrument, number: int, side: Side, qty: int, price: int, fee: int, asset: str) -> FillEvent:
    made = Fill(
        number, "acc", spec.id, "x", f"t{number}", side, D(price), qty * spec.lot_size, Liquidity.TAKER,
        D(fee) / 100, asset, FillReason.TAKER,
    )  # fmt: skip
    return FillEvent(number, "r", "s1", "b1", made)


def ledger() -> tuple[Ledger, Collected]:
    made, done = Ledger(INSTRUMENTS, START), Collected()
    made.out = detached_outbox("ledger", done)
    return made, done


FILLS = st.lists(
    st.tuples(
        st.sampled_from([PERP, SPOT, COIN]),
        st.sampled_from(Side),
        st.integers(1, 50),
        st.integers(100, 200),
        st.integers(-20, 20),
        st.booleans(),
    ),
    max_size=20,
)


@given(FILLS, st.data())
def test_what_is_left_after_busts_is_worth_what_it_is_without_those_trades(rows, data):
    """Quantities, wallets of spot assets and fees are the same; realised and unrealised profit are the same in sum."""
    with desk_arithmetic():
        busted = data.draw(st.sets(st.integers(0, max(0, len(rows) - 1)))) if rows else set()
        with_busts, _ = ledger()
        without, _ = ledger()
        events = [
            fill(spec, number, side, qty, price, fee, spec.base if is_base and spec.is_spot else spec.settle)
            for number, (spec, side, qty, price, fee, is_base) in enumerate(rows)
        ]
        for number, event in enumerate(events):
            with_busts.handle(number, event)
            if number not in busted:
                without.handle(number, event)
        for number in busted:
            one = events[number]
            with_busts.handle(100, FillBusted(100, one.request_id, one.strategy, one.basket_id, one.fill))
        for key, position in without.state.positions.items():
            assert with_busts.state.positions[key].qty == position.qty
        for key, position in with_busts.state.positions.items():
            if key not in without.state.positions:
                assert position.qty == 0
        marks = {spec.id: D(150) for spec in INSTRUMENTS.values()}
        one, other = with_busts.totals(marks), without.totals(marks)
        for asset in {*one.net, *one.unrealized, *other.net, *other.unrealized}:
            worth = [totals.net.get(asset, ZERO) + totals.unrealized.get(asset, ZERO) for totals in (one, other)]
            # Costs of inverse contracts are rounded to the last digit kept.
            assert abs(worth[0] - worth[1]) < D("1e-9")
            assert one.fees.get(asset, ZERO) == other.fees.get(asset, ZERO)


def test_a_bust_counts_once_and_a_repeated_fill_does_not_bring_it_back():
    made, done = ledger()
    event = fill(PERP, 1, Side.BUY, 5, 100, 10, "USDT")
    bust = FillBusted(2, "r", "s1", "b1", event.fill)
    for now, message in enumerate((event, bust, bust, event)):
        made.handle(now, message)
    assert made.state.positions[position_key("acc", PERP.id)].qty == 0
    assert made.state.wallets == START
    assert made.state.duplicates == 2
    told = [one.qty for one in done.emitted if isinstance(one, PositionUpdate)]
    assert told == [5 * PERP.lot_size, 0]


def test_a_bust_of_what_was_never_booked_is_refused_and_stops_new_risk():
    made, done = ledger()
    made.handle(1, FillBusted(1, "r", "s1", "b1", fill(PERP, 1, Side.BUY, 5, 100, 0, "USDT").fill))
    assert made.state.positions == {}
    assert [one.trigger for one in done.emitted if isinstance(one, KillTrigger)] == ["unbookable"]


def test_the_risk_gate_holds_what_is_left():
    gate = RiskGate(INSTRUMENTS, {"acc": PERP.venue})
    event = fill(PERP, 1, Side.BUY, 5, 100, 0, "USDT")
    key, lot = position_key("acc", PERP.id), PERP.lot_size
    gate.handle(1, event)
    gate.handle(1, PositionUpdate(1, "acc", PERP.id, event.fill.position_side, 5 * lot, D(100), ZERO))
    gate.handle(2, FillBusted(2, "r", "s1", "b1", event.fill))
    held = gate.state.positions[key]
    assert held.qty(2) == 0
    gate.handle(2, PositionUpdate(2, "acc", PERP.id, event.fill.position_side, ZERO, None, ZERO))
    assert (held.qty(2), held.qty(3)) == (D(0), D(0))
    assert not held.unbooked


# Baskets


class Heard(Actor):
    """Remembers what was taken back."""

    def __init__(self) -> None:
        super().__init__("heard")
        self.state: list[FillBusted] = []

    @handles(FillBusted)
    def note(self, now: int, bust: FillBusted) -> None:
        self.state.append(bust)


def desk(venue: ScriptedVenue | None = None) -> Harness:
    cell = Harness(DropCopy({"acc": PERP.venue}, name="drop_copy"), Heard(), venue=venue)
    cell.quote(SPOT, "60000.00", "60001.00")
    cell.quote(PERP, "60010.0", "60010.5")
    return cell


def opened(venue: ScriptedVenue | None = None) -> Harness:
    cell = desk(venue)
    cell.tell(BasketIntent(cell.now, "b1", "s", (buy(SPOT, "1"), sell(PERP, "1"))))
    return cell


def closed() -> Harness:
    cell = opened()
    legs = cell.executor.open_legs(cell.executor.state.baskets["b1"])
    cell.tell(BasketIntent(cell.now, "c1", "s", legs, "b1", deadline_ns=4 * S))
    return cell


def bust(cell: Harness, basket: str, instrument: str) -> None:
    """Take back the first fill of a basket in an instrument."""
    event = next(one for one in cell.seen(FillEvent) if (one.basket_id, one.fill.instrument) == (basket, instrument))
    cell.feed(TradeBusted(cell.now, event.fill.account, instrument, event.fill.trade_id, "error trade"))


def forced(qty: str, side: Side, reason: FillReason) -> OrderFilled:
    """A fill of the perpetual by the venue, under an order of its own."""
    return OrderFilled(
        1, "acc", PERP.id, "forced-1", "forced-1", f"forced-{reason}", side, D(61_000), D(qty), Liquidity.NONE, ZERO,
        "USDT", reason,
    )  # fmt: skip


def stands(cell: Harness, *baskets: str) -> dict[str, Decimal]:
    """Return what the fills of baskets come to that were not taken back."""
    gone = {(one.fill.instrument, one.fill.trade_id) for one in cell.dispatcher.actors["heard"].state}
    found: dict[str, Decimal] = {}
    for one in cell.seen(FillEvent):
        if one.basket_id.startswith(baskets) and (one.fill.instrument, one.fill.trade_id) not in gone:
            found[one.fill.instrument] = found.get(one.fill.instrument, ZERO) + one.fill.side.sign * one.fill.qty
    return found


@pytest.mark.parametrize("spec", [SPOT, PERP], ids=["spot", "perp"])
def test_a_leg_that_is_taken_back_unwinds_the_other(spec):
    cell = opened()
    assert cell.states("b1")[-1] == "balanced"
    bust(cell, "b1", spec.id)
    cell.advance(5 * S)
    assert cell.states("b1")[-2:] == ["unwinding", "flat"]
    assert set(stands(cell, "b1").values()) == {ZERO}
    assert cell.executor.state.baskets["b1"].filled() == (ZERO, ZERO)
    assert "busted_trade" in cell.incidents()
    assert "busted_trade" in [one.trigger for one in cell.seen(KillTrigger)]


def test_a_part_that_is_taken_back_leaves_a_smaller_basket():
    cell = opened(ScriptedVenue(by_instrument={PERP.id: [Outcome(pieces=4)]}))
    bust(cell, "b1", PERP.id)
    cell.advance(5 * S)
    assert cell.states("b1")[-1] == "balanced"
    assert cell.executor.state.baskets["b1"].filled() == (D("0.75"), D("-0.75"))
    assert stands(cell, "b1") == {SPOT.id: D("0.75"), PERP.id: D("-0.75")}


@pytest.mark.parametrize("spec", [SPOT, PERP], ids=["spot", "perp"])
def test_a_close_that_is_taken_back_trades_again(spec):
    cell = closed()
    assert cell.states("b1")[-1] == "flat"
    bust(cell, "c1", spec.id)
    cell.advance(5 * S)
    assert cell.states("c1")[-2:] == ["hedging", "balanced"]
    assert cell.states("b1")[-1] == "flat"
    assert set(stands(cell, "b1", "c1").values()) == {ZERO}


def test_a_close_that_cannot_trade_again_leaves_its_basket_broken():
    cell = closed()
    cell.venue.by_instrument[PERP.id] = [Outcome(is_rejected=True)] * 50
    cell.venue.by_instrument[SPOT.id] = [Outcome(is_rejected=True)] * 50
    bust(cell, "c1", PERP.id)
    cell.advance(60 * S)
    assert (cell.states("c1")[-1], cell.states("b1")[-1]) == ("broken", "broken")
    assert cell.executor.state.baskets["b1"].filled() == (ZERO, D(-1))


def test_what_a_bust_left_on_the_other_side_is_taken_from_there():
    """The venue closes the short, then takes the opening sell back: its buy stands alone until it is deleveraged."""
    cell = opened()
    cell.venue.by_instrument[PERP.id] = [Outcome(is_rejected=True)] * 50
    cell.venue.by_instrument[SPOT.id] = [Outcome(is_rejected=True)] * 50
    cell.feed(forced("1", Side.BUY, FillReason.LIQUIDATION))
    bust(cell, "b1", PERP.id)
    cell.advance(30 * S)
    assert cell.states("b1")[-1] == "broken"
    assert cell.executor.state.baskets["b1"].filled() == (D(1), D(1))
    cell.feed(forced("0.4", Side.SELL, FillReason.ADL))
    assert cell.executor.state.baskets["b1"].filled() == (D(1), D("0.6"))
    assert cell.incidents().count("leg_taken") == 2


def test_a_bust_of_a_basket_nobody_remembers_is_an_incident():
    cell = opened()
    cell.executor.state.baskets.clear()
    bust(cell, "b1", PERP.id)
    assert "bust_of_forgotten_basket" in cell.incidents()
