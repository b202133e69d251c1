"""What a refusal of Binance means: one table from error code to reaction, and what an HTTP status adds to it.

The question that matters most is whether a request may have been executed: only VERIFY says so, and it is the answer
for everything that is not proven. Sources: "Error Code" and "General Info" (HTTP return codes) of USDS-M futures,
"Errors" of spot (developers.binance.com); facts C5 and C6.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec
from attrs import evolve, frozen

from venues.binance.wire_rest import WireError
from venues.port import RejectReason

_R = RejectReason
_MS_PER_S: Final = 1_000
_TEXT_CHARS_MAX: Final = 240


class Reaction(StrEnum):
    """What to do about it. All but VERIFY prove that nothing was executed; ALREADY_SO that it holds anyway.

    VERIFY: it may have been executed; ask before anything else is done about it, resend never.
    RESYNC_CLOCK: measure the clock again; signed anew it may be sent again.
    BACK_OFF: wait, send less; it may be sent again. BAN: send nothing at all before the time told.
    STOP_TRADING: the key, its permissions or its signature are wrong: alarm. HALT: the account or venue cannot trade.
    REDUCE_ONLY: only orders that reduce are taken. NEVER_RETRY: a bug of ours, or a rule we do not know: alarm.
    REJECT: an ordinary refusal. REQUOTE: it would have taken; quote again.
    QUERY_ORDER: look what the order is. READ_POSITION: look what the position is, it is not what was thought.
    NEW_LISTEN_KEY: make one.
    """

    VERIFY = "verify"
    RESYNC_CLOCK = "resync_clock"
    BACK_OFF = "back_off"
    BAN = "ban"
    STOP_TRADING = "stop_trading"
    HALT = "halt"
    REDUCE_ONLY = "reduce_only"
    NEVER_RETRY = "never_retry"
    REJECT = "reject"
    REQUOTE = "requote"
    QUERY_ORDER = "query_order"
    READ_POSITION = "read_position"
    NEW_LISTEN_KEY = "new_listen_key"
    ALREADY_SO = "already_so"


@frozen
class Verdict:
    """What one refusal means. `code` is 0 where the venue gave none.

    `until_ms` is when the venue takes requests again (its own clock, ms), `wait_s` how long to wait where it told a
    span instead; both None where it told neither.
    """

    reaction: Reaction
    reason: RejectReason
    code: int = 0
    text: str = ""
    until_ms: int | None = None
    wait_s: float | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether the request may have been executed."""
        return self.reaction is Reaction.VERIFY


