"""Decides in which order profitable positions are deleveraged against a bankrupt one.

Sources: Binance FAQ 360033525471 as quoted by third parties; `GET /fapi/v1/adlQuantile` (0..4); Bybit
`adlRankIndicator` (0 none, 1..5). Money in the margin asset.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal

from attrs import frozen

from venues.model.money import ONE, ZERO
from venues.rules import checks
from venues.rules.errors import BadValueError

RANKS = 5


@frozen
class AdlCandidate:
    """One position on the opposite side of the bankrupt one.

    `notional` (signed or not) and `unrealized_pnl` are the position's; `wallet_balance`, `account_pnl` and
    `maintenance_margin` are the account's (the position's own when isolated). `qty` is unsigned.
    """

    key: str
    qty: Decimal
    notional: Decimal
    unrealized_pnl: Decimal
    wallet_balance: Decimal
    account_pnl: Decimal
    maintenance_margin: Decimal = ZERO


def score(candidate: AdlCandidate) -> Decimal:
    """Return Binance's current score: PNL% x effective leverage, for a loss PNL% / effective leverage.

    PNL% = unrealized profit / |notional|, effective leverage = |notional| / (wallet + unrealized profit).
    Raises BadValueError for a flat position and for an account whose balance is gone.
    """
    size = abs(checks.nonzero(candidate.notional, "notional"))
    pnl = checks.finite(candidate.unrealized_pnl, "unrealized_pnl") / size
    leverage = size / _equity(candidate)
    return pnl * leverage if pnl >= ZERO else pnl / leverage


def superseded_score(candidate: AdlCandidate) -> Decimal:
    """Return Binance's former score, still widely copied: max(0, PnL) / max(1, wallet) x margin ratio.

    Margin ratio = maintenance margin / (wallet + unrealized profit). Not what the venue does now. Raises BadValueError.
    """
    ratio = checks.not_negative(candidate.maintenance_margin, "maintenance_margin") / _equity(candidate)
    profit = max(ZERO, checks.finite(candidate.unrealized_pnl, "unrealized_pnl"))
    return profit / max(ONE, candidate.wallet_balance) * ratio


def _equity(candidate: AdlCandidate) -> Decimal:
    equity = checks.finite(candidate.wallet_balance, "wallet_balance") + checks.finite(
        candidate.account_pnl, "account_pnl"
    )
    if equity <= ZERO:
        raise BadValueError("wallet_balance", f"the account's balance is {equity}: it is bankrupt itself")
    return equity


@frozen
class AdlPlace:
    """A candidate's place: 1 is first in line; `quantile` = place / candidates; `rank` 5 is first in line, 1 last."""

    candidate: AdlCandidate
    score: Decimal
    place: int
    quantile: Decimal
    rank: int


def queue(candidates: Sequence[AdlCandidate], by: Callable[[AdlCandidate], Decimal] = score) -> tuple[AdlPlace, ...]:
    """Return the queue, highest score first; equal scores keep their order. Raises BadValueError."""
    scored = sorted(((by(each), each) for each in candidates), key=lambda pair: -pair[0])
    return tuple(
        AdlPlace(each, value, place, Decimal(place) / len(scored), rank_of_place(place, len(scored)))
        for place, (value, each) in enumerate(scored, start=1)
    )


def rank_of_place(place: int, candidates: int) -> int:
    """Return 5 for the first fifth of a queue down to 1 for the last. Raises BadValueError for no such place."""
    if not 1 <= place <= candidates:
        raise BadValueError("place", f"{place} is not among 1..{candidates}")
    return RANKS - (place - 1) * RANKS // candidates


def rank_of_binance_quantile(adl_quantile: int) -> int:
    """Return 1..5 (5 first in line) for `adlQuantile` 0..4. Raises BadValueError."""
    if not 0 <= adl_quantile < RANKS:
        raise BadValueError("adl_quantile", f"must be 0..4, got {adl_quantile}")
    return adl_quantile + 1


def rank_of_bybit_indicator(adl_rank_indicator: int) -> int | None:
    """Return 1..5 (5 first in line) for `adlRankIndicator`, None for 0: not in the queue. Raises BadValueError."""
    if not 0 <= adl_rank_indicator <= RANKS:
        raise BadValueError("adl_rank_indicator", f"must be 0..5, got {adl_rank_indicator}")
    return adl_rank_indicator or None


def allocate(places: Sequence[AdlPlace], qty: Decimal) -> tuple[tuple[str, Decimal], ...]:
    """Return (key, quantity) taken from the front of the queue until `qty` is deleveraged.

    Raises BadValueError when all candidates together hold less: a futures market has as many longs as shorts.
    """
    left = checks.positive(qty, "qty")
    taken = []
    for place in places:
        part = min(left, checks.positive(place.candidate.qty, "qty"))
        taken.append((place.candidate.key, part))
        left -= part
        if not left:
            return tuple(taken)
    raise BadValueError("qty", f"{left} of {qty} finds no opposite position")
