"""What a configuration may say, and how its mistakes are told: all of them, each by file and key."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import Attribute, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from actors.config_checks import positive
from daemon.config import ConfigErrors, Kinds, RunConfig, load, parse
from daemon.config_schema import Recorded
from daemon.config_structure import UNITS, ConfigError, parse_duration, parse_instant, structure
from venues.model.account import MarginMode
from venues.model.instrument import InstrumentKind

RIGHT = """
[run]
seed = 7
duration = "10m"

[market]
kind = "synthetic"
mid = "100"
[[market.instruments]]
instrument = "perp:BTCUSDT"
premium_bps = -1.5

[[venues]]
id = "perp"
rules = "binance_usdm"
fees = { maker = "-0.0001", taker = "0.0005" }

[[instruments]]
venue = "perp"
symbol = "BTCUSDT"
kind = "perpetual"
base = "BTC"
quote = "USDT"
tick_size = "0.1"
lot_size = "0.001"
max_leverage = 20
brackets = [{ floor = "0", cap = "50000", mmr = "0.004", cum = "0", max_leverage = 20 }]

[[accounts]]
id = "main"
venue = "perp"
balances = { USDT = "1000.50" }
margin_mode = "cross"
leverage = { BTCUSDT = 5 }
credentials = { credential = "perp-main" }

[[strategies]]
id = "one"
kind = "dummy"
params = { instrument = "perp:BTCUSDT", size = "2" }

[limits]
max_order_value = "500"
stale = "2s"
"""

RECORDED = """
[market]
kind = "recorded"
[[market.recordings]]
file = "{file}"
venue = "perp"
symbols = ["BTCUSDT"]
"""


@frozen
class LimitsConfig:
    max_order_value: Decimal = field(default=Decimal(100), validator=positive)
    stale_ns: int = 5_000_000_000
    pauses_ns: tuple[int, ...] = (1, 2)
    accounts: tuple[str, ...] = ()
    fees: dict[str, int] = field(factory=dict, metadata={"composed": True})


@frozen
class DummyConfig:
    instrument: str
    size: Decimal = field(validator=positive)
    hedge: str | None = field(default=None, metadata={"ref": "instrument"})


class Dummy:
    Config = DummyConfig

    def __init__(self, instruments: object, config: DummyConfig, name: str) -> None:
        if config.size == 13:
            raise ValueError("thirteen")


def dummy(kind: str, _: object) -> type[Dummy]:
    if kind != "dummy":
        raise ValueError(f"{kind!r} is not one of dummy")
    return Dummy


KINDS = Kinds({"limits": LimitsConfig}, dummy, frozenset({"ledger"}))


def read(tmp_path: Path, text: str) -> RunConfig:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return load(path, KINDS)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    """Return the mistakes without the file's name."""
    with pytest.raises(ConfigErrors) as raised:
        read(tmp_path, text)
    prefix = f"{tmp_path / 'x.toml'}: "
    told = [str(error) for error in raised.value.errors]
    assert all(line.startswith(prefix) for line in told)
    return [line.removeprefix(prefix) for line in told]


def changed(old: str, new: str) -> str:
    assert RIGHT.count(old) == 1, old
    return RIGHT.replace(old, new)


def test_a_right_configuration_becomes_typed_objects(tmp_path):
    config = read(tmp_path, RIGHT)
    perp, account = config.instruments["perp:BTCUSDT"], config.accounts["main"]
    assert config.run.duration_ns == 600_000_000_000
    assert perp.kind is InstrumentKind.PERPETUAL
    assert perp.brackets[0].mmr == Decimal("0.004")
    assert config.venues["perp"].fees.maker == Decimal("-0.0001")
    assert account.margin_mode is MarginMode.CROSS
    assert account.account().leverage == {"perp:BTCUSDT": 5}
    assert account.account().balances == {"USDT": Decimal("1000.50")}
    assert config.strategies["one"].params == DummyConfig("perp:BTCUSDT", Decimal(2))
    assert config.section("limits", LimitsConfig) == LimitsConfig(Decimal(500), 2_000_000_000)


def test_a_section_left_out_has_its_defaults(tmp_path):
    assert read(tmp_path, RIGHT.partition("[limits]")[0]).section("limits", LimitsConfig) == LimitsConfig()


