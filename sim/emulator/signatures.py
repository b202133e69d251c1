"""Decides whether a request was signed by the holder of the account's key: HMAC, RSA or Ed25519."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from attrs import field, frozen
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

API_KEY: Final = re.compile(r"[0-9A-Za-z]{64}")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{64}")


class PublicKeyError(ValueError):
    """A public key that is none of ours to check with, and why."""


class KeyKind(StrEnum):
    HMAC = "HMAC_SHA256"
    RSA = "RSA"
    ED25519 = "ED25519"


@frozen
class Credentials:
    """The one API key of the venue. What is signed with the secret or by the public key's owner is the account's."""

    api_key: str
    secret: str = field(repr=False)
    public_key: RSAPublicKey | Ed25519PublicKey | None = None

    def kind_of(self, payload: bytes, signature: str) -> KeyKind | None:
        """Return what signed this, None when nobody of ours did.

        HMAC-SHA256 in hexadecimal of either case; RSA (PKCS#1 v1.5, SHA-256) and Ed25519 in base64. Source: Binance,
        derivatives general info, "SIGNED endpoint security".
        """
        if _HEX.fullmatch(signature):
            expected = hmac.new(self.secret.encode(), payload, hashlib.sha256).hexdigest()
            return KeyKind.HMAC if hmac.compare_digest(expected, signature.lower()) else None
        if self.public_key is None:
            return None
        try:
            # A plus sign that came unencoded was read as a blank.
            raw = base64.b64decode(signature.replace(" ", "+"), validate=True)
            if isinstance(self.public_key, Ed25519PublicKey):
                self.public_key.verify(raw, payload)
                return KeyKind.ED25519
            self.public_key.verify(raw, payload, PKCS1v15(), SHA256())
        except (binascii.Error, InvalidSignature):
            return None
        return KeyKind.RSA


def read_public_key(pem: bytes) -> RSAPublicKey | Ed25519PublicKey:
    """Return the key of a PEM file ("BEGIN PUBLIC KEY"). Raises PublicKeyError for anything else."""
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise PublicKeyError(f"not a public key in PEM: {error}") from None
    if not isinstance(key, RSAPublicKey | Ed25519PublicKey):
        raise PublicKeyError(f"a key of RSA or Ed25519 is wanted, not {type(key).__name__}")
    return key


def ws_payloads(params: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Return what a request of the WebSocket API may have signed: sorted by name, plain and percent-encoded."""
    pairs = sorted((name, value) for name, value in params.items() if name != "signature")
    plain = "&".join(f"{name}={value}" for name, value in pairs)
    encoded = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
    return plain.encode(), encoded.encode()
