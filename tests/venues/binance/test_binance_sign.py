"""Signatures match the published vectors; keys never show themselves."""

import base64
import copy
import pickle
from urllib.parse import parse_qsl, unquote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from venues.binance.calls import BinanceCall, stamped, ws_params
from venues.binance.sign import (
    HmacSigner,
    SecretKeyError,
    SignatureKind,
    query_of,
    signed_query,
    signed_ws_params,
    signer_of,
    ws_payload,
)

# Facts C2: "SIGNED Endpoint Examples for POST /fapi/v1/order" of USDS-M futures.
FUTURES_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
FUTURES_PARAMS = (
    ("symbol", "BTCUSDT"),
    ("side", "BUY"),
    ("type", "LIMIT"),
    ("quantity", "1"),
    ("price", "9000"),
    ("timeInForce", "GTC"),
    ("recvWindow", "5000"),
    ("timestamp", "1591702613943"),
)
FUTURES_SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"

# "SIGNED request example (HMAC)" of the spot WebSocket API: signed sorted by name, apiKey among the parameters.
SPOT_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SPOT_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
SPOT_PARAMS = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01000000",
    "price": "52000.00",
    "newOrderRespType": "ACK",
    "recvWindow": 100,
    "timestamp": 1645423376532,
}
SPOT_SIGNATURE = "cc15477742bd704c29492d96c7ead9414dfd8e0ec4a00f947bb5bb454ddbd08a"

# "Signature computation" of the spot FIX API: the only private key the venue has published with a signature.
ED25519_PEM = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIIJEYWtGBrhACmb9Dvy+qa8WEf0lQOl1s4CLIAB9m89u
-----END PRIVATE KEY-----"""
ED25519_PAYLOAD = "A\x01EXAMPLE\x01SPOT\x011\x0120240627-11:17:25.223"
ED25519_SIGNATURE = "4MHXelVVcpkdwuLbl6n73HQUXUf1dse2PCgT1DYqW9w8AVZ1RACFGM+5UdlGPrQHrgtS3CvsRURC1oj73j8gCA=="

# RFC 7515, appendix A.2: RSASSA-PKCS1-v1_5 with SHA-256, as the venue asks for.
RSA_N = (
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pC"
    "gNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg6"
    "65xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW"
    "yuXpoQ"
)
RSA_D = (
    "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pW"
    "J1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2Qv"
    "Xt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRu"
    "OopznQ"
)
RSA_PAYLOAD = (
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl"
    "fQ"
)
RSA_SIGNATURE = (
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB//dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh+0Qc/lF5YKt/O8W2Fp5jujGbds9uJdbF9CUAr7t"
    "1dnZcAcQjbKBYNX4BAynRFdiuB++f/nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB/eSN9383LcOLn6/dO++xi12j"
    "zDwusC+eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN/IoypGlUPQ"
    "Ge77Rw=="
)


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def _rsa_pem() -> str:
    n, e, d = _number(RSA_N), 65537, _number(RSA_D)
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, n)
    )
    return numbers.private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_hmac_of_the_futures_example():
    assert signed_query(FUTURES_PARAMS, HmacSigner(FUTURES_SECRET)) == (
        "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
        f"&timestamp=1591702613943&signature={FUTURES_SIGNATURE}"
    )


def test_hmac_of_the_websocket_example():
    signed = signed_ws_params(SPOT_PARAMS, SPOT_KEY, HmacSigner(SPOT_SECRET))
    assert signed == {**SPOT_PARAMS, "apiKey": SPOT_KEY, "signature": SPOT_SIGNATURE}


def test_ed25519_of_the_published_key():
    signer = signer_of(ED25519_PEM)
    assert signer.kind is SignatureKind.ED25519
    assert signer.sign(ED25519_PAYLOAD) == ED25519_SIGNATURE


def test_rsa_of_the_published_key():
    signer = signer_of(_rsa_pem())
    assert signer.kind is SignatureKind.RSA
    assert signer.sign(RSA_PAYLOAD) == RSA_SIGNATURE


def test_a_base64_signature_is_percent_encoded_in_a_query():
    query = signed_query((("timestamp", "1"),), signer_of(ED25519_PEM))
    signature = query.partition("&signature=")[2]
    assert not set("+/=") & set(signature)
    assert unquote(signature) == signer_of(ED25519_PEM).sign("timestamp=1")


def test_names_beyond_ascii_are_encoded_before_they_are_signed():
    # Symbols of this kind exist since 2025-10 (facts C2).
    params = (("symbol", "币安人生USDT"), ("timestamp", "1"))
    encoded = "symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&timestamp=1"
    assert query_of(params) == encoded
    signer = HmacSigner(FUTURES_SECRET)
    assert signed_query(params, signer) == f"{encoded}&signature={signer.sign(encoded)}"
    assert ws_payload(dict(params)) == "symbol=币安人生USDT&timestamp=1"


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))))
def test_a_query_is_read_back_as_it_was_meant(params: list[tuple[str, str]]):
    assert parse_qsl(query_of(params), keep_blank_values=True, strict_parsing=bool(params)) == params


def test_what_is_sent_is_stamped_last():
    call = BinanceCall("GET", "/fapi/v3/account", (("symbol", "BTCUSDT"),))
    assert query_of(stamped(call, 1700000000123, 5000)) == "symbol=BTCUSDT&recvWindow=5000&timestamp=1700000000123"


def test_whole_numbers_are_numbers_for_the_websocket_api():
    params = (("symbol", "BTCUSDT"), ("quantity", "1"), ("orderId", "7"), ("goodTillDate", "1700000000000"))
    assert ws_params(params) == {"symbol": "BTCUSDT", "quantity": "1", "orderId": 7, "goodTillDate": 1700000000000}


@pytest.mark.parametrize("secret", [FUTURES_SECRET, ED25519_PEM, _rsa_pem()], ids=["hmac", "ed25519", "rsa"])
def test_a_key_never_shows_itself(secret: str):
    signer = signer_of(secret)
    pieces = [line for line in secret.splitlines() if not line.startswith("-")]
    for text in (repr(signer), str(signer), f"{signer!r:>80}"):
        assert not any(piece in text for piece in pieces)
    assert not hasattr(signer, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            leak(signer)


def _pem(key: "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey") -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("", "one word"),
        ("two words", "one word"),
        ("schlüssel", "one word"),
        ("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----", "cannot be read"),
        ("-----BEGIN PRIVATE KEY-----", "cannot be read"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "neither an Ed25519 nor an RSA"),
        (_pem(rsa.generate_private_key(65537, 1024)), "1024 bits"),
    ],
    ids=["empty", "words", "ascii", "nonsense", "cut", "ec", "short"],
)
def test_an_unfit_secret_is_refused_and_not_repeated(secret: str, why: str):
    with pytest.raises(SecretKeyError, match=why) as refused:
        signer_of(secret)
    assert not any(line in str(refused.value) for line in secret.splitlines() if len(line) > 9)
    assert refused.value.__cause__ is None