ONE_MISTAKE = [
    # (what is replaced, by what, the one mistake that must be told)
    ('USDT = "1000.50"', 'USDT = "abc"', "accounts[0].balances.USDT: 'abc' is not a number"),
    ('"1000.50"', '"NaN"', "accounts[0].balances.USDT: 'NaN' is not finite"),
    ('"1000.50"', '"-inf"', "accounts[0].balances.USDT: '-inf' is not finite"),
    ('"1000.50"', "nan", "accounts[0].balances.USDT: nan is not a finite number"),
    ('"1000.50"', '"-5"', "accounts[0].balances.USDT: must not be negative, got -5"),
    ('"1000.50"', "0.1", 'accounts[0].balances.USDT: a decimal is written as a string, "0.1"'),
    ('"1000.50"', "true", "accounts[0].balances.USDT: expected a decimal"),
    ('{ USDT = "1000.50" }', '"all"', "accounts[0].balances: expected a table, got 'all'"),
    ('taker = "0.0005"', 'taker = "5"', "venues[0].fees.taker: is a fraction of the value traded"),
    ('taker = "0.0005"', 'taker = "-0.1"', "venues[0].fees.taker: must not be negative"),
    ('tick_size = "0.1"', 'tick_size = "0"', "instruments[0].tick_size: must be positive, got 0"),
    ('lot_size = "0.001"\n', "", "instruments[0].lot_size: missing"),
    ('kind = "perpetual"', 'kind = "perpetuel"', "instruments[0].kind: 'perpetuel' is not one of spot, perpetual"),
    ('kind = "perpetual"', 'kind = "quarterly"', "instruments[0].expiry: missing: a quarterly instrument expires"),
    ("max_leverage = 20\n", "max_leverage = 20.0\n", "instruments[0].max_leverage: expected a whole number, got 20.0"),
    ('floor = "0"', 'floor = "1"', "instruments[0].brackets[0].floor: floor 1 does not continue"),
    ('quote = "USDT"', 'quote = "USDT"\ninverse = true', "instruments[0].inverse: inverse contracts are not simulated"),
    (
        'kind = "perpetual"',
        'kind = "future"\nexpiry = "2026-03-27T08:00:00Z"\ninitial_margin = "9"',
        "instruments[0].maintenance_margin: missing",
    ),
    ('size = "2"', 'size = "13"', "strategies[0]: dummy cannot be made of these params: ValueError: thirteen"),
    ('id = "one"', 'id = "ledger"', "strategies[0].id: 'ledger' is the name of an actor"),
    ('mmr = "0.004"', 'mmr = "4"', "instruments[0].brackets[0].mmr: mmr 4 is not between"),
    ('quote = "USDT"', 'quote = "USDT"\nexpiry = "2026-03-27"', "instruments[0].expiry: '2026-03-27' must be in UTC"),
    ('quote = "USDT"', 'quote = "USDT"\nid = "x"', "instruments[0].id: unknown key"),
    ("seed = 7", "sed = 7", "run.sed: unknown key; did you mean 'seed'?"),
    ("seed = 7", 'seed = "7"', "run.seed: expected a whole number, got '7'"),
    ('duration = "10m"', "duration = 600", "run.duration: expected a duration such as"),
    ('duration = "10m"', "", "run.duration: missing: a synthetic market needs an end"),
    ('duration = "10m"', 'duration = "0.5ns"', "run.duration: '0.5ns' is not a whole number of nanoseconds"),
    ('stale = "2s"', "stale_ns = 2", "limits.stale_ns: unknown key; did you mean 'stale'?"),
    ('stale = "2s"', 'pauses = ["1s", "2x"]', "limits.pauses[1]: expected a duration such as"),
    ('stale = "2s"', 'accounts = ["man"]', "limits.accounts[0]: no account 'man' is declared; did you mean 'main'?"),
    ('stale = "2s"', "fees = { x = 1 }", "limits.fees: unknown key"),
    ('max_order_value = "500"', 'max_order_value = "0"', "limits.max_order_value: must be positive, got 0"),
    ("[limits]", "[limit]", "limit: unknown key; did you mean 'limits'?"),
    ('kind = "synthetic"', 'kind = "syntetic"', "market.kind: 'syntetic' is not one of synthetic, recorded"),
    ('kind = "synthetic"\n', "", "market.kind: missing"),
    ('mid = "100"', "", "market.mid: missing"),
    ("premium_bps = -1.5", "levels = 0", "market.instruments[0].levels: must be > 0"),
    (
        'instrument = "perp:BTCUSDT"\n',
        'instrument = "perp:BTCUSD"\n',
        "market.instruments[0].instrument: no instrument",
    ),
    ('rules = "binance_usdm"', 'rules = "binance"', "venues[0].rules: 'binance' is not one of binance_usdm"),
    ('rules = "binance_usdm"', 'rules = "binance_usdm"\nqueue_model = "luck"', "venues[0].queue_model: 'luck'"),
    (
        'rules = "binance_usdm"',
        'rules = "binance_usdm"\nqueue_model = "l3_fifo"',
        "venues[0].queue_model: l3_fifo needs",
    ),
    ('rules = "binance_usdm"', 'rules = "binance_spot"', "accounts[0].margin_mode: cross is not"),
    ('venue = "perp"\nbalances', 'venue = "prep"\nbalances', "accounts[0].venue: no venue 'prep' is declared; did you"),
    ("BTCUSDT = 5", "ETHUSDT = 5", "accounts[0].leverage.ETHUSDT: no instrument 'perp:ETHUSDT' is declared"),
    ("BTCUSDT = 5", "BTCUSDT = 50", "accounts[0].leverage.BTCUSDT: must be between 1 and 20, got 50"),
    ('id = "main"', 'id = "ma/in"', "accounts[0].id: 'ma/in' may hold"),
    ('kind = "dummy"', 'kind = "dumy"', "strategies[0].kind: 'dumy' is not one of dummy"),
    ('size = "2"', 'size = "2", hedge = "perp:X"', "strategies[0].params.hedge: no instrument 'perp:X' is declared"),
    ('size = "2"', 'size = "2", sise = "3"', "strategies[0].params.sise: unknown key; did you mean 'size'?"),
]


