"""The compiled run: market and desk on two clocks, orders and reports under way between them.

At one instant the venue's market rows come first, then what arrives at the venue, then what arrives at the desk, then
the strategy, then the desk's market rows. The venue is played ahead to the next moment at which the desk can act, the
desk's book only when somebody looks: what it costs depends on decisions, not on rows.
"""

from functools import cache
from typing import Any

from sim.kernel.bus import pop, push
from sim.kernel.compiled import compiled, inlined
from sim.kernel.desk import (
    ASKS_HOST,
    AT_TIME,
    BY_MARK,
    BY_TRADE,
    DECIDE,
    DONE,
    FAILED,
    FOR_HOST,
    HAS_EVENTS,
    LOG_FULL,
    NEED_DESK_ROOM,
    NEED_ROWS,
    NOT_JUDGED,
    OPEN,
    RESPONSE_LATENCY,
    SENT,
    TO_CANCEL,
    TO_EXPIRE,
    TO_MODIFY,
    TO_SUBMIT,
    TO_TRIGGER,
    WAKE_ON_FEED,
    WAKE_ON_REPORTS,
    Desk,
)
from sim.kernel.entry import (
    UNAFFORDABLE,
    WHOLE_POSITION,
    arrive,
    cancel,
    ends_by_change,
    fire,
    is_malformed,
    limit_of,
    modify,
)
from sim.kernel.feed import GOES_ON, Feed, at_desk, at_venue
from sim.kernel.guard import count_open, is_surely_affordable, is_surely_sized, takes_mark
from sim.kernel.latency import delay_ns
from sim.kernel.layout import (
    ACCEPTED,
    ARMED,
    BUY_SIDE,
    CANCELED,
    CUT,
    EXPIRED,
    FILLED,
    MAKER,
    MODIFIED,
    MODIFY_REJECTED,
    MOVED,
    NO_LIQUIDITY,
    REDUCES,
    REJECTED,
    RESTING,
    TRIGGERED,
    Kernel,
)
from sim.kernel.matching import expire, match_crossed, tell
from sim.kernel.triggers import armed_row, disarm, next_triggered
from sim.rows import LAST, LOCAL, MARK, OPEN_INTEREST, STATUS, STATUSES, TRADE, VENUE

NEVER = 1 << 62
STATUSES_OPEN = STATUSES.index("open")


# What the venue says


@compiled
def _report(k: Kernel, d: Desk) -> None:
    """Put everything that has just happened at the venue on its way, book it, and log the fills."""
    registers, clock = k.registers[0], d.clock[0]
    for at in range(registers.events):
        event = k.events[at]
        clock.messages += 1
        message = d.to_desk[clock.to_desk]
        delay = delay_ns(d.latencies, d.recorded, RESPONSE_LATENCY, event.ns, clock.seed, clock.messages)
        message.at, message.number = event.ns + delay, clock.messages
        message.kind, message.order = event.kind, event.order
        message.ticks, message.lots, message.liquidity, message.reason = (
            event.ticks,
            event.lots,
            event.liquidity,
            event.reason,
        )
        push(d.to_desk, clock.to_desk)
        clock.to_desk += 1
        d.sent[event.order].under_way += 1
        count_open(k, d, event.order)
        if event.kind == FILLED:
            _log(d, event)
            ledger = d.ledger[event.instrument]
            value = event.ticks * event.lots
            ledger.cash += -value if event.side == BUY_SIDE else value
            ledger.traded += event.lots
            ledger.fills += 1
            if event.liquidity == MAKER:
                ledger.maker += abs(value)
            else:
                ledger.taker += abs(value)
    registers.events = 0


@compiled
def _log(d: Desk, event: Any) -> None:
    clock = d.clock[0]
    entry = d.log[clock.logged]
    clock.logged += 1
    entry.ns, entry.kind, entry.order, entry.instrument = event.ns, event.kind, event.order, event.instrument
    entry.ticks, entry.lots, entry.liquidity, entry.reason = event.ticks, event.lots, event.liquidity, event.reason
    entry.tag, entry.side = event.tag, event.side


@compiled
def _expect_end(k: Kernel, d: Desk, order: int) -> None:
    """Let an order that has just arrived end when its time is over."""
    o = k.orders[order]
    if o.expire and o.state in (RESTING, ARMED):
        _at_venue(k, d, TO_EXPIRE, order, o.expire, 0, o.sequence)


