"""Decides what the parameters of a REST request are, and which text of it is signed."""

from typing import Final
from urllib.parse import unquote_to_bytes

from attrs import frozen

from sim.emulator.http_server import HttpRequest
from sim.emulator.routes import ApiError

_FORM: Final = "application/x-www-form-urlencoded"
_SIGNATURE: Final = "signature"


@frozen
class RequestText:
    """`params` as merged, the query's winning, without the signature; `payload` is what was to be signed.

    `decoded` is the payload with its percent signs decoded, which some clients sign.
    """

    params: dict[str, str]
    payload: bytes
    decoded: bytes
    signature: str | None


def read_request(request: HttpRequest) -> RequestText:
    """Return the parameters of a request: query string and form body, concatenated without an ampersand for signing.

    A GET has no body; another body than a form has no parameters. Raises ApiError (-1100) for text that is not UTF-8
    and (-1101) for a name given twice in one place. Source: Binance, derivatives general info, "Endpoint security
    type": the query string wins where a parameter is in both, totalParams = query string + request body.
    """
    query, query_signature = _split(request.query)
    body, body_signature = _split(_form(request))
    params = _pairs(body)
    params.update(_pairs(query))
    signature = query_signature if query_signature is not None else body_signature
    signature = None if signature is None else _decode(signature, _SIGNATURE)
    return RequestText(params, (query + body).encode(), _plain(query + body), signature)


def _form(request: HttpRequest) -> str:
    kind = request.headers.get("content-type", _FORM).partition(";")[0].strip().lower()
    if request.method == "GET" or kind != _FORM:
        return ""
    try:
        return request.body.decode()
    except UnicodeDecodeError:
        raise ApiError(-1100, "Illegal characters found in a parameter.") from None


def _split(text: str) -> tuple[str, str | None]:
    """Return the text without its signature, and the signature as it stands."""
    if _SIGNATURE not in text:
        return text, None
    kept: list[str] = []
    signature: str | None = None
    for piece in text.split("&"):
        name, _, value = piece.partition("=")
        if name == _SIGNATURE:
            signature = value
        else:
            kept.append(piece)
    return "&".join(kept), signature


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for piece in text.split("&"):
        if not piece:
            continue
        raw, _, value = piece.partition("=")
        name = _decode(raw, raw)
        if name in found:
            raise ApiError(-1101, f"Duplicate values for parameter '{name}' detected.")
        found[name] = _decode(value, name)
    return found


def _plain(text: str) -> bytes:
    return unquote_to_bytes(text.replace("+", " "))


def _decode(text: str, name: str) -> str:
    try:
        return _plain(text).decode()
    except UnicodeDecodeError:
        raise ApiError(-1100, f"Illegal characters found in parameter '{name}'.") from None
