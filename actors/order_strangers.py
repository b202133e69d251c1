"""Decides what to make of fills and open orders at the venue that are on no record of ours."""

from actors.control import GUARD_PREFIX
from actors.messages import FillEvent, OrderUpdate
from actors.order_desk import OrderDesk
from actors.order_records import VENUE_REASONS, OpenStranger, Tracked, fits, to_fill, trade_key
from actors.order_resolutions import STRANGERS, Stranger
from actors.pacing import Priority
from venues.model.order import OrderStatus
from venues.port import CancelOrder, OrderFilled, OrderReport, Query, QueryKind, QueryResult

_TIMER = "strangers"


class OrderStrangers(OrderDesk):
    """What is not ours is counted and told, and cancelled only where our own ids say that it was ours."""

    # Fills

    def _book_external(self, now: int, client_id: str, report: OrderFilled, is_queried: bool) -> None:
        """Book a fill of no order of ours: the position changed whoever did it.

        Left alone are fills older than this run (the opening positions hold them) and, in answers without client ids,
        those that an order still asked about may turn out to own.
        """
        if is_queried and (report.ts < self.state.started_ns or (not client_id and self._asks_about(report))):
            return
        key = trade_key(report)
        seen = self.state.external_trades.setdefault(report.instrument, {})
        if key in seen:
            self.state.duplicate_fills += 1
            return
        seen[key] = None
        if len(seen) > self.config.keep_orders:
            del seen[next(iter(seen))]
        self.state.external_fills += 1
        text = (
            f"{report.account}: {report.side} {report.qty} {report.instrument} at {report.price}, order {client_id!r}"
        )
        if self._was_ours(client_id):
            # Too old to tell a repeated fill from a new one; the synchronizer compares the position.
            self._incident(now, "forgotten_order_fill", "", text)
        else:
            self._publish_fill(now, report, client_id, "", None)
            self._incident(now, "external_fill", "", f"{text}, {report.reason}")
        if report.reason not in VENUE_REASONS:
            self._trip(now, "external_fill", text)

    def _publish_fill(
        self, now: int, report: OrderFilled, client_id: str, request_id: str, tracked: Tracked | None
    ) -> None:
        strategy, basket = (tracked.strategy, tracked.basket_id) if tracked is not None else ("", "")
        self.out.emit(FillEvent(now, request_id, strategy, basket, to_fill(report, client_id)))

    def _asks_about(self, report: OrderFilled) -> bool:
        return any(
            fits(self.state.orders[client_id].order, report) and not self.state.orders[client_id].order.venue_order_id
            for client_id in self.state.inquiries
        )

    # Open orders

    def _seek_strangers(self, now: int, venue: str | None = None) -> None:
        """Ask for the open orders of every account at `venue`, of all without one; again until they are answered."""
        if self.accounts:
            self.out.timer(_TIMER, now + self.config.strangers_retry_ns)
        for account, at in self.accounts.items():
            if venue not in (None, at):
                continue
            later = self._pacer.take(now, at, account, Priority.QUERY) if self._is_paced else 0
            if later:
                self.out.timer(_TIMER, later)
                continue
            query_id = f"{self.name}-{self.state.next_query}"
            self.state.next_query += 1
            # An answer to an earlier one would be older than this.
            self.state.open_queries = {key: of for key, of in self.state.open_queries.items() if of != account}
            self.state.open_queries[query_id] = account
            self.out.send(Query(now, account, query_id, QueryKind.OPEN_ORDERS))

    def on_timer(self, now: int, key: str) -> None:
        if key == _TIMER:
            self._seek_strangers(now)
        else:
            super().on_timer(now, key)

    def _meet_strangers(self, now: int, result: QueryResult) -> None:
        """Compare a complete list of open orders with our records. What it lacks of ours proves nothing."""
        account = self.state.open_queries.pop(result.query_id, None)
        if account is None:
            return
        strangers, seen = self.state.strangers, set()
        for report in result.orders:
            if report.client_order_id not in self.state.orders and report.status.may_rest:
                key = f"{account}|{report.instrument}|{report.client_order_id or report.venue_order_id}"
                seen.add(key)
                self._meet(now, key, report)
        for key in [key for key, one in strangers.items() if one.account == account and key not in seen]:
            self._tell_stranger(now, key, strangers.pop(key), is_over=True)
        if not strangers and not self.state.open_queries:
            self.out.cancel_timer(_TIMER)

    def _meet(self, now: int, key: str, report: OrderReport) -> None:
        kind = self._kind(report.client_order_id)
        resolution = STRANGERS[kind]
        if resolution.is_cancelled:
            self.out.send(CancelOrder(now, report.account, report.instrument, report.client_order_id))
        if key in self.state.strangers:
            return
        text = f"{report.account}: {report.side} {report.qty} {report.instrument}, order {report.client_order_id!r}"
        is_full = len(self.state.strangers) >= self.config.strangers_max
        self._incident(now, f"{kind}_order_open", "", f"{text}: {resolution.reason}")
        if resolution.is_alarm or is_full:
            self._trip(now, "stranger_order", f"{text}: {resolution.reason}")
        if resolution.is_counted and not is_full:
            stranger = OpenStranger(report.account, report.instrument, report.side, report.qty, report.filled_qty)
            self.state.strangers[key] = stranger
            self._tell_stranger(now, key, stranger, is_over=False)

    def _kind(self, client_id: str) -> Stranger:
        if client_id in self.state.traces:
            return Stranger.ENDED
        if client_id.startswith(GUARD_PREFIX):
            return Stranger.GUARD
        number = client_id.removeprefix(self.config.run_prefix)
        if number == client_id or not number.isdecimal():
            return Stranger.FOREIGN
        return Stranger.FORGOTTEN if int(number) < self.state.next_order else Stranger.AHEAD

    def _tell_stranger(self, now: int, key: str, one: OpenStranger, *, is_over: bool) -> None:
        """Let others count it; `request_id` is empty, for nobody here asked for it."""
        status = OrderStatus.CANCELED if is_over else OrderStatus.ACCEPTED
        client_id = key.rpartition("|")[2]
        why = "no longer open at the venue" if is_over else "found at the venue"
        self.out.emit(
            OrderUpdate(
                now,
                "",
                "",
                "",
                client_id,
                one.account,
                one.instrument,
                one.side,
                one.qty,
                status,
                one.filled_qty,
                is_over,
                why=why,
            )
        )
