"""What `[venues.simulation]` may say, how its mistakes are told, and what the venue is then built with."""

from decimal import Decimal
from pathlib import Path

import pytest

from daemon.config import ConfigErrors, Kinds, RunConfig, load
from daemon.seats import build_seats
from sim.venue import SimVenue
from sim.venue_settings import CascadeModel, Controls, Impact, StopLogic, VenueSettings
from venues.rules.circuit_breakers import VelocityRule

D = Decimal

RIGHT = """
[run]
seed = 7
duration = "10m"

[market]
kind = "synthetic"
mid = "100"
[[market.instruments]]
instrument = "cme:ESH6"

[[venues]]
id = "cme"
rules = "cme"
fees = { maker = "0.0001", taker = "0.0005" }
[venues.simulation]
insurance_start = "5000"
insurance_reserve = "0.5"
calendar = true
daily_settlement = true
cascade = { impact = "kyle", kyle_lambda = "0.01" }
populations = [{ symbol = "ESH6", pairs = 2, price = "100", qty_max = "3" }]
[venues.simulation.controls.ESH6]
price_band = "12"
limit_share = "0.07"
breaker_width = "50"
velocity = { ticks = 8, window = "1s", pause = "5s" }
stop_logic = { ticks = 8, pause = "5s" }
close_out = "2026-03-16T14:30:00Z"

[[instruments]]
venue = "cme"
symbol = "ESH6"
kind = "future"
base = "ES"
quote = "USD"
tick_size = "0.25"
lot_size = "1"
multiplier = "50"
initial_margin = "22000"
maintenance_margin = "20000"
expiry = "2026-03-20T13:30:00Z"

[[accounts]]
id = "main"
venue = "cme"
balances = { USD = "100000" }
margin_mode = "cross"
"""


def no_strategy(kind: str, folders: tuple[Path, ...]) -> type[object]:
    raise ValueError(f"{kind} is no strategy")


def read(folder: Path, text: str) -> RunConfig:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, Kinds({}, no_strategy))


def settings(config: RunConfig) -> VenueSettings:
    venue = build_seats(config)["cme"].venue
    assert isinstance(venue, SimVenue)
    return venue.state.settings


def test_the_venue_is_built_with_what_the_file_says(tmp_path: Path) -> None:
    found = settings(read(tmp_path, RIGHT))
    assert (found.insurance_start, found.insurance_reserve) == (D(5000), D("0.5"))
    assert found.cascade == CascadeModel(Impact.KYLE, D("0.01"))
    assert (found.calendar, found.daily_settlement) == (True, True)
    assert [one.account.id for one in found.participants] == ["crowd0-0", "crowd0-1", "crowd0-2", "crowd0-3"]
    assert found.controls["cme:ESH6"] == Controls(
        price_band=D(12),
        limit_share=D("0.07"),
        breaker_width=D(50),
        velocity=VelocityRule(8, 10**9, 5 * 10**9),
        stop_logic=StopLogic(8, 5 * 10**9),
        # 2026-03-16 is day 20,528 of the epoch.
        close_out_ns=(20_528 * 86_400 + 14 * 3_600 + 30 * 60) * 10**9,
    )


def test_without_the_table_everything_is_off(tmp_path: Path) -> None:
    start, end = RIGHT.index("[venues.simulation]"), RIGHT.index("[[instruments]]")
    assert settings(read(tmp_path, RIGHT[:start] + RIGHT[end:])) == VenueSettings()


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("insurance_start", "insurance_begin", "insurance_begin"),
        ('insurance_reserve = "0.5"', 'insurance_reserve = "1.5"', "insurance_reserve"),
        ("calendar = true", "calendar = false", "daily_settlement"),
        ('"kyle", kyle_lambda', '"sweep", kyle_lambda', "cascade.kyle_lambda"),
        ('symbol = "ESH6", pairs', 'symbol = "ESM6", pairs', "populations[0].symbol"),
        ("pairs = 2", "pairs = 0", "populations[0].pairs"),
        ("simulation.controls.ESH6", "simulation.controls.ESM6", "controls.ESM6"),
        ('price_band = "12"', 'price_band = "0"', "controls.ESH6.price_band"),
        ('breaker_width = "50"', 'breaker_width = "50"\nbreaker_share = "0.1"', "controls.ESH6.breaker_share"),
        ("ticks = 8, window", "ticks = 0, window", "controls.ESH6.velocity.ticks"),
        ('close_out = "2026', 'close_out = "tomorrow 2026', "controls.ESH6.close_out"),
    ],
)
def test_a_mistake_is_told_by_its_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert RIGHT.count(old) == 1
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path, RIGHT.replace(old, new))
    assert [error.path.split(": ")[-1] for error in caught.value.errors] == [f"venues[0].simulation.{key}"]


def test_a_calendar_is_for_cme_contracts(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        read(tmp_path, RIGHT.replace("ESH6", "XYZ"))
    assert [error.path.split(": ")[-1] for error in caught.value.errors] == ["venues[0].simulation.calendar"]
