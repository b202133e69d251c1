"""Where secrets come from, and that they stay where they are: a systemd credential, or a file of their owner alone.

A credential is one secret, or lines (`api_key = "..."`, a PEM key) that whoever uses it takes apart; what is no secret
does not belong there. One that others could read, or that stands in the environment or on the command line, is
refused: it is known already.
"""

import ctypes
import os
import resource
import stat
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Never, Protocol, final

from daemon.redaction import HIDDEN, SECRET_CHARS_MAX, UnfitSecretError, pieces, register

if TYPE_CHECKING:
    from daemon.config_account import AccountConfig

_TELLING_CHARS = 16
"""A line of a credential that is shorter may be a word that stands anywhere."""

_PR_SET_DUMPABLE = 4
_ACL = "system.posix_acl_access"
_ACL_ENTRY = struct.Struct("<HHI")
_ACL_VERSION = struct.pack("<I", 2)
_ACL_OWNER, _ACL_USER, _ACL_MASK = 0x01, 0x02, 0x10


class CredentialError(ValueError):
    """A credential cannot be used: `where` names the account, if any, and the file, `why` says the reason."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where = where
        self.why = why


class CredentialErrors(ValueError):  # noqa: N818 - many of the type CredentialError
    """Every credential of a configuration that cannot be used, one per line."""

    def __init__(self, errors: tuple[CredentialError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


@final
class Secret:
    """A value that shows itself only when asked: not when printed, copied, pickled or turned into JSON.

    It equals itself alone. Making one keeps its value out of every log line; UnfitSecretError tells of a value that is
    too short or too long for that.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        register(value)
        self.__value = value

    def reveal(self) -> str:
        """Return the value. What becomes of it is the caller's care."""
        return self.__value

    def __repr__(self) -> str:
        return HIDDEN

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a secret is neither pickled nor copied")

    def __getstate__(self) -> Never:
        raise TypeError("a secret is neither pickled nor copied")


class HasAccounts(Protocol):
    """What is read of a RunConfig."""

    @property
    def accounts(self) -> "Mapping[str, AccountConfig]": ...


def load_account_secrets(config: HasAccounts, folder: Path | None = None) -> dict[str, Secret]:
    """Return the secret of every account that names a credential, by account.

    Raises CredentialErrors with all that are not to be had, each naming account and file.
    """
    secrets: dict[str, Secret] = {}
    errors: list[CredentialError] = []
    for account in config.accounts.values():
        if account.credentials is None:
            continue
        try:
            secrets[account.id] = load(account.credentials.credential, folder)
        except CredentialError as error:
            errors.append(CredentialError(f"account {account.id}: {error.where}", error.why))
    if errors:
        raise CredentialErrors(tuple(errors))
    return secrets


def load(name: str, folder: Path | None = None) -> Secret:
    """Return the credential `name`: from the folder that systemd names, or from `folder`. Raises CredentialError."""
    told = os.environ.get("CREDENTIALS_DIRECTORY")
    place = Path(told) if told else folder
    if place is None:
        raise CredentialError(f"credential {name}", "no folder to look in: $CREDENTIALS_DIRECTORY is not set")
    if name in {"", ".", ".."} or "/" in name:
        raise CredentialError(f"credential {name!r}", "is a file's name, not a path")
    return read(place / name)


def read(path: Path) -> Secret:
    """Return what `path` holds, without the newline at its end. Raises CredentialError."""
    where = str(path)
    value = _text(where, _content(where))
    try:
        # Known to the log before anything is said about it.
        secret = Secret(value)
    except UnfitSecretError as error:
        raise CredentialError(where, f"holds {error}") from None
    for place in _known_from(value):
        raise CredentialError(where, f"its value stands in {place}: it is known to others, make a new one")
    return secret


def harden() -> None:
    """Leave no memory behind: no core file, no debugger of the same user, /proc/PID/mem for root alone.

    It lasts until the process executes another program. Raises OSError.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_DUMPABLE, 0): {os.strerror(number)}")


def _content(where: str) -> bytes:
    try:
        # Not to wait for the other end of a pipe.
        fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CredentialError(where, f"cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise CredentialError(where, "is not a file")
        if found.st_uid not in {0, os.geteuid()}:
            raise CredentialError(where, f"belongs to user {found.st_uid}, who can read it")
        if found.st_mode & 0o077 and not _is_ours_by_acl(fd):
            mode = stat.S_IMODE(found.st_mode)
            raise CredentialError(where, f"others may use it (mode {mode:04o}): chmod 600 {where}")
        return os.read(fd, 4 * SECRET_CHARS_MAX + 1)
    except OSError as error:
        raise CredentialError(where, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)


def _is_ours_by_acl(fd: int) -> bool:
    """Whether an access list explains the group's bits, and lets in nobody but the owner and us.

    systemd hands a credential to a service's user so, on file systems that can; the mode then shows the list's mask.
    """
    try:
        raw = os.getxattr(fd, _ACL)
    except OSError:
        return False
    if raw[:4] != _ACL_VERSION or (len(raw) - 4) % _ACL_ENTRY.size:
        return False
    return all(
        tag in {_ACL_OWNER, _ACL_MASK} or not may or (tag == _ACL_USER and who in {0, os.geteuid()})
        for tag, may, who in _ACL_ENTRY.iter_unpack(raw[4:])
    )


def _text(where: str, content: bytes) -> str:
    try:
        value = content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise CredentialError(where, f"is not UTF-8 text: byte {error.start}") from None
    if not value.strip():
        raise CredentialError(where, "is empty")
    return value


def _known_from(value: str) -> Iterator[str]:
    """Yield where else `value`, or enough of it, stands in the open."""
    telling = [value, *(piece for piece in pieces(value) if len(piece) >= _TELLING_CHARS)]
    for name, content in os.environ.items():
        if any(one in content for one in telling):
            yield f"the environment variable {name}"
    arguments = "\0".join([*sys.orig_argv, *sys.argv])
    if any(one in arguments for one in telling):
        yield "the command line"
