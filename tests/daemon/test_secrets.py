"""Where secrets are taken from, what is refused, and that a canary put everywhere is nowhere to be seen."""

import copy
import json
import os
import pickle
import re
import resource
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from daemon.config import load as load_config
from daemon.kinds import KINDS
from daemon.secrets import CredentialError, CredentialErrors, Secret, load, load_account_secrets, read

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "demo.toml"
VALUE = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zv"
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def write(tmp_path):
    def write(content=VALUE, mode=0o600, name="perp-main"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return write


@pytest.fixture(autouse=True)
def no_folder(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


# The type


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{:>20}".format, lambda one: f"{one!r:.3}x", "%s".__mod__])
def test_a_secret_shows_itself_to_nobody(show):
    shown = show(Secret(VALUE))
    assert VALUE[:4] not in shown
    assert shown.startswith("[se")


def test_a_secret_is_revealed_when_asked():
    assert Secret(VALUE).reveal() == VALUE


def test_a_secret_equals_itself_alone():
    one = Secret(VALUE)
    assert one == one  # noqa: PLR0124 - that is the question
    assert one != Secret(VALUE)
    assert one.__eq__(VALUE) is not True
    assert hash(one) != hash(VALUE)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps, json.dumps, msgspec.json.encode, vars])
def test_a_secret_is_not_copied_out(copied):
    with pytest.raises(TypeError) as caught:
        copied(Secret(VALUE))
    assert VALUE not in str(caught.value)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            pickle.dumps(Secret(VALUE), protocol)


# Loading


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (VALUE, VALUE),
        (f"{VALUE}\n", VALUE),
        (f"{VALUE}\r\n", VALUE),
        (f"{VALUE}\n\n", f"{VALUE}\n"),
        (f" {VALUE}", f" {VALUE}"),
    ],
    ids=range(5),
)
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_is_read(write, content, value, mode):
    assert read(write(content, mode)).reveal() == value


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o601, 0o602, 0o644, 0o666, 0o777, 0o440])
def test_a_file_that_others_may_use_is_refused(write, mode):
    path = write(mode=mode)
    with pytest.raises(CredentialError, match=rf"^{path}: others may use it \(mode 0{mode:o}\): chmod 600 {path}$"):
        read(path)


REFUSED = [
    (b"", "is empty"),
    (b"\n", "is empty"),
    (b" \t\n\n", "is empty"),
    (b"short", "holds 5 characters; a secret has 8 to 4096"),
    (b"x" * 4_097, "holds 4097 characters; a secret has 8 to 4096"),
    (b"x" * 100_000, "holds 16385 characters; a secret has 8 to 4096"),
    (b"12345678\xff", "is not UTF-8 text: byte 8"),
]


@pytest.mark.parametrize(("content", "why"), REFUSED)
def test_what_is_no_secret_is_refused(write, content, why):
    path = write(content)
    with pytest.raises(CredentialError) as caught:
        read(path)
    assert (caught.value.where, caught.value.why) == (str(path), why)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, why in (("pipe", "is not a file"), ("none", "cannot be read: No such file or directory")):
        with pytest.raises(CredentialError, match=f"{name}: {why}$"):
            read(tmp_path / name)
    with pytest.raises(CredentialError, match=r"is not a file$"):
        read(tmp_path)


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(write):
    path = write()
    os.chown(path, 4711, -1)
    with pytest.raises(CredentialError, match="belongs to user 4711, who can read it"):
        read(path)


ACL_OWNER, ACL_USER, ACL_GROUP, ACL_OF_GROUP, ACL_MASK, ACL_OTHER = 1, 2, 4, 8, 16, 32
NOBODY = 0xFFFFFFFF
ME = os.geteuid()
READ = 4
# As systemd leaves it: the file belongs to root, the service's user may read it, and the mode says 0440.
BY_SYSTEMD = [(ACL_OWNER, READ, NOBODY), (ACL_USER, READ, ME), (ACL_GROUP, 0, NOBODY), (ACL_MASK, READ, NOBODY)]
ACLS = [
    ([*BY_SYSTEMD, (ACL_OTHER, 0, NOBODY)], True),
    ([*BY_SYSTEMD, (ACL_OTHER, READ, NOBODY)], False),
    ([*BY_SYSTEMD[:1], (ACL_USER, READ, 4711), *BY_SYSTEMD[2:], (ACL_OTHER, 0, NOBODY)], False),
    ([*BY_SYSTEMD[:2], (ACL_GROUP, READ, NOBODY), *BY_SYSTEMD[3:], (ACL_OTHER, 0, NOBODY)], False),
    ([*BY_SYSTEMD[:3], (ACL_OF_GROUP, READ, 0), *BY_SYSTEMD[3:], (ACL_OTHER, 0, NOBODY)], False),
]


