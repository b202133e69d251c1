"""What went through a tortured cell, and what was wrong at the moment it did: the observers of a run."""

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from attrs import define, field

from actors.base import Actor, handles
from actors.cell import Cell, CellRestarted
from actors.control import GuardStatus
from actors.feed_handler import FeedHandler
from actors.funding_messages import FundingPaid
from actors.guards.findings import GuardReason
from actors.messages import (
    BasketIntent,
    BasketState,
    BasketUpdate,
    CancelRequest,
    FillEvent,
    Incident,
    KillCommand,
    KillLevel,
    KillState,
    KillTrigger,
    MarginState,
    OrderApproved,
    OrderDenied,
    OrderRequest,
    OrderUpdate,
    PositionMismatch,
    PreflightReply,
    Reconciled,
    ResumeCommand,
    RoundTrip,
    StopCommand,
)
from actors.risk_checks import Reason
from actors.risk_gate import RiskGate
from actors.sync_messages import WalletMoved
from daemon.torture.baskets import BasketChecks, moved
from daemon.torture.limits import LimitsCount
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import OrderStatus, OrderType, TimeInForce
from venues.port import MESSAGES, Message

_KEPT_MAX = 3_000


@define
class NoState:
    """An observer has none that counts."""


@define
class Notes:
    """What a desk did as far as it is committed: it outlives deaths and rebuilds, so fills are counted once by id.

    `seen` is everything where a test wants to look (`keeps_all`), `ended` how baskets ended, `kinds` the incidents and
    `triggers` the kills by kind, `reasons` why orders and baskets were refused. `sums` are signed quantities of unique
    fills by account and instrument, `cash` what fills, fees, funding and transfers moved by account and asset. `live`
    are client ids that may still fill, `asked` the kill level that somebody wants and does not have yet, `complaints`
    all alarms. `wrong` is what must not be; `listeners` hear every message once it is committed.
    """

    specs: Mapping[str, Instrument]
    fills: dict[str, FillEvent] = field(factory=dict)
    sums: dict[str, Decimal] = field(factory=dict)
    cash: dict[str, Decimal] = field(factory=dict)
    seen: list[Message] = field(factory=list)
    kill: KillLevel = KillLevel.ARMED
    reconciled: dict[str, int] = field(factory=dict)
    unknown: dict[str, int] = field(factory=dict)
    wrong: list[str] = field(factory=list)
    orders: int = 0
    ended: Counter[str] = field(factory=Counter)
    told: set[str] = field(factory=set)
    complaints: int = 0
    kinds: Counter[str] = field(factory=Counter)
    triggers: Counter[str] = field(factory=Counter)
    reasons: Counter[str] = field(factory=Counter)
    is_changed: bool = False
    keeps_all: bool = False
    staged: list[Message] = field(factory=list)
    live: set[str] = field(factory=set)
    asked: KillLevel = KillLevel.ARMED
    listeners: list[Callable[[Message], None]] = field(factory=list)

    def of(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.seen if isinstance(message, kind)]

    def incidents(self) -> Counter[str]:
        return self.kinds

    def commit(self) -> None:
        """What was staged has come to stay."""
        for message in self.staged:
            take = _TAKES.get(type(message))
            if take is not None:
                take(self, message)
            for listen in self.listeners:
                listen(message)
            if self.keeps_all:
                self.seen.append(message)
        if self.staged:
            self.is_changed = True
            self.staged.clear()
        if self.asked > self.kill:
            self.wrong.append(f"I4: {self.asked.name} was asked for and the level is {self.kill.name}")
            self.asked = KillLevel.ARMED

    def _fill(self, event: FillEvent) -> None:
        fill = event.fill
        key = f"{fill.account}|{fill.instrument}|{fill.trade_id}|{fill.side}"
        known = self.fills.setdefault(key, event)
        if known is not event:
            self.wrong.append(f"I1: fill {key} booked twice: {known} and {event}")
            return
        place = f"{fill.account}|{fill.instrument}"
        signed = fill.side.sign * fill.qty
        spec = self.specs[fill.instrument]
        self.sums[place] = self.sums.get(place, ZERO) + moved(fill, spec)
        self._move(fill.account, spec.quote, -signed * spec.multiplier * fill.price)
        self._move(fill.account, fill.fee_asset, -fill.fee)
        if spec.is_spot:
            self._move(fill.account, spec.base, signed * spec.multiplier)

    def _busted(self, bust: Any) -> None:
        """A fill that was taken back never was."""
        fill = bust.fill
        place = f"{fill.account}|{fill.instrument}"
        signed = fill.side.sign * fill.qty
        spec = self.specs[fill.instrument]
        self.sums[place] = self.sums.get(place, ZERO) - moved(fill, spec)
        self._move(fill.account, spec.quote, signed * spec.multiplier * fill.price)
        self._move(fill.account, fill.fee_asset, fill.fee)
        if spec.is_spot:
            self._move(fill.account, spec.base, -signed * spec.multiplier)

    def _paid(self, paid: FundingPaid | WalletMoved) -> None:
        self._move(paid.account, paid.asset, paid.amount)

    def _move(self, account: str, asset: str, amount: Decimal) -> None:
        place = f"{account}|{asset}"
        self.cash[place] = self.cash.get(place, ZERO) + amount

    def _incident(self, incident: Incident) -> None:
        self.kinds[incident.kind] += 1
        self.complaints += 1
        if incident.basket_id:
            self.told.add(incident.basket_id)
        if incident.kind == "basket_broken" and (incident.cost is None or not incident.text):
            self.wrong.append(f"I7: the incident of {incident.basket_id} names no cause or no cost: {incident}")

    def _trigger(self, trigger: KillTrigger) -> None:
        self.triggers[trigger.trigger] += 1
        self.complaints += 1
        self.asked = max(self.asked, trigger.level)

    def _command(self, command: KillCommand) -> None:
        self.asked = max(self.asked, command.level)

    def _kill(self, state: KillState) -> None:
        self.kill = state.level
        if state.level is KillLevel.ARMED or state.level >= self.asked:
            self.asked = KillLevel.ARMED
        if state.level is not KillLevel.ARMED:
            self.triggers[f"kill/{state.trigger}"] += 1
            self.complaints += 1

    def _basket(self, update: BasketUpdate) -> None:
        if update.closes is None and update.state is BasketState.WORKING:
            self.ended["opened"] += 1
        if update.state in (BasketState.BALANCED, BasketState.FLAT, BasketState.BROKEN, BasketState.DENIED):
            self.ended[update.state] += 1
        if update.state is BasketState.DENIED:
            self.reasons[f"basket/{update.why.partition(':')[0]}"] += 1

    def _denied(self, denied: OrderDenied) -> None:
        for reason in denied.reasons:
            self.reasons[f"order/{reason.partition(':')[0]}"] += 1

    def _preflight(self, reply: PreflightReply) -> None:
        for reason in reply.reasons:
            self.reasons[f"preflight/{reply.checker}/{_bare(reason)}"] += 1

    def _order(self, update: OrderUpdate) -> None:
        if update.is_final:
            self.live.discard(update.client_order_id)
        else:
            self.live.add(update.client_order_id)
        if update.status is OrderStatus.UNKNOWN:
            self.unknown.setdefault(update.client_order_id, update.ts)
        elif update.client_order_id in self.unknown:
            del self.unknown[update.client_order_id]

    def _reconciled(self, message: Reconciled) -> None:
        self.reconciled[message.account] = message.ts


