"""The emulated venue: time, market, matching and what one account has there, behind plain calls."""

from collections.abc import Callable

from attrs import frozen

from sim.emulator.events import Subscriber
from sim.emulator.listings import Listing
from sim.emulator.records import BalanceFigures, OrderRecord, PositionFigures
from venues.port import BookSnapshot, Command, Report


@frozen
class HostSettings:
    """`venue` is usdm or spot. `market` is "synthetic" or the path of a recording. `speed` is venue time per time."""

    venue: str = "usdm"
    market: str = "synthetic"
    seed: int = 1
    speed: float = 1.0


class Host:
    """One venue with one account. Every call is synchronous and happens at `now()`."""

    settings: HostSettings
    account: str
    listings: dict[str, Listing]
    """By symbol, in the order of exchangeInfo."""

    def now(self) -> int:
        """Return the venue's time in ns UTC: the wall clock's when the speed is one."""
        raise NotImplementedError

    async def run(self) -> None:
        """Pace the market and the venue until cancelled."""
        raise NotImplementedError

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        """Let `fn` hear of everything from now on, in venue order; the call returned ends it."""
        raise NotImplementedError

    def command(self, command: Command) -> list[Report]:
        """Do it now and return what the venue says to it; subscribers have heard of it before this returns."""
        raise NotImplementedError

    def book(self, instrument: str) -> BookSnapshot | None:
        """Return the published book, own resting orders included.

        Its update_id is the last_id of the BookDelta that subscribers heard last. None for an unknown book.
        """
        raise NotImplementedError

    def order(self, client_order_id: str) -> OrderRecord | None:
        """Return the newest order of that id."""
        raise NotImplementedError

    def positions(self, symbol: str | None = None, *, with_flat: bool = True) -> list[PositionFigures]:
        raise NotImplementedError

    def balances(self) -> list[BalanceFigures]:
        raise NotImplementedError
