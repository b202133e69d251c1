"""CME sessions: what the clock says in Chicago, every day of 2024 to 2027. Numbers without a source are facts A2."""

import gzip
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.rules.calendar import CHICAGO, Session, State, cash_hours, chicago, hours, is_no_cancel, next_open, session
from venues.rules.cme_products import product, products
from venues.rules.errors import BadValueError, OutsideTableError
from venues.rules.holidays import is_business_day

D = date.fromisoformat
FIRST, LAST = D("2024-01-01"), D("2027-12-31")
ONE_OF_EACH = ("ES", "ZN", "6E", "CL", "GC")
PRODUCTS = st.sampled_from(sorted(products()))
DAYS = [FIRST + timedelta(n) for n in range((LAST - FIRST).days + 1)]
INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31, 23, 59), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=CHICAGO)


@pytest.mark.parametrize(
    ("root", "instant", "state", "trade_date", "is_rth"),
    [
        # Daylight saving: 08:30 Chicago is 14:30 UTC in winter and 13:30 from 9 March 2026 on.
        ("ES", "2026-01-15T14:30:00Z", "open", "2026-01-15", True),
        ("ES", "2026-01-15T14:29:59Z", "open", "2026-01-15", False),
        ("ES", "2026-03-09T13:30:00Z", "open", "2026-03-09", True),
        ("ES", "2026-07-15T13:29:59Z", "open", "2026-07-15", False),
        ("ES", "2026-11-02T14:29:59Z", "open", "2026-11-02", False),
        ("ES", "2026-11-02T14:30:00Z", "open", "2026-11-02", True),
        ("ES", "2026-03-08T21:59:59Z", "pre_open", "2026-03-09", False),
        ("ES", "2026-03-08T22:00:00Z", "open", "2026-03-09", False),
        ("ES", "2026-11-01T22:59:59Z", "pre_open", "2026-11-02", False),
        ("ES", "2026-11-01T23:00:00Z", "open", "2026-11-02", False),
        # The pause of 15:15 is gone since 2021, and the cash hours end at 15:00.
        ("ES", "2026-01-15T20:59:59Z", "open", "2026-01-15", True),
        ("ES", "2026-01-15T21:00:00Z", "open", "2026-01-15", False),
        ("ES", "2026-01-15T21:20:00Z", "open", "2026-01-15", False),
        # The daily break.
        ("ES", "2026-01-15T22:00:00Z", "closed", None, False),
        ("ES", "2026-01-15T22:44:59Z", "closed", None, False),
        ("ES", "2026-01-15T22:45:00Z", "pre_open", "2026-01-16", False),
        ("ES", "2026-01-15T23:00:00Z", "open", "2026-01-16", False),
        # The week ends on Friday at 16:00 and begins on Sunday.
        ("GC", "2026-01-16T22:00:00Z", "closed", None, False),
        ("GC", "2026-01-16T22:50:00Z", "closed", None, False),
        ("GC", "2026-01-17T15:00:00Z", "closed", None, False),
        ("GC", "2026-01-18T21:59:59Z", "closed", None, False),
    ],
)
def test_the_clock(root: str, instant: str, state: str, trade_date: str | None, is_rth: bool) -> None:
    day = D(trade_date) if trade_date else None
    assert session(product(root), at(instant)) == Session(State(state), day, is_rth)


