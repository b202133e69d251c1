"""Whether a configuration file describes a run, and which."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import Attribute, define, field, frozen

from daemon.config_schema import (
    AccountConfig,
    Log,
    Recorded,
    Recording,
    Run,
    RunConfig,
    Strategy,
    Synthetic,
    Venue,
)
from daemon.config_structure import ConfigError, did_you_mean, join, shown, structure, take_secrets, unknown_key
from venues.model.account import MarginMode
from venues.model.instrument import Instrument, InstrumentKind
from venues.model.money import to_text
from venues.rules.binance_margin import BracketTableError, check_brackets

__all__ = ["ConfigError", "ConfigErrors", "Kinds", "RunConfig", "load", "parse", "structure"]

_T = TypeVar("_T")

_TABLES = ("run", "market", "venues", "instruments", "accounts", "strategies", "log")
_MARKETS: dict[str, type[Synthetic | Recorded]] = {"synthetic": Synthetic, "recorded": Recorded}
_REFERENCE = re.compile(r"(?:^|_)(account|instrument|venue)s?$", re.ASCII)
_ENVIRONMENT = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)/(.+)", re.ASCII)
_SPOT_RULES = "binance_spot"
_EXPIRING = frozenset({InstrumentKind.QUARTERLY, InstrumentKind.FUTURE})


class ConfigErrors(ValueError):  # noqa: N818 - many of the type ConfigError
    """Every mistake found in one configuration, one per line."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


@frozen
class Kinds:
    """Which classes configure what: `sections` by section name, and the class behind a strategy's `kind`.

    `strategy` raises ValueError, saying why, for a kind that names no strategy.
    """

    sections: Mapping[str, type[Any]]
    strategy: Callable[[str], type[Any]]


def load(path: Path | str, kinds: Kinds) -> RunConfig:
    """Read and check a configuration. Raises ConfigErrors with every mistake, each naming file and key path.

    Recordings are looked for beside the configuration file, or below `$NAME/` in the folder the environment names.
    """
    return parse(read_text(path), path, kinds)


def read_text(path: Path | str) -> str:
    """Return what the file says. Raises ConfigErrors when it cannot be read or is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigErrors((ConfigError(str(path), f"cannot be read: {error.strerror or error}"),)) from error
    except UnicodeDecodeError as error:
        raise ConfigErrors((ConfigError(str(path), f"is not UTF-8 text: byte {error.start}"),)) from error


def parse(text: str, path: Path | str, kinds: Kinds, *, needs_files: bool = True) -> RunConfig:
    """Check a configuration given as text; `path` is its name in mistakes and where its recordings lie beside.

    Without `needs_files` no recording is looked for: a replay takes its market from the log.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors((ConfigError(str(path), f"is not TOML: {error}"),)) from error
    loading = _Loading(kinds, text, Path(path).parent if needs_files else None)
    config = loading.read(document)
    if config is None:
        named = tuple(ConfigError(f"{path}: {error.path}", error.why) for error in loading.errors)
        raise ConfigErrors(named) from None
    return config


