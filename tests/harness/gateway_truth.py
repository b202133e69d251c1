"""What must be true of a desk at rest and of its emulators, whatever went wrong between them.

Everything is held against the emulators' own books, asked over REST, and the desk's journals. Each check returns what
is wrong in words, nothing when all is well.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from emulated import Emulator

from daemon.live.recovery import LOG_NAME, run_folders
from daemon.log.canonical import Record, message_of
from daemon.log.reader import open_log
from daemon.log.run_log import RUN_NAME
from venues.model.order import OrderType
from venues.port import OrderFilled, OrderRejected, Query, QueryKind, QueryResult, SubmitOrder

ZERO = Decimal(0)
SYMBOL = "BTCUSDT"
LOT = Decimal("0.001")
"""The coarser of the two venues': less of a difference between legs cannot be traded away."""

Key = tuple[str, str, str]
"""Account, instrument and trade id."""


@frozen
class Book:
    """One emulator's books. `opened` is the money that the account began with."""

    name: str
    is_spot: bool
    opened: Decimal
    orders: list[dict[str, Any]]
    trades: list[dict[str, Any]]
    placements: list[dict[str, Any]]
    position: Decimal
    wallet: Decimal
    incomes: Decimal

    @classmethod
    def of(cls, name: str, one: Emulator, opened: str) -> "Book":
        return cls(
            name,
            one.is_spot,
            Decimal(opened),
            one.orders(SYMBOL),
            one.trades(SYMBOL),
            one.placements(),
            one.positions().get(SYMBOL, ZERO),
            one.wallet(),
            ZERO if one.is_spot else sum((Decimal(row["income"]) for row in one.incomes()), ZERO),
        )

    @property
    def account(self) -> str:
        return f"{self.name}-account"

    def key(self, trade: Mapping[str, Any]) -> Key:
        return self.account, f"{self.name}:{SYMBOL}", str(trade["id"])

    def is_buy(self, trade: Mapping[str, Any]) -> bool:
        return bool(trade["isBuyer"]) if self.is_spot else trade["side"] == "BUY"

    def moved(self, trade: Mapping[str, Any]) -> Decimal:
        """Return by how much a trade moved the position: what is bought at a spot venue pays its fee in kind."""
        qty = Decimal(trade["qty"]) * (1 if self.is_buy(trade) else -1)
        is_in_kind = self.is_spot and trade["commissionAsset"] != "USDT"
        return qty - Decimal(trade["commission"]) if is_in_kind else qty

    def paid(self) -> Decimal:
        """Return what a spot account's trades have moved its money by."""
        total = ZERO
        for trade in self.trades:
            total += Decimal(trade["quoteQty"]) * (-1 if self.is_buy(trade) else 1)
            total -= Decimal(trade["commission"]) if trade["commissionAsset"] == "USDT" else ZERO
        return total


@define
class Journal:
    """What all runs of a desk have written down: orders by client id, fills told, and what was proven not to be."""

    orders: dict[str, list[SubmitOrder]] = field(factory=dict)
    fills: dict[Key, OrderFilled] = field(factory=dict)
    rejected: set[str] = field(factory=set)
    absent: set[str] = field(factory=set)
    _questions: dict[str, str] = field(factory=dict)

    @classmethod
    def of(cls, runs: Path) -> "Journal":
        journal = cls()
        for run in run_folders(runs):
            if (run / LOG_NAME / RUN_NAME).exists():
                for record in open_log(run / LOG_NAME).order_path():
                    journal._take(record)
        return journal

    def _take(self, record: Record) -> None:
        if record.kind not in _TAKEN:
            return
        message = message_of(record)
        if isinstance(message, SubmitOrder):
            self.orders.setdefault(message.client_order_id, []).append(message)
        elif isinstance(message, Query):
            if message.kind is QueryKind.ORDER and message.client_order_id:
                self._questions[message.query_id] = message.client_order_id
        elif isinstance(message, OrderRejected):
            self.rejected.add(message.client_order_id)
        elif isinstance(message, OrderFilled):
            self._fill(message)
        elif isinstance(message, QueryResult):
            for fill in message.fills:
                self._fill(fill)
            if message.query_id in self._questions and not message.orders:
                self.absent.add(self._questions[message.query_id])

    def _fill(self, fill: OrderFilled) -> None:
        self.fills[fill.account, fill.instrument, fill.trade_id] = fill


_TAKEN = {one.__name__ for one in (SubmitOrder, Query, OrderRejected, OrderFilled, QueryResult)}


def ids_come_once(books: Iterable[Book], journal: Journal) -> Iterator[str]:
    """No client id reached a venue twice, was carried out twice or was given to two orders."""
    for name, orders in journal.orders.items():
        if len(orders) > 1:
            yield f"{name} was given to {len(orders)} orders"
    for book in books:
        for row in book.placements:
            if row["times"] > 1:
                terms = "with other terms" if row["differs"] else "with the same terms"
                yield f"{row['clientOrderId']} reached {book.name} {row['times']} times, {terms}"
        for name, times in Counter(row["clientOrderId"] for row in book.orders).items():
            if times > 1:
                yield f"{name} was carried out {times} times at {book.name}"


