"""Parametric slippage: crypto by crowd, cascade and open interest; CME by session and settlement."""

from math import inf, nan, sqrt
from statistics import median, stdev

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from venues.costs.curves import LiquidityCurves
from venues.costs.slippage_cme import CmeSlippageConfig, TradingHaltedError, cme_slippage
from venues.costs.slippage_crypto import (
    DEFAULT,
    CryptoSlippageConfig,
    base_slippage_bps,
    crypto_slippage,
    to_adv,
    volatility_regime,
)
from venues.model.order import Side
from venues.rules.cme_products import product
from venues.rules.errors import BadValueError

BUY, SELL = Side.BUY, Side.SELL


# Crypto: facts/systems.md 2. (base, side, funding, liquidations/ADV, OI/ADV) -> (bps, stress, cascade, open interest)
@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ((8.0, BUY, 0.001, 0.02, 3.0), (10.6128, 1.005, 1.1, 1.2)),
        ((8.0, SELL, 0.001, 0.02, 3.0), (10.56, 1.0, 1.1, 1.2)),
        ((8.0, SELL, -0.001, 0.02, 3.0), (10.6128, 1.005, 1.1, 1.2)),
        ((8.0, BUY, -0.001, 0.0, 0.5), (8.0, 1.0, 1.0, 1.0)),
        # exactly 1 % is no cascade
        ((8.0, BUY, 0.0, 0.01, 1.0), (8.0, 1.0, 1.0, 1.0)),
        ((8.0, BUY, 0.0, 0.0101, 1.0), (8.404, 1.0, 1.0505, 1.0)),
        # caps of the factors, then of the whole
        ((8.0, BUY, 0.0, 0.9, 99.0), (48.0, 1.0, 3.0, 2.0)),
        ((400.0, BUY, 0.0, 0.9, 99.0), (500.0, 1.0, 3.0, 2.0)),
        ((0.1, BUY, 0.0, 0.0, 0.0), (0.5, 1.0, 1.0, 1.0)),
    ],
)
def test_slippage_multiplies_its_factors(given_, expected):
    found = crypto_slippage(*given_)
    parts = (found.slippage_bps, found.funding_stress, found.cascade, found.open_interest)
    assert parts == pytest.approx(expected, abs=1e-9)
    assert found.absent == ()
    assert found.is_clipped == (found.slippage_bps in (0.5, 500.0))


def test_what_the_market_did_not_tell_counts_as_one_and_is_flagged():
    found = crypto_slippage(8.0, BUY, None, 0.02, None)
    assert found.slippage_bps == pytest.approx(8.8)
    assert found.absent == ("funding_rate", "oi_to_adv")
    assert crypto_slippage(8.0, BUY, None, None, None).absent == ("funding_rate", "liquidations_to_adv", "oi_to_adv")


def test_imbalance_is_off_and_counts_with_the_crowd_when_on():
    on = evolve(DEFAULT, imbalance_sensitivity=0.3)
    assert crypto_slippage(10.0, BUY, 0.0, 0.0, 0.0, imbalance=0.5).slippage_bps == 10.0
    assert crypto_slippage(10.0, BUY, 0.0, 0.0, 0.0, on, imbalance=0.5).slippage_bps == pytest.approx(11.5)
    assert crypto_slippage(10.0, SELL, 0.0, 0.0, 0.0, on, imbalance=0.5).slippage_bps == 10.0
    assert crypto_slippage(10.0, SELL, 0.0, 0.0, 0.0, on).absent == ("imbalance",)


@pytest.mark.parametrize(
    ("participation", "spread", "regime", "bps"),
    [
        (0.0001, None, 1.0, 2.0 + 9.0),
        (0.0001, 10.0, 2.0, 5.0 + 18.0),
        (0.0001, 10.0, 9.0, 5.0 + 27.0),
        (0.0001, 10.0, 0.1, 5.0 + 4.5),
        (0.0, None, 1.0, 2.0),
    ],
)
def test_the_base_is_half_the_spread_and_a_square_root(participation, spread, regime, bps):
    assert base_slippage_bps(participation, spread, regime) == pytest.approx(bps)


def test_the_regime_compares_the_last_bars_with_the_usual_ones():
    calm = [0.01, -0.01] * 126
    assert volatility_regime(calm + [0.01, -0.01] * 10) == pytest.approx(1.0)
    assert volatility_regime(calm + [0.02, -0.02] * 10) == pytest.approx(2.0)
    assert volatility_regime(calm + [0.2, -0.2] * 10) == 3.0
    assert volatility_regime(calm + [0.0001, -0.0001] * 10) == 0.5
    with pytest.raises(BadValueError, match="271"):
        volatility_regime(calm)
    with pytest.raises(BadValueError, match="did not move"):
        volatility_regime([0.0] * 300)


def test_the_regime_is_the_ratio_of_sample_deviations() -> None:
    returns = [((index * 7919) % 101 - 50) * 1e-4 for index in range(271)]
    deviations = [stdev(returns[at : at + 20]) for at in range(252)]
    assert volatility_regime(returns) == pytest.approx(deviations[-1] / median(deviations), rel=1e-12)


def test_a_market_without_volume_has_no_ratio():
    assert to_adv(20.0, 1000.0, "liquidations") == 0.02
    assert to_adv(None, 1000.0, "liquidations") is None
    for amount, adv, field in ((20.0, 0.0, "adv"), (20.0, nan, "adv"), (-1.0, 1.0, "liquidations")):
        with pytest.raises(BadValueError) as refused:
            to_adv(amount, adv, "liquidations")
        assert refused.value.field == field


