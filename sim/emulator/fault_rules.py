"""Decides what a fault may say: its kind, where it strikes, when, how often, or which key of it is wrong."""

import json
import tomllib
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from sim.scenario_fields import Fields, ScenarioError, array, boolean, integer, join, one_of, text

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
_DAYS_MAX: Final = 366
_S_MAX: Final = _DAYS_MAX * 86_400
_COPIES_MAX: Final = 100
_EVENTS_MAX: Final = 1_000_000


class FaultError(ValueError):
    """A fault that says what it may not. `path` is the place in the document, as in faults[0].kind."""

    def __init__(self, path: str, why: str, file: str = "") -> None:
        super().__init__(": ".join(part for part in (file, path, why) if part))
        self.path = path
        self.why = why


class On(StrEnum):
    REQUEST = "request"
    STREAM = "stream"
    CONNECTION = "connection"
    VENUE = "venue"


class Kind(StrEnum):
    DROP = "drop"
    DELAY = "delay"
    HALF_OPEN = "half_open"
    HTTP_429 = "http_429"
    HTTP_418 = "http_418"
    HTTP_503 = "http_503"
    HTTP_408 = "http_408"
    ERROR = "error"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    GAP = "gap"
    CROSSED = "crossed"
    DISCONNECT = "disconnect"
    REFUSE = "refuse"
    SKEW = "skew"
    LISTEN_KEY_EXPIRY = "listen_key_expiry"
    MAINTENANCE = "maintenance"


class Unavailable(StrEnum):
    """Which of the messages of a 503."""

    UNKNOWN = "unknown"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"
    THROTTLED = "throttled"


@frozen
class FaultRule:
    """One fault. Patterns are shell patterns (* ? []), None where anything will do; times are nanoseconds.

    A request or stream event that the patterns match, from `at_ns` on and for `for_ns` (None: for ever), is counted;
    the first `after` are let go, then every `every`-th meets the fault with `probability`, `times` of them at most.
    Faults on connections and on the venue happen at `at_ns`, then each `every_ns`, `times` times; some last `for_ns`.
    """

    on: On
    kind: Kind
    given: Mapping[str, Any] = field(eq=False, repr=False, factory=dict)
    method: str | None = None
    path: str | None = None
    symbol: str | None = None
    client_id: str | None = None
    route: str | None = None
    stream: str | None = None
    event: str | None = None
    at_ns: int = 0
    for_ns: int | None = None
    every_ns: int | None = None
    after: int = 0
    every: int = 1
    times: int | None = None
    probability: float = 1.0
    executed: bool = False
    before_ns: int = 0
    after_ns: int = 0
    delay_ns: int = 0
    retry_after_s: int | None = None
    message: str = ""
    code: int = 0
    status: int = 400
    copies: int = 1
    events: int = 1
    skew_ns: int = 0


def read_faults(path: Path) -> list[FaultRule]:
    """Return the faults of a file, TOML ([[faults]] tables) or JSON ({"faults": [...]}) by its ending.

    Raises FaultError naming the file and the key, OSError where the file cannot be read.
    """
    try:
        document = parse_json(path.read_bytes()) if path.suffix == ".json" else tomllib.loads(path.read_text("utf-8"))
        return rules_of(document)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FaultError("", f"not TOML: {error}", str(path)) from None
    except FaultError as error:
        raise FaultError(error.path, error.why, str(path)) from None


def parse_json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FaultError("", f"not JSON: {error}") from None


def rules_of(document: object) -> list[FaultRule]:
    """Return the faults of {"faults": [...]}, or of the one fault that it is itself. Raises FaultError."""
    try:
        if isinstance(document, dict) and "kind" in document:
            return [_rule(document, "")]
        fields = Fields(document, "")
        found = [_rule(one, join("faults", index)) for index, one in enumerate(fields.need("faults", array))]
        fields.done()
    except ScenarioError as error:
        raise FaultError(error.path, error.why) from None
    return found


def _rule(value: object, path: str) -> FaultRule:
    fields = Fields(value, path)
    on = fields.need("on", one_of({one.value: one for one in On}))
    kind = fields.need("kind", one_of({one.value: one for one in KINDS[on]}))
    told: dict[str, Any] = {}
    for key in (*WHERE[on], *WHEN[on], *KINDS[on][kind]):
        name, read = _KEYS[key]
        found = fields.maybe(key, read)
        if found is not None:
            told[name] = found
    for key in NEEDED.get(kind, ()):
        if not fields.has(key):
            raise ScenarioError(fields.at(key), "missing")
    fields.done()
    rule = FaultRule(on, kind, fields.all(), **told)
    _check(rule, fields)
    return rule


def _check(rule: FaultRule, fields: Fields) -> None:
    if rule.on is On.REQUEST and rule.kind is Kind.DELAY and not rule.before_ns and not rule.after_ns:
        raise ScenarioError(fields.at("before_ms"), "a delay needs before_ms or after_ms")
    if rule.on is On.STREAM and rule.kind in (Kind.DELAY, Kind.REORDER) and not rule.delay_ns:
        raise ScenarioError(fields.at("delay_ms"), "a delay needs more than none")
    if (
        rule.kind is Kind.HTTP_503
        and rule.executed
        and rule.message in (Unavailable.UNAVAILABLE, Unavailable.THROTTLED)
    ):
        raise ScenarioError(fields.at("executed"), f"{rule.message!r} says that nothing was done")
    if rule.every_ns is not None and rule.for_ns is not None and rule.for_ns >= rule.every_ns:
        raise ScenarioError(fields.at("for_s"), "lasts until it happens again: for_s must be shorter than every_s")
    if rule.skew_ns == 0 and rule.kind is Kind.SKEW:
        raise ScenarioError(fields.at("skew_ms"), "no skew at all")


