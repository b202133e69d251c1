"""What must hold while things go wrong: I1 to I14, in forms cheap enough to be looked at after every event.

What is looked at when is a table in docs/torture.md; limits, baskets and the venues' truth have rooms of their own.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

import attrs
from attrs import define, field

from actors.atomic_executor import AtomicExecutor
from actors.base import Actor
from actors.basket import ACTIVE, ENDED, Basket
from actors.cell import Cell
from actors.dispatcher import Intent
from actors.messages import BasketState, KillLevel
from actors.order_manager import OrderManager
from actors.snapshot import to_plain
from daemon.config_schema import RunConfig
from daemon.torture.baskets import BasketChecks
from daemon.torture.script import SECOND_NS, START_NS
from daemon.torture.watch import Notes
from sim.venue import SimVenue
from venues.model.money import ZERO
from venues.model.order import OrderType, TimeInForce
from venues.model.position import Position
from venues.port import SubmitOrder

RESOLVED_NS = 120 * SECOND_NS
"""How long a difference from the venue, or an order of unknown fate, may last."""
_COMPARED_NS = 5 * SECOND_NS
_NET_MIN = Decimal(150)
_CALM_NS = 12 * SECOND_NS
"""Longer than another basket may be uneven before it is alarmed of: it may cover an older difference that long."""
_NET_BUDGET = 25_000 * SECOND_NS
_MILLISECOND_NS = 1_000_000
_SIZE_MAX = 25_000
_PRICES = {"BTC": Decimal(60_000), "ETH": Decimal(3_000)}
_NEVER_RESTS = (TimeInForce.IOC, TimeInForce.FOK)


class InvariantError(AssertionError):
    """An invariant that does not hold, and when. `name` is I1 to I14, or what else ended the run."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@define
class _Net:
    """One base asset's open difference over all accounts, in quote money, and what it has cost so far.

    It is over once there was none for `_CALM_NS`: one that is alarmed of passes through zero between the two fills of
    another basket. `calm_ns` is when there was none any more, `complaints` how many alarms there were then.
    """

    value: Decimal = ZERO
    spent: Decimal = ZERO
    complained: int = 0
    calm_ns: int = 0
    complaints: int = 0


@define
class Wire:
    """What went to the venues: each client id once (I2), everything in one hash (I12)."""

    sent: dict[str, int] = field(factory=dict)
    digest: Any = field(factory=sha256)
    commands: dict[str, int] = field(factory=dict)


