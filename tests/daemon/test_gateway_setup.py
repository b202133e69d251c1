"""What a gateway reads of a configuration and of its accounts' keys, and what it refuses without repeating it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from daemon.config import ConfigErrors, load
from daemon.config_endpoints import Endpoints
from daemon.config_parts import SetupError
from daemon.gateway.keys import read_keys
from daemon.gateway.settings import gateway_settings
from daemon.gateway.setup import load_keys, read_setup
from daemon.kinds import KINDS
from daemon.secrets import CredentialError, Secret

ROOT = Path(__file__).resolve().parents[2]
DEMO = (ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")
USDM = (
    'endpoints = { rest = "https://fapi.binance.com", ws_public = "wss://fstream.binance.com/public", '
    'ws_market = "wss://fstream.binance.com/market", ws_private = "wss://fstream.binance.com/private", '
    'ws_api = "wss://ws-fapi.binance.com/ws-fapi/v1", recv_window = "2s" }\n'
)
SPOT = (
    'endpoints = { rest = "https://api.binance.com", ws_public = "wss://stream.binance.com:9443", '
    'ws_api = "wss://ws-api.binance.com/ws-api/v3" }\n'
)
API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
# The published example of the venue's HMAC signatures (crypto.md C2).
HMAC_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
PAYLOAD = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943"
)
SIGNATURE = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
# RFC 8032, section 7.1, test 2: the private key as PKCS#8, the message and its signature.
ED25519_PEM = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7
-----END PRIVATE KEY-----
"""


def with_endpoints(text: str = DEMO) -> str:
    text = text.replace('rules = "binance_usdm"\n', f'rules = "binance_usdm"\n{USDM}', 1)
    return text.replace('rules = "binance_spot"\n', f'rules = "binance_spot"\n{SPOT}', 1)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "desk.toml"
    path.write_text(text, encoding="utf-8")
    return path


def with_credentials(text: str) -> str:
    for account in ("futures", "spot"):
        text = text.replace(
            f'id = "{account}"\n', f'id = "{account}"\ncredentials = {{ credential = "{account}" }}\n', 1
        )
    return text


def keep(folder: Path, name: str, content: str) -> None:
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / name).write_text(content)
    (folder / name).chmod(0o600)


# Endpoints


def test_the_desk_and_the_gateway_read_the_same_venues(tmp_path: Path) -> None:
    path = written(tmp_path, with_endpoints())
    config, setup = load(path, KINDS), read_setup(path)
    assert config.is_outside
    assert {name: one.endpoints for name, one in setup.venues.items()} == {
        name: one.endpoints for name, one in config.venues.items()
    }
    assert [one.market for one in setup.venues.values()] == ["usdm", "spot"]
    usdm = setup.venues["binance_usdm"]
    assert usdm.endpoints.recv_window_ns == 2_000_000_000
    assert list(usdm.instruments) == ["binance_usdm:BTCUSDT"]
    assert setup.venue_of("futures") == "binance_usdm"
    assert setup.venue_of("nobody") is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://fapi.binance.com", "not encrypted"),
        ("http://10.0.0.1", "not encrypted"),
        ("https://user:word-to-hide@fapi.binance.com", "no user and no password"),
        ("https://fapi.binance.com?x=1", "ends with a query"),
        ("fapi.binance.com", "no address"),
        ("ftp://user:word-to-hide@host", "no address"),
        ("https://host:99999", "no address"),
    ],
)
def test_an_address_that_is_not_safe_is_refused(tmp_path: Path, address: str, why: str) -> None:
    path = written(tmp_path, with_endpoints().replace("https://fapi.binance.com", address))
    with pytest.raises(ConfigErrors, match=why) as raised:
        load(path, KINDS)
    assert "venues[0].endpoints.rest" in str(raised.value)
    assert "word-to-hide" not in str(raised.value)
    with pytest.raises(SetupError, match=why):
        read_setup(path)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080", "http://[::1]:80", "http://localhost:1", "https://x.y"])
def test_an_address_on_this_machine_need_not_be_encrypted(tmp_path: Path, address: str) -> None:
    path = written(tmp_path, with_endpoints().replace("https://fapi.binance.com", address))
    assert load(path, KINDS).is_outside


def test_an_emulators_connections_live_as_much_shorter_as_its_time_is_faster() -> None:
    outside = Endpoints("http://127.0.0.1:1", "ws://127.0.0.1:2", "ws://127.0.0.1:2")
    quick = evolve(outside, speed=48)
    # 23.5 hours, and a 48th of them.
    assert gateway_settings("one", "usdm", outside).lifetime_s == 84_600
    assert gateway_settings("one", "usdm", quick).lifetime_s == 1_762.5
    assert gateway_settings("one", "usdm", quick).speed == 48


def test_either_all_venues_are_out_there_or_none(tmp_path: Path) -> None:
    path = written(tmp_path, DEMO.replace('rules = "binance_spot"\n', f'rules = "binance_spot"\n{SPOT}', 1))
    with pytest.raises(ConfigErrors, match=r"venues\[0\]\.endpoints: missing"):
        load(path, KINDS)


