"""The real thing under torture: a desk, its gateways and two emulators on real sockets, and a script that a seed draws.

BASISD_GATEWAY_SEEDS says which seeds (`1` without it), BASISD_GATEWAY_SECONDS how long things go wrong in each (12).
"""

import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from emulated import emulator, write_busy
from emulated_desk import START, Desk
from gateway_torture import Script, Tormented, draw, reproduction
from gateway_truth import (
    Book,
    Journal,
    breaks_are_told,
    fills_are_told,
    ids_come_once,
    money_agrees,
    nothing_is_naked_and_silent,
    orders_are_known,
    positions_are_sums,
)
from live_daemon import running

SECONDS = float(os.environ.get("BASISD_GATEWAY_SECONDS", "12"))


def seeds(text: str) -> list[int]:
    """Return the seeds of `7`, or of `1-20`."""
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


@pytest.mark.parametrize("seed", seeds(os.environ.get("BASISD_GATEWAY_SEEDS", "1")))
def test_nothing_is_lost_doubled_or_naked_and_silent(tmp_path: Path, seed: int) -> None:
    script = draw(seed, SECONDS)
    try:
        wrong = list(torture(tmp_path, script))
        assert not wrong, "\n".join(wrong)
    except Exception as error:
        error.add_note(f"again: {reproduction(Path(__file__), script)}")
        raise


def torture(folder: Path, script: Script) -> Iterator[str]:
    """Play the script and yield what is wrong at the end."""
    balance = ("--balance", f"USDT={START}")
    with (
        emulator(folder, "one", "--venue", script.first, *balance) as one,
        emulator(folder, "two", *balance) as two,
    ):
        venues = {"one": one, "two": two}
        config = write_busy(folder, venues, hold="400ms", cooldown="100ms")
        with running(config, folder / "state", "--quiet", mode="run") as daemon:
            desk = Desk(daemon, venues)
            desk.arm()
            tormented = Tormented(desk)
            tormented.play(script)
            tormented.settle()
            print(f"seed {script.seed}: {len(tormented.events)} events, met {dict(tormented.met)}")
            books = [Book.of(name, each, START) for name, each in venues.items()]
            told = desk.view("positions")
            held = {row["instrument"]: Decimal(row["qty"]) for row in told["positions"]}
            mismatches = desk.view("mismatches", {"all": True})["mismatches"]
            yield from positions_are_sums(books, held)
            yield from money_agrees(books, told["wallets"], mismatches)
            yield from nothing_is_naked_and_silent(desk.baskets(), held, desk.has_halted())
            yield from breaks_are_told(tormented.events.values())
            if daemon.terminate() != 0:
                yield f"it did not end in order: {daemon.words()}"
        journal = Journal.of(daemon.paths.runs)
        yield from ids_come_once(books, journal)
        yield from orders_are_known(books, journal)
        yield from fills_are_told(books, journal, daemon.paths.executions)
