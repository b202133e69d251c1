"""What goes wrong in a run, and when: a list of faults that a seed draws, a file holds and a shrinker cuts."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from attrs import field, frozen

SECOND_NS = 1_000_000_000
START_NS = 1_768_492_770_000_000_000  # 2026-01-15T15:59:30Z
CALM_NS = 60 * SECOND_NS
"""Nothing goes wrong in the last minute: whatever is still open then must come to its end."""
FAULTS_PER_MINUTE = 9
"""Drawn, for a fault that nothing walks into does not count: about two thirds are met."""
_FORMAT = 1
_SHORTEST_NS = 30 * SECOND_NS


class FaultKind(StrEnum):
    """Everything that can go wrong. Where it does is said by the sets below."""

    # One submit each
    NO_ACK = "no_ack"
    UNKNOWN_LOST = "unknown_lost"
    UNKNOWN_DONE = "unknown_done"
    UNKNOWN_LATE = "unknown_late"
    SILENT_LOST = "silent_lost"
    SILENT_DONE = "silent_done"
    DELAYED = "delayed"
    REORDERED = "reordered"
    DUPLICATED = "duplicated"
    FILL_FIRST = "fill_first"
    FILL_LOST = "fill_lost"
    FILL_AFTER_END = "fill_after_end"
    REJECTED = "rejected"
    REJECT_AFTER_ACK = "reject_after_ack"
    PARTIAL = "partial"
    # One cancel each
    CANCEL_LOST = "cancel_lost"
    CANCEL_DONE = "cancel_done"
    CANCEL_SILENT = "cancel_silent"
    CANCEL_REFUSED = "cancel_refused"
    CANCEL_RACE = "cancel_race"
    FILL_AFTER_CANCEL = "fill_after_cancel"
    # A venue, for a while or at one moment
    QUERIES_FAIL = "queries_fail"
    QUERIES_SILENT = "queries_silent"
    INVISIBLE = "invisible"
    DOWN = "down"
    HALF_OPEN = "half_open"
    RATE_BAN = "rate_ban"
    LATE_POSITIONS = "late_positions"
    ADL = "adl"
    BUSTED = "busted"
    # A market, for everybody
    THIN = "thin"
    SPIKE = "spike"
    LIQUIDATION = "liquidation"
    # The desk's view of a market
    STALE = "stale"
    GAP = "gap"
    FEED_GAP = "feed_gap"
    CROSSED = "crossed"
    # The desk's host
    CLOCK_AHEAD = "clock_ahead"
    CLOCK_BEHIND = "clock_behind"
    SLOW_COMMIT = "slow_commit"
    COMMIT_FAILS = "commit_fails"
    DISK_FULL = "disk_full"
    PAUSED = "paused"
    FLOOD = "flood"
    CRASH_BEFORE_COMMIT = "crash_before_commit"
    CRASH_BEFORE_SEND = "crash_before_send"
    CRASH_MID_SEND = "crash_mid_send"
    CRASH_AFTER_SEND = "crash_after_send"
    CRASH_ON_ACK = "crash_on_ack"
    CRASH_AFTER_ACK = "crash_after_ack"
    CRASH_ON_FILL = "crash_on_fill"
    CRASH_AFTER_FILL = "crash_after_fill"
    # People and programs
    KILL = "kill"
    ROGUE = "rogue"
    GUARD_DOWN = "guard_down"
    GUARD_CHARGE = "guard_charge"


_K = FaultKind
ON_SUBMIT = (
    _K.NO_ACK, _K.UNKNOWN_LOST, _K.UNKNOWN_DONE, _K.UNKNOWN_LATE, _K.SILENT_LOST, _K.SILENT_DONE, _K.DELAYED,
    _K.REORDERED, _K.DUPLICATED, _K.FILL_FIRST, _K.FILL_LOST, _K.FILL_AFTER_END, _K.REJECTED, _K.REJECT_AFTER_ACK,
    _K.PARTIAL,
)  # fmt: skip
ON_CANCEL = (
    _K.CANCEL_LOST, _K.CANCEL_DONE, _K.CANCEL_SILENT, _K.CANCEL_REFUSED, _K.CANCEL_RACE, _K.FILL_AFTER_CANCEL,
)  # fmt: skip
AT_VENUE = (
    _K.QUERIES_FAIL, _K.QUERIES_SILENT, _K.INVISIBLE, _K.DOWN, _K.HALF_OPEN, _K.RATE_BAN, _K.LATE_POSITIONS,
)  # fmt: skip
ON_POSITION = (_K.ADL, _K.BUSTED)
JUMPS = (_K.SPIKE, _K.LIQUIDATION)
IN_MARKET = (_K.THIN, *JUMPS)
IN_FEED = (_K.STALE, _K.GAP, _K.FEED_GAP, _K.CROSSED)
CRASHES = (
    _K.CRASH_BEFORE_COMMIT, _K.CRASH_BEFORE_SEND, _K.CRASH_MID_SEND, _K.CRASH_AFTER_SEND, _K.CRASH_ON_ACK,
    _K.CRASH_AFTER_ACK, _K.CRASH_ON_FILL, _K.CRASH_AFTER_FILL,
)  # fmt: skip
ON_HOST = (
    _K.CLOCK_AHEAD, _K.CLOCK_BEHIND, _K.SLOW_COMMIT, _K.COMMIT_FAILS, _K.DISK_FULL, _K.PAUSED, _K.FLOOD, *CRASHES,
)  # fmt: skip
BY_PEOPLE = (_K.KILL, _K.ROGUE, _K.GUARD_DOWN, _K.GUARD_CHARGE)

# Shortest and longest duration in seconds; a fault of one command waits so long for it.
_WAITS = (20.0, 20.0)
_SECONDS: dict[FaultKind, tuple[float, float]] = {
    _K.QUERIES_FAIL: (3, 20),
    _K.QUERIES_SILENT: (3, 12),
    _K.INVISIBLE: (5, 20),
    _K.DOWN: (0.5, 8),
    _K.HALF_OPEN: (1, 8),
    _K.RATE_BAN: (2, 10),
    _K.LATE_POSITIONS: (10, 30),
    _K.ADL: (0, 0),
    _K.BUSTED: (0, 0),
    _K.THIN: (2, 8),
    _K.SPIKE: (1, 1),
    _K.LIQUIDATION: (1, 1),
    _K.STALE: (6, 12),
    _K.GAP: (0.3, 0.3),
    _K.FEED_GAP: (0, 0),
    _K.CROSSED: (0.25, 0.25),
    _K.CLOCK_AHEAD: (1, 10),
    _K.CLOCK_BEHIND: (1, 10),
    _K.PAUSED: (0.5, 20),
    _K.FLOOD: (0, 0),
    _K.KILL: (0, 0),
    _K.ROGUE: (0, 0),
    _K.GUARD_DOWN: (1, 8),
    _K.GUARD_CHARGE: (1, 4),
}
_WEIGHTS = dict.fromkeys(FaultKind, 1.0) | dict.fromkeys((*ON_SUBMIT, *ON_CANCEL), 3.0) | {_K.ROGUE: 6, _K.KILL: 3}


@frozen
class Fault:
    """One thing that goes wrong: from `start_ns` after the start on, for `duration_ns`.

    `at` is the venue or instrument it befalls, empty for the desk's host. A fault of submits, cancels, commits and
    crashes befalls the first one in its time, all of them when it is not `once`. `salt` decides what is left open:
    how long, how many, which truth.
    """

    kind: FaultKind
    start_ns: int
    duration_ns: int
    at: str = ""
    salt: int = 0
    once: bool = True

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.duration_ns

    def rng(self) -> Random:
        """Return the fault's own source of chance: leaving another fault out changes nothing here."""
        return Random(f"{self.kind}/{self.salt}")


