"""How the command line behaves: what it imports, what it prints where, how it ends."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from types import SimpleNamespace

import pytest

from daemon import cli, running
from daemon.config_structure import ConfigError, structure
from daemon.exits import ExitError
from daemon.init import sections
from daemon.kinds import SECTIONS

HEAVY = ("anyio", "attr", "cattrs", "httpx", "ib_insync", "msgspec", "numba", "numpy", "rich", "structlog", "trio")


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def command(monkeypatch):
    """Return a way to put a function in the place of `basisd graph`."""

    def install(function):
        monkeypatch.setattr(running, "import_module", lambda _: SimpleNamespace(main=function))
        return lambda: cli.main(["graph"])

    return install


def test_help_imports_nothing_heavy():
    script = (
        "import sys, daemon.cli\n"
        "try: daemon.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "backtest" in done.stdout
    assert not set(HEAVY) & set(done.stderr.split())


@pytest.mark.parametrize(
    "modules",
    [
        "daemon.live.main",
        "daemon.guard.__main__, daemon.guard.process",
        "daemon.ctl.main, daemon.ctl.top, daemon.ctl.tables",
        "daemon.check, daemon.graph, daemon.replay, daemon.history",
    ],
)
def test_who_plays_no_venue_imports_no_compiler(modules):
    script = f"import sys, {modules}\nprint(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"numba", "llvmlite", "sim.kernel", "sim.venue"} & set(done.stdout.split())


def test_every_command_is_where_the_table_says():
    for name, where in cli.COMMANDS.items():
        module, _, function = where.partition(":")
        assert callable(getattr(import_module(module), function)), name


def test_what_init_writes_passes_check(tmp_path):
    path = str(tmp_path / "new.toml")
    assert in_a_process("init", path).returncode == 0
    done = in_a_process("check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{path}: ok\n")


def test_the_defaults_init_shows_are_the_defaults():
    # Uncommented as a user would: keys and the headers of tables within tables.
    spelled = tomllib.loads(re.sub(r"^# (?=[a-z_]+ = |\[\w+\.\w+\]$)", "", sections(), flags=re.MULTILINE))
    for name, cls in SECTIONS.items():
        errors: list[ConfigError] = []
        assert spelled[name], name
        assert structure(spelled[name], cls, name, errors) == cls(), errors


def test_init_overwrites_nothing(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    done = in_a_process("init", str(path))
    assert done.returncode == 2
    assert path.read_text() == "mine"
    assert "not overwritten" in done.stderr


def test_check_names_every_mistake_on_a_line_of_its_own(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("seed = 1\n[run]\nsed = 1\n[log]\ndurable = 1\n")
    done = in_a_process("check", str(path))
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert all(line.startswith(f"basisd: {path}: ") for line in lines)
    assert f"basisd: {path}: log.durable: expected true or false, got 1" in lines
    assert len(lines) == len(set(lines)) == 7


def test_usage_mistakes_exit_2():
    for arguments in ([], ["fly"], ["backtest"], ["scenario"], ["check", "a", "b"], ["bench", "--repeats", "x"]):
        with pytest.raises(SystemExit) as raised:
            cli.main(arguments)
        assert raised.value.code == 2


def test_version_names_the_program(capsys):
    with pytest.raises(SystemExit) as raised:
        cli.main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out.startswith("basisd ")


def test_expected_failures_are_lines_not_tracebacks(command, capsys):
    def fail(_):
        raise ExitError("one", "two", status=1)

    assert command(fail)() == 1
    assert capsys.readouterr().err == "basisd: one\nbasisd: two\n"


def test_a_failing_disk_is_a_line(command, capsys):
    def fail(_):
        raise OSError(28, "No space left on device", "run/log")

    assert command(fail)() == 1
    assert capsys.readouterr().err == "basisd: run/log: No space left on device\n"


def test_a_bug_keeps_its_traceback(command):
    def fail(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(fail)()


def test_an_interrupt_exits_130(command):
    def interrupt(_):
        raise KeyboardInterrupt

    assert command(interrupt)() == 130


def test_a_reader_that_went_away_is_no_error(tmp_path):
    script = (
        "import sys; from types import SimpleNamespace as N; from daemon import cli, running\n"
        "running.import_module = lambda _: N(main=lambda _: print('x' * 1_000_000) or 0)\n"
        "sys.exit(cli.main(['graph']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_bench_outside_a_checkout_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("daemon.bench.FOLDER", tmp_path / "benchmarks")
    assert cli.main(["bench"]) == 2
    assert "run from a checkout" in capsys.readouterr().err


def test_bench_names_what_there_is(capsys):
    assert cli.main(["bench", "nothing"]) == 2
    assert "dispatcher" in capsys.readouterr().err
