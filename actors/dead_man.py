"""Decides when the venues' own dead-man timers are set, and what is believed of orders once one has run out.

An order that can rest leaves only when the venue has confirmed that it cancels by itself unless told otherwise.
The guard sets the timers of a desk that is alive; this actor sets those that the guard does not, as in a backtest, and
those that it let run out: whoever tells the venue last counts, and a desk that hangs tells it nothing. After a timer
has run out, every order of it is UNKNOWN until asked for, and it is set anew. Nothing here disarms: that nothing rests
at the end is proven by cancels, not believed of a timer.
"""

from collections.abc import Mapping
from typing import Final

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.config_checks import positive
from actors.dead_man_words import DeadManLapsed, DeadManState, DeadManWanted, key_of
from actors.messages import MARKET_CHANNEL
from venues.model.instrument import Instrument
from venues.port import ArmDeadMan, DeadManArmed, OutcomeUnknown, VenueUp

_SHARE: Final = 3
"""A timer is set anew when a third of it has run."""

FOREVER: Final = 2**63 - 1


@frozen
class DeadManConfig:
    """`timeout_ns` is how long a venue waits before it cancels by itself, set anew when a third has run.

    Its confirmation is waited for `ack_ns`. `without` names the venues that have no such timer: there orders may rest
    with nobody to cancel them but desk and guard. At every other venue none rests before the timer is confirmed.
    """

    timeout_ns: int = field(default=60_000_000_000, validator=positive)
    ack_ns: int = field(default=5_000_000_000, validator=positive)
    without: tuple[str, ...] = field(default=(), metadata={"ref": "venue"})

    def __attrs_post_init__(self) -> None:
        if self.ack_ns * 2 > self.timeout_ns:
            raise ValueError(f"ack_ns: {self.ack_ns} leaves no second attempt before {self.timeout_ns} have run")


@define
class Timer:
    """One timer of a venue. `until_ns` is when it runs out by our clock, 0 when it is not known to run.

    `sent_ns` is when the setting that is not confirmed was sent, `next_ns` when it is to be set anew. Only what an
    order ever waited for (`is_wanted`) is set by us.
    """

    account: str
    instrument: str
    until_ns: int = 0
    timeout_ns: int = 0
    sent_ns: int | None = None
    next_ns: int = 0
    is_wanted: bool = False


@define
class DeadManKeeperState:
    """`timers` by `key_of`."""

    timers: dict[str, Timer] = field(factory=dict)


