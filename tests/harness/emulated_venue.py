"""The emulated venue without sockets, on a market that does only what a test lets it do."""

from decimal import Decimal
from typing import Any

from sim.emulator.events import Event
from sim.emulator.host import Host, HostSettings
from sim.emulator.listen_keys import ListenKeys
from sim.emulator.routes import ApiError, Params, Session, routes
from venues.model.order import Side
from venues.port import BookSnapshot, FundingRate, MarkPrice, Message, Trade

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND
"""2026-09-21 14:13:20 UTC."""

KEY = "k" * 64
BIDS = {"BTCUSDT": [(99_990, "1"), (99_980, "2"), (99_970, "50")], "ETHUSDT": [(3_999, "10"), (3_990, "500")]}
ASKS = {"BTCUSDT": [(100_010, "1"), (100_020, "2"), (100_030, "50")], "ETHUSDT": [(4_001, "10"), (4_010, "500")]}
MARKS = {"BTCUSDT": "100000", "ETHUSDT": "4000"}
Rows = list[tuple[int, str]]


class Emulated:
    """`events` are what the streams have heard; every call happens at a time that only `wait` moves."""

    def __init__(self, venue: str = "usdm", **settings: Any) -> None:
        self.ns = 0
        self.host = Host(
            HostSettings(venue, **settings), wall=lambda: START, monotonic=lambda: self.ns, events=iter(())
        )
        self.table = routes(venue)
        self.session = Session(self.host, ListenKeys(), KEY)
        self.events: list[Event] = []
        self._update_id = 0
        for symbol in BIDS:
            self.book(symbol)
            if venue == "usdm":
                self.mark(symbol, MARKS[symbol])
        self.host.subscribe(self.events.append)

    @property
    def now(self) -> int:
        return self.host.now()

    def wait(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND)
        self.host.catch_up()

    # The market

    def play(self, message: Message) -> None:
        self.host.catch_up()
        self.host.play(self.now, message)

    def book(self, symbol: str, bids: Rows | None = None, asks: Rows | None = None) -> None:
        spec = self.host.listings[symbol].spec
        self._update_id += 1
        sides = [
            [(spec.ticks(Decimal(price)), spec.lots(Decimal(qty))) for price, qty in rows]
            for rows in (BIDS[symbol] if bids is None else bids, ASKS[symbol] if asks is None else asks)
        ]
        self.play(BookSnapshot(self.now, spec.id, self._update_id, *sides))

    def mark(self, symbol: str, price: str, index: str | None = None) -> None:
        self.play(MarkPrice(self.now, self.host.listings[symbol].id, Decimal(price), Decimal(index or price)))

    def trade(self, symbol: str, price: str, qty: str, aggressor: Side) -> None:
        spec = self.host.listings[symbol].spec
        self.play(Trade(self.now, spec.id, 0, spec.ticks(Decimal(price)), spec.lots(Decimal(qty)), aggressor))

    def fund(self, symbol: str, rate: str, mark: str) -> None:
        self.play(FundingRate(self.now, self.host.listings[symbol].id, Decimal(rate), Decimal(mark)))

    # Requests

    def ask(self, method: str, path: str, **params: object) -> Any:
        """Return what a route answers. Raises ApiError."""
        texts = {name: str(value) for name, value in params.items() if value is not None}
        return self.table[method, path].handler(self.session, Params(texts))

    def code(self, method: str, path: str, **params: object) -> int:
        """Return the code of a refusal."""
        try:
            answer = self.ask(method, path, **params)
        except ApiError as error:
            return error.code
        raise AssertionError(f"not refused: {answer}")

    def order(self, side: str, qty: str, price: str | None = None, symbol: str = "BTCUSDT", **params: object) -> Any:
        """Place a limit order (GTC) where there is a price, else a market order, and return the result."""
        kind = {"type": "MARKET"} if price is None else {"type": "LIMIT", "timeInForce": "GTC", "price": price}
        named: dict[str, object] = {**kind, "newOrderRespType": "RESULT", **params}
        return self.ask("POST", "/fapi/v1/order", symbol=symbol, side=side, quantity=qty, **named)

    def told(self, kind: type) -> list[Any]:
        """Return what the streams have heard of one kind, and forget it all."""
        found = [event for event in self.events if isinstance(event, kind)]
        self.events.clear()
        return found