@pytest.mark.parametrize(("old", "new", "told"), ONE_MISTAKE, ids=[told[:60] for _, _, told in ONE_MISTAKE])
def test_a_mistake_is_told_by_its_key(tmp_path, old, new, told):
    lines = mistakes(tmp_path, changed(old, new))
    assert len(lines) == 1, lines
    assert lines[0].startswith(told)


def test_ten_different_mistakes_are_ten_errors_at_once(tmp_path):
    text = RIGHT
    for old, new in (
        ("seed = 7", "sede = 7"),
        ('mid = "100"', 'mid = "abc"'),
        ('maker = "-0.0001"', "maker = -0.0001"),
        ('tick_size = "0.1"', 'tick_size = "NaN"'),
        ('quote = "USDT"\n', ""),
        ('USDT = "1000.50"', 'USDT = "-1"'),
        ('margin_mode = "cross"', 'margin_mode = "crossed"'),
        ('{ credential = "perp-main" }', '"hunter2"'),
        ('params = { instrument = "perp:BTCUSDT"', 'params = { instrument = "perp:BTCUSD"'),
        ('stale = "2s"', 'stale = "2 parsecs"'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    keys = [line.split(": ")[0] for line in mistakes(tmp_path, text)]
    assert sorted(keys) == [
        "accounts[0].balances.USDT",
        "accounts[0].credentials",
        "accounts[0].margin_mode",
        "instruments[0].quote",
        "instruments[0].tick_size",
        "limits.stale",
        "market.mid",
        "run.sede",
        "strategies[0].params.instrument",
        "venues[0].fees.maker",
    ]


@pytest.mark.parametrize("table", ["venues", "instruments", "accounts", "strategies"])
def test_the_same_id_twice_is_a_mistake(tmp_path, table):
    block = re.search(rf"\[\[{table}\]\].*?(?=\n\n)", RIGHT, re.DOTALL)
    assert block is not None
    key = "symbol" if table == "instruments" else "id"
    [line] = mistakes(tmp_path, RIGHT + "\n" + block[0] + "\n")
    assert line.startswith(f"{table}[1].{key}: ")
    assert line.endswith(f"is {table}[0] already")


def test_missing_tables_are_named(tmp_path):
    keys = [line.split(":")[0] for line in mistakes(tmp_path, "")]
    assert keys == ["market", "venues", "instruments", "accounts"]


@pytest.mark.parametrize(
    "text", ["venues = 3", "venues = {}", "market = 3", "strategies = 1", "run = []", "accounts = [1]"]
)
def test_a_table_of_the_wrong_shape_is_a_mistake_not_a_crash(tmp_path, text):
    assert any(line.startswith(text.split(" ")[0]) for line in mistakes(tmp_path, text))


SECRETS = [
    'api_key = "{}"',
    'API_KEY = "{}"',
    'api-secret = "{}"',
    'secret = ["{}"]',
    'password = "{}"',
    'passphrase = "{}"',
    'private_key = {{ text = "{}" }}',
    'credentials = "{}"',
    'credentials = {{ api_key = "{}", secret = "{}" }}',
    'credentials = {{ credential = "{} " }}',
    'my_token = "{}"',
]


@pytest.mark.parametrize("line", SECRETS)
def test_a_secret_written_out_is_refused_and_never_repeated(tmp_path, line):
    text = changed('credentials = { credential = "perp-main" }', line.format("hunter2", "hunter2"))
    [told] = mistakes(tmp_path, text)
    assert told.startswith(f"accounts[0].{line.split(' ')[0]}: secrets are not written here")
    assert "hunter2" not in told


def test_a_broken_file_is_told_with_its_place(tmp_path):
    path = tmp_path / "x.toml"
    for content, said in (
        (b"[run\n", r"is not TOML: .*line 1, column 5"),
        (b"a = 1\na = 2\n", r"is not TOML: .*line 2"),
        (b"a = '\xff'\n", r"is not UTF-8 text: byte 5"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigErrors, match=said) as raised:
            load(path, KINDS)
        assert str(raised.value).startswith(str(path))


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigErrors, match="cannot be read"):
            load(path, KINDS)


# Recordings


def recorded(file: str) -> str:
    before, _, rest = RIGHT.partition("[market]")
    return before + RECORDED.replace("{file}", file) + rest[rest.index("[[venues]]") :]


def test_a_recording_lies_beside_the_file_or_where_the_environment_says(tmp_path, monkeypatch):
    (tmp_path / "day.gz").touch()
    monkeypatch.setenv("BASISD_DATA_DIR", str(tmp_path))
    beside, below = read(tmp_path, recorded("day.gz")), read(tmp_path, recorded("$BASISD_DATA_DIR/day.gz"))
    assert isinstance(below.market, Recorded)
    assert beside.paths == {"day.gz": tmp_path / "day.gz"}
    assert below.paths == {"$BASISD_DATA_DIR/day.gz": tmp_path / "day.gz"}


def test_a_folder_that_the_environment_does_not_name_is_a_mistake(tmp_path, monkeypatch):
    monkeypatch.delenv("BASISD_DATA_DIR", raising=False)
    [line] = mistakes(tmp_path, recorded("$BASISD_DATA_DIR/day.gz"))
    assert line == "market.recordings[0].file: the environment variable BASISD_DATA_DIR is not set"


def test_a_replay_needs_no_recording(tmp_path):
    (tmp_path / "day.gz").touch()
    config = read(tmp_path, recorded("day.gz"))
    again = parse(config.text, "log", KINDS, needs_files=False)
    assert (again.sha256, again.paths) == (config.sha256, {})


def test_a_recording_that_is_not_there_is_a_mistake(tmp_path):
    assert mistakes(tmp_path, recorded("night.gz")) == ["market.recordings[0].file: there is no file 'night.gz'"]


def test_an_instrument_without_a_market_is_a_mistake(tmp_path):
    other = re.search(r"\[\[instruments\]\].*?(?=\n\n)", RIGHT, re.DOTALL)
    assert other is not None
    lines = mistakes(tmp_path, RIGHT + other[0].replace("BTCUSDT", "ETHUSDT") + "\n")
    assert lines == ["instruments[1]: the market does not cover perp:ETHUSDT"]


# The hash


def test_the_hash_is_of_what_is_said_not_how_or_where(tmp_path, monkeypatch):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        (folder / "day.gz").touch()
    monkeypatch.setenv("BASISD_DATA_DIR", str(one))
    text = recorded("$BASISD_DATA_DIR/day.gz")
    first = read(one, text).sha256
    monkeypatch.setenv("BASISD_DATA_DIR", str(two))
    assert read(two, "# a comment\n" + text).sha256 == first
    spelled = text.replace('duration = "10m"', 'duration = "600s"')
    assert read(two, spelled).sha256 == first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed = 7", "seed = 8"),
        ('size = "2"', 'size = "3"'),
        ('USDT = "1000.50"', 'USDT = "1000.51"'),
        ('stale = "2s"', 'stale = "3s"'),
        ('credential = "perp-main"', 'credential = "perp-other"'),
    ],
)
def test_any_other_setting_is_another_hash(tmp_path, old, new):
    assert read(tmp_path, changed(old, new)).sha256 != read(tmp_path, RIGHT).sha256


