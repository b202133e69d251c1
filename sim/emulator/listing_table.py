"""Which symbols the emulated venue lists, with tick, step, limits and brackets as Binance had them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sim.emulator.listings import Listing
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.money import ZERO

VENUE = "binance"
ONBOARD_MS = 1_569_398_400_000
"""When BTCUSDT was listed. Source: exchangeInfo."""

_DAY = timedelta(days=1)
_QUARTERLY_MIN = timedelta(days=14)
"""A contract that is delivered sooner is not listed: a test should not meet its end unawares."""

_Row = tuple[str, int, str]
"""Upper end of the notional, largest leverage, maintenance rate."""

# Source: freqtrade's copy of `GET /fapi/v1/leverageBracket`, 2024-10-24.
_BTC: tuple[_Row, ...] = (
    ("50000", 125, "0.004"),
    ("600000", 100, "0.005"),
    ("3000000", 75, "0.0065"),
    ("12000000", 50, "0.01"),
    ("70000000", 25, "0.02"),
    ("100000000", 20, "0.025"),
    ("230000000", 10, "0.05"),
    ("480000000", 5, "0.1"),
    ("600000000", 4, "0.125"),
    ("800000000", 3, "0.15"),
    ("1200000000", 2, "0.25"),
    ("1800000000", 1, "0.5"),
)
_ETH: tuple[_Row, ...] = (
    ("50000", 125, "0.004"),
    ("600000", 100, "0.005"),
    ("3000000", 75, "0.0065"),
    ("12000000", 50, "0.01"),
    ("50000000", 25, "0.02"),
    ("65000000", 20, "0.025"),
    ("150000000", 10, "0.05"),
    ("320000000", 5, "0.1"),
    ("400000000", 4, "0.125"),
    ("530000000", 3, "0.15"),
    ("800000000", 2, "0.25"),
    ("1200000000", 1, "0.5"),
)
_QUARTERLY: tuple[_Row, ...] = (
    ("50000", 50, "0.01"),
    ("375000", 25, "0.02"),
    ("2000000", 10, "0.05"),
    ("4000000", 5, "0.1"),
    ("10000000", 4, "0.125"),
    ("20000000", 3, "0.15"),
    ("40000000", 2, "0.25"),
    ("120000000", 1, "0.5"),
)


def listings(venue: str, now_ns: int) -> dict[str, Listing]:
    """Return what `venue` (usdm or spot) lists at `now_ns`, by symbol."""
    found = _spot() if venue == "spot" else _usdm(now_ns)
    return {one.symbol: one for one in found}


def brackets(rows: tuple[_Row, ...]) -> tuple[Bracket, ...]:
    """Return the table; the maintenance amount follows from continuity (cum += floor x step of the rate)."""
    made: list[Bracket] = []
    floor = cum = last = ZERO
    for cap_text, leverage, rate_text in rows:
        cap, rate = Decimal(cap_text), Decimal(rate_text)
        cum += floor * (rate - last)
        made.append(Bracket(floor, cap, rate, cum, leverage))
        floor, last = cap, rate
    return tuple(made)


def quarterly_delivery(now: datetime) -> datetime:
    """Return the delivery of the first quarterly contract that is not about to end: last Friday of a quarter, 8:00."""
    year, month = now.year, (now.month + 2) // 3 * 3
    while True:
        first_of_next = datetime(year + month // 12, month % 12 + 1, 1, 8, tzinfo=UTC)
        last = first_of_next - _DAY
        friday = last - _DAY * ((last.weekday() - 4) % 7)
        if friday - now > _QUARTERLY_MIN:
            return friday
        year, month = (year + 1, 3) if month == 12 else (year, month + 3)


def _usdm(now_ns: int) -> list[Listing]:
    now = datetime.fromtimestamp(now_ns / 1e9, UTC)
    delivery = quarterly_delivery(now)
    is_current = delivery - now < timedelta(days=92)
    return [
        Listing(
            _contract("BTCUSDT", "BTC", "0.1", "0.001", _BTC),
            "BTCUSDT",
            "PERPETUAL",
            ONBOARD_MS,
            min_price=Decimal("261.10"),
            max_price=Decimal(809484),
            max_qty=Decimal(1000),
            market_max_qty=Decimal(120),
            min_notional=Decimal(50),
        ),
        Listing(
            _contract("ETHUSDT", "ETH", "0.01", "0.001", _ETH),
            "ETHUSDT",
            "PERPETUAL",
            ONBOARD_MS + 63 * 86_400_000,
            min_price=Decimal("18.67"),
            max_price=Decimal(106920),
            max_qty=Decimal(10000),
            market_max_qty=Decimal(2000),
            min_notional=Decimal(20),
        ),
        Listing(
            _contract(f"BTCUSDT_{delivery:%y%m%d}", "BTC", "0.1", "0.001", _QUARTERLY, delivery),
            "BTCUSDT",
            "CURRENT_QUARTER" if is_current else "NEXT_QUARTER",
            int((delivery - timedelta(days=182)).timestamp()) * 1000,
            min_price=Decimal("576.3"),
            max_price=Decimal(1000000),
            max_qty=Decimal(500),
            market_max_qty=Decimal(60),
            min_notional=Decimal(5),
            price_precision=1,
        ),
    ]


def _contract(
    symbol: str, base: str, tick: str, lot: str, rows: tuple[_Row, ...], delivery: datetime | None = None
) -> Instrument:
    table = brackets(rows)
    return Instrument(
        VENUE,
        symbol,
        InstrumentKind.PERPETUAL if delivery is None else InstrumentKind.QUARTERLY,
        base,
        "USDT",
        Decimal(tick),
        Decimal(lot),
        expiry_ns=None if delivery is None else int(delivery.timestamp()) * 1_000_000_000,
        max_leverage=table[0].max_leverage,
        brackets=table,
        liquidation_fee=Decimal("0.0125"),
    )


def _spot() -> list[Listing]:
    def pair(base: str, lot: str, max_qty: str, market: str) -> Listing:
        spec = Instrument(VENUE, f"{base}USDT", InstrumentKind.SPOT, base, "USDT", Decimal("0.01"), Decimal(lot))
        return Listing(
            spec,
            spec.symbol,
            "SPOT",
            0,
            min_price=Decimal("0.01"),
            max_price=Decimal(1000000),
            max_qty=Decimal(max_qty),
            market_max_qty=Decimal(market),
            min_notional=Decimal(5),
            multiplier_up=Decimal(5),
            multiplier_down=Decimal("0.2"),
            price_precision=8,
            qty_precision=8,
        )

    return [pair("BTC", "0.00001", "9000", "120"), pair("ETH", "0.0001", "9000", "3000")]
