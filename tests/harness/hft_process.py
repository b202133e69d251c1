"""hftbacktest 2.4.4 in the interpreter that has it, as a subprocess that is asked and answers.

`BASISD_DIFFERENTIAL_PYTHON` names the interpreter; without it that of `make differential` is taken where it is.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from attrs import asdict, define, field, frozen

VARIABLE = "BASISD_DIFFERENTIAL_PYTHON"
SCRIPT = Path(__file__).with_name("hft_reference.py")
MADE = Path(__file__).parents[2] / ".venv-differential/bin/python"

ABSENT = f"no hftbacktest: run `make differential`, or name a Python that has it in {VARIABLE}"

SUBMIT, CANCEL, MODIFY = range(3)
BUY, SELL = 1, -1
GTC, GTX, FOK, IOC = range(4)
LIMIT, MARKET = range(2)
"""hftbacktest's numbers for sides, times in force and order types (py-hftbacktest/hftbacktest/order.py)."""


class HftError(RuntimeError):
    """The other simulator is not there, or died over a request."""


@frozen
class Settings:
    """What both simulators are told. `exchange` is whole (fills whole orders) or partial; fees are shares of the value.

    `depth` chooses hftbacktest's book: hash or roi (a vector over the range of prices).
    """

    tick: float = 0.1
    lot: float = 1.0
    entry_ns: int = 0
    response_ns: int = 0
    exchange: str = "whole"
    depth: str = "hash"
    maker_fee: float = 0.0
    taker_fee: float = 0.0


@frozen
class Action:
    """What the client does at `local_ns`; `ticks` and `lots` mean nothing to a cancel, `ticks` nothing to a MARKET."""

    local_ns: int
    id: int
    action: int = SUBMIT
    side: int = BUY
    ticks: int = 0
    lots: int = 1
    tif: int = GTC
    type: int = LIMIT


@frozen
class Run:
    """Runs of one strategy over the same `rows`, each warm: their seconds, and the fills, which do not differ.

    A fill is (venue_ns, side, ticks) of one lot.
    """

    rows: int
    seconds: Sequence[float]
    fills: Sequence[tuple[int, int, int]] = ()

    @property
    def best(self) -> float:
        """Rows a second of the fastest run."""
        return self.rows / min(self.seconds)

    @property
    def median(self) -> float:
        """Rows a second of the middle run."""
        return self.rows / median(self.seconds)


def interpreter() -> str | None:
    """Return the interpreter that has hftbacktest, None where there is none."""
    named = os.environ.get(VARIABLE)
    return named or (str(MADE) if MADE.exists() else None)


@define
class Reference:
    """One running interpreter. Use it as a context; requests are answered in turn. Raises HftError."""

    python: str
    _process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> "Reference":
        command = [self.python, str(SCRIPT)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.communicate()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request of hft_reference.py."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died(request) from None
        for line in self._process.stdout:
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise self._died(request)

    def _died(self, request: dict[str, Any]) -> HftError:
        return HftError(f"{self.python} ended with {self._process.wait()} over {request['mode']}")

    def play(self, events: Path, settings: Settings, script: Sequence[Action]) -> dict[str, Any]:
        """Return what the orders of `script`, in order of time, came to."""
        orders = [[a.local_ns, a.action, a.id, a.side, a.ticks, a.lots, a.tif, a.type] for a in script]
        return self.ask({"mode": "play", "events": str(events), "orders": orders, **asdict(settings)})

    def run(
        self,
        events: Path,
        settings: Settings,
        mode: str = "quote",
        repeats: int = 5,
        interval_ns: int = 100_000_000,
        limit_lots: int = 10,
    ) -> Run:
        """Time a loop that acts every `interval_ns` of market time: "quote" keeps a lot at each touch, "elapse" idles.

        It acts first `interval_ns` after the first event's venue time, on the book, the orders and the position that
        the desk knows by then: cancels what is not at its touch, then buys one lot post-only at the bid unless an
        order is there or the position is at `limit_lots`, then sells likewise at the ask. An order whose cancel or
        entry is on its way counts while its price is the touch.
        """
        asked = {"mode": mode, "events": str(events), "repeats": repeats, "interval_ns": interval_ns}
        answer = self.ask({**asked, "limit_lots": limit_lots, **asdict(settings)})
        return Run(answer["rows"], answer["seconds"], [tuple(fill) for fill in answer.get("fills", ())])


def reference_rate(events: Path, settings: Settings, mode: str = "quote", repeats: int = 5) -> Run:
    """Return how fast hftbacktest is over `events` (an .npz of its own). Raises HftError where it is not installed."""
    python = interpreter()
    if python is None:
        raise HftError(ABSENT)
    with Reference(python) as reference:
        return reference.run(events, settings, mode, repeats)
