"""What `basisd fetch-rules` does: a venue's instruments and leverage brackets of today, in a file to be included."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import trio
from attrs import frozen

from daemon.config_account import AccountConfig
from daemon.config_endpoints import GATEWAYS, rest_mistake
from daemon.config_parts import SetupError, outside, read_document
from daemon.config_structure import ConfigError, structure
from daemon.exits import FAILED, ExitError
from daemon.gateway.keys import read_keys
from daemon.rules.fetch import Fetched, FetchError, fetch
from daemon.rules.file import path_of, shown, write_rules
from daemon.secrets import CredentialError, harden, load, read
from venues.binance.settings import AccountKeys
from venues.model.instrument import InstrumentKind
from venues.model.money import desk_arithmetic


@frozen
class _Source:
    """One venue to ask: `symbols` None means all that are traded."""

    venue: str
    rules: str
    rest: str
    symbols: frozenset[str] | None
    keys: AccountKeys | None


@desk_arithmetic()
def main(arguments: Namespace) -> int:
    """Ask every venue and write a file for each; 1 when one does not answer, or a symbol cannot be used."""
    harden()
    try:
        sources = list(_configured(arguments) if arguments.config else _named(arguments))
    except (SetupError, CredentialError) as error:
        raise ExitError(*str(error).splitlines()) from error
    status = 0
    for source in sources:
        try:
            is_spot = GATEWAYS[source.rules] == "spot"
            found = trio.run(_fetch, source, is_spot)
        except FetchError as error:
            raise ExitError(f"{source.venue}: {error}", status=FAILED) from error
        path = path_of(Path(arguments.out), source.venue, found.ts)
        write_rules(path, found.instruments, list(_heading(source, found)))
        with_brackets = sum(bool(one.brackets) for one in found.instruments)
        print(f"{path}: {len(found.instruments)} instruments, {with_brackets} with leverage brackets")
        for name, why in found.refused.items():
            print(f"basisd: {source.venue}:{name}: {why}", file=sys.stderr)
            # Of all symbols some always are beyond what the desk can trade; one that was asked for is missed.
            status = status or (FAILED if source.symbols is not None else 0)
        if found.without_brackets:
            print(f"basisd: {source.venue}: {found.without_brackets}", file=sys.stderr)
    return status


async def _fetch(source: _Source, is_spot: bool) -> Fetched:
    return await fetch(source.rest, source.venue, is_spot=is_spot, keys=source.keys, symbols=source.symbols)


def _heading(source: _Source, found: Fetched) -> Iterator[str]:
    yield f"Instruments of {source.venue} as {source.rest} told them at {shown(found.ts)}; from basisd fetch-rules."
    yield "Leverage brackets are the venue's for this day; it changes them, for positions that are held as well."
    if found.without_brackets:
        yield f"Without leverage brackets: {found.without_brackets}."
    for name, why in found.refused.items():
        yield f"Left out: {name}: {why}"
    for name, filters in found.unread.items():
        yield f"Filters of {name} that are not read: {', '.join(filters)}"
    if any(one.kind is InstrumentKind.QUARTERLY for one in found.instruments):
        yield "Quarterly contracts have brackets of their own, and are gone after their expiry."


def _configured(arguments: Namespace) -> Iterator[_Source]:
    """Yield the venues of a configuration that have endpoints; its instruments may be missing as yet."""
    path = Path(arguments.config)
    document = read_document(path)
    errors: list[ConfigError] = []
    venues = outside(document, errors)
    wrong = [f"{path}: {error}" for error in errors]
    wrong += [
        f"{path}: {one.rules} of {name}: no rules can be fetched"
        for name, one in venues.items()
        if one.rules not in GATEWAYS
    ]
    if not venues and not wrong:
        wrong.append(f"{path}: no venue has endpoints")
    if wrong:
        raise SetupError("\n".join(wrong))
    for name, one in venues.items():
        rows = document.get("instruments")
        named = frozenset(
            str(row.get("symbol"))
            for row in (rows if isinstance(rows, list) else ())
            if isinstance(row, dict) and row.get("venue") == name
        )
        yield _Source(
            name, one.rules, one.endpoints.rest, _symbols(arguments) or named or None, _keys(document, name, path)
        )


def _keys(document: dict[str, object], venue: str, path: Path) -> AccountKeys | None:
    """Return the keys of the first account at `venue` that names a credential. Raises CredentialError."""
    rows = document.get("accounts")
    for index, row in enumerate(rows if isinstance(rows, list) else ()):
        account = structure(row, AccountConfig, f"accounts[{index}]", [])
        if account is not None and account.venue == venue and account.credentials is not None:
            name = account.credentials.credential
            keys = read_keys(load(name, path.parent / "credentials"), f"credential {name}")
            return AccountKeys(keys.api_key.reveal(), keys.signer)
    return None


def _named(arguments: Namespace) -> Iterator[_Source]:
    if not arguments.rest:
        raise ExitError("name a configuration, or an address with --rest")
    why = rest_mistake(arguments.rest)
    if why:
        raise ExitError(f"--rest: {why}")
    keys = None
    if arguments.credential:
        found = read_keys(read(Path(arguments.credential)), arguments.credential)
        keys = AccountKeys(found.api_key.reveal(), found.signer)
    yield _Source(arguments.venue or arguments.rules, arguments.rules, arguments.rest, _symbols(arguments), keys)


def _symbols(arguments: Namespace) -> frozenset[str] | None:
    names = frozenset(one.strip().upper() for one in (arguments.symbols or "").split(",") if one.strip())
    return names or None
