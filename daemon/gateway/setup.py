"""What a gateway process reads of a configuration: venues with endpoints, what is traded there, and the keys for it."""

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from daemon.config_account import AccountConfig
from daemon.config_daemon import DaemonConfig
from daemon.config_endpoints import GATEWAYS, Endpoints
from daemon.config_parts import SetupError, outside, read_document, rows, run_name
from daemon.config_structure import ConfigError, structure
from daemon.gateway.keys import Keys, read_keys
from daemon.secrets import CredentialError, load
from venues.model.instrument import Instrument


@frozen
class VenueSetup:
    """One venue: which market of which exchange (`usdm`, `spot`), where it answers, what is traded there by whom."""

    id: str
    market: str
    endpoints: Endpoints
    instruments: dict[str, Instrument]
    accounts: dict[str, AccountConfig]

    @property
    def is_spot(self) -> bool:
        return self.market == GATEWAYS["binance_spot"]


@frozen
class GatewaySetup:
    """The run's name, its venues by id, how talkative the log is, and where metrics are served, by side."""

    run: str
    venues: dict[str, VenueSetup]
    log_level: str
    metrics_ports: Mapping[str, int | None] = field(factory=dict)

    def venue_of(self, account: str) -> str | None:
        """Return the venue of an account, None for one that is nowhere."""
        return next((one.id for one in self.venues.values() if account in one.accounts), None)


def read_setup(path: Path) -> GatewaySetup:
    """Read a gateway's part of a configuration. Raises SetupError."""
    document = read_document(path)
    errors: list[ConfigError] = []
    venues = outside(document, errors)
    instruments = rows(document, "instruments", Instrument, errors)
    accounts = rows(document, "accounts", AccountConfig, errors)
    daemon = structure(document.get("daemon", {}), DaemonConfig, "daemon", []) or DaemonConfig()
    if not venues and not errors:
        errors.append(ConfigError("venues", "none has endpoints: there is nothing to reach"))
    errors += [
        ConfigError(f"venues {name}", f"there is no gateway for {one.rules or 'no rules'}")
        for name, one in venues.items()
        if one.rules not in GATEWAYS
    ]
    if len({(one.endpoints.speed, one.endpoints.start_ns) for one in venues.values()}) > 1:
        errors.append(ConfigError("venues", "endpoints: speed and start are the same for all venues"))
    if errors:
        raise SetupError("\n".join(f"{path}: {error}" for error in errors))
    made = {
        name: VenueSetup(
            name,
            GATEWAYS[one.rules],
            one.endpoints,
            {each.id: each for each in instruments if each.venue == name},
            {each.id: each for each in accounts if each.venue == name},
        )
        for name, one in venues.items()
    }
    ports = {"desk": daemon.gateway_metrics_port, "guard": daemon.guard_gateway_metrics_port}
    return GatewaySetup(run_name(document), made, daemon.log_level, ports)


def load_keys(setup: GatewaySetup, folder: Path) -> dict[str, Keys]:
    """Return the keys of every account, by account. Raises SetupError with all that are not to be had."""
    keys: dict[str, Keys] = {}
    errors: list[str] = []
    for venue in setup.venues.values():
        for account in venue.accounts.values():
            if account.credentials is None:
                errors.append(f"account {account.id}: credentials: missing: {venue.id} is out there")
                continue
            name = account.credentials.credential
            try:
                keys[account.id] = read_keys(load(name, folder), f"credential {name}")
            except CredentialError as error:
                errors.append(f"account {account.id}: {error}")
    if errors:
        raise SetupError("\n".join(errors))
    return keys
