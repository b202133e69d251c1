"""Decides what a margin call says: how much is missing, what to do, and how long there is."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal

from attrs import define, field, frozen

from actors.config_checks import positive
from actors.margin_figures import MarginFigures
from actors.messages import MarginLevel
from venues.model.money import ONE, ZERO, to_text

_SAMPLES = 24
_NS = 1_000_000_000


@frozen
class CallTerms:
    """`target` is the coverage that a call asks for, `trend_ns` how far back the trend of the coverage goes."""

    target: Decimal = field(default=Decimal(2), validator=positive)
    trend_ns: int = field(default=60_000_000_000, validator=positive)


@define
class Sample:
    """An account's coverage at a moment."""

    ts: int
    coverage: Decimal


@frozen
class MarginCall:
    """What is told. `shortfall` is what must be added to reach the target, `reduction` the share of the positions whose
    closing reaches it instead; `left_ns` until liquidation as the trend is, None when it does not lead there.
    """

    shortfall: Decimal
    reduction: Decimal
    left_ns: int | None
    action: str


def follow(samples: list[Sample], figures: MarginFigures, terms: CallTerms) -> None:
    """Remember the coverage; what is older than the trend is forgotten."""
    if figures.coverage is None:
        samples.clear()
        return
    samples.append(Sample(figures.ts, figures.coverage))
    while len(samples) > _SAMPLES or samples[0].ts < figures.ts - terms.trend_ns:
        del samples[0]


def time_left_ns(samples: Sequence[Sample], liquidation: Decimal = ONE) -> int | None:
    """Return how long until the coverage is down at `liquidation`, going on as from the first sample to the last.

    None while it does not fall, or nothing is known of its course; 0 when it is there.
    """
    if not samples:
        return None
    first, last = samples[0], samples[-1]
    above = last.coverage - liquidation
    if above <= ZERO:
        return 0
    fallen, took_ns = first.coverage - last.coverage, last.ts - first.ts
    return int(above * took_ns / fallen) if fallen > ZERO and took_ns > 0 else None


def call_of(figures: MarginFigures, samples: Sequence[Sample], terms: CallTerms) -> MarginCall:
    """Return the call that follows from the figures.

    To reach the target t from coverage c = balance / maintenance, add t x maintenance - balance, or close 1 - c / t of
    everything: maintenance margin falls in proportion, or faster where brackets are left.
    """
    shortfall = max(ZERO, terms.target * figures.maintenance - figures.balance)
    reduction = ONE if figures.coverage is None else min(ONE, max(ZERO, ONE - figures.coverage / terms.target))
    return MarginCall(shortfall, reduction, time_left_ns(samples), _action(figures, shortfall, reduction))


def _action(figures: MarginFigures, shortfall: Decimal, reduction: Decimal) -> str:
    if figures.level is MarginLevel.UNKNOWN:
        return "find out why the margin cannot be computed; nothing is opened until it can"
    add = f"add {to_text(shortfall.quantize(Decimal('0.01'), ROUND_CEILING))} {figures.asset}"
    close = f"close {(reduction * 100).to_integral_value(ROUND_CEILING)} % of the positions, both legs together"
    return {
        MarginLevel.WARNING: f"{add}, or plan to {close}",
        MarginLevel.DANGER: f"{add}, or {close}",
        MarginLevel.CRITICAL: f"now: {add}, or {close}; nothing is opened meanwhile",
        MarginLevel.LIQUIDATION: f"at once: {close}; the venue liquidates, {add.replace('add', 'short of')}",
    }.get(figures.level, "none")


def said(figures: MarginFigures, call: MarginCall) -> str:
    """Return the call in a line."""
    if figures.level is MarginLevel.UNKNOWN:
        return f"margin of {figures.account} is unknown: {figures.why}; {call.action}"
    coverage = "none" if figures.coverage is None else f"{figures.coverage:.3f}"
    left = "" if call.left_ns is None else f"; liquidation in about {span(call.left_ns)} as it goes"
    prices = ", ".join(
        f"{name} at {to_text(price)} (now {to_text(figures.marks[name])})" for name, price in figures.prices.items()
    )
    return (
        f"margin of {figures.account} is {figures.level}: coverage {coverage}, balance {to_text(figures.balance)}, "
        f"maintenance {to_text(figures.maintenance)} {figures.asset}; {call.action}"
        f"{f'; liquidated with {prices}' if prices else ''}{left}"
    )


def span(ns: int) -> str:
    """Return a length of time as people say it."""
    seconds = ns // _NS
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