@pytest.mark.parametrize("bad", [nan, inf, -inf])
@pytest.mark.parametrize("field", ["base_bps", "funding_rate", "liquidations_to_adv", "oi_to_adv"])
def test_crypto_refuses_by_name(bad, field):
    usual = {"base_bps": 8.0, "funding_rate": 0.0, "liquidations_to_adv": 0.0, "oi_to_adv": 0.0}
    with pytest.raises(BadValueError) as refused:
        crypto_slippage(side=BUY, **(usual | {field: bad}))
    assert refused.value.field == field


def test_a_wrong_setting_is_refused():
    with pytest.raises(BadValueError, match="oi_factor"):
        CryptoSlippageConfig(oi_factor=-0.1)
    with pytest.raises(BadValueError, match="least_bps"):
        CryptoSlippageConfig(least_bps=600.0)


positive = st.floats(0.0, 100.0)


@given(positive, st.sampled_from(Side), st.floats(-0.1, 0.1), positive, positive)
def test_crypto_slippage_stays_within_its_bounds_and_never_below_the_base(base, side, funding, liquidations, oi):
    found = crypto_slippage(base, side, funding, liquidations, oi)
    assert 0.5 <= found.slippage_bps <= 500.0
    assert found.slippage_bps >= min(base, 500.0) - 1e-9


# CME: facts/systems.md 3. Half the tick in bps of the mid, k sqrt(participation) 10^4.
@pytest.mark.parametrize(
    ("code", "mid", "half_spread", "impact"),
    [
        ("ES", 5000.0, 0.25, 3.0),
        ("NQ", 20000.0, 0.0625, 4.0),
        ("YM", 40000.0, 0.125, 5.0),
        ("GC", 2500.0, 0.2, 6.0),
        ("CL", 80.0, 0.625, 8.0),
        ("6E", 1.1, 0.227273, 5.0),
        ("MES", 5000.0, 0.25, 5.0),
        ("ZN", 110.0, 0.710227, 5.0),
    ],
)
def test_cme_slippage_by_product(code, mid, half_spread, impact):
    found = cme_slippage(code, float(product(code).tick()), mid, 0.0001, True, 120.0)
    assert (found.half_spread_bps, found.impact_bps) == pytest.approx((half_spread, impact), abs=1e-6)
    assert found.slippage_bps == pytest.approx(half_spread + impact, abs=1e-6)


@pytest.mark.parametrize(
    ("rth", "minutes", "session", "settlement"),
    [
        (True, 120.0, 1.0, 1.0),
        (False, 120.0, 1.5, 1.0),
        (True, 30.0, 1.0, 1.0),
        (True, 29.0, 1.0, 1.01),
        (True, 10.0, 1.0, 1.2),
        (False, 0.0, 1.5, 1.3),
    ],
)
def test_off_hours_and_the_last_half_hour_cost_more(rth, minutes, session, settlement):
    found = cme_slippage("ES", 0.25, 5000.0, 0.0001, rth, minutes)
    assert found.session == session
    assert found.settlement == pytest.approx(settlement)
    assert found.slippage_bps == pytest.approx(3.25 * session * settlement)


def test_a_halted_market_has_no_price():
    with pytest.raises(TradingHaltedError, match="ES is halted"):
        cme_slippage("ES", 0.25, 5000.0, 0.0001, True, 120.0, is_halted=True)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((0.0, 5000.0, 0.1, 1.0), "tick"),
        ((0.25, 0.0, 0.1, 1.0), "mid"),
        ((0.25, -37.0, 0.1, 1.0), "mid"),
        ((0.25, 5000.0, -0.1, 1.0), "participation"),
        ((0.25, 5000.0, nan, 1.0), "participation"),
        ((0.25, 5000.0, 0.1, -1.0), "minutes_to_settlement"),
        ((0.25, 5000.0, 0.1, nan), "minutes_to_settlement"),
    ],
)
def test_cme_refuses_by_name(arguments, field):
    tick, mid, participation, minutes = arguments
    with pytest.raises(BadValueError) as refused:
        cme_slippage("ES", tick, mid, participation, True, minutes)
    assert refused.value.field == field


def test_settings_of_cme_are_checked_and_by_product():
    with pytest.raises(BadValueError, match=r"impacts\[ES\]"):
        CmeSlippageConfig(impacts={"ES": nan})
    config = CmeSlippageConfig(spread_ticks={"SI": 2.0}, impacts={})
    found = cme_slippage("SI", 0.005, 30.0, 0.04, True, 60.0, config=config)
    assert found.half_spread_bps == pytest.approx(0.005 / 30.0 * 1e4)
    assert found.impact_bps == pytest.approx(0.05 * sqrt(0.04) * 1e4)


def test_curves_are_flat_unless_given():
    assert LiquidityCurves().factor(3, 12) == 1.0
    curves = LiquidityCurves(hourly=tuple(1.0 + hour / 10 for hour in range(24)), monthly=(2.0,) + (1.0,) * 11)
    assert curves.factor(5, 1) == pytest.approx(3.0)
    assert cme_slippage("ES", 0.25, 5000.0, 0.0001, True, 60.0, curve=2.0).slippage_bps == pytest.approx(6.5)
    assert crypto_slippage(8.0, BUY, 0.0, 0.0, 0.0, curve=2.0).slippage_bps == 16.0
    for call in (lambda: LiquidityCurves(hourly=(1.0,)), lambda: curves.factor(24, 1), lambda: curves.factor(0, 0)):
        with pytest.raises(BadValueError):
            call()
