"""Decides whether a CME product trades at an instant, and for which trade date.

Clock rules are Chicago wall-clock rules: a day's session runs from 17:00 of the evening before to 16:00, its pre-open
from 16:45 (Sunday 16:00). Holidays come by rule, early closes from the table beside this module. Source: facts A2.
Calendar libraries are compared in the tests; none of them knows every early close, and all bring pandas.
"""

import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

from attrs import frozen

from venues.rules.cme_products import Group, Product
from venues.rules.dated import check_order, row_on
from venues.rules.errors import BadValueError, OutsideTableError
from venues.rules.holidays import Holiday, business_day_from, holiday_on

CHICAGO = ZoneInfo("America/Chicago")
OPEN = time(17)
CLOSE = time(16)
PRE_OPEN = time(16, 45)
SUNDAY_PRE_OPEN = time(16)
NO_CANCEL = time(16, 59, 30)
CASH_OPEN = time(8, 30)
CASH_CLOSE = time(15)
EARLY_CASH_CLOSE = time(12)
_DAY = timedelta(days=1)
_FRIDAY = 4
_SUNDAY = 6


class State(StrEnum):
    OPEN = "open"
    PRE_OPEN = "pre_open"
    CLOSED = "closed"


@frozen
class Session:
    """What a product does at an instant. `trade_date` is None when closed; `rth` is the equity index cash hours."""

    state: State
    trade_date: date | None = None
    rth: bool = False


@frozen
class Hours:
    """The session that ends on `day`: pre-open, open and close in UTC, and the trade date it belongs to."""

    day: date
    pre_open: datetime
    opens: datetime
    closes: datetime
    trade_date: date


@frozen
class Closes:
    """When each group closes on one kind of day; a group without an entry does not trade at all."""

    kind: str
    since: date
    by_group: Mapping[Group, time]


@frozen
class EarlyWindow:
    """The settlement window of a group on days that close before its ordinary window ends."""

    start: time
    end: time


@frozen
class Tables:
    first: date
    last: date
    closes: Mapping[str, tuple[Closes, ...]]
    special: Mapping[date, Closes]
    early_windows: Mapping[Group, EarlyWindow]


def session(product: Product, at: datetime, field: str = "at") -> Session:
    """Return what `product` does at `at`. Raises OutsideTableError, and BadValueError for an instant without zone."""
    local = chicago(at, field)
    today, clock = local.date(), local.time()
    covered(today, field)
    if clock >= OPEN:
        tomorrow = today + _DAY
        if _has_session(product.group, tomorrow):
            return Session(State.OPEN, _trade_date(tomorrow))
        return Session(State.CLOSED)
    closes = closing_time(product.group, today)
    if closes is not None and clock < closes:
        is_rth = product.group is Group.EQUITY and CASH_OPEN <= clock < CASH_CLOSE
        return Session(State.OPEN, _trade_date(today), is_rth)
    if clock >= _pre_open(today) and _has_session(product.group, today + _DAY):
        return Session(State.PRE_OPEN, _trade_date(today + _DAY))
    return Session(State.CLOSED)


def hours(product: Product, day: date, field: str = "date") -> Hours | None:
    """Return the session ending on `day`, None when there is none. Raises OutsideTableError."""
    closes = closing_time(product.group, covered(day, field))
    if closes is None:
        return None
    eve = day - _DAY
    return Hours(day, utc(eve, _pre_open(eve)), utc(eve, OPEN), utc(day, closes), _trade_date(day))


def next_open(product: Product, at: datetime, field: str = "at") -> datetime:
    """Return the first open after `at`, UTC. Raises OutsideTableError when the table ends before."""
    day = chicago(at, field).date()
    while True:
        found = hours(product, day, field)
        if found is not None and found.opens > at:
            return found.opens
        day += _DAY


def closing_time(group: Group, day: date) -> time | None:
    """Return when `group` closes on `day`, Chicago time; None when no session ends on it."""
    return _closing_times(day).get(group)


def cash_hours(day: date, field: str = "date") -> tuple[time, time] | None:
    """Return the hours of the cash equity market on `day`, Chicago time; None when it does not open."""
    if holiday_on(covered(day, field)) is not None:
        return None
    closes = closing_time(Group.EQUITY, day)
    if closes is None or closes <= CASH_OPEN:
        return None
    return CASH_OPEN, CASH_CLOSE if closes == CLOSE else EARLY_CASH_CLOSE


