"""Decides how a quantity is cut into whole steps: evenly, by a volume profile, by a share of what others trade.

Quantities are in any unit as long as `step` is in the same one. A quantity that is no multiple of its step is cut as
far as whole steps go. Cases: facts/execution.md 4.1-4.3.
"""

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from fractions import Fraction

from venues.model.money import ZERO
from venues.rules.checks import finite, not_negative, positive
from venues.rules.errors import BadValueError

SLICES_MAX = 100_000
# Wide enough that differences of floats taken as decimals are exact, however small the smaller one is.
EXACT = Context(prec=500)


def slice_count(value: int, field: str) -> int:
    """Return `value`. Raises BadValueError unless it is from 1 to `SLICES_MAX`."""
    if not 1 <= value <= SLICES_MAX:
        raise BadValueError(field, f"must be from 1 to {SLICES_MAX}, got {value}")
    return value


def twap(qty: Decimal, step: Decimal, slices: int) -> list[Decimal]:
    """Return `slices` quantities: with slice i, floor(qty/step x (i+1)/slices) steps are done.

    Raises BadValueError.
    """
    slice_count(slices, "slices")
    steps = _steps(qty, step)
    return _between((steps * done // slices for done in range(1, slices + 1)), step)


def along(qty: Decimal, step: Decimal, done: Sequence[Fraction]) -> list[Decimal]:
    """Return quantities that follow `done`, the ascending shares (0..1) finished after each slice.

    Each cumulated sum is the ideal rounded down to a step, so it is less than a step behind. Raises BadValueError.
    """
    slice_count(len(done), "done")
    before = Fraction(0)
    for index, share in enumerate(done):
        if not before <= share <= 1:
            raise BadValueError(f"done[{index}]", f"{float(share)} does not ascend to 1")
        before = share
    steps = _steps(qty, step)
    return _between((steps * share // 1 for share in done), step)


def vwap(qty: Decimal, step: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Return one quantity per weight: proportional, the steps left over to the largest remainders, ties to the earlier.

    Weights are normalised by their sum. Raises BadValueError when none is positive.
    """
    slice_count(len(weights), "weights")
    shares = [Fraction(not_negative(weight, f"weights[{index}]")) for index, weight in enumerate(weights)]
    total = sum(shares, Fraction(0))
    if not total:
        raise BadValueError("weights", "must not all be zero")
    steps = _steps(qty, step) // 1
    ideals = [steps * share / total for share in shares]
    lots = [ideal // 1 for ideal in ideals]
    by_remainder = sorted(range(len(lots)), key=lambda index: lots[index] - ideals[index])
    for index in by_remainder[: steps - sum(lots)]:
        lots[index] += 1
    return [EXACT.multiply(Decimal(count), step) for count in lots]


def pov_child(rate: Decimal, others_volume: Decimal) -> Decimal:
    """Return what to trade beside `others_volume` to be `rate` of the whole: rate / (1 - rate) x volume.

    The naive rate x volume falls short because own volume counts too. Raises BadValueError.
    """
    if not 0 <= finite(rate, "rate") < 1:
        raise BadValueError("rate", f"must be at least 0 and below 1, got {rate}")
    return rate * not_negative(others_volume, "others_volume") / (1 - rate)


def pov(qty: Decimal, step: Decimal, rate: Decimal, others_volumes: Sequence[Decimal]) -> list[Decimal]:
    """Return one quantity per volume of others, each cumulated sum the share of the whole rounded down, until `qty`.

    What the volumes do not allow is left undone. Raises BadValueError.
    """
    slice_count(len(others_volumes), "others_volumes")
    most = _steps(qty, step) // 1
    pov_child(rate, ZERO)
    ratio = Fraction(rate) / (1 - Fraction(rate)) / Fraction(step)
    seen, done = Fraction(0), []
    for index, volume in enumerate(others_volumes):
        seen += Fraction(not_negative(volume, f"others_volumes[{index}]"))
        done.append(min(most, seen * ratio // 1))
    return _between(done, step)


def even_intervals(horizon_ns: int, interval_ns: int) -> int:
    """Return how many slices of `interval_ns` a horizon has, the last one shorter. Raises BadValueError."""
    if interval_ns < 1:
        raise BadValueError("interval_ns", f"must be positive, got {interval_ns}")
    if horizon_ns < interval_ns:
        raise BadValueError("horizon_ns", f"{horizon_ns} is shorter than the interval {interval_ns}")
    return slice_count(-(-horizon_ns // interval_ns), "interval_ns")


def _steps(qty: Decimal, step: Decimal) -> Fraction:
    return Fraction(not_negative(qty, "qty")) / Fraction(positive(step, "step"))


def _between(done: Iterable[int], step: Decimal) -> list[Decimal]:
    """Return the quantities between cumulated counts of steps."""
    quantities, before = [], 0
    for count in done:
        quantities.append(EXACT.multiply(Decimal(count - before), step))
        before = count
    return quantities
