"""What a failure on the wire proves about what the venue did."""

from enum import StrEnum


class NotSentReason(StrEnum):
    """Why a request never left.

    CONNECT: no connection could be made. RATE_LIMIT: the pools would not have let it go before its deadline.
    DEADLINE: the time was up before a connection was free. ADDRESS: there is no address to connect to.
    DOWN: the socket is not connected. QUEUE_FULL: too much waits to be sent already.
    """

    CONNECT = "connect"
    RATE_LIMIT = "rate_limit"
    DEADLINE = "deadline"
    ADDRESS = "address"
    DOWN = "down"
    QUEUE_FULL = "queue_full"


class NetError(Exception):
    """A request without an answer. Its text names neither query nor headers: those carry keys and signatures."""


class NotSentError(NetError):
    """The venue never saw it: proven. `retry_ns` is the earliest time at which it might be let go, where known."""

    def __init__(self, reason: NotSentReason, detail: str, retry_ns: int | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.retry_ns = retry_ns
        super().__init__(f"{reason}: {detail}" if detail else str(reason))


class UnknownOutcomeError(NetError):
    """It may have been taken: at least a part of it was handed to the network, and no answer came."""


class AnswerTooLargeError(UnknownOutcomeError):
    """The answer is larger than anything the venue has reason to send. What was asked for may have been done."""


class LimitError(ValueError):
    """A cost that its pool can never grant, or a pool nobody named: an error of the caller's."""
