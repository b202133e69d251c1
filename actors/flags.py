"""Decides whether a feature may open baskets: who is switched off, only looked at, tried with a share, or on.

A feature is a strategy, by its id; `global` is the switch of the whole desk. The stricter of the two holds. Flags are
about openings only: what closes or hedges is never held up.
"""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256

from attrs import frozen

from venues.port import Lane, Message, message

GLOBAL = "global"
FLAGS_MAX = 256
_ALL = 100


class FlagMode(StrEnum):
    """DISABLED denies, SHADOW plans and checks but sends nothing, CANARY lets a share of the baskets through."""

    DISABLED = "disabled"
    SHADOW = "shadow"
    CANARY = "canary"
    PRODUCTION = "production"


@frozen
class Flag:
    """What a person set last. `percent` is CANARY's share of baskets."""

    mode: FlagMode
    percent: int
    operator: str
    reason: str
    ts: int


@message(lane=Lane.CONTROL)
class SetFlag(Message):
    """A person switches a feature while the desk runs. `percent` is for CANARY alone, 0 to 100."""

    ts: int
    operator: str
    feature: str
    mode: FlagMode
    percent: int = _ALL
    reason: str = ""


def flag_of(message: SetFlag) -> Flag:
    return Flag(message.mode, message.percent, message.operator, message.reason, message.ts)


def objection(flags: Mapping[str, Flag], message: SetFlag) -> str:
    """Return why the flag cannot be set so, an empty string when it can."""
    if not message.operator.strip():
        return "a flag is set by an operator with a name"
    if not message.feature:
        return "a flag needs a feature"
    if not 0 <= message.percent <= _ALL:
        return f"percent must be 0 to {_ALL}, got {message.percent}"
    if message.mode is not FlagMode.CANARY and message.percent != _ALL:
        return f"only a canary has a percentage, {message.mode} has none"
    if message.feature not in flags and len(flags) >= FLAGS_MAX:
        return f"{FLAGS_MAX} features have flags already"
    return ""


def verdict(flags: Mapping[str, Flag], strategy: str, basket_id: str) -> tuple[FlagMode, str]:
    """Return how the strategy's opening basket goes: DISABLED, SHADOW or PRODUCTION; and what says so.

    Which baskets a canary lets through depends on their ids alone, so that a replay or a restart asks the same ones.
    """
    shadow = ""
    for feature in (GLOBAL, strategy):
        flag = flags.get(feature)
        if flag is None or flag.mode is FlagMode.PRODUCTION:
            continue
        said = f"{feature} is {flag.mode}, by {flag.operator}"
        if flag.mode is FlagMode.DISABLED:
            return FlagMode.DISABLED, said
        if flag.mode is FlagMode.SHADOW:
            shadow = shadow or said
        elif draw(basket_id) >= flag.percent:
            return FlagMode.DISABLED, f"{said}: not among {flag.percent} %"
    return (FlagMode.SHADOW, shadow) if shadow else (FlagMode.PRODUCTION, "")


def draw(basket_id: str) -> int:
    """Return a number from 0 to 99, the same for the same basket everywhere and for ever."""
    return int.from_bytes(sha256(basket_id.encode()).digest()[:8]) % _ALL
