"""What the edges of a desk count about themselves: plain integers, noted in passing, read when somebody scrapes."""

from typing import Final

from attrs import Factory, define, field

from actors.counting import OTHER, Histogram, count, empty

_US: Final = 1_000
_MS: Final = 1_000_000
_S: Final = 1_000_000_000

DISPATCH_BOUNDS: Final = (
    *(10 * _US, 20 * _US, 50 * _US, 100 * _US, 200 * _US, 500 * _US),
    *(_MS, 2 * _MS, 5 * _MS, 10 * _MS, 20 * _MS, 50 * _MS, 100 * _MS, 250 * _MS, _S),
)
COMMIT_BOUNDS: Final = DISPATCH_BOUNDS
API_BOUNDS: Final = (10 * _MS, 50 * _MS, 100 * _MS, 200 * _MS, 500 * _MS, _S, 2 * _S, 5 * _S)

SLOW_NS: Final = 10 * _MS
ALARM_NS: Final = 250 * _MS
_NAMES: Final = 64


def _dispatches() -> Histogram:
    return empty(DISPATCH_BOUNDS)


def _commits() -> Histogram:
    return empty(COMMIT_BOUNDS)


@define
class EdgeStats:
    """Counts and last values of one process, from its beginning; every method is cheap and never fails.

    Instants are ns of the clock that the metrics are read with, durations ns of any monotonic one. None, or no entry,
    means not known: such a metric is left out. `restarts` counts the earlier processes on the same state folder.

    `slow_dispatches` took 10 ms or more for each of their inputs, `alarming_dispatches` 250 ms or more in all.
    Tables are keyed by venue, (venue, what), account, instrument or name; `clock_offsets_ns` are venue less host,
    `notices` what became of them by channel and outcome.
    """

    started_ns: int | None = None
    restarts: int | None = None
    dispatches: Histogram = Factory(_dispatches)
    slow_dispatches: int = 0
    alarming_dispatches: int = 0
    commits: Histogram = Factory(_commits)
    commits_failed: int = 0
    api_requests: dict[tuple[str, str, str], int] = field(factory=dict)
    api_latency: dict[str, Histogram] = field(factory=dict)
    reconnects: dict[str, int] = field(factory=dict)
    clock_offsets_ns: dict[str, int] = field(factory=dict)
    frames_ns: dict[str, int] = field(factory=dict)
    dead_men_ns: dict[str, int] = field(factory=dict)
    adl_ranks: dict[tuple[str, str], int] = field(factory=dict)
    is_guard_up: bool | None = None
    is_guard_in_charge: bool | None = None
    watchdog_ns: int | None = None
    admin_calls: dict[tuple[str, str], int] = field(factory=dict)
    edge_restarts: dict[str, int] = field(factory=dict)
    scrapes_failed: int = 0
    notices: dict[str, dict[str, int]] = field(factory=dict)

    # The cell

    def note_dispatch(self, ns: int, inputs: int = 1) -> None:
        """The cell ran for `ns` and took so many inputs; nothing is counted for none."""
        if inputs > 0:
            self.dispatches.add(ns, DISPATCH_BOUNDS)
            if ns >= SLOW_NS * inputs:
                self.slow_dispatches += 1
            if ns >= ALARM_NS:
                self.alarming_dispatches += 1

    def note_commit(self, ns: int) -> None:
        self.commits.add(ns, COMMIT_BOUNDS)

    def note_commit_failed(self) -> None:
        self.commits_failed += 1

    # Venues

    def note_request(self, venue: str, kind: str, ns: int, *, is_ok: bool = True) -> None:
        """A request of `kind` (submit, cancel, query, ...) was answered, or failed, after `ns`."""
        key = (venue, kind, "ok" if is_ok else "failed")
        self.api_requests[key] = self.api_requests.get(key, 0) + 1
        latency = self.api_latency.get(venue)
        if latency is None:
            latency = self.api_latency[venue] = empty(API_BOUNDS)
        latency.add(ns, API_BOUNDS)

    def note_reconnect(self, venue: str) -> None:
        self.reconnects[venue] = self.reconnects.get(venue, 0) + 1

    def note_clock_offset(self, venue: str, offset_ns: int) -> None:
        self.clock_offsets_ns[venue] = offset_ns

    def note_frame(self, instrument: str, now: int) -> None:
        self.frames_ns[instrument] = now

    def note_dead_man(self, account: str, until_ns: int | None) -> None:
        """The venue cancels the account's orders at `until_ns` unless it hears from us; None: it is not armed."""
        if until_ns is None:
            self.dead_men_ns.pop(account, None)
        else:
            self.dead_men_ns[account] = until_ns

    def note_adl_rank(self, account: str, instrument: str, rank: int | None) -> None:
        """The position stands in that fifth of the deleveraging queue, 5 first in line; None: in none."""
        if rank is None:
            self.adl_ranks.pop((account, instrument), None)
        else:
            self.adl_ranks[account, instrument] = rank

    # The process

    def note_guard(self, *, is_up: bool, is_in_charge: bool) -> None:
        self.is_guard_up, self.is_guard_in_charge = is_up, is_in_charge

    def note_watchdog(self, now: int) -> None:
        self.watchdog_ns = now

    def note_admin_call(self, role: str, method: str) -> None:
        """`method` is one that exists, or what unknown ones are called together: callers may name anything."""
        key = (role, method) if (role, method) in self.admin_calls or len(self.admin_calls) < _NAMES else (role, OTHER)
        self.admin_calls[key] = self.admin_calls.get(key, 0) + 1

    def note_edge_restart(self, edge: str) -> None:
        count(self.edge_restarts, edge, _NAMES)
