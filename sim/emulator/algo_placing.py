"""Decides which order a conditional order becomes when it triggers."""

from typing import TYPE_CHECKING

from sim.emulator import order_entry, order_filters
from sim.emulator.order_entry import OrderTerms
from sim.emulator.records import AlgoRecord
from sim.emulator.routes import ApiError
from venues.model.money import ZERO
from venues.model.order import PositionSide
from venues.port import RejectReason

if TYPE_CHECKING:
    from sim.emulator.host import Host

LIMITED = frozenset({"STOP", "TAKE_PROFIT"})
"""The types that become limit orders; the others become market orders."""


def place_triggered(host: "Host", record: AlgoRecord) -> str:
    """Place the order that a conditional order becomes; return why it was refused, or nothing."""
    listing = host.listings[record.symbol]
    is_limit = record.order_type in LIMITED
    qty, closes = record.qty, record.close_position
    if closes:
        held = host.venue.state.accounts[host.account].qty(listing.id, PositionSide(record.position_side))
        if not held or (held > ZERO) is (record.side == "BUY"):
            return order_filters.REFUSALS[RejectReason.REDUCE_ONLY][1]
        qty = abs(held)
    is_hedge = record.position_side != "BOTH"
    terms = OrderTerms(
        listing,
        record.side,
        "LIMIT" if is_limit else "MARKET",
        record.position_side,
        record.time_in_force if is_limit else "GTC",
        qty,
        record.price,
        record.client_algo_id,
        reduce_only=record.reduce_only or (closes and not is_hedge),
        close_position=closes,
        price_match=record.price_match,
        stp_mode=record.stp_mode,
        good_till_ms=record.good_till_ms if is_limit else 0,
    )
    try:
        terms = order_entry.with_price(host, terms)
        order_entry.check(host, terms)
        placed = order_entry.place(host, terms, algo_id=record.algo_id)
    except ApiError as error:
        return error.msg
    record.actual_order_id, record.actual_type = placed.order_id, placed.type
    return ""
