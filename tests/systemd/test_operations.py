"""What docs/operations.md and the units tell people and systemd to run can be run."""

import re
import shlex
from collections.abc import Iterator

import pytest
from systemd_machine import ROOT, UNITS

from daemon import cli
from daemon.ctl import main as ctl
from daemon.gateway.__main__ import _parser as gateway_parser
from daemon.guard.__main__ import _parser as guard_parser
from daemon.init import text
from daemon.venue.__main__ import _parser as venue_parser

PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCK = re.compile(r"(?:^    .*\n|^\n)+", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
PARSERS = {"basisd": cli._parser, "basisctl": ctl.parser}
MODULES = {"daemon.gateway": gateway_parser, "daemon.guard": guard_parser, "daemon.venue": venue_parser}
COMMANDS = {"basisd": cli.COMMANDS, "basisctl": ctl.COMMANDS}


def commands(line: str) -> list[str] | None:
    """Return the words of a line that runs one of our programs."""
    try:
        words = shlex.split(line.removeprefix("ExecStart="), comments=True)
    except ValueError:
        return None
    if words and words[0].rpartition("/")[2] in PARSERS:
        return [words[0].rpartition("/")[2], *words[1:]]
    return None


def lines() -> Iterator[tuple[str, bool]]:
    """Yield every line of a block of code, and every span of code; True for lines, which must be whole commands.

    A span may also name a program, or one of its commands.
    """
    for block in BLOCK.finditer(PAGE):
        yield from ((line.strip(), True) for line in block[0].splitlines())
    for span in SPAN.finditer(PAGE):
        yield span[1], False


WRITTEN = sorted({(tuple(words), is_whole) for line, is_whole in lines() if (words := commands(line))})


@pytest.mark.parametrize(("words", "is_whole"), WRITTEN, ids=[" ".join(words) for words, _ in WRITTEN])
def test_a_command_in_the_page_is_understood(words, is_whole, capsys):
    program, *arguments = words
    if not is_whole and (not arguments or (len(arguments) == 1 and arguments[0] in COMMANDS[program])):
        return
    assert said_by(program, arguments, capsys) == ""


def said_by(program: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return the parser's complaint, empty without one."""
    try:
        PARSERS[program]().parse_args(arguments)
    except SystemExit as ended:
        return capsys.readouterr().err if ended.code else ""
    return ""


def test_the_page_has_commands():
    assert len([words for words, is_whole in WRITTEN if is_whole]) >= 15


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.glob("*.service")))
def test_a_unit_runs_a_command_that_is_understood(name, capsys):
    for line in re.findall(r"^ExecStart=(.+)$", (UNITS / name).read_text(), re.MULTILINE):
        words = shlex.split(line)
        if words[0] == "/opt/basisd/bin/basisd":
            assert said_by("basisd", words[1:], capsys) == ""
        elif words[0] == "/opt/basisd/bin/python":
            assert words[1:3] == ["-I", "-m"]
            # An instance is named by its unit.
            MODULES[words[3]]().parse_args(["desk" if word == "%i" else word for word in words[4:]])
        else:
            assert name == "basisd-alert@.service"


def test_the_settings_shown_are_the_defaults():
    shown = [line.partition("#")[0].strip() for line, is_line in lines() if is_line and re.match(r"\w+ = ", line)]
    assert shown
    assert not {f"# {line}" for line in shown} - set(text().splitlines())


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", PAGE))))
def test_a_page_that_is_linked_exists(link):
    assert (ROOT / "docs" / link).exists()


@pytest.mark.parametrize("anchor", sorted(set(re.findall(r"\]\(#([^)]+)\)", PAGE))))
def test_a_heading_that_is_linked_exists(anchor):
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("unit", sorted(set(re.findall(r"\bbasisd(?:-\w+)?@?\.(?:service|socket|sysusers)\b", PAGE))))
def test_a_unit_that_is_named_exists(unit):
    assert (UNITS / unit).exists()
