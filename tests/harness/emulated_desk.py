"""A desk at emulators, and what must be true of both."""

from decimal import Decimal
from typing import Any

from attrs import define
from desk_truth import arm_again
from emulated import Emulator
from live_daemon import Daemon, eventually

from daemon.admin.client import CallFailedError

LONG_S = 90.0
START = "100000"


@define
class Desk:
    """A running desk and its venues, by name."""

    daemon: Daemon
    venues: dict[str, Emulator]

    def view(self, method: str, params: dict[str, Any] | None = None) -> Any:
        return self.daemon.call(method, params, self.daemon.paths.view_socket)

    def held(self) -> dict[str, Decimal]:
        return {one["instrument"]: Decimal(one["qty"]) for one in self.view("positions")["positions"]}

    def theirs(self) -> dict[str, Decimal]:
        return {f"{name}:{symbol}": qty for name, one in self.venues.items() for symbol, qty in one.positions().items()}

    def baskets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.view("baskets")["baskets"]
        return found

    def arm(self) -> None:
        arm_again(self.daemon, self.daemon.wait_ready(LONG_S))

    def arm_again(self) -> None:
        """Arm as a person would who looks until nothing keeps him from it."""

        def arm() -> bool:
            if not self.has_halted():
                return True
            try:
                self.daemon.call("arm", {"reason": "what went wrong was looked into"})
            except CallFailedError:
                return False
            return not self.has_halted()

        eventually("it may be armed again", arm, LONG_S)

    def is_even(self) -> bool:
        """Whether both sides say the same, and no leg stands alone."""
        ours = self.held()
        return sum(ours.values()) == 0 and self.theirs() == ours == self.held()

    def has_halted(self) -> str:
        """Return why nothing is opened any more, empty while it is."""
        kill = self.view("status")["kill"]
        return "" if kill["level"] == "armed" else f"{kill['level']}: {kill}"
