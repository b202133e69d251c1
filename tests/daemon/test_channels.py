"""Notices through real servers on loopback: what arrives, what is tried again, and that nobody ever waits for it."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from message_sinks import http_sink, smtp_sink
from trio.testing import MockClock

from actors.notices import Notice, Urgency
from daemon.channels.channels import Channels, build_channels
from daemon.channels.config import ChannelsConfig, Mail, Webhook, credentials_of
from daemon.channels.mail import MailChannel
from daemon.channels.outlet import ChannelError, Outlet
from daemon.channels.webhook import WebhookChannel
from daemon.channels.words import body, subject
from daemon.config_structure import ConfigError, Credential, structure
from daemon.secrets import CredentialError, Secret

SECOND = 1_000_000_000
TOKEN = "tok-Zb91Qm4s8VxY7"
PASSWORD = "pw-4Kd82hQz5Lx0"


def notice(number=1, urgency=Urgency.CRITICAL, ref="margin/f", **changes):
    values: dict[str, Any] = {
        "subject": "margin call: f critical",
        "text": "margin of f is critical: coverage 1.100; now: add 900 USDT",
        "fields": {"shortfall": "900", "account": "f"},
        "needs_ack": urgency >= Urgency.CRITICAL,
    } | changes
    return Notice(1_700_000_000 * SECOND, number, ref, urgency, **values)


# Webhook


async def test_a_notice_is_posted_as_json_with_its_token() -> None:
    with http_sink() as sink:
        await WebhookChannel(sink.url, "demo", Secret(TOKEN), SECOND).send(notice())
    ((headers, told),) = sink.posts
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert told == {
        "run": "demo",
        "ts": 1_700_000_000 * SECOND,
        "number": 1,
        "ref": "margin/f",
        "urgency": "critical",
        "subject": "margin call: f critical",
        "text": "margin of f is critical: coverage 1.100; now: add 900 USDT",
        "fields": {"shortfall": "900", "account": "f"},
        "needs_ack": True,
        "is_over": False,
        "times": 1,
    }


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 503])
async def test_every_answer_but_success_is_a_failure(status: int) -> None:
    with http_sink() as sink:
        sink.statuses = [status]
        with pytest.raises(ChannelError, match=f"^status {status}$"):
            await WebhookChannel(sink.url, "demo", Secret(TOKEN), SECOND).send(notice())
    # A redirect is not followed: the token would go with it.
    assert len(sink.posts) == 1


async def test_nobody_there_is_a_failure_that_names_no_address() -> None:
    with http_sink() as sink:
        pass
    with pytest.raises(ChannelError) as caught:
        await WebhookChannel(sink.url, "demo", Secret(TOKEN), SECOND).send(notice())
    assert str(caught.value) == "ConnectError"


async def test_no_secret_leaves_with_a_notice() -> None:
    secret = Secret("hush-9Xw3kPq77Tt")
    with http_sink() as sink:
        channel = WebhookChannel(sink.url, "demo", None, SECOND)
        await channel.send(notice(text=f"refused with {secret.reveal()}", fields={"why": secret.reveal()}))
    ((headers, told),) = sink.posts
    assert "Authorization" not in headers
    assert secret.reveal() not in str(told)
    assert secret.reveal() not in body(notice(text=secret.reveal()), "demo")
    assert secret.reveal() not in subject(notice(subject=secret.reveal()), "demo")


# Mail


def mail(port, **changes):
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "sender": "desk@example.org",
        "to": ("ann@example.org", "bob@example.org"),
        "port": port,
        "starttls": False,
    } | changes
    return Mail(**values)


async def test_a_notice_is_a_mail_to_everybody() -> None:
    with smtp_sink() as sink:
        await MailChannel(mail(sink.port), "demo", None, SECOND).send(notice())
    ((addresses, message),) = sink.mails
    assert addresses == ["ann@example.org", "bob@example.org"]
    assert message["Subject"] == "[demo] CRITICAL margin call: f critical"
    assert message["From"] == "desk@example.org"
    assert message["X-Priority"] == "1"
    told = message.get_payload(decode=True)
    assert isinstance(told, bytes)
    lines = told.decode().splitlines()
    assert lines[0] == "margin of f is critical: coverage 1.100; now: add 900 USDT"
    assert "shortfall: 900" in lines
    assert "Acknowledge it: basisctl ack --reason ..." in lines


async def test_a_subject_cannot_smuggle_a_header() -> None:
    with smtp_sink() as sink:
        await MailChannel(mail(sink.port), "demo", None, SECOND).send(notice(subject="x\r\nBcc: eve@example.org"))
    ((addresses, message),) = sink.mails
    assert "eve@example.org" not in addresses
    assert message["Bcc"] is None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not there to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def tls(certificate: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return server, ssl.create_default_context(cafile=str(certificate / "cert.pem"))


async def test_the_password_goes_through_tls_alone(certificate: Path) -> None:
    server, client = tls(certificate)
    with smtp_sink(server) as sink:
        settings = mail(sink.port, starttls=True, username="desk", password=Credential("smtp"))
        await MailChannel(settings, "demo", Secret(PASSWORD), SECOND, client).send(notice())
    assert sink.logins == [("desk", PASSWORD)]
    assert sink.was_secure == [True]


async def test_a_certificate_of_somebody_else_is_refused_before_the_password(certificate: Path) -> None:
    server, _ = tls(certificate)
    with smtp_sink(server) as sink:
        settings = mail(sink.port, starttls=True, username="desk", password=Credential("smtp"))
        with pytest.raises(ChannelError, match=r"^SSLCertVerificationError$"):
            await MailChannel(settings, "demo", Secret(PASSWORD), SECOND).send(notice())
    assert (sink.logins, sink.mails) == ([], [])


async def test_a_server_without_tls_gets_nothing(certificate: Path) -> None:
    with smtp_sink() as sink:
        settings = mail(sink.port, starttls=True)
        with pytest.raises(ChannelError, match=r"^SMTPNotSupportedError$"):
            await MailChannel(settings, "demo", None, SECOND).send(notice())
    assert sink.mails == []


@pytest.mark.parametrize(
    ("verb", "reply", "why"),
    [
        ("MAIL", "451 later", "SMTPSenderRefused 451"),
        ("DATA", "554 no", "SMTPDataError 554"),
        ("RCPT", "550 nobody", "SMTPRecipientsRefused"),
    ],
)
async def test_a_mail_that_is_refused_is_a_failure(verb: str, reply: str, why: str) -> None:
    with smtp_sink() as sink:
        sink.replies[verb] = reply
        with pytest.raises(ChannelError, match=f"^{why}$"):
            await MailChannel(mail(sink.port), "demo", None, SECOND).send(notice())


# Outlets


@define
class Scripted:
    """A channel that does what it is told: `outcomes` are "" (sent), a reason, or "hang"."""

    outcomes: list[str] = field(factory=list)
    sent: list[int] = field(factory=list)

    async def send(self, notice: Notice) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes else ""
        if outcome == "hang":
            await trio.sleep_forever()
        if outcome:
            raise ChannelError(outcome)
        self.sent.append(notice.number)


@define
class Rig:
    channel: Scripted = field(factory=Scripted)
    changes: list[tuple[str, bool, str]] = field(factory=list)

    def outlet(self, **settings: Any) -> Outlet:
        values = {"at_least": Urgency.WARNING, "timeout_ns": 5 * SECOND, "attempts": 3, "retry_ns": SECOND, "size": 4}
        values |= settings
        return Outlet("hook", self.channel, on_change=lambda *one: self.changes.append(one), **values)  # type: ignore[arg-type]


async def settle(outlet: Outlet, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await outlet.run()


@pytest.mark.parametrize(
    ("outcomes", "sent", "changes"),
    [
        (["", ""], [1, 2], []),
        # Two failures are made good by the third attempt.
        (["status 500", "hang", ""], [1, 2], []),
        (
            ["status 500"] * 3,
            [2],
            [("hook", False, "status 500"), ("hook", True, "")],
        ),
        (["hang"] * 6, [], [("hook", False, "no answer within 5 s")]),
    ],
)
async def test_a_notice_is_tried_three_times(
    autojump_clock: MockClock, outcomes: list[str], sent: list[int], changes: list[tuple[str, bool, str]]
) -> None:
    rig = Rig(Scripted(outcomes))
    outlet = rig.outlet()
    outlet.post(notice(1))
    outlet.post(notice(2))
    await settle(outlet, 60)
    assert (rig.channel.sent, rig.changes) == (sent, changes)
    assert (outlet.counts["sent"], outlet.counts["failed"]) == (len(sent), 2 - len(sent))


async def test_attempts_are_further_and_further_apart(autojump_clock: MockClock) -> None:
    rig = Rig(Scripted(["no"] * 5))
    outlet = rig.outlet(attempts=5)
    outlet.post(notice())
    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outlet.run)
        while outlet.is_up:
            await trio.sleep(0.25)
        nursery.cancel_scope.cancel()
    # 1 + 2 + 4 + 8.
    assert trio.current_time() - begun == pytest.approx(15, abs=0.5)


async def test_the_queue_is_bounded_and_keeps_what_must_be_acknowledged(autojump_clock: MockClock) -> None:
    rig = Rig()
    outlet = rig.outlet()
    urgencies = (Urgency.CRITICAL, Urgency.WARNING, Urgency.CRITICAL, Urgency.CRITICAL, Urgency.CRITICAL)
    for number, urgency in enumerate(urgencies, 1):
        outlet.post(notice(number, urgency))
    outlet.post(notice(6))
    assert (outlet.waiting, outlet.counts["dropped"]) == (4, 2)
    await settle(outlet, 1)
    assert rig.channel.sent == [3, 4, 5, 6]


async def test_what_is_less_severe_is_not_sent_but_its_end_is(autojump_clock: MockClock) -> None:
    rig = Rig()
    outlet = rig.outlet(at_least=Urgency.CRITICAL)
    outlet.post(notice(1, Urgency.SERIOUS))
    outlet.post(notice(2, Urgency.CRITICAL))
    outlet.post(notice(3, Urgency.INFO, is_over=True))
    await settle(outlet, 1)
    assert rig.channel.sent == [2, 3]


async def test_a_channel_that_hangs_holds_up_no_other_and_is_told_there(autojump_clock: MockClock) -> None:
    broken, sound = Rig(Scripted(["hang"] * 100)), Rig()
    channels = Channels({"hook": broken.outlet(), "mail": sound.outlet()})
    channels.post(notice(1))
    channels.post(notice(2, ref="channel/hook"))
    with trio.move_on_after(2):
        await channels.run()
    assert sound.channel.sent == [1, 2]
    assert channels.outlets["hook"].waiting == 0
    assert channels.outlets["hook"].is_up


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with http_sink() as sink:
        sink.hangs = True
        rig = Rig()
        outlet = Outlet(
            "webhook",
            WebhookChannel(sink.url, "demo", None, SECOND // 20),
            Urgency.WARNING,
            SECOND // 10,
            1,
            1,
            4,
            lambda *one: rig.changes.append(one),
        )
        outlet.post(notice())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outlet.run)
            while not rig.changes:
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    assert rig.changes in ([("webhook", False, "ReadTimeout")], [("webhook", False, "no answer within 0.1 s")])


# Configuration


def read(table: dict[str, Any]) -> tuple[ChannelsConfig | None, list[str]]:
    errors: list[ConfigError] = []
    return structure(table, ChannelsConfig, "channels", errors), [str(one) for one in errors]


def test_channels_are_built_from_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    for name, value in (("hook", TOKEN), ("smtp", PASSWORD)):
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o600)
    config, errors = read(
        {
            "webhook": {"url": "https://hooks.example.org/x", "token": {"credential": "hook"}},
            "mail": {
                "host": "smtp.example.org",
                "sender": "desk@example.org",
                "to": ["ann@example.org"],
                "username": "desk",
                "password": {"credential": "smtp"},
            },
        }
    )
    assert errors == []
    assert config is not None
    assert credentials_of(config) == ["hook", "smtp"]
    built = build_channels(config, "demo", tmp_path, lambda *one: None)
    assert {name: one.at_least for name, one in built.outlets.items()} == {
        "webhook": Urgency.WARNING,
        "mail": Urgency.SERIOUS,
    }
    (tmp_path / "smtp").unlink()
    with pytest.raises(CredentialError):
        build_channels(config, "demo", tmp_path, lambda *one: None)


MAIL = {"host": "smtp.example.org", "sender": "desk@example.org", "to": ["ann@example.org"]}


@pytest.mark.parametrize(
    ("table", "path"),
    [
        ({"webhook": {"url": "http://hooks.example.org/x"}}, "channels.webhook.url"),
        ({"webhook": {"url": "ftp://hooks.example.org/x"}}, "channels.webhook.url"),
        ({"webhook": {"url": "https://ann:pw@hooks.example.org/x"}}, "channels.webhook.url"),
        ({"webhook": {"url": "https://hooks.example.org/x", "at_least": "awful"}}, "channels.webhook.at_least"),
        ({"webhook": {}}, "channels.webhook.url"),
        ({"mail": {**MAIL, "to": []}}, "channels.mail.to"),
        ({"mail": {**MAIL, "to": ["ann"]}}, "channels.mail.to"),
        ({"mail": {**MAIL, "sender": "x y@example.org"}}, "channels.mail.sender"),
        ({"mail": {**MAIL, "starttls": False}}, "channels.mail.starttls"),
        ({"mail": {**MAIL, "username": "desk"}}, "channels.mail.password"),
        ({"mail": {**MAIL, "port": 0}}, "channels.mail.port"),
        ({"queue": 0}, "channels.queue"),
    ],
)
def test_a_mistake_is_told_by_its_key(table: dict[str, Any], path: str) -> None:
    config, errors = read(table)
    assert config is None
    assert len(errors) == 1
    assert errors[0].startswith(f"{path}")


def test_no_channels_need_no_library() -> None:
    assert build_channels(ChannelsConfig(), "demo", None, lambda *one: None).outlets == {}
    assert credentials_of(ChannelsConfig(webhook=Webhook("https://example.org"))) == []
