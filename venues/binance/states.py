"""Which state of trading a symbol's status means. Sources: "Exchange Information" of futures and of spot."""

from typing import Final

from venues.port import InstrumentState

_STATES: Final = {
    "TRADING": InstrumentState.OPEN,
    "PENDING_TRADING": InstrumentState.PRE_OPEN,
    "PRE_TRADING": InstrumentState.PRE_OPEN,
    "PRE_DELIVERING": InstrumentState.HALT,
    "DELIVERING": InstrumentState.HALT,
    "PRE_SETTLE": InstrumentState.HALT,
    "SETTLING": InstrumentState.HALT,
    "HALT": InstrumentState.HALT,
    "BREAK": InstrumentState.HALT,
    "AUCTION_MATCH": InstrumentState.HALT,
    "POST_TRADING": InstrumentState.CLOSE,
    "END_OF_DAY": InstrumentState.CLOSE,
    "DELIVERED": InstrumentState.CLOSE,
    "CLOSE": InstrumentState.CLOSE,
}


def state_of(status: str) -> InstrumentState:
    """Return what a symbol's status means for trading; one that is not known is a halt."""
    return _STATES.get(status, InstrumentState.HALT)