class Invariants:
    """Looks at a desk after every event. Raises InvariantError."""

    def __init__(
        self,
        config: RunConfig,
        notes: Notes,
        baskets: BasketChecks,
        venues: Mapping[str, SimVenue],
        instruments: Sequence[str],
    ) -> None:
        self.baskets = baskets
        self.config = config
        self.notes = notes
        self.venues = venues
        self.wire = Wire()
        self.checks = 0
        self.now = START_NS
        self.max_unhedged = ZERO
        self.longest_unhedged_ns = 0
        self.deaths = 0
        self.silent_quote_seconds = ZERO
        self._traded = list(instruments)
        self._opening = {a.id: dict(a.balances) for a in config.accounts.values()}
        self._active: list[Basket] = []
        self._nets = {config.instruments[name].base: _Net() for name in instruments}
        self._net_ns = START_NS
        self._is_open = False
        self._compared_ns = START_NS
        self._differs_since: int | None = None
        self._is_guarded = False

    def fail(self, now: int, name: str, text: str) -> None:
        seed = self.config.run.seed
        raise InvariantError(name, f"seed {seed} at +{(now - START_NS) / SECOND_NS:.3f} s: {name}: {text}")

    # On the way out

    def before_wire(self, now: int, intents: Sequence[Intent]) -> None:
        """I2, I3 and I13, and the trace of I12."""
        wire = self.wire
        for intent in intents:
            command = intent.command
            kind = type(command).__name__
            wire.commands[kind] = wire.commands.get(kind, 0) + 1
            wire.digest.update(f"{now} {intent.seq} {command}\n".encode())
            if not isinstance(command, SubmitOrder):
                continue
            if command.client_order_id in wire.sent:
                self.fail(now, "I2", f"{command.client_order_id} was sent twice")
            wire.sent[command.client_order_id] = now
            spec = self.config.instruments[command.instrument]
            may_rest = command.type is not OrderType.MARKET and command.tif not in _NEVER_RESTS
            if may_rest and not spec.is_spot:
                armed = self.venues[spec.venue].state.dead_man
                if (command.account, command.instrument) not in armed:
                    self.fail(now, "I13", f"{command.client_order_id} may rest and no dead-man timer is armed")

    # After every event

    def look(self, now: int, cell: Cell) -> None:
        """Check what holds after every event. `now` is the venue's time, the desk's is its dispatcher's."""
        self.checks += 1
        self.now = now
        notes = self.notes
        if notes.wrong:
            self.fail(now, notes.wrong[0].partition(":")[0], notes.wrong[0].partition(": ")[2])
        if cell.halt is not None:
            self.fail(now, "halt", cell.halt.why)
        if notes.is_changed:
            self._changed(now, cell)
        if self._active and not self._is_guarded:
            self._look_at_baskets(now, cell)
        if self._is_open:
            self._spend(now, cell.dispatcher.now)
        if now - self._compared_ns >= _COMPARED_NS:
            self._compared_ns = now
            self._compare(now, cell)

    def _changed(self, now: int, cell: Cell) -> None:
        """Something happened on the order path: the sums must still be right."""
        self.notes.is_changed = False
        dispatcher = cell.dispatcher
        if not dispatcher.is_idle:
            self.fail(now, "I11", f"left in the lanes: {dispatcher.depths}")
        actors = dispatcher.actors
        # A guard in charge is an alarm, and decides in the desk's place.
        executor = actors["atomic_executor"].state
        self._is_guarded = executor.is_guarded
        self.max_unhedged = max(self.max_unhedged, executor.max_unhedged)
        self.longest_unhedged_ns = max(self.longest_unhedged_ns, executor.longest_unhedged_ns)
        self._active = [one for one in executor.baskets.values() if one.state in ACTIVE]
        self.notes.complaints += self._is_guarded
        ledger = actors["ledger"].state
        held: dict[str, Decimal] = {}
        cost: dict[str, Decimal] = {}
        nets = dict.fromkeys(self._nets, ZERO)
        for position in ledger.positions.values():
            spec = self.config.instruments[position.instrument]
            place = f"{position.account}|{position.instrument}"
            held[place] = position.qty
            nets[spec.base] += position.qty
            if not spec.is_spot:
                wallet = f"{position.account}|{spec.settle}"
                cost[wallet] = cost.get(wallet, ZERO) + position.cost
        for place, qty in self.notes.sums.items():
            if held.get(place, ZERO) != qty:
                self.fail(now, "I1", f"{place}: the fills sum to {qty}, the ledger holds {held.get(place, ZERO)}")
        for account, wallet_of in ledger.wallets.items():
            for asset, balance in wallet_of.items():
                place = f"{account}|{asset}"
                moved = self.notes.cash.get(place, ZERO) + cost.get(place, ZERO)
                if balance != self._opening[account].get(asset, ZERO) + moved:
                    self.fail(now, "I6", f"{place}: {balance} in the ledger, fills and funding moved {moved}")
        self._set_nets(now, dispatcher.now, nets)

    def _look_at_baskets(self, now: int, cell: Cell) -> None:
        desk_now = cell.dispatcher.now
        self.baskets.look(desk_now, self._active, lambda basket: _is_able(cell, basket))
        for basket in self._active:
            if desk_now > basket.deadline_ns + _MILLISECOND_NS:
                self.fail(now, "I14", f"{basket.id} is {basket.state} after its deadline")
            spent = basket.exposure + basket.unhedged * (desk_now - basket.marked_ns)
            if spent > basket.risk_budget * (SECOND_NS + _MILLISECOND_NS) and not basket.is_over_budget:
                self.silent_quote_seconds += spent / SECOND_NS - basket.risk_budget
                self.fail(now, "I7", f"{basket.id} spent {spent} in silence")

    # I7 by our own sum over all fills

    def _set_nets(self, now: int, desk_now: int, nets: Mapping[str, Decimal]) -> None:
        self._spend(now, desk_now)
        self._is_open = False
        for base, qty in nets.items():
            net, value = self._nets[base], abs(qty) * _PRICES[base]
            was_open = bool(net.value)
            net.value = value if value >= _NET_MIN else ZERO
            if not net.value:
                net.calm_ns = desk_now if was_open else net.calm_ns
                net.complaints = self.notes.complaints
                continue
            self._is_open = True
            is_alarmed = net.complaints > net.complained
            if not was_open and (not is_alarmed or desk_now - net.calm_ns >= _CALM_NS):
                net.spent, net.complained = ZERO, net.complaints

    def _spend(self, now: int, desk_now: int) -> None:
        """A difference that stays for too long by the desk's clock is complained about, or the desk was dead."""
        passed, self._net_ns = desk_now - self._net_ns, desk_now
        for base, net in self._nets.items():
            net.spent += net.value * passed
            if net.spent > _NET_BUDGET and net.complained == self.notes.complaints:
                self.silent_quote_seconds += (net.spent - _NET_BUDGET) / SECOND_NS
                self.fail(now, "I7", f"{net.value} of {base} for {net.spent / SECOND_NS} quote seconds in silence")

    # Deaths

    def died(self) -> None:
        """A guard that hears no heartbeat raises the alarm."""
        self.deaths += 1
        self.notes.staged.clear()
        self.notes.complaints += 1

    def recovered(self, now: int, cell: Cell, memory: bytes | None, snapshot: bytes) -> None:
        """I3 and I8: the log gives back what was in memory, and knows everything that was sent."""
        if memory is not None and memory != snapshot:
            self.fail(now, "I8", f"the log gives back another state: {_first_difference(memory, snapshot)}")
        orders = cell.dispatcher.actors["order_manager"]
        assert isinstance(orders, OrderManager)
        state, prefix = orders.state, orders.config.run_prefix
        for client_id in self.wire.sent:
            number = client_id.removeprefix(prefix)
            if number == client_id:
                continue
            if not number.isdecimal() or int(number) >= state.next_order:
                self.fail(now, "I3", f"{client_id} was sent and the journal does not know it")
        forgotten = self.notes.live - state.orders.keys() - state.traces.keys()
        if forgotten:
            self.fail(now, "I8", f"orders that may still fill are forgotten: {sorted(forgotten)}")
        self.notes.is_changed = True
        unknown = {o.order.client_order_id for o in state.orders.values() if not o.is_final}
        self.notes.unknown = {name: at for name, at in self.notes.unknown.items() if name in unknown}

    # Against the venues

    def _differences(self, cell: Cell) -> list[str]:
        """Return where ledger and venues differ in positions or money."""
        found = []
        ledger = cell.dispatcher.actors["ledger"].state
        held = {one.key: one.qty for one in ledger.positions.values() if one.qty}
        for venue in self.venues.values():
            for account in venue.state.accounts.values():
                if account.id not in ledger.wallets:
                    continue
                wallet = {asset: amount for asset, amount in account.account.balances.items() if amount}
                booked = {asset: amount for asset, amount in ledger.wallets[account.id].items() if amount}
                theirs_held = [one.position for one in account.open_holdings()]
                ours_held = [one for one in ledger.positions.values() if one.account == account.id and one.qty]
                if wallet != booked and self._cash(wallet, theirs_held) != self._cash(booked, ours_held):
                    found.append(f"I6: {account.id} has {wallet}, the ledger says {booked}")
                theirs = {one.position.key: one.qty for one in account.open_holdings()}
                ours = {
                    key: qty for key, qty in held.items() if key.startswith(f"{account.id}/") and not self._is_spot(key)
                }
                if theirs != ours:
                    found.append(f"I1: {account.id} holds {theirs}, the ledger says {ours}")
        return found

    def _cash(self, wallet: Mapping[str, Decimal], positions: Iterable[Position]) -> dict[str, Decimal]:
        """Return a wallet as if its open contracts had been paid for.

        A trade that was taken back before anybody had told it moved the venue's entry price between two fills, and not
        ours: the same money is profit on one side and cost on the other until the position is closed.
        """
        cash = dict(wallet)
        for one in positions:
            spec = self.config.instruments[one.instrument]
            if not spec.is_spot:
                cash[spec.quote] = cash.get(spec.quote, ZERO) - one.cost
        return {asset: amount for asset, amount in cash.items() if amount}

    def _is_spot(self, key: str) -> bool:
        return self.config.instruments[key.split("/")[1]].is_spot

    def _compare(self, now: int, cell: Cell) -> None:
        self.baskets.compare(cell.dispatcher.now, lambda basket: _is_able(cell, basket))
        found = self._differences(cell)
        if not found:
            self._differs_since = None
        elif self._differs_since is None:
            self._differs_since = now
        elif now - self._differs_since > RESOLVED_NS:
            self.fail(now, found[0][:2], f"for {RESOLVED_NS // SECOND_NS} s: {found[0][4:]}")
        distrusted = cell.dispatcher.actors["risk_gate"].state.unreconciled
        for client_id, since in self.notes.unknown.items():
            if cell.dispatcher.now - since > RESOLVED_NS and not distrusted:
                self.fail(now, "I9", f"{client_id} is unknown since {(now - since) / SECOND_NS:.0f} s")

    # At the end

    def check_end(self, cell: Cell) -> None:
        """Everything that must hold once faults are long over and everything was delivered."""
        now = cell.dispatcher.now
        self.look(now, cell)
        if cell.quarantined:
            self.fail(now, "quarantine", f"a handler raised: {cell.quarantined}")
        for one in self._differences(cell):
            self.fail(now, one[:2], one[4:])
        self._check_sent(now)
        self._check_rest(now, cell)
        self._check_baskets(now, cell)
        large = {name: size for name, size in sizes_of(cell.dispatcher.actors).items() if size > _SIZE_MAX}
        if large:
            self.fail(now, "I11", f"grown without bound: {large}")

    def _check_sent(self, now: int) -> None:
        """I2 at the venue: no order there that did not pass the wire, none that was lost by us and rests."""
        for venue in self.venues.values():
            for (account, client_id), order in venue.state.live.items():
                if account in self.config.accounts and not order.status.is_terminal:
                    self.fail(now, "I9", f"{client_id} of {account} still rests at {venue.name}")

    def _check_rest(self, now: int, cell: Cell) -> None:
        """I9 and I11: nothing unknown, nothing open, nothing asked, nothing read-only."""
        actors = cell.dispatcher.actors
        orders, risk, kill = (actors[name].state for name in ("order_manager", "risk_gate", "kill_switch"))
        for tracked in orders.orders.values():
            if not tracked.is_final:
                self.fail(now, "I9", f"order {tracked.order.client_order_id} is {tracked.order.status}")
        if orders.inquiries or orders.queries or orders.watched:
            self.fail(now, "I9", f"still asking: {orders.inquiries} {orders.queries} {orders.watched}")
        if risk.unreconciled:
            self.fail(now, "I14", f"read-only: {risk.unreconciled}")
        if risk.orders:
            self.fail(now, "I5", f"the gate still counts {risk.orders}")
        if kill.live or kill.unsure:
            self.fail(now, "I11", f"the kill switch still waits: {kill.live} {kill.unsure}")
        for account in self.config.accounts:
            if now - self.notes.reconciled.get(account, 0) > 45 * SECOND_NS:
                self.fail(now, "I9", f"{account} was reconciled last at {self.notes.reconciled.get(account)}")
        if actors["atomic_executor"].state.depth_refs:
            self.fail(now, "I11", f"depth awaited: {actors['atomic_executor'].state.depth_refs}")
        margin, feeds = actors["margin_monitor"].state, actors["feed_handler"].state
        if margin.reserved or margin.orders or feeds.reservations:
            self.fail(now, "I11", f"reserved for ever: {margin.reserved} {margin.orders} {feeds.reservations}")
        reserved = [name for name, one in risk.baskets.items() if one.is_reserved or one.is_active]
        if reserved:
            self.fail(now, "I5", f"the gate still reserves {reserved}")

    def _check_baskets(self, now: int, cell: Cell) -> None:
        executor = cell.dispatcher.actors["atomic_executor"].state
        for basket in executor.baskets.values():
            if basket.state not in ENDED:
                self.fail(now, "I14", f"{basket.id} is {basket.state}")
            related = {basket.id, *(one.id for one in executor.baskets.values() if one.closes == basket.id)}
            if basket.state is BasketState.BROKEN and not related & self.notes.told:
                self.fail(now, "I7", f"{basket.id} is broken without an incident")

    def check_alive(self, now: int, traded_ns: int, calm_ns: int, cell: Cell) -> None:
        """I14: after the faults and the last arming the desk trades again, or is flat and says why it does not."""
        if traded_ns >= calm_ns:
            return
        level = self.notes.kill
        if level is not KillLevel.ARMED and self.baskets.is_flat():
            return
        self.fail(now, "I14", f"nothing was traded after the faults; kill level {level.name}")