@pytest.mark.parametrize(("entries", "is_ours"), ACLS)
def test_an_access_list_says_who_may_read(write, entries, is_ours):
    path = write(mode=0o400)
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as error:
        pytest.skip(f"this file system has no access lists: {error}")
    assert path.stat().st_mode & 0o040
    if is_ours:
        assert read(path).reveal() == VALUE
    else:
        with pytest.raises(CredentialError, match="others may use it"):
            read(path)


LINES = f'api_key = "{VALUE[::-1]}"\nsecret = "{VALUE}"\n'


@pytest.mark.parametrize("known", [VALUE, f"--key={VALUE}", VALUE + VALUE], ids=range(3))
@pytest.mark.parametrize("content", [VALUE, LINES], ids=["value", "lines"])
def test_what_the_environment_says_is_no_secret(write, monkeypatch, known, content):
    monkeypatch.setenv("BINANCE_KEY", known)
    path = write(content)
    with pytest.raises(CredentialError) as caught:
        read(path)
    assert caught.value.why == (
        "its value stands in the environment variable BINANCE_KEY: it is known to others, make a new one"
    )


@pytest.mark.parametrize("where", ["argv", "orig_argv"])
@pytest.mark.parametrize("content", [VALUE, LINES], ids=["value", "lines"])
def test_what_the_command_line_says_is_no_secret(write, monkeypatch, where, content):
    monkeypatch.setattr(sys, where, ["basisd", f"--key={VALUE}"])
    with pytest.raises(CredentialError, match="its value stands in the command line: it is known to others"):
        read(write(content))


def test_words_of_a_credential_may_stand_anywhere(write, monkeypatch):
    monkeypatch.setenv("STAGE", "production")
    read(write(f'stage = "production"\nsecret = "{VALUE}"'))


def test_systemd_names_the_folder(write, monkeypatch, tmp_path):
    write(VALUE)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load("perp-main", tmp_path).reveal() == VALUE
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(elsewhere))
    with pytest.raises(CredentialError, match=f"^{elsewhere}/perp-main: cannot be read"):
        load("perp-main", tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert load("perp-main").reveal() == VALUE


def test_without_a_folder_nothing_is_looked_for():
    with pytest.raises(
        CredentialError, match=r"^credential perp-main: no folder to look in: \$CREDENTIALS_DIRECTORY is not"
    ):
        load("perp-main")


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/shadow", "a/b"])
def test_a_name_is_no_path(tmp_path, name):
    with pytest.raises(CredentialError, match="is a file's name, not a path"):
        load(name, tmp_path)


# Accounts


@pytest.fixture
def config(tmp_path):
    text = DEMO.read_text()
    heads = iter(['credentials = { credential = "perp-main" }', 'credentials = { credential = "spot-main" }'])
    text = re.sub(r"\[\[accounts\]\]", lambda _: "[[accounts]]\n" + next(heads, ""), text)
    path = tmp_path / "demo.toml"
    path.write_text(text)
    return load_config(path, KINDS)


def test_accounts_get_their_secrets(config, write, tmp_path):
    first, second = list(config.accounts)[:2]
    write(VALUE, name="perp-main")
    write(LINES, name="spot-main")
    found = load_account_secrets(config, tmp_path)
    assert {name: secret.reveal() for name, secret in found.items()} == {first: VALUE, second: LINES[:-1]}


def test_every_account_without_its_secret_is_named(config, write, tmp_path):
    first, second = list(config.accounts)[:2]
    write(VALUE, 0o644, name="spot-main")
    with pytest.raises(CredentialErrors) as caught:
        load_account_secrets(config, tmp_path)
    assert str(caught.value).splitlines() == [
        f"account {first}: {tmp_path}/perp-main: cannot be read: No such file or directory",
        f"account {second}: {tmp_path}/spot-main: others may use it (mode 0644): chmod 600 {tmp_path}/spot-main",
    ]


def test_accounts_without_credentials_need_none():
    assert load_account_secrets(load_config(DEMO, KINDS)) == {}


# Real processes


def run(code, arguments=(), environment=(), preexec_fn=None):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment),
        preexec_fn=preexec_fn,
    )


HARDENED = """
import os, resource, sys
from pathlib import Path
from daemon.live.sockets import connect, listen
from daemon.secrets import harden
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
harden()
print(resource.getrlimit(resource.RLIMIT_CORE))
print(os.stat("/proc/self/mem").st_uid, os.stat("/proc/self/environ").st_uid)
# What the daemon does by way of /proc goes on working.
folder = Path(sys.argv[1]) / ("long" * 30)
listener = listen(folder / "view.sock")
connect(folder / "view.sock").close()
listener.close()
print(len(os.listdir("/proc/self/fd")) >= 3, bool(Path("/proc/self/stat").read_text()))
"""


