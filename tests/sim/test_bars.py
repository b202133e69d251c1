"""Files of bars: what each format says, which line is wrong, what is missing in between."""

import gzip
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from sim.bar_market import BarMarket, NoBarsError
from sim.bars import BarFileError, BarSeries, Format, SeriesReport, read_series
from sim.clocks import ClockStatistics, two_clocks
from sim.funding_file import FundingSeries, read_funding
from sim.parametric_config import ParametricConfig
from sim.venue import SimVenue
from venues.costs.fees import FeeBasis, FeeSchedule, FeeTable
from venues.model.account import Account
from venues.model.book_sync import BookSync, SequenceRule
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.order import OrderType, Side
from venues.port import Bar, BookDelta, BookSnapshot, FundingRate, MarkPrice, OrderFilled, Quote, SubmitOrder

D = Decimal
MINUTE = 60_000_000_000
ES = Instrument(
    "cme",
    "ESZ3",
    InstrumentKind.FUTURE,
    "ES",
    "USD",
    D("0.25"),
    D(1),
    multiplier=D(50),
    initial_margin=D(4_510),
    maintenance_margin=D(4_100),
)
STOCK = Instrument("ib", "STOCK", InstrumentKind.SPOT, "STOCK", "USD", D("0.01"), D(1))
HEADER = "time,open,high,low,close,volume\n"
GOOD = "2026-01-01T00:00:00Z,100,101,99.75,100.25,7\n"


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def series(path: Path, form: Format = "csv", length_ns: int = MINUTE, member: str = "", zone: str = "UTC") -> BarSeries:
    return BarSeries(ES, (path,), length_ns, form, member=member, zone=zone)


def written(folder: Path, text: str, name: str = "bars.csv") -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["bars.csv", "bars.csv.gz"])
def test_a_row_is_a_bar_that_ends_a_length_after_its_time(tmp_path: Path, name: str) -> None:
    text = HEADER + GOOD + "1767225660000,100,101,99.75,100.25,0\n"
    start = ns("2026-01-01T00:00:00")
    first, second = read_series(series(written(tmp_path, text, name)))
    assert first == Bar(start + MINUTE, ES.id, start, D(100), D(101), D("99.75"), D("100.25"), D(7))
    assert (second.ts, isinstance(second, Bar) and second.start_ns) == (start + 2 * MINUTE, start + MINUTE)


