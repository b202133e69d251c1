"""What a credential says of an account's keys at a venue.

Either lines, in any order, of which `password` is for an encrypted PEM key only:

    api_key = "..."
    secret = "..."

or `api_key = "..."` and, instead of `secret`, a PEM block with an Ed25519 or RSA private key.
"""

import re
from typing import TYPE_CHECKING

from attrs import field, frozen

from daemon.secrets import CredentialError, Secret

if TYPE_CHECKING:
    from venues.binance.sign import Signer

_LINE = re.compile(r"(api_key|secret|password)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|(\S+))", re.ASCII)
_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)


@frozen
class Keys:
    """An account's API key and who signs with its secret; neither shows itself."""

    api_key: Secret
    signer: "Signer" = field(repr=False)


def read_keys(secret: Secret, where: str) -> Keys:
    """Return what the credential holds. Raises CredentialError, which repeats nothing of it."""
    # cryptography takes a while to import, and only processes that sign need it.
    from venues.binance.sign import SecretKeyError, signer_of  # noqa: PLC0415

    text = secret.reveal()
    block = _BLOCK.search(text)
    said: dict[str, str] = {}
    for number, line in enumerate(_BLOCK.sub("", text).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise CredentialError(where, f'line {number} is neither api_key = "...", secret = "..." nor a PEM key')
        said[found[1]] = found[2] or found[3] or found[4] or ""
    if not said.get("api_key"):
        raise CredentialError(where, 'holds no api_key = "..."')
    if bool(said.get("secret")) == (block is not None):
        raise CredentialError(where, 'holds either secret = "..." or a PEM key')
    key = said.get("secret") or (block[0] if block else "")
    try:
        return Keys(Secret(said["api_key"]), signer_of(key, said.get("password")))
    except (SecretKeyError, ValueError) as error:
        raise CredentialError(where, str(error)) from None
