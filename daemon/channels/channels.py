"""Which channels there are for a configuration, and what each of them is told."""

from collections.abc import Callable, Mapping
from pathlib import Path

import trio

from actors.notices import CHANNEL, Notice, Urgency
from daemon.channels.config import ChannelsConfig
from daemon.channels.outlet import Channel, Outlet
from daemon.config_structure import Credential
from daemon.logs import get_logger
from daemon.secrets import Secret, load

_log = get_logger("notice")
_LEVELS = {Urgency.INFO: "info", Urgency.WARNING: "warning", Urgency.SERIOUS: "error"}


class Channels:
    """The log and the outlets. Telling never waits and never fails."""

    def __init__(self, outlets: Mapping[str, Outlet]) -> None:
        self.outlets = dict(outlets)

    def post(self, notice: Notice) -> None:
        """Tell everybody, but nobody about himself."""
        level = "info" if notice.is_over else _LEVELS.get(notice.urgency, "critical")
        _log.say(level, notice.subject, ref=notice.ref, text=notice.text, number=notice.number, times=notice.times)
        for name, outlet in self.outlets.items():
            if notice.ref != CHANNEL + name:
                outlet.post(notice)

    async def run(self) -> None:
        """Bring notices through until cancelled."""
        async with trio.open_nursery() as nursery:
            for outlet in self.outlets.values():
                nursery.start_soon(outlet.run)
            await trio.sleep_forever()


def build_channels(
    config: ChannelsConfig, run: str, folder: Path | None, on_change: Callable[[str, bool, str], None]
) -> Channels:
    """Return the channels of the desk `run`; credentials are looked for where systemd says, or in `folder`.

    Raises CredentialError.
    """
    outlets: dict[str, Outlet] = {}

    def add(name: str, channel: Channel, at_least: str) -> None:
        outlets[name] = Outlet(
            name,
            channel,
            Urgency[at_least.upper()],
            config.timeout_ns,
            config.attempts,
            config.retry_ns,
            config.queue,
            on_change,
        )

    if config.webhook is not None:
        # A desk without one does without the libraries.
        from daemon.channels.webhook import WebhookChannel  # noqa: PLC0415

        token = _secret(config.webhook.token, folder)
        add("webhook", WebhookChannel(config.webhook.url, run, token, config.timeout_ns), config.webhook.at_least)
    if config.mail is not None:
        from daemon.channels.mail import MailChannel  # noqa: PLC0415

        password = _secret(config.mail.password, folder)
        add("mail", MailChannel(config.mail, run, password, config.timeout_ns), config.mail.at_least)
    return Channels(outlets)


def _secret(credential: Credential | None, folder: Path | None) -> Secret | None:
    return None if credential is None else load(credential.credential, folder)
