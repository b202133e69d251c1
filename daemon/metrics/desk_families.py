"""Which metrics tell of the desk's book: positions, margin, funding, executions, refusals."""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from actors.basket_plan import DenyReason
from actors.counting import OTHER
from actors.execution_counts import LATENCY_BOUNDS, SLIPPAGE_BOUNDS, SLIPPAGE_UNIT, Traded
from actors.funding_messages import FundingDifference
from actors.guards.findings import GuardReason
from actors.messages import BasketState, Checker, KillLevel, MarginLevel, MismatchKind
from actors.risk_checks import Reason
from actors.sync_records import RESOLUTIONS
from daemon.metrics.family import Family, Series, Value, counter, gauge, histogram, known
from daemon.metrics.positions import Facts
from daemon.metrics.scrape import Scrape, table, where
from venues.model.money import ZERO

_S: Final = 1_000_000_000
_POSITION: Final = "account venue symbol side"
_ABOUT: Final = "guard account venue symbol"
_TRADED: Final = "venue symbol strategy"
_CALLS: Final = (
    MarginLevel.WARNING,
    MarginLevel.DANGER,
    MarginLevel.CRITICAL,
    MarginLevel.LIQUIDATION,
    MarginLevel.UNKNOWN,
)

_REFUSALS: Final = dict.fromkeys(
    (
        *(f"{guard}|{reason}" for guard in ("order", Checker.RISK) for reason in Reason),
        *(f"{Checker.GUARDS}|{reason}" for reason in GuardReason),
        *(f"{guard}|{OTHER}" for guard in (Checker.MARGIN, Checker.LIQUIDITY, Checker.RATE)),
    ),
    0,
)
"""What can be refused is counted from zero: a rise from nothing is seen by nobody."""


# Positions and margin


def _of_facts(read: Callable[[Facts], Decimal | None]) -> Callable[[Scrape], Series]:
    def series(scrape: Scrape) -> Series:
        for one in scrape.facts:
            value = read(one)
            if value is not None:
                spec = one.instrument
                yield (one.account, spec.venue, spec.symbol, one.side.value.lower()), value

    return series


def _concentration(scrape: Scrape) -> Series:
    """Yield nothing while any part of the whole is unknown."""
    values: dict[str, Decimal] = {}
    for one in scrape.facts:
        if one.value is None:
            return
        values[one.instrument.id] = values.get(one.instrument.id, ZERO) + abs(one.value)
    total = sum(values.values(), ZERO)
    for instrument, value in values.items():
        if total:
            yield where(instrument), value / total


def _margin_calls(scrape: Scrape) -> Series:
    calls = scrape.statistics.state.margin_calls
    for account in scrape.config.accounts:
        for level in _CALLS:
            yield (account, scrape.venue(account), level.value), calls.get(f"{account}|{level}", 0)


def _margin_known(scrape: Scrape) -> Series:
    levels = scrape.margin.state.levels
    for account in scrape.config.accounts:
        yield (account, scrape.venue(account)), int(levels.get(account) is not MarginLevel.UNKNOWN)


def _adl_ranks(scrape: Scrape) -> Series:
    held = {(one.account, one.instrument.id) for one in scrape.facts}
    state = scrape.guards.state
    told = {(one.account, one.instrument): state.ranks[key] for key, one in state.held.items() if key in state.ranks}
    for (account, instrument), rank in (told | scrape.edges.adl_ranks).items():
        if (account, instrument) in held:
            yield (account, *where(instrument)), rank


def _derivatives(scrape: Scrape) -> list[str]:
    return [spec.id for spec in scrape.config.instruments.values() if not spec.is_spot]


def _by_derivative(read: Callable[[Scrape], dict[str, int]]) -> Callable[[Scrape], Series]:
    def series(scrape: Scrape) -> Series:
        counts = read(scrape)
        for instrument in [*_derivatives(scrape), *(name for name in counts if ":" not in name)]:
            yield where(instrument), counts.get(instrument, 0)

    return series


def _mismatches(scrape: Scrape) -> Series:
    counts = dict.fromkeys((f"{name}|{kind}" for name in scrape.config.instruments for kind in MismatchKind), 0)
    for instrument, kind, number in table(counts | scrape.statistics.state.mismatches):
        yield (*where(instrument), kind), number


def _mismatched(scrape: Scrape) -> Series:
    conditions, accounts = scrape.kill.state.conditions, scrape.sync.state.accounts
    for account in scrape.config.accounts:
        suspects = accounts[account].suspects.values() if account in accounts else ()
        stands = any(one.is_told and (one.is_refused or _is_grave(one.kind)) for one in suspects)
        yield (account, scrape.venue(account)), int(stands or f"mismatch/{account}" in conditions)


def _is_grave(kind: MismatchKind) -> bool:
    return RESOLUTIONS[kind].level is not KillLevel.ARMED


