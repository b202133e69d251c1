"""Configurations for tests of running desks: the demo's market, and strategies that always have something to do."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

BUSY = {
    "entry_bps": '"-100"',
    "exit_bps": '"-100"',
    "max_hold": '"3s"',
    "max_baskets": "1000000",
    "cooldown": '"1s"',
}
"""Opens a basket whenever it may and closes it three seconds later, whatever that costs."""

HOLDING = {**BUSY, "max_hold": '"24h"', "exit_bps": '"-10000"', "max_baskets": "1"}
"""Opens one basket at once and keeps it."""

_LIMITS = """
[kill_switch]
capital = "10000000"
consecutive_losses = 1000000
daily_loss = "1000000"
daily_loss_hard = "2000000"

[daemon]
snapshot = "2s"
"""


def write_config(path: Path, changes: dict[str, str], more: str = "") -> Path:
    """Write the demo's configuration with keys replaced and tables added; return the path."""
    text = (ROOT / "configs" / "demo.toml").read_text(encoding="utf-8")
    for key, value in changes.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    path.write_text(text + _LIMITS + more, encoding="utf-8")
    return path