@pytest.mark.skipif(not IS_ROOT, reason="only root becomes somebody else, and sees whose memory is whose")
def test_a_hardened_process_leaves_no_memory():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = run(HARDENED, arguments=[folder])
    assert done.stdout.splitlines() == ["(0, 0)", "0 0", "True True"], done.stderr


def test_a_hardened_process_dumps_no_core():
    code = "from daemon.secrets import harden\nharden()\nimport ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    assert run(code).stdout == "0\n"
    done = run("from daemon.secrets import harden\nharden()\nimport os; os.abort()", preexec_fn=_allow_cores)
    assert done.returncode == -6


def _allow_cores():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)


CANARY = 'Canary/7+"Key&with=odd ones' + VALUE
CANARY_LINES = f'api_key = "{VALUE[::-1]}"\nsecret = "{VALUE}"'

SINGS = r"""
import logging, sys, threading, traceback, warnings
from urllib.parse import quote, quote_plus, urlencode
import structlog, trio
from daemon.logs import Form, configure, get_logger
from daemon.notify import Notifier
from daemon.secrets import load
from daemon.supervisor import ChildSpec, Supervisor, SupervisorFailedError

configure('desk', 'debug', form=Form(sys.argv[1]))
log = get_logger('canary')
SECRET = load(sys.argv[2])
value = SECRET.reveal()
parts = [value, *[line.split('"')[1] for line in value.splitlines() if line.count('"') == 2]]

class Config:
    def __init__(self, key): self.key = key
    def __repr__(self): return f'Config(key={self.key!r})'

def fail(local):
    local_too = [local] * 3
    error = RuntimeError(f'login failed for {local}', {'api_key': local})
    error.add_note(f'noted {local}')
    raise error

for one in parts:
    log.info(one)
    log.info('an argument: %s', one)
    data = {'deep': [{'x': (one, {one}, one.encode())}], one: 1}
    log.warning('fields', text=f'<{one}>', data=data, object=Config(one))
    log.error('bound', **{'a': one[:40], 'b': one.upper()})
    log.bind(key=one).info('bound')
    query = urlencode({'apiKey': one, 'signature': 'f' * 64})
    url = f'https://me:{quote(one)}@x.example/order?key={quote_plus(one)}&{query}'
    log.info('GET', url=url, headers={'X-MBX-APIKEY': one, 'Authorization': f'Bearer {one}'})
    log.info(repr({'k': one}), json=__import__('json').dumps({'k': one}))
    with structlog.contextvars.bound_contextvars(context=one):
        log.info('context')
    structlog.get_logger().warning(one, x=one)
    logging.getLogger('lib').warning('%s', one)
    logging.getLogger('lib').error('%d', one)
    warnings.warn(f'beware of {one}')
    try:
        fail(one)
    except RuntimeError as error:
        log.exception('failed', error=error)
        logging.getLogger('lib').exception('failed with %r', one)
        try:
            raise ExceptionGroup(one, [error, KeyError(one)]) from error
        except ExceptionGroup as group:
            log.exception(group)
    thread = threading.Thread(target=fail, args=(one,), name=one)
    thread.start()
    thread.join()

    class Dying:
        def __del__(self): fail(one)
    Dying()

    async def start(*, task_status):
        task_status.started()
        fail(one)

    async def supervise():
        await Supervisor('top', [ChildSpec('a', start)], intensity=1).run()

    try:
        trio.run(supervise)
    except SupervisorFailedError:
        log.exception('gave up')

notifier = Notifier('@' + sys.argv[3])
notifier.status(f'login failed for {value}')
log.info('secret', secret_object=SECRET, shown=str(SECRET))
fail(value)
"""


def forms(value):
    shown = (value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value), quote_plus(value), quote(value, safe=""))
    return {form.lower() for form in shown} | {value[:20].lower(), value[-20:].lower()}


@pytest.mark.parametrize("form", ["json", "journal", "console"])
@pytest.mark.parametrize("content", [CANARY, CANARY_LINES], ids=["value", "lines"])
def test_a_canary_is_heard_nowhere(write, tmp_path, form, content):
    write(content)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0basisd-canary-{os.getpid()}")
        manager.settimeout(60)
        arguments = [form, "perp-main", f"basisd-canary-{os.getpid()}"]
        done = run(SINGS, arguments, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        status = manager.recv(4096).decode()
    assert done.returncode == 1
    assert done.stdout == ""
    assert "login failed for [secret]" in done.stderr
    assert status == "STATUS=login failed for [secret]"
    assert done.stderr.count("[secret]") > 50
    secrets = [content] if content == CANARY else [content, VALUE, VALUE[::-1]]
    heard = (done.stderr + status).lower()
    found = [form for secret in secrets for form in forms(secret) if form in heard]
    assert found == []
    assert "f" * 64 not in heard
    if form != "console":
        for line in done.stderr.splitlines():
            json.loads(line[line.index("{") :])