def orders_are_known(books: Iterable[Book], journal: Journal) -> Iterator[str]:
    """What a venue has, the desk had decided on, with the same terms; what it has not is proven not to have come."""
    there: set[str] = set()
    for book in books:
        there |= {row["clientOrderId"] for row in book.orders}
        for name in {row["clientOrderId"] for row in book.placements} - set(journal.orders):
            yield f"{book.name} was asked for {name}, which the journal does not know"
        for row in book.orders:
            sent = journal.orders.get(row["clientOrderId"])
            if sent is None:
                yield f"{row['clientOrderId']} at {book.name} is not in the journal"
            elif terms(row) != _terms(sent[0]) or sent[0].account != book.account:
                yield f"{row['clientOrderId']} is {terms(row)} at {book.name}, {_terms(sent[0])} in the journal"
    for name in set(journal.orders) - there - journal.rejected - journal.absent:
        yield f"{name} is at no venue, and nothing in the journal says that it never was"


def terms(row: Mapping[str, Any]) -> tuple[str, Decimal, Decimal]:
    return row["side"], Decimal(row["origQty"]), ZERO if row["type"] == "MARKET" else Decimal(row["price"])


def _terms(order: SubmitOrder) -> tuple[str, Decimal, Decimal]:
    price = ZERO if order.type is OrderType.MARKET or order.price is None else order.price
    return order.side.name, order.qty, price


def fills_are_told(books: Iterable[Book], journal: Journal, executions: Path) -> Iterator[str]:
    """Every trade of a venue is in the journal and in the executions, once, as it was; and no other."""
    theirs = {book.key(trade): (book, trade) for book in books for trade in book.trades}
    booked = _booked(executions)
    for key in set(journal.fills) - set(theirs):
        yield f"the journal has a fill {key} that the venue has not"
    for key, times in booked.items():
        if key not in theirs:
            yield f"{key} is among the executions, and the venue has it not"
        elif times > 1:
            yield f"{key} is among the executions {times} times"
    for key, (book, trade) in theirs.items():
        fill = journal.fills.get(key)
        if fill is None:
            yield f"the journal has not heard of {key}"
        elif (fill.side.name == "BUY", fill.price, fill.qty, fill.fee) != (
            book.is_buy(trade), Decimal(trade["price"]), Decimal(trade["qty"]), Decimal(trade["commission"])
        ):  # fmt: skip
            yield f"{key} is {trade} at the venue and {fill} in the journal"
        if key not in booked:
            yield f"{key} is not among the executions"


def _booked(executions: Path) -> Counter[Key]:
    connection = sqlite3.connect(f"file:{executions}?mode=ro", uri=True)
    try:
        return Counter(connection.execute("SELECT account, instrument, trade_id FROM fills").fetchall())
    finally:
        connection.close()


def positions_are_sums(books: Iterable[Book], held: Mapping[str, Decimal]) -> Iterator[str]:
    """What is held is the sum of the venue's trades, by its word and by ours."""
    for book in books:
        ours = held.get(f"{book.name}:{SYMBOL}", ZERO)
        total = sum((book.moved(trade) for trade in book.trades), ZERO)
        if not total == book.position == ours:
            yield f"{book.name}: trades sum to {total}, it says {book.position}, the desk {ours}"


def money_agrees(
    books: Iterable[Book], wallets: Mapping[str, Mapping[str, str]], mismatches: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """Wallets are the venue's to the digit and what its own rows sum to; what differs was told and stands so."""
    told = {
        (one["account"], one["what"]): Decimal(one["theirs"]) - Decimal(one["ours"])
        for one in mismatches
        if one["ended_ns"] is None
    }
    for book in books:
        total = book.opened + (book.paid() if book.is_spot else book.incomes)
        if book.wallet != total:
            yield f"{book.name} says {book.wallet} and lists {total}"
        ours = Decimal(wallets[book.account]["USDT"])
        if book.wallet - ours != told.get((book.account, "USDT"), ZERO):
            yield f"{book.name} has {book.wallet}, the desk {ours}, told are {told}"


def net_of(basket: Mapping[str, Any]) -> Decimal:
    """Return by how much a basket's legs differ."""
    return sum((Decimal(leg["position"]) for leg in basket["legs"]), ZERO)


def nothing_is_naked_and_silent(
    baskets: Iterable[Mapping[str, Any]], held: Mapping[str, Decimal], halted: str
) -> Iterator[str]:
    """Legs balance, in the book and in each basket; where they do not, the desk has stopped and says why."""
    if halted:
        return
    if abs(sum(held.values(), ZERO)) >= LOT:
        yield f"unhedged, and the desk is armed: {held}"
    for basket in baskets:
        net = net_of(basket)
        if abs(net) >= LOT:
            yield f"{basket['id']} is {basket['state']} with {net}, and the desk is armed"


def breaks_are_told(events: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Every basket that broke has an incident."""
    rows = list(events)
    told = {row["fields"].get("basket_id") for row in rows if row["kind"] == "Incident"}
    for row in rows:
        fields = row["fields"]
        if row["kind"] == "BasketUpdate" and fields["state"] == "broken" and fields["basket_id"] not in told:
            yield f"{fields['basket_id']} broke without an incident: {row['text']}"