# Values


@given(st.integers(min_value=0, max_value=10**9), st.sampled_from(sorted(UNITS)))
def test_a_whole_number_of_units_is_exact(count, unit):
    assert parse_duration(f"{count}{unit}") == count * UNITS[unit]


@pytest.mark.parametrize(
    ("text", "length_ns"),
    [("1.5h", 5_400_000_000_000), ("0.1us", 100), ("0.000000001s", 1), ("2d", 172_800_000_000_000), ("0s", 0)],
)
def test_fractions_are_exact(text, length_ns):
    assert parse_duration(text) == length_ns


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-1s", "1 s", "1e3s", "1.s", ".5s", "1m30s", "0.1ns", "\u0665s", None, 5]
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|nanoseconds"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-15T15:00:00Z", 1_768_489_200_000_000_000),
        ("2026-01-15T15:00:00.000000001Z", 1_768_489_200_000_000_001),
        ("2026-01-15T15:00:00.5+00:00", 1_768_489_200_500_000_000),
    ],
)
def test_moments_are_exact(text, ns):
    assert parse_instant(text) == ns


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-15T15:00:00", "2026-01-15T15:00:00+09:00", 5, None])
def test_what_is_no_moment_in_utc_is_refused(text):
    with pytest.raises(ValueError, match=r"moment|UTC"):
        parse_instant(text)


