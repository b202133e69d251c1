"""The desk that is tortured: two venues, four instruments, a carry in each base asset, a quoter and a rogue."""

from collections.abc import Mapping
from decimal import Decimal
from itertools import cycle
from pathlib import Path

from attrs import frozen

from actors.base import Actor
from actors.messages import Placement
from daemon.config import load
from daemon.config_schema import RunConfig
from daemon.kinds import KINDS
from daemon.torture.maker import Maker
from daemon.torture.market import MarketSettings, Walk
from daemon.torture.rogue import Rogue
from daemon.torture.script import SECOND_NS, START_NS
from venues.model.instrument import Instrument

VENUES = ("perp_venue", "spot_venue")
SPOT, PERPETUAL = "spot_venue:BTCUSDT", "perp_venue:BTCUSDT"
UNLISTED = "spot_venue:SOLUSDT"
"""An instrument that nobody may trade, and that has no book."""


@frozen
class _Both:
    """A number for the perpetual and one for the spot book."""

    perp: int
    spot: int


@frozen
class Pair:
    """A base asset traded spot against perpetual: price, quantity of a basket, lot sizes, levels and depth of both."""

    base: str
    mid: Decimal
    qty: str
    perp_lot: str
    spot_lot: str
    grid: _Both
    lots: _Both


PAIRS = {
    "BTC": Pair("BTC", Decimal(60_000), "0.05", "0.001", "0.00001", _Both(10, 100), _Both(120, 12_000)),
    "ETH": Pair("ETH", Decimal(3_000), "1", "0.001", "0.0001", _Both(5, 50), _Both(2_400, 24_000)),
}

_HEAD = """
[run]
name = "torture"
seed = {seed}
start = "2026-01-15T15:59:30Z"
duration = "{seconds}s"

[market]
kind = "synthetic"
mid = "60000"
{listed}

[[venues]]
id = "perp_venue"
rules = "binance_usdm"
fees = {{ maker = "0.0002", taker = "0.0005" }}
latency = {{ entry = "5ms", response = "5ms" }}

[[venues]]
id = "spot_venue"
rules = "binance_spot"
fees = {{ maker = "0.0005", taker = "0.0005" }}
latency = {{ entry = "8ms", response = "7ms" }}
{spot}

[[instruments]]
venue = "spot_venue"
symbol = "SOLUSDT"
kind = "spot"
base = "SOL"
quote = "USDT"
tick_size = "0.01"
lot_size = "0.001"
min_qty = "0.001"
min_notional = "5"

[[accounts]]
id = "futures"
venue = "perp_venue"
balances = {{ USDT = "{futures}" }}
margin_mode = "cross"
leverage = {{ {leverage} }}

[[accounts]]
id = "spot"
venue = "spot_venue"
balances = {{ USDT = "50000", {coins} }}
margin_mode = "cash"

[kill_switch]
capital = "{capital}"
daily_loss = "1500"
drawdown_hard = "{drawdown_hard}"
daily_loss_hard = "{daily_loss_hard}"
consecutive_losses = {losses}
reject_orders_min = 8
stale_grace = "3s"
unhedged_budget = "10000"

[risk]
allowed = [{allowed}]
gross_notional_max = "60000"
open_orders_max = 12
{risk}

[risk.default]
order_notional_max = "8000"
position_notional_max = "15000"
book_age_max = "2s"

[risk.instruments."spot_venue:{first}USDT"]
order_notional_max = "8000"
position_notional_max = "10000"
book_age_max = "2s"
order_qty_max = "{order_qty_max}"
position_qty_max = "{position_qty_max}"

[guards.concentration]
floor = "0.4"
"""

_KEPT = """
[statistics]
baskets = 100

[tracker]
keep = 60

[orders]
keep_orders = 200
keep_traces = 2000

[executor]
keep_baskets = 60
keep_ids = 2000

[ledger]
seen = 2000
"""

_PAIR = """
[[instruments]]
venue = "perp_venue"
symbol = "{base}USDT"
kind = "perpetual"
base = "{base}"
quote = "USDT"
tick_size = "0.10"
lot_size = "{perp_lot}"
min_qty = "0.001"
max_qty = "1000"
min_notional = "100"
max_leverage = 20
liquidation_fee = "0.0125"
brackets = [{{ floor = "0", cap = "5000000", mmr = "0.05", cum = "0", max_leverage = 20 }}]

[[instruments]]
venue = "spot_venue"
symbol = "{base}USDT"
kind = "spot"
base = "{base}"
quote = "USDT"
tick_size = "0.01"
lot_size = "{spot_lot}"
min_qty = "{spot_lot}"
min_notional = "5"

[[strategies]]
id = "{strategy}"
kind = "cash_and_carry"

[strategies.params]
spot = "spot_venue:{base}USDT"
perpetual = "perp_venue:{base}USDT"
spot_account = "spot"
perpetual_account = "futures"
qty = "{qty}"
entry_bps = "-100"
exit_bps = "-100"
max_hold = "{hold}ms"
cooldown = "{cooldown}ms"
deadline = "10s"
risk_budget = "20000"
placement = "{placement}"
"""


