"""Spot buys that pay their fee in what they buy: the desk owns a little less than it bought, and both sides agree."""

import pytest
from faults import Script, draw
from torture import CALM_NS, DESK, SPOT, START_NS, Torture

from actors.messages import PositionMismatch
from daemon.config import load
from daemon.kinds import KINDS
from venues.model.money import ZERO


class InBase(Torture):
    """A fill's fee may be taken out of the position: quantities are compared after it."""

    def _check_books(self, now):
        account = self.inner["spot_venue"].state.accounts["spot"].account
        held = [one.qty for one in self.desk.ledger.state.positions.values() if one.instrument == SPOT]
        coins = account.balance("BTC") - self.opening["spot"]["BTC"]
        if sum(held, ZERO) != coins:
            self.fail(now, f"I1: the venue has {coins}, the ledger {held}")
        for venue in self.inner.values():
            for one in venue.state.accounts.values():
                ours = self.desk.ledger.state.wallets[one.id]
                if ours != one.account.balances:
                    self.fail(now, f"I6: {one.id} has {one.account.balances}, the ledger says {ours}")


@pytest.mark.parametrize("seed", [0, 7, 8, 9])
def test_fees_in_base_are_booked_alike_by_both_sides(seed, tmp_path):
    text = DESK.format(seed=seed, seconds=120, futures="30000", hold=3000, capital="10000000", market="")
    plain = 'rules = "binance_spot"'
    path = tmp_path / "base.toml"
    path.write_text(text.replace(plain, f"{plain}\nsimulation = {{ base_fees = true }}"))
    config = load(path, KINDS)
    script = Script(seed, START_NS, START_NS)
    if seed:
        specs = list(config.instruments.values())
        script = draw(seed, START_NS, START_NS + CALM_NS, ("perp_venue", "spot_venue"), specs)
    run = InBase(config, script, is_armed=bool(seed))
    run.run()
    run.check_end()
    fills = [one.fill for one in run.notes.fills.values() if one.fill.instrument == SPOT]
    # 0.05 % of what was bought, in coins; sales pay in money.
    for fill in fills:
        expected = (fill.qty, "BTC") if fill.side.sign > 0 else (fill.qty * fill.price, "USDT")
        assert (fill.fee * 2_000, fill.fee_asset) == expected
    assert len({fill.side for fill in fills}) == 2
    if not seed:
        assert run.notes.of(PositionMismatch) == []