def test_a_validator_that_names_a_place_within_its_field_names_its_key():
    def rising(_instance: object, attribute: "Attribute[tuple[int, ...]]", value: tuple[int, ...]) -> None:
        if value:
            raise ValueError(f"{attribute.name}[1].after_ns: is before the one above")

    @frozen
    class Script:
        actions: tuple[int, ...] = field(default=(), validator=rising)

    errors: list[ConfigError] = []
    structure({"actions": [2, 1]}, Script, "script", errors)
    assert [str(error) for error in errors] == ["script.actions[1].after: is before the one above"]


def test_a_class_that_names_a_field_names_its_key():
    @frozen
    class Wait:
        shortest_ns: int = 1
        by_name: dict[str, int] = field(factory=dict)

        def __attrs_post_init__(self) -> None:
            if self.by_name:
                raise ValueError("by_name.perp:X: must not be")
            raise ValueError("shortest_ns: too short")

    errors: list[ConfigError] = []
    structure({}, Wait, "wait", errors)
    structure({"by_name": {"perp:X": 1}}, Wait, "wait", errors)
    assert [str(error) for error in errors] == ["wait.shortest: too short", "wait.by_name.perp:X: must not be"]


def test_a_validator_that_needs_other_fields_still_runs():
    @frozen
    class Range:
        low: Decimal
        high: Decimal = field()

        @high.validator
        def _above(self, _attribute, value):
            if value <= self.low:
                raise ValueError("high must be above low")

    errors: list[ConfigError] = []
    assert structure({"low": "2", "high": "1"}, Range, "range", errors) is None
    assert [str(error) for error in errors] == ["range: high must be above low"]
    assert structure({"low": "1", "high": "2"}, Range, "range", errors) == Range(Decimal(1), Decimal(2))
