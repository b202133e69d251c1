"""What a compiled strategy asks of the venue: orders, cancels, changes, put on their way."""

from sim.kernel.bus import push
from sim.kernel.compiled import compiled
from sim.kernel.desk import (
    CANCEL_LATENCY,
    DONE,
    MODIFY_LATENCY,
    SENT,
    SUBMIT_LATENCY,
    TO_CANCEL,
    TO_MODIFY,
    TO_SUBMIT,
    UNSENT,
    Desk,
)
from sim.kernel.latency import delay_ns
from sim.kernel.layout import FREE, IDLE, NOT_CONDITIONAL, PRICED, STP_TRADE, Kernel


@compiled
def submit(k: Kernel, d: Desk, instrument: int, side: int, ticks: int, lots: int, flags: int, tag: int) -> int:
    """Send an order and return its slot, -1 as `new_order` does. `tag` is the sender's own number, 0 and up.

    A market order has the price NO_LIMIT (a sell its negative) and the flag IMMEDIATE.
    """
    order = new_order(k, d, instrument, side, ticks, lots, flags, tag)
    if order >= 0:
        send(k, d, order)
    return order


@compiled
def send(k: Kernel, d: Desk, order: int) -> bool:
    """Send an order that has been prepared; False for one that was not, or was sent before."""
    if order < 0 or order >= len(d.sent) or d.sent[order].status != UNSENT or k.orders[order].state != IDLE:
        return False
    o, s = k.orders[order], d.sent[order]
    if not _to_venue(d, SUBMIT_LATENCY, TO_SUBMIT, order, o.ticks, o.lots):
        return False
    d.clock[0].orders += 1
    s.status, s.lots = SENT, o.lots
    return True


@compiled
def new_order(k: Kernel, d: Desk, instrument: int, side: int, ticks: int, lots: int, flags: int, tag: int) -> int:
    """Prepare an order and return its slot; `send` sends it.

    -1 when no slot is free, the way to the venue is full, or instrument, side or tag are none. Until it is sent its
    further fields may be set in `k.orders[slot]`: `display` (iceberg), `min_lots`, `stp`, `expire` (good till, ns),
    `pricing` (PROTECTED, TO_LIMIT), `trigger`, `stop`, `watches_mark`, `callback_bps`. A reduce-only order of
    WHOLE_POSITION closes the position as it is when it arrives.
    """
    registers = k.registers[0]
    if registers.free == 0 or d.clock[0].to_venue >= len(d.to_venue) or tag < 0:
        return -1
    if instrument < 0 or instrument >= len(k.instruments) or side < 0 or side > 1:
        return -1
    registers.free -= 1
    order = k.free[registers.free]
    o, s = k.orders[order], d.sent[order]
    o.state, o.instrument, o.side, o.account, o.position = IDLE, instrument, side, 0, instrument
    o.flags, o.stp, o.ticks, o.lots, o.cut, o.filled, o.cost = flags, STP_TRADE, ticks, lots, 0, 0, 0
    o.expire, o.pricing, o.trigger, o.watches_mark, o.stop, o.callback_bps = 0, PRICED, NOT_CONDITIONAL, 0, 0, 0
    o.is_active, o.extreme = 0, 0
    o.visible, o.display, o.min_lots, o.killed, o.shown, o.front, o.tag = 0, 0, 0, 0, 0, 0.0, tag
    registers.sequence += 1
    o.sequence = registers.sequence
    s.status, s.lots, s.cut, s.filled, s.end, s.under_way, s.counted, s.value = UNSENT, lots, 0, 0, -1, 0, 0, 0
    return order


@compiled
def ask_cancel(d: Desk, order: int) -> bool:
    """Send a cancel of an order that was sent; False for any other, or when there is no room for it on the way."""
    return _to_venue(d, CANCEL_LATENCY, TO_CANCEL, order, 0, 0)


@compiled
def ask_modify(d: Desk, order: int, ticks: int, lots: int) -> bool:
    """Send a change of a sent order's price and total quantity, fills included; False as `ask_cancel`."""
    return _to_venue(d, MODIFY_LATENCY, TO_MODIFY, order, ticks, lots)


@compiled
def _to_venue(d: Desk, latency: int, kind: int, order: int, ticks: int, lots: int) -> bool:
    clock = d.clock[0]
    if clock.to_venue == len(d.to_venue) or order < 0 or order >= len(d.sent):
        return False
    s = d.sent[order]
    if s.status == UNSENT and kind != TO_SUBMIT:
        return False
    clock.messages += 1
    message = d.to_venue[clock.to_venue]
    message.at = clock.now + delay_ns(d.latencies, d.recorded, latency, clock.now, clock.seed, clock.messages)
    message.number, message.kind, message.order = clock.messages, kind, order
    message.ticks, message.lots = ticks, lots
    push(d.to_venue, clock.to_venue)
    clock.to_venue += 1
    s.under_way += 1
    return True


@compiled
def release(k: Kernel, d: Desk, order: int) -> bool:
    """Give up an order that is done and of which nothing more will come; its slot is free again.

    Returns False, having done nothing, while anything about it is under way: a late cancel must not meet the slot's
    next order.
    """
    registers = k.registers[0]
    if order < 0 or order >= len(d.sent) or d.sent[order].status != DONE or d.sent[order].under_way > 0:
        return False
    if k.orders[order].state == FREE:
        return False
    d.sent[order].status = UNSENT
    k.orders[order].state = FREE
    k.free[registers.free] = order
    registers.free += 1
    return True
