"""What a position loses in each of the 16 SPAN scenarios.

Options are priced by Black-76 without discounting, now and one look-ahead later. Source: CME Group, "SPAN components"
(scenarios, extreme move); the order of scenarios is CME's. A loss is positive. Futures are exact; option values are
computed in binary floating point, good to about 1e-12 of the underlying's notional.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from math import erfc, isfinite, log, sqrt

from attrs import frozen

from venues.model.money import ONE, ZERO
from venues.rules.errors import BadValueError

# Price move in thirds of the scan range, volatility direction; 15 and 16 are the extreme moves.
SCENARIOS: tuple[tuple[int, int], ...] = tuple(
    (move, vol) for move in (0, 1, -1, 2, -2, 3, -3) for vol in (1, -1)
)  # fmt: skip
EXTREMES = (1, -1)
DAYS_PER_YEAR = 365


class Kind(Enum):
    """What a position is in."""

    FUTURE = "future"
    CALL = "call"
    PUT = "put"


@frozen
class Position:
    """Signed `qty` contracts; options have a `strike` in price points."""

    kind: Kind
    qty: Decimal
    strike: Decimal | None = None


@frozen
class Extreme:
    """The extreme move: `multiple` of the price scan range, of whose loss `cover` counts.

    CME today 3 and 0.33, originally 2 and 0.35 (facts graded K): both are parameters.
    """

    multiple: Decimal
    cover: Decimal


@frozen
class Scan:
    """What the underlying does: prices in points, volatility annual, `vol_scan` relative (0.35: x 1.35 and x 0.65).

    `days` are calendar days to expiry; `lookahead_days` pass in every scenario. Futures need neither `vol`, `vol_scan`
    nor `days`.
    """

    underlying: Decimal
    multiplier: Decimal
    price_scan: Decimal
    extreme: Extreme
    vol_scan: Decimal | None = None
    vol: Decimal | None = None
    days: Decimal | None = None
    lookahead_days: Decimal = ONE

    def __attrs_post_init__(self) -> None:
        """Refuse what no market can be."""
        for name in ("underlying", "multiplier"):
            value = getattr(self, name)
            if not value.is_finite() or value <= ZERO:
                raise BadValueError(name, f"must be positive, got {value}")
        for name in ("price_scan", "vol_scan", "vol", "days", "lookahead_days"):
            value = getattr(self, name)
            if value is not None and (not value.is_finite() or value < ZERO):
                raise BadValueError(name, f"must not be negative, got {value}")
        if self.vol_scan is not None and self.vol_scan > ONE:
            raise BadValueError("vol_scan", f"is relative, at most 1, got {self.vol_scan}")
        if not self.extreme.multiple.is_finite() or self.extreme.multiple <= ZERO:
            raise BadValueError("extreme.multiple", f"must be positive, got {self.extreme.multiple}")
        if not self.extreme.cover.is_finite() or not ZERO <= self.extreme.cover <= ONE:
            raise BadValueError("extreme.cover", f"is a share, 0 to 1, got {self.extreme.cover}")


def risk_array(scan: Scan, positions: Sequence[Position]) -> tuple[Decimal, ...]:
    """Return the 16 losses of `positions` as held, in money. Raises BadValueError, fields as `positions[0].strike`."""
    total = [ZERO] * (len(SCENARIOS) + len(EXTREMES))
    for index, position in enumerate(positions):
        path = f"positions[{index}]"
        if not position.qty.is_finite():
            raise BadValueError(f"{path}.qty", f"must be a finite number, got {position.qty}")
        if position.kind is Kind.FUTURE and position.strike is not None:
            raise BadValueError(f"{path}.strike", "a future has none")
        size = position.qty * scan.multiplier
        losses = _future(scan, size) if position.kind is Kind.FUTURE else _option(scan, path, position, size)
        total = [before + loss for before, loss in zip(total, losses, strict=True)]
    return tuple(total)


def _future(scan: Scan, size: Decimal) -> list[Decimal]:
    """Return what futures worth `size` per point lose in each scenario."""
    full = scan.price_scan * size
    covered = full * scan.extreme.multiple * scan.extreme.cover
    return [ZERO - full * move / 3 for move, _ in SCENARIOS] + [ZERO - covered * way for way in EXTREMES]


def _option(scan: Scan, path: str, position: Position, size: Decimal) -> list[Decimal]:
    """Return what options worth `size` per point lose in each scenario."""
    strike = position.strike
    if strike is None or not strike.is_finite() or strike <= ZERO:
        raise BadValueError(f"{path}.strike", f"an option needs a positive one, got {strike}")
    for name in ("vol", "vol_scan", "days"):
        if getattr(scan, name) is None:
            raise BadValueError(name, "is needed for options")
    assert scan.vol is not None
    assert scan.vol_scan is not None
    assert scan.days is not None
    try:
        losses = _option_losses(
            scan, float(strike), scan.vol, scan.vol_scan, scan.days, is_call=position.kind is Kind.CALL
        )
    except (OverflowError, ZeroDivisionError) as error:
        raise BadValueError(path, "is beyond what can be priced") from error
    if not all(map(isfinite, losses)):
        raise BadValueError(path, "is beyond what can be priced")
    return [Decimal(repr(loss + 0.0)) * size for loss in losses]


def _option_losses(
    scan: Scan, strike: float, vol: Decimal, vol_scan: Decimal, days: Decimal, *, is_call: bool
) -> list[float]:
    """Return what one long option loses per point of its multiplier in each scenario."""
    now = black76(float(scan.underlying), strike, float(days) / DAYS_PER_YEAR, float(vol), is_call=is_call)
    years = max(float(days - scan.lookahead_days), 0.0) / DAYS_PER_YEAR
    moved = {way: float(vol * (ONE + way * vol_scan)) for way in (1, -1)}
    losses = []
    for move, way in SCENARIOS:
        price = float(scan.underlying + scan.price_scan * move / 3)
        losses.append(now - black76(price, strike, years, moved[way], is_call=is_call))
    for way in EXTREMES:
        price = float(scan.underlying + scan.price_scan * scan.extreme.multiple * way)
        losses.append((now - black76(price, strike, years, float(vol), is_call=is_call)) * float(scan.extreme.cover))
    return losses


def black76(price: float, strike: float, years: float, vol: float, *, is_call: bool) -> float:
    """Return the undiscounted value of an option on a future of `price`; at expiry, without volatility and at prices
    that are not positive it is worth its intrinsic value.

    Source: F. Black, "The pricing of commodity contracts" (1976).
    """
    spread = vol * sqrt(years)
    if price <= 0.0 or spread <= 0.0:
        return max(price - strike if is_call else strike - price, 0.0)
    first = log(price / strike) / spread + spread / 2
    second = first - spread
    if is_call:
        return price * _normal(first) - strike * _normal(second)
    return strike * _normal(-second) - price * _normal(-first)


def _normal(x: float) -> float:
    return erfc(-x / sqrt(2)) / 2
