"""What a recording tells about the clock that made it."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.recording.reader import RecordingReader
from sim.recording.skew import LATENCY_FLOOR_NS, SkewEstimate, SkewEstimator, estimate_skew, shared_skew_ns
from venues.binance.codec import BinanceDecoder
from venues.model.instrument import Instrument, InstrumentKind

MS = 1_000_000
SECOND = 1_000 * MS


def estimate(pairs: list[tuple[int, int]], floor_ns: int = MS) -> SkewEstimate:
    estimator = SkewEstimator(floor_ns)
    for local_ns, exchange_ns in pairs:
        estimator.add(local_ns, exchange_ns)
    return estimator.result()


@pytest.mark.parametrize(
    ("latencies_ms", "skew_ms", "worst"),
    [
        ([20, 5, 9], 0, 1),
        ([1], 0, 0),
        # Received before it was sent by 1270 ms: that, and the floor.
        ([-1200, -1270, -1000], 1271, 1),
        ([0], 1, 0),
        ([30, -3, 40, -3], 4, 1),
    ],
)
def test_the_offset_leaves_every_frame_the_floor(latencies_ms: list[int], skew_ms: int, worst: int):
    pairs = [
        (SECOND * 10 + number * MS + latency * MS, SECOND * 10 + number * MS)
        for number, latency in enumerate(latencies_ms)
    ]
    result = estimate(pairs)
    assert result.skew_ns == skew_ms * MS
    assert result.worst_frame == worst
    assert result.worst_local_ns == pairs[worst][0]
    assert result.lead_ns == -min(latencies_ms) * MS


def test_frames_without_a_time_prove_nothing():
    assert estimate([]) == SkewEstimate(0, 0)
    assert estimate([(5, 0), (6, 0)]) == SkewEstimate(0, 0)
    result = estimate([(5, 0), (10 * SECOND, 11 * SECOND)])
    assert (result.frames, result.worst_frame, result.skew_ns) == (1, 1, SECOND + MS)


def test_recordings_of_one_clock_share_the_greatest_offset():
    both = [SkewEstimate(0, 7), SkewEstimate(1_273_402_468, 9), SkewEstimate(1_275_761_454, 9)]
    assert shared_skew_ns(both) == 1_275_761_454
    assert shared_skew_ns([]) == 0


def test_a_negative_floor_is_refused():
    with pytest.raises(ValueError, match="floor_ns"):
        SkewEstimator(-1)


@pytest.mark.parametrize("seconds", [90, 3600, 86_400])
def test_a_drifting_clock_is_reported(seconds: int):
    """A clock that loses 10 us each second loses about two thirds of the whole between the outer thirds' maxima."""
    pairs = [(number * SECOND - 10_000 * number, number * SECOND) for number in range(1, seconds)]
    drift_ns = estimate(pairs).drift_ns
    assert drift_ns is not None
    assert drift_ns == pytest.approx(10_000 * seconds * 2 / 3, rel=0.06)


def test_a_steady_clock_does_not_drift_and_a_moment_tells_nothing():
    steady = [(number * SECOND - 5 * MS, number * SECOND) for number in range(1, 100)]
    assert estimate(steady).drift_ns == 0
    assert estimate(steady[:1]).drift_ns is None


# Local times all over, exchange times within the minute around them.
pairs = st.lists(
    st.tuples(st.integers(10**11, 10**19), st.integers(-(10**10) * 3, 10**10 * 3)), min_size=1, max_size=60
).map(lambda frames: [(local_ns, local_ns + lead_ns) for local_ns, lead_ns in frames])


@given(pairs, st.integers(0, 10**9))
def test_the_estimate_is_the_smallest_that_does(frames: list[tuple[int, int]], floor_ns: int):
    result = estimate(frames, floor_ns)
    skew_ns = result.skew_ns
    assert result.outliers == 0
    slack = min(local_ns + skew_ns - exchange_ns - floor_ns for local_ns, exchange_ns in frames)
    assert slack >= 0
    assert slack == 0 or skew_ns == 0


@given(pairs)
def test_the_order_of_frames_does_not_matter(frames: list[tuple[int, int]]):
    forward, backward = estimate(frames), estimate(frames[::-1])
    assert (forward.skew_ns, forward.drift_ns) == (backward.skew_ns, backward.drift_ns)


def test_frames_from_another_time_tell_nothing_about_the_clock():
    frames = [(number * SECOND, number * SECOND - 5 * MS) for number in range(1, 100)]
    steady = estimate(frames)
    spoiled = estimate([*frames[:50], (50 * SECOND, 7 * 86_400 * SECOND), *frames[50:]])
    assert (spoiled.skew_ns, spoiled.lead_ns, spoiled.outliers) == (steady.skew_ns, steady.lead_ns, 1)


def test_memory_stays_bounded():
    estimator = SkewEstimator()
    for number in range(20_000):
        estimator.add(number * 3600 * SECOND, number * 3600 * SECOND + 1)
    assert len(estimator._leads) <= 1024
    assert estimator.result().frames == 20_000


def test_the_recorder_of_2024_was_behind(data_dir: Path):
    """The data's README: about 1.27 s behind the exchange. Perpetual and spot were recorded by one machine."""
    estimates = []
    for market, kind, tick, lot in [
        ("binance-usdm", InstrumentKind.PERPETUAL, "0.10", "0.001"),
        ("binance-spot", InstrumentKind.SPOT, "0.01", "0.00001"),
    ]:
        instrument = Instrument(market, "BTCUSDT", kind, "BTC", "USDT", Decimal(tick), Decimal(lot))
        decoder = BinanceDecoder({"BTCUSDT": instrument})
        recording = RecordingReader(data_dir / f"recordings/{market}/btcusdt_20240808.gz")
        decoded = ((local_ns, decoder.decode(raw)) for local_ns, raw in recording)
        estimates.append(estimate_skew((local_ns, message) for local_ns, message in decoded if message is not None))
    assert [result.frames for result in estimates] == [93954, 3451 + 9757]
    assert [round(result.skew_ns / SECOND, 3) for result in estimates] == [1.273, 1.276]
    assert all(result.drift_ns is not None and abs(result.drift_ns) < 2 * MS for result in estimates)
    assert shared_skew_ns(estimates) == max(result.skew_ns for result in estimates)
    assert LATENCY_FLOOR_NS == MS
