"""What is kept out of texts, and what is left in."""

import json
from collections import deque
from decimal import Decimal
from enum import StrEnum
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import redaction
from daemon.redaction import CUT, HIDDEN, TEXT_CHARS_MAX, UnfitSecretError, is_secret_key, redact, redacted, register

KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
ODD = 'a b/c+d=e&f"g\\h\u00e4'
PEM = f"-----BEGIN PRIVATE KEY-----\n{KEY}\n{KEY[::-1]}\n-----END PRIVATE KEY-----\n"


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(redaction, "_hidden", {})
    redaction._pattern.cache_clear()
    yield
    monkeypatch.undo()
    redaction._pattern.cache_clear()


REGISTERED = [
    (KEY, f"key {KEY}.", "key [secret]."),
    (KEY, KEY.upper(), "[secret]"),
    (KEY, f"cut short: {KEY[:40]}...", f"cut short: [secret]{KEY[16:40]}..."),
    (KEY, f"the end of it: {KEY[-20:]}", f"the end of it: {KEY[-20:-16]}[secret]"),
    (KEY, f"too little to matter: {KEY[:10]}", f"too little to matter: {KEY[:10]}"),
    (ODD, f"x{ODD}y", "x[secret]y"),
    (ODD, f"x{quote(ODD)}y", "x[secret]y"),
    (ODD, f"x{quote(ODD, safe='').lower()}y", "x[secret]y"),
    (ODD, f"x{quote_plus(ODD)}y", "x[secret]y"),
    (ODD, "https://x/?a=" + urlencode({"k": ODD})[2:] + "&b=1", "https://x/?a=[secret]&b=1"),
    (ODD, json.dumps({"k": ODD}), '{"k": "[secret]"}'),
    (ODD, json.dumps({"k": ODD}, ensure_ascii=False), '{"k": "[secret]"}'),
    (ODD, repr({"k": ODD}), "{'k': '[secret]'}"),
    (PEM, f"{PEM}", "[secret]"),
    (PEM, f"line {KEY[::-1]}", "line [secret]"),
    (PEM, repr(PEM), "'[secret]'"),
    (PEM, "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----"),
    (
        f'name = "{KEY}"\nother: hunter2-hunter2',
        f"{KEY} and hunter2-hunter2 of other",
        "[secret] and [secret] of other",
    ),
    (f'{{"name": "{KEY}", "other": "hunter2-hunter2"}}', f"{KEY}, hunter2-hunter2", "[secret], [secret]"),
]


@pytest.mark.parametrize(("secret", "text", "left"), REGISTERED)
def test_what_is_registered_is_hidden_in_every_form(secret, text, left):
    register(secret)
    assert redact(text) == left


@pytest.mark.parametrize("value", ["", "short", "1234567", "x" * 4_097])
def test_what_cannot_be_hidden_is_refused(value):
    with pytest.raises(UnfitSecretError, match=f"^{len(value)} characters; a secret has 8 to 4096$"):
        register(value)


BESIDE = [
    ("/fapi/v1/order?symbol=X&signature=abc123&timestamp=1", "/fapi/v1/order?symbol=X&signature=[secret]&timestamp=1"),
    ("{'listenKey': 'pqia91ma19a5s61cv6a8'}", "{'listenKey': [secret]}"),
    ('{"apiSecret":"a b","x":1}', '{"apiSecret":[secret],"x":1}'),
    ("X-MBX-APIKEY: abc, X-BAPI-SIGN: def", "X-MBX-APIKEY: [secret], X-BAPI-SIGN: [secret]"),
    ("Authorization: Bearer abc.def", "Authorization: [secret]"),
    ("password = hunter2; next", "password = [secret]; next"),
    ("sign=ab12", "sign=[secret]"),
    ("https://me:hunter2@example.org/x", "https://[secret]@example.org/x"),
    # Left alone: words that only look like it.
    ("design: simple", "design: simple"),
    ("the token is missing", "the token is missing"),
    ("secrets are not written here", "secrets are not written here"),
    ("tokens=5", "tokens=5"),
    ("https://example.org:8080/x@y", "https://example.org:8080/x@y"),
    ("key=BTCUSDT", "key=BTCUSDT"),
]


