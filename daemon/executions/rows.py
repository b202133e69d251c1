"""What a record of the execution tracker is in the database: one row per fill and child, one per basket and leg."""

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

from attrs import frozen

from actors.ledger import LedgerConfig
from actors.messages import BookView
from actors.risk_checks import unit_notional
from actors.tracker_records import BasketRecord, ChildRecord, FillRecord, ParentRecord, Progress, Record, fill_key
from daemon.config_schema import RunConfig
from venues.costs.shortfall import Attribution, Shortfall
from venues.costs.transaction_costs import Filled, Touch, TransactionCosts, transaction_costs
from venues.model.instrument import Instrument
from venues.model.money import ZERO, to_text
from venues.model.order import Side
from venues.rules.errors import BadValueError

Row = dict[str, Any]
_NS = Decimal(1_000_000_000)
_CAUSES = ("delay", "spread", "impact", "opportunity", "unwind", "total")
_OWN = ("slippage", "legging", "rollback", "realised", "marked")
DENIED = "denied"


@frozen
class RowMaker:
    """Makes rows for the instruments of a configuration; assets in `par` count one to one as quote money."""

    instruments: Mapping[str, Instrument]
    par: tuple[str, ...]

    @classmethod
    def of(cls, config: RunConfig) -> "RowMaker":
        return cls(dict(config.instruments), config.section("ledger", LedgerConfig).par)

    def rows(self, record: Record) -> list[tuple[str, Row]]:
        """Return the rows of a record with their tables."""
        return _MAKERS[type(record)](self, record)

    def _fill(self, record: FillRecord) -> list[tuple[str, Row]]:
        event, fill = record.event, record.event.fill
        touch = self._touch(fill.instrument, record.touch)
        row = {
            "key": fill_key(fill),
            "number": record.number,
            "ts": fill.ts,
            "received_ns": record.received_ns,
            **_whose(event.strategy, fill.account, fill.instrument, fill.position_side, fill.side),
            "basket_id": event.basket_id,
            "child_id": event.request_id,
            "client_order_id": fill.client_order_id,
            "trade_id": fill.trade_id,
            "price": to_text(fill.price),
            "qty": to_text(fill.qty),
            "fee": to_text(fill.fee),
            "fee_asset": fill.fee_asset,
            "liquidity": fill.liquidity.value,
            "reason": fill.reason.value,
            "mid": _of(touch, "mid"),
            "busted_ns": record.busted_ns,
            "bust_why": record.bust_why,
        }
        return [("fills", row)]

    def _child(self, record: ChildRecord) -> list[tuple[str, Row]]:
        order = record.request
        row = {
            "child_id": order.request_id,
            "number": record.number,
            "parent_id": order.parent_id,
            "basket_id": order.basket_id,
            **_whose(order.strategy, order.account, order.instrument, order.position_side, order.side),
            "client_order_id": record.client_order_id,
            "type": order.type.value,
            "tif": order.tif.value,
            "price": _text(order.price),
            "reduce_only": int(order.reduce_only),
            "is_hedge": int(order.is_hedge),
            "status": DENIED if record.status is None else record.status.value,
            "reject_reason": _named(record.reject_reason),
            "why": record.why,
            "decided_ns": record.decided_ns,
            "requested_ns": order.ts,
            "sent_ns": record.sent_ns,
            "acked_ns": record.acked_ns,
            "first_fill_ns": record.done.first_ns,
            "last_fill_ns": record.done.last_ns,
            "ended_ns": record.ended_ns,
            **self._costs(
                order.instrument, order.side, order.qty, record.decision, record.arrival, record.end, record.done
            )[0],
        }
        return [("children", row)]

    def _parent(self, record: ParentRecord) -> list[tuple[str, Row]]:
        told = record.report
        short, split = told.shortfall, told.attribution
        row = {
            "parent_id": told.parent_id,
            "number": record.number,
            **_whose(told.strategy, told.account, told.instrument, "BOTH", told.side),
            "mode": told.mode.value,
            "mode_used": _named(told.mode_used),
            "rung": _named(told.rung),
            "state": told.state.value,
            "reason": _named(told.reason),
            "why": told.why,
            "decided_ns": told.started_ns,
            "arrival_ns": told.arrival_ns,
            "last_fill_ns": told.filled_ns,
            "ended_ns": told.ts,
            "orders": told.orders,
            "qty": to_text(told.qty),
            "filled": to_text(told.filled_qty),
            "busted_qty": to_text(record.busted_qty),
            "avg_price": _text(told.average_price),
            "fees": _fees_text(told.fees),
            "decision_mid": _text(told.decision_price),
            "arrival_bid": _text(told.arrival_bid),
            "arrival_ask": _text(told.arrival_ask),
            "end_mid": _text(told.end_price),
            "expected_bps": _real(told.expected_bps),
            "slippage_bps": _real(told.benchmarks.arrival_bps),
            "twap_bps": _real(told.benchmarks.twap_bps),
            "vwap_bps": _real(told.benchmarks.vwap_bps),
            "quality": _named(told.quality),
            "alert": _named(told.alert),
            "delay": _of(short, "delay"),
            "spread": _of(split, "spread"),
            "impact": _of(split, "impact"),
            "opportunity": _of(short, "opportunity"),
            "fee_quote": _of(short, "fees"),
            "total": _of(short, "total"),
            "total_bps": None if short is None else _real(short.total_bps),
        }
        return [("parents", row)]

    def _basket(self, record: BasketRecord) -> list[tuple[str, Row]]:
        rows: list[tuple[str, Row]] = []
        sums: dict[str, Decimal | None] = dict.fromkeys((*_CAUSES, "fee_quote"), ZERO)
        for number, leg in enumerate(record.legs):
            costs, found, fees = self._costs(
                leg.instrument, leg.side, leg.qty, leg.decision, leg.arrival, leg.end, leg.done
            )
            row = {
                "basket_id": record.basket_id,
                "leg": number,
                "number": record.number,
                **_whose(record.strategy, leg.account, leg.instrument, leg.position_side, leg.side),
                "first_fill_ns": leg.done.first_ns,
                "last_fill_ns": leg.done.last_ns,
                **costs,
            }
            rows.append(("legs", row))
            sums["fee_quote"] = _plus(sums["fee_quote"], fees)
            for cause in _CAUSES:
                is_known = found is not None and (cause != "total" or fees is not None)
                sums[cause] = _plus(sums[cause], getattr(found, cause) if is_known else None)
        own = record.cost
        row = {
            "basket_id": record.basket_id,
            "number": record.number,
            "strategy": record.strategy,
            "closes": record.closes,
            "state": record.state.value,
            "why": record.why,
            "decided_ns": record.decided_ns,
            "placed_ns": record.placed_ns,
            "ended_ns": record.ended_ns,
            "closed_ns": record.closed_ns,
            "orders": record.orders,
            "unhedged_quote_s": float(record.unhedged / _NS),
            "unhedged_max": to_text(record.unhedged_max),
            **{name: _text(value) for name, value in sums.items()},
            **{name: None if own is None else to_text(getattr(own, name)) for name in _OWN},
        }
        return [("baskets", row), *rows]

    # Costs

    def _touch(self, instrument: str, view: BookView | None) -> Touch | None:
        spec = self.instruments.get(instrument)
        return None if view is None or spec is None else Touch(spec.price(view.bid), spec.price(view.ask))

    def _costs(
        self,
        instrument: str,
        side: Side,
        qty: Decimal,
        decision: BookView | None,
        arrival: BookView | None,
        end: BookView | None,
        done: Progress,
    ) -> tuple[Row, TransactionCosts | None, Decimal | None]:
        """Return the columns, the costs (None when a touch is missing) and the fees in quote (None without a value)."""
        spec = self.instruments.get(instrument)
        at_decision, at_arrival, at_end = (self._touch(instrument, view) for view in (decision, arrival, end))
        price = done.cost / done.qty if done.qty else None
        fees = None if spec is None else self._fees(spec, done.fees, price)
        costs = None
        far = at_arrival.far(side) if at_arrival is not None else None
        unit = unit_notional(spec, far) if spec is not None and far is not None else None
        if spec is not None and at_decision is not None and at_arrival is not None:
            costs = _costs(spec, side, qty, at_decision, at_arrival, at_end, done, fees or ZERO)
        row: Row = {
            "qty": to_text(qty),
            "filled": to_text(done.qty),
            "reduced": to_text(done.reduced),
            "maker_qty": to_text(done.maker_qty),
            "fills": done.fills,
            "avg_price": _text(price),
            "fees": _fees_text(done.fees),
            "decision_mid": _of(at_decision, "mid"),
            "arrival_bid": _of(at_arrival, "bid"),
            "arrival_ask": _of(at_arrival, "ask"),
            "end_mid": _of(at_end, "mid"),
            "requested_quote": None if unit is None else float(qty * unit),
            "filled_quote": None if unit is None else float(min(done.qty, qty) * unit),
            "slippage_bps": None if costs is None else _real(costs.slippage_bps),
            "fee_quote": _text(fees),
            "total_bps": None if costs is None or fees is None else float(costs.total_bps),
        }
        for cause in _CAUSES:
            is_known = costs is not None and (cause != "total" or fees is not None)
            row[cause] = to_text(getattr(costs, cause)) if is_known else None
        return row, costs, fees

    def _fees(self, spec: Instrument, fees: Mapping[str, Decimal], price: Decimal | None) -> Decimal | None:
        """Return fees in quote money: those in the base asset at the average price; None when one has no value."""
        total = ZERO
        for asset, fee in fees.items():
            if asset == spec.quote or asset in self.par:
                total += fee
            elif asset == spec.base and price is not None:
                total += fee * price
            elif fee:
                return None
        return total


