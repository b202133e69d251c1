"""What the log looks like, where it goes, and who may write into it: real processes, their standard errors read."""

import json
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import structlog

from daemon import logs
from daemon.logs import Form, configure, get_logger

ROOT = Path(__file__).resolve().parents[2]
HEAD = "from daemon.logs import Form, configure, get_logger, statistics\nfrom daemon.redaction import register\n"


def start(code, stderr=subprocess.PIPE, environment=(), configured="configure('desk')", stdin=None):
    program = HEAD + configured + "\nlog = get_logger('test')\n" + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment),
    )


def run(code, status=0, **options):
    """Run a program that logs; return its lines as objects."""
    process = start(code, **options)
    told, lines = process.communicate()
    assert process.returncode == status, lines
    assert told == ""
    return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture
def output(monkeypatch, tmp_path):
    """Let this process log into a file; return how to read it."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        monkeypatch.setattr(logs, "_output", logs._Output(role="desk", threshold=10, fd=file.fileno()))
        yield lambda: [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line(output):
    get_logger("link").warning("venue down", venue="perp", tries=3, price=None)
    (line,) = output()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert list(line.items()) == [
        ("level", "warning"),
        ("role", "desk"),
        ("event", "venue down"),
        ("logger", "link"),
        ("venue", "perp"),
        ("tries", 3),
        ("price", None),
    ]


LEVELS = ["debug", "info", "warning", "error", "critical"]


@pytest.mark.parametrize("threshold", LEVELS)
def test_levels(output, threshold):
    logs._output.threshold = logs.LEVELS[threshold]
    log = get_logger("x")
    for level in LEVELS:
        getattr(log, level)("a")
        log.say(level, "b")
    expected = LEVELS[LEVELS.index(threshold) :]
    assert [line["level"] for line in output()] == [level for level in expected for _ in "ab"]
    assert logs.statistics().lines == {level: 2 * (level in expected) for level in LEVELS}


CALLS = [
    (lambda log: log.info("at %d %%", 50), {"event": "at 50 %"}),
    (lambda log: log.info("%(a)s", {"a": 1}), {"event": "1"}),
    (lambda log: log.info("100%"), {"event": "100%"}),
    (lambda log: log.info("%d %d", 1), {"event": "%d %d (1,)"}),  # noqa: PLE1206 - what a mistake in a call comes to
    (lambda log: log.info("no place", 1), {"event": "no place (1,)"}),  # noqa: PLE1205 - likewise
    (lambda log: log.info("%d", "x"), {"event": "%d ('x',)"}),
    (lambda log: log.info(ValueError("x")), {"event": "x"}),
    (lambda log: log.info(None), {"event": "None"}),
    (lambda log: log.info("a", event="b", level="flatten", role=1, timestamp=2), {"event": "a", "event_": "b"}),
    (lambda log: log.info("a", level="flatten"), {"level": "info", "level_": "flatten"}),
    (lambda log: log.bind(order="b-1").info("a"), {"order": "b-1"}),
    (lambda log: log.info("a", why=ValueError("odd")), {"why": "ValueError: odd"}),
    (lambda log: log.info("a", exc_info=True), {"event": "a"}),
    (lambda log: log.info("a", self=1, log=2), {"self": 1, "log": 2}),
    (lambda log: log.info("a", exc_info=5), {"event": "a"}),
    (lambda log: log.info("a", data={1: (2, {3})}), {"data": {"1": [2, [3]]}}),
    (lambda log: log.info("\ud800 \x00"), {"event": "\ud800 \x00"}),
]


@pytest.mark.parametrize(("call", "fields"), CALLS, ids=range(len(CALLS)))
def test_calls(output, call, fields):
    call(get_logger("x"))
    (line,) = output()
    assert line | fields == line
    assert logs.statistics().failed == 0


class Rude:
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


class Talkative:
    def __repr__(self):
        get_logger("x").info("in between")
        return "talked"


def test_no_call_raises(output, monkeypatch):
    log = get_logger("x")
    log.info(Rude())
    log.info("a", x=Rude(), y=Talkative())
    monkeypatch.setattr(logs, "_structured", lambda info: 1 / 0)
    log.info("b", exc_info=ValueError("x"))
    told = output()
    assert told[0] | {"event": "a log call failed", "error": "RuntimeError"} == told[0]
    assert told[1]["y"] == "talked"
    assert told[2] | {"event": "a log call failed", "error": "ZeroDivisionError"} == told[2]
    assert len(told) == 3
    assert logs.statistics().failed == 3


def test_exceptions_are_told_as_data(output):
    def deep(level):
        secret_value = "hidden in a local"
        if level == 0:
            error = ExceptionGroup("many", [ValueError("a"), KeyError("b")])
            error.add_note("noted")
            raise error
        deep(level - 1)
        return secret_value

    try:
        deep(50)
    except ExceptionGroup:
        get_logger("x").exception("failed", order="b-1")
    (line,) = output()
    (trace,) = line["exception"]
    assert (line["level"], line["order"]) == ("error", "b-1")
    assert (trace["exc_type"], trace["exc_notes"], trace["is_group"]) == ("ExceptionGroup", ["noted"], True)
    assert [one[0]["exc_type"] for one in trace["exceptions"]] == ["ValueError", "KeyError"]
    assert len(trace["frames"]) <= 21
    assert trace["frames"][0]["filename"] == __file__
    assert "hidden in a local" not in json.dumps(line)


def test_a_line_stays_within_what_the_journal_takes(output):
    log = get_logger("x")
    log.info("x" * 100_000, a=["y" * 10_000] * 100)
    try:
        raise ExceptionGroup("many", [ValueError("z" * 15_000) for _ in range(9)])
    except ExceptionGroup:
        log.exception("failed")
    long, failed = output()
    assert long.keys() == {"timestamp", "level", "role", "event", "logger", "cut_bytes"}
    assert long["event"] == "x" * 1_000
    assert failed["exception"] == "ExceptionGroup: many (9 sub-exceptions)"
    assert failed["cut_bytes"] > logs.LINE_BYTES_MAX


# Where it goes


def test_under_the_journal_lines_carry_their_priority(tmp_path):
    path = tmp_path / "journal"
    with path.open("w") as file:
        status = os.fstat(file.fileno())
        start(
            "for level in ('debug', 'info', 'warning', 'error', 'critical'): log.say(level, 'a')",
            stderr=file,
            environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            configured="configure('desk', 'debug')",
        ).communicate()
    lines = path.read_text().splitlines()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert all(json.loads(line[3:])["event"] == "a" for line in lines)


def test_another_journal_is_none(tmp_path):
    assert run("log.info('a')", environment={"JOURNAL_STREAM": "1:2"})[0]["event"] == "a"


def test_on_a_terminal_lines_are_text():
    leader, follower = pty.openpty()
    process = start(
        r"""
        register('hunter2-hunter2')
        log.warning('venue \x1b[2Jdown\nnow', venue='pe\x07rp', key='hunter2-hunter2', data={'token': 1})
        try: 1/0
        except ZeroDivisionError: log.exception('failed')
        """,
        stderr=follower,
    )
    os.close(follower)
    process.communicate()
    shown = b""
    while b"ZeroDivisionError" not in shown:
        shown += os.read(leader, 4096)
    os.close(leader)
    text = re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).replace("\r\n", "\n")
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[warning *\] venue \\x1b\[2Jdown\\x0anow", text)
    assert "venue=pe\\x07rp" in text
    assert "key=[secret] data={'token': '[secret]'}" in text
    assert "Traceback (most recent call last):\n  File" in text


@pytest.mark.parametrize("form", Form)
def test_the_form_may_be_chosen(form):
    process = start("log.info('a')", configured=f"configure('desk', form=Form('{form}'))")
    line = process.communicate()[1]
    assert {Form.JSON: "{", Form.JOURNAL: "<", Form.CONSOLE: "\x1b"}[form] == line[0]


@pytest.mark.parametrize("size", [500, 4_000, 15_000])
def test_a_reader_that_does_not_read_holds_nobody_up(size):
    process = start(
        f"""
        import sys
        for number in range(2_000): log.info('x' * {size}, number=number)
        print(statistics().lines['info'], statistics().dropped, flush=True)
        sys.stdin.readline()
        log.info('after')
        """,
        stdin=subprocess.PIPE,
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        written, dropped = map(int, process.stdout.readline().split())
        assert written + dropped == 2_000
        assert min(written, dropped) > 3
        lines = [json.loads(process.stderr.readline()) for _ in range(written)]
        assert [line["number"] for line in lines] == list(range(written))
        process.stdin.write("\n")
        process.stdin.flush()
        # What was begun when the pipe was full stands on a line of its own.
        line = json.loads(next(line for line in process.stderr if '"after"' in line))
    assert (line["event"], line["dropped_lines"]) == ("after", dropped)


@pytest.mark.parametrize("break_it", ["os.close(2)", "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"])
def test_where_nothing_can_be_written_nothing_is_raised(break_it):
    process = start(
        f"""
        import os
        {break_it}
        log.error('a')
        print(statistics())
        """
    )
    assert "dropped=1, failed=0" in process.communicate()[0]
    assert process.returncode == 0


def test_a_closed_standard_error_becomes_no_other_file(tmp_path):
    program = f"""{HEAD}