def _number(low: float, high: float, unit: str) -> Callable[[object, str], float]:
    def read(value: object, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ScenarioError(path, f"expected a number of {unit} from {low:g} to {high:g}, got {value!r}")
        return float(value)

    return read


def _ns(unit_ns: int, low: float, unit: str) -> Callable[[object, str], int]:
    read = _number(low, _S_MAX * NS_PER_S / unit_ns, unit)
    return lambda value, path: round(read(value, path) * unit_ns)


def _count(low: int, high: int) -> Callable[[object, str], int]:
    def read(value: object, path: str) -> int:
        found = integer(value, path)
        if not low <= found <= high:
            raise ScenarioError(path, f"expected an integer from {low} to {high}, got {found}")
        return found

    return read


def _unavailable(value: object, path: str) -> str:
    return one_of({one.value: one for one in Unavailable})(value, path)


_KEYS: Final[dict[str, tuple[str, Callable[[object, str], Any]]]] = {
    "method": ("method", text),
    "path": ("path", text),
    "symbol": ("symbol", text),
    "client_id": ("client_id", text),
    "route": ("route", text),
    "stream": ("stream", text),
    "event": ("event", text),
    "at_s": ("at_ns", _ns(NS_PER_S, 0, "seconds")),
    "for_s": ("for_ns", _ns(NS_PER_S, 0.001, "seconds")),
    "every_s": ("every_ns", _ns(NS_PER_S, 0.01, "seconds")),
    "after": ("after", _count(0, _EVENTS_MAX)),
    "every": ("every", _count(1, _EVENTS_MAX)),
    "times": ("times", _count(1, _EVENTS_MAX)),
    "probability": ("probability", _number(0, 1, "probability")),
    "executed": ("executed", boolean),
    "before_ms": ("before_ns", _ns(NS_PER_MS, 0, "milliseconds")),
    "after_ms": ("after_ns", _ns(NS_PER_MS, 0, "milliseconds")),
    "delay_ms": ("delay_ns", _ns(NS_PER_MS, 0, "milliseconds")),
    "retry_after_s": ("retry_after_s", _count(0, _S_MAX)),
    "message": ("message", text),
    "which": ("message", _unavailable),
    "code": ("code", integer),
    "status": ("status", _count(400, 599)),
    "copies": ("copies", _count(1, _COPIES_MAX)),
    "events": ("events", _count(1, _EVENTS_MAX)),
    "skew_ms": ("skew_ns", _ns(NS_PER_MS, -_S_MAX * 1_000, "milliseconds")),
}
"""What each key becomes in a rule, and how it is read."""

WHERE: Final[dict[On, tuple[str, ...]]] = {
    On.REQUEST: ("method", "path", "symbol", "client_id"),
    On.STREAM: ("route", "stream", "event", "client_id"),
    On.CONNECTION: ("route",),
    On.VENUE: (),
}

_COUNTED: Final = ("at_s", "for_s", "after", "every", "times", "probability")
WHEN: Final[dict[On, tuple[str, ...]]] = {
    On.REQUEST: _COUNTED,
    On.STREAM: _COUNTED,
    On.CONNECTION: ("at_s", "every_s", "times"),
    On.VENUE: ("at_s", "every_s", "times"),
}

KINDS: Final[dict[On, dict[Kind, tuple[str, ...]]]] = {
    On.REQUEST: {
        Kind.DELAY: ("before_ms", "after_ms"),
        Kind.DROP: ("executed",),
        Kind.HALF_OPEN: ("executed",),
        Kind.HTTP_429: ("retry_after_s",),
        Kind.HTTP_418: ("retry_after_s",),
        Kind.HTTP_503: ("which", "executed"),
        Kind.HTTP_408: ("executed",),
        Kind.ERROR: ("code", "message", "status", "executed"),
    },
    On.STREAM: {
        Kind.DROP: (),
        Kind.DELAY: ("delay_ms",),
        Kind.DUPLICATE: ("copies",),
        Kind.REORDER: ("delay_ms",),
        Kind.GAP: ("events",),
        Kind.CROSSED: (),
        Kind.DISCONNECT: (),
        Kind.HALF_OPEN: (),
    },
    On.CONNECTION: {
        Kind.DISCONNECT: (),
        Kind.HALF_OPEN: (),
        Kind.REFUSE: ("for_s",),
    },
    On.VENUE: {
        Kind.SKEW: ("skew_ms", "for_s"),
        Kind.LISTEN_KEY_EXPIRY: (),
        Kind.MAINTENANCE: ("for_s",),
    },
}
"""The kinds there are of each sort, and the keys of each beside where and when."""

NEEDED: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.HTTP_503: ("which",),
    Kind.ERROR: ("code", "message"),
    Kind.SKEW: ("skew_ms",),
    Kind.GAP: ("events",),
}
