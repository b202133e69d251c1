"""How the guard asks venues, how it cancels until nothing is open, and what its own orders became."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from actors.base import Actor, handles
from actors.flatten_plan import FlattenOrder
from actors.guardian_records import GUARD_PREFIX, GuardConfig, GuardianState, Recent, Remembered, Working
from actors.inquiry import Inquiry, Verdict
from actors.messages import KillLevel
from venues.model.account import Account, MarginMode
from venues.model.instrument import Instrument
from venues.model.money import ZERO
from venues.model.order import TimeInForce
from venues.model.position import position_key
from venues.port import (
    ArmDeadMan,
    CancelAll,
    OrderCanceled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    OutcomeUnknown,
    Query,
    QueryKind,
    QueryResult,
    SubmitOrder,
)

CANCEL = "cancel"
ORDERS = "orders"
INQUIRE = "inquire/"


class GuardVenues(Actor):
    """The guard's side of the venues. What follows from the end of a round of orders is decided elsewhere."""

    sends = (CancelAll, Query, SubmitOrder, ArmDeadMan)

    state: GuardianState

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        accounts: Mapping[str, Account],
        config: GuardConfig,
        remembered: Remembered,
        name: str,
    ) -> None:
        super().__init__(name)
        self.instruments = instruments
        self.accounts = accounts
        self.config = config
        self.remembered = remembered
        self.state = GuardianState()

    def _at(self, venue: str) -> list[str]:
        return [one.id for one in self.accounts.values() if one.venue == venue]

    def _is_spot(self, account: str) -> bool:
        return self.accounts[account].margin_mode is MarginMode.CASH

    def _ask(
        self,
        now: int,
        account: str,
        kind: QueryKind,
        instrument: str | None = None,
        client_order_id: str | None = None,
    ) -> str:
        """Send a query and return its id."""
        query_id = f"{GUARD_PREFIX}{self.remembered.epoch}-q{self.state.next_query}"
        self.state.next_query += 1
        self.out.send(Query(now, account, query_id, kind, instrument, client_order_id))
        return query_id

    # Cancelling until every account is proven to have nothing open

    def _cancel_all(self, now: int, accounts: Iterable[str] | None = None) -> None:
        """Cancel everything of `accounts` (all of them) and ask what is left; the timer repeats it."""
        cancels = self.state.cancels
        chosen = list(self.accounts if accounts is None else accounts)
        for account in chosen:
            cancels.confirmed.discard(account)
            cancels.asked = {query: whose for query, whose in cancels.asked.items() if whose != account}
            self.out.send(CancelAll(now, account))
        for account in chosen:
            cancels.asked[self._ask(now, account, QueryKind.OPEN_ORDERS)] = account
        self.out.timer(CANCEL, now + self.config.cancel_retry_ns)

    def _unconfirmed(self) -> list[str]:
        return [account for account in self.accounts if account not in self.state.cancels.confirmed]

    def _cancel_again(self, now: int) -> None:
        """Repeat for accounts without a proof; with all proven, look whether it still holds."""
        if self.state.level < KillLevel.CANCEL_ALL:
            return
        left = self._unconfirmed()
        if left:
            self._cancel_all(now, left)
            return
        for account in self.accounts:
            self.state.cancels.asked[self._ask(now, account, QueryKind.OPEN_ORDERS)] = account
        self.out.timer(CANCEL, now + self.config.watch_ns)

    def _on_open_orders(self, now: int, result: QueryResult) -> None:
        cancels = self.state.cancels
        account = cancels.asked.pop(result.query_id)
        if result.orders:
            cancels.why[account] = f"{len(result.orders)} orders are open"
            if account in cancels.confirmed:
                self._cancel_all(now, [account])
            return
        cancels.why.pop(account, None)
        cancels.confirmed.add(account)
        if not self._unconfirmed():
            self.out.timer(CANCEL, now + self.config.watch_ns)

    # The guard's own orders

    def _submit(self, now: int, planned: FlattenOrder, left: Recent) -> None:
        """Send an order; `left` is the position it was planned for."""
        client_id = f"{GUARD_PREFIX}{self.remembered.epoch}-{self.state.next_order}"
        self.state.next_order += 1
        order = SubmitOrder(
            now,
            planned.account,
            planned.instrument,
            client_id,
            planned.side,
            planned.qty,
            planned.type,
            planned.price,
            TimeInForce.IOC,
            planned.position_side,
            planned.reduce_only,
        )
        self.state.flattening.recent[_key(order)] = left
        self.state.flattening.working[client_id] = Working(order, now)
        self.out.send(order)

    @handles(OrderFilled)
    def on_fill(self, now: int, fill: OrderFilled) -> None:
        working = self.state.flattening.working.get(fill.client_order_id)
        if working is None:
            return
        working.trades[fill.trade_id] = fill.qty
        self._book(now, working, sum(working.trades.values(), ZERO))
        if working.filled >= working.order.qty:
            self._end(now, working)

    @handles(OrderCanceled, OrderExpired)
    def on_end(self, now: int, report: OrderCanceled | OrderExpired) -> None:
        working = self.state.flattening.working.get(report.client_order_id)
        if working is not None:
            self._book(now, working, report.filled_qty)
            self._end(now, working)

    @handles(OrderRejected)
    def on_rejected(self, now: int, report: OrderRejected) -> None:
        working = self.state.flattening.working.get(report.client_order_id)
        if working is not None:
            self.state.flattening.refusals[report.instrument] = f"{report.reason}: {report.text}"
            self._end(now, working)

    @handles(OutcomeUnknown)
    def on_unknown(self, now: int, unknown: OutcomeUnknown) -> None:
        working = self.state.flattening.working.get(unknown.client_order_id)
        if working is not None and working.inquiry is None:
            self._inquire(now, working)
            self._check_round(now)

    def _book(self, now: int, working: Working, filled: Decimal) -> None:
        """Take note of how much of an order is filled by now."""
        news = filled - working.filled
        if news <= ZERO:
            return
        working.filled = filled
        flattening = self.state.flattening
        flattening.has_filled = True
        recent = flattening.recent.get(_key(working.order))
        if recent is not None:
            recent.left += working.order.side.sign * news
            recent.at_ns = now

    def _end(self, now: int, working: Working) -> None:
        """An order is over for certain: what took nothing reaches deeper the next time."""
        flattening, order = self.state.flattening, working.order
        del flattening.working[order.client_order_id]
        self.out.cancel_timer(INQUIRE + order.client_order_id)
        if not working.filled:
            flattening.rungs[order.instrument] = flattening.rungs.get(order.instrument, 0) + 1
        elif working.filled >= order.qty:
            flattening.rungs.pop(order.instrument, None)
            flattening.refusals.pop(order.instrument, None)
        self._check_round(now)

    def _check_round(self, now: int) -> None:
        """Go on once every order of the round is over, or is being asked for."""
        raise NotImplementedError

    # Orders whose fate is not known

    def _orders_late(self, now: int) -> None:
        """Ask what became of the orders whose end has not come in time."""
        for working in list(self.state.flattening.working.values()):
            if working.inquiry is None:
                self._inquire(now, working)
        self._check_round(now)

    def _inquire(self, now: int, working: Working) -> None:
        """Begin a round of asking for an order by its client id."""
        order = working.order
        if working.inquiry is None:
            working.inquiry = Inquiry(asks_order=True)
        inquiry = working.inquiry
        inquiry.begin(now)
        query_id = self._ask(now, order.account, QueryKind.ORDER, order.instrument, order.client_order_id)
        inquiry.outstanding[query_id] = QueryKind.ORDER
        self._wait_for(order, inquiry)

    def _wait_for(self, order: SubmitOrder, inquiry: Inquiry) -> None:
        self.out.timer(INQUIRE + order.client_order_id, inquiry.due_ns(self.config.pace))

    def _inquiry_due(self, now: int, client_id: str) -> None:
        working = self.state.flattening.working.get(client_id)
        if working is None or working.inquiry is None:
            return
        if not working.inquiry.is_waiting:
            self._inquire(now, working)
            return
        for query_id in list(working.inquiry.outstanding):
            working.inquiry.fail(now, query_id, self.config.pace)
        self._wait_for(working.order, working.inquiry)

    def _inquirer(self, query_id: str) -> Working | None:
        for working in self.state.flattening.working.values():
            if working.inquiry is not None and query_id in working.inquiry.outstanding:
                return working
        return None

    def _on_order_answer(self, now: int, working: Working, result: QueryResult) -> None:
        inquiry = working.inquiry
        assert inquiry is not None
        found = next((o for o in result.orders if o.client_order_id == working.order.client_order_id), None)
        verdict = inquiry.answer(now, result.query_id, found is not None, self.config.pace, result.ts)
        if found is not None:
            self._book(now, working, found.filled_qty)
        if verdict is Verdict.ABSENT or (found is not None and found.status.is_terminal):
            self._end(now, working)
        else:
            self._wait_for(working.order, inquiry)

    def _venue_back(self, now: int, accounts: Iterable[str]) -> None:
        """What was asked over the old connection will not be answered."""
        for working in list(self.state.flattening.working.values()):
            if working.order.account in accounts:
                if working.inquiry is not None:
                    working.inquiry.restart(now)
                self._inquire(now, working)
        self._check_round(now)


def _key(order: SubmitOrder) -> str:
    return position_key(order.account, order.instrument, order.position_side)
