"""What goes wrong in a torture of the real thing, drawn from a seed: faults of the venues, kills of our processes."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from attrs import define, field, frozen
from emulated_desk import LONG_S, Desk
from gateway_truth import LOT, net_of
from live_daemon import eventually

from daemon.admin.client import CallFailedError, UnreachableError

VENUES = ("one", "two")
FAULTS_PER_S = 0.5
"""Of each venue. One lasts two seconds on the average, so that several are on at any time."""

LONGEST_S = 4.0
STRIKES_PER_S = 1 / 6
VICTIMS = (("gateway",), ("desk",), ("guard's gateway",), ("gateway", "guard's gateway"), ("desk", "gateway"))
LOOK_S = 0.3
_EVENTS = 500

Fault = dict[str, Any]
Draw = Callable[[Random], Fault]


def _request(kind: str, **fixed: Any) -> Draw:
    """Return what draws a fault of requests: of one in one to three of them, of orders or of anything."""

    def draw(rng: Random) -> Fault:
        drawn = {name: one(rng) if callable(one) else one for name, one in fixed.items()}
        path = rng.choice(("*order*", "*order*", "*"))
        return {"on": "request", "kind": kind, "path": path, "every": rng.randint(1, 3), **drawn}

    return draw


def _stream(kind: str, where: Mapping[str, str], **fixed: Any) -> Draw:
    def draw(rng: Random) -> Fault:
        drawn = {name: one(rng) if callable(one) else one for name, one in fixed.items()}
        return {"on": "stream", "kind": kind, **where, "every": rng.randint(1, 4), **drawn}

    return draw


def _connection(kind: str, **fixed: Any) -> Draw:
    def draw(rng: Random) -> Fault:
        drawn = {name: one(rng) if callable(one) else one for name, one in fixed.items()}
        return {"on": "connection", "kind": kind, "route": rng.choice(("public", "private", "ws_api", "*")), **drawn}

    return draw


def _venue(kind: str, **fixed: Any) -> Draw:
    return lambda rng: {"on": "venue", "kind": kind, **{name: one(rng) for name, one in fixed.items()}}


def _either(rng: Random) -> bool:
    return rng.random() < 0.5


def _ms(rng: Random) -> int:
    return rng.randint(50, 900)


def _short_s(rng: Random) -> float:
    return round(rng.uniform(0.5, LONGEST_S), 1)


def _once(rng: Random) -> int:
    return 1


_USER, _BOOKS = {"stream": "user"}, {"stream": "btcusdt@depth*"}
KINDS: dict[str, Draw] = {
    "slow": _request("delay", before_ms=_ms, after_ms=_ms),
    "answers lost": _request("drop", executed=_either),
    "answers never": _request("half_open", executed=_either, times=lambda rng: rng.randint(1, 3)),
    "too many": _request("http_429", retry_after_s=lambda rng: rng.randint(1, 2)),
    "banned": _request("http_418", retry_after_s=lambda rng: rng.randint(1, 3), times=_once),
    "unknown": _request("http_503", which="unknown", executed=_either),
    "internal": _request("http_503", which="internal", executed=_either),
    "unavailable": _request("http_503", which="unavailable"),
    "throttled": _request("http_503", which="throttled"),
    "timeout": _request("http_408", executed=_either),
    "clock refused": _request(
        "error", code=-1021, message="Timestamp for this request is outside of the recvWindow.", path="*"
    ),
    "events lost": _stream("drop", _USER),
    "events late": _stream("delay", _USER, delay_ms=_ms),
    "events overtaken": _stream("reorder", _USER, delay_ms=_ms),
    "events twice": _stream("duplicate", _USER, copies=lambda rng: rng.randint(1, 3)),
    "events cut": _stream("disconnect", _USER, times=_once),
    "events half-open": _stream("half_open", _USER, times=_once),
    "books lost": _stream("gap", _BOOKS, events=lambda rng: rng.randint(1, 5), every=20),
    "books late": _stream("delay", _BOOKS, delay_ms=_ms),
    "books twice": _stream("duplicate", _BOOKS),
    "books crossed": _stream("crossed", _BOOKS, every=20),
    "books half-open": _stream("half_open", _BOOKS, times=_once),
    "sockets cut": _connection("disconnect", every_s=lambda rng: round(rng.uniform(0.5, 2), 1), times=lambda rng: 3),
    "sockets half-open": _connection("half_open", times=_once),
    "sockets refused": _connection("refuse", for_s=_short_s),
    "skew": _venue("skew", skew_ms=lambda rng: rng.choice((-6000, -1500, 1500, 6000)), for_s=_short_s),
    "key expires": _venue("listen_key_expiry"),
    "maintenance": _venue("maintenance", for_s=_short_s),
}
"""Everything that an emulator can do to a client, and how it is drawn."""

_OUTAGES = ("banned", "sockets half-open", "sockets refused", "skew", "key expires", "maintenance")
"""While these last nothing is traded: a third as often as the others, each of which needs trading to be met."""

_WEIGHTS = [1 if kind in _OUTAGES else 3 for kind in KINDS]


@frozen
class Strike:
    """kill -9 of several processes at once, `at_s` seconds after the start."""

    at_s: float
    victims: tuple[str, ...]


@frozen
class Script:
    """Faults by venue, each with the moment it begins; kills in order of time; what the first venue trades."""

    seed: int
    seconds: float
    first: str
    faults: dict[str, list[Fault]]
    strikes: list[Strike]


def draw(seed: int, seconds: float) -> Script:
    """Return the script of a seed: of the same seed and length it is always the same."""
    rng = Random(f"gateway/{seed}")
    first = ("spot", "usdm")[seed % 2]
    faults = {venue: _faults(rng, seconds) for venue in VENUES}
    count = max(1, round(seconds * STRIKES_PER_S))
    moments = sorted(round(rng.uniform(0.1, 0.9) * seconds, 1) for _ in range(count))
    victims = chain.from_iterable(rng.sample(VICTIMS, len(VICTIMS)) for _ in moments)
    return Script(seed, seconds, first, faults, [Strike(*one) for one in zip(moments, victims, strict=False)])


def _faults(rng: Random, seconds: float) -> list[Fault]:
    found = []
    for _ in range(max(2, round(seconds * FAULTS_PER_S))):
        (kind,) = rng.choices(list(KINDS), _WEIGHTS)
        fault = KINDS[kind](rng)
        fault["at_s"] = round(rng.uniform(0, seconds), 1)
        if fault["on"] in ("request", "stream"):
            fault["for_s"] = _short_s(rng)
        else:
            fault.setdefault("times", 1)
        found.append(fault)
    return sorted(found, key=lambda one: float(one["at_s"]))


@define
class Tormented:
    """A desk under torture. `events` are all it ever told, by their numbers; `met` counts faults and kills by kind."""

    desk: Desk
    events: dict[int, dict[str, Any]] = field(factory=dict)
    met: Counter[str] = field(factory=Counter)
    _is_over: bool = False
    _since: int = 0
    _looked_s: float = 0.0

    def play(self, script: Script) -> None:
        """Let everything go wrong that the script says, while somebody arms the desk again whenever he can."""
        begun_s = time.monotonic()
        for name, faults in script.faults.items():
            self.desk.venues[name].fault({"faults": faults})
        for strike in script.strikes:
            self._tend_until(begun_s + strike.at_s)
            for victim in strike.victims:
                self._kill(victim)
        self._tend_until(begun_s + script.seconds)
        for one in self.desk.venues.values():
            self.met.update(f"{row['fault']['on']} {row['fault']['kind']}" for row in one.faults() if row["fired"])
            one.mend()
        self._is_over = True

    def _tend_until(self, moment_s: float) -> None:
        """Look after the desk until a moment of the script: when things go wrong is what a script says."""
        wait_s = moment_s - time.monotonic() + LONG_S
        self._tended("the moment comes", lambda: time.monotonic() >= moment_s, wait_s)

    def _tended(self, what: str, look: Callable[[], bool], patience_s: float = LONG_S) -> None:
        """Look after the desk until something is so. Raises AssertionError."""

        def tended() -> bool:
            self.tend()
            return look()

        eventually(what, tended, patience_s)

    def tend(self) -> None:
        """Note what was told, and arm if that is possible; not more often than a person would.

        What a broken basket has left open is taken off first, once nothing goes wrong any more and the desk sees its
        books: who arms a desk answers for what it holds.
        """
        if time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        process = self.desk.daemon.process
        assert process is not None
        assert process.poll() is None, f"the desk ended by itself: {self.desk.daemon.words()}"
        with suppress(UnreachableError, CallFailedError):
            self._listen()
            status = self.desk.view("status")
            if status["kill"]["level"] == status["guard"]["level"] == "armed":
                return
            if not self._is_left_open():
                self.desk.daemon.call("arm", {"reason": "what went wrong was looked into"})
            elif self._is_over and self._sees_books():
                self.desk.daemon.call("kill", {"level": "flatten", "reason": "a basket is broken"})

    def _sees_books(self) -> bool:
        """Whether every feed is live; one that was cut in two is found after half a minute."""
        rows = [one for _, one in sorted(self.events.items()) if one["kind"] == "FeedStatus"]
        latest = {row["fields"]["instrument"]: row["text"] for row in rows}
        return not any("not live" in text for text in latest.values())

    def _is_left_open(self) -> bool:
        baskets = self.desk.view("baskets")["baskets"]
        return any(one["state"] == "broken" and abs(net_of(one)) >= LOT for one in baskets)

    def _listen(self) -> None:
        while True:
            told = self.desk.view("events", {"since": self._since, "limit": _EVENTS})
            self.events |= {one["number"]: one for one in told["events"]}
            self._since = max([self._since, *(one["number"] for one in told["events"])])
            if len(told["events"]) < _EVENTS:
                return

    def _kill(self, victim: str) -> None:
        daemon = self.desk.daemon
        if victim == "desk":
            daemon.kill()
            daemon.start()
            # What had not been written down was not told to anybody who matters: it is told anew.
            self._since = 0
        else:
            paths = {"gateway": daemon.paths.venue_socket, "guard's gateway": daemon.paths.guard_venue_socket}
            pid = daemon.listener(paths[victim])
            if pid is None:
                return
            os.kill(pid, signal.SIGKILL)
        self.met[f"kill {victim}"] += 1

    def settle(self) -> None:
        """Wait until the desk trades again, then let nothing more be opened and wait until nothing moves."""
        desk = self.desk
        desk.daemon.wait_ready(LONG_S)
        self._tended("it may be armed again", lambda: not desk.has_halted())
        before = self._trades()
        self._tended("it trades again", lambda: self._trades() > before)
        desk.daemon.call("drain", {"on": True, "reason": "the end of the test"})
        self._tended("everything comes to rest", self.is_at_rest)

    def _trades(self) -> int:
        return sum(one["kind"] == "FillEvent" for one in self.events.values())

    def is_at_rest(self) -> bool:
        """Whether nothing is on its way and both sides hold the same, seen twice."""
        desk = self.desk
        orders = desk.view("orders")["orders"]
        baskets = desk.view("baskets")["baskets"]
        ours = desk.held()
        is_quiet = not orders and all(one["state"] in ("balanced", "broken") and not one["closing"] for one in baskets)
        return is_quiet and desk.theirs() == ours == desk.held() and not self.resting()

    def resting(self) -> list[str]:
        """Return the client ids that rest at the venues."""
        return [row["clientOrderId"] for one in self.desk.venues.values() for row in one.open_orders()]


def reproduction(test: Path, script: Script) -> str:
    """Return the line that plays a script again."""
    name = test.relative_to(test.parents[2])
    return f"BASISD_GATEWAY_SEEDS={script.seed} BASISD_GATEWAY_SECONDS={script.seconds:g} pytest {name}"
