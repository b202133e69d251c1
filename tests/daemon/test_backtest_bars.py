"""A run on bars: from a configuration and CSV files to fills at the model's prices, and each mistake by its key."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from daemon.backtest import Backtest
from daemon.check import load_or_exit
from daemon.config import ConfigErrors, load
from daemon.exits import ExitError
from daemon.kinds import KINDS
from daemon.log import open_log
from sim.bars import BarFileError

D = Decimal
START = 1_767_225_600_000  # 2026-01-01T00:00:00Z in ms

CONFIG = """
[run]
name = "bars"

[market]
kind = "bars"
close_marks = true
feed_latency = "250ms"

[[market.series]]
instrument = "v:PERP"
length = "1m"
files = ["perp.csv"]

[[market.series]]
instrument = "v:SPOT"
length = "1m"
files = ["spot.csv"]

[[venues]]
id = "v"
rules = "binance_usdm"
fees = { maker = "0", taker = "0" }
latency = { entry = "5ms", response = "5ms" }
execution = "parametric"

[venues.parametric]
model = "crypto"
adv = { PERP = "100000", SPOT = "100000" }
participation = "0.5"

[venues.parametric.crypto]
spread_bps = 4.0
impact = 0.0

[[instruments]]
venue = "v"
symbol = "PERP"
kind = "perpetual"
base = "BTC"
quote = "USDT"
tick_size = "0.1"
lot_size = "0.001"
max_leverage = 125
brackets = [{ floor = "0", cap = "100000000", mmr = "0.004", cum = "0", max_leverage = 125 }]

[[instruments]]
venue = "v"
symbol = "SPOT"
kind = "perpetual"
base = "BTC"
quote = "USDT"
tick_size = "0.1"
lot_size = "0.001"
max_leverage = 125
brackets = [{ floor = "0", cap = "100000000", mmr = "0.004", cum = "0", max_leverage = 125 }]

[[accounts]]
id = "me"
venue = "v"
balances = { USDT = "1000000" }
margin_mode = "cross"

[feed]
stale = "150s"

[risk.default]
book_age_max = "200s"

[margin]
mark_age_max = "210s"

[[strategies]]
id = "script"
kind = "scripted"

[[strategies.params.actions]]
after = "150s"
basket = "one"

[[strategies.params.actions.legs]]
account = "me"
instrument = "v:PERP"
side = "sell"
qty = "0.5"

