"""A backtest across funding instants whose reports are lost, doubled, late or wrong: the book ends as the venue's."""

from collections import Counter
from random import Random

import pytest

from actors.funding_tracker import FundingTracker
from actors.ledger import Ledger
from daemon.torture.desk import VENUES, DeskSettings, instrument_names
from daemon.torture.run import Torture
from daemon.torture.script import SECOND_NS, START_NS, Script, draw
from daemon.torture.wire import FaultyVenue
from venues.port import FundingSettled, IncomeKind

SECONDS = 120
FUNDING = """
[funding]
grace = "2s"
ambiguous = "0s"
backoff = "1s"
proof = "20s"
"""


class ForgetfulVenue(FaultyVenue):
    """Reports of funding go missing, come twice, late, or with another amount, by the script's seed."""

    def __init__(self, inner, script, start_ns, counts):
        super().__init__(inner, script, start_ns, counts)
        self._forgetting = Random(f"{script.seed}/{inner.name}")

    def _pass(self, now, reports):
        through = []
        for report in super()._pass(now, reports):
            if not isinstance(report, FundingSettled):
                through.append(report)
                continue
            fault = self._forgetting.choice(["told", "lost", "doubled", "late", "wrong", "wrong first"])
            self.counts[fault] += 1
            if fault in ("wrong", "wrong first"):
                through.append(_doubled(report))
            if fault in ("told", "doubled", "wrong first"):
                through.append(report)
            if fault in ("doubled", "late"):
                self._hold(now + self._forgetting.randrange(1, 4_000_000_000), report)
        return through


def _doubled(one):
    what = (one.ts, one.account, one.instrument, one.rate, one.mark, one.qty * 2, one.amount * 2, one.asset)
    return FundingSettled(*what, one.position_side)


seen: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(1, 9))
def test_what_the_venue_paid_is_booked_to_the_digit(seed, tmp_path):
    # Every second run also breaks connections, answers and the desk's host.
    settings = DeskSettings(
        seed, SECONDS, ("BTC",), futures="30000", capital="10000000", hold_ms=3_000, cooldown_ms=500, losses=1_000,
        qty="0.1", more=FUNDING,
    )  # fmt: skip
    script = Script(seed, SECONDS * SECOND_NS)
    if seed % 2 == 0:
        script = draw(seed, SECONDS * SECOND_NS, VENUES, instrument_names(("BTC",)))
    run = Torture(
        tmp_path,
        settings,
        script,
        has_company=False,
        is_armed=True,
        funding_ns=10 * SECOND_NS,
        venue=ForgetfulVenue,
    )
    run.run()
    seen.update(run.counts)
    run.check_end()
    tracker = run.cell.dispatcher.actors["funding_tracker"]
    income = run.inner["perp_venue"].state.accounts["futures"].income
    paid = [one for one in income if one.kind is IncomeKind.FUNDING]
    assert len(paid) >= 5
    assert sum(one.paid for one in tracker.state.perpetuals.values()) == sum(one.amount for one in paid)
    # The market is over at START + 120 s: what should have been settled later is nobody's.
    assert isinstance(tracker, FundingTracker)
    assert [stamp for _, stamp, _, _ in tracker.differences() if stamp <= START_NS + SECONDS * SECOND_NS] == []
    ledger = run.cell.dispatcher.actors["ledger"]
    assert isinstance(ledger, Ledger)
    assert ledger.totals().funding["USDT"] == sum(one.amount for one in paid)


def test_every_way_of_going_wrong_was_met():
    assert min(seen[kind] for kind in ("told", "lost", "doubled", "late", "wrong", "wrong first")) > 0
