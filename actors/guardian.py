"""Decides what is stopped when nobody else can: the latched kill level, the watch over the desk, who flattens.

The latch rises by itself and is lowered only by a person with a reason, while the desk is alive, no flattening is under
way and, from CANCEL_ALL on, every account is proven to have no open order. Raising never waits for anything; what is
lowered counts once it is written down.
"""

from collections.abc import Mapping

from actors.base import handles
from actors.control import Baselines, DeskBye, DeskHello, GuardState, Heartbeat
from actors.flatten_plan import FlattenPlan
from actors.guardian_flatten import LOOK, ROUND, Flattener
from actors.guardian_messages import (
    ArmRefused,
    Charge,
    DeskGone,
    DeskKill,
    Fence,
    Fenced,
    JournalFailed,
    Latched,
    LatchWritten,
    MarketPace,
    PanicCommand,
    Targets,
)
from actors.guardian_records import UNDER_WAY, Course, Desk, Flattening, GuardConfig, Remembered
from actors.guardian_venues import CANCEL, INQUIRE, ORDERS
from actors.messages import MARKET_CHANNEL, ArmCommand, KillCommand, KillLevel
from venues.model.account import Account
from venues.model.instrument import Instrument
from venues.port import ArmDeadMan, QueryFailed, QueryResult, VenueDown, VenueUp

HEARTBEAT = "heartbeat"
_ACK = "ack"
_PATIENCE = "patience"
_FENCE = "fence"
_DEAD_MAN = "dead_man"
_DEAD_MAN_SHARE = 3
"""A venue's timer is set anew when a third of it has run."""

_SAID = {
    Course.IDLE: "",
    Course.ASKED: "the desk is told to flatten",
    Course.DESK: "the desk flattens",
    Course.CHECK: "the desk says it is flat",
    Course.FENCE: "the guard takes over: {}",
    Course.OWN: "the guard flattens: {}",
    Course.FLAT: "flat",
}


