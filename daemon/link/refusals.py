"""What must be believed of a command that never left."""

from venues.port import Command, OrderRejected, OutcomeUnknown, Query, QueryFailed, RejectReason, Report, SubmitOrder


def unsent(command: Command, now: int, why: str) -> Report:
    """Return the report on a command that was certainly not sent.

    An order is proven not to exist; a query has no answer; of anything else only that its outcome is open: asking
    again is cheap, and believing a cancel done is not.
    """
    if isinstance(command, Query):
        return QueryFailed(now, command.account, command.query_id, command.kind, why)
    instrument: str = getattr(command, "instrument", None) or ""
    client_order_id: str = getattr(command, "client_order_id", "")
    if isinstance(command, SubmitOrder):
        return OrderRejected(now, command.account, instrument, client_order_id, RejectReason.OTHER, why)
    return OutcomeUnknown(now, command.account, instrument, client_order_id, type(command).__name__, why)
