"""Decides where venues differ: what keeps a place in the queue, what conditional orders may do, who pays to close."""

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from attrs import frozen

from venues.port import RejectReason

_NS = 1_000_000_000


class SelfTrade(StrEnum):
    """What happens when an order meets an own resting one."""

    TRADE = "trade"
    EXPIRE_TAKER = "expire_taker"
    EXPIRE_MAKER = "expire_maker"
    EXPIRE_BOTH = "expire_both"


SELF_TRADE: dict[str, SelfTrade] = {
    "none": SelfTrade.TRADE,
    "expire_taker": SelfTrade.EXPIRE_TAKER,
    "expire_maker": SelfTrade.EXPIRE_MAKER,
    "expire_both": SelfTrade.EXPIRE_BOTH,
    "cancel_taker": SelfTrade.EXPIRE_TAKER,
    "cancel_maker": SelfTrade.EXPIRE_MAKER,
    "cancel_both": SelfTrade.EXPIRE_BOTH,
    "cancel_aggressor": SelfTrade.EXPIRE_TAKER,
    "cancel_resting": SelfTrade.EXPIRE_MAKER,
}
"""Spellings of Binance (`selfTradePreventionMode`), Bybit (`smpType`) and Globex (SMP instruction)."""


@frozen
class VenueRules:
    """One venue's conventions.

    `keeps_place_on_decrease`: a modify that only lowers the quantity stays in the queue (Globex).
    `modifies_conditional`: a stop may be changed before it triggers. `fee_to_close`: margin includes the estimated
    fee to close (Bybit UTA). `margin_call`: an account below maintenance is called first and closed by force only when
    it is still below at the next look (a clearing member's practice). `day_ends`: (time zone, time) at which DAY
    orders end. `default_leverage` holds until one is chosen.
    """

    name: str
    keeps_place_on_decrease: bool = False
    modifies_conditional: bool = False
    fee_to_close: bool = False
    margin_call: bool = False
    default_leverage: int = 20
    protection_ticks: int = 10
    day_ends: tuple[str, time] = ("UTC", time(0, 0))

    def day_end_ns(self, now: int) -> int:
        """Return the first end of a trading day strictly after `now` (UTC ns); weekends are not skipped."""
        zone_name, end = self.day_ends
        zone = ZoneInfo(zone_name)
        local = datetime.fromtimestamp(now // _NS, UTC).astimezone(zone)
        moment = datetime.combine(local.date(), end, zone)
        while int(moment.timestamp()) * _NS <= now:
            moment = datetime.combine(moment.date() + timedelta(days=1), end, zone)
        return int(moment.timestamp()) * _NS


RULES: dict[str, VenueRules] = {
    # Source: Binance USDS-M docs: `PUT /fapi/v1/order` ("reordered"), algo service (conditional orders), default 20x.
    "binance_usdm": VenueRules("binance_usdm"),
    "binance_spot": VenueRules("binance_spot"),
    # Source: Bybit help center, "Liquidation Price (UTA)".
    "bybit_linear": VenueRules("bybit_linear", fee_to_close=True, default_leverage=10),
    # Source: CME Globex hours (close 16:00 CT); CME confluence "Matching Algorithms" (FIFO keeps a decrease).
    "cme": VenueRules(
        "cme",
        keeps_place_on_decrease=True,
        modifies_conditional=True,
        margin_call=True,
        day_ends=("America/Chicago", time(16, 0)),
    ),
}


class RefusedError(Exception):
    """A command the venue refuses, with the reason it reports."""

    def __init__(self, reason: RejectReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


INSURANCE_START = Decimal(1_000_000)
"""Starting balance of the insurance fund per asset. A model value."""
