"""SIGTERM: orders are cancelled, baskets brought to an end, and the process leaves with 0 within its budget.

BASISD_STOPS says how often (10 without it).
"""

import json
import os
import random
import time
from decimal import Decimal
from pathlib import Path

from desk_configs import write_resting
from live_daemon import attached, eventually

STOPS = int(os.environ.get("BASISD_STOPS", "10"))
PERP = "binance_usdm:BTCUSDT"


def test_a_stop_leaves_no_order_and_no_half_basket(tmp_path: Path) -> None:
    config = write_resting(tmp_path)
    moments = random.Random(11)
    longest = 0.0
    with attached(config, tmp_path / "state") as daemon:
        probe = daemon.probe()
        for number in range(1, STOPS + 1):
            daemon.start()
            daemon.wait_ready()
            eventually("orders rest", lambda: len(probe.open_orders("futures")) == 3)
            # The moment within a basket's life is drawn.
            time.sleep(moments.uniform(0.0, 0.5))
            began = time.monotonic()
            assert daemon.terminate() == 0, daemon.words()
            longest = max(longest, time.monotonic() - began)
            assert not probe.open_orders("futures")
            assert not probe.open_orders("spot")
            coins = probe.balances("spot").get("BTC", Decimal(0))
            assert probe.positions("futures").get(PERP, Decimal(0)) == -coins
            summary = json.loads((daemon.paths.runs / f"{number:06d}" / "summary.json").read_text())
            assert summary["halt"] is None
            assert summary["baskets"]["broken"] == 0
    print(f"{STOPS} stops, the longest took {longest:.2f} s")