def _resolved(scrape: Scrape) -> Series:
    return known(scrape.sync.state.resolved)


def _reconciled(scrape: Scrape) -> Series:
    unreconciled = scrape.risk.state.unreconciled
    for account in scrape.config.accounts:
        yield (account, scrape.venue(account)), int(account not in unreconciled)


def _unhedged(scrape: Scrape) -> Series:
    sums = dict.fromkeys(scrape.config.strategies, ZERO)
    for strategy, notional, _ in _open_differences(scrape):
        sums[strategy] = sums.get(strategy, ZERO) + notional
    for strategy, total in sums.items():
        yield (strategy,), total


def _budget_used(scrape: Scrape) -> Series:
    largest = dict.fromkeys(scrape.config.strategies, ZERO)
    for strategy, _, spent in _open_differences(scrape):
        largest[strategy] = max(largest.get(strategy, ZERO), spent)
    for strategy, spent in largest.items():
        yield (strategy,), spent / scrape.kill.config.unhedged_budget


def _open_differences(scrape: Scrape) -> list[tuple[str, Decimal, Decimal]]:
    """Return (strategy, notional, notional x seconds spent) of every basket that is out of balance."""
    baskets = scrape.executor.state.baskets
    found = []
    for basket_id, open_ in scrape.kill.state.unhedged.items():
        strategy = baskets[basket_id].strategy if basket_id in baskets else OTHER
        found.append((strategy, open_.notional, open_.spent_at(scrape.now)))
    return found


POSITIONS: Final[tuple[Family[Scrape], ...]] = (
    gauge(
        "position_value_quote",
        _POSITION,
        "Value of an open position in quote money, negative when short.",
        _of_facts(lambda one: one.value),
    ),
    gauge(
        "unrealized_pnl_quote",
        _POSITION,
        "Unrealised profit of an open position in quote money.",
        _of_facts(lambda one: one.profit),
    ),
    gauge(
        "leverage_ratio",
        _POSITION,
        "Notional of a position over the balance of its margin pool.",
        _of_facts(lambda one: one.leverage),
    ),
    gauge(
        "leverage_highest_ratio",
        "",
        "The largest sum of leverages of one margin pool.",
        lambda scrape: known(scrape.highest_leverage),
    ),
    gauge(
        "margin_coverage_ratio",
        _POSITION,
        "Margin balance over maintenance margin of the pool a position is in; it is liquidated at 1.",
        _of_facts(lambda one: one.coverage),
    ),
    gauge(
        "margin_known",
        "account venue",
        "1 while an account's margin can be computed, 0 otherwise: then its coverage is missing.",
        _margin_known,
    ),
    gauge(
        "liquidation_distance_ratio",
        _POSITION,
        "How far the mark may move against a position until it is liquidated, as a share of the mark.",
        _of_facts(lambda one: one.distance),
    ),
    gauge("concentration_ratio", "venue symbol", "Share of an instrument in the gross value held.", _concentration),
    gauge("adl_rank", "account venue symbol", "Place in the deleveraging queue: 5 is first, 1 last.", _adl_ranks),
    counter("margin_calls_total", "account venue level", "Turns of an account to a worse margin level.", _margin_calls),
    counter(
        "liquidations_total",
        "venue symbol",
        "Liquidations of positions by the venue.",
        _by_derivative(lambda scrape: scrape.statistics.state.liquidations),
    ),
    counter(
        "deleveragings_total",
        "venue symbol",
        "Positions reduced by the venue's automatic deleveraging.",
        _by_derivative(lambda scrape: scrape.statistics.state.deleveragings),
    ),
    counter(
        "position_mismatches_total",
        "venue symbol kind",
        "Differences found between our book and the venue's.",
        _mismatches,
    ),
    counter(
        "position_mismatches_resolved_total", "", "Differences that are over: booked, set back or adopted.", _resolved
    ),
    gauge(
        "position_mismatch",
        "account venue",
        "1 while an account's positions, money or modes differ from the venue's and that stops it, 0 otherwise.",
        _mismatched,
    ),
    gauge(
        "account_reconciled",
        "account venue",
        "1 when an account agreed with its venue since it was last distrusted, 0 while it is read-only.",
        _reconciled,
    ),
    gauge("unhedged_quote", "strategy", "Notional by which legs of baskets differ now, in quote money.", _unhedged),
    gauge(
        "unhedged_budget_used_ratio",
        "strategy",
        "Largest share of the unhedged budget (notional x seconds) that one basket has used.",
        _budget_used,
    ),
    gauge(
        "net_pnl_quote",
        "",
        "Profit since the start after fees and with funding and unrealised profit, in quote money.",
        lambda scrape: known(scrape.kill.state.pnl if scrape.ledger.state.pnl_ns else None),
    ),
)


