"""Which build this is: the version and a digest of the sources that decide what a run does."""

from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("venues", "actors", "sim", "daemon")


@cache
def build_id() -> str:
    """Return `version+digest`; the digest changes with any source file of the four floors."""
    try:
        number = version("basisd")
    except PackageNotFoundError:
        number = "0"
    root = Path(__file__).resolve().parent.parent
    digest = sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{number}+{digest.hexdigest()[:12]}"