@compiled
def _at_venue(k: Kernel, d: Desk, kind: int, order: int, at: int, ticks: int, lots: int) -> None:
    """Let the venue remember something for itself: at that instant what triggers is first, then what expires."""
    clock = d.clock[0]
    if clock.to_venue == len(d.to_venue):
        k.registers[0].lost += 1
        return
    clock.messages += 1
    message = d.to_venue[clock.to_venue]
    message.at, message.kind, message.order, message.ticks, message.lots = at, kind, order, ticks, lots
    message.number = clock.messages - (NEVER if kind == TO_TRIGGER else NEVER >> 1)
    push(d.to_venue, clock.to_venue)
    clock.to_venue += 1


@compiled
def trigger(k: Kernel, d: Desk, instrument: int, price: int, on_mark: bool) -> None:
    """Let every armed order that a price (1e-8) triggers enter before anything else happens."""
    if not k.resting[armed_row(k, instrument)] or not k.instruments[instrument].is_open:
        return
    place = next_triggered(k, instrument, price, on_mark, 0)
    while place >= 0:
        order = k.queue[armed_row(k, instrument), place]
        o = k.orders[order]
        _at_venue(k, d, TO_TRIGGER, order, k.registers[0].now, o.ticks, o.lots)
        place = next_triggered(k, instrument, price, on_mark, place + 1)


@compiled
def _needs_host(k: Kernel, d: Desk) -> bool:
    """Whether only the host can say if the venue takes the next message."""
    first = d.to_venue[0]
    if first.kind not in (TO_SUBMIT, TO_MODIFY, TO_TRIGGER) or d.clock[0].judged == first.number:
        return False
    o = k.orders[first.order]
    is_change = first.kind == TO_MODIFY
    if first.kind != TO_TRIGGER and is_malformed(k, first.order, first.ticks, first.lots, is_change):
        return False
    ticks = limit_of(k, first.order, first.ticks, is_change)
    if first.kind == TO_SUBMIT:
        if not is_surely_sized(k, d, o.instrument, o.side, o.flags, ticks, first.lots):
            return True
        if o.trigger:
            # It is checked for margin when it triggers.
            return False
    elif first.kind == TO_MODIFY:
        if o.state != RESTING or ends_by_change(k, first.order, ticks, first.lots):
            return False
    elif o.state != ARMED:
        return False
    if o.flags & REDUCES:
        return False
    return not is_surely_affordable(k, d, o.instrument, o.side, ticks, first.lots)


@compiled
def _arrive_at_venue(k: Kernel, d: Desk) -> bool:
    """Let the next message arrive at the venue; False when the host has to judge it first."""
    clock = d.clock[0]
    if _needs_host(k, d):
        return False
    is_refused = clock.judged == d.to_venue[0].number and clock.refused != 0
    clock.judged = NOT_JUDGED
    pop(d.to_venue, clock.to_venue)
    clock.to_venue -= 1
    message = d.to_venue[clock.to_venue]
    order, o = message.order, k.orders[message.order]
    k.registers[0].now = message.at
    if message.kind in (TO_SUBMIT, TO_CANCEL, TO_MODIFY):
        d.sent[order].under_way -= 1
    if message.kind == TO_TRIGGER:
        if o.state == ARMED:
            fire(k, order, is_refused)
    elif message.kind == TO_EXPIRE:
        # The slot may be another order's by now.
        if o.sequence == message.lots and o.state in (RESTING, ARMED):
            if o.state == ARMED:
                disarm(k, order)
            expire(k, order)
    elif message.kind == TO_CANCEL:
        cancel(k, order)
    elif is_refused:
        tell(k, MODIFY_REJECTED if message.kind == TO_MODIFY else REJECTED, order, 0, 0, NO_LIQUIDITY, UNAFFORDABLE)
    elif message.kind == TO_MODIFY:
        modify(k, order, message.ticks, message.lots, clock.keeps_place != 0, clock.changes_armed != 0)
    else:
        arrive(k, order, d.guard[o.instrument].raw_mark)
        _expect_end(k, d, order)
    _report(k, d)
    return True