configure('desk')
path = {str(tmp_path / "journal")!r}
with open(path, 'w') as journal:
    get_logger('x').error('a')
    journal.write('whole')
print(open(path).read(), statistics().dropped)
"""
    shell = ["/bin/sh", "-c", f'exec {sys.executable} -c "$0" 2>&-', program]
    assert subprocess.run(shell, capture_output=True, text=True, check=True, cwd=ROOT).stdout == "whole 0\n"


def test_a_reader_that_is_gone():
    reader, writer = os.pipe()
    os.close(reader)
    process = start("log.error('a')\nprint(statistics().dropped)", stderr=writer)
    os.close(writer)
    assert process.communicate()[0] == "1\n"
    assert process.returncode == 0


# Who writes into it


def test_the_standard_library_writes_into_it():
    lines = run(
        """
        import logging
        register('hunter2-hunter2')
        logger = logging.getLogger('lib.part')
        logger.debug('unheard')
        logger.info('to %s', 'hunter2-hunter2')
        logger.log(45, 'between')
        logger.warning('%d', 'x')
        logger.warning('a mapping %(a)s', {'a': 1})
        logger.warning('100%')
        logger.handle(logging.makeLogRecord({'msg': 'made', 'levelno': 35, 'name': 'lib.part'}))
        try: 1/0
        except ZeroDivisionError: logger.exception('failed')
        """
    )
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "to [secret]"),
        ("error", "between"),
        ("warning", "%d ('x',)"),
        ("warning", "a mapping 1"),
        ("warning", "100%"),
        ("warning", "made"),
        ("error", "failed"),
    ]
    assert {line["logger"] for line in lines} == {"lib.part"}
    assert lines[-1]["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_libraries_do_not_tell_of_requests():
    lines = run(
        """
        import httpx
        transport = httpx.MockTransport(lambda request: httpx.Response(200))
        with httpx.Client(transport=transport) as client:
            client.get('https://x.example/order?symbol=X&signature=abc')
        import logging
        logging.getLogger('httpcore.http11').debug('send_request_headers')
        log.info('over')
        """,
        configured="configure('desk', 'debug')",
    )
    assert [line["event"] for line in lines] == ["over"]


def test_structlog_itself_writes_into_it():
    (line,) = run("import structlog\nstructlog.get_logger().info('at %d', 5, x=1)")
    assert (line["event"], line["x"], line["role"]) == ("at 5", 1, "desk")


def test_context_goes_with_every_line():
    lines = run(
        """
        import structlog
        with structlog.contextvars.bound_contextvars(basket='b-7'):
            log.info('a')
        log.info('b')
        """
    )
    assert [line.get("basket") for line in lines] == ["b-7", None]


UNCAUGHT = [
    ("raise ValueError('hunter2-hunter2')", 1, "critical", "uncaught"),
    ("import threading\nt = threading.Thread(target=lambda: 1/0); t.start(); t.join()", 0, "critical", "uncaught"),
    ("import warnings\nwarnings.warn('hunter2-hunter2')", 0, "warning", ": UserWarning: [secret]\n"),
    (
        "class D:\n    def __del__(self): raise ValueError('hunter2-hunter2')\nD()",
        0,
        "error",
        "an exception was ignored",
    ),
    ("import atexit\natexit.register(lambda: 1/0)", 0, "error", "ignored in atexit callback"),
    ("raise KeyboardInterrupt", -2, "info", "interrupted"),
    ("import trio\nasync def f(): raise ValueError('hunter2-hunter2')\ntrio.run(f)", 1, "critical", "uncaught"),
]


@pytest.mark.parametrize(("code", "status", "level", "event"), UNCAUGHT)
def test_what_nobody_caught_is_in_it(code, status, level, event):
    (line,) = run("register('hunter2-hunter2')\n" + code, status)
    assert line["level"] == level
    assert event in line["event"]
    assert "hunter2" not in json.dumps(line)
    assert "exception" in line or level in {"warning", "info"}


def test_before_it_is_configured_nothing_is_told_either():
    (line,) = run("register('hunter2-hunter2')\nlog.info('a', key='hunter2-hunter2')", configured="")
    assert (line["role"], line["key"]) == ("", "[secret]")


def test_a_level_that_is_none():
    with pytest.raises(KeyError):
        configure("desk", "loud")


def test_what_is_logged_can_be_captured_by_tests(output):
    with structlog.testing.capture_logs() as captured:
        get_logger("x").info("a", b=1)
    assert captured == [{"event": "a", "b": 1, "logger": "x", "log_level": "info"}]
    assert output() == []