HOLIDAYS = [
    # day, then the closes of ES, ZN, 6E, CL and GC in Chicago; "" is no session
    ("2025-01-09", "08:30", "12:15", "16:00", "16:00", "16:00"),
    ("2025-04-18", "", "", "", "", ""),
    ("2025-07-03", "12:15", "16:00", "16:00", "16:00", "16:00"),
    ("2025-07-04", "12:00", "12:00", "12:00", "12:00", "12:00"),
    ("2025-11-27", "12:00", "12:00", "16:00", "13:30", "13:30"),
    ("2025-11-28", "12:15", "12:15", "13:45", "13:45", "13:45"),
    ("2025-12-24", "12:15", "12:15", "12:45", "12:45", "12:45"),
    ("2025-12-25", "", "", "", "", ""),
    ("2025-12-31", "16:00", "16:00", "16:00", "16:00", "16:00"),
    ("2026-01-01", "", "", "", "", ""),
    ("2026-01-19", "12:00", "12:00", "16:00", "13:30", "13:30"),
    ("2026-02-16", "12:00", "12:00", "16:00", "13:30", "13:30"),
    ("2026-04-03", "08:15", "10:15", "10:15", "", ""),
    ("2026-05-25", "12:00", "12:00", "16:00", "13:30", "13:30"),
    ("2026-06-19", "12:00", "12:00", "12:00", "12:00", "12:00"),
    ("2026-07-02", "16:00", "16:00", "16:00", "16:00", "16:00"),
    ("2026-07-03", "12:00", "12:00", "12:00", "12:00", "12:00"),
    ("2026-09-07", "12:00", "12:00", "16:00", "13:30", "13:30"),
    ("2026-11-26", "12:00", "12:00", "16:00", "13:30", "13:30"),
    ("2026-11-27", "12:15", "12:15", "13:45", "13:45", "13:45"),
    ("2026-12-24", "12:15", "12:15", "12:45", "12:45", "12:45"),
    ("2026-12-25", "", "", "", "", ""),
    ("2027-01-01", "", "", "", "", ""),
    ("2027-03-26", "", "", "", "", ""),
    ("2027-06-18", "12:00", "12:00", "12:00", "12:00", "12:00"),
    ("2027-07-05", "12:00", "12:00", "16:00", "13:30", "13:30"),
    ("2027-12-23", "16:00", "16:00", "16:00", "16:00", "16:00"),
    ("2027-12-24", "", "", "", "", ""),
    ("2027-12-31", "16:00", "16:00", "16:00", "16:00", "16:00"),
]


@pytest.mark.parametrize("row", HOLIDAYS, ids=[row[0] for row in HOLIDAYS])
def test_holidays_and_early_closes(row: tuple[str, ...]) -> None:
    assert [closing(root, D(row[0])) for root in ONE_OF_EACH] == list(row[1:])


def closing(root: str, day: date) -> str:
    found = hours(product(root), day)
    return found.closes.astimezone(CHICAGO).strftime("%H:%M") if found else ""


@pytest.mark.parametrize(
    ("root", "instant", "state", "trade_date"),
    [
        # Martin Luther King day: the session of the holiday is cleared on Tuesday.
        ("ES", "2026-01-18T17:00", "open", "2026-01-20"),
        ("ES", "2026-01-19T11:59:59", "open", "2026-01-20"),
        ("ES", "2026-01-19T12:00", "closed", None),
        ("ES", "2026-01-19T16:44:59", "closed", None),
        ("ES", "2026-01-19T16:45", "pre_open", "2026-01-20"),
        ("ES", "2026-01-19T17:00", "open", "2026-01-20"),
        ("6E", "2026-01-19T15:59:59", "open", "2026-01-20"),
        ("CL", "2026-01-19T13:30", "closed", None),
        # Thanksgiving and the day after it.
        ("ES", "2026-11-25T17:00", "open", "2026-11-27"),
        ("ES", "2026-11-26T17:00", "open", "2026-11-27"),
        ("ES", "2026-11-27T12:15", "closed", None),
        ("GC", "2026-11-27T13:44:59", "open", "2026-11-27"),
        # Christmas: nothing from the early close of the eve to the evening of the day.
        ("ES", "2025-12-24T17:00", "closed", None),
        ("ES", "2025-12-24T16:45", "closed", None),
        ("ES", "2025-12-25T10:00", "closed", None),
        ("ES", "2025-12-25T16:45", "pre_open", "2025-12-26"),
        ("ES", "2025-12-25T17:00", "open", "2025-12-26"),
        ("ES", "2026-12-25T17:00", "closed", None),
        ("ES", "2025-12-31T17:00", "closed", None),
        ("ES", "2026-01-01T17:00", "open", "2026-01-02"),
        # Good Friday with the employment report, and without.
        ("ES", "2026-04-02T17:00", "open", "2026-04-06"),
        ("ES", "2026-04-03T08:15", "closed", None),
        ("CL", "2026-04-02T17:00", "closed", None),
        ("ES", "2027-03-25T17:00", "closed", None),
        # A Friday holiday is cleared on Monday.
        ("ZN", "2026-06-19T11:59", "open", "2026-06-22"),
        ("ZN", "2026-06-19T17:00", "closed", None),
    ],
)
def test_trade_dates_around_holidays(root: str, instant: str, state: str, trade_date: str | None) -> None:
    found = session(product(root), local(instant))
    assert (found.state.value, found.trade_date) == (state, D(trade_date) if trade_date else None)


