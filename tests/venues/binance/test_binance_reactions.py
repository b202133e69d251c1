"""Every refusal of the venue has one meaning; only what is proven not to have happened is a refusal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from venues.binance.reactions import REACTIONS, Reaction, Verdict, judge_code, judge_http
from venues.port import RejectReason

A = Reaction
R = RejectReason

# Facts C6 in its own order.
C6 = [
    ((-1000, -1001, -1006, -1007), A.VERIFY),
    ((-1002, -2014, -2015, -1022), A.STOP_TRADING),
    ((-1003, -1008, -1015), A.BACK_OFF),
    ((-1021, -5028), A.RESYNC_CLOCK),
    ((-1100, -1101, -1102, -1103, -1104, -1105, -1106, -1115, -1116, -1117, -1121, -1128, -1130), A.NEVER_RETRY),
    ((-1111,), A.REJECT),
    ((-1125,), A.NEW_LISTEN_KEY),
    ((-2010, -2018, -2019, -2020, -2021, -2025, -2027, -2028), A.REJECT),
    ((-2011, -2013, -4116, -4117), A.QUERY_ORDER),
    ((-2022, -2024, -4047, -4048, -4067, -4068, -4061, -4118), A.READ_POSITION),
    ((-2023, -4109), A.HALT),
    ((-2026, -4015, -4062, -4120, -4137, -4138), A.NEVER_RETRY),
    ((-4001, -4002, -4003, -4004, -4005, -4013, -4014, -4016, -4023, -4024), A.REJECT),
    (
        (-4131, -4141, -4142, -4161, -4164, -4183, -4184, -4202, -4203, -4205, -4206, -4208, -4209, -4210, -4211),
        A.REJECT,
    ),
    ((-4046, -4059, -4171), A.ALREADY_SO),
    ((-4087, -4405, -4407, -4400, -4401, -4517, -4518, -4519, -4140, -4192), A.REDUCE_ONLY),
    ((-4088,), A.STOP_TRADING),
    ((-4531,), A.READ_POSITION),
    ((-5021, -5024, -5026, -5029, -5040, -5041, -5043), A.REJECT),
    ((-5022,), A.REQUOTE),
    ((-5025, -5037, -5038, -5039), A.NEVER_RETRY),
    ((-5027,), A.ALREADY_SO),
]


@pytest.mark.parametrize(("code", "reaction"), [(code, reaction) for codes, reaction in C6 for code in codes])
def test_every_code_of_the_facts(code: int, reaction: Reaction):
    assert code in REACTIONS
    assert judge_code(code, "").reaction is reaction


# What the desk is told. Source: the words of the error page beside each code.
REASONS = [
    (-2018, R.INSUFFICIENT_BALANCE),
    (-2019, R.INSUFFICIENT_MARGIN),
    (-2021, R.WOULD_TRIGGER),
    (-2022, R.REDUCE_ONLY),
    (-2023, R.IN_LIQUIDATION),
    (-2027, R.LEVERAGE),
    (-4014, R.OFF_TICK),
    (-1111, R.OFF_TICK),
    (-4023, R.OFF_LOT),
    (-4004, R.BELOW_MIN_QTY),
    (-4005, R.ABOVE_MAX_QTY),
    (-4164, R.BELOW_MIN_NOTIONAL),
    (-4016, R.PRICE_BAND),
    (-4131, R.PRICE_BAND),
    (-4002, R.BAD_PRICE),
    (-4061, R.POSITION_SIDE),
    (-4116, R.DUPLICATE_ID),
    (-5022, R.WOULD_TAKE),
    (-5040, R.BAD_EXPIRY),
    (-1121, R.UNKNOWN_INSTRUMENT),
    (-2011, R.UNKNOWN_ORDER),
    (-4141, R.HALTED),
    (-1015, R.RATE_LIMIT),
    (-4120, R.UNSUPPORTED),
    (-4142, R.WOULD_TRIGGER),
]


@pytest.mark.parametrize(("code", "reason"), REASONS)
def test_the_reason_the_desk_is_told(code: int, reason: RejectReason):
    assert judge_code(code, "").reason is reason


# Source: "Errors" of spot, messages for -1010, -1013, -2010, -2011.
SPOT = [
    (-1013, "Filter failure: PRICE_FILTER", A.REJECT, R.OFF_TICK),
    (-1013, "Filter failure: LOT_SIZE", A.REJECT, R.OFF_LOT),
    (-1013, "Filter failure: NOTIONAL", A.REJECT, R.BELOW_MIN_NOTIONAL),
    (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE", A.REJECT, R.PRICE_BAND),
    (-2010, "Account has insufficient balance for requested action.", A.REJECT, R.INSUFFICIENT_BALANCE),
    (-2010, "Order would immediately match and take.", A.REQUOTE, R.WOULD_TAKE),
    (-2010, "Duplicate order sent.", A.QUERY_ORDER, R.DUPLICATE_ID),
    (-2010, "Stop price would trigger immediately.", A.REJECT, R.WOULD_TRIGGER),
    (-2010, "Something new.", A.REJECT, R.OTHER),
]


@pytest.mark.parametrize(("code", "text", "reaction", "reason"), SPOT)
def test_spot_tells_by_its_words(code: int, text: str, reaction: Reaction, reason: RejectReason):
    verdict = judge_code(code, text)
    assert (verdict.reaction, verdict.reason, verdict.text) == (reaction, reason, text)


UNKNOWN = "Unknown error, please check your request or try again later."
# Facts C5: the meanings of HTTP 503, then the other statuses.
STATUSES = [
    (503, {"code": -1000, "msg": UNKNOWN}, A.VERIFY),
    (503, UNKNOWN, A.VERIFY),
    (503, {"code": -1000, "msg": "Service Unavailable."}, A.BACK_OFF),
    (503, "Service Unavailable.", A.BACK_OFF),
    (503, {"msg": "Service Unavailable."}, A.BACK_OFF),
    (503, {"code": -1001, "msg": "Internal error; unable to process your request. Please try again."}, A.VERIFY),
    (503, {"code": -1008, "msg": "Request throttled by system-level protection."}, A.BACK_OFF),
    (503, "<html>upstream said Service Unavailable</html>", A.VERIFY),
    (503, "", A.VERIFY),
    (408, "", A.VERIFY),
    (500, "", A.VERIFY),
    (502, "<html>", A.VERIFY),
    (504, {"code": -1007, "msg": "Timeout waiting for response from backend server."}, A.VERIFY),
    (500, {"code": -2019, "msg": "Margin is insufficient."}, A.VERIFY),
    (429, {"code": -1003, "msg": "Too many requests."}, A.BACK_OFF),
    (418, {"code": -1003, "msg": "Way too many requests; IP banned until 1573459200000."}, A.BAN),
    (403, "<html>Forbidden</html>", A.BACK_OFF),
    (400, {"code": -2019, "msg": "Margin is insufficient."}, A.REJECT),
    (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, A.STOP_TRADING),
    (400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}, A.RESYNC_CLOCK),
    (400, "<html>who said this?</html>", A.VERIFY),
    (400, "{}", A.VERIFY),
]


def body(told: object) -> bytes:
    return told.encode() if isinstance(told, str) else json.dumps(told).encode()


@pytest.mark.parametrize(("status", "told", "reaction"), STATUSES)
def test_an_http_status(status: int, told: object, reaction: Reaction):
    verdict = judge_http(status, body(told), changes=True)
    assert verdict.reaction is reaction
    assert verdict.is_unknown == (reaction is A.VERIFY)


@pytest.mark.parametrize(("status", "told", "reaction"), STATUSES)
def test_a_question_may_be_asked_again(status: int, told: object, reaction: Reaction):
    expected = A.BACK_OFF if reaction is A.VERIFY else reaction
    assert judge_http(status, body(told), changes=False).reaction is expected


def test_until_when_nothing_is_taken():
    text = "Way too many requests; IP(1.2.3.4) banned until 1573459200000. Please use websockets."
    ban = {
        "code": -1003,
        "msg": "Way too many requests; IP(1.2.3.4) banned until 1573459200000. Please use websockets.",
    }
    assert judge_http(418, body(ban), changes=True).until_ms == 1573459200000
    assert judge_http(429, b"", changes=True, retry_after="17").wait_s == 17.0
    assert judge_http(429, b"", changes=True, retry_after="soon").wait_s is None
    # A ban is one whatever the status beside it: the WebSocket API has only the message.
    assert judge_code(-1003, text).reaction is A.BAN


@pytest.mark.parametrize(
    ("code", "reaction"),
    [
        (-1099 - 40, A.NEVER_RETRY),
        (-1060, A.VERIFY),
        (-2999, A.REJECT),
        (-4999, A.REJECT),
        (-20_001, A.VERIFY),
        (-7, A.VERIFY),
        (0, A.VERIFY),
        (200, A.VERIFY),
    ],
)
def test_a_code_nobody_knows_is_judged_by_its_kind(code: int, reaction: Reaction):
    assert code not in REACTIONS
    assert judge_code(code, "x" * 999).reaction is reaction
    assert len(judge_code(code, "x" * 999).text) <= 240


@given(st.integers(400, 599), st.binary(max_size=200), st.booleans(), st.none() | st.text(max_size=8))
def test_no_answer_is_beyond_judging(status: int, raw: bytes, changes: bool, retry_after: str | None):
    verdict = judge_http(status, raw, changes=changes, retry_after=retry_after)
    assert isinstance(verdict, Verdict)
    assert changes or not verdict.is_unknown
