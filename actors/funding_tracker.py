"""Decides what funding each perpetual is about to pay, has paid, and whether the venue paid what was due.

Due at a stamp is what `venues/rules/funding.py` says, in full by whoever holds at that instant: a position opened
exactly at the stamp does not pay, one closed exactly at it does.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from attrs import define, field, frozen

from actors.base import Actor, handles
from actors.cell import CellRestarted
from actors.config_checks import not_negative, positive
from actors.ledger import position_change, unbookable
from actors.messages import FillEvent, FundingState, Incident, PositionUpdate
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.position import position_key
from venues.port import FundingRate, FundingSettled, MarkPrice
from venues.rules.funding import instrument_payment

_STAMP = "stamp/"
_GRACE = "grace/"


@frozen
class FundingConfig:
    """A payment agrees when it differs from what was due by at most `tolerance_bps` of it plus `tolerance`.

    A payment is missing when none came within `grace_ns` of the stamp. A rate that moved by less than `rate_step` is
    not news. `kept` bounds the settled stamps remembered by instrument.
    """

    tolerance_bps: Decimal = field(default=Decimal(100), validator=not_negative)
    tolerance: Decimal = field(default=Decimal("0.01"), validator=not_negative)
    grace_ns: int = field(default=60_000_000_000, validator=positive)
    rate_step: Decimal = field(default=Decimal("0.000001"), validator=not_negative)
    kept: int = field(default=500, validator=positive)


@define
class Due:
    """What one position owes or is owed at one stamp. `qty` is what was held then; `paid` None until money moved."""

    key: str
    qty: Decimal
    paid: Decimal | None = None


@define
class Stamp:
    """One funding instant. `rate` and `mark` are the settled ones once known, before that the last estimates."""

    ts: int
    rate: Decimal | None
    mark: Decimal | None
    dues: list[Due] = field(factory=list)


@define
class Perpetual:
    """Everything about one instrument. `open` are stamps inside their grace, `settled` the ones behind, newest last."""

    rate: Decimal | None = None
    mark: Decimal | None = None
    next_ns: int | None = None
    qty: dict[str, Decimal] = field(factory=dict)
    paid: Decimal = ZERO
    open: list[Stamp] = field(factory=list)
    settled: list[Stamp] = field(factory=list)
    told_rate: Decimal | None = None
    told_next_ns: int | None = None


@define
class FundingTrackerState:
    perpetuals: dict[str, Perpetual]
    mismatches: int = 0
    missing: int = 0
    refused: int = 0


class FundingTracker(Actor):
    """Follows the perpetuals among `instruments`. A difference is an Incident: money, not risk, is at stake."""

    publishes = (FundingState, Incident)
    state: FundingTrackerState

    def __init__(
        self, instruments: Mapping[str, Instrument], config: FundingConfig | None = None, name: str = ""
    ) -> None:
        super().__init__(name)
        self.instruments = {key: spec for key, spec in instruments.items() if spec.kind is InstrumentKind.PERPETUAL}
        self.config = config or FundingConfig()
        self.state = FundingTrackerState({key: Perpetual() for key in self.instruments})

    @handles(CellRestarted)
    def on_restart(self, now: int, restarted: CellRestarted) -> None:
        for instrument, one in self.state.perpetuals.items():
            if one.next_ns is not None:
                self.out.timer(_STAMP + instrument, max(now, one.next_ns))
            if one.open:
                self.out.timer(_GRACE + instrument, max(now, one.open[0].ts + self.config.grace_ns))

    # Estimates

    @handles(MarkPrice)
    def on_mark(self, now: int, mark: MarkPrice) -> None:
        one = self.state.perpetuals.get(mark.instrument)
        if one is None:
            return
        if not _is_price(mark.mark) or (mark.rate is not None and not mark.rate.is_finite()):
            self.state.refused += 1
            return
        if mark.next_funding_ns is not None and mark.next_funding_ns != one.next_ns:
            # The venue moved on: an instant between was funded even if our timer has yet to fire.
            if one.next_ns is not None and one.next_ns <= now:
                self._take_stamp(now, mark.instrument, one, one.next_ns)
            one.next_ns = mark.next_funding_ns
            self.out.timer(_STAMP + mark.instrument, max(now, one.next_ns))
        one.mark = mark.mark
        one.rate = mark.rate if mark.rate is not None else one.rate
        if one.rate is None:
            return
        moved = one.told_rate is None or abs(one.rate - one.told_rate) > self.config.rate_step
        if moved or one.next_ns != one.told_next_ns:
            self._tell(now, mark.instrument, one)

    @handles(FundingRate)
    def on_settled_rate(self, now: int, settled: FundingRate) -> None:
        """Correct the estimate of an instant by the rate that was settled there."""
        one = self.state.perpetuals.get(settled.instrument)
        if one is None:
            return
        if not settled.rate.is_finite() or (settled.mark is not None and not _is_price(settled.mark)):
            self.state.refused += 1
            return
        stamp = self._stamp_near(one, settled.ts)
        if stamp is None and self._is_near(one.next_ns, settled.ts):
            stamp = self._take_stamp(now, settled.instrument, one, one.next_ns or settled.ts)
        if stamp is not None:
            stamp.rate = settled.rate
            stamp.mark = settled.mark if settled.mark is not None else stamp.mark

    def expected(self, instrument: str) -> Decimal:
        """Return what the positions held now will receive (negative: pay) at the next instant, by the estimates."""
        one = self.state.perpetuals[instrument]
        if one.rate is None or one.mark is None:
            return ZERO
        spec = self.instruments[instrument]
        return sum((instrument_payment(spec, qty, one.mark, one.rate) for qty in one.qty.values()), ZERO)

    def _tell(self, now: int, instrument: str, one: Perpetual) -> None:
        if one.rate is None:
            return
        one.told_rate, one.told_next_ns = one.rate, one.next_ns
        self.out.emit(FundingState(now, instrument, one.rate, one.next_ns, self.expected(instrument), one.paid))

    # Positions

    @handles(PositionUpdate)
    def on_position(self, now: int, update: PositionUpdate) -> None:
        one = self.state.perpetuals.get(update.instrument)
        if one is None or not update.qty.is_finite():
            return
        key = position_key(update.account, update.instrument, update.position_side)
        if update.qty:
            one.qty[key] = update.qty
        else:
            one.qty.pop(key, None)
        self._tell(now, update.instrument, one)

    @handles(FillEvent)
    def on_fill(self, now: int, event: FillEvent) -> None:
        """Correct what was held at an instant by a fill from before it that came late."""
        fill = event.fill
        one = self.state.perpetuals.get(fill.instrument)
        if one is None or not one.open or unbookable(fill, self.instruments[fill.instrument], True):
            return
        key = position_key(fill.account, fill.instrument, fill.position_side)
        change = position_change(fill, self.instruments[fill.instrument])
        for stamp in one.open:
            # Closing exactly at the instant still pays, opening exactly at it does not: both leave `qty` as it was.
            if fill.ts < stamp.ts:
                _due(stamp, key).qty += change

    # Instants

    def on_timer(self, now: int, key: str) -> None:
        instrument = key.partition("/")[2]
        one = self.state.perpetuals[instrument]
        if key.startswith(_STAMP):
            if one.next_ns is not None and one.next_ns <= now:
                self._take_stamp(now, instrument, one, one.next_ns)
        else:
            self._close_stamps(now, instrument, one)

    def _take_stamp(self, now: int, instrument: str, one: Perpetual, ts: int) -> Stamp:
        known = next((stamp for stamp in [*one.open, *one.settled] if stamp.ts == ts), None)
        if known is not None:
            return known
        stamp = Stamp(ts, one.rate, one.mark, [Due(key, qty) for key, qty in one.qty.items()])
        one.open.append(stamp)
        self.out.timer(_GRACE + instrument, one.open[0].ts + self.config.grace_ns)
        return stamp

    def _is_near(self, stamp_ns: int | None, ts: int) -> bool:
        return stamp_ns is not None and abs(ts - stamp_ns) <= self.config.grace_ns

    def _stamp_near(self, one: Perpetual, ts: int) -> Stamp | None:
        near = [stamp for stamp in [*one.open, *one.settled] if self._is_near(stamp.ts, ts)]
        return min(near, key=lambda stamp: abs(stamp.ts - ts), default=None)

    @handles(FundingSettled)
    def on_paid(self, now: int, settled: FundingSettled) -> None:
        one = self.state.perpetuals.get(settled.instrument)
        is_sound = settled.amount.is_finite() and settled.rate.is_finite() and _is_price(settled.mark)
        if one is None or not is_sound:
            self.state.refused += 1
            text = f"{settled.instrument}, {settled.account}: {settled.amount} {settled.asset}"
            self.out.emit(Incident(now, "funding_unknown", "", text))
            return
        stamp = self._stamp_near(one, settled.ts)
        if stamp is None:
            at = one.next_ns if one.next_ns is not None and self._is_near(one.next_ns, settled.ts) else settled.ts
            stamp = self._take_stamp(now, settled.instrument, one, at)
        stamp.rate, stamp.mark = settled.rate, settled.mark
        key = position_key(settled.account, settled.instrument, settled.position_side)
        due = _due(stamp, key)
        due.paid = (due.paid or ZERO) + settled.amount
        one.paid += settled.amount
        if stamp in one.settled:
            # Its grace is over and it was called missing: say that it came.
            self._compare(now, settled.instrument, stamp, due)
        self._tell(now, settled.instrument, one)

    def _close_stamps(self, now: int, instrument: str, one: Perpetual) -> None:
        """Compare the instants whose grace is over: by now late fills and payments have come."""
        while one.open and one.open[0].ts + self.config.grace_ns <= now:
            stamp = one.open.pop(0)
            for due in stamp.dues:
                self._compare(now, instrument, stamp, due)
            one.settled.append(stamp)
            del one.settled[: -self.config.kept]
        if one.open:
            self.out.timer(_GRACE + instrument, one.open[0].ts + self.config.grace_ns)

    def _compare(self, now: int, instrument: str, stamp: Stamp, due: Due) -> None:
        where = f"{due.key} at {stamp.ts}"
        if stamp.rate is None or stamp.mark is None:
            expected = None
        else:
            expected = instrument_payment(self.instruments[instrument], due.qty, stamp.mark, stamp.rate)
        if due.paid is None:
            if due.qty and expected != ZERO:
                self.state.missing += 1
                text = f"{where}: {due.qty} held, {expected} due, nothing paid"
                self.out.emit(Incident(now, "funding_missing", "", text, expected))
            return
        if expected is None:
            return
        off = due.paid - expected
        if abs(off) > abs(expected) * self.config.tolerance_bps / 10_000 + self.config.tolerance:
            self.state.mismatches += 1
            text = f"{where}: {due.qty} held, {expected} due, {due.paid} paid"
            self.out.emit(Incident(now, "funding_mismatch", "", text, -off))

    def ledger(self, instrument: str) -> Iterator[tuple[int, Decimal]]:
        """Yield (instant, paid) of the instants remembered, oldest first."""
        one = self.state.perpetuals[instrument]
        for stamp in [*one.settled, *one.open]:
            yield stamp.ts, sum((due.paid for due in stamp.dues if due.paid is not None), ZERO)


def _is_price(number: Decimal) -> bool:
    return number.is_finite() and number > ZERO


def _due(stamp: Stamp, key: str) -> Due:
    for due in stamp.dues:
        if due.key == key:
            return due
    due = Due(key, ZERO)
    stamp.dues.append(due)
    return due
