"""What must be believed of a command that never left."""

from venues.port import Command, OrderRejected, OutcomeUnknown, Query, QueryFailed, RejectReason, Report, SubmitOrder


def unsent(command: Command, now: int, why: str) -> Report:
    """Return the report on a command that was certainly not sent.

    An order is proven not to exist; a query has no answer; of anything else only that its outcome is open: asking
    again is cheap, and believing a cancel done is not.
    """
    if isinstance(command, Query):
        return QueryFailed(now, command.account, command.query_id, command.kind, why)
    if isinstance(command, SubmitOrder):
        ids = (command.account, command.instrument, command.client_order_id)
        return OrderRejected(now, *ids, RejectReason.OTHER, why)
    return unknown(command, now, why)


def unknown(command: Command, now: int, why: str) -> OutcomeUnknown:
    """Return the report on a command that may have been carried out or not."""
    instrument: str = getattr(command, "instrument", None) or ""
    client_order_id: str = getattr(command, "client_order_id", "")
    return OutcomeUnknown(now, command.account, instrument, client_order_id, type(command).__name__, why)