@compiled
def _arrive_at_desk(k: Kernel, d: Desk) -> None:
    """Let the desk hear the next report. With jitter a later one may overtake it: an end heard once stays."""
    clock = d.clock[0]
    pop(d.to_desk, clock.to_desk)
    clock.to_desk -= 1
    message = d.to_desk[clock.to_desk]
    if message.kind == MOVED:
        d.positions[message.order] += message.lots
        return
    o, s = k.orders[message.order], d.sent[message.order]
    s.under_way -= 1
    end = message.kind
    if end in (ACCEPTED, TRIGGERED):
        if s.status == SENT:
            s.status = OPEN
        if s.lots == WHOLE_POSITION:
            s.lots = message.lots
    elif end == CUT:
        s.cut += message.lots
    elif end == MODIFIED:
        s.lots, s.cut = message.lots, 0
        if s.end == FILLED and s.filled < s.lots:
            # Its fills were heard before.
            s.status, s.end = OPEN, -1
    elif end == FILLED:
        s.filled += message.lots
        if o.position >= 0:
            d.positions[o.position] += message.lots if o.side == BUY_SIDE else -message.lots
    if end not in (EXPIRED, REJECTED, CANCELED):
        if s.filled + s.cut < s.lots:
            return
        # What reduce-only cut away expires with the last fill.
        end = EXPIRED if s.cut > 0 else FILLED
    if s.status != DONE:
        s.status, s.end = DONE, end


# The clocks


@compiled
def announce(k: Kernel, d: Desk, kind: int, order: int, lots: int) -> None:
    """Let the desk hear what the host did: CANCELED of an order, or MOVED: position `order` changed by `lots`."""
    clock, registers = d.clock[0], k.registers[0]
    if clock.to_desk == len(d.to_desk):
        registers.lost += 1
        return
    if kind != MOVED:
        tell(k, kind, order, 0, lots, NO_LIQUIDITY, 0)
        _report(k, d)
        return
    clock.messages += 1
    message = d.to_desk[clock.to_desk]
    delay = delay_ns(d.latencies, d.recorded, RESPONSE_LATENCY, registers.now, clock.seed, clock.messages)
    message.at, message.number, message.kind = registers.now + delay, clock.messages, MOVED
    message.order, message.lots = order, lots
    push(d.to_desk, clock.to_desk)
    clock.to_desk += 1


@inlined
def _happens(k: Kernel, d: Desk, feed: Feed, row: int) -> int:
    """Let a row happen at the venue unless it is one for the host. Returns GOES_ON or why it has not happened."""
    kind, instrument = feed.kind[row], int(feed.instrument[row])
    if kind > TRADE:
        g = d.guard[instrument]
        if kind == MARK:
            if not d.clock[0].is_hosted:
                if not takes_mark(k, d, instrument, feed.lots[row]):
                    return FOR_HOST
                trigger(k, d, instrument, feed.lots[row], True)
                return GOES_ON
            if g.watches_mark:
                return FOR_HOST
            g.raw_mark, g.latest = feed.lots[row], BY_MARK
            return GOES_ON
        if kind == OPEN_INTEREST and d.clock[0].is_hosted:
            return FOR_HOST
        if kind == STATUS and not d.clock[0].is_hosted:
            k.instruments[instrument].is_open = feed.lots[row] == STATUSES_OPEN and not g.has_ended
            match_crossed(k, instrument)
            return GOES_ON
    elif kind == TRADE:
        g = d.guard[instrument]
        if d.clock[0].is_hosted:
            if feed.ticks[row] <= g.trigger_low or feed.ticks[row] >= g.trigger_high:
                return FOR_HOST
            g.latest = BY_TRADE
            return at_venue(k, feed, row)
        g.latest = BY_TRADE
        why = at_venue(k, feed, row)
        trigger(k, d, instrument, feed.ticks[row] * k.instruments[instrument].tick_raw, False)
        return why
    return at_venue(k, feed, row)


@compiled
def play_venue(k: Kernel, d: Desk, feed: Feed, until: int, is_last: bool) -> int:
    """Let everything happen at the venue that is due at or before `until`, or before a report wakes the desk.

    Returns AT_TIME, or why it cannot go on.
    """
    clock, registers = d.clock[0], k.registers[0]
    row, rows = clock.venue_row, len(feed.kind)
    wakes = clock.wakes_on & WAKE_ON_REPORTS
    log_max, desk_max = len(d.log) - len(k.events), len(d.to_desk) - len(k.events)
    while True:
        if registers.lost:
            return FAILED
        if clock.logged > log_max or clock.to_desk > desk_max:
            return LOG_FULL
        if wakes and clock.to_desk and d.to_desk[0].at < until:
            until = d.to_desk[0].at
        arrives = d.to_venue[0].at if clock.to_venue else NEVER
        bound = min(until, arrives)
        if clock.to_venue and d.to_venue[0].kind == TO_TRIGGER:
            # What the last row triggered comes before the next one, even of the same instant.
            bound = min(bound, arrives - 1)
        # Only what a row triggers adds to what is on its way to the venue.
        is_due, waiting, happened = False, clock.to_venue, 0
        while row < rows:
            if feed.flags[row] & VENUE:
                is_due = feed.venue_ns[row] > bound
                if is_due:
                    break
                registers.now = feed.venue_ns[row]
                why = _happens(k, d, feed, row)
                if why != GOES_ON:
                    clock.venue_row = row
                    clock.venue_rows += happened
                    return why
                happened += 1
            row += 1
            if registers.events or clock.to_venue != waiting:
                is_due = True
                break
        clock.venue_row = row
        clock.venue_rows += happened
        if registers.events:
            if registers.lost:
                return FAILED
            if clock.is_hosted:
                return HAS_EVENTS
            _report(k, d)
            continue
        if not is_due and not is_last:
            return NEED_ROWS
        if arrives > until:
            return AT_TIME
        if not _arrive_at_venue(k, d):
            return ASKS_HOST


