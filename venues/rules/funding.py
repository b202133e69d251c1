"""Decides the funding rate of an interval and what a position pays or receives at the instant.

Sources: Binance FAQ 360033525031 (updated 2026-03-06, through mirrors) and announcement of 2025-09-16; Bybit help page
on funding (the scaled interest is confirmed by third parties). Rates and premiums are shares per interval.
"""

from decimal import Decimal

from attrs import field, frozen

from venues.model.instrument import Instrument
from venues.model.money import ONE
from venues.rules.checks import finite, positive
from venues.rules.errors import BadValueError

# Both venues clamp interest - premium here. Binance's text swaps the two arguments; this is how it behaves.
CLAMP = Decimal("0.0005")
INTERVALS = frozenset({1, 2, 3, 4, 6, 8, 12, 24})
"""Hours between stamps that fit a day; Binance and Bybit use 1, 2, 4 and 8."""

RATE_MAX = Decimal("0.03")
"""The widest cap per interval ever seen listed (3 % at Binance, now 2 %): a rate beyond it is an error."""

_SHARE_OF_EIGHT_HOURS = {hours: Decimal(hours) / 8 for hours in INTERVALS}


def interval(interval_hours: int, name: str = "interval_hours") -> int:
    """Return `interval_hours`. Raises BadValueError for one whose stamps would wander over the day."""
    if interval_hours not in INTERVALS:
        raise BadValueError(name, f"must be one of {sorted(INTERVALS)} hours, got {interval_hours}")
    return interval_hours


def binance_funding_rate(
    premium_average: Decimal, interval_hours: int, interest_rate: Decimal, cap: Decimal, floor: Decimal
) -> Decimal:
    """Return clamp([P + clamp(I - P, +-0.05 %)] x interval / 8 h, floor, cap). Raises BadValueError.

    `interest_rate` is the eight-hour one whatever the interval (0.01 %; 0 for some contracts).
    """
    if not (premium_average.is_finite() and interest_rate.is_finite() and cap.is_finite() and floor.is_finite()):
        _refuse(premium_average, interest_rate, "interest_rate", cap, floor)
    if interval_hours not in INTERVALS:
        interval(interval_hours)
    rate = _towards_interest(premium_average, interest_rate)
    if interval_hours != 8:
        rate *= _SHARE_OF_EIGHT_HOURS[interval_hours]
    return _limited(rate, cap, floor)


def bybit_funding_rate(
    premium_average: Decimal, interval_hours: int, interest_rate_8h: Decimal, cap: Decimal, floor: Decimal
) -> Decimal:
    """Return clamp(P + clamp(I - P, +-0.05 %), floor, cap) with I = the eight-hour interest x interval / 8 h.

    Unlike Binance's, the premium is not divided by the intervals of eight hours. Raises BadValueError.
    """
    if not (premium_average.is_finite() and interest_rate_8h.is_finite() and cap.is_finite() and floor.is_finite()):
        _refuse(premium_average, interest_rate_8h, "interest_rate_8h", cap, floor)
    if interval_hours not in INTERVALS:
        interval(interval_hours)
    if interval_hours != 8:
        interest_rate_8h *= _SHARE_OF_EIGHT_HOURS[interval_hours]
    return _limited(_towards_interest(premium_average, interest_rate_8h), cap, floor)


def _towards_interest(premium: Decimal, interest: Decimal) -> Decimal:
    # P + clamp(I - P, -c, c) is I held between P - c and P + c; written so, the dead zone is exact.
    most = premium + CLAMP
    if interest >= most:
        return most
    least = premium - CLAMP
    return least if interest <= least else interest


def _limited(rate: Decimal, cap: Decimal, floor: Decimal) -> Decimal:
    if floor > cap:
        raise BadValueError("floor", f"{floor} is above cap {cap}")
    if rate > cap:
        return cap
    return floor if rate < floor else rate


def _refuse(premium: Decimal, interest: Decimal, interest_name: str, cap: Decimal, floor: Decimal) -> None:
    finite(premium, "premium_average")
    finite(interest, interest_name)
    finite(cap, "cap")
    finite(floor, "floor")


@frozen
class RateLimits:
    """Where caps come from when the venue's answer is not at hand (`GET /fapi/v1/fundingInfo` is the truth).

    Listed majors: +-`major_share` of the first bracket's maintenance rate; all others +-`other`, which third parties
    observed for 696 of 791 symbols on 2026-09-26 (3 % or custom before).
    """

    major_share: Decimal = field(default=Decimal("0.75"))
    other: Decimal = field(default=Decimal("0.02"))

    def cap(self, mmr: Decimal | None) -> Decimal:
        """Return the cap (the floor is its negative) of a major with `mmr`, None for any other symbol."""
        return self.other if mmr is None else self.major_share * positive(mmr, "mmr")


def is_plausible(rate: Decimal, cap: Decimal = RATE_MAX, floor: Decimal | None = None) -> bool:
    """Whether a venue can have meant `rate`: a number from `floor` (the negative of the cap) to `cap`."""
    return rate.is_finite() and (-cap if floor is None else floor) <= rate <= cap


def funding_payment(qty: Decimal, mark_price: Decimal, rate: Decimal, multiplier: Decimal = ONE) -> Decimal:
    """Return what signed `qty` receives (negative: pays) at the stamp, in quote: -qty x multiplier x mark x rate.

    A positive rate is paid by longs to shorts; the whole interval is due, whenever the position was opened (Binance,
    Bybit). `mark_price` is the one at the stamp. Raises BadValueError.
    """
    finite(qty, "qty")
    positive(mark_price, "mark_price")
    finite(rate, "rate")
    positive(multiplier, "multiplier")
    return -(qty * multiplier * mark_price * rate)


def inverse_funding_payment(qty: Decimal, mark_price: Decimal, rate: Decimal, multiplier: Decimal) -> Decimal:
    """Return the same for contracts of `multiplier` quote units each, in base: -qty x multiplier / mark x rate."""
    finite(qty, "qty")
    positive(mark_price, "mark_price")
    finite(rate, "rate")
    positive(multiplier, "multiplier")
    return -(qty * multiplier * rate / mark_price)


def instrument_payment(spec: Instrument, qty: Decimal, mark_price: Decimal, rate: Decimal) -> Decimal:
    """Return what signed `qty` of `spec` receives at the stamp, in its settlement asset. Raises BadValueError."""
    payment = inverse_funding_payment if spec.inverse else funding_payment
    return payment(qty, mark_price, rate, spec.multiplier)


def annual_rate(rate: Decimal, interval_hours: int) -> Decimal:
    """Return `rate` x stamps in 365 days, not compounded: for comparison only, a holding is paid by its stamps."""
    return finite(rate, "rate") * (8760 // interval(interval_hours))