@define
class _Loading:
    """One file being read: the mistakes so far and the ids that its tables declare, right or wrong otherwise."""

    kinds: Kinds
    text: str
    folder: Path | None
    errors: list[ConfigError] = field(factory=list)
    ids: dict[str, dict[str, str]] = field(factory=dict)

    def read(self, document: dict[str, Any]) -> RunConfig | None:
        """Return the configuration, or None when there are errors."""
        document = take_secrets(document, "", self.errors)
        for key in document:
            if key not in _TABLES and key not in self.kinds.sections:
                self._add(key, unknown_key(key, [*_TABLES, *self.kinds.sections]))
        self.ids = {
            "venue": self._ids(document, "venues", _id),
            "instrument": self._ids(document, "instruments", _instrument_id),
            "account": self._ids(document, "accounts", _id),
            "strategy": self._ids(document, "strategies", _id),
        }
        run = structure(document.get("run", {}), Run, "run", self.errors)
        market = self._market(document)
        venues = self._list(document, "venues", Venue)
        instruments = self._list(document, "instruments", Instrument)
        accounts = self._list(document, "accounts", AccountConfig)
        strategies = self._strategies(document)
        sections = {
            name: structure(document.get(name, {}), cls, name, self.errors) for name, cls in self.kinds.sections.items()
        }
        log = structure(document.get("log", {}), Log, "log", self.errors)
        paths = self._paths(market) if isinstance(market, Recorded) else {}
        if isinstance(market, Synthetic) and run is not None and run.duration_ns is None:
            self._add("run.duration", "missing: a synthetic market needs an end")
        self._check_instruments(instruments, market)
        self._check_accounts(accounts, venues, {one.id: one for _, one in instruments})
        for path, found in (("market", market), *((f"{path}.params", one.params) for path, one in strategies)):
            self._check_references(found, path)
        for name, section in sections.items():
            self._check_references(section, name)
        if self.errors or run is None or market is None or log is None:
            return None
        config = RunConfig(
            run=run,
            market=market,
            venues={one.id: one for _, one in venues},
            instruments={one.id: one for _, one in instruments},
            accounts={one.id: one for _, one in accounts},
            strategies={one.id: one for _, one in strategies},
            sections=sections,
            log=log,
            paths=paths,
            text=self.text,
            sha256="",
        )
        return attrs.evolve(config, sha256=_digest(config))

    def _add(self, path: str, why: str) -> None:
        self.errors.append(ConfigError(path, why))

    # Tables

    def _rows(self, document: dict[str, Any], name: str) -> Iterator[tuple[str, Any]]:
        rows = document.get(name, [])
        if isinstance(rows, list):
            for index, row in enumerate(rows):
                yield f"{name}[{index}]", row

    def _ids(self, document: dict[str, Any], name: str, id_of: Callable[[Any], str | None]) -> dict[str, str]:
        found: dict[str, str] = {}
        for path, row in self._rows(document, name):
            own = id_of(row)
            if own is None:
                continue
            if own in found:
                self._add(f"{path}.{'symbol' if name == 'instruments' else 'id'}", f"{own!r} is {found[own]} already")
            found.setdefault(own, path)
        return found

    def _list(self, document: dict[str, Any], name: str, cls: type[_T]) -> list[tuple[str, _T]]:
        """Return the rows that are right, each with its path."""
        if name not in document:
            self._add(name, f"missing: write at least one [[{name}]]")
        elif not isinstance(document[name], list):
            self._add(name, f"expected an array of tables: write [[{name}]]")
        elif not document[name]:
            self._add(name, "must hold at least one")
        made = [(path, structure(row, cls, path, self.errors)) for path, row in self._rows(document, name)]
        right = [(path, one) for path, one in made if one is not None]
        for path, one in right:
            self._check_references(one, path)
        return right

    def _market(self, document: dict[str, Any]) -> Synthetic | Recorded | None:
        if "market" not in document:
            self._add("market", "missing")
            return None
        table = document["market"]
        if not isinstance(table, dict):
            self._add("market", f"expected a table, got {shown(table)}")
            return None
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in _MARKETS:
            why = f"{shown(kind)} is not one of {', '.join(_MARKETS)}{did_you_mean(str(kind), list(_MARKETS))}"
            self._add("market.kind", "missing" if kind is None else why)
            return None
        rest = {key: value for key, value in table.items() if key != "kind"}
        return structure(rest, _MARKETS[kind], "market", self.errors)

    def _strategies(self, document: dict[str, Any]) -> list[tuple[str, Strategy]]:
        if not isinstance(document.get("strategies", []), list):
            self._add("strategies", "expected an array of tables: write [[strategies]]")
        made = [self._strategy(path, row) for path, row in self._rows(document, "strategies")]
        return [one for one in made if one is not None]

    def _strategy(self, path: str, row: Any) -> tuple[str, Strategy] | None:
        head = structure({**row, "params": {}} if isinstance(row, dict) else row, _StrategyHead, path, self.errors)
        kind = row.get("kind") if isinstance(row, dict) else None
        if not isinstance(kind, str):
            return None
        try:
            cls = self.kinds.strategy(kind)
        except ValueError as error:
            self._add(f"{path}.kind", str(error))
            return None
        params = structure(row.get("params", {}), cls, f"{path}.params", self.errors)
        if head is None or params is None:
            return None
        return path, Strategy(head.id, kind, params)

    # Between tables

    def _check_references(self, made: object, path: str) -> None:
        """Find every account, instrument and venue that `made` names, by its fields' names, and check that it exists.

        A field called otherwise says so: `metadata={"ref": "instrument"}`.
        """
        if isinstance(made, tuple | list):
            for index, item in enumerate(made):
                self._check_references(item, f"{path}[{index}]")
        for one in _fields(made):
            if not one.init:
                continue
            value, here = getattr(made, one.name), join(path, one.name)
            match = _REFERENCE.search(one.name)
            noun = str(one.metadata.get("ref", match[1] if match else ""))
            names = _names(value) if noun else []
            if not names:
                self._check_references(value, here)
            for name, where in names:
                self._check_name(noun, name, f"{here}{where}")

    def _check_name(self, noun: str, name: str, path: str) -> None:
        declared = self.ids[noun]
        if name not in declared:
            self._add(path, f"no {noun} {name!r} is declared{did_you_mean(name, list(declared))}")

    def _check_instruments(
        self, instruments: list[tuple[str, Instrument]], market: Synthetic | Recorded | None
    ) -> None:
        fed = _fed(market)
        for path, one in instruments:
            if one.kind in _EXPIRING and one.expiry_ns is None:
                self._add(f"{path}.expiry", f"missing: a {one.kind} instrument expires")
            if one.kind not in _EXPIRING and one.expiry_ns is not None:
                self._add(f"{path}.expiry", f"a {one.kind} instrument never expires")
            if one.max_leverage < 1:
                self._add(f"{path}.max_leverage", "must be at least 1")
            if one.max_qty is not None and one.max_qty < max(one.min_qty, one.lot_size):
                self._add(f"{path}.max_qty", f"is below the smallest order, {max(one.min_qty, one.lot_size)}")
            if market is not None and one.id not in fed:
                self._add(path, f"the market does not cover {one.id}")
            self._check_margin(path, one)

    def _check_margin(self, path: str, one: Instrument) -> None:
        if one.inverse:
            self._add(f"{path}.inverse", "inverse contracts are not simulated yet")
        if one.kind is InstrumentKind.FUTURE:
            for name in ("initial_margin", "maintenance_margin"):
                if getattr(one, name) is None:
                    self._add(f"{path}.{name}", "missing: a future's margin is money per contract")
        elif not one.is_spot:
            try:
                check_brackets(one.brackets)
            except BracketTableError as error:
                self._add(f"{path}.brackets", str(error))

    def _check_accounts(
        self, accounts: list[tuple[str, AccountConfig]], venues: list[tuple[str, Venue]], specs: dict[str, Instrument]
    ) -> None:
        rules = {one.id: one.rules for _, one in venues}
        for path, one in accounts:
            is_spot = rules.get(one.venue) == _SPOT_RULES
            if one.venue in rules and is_spot != (one.margin_mode is MarginMode.CASH):
                self._add(f"{path}.margin_mode", f"{one.margin_mode} is not what an account at {one.venue} can have")
            for symbol, times in one.leverage.items():
                here, instrument = f"{path}.leverage.{symbol}", f"{one.venue}:{symbol}"
                if one.venue in self.ids["venue"]:
                    self._check_name("instrument", instrument, here)
                spec = specs.get(instrument)
                if spec is not None and not 1 <= times <= spec.max_leverage:
                    self._add(here, f"must be between 1 and {spec.max_leverage}, got {times}")

    # Files

    def _paths(self, market: Recorded) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for index, one in enumerate(market.recordings):
            here = f"market.recordings[{index}].file"
            if one.file in found:
                self._add(here, f"{one.file!r} is listed twice")
            path = None if self.folder is None else self._resolve(self.folder, one, here)
            if path is not None:
                if not path.is_file():
                    self._add(here, f"there is no file {one.file!r}")
                found[one.file] = path
            for symbol in one.symbols:
                if one.venue in self.ids["venue"]:
                    self._check_name("instrument", f"{one.venue}:{symbol}", f"market.recordings[{index}].symbols")
        return found

    def _resolve(self, folder: Path, recording: Recording, here: str) -> Path | None:
        reference = _ENVIRONMENT.fullmatch(recording.file)
        if reference is None:
            return folder / recording.file
        named = os.environ.get(reference[1])
        if not named:
            self._add(here, f"the environment variable {reference[1]} is not set")
            return None
        return Path(named) / reference[2]


