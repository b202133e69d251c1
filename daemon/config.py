"""Whether a configuration file describes a run, and which."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs

from daemon.config_includes import expanded
from daemon.config_loading import Kinds, Loading
from daemon.config_schema import RunConfig
from daemon.config_structure import ConfigError, structure
from venues.model.money import to_text

__all__ = ["ConfigError", "ConfigErrors", "Kinds", "RunConfig", "load", "parse", "structure"]


class ConfigErrors(ValueError):  # noqa: N818 - many of the type ConfigError
    """Every mistake found in one configuration, one per line."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


def load(path: Path | str, kinds: Kinds) -> RunConfig:
    """Read and check a configuration. Raises ConfigErrors with every mistake, each naming file and key path.

    Recordings are looked for beside the configuration file, or below `$NAME/` in the folder the environment names.
    """
    return parse(read_text(path), path, kinds)


def read_text(path: Path | str) -> str:
    """Return what the file says, with what it includes. Raises ConfigErrors when that cannot be read."""
    try:
        return expanded(Path(path).read_text(encoding="utf-8"), Path(path).parent)
    except ConfigError as error:
        raise ConfigErrors((ConfigError(f"{path}: {error.path}", error.why),)) from error
    except OSError as error:
        raise ConfigErrors((ConfigError(str(path), f"cannot be read: {error.strerror or error}"),)) from error
    except UnicodeDecodeError as error:
        raise ConfigErrors((ConfigError(str(path), f"is not UTF-8 text: byte {error.start}"),)) from error


def parse(
    text: str, path: Path | str, kinds: Kinds, *, needs_files: bool = True, folders: Sequence[Path] = ()
) -> RunConfig:
    """Check a configuration given as text; `path` is its name in mistakes and where its recordings lie beside.

    A user's strategies are looked for in `folders`, beside the file and in the working directory, in this order.
    Without `needs_files` no recording is looked for: a replay takes its market from the log.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigErrors((ConfigError(str(path), f"is not TOML: {error}"),)) from error
    beside = Path(path).parent
    loading = Loading(kinds, beside if needs_files else None, (*folders, beside, Path.cwd()))
    loading.read(document)
    run, market, log = loading.run, loading.market, loading.log
    if loading.errors or run is None or market is None or log is None:
        named = tuple(ConfigError(f"{path}: {error.path}", error.why) for error in loading.errors)
        raise ConfigErrors(named) from None
    config = RunConfig(
        run=run,
        market=market,
        venues=loading.venues,
        instruments=loading.instruments,
        accounts=loading.accounts,
        strategies=loading.strategies,
        sections=loading.sections,
        log=log,
        paths=loading.paths,
        text=text,
        sha256="",
    )
    return attrs.evolve(config, sha256=_digest(config))


def _digest(config: RunConfig) -> str:
    """Return the SHA-256 of everything the run depends on, as canonical JSON."""
    plain = {one.name: _plain(getattr(config, one.name)) for one in attrs.fields(RunConfig)}
    for name in ("paths", "text", "sha256"):
        del plain[name]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    kind: Any = type(value)
    if attrs.has(kind):
        return {one.name: _plain(getattr(value, one.name)) for one in attrs.fields(kind) if one.eq}
    if isinstance(value, Decimal):
        return to_text(value)
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