def test_there_is_no_gateway_for_other_rules(tmp_path: Path) -> None:
    text = with_endpoints().replace('rules = "binance_usdm"', 'rules = "bybit_linear"')
    path = written(tmp_path, text)
    with pytest.raises(ConfigErrors, match="no gateway for bybit_linear"):
        load(path, KINDS)
    with pytest.raises(SetupError, match="no gateway for bybit_linear"):
        read_setup(path)


def test_a_live_market_needs_endpoints_and_covers_everything(tmp_path: Path) -> None:
    def live(text: str) -> str:
        head, _, rest = text.partition("[market]")
        return f'{head}[market]\nkind = "live"\n\n[[venues]]{rest.partition("[[venues]]")[2]}'

    assert load(written(tmp_path, live(with_endpoints())), KINDS).is_outside
    with pytest.raises(ConfigErrors, match="a live market needs venues with endpoints"):
        load(written(tmp_path, live(DEMO)), KINDS)


def test_a_mistake_elsewhere_keeps_no_gateway_from_its_work(tmp_path: Path) -> None:
    path = written(tmp_path, f"{with_endpoints()}\n[risk]\nno_such_key = 1\n")
    assert list(read_setup(path).venues) == ["binance_usdm", "binance_spot"]


def test_without_endpoints_there_is_nothing_to_reach(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="none has endpoints"):
        read_setup(written(tmp_path, DEMO))


def test_a_gateway_loads_neither_a_compiler_nor_a_simulated_venue() -> None:
    code = "import sys, daemon.gateway.__main__, daemon.gateway.build; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tops = {name.partition(".")[0] for name in loaded.split()}
    assert "venues" in tops
    assert not tops & {"numba", "llvmlite", "numpy", "sim", "pyarrow"}


# Keys


def test_a_secret_of_lines_signs_as_the_venue_publishes() -> None:
    keys = read_keys(Secret(f'api_key = "{API_KEY}"\nsecret = "{HMAC_SECRET}"'), "credential x")
    assert keys.api_key.reveal() == API_KEY
    assert keys.signer.sign(PAYLOAD) == SIGNATURE


def test_a_pem_key_beside_the_api_key_signs() -> None:
    keys = read_keys(Secret(f"# made in 2026\n{ED25519_PEM}\napi_key = '{API_KEY}'\n"), "credential x")
    # The byte 0x72 is the letter r.
    signature = "kqAJqfDUyrhyDoILX2QlQKKye1QWUD+Ps3YiI+vbadoIWsHkPhWZbkWPNhPQ8R2MOHsurrQwKu6wDSkWErsMAA=="
    assert keys.signer.sign("r") == signature
    assert keys.api_key.reveal() == API_KEY


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'secret = "{HMAC_SECRET}"', "holds no api_key"),
        (f'api_key = "{API_KEY}"', "either secret"),
        (f'api_key = "{API_KEY}"\nsecret = "{HMAC_SECRET}"\n{ED25519_PEM}', "either secret"),
        (f'api_key = "{API_KEY}"\n{HMAC_SECRET}', "line 2 is neither"),
        (f'api_key = "{API_KEY}"\n{ED25519_PEM.replace("MC4C", "MC4D")}', "cannot be read"),
        (f'api_key = "short"\nsecret = "{HMAC_SECRET}"', "5 characters"),
    ],
)
def test_a_credential_that_is_no_key_is_refused_without_repeating_it(text: str, why: str) -> None:
    with pytest.raises(CredentialError, match=why) as raised:
        read_keys(Secret(text), "credential x")
    assert HMAC_SECRET not in str(raised.value)
    assert API_KEY not in str(raised.value)
    assert HMAC_SECRET not in repr(raised.value.__context__)


def test_keys_do_not_show_themselves() -> None:
    keys = read_keys(Secret(f'api_key = "{API_KEY}"\nsecret = "{HMAC_SECRET}"'), "credential x")
    for shown in (repr(keys), str(keys), f"{keys!r}", repr(keys.signer)):
        assert API_KEY not in shown
        assert HMAC_SECRET not in shown


def test_every_account_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SetupError, match="account futures: credentials: missing"):
        load_keys(read_setup(written(tmp_path, with_endpoints())), tmp_path)
    setup = read_setup(written(tmp_path, with_credentials(with_endpoints())))
    keep(tmp_path / "credentials", "futures", f'api_key = "{API_KEY}"\nsecret = "{HMAC_SECRET}"\n')
    with pytest.raises(SetupError, match="account spot"):
        load_keys(setup, tmp_path / "credentials")
    keep(tmp_path / "credentials", "spot", f'api_key = "{API_KEY}"\n{ED25519_PEM}')
    assert sorted(load_keys(setup, tmp_path / "credentials")) == ["futures", "spot"]
    os.chmod(tmp_path / "credentials" / "spot", 0o644)
    with pytest.raises(SetupError, match="others may use it"):
        load_keys(setup, tmp_path / "credentials")
