"""What the risk guards tell the desk."""

from decimal import Decimal

from actors.guards.findings import Guard, GuardReason, Severity
from venues.port import Message, message


@message()
class GuardFinding(Message):
    """What a guard finds about `account` (empty: any) and `subject` changed; CLEAR when nothing is left of `reason`.

    `subject` is an instrument, an asset or a product, empty for the whole account or desk. `keep` is the share of the
    position that the guard wants to stay, None when it wants no reduction.
    """

    ts: int
    guard: Guard
    account: str
    subject: str
    severity: Severity
    reason: GuardReason
    text: str
    keep: Decimal | None = None
