"""Decides what is known of a market when an order comes: volume, volatility, funding, crowd, forced trading.

Everything here is from before that instant. What the market has not told is None, never zero.
"""

from collections import deque
from decimal import Decimal
from math import log
from statistics import fmean

from attrs import define, field

from sim.parametric_config import ParametricConfig
from venues.costs.slippage_crypto import volatility_regime
from venues.model.money import ZERO
from venues.port import Bar
from venues.rules.errors import BadValueError

DAY_NS = 86_400_000_000_000

# What `volatility_regime` looks back on: 271 returns between 272 closes.
_CLOSES = 272


@define
class Conditions:
    """Volumes and open interest are in base units or contracts; `adv_set` is the configured daily volume."""

    config: ParametricConfig
    adv_set: Decimal | None = None
    funding_rate: Decimal | None = None
    open_interest: Decimal | None = None
    _days: deque[Decimal] = field(init=False)
    _day: int | None = field(init=False, default=None)
    _volume: Decimal = field(init=False, default=ZERO)
    _is_whole: bool = field(init=False, default=False)
    _closes: deque[Decimal] = field(init=False, factory=lambda: deque(maxlen=_CLOSES))
    _regime: float | None = field(init=False, default=None)
    _is_new: bool = field(init=False, default=False)
    _forced: deque[tuple[int, Decimal]] = field(init=False, factory=deque)
    _forced_sum: Decimal = field(init=False, default=ZERO)
    _has_prints: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._days = deque(maxlen=self.config.volume_days)

    def on_bar(self, bar: Bar) -> None:
        """Learn volume and close of a bar of trades."""
        day, since = divmod(bar.start_ns, DAY_NS)
        if day != self._day:
            # A first day that began before the data did would be too small.
            if self._day is not None and self._is_whole:
                self._days.append(self._volume)
            self._is_whole = self._day is not None or since < bar.ts - bar.start_ns
            self._day, self._volume = day, ZERO
        self._volume += bar.volume
        self._closes.append(bar.close)
        self._is_new = True

    def on_liquidation(self, ts: int, qty: Decimal) -> None:
        self._has_prints = True
        self._forced.append((ts, qty))
        self._forced_sum += qty

    def adv(self) -> float:
        """Return the average daily volume: as configured, else of the UTC days with bars that are over.

        Raises BadValueError while there is none, and for a market that did not trade.
        """
        if self.adv_set is not None:
            return float(self.adv_set)
        if not self._days:
            raise BadValueError("adv", "no average daily volume: none is configured and no whole day of bars is over")
        average = sum(self._days, ZERO) / len(self._days)
        if average <= ZERO:
            raise BadValueError("adv", "the average daily volume is zero")
        return float(average)

    def liquidations(self, now: int) -> float | None:
        """Return the forced volume of the last window, None while no print of any was seen."""
        while self._forced and self._forced[0][0] <= now - self.config.liquidation_window_ns:
            self._forced_sum -= self._forced.popleft()[1]
        return float(self._forced_sum) if self._has_prints else None

    def regime(self) -> float | None:
        """Return the volatility regime of the bars so far, None where they are too few or did not move."""
        if self._is_new:
            self._is_new = False
            self._regime = self._measure()
        return self._regime

    def _measure(self) -> float | None:
        if len(self._closes) < _CLOSES:
            return None
        closes = [float(close) for close in self._closes]
        returns = [log(closes[at + 1] / closes[at]) for at in range(_CLOSES - 1)]
        if not fmean(abs(one) for one in returns):
            return None
        try:
            return volatility_regime(returns, self.config.crypto)
        except BadValueError:
            return None