[[strategies.params.actions.legs]]
account = "me"
instrument = "v:SPOT"
side = "buy"
qty = "0.5"
"""


def rows(*closes: str, volume: str = "10") -> str:
    """Bars of a minute, one after the other, each as flat as can be."""
    lines = [
        f"{START + minute * 60_000},{close},{close},{close},{close},{volume}" for minute, close in enumerate(closes)
    ]
    return "time,open,high,low,close,volume\n" + "\n".join(lines) + "\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    # The third bar, the one after the order, is far away: nothing of it may be seen.
    (tmp_path / "perp.csv").write_text(rows("50000", "51000", "60000", "60000"))
    (tmp_path / "spot.csv").write_text(rows("50000", "50500", "60000", "60000"))
    (tmp_path / "rates.csv").write_text("time,rate\n")
    path = tmp_path / "bars.toml"
    path.write_text(CONFIG)
    return path


def test_a_basket_trades_at_the_model_price_after_the_bar_it_was_decided_on(config: Path, tmp_path: Path) -> None:
    outcome = Backtest.from_file(config).run(tmp_path / "out")
    records = open_log(tmp_path / "out" / "log").records()
    fills = [json.loads(bytes(record.message)) for record in records if record.kind == "OrderFilled"]
    # 2 bps of 51,000 is 10.2 and of 50,500 is 10.1: sold below, bought above.
    assert {(fill["instrument"], fill["price"], fill["qty"]) for fill in fills} == {
        ("v:PERP", "50989.8", "0.500"),
        ("v:SPOT", "50510.1", "0.500"),
    }
    # Decided 150 s after the start, in the middle of the third bar; the venue had it 5 ms later.
    assert {fill["ts"] for fill in fills} == {START * 1_000_000 + 150_005_000_000}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == outcome.summary
    assert summary["slippage"]["v:PERP"] == {
        "fills": 1,
        "mean_bps": 2.0,
        "worst_bps": 2.0,
        "clipped": 0,
        "absent": {"funding_rate": 1, "liquidations_to_adv": 1, "oi_to_adv": 1, "volatility_regime": 1},
    }
    assert [(one["instrument"], one["bars"], one["gaps_ns"]) for one in summary["series"]] == [
        ("v:PERP", 4, []),
        ("v:SPOT", 4, []),
    ]
    assert summary["baskets"]["balanced"] == 1


def test_two_runs_of_one_configuration_are_one(config: Path, tmp_path: Path) -> None:
    hashes = {Backtest.from_file(config).run(tmp_path / name).summary["journal_sha256"] for name in ("a", "b")}
    assert len(hashes) == 1


def test_a_wrong_line_stops_the_run_before_it_begins(config: Path, tmp_path: Path) -> None:
    (tmp_path / "perp.csv").write_text(rows("50000", "51000.05"))
    with pytest.raises(BarFileError, match=r"perp.csv, line 3: open: 51000.05 is not a multiple of the tick 0.1"):
        Backtest.from_file(config).run(tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "[[venues]]\nid",
            '[[market.funding]]\ninstrument = "v:PERP"\nfile = "no.csv"\n\n[[venues]]\nid',
            "market.funding[0].file: there is no file 'no.csv'",
        ),
        (
            "close_marks = true",
            'close_marks = false\nfunding = [{ instrument = "v:PERP", file = "rates.csv" }]',
            "market.funding[0].instrument: funding is paid on the mark",
        ),
        ('kind = "bars"', 'kind = "barz"', "market.kind: 'barz' is not one of synthetic, recorded, bars"),
        ('feed_latency = "250ms"', 'feed_latency = "0s"', "market.feed_latency: must be above 0"),
        ('feed_latency = "250ms"', 'feed_latency = "6s"', "market.feed_latency: must be above 0 and at most 5 s"),
        ('files = ["spot.csv"]', 'files = ["gone.csv"]', "market.series[1].files[0]: there is no file 'gone.csv'"),
        ('files = ["spot.csv"]', "files = []", "market.series[1].files: must hold at least one"),
        ('files = ["spot.csv"]', 'files = ["spot.csv", "spot.csv"]', "market.series[1].files[1]: 'spot.csv' is listed"),
        ('files = ["spot.csv"]', 'files = ["spot.csv"]\nformat = "lena"', "market.series[1].format: 'lena' is not one"),
        (
            'files = ["spot.csv"]',
            'files = ["spot.csv"]\nzone = "Chicago"',
            "market.series[1].zone: 'Chicago' is no time",
        ),
        (
            'instrument = "v:SPOT"\nlength = "1m"',
            'instrument = "v:SPOT"\nlength = "0s"',
            "market.series[1].length: must",
        ),
        (
            'instrument = "v:SPOT"\nlength',
            'instrument = "v:SPTO"\nlength',
            "market.series[1].instrument: no instrument",
        ),
        ('execution = "parametric"', 'execution = "book"', "venues[0].parametric: means nothing without"),
        ('execution = "parametric"', 'execution = "l2"', "venues[0].execution: 'l2' is not one of book, parametric"),
        ('model = "crypto"', 'model = "cmee"', "venues[0].parametric.model: 'cmee' is not one of crypto, cme"),
        ('participation = "0.5"', 'participation = "2"', "venues[0].parametric.participation: must be above 0"),
        ('participation = "0.5"', 'participating = "1"', "venues[0].parametric.participating: unknown key"),
        ('SPOT = "100000" }', 'SPOT = "0" }', "venues[0].parametric.adv.SPOT: must be positive"),
        ('SPOT = "100000" }', 'SOPT = "1" }', "venues[0].parametric.adv.SOPT: no instrument 'v:SOPT' is declared"),
        ("impact = 0.0", "impact = -1.0", "venues[0].parametric.crypto.impact: must not be negative"),
        ("impact = 0.0", "least_bps = 501.0", "venues[0].parametric.crypto.least_bps: 501.0 is above most_bps 500.0"),
        (
            'book_age_max = "200s"',
            'book_age_max = "60s"',
            "risk.default.book_age_max: must be longer than a bar (60 s)",
        ),
        ('mark_age_max = "210s"', 'mark_age_max = "60s"', "margin.mark_age_max: must be longer than a bar (60 s)"),
        ('stale = "150s"', 'stale = "60s"', "feed.stale: must be longer than a bar (60 s)"),
    ],
)
def test_each_mistake_is_named(config: Path, old: str, new: str, told: str) -> None:
    assert CONFIG.count(old) == 1
    config.write_text(CONFIG.replace(old, new))
    with pytest.raises(ConfigErrors) as caught:
        load(config, KINDS)
    assert [str(error).partition("bars.toml: ")[2][: len(told)] for error in caught.value.errors] == [told]


def test_a_market_of_bars_needs_a_venue_without_books(config: Path) -> None:
    head, _, tail = CONFIG.partition('execution = "parametric"')
    config.write_text(head + "[[instruments]]" + tail.partition("[[instruments]]")[2])
    with pytest.raises(ExitError, match=r"venues\[0\].execution: a market of bars has no books"):
        load_or_exit(str(config))


REAL = """
[run]
name = "bybit"

