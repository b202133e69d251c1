"""Which metrics tell of orders: how they end, how fast venues answer, what is in doubt, what waits for room."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from actors.execution_counts import LATENCY_BOUNDS
from actors.statistics_state import DOUBT_BOUNDS, Answered
from daemon.metrics.family import Family, Series, Value, counter, gauge, histogram, known
from daemon.metrics.scrape import Scrape, table, where
from venues.model.order import OrderStatus

_S: Final = 1_000_000_000
_WHERE: Final = "venue symbol"


def _by_reason(read: Callable[[Scrape], dict[str, int]]) -> Callable[[Scrape], Series]:
    def series(scrape: Scrape) -> Series:
        for instrument, reason, number in table(read(scrape)):
            yield (*where(instrument), reason), number

    return series


def _of_answers(read: Callable[[Answered], Value]) -> Callable[[Scrape], Series]:
    def series(scrape: Scrape) -> Series:
        for instrument, one in list(scrape.statistics.state.answered.items()):
            yield where(instrument), read(one)

    return series


def _per_instrument(scrape: Scrape, counts: Counter[str]) -> Series:
    for instrument in scrape.config.instruments:
        yield where(instrument), counts[instrument]


def _in_doubt(scrape: Scrape) -> Series:
    orders = list(scrape.orders.state.orders.values())
    found = Counter(one.order.instrument for one in orders if one.order.status is OrderStatus.UNKNOWN)
    return _per_instrument(scrape, found)


def _strangers(scrape: Scrape) -> Series:
    return _per_instrument(scrape, Counter(one.instrument for one in list(scrape.orders.state.strangers.values())))


def _waiting(scrape: Scrape) -> Series:
    found = Counter(one.venue for one in list(scrape.orders.state.pacing.waiting.values()))
    for venue in scrape.config.venues:
        yield (venue,), found[venue]


def _frozen(scrape: Scrape) -> Series:
    until = scrape.orders.state.pacing.frozen_ns
    for venue in scrape.config.venues:
        yield (venue,), int(until.get(venue, 0) > scrape.now)


def _attempts(scrape: Scrape) -> Series:
    most: Counter[str] = Counter()
    since = scrape.now - scrape.risk.limits.attempts.window_ns
    for tries in list(scrape.risk.state.sessions.tries.values()):
        most[tries.instrument] = max(most[tries.instrument], sum(at > since for at in tries.at_ns))
    return _per_instrument(scrape, most)


def _closed(scrape: Scrape) -> Series:
    states = scrape.risk.state.sessions.states
    return _per_instrument(scrape, Counter(list(states)))


ORDERS: Final[tuple[Family[Scrape], ...]] = (
    counter(
        "order_ends_total",
        f"{_WHERE} reason",
        "Orders that are over, by why: the reason of a refusal, else the last status.",
        _by_reason(lambda scrape: scrape.statistics.state.ends),
    ),
    counter(
        "cancels_refused_total",
        f"{_WHERE} reason",
        "Cancels that the venue refused.",
        _by_reason(lambda scrape: scrape.statistics.state.cancels_refused),
    ),
    histogram(
        "ack_latency_seconds",
        _WHERE,
        "Time from sending an order to the venue's first word about it; those of unknown outcome are not in it.",
        _of_answers(lambda one: one.ack),
        LATENCY_BOUNDS,
        _S,
    ),
    counter(
        "order_outcomes_unknown_total",
        _WHERE,
        "Orders that came to be of unknown outcome.",
        _of_answers(lambda one: one.unknown),
    ),
    histogram(
        "order_doubt_seconds",
        _WHERE,
        "Time from an outcome's getting unknown until it was proven.",
        _of_answers(lambda one: one.doubt),
        DOUBT_BOUNDS,
        _S,
    ),
    gauge("orders_in_doubt", _WHERE, "Orders of unknown outcome now.", _in_doubt),
    gauge("orders_of_strangers", _WHERE, "Open orders at the venue that are on no record of ours.", _strangers),
    gauge("orders_waiting", "venue", "Orders and cancels that wait for room under the venue's rate limits.", _waiting),
    counter(
        "orders_delayed_total",
        "",
        "Orders and cancels that had to wait for room under a rate limit.",
        lambda scrape: known(scrape.orders.state.pacing.delayed),
    ),
    counter(
        "orders_given_up_total",
        "",
        "Orders that were not sent because there was no room under a rate limit in time.",
        lambda scrape: known(scrape.orders.state.pacing.given_up),
    ),
    gauge("rate_frozen", "venue", "1 while new orders rest after the venue refused for their number.", _frozen),
    gauge("attempts_highest", _WHERE, "Most orders of one execution in an instrument within the window.", _attempts),
    gauge("market_closed", _WHERE, "1 while the venue says that a market is not open.", _closed),
)
