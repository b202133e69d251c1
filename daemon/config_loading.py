"""Which mistakes a whole configuration holds: in its tables, and between them."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from attrs import define, evolve, field, frozen

from daemon.config_account import AccountConfig
from daemon.config_bars import bar_mistakes, symbol_references
from daemon.config_brackets import bracket_mistakes
from daemon.config_endpoints import endpoint_mistakes
from daemon.config_read import Read, read
from daemon.config_references import Reference, excused, references
from daemon.config_schema import (
    Bars,
    Live,
    Log,
    Recorded,
    Run,
    Stored,
    Strategy,
    StrategyHead,
    Synthetic,
    Venue,
)
from daemon.config_stored import SAME, StoreChecks, stored_mistakes
from daemon.config_structure import ConfigError, did_you_mean, shown, take_secrets, unknown_key
from venues.model.account import MarginMode
from venues.model.instrument import Instrument, InstrumentKind

_T = TypeVar("_T")

_TABLES = ("run", "market", "venues", "instruments", "accounts", "strategies", "log")
_MARKETS: dict[str, type[Synthetic | Recorded | Bars | Stored | Live]] = {
    "synthetic": Synthetic,
    "recorded": Recorded,
    "bars": Bars,
    "stored": Stored,
    "live": Live,
}
_TOLD_BY = {"recordings": "recorded", "series": "bars", "stores": "stored"}
_ROWS = ("market.instruments", "market.recordings", "market.series", "market.stores")
_ENVIRONMENT = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)/(.+)", re.ASCII)
_SPOT_RULES = "binance_spot"
_EXPIRING = frozenset({InstrumentKind.QUARTERLY, InstrumentKind.FUTURE})
_ALL = 1_000_000


@frozen
class Kinds:
    """Which classes configure what: `sections` by section name, and the class behind a strategy's `kind`.

    `strategy` gets the folders to look in and raises ValueError, saying why, for a kind that names no strategy. A
    strategy's id is none of the `taken` names, for it names an actor.
    """

    sections: Mapping[str, type[Any]]
    strategy: Callable[[str, tuple[Path, ...]], type[Any]]
    taken: frozenset[str] = frozenset()


@frozen
class Row(Generic[_T]):
    """One table of an array: where it stands, what is written there, what it means."""

    path: str
    raw: dict[str, Any]
    read: Read[_T]

    def is_right(self, *keys: str) -> bool:
        return self.read.value is not None and all(self.read.is_right(f"{self.path}.{key}") for key in keys)


@define
class Loading:
    """One file being read. `folder` is where its recordings are, None when they are not looked for."""

    kinds: Kinds
    folder: Path | None
    strategy_folders: tuple[Path, ...]
    errors: list[ConfigError] = field(factory=list)
    run: Run | None = None
    market: Synthetic | Recorded | Bars | Stored | Live | None = None
    venues: dict[str, Venue] = field(factory=dict)
    instruments: dict[str, Instrument] = field(factory=dict)
    accounts: dict[str, AccountConfig] = field(factory=dict)
    strategies: dict[str, Strategy] = field(factory=dict)
    sections: dict[str, Any] = field(factory=dict)
    log: Log | None = None
    paths: dict[str, Path] = field(factory=dict)
    _ids: dict[str, dict[str, str]] = field(init=False, factory=dict)
    _nameless: dict[str, int] = field(init=False, factory=dict)
    _references: list[Reference] = field(init=False, factory=list)
    _excused: dict[str, set[str]] = field(init=False, factory=dict)
    _wrong_instruments: set[str] = field(init=False, factory=set)
    _unread_stores: int = field(init=False, default=0)

    def read(self, document: dict[str, Any]) -> None:
        """Find every mistake; the tables are what the file says where there is none."""
        document = take_secrets(document, "", self.errors)
        for key in document:
            if key not in _TABLES and key not in self.kinds.sections:
                self._add(key, unknown_key(key, [*_TABLES, *self.kinds.sections]))
        run = self._table(document, "run", Run)
        market = self._market(document)
        venues = self._rows(document, "venues", Venue)
        instruments = self._rows(document, "instruments", Instrument)
        accounts = self._rows(document, "accounts", AccountConfig)
        self._declare("venue", "id", venues, document.get("venues"), lambda row: row.raw["id"])
        self._declare("instrument", "symbol", instruments, document.get("instruments"), self._instrument_id)
        self._declare("account", "id", accounts, document.get("accounts"), lambda row: row.raw["id"])
        strategies = self._strategies(document)
        for name, cls in self.kinds.sections.items():
            self.sections[name] = self._table(document, name, cls).value
        self.run, self.log = run.value, self._table(document, "log", Log).value
        self.market = market.value
        has_end = self.run is None or not run.is_right("run.duration") or self.run.duration_ns is not None
        if isinstance(self.market, Synthetic) and not has_end:
            self._add("run.duration", "missing: a synthetic market needs an end")
        self._check_files(document.get("market"), market)
        self._check_stores(market, instruments)
        for mistakes in (bar_mistakes, stored_mistakes):
            for path, why in mistakes(market, [row.read for row in venues], self.sections):
                self._add(path, why)
        for row in venues:
            self._references += symbol_references(row.raw, row.path)
        self._check_accounts(accounts, venues, instruments)
        self._check_simulations(venues, instruments)
        self._check_endpoints(venues)
        self._check_references()
        self._check_instruments(instruments)
        self._check_coverage(document.get("market"), market)
        self._check_reach(instruments, accounts)
        self.venues = {one.read.value.id: one.read.value for one in venues if one.read.value is not None}
        self.instruments = {one.read.value.id: one.read.value for one in instruments if one.read.value is not None}
        self.accounts = {one.read.value.id: one.read.value for one in accounts if one.read.value is not None}
        self._make_strategies(strategies)

    def _add(self, path: str, why: str) -> None:
        if all(error.path != path for error in self.errors):
            self.errors.append(ConfigError(path, why))

    # Tables

    def _table(self, document: dict[str, Any], name: str, cls: type[_T]) -> Read[_T]:
        table = document.get(name, {})
        self._references += references(table, cls, name)
        return read(table, cls, name, self.errors)

    def _rows(self, document: dict[str, Any], name: str, cls: type[_T]) -> list[Row[_T]]:
        rows = document.get(name)
        if name not in document:
            self._add(name, f"missing: write at least one [[{name}]]")
        elif not isinstance(rows, list):
            self._add(name, f"expected an array of tables: write [[{name}]]")
        elif not rows:
            self._add(name, "must hold at least one")
        return [self._row(f"{name}[{index}]", row, cls) for index, row in _numbered(rows)]

    def _row(self, path: str, raw: Any, cls: type[_T]) -> Row[_T]:
        self._references += references(raw, cls, path)
        return Row(path, raw if isinstance(raw, dict) else {}, read(raw, cls, path, self.errors))

    def _market(self, document: dict[str, Any]) -> Read[Any]:
        """Read the market; one whose kind is wrong is read as what it looks like."""
        nothing: Read[Any] = Read(None, frozenset({"market"}))
        if "market" not in document:
            self._add("market", "missing")
            return nothing
        table = document["market"]
        if not isinstance(table, dict):
            self._add("market", f"expected a table, got {shown(table)}")
            return nothing
        kind = table.get("kind")
        if not isinstance(kind, str) or kind not in _MARKETS:
            why = f"{shown(kind)} is not one of {', '.join(_MARKETS)}{did_you_mean(str(kind), list(_MARKETS))}"
            self._add("market.kind", "missing" if kind is None else why)
            kind = next((meant for key, meant in _TOLD_BY.items() if key in table), "synthetic")
        rest = {key: value for key, value in table.items() if key != "kind"}
        cls = cast(type[Any], _MARKETS[kind])
        self._references += references(rest, cls, "market")
        return read(rest, cls, "market", self.errors)

    def _strategies(self, document: dict[str, Any]) -> list[tuple[Row[StrategyHead], Strategy | None, list[Reference]]]:
        rows = document.get("strategies", [])
        if not isinstance(rows, list):
            self._add("strategies", "expected an array of tables: write [[strategies]]")
        made = [self._strategy(f"strategies[{index}]", row) for index, row in _numbered(rows)]
        self._declare("strategy", "id", [row for row, _, _ in made], rows, lambda row: row.raw["id"])
        return made

    def _strategy(self, path: str, raw: Any) -> tuple[Row[StrategyHead], Strategy | None, list[Reference]]:
        head = self._row(path, {**raw, "params": {}} if isinstance(raw, dict) else raw, StrategyHead)
        kind = head.raw.get("kind")
        if head.is_right("id") and head.raw["id"] in self.kinds.taken:
            self._add(f"{path}.id", f"{head.raw['id']!r} is the name of an actor: choose another")
        if not isinstance(kind, str) or not kind:
            return head, None, []
        try:
            cls = self.kinds.strategy(kind, self.strategy_folders)
        except ValueError as error:
            self._add(f"{path}.kind", str(error))
            return head, None, []
        here, table = f"{path}.params", raw.get("params", {})
        named = list(references(table, cls.Config, here))
        self._references += named
        params = read(table, cls.Config, here, self.errors)
        if params.wrong or not head.is_right("id") or head.read.value is None:
            return head, None, named
        return head, Strategy(head.read.value.id, kind, params.value, cls), named

    def _make_strategies(self, made: list[tuple[Row[StrategyHead], Strategy | None, list[Reference]]]) -> None:
        """Make each strategy once, for its class may refuse what its fields alone do not show."""
        for row, strategy, named in made:
            if strategy is None:
                continue
            self.strategies[strategy.id] = strategy
            names = {one.name for one in named if one.noun == "instrument"}
            if not names <= self.instruments.keys() or names & self._wrong_instruments:
                continue
            try:
                strategy.cls(self.instruments, strategy.params, name=strategy.id)
            except Exception as error:  # noqa: BLE001 - a user's class may raise anything
                self._add(row.path, f"{strategy.kind} cannot be made of these params: {said(error)}")

    # Names

    def _declare(
        self, noun: str, key: str, rows: list[Row[Any]], written: Any, id_of: Callable[[Row[Any]], str]
    ) -> None:
        """Note the ids of a table, and how many of its rows have none that can be used."""
        ids: dict[str, str] = {}
        self._ids[noun] = ids
        self._nameless[noun] = 0 if isinstance(written, list) and written else _ALL
        for row in rows:
            if not row.is_right(key) or (noun == "instrument" and not self._has_venue(row)):
                self._nameless[noun] += 1
                continue
            own = id_of(row)
            if own in ids:
                self._add(f"{row.path}.{key}", f"{own!r} is {ids[own]} already")
            ids.setdefault(own, row.path)

    def _has_venue(self, row: Row[Any]) -> bool:
        # One that is named by no venue for the venue's own mistake is as good as there.
        if not row.is_right("venue"):
            return False
        venue = row.raw["venue"]
        unknown = excused(
            [one for one in self._references if one.noun == "venue"], self._ids["venue"], self._nameless["venue"]
        )
        return venue in self._ids["venue"] or venue in unknown

    def _instrument_id(self, row: Row[Any]) -> str:
        return f"{row.raw['venue']}:{row.raw['symbol']}"

    def _check_references(self) -> None:
        for noun in sorted({one.noun for one in self._references}):
            ids = self._ids.get(noun, {})
            found = [one for one in self._references if one.noun == noun]
            self._excused[noun] = excused(found, ids, self._nameless.get(noun, 0))
            for one in found:
                if one.name and one.name not in ids and one.name not in self._excused[noun]:
                    self._add(one.path, f"no {noun} {one.name!r} is declared{did_you_mean(one.name, list(ids))}")

    # Between tables

    def _check_instruments(self, rows: list[Row[Instrument]]) -> None:
        for row in rows:
            before = len(self.errors)
            if row.read.value is not None:
                self._check_instrument(row, row.read.value)
            if row.read.wrong or len(self.errors) > before:
                self._wrong_instruments.add(self._instrument_id(row) if row.is_right("venue", "symbol") else "")

    def _check_instrument(self, row: Row[Instrument], one: Instrument) -> None:
        path = row.path
        if row.is_right("kind", "expiry"):
            if one.kind in _EXPIRING and one.expiry_ns is None:
                self._add(f"{path}.expiry", f"missing: a {one.kind} instrument expires")
            if one.kind not in _EXPIRING and one.expiry_ns is not None:
                self._add(f"{path}.expiry", f"a {one.kind} instrument never expires")
        if row.is_right("max_leverage") and one.max_leverage < 1:
            self._add(f"{path}.max_leverage", "must be at least 1")
        if row.is_right("max_qty", "min_qty", "lot_size") and one.max_qty is not None:
            least = max(one.min_qty, one.lot_size)
            if one.max_qty < least:
                self._add(f"{path}.max_qty", f"is below the smallest order, {least}")
        if one.inverse:
            self._add(f"{path}.inverse", "inverse contracts are not simulated yet")
        if not row.is_right("kind") or one.kind is InstrumentKind.SPOT:
            return
        if one.kind is InstrumentKind.FUTURE:
            for name in ("initial_margin", "maintenance_margin"):
                if row.is_right(name) and getattr(one, name) is None:
                    self._add(f"{path}.{name}", "missing: a future's margin is money per contract")
        elif row.read.value is not None and f"{path}.brackets" not in row.read.wrong:
            self._check_brackets(row, one)

    def _check_brackets(self, row: Row[Instrument], one: Instrument) -> None:
        rows = list(one.brackets)
        for index, after in enumerate(rows[1:]):
            if f"{row.path}.brackets[{index}].cap" in row.read.wrong:
                rows[index] = evolve(rows[index], cap=after.floor)
        for index, key, why in bracket_mistakes(tuple(rows)):
            here = f"{row.path}.brackets[{index}].{key}" if key else f"{row.path}.brackets"
            if here not in row.read.wrong and f"{row.path}.brackets[{index}]" not in row.read.wrong:
                self._add(here, why)

    def _check_coverage(self, table: Any, market: Read[Any]) -> None:
        """Every instrument is in the market. What the market means but names wrongly has been told there."""
        if market.value is None or not market.wrong.isdisjoint(_ROWS) or self._unread_stores:
            return
        if isinstance(market.value, Live):
            return
        declared = self._ids["instrument"]
        named = [one for one in self._references if one.noun == "instrument" and one.path.startswith("market.")]
        unknown = [one.name for one in named if one.name not in declared | dict.fromkeys(self._excused["instrument"])]
        uncovered = [one for one in declared if one not in {each.name for each in named}]
        for name in unknown:
            for meant in get_close_matches(name, uncovered, n=1, cutoff=0.0):
                uncovered.remove(meant)
        for _ in range(min(len(uncovered), _nameless_markets(table, market, self._ids["venue"]))):
            uncovered.pop(0)
        for name in uncovered:
            self._add(declared[name], f"the market does not cover {name}")

    def _check_reach(self, instruments: list[Row[Instrument]], accounts: list[Row[AccountConfig]]) -> None:
        """Every venue with an instrument has an account: books are asked for in an account's name."""
        at = {row.raw["venue"] for row in accounts if row.is_right("venue")}
        unknown = len(accounts) - sum(
            row.is_right("venue") and row.raw["venue"] in self._ids["venue"] for row in accounts
        )
        if self._nameless["account"] >= _ALL:
            return
        asked: dict[str, str] = {}
        for row in instruments:
            if row.is_right("venue") and row.raw["venue"] in self._ids["venue"]:
                asked.setdefault(row.raw["venue"], row.path)
        for venue in [one for one in asked if one not in at][unknown:]:
            self._add(f"{asked[venue]}.venue", f"no account is at {venue!r}: nobody can ask for its books")

    def _check_simulations(self, venues: list[Row[Venue]], instruments: list[Row[Instrument]]) -> None:
        for row in venues:
            one = row.read.value
            if one is None or not row.is_right("id", "rules"):
                continue
            here = f"{row.path}.simulation"
            for key, symbol in one.simulation.symbols():
                self._references.append(Reference("instrument", f"{one.id}:{symbol}", f"{here}.{key}"))
            specs = [each.read.value for each in instruments if each.read.value is not None]
            own = {spec.symbol: spec for spec in specs if spec.venue == one.id}
            for key, why in one.simulation.mistakes(one.rules, own):
                self._add(f"{here}.{key}", why)

    def _check_endpoints(self, venues: list[Row[Venue]]) -> None:
        known = [
            (row.path, row.raw["rules"], row.read.value.endpoints)
            for row in venues
            if row.read.value is not None and row.is_right("rules", "endpoints")
        ]
        for path, why in endpoint_mistakes(known):
            self._add(path, why)
        if isinstance(self.market, Live) and known and all(endpoints is None for _, _, endpoints in known):
            self._add("market.kind", "a live market needs venues with endpoints")

    def _check_accounts(
        self, accounts: list[Row[AccountConfig]], venues: list[Row[Venue]], instruments: list[Row[Instrument]]
    ) -> None:
        rules = {row.raw["id"]: row.raw["rules"] for row in venues if row.is_right("id", "rules")}
        specs = {self._instrument_id(row): row for row in instruments if row.is_right("venue", "symbol")}
        for row in accounts:
            one = row.read.value
            if one is None or not row.is_right("venue"):
                continue
            is_spot = rules.get(one.venue) == _SPOT_RULES
            if one.venue in rules and row.is_right("margin_mode") and is_spot != (one.margin_mode is MarginMode.CASH):
                self._add(
                    f"{row.path}.margin_mode", f"{one.margin_mode} is not what an account at {one.venue} can have"
                )
            leverage = row.raw.get("leverage")
            if one.venue not in self._ids["venue"] or not isinstance(leverage, dict):
                continue
            for symbol in leverage:
                here, name = f"{row.path}.leverage.{symbol}", f"{one.venue}:{symbol}"
                self._references.append(Reference("instrument", name, here))
                spec, times = specs.get(name), one.leverage.get(symbol)
                if spec is None or spec.read.value is None or times is None or not spec.is_right("max_leverage"):
                    continue
                most = spec.read.value.max_leverage
                if most >= 1 and not 1 <= times <= most:
                    self._add(here, f"must be between 1 and {most}, got {times}")

    # Files

    def _check_files(self, table: Any, market: Read[Any]) -> None:
        if isinstance(market.value, Bars) and "market.series" not in market.wrong:
            for index, one in enumerate(market.value.series):
                for position, name in enumerate(one.files):
                    here = f"market.series[{index}].files[{position}]"
                    if market.is_right(here):
                        # Several series may be in one zip, a file of one series is there once.
                        self._check_file(name, here, is_twice=name in one.files[:position])
        if isinstance(market.value, Bars) and "market.funding" not in market.wrong:
            for index, paid in enumerate(market.value.funding):
                if market.is_right(f"market.funding[{index}].file"):
                    self._check_file(paid.file, f"market.funding[{index}].file", is_twice=paid.file in self.paths)
        if not isinstance(market.value, Recorded) or "market.recordings" in market.wrong:
            return
        for index, raw in _numbered(table.get("recordings")):
            here, row = f"market.recordings[{index}]", market.value.recordings[index]
            if market.is_right(f"{here}.file"):
                self._check_file(row.file, f"{here}.file", is_twice=row.file in self.paths)
            if market.is_right(f"{here}.venue") and row.venue in self._ids["venue"]:
                for position, symbol in _numbered(raw.get("symbols")):
                    if isinstance(symbol, str):
                        name = f"{row.venue}:{symbol}"
                        self._references.append(Reference("instrument", name, f"{here}.symbols[{position}]"))

    def _check_stores(self, market: Read[Any], instruments: list[Row[Instrument]]) -> None:
        if not isinstance(market.value, Stored) or "market.stores" in market.wrong:
            return
        checks = StoreChecks(
            {
                self._instrument_id(row): row.read.value
                for row in instruments
                if row.read.value is not None and row.is_right("venue", "symbol", *SAME)
            }
        )
        for index, one in enumerate(market.value.stores):
            here = f"market.stores[{index}]"
            if not market.is_right(f"{here}.file"):
                continue
            self._check_file(one.file, f"{here}.file", is_twice=False)
            path = self.paths.get(one.file)
            is_known = one.venue is None or (market.is_right(f"{here}.venue") and one.venue in self._ids["venue"])
            if path is None or not path.is_file() or not is_known:
                self._unread_stores += 1
                continue
            for why in checks.take(path, one.venue):
                self._add(f"{here}.file", why)
            self._unread_stores += not checks.held
            self._references += [Reference("instrument", name, f"{here}.file") for name in checks.held]

    def _check_file(self, name: str, here: str, *, is_twice: bool) -> None:
        if is_twice:
            self._add(here, f"{name!r} is listed twice")
        path = None if self.folder is None else self._resolve(self.folder, name, here)
        if path is not None:
            if not path.is_file():
                self._add(here, f"there is no file {name!r}")
            self.paths[name] = path

    def _resolve(self, folder: Path, name: str, here: str) -> Path | None:
        reference = _ENVIRONMENT.fullmatch(name)
        if reference is None:
            return folder / name
        named = os.environ.get(reference[1])
        if not named:
            self._add(here, f"the environment variable {reference[1]} is not set")
            return None
        return Path(named) / reference[2]


def said(error: BaseException) -> str:
    """Return an exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _numbered(rows: Any) -> Iterator[tuple[int, Any]]:
    return enumerate(rows if isinstance(rows, list) else ())


def _nameless_markets(table: Any, market: Read[Any], venues: Mapping[str, str]) -> int:
    """Return how many instruments the market may mean where it does not say so in a way that can be read."""
    for kind, key in ((Synthetic, "instruments"), (Bars, "series")):
        if isinstance(market.value, kind):
            rows = range(len(getattr(market.value, key)))
            return sum(not market.is_right(f"market.{key}[{index}].instrument") for index in rows)
    count = 0
    for index, raw in _numbered(table.get("recordings")):
        here = f"market.recordings[{index}]"
        symbols = raw.get("symbols") if isinstance(raw, dict) else None
        if not isinstance(symbols, list) or not symbols:
            return _ALL
        if not market.is_right(f"{here}.venue") or raw["venue"] not in venues:
            count += len(symbols)
        else:
            count += sum(not isinstance(symbol, str) or not symbol for symbol in symbols)
    return count
