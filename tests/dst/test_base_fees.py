"""Spot buys that pay their fee in what they buy: the desk owns a little less than it bought, and both sides agree."""

import pytest

from actors.messages import PositionMismatch
from daemon.torture.desk import SPOT, VENUES, DeskSettings, instrument_names
from daemon.torture.run import Torture
from daemon.torture.script import SECOND_NS, Script, draw
from venues.model.money import ZERO

SECONDS = 120


@pytest.mark.parametrize("seed", [0, 7, 8, 9])
def test_fees_in_base_are_booked_alike_by_both_sides(seed, tmp_path):
    settings = DeskSettings(
        seed, SECONDS, ("BTC",), futures="30000", capital="10000000", hold_ms=3_000, cooldown_ms=500, losses=1_000,
        qty="0.1", spot="simulation = { base_fees = true }",
    )  # fmt: skip
    script = Script(seed, SECONDS * SECOND_NS)
    if seed:
        script = draw(seed, SECONDS * SECOND_NS, VENUES, instrument_names(("BTC",)))
    run = Torture(tmp_path, settings, script, has_company=False, is_armed=bool(seed), keeps_all=True)
    opening = run.inner["spot_venue"].state.accounts["spot"].account.balance("BTC")
    run.run()
    # Wallets of both sides to the last digit, and positions to the last digit of the fills less such fees.
    run.check_end()
    coins = run.inner["spot_venue"].state.accounts["spot"].account.balance("BTC") - opening
    positions = run.cell.dispatcher.actors["ledger"].state.positions.values()
    assert sum((one.qty for one in positions if one.instrument == SPOT), ZERO) == coins
    fills = [one.fill for one in run.notes.fills.values() if one.fill.instrument == SPOT]
    # 0.05 % of what was bought, in coins; sales pay in money.
    for fill in fills:
        expected = (fill.qty, "BTC") if fill.side.sign > 0 else (fill.qty * fill.price, "USDT")
        assert (fill.fee * 2_000, fill.fee_asset) == expected
    assert len({fill.side for fill in fills}) == 2
    if not seed:
        assert run.notes.of(PositionMismatch) == []