def _is_able(cell: Cell, basket: Basket) -> bool:
    """Whether a basket's legs can be traded: books live, accounts reconciled, no guard in charge, no close at work."""
    actors = cell.dispatcher.actors
    executor, risk = actors["atomic_executor"], actors["risk_gate"].state
    assert isinstance(executor, AtomicExecutor)
    if executor.state.is_guarded or risk.unreconciled or any(risk.venues_down.values()):
        return False
    if executor.awaits_close(basket):
        return False
    return all(executor.state.live.get(leg.instrument) for leg in basket.legs)


def _first_difference(left: bytes, right: bytes) -> str:
    for at, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return f"{left[max(0, at - 80) : at + 80]!r} and {right[max(0, at - 80) : at + 80]!r}"
    return f"{len(left)} and {len(right)} bytes"


def sizes_of(actors: Mapping[str, Actor]) -> dict[str, int]:
    """Return how many entries each collection in the actors' states holds, by its path."""
    found: dict[str, int] = {}
    for name, actor in actors.items():
        if attrs.has(type(actor.state)):
            _measure(name, to_plain(actor.state), found)
    return found


def _measure(path: str, plain: Any, found: dict[str, int]) -> None:
    if isinstance(plain, dict | list):
        found[path] = max(found.get(path, 0), len(plain))
    if isinstance(plain, dict):
        for key, value in plain.items():
            # Entries of one table are measured under one name.
            _measure(f"{path}.{key}" if key.isidentifier() else f"{path}.*", value, found)
    elif isinstance(plain, list):
        for value in plain:
            _measure(f"{path}.*", value, found)