[market]
kind = "bars"
close_marks = true

[[market.series]]
instrument = "bybit:BTCUSDT"
format = "lean"
length = "1m"
files = ["$BASISD_DATA_DIR/cme/cryptofuture/bybit/minute/btcusdt/20221213_trade.zip"]

[[market.series]]
instrument = "bybit:BTCUSDT"
format = "lean"
length = "1m"
files = ["$BASISD_DATA_DIR/cme/cryptofuture/bybit/minute/btcusdt/20221213_quote.zip"]

[[market.series]]
instrument = "spot:BTCUSDT"
format = "lean"
length = "1m"
files = ["$BASISD_DATA_DIR/cme/crypto/bybit/minute/btcusdt/20221213_trade.zip"]

[[market.funding]]
instrument = "bybit:BTCUSDT"
file = "$BASISD_DATA_DIR/cme/cryptofuture/bybit/margin_interest/btcusdt.csv"

[[venues]]
id = "bybit"
rules = "bybit_linear"
fees = { maker = "0.0001", taker = "0.0006" }
execution = "parametric"
parametric = { model = "crypto", adv = { BTCUSDT = "150000" } }

[[venues]]
id = "spot"
rules = "binance_spot"
fees = { maker = "0.001", taker = "0.001" }
execution = "parametric"
parametric = { model = "crypto", adv = { BTCUSDT = "5000" } }

[[instruments]]
venue = "bybit"
symbol = "BTCUSDT"
kind = "perpetual"
base = "BTC"
quote = "USDT"
tick_size = "0.5"
lot_size = "0.001"
max_leverage = 100
brackets = [{ floor = "0", cap = "2000000", mmr = "0.005", cum = "0", max_leverage = 100 }]

[[instruments]]
venue = "spot"
symbol = "BTCUSDT"
kind = "spot"
base = "BTC"
quote = "USDT"
tick_size = "0.01"
lot_size = "0.000001"

[[accounts]]
id = "perp"
venue = "bybit"
balances = { USDT = "100000" }
margin_mode = "cross"

[[accounts]]
id = "cash"
venue = "spot"
balances = { USDT = "100000" }
margin_mode = "cash"

[feed]
stale = "10m"

[risk.default]
book_age_max = "10m"

[margin]
mark_age_max = "10m"

[[strategies]]
id = "script"
kind = "scripted"

[[strategies.params.actions]]
after = "1h"
basket = "one"

[[strategies.params.actions.legs]]
account = "cash"
instrument = "spot:BTCUSDT"
side = "buy"
qty = "0.05"

[[strategies.params.actions.legs]]
account = "perp"
instrument = "bybit:BTCUSDT"
side = "sell"
qty = "0.05"

[[strategies.params.actions]]
after = "9h"
basket = "one"
"""


def test_a_day_of_real_bars_and_quotes_trades_and_replays(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "real.toml"
    path.write_text(REAL)
    summary = Backtest.from_file(path).run(tmp_path / "out").summary
    assert (summary["halt"], summary["quarantined"]) == (None, [])
    assert (summary["baskets"]["balanced"], summary["baskets"]["closed"], summary["positions"]) == (2, 1, {})
    assert [one["bars"] + one["quotes"] for one in summary["series"]] == [721, 460, summary["series"][2]["bars"]]
    # The rate of 08:00 is -0.00022398: the short of 0.05 pays that share of 17146.5, the close of the minute before.
    assert D(summary["funding"]) == D("-0.00022398") * D("0.05") * D("17146.5")
    # Half of 4 bps and 0.09 x sqrt(0.05 / 5,000) x 10^4 = 2.84605 bps; the second time x 0.5 to 3 for the volatility.
    found = summary["slippage"]["spot:BTCUSDT"]
    assert 2 + 2.84605 * (1 + 0.5) / 2 <= found["mean_bps"] <= 2 + 2.84605 * (1 + 3) / 2
    assert (found["fills"], found["absent"]["volatility_regime"]) == (2, 1)
    assert 0 < summary["slippage"]["bybit:BTCUSDT"]["mean_bps"] < 10
