"""Sends notices as mails, from a thread: the standard library's SMTP waits."""

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import trio

from actors.notices import Notice
from daemon.channels.config import Mail
from daemon.channels.outlet import ChannelError
from daemon.channels.words import body, subject
from daemon.secrets import Secret

_WORKERS = trio.CapacityLimiter(1)
"""One mail at a time: a server that hangs holds up one thread, not one for each notice."""


class MailChannel:
    """`context` checks the server's certificate; another one is for tests."""

    def __init__(
        self, settings: Mail, run: str, password: Secret | None, timeout_ns: int, context: ssl.SSLContext | None = None
    ) -> None:
        self._settings = settings
        self._run = run
        self._password = password
        self._timeout_s = timeout_ns / 1e9
        self._context = context

    async def send(self, notice: Notice) -> None:
        """Send one notice. Raises ChannelError, which holds nothing of the password."""
        # Not waited for once it is late: its own time-out ends it.
        await trio.to_thread.run_sync(self._send, notice, abandon_on_cancel=True, limiter=_WORKERS)

    def _send(self, notice: Notice) -> None:
        settings = self._settings
        try:
            with smtplib.SMTP(settings.host, settings.port, timeout=self._timeout_s) as server:
                if settings.starttls:
                    server.starttls(context=self._context or ssl.create_default_context())
                if settings.username is not None and self._password is not None:
                    server.login(settings.username, self._password.reveal())
                refused = server.send_message(self._message(notice))
        except smtplib.SMTPResponseException as error:
            raise ChannelError(f"{type(error).__name__} {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise ChannelError(type(error).__name__) from None
        if refused:
            raise ChannelError(f"{len(refused)} of {len(settings.to)} addresses were refused")

    def _message(self, notice: Notice) -> EmailMessage:
        made = EmailMessage()
        made["Subject"] = subject(notice, self._run)
        made["From"] = self._settings.sender
        made["To"] = ", ".join(self._settings.to)
        made["Date"] = formatdate(notice.ts / 1e9)
        made["Message-ID"] = make_msgid(domain=self._settings.sender.rpartition("@")[2])
        if notice.needs_ack:
            made["X-Priority"] = "1"
        made.set_content(body(notice, self._run))
        return made