def _rows() -> Iterable[tuple[Reaction, RejectReason, tuple[int, ...]]]:
    yield Reaction.VERIFY, _R.OTHER, (-1000, -1001, -1006, -1007)
    yield Reaction.RESYNC_CLOCK, _R.OTHER, (-1021, -5028)
    yield Reaction.BACK_OFF, _R.RATE_LIMIT, (-1003, -1004, -1008, -1015, -1034)
    yield Reaction.STOP_TRADING, _R.OTHER, (-1002, -1005, -1011, -1022, -1099, -2014, -2015, -2017, -4056, -4057)
    yield Reaction.STOP_TRADING, _R.OTHER, (-4088, -4402)
    yield Reaction.HALT, _R.HALTED, (-1016, -4109)
    yield Reaction.HALT, _R.IN_LIQUIDATION, (-2023,)
    yield Reaction.REDUCE_ONLY, _R.HALTED, (-4087, -4140, -4192, -4400, -4401, -4405, -4407, -4517, -4518, -4519)
    yield Reaction.NEW_LISTEN_KEY, _R.OTHER, (-1125,)
    yield Reaction.ALREADY_SO, _R.OTHER, (-4046, -4059, -4171, -5027)
    yield Reaction.QUERY_ORDER, _R.UNKNOWN_ORDER, (-2011, -2012, -2013, -4000, -4117)
    yield Reaction.QUERY_ORDER, _R.DUPLICATE_ID, (-4116,)
    yield Reaction.READ_POSITION, _R.REDUCE_ONLY, (-2022, -2024, -4118)
    yield Reaction.READ_POSITION, _R.OTHER, (-4047, -4048, -4067, -4068, -4167, -4168, -4169, -4170, -4172)
    yield Reaction.READ_POSITION, _R.POSITION_SIDE, (-4060, -4061, -4531)
    yield Reaction.REQUOTE, _R.WOULD_TAKE, (-5022,)
    yield (
        Reaction.REJECT,
        _R.OTHER,
        (-1010, -1013, -1112, -2010, -2020, -2025, -4045, -5021, -5024, -5026, -5041, -5043),
    )
    yield Reaction.REJECT, _R.HALTED, (-1122, -2016, -4022, -4141)
    yield Reaction.REJECT, _R.INSUFFICIENT_BALANCE, (-2018, -4050)
    yield Reaction.REJECT, _R.INSUFFICIENT_MARGIN, (-2019, -4051)
    yield Reaction.REJECT, _R.WOULD_TRIGGER, (-2021, -4142)
    yield Reaction.REJECT, _R.LEVERAGE, (-2027, -2028, -4028, -4161, -4202, -4203, -4205, -4206, -4208, -4209, -4403)
    yield Reaction.REJECT, _R.BAD_PRICE, (-4001, -4002, -4013)
    yield Reaction.REJECT, _R.OFF_TICK, (-1111, -4014, -4029)
    yield Reaction.REJECT, _R.OFF_LOT, (-4023, -4030)
    yield Reaction.REJECT, _R.BELOW_MIN_QTY, (-4003, -4004)
    yield Reaction.REJECT, _R.ABOVE_MAX_QTY, (-4005,)
    yield Reaction.REJECT, _R.BELOW_MIN_NOTIONAL, (-4164, -5029)
    yield Reaction.REJECT, _R.PRICE_BAND, (-4016, -4024, -4131, -4183, -4184)
    yield Reaction.REJECT, _R.BAD_TRIGGER, (-4006, -4007, -4135, -4210, -4211)
    yield Reaction.REJECT, _R.BAD_EXPIRY, (-5040,)
    yield Reaction.NEVER_RETRY, _R.UNKNOWN_INSTRUMENT, (-1121, -4144)
    yield Reaction.NEVER_RETRY, _R.REDUCE_ONLY, (-2026, -4062, -4137, -4138)
    yield Reaction.NEVER_RETRY, _R.UNSUPPORTED, (-1014, -1020, -4020, -4084, -4120, -4139, -5025, -5037, -5038, -5039)
    yield Reaction.NEVER_RETRY, _R.OTHER, (-1023, -1136, -4015, -4021, -4031, -4032, -4044, -4055, -4082, -4086)
    yield Reaction.NEVER_RETRY, _R.OTHER, (-4104, -4114, -4115, -4165)
    yield Reaction.NEVER_RETRY, _R.OTHER, (-4008, -4009, -4010, -4011, -4012, -4017, -4018, -4019, -4025, -4026, -4027)
    yield Reaction.NEVER_RETRY, _R.OTHER, tuple(code for code in range(-1130, -1099) if code not in _ELSEWHERE)


_ELSEWHERE: Final = frozenset({-1111, -1112, -1121, -1122, -1125})

REACTIONS: Final = {code: (reaction, reason) for reaction, reason, codes in _rows() for code in codes}
"""Every code of facts C6, and the others of the error pages that a request of ours could meet."""

_SPOT_WORDS: Final = (
    ("insufficient balance", Reaction.REJECT, _R.INSUFFICIENT_BALANCE),
    ("immediately match and take", Reaction.REQUOTE, _R.WOULD_TAKE),
    ("trigger immediately", Reaction.REJECT, _R.WOULD_TRIGGER),
    ("duplicate order", Reaction.QUERY_ORDER, _R.DUPLICATE_ID),
    ("market is closed", Reaction.REJECT, _R.HALTED),
    ("filter failure: price_filter", Reaction.REJECT, _R.OFF_TICK),
    ("filter failure: percent_price", Reaction.REJECT, _R.PRICE_BAND),
    ("filter failure: lot_size", Reaction.REJECT, _R.OFF_LOT),
    ("filter failure: market_lot_size", Reaction.REJECT, _R.OFF_LOT),
    ("filter failure: min_notional", Reaction.REJECT, _R.BELOW_MIN_NOTIONAL),
    ("filter failure: notional", Reaction.REJECT, _R.BELOW_MIN_NOTIONAL),
    ("unknown order", Reaction.QUERY_ORDER, _R.UNKNOWN_ORDER),
    ("may not place or cancel", Reaction.HALT, _R.HALTED),
)
"""Spot tells by the message of -1013 and -2010 what futures have codes for. Source: "Errors", "Messages for..."."""

