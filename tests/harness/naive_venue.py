"""A venue written again from the scenario text alone: one perpetual, cross margin, no brackets, risk-averse queues.

Slow and plain on purpose: lists, exact fractions, no code shared with `sim`. It knows submit, modify, cancel and
cancel_all; market and limit orders (GTC, IOC, FOK, GTX); trades, deltas, snapshots. Own orders must not meet.
"""

from fractions import Fraction
from typing import Any

Document = dict[str, Any]

BUY, SELL = "buy", "sell"
ZERO = Fraction(0)


class NaiveOrder:
    def __init__(self, action: Document) -> None:
        self.name: str = action["id"]
        self.side: str = action["side"]
        self.tif: str = action.get("tif", "GTC") if action["type"] == "limit" else "market"
        self.qty = Fraction(action["qty"])
        self.price = Fraction(action["price"]) if action["type"] == "limit" else None
        self.filled = ZERO
        self.ahead = ZERO
        self.status = "new"

    @property
    def leaves(self) -> Fraction:
        return self.qty - self.filled


class NaiveVenue:
    """Plays one document. `fills` are (t, t_local, order, price, qty, liquidity, reason); `queue` is by arrival."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.fees = {word: Fraction(rate) for word, rate in document["venue"]["fees"].items()}
        self.shown: dict[str, dict[Fraction, Fraction]] = {BUY: {}, SELL: {}}
        self.orders: dict[str, NaiveOrder] = {}
        self.queue: list[NaiveOrder] = []
        self.fills: list[tuple[int, int, str, Fraction, Fraction, str, str]] = []
        self.balance = Fraction(document["account"]["balances"]["USDT"])
        self.position = ZERO
        self.entry = ZERO
        self.leverage: int = next(iter(document["account"]["leverage"].values()))
        self.last_trade: Fraction | None = None

    def run(self) -> None:
        entry_ns = self.document["venue"]["latency"]["entry_ns"]
        steps = [(event["t"], 0, index, event) for index, event in enumerate(self.document["events"])]
        steps += [(act["t"] + entry_ns, 1, index, act) for index, act in enumerate(self.document["orders"])]
        for t, is_order, _, what in sorted(steps, key=lambda step: step[:3]):
            self.t = t
            getattr(self, what["action"] if is_order else what["type"])(what)

    # The market

    def book_snapshot(self, event: Document) -> None:
        new = {BUY: _levels(event["bids"]), SELL: _levels(event["asks"])}
        for order in self.queue:
            order.ahead = min(order.ahead, new[order.side].get(order.price or ZERO, ZERO))
        self.shown = new
        self.cross()

    def book_delta(self, event: Document) -> None:
        for side, rows in ((BUY, event["bids"]), (SELL, event["asks"])):
            for price, qty in _levels(rows, keep_zero=True).items():
                self.shown[side][price] = qty
                for order in self.queue:
                    if order.side == side and order.price == price:
                        order.ahead = min(order.ahead, qty)
        self.cross()

    def trade(self, event: Document) -> None:
        side = SELL if event["aggressor"] == BUY else BUY
        price, qty = Fraction(event["price"]), Fraction(event["qty"])
        self.last_trade = price
        for order in self.best_first(side):
            if order.price is not None and better(side, order.price, price):
                self.fill(order, order.price, order.leaves, "maker", "through")
        left, passed = qty, ZERO
        here = [order for order in self.queue if order.side == side and order.price == price]
        for order in here:
            between = max(ZERO, order.ahead - passed)
            if left <= between:
                break
            left, passed = left - between, passed + between
            got = min(left, order.leaves)
            self.fill(order, price, got, "maker", "queue")
            left -= got
        passed += left
        now_shown = max(ZERO, self.shown[side].get(price, ZERO) - qty)
        self.shown[side][price] = now_shown
        for order in here:
            order.ahead = min(max(ZERO, order.ahead - passed), now_shown)

    def cross(self) -> None:
        for side, opposite in ((BUY, SELL), (SELL, BUY)):
            for order in self.best_first(side):
                while order.leaves and order.price is not None:
                    quote = self.best(opposite)
                    if quote is None or better(side, quote, order.price):
                        break
                    got = min(order.leaves, self.shown[opposite][quote])
                    self.shown[opposite][quote] -= got
                    self.fill(order, order.price, got, "maker", "crossed")

    # The client

    def submit(self, action: Document) -> None:
        order = self.orders[action["id"]] = NaiveOrder(action)
        reachable = sum(
            (qty for price, qty in self.shown[other(order.side)].items() if self.takes(order, price)), start=ZERO
        )
        if (order.tif == "GTX" and reachable) or not self.affords(
            order, order.price if order.price is not None else self.best(other(order.side))
        ):
            order.status = "rejected"
        elif order.tif == "FOK" and reachable < order.qty:
            order.status = "expired"
        else:
            order.status = "accepted"
            self.work(order)

    def work(self, order: NaiveOrder) -> None:
        opposite = other(order.side)
        while order.leaves:
            quote = self.best(opposite)
            if quote is None or not self.takes(order, quote):
                break
            got = min(order.leaves, self.shown[opposite][quote])
            self.shown[opposite][quote] -= got
            self.fill(order, quote, got, "taker", "taker")
        if not order.leaves:
            return
        if order.tif in {"GTC", "GTX"}:
            order.ahead = self.shown[order.side].get(order.price or ZERO, ZERO)
            self.queue.append(order)
        else:
            order.status = "expired"

    def modify(self, action: Document) -> None:
        order = self.orders[action["id"]]
        if order not in self.queue:
            return
        qty, price = Fraction(action["qty"]), Fraction(action["price"])
        stays = self.document["venue"]["rules"] == "cme" and price == order.price and qty <= order.qty
        if qty <= order.filled:
            self.queue.remove(order)
            order.status = "canceled"
        elif not self.affords(order, price, qty):
            return
        elif stays:
            order.qty = qty
        else:
            self.queue.remove(order)
            order.qty, order.price = qty, price
            self.work(order)

    def cancel(self, action: Document) -> None:
        order = self.orders[action["id"]]
        if order in self.queue:
            self.queue.remove(order)
            order.status = "canceled"

    def cancel_all(self, action: Document) -> None:
        for order in tuple(self.queue):
            self.cancel({"id": order.name})

    def affords(self, order: NaiveOrder, price: Fraction | None, qty: Fraction | None = None) -> bool:
        """Whether what is free stays positive, or does not fall, with `order` at `price` (and a new total `qty`)."""
        if price is None:
            return True
        others = [(each.side, each.leaves, each.price or ZERO) for each in self.queue if each is not order]
        old = [(order.side, order.leaves, order.price or ZERO)] if order in self.queue else []
        new = [(order.side, (order.qty if qty is None else qty) - order.filled, price)]
        free = self.free([*others, *new])
        return free >= 0 or free >= self.free([*others, *old])

    def free(self, working: list[tuple[str, Fraction, Fraction]]) -> Fraction:
        value = self.last_trade if self.last_trade is not None else self.entry
        held = self.position * value
        bids = sum((qty * price for side, qty, price in working if side == BUY), start=ZERO)
        asks = sum((qty * price for side, qty, price in working if side == SELL), start=ZERO)
        needed = max(abs(held + bids), abs(held - asks)) / self.leverage
        return self.balance + self.position * (value - self.entry) - needed

    # Words

    def best(self, side: str) -> Fraction | None:
        prices = [price for price, qty in self.shown[side].items() if qty]
        return (max(prices) if side == BUY else min(prices)) if prices else None

    def best_first(self, side: str) -> list[NaiveOrder]:
        mine = [order for order in self.queue if order.side == side]
        return sorted(mine, key=lambda order: (order.price or ZERO) * (-1 if side == BUY else 1))

    def takes(self, order: NaiveOrder, quote: Fraction) -> bool:
        return order.price is None or not better(order.side, quote, order.price)

    def fill(self, order: NaiveOrder, price: Fraction, qty: Fraction, liquidity: str, reason: str) -> None:
        local = self.t + self.document["venue"]["latency"]["response_ns"]
        self.fills.append((self.t, local, order.name, price, qty, liquidity, reason))
        order.filled += qty
        order.status = "partially_filled" if order.leaves else "filled"
        if not order.leaves and order in self.queue:
            self.queue.remove(order)
        self.balance -= price * qty * self.fees[liquidity]
        signed = qty if order.side == BUY else -qty
        if self.position * signed < 0:
            closed = min(abs(self.position), qty) * (1 if self.position > 0 else -1)
            self.balance += closed * (price - self.entry)
            self.position -= closed
            signed += closed
        if signed:
            self.entry = (self.entry * self.position + price * signed) / (self.position + signed)
            self.position += signed


def other(side: str) -> str:
    return SELL if side == BUY else BUY


def better(side: str, price: Fraction, than: Fraction) -> bool:
    """Whether `price` is the better one to rest at on `side`: higher to buy, lower to sell."""
    return price > than if side == BUY else price < than


def _levels(rows: list[list[str]], keep_zero: bool = False) -> dict[Fraction, Fraction]:
    return {Fraction(price): Fraction(qty) for price, qty in rows if keep_zero or Fraction(qty)}
