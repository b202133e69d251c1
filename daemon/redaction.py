"""What may not leave the process in a text: registered secrets, and whatever stands beside a name such as `signature`.

A secret is hidden as it is, in upper or lower case, quoted for a URL, escaped as in JSON or a Python literal, line by
line when it has several (a PEM key), and by its first and last characters when a text was cut within it.
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import cache, lru_cache
from itertools import islice
from math import isfinite
from typing import TypeVar
from urllib.parse import quote, quote_plus

_T = TypeVar("_T")

HIDDEN = "[secret]"
CUT = "[cut]"
SECRET_CHARS_MIN = 8
SECRET_CHARS_MAX = 4_096
TEXT_CHARS_MAX = 16_384
"""What of one text is kept."""

_DEPTH_MAX = 12
_NODES_MAX = 5_000
_KEY_CHARS = 64
_PART_CHARS = 16
"""So many characters of a long secret, from its start or its end, are hidden on their own."""

_WORDS = (
    "api[_-]?key|secret|secret[_-]?key|signature|token|listen[_-]?key|password|passwd|passphrase|private[_-]?key"
    "|authorization|cookie"
)
_KEY = re.compile(rf"(?:^|[^a-z])(?:{_WORDS}|sign)$|^secret", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# No part of these can match the same text in two ways: what is logged may be as long, and as odd, as a venue likes.
_BESIDE = re.compile(
    rf"""((?:{_WORDS}|(?<![^\W_])sign)["']?\s*[=:]\s*)"""
    r"""(?:(?:bearer|basic)\s+)?(?:"[^"]*"|'[^']*'|[^\s&"',;)}\]]+)""",
    re.IGNORECASE,
)
_USER_IN_URL = re.compile(r"(?<=://)[^/\s@:]+:[^/\s@]+(?=@)")
_HEADING = re.compile(r"-----.*-----")
_FIELD = re.compile(r"""["']?[\w.-]+["']?\s*[=:]\s*["']?([^\s"',]+)["']?,?""", re.ASCII)

_hidden: dict[str, None] = {}


class UnfitSecretError(ValueError):
    """A value cannot be kept out of texts: too short to be told from words, or longer than anybody's key."""


def register(value: str) -> None:
    """Keep `value` out of every text from now on. Raises UnfitSecretError, which does not repeat it.

    Of a value made of lines, such as `api_key = "..."` or a PEM key, each line and what it assigns is kept out as well.
    """
    if not SECRET_CHARS_MIN <= len(value) <= SECRET_CHARS_MAX:
        raise UnfitSecretError(f"{len(value)} characters; a secret has {SECRET_CHARS_MIN} to {SECRET_CHARS_MAX}")
    for piece in pieces(value):
        for form in _forms(piece):
            _hidden.setdefault(form)
    _pattern.cache_clear()


def redact(text: str) -> str:
    """Return `text` without secrets, at most TEXT_CHARS_MAX characters of it."""
    is_cut = len(text) > TEXT_CHARS_MAX
    if is_cut:
        text = text[: TEXT_CHARS_MAX + 2 * SECRET_CHARS_MAX]
    pattern = _pattern()
    if pattern is not None:
        text = pattern.sub(HIDDEN, text)
    # Asked first because it is much cheaper than to search.
    if "=" in text or ":" in text:
        text = _USER_IN_URL.sub(HIDDEN, _BESIDE.sub(rf"\1{HIDDEN}", text))
    if is_cut:
        # What was cut within a secret stands at the very end.
        return text[:-SECRET_CHARS_MAX][:TEXT_CHARS_MAX] + CUT
    return text


@lru_cache(maxsize=1_024)
def is_secret_key(key: str) -> bool:
    """Whether what is called so is never shown."""
    return _KEY.search(_CAMEL.sub("_", key)) is not None


def redacted(value: object) -> object:
    """Return `value` as what JSON can say, without secrets: dicts, lists, strings, finite numbers, truth, None.

    Never raises. What is nested too deep, or the rest of what has too many parts, is "[cut]".
    """
    return _Walk().of(value, 0)


class _Walk:
    def __init__(self) -> None:
        self._nodes = 0

    def of(self, value: object, depth: int) -> object:
        self._nodes += 1
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
            return value
        if depth == _DEPTH_MAX or self._nodes > _NODES_MAX:
            return CUT
        try:
            return self._composed(value, depth + 1)
        except Exception as error:  # noqa: BLE001 - anything may be logged, and its repr may raise anything
            return f"[{type(value).__name__}, unreadable: {type(error).__name__}]"

    def _composed(self, value: object, depth: int) -> object:
        if isinstance(value, Mapping):
            return {redact(str(key)): self._item(str(key), item, depth) for key, item in self._first(value.items())}
        if isinstance(value, list | tuple | Set | deque):
            return [self.of(item, depth) for item in self._first(value)]
        if isinstance(value, BaseException):
            return redact(f"{type(value).__name__}: {value}")
        # A string goes through str() as well: it may be of a class of its own.
        return redact(repr(value) if isinstance(value, bytes | bytearray) else str(value))

    def _item(self, key: str, value: object, depth: int) -> object:
        # Its end tells; and what is remembered of keys stays small.
        return HIDDEN if is_secret_key(key[-_KEY_CHARS:]) and value is not None else self.of(value, depth)

    def _first(self, items: Iterable[_T]) -> Iterator[_T]:
        return islice(items, max(0, _NODES_MAX - self._nodes))


def pieces(value: str) -> list[str]:
    """Return what of `value` is secret on its own: all of it, its lines, and what they assign."""
    lines = [line.strip() for line in value.splitlines() if not _HEADING.fullmatch(line.strip())]
    assigned = [match[1] for line in lines for match in _FIELD.finditer(line)]
    return [piece for piece in (value, *lines, *assigned) if len(piece) >= SECRET_CHARS_MIN]


def _forms(piece: str) -> list[str]:
    # A credential of several lines, or one that assigns, starts with words; what it assigns is a piece as well.
    is_value = "\n" not in piece and not _FIELD.match(piece.lstrip("{ "))
    parts = [piece[:_PART_CHARS], piece[-_PART_CHARS:]] if is_value and len(piece) >= 2 * _PART_CHARS else []
    forms = []
    for text in (piece, *parts):
        escaped = (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
        forms += [text, quote(text), quote(text, safe=""), quote_plus(text), *escaped]
    return forms


@cache
def _pattern() -> "re.Pattern[str] | None":
    longest_first = sorted(_hidden, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if longest_first else None