def test_times_without_a_zone_are_in_that_of_the_series(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "2026-01-05T09:30:00,100,100,100,100,1\n")
    (bar,) = read_series(series(path, zone="America/New_York"))
    assert bar.ts == ns("2026-01-05T14:31:00")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2026-01-01T00:01:00Z,100,101,99,abc,7", "'abc' is not a number"),
        ("2026-01-01T00:01:00Z,100,101,99,NaN,7", "'NaN' is not finite"),
        ("2026-01-01T00:01:00Z,100,101,99,100.1,7", "close: 100.1 is not a multiple of the tick 0.25"),
        ("2026-01-01T00:01:00Z,100,99,98,99,7", "high: 99 is below another price of the bar"),
        ("2026-01-01T00:01:00Z,0,99,0,99,7", "open: 0 is not a price"),
        ("2026-01-01T00:01:00Z,100,101,99,100,-7", "volume: -7 is not a volume"),
        ("2026-01-01T00:01:00Z,100,101,99,100", "has 5 values, not 6"),
        ("yesterday,100,101,99,100,7", "'yesterday' is not a time"),
        ("2026-01-01T00:00:30Z,100,101,99,100,7", "begins before the bar above it is over"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = written(tmp_path, HEADER + GOOD + line + "\n")
    with pytest.raises(BarFileError) as caught:
        list(read_series(series(path)))
    assert (caught.value.path, caught.value.line, caught.value.why) == (str(path), 3, why)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    cases: list[tuple[Path, Format, int]] = [
        (tmp_path / "gone.csv", "csv", 0),
        (written(tmp_path, "date,open\n", "header.csv"), "csv", 1),
        (written(tmp_path, "no gzip", "plain.txt").rename(tmp_path / "no.gz"), "csv", 0),
        (written(tmp_path, "no zip", "z.txt").rename(tmp_path / "no.zip"), "lean", 0),
        (written(tmp_path, '{"open": 1}\n', "ib.json"), "ib", 1),
    ]
    for path, form, line in cases:
        with pytest.raises(BarFileError) as caught:
            list(read_series(series(path, form)))
        assert (caught.value.path, caught.value.line) == (str(path), line)


def test_a_zip_of_several_needs_a_member(tmp_path: Path) -> None:
    path = tmp_path / "20260105_trade.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for month in ("202603", "202606"):
            archive.writestr(f"20260105_es_minute_trade_{month}.csv", f"60000,{month[-1]},9,3,{month[-1]},5\n")
    with pytest.raises(BarFileError, match="member"):
        list(read_series(series(path, "lean")))
    (bar,) = read_series(series(path, "lean", member="202606"))
    assert isinstance(bar, Bar)
    assert (bar.open, bar.start_ns) == (D(6), ns("2026-01-05T00:01:00"))


def test_gaps_of_more_than_two_bars_are_kept(tmp_path: Path) -> None:
    minutes = (0, 1, 4, 7)
    text = HEADER + "".join(f"2026-01-01T00:{minute:02}:00Z,100,100,100,100,{minute}\n" for minute in minutes)
    report = SeriesReport(ES.id)
    list(read_series(series(written(tmp_path, text)), report))
    start = ns("2026-01-01T00:00:00")
    # Two minutes are missing before the third bar, which is no gap yet, and two before the last.
    assert report.gaps == []
    text += "2026-01-01T00:11:00Z,100,100,100,100,1\n"
    report = SeriesReport(ES.id)
    list(read_series(series(written(tmp_path, text)), report))
    assert report.gaps == [(start + 8 * MINUTE, start + 11 * MINUTE)]
    assert report.doubts() == [
        "cme:ESZ3: 1 gaps of more than two bars, the longest 180 s",
        "cme:ESZ3: 1 bars without volume",
        "cme:ESZ3: only 5 rows, fewer than 1000",
    ]


# The market


CONFIG = {"cme": ParametricConfig("cme", {"ESZ3": D(1_000_000)}, participation=D("0.5"))}


def test_the_desk_sees_a_touch_of_each_bar_after_its_end(tmp_path: Path) -> None:
    text = HEADER + GOOD + "2026-01-01T00:01:00Z,100,101,99.75,101,9\n"
    market = BarMarket([series(written(tmp_path, text))], CONFIG, 250_000_000, has_marks=True)
    arrivals = list(market)
    ends = [ns("2026-01-01T00:01:00"), ns("2026-01-01T00:02:00")]
    assert sorted({(one.venue_ns, one.local_ns - one.venue_ns) for one in arrivals}) == [(t, 250_000_000) for t in ends]
    assert (market.start_ns, market.end_ns) == (ns("2026-01-01T00:00:00"), ends[1] + 250_000_000)
    sync = BookSync(SequenceRule.FUTURES)
    touches = []
    for one in arrivals:
        if isinstance(one.message, BookSnapshot):
            sync.on_snapshot(one.message)
        if isinstance(one.message, BookDelta):
            sync.on_delta(one.message)
            assert sync.is_usable
            touches.append((sync.book.bids, sync.book.asks))
            touches[-1] = (dict(sync.book.bids), dict(sync.book.asks))
    # 100.25 with half a tick of 0.25 on each side, outward: 100.00 and 100.50; half of 7 contracts.
    assert touches == [({400: 3}, {402: 3}), ({403: 4}, {405: 4})]
    assert [one.message.mark for one in arrivals if isinstance(one.message, MarkPrice)] == [D("100.25"), D(101)]
    assert sum(isinstance(one.message, Bar) and one.message.is_mark for one in arrivals) == 2


def test_an_empty_series_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NoBarsError, match=r"bars.csv: hold no bar"):
        BarMarket([series(written(tmp_path, HEADER))], CONFIG, 1)


# Real files


def test_three_weeks_of_es_minutes(data_dir: Path) -> None:
    folder = data_dir / "cme" / "future" / "cme" / "minute" / "es"
    paths = tuple(folder / f"201310{day:02}_trade.zip" for day in (7, 8, 9))
    report = SeriesReport(ES.id)
    bars = list(read_series(BarSeries(ES, paths, MINUTE, "lean", member="201312"), report))
    assert bars[0] == Bar(
        ns("2013-10-07T00:01:00"),
        ES.id,
        ns("2013-10-07T00:00:00"),
        D("1676.5"),
        D("1676.5"),
        D("1676.5"),
        D("1676.5"),
        D(9),
    )
    gaps = [(start, end) for start, end in report.gaps if end - start > 10 * MINUTE]
    # Each day's halt from 15:15 to 15:30 and break from 16:15 to 17:00, as they were in 2013 (Chicago is UTC - 5).
    for day in (7, 8, 9):
        assert (ns(f"2013-10-{day:02}T20:15:00"), ns(f"2013-10-{day:02}T20:30:00")) in gaps
        assert (ns(f"2013-10-{day:02}T21:15:00"), ns(f"2013-10-{day:02}T22:00:00")) in gaps
    assert len(gaps) == 6


