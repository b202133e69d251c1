"""A backtest across funding instants whose reports are lost, doubled, late or wrong: the book ends as the venue's."""

from collections import Counter

import pytest
from attrs import evolve
from faults import FaultyVenue, Script, draw
from torture import CALM_NS, DESK, START_NS, Torture

from daemon.config import load
from daemon.kinds import KINDS
from sim.synthetic import SECOND_NS
from venues.port import FundingSettled, IncomeKind

FUNDING = """
[funding]
grace = "2s"
ambiguous = "0s"
backoff = "1s"
proof = "20s"
"""


class ForgetfulVenue(FaultyVenue):
    """Reports of funding go missing, come twice, late, or with another amount, by the script's seed."""

    def _pass(self, now, reports):
        through = []
        for report in super()._pass(now, reports):
            if not isinstance(report, FundingSettled):
                through.append(report)
                continue
            fault = self._rng.choice(["told", "lost", "doubled", "late", "wrong", "wrong first"])
            self.counts[fault] += 1
            if fault in ("wrong", "wrong first"):
                through.append(_doubled(report))
            if fault in ("told", "doubled", "wrong first"):
                through.append(report)
            if fault in ("doubled", "late"):
                self._hold(now + self._rng.randrange(1, 4_000_000_000), report)
        return through


def _doubled(one):
    what = (one.ts, one.account, one.instrument, one.rate, one.mark, one.qty * 2, one.amount * 2, one.asset)
    return FundingSettled(*what, one.position_side)


def forgetful(config, script):
    run = Torture(config, script, is_armed=True)
    for name, seat in run.seats.items():
        run.seats[name] = evolve(seat, venue=ForgetfulVenue(run.inner[name], script, run.counts))
    return run


def config_of(folder, seed):
    text = DESK.format(seed=seed, seconds=120, futures="30000", hold=3000, capital="10000000", market="")
    text = text.replace('funding_rate = "0.0003"', 'funding_rate = "0.0003"\nfunding_interval = "10s"')
    path = folder / f"funding-{seed}.toml"
    path.write_text(text + FUNDING)
    return load(path, KINDS)


seen: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(1, 9))
def test_what_the_venue_paid_is_booked_to_the_digit(seed, tmp_path):
    # Every second run also breaks connections and answers.
    config = config_of(tmp_path, seed)
    script = Script(seed, START_NS, START_NS)
    if seed % 2 == 0:
        specs = list(config.instruments.values())
        script = draw(seed, START_NS, START_NS + CALM_NS, ("perp_venue", "spot_venue"), specs)
    run = forgetful(config, script)
    run.run()
    seen.update(run.counts)
    run.check_end()
    tracker = run.cell.dispatcher.actors["funding_tracker"]
    income = run.inner["perp_venue"].state.accounts["futures"].income
    paid = [one for one in income if one.kind is IncomeKind.FUNDING]
    assert len(paid) >= 5
    assert sum(one.paid for one in tracker.state.perpetuals.values()) == sum(one.amount for one in paid)
    # The market is over at START + 120 s: what should have been settled later is nobody's.
    assert [stamp for _, stamp, _, _ in tracker.differences() if stamp <= START_NS + 120 * SECOND_NS] == []
    assert run.desk.ledger.totals().funding["USDT"] == sum(one.amount for one in paid)


def test_every_way_of_going_wrong_was_met():
    assert min(seen[kind] for kind in ("told", "lost", "doubled", "late", "wrong", "wrong first")) > 0
