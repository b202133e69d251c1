"""Risk arrays: CME's teaching example, put-call parity, and what is refused."""

from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.errors import BadValueError
from venues.rules.span_array import Extreme, Kind, Position, Scan, black76, risk_array

D = Decimal
DECK = Scan(D(2790), D(250), D(120), Extreme(D(3), D("0.33")), D("0.35"), D("0.16"), D(90))
# Facts C1 (derived from CME's deck: one future less one 2825 call), rounded to one.
FUTURE = [0, 0, -10000, -10000, 10000, 10000, -20000, -20000, 20000, 20000, -30000, -30000, 30000, 30000, -29700, 29700]
CALL = [-7541, 7714, -12554, 3025, -3062, 11323, -18094, -2754, 884, 13939, -24144, -9552, 4310, 15714, -21574, 5800]


def test_the_example():
    future, call = Position(Kind.FUTURE, D(1)), Position(Kind.CALL, D(1), D(2825))
    assert list(risk_array(DECK, [future])) == FUTURE
    assert [round(loss) for loss in risk_array(DECK, [call])] == CALL
    both = risk_array(DECK, [future, evolve(call, qty=D(-1))])
    assert max(both).quantize(D("0.01")) == D("25690.32")
    assert both.index(max(both)) == 12


def test_thirds_are_exact_where_they_can_be():
    scan = Scan(D(100), D(3), D(10), Extreme(D(2), D("0.35")))
    assert risk_array(scan, [Position(Kind.FUTURE, D(1))])[2:4] == (D(-10), D(-10))


@given(
    st.integers(1, 400),
    st.decimals("0.01", "2", places=2),
    st.integers(0, 3),
    st.integers(2000, 3600),
    st.integers(-9, 9),
)
def test_put_call_parity(days, vol, lookahead, strike, qty):
    """Call less put is the future, whatever time and volatility do; and losses are linear in the quantity."""
    scan = evolve(DECK, days=D(days), vol=vol, lookahead_days=D(lookahead))
    size = D(qty)
    forward = risk_array(scan, [Position(Kind.CALL, size, D(strike)), Position(Kind.PUT, -size, D(strike))])
    future = risk_array(scan, [Position(Kind.FUTURE, size)])
    assert all(abs(one - other) < D("1e-4") for one, other in zip(forward, future, strict=True))


def test_expiry_within_the_lookahead_leaves_intrinsic_value():
    scan = evolve(DECK, days=D("0.5"))
    found = risk_array(scan, [Position(Kind.CALL, D(1), D(2700))])
    now = D(repr(black76(2790.0, 2700.0, 0.5 / 365, 0.16, is_call=True)))
    assert abs(found[0] - (now - 90) * 250) < D("1e-6")
    assert abs(found[12] - now * 250) < D("1e-6")


def test_a_move_below_zero_leaves_intrinsic_value():
    scan = evolve(DECK, price_scan=D(1000))
    call, put = (risk_array(scan, [Position(kind, D(1), D(2800))])[15] for kind in (Kind.CALL, Kind.PUT))
    assert call > 0 > put
    assert abs((call - put) - D("0.33") * 3000 * 250) < D("1e-4")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"underlying": D(0)}, "underlying"),
        ({"underlying": D("NaN")}, "underlying"),
        ({"multiplier": D(-1)}, "multiplier"),
        ({"price_scan": D(-1)}, "price_scan"),
        ({"vol": D("-0.1")}, "vol"),
        ({"vol_scan": D("1.1")}, "vol_scan"),
        ({"days": D(-1)}, "days"),
        ({"lookahead_days": D(-1)}, "lookahead_days"),
        ({"extreme": Extreme(D(0), D(0))}, "extreme.multiple"),
        ({"extreme": Extreme(D(3), D("1.5"))}, "extreme.cover"),
        ({"vol": None}, "vol"),
        ({"days": None}, "days"),
    ],
)
def test_scans_refused(change, field):
    with pytest.raises(BadValueError) as refused:
        risk_array(evolve(DECK, **change), [Position(Kind.CALL, D(1), D(2800))])
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("position", "field"),
    [
        (Position(Kind.CALL, D(1)), "positions[0].strike"),
        (Position(Kind.PUT, D(1), D(0)), "positions[0].strike"),
        (Position(Kind.FUTURE, D(1), D(5)), "positions[0].strike"),
        (Position(Kind.FUTURE, D("NaN")), "positions[0].qty"),
        (Position(Kind.CALL, D(1), D("1e-400")), "positions[0]"),
    ],
)
def test_positions_refused(position, field):
    with pytest.raises(BadValueError) as refused:
        risk_array(DECK, [position])
    assert refused.value.field == field
