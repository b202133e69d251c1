"""Which metrics tell of the machinery: safety, feeds, venues' interfaces, the cell, the process."""

from typing import Final

from actors.counting import OTHER
from actors.halts import HaltScope
from actors.kill_switch import Trigger
from actors.messages import KillLevel
from daemon.logs import statistics
from daemon.metrics.edges import ALARM_NS, API_BOUNDS, COMMIT_BOUNDS, DISPATCH_BOUNDS, SLOW_NS
from daemon.metrics.family import Family, Series, counter, gauge, histogram, known
from daemon.metrics.scrape import Scrape, where

_S: Final = 1_000_000_000
_NAMES: Final = 64


# Safety


def _kill_triggers(scrape: Scrape) -> Series:
    """Yield from zero for the switch's own triggers; other actors' appear when they are pulled."""
    counts = dict.fromkeys((trigger.value for trigger in Trigger), 0)
    for name, number in scrape.kill.state.triggers.items():
        key = str(name) if name in counts or len(counts) < _NAMES else OTHER
        counts[key] = counts.get(key, 0) + number
    return [((name,), number) for name, number in counts.items()]


def _dead_men(scrape: Scrape) -> Series:
    for account, until in list(scrape.edges.dead_men_ns.items()):
        yield (account, scrape.venue(account)), max(0, until - scrape.now) / _S


def _parts(scrape: Scrape) -> Series:
    counts = dict.fromkeys((scope.value for scope in HaltScope), 0)
    for one in scrape.halts.state.halts.values():
        counts[one.scope] += 1
    return [((scope,), number) for scope, number in counts.items()]


def _warnings(scrape: Scrape) -> Series:
    """Yield what goes wrong on an order's way without being an incident."""
    orders = scrape.orders.state
    yield ("unknown_outcome",), orders.unknown_outcomes
    yield ("duplicate_fill",), orders.duplicate_fills
    yield ("commit_failed",), scrape.edges.commits_failed


def _notices(scrape: Scrape) -> Series:
    for channel, counts in scrape.edges.notices.items():
        for outcome, number in list(counts.items()):
            yield (channel, outcome), number


def _flag(value: bool | None) -> Series:
    return known(None if value is None else int(value))


SAFETY: Final[tuple[Family[Scrape], ...]] = (
    gauge(
        "kill_level",
        "",
        "Kill switch: " + ", ".join(f"{level.value} {level.name.lower()}" for level in KillLevel) + ".",
        lambda scrape: known(int(scrape.kill.state.level)),
    ),
    counter("kill_triggers_total", "reason", "Times something pulled the kill switch.", _kill_triggers),
    gauge(
        "kill_conditions",
        "",
        "Facts that forbid arming now.",
        lambda scrape: known(len(scrape.kill.state.conditions)),
    ),
    counter(
        "incidents_total",
        "kind",
        "Things a person must be able to read about later.",
        lambda scrape: [((kind,), number) for kind, number in scrape.statistics.state.incidents.items()],
    ),
    gauge("guard_up", "", "1 while the guard process answers, 0 otherwise.", lambda one: _flag(one.edges.is_guard_up)),
    gauge(
        "guard_in_charge",
        "",
        "1 while the guard process flattens by itself, 0 otherwise.",
        lambda scrape: _flag(scrape.edges.is_guard_in_charge),
    ),
    gauge(
        "dead_man_remaining_seconds",
        "account venue",
        "Time until the venue cancels an account's orders unless it hears from us.",
        _dead_men,
    ),
    gauge("parts_stopped", "scope", "Strategies, accounts and venues that are stopped on their own.", _parts),
    counter("order_path_warnings_total", "kind", "What went wrong on an order's way and was made good.", _warnings),
    counter("notices_total", "channel outcome", "Notices by what became of them: sent, failed, dropped.", _notices),
    counter(
        "log_lines_total",
        "level",
        "Lines of this process's log.",
        lambda scrape: [((level,), number) for level, number in statistics().lines.items()],
    ),
    counter("restarts_total", "", "Earlier processes on this state folder.", lambda one: known(one.edges.restarts)),
    counter(
        "edge_restarts_total",
        "edge",
        "Times the supervisor restarted an edge.",
        lambda scrape: [((edge,), number) for edge, number in scrape.edges.edge_restarts.items()],
    ),
    counter(
        "cell_quarantines_total",
        "",
        "Inputs set aside because an actor failed on them.",
        lambda scrape: known(len(scrape.cell.quarantined)),
    ),
    gauge(
        "cell_halted",
        "",
        "1 when the cell stopped for good, 0 otherwise.",
        lambda scrape: known(int(scrape.cell.halt is not None)),
    ),
)


# Feeds and venues


def _staleness(scrape: Scrape) -> Series:
    """Yield by the edge's own clock of frames, else by what the book last learned; nothing before the first frame."""
    for instrument, feed in scrape.feeds.state.feeds.items():
        seen = scrape.edges.frames_ns.get(instrument) or max(feed.news_ns, feed.old_ns)
        if seen:
            yield where(instrument), max(0, scrape.now - seen) / _S


