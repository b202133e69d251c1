"""How a desk is put together: which actors there are, and in which order they hear a message."""

from collections.abc import Mapping, Sequence

from attrs import evolve

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor
from actors.basket_plan import ExecutorConfig
from actors.cell import Cell
from actors.dead_man import DeadManConfig, DeadManKeeper
from actors.dispatcher import Sink
from actors.drop_copy import DropCopy, DropCopyConfig
from actors.event_log import EventLog, EventLogConfig
from actors.execution_records import OrderExecutorConfig
from actors.execution_tracker import ExecutionTracker
from actors.feed_handler import FeedHandler
from actors.feed_state import FeedConfig
from actors.funding_records import FundingConfig
from actors.funding_tracker import FundingTracker
from actors.guards.config import GuardsConfig
from actors.halts import Halts, HaltsConfig
from actors.kill_switch import KillConfig, KillSwitch
from actors.ledger import Ledger, LedgerConfig
from actors.margin_monitor import MarginMonitor
from actors.margin_records import MarginConfig
from actors.messages import Checker
from actors.notifier import Notifier, NotifierConfig
from actors.order_executor import OrderExecutor
from actors.order_groups import GroupConfig, OrderGroups
from actors.order_manager import OrderManager
from actors.order_records import OrderManagerConfig
from actors.order_scheduler import OrderScheduler, SchedulerConfig
from actors.pacing import PacingConfig
from actors.portfolio_guard import PortfolioGuard
from actors.position_synchronizer import PositionSynchronizer
from actors.risk_config import RiskConfig
from actors.risk_gate import RiskGate
from actors.statistics import Statistics, StatisticsConfig
from actors.sync_records import Modes, SyncConfig
from actors.tracker_records import TrackerConfig
from daemon.config_schema import RunConfig
from daemon.kinds import make_strategy
from venues.costs.liquidity import LiquidityLimits
from venues.model.account import MarginMode
from venues.model.book_sync import SequenceRule
from venues.rules.cme_products import Product

SEQUENCE_RULES: Mapping[str, SequenceRule] = {"binance_spot": SequenceRule.SPOT}
"""How a venue's rule set numbers its book updates, where not as futures do."""

_BPS = 10_000


def build_actors(config: RunConfig) -> list[Actor]:
    """Return the desk of a run.

    Several actors hear the same message in this order: books first, then what we hold, then who may stop us, then who
    acts, so that nobody decides on what another has not yet seen.
    """
    instruments = dict(config.instruments)
    venues = {account.id: account.venue for account in config.accounts.values()}
    leverage = {f"{a.venue}:{symbol}": times for a in config.accounts.values() for symbol, times in a.leverage.items()}
    taker_fees = {one.id: config.venues[one.venue].fees.taker * _BPS for one in instruments.values()}
    actors: list[Actor] = [
        FeedHandler(
            instruments,
            {one.id: sequence_rule(config, one.venue) for one in instruments.values()},
            {one.id: _account_at(config, one.venue) for one in instruments.values()},
            config.section("feed", FeedConfig),
            name="feed_handler",
            liquidity=config.section("liquidity", LiquidityLimits),
        ),
        Ledger(
            instruments,
            {account.id: account.balances for account in config.accounts.values()},
            config.section("ledger", LedgerConfig),
            name="ledger",
        ),
        KillSwitch(venues, config.section("kill_switch", KillConfig), name="kill_switch"),
        Halts(venues, config.section("halts", HaltsConfig), name="halts"),
        RiskGate(instruments, venues, config.section("risk", RiskConfig), "risk_gate", _products(config)),
        DeadManKeeper(instruments, venues, config.section("dead_man", DeadManConfig), name="dead_man"),
        MarginMonitor(
            instruments,
            list(venues),
            evolve(config.section("margin", MarginConfig), leverage=leverage),
            name="margin_monitor",
        ),
        FundingTracker(instruments, config.section("funding", FundingConfig), venues, name="funding_tracker"),
        PortfolioGuard(
            instruments,
            venues,
            guards_config(config),
            [account.id for account in config.accounts.values() if account.margin_mode is MarginMode.ISOLATED],
            name="portfolio_guard",
        ),
        PositionSynchronizer(
            instruments,
            venues,
            config.section("positions", SyncConfig),
            leverage,
            name="position_synchronizer",
            modes={one.id: Modes(one.margin_mode, one.position_mode) for one in config.accounts.values()},
        ),
        OrderManager(
            instruments,
            config.section("orders", OrderManagerConfig),
            "order_manager",
            accounts=venues,
            pacing=config.section("pacing", PacingConfig),
        ),
        OrderScheduler(config.section("scheduler", SchedulerConfig), name="order_scheduler"),
        OrderGroups(instruments, config.section("groups", GroupConfig), name="order_groups"),
        AtomicExecutor(
            instruments,
            evolve(config.section("executor", ExecutorConfig), taker_fee_bps=taker_fees, checkers=tuple(Checker)),
            name="atomic_executor",
            products=_products(config),
        ),
        OrderExecutor(
            instruments,
            config.section("executions", OrderExecutorConfig),
            config.section("liquidity", LiquidityLimits),
            name="order_executor",
        ),
        DropCopy(venues, config.section("drop_copy", DropCopyConfig), name="drop_copy"),
        ExecutionTracker(instruments, config.section("tracker", TrackerConfig), name="execution_tracker"),
        Statistics(instruments, venues, config.section("statistics", StatisticsConfig), name="statistics"),
    ]
    actors += [make_strategy(strategy, instruments) for strategy in config.strategies.values()]
    actors.append(Notifier(config.section("notifier", NotifierConfig), name="notifier"))
    actors.append(EventLog(venues, config.section("events", EventLogConfig), name="event_log"))
    return actors


def guards_config(config: RunConfig) -> GuardsConfig:
    """Return the risk guards' settings; what the gate and the margin monitor go by holds for them, too."""
    risk = config.section("risk", RiskConfig)
    return evolve(
        config.section("guards", GuardsConfig),
        account_limit=risk.gross_notional_max,
        par=risk.par,
        price_age_max_ns=config.section("margin", MarginConfig).mark_age_max_ns,
    )


def build_cell(config: RunConfig, sink: Sink | None = None) -> Cell:
    """Return the cell of a run; it makes its actors anew whenever it has to rebuild."""
    return Cell(lambda: build_actors(config), sink=sink)


def sequence_rule(config: RunConfig, venue: str) -> SequenceRule:
    """Return how the book updates of a venue are numbered."""
    return SEQUENCE_RULES.get(config.venues[venue].rules, SequenceRule.FUTURES)


def _products(config: RunConfig) -> dict[str, Product]:
    """Return the CME product, and with it the hours, of every instrument whose venue keeps a calendar."""
    found = {one.id: config.venues[one.venue].simulation.product(one) for one in config.instruments.values()}
    return {name: product for name, product in found.items() if product is not None}


def _account_at(config: RunConfig, venue: str) -> str:
    found: Sequence[str] = [account.id for account in config.accounts.values() if account.venue == venue]
    return found[0] if found else ""
