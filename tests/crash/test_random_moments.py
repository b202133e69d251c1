"""kill -9 of the trading process at random moments: it comes back, knows what it holds, and sends nothing twice.

The venue process is the truth. BASISD_CRASHES says how often (20 without it).
"""

import os
import random
import time
from pathlib import Path

from desk_configs import BUSY, write_config
from desk_truth import arm_again, check_agreement, check_baskets, freeze, sent_by_the_desk
from live_daemon import running

CRASHES = int(os.environ.get("BASISD_CRASHES", "20"))


def test_a_desk_that_is_killed_over_and_over_loses_and_doubles_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path / "desk.toml", BUSY)
    moments = random.Random(7)
    with running(config, tmp_path / "state", "--speed", "5") as daemon:
        daemon.wait_ready()
        probe = daemon.probe()
        for crash in range(CRASHES):
            # The moment is drawn: it is what the test is about.
            time.sleep(moments.uniform(0.0, 0.8))
            daemon.kill()
            daemon.start()
            status = daemon.wait_ready()
            assert int(status["run"]) == crash + 2
            arm_again(daemon, status)
        freeze(daemon)
        check_agreement(daemon, probe)
        check_baskets(daemon)
        sent = sent_by_the_desk(daemon)
        assert len(sent) > CRASHES
        assert max(sent.values()) == 1, sent.most_common(3)
        assert daemon.terminate() == 0, daemon.words()
