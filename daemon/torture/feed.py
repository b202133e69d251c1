"""What only the desk's feed suffers, and what people do meanwhile: lost frames, crossed books, kills, armings."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import evolve

from actors.control import GuardStatus
from actors.messages import ArmCommand, KillCommand, KillLevel
from daemon.torture.rogue import Misdeed
from daemon.torture.script import BY_PEOPLE, IN_FEED, SECOND_NS, Fault, FaultKind, Script, Tally
from sim.clocks import Tick
from venues.port import BookDelta, FeedGap, Message

ARMED_EVERY_NS = 8 * SECOND_NS
_NEVER = 1 << 63


class SpoiltFeed:
    """The ticks of a market as the desk gets them. `is_armed`: somebody arms the desk every few seconds.

    `inputs` are more messages for the desk, at their own times.
    """

    def __init__(
        self,
        ticks: Iterator[Tick],
        script: Script,
        start_ns: int,
        counts: Tally,
        *,
        is_armed: bool,
        inputs: list[Message],
        misdeeds: Mapping[str, object],
    ) -> None:
        self._ticks = ticks
        self._start_ns = start_ns
        self._counts = counts
        self._faults = script.of([kind for kind in IN_FEED if kind is not FaultKind.FEED_GAP])
        self._active: dict[str, list[Fault]] = {}
        self._next_ns = start_ns + self._faults[0].start_ns if self._faults else _NEVER
        self._events = self._planned(script, is_armed=is_armed, misdeeds=list(misdeeds)) + [
            Tick(one.ts, True, one) for one in inputs
        ]
        self._events.sort(key=lambda tick: tick.ns)

    def __iter__(self) -> Iterator[Tick]:
        events, active = self._events, self._active
        due = events[0].ns if events else _NEVER
        for tick in self._ticks:
            while due <= tick.ns:
                yield events.pop(0)
                due = events[0].ns if events else _NEVER
            if tick.ns >= self._next_ns:
                self._turn(tick.ns)
            if active and tick.is_local:
                spoilt = self._spoil(tick)
                if spoilt is not None:
                    yield spoilt
            else:
                yield tick
        yield from events

    def _turn(self, ns: int) -> None:
        """Begin and end what is due, and look when to come again."""
        since = ns - self._start_ns
        self._active.clear()
        moments = [_NEVER]
        for fault in self._faults:
            if fault.start_ns <= since < fault.end_ns:
                self._active.setdefault(fault.at, []).append(fault)
                moments.append(fault.end_ns)
            elif fault.start_ns > since:
                moments.append(fault.start_ns)
        self._next_ns = self._start_ns + min(moments)

    def _spoil(self, tick: Tick) -> Tick | None:
        message: Any = tick.message
        is_delta = isinstance(message, BookDelta)
        for fault in self._active.get(getattr(message, "instrument", ""), ()):
            if fault.kind is FaultKind.STALE or (fault.kind is FaultKind.GAP and is_delta):
                self._counts.met(fault)
                return None
            if fault.kind is FaultKind.CROSSED and is_delta:
                self._counts.met(fault)
                top = max((ticks for ticks, lots in message.asks if lots), default=0)
                if top:
                    message = evolve(message, bids=[*message.bids, (top + 5, 7)])
        return Tick(tick.ns, True, message)

    def _planned(self, script: Script, *, is_armed: bool, misdeeds: list[str]) -> list[Tick]:
        events = []
        for fault in script.of((FaultKind.FEED_GAP, *BY_PEOPLE)):
            at, rng = self._start_ns + fault.start_ns, fault.rng()
            message: Message
            if fault.kind in (FaultKind.GUARD_DOWN, FaultKind.GUARD_CHARGE):
                is_up = fault.kind is FaultKind.GUARD_CHARGE
                self._counts.met(fault)
                end = self._start_ns + fault.end_ns
                events.append(Tick(at, True, GuardStatus(at, is_up=is_up, is_in_charge=is_up, why=fault.kind)))
                events.append(Tick(end, True, GuardStatus(end, is_up=True)))
                continue
            if fault.kind is FaultKind.FEED_GAP:
                self._counts.met(fault)
                message = FeedGap(at, fault.at, "frames refused")
            elif fault.kind is FaultKind.KILL:
                level = rng.choice((KillLevel.REDUCE_ONLY, KillLevel.CANCEL_ALL, KillLevel.FLATTEN))
                self._counts.met(fault)
                self._counts[f"kill_{level.name.lower()}"] += 1
                message = KillCommand(at, "night shift", level, "drill")
            else:
                self._counts.met(fault)
                message = Misdeed(at, fault.at or rng.choice(misdeeds), fault.salt)
            events.append(Tick(at, True, message))
        end = self._start_ns + script.duration_ns - 10 * SECOND_NS
        arms = range(self._start_ns, end, ARMED_EVERY_NS) if is_armed else range(0)
        return events + [Tick(at, True, ArmCommand(at, "night shift", "looked at it")) for at in arms]