_BANNED_UNTIL: Final = re.compile(r"banned until ([0-9]{10,16})")
_decode: Final = msgspec.json.Decoder(WireError).decode


def judge_code(code: int, text: str) -> Verdict:
    """Return what an error code means, in a reply, in one item of a batch, or beside an HTTP status.

    A code that is not in the table is judged by its kind: trouble of the venue may have been executed, a malformed
    request is a bug of ours, and what concerns orders and filters is refused.
    """
    known = REACTIONS.get(code)
    if code in (-1013, -2010):
        words = text.lower()
        for word, reaction, reason in _SPOT_WORDS:
            if word in words:
                known = (reaction, reason)
                break
    if known is None:
        known = _by_kind(code)
    until = _BANNED_UNTIL.search(text)
    reaction = Reaction.BAN if until and known[0] is Reaction.BACK_OFF else known[0]
    return Verdict(reaction, known[1], code, text[:_TEXT_CHARS_MAX], int(until[1]) if until else None)


def judge_http(status: int, body: bytes, *, changes: bool, retry_after: str | None = None) -> Verdict:
    """Return what an answer with an HTTP status of 400 or more means; the WebSocket API uses the same numbers.

    `changes` tells whether the request would have changed something: then what is not proven is VERIFY. For a request
    that only asked, it is BACK_OFF: it may be asked again. `retry_after` is the header's text, seconds.
    """
    verdict = _judge(status, body, retry_after)
    if verdict.reaction is Reaction.VERIFY and not changes:
        return evolve(verdict, reaction=Reaction.BACK_OFF)
    return verdict


def _judge(status: int, body: bytes, retry_after: str | None) -> Verdict:
    error = _error(body)
    text = error.msg if error is not None else body[:_TEXT_CHARS_MAX].decode(errors="replace")
    by_code = judge_code(error.code, text) if error is not None and error.code else None
    wait_s = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    if status in (418, 429):
        reaction = Reaction.BAN if status == 418 else Reaction.BACK_OFF
        until_ms = by_code.until_ms if by_code is not None else None
        code = by_code.code if by_code is not None else 0
        return Verdict(reaction, _R.RATE_LIMIT, code, text[:_TEXT_CHARS_MAX], until_ms, wait_s)
    if status == 403:
        # The firewall stands before the API: what it stops has not been looked at.
        return Verdict(Reaction.BACK_OFF, _R.RATE_LIMIT, 0, text[:_TEXT_CHARS_MAX], None, wait_s or _FIREWALL_S)
    if status == 503:
        return _unavailable(text, by_code)
    if status >= 500 or status == 408:
        return Verdict(Reaction.VERIFY, _R.OTHER, by_code.code if by_code else 0, text[:_TEXT_CHARS_MAX])
    if by_code is not None:
        return by_code
    return Verdict(Reaction.VERIFY, _R.OTHER, 0, f"HTTP {status} {text}"[:_TEXT_CHARS_MAX])


_FIREWALL_S: Final = 60.0


def _unavailable(text: str, by_code: Verdict | None) -> Verdict:
    """Tell the meanings of HTTP 503 apart; what is in none of the documented words may have been executed."""
    code = by_code.code if by_code is not None else 0
    if code == -1008 or "request throttled by system-level protection" in text.lower():
        return Verdict(Reaction.BACK_OFF, _R.RATE_LIMIT, code, text[:_TEXT_CHARS_MAX])
    if text.strip().rstrip(".").lower() == "service unavailable":
        return Verdict(Reaction.BACK_OFF, _R.RATE_LIMIT, code, text[:_TEXT_CHARS_MAX])
    return Verdict(Reaction.VERIFY, _R.OTHER, code, text[:_TEXT_CHARS_MAX])


def _by_kind(code: int) -> tuple[Reaction, RejectReason]:
    if -2000 < code <= -1100:
        return Reaction.NEVER_RETRY, _R.OTHER
    if -10_000 < code <= -2000:
        return Reaction.REJECT, _R.OTHER
    return Reaction.VERIFY, _R.OTHER


def _error(body: bytes) -> WireError | None:
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
