"""The project's units at work on a machine: a desk that holds a pair and rests an order, and what is asked of it."""

import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from attrs import define, field
from live_daemon import Probe
from systemd_machine import ROOT, Machine

DESK, GUARD, VENUE = "basisd.service", "basisd-guard.service", "basisd-venue.service"
UNITS = (DESK, GUARD, VENUE)
STATE = "/var/lib/private/basisd"
LINK = "/run/private/basisd-link"
VIEW, OPS = ("basisd-view",), ("basisd-ops",)
REFUSED = 3
"""basisctl's exit status when nobody answers, or nobody may be asked."""
PAIR = {"binance_usdm:BTCUSDT": "-0.5"}
"""What the futures account comes to hold."""

RESTING = '''
"""Rests one bid far below the market for as long as trading is armed."""

from decimal import Decimal

from attrs import define

from actors.messages import BasketIntent, KillLevel, OrderRequest
from actors.strategies.base import Strategy, StrategyState
from venues.model.order import Side, TimeInForce

SPOT = "binance_spot:BTCUSDT"


@define
class RestingState(StrategyState):
    asked: int = 0


class Resting(Strategy):
    publishes = (BasketIntent, OrderRequest)
    State = RestingState

    def on_book(self, now, view):
        if view.instrument != SPOT or self.state.kill_level > KillLevel.ARMED or self.state.asked >= 1:
            return
        self.state.asked += 1
        price = self.price(SPOT, view.bid) - 300
        self.out.emit(
            OrderRequest(now, f"rest-{now}", self.name, "", "spot", SPOT, Side.BUY, Decimal("0.01"), price=price,
                         tif=TimeInForce.GTC)
        )
'''

# A machine's first venue compiles for twenty seconds of a processor of its own before it listens.
_START_S = 180
_CHANGES = {"entry_bps": '"-100"', "exit_bps": '"-1000"', "max_hold": '"1000h"', "max_baskets": "1"}
_RESTING_TABLE = """
[[strategies]]
id = "resting"
kind = "resting:Resting"
"""


def configuration() -> str:
    """Return the demo's configuration, with a strategy that opens at once and holds, and one that rests an order."""
    text = (ROOT / "configs" / "demo.toml").read_text()
    for key, value in _CHANGES.items():
        text, count = re.subn(rf"^{key} = [^#\n]+", f"{key} = {value} ", text, flags=re.M)
        assert count == 1, key
    return text + _RESTING_TABLE


@define
class Desk:
    """The three units on a machine, begun afresh. `measured` takes how long something took, by name, in seconds."""

    machine: Machine
    measured: dict[str, list[float]] = field(factory=dict)

    # From the beginning to the end

    def clear(self) -> None:
        """End all units without ceremony and forget their state."""
        machine = self.machine
        machine.systemctl("stop", "--no-block", "basisd-panic.socket", *UNITS)
        machine.systemctl("kill", "--signal=KILL", *UNITS, check=False)
        machine.until(
            "all end", lambda: all(machine.show(unit)["ActiveState"] in {"inactive", "failed"} for unit in UNITS)
        )
        machine.systemctl("reset-failed")
        for folder in (STATE, "/etc/basisd"):
            shutil.rmtree(machine.path(folder), ignore_errors=True)

    def configure(self, text: str | None = None) -> None:
        self.machine.write("/etc/basisd/desk.toml", configuration() if text is None else text)
        self.machine.write("/etc/basisd/resting.py", RESTING)

    def start(self) -> dict[str, str]:
        """Start the desk and what it wants, and wait until it is ready; return what the unit shows then."""
        self.machine.systemctl("start", "--no-block", DESK)
        return self.machine.until_state(DESK, _START_S, ActiveState="active")

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.measured.setdefault(name, []).append(time.monotonic() - began)

    # As persons see it

    def ctl(self, *arguments: str, groups: tuple[str, ...] = ("basisd-ops", "basisd-view"), check: bool = True) -> Any:
        """Run basisctl as somebody in `groups`; return what it printed as JSON, or its exit status and complaint."""
        done = self.machine.run("basisctl", "--json", *arguments, user=PERSON, groups=groups, check=check)
        return json.loads(done.stdout) if check else (done.returncode, done.stderr)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ctl("status")
        return found

    def arm(self) -> None:
        """Arm, as soon as that is granted."""
        self.machine.until("armed", lambda: self.ctl("arm", "--reason", "test", check=False)[0] == 0)

    # As it is

    def until_level(self, level: str) -> None:
        """Wait until the guard's latch is at a level."""
        self.machine.until(f"the latch is at {level}", lambda: self.latch()[-1][0] == level)

    def until_trading(self) -> None:
        """Arm, and wait until the pair is held and the order rests."""
        self.arm()
        try:
            with closing(self.probe()) as venue:
                self.machine.until("it holds its pair", lambda: venue.positions("futures"))
                self.machine.until("its order rests", lambda: venue.open_orders("spot"))
        except TimeoutError as error:
            told = json.dumps([self.ctl("status"), self.ctl("events")], indent=1)
            raise TimeoutError(f"{error}\n{told}\n{self.machine.words(DESK)}") from None

    def probe(self) -> Probe:
        """Return a client of the venue that asks for the truth."""
        return Probe(self.machine.path(f"{LINK}/venue.sock"))

    def venue_positions(self) -> dict[str, str]:
        """Return what the venue says that the futures account holds."""
        with closing(self.probe()) as venue:
            return {name: str(qty.normalize()) for name, qty in venue.positions("futures").items()}

    def latch(self) -> list[tuple[Any, ...]]:
        """Return the guard's latch, every change of it: level, trigger, operator, uid, reason."""
        return self.query("guard/guard.sqlite", "SELECT level, trigger, operator, uid, reason FROM latch")

    def runs(self) -> list[str]:
        return sorted(path.name for path in self.machine.path(f"{STATE}/runs").iterdir())

    def query(self, file: str, statement: str) -> list[tuple[Any, ...]]:
        """Read a database of the state."""
        told = self.machine.run("/opt/basisd/bin/python", "-c", _QUERY, f"{STATE}/{file}", statement).stdout
        return [tuple(row) for row in json.loads(told)]

    def restarted(self, unit: str, pid: int, how: Callable[[], None]) -> int:
        """Do something that ends the unit's process `pid`; return the next one's when the unit is up again."""
        how()

        def look() -> int:
            now = self.machine.main_pid(unit)
            return now if now not in {0, pid} else 0

        found = int(self.machine.until(f"another process of {unit}", look))
        self.machine.until_state(unit, ActiveState="active")
        return found

    def kill(self, unit: str, number: signal.Signals = signal.SIGKILL) -> None:
        self.machine.kill(unit, number)


# In the machine: SQLite resolves links by itself, and would not get into it through /proc.
_QUERY = """
import json, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print(json.dumps(connection.execute(sys.argv[2]).fetchall()))
"""

PERSON = "4242"
"""A user that exists nowhere, as somebody from a directory service that does not answer."""
