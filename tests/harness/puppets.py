"""Children of a supervisor that do as they are told, and the trace of what they did."""

from collections import deque
from typing import Any

import trio
from attrs import define, field

from daemon.supervision import ChildEvent, ChildSpec, ChildStatus, EventKind, Restart


class CrashError(Exception):
    """A child ends so when it is told to crash."""


@define(eq=False)
class Stage:
    """What happened, in order, and what is to happen at the next starts, by child; `over`: the supervisor has ended."""

    trace: list[str] = field(factory=list)
    events: list[ChildEvent] = field(factory=list)
    fails: dict[str, int] = field(factory=dict)
    holds: set[str] = field(factory=set)
    puppets: "dict[str, Puppet]" = field(factory=dict)
    over: trio.Event = field(factory=trio.Event)

    def child(self, name: str, restart: Restart = Restart.PERMANENT, **options: Any) -> ChildSpec:
        """Return a child; `options` are ChildSpec's and Puppet's `heeds`, `cleanup_s`, `dies_of`."""
        own = {key: options.pop(key) for key in ("heeds", "cleanup_s", "dies_of") if key in options}
        self.puppets[name] = Puppet(self, name, **own)
        return ChildSpec(name, self.puppets[name].start, restart, **options)

    def tell(self, name: str, what: str) -> None:
        """Tell the child something, if it is alive: normal, crash, or go to one that is held at its start."""
        puppet = self.puppets[name]
        if what == "go":
            self.holds.discard(name)
        if puppet.is_alive:
            puppet.mail.append(what)
            puppet.news.set()

    def hear(self, event: ChildEvent) -> None:
        self.events.append(event)

    def kinds(self, *without: EventKind) -> list[str]:
        """Return what the supervisor told, as "kind child"."""
        return [f"{event.kind} {event.child}" for event in self.events if event.kind not in without]


@define(eq=False)
class Puppet:
    """One child.

    Its trace: start, then no (it did not start) or quit (cancelled before it had), or later end, crash or stop.
    `heeds`: it ends when asked to, otherwise it goes on until it is cancelled. `cleanup_s` passes before it ends then,
    shielded when it was cancelled; `dies_of` is raised at the end.
    """

    stage: Stage
    name: str
    heeds: bool = True
    cleanup_s: float = 0
    dies_of: BaseException | None = None
    is_alive: bool = False
    mail: deque[str] = field(factory=deque)
    news: trio.Event = field(factory=trio.Event)
    starts: int = 0

    async def start(self, *, task_status: ChildStatus) -> None:
        assert not self.is_alive, f"two of {self.name} at once"
        self.is_alive = True
        self.mail.clear()
        try:
            await self._begin(task_status)
            await self._serve(task_status)
        finally:
            self.is_alive = False

    def _note(self, what: str) -> None:
        self.stage.trace.append(f"{what} {self.name}")

    async def _begin(self, task_status: ChildStatus) -> None:
        self.starts += 1
        self._note("start")
        try:
            if self.name in self.stage.holds:
                self.stage.holds.discard(self.name)
                await self._next({"go"})
                self.mail.clear()
        except trio.Cancelled:
            self._note("quit")
            raise
        if self.stage.fails.get(self.name, 0) > 0:
            self.stage.fails[self.name] -= 1
            self._note("no")
            raise CrashError(f"{self.name} does not start")
        task_status.started(self.starts)

    async def _serve(self, task_status: ChildStatus) -> None:
        async with trio.open_nursery() as nursery:
            if self.heeds:
                nursery.start_soon(self._wait_for_stop, task_status, nursery.cancel_scope)
            try:
                what = await self._next({"normal", "crash"})
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(self.cleanup_s)
                self._note("stop")
                if self.dies_of is not None:
                    raise self.dies_of from None
                raise
            # Before the nursery ends: a cancellation from outside may meet it there.
            self._note("crash" if what == "crash" else "end")
            nursery.cancel_scope.cancel()
        if what == "crash":
            raise CrashError(self.name)

    async def _wait_for_stop(self, task_status: ChildStatus, scope: trio.CancelScope) -> None:
        await task_status.stop_requested.wait()
        scope.cancel()

    async def _next(self, wanted: set[str]) -> str:
        """Take the first of the wanted words out of the mail."""
        while True:
            for word in self.mail:
                if word in wanted:
                    self.mail.remove(word)
                    return word
            self.news = trio.Event()
            await self.news.wait()


def disorder(trace: list[str], siblings: str, *, is_group: bool) -> list[str]:
    """Return what in a trace is against the order of the children of one supervisor, given in starting order.

    `is_group`: with a child those after it are started again as well. Then none of them may run when it starts; and
    none may ever run when a child is stopped.
    """
    alive: set[str] = set()
    found = []
    for number, step in enumerate(trace):
        what, name = step.split()
        if name not in siblings:
            continue
        after = alive & set(siblings[siblings.index(name) + 1 :])
        if after and (what == "stop" or (what == "start" and is_group)):
            found.append(f"{number}: {step} while {', '.join(sorted(after))} ran")
        if what == "start":
            alive.add(name)
        else:
            alive.discard(name)
    return found + [f"{name} was left alive" for name in alive]