@frozen
class DeskSettings:
    """What of the desk a run may vary: `futures` and `capital` in quote money; lines of configuration.

    `placements` are dealt to the pairs in turn. `spot` is for the spot venue, `risk` for [risk], `more` at the end.
    """

    seed: int
    seconds: int
    bases: tuple[str, ...] = ("BTC", "ETH")
    futures: str = "4000"
    capital: str = "20000"
    hold_ms: int = 6_000
    cooldown_ms: int = 2_000
    losses: int = 40
    qty: str = ""
    drawdown_hard: str = "0.9"
    daily_loss_hard: str = "30000"
    placements: tuple[Placement, ...] = (Placement.SIMULTANEOUS,)
    spot: str = ""
    risk: str = ""
    more: str = _KEPT


def strategy_name(base: str) -> str:
    return f"carry_{base.lower()}"


def config_text(settings: DeskSettings) -> str:
    pairs = [PAIRS[base] for base in settings.bases]
    first = pairs[0]
    text = _HEAD.format(
        seed=settings.seed,
        seconds=settings.seconds,
        first=first.base,
        listed="".join(
            f'\n[[market.instruments]]\ninstrument = "{name}"' for name in (*instrument_names(settings.bases), UNLISTED)
        ),
        futures=settings.futures,
        leverage=", ".join(f"{one.base}USDT = 5" for one in pairs),
        coins=", ".join(f'{one.base} = "{Decimal(one.qty) * 3}"' for one in pairs),
        capital=settings.capital,
        losses=settings.losses,
        allowed=", ".join(f'"{name}"' for name in instrument_names(settings.bases)),
        drawdown_hard=settings.drawdown_hard,
        daily_loss_hard=settings.daily_loss_hard,
        spot=settings.spot,
        risk=settings.risk,
        order_qty_max="0.12",
        position_qty_max="0.15",
    )
    for one, placement in zip(pairs, cycle(settings.placements), strict=False):
        text += _PAIR.format(
            placement=placement,
            base=one.base,
            perp_lot=one.perp_lot,
            spot_lot=one.spot_lot,
            strategy=strategy_name(one.base),
            qty=settings.qty or one.qty,
            hold=settings.hold_ms,
            cooldown=settings.cooldown_ms,
        )
    return text + settings.more


def desk_config(folder: Path, settings: DeskSettings) -> RunConfig:
    """Write the configuration into `folder` and read it as any other."""
    path = folder / f"torture-{settings.seed}.toml"
    path.write_text(config_text(settings))
    return load(path, KINDS)


def instrument_names(bases: tuple[str, ...]) -> list[str]:
    return [f"{venue}:{base}USDT" for base in bases for venue in VENUES]


INSTRUMENTS = tuple(instrument_names(("BTC", "ETH")))


def market_settings(settings: DeskSettings, *, mark_interval_ns: int, funding_ns: int) -> MarketSettings:
    """Return the market of the desk: ten updates a second of each instrument."""
    walks = []
    for pair in (PAIRS[base] for base in settings.bases):
        symbol = f"{pair.base}USDT"
        walks.append(Walk(f"perp_venue:{symbol}", pair.mid, pair.grid.perp, pair.lots.perp, 8.0))
        walks.append(Walk(f"spot_venue:{symbol}", pair.mid, pair.grid.spot, pair.lots.spot))
    return MarketSettings(
        settings.seed,
        START_NS,
        settings.seconds * SECOND_NS,
        tuple(walks),
        mark_interval_ns=mark_interval_ns,
        funding_ns=funding_ns,
    )


def company(specs: Mapping[str, Instrument], base: str = "BTC") -> list[Actor]:
    """Return who else is in the cell besides a configured desk: the quoter and the rogue."""
    pair = PAIRS[base]
    spot, perpetual = f"spot_venue:{base}USDT", f"perp_venue:{base}USDT"
    return [
        Maker(specs[spot], "spot", Decimal("0.0005"), pair.grid.spot),
        Rogue(specs, spot, "spot", perpetual, "futures", UNLISTED),
    ]
