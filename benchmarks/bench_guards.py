"""How long the risk guards take: for a basket's pre-flight, and for a look at all that is held."""

from decimal import Decimal
from statistics import median
from time import perf_counter_ns
from typing import Final

from actors.base import Collected, detached_outbox
from actors.guards.config import ON, GuardsConfig
from actors.guards.findings import Guard
from actors.messages import (
    BasketLeg,
    PositionUpdate,
    PreflightReply,
    PreflightRequest,
    ReservationReleased,
    WalletUpdate,
)
from actors.portfolio_guard import PortfolioGuard
from venues.model.instrument import Bracket, Instrument, InstrumentKind
from venues.model.money import ZERO
from venues.model.order import PositionSide, Side
from venues.port import MarkPrice

CALLS: Final = 2_000
_D = Decimal
_HOUR_NS: Final = 3_600_000_000_000
# 2026-01-15 15:00 UTC.
_NOW: Final = 1_768_489_200_000_000_000

_BRACKETS: Final = (
    Bracket(ZERO, _D(50_000), _D("0.004"), ZERO, 125),
    Bracket(_D(50_000), _D(600_000), _D("0.005"), _D(50), 100),
    Bracket(_D(600_000), _D(3_000_000), _D("0.0065"), _D(950), 75),
)
_PRICES: Final = {"BTC": _D(60_000), "ETH": _D(3_000), "ES": _D(5_000)}


def _crypto() -> dict[str, Instrument]:
    specs = []
    for base in ("BTC", "ETH"):
        perp = InstrumentKind.PERPETUAL
        specs.append(Instrument("usdm", f"{base}USDT", perp, base, "USDT", _D("0.1"), _D("0.001"), brackets=_BRACKETS))
        specs.append(Instrument("spot", f"{base}USDT", InstrumentKind.SPOT, base, "USDT", _D("0.01"), _D("0.0001")))
    return {spec.id: spec for spec in specs}


def _futures() -> dict[str, Instrument]:
    kind = InstrumentKind.FUTURE
    made = (
        Instrument(
            "cme", symbol, kind, "ES", "USD", _D("0.25"), _D(1), multiplier=_D(50), maintenance_margin=_D(15_000)
        )
        for symbol in ("ESH6", "ESM6")
    )
    return {spec.id: spec for spec in made}


def _desk(instruments: dict[str, Instrument], on: tuple[Guard, ...]) -> tuple[PortfolioGuard, Collected]:
    """Return the guards of a desk of two venues that holds a position in every instrument."""
    accounts = {f"{venue}1": venue for venue in {spec.venue for spec in instruments.values()}}
    guard = PortfolioGuard(
        instruments, accounts, GuardsConfig(on=on, account_limit=_D(20_000_000)), name="portfolio_guard"
    )
    done = Collected()
    guard.out = detached_outbox("guard", done)
    for number, spec in enumerate(instruments.values()):
        account, price = f"{spec.venue}1", _PRICES[spec.base]
        guard.handle(_NOW, WalletUpdate(_NOW, account, spec.settle, _D(2_000_000)))
        guard.handle(_NOW, MarkPrice(_NOW, spec.id, price, None, _D("0.0001"), _NOW + _HOUR_NS))
        qty = _D(1) if number % 2 else _D(-1)
        guard.handle(_NOW, PositionUpdate(_NOW, account, spec.id, PositionSide.BOTH, qty, price, ZERO))
    return guard, done


def _legs(instruments: dict[str, Instrument]) -> tuple[BasketLeg, ...]:
    short, long, *_ = instruments.values()
    return (
        BasketLeg(f"{short.venue}1", short.id, Side.SELL, _D(1)),
        BasketLeg(f"{long.venue}1", long.id, Side.BUY, _D(1)),
    )


def _preflight(instruments: dict[str, Instrument], on: tuple[Guard, ...], *, is_cold: bool = False) -> float:
    """Return the chain's median; cold is with prices that have moved since the last basket."""
    guard, done = _desk(instruments, on)
    legs, taken = _legs(instruments), []
    for number in range(CALLS):
        request = PreflightRequest(_NOW, f"b{number}", "bench", legs, _D(10))
        if is_cold:
            for leg in legs:
                guard.book.moved(leg.instrument)
        start = perf_counter_ns()
        guard.preflight.objections(_NOW, request)
        taken.append(perf_counter_ns() - start)
        guard.on_preflight(_NOW, request)
        guard.on_release(_NOW, ReservationReleased(_NOW, f"b{number}"))
        guard.state.baskets.clear()
    replies = [one for one in done.emitted if isinstance(one, PreflightReply)]
    assert all(one.is_ok for one in replies), replies[0].reasons
    return median(taken) / 1e3


def _look(instruments: dict[str, Instrument], on: tuple[Guard, ...]) -> float:
    guard, _ = _desk(instruments, on)
    taken = []
    for _ in range(CALLS // 10):
        start = perf_counter_ns()
        found = list(guard.judge.findings(_NOW))
        taken.append(perf_counter_ns() - start)
        assert not found, found[0]
    return median(taken) / 1e3


def run(repeats: int = 5) -> dict[str, float]:
    """Return medians over `repeats` runs, microseconds: with the default guards, and with all that apply."""
    crypto, futures = _crypto(), _futures()
    dated = (*ON, Guard.SPAN, Guard.ROLLOVER, Guard.POSITION_LIMITS)
    taken: dict[str, list[float]] = {}
    for _ in range(repeats):
        for name, value in (
            ("guards_chain_us", _preflight(crypto, ON)),
            ("guards_chain_moved_us", _preflight(crypto, ON, is_cold=True)),
            ("guards_chain_with_funding_us", _preflight(crypto, (*ON, Guard.FUNDING))),
            ("guards_chain_futures_us", _preflight(futures, dated)),
            ("guards_look_at_4_positions_us", _look(crypto, (*ON, Guard.FUNDING))),
        ):
            taken.setdefault(name, []).append(value)
    return {name: median(values) for name, values in taken.items()}


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name}: {value:,.3f}")