@compiled
def play_desk(k: Kernel, d: Desk, feed: Feed, until: int, is_last: bool) -> int:
    """Let the desk's book be what it is just before `until`. Returns AT_TIME, or why it cannot go on."""
    clock = d.clock[0]
    row, rows = clock.local_row, len(feed.kind)
    while row < rows:
        if feed.flags[row] & LOCAL:
            if feed.local_ns[row] >= until:
                clock.local_row = row
                return AT_TIME
            if at_desk(k, feed, row) != GOES_ON:
                clock.local_row = row
                return NEED_DESK_ROOM
            clock.local_rows += 1
        row += 1
    clock.local_row = row
    return AT_TIME if is_last else NEED_ROWS


@compiled
def _next_message(d: Desk, feed: Feed) -> int:
    """Return the last row of the next message that reaches the desk, the number of rows when its end is not here."""
    row = d.clock[0].local_row
    while row < len(feed.kind) and not (feed.flags[row] & LOCAL and feed.flags[row] & LAST):
        row += 1
    return row


@compiled
def _hear(k: Kernel, d: Desk, until: int) -> None:
    """Let the desk hear every report that arrives at or before `until`."""
    clock = d.clock[0]
    clock.reports = 0
    while clock.to_desk and d.to_desk[0].at <= until:
        _arrive_at_desk(k, d)
        clock.reports += 1


@compiled
def play(k: Kernel, d: Desk, feed: Feed, until: int, is_last: bool) -> int:
    """Play both clocks to the next moment at which the strategy is to decide, or to `until`.

    Returns DECIDE, AT_TIME, or why it cannot go on: it can be called again once that is seen to.
    """
    clock = d.clock[0]
    moment = min(clock.wake, until)
    message = -1
    if clock.wakes_on & WAKE_ON_FEED:
        row = _next_message(d, feed)
        if row == len(feed.kind):
            if not is_last:
                return NEED_ROWS
        elif feed.local_ns[row] < moment:
            moment, message = feed.local_ns[row], row
    why = play_venue(k, d, feed, moment, is_last)
    if why != AT_TIME:
        return why
    if clock.wakes_on & WAKE_ON_REPORTS and clock.to_desk and d.to_desk[0].at < moment:
        moment, message = d.to_desk[0].at, -1
    why = play_desk(k, d, feed, moment, is_last)
    if why != AT_TIME:
        return why
    clock.now = moment
    while message >= 0 and clock.local_row <= message:
        row = clock.local_row
        if feed.flags[row] & LOCAL:
            if at_desk(k, feed, row) != GOES_ON:
                return NEED_DESK_ROOM
            clock.local_rows += 1
        clock.local_row += 1
    _hear(k, d, moment)
    if message >= 0 or moment == clock.wake or (clock.wakes_on & WAKE_ON_REPORTS and clock.reports):
        return DECIDE
    return AT_TIME


@cache
def make_run(decide: Any) -> Any:
    """Return a compiled loop around a compiled strategy `decide(kernel, desk, state)`.

    `decide` is called at the moments it asked for: it returns the next one (ns; past ones mean at once, at the same
    instant as its next report or message) and sets `clock.wakes_on`. It sees the desk's books, what it has heard of
    its orders and its positions as it knows them. The loop takes `state` as `decide` does and returns what `play` does.
    """

    @compiled
    def run(k: Kernel, d: Desk, feed: Feed, state: Any, until: int, is_last: bool) -> int:
        clock = d.clock[0]
        why = DECIDE
        while why == DECIDE:
            why = play(k, d, feed, until, is_last)
            if why == DECIDE:
                clock.wake = max(decide(k, d, state), clock.now + 1)
        return why

    return run
