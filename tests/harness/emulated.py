"""Emulators of Binance as processes of their own, and desks that trade there."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from attrs import define, field

ROOT = Path(__file__).resolve().parents[2]
_ENDPOINTS = ("rest", "ws_public", "ws_market", "ws_private", "ws_api")


@define
class Emulator:
    """One emulator: where it answers, and the keys of its only account."""

    told: dict[str, str]
    process: subprocess.Popen[bytes]
    words: Path

    def endpoints(self) -> str:
        """Return the inline table of a configuration."""
        pairs = ", ".join(f'{name} = "{self.told[name]}"' for name in _ENDPOINTS)
        return f"{{ {pairs} }}"

    def credential(self) -> str:
        """Return what stands in a credential's file."""
        return f'api_key = "{self.told["api_key"]}"\nsecret = "{self.told["secret"]}"\n'

    def fault(self, fault: Mapping[str, Any]) -> Any:
        """Set a fault, as a tester would. Raises HTTPError."""
        request = Request(f"{self.told['rest']}/emulator/faults", json.dumps(fault).encode(), method="POST")
        request.add_header("content-type", "application/json")
        return json.load(urlopen(request, timeout=30))

    def mend(self) -> None:
        """Take every fault away."""
        urlopen(Request(f"{self.told['rest']}/emulator/faults", method="DELETE"), timeout=30).close()


@contextmanager
def emulator(folder: Path, name: str, *arguments: str) -> Iterator[Emulator]:
    """Give a running emulator; it is gone in the end."""
    words = folder / f"{name}.stderr"
    with words.open("wb") as error:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon.cli", "emulate", "binance", "--port", "0", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=error,
            stdin=subprocess.DEVNULL,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the emulator ended: {words.read_text()[-2_000:]}"
        yield Emulator(json.loads(line), process, words)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@define
class EmulatedDesk:
    """A configuration whose venues are emulators, by the venue's name."""

    config: Path
    emulators: dict[str, Emulator] = field(factory=dict)


_HEAD = """include = [{includes}]

[run]
name = "{name}"

[market]
kind = "live"
"""
_VENUE = """
[[venues]]
id = "{name}"
rules = "binance_usdm"
fees = {{ maker = "0.0002", taker = "0.0004" }}
endpoints = {endpoints}

[[accounts]]
id = "{name}-account"
venue = "{name}"
balances = {{ {balances} }}
margin_mode = "cross"
leverage = {{ BTCUSDT = {leverage} }}
credentials = {{ credential = "{name}" }}
"""


def write_desk(
    folder: Path,
    emulators: Mapping[str, Emulator],
    more: str,
    *,
    balances: str = 'USDT = "100000"',
    leverage: int = 20,
    symbols: Sequence[str] = ("BTCUSDT",),
) -> Path:
    """Write a configuration with keys and with rules as `basisd fetch-rules` gets them; return its path."""
    (folder / "credentials").mkdir(mode=0o700, exist_ok=True)
    body = ""
    for name, one in emulators.items():
        key = folder / "credentials" / name
        key.touch(mode=0o600)
        key.write_text(one.credential())
        body += _VENUE.format(name=name, endpoints=one.endpoints(), balances=balances, leverage=leverage)
    path = folder / "desk.toml"
    path.write_text(_HEAD.format(includes="", name=folder.name) + body)
    command = ["fetch-rules", str(path), "--symbols", ",".join(symbols), "--out", str(folder / "rules")]
    subprocess.run([sys.executable, "-m", "daemon.cli", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    includes = ", ".join(f'"rules/{rules.name}"' for rules in sorted((folder / "rules").glob("*.toml")))
    path.write_text(_HEAD.format(includes=includes, name=folder.name) + body + more)
    return path


@contextmanager
def emulators(folder: Path, *names: str, arguments: Sequence[str] = ()) -> Iterator[dict[str, Emulator]]:
    """Give several emulators by name, each with an account of its own."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(emulator(folder, name, *arguments)) for name in names}
