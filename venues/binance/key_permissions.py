"""Whether a key may do what a trading key must not: take money out."""

from typing import Final

import msgspec

from venues.binance.calls import BinanceCall
from venues.binance.sessions import Answered
from venues.binance.ways import RequestWays

API_RESTRICTIONS: Final = BinanceCall("GET", "/sapi/v1/account/apiRestrictions")
"""Only the spot host tells. Source: "Get API Key Permission" of the wallet endpoints."""

_OK: Final = 200


class _Restrictions(msgspec.Struct):
    withdraws: bool = msgspec.field(name="enableWithdrawals", default=False)


_read: Final = msgspec.json.Decoder(_Restrictions).decode


async def check_permissions(ways: RequestWays) -> str:
    """Return why the key is refused, empty when it is not, or when the venue does not tell."""
    outcome = await ways.ask(API_RESTRICTIONS)
    if not isinstance(outcome, Answered) or outcome.status != _OK:
        return ""
    try:
        found = _read(outcome.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return "the key may withdraw: make one that may not" if found.withdraws else ""