# Funding


def _rates(scrape: Scrape) -> Series:
    for instrument, one in scrape.funding.state.perpetuals.items():
        if one.rate is not None:
            yield where(instrument), one.rate


def _mean_rates(scrape: Scrape) -> Series:
    for instrument in scrape.funding.state.perpetuals:
        mean = scrape.statistics.mean_rate(scrape.now, instrument)
        if mean is not None:
            yield where(instrument), mean


def _next_funding(scrape: Scrape) -> Series:
    for instrument, one in scrape.funding.state.perpetuals.items():
        if one.next_ns is not None and one.next_ns > scrape.now:
            yield where(instrument), (one.next_ns - scrape.now) / _S


def _predicted(scrape: Scrape) -> Series:
    tracker = scrape.funding
    for instrument, one in tracker.state.perpetuals.items():
        expected = tracker.expected(instrument)
        if expected is not None and one.rate is not None:
            yield (*where(instrument), tracker.instruments[instrument].settle), expected


def _predicted_day(scrape: Scrape) -> Series:
    tracker = scrape.funding
    for instrument in tracker.state.perpetuals:
        expected = tracker.expected_per_day(scrape.now, instrument)
        if expected is not None:
            yield (*where(instrument), tracker.instruments[instrument].settle), expected


def _intervals(scrape: Scrape) -> Series:
    for instrument, one in scrape.funding.state.perpetuals.items():
        if one.interval_ns is not None:
            yield where(instrument), one.interval_ns / _S


def _disputed(scrape: Scrape) -> Series:
    counts = dict.fromkeys(scrape.funding.state.perpetuals, 0)
    for instrument, *_ in scrape.funding.differences():
        counts[instrument] += 1
    for instrument, number in counts.items():
        yield where(instrument), number


def _paid(scrape: Scrape) -> Series:
    for instrument, one in scrape.statistics.state.funding.items():
        yield (*where(instrument), scrape.config.instruments[instrument].settle), one.paid


def _received(scrape: Scrape) -> Series:
    for instrument, one in scrape.statistics.state.funding.items():
        yield (*where(instrument), scrape.config.instruments[instrument].settle), one.received


def _funding_faults(scrape: Scrape) -> Series:
    counts = scrape.funding.state.counts
    return [((what,), counts.get(what, 0)) for what in (*FundingDifference, "refused", "duplicate")]


FUNDING: Final[tuple[Family[Scrape], ...]] = (
    gauge("funding_rate_ratio", "venue symbol", "Running funding rate, a share per funding interval.", _rates),
    gauge(
        "funding_rate_mean_8h_ratio",
        "venue symbol",
        "Mean of the running funding rate over the last 8 hours, a share per funding interval.",
        _mean_rates,
    ),
    gauge("funding_next_seconds", "venue symbol", "Time until funding is settled next.", _next_funding),
    gauge(
        "funding_predicted",
        "venue symbol asset",
        "What the positions held now will receive at the next settlement (negative: pay), in the asset.",
        _predicted,
    ),
    gauge(
        "funding_predicted_24h",
        "venue symbol asset",
        "What the positions held now will receive over the next 24 hours by the instants in them, in the asset.",
        _predicted_day,
    ),
    gauge("funding_interval_seconds", "venue symbol", "Time between the last funding instants seen.", _intervals),
    gauge("funding_disputed", "venue symbol", "Payments that differ from what was due and are asked about.", _disputed),
    counter("funding_paid_total", "venue symbol asset", "Funding paid, in the asset.", _paid),
    counter("funding_received_total", "venue symbol asset", "Funding received, in the asset.", _received),
    counter(
        "funding_faults_total",
        "reason",
        "Funding that never came, differed from what was due, came twice or made no sense.",
        _funding_faults,
    ),
)


# Execution


def _of_traded(read: Callable[[Traded], Value]) -> Callable[[Scrape], Series]:
    def series(scrape: Scrape) -> Series:
        for instrument, strategy, one in table(scrape.tracker.state.traded):
            yield (*where(instrument), strategy), read(one)

    return series


def _by_asset(read: Callable[[Traded], dict[str, Decimal]]) -> Callable[[Scrape], Series]:
    def series(scrape: Scrape) -> Series:
        for instrument, strategy, one in table(scrape.tracker.state.traded):
            for asset, amount in list(read(one).items()):
                yield (*where(instrument), strategy, asset), amount

    return series


def _orders(scrape: Scrape) -> Series:
    for instrument, type_, one in table(scrape.tracker.state.ordered):
        for status, number in list(one.statuses.items()):
            yield (*where(instrument), type_, status), number


def _requested(scrape: Scrape) -> Series:
    for instrument, type_, one in table(scrape.tracker.state.ordered):
        yield (*where(instrument), type_), one.requested


