"""What a live cell does with what arrives: decide, write down, send; and when it must not send any more."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns

import trio

from actors.cell import Cell
from actors.dispatcher import Intent
from daemon.link.refusals import unsent
from daemon.live.clock import MarketClock
from daemon.log import LogWriteError, RunLog
from daemon.metrics.edges import EdgeStats
from daemon.pacing import tick
from venues.port import CancelAll, Command, Message, Report, SubmitOrder

SLICE_INPUTS = 512
"""Inputs taken in one go: what else the process does waits for no more than these."""

Send = Callable[[Sequence[Command]], list[Report]]
"""Hands commands to a venue; returns what must be believed of those that could not be sent."""


class LiveCell:
    """Drives one cell: everything that arrives is offered, `pump` lets the cell act on it.

    A batch of intents is on the disk before the first of it is sent. Once a commit has failed, or the cell has
    halted, nothing is sent any more but cancels; `failed` is set and `why_failed` says why. `lease` returns why this
    process may not send orders just now, empty when it may. One thread: `pump` may be called from any trio task.
    """

    def __init__(
        self,
        cell: Cell,
        log: RunLog,
        clock: MarketClock,
        edges: EdgeStats,
        senders: Mapping[str, Send],
    ) -> None:
        self.cell = cell
        self.log = log
        self.clock = clock
        self.edges = edges
        self.failed = trio.Event()
        self.why_failed = ""
        self.synced_at = trio.current_time()
        self.lease: Callable[[], str] = str
        self.after_pump: list[Callable[[], None]] = []
        self._senders = senders
        self._is_pumping = False
        self._more = trio.Event()
        self._wakes = trio.Event()
        self._timer_ns: int | None = None

    def start(self, now: int, snapshot: dict[str, object] | None) -> None:
        """Begin afresh, or where a snapshot ends, and send what the actors want sent. Raises SnapshotError."""
        self._flush(now, self.cell.start(now, snapshot))
        self._settle()

    # Inputs

    def offer(self, *messages: Message) -> None:
        """Put inputs into their lanes, to be taken by the next pump."""
        for message in messages:
            self.cell.offer(message)

    def pump(self) -> None:
        """Let the cell take what waits and what is due, write down what it wants sent, and send it."""
        self.pump_at(self.clock.now(), is_timer_due=True)

    def pump_at(self, now: int, *, is_timer_due: bool) -> None:
        """Pump at a granted time; timers due then are left waiting unless `is_timer_due`."""
        if self._is_pumping:
            # Called from within: what was offered is taken by the pump under way, or by the next.
            self._more.set()
            return
        self._is_pumping = True
        try:
            self._pump(now, is_timer_due)
        except LogWriteError as error:
            self.edges.note_commit_failed()
            self.fail(f"the journal failed: {error}")
        except Exception as error:
            # Nobody knows what the cell is worth now: the next process begins from the journal.
            self.fail(f"{type(error).__name__}: {error}")
            raise
        finally:
            self._is_pumping = False
        self._settle()

    def _pump(self, now: int, is_timer_due: bool) -> None:
        cell = self.cell
        counters = cell.dispatcher.counters
        now = max(now, cell.dispatcher.now)
        # Nobody sets a timer between two pumps.
        if is_timer_due and self._timer_ns is not None and self._timer_ns <= now:
            cell.offer_due(now)
        began = perf_counter_ns()
        before = counters.inputs
        intents = cell.run(now, SLICE_INPUTS)
        spent, taken = perf_counter_ns() - began, counters.inputs - before
        self._flush(now, intents)
        self.edges.note_dispatch(spent, taken)
        if not cell.dispatcher.is_idle:
            self._more.set()

    def _flush(self, now: int, intents: Sequence[Intent]) -> None:
        if not intents:
            self.log.commit()
            return
        began = perf_counter_ns()
        self.log.intents(intents)
        self.log.commit()
        spent = perf_counter_ns() - began
        self._send(now, [intent.command for intent in intents])
        self.edges.note_commit(spent)

    def _send(self, now: int, commands: Sequence[Command]) -> None:
        """Send in order, in as few writes as the venues allow."""
        if self.why_failed:
            return
        why = self.lease()
        if len(commands) == 1 and not why:
            back = self._senders[commands[0].account](commands)
        else:
            back = self._send_all(now, commands, why)
        if back:
            self.offer(*back)
            self._more.set()

    def _send_all(self, now: int, commands: Sequence[Command], why: str) -> list[Report]:
        by_sender: dict[Send, list[Command]] = {}
        back: list[Report] = []
        for command in commands:
            if why and isinstance(command, SubmitOrder):
                back.append(unsent(command, now, f"not sent: {why}"))
            else:
                by_sender.setdefault(self._senders[command.account], []).append(command)
        for send, batch in by_sender.items():
            back += send(batch)
        return back

    def _settle(self) -> None:
        """Look at what a pump left: a halt, an earlier timer, and whoever wants to know."""
        halt = self.cell.halt
        if halt is not None:
            self.fail(f"halted at input {halt.seq}: {halt.why}")
        timer_ns = self.cell.next_timer()
        if timer_ns != self._timer_ns:
            self._timer_ns = timer_ns
            self._wakes.set()
        for listener in self.after_pump:
            listener()

    def fail(self, why: str) -> None:
        """Stop for good: cancel everything past the journal, which cannot be written or must not go on."""
        if self.why_failed:
            return
        self.why_failed = why
        now = self.clock.now()
        for account, send in self._senders.items():
            send([CancelAll(now, account)])
        self.failed.set()

    # Time

    async def run_timers(self) -> None:
        """Pump when a timer is due, and go on with what a pump has left over. Granted time needs no timers."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._go_on)
            while True:
                self._wakes = trio.Event()
                wait_s = 3_600.0 if self._timer_ns is None else self.clock.seconds_until(self._timer_ns)
                with trio.move_on_after(wait_s):
                    await self._wakes.wait()
                if self._is_due():
                    self.pump()

    def _is_due(self) -> bool:
        return not self.clock.is_granted and self._timer_ns is not None and self._timer_ns <= self.clock.now()

    async def _go_on(self) -> None:
        while True:
            await self._more.wait()
            self._more = trio.Event()
            self.pump()
            # Between two slices everybody else has a turn.
            await trio.lowlevel.checkpoint()

    async def sync_log(self) -> None:
        """Bring market inputs to the disk each second, however quiet the market is."""
        while True:
            await tick(1.0)
            try:
                self.log.sync()
            except LogWriteError as error:
                self.fail(f"the journal failed: {error}")
                self._settle()
                return
            self.synced_at = trio.current_time()
