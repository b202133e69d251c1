"""When an instrument stops trading: by its venue's calendar or by its expiry. Pure questions about instants."""

from datetime import datetime, timedelta

from venues.model.instrument import Instrument
from venues.rules import calendar
from venues.rules.cme_products import Product
from venues.rules.errors import RuleError
from venues.rules.instants import instant_ns, instant_of

_DAY = timedelta(days=1)


def closure(spec: Instrument, product: Product | None, now: int, until: int) -> str:
    """Return what stops `spec` from trading at some instant of `now`..`until` (ns UTC), empty when nothing does.

    `product` is None for what has no calendar. An instant that the calendar does not know counts as closed.
    """
    if spec.expiry_ns is not None and until >= spec.expiry_ns:
        return f"expires at {instant_of(spec.expiry_ns)}"
    if product is None:
        return ""
    try:
        at = instant_of(now)
        if calendar.session(product, at).state is not calendar.State.OPEN:
            return f"is closed at {at}"
        closes = _closes(product, at)
    except RuleError as error:
        return f"has no known hours: {error}"
    return f"closes at {closes}" if until >= instant_ns(closes) else ""


def _closes(product: Product, at: datetime) -> datetime:
    """Return when the session that `at` lies in ends, UTC. Raises OutsideTableError."""
    day = calendar.chicago(at).date()
    hours = calendar.hours(product, day)
    if hours is None or hours.closes <= at:
        hours = calendar.hours(product, day + _DAY)
    assert hours is not None, "an open session has an end"
    return hours.closes