def _filled(scrape: Scrape) -> Series:
    for instrument, type_, one in table(scrape.tracker.state.ordered):
        yield (*where(instrument), type_), one.filled


def _baskets(scrape: Scrape) -> Series:
    counts = dict.fromkeys((f"{one}|{state}" for one in scrape.config.strategies for state in BasketState), 0)
    return [((first, last), number) for first, last, number in table(counts | scrape.statistics.state.baskets)]


def _denials(scrape: Scrape) -> Series:
    counts = dict.fromkeys((f"{one}|{reason}" for one in scrape.config.strategies for reason in DenyReason), 0)
    return [((first, last), number) for first, last, number in table(counts | scrape.statistics.state.denials)]


def _refusals(scrape: Scrape) -> Series:
    return [((first, last), number) for first, last, number in table(_REFUSALS | scrape.statistics.state.refusals)]


def _about(scrape: Scrape, account: str, subject: str) -> tuple[str, ...]:
    """Return account, venue and symbol of what a guard speaks of; a symbol without a venue is an asset or product."""
    if subject in scrape.config.instruments:
        return (account, *where(subject))
    return account, scrape.venue(account) if account else "", subject


def _severities(scrape: Scrape) -> Series:
    highest: dict[tuple[str, ...], int] = {}
    for one in list(scrape.guards.state.standing.values()):
        subject = "" if one.subject == one.account else one.subject
        labels = (one.guard, *_about(scrape, one.account, subject))
        highest[labels] = max(highest.get(labels, 0), one.severity)
    return list(highest.items())


def _findings(scrape: Scrape) -> Series:
    for key, number in list(scrape.guards.state.counts.items()):
        account, subject, guard, severity = key.split("|") if "|" in key else ("", "", OTHER, OTHER)
        yield (guard, *_about(scrape, account, subject), severity.lower()), number


def _working(scrape: Scrape) -> Series:
    accounts = list(scrape.kill.state.live.values())
    for account in scrape.config.accounts:
        yield (account, scrape.venue(account)), accounts.count(account)


EXECUTION: Final[tuple[Family[Scrape], ...]] = (
    counter("fills_total", _TRADED, "Fills booked.", _of_traded(lambda one: one.fills)),
    counter("orders_total", "venue symbol type status", "Orders by what became of them.", _orders),
    gauge("orders_working", "account venue", "Orders that are not final.", _working),
    counter(
        "order_requested_quote_total",
        "venue symbol type",
        "Value that final orders asked for, in quote money at the touch; the filled over it is the fill ratio.",
        _requested,
    ),
    counter(
        "order_filled_quote_total",
        "venue symbol type",
        "Value that final orders got of what they asked for, in quote money at the touch.",
        _filled,
    ),
    histogram(
        "slippage_ratio",
        _TRADED,
        "Average price of an order against the touch at its approval, adverse positive, as a share (1 bp is 0.0001); "
        "better ones count in the first bucket and as 0 in the sum.",
        _of_traded(lambda one: one.slippage),
        SLIPPAGE_BOUNDS,
        SLIPPAGE_UNIT,
    ),
    counter(
        "slippage_cost_quote_total",
        _TRADED,
        "Money lost by orders that traded worse than the touch at their approval.",
        _of_traded(lambda one: one.slippage_cost),
    ),
    counter(
        "slippage_gain_quote_total",
        _TRADED,
        "Money gained by orders that traded better than the touch at their approval.",
        _of_traded(lambda one: one.slippage_gain),
    ),
    histogram(
        "fill_latency_seconds",
        _TRADED,
        "Time from an order's approval to each of its fills.",
        _of_traded(lambda one: one.latency),
        LATENCY_BOUNDS,
        _S,
    ),
    counter("fees_paid_total", f"{_TRADED} asset", "Fees paid, in the asset.", _by_asset(lambda one: one.fees)),
    counter(
        "fee_rebates_total", f"{_TRADED} asset", "Rebates received, in the asset.", _by_asset(lambda one: one.rebates)
    ),
    counter("baskets_total", "strategy state", "Baskets that came to a state.", _baskets),
    counter("basket_denials_total", "strategy reason", "Baskets that were not begun.", _denials),
    counter(
        "guard_triggers_total",
        "guard reason",
        "Refusals of single orders (order) and of whole baskets (risk, margin, liquidity, rate, guards), by reason.",
        _refusals,
    ),
    gauge(
        "guard_severity",
        _ABOUT,
        "What a risk guard finds now: 1 warns, 2 lets nothing enlarge it, 3 wants it smaller; absent when nothing.",
        _severities,
    ),
    counter(
        "guard_findings_total",
        f"{_ABOUT} level",
        "Turns of a risk guard to a level: warn, block, reduce.",
        _findings,
    ),
)

DESK: Final = (*POSITIONS, *FUNDING, *EXECUTION)
