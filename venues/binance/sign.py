"""How a request to Binance is signed: the payload, the three kinds of key, where the signature stands.

REST signs the percent-encoded parameters in the order in which they are sent, the signature comes last. The WebSocket
API signs its parameters sorted by name and as they are. Sources: "SIGNED Endpoint Security" of the USDS-M futures
general info, "Request security" of the spot REST and WebSocket APIs (developers.binance.com).
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Never, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

Params = Sequence[tuple[str, str]]
"""Parameters of a request in the order in which they are sent, not yet percent-encoded."""

_HIDDEN: Final = "<hidden>"
_UNRESERVED: Final = "-_.~"
_PLAIN: Final = re.compile(r"[A-Za-z0-9._~-]*")
_PEM: Final = "-----BEGIN "
_RSA_BITS_MIN: Final = 2048


class SignatureKind(StrEnum):
    HMAC = "hmac"
    RSA = "rsa"
    ED25519 = "ed25519"


class SecretKeyError(ValueError):
    """A secret that no signature can be made with. The message never holds any of it."""


class Signer(Protocol):
    """Whoever can sign: `sign` takes the payload and returns the signature as text, not percent-encoded."""

    kind: SignatureKind

    def sign(self, payload: str) -> str: ...


class _Sealed:
    """Holds a key and never shows it: not printed, copied or pickled."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_HIDDEN})"

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a key is neither pickled nor copied")

    def __getstate__(self) -> Never:
        raise TypeError("a key is neither pickled nor copied")


class HmacSigner(_Sealed):
    """HMAC-SHA256 with the secret of a system-generated key, 64 lower-case hexadecimal digits."""

    __slots__ = ("__key",)
    kind = SignatureKind.HMAC

    def __init__(self, secret: str) -> None:
        if not secret or not secret.isascii() or any(char.isspace() for char in secret):
            raise SecretKeyError("an HMAC secret is one word of ASCII characters")
        self.__key = secret.encode()

    def sign(self, payload: str) -> str:
        return hmac.digest(self.__key, payload.encode(), "sha256").hex()


class Ed25519Signer(_Sealed):
    """Ed25519, base64. The only kind that a session of the WebSocket API can be logged on with."""

    __slots__ = ("__key",)
    kind = SignatureKind.ED25519

    def __init__(self, key: "Ed25519PrivateKey") -> None:
        self.__key = key

    def sign(self, payload: str) -> str:
        return base64.b64encode(self.__key.sign(payload.encode())).decode()


class RsaSigner(_Sealed):
    """RSASSA-PKCS1-v1_5 with SHA-256, base64."""

    __slots__ = ("__key", "__padding")
    kind = SignatureKind.RSA

    def __init__(self, key: "RSAPrivateKey") -> None:
        from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415 - only RSA keys pay for it
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415

        self.__key = key
        self.__padding = (padding.PKCS1v15(), SHA256())

    def sign(self, payload: str) -> str:
        return base64.b64encode(self.__key.sign(payload.encode(), *self.__padding)).decode()


def signer_of(secret: str, password: str | None = None) -> HmacSigner | Ed25519Signer | RsaSigner:
    """Return the signer for `secret`: a PEM private key (PKCS#8 or PKCS#1), else the secret of an HMAC key.

    Raises SecretKeyError for a PEM key that cannot be read, is of another kind, or an RSA key below 2048 bits.
    """
    if not secret.lstrip().startswith(_PEM):
        return HmacSigner(secret)
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - only PEM keys pay for it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(secret.strip().encode(), password.encode() if password else None)
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
        raise SecretKeyError("the PEM key cannot be read, or its password is missing or wrong") from None
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519Signer(key)
    if not isinstance(key, RSAPrivateKey):
        raise SecretKeyError("the PEM key is neither an Ed25519 nor an RSA private key")
    if key.key_size < _RSA_BITS_MIN:
        raise SecretKeyError(f"the RSA key has {key.key_size} bits, at least {_RSA_BITS_MIN} are taken")
    return RsaSigner(key)


def query_of(params: Params) -> str:
    """Return `params` percent-encoded (UTF-8, RFC 3986 unreserved characters kept) and joined, in their order."""
    return "&".join([f"{_encoded(name)}={_encoded(value)}" for name, value in params])


def signed_query(params: Params, signer: Signer) -> str:
    """Return the query or form body to send: `params` (with `timestamp` among them) and the signature as the last."""
    query = query_of(params)
    return f"{query}&signature={_encoded(signer.sign(query))}"


def ws_payload(params: Mapping[str, object]) -> str:
    """Return what the WebSocket API signs: all parameters but the signature, sorted by name, not encoded."""
    return "&".join(f"{name}={_text(value)}" for name, value in sorted(params.items()) if name != "signature")


def signed_ws_params(params: Mapping[str, Any], api_key: str, signer: Signer) -> dict[str, Any]:
    """Return `params` (with `timestamp` among them) with `apiKey` and `signature` for a request outside a session.

    `session.logon` is signed the same way, by an Ed25519 key.
    """
    signed = {**params, "apiKey": api_key}
    signed["signature"] = signer.sign(ws_payload(signed))
    return signed


def _encoded(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, _UNRESERVED)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
