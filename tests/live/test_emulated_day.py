"""Days at emulators whose time runs faster: what is held over funding stamps is paid for, and sums to the digit.

BASISD_EMULATED_HOURS says how many hours of the venues' time (0: until one stamp was paid at both),
BASISD_EMULATED_SPEED how fast they go (20), BASISD_EMULATED_STEP_MS how far apart two books are (1000).
"""

import os
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from emulated import Emulator, emulator, write_busy
from emulated_desk import START, Desk
from live_daemon import eventually, running

HOURS = float(os.environ.get("BASISD_EMULATED_HOURS", "0"))
SPEED = int(os.environ.get("BASISD_EMULATED_SPEED", "20"))
STEP_MS = os.environ.get("BASISD_EMULATED_STEP_MS", "1000")
HOUR_S = 3_600
READY_S = 25
"""So long processes may take to come up; then the stamp is `BEFORE_S` away by the venues' time."""

BEFORE_S = 180
PATIENCE_S = 60 + 1.2 * HOUR_S / SPEED


def wall(seconds: float) -> str:
    """Return how long that much of the wall clock's time is by the venues'."""
    return f"{round(seconds * SPEED * 1_000)}ms"


WAITS = f"""
deadline = "{wall(3)}"
max_view_age = "{wall(2)}"
"""
PATIENT = f"""
[feed]
stale = "{wall(1)}"
answer = "{wall(2)}"
retry = ["{wall(0.2)}", "{wall(1)}"]

[risk.default]
book_age_max = "{wall(2)}"

[margin]
mark_age_max = "{wall(2)}"

[orders]
ack_timeout = "{wall(1)}"
absence_quiet = "{wall(1)}"
missing_fills = "{wall(3)}"
query_timeout = "{wall(1)}"
query_backoff = "{wall(0.2)}"

[funding]
grace = "{wall(3)}"
timeout = "{wall(1)}"
backoff = "{wall(0.5)}"

[positions]
period = "{wall(1)}"
quiet = "{wall(0.5)}"
timeout = "{wall(1)}"
backoff = "{wall(0.2)}"
patience = "{wall(3)}"

[drop_copy]
period = "{wall(5)}"
timeout = "{wall(1)}"
grace = "{wall(0.5)}"

[dead_man]
timeout = "{wall(10)}"
ack = "{wall(1)}"
"""
"""What waits for the network waits by the wall clock, however fast the venues' time is."""


def start_of(now: float) -> int:
    """Return when the venues' time agreed with the wall clock, so that a full hour is near once all is up."""
    ready = now + READY_S
    stamp = (int(ready) // HOUR_S + 1) * HOUR_S
    return int((SPEED * ready - (stamp - BEFORE_S)) / (SPEED - 1))


def paid(rows: list[dict[str, Any]]) -> Decimal:
    return sum(fundings(rows), Decimal(0))


def fundings(rows: list[dict[str, Any]]) -> list[Decimal]:
    return [Decimal(row["income"]) for row in rows if row["incomeType"] == "FUNDING_FEE"]


@pytest.mark.parametrize("first", ["spot", "usdm"])
def test_what_is_held_over_funding_stamps_is_paid_for_to_the_digit(tmp_path: Path, first: str) -> None:
    """A carry of spot against a perpetual, and one of two perpetuals at venues of their own."""
    moment = datetime.fromtimestamp(start_of(time.time()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    time_words = ("--speed", str(SPEED), "--start", moment, "--step-ms", STEP_MS, "--funding-hours", "1")
    arguments = ("--balance", f"USDT={START}", *time_words)
    with (
        emulator(tmp_path, "one", "--venue", first, *arguments) as one_venue,
        emulator(tmp_path, "two", *arguments) as two_venue,
    ):
        venues = {"one": one_venue, "two": two_venue}
        paying = [one for one in venues.values() if not one.is_spot]
        pace = f'speed = {SPEED}, start = "{moment}"'
        config = write_busy(tmp_path, venues, hold="12m", cooldown="2m", pace=pace, params=WAITS, more=PATIENT)
        with running(config, tmp_path / "state", "--quiet", mode="run") as daemon:
            desk = Desk(daemon, venues)
            desk.arm()
            end_ms = venues["one"].time_ms() + int(HOURS * HOUR_S * 1_000)
            while venues["one"].time_ms() < end_ms:
                # A day is long: somebody looks now and then, and lets it go on.
                time.sleep(5)
                desk.arm_again()
            eventually("a stamp was paid", lambda: all(paid(one.incomes()) for one in paying), PATIENCE_S)
            daemon.call("drain", {"on": True, "reason": "the end of the day"})
            eventually("it is flat", lambda: not desk.theirs() and not desk.held(), PATIENCE_S)
            for name, one in venues.items():
                eventually(f"the books of {name} agree", lambda n=name, o=one: agree(desk, n, o))  # type: ignore[misc]
            # It holds for twelve minutes of fourteen, and the other two pass a stamp by now and then.
            assert all(len(fundings(one.incomes())) >= HOURS / 2 for one in paying)
            # The rate is positive: the short is paid, and a long perpetual pays.
            assert paid(two_venue.incomes()) > 0
            assert first == "spot" or paid(one_venue.incomes()) < 0
            assert daemon.terminate() == 0, daemon.words()


def agree(desk: Desk, name: str, one: Emulator) -> bool:
    """Whether our wallet is the venue's, and that of contracts the sum of what the venue has listed."""
    wallet = Decimal(desk.view("positions")["wallets"][f"{name}-account"]["USDT"])
    if one.is_spot:
        return wallet == one.wallet()
    rows = one.incomes()
    told = desk.view("funding")["perpetuals"][f"{name}:BTCUSDT"]
    listed = sum((Decimal(row["income"]) for row in rows), Decimal(START))
    return Decimal(told["paid"]) == paid(rows) and wallet == one.wallet() == listed