@frozen
class _StrategyHead:
    id: str
    kind: str
    params: dict[str, Any]


def _id(row: Any) -> str | None:
    found = row.get("id") if isinstance(row, dict) else None
    return found if isinstance(found, str) else None


def _instrument_id(row: Any) -> str | None:
    if not isinstance(row, dict) or not isinstance(row.get("symbol"), str) or not isinstance(row.get("venue"), str):
        return None
    return f"{row['venue']}:{row['symbol']}"


def _fields(made: object) -> "tuple[Attribute[Any], ...]":
    kind: Any = type(made)
    return attrs.fields(kind) if attrs.has(kind) else ()


def _names(value: object) -> list[tuple[str, str]]:
    """Return the names that a referring field holds, each with its place within the field."""
    if isinstance(value, str):
        return [(value, "")]
    if isinstance(value, Mapping):
        return [(name, f".{name}") for name in value if isinstance(name, str)]
    if isinstance(value, tuple | list):
        return [(name, f"[{index}]") for index, name in enumerate(value) if isinstance(name, str)]
    return []


def _fed(market: Synthetic | Recorded | None) -> set[str]:
    if isinstance(market, Synthetic):
        return {one.instrument for one in market.instruments}
    if isinstance(market, Recorded):
        return {f"{one.venue}:{symbol}" for one in market.recordings for symbol in one.symbols}
    return set()


def _digest(config: RunConfig) -> str:
    """Return the SHA-256 of everything the run depends on, as canonical JSON."""
    plain = {one.name: _plain(getattr(config, one.name)) for one in attrs.fields(RunConfig)}
    for name in ("paths", "text", "sha256"):
        del plain[name]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if attrs.has(type(value)):
        return {one.name: _plain(getattr(value, one.name)) for one in _fields(value)}
    if isinstance(value, Decimal):
        return to_text(value)
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