def _feeds_live(scrape: Scrape) -> Series:
    for instrument, feed in scrape.feeds.state.feeds.items():
        yield where(instrument), int(feed.is_live)


def _feed_faults(scrape: Scrape) -> Series:
    for instrument, feed in scrape.feeds.state.feeds.items():
        for reason, number in (("gap", feed.gaps), ("crossed", feed.crossed), ("stale", feed.stale)):
            yield (*where(instrument), reason), number


def _venues_up(scrape: Scrape) -> Series:
    down = scrape.risk.state.venues_down
    for venue in scrape.config.venues:
        yield (venue,), int(not down.get(venue))


def _reconnects(scrape: Scrape) -> Series:
    for venue in scrape.config.venues:
        yield (venue,), scrape.edges.reconnects.get(venue, 0)


VENUES: Final[tuple[Family[Scrape], ...]] = (
    gauge("venue_up", "venue", "1 while every connection to the venue works, 0 otherwise.", _venues_up),
    counter("reconnects_total", "venue", "Connections to the venue that were made again.", _reconnects),
    gauge("feed_staleness_seconds", "venue symbol", "Time since the last frame of an instrument.", _staleness),
    gauge("feed_live", "venue symbol", "1 while the instrument's book can be traded on, 0 otherwise.", _feeds_live),
    counter("feed_faults_total", "venue symbol reason", "Gaps, crossed books and silences of feeds.", _feed_faults),
    counter(
        "api_requests_total",
        "venue kind outcome",
        "Requests to a venue's interface.",
        lambda scrape: list(scrape.edges.api_requests.items()),
    ),
    histogram(
        "api_latency_seconds",
        "venue",
        "Time from a request to its answer.",
        lambda scrape: [((venue,), one) for venue, one in scrape.edges.api_latency.items()],
        API_BOUNDS,
        _S,
    ),
    gauge(
        "clock_offset_seconds",
        "venue",
        "The venue's clock less ours.",
        lambda scrape: [((venue,), ns / _S) for venue, ns in scrape.edges.clock_offsets_ns.items()],
    ),
)


# The cell and its process


def _slow(scrape: Scrape) -> Series:
    edges = scrape.edges
    yield (f"{SLOW_NS / _S:g}",), edges.slow_dispatches
    yield (f"{ALARM_NS / _S:g}",), edges.alarming_dispatches


def _age(ns: int | None, now: int) -> Series:
    return known(None if ns is None else max(0, now - ns) / _S)


PROCESS: Final[tuple[Family[Scrape], ...]] = (
    gauge(
        "mailbox_depth",
        "lane",
        "Messages that wait in a lane of the cell.",
        lambda scrape: [((lane,), depth) for lane, depth in scrape.cell.dispatcher.depths.items()],
    ),
    histogram(
        "dispatch_duration_seconds",
        "",
        "Time the cell ran in one go.",
        lambda scrape: known(scrape.edges.dispatches),
        DISPATCH_BOUNDS,
        _S,
    ),
    counter(
        "slow_dispatches_total",
        "over_seconds",
        "Runs of the cell that took 0.01 s or more for each input, or 0.25 s or more in all.",
        _slow,
    ),
    histogram(
        "journal_commit_duration_seconds",
        "",
        "Time from the cell's intents to their being on the disk.",
        lambda scrape: known(scrape.edges.commits),
        COMMIT_BOUNDS,
        _S,
    ),
    counter(
        "journal_commits_failed_total",
        "",
        "Commits of the journal that failed.",
        lambda scrape: known(scrape.edges.commits_failed),
    ),
    counter("inputs_total", "", "Inputs the cell took.", lambda one: known(one.cell.dispatcher.counters.inputs)),
    counter("messages_total", "", "Messages between actors.", lambda one: known(one.cell.dispatcher.counters.messages)),
    counter("intents_total", "", "Commands meant for venues.", lambda one: known(one.cell.dispatcher.counters.intents)),
    counter("timers_total", "", "Timers that fired.", lambda one: known(one.cell.dispatcher.counters.timers)),
    counter(
        "views_overwritten_total",
        "",
        "Views of markets that were overtaken by newer ones.",
        lambda scrape: known(scrape.cell.dispatcher.counters.views_overwritten),
    ),
    counter(
        "feed_discarded_total",
        "",
        "Frames discarded because the feed lane was full.",
        lambda scrape: known(scrape.cell.dispatcher.counters.feed_discarded),
    ),
    gauge(
        "watchdog_beat_age_seconds",
        "",
        "Time since the service manager's watchdog was last told that all is well.",
        lambda scrape: _age(scrape.edges.watchdog_ns, scrape.now),
    ),
    counter(
        "admin_calls_total",
        "role method",
        "Calls on the admin sockets.",
        lambda scrape: list(scrape.edges.admin_calls.items()),
    ),
    gauge("uptime_seconds", "", "Time since the process began.", lambda one: _age(one.edges.started_ns, one.now)),
    counter("scrapes_failed_total", "", "Scrapes that failed.", lambda scrape: known(scrape.edges.scrapes_failed)),
)

EDGES: Final = (*SAFETY, *VENUES, *PROCESS)