class Guardian(Flattener):
    """The guard. `accounts` gives modes and the balances from before the desk's first trade."""

    publishes = (GuardState, KillCommand, ArmRefused, Latched, Charge, Targets, Fence)

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, Account],
        config: GuardConfig,
        remembered: Remembered,
        name: str = "guardian",
    ) -> None:
        super().__init__(instruments, accounts, config, remembered, name)
        state = self.state
        state.level, state.trigger, state.why = remembered.level, remembered.trigger, remembered.why
        state.is_in_charge, state.distrust = remembered.is_in_charge, remembered.distrust
        state.baselines = {account: dict(held) for account, held in remembered.baselines.items()}
        if remembered.is_in_charge:
            state.flattening.targets = {account: dict(held) for account, held in remembered.targets.items()}
        state.desk.pid = remembered.awaited_pid

    def start(self, now: int) -> None:
        """Go on where the last process stopped; a desk it watched gets the time of one missed heartbeat to come back.

        In charge, it flattens on at once. At FLATTEN otherwise the desk may be at it: that is waited for as well.
        """
        state = self.state
        state.desk.heard_ns = now
        if state.level >= KillLevel.CANCEL_ALL:
            self._cancel_all(now)
        if state.is_in_charge:
            self._take_over(now, "it was in charge when it ended", is_fenced=self.remembered.is_fenced)
        elif state.desk.pid is not None or state.level >= KillLevel.FLATTEN:
            self.out.timer(HEARTBEAT, now + self.config.heartbeat_timeout_ns)

    def on_timer(self, now: int, key: str) -> None:
        if key.startswith(INQUIRE):
            self._inquiry_due(now, key.removeprefix(INQUIRE))
            return
        {
            HEARTBEAT: self._silence,
            CANCEL: self._cancel_again,
            LOOK: self._look_late,
            ROUND: self._round_due,
            ORDERS: self._orders_late,
            _ACK: self._no_ack,
            _PATIENCE: self._no_patience,
            _FENCE: self._not_fenced,
            _DEAD_MAN: self._refresh_dead_man,
        }[key](now)

    # The latch

    def _raise(self, now: int, level: KillLevel, trigger: str, operator: str, why: str) -> None:
        """Bring the latch to at least `level` and cancel if it says so, again if it was there already."""
        state = self.state
        if level > state.level:
            self.out.emit(Latched(now, level, state.level, trigger, operator, why))
            state.level, state.trigger, state.why = level, trigger, why
            state.lowering = None
        if level >= KillLevel.CANCEL_ALL:
            self._cancel_all(now)
        self._say(now)

    def _say(self, now: int) -> None:
        state = self.state
        said = _SAID[state.flattening.course].format(state.flattening.why)
        why = "; ".join(part for part in (state.why, said) if part)
        left = None if state.dead_man_ns is None else max(0, state.dead_man_ns - now)
        self.out.emit(GuardState(now, state.desk.number, state.level, state.trigger, why, state.is_in_charge, left))

    @handles(KillCommand)
    def on_kill(self, now: int, command: KillCommand) -> None:
        """A person at the guard's own socket. The desk hears of it, and what is asked of it."""
        if command.level > KillLevel.ARMED:
            self.out.emit(command)
            self._raise(now, command.level, "operator", command.operator, command.reason)
            self._flatten(now, command.level, command.reason)

    @handles(PanicCommand)
    def on_panic(self, now: int, command: PanicCommand) -> None:
        why = f"panic: {command.reason}"
        self.out.emit(KillCommand(now, command.operator, KillLevel.FLATTEN, why))
        self._raise(now, KillLevel.FLATTEN, "panic", command.operator, command.reason)
        if self.state.flattening.course not in {Course.FENCE, Course.OWN}:
            self._begin(now, why)
            self._take_over(now, why)

    @handles(DeskKill)
    def on_desk_kill(self, now: int, kill: DeskKill) -> None:
        if kill.level > KillLevel.ARMED:
            self._raise(now, kill.level, "desk", kill.operator, kill.reason)
            self._flatten(now, kill.level, kill.reason)

    @handles(ArmCommand)
    def on_arm(self, now: int, command: ArmCommand) -> None:
        state = self.state
        obstacles = self._obstacles(now)
        if not command.operator.strip() or not command.reason.strip():
            obstacles.insert(0, "arming needs an operator and a reason")
        if obstacles:
            self.out.emit(ArmRefused(now, command.operator, "; ".join(obstacles)))
        elif state.level is KillLevel.ARMED:
            self._say(now)
        else:
            state.lowering = Latched(now, KillLevel.ARMED, state.level, "operator", command.operator, command.reason)
            self.out.emit(state.lowering)

    def _obstacles(self, now: int) -> list[str]:
        state, desk = self.state, self.state.desk
        found = []
        if state.distrust:
            found.append(f"the guard's journal: {state.distrust}")
        if not desk.is_fresh:
            found.append("the desk sends no heartbeats" if desk.is_connected else "no desk is connected")
        if state.flattening.course in UNDER_WAY:
            found.append(f"a flattening is under way ({state.flattening.course})")
        elif state.is_in_charge:
            found.append("the desk has not yet reconciled what the guard traded")
        if state.level >= KillLevel.CANCEL_ALL:
            for account in self._unconfirmed():
                why = state.cancels.why.get(account, "the venue has not answered")
                found.append(f"the orders of {account} are not proven cancelled: {why}")
        return found

    @handles(LatchWritten)
    def on_written(self, now: int, written: LatchWritten) -> None:
        """What was raised meanwhile is not lowered by an older decision."""
        state, lowering = self.state, self.state.lowering
        if lowering is None or lowering.level is not written.level:
            return
        state.lowering = None
        state.level, state.trigger, state.why = lowering.level, lowering.trigger, lowering.reason
        state.flattening = Flattening()
        self.out.cancel_timer(CANCEL)
        self.out.cancel_timer(ROUND)
        self._say(now)

    @handles(JournalFailed)
    def on_journal_failed(self, now: int, failed: JournalFailed) -> None:
        """A latch that would not be there after a restart is no licence to trade."""
        state = self.state
        is_news, state.distrust = not state.distrust, state.distrust or failed.why
        if state.lowering is not None:
            self.out.emit(ArmRefused(now, state.lowering.operator, f"the guard's journal: {failed.why}"))
            state.lowering = None
        if is_news:
            self._raise(now, KillLevel.CANCEL_ALL, "journal", "", failed.why)

    # The desk

    @handles(DeskHello)
    def on_hello(self, now: int, hello: DeskHello) -> None:
        state = self.state
        state.desk = Desk(hello.pid, hello.run, is_connected=True, is_silent=False, heard_ns=now)
        self.out.timer(HEARTBEAT, now + self.config.heartbeat_timeout_ns)
        self._say(now)
        self._refresh_dead_man(now)
        if state.level >= KillLevel.FLATTEN and state.flattening.course is Course.IDLE:
            self.out.emit(KillCommand(now, state.trigger, KillLevel.FLATTEN, state.why))
            self._flatten(now, state.level, state.why)

    @handles(Heartbeat)
    def on_heartbeat(self, now: int, beat: Heartbeat) -> None:
        state, desk = self.state, self.state.desk
        if not desk.is_connected:
            return
        was_silent, before = desk.is_silent, desk.level
        desk.heard_ns, desk.is_silent, desk.number = now, False, beat.number
        desk.level, desk.is_reconciled, desk.open_baskets = beat.level, beat.is_reconciled, beat.open_baskets
        self.out.timer(HEARTBEAT, now + self.config.heartbeat_timeout_ns)
        if was_silent:
            # What it sent before it stood still may only now have come to a venue.
            if state.level >= KillLevel.CANCEL_ALL:
                self._cancel_all(now)
            self._refresh_dead_man(now)
        # Only a rise counts: after arming the desk still shows the old level for a moment.
        if beat.level > state.level and (before is None or beat.level > before):
            self._raise(now, beat.level, "desk", "", "the desk's kill switch is at this level")
            self._flatten(now, beat.level, "the desk's kill switch says so")
        self._follow_desk(now)
        if state.is_in_charge and state.flattening.course is Course.FLAT and beat.is_reconciled:
            self._give_back(now)
        self._say(now)

    @handles(DeskBye)
    def on_bye(self, now: int, bye: DeskBye) -> None:
        self._leave(now, f"the desk left: {bye.why}")
        self.out.cancel_timer(HEARTBEAT)
        self.out.cancel_timer(_DEAD_MAN)
        self._arm_dead_man(now, 0)

    @handles(DeskGone)
    def on_gone(self, now: int, gone: DeskGone) -> None:
        if self.state.desk.is_connected:
            self.state.desk.is_connected = False
            self._without_desk(now, f"the desk is gone: {gone.why}")

    def _leave(self, now: int, why: str) -> None:
        desk = self.state.desk
        desk.pid, desk.is_connected, desk.is_silent = None, False, True
        self._without_desk(now, why)

    def _without_desk(self, now: int, why: str) -> None:
        if self.state.flattening.course in {Course.ASKED, Course.DESK}:
            self._take_over(now, why)

    def _silence(self, now: int) -> None:
        """The heartbeat is overdue."""
        state, desk = self.state, self.state.desk
        desk.is_silent = True
        self.out.cancel_timer(_DEAD_MAN)
        why = f"no heartbeat for {(now - desk.heard_ns) / 1e9:.1f} s"
        if desk.pid is not None:
            self._raise(now, KillLevel.CANCEL_ALL, HEARTBEAT, "", why)
        if state.level >= KillLevel.FLATTEN and state.flattening.course in {Course.IDLE, Course.ASKED, Course.DESK}:
            self._take_over(now, why)

    @handles(Baselines)
    def on_baselines(self, now: int, baselines: Baselines) -> None:
        if baselines.account in self.accounts:
            self.state.baselines[baselines.account] = dict(baselines.balances)

    # Flattening

    def _flatten(self, now: int, level: KillLevel, why: str) -> None:
        """Begin a flattening where `level` asks for one: by the desk if it is there, for it knows its baskets."""
        if level < KillLevel.FLATTEN or self.state.flattening.course in UNDER_WAY:
            return
        self._begin(now, why)
        if self.state.is_in_charge:
            self._take_over(now, why, is_fenced=True)
        elif not self.state.desk.is_fresh:
            self._take_over(now, "no desk is there")
        else:
            self.out.timer(_ACK, now + self.config.ack_ns)
            self.out.timer(_PATIENCE, now + self.config.flatten_patience_ns)
            self._say(now)

    def _begin(self, now: int, why: str) -> None:
        """Start afresh; while in charge the balances chosen once still hold."""
        targets = self.state.flattening.targets if self.state.is_in_charge else {}
        self.state.flattening = Flattening(Course.ASKED, now, why, targets=targets)

    def _follow_desk(self, now: int) -> None:
        """Take the desk's word that it flattens, and check it when it says that it is done."""
        flattening, desk = self.state.flattening, self.state.desk
        if flattening.course is Course.ASKED and desk.level is KillLevel.FLATTEN:
            flattening.course = Course.DESK
            self.out.cancel_timer(_ACK)
        if flattening.course is Course.CHECK and desk.open_baskets:
            flattening.course = Course.DESK
            flattening.look = None
        elif flattening.course is Course.DESK and not desk.open_baskets:
            flattening.course = Course.CHECK
            self._look(now)

    def _no_ack(self, now: int) -> None:
        if self.state.flattening.course is Course.ASKED:
            self._take_over(now, f"the desk did not answer within {self.config.ack_ns / 1e6:g} ms")

    def _no_patience(self, now: int) -> None:
        if self.state.flattening.course in {Course.ASKED, Course.DESK}:
            open_, patience = self.state.desk.open_baskets, self.config.flatten_patience_ns / 1e9
            self._take_over(now, f"the desk has {open_} baskets open after {patience:g} s")

    def _judge_desk(self, now: int, made: FlattenPlan, *, is_complete: bool) -> None:
        """A desk that is alive is ended only for what is more than the rests its baskets leave."""
        if not is_complete:
            self._rest(now)
        elif self._is_dust_to_a_desk(made):
            self._is_flat(now)
        else:
            self._take_over(now, f"the desk said it was done: {'; '.join(self.state.flattening.left)}")

    def _take_over(self, now: int, why: str, *, is_fenced: bool = False) -> None:
        """Take the book over: say so, end the desk's process unless it already obeys, then flatten."""
        state, flattening = self.state, self.state.flattening
        flattening.course, flattening.why, flattening.look = Course.FENCE, why, None
        for key in (_ACK, _PATIENCE, ROUND, LOOK):
            self.out.cancel_timer(key)
        state.is_in_charge = True
        self.out.emit(Charge(now, True, why))
        self._cancel_all(now)
        self._say(now)
        if state.desk.pid is None or is_fenced:
            self._begin_rounds(now)
        else:
            self.out.emit(Fence(now, state.desk.pid, why))
            self.out.timer(_FENCE, now + self.config.fence_ns)

    @handles(Fenced)
    def on_fenced(self, now: int, fenced: Fenced) -> None:
        state = self.state
        if fenced.is_dead and fenced.pid == state.desk.pid:
            self._leave(now, "")
        if state.flattening.course is Course.FENCE:
            self.out.cancel_timer(_FENCE)
            if not fenced.is_dead:
                state.flattening.why += f"; the desk's process {fenced.pid} is not ended: {fenced.why}"
            self._begin_rounds(now)

    def _not_fenced(self, now: int) -> None:
        if self.state.flattening.course is Course.FENCE:
            self.state.flattening.why += "; the desk's process may still be there"
            self._begin_rounds(now)

    def _is_flat(self, now: int) -> None:
        state, flattening = self.state, self.state.flattening
        is_news, flattening.course = flattening.course is not Course.FLAT, Course.FLAT
        if is_news:
            self._say(now)
        if state.is_in_charge:
            # An order that was on its way when the desk ended may still arrive.
            self.out.timer(ROUND, now + self.config.watch_ns)

    def _is_not_flat(self, now: int) -> None:
        self.state.flattening.course = Course.OWN
        self._say(now)

    def _give_back(self, now: int) -> None:
        """The desk knows what the guard traded: the book is its own again, at the level of the latch."""
        self.state.is_in_charge = False
        self.out.cancel_timer(ROUND)
        self.out.emit(Charge(now, False, "the desk has reconciled"))

    # Venues

    @handles(QueryResult)
    def on_result(self, now: int, result: QueryResult) -> None:
        look, working = self.state.flattening.look, self._inquirer(result.query_id)
        if result.query_id in self.state.cancels.asked:
            self._on_open_orders(now, result)
        elif working is not None:
            self._on_order_answer(now, working, result)
        elif look is not None and result.query_id in look.asked:
            self._seen(now, result)

    @handles(QueryFailed)
    def on_failed(self, now: int, failed: QueryFailed) -> None:
        """No answer proves nothing: what was asked for stays unproven."""
        cancels, look = self.state.cancels, self.state.flattening.look
        working = self._inquirer(failed.query_id)
        account = cancels.asked.pop(failed.query_id, None)
        if account is not None:
            cancels.why[account] = failed.why
        elif working is not None and working.inquiry is not None:
            working.inquiry.fail(now, failed.query_id, self.config.pace)
            self._wait_for(working.order, working.inquiry)
        elif look is not None and failed.query_id in look.asked:
            self._unseen(now, failed.query_id, failed.why)

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        """What was asked of a dead connection may never have arrived."""
        if up.channel == MARKET_CHANNEL:
            return
        accounts = self._at(up.venue)
        if self.state.level >= KillLevel.CANCEL_ALL and accounts:
            self._cancel_all(now, accounts)
        self._refresh_dead_man(now)
        self._venue_back(now, accounts)
        flattening = self.state.flattening
        if flattening.course in {Course.OWN, Course.CHECK} and flattening.look is None and not flattening.working:
            self._look(now)

    @handles(VenueDown)
    def on_down(self, now: int, down: VenueDown) -> None:
        look = self.state.flattening.look
        if down.channel == MARKET_CHANNEL or look is None:
            return
        accounts = self._at(down.venue)
        for query_id, (name, _) in list(look.asked.items()):
            spec = self.instruments.get(name)
            is_lost = name in accounts or (spec is not None and spec.venue == down.venue)
            # The last answer of a look may begin another question, or another look.
            if is_lost and query_id in look.asked:
                self._unseen(now, query_id, f"{down.venue} is down: {down.why}")

    # The venues' own timers

    @handles(MarketPace)
    def on_pace(self, now: int, pace: MarketPace) -> None:
        self.state.pace = (pace.numerator, pace.denominator)
        self._refresh_dead_man(now)

    def _refresh_dead_man(self, now: int) -> None:
        """Set the venues' timers while the desk is alive; let them run out when it is not."""
        numerator, denominator = self.state.pace
        timeout_ns = self.config.dead_man_ns * numerator // denominator
        if not timeout_ns or not self.state.desk.is_fresh:
            return
        self._arm_dead_man(now, timeout_ns)
        self.out.timer(_DEAD_MAN, now + self.config.dead_man_ns // _DEAD_MAN_SHARE)

    def _arm_dead_man(self, now: int, timeout_ns: int) -> None:
        if not self.config.dead_man_ns or not self.state.pace[0]:
            return
        self.state.dead_man_ns = now + self.config.dead_man_ns if timeout_ns else None
        for account in self.accounts.values():
            if account.venue in self.config.without_dead_man:
                continue
            for spec in self.instruments.values():
                if spec.venue == account.venue and not spec.is_spot:
                    self.out.send(ArmDeadMan(now, account.id, spec.id, timeout_ns))
