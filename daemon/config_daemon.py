"""How a live process is set up around its cell."""

from attrs import field, frozen
from attrs.validators import in_, optional

from actors.config_checks import positive


def _is_port(_: object, attribute: object, value: int) -> None:
    if not 0 <= value <= 65_535:
        raise ValueError(f"a port is 0 (any free one) to 65535, got {value}")


@frozen
class DaemonConfig:
    """Settings of `basisd run` and `basisd paper`; backtests do not use them.

    Metrics are served on loopback at `metrics_port`, those of the gateways to venues that are out there at
    `gateway_metrics_port` (the desk's) and `guard_gateway_metrics_port`, where these are given. A snapshot of the cell
    is written each `snapshot_ns`, one of the simulated venues each `venue_snapshot_ns`, so that a restart replays no
    more than that. The stop may take `stop_baskets_ns` for what is being traded and `stop_orders_ns` for cancels to be
    confirmed; systemd's TimeoutStopSec must be longer than both together. With `approved_build` and `approved_config`
    (as `basisctl version` and `basisd check` tell them) nothing else is armed; neither changes the configuration's
    hash.
    """

    metrics_port: int = field(default=9464, validator=_is_port)
    gateway_metrics_port: int | None = field(default=None, validator=optional(_is_port))
    guard_gateway_metrics_port: int | None = field(default=None, validator=optional(_is_port))
    snapshot_ns: int = field(default=60_000_000_000, validator=positive)
    venue_snapshot_ns: int = field(default=15_000_000_000, validator=positive)
    stop_baskets_ns: int = field(default=12_000_000_000, validator=positive)
    stop_orders_ns: int = field(default=8_000_000_000, validator=positive)
    log_level: str = field(default="info", validator=in_(("debug", "info", "warning", "error")))
    approved_build: str | None = field(default=None, eq=False)
    approved_config: str | None = field(default=None, eq=False)

    def __attrs_post_init__(self) -> None:
        ports = [self.metrics_port, self.gateway_metrics_port, self.guard_gateway_metrics_port]
        taken = [port for port in ports if port]
        if len(set(taken)) < len(taken):
            raise ValueError("gateway_metrics_port: each process's metrics have a port of their own")
        if bool(self.approved_build) != bool(self.approved_config):
            raise ValueError("approved_config: build and configuration are approved together")

    def unapproved(self, build: str, config_sha256: str) -> str:
        """Return why a build with a configuration must not be armed, an empty string when it may."""
        if not self.approved_build:
            return ""
        pairs = (("build", build, self.approved_build), ("configuration", config_sha256, self.approved_config))
        return "; ".join(
            f"{name} {found} is not the approved {wanted}" for name, found, wanted in pairs if found != wanted
        )