class DeadManKeeper(Actor):
    """`accounts` gives each account's venue."""

    publishes = (DeadManState, DeadManLapsed)
    sends = (ArmDeadMan,)
    state: DeadManKeeperState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, str],
        config: DeadManConfig | None = None,
        name: str = "",
    ) -> None:
        super().__init__(name)
        self.instruments = dict(instruments)
        self.accounts = dict(accounts)
        self.config = config or DeadManConfig()
        self.state = DeadManKeeperState()

    def remaining_ns(self, now: int, account: str) -> int | None:
        """Return how long the account's orders are covered yet: by the first of its timers; None without one."""
        left = [
            timer.until_ns - now
            for timer in self.state.timers.values()
            if timer.account == account and (timer.until_ns or timer.is_wanted)
        ]
        return max(0, min(left)) if left else None

    # What is wanted

    @handles(DeadManWanted)
    def on_wanted(self, now: int, wanted: DeadManWanted) -> None:
        spec, venue = self.instruments.get(wanted.instrument), self.accounts.get(wanted.account)
        if spec is None or venue != spec.venue:
            why = f"{wanted.account} cannot trade {wanted.instrument}"
            self.out.emit(DeadManState(now, wanted.account, wanted.instrument, 0, why))
        elif venue in self.config.without:
            self.out.emit(DeadManState(now, wanted.account, wanted.instrument, FOREVER))
        else:
            self._want(now, self._timer(wanted.account, wanted.instrument))

    def _want(self, now: int, timer: Timer) -> None:
        is_news, timer.is_wanted = not timer.is_wanted, True
        if timer.until_ns > now:
            self._say(now, timer)
            if is_news:
                timer.next_ns = min(timer.next_ns, now + timer.timeout_ns // _SHARE)
                self._look_again(timer)
        elif timer.sent_ns is None:
            self._set(now, timer)

    def _timer(self, account: str, instrument: str) -> Timer:
        return self.state.timers.setdefault(key_of(account, instrument), Timer(account, instrument))

    def _set(self, now: int, timer: Timer) -> None:
        # As long as the guard sets it, if that is longer: it knows how fast the venue's time runs.
        timeout_ns = max(self.config.timeout_ns, timer.timeout_ns)
        self.out.send(ArmDeadMan(now, timer.account, timer.instrument, timeout_ns))
        timer.sent_ns = now
        self._look_again(timer)

    def _say(self, now: int, timer: Timer, why: str = "") -> None:
        self.out.emit(DeadManState(now, timer.account, timer.instrument, timer.until_ns, why))

    # What the venue says

    @handles(DeadManArmed)
    def on_armed(self, now: int, armed: DeadManArmed) -> None:
        """Somebody set it: we, or the guard. A timer of a desk in the future of the venue's clock runs from now."""
        if self.accounts.get(armed.account) is None or armed.instrument not in self.instruments:
            return
        timer = self._timer(armed.account, armed.instrument)
        timer.sent_ns = None
        if armed.timeout_ns <= 0:
            timer.until_ns = 0
            self._say(now, timer)
            if timer.is_wanted:
                self._set(now, timer)
            return
        timer.timeout_ns = armed.timeout_ns
        timer.until_ns = min(armed.ts, now) + armed.timeout_ns
        timer.next_ns = now + armed.timeout_ns // _SHARE
        self._say(now, timer)
        self._look_again(timer)

    @handles(OutcomeUnknown)
    def on_unknown(self, now: int, unknown: OutcomeUnknown) -> None:
        timer = self.state.timers.get(key_of(unknown.account, unknown.instrument))
        if unknown.command == ArmDeadMan.__name__ and timer is not None and timer.sent_ns is not None:
            self._fail(now, timer, unknown.why)

    def _fail(self, now: int, timer: Timer, why: str) -> None:
        timer.sent_ns = None
        timer.next_ns = now + self.config.ack_ns
        self._say(now, timer, why or "not confirmed")
        self._look_again(timer)

    @handles(VenueUp)
    def on_up(self, now: int, up: VenueUp) -> None:
        """What was sent into a dead connection may never have arrived."""
        if up.channel == MARKET_CHANNEL:
            return
        for timer in self.state.timers.values():
            if timer.is_wanted and self.accounts.get(timer.account) == up.venue:
                self._set(now, timer)

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        for timer in self.state.timers.values():
            timer.next_ns = min(timer.next_ns, now)
            self._look_again(timer)

    # Time

    def _look_again(self, timer: Timer) -> None:
        moments = [timer.until_ns] if timer.until_ns else []
        if timer.sent_ns is not None:
            moments.append(timer.sent_ns + self.config.ack_ns)
        elif timer.is_wanted:
            moments.append(timer.next_ns)
        if moments:
            self.out.timer(key_of(timer.account, timer.instrument), min(moments))

    def on_timer(self, now: int, key: str) -> None:
        timer = self.state.timers[key]
        if timer.until_ns and timer.until_ns <= now:
            self._lapse(now, timer)
        if timer.sent_ns is not None and now >= timer.sent_ns + self.config.ack_ns:
            self._fail(now, timer, f"no answer within {self.config.ack_ns / 1e9:g} s")
        elif timer.sent_ns is None and timer.is_wanted and now >= timer.next_ns:
            self._set(now, timer)
        self._look_again(timer)

    def _lapse(self, now: int, timer: Timer) -> None:
        timer.until_ns, timer.next_ns = 0, now
        if timer.is_wanted:
            # Of what only the guard set nothing ever rested.
            self.out.emit(DeadManLapsed(now, timer.account, timer.instrument))
        self._say(now, timer)