def _costs(
    spec: Instrument,
    side: Side,
    qty: Decimal,
    decision: Touch,
    arrival: Touch,
    end: Touch | None,
    done: Progress,
    fees: Decimal,
) -> TransactionCosts | None:
    """Return the costs in quote money, None where they cannot be told.

    Without a price at the end only what filled in full, with nothing taken back, has any. An inverse contract is
    counted as so much base at the decision mid.
    """
    if end is None and (done.reduced or done.qty < qty):
        return None
    try:
        scale = unit_notional(spec, decision.mid) / decision.mid
        filled = Filled(
            done.qty * scale,
            done.cost * scale,
            done.maker_qty * scale,
            done.reduced * scale,
            done.reduced_cost * scale,
            fees,
        )
        return transaction_costs(side, qty * scale, decision, arrival, (end or arrival).mid, filled)
    except (BadValueError, ArithmeticError):
        return None


def _whose(strategy: str, account: str, instrument: str, position_side: str, side: str) -> Row:
    venue, _, symbol = instrument.partition(":")
    return {
        "strategy": strategy,
        "account": account,
        "venue": venue,
        "symbol": symbol,
        "instrument": instrument,
        "position_side": str(position_side),
        "side": str(side),
    }


def _plus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other


def _fees_text(fees: Mapping[str, Decimal]) -> str:
    return json.dumps({asset: to_text(fee) for asset, fee in sorted(fees.items())})


def _named(value: StrEnum | None) -> str | None:
    return None if value is None else value.value


def _of(whole: Touch | Shortfall | Attribution | None, name: str) -> str | None:
    return None if whole is None else to_text(getattr(whole, name))


def _real(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else to_text(value)


_MAKERS: dict[type[Any], Callable[[RowMaker, Any], list[tuple[str, Row]]]] = {
    FillRecord: RowMaker._fill,
    ChildRecord: RowMaker._child,
    ParentRecord: RowMaker._parent,
    BasketRecord: RowMaker._basket,
}


def rows_of(maker: RowMaker, records: Iterable[Record]) -> list[tuple[str, Row]]:
    """Return the rows of records in their order."""
    return [row for record in records for row in maker.rows(record)]
