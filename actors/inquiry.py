"""When a venue's answers prove what became of an order: one inquiry, asked in rounds until it is resolved."""

from enum import StrEnum

from attrs import define, field, frozen

from venues.port import QueryKind


class Verdict(StrEnum):
    """What the round so far says. NOTHING is never evidence of absence."""

    NOTHING = "nothing"
    FOUND = "found"
    ABSENT = "absent"


@frozen
class Pace:
    """Nanoseconds: retry delay doubling from `base_ns` to `max_ns`, patience per round, least time between proofs."""

    base_ns: int
    max_ns: int
    timeout_ns: int
    quiet_ns: int

    def delay(self, attempt: int) -> int:
        return min(self.max_ns, self.base_ns << min(attempt, 32))


@define
class Inquiry:
    """Rounds of an ORDER query by client id and a FILLS query.

    A round in which both were answered and neither showed the order is one proof of absence; two such rounds in a row,
    the second begun at least `quiet_ns` after the first was complete, prove it, by our clock and by the times that the
    answers carry: ours may jump. A failed round starts the count anew.
    `is_verifying` keeps the inquiry alive for an order already taken for over. `lacking` complete FILLS answers in a
    row, the first at `lacking_since_ns`, had less than the venue says was filled.
    """

    attempt: int = 0
    asks_order: bool = False
    is_verifying: bool = False
    next_ns: int = 0
    begun_ns: int = 0
    outstanding: dict[str, QueryKind] = field(factory=dict)
    is_found: bool = False
    is_failed: bool = False
    asked_order: bool = False
    first_absent_ns: int | None = None
    first_absent_venue_ns: int = 0
    round_venue_ns: list[int] = field(factory=list)
    lacking: int = 0
    lacking_since_ns: int = 0

    @property
    def is_waiting(self) -> bool:
        return bool(self.outstanding)

    def due_ns(self, pace: Pace) -> int:
        """Return when something must be done: give the round up, or begin the next."""
        return self.begun_ns + pace.timeout_ns if self.outstanding else self.next_ns

    def begin(self, now: int) -> None:
        self.outstanding.clear()
        self.round_venue_ns.clear()
        self.begun_ns = now
        self.is_found = self.is_failed = False
        self.asked_order = self.asks_order

    def restart(self, now: int) -> None:
        """Forget rounds under way and the delay: the connection is new."""
        self.outstanding.clear()
        self.attempt, self.next_ns, self.first_absent_ns = 0, now, None

    def count_lacking(self, now: int, *, is_lacking: bool) -> None:
        """Note whether a complete answer to the FILLS query lacked something."""
        if not self.lacking:
            self.lacking_since_ns = now
        self.lacking = self.lacking + 1 if is_lacking else 0

    def disprove_absence(self) -> None:
        """Any report about the order arrived."""
        self.is_found = True
        self.first_absent_ns = None

    def answer(self, now: int, query_id: str, is_found: bool, pace: Pace, venue_ns: int) -> Verdict:
        """Note one answer of the round. FOUND only follows from the ORDER query: it alone tells the status."""
        kind = self.outstanding.pop(query_id)
        self.round_venue_ns.append(venue_ns)
        if is_found:
            self.disprove_absence()
        verdict = self._close(now, pace) if not self.outstanding else Verdict.NOTHING
        return Verdict.FOUND if is_found and kind is QueryKind.ORDER else verdict

    def fail(self, now: int, query_id: str, pace: Pace) -> None:
        self.outstanding.pop(query_id)
        self.is_failed = True
        if not self.outstanding:
            self._close(now, pace)

    def _close(self, now: int, pace: Pace) -> Verdict:
        self.next_ns = now + pace.delay(self.attempt)
        self.attempt += 1
        if self.is_failed or self.is_found or not self.asked_order:
            self.first_absent_ns = None
            return Verdict.NOTHING
        if self.first_absent_ns is None:
            self.first_absent_ns, self.first_absent_venue_ns = now, max(self.round_venue_ns)
            self.next_ns = now + pace.quiet_ns
            return Verdict.NOTHING
        early = max(
            self.first_absent_ns + pace.quiet_ns - self.begun_ns,
            self.first_absent_venue_ns + pace.quiet_ns - min(self.round_venue_ns),
        )
        if early > 0:
            self.next_ns = now + early
            return Verdict.NOTHING
        return Verdict.ABSENT
