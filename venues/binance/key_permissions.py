"""Whether a key may do what a trading key must not: take money out."""

from typing import Final

from venues.binance.errors import CodecError
from venues.binance.sessions import Answered
from venues.binance.spot_answers import may_withdraw
from venues.binance.spot_requests import KEY_PERMISSIONS
from venues.binance.ways import RequestWays

_OK: Final = 200


async def check_permissions(ways: RequestWays) -> str:
    """Return why the key is refused, empty when it is not, or when the venue does not tell: futures hosts do not."""
    outcome = await ways.ask(KEY_PERMISSIONS)
    if not isinstance(outcome, Answered) or outcome.status != _OK:
        return ""
    try:
        return "the key may withdraw: make one that may not" if may_withdraw(outcome.body) else ""
    except CodecError as error:
        return f"what the key may do cannot be read: {error}"