def test_cash_hours_are_those_of_equity_index_products() -> None:
    assert not session(product("CL"), at("2026-01-15T15:00:00Z")).rth
    assert cash_hours(D("2026-01-15")) == (time(8, 30), time(15))
    assert cash_hours(D("2026-11-27")) == (time(8, 30), time(12))
    assert cash_hours(D("2026-01-19")) is None
    assert cash_hours(D("2025-01-09")) is None


def test_the_last_half_minute_of_the_pre_open_takes_no_cancel() -> None:
    times = ("2026-01-15T16:59:29", "2026-01-15T16:59:30", "2026-01-15T17:00", "2026-01-16T16:59:40")
    assert [is_no_cancel(product("ES"), local(text)) for text in times] == [False, True, False, False]


@pytest.mark.parametrize(
    "instant", ["2023-12-30T23:00:00+00:00", "2028-01-01T06:00:00+00:00", "1999-01-01T00:00:00+00:00"]
)
def test_instants_beyond_the_table_have_no_answer(instant: str) -> None:
    with pytest.raises(OutsideTableError, match=r"^at: "):
        session(product("ES"), at(instant))


def test_an_instant_without_zone_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"^at: "):
        session(product("ES"), datetime(2026, 1, 15))


# Every minute


@cache
def all_hours(root: str) -> list[Any]:
    return [found for day in DAYS if (found := hours(product(root), day)) is not None]


@pytest.mark.parametrize("root", ONE_OF_EACH)
def test_sessions_follow_one_another(root: str) -> None:
    found = all_hours(root)
    for one, following in pairwise(found):
        assert one.pre_open < one.opens < one.closes < following.pre_open
        assert one.trade_date <= following.trade_date


@pytest.mark.parametrize("root", ONE_OF_EACH)
def test_every_minute_of_four_years_has_exactly_one_state(root: str) -> None:
    """All boundaries are quarter hours, so one instant stands for its quarter; the intervals say what it must be."""
    expected = iter(_quarters(root))
    now, end = datetime(2024, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    start, until, state, trade_date = next(expected)
    while now < end:
        while now >= until:
            start, until, state, trade_date = next(expected)
        assert start <= now
        found = session(product(root), now)
        assert (found.state, found.trade_date) == (state, trade_date), now
        now += timedelta(minutes=15)


def _quarters(root: str) -> Iterator[tuple[datetime, datetime, State, date | None]]:
    last = datetime(2024, 1, 1, tzinfo=UTC)
    for one in all_hours(root):
        assert not any(moment.minute % 15 or moment.second for moment in (one.pre_open, one.opens, one.closes))
        yield last, one.pre_open, State.CLOSED, None
        yield one.pre_open, one.opens, State.PRE_OPEN, one.trade_date
        yield one.opens, one.closes, State.OPEN, one.trade_date
        last = one.closes
    yield last, datetime(2028, 1, 1, tzinfo=UTC), State.CLOSED, None


@given(PRODUCTS, INSTANTS)
def test_a_state_has_a_trade_date_unless_it_is_closed(root: str, now: datetime) -> None:
    found = session(product(root), now)
    assert (found.state is State.CLOSED) == (found.trade_date is None)
    if found.trade_date is not None:
        assert is_business_day(found.trade_date)
        assert chicago(now).date() <= found.trade_date
    if found.rth:
        assert found.state is State.OPEN
        assert product(root).group == "equity"


@given(PRODUCTS, st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 20), timezones=st.just(UTC)))
def test_the_next_open_opens(root: str, now: datetime) -> None:
    opens = next_open(product(root), now)
    assert opens > now
    assert session(product(root), opens).state is State.OPEN
    assert session(product(root), opens - timedelta(seconds=1)).state is State.PRE_OPEN


# Against others