@pytest.mark.parametrize(("text", "left"), BESIDE)
def test_what_stands_beside_a_telling_name(text, left):
    assert redact(text) == left


KEYS = {
    True: "api_key apiKey API-KEY X-MBX-APIKEY secret clientSecret secret_key secretKey signature sign X-BAPI-SIGN "
    "token confirm_token listenKey listen-key password db.passwd passphrase privateKey Authorization Set-Cookie",
    False: "key keys tokens design assigned sign_changes signal passed author credential credentials account symbol",
}


@pytest.mark.parametrize(("key", "is_secret"), [(key, is_it) for is_it, keys in KEYS.items() for key in keys.split()])
def test_keys_of_secrets(key, is_secret):
    assert is_secret_key(key) == is_secret


class Color(StrEnum):
    RED = "red"


class Rude:
    def __repr__(self):
        raise RuntimeError("no")


class RudeText(str):
    __slots__ = ()

    def __str__(self):
        raise RuntimeError("no")


PLAIN = [
    (None, None),
    (True, True),
    (5, 5),
    (1.5, 1.5),
    (float("nan"), "nan"),
    (float("-inf"), "-inf"),
    (Decimal("1.50"), "1.50"),
    (Color.RED, "red"),
    (b"abc", "b'abc'"),
    ((1, "a"), [1, "a"]),
    ({"b"}, ["b"]),
    (deque([1]), [1]),
    ({1: {"secret": {"deep": 1}, "api_key": None}}, {"1": {"secret": HIDDEN, "api_key": None}}),
    ({KEY: [{"x": KEY.encode()}]}, {HIDDEN: [{"x": f"b'{HIDDEN}'"}]}),
    (ValueError(f"bad {KEY}"), f"ValueError: bad {HIDDEN}"),
    (Rude(), "[Rude, unreadable: RuntimeError]"),
    (RudeText("x"), "[RudeText, unreadable: RuntimeError]"),
    ([Rude(), 1], ["[Rude, unreadable: RuntimeError]", 1]),
]


@pytest.mark.parametrize(("value", "plain"), PLAIN, ids=range(len(PLAIN)))
def test_everything_becomes_plain(value, plain):
    register(KEY)
    assert redacted(value) == plain
    json.dumps(redacted(value), allow_nan=False)


def test_what_has_no_end_is_cut():
    loop: list[object] = []
    loop += [loop] * 10
    assert CUT in json.dumps(redacted(loop))
    assert redacted(list(range(10**6))) == list(range(4_999))
    wide = {str(number): [number] * 10 for number in range(10_000)}
    assert len(json.dumps(redacted(wide))) < 200_000


def test_a_long_text_is_cut_where_no_secret_is_cut():
    register(KEY)
    assert redact("x" * TEXT_CHARS_MAX) == "x" * TEXT_CHARS_MAX
    for before in range(TEXT_CHARS_MAX - 70, TEXT_CHARS_MAX + 5):
        text = redact("x" * before + KEY + "y" * 20_000)
        assert len(text) <= TEXT_CHARS_MAX + len(CUT)
        assert KEY[:10] not in text
    assert KEY[:10] not in redact(KEY * 5_000)


@pytest.mark.parametrize(
    "unit", ["x", "secret", "secret=", "token:'", 'token="', "://a:", "sign ", "a:", "aA", "-_", " "]
)
def test_no_text_takes_long(unit):
    # A pattern that goes back over what it has read would need hours.
    for pattern in (redaction._BESIDE, redaction._USER_IN_URL, redaction._KEY, redaction._CAMEL):
        pattern.sub("", unit * 300_000)


SECRETS = st.text(min_size=8, max_size=60).filter(lambda text: text.strip() == text and "[secret]" not in text)
FORMS = st.sampled_from([str, repr, json.dumps, quote, quote_plus, lambda text: json.dumps([{"a": text}])])


@given(SECRETS, FORMS, st.text(max_size=30), st.text(max_size=30))
def test_no_secret_is_left(secret, form, before, after):
    redaction._hidden.clear()
    redaction._pattern.cache_clear()
    try:
        register(secret)
        left = redact(before + form(secret) + after)
    except UnicodeEncodeError:
        return
    assert secret not in left
    assert form(secret)[1:-1] not in left