def _bare(reason: str) -> str:
    """Return the rule's own name from `instrument: rule: figures`; the instrument where there is none."""
    parts = [part.strip() for part in reason.split(": ")]
    return next((part for part in parts if part in _RULES), "other")


_RULES = frozenset(str(reason) for reason in (*Reason, *GuardReason))
_TAKES: dict[type[Message], Callable[[Notes, Any], None]] = {
    FillEvent: Notes._fill,
    FundingPaid: Notes._paid,
    WalletMoved: Notes._paid,
    Incident: Notes._incident,
    KillTrigger: Notes._trigger,
    KillState: Notes._kill,
    KillCommand: Notes._command,
    BasketUpdate: Notes._basket,
    OrderDenied: Notes._denied,
    PreflightReply: Notes._preflight,
    OrderUpdate: Notes._order,
    Reconciled: Notes._reconciled,
}


# A desk whose ledger takes fills back says so; what it is called is all that is known of it here.
BUSTS = tuple(kind for name, kind in MESSAGES.items() if name == "FillBusted")
_TAKES.update(dict.fromkeys(BUSTS, Notes._busted))


class Watch(Actor):
    """Hears everything that matters after everybody else; judges orders at the moment they are approved.

    Asleep until it is woken, by `wake` or by the end of a rebuild: what a rebuild repeats was heard the first time.
    """

    def __init__(self, notes: Notes, limits: LimitsCount, baskets: BasketChecks, cell: Callable[[], Cell]) -> None:
        super().__init__("watch")
        self.baskets = baskets
        self.is_stopping = False
        self.state = NoState()
        self.notes = notes
        self.limits = limits
        self.cell = cell
        self.is_awake = False
        self._requests: dict[str, KillLevel] = {}
        self._kill = notes.kill

    def wake(self) -> None:
        self.is_awake = True
        self._kill = self.cell().dispatcher.actors["kill_switch"].state.level

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        self.is_awake = True
        self._kill = self.notes.kill

    @handles(
        BasketIntent,
        BasketUpdate,
        Incident,
        KillCommand,
        KillTrigger,
        MarginState,
        OrderDenied,
        PositionMismatch,
        PreflightReply,
        Reconciled,
        RoundTrip,
        FundingPaid,
        WalletMoved,
        GuardStatus,
    )
    def on_any(self, now: int, message: Message) -> None:
        if not self.is_awake:
            return
        self.notes.staged.append(message)

    @handles(StopCommand)
    def on_stop(self, now: int, stop: StopCommand) -> None:
        self.is_stopping = True

    @handles(ResumeCommand)
    def on_resume(self, now: int, resume: ResumeCommand) -> None:
        self.is_stopping = False

    @handles(KillState)
    def on_kill(self, now: int, state: KillState) -> None:
        if not self.is_awake:
            return
        self._kill = state.level
        self.notes.staged.append(state)

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        if not self.is_awake:
            return
        self.notes.staged.append(event)
        self.limits.fill(event)

    @handles(*BUSTS)
    def on_bust(self, now: int, bust: Any) -> None:
        if self.is_awake:
            self.notes.staged.append(bust)
            self.limits.bust(bust)

    @handles(OrderUpdate)
    def on_update(self, now: int, update: OrderUpdate) -> None:
        if not self.is_awake:
            return
        self.notes.staged.append(update)
        self.limits.update(update)

    @handles(CancelRequest)
    def on_cancel(self, now: int, request: CancelRequest) -> None:
        if not self.is_awake:
            return
        self.limits.message(now)

    @handles(OrderRequest)
    def on_request(self, now: int, request: OrderRequest) -> None:
        if not self.is_awake:
            return
        self.limits.request(now, request.request_id)
        requests = self._requests
        requests[request.request_id] = self._kill
        if len(requests) > _KEPT_MAX:
            del requests[next(iter(requests))]

    @handles(OrderApproved)
    def on_approved(self, now: int, message: OrderApproved) -> None:
        """I4, I5, I9 and I10. The kill level when a hedge was asked for decides whether it may open."""
        if not self.is_awake:
            return
        request, notes = message.request, self.notes
        notes.orders += 1
        actors = self.cell().dispatcher.actors
        basket = actors["atomic_executor"].state.baskets.get(request.basket_id)
        child = basket.children.get(request.request_id) if basket is not None else None
        opens = basket is None or child is None or (basket.closes is None and not child.is_reduce)
        first = opens and (child is None or child.is_first)
        if basket is None and request.reduce_only:
            opens = first = False
        gate = actors["risk_gate"]
        assert isinstance(gate, RiskGate)
        if first and self._kill >= KillLevel.REDUCE_ONLY and not self.limits.reduces(request):
            notes.wrong.append(f"I4: {request.request_id} opens at {self._kill.name}")
        asked_at = self._requests.get(request.request_id, KillLevel.ARMED)
        if opens and asked_at >= KillLevel.CANCEL_ALL and not self.limits.reduces(request):
            notes.wrong.append(f"I4: {request.request_id} completes at {self._kill.name}")
        may_rest = request.type is not OrderType.MARKET and request.tif not in (TimeInForce.IOC, TimeInForce.FOK)
        if may_rest and self._kill >= KillLevel.CANCEL_ALL:
            notes.wrong.append(f"I4: {request.request_id} may rest at {self._kill.name}")
        handler = actors["feed_handler"]
        assert isinstance(handler, FeedHandler)
        feed = handler.state.feeds[request.instrument]
        why = feed.objection(now, handler.config.stale_ns)
        if why:
            notes.wrong.append(f"I10: {request.request_id} on a book that is not good: {why}")
        if gate.state.unreconciled.get(request.account):
            notes.wrong.append(f"I9: {request.request_id} while {request.account} is read-only")
        price = handler.instruments[request.instrument].price
        objection = self.baskets.objection(request, (price(feed.bid), price(feed.ask)), self.is_stopping)
        if objection and not (basket is None and self.limits.reduces(request)):
            notes.wrong.append(objection)
        if basket is not None and basket.closes is not None and self.limits.exceeds(request):
            notes.wrong.append(f"I4: {request.request_id} closes more than is held")
        notes.wrong += self.limits.approve(now, request, is_opening=opens, is_first=first)


class Deaf(Actor):
    """Stands where an actor was that only looked."""

    def __init__(self, name: str = "watch") -> None:
        super().__init__(name)
        self.state = NoState()