def _in_order(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    return tuple(sorted(faults, key=lambda one: (one.start_ns, one.kind, one.at, one.salt)))


@frozen
class Script:
    """All faults of a run of `duration_ns`, in order of time, before the calm at its end."""

    seed: int
    duration_ns: int
    faults: tuple[Fault, ...] = field(default=(), converter=_in_order)

    @property
    def calm_ns(self) -> int:
        """When the last fault is over at the latest, counted from the start."""
        return max(0, self.duration_ns - CALM_NS)

    def of(self, kinds: Iterable[FaultKind], at: str | None = None) -> list[Fault]:
        wanted = set(kinds)
        return [one for one in self.faults if one.kind in wanted and at in (None, one.at)]


class Tally(Counter[str]):
    """How many faults of each kind were met: each once, however often it made itself felt."""

    def __init__(self) -> None:
        super().__init__()
        self._met: set[int] = set()

    def met(self, fault: Fault) -> None:
        if id(fault) not in self._met:
            self._met.add(id(fault))
            self[fault.kind] += 1


class ScriptError(ValueError):
    """A script file that cannot be read; names the field."""


def draw(
    seed: int, duration_ns: int, venues: Sequence[str], instruments: Sequence[str], kinds: Sequence[FaultKind] = ()
) -> Script:
    """Return the script of a seed. Instruments of a venue called perp... have positions; `kinds` () means all."""
    rng = Random(f"script/{seed}")
    chosen = list(kinds or FaultKind)
    weights = [_WEIGHTS[kind] for kind in chosen]
    span = duration_ns - CALM_NS
    if span < _SHORTEST_NS:
        raise ValueError(f"duration: at least {(CALM_NS + _SHORTEST_NS) // SECOND_NS} s")
    perpetuals = [one for one in instruments if one.startswith("perp")]
    faults: list[Fault] = []
    for kind in rng.choices(chosen, weights, k=max(1, round(span / (60 * SECOND_NS) * FAULTS_PER_MINUTE))):
        shortest, longest = _SECONDS.get(kind, _WAITS)
        length = int(rng.uniform(shortest, longest) * SECOND_NS)
        start = rng.randrange(5 * SECOND_NS, max(5 * SECOND_NS + 1, span - length))
        if kind in (*ON_SUBMIT, *AT_VENUE):
            at = rng.choice(list(venues))
        elif kind in ON_CANCEL:
            # Only there does anything rest.
            at = venues[-1]
        elif kind in (*JUMPS, *ON_POSITION):
            at = rng.choice(perpetuals)
        else:
            at = rng.choice(list(instruments)) if kind in (*IN_MARKET, *IN_FEED) else ""
        faults.append(Fault(kind, start, min(length, span - start), at, rng.randrange(1 << 30)))
    return Script(seed, duration_ns, faults)


def dump(script: Script) -> str:
    """Return the script as JSON: times in whole nanoseconds from the start."""
    faults = [
        {"kind": str(one.kind), "start_ns": one.start_ns, "duration_ns": one.duration_ns, "at": one.at}
        | {"salt": one.salt, "once": one.once}
        for one in script.faults
    ]
    head = {"format": _FORMAT, "seed": script.seed, "duration_ns": script.duration_ns}
    lines = ",\n".join(f"  {json.dumps(one)}" for one in faults)
    return f'{json.dumps(head)[:-1]}, "faults": [\n{lines}\n]}}\n'


def load(path: Path) -> Script:
    """Read what `dump` wrote. Raises ScriptError, naming file and field."""
    try:
        plain: dict[str, Any] = json.loads(path.read_text())
        if plain.get("format") != _FORMAT:
            raise ScriptError(f"{path}: format: {plain.get('format')!r} is not {_FORMAT}")
        faults = [
            Fault(
                FaultKind(one["kind"]),
                int(one["start_ns"]),
                int(one["duration_ns"]),
                str(one["at"]),
                int(one["salt"]),
                bool(one["once"]),
            )
            for one in plain["faults"]
        ]
        return Script(int(plain["seed"]), int(plain["duration_ns"]), faults)
    except ScriptError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ScriptError(f"{path}: {type(error).__name__}: {error}") from error


def parse_kinds(text: str) -> tuple[FaultKind, ...]:
    """Return the kinds of a comma-separated list; `all` is every one. Raises ValueError naming one that is not."""
    if text == "all":
        return ()
    found = []
    for name in text.split(","):
        try:
            found.append(FaultKind(name.strip()))
        except ValueError:
            raise ValueError(f"{name!r} is no fault; there are {', '.join(FaultKind)}") from None
    return tuple(found)