def test_the_minutes_of_a_day_are_its_hours(data_dir: Path) -> None:
    folder = data_dir / "cme" / "future" / "cme"
    minutes = BarSeries(ES, (folder / "minute" / "es" / "20131007_trade.zip",), MINUTE, "lean", member="201312")
    hours = BarSeries(ES, (folder / "hour" / "es_trade.zip",), 60 * MINUTE, "lean", member="201312")
    found: dict[int, list[Bar]] = {}
    for bar in read_series(minutes):
        assert isinstance(bar, Bar)
        found.setdefault(bar.start_ns // (60 * MINUTE), []).append(bar)
    compared = 0
    for hour in read_series(hours):
        assert isinstance(hour, Bar)
        own = found.get(hour.start_ns // (60 * MINUTE))
        if own is None:
            continue
        compared += 1
        assert (max(b.high for b in own), min(b.low for b in own)) == (hour.high, hour.low)
        assert (own[0].open, own[-1].close, sum((b.volume for b in own), D(0))) == (hour.open, hour.close, hour.volume)
    # The hours leave out the quarter after 16:00 in Chicago.
    assert compared == 23


def test_quotes_without_a_side_are_counted(data_dir: Path) -> None:
    path = data_dir / "cme" / "future" / "cme" / "minute" / "es" / "20131007_quote.zip"
    report = SeriesReport(ES.id)
    quotes = list(read_series(BarSeries(ES, (path,), MINUTE, "lean", member="201312"), report))
    # The first line: 1676.5 x 86 at 1676.75 x 97.
    assert quotes[0] == Quote(ns("2013-10-07T00:01:00"), ES.id, 1, 6706, 86, 6707, 97)
    assert (report.quotes, report.rows) == (1410, 1410)
    assert report.bad_quotes == sum(not isinstance(q, Quote) or not 0 < q.bid < q.ask for q in quotes) > 0


def test_bars_of_interactive_brokers(data_dir: Path) -> None:
    spec = BarSeries(STOCK, (data_dir / "ib" / "bars.json.gz",), MINUTE, "ib", zone="America/New_York")
    bars = list(read_series(spec))
    assert len(bars) == 405
    start = ns("2021-01-05T14:28:00")
    assert bars[0] == Bar(start + MINUTE, STOCK.id, start, D(219), D(219), D(219), D(219), D(1))


def test_a_buyer_on_real_bars_pays_the_close_and_the_model(data_dir: Path) -> None:
    """Hand reckoning of one fill: the bar that ends 15:00 UTC on 2013-10-07 (10:00 in Chicago)."""
    path = data_dir / "cme" / "future" / "cme" / "minute" / "es" / "20131007_trade.zip"
    bars = [b for b in read_series(BarSeries(ES, (path,), MINUTE, "lean", member="201312")) if isinstance(b, Bar)]
    fees = FeeTable(None, {ES.id: FeeSchedule(D(0), D(0), FeeBasis.PER_CONTRACT)})
    venue = SimVenue(
        "cme",
        [ES],
        [Account("me", "cme", {"USD": D(10**7)})],
        fees,
        "cme",
        execution=ParametricConfig("cme", {"ESZ3": D(1_000_000)}),
    )
    at = ns("2013-10-07T15:00:00")
    for bar in bars:
        if bar.ts <= at:
            venue.on_market(bar.ts, bar)
    (close,) = [bar.close for bar in bars if bar.ts == at]
    order = SubmitOrder(at, "me", ES.id, "a", Side.BUY, D(100), OrderType.MARKET)
    (fill,) = [r for r in venue.on_command(at + 1, order) if isinstance(r, OrderFilled)]
    # Regular hours are unknown before the calendar's years: 1.5. 0.03 x sqrt(100 / 1,000,000) x 10^4 is 3 bps.
    exact = close + (D("0.125") + close * D("0.0003")) * D("1.5")
    assert exact <= fill.price < exact + D("0.25")
    assert fill.price % D("0.25") == 0


def test_ticks_of_bars_come_in_order(data_dir: Path) -> None:
    folder = data_dir / "cme" / "future" / "cme" / "minute" / "es"
    both = [
        BarSeries(ES, (folder / f"20131007_{kind}.zip",), MINUTE, "lean", member="201312")
        for kind in ("trade", "quote")
    ]
    statistics = ClockStatistics()
    times = [tick.ns for tick in two_clocks(BarMarket(both, CONFIG, 250_000_000), statistics)]
    assert times == sorted(times)
    assert (statistics.late, statistics.arrivals > 2_700) == (0, True)


# Funding


def test_rates_are_read_in_both_forms(tmp_path: Path) -> None:
    own = written(tmp_path, "time,rate\n2022-12-13T08:00:00Z,-0.0002\n1670947200000,0.0001\n", "own.csv")
    lean = written(tmp_path, "20221213 08:00:00,-0.0002\n20221213 16:00:00,0.0001\n", "lean.csv")
    for path in (own, lean):
        assert list(read_funding(FundingSeries("v:P", path))) == [
            FundingRate(ns("2022-12-13T08:00:00"), "v:P", D("-0.0002")),
            FundingRate(ns("2022-12-13T16:00:00"), "v:P", D("0.0001")),
        ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("2022-12-13T08:00:00Z,0.1", "is not after the rate above it"),
        ("2022-12-13T16:00:00,0.1", "'2022-12-13T16:00:00' is not in UTC: end it with Z"),
        ("2022-12-13T16:00:00Z,inf", "'inf' is not finite"),
        ("2022-12-13T16:00:00Z", "has 1 values, not 2"),
        ("noon,0.1", "'noon' is not a time"),
    ],
)
def test_a_wrong_rate_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = written(tmp_path, f"time,rate\n2022-12-13T08:00:00Z,0.1\n{line}\n")
    with pytest.raises(BarFileError) as caught:
        list(read_funding(FundingSeries("v:P", path)))
    assert (caught.value.line, caught.value.why) == (3, why)