LIBRARY = {
    "ES": "CME Globex Equity",
    "ZN": "CME Globex Fixed Income",
    "6E": "CMEGlobex_FX",
    "CL": "CMEGlobex_CL",
    "NG": "CMEGlobex_NG",
    "GC": "CMEGlobex_GC",
    "SI": "CMEGlobex_SI",
    "HG": "CMEGlobex_HG",
}
# What pandas_market_calendars 5.5.0 says otherwise: (days, products, its close, ours, why ours).
GOOD_FRIDAYS = ("2024-03-29", "2025-04-18", "2027-03-26")
DIFFERENCES = [
    (GOOD_FRIDAYS, "ES", "08:15", "", "it opens every Good Friday; CME does so for the employment report only"),
    (GOOD_FRIDAYS, "ZN 6E", "10:15", "", "the same; Lean has no session on those of 2024 and 2025"),
    (("2025-01-09",), "ES", "16:00", "08:30", "day of mourning, announced by CME Group on 2024-12-30"),
    (("2025-01-09",), "ZN", "16:00", "12:15", "the same"),
    (("2025-07-04", "2026-06-19", "2026-07-03", "2027-06-18"), "6E", "16:00", "12:00", "Lean: Friday holidays"),
    (("2025-11-28", "2026-11-27", "2027-11-26"), "6E", "12:15", "13:45", "Lean; uncertain, it vouches for 2020-22"),
    (("2025-12-24", "2026-12-24"), "6E", "12:15", "12:45", "Lean; uncertain, it vouches for 2020-22"),
    (("2024-09-02", "2025-09-01", "2027-09-06"), "CL NG GC SI HG", "12:00", "13:30", "Lean: as other Mondays"),
    (("2025-07-04", "2027-06-18"), "CL NG GC SI HG", "13:30", "12:00", "Lean: Friday holidays"),
    (("2025-11-28", "2027-11-26"), "CL NG GC SI HG", "12:45", "13:45", "Lean; it has 13:45 for 2026 itself"),
    (("2024-12-24", "2025-12-24"), "CL NG GC SI HG", "16:00", "12:45", "Lean; it has 12:45 for 2026 itself"),
]  # fmt: skip


@pytest.mark.parametrize("root", LIBRARY)
def test_sessions_against_a_calendar_library(root: str) -> None:
    library = import_module("pandas_market_calendars").get_calendar(LIBRARY[root])
    schedule = library.schedule(FIRST.isoformat(), LAST.isoformat())
    theirs = {
        row.Index.date(): (row.market_open.to_pydatetime(), row.market_close.to_pydatetime())
        for row in schedule.itertuples()
    }
    explained = {
        D(day): (their_close, our_close)
        for days, roots, their_close, our_close, _ in DIFFERENCES
        for day in days
        if root in roots.split()
    }
    for day in DAYS:
        ours = hours(product(root), day)
        their = theirs.get(day)
        if day in explained:
            assert (_clock(their[1]) if their else "", closing(root, day)) == explained[day], day
        else:
            assert (ours and (ours.opens, ours.closes)) == their, day


def test_business_days_against_a_calendar_library() -> None:
    library = import_module("pandas_market_calendars").get_calendar("CME_TradeDate")
    theirs = {stamp.date() for stamp in library.schedule("2019-01-01", "2030-12-31").index}
    # CME cleared the day of mourning 2025-01-09 as a trade date; and Juneteenth was none before 2022.
    ours = {day for n in range(12 * 365 + 3) if is_business_day(day := D("2019-01-01") + timedelta(n))}
    assert ours - theirs == {D("2025-01-09")}
    assert theirs - ours == set()


def _clock(moment: datetime) -> str:
    return moment.astimezone(CHICAGO).strftime("%H:%M")


LEAN = {"ES": "cme-ES", "YM": "cbot-YM", "ZN": "cbot-ZN", "6E": "cme-6E", "CL": "nymex-CL", "MCL": "nymex-MCL",
        "NG": "nymex-NG", "GC": "comex-GC", "SI": "comex-SI", "HG": "comex-HG", "MGC": "comex-MGC"}  # fmt: skip


@pytest.mark.parametrize("root", LEAN)
def test_early_closes_against_lean(root: str, data_dir: Path) -> None:
    """Where Lean names a close on a day we trade, it is ours; it leaves out many, which the library above covers."""
    file = data_dir / "cme/market-hours/market-hours-database.subset.json.gz"
    entry = json.loads(gzip.decompress(file.read_bytes()))["entries"][f"Future-{LEAN[root]}"]
    back = timedelta(hours=1 if entry["exchangeTimeZone"] == "America/New_York" else 0)
    checked = 0
    for text, clock in entry["earlyCloses"].items():
        day = datetime.strptime(text, "%m/%d/%Y").date()
        if not FIRST <= day <= LAST or text == "12/25/2025":
            continue  # Lean gives Christmas 2025 both as closed until the evening and as an ordinary close
        theirs = (datetime.combine(day, time.fromisoformat(clock)) - back).strftime("%H:%M")
        assert re.fullmatch(r"\d\d:\d\d", theirs)
        assert closing(root, day) == theirs, day
        checked += 1
    for text in entry["holidays"]:
        day = datetime.strptime(text, "%m/%d/%Y").date()
        if FIRST <= day <= LAST:
            assert hours(product(root), day) is None, day
            checked += 1
    assert checked > 20
