"""Which ways reach people, and how long each may take."""

from urllib.parse import urlsplit

from attrs import Attribute, field, frozen
from attrs.validators import in_

from actors.config_checks import positive
from actors.notices import Urgency
from daemon.config_structure import Credential

_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def _is_address(_: object, attribute: "Attribute[str]", value: str) -> None:
    name, at, host = value.rpartition("@")
    if not at or not name or not host or any(char.isspace() or char in '<>,;:"' for char in value):
        raise ValueError(f"{attribute.name}: {value!r} is no address name@host")


def _are_addresses(instance: object, attribute: "Attribute[tuple[str, ...]]", value: tuple[str, ...]) -> None:
    if not value:
        raise ValueError(f"{attribute.name}: nobody is named")
    for one in value:
        _is_address(instance, attribute, one)  # type: ignore[arg-type]


def _is_url(_: object, attribute: "Attribute[str]", value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise ValueError(f"{attribute.name}: an http(s) address without a password in it")
    if parts.scheme == "http" and parts.hostname not in _HERE:
        raise ValueError(f"{attribute.name}: http only to this machine, https elsewhere")


def _is_port(_: object, attribute: "Attribute[int]", value: int) -> None:
    if not 1 <= value <= 65_535:
        raise ValueError(f"{attribute.name}: a port is 1 to 65535, got {value}")


@frozen
class Webhook:
    """Each notice is posted to `url` as JSON; `token` is sent as a bearer token. It must answer 2xx.

    What is less severe than `at_least` is not sent.
    """

    url: str = field(validator=_is_url)
    token: Credential | None = None
    at_least: str = field(default="warning", validator=in_([one.name.lower() for one in Urgency]))


@frozen
class Mail:
    """Each notice is a mail from `sender` to all of `to`, over SMTP with STARTTLS, which only this machine may lack.

    What is less severe than `at_least` is not sent.
    """

    host: str
    sender: str = field(validator=_is_address)
    to: tuple[str, ...] = field(validator=_are_addresses)
    port: int = field(default=587, validator=_is_port)
    username: str | None = None
    password: Credential | None = None
    starttls: bool = True
    at_least: str = field(default="serious", validator=in_([one.name.lower() for one in Urgency]))

    def __attrs_post_init__(self) -> None:
        if not self.starttls and self.host not in _HERE:
            raise ValueError("starttls: only a server on this machine may be spoken to without")
        if (self.username is None) != (self.password is None):
            raise ValueError("password: a username and a password go together")


@frozen
class ChannelsConfig:
    """Where notices go beside log and events. A channel has `timeout_ns` for each of `attempts`, `retry_ns` apart,
    doubled each time. At most `queue` notices wait for one; of more, the oldest that needs no acknowledgement goes.
    """

    timeout_ns: int = field(default=5_000_000_000, validator=positive)
    attempts: int = field(default=3, validator=positive)
    retry_ns: int = field(default=1_000_000_000, validator=positive)
    queue: int = field(default=100, validator=positive)
    webhook: Webhook | None = None
    mail: Mail | None = None


def credentials_of(config: ChannelsConfig) -> list[str]:
    """Return the names of the credentials that the channels need."""
    token = None if config.webhook is None else config.webhook.token
    password = None if config.mail is None else config.mail.password
    return [one.credential for one in (token, password) if one is not None]