def is_cash_session(product: Product, at: datetime, field: str = "at") -> bool:
    """Say whether an equity index product trades while its cash market does; others never do."""
    now, local = session(product, at, field), chicago(at, field)
    # The trade date of a holiday's session is a later day's.
    if product.group is not Group.EQUITY or now.trade_date != local.date() or now.state is not State.OPEN:
        return False
    cash = cash_hours(local.date(), field)
    return cash is not None and cash[0] <= local.time() < cash[1]


def is_no_cancel(product: Product, at: datetime, field: str = "at") -> bool:
    """Say whether orders can be entered but neither changed nor cancelled: the last 30 s of the pre-open."""
    return session(product, at, field).state is State.PRE_OPEN and chicago(at, field).time() >= NO_CANCEL


def early_window(group: Group) -> EarlyWindow | None:
    """Return the settlement window of shortened days, None where the group has none of its own."""
    return tables().early_windows.get(group)


def covered(day: date, field: str) -> date:
    """Return `day` when the tables speak of it. Raises OutsideTableError naming `field`."""
    known = tables()
    if not known.first <= day <= known.last:
        raise OutsideTableError(field, f"{day}: sessions are known from {known.first} to {known.last}")
    return day


def chicago(at: datetime, field: str = "at") -> datetime:
    """Return `at` on Chicago's wall clock. Raises BadValueError for an instant without a time zone."""
    if at.tzinfo is None:
        raise BadValueError(field, f"{at} has no time zone")
    return at.astimezone(CHICAGO)


def utc(day: date, clock: time) -> datetime:
    """Return the instant of a Chicago wall-clock time."""
    return datetime.combine(day, clock, CHICAGO).astimezone(UTC)


def _pre_open(day: date) -> time:
    return SUNDAY_PRE_OPEN if day.weekday() == _SUNDAY else PRE_OPEN


def _has_session(group: Group, day: date) -> bool:
    return closing_time(group, day) is not None


@cache
def _trade_date(day: date) -> date:
    # A holiday's session is cleared with the next business day's.
    return business_day_from(day, 0)


@cache
def _closing_times(day: date) -> Mapping[Group, time]:
    if day.weekday() > _FRIDAY:
        return {}
    known = tables()
    if day in known.special:
        return known.special[day].by_group
    kind = _kind(day)
    if kind is None:
        return dict.fromkeys(Group, CLOSE)
    if kind == "closed":
        return {}
    return row_on(known.closes[kind], day, "date").by_group


def _kind(day: date) -> str | None:
    match holiday_on(day):
        case Holiday.NEW_YEAR | Holiday.CHRISTMAS | Holiday.GOOD_FRIDAY:
            return "closed"
        case Holiday():
            return "friday_holiday" if day.weekday() == _FRIDAY else "holiday"
    if holiday_on(day - _DAY) is Holiday.THANKSGIVING:
        return "thanksgiving_friday"
    if (day.month, day.day) == (12, 24):
        return "christmas_eve"
    if (day.month, day.day) == (7, 3) and day.weekday() < _FRIDAY:
        return "independence_eve"
    return None


@cache
def tables() -> Tables:
    """Return the shipped tables. Raises BadTableError when their dates do not ascend."""
    text = resources.files("venues.rules").joinpath("cme_calendar.toml").read_text(encoding="utf-8")
    read = tomllib.loads(text)
    closes: dict[str, tuple[Closes, ...]] = {}
    for row in read["close"]:
        closes[row["kind"]] = (*closes.get(row["kind"], ()), Closes(row["kind"], row["since"], _times(row)))
    for kind, rows in closes.items():
        check_order(rows, kind)
    special = {row["day"]: Closes("special", row["day"], _times(row)) for row in read["special"]}
    windows = {
        Group(row["group"]): EarlyWindow(time.fromisoformat(row["start"]), time.fromisoformat(row["end"]))
        for row in read["early_window"]
    }
    return Tables(read["first"], read["last"], closes, special, windows)


def _times(row: Mapping[str, Any]) -> Mapping[Group, time]:
    return {group: time.fromisoformat(row[group.value]) for group in Group if group.value in row}
