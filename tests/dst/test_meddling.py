"""Somebody else trades, transfers and changes settings in the desk's own accounts, unheard: all of it is found."""

from collections import Counter
from decimal import Decimal
from random import Random

import pytest

from actors.messages import Incident, MismatchKind, PositionMismatch
from daemon.torture.desk import PERPETUAL, VENUES, DeskSettings, instrument_names
from daemon.torture.invariants import Invariants
from daemon.torture.run import Torture
from daemon.torture.script import SECOND_NS, START_NS, draw
from daemon.torture.wire import FaultyVenue
from venues.model.account import MarginMode
from venues.model.order import OrderType, Side, TimeInForce
from venues.port import SetLeverage, SetMarginMode, SubmitOrder

SECONDS = 120
CALM_NS = 60 * SECOND_NS


class MeddledVenue(FaultyVenue):
    """Does things that the desk did not ask for until the faults end. What it says of them may stay unheard."""

    def __init__(self, inner, script, start_ns, counts):
        super().__init__(inner, script, start_ns, counts)
        rng = self._meddler = Random(f"meddle/{script.seed}")
        self._moments = []
        if inner.name == "perp_venue":
            self._moments = sorted(rng.randrange(START_NS + 5 * SECOND_NS, START_NS + CALM_NS) for _ in range(8))

    def on_time(self, now):
        said = []
        while self._moments and self._moments[0] <= now:
            self._moments.pop(0)
            reports = self._act(now)
            said += self._pass(now, reports) if self._meddler.random() < 0.5 else []
        return said + super().on_time(now)

    def next_deadline(self):
        known = super().next_deadline()
        return min([*self._moments[:1], *([known] if known is not None else [])], default=None)

    def _act(self, now):
        rng, inner = self._meddler, self.inner
        kind = rng.choice(["trade", "transfer", "leverage", "margin_mode"])
        self.counts[f"meddle_{kind}"] += 1
        if kind == "trade":
            side, number = rng.choice(list(Side)), f"foreign-{len(self._moments)}"
            order = SubmitOrder(
                *(now, "futures", PERPETUAL, number, side, Decimal(rng.randint(1, 30)) / 1000, OrderType.MARKET),
                tif=TimeInForce.IOC,
            )
            return inner.on_command(now, order)
        if kind == "transfer":
            return inner.transfer(now, "futures", "USDT", Decimal(rng.choice([-50, 70, 300])))
        if kind == "leverage":
            return inner.on_command(now, SetLeverage(now, "futures", PERPETUAL, rng.choice([2, 10, 20])))
        return inner.on_command(now, SetMarginMode(now, "futures", PERPETUAL, MarginMode.ISOLATED))


class Meddled(Invariants):
    """Fills of others may be booked late: profit and entry are split otherwise then, and their sum is the same."""

    def _set_nets(self, now, desk_now, nets):
        """What others hold in our accounts is hedged by nobody; it was told when it was found."""

    def _differences(self, cell):
        """I1 and I6: quantities, and wallets less the cost of open positions, to the last digit."""
        found = []
        ledger = cell.dispatcher.actors["ledger"].state
        for venue in self.venues.values():
            for account in venue.state.accounts.values():
                theirs = dict(account.account.balances)
                ours = dict(ledger.wallets[account.id])
                for held in account.open_holdings():
                    theirs["USDT"] -= held.position.cost
                for position in ledger.positions.values():
                    if position.account == account.id and position.instrument == PERPETUAL:
                        ours["USDT"] -= position.cost
                        if position.qty != account.qty(PERPETUAL, position.side):
                            found.append(f"I1: {position} is not what {account.id} has")
                if {key: one for key, one in ours.items() if one} != {key: one for key, one in theirs.items() if one}:
                    found.append(f"I6: {account.id} has {theirs}, the ledger says {ours}")
        return found


seen: Counter[str] = Counter()


@pytest.mark.parametrize("seed", range(1, 13))
def test_what_others_do_in_our_accounts_is_found_and_both_sides_agree_again(seed, tmp_path):
    settings = DeskSettings(
        seed, SECONDS, ("BTC",), futures="30000", capital="10000000", hold_ms=3_000, cooldown_ms=500, losses=1_000,
        qty="0.1",
    )  # fmt: skip
    script = draw(seed, SECONDS * SECOND_NS, VENUES, instrument_names(("BTC",)))
    run = Torture(
        tmp_path,
        settings,
        script,
        has_company=False,
        is_armed=True,
        keeps_all=True,
        venue=MeddledVenue,
        invariants=Meddled,
    )
    run.run()
    seen.update(run.counts)
    # Fills, positions and wallets of both sides to the last digit, nothing open, nothing read-only.
    run.check_end()
    sync = run.cell.dispatcher.actors["position_synchronizer"].state
    incidents = {one.kind for one in run.notes.of(Incident)}
    stuck = [one for account in sync.accounts.values() for one in account.suspects.values() if one.is_told]
    # The venue changes no margin mode of an open position, and lowers no leverage of an isolated one: a person must.
    refused = {MismatchKind.MARGIN_MODE, MismatchKind.LEVERAGE} & {one.kind for one in stuck}
    assert {one.kind for one in stuck} <= refused | {MismatchKind.ENTRY_DRIFT}
    account = run.inner["perp_venue"].state.accounts["futures"]
    assert bool(refused) is (account.mode(PERPETUAL) is MarginMode.ISOLATED and bool(account.open_holdings()))
    if refused:
        assert "setting_refused" in incidents
    elif account.open_holdings():
        assert account.account.leverage[PERPETUAL] == 5
    told = Counter(one.kind for one in run.notes.of(PositionMismatch))
    transfers = [one for one in account.income if one.kind in ("transfer", "insurance")]
    assert told[MismatchKind.DEPOSIT] + told[MismatchKind.WITHDRAWAL] == len(transfers)
    seen.update(f"told_{kind}" for kind in told)


def test_every_kind_of_meddling_was_met_and_found():
    for kind in ("trade", "transfer", "leverage", "margin_mode"):
        assert seen[f"meddle_{kind}"]
    for kind in (MismatchKind.DEPOSIT, MismatchKind.WITHDRAWAL, MismatchKind.LEVERAGE, MismatchKind.MARGIN_MODE):
        assert seen[f"told_{kind}"]
