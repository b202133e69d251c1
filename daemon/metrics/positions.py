"""What each open position is worth and how far it is from trouble, at the moment somebody scrapes.

Everything is taken from what the desk's own actors know and by the rules they use. What cannot be known is None.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from attrs import frozen

from actors.ledger import Ledger
from actors.liquidation_price import Member, NoLiquidationPriceError, liquidation_price
from actors.margin_monitor import MarginMonitor, MarginRuleError
from actors.margin_records import Pool
from actors.risk_checks import unit_notional
from actors.statistics_state import StatisticsState
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.model.position import Position
from venues.rules.errors import RuleError


@frozen
class Facts:
    """One open position.

    `value` (signed) and `profit` (unrealised) are quote money, `leverage` its notional over the balance of its margin
    pool. `coverage` is the pool's margin balance / maintenance margin. `distance` is how far the mark may still move
    against the position until it is liquidated, as a share of the mark; 0 or less: it is there.
    """

    account: str
    instrument: Instrument
    side: PositionSide
    value: Decimal | None = None
    profit: Decimal | None = None
    leverage: Decimal | None = None
    coverage: Decimal | None = None
    distance: Decimal | None = None


class Survey:
    """Looks at every open position once; `isolated` are the accounts whose margin is not shared."""

    def __init__(
        self, ledger: Ledger, margin: MarginMonitor, statistics: StatisticsState, isolated: Sequence[str]
    ) -> None:
        self._ledger = ledger
        self._margin = margin
        self._reported = statistics.reported
        self._isolated = isolated
        self._pools: dict[tuple[str, str], Pool | None] = {}

    def facts(self, now: int) -> Iterator[Facts]:
        """Yield the facts of each position; the state may move on between two of them."""
        for position in list(self._ledger.state.positions.values()):
            spec = self._ledger.instruments.get(position.instrument)
            if position.qty and spec is not None:
                yield self._facts(now, position, spec)

    def highest_leverage(self, facts: Sequence[Facts]) -> Decimal | None:
        """Return the largest sum of leverages of one pool; None when nothing is held, or one of them is unknown."""
        sums: dict[tuple[str, str], Decimal] = {}
        for one in facts:
            if one.instrument.is_spot:
                continue
            if one.leverage is None:
                return None
            key = (one.account, one.instrument.settle)
            sums[key] = sums.get(key, ZERO) + one.leverage
        return max(sums.values(), default=None)

    def _facts(self, now: int, position: Position, spec: Instrument) -> Facts:
        price = self._ledger.price(spec.id)
        quote, settle = self._ledger.value(spec.quote), self._ledger.value(spec.settle)
        value = profit = None
        if price is not None and quote is not None:
            value = position.qty * unit_notional(spec, price) * quote
        if price is not None and settle is not None:
            profit = position.unrealized_pnl(price, spec) * settle
        leverage = coverage = distance = None
        if not spec.is_spot:
            pool = self._pool(now, position.account, spec.settle)
            if pool is not None:
                coverage = pool.coverage
                mark = self._mark(now, spec.id)
                if mark is not None and pool.balance > ZERO:
                    leverage = spec.notional(position.qty, mark) / pool.balance
            distance = self._distance(now, position, spec, pool)
        return Facts(position.account, spec, position.side, value, profit, leverage, coverage, distance)

    def _pool(self, now: int, account: str, asset: str) -> Pool | None:
        key = (account, asset)
        if key not in self._pools:
            try:
                self._pools[key] = self._margin.pool(now, account, asset)
            except (RuleError, MarginRuleError):
                self._pools[key] = None
        return self._pools[key]

    def _mark(self, now: int, instrument: str) -> Decimal | None:
        seen = self._margin.state.marks.get(instrument)
        is_fresh = seen is not None and now - seen.ts <= self._margin.config.mark_age_max_ns
        return seen.price if seen is not None and is_fresh else None

    # Liquidation

    def _distance(self, now: int, position: Position, spec: Instrument, pool: Pool | None) -> Decimal | None:
        mark = self._mark(now, spec.id)
        if mark is None:
            return None
        price = self._named_price(position)
        if price is None and pool is not None and position.account not in self._isolated:
            price = self._computed_price(now, position, spec, pool)
        if price is None:
            return None
        away = (mark - price) / mark
        return away if position.qty > ZERO else -away

    def _named_price(self, position: Position) -> Decimal | None:
        """Return the venue's own liquidation price, as long as it was named for what is held now."""
        reported = self._reported.get(position.account, {}).get(position.key)
        return None if reported is None or reported.qty != position.qty else reported.liquidation_price

    def _computed_price(self, now: int, position: Position, spec: Instrument, pool: Pool) -> Decimal | None:
        """Return the mark at which a cross pool is liquidated, all other marks unchanged.

        None where no mark does, and for positions margined by money per contract: those are called first.
        """
        if spec.maintenance_margin is not None:
            return None
        members = self._members(now, position.account, spec.settle)
        if members is None:
            return None
        try:
            return liquidation_price(pool.wallet, spec, members)
        except NoLiquidationPriceError:
            return None

    def _members(self, now: int, account: str, asset: str) -> list[Member] | None:
        found = []
        for position in self._ledger.state.positions.values():
            spec = self._ledger.instruments[position.instrument]
            if position.account != account or spec.is_spot or spec.settle != asset or not position.qty:
                continue
            mark = self._mark(now, spec.id)
            if mark is None:
                return None
            found.append(Member(spec, position.side, position.qty, position.entry_price(spec) or ZERO, mark))
        return found
