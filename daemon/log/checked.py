"""JSON files that carry their own checksum, so that no byte of them can change unseen."""

from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from daemon.log.disk import write_whole
from daemon.log.errors import LogCorruptError

_T = TypeVar("_T")


def write_checked(path: Path, content: object) -> tuple[int, str]:
    """Write an attrs object, whole or not at all; its field `checksum` is filled in.

    Returns size and SHA-256 of the file. Raises OSError.
    """
    return write_whole(path, _render(msgspec.to_builtins(content)))


def read_checked(path: Path, kind: type[_T]) -> _T:
    """Return what `write_checked` wrote, perhaps in an older build: a field that is not there has its default.

    Raises LogCorruptError, OSError when the file cannot be read.
    """
    data = path.read_bytes()
    try:
        plain = msgspec.json.decode(data)
        if not isinstance(plain, dict) or _render(dict(plain)) != data:
            raise LogCorruptError(path, "", "checksum of the file")
        return msgspec.convert(plain, kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise LogCorruptError(path, "", f"not what was written: {error}") from error


def _render(plain: dict[str, Any]) -> bytes:
    plain.pop("checksum", None)
    body = msgspec.json.encode(plain, order="sorted")
    plain["checksum"] = sha256(body).hexdigest()
    return msgspec.json.format(msgspec.json.encode(plain, order="sorted"), indent=2) + b"\n"
