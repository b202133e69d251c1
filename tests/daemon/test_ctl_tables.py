"""How answers look: on a pipe, on a terminal, on the whole screen; and how basisctl ends when it cannot go on."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from admin_desk import MemoryDesk, caught_in_the_middle
from rich.console import Console

from daemon import running
from daemon.admin import views
from daemon.ctl import main as ctl
from daemon.ctl import tables, top, words
from daemon.ctl.tables import Table, span, text, when

TABLE = Table("title", ["name", ">number"], [["a", "1"], ["long name", "12.5"]])


def test_columns_on_a_pipe_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(["a line", TABLE, Table("", ["x"], [])])
    assert capsys.readouterr().out.splitlines() == [
        *("a line", "", "title", "name       number", "a               1", "long name    12.5", "", "x"),
    ]


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    tables.show(["[red]a line", TABLE])
    out = capsys.readouterr().out
    assert "[red]a line" in out
    assert [line.split() for line in out.splitlines()[-2:]] == [["a", "1"], ["long", "name", "12.5"]]
    assert "─" in out


SPANS = [(0, "0s"), (59, "59s"), (60, "1m 0s"), (3_661, "1h 1m"), (90_061, "1d 1h"), (-5, "0s")]


@pytest.mark.parametrize(("seconds", "said"), SPANS)
def test_lengths_of_time(seconds: int, said: str) -> None:
    assert span(seconds * 1_000_000_000 + 5) == said or seconds < 0
    assert span(seconds * 1_000_000_000) == said


def test_moments_and_texts() -> None:
    assert when(1_768_492_200_123_456_789) == "2026-01-15 15:50:00.123Z"
    assert when(None) == "-"
    assert [text(one) for one in (None, "", True, False, 0, "a\x1bb")] == ["-", "", "yes", "no", "0", "a\ufffdb"]


FIGURES = [("1.500", "1.5"), ("2.00", "2"), ("100", "100"), ("-0.10", "-0.1"), (None, "-"), ("v1.20.0", "v1.20.0")]


@pytest.mark.parametrize(("value", "said"), FIGURES)
def test_zeros_that_mean_nothing_are_left_out(value: str | None, said: str) -> None:
    assert words._figure(value) == said


# The screen


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> MemoryDesk:
    return MemoryDesk(caught_in_the_middle(tmp_path_factory.mktemp("desk")))


def shown(last: dict[str, Any] | None, why: str = "", since: float | None = None, height: int = 45) -> str:
    console = Console(width=140, height=height, highlight=False, color_system=None)
    with console.capture() as capture:
        console.print(top.screen(console, last, why, since))
    return capture.get()


def test_the_screen_has_everything(desk: MemoryDesk) -> None:
    screen = shown(views.overview(desk, 20))
    for said in (
        "kill level armed",
        "carry-1",
        "USDT",
        "futures   healthy",
        "16:00:00.000Z",
        "carry-1 balanced",
        "q to quit",
    ):
        assert said in screen
    assert "not reachable" not in screen


def test_as_many_events_as_there_is_room_for(desk: MemoryDesk) -> None:
    last = views.overview(desk, 20)
    counts = [shown(last, height=height).count("2026-01-15 15:50:00") for height in (10, 40, 200)]
    assert counts[0] == 3
    assert counts == sorted(counts)
    assert counts[-1] == 20


def test_what_is_wrong_is_on_top(desk: MemoryDesk) -> None:
    last = views.overview(desk, 20)
    last["status"] |= {"alarms": 2, "is_ready": False, "why_not_ready": "guard down: gone"}
    last["status"]["kill"] = {"level": "flatten", "conditions": {"margin/f": "coverage 0.9"}}
    last["status"]["guard"] = {"is_up": False, "why": "gone", "level": None, "is_in_charge": True}
    last["positions"], last["baskets"]["baskets"] = [], []
    last["events"][-1]["alarm"] = "open"
    screen = shown(last, "hung up", 0.0)
    assert screen.startswith("not reachable for ")
    for said in (
        "kill level flatten (margin/f: coverage 0.9)",
        "not ready: guard down: gone",
        "down: gone, level unknown, in charge",
        "2 to acknowledge",
        "positions: none",
        "!     ",
    ):
        assert said in screen
    assert shown(None, "nobody listens", 0.0).rstrip().endswith("nobody listens")


# Ends


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    def fail_with(error: BaseException) -> int:
        def run(_: object) -> int:
            raise error

        monkeypatch.setattr(running, "import_module", lambda _: type("Module", (), {"show": staticmethod(run)}))
        return ctl.main(["status"])

    return fail_with


def test_what_fails_is_said_in_a_line(failing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(OSError(13, "Permission denied", "x.sock")) == 1
    assert capsys.readouterr().err == "basisctl: x.sock: Permission denied\n"
    assert failing(KeyboardInterrupt()) == 130
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_a_reader_that_went_away_is_no_error() -> None:
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-m", "daemon.ctl.main", "completion", "bash"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=root,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_what_is_not_as_it_should_be_with_orders_is_told_and_nothing_else() -> None:
    calm = {"in_doubt": 0, "unknown": 3, "overfills": 0, "strangers": 0, "waiting": 0, "frozen_until": {}}
    assert words._orders(calm) == []
    assert words._orders({}) == []
    troubled = {**calm, "in_doubt": 2, "strangers": 1, "frozen_until": {"v": 0}}
    assert words._orders(troubled) == [("orders", f"2 in doubt, 1 of strangers, v frozen until {when(0)}")]
